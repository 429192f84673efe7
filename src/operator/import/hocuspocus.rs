//! Hocuspocus with its SQLite extension: a table `documents` with a row for each document, `name` and `data`, its whole
//! state.
//!
//! Each read is short, so that a Hocuspocus that still runs on the file is not held up. Nothing is written, as far as
//! SQLite can: one in WAL mode that a server has open keeps a table of its readers beside the file.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rusqlite::{Connection, OpenFlags, OptionalExtension, limits::Limit, types::ValueRef};

use super::{Draft, Failure, Found, Visit, too_large};

/// What an SQLite file begins with.
pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";

/// How long another process may have the file to itself, while it writes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a row beside its document: a name.
const ROW_BYTES_MAX: usize = 64 * 1024;

/// Each row of the table.
pub(super) fn read(from: &Path, limit: usize, visit: &mut Visit) -> Result<(), Failure> {
    let told = |error: rusqlite::Error| {
        let hint = if beside(from, "-journal").exists() {
            " (its server did not stop as it should: start and stop it once)"
        } else {
            ""
        };
        Failure(format!("cannot read {}: {error}{hint}", from.display()))
    };
    let connection = open(from, limit).map_err(told)?;
    connection
        .prepare("SELECT rowid, name, data FROM documents LIMIT 0")
        .map_err(|error| match error {
            rusqlite::Error::SqlInputError { .. } => Failure(format!(
                "{} has no table `documents` with a `name` and `data`: it is no database of Hocuspocus",
                from.display()
            )),
            other => told(other),
        })?;
    let mut rows = Rows {
        connection: &connection,
        left: Some((i64::MIN, i64::MAX)),
    };
    for end in [End::First, End::Last] {
        loop {
            match rows.take(end) {
                Ok(None) => return Ok(()),
                Ok(Some(row)) => visit(row.found(&connection, limit))?,
                // What is behind it is read from the other end.
                Err(_) if end == End::First => break,
                Err(error) => {
                    let (from, to) = rows.left.unwrap_or_default();
                    return visit(Found::Unread {
                        what: format!("what is in rows {from} to {to}"),
                        why: error.to_string(),
                    });
                }
            }
        }
    }
    Ok(())
}

fn open(from: &Path, limit: usize) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if is_idle_wal(from) {
        let path = utf8_percent_encode(&from.to_string_lossy(), PATH).to_string();
        Connection::open_with_flags(format!("file:{path}?immutable=1"), flags | OpenFlags::SQLITE_OPEN_URI)?
    } else {
        Connection::open_with_flags(from, flags)?
    };
    connection.busy_timeout(PATIENCE)?;
    let row_bytes_max = i32::try_from(limit.saturating_add(ROW_BYTES_MAX)).unwrap_or(i32::MAX);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, row_bytes_max)?;
    Ok(connection)
}

/// What would mean something in the URI of a file.
const PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

/// Whether it is in WAL mode and nobody has it open: SQLite would make files beside it to read it.
fn is_idle_wal(from: &Path) -> bool {
    const WRITE_VERSION_AT: usize = 18;
    let mut head = [0; WRITE_VERSION_AT + 1];
    let is_wal =
        File::open(from).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head[WRITE_VERSION_AT] == 2;
    is_wal && !beside(from, "-wal").exists()
}

fn beside(from: &Path, ending: &str) -> PathBuf {
    let mut path = from.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

struct Row {
    id: i64,
    name: Option<String>,
}

/// The rows that were not read yet: the first and the last number that they may have.
struct Rows<'a> {
    connection: &'a Connection,
    left: Option<(i64, i64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    First,
    Last,
}

impl Rows<'_> {
    /// The first or the last of them, if there is one. One whose name is no text has none.
    fn take(&mut self, end: End) -> rusqlite::Result<Option<Row>> {
        let Some((from, to)) = self.left else {
            return Ok(None);
        };
        let order = if end == End::First { "ASC" } else { "DESC" };
        let mut rows = self.connection.prepare(&format!(
            "SELECT rowid, name FROM documents WHERE rowid BETWEEN ? AND ? ORDER BY rowid {order} LIMIT 1"
        ))?;
        let row = |row: &rusqlite::Row| {
            Ok(Row {
                id: row.get(0)?,
                name: row.get_ref(1)?.as_str().ok().map(str::to_owned),
            })
        };
        let taken = rows.query_row([from, to], row).optional()?;
        match (&taken, end) {
            (Some(row), End::First) => self.left = row.id.checked_add(1).map(|from| (from, to)),
            (Some(row), End::Last) => self.left = row.id.checked_sub(1).map(|to| (from, to)),
            (None, _) => {}
        }
        Ok(taken)
    }
}

impl Row {
    fn found(self, connection: &Connection, limit: usize) -> Found {
        let Some(name) = self.name else {
            return Found::Unread {
                what: format!("row {}", self.id),
                why: "its name is no text".to_owned(),
            };
        };
        Found::Document {
            name,
            draft: data(connection, self.id, limit).and_then(|state| Draft::of(state, limit)),
        }
    }
}

fn data(connection: &Connection, row: i64, limit: usize) -> Result<Vec<u8>, String> {
    let told = |error: rusqlite::Error| format!("cannot read it: {error}");
    // Asking for the length reads nothing else.
    let mut length = connection
        .prepare("SELECT length(data) FROM documents WHERE rowid = ?")
        .map_err(told)?;
    let bytes: Option<i64> = length.query_row([row], |row| row.get(0)).map_err(told)?;
    if usize::try_from(bytes.unwrap_or(0)).map_or(true, |bytes| bytes > limit) {
        return Err(too_large(limit));
    }
    let mut data = connection
        .prepare("SELECT data FROM documents WHERE rowid = ?")
        .map_err(told)?;
    let state = |row: &rusqlite::Row| match row.get_ref(0)? {
        ValueRef::Blob(bytes) => Ok(Some(bytes.to_vec())),
        _ => Ok(None),
    };
    data.query_row([row], state)
        .map_err(told)?
        .ok_or_else(|| "its `data` is no blob".to_owned())
}
