//! Updates that nobody honest sends: whatever is taken, the document stays one, and everybody can read it.
//!
//! Two makers of them: bytes of real updates changed at random, and a grammar of decodable updates that
//! refer to what the document has, in ways that make no sense (`fuzz/judge/forge.rs`). After them the document's state must open as the same
//! document, what a peer lacks must bring it up to date, and showing the content, to which yrs belongs, must end. Real
//! Yjs is the judge of the rest (`hostile.js`): it takes what was taken, writes it again, tells its observers, and
//! newcomers hold what those hold who were there.
//!
//! `GATE_FUZZ=1000000 cargo test --release --no-default-features --test gate fuzz -- --ignored --nocapture`;
//! `GATE_SEED=n` repeats one history.

use crate::fixtures::cases;
use crate::judge::forge::{Dice, HUGE, forged};
use crate::judge::{Outcome, submit as take};
use crate::room::Room;
use crate::traces::{Documents, node, write};
use bytes::Bytes;
use cowrite::content::second_opinion;
use cowrite::document::{Deleted, Document};
use cowrite::protocol::lib0::write_var_uint;
use cowrite::protocol::update::{CheckedUpdate, Clocks};
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
    dice: Random,
    room: Room,
    news: Vec<Bytes>,
}

impl Taken {
    fn new(seed: u64) -> Self {
        let mut dice = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
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
            _ => forged(dice, taken.room.clocks(), true),
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
    let counted = match take(&mut taken.room.document, checked) {
        Outcome::Known => &mut tally.known,
        Outcome::Nothing => &mut tally.nothing,
        Outcome::Conflict => &mut tally.conflict,
        Outcome::Refused => &mut tally.refused,
        Outcome::Taken { update, partial } => {
            taken.news.push(update.bytes().clone());
            if partial { &mut tally.part } else { &mut tally.whole }
        }
    };
    *counted += 1;
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

struct Random(u64);

impl Dice for Random {
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

fn mutated(dice: &mut impl Dice, update: &Bytes) -> Vec<u8> {
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
