//! The room as a state machine: bytes in, frames and effects out, time as an argument.
//!
//! Each test is named after a rule of `docs/SPEC.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authors;
mod documents;
mod editor;
mod fan_out;
mod hocuspocus;
mod inside;
mod life;
mod lines;
mod presence;
mod saved;
mod simulation;
mod table;
mod writing;
mod y_sweet;
