//! The dialects: one Yjs conversation, dressed differently.
//!
//! A room speaks in terms of [`Inbound`] and [`Outbound`]; which bytes those are is known in one file per dialect.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::{
    awareness,
    close::CloseReason,
    frame::{self, Frame},
    hocuspocus::{self, Address},
    update::{CheckedUpdate, Clocks},
    y_websocket,
};

/// How a session speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dialect {
    /// y-websocket 1.x to 3.x, with y-sweet's message 102.
    YWebsocket,
    /// y-sweet's client: the same words, and a question whether all is saved before it has said what it has.
    YSweet,
    /// Hocuspocus: one of several sessions on a socket.
    Hocuspocus {
        /// How it is addressed.
        address: Address,
        /// The provider is of version 4 or later.
        has_version: bool,
    },
}

/// How a session ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Ends {
    /// It is told [`Outbound::Denied`].
    pub is_denied: bool,
    /// The whole line ends with it, for this reason.
    pub line: Option<CloseReason>,
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
    /// A text for the other clients, as a `varString`.
    Stateless(Bytes),
    /// The answer to one of the pings whose answers tell what the line carries (F14), with its number.
    Pong(u32),
    /// Something that this server has no use for.
    Ignored,
}

/// What a client's clock takes in a state vector, in bytes, about.
const CLOCK_BYTES: usize = 8;

impl Inbound {
    /// About how many bytes it has to be looked through.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::SyncStep1(had) => CLOCK_BYTES * had.len(),
            Self::Update { update, .. } => update.bytes().len(),
            Self::Awareness(entries) => entries
                .iter()
                .filter_map(|entry| entry.state.as_ref())
                .map(Bytes::len)
                .sum(),
            Self::SavedQuery(bytes) | Self::Stateless(bytes) => bytes.len(),
            Self::AwarenessQuery | Self::Pong(_) | Self::Ignored => 0,
        }
    }
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
    /// What the session sent last of those that it was not told so of is durable, or (`false`) is not taken.
    Taken(bool),
    /// It may join, and edit or only read.
    Admitted {
        /// Whether it may edit.
        may_write: bool,
    },
    /// It has edited and may only read.
    ReadOnly,
    /// Its token is about to end: it is to send another one.
    TokenWanted,
    /// A text of another client, as a `varString`.
    Stateless(&'a [u8]),
    /// The session is ended, with this reason.
    Denied(&'a str),
}

/// The bytes of a message before its payload.
pub(super) type Head = Vec<u8>;

/// A payload of at most so many bytes is copied behind its head; what is larger is shared.
const COPIED_BYTES_MAX: usize = 4 * 1024;

impl Dialect {
    /// The name of its wire.
    #[must_use]
    pub fn wire(&self) -> &'static str {
        match self {
            Self::YWebsocket => "y-websocket",
            Self::YSweet => "y-sweet",
            Self::Hocuspocus { .. } => "hocuspocus",
        }
    }

    /// Whether the server asks for what the client has as it joins; otherwise it asks each time that the client does.
    #[must_use]
    pub fn asks_at_join(&self) -> bool {
        matches!(self, Self::YWebsocket | Self::YSweet)
    }

    /// Whether a client that has not answered the server's SyncStep1 is waited for: it asks whether all is saved before it
    /// says what it has, and what it wrote offline may be long on its way. Others that are silent have nothing to say.
    #[must_use]
    pub fn must_answer(&self) -> bool {
        matches!(self, Self::YSweet)
    }

    /// The dialect whose frames this one's are, to the byte.
    #[must_use]
    pub fn words(&self) -> &Self {
        match self {
            Self::YSweet => &Self::YWebsocket,
            own => own,
        }
    }

    /// Whether no other session of a document is addressed like this one.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        matches!(self, Self::Hocuspocus { address, .. } if address.has_session())
    }

    /// Whether a client counts its updates, and is told of each that it is durable.
    #[must_use]
    pub fn tells_of_each_update(&self) -> bool {
        matches!(self, Self::Hocuspocus { .. })
    }

    /// How a session ends that is ended for `reason`.
    #[must_use]
    pub fn ends(&self, reason: &CloseReason) -> Ends {
        match (self, reason) {
            (Self::YWebsocket, CloseReason::Unauthenticated(_) | CloseReason::Forbidden(_)) => Ends {
                is_denied: true,
                line: Some(reason.clone()),
            },
            // Providers 2 cannot send another token on the same socket, and 3 look the same: they come back with one.
            (Self::Hocuspocus { has_version: false, .. }, CloseReason::Unauthenticated(_)) => Ends {
                is_denied: false,
                line: Some(CloseReason::Reset(self.denial(reason).into_owned())),
            },
            // Others of the socket go on. The provider keeps what it could not save and says why.
            (
                Self::Hocuspocus { .. },
                CloseReason::Refused(_)
                | CloseReason::Unauthenticated(_)
                | CloseReason::Forbidden(_)
                | CloseReason::Conflict(_)
                | CloseReason::DocumentTooLarge(_)
                | CloseReason::Unavailable(_),
            ) => Ends {
                is_denied: true,
                line: None,
            },
            // Nothing makes such a provider begin anew with one document: it begins anew with its socket.
            _ => Ends {
                is_denied: false,
                line: Some(reason.clone()),
            },
        }
    }

    /// What a session that is ended for `reason` is told. Where the wire has no place for a code, the text ends with it, since a
    /// page has to tell one refusal from another.
    #[must_use]
    pub fn denial<'a>(&self, reason: &'a CloseReason) -> Cow<'a, str> {
        match self {
            Self::Hocuspocus { .. } => format!("{} ({})", reason.text(), reason.code()).into(),
            Self::YWebsocket | Self::YSweet => reason.text().into(),
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
            Self::YWebsocket | Self::YSweet => y_websocket::message(message),
            Self::Hocuspocus { address, .. } => hocuspocus::message(address, message),
        }
    }
}
