//! What every input of the fuzzer is put through; it panics when a promise is broken.
//!
//! The fuzzer calls it with what it invents, and `make test` with what the fuzzer kept (`fuzz/corpus`), so nothing here
//! knows who calls. An input is bytes and nothing else: the same bytes always do the same.
//!
//! | file | what it judges |
//! |---|---|
//! | `update` | any bytes, as one update into a small document |
//! | `history` | updates that refer to each other, in any order, and every way to get what became of them |
//! | `honest` | what editors write who are not always connected |
//! | `message` | any bytes, as messages of two editors of a room |
//! | `lines` | sequences of what can happen to lines and rooms, in the world of `tests/simulation` |
//! | `wire` | what is read beside updates: presence, state vectors, JSON, frames |
//! | `dialect` | what clients say, on each wire, and what is said to them |
//! | `access` | claims, revocations, credentials, pages, names |
//! | `stored` | what is read from the disk: records, hints, segments |
//! | `token` | tokens that nobody signed |
//! | `sources` | what other servers stored, imported |
//! | `document` | what must be true of a document, whatever it took |
//! | `rights` | in which documents all ways have to show the same |
//! | `forge` | a grammar of updates that nobody honest writes |

mod access;
mod dialect;
mod document;
pub mod forge;
mod history;
mod honest;
mod lines;
mod message;
mod rights;
#[cfg(feature = "import")]
mod sources;
mod stored;
#[cfg(feature = "import")]
mod token;
mod update;
mod wire;

pub use access::access;
pub use dialect::dialect;
pub use document::{Outcome, submit};
pub use history::history;
pub use honest::honest;
pub use lines::lines;
pub use message::message;
#[cfg(feature = "import")]
pub use sources::sources;
pub use stored::stored;
#[cfg(feature = "import")]
pub use token::token;
pub use update::update;
pub use wire::wire;
