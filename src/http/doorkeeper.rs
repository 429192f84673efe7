//! Who may take how much: the counters of [`crate::budgets`], for all threads.
//!
//! They are asked when somebody comes and goes, never for a message.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use actix_web::HttpRequest;

use crate::{
    access::{Identity, Person},
    actor::clock,
    budgets::{Accounts, Crowd, Limits, Network, pace},
    protocol::close::Exceeded,
    room::{Micros, outbox::Line},
};

use super::peer::{self, Peer, Strange, TrustProxy};

/// What an operator allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// Who says where clients are.
    pub proxy: Option<TrustProxy>,
    /// What each address may take.
    pub address: Limits,
    /// What each user may take.
    pub user: Limits,
    /// How fast each connection is read.
    pub pace: pace::Limits,
}

/// Counts for the whole server.
pub struct Doorkeeper {
    allowed: Allowed,
    addresses: Mutex<Crowd<Network>>,
    users: Mutex<Crowd<Arc<str>>>,
    /// A proxy in a private network speaks for others.
    has_private_proxy: AtomicBool,
    said: Said,
}

/// What was logged.
#[derive(Default)]
struct Said {
    not_trusted: AtomicBool,
    not_said: AtomicBool,
    is_full: AtomicBool,
}

/// Calls `say`, the first time.
fn once(said: &AtomicBool, say: impl FnOnce()) {
    if !said.swap(true, Ordering::Relaxed) {
        say();
    }
}

/// Somebody who is connected, counted until this is dropped.
#[derive(Debug)]
pub struct Place {
    keeper: Arc<Doorkeeper>,
    who: Who,
}

#[derive(Debug)]
enum Who {
    Address(Network),
    User(Arc<str>),
    Silent(Network),
}

/// The user that somebody counts as. Of those who hold one link nobody takes what is another's at another address.
#[must_use]
pub fn user(identity: &Identity, network: Option<Network>) -> Option<Arc<str>> {
    match (identity.person(), network) {
        // No subject holds a NUL.
        (Person::OfLink(link), Some(network)) => Some(format!("{link}\0{network}").into()),
        (person, _) => person.subject().copied().cloned(),
    }
}

/// What somebody counts for who is connected, until this is dropped.
#[derive(Debug, Default)]
pub struct Visit {
    /// Where it comes from, if that is counted.
    pub network: Option<Network>,
    places: [Option<Place>; 2],
}

impl Visit {
    /// It comes from there, and counts for nobody.
    #[must_use]
    pub fn uncounted(network: Option<Network>) -> Self {
        Self {
            network,
            places: Default::default(),
        }
    }

    /// It is this one's.
    ///
    /// # Errors
    /// There are too many of that user.
    pub fn is_of(&mut self, identity: &Identity, keeper: &Arc<Doorkeeper>) -> Result<(), Exceeded> {
        self.places[1] = keeper.user_connects(user(identity, self.network).as_ref())?;
        Ok(())
    }
}

impl Doorkeeper {
    /// Nobody has come yet.
    #[must_use]
    pub fn new(allowed: Allowed) -> Arc<Self> {
        Arc::new(Self {
            addresses: Mutex::new(Crowd::new(allowed.address)),
            users: Mutex::new(Crowd::new(allowed.user)),
            allowed,
            has_private_proxy: AtomicBool::new(false),
            said: Said::default(),
        })
    }

    /// How fast each connection is read.
    #[must_use]
    pub fn pace(&self) -> &pace::Limits {
        &self.allowed.pace
    }

    /// Whether connections begin with the PROXY protocol.
    #[must_use]
    pub fn speaks_proxy_protocol(&self) -> bool {
        self.allowed.proxy == Some(TrustProxy::Protocol)
    }

    /// Whose request it is, as far as addresses are counted.
    #[must_use]
    pub fn network(&self, request: &HttpRequest) -> Option<Network> {
        let peer = request.peer_addr();
        let (whose, strange) = peer::of_request(self.allowed.proxy.as_ref(), peer, request.headers());
        match strange {
            Some(Strange::NotTrusted) => self.is_behind_a_proxy(peer),
            Some(Strange::NotSaid) => once(&self.said.not_said, || {
                log::warn!(
                    "a request of {} came without what --trust-proxy names: it is counted as that address; nobody but the \
                     proxy should reach this server",
                    Shown(peer)
                );
            }),
            None => {}
        }
        match whose {
            Peer::Address(address) => Some(Network::of(address)),
            Peer::Anybody => None,
        }
    }

    fn is_behind_a_proxy(&self, peer: Option<SocketAddr>) {
        let is_near = peer.is_none_or(|peer| peer::is_private(peer.ip()));
        self.has_private_proxy.fetch_or(is_near, Ordering::Relaxed);
        once(&self.said.not_trusted, || {
            let limits = if is_near {
                "limits for each address do not hold for what comes from there"
            } else {
                "all who come that way share the limits of one address"
            };
            log::warn!(
                "{} seems to be a proxy: {limits}; name the header in which it says whom it speaks for, such as \
                 --trust-proxy x-forwarded-for",
                Shown(peer)
            );
        });
    }

    /// Somebody asks for something.
    ///
    /// # Errors
    /// Too many from there did.
    pub fn arrives(&self, whose: Option<Network>) -> Result<(), Exceeded> {
        self.of_address(whose, Crowd::arrive)
    }

    /// Whether so many come from there that they take turns with others who do (H12).
    #[must_use]
    pub fn comes_often(&self, whose: Option<Network>) -> bool {
        whose.is_some_and(|network| lock(&self.addresses).comes_often(&network, clock::now()))
    }

    /// Somebody is refused: whether it is told in full.
    ///
    /// # Errors
    /// Too many from there were.
    pub fn refuses(&self, whose: Option<Network>) -> Result<(), Exceeded> {
        self.of_address(whose, Crowd::refuse)
    }

    /// A document begins.
    ///
    /// # Errors
    /// Too many did that were begun from there, or by that user. Nothing is taken then, of neither.
    pub fn begins_document(&self, whose: Option<Network>, user: Option<&Arc<str>>) -> Result<(), Exceeded> {
        let Some(user) = user else {
            return self.of_address(whose, Crowd::create);
        };
        // Held over both looks. Nobody who holds the other one waits for this.
        let mut users = lock(&self.users);
        users.may_create(user, clock::now())?;
        self.of_address(whose, Crowd::create)?;
        users.create(user, clock::now())
    }

    /// Somebody makes a link.
    ///
    /// # Errors
    /// Too many were made from there, or by that user.
    pub fn shares(&self, whose: Option<Network>, user: Option<&Arc<str>>) -> Result<(), Exceeded> {
        self.of_address(whose, Crowd::share)?;
        user.map_or(Ok(()), |user| lock(&self.users).share(user, clock::now()))
    }

    /// Somebody connects.
    ///
    /// # Errors
    /// There are too many from there.
    pub fn connects(self: &Arc<Self>, whose: Option<Network>) -> Result<Visit, Exceeded> {
        self.of_address(whose, Crowd::connect)?;
        Ok(Visit {
            network: whose,
            places: [whose.map(|network| self.place(Who::Address(network))), None],
        })
    }

    /// A connection is a line, and comes from there: what it asks of documents counts with what others from there ask (L80).
    pub fn is_line(&self, whose: Option<Network>, line: &Line) {
        if let Some(network) = whose {
            line.comes_from(network, lock(&self.addresses).asked(&network, clock::now()));
        }
    }

    /// Who is charged with what a session's document takes (L84).
    #[must_use]
    pub fn accounts(&self, whose: Option<Network>, identity: &Identity) -> Accounts {
        let now = clock::now();
        let address = whose.map(|network| lock(&self.addresses).account(&network, now));
        let user = user(identity, whose).map(|user| lock(&self.users).account(&user, now));
        Accounts::of(address.into_iter().chain(user))
    }

    /// A connection turns out to be a user's.
    ///
    /// # Errors
    /// There are too many of that user.
    pub fn user_connects(self: &Arc<Self>, user: Option<&Arc<str>>) -> Result<Option<Place>, Exceeded> {
        let Some(user) = user else { return Ok(None) };
        lock(&self.users).connect(user, clock::now())?;
        Ok(Some(self.place(Who::User(user.clone()))))
    }

    /// A connection of `peer` did not begin as --trust-proxy says that it would.
    pub fn says_nothing(&self, peer: Option<SocketAddr>, error: &io::Error) {
        once(&self.said.not_said, || {
            log::warn!(
                "a connection of {} was closed: {error}; --trust-proxy asks for it",
                Shown(peer)
            );
        });
    }

    /// A TCP connection has come and is not a WebSocket (yet). `None`: there are too many, it is to be closed;
    /// `Some(None)`: those of that peer are not counted.
    pub fn is_silent(self: &Arc<Self>, peer: Option<SocketAddr>) -> Option<Option<Place>> {
        let is_header = matches!(&self.allowed.proxy, Some(proxy) if *proxy != TrustProxy::Protocol);
        let Some(network) = peer
            .map(|peer| peer.ip())
            .filter(|address| !is_header && self.counts(*address))
        else {
            return Some(None);
        };
        let network = Network::of(network);
        if lock(&self.addresses).is_silent(&network, clock::now()) {
            return Some(Some(self.place(Who::Silent(network))));
        }
        self.is_full(network, "too many connections that are not WebSockets");
        None
    }

    fn counts(&self, address: IpAddr) -> bool {
        let may_be_proxy = self.has_private_proxy.load(Ordering::Relaxed) && peer::is_private(address);
        !address.to_canonical().is_loopback() && !may_be_proxy
    }

    fn place(self: &Arc<Self>, who: Who) -> Place {
        Place {
            keeper: self.clone(),
            who,
        }
    }

    fn of_address(
        &self,
        whose: Option<Network>,
        take: impl FnOnce(&mut Crowd<Network>, &Network, Micros) -> Result<(), Exceeded>,
    ) -> Result<(), Exceeded> {
        let Some(network) = whose else { return Ok(()) };
        let taken = take(&mut lock(&self.addresses), &network, clock::now());
        taken.inspect_err(|exceeded| self.is_full(network, exceeded.text()))
    }

    /// Logged once: whoever runs the server may have many people behind one address.
    fn is_full(&self, network: Network, what: &str) {
        once(&self.said.is_full, || {
            log::warn!(
                "the first address reached a limit: {network}: {what}; /metrics counts those that follow. If it is a proxy, see \
                 --trust-proxy; if many people are behind it, see the limits of addresses"
            );
        });
    }
}

impl fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorkeeper")
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match &self.who {
            Who::Address(network) => lock(&self.keeper.addresses).disconnect(network),
            Who::User(user) => lock(&self.keeper.users).disconnect(user),
            Who::Silent(network) => lock(&self.keeper.addresses).speaks(network),
        }
    }
}

struct Shown(Option<SocketAddr>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(peer) => peer.ip().fmt(f),
            None => f.write_str("an unknown address"),
        }
    }
}

fn lock<T>(crowd: &Mutex<T>) -> MutexGuard<'_, T> {
    crowd.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Sharer;
    use crate::budgets::{Rate, Whose};

    fn keeper() -> Arc<Doorkeeper> {
        let limits = |whose, documents| Limits {
            whose,
            connections: 10,
            silent: 10,
            handshakes: Rate::per_minute(1, 10),
            refusals: Rate::per_minute(1, 10),
            documents: Rate::per_minute(1, documents),
            links: Rate::per_minute(1, documents),
            memory_percent: 50,
        };
        let fast = Rate::per_second(1_000_000, 1_000_000);
        Doorkeeper::new(Allowed {
            proxy: None,
            address: limits(Whose::Address, 3),
            user: limits(Whose::User, 5),
            pace: pace::Limits {
                messages: fast,
                presence: fast,
                bytes: fast,
                cpu: fast,
            },
        })
    }

    fn holder(link: &str) -> Identity {
        let sharer = Sharer {
            sub: "ada".into(),
            jti: None,
            iat: None,
        };
        Identity {
            subject: Some(link.into()),
            by: Some(vec![sharer].into()),
            ..Identity::anonymous()
        }
    }

    #[test]
    fn t20_of_those_who_hold_one_link_nobody_takes_what_is_anothers_at_another_address() {
        let keeper = keeper();
        let [office, home] =
            ["203.0.113.7", "2001:db8::1"].map(|address| Some(Network::of(address.parse().expect("an address"))));
        let visits = |link, network| {
            let mut visit = Visit::uncounted(network);
            let counted = visit.is_of(&holder(link), &keeper);
            counted.map(|()| visit).map_err(|exceeded| exceeded.label())
        };

        let here: Vec<_> = (0..10)
            .map(|_| visits("link:one", office).expect("room for ten"))
            .collect();
        assert_eq!(visits("link:one", office).err(), Some("connections_of_user"));
        assert!(visits("link:one", home).is_ok());
        assert!(visits("link:two", office).is_ok());
        drop(here);
        assert!(visits("link:one", office).is_ok());
        let unknown: Vec<_> = (0..10)
            .map(|_| visits("link:one", None).expect("room for ten"))
            .collect();
        assert_eq!(
            visits("link:one", None).err(),
            Some("connections_of_user"),
            "{}",
            unknown.len()
        );
    }

    #[test]
    fn t22_links_are_counted_by_address_and_by_user() {
        let keeper = keeper();
        let office = Some(Network::of("203.0.113.7".parse().expect("an address")));
        let (ada, bob) = (Arc::from("ada"), Arc::from("bob"));
        let shares = |whose, user| keeper.shares(whose, Some(user)).map_err(|exceeded| exceeded.label());

        assert!((0..5).all(|_| shares(None, &ada).is_ok()));
        assert_eq!(shares(None, &ada), Err("links_of_user"));
        assert!((0..3).all(|_| shares(office, &bob).is_ok()));
        assert_eq!(shares(office, &bob), Err("links_of_address"));
    }

    #[test]
    fn l58_a_new_document_that_one_limit_refuses_takes_nothing_of_the_other() {
        let keeper = keeper();
        let [office, home, train] = ["203.0.113.7", "203.0.113.8", "203.0.113.9"]
            .map(|address| Some(Network::of(address.parse().expect("an address"))));
        let ada = Arc::from("ada");
        let begins = |whose, user| keeper.begins_document(whose, user).map_err(|exceeded| exceeded.label());

        assert!((0..3).all(|_| begins(office, None).is_ok()));
        for _ in 0..20 {
            assert_eq!(begins(office, Some(&ada)), Err("documents_of_address"));
        }
        assert!((0..3).all(|_| begins(home, Some(&ada)).is_ok()));
        assert!((0..2).all(|_| begins(train, Some(&ada)).is_ok()), "five of this user");
        for _ in 0..20 {
            assert_eq!(begins(train, Some(&ada)), Err("documents_of_user"));
        }
        assert!(begins(train, None).is_ok(), "a third from there");
        assert!(begins(train, None).is_err());
    }
}
