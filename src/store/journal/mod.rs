//! The truth on disk: an append-only log of checksummed records in segments.
//!
//! * `disk`: what is asked of a file system, and the real one
//! * `segment`: one file: header, records, the scan that tells a torn tail from damage
//! * `hint`: the table of contents of a segment
//! * `index`: in memory, where each current record lies
//! * `recovery`: from the files to the index
//! * `writer`: commits, and what happens when the disk refuses
//! * `compaction`: copies what is needed out of a segment that is mostly dead, then deletes it
//!
//! What must stay true:
//!
//! * The index changes only after the sync that makes the change durable returned `Ok`. So what a load
//!   returns is what a start after a power loss returns.
//! * One thread writes (the writer's lock), any number reads. A read holds no lock while it waits for the
//!   disk: it takes positions from the index, and takes them anew when a file has gone in the meantime.
//! * A segment's file is removed only when [`Index::need`] says of each of its records that nobody needs it,
//!   or that record was copied into a segment that was synced.
//!
//! Not covered: several neighbouring records that are gone from a segment without a hint (the last one),
//! each the newest of its document. Only the last of them is named by its follower; the others leave no
//! gap. The start then logs damage of which nobody can say whose it was.

pub mod compaction;
pub mod disk;
pub mod hint;
pub mod index;
pub mod recovery;
pub mod segment;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use self::{
    disk::{Disk, DiskFile, DiskLock},
    index::{Base, Document, Index, Position},
    recovery::{Spoiled, io_error},
    writer::Writer,
};
use super::{
    Body, DocumentEntry, EMPTY_UPDATE, Holder, NodeId, Record, Refusals, Seq, Store, StoreError, StoreStatus,
    StoredDocument,
    record::{self, Fault, Head, Kind},
};
use crate::id::DocumentId;

/// Most files that are kept open for reading.
const OPEN_FILES_MAX: usize = 128;

/// Records that lie at most this far apart are read at once, in bytes.
const READ_GAP_BYTES: u64 = 16 * 1024;

/// Most bytes that are read at once, unless one record is larger.
const READ_BYTES: u64 = 1024 * 1024;

/// What a journal is called in its data folder until a restore has made all of it.
pub const UNFINISHED: &str = "journal.restoring";

/// Why a folder cannot be a journal's.
fn unusable(folder: &Path, error: io::Error) -> StoreError {
    let what = match error.kind() {
        io::ErrorKind::PermissionDenied => "give the data folder (--data) to the user that runs this",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "the data folder (--data) has to be a folder",
        io::ErrorKind::ReadOnlyFilesystem => "name a data folder (--data) on a disk that can be written to",
        _ => return io_error("create", folder, error),
    };
    StoreError::Unusable(format!("the store cannot use {}: {error}; {what}", folder.display()))
}

/// Refuses a data folder in which a restore has not come to its end: a journal that is made there would be empty.
///
/// # Errors
/// [`StoreError::Unusable`] says what to do.
pub fn refuse_unfinished(data: &Path) -> Result<(), StoreError> {
    let unfinished = data.join(UNFINISHED);
    if !unfinished.exists() || data.join("journal").exists() {
        return Ok(());
    }
    Err(StoreError::Unusable(format!(
        "a restore to {} has not come to its end: run `cowrite restore` again, or remove {} to begin with nothing",
        data.display(),
        unfinished.display()
    )))
}

/// What an operator may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalOptions {
    /// Length at which a segment is full, in bytes. Default 64 MiB.
    pub segment_bytes: u64,
    /// A segment is full earlier, at a quarter of what is live but not below this, in bytes, so that a
    /// small store has small files. Default 1 MiB.
    pub segment_bytes_min: u64,
    /// How long superseded records are kept, in milliseconds from the time they were superseded. Default 0.
    pub retain_ms: u64,
    /// A segment is compacted when more than this share of it is dead, in percent. Default 25: the log then
    /// takes up to 1.33 times what is live.
    pub dead_percent_max: u64,
    /// Most bytes that one step of [`Store::maintain`] copies, unless one record is larger. Default 4 MiB.
    pub step_bytes: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            segment_bytes_min: 1024 * 1024,
            retain_ms: 0,
            dead_percent_max: 25,
            step_bytes: 4 * 1024 * 1024,
        }
    }
}

/// An append-only log of records, alone a complete [`Store`].
pub struct Journal {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    options: JournalOptions,
    index: RwLock<Index>,
    writer: Mutex<Writer>,
    files: Mutex<FxHashMap<u32, Arc<dyn DiskFile>>>,
    holders: Mutex<FxHashMap<DocumentId, Holder>>,
    spoiled: Mutex<Vec<Spoiled>>,
    _lock: Option<Box<dyn DiskLock>>,
}

impl Journal {
    /// Opens the journal in `folder`, which is made when it is not there, and takes its lock.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when another server has it, [`StoreError::Io`] when the disk did not answer.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, options: JournalOptions) -> Result<Self, StoreError> {
        let journal = Self::open_beside(disk, folder, options)?;
        for Spoiled { entry, segment, reason } in journal.spoiled().drain(..) {
            journal.quarantine(&entry.document, segment, &reason);
        }
        Ok(journal)
    }

    /// The same for whoever keeps copies of snapshots: of those that fail their check nothing is called damaged before a
    /// load, or [`Journal::maintain_with`], has asked for the copy.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_beside(disk: Arc<dyn Disk>, folder: &Path, options: JournalOptions) -> Result<Self, StoreError> {
        disk.create_folder(folder).map_err(|error| unusable(folder, error))?;
        let lock_path = folder.join("lock");
        let lock = disk
            .lock(&lock_path)
            .map_err(|error| io_error("lock", &lock_path, error))?
            .ok_or_else(|| {
                StoreError::Unusable(format!(
                    "{} is in use by another server: one folder, one server",
                    folder.display()
                ))
            })?;
        let mut found = recovery::recover(&*disk, folder, options.retain_ms)?;
        let spoiled = Mutex::new(std::mem::take(&mut found.spoiled));
        let (index, writer) = Writer::from(found);
        let journal = Self {
            disk,
            folder: folder.to_path_buf(),
            options,
            index: RwLock::new(index),
            writer: Mutex::new(writer),
            files: Mutex::default(),
            holders: Mutex::default(),
            spoiled,
            _lock: Some(lock),
        };
        // What a load returns must survive a power loss, also when nobody commits before that.
        if let Err(error) = journal.append(&mut journal.writer(), Vec::new()) {
            log::warn!("what was written last before the stop is not yet written anew: {error}");
        }
        if let Err(error) = journal.cut_all(&mut journal.writer()) {
            log::warn!("void bytes are not yet cut off: {error}");
        }
        Ok(journal)
    }

    /// Reads the journal that `disk` shows in `folder`, without its lock, and writes nothing: it is closed
    /// from the start. The files must not change meanwhile, or the disk must not show it.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the disk did not answer.
    pub fn view(disk: Arc<dyn Disk>, folder: &Path) -> Result<Self, StoreError> {
        let (index, mut writer) = Writer::from(recovery::recover(&*disk, folder, 0)?.alone());
        writer.closed = true;
        Ok(Self {
            disk,
            folder: folder.to_path_buf(),
            options: JournalOptions::default(),
            index: RwLock::new(index),
            writer: Mutex::new(writer),
            files: Mutex::default(),
            holders: Mutex::default(),
            spoiled: Mutex::default(),
            _lock: None,
        })
    }

    /// Reads a document; `shelf` may have its snapshot at hand, checked against the base it is asked for.
    ///
    /// # Errors
    /// As [`Store::load`]. [`StoreError::Io`] also when the snapshot fails its check here and the shelf is late: it may
    /// have the only good copy.
    pub fn load_with(
        &self,
        document: &DocumentId,
        shelf: impl Fn(&DocumentId, &Base) -> Shelved,
    ) -> Result<StoredDocument, StoreError> {
        let mut before: Option<Document> = None;
        loop {
            let index = self.index();
            let Some(known) = index.documents.get(document).cloned() else {
                return match index.lost(document) {
                    Some(reason) => Err(StoreError::Damaged {
                        document: document.clone(),
                        reason: reason.clone(),
                    }),
                    None => Ok(StoredDocument::default()),
                };
            };
            drop(index);
            if let Some(damage) = known.damage {
                return Err(StoreError::Damaged {
                    document: document.clone(),
                    reason: damage.reason,
                });
            }
            match self.read_document(document, &known, &shelf) {
                Ok(stored) => return Ok(stored),
                // Compaction moved a record between the look into the index and the read: look again.
                Err(_) if before.as_ref() != Some(&known) => before = Some(known),
                Err(Unread::Io(error)) => return Err(error),
                Err(Unread::Damaged(segment, reason)) => {
                    self.quarantine(document, segment, &reason);
                    return Err(StoreError::Damaged {
                        document: document.clone(),
                        reason,
                    });
                }
            }
        }
    }

    /// Makes a document this holder's. What earlier holders wrote before that is in the index afterwards.
    pub(in crate::store) fn hold(&self, document: &DocumentId, holder: Holder) {
        let before = self.holders().insert(document.clone(), holder);
        if before.is_some_and(|before| before != holder) {
            // A commit that is under way has asked for the holder already: it becomes durable first. (Who released the
            // document has none under way.)
            drop(self.writer());
        }
    }

    /// Nobody has the document from now on, if this holder had it.
    pub(in crate::store) fn let_go(&self, document: &DocumentId, holder: Holder) {
        let mut holders = self.holders();
        if holders.get(document) == Some(&holder) {
            holders.remove(document);
        }
        if holders.is_empty() {
            holders.shrink_to_fit();
        }
    }

    /// The base that a document starts from, none when there is none or the document is damaged.
    #[must_use]
    pub fn base(&self, document: &DocumentId) -> Option<Base> {
        self.index()
            .documents
            .get(document)
            .filter(|known| known.damage.is_none())?
            .base
    }

    /// Reads and checks the snapshot that `base` says.
    ///
    /// # Errors
    /// As [`Store::load`]; also when compaction has moved it meanwhile: ask for the base again.
    pub fn read_base(&self, document: &DocumentId, base: &Base) -> Result<Bytes, StoreError> {
        let mut bodies = Vec::with_capacity(1);
        match self.read_all(document, &[base.position], base.kind, base.seq, &mut bodies) {
            Ok(()) => Ok(bodies.pop().map_or(EMPTY_UPDATE, |(_, body)| body)),
            Err(Unread::Io(error)) => Err(error),
            Err(Unread::Damaged(_, reason)) => Err(StoreError::Damaged {
                document: document.clone(),
                reason,
            }),
        }
    }

    /// Up to `most` documents whose names follow `after`, with their bases, for whoever keeps a copy.
    #[must_use]
    pub fn bases(&self, after: Option<&DocumentId>, most: usize) -> Vec<(DocumentId, Option<Base>)> {
        let index = self.index();
        names_after(&index, after)
            .take(most)
            .map(|(name, known)| (name.clone(), known.base))
            .collect()
    }

    fn read_document(
        &self,
        name: &DocumentId,
        known: &Document,
        shelf: impl Fn(&DocumentId, &Base) -> Shelved,
    ) -> Result<StoredDocument, Unread> {
        let snapshot = match known.base {
            None => None,
            Some(base) if base.kind == Kind::Deleted => Some((base.seq, EMPTY_UPDATE)),
            Some(base) => match shelf(name, &base) {
                Shelved::Found(body) => Some((base.seq, body)),
                shelved => self.read_snapshot(name, &base, &shelved)?,
            },
        };
        let mut updates = Vec::with_capacity(known.updates.len());
        self.read_all(name, &known.updates, Kind::Update, known.base_seq() + 1, &mut updates)?;
        Ok(StoredDocument { snapshot, updates })
    }

    /// Reads the snapshot that `base` says, after the shelf did not give it.
    fn read_snapshot(&self, name: &DocumentId, base: &Base, shelved: &Shelved) -> Result<Option<(Seq, Bytes)>, Unread> {
        let mut bodies = Vec::with_capacity(1);
        let read = self.read_all(name, &[base.position], base.kind, base.seq, &mut bodies);
        match read {
            Err(Unread::Damaged(segment, reason)) if *shelved == Shelved::Late => {
                let error = io::Error::new(io::ErrorKind::TimedOut, format!("{reason}; sled has not answered yet"));
                Err(Unread::Io(io_error(
                    "read",
                    &self.folder.join(segment::file_name(segment)),
                    error,
                )))
            }
            read => read.map(|()| bodies.pop()),
        }
    }

    /// Reads the records at `positions`, which have ascending positions from `seq` on.
    fn read_all(
        &self,
        name: &DocumentId,
        positions: &[Position],
        kind: Kind,
        mut seq: Seq,
        out: &mut Vec<(Seq, Bytes)>,
    ) -> Result<(), Unread> {
        let mut rest = positions;
        while let Some(first) = rest.first() {
            let mut end = first.offset + u64::from(first.bytes);
            let mut count = 1;
            for next in &rest[1..] {
                let next_end = next.offset + u64::from(next.bytes);
                let near = next.segment == first.segment && next.offset >= end && next.offset - end <= READ_GAP_BYTES;
                if !near || next_end - first.offset > READ_BYTES {
                    break;
                }
                end = next_end;
                count += 1;
            }
            let (together, later) = rest.split_at(count);
            rest = later;

            let (salt, file) = self.segment_file(first.segment)?;
            let path = || self.folder.join(segment::file_name(first.segment));
            let length = usize::try_from(end - first.offset).unwrap_or(usize::MAX);
            let mut buffer = vec![0; length];
            let read = file
                .read_at(&mut buffer, first.offset)
                .map_err(|error| Unread::Io(io_error("read", &path(), error)))?;
            buffer.truncate(read);
            let buffer = Bytes::from(buffer);
            for position in together {
                let from = usize::try_from(position.offset - first.offset)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let to = from.saturating_add(position.bytes as usize).min(buffer.len());
                let place = || format!("{} at byte {}", path().display(), position.offset);
                let (record, _) = record::decode(&buffer.slice(from..to), salt)
                    .map_err(|fault: Fault| Unread::Damaged(first.segment, format!("{}: {fault}", place())))?;
                if record.document != *name || record.seq != seq || Kind::of(&record.body) != kind {
                    let reason = format!("{}: another record lies there", place());
                    return Err(Unread::Damaged(first.segment, reason));
                }
                if let Body::Update(body) | Body::Snapshot(body) = record.body {
                    out.push((seq, body));
                }
                seq += 1;
            }
        }
        Ok(())
    }

    /// Reads and checks the record at `position`, which is of this document.
    fn read_at(&self, name: &DocumentId, position: &Position) -> Result<Record, Unread> {
        let (salt, file) = self.segment_file(position.segment)?;
        let path = self.folder.join(segment::file_name(position.segment));
        let read = segment::read_record(&*file, salt, position.offset, u64::from(position.bytes))
            .map_err(|error| Unread::Io(io_error("read", &path, error)))?;
        let moved = || {
            Unread::Damaged(
                position.segment,
                format!("{}: another record lies there", path.display()),
            )
        };
        read.ok()
            .map(|(record, _)| record)
            .filter(|record| record.document == *name)
            .ok_or_else(moved)
    }

    /// The head of a snapshot of which the rest may not be readable; none if it fails its check, too.
    fn head_of(&self, name: &DocumentId, base: &Base) -> Option<Head> {
        let (salt, file) = self.segment_file(base.position.segment).ok()?;
        let mut bytes = vec![0; base.position.bytes as usize];
        let read = file.read_at(&mut bytes, base.position.offset).ok()?;
        let head = record::decode_head(&bytes[..read], salt).ok()?;
        (head.document == *name && head.place.lsn == base.lsn).then_some(head)
    }

    /// The salt and the file of a segment.
    fn segment_file(&self, number: u32) -> Result<(u32, Arc<dyn DiskFile>), Unread> {
        let salt = self.index().segments.get(&number).map(|segment| segment.salt);
        let salt = salt.ok_or_else(|| Unread::Damaged(number, format!("segment {number} is gone")))?;
        if let Some(file) = self.files().get(&number) {
            return Ok((salt, Arc::clone(file)));
        }
        let path = self.folder.join(segment::file_name(number));
        let file = self.disk.open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Unread::Damaged(number, format!("{} is missing", path.display())),
            _ => Unread::Io(io_error("open", &path, error)),
        })?;
        self.keep_open(number, &file);
        Ok((salt, file))
    }

    fn keep_open(&self, number: u32, file: &Arc<dyn DiskFile>) {
        let mut files = self.files();
        if files.len() >= OPEN_FILES_MAX {
            files.clear();
        }
        files.insert(number, Arc::clone(file));
    }

    fn quarantine(&self, document: &DocumentId, segment: u32, reason: &str) {
        self.index_mut().quarantine(document, segment, reason);
    }

    // A panic while one of these is held leaves values that are whole: each change is one assignment or is
    // made of changes that only count bytes.
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holders(&self) -> MutexGuard<'_, FxHashMap<DocumentId, Holder>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spoiled(&self) -> MutexGuard<'_, Vec<Spoiled>> {
        self.spoiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, FxHashMap<u32, Arc<dyn DiskFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Journal {
    fn take(&self, document: &DocumentId, holder: Holder) -> Result<StoredDocument, StoreError> {
        self.hold(document, holder);
        self.load(document)
    }

    fn release(&self, document: &DocumentId, holder: Holder, _: Option<NodeId>) -> Result<(), StoreError> {
        self.let_go(document, holder);
        Ok(())
    }

    fn commit(&self, records: &[Record]) -> Result<Refusals, StoreError> {
        self.commit_records(&mut self.writer(), records)
    }

    fn load(&self, document: &DocumentId) -> Result<StoredDocument, StoreError> {
        self.load_with(document, |_, _| Shelved::Not)
    }

    fn stored_bytes(&self, document: &DocumentId) -> Option<u64> {
        Some(self.index().documents.get(document).map_or(0, Document::bytes))
    }

    fn history(&self, document: &DocumentId) -> Result<Vec<Record>, StoreError> {
        loop {
            // It says what is wrong, if something is.
            self.load(document)?;
            let Some(known) = self.index().documents.get(document).cloned() else {
                return Ok(Vec::new());
            };
            let places = known.base.iter().map(|base| &base.position).chain(&known.updates);
            let read: Result<Vec<Record>, Unread> = places.map(|place| self.read_at(document, place)).collect();
            match read {
                Ok(records) => return Ok(records),
                Err(Unread::Io(error)) => return Err(error),
                // Compaction moved a record meanwhile.
                Err(Unread::Damaged(..)) => {}
            }
        }
    }

    fn list(&self, after: Option<&DocumentId>, most: usize) -> Result<Vec<DocumentEntry>, StoreError> {
        let index = self.index();
        let documents = names_after(&index, after)
            .filter(|(_, known)| known.exists())
            .take(most);
        Ok(documents
            .map(|(name, known)| DocumentEntry {
                document: name.clone(),
                last_seq: known.last_seq(),
                bytes: known.bytes(),
                changed_ms: known.changed_ms,
                damaged: known.damage.as_ref().map(|damage| damage.reason.clone()),
            })
            .collect())
    }

    fn maintain(&self, now_ms: u64) -> Result<bool, StoreError> {
        self.maintain_with(now_ms, |_, _| Shelved::Not)
    }

    fn status(&self) -> StoreStatus {
        let index = self.index();
        // What tests do is compared with a look at all documents.
        debug_assert!(index.documents.len() > 1_000 || index.counts == index.count());
        StoreStatus {
            documents: index.counts.existing,
            damaged: index.counts.damaged + index.lost.len() as u64,
            live_bytes: index.live(),
            disk_bytes: index
                .segments
                .values()
                .map(|segment| segment.file_bytes + segment.hint_bytes)
                .sum(),
            segments: index.segments.len() as u64,
            rebuilding: None,
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        self.close_files(&mut self.writer())
    }
}

/// What keeps copies of snapshots says when it is asked for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shelved {
    /// The snapshot, checked.
    Found(Bytes),
    /// It does not have that one.
    Not,
    /// It has not answered in time: it may have it.
    Late,
}

/// Why a read came to nothing.
enum Unread {
    Io(StoreError),
    Damaged(u32, String),
}

fn names_after<'a>(
    index: &'a Index,
    after: Option<&DocumentId>,
) -> impl Iterator<Item = (&'a DocumentId, &'a Document)> {
    use std::ops::Bound;
    let start = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.clone()));
    index.documents.range((start, Bound::Unbounded))
}
