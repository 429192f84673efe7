//! Who writes under which client id.
//!
//! A client id is one page's: Yjs numbers what a page writes, and if two write under one id, one of them loses. So
//! while a session is here, and for a minute after, new structs under its client id are taken from it alone, or from
//! its subject. From others they count as a gap: they are taken later, if they are still missing.
//!
//! A session's client id is the one that it announces (awareness); of a session that announces none, the one under which
//! it first writes. Passing on what others wrote claims nothing.
//!
//! Without tokens, and of those who hold one link, nobody knows whether a page that comes back, or that was reloaded and
//! brings what its browser kept, is the same. So who left may be followed by sessions that came after it had left. Of those that
//! were there one may be the same page on another line, whose first line was seen to end late: one that says that the id is its
//! own. A session that says nothing when it is asked may have lost its line: its id is free then.
//!
//! So another page may have written under the id of one that comes back, and state vectors do not tell. So who takes an id
//! is asked what it has from where the room first knew of the id's session (from its beginning, if it knows of none), and
//! everybody who joins is asked from where somebody wrote whose id it was not: what differs is then seen.
//!
//! What must stay true: a claim names a session of this room, or one that left less than a minute ago; `ids` has it then.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::{access::Person, budgets::Network, limits::AWARENESS_CLIENTS_PER_SESSION_MAX};

use super::{MS, Micros, SECOND, firsts::Firsts, session::SessionId};

/// How long the client id of a session that left stays its own.
const REMEMBERED: Micros = 60 * SECOND;
/// A session that is asked whether it lives answers within this time.
pub(super) const ANSWER_TIME: Micros = 3 * SECOND;
/// Client ids whose doubtful clocks are remembered, and of which is remembered how far they had written: one for each page
/// that came.
const REMEMBERED_IDS_MAX: usize = 65_536;
/// Of those doubts, one person or network brings so many at most, and all of whom nothing is known so many together: who writes under
/// very many ids leaves room for others.
const DOUBTS_OF_ONE_MAX: u32 = 8_192;
const DOUBTS_OF_UNKNOWN_MAX: u32 = 32_768;

/// So many client ids of those who left are remembered at most; then the half that left first is forgotten.
const LEFT_MAX: usize = 131_072;

/// What a claim takes with the session's list of them, and a clock of a client, in bytes, about.
const CLAIM_BYTES: usize = 160;
const SINCE_BYTES: usize = 28;

/// The claims of one room.
#[derive(Debug, Default)]
pub(super) struct Authorship {
    claims: BTreeMap<u64, Claim>,
    /// The client ids that each session claimed.
    ids: FxHashMap<SessionId, SmallVec<[u64; 2]>>,
    /// From which clock on a client id was written under by a session whose id it was not.
    doubts: BTreeMap<u64, u32>,
    /// How many of them each brought.
    doubters: FxHashMap<Doubter, u32>,
    /// How far a client had written when the room first knew whose id it was: what is after it may be of two pages.
    since: BTreeMap<u64, u32>,
    /// Whose client ids were first: whoever took one meanwhile gives it back.
    firsts: Firsts,
    /// About how many claims are of those who left.
    left: usize,
}

/// By whom a doubt comes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Doubter {
    Named(Arc<str>),
    From(Network),
    Unknown,
}

impl Doubter {
    fn of(author: &Author) -> Self {
        match (author.person.named(), author.network) {
            (Some(subject), _) => Self::Named(subject.clone()),
            (None, Some(network)) => Self::From(network),
            (None, None) => Self::Unknown,
        }
    }
}

#[derive(Debug)]
struct Claim {
    session: SessionId,
    person: Person,
    /// It announced the id, and did not only write under it.
    announced: bool,
    /// It is the session's first. Another one it may pass on, as tabs of one browser do before the other's own line is
    /// there: that goes to the session whose first it is.
    first: bool,
    /// What was written under the id up to now is its own, as far as the room can know.
    sure: bool,
    /// When it left.
    left: Option<Micros>,
    /// When it was asked whether it lives.
    asked: Option<Micros>,
    /// Another session wrote under the id, which was not taken.
    wanted: bool,
}

/// Whether new structs under a client id are taken from a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Granted,
    /// They are taken, and may be another page's to write, which is not here: nobody knows whether it is the same.
    Followed,
    /// They are another session's to write.
    Denied,
    /// The same; that session is to be asked whether it lives.
    Ask(SessionId),
}

/// Who wants to write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Author<'a> {
    pub session: SessionId,
    pub person: Person<&'a Arc<str>>,
    pub joined: Micros,
    /// The client id that it says is its own.
    pub says: Option<u64>,
    /// Where it comes from, if its address is counted.
    pub network: Option<Network>,
}

impl Claim {
    fn of(author: Author, announced: bool, first: bool) -> Self {
        Self {
            session: author.session,
            person: author.person.cloned(),
            announced,
            first,
            sure: false,
            left: None,
            asked: None,
            wanted: false,
        }
    }

    /// For how long its session may be silent before this author has the id: one that may be the same page on another line
    /// need not wait.
    fn patience_with(&self, author: Author) -> Micros {
        if self.person.is_not(&author.person) {
            REMEMBERED
        } else {
            ANSWER_TIME
        }
    }

    fn is_of(&self, author: Author) -> bool {
        self.session == author.session || self.person.is(&author.person)
    }
}

impl Authorship {
    /// A session announces a client id, which has written up to clock `next`. Returns the clock from which on it is to be
    /// asked what it has: another page may have written there.
    pub fn announce(&mut self, client: u64, author: Author, next: u32) -> Option<u32> {
        let mut is_own = false;
        if let Some(claim) = self.claims.get(&client) {
            if claim.session == author.session && claim.announced {
                return None;
            }
            let is_of = claim.session == author.session || (claim.person.is_named() && claim.is_of(author));
            is_own = is_of && claim.sure;
            if !is_of && claim.announced && !Self::is_followed(client, claim, author) {
                if self.ids.contains_key(&author.session) {
                    return None;
                }
                // Another session of a person passes on what it hears of the first one: the id stays that person's.
                let is_settled = claim.first || self.firsts.is_of(client, claim.person.as_ref().named());
                if is_settled && !self.firsts.is_of(client, author.person.named()) {
                    // One that has no id of its own may be the page that wrote under this one before.
                    return self.since.get(&client).copied().filter(|since| *since < next);
                }
            }
        }
        self.claim(client, author, true);
        if is_own {
            self.knows(client, next);
            return None;
        }
        self.unsure(client, next)
    }

    /// What a client has written up to clock `next` is its claim's own.
    fn knows(&mut self, client: u64, next: u32) {
        let has_room = self.has_room_for(client);
        if let Some(claim) = self.claims.get_mut(&client).filter(|_| has_room) {
            claim.sure = true;
            self.since.insert(client, next);
        }
    }

    fn has_room_for(&self, client: u64) -> bool {
        self.since.len() < REMEMBERED_IDS_MAX || self.since.contains_key(&client)
    }

    /// The clock from which on a client's structs may be of two pages, if there are some: all of them, where nothing is
    /// remembered of the client. Its page may have been away since before the document was opened.
    fn unsure(&mut self, client: u64, next: u32) -> Option<u32> {
        let Some(since) = self.since.get(&client).copied() else {
            if next == 0 {
                self.knows(client, 0);
            } else if self.has_room_for(client) {
                self.since.insert(client, 0);
            }
            return (next > 0).then_some(0);
        };
        if let Some(claim) = self.claims.get_mut(&client) {
            claim.sure = false;
        }
        (since < next).then_some(since)
    }

    /// A session says again what presence had heard of a client id that left, as a provider does when it comes back.
    /// One that has an id may only pass on late what it heard.
    pub fn come_back(&mut self, client: u64, author: Author, next: u32) -> Option<u32> {
        let follows = |claim: &Claim| {
            let is_same = claim.is_of(author) || Self::is_followed(client, claim, author);
            claim.left.is_some() && is_same
        };
        if !self.ids.contains_key(&author.session) && self.claims.get(&client).is_some_and(follows) {
            self.claim(client, author, false);
            return self.unsure(client, next);
        }
        None
    }

    /// Whether a claim is of somebody who left, and whom this author may be: nothing tells them apart. Of those who were there
    /// when it left, the same page on another line says that the id is its own.
    fn is_followed(client: u64, claim: &Claim, author: Author) -> bool {
        let may_follow = |left: Micros| left <= author.joined || author.says == Some(client);
        claim.person.may_be(&author.person) && claim.left.is_some_and(may_follow)
    }

    /// The session whose client id this is.
    pub fn owner(&self, client: u64) -> Option<SessionId> {
        self.claims.get(&client).map(|claim| claim.session)
    }

    /// Whether a session has a client id of its own.
    pub fn has_id(&self, session: SessionId) -> bool {
        self.ids.contains_key(&session)
    }

    /// Somebody whose id it may not be writes under it from this clock on. False when that cannot be remembered: then it
    /// must not be taken.
    #[must_use]
    pub fn doubt(&mut self, client: u64, clock: u32, author: &Author) -> bool {
        if self.doubts.contains_key(&client) {
            return true;
        }
        let doubter = Doubter::of(author);
        let most = match doubter {
            Doubter::Unknown => DOUBTS_OF_UNKNOWN_MAX,
            Doubter::Named(_) | Doubter::From(_) => DOUBTS_OF_ONE_MAX,
        };
        let brought = self.doubters.get(&doubter).copied().unwrap_or_default();
        if brought >= most || self.doubts.len() >= REMEMBERED_IDS_MAX {
            return false;
        }
        self.doubters.insert(doubter, brought + 1);
        self.doubts.insert(client, clock);
        true
    }

    /// From which clock on which client ids may have been written under by two pages.
    pub fn doubts(&self) -> &BTreeMap<u64, u32> {
        &self.doubts
    }

    /// A session writes under a client id of nobody, from clock `next` on, what it did itself: one that has no id yet has this
    /// one.
    pub fn write(&mut self, client: u64, author: Author, next: u32) {
        let is_free = self.claims.get(&client).is_none_or(|claim| {
            // Somebody took it meanwhile.
            !claim.is_of(author) && self.firsts.is_of(client, author.person.named())
        });
        if is_free && !self.ids.contains_key(&author.session) {
            self.claim(client, author, false);
            if next == 0 && !self.since.contains_key(&client) {
                self.knows(client, 0);
            }
        }
    }

    /// Somebody without a session begins to write under a client id: it may go on.
    pub fn begin(&mut self, client: u64, person: Person<&Arc<str>>) {
        if !self.claims.contains_key(&client) && !self.since.contains_key(&client) {
            self.firsts.remember(client, person.named());
        }
    }

    fn claim(&mut self, client: u64, author: Author, announced: bool) {
        let ids = self.ids.entry(author.session).or_default();
        if !ids.contains(&client) {
            if ids.len() >= AWARENESS_CLIENTS_PER_SESSION_MAX {
                return;
            }
            ids.push(client);
        }
        let first = ids.first() == Some(&client);
        if first {
            self.firsts.remember(client, author.person.named());
        }
        let before = self.claims.insert(client, Claim::of(author, announced, first));
        if let Some(before) = before.filter(|before| before.session != author.session) {
            self.release(client, before.session);
        }
    }

    fn release(&mut self, client: u64, session: SessionId) {
        if let Some(ids) = self.ids.get_mut(&session) {
            ids.retain(|id| *id != client);
            if ids.is_empty() {
                self.ids.remove(&session);
            }
        }
    }

    /// Whether a session may write under a client id. `heard` is when something was last heard of a session.
    pub fn right(&mut self, client: u64, author: Author, now: Micros, heard: impl Fn(SessionId) -> Micros) -> Right {
        if self.firsts.is_of(client, author.person.named()) {
            return Right::Granted;
        }
        let Some(claim) = self.claims.get(&client) else {
            return Right::Followed;
        };
        if claim.is_of(author) {
            return Right::Granted;
        }
        if let Some(left) = claim.left {
            return if left + REMEMBERED <= now || Self::is_followed(client, claim, author) {
                Right::Followed
            } else {
                Right::Denied
            };
        }
        let Some(claim) = self.claims.get_mut(&client) else {
            return Right::Followed;
        };
        claim.wanted = true;
        match claim.asked {
            // What was heard is known to the millisecond.
            Some(asked) if heard(claim.session) >= asked / MS * MS => {
                claim.asked = None;
                Right::Denied
            }
            Some(asked) if asked + claim.patience_with(author) <= now => {
                let owner = claim.session;
                self.claims.remove(&client);
                self.release(client, owner);
                Right::Followed
            }
            Some(_) => Right::Denied,
            None => {
                claim.asked = Some(now);
                Right::Ask(claim.session)
            }
        }
    }

    /// A session is gone; `next` is how far a client has written. Says under which of its client ids others wrote, and were not
    /// taken.
    pub fn leave(&mut self, session: SessionId, now: Micros, next: impl Fn(u64) -> u32) -> SmallVec<[u64; 1]> {
        let mut wanted = SmallVec::new();
        for client in self.ids.get(&session).into_iter().flatten() {
            if let Some(claim) = self.claims.get_mut(client) {
                claim.left.get_or_insert(now);
                self.left += 1;
                if claim.sure {
                    self.since.insert(*client, next(*client));
                }
                if claim.wanted {
                    wanted.push(*client);
                }
            }
        }
        if self.left > LEFT_MAX {
            let mut left: Vec<Micros> = self.claims.values().filter_map(|claim| claim.left).collect();
            let middle = left.len() / 2;
            let up_to = if left.is_empty() {
                0
            } else {
                *left.select_nth_unstable(middle).1
            };
            self.forget_up_to(up_to);
        }
        wanted
    }

    /// Forgets those who left long ago.
    pub fn forget(&mut self, now: Micros) {
        if let Some(long_ago) = now.checked_sub(REMEMBERED) {
            self.forget_up_to(long_ago);
        }
    }

    fn forget_up_to(&mut self, moment: Micros) {
        let ids = &mut self.ids;
        self.left = 0;
        self.claims.retain(|_, claim| {
            let kept = claim.left.is_none_or(|left| left > moment);
            if !kept {
                ids.remove(&claim.session);
            }
            self.left += usize::from(kept && claim.left.is_some());
            kept
        });
    }

    /// Bytes of memory that it takes, about.
    pub fn held_bytes(&self) -> usize {
        self.claims.len() * CLAIM_BYTES + (self.since.len() + self.doubts.len()) * SINCE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Author = Author {
        session: SessionId(1),
        person: Person::Nobody,
        joined: 0,
        says: None,
        network: None,
    };
    const B: Author = Author {
        session: SessionId(2),
        person: Person::Nobody,
        joined: 0,
        says: None,
        network: None,
    };
    const C: Author = Author {
        session: SessionId(3),
        person: Person::Nobody,
        joined: 0,
        says: None,
        network: None,
    };

    fn right(authorship: &mut Authorship, client: u64, author: Author, now: Micros) -> Right {
        authorship.right(client, author, now, |_| 0)
    }

    #[test]
    fn d21_a_client_id_is_its_sessions_while_that_is_here_and_a_minute_after() {
        let mut authorship = Authorship::default();
        authorship.announce(10, A, 0);
        authorship.announce(20, B, 0);

        assert_eq!(right(&mut authorship, 10, A, 0), Right::Granted);
        assert_eq!(right(&mut authorship, 10, B, 1), Right::Ask(A.session));
        authorship.leave(A.session, 5, |_| 0);
        assert_eq!(right(&mut authorship, 10, B, REMEMBERED + 4), Right::Denied);
        assert_eq!(right(&mut authorship, 10, B, REMEMBERED + 5), Right::Followed);
        authorship.forget(REMEMBERED + 4);
        assert_eq!(authorship.claims.len(), 2);
        authorship.forget(REMEMBERED + 5);
        assert_eq!(authorship.claims.len(), 1);
    }

    #[test]
    fn d21_of_very_many_who_left_the_first_are_forgotten() {
        let mut authorship = Authorship::default();
        let page = |n: u64| Author {
            session: SessionId(10 + n),
            ..A
        };
        let all = 3 * LEFT_MAX as u64;
        for n in 0..all {
            authorship.announce(n, page(n), 0);
            authorship.leave(page(n).session, n, |_| 0);
            assert!(authorship.claims.len() <= LEFT_MAX + 1 && authorship.ids.len() <= LEFT_MAX + 1);
        }
        let other = Author { joined: 0, ..B };

        assert_eq!(
            right(&mut authorship, 5, other, all),
            Right::Followed,
            "one of the first"
        );
        assert_eq!(
            right(&mut authorship, all - 1, other, all),
            Right::Denied,
            "the last one"
        );
        // Who is here is not forgotten.
        authorship.announce(1 << 40, C, 0);
        for n in all..all + LEFT_MAX as u64 {
            authorship.announce(n, page(n), 0);
            authorship.leave(page(n).session, n, |_| 0);
        }
        assert_eq!(right(&mut authorship, 1 << 40, C, 2 * all), Right::Granted);
        assert_eq!(authorship.owner(1 << 40), Some(C.session));
    }

    #[test]
    fn d21_who_comes_back_without_a_token_writes_on_at_once() {
        let mut authorship = Authorship::default();
        authorship.announce(10, A, 0);
        authorship.announce(20, B, 0);
        authorship.leave(A.session, 5, |_| 0);
        let back = Author { joined: 5, ..C };
        let reloaded = Author {
            session: SessionId(4),
            joined: 6,
            ..C
        };

        assert_eq!(right(&mut authorship, 10, B, 6), Right::Denied, "it was there");
        authorship.announce(10, B, 0);
        assert_eq!(right(&mut authorship, 10, B, 6), Right::Denied);
        authorship.announce(30, reloaded, 0);
        assert_eq!(right(&mut authorship, 10, reloaded, 6), Right::Followed, "it passes on");
        authorship.announce(10, back, 0);
        assert_eq!(right(&mut authorship, 10, back, 7), Right::Granted);
        assert_eq!(right(&mut authorship, 10, reloaded, 8), Right::Ask(C.session));
    }

    #[test]
    fn d21_who_comes_back_as_presence_knows_it_has_its_client_id_at_once() {
        let mut authorship = Authorship::default();
        authorship.announce(10, A, 0);
        authorship.announce(20, B, 0);
        authorship.come_back(10, C, 0);
        assert_eq!(
            right(&mut authorship, 10, C, 1),
            Right::Ask(A.session),
            "it is not gone"
        );
        authorship.leave(A.session, 5, |_| 0);

        authorship.come_back(10, B, 0);
        assert_eq!(
            right(&mut authorship, 10, B, 6),
            Right::Denied,
            "it may have been passed on"
        );
        authorship.come_back(10, Author { joined: 5, ..C }, 0);

        assert_eq!(right(&mut authorship, 10, C, 7), Right::Granted);
        let nobody = Author {
            session: SessionId(4),
            ..C
        };
        assert_eq!(right(&mut authorship, 10, nobody, 8), Right::Ask(C.session));
    }

    #[test]
    fn d22_who_takes_a_client_id_is_asked_from_where_the_room_knew_of_it() {
        let mut authorship = Authorship::default();
        let back = |session, joined| Author {
            session: SessionId(session),
            joined,
            ..A
        };
        assert_eq!(authorship.announce(10, A, 0), None);
        assert_eq!(authorship.announce(10, A, 9), None, "its own");
        authorship.leave(A.session, 5, |_| 10);

        assert_eq!(authorship.announce(10, back(4, 6), 12), Some(10));
        assert_eq!(authorship.announce(10, back(5, 7), 20), Some(10), "it is taken");
        authorship.announce(30, B, 0);
        assert_eq!(authorship.announce(10, B, 20), None, "it passes on");
        authorship.leave(SessionId(4), 8, |_| 20);
        assert_eq!(
            authorship.announce(10, back(6, 9), 20),
            Some(10),
            "whose that was is not known"
        );
    }

    #[test]
    fn d22_who_says_a_client_id_that_wrote_before_the_document_was_opened_is_asked_from_its_beginning() {
        let mut authorship = Authorship::default();
        assert_eq!(authorship.announce(10, A, 7), Some(0));
        authorship.leave(A.session, 5, |_| 9);

        let back = Author {
            session: SessionId(4),
            joined: 6,
            ..A
        };
        assert_eq!(
            authorship.announce(10, back, 9),
            Some(0),
            "nobody knows which page A was"
        );
        authorship.announce(11, B, 0);
        authorship.leave(B.session, 7, |_| 3);
        let back = Author {
            session: SessionId(5),
            joined: 8,
            ..B
        };
        assert_eq!(authorship.announce(11, back, 3), None, "it began here");
    }

    #[test]
    fn d22_what_cannot_be_remembered_of_client_ids_is_asked_for_or_not_taken() {
        let mut authorship = Authorship::default();
        let page = |client: u64| Author {
            session: SessionId(10 + client),
            network: Some(network(client / u64::from(DOUBTS_OF_ONE_MAX))),
            ..A
        };
        for client in 0..REMEMBERED_IDS_MAX as u64 {
            assert_eq!(authorship.announce(client, page(client), 0), None);
            assert!(authorship.doubt(client, 1, &page(client)));
        }

        assert_eq!(authorship.announce(1 << 20, B, 0), None);
        authorship.leave(B.session, 5, |_| 7);
        let back = Author { joined: 5, ..C };
        assert_eq!(authorship.announce(1 << 20, back, 9), Some(0));
        assert!(authorship.doubt(7, 1, &back) && !authorship.doubt(1 << 20, 7, &page(1 << 20)));
    }

    fn network(n: u64) -> Network {
        Network::of(format!("192.0.2.{n}").parse().unwrap())
    }

    #[test]
    fn d22_who_writes_under_very_many_client_ids_leaves_room_for_others() {
        let (ada, eve): (Arc<str>, Arc<str>) = ("ada".into(), "eve".into());
        let from = |n, person| Author {
            network: Some(network(n)),
            person,
            ..A
        };
        let unknown = A;
        for (greedy, most) in [
            (from(1, Person::Nobody), DOUBTS_OF_ONE_MAX),
            (from(1, Person::Named(&ada)), DOUBTS_OF_ONE_MAX),
            (from(1, Person::OfLink(&ada)), DOUBTS_OF_ONE_MAX),
            (unknown, DOUBTS_OF_UNKNOWN_MAX),
        ] {
            let mut authorship = Authorship::default();
            let brought = (0..100_000)
                .filter(|client| authorship.doubt(*client, 1, &greedy))
                .count();
            assert_eq!(brought, most as usize);
            assert!(authorship.doubt(5, 9, &greedy), "of this one it is remembered");
            for other in [
                from(2, Person::Nobody),
                from(3, Person::Named(&eve)),
                from(3, Person::OfLink(&eve)),
            ] {
                let client = 1 << 20 | u64::from(other.person.named().is_some());
                assert!(authorship.doubt(client, 1, &other));
            }
        }
    }

    #[test]
    fn d21_a_person_that_is_silent_keeps_its_client_id_from_other_persons_for_a_minute() {
        let (ada, eve): (Arc<str>, Arc<str>) = ("ada".into(), "eve".into());
        let author = |session, person| Author {
            session: SessionId(session),
            person,
            joined: 0,
            says: None,
            network: None,
        };
        let link: Arc<str> = "link:one".into();
        for (owner, other, patience) in [
            (Person::Named(&ada), Person::Named(&eve), REMEMBERED),
            (Person::Named(&ada), Person::Nobody, REMEMBERED),
            (Person::OfLink(&link), Person::Named(&eve), REMEMBERED),
            (Person::OfLink(&link), Person::OfLink(&link), ANSWER_TIME),
            (Person::Nobody, Person::Named(&eve), ANSWER_TIME),
        ] {
            let mut authorship = Authorship::default();
            authorship.announce(10, author(1, owner), 0);

            let other = author(2, other);
            assert_eq!(authorship.right(10, other, 1_000, |_| 900), Right::Ask(SessionId(1)));
            let early = authorship.right(10, other, 1_000 + patience - 1, |_| 900);
            assert_eq!(early, Right::Denied, "{owner:?} {other:?}");
            let late = authorship.right(10, other, 1_000 + patience, |_| 900);
            assert_eq!(late, Right::Followed, "{owner:?} {other:?}");
        }
    }

    #[test]
    fn d21_a_session_that_does_not_answer_loses_its_client_id() {
        let mut authorship = Authorship::default();
        authorship.announce(10, A, 0);

        assert_eq!(authorship.right(10, C, 1_000, |_| 900), Right::Ask(A.session));
        assert_eq!(authorship.right(10, C, 1_000 + ANSWER_TIME - 1, |_| 900), Right::Denied);
        assert_eq!(
            authorship.right(10, C, 1_000 + ANSWER_TIME, |_| 1_001),
            Right::Denied,
            "it answered"
        );
        assert_eq!(
            authorship.right(10, C, 2_000 + ANSWER_TIME, |_| 1_001),
            Right::Ask(A.session)
        );
        assert_eq!(
            authorship.right(10, C, 2_000 + 2 * ANSWER_TIME, |_| 1_001),
            Right::Followed
        );
    }

    #[test]
    fn d21_a_subject_writes_under_its_client_ids_from_any_session() {
        let (ada, bob): (Arc<str>, Arc<str>) = ("ada".into(), "bob".into());
        let author = |session, subject| Author {
            session: SessionId(session),
            person: Person::Named(subject),
            joined: 9,
            says: None,
            network: None,
        };
        let mut authorship = Authorship::default();
        authorship.announce(10, author(1, &ada), 0);

        assert_eq!(right(&mut authorship, 10, author(2, &ada), 0), Right::Granted);
        assert_eq!(right(&mut authorship, 10, author(3, &bob), 0), Right::Ask(SessionId(1)));
        authorship.leave(SessionId(1), 1, |_| 0);
        assert_eq!(right(&mut authorship, 10, author(3, &bob), 2), Right::Denied);
        assert_eq!(right(&mut authorship, 10, author(4, &ada), 2), Right::Granted);
    }

    #[test]
    fn d21_a_subject_that_comes_back_has_the_client_id_that_was_its_own_first() {
        let (ada, eve): (Arc<str>, Arc<str>) = ("ada".into(), "eve".into());
        let author = |session, subject| Author {
            session: SessionId(session),
            person: Person::Named(subject),
            joined: 0,
            says: None,
            network: None,
        };
        for announces in [true, false] {
            let mut authorship = Authorship::default();
            authorship.announce(10, author(1, &ada), 0);
            authorship.leave(SessionId(1), 5, |_| 7);
            authorship.forget(REMEMBERED + 5);
            authorship.announce(10, author(2, &eve), 7);
            assert_eq!(
                right(&mut authorship, 10, author(2, &eve), 0),
                Right::Granted,
                "a page with another name"
            );

            if announces {
                assert_eq!(
                    authorship.announce(10, author(3, &ada), 9),
                    Some(7),
                    "what was written meanwhile"
                );
            }
            assert_eq!(right(&mut authorship, 10, author(3, &ada), 0), Right::Granted);
            authorship.write(10, author(3, &ada), 9);

            assert_eq!(authorship.owner(10), Some(SessionId(3)));
            assert_eq!(right(&mut authorship, 10, author(2, &eve), 0), Right::Ask(SessionId(3)));
            if announces {
                authorship.announce(10, author(4, &eve), 9);
                assert_eq!(authorship.owner(10), Some(SessionId(3)));
            }
        }
    }

    #[test]
    fn d21_what_is_only_written_under_is_given_to_who_announces_it() {
        let mut authorship = Authorship::default();
        authorship.write(10, A, 0);
        authorship.write(20, A, 0);
        assert_eq!(right(&mut authorship, 10, B, 0), Right::Ask(A.session));
        assert_eq!(right(&mut authorship, 20, B, 0), Right::Followed, "one has one id");

        authorship.announce(10, B, 0);

        assert_eq!(right(&mut authorship, 10, B, 1), Right::Granted);
        assert_eq!(right(&mut authorship, 10, A, 1), Right::Ask(B.session));
    }
}
