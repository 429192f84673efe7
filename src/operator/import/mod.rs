//! `cowrite import`: moving in from other servers (rules B16 to B22).
//!
//! | file | what it knows |
//! |---|---|
//! | `hocuspocus`, `y_sweet`, `y_leveldb`, `files` | one source each: its documents, one after the other |
//! | `draft` | a document that is put together from its updates, through the gate |
//! | `folder`, `wire` | where they go: a data folder, or a running server, as an ordinary client of it |
//!
//! What must stay true: nothing is written into a source; nothing of it is read without a bound; what a target has of
//! its own is left alone.

mod draft;
mod files;
mod folder;
mod hocuspocus;
mod wire;
mod y_leveldb;
mod y_sweet;

use std::{
    fmt::{self, Display, Formatter},
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{Failure, Progress, count, failed, say, size, warn};
use crate::{
    document::{Document, Verdict},
    id::{DocumentId, InvalidDocumentId},
    limits::DOCUMENT_ID_BYTES_MAX,
    protocol::update::{CheckedUpdate, Clocks},
};

use draft::Draft;

/// What is imported, and to where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// A file or a folder of another server.
    pub from: PathBuf,
    /// Where the documents go.
    pub to: To,
    /// Is put before the name of each document.
    pub prefix: String,
    /// Largest document, in bytes.
    pub document_bytes_max: usize,
}

/// Where imported documents go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// A data folder on which no server runs.
    Data(PathBuf),
    /// A running server.
    Server {
        /// Its host and port.
        address: String,
        /// A token that may write, if it asks for tokens.
        token: Option<String>,
    },
}

/// Something in a source.
enum Found {
    /// A document, or why it cannot be imported.
    Document { name: String, draft: Result<Draft, String> },
    /// Something that cannot be read, and so nobody knows whose it is.
    Unread { what: String, why: String },
}

/// Who is told what a source holds.
type Visit<'a> = dyn FnMut(Found) -> Result<(), Failure> + 'a;

/// What became of a document.
enum Outcome {
    /// This many bytes of it are in the target now.
    Imported(usize),
    /// The target had a part of it; this many bytes were added.
    Completed(usize),
    AlreadyThere,
}

/// Why a document is not in the target.
enum Trouble {
    /// It concerns this document alone.
    Document(String),
    /// The others will not be taken, either.
    All(Failure),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Document(why)
    }
}

trait Target {
    /// Brings a document; what is told as imported is durable.
    fn put(&mut self, name: &DocumentId, source: &Document) -> Result<Outcome, Trouble>;

    fn close(self: Box<Self>) -> Result<(), Failure>;
}

/// Imports everything; what could not be is told on stderr.
///
/// # Errors
/// [`Failure`] when something was not imported.
pub(super) fn import(request: &Import, out: &mut dyn Write) -> Result<(), Failure> {
    let form = Form::of(&request.from)?;
    let mut target: Box<dyn Target> = match &request.to {
        To::Data(data) => Box::new(folder::Folder::open(data)?),
        To::Server { address, token } => {
            Box::new(wire::Server::new(address, token.as_deref(), request.document_bytes_max))
        }
    };
    let mut tally = Tally::default();
    let mut progress = Progress::new();
    let read = form.read(&request.from, request.document_bytes_max, &mut |found| {
        progress.tell(|| tally.to_string());
        match found {
            Found::Document { name, draft } => tally.document(&mut *target, &(request.prefix.clone() + &name), draft),
            Found::Unread { what, why } => {
                tally.not_imported(&what, &why);
                Ok(())
            }
        }
    });
    let closed = target.close();
    say(out, format!("{form} {}: {tally}", request.from.display()))?;
    read.and(closed)?;
    if tally.not_imported + tally.partial == 0 {
        return Ok(());
    }
    Err(Failure(format!(
        "not everything was imported from {}: see above",
        request.from.display()
    )))
}

/// How many documents met with what.
#[derive(Default)]
struct Tally {
    seen: u64,
    imported: u64,
    completed: u64,
    there: u64,
    empty: u64,
    /// Of which a part waits for what the source does not have.
    partial: u64,
    not_imported: u64,
    /// Of what is imported and completed.
    bytes: u64,
}

impl Tally {
    fn document(&mut self, target: &mut dyn Target, name: &str, draft: Result<Draft, String>) -> Result<(), Failure> {
        self.seen += 1;
        let outcome = draft
            .map_err(Trouble::Document)
            .and_then(|draft| self.put(target, name, draft));
        match outcome {
            Ok(()) => Ok(()),
            Err(Trouble::Document(why)) => {
                self.not_imported(&shown(name), &why);
                Ok(())
            }
            Err(Trouble::All(failure)) => {
                self.not_imported += 1;
                Err(failure)
            }
        }
    }

    fn not_imported(&mut self, what: &dyn Display, why: &str) {
        self.not_imported += 1;
        warn(format!("{what} was not imported: {why}\n"));
    }

    fn put(&mut self, target: &mut dyn Target, name: &str, draft: Draft) -> Result<(), Trouble> {
        let id = DocumentId::parse(name).map_err(|invalid| match invalid {
            InvalidDocumentId::Empty => "its name is empty: give it one with --prefix".to_owned(),
            other => other.to_string(),
        })?;
        let (source, lacks) = draft.finish()?;
        if source.clocks().is_empty() && lacks {
            return Err(Trouble::Document(LACKS_ALL.to_owned()));
        }
        if source.clocks().is_empty() {
            self.empty += 1;
            return Ok(());
        }
        match target.put(&id, &source)? {
            Outcome::Imported(bytes) => {
                self.imported += 1;
                self.bytes += bytes as u64;
            }
            Outcome::Completed(bytes) => {
                self.completed += 1;
                self.bytes += bytes as u64;
            }
            Outcome::AlreadyThere => self.there += 1,
        }
        if lacks {
            self.partial += 1;
            warn(format!("{id} is imported as far as Yjs shows it: {LACKS_SOME}\n"));
        }
        Ok(())
    }
}

/// A name for a terminal: also one that is far too long.
fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

/// Characters of a name that are shown: of one that is taken, all.
const SHOWN_CHARS_MAX: usize = DOCUMENT_ID_BYTES_MAX;

/// `3 documents: 2 imported, 1 already there; 1.2 KiB written`.
impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} imported", count(self.seen, "document"), self.imported)?;
        for (number, what) in [
            (self.completed, "completed"),
            (self.there, "already there"),
            (self.empty, "empty"),
            (self.partial, "not whole"),
            (self.not_imported, "not imported"),
        ] {
            if number > 0 {
                write!(f, ", {number} {what}")?;
            }
        }
        write!(f, "; {} written", size(self.bytes))
    }
}

/// A document of which nothing can be shown.
const LACKS_ALL: &str = "all its edits refer to edits that the source does not have";
/// A document of which something waits for what never came.
const LACKS_SOME: &str = "it holds edits that refer to edits which the source does not have";

/// What brings a target that has `there` to what `source` holds, or none if it holds it already.
///
/// # Errors
/// When the target has something of its own.
fn lacking(source: &Document, there: &Document) -> Result<Option<CheckedUpdate>, String> {
    let state = checked(source.since(&Clocks::default()))?;
    let news = match there.judge(state) {
        Verdict::Known => return Ok(None),
        Verdict::News(news) if !news.is_partial() => news.update().clone(),
        Verdict::News(_) | Verdict::Nothing => return Err(LACKS_SOME.to_owned()),
        Verdict::Refused(why) => return Err(format!("it is refused: {why}")),
        Verdict::Conflict(_) => return Err(OF_ITS_OWN.to_owned()),
    };
    // A target that has a part of it and nothing else is one that an import did not finish, or that is behind.
    match source.judge(checked(there.since(&Clocks::default()))?) {
        Verdict::Known => Ok(Some(news)),
        _ => Err(OF_ITS_OWN.to_owned()),
    }
}

/// A document of this name that is another one.
const OF_ITS_OWN: &str =
    "a document of this name is there, with content of its own, and was left as it is: import it with a --prefix";

fn checked(state: Bytes) -> Result<CheckedUpdate, String> {
    CheckedUpdate::check(state).map_err(|malformed| format!("its state does not pass the gate: {malformed}"))
}

/// Whose file or folder it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Hocuspocus,
    YSweet,
    YLeveldb,
    Folder,
    File,
}

impl Display for Form {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hocuspocus => "the Hocuspocus database",
            Self::YSweet => "the y-sweet folder",
            Self::YLeveldb => "the y-leveldb folder",
            Self::Folder => "the folder of updates",
            Self::File => "the update",
        })
    }
}

impl Form {
    fn of(from: &Path) -> Result<Self, Failure> {
        let kind = fs::metadata(from).map_err(|error| failed("read", from, error))?;
        if kind.is_file() {
            let mut head = Vec::new();
            File::open(from)
                .and_then(|file| file.take(hocuspocus::MAGIC.len() as u64).read_to_end(&mut head))
                .map_err(|error| failed("read", from, error))?;
            return Ok(if head == hocuspocus::MAGIC {
                Self::Hocuspocus
            } else {
                Self::File
            });
        }
        if !kind.is_dir() {
            return Err(Failure(format!("{} is neither a file nor a folder", from.display())));
        }
        if from.join("CURRENT").is_file() {
            return Ok(Self::YLeveldb);
        }
        let is_y_sweet = y_sweet::is_folder(from).map_err(|error| failed("read", from, error))?;
        Ok(if is_y_sweet { Self::YSweet } else { Self::Folder })
    }

    fn read(self, from: &Path, limit: usize, visit: &mut Visit) -> Result<(), Failure> {
        match self {
            Self::Hocuspocus => hocuspocus::read(from, limit, visit),
            Self::YSweet => y_sweet::read(from, limit, visit),
            Self::YLeveldb => y_leveldb::read(from, limit, visit),
            Self::Folder | Self::File => files::read(from, limit, visit),
        }
    }
}

/// A file, unless it is larger than `limit` bytes.
fn bounded(path: &Path, limit: usize) -> Result<Vec<u8>, String> {
    let told = |error: io::Error| format!("cannot read {}: {error}", path.display());
    // A pipe or a device would never end, or never begin.
    let kind = fs::symlink_metadata(path).map_err(told)?;
    if !kind.is_file() {
        return Err(format!("{} is no plain file", path.display()));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .map_err(told)?;
    if bytes.len() > limit {
        return Err(too_large(limit));
    }
    Ok(bytes)
}

fn too_large(limit: usize) -> String {
    format!(
        "it is larger than {}: --document-bytes-max raises that",
        size(limit as u64)
    )
}
