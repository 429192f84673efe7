//! Whoever makes the tokens of an application: its keys, which of them a token asks for, and what its tokens must say.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, Header};
use serde_json::Value;

use super::{Jwks, TokenError, TokenKey, header};
use crate::access::{Claims, Expected};

/// Verifies an issuer's tokens.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Those that were there at start.
    keys: Arc<[TokenKey]>,
    /// Those that come and go.
    set: Option<Arc<Jwks>>,
    expected: Expected,
}

impl Issuer {
    /// Believes tokens that are signed with any of these keys, or with any of the `set` at that time.
    #[must_use]
    pub fn new(keys: Vec<TokenKey>, set: Option<Arc<Jwks>>, expected: Expected) -> Self {
        Self {
            keys: keys.into(),
            set,
            expected,
        }
    }

    /// The keys that come and go, if there are such.
    #[must_use]
    pub fn set(&self) -> Option<&Arc<Jwks>> {
        self.set.as_ref()
    }

    /// How far the clocks may differ, in milliseconds.
    #[must_use]
    pub fn leeway_ms(&self) -> u64 {
        self.expected.leeway_ms
    }

    /// Verifies a token at `now_ms` (milliseconds since the Unix epoch): length, key, signature, shape
    /// of the claims, time, issuer, audience, in this order.
    ///
    /// # Errors
    /// [`TokenError`]; the message is for the client and never contains the token.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Claims, TokenError> {
        let claims = Claims::try_from(self.believe(token)?)?;
        claims.check(now_ms, &self.expected)?;
        Ok(claims)
    }

    /// Waits for the next look at the set of keys if a token is signed with one that is not known.
    pub async fn prepare(&self, token: &str) {
        if let Some(set) = &self.set
            && self.lacks(token, &set.keys())
        {
            set.look().await;
        }
    }

    /// Why nobody can be let in, if that is so.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let set = self.set.as_ref().filter(|_| self.keys.is_empty())?;
        set.trouble()
    }

    fn lacks(&self, token: &str, set: &[TokenKey]) -> bool {
        let Ok(header) = header(token, String::new) else {
            return false;
        };
        // No set has secrets.
        !is_symmetric(header.alg) && self.candidates(&header, set).is_err()
    }

    /// The payload of a token whose signature is right.
    fn believe(&self, token: &str) -> Result<Value, TokenError> {
        let set = self.set.as_ref().map(|set| set.keys()).unwrap_or_default();
        let header = header(token, || self.algorithms(&set))?;
        let mut refused = TokenError::Signature;
        for key in self.candidates(&header, &set)? {
            match key.believe(token) {
                Ok(claims) => return Ok(claims),
                // The mistake that can be named is worth more than what other keys say.
                Err(error) if refused != TokenError::DecodedSecret => refused = error,
                Err(_) => {}
            }
        }
        Err(refused)
    }

    /// The keys that a token may be signed with: those for its algorithm that have its `kid`, or else those that have none.
    /// A token without a `kid` may be signed with any.
    fn candidates<'a>(&'a self, header: &Header, set: &'a [TokenKey]) -> Result<Vec<&'a TokenKey>, TokenError> {
        let has_set = self.set.is_some() && !is_symmetric(header.alg);
        let away = || has_set && self.set.as_ref().is_some_and(|set| set.is_away());
        let mut fitting: Vec<&TokenKey> = self.keys.iter().chain(set).collect();
        fitting.retain(|key| key.algorithm() == header.alg);
        if fitting.is_empty() {
            return Err(match away() {
                true => TokenError::NoKeys,
                false => TokenError::Algorithm(self.algorithms(set)),
            });
        }
        let Some(id) = header.kid.as_deref() else {
            return Ok(fitting);
        };
        let is_named = fitting.iter().any(|key| key.id() == Some(id));
        let wanted = is_named.then_some(id);
        fitting.retain(|key| key.id() == wanted);
        match fitting.is_empty() {
            false => Ok(fitting),
            true if away() => Err(TokenError::NoKeys),
            true => Err(TokenError::UnknownKey),
        }
    }

    /// The algorithms of all keys, for people.
    fn algorithms(&self, set: &[TokenKey]) -> String {
        let mut names: Vec<String> = self
            .keys
            .iter()
            .chain(set)
            .map(|key| format!("{:?}", key.algorithm()))
            .collect();
        names.sort_unstable();
        names.dedup();
        names.join(" or ")
    }
}

fn is_symmetric(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}
