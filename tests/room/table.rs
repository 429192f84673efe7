//! A room with its sessions around it, and a store that makes durable what the test says.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use cowrite::{
    access::{Access, Identity, Person, Sharer},
    budgets::Accounts,
    document::Deleted,
    id::DocumentId,
    protocol::{
        close::CloseReason,
        dialect::{Dialect, Inbound},
        update::CheckedUpdate,
        y_websocket,
    },
    room::{
        Effect, Micros, Policy, Room, WrittenBy,
        outbox::{Line, Outbox},
        session::{Joining, SessionId},
        states::Encoded,
        stream::Probe,
    },
    store::{Seq, StoredDocument},
};

use crate::editor::{Heard, heard, step1, step2};

pub const MS: Micros = 1_000;
pub const SECOND: Micros = 1_000_000;

pub const POLICY: Policy = Policy {
    document_bytes_max: 64 * 1024 * 1024,
    outbox_bytes_max: 4 * 1024 * 1024,
    unsaved_bytes_max: 64 * 1024 * 1024,
    snapshot_bytes: 256 * 1024,
    idle_timeout: 30 * SECOND,
    deleted: Deleted::Dropped,
    stamps_presence: true,
    shows_readers: true,
};

/// What a room did, without what tests of it do not compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    Append(Seq, Bytes, Vec<String>),
    Snapshot(Seq, Bytes),
    Ended(u64, CloseReason),
    Written(u64, Result<(), CloseReason>),
    Unload,
}

pub struct Table {
    pub room: Room,
    pub now: Micros,
    pub deeds: Vec<Deed>,
    pub encodes: usize,
    /// Jobs are kept here instead of being run, when asked for.
    pub hold_encodes: bool,
    pub held: Vec<Effect>,
    /// No pings are answered that tell what a line carries.
    pub is_slow: bool,
    /// They are kept here.
    unanswered: Vec<Probe>,
    /// Who is charged with sessions that join.
    pub accounts: Accounts,
    outboxes: BTreeMap<u64, Arc<Outbox>>,
}

pub fn document() -> DocumentId {
    DocumentId::parse("notes/today").unwrap()
}

pub fn writer() -> Identity {
    Identity::anonymous()
}

pub fn named(subject: &str) -> Identity {
    Identity {
        subject: Some(subject.into()),
        ..Identity::anonymous()
    }
}

/// Somebody who holds a link.
pub fn holder(link: &str) -> Identity {
    let sharer = Sharer {
        sub: "ada".into(),
        jti: None,
        iat: None,
    };
    Identity {
        by: Some(vec![sharer].into()),
        ..named(&format!("link:{link}"))
    }
}

pub fn reader() -> Identity {
    Identity {
        access: Access::Read,
        ..Identity::anonymous()
    }
}

impl Table {
    pub fn new() -> Self {
        Self::with(POLICY, &StoredDocument::default())
    }

    pub fn with(policy: Policy, stored: &StoredDocument) -> Self {
        let now = 100 * SECOND;
        let room = Room::open(document(), stored, policy, now).unwrap();
        let outboxes = BTreeMap::new();
        Self {
            room,
            now,
            deeds: Vec::new(),
            encodes: 0,
            hold_encodes: false,
            held: Vec::new(),
            is_slow: false,
            unanswered: Vec::new(),
            accounts: Accounts::default(),
            outboxes,
        }
    }

    pub fn joins(&mut self, id: u64, identity: Identity, expires: Option<Micros>) {
        self.joins_with(id, identity, expires, 2 * POLICY.outbox_bytes_max);
    }

    pub fn joins_with(&mut self, id: u64, identity: Identity, expires: Option<Micros>, outbox_bytes_max: usize) {
        let outbox = Arc::new(Outbox::alone(outbox_bytes_max));
        self.sits_down(id, identity, expires, Dialect::YWebsocket, outbox);
    }

    /// A client of y-sweet joins.
    pub fn joins_from_y_sweet(&mut self, id: u64, identity: Identity) {
        let outbox = Arc::new(Outbox::alone(2 * POLICY.outbox_bytes_max));
        self.sits_down(id, identity, None, Dialect::YSweet, outbox);
    }

    pub fn sits_down(
        &mut self,
        id: u64,
        identity: Identity,
        expires: Option<Micros>,
        dialect: Dialect,
        outbox: Arc<Outbox>,
    ) {
        self.outboxes.insert(id, outbox.clone());
        let joining = Joining {
            id: SessionId(id),
            identity,
            expires,
            dialect,
            outbox,
            accounts: self.accounts.clone(),
        };
        self.room.join(joining, self.now);
        self.settle();
    }

    /// The same on Hocuspocus' wire.
    pub fn joins_on_hocuspocus(&mut self, id: u64, identity: Identity, line: Arc<Line>) {
        let outbox = Arc::new(Outbox::new(line));
        self.outboxes.insert(id, outbox.clone());
        let joining = Joining {
            id: SessionId(id),
            identity,
            expires: None,
            dialect: Dialect::Hocuspocus {
                address: cowrite::protocol::hocuspocus::address_of("d"),
                has_version: true,
            },
            outbox,
            accounts: self.accounts.clone(),
        };
        self.room.join(joining, self.now);
        self.settle();
    }

    /// A writer who has said what it has, answered what it was asked, and read everything.
    pub fn seats(&mut self, id: u64) {
        self.joins(id, writer(), None);
        self.says(id, &step1(&[0]));
        self.says(id, &step2(&[0, 0]));
        self.takes(id);
    }

    pub fn leaves(&mut self, id: u64) {
        self.room.leave(SessionId(id), self.now);
        self.settle();
    }

    pub fn says(&mut self, id: u64, message: &Bytes) {
        self.says_all(id, std::slice::from_ref(message));
    }

    /// Several messages that arrive together.
    pub fn says_all(&mut self, id: u64, messages: &[Bytes]) {
        let parse = |message: &Bytes| y_websocket::parse(message.clone()).unwrap();
        let messages: Vec<Inbound> = messages.iter().map(parse).collect();
        let (id, mut effects) = (SessionId(id), Vec::new());
        for message in messages {
            self.room.hear(id, message, self.now, &mut effects);
        }
        self.outbox(id.0).line().heard(self.now / MS);
        self.carry_out(effects);
        self.settle();
    }

    /// Time passes; what is due is done when it is due.
    pub fn passes(&mut self, micros: Micros) {
        let end = self.now + micros;
        while let Some(due) = self.room.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.wakes();
        }
        self.now = end;
    }

    pub fn stores(&mut self, seq: Seq) {
        self.room.stored(seq, self.now);
        self.settle();
    }

    pub fn outbox(&self, id: u64) -> &Outbox {
        &self.outboxes[&id]
    }

    /// Somebody writes without a session.
    pub fn writes(&mut self, id: u64, subject: Option<&str>, update: &[u8]) {
        self.writes_as(id, WrittenBy::Person(Person::from(subject.map(Arc::from))), update);
    }

    pub fn writes_as(&mut self, id: u64, by: WrittenBy, update: &[u8]) {
        let update = CheckedUpdate::check(Bytes::copy_from_slice(update)).unwrap();
        let mut effects = Vec::new();
        self.room.write(SessionId(id), by, update, self.now, &mut effects);
        self.carry_out(effects);
        self.settle();
    }

    /// Those whose writes are durable are told.
    pub fn tells_writers(&mut self) {
        let mut effects = Vec::new();
        self.room.tell_writers(&mut effects);
        self.carry_out(effects);
    }

    /// The connection is still there: its socket answers pings.
    pub fn pongs(&self, id: u64) {
        self.outbox(id).line().heard(self.now / MS);
    }

    /// What one frame says; pings that are about the line are answered at once, unless it is slow.
    pub fn takes_one(&mut self, id: u64) -> Option<Vec<Heard>> {
        self.takes_bytes(id).map(|(_, heard)| heard)
    }

    /// The same, and how many bytes the frame has.
    pub fn takes_bytes(&mut self, id: u64) -> Option<(usize, Vec<Heard>)> {
        let frames = self.outbox(id).take_frame()?;
        assert!(!frames.is_empty(), "no socket can write nothing");
        let mut all = heard(&frames);
        let probes: Vec<Heard> = all.extract_if(.., |heard| matches!(heard, Heard::Probe(_))).collect();
        for probe in probes {
            let Heard::Probe(Some(probe)) = probe else { continue };
            self.unanswered.push(probe);
        }
        if !self.is_slow {
            self.answers_pings();
        }
        Some((frames.len(), all))
    }

    /// Pings that were taken are answered now.
    pub fn answers_pings(&mut self) {
        for probe in std::mem::take(&mut self.unanswered) {
            self.answers(probe);
        }
    }

    pub fn answers(&mut self, probe: Probe) {
        let mut effects = Vec::new();
        let pong = Inbound::Pong(probe.number);
        self.room.hear(probe.session, pong, self.now, &mut effects);
        self.carry_out(effects);
    }

    /// A job that was kept has run.
    pub fn encoded(&mut self, encoded: Encoded) {
        let mut effects = Vec::new();
        self.room.encoded(encoded, self.now, &mut effects);
        self.carry_out(effects);
    }

    pub fn takes(&mut self, id: u64) -> Vec<Heard> {
        std::iter::from_fn(|| self.takes_one(id)).flatten().collect()
    }

    pub fn did(&mut self) -> Vec<Deed> {
        std::mem::take(&mut self.deeds)
    }

    pub fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.deeds.push(match effect {
                Effect::Append {
                    seq, update, authors, ..
                } => Deed::Append(seq, update, authors.iter().map(ToString::to_string).collect()),
                Effect::Snapshot { seq, state } => Deed::Snapshot(seq, state),
                Effect::Ended { session, reason } => Deed::Ended(session.0, reason),
                Effect::Written { write, result } => Deed::Written(write.0, result),
                Effect::Unload => Deed::Unload,
                Effect::Encode(_) if self.hold_encodes => {
                    self.held.push(effect);
                    continue;
                }
                Effect::Encode(job) => {
                    let encoded = job.run();
                    self.encodes += usize::from(!matches!(encoded, Encoded::Pieces));
                    let mut effects = Vec::new();
                    self.room.encoded(encoded, self.now, &mut effects);
                    self.carry_out(effects);
                    continue;
                }
            });
        }
    }

    fn settle(&mut self) {
        if self.room.deadline().is_some_and(|due| due <= self.now) {
            self.wakes();
        }
    }

    fn wakes(&mut self) {
        let mut effects = Vec::new();
        self.room.wake(self.now, &mut effects);
        self.carry_out(effects);
    }
}
