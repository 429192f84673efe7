//! The commands for operators, with the real binary and real servers (rules B1 to B25).
//!
//! No wait is without a bound, and no test asserts how long anything takes.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backup;
mod copy;
#[cfg(feature = "postgres")]
mod database;
mod doc;
#[cfg(feature = "import")]
mod import;
mod restore;
mod support;
mod verify;
