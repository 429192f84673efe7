//! What the nodes of one cluster know and nobody else does.

use std::{fmt, sync::Arc};

use jsonwebtoken::{Algorithm, EncodingKey};
use subtle::ConstantTimeEq;

use crate::token::SECRET_BYTES_MIN;

/// The cluster's secret. It is never sent: a node proves that it has it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret(Arc<str>);

impl ClusterSecret {
    /// Takes the secret that an operator chose.
    ///
    /// # Errors
    /// A sentence that says what to do, when it has less than 32 bytes.
    pub fn parse(secret: &str) -> Result<Self, String> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "it is {} bytes long and needs at least {SECRET_BYTES_MIN}: make one with `openssl rand -hex 32`, the same for \
                 all nodes",
                secret.len()
            ));
        }
        Ok(Self(secret.into()))
    }

    /// Proves that whoever says `words` has the secret: HMAC-SHA256, as text.
    ///
    /// # Panics
    /// Never: HMAC takes a key of any length.
    #[must_use]
    pub fn proof(&self, words: &str) -> String {
        let key = EncodingKey::from_secret(self.0.as_bytes());
        let proof = jsonwebtoken::crypto::sign(words.as_bytes(), &key, Algorithm::HS256);
        proof.expect("HMAC signs with any key")
    }

    /// Whether `proof` is that of `words`; takes the same time however much of it is right.
    #[must_use]
    pub fn is_proven(&self, words: &str, proof: &str) -> bool {
        self.proof(words).as_bytes().ct_eq(proof.as_bytes()).into()
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n1_a_secret_is_long_and_never_shown() {
        let secret = "0123456789abcdef0123456789abcdef";
        let parsed = ClusterSecret::parse(secret).expect("32 bytes");

        assert!(!format!("{parsed:?}").contains("0123"));
        let told = ClusterSecret::parse(&secret[1..]).expect_err("31 bytes");
        assert!(told.contains("openssl rand -hex 32"), "{told}");
        assert!(!told.contains("1234"), "{told}");
    }

    #[test]
    fn n4_a_proof_is_of_these_words_and_this_secret() {
        let [ours, theirs] = ["a", "b"].map(|letter| ClusterSecret::parse(&letter.repeat(32)).expect("32 bytes"));

        assert!(ours.is_proven("words", &ours.proof("words")));
        assert!(!ours.is_proven("words", &ours.proof("word")));
        assert!(!ours.is_proven("words", &theirs.proof("words")));
        assert!(!ours.is_proven("words", ""));
    }
}
