//! From the files to the index, at a start. Reads only: what must be written (a batch of which the sync is
//! in doubt written anew, a torn tail cut) is told to the writer, so that a full disk can be opened.
//!
//! * A segment with a hint is not read. Others are scanned: the last one, and those whose hint is missing.
//! * Records are taken in any order: a copy lies behind newer records of its document. Of two with the same
//!   document and position the one with the larger `lsn` counts, of two with the same `lsn` the one in the
//!   later segment.
//! * A gap between positions is damage, wherever it comes from.
//! * What a header says of the ends of others is said again only while it matters: until that header is
//!   known to be durable, of files that are there and have not been cut. So a journal can be started any
//!   number of times.
//! * What is *in doubt* was written in the last batch before a stop: nobody knows whether its sync
//!   happened, so it is written anew before anything may follow on it. That what is there can be read
//!   proves nothing: it may be in the system's cache alone.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    io,
    path::Path,
};

use super::{
    disk::Disk,
    hint,
    index::{Base, Document, Index, Need, Position, Segment, Superseder},
    segment::{self, Damage, End, Entry, HEADER_BYTES, Header, Lost},
};
use crate::{
    id::DocumentId,
    store::{Seq, StoreError, record},
};
use record::Kind;

/// What a start found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Everything that is there.
    pub index: Index,
    /// The number of the next segment.
    pub next_number: u32,
    /// The next order of writing.
    pub next_lsn: u64,
    /// What the next segment's header must say.
    pub ends: Vec<End>,
    /// Ends whose files are longer, and the segments whose headers say so.
    pub unsettled: Vec<(End, u32)>,
    /// Current records in doubt, in the order of their writing.
    pub doubtful: Vec<(u32, Entry)>,
    /// Segments without a hint that may get one.
    pub unhinted: Vec<u32>,
    /// Files that hold nothing: segments that were never born, hints without a segment.
    pub garbage: Vec<String>,
    /// Snapshots that loads start from and that fail their check: whoever has copies can write them anew.
    pub spoiled: Vec<Spoiled>,
}

/// A snapshot that fails its check, of which there may be a copy.
#[derive(Debug)]
pub struct Spoiled {
    /// What is known of it.
    pub entry: Entry,
    /// Where it lies.
    pub segment: u32,
    /// What did not match.
    pub reason: String,
}

impl Recovered {
    /// Nobody has copies of snapshots: what starts from one that fails its check is damaged.
    #[must_use]
    pub fn alone(mut self) -> Self {
        for one in self.spoiled.drain(..) {
            self.index.quarantine(&one.entry.document, one.segment, &one.reason);
        }
        self
    }
}

/// Reads the journal in `folder`.
///
/// # Errors
/// [`StoreError::Io`] when the disk did not answer.
pub fn recover(disk: &dyn Disk, folder: &Path, retain_ms: u64) -> Result<Recovered, StoreError> {
    let files: BTreeMap<String, u64> = disk
        .list(folder)
        .map_err(|error| io_error("list", folder, error))?
        .into_iter()
        .collect();
    let mut found = Recovered {
        next_number: 1,
        next_lsn: 1,
        ..Recovered::default()
    };
    found.index.retain_ms = retain_ms;
    let headers = read_headers(disk, folder, &files, &mut found)?;
    let ends = ends_in(&headers);
    let last = headers.keys().next_back().copied();
    let mut gathered = Gathered::default();
    for end in emptied(&headers, &ends, &mut found) {
        let file_bytes = files.get(&segment::file_name(end.segment)).copied().unwrap_or_default();
        found.index.segments.insert(
            end.segment,
            Segment {
                end: HEADER_BYTES,
                file_bytes,
                unnamed: true,
                ..Segment::default()
            },
        );
        let damage = Damage {
            offset: HEADER_BYTES,
            reason: segment::cut_short(file_bytes, end.durable),
            lost: end.last.map_or(Lost::Unknown, Lost::Traced),
        };
        gathered.damage.push((end.segment, damage));
    }

    for (&number, (header, file_bytes)) in &headers {
        let end = end_of(number, *file_bytes, &ends, last);
        let said = ends.get(&number).map(|(end, _)| *end);
        let contents = read_segment(disk, folder, header, *file_bytes, end, said, &files)?;
        found.index.segments.insert(
            number,
            Segment {
                salt: header.salt,
                end: contents.end,
                file_bytes: *file_bytes,
                hint_bytes: contents.hint_bytes,
                ..Segment::default()
            },
        );
        if contents.hint_bytes == 0 && contents.damage.is_empty() {
            found.unhinted.push(number);
        }
        if Some(number) == last {
            // A second batch was begun only after the first one was durable, and the header with it.
            if contents.durable <= HEADER_BYTES {
                let is_open = |end: &&End| {
                    let longer = |(_, file_bytes): &(Header, u64)| *file_bytes != end.durable;
                    headers.get(&end.segment).is_some_and(longer)
                };
                found.ends = header.ends.iter().filter(is_open).copied().collect();
            }
            found.ends.push(End {
                segment: number,
                durable: contents.durable,
                valid: contents.end,
                last: contents.entries.last().map(Entry::trace),
            });
        } else if let Some((end, by)) = ends.get(&number).filter(|(end, _)| *file_bytes > end.durable) {
            found.unsettled.push((*end, *by));
        }
        for entry in contents.entries {
            gathered.take(number, entry, contents.durable, retain_ms > 0);
        }
        gathered
            .damage
            .extend(contents.damage.into_iter().map(|damage| (number, damage)));
    }

    found.spoiled = gathered.keep_spoiled(retain_ms > 0);
    found.next_lsn = gathered.lsn_max + 1;
    found.doubtful = gathered.finish(&mut found.index);
    for one in &found.spoiled {
        if let Some(segment) = found.index.segments.get_mut(&one.segment) {
            segment.damaged.push(one.entry.document.clone());
        }
    }
    keep_witnesses(&mut found.index, &ends);
    Ok(found)
}

/// Reads every byte of the segments of the journal in `folder` that are `wanted`, and tells `each` what lies in
/// one: its number, its salt, its length in bytes, and what a scan found; in the order of their numbers.
///
/// A hint is not believed in place of a segment, but it says where the segment ends and whose a record was.
///
/// Returns the segments that cannot be read because no header of theirs passes its check.
///
/// # Errors
/// [`StoreError::Io`] when the disk did not answer.
pub fn survey(
    disk: &dyn Disk,
    folder: &Path,
    wanted: impl Fn(u32) -> bool,
    mut each: impl FnMut(u32, u32, u64, segment::Scan),
) -> Result<Vec<u32>, StoreError> {
    let files: BTreeMap<String, u64> = disk
        .list(folder)
        .map_err(|error| io_error("list", folder, error))?
        .into_iter()
        .collect();
    let mut found = Recovered::default();
    let headers = read_headers(disk, folder, &files, &mut found)?;
    let ends = ends_in(&headers);
    emptied(&headers, &ends, &mut found);
    let last = headers.keys().next_back().copied();
    for (&number, (header, file_bytes)) in headers.iter().filter(|(number, _)| wanted(**number)) {
        let path = folder.join(segment::file_name(number));
        let end = end_of(number, *file_bytes, &ends, last);
        let hint = read_hint(disk, folder, number, &files)?
            .map(|(hint, _)| hint)
            .filter(|hint| hint.speaks_of(header, ends.get(&number).map(|(end, _)| *end)));
        let end = hint.as_ref().map_or(end, |hint| {
            Some(End {
                segment: number,
                durable: hint.end,
                valid: hint.end,
                last: None,
            })
        });
        let file = disk.open(&path).map_err(|error| io_error("open", &path, error))?;
        let mut scan =
            segment::scan(&*file, header.salt, *file_bytes, end).map_err(|error| io_error("read", &path, error))?;
        if let Some(hint) = hint {
            scan.damage = lost_of(hint, &scan);
        }
        each(number, header.salt, *file_bytes, scan);
    }
    let numbers = files.keys().filter(|name| !found.garbage.contains(name));
    Ok(numbers
        .filter_map(|name| segment::number_of(name))
        .filter(|number| wanted(*number) && !headers.contains_key(number))
        .collect())
}

/// The records that a hint lists and a scan did not find whole.
fn lost_of(hint: hint::Hint, scan: &segment::Scan) -> Vec<Damage> {
    let is_there = |entry: &Entry| {
        scan.entries
            .binary_search_by_key(&entry.offset, |whole| whole.offset)
            .is_ok()
    };
    let lost = hint.entries.into_iter().filter(|entry| !is_there(entry));
    lost.map(|entry| {
        let reason = scan.damage.iter().find(|damage| damage.offset == entry.offset);
        Damage {
            offset: entry.offset,
            reason: reason.map_or_else(|| "no record is there".to_owned(), |damage| damage.reason.clone()),
            lost: Lost::Known(entry),
        }
    })
    .collect()
}

/// Wraps what the system said.
pub(super) fn io_error(doing: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        doing,
        path: path.display().to_string(),
        source,
    }
}

type Headers = BTreeMap<u32, (Header, u64)>;

impl hint::Hint {
    /// Whether it is about the segment with this header, which others say ends at `said`. The file itself is not
    /// asked: of one that was cut short the hint names what is gone.
    fn speaks_of(&self, header: &Header, said: Option<End>) -> bool {
        self.salt == header.salt && said.is_none_or(|said| self.end <= said.valid)
    }
}

/// What the headers say of the ends of earlier segments, with who says it; the first that spoke counts.
fn ends_in(headers: &Headers) -> BTreeMap<u32, (End, u32)> {
    headers
        .iter()
        .rev()
        .flat_map(|(by, (header, _))| header.ends.iter().map(|end| (end.segment, (*end, *by))))
        .collect()
}

/// The segments of which nothing is left, though a header says that records in them were durable: they are no
/// garbage.
fn emptied(headers: &Headers, ends: &BTreeMap<u32, (End, u32)>, found: &mut Recovered) -> Vec<End> {
    let gone = ends.values().map(|(end, _)| *end).filter(|end| {
        let is_garbage = found.garbage.contains(&segment::file_name(end.segment));
        is_garbage && end.durable > HEADER_BYTES && !headers.contains_key(&end.segment)
    });
    let gone: Vec<End> = gone.collect();
    found
        .garbage
        .retain(|name| !gone.iter().any(|end| segment::file_name(end.segment) == *name));
    gone
}

/// Keeps the segments whose headers alone say that another was longer, as long as that one is kept.
fn keep_witnesses(index: &mut Index, ends: &BTreeMap<u32, (End, u32)>) {
    for (number, (end, by)) in ends {
        let short = index.segments.get(number);
        let short = short.filter(|segment| segment.file_bytes < end.durable && segment.hint_bytes == 0);
        let Some((damaged, unnamed)) = short.map(|segment| (segment.damaged.clone(), segment.unnamed)) else {
            continue;
        };
        if let Some(witness) = index.segments.get_mut(by) {
            witness.damaged.extend(damaged);
            witness.unnamed |= unnamed;
        }
    }
}

/// Up to where a segment counts: as a header says, or all of it when another follows; none for the last one.
fn end_of(number: u32, file_bytes: u64, ends: &BTreeMap<u32, (End, u32)>, last: Option<u32>) -> Option<End> {
    let known = End {
        segment: number,
        durable: file_bytes,
        valid: file_bytes,
        last: None,
    };
    let said = ends.get(&number).map(|(end, _)| *end);
    said.or((Some(number) != last).then_some(known))
}

fn read_headers(
    disk: &dyn Disk,
    folder: &Path,
    files: &BTreeMap<String, u64>,
    found: &mut Recovered,
) -> Result<Headers, StoreError> {
    let mut headers = Headers::new();
    for (name, &file_bytes) in files {
        let Some(number) = segment::number_of(name) else {
            if hint::number_of(name).is_some_and(|number| !files.contains_key(&segment::file_name(number))) {
                found.garbage.push(name.clone());
            }
            continue;
        };
        found.next_number = found.next_number.max(number + 1);
        let path = folder.join(name);
        let file = disk.open(&path).map_err(|error| io_error("open", &path, error))?;
        let header = Header::read(&*file, number).map_err(|error| io_error("read", &path, error))?;
        let header = match header {
            Some(header) => Some(header),
            None => read_hint(disk, folder, number, files)?.map(|(hint, _)| {
                log::error!(
                    "both headers of {} fail their check, its hint stands in",
                    path.display()
                );
                Header {
                    number,
                    salt: hint.salt,
                    ends: Vec::new(),
                }
            }),
        };
        match header {
            Some(header) => {
                headers.insert(number, (header, file_bytes));
            }
            None if file_bytes <= HEADER_BYTES => found.garbage.push(name.clone()),
            None => {
                // A segment of which the first sync did not happen looks like this, and so does one whose
                // header was damaged twice: it stays, and gaps tell which documents it was of.
                log::error!(
                    "{} has no header that passes its check and is left alone",
                    path.display()
                );
            }
        }
    }
    Ok(headers)
}

fn read_hint(
    disk: &dyn Disk,
    folder: &Path,
    number: u32,
    files: &BTreeMap<String, u64>,
) -> Result<Option<(hint::Hint, u64)>, StoreError> {
    let name = hint::file_name(number);
    let Some(&length) = files.get(&name) else {
        return Ok(None);
    };
    let path = folder.join(&name);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let read = disk.open(&path).and_then(|file| file.read_at(&mut bytes, 0));
    match read {
        Ok(read) => Ok(hint::decode(&bytes[..read], number).map(|hint| (hint, length))),
        // A hint is a copy: the segment answers in its place.
        Err(error) => {
            log::warn!("cannot read {}: {error}", path.display());
            Ok(None)
        }
    }
}

/// A segment as its hint or a scan tells.
struct Contents {
    entries: Vec<Entry>,
    damage: Vec<Damage>,
    durable: u64,
    end: u64,
    hint_bytes: u64,
}

fn read_segment(
    disk: &dyn Disk,
    folder: &Path,
    header: &Header,
    file_bytes: u64,
    end: Option<End>,
    said: Option<End>,
    files: &BTreeMap<String, u64>,
) -> Result<Contents, StoreError> {
    let hint = read_hint(disk, folder, header.number, files)?.filter(|(hint, _)| hint.speaks_of(header, said));
    if let Some((hint, hint_bytes)) = hint {
        // What the hint lists and the file does not have is found here, not at the first load.
        let damage = hint
            .entries
            .iter()
            .filter(|entry| entry.offset + entry.bytes > file_bytes)
            .map(|entry| Damage {
                offset: entry.offset,
                reason: format!("the file ends at byte {file_bytes}"),
                lost: Lost::Known(entry.clone()),
            });
        let damage: Vec<Damage> = damage.collect();
        let mut entries = hint.entries;
        entries.retain(|entry| entry.offset + entry.bytes <= file_bytes);
        return Ok(Contents {
            entries,
            damage,
            durable: hint.end,
            end: hint.end,
            hint_bytes,
        });
    }
    let path = folder.join(segment::file_name(header.number));
    let file = disk.open(&path).map_err(|error| io_error("open", &path, error))?;
    let scan = segment::scan(&*file, header.salt, file_bytes, end).map_err(|error| io_error("read", &path, error))?;
    let durable = end.map_or(scan.last_batch, |end| end.durable);
    Ok(Contents {
        entries: scan.entries,
        damage: scan.damage,
        durable,
        end: scan.end,
        hint_bytes: 0,
    })
}

/// A document while its records come in.
#[derive(Default)]
struct Draft {
    base: Option<Base>,
    /// Position, order, place; in no order.
    updates: Vec<(Seq, u64, Position)>,
    superseders: Vec<Superseder>,
    changed_ms: u64,
}

#[derive(Default)]
struct Gathered {
    drafts: BTreeMap<DocumentId, Draft>,
    /// Superseded records, when history is kept.
    past: Vec<(u32, Entry)>,
    /// By order of writing: the latest copy, when no copy is beyond doubt.
    doubtful: BTreeMap<u64, (u32, Entry)>,
    damage: Vec<(u32, Damage)>,
    lsn_max: u64,
    now_ms: u64,
}

impl Gathered {
    /// Takes the next record; segments come in the order of their numbers.
    fn take(&mut self, segment: u32, entry: Entry, durable: u64, keep_past: bool) {
        self.lsn_max = self.lsn_max.max(entry.lsn);
        self.now_ms = self.now_ms.max(entry.at_ms);
        if entry.offset >= durable {
            self.doubtful.insert(entry.lsn, (segment, entry.clone()));
        } else {
            self.doubtful.remove(&entry.lsn);
        }

        let position = Position::of(segment, &entry);
        let draft = self.drafts.entry(entry.document.clone()).or_default();
        draft.changed_ms = draft.changed_ms.max(entry.at_ms);
        match entry.kind {
            Kind::Update => {
                if draft.base.is_none_or(|base| base.seq < entry.seq) {
                    draft.updates.push((entry.seq, entry.lsn, position));
                }
            }
            Kind::Snapshot | Kind::Deleted => {
                if draft
                    .base
                    .is_none_or(|base| (base.seq, base.lsn) <= (entry.seq, entry.lsn))
                {
                    draft.base = Some(Base {
                        kind: entry.kind,
                        seq: entry.seq,
                        lsn: entry.lsn,
                        position,
                    });
                    draft.updates.retain(|(seq, ..)| *seq > entry.seq);
                }
                if keep_past {
                    draft.superseders.push(Superseder {
                        seq: entry.seq,
                        lsn: entry.lsn,
                        at_ms: entry.at_ms,
                    });
                }
            }
        }
        if keep_past {
            self.past.push((segment, entry));
        }
    }

    /// Snapshots of which only the head is whole stand where they are if nothing makes up for them: a load finds out.
    fn keep_spoiled(&mut self, keep_past: bool) -> Vec<Spoiled> {
        let mut spoiled = Vec::new();
        let mut damage = Vec::with_capacity(self.damage.len());
        for (segment, one) in std::mem::take(&mut self.damage) {
            match one.lost {
                Lost::Known(entry) if entry.kind == Kind::Snapshot && !self.reaches(&entry) => {
                    self.take(segment, entry.clone(), u64::MAX, keep_past);
                    let reason = blamed(segment, one.offset, &one.reason);
                    spoiled.push(Spoiled { entry, segment, reason });
                }
                lost => damage.push((segment, Damage { lost, ..one })),
            }
        }
        self.damage = damage;
        spoiled
    }

    /// Whether the records of a document say all that a snapshot did.
    fn reaches(&self, snapshot: &Entry) -> bool {
        let Some(draft) = self.drafts.get(&snapshot.document) else {
            return false;
        };
        let base_seq = draft.base.map_or(0, |base| base.seq);
        let between = |seq: &Seq| base_seq < *seq && *seq <= snapshot.seq;
        let updates: BTreeSet<Seq> = draft.updates.iter().map(|(seq, ..)| *seq).filter(between).collect();
        base_seq + updates.len() as u64 >= snapshot.seq
    }

    /// Fills the index and returns the current records that are in doubt.
    fn finish(self, index: &mut Index) -> Vec<(u32, Entry)> {
        index.now_ms = self.now_ms;
        for (name, draft) in self.drafts {
            let document = finish_draft(draft);
            if let Some(damage) = &document.damage {
                log::error!("document {name} is damaged in the journal: {}", damage.reason);
            }
            index.documents.insert(name, document);
        }
        for (segment, damage) in self.damage {
            blame(index, segment, damage);
        }
        index.counts = index.count();
        let positions: Vec<Position> = index
            .documents
            .values()
            .flat_map(|document| {
                document
                    .base
                    .iter()
                    .map(|base| base.position)
                    .chain(document.updates.iter().copied())
            })
            .collect();
        positions.into_iter().for_each(|position| index.enter(position));
        for (segment, entry) in &self.past {
            remember_past(index, *segment, entry);
        }
        let doubtful = self.doubtful.into_values();
        doubtful
            .filter(|(segment, entry)| index.need(*segment, entry) != Need::None)
            .collect()
    }
}

fn finish_draft(mut draft: Draft) -> Document {
    let base_seq = draft.base.map_or(0, |base| base.seq);
    draft.updates.retain(|(seq, ..)| *seq > base_seq);
    // The one that counts comes first among those of one position.
    draft
        .updates
        .sort_by_key(|(seq, lsn, position)| (*seq, u64::MAX - lsn, u32::MAX - position.segment));
    draft.updates.dedup_by_key(|(seq, ..)| *seq);
    draft.superseders.sort_by_key(|base| base.lsn);
    draft.superseders.dedup();
    let last_seq = draft.updates.last().map_or(base_seq, |(seq, ..)| *seq);
    let whole = draft
        .updates
        .iter()
        .zip(base_seq + 1..)
        .take_while(|((seq, ..), next)| seq == next)
        .count();

    let mut document = Document {
        base: draft.base,
        updates: draft.updates[..whole]
            .iter()
            .map(|(_, _, position)| *position)
            .collect(),
        changed_ms: draft.changed_ms,
        damage: None,
        superseders: draft.superseders,
    };
    if let Some((next, ..)) = draft.updates.get(whole) {
        let first = base_seq + whole as u64 + 1;
        document.damaged(format!("the updates {first} to {} are missing", next - 1), last_seq);
    }
    document
}

fn blamed(segment: u32, offset: u64, reason: &str) -> String {
    format!("{} at byte {offset}: {reason}", segment::file_name(segment))
}

/// Says whose a damaged record was, and quarantines the document unless it can do without.
fn blame(index: &mut Index, number: u32, damage: Damage) {
    let place = blamed(number, damage.offset, &damage.reason);
    let mut concerned: Vec<(DocumentId, Kind, Seq)> = Vec::new();
    match &damage.lost {
        Lost::Known(entry) => concerned.push((entry.document.clone(), entry.kind, entry.seq)),
        Lost::Traced(trace) => {
            let same = index
                .documents
                .keys()
                .filter(|name| record::name_sum(name) == trace.name_sum);
            concerned.extend(same.map(|name| (name.clone(), trace.kind, trace.seq)));
        }
        Lost::Unknown => {}
    }
    let unnamed = concerned.is_empty();
    if let (Lost::Traced(trace), true) = (&damage.lost, unnamed) {
        index.lost.insert(trace.name_sum, place.clone());
    }
    log::error!(
        "{place}{}",
        if unnamed {
            " (nobody can say which document that was)"
        } else {
            ""
        }
    );
    for (name, kind, seq) in &concerned {
        let document = match index.documents.entry(name.clone()) {
            btree_map::Entry::Vacant(vacant) => vacant.insert(Document::default()),
            btree_map::Entry::Occupied(known) => known.into_mut(),
        };
        // A lost deletion is not made good by a snapshot of what was deleted.
        let deletion = *kind == Kind::Deleted;
        let superseded = document
            .base
            .is_some_and(|base| base.seq > *seq || (base.seq == *seq && (!deletion || base.kind == Kind::Deleted)));
        let rebuilt = !deletion && document.damage.is_none() && document.last_seq() >= *seq;
        if !(superseded || rebuilt) {
            document.damaged(place.clone(), *seq);
        }
    }
    if let Some(segment) = index.segments.get_mut(&number) {
        segment.unnamed |= unnamed;
        segment.damaged.extend(concerned.into_iter().map(|(name, ..)| name));
    }
}

fn remember_past(index: &mut Index, segment: u32, entry: &Entry) {
    if index.need(segment, entry) != Need::Past {
        return;
    }
    let superseded_ms = index.documents.get(&entry.document).and_then(|document| {
        document
            .superseders
            .iter()
            .find(|base| base.seq >= entry.seq && base.lsn > entry.lsn)
            .map(|base| base.at_ms)
    });
    let now_ms = index.now_ms;
    index.remember(Position::of(segment, entry), superseded_ms.unwrap_or(now_ms));
}
