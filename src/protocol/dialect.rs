//! The dialects: one Yjs conversation, dressed differently.
//!
//! A room speaks in terms of [`Inbound`] and [`Outbound`]; which bytes those are is known in one file per dialect.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::{
    awareness,
    close::CloseReason,
    frame::{self, Frame},
    update::{CheckedUpdate, Clocks},
    y_websocket,
};

/// How a session speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// What a session is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outbound<'a> {
    /// SyncStep1: "this is what I have, send me the rest", as an encoded state vector.
    SyncStep1(&'a [u8]),
    /// The answer to a SyncStep1: an update.
    SyncStep2(&'a [u8]),
    /// An update.
    Update(&'a [u8]),
    /// The states of some clients, encoded.
    Awareness(&'a [u8]),
    /// Everything that was sent before the question is durable; its payload.
    Saved(&'a [u8]),
    /// The session may read and not edit.
    ReadOnly,
    /// The session is ended, with this reason.
    Denied(&'a str),
}

/// The bytes of a message before its payload.
pub(super) type Head = Vec<u8>;

/// A payload of at most so many bytes is copied behind its head; what is larger is shared.
const COPIED_BYTES_MAX: usize = 4 * 1024;

impl Dialect {
    /// Parses one binary message.
    ///
    /// # Errors
    /// The reason to close the connection with.
    pub fn parse(&self, message: Bytes) -> Result<Inbound, CloseReason> {
        match self {
            Self::YWebsocket => y_websocket::parse(message),
        }
    }

    /// One message in its frame; nothing when this dialect has no words for it.
    #[must_use]
    pub fn frame(&self, message: Outbound<'_>) -> Option<Bytes> {
        let (head, payload) = self.message(message)?;
        Some(frame::binary(&[&head, payload]))
    }

    /// Several messages, each in its frame, one behind the other.
    #[must_use]
    pub fn frames<'a>(&self, messages: impl IntoIterator<Item = Outbound<'a>>) -> Bytes {
        let mut frames = BytesMut::new();
        for (head, payload) in messages.into_iter().filter_map(|message| self.message(message)) {
            frame::put_binary(&mut frames, &[&head, payload]);
        }
        frames.freeze()
    }

    /// The same as [`Dialect::frame`] for a message that carries `update`, which is shared and not copied when it is
    /// large.
    #[must_use]
    pub fn sync_frame(&self, update: &Bytes, is_answer: bool) -> Frame {
        let message = if is_answer {
            Outbound::SyncStep2(update)
        } else {
            Outbound::Update(update)
        };
        match self.message(message) {
            Some((head, payload)) if payload.len() > COPIED_BYTES_MAX => Frame {
                head: frame::binary_head(&head, payload.len()),
                body: update.clone(),
            },
            Some((head, payload)) => frame::binary(&[&head, payload]).into(),
            None => Frame::default(),
        }
    }

    fn message<'a>(&self, message: Outbound<'a>) -> Option<(Head, &'a [u8])> {
        match self {
            Self::YWebsocket => y_websocket::message(message),
        }
    }
}
