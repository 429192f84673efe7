//! Rooms without a server: what `tests/judge` plays histories through.
//!
//! A process reads commands on stdin and answers on stdout. It is the thinnest shell that a room can have: it parses
//! what sessions say as a socket would, hands it to [`Room`], keeps what the room appends until it is told to make
//! that durable, and wakes the room when time passes that the commands name. The store is in memory. Nothing here
//! decides anything, and the same commands give the same answers on every run.
//!
//! Framing: `u32 (little endian) length, payload` in both directions, one answer for each frame of commands. A payload
//! is a run of commands, its answer the run of their results; numbers are var-uints, bytes and texts have their
//! length before them.
//!
//! | command | arguments | result | |
//! |---|---|---|---|
//! | 0 open | document, `document_bytes_max`, `outbox_bytes_max`, `unsaved_bytes_max`, `snapshot_bytes`, idle µs, keep deleted (0, 1), slow (0, 1) | | |
//! | 1 join | document, session, read only (0, 1), subject (empty: anonymous) | | |
//! | 2 say | document, session, message | | |
//! | 3 leave | document, session | | |
//! | 4 pass | document, µs | | |
//! | 5 take | document, session, most frames | count, then for each message its opcode and payload | |
//! | 6 durable | document | | |
//! | 7 kill | document | | |
//! | 8 dump | document | records: count, then for each whether it is a snapshot, its position, its bytes | |
//! | 9 counts | document | updates, known, with gaps, of readers, conflicts, of others, resynchronised | |
//! | 10 put | document, bytes | | the bytes become the next stored record, as an import or an older server left it |
//! | 11 lose | document, session | | from now on nothing is heard of it, and nobody tells the room |
//! | 12 forget | document | | its room and its records are gone |
//!
//! A result begins with 0, then what happened (count, then for each: kind, session, text), then what the table says;
//! or it is 1 and a text that says what went wrong. Pings of a slow document are not answered.
//! Kinds: 0 a session was closed, 1 appended, 2 snapshot, 3 unloaded.
//!
//! What must stay true: a document that is open has exactly one room; a session's frames leave in the order in which
//! its outbox took them.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use cowrite::{
    access::{Access, Identity},
    document::Deleted,
    id::DocumentId,
    protocol::{
        dialect::{Dialect, Inbound},
        lib0::{Malformed, Reader, write_var_bytes, write_var_uint},
        y_websocket,
    },
    room::{
        Effect, Micros, Policy, Room,
        outbox::{Line, Outbox},
        session::{Joining, SessionId},
        stream::Probe,
    },
    store::{Body, Record, Store, memory::MemoryStore},
};

const MS: Micros = 1_000;
const PING: u8 = 0x89;
/// Rooms begin at this time, so that "a while ago" is a time, too.
const BEGINNING: Micros = 1_000_000_000;

/// What outboxes take beyond what their rooms mean to put there. Histories make their outboxes so small that one paste is
/// more than twice as much; that a connection is closed for that is not what they are about.
const OUTBOX_SPARE_BYTES: usize = 4 * 1024 * 1024;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut house = House::default();
    loop {
        let mut length = [0; 4];
        if input.read_exact(&mut length).is_err() {
            return Ok(());
        }
        let mut commands = vec![0; u32::from_le_bytes(length) as usize];
        input.read_exact(&mut commands)?;
        let answer = house.obey_all(&Bytes::from(commands))?;
        output.write_all(&u32::try_from(answer.len())?.to_le_bytes())?;
        output.write_all(&answer)?;
        output.flush()?;
    }
}

/// All documents of the process.
#[derive(Default)]
struct House {
    store: MemoryStore,
    open: BTreeMap<u64, Document>,
}

/// A document that is open.
struct Document {
    id: DocumentId,
    room: Room,
    now: Micros,
    outboxes: BTreeMap<u64, Arc<Outbox>>,
    policy: Policy,
    is_slow: bool,
    /// Appended, not durable.
    records: Vec<Record>,
    happened: Happened,
    /// Its room has left memory.
    gone: bool,
}

/// What a command had for consequences, in order: kind, session, text.
#[derive(Default)]
struct Happened(Vec<(u64, u64, String)>);

impl House {
    fn obey_all(&mut self, commands: &Bytes) -> Result<Vec<u8>, Failure> {
        let (mut reader, mut answer) = (Reader::new(commands), Vec::new());
        while reader.remaining() > 0 {
            let command = Command::read(&mut reader)?;
            let mut said = Vec::new();
            let obeyed = catch_unwind(AssertUnwindSafe(|| self.obey(&command, &mut said)));
            match obeyed.unwrap_or_else(|_| Err("the room panicked".into())) {
                Err(failure) => {
                    write_var_uint(&mut answer, 1);
                    write_var_bytes(&mut answer, failure.to_string().as_bytes());
                }
                Ok(happened) => {
                    write_var_uint(&mut answer, 0);
                    write_var_uint(&mut answer, happened.0.len() as u64);
                    for (kind, session, text) in happened.0 {
                        write_var_uint(&mut answer, kind);
                        write_var_uint(&mut answer, session);
                        write_var_bytes(&mut answer, text.as_bytes());
                    }
                    answer.extend_from_slice(&said);
                }
            }
        }
        Ok(answer)
    }

    fn obey(&mut self, command: &Command, said: &mut Vec<u8>) -> Result<Happened, Failure> {
        let (number, id) = (
            command.document,
            DocumentId::parse(&format!("judged/{}", command.document))?,
        );
        match &command.what {
            What::Open(policy, is_slow) => {
                let stored = self.store.load(&id)?;
                let room = Room::open(id.clone(), &stored, *policy, BEGINNING)?;
                self.open.insert(number, Document::new(id, room, *policy, *is_slow));
                return Ok(Happened::default());
            }
            What::Kill => {
                self.open.remove(&number);
                return Ok(Happened::default());
            }
            What::Forget => {
                self.open.remove(&number);
                let seq = self.store.load(&id)?.last_seq();
                let record = Record {
                    document: id,
                    seq,
                    at_ms: 0,
                    authors: Arc::default(),
                    body: Body::Deleted,
                    holder: None,
                };
                self.store.commit_all(&[record])?;
                return Ok(Happened::default());
            }
            What::Dump => {
                let stored = self.store.load(&id)?;
                let snapshot = stored.snapshot.iter().map(|record| (1, record));
                let records: Vec<_> = snapshot
                    .chain(stored.updates.iter().map(|record| (0, record)))
                    .collect();
                write_var_uint(said, records.len() as u64);
                for (is_snapshot, (seq, bytes)) in records {
                    write_var_uint(said, is_snapshot);
                    write_var_uint(said, *seq);
                    write_var_bytes(said, bytes);
                }
                return Ok(Happened::default());
            }
            What::Put(bytes) => {
                let seq = self.store.load(&id)?.last_seq() + 1;
                let (authors, body) = (Arc::default(), Body::Update(bytes.clone()));
                let at_ms = 0;
                let document = id;
                self.store.commit_all(&[Record {
                    document,
                    seq,
                    at_ms,
                    authors,
                    body,
                    holder: None,
                }])?;
                return Ok(Happened::default());
            }
            _ => {}
        }
        if let (What::Join { .. }, Some(document)) = (&command.what, self.open.get_mut(&number))
            && document.gone
        {
            // It has left memory; who comes opens it.
            let stored = self.store.load(&id)?;
            document.room = Room::open(id, &stored, document.policy, document.now)?;
            document.gone = false;
        }
        let document = self.open.get_mut(&number).ok_or("the document is not open")?;
        document.obey(&command.what, &self.store, said)?;
        Ok(std::mem::take(&mut document.happened))
    }
}

impl Document {
    fn new(id: DocumentId, room: Room, policy: Policy, is_slow: bool) -> Self {
        Self {
            id,
            room,
            now: BEGINNING,
            outboxes: BTreeMap::new(),
            policy,
            is_slow,
            records: Vec::new(),
            happened: Happened::default(),
            gone: false,
        }
    }

    fn obey(&mut self, what: &What, store: &MemoryStore, said: &mut Vec<u8>) -> Result<(), Failure> {
        let mut effects = Vec::new();
        match what {
            What::Join { session, identity } => {
                let outbox = Arc::new(Outbox::new(Line::new(
                    self.policy.outbox_bytes_max + OUTBOX_SPARE_BYTES,
                )));
                self.outboxes.insert(*session, outbox.clone());
                let joining = Joining {
                    id: SessionId(*session),
                    identity: identity.clone(),
                    expires: None,
                    dialect: Dialect::YWebsocket,
                    outbox,
                    accounts: Default::default(),
                };
                self.room.join(joining, self.now);
            }
            What::Say { session, message } => {
                let message = y_websocket::parse(message.clone()).map_err(|reason| reason.text().to_owned())?;
                self.outbox(*session)?.line().heard(self.now / MS);
                self.room.hear(SessionId(*session), message, self.now, &mut effects);
            }
            What::Leave { session } => {
                self.outboxes.remove(session);
                self.room.leave(SessionId(*session), self.now);
            }
            What::Pass(micros) => {
                let end = self.now + micros;
                while let Some(due) = self.room.deadline().filter(|due| *due <= end && !self.gone) {
                    self.now = self.now.max(due);
                    // Sockets answer pings by themselves.
                    self.outboxes
                        .values()
                        .for_each(|outbox| outbox.line().heard(self.now / MS));
                    self.room.wake(self.now, &mut effects);
                    self.carry_out(std::mem::take(&mut effects));
                }
                self.now = end;
            }
            What::Take { session, most } => {
                let messages = self.take(*session, *most, &mut effects)?;
                write_var_uint(said, messages.len() as u64);
                for (opcode, payload) in messages {
                    write_var_uint(said, opcode.into());
                    write_var_bytes(said, &payload);
                }
            }
            What::Durable => {
                let records = std::mem::take(&mut self.records);
                store.commit_all(&records)?;
                if let Some(last) = records.iter().map(|record| record.seq).max() {
                    self.room.stored(last, self.now);
                }
                if records.iter().any(|record| matches!(record.body, Body::Snapshot(_))) {
                    self.room.snapshot_stored();
                }
            }
            What::Lose { session } => {
                self.outboxes.remove(session);
            }
            What::Counts => {
                let counts = self.room.take_counts();
                for count in [
                    counts.updates,
                    counts.updates_known,
                    counts.updates_with_gaps,
                    counts.updates_of_readers,
                    counts.conflicts,
                    counts.updates_of_others,
                    counts.resyncs,
                ] {
                    write_var_uint(said, count);
                }
            }
            What::Open(..) | What::Kill | What::Forget | What::Dump | What::Put(_) => {}
        }
        self.carry_out(effects);
        if self.room.deadline().is_some_and(|due| due <= self.now) && !self.gone {
            let mut effects = Vec::new();
            self.room.wake(self.now, &mut effects);
            self.carry_out(effects);
        }
        Ok(())
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append {
                    seq, update, authors, ..
                } => {
                    self.happened.0.push((1, 0, String::new()));
                    self.keep(seq, authors, Body::Update(update));
                }
                Effect::Snapshot { seq, state } => {
                    self.happened.0.push((2, 0, state.len().to_string()));
                    self.keep(seq, Arc::default(), Body::Snapshot(state));
                }
                Effect::Encode(job) => {
                    let mut effects = Vec::new();
                    self.room.encoded(job.run(), self.now, &mut effects);
                    self.carry_out(effects);
                }
                Effect::Written { .. } => {}
                Effect::Ended { session, reason } => self.happened.0.push((0, session.0, reason.to_string())),
                Effect::Unload => {
                    self.happened.0.push((3, 0, String::new()));
                    self.gone = true;
                }
            }
        }
    }

    fn keep(&mut self, seq: u64, authors: Arc<[Arc<str>]>, body: Body) {
        let (document, at_ms) = (self.id.clone(), self.now / MS);
        self.records.push(Record {
            document,
            seq,
            at_ms,
            authors,
            body,
            holder: None,
        });
    }

    fn outbox(&self, session: u64) -> Result<&Outbox, Failure> {
        Ok(self.outboxes.get(&session).ok_or("no such session")?)
    }

    /// The messages of up to `most` frames: opcode and payload of each. One frame of a room may hold several.
    fn take(&mut self, session: u64, most: u64, effects: &mut Vec<Effect>) -> Result<Vec<(u8, Vec<u8>)>, Failure> {
        let mut messages = Vec::new();
        for _ in 0..most {
            let Some(frames) = self.outbox(session)?.take_frame() else {
                break;
            };
            let mut rest = &frames[..];
            while let [first, length, ..] = *rest {
                let (header, length) = match length {
                    126 => (4, rest[2..4].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))),
                    127 => (
                        10,
                        rest[2..10].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
                    ),
                    short => (2, usize::from(short)),
                };
                let payload = &rest[header..header + length];
                messages.push((first & 0xF, payload.to_vec()));
                rest = &rest[header + length..];
                if first == PING
                    && !self.is_slow
                    && let Some(probe) = Probe::of(payload)
                {
                    let pong = Inbound::Pong(probe.number);
                    self.room.hear(probe.session, pong, self.now, effects);
                }
            }
        }
        Ok(messages)
    }
}

struct Command {
    document: u64,
    what: What,
}

enum What {
    Open(Policy, bool),
    Join { session: u64, identity: Identity },
    Say { session: u64, message: Bytes },
    Leave { session: u64 },
    Pass(Micros),
    Take { session: u64, most: u64 },
    Durable,
    Kill,
    Dump,
    Counts,
    Put(Bytes),
    Lose { session: u64 },
    Forget,
}

impl Command {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (kind, document) = (reader.var_uint()?, reader.var_uint()?);
        let what = match kind {
            0 => {
                let policy = Policy {
                    document_bytes_max: size(reader)?,
                    outbox_bytes_max: size(reader)?,
                    unsaved_bytes_max: size(reader)?,
                    snapshot_bytes: size(reader)?,
                    idle_timeout: reader.var_uint()?,
                    deleted: if reader.var_uint()? == 1 {
                        Deleted::Kept
                    } else {
                        Deleted::Dropped
                    },
                    stamps_presence: true,
                    shows_readers: true,
                };
                What::Open(policy, reader.var_uint()? == 1)
            }
            1 => {
                let (session, read_only, subject) = (reader.var_uint()?, reader.var_uint()?, reader.var_string()?);
                let identity = Identity {
                    subject: Some(subject).filter(|subject| !subject.is_empty()).map(Into::into),
                    access: if read_only == 1 { Access::Read } else { Access::Write },
                    ..Identity::anonymous()
                };
                What::Join { session, identity }
            }
            2 => {
                let (session, message) = (reader.var_uint()?, Bytes::copy_from_slice(reader.var_bytes()?));
                What::Say { session, message }
            }
            3 => What::Leave {
                session: reader.var_uint()?,
            },
            4 => What::Pass(reader.var_uint()?),
            5 => {
                let (session, most) = (reader.var_uint()?, reader.var_uint()?);
                What::Take { session, most }
            }
            6 => What::Durable,
            7 => What::Kill,
            8 => What::Dump,
            9 => What::Counts,
            10 => What::Put(Bytes::copy_from_slice(reader.var_bytes()?)),
            11 => What::Lose {
                session: reader.var_uint()?,
            },
            12 => What::Forget,
            _ => return Err(reader.malformed("no such command")),
        };
        Ok(Self { document, what })
    }
}

fn size(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    Ok(usize::try_from(reader.var_uint()?).unwrap_or(usize::MAX))
}
