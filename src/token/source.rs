//! Where a set of keys is read from: a file, or the issuer's address.

use std::{
    fmt, fs,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ureq::{
    Agent,
    http::Uri,
    tls::{Certificate, RootCerts, TlsConfig},
};

/// Longest set of keys, in bytes.
const BYTES_MAX: u64 = 512 * 1024;
/// How long the issuer may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Redirects that are followed; only https leads to https.
const REDIRECTS_MAX: u32 = 3;

/// Where a set of keys is.
#[derive(Clone)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// An address, with what asks there.
    Issuer(Box<(Uri, Agent)>),
}

impl Source {
    /// Takes an `https://` address, an `http://` address of this machine, or else the path of a file.
    ///
    /// # Errors
    /// What is wrong with the address, or with this machine's root certificates.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let uri: Uri = text.parse().map_err(|_| SourceError::Address)?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(SourceError::Address)?;
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_here(host) => false,
            Some("http") => return Err(SourceError::Insecure),
            _ => return Err(SourceError::Address),
        };
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .https_only(is_secure)
            .max_redirects(if is_secure { REDIRECTS_MAX } else { 0 })
            .user_agent(concat!("cowrite/", env!("CARGO_PKG_VERSION")))
            .accept("application/jwk-set+json, application/json");
        let config = if is_secure {
            config.tls_config(trust()?)
        } else {
            config.proxy(None)
        };
        Ok(Self::Issuer(Box::new((uri, config.build().new_agent()))))
    }

    /// Whether it is a file, which is there or not, and never down.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Reads it whole; takes up to ten seconds.
    ///
    /// # Errors
    /// [`SourceError`], for the operator.
    pub fn read(&self) -> Result<Vec<u8>, SourceError> {
        let mut bytes = Vec::new();
        match self {
            Self::File(path) => {
                let file = fs::File::open(path)?;
                file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
            }
            Self::Issuer(issuer) => {
                let (uri, agent) = &**issuer;
                let mut answer = agent.get(uri.clone()).call().map_err(failed)?;
                // An answer that leads elsewhere, where that is not followed, is no error of the library's.
                if answer.status() != 200 {
                    return Err(SourceError::Failed(format!(
                        "the issuer answered {}",
                        answer.status().as_u16()
                    )));
                }
                let body = answer.body_mut().as_reader();
                body.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
            }
        }
        if bytes.len() as u64 > BYTES_MAX {
            return Err(SourceError::TooLong);
        }
        Ok(bytes)
    }
}

/// Without what may be secret in an address: its query, and a password.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Issuer(issuer) => {
                let uri = &issuer.0;
                let scheme = uri.scheme_str().unwrap_or_default();
                let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
                write!(f, "{scheme}://{}{port}{}", uri.host().unwrap_or_default(), uri.path())
            }
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = bare
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.to_canonical().is_loopback());
    is_loopback || host == "localhost"
}

/// The root certificates of this machine, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
pub(crate) fn trust() -> Result<TlsConfig, SourceError> {
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        return Err(SourceError::NoRoots);
    }
    let roots: Vec<_> = found
        .iter()
        .map(|root| Certificate::from_der(root).to_owned())
        .collect();
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// The library's own messages may show an address with its query.
fn failed(error: ureq::Error) -> SourceError {
    let said = match error {
        ureq::Error::StatusCode(status) => format!("the issuer answered {status}"),
        ureq::Error::Timeout(_) => "the issuer did not answer in time".to_owned(),
        ureq::Error::HostNotFound => "the issuer's host is not known".to_owned(),
        ureq::Error::Io(error) => return SourceError::Io(error),
        ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed | ureq::Error::RequireHttpsOnly(_) => {
            "the issuer sent the request elsewhere".to_owned()
        }
        ureq::Error::Rustls(error) => format!("TLS failed: {error}"),
        _ => "the issuer gave no answer that HTTP allows".to_owned(),
    };
    SourceError::Failed(said)
}

/// Why a set of keys cannot be read; for the operator.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No address, or one of another kind.
    #[error("write https://host/path, or the path of a file")]
    Address,
    /// Whoever sits between could give keys of their own.
    #[error("without TLS anybody on the way could give keys: write https://, or the path of a file")]
    Insecure,
    /// Nobody can be trusted.
    #[error("this machine has no root certificates: install `ca-certificates`, or set SSL_CERT_FILE")]
    NoRoots,
    /// More than 512 KiB.
    #[error("it is longer than 512 KiB")]
    TooLong,
    /// The issuer did not give it.
    #[error("{0}")]
    Failed(String),
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t11_without_tls_only_this_machine_is_asked() {
        let said = |text: &str| Source::parse(text).map(|source| source.to_string());

        for here in ["http://127.0.0.1:8080/k", "http://[::1]/k", "http://localhost/k"] {
            assert_eq!(said(here).expect("this machine"), here);
        }
        for elsewhere in [
            "http://issuer.example/k",
            "http://127.0.0.1.example/k",
            "http://10.0.0.1/k",
        ] {
            assert!(matches!(said(elsewhere), Err(SourceError::Insecure)), "{elsewhere}");
        }
        for bad in ["ftp://issuer.example/k", "https://", "https:///k", "://"] {
            assert!(matches!(said(bad), Err(SourceError::Address)), "{bad}");
        }
        assert!(matches!(Source::parse("keys.json"), Ok(Source::File(_))));
    }

    #[test]
    fn a9_what_may_be_secret_in_an_address_is_not_shown() {
        let source = Source::parse("http://user:planted@localhost:81/k?token=planted").expect("an address");

        assert_eq!(
            format!("{source} {source:?}"),
            "http://localhost:81/k http://localhost:81/k"
        );
    }
}
