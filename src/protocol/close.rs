//! Why a connection ends, and the code that makes stock clients do the right thing.
//!
//! y-websocket 3.1 takes 4400 to 4499 as final and tries again after everything else; y-sweet's client and Hocuspocus'
//! providers from 3 on always try again.

use std::fmt;

use super::{lib0::Malformed, update::Id};

/// Why the server ends a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The request can never succeed as it is (a bad document name, an update that was refused).
    Refused(String),
    /// No token, a bad one, or one that has expired.
    Unauthenticated(String),
    /// The token is good and does not open this document.
    Forbidden(String),
    /// Something that is known is sent again with another content: another page writes under the same client id.
    Conflict(String),
    /// The document is larger than the server's limit.
    DocumentTooLarge(String),
    /// A message is not what its wire says: the same client would send the same again.
    Malformed(String),
    /// The bytes are not WebSocket.
    Protocol(String),
    /// A text message where only binary ones are understood.
    NotBinary,
    /// A text message that is not UTF-8.
    NotUtf8,
    /// One message larger than the limit.
    MessageTooBig(String),
    /// Everything on this connection has to begin anew; come back.
    Reset(String),
    /// The server stops; come back.
    Restarting,
    /// The server cannot take more from this connection for a while; come back.
    Overloaded(String),
    /// A limit was reached that gives way with time; come back.
    Exceeded(Exceeded),
    /// The document cannot be served; a person must look.
    Unavailable(String),
}

impl CloseReason {
    /// The first struct that is known with another content is this one.
    #[must_use]
    pub fn conflict(known: Id) -> Self {
        Self::Conflict(format!(
            "another page writes under this client id: your edits are kept in this page, client {} from clock {}",
            known.client, known.clock
        ))
    }

    /// The token was revoked.
    #[must_use]
    pub fn revoked() -> Self {
        Self::Forbidden("the token was revoked: get a new one".to_owned())
    }

    /// The WebSocket close code.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Refused(_) | Self::Malformed(_) => 4400,
            Self::Unauthenticated(_) => 4401,
            Self::Forbidden(_) => 4403,
            Self::Conflict(_) => 4409,
            Self::DocumentTooLarge(_) => 4413,
            Self::Reset(_) => 4205,
            Self::Protocol(_) => 1002,
            Self::NotBinary => 1003,
            Self::NotUtf8 => 1007,
            Self::MessageTooBig(_) => 1009,
            Self::Unavailable(_) => 1011,
            Self::Restarting => 1012,
            Self::Overloaded(_) | Self::Exceeded(_) => 1013,
        }
    }

    /// Whether a session ends with this code for what it said: it would end again if it said the same.
    #[must_use]
    pub fn is_for_what_was_said(code: u16) -> bool {
        matches!(code, 4400 | 4409 | 4413)
    }

    /// What a person reads.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Refused(text)
            | Self::Unauthenticated(text)
            | Self::Forbidden(text)
            | Self::Conflict(text)
            | Self::DocumentTooLarge(text)
            | Self::Reset(text)
            | Self::Malformed(text)
            | Self::Protocol(text)
            | Self::MessageTooBig(text)
            | Self::Overloaded(text)
            | Self::Unavailable(text) => text,
            Self::Exceeded(exceeded) => exceeded.text(),
            Self::NotBinary => "send binary messages, not text",
            Self::NotUtf8 => "a text message that is not UTF-8",
            Self::Restarting => "the server restarts",
        }
    }

    /// The name of the reason in metrics and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Forbidden(_) => "forbidden",
            Self::Conflict(_) => "conflict",
            Self::DocumentTooLarge(_) => "document_too_large",
            Self::Reset(_) => "reset",
            Self::Malformed(_) => "malformed",
            Self::Protocol(_) => "protocol",
            Self::NotBinary => "not_binary",
            Self::NotUtf8 => "not_utf8",
            Self::MessageTooBig(_) => "message_too_big",
            Self::Unavailable(_) => "unavailable",
            Self::Restarting => "restarting",
            Self::Overloaded(_) => "overloaded",
            Self::Exceeded(exceeded) => exceeded.label(),
        }
    }
}

/// Which limit was reached, and when to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    label: &'static str,
    text: String,
    retry_s: u64,
}

impl Exceeded {
    /// `label` names the limit in metrics, `what` says to a person what there is too much of; `wait` is in microseconds.
    #[must_use]
    pub fn new(label: &'static str, what: &str, wait: u64) -> Self {
        let retry_s = wait.div_ceil(1_000_000).max(1);
        Self {
            label,
            text: format!("{what}: come back in {retry_s} s"),
            retry_s,
        }
    }

    /// The limit's name in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.label
    }

    /// What a person reads.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// When to come back, in seconds.
    #[must_use]
    pub fn retry_s(&self) -> u64 {
        self.retry_s
    }
}

impl From<Exceeded> for CloseReason {
    fn from(exceeded: Exceeded) -> Self {
        Self::Exceeded(exceeded)
    }
}

impl From<Malformed> for CloseReason {
    fn from(malformed: Malformed) -> Self {
        if malformed.refused {
            Self::Refused(format!("the update is not taken: {}", malformed.what))
        } else {
            Self::Malformed(malformed.to_string())
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.text())
    }
}
