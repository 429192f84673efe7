//! What a document holds: its whole state, integrated as Yjs integrates it, and shown.
//!
//! The room never needs this. It is for those who ask for content (an export, `verify`, whoever looks into a document),
//! and for the deletions that every client makes by itself and tells nobody. It is a reader of its own because yrs
//! cannot be stopped, follows what an update claims, and holds less than an update can say.
//!
//! How it thinks. All references of the state are known before anything is integrated, so each struct is cut into
//! *pieces* beforehand, wherever an origin, a right origin or a deletion will cut it: nothing is cut or moved later.
//! What Yjs has not cut yet at a moment is remembered (a piece is *joined* to the one before it), because Yjs's order
//! of cutting shows in one corner (`integrate`). Pieces lie in one table and know their neighbours by index.
//!
//! What must stay true:
//!
//! * Every loop spends [`Steps`]: an integration costs at most as many as the caller allows, and printing again as many.
//!   Memory is linear in the state.
//! * No recursion, and no table that hashes what a client chose.
//! * Whatever [`CheckedUpdate::check`] let through is read or refused, never a panic.
//! * Only what Yjs calls deleted is hidden, and every bit of a value is shown (`values`).
//!
//! The rules are V1 to V4 and V7 in `docs/SPEC.md`.

mod integrate;
mod join;
pub(crate) mod show;
pub(crate) mod values;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use thiserror::Error;

use crate::protocol::{
    lib0::Malformed,
    update::{CheckedUpdate, Deletion},
};

pub use show::{Event, Kind};

/// Why a state cannot be read. None of it says that the document is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The caller's limit was reached. Others may still be able to read it, at this price.
    #[error("reading it takes too many steps")]
    TooMuch,
    /// It is no whole state: something refers to this, or follows it.
    #[error("clock {clock} of client {client} is missing")]
    Missing {
        /// Whose struct.
        client: u64,
        /// Which.
        clock: u32,
    },
    /// It is no state: this struct refers to one that waits for it.
    #[error("clock {clock} of client {client} and what it refers to wait for each other")]
    Circular {
        /// Whose struct.
        client: u64,
        /// Which.
        clock: u32,
    },
    /// Bytes that are not what the check found.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// What may still be spent: one step is about one look at one struct, or 64 bytes copied.
#[derive(Debug, Clone, Copy)]
pub struct Steps(u64);

impl Steps {
    /// So many.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self(max)
    }

    /// Takes `steps` away.
    ///
    /// # Errors
    /// [`ReadError::TooMuch`] when fewer are left.
    #[inline]
    pub fn spend(&mut self, steps: usize) -> Result<(), ReadError> {
        self.0 = self.0.checked_sub(steps as u64).ok_or(ReadError::TooMuch)?;
        Ok(())
    }

    /// Takes away what copying so many bytes costs.
    ///
    /// # Errors
    /// As [`Steps::spend`].
    pub fn spend_bytes(&mut self, bytes: usize) -> Result<(), ReadError> {
        self.spend(1 + bytes / 64)
    }
}

/// No index.
const NONE: u32 = u32::MAX;

/// A struct of the state.
#[derive(Debug, Clone, Copy)]
struct Struct {
    /// Index of its client's section.
    section: u32,
    clock: u32,
    /// Its first piece. Its pieces lie next to each other, in the order of their clocks.
    piece: u32,
    origin: Option<Place>,
    right_origin: Option<Place>,
    parent: Parent,
    /// Index of the key that it names, or [`NONE`].
    key: u32,
    /// The list that it is in once it is integrated, or [`NONE`]: then it is collected.
    list: u32,
    /// The type that it holds, or [`NONE`].
    holds: u32,
    kind: u8,
}

/// A clock of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    section: u32,
    clock: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parent {
    Neighbours,
    /// The type of this index: a root.
    Root(u32),
    Item(Place),
}

/// A part of a struct that nothing cuts.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// The struct.
    of: u32,
    clock: u32,
    len: u32,
    left: u32,
    right: u32,
    /// Byte range of what it holds: text, values, or all of the content.
    from: u32,
    to: u32,
    /// The search that last saw it, and the group of conflicting ones that it was last in.
    seen: u32,
    conflicts: u32,
    deleted: bool,
    /// The state's delete set has it.
    told: bool,
    /// Yjs has not cut it off from the piece before it, at this moment.
    joined: bool,
    /// Its first and last unit are half of a character: what Yjs shows as U+FFFD.
    half_before: bool,
    half_after: bool,
}

/// The list of a type, or the values of one key of it, from the oldest to the one that counts.
#[derive(Debug, Clone, Copy)]
struct List {
    of: u32,
    keyed: bool,
    first: u32,
    /// The last piece, of values.
    last: u32,
}

#[derive(Debug, Clone, Copy)]
struct Type {
    /// The piece that holds it, or [`NONE`]: a root.
    piece: u32,
    kind: Kind,
    /// Byte range of its name.
    name: (u32, u32),
    /// Its list, or [`NONE`].
    list: u32,
}

/// A state that was read.
#[derive(Debug)]
pub struct Reading {
    bytes: Bytes,
    clients: Vec<u64>,
    /// The first piece of each section, and the number of pieces.
    starts: Vec<u32>,
    structs: Vec<Struct>,
    pieces: Vec<Piece>,
    lists: Vec<List>,
    types: Vec<Type>,
    /// Byte ranges.
    keys: Vec<(u32, u32)>,
    /// The values of a key of a type.
    entries: BTreeMap<(u32, u32), u32>,
    roots: Vec<u32>,
    /// What every client deletes when it integrates this state, and the state's delete set does not have, in order:
    /// values that lost against others of their key, what is in deleted types, collected structs. (What Yjs also deletes,
    /// and not every client does, are superfluous format marks. Those are not here.)
    pub untold: Vec<Deletion>,
}

/// Reads a whole state, in at most `steps_max` steps.
///
/// # Errors
/// See [`ReadError`].
pub fn read(state: &CheckedUpdate, steps_max: u64) -> Result<Reading, ReadError> {
    integrate::Integration::new(state, Steps::new(steps_max))?.run(state)
}
