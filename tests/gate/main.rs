//! The gate against the real things: updates that Yjs wrote, yrs that applies them, and bytes that
//! nobody honest sends. The rules are in `docs/SPEC.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod costly;
mod fixtures;
mod honest;
mod hostile;
mod reading;
mod room;
mod speed;
mod traces;
