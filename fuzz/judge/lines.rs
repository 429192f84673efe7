//! Sequences of what can happen to lines and rooms, in the world of `tests/simulation`: four bytes are a step. Its promises
//! are looked at after each, and at the end.

#[path = "../../tests/room/editor.rs"]
#[allow(dead_code, reason = "shared with the tests of one room")]
mod editor;
#[path = "../../tests/simulation/line.rs"]
mod line;
#[path = "../../tests/simulation/page.rs"]
mod page;
#[path = "../../tests/simulation/server.rs"]
mod server;
#[path = "../../src/store/journal/sim.rs"]
#[allow(dead_code, reason = "shared with the tests of the journal")]
mod sim;
#[path = "../../tests/simulation/wire.rs"]
mod wire;
#[path = "../../tests/simulation/world.rs"]
#[allow(dead_code, reason = "shared with the simulation")]
mod world;

/// What `sim` is a disk of.
mod disk {
    pub use cowrite::store::journal::disk::{Disk, DiskFile, DiskLock};
}

use world::{World, dice};

/// Most steps of one input: each takes a while.
const STEPS_MAX: usize = 100;

/// The first four bytes are the world, each four after them a step.
pub fn lines(input: &[u8]) {
    let (numbers, _) = input.as_chunks::<4>();
    let numbers = numbers.iter().map(|number| u64::from(u32::from_le_bytes(*number)));
    let mut numbers = numbers.take(STEPS_MAX + 1);
    let Some(world) = numbers.next() else { return };
    let mut world = World::new(dice(world, 0));
    for (at, step) in numbers.enumerate() {
        world.step(dice(step, 1 + at as u64 % 8));
    }
    world.ends();
}
