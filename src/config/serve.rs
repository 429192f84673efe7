//! `cowrite serve`: its arguments, and [`ServeConfig`] that they become.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, builder::BoolishValueParser};

use super::{
    backups::BackupsArgs,
    budgets::{BudgetArgs, Budgets},
    keys::KeysArgs,
    values::{LISTEN, as_usize, cores, count, duration, is_loopback, listen, port, size},
};
#[cfg(feature = "postgres")]
use super::{cluster, operator};
#[cfg(feature = "postgres")]
use crate::store::postgres::link::DatabaseUrl;
use crate::{
    access::{OriginPolicy, Patterns},
    http::address::{BasePath, PublicUrl},
    limits::MESSAGE_BYTES_MAX,
    logging::LogFormat,
    nodes::ClusterSecret,
    operator::schedule::Plan,
    tls::Tls,
    token::{Keys, ServerToken},
};

/// All that a server needs to know; sizes in bytes.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The folder of the store, created when missing.
    pub data: PathBuf,
    /// Where `/admin` and `/metrics` are; `None` is where all else is.
    pub admin_listen: Option<SocketAddr>,
    /// Whether `/metrics` is where all else is.
    pub public_metrics: bool,
    /// What speaks TLS; `None` leaves that to a proxy.
    pub tls: Option<Arc<Tls>>,
    /// Where the documents are kept in place of the folder.
    #[cfg(feature = "postgres")]
    pub database: Option<DatabaseUrl>,
    /// What makes this server one of several on that database.
    pub cluster: Option<Cluster>,
    /// Who may connect.
    pub admission: Admission,
    /// What an operator shows at `/admin`.
    pub admin_token: Option<ServerToken>,
    /// Which web pages may connect.
    pub origins: OriginPolicy,
    /// How clients reach the server; `None` is how they reached it.
    pub public_url: Option<PublicUrl>,
    /// Below which path the server is.
    pub base_path: BasePath,
    /// What a line of the log looks like.
    pub log_format: LogFormat,
    /// Largest message of a client.
    pub message_bytes_max: usize,
    /// What of all messages may be incomplete.
    pub unfinished_bytes_max: usize,
    /// Largest document, encoded.
    pub document_bytes_max: usize,
    /// Most that may wait for one slow reader.
    pub outbox_bytes_max: usize,
    /// Most that waits for the disk.
    pub unsaved_bytes_max: usize,
    /// Most that the process may hold in memory; `None` is a part of what the system has.
    pub memory_max: Option<usize>,
    /// Most that large answers take that are on their way to readers.
    pub answers_bytes_max: usize,
    /// Most connections at one time.
    pub connections_max: usize,
    /// What each client may take.
    pub budgets: Budgets,
    /// How long a socket of several documents may be open without a token.
    pub auth_timeout: Duration,
    /// How long a document without sessions stays in memory.
    pub idle_timeout: Duration,
    /// Journal bytes of one document after which a snapshot is taken.
    pub snapshot_bytes: u64,
    /// Whether presence says who somebody is by their token.
    pub stamp_presence: bool,
    /// Whether others see who only reads.
    pub reader_presence: bool,
    /// In these documents the content of what is deleted is kept.
    pub keep_deleted: Patterns,
    /// How long updates are kept after a snapshot holds them.
    pub keep_history: Duration,
    /// After so many servers that crashed soon after they had opened a document it rests; 0 is never.
    pub rest_after_crashes: u32,
    /// Length at which a file of the journal is full.
    pub segment_bytes: u64,
    /// Where to and how often the data folder is backed up beside serving; `None` is never.
    pub backup: Option<Plan>,
    /// Threads that connections and their documents run on.
    pub threads: usize,
    /// How long stopping may take.
    pub shutdown_timeout: Duration,
    /// Whether the supervisor of `cowrite demo` is at stdin.
    pub is_supervised: bool,
}

/// What makes a server one of several on a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `HOST:PORT`, where other nodes reach this one and where it listens for them; port 0 lets the system choose.
    pub address: String,
    /// What all nodes know.
    pub secret: ClusterSecret,
    /// This machine's name at fly.io, whose proxy is asked to bring a WebSocket to the machine of its document.
    pub machine: Option<String>,
}

/// Who may connect.
#[derive(Debug, Clone)]
pub enum Admission {
    /// Everybody may edit everything.
    Open,
    /// Whoever holds a token that is believed.
    Tokens(Keys),
}

impl ServeConfig {
    /// An open server with the defaults of every setting; tests change the fields that they mean.
    #[must_use]
    pub fn new(listen: SocketAddr, data: impl Into<PathBuf>) -> Self {
        let cores = cores();
        Self {
            listen,
            data: data.into(),
            admin_listen: None,
            public_metrics: true,
            tls: None,
            #[cfg(feature = "postgres")]
            database: None,
            cluster: None,
            admission: Admission::Open,
            admin_token: None,
            origins: OriginPolicy::same_origin().on_loopback_only(),
            public_url: None,
            base_path: BasePath::default(),
            log_format: LogFormat::Text,
            message_bytes_max: MESSAGE_BYTES_MAX,
            unfinished_bytes_max: 256 * 1024 * 1024,
            document_bytes_max: 64 * 1024 * 1024,
            outbox_bytes_max: 4 * 1024 * 1024,
            unsaved_bytes_max: 256 * 1024 * 1024,
            memory_max: None,
            answers_bytes_max: 256 * 1024 * 1024,
            connections_max: 20_000,
            budgets: Budgets::default(),
            auth_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            snapshot_bytes: 256 * 1024,
            stamp_presence: true,
            reader_presence: true,
            keep_deleted: Patterns::default(),
            keep_history: Duration::ZERO,
            rest_after_crashes: 3,
            segment_bytes: 64 * 1024 * 1024,
            backup: None,
            threads: cores,
            shutdown_timeout: Duration::from_secs(10),
            is_supervised: false,
        }
    }

    /// What the operator should be told loudly at every start, if anything.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let Admission::Open = self.admission else {
            return None;
        };
        let who = if is_loopback(self.listen) {
            "everybody on this machine"
        } else {
            "everybody who reaches it"
        };
        Some(format!(
            "this server is open: {who} may read and edit every document; set COWRITE_JWT_SECRET to ask for tokens"
        ))
    }
}

#[derive(Args)]
#[command(next_help_heading = "Network and storage")]
pub(super) struct ServeArgs {
    /// Address to listen on; port 0 takes a free one, and the address is printed [default: 127.0.0.1:8080]
    #[arg(long, env = "COWRITE_LISTEN", hide_env_values = true, value_name = "ADDR:PORT", value_parser = listen)]
    pub(super) listen: Option<SocketAddr>,

    /// Port to listen on, for this machine only: 9000 is `--listen 127.0.0.1:9000`
    #[arg(long, env = "COWRITE_PORT", hide_env_values = true, value_name = "PORT", value_parser = port)]
    pub(super) port: Option<u16>,

    /// PEM file with the certificate of this server, and those between it and its authority: https and wss instead of http
    /// and ws. A file that changes is read again within 5 s, or at SIGHUP
    #[arg(
        long,
        env = "COWRITE_TLS_CERT",
        hide_env_values = true,
        value_name = "FILE",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,

    /// PEM file with the key of the certificate
    #[arg(
        long,
        env = "COWRITE_TLS_KEY",
        hide_env_values = true,
        value_name = "FILE",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,

    /// Another address for /admin and /metrics, which are then not where all else is. With TLS if it can be reached from
    /// other machines and the server has it
    #[arg(long, env = "COWRITE_ADMIN_LISTEN", hide_env_values = true, value_name = "ADDR:PORT", value_parser = listen)]
    admin_listen: Option<SocketAddr>,

    /// Whether /metrics is at --listen, for everybody [default: true without --admin-listen]
    #[arg(long, env = "COWRITE_PUBLIC_METRICS", hide_env_values = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    public_metrics: Option<bool>,

    /// Folder that the documents are kept in; one server at a time may use it
    #[arg(
        long,
        env = "COWRITE_DATA",
        hide_env_values = true,
        value_name = "FOLDER",
        default_value = "./data"
    )]
    data: PathBuf,

    #[cfg(feature = "postgres")]
    #[command(flatten)]
    database: operator::DatabaseArgs,

    #[cfg(feature = "postgres")]
    #[command(flatten)]
    cluster: cluster::ClusterArgs,

    /// Files of the journal are kept this long after a snapshot holds their edits
    #[arg(long, env = "COWRITE_KEEP_HISTORY", hide_env_values = true, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    keep_history: Duration,

    /// With --database-url: a document that was just opened by so many servers that crashed, one after the other, is opened by
    /// nobody for a while (1013); 0 is never
    #[arg(
        long,
        env = "COWRITE_REST_AFTER_CRASHES",
        hide_env_values = true,
        value_name = "COUNT",
        default_value_t = 3
    )]
    rest_after_crashes: u32,

    /// Documents that keep the content of what is deleted, as Yjs does with `gc: false`: their versions can be restored.
    /// A pattern of names in which `*` stands for anything; may be given several times, or with commas
    #[arg(
        long,
        env = "COWRITE_KEEP_DELETED",
        hide_env_values = true,
        value_name = "PATTERN",
        value_delimiter = ','
    )]
    keep_deleted: Vec<String>,

    /// A file of the journal is full at this; a smaller store has smaller files
    #[arg(long, env = "COWRITE_SEGMENT_BYTES", hide_env_values = true, value_name = "SIZE", default_value = "64MiB", value_parser = size::<{ 64 << 10 }, { 1 << 30 }>)]
    segment_bytes: u64,

    #[command(flatten)]
    backup: BackupsArgs,

    #[command(flatten)]
    keys: KeysArgs,

    /// Token of 32 characters or more that opens /admin: revoking tokens, who is here, what is in the documents that are open. Prefer the variable
    #[arg(
        long,
        env = "COWRITE_ADMIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        help_heading = "Who may connect"
    )]
    admin_token: Option<String>,

    /// What others see as the `user` of somebody with a token has the token's id, name and colour; `false` leaves it as sent
    #[arg(long, env = "COWRITE_STAMP_PRESENCE", hide_env_values = true, value_name = "BOOL", default_value = "true", value_parser = BoolishValueParser::new(), action = clap::ArgAction::Set, help_heading = "Who may connect")]
    stamp_presence: bool,

    /// Whether others see who only reads a document; `false` drops what readers say of themselves
    #[arg(long, env = "COWRITE_READER_PRESENCE", hide_env_values = true, value_name = "BOOL", default_value = "true", value_parser = BoolishValueParser::new(), action = clap::ArgAction::Set, help_heading = "Who may connect")]
    reader_presence: bool,

    /// Let everybody who reaches the server edit every document
    #[arg(long, env = "COWRITE_ALLOW_ANONYMOUS", hide_env_values = true, value_parser = BoolishValueParser::new(), help_heading = "Who may connect")]
    pub(super) allow_anonymous: bool,

    /// Web pages of this origin may connect too (repeatable; * is every origin; apps' shells have some, like null and capacitor://localhost)
    #[arg(
        long,
        env = "COWRITE_ALLOW_ORIGIN",
        hide_env_values = true,
        value_name = "ORIGIN",
        value_delimiter = ',',
        help_heading = "Who may connect"
    )]
    allow_origin: Vec<String>,

    /// How clients reach the server, for the addresses that y-sweet's SDK is given: https://HOST/PATH [default: what the
    /// SDK connected to, with TLS if the server has it]
    #[arg(
        long,
        env = "COWRITE_PUBLIC_URL",
        hide_env_values = true,
        value_name = "URL",
        value_parser = PublicUrl::parse,
        help_heading = "Network and storage"
    )]
    public_url: Option<PublicUrl>,

    /// Everything is below this path, for a proxy that serves other things beside: `/collab` puts the demo at /collab/ and
    /// WebSockets at /collab/ws. The proxy passes the path on as it is
    #[arg(
        long,
        env = "COWRITE_BASE_PATH",
        hide_env_values = true,
        value_name = "PATH",
        default_value = "/",
        value_parser = BasePath::parse,
        help_heading = "Network and storage"
    )]
    base_path: BasePath,

    /// What a line of the log looks like: `text`, or `json` for one JSON object each
    #[arg(long, env = "COWRITE_LOG_FORMAT", hide_env_values = true, value_name = "FORMAT", default_value = "text", value_parser = LogFormat::parse, help_heading = "Network and storage")]
    log_format: LogFormat,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    budgets: BudgetArgs,
}

#[derive(Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Largest message of a client; a larger one closes its connection with 1009
    #[arg(long, env = "COWRITE_MESSAGE_BYTES_MAX", hide_env_values = true, value_name = "SIZE", default_value = "16MiB", value_parser = size::<1_024, { 256 << 20 }>)]
    message_bytes_max: u64,

    /// Most that has arrived of messages that are not complete, of all connections; a large one more is closed with 1013
    #[arg(long, env = "COWRITE_UNFINISHED_BYTES_MAX", hide_env_values = true, value_name = "SIZE", default_value = "256MiB", value_parser = size::<{ 1 << 20 }, { 16 << 30 }>)]
    unfinished_bytes_max: u64,

    /// Largest document; an edit that would make it larger is refused with 4413
    #[arg(long, env = "COWRITE_DOCUMENT_BYTES_MAX", hide_env_values = true, value_name = "SIZE", default_value = "64MiB", value_parser = size::<1_024, { 1 << 30 }>)]
    document_bytes_max: u64,

    /// Most that waits for one slow reader before it is sent the difference instead
    #[arg(long, env = "COWRITE_OUTBOX_BYTES_MAX", hide_env_values = true, value_name = "SIZE", default_value = "4MiB", value_parser = size::<{ 1 << 20 }, { 1 << 30 }>)]
    outbox_bytes_max: u64,

    /// Most that waits for the disk, of all documents, and half of what is left for one; more edits are refused with 1013
    #[arg(long, env = "COWRITE_UNSAVED_BYTES_MAX", hide_env_values = true, value_name = "SIZE", default_value = "256MiB", value_parser = size::<{ 1 << 20 }, { 16 << 30 }>)]
    unsaved_bytes_max: u64,

    /// Most memory that the process may hold: near it only small documents are still opened (1013) and large ones take no edits, then
    /// connections that do not read what waits for them are closed, and above it edits are refused [default: 80 % of what the
    /// system has for it]
    #[arg(long, env = "COWRITE_MEMORY_MAX", hide_env_values = true, value_name = "SIZE", value_parser = size::<{ 64 << 20 }, { 1 << 50 }>)]
    memory_max: Option<u64>,

    /// Most that large answers take, of all documents, until their readers have read them; more of them wait
    #[arg(long, env = "COWRITE_ANSWERS_BYTES_MAX", hide_env_values = true, value_name = "SIZE", default_value = "256MiB", value_parser = size::<{ 1 << 20 }, { 1 << 40 }>)]
    answers_bytes_max: u64,

    /// Most connections at one time; more are refused with 503
    #[arg(long, env = "COWRITE_CONNECTIONS_MAX", hide_env_values = true, value_name = "COUNT", default_value = "20000", value_parser = count::<10_000_000>)]
    connections_max: usize,

    /// A Hocuspocus connection without a token is closed after this
    #[arg(long, env = "COWRITE_AUTH_TIMEOUT", hide_env_values = true, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    auth_timeout: Duration,

    /// A document that nobody has open leaves memory after this, or within seconds while memory is short
    #[arg(long, env = "COWRITE_IDLE_TIMEOUT", hide_env_values = true, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    idle_timeout: Duration,

    /// A snapshot of a document is taken after this much of its journal
    #[arg(long, env = "COWRITE_SNAPSHOT_BYTES", hide_env_values = true, value_name = "SIZE", default_value = "256KiB", value_parser = size::<1_024, { 1 << 30 }>)]
    snapshot_bytes: u64,

    /// Threads that connections and their documents run on [default: one per core]
    #[arg(long, env = "COWRITE_THREADS", hide_env_values = true, value_name = "COUNT", value_parser = count::<1_024>)]
    threads: Option<usize>,

    /// Stopping takes at most this long; what is not saved by then is reported
    #[arg(long, env = "COWRITE_SHUTDOWN_TIMEOUT", hide_env_values = true, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    shutdown_timeout: Duration,
}

/// What is wrong with `--keep-deleted`.
const KEEP_DELETED: &str = "--keep-deleted: a pattern has 1 to 512 bytes";

impl TryFrom<ServeArgs> for ServeConfig {
    type Error = String;

    fn try_from(args: ServeArgs) -> Result<Self, String> {
        let listen = listen_address(args.listen, args.port)?;
        check_public_url(args.public_url.as_ref(), &args.base_path)?;
        let admin_token = args.admin_token.as_deref().map(ServerToken::parse).transpose();
        let admin_token = admin_token.map_err(|error| format!("--admin-token: {error}"))?;
        let admission = args.keys.admission()?;
        let origins = OriginPolicy::parse(&args.allow_origin).map_err(|error| format!("--allow-origin: {error}"))?;
        let origins = match (&admission, args.allow_anonymous) {
            (Admission::Tokens(_), true) => {
                return Err(
                    "--allow-anonymous and a JWT key or a server token contradict each other: leave one of them out"
                        .to_owned(),
                );
            }
            (Admission::Open, false) if !is_loopback(listen) => {
                return Err(format!(
                    "{} can be reached from other machines and there is no JWT key: set COWRITE_JWT_SECRET, or let \
                     everybody edit everything with --allow-anonymous",
                    listen
                ));
            }
            (Admission::Open, false) => origins.on_loopback_only(),
            _ => origins,
        };
        let limits = args.limits;
        let tls = args.tls_cert.zip(args.tls_key).map(|(cert, key)| Tls::load(cert, key));
        if args.admin_listen == Some(listen) && listen.port() != 0 {
            return Err("--admin-listen is --listen: choose another address, or leave it out".to_owned());
        }

        #[cfg(feature = "postgres")]
        let (database, cluster) = {
            let database = args.database.url()?;
            let cluster = args
                .cluster
                .cluster(database.is_some(), cluster::AtFly::of_environment())?;
            (database, cluster)
        };
        #[cfg(feature = "postgres")]
        let is_in_database = database.is_some();
        #[cfg(not(feature = "postgres"))]
        let (is_in_database, cluster) = (false, None);

        Ok(Self {
            backup: args.backup.plan(is_in_database)?,
            listen,
            admin_listen: args.admin_listen,
            public_metrics: args.public_metrics.unwrap_or(args.admin_listen.is_none()),
            tls: tls.transpose().map_err(|error| error.to_string())?,
            data: args.data,
            #[cfg(feature = "postgres")]
            database,
            cluster,
            admission,
            admin_token,
            origins,
            public_url: args.public_url,
            base_path: args.base_path,
            log_format: args.log_format,
            message_bytes_max: as_usize(limits.message_bytes_max),
            unfinished_bytes_max: as_usize(limits.unfinished_bytes_max),
            document_bytes_max: as_usize(limits.document_bytes_max),
            outbox_bytes_max: as_usize(limits.outbox_bytes_max),
            unsaved_bytes_max: as_usize(limits.unsaved_bytes_max),
            memory_max: limits.memory_max.map(as_usize),
            answers_bytes_max: as_usize(limits.answers_bytes_max),
            connections_max: limits.connections_max,
            budgets: args.budgets.into(),
            auth_timeout: limits.auth_timeout,
            idle_timeout: limits.idle_timeout,
            snapshot_bytes: limits.snapshot_bytes,
            stamp_presence: args.stamp_presence,
            reader_presence: args.reader_presence,
            keep_deleted: Patterns::new(args.keep_deleted).map_err(|_| KEEP_DELETED.to_owned())?,
            keep_history: args.keep_history,
            rest_after_crashes: args.rest_after_crashes,
            segment_bytes: args.segment_bytes,
            threads: limits.threads.unwrap_or_else(cores),
            shutdown_timeout: limits.shutdown_timeout,
            is_supervised: false,
        })
    }
}

pub(super) fn listen_address(listen: Option<SocketAddr>, port: Option<u16>) -> Result<SocketAddr, String> {
    match (listen, port) {
        (Some(listen), Some(port)) => Err(format!(
            "--listen {listen} and --port {port} (or COWRITE_LISTEN and COWRITE_PORT) say the same thing twice: keep one; \
             --port is for this machine only, --listen names an address as well"
        )),
        (Some(listen), None) => Ok(listen),
        (None, Some(port)) => Ok(SocketAddr::new(LISTEN.ip(), port)),
        (None, None) => Ok(LISTEN),
    }
}

fn check_public_url(public_url: Option<&PublicUrl>, base_path: &BasePath) -> Result<(), String> {
    let Some(public_url) = public_url.filter(|url| !url.is_at(base_path)) else {
        return Ok(());
    };
    Err(format!(
        "--public-url {public_url:?} does not end with --base-path {base_path}, which the proxy passes on: clients would be \
         sent to an address at which nothing is"
    ))
}
