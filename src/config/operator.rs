//! Arguments of the commands for operators, as a [`Request`].

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use super::values::{as_usize, duration, size};
#[cfg(feature = "import")]
use crate::operator::import::{Import, To};
#[cfg(feature = "postgres")]
use crate::store::postgres::{Tables, link::DatabaseUrl};
use crate::{
    content::Form,
    id::{DocumentId, InvalidDocumentId},
    operator::{Export, Place, Request, What},
};

#[derive(Args)]
pub(super) struct DataArgs {
    /// Folder that the documents are kept in
    #[arg(
        long,
        env = "COWRITE_DATA",
        hide_env_values = true,
        value_name = "FOLDER",
        default_value = "./data"
    )]
    data: PathBuf,
}

/// A database in place of the folder.
#[cfg(feature = "postgres")]
#[derive(Args)]
pub(super) struct DatabaseArgs {
    /// Postgres that the documents are kept in, in place of --data: postgres://USER:PASSWORD@HOST/DATABASE. Other users of
    /// the machine see flags: prefer the variable
    #[arg(long, env = "COWRITE_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
}

#[cfg(feature = "postgres")]
impl DatabaseArgs {
    /// Parsed here, since what clap says of a value shows it, and its password.
    pub(super) fn url(self) -> Result<Option<DatabaseUrl>, String> {
        let url = self.database_url.filter(|url| !url.is_empty());
        let url = url.map(|url| DatabaseUrl::parse(&url)).transpose();
        url.map_err(|why| format!("--database-url: {why}"))
    }

    fn required(self) -> Result<DatabaseUrl, String> {
        let missing = "which database? Set COWRITE_DATABASE_URL, or --database-url";
        self.url()?.ok_or_else(|| missing.to_owned())
    }
}

/// A folder or a database.
#[derive(Args)]
pub(super) struct PlaceArgs {
    #[command(flatten)]
    data: DataArgs,

    #[cfg(feature = "postgres")]
    #[command(flatten)]
    database: DatabaseArgs,
}

impl PlaceArgs {
    fn place(self) -> Result<Place, String> {
        #[cfg(feature = "postgres")]
        if let Some(url) = self.database.url()? {
            return Ok(Place::Database(url));
        }
        Ok(Place::Folder(self.data.data))
    }
}

#[derive(Args)]
pub(super) struct CopyArgs {
    /// Where the documents are: a data folder, or postgres://USER:PASSWORD@HOST/DATABASE
    #[arg(long, value_name = "FOLDER|URL")]
    from: String,

    /// Where they are to be: the same; a folder is made when it is not there
    #[arg(long, value_name = "FOLDER|URL")]
    to: String,
}

impl TryFrom<CopyArgs> for Request {
    type Error = String;

    fn try_from(args: CopyArgs) -> Result<Self, String> {
        Ok(Self::Copy {
            from: place(&args.from).map_err(|why| format!("--from: {why}"))?,
            to: place(&args.to).map_err(|why| format!("--to: {why}"))?,
        })
    }
}

fn place(text: &str) -> Result<Place, String> {
    if !text.contains("://") {
        return Ok(Place::Folder(text.into()));
    }
    #[cfg(feature = "postgres")]
    return DatabaseUrl::parse(text).map(Place::Database);
    #[cfg(not(feature = "postgres"))]
    Err("this build of cowrite has no databases (the cargo feature `postgres`)".to_owned())
}

#[cfg(feature = "postgres")]
#[derive(Subcommand)]
pub(super) enum DbArgs {
    /// Make the tables in an empty database
    Init {
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Bring the tables up to date; servers may run meanwhile
    Upgrade {
        #[command(flatten)]
        database: DatabaseArgs,

        /// Make them if there are none: for what runs before each deploy
        #[arg(long)]
        init: bool,
    },
}

#[cfg(feature = "postgres")]
#[derive(Args)]
pub(super) struct NodesArgs {
    #[command(flatten)]
    database: DatabaseArgs,

    /// One array of JSON in place of a table
    #[arg(long)]
    json: bool,
}

#[cfg(feature = "postgres")]
impl TryFrom<NodesArgs> for Request {
    type Error = String;

    fn try_from(args: NodesArgs) -> Result<Self, String> {
        Ok(Self::Nodes {
            url: args.database.required()?,
            as_json: args.json,
        })
    }
}

#[cfg(feature = "postgres")]
impl TryFrom<DbArgs> for Request {
    type Error = String;

    fn try_from(args: DbArgs) -> Result<Self, String> {
        let (database, expected) = match args {
            DbArgs::Init { database } => (database, Tables::Missing),
            DbArgs::Upgrade { database, init: false } => (database, Tables::There),
            DbArgs::Upgrade { database, init: true } => (database, Tables::Either),
        };
        Ok(Self::Prepare {
            url: database.required()?,
            expected,
        })
    }
}

#[derive(Args)]
pub(super) struct BackupArgs {
    /// Folder of the backup (empty, not there yet, or the backup so far), or s3://BUCKET/PREFIX, gs://…, az://…
    #[arg(value_name = "TARGET")]
    to: String,

    #[command(flatten)]
    data: DataArgs,

    /// Remove runs that were begun longer ago, and what only they need [default: keep all]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    keep: Option<Duration>,
}

#[derive(Args)]
pub(super) struct RestoreArgs {
    /// Folder of the backup, or s3://BUCKET/PREFIX, gs://…, az://…
    #[arg(value_name = "TARGET")]
    from: String,

    #[command(flatten)]
    data: DataArgs,

    /// Restore the documents as they were at this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<u64>,

    /// Restore this run [default: the newest]
    #[arg(long, value_name = "NUMBER", conflicts_with = "at")]
    run: Option<u64>,

    /// Restore what can be restored, also when something cannot
    #[arg(long)]
    partial: bool,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// Check the newest run of this backup instead of the data folder
    #[arg(value_name = "TARGET")]
    backup: Option<String>,

    /// Check every run of the backup
    #[arg(long, requires = "backup")]
    all: bool,

    #[command(flatten)]
    place: PlaceArgs,
}

#[cfg(feature = "import")]
#[derive(Args)]
pub(super) struct ImportArgs {
    /// A database of Hocuspocus (SQLite), a folder of y-sweet or y-leveldb, a Yjs update (v1) or a folder of such
    #[arg(value_name = "SOURCE")]
    from: PathBuf,

    /// Send the documents to the server that runs there, instead of to a data folder
    #[arg(long, value_name = "ws://HOST:PORT", value_parser = server)]
    to: Option<String>,

    /// A token that may write the documents, for --to. Other users of the machine see flags: prefer the variable
    #[arg(
        long,
        env = "COWRITE_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        requires = "to"
    )]
    token: Option<String>,

    /// Put this before the name of each document
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,

    /// Largest document
    #[arg(long, env = "COWRITE_DOCUMENT_BYTES_MAX", hide_env_values = true, value_name = "SIZE", default_value = "64MiB", value_parser = size::<1_024, { 1 << 30 }>)]
    document_bytes_max: u64,

    #[command(flatten)]
    data: DataArgs,
}

#[cfg(feature = "import")]
impl From<ImportArgs> for Request {
    fn from(args: ImportArgs) -> Self {
        let to = match args.to {
            Some(address) => To::Server {
                address,
                token: args.token,
            },
            None => To::Data(args.data.data),
        };
        Self::MoveIn(Import {
            from: args.from,
            to,
            prefix: args.prefix,
            document_bytes_max: as_usize(args.document_bytes_max),
        })
    }
}

/// The host and port of a server: `ws://`, what providers are given, or `http://`.
#[cfg(feature = "import")]
fn server(text: &str) -> Result<String, String> {
    if text.starts_with("wss://") || text.starts_with("https://") {
        return Err(
            "it speaks no TLS: run it on the server's machine and name the address that the server listens on"
                .to_owned(),
        );
    }
    let address = text.strip_prefix("ws://").or_else(|| text.strip_prefix("http://"));
    let address = address.map(|address| address.trim_end_matches('/').trim_end_matches("/ws"));
    let is_plain = |address: &&str| !address.is_empty() && !address.contains(['/', '?', '#', '@']);
    let address = address
        .filter(is_plain)
        .ok_or("write an address like ws://127.0.0.1:8080")?;
    let has_port = address
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if has_port {
        address.to_owned()
    } else {
        format!("{address}:80")
    })
}

#[derive(Subcommand)]
pub(super) enum DocArgs {
    /// List the documents: bytes, last change, ok or damaged, name
    List {
        /// Only names that begin with this
        #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
        prefix: String,

        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Write a whole document: as one Yjs update (v1) for `Y.applyUpdate`, or its content
    #[command(after_help = "\
An update is all of the document, and what `doc import` takes. JSON is all of its content, value
for value; text is what people wrote. docs/operating.md says how they look.")]
    Export {
        /// Which document
        #[arg(value_name = "NAME", value_parser = document)]
        document: DocumentId,

        /// A file that is not there yet; - is stdout
        #[arg(value_name = "FILE", default_value = "-")]
        to: PathBuf,

        /// What it is written as
        #[arg(long = "as", value_name = "FORM", value_enum, default_value_t = ExportForm::Update)]
        form: ExportForm,

        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Merge a Yjs update (v1) into a document, which is made when it is not there
    #[command(after_help = "\
The update passes the same checks as what clients send. It is merged: what the document has
stays. To replace a document, delete it first. No server may be running on the folder.")]
    Import {
        /// Which document
        #[arg(value_name = "NAME", value_parser = document)]
        document: DocumentId,

        /// What `doc export` or `Y.encodeStateAsUpdate` wrote; - is stdin
        #[arg(value_name = "FILE")]
        from: PathBuf,

        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Delete a document
    #[command(after_help = "\
No server may be running on the folder. An editor that still holds the document brings its
content back when it reconnects. Copies stay in backups and in the kept history.")]
    Delete {
        /// Which document
        #[arg(value_name = "NAME", value_parser = document)]
        document: DocumentId,

        /// Yes, delete it
        #[arg(long)]
        yes: bool,

        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum ExportForm {
    Update,
    Json,
    Text,
}

impl From<ExportForm> for Export {
    fn from(form: ExportForm) -> Self {
        match form {
            ExportForm::Update => Self::Update,
            ExportForm::Json => Self::Content(Form::Json),
            ExportForm::Text => Self::Content(Form::Text),
        }
    }
}

/// Parsed here, since what clap says of a value shows it, and a secret that somebody wrote into it.
impl TryFrom<BackupArgs> for Request {
    type Error = String;

    fn try_from(args: BackupArgs) -> Result<Self, String> {
        Ok(Self::Backup {
            data: args.data.data,
            to: args.to.parse()?,
            keep: args.keep,
        })
    }
}

impl TryFrom<RestoreArgs> for Request {
    type Error = String;

    fn try_from(args: RestoreArgs) -> Result<Self, String> {
        Ok(Self::Restore {
            from: args.from.parse()?,
            data: args.data.data,
            what: match (args.at, args.run) {
                (Some(at_ms), _) => What::At(at_ms),
                (None, Some(number)) => What::Run(number),
                (None, None) => What::Newest,
            },
            partial: args.partial,
        })
    }
}

impl TryFrom<VerifyArgs> for Request {
    type Error = String;

    fn try_from(args: VerifyArgs) -> Result<Self, String> {
        Ok(match args.backup {
            Some(backup) => Self::VerifyBackup {
                backup: backup.parse()?,
                all: args.all,
            },
            None => Self::Verify(args.place.place()?),
        })
    }
}

impl TryFrom<DocArgs> for Request {
    type Error = String;

    fn try_from(args: DocArgs) -> Result<Self, String> {
        let file = |path: PathBuf| Some(path).filter(|path| path.as_os_str() != "-");
        Ok(match args {
            DocArgs::List { prefix, place } => Self::List {
                place: place.place()?,
                prefix,
            },
            DocArgs::Export {
                document,
                to,
                form,
                place,
            } => Self::Export {
                place: place.place()?,
                document,
                form: form.into(),
                to: file(to),
            },
            DocArgs::Import { document, from, place } => Self::Import {
                place: place.place()?,
                document,
                from: file(from),
            },
            DocArgs::Delete {
                document, yes: false, ..
            } => {
                return Err(format!(
                    "deleting {document} cannot be undone: add --yes if that is what you want"
                ));
            }
            DocArgs::Delete { document, place, .. } => Self::Delete {
                place: place.place()?,
                document,
            },
        })
    }
}

/// Milliseconds since the Unix epoch.
fn time(text: &str) -> Result<u64, String> {
    let said = || "write a time like 2026-11-21T08:00:00Z or 2026-11-21T09:00:00+01:00".to_owned();
    let time: jiff::Timestamp = text.parse().map_err(|_| said())?;
    u64::try_from(time.as_millisecond()).map_err(|_| "nothing was written before 1970".to_owned())
}

fn document(text: &str) -> Result<DocumentId, String> {
    DocumentId::parse(text).map_err(|invalid| match invalid {
        InvalidDocumentId::Empty => "a document's name has at least one character".to_owned(),
        other => other.to_string(),
    })
}
