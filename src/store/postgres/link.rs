//! The way to the database: its URL, TLS, connections and time limits.
//!
//! All of it runs on one thread; whoever asks waits for an answer ([`Engine::run`]). What takes longer than its limit has
//! an unknown outcome: its connection is dropped, and no statement is ever cancelled, since a commit whose wait for a
//! standby was cancelled calls itself done.
//!
//! What a dropped connection was busy with goes on in the database, and may still succeed: a database that is slow for a
//! while loses nothing by that. Of those a few may remain; the oldest are ended as new connections are made. Nobody hears
//! the answer of a process that is ended.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    path::Path,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use deadpool_postgres::{
    ClientWrapper, Connect, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
    StatementCache,
};
use futures_util::future::BoxFuture;
use percent_encoding::percent_decode_str;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Error, config::Host, config::SslMode, config::TargetSessionAttrs, error::Severity,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::StoreError;

/// How long anything may take before its connection is given up, beside the time for its bytes.
pub const LIMIT: Duration = Duration::from_secs(15);
/// So many bytes a second a database takes, and gives, at the slowest.
const BYTES_PER_SECOND: f64 = 1_000_000.0;
/// For so many limits the database waits in a transaction for the next statement: one of 32 MiB takes two and a half.
const IDLE_LIMITS: u32 = 4;
/// So many connections that were given up may still be busy in the database.
pub const LEFT_MAX: usize = 8;
/// How long a connection is used: a new one finds a database that has moved, and balances again.
const LIFETIME: Duration = Duration::from_secs(9 * 60);

/// Where a database is, and how it is trusted.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    config: Box<Config>,
    tls: Option<Trust>,
    label: String,
}

/// Whose certificates are good.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trust {
    /// Anybody's: encrypted, and no more (`prefer` and `require`, as in libpq).
    Anybody,
    /// Those that the system trusts.
    System,
    /// Those that are signed by one in this file.
    File(String),
}

impl DatabaseUrl {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=...`.
    ///
    /// # Errors
    /// A sentence that says what is wrong, without the password.
    pub fn parse(url: &str) -> Result<Self, String> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err("a database is given as postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned());
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut kept, mut mode, mut file) = (Vec::new(), "prefer".to_owned(), None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = || percent_decode_str(value).decode_utf8_lossy().into_owned();
            match key {
                "sslmode" => mode = decoded(),
                "sslrootcert" => file = Some(decoded()),
                _ => kept.push(pair),
            }
        }
        let trust = match (mode.as_str(), file) {
            ("disable", _) => None,
            ("prefer" | "require" | "verify-ca" | "verify-full", Some(file)) if file != "system" => {
                Some(Trust::File(file))
            }
            ("verify-ca" | "verify-full", _) | (_, Some(_)) => Some(Trust::System),
            ("prefer" | "require", None) => Some(Trust::Anybody),
            (other, None) => {
                return Err(format!(
                    "the database's sslmode {other} is none: it is disable, prefer, require, verify-ca or verify-full"
                ));
            }
        };
        let mut config = Config::from_str(&format!("{base}?{}", kept.join("&")))
            .map_err(|error| format!("the database's URL cannot be read: {}", said(&error)))?;
        if config.get_hosts().is_empty() {
            return Err("the database's URL names no host".to_owned());
        }
        config
            .ssl_mode(match (&trust, mode.as_str()) {
                (None, _) => SslMode::Disable,
                (Some(_), "prefer") => SslMode::Prefer,
                (Some(_), _) => SslMode::Require,
            })
            .tcp_user_timeout(LIMIT)
            .keepalives_idle(Duration::from_secs(30));
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        if config.get_application_name().is_none() {
            config.application_name("cowrite");
        }
        if config.get_hosts().len() > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let label = label(&config);
        Ok(Self {
            config: Box::new(config),
            tls: trust,
            label,
        })
    }

    /// Host and database, for people; no password.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    fn connector(&self) -> Result<Connector, StoreError> {
        let tls = self.tls.as_ref().map(Trust::client).transpose();
        let tls = tls.map_err(|why| StoreError::Unusable(format!("TLS to {}: {why}", self.label)))?;
        Ok(Connector {
            tls,
            warnings: Arc::default(),
        })
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label)
    }
}

fn label(config: &Config) -> String {
    let host = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    };
    let hosts: Vec<String> = config.get_hosts().iter().map(host).collect();
    let ports: Vec<String> = config.get_ports().iter().map(u16::to_string).collect();
    let name = config.get_dbname().or(config.get_user()).unwrap_or_default();
    let ports = if ports.is_empty() {
        String::new()
    } else {
        format!(":{}", ports.join(","))
    };
    format!("postgres://{}{ports}/{name}", hosts.join(","))
}

impl Trust {
    fn client(&self) -> Result<MakeRustlsConnect, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = match self {
            Self::Anybody => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
                .with_no_client_auth(),
            Self::System | Self::File(_) => builder.with_root_certificates(self.roots()?).with_no_client_auth(),
        };
        Ok(MakeRustlsConnect::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        if let Self::File(file) = self {
            let read = |error| format!("{file} cannot be read as certificates (PEM): {error}");
            for certificate in
                CertificateDer::pem_file_iter(Path::new(file)).map_err(|error| read(error.to_string()))?
            {
                let certificate = certificate.map_err(|error| read(error.to_string()))?;
                roots.add(certificate).map_err(|error| read(error.to_string()))?;
            }
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if roots.is_empty() {
            return Err("there are no certificates to trust: name a file with sslrootcert".to_owned());
        }
        Ok(roots)
    }
}

/// Checks that the peer has the key of its certificate, whoever it is.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Makes connections, and counts what the database warns of on them.
#[derive(Clone)]
struct Connector {
    tls: Option<MakeRustlsConnect>,
    warnings: Arc<AtomicU64>,
}

impl Connect for Connector {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        let config = config.clone();
        Box::pin(async move {
            match &self.tls {
                Some(tls) => {
                    let (client, connection) = config.connect(tls.clone()).await?;
                    Ok((client, drive(connection, self.warnings.clone())))
                }
                None => {
                    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
                    Ok((client, drive(connection, self.warnings.clone())))
                }
            }
        })
    }
}

fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, warnings: Arc<AtomicU64>) -> JoinHandle<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) if notice.parsed_severity() == Some(Severity::Warning) => {
                    log::warn!("the database warns: {}", notice.message());
                    warnings.fetch_add(1, Ordering::SeqCst);
                }
                Ok(_) => {}
                Err(error) => return log::debug!("a connection to the database has ended: {}", said(&error)),
            }
        }
    })
}

/// A thread that connections live on.
pub struct Engine {
    handle: Handle,
    stop: Mutex<Option<oneshot::Sender<()>>>,
}

impl Engine {
    /// Starts it.
    ///
    /// # Errors
    /// The system's, when it gives no more threads.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name("database".to_owned()).spawn(move || {
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self {
            handle,
            stop: Mutex::new(Some(stop)),
        })
    }

    /// Runs `work` there and waits for it, wherever this is called.
    ///
    /// # Errors
    /// When it panicked, or the engine was stopped.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // Who does not wait any more needs no answer.
            let _ = sender.send(work.await);
        });
        let gone = |_| StoreError::Unusable("the thread of the database has ended".to_owned());
        receiver.recv().map_err(gone)?
    }

    /// Runs `work` there until the engine is stopped.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(work));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.stop.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A process of the database; its number is given again when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    started: SystemTime,
}

/// Who serves the connections of one [`Links`].
#[derive(Default)]
struct Processes {
    /// By the one thing of a connection that nothing else shares.
    serve: Vec<(Weak<StatementCache>, Process)>,
    /// Those whose connection was given up, oldest first.
    left: VecDeque<Process>,
}

impl Processes {
    fn serves(&mut self, client: &ClientWrapper, process: Process) {
        self.serve.retain(|(cache, _)| cache.strong_count() > 0);
        self.serve.push((Arc::downgrade(&client.statement_cache), process));
    }

    fn leave(&mut self, client: &ClientWrapper) {
        let key = Arc::as_ptr(&client.statement_cache);
        let known = self.serve.iter().find(|(cache, _)| cache.as_ptr() == key);
        self.left.extend(known.map(|(_, process)| *process));
    }

    /// Those that are to be ended.
    fn too_many(&mut self) -> Vec<Process> {
        let more = self.left.len().saturating_sub(LEFT_MAX);
        self.left.drain(..more).collect()
    }
}

/// What every connection begins with.
async fn begin(
    client: &ClientWrapper,
    settings: &str,
    processes: &Mutex<Processes>,
    limit: Duration,
) -> Result<(), Error> {
    let idle = format!(
        "set idle_in_transaction_session_timeout = {}",
        (limit * IDLE_LIMITS).as_millis()
    );
    client.batch_execute(&format!("{settings}; {idle}")).await?;
    let serves = client.query_one(PROCESS, &[]).await?;
    let process = Process {
        pid: serves.get(0),
        started: serves.get(1),
    };
    let ends = {
        let mut processes = lock(processes);
        processes.serves(client, process);
        processes.too_many()
    };
    if !ends.is_empty() {
        let (pids, started): (Vec<i32>, Vec<SystemTime>) = ends.iter().map(|end| (end.pid, end.started)).unzip();
        if let Err(error) = client.query(END, &[&pids, &started]).await {
            log::warn!("connections that were given up could not be ended: {}", said(&error));
        }
    }
    Ok(())
}

fn lock(processes: &Mutex<Processes>) -> MutexGuard<'_, Processes> {
    processes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Time that has run out.
pub struct Late(Duration);

/// Connections to one database.
pub struct Links {
    /// One for each lane.
    lanes: Pool,
    /// For everything else.
    others: Pool,
    warnings: Arc<AtomicU64>,
    /// Connections that were made.
    made: Arc<AtomicU64>,
    processes: Arc<Mutex<Processes>>,
    label: String,
    limit: Duration,
}

/// A connection that is in use.
pub struct Link {
    object: Object,
    warned: u64,
}

impl std::ops::Deref for Link {
    type Target = Object;

    fn deref(&self) -> &Self::Target {
        &self.object
    }
}

impl Link {
    /// For a transaction of several statements.
    pub fn client(&mut self) -> &mut Object {
        &mut self.object
    }
}

/// Why something did not work, before it is an error of the store.
pub enum Trouble {
    /// No connection, or one that broke: the outcome is unknown.
    Lost(String),
    /// The database refused; nothing of the statement is stored.
    Refused(Box<tokio_postgres::error::DbError>),
}

impl Links {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when certificates cannot be read.
    pub fn new(url: &DatabaseUrl, lanes: usize, others: usize, limit: Duration) -> Result<Self, StoreError> {
        let connector = url.connector()?;
        let processes = Arc::<Mutex<Processes>>::default();
        let made = Arc::<AtomicU64>::default();
        let pool = |size, settings: &'static str| {
            let recycling_method = RecyclingMethod::Fast;
            let manager = Manager::from_connect(
                (*url.config).clone(),
                connector.clone(),
                ManagerConfig { recycling_method },
            );
            let (processes, made) = (processes.clone(), made.clone());
            let begins = Hook::async_fn(move |client: &mut ClientWrapper, _| {
                made.fetch_add(1, Ordering::SeqCst);
                let processes = processes.clone();
                Box::pin(async move {
                    begin(client, settings, &processes, limit)
                        .await
                        .map_err(HookError::Backend)
                })
            });
            Pool::builder(manager)
                .max_size(size)
                .runtime(Runtime::Tokio1)
                .wait_timeout(Some(limit))
                .create_timeout(Some(limit))
                .recycle_timeout(Some(limit))
                .post_create(begins)
                .build()
                .map_err(|error| StoreError::Unusable(error.to_string()))
        };
        Ok(Self {
            lanes: pool(lanes, LANE_SESSION)?,
            others: pool(others, SESSION)?,
            warnings: connector.warnings,
            made,
            processes,
            label: url.label.clone(),
            limit,
        })
    }

    /// Host and database.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How many connections were made so far: at the other end of one that is older is the same database.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    /// A connection for a commit.
    pub async fn lane(&self) -> Result<Link, Trouble> {
        self.link(&self.lanes).await
    }

    /// A connection for anything else.
    pub async fn other(&self) -> Result<Link, Trouble> {
        self.link(&self.others).await
    }

    async fn link(&self, pool: &Pool) -> Result<Link, Trouble> {
        loop {
            let object = pool.get().await.map_err(|error| match error {
                PoolError::Backend(error) => Trouble::Lost(said(&error)),
                PoolError::Timeout(_) => Trouble::Lost("it does not answer".to_owned()),
                other => Trouble::Lost(other.to_string()),
            })?;
            if Object::metrics(&object).age() < LIFETIME {
                let warned = self.warnings.load(Ordering::SeqCst);
                return Ok(Link { object, warned });
            }
            drop(Object::take(object));
        }
    }

    /// Work with its time limit.
    pub async fn limited<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<Result<T, Error>, Late> {
        self.limited_for(0, work).await
    }

    /// Work that moves so many bytes, with its time limit.
    pub async fn limited_for<T>(
        &self,
        bytes: usize,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, Late> {
        let limit = self.limit_for(bytes);
        timeout(limit, work).await.map_err(|_| Late(limit))
    }

    /// How long something may take that moves so many bytes.
    pub fn limit_for(&self, bytes: usize) -> Duration {
        self.limit + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND)
    }

    /// What became of work on a connection, which is given back unless it is in doubt.
    pub fn settle<T>(&self, link: Link, tried: Result<Result<T, Error>, Late>) -> Result<T, Trouble> {
        let trouble = match tried {
            // A wait for a standby that was cancelled ends with a warning, as if the commit had been replicated.
            Ok(Ok(_)) if self.warnings.load(Ordering::SeqCst) != link.warned => "it warned of something".to_owned(),
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => match error.as_db_error() {
                Some(refused) if !ends_connection(refused) => return Err(Trouble::Refused(Box::new(refused.clone()))),
                _ => said(&error),
            },
            Err(Late(limit)) => format!("it did not answer for {} s", limit.as_secs()),
        };
        let client = Object::take(link.object);
        lock(&self.processes).leave(&client);
        drop(client);
        Err(Trouble::Lost(trouble))
    }

    /// As the store says it.
    pub fn error(&self, doing: &'static str, trouble: Trouble) -> StoreError {
        let why = match trouble {
            Trouble::Lost(why) => why,
            Trouble::Refused(refused) => told(&refused),
        };
        StoreError::Io {
            doing,
            path: self.label.clone(),
            source: io::Error::other(why),
        }
    }

    /// Ends all connections that are not in use.
    pub fn close(&self) {
        self.lanes.close();
        self.others.close();
    }
}

/// What is committed is on the database's disk when it says so, whatever the role's default is.
const SESSION: &str = "select set_config('synchronous_commit', 'on', false) \
                       where current_setting('synchronous_commit') = 'off'";
/// A plan that was made while there were few documents would read all of them for each commit when there are many.
const LANE_SESSION: &str = "select set_config('synchronous_commit', 'on', false) \
                            where current_setting('synchronous_commit') = 'off'; set enable_seqscan = off";

/// Who serves a connection.
const PROCESS: &str = "select pid, backend_start from pg_stat_activity where pid = pg_backend_pid()";

/// Ends processes. A wait for a standby ends unheard, and whoever repeats its commit finds the record and waits himself.
const END: &str = "
select pg_terminate_backend(a.pid) from pg_stat_activity a
join unnest($1::int[], $2::timestamptz[]) as ends(pid, started) on a.pid = ends.pid and a.backend_start = ends.started";

/// Whether the database ends the connection with this; what was under way then is in doubt.
fn ends_connection(error: &tokio_postgres::error::DbError) -> bool {
    matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) || error.code().code().starts_with("57P")
}

/// An error of the database for people.
pub fn told(error: &tokio_postgres::error::DbError) -> String {
    format!("{} ({})", error.message(), error.code().code())
}

/// An error with all that is behind it.
pub fn said(error: &Error) -> String {
    if let Some(refused) = error.as_db_error() {
        return told(refused);
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
