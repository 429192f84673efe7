//! Commands for operators: `backup`, `restore`, `verify`, `doc`, `import` and `nodes` (rules B1 to B34, N33).
//!
//! * `image`: one moment of a journal, as a disk that can only be read; what all commands that read look at
//! * `target`: where a backup is: a folder, or a bucket of an object store
//! * `pool`: the folder of a backup: segments, and runs that say which of them belong together
//! * `backup`, `restore`: from a journal into a pool, and back
//! * `bucket`: runs in an object store
//! * `schedule`: runs of a server that is serving
//! * `history`: which records make a document what it was at a time, and when nobody can know
//! * `verify`: reads and checks everything
//! * `copy`: all documents from one store to another
//! * `doc`: one document, from outside of the server
//! * `import`: the documents of other servers
//! * `nodes`: the servers on a database
//!
//! What must stay true: a command either takes the lock of the data folder or writes nothing in it.

mod backup;
#[cfg(feature = "object-store")]
mod bucket;
mod copy;
mod doc;
mod history;
mod image;
#[cfg(feature = "import")]
pub mod import;
#[cfg(feature = "postgres")]
mod nodes;
mod pool;
mod restore;
pub mod schedule;
mod target;
mod verify;

use std::{
    fmt::Display,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub use self::target::Target;
#[cfg(feature = "postgres")]
use crate::store::postgres::{self, link::DatabaseUrl};
use crate::{content::Form, id::DocumentId, store::StoreError};

/// What a command for operators was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Adds a run to a backup.
    Backup {
        /// The data folder.
        data: PathBuf,
        /// Where the backup is.
        to: Target,
        /// Runs that were begun longer ago are removed; none keeps all.
        keep: Option<Duration>,
    },
    /// Fills a data folder from a backup.
    Restore {
        /// Where the backup is.
        from: Target,
        /// The data folder.
        data: PathBuf,
        /// What of it.
        what: What,
        /// Restores the documents that can be, also when others cannot.
        partial: bool,
    },
    /// Checks what is kept there.
    Verify(Place),
    /// Checks a backup.
    VerifyBackup {
        /// Where it is.
        backup: Target,
        /// Every run instead of the newest.
        all: bool,
    },
    /// Lists documents.
    List {
        /// Where it is kept.
        place: Place,
        /// Names begin with this.
        prefix: String,
    },
    /// Writes a document out.
    Export {
        /// Where it is kept.
        place: Place,
        /// Which.
        document: DocumentId,
        /// What it is written as.
        form: Export,
        /// The file, or none for stdout.
        to: Option<PathBuf>,
    },
    /// Merges a file into a document.
    Import {
        /// Where it is kept.
        place: Place,
        /// Which.
        document: DocumentId,
        /// The file, or none for stdin.
        from: Option<PathBuf>,
    },
    /// Moves in from another server.
    #[cfg(feature = "import")]
    MoveIn(import::Import),
    /// Copies all documents.
    Copy {
        /// Where they are.
        from: Place,
        /// Where they are to be.
        to: Place,
    },
    /// Makes the tables of a database, or brings them up to date.
    #[cfg(feature = "postgres")]
    Prepare {
        /// Which database.
        url: DatabaseUrl,
        /// What it must hold.
        expected: postgres::Tables,
    },
    /// Lists the servers on a database.
    #[cfg(feature = "postgres")]
    Nodes {
        /// Which database.
        url: DatabaseUrl,
        /// As JSON, for programs.
        as_json: bool,
    },
    /// Deletes a document.
    Delete {
        /// Where it is kept.
        place: Place,
        /// Which.
        document: DocumentId,
    },
}

/// Where documents are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a data folder.
    Folder(PathBuf),
    /// In a database.
    #[cfg(feature = "postgres")]
    Database(DatabaseUrl),
}

impl Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            #[cfg(feature = "postgres")]
            Self::Database(url) => f.write_str(url.label()),
        }
    }
}

/// What a document is written out as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Export {
    /// One Yjs update (v1): all of it, for `doc import` and `Y.applyUpdate`.
    Update,
    /// Its content.
    Content(Form),
}

/// What of a backup is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The newest run.
    Newest,
    /// The run of this number.
    Run(u64),
    /// Each document as of a time, in milliseconds since the Unix epoch.
    At(u64),
}

/// Why a command failed: one sentence for stderr, exit code 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

/// Carries out a command; what it has to say goes to `out`, progress to stderr.
///
/// # Errors
/// [`Failure`] when it could not be done, and when something is damaged.
pub fn run(request: Request, out: &mut dyn Write) -> Result<(), Failure> {
    match request {
        Request::Backup { data, to, keep } => backup::backup(&data, &to, keep, out),
        Request::Restore {
            from,
            data,
            what,
            partial,
        } => restore::restore(&from, &data, what, partial, out),
        Request::Verify(place) => verify::place(&place, out),
        Request::VerifyBackup { backup, all } => verify::backup(&backup, all, out),
        Request::List { place, prefix } => doc::list(&place, &prefix, out),
        Request::Export {
            place,
            document,
            form,
            to,
        } => doc::export(&place, &document, form, to.as_deref(), out),
        Request::Import { place, document, from } => doc::import(&place, &document, from.as_deref(), out),
        #[cfg(feature = "import")]
        Request::MoveIn(import) => import::import(&import, out),
        Request::Delete { place, document } => doc::delete(&place, &document, out),
        Request::Copy { from, to } => copy::copy(&from, &to, out),
        #[cfg(feature = "postgres")]
        Request::Prepare { url, expected } => prepare(&url, expected, out),
        #[cfg(feature = "postgres")]
        Request::Nodes { url, as_json } => nodes::list(&url, as_json, out),
    }
}

/// A time as these commands write and read it, in UTC: `2026-11-21T08:10:51.123Z`.
#[must_use]
pub fn time_text(at_ms: u64) -> String {
    let time = i64::try_from(at_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{at_ms} ms"), |time| format!("{time:.3}"))
}

#[cfg(feature = "postgres")]
fn prepare(url: &DatabaseUrl, expected: postgres::Tables, out: &mut dyn Write) -> Result<(), Failure> {
    let label = url.label();
    match postgres::prepare(url, expected)? {
        (None, now) => say(out, format!("{label}: tables of version {now} were made")),
        (Some(before), now) if before == now => say(out, format!("{label}: the tables are of version {now} already")),
        (Some(before), now) => say(out, format!("{label}: from version {before} to {now}")),
    }
}

/// The folder of the journal in a data folder.
///
/// # Errors
/// When there is none.
fn journal_in(data: &Path) -> Result<PathBuf, Failure> {
    let journal = data.join("journal");
    if is_folder(&journal)? {
        return Ok(journal);
    }
    Err(Failure(format!(
        "{} is no data folder of cowrite: there is no journal in it",
        data.display()
    )))
}

/// Whether there is a folder.
///
/// # Errors
/// When that cannot be seen: what is hidden from this user is not missing.
fn is_folder(path: &Path) -> Result<bool, Failure> {
    match fs::metadata(path) {
        Ok(about) => Ok(about.is_dir()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Failure(format!(
            "{} cannot be looked at: {error}; run this as the user to whom it belongs, or as root",
            path.display()
        ))),
        Err(error) => Err(failed("look at", path, error)),
    }
}

fn failed(doing: &str, path: &Path, error: io::Error) -> Failure {
    Failure(format!("cannot {doing} {}: {error}", path.display()))
}

/// Says something to whoever reads stdout; that nobody reads on is no failure.
fn say(out: &mut dyn Write, text: impl Display) -> Result<(), Failure> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure(format!("cannot write the result: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says on stderr what is wrong; that nobody reads it is no failure.
fn warn(text: impl Display) {
    let _ = write!(io::stderr(), "{text}");
}

/// `1 document`, `2 documents`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn size(bytes: u64) -> bytesize::ByteSize {
    bytesize::ByteSize(bytes)
}

/// Says on stderr how far long work is, every two seconds.
struct Progress {
    said: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { said: Instant::now() }
    }

    fn tell(&mut self, text: impl FnOnce() -> String) {
        if self.said.elapsed() >= Duration::from_secs(2) {
            self.said = Instant::now();
            warn(text() + "\n");
        }
    }
}
