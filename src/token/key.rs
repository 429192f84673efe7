//! One key, and the one algorithm that it is for.

use std::fmt;

use base64::{Engine as _, engine::general_purpose};
use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, Validation,
    crypto::rust_crypto,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde_json::Value;

use super::{SECRET_BYTES_MIN, TokenError, header, refusal};

/// Shortest and longest RSA modulus, in bits (RFC 7518, 3.3; longer ones take long).
const RSA_BITS_MIN: usize = 2_048;
const RSA_BITS_MAX: usize = 4_096;

/// A key of an issuer.
#[derive(Clone)]
pub struct TokenKey {
    id: Option<Box<str>>,
    verifier: Verifier,
    /// What the text of the secret stands for, which some sign with.
    mistaken: Vec<Verifier>,
}

/// A key, and the one algorithm that signatures under it have.
#[derive(Clone)]
pub(super) struct Verifier {
    pub key: DecodingKey,
    pub algorithm: Algorithm,
}

impl TokenKey {
    /// HS256 with a shared secret.
    ///
    /// # Errors
    /// [`KeyError::ShortSecret`] under 32 bytes.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        check_secret(secret)?;
        Ok(Self {
            id: None,
            verifier: Verifier::hs256(secret),
            mistaken: decoded(secret).iter().map(|bytes| Verifier::hs256(bytes)).collect(),
        })
    }

    /// RS256, ES256, ES384 or EdDSA (Ed25519), whichever the PEM file's one public key is for.
    ///
    /// # Errors
    /// [`KeyError`] says what is in the file instead, and how to get what should be.
    pub fn from_public_pem(pem: &[u8]) -> Result<Self, KeyError> {
        check_pem(pem)?;
        let (key, algorithm) = public_key(pem)?;
        Ok(Self::new(key, algorithm))
    }

    /// The algorithm of a JWK, or else the usual one of its kind: RS256 for RSA.
    ///
    /// # Errors
    /// [`KeyError`] says why it cannot be used. Only public keys can.
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        const PRIVATE: [&str; 2] = ["d", "p"];
        if PRIVATE.iter().any(|field| jwk.get(field).is_some()) {
            return Err(KeyError::Private);
        }
        let jwk: Jwk = serde_json::from_value(jwk.clone()).map_err(|_| KeyError::NotJwk)?;
        let is_for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let operations = jwk.common.key_operations.as_deref();
        let verifies = operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !is_for_signatures || !verifies {
            return Err(KeyError::OtherUse);
        }
        let algorithm = algorithm_of(&jwk)?;
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| KeyError::NotJwk)?;
        if let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() {
            check_rsa(bits(n), e)?;
        } else {
            check_point(&key, algorithm)?;
        }
        Ok(Self::new(key, algorithm).named(jwk.common.key_id))
    }

    fn new(key: DecodingKey, algorithm: Algorithm) -> Self {
        Self {
            id: None,
            verifier: Verifier { key, algorithm },
            mistaken: Vec::new(),
        }
    }

    /// The same key under this `kid`.
    #[must_use]
    pub fn named(self, id: Option<String>) -> Self {
        let id = id.map(String::into_boxed_str);
        Self { id, ..self }
    }

    /// The `kid` of tokens that are signed with it, if that is known.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The one `alg` that is accepted.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.verifier.algorithm
    }

    /// The payload of a token whose signature is right.
    pub(super) fn believe(&self, token: &str) -> Result<Value, TokenError> {
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

    /// The payload of a token whose signature is right.
    pub fn believe(&self, token: &str) -> Result<Value, TokenError> {
        let algorithms = || format!("{:?}", self.algorithm);
        header(token, algorithms)?;
        let verified = jsonwebtoken::decode::<Value>(token, &self.key, &self.signature_only());
        Ok(verified.map_err(|error| refusal(&error, algorithms))?.claims)
    }

    /// `jsonwebtoken` reads the clock itself and treats `aud` and `iss` as optional;
    /// [`crate::access::Claims::check`] decides both instead.
    fn signature_only(&self) -> Validation {
        let mut validation = Validation::new(self.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm())
            .finish()
    }
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

pub(super) fn check_secret(secret: &[u8]) -> Result<(), KeyError> {
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
        let fits = |algorithm: &Algorithm| check_point(&key, *algorithm).is_ok();
        let algorithm = [Algorithm::ES256, Algorithm::ES384].into_iter().find(fits);
        return Ok((key.clone(), algorithm.ok_or(KeyError::Unsupported)?));
    }
    if let Ok(key) = DecodingKey::from_ed_pem(pem) {
        check_point(&key, Algorithm::EdDSA)?;
        return Ok((key, Algorithm::EdDSA));
    }
    let key = DecodingKey::from_rsa_pem(pem).map_err(|_| KeyError::Unsupported)?;
    let components = rust_crypto::DEFAULT_PROVIDER
        .key_utils
        .rsa_pub_components_from_public_key;
    let bytes = key.try_get_as_bytes().map_err(|_| KeyError::Unsupported)?;
    let (modulus, exponent) = components(bytes).map_err(|_| KeyError::Unsupported)?;
    check_rsa(bits(&modulus), &exponent)?;
    Ok((key, Algorithm::RS256))
}

/// Building the verifier reads the point: another curve fails here and not at the first token.
fn check_point(key: &DecodingKey, algorithm: Algorithm) -> Result<(), KeyError> {
    let is_ed25519 = || key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == 32);
    if algorithm == Algorithm::EdDSA && !is_ed25519() {
        return Err(KeyError::Unsupported);
    }
    let verifier = (rust_crypto::DEFAULT_PROVIDER.verifier_factory)(&algorithm, key);
    verifier.map(drop).map_err(|_| KeyError::Unsupported)
}

fn check_rsa(bits: usize, exponent: &[u8]) -> Result<(), KeyError> {
    let is_odd = exponent.last().is_some_and(|last| last % 2 == 1);
    match bits {
        ..RSA_BITS_MIN => Err(KeyError::ShortRsa(bits)),
        // With the exponent 1 every signature is its own message.
        RSA_BITS_MIN..=RSA_BITS_MAX if is_odd && exponent.len() <= 4 && exponent != [1] => Ok(()),
        _ => Err(KeyError::Unsupported),
    }
}

/// The length of a number, in bits.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = &number[zeros..];
    let first = number.first().map_or(0, |first| first.leading_zeros() as usize);
    number.len() * 8 - first
}

/// The one algorithm of a JWK: what it says, if that fits its kind.
fn algorithm_of(jwk: &Jwk) -> Result<Algorithm, KeyError> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let fitting: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[ES384],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[EdDSA],
        AlgorithmParameters::OctetKey(_) => return Err(KeyError::Symmetric),
        _ => return Err(KeyError::Unsupported),
    };
    match jwk.common.key_algorithm {
        None => Ok(fitting[0]),
        Some(said) => fitting
            .iter()
            .copied()
            .find(|algorithm| KeyAlgorithm::from(*algorithm) == said)
            .ok_or(KeyError::Unsupported),
    }
}

/// Why a key cannot be used; for the operator.
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
    #[error("it holds several PEM blocks: keep the one public key, and name further files with further flags")]
    Several,
    /// The secret half.
    #[error("it holds a private key, which the server must not have: give it what `openssl pkey -pubout` prints")]
    Private,
    /// An X.509 certificate.
    #[error("it holds a certificate: give it what `openssl x509 -pubkey -noout` prints")]
    Certificate,
    /// A key of another kind.
    #[error(
        "its key is none of RSA (2,048 to 4,096 bits), EC on P-256 or P-384, and Ed25519, with an algorithm that fits"
    )]
    Unsupported,
    /// Not the fields of a JWK.
    #[error("it is no JWK")]
    NotJwk,
    /// A JWK for encryption.
    #[error("it is not for verifying signatures")]
    OtherUse,
    /// A JWK with a shared secret.
    #[error("it is a shared secret, and a set of keys is public: set COWRITE_JWT_SECRET instead")]
    Symmetric,
}
