//! What the tokens of links say, which the server makes for whoever may share: one document, by its very name.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Access, ClaimsError, Identity, OwnToken, Sharer, Sharing, text};
use crate::{id::DocumentId, limits::SHARERS_MAX};

/// The claims of a link's token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkClaims {
    /// Its name.
    pub jti: Arc<str>,
    /// When it was made, in seconds since the Unix epoch.
    pub iat: u64,
    /// When it ends, likewise.
    pub exp: u64,
    /// What it opens.
    pub document: DocumentId,
    /// For what.
    pub access: Access,
    /// Whether its holder may share it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub share: bool,
    /// By whom it came, from the first to the last; at least one.
    pub by: Arc<[Sharer]>,
}

impl LinkClaims {
    /// Whether it is still valid at `now_ms` (milliseconds since the Unix epoch).
    ///
    /// # Errors
    /// [`ClaimsError::Expired`].
    pub fn check(&self, now_ms: u64) -> Result<(), ClaimsError> {
        self.own().check(now_ms)
    }

    /// Who the holder is in one document; `None` is no access at all.
    #[must_use]
    pub fn identity(&self, document: &DocumentId) -> Option<Identity> {
        Some(Identity {
            token: Some(self.jti.clone()),
            by: Some(self.by.clone()),
            ..self.own().identity(document)?
        })
    }

    fn own(&self) -> OwnToken<'_> {
        OwnToken {
            document: &self.document,
            access: self.access,
            subject: Some(self.subject()),
            issued_ms: self.iat.saturating_mul(1_000),
            ends_ms: self.exp.saturating_mul(1_000),
        }
    }

    /// What the holder may pass on of one document; `None` is nothing.
    #[must_use]
    pub fn sharing(&self, document: &DocumentId) -> Option<Sharing> {
        let holder = Sharer {
            sub: self.subject(),
            jti: Some(self.jti.clone()),
            iat: Some(self.iat),
        };
        (self.share && self.document == *document).then(|| Sharing {
            access: self.access,
            until_ms: self.own().ends_ms,
            again: true,
            by: self.by.iter().cloned().chain([holder]).collect(),
        })
    }

    /// The holder is not who shared it: this is somebody of that link.
    fn subject(&self) -> Arc<str> {
        format!("link:{}", self.jti).into()
    }
}

impl TryFrom<Value> for LinkClaims {
    type Error = ClaimsError;

    fn try_from(claims: Value) -> Result<Self, Self::Error> {
        let claims = Self::deserialize(claims).map_err(|_| ClaimsError::NotALink)?;
        text("jti", &Value::from(&*claims.jti))?;
        if !(1..=SHARERS_MAX).contains(&claims.by.len()) {
            return Err(ClaimsError::NotALink);
        }
        claims.by.iter().try_for_each(Sharer::check)?;
        Ok(claims)
    }
}
