//! Tokens: which signatures are believed, and how `cowrite token` makes one.
//!
//! `jsonwebtoken` verifies the signature and nothing else; what the claims must say is decided in
//! `access`, with the time as an argument. The algorithm follows from the key that the operator
//! configured and never from the token's header, so that a public key can't be used as an HMAC
//! secret and `alg: none` means nothing.
//!
//! * this file: [`Keys`], which are all that a server believes; the issuer's key; `cowrite token`
//! * `client`: y-sweet's server token, and the client tokens that are made with it

use std::fmt;

use base64::{Engine as _, engine::general_purpose};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    crypto::rust_crypto,
    errors::{Error, ErrorKind},
};
use serde_json::Value;

pub use client::{ServerToken, ServerTokenError};

use crate::{
    access::{Claims, ClaimsError, Expected, Identity},
    id::DocumentId,
    limits::TOKEN_BYTES_MAX,
};

mod client;

/// Shortest HMAC secret, in bytes: as long as the hash of HS256 (RFC 7518, 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// Shortest RSA modulus, in bits (RFC 7518, 3.3).
pub const RSA_BITS_MIN: usize = 2_048;

/// All that a server believes; at least one of the two is there.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The key of whoever makes the tokens of an application.
    pub issuer: Option<TokenKey>,
    /// y-sweet's server token, with which client tokens are made here.
    pub server: Option<ServerToken>,
}

impl Keys {
    /// Who the holder of a token is in one document at `now_ms` (milliseconds since the Unix epoch); `None` is no access
    /// at all. The server token is no such token.
    ///
    /// # Errors
    /// [`TokenError`]; the message is for the client and never contains the token.
    pub fn identify(&self, token: &str, document: &DocumentId, now_ms: u64) -> Result<Option<Identity>, TokenError> {
        let client = self.server.as_ref().map(|server| server.verify(token, now_ms));
        match (client, &self.issuer) {
            (None | Some(Err(TokenError::Signature | TokenError::Algorithm(_))), Some(issuer)) => {
                let leeway_ms = issuer.expected.leeway_ms;
                Ok(issuer.verify(token, now_ms)?.identity(document, leeway_ms))
            }
            (Some(client), _) => Ok(client?.identity(document)),
            (None, None) => Err(TokenError::Signature),
        }
    }
}

/// The key that tokens are verified with, the algorithm that follows from it, and what `iss` and
/// `aud` must say.
#[derive(Clone)]
pub struct TokenKey {
    verifier: Verifier,
    /// What the text of the secret stands for, which some sign with.
    mistaken: Vec<Verifier>,
    expected: Expected,
}

/// A key, and the one algorithm that signatures under it have.
#[derive(Clone)]
struct Verifier {
    key: DecodingKey,
    algorithm: Algorithm,
}

impl TokenKey {
    /// HS256 with a shared secret.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`] under 32 bytes.
    pub fn from_secret(secret: &[u8], expected: Expected) -> Result<Self, KeyError> {
        check_secret(secret)?;
        Ok(Self {
            verifier: Verifier::hs256(secret),
            mistaken: decoded(secret).iter().map(|bytes| Verifier::hs256(bytes)).collect(),
            expected,
        })
    }

    /// RS256, ES256 or EdDSA (Ed25519), whichever the PEM file's one public key is for.
    ///
    /// # Errors
    /// [`KeyError`] says what is in the file instead, and how to get what should be.
    pub fn from_public_pem(pem: &[u8], expected: Expected) -> Result<Self, KeyError> {
        check_pem(pem)?;
        let (key, algorithm) = public_key(pem)?;
        Ok(Self {
            verifier: Verifier { key, algorithm },
            mistaken: Vec::new(),
            expected,
        })
    }

    /// The one `alg` that is accepted, as in a token's header.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        self.verifier.algorithm()
    }

    /// Verifies a token at `now_ms` (milliseconds since the Unix epoch): length, signature, shape
    /// of the claims, time, issuer, audience, in this order.
    ///
    /// # Errors
    /// [`TokenError`]; the message is for the client and never contains the token.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Claims, TokenError> {
        let claims = Claims::try_from(self.believe(token)?)?;
        claims.check(now_ms, &self.expected)?;
        Ok(claims)
    }

    fn believe(&self, token: &str) -> Result<Value, TokenError> {
        self.verifier.believe(token).map_err(|error| match error {
            TokenError::Signature if self.mistaken.iter().any(|key| key.believe(token).is_ok()) => {
                TokenError::DecodedSecret
            }
            error => error,
        })
    }
}

impl Verifier {
    fn hs256(secret: &[u8]) -> Self {
        Self {
            key: DecodingKey::from_secret(secret),
            algorithm: Algorithm::HS256,
        }
    }

    fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::RS256 => "RS256",
            Algorithm::ES256 => "ES256",
            Algorithm::EdDSA => "EdDSA",
            _ => "HS256",
        }
    }

    /// The payload of a token whose signature is right.
    fn believe(&self, token: &str) -> Result<Value, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong(token.len()));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| self.refusal_of_header(&error))?;
        // RFC 7515, 4.1.11: an extension that is critical and not understood makes a token invalid.
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let verified = jsonwebtoken::decode::<Value>(token, &self.key, &self.signature_only());
        Ok(verified.map_err(|error| self.refusal(&error))?.claims)
    }

    /// `jsonwebtoken` reads the clock itself and treats `aud` and `iss` as optional; [`Claims::check`]
    /// decides both instead.
    fn signature_only(&self) -> Validation {
        let mut validation = Validation::new(self.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation
    }

    fn refusal_of_header(&self, error: &Error) -> TokenError {
        match error.kind() {
            // The header is JSON whose `alg` is missing or unknown to us, `none` among others.
            ErrorKind::Json(error) if error.is_data() => TokenError::Algorithm(self.algorithm()),
            _ => TokenError::Malformed,
        }
    }

    fn refusal(&self, error: &Error) -> TokenError {
        match error.kind() {
            ErrorKind::InvalidSignature => TokenError::Signature,
            ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => TokenError::Algorithm(self.algorithm()),
            _ => TokenError::Malformed,
        }
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey")
            .field("algorithm", &self.algorithm())
            .field("expected", &self.expected)
            .finish()
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
    check_secret(secret)?;
    let token = jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(secret),
    );
    Ok(token.expect("HMAC signs with any key and claims are plain JSON"))
}

/// The bytes that a secret stands for if it is read as hex, as base64 and as base64url.
fn decoded(secret: &[u8]) -> Vec<Vec<u8>> {
    let engines = [&general_purpose::STANDARD, &general_purpose::URL_SAFE_NO_PAD];
    let base64 = engines.iter().filter_map(|engine| engine.decode(secret).ok());
    hex(secret).into_iter().chain(base64).collect()
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.chunks(2).map(|pair| match *pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

fn check_secret(secret: &[u8]) -> Result<(), KeyError> {
    if secret.len() < SECRET_BYTES_MIN {
        Err(KeyError::ShortSecret(secret.len()))
    } else {
        Ok(())
    }
}

/// `jsonwebtoken` would take certificates and private keys too, and read the wrong bytes of them.
fn check_pem(pem: &[u8]) -> Result<(), KeyError> {
    let text = str::from_utf8(pem).map_err(|_| KeyError::NotPem)?;
    let mut kinds = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    match (kinds.next(), kinds.next()) {
        (Some("PUBLIC KEY" | "RSA PUBLIC KEY"), None) => Ok(()),
        (Some("CERTIFICATE"), None) => Err(KeyError::Certificate),
        (Some(kind), None) if kind.ends_with("PRIVATE KEY") => Err(KeyError::Private),
        (Some(_), Some(_)) => Err(KeyError::Several),
        _ => Err(KeyError::NotPem),
    }
}

fn public_key(pem: &[u8]) -> Result<(DecodingKey, Algorithm), KeyError> {
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        // Building the verifier reads the point: other curves fail here and not at the first token.
        (rust_crypto::DEFAULT_PROVIDER.verifier_factory)(&Algorithm::ES256, &key).map_err(|_| KeyError::Unsupported)?;
        return Ok((key, Algorithm::ES256));
    }
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        let is_ed25519 = key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == 32);
        if !is_ed25519 || (rust_crypto::DEFAULT_PROVIDER.verifier_factory)(&Algorithm::EdDSA, &key).is_err() {
            return Err(KeyError::Unsupported);
        }
        return Ok((key, Algorithm::EdDSA));
    }
    let key = DecodingKey::from_rsa_pem(pem).map_err(|_| KeyError::Unsupported)?;
    let bits = rsa_bits(&key).ok_or(KeyError::Unsupported)?;
    if bits < RSA_BITS_MIN {
        return Err(KeyError::ShortRsa(bits));
    }
    Ok((key, Algorithm::RS256))
}

/// The length of the modulus; `None` if the bytes are no RSA key, or one above 4,096 bits.
fn rsa_bits(key: &DecodingKey) -> Option<usize> {
    let components = rust_crypto::DEFAULT_PROVIDER
        .key_utils
        .rsa_pub_components_from_public_key;
    let (modulus, _) = components(key.try_get_as_bytes().ok()?).ok()?;
    let leading_zeros = modulus.first()?.leading_zeros() as usize;
    Some(modulus.len() * 8 - leading_zeros)
}

/// Why a key cannot be used; for the operator, at start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The length in bytes.
    #[error(
        "the HMAC secret is {0} bytes long and needs at least {SECRET_BYTES_MIN}: make one with `openssl rand -hex 32`"
    )]
    ShortSecret(usize),
    /// The length in bits.
    #[error("the RSA key has {0} bits and needs at least {RSA_BITS_MIN}: make a longer one")]
    ShortRsa(usize),
    /// No PEM file with a key.
    #[error("it is not a PEM file with a `PUBLIC KEY`")]
    NotPem,
    /// More than one PEM block.
    #[error("it holds several PEM blocks: keep the one public key")]
    Several,
    /// The secret half.
    #[error("it holds a private key, which the server must not have: give it what `openssl pkey -pubout` prints")]
    Private,
    /// An X.509 certificate.
    #[error("it holds a certificate: give it what `openssl x509 -pubkey -noout` prints")]
    Certificate,
    /// A key of another kind.
    #[error("its key is none of RSA (2,048 to 4,096 bits), EC on P-256, and Ed25519")]
    Unsupported,
}

/// Why a token is refused; for its holder. Each closes with 4401.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The length in bytes.
    #[error("the token is {0} bytes long, the longest allowed is {TOKEN_BYTES_MAX}")]
    TooLong(usize),
    /// Not three parts of base64url JSON.
    #[error("the token is not a JWT: send the whole of it, unchanged")]
    Malformed,
    /// Which algorithm it must be.
    #[error("the token must be signed with {0}")]
    Algorithm(&'static str),
    /// The header names a critical extension.
    #[error("the token's header has critical extensions, and Cowrite knows none")]
    Critical,
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
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW_S: u64 = 1_800_000_000;
    const NOW_MS: u64 = NOW_S * 1_000;

    fn pem(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"))).expect("a test key")
    }

    fn hmac_key() -> TokenKey {
        TokenKey::from_secret(SECRET, Expected::default()).expect("a long secret")
    }

    fn public_key(name: &str) -> TokenKey {
        TokenKey::from_public_pem(&pem(name), Expected::default()).expect("a good key")
    }

    fn refused_pem(name: &str) -> KeyError {
        TokenKey::from_public_pem(&pem(name), Expected::default()).expect_err("a bad key")
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
        let short = TokenKey::from_secret(&SECRET[..31], Expected::default()).expect_err("too short");

        assert_eq!(short, KeyError::ShortSecret(31));
        assert_eq!(
            mint(&SECRET[..31], &Claims::try_from(claims()).expect("claims")),
            Err(short)
        );
        assert!(TokenKey::from_secret(SECRET, Expected::default()).is_ok());
    }

    #[test]
    fn t1_the_kind_of_a_public_key_is_read_from_its_pem() {
        assert_eq!(public_key("rsa2048.public").algorithm(), "RS256");
        assert_eq!(public_key("rsa2048.pkcs1.public").algorithm(), "RS256");
        assert_eq!(public_key("p256.public").algorithm(), "ES256");
        assert_eq!(public_key("ed25519.public").algorithm(), "EdDSA");
    }

    #[test]
    fn t1_other_keys_are_refused_at_start_with_their_reason() {
        let several = [pem("p256.public"), pem("ed25519.public")].concat();
        let mut cut = pem("rsa2048.public");
        cut.drain(100..200);
        let refused = |pem: &[u8]| TokenKey::from_public_pem(pem, Expected::default()).expect_err("a bad key");

        assert_eq!(refused_pem("rsa1024.public"), KeyError::ShortRsa(1_024));
        assert_eq!(refused_pem("p384.public"), KeyError::Unsupported);
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
            (hmac_key(), hs256(&claims())),
            (public_key("rsa2048.public"), signed(Algorithm::RS256, &rsa, &claims())),
            (
                public_key("rsa2048.pkcs1.public"),
                signed(Algorithm::RS256, &rsa, &claims()),
            ),
            (public_key("p256.public"), signed(Algorithm::ES256, &ec, &claims())),
            (public_key("ed25519.public"), signed(Algorithm::EdDSA, &ed, &claims())),
        ] {
            assert_eq!(key.verify(&token, NOW_MS), Ok(expected.clone()), "{}", key.algorithm());

            let changed = token.replace('.', ".e");
            assert!(key.verify(&changed, NOW_MS).is_err(), "{}", key.algorithm());
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
            general_purpose::STANDARD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
        ];
        for secret in secrets {
            let key = TokenKey::from_secret(secret.as_bytes(), Expected::default()).expect("a long secret");
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
            let token = forged(&json!({ "alg": "HS256", "typ": "JWT" }), &pem(name));

            assert_eq!(key.verify(&token, NOW_MS), Err(TokenError::Algorithm(key.algorithm())));
        }
    }

    #[test]
    fn t2_the_header_never_chooses_the_algorithm() {
        let rsa = EncodingKey::from_rsa_pem(&pem("rsa2048.private")).expect("a key");
        let hs512 = signed(Algorithm::HS512, &EncodingKey::from_secret(SECRET), &claims());
        let ps256 = signed(Algorithm::PS256, &rsa, &claims());

        assert_eq!(hmac_key().verify(&hs512, NOW_MS), Err(TokenError::Algorithm("HS256")));
        assert_eq!(
            public_key("rsa2048.public").verify(&ps256, NOW_MS),
            Err(TokenError::Algorithm("RS256"))
        );
        for header in [json!({ "alg": "none" }), json!({ "alg": "NONE" }), json!({})] {
            let token = forged(&header, SECRET);
            let (unsigned, _) = token.rsplit_once('.').expect("three parts");

            assert_eq!(hmac_key().verify(&token, NOW_MS), Err(TokenError::Algorithm("HS256")));
            assert_eq!(
                hmac_key().verify(&format!("{unsigned}."), NOW_MS),
                Err(TokenError::Algorithm("HS256"))
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
        let key = TokenKey::from_secret(SECRET, expected).expect("a long secret");
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
