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
            (None, None) => self.network.is_some() && self.network == other.network,
            (id, other) => id == other,
        }
    }
}

/// An answer that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tried {
    /// Who has got it knows this.
    pub lacked: Id,
    /// How often it, or what was there before, was sent.
    pub times: u32,
}

#[derive(Debug)]
struct Sent {
    client: Client,
    tried: Tried,
    until: Micros,
}

/// The last who went after they had been sent much at once, oldest first.
#[derive(Debug, Default)]
pub(super) struct GivenUp(VecDeque<Sent>);

impl GivenUp {
    /// A client went that had been sent this.
    pub fn remember(&mut self, client: Client, tried: Tried, now: Micros) {
        if client.id.is_none() && client.network.is_none() {
            return;
        }
        self.0.retain(|sent| !sent.client.is(&client));
        if self.0.len() >= CLIENTS_MAX {
            self.0.pop_front();
        }
        let until = now + REMEMBERED;
        self.0.push_back(Sent { client, tried, until });
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often what this client still lacks, who has `had`, was on its way to it.
    pub fn times(&self, client: &Client, had: &Clocks, now: Micros) -> u32 {
        let lacks = |sent: &&Sent| {
            let lacked = sent.tried.lacked;
            now < sent.until && sent.client.is(client) && had.next(lacked.client) <= lacked.clock
        };
        self.0.iter().find(lacks).map_or(0, |sent| sent.tried.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: Option<u64>, network: &str) -> Client {
        let network = Some(Network::of(network.parse().unwrap()));
        Client { id, network }
    }

    const TRIED: Tried = Tried {
        lacked: Id { client: 5, clock: 9 },
        times: 1,
    };

    #[test]
    fn f15_a_client_that_comes_back_and_lacks_the_same_is_known() {
        let mut given_up = GivenUp::default();
        let (page, reader) = (client(Some(7), "192.0.2.1"), client(None, "192.0.2.1"));
        let unknown = Client {
            id: None,
            network: None,
        };
        given_up.remember(page, TRIED, 1);
        given_up.remember(unknown, TRIED, 1);
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
            (unknown, had(9), 0),
        ] {
            assert_eq!(given_up.times(&known, &had, REMEMBERED), times, "{known:?}");
            assert_eq!(given_up.times(&known, &had, REMEMBERED + 1), 0, "ten minutes later");
        }
        // Somebody has written meanwhile: more is lacking.
        let more = Tried {
            lacked: Id { client: 5, clock: 20 },
            times: 2,
        };
        given_up.remember(page, more, 2);
        assert_eq!(given_up.times(&page, &had(9), 3), 2);
        assert_eq!(given_up.times(&page, &had(21), 3), 0);
        given_up.remember(reader, TRIED, 6);
        assert_eq!(given_up.times(&reader, &had(0), 7), 1);
        assert_eq!(given_up.times(&client(None, "192.0.2.2"), &had(0), 7), 0);
    }

    #[test]
    fn f15_what_is_remembered_is_bounded() {
        let mut given_up = GivenUp::default();
        for id in 0..3 * CLIENTS_MAX as u64 {
            given_up.remember(client(Some(id), "192.0.2.1"), TRIED, 1);
            given_up.remember(client(Some(id), "192.0.2.1"), TRIED, 1);
        }
        assert_eq!(given_up.0.len(), CLIENTS_MAX);
        let times = |id: u64| given_up.times(&client(Some(id), "192.0.2.1"), &Clocks::default(), 2);
        assert_eq!((times(7), times(3 * CLIENTS_MAX as u64 - 1)), (0, 1));
    }
}
