//! What an update of x bytes makes the process hold: never more than 30 x + 16 MiB at any moment (rule P6).
//!
//! Every allocation is counted. `COSTLY=1000000 cargo test --release --no-default-features --test memory` tries larger
//! ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cowrite::{
    document::{Deleted, Document, Verdict},
    id::DocumentId,
    protocol::{
        lib0::{write_var_bytes, write_var_uint},
        update::CheckedUpdate,
    },
    room::{Policy, Room},
    store::StoredDocument,
};
use peak_alloc::PeakAlloc;
use yrs::{Doc, ReadTxn, StateVector, Text, Transact};

#[path = "gate/costly.rs"]
mod costly;
#[path = "gate/room.rs"]
#[allow(dead_code, reason = "shared with the tests of the gate")]
mod room;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Tests that are threads of one process count each other's memory: one runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `work` makes the process hold at most, beyond what it held before, in bytes.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let done = work();
    (done, MEMORY.peak_usage().saturating_sub(before))
}

#[test]
fn p6_an_update_makes_the_server_hold_what_its_bytes_allow() {
    let _alone = alone();
    let count = std::env::var("COSTLY").map_or(50_000, |count| count.parse().unwrap());
    for (name, updates) in costly::costly(count) {
        let mut room = room::Room::new();
        for update in &updates {
            let bytes = update.len();
            let ((), taking) = peak(|| drop(room.receive(update)));
            let (_, showing) = peak(|| room.state());

            println!("{name}: {bytes} bytes, {taking} while taken, {showing} while encoded");
            let bound = 30 * bytes + (16 << 20);
            assert!(taking < bound, "{name}: {taking} bytes for {bytes}");
            assert!(showing < bound, "{name}: {showing} bytes for {bytes}");
        }
    }
}

fn checked(update: &Bytes) -> CheckedUpdate {
    CheckedUpdate::check(update.clone()).unwrap()
}

#[test]
fn p6_what_is_kept_of_a_document_is_what_its_bytes_allow() {
    let _alone = alone();
    for (name, updates) in costly::costly(20_000) {
        let before = MEMORY.current_usage();
        let mut room = room::Room::new();
        updates.iter().for_each(|update| drop(room.receive(update)));
        let held = MEMORY.current_usage() - before;
        let promised: usize = updates.iter().map(|update| checked(update).memory_bytes_max()).sum();
        assert!(held < promised + 4_096, "{name}: {held} held, {promised} at most");

        let told = room.document.memory_bytes();

        println!("{name}: {held} held, {told} told");
        assert!(told > held / 2 && told < 2 * held, "{name}: {held} held, {told} told");
    }
}

/// Known by number: whether it is the same is decided without making anything of it (D22).
#[test]
fn p6_values_are_compared_within_what_their_bytes_allow() {
    let _alone = alone();
    let list = |last: u8| {
        let mut update = vec![1, 1, 5, 0, 8, 1, 1, b't', 1, 117];
        write_var_uint(&mut update, 200_001);
        update.extend([118, 1, 1, b'a', 126].repeat(200_000));
        update.extend([125, last, 0]);
        Bytes::from(update)
    };
    let keys = |first: u64, step: i64| {
        let mut update = vec![1, 1, 5, 0, 8, 1, 1, b't', 1, 118];
        write_var_uint(&mut update, 100_000);
        for nth in 0..100_000 {
            write_var_bytes(
                &mut update,
                first.wrapping_add_signed(step * nth).to_string().as_bytes(),
            );
            update.push(126);
        }
        update.push(0);
        Bytes::from(update)
    };
    let one_key = {
        let mut update = vec![1, 1, 5, 0, 8, 1, 1, b't', 1, 118];
        write_var_uint(&mut update, 500_000);
        update.extend([0, 126].repeat(500_000));
        update.push(0);
        Bytes::from(update)
    };
    for (known, again, is_same) in [
        (list(1), list(1), true),
        (list(1), list(2), false),
        (keys(100_000, 1), keys(199_999, -1), true),
        (keys(100_000, 1), keys(200_000, -1), false),
    ] {
        let mut room = room::Room::new();
        let before = MEMORY.current_usage();
        room.receive(&known);
        let (verdict, comparing) = peak(|| room.document.judge(checked(&again)));
        assert_eq!(matches!(verdict, Verdict::Known), is_same, "{verdict:?}");
        assert!(
            comparing < 30 * again.len() + (16 << 20),
            "{comparing} bytes for {}",
            again.len()
        );
        drop(room);
        assert!(MEMORY.current_usage() < before + (1 << 20));
    }
    let document = Document::default();
    let (verdict, judging) = peak(|| document.judge(checked(&one_key)));
    assert!(matches!(verdict, Verdict::Refused(_)), "a key that comes twice");
    assert!(
        judging < 30 * one_key.len() + (16 << 20) / 8,
        "{judging} bytes for {}",
        one_key.len()
    );
}

/// A text of `length` letters, typed by a few people in many places, some of it deleted again.
fn written(length: usize) -> Bytes {
    let doc = Doc::with_client_id(3_000_000_000);
    let text = doc.get_or_insert_text("text");
    let mut seed = 7u32;
    let mut below = |bound: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % bound
    };
    let mut txn = doc.transact_mut();
    while (text.len(&txn) as usize) < length {
        let at = below(text.len(&txn) + 1);
        text.insert(&mut txn, at, &"some words here"[..1 + below(15) as usize]);
        if below(4) == 0 && text.len(&txn) > 20 {
            let at = below(text.len(&txn) - 10);
            text.remove_range(&mut txn, at, 1 + below(4));
        }
    }
    txn.commit();
    txn.encode_state_as_update_v1(&StateVector::default()).into()
}

#[test]
fn p6_an_open_document_takes_two_and_a_half_times_its_state_at_most() {
    let _alone = alone();
    for length in [3_000, 30_000] {
        let stored = StoredDocument {
            snapshot: Some((1, written(length))),
            updates: Vec::new(),
        };
        let bytes = stored.snapshot.as_ref().map_or(0, |(_, state)| state.len());
        let before = MEMORY.current_usage();

        let room = Room::open(DocumentId::parse("notes").unwrap(), &stored, POLICY, 0).unwrap();

        let held = MEMORY.current_usage() - before;
        println!("{bytes} bytes, {held} held");
        assert!(held < bytes * 5 / 2 + 4_096, "{held} for {bytes}");
        drop(room);
    }
}

const POLICY: Policy = Policy {
    document_bytes_max: 64 << 20,
    outbox_bytes_max: 4 << 20,
    unsaved_bytes_max: 64 << 20,
    snapshot_bytes: 256 << 10,
    idle_timeout: 30_000_000,
    deleted: Deleted::Dropped,
    stamps_presence: true,
    shows_readers: true,
};
