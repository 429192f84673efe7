//! What each of many clients (addresses, users) has taken.
//!
//! Memory is bounded: clients that hold something are as many as what is held in all, and of those that only came by no
//! more than [`FORGETTABLE_MAX`] are remembered. When there are more, the half that took least is forgotten: who floods is
//! remembered longest.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{protocol::close::Exceeded, room::Micros};

use super::{Account, Bucket, Rate};

/// Clients that hold nothing and are remembered for what they took, some 100 bytes each.
const FORGETTABLE_MAX: usize = 32 * 1024;

/// More handshakes than this are more than a few people make: they take turns with those of others.
const OFTEN: Rate = Rate::per_second(5, 50);

/// What one client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What such a client is called in a refusal.
    pub whose: Whose,
    /// Connections at one time.
    pub connections: usize,
    /// TCP connections at one time that have asked for nothing yet.
    pub silent: usize,
    /// Handshakes, and requests for what is in documents.
    pub handshakes: Rate,
    /// Refusals that are told in full.
    pub refusals: Rate,
    /// New documents.
    pub documents: Rate,
    /// Links that are made.
    pub links: Rate,
    /// Most that the documents that are open take where memory may become short, in percent of all.
    pub memory_percent: usize,
}

/// Who is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Everybody behind one address.
    Address,
    /// Whoever holds tokens of one subject.
    User,
}

/// All clients of one kind.
#[derive(Debug)]
pub struct Crowd<K> {
    limits: Limits,
    clients: BTreeMap<K, Client>,
    /// How many of them hold something.
    holding: usize,
}

#[derive(Debug, Default)]
struct Client {
    connections: usize,
    silent: usize,
    handshakes: Bucket,
    /// The same, of what a few people do.
    often: Bucket,
    refusals: Bucket,
    documents: Bucket,
    /// What its connections have asked of documents; shared with them, and made when the first one comes.
    asked: Option<Arc<Mutex<Bucket>>>,
    links: Bucket,
    /// What its documents take; shared with its sessions, and made when the first one comes.
    account: Option<Arc<Account>>,
}

impl Client {
    fn holds(&self) -> bool {
        self.connections > 0 || self.silent > 0
    }

    /// Whether sessions are charged to it that it does not hold: those that come through another node.
    fn is_charged(&self) -> bool {
        self.account.as_ref().is_some_and(|account| account.bytes() > 0)
    }

    /// When nothing of it needs to be remembered any more, in nanoseconds.
    fn forgotten_at(&self) -> u64 {
        let asked = self
            .asked
            .as_ref()
            .map(|asked| *asked.lock().unwrap_or_else(PoisonError::into_inner));
        let buckets = [
            self.handshakes,
            self.refusals,
            self.documents,
            self.links,
            asked.unwrap_or_default(),
        ];
        buckets.iter().map(Bucket::full_at).max().unwrap_or_default()
    }
}

impl<K: Ord + Clone> Crowd<K> {
    /// Nobody has come yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            clients: BTreeMap::new(),
            holding: 0,
        }
    }

    /// One more handshake.
    ///
    /// # Errors
    /// There were too many.
    pub fn arrive(&mut self, who: &K, now: Micros) -> Result<(), Exceeded> {
        let rate = self.limits.handshakes;
        let client = self.client(who, now);
        client.often.charge(OFTEN, 1, now);
        let taken = client.handshakes.take(rate, 1, now);
        taken.map_err(|wait| self.exceeded(("handshakes_of_address", "handshakes_of_user"), "handshakes", wait))
    }

    /// Whether it comes more often than a few people do.
    #[must_use]
    pub fn comes_often(&self, who: &K, now: Micros) -> bool {
        self.clients
            .get(who)
            .is_some_and(|client| client.often.owes(OFTEN, now) > 0)
    }

    /// One more refusal: whether it is told in full.
    ///
    /// # Errors
    /// There were too many.
    pub fn refuse(&mut self, who: &K, now: Micros) -> Result<(), Exceeded> {
        let rate = self.limits.refusals;
        let taken = self.client(who, now).refusals.take(rate, 1, now);
        taken.map_err(|wait| self.exceeded(("refusals_of_address", "refusals_of_user"), "refused connections", wait))
    }

    /// Whether there may be one more new document. Nothing is taken.
    ///
    /// # Errors
    /// There were too many.
    pub fn may_create(&self, who: &K, now: Micros) -> Result<(), Exceeded> {
        let known = self.clients.get(who).map(|client| client.documents);
        let taken = known.unwrap_or_default().take(self.limits.documents, 1, now);
        taken.map_err(|wait| self.no_document(wait))
    }

    /// One more new document.
    ///
    /// # Errors
    /// There were too many.
    pub fn create(&mut self, who: &K, now: Micros) -> Result<(), Exceeded> {
        let rate = self.limits.documents;
        let taken = self.client(who, now).documents.take(rate, 1, now);
        taken.map_err(|wait| self.no_document(wait))
    }

    fn no_document(&self, wait: Micros) -> Exceeded {
        self.exceeded(("documents_of_address", "documents_of_user"), "new documents", wait)
    }

    /// One more link.
    ///
    /// # Errors
    /// There were too many.
    pub fn share(&mut self, who: &K, now: Micros) -> Result<(), Exceeded> {
        let rate = self.limits.links;
        let taken = self.client(who, now).links.take(rate, 1, now);
        taken.map_err(|wait| self.exceeded(("links_of_address", "links_of_user"), "links", wait))
    }

    /// One more connection, until [`Crowd::disconnect`].
    ///
    /// # Errors
    /// There are too many.
    pub fn connect(&mut self, who: &K, now: Micros) -> Result<(), Exceeded> {
        let most = self.limits.connections;
        self.hold(who, now, |client| {
            let has_room = client.connections < most;
            client.connections += usize::from(has_room);
            has_room
        })
        .then_some(())
        .ok_or_else(|| self.exceeded(("connections_of_address", "connections_of_user"), "connections", AGAIN))
    }

    /// What all connections of a client have asked of documents.
    #[must_use]
    pub fn asked(&mut self, who: &K, now: Micros) -> Arc<Mutex<Bucket>> {
        self.client(who, now).asked.get_or_insert_default().clone()
    }

    /// What the documents that a client has open take.
    #[must_use]
    pub fn account(&mut self, who: &K, now: Micros) -> Arc<Account> {
        let Limits {
            whose, memory_percent, ..
        } = self.limits;
        let account = &mut self.client(who, now).account;
        account
            .get_or_insert_with(|| Account::of(whose, memory_percent))
            .clone()
    }

    /// One connection less.
    pub fn disconnect(&mut self, who: &K) {
        self.let_go(who, |client| client.connections -= 1);
    }

    /// One more TCP connection that has asked for nothing, until [`Crowd::speaks`]; false when there are too many.
    #[must_use]
    pub fn is_silent(&mut self, who: &K, now: Micros) -> bool {
        let most = self.limits.silent;
        self.hold(who, now, |client| {
            let has_room = client.silent < most;
            client.silent += usize::from(has_room);
            has_room
        })
    }

    /// One such connection less.
    pub fn speaks(&mut self, who: &K) {
        self.let_go(who, |client| client.silent -= 1);
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether nobody is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    fn hold(&mut self, who: &K, now: Micros, hold: impl FnOnce(&mut Client) -> bool) -> bool {
        let client = self.client(who, now);
        let held = client.holds();
        let has_room = hold(client);
        let holds = client.holds();
        self.holding += usize::from(holds && !held);
        has_room
    }

    fn let_go(&mut self, who: &K, let_go: impl FnOnce(&mut Client)) {
        if let Some(client) = self.clients.get_mut(who) {
            let_go(client);
            self.holding -= usize::from(!client.holds());
        }
    }

    fn client(&mut self, who: &K, now: Micros) -> &mut Client {
        if self.clients.len() - self.holding >= FORGETTABLE_MAX && !self.clients.contains_key(who) {
            self.forget(now);
        }
        self.clients.entry(who.clone()).or_default()
    }

    /// Forgets who took nothing lately, or else the half that took least.
    fn forget(&mut self, now: Micros) {
        let mut until: Vec<u64> = self
            .clients
            .values()
            .filter(|client| !client.holds())
            .map(Client::forgotten_at)
            .collect();
        let half = until.len() / 2;
        let least = *until.select_nth_unstable(half).1;
        let until = least.max(now.saturating_mul(1_000));
        self.clients
            .retain(|_, client| client.holds() || client.is_charged() || client.forgotten_at() > until);
    }

    fn exceeded(&self, labels: (&'static str, &'static str), what: &str, wait: Micros) -> Exceeded {
        match self.limits.whose {
            Whose::Address => Exceeded::new(labels.0, &format!("too many {what} from your address"), wait),
            Whose::User => Exceeded::new(labels.1, &format!("too many {what} of this user"), wait),
        }
    }
}

/// When a client may ask again that has to wait for its own connections to end.
const AGAIN: Micros = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;
    const RATE: Rate = Rate::per_second(1, 10);

    fn crowd() -> Crowd<u32> {
        Crowd::new(Limits {
            whose: Whose::Address,
            connections: 3,
            silent: 2,
            handshakes: RATE,
            refusals: RATE,
            documents: RATE,
            links: RATE,
            memory_percent: 12,
        })
    }

    #[test]
    fn l43_connections_of_one_client_are_bounded_and_come_back() {
        let mut crowd = crowd();
        assert!((0..3).all(|_| crowd.connect(&1, 0).is_ok()));
        let refused = crowd.connect(&1, 0).expect_err("a fourth");
        assert_eq!(refused.label(), "connections_of_address");
        assert_eq!(
            refused.text(),
            "too many connections from your address: come back in 10 s"
        );
        assert!(crowd.connect(&2, 0).is_ok(), "others are not concerned");
        crowd.disconnect(&1);
        assert!(crowd.connect(&1, 0).is_ok());
    }

    #[test]
    fn l46_each_client_has_rates_of_its_own() {
        let mut crowd = crowd();
        let now = SECOND;
        assert_eq!((0..50).filter(|_| crowd.arrive(&1, now).is_ok()).count(), 10);
        assert_eq!((0..50).filter(|_| crowd.refuse(&1, now).is_ok()).count(), 10);
        assert_eq!((0..50).filter(|_| crowd.create(&1, now).is_ok()).count(), 10);
        assert_eq!((0..50).filter(|_| crowd.share(&1, now).is_ok()).count(), 10);
        assert!(crowd.arrive(&2, now).is_ok());
        let refused = crowd.create(&1, now).expect_err("an eleventh");
        assert_eq!(refused.retry_s(), 1);
        assert!(crowd.create(&1, now + SECOND).is_ok());
    }

    #[test]
    fn h12_who_comes_more_often_than_a_few_people_is_known_for_a_while() {
        let mut crowd = Crowd::new(Limits {
            handshakes: Rate::per_second(1_000, 1_000),
            ..crowd().limits
        });
        assert!(!crowd.comes_often(&1, SECOND));
        for _ in 0..50 {
            assert!(crowd.arrive(&1, SECOND).is_ok() && !crowd.comes_often(&1, SECOND));
        }
        assert!(crowd.arrive(&1, SECOND).is_ok() && crowd.comes_often(&1, SECOND));
        assert!(!crowd.comes_often(&2, SECOND));
        assert!(!crowd.comes_often(&1, 2 * SECOND));
    }

    #[test]
    fn l58_who_only_asks_takes_nothing() {
        let mut crowd = crowd();
        assert!((0..50).all(|_| crowd.may_create(&1, SECOND).is_ok()));
        assert!(crowd.is_empty(), "and is not remembered");
        assert!((0..10).all(|_| crowd.create(&1, SECOND).is_ok()));
        let refused = crowd.may_create(&1, SECOND).expect_err("an eleventh");
        assert_eq!(refused.label(), "documents_of_address");
        assert!(crowd.may_create(&1, 2 * SECOND).is_ok());
    }

    #[test]
    fn l49_connections_that_say_nothing_are_counted_apart() {
        let mut crowd = crowd();
        assert!(crowd.is_silent(&1, 0) && crowd.is_silent(&1, 0));
        assert!(!crowd.is_silent(&1, 0));
        assert!(crowd.connect(&1, 0).is_ok());
        crowd.speaks(&1);
        assert!(crowd.is_silent(&1, 0));
    }

    #[test]
    fn l50_clients_that_come_by_are_remembered_in_bounded_memory() {
        let mut crowd = crowd();
        assert!(crowd.connect(&0, 0).is_ok());
        let flooder = 1;
        while crowd.arrive(&flooder, 0).is_ok() {}
        for who in 2..200_000 {
            assert!(crowd.arrive(&who, 0).is_ok());
            assert!(crowd.len() <= FORGETTABLE_MAX + 1);
        }
        assert!(crowd.arrive(&flooder, 0).is_err(), "it is remembered");
        crowd.disconnect(&0);
        assert!(
            (0..3).all(|_| crowd.connect(&0, 0).is_ok()),
            "what is held is counted to the end"
        );
    }
}
