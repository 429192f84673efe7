//! The bytes of one record, version 1.
//!
//! A record stands for itself: its head names the document and its position, so that a damaged record
//! can still say whose it was, and a damaged head does not take its neighbours with it.
//!
//! All numbers are little-endian.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `CWR1`; the digit is the version of this format |
//! | 4 | 4 | CRC32 of the bytes from 8 to the end of the head, seeded with the segment's salt |
//! | 8 | 1 | kind: 1 update, 2 snapshot, 3 deletion |
//! | 9 | 1 | flags: bit 0 is set in the first record of its batch, the rest are 0 |
//! | 10 | 2 | length of the document's name |
//! | 12 | 4 | length of the authors |
//! | 16 | 4 | length of the body |
//! | 20 | 4 | CRC32 of the body |
//! | 24 | 8 | `seq` |
//! | 32 | 8 | `at_ms` |
//! | 40 | 8 | `lsn`: order of first writing over all documents; a copy keeps it |
//! | 48 | 4 | number of its batch in the segment, from 1 |
//! | 52 | 8 | `seq` of the record before it in the segment, 0 at the start |
//! | 60 | 4 | CRC32 of the name of that record's document, 0 at the start |
//! | 64 | 1 | kind of that record, 0 at the start |
//! | 65 | 3 | 0 |
//! | 68 | … | name of the document (UTF-8), then the authors (each a `u32` length and UTF-8), then the body |
//!
//! What must stay true:
//!
//! * The two sums together cover every byte but the magic, which is compared.
//! * The salt is drawn per segment and written nowhere a client can read it, so bytes inside a body that
//!   look like a record are not taken for one when a scan searches for the next record after damage.
//! * A batch is one `fdatasync`: a whole record of a later batch proves that all earlier batches were
//!   durable. That is how a torn tail is told from damage.
//! * The note about the record before lets a scan name one record whose head is gone.

use std::sync::Arc;

use bytes::Bytes;

use super::{Body, Record, Seq};
use crate::id::DocumentId;

/// First bytes of each record.
pub const MAGIC: [u8; 4] = *b"CWR1";

/// Length of the part of the head that is the same in all records.
pub const FIXED_BYTES: usize = 68;

/// The longest head that [`encode`] writes, in bytes; a head that claims more is damaged.
pub const HEAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What kind of fact a record holds, without the fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// See [`Body::Update`].
    Update,
    /// See [`Body::Snapshot`].
    Snapshot,
    /// See [`Body::Deleted`].
    Deleted,
}

impl Kind {
    /// The kind of a body.
    #[must_use]
    pub fn of(body: &Body) -> Self {
        match body {
            Body::Update(_) => Self::Update,
            Body::Snapshot(_) => Self::Snapshot,
            Body::Deleted => Self::Deleted,
        }
    }

    /// The byte that stands for it on disk.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Update => 1,
            Self::Snapshot => 2,
            Self::Deleted => 3,
        }
    }

    /// The reverse of [`Kind::code`].
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Update),
            2 => Some(Self::Snapshot),
            3 => Some(Self::Deleted),
            _ => None,
        }
    }
}

/// Where a record stands in the log: what the journal adds to the fact itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Order of first writing over all documents; larger is newer. A copy keeps it.
    pub lsn: u64,
    /// Number of the batch in its segment, from 1.
    pub batch: u32,
    /// Set in the first record of a batch.
    pub first: bool,
    /// The record before it in the segment.
    pub previous: Option<Trace>,
}

/// What a record remembers of its neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Its position.
    pub seq: Seq,
    /// [`name_sum`] of its document.
    pub name_sum: u32,
    /// Its kind.
    pub kind: Kind,
}

impl Trace {
    /// The trace that `record` leaves in the next one.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        Self {
            seq: record.seq,
            name_sum: name_sum(&record.document),
            kind: Kind::of(&record.body),
        }
    }
}

/// A head whose sum is right: everything but the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Whose fact this is.
    pub document: DocumentId,
    /// See [`Record::seq`].
    pub seq: Seq,
    /// See [`Record::at_ms`].
    pub at_ms: u64,
    /// See [`Record::authors`].
    pub authors: Arc<[Arc<str>]>,
    /// What happened.
    pub kind: Kind,
    /// Where it stands.
    pub place: Place,
    /// Length of the head in bytes; the body begins there.
    pub head_bytes: usize,
    /// Length of the body in bytes.
    pub body_bytes: u32,
    /// CRC32 of the body.
    pub body_sum: u32,
}

impl Head {
    /// Length of the whole record in bytes.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        self.head_bytes as u64 + u64::from(self.body_bytes)
    }

    /// Puts a body of which the sum was checked to the head.
    #[must_use]
    pub fn with_body(self, body: Bytes) -> Record {
        let body = match self.kind {
            Kind::Update => Body::Update(body),
            Kind::Snapshot => Body::Snapshot(body),
            Kind::Deleted => Body::Deleted,
        };
        Record {
            document: self.document,
            seq: self.seq,
            at_ms: self.at_ms,
            authors: self.authors,
            body,
            holder: None,
        }
    }
}

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes end before the head does; the number is how many it needs at least.
    #[error("the head needs {0} bytes and the file ends before")]
    HeadCut(usize),
    /// The head fails its check: the document cannot be known from it.
    #[error("the record's head fails its check")]
    Head,
    /// The head is right and the body ends too early.
    #[error("the record's body ends early")]
    BodyCut,
    /// The head is right and the body fails its check.
    #[error("the record's body fails its check")]
    Body,
}

/// Why a record cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// The body's length in bytes.
    #[error("the body is {0} bytes long, the longest a record holds is {max} with its head", max = u32::MAX)]
    Body(usize),
    /// The head's length in bytes.
    #[error("the names of the authors make a head of {0} bytes, the longest is {HEAD_BYTES_MAX}")]
    Head(usize),
}

/// CRC32 of a document's name.
#[must_use]
pub fn name_sum(document: &DocumentId) -> u32 {
    crc32fast::hash(document.as_str().as_bytes())
}

/// Length of `record` on disk, in bytes.
///
/// # Errors
/// [`TooLarge`] when the format cannot hold it.
pub fn encoded_bytes(record: &Record) -> Result<u64, TooLarge> {
    let (head, body) = (head_bytes(record), body_of(record).len());
    if head > HEAD_BYTES_MAX {
        return Err(TooLarge::Head(head));
    }
    if u32::try_from(head + body).is_err() {
        return Err(TooLarge::Body(body));
    }
    Ok((head + body) as u64)
}

/// Appends the head of `record` to `out`; the body ([`body_of`]) follows it on disk. The two are apart
/// so that a large body is written from where it lies.
///
/// The record must have passed [`encoded_bytes`].
pub fn encode_head(record: &Record, place: &Place, salt: u32, out: &mut Vec<u8>) {
    let body = body_of(record);
    let authors_bytes: usize = record.authors.iter().map(|author| 4 + author.len()).sum();
    let start = out.len();
    out.reserve(FIXED_BYTES + record.document.as_str().len() + authors_bytes);

    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.push(Kind::of(&record.body).code());
    out.push(u8::from(place.first));
    out.extend_from_slice(&(record.document.as_str().len() as u16).to_le_bytes());
    out.extend_from_slice(&(authors_bytes as u32).to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    out.extend_from_slice(&record.seq.to_le_bytes());
    out.extend_from_slice(&record.at_ms.to_le_bytes());
    out.extend_from_slice(&place.lsn.to_le_bytes());
    out.extend_from_slice(&place.batch.to_le_bytes());
    out.extend_from_slice(&place.previous.map_or(0, |trace| trace.seq).to_le_bytes());
    out.extend_from_slice(&place.previous.map_or(0, |trace| trace.name_sum).to_le_bytes());
    out.push(place.previous.map_or(0, |trace| trace.kind.code()));
    out.extend_from_slice(&[0; 3]);
    out.extend_from_slice(record.document.as_str().as_bytes());
    for author in record.authors.iter() {
        out.extend_from_slice(&(author.len() as u32).to_le_bytes());
        out.extend_from_slice(author.as_bytes());
    }

    let sum = salted_sum(salt, &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
}

/// Appends the whole record to `out`.
pub fn encode(record: &Record, place: &Place, salt: u32, out: &mut Vec<u8>) {
    encode_head(record, place, salt, out);
    out.extend_from_slice(body_of(record));
}

/// The bytes of the record's body; empty for a deletion.
#[must_use]
pub fn body_of(record: &Record) -> &[u8] {
    match &record.body {
        Body::Update(bytes) | Body::Snapshot(bytes) => bytes,
        Body::Deleted => &[],
    }
}

/// Decodes the head at the start of `bytes`.
///
/// # Errors
/// [`Fault::HeadCut`] when `bytes` may hold a head that needs more bytes, [`Fault::Head`] when it is none.
pub fn decode_head(bytes: &[u8], salt: u32) -> Result<Head, Fault> {
    if bytes.len() < FIXED_BYTES {
        return Err(Fault::HeadCut(FIXED_BYTES));
    }
    if bytes[..4] != MAGIC {
        return Err(Fault::Head);
    }
    let name_bytes = usize::from(u16_at(bytes, 10));
    let head_bytes = FIXED_BYTES + name_bytes + u32_at(bytes, 12) as usize;
    if head_bytes > HEAD_BYTES_MAX {
        return Err(Fault::Head);
    }
    if bytes.len() < head_bytes {
        return Err(Fault::HeadCut(head_bytes));
    }
    if salted_sum(salt, &bytes[8..head_bytes]) != u32_at(bytes, 4) {
        return Err(Fault::Head);
    }
    // From here on the sum is right; what fails below was written by another program or a mistake of ours.
    let (name, authors) = bytes[FIXED_BYTES..head_bytes].split_at(name_bytes);
    let document = str::from_utf8(name)
        .ok()
        .and_then(|name| DocumentId::parse(name).ok())
        .ok_or(Fault::Head)?;
    let previous = match bytes[64] {
        0 => None,
        code => Some(Trace {
            seq: u64_at(bytes, 52),
            name_sum: u32_at(bytes, 60),
            kind: Kind::from_code(code).ok_or(Fault::Head)?,
        }),
    };
    Ok(Head {
        document,
        seq: u64_at(bytes, 24),
        at_ms: u64_at(bytes, 32),
        authors: decode_authors(authors).ok_or(Fault::Head)?,
        kind: Kind::from_code(bytes[8]).ok_or(Fault::Head)?,
        place: Place {
            lsn: u64_at(bytes, 40),
            batch: u32_at(bytes, 48),
            first: bytes[9] & 1 == 1,
            previous,
        },
        head_bytes,
        body_bytes: u32_at(bytes, 16),
        body_sum: u32_at(bytes, 20),
    })
}

/// Decodes the record at the start of `bytes`; the body is a slice of `bytes`, not a copy.
///
/// # Errors
/// [`Fault`], by how much is still known.
pub fn decode(bytes: &Bytes, salt: u32) -> Result<(Record, Place), Fault> {
    let head = decode_head(bytes, salt)?;
    let end = head.head_bytes + head.body_bytes as usize;
    if bytes.len() < end {
        return Err(Fault::BodyCut);
    }
    let body = bytes.slice(head.head_bytes..end);
    if crc32fast::hash(&body) != head.body_sum {
        return Err(Fault::Body);
    }
    let place = head.place;
    Ok((head.with_body(body), place))
}

fn head_bytes(record: &Record) -> usize {
    let authors: usize = record.authors.iter().map(|author| 4 + author.len()).sum();
    FIXED_BYTES + record.document.as_str().len() + authors
}

fn salted_sum(salt: u32, bytes: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new_with_initial(salt);
    sum.update(bytes);
    sum.finalize()
}

fn decode_authors(mut bytes: &[u8]) -> Option<Arc<[Arc<str>]>> {
    let mut authors = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (author, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        authors.push(Arc::from(str::from_utf8(author).ok()?));
        bytes = rest;
    }
    Some(authors.into())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Record, Place) {
        let record = Record {
            document: DocumentId::parse("plan/été").unwrap(),
            seq: 7,
            at_ms: 1_700_000_000_123,
            authors: [Arc::from("ann"), Arc::from("bob")].into(),
            body: Body::Update(Bytes::from_static(b"\x01\x02\x03")),
            holder: None,
        };
        let previous = Some(Trace {
            seq: 6,
            name_sum: 0x0403_0201,
            kind: Kind::Snapshot,
        });
        (
            record,
            Place {
                lsn: 0x1122,
                batch: 3,
                first: true,
                previous,
            },
        )
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn r1_version_1_has_these_golden_bytes() {
        let (record, place) = example();
        let mut bytes = Vec::new();

        encode(&record, &place, 0xfeed_beef, &mut bytes);

        assert_eq!(
            hex(&bytes),
            concat!(
                "43575231",
                "bb496373",
                "01010a000e00000003000000",
                "1d80bc55",
                "0700000000000000",
                "7b68e5cf8b010000",
                "2211000000000000",
                "03000000",
                "0600000000000000",
                "01020304",
                "02000000",
                "706c616e2fc3a974c3a9",
                "03000000616e6e",
                "03000000626f62",
                "010203",
            )
        );
        assert_eq!(decode(&Bytes::from(bytes), 0xfeed_beef), Ok((record, place)));
    }

    #[test]
    fn r7_every_flipped_bit_and_every_cut_is_found() {
        let (record, place) = example();
        let mut bytes = Vec::new();
        encode(&record, &place, 5, &mut bytes);
        let body_at = bytes.len() - 3;

        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let fault = decode(&Bytes::from(flipped), 5).unwrap_err();
                assert_eq!(fault == Fault::Body, at >= body_at, "byte {at} bit {bit}: {fault:?}");
            }
            let cut = decode(&Bytes::copy_from_slice(&bytes[..at]), 5).unwrap_err();
            assert_eq!(cut == Fault::BodyCut, at >= body_at, "cut at {at}: {cut:?}");
        }
    }

    #[test]
    fn r7_a_record_of_another_segment_is_none() {
        let (record, place) = example();
        let mut bytes = Vec::new();
        encode(&record, &place, 5, &mut bytes);

        assert_eq!(decode(&Bytes::from(bytes), 6), Err(Fault::Head));
    }

    #[test]
    fn r2_deletions_snapshots_and_nameless_edits_come_back_as_they_were() {
        for body in [
            Body::Deleted,
            Body::Snapshot(Bytes::new()),
            Body::Update(Bytes::from(vec![7; 100_000])),
        ] {
            let record = Record {
                authors: Arc::new([]),
                body,
                ..example().0
            };
            let place = Place {
                lsn: 1,
                batch: 1,
                first: false,
                previous: None,
            };
            let mut bytes = Vec::new();

            encode(&record, &place, 0, &mut bytes);

            assert_eq!(bytes.len() as u64, encoded_bytes(&record).unwrap());
            assert_eq!(decode(&Bytes::from(bytes), 0), Ok((record, place)));
        }
    }
}
