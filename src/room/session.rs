//! One connected editor, as its room sees it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    access::{Access, Identity, Sharer},
    budgets::{Accounts, Charge},
    protocol::{
        dialect::{Dialect, Outbound},
        update::Id,
    },
    store::Seq,
};

use super::{
    Micros,
    authorship::Author,
    given_up::{Client, Tried},
    had::Had,
    outbox::{Kind, Outbox},
    stream::{Pinged, Stream},
};

/// Names a session within the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A session that wants to join.
#[derive(Debug, Clone)]
pub struct Joining {
    /// Its name.
    pub id: SessionId,
    /// Who it is and what it may do here.
    pub identity: Identity,
    /// When its token ends, on the room's clock.
    pub expires: Option<Micros>,
    /// How it speaks.
    pub dialect: Dialect,
    /// Where its frames go.
    pub outbox: Arc<Outbox>,
    /// Who is charged with what its document takes.
    pub accounts: Accounts,
}

/// A session, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Its name.
    pub session: SessionId,
    /// Its subject.
    pub user: Option<Arc<str>>,
    /// By whom the link came that it holds.
    pub by: Option<Arc<[Sharer]>>,
    /// What it may do.
    pub access: Access,
    /// The wire that it speaks.
    pub wire: &'static str,
    /// Since how many seconds it is here.
    pub seconds: u64,
}

/// A session of a room. What each frame for it needs lies together: there are more sessions than a cache holds.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Session {
    pub outbox: Arc<Outbox>,
    /// When something was last queued for it.
    pub sent: Micros,
    pub dialect: Dialect,
    pub reading: Reading,
    /// It was told who is here. That waits until it has said which client id is its own.
    pub greeted: bool,
    /// Its awareness messages were skipped while it was behind: it must be sent everybody's.
    pub presence_stale: bool,
    /// It may only read, and edited all the same: it is never told that all is saved.
    pub refused: bool,
    /// It has been told that its edits are not taken.
    pub told_read_only: bool,
    /// It is asked for what it has when it has said of whom it has anything (F16).
    pub asked_late: bool,
    /// It has asked for the document and was not sent all of it.
    pub wants_document: bool,
    pub identity: Identity,
    pub joined: Micros,
    pub saving: Saving,
    /// A gap in its updates that is open.
    pub gap: Option<Gap>,
    /// When its last SyncStep1 was answered.
    pub served: Option<Micros>,
    pub expires: Option<Micros>,
    /// When it was asked for another token.
    pub token_wanted: Option<Micros>,
    /// Its own client id in presence, if it said one before it was told of others.
    pub presence_id: Option<u64>,
    /// From when on it may be asked again for what an update of its referred to and nobody has.
    pub may_ask: Micros,
    /// From which clock on structs of which client ids were not taken from it: it is asked for them again, also for those
    /// that another session has written meanwhile.
    pub withheld: BTreeMap<u64, u32>,
    /// The first client id that it announced, which is its own to all appearances.
    pub announces: Option<u64>,
    /// It has no client id of its own, and this struct of the one that it writes under differs from what is known.
    pub twin: Option<Id>,
    /// From which clock on it was asked for what it may have written differently, by client id.
    pub asked_about: BTreeMap<u64, u32>,
    /// It was answered before, and asks again.
    pub asks_again: bool,
    /// Its part of what the document takes in memory.
    pub charge: Charge,
    /// The pings that it was sent, whose answers tell what its line carries.
    pub pinged: Pinged,
    /// What it is sent next follows an answer that has just been sent.
    pub follows: bool,
    /// The last answer with a message of more than 48 KiB, or asked for with that many bytes, that it was sent.
    pub sent_large: Option<Tried>,
}

impl Session {
    /// Queues a message, whatever else waits; nothing where its dialect has no words for it.
    pub fn say(&self, message: Outbound<'_>) {
        if let Some(frame) = self.dialect.frame(message) {
            self.outbox.push(frame, Kind::Other);
        }
    }

    /// By what it is known when it comes back.
    pub fn client(&self) -> Client {
        Client {
            id: self.announces.or(self.presence_id),
            network: self.outbox.line().network(),
        }
    }

    pub fn author(&self, id: SessionId) -> Author<'_> {
        Author {
            session: id,
            person: self.identity.person(),
            joined: self.joined,
            says: self.announces,
            network: self.outbox.line().network(),
        }
    }
}

/// It sent what refers to something that nobody has sent.
#[derive(Debug)]
pub(super) struct Gap {
    pub since: Micros,
    /// It was logged and counted as one that does not close.
    pub noted: bool,
    /// What its client lacks as well, so that it shows nobody what it sent. Nothing when it may show that.
    pub unseen_for: SmallVec<[Id; 2]>,
    /// When the session whose client id it writes under was last asked whether it lives, to tell a twin by that.
    pub twin_asked: Option<Micros>,
}

impl Gap {
    pub fn since(now: Micros) -> Self {
        Self {
            since: now,
            noted: false,
            unseen_for: SmallVec::new(),
            twin_asked: None,
        }
    }
}

/// What a session has of the document.
#[derive(Debug)]
pub(super) enum Reading {
    /// Nothing was asked for yet: it is sent nothing of the document.
    New,
    /// Everything that its outbox took; broadcasts go to it. `had` is what it had when its last sync
    /// was queued, at `since_version`: kept for the case that the sync itself is dropped.
    Live { since_version: u64, had: Had },
    /// Only what `had` says; it is sent the difference when its outbox has room. `lacks` is how many bytes that were when there was
    /// no room for so many.
    Behind { had: Had, lacks: Option<usize> },
    /// An answer is on its way.
    Streaming(Box<Stream>),
}

impl Reading {
    /// What it said that it has, as long as that is remembered.
    pub fn had(&self) -> Option<&Had> {
        match self {
            Self::New => None,
            Self::Live { had, .. } | Self::Behind { had, .. } => Some(had),
            Self::Streaming(stream) => Some(&stream.had),
        }
    }

    /// It has this, and nothing is known of what it lacks.
    pub fn behind(had: Had) -> Self {
        Self::Behind { had, lacks: None }
    }

    /// How many bytes it lacked when there was no room for so many.
    pub fn lacks(&self) -> Option<usize> {
        match self {
            Self::Behind { lacks, .. } => *lacks,
            _ => None,
        }
    }

    /// There was no room for so many bytes that it lacks.
    pub fn has_no_room(&mut self, bytes: usize) {
        if let Self::Behind { lacks, .. } = self {
            *lacks = Some(bytes);
        }
    }
}

/// What a session waits to hear about durability.
#[derive(Debug)]
pub(super) struct Saving {
    /// The record that holds its latest edit.
    pub last_seq: Seq,
    /// How many SyncStep1 it was sent, and how many it answered.
    asked_times: u64,
    answered_times: u64,
    /// Which of them it does not count, oldest first.
    uncounted: VecDeque<u64>,
    /// When it was last asked for what it may have written differently, or when it joined.
    pub asked: Micros,
    /// What it waits to be told, oldest first.
    pub questions: VecDeque<Question>,
}

/// Something that a session is told when a record is durable.
#[derive(Debug)]
pub(super) struct Question {
    /// Which.
    pub needs: Seq,
    pub answer: SavedAnswer,
}

#[derive(Debug)]
pub(super) enum SavedAnswer {
    /// The payload of its question.
    Echo(Bytes),
    /// So many updates of its are taken.
    Taken(u32),
}

impl Saving {
    pub fn new(now: Micros) -> Self {
        Self {
            last_seq: 0,
            asked_times: 0,
            answered_times: 0,
            uncounted: VecDeque::new(),
            asked: now,
            questions: VecDeque::new(),
        }
    }

    /// It was sent a SyncStep1; `counts` says whether it waits to be told that its answer is durable.
    pub fn asks(&mut self, counts: bool) {
        if !counts {
            self.uncounted.push_back(self.asked_times);
        }
        self.asked_times += 1;
    }

    /// It answered. Says whether it waits to be told that the answer is durable.
    pub fn answered(&mut self) -> bool {
        if self.answered_times == self.asked_times {
            return true;
        }
        let counts = self
            .uncounted
            .pop_front_if(|asked| *asked == self.answered_times)
            .is_none();
        self.answered_times += 1;
        counts
    }

    /// Whether it was asked something whose answer it does not count, and has not answered.
    pub fn owes_uncounted(&self) -> bool {
        !self.uncounted.is_empty()
    }

    /// Whether it was asked something whose answer it counts, and has not answered.
    pub fn owes_counted(&self) -> bool {
        self.unanswered() > self.uncounted.len() as u64
    }

    /// How many SyncStep1 it has not answered: until then it may hold edits that we lack.
    pub fn unanswered(&self) -> u64 {
        self.asked_times - self.answered_times
    }
}
