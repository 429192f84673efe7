//! Whose lines ended while much was on its way in one piece: who comes back is sent small pieces for a while.
//!
//! What is between may let through at once far more than it carries then, so that no ping tells in time.

use std::collections::VecDeque;

use crate::budgets::Network;

use super::{Micros, SECOND};

/// How long it is remembered.
const REMEMBERED: Micros = 600 * SECOND;
/// How many are.
const CLIENTS_MAX: usize = 256;

/// By what somebody is known who comes back. Who is known by nothing is taken for all others who are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Client {
    /// The client id that it announced: a page keeps it.
    pub id: Option<u64>,
    pub network: Option<Network>,
}

impl Client {
    fn may_be(&self, other: &Self) -> bool {
        (self.id.is_some() && self.id == other.id)
            || (self.network.is_some() && self.network == other.network)
            || (*self == Self::default() && *other == Self::default())
    }
}

/// The last of them, oldest first.
#[derive(Debug, Default)]
pub(super) struct GivenUp(VecDeque<(Client, Micros)>);

impl GivenUp {
    /// The line of a client has ended while much was on its way.
    pub fn remember(&mut self, client: Client, now: Micros) {
        self.0.retain(|(known, _)| *known != client);
        if self.0.len() >= CLIENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((client, now + REMEMBERED));
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether that happened to this client lately.
    pub fn holds(&self, client: &Client, now: Micros) -> bool {
        self.0.iter().any(|(known, until)| now < *until && known.may_be(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: Option<u64>, network: Option<&str>) -> Client {
        let network = network.map(|address| Network::of(address.parse().unwrap()));
        Client { id, network }
    }

    #[test]
    fn f15_a_client_that_comes_back_is_known_by_its_id_or_where_it_comes_from() {
        let here = Some("192.0.2.1");
        let mut given_up = GivenUp::default();
        given_up.remember(client(Some(7), here), 1);
        for (known, is_known) in [
            (client(Some(7), None), true),
            (client(Some(8), here), true),
            (client(None, here), true),
            (client(Some(8), Some("192.0.2.2")), false),
            (client(Some(8), None), false),
            (client(None, None), false),
        ] {
            assert_eq!(given_up.holds(&known, REMEMBERED), is_known, "{known:?}");
            assert!(!given_up.holds(&known, REMEMBERED + 1), "ten minutes later");
        }
        given_up.remember(client(None, None), 1);
        assert!(given_up.holds(&client(None, None), 2) && !given_up.holds(&client(Some(8), None), 2));
    }

    #[test]
    fn f15_what_is_remembered_is_bounded() {
        let mut given_up = GivenUp::default();
        for id in 0..3 * CLIENTS_MAX as u64 {
            given_up.remember(client(Some(id), None), 1);
            given_up.remember(client(Some(id), None), 1);
        }
        assert_eq!(given_up.0.len(), CLIENTS_MAX);
        assert!(!given_up.holds(&client(Some(7), None), 2));
        assert!(given_up.holds(&client(Some(3 * CLIENTS_MAX as u64 - 1), None), 2));
    }
}
