//! To whom a large answer did not come: who comes back for it is sent it in smaller pieces.
//!
//! What a line was seen to carry may be wrong: a shaper lets through at once what it carries slowly then, a proxy answers pings
//! itself, or takes no message of that size. The provider hears nothing, comes back, and lacks the same.

use std::collections::VecDeque;

use crate::{
    budgets::Network,
    protocol::update::{Clocks, Id},
};

use super::{Micros, SECOND};

/// How long it is remembered.
const REMEMBERED: Micros = 600 * SECOND;
/// How many are.
const CLIENTS_MAX: usize = 256;

/// By what somebody is known who comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    /// The client id that it announced: a page keeps it.
    pub id: Option<u64>,
    /// Only of one that announces none.
    pub network: Option<Network>,
}

impl Client {
    fn is(&self, other: &Self) -> bool {
        match (self.id, other.id) {
            (None, None) => self.network == other.network,
            (id, other) => id == other,
        }
    }
}

#[derive(Debug)]
struct Sent {
    client: Client,
    /// Who has got it knows this.
    lacked: Id,
    until: Micros,
    /// How often it was sent.
    times: u32,
}

/// The last who went after they had been sent much at once, oldest first.
#[derive(Debug, Default)]
pub(super) struct GivenUp(VecDeque<Sent>);

impl GivenUp {
    /// A client went that had been sent what has this, which it lacked.
    pub fn remember(&mut self, client: Client, lacked: Id, now: Micros) {
        let is_known = |sent: &Sent| sent.client.is(&client);
        let known = self.0.iter().position(is_known).and_then(|at| self.0.remove(at));
        let times = known.map_or(0, |known| if known.lacked == lacked { known.times } else { 0 });
        if self.0.len() >= CLIENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Sent {
            client,
            lacked,
            until: now + REMEMBERED,
            times: times.saturating_add(1),
        });
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often what this client still lacks, who has `had`, was on its way to it.
    pub fn times(&self, client: &Client, had: &Clocks, now: Micros) -> u32 {
        let lacks = |sent: &&Sent| {
            now < sent.until && sent.client.is(client) && had.next(sent.lacked.client) <= sent.lacked.clock
        };
        self.0.iter().find(lacks).map_or(0, |sent| sent.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: Option<u64>, network: &str) -> Client {
        let network = Some(Network::of(network.parse().unwrap()));
        Client { id, network }
    }

    const LACKED: Id = Id { client: 5, clock: 9 };

    #[test]
    fn f15_a_client_that_comes_back_and_lacks_the_same_is_known() {
        let mut given_up = GivenUp::default();
        let (page, reader) = (client(Some(7), "192.0.2.1"), client(None, "192.0.2.1"));
        given_up.remember(page, LACKED, 1);
        let had = |clock: u32| {
            let mut had = Clocks::default();
            had.advance(5, clock);
            had
        };
        for (known, had, times) in [
            (page, had(9), 1),
            (page, Clocks::default(), 1),
            (page, had(10), 0),
            (client(Some(7), "192.0.2.2"), had(9), 1),
            (client(Some(8), "192.0.2.1"), had(9), 0),
            (reader, had(9), 0),
        ] {
            assert_eq!(given_up.times(&known, &had, REMEMBERED), times, "{known:?}");
            assert_eq!(given_up.times(&known, &had, REMEMBERED + 1), 0, "ten minutes later");
        }
        given_up.remember(page, LACKED, 2);
        assert_eq!(given_up.times(&page, &had(9), 3), 2);
        given_up.remember(page, Id { client: 5, clock: 20 }, 4);
        assert_eq!(given_up.times(&page, &had(10), 5), 1, "that was something else");
        given_up.remember(reader, LACKED, 6);
        assert_eq!(given_up.times(&reader, &had(0), 7), 1);
        assert_eq!(given_up.times(&client(None, "192.0.2.2"), &had(0), 7), 0);
    }

    #[test]
    fn f15_what_is_remembered_is_bounded() {
        let mut given_up = GivenUp::default();
        for id in 0..3 * CLIENTS_MAX as u64 {
            given_up.remember(client(Some(id), "192.0.2.1"), LACKED, 1);
            given_up.remember(client(Some(id), "192.0.2.1"), LACKED, 1);
        }
        assert_eq!(given_up.0.len(), CLIENTS_MAX);
        let times = |id: u64| given_up.times(&client(Some(id), "192.0.2.1"), &Clocks::default(), 2);
        assert_eq!((times(7), times(3 * CLIENTS_MAX as u64 - 1)), (0, 2));
    }
}
