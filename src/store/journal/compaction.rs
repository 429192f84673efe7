//! Upkeep, a step at a time: void bytes are cut off, hints are written, what is needed is copied out of
//! segments that are mostly dead, and those are deleted.
//!
//! What must stay true:
//!
//! * A segment is deleted only after each record in it was asked for ([`super::index::Index::need`]) and was
//!   not needed, or was copied and the copy synced. A record that cannot be read keeps its segment.
//! * A segment whose header says where another ends stays until that other was cut there.
//! * Each step is bounded by `step_bytes` (or one record) and leaves files that a start understands.

use std::path::{Path, PathBuf};

use super::{
    Journal, Shelved, Spoiled, Unread, hint,
    index::{Base, Need},
    recovery::io_error,
    segment::{self, End, Entry, HEADER_BYTES},
    writer::{Item, Writer},
};
use crate::{
    id::DocumentId,
    store::{Body, Record, StoreError, record::Kind},
};

/// So many segments that are less than an eighth full are let be; one more and the oldest is moved.
const SMALL_SEGMENTS_MAX: usize = 8;

/// A segment that is being moved.
pub(super) struct Compaction {
    victim: u32,
    entries: Vec<Entry>,
    next: usize,
}

impl Journal {
    /// The same as [`Store::maintain`](crate::store::Store::maintain). A snapshot that fails its check is written anew
    /// when `shelf` has it.
    ///
    /// # Errors
    /// As [`Store::maintain`](crate::store::Store::maintain).
    pub fn maintain_with(
        &self,
        now_ms: u64,
        shelf: impl Fn(&DocumentId, &Base) -> Shelved,
    ) -> Result<bool, StoreError> {
        let more = self.maintain_step(&mut self.writer(), now_ms)?;
        let spoiled = std::mem::take(&mut *self.spoiled());
        for one in spoiled {
            self.mend(one, &shelf)?;
        }
        // What waits for the shelf would be found again at once.
        Ok(more && self.spoiled().is_empty())
    }

    /// Writes a snapshot anew that failed its check, or quarantines its document.
    fn mend(&self, spoiled: Spoiled, shelf: impl Fn(&DocumentId, &Base) -> Shelved) -> Result<(), StoreError> {
        let Spoiled { entry, segment, reason } = &spoiled;
        let document = &entry.document;
        let Some(base) = self.base(document).filter(|base| base.lsn == entry.lsn) else {
            return Ok(());
        };
        match shelf(document, &base) {
            Shelved::Found(body) => {
                log::warn!("document {document} is whole in sled and is written anew to the journal: {reason}");
                // A copy of what it was, in its place in the order of writing. Its authors are known to the head alone.
                let authors = self.head_of(document, &base).map(|head| head.authors);
                let record = Record {
                    document: document.clone(),
                    seq: entry.seq,
                    at_ms: entry.at_ms,
                    authors: authors.unwrap_or_default(),
                    body: Body::Snapshot(body),
                    holder: None,
                };
                let copy = Item::Copy {
                    from: base.position.segment,
                    entry: Entry {
                        offset: base.position.offset,
                        bytes: u64::from(base.position.bytes),
                        ..entry.clone()
                    },
                    record,
                };
                let mut writer = self.writer();
                if writer.closed || self.base(document) != Some(base) {
                    return Ok(());
                }
                let written = self.append(&mut writer, vec![copy]);
                drop(writer);
                written.inspect_err(|_| self.spoiled().push(spoiled))
            }
            Shelved::Late => {
                self.spoiled().push(spoiled);
                Ok(())
            }
            Shelved::Not => {
                self.quarantine(document, *segment, reason);
                Ok(())
            }
        }
    }

    fn maintain_step(&self, writer: &mut Writer, now_ms: u64) -> Result<bool, StoreError> {
        if writer.closed {
            return Ok(false);
        }
        {
            let mut index = self.index_mut();
            index.now_ms = index.now_ms.max(now_ms);
        }
        for name in writer.garbage.drain(..) {
            if let Err(error) = self.disk.unlink(&self.folder.join(&name)) {
                log::warn!("cannot remove {name}: {error}");
            }
        }
        if self.cut_next(writer)? {
            return Ok(true);
        }
        // What was written here is known to be durable; what a start found may be in doubt until a commit.
        let sure = |number: u32| !writer.unsettled_later.contains_key(&number) && !writer.ends_at(number);
        let ready = writer
            .unhinted
            .iter()
            .find(|(number, hint)| hint.is_some() || sure(**number));
        if let Some(number) = ready.map(|(number, _)| *number) {
            self.write_hint(writer, number)?;
            return Ok(true);
        }
        self.seal_if_dead(writer);
        if writer.compaction.is_none() {
            let Some(victim) = self.choose(writer) else {
                return Ok(false);
            };
            let entries = self.entries_of(victim)?;
            if self.pin_if_damaged(victim, &entries) {
                return Ok(true);
            }
            writer.compaction = Some(Compaction {
                victim,
                entries,
                next: 0,
            });
        }
        self.compact(writer)?;
        Ok(true)
    }

    pub(super) fn close_files(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if writer.closed {
            return Ok(());
        }
        writer.closed = true;
        self.seal(writer);
        // Nothing follows that could write anew what is in doubt: without a hint it stays in doubt.
        let sure: Vec<u32> = writer
            .unhinted
            .iter()
            .filter(|(_, hint)| hint.is_some())
            .map(|(number, _)| *number)
            .collect();
        let results: Vec<_> = sure.into_iter().map(|number| self.write_hint(writer, number)).collect();
        self.files().clear();
        results.into_iter().collect()
    }

    /// Cuts all segments that are longer than a durable header says.
    pub(super) fn cut_all(&self, writer: &mut Writer) -> Result<(), StoreError> {
        while self.cut_next(writer)? {}
        Ok(())
    }

    fn cut_next(&self, writer: &mut Writer) -> Result<bool, StoreError> {
        let Some((&number, &(end, _))) = writer.unsettled.first_key_value() else {
            return Ok(false);
        };
        self.cut(number, end)?;
        writer.unsettled.remove(&number);
        Ok(true)
    }

    /// Cuts a segment where a durable header says that it ends.
    fn cut(&self, number: u32, end: End) -> Result<(), StoreError> {
        if !self.index().segments.contains_key(&number) {
            return Ok(());
        }
        let path = self.path_of(number);
        let file = self.disk.open(&path).map_err(|error| io_error("open", &path, error))?;
        file.truncate(end.durable)
            .map_err(|error| io_error("truncate", &path, error))?;
        file.sync_data().map_err(|error| io_error("sync", &path, error))?;
        if let Some(segment) = self.index_mut().segments.get_mut(&number) {
            segment.file_bytes = end.durable;
            segment.end = segment.end.min(end.durable);
        }
        Ok(())
    }

    fn write_hint(&self, writer: &mut Writer, number: u32) -> Result<(), StoreError> {
        let Some(salt) = self.index().segments.get(&number).map(|segment| segment.salt) else {
            writer.unhinted.remove(&number);
            return Ok(());
        };
        let builder = match writer.unhinted.remove(&number) {
            Some(Some(builder)) => builder,
            _ => match self.rebuild_hint(number, salt)? {
                Some(builder) => builder,
                None => return Ok(()),
            },
        };
        let bytes = builder.encode(number, salt);
        let path = self.folder.join(hint::file_name(number));
        match self.write_file(&path, &bytes) {
            Ok(()) => {
                if let Some(segment) = self.index_mut().segments.get_mut(&number) {
                    segment.hint_bytes = bytes.len() as u64;
                }
                Ok(())
            }
            Err(error) => {
                writer.unhinted.insert(number, Some(builder));
                Err(error)
            }
        }
    }

    /// Reads a segment for its hint; none when there is damage in it.
    fn rebuild_hint(&self, number: u32, salt: u32) -> Result<Option<hint::Builder>, StoreError> {
        let path = self.path_of(number);
        let file = self.disk.open(&path).map_err(|error| io_error("open", &path, error))?;
        let end = self
            .index()
            .segments
            .get(&number)
            .map_or(HEADER_BYTES, |segment| segment.end);
        let known = End {
            segment: number,
            durable: end,
            valid: end,
            last: None,
        };
        let scan = segment::scan(&*file, salt, end, Some(known)).map_err(|error| io_error("read", &path, error))?;
        if !scan.damage.is_empty() {
            log::error!("{} is damaged: it gets no hint", path.display());
            return Ok(None);
        }
        let mut builder = hint::Builder::default();
        scan.entries.iter().for_each(|entry| builder.push(entry));
        Ok(Some(builder))
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        // A hint of an earlier try may be there; it cannot be in use.
        let _ = self.disk.unlink(path);
        let file = self
            .disk
            .create(path)
            .map_err(|error| io_error("create", path, error))?;
        file.write_all_at(bytes, 0)
            .map_err(|error| io_error("write", path, error))?;
        file.sync_data().map_err(|error| io_error("sync", path, error))
    }

    /// Ends the active segment when most of it is dead, so that it can be compacted.
    fn seal_if_dead(&self, writer: &mut Writer) {
        let Some(active) = &writer.active else { return };
        let dead = {
            let index = self.index();
            index
                .segments
                .get(&active.number)
                .map_or(0, |segment| index.dead(segment))
        };
        if dead > self.target_bytes().max(4 * self.options.segment_bytes_min) && dead > active.end / 2 {
            self.seal(writer);
        }
    }

    /// The segment that gives back the most, if one gives back enough.
    fn choose(&self, writer: &Writer) -> Option<u32> {
        let small = self.target_bytes() / 8;
        let index = self.index();
        let free = |number: &u32| {
            writer.active.as_ref().is_none_or(|active| active.number != *number)
                && !writer.ends_at(*number)
                && !writer.unsettled.contains_key(number)
                && !writer.unsettled_later.contains_key(number)
                && !writer
                    .unsettled
                    .values()
                    .chain(writer.unsettled_later.values())
                    .any(|(_, by)| by == number)
        };
        let candidates: Vec<_> = index
            .segments
            .iter()
            .filter(|(number, segment)| free(number) && !index.pinned(segment))
            .map(|(number, segment)| (*number, index.dead(segment), segment.end - HEADER_BYTES))
            .collect();
        let wasteful = candidates
            .iter()
            .filter(|(_, dead, bytes)| *bytes == 0 || dead * 100 > bytes * self.options.dead_percent_max)
            .max_by_key(|(_, dead, _)| *dead);
        let mut little = candidates.iter().filter(|(_, _, bytes)| *bytes < small);
        let oldest = little.next();
        wasteful
            .or(oldest.filter(|_| little.count() >= SMALL_SEGMENTS_MAX))
            .map(|(number, ..)| *number)
    }

    /// What lies in a segment that is no longer written to.
    fn entries_of(&self, number: u32) -> Result<Vec<Entry>, StoreError> {
        let (salt, end) = match self.index().segments.get(&number) {
            Some(segment) => (segment.salt, segment.end),
            None => return Ok(Vec::new()),
        };
        let hint_path = self.folder.join(hint::file_name(number));
        let hint = self.disk.open(&hint_path).and_then(|file| {
            let mut bytes = vec![0; usize::try_from(file.bytes()?).unwrap_or(usize::MAX)];
            let read = file.read_at(&mut bytes, 0)?;
            Ok(hint::decode(&bytes[..read], number))
        });
        if let Ok(Some(hint)) = hint
            && hint.salt == salt
            && hint.end == end
        {
            return Ok(hint.entries);
        }
        let path = self.path_of(number);
        let file = self.disk.open(&path).map_err(|error| io_error("open", &path, error))?;
        let known = End {
            segment: number,
            durable: end,
            valid: end,
            last: None,
        };
        let scan = segment::scan(&*file, salt, end, Some(known)).map_err(|error| io_error("read", &path, error))?;
        if !scan.damage.is_empty()
            && let Some(segment) = self.index_mut().segments.get_mut(&number)
        {
            segment.unnamed = true;
        }
        Ok(scan.entries)
    }

    /// Keeps a segment as it is when records of damaged documents are in it: copying those again and again
    /// would give nothing back.
    fn pin_if_damaged(&self, victim: u32, entries: &[Entry]) -> bool {
        let mut index = self.index_mut();
        let damaged = entries
            .iter()
            .map(|entry| &entry.document)
            .find(|name| index.documents.get(*name).is_some_and(|known| known.damage.is_some()));
        let damaged = damaged.cloned();
        match index.segments.get_mut(&victim) {
            Some(segment) => {
                segment.damaged.extend(damaged.clone());
                damaged.is_some() || segment.unnamed
            }
            None => true,
        }
    }

    /// Copies the next needed records of the victim; at its end deletes it.
    fn compact(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let Some(mut compaction) = writer.compaction.take() else {
            return Ok(());
        };
        let victim = compaction.victim;
        let mut items = Vec::new();
        let mut bytes = 0;
        let mut next = compaction.next;
        while let Some(entry) = compaction.entries.get(next) {
            if self.index_mut().need(victim, entry) != Need::None {
                if bytes > 0 && bytes + entry.bytes > self.options.step_bytes {
                    break;
                }
                match self.read_entry(victim, entry) {
                    Ok(record) => items.push(Item::Copy {
                        from: victim,
                        entry: entry.clone(),
                        record,
                    }),
                    Err(Unread::Io(error)) => {
                        writer.compaction = Some(compaction);
                        return Err(error);
                    }
                    Err(Unread::Damaged(segment, reason)) => self.found_damage(entry, segment, reason),
                }
                bytes += entry.bytes;
            }
            next += 1;
        }
        if !items.is_empty()
            && let Err(error) = self.append(writer, items)
        {
            writer.compaction = Some(compaction);
            return Err(error);
        }
        compaction.next = next;
        if next < compaction.entries.len() {
            writer.compaction = Some(compaction);
            return Ok(());
        }
        self.delete(victim, &compaction.entries)
    }

    /// A record that is needed cannot be read. Of a snapshot that a load starts from there may be a copy.
    fn found_damage(&self, entry: &Entry, segment: u32, reason: String) {
        let base = self.base(&entry.document);
        if entry.kind == Kind::Snapshot && base.is_some_and(|base| base.lsn == entry.lsn) {
            let mut spoiled = self.spoiled();
            if spoiled.iter().all(|one| one.entry != *entry) {
                let entry = entry.clone();
                spoiled.push(Spoiled { entry, segment, reason });
            }
            return;
        }
        let mut index = self.index_mut();
        let is_whole = index
            .documents
            .get(&entry.document)
            .is_some_and(|known| known.damage.is_none());
        if is_whole && index.need(segment, entry) == Need::Past {
            log::error!(
                "of the history of document {} something is lost: {reason}",
                entry.document
            );
            // It stays for a person to look at.
            if let Some(segment) = index.segments.get_mut(&segment) {
                segment.unnamed = true;
            }
            return;
        }
        drop(index);
        self.quarantine(&entry.document, segment, &reason);
    }

    fn delete(&self, victim: u32, entries: &[Entry]) -> Result<(), StoreError> {
        {
            let mut index = self.index_mut();
            let current = entries.iter().any(|entry| index.need(victim, entry) == Need::Current);
            let pinned = index.segments.get(&victim).is_none_or(|segment| index.pinned(segment));
            if current || pinned {
                return Ok(());
            }
        }
        let path = self.path_of(victim);
        self.disk
            .unlink(&path)
            .map_err(|error| io_error("remove", &path, error))?;
        self.files().remove(&victim);
        let hinted = self
            .index_mut()
            .segments
            .remove(&victim)
            .is_some_and(|segment| segment.hint_bytes > 0);
        if hinted && let Err(error) = self.disk.unlink(&self.folder.join(hint::file_name(victim))) {
            log::warn!("cannot remove the hint of segment {victim}: {error}");
        }
        Ok(())
    }

    fn path_of(&self, number: u32) -> PathBuf {
        self.folder.join(segment::file_name(number))
    }
}

impl Writer {
    /// Whether the next header must say where `number` ends.
    fn ends_at(&self, number: u32) -> bool {
        self.ends.iter().any(|end| end.segment == number)
    }
}
