//! y-sweet's two kinds of tokens: the server token, which an operator chose and the application's back end shows, and
//! the client tokens that are made for it, one for each page and document.
//!
//! Client tokens are signed with a key of their own, HMAC-SHA256 of [`LABEL`] under the server token: another server
//! token ends them all, and no token of an issuer can be taken for one of them, or the other way round.

use std::{fmt, sync::Arc};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use subtle::ConstantTimeEq;

use super::{SECRET_BYTES_MIN, TokenError, derived, key::Verifier};
use crate::access::ClientClaims;

/// What the key of client tokens is derived with.
const LABEL: &[u8] = b"cowrite client tokens, version 1";

/// Opens every document, and makes client tokens.
#[derive(Clone)]
pub struct ServerToken {
    token: Arc<str>,
    /// That of client tokens.
    key: Arc<str>,
}

impl ServerToken {
    /// Takes the token that an operator chose.
    ///
    /// # Errors
    /// [`ServerTokenError`] under 32 bytes, and when an `Authorization` header could not carry it.
    pub fn parse(token: &str) -> Result<Self, ServerTokenError> {
        if token.len() < SECRET_BYTES_MIN {
            return Err(ServerTokenError::Short(token.len()));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ServerTokenError::Character);
        }
        Ok(Self {
            token: token.into(),
            key: derived(token, LABEL),
        })
    }

    /// Whether somebody shows this token; takes the same time however much of it is right.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        self.token.as_bytes().ct_eq(shown.as_bytes()).into()
    }

    /// Signs a client token.
    ///
    /// # Panics
    /// Never: HMAC signs with any key, and claims are JSON.
    #[must_use]
    pub fn mint(&self, claims: &ClientClaims) -> String {
        let key = EncodingKey::from_secret(self.key.as_bytes());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key);
        token.expect("HMAC signs with any key and claims are plain JSON")
    }

    /// Verifies a client token at `now_ms` (milliseconds since the Unix epoch).
    ///
    /// # Errors
    /// [`TokenError`]; the message is for the client and never contains the token.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<ClientClaims, TokenError> {
        let verifier = Verifier {
            key: DecodingKey::from_secret(self.key.as_bytes()),
            algorithm: Algorithm::HS256,
        };
        let claims = ClientClaims::try_from(verifier.believe(token)?)?;
        claims.check(now_ms)?;
        Ok(claims)
    }
}

impl fmt::Debug for ServerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerToken")
    }
}

/// Why a server token cannot be used; for the operator, at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServerTokenError {
    /// The length in bytes.
    #[error(
        "the server token is {0} bytes long and needs at least {SECRET_BYTES_MIN}: make one with `openssl rand -hex 32`"
    )]
    Short(usize),
    /// Something that is no printable ASCII character.
    #[error("the server token must be printable ASCII without spaces: make one with `openssl rand -hex 32`")]
    Character,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        access::{Access, ClaimsError, Expected, Identity},
        id::DocumentId,
        token::{Issuer, Keys, TokenKey},
    };

    const SERVER: &str = "server-token-0123456789abcdefghi";
    const NOW_MS: u64 = 1_800_000_000_250;

    fn server() -> ServerToken {
        ServerToken::parse(SERVER).expect("a long token")
    }

    fn document(name: &str) -> DocumentId {
        DocumentId::parse(name).expect("a valid name")
    }

    fn claims(name: &str) -> ClientClaims {
        ClientClaims::new(Some("ada"), document(name), Access::Read, NOW_MS, NOW_MS + 1_500).expect("claims")
    }

    fn issuer() -> Issuer {
        let key = TokenKey::from_secret(b"0123456789abcdef0123456789abcdef").expect("a long secret");
        Issuer::new(vec![key], None, Expected::default())
    }

    #[test]
    fn x22_a_server_token_is_long_and_fits_a_header() {
        let refused = |token: &str| ServerToken::parse(token).expect_err("a bad token");

        assert_eq!(refused(&SERVER[1..]), ServerTokenError::Short(31));
        assert_eq!(refused(""), ServerTokenError::Short(0));
        assert_eq!(refused(&SERVER.replace('-', " ")), ServerTokenError::Character);
        assert_eq!(refused(&SERVER.replace('-', "é")), ServerTokenError::Character);
        assert!(server().is(SERVER));
        assert!(!server().is(&SERVER[1..]));
        assert!(!server().is(&SERVER.replace('i', "j")));
        assert!(!format!("{:?}", server()).contains("0123"));
    }

    #[test]
    fn x24_a_client_token_ends_at_its_millisecond() {
        let token = server().mint(&claims("notes"));

        assert_eq!(server().verify(&token, NOW_MS + 1_499), Ok(claims("notes")));
        assert_eq!(
            server().verify(&token, NOW_MS + 1_500),
            Err(TokenError::Claims(ClaimsError::Expired))
        );
    }

    #[test]
    fn x24_a_client_token_is_for_the_document_of_that_very_name() {
        let keys = Keys {
            issuer: None,
            server: Some(server()),
            links: None,
        };
        let token = server().mint(&claims("a*"));
        let identify = |name: &str| keys.identify(&token, &document(name), NOW_MS);

        let expected = Identity {
            subject: Some("ada".into()),
            name: None,
            color: None,
            access: Access::Read,
            expires_at_ms: Some(NOW_MS + 1_500),
            token: None,
            issued_at_ms: Some(NOW_MS),
            by: None,
        };
        assert_eq!(identify("a*"), Ok(Some(expected)));
        assert_eq!(identify("ab"), Ok(None));
    }

    #[test]
    fn x24_a_token_is_believed_by_the_key_that_it_was_made_with() {
        let keys = Keys {
            issuer: Some(issuer()),
            server: Some(server()),
            links: None,
        };
        let now_s = NOW_MS / 1_000;
        let issued = json!({ "sub": "bob", "exp": now_s - 2, "documents": { "*": "write" } });
        let secret = EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
        let sign = |claims: &serde_json::Value, key: &EncodingKey| {
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, key).expect("a token")
        };
        let identify = |token: &str| keys.identify(token, &document("notes"), NOW_MS);
        let subject = |token: &str| identify(token).map(|identity| identity.and_then(|identity| identity.subject));

        // The issuer's has the grace of rule A3.
        assert_eq!(subject(&sign(&issued, &secret)), Ok(Some("bob".into())));
        assert_eq!(subject(&server().mint(&claims("notes"))), Ok(Some("ada".into())));
        let client = serde_json::to_value(claims("notes")).expect("JSON");
        assert_eq!(
            identify(&sign(&client, &secret)),
            Ok(None),
            "the issuer makes no client tokens"
        );
        let other = EncodingKey::from_secret(SERVER.as_bytes());
        assert_eq!(identify(&sign(&client, &other)), Err(TokenError::Signature));
        assert_eq!(identify(SERVER), Err(TokenError::Malformed));
    }

    #[test]
    fn x24_another_server_token_ends_all_client_tokens() {
        let token = server().mint(&claims("notes"));
        let next = ServerToken::parse(&SERVER.replace('i', "j")).expect("a long token");

        assert_eq!(next.verify(&token, NOW_MS), Err(TokenError::Signature));
    }
}
