//! Updates that nobody honest sends: whatever is taken, the document stays one, and everybody can read it.
//!
//! Two makers of them: bytes of real updates changed at random, and a grammar of decodable updates that
//! refer to what the document has, in ways that make no sense. After them the document's state must open as the same
//! document, what a peer lacks must bring it up to date, and showing the content, to which yrs belongs, must end. Real
//! Yjs is the judge of the rest (`hostile.js`): it takes what was taken, writes it again, tells its observers, and
//! newcomers hold what those hold who were there.
//!
//! `GATE_FUZZ=1000000 cargo test --release --no-default-features --test gate fuzz -- --ignored --nocapture`;
//! `GATE_SEED=n` repeats one history.

use crate::fixtures::cases;
use crate::room::Room;
use crate::traces::{Documents, node, write};
use bytes::Bytes;
use cowrite::content::second_opinion;
use cowrite::document::{Deleted, Document, Verdict};
use cowrite::protocol::lib0::{write_var_bytes, write_var_int, write_var_uint};
use cowrite::protocol::update::{CheckedUpdate, Clocks, Id};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Attempts on one document, one after the other.
const ATTEMPTS_PER_HISTORY: u64 = 40;

#[test]
fn g13_what_is_taken_does_no_harm() {
    fuzz(8_000);
}

#[test]
#[ignore = "needs node: scripts/test providers"]
fn g13_yjs_reads_and_writes_whatever_is_taken() {
    let corpus = Corpus::new();
    let mut documents = Documents::new();
    for seed in 1..400 {
        let mut taken = Taken::new(seed);
        history(&mut taken, &corpus, &mut Tally::default());
        let state = taken.room.state();
        documents.push((format!("GATE_SEED={seed}"), taken.news, String::new()));
        documents.push((String::new(), vec![state], String::new()));
    }
    node("hostile.js", &write(&documents, "hostile.bin"));
}

#[test]
#[ignore = "as long as GATE_FUZZ says"]
fn fuzz_for_long() {
    let attempts = std::env::var("GATE_FUZZ")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000_000);
    fuzz(attempts);
}

#[derive(Default, Debug)]
struct Tally {
    attempts: u64,
    malformed: u64,
    refused: u64,
    conflict: u64,
    known: u64,
    nothing: u64,
    part: u64,
    whole: u64,
}

fn fuzz(attempts: u64) {
    let first: u64 = std::env::var("GATE_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let corpus = Corpus::new();
    static CURRENT: AtomicU64 = AtomicU64::new(0);
    let watchdog = std::thread::spawn(|| {
        let mut last = (u64::MAX, 0);
        loop {
            std::thread::sleep(std::time::Duration::from_secs(1));
            let now = CURRENT.load(Relaxed);
            if now == u64::MAX {
                return;
            }
            last = if last.0 == now { (now, last.1 + 1) } else { (now, 0) };
            if last.1 > 60 {
                eprintln!("GATE_SEED={now} hangs");
                std::process::abort();
            }
        }
    });
    let mut tally = Tally::default();
    let mut failures = 0;
    for seed in first.. {
        if tally.attempts >= attempts {
            break;
        }
        CURRENT.store(seed, Relaxed);
        let run = catch_unwind(AssertUnwindSafe(|| history(&mut Taken::new(seed), &corpus, &mut tally)));
        if let Err(panic) = run {
            let what = panic
                .downcast_ref::<String>()
                .cloned()
                .or(panic.downcast_ref::<&str>().map(|s| s.to_string()));
            eprintln!("GATE_SEED={seed}: {}", what.unwrap_or_default());
            failures += 1;
            assert!(failures < 20, "{tally:?}");
        }
    }
    CURRENT.store(u64::MAX, Relaxed);
    watchdog.join().unwrap();
    eprintln!("{tally:?}");
    assert_eq!(failures, 0);
    assert!(
        tally.whole * 20 > tally.attempts,
        "too little gets through to prove anything: {tally:?}"
    );
}

/// A document, and what it took.
struct Taken {
    dice: Dice,
    room: Room,
    news: Vec<Bytes>,
}

impl Taken {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let deleted = if dice.chance(4) {
            Deleted::Kept
        } else {
            Deleted::Dropped
        };
        Self {
            dice,
            room: Room::with(deleted),
            news: Vec::new(),
        }
    }
}

fn history(taken: &mut Taken, corpus: &Corpus, tally: &mut Tally) {
    let case = &corpus.histories[taken.dice.below(corpus.histories.len() as u64) as usize];
    let mut next = 0;
    // Some of it: what comes later is then partly unknown.
    for update in &case[..taken.dice.below(case.len() as u64 / 2 + 1) as usize] {
        next += 1;
        let checked = CheckedUpdate::check(update.clone()).unwrap();
        submit(taken, &checked, tally);
    }
    for _ in 0..ATTEMPTS_PER_HISTORY {
        tally.attempts += 1;
        let dice = &mut taken.dice;
        let bytes = match dice.below(8) {
            0 => {
                let update = &corpus.updates[dice.below(corpus.updates.len() as u64) as usize];
                mutated(dice, update)
            }
            1 if next < case.len() => {
                next += 1;
                mutated(dice, &case[next - 1])
            }
            2 if next < case.len() => {
                next += 1;
                case[next - 1].to_vec()
            }
            _ => forged(dice, taken.room.clocks()),
        };
        match CheckedUpdate::check(bytes.into()) {
            Ok(checked) => submit(taken, &checked, tally),
            Err(_) => tally.malformed += 1,
        }
    }
    verify(taken);
    // At last everything is deleted.
    let mut out = vec![0];
    let clocks = taken.room.clocks();
    write_var_uint(&mut out, clocks.len() as u64);
    for (client, next) in clocks.iter() {
        write_var_uint(&mut out, client);
        out.push(1);
        out.push(0);
        write_var_uint(&mut out, u64::from(next));
    }
    let everything = CheckedUpdate::check(out.into()).unwrap();
    if taken.dice.chance(2) {
        submit(taken, &everything, tally);
        verify(taken);
    }
}

fn submit(taken: &mut Taken, checked: &CheckedUpdate, tally: &mut Tally) {
    let document = &mut taken.room.document;
    let news = match document.judge(checked.clone()) {
        Verdict::News(news) => news,
        Verdict::Known => {
            tally.known += 1;
            return;
        }
        Verdict::Nothing => {
            tally.nothing += 1;
            return;
        }
        Verdict::Conflict(_) => {
            tally.conflict += 1;
            return;
        }
        Verdict::Refused(_) => {
            tally.refused += 1;
            return;
        }
    };
    if news.is_partial() {
        tally.part += 1;
    } else {
        tally.whole += 1;
    }
    let update = news.update().clone();
    let again = CheckedUpdate::check(update.bytes().clone()).expect("what is news passes the check");
    assert_eq!(again.struct_count(), update.struct_count());
    match document.judge(again.clone()) {
        Verdict::News(same) => assert!(!same.is_partial() && same.update().bytes() == update.bytes()),
        other => panic!("{other:?}"),
    }
    document.take(news);
    assert!(
        matches!(document.judge(again), Verdict::Known),
        "{:02x?}",
        &update.bytes()[..]
    );
    taken.news.push(update.bytes().clone());
}

fn verify(taken: &mut Taken) {
    let (dice, document) = (&mut taken.dice, &taken.room.document);
    let state = taken.room.state();
    for deleted in [Deleted::Dropped, Deleted::Kept] {
        let opened = Document::open([(1, &state)], deleted).expect("the document's own state opens");
        assert_eq!(opened.clocks(), document.clocks());
        let again = opened.since(&Clocks::default());
        let opened = Document::open([(1, &again)], deleted).expect("what is put together anew opens");
        assert_eq!(opened.clocks(), document.clocks());
    }
    // A peer that has some of it.
    let mut peer = Room::new();
    let early = dice.below(taken.news.len() as u64 + 1) as usize;
    peer.receive_all(&taken.news[..early]);
    peer.receive(&document.since(peer.clocks()));
    assert_eq!(peer.clocks(), document.clocks());
    // Reading ends, also in yrs, whatever it says.
    let _ = second_opinion(&state);
}

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// One in `n`.
    fn chance(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }
}

struct Corpus {
    histories: Vec<Vec<Bytes>>,
    updates: Vec<Bytes>,
}

impl Corpus {
    fn new() -> Self {
        let mut histories: Vec<Vec<Bytes>> = cases()
            .into_iter()
            .filter(|case| case.updates.len() > 20)
            .map(|case| case.updates)
            .collect();
        histories.retain(|updates| updates.iter().all(|update| update.len() < 4_000));
        histories.push(Vec::new());
        let updates = histories.iter().flatten().cloned().collect();
        Self { histories, updates }
    }
}

fn mutated(dice: &mut Dice, update: &Bytes) -> Vec<u8> {
    let mut bytes = update.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len() as u64) as usize;
        match dice.below(7) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = dice.next() as u8,
            2 => bytes[at] = dice.below(12) as u8,
            3 => bytes.insert(at, dice.next() as u8),
            4 if bytes.len() > 2 => {
                bytes.remove(at);
            }
            5 => {
                let tail = bytes.split_off(at);
                write_var_uint(&mut bytes, dice.of(&HUGE));
                bytes.extend_from_slice(tail.get(1..).unwrap_or(&[]));
            }
            _ => bytes[at] = bytes[at].wrapping_add(1),
        }
    }
    bytes
}

const HUGE: [u64; 8] = [
    1 << 7,
    1 << 28,
    (1 << 31) - 2,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    (1 << 53) - 1,
    1 << 53,
];

/// A decodable update whose references mostly exist and mostly make no sense.
fn forged(dice: &mut Dice, known: &Clocks) -> Vec<u8> {
    let mut clients: Vec<u64> = known.iter().map(|(client, _)| client).collect();
    clients.extend([1, 2, 3]);
    let huge = dice.chance(30);
    let mut sections: Vec<(u64, u64)> = Vec::new();
    for _ in 0..1 + dice.below(3) {
        let client = dice.of(&clients);
        if sections.iter().all(|(other, _)| *other != client) {
            let next = u64::from(known.next(client));
            let start = match dice.below(12) {
                0 => next.saturating_sub(dice.below(6)),
                1 => next + dice.below(3),
                2 if huge => dice.of(&HUGE),
                _ => next,
            };
            sections.push((client, start));
        }
    }
    sections.sort_unstable_by_key(|(client, _)| std::cmp::Reverse(*client));
    let mut world = World {
        known,
        clients,
        written: sections.clone(),
    };

    let mut out = Vec::new();
    write_var_uint(&mut out, sections.len() as u64);
    for (index, (client, start)) in sections.iter().enumerate() {
        let count = 1 + dice.below(5);
        write_var_uint(&mut out, count);
        write_var_uint(&mut out, *client);
        write_var_uint(&mut out, *start);
        for _ in 0..count {
            let len = forged_struct(dice, &world, huge, &mut out);
            world.written[index].1 += len;
        }
    }
    let deleting = if dice.chance(3) { 1 + dice.below(3) } else { 0 };
    let mut deleted: Vec<u64> = (0..deleting).map(|_| dice.of(&world.clients)).collect();
    deleted.sort_unstable();
    deleted.dedup();
    write_var_uint(&mut out, deleted.len() as u64);
    for client in deleted {
        write_var_uint(&mut out, client);
        let ranges = 1 + dice.below(3);
        write_var_uint(&mut out, ranges);
        let mut at = 0;
        for _ in 0..ranges {
            let end = world.end(client).max(1);
            at = if dice.chance(3) {
                dice.below(end)
            } else {
                (at + dice.below(end / 2 + 1)).min(end)
            };
            let len = if dice.chance(4) { end } else { 1 + dice.below(4) };
            write_var_uint(&mut out, at);
            write_var_uint(&mut out, len);
            at += len + 1;
        }
    }
    out
}

struct World<'a> {
    known: &'a Clocks,
    clients: Vec<u64>,
    /// How far the sections go so far.
    written: Vec<(u64, u64)>,
}

impl World<'_> {
    fn end(&self, client: u64) -> u64 {
        let known = u64::from(self.known.next(client));
        self.written
            .iter()
            .find(|(other, _)| *other == client)
            .map_or(known, |(_, end)| *end)
    }

    fn id(&self, dice: &mut Dice) -> Id {
        let client = dice.of(&self.clients);
        let end = self.end(client);
        // The end of what is there, where types and fresh text are, more often than the rest.
        let clock = match dice.below(8) {
            0..4 => end.saturating_sub(1 + dice.below(6)),
            4 if dice.chance(8) => end + dice.below(2),
            _ => dice.below(end),
        };
        Id {
            client,
            clock: clock.min(u64::from(u32::MAX)) as u32,
        }
    }
}

fn write_id(out: &mut Vec<u8>, id: Id) {
    write_var_uint(out, id.client);
    write_var_uint(out, u64::from(id.clock));
}

/// Appends one struct and returns how many clocks it covers.
fn forged_struct(dice: &mut Dice, world: &World, huge: bool, out: &mut Vec<u8>) -> u64 {
    let length = |dice: &mut Dice| {
        if huge && dice.chance(3) {
            dice.of(&HUGE)
        } else {
            1 + dice.below(4)
        }
    };
    match dice.below(40) {
        0 => {
            out.push(0);
            let len = length(dice);
            write_var_uint(out, len);
            return len;
        }
        1 => {
            out.push(10);
            let len = length(dice);
            write_var_uint(out, len);
            return len;
        }
        _ => {}
    }
    let kind = dice.of(&[1, 3, 4, 4, 4, 5, 6, 6, 7, 7, 7, 7, 8, 8, 9, 2]);
    let flags = dice.of(&[0u8, 0, 0, 0x80, 0x80, 0x40, 0xc0, 0xc0]) | dice.of(&[0, 0x20]);
    out.push(kind | flags);
    if flags & 0x80 != 0 {
        write_id(out, world.id(dice));
    }
    if flags & 0x40 != 0 {
        write_id(out, world.id(dice));
    }
    if flags & 0xc0 == 0 {
        if dice.chance(3) {
            out.push(1);
            write_var_bytes(out, dice.of(&["text", "array", "map", "xml", "other"]).as_bytes());
        } else {
            out.push(0);
            write_id(out, world.id(dice));
        }
        if flags & 0x20 != 0 {
            write_var_bytes(out, dice.of(&["k", "title", "nested", ""]).as_bytes());
        }
    }
    match kind {
        1 => {
            let len = length(dice);
            write_var_uint(out, len);
            len
        }
        2 => {
            let count = dice.below(3);
            write_var_uint(out, count);
            for _ in 0..count {
                write_var_bytes(out, dice.of(&["1", "undefined", "{\"a\":[null]}", "\"x\""]).as_bytes());
            }
            count
        }
        3 => {
            write_var_bytes(out, &[1, 2, 3]);
            1
        }
        4 => {
            let text = dice.of(&["a", "bc", "😀", "😀😀x", "ä€", "", "hello world"]);
            write_var_bytes(out, text.as_bytes());
            text.encode_utf16().count() as u64
        }
        5 => {
            write_var_bytes(out, dice.of(&["{\"i\":1}", "null", "1e5", "[\"\\ud83d\"]"]).as_bytes());
            1
        }
        6 => {
            write_var_bytes(out, dice.of(&["bold", "color", ""]).as_bytes());
            write_var_bytes(out, dice.of(&["true", "null", "\"red\""]).as_bytes());
            1
        }
        7 => {
            let kind = dice.of(&[0u8, 1, 2, 3, 4, 6, 0, 1, 2, 3, 4, 6, 5, 7, 9]);
            out.push(kind);
            if kind == 3 || kind == 5 {
                write_var_bytes(out, b"div");
            }
            1
        }
        8 => {
            let count = 1 + dice.below(3);
            write_var_uint(out, count);
            for _ in 0..count {
                match dice.below(4) {
                    0 => out.push(127),
                    1 => {
                        out.push(125);
                        write_var_int(out, dice.next() as i64 >> dice.below(64).max(11));
                    }
                    2 => {
                        out.push(119);
                        write_var_bytes(out, b"any");
                    }
                    _ => {
                        out.extend_from_slice(&[118, 1, 1, b'k', 117, 2, 126, 120]);
                    }
                }
            }
            count
        }
        _ => {
            write_var_bytes(out, dice.of(&["guid-a", "guid-b", "root", ""]).as_bytes());
            match dice.below(3) {
                0 => out.extend_from_slice(&[118, 0]),
                1 => out.extend_from_slice(&[118, 1, 8, b'a', b'u', b't', b'o', b'L', b'o', b'a', b'd', 120]),
                _ => out.extend_from_slice(&[118, 1, 2, b'g', b'c', 121]),
            }
            1
        }
    }
}
