//! What the client tokens say that the server makes for y-sweet's SDK: one document, by its very name, until a
//! millisecond.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{Access, ClaimsError, Identity, OwnToken, text};
use crate::id::DocumentId;

/// The claims of a client token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClientClaims {
    /// Who: 1 to 256 bytes, no control characters; `None` is somebody anonymous.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<Arc<str>>,
    /// When it ends, in milliseconds since the Unix epoch; on the wire in seconds, with a fraction.
    #[serde(rename = "exp", serialize_with = "in_seconds")]
    ends_ms: u64,
    /// When it was made, likewise.
    #[serde(rename = "iat", serialize_with = "in_seconds")]
    issued_ms: u64,
    document: DocumentId,
    access: Access,
}

impl ClientClaims {
    /// Claims that are made at `issued_ms` and end at `ends_ms`, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`ClaimsError::Form`] when `sub` breaks rule A1.
    pub fn new(
        sub: Option<&str>,
        document: DocumentId,
        access: Access,
        issued_ms: u64,
        ends_ms: u64,
    ) -> Result<Self, ClaimsError> {
        let sub = sub.map(|sub| text("sub", &Value::from(sub))).transpose()?;
        Ok(Self {
            sub,
            ends_ms,
            issued_ms,
            document,
            access,
        })
    }

    /// Whether it is still valid at `now_ms`.
    ///
    /// # Errors
    /// [`ClaimsError::Expired`].
    pub fn check(&self, now_ms: u64) -> Result<(), ClaimsError> {
        self.own().check(now_ms)
    }

    /// Who the holder is in one document; `None` is no access at all.
    #[must_use]
    pub fn identity(&self, document: &DocumentId) -> Option<Identity> {
        self.own().identity(document)
    }

    fn own(&self) -> OwnToken<'_> {
        OwnToken {
            document: &self.document,
            access: self.access,
            subject: self.sub.clone(),
            issued_ms: self.issued_ms,
            ends_ms: self.ends_ms,
        }
    }
}

impl TryFrom<Value> for ClientClaims {
    type Error = ClaimsError;

    fn try_from(claims: Value) -> Result<Self, Self::Error> {
        #[derive(Deserialize)]
        struct Read {
            sub: Option<String>,
            exp: f64,
            iat: f64,
            document: DocumentId,
            access: Access,
        }
        let claims = Read::deserialize(claims).map_err(|_| ClaimsError::NotAClient)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates, and what is negative has ended"
        )]
        let ms = |seconds: f64| (seconds * 1_000.0).round() as u64;
        let (issued_ms, ends_ms) = (ms(claims.iat), ms(claims.exp));
        Self::new(
            claims.sub.as_deref(),
            claims.document,
            claims.access,
            issued_ms,
            ends_ms,
        )
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::cast_precision_loss,
    reason = "serde's form; a millisecond is exact for a quarter of a million years"
)]
fn in_seconds<S: Serializer>(ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(*ms as f64 / 1_000.0)
}
