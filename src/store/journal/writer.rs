//! Commits, and what happens when the disk refuses.
//!
//! What must stay true:
//!
//! * One batch is one sync. Nothing is taken into the index before it returned `Ok`.
//! * After a write or a sync failed, the segment is abandoned where the last good batch ended: not one more
//!   byte is written to it, and it is not synced again. The header of the next segment says where it ends,
//!   and that header becomes durable together with the batch that is written anew behind it.
//! * What a start found in doubt is written anew before anything else, or in the same batch.
//! * `ends` holds what the next header must say; it is emptied only when a header that says it is durable.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    io,
    sync::Arc,
};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::{
    Journal, Unread,
    compaction::Compaction,
    disk::DiskFile,
    hint,
    index::{Index, Position, Segment},
    recovery::{Recovered, io_error},
    segment::{self, ENDS_MAX, End, Entry, HEADER_BYTES, Header},
};
use crate::{
    id::DocumentId,
    store::{
        Body, Holder, Record, Refusals, Seq, StoreError,
        holder::NOT_THE_HOLDERS,
        record::{self, Kind, Place, Trace},
    },
};

/// Bodies from this length on are written from where they lie, in bytes.
const LARGE_BYTES: usize = 256 * 1024;

/// A segment is filled with zeros so far ahead, in bytes, and no further than an eighth of what makes it full: the
/// sync of a file that grows writes its length and where its bytes lie as well, which takes the disk twice as long.
const AHEAD_BYTES: u64 = 256 * 1024;

/// After a batch failed, so many are written without zeros: what a quota refuses may have been the zeros.
const WARY: u32 = 1_000;

/// A buffer larger than this is given back after a batch, in bytes.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What only the writing thread knows.
#[derive(Default)]
pub(super) struct Writer {
    pub active: Option<Active>,
    pub next_number: u32,
    pub next_lsn: u64,
    pub ends: Vec<End>,
    /// Ends of files that are longer, by segment, with the number of the segment whose header says so.
    pub unsettled: BTreeMap<u32, (End, u32)>,
    /// The same, found at the start: they wait for the first commit, which writes anew what is in doubt.
    pub unsettled_later: BTreeMap<u32, (End, u32)>,
    pub doubtful: Vec<(u32, Entry)>,
    /// Segments that may get a hint, with what is known of it.
    pub unhinted: BTreeMap<u32, Option<hint::Builder>>,
    pub garbage: Vec<String>,
    pub compaction: Option<Compaction>,
    pub closed: bool,
    /// So many batches are still written without zeros behind them.
    wary: u32,
    buffer: Vec<u8>,
}

/// The segment that is written to.
pub(super) struct Active {
    pub number: u32,
    pub salt: u32,
    pub file: Arc<dyn DiskFile>,
    /// Where the last durable batch ends.
    pub end: u64,
    pub batch: u32,
    pub previous: Option<Trace>,
    pub hint: hint::Builder,
    /// Up to here the file was filled with zeros, or it was tried; behind `end` there is nothing else.
    pub filled: u64,
}

/// A record to be appended.
pub(super) enum Item<'a> {
    /// One that a caller commits.
    New(&'a Record),
    /// A copy of one that lies elsewhere.
    Copy { from: u32, entry: Entry, record: Record },
}

impl Item<'_> {
    fn record(&self) -> &Record {
        match self {
            Self::New(record) => record,
            Self::Copy { record, .. } => record,
        }
    }
}

impl Writer {
    pub fn from(found: Recovered) -> (Index, Self) {
        let writer = Self {
            next_number: found.next_number,
            next_lsn: found.next_lsn,
            ends: found.ends,
            unsettled_later: found
                .unsettled
                .into_iter()
                .map(|(end, by)| (end.segment, (end, by)))
                .collect(),
            doubtful: found.doubtful,
            unhinted: found.unhinted.into_iter().map(|number| (number, None)).collect(),
            garbage: found.garbage,
            ..Self::default()
        };
        (found.index, writer)
    }
}

impl Journal {
    pub(super) fn commit_records(&self, writer: &mut Writer, records: &[Record]) -> Result<Refusals, StoreError> {
        if writer.closed {
            return Err(StoreError::Unusable("the store is closed".into()));
        }
        let (fresh, refused) = self.check_order(records);
        if !fresh.is_empty() {
            self.append(writer, fresh.into_iter().map(Item::New).collect())?;
        }
        Ok(refused)
    }

    /// Writes the items as one batch, after what is in doubt, and takes them into the index.
    pub(super) fn append(&self, writer: &mut Writer, items: Vec<Item>) -> Result<(), StoreError> {
        let mut items = items;
        let carried = self.carry(writer)?;
        if !carried.is_empty() {
            items = carried.into_iter().chain(items).collect();
        }
        if items.is_empty() {
            return Ok(());
        }
        let bytes: u64 = items
            .iter()
            .map(|item| record::encoded_bytes(item.record()).unwrap_or(u64::MAX))
            .sum();
        self.roll(writer, bytes);
        if writer.active.is_none() {
            writer.active = Some(self.start_segment(writer)?);
        }
        let Some(mut active) = writer.active.take() else {
            return Ok(());
        };

        let ahead = match writer.wary {
            0 => AHEAD_BYTES.min(self.target_bytes() / 8),
            _ => 0,
        };
        match write_batch(&mut active, &items, ahead, &mut writer.next_lsn, &mut writer.buffer) {
            Ok(entries) => {
                self.settle_ends(writer, &active);
                let mut index = self.index_mut();
                take_in(&mut index, &mut active, items, entries);
                writer.doubtful.clear();
                writer.active = Some(active);
                writer.wary = writer.wary.saturating_sub(1);
                Ok(())
            }
            Err((doing, error)) => {
                let path = self.folder.join(segment::file_name(active.number));
                log::error!(
                    "cannot {doing} {}: {error}; it is abandoned at byte {}",
                    path.display(),
                    active.end
                );
                writer.wary = WARY;
                self.abandon(writer, active);
                Err(io_error(doing, &path, error))
            }
        }
    }

    /// Ends the active segment, if there is one: the next batch goes into a new one.
    pub(super) fn seal(&self, writer: &mut Writer) {
        if let Some(mut active) = writer.active.take() {
            self.cut_zeros(&mut active);
            self.abandon(writer, active);
        }
    }

    /// A segment ends with its last record before another one begins: what reads the journal beside us sees no file
    /// become shorter later.
    fn cut_zeros(&self, active: &mut Active) {
        if active.filled <= active.end {
            return;
        }
        let cut = active.file.truncate(active.end).and_then(|()| active.file.sync_data());
        match cut {
            Ok(()) => active.filled = active.end,
            Err(error) => log::warn!("segment {} will be cut later: {error}", active.number),
        }
    }

    pub(super) fn target_bytes(&self) -> u64 {
        let quarter = self.index().live() / 4;
        quarter
            .max(self.options.segment_bytes_min)
            .min(self.options.segment_bytes)
    }

    /// Drops what is stored already and refuses what does not follow, or is not its holder's.
    fn check_order<'a>(&self, records: &'a [Record]) -> (Vec<&'a Record>, Refusals) {
        let mut known: FxHashMap<&DocumentId, (Seq, Option<Holder>)> = FxHashMap::default();
        let mut fresh = Vec::with_capacity(records.len());
        let mut refused = Refusals::default();
        let holders = self.holders();
        for record in records {
            if refused.cover(record) {
                continue;
            }
            let stored = || {
                let index = self.index();
                let last = index.documents.get(&record.document);
                let last = last.map_or(0, |known| known.last_seq());
                (last, holders.get(&record.document).copied())
            };
            let (last, holder) = known.entry(&record.document).or_insert_with(stored);
            if *holder != record.holder {
                refused.refuse(record, NOT_THE_HOLDERS);
                continue;
            }
            match self.follows(record, last) {
                Ok(true) => fresh.push(record),
                Ok(false) => {}
                Err(reason) => refused.refuse(record, reason),
            }
        }
        (fresh, refused)
    }

    /// Whether a record is new, behind the position `last`, which it moves.
    fn follows(&self, record: &Record, last: &mut Seq) -> Result<bool, String> {
        record::encoded_bytes(record).map_err(|error| error.to_string())?;
        match record.body {
            Body::Update(_) if *last == 0 && self.index().lost(&record.document).is_some() => {
                Err("it is damaged: only a snapshot or a deletion may follow".into())
            }
            Body::Update(_) if record.seq == *last + 1 => {
                *last = record.seq;
                Ok(true)
            }
            Body::Update(_) if record.seq <= *last && self.is_stored(record) => Ok(false),
            Body::Update(_) => Err(format!("an update with position {} cannot follow {last}", record.seq)),
            Body::Snapshot(_) | Body::Deleted => {
                *last = record.seq.max(*last);
                Ok(true)
            }
        }
    }

    /// Whether the very same update is there already.
    fn is_stored(&self, record: &Record) -> bool {
        let position = self.index().documents.get(&record.document).and_then(|known| {
            let index = record.seq.checked_sub(known.base_seq() + 1)?;
            known.updates.get(usize::try_from(index).ok()?).copied()
        });
        let Some(position) = position else { return false };
        let mut bodies = Vec::with_capacity(1);
        let read = self.read_all(&record.document, &[position], Kind::Update, record.seq, &mut bodies);
        read.is_ok()
            && bodies
                .pop()
                .is_some_and(|(_, body): (Seq, Bytes)| body == record::body_of(record))
    }

    /// Reads what is in doubt.
    fn carry(&self, writer: &mut Writer) -> Result<Vec<Item<'static>>, StoreError> {
        let mut items = Vec::with_capacity(writer.doubtful.len());
        for (from, entry) in &writer.doubtful {
            match self.read_entry(*from, entry) {
                Ok(record) => items.push(Item::Copy {
                    from: *from,
                    entry: entry.clone(),
                    record,
                }),
                Err(Unread::Io(error)) => return Err(error),
                Err(Unread::Damaged(segment, reason)) => self.quarantine(&entry.document, segment, &reason),
            }
        }
        Ok(items)
    }

    /// Reads and checks the record that `entry` says.
    pub(super) fn read_entry(&self, number: u32, entry: &Entry) -> Result<Record, Unread> {
        let (salt, file) = self.segment_file(number)?;
        let path = self.folder.join(segment::file_name(number));
        let read = segment::read_record(&*file, salt, entry.offset, entry.bytes)
            .map_err(|error| Unread::Io(io_error("read", &path, error)))?;
        let place = format!("{} at byte {}", path.display(), entry.offset);
        match read {
            Ok((record, place)) if record.document == entry.document && place.lsn == entry.lsn => Ok(record),
            Ok(_) => Err(Unread::Damaged(number, format!("{place}: another record lies there"))),
            Err(fault) => Err(Unread::Damaged(number, format!("{place}: {fault}"))),
        }
    }

    fn roll(&self, writer: &mut Writer, bytes: u64) {
        let full = |active: &Active| active.end > HEADER_BYTES && active.end + bytes > self.target_bytes();
        if writer.active.as_ref().is_some_and(full) {
            self.seal(writer);
        }
    }

    fn start_segment(&self, writer: &mut Writer) -> Result<Active, StoreError> {
        let number = writer.next_number;
        let path = self.folder.join(segment::file_name(number));
        if writer.ends.len() > ENDS_MAX {
            self.remove_unborn_again(writer);
        }
        if writer.ends.len() > ENDS_MAX {
            let error = io::Error::other("too many segments failed one after the other");
            return Err(io_error("create", &path, error));
        }
        writer.next_number += 1;
        let salt = RandomState::new().hash_one(number) as u32;
        let header = Header {
            number,
            salt,
            ends: writer.ends.clone(),
        };
        let file = self
            .disk
            .create(&path)
            .map_err(|error| io_error("create", &path, error))?;
        let named = file
            .write_all_at(&header.encode(), 0)
            .map_err(|error| io_error("write", &path, error))
            .and_then(|()| {
                self.disk
                    .sync_folder(&self.folder)
                    .map_err(|error| io_error("sync", &self.folder, error))
            });
        if let Err(error) = named {
            self.remove_unborn(writer, number);
            return Err(error);
        }
        self.keep_open(number, &file);
        Ok(Active {
            number,
            salt,
            file,
            end: HEADER_BYTES,
            batch: 1,
            previous: None,
            hint: hint::Builder::default(),
            filled: HEADER_BYTES,
        })
    }

    /// Leaves the active segment for good; what lies behind its last durable batch is void.
    fn abandon(&self, writer: &mut Writer, active: Active) {
        if active.end == HEADER_BYTES {
            self.remove_unborn(writer, active.number);
            return;
        }
        writer.ends.push(End {
            segment: active.number,
            durable: active.end,
            valid: active.end,
            last: active.previous,
        });
        if let Ok(bytes) = active.file.bytes()
            && let Some(segment) = self.index_mut().segments.get_mut(&active.number)
        {
            // Zeros of which the cut was not synced may be back after a power loss.
            segment.file_bytes = bytes.max(active.filled);
        }
        writer.unhinted.insert(active.number, Some(active.hint));
    }

    /// Removes a segment in which nothing became durable.
    fn remove_unborn(&self, writer: &mut Writer, number: u32) {
        self.files().remove(&number);
        if let Err(error) = self.disk.unlink(&self.folder.join(segment::file_name(number))) {
            log::warn!("cannot remove the empty segment {number}: {error}");
            writer.ends.push(End {
                segment: number,
                durable: HEADER_BYTES,
                valid: HEADER_BYTES,
                last: None,
            });
        }
    }

    /// Tries once more to remove what could not be removed, so that no header need speak of it.
    fn remove_unborn_again(&self, writer: &mut Writer) {
        writer.ends.retain(|end| {
            let path = self.folder.join(segment::file_name(end.segment));
            let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
            end.durable > HEADER_BYTES || !self.disk.unlink(&path).map_or_else(is_gone, |()| true)
        });
    }

    /// The header of `active` is durable: what it says need not be said again.
    fn settle_ends(&self, writer: &mut Writer, active: &Active) {
        if writer.ends.is_empty() {
            return;
        }
        let later = std::mem::take(&mut writer.unsettled_later);
        writer.unsettled.extend(later);
        let index = self.index();
        for end in writer.ends.drain(..) {
            match index.segments.get(&end.segment) {
                Some(segment) if segment.file_bytes > end.durable => {
                    writer.unsettled.insert(end.segment, (end, active.number));
                }
                Some(_) => {}
                None => writer.garbage.push(segment::file_name(end.segment)),
            }
        }
    }
}

/// Writes and syncs one batch. On success `active` ends behind it.
fn write_batch(
    active: &mut Active,
    items: &[Item],
    ahead: u64,
    next_lsn: &mut u64,
    buffer: &mut Vec<u8>,
) -> Result<Vec<Entry>, (&'static str, io::Error)> {
    buffer.clear();
    let mut entries = Vec::with_capacity(items.len());
    let mut previous = active.previous;
    let (mut offset, mut written) = (active.end, active.end);
    for item in items {
        let record = item.record();
        let lsn = match item {
            Item::Copy { entry, .. } => entry.lsn,
            Item::New(_) => {
                *next_lsn += 1;
                *next_lsn - 1
            }
        };
        let place = Place {
            lsn,
            batch: active.batch,
            first: entries.is_empty(),
            previous,
        };
        let before = buffer.len();
        record::encode_head(record, &place, active.salt, buffer);
        let body = record::body_of(record);
        let bytes = (buffer.len() - before + body.len()) as u64;
        if body.len() < LARGE_BYTES {
            buffer.extend_from_slice(body);
        }
        if body.len() >= LARGE_BYTES || buffer.len() >= BUFFER_BYTES {
            active
                .file
                .write_all_at(buffer, written)
                .map_err(|error| ("write", error))?;
            written += buffer.len() as u64;
            buffer.clear();
        }
        if body.len() >= LARGE_BYTES {
            active
                .file
                .write_all_at(body, written)
                .map_err(|error| ("write", error))?;
            written += body.len() as u64;
        }
        entries.push(Entry {
            document: record.document.clone(),
            kind: Kind::of(&record.body),
            seq: record.seq,
            at_ms: record.at_ms,
            lsn,
            offset,
            bytes,
        });
        offset += bytes;
        previous = Some(Trace::of(record));
    }
    if !buffer.is_empty() {
        active
            .file
            .write_all_at(buffer, written)
            .map_err(|error| ("write", error))?;
    }
    fill_ahead(active, offset, ahead).map_err(|error| ("write", error))?;
    active.file.sync_data().map_err(|error| ("sync", error))?;
    if buffer.capacity() > 2 * BUFFER_BYTES {
        *buffer = Vec::new();
    }
    active.end = offset;
    active.batch += 1;
    active.previous = previous;
    Ok(entries)
}

/// Gives the file its length for the batches to come, when the one that is being written, which ends at `offset`,
/// made it longer. A large one is not followed by others so soon.
fn fill_ahead(active: &mut Active, offset: u64, ahead: u64) -> io::Result<()> {
    if offset <= active.filled || offset - active.end > ahead / 4 {
        return Ok(());
    }
    let zeros = vec![0; usize::try_from(ahead).unwrap_or_default()];
    // Also when there is no room for them: it is tried again behind as much.
    active.filled = offset + ahead;
    match active.file.write_all_at(&zeros, offset) {
        // On a disk that is nearly full the batch, which has its room, comes first.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            log::debug!("segment {} cannot be filled ahead: {error}", active.number);
            Ok(())
        }
        written => written,
    }
}

/// Takes a durable batch into the index.
fn take_in(index: &mut Index, active: &mut Active, items: Vec<Item>, entries: Vec<Entry>) {
    let segment = index.segments.entry(active.number).or_insert_with(|| Segment {
        salt: active.salt,
        ..Segment::default()
    });
    segment.end = active.end;
    segment.file_bytes = active.end.max(active.filled);
    for (item, entry) in items.into_iter().zip(entries) {
        active.hint.push(&entry);
        match item {
            Item::New(_) => index.apply(active.number, &entry),
            Item::Copy { from, entry: old, .. } => index.relocate(from, &old, Position::of(active.number, &entry)),
        }
    }
}
