//! What an update of x bytes makes the process hold: never more than 30 x + 16 MiB at any moment (rule P6).
//!
//! Every allocation is counted. `COSTLY=1000000 cargo test --release --no-default-features --test memory` tries larger
//! ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use peak_alloc::PeakAlloc;

#[path = "gate/costly.rs"]
mod costly;
#[path = "gate/room.rs"]
#[allow(dead_code, reason = "shared with the tests of the gate")]
mod room;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What `work` makes the process hold at most, beyond what it held before, in bytes.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let done = work();
    (done, MEMORY.peak_usage().saturating_sub(before))
}

#[test]
fn p6_an_update_makes_the_server_hold_what_its_bytes_allow() {
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

#[test]
fn p6_what_is_kept_of_a_document_is_what_its_bytes_allow() {
    for (name, updates) in costly::costly(20_000) {
        let before = MEMORY.current_usage();
        let mut room = room::Room::new();
        updates.iter().for_each(|update| drop(room.receive(update)));
        let held = MEMORY.current_usage() - before;

        let told = room.document.memory_bytes();

        println!("{name}: {held} held, {told} told");
        assert!(told > held / 2 && told < 2 * held, "{name}: {held} held, {told} told");
    }
}
