//! Pages that were freed, which the allocator keeps for a while, since most are needed again.

use tikv_jemalloc_ctl::{Access, AsName, Result, arenas};

/// The settings of jemalloc that say how long it keeps pages, in milliseconds.
const KEEPS: [&str; 2] = ["dirty_decay_ms", "muzzy_decay_ms"];

/// Gives back what was freed while memory is short, and lets the allocator keep it otherwise.
#[derive(Debug, Default)]
pub struct Pages {
    are_given_back: bool,
}

impl Pages {
    /// Has all pages that are free given back at once, from now on if `at_once`, and keeps them as long as the allocator was
    /// told to when it started if not. Where the process has another allocator nothing happens.
    pub fn give_back(&mut self, at_once: bool) {
        if at_once || self.are_given_back {
            self.are_given_back = at_once;
            for keeps in KEEPS {
                // A setting that is not there is none that keeps pages.
                let _ = keep(keeps, at_once);
            }
        }
    }
}

/// Says it to every arena: each has pages of its own, and gives back those that it may keep no longer when it is told.
fn keep(name: &str, not_at_all: bool) -> Result<()> {
    let for_ms: isize = if not_at_all { 0 } else { read(&format!("opt.{name}"))? };
    for arena in 0..arenas::narenas::read()? {
        // One that no thread has used yet is not there.
        let _ = write(&format!("arena.{arena}.{name}"), for_ms);
    }
    // Arenas that are made later.
    write(&format!("arenas.{name}"), for_ms)
}

fn read(name: &str) -> Result<isize> {
    format!("{name}\0").as_str().name().read()
}

fn write(name: &str, value: isize) -> Result<()> {
    format!("{name}\0").as_str().name().write(value)
}
