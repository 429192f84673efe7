//! What an update costs. `cargo test --release --no-default-features --test gate speed -- --ignored --nocapture`.

use crate::costly::costly;
use crate::room::Room;
use crate::traces::written;
use bytes::Bytes;
use cowrite::protocol::update::{CheckedUpdate, Clocks};

/// Prints what `run` took of the processor, in all and for each of `count`.
fn per<T>(what: &str, count: usize, run: impl FnOnce() -> T) -> T {
    let start = cpu_ns();
    let done = run();
    let ns = cpu_ns() - start;
    println!(
        "  {what:<44} {:>9.2} ms {:>9.0} ns each",
        ns as f64 / 1e6,
        ns as f64 / count as f64
    );
    done
}

/// What this thread has had of a processor (Linux): other work on the machine then counts less.
fn cpu_ns() -> u64 {
    let all = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    all.split(' ').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "measures"]
fn speed_of_recorded_histories() {
    for (name, case) in written() {
        println!("{name}: {} updates", case.updates.len());
        let mut room = Room::new();
        per("each checked, judged and taken", case.updates.len(), || {
            room.receive_all(&case.updates);
        });
        let state = per("full state", 1, || room.state());
        let opened = per("opened", 1, || Room::open(&state, cowrite::document::Deleted::Dropped));
        let mut had = Clocks::default();
        for (client, next) in room.clocks().iter() {
            had.advance(client, next.saturating_sub(100));
        }
        let lacks = per("what a peer lacks 100 clocks of", 1, || opened.document.since(&had));
        println!(
            "  {} bytes, opened {}, {} structs, in memory {}; the peer's {}",
            state.len(),
            opened.state().len(),
            CheckedUpdate::check(opened.state()).unwrap().struct_count(),
            opened.document.memory_bytes(),
            lacks.len()
        );
    }
}

#[test]
#[ignore = "measures"]
fn speed_of_the_costly() {
    for (name, updates) in costly(1_000_000) {
        let bytes: usize = updates.iter().map(Bytes::len).sum();
        println!("{name}: {bytes} bytes");
        let mut room = Room::new();
        for update in &updates {
            per("taken", bytes, || room.receive(update));
        }
        per("full state", 1, || room.state());
        println!("  in memory {}", room.document.memory_bytes());
    }
}
