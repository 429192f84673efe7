//! The dialects: one Yjs conversation, dressed differently.
//!
//! A room speaks in terms of [`Inbound`] and of the frame builders of [`Dialect`]; which bytes those
//! are is known in one file per dialect.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    awareness,
    close::CloseReason,
    update::{CheckedUpdate, Clocks},
    y_websocket,
};

/// How a session speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// y-websocket 1.x to 3.x, with y-sweet's message 102.
    YWebsocket,
}

/// What a client said, checked as far as that is possible without the document.
#[derive(Debug)]
pub enum Inbound {
    /// SyncStep1: "this is what I have, send me the rest".
    SyncStep1(Clocks),
    /// SyncStep2 (`answer`) or an update.
    Update {
        /// The bytes that passed the structural check.
        update: CheckedUpdate,
        /// Whether it answers our SyncStep1.
        answer: bool,
    },
    /// The states of some clients.
    Awareness(SmallVec<[awareness::Entry; 1]>),
    /// "Send me everybody's state".
    AwarenessQuery,
    /// Message 102: "tell me when all that I sent is durable"; the payload is echoed.
    SavedQuery(Bytes),
    /// Something that this server has no use for.
    Ignored,
}

impl Dialect {
    /// Parses one binary message.
    ///
    /// # Errors
    /// The reason to close the connection with.
    pub fn parse(self, message: Bytes) -> Result<Inbound, CloseReason> {
        match self {
            Self::YWebsocket => y_websocket::parse(message),
        }
    }

    /// "This is what I have, send me the rest".
    #[must_use]
    pub fn sync_step1(self, state_vector: &[u8]) -> Bytes {
        match self {
            Self::YWebsocket => y_websocket::sync(0, state_vector),
        }
    }

    /// The answer to a SyncStep1.
    #[must_use]
    pub fn sync_step2(self, update: &[u8]) -> Bytes {
        match self {
            Self::YWebsocket => y_websocket::sync(1, update),
        }
    }

    /// An update.
    #[must_use]
    pub fn update(self, update: &[u8]) -> Bytes {
        match self {
            Self::YWebsocket => y_websocket::sync(2, update),
        }
    }

    /// The states of some clients.
    #[must_use]
    pub fn awareness(self, payload: &[u8]) -> Bytes {
        match self {
            Self::YWebsocket => y_websocket::awareness(payload),
        }
    }

    /// Everything that was sent before the question is durable.
    #[must_use]
    pub fn saved(self, payload: &[u8]) -> Bytes {
        match self {
            Self::YWebsocket => y_websocket::saved(payload),
        }
    }

    /// Something was not allowed, with the reason.
    #[must_use]
    pub fn denied(self, reason: &str) -> Bytes {
        match self {
            Self::YWebsocket => y_websocket::denied(reason),
        }
    }
}
