//! `cowrite doc`: one document, from outside of the server (rules B12 to B15).
//!
//! Listing and exporting look at an image and need no lock. Importing and deleting commit to the journal
//! like the server does; sled, which is not touched, finds out at the next start that it is behind.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
#[cfg(feature = "postgres")]
use uuid::Uuid;

use super::{Export, Failure, Place, count, failed, image::Image, is_folder, journal_in, say, size, time_text};
#[cfg(feature = "postgres")]
use crate::store::postgres::{Options, PostgresStore};
use crate::{
    actor::clock::wall_ms,
    content,
    document::{Damaged, Deleted, Document, Verdict},
    id::DocumentId,
    protocol::update::{CheckedUpdate, Clocks},
    store::{
        Body, DocumentEntry, Holder, Record, Store, StoreError,
        journal::{self, Journal, JournalOptions, disk::FileDisk},
    },
};

/// Documents that are listed at once.
const PAGE: usize = 1_000;

/// A line for each document whose name begins with `prefix`.
pub(super) fn list(place: &Place, prefix: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let lines = viewed(place, |store| {
        let mut lines: Vec<String> = Vec::new();
        let mut after: Option<DocumentId> = None;
        loop {
            let page = store.list(after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(lines) };
            after = Some(last.document.clone());
            let named = page.iter().filter(|entry| entry.document.as_str().starts_with(prefix));
            lines.extend(named.map(line));
        }
    })?;
    if lines.is_empty() {
        return Ok(());
    }
    say(out, lines.join("\n"))
}

fn line(entry: &DocumentEntry) -> String {
    let health = if entry.damaged.is_some() { "damaged" } else { "ok" };
    format!(
        "{:>12}  {}  {health:<7}  {}",
        entry.bytes,
        time_text(entry.changed_ms),
        entry.document
    )
}

/// Writes the whole document, to a new file or to stdout.
pub(super) fn export(
    place: &Place,
    name: &DocumentId,
    form: Export,
    to: Option<&Path>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let is_terminal = to.is_none() && io::stdout().is_terminal();
    if is_terminal && form == Export::Update {
        return Err(Failure(
            "an update is no text for a terminal: name a file, pipe it into a program, or add --as json".to_owned(),
        ));
    }
    let written = viewed(place, |store| {
        existing(store, place, name)?;
        let document = document(store, name)?;
        let state = document.since(&Clocks::default());
        match form {
            Export::Update => Ok(state),
            Export::Content(form) => {
                let shown = content::show(&state, form)
                    .map_err(|why| Failure(format!("{name}: {why} (without --as it can be exported)")))?;
                Ok(if is_terminal { harmless(&shown) } else { shown }.into())
            }
        }
    })?;
    let Some(to) = to else {
        return match out.write_all(&written).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure(format!("cannot write the document: {error}")))
            }
            _ => Ok(()),
        };
    };
    let mut file = fs::File::create_new(to).map_err(|error| failed("create", to, error))?;
    let done = file.write_all(&written).and_then(|()| file.sync_all());
    if let Err(error) = done {
        // Half of it under its name would be taken for the document.
        let _ = fs::remove_file(to);
        return Err(failed("write", to, error));
    }
    say(
        out,
        format!("{name}: {} written to {}", size(written.len() as u64), to.display()),
    )
}

/// Largest update that is imported, in bytes: the largest document that a server can be told to take.
const IMPORT_BYTES_MAX: u64 = 1 << 30;

/// Merges an update from a file, or from stdin, into a document.
pub(super) fn import(
    place: &Place,
    name: &DocumentId,
    from: Option<&Path>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let source = from.map_or_else(|| "stdin".to_owned(), |from| from.display().to_string());
    let mut bytes = Vec::new();
    let read = match from {
        Some(from) => fs::File::open(from).and_then(|file| file.take(IMPORT_BYTES_MAX + 1).read_to_end(&mut bytes)),
        None => io::stdin().lock().take(IMPORT_BYTES_MAX + 1).read_to_end(&mut bytes),
    };
    read.map_err(|error| Failure(format!("cannot read {source}: {error}")))?;
    if bytes.len() as u64 > IMPORT_BYTES_MAX {
        let most = size(IMPORT_BYTES_MAX);
        return Err(Failure(format!(
            "{source} has more than {most}, which no server takes as one document"
        )));
    }
    let update = CheckedUpdate::check(Bytes::from(bytes))
        .map_err(|malformed| Failure(format!("{source} is no Yjs update of version 1: {malformed}")))?;

    let hand = Hand::on(place, name)?;
    let update = match document(&*hand.store, name)?.judge(update) {
        Verdict::News(news) if !news.is_partial() => news.update().clone(),
        Verdict::News(_) | Verdict::Nothing => {
            return Err(Failure(format!(
                "{source} goes on from edits that neither it nor {name} has: import those first, or a full export"
            )));
        }
        Verdict::Known => return say(out, format!("{name}: everything in {source} was there already")),
        Verdict::Refused(why) => return Err(Failure(format!("{source} is refused: {why}"))),
        Verdict::Conflict(id) => {
            return Err(Failure(format!(
                "{source} has clock {} of client {} with another content than {name}: they are not of one history",
                id.clock, id.client
            )));
        }
    };
    let bytes = update.bytes().len() as u64;
    let seq = hand.store.load(name)?.last_seq() + 1;
    hand.write(record(name, seq, Body::Update(update.bytes().clone())))?;
    say(out, format!("{name}: {} merged from {source}", size(bytes)))
}

/// Deletes a document. The deletion takes a position of its own, so that its loss leaves a gap.
pub(super) fn delete(place: &Place, name: &DocumentId, out: &mut dyn Write) -> Result<(), Failure> {
    match place {
        Place::Folder(data) => {
            journal::refuse_unfinished(data)?;
            journal_in(data)?;
        }
        #[cfg(feature = "postgres")]
        Place::Database(_) => {}
    }
    let hand = Hand::on(place, name)?;
    let entry = existing(&*hand.store, place, name)?;
    hand.write(record(name, entry.last_seq + 1, Body::Deleted))?;
    say(
        out,
        format!(
            "{name}: deleted, with {} in {}",
            size(entry.bytes),
            count(entry.last_seq, "update")
        ),
    )
}

pub(super) fn record(name: &DocumentId, seq: u64, body: Body) -> Record {
    Record {
        document: name.clone(),
        seq,
        at_ms: wall_ms(),
        authors: Arc::new([]),
        body,
        holder: None,
    }
}

/// A document that this command may write to.
struct Hand {
    store: Box<dyn Store>,
    holder: Option<Holder>,
}

impl Hand {
    /// The whole folder, or the document in a database.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(unused_variables, reason = "a folder is had whole")
    )]
    fn on(place: &Place, name: &DocumentId) -> Result<Self, Failure> {
        match place {
            Place::Folder(data) if !is_folder(data)? => {
                Err(Failure(format!("the folder {} does not exist", data.display())))
            }
            Place::Folder(data) => Ok(Self {
                store: Box::new(locked(data)?),
                holder: None,
            }),
            #[cfg(feature = "postgres")]
            Place::Database(url) => {
                let store = PostgresStore::open(url, Options::default())?;
                let holder = Holder::drawn(Uuid::new_v4().as_u64_pair().1);
                match store.take(name, holder) {
                    Err(error @ StoreError::Elsewhere { .. }) => Err(Failure(format!(
                        "{error}: wait until nobody has it open, or stop that server"
                    ))),
                    // A deletion heals it.
                    Ok(_) | Err(StoreError::Damaged { .. }) => Ok(()),
                    Err(error) => Err(error.into()),
                }?;
                Ok(Self {
                    store: Box::new(store),
                    holder: Some(holder),
                })
            }
        }
    }

    /// Writes this, and lets go.
    fn write(self, record: Record) -> Result<(), Failure> {
        let name = record.document.clone();
        let holder = self.holder;
        self.store.commit_all(&[Record { holder, ..record }])?;
        if let Some(holder) = self.holder {
            self.store.release(&name, holder, None)?;
        }
        Ok(self.store.close()?)
    }
}

/// What `look` finds: in a journal as it is at one moment, in a database as each document is when it is looked at.
pub(super) fn viewed<T>(place: &Place, look: impl Fn(&dyn Store) -> Result<T, Failure>) -> Result<T, Failure> {
    match place {
        Place::Folder(data) => {
            let folder = journal_in(data)?;
            Image::read(&folder, |image| look(&Journal::view(Arc::new(image.clone()), &folder)?))
        }
        #[cfg(feature = "postgres")]
        Place::Database(url) => look(&PostgresStore::open(url, Options::default())?),
    }
}

/// The journal of a data folder, which no server has, for this command alone.
pub(super) fn locked(data: &Path) -> Result<Journal, Failure> {
    journal::refuse_unfinished(data)?;
    Journal::open(Arc::new(FileDisk), &data.join("journal"), JournalOptions::default()).map_err(|error| match error {
        StoreError::Unusable(_) => Failure(format!(
            "a server is running on {}: stop it first, this command needs the folder for itself",
            data.display()
        )),
        other => other.into(),
    })
}

/// The catalogue's line of a document that must be there.
fn existing(store: &dyn Store, place: &Place, name: &DocumentId) -> Result<DocumentEntry, Failure> {
    // The name right before it in the order of names is not known: look from the start.
    let mut after: Option<DocumentId> = None;
    loop {
        let page = store.list(after.as_ref(), PAGE)?;
        let last = page.last().map(|entry| entry.document.clone());
        if let Some(entry) = page.into_iter().find(|entry| entry.document == *name) {
            return Ok(entry);
        }
        match last {
            Some(last) if last < *name => after = Some(last),
            _ => return Err(Failure(format!("there is no document {name} in {place}"))),
        }
    }
}

/// A document with all that is stored of it.
pub(super) fn document(store: &dyn Store, name: &DocumentId) -> Result<Document, Failure> {
    Document::open(store.load(name)?.records(), Deleted::Kept).map_err(|damaged| unreadable(name, &damaged))
}

/// Text that only looks like something on a terminal: what would command it is shown as U+FFFD.
fn harmless(text: &str) -> String {
    let is_command = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    text.replace(is_command, "\u{fffd}")
}

fn unreadable(name: &DocumentId, damaged: &Damaged) -> Failure {
    Failure(format!("document {name} is damaged: {damaged}"))
}
