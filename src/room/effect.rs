//! What a room answers: what the shell is to do, and what is counted.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{protocol::close::CloseReason, store::Seq};

use super::{Micros, session::SessionId, states::Job};

/// What the shell is to do.
#[derive(Debug)]
pub enum Effect {
    /// Make this durable, then tell [`Room::stored`].
    Append {
        /// Its position.
        seq: Seq,
        /// A Yjs v1 update.
        update: Bytes,
        /// The subjects of its authors.
        authors: Arc<[Arc<str>]>,
        /// When the oldest edit in it came in.
        received: Micros,
    },
    /// Make this durable when there is time, then tell [`Room::snapshot_stored`].
    Snapshot {
        /// The last position that it covers.
        seq: Seq,
        /// A Yjs v1 update.
        state: Bytes,
    },
    /// Run this where it delays nobody, then tell [`Room::encoded`]. The room may be called meanwhile.
    Encode(Job),
    /// Somebody who writes without a session is to be told.
    Written {
        /// Which write.
        write: SessionId,
        /// It is durable, or not taken.
        result: Result<(), CloseReason>,
    },
    /// A session was ended by the room (its socket still has to say [`Room::leave`], which is then
    /// without effect).
    Ended {
        /// Which.
        session: SessionId,
        /// Why.
        reason: CloseReason,
    },
    /// Nobody uses the document and everything is saved: forget it.
    Unload,
}

/// What happened since the counts were last taken.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Updates that changed the document.
    pub updates: u64,
    /// Their bytes.
    pub update_bytes: u64,
    /// Updates that brought nothing new.
    pub updates_known: u64,
    /// Updates that were refused, in whole or in part, because they refer to what nobody sent.
    pub updates_with_gaps: u64,
    /// Updates with structs that are known with another content: two pages write under one client id.
    pub conflicts: u64,
    /// Updates of which structs were not taken because another session writes under their client ids.
    pub updates_of_others: u64,
    /// Gaps that have been open for long.
    pub gaps_kept_open: u64,
    /// Updates of readers, which are never applied.
    pub updates_of_readers: u64,
    /// Frames queued, each counted once per receiver.
    pub frames: u64,
    /// Awareness entries that were refused.
    pub awareness_refused: u64,
    /// Readers that fell behind and were resynchronised.
    pub resyncs: u64,
    /// Times from an edit to its broadcast, of the oldest edit in each.
    pub to_broadcast: SmallVec<[Micros; 2]>,
}
