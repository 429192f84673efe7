//! Content: what a document holds, for those who ask.
//!
//! Our own reader (`document::read`) reads and shows: it is exact, and it stops when a document costs too much. yrs, which
//! many programs use, is the second opinion: it integrates the same state with other code and must find the same. It
//! follows what an update claims and cannot be stopped, so it gets nothing that our reader has not read before, joined
//! where yrs would join at a price (`Reading::joined`), and only through a door of its own ([`door`]).
//!
//! What must stay true:
//!
//! * "It cannot be shown" is an answer. It says nothing about the document, which goes on.
//! * yrs runs under `catch_unwind`, on a thread of its own with a stack for the deepest document; one that panicked is
//!   never dropped.
//! * Nothing of an editor waits for this module.
//!
//! The rules are V1 to V7 in `docs/SPEC.md`.

mod crowd;
mod door;
mod second;
mod strict;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use thiserror::Error;

use crate::{
    document::read::{ReadError, Reading, read},
    limits::CONTENT_STEPS_MAX,
    protocol::update::CheckedUpdate,
};

/// What content is shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One line of canonical JSON, exact: see [`Reading::json`].
    Json,
    /// What people wrote: see [`Reading::text`].
    Text,
}

/// Why content cannot be shown, or not be compared. It is no error of the document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotShown {
    /// Our reader does not get through it.
    #[error("its content cannot be shown: {0}")]
    Unread(String),
    /// yrs may not or cannot show it. Our reader can.
    #[error("there is no second opinion on its content: {0}")]
    NotByYrs(String),
}

impl From<ReadError> for NotShown {
    fn from(error: ReadError) -> Self {
        Self::Unread(error.to_string())
    }
}

/// What yrs finds in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opinion {
    /// What our reader finds.
    Same,
    /// Something else: where, and both.
    Different(String),
}

/// Shows a whole state, a Yjs v1 update that passed the gate once.
///
/// # Errors
/// [`NotShown`]
pub fn show(state: &Bytes, form: Form) -> Result<String, NotShown> {
    let reading = read_state(state)?;
    Ok(match form {
        Form::Json => reading.json(CONTENT_STEPS_MAX)? + "\n",
        Form::Text => reading.text(CONTENT_STEPS_MAX)?,
    })
}

/// Asks yrs what a whole state holds, and compares that with what our reader finds, as far as yrs can hold it.
///
/// # Errors
/// [`NotShown`] when our reader or yrs cannot show it.
pub fn second_opinion(state: &Bytes) -> Result<Opinion, NotShown> {
    let reading = read_state(state)?;
    let ours = second::ours(&reading)?;
    let entered = door::enter(&reading)?;
    let theirs = second::of_yrs(&entered.bytes)?;
    if ours == theirs {
        return Ok(Opinion::Same);
    }
    if entered.is_crossed {
        return Err(NotShown::NotByYrs(
            "clients of Yjs do not agree on it either: something was put right of what comes after it".to_owned(),
        ));
    }
    Ok(Opinion::Different(difference(&ours, &theirs)))
}

fn read_state(state: &Bytes) -> Result<Reading, NotShown> {
    let checked = CheckedUpdate::check(state.clone()).map_err(|malformed| NotShown::Unread(malformed.to_string()))?;
    Ok(read(&checked, CONTENT_STEPS_MAX)?)
}

/// Where two texts differ first, with a little of what is there. (It is told to the operator alone, who can export it.)
fn difference(ours: &str, theirs: &str) -> String {
    let at = ours.bytes().zip(theirs.bytes()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| {
        let (mut from, mut to) = (at.saturating_sub(20), (at + 20).min(text.len()));
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        while !text.is_char_boundary(to) {
            to += 1;
        }
        text[from..to].to_owned()
    };
    format!(
        "its content is not what yrs finds in it: at byte {at} of the JSON, {:?} and {:?}",
        around(ours),
        around(theirs)
    )
}
