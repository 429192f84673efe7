//! TLS for servers without a proxy: a certificate and its key from two files, which may change while the server runs.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use actix_web::rt::{net::TcpStream, time::timeout};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::http::socket::{Carrier, Socket};

/// How long a peer may take for its handshake: as long as for a request.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A certificate, its key, and what speaks TLS with them.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    /// The hash of what was read last, good or bad; `None` if it could not be read.
    read: Mutex<Option<u64>>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What the files hold.
#[derive(Hash)]
struct Texts {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Texts {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }
}

/// What new connections are shown.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Tls {
    /// Reads a certificate with its chain, and its key, both PEM.
    ///
    /// # Errors
    /// [`TlsError`] says which file is wrong, and how.
    ///
    /// # Panics
    /// Never: the provider has ciphers for both versions of TLS.
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<Arc<Self>, TlsError> {
        let files = Files { certificate, key };
        let texts = files.read()?;
        let certified = files.certified(&texts)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(Self {
            files,
            current,
            config: Arc::new(config),
            read: Mutex::new(Some(texts.hash())),
        }))
    }

    /// Reads the files again. What cannot be used is said once, and changes nothing.
    pub fn reload(&self) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = self.files.read();
        let hash = texts.as_ref().ok().map(Texts::hash);
        if std::mem::replace(&mut *read, hash) == hash {
            return;
        }
        let loaded = texts.and_then(|texts| self.files.certified(&texts));
        match loaded {
            Ok(certified) => {
                *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
                log::info!("a new TLS certificate is in use");
            }
            Err(error) => log::error!("{error}; the certificate of before is kept until both files are good"),
        }
    }

    /// Does the handshake of a new connection.
    ///
    /// # Errors
    /// The peer speaks no TLS, or none that is good enough, or is slow.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<Socket> {
        let acceptor = TlsAcceptor::from(self.config.clone());
        let session = timeout(HANDSHAKE, acceptor.accept(Carrier::new(tcp))).await??;
        Ok(Socket::Tls(Box::new(session)))
    }
}

impl Files {
    fn read(&self) -> Result<Texts, TlsError> {
        let read = |flag, path: &PathBuf| {
            fs::read(path).map_err(|error| TlsError::Wrong(flag, path.clone(), error.to_string()))
        };
        Ok(Texts {
            certificate: read("--tls-cert", &self.certificate)?,
            key: read("--tls-key", &self.key)?,
        })
    }

    fn certified(&self, Texts { certificate, key }: &Texts) -> Result<CertifiedKey, TlsError> {
        let wrong = |flag, path: &Path, what: &str| TlsError::Wrong(flag, path.to_owned(), what.to_owned());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain =
            chain.ok_or_else(|| wrong("--tls-cert", &self.certificate, "it is no PEM file with a CERTIFICATE"))?;
        let no_key = || wrong("--tls-key", &self.key, "it is no PEM file with a PRIVATE KEY");
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| no_key())?;
        let provider: CryptoProvider = ring::default_provider();
        CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => wrong("--tls-key", &self.key, "it is not the key of the certificate"),
            rustls::Error::InvalidCertificate(_) => wrong("--tls-cert", &self.certificate, "its certificate is broken"),
            _ => wrong(
                "--tls-key",
                &self.key,
                "its key is none of RSA, EC (P-256, P-384) and Ed25519",
            ),
        })
    }
}

/// Why there is no TLS; for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// Which setting, which file, what is wrong with it.
    #[error("{0} {path}: {2}", path = .1.display())]
    Wrong(&'static str, PathBuf, String),
}
