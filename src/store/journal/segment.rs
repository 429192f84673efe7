//! One file of the journal: a header, then records, batch after batch.
//!
//! The header block is written twice, 4,096 bytes apart, so that one bad sector does not make all
//! records behind it unreadable (the salt is in it). All numbers are little-endian.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `CWRSEG01` |
//! | 8 | 4 | CRC32 of the bytes from 12 to the end of the header |
//! | 12 | 4 | length of the header, without padding |
//! | 16 | 4 | number of this segment |
//! | 20 | 4 | salt of the sums of its records |
//! | 24 | 4 | number of [`End`]s |
//! | 28 | 33 each | segment (4), `durable` (8), `valid` (8), `seq` (8), sum of the name (4) and kind (1) of its last record, 0 without |
//!
//! What must stay true:
//!
//! * A segment is only appended to by the process that created it: what follows a stop goes into the next.
//! * The first bytes of a segment become durable together with the ends of the segments before it. Thus
//!   bytes of an abandoned segment that were never acknowledged are void from then on.
//! * [`scan`] returns each whole record once, with where it lies, and says of the bytes between them
//!   whether they can be a torn tail (nothing acknowledged can be in there) or are damage.

use std::io;

use bytes::Bytes;

use super::disk::DiskFile;
use crate::{
    id::DocumentId,
    store::{
        Seq,
        record::{self, Fault, Head, Kind, Place, Trace},
    },
};

/// Where the first record of a segment begins.
pub const HEADER_BYTES: u64 = 2 * COPY_BYTES as u64;

/// Most ends in a header: what fits one copy.
pub const ENDS_MAX: usize = (COPY_BYTES - 28) / 33;

const COPY_BYTES: usize = 4_096;
const MAGIC: [u8; 8] = *b"CWRSEG01";
const WINDOW_BYTES: usize = 1024 * 1024;

/// The name of segment `number` in its folder.
#[must_use]
pub fn file_name(number: u32) -> String {
    format!("{number:010}.segment")
}

/// The reverse of [`file_name`].
#[must_use]
pub fn number_of(file_name: &str) -> Option<u32> {
    file_name
        .strip_suffix(".segment")
        .filter(|digits| digits.len() == 10)?
        .parse()
        .ok()
}

/// Up to where an earlier segment counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Which one.
    pub segment: u32,
    /// Up to here it is known to have been synced: what is broken before this is damage.
    pub durable: u64,
    /// From here on it is void. Between the two whole records count and broken ones mean nothing: what
    /// was acknowledged of them is in the later segment as well.
    pub valid: u64,
    /// Its last record, which no other record of the segment remembers.
    pub last: Option<Trace>,
}

/// What a segment says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its number, as in the name.
    pub number: u32,
    /// Seed of the sums of its records.
    pub salt: u32,
    /// Where the segments before it end, as far as no other segment said so.
    pub ends: Vec<End>,
}

impl Header {
    /// The header block, both copies.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(2 * COPY_BYTES);
        copy.extend_from_slice(&MAGIC);
        copy.extend_from_slice(&[0; 4]);
        copy.extend_from_slice(&((28 + 33 * self.ends.len()) as u32).to_le_bytes());
        copy.extend_from_slice(&self.number.to_le_bytes());
        copy.extend_from_slice(&self.salt.to_le_bytes());
        copy.extend_from_slice(&(self.ends.len() as u32).to_le_bytes());
        for end in &self.ends {
            copy.extend_from_slice(&end.segment.to_le_bytes());
            copy.extend_from_slice(&end.durable.to_le_bytes());
            copy.extend_from_slice(&end.valid.to_le_bytes());
            copy.extend_from_slice(&end.last.map_or(0, |last| last.seq).to_le_bytes());
            copy.extend_from_slice(&end.last.map_or(0, |last| last.name_sum).to_le_bytes());
            copy.push(end.last.map_or(0, |last| last.kind.code()));
        }
        let sum = crc32fast::hash(&copy[12..]);
        copy[8..12].copy_from_slice(&sum.to_le_bytes());
        copy.resize(COPY_BYTES, 0);
        copy.extend_from_within(..);
        copy
    }

    /// Reads the header from either copy; `None` when both fail their check or name another segment.
    ///
    /// # Errors
    /// What the system said.
    pub fn read(file: &dyn DiskFile, number: u32) -> io::Result<Option<Self>> {
        let mut block = vec![0; 2 * COPY_BYTES];
        let read = file.read_at(&mut block, 0)?;
        Ok(block[..read]
            .chunks(COPY_BYTES)
            .find_map(Self::decode)
            .filter(|header| header.number == number && read > COPY_BYTES / 2))
    }

    fn decode(copy: &[u8]) -> Option<Self> {
        let mut fields = Fields(copy);
        if fields.take::<8>()? != MAGIC {
            return None;
        }
        let sum = fields.u32()?;
        let length = fields.u32()? as usize;
        if crc32fast::hash(copy.get(12..length)?) != sum {
            return None;
        }
        let (number, salt, count) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let mut end = || {
            let (segment, durable, valid) = (fields.u32()?, fields.u64()?, fields.u64()?);
            let (seq, name_sum, [code]) = (fields.u64()?, fields.u32()?, fields.take::<1>()?);
            let last = Kind::from_code(code).map(|kind| Trace { seq, name_sum, kind });
            Some(End {
                segment,
                durable,
                valid,
                last,
            })
        };
        let ends = (0..count).map(|_| end()).collect::<Option<_>>()?;
        Some(Self { number, salt, ends })
    }
}

/// A record in a segment, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose record it is.
    pub document: DocumentId,
    /// What kind of record.
    pub kind: Kind,
    /// Its position.
    pub seq: Seq,
    /// Its time in milliseconds.
    pub at_ms: u64,
    /// Its order of first writing.
    pub lsn: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length in bytes, head and body.
    pub bytes: u64,
}

impl Entry {
    /// What the record after it remembers.
    #[must_use]
    pub fn trace(&self) -> Trace {
        Trace {
            seq: self.seq,
            name_sum: record::name_sum(&self.document),
            kind: self.kind,
        }
    }

    fn of(head: &Head, offset: u64) -> Self {
        Self {
            document: head.document.clone(),
            kind: head.kind,
            seq: head.seq,
            at_ms: head.at_ms,
            lsn: head.place.lsn,
            offset,
            bytes: head.record_bytes(),
        }
    }
}

/// A place where a record should be and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins in the file.
    pub offset: u64,
    /// What did not match.
    pub reason: String,
    /// Whose it was, as far as that can be known.
    pub lost: Lost,
}

/// What is known about a record that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// Its head is whole.
    Known(Entry),
    /// The record after it remembers the last one that is gone; there may be others before that.
    Traced(Trace),
    /// Nothing: only gaps in positions can tell.
    Unknown,
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// The whole records, in the order of the file.
    pub entries: Vec<Entry>,
    /// What is broken between them.
    pub damage: Vec<Damage>,
    /// Where the last batch begins (the only one of which the sync may not have happened).
    pub last_batch: u64,
    /// Where the last whole record ends, torn tail not included.
    pub end: u64,
}

/// Reads all records from the header on, bodies included.
///
/// `end` is what a later segment or a hint says about this one; without it, this is the last segment and
/// a broken end that can belong to the last batch is a torn tail.
///
/// # Errors
/// What the system said.
pub fn scan(file: &dyn DiskFile, salt: u32, file_bytes: u64, end: Option<End>) -> io::Result<Scan> {
    let limit = end.map_or(file_bytes, |end| end.valid.min(file_bytes));
    let mut reader = Window::new(file, limit);
    let mut found: Vec<Found> = Vec::new();
    let mut breaks: Vec<Break> = Vec::new();
    let mut at = HEADER_BYTES;

    while at < limit {
        match reader.record(at, salt)? {
            Ok(head) => {
                found.push(Found {
                    entry: Entry::of(&head, at),
                    place: head.place,
                });
                at += head.record_bytes();
            }
            Err((fault, head)) => {
                let next = match &head {
                    Some(head) => at.saturating_add(head.record_bytes()),
                    None => reader.next_head(at + 1, salt)?.unwrap_or(limit),
                };
                let next = next.min(limit);
                breaks.push(Break {
                    at,
                    next,
                    before: found.len(),
                    fault,
                    head,
                });
                at = next;
            }
        }
    }
    // A segment that was given up before its first batch was durable may be shorter than its header.
    if let Some(end) = end.filter(|end| end.durable > file_bytes.max(HEADER_BYTES)) {
        breaks.push(Break {
            at: limit.max(HEADER_BYTES),
            next: end.durable,
            before: found.len(),
            fault: Fault::BodyCut,
            head: None,
        });
    }

    let torn = torn_from(&found, &breaks, end);
    let mut scan = Scan {
        last_batch: HEADER_BYTES,
        end: HEADER_BYTES,
        ..Scan::default()
    };
    for (index, broken) in breaks.iter().enumerate().filter(|(_, broken)| broken.at < torn) {
        let whole = found
            .get(broken.before)
            .filter(|found| found.entry.offset == broken.next)
            .map(|found| found.place);
        let headed = breaks.get(index + 1).filter(|follower| follower.at == broken.next);
        let headed = headed
            .and_then(|follower| follower.head.as_ref())
            .map(|head| head.place);
        let trace = match whole.or(headed) {
            Some(follower) => follower.previous,
            None => end.filter(|end| broken.next >= end.valid).and_then(|end| end.last),
        };
        let before = broken.before.checked_sub(1).map(|index| &found[index].entry);
        let lost = match (&broken.head, trace) {
            (Some(head), _) => Lost::Known(Entry::of(head, broken.at)),
            (None, Some(trace)) if before.is_none_or(|entry| entry.trace() != trace) => Lost::Traced(trace),
            _ => Lost::Unknown,
        };
        scan.damage.push(Damage {
            offset: broken.at,
            reason: if broken.at < limit {
                broken.fault.to_string()
            } else {
                cut_short(file_bytes, broken.next)
            },
            lost,
        });
        scan.end = scan.end.max(broken.next);
    }
    for Found { entry, place } in found.into_iter().take_while(|found| found.entry.offset < torn) {
        if place.first {
            scan.last_batch = entry.offset;
        }
        scan.end = scan.end.max(entry.offset + entry.bytes);
        scan.entries.push(entry);
    }
    Ok(scan)
}

/// Where the zeros begin that a file of `file_bytes` bytes ends with, not before `from`.
///
/// # Errors
/// What the system said.
pub fn end_without_zeros(file: &dyn DiskFile, from: u64, file_bytes: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut end = file_bytes.max(from);
    while end > from {
        let start = end.saturating_sub(buffer.len() as u64).max(from);
        let length = usize::try_from(end - start).unwrap_or(buffer.len());
        let read = file.read_at(&mut buffer[..length], start)?;
        if let Some(last) = buffer[..read].iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(from)
}

/// What is wrong with a file that was longer once.
pub(super) fn cut_short(file_bytes: u64, durable: u64) -> String {
    format!("the file ends at byte {file_bytes}, and {durable} were durable")
}

/// Reads the record at `offset` and checks all of it; `None` when the bytes there are not a record.
///
/// # Errors
/// What the system said.
pub fn read_record(
    file: &dyn DiskFile,
    salt: u32,
    offset: u64,
    bytes: u64,
) -> io::Result<Result<(crate::store::Record, record::Place), Fault>> {
    let mut buffer = vec![0; usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?];
    let read = file.read_at(&mut buffer, offset)?;
    buffer.truncate(read);
    Ok(record::decode(&Bytes::from(buffer), salt))
}

/// A whole record and where it stands.
struct Found {
    entry: Entry,
    place: Place,
}

/// Bytes that are not a record.
struct Break {
    at: u64,
    next: u64,
    /// How many whole records come before.
    before: usize,
    fault: Fault,
    head: Option<Head>,
}

/// From which offset on everything is a torn tail; `u64::MAX` when nothing is.
///
/// The first break from which on all whole records are of the last batch and not its first: a batch
/// that follows in full, or begins after the break, was only written after all before it were durable.
fn torn_from(found: &[Found], breaks: &[Break], end: Option<End>) -> u64 {
    let is_torn = |broken: &&Break| match end {
        // A broken record after `durable` was never acknowledged here.
        Some(end) => broken.at >= end.durable,
        None => {
            let rest = &found[broken.before..];
            let batch = rest.first().map(|found| found.place.batch);
            let own = broken.head.as_ref().map(|head| head.place.batch);
            rest.iter()
                .all(|found| !found.place.first && Some(found.place.batch) == batch)
                && (batch.is_none() || own.is_none() || own == batch)
        }
    };
    breaks.iter().find(is_torn).map_or(u64::MAX, |broken| broken.at)
}

/// Reads a file forward through one buffer.
struct Window<'a> {
    file: &'a dyn DiskFile,
    limit: u64,
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn DiskFile, limit: u64) -> Self {
        Self {
            file,
            limit,
            start: 0,
            buffer: Vec::new(),
        }
    }

    /// At least `bytes` bytes from `at` on, fewer at the end.
    fn get(&mut self, at: u64, bytes: usize) -> io::Result<&[u8]> {
        let wanted = bytes.min(usize::try_from(self.limit.saturating_sub(at)).unwrap_or(usize::MAX));
        let have = at >= self.start && at + wanted as u64 <= self.start + self.buffer.len() as u64;
        if !have {
            let fill = wanted
                .max(WINDOW_BYTES)
                .min(usize::try_from(self.limit - at).unwrap_or(usize::MAX));
            self.buffer.resize(fill, 0);
            let read = self.file.read_at(&mut self.buffer, at)?;
            self.buffer.truncate(read);
            self.start = at;
        }
        Ok(&self.buffer[usize::try_from(at - self.start)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len())..])
    }

    fn head(&mut self, at: u64, salt: u32) -> io::Result<Result<Head, Fault>> {
        let mut needs = record::FIXED_BYTES;
        loop {
            let bytes = self.get(at, needs)?;
            match record::decode_head(bytes, salt) {
                Err(Fault::HeadCut(more)) if more > needs && bytes.len() >= needs => needs = more,
                answer => return Ok(answer),
            }
        }
    }

    /// The record at `at`, its body checked without holding all of it.
    fn record(&mut self, at: u64, salt: u32) -> io::Result<Result<Head, (Fault, Option<Head>)>> {
        let head = match self.head(at, salt)? {
            Ok(head) => head,
            Err(fault) => return Ok(Err((fault, None))),
        };
        if at + head.record_bytes() > self.limit {
            return Ok(Err((Fault::BodyCut, Some(head))));
        }
        let mut sum = crc32fast::Hasher::new();
        let mut from = at + head.head_bytes as u64;
        let end = at + head.record_bytes();
        while from < end {
            let left = usize::try_from(end - from).unwrap_or(usize::MAX);
            let bytes = self.get(from, left.min(WINDOW_BYTES))?;
            let take = bytes.len().min(left);
            if take == 0 {
                return Ok(Err((Fault::BodyCut, Some(head))));
            }
            sum.update(&bytes[..take]);
            from += take as u64;
        }
        Ok(if sum.finalize() == head.body_sum {
            Ok(head)
        } else {
            Err((Fault::Body, Some(head)))
        })
    }

    /// The next place from `at` on where a head passes its check.
    fn next_head(&mut self, mut at: u64, salt: u32) -> io::Result<Option<u64>> {
        while at < self.limit {
            let bytes = self.get(at, record::FIXED_BYTES)?;
            if bytes.len() < record::FIXED_BYTES {
                return Ok(None);
            }
            match bytes.windows(4).position(|four| four == record::MAGIC) {
                Some(skip) => {
                    at += skip as u64;
                    if self.head(at, salt)?.is_ok() {
                        return Ok(Some(at));
                    }
                    at += 1;
                }
                None => at += bytes.len() as u64 - 3,
            }
        }
        Ok(None)
    }
}

/// Takes little-endian numbers off the front of bytes.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
