//! The whole core from a seed: pages of all wires on bad lines, hostile clients, rooms that come and go, a journal on a disk
//! that fails, kills and power losses. P1 to P6 are looked at after each step and at the end (`docs/SPEC.md`).
//!
//! A failing run prints its seed and the shortest plan found that fails in the same way. `COWRITE_STEPS=1000000` runs
//! longer, `COWRITE_SEED=17` one seed alone, with `COWRITE_PLAN=3,8,21` only these of its steps. A seed that ever failed
//! becomes a test of its own below.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../room/editor.rs"]
#[allow(dead_code, reason = "shared with the tests of one room")]
mod editor;
mod line;
mod page;
mod plan;
mod server;
#[path = "../../src/store/journal/sim.rs"]
#[allow(dead_code, reason = "shared with the tests of the journal")]
mod sim;
mod wire;
mod world;

/// What `sim` is a disk of.
mod disk {
    pub use cowrite::store::journal::disk::{Disk, DiskFile, DiskLock};
}

use plan::{Plan, STEPS};
use world::Happened;

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Plays a seed; prints what fails of it.
fn reported(seed: u64) -> Happened {
    Plan::whole(seed).run().unwrap_or_else(|why| {
        let shortest = Plan::whole(seed).shortest(&why);
        eprintln!("{}", shortest.told());
        let steps: Vec<String> = shortest.steps.iter().map(ToString::to_string).collect();
        let steps = steps.join(",");
        panic!("seed {seed}: {why}\nagain: COWRITE_SEED={seed} COWRITE_PLAN={steps} cargo test --test simulation");
    })
}

#[test]
fn p1_to_p6_whatever_happens_to_whom() {
    if let Some(seed) = setting("COWRITE_SEED") {
        let seed = seed.parse().expect("a number");
        let Some(steps) = setting("COWRITE_PLAN") else {
            eprintln!("{:?}", reported(seed));
            return;
        };
        let steps = steps.split(',').map(|step| step.parse().expect("a number")).collect();
        let plan = Plan { seed, steps };
        eprintln!("{}", plan.told());
        return drop(plan.run().unwrap());
    }
    let steps: u64 = setting("COWRITE_STEPS").map_or(40_000, |steps| steps.parse().expect("a number"));
    let mut sum = Happened::new();
    for seed in 0..steps.div_ceil(STEPS) {
        for (what, times) in reported(seed) {
            *sum.entry(what).or_default() += times;
        }
    }
    eprintln!("{sum:#?}");
    for what in [
        "acknowledged",
        "clock jumps",
        "closed",
        "connections",
        "cut",
        "disk changes",
        "doubled",
        "edits",
        "expired",
        "failed commits",
        "failed loads",
        "hostile messages",
        "kills",
        "lost records",
        "moves",
        "of readers",
        "overloaded",
        "power losses",
        "presence refused",
        "restarts",
        "resyncs",
        "silently dead",
        "snapshots",
        "taken",
        "unloads",
        "written",
    ] {
        assert!(
            sum.get(what).is_some_and(|times| *times > 10),
            "{what} hardly ever happened: {sum:?}"
        );
    }
}
