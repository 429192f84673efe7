//! Pages, lines and a server, and everything that can happen to them. Each step has its own dice, so that a plan is a list
//! of steps, and what is left of one is a plan as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use bytes::{Bytes, BytesMut};
use cowrite::{
    access::{Access, Identity, Sharer},
    protocol::{close::CloseReason, update::CheckedUpdate},
    room::{Micros, Policy, session::SessionId},
};

use super::{
    editor::{AWARENESS_QUESTION, Editor, Random, scribble, states, step1, update},
    line::{Line, MESSAGE_BYTES_MAX, PIECE_BYTES_MAX, Who},
    page::{Desk, News, Own, Page},
    server::{DOCUMENTS_MAX, MS, POLICY, SECOND, Server, Told},
    sim::Fault,
    wire::{self, Wire},
};

/// What a run did: one in which nothing happened proves nothing.
pub type Happened = BTreeMap<&'static str, usize>;

/// Somebody who writes without a session, until that is durable.
struct Visit {
    document: usize,
    client: u64,
    own: Own,
    update: Bytes,
}

/// A client that means no good. It may read.
struct Hostile {
    wire: Wire,
    line: Option<u64>,
    reads: bool,
}

pub struct World {
    pub server: Server,
    pages: Vec<Page>,
    hostile: Vec<Hostile>,
    lines: BTreeMap<u64, Line>,
    next_line: u64,
    next_session: u64,
    next_client: u64,
    visits: BTreeMap<SessionId, Visit>,
    /// What was not taken, or is not known to be durable: it is sent again.
    unwritten: Vec<Visit>,
    documents: usize,
    edited_bytes: usize,
    ending: bool,
    closing: bool,
    pub happened: Happened,
    /// What is told of each step, if anybody wants to know.
    pub told: Option<String>,
}

/// Dice that depend on a seed and on nothing that happened.
pub fn dice(seed: u64, step: u64) -> Random {
    let mut random = Random(seed ^ step.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    random.next();
    random
}

/// The client id of who may only read.
const MALLORY: u64 = 666;

const WIRES: [Wire; 3] = [Wire::YWebsocket, Wire::YSweet, Wire::Hocuspocus];

impl World {
    pub fn new(mut random: Random) -> Self {
        let policy = Policy {
            outbox_bytes_max: [2_000, 8_000, 50_000][random.below(3) as usize],
            // More than any page brings at once: that would never be taken.
            unsaved_bytes_max: [1 << 30, 1 << 30, 300_000][random.below(3) as usize],
            snapshot_bytes: [200, 2_000, 100_000][random.below(3) as usize],
            idle_timeout: [10 * MS, 2 * SECOND, 30 * SECOND][random.below(3) as usize],
            ..POLICY
        };
        let mut server = Server::start(policy, random.next());
        server.waiting_bytes_max = [usize::MAX, 6_000][random.below(2) as usize];
        let documents = 2 + random.below(DOCUMENTS_MAX as u64 - 1) as usize;
        let mut world = Self {
            server,
            pages: Vec::new(),
            hostile: Vec::new(),
            lines: BTreeMap::new(),
            next_line: 1,
            next_session: 1,
            next_client: 1_000,
            visits: BTreeMap::new(),
            unwritten: Vec::new(),
            documents,
            edited_bytes: 0,
            ending: false,
            closing: false,
            happened: Happened::new(),
            told: None,
        };
        for n in 0..3 + random.below(4) {
            world.pages.push(page(n, documents, &mut random));
        }
        for _ in 0..random.below(3) {
            world.hostile.push(Hostile {
                wire: WIRES[random.below(3) as usize],
                line: None,
                reads: random.one_in(2),
            });
        }
        world
    }

    fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(told) = &mut self.told {
            let _ = writeln!(told, "    {}", what());
        }
    }

    /// One thing happens.
    pub fn step(&mut self, mut random: Random) {
        let random = &mut random;
        let n = random.below(self.pages.len() as u64) as usize;
        let desk = random.below(self.pages[n].desks.len() as u64) as usize;
        match random.below(100) {
            0..=22 => self.edits(n, desk, random),
            23..=36 => {
                let most = amount(random);
                self.server_hears(n, most, random);
            }
            37..=50 => {
                let slowness = self.pages[n].slowness;
                if random.one_in(slowness) {
                    self.carries(n, 1 + random.below(5) as usize);
                    self.reads(n, amount(random));
                }
            }
            51..=57 => self.passes(random.below(20 * MS)),
            58 => self.passes(random.below(4 * SECOND)),
            59 if random.one_in(3) => {
                self.count("clock jumps");
                self.passes(random.below(300 * SECOND));
                self.server.wall_ms = 1_800_000_000_000 + random.below(1 << 32);
            }
            59 => self.passes(random.below(100 * SECOND)),
            60..=66 => {
                let most = 1 + random.below(self.server.waiting.len() as u64 + 1) as usize;
                self.tell(|| format!("the writer commits {most} records"));
                self.server.commits(most);
            }
            67..=72 => {
                self.tell(|| "a room is told what is durable".to_owned());
                self.server.is_told();
            }
            73..=76 => self.asks(n, desk),
            77..=81 => self.connects(n, random),
            82..=83 => self.line_breaks(n, random),
            84 => self.doubles(n, desk, random),
            85..=86 => self.announces(n, desk),
            87 => self.pages[n].say(desk, &AWARENESS_QUESTION),
            88 => self.asks_for_document(n, desk),
            89 => {
                self.tell(|| "something is encoded".to_owned());
                self.server.encodes();
            }
            90 => {
                self.tell(|| "the journal is tidied".to_owned());
                self.server.tidies();
            }
            91 => self.disk_changes(random),
            92 => self.moves(n, desk, random),
            93 => self.visits(random),
            94..=97 => self.is_hostile(random),
            98 if random.one_in(6) => self.restarts(),
            99 if random.one_in(3) => self.crashes(random),
            _ => self.says_something_else(n, desk, random),
        }
        self.settles();
    }

    /// What follows from what happened, and what must be true at any moment.
    fn settles(&mut self) {
        for told in std::mem::take(&mut self.server.told) {
            match told {
                Told::Ended(session, reason) => self.has_ended(session, &reason),
                Told::Written(id, Ok(())) => {
                    let visit = self.visits.remove(&id).expect("it was written");
                    let content = self.server.content(visit.document);
                    assert!(
                        visit.own.is_in(visit.client, &content),
                        "P1: what was written is not durable"
                    );
                    self.count("written");
                }
                Told::Written(id, Err(reason)) => {
                    assert!(
                        matches!(reason, CloseReason::Overloaded(_)),
                        "a write is refused: {reason}"
                    );
                    self.unwritten.extend(self.visits.remove(&id));
                }
            }
        }
        for line in self.lines.values() {
            // Where nothing waits there is room for anything.
            let most = 2 * self.server.policy.outbox_bytes_max + 2 * PIECE_BYTES_MAX + MESSAGE_BYTES_MAX;
            let waiting = line.waiting_bytes();
            assert!(waiting <= most, "P6: {waiting} bytes wait for one line");
        }
    }

    fn has_ended(&mut self, session: SessionId, reason: &CloseReason) {
        let is_hostile = |hostile: &Hostile| {
            let line = hostile.line.and_then(|line| self.lines.get(&line));
            line.is_some_and(|line| line.sessions().any(|id| id == session))
        };
        let is_hostile = self.hostile.iter().any(is_hostile);
        match reason {
            CloseReason::Unauthenticated(_) => self.count("expired"),
            CloseReason::Overloaded(_) => self.count("overloaded"),
            CloseReason::Restarting => {}
            _ if is_hostile => self.count("hostile ended"),
            other => panic!("P3: an honest page was sent away: {other}"),
        }
        self.tell(|| format!("session {} was ended: {reason}", session.0));
    }

    fn edits(&mut self, n: usize, desk: usize, random: &mut Random) {
        let page = &mut self.pages[n];
        if page.reads_only {
            return;
        }
        let one = &mut page.desks[desk];
        let (bytes, deleted) = if random.one_in(150) {
            let text: String = "All work and no play. ".repeat(random.below(4_000) as usize);
            (one.editor.types(&text), Default::default())
        } else {
            scribble(&one.editor, random)
        };
        if bytes == [0, 0] {
            return;
        }
        one.own.clock = one.own_clock();
        one.own.deleted.merge(&deleted);
        self.edited_bytes += bytes.len();
        let bytes_len = bytes.len();
        self.pages[n].sends(desk, &update(&bytes));
        self.count("edits");
        self.tell(|| format!("page {n} edits its document {desk}: {bytes_len} bytes"));
    }

    fn asks(&mut self, n: usize, desk: usize) {
        self.tell(|| format!("page {n} asks whether all is saved"));
        if self.pages[n].desks[desk].is_attached {
            self.pages[n].asks(desk);
        }
    }

    fn announces(&mut self, n: usize, desk: usize) {
        let now = self.server.now;
        if self.pages[n].desks[desk].is_attached {
            self.pages[n].announces(desk, now);
        }
    }

    fn asks_for_document(&mut self, n: usize, desk: usize) {
        let page = &mut self.pages[n];
        if !page.desks[desk].is_attached {
            return;
        }
        if page.wire == Wire::Hocuspocus {
            // `forceSync` counts anew, also what is acknowledged of before: an honest page waits.
            if page.desks[desk].unsynced > 0 {
                return;
            }
            page.desks[desk].unsynced = 1;
        }
        let question = step1(&page.desks[desk].editor.state_vector());
        page.say(desk, &question);
        self.tell(|| format!("page {n} asks for its document {desk}"));
    }

    fn doubles(&mut self, n: usize, desk: usize, random: &mut Random) {
        let page = &mut self.pages[n];
        // On Hocuspocus' wire everything is counted; on the others a tab of the same browser passes things on.
        if page.wire == Wire::Hocuspocus || page.desks[desk].sent.is_empty() {
            return;
        }
        let sent = &page.desks[desk].sent;
        let again = sent[random.below(sent.len() as u64) as usize].clone();
        page.say(desk, &again);
        self.count("doubled");
        self.tell(|| format!("page {n} sends something again"));
    }

    fn says_something_else(&mut self, n: usize, desk: usize, random: &mut Random) {
        let page = &mut self.pages[n];
        match page.wire {
            Wire::Hocuspocus => page.say(desk, &wire::stateless()),
            _ if page.line.is_some() => {
                let ping = wire::masked(wire::PING, &[random.below(256) as u8]);
                self.sends(n, &ping);
            }
            _ => {}
        }
    }

    fn connects(&mut self, n: usize, random: &mut Random) {
        if self.pages[n].line.is_some() {
            return;
        }
        self.count("connections");
        self.tell(|| format!("page {n} connects"));
        let page = &self.pages[n];
        let who = Who {
            wire: page.wire,
            identity: identity(page),
            document: page.desks[0].document,
            expires: self.expires(random),
        };
        let line = Line::accepts(&mut self.server, who, &mut self.next_session);
        let id = self.next_line;
        self.next_line += 1;
        self.lines.insert(id, line);
        let (now, asks) = (self.server.now, random.one_in(2));
        self.pages[n].connects(id, now, asks);
        self.flushes(n);
    }

    fn expires(&self, random: &mut Random) -> Option<Micros> {
        (!self.ending && random.one_in(6)).then(|| self.server.now + random.below(40 * SECOND))
    }

    /// What a page wants to say goes onto its line.
    fn flushes(&mut self, n: usize) {
        for message in std::mem::take(&mut self.pages[n].says) {
            let frame = wire::masked(wire::BINARY, &message);
            self.sends(n, &frame);
        }
    }

    fn sends(&mut self, n: usize, bytes: &[u8]) {
        if let Some(line) = self.line_of(n) {
            line.sends(bytes);
        }
    }

    fn line_of(&mut self, n: usize) -> Option<&mut Line> {
        self.lines.get_mut(&self.pages[n].line?)
    }

    /// Bytes of a page reach the server.
    fn server_hears(&mut self, n: usize, most: usize, random: &mut Random) {
        self.flushes(n);
        // Also of lines that nobody is on any more: what was sent before counts.
        let left: Vec<u64> = self
            .lines
            .iter()
            .filter(|(_, line)| line.peer_left)
            .map(|(id, _)| *id)
            .collect();
        let expires = self.expires(random);
        for id in self.pages[n].line.into_iter().chain(left) {
            self.line_hears(id, most, expires);
        }
        self.tell(|| format!("the server hears {most} bytes of page {n}"));
    }

    fn line_hears(&mut self, id: u64, most: usize, expires: Option<Micros>) {
        let Some(mut line) = self.lines.remove(&id) else { return };
        line.hears(&mut self.server, most, expires, &mut self.next_session);
        let is_done = line.peer_left && line.up.is_empty();
        if is_done {
            line.breaks(&mut self.server);
        } else {
            self.lines.insert(id, line);
        }
    }

    fn carries(&mut self, n: usize, frames: usize) {
        if let Some(line) = self.line_of(n) {
            line.writes(frames);
        }
    }

    /// Bytes of the server reach a page.
    fn reads(&mut self, n: usize, most: usize) {
        self.tell(|| format!("page {n} reads {most} bytes"));
        let now = self.server.now;
        let Some(line) = self.line_of(n) else {
            // The server has thrown it away.
            return self.pages[n].disconnects();
        };
        let arrived = line.arrives(most);
        let has_ended = line.ended && line.down.is_empty();
        self.pages[n].arrived.extend_from_slice(&arrived);
        let mut news = News::default();
        while let Some((first, payload)) = wire::unframed(&mut self.pages[n].arrived) {
            match first {
                wire::BINARY => self.pages[n].hears(&payload, now, &mut news),
                wire::PING => {
                    let pong = wire::masked(wire::PONG, &payload);
                    self.sends(n, &pong);
                }
                wire::PONG | 0x88 => {}
                other => panic!("a frame with opcode {other:x}"),
            }
        }
        if news.was_denied {
            self.count("denied");
        }
        for desk in news.acknowledged {
            self.is_acknowledged(n, desk);
        }
        self.flushes(n);
        if has_ended {
            self.disconnects(n);
        }
    }

    /// P1: what is called saved would survive losing power now.
    fn is_acknowledged(&mut self, n: usize, desk: usize) {
        self.count("acknowledged");
        let desk = &self.pages[n].desks[desk];
        let content = self.server.content(desk.document);
        assert!(
            desk.acknowledged.is_in(desk.editor.client, &content),
            "P1: page {n} was told that client {} is saved, and it is not durable",
            desk.editor.client
        );
    }

    fn disconnects(&mut self, n: usize) {
        self.tell(|| format!("page {n} is disconnected"));
        let line = self.pages[n].line;
        self.pages[n].disconnects();
        if let Some(mut line) = line.and_then(|id| self.lines.remove(&id)) {
            line.breaks(&mut self.server);
        }
    }

    /// Closed, cut off with what was under way, or silently dead: the server does not hear of that.
    fn line_breaks(&mut self, n: usize, random: &mut Random) {
        self.flushes(n);
        let how = random.below(3);
        let Some(line) = self.line_of(n) else { return };
        match how {
            0 => line.peer_left = true,
            1 => {
                let kept = random.below(line.up.len() as u64 + 1) as usize;
                line.up.truncate(kept);
                line.peer_left = true;
            }
            _ => {
                let kept = random.below(line.up.len() as u64 + 1) as usize;
                line.up.truncate(kept);
            }
        }
        self.count(["closed", "cut", "silently dead"][how as usize]);
        self.tell(|| format!("the line of page {n} breaks ({how})"));
        self.pages[n].disconnects();
    }

    fn passes(&mut self, micros: Micros) {
        self.tell(|| format!("{micros} µs pass"));
        self.server.passes(micros);
        let now = self.server.now;
        self.lines.values_mut().for_each(|line| line.looks(now));
    }

    fn disk_changes(&mut self, random: &mut Random) {
        use std::io::ErrorKind;
        let fault = match random.below(4) {
            0 | 1 => Fault::None,
            2 => Fault::Once(1 + random.below(6), ErrorKind::StorageFull),
            _ => Fault::From(1 + random.below(4)),
        };
        self.tell(|| format!("the disk: {fault:?}"));
        self.count("disk changes");
        self.server.fails(fault);
    }

    /// A page leaves one of its documents, or comes back to it.
    fn moves(&mut self, n: usize, desk: usize, random: &mut Random) {
        let now = self.server.now;
        let page = &mut self.pages[n];
        if page.wire != Wire::Hocuspocus || page.line.is_none() {
            return;
        }
        if page.desks[desk].is_attached && random.one_in(2) {
            page.detaches(desk);
        } else if !page.desks[desk].is_attached {
            page.comes_back(desk, now);
        }
        self.count("moves");
        self.tell(|| format!("page {n} leaves its document {desk}, or comes back"));
    }

    /// Somebody writes without a session.
    fn visits(&mut self, random: &mut Random) {
        if let Some(again) = self.unwritten.pop() {
            return self.writes(again);
        }
        let editor = Editor::new(self.next_client);
        self.next_client += 1;
        let update = Bytes::from(editor.types("visited "));
        self.edited_bytes += update.len();
        let own = Own {
            clock: 8,
            ..Own::default()
        };
        self.writes(Visit {
            document: random.below(self.documents as u64) as usize,
            client: editor.client,
            own,
            update,
        });
    }

    fn writes(&mut self, visit: Visit) {
        let (document, id) = (visit.document, SessionId(self.next_session));
        self.next_session += 1;
        self.tell(|| format!("somebody writes into document {document} without a session"));
        let update = CheckedUpdate::check(visit.update.clone()).expect("an update");
        self.visits.insert(id, visit);
        self.server.writes(document, id, update);
    }

    /// P3: whatever a reader sends, nothing of it is taken and nobody else notices.
    fn is_hostile(&mut self, random: &mut Random) {
        if self.hostile.is_empty() {
            return;
        }
        let h = random.below(self.hostile.len() as u64) as usize;
        let line = self.hostile[h]
            .line
            .filter(|id| self.lines.get(id).is_some_and(|line| !line.ended));
        let Some(id) = line else {
            return self.hostile_connects(h, random);
        };
        let what = random.below(9);
        let bytes = self.hostile_bytes(self.hostile[h].wire, what, random);
        self.tell(|| format!("a hostile client sends {} bytes ({what})", bytes.len()));
        self.count("hostile messages");
        let reads = self.hostile[h].reads;
        if let Some(line) = self.lines.get_mut(&id) {
            line.sends(&bytes);
            if reads {
                line.writes(20);
                line.down.clear();
            } else if random.one_in(8) {
                // It does not read; what the system holds for it is little.
                line.writes(1);
            }
        }
        self.line_hears(id, usize::MAX, None);
        if random.one_in(20)
            && let Some(line) = self.lines.get_mut(&id)
        {
            line.peer_left = true;
            self.hostile[h].line = None;
        }
    }

    fn hostile_connects(&mut self, h: usize, random: &mut Random) {
        let wire = self.hostile[h].wire;
        let document = random.below(self.documents as u64) as usize;
        let identity = Identity {
            subject: Some("mallory".into()),
            access: Access::Read,
            ..Identity::anonymous()
        };
        let who = Who {
            wire,
            identity,
            document,
            expires: None,
        };
        // A line that was ended is read to its end, or not.
        if let Some(mut line) = self.hostile[h].line.take().and_then(|id| self.lines.remove(&id)) {
            line.breaks(&mut self.server);
        }
        let mut line = Line::accepts(&mut self.server, who, &mut self.next_session);
        if wire == Wire::Hocuspocus {
            let auth = wire::to(&format!("doc{document}"), &wire::auth(true));
            line.sends(&wire::masked(wire::BINARY, &auth));
        }
        let id = self.next_line;
        self.next_line += 1;
        self.lines.insert(id, line);
        self.hostile[h].line = Some(id);
        self.tell(|| format!("a hostile client connects to document {document}"));
    }

    fn hostile_bytes(&mut self, wire: Wire, what: u64, random: &mut Random) -> BytesMut {
        let document = random.below(self.documents as u64);
        let dressed = |message: &[u8]| {
            let message = match wire {
                Wire::Hocuspocus => wire::to(&format!("doc{document}"), message),
                _ => message.to_vec(),
            };
            wire::masked(wire::BINARY, &message)
        };
        let victim = &self.pages[random.below(self.pages.len() as u64) as usize].desks[0];
        let noise = |random: &mut Random| (0..random.below(60)).map(|_| random.next() as u8).collect::<Vec<u8>>();
        let bytes = match what {
            // No WebSocket at all.
            0 => noise(random),
            // No message of the wire.
            1 if random.one_in(2) => dressed(&noise(random)),
            // An edit of its own, which would be a good one.
            1 => dressed(&update(&Editor::new(MALLORY).types("mallory was here"))),
            // What an honest page said, with a byte changed, cut off, or as it was.
            2 | 3 => match victim.sent.last() {
                Some(sent) => {
                    let mut sent = sent.to_vec();
                    let at = random.below(sent.len() as u64) as usize;
                    match random.below(3) {
                        0 => sent[at] = random.next() as u8,
                        1 => sent.truncate(at),
                        _ => {}
                    }
                    dressed(&sent)
                }
                None => dressed(&noise(random)),
            },
            // Somebody else's presence, ahead, or gone. (Far ahead, under an id of which the room knows nothing, it is what
            // others believe: `docs/security.md`.)
            4 => {
                let clock = victim.clock + 1 + random.below(3) as u32;
                let state = if random.one_in(2) { "{\"mallory\":1}" } else { "null" };
                dressed(&states(&[(victim.editor.client, clock, state)]))
            }
            // Questions for the document, with whatever it says to have.
            5 => {
                let had = [&[0][..], &[1, 10, 1], &[2, 10, 5, 11, 9]][random.below(3) as usize];
                (0..5).flat_map(|_| dressed(&step1(had))).collect()
            }
            6 => (0..30)
                .flat_map(|_| wire::masked(wire::PING, b"are you there?"))
                .collect(),
            7 => (0..20).flat_map(|_| dressed(&AWARENESS_QUESTION)).collect(),
            // A message that is announced and does not come.
            _ => {
                let whole = wire::masked(wire::BINARY, &vec![0; random.below(3_000) as usize]);
                let kept = random.below(whole.len() as u64) as usize;
                whole[..kept].to_vec()
            }
        };
        BytesMut::from(&bytes[..])
    }

    fn restarts(&mut self) {
        self.count("restarts");
        self.tell(|| "the server restarts".to_owned());
        self.server.stops();
        self.is_gone();
    }

    fn crashes(&mut self, random: &mut Random) {
        let power_loss = random.one_in(2).then(|| random.next());
        self.count(if power_loss.is_some() { "power losses" } else { "kills" });
        self.tell(|| format!("the server is killed; the power goes: {power_loss:?}"));
        self.server.crashes(power_loss);
        self.is_gone();
        self.holds_what_was_acknowledged();
    }

    /// All lines end with the process.
    fn is_gone(&mut self) {
        for line in self.lines.values_mut() {
            line.is_orphaned();
        }
        self.lines.clear();
        self.unwritten.extend(std::mem::take(&mut self.visits).into_values());
        for page in &mut self.pages {
            page.disconnects();
        }
        for hostile in &mut self.hostile {
            hostile.line = None;
        }
        self.server.told.retain(|told| matches!(told, Told::Ended(..)));
    }

    fn holds_what_was_acknowledged(&self) {
        for desk in self.pages.iter().flat_map(|page| &page.desks) {
            let content = self.server.found(desk.document).editor.content();
            let client = desk.editor.client;
            assert!(
                desk.acknowledged.is_in(client, &content),
                "P1: what client {client} was told is saved is lost"
            );
        }
    }

    /// Everything goes as it should for a while.
    fn quiet_round(&mut self, round: u64) {
        for n in 0..self.pages.len() {
            let mut random = dice(round, n as u64);
            self.connects(n, &mut random);
            for desk in 0..self.pages[n].desks.len() {
                let now = self.server.now;
                if !self.pages[n].desks[desk].is_attached {
                    self.pages[n].comes_back(desk, now);
                }
                if now > self.pages[n].desks[desk].announced + 10 * SECOND && !self.closing {
                    self.announces(n, desk);
                }
            }
            self.server_hears(n, usize::MAX, &mut random);
            self.carries(n, 10_000);
            self.reads(n, usize::MAX);
            self.server_hears(n, usize::MAX, &mut random);
        }
        for visit in std::mem::take(&mut self.unwritten) {
            self.writes(visit);
        }
        while self.server.has_jobs() {
            self.server.encodes();
        }
        self.server.commits(usize::MAX);
        while self.server.has_news() {
            self.server.is_told();
        }
        self.server.tidies();
        // Short at first, so that what follows from an answer is soon done.
        self.passes(if round < 40 { 50 * MS } else { 400 * MS });
        self.settles();
    }

    /// Everything gets the time that it needs; then all must agree.
    pub fn ends(&mut self) {
        self.ending = true;
        self.server.fails(Fault::None);
        self.server.waiting_bytes_max = usize::MAX;
        for hostile in std::mem::take(&mut self.hostile) {
            if let Some(line) = hostile.line.and_then(|id| self.lines.get_mut(&id)) {
                line.peer_left = true;
                line.up.clear();
            }
        }
        // Long enough for presence of the past to be forgotten, and for silent lines to be noticed.
        for round in 0..340 {
            self.quiet_round(round);
        }
        let connected: BTreeSet<u64> = self.pages.iter().filter_map(|page| page.line).collect();
        let forgotten: Vec<u64> = self
            .lines
            .keys()
            .copied()
            .filter(|id| !connected.contains(id))
            .collect();
        for id in forgotten {
            let line = self.lines.get_mut(&id).expect("it is there");
            assert!(line.ended || !line.writes(10_000), "it is ended");
            assert!(line.ended, "L4: a line of which nothing was heard is still there");
        }
        let sessions: usize = self.server.rooms.values().map(cowrite::room::Room::sessions).sum();
        let desks: usize = self.pages.iter().map(|page| page.desks.len()).sum();
        assert_eq!(sessions, desks, "P6: as many sessions as there are documents on pages");
        assert!(
            self.visits.is_empty() && self.unwritten.is_empty(),
            "what was written without a session is durable"
        );
        self.holds_what_was_acknowledged();
        self.all_hold_the_same();
        self.closing = true;
        for n in 0..self.pages.len() {
            for desk in 0..self.pages[n].desks.len() {
                self.asks(n, desk);
            }
        }
        for round in 0..40 {
            self.quiet_round(1_000 + round);
        }
        self.all_see_who_is_here();
        let (live, disk) = self.server.sizes();
        assert!(
            disk < 3 * live + 256 * 1024,
            "P6: {disk} bytes on the disk for {live} that are live"
        );
        let counts = std::mem::take(&mut self.server.counts);
        for (what, times) in [
            ("taken", counts.updates),
            ("gaps", counts.updates_with_gaps),
            ("of readers", counts.updates_of_readers),
            ("presence refused", counts.awareness_refused),
            ("resyncs", counts.resyncs),
            ("failed loads", self.server.loads_failed as u64),
            ("failed commits", self.server.commits_failed as u64),
            ("snapshots", self.server.snapshots as u64),
            ("unloads", self.server.unloads as u64),
            ("lost records", self.server.lost as u64),
        ] {
            *self.happened.entry(what).or_default() += times as usize;
        }
        assert_eq!(counts.conflicts, 0, "nobody writes under another's client id");
    }

    /// P5.
    fn all_hold_the_same(&self) {
        for (n, page) in self.pages.iter().enumerate() {
            for desk in &page.desks {
                let expected = self.server.found(desk.document).editor.content();
                let taken = expected.clocks.get(&yrs::ClientID::new(MALLORY));
                assert_eq!(taken, 0, "P3: an edit of a reader was taken");
                assert!(!desk.editor.misses_something());
                assert_eq!(desk.editor.content(), expected, "P5: page {n} differs from the store");
            }
        }
    }

    fn all_see_who_is_here(&self) {
        for (n, page) in self.pages.iter().enumerate() {
            assert!(!page.waits(), "page {n} waits to hear that its edits are saved");
            for desk in &page.desks {
                let others = self.pages.iter().flat_map(|page| &page.desks);
                let others = others.filter(|other| other.document == desk.document);
                let here: BTreeMap<_, _> = others
                    .filter(|other| other.editor.client != desk.editor.client)
                    .map(Desk::state)
                    .collect();
                let sees: BTreeMap<_, _> = desk.sees.iter().filter(|(_, (_, state))| state.is_some()).collect();
                assert_eq!(sees, here.iter().collect(), "page {n} sees somebody else");
            }
        }
    }
}

fn amount(random: &mut Random) -> usize {
    match random.below(4) {
        0 => random.below(20) as usize,
        1 => random.below(400) as usize,
        _ => usize::MAX,
    }
}

fn identity(page: &Page) -> Identity {
    let sharers = [Sharer {
        sub: "ada".into(),
        jti: None,
        iat: None,
    }];
    Identity {
        subject: page.subject.map(Into::into),
        by: page
            .subject
            .filter(|subject| subject.starts_with("link:"))
            .map(|_| sharers.into()),
        access: if page.reads_only { Access::Read } else { Access::Write },
        ..Identity::anonymous()
    }
}

fn page(n: u64, documents: usize, random: &mut Random) -> Page {
    let wire = WIRES[random.below(3) as usize];
    let desks = if wire == Wire::Hocuspocus {
        1 + random.below(3)
    } else {
        1
    };
    let first = random.below(documents as u64) as usize;
    let desk = |at: u64, random: &mut Random| {
        let document = if at == 0 || random.one_in(4) {
            first
        } else {
            (first + at as usize) % documents
        };
        let address = match at {
            0 => format!("doc{document}"),
            _ => format!("doc{document}\0{at}"),
        };
        Desk::new(document, address, 10 + 10 * n + at)
    };
    let desks = (0..desks).map(|at| desk(at, random)).collect();
    Page {
        wire,
        desks,
        reads_only: n > 1 && random.one_in(4),
        subject: [None, Some("ada"), Some("bob"), Some("link:one")][random.below(4) as usize],
        has_version: random.one_in(2),
        line: None,
        arrived: BytesMut::new(),
        slowness: [1, 1, 3, 20][random.below(4) as usize],
        says: Vec::new(),
    }
}
