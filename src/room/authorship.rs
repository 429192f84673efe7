//! Who writes under which client id.
//!
//! A client id is one page's: Yjs numbers what a page writes, and if two write under one id, one of them loses. So
//! while a session is here, and for a minute after, new structs under its client id are taken from it alone, or from
//! its subject. From others they count as a gap: they are taken later, if they are still missing.
//!
//! A session's client id is the one that it announces (awareness); of a session that announces none, the one under which
//! it first writes. Passing on what others wrote claims nothing.
//!
//! Without tokens nobody knows whether a page that comes back is the same. So who left can be followed by whoever
//! announces its id. A session that says nothing when it is asked may have lost its line: its id is free then.
//!
//! So another page may have written under the id of one that comes back. Its state vector does not tell. So from where
//! an id was somebody else's to write, everybody who joins is asked again for what it has: what differs is then seen.
//!
//! What must stay true: a claim names a session of this room, or one that left less than a minute ago; `ids` has it then.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::limits::AWARENESS_CLIENTS_PER_SESSION_MAX;

use super::{MS, Micros, SECOND, session::SessionId};

/// How long the client id of a session that left stays its own.
const REMEMBERED: Micros = 60 * SECOND;
/// A session that is asked whether it lives answers within this time.
pub(super) const ANSWER_TIME: Micros = 3 * SECOND;
/// Client ids whose doubtful clocks are remembered: an honest document has a few.
const DOUBTS_MAX: usize = 1_024;

/// The claims of one room.
#[derive(Debug, Default)]
pub(super) struct Authorship {
    claims: BTreeMap<u64, Claim>,
    /// The client ids that each session claimed.
    ids: FxHashMap<SessionId, SmallVec<[u64; 2]>>,
    /// From which clock on a client id may have been written under by two pages.
    doubts: BTreeMap<u64, u32>,
}

#[derive(Debug)]
struct Claim {
    session: SessionId,
    subject: Option<Arc<str>>,
    /// It announced the id, and did not only write under it.
    announced: bool,
    /// When it left.
    left: Option<Micros>,
    /// When it was asked whether it lives.
    asked: Option<Micros>,
}

/// Whether new structs under a client id are taken from a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Granted,
    /// They are taken, and were another session's to write: whether that was the same page is not known.
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
    pub subject: Option<&'a Arc<str>>,
}

impl Claim {
    fn of(author: Author, announced: bool) -> Self {
        Self {
            session: author.session,
            subject: author.subject.cloned(),
            announced,
            left: None,
            asked: None,
        }
    }

    fn is_of(&self, author: Author) -> bool {
        self.session == author.session || (self.subject.is_some() && self.subject.as_ref() == author.subject)
    }
}

impl Authorship {
    /// A session announces a client id, which presence has accepted from it.
    pub fn announce(&mut self, client: u64, author: Author) {
        if let Some(claim) = self.claims.get(&client) {
            let follows = claim.left.is_some() && claim.subject.as_ref() == author.subject;
            let renews = claim.session == author.session && claim.announced;
            if renews || !(claim.is_of(author) || follows || !claim.announced) {
                return;
            }
        }
        self.claim(client, author, true);
    }

    /// A session says again what presence had heard of a client id that left, as a provider does when it comes back.
    /// One that has an id may only pass on late what it heard.
    pub fn come_back(&mut self, client: u64, author: Author) {
        let left = |claim: &Claim| claim.left.is_some() && claim.subject.as_ref() == author.subject;
        if !self.ids.contains_key(&author.session) && self.claims.get(&client).is_some_and(left) {
            self.claim(client, author, false);
        }
    }

    /// Somebody whose id it may not be writes under it from this clock on.
    pub fn doubt(&mut self, client: u64, clock: u32) {
        if self.doubts.len() < DOUBTS_MAX {
            self.doubts.entry(client).or_insert(clock);
        }
    }

    /// From which clock on which client ids may have been written under by two pages.
    pub fn doubts(&self) -> &BTreeMap<u64, u32> {
        &self.doubts
    }

    /// A session writes under a client id of nobody, what it did itself: one that has no id yet has this one.
    pub fn write(&mut self, client: u64, author: Author) {
        if !self.claims.contains_key(&client) && !self.ids.contains_key(&author.session) {
            self.claim(client, author, false);
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
        let before = self.claims.insert(client, Claim::of(author, announced));
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
        let has_id = self.ids.contains_key(&author.session);
        let Some(claim) = self.claims.get_mut(&client) else {
            return Right::Granted;
        };
        if claim.is_of(author) {
            return Right::Granted;
        }
        if let Some(left) = claim.left {
            // It may have come back as somebody who announces nothing.
            let follows = claim.subject.is_none() && author.subject.is_none() && !has_id;
            return if left + REMEMBERED <= now || follows {
                Right::Followed
            } else {
                Right::Denied
            };
        }
        match claim.asked {
            // What was heard is known to the millisecond.
            Some(asked) if heard(claim.session) >= asked / MS * MS => {
                claim.asked = None;
                Right::Denied
            }
            Some(asked) if asked + ANSWER_TIME <= now => {
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

    /// A session is gone.
    pub fn leave(&mut self, session: SessionId, now: Micros) {
        for client in self.ids.get(&session).into_iter().flatten() {
            if let Some(claim) = self.claims.get_mut(client) {
                claim.left.get_or_insert(now);
            }
        }
    }

    /// Forgets those who left long ago.
    pub fn forget(&mut self, now: Micros) {
        let ids = &mut self.ids;
        self.claims.retain(|_, claim| {
            let kept = claim.left.is_none_or(|left| left + REMEMBERED > now);
            if !kept {
                ids.remove(&claim.session);
            }
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Author = Author {
        session: SessionId(1),
        subject: None,
    };
    const B: Author = Author {
        session: SessionId(2),
        subject: None,
    };
    const C: Author = Author {
        session: SessionId(3),
        subject: None,
    };

    fn right(authorship: &mut Authorship, client: u64, author: Author, now: Micros) -> Right {
        authorship.right(client, author, now, |_| 0)
    }

    #[test]
    fn d21_a_client_id_is_its_sessions_while_that_is_here_and_a_minute_after() {
        let mut authorship = Authorship::default();
        authorship.announce(10, A);
        authorship.announce(20, B);

        assert_eq!(right(&mut authorship, 10, A, 0), Right::Granted);
        assert_eq!(right(&mut authorship, 10, B, 1), Right::Ask(A.session));
        authorship.leave(A.session, 5);
        assert_eq!(right(&mut authorship, 10, B, REMEMBERED + 4), Right::Denied);
        assert_eq!(right(&mut authorship, 10, B, REMEMBERED + 5), Right::Followed);
        authorship.forget(REMEMBERED + 4);
        assert_eq!(authorship.claims.len(), 2);
        authorship.forget(REMEMBERED + 5);
        assert_eq!(authorship.claims.len(), 1);
    }

    #[test]
    fn d21_who_comes_back_without_a_token_writes_on_at_once() {
        let mut authorship = Authorship::default();
        authorship.announce(10, A);
        authorship.announce(20, B);
        authorship.leave(A.session, 5);

        assert_eq!(
            right(&mut authorship, 10, C, 6),
            Right::Followed,
            "it has announced nothing"
        );
        authorship.announce(10, C);
        assert_eq!(right(&mut authorship, 10, C, 7), Right::Granted);
        assert_eq!(right(&mut authorship, 10, B, 8), Right::Ask(C.session));
    }

    #[test]
    fn d21_who_comes_back_as_presence_knows_it_has_its_client_id_at_once() {
        let mut authorship = Authorship::default();
        authorship.announce(10, A);
        authorship.announce(20, B);
        authorship.come_back(10, C);
        assert_eq!(
            right(&mut authorship, 10, C, 1),
            Right::Ask(A.session),
            "it is not gone"
        );
        authorship.leave(A.session, 5);

        authorship.come_back(10, B);
        assert_eq!(
            right(&mut authorship, 10, B, 6),
            Right::Denied,
            "it may have been passed on"
        );
        authorship.come_back(10, C);

        assert_eq!(right(&mut authorship, 10, C, 7), Right::Granted);
        let nobody = Author {
            session: SessionId(4),
            subject: None,
        };
        assert_eq!(right(&mut authorship, 10, nobody, 8), Right::Ask(C.session));
    }

    #[test]
    fn d21_a_session_that_does_not_answer_loses_its_client_id() {
        let mut authorship = Authorship::default();
        authorship.announce(10, A);

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
            subject: Some(subject),
        };
        let mut authorship = Authorship::default();
        authorship.announce(10, author(1, &ada));

        assert_eq!(right(&mut authorship, 10, author(2, &ada), 0), Right::Granted);
        assert_eq!(right(&mut authorship, 10, author(3, &bob), 0), Right::Ask(SessionId(1)));
        authorship.leave(SessionId(1), 1);
        assert_eq!(right(&mut authorship, 10, author(3, &bob), 2), Right::Denied);
        assert_eq!(right(&mut authorship, 10, author(4, &ada), 2), Right::Granted);
    }

    #[test]
    fn d21_what_is_only_written_under_is_given_to_who_announces_it() {
        let mut authorship = Authorship::default();
        authorship.write(10, A);
        authorship.write(20, A);
        assert_eq!(right(&mut authorship, 10, B, 0), Right::Ask(A.session));
        assert_eq!(right(&mut authorship, 20, B, 0), Right::Granted, "one has one id");

        authorship.announce(10, B);

        assert_eq!(right(&mut authorship, 10, B, 1), Right::Granted);
        assert_eq!(right(&mut authorship, 10, A, 1), Right::Ask(B.session));
    }
}
