//! A seed and some of its steps: what is played, and how the shortest one that still fails is found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::world::{Happened, World, dice};

/// Steps of a whole plan.
pub const STEPS: u64 = 400;
/// Runs that looking for a shorter plan may take.
const TRIES: usize = 600;

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub steps: Vec<u64>,
}

impl Plan {
    pub fn whole(seed: u64) -> Self {
        Self {
            seed,
            steps: (1..=STEPS).collect(),
        }
    }

    /// Plays it; fails with what a panic said.
    pub fn run(&self) -> Result<Happened, String> {
        let played = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(dice(self.seed, 0));
            for step in &self.steps {
                world.step(dice(self.seed, *step));
            }
            world.ends();
            world.happened
        }));
        played.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "it panicked".to_owned())
        })
    }

    /// The same with fewer steps, as long as it fails for the same reason.
    pub fn shortest(self, why: &str) -> Self {
        let kind = |why: &str| {
            why.chars()
                .take_while(|c| !c.is_ascii_digit())
                .take(40)
                .collect::<String>()
        };
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let (mut plan, mut length, mut tries) = (self, STEPS as usize / 2, 0);
        while length > 0 && tries < TRIES {
            let mut from = 0;
            let before = plan.steps.len();
            while from < plan.steps.len() && tries < TRIES {
                let mut shorter = plan.clone();
                shorter.steps.drain(from..(from + length).min(plan.steps.len()));
                tries += 1;
                match shorter.run() {
                    Err(again) if kind(&again) == kind(why) => plan = shorter,
                    _ => from += length,
                }
            }
            if length > 1 || plan.steps.len() == before {
                length /= 2;
            }
        }
        std::panic::set_hook(hook);
        plan
    }

    /// What happens in it.
    pub fn told(&self) -> String {
        let mut told = String::new();
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(dice(self.seed, 0));
            for step in &self.steps {
                told.push_str(&format!("step {step}\n"));
                world.told = Some(String::new());
                let stepped = catch_unwind(AssertUnwindSafe(|| world.step(dice(self.seed, *step))));
                told.push_str(&world.told.take().unwrap_or_default());
                if stepped.is_err() {
                    return;
                }
            }
        }));
        told
    }
}
