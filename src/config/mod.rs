//! Settings: from arguments and environment variables to typed values, or to one sentence that says
//! what is wrong with them.
//!
//! Every flag has an environment variable of the same name (`--listen`, `COWRITE_LISTEN`); the flag
//! wins. A `COWRITE_…` variable that no setting has is refused, because a misspelt limit that is
//! silently ignored is found out too late.
//!
//! [`Command::parse`] is the only entry. [`ServeConfig`] is plain data: [`ServeConfig::new`] makes
//! one without arguments, with the same defaults. `token` is about `cowrite token`, `operator`
//! about the commands that work on a folder, `near` about what people write who mean something else.

mod budgets;
#[cfg(feature = "postgres")]
mod cluster;
mod demo;
mod near;
mod operator;
mod token;

use std::{
    ffi::{OsStr, OsString},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use bytesize::ByteSize;
use clap::{Args, CommandFactory, Parser, Subcommand, builder::BoolishValueParser, error::ErrorKind};

pub use self::{budgets::Budgets, demo::Demo, token::TokenRequest};
#[cfg(feature = "postgres")]
use crate::store::postgres::link::DatabaseUrl;
use crate::{
    access::{Expected, OriginPolicy, Patterns},
    http::address::{BasePath, PublicUrl},
    limits::MESSAGE_BYTES_MAX,
    logging::LogFormat,
    nodes::ClusterSecret,
    operator::{
        Request,
        schedule::{EVERY_MIN, Plan},
    },
    tls::Tls,
    token::{Issuer, Jwks, KeyError, Keys, LinkKeys, ServerToken, Source, TokenKey},
};

/// Port and address of a server that was told nothing.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// What the process was asked to do.
#[derive(Debug)]
pub enum Command {
    /// Run the server.
    Serve(Box<ServeConfig>),
    /// Run the server under a supervisor that its page may have kill it.
    Demo(Box<Demo>),
    /// Print a token.
    Token(TokenRequest),
    /// Work on a data folder or a backup.
    Operate(Request),
}

/// Why there is nothing to run.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// Help or version were asked for: the text for stdout, exit code 0.
    Told(String),
    /// No subcommand was given: the help for stderr, exit code 2.
    NoCommand(String),
    /// The settings are wrong: one sentence for stderr, exit code 2.
    Usage(String),
}

impl Command {
    /// Reads arguments (the program's name first) and the environment of this process.
    ///
    /// # Errors
    /// [`Stop`], whose text is complete.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        check_environment(std::env::vars_os().map(|(name, _)| name)).map_err(Stop::Usage)?;
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let cli = Cli::try_parse_from(&arguments).map_err(|error| stop(&error, &arguments))?;
        match cli.command {
            CommandArgs::Serve(args) => (*args).try_into().map(|config| Self::Serve(Box::new(config))),
            CommandArgs::Demo(args) => args.command(arguments.get(2..).unwrap_or_default()),
            CommandArgs::Token(args) => args.try_into().map(Self::Token),
            CommandArgs::Backup(args) => args.try_into().map(Self::Operate),
            CommandArgs::Restore(args) => args.try_into().map(Self::Operate),
            CommandArgs::Verify(args) => args.try_into().map(Self::Operate),
            CommandArgs::Doc { command } => command.try_into().map(Self::Operate),
            CommandArgs::Copy(args) => args.try_into().map(Self::Operate),
            #[cfg(feature = "postgres")]
            CommandArgs::Db { command } => command.try_into().map(Self::Operate),
            #[cfg(feature = "postgres")]
            CommandArgs::Nodes(args) => args.try_into().map(Self::Operate),
            #[cfg(feature = "import")]
            CommandArgs::Import(args) => Ok(Self::Operate(args.into())),
        }
        .map_err(Stop::Usage)
    }
}

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

/// A server for documents that several people edit at once.
#[derive(Parser)]
#[command(
    name = "cowrite",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  cowrite serve
      open to this machine alone, on http://127.0.0.1:8080, documents in ./data
  cowrite demo
      the same with a button that kills the server: see what survives
  COWRITE_JWT_SECRET=$(openssl rand -hex 32) cowrite serve --listen 0.0.0.0:8080
      asks for tokens that are signed with the secret
  cowrite token --sub ada --document 'notes/*=write' --expires 1h
      prints such a token
  cowrite backup /mnt/backup
      copies ./data, beside a running server; only what is new, the next time

Every setting is a flag and an environment variable of the same name: --idle-timeout is
COWRITE_IDLE_TIMEOUT. The flag wins. A COWRITE_ variable that no setting has is an error.
RUST_LOG chooses what is logged to stderr (default: info).

Exit codes: 0 stopped as asked, everything saved; 1 failed, the last line on stderr says
why, or something is damaged; 2 wrong settings."
)]
struct Cli {
    #[command(subcommand)]
    command: CommandArgs,
}

#[derive(Subcommand)]
enum CommandArgs {
    /// Run the server until SIGTERM or SIGINT
    #[command(after_help = "\
Sizes are bytes, or have a unit: 512KiB, 16MiB. Durations have units: 30s, 5m, 1h 30m.
Every flag has the environment variable shown with it; COWRITE_ALLOW_ORIGIN takes several
origins separated by commas, COWRITE_JWT_SECRET one secret a line. A flag wins over its variable.")]
    Serve(Box<ServeArgs>),
    /// Run an open server for this machine whose demo page has a button that kills it, and start it again
    #[command(after_help = "\
Example:
  cowrite demo --port 8080 --data /tmp/demo
      open a document, write, press \"Pull the plug\", and see what was saved

It takes the settings of `cowrite serve`, except those of a server that others can reach or that asks
for tokens. The process that serves is killed with SIGKILL and started again on the same port with the
same folder. SIGTERM and SIGINT stop both.")]
    Demo(Box<demo::DemoArgs>),
    /// Print a token for a server with --jwt-secret
    #[command(after_help = "\
Example:
  cowrite token --sub ada --name 'Ada' --color '#2266cc' \\
      --document 'notes/*=write' --document '*=read' --expires 8h

In a pattern, `*` is any run of characters, `/` included. The longest matching pattern
decides, and a document that none matches is closed to the holder of the token.")]
    Token(token::TokenArgs),
    /// Copy the data folder to a backup, beside a running server
    #[command(after_help = "\
Example, from cron:
  cowrite backup --data /var/lib/cowrite /mnt/backup/cowrite --keep 30d

Everything that was saved before the command began is in the backup. TARGET holds each file once;
a run adds what is new and a list of what belongs to it. What is copied is checked: damaged
documents are named, and the exit code is 1. A server on it may run.

In a bucket it is the same: cowrite backup --data /var/lib/cowrite s3://my-bucket/cowrite. Keys and
the endpoint come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
AWS_ENDPOINT_URL; docs/operating.md has those of Google and Azure.")]
    Backup(operator::BackupArgs),
    /// Make a data folder from a backup
    #[command(after_help = "\
Examples:
  cowrite restore /mnt/backup/cowrite --data /var/lib/cowrite-new
      what the newest run holds
  cowrite restore /mnt/backup/cowrite --data ./friday --at 2026-11-20T17:00:00Z
      each document as it was at that time

The data folder must be empty or not there. Each run can be restored (`cowrite verify TARGET --all`
lists them); a time between runs, when the server keeps its history that long (--keep-history of
`serve`). Otherwise the documents of which something may be missing are named, and nothing is
restored.")]
    Restore(operator::RestoreArgs),
    /// Read everything and say which documents are damaged
    #[command(after_help = "\
Works beside a running server, and changes nothing. Exit code 1 when something is damaged.")]
    Verify(operator::VerifyArgs),
    /// Copy all documents from a data folder or a database to another
    #[command(after_help = "\
Examples:
  cowrite copy --from /var/lib/cowrite --to postgres://cowrite@db/cowrite
      from one machine to Postgres (run `cowrite db init` there first)
  cowrite copy --from postgres://cowrite@db/cowrite --to ./data
      and back

Positions, times and authors stay. Each document is read as of one moment, also while servers run on
the source; a folder that is copied to must have none. What was copied is read back and compared.
A document that is there already gets what it lacks, if all that it holds is in the source, and is
refused and named otherwise: so the command can be repeated, and brings what is new. Exit code 1
when a document was not copied.")]
    Copy(operator::CopyArgs),
    /// Make or upgrade the tables of a database
    #[cfg(feature = "postgres")]
    #[command(arg_required_else_help = true, disable_help_subcommand = true)]
    Db {
        #[command(subcommand)]
        command: operator::DbArgs,
    },
    /// List the servers on a database: which of them live, and how many documents each has
    #[cfg(feature = "postgres")]
    #[command(after_help = "\
living: it was seen in the last five seconds. draining: it is stopping. dead: others take its
documents. A server that has stopped is not listed; one that is dead, for a day.")]
    Nodes(operator::NodesArgs),
    /// Move in from another server: Hocuspocus, y-sweet, y-websocket, or files
    #[cfg(feature = "import")]
    #[command(after_help = "\
Examples:
  cowrite import ./db.sqlite --data /var/lib/cowrite
      into a data folder on which no server runs; it is made when it is not there
  COWRITE_TOKEN=$(cowrite token ...) cowrite import ./y-sweet --to ws://127.0.0.1:8080
      to a running server, as one of its clients: done is what the server has saved

Nothing is written into SOURCE. A document that is there already is left alone, unless it is a part
of the one in SOURCE; so the command can be repeated, and brings what is new. What was not imported
is told with its reason, and the exit code is 1. docs/moving-in.md goes through it.")]
    Import(operator::ImportArgs),
    /// List, export, import or delete documents
    #[command(arg_required_else_help = true, disable_help_subcommand = true)]
    Doc {
        #[command(subcommand)]
        command: operator::DocArgs,
    },
}

#[derive(Args)]
#[command(next_help_heading = "Network and storage")]
struct ServeArgs {
    /// Address to listen on; port 0 takes a free one, and the address is printed [default: 127.0.0.1:8080]
    #[arg(long, env = "COWRITE_LISTEN", hide_env_values = true, value_name = "ADDR:PORT", value_parser = listen)]
    listen: Option<SocketAddr>,

    /// Port to listen on, for this machine only: 9000 is `--listen 127.0.0.1:9000`
    #[arg(long, env = "COWRITE_PORT", hide_env_values = true, value_name = "PORT", value_parser = port)]
    port: Option<u16>,

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
    key: KeyArgs,

    /// Secret of 32 bytes or more that links are signed with which holders of a `share` claim make: all servers of one database
    /// have the same. Repeatable, or one a line: all are believed, and the first signs. Prefer the variable [default:
    /// derived from --jwt-secret, else from --server-token]
    #[arg(
        long,
        env = "COWRITE_SHARE_SECRET",
        hide_env_values = true,
        value_name = "SECRET",
        value_delimiter = '\n',
        help_heading = "Who may connect"
    )]
    share_secret: Vec<String>,

    /// PEM file with a public key of the issuer: RSA (RS256), P-256 (ES256), P-384 (ES384) or Ed25519 (EdDSA). Repeatable,
    /// or with commas; with the key's `kid` before it, only tokens of that `kid`, and those without one, may use it
    #[arg(
        long,
        env = "COWRITE_JWT_PUBLIC_KEY",
        hide_env_values = true,
        value_name = "[KID=]FILE",
        value_delimiter = ',',
        help_heading = "Who may connect"
    )]
    jwt_public_key: Vec<String>,

    /// The issuer's set of public keys (JWKS): https://HOST/PATH, or a file. It is read again as --jwks-refresh says, and
    /// when a token names a key that is not in it
    #[arg(
        long,
        env = "COWRITE_JWKS",
        hide_env_values = true,
        value_name = "URL|FILE",
        help_heading = "Who may connect"
    )]
    jwks: Option<String>,

    /// How often the set of keys is read again
    #[arg(long, env = "COWRITE_JWKS_REFRESH", hide_env_values = true, value_name = "DURATION", default_value = "5m", value_parser = duration, help_heading = "Who may connect")]
    jwks_refresh: Duration,

    /// Token of 32 characters or more that y-sweet's SDK shows: `ys://TOKEN@host`. It opens every document; `openssl rand
    /// -hex 32` makes one. Other users of the machine see flags: prefer the variable
    #[arg(
        long,
        env = "COWRITE_SERVER_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        help_heading = "Who may connect"
    )]
    server_token: Option<String>,

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
    allow_anonymous: bool,

    /// Web pages of this origin may connect too (repeatable; * is every origin)
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
    budgets: budgets::BudgetArgs,
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

    /// Most that waits for the disk, of all documents; more edits are refused with 1013
    #[arg(long, env = "COWRITE_UNSAVED_BYTES_MAX", hide_env_values = true, value_name = "SIZE", default_value = "256MiB", value_parser = size::<{ 1 << 20 }, { 16 << 30 }>)]
    unsaved_bytes_max: u64,

    /// Most memory that the process may hold: near it no more documents are opened (1013) and large ones take no edits, then
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

    /// A document that nobody has open leaves memory after this
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

#[derive(Args)]
struct BackupsArgs {
    /// Back the data folder up to there, beside serving: a folder, s3://BUCKET/PREFIX, gs://… or az://…, as
    /// `cowrite backup` does
    #[arg(long, env = "COWRITE_BACKUP_TO", hide_env_values = true, value_name = "TARGET")]
    backup_to: Option<String>,

    /// From the beginning of one run to that of the next, 5s at least
    #[arg(long, env = "COWRITE_BACKUP_EVERY", hide_env_values = true, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    backup_every: Duration,

    /// Remove runs that were begun longer ago, and what only they need [default: keep all]
    #[arg(long, env = "COWRITE_BACKUP_KEEP", hide_env_values = true, value_name = "DURATION", value_parser = duration)]
    backup_keep: Option<Duration>,
}

impl BackupsArgs {
    fn plan(self, is_in_database: bool) -> Result<Option<Plan>, String> {
        let Some(to) = self.backup_to.filter(|to| !to.is_empty()) else {
            return Ok(None);
        };
        let to = to.parse().map_err(|why| format!("--backup-to: {why}"))?;
        if is_in_database {
            return Err(
                "--backup-to copies a data folder, and with --database-url the documents are in the database: back that up"
                    .to_owned(),
            );
        }
        if self.backup_every < EVERY_MIN {
            return Err("--backup-every must be at least 5s".to_owned());
        }
        Ok(Some(Plan {
            to,
            every: self.backup_every,
            keep: self.backup_keep,
        }))
    }
}

#[derive(Args)]
#[command(next_help_heading = "Who may connect")]
struct KeyArgs {
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

/// What is wrong with `--keep-deleted`.
const KEEP_DELETED: &str = "--keep-deleted: a pattern has 1 to 512 bytes";

impl TryFrom<ServeArgs> for ServeConfig {
    type Error = String;

    fn try_from(args: ServeArgs) -> Result<Self, String> {
        let listen = listen_address(args.listen, args.port)?;
        check_public_url(args.public_url.as_ref(), &args.base_path)?;
        let admin_token = args.admin_token.as_deref().map(ServerToken::parse).transpose();
        let admin_token = admin_token.map_err(|error| format!("--admin-token: {error}"))?;
        let public = PublicKeys {
            files: args.jwt_public_key,
            set: args.jwks,
            refresh: args.jwks_refresh,
        };
        let admission = admission(&args.key, public, args.server_token.as_deref(), &args.share_secret)?;
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
            let cluster = args.cluster.cluster(database.is_some())?;
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
            segment_bytes: args.segment_bytes,
            threads: limits.threads.unwrap_or_else(cores),
            shutdown_timeout: limits.shutdown_timeout,
            is_supervised: false,
        })
    }
}

impl KeyArgs {
    fn secrets(&self) -> impl Iterator<Item = &str> {
        lines(&self.jwt_secret)
    }

    fn expected(&self) -> Expected {
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

/// Where the issuer's public keys are.
struct PublicKeys {
    files: Vec<String>,
    set: Option<String>,
    refresh: Duration,
}

fn admission(
    key: &KeyArgs,
    public: PublicKeys,
    server_token: Option<&str>,
    share_secrets: &[String],
) -> Result<Admission, String> {
    if key.secrets().any(|secret| Some(secret) == server_token) {
        return Err("--jwt-secret and --server-token are the same: the second one travels, choose another".to_owned());
    }
    let issuer = issuer(key, &public)?;
    let server = server_token.map(ServerToken::parse).transpose();
    let server = server.map_err(|error| format!("--server-token: {error}"))?;
    let links = links(share_secrets, key, server_token)?;
    match (issuer, server) {
        (None, None) if !share_secrets.is_empty() => Err(
            "--share-secret signs links for holders of tokens, and this server asks for none: set COWRITE_JWT_SECRET, \
             COWRITE_JWT_PUBLIC_KEY or COWRITE_JWKS"
                .to_owned(),
        ),
        (None, None) => Ok(Admission::Open),
        (issuer, server) => Ok(Admission::Tokens(Keys { issuer, server, links })),
    }
}

/// What links are signed with: what was chosen for that, or else what is there.
fn links(chosen: &[String], key: &KeyArgs, server_token: Option<&str>) -> Result<Option<LinkKeys>, String> {
    let links = match server_token {
        _ if !chosen.is_empty() => LinkKeys::new(lines(chosen)),
        Some(server_token) if key.secrets().next().is_none() => LinkKeys::new([server_token]),
        _ => LinkKeys::new(key.secrets()),
    };
    links.map_err(|error| format!("--share-secret: {error}"))
}

fn issuer(key: &KeyArgs, public: &PublicKeys) -> Result<Option<Issuer>, String> {
    let expected = key.expected();
    let is_constrained = expected.issuer.is_some() || expected.audience.is_some();
    let secrets = key.secrets().map(|secret| {
        TokenKey::from_secret(secret.as_bytes()).map_err(|error: KeyError| format!("--jwt-secret: {error}"))
    });
    let files = public.files.iter().map(|file| public_key(file));
    let keys = secrets.chain(files).collect::<Result<Vec<_>, _>>()?;
    if public.refresh < Duration::from_secs(1) {
        return Err("--jwks-refresh must be at least 1s".to_owned());
    }
    let set = public.set.as_deref().map(|set| {
        let named = |error: &dyn std::fmt::Display| format!("--jwks: {error}");
        let source = Source::parse(set).map_err(|error| named(&error))?;
        Jwks::new(source, public.refresh).map_err(|error| named(&format!("{set}: {error}")))
    });
    let set = set.transpose()?;
    match keys.is_empty() && set.is_none() {
        true if is_constrained => Err(
            "--jwt-issuer and --jwt-audience need a key: set COWRITE_JWT_SECRET, COWRITE_JWT_PUBLIC_KEY or COWRITE_JWKS"
                .to_owned(),
        ),
        true => Ok(None),
        false => Ok(Some(Issuer::new(keys, set, expected))),
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

fn listen_address(listen: Option<SocketAddr>, port: Option<u16>) -> Result<SocketAddr, String> {
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

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub(crate) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The sizes are bounded well below what `usize` holds on any machine that runs this.
fn as_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("write an IP address and a port, like {LISTEN} or [::]:8080"))
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "write a port from 1 to 65535, or 0 for a free one; --listen takes an address as well".to_owned())
}

fn size<const MIN: u64, const MAX: u64>(text: &str) -> Result<u64, String> {
    let ByteSize(bytes) =
        ByteSize::from_str(text).map_err(|_| "write a size like 16MiB, or a number of bytes".to_owned())?;
    if (MIN..=MAX).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("it must be {} to {}", ByteSize(MIN), ByteSize(MAX)))
    }
}

fn count<const MAX: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MAX).contains(&count) => Ok(count),
        _ => Err(format!("it must be a number from 1 to {MAX}")),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a duration with its unit, like 30s, 5m or 1h".to_owned())
}

/// Refuses `COWRITE_…` variables that no setting has.
fn check_environment(names: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    let cli = Cli::command();
    let arguments = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    let known: Vec<&str> = arguments
        .filter_map(clap::Arg::get_env)
        .filter_map(OsStr::to_str)
        .collect();

    for name in names {
        let name = name.to_string_lossy();
        if !name.starts_with("COWRITE_") || known.contains(&&*name) {
            continue;
        }
        let nearest = near::variable(&name, &known);
        return Err(format!(
            "the environment variable {name} is no setting of cowrite: did you mean {nearest}?"
        ));
    }
    Ok(())
}

/// Clap's several paragraphs as one sentence; help and version as they are.
fn stop(error: &clap::Error, arguments: &[OsString]) -> Stop {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return Stop::Told(text),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return Stop::NoCommand(text),
        _ => {}
    }
    if let Some(sentence) = near::sentence(error, arguments) {
        return Stop::Usage(sentence);
    }
    let said = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let said: Vec<&str> = said.map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut sentence = String::new();
    for line in said {
        let joint = if sentence.is_empty() || sentence.ends_with(':') {
            " "
        } else {
            "; "
        };
        sentence.push_str(joint);
        sentence.push_str(line.strip_prefix("error: ").unwrap_or(line));
    }
    Stop::Usage(sentence.trim_start().to_owned())
}

#[cfg(test)]
mod tests;
