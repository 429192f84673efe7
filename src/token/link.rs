//! The tokens of links, which the server makes for whoever may share.
//!
//! They are signed with a key of their own, HMAC-SHA256 of [`LABEL`] under a secret of the operator's: all servers with the
//! same settings believe them, and no token of an issuer, and no client token, can be taken for one, or the other way round.

use std::{fmt, sync::Arc};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};

use super::{
    KeyError, TokenError, derived,
    key::{Verifier, check_secret},
};
use crate::access::LinkClaims;

/// What the keys of links are derived with.
const LABEL: &[u8] = b"cowrite shared links, version 1";

/// Makes links with the first of its keys, and believes those that were made with any.
#[derive(Clone)]
pub struct LinkKeys {
    first: Arc<str>,
    others: Arc<[Arc<str>]>,
}

impl LinkKeys {
    /// Takes secrets of the operator's; `None` without any.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`] under 32 bytes.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Result<Option<Self>, KeyError> {
        let keys = secrets.into_iter().map(|secret| {
            check_secret(secret.as_bytes())?;
            Ok(derived(secret, LABEL))
        });
        let mut keys = keys.collect::<Result<Vec<_>, KeyError>>()?.into_iter();
        Ok(keys.next().map(|first| Self {
            first,
            others: keys.collect(),
        }))
    }

    /// Signs a link.
    ///
    /// # Panics
    /// Never: HMAC signs with any key, and claims are JSON.
    #[must_use]
    pub fn mint(&self, claims: &LinkClaims) -> String {
        let key = EncodingKey::from_secret(self.first.as_bytes());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key);
        token.expect("HMAC signs with any key and claims are plain JSON")
    }

    /// Verifies a link at `now_ms` (milliseconds since the Unix epoch).
    ///
    /// # Errors
    /// [`TokenError`]; the message is for the client and never contains the token.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<LinkClaims, TokenError> {
        let mut believed = Err(TokenError::Signature);
        for key in std::iter::once(&self.first).chain(&*self.others) {
            let verifier = Verifier {
                key: DecodingKey::from_secret(key.as_bytes()),
                algorithm: Algorithm::HS256,
            };
            believed = verifier.believe(token);
            if believed.is_ok() {
                break;
            }
        }
        let claims = LinkClaims::try_from(believed?)?;
        claims.check(now_ms)?;
        Ok(claims)
    }
}

impl fmt::Debug for LinkKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKeys")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        access::{Access, ClientClaims, Expected, Identity},
        id::DocumentId,
        token::{Issuer, Keys, ServerToken, TokenKey, mint},
    };

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const SERVER: &str = "server-token-0123456789abcdefghi";
    const NOW_MS: u64 = 1_800_000_000_250;

    fn links() -> LinkKeys {
        LinkKeys::new([SECRET]).expect("a long secret").expect("a secret")
    }

    fn claims() -> LinkClaims {
        let now_s = NOW_MS / 1_000;
        let claims = json!({
            "jti": "l1", "iat": now_s, "exp": now_s + 2, "document": "notes", "access": "read", "by": [{ "sub": "ada" }],
        });
        LinkClaims::try_from(claims).expect("claims")
    }

    fn keys() -> Keys {
        let issuer = TokenKey::from_secret(SECRET.as_bytes()).expect("a long secret");
        Keys {
            issuer: Some(Issuer::new(vec![issuer], None, Expected::default())),
            server: Some(ServerToken::parse(SERVER).expect("a long token")),
            links: Some(links()),
        }
    }

    fn notes() -> DocumentId {
        DocumentId::parse("notes").expect("a name")
    }

    #[test]
    fn t16_a_link_ends_at_its_second() {
        let token = links().mint(&claims());
        let ends_ms = claims().exp * 1_000;

        assert_eq!(links().verify(&token, ends_ms - 1), Ok(claims()));
        let ended = TokenError::Claims(crate::access::ClaimsError::Expired);
        assert_eq!(links().verify(&token, ends_ms), Err(ended));
    }

    #[test]
    fn t17_no_other_token_is_a_link_and_no_link_is_another_token() {
        let keys = keys();
        let (issuer, server) = (keys.issuer.clone().expect("one"), keys.server.clone().expect("one"));
        let link = links().mint(&claims());
        let client = ClientClaims::new(Some("bob"), notes(), Access::Write, NOW_MS, NOW_MS + 9_000).expect("claims");
        let client = server.mint(&client);
        let forged = jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &claims(),
            &EncodingKey::from_secret(SECRET.as_bytes()),
        );
        let subject = |token: &str| {
            let identity = keys.identify(token, &notes(), NOW_MS);
            identity.map(|identity: Option<Identity>| identity.and_then(|identity| identity.subject))
        };

        assert_eq!(subject(&link), Ok(Some("link:l1".into())));
        assert_eq!(subject(&client), Ok(Some("bob".into())));
        assert_eq!(issuer.verify(&link, NOW_MS), Err(TokenError::Signature));
        assert_eq!(server.verify(&link, NOW_MS), Err(TokenError::Signature));
        assert_eq!(links().verify(&client, NOW_MS), Err(TokenError::Signature));
        // The issuer says who somebody is, and never that they hold a link.
        assert!(keys.identify(&forged.expect("a token"), &notes(), NOW_MS).is_err());
        let issued = json!({ "sub": "eve", "exp": NOW_MS / 1_000 + 9, "documents": { "*": "read" } });
        let issued = mint(
            SECRET.as_bytes(),
            &crate::access::Claims::try_from(issued).expect("claims"),
        );
        assert_eq!(subject(&issued.expect("a token")), Ok(Some("eve".into())));
    }

    #[test]
    fn t17_the_key_of_a_link_is_what_the_rule_says() {
        let derives = EncodingKey::from_secret(SECRET.as_bytes());
        let label = b"cowrite shared links, version 1";
        let key = jsonwebtoken::crypto::sign(label, &derives, Algorithm::HS256).expect("a key");
        let key = EncodingKey::from_secret(key.as_bytes());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &key).expect("a token");

        assert_eq!(links().verify(&token, NOW_MS), Ok(claims()));
    }

    #[test]
    fn t16_what_is_signed_and_is_no_link_is_refused() {
        let good = serde_json::to_value(claims()).expect("JSON");
        let nobody = json!([]);
        let long = json!((0..9).map(|n| json!({ "sub": n.to_string() })).collect::<Vec<_>>());
        for (field, bad) in [
            ("by", nobody),
            ("by", long),
            ("by", json!([{ "sub": "" }])),
            ("jti", json!("a\nb")),
            ("document", json!("")),
            ("access", json!("all")),
            ("exp", json!(-1)),
        ] {
            let mut claims = good.clone();
            claims[field] = bad;
            assert!(LinkClaims::try_from(claims.clone()).is_err(), "{claims}");
        }
    }
}
