//! Cowrite: the server behind documents that several people edit at once.
//!
//! Bytes come in, effects come out. The core (`id`, `limits`, `protocol`, `document`, `room`, `access`, `budgets`, `store`)
//! decides and can be called with plain values; the shell (`actor`, `http`, `server`, feature
//! `server`) owns sockets, disk, clock and keys and has no judgement of its own.
//! `docs/ARCHITECTURE.md` is the map, `docs/SPEC.md` the numbered rules.

pub mod access;
#[cfg(feature = "server")]
pub mod actor;
pub mod budgets;
#[cfg(feature = "server")]
pub mod config;
pub mod content;
pub mod document;
#[cfg(feature = "server")]
pub mod http;
pub mod id;
pub mod limits;
#[cfg(feature = "server")]
pub mod logging;
#[cfg(feature = "server")]
pub mod nodes;
#[cfg(feature = "server")]
pub mod operator;
pub mod protocol;
pub mod room;
#[cfg(feature = "server")]
pub mod server;
pub mod store;
#[cfg(feature = "server")]
pub mod supervisor;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod tls;
#[cfg(feature = "server")]
pub mod token;
