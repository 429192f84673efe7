//! Microseconds since the process began to ask.

use std::{sync::OnceLock, time::Instant};

pub type Micros = u64;

static ZERO: OnceLock<Instant> = OnceLock::new();

pub fn now() -> Micros {
    ZERO.get_or_init(Instant::now).elapsed().as_micros() as Micros
}
