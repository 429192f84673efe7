//! What is done to the servers, and what is measured while it is done.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    clock::{self, Micros},
    server::{Kind, Places, Server},
};

pub mod cores;
pub mod database;
pub mod durability;
pub mod editing;
pub mod growth;
pub mod keystrokes;
pub mod list;
pub mod opening;
pub mod sockets;

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Measured time of a workload that goes on.
    pub measured: Duration,
    /// Time before that: connections warm, code compiled just in time.
    pub warm_up: Duration,
    /// How long all that was sent may take to arrive afterwards.
    pub patience: Duration,
    pub quick: bool,
}

/// What every workload is given.
pub struct Place<'a> {
    pub at: &'a Places,
    pub scale: Scale,
}

impl Place<'_> {
    /// The same with `times` as much patience.
    pub fn with_patience(&self, times: u32) -> Self {
        Self {
            at: self.at,
            scale: Scale {
                patience: self.scale.patience * times,
                ..self.scale
            },
        }
    }
}

/// One number that was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// What it is, with its unit.
    pub name: String,
    pub value: f64,
}

/// What one server did in one workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    pub workload: String,
    pub server: Kind,
    /// In words, for the table.
    pub cell: String,
    pub figures: Vec<Figure>,
}

impl Outcome {
    pub fn new(workload: &str, server: Kind, cell: String, figures: &[(&str, f64)]) -> Self {
        let figures = figures
            .iter()
            .map(|(name, value)| Figure {
                name: (*name).to_owned(),
                value: *value,
            })
            .collect();
        Self {
            workload: workload.to_owned(),
            server,
            cell,
            figures,
        }
    }

    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures
            .iter()
            .find(|figure| figure.name == name)
            .map(|figure| figure.value)
    }
}

/// Latencies in µs, from 1 µs to 10 min.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds that are in order")
}

/// Milliseconds as people read them.
pub fn ms(us: f64) -> String {
    match us / 1_000.0 {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1_000.0),
    }
}

/// What was used so far, or between two moments.
#[derive(Debug, Clone, Copy, Default)]
pub struct Used {
    /// CPU time of the server, or of all its nodes.
    pub cpu: Duration,
    /// CPU time of their database.
    pub database: Duration,
    /// Commits that they made; counted with a database alone.
    pub commits: u64,
}

/// A server, or several of them with their database.
pub trait Metered {
    fn used(&self) -> Used;

    /// Resident memory in kB.
    fn rss_kb(&self) -> u64;
}

impl Metered for Server {
    fn used(&self) -> Used {
        Used {
            cpu: self.cpu(),
            ..Used::default()
        }
    }

    fn rss_kb(&self) -> u64 {
        Self::rss_kb(self)
    }
}

/// CPU time of a server between two moments.
pub struct Meter<'a> {
    server: &'a dyn Metered,
    used: Used,
    at: Micros,
}

impl<'a> Meter<'a> {
    pub fn start(server: &'a dyn Metered) -> Self {
        Self {
            server,
            used: server.used(),
            at: clock::now(),
        }
    }

    /// CPU and wall time since, in µs.
    pub fn read(&self) -> (f64, f64) {
        (self.since().cpu.as_secs_f64() * 1e6, (clock::now() - self.at) as f64)
    }

    /// All that was used since.
    pub fn since(&self) -> Used {
        let now = self.server.used();
        Used {
            cpu: now.cpu.saturating_sub(self.used.cpu),
            database: now.database.saturating_sub(self.used.database),
            commits: now.commits.saturating_sub(self.used.commits),
        }
    }
}
