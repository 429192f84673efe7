//! Who may connect: the keys that tokens are checked with, from secrets, files and addresses.

use std::time::Duration;

use clap::Args;

use super::{Admission, values::duration};
use crate::{
    access::Expected,
    token::{Issuer, Jwks, KeyError, Keys, LinkKeys, ServerToken, Source, TokenKey},
};

#[derive(Args)]
#[command(next_help_heading = "Who may connect")]
pub(super) struct KeyArgs {
    /// Secret of 32 bytes or more that tokens are signed with (HS256); `openssl rand -hex 32` makes
    /// one. Repeatable, or one a line: each is tried, and `cowrite token` signs with the first. Other users of the machine
    /// see flags: prefer the variable
    #[arg(
        long,
        env = "COWRITE_JWT_SECRET",
        hide_env_values = true,
        value_name = "SECRET",
        value_delimiter = '\n'
    )]
    jwt_secret: Vec<String>,

    /// Tokens must have this `iss`
    #[arg(long, env = "COWRITE_JWT_ISSUER", hide_env_values = true, value_name = "TEXT")]
    jwt_issuer: Option<String>,

    /// Tokens must have this in their `aud`
    #[arg(long, env = "COWRITE_JWT_AUDIENCE", hide_env_values = true, value_name = "TEXT")]
    jwt_audience: Option<String>,

    /// How far the clocks of the issuer and of the server may differ
    #[arg(long, env = "COWRITE_JWT_LEEWAY", hide_env_values = true, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    jwt_leeway: Duration,
}

/// What a server knows tokens by.
#[derive(Args)]
#[command(next_help_heading = "Who may connect")]
pub(super) struct KeysArgs {
    #[command(flatten)]
    key: KeyArgs,

    /// Secret of 32 bytes or more that links are signed with which holders of a `share` claim make: all servers of one database
    /// have the same. Repeatable, or one a line: all are believed, and the first signs. Prefer the variable [default:
    /// derived from --jwt-secret, else from --server-token]
    #[arg(
        long,
        env = "COWRITE_SHARE_SECRET",
        hide_env_values = true,
        value_name = "SECRET",
        value_delimiter = '\n'
    )]
    share_secret: Vec<String>,

    /// PEM file with a public key of the issuer: RSA (RS256), P-256 (ES256), P-384 (ES384) or Ed25519 (EdDSA). Repeatable,
    /// or with commas; with the key's `kid` before it, only tokens of that `kid`, and those without one, may use it
    #[arg(
        long,
        env = "COWRITE_JWT_PUBLIC_KEY",
        hide_env_values = true,
        value_name = "[KID=]FILE",
        value_delimiter = ','
    )]
    jwt_public_key: Vec<String>,

    /// The issuer's set of public keys (JWKS): https://HOST/PATH, or a file. It is read again as --jwks-refresh says, and
    /// when a token names a key that is not in it
    #[arg(long, env = "COWRITE_JWKS", hide_env_values = true, value_name = "URL|FILE")]
    jwks: Option<String>,

    /// How often the set of keys is read again
    #[arg(long, env = "COWRITE_JWKS_REFRESH", hide_env_values = true, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    jwks_refresh: Duration,

    /// Token of 32 characters or more that y-sweet's SDK shows: `ys://TOKEN@host`. It opens every document; `openssl rand
    /// -hex 32` makes one. Other users of the machine see flags: prefer the variable
    #[arg(long, env = "COWRITE_SERVER_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    server_token: Option<String>,
}

impl KeyArgs {
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        lines(&self.jwt_secret)
    }

    pub(super) fn expected(&self) -> Expected {
        Expected {
            issuer: self.jwt_issuer.clone(),
            audience: self.jwt_audience.clone(),
            leeway_ms: self.jwt_leeway.as_millis() as u64,
        }
    }
}

/// The secrets of a setting; the end of a file's last line is none.
fn lines(secrets: &[String]) -> impl Iterator<Item = &str> {
    let is_one = secrets.len() == 1;
    let all = secrets.iter().map(|secret| secret.trim_end_matches('\r'));
    all.filter(move |secret| is_one || !secret.is_empty())
}

impl KeysArgs {
    /// Who may connect.
    ///
    /// # Errors
    /// What is wrong with the keys, or with one beside another.
    pub(super) fn admission(&self) -> Result<Admission, String> {
        let server_token = self.server_token.as_deref();
        if self.key.secrets().any(|secret| Some(secret) == server_token) {
            return Err(
                "--jwt-secret and --server-token are the same: the second one travels, choose another".to_owned(),
            );
        }
        let issuer = self.issuer()?;
        let server = server_token.map(ServerToken::parse).transpose();
        let server = server.map_err(|error| format!("--server-token: {error}"))?;
        let links = self.links()?;
        match (issuer, server) {
            (None, None) if !self.share_secret.is_empty() => Err(
                "--share-secret signs links for holders of tokens, and this server asks for none: set \
                 COWRITE_JWT_SECRET, COWRITE_JWT_PUBLIC_KEY or COWRITE_JWKS"
                    .to_owned(),
            ),
            (None, None) => Ok(Admission::Open),
            (issuer, server) => Ok(Admission::Tokens(Keys { issuer, server, links })),
        }
    }

    /// What links are signed with: what was chosen for that, or else what is there.
    fn links(&self) -> Result<Option<LinkKeys>, String> {
        let links = match &self.server_token {
            _ if !self.share_secret.is_empty() => LinkKeys::new(lines(&self.share_secret)),
            Some(server_token) if self.key.secrets().next().is_none() => LinkKeys::new([server_token.as_str()]),
            _ => LinkKeys::new(self.key.secrets()),
        };
        links.map_err(|error| format!("--share-secret: {error}"))
    }

    /// Whose tokens are believed; `None` without a key.
    fn issuer(&self) -> Result<Option<Issuer>, String> {
        let expected = self.key.expected();
        let is_constrained = expected.issuer.is_some() || expected.audience.is_some();
        let secrets = self.key.secrets().map(|secret| {
            TokenKey::from_secret(secret.as_bytes()).map_err(|error: KeyError| format!("--jwt-secret: {error}"))
        });
        let files = self.jwt_public_key.iter().map(|file| public_key(file));
        let keys = secrets.chain(files).collect::<Result<Vec<_>, _>>()?;
        if self.jwks_refresh < Duration::from_secs(1) {
            return Err("--jwks-refresh must be at least 1s".to_owned());
        }
        let set = self.jwks.as_deref().map(|set| {
            let named = |error: &dyn std::fmt::Display| format!("--jwks: {error}");
            let source = Source::parse(set).map_err(|error| named(&error))?;
            Jwks::new(source, self.jwks_refresh).map_err(|error| named(&format!("{set}: {error}")))
        });
        let set = set.transpose()?;
        match keys.is_empty() && set.is_none() {
            true if is_constrained => Err(
                "--jwt-issuer and --jwt-audience need a key: set COWRITE_JWT_SECRET, COWRITE_JWT_PUBLIC_KEY or \
                 COWRITE_JWKS"
                    .to_owned(),
            ),
            true => Ok(None),
            false => Ok(Some(Issuer::new(keys, set, expected))),
        }
    }
}

/// Reads `FILE` or `KID=FILE`. A path with `=` in its first part is written `./…`.
fn public_key(text: &str) -> Result<TokenKey, String> {
    let (id, file) = match text.split_once('=') {
        Some((id, file)) if !id.is_empty() && !id.contains('/') => (Some(id.to_owned()), file),
        _ => (None, text),
    };
    let named = |error: &dyn std::fmt::Display| format!("--jwt-public-key {file}: {error}");
    let pem = std::fs::read(file).map_err(|error| named(&error))?;
    let key = TokenKey::from_public_pem(&pem).map_err(|error| named(&error))?;
    Ok(key.named(id))
}
