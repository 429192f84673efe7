//! What is read from the disk: records, hints, segments. The first byte says which; where a checksum would end it all,
//! the right one is put in.

use std::io;

use bytes::Bytes;
use cowrite::{
    id::DocumentId,
    store::{
        Body, Record,
        journal::{
            disk::DiskFile,
            hint,
            segment::{self, HEADER_BYTES, Header},
        },
        record::{self, FIXED_BYTES, Place},
    },
};

const SALT: u32 = 0x5A17_C0DE;

/// Any bytes, as what the first one says.
pub fn stored(input: &[u8]) {
    let Some((&what, rest)) = input.split_first() else {
        return;
    };
    match what % 4 {
        0 => one_record(rest, false),
        1 => one_record(rest, true),
        2 => a_hint(rest),
        _ => a_segment(rest),
    }
}

/// A record that is read is written as the same bytes.
fn one_record(input: &[u8], with_sums: bool) {
    let mut bytes = input.to_vec();
    if with_sums && bytes.len() >= FIXED_BYTES {
        put_sums(&mut bytes);
    }
    let bytes = Bytes::from(bytes);
    let Ok((read, place)) = record::decode(&bytes, SALT) else {
        return;
    };
    let mut again = Vec::new();
    record::encode(&read, &place, SALT, &mut again);
    let known = record::decode(&Bytes::from(again), SALT).expect("what was written is read");
    assert_eq!(known, (read, place));
}

/// The magic, and the two sums, if the lengths fit.
fn put_sums(bytes: &mut [u8]) {
    let at = |at: usize, bytes: &[u8]| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    bytes[..4].copy_from_slice(&record::MAGIC);
    // Lengths that a small input can have.
    (bytes[11], bytes[13], bytes[14], bytes[15]) = (0, 0, 0, 0);
    (bytes[17], bytes[18], bytes[19]) = (0, 0, 0);
    let head = FIXED_BYTES + usize::from(bytes[10]) + usize::from(bytes[12]);
    let body = head + usize::from(bytes[16]);
    if bytes.len() < head {
        return;
    }
    if bytes.len() >= body {
        let sum = crc32fast::hash(&bytes[head..body]);
        bytes[20..24].copy_from_slice(&sum.to_le_bytes());
    }
    let mut sum = crc32fast::Hasher::new_with_initial(SALT);
    sum.update(&bytes[8..head]);
    bytes[4..8].copy_from_slice(&sum.finalize().to_le_bytes());
    debug_assert_eq!(at(16, bytes), u32::from(bytes[16]));
}

/// A hint says what a segment could hold.
fn a_hint(input: &[u8]) {
    let mut bytes = b"CWRHNT01".to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&7_u32.to_le_bytes());
    bytes.extend_from_slice(input);
    let sum = crc32fast::hash(&bytes[12..]);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(hint::decode(&bytes, 8), None, "it is about another segment");
    let Some(hint) = hint::decode(&bytes, 7) else { return };
    let mut at = HEADER_BYTES;
    for entry in &hint.entries {
        assert_eq!(entry.offset, at);
        at += entry.bytes;
    }
    assert_eq!(at, hint.end);
    let mut again = hint::Builder::default();
    hint.entries.iter().for_each(|entry| again.push(entry));
    assert_eq!(hint::decode(&again.encode(7, hint.salt), 7), Some(hint));
}

/// A segment of whole, cut and damaged records: what is whole and comes before any damage is found.
fn a_segment(mut input: &[u8]) {
    let header = Header {
        number: 1,
        salt: SALT,
        ends: Vec::new(),
    };
    let mut bytes = header.encode();
    let (mut whole, mut is_whole, mut count) = (Vec::new(), true, 0_u32);
    while let Some((&move_, rest)) = input.split_first() {
        input = rest;
        let at = bytes.len();
        match move_ & 3 {
            0 | 1 => {
                count += 1;
                append(&mut bytes, count, move_);
                if is_whole {
                    whole.push((at as u64, (bytes.len() - at) as u64));
                }
            }
            2 => {
                let (raw, rest) = input.split_at(input.len().min(usize::from(move_ >> 2)));
                input = rest;
                bytes.extend_from_slice(raw);
                is_whole = false;
            }
            _ => {
                append(&mut bytes, count + 1, move_);
                bytes.truncate(bytes.len() - 1 - usize::from(move_ >> 4));
                is_whole = false;
            }
        }
    }
    let length = bytes.len() as u64;
    let file = Memory(bytes);
    assert_eq!(Header::read(&file, 1).expect("no disk"), Some(header));
    let scan = segment::scan(&file, SALT, length, None).expect("no disk");
    assert!(scan.end <= length && scan.last_batch <= scan.end.max(HEADER_BYTES));
    let mut at = HEADER_BYTES;
    for entry in &scan.entries {
        assert!(entry.offset >= at, "records do not overlap");
        at = entry.offset + entry.bytes;
        assert!(at <= length);
    }
    let found = scan.entries.iter().map(|entry| (entry.offset, entry.bytes));
    let found: Vec<(u64, u64)> = found.take(whole.len()).collect();
    assert_eq!(found, whole, "what is whole is found");
}

fn append(bytes: &mut Vec<u8>, number: u32, how: u8) {
    let body = Bytes::from(vec![how; usize::from(how >> 3)]);
    let record = Record {
        document: DocumentId::parse(if how & 4 == 0 { "a" } else { "b/c" }).expect("a name"),
        seq: u64::from(number),
        at_ms: u64::from(number) * 1_000,
        holder: None,
        authors: Vec::new().into(),
        body: if how & 8 == 0 {
            Body::Update(body)
        } else {
            Body::Snapshot(body)
        },
    };
    let place = Place {
        lsn: u64::from(number),
        batch: number,
        first: true,
        previous: None,
    };
    record::encode(&record, &place, SALT, bytes);
}

/// A file that is only read.
struct Memory(Vec<u8>);

impl DiskFile for Memory {
    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let from = self.0.len().min(at as usize);
        let read = buffer.len().min(self.0.len() - from);
        buffer[..read].copy_from_slice(&self.0[from..from + read]);
        Ok(read)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}
