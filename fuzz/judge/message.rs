//! Any bytes, as messages of two editors of a room; a third session only looks on, as an honest provider does.
//!
//! An input is a run of *moves*: a byte that says whose turn it is, and for a message a byte with its length (255: all
//! that is left) and its bytes.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use cowrite::{
    access::{Access, Identity},
    document::{Deleted, Document},
    id::DocumentId,
    protocol::{
        awareness,
        close::CloseReason,
        dialect::Dialect,
        lib0::Reader,
        update::{CheckedUpdate, Clocks},
        y_websocket,
    },
    room::{
        Effect, Micros, Policy, Room,
        outbox::{Line, Outbox},
        session::{Joining, SessionId},
    },
    store::StoredDocument,
};

use super::{
    document::{assert_shows, content, receive, state},
    rights::has_right_origins,
    update::base,
};

const SECOND: Micros = 1_000_000;
const DIALECT: Dialect = Dialect::YWebsocket;

/// Snapshots come early, and everything fits.
const POLICY: Policy = Policy {
    document_bytes_max: 1024 * 1024,
    outbox_bytes_max: 4 * 1024 * 1024,
    unsaved_bytes_max: 1024 * 1024,
    snapshot_bytes: 64,
    idle_timeout: 30 * SECOND,
    deleted: Deleted::Dropped,
    stamps_presence: true,
    shows_readers: true,
};

/// Who looks on.
const WATCHER: u64 = 0;

/// Two editors say what the input says.
pub fn message(mut input: &[u8]) {
    let mut table = Table::new();
    while let Some((&turn, rest)) = input.split_first() {
        input = rest;
        let editor = usize::from(turn & 1);
        match turn >> 1 & 7 {
            0..=4 => {
                let Some((&length, rest)) = input.split_first() else {
                    break;
                };
                let length = if length == 255 {
                    rest.len()
                } else {
                    rest.len().min(usize::from(length))
                };
                let (said, rest) = rest.split_at(length);
                input = rest;
                table.says(editor, Bytes::copy_from_slice(said));
            }
            5 => table.passes(1 << (turn >> 4)),
            6 => table.passes(SECOND << (turn >> 4 & 7)),
            _ if turn & 0x10 == 0 => table.rejoins(editor),
            _ => table.stores(),
        }
    }
    table.ends();
}

/// A room, its sessions, and what it had stored.
struct Table {
    room: Room,
    now: Micros,
    stored: StoredDocument,
    /// Everything that was appended, snapshot or not.
    appended: Vec<(u64, Bytes)>,
    outboxes: BTreeMap<u64, Arc<Outbox>>,
    editors: [u64; 2],
    next_session: u64,
    watched: Document,
}

impl Table {
    fn new() -> Self {
        let stored = StoredDocument {
            snapshot: None,
            updates: base().to_vec(),
        };
        let name = DocumentId::parse("fuzzed").expect("a name");
        let now = 1_000 * SECOND;
        let room = Room::open(name, &stored, POLICY, now).expect("the small document opens");
        let mut table = Self {
            room,
            now,
            stored,
            appended: Vec::new(),
            outboxes: BTreeMap::new(),
            editors: [1, 2],
            next_session: WATCHER,
            watched: Document::default(),
        };
        table.joins(Access::Read);
        // "I have nothing", and "here is what you lack": nothing.
        table.hears(WATCHER, &[0, 0, 1, 0]);
        table.hears(WATCHER, &[0, 1, 2, 0, 0]);
        table.editors = [table.joins(Access::Write), table.joins(Access::Write)];
        table
    }

    fn joins(&mut self, access: Access) -> u64 {
        let id = self.next_session;
        self.next_session += 1;
        let outbox = Arc::new(Outbox::new(Line::new(2 * POLICY.outbox_bytes_max)));
        self.outboxes.insert(id, outbox.clone());
        let joining = Joining {
            id: SessionId(id),
            identity: Identity {
                access,
                ..Identity::anonymous()
            },
            expires: None,
            dialect: DIALECT,
            outbox,
            accounts: Default::default(),
        };
        self.room.join(joining, self.now);
        self.settles();
        id
    }

    fn rejoins(&mut self, editor: usize) {
        self.leaves(self.editors[editor]);
        self.editors[editor] = self.joins(Access::Write);
    }

    fn leaves(&mut self, id: u64) {
        self.room.leave(SessionId(id), self.now);
        self.outboxes.remove(&id);
        self.settles();
    }

    fn says(&mut self, editor: usize, said: Bytes) {
        let id = self.editors[editor];
        match y_websocket::parse(said) {
            Ok(inbound) => {
                let mut effects = Vec::new();
                self.room.hear(SessionId(id), inbound, self.now, &mut effects);
                self.carries_out(effects);
                self.settles();
            }
            Err(reason) => assert!(
                matches!(reason, CloseReason::Malformed(_) | CloseReason::Refused(_)),
                "{reason:?}"
            ),
        }
        if !self.outboxes.contains_key(&id) {
            self.editors[editor] = self.joins(Access::Write);
        }
    }

    fn hears(&mut self, id: u64, said: &'static [u8]) {
        let inbound = y_websocket::parse(Bytes::from_static(said)).expect("an honest message");
        let mut effects = Vec::new();
        self.room.hear(SessionId(id), inbound, self.now, &mut effects);
        self.carries_out(effects);
        self.settles();
    }

    fn passes(&mut self, micros: Micros) {
        let end = self.now + micros;
        while let Some(due) = self.room.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.wakes();
        }
        self.now = end;
    }

    fn settles(&mut self) {
        if self.room.deadline().is_some_and(|due| due <= self.now) {
            self.wakes();
        }
        self.looks();
    }

    fn wakes(&mut self) {
        // All sockets are alive: they answer pings.
        for outbox in self.outboxes.values() {
            outbox.line().heard(self.now / 1_000);
        }
        let mut effects = Vec::new();
        self.room.wake(self.now, &mut effects);
        self.carries_out(effects);
        self.looks();
    }

    fn stores(&mut self) {
        self.room.stored(self.last_seq(), self.now);
        self.settles();
        if let Some((covered, _)) = &self.stored.snapshot {
            let covered = *covered;
            self.stored.updates.retain(|(seq, _)| *seq > covered);
            self.room.snapshot_stored();
        }
    }

    fn last_seq(&self) -> u64 {
        self.appended.last().map_or(2, |(seq, _)| *seq)
    }

    fn carries_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append { seq, update, .. } => {
                    assert_eq!(seq, self.last_seq() + 1, "positions have no gaps");
                    self.appended.push((seq, update.clone()));
                    self.stored.updates.push((seq, update));
                }
                Effect::Snapshot { seq, state } => {
                    assert!(seq <= self.last_seq(), "a snapshot covers what was appended");
                    self.stored.snapshot = Some((seq, state));
                }
                Effect::Encode(job) => {
                    let mut effects = Vec::new();
                    self.room.encoded(job.run(), self.now, &mut effects);
                    self.carries_out(effects);
                }
                Effect::Written { .. } => panic!("everybody has a session"),
                Effect::Ended { session, reason } => {
                    assert_ne!(session.0, WATCHER, "nobody is sent away for others: {reason:?}");
                    self.outboxes.remove(&session.0);
                }
                Effect::Unload => panic!("somebody is here"),
            }
        }
    }

    /// Everybody takes what waits; the watcher reads it.
    fn looks(&mut self) {
        for (id, outbox) in &self.outboxes {
            while let Some(frames) = outbox.take_frame() {
                for message in messages(&frames) {
                    told(message, (*id == WATCHER).then_some(&mut self.watched));
                }
            }
        }
    }

    /// What was gathered leaves, and all that is stored, sent and in memory is one document.
    fn ends(mut self) {
        let mut effects = Vec::new();
        self.room.flush(self.now, &mut effects);
        self.carries_out(effects);
        self.passes(SECOND);
        self.stores();
        assert!(self.room.all_saved());

        let all = base().into_iter().chain(self.appended.iter().cloned());
        let all: Vec<(u64, Bytes)> = all.collect();
        let logged = Document::open(all.iter().map(|(seq, bytes)| (*seq, bytes)), Deleted::Dropped);
        let logged = logged.expect("what was appended opens");
        assert_eq!(logged.clocks(), self.room.clocks());
        let has_rights = |(_, update): &(u64, Bytes)| {
            let update = CheckedUpdate::check(update.clone()).expect("what was appended passes the check");
            has_right_origins(&update)
        };
        let same = !self.appended.iter().any(has_rights);
        let shown = content(&state(&logged)).filter(|_| same);

        let kept: Vec<(u64, &Bytes)> = self.stored.records().collect();
        let stored = Document::open(kept, Deleted::Dropped).expect("what is stored opens");
        assert_eq!(stored.clocks(), self.room.clocks());
        assert_shows(&stored, shown.as_ref(), "a snapshot and what came after it");

        assert_eq!(
            self.watched.clocks(),
            self.room.clocks(),
            "who looked on has everything"
        );
        assert_shows(&self.watched, shown.as_ref(), "who looked on");
    }
}

/// What one message of the room says, which every client must be able to read.
fn told(message: &[u8], watched: Option<&mut Document>) {
    const READ: &str = "what the room says is read";
    let mut r = Reader::new(message);
    match r.var_uint().expect(READ) {
        0 => {
            let step = r.var_uint().expect(READ);
            let payload = Bytes::copy_from_slice(r.var_bytes().expect(READ));
            if step == 0 {
                Clocks::decode(&payload).expect(READ);
            } else if let Some(document) = watched {
                receive(document, &payload, "what the room sends");
            } else {
                CheckedUpdate::check(payload).expect(READ);
            }
        }
        1 => {
            let payload = Bytes::copy_from_slice(r.var_bytes().expect(READ));
            awareness::decode(&payload).expect(READ);
        }
        2 => {
            assert_eq!(r.var_uint().expect(READ), 0);
            r.var_string().expect(READ);
        }
        102 => {
            r.var_bytes().expect(READ);
        }
        other => panic!("a message of kind {other}"),
    }
    r.finish().expect(READ);
}

/// The binary messages in WebSocket frames.
fn messages(mut frames: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let [opcode, short, rest @ ..] = frames {
        let (head, length) = match short {
            126 => (2, usize::from(u16::from_be_bytes([rest[0], rest[1]]))),
            127 => (
                8,
                rest[..8]
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte)),
            ),
            short => (0, usize::from(*short)),
        };
        let payload = &rest[head..head + length];
        match opcode {
            0x82 => all.push(payload),
            0x88..=0x8a => assert!(length <= 125),
            other => panic!("a frame with opcode {other:x}"),
        }
        frames = &rest[head + length..];
    }
    all
}
