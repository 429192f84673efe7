//! What anybody may take of what all share: counters, and what they allow.
//!
//! Plain values with the time as an argument: no clock, no sockets, no locks. `http::doorkeeper` holds them for the
//! server.
//!
//! * `account`: what the open documents of one client take
//! * `bucket`: a rate with something to spare, in one number
//! * `crowd`: what each of many (addresses, users) has taken, in bounded memory
//! * `memory`: what the process holds, and who is refused when that is much
//! * `network`: which addresses are one client
//! * `pace`: how fast one connection is read
//! * `tally`: a sum that all threads add to

mod account;
mod bucket;
mod crowd;
mod memory;
mod network;
pub mod pace;
mod tally;

pub use account::{Account, Accounts, Charge};
pub use bucket::{Bucket, Rate};
pub use crowd::{Crowd, Limits, Whose};
pub use memory::{Asker, LOADING_COST, Memory, OfDocument, Share};
pub use network::Network;
pub use tally::{Counted, Tally};
