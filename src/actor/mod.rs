//! The shell around rooms: one actix actor owns one document.
//!
//! * `document`: the actor, which turns messages into calls of its room and effects into deeds
//! * `registry`: at most one actor for each document
//! * `homes`: the thread that each document lives on
//! * `durable`: how far a document is durable, and how it hears of it
//! * `writer`: the thread that commits what all documents append, in groups
//! * `helpers`: threads for what takes long
//! * `give_back`: what the store refused comes to it all the same
//! * `visit`: reading and writing a document without a session
//! * `pace`: how often a busy thread looks at its sockets
//! * `clock`: the one place that reads the time
//!
//! No lock guards a document: nothing but its actor can reach it.

pub mod clock;
pub mod document;
pub mod durable;
mod give_back;
pub mod helpers;
pub mod homes;
pub mod pace;
pub mod registry;
pub mod visit;
pub mod writer;

#[cfg(test)]
mod tests;
