//! What a token is before its signature is believed. The first byte says how the rest becomes one.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cowrite::{
    access::Expected,
    id::DocumentId,
    token::{Issuer, Keys, LinkKeys, ServerToken, TokenKey},
};

const NOW_MS: u64 = 1_800_000_000_250;
/// A character that no token and no message of ours has.
const SECRET: &str = "\u{2603}";

static KEYS: LazyLock<[Keys; 2]> = LazyLock::new(|| {
    let secret = TokenKey::from_secret(b"a secret that no input holds, ever");
    let pem = include_bytes!("../../tests/keys/p256.public.pem");
    let public = TokenKey::from_public_pem(pem);
    let server = ServerToken::parse("server-token-that-no-input-holds-ever").expect("a long token");
    let issuer = |key| Some(Issuer::new(vec![key], None, Expected::default()));
    [
        Keys {
            issuer: issuer(secret.expect("a long secret")),
            server: Some(server),
            links: LinkKeys::new(["a secret of links that no input holds"]).expect("a long secret"),
        },
        Keys {
            issuer: issuer(public.expect("a good key")),
            server: None,
            links: None,
        },
    ]
});

/// Nobody is let in without the secret, and no message holds what was sent.
pub fn token(input: &[u8]) {
    let Some((&how, rest)) = input.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let token = match how % 3 {
        0 => text.to_owned(),
        1 => format!("{text}{SECRET}"),
        _ => {
            let parts = text.split('\n').map(|part| URL_SAFE_NO_PAD.encode(part));
            parts.collect::<Vec<_>>().join(".")
        }
    };
    let notes = DocumentId::parse("notes").expect("a name");
    for keys in KEYS.iter() {
        let refused = keys.identify(&token, &notes, NOW_MS).expect_err("nobody signed this");
        assert!(!refused.to_string().contains(SECRET));
    }
}
