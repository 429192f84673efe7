//! What `cowrite token` is asked for, and the token that it makes of that.

use std::time::Duration;

use clap::Args;

use super::{keys::KeyArgs, values::duration};
use crate::{
    access::{Access, Claims, Expected, Grants, GrantsError, Share},
    limits::LINK_S_MAX,
    token::mint,
};

/// What `cowrite token` was asked for.
#[derive(Clone)]
pub struct TokenRequest {
    secret: String,
    expected: Expected,
    sub: String,
    name: Option<String>,
    color: Option<String>,
    documents: Vec<(String, Access)>,
    expires: Duration,
    share: Option<ShareRequest>,
}

/// What the holder may pass on.
#[derive(Clone)]
struct ShareRequest {
    documents: Vec<(String, Access)>,
    expires: Option<Duration>,
    again: bool,
}

impl TokenRequest {
    /// The signed token, valid from `now_s` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// One sentence that says which argument is wrong.
    pub fn mint(&self, now_s: u64) -> Result<String, String> {
        let documents = grants(&self.documents, "--document")?;
        let share = self.share.as_ref().map(ShareRequest::claim).transpose()?;
        let claims = Claims {
            sub: self.sub.as_str().into(),
            exp: now_s.saturating_add(self.expires.as_secs()),
            nbf: None,
            iat: Some(now_s),
            jti: None,
            iss: self.expected.issuer.clone(),
            aud: self.expected.audience.iter().cloned().collect(),
            name: self.name.as_deref().map(Into::into),
            color: self.color.as_deref().map(Into::into),
            documents,
            share,
        };
        // The same parser that will judge the token judges the arguments.
        let json = serde_json::to_value(claims).map_err(|error| error.to_string())?;
        let claims = Claims::try_from(json).map_err(|error| error.to_string())?;
        mint(self.secret.as_bytes(), &claims).map_err(|error| error.to_string())
    }
}

impl ShareRequest {
    fn claim(&self) -> Result<Share, String> {
        let documents = (!self.documents.is_empty()).then(|| grants(&self.documents, "--share-document"));
        Ok(Share {
            documents: documents.transpose()?,
            seconds: self.expires.map(|expires| expires.as_secs()),
            again: self.again,
        })
    }
}

fn grants(pairs: &[(String, Access)], flag: &str) -> Result<Grants, String> {
    Grants::new(pairs.iter().cloned()).map_err(|error| match error {
        GrantsError::Repeated => format!("two {flag} arguments have the same pattern: keep one"),
        other => other.to_string(),
    })
}

impl std::fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRequest")
            .field("sub", &self.sub)
            .field("documents", &self.documents)
            .finish_non_exhaustive()
    }
}

#[derive(Args)]
#[command(next_help_heading = "What the token says")]
pub(super) struct TokenArgs {
    /// Who the holder is; edits are remembered under this name
    #[arg(long, value_name = "SUBJECT")]
    sub: String,

    /// Name that others see at the cursor
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Colour of the cursor
    #[arg(long, value_name = "#RRGGBB")]
    color: Option<String>,

    /// Documents that the holder may edit or read (repeatable)
    #[arg(long, value_name = "PATTERN=write|read", required = true, value_parser = grant)]
    document: Vec<(String, Access)>,

    /// How long the token is valid
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    expires: Duration,

    /// The holder may share what the token opens: by links, each with a token of its own
    #[arg(long)]
    share: bool,

    /// Only these documents may be shared, and for no more than this (repeatable)
    #[arg(long, value_name = "PATTERN=write|read", requires = "share", value_parser = grant)]
    share_document: Vec<(String, Access)>,

    /// How long links may live, 30d at most [default: until the token ends]
    #[arg(long, value_name = "DURATION", requires = "share", value_parser = duration)]
    share_expires: Option<Duration>,

    /// Links may be shared again, by links that end with them
    #[arg(long, requires = "share")]
    share_again: bool,

    #[command(flatten)]
    key: KeyArgs,
}

impl TryFrom<TokenArgs> for TokenRequest {
    type Error = String;

    fn try_from(args: TokenArgs) -> Result<Self, String> {
        let expected = args.key.expected();
        let Some(secret) = args.key.secrets().next().map(str::to_owned) else {
            return Err(
                "there is no secret to sign with: set COWRITE_JWT_SECRET to the server's (with a public key, \
                        the issuer who has the private key makes the tokens)"
                    .to_owned(),
            );
        };
        if args.expires < Duration::from_secs(1) {
            return Err("--expires must be at least 1s".to_owned());
        }
        let longest = Duration::from_secs(LINK_S_MAX);
        if args
            .share_expires
            .is_some_and(|expires| expires < Duration::from_secs(1) || expires > longest)
        {
            return Err("--share-expires must be 1s to 30d: for so long revocations are remembered".to_owned());
        }
        let request = Self {
            secret,
            expected,
            sub: args.sub,
            name: args.name,
            color: args.color,
            documents: args.document,
            expires: args.expires,
            share: args.share.then_some(ShareRequest {
                documents: args.share_document,
                expires: args.share_expires,
                again: args.share_again,
            }),
        };
        request.mint(0)?;
        Ok(request)
    }
}

fn grant(text: &str) -> Result<(String, Access), String> {
    match text.rsplit_once('=') {
        Some((pattern, "write")) => Ok((pattern.to_owned(), Access::Write)),
        Some((pattern, "read")) => Ok((pattern.to_owned(), Access::Read)),
        _ => Err("write PATTERN=write or PATTERN=read".to_owned()),
    }
}
