//! The table of contents of a segment that is no longer written to: what a start reads instead of the
//! segment.
//!
//! A hint is written only after everything it lists was synced, so it also says that nothing of its
//! segment is in doubt. It is made of the segment alone: a hint that is missing, torn or fails its check
//! costs a scan, nothing else. A segment in which a scan found damage gets none.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `CWRHNT01` |
//! | 8 | 4 | CRC32 of the bytes from 12 on |
//! | 12 | 4 | number of the segment |
//! | 16 | 4 | salt of the segment |
//! | 20 | 8 | where the segment's last record ends |
//! | 28 | 4 | number of entries |
//! | 32 | … | the entries, in the order of the file, without gaps from the header on |
//!
//! An entry is, in LEB128: the document (a number in order of appearance; a new number is followed by the
//! name's length and the name), the kind, `seq`, the differences of `at_ms` and `lsn` to the entry before
//! (zigzag), the record's length. About ten bytes.

use rustc_hash::FxHashMap;

use super::segment::{Entry, Fields, HEADER_BYTES};
use crate::{id::DocumentId, store::record::Kind};

const MAGIC: [u8; 8] = *b"CWRHNT01";

/// An entry takes so many bytes at least: document, kind, position, time, order and length.
const ENTRY_BYTES_MIN: usize = 6;

/// The name of the hint of segment `number`.
#[must_use]
pub fn file_name(number: u32) -> String {
    format!("{number:010}.hint")
}

/// The reverse of [`file_name`].
#[must_use]
pub fn number_of(file_name: &str) -> Option<u32> {
    file_name
        .strip_suffix(".hint")
        .filter(|digits| digits.len() == 10)?
        .parse()
        .ok()
}

/// Collects the entries of a segment while it is written.
#[derive(Debug)]
pub struct Builder {
    documents: FxHashMap<DocumentId, u64>,
    body: Vec<u8>,
    entries: u32,
    at_ms: u64,
    lsn: u64,
    end: u64,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            documents: FxHashMap::default(),
            body: Vec::new(),
            entries: 0,
            at_ms: 0,
            lsn: 0,
            end: HEADER_BYTES,
        }
    }
}

impl Builder {
    /// Adds the record that follows the last one without a gap.
    pub fn push(&mut self, entry: &Entry) {
        debug_assert_eq!(entry.offset, self.end, "entries follow each other without gaps");
        let next = self.documents.len() as u64;
        match self.documents.get(&entry.document) {
            Some(number) => put(&mut self.body, *number),
            None => {
                let name = entry.document.as_str().as_bytes();
                put(&mut self.body, next);
                put(&mut self.body, name.len() as u64);
                self.body.extend_from_slice(name);
                self.documents.insert(entry.document.clone(), next);
            }
        }
        self.body.push(entry.kind.code());
        put(&mut self.body, entry.seq);
        put(&mut self.body, zigzag(entry.at_ms.wrapping_sub(self.at_ms)));
        put(&mut self.body, zigzag(entry.lsn.wrapping_sub(self.lsn)));
        put(&mut self.body, entry.bytes);
        (self.at_ms, self.lsn) = (entry.at_ms, entry.lsn);
        self.entries += 1;
        self.end = entry.offset + entry.bytes;
    }

    /// The bytes of the hint file.
    #[must_use]
    pub fn encode(&self, segment: u32, salt: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32 + self.body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&segment.to_le_bytes());
        bytes.extend_from_slice(&salt.to_le_bytes());
        bytes.extend_from_slice(&self.end.to_le_bytes());
        bytes.extend_from_slice(&self.entries.to_le_bytes());
        bytes.extend_from_slice(&self.body);
        let sum = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

/// What a hint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Salt of the segment.
    pub salt: u32,
    /// Where the segment's last record ends.
    pub end: u64,
    /// Its records.
    pub entries: Vec<Entry>,
}

/// Reads the hint of `segment`; `None` when it fails its check or is about another one.
#[must_use]
pub fn decode(bytes: &[u8], segment: u32) -> Option<Hint> {
    let mut fields = Fields(bytes);
    if fields.take::<8>()? != MAGIC || fields.u32()? != crc32fast::hash(bytes.get(12..)?) || fields.u32()? != segment {
        return None;
    }
    let (salt, end, count) = (fields.u32()?, fields.u64()?, fields.u32()?);
    let mut documents: Vec<DocumentId> = Vec::new();
    // A sum proves that nothing rotted, not who wrote it: no more is taken than the bytes can hold.
    let mut entries = Vec::with_capacity((count as usize).min(fields.0.len() / ENTRY_BYTES_MIN));
    let (mut offset, mut at_ms, mut lsn) = (HEADER_BYTES, 0_u64, 0_u64);
    for _ in 0..count {
        let number = usize::try_from(varint(&mut fields)?).ok()?;
        if number == documents.len() {
            let length = usize::try_from(varint(&mut fields)?).ok()?;
            let (name, rest) = fields.0.split_at_checked(length)?;
            fields.0 = rest;
            documents.push(DocumentId::parse(str::from_utf8(name).ok()?).ok()?);
        }
        let document = documents.get(number)?.clone();
        let kind = Kind::from_code(fields.take::<1>()?[0])?;
        let seq = varint(&mut fields)?;
        at_ms = at_ms.wrapping_add(unzigzag(varint(&mut fields)?));
        lsn = lsn.wrapping_add(unzigzag(varint(&mut fields)?));
        let bytes = varint(&mut fields)?;
        entries.push(Entry {
            document,
            kind,
            seq,
            at_ms,
            lsn,
            offset,
            bytes,
        });
        offset = offset.checked_add(bytes)?;
    }
    (offset == end && fields.0.is_empty()).then_some(Hint { salt, end, entries })
}

fn zigzag(difference: u64) -> u64 {
    let signed = difference as i64;
    ((signed << 1) ^ (signed >> 63)) as u64
}

fn unzigzag(code: u64) -> u64 {
    (code >> 1) ^ (code & 1).wrapping_neg()
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn varint(fields: &mut Fields) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = fields.take::<1>()?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let names = ["a", "b", "a"];
        let kinds = [Kind::Update, Kind::Snapshot, Kind::Deleted];
        let mut offset = HEADER_BYTES;
        (0..3)
            .map(|index| {
                let entry = Entry {
                    document: DocumentId::parse(names[index]).unwrap(),
                    kind: kinds[index],
                    seq: [1, u64::MAX, 300][index],
                    at_ms: [1_700_000_000_000, 5, u64::MAX][index],
                    lsn: [9, 1, 1 << 63][index],
                    offset,
                    bytes: [100, 5_000_000_000, 69][index],
                };
                offset += entry.bytes;
                entry
            })
            .collect()
    }

    #[test]
    fn r6_a_hint_says_what_was_put_in() {
        let mut builder = Builder::default();
        entries().iter().for_each(|entry| builder.push(entry));

        let hint = decode(&builder.encode(4, 77), 4);

        assert_eq!(
            hint,
            Some(Hint {
                salt: 77,
                end: HEADER_BYTES + 5_000_000_169,
                entries: entries()
            })
        );
    }

    #[test]
    fn r6_a_hint_that_is_flipped_cut_or_of_another_segment_is_none() {
        let mut builder = Builder::default();
        entries().iter().for_each(|entry| builder.push(entry));
        let bytes = builder.encode(4, 77);

        assert_eq!(decode(&bytes, 5), None);
        for at in 0..bytes.len() {
            assert_eq!(decode(&bytes[..at], 4), None, "cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert_eq!(decode(&flipped, 4), None, "flipped at {at}");
        }
    }

    /// Found by `scripts/fuzz`: it took memory for four thousand million entries.
    #[test]
    fn r6_a_hint_is_not_believed_how_many_entries_it_has() {
        let mut bytes = Builder::default().encode(4, 77);
        let count_at = bytes.len() - 4;
        bytes[count_at..].copy_from_slice(&u32::MAX.to_le_bytes());
        let sum = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());

        assert_eq!(decode(&bytes, 4), None);
    }
}
