//! The one place that reads the time.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::room::Micros;

/// Microseconds since the process first asked; never goes back.
#[must_use]
pub fn now() -> Micros {
    static START: OnceLock<Instant> = OnceLock::new();
    // One second in, so that "long ago" can be told from "at the start" by subtraction.
    START
        .get_or_init(|| Instant::now() - Duration::from_secs(1))
        .elapsed()
        .as_micros() as Micros
}

/// CPU time of the thread that asks, in microseconds.
#[must_use]
pub fn thread_cpu() -> Micros {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as Micros * 1_000_000 + spent.tv_nsec as Micros / 1_000
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// The room's time for a moment on the wall clock, which may be in the past.
#[must_use]
pub fn at_wall_ms(at_ms: u64) -> Micros {
    now().saturating_add(at_ms.saturating_sub(wall_ms()).saturating_mul(1_000))
}
