//! Who may do what: from the claims of a token that was already verified to what one session may do.
//!
//! Plain values only: no clock (times are arguments), no keys (see `token`), no sockets.
//!
//! * this file: [`Claims`] and what they must look like, [`Identity`], [`Access`]
//! * `client`: what the client tokens say that are made for y-sweet's SDK
//! * `share`: what the holder of a token may pass on; `link`: what the tokens of links say that are made of it
//! * `grants`: the `documents` claim, patterns and which of them decides
//! * `credentials`: where in a request a token may be
//! * `origin`: which web pages may connect
//! * `person`: which sessions are one person's
//! * `stamp`: who somebody is, written into what they say of themselves
//! * `revocations`: tokens that are no longer good although they have not ended

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

pub use client::ClientClaims;
pub use credentials::{Credentials, CredentialsError, SUBPROTOCOL};
pub use grants::{Grants, GrantsError, Patterns};
pub use link::LinkClaims;
pub use origin::{InvalidOrigin, OriginPolicy, OriginRefused};
pub use person::Person;
pub use revocations::{Revocation, Revocations, Revoked};
pub use share::{Asked, Share, ShareError, Sharer, Sharing};
pub use stamp::stamp;

use crate::{
    id::DocumentId,
    limits::{CLAIM_TEXT_BYTES_MAX, TOKEN_LEEWAY_MS},
};

mod client;
mod credentials;
mod grants;
mod link;
mod origin;
mod person;
mod revocations;
mod share;
mod stamp;

/// What a session may do with its document; ordered, the more restrictive first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Receives everything and changes nothing.
    Read,
    /// Receives everything and edits.
    Write,
}

/// Who a session is and what it may do with its one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The `sub` claim, which names the author of edits in the journal; `None` is an anonymous
    /// visitor of an open server.
    pub subject: Option<Arc<str>>,
    /// The name to show, if the token says one.
    pub name: Option<Arc<str>>,
    /// The colour to show as `#rrggbb`, if the token says one.
    pub color: Option<Arc<str>>,
    /// What this session may do.
    pub access: Access,
    /// When the session ends with its token, in milliseconds since the Unix epoch: the first moment
    /// at which the token would be refused. `None` is for ever.
    pub expires_at_ms: Option<u64>,
    /// The token's `jti`, by which it can be revoked.
    pub token: Option<Arc<str>>,
    /// When the token was issued (`iat`), in milliseconds since the Unix epoch.
    pub issued_at_ms: Option<u64>,
    /// By whom the link came that it holds, from the first to the last; `None` is somebody with a token of their own.
    pub by: Option<Arc<[Sharer]>>,
}

/// A token, as far as it can be revoked.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Whose it is.
    pub subject: Option<&'a Arc<str>>,
    /// Its `jti`.
    pub name: Option<&'a Arc<str>>,
    /// When it was issued, in milliseconds since the Unix epoch; `None` counts as long ago.
    pub issued_at_ms: Option<u64>,
}

impl Identity {
    /// Whoever connects to an open server: may edit every document, for ever.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self {
            subject: None,
            name: None,
            color: None,
            access: Access::Write,
            expires_at_ms: None,
            token: None,
            issued_at_ms: None,
            by: None,
        }
    }

    /// The tokens that this session rests on: its own, and those that the link was made with that it holds.
    pub fn rests_on(&self) -> impl Iterator<Item = Shown<'_>> {
        let by = self.by.iter().flat_map(|by| by.iter()).map(|sharer| Shown {
            subject: Some(&sharer.sub),
            name: sharer.jti.as_ref(),
            // The issuer's clock may be ahead: what was shared before goes in any case.
            issued_at_ms: sharer.iat.map(|iat| iat.saturating_mul(1_000)).min(self.issued_at_ms),
        });
        let own = Shown {
            subject: self.subject.as_ref(),
            name: self.token.as_ref(),
            issued_at_ms: self.issued_at_ms,
        };
        std::iter::once(own).chain(by)
    }

    /// Whose sessions are those of one person.
    #[must_use]
    pub fn person(&self) -> Person<&Arc<str>> {
        match (&self.subject, &self.by) {
            (Some(subject), None) => Person::Named(subject),
            (Some(subject), Some(_)) => Person::OfLink(subject),
            (None, _) => Person::Nobody,
        }
    }

    /// Whether the session has outlived its token at `now_ms` (Unix epoch).
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= now_ms)
    }
}

/// What a token says that the server made itself: one document, by its very name. There is no leeway: whoever made it has the
/// same clock.
struct OwnToken<'a> {
    document: &'a DocumentId,
    access: Access,
    subject: Option<Arc<str>>,
    issued_ms: u64,
    ends_ms: u64,
}

impl OwnToken<'_> {
    fn check(&self, now_ms: u64) -> Result<(), ClaimsError> {
        if self.ends_ms <= now_ms {
            return Err(ClaimsError::Expired);
        }
        Ok(())
    }

    fn identity(self, document: &DocumentId) -> Option<Identity> {
        (self.document == document).then(|| Identity {
            subject: self.subject,
            access: self.access,
            expires_at_ms: Some(self.ends_ms),
            issued_at_ms: Some(self.issued_ms),
            ..Identity::anonymous()
        })
    }
}

/// The claims of a token (RFC 7519), in the shape that rule A1 asks for.
///
/// Deserializing checks every bound; claims that Cowrite does not know are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct Claims {
    /// Who: 1 to 256 bytes, no control characters.
    pub sub: Arc<str>,
    /// Expires, in seconds since the Unix epoch.
    pub exp: u64,
    /// Not valid before, in seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// When it was issued, in seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// The token's name: 1 to 256 bytes, no control characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<Arc<str>>,
    /// Who made the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// For whom the token was made; one text or a list of them on the wire.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// The name to show: up to 256 bytes, no control characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// The colour to show, `#rrggbb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<Arc<str>>,
    /// Pattern to access.
    pub documents: Grants,
    /// What of it may be passed on; `None` is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
}

impl Claims {
    /// When a session of this token ends, in milliseconds since the Unix epoch: `exp` plus the leeway.
    #[must_use]
    pub fn expires_at_ms(&self, leeway_ms: u64) -> u64 {
        self.exp.saturating_mul(1_000).saturating_add(leeway_ms)
    }

    /// Checks time, issuer and audience (rules A3 to A5); `now_ms` is milliseconds since the epoch.
    ///
    /// # Errors
    /// [`ClaimsError`], whose message tells the holder of the token what to do.
    pub fn check(&self, now_ms: u64, expected: &Expected) -> Result<(), ClaimsError> {
        if self.expires_at_ms(expected.leeway_ms) <= now_ms {
            return Err(ClaimsError::Expired);
        }
        if self
            .nbf
            .is_some_and(|nbf| nbf.saturating_mul(1_000) > now_ms.saturating_add(expected.leeway_ms))
        {
            return Err(ClaimsError::NotYetValid);
        }
        if expected.issuer.is_some() && expected.issuer != self.iss {
            return Err(ClaimsError::WrongIssuer);
        }
        match &expected.audience {
            Some(audience) if !self.aud.contains(audience) => Err(ClaimsError::WrongAudience),
            None if !self.aud.is_empty() => Err(ClaimsError::UnexpectedAudience),
            _ => Ok(()),
        }
    }

    /// Who the holder is in one document; `None` is no access at all (rule A2). The session ends `leeway_ms` after the token.
    #[must_use]
    pub fn identity(&self, document: &DocumentId, leeway_ms: u64) -> Option<Identity> {
        Some(Identity {
            subject: Some(self.sub.clone()),
            name: self.name.clone(),
            color: self.color.clone(),
            access: self.documents.access_to(document)?,
            expires_at_ms: Some(self.expires_at_ms(leeway_ms)),
            token: self.jti.clone(),
            issued_at_ms: self.iat.map(|iat| iat.saturating_mul(1_000)),
            by: None,
        })
    }

    /// What the holder may pass on of one document at `now_ms` (milliseconds since the Unix epoch); `None` is nothing (rule T15).
    #[must_use]
    pub fn sharing(&self, document: &DocumentId, now_ms: u64) -> Option<Sharing> {
        let share = self.share.as_ref()?;
        let own = self.documents.access_to(document)?;
        let access = match &share.documents {
            Some(documents) => documents.access_to(document)?.min(own),
            None => own,
        };
        let until_ms = match share.seconds {
            Some(seconds) => now_ms.saturating_add(seconds.saturating_mul(1_000)),
            None => self.expires_at_ms(0),
        };
        let holder = Sharer {
            sub: self.sub.clone(),
            jti: self.jti.clone(),
            iat: self.iat,
        };
        Some(Sharing {
            access,
            until_ms,
            again: share.again,
            by: vec![holder],
        })
    }
}

/// What the server demands of `iss` and `aud`, and how exact its clock and the issuer's are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The one `iss` that is accepted; `None` accepts any and none.
    pub issuer: Option<String>,
    /// What `aud` must contain; `None` accepts only tokens without `aud`.
    pub audience: Option<String>,
    /// How far the clocks may differ, in milliseconds.
    pub leeway_ms: u64,
}

impl Default for Expected {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            leeway_ms: TOKEN_LEEWAY_MS,
        }
    }
}

/// Why claims are refused; a new token helps against each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// `exp` has passed.
    #[error("the token has expired: get a new one")]
    Expired,
    /// `nbf` has not come.
    #[error("the token is not valid yet: wait, or check the clocks of issuer and server")]
    NotYetValid,
    /// `iss` is missing or another.
    #[error("the token is from another issuer than --jwt-issuer names")]
    WrongIssuer,
    /// `aud` is missing or does not contain the server's.
    #[error("the token is for another audience than --jwt-audience names")]
    WrongAudience,
    /// `aud` is there and the server has none (RFC 7519, 4.1.3: reject).
    #[error("the token is for a certain audience and this server has none: start it with --jwt-audience")]
    UnexpectedAudience,
    /// The payload is JSON and no object.
    #[error("the token's payload is not a JSON object: its claims are `sub`, `exp` and `documents`")]
    NotAnObject,
    /// It is signed like a client token and does not say what one says.
    #[error("the token is no client token of this server: get a new one")]
    NotAClient,
    /// It is signed like a link's token and does not say what one says.
    #[error("the token is no link of this server: ask for a new one")]
    NotALink,
    /// A required claim is missing.
    #[error("the token has no `{0}` claim: add it")]
    Missing(&'static str),
    /// A claim has another form than it must have.
    #[error("the token's `{claim}` claim must be {form}")]
    Form {
        /// Which claim.
        claim: &'static str,
        /// What it must be.
        form: &'static str,
    },
    /// The `documents` claim broke a rule.
    #[error(transparent)]
    Grants(#[from] GrantsError),
}

impl TryFrom<Value> for Claims {
    type Error = ClaimsError;

    fn try_from(claims: Value) -> Result<Self, Self::Error> {
        let Value::Object(mut claims) = claims else {
            return Err(ClaimsError::NotAnObject);
        };
        let mut take = |name: &str| claims.remove(name).filter(|value| !value.is_null());

        Ok(Self {
            sub: take("sub")
                .map(|value| text("sub", &value))
                .transpose()?
                .ok_or(ClaimsError::Missing("sub"))?,
            exp: take("exp")
                .map(|value| seconds("exp", &value))
                .transpose()?
                .ok_or(ClaimsError::Missing("exp"))?,
            nbf: take("nbf").map(|value| seconds("nbf", &value)).transpose()?,
            iat: take("iat").map(|value| seconds("iat", &value)).transpose()?,
            jti: take("jti").map(|value| text("jti", &value)).transpose()?,
            iss: take("iss").map(issuer).transpose()?,
            aud: take("aud").map(audience).transpose()?.unwrap_or_default(),
            name: take("name").map(|value| text("name", &value)).transpose()?,
            color: take("color").map(|value| color(&value)).transpose()?,
            documents: take("documents").map(Grants::try_from).transpose()?.unwrap_or_default(),
            share: take("share").map(Share::try_from).transpose()?,
        })
    }
}

fn text(claim: &'static str, value: &Value) -> Result<Arc<str>, ClaimsError> {
    match value.as_str() {
        Some(text) if is_text(text) => Ok(text.into()),
        _ => Err(ClaimsError::Form {
            claim,
            form: "1 to 256 bytes of text without control characters",
        }),
    }
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= CLAIM_TEXT_BYTES_MAX && !text.contains(char::is_control)
}

fn seconds(claim: &'static str, value: &Value) -> Result<u64, ClaimsError> {
    if let Some(seconds) = value.as_u64() {
        return Ok(seconds);
    }
    match value.as_f64() {
        // A NumericDate may have a fraction; `as` saturates, and the fraction goes in the strict direction for `exp`.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "non-negative, saturating"
        )]
        Some(seconds) if seconds >= 0.0 => Ok(seconds as u64),
        _ => Err(ClaimsError::Form {
            claim,
            form: "a number of seconds since 1970",
        }),
    }
}

fn issuer(value: Value) -> Result<String, ClaimsError> {
    match value {
        Value::String(issuer) => Ok(issuer),
        _ => Err(ClaimsError::Form {
            claim: "iss",
            form: "a text",
        }),
    }
}

fn audience(value: Value) -> Result<Vec<String>, ClaimsError> {
    let form = ClaimsError::Form {
        claim: "aud",
        form: "a text or a list of texts that is not empty",
    };
    match value {
        Value::String(audience) => Ok(vec![audience]),
        Value::Array(all) if !all.is_empty() => all
            .into_iter()
            .map(|one| one.as_str().map(str::to_owned).ok_or(form.clone()))
            .collect(),
        _ => Err(form),
    }
}

fn color(value: &Value) -> Result<Arc<str>, ClaimsError> {
    let is_color = |text: &&str| {
        text.len() == 7 && text.starts_with('#') && text.bytes().skip(1).all(|digit| digit.is_ascii_hexdigit())
    };
    let color = value.as_str().filter(is_color).ok_or(ClaimsError::Form {
        claim: "color",
        form: "`#rrggbb`",
    })?;
    Ok(color.into())
}

fn one_or_many<S: Serializer>(all: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    match all {
        [one] => serializer.serialize_str(one),
        many => many.serialize(serializer),
    }
}

#[cfg(test)]
mod tests;
