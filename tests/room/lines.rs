//! Readers of one large document, each on a line of its own kind, from a seed. Lines have a rate, let some bytes through at
//! once, answer pings or not, have proxies that answer for them or take no large messages. Providers hear whole messages only, give
//! up when none came for so long, and come back with what they have.

use std::{collections::VecDeque, sync::Arc};

use cowrite::{
    budgets::{Memory, Network},
    protocol::dialect::Dialect,
    room::{Effect, Micros, Policy, outbox::Outbox, stream::Probe},
    store::StoredDocument,
};

use crate::{
    editor::{Editor, Heard, Random, heard, saved_question, scribble, states, step1, step2, update},
    simulation::setting,
    table::{Deed, MS, POLICY, SECOND, Table, reader, writer},
};

const WRITER: u64 = 1;
const TICK: Micros = 20 * MS;
/// A socket takes from its outbox while the network holds less than this.
const SOCKET_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pongs {
    /// The client answers when it has read what was before.
    Client,
    /// Something near the server does.
    Proxy,
    Nobody,
}

#[derive(Debug)]
struct Way {
    /// Bytes a second.
    rate: u64,
    /// So many bytes come at once when nothing came for long.
    burst: u64,
    delay: Micros,
    pongs: Pongs,
    /// A larger message ends the connection.
    message_bytes_max: usize,
    /// Each twenty seconds it stands still for so long.
    stalls: Micros,
}

impl Way {
    /// When so many bytes have left it that begin at `from`.
    fn carries(&self, from: Micros, bytes: usize) -> Micros {
        let mut at = from + bytes as u64 * SECOND / self.rate;
        if self.stalls > 0 {
            at += (at / (20 * SECOND) - from / (20 * SECOND)) * self.stalls;
        }
        at
    }
}

/// A connection, and what is on its way to its client.
struct Connection {
    session: u64,
    /// When the last byte that was taken leaves the line.
    free_at: Micros,
    /// Bytes in the network.
    held: VecDeque<(Micros, usize, Vec<Heard>)>,
    pongs: VecDeque<(Micros, Probe)>,
    heard_at: Micros,
    /// When y-sweet's client asked whether the connection lives.
    asked_at: Micros,
}

struct Page {
    editor: Editor,
    /// It says who it is.
    announces: bool,
    is_y_sweet: bool,
    way: Way,
    connection: Option<Connection>,
    comes_at: Micros,
    connects: u32,
    received: usize,
}

impl Page {
    fn patience(&self) -> Micros {
        if self.is_y_sweet { 5 * SECOND } else { 30 * SECOND }
    }
}

struct World {
    random: Random,
    table: Table,
    author: Editor,
    pages: Vec<Page>,
    jobs: VecDeque<(Micros, Effect)>,
    memory: Arc<Memory>,
    /// Who writes was refused for lack of memory, and comes back.
    author_comes_at: Option<Micros>,
    sessions: u64,
    encodes: usize,
    bytes: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let policy = Policy {
            outbox_bytes_max: [256 << 10, 1 << 20, 4 << 20][random.below(3) as usize],
            ..POLICY
        };
        let mut table = Table::with(policy, &StoredDocument::default());
        table.hold_encodes = true;
        let author = Editor::new(WRITER);
        let mut part = Vec::new();
        let (strings, long) = [(20, 6_000), (40, 20_000), (100, 20_000), (120, 30_000)][random.below(4) as usize];
        table.seats(WRITER);
        for n in 0..strings {
            if n == strings / 4 {
                part = author.state();
            }
            let length = 1 + random.below(2 * long) as usize;
            table.says(WRITER, &update(&author.types(&"x".repeat(length))));
        }
        let bytes = author.state().len();
        let answers = bytes * [1, 3, 10, 100][random.below(4) as usize];
        // What is held while an answer is made is an eighth of it.
        let most = [usize::MAX, 20 * bytes.max(1 << 20)][random.below(2) as usize];
        let memory = Memory::new(most, answers.max(1 << 20));
        table.room.shares(memory.clone());
        let start = table.now;
        let pages: Vec<Page> = (0..1 + random.below(6)).map(|n| page(&mut random, n, start)).collect();
        for page in &pages {
            if random.one_in(3) {
                page.editor.applies(&part);
            }
        }
        Self {
            random,
            table,
            author,
            pages,
            jobs: VecDeque::new(),
            memory,
            author_comes_at: None,
            sessions: 100,
            encodes: 0,
            bytes,
        }
    }

    fn connects(&mut self, n: usize) {
        self.sessions += 1;
        let (id, now) = (self.sessions, self.table.now);
        let page = &mut self.pages[n];
        let outbox = Arc::new(Outbox::alone(2 * POLICY.outbox_bytes_max));
        if page.way.message_bytes_max == usize::MAX {
            outbox.line().is_to_a_browser();
        }
        let network = Network::of(format!("192.0.2.{n}").parse().unwrap());
        outbox.line().comes_from(network, Arc::default());
        let dialect = if page.is_y_sweet {
            Dialect::YSweet
        } else {
            Dialect::YWebsocket
        };
        page.connects += 1;
        page.connection = Some(Connection {
            session: id,
            free_at: now,
            held: VecDeque::new(),
            pongs: VecDeque::new(),
            heard_at: now,
            asked_at: now,
        });
        let client = page.announces.then_some(page.editor.client);
        let vector = page.editor.state_vector();
        self.table.sits_down(id, reader(), None, dialect, outbox);
        self.table.says(id, &step1(&vector));
        if let Some(client) = client {
            self.table.says(id, &states(&[(client, 1, "{}")]));
        }
        self.table.says(id, &step2(&[0, 0]));
    }

    fn disconnects(&mut self, n: usize) {
        let pause = 100 * MS + self.random.below(2_400 * MS);
        let page = &mut self.pages[n];
        page.comes_at = self.table.now + pause;
        if let Some(connection) = page.connection.take() {
            self.table.leaves(connection.session);
        }
    }

    /// What of a page's line is due.
    fn moves(&mut self, n: usize) {
        let now = self.table.now;
        let page = &mut self.pages[n];
        let patience = page.patience();
        let Some(connection) = &mut page.connection else {
            if now >= page.comes_at {
                self.connects(n);
            }
            return;
        };
        let way = &page.way;
        let mut is_cut = false;
        while connection.held.iter().map(|(_, bytes, _)| bytes).sum::<usize>() < SOCKET_BYTES {
            let Some(frames) = self.table.outbox(connection.session).take_frame() else {
                break;
            };
            // What was not used of the line lets so much through at once.
            let earliest = now.saturating_sub(way.burst * SECOND / way.rate);
            connection.free_at = way.carries(connection.free_at.max(earliest), frames.len());
            let all = heard(&frames);
            is_cut |= frames.len() > way.message_bytes_max;
            if way.pongs == Pongs::Proxy {
                connection.pongs.extend(probes(&all).map(|probe| (now + MS, probe)));
            }
            let arrives = connection.free_at.max(now) + way.delay;
            connection.held.push_back((arrives, frames.len(), all));
        }
        while connection.held.front().is_some_and(|(arrives, ..)| *arrives <= now) {
            let (arrives, bytes, all) = connection.held.pop_front().unwrap();
            page.received += bytes;
            if way.pongs == Pongs::Client {
                connection
                    .pongs
                    .extend(probes(&all).map(|probe| (arrives + way.delay, probe)));
            }
            for heard in all {
                match heard {
                    Heard::Update(update) | Heard::Step2(update) => page.editor.applies(&update),
                    Heard::Close(..) => is_cut = true,
                    Heard::Ping | Heard::Probe(_) | Heard::Pong => continue,
                    _ => {}
                }
                connection.heard_at = arrives;
            }
        }
        let session = connection.session;
        let mut pongs = Vec::new();
        while connection.pongs.front().is_some_and(|(at, _)| *at <= now) {
            pongs.extend(connection.pongs.pop_front());
        }
        is_cut |= now > connection.heard_at + patience;
        let asks = page.is_y_sweet && now > connection.heard_at.max(connection.asked_at) + 2 * SECOND;
        if asks {
            connection.asked_at = now;
        }
        self.table.pongs(session);
        if asks {
            self.table.says(session, &saved_question(&[1]));
        }
        for (_, probe) in pongs {
            self.table.answers(probe);
        }
        if is_cut {
            self.disconnects(n);
        }
    }

    fn passes(&mut self) {
        self.table.passes(TICK);
        let now = self.table.now;
        if self.random.one_in(2_000) {
            let most = self.memory.max();
            self.memory
                .uses([most / 3, most / 100 * 90][self.random.below(2) as usize]);
        }
        for n in 0..self.pages.len() {
            self.moves(n);
        }
        for effect in std::mem::take(&mut self.table.held) {
            let took = 5 * MS + self.random.below(300 * MS);
            self.jobs.push_back((now + took, effect));
        }
        while self.jobs.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, Effect::Encode(job))) = self.jobs.pop_front() else {
                unreachable!("only these are held")
            };
            self.encodes += 1;
            self.table.encoded(job.run());
        }
        for deed in self.table.did() {
            match deed {
                Deed::Append(seq, ..) => self.table.stores(seq),
                Deed::Ended(WRITER, _) => self.author_comes_at = Some(now + 10 * SECOND),
                _ => {}
            }
        }
        if self.author_comes_at.is_some_and(|at| at <= now) {
            self.author_comes_at = None;
            self.table.leaves(WRITER);
            self.table.joins(WRITER, writer(), None);
            self.table.says(WRITER, &step2(&self.author.state()));
        }
        self.table.takes(WRITER);
        self.table.pongs(WRITER);
    }

    fn edits(&mut self) {
        if self.author_comes_at.is_some() {
            return;
        }
        let (edit, _) = scribble(&self.author, &mut self.random);
        self.table.says(WRITER, &update(&edit));
    }

    /// Everybody has all in the end.
    fn ends(&mut self) {
        let slowest = self.pages.iter().map(|page| page.way.rate).min().unwrap();
        let bytes = self.bytes as u64;
        let edits = self.random.below(200);
        let begin = self.table.now;
        // Some edit while they come.
        for _ in 0..edits {
            self.edits();
            for _ in 0..self.random.below(20) {
                self.passes();
            }
        }
        let most = 120 * SECOND + 30 * bytes * SECOND / slowest;
        let end = self.table.now + most;
        let content = self.author.content();
        let vector = self.author.state_vector();
        let lacks = |page: &Page| page.editor.state_vector() != vector || page.editor.content() != content;
        while self.pages.iter().any(lacks) {
            assert!(
                self.table.now < end,
                "after {} s: {:#?}",
                (self.table.now - begin) / SECOND,
                self.pages
                    .iter()
                    .filter(|page| lacks(page))
                    .map(|page| (&page.way, page.is_y_sweet, page.announces, page.connects, page.received))
                    .collect::<Vec<_>>()
            );
            for _ in 0..25 {
                self.passes();
            }
        }
    }
}

fn probes(all: &[Heard]) -> impl Iterator<Item = Probe> {
    all.iter().filter_map(|heard| match heard {
        Heard::Probe(probe) => *probe,
        _ => None,
    })
}

/// Somebody's page, on a line of some kind.
fn page(random: &mut Random, n: u64, now: Micros) -> Page {
    let rate = [3_000, 5_000, 20_000, 80_000, 500_000, 10_000_000][random.below(6) as usize];
    let is_y_sweet = random.one_in(3);
    let stalls = if random.one_in(4) { SECOND } else { 0 };
    let way = Way {
        // y-sweet's client hears of nothing but messages, and waits for five seconds.
        rate: if is_y_sweet { rate.max(15_000) } else { rate },
        burst: [0, 0, 20_000, 300_000][random.below(4) as usize],
        delay: [1, 30, 300][random.below(3) as usize] * MS,
        pongs: match random.below(6) {
            0 => Pongs::Proxy,
            1 => Pongs::Nobody,
            _ => Pongs::Client,
        },
        message_bytes_max: [usize::MAX, usize::MAX, usize::MAX, 60_000][random.below(4) as usize],
        stalls: if is_y_sweet { stalls } else { 3 * stalls },
    };
    Page {
        editor: Editor::new(1_000 + n),
        announces: !random.one_in(3),
        is_y_sweet,
        way,
        connection: None,
        comes_at: now + random.below(5 * SECOND),
        connects: 0,
        received: 0,
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    world.ends();
    let connections: u32 = world.pages.iter().map(|page| page.connects).sum();
    assert!(
        world.encodes <= 4 * connections as usize + 40,
        "{} answers for {connections} connections: they are made without end",
        world.encodes
    );
}

#[test]
fn f15_l53_whatever_its_line_does_each_reader_gets_all_in_the_end() {
    let seeds = match setting("COWRITE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("COWRITE_SEEDS").map_or(6, |seeds| seeds / 10),
    };
    for seed in seeds {
        std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|panic| {
            eprintln!("the failing seed is {seed}: COWRITE_SEED={seed} cargo test --test room lines::");
            std::panic::resume_unwind(panic)
        });
    }
}
