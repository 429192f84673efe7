//! The core as the shell runs it: rooms that are opened from a journal and leave memory, a writer that tries again, jobs
//! that take time. The journal is the real one, on a disk in memory that fails and loses power.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::Arc,
};

use cowrite::{
    access::Person,
    document::Deleted,
    id::DocumentId,
    protocol::{close::CloseReason, update::CheckedUpdate},
    room::{
        Counts, Effect, Free, Micros, Policy, Room, WrittenBy,
        session::{Joining, SessionId},
        states::Job,
    },
    store::{
        Body, Record, Seq, Store, StoreError,
        journal::{Journal, JournalOptions},
    },
};

use super::{
    editor::{Content, Editor},
    sim::{Fault, SimDisk},
};

/// Documents are numbered below this.
pub const DOCUMENTS_MAX: usize = 4;

pub const MS: Micros = 1_000;
pub const SECOND: Micros = 1_000_000;

/// Small, so that segments fill and are compacted.
const JOURNAL: JournalOptions = JournalOptions {
    segment_bytes: 16 * 1024,
    segment_bytes_min: 4 * 1024,
    retain_ms: 0,
    dead_percent_max: 25,
    step_bytes: 16 * 1024,
};

/// How the world's rooms behave.
pub const POLICY: Policy = Policy {
    document_bytes_max: 1 << 30,
    outbox_bytes_max: 20_000,
    unsaved_bytes_max: 1 << 30,
    snapshot_bytes: 2_000,
    idle_timeout: 2 * SECOND,
    deleted: Deleted::Dropped,
    stamps_presence: true,
    shows_readers: true,
};

/// What the core told the shell.
#[derive(Debug)]
pub enum Told {
    Ended(SessionId, CloseReason),
    Written(SessionId, Result<(), CloseReason>),
}

/// What has been acknowledged of one document.
pub struct Durable {
    pub seq: Seq,
    pub editor: Editor,
}

pub struct Server {
    pub policy: Policy,
    /// Bytes of all documents that may wait for the disk before edits are refused.
    pub waiting_bytes_max: usize,
    pub now: Micros,
    /// The wall clock, which jumps.
    pub wall_ms: u64,
    pub rooms: BTreeMap<usize, Room>,
    pub disk: SimDisk,
    journal: Option<Journal>,
    /// What the writer has not committed.
    pub waiting: VecDeque<(usize, Record)>,
    /// "Stored" messages on their way to rooms.
    stored: VecDeque<(usize, Seq, bool)>,
    /// What is encoded elsewhere.
    jobs: VecDeque<(usize, Job)>,
    /// What was called durable, by document.
    pub durable: BTreeMap<usize, Durable>,
    pub told: Vec<Told>,
    pub counts: Counts,
    pub loads_failed: usize,
    pub commits_failed: usize,
    pub snapshots: usize,
    pub unloads: usize,
    pub lost: usize,
}

pub fn name(document: usize) -> DocumentId {
    DocumentId::parse(&format!("doc{document}")).expect("a name")
}

impl Server {
    pub fn start(policy: Policy, seed: u64) -> Self {
        let mut server = Self {
            policy,
            waiting_bytes_max: usize::MAX,
            now: 100 * SECOND,
            wall_ms: 1_800_000_000_000,
            rooms: BTreeMap::new(),
            disk: SimDisk::new(seed),
            journal: None,
            waiting: VecDeque::new(),
            stored: VecDeque::new(),
            jobs: VecDeque::new(),
            durable: BTreeMap::new(),
            told: Vec::new(),
            counts: Counts::default(),
            loads_failed: 0,
            commits_failed: 0,
            snapshots: 0,
            unloads: 0,
            lost: 0,
        };
        server.opens();
        server
    }

    fn opens(&mut self) {
        let disk = Arc::new(self.disk.clone());
        let journal = Journal::open(disk, Path::new("journal"), JOURNAL);
        self.journal = Some(journal.expect("a sound disk"));
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("the server runs")
    }

    /// The room of a document, opened if need be.
    fn room(&mut self, document: usize) -> Result<&mut Room, CloseReason> {
        if !self.rooms.contains_key(&document) {
            assert!(
                self.waiting.iter().all(|(of, _)| *of != document),
                "a document is opened only when all of it is in the store"
            );
            let stored = match self.journal().load(&name(document)) {
                Ok(stored) => stored,
                Err(StoreError::Io { .. }) => {
                    self.loads_failed += 1;
                    return Err(CloseReason::Overloaded("the document cannot be read now".to_owned()));
                }
                Err(error) => panic!("{error}"),
            };
            let room = Room::open(name(document), &stored, self.policy, self.now).expect("what is stored opens");
            self.rooms.insert(document, room);
        }
        Ok(self.rooms.get_mut(&document).expect("it is open"))
    }

    pub fn joins(&mut self, document: usize, joining: Joining) -> Result<(), CloseReason> {
        let now = self.now;
        self.room(document)?.join(joining, now);
        self.settle(document, Vec::new());
        Ok(())
    }

    /// Calls a room that is open.
    pub fn with<R>(
        &mut self,
        document: usize,
        call: impl FnOnce(&mut Room, Micros, &mut Vec<Effect>) -> R,
    ) -> Option<R> {
        let (now, mut effects) = (self.now, Vec::new());
        let waiting: usize = self.waiting.iter().map(|(_, record)| bytes_of(record)).sum();
        let free = self.waiting_bytes_max.saturating_sub(waiting);
        let room = self.rooms.get_mut(&document)?;
        let free = if waiting == 0 { usize::MAX } else { free };
        room.store_free(Free {
            edits: free,
            each: 0,
            snapshots: free,
        });
        let answer = call(room, now, &mut effects);
        self.settle(document, effects);
        Some(answer)
    }

    /// Somebody writes without a session.
    pub fn writes(&mut self, document: usize, id: SessionId, update: CheckedUpdate) {
        if let Err(reason) = self.room(document) {
            return self.told.push(Told::Written(id, Err(reason)));
        }
        self.with(document, |room, now, effects| {
            room.write(id, WrittenBy::Person(Person::Nobody), update, now, effects)
        });
    }

    /// What the actor does after each message.
    fn settle(&mut self, document: usize, effects: Vec<Effect>) {
        self.carry_out(document, effects);
        let (now, mut effects) = (self.now, Vec::new());
        if let Some(room) = self.rooms.get_mut(&document) {
            if room.deadline().is_some_and(|due| due <= now) {
                room.wake(now, &mut effects);
            }
            let counts = room.take_counts();
            self.counts.updates += counts.updates;
            self.counts.updates_with_gaps += counts.updates_with_gaps;
            self.counts.updates_of_readers += counts.updates_of_readers;
            self.counts.awareness_refused += counts.awareness_refused;
            self.counts.resyncs += counts.resyncs;
            self.counts.conflicts += counts.conflicts;
        }
        self.carry_out(document, effects);
    }

    fn carry_out(&mut self, document: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append {
                    seq, update, authors, ..
                } => self.append(document, seq, authors, Body::Update(update)),
                Effect::Snapshot { seq, state } => {
                    self.snapshots += 1;
                    self.append(document, seq, Arc::default(), Body::Snapshot(state));
                }
                Effect::Encode(job) => self.jobs.push_back((document, job)),
                Effect::Written { write, result } => self.told.push(Told::Written(write, result)),
                Effect::Ended { session, reason } => self.told.push(Told::Ended(session, reason)),
                Effect::Unload => {
                    self.unloads += 1;
                    assert!(
                        self.waiting.iter().all(|(of, _)| *of != document),
                        "what leaves memory is in the store"
                    );
                    self.forgets(document);
                }
            }
        }
    }

    fn append(&mut self, document: usize, seq: Seq, authors: Arc<[Arc<str>]>, body: Body) {
        let record = Record {
            document: name(document),
            seq,
            at_ms: self.wall_ms,
            holder: None,
            authors,
            body,
        };
        self.waiting.push_back((document, record));
    }

    fn forgets(&mut self, document: usize) {
        if let Some(room) = self.rooms.remove(&document) {
            assert_eq!(room.sessions(), 0, "nobody is left behind");
        }
        self.jobs.retain(|(of, _)| *of != document);
        self.stored.retain(|(of, _, _)| *of != document);
    }

    /// Time passes; what is due is done when it is due.
    pub fn passes(&mut self, micros: Micros) {
        let end = self.now + micros;
        loop {
            let due = |(document, room): (&usize, &Room)| room.deadline().map(|due| (due, *document));
            let next = self.rooms.iter().filter_map(due).min();
            let Some((due, document)) = next.filter(|(due, _)| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            self.settle(document, Vec::new());
        }
        self.now = end;
    }

    /// The writer commits the oldest records, up to `most`, of all documents together.
    pub fn commits(&mut self, most: usize) {
        let most = most.min(self.waiting.len());
        if most == 0 {
            return;
        }
        let records: Vec<Record> = self
            .waiting
            .iter()
            .take(most)
            .map(|(_, record)| record.clone())
            .collect();
        match self.journal().commit(&records) {
            Ok(refused) => assert!(refused.is_empty(), "every record follows on what is stored"),
            Err(StoreError::Io { .. }) => {
                self.commits_failed += 1;
                return;
            }
            Err(error) => panic!("{error}"),
        }
        for (document, record) in self.waiting.drain(..most) {
            let durable = self.durable.entry(document).or_insert_with(|| Durable {
                seq: 0,
                editor: Editor::new(u64::from(u32::MAX)),
            });
            let is_snapshot = match &record.body {
                Body::Update(update) => {
                    assert_eq!(record.seq, durable.seq + 1, "positions have no gaps and no repeats");
                    durable.seq = record.seq;
                    durable.editor.applies(update);
                    false
                }
                _ => {
                    assert!(record.seq <= durable.seq, "a snapshot covers only what was appended");
                    true
                }
            };
            self.stored.push_back((document, record.seq, is_snapshot));
        }
    }

    /// A room hears of it.
    pub fn is_told(&mut self) {
        let Some((document, seq, is_snapshot)) = self.stored.pop_front() else {
            return;
        };
        self.with(document, |room, now, effects| {
            if is_snapshot {
                room.snapshot_stored();
            } else {
                room.stored(seq, now);
                room.tell_writers(effects);
            }
        });
    }

    pub fn has_news(&self) -> bool {
        !self.stored.is_empty()
    }

    /// Something was encoded.
    pub fn encodes(&mut self) {
        if let Some((document, job)) = self.jobs.pop_front() {
            let encoded = job.run();
            self.with(document, |room, now, effects| room.encoded(encoded, now, effects));
        }
    }

    pub fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    pub fn tidies(&mut self) {
        match self.journal().maintain(self.wall_ms) {
            Ok(_) | Err(StoreError::Io { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    pub fn fails(&mut self, fault: Fault) {
        self.disk.fail(fault);
    }

    /// The process is killed, and perhaps the power goes with it. The next one starts at once.
    pub fn crashes(&mut self, power_loss: Option<u64>) {
        self.lost += self.waiting.len();
        self.waiting.clear();
        self.stored.clear();
        self.jobs.clear();
        self.rooms.clear();
        self.journal = None;
        self.disk = match power_loss {
            Some(seed) => self.disk.power_loss(seed),
            None => self.disk.kill(),
        };
        self.starts_again();
    }

    /// The server stops as it should, if its disk lets it.
    pub fn stops(&mut self) {
        for document in self.rooms.keys().copied().collect::<Vec<_>>() {
            self.with(document, |room, now, effects| {
                room.flush(now, effects);
                room.end_all(&CloseReason::Restarting, now, effects);
            });
        }
        self.disk.fail(Fault::None);
        self.commits(usize::MAX);
        assert!(self.waiting.is_empty());
        self.stored.clear();
        self.jobs.clear();
        self.rooms.clear();
        self.journal().close().expect("a sound disk");
        self.journal = None;
        self.disk = self.disk.kill();
        self.starts_again();
    }

    /// What is found has all that was called durable; from here on, what is found is what counts.
    fn starts_again(&mut self) {
        self.opens();
        for document in 0..DOCUMENTS_MAX {
            let found = self.found(document);
            let known = self.durable.insert(document, found);
            let (Some(known), found) = (known, &self.durable[&document]) else {
                continue;
            };
            let (was, is) = (known.editor.content(), found.editor.content());
            assert!(
                found.seq >= known.seq,
                "a durable record of document {document} is lost"
            );
            for (client, clock) in was.clocks.iter() {
                assert!(
                    is.clocks.get(client) >= *clock,
                    "a durable edit of document {document} is lost"
                );
            }
        }
    }

    /// A document as the store has it.
    pub fn found(&self, document: usize) -> Durable {
        let stored = self.journal().load(&name(document)).expect("what was durable is read");
        let editor = Editor::new(u64::from(u32::MAX));
        stored.records().for_each(|(_, bytes)| editor.applies(bytes));
        assert!(!editor.misses_something(), "what is stored is whole");
        Durable {
            seq: stored.last_seq(),
            editor,
        }
    }

    pub fn content(&self, document: usize) -> Content {
        match self.durable.get(&document) {
            Some(durable) => durable.editor.content(),
            None => Editor::new(u64::from(u32::MAX)).content(),
        }
    }

    /// Bytes of the live records, and of the disk.
    pub fn sizes(&self) -> (u64, u64) {
        let status = self.journal().status();
        (status.live_bytes, status.disk_bytes)
    }
}

fn bytes_of(record: &Record) -> usize {
    match &record.body {
        Body::Update(bytes) | Body::Snapshot(bytes) => bytes.len(),
        Body::Deleted => 0,
    }
}
