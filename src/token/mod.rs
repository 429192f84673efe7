//! Tokens: which signatures are believed, and how `cowrite token` makes one.
//!
//! `jsonwebtoken` verifies the signature and nothing else; what the claims must say is decided in
//! `access`, with the time as an argument. Each key has one algorithm, which the operator or the issuer gave it; a token's
//! header chooses among keys and never among algorithms, so that a public key can't be used as an HMAC secret and
//! `alg: none` means nothing.
//!
//! * this file: [`Keys`], which are all that a server believes; `cowrite token`
//! * `key`: one key, from a secret, a PEM file or a JWK
//! * `issuer`: the keys of whoever makes the tokens of an application, and which of them a token asks for
//! * `jwks`: an issuer's set of keys that changes while the server runs; `source`: where it is read from
//! * `client`: y-sweet's server token, and the client tokens that are made with it
//! * `link`: the tokens of links, which are made here for whoever may share

use std::sync::Arc;

use jsonwebtoken::{
    Algorithm, EncodingKey, Header,
    errors::{Error, ErrorKind},
};

pub use client::{ServerToken, ServerTokenError};
pub use issuer::Issuer;
pub use jwks::Jwks;
pub use key::{KeyError, TokenKey};
pub use link::LinkKeys;
pub use source::{Source, SourceError};

use crate::{
    access::{Claims, ClaimsError, ClientClaims, Identity, LinkClaims, Sharing},
    id::DocumentId,
    limits::TOKEN_BYTES_MAX,
};

mod client;
mod issuer;
mod jwks;
mod key;
mod link;
pub(crate) mod source;

/// Shortest HMAC secret, in bytes: as long as the hash of HS256 (RFC 7518, 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// All that a server believes; an issuer or a server token is there.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Whoever makes the tokens of an application.
    pub issuer: Option<Issuer>,
    /// y-sweet's server token, with which client tokens are made here.
    pub server: Option<ServerToken>,
    /// What links are made with; `None` makes none.
    pub links: Option<LinkKeys>,
}

/// What a token says whose signature and time are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Believed {
    /// The issuer's, with how far its clock and ours may differ, in milliseconds.
    Issued(Claims, u64),
    /// One that was made for y-sweet's SDK.
    Client(ClientClaims),
    /// A link's.
    Link(LinkClaims),
}

impl Believed {
    /// Who its holder is in one document; `None` is no access at all.
    #[must_use]
    pub fn identity(&self, document: &DocumentId) -> Option<Identity> {
        match self {
            Self::Issued(claims, leeway_ms) => claims.identity(document, *leeway_ms),
            Self::Client(claims) => claims.identity(document),
            Self::Link(claims) => claims.identity(document),
        }
    }

    /// Whether there is anything that its holder may share.
    #[must_use]
    pub fn may_share(&self) -> bool {
        match self {
            Self::Issued(claims, _) => claims.share.is_some(),
            Self::Client(_) => false,
            Self::Link(claims) => claims.share,
        }
    }

    /// What its holder may pass on of one document at `now_ms` (milliseconds since the Unix epoch); `None` is nothing.
    #[must_use]
    pub fn sharing(&self, document: &DocumentId, now_ms: u64) -> Option<Sharing> {
        match self {
            Self::Issued(claims, _) => claims.sharing(document, now_ms),
            Self::Client(_) => None,
            Self::Link(claims) => claims.sharing(document),
        }
    }
}

impl Keys {
    /// Who the holder of a token is in one document at `now_ms` (milliseconds since the Unix epoch); `None` is no access
    /// at all. The server token is no such token.
    ///
    /// # Errors
    /// [`TokenError`]; the message is for the client and never contains the token.
    pub fn identify(&self, token: &str, document: &DocumentId, now_ms: u64) -> Result<Option<Identity>, TokenError> {
        Ok(self.believe(token, now_ms)?.identity(document))
    }

    /// What a token says that is good at `now_ms` (milliseconds since the Unix epoch).
    ///
    /// # Errors
    /// [`TokenError`]; the message is for the client and never contains the token.
    pub fn believe(&self, token: &str, now_ms: u64) -> Result<Believed, TokenError> {
        let link = || Some(self.links.as_ref()?.verify(token, now_ms).map(Believed::Link));
        let client = || Some(self.server.as_ref()?.verify(token, now_ms).map(Believed::Client));
        let issued = || {
            let issuer = self.issuer.as_ref()?;
            let claims = issuer.verify(token, now_ms);
            Some(claims.map(|claims| Believed::Issued(claims, issuer.leeway_ms())))
        };
        let mut believed = Err(TokenError::Signature);
        for tried in [&link as &dyn Fn() -> _, &client, &issued] {
            match tried() {
                None => {}
                // It was made with another key, which may be the next one's.
                Some(Err(error @ (TokenError::Signature | TokenError::Algorithm(_)))) => believed = Err(error),
                Some(decided) => return decided,
            }
        }
        believed
    }

    /// Waits until the key of a token is known, if the issuer may have made a new one (rule T11).
    pub async fn prepare(&self, token: &str) {
        if let Some(issuer) = &self.issuer {
            issuer.prepare(token).await;
        }
    }

    /// Why nobody can be let in just now, if that is so: there is no key yet.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let issuer = self.issuer.as_ref().filter(|_| self.server.is_none())?;
        issuer.trouble()
    }
}

/// The key that is derived from a secret for one purpose, as text.
fn derived(secret: &str, label: &[u8]) -> Arc<str> {
    let derives = EncodingKey::from_secret(secret.as_bytes());
    let key = jsonwebtoken::crypto::sign(label, &derives, Algorithm::HS256);
    key.expect("HMAC signs with any key").into()
}

/// The header of a token, whose length is bounded and which asks for nothing that is not understood. `algorithms` names
/// those that would be accepted.
fn header(token: &str, algorithms: impl Fn() -> String) -> Result<Header, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong(token.len()));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
        // The header is JSON whose `alg` is missing or unknown to us, `none` among others.
        ErrorKind::Json(error) if error.is_data() => TokenError::Algorithm(algorithms()),
        _ => TokenError::Malformed,
    })?;
    // RFC 7515, 4.1.11: an extension that is critical and not understood makes a token invalid.
    if header.crit.is_some() {
        return Err(TokenError::Critical);
    }
    Ok(header)
}

fn refusal(error: &Error, algorithms: impl Fn() -> String) -> TokenError {
    match error.kind() {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => TokenError::Algorithm(algorithms()),
        _ => TokenError::Malformed,
    }
}

/// Signs claims with HS256: what `cowrite token` prints.
///
/// # Errors
/// [`KeyError::ShortSecret`] under 32 bytes.
///
/// # Panics
/// Never: HMAC takes a key of any length, and claims are JSON.
pub fn mint(secret: &[u8], claims: &Claims) -> Result<String, KeyError> {
    key::check_secret(secret)?;
    let token = jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(secret),
    );
    Ok(token.expect("HMAC signs with any key and claims are plain JSON"))
}

/// Why a token is refused; for its holder. Each but [`TokenError::NoKeys`] closes with 4401.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The length in bytes.
    #[error("the token is {0} bytes long, the longest allowed is {TOKEN_BYTES_MAX}")]
    TooLong(usize),
    /// Not three parts of base64url JSON.
    #[error("the token is not a JWT: send the whole of it, unchanged")]
    Malformed,
    /// Which algorithms it may have.
    #[error("the token must be signed with {0}")]
    Algorithm(String),
    /// The header names a critical extension.
    #[error("the token's header has critical extensions, and Cowrite knows none")]
    Critical,
    /// The header names a key that the server does not have.
    #[error("the token's key (`kid`) is not one of this server's: get a new token")]
    UnknownKey,
    /// The key may be a new one, and the issuer cannot be asked.
    #[error("the issuer's keys cannot be fetched now: come back")]
    NoKeys,
    /// Signed with another key, or changed.
    #[error("the token's signature is wrong: it was made with another key, or changed")]
    Signature,
    /// Signed with the bytes that the text of the secret stands for.
    #[error(
        "the token's signature was made with the decoded secret: sign with the text of COWRITE_JWT_SECRET as it is"
    )]
    DecodedSecret,
    /// Honestly signed, and says what is not accepted.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
}

#[cfg(test)]
mod tests {
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::access::Expected;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW_S: u64 = 1_800_000_000;
    const NOW_MS: u64 = NOW_S * 1_000;

    fn pem(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"))).expect("a test key")
    }

    fn issuer(keys: impl IntoIterator<Item = TokenKey>) -> Issuer {
        Issuer::new(keys.into_iter().collect(), None, Expected::default())
    }

    fn hmac_key() -> Issuer {
        issuer([TokenKey::from_secret(SECRET).expect("a long secret")])
    }

    fn public_key(name: &str) -> TokenKey {
        TokenKey::from_public_pem(&pem(name)).expect("a good key")
    }

    fn refused_pem(name: &str) -> KeyError {
        TokenKey::from_public_pem(&pem(name)).expect_err("a bad key")
    }

    fn algorithm(name: &str) -> TokenError {
        TokenError::Algorithm(name.to_owned())
    }

    fn claims() -> Value {
        json!({ "sub": "ada", "exp": NOW_S + 60, "documents": { "*": "write" } })
    }

    fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, key).expect("a token")
    }

    fn hs256(claims: &Value) -> String {
        signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET), claims)
    }

    /// A token whose header is any JSON, signed with HS256 and the given key.
    fn forged(header: &Value, key: &[u8]) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(header), part(&claims()));
        let key = EncodingKey::from_secret(key);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a signature");
        format!("{message}.{signature}")
    }

    #[test]
    fn t1_a_short_secret_is_refused_at_start() {
        let short = TokenKey::from_secret(&SECRET[..31]).expect_err("too short");

        assert_eq!(short, KeyError::ShortSecret(31));
        assert_eq!(
            mint(&SECRET[..31], &Claims::try_from(claims()).expect("claims")),
            Err(short)
        );
        assert!(TokenKey::from_secret(SECRET).is_ok());
    }

    #[test]
    fn t1_the_kind_of_a_public_key_is_read_from_its_pem() {
        assert_eq!(public_key("rsa2048.public").algorithm(), Algorithm::RS256);
        assert_eq!(public_key("rsa2048.pkcs1.public").algorithm(), Algorithm::RS256);
        assert_eq!(public_key("p256.public").algorithm(), Algorithm::ES256);
        assert_eq!(public_key("p384.public").algorithm(), Algorithm::ES384);
        assert_eq!(public_key("ed25519.public").algorithm(), Algorithm::EdDSA);
    }

    #[test]
    fn t1_other_keys_are_refused_at_start_with_their_reason() {
        let several = [pem("p256.public"), pem("ed25519.public")].concat();
        let mut cut = pem("rsa2048.public");
        cut.drain(100..200);
        let refused = |pem: &[u8]| TokenKey::from_public_pem(pem).expect_err("a bad key");

        assert_eq!(refused_pem("rsa1024.public"), KeyError::ShortRsa(1_024));
        assert_eq!(refused_pem("secp256k1.public"), KeyError::Unsupported);
        assert_eq!(refused_pem("ed448.public"), KeyError::Unsupported);
        assert_eq!(refused_pem("rsa2048.private"), KeyError::Private);
        assert_eq!(refused(&several), KeyError::Several);
        assert_eq!(refused(&cut), KeyError::Unsupported);
        assert_eq!(refused(b"ssh-ed25519 AAAA"), KeyError::NotPem);
        assert_eq!(refused(b""), KeyError::NotPem);
        assert_eq!(refused(b"\xff"), KeyError::NotPem);
        assert_eq!(
            refused(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
            KeyError::Certificate
        );
    }

    #[test]
    fn t2_a_token_of_each_kind_of_key_is_believed() {
        let expected = Claims::try_from(claims()).expect("claims");
        let rsa = EncodingKey::from_rsa_pem(&pem("rsa2048.private")).expect("a key");
        let ec = EncodingKey::from_ec_pem(&pem("p256.private")).expect("a key");
        let ed = EncodingKey::from_ed_pem(&pem("ed25519.private")).expect("a key");

        for (key, token) in [
            (TokenKey::from_secret(SECRET).expect("a long secret"), hs256(&claims())),
            (public_key("rsa2048.public"), signed(Algorithm::RS256, &rsa, &claims())),
            (
                public_key("rsa2048.pkcs1.public"),
                signed(Algorithm::RS256, &rsa, &claims()),
            ),
            (public_key("p256.public"), signed(Algorithm::ES256, &ec, &claims())),
            (public_key("ed25519.public"), signed(Algorithm::EdDSA, &ed, &claims())),
        ] {
            let name = format!("{key:?}");
            let issuer = issuer([key]);
            assert_eq!(issuer.verify(&token, NOW_MS), Ok(expected.clone()), "{name}");

            let changed = token.replace('.', ".e");
            assert!(issuer.verify(&changed, NOW_MS).is_err(), "{name}");
        }
    }

    #[test]
    fn t2_a_token_of_another_key_is_refused() {
        let other = signed(Algorithm::HS256, &EncodingKey::from_secret(&[7; 32]), &claims());

        assert_eq!(hmac_key().verify(&other, NOW_MS), Err(TokenError::Signature));
    }

    #[test]
    fn t7_a_token_that_was_signed_with_the_decoded_secret_says_so() {
        let bytes = [0xfb; 36];
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let secrets = [
            hex.clone(),
            hex.to_uppercase(),
            STANDARD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
        ];
        for secret in secrets {
            let key = issuer([TokenKey::from_secret(secret.as_bytes()).expect("a long secret")]);
            let mistaken = signed(Algorithm::HS256, &EncodingKey::from_secret(&bytes), &claims());
            let other = signed(Algorithm::HS256, &EncodingKey::from_secret(&[7; 36]), &claims());
            let right = signed(
                Algorithm::HS256,
                &EncodingKey::from_secret(secret.as_bytes()),
                &claims(),
            );

            assert_eq!(
                key.verify(&mistaken, NOW_MS),
                Err(TokenError::DecodedSecret),
                "{secret}"
            );
            assert_eq!(key.verify(&other, NOW_MS), Err(TokenError::Signature), "{secret}");
            assert!(key.verify(&right, NOW_MS).is_ok(), "{secret}");
        }
    }

    #[test]
    fn t2_a_public_key_is_never_an_hmac_secret() {
        for name in ["rsa2048.public", "p256.public", "ed25519.public"] {
            let key = public_key(name);
            let accepted = format!("{:?}", key.algorithm());
            let token = forged(&json!({ "alg": "HS256", "typ": "JWT" }), &pem(name));

            assert_eq!(issuer([key]).verify(&token, NOW_MS), Err(algorithm(&accepted)));
        }
    }

    #[test]
    fn t2_the_header_never_chooses_the_algorithm() {
        let rsa = EncodingKey::from_rsa_pem(&pem("rsa2048.private")).expect("a key");
        let hs512 = signed(Algorithm::HS512, &EncodingKey::from_secret(SECRET), &claims());
        let ps256 = signed(Algorithm::PS256, &rsa, &claims());

        assert_eq!(hmac_key().verify(&hs512, NOW_MS), Err(algorithm("HS256")));
        assert_eq!(
            issuer([public_key("rsa2048.public")]).verify(&ps256, NOW_MS),
            Err(algorithm("RS256"))
        );
        for header in [json!({ "alg": "none" }), json!({ "alg": "NONE" }), json!({})] {
            let token = forged(&header, SECRET);
            let (unsigned, _) = token.rsplit_once('.').expect("three parts");

            assert_eq!(hmac_key().verify(&token, NOW_MS), Err(algorithm("HS256")));
            assert_eq!(
                hmac_key().verify(&format!("{unsigned}."), NOW_MS),
                Err(algorithm("HS256"))
            );
        }
    }

    #[test]
    fn t2_a_critical_extension_is_refused() {
        let token = forged(&json!({ "alg": "HS256", "crit": ["b64"], "b64": false }), SECRET);

        assert_eq!(hmac_key().verify(&token, NOW_MS), Err(TokenError::Critical));
    }

    #[test]
    fn t3_the_claims_of_an_honest_token_are_checked() {
        let verify = |claims: Value| hmac_key().verify(&hs256(&claims), NOW_MS).expect_err("a bad token");
        let expired = json!({ "sub": "ada", "exp": NOW_S - 5 });
        let early = json!({ "sub": "ada", "exp": NOW_S + 60, "nbf": NOW_S + 6 });
        let for_mail = json!({ "sub": "ada", "exp": NOW_S + 60, "aud": "mail" });

        assert_eq!(
            verify(json!({ "sub": "ada" })),
            TokenError::Claims(ClaimsError::Missing("exp"))
        );
        assert_eq!(verify(expired), TokenError::Claims(ClaimsError::Expired));
        assert_eq!(verify(early), TokenError::Claims(ClaimsError::NotYetValid));
        assert_eq!(verify(for_mail), TokenError::Claims(ClaimsError::UnexpectedAudience));
        assert_eq!(verify(json!("ada")), TokenError::Malformed);
    }

    #[test]
    fn t3_issuer_and_audience_of_the_key_are_demanded() {
        let expected = Expected {
            issuer: Some("wiki".to_owned()),
            audience: Some("cowrite".to_owned()),
            ..Expected::default()
        };
        let key = TokenKey::from_secret(SECRET).expect("a long secret");
        let key = Issuer::new(vec![key], None, expected);
        let mut claims = claims();
        let mut verify = |iss: &str, aud: &str| {
            claims["iss"] = json!(iss);
            claims["aud"] = json!([aud]);
            key.verify(&hs256(&claims), NOW_MS).map(|claims| claims.sub)
        };

        assert_eq!(verify("wiki", "cowrite"), Ok("ada".into()));
        assert_eq!(
            verify("wiki", "mail"),
            Err(TokenError::Claims(ClaimsError::WrongAudience))
        );
        assert_eq!(
            verify("evil", "cowrite"),
            Err(TokenError::Claims(ClaimsError::WrongIssuer))
        );
    }

    #[test]
    fn t4_garbage_is_malformed_and_a_huge_token_is_not_even_parsed() {
        let token = hs256(&claims());
        let cut = &token[..token.len() / 2];
        let huge = format!("{token}{}", "A".repeat(TOKEN_BYTES_MAX));

        for garbage in ["", ".", "..", "...", "a.b.c", "é.é.é", cut, "bnVsbA.bnVsbA.bnVsbA"] {
            let refused = hmac_key().verify(garbage, NOW_MS).expect_err("garbage");
            assert!(
                matches!(refused, TokenError::Malformed | TokenError::Algorithm(_)),
                "{garbage}: {refused:?}"
            );
        }
        assert_eq!(hmac_key().verify(&huge, NOW_MS), Err(TokenError::TooLong(huge.len())));
    }

    #[test]
    fn t4_neither_messages_nor_debug_show_token_or_key() {
        let token = hs256(&json!({ "sub": 7, "exp": NOW_S }));
        let refused = hmac_key().verify(&token, NOW_MS).expect_err("a bad token");

        assert_eq!(
            refused.to_string(),
            "the token's `sub` claim must be 1 to 256 bytes of text without control characters"
        );
        assert!(!format!("{:?}", hmac_key()).contains("0123"));
    }

    #[test]
    fn t6_a_minted_token_is_believed() {
        let claims = Claims::try_from(claims()).expect("claims");

        let token = mint(SECRET, &claims).expect("a long secret");

        assert_eq!(hmac_key().verify(&token, NOW_MS), Ok(claims));
    }
}
