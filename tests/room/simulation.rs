//! Everything at once, from a seed: editors with real documents, slow lines, lost connections, a
//! disk that takes its time, and crashes; then quiet, in which all must have become the same.
//!
//! A failing run prints its seed. `COWRITE_SEEDS=200000` runs longer, `COWRITE_SEED=17` one alone.
//! A seed that ever failed becomes a test of its own below.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use cowrite::{
    document::Deleted,
    protocol::{
        close::CloseReason,
        dialect::{Dialect, Inbound},
        y_websocket,
    },
    room::{
        Counts, Effect, Micros, Policy, Room,
        outbox::Outbox,
        session::{Joining, SessionId},
    },
    store::{Seq, StoredDocument},
};
use yrs::{ID, IdSet};

use crate::{
    editor::{
        AWARENESS_QUESTION, Editor, Heard, Random, heard, saved_question, scribble, states, step1, step2, update,
    },
    table::{MS, SECOND, document, reader, writer},
};

/// What a run did: one in which nothing happened proves nothing.
#[derive(Debug, Default, Clone, Copy)]
struct Happened {
    edits: usize,
    merged: usize,
    acknowledged: usize,
    crashes: usize,
    lost: usize,
    unloads: usize,
    snapshots: usize,
    resyncs: usize,
    expired: usize,
    gaps: usize,
    reconnects: usize,
}

/// What the disk has, and what is on its way there.
#[derive(Default)]
struct Disk {
    durable: StoredDocument,
    waiting: VecDeque<Waiting>,
}

enum Waiting {
    Update(Seq, Bytes),
    Snapshot(Seq, Bytes),
}

impl Disk {
    /// Makes the oldest `records` durable; the last position, and whether there was a snapshot.
    fn commits(&mut self, records: usize) -> Option<(Seq, bool)> {
        let mut last = None;
        for record in self.waiting.drain(..records) {
            let (_, snapshots) = last.unwrap_or_default();
            last = Some(match record {
                Waiting::Update(seq, update) => {
                    assert_eq!(
                        seq,
                        self.durable.last_seq() + 1,
                        "positions have no gaps and no repeats"
                    );
                    self.durable.updates.push((seq, update));
                    (seq, snapshots)
                }
                Waiting::Snapshot(seq, state) => {
                    assert!(
                        seq <= self.durable.last_seq(),
                        "a snapshot covers only what was appended"
                    );
                    self.durable.updates.retain(|(at, _)| *at > seq);
                    self.durable.snapshot = Some((seq, state));
                    (seq, true)
                }
            });
        }
        last
    }

    fn document(&self) -> Editor {
        let editor = Editor::new(u64::from(u32::MAX));
        let snapshot = self.durable.snapshot.iter().map(|(_, bytes)| bytes);
        snapshot
            .chain(self.durable.updates.iter().map(|(_, bytes)| bytes))
            .for_each(|update| editor.applies(update));
        editor
    }
}

/// What an editor did itself, up to some moment.
#[derive(Default, Clone)]
struct Own {
    clock: u32,
    deleted: IdSet,
}

struct Line {
    session: u64,
    outbox: Arc<Outbox>,
    /// On its way to the server.
    up: VecDeque<Bytes>,
    /// On its way to the editor.
    down: VecDeque<Bytes>,
    /// What was sent by the time of each question that waits.
    questions: VecDeque<(u64, Own)>,
    /// Pings whose answers are on their way to the server.
    probes: Vec<u32>,
    answered_step1: bool,
}

struct Peer {
    editor: Editor,
    reads_only: bool,
    line: Option<Line>,
    own: Own,
    acknowledged: Own,
    /// An update was swallowed on its way: only another edit tells the server.
    swallowed: bool,
    question: u64,
    clock: u32,
    announced: Micros,
    sees: BTreeMap<u64, (u32, Option<Bytes>)>,
    sent: Vec<Bytes>,
    /// How eagerly it reads: one in so many chances.
    slowness: u64,
}

struct World {
    random: Random,
    policy: Policy,
    now: Micros,
    room: Option<Room>,
    disk: Disk,
    /// "Stored" messages on their way to the room.
    stored: VecDeque<(Seq, bool)>,
    peers: Vec<Peer>,
    next_session: u64,
    edited_bytes: usize,
    /// Tokens last.
    ending: bool,
    /// Nobody announces anything more.
    closing: bool,
    happened: Happened,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let policy = Policy {
            document_bytes_max: 1 << 30,
            outbox_bytes_max: [600, 2_000, 20_000][random.below(3) as usize],
            unsaved_bytes_max: 1 << 30,
            snapshot_bytes: [200, 2_000, 100_000][random.below(3) as usize],
            idle_timeout: [10 * MS, 2 * SECOND, 30 * SECOND][random.below(3) as usize],
            deleted: Deleted::Dropped,
            stamps_presence: true,
            shows_readers: true,
        };
        let editors = 2 + random.below(4);
        let peers = (0..editors).map(|n| Peer {
            editor: Editor::new(10 + n),
            reads_only: n > 1 && random.one_in(4),
            line: None,
            own: Own::default(),
            acknowledged: Own::default(),
            swallowed: false,
            question: 0,
            clock: 0,
            announced: 0,
            sees: BTreeMap::new(),
            sent: Vec::new(),
            slowness: [1, 1, 3, 20][random.below(4) as usize],
        });
        let peers = peers.collect();
        Self {
            random,
            policy,
            now: 100 * SECOND,
            room: None,
            disk: Disk::default(),
            stored: VecDeque::new(),
            peers,
            next_session: 1,
            edited_bytes: 0,
            ending: false,
            closing: false,
            happened: Happened::default(),
        }
    }

    fn room(&mut self) -> &mut Room {
        let (policy, now) = (self.policy, self.now);
        if self.room.is_none() {
            assert!(
                self.disk.waiting.is_empty(),
                "a document is opened only when all of it is in the store"
            );
            self.room = Some(Room::open(document(), &self.disk.durable, policy, now).unwrap());
        }
        self.room.as_mut().unwrap()
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append { seq, update, .. } => self.disk.waiting.push_back(Waiting::Update(seq, update)),
                Effect::Snapshot { seq, state } => {
                    self.happened.snapshots += 1;
                    self.disk.waiting.push_back(Waiting::Snapshot(seq, state));
                }
                Effect::Encode(job) => {
                    let (now, encoded, mut effects) = (self.now, job.run(), Vec::new());
                    self.room().encoded(encoded, now, &mut effects);
                    self.carry_out(effects);
                }
                Effect::Written { .. } => unreachable!("everybody has a session"),
                Effect::Ended { reason, .. } => match reason {
                    CloseReason::Unauthenticated(_) => self.happened.expired += 1,
                    CloseReason::Overloaded(_) => {}
                    other => panic!("an honest editor was sent away: {other}"),
                },
                Effect::Unload => {
                    self.happened.unloads += 1;
                    assert!(self.disk.waiting.is_empty(), "what leaves memory is in the store");
                    let room = self.room.take().unwrap();
                    assert_eq!(room.sessions(), 0);
                    self.stored.clear();
                }
            }
        }
    }

    /// What the actor does after each message.
    fn settle(&mut self, effects: Vec<Effect>) {
        self.carry_out(effects);
        let now = self.now;
        let mut effects = Vec::new();
        if let Some(room) = &mut self.room {
            if room.deadline().is_some_and(|due| due <= now) {
                room.wake(now, &mut effects);
            }
            let Counts {
                resyncs,
                updates,
                updates_with_gaps,
                ..
            } = room.take_counts();
            self.happened.resyncs += resyncs as usize;
            self.happened.merged += updates as usize;
            self.happened.gaps += updates_with_gaps as usize;
        }
        self.carry_out(effects);
        for line in self.peers.iter().filter_map(|peer| peer.line.as_ref()) {
            let waiting = line.outbox.line().waiting_bytes();
            // An answer goes whole, whatever the bound: the state and what followed it.
            let most = 2 * self.policy.outbox_bytes_max + 2 * (1_000 + self.edited_bytes);
            assert!(waiting <= most, "{waiting} bytes wait for one connection");
        }
    }

    fn passes(&mut self, micros: Micros) {
        let end = self.now + micros;
        while let Some(due) = self.room.as_ref().and_then(Room::deadline).filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.settle(Vec::new());
        }
        self.now = end;
        self.settle(Vec::new());
    }

    fn connects(&mut self, n: usize) {
        if self.peers[n].line.is_some() {
            return;
        }
        self.happened.reconnects += 1;
        let session = self.next_session;
        self.next_session += 1;
        let outbox = Arc::new(Outbox::alone(2 * self.policy.outbox_bytes_max));
        let expires = (!self.ending && self.random.one_in(6)).then(|| self.now + self.random.below(20 * SECOND));
        let identity = if self.peers[n].reads_only { reader() } else { writer() };
        let joining = Joining {
            id: SessionId(session),
            identity,
            expires,
            dialect: Dialect::YWebsocket,
            outbox: outbox.clone(),
            accounts: Default::default(),
        };
        let now = self.now;
        self.room().join(joining, now);
        let (up, down, questions) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        let peer = &mut self.peers[n];
        peer.line = Some(Line {
            session,
            outbox,
            up,
            down,
            questions,
            probes: Vec::new(),
            answered_step1: false,
        });
        peer.sees.clear();
        peer.swallowed = false;
        let hello = step1(&peer.editor.state_vector());
        peer.says(hello);
        if self.random.one_in(2) {
            self.asks(n);
        }
        self.announces(n);
        self.settle(Vec::new());
    }

    /// The line is cut, or closed by the server.
    fn disconnects(&mut self, n: usize) {
        let Some(line) = self.peers[n].line.take() else { return };
        line.outbox.abandon();
        let now = self.now;
        if let Some(room) = &mut self.room {
            room.leave(SessionId(line.session), now);
        }
        self.settle(Vec::new());
    }

    fn edits(&mut self, n: usize) {
        let swallows = self.random.one_in(25);
        let peer = &mut self.peers[n];
        if peer.reads_only {
            return;
        }
        let (bytes, deleted) = scribble(&peer.editor, &mut self.random);
        if bytes == [0, 0] {
            return;
        }
        self.happened.edits += 1;
        self.edited_bytes += bytes.len();
        let clock = peer.own_clock();
        // A gap is seen by what comes after it in the same history.
        let swallows = swallows && clock > peer.own.clock;
        peer.own.clock = clock;
        peer.own.deleted.merge(&deleted);
        let message = update(&bytes);
        peer.sent.push(message.clone());
        if peer.line.as_ref().is_some_and(|line| line.answered_step1) && swallows {
            peer.swallowed = true;
            return;
        }
        peer.says(message);
    }

    fn asks(&mut self, n: usize) {
        let peer = &mut self.peers[n];
        let Some(line) = &mut peer.line else { return };
        peer.question += 1;
        let mut payload = Vec::new();
        cowrite::protocol::lib0::write_var_uint(&mut payload, peer.question);
        // Before its SyncStep2 a connection has said nothing that an answer could be about; and what was
        // swallowed is not known to be missing before the next edit.
        let about = if line.answered_step1 && !peer.swallowed {
            peer.own.clone()
        } else {
            Own::default()
        };
        line.questions.push_back((peer.question, about));
        line.up.push_back(saved_question(&payload));
    }

    fn announces(&mut self, n: usize) {
        let now = self.now;
        let peer = &mut self.peers[n];
        peer.clock += 1;
        peer.announced = now;
        let json = format!("{{\"n\":{},\"at\":{}}}", n, peer.clock);
        peer.says(states(&[(peer.editor.client, peer.clock, &json)]));
    }

    /// The server hears up to `most` messages of a peer, together.
    fn hears(&mut self, n: usize, most: u64) {
        let now = self.now;
        let Some(line) = &mut self.peers[n].line else { return };
        let many = (most as usize).min(line.up.len());
        let messages: Vec<Bytes> = line.up.drain(..many).collect();
        let session = SessionId(line.session);
        line.outbox.line().heard(now / MS);
        let mut effects = Vec::new();
        let parse = |message| y_websocket::parse(message).unwrap();
        let pongs = line.probes.drain(..).map(Inbound::Pong);
        let messages: Vec<Inbound> = messages.into_iter().map(parse).chain(pongs).collect();
        for message in messages {
            self.room().hear(session, message, now, &mut effects);
        }
        self.settle(effects);
    }

    /// The line carries up to `most` frames towards a peer.
    fn carries(&mut self, n: usize, most: u64) {
        let now = self.now;
        let Some(line) = &mut self.peers[n].line else { return };
        for _ in 0..most {
            let Some(frames) = line.outbox.take_frame() else { break };
            line.down.push_back(frames);
        }
        line.outbox.line().heard(now / MS);
    }

    /// A peer acts upon what reached it.
    fn reads(&mut self, n: usize, most: u64) {
        for _ in 0..most {
            let Some(frames) = self.peers[n].line.as_mut().and_then(|line| line.down.pop_front()) else {
                return;
            };
            for message in heard(&frames) {
                if matches!(message, Heard::Close(..)) {
                    return self.disconnects(n);
                }
                self.happened.acknowledged += usize::from(self.peers[n].reads(message));
            }
        }
    }

    fn commits(&mut self, records: usize) {
        if let Some(stored) = self.disk.commits(records) {
            self.stored.push_back(stored);
        }
    }

    fn is_told(&mut self) {
        let now = self.now;
        if let (Some((seq, snapshot)), Some(room)) = (self.stored.pop_front(), &mut self.room) {
            if snapshot {
                room.snapshot_stored();
            }
            room.stored(seq, now);
        }
        self.settle(Vec::new());
    }

    /// The power goes. Some of what waited may have reached the disk, unknown to anybody.
    fn crashes(&mut self) {
        self.happened.crashes += 1;
        let reached = self.random.below(self.disk.waiting.len() as u64 + 1) as usize;
        self.disk.commits(reached);
        self.happened.lost += self.disk.waiting.len();
        self.disk.waiting.clear();
        self.stored.clear();
        self.room = None;
        for peer in &mut self.peers {
            peer.line = None;
        }
        self.holds_what_was_acknowledged();
    }

    fn holds_what_was_acknowledged(&self) {
        let durable = self.disk.document().content();
        for peer in &self.peers {
            let client = yrs::ClientID::new(peer.editor.client);
            assert!(
                durable.clocks.get(&client) >= peer.acknowledged.clock,
                "an acknowledged edit is lost"
            );
            for (client, ranges) in peer.acknowledged.deleted.iter() {
                for clock in ranges.iter().flat_map(|range| range.start..range.end) {
                    assert!(
                        durable.deleted.contains(&ID::new(*client, clock)),
                        "an acknowledged deletion is lost"
                    );
                }
            }
        }
    }

    fn step(&mut self) {
        let n = self.random.below(self.peers.len() as u64) as usize;
        match self.random.below(100) {
            0..=24 => self.edits(n),
            25..=39 => {
                let most = 1 + self.random.below(4);
                self.hears(n, most);
            }
            40..=54 => {
                let slowness = self.peers[n].slowness;
                if self.random.one_in(slowness) {
                    let most = 1 + self.random.below(5);
                    self.carries(n, most);
                    self.reads(n, most);
                }
            }
            55..=59 => {
                let most = self.random.below(3);
                self.reads(n, most);
            }
            60..=68 => {
                let micros = self.random.below(20 * MS);
                self.passes(micros);
            }
            69 => {
                let micros = self.random.below(4 * SECOND);
                self.passes(micros);
            }
            70..=76 => {
                let records = self.random.below(self.disk.waiting.len() as u64 + 1) as usize;
                self.commits(records);
            }
            77..=82 => self.is_told(),
            83..=87 => self.asks(n),
            88..=92 => self.connects(n),
            93..=94 => self.disconnects(n),
            95 => {
                // Doubled, or late by any time.
                let peer = &mut self.peers[n];
                if !peer.sent.is_empty() {
                    let again = peer.sent[self.random.below(peer.sent.len() as u64) as usize].clone();
                    peer.says(again);
                }
            }
            96 => self.announces(n),
            97 => self.peers[n].says(AWARENESS_QUESTION),
            98 => {
                let again = step1(&self.peers[n].editor.state_vector());
                self.peers[n].says(again);
            }
            _ => {
                if self.random.one_in(3) {
                    self.crashes();
                }
            }
        }
    }

    fn quiet_round(&mut self) {
        for n in 0..self.peers.len() {
            self.connects(n);
            if self.now > self.peers[n].announced + 10 * SECOND && !self.closing {
                self.announces(n);
            }
            self.hears(n, 1_000);
            self.carries(n, 1_000);
            self.reads(n, 1_000);
        }
        self.commits(self.disk.waiting.len());
        self.is_told();
        self.passes(50 * MS);
    }

    /// Everything gets the time that it needs; then all must agree.
    fn ends(&mut self) {
        self.ending = true;
        for _ in 0..40 {
            self.quiet_round();
        }
        for n in 0..self.peers.len() {
            let peer = &mut self.peers[n];
            if peer.swallowed {
                let more = update(&peer.editor.types("."));
                peer.own.clock = peer.own_clock();
                peer.says(more);
            }
        }
        // Long enough for states of the past to expire.
        for _ in 0..700 {
            self.quiet_round();
        }
        let expected = self.disk.document().content();
        self.holds_what_was_acknowledged();
        for n in 0..self.peers.len() {
            assert!(!self.peers[n].editor.misses_something());
            assert_eq!(
                self.peers[n].editor.content(),
                expected,
                "editor {n} differs from the store"
            );
            self.asks(n);
        }
        self.closing = true;
        for _ in 0..60 {
            self.quiet_round();
        }
        let here: BTreeMap<u64, (u32, Option<Bytes>)> = self.peers.iter().map(Peer::state).collect();
        for (n, peer) in self.peers.iter().enumerate() {
            let open = peer.line.as_ref().map_or(usize::MAX, |line| line.questions.len());
            assert_eq!(open, 0, "editor {n} waits to hear that its edits are saved");
            let sees: BTreeMap<_, _> = peer.sees.iter().filter(|(_, (_, state))| state.is_some()).collect();
            assert_eq!(sees, here.iter().collect(), "editor {n} sees somebody else");
        }
    }
}

impl Peer {
    fn says(&mut self, message: Bytes) {
        if let Some(line) = &mut self.line {
            line.up.push_back(message);
        }
    }

    fn own_clock(&self) -> u32 {
        self.editor
            .content()
            .clocks
            .get(&yrs::ClientID::new(self.editor.client))
    }

    fn state(&self) -> (u64, (u32, Option<Bytes>)) {
        let n = self.editor.client - 10;
        let json = format!("{{\"n\":{},\"at\":{}}}", n, self.clock);
        (self.editor.client, (self.clock, Some(json.into())))
    }

    /// Says whether something was acknowledged.
    fn reads(&mut self, message: Heard) -> bool {
        let Some(line) = &mut self.line else { return false };
        match message {
            Heard::Step1(had) => {
                line.answered_step1 = true;
                self.swallowed = false;
                let answer = step2(&self.editor.answer(&had));
                line.up.push_back(answer);
            }
            Heard::Step2(update) | Heard::Update(update) => {
                self.editor.applies(&update);
                assert!(
                    !self.editor.misses_something(),
                    "something arrived before what it stands on"
                );
            }
            Heard::Awareness(entries) => {
                for entry in entries {
                    // y-protocols, awareness.js: applyAwarenessUpdate.
                    let known = self.sees.get(&entry.client);
                    let newer = known.is_none_or(|(clock, state)| {
                        *clock < entry.clock || (*clock == entry.clock && entry.state.is_none() && state.is_some())
                    });
                    if newer {
                        self.sees.insert(entry.client, (entry.clock, entry.state));
                    }
                }
            }
            Heard::Saved(payload) => {
                let version = cowrite::protocol::lib0::Reader::new(&payload).var_uint().unwrap();
                let (asked, own) = line.questions.pop_front().expect("an answer to a question");
                assert_eq!(version, asked, "answers come in the order of their questions");
                if own.clock >= self.acknowledged.clock {
                    self.acknowledged = own;
                    return true;
                }
            }
            Heard::Probe(probe) => line.probes.extend(probe.map(|probe| probe.number)),
            Heard::Denied(_) | Heard::Ping | Heard::Pong | Heard::Close(..) => {}
        }
        false
    }
}

fn run(seed: u64) -> Happened {
    let mut world = World::new(seed);
    for _ in 0..300 {
        world.step();
    }
    world.ends();
    world.happened
}

fn reported(seed: u64) -> Happened {
    std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|panic| {
        eprintln!("the failing seed is {seed}: COWRITE_SEED={seed} cargo test --test room simulation");
        std::panic::resume_unwind(panic)
    })
}

pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn p1_p5_whatever_happens_all_become_the_same_and_nothing_acknowledged_is_lost() {
    if let Some(seed) = setting("COWRITE_SEED") {
        eprintln!("{:?}", reported(seed));
        return;
    }
    let mut sum = Happened::default();
    for seed in 0..setting("COWRITE_SEEDS").unwrap_or(1_000) {
        let one = reported(seed);
        assert!(
            one.edits > 10 && one.reconnects >= 2,
            "nothing happened with seed {seed}: {one:?}"
        );
        sum.edits += one.edits;
        sum.merged += one.merged;
        sum.acknowledged += one.acknowledged;
        sum.crashes += one.crashes;
        sum.lost += one.lost;
        sum.unloads += one.unloads;
        sum.snapshots += one.snapshots;
        sum.resyncs += one.resyncs;
        sum.expired += one.expired;
        sum.gaps += one.gaps;
        sum.reconnects += one.reconnects;
    }
    eprintln!("{sum:?}");
    let Happened {
        edits,
        merged,
        acknowledged,
        crashes,
        lost,
        unloads,
        snapshots,
        resyncs,
        expired,
        gaps,
        reconnects,
    } = sum;
    for (what, times) in [
        ("edits", edits),
        ("merged", merged),
        ("acknowledged", acknowledged),
        ("crashes", crashes),
        ("lost", lost),
        ("unloads", unloads),
        ("snapshots", snapshots),
        ("resyncs", resyncs),
        ("expired", expired),
        ("gaps", gaps),
        ("reconnects", reconnects),
    ] {
        assert!(times > 20, "{what} hardly ever happened: {sum:?}");
    }
}

/// An outbox that was never empty at the moment of a look kept a reader behind for ever.
#[test]
fn f7_seed_31() {
    reported(31);
}

/// A reader knew what a crash had lost, and was never told "saved" again.
#[test]
fn s7_seed_1133() {
    reported(1_133);
}
