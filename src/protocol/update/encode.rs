//! Putting updates together from parts of others: nothing is parsed again, structs are copied as bytes.

use super::structs::{self, ANY, DELETED, GC, HAS_KEY, HAS_ORIGIN, HAS_RIGHT_ORIGIN, SKIP, STRING, Struct};
use super::{CheckedUpdate, Deletion, Id, Section};
use crate::protocol::lib0::{Reader, var_uint_len, write_var_bytes, write_var_uint};
use smallvec::SmallVec;
use std::borrow::Cow;

/// A section to be written: its structs are the parts, one after the other.
#[derive(Debug)]
pub(crate) struct Out<'a> {
    pub client: u64,
    pub start: u32,
    pub end: u32,
    pub count: u32,
    pub parts: SmallVec<[Cow<'a, [u8]>; 1]>,
}

impl Out<'_> {
    fn bytes_len(&self) -> usize {
        let header =
            var_uint_len(u64::from(self.count)) + var_uint_len(self.client) + var_uint_len(u64::from(self.start));
        header + self.parts.iter().map(|part| part.len()).sum::<usize>()
    }

    /// Appends a delete set: `deletions` are in order.
    pub fn deletions(out: &mut Vec<u8>, deletions: &[Deletion]) {
        let of_client = |a: &Deletion, b: &Deletion| a.client == b.client;
        write_var_uint(out, deletions.chunk_by(of_client).count() as u64);
        for ranges in deletions.chunk_by(of_client) {
            write_var_uint(out, ranges[0].client);
            write_var_uint(out, ranges.len() as u64);
            for range in ranges {
                write_var_uint(out, u64::from(range.start));
                write_var_uint(out, u64::from(range.end - range.start));
            }
        }
    }
}

/// Writes an update: `sections` descending by client and not empty, `deletions` in order.
pub(crate) fn assemble(sections: &[Out], deletions: SmallVec<[Deletion; 2]>) -> CheckedUpdate {
    let len: usize = sections.iter().map(Out::bytes_len).sum();
    let mut bytes = Vec::with_capacity(len + 10 + deletions.len() * 8);
    let mut written = SmallVec::with_capacity(sections.len());
    write_var_uint(&mut bytes, sections.len() as u64);
    for out in sections {
        write_var_uint(&mut bytes, u64::from(out.count));
        write_var_uint(&mut bytes, out.client);
        write_var_uint(&mut bytes, u64::from(out.start));
        let from = bytes.len();
        for part in &out.parts {
            bytes.extend_from_slice(part);
        }
        written.push(Section {
            client: out.client,
            start: out.start,
            end: out.end,
            count: out.count,
            from,
            to: bytes.len(),
            gaps: false,
        });
    }
    Out::deletions(&mut bytes, &deletions);
    CheckedUpdate {
        bytes: bytes.into(),
        sections: written,
        deletions,
        runs: SmallVec::new(),
        admitted: false,
    }
}

/// Sorts deletions as Yjs writes them (clients descending, clocks ascending) and joins what touches.
pub(crate) fn deletions_in_order(deletions: &mut SmallVec<[Deletion; 2]>) {
    let before = |a: &Deletion, b: &Deletion| a.client > b.client || (a.client == b.client && a.end < b.start);
    if deletions.windows(2).all(|pair| before(&pair[0], &pair[1])) {
        return;
    }
    deletions.sort_unstable_by(|a, b| b.client.cmp(&a.client).then(a.start.cmp(&b.start)));
    deletions.dedup_by(|later, kept| {
        let touches = later.client == kept.client && later.start <= kept.end;
        if touches {
            kept.end = kept.end.max(later.end);
        }
        touches
    });
}

/// A collected range of `len` clocks.
pub(crate) fn gc(len: u32) -> Vec<u8> {
    let mut out = vec![GC];
    write_var_uint(&mut out, u64::from(len));
    out
}

/// The struct at `id` without its first `skipped` (at least 1, fewer than all) clocks, as Yjs writes it.
pub(crate) fn tail(bytes: &[u8], to: usize, found: &Struct, id: Id, skipped: u32) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(to - found.content.min(to) + 24);
    if matches!(found.kind(), GC | SKIP) {
        out.push(found.info);
        write_var_uint(&mut out, u64::from(found.len - skipped));
        return Some(out);
    }
    header_after(&mut out, found.kind(), found, id, skipped);
    let mut r = Reader::starting_at(bytes, found.content);
    match found.kind() {
        DELETED => write_var_uint(&mut out, u64::from(found.len - skipped)),
        STRING => {
            let text = r.var_string().ok()?;
            let (at, halved) = utf16_position(text, skipped as usize);
            let rest = &text.as_bytes()[at..];
            let half = if halved { REPLACEMENT } else { &[] };
            write_var_uint(&mut out, (half.len() + rest.len()) as u64);
            out.extend_from_slice(half);
            out.extend_from_slice(rest);
        }
        ANY => {
            r.count(1).ok()?;
            for _ in 0..skipped {
                structs::any::<false>(&mut r).ok()?;
            }
            write_var_uint(&mut out, u64::from(found.len - skipped));
            out.extend_from_slice(bytes.get(r.position()..to)?);
        }
        // All others cover one clock.
        _ => return None,
    }
    Some(out)
}

/// An entry of a map that covers several clocks, of which the first `skipped` are known: all but the last
/// as deleted, and the last. Two structs, which is what the entry means: the last value counts.
///
/// A Yjs that collects no garbage joins overwritten values so; yrs forgets the first ones when somebody
/// deletes only the last, and later frees what holds them.
pub(crate) fn last_entry(bytes: &[u8], at: usize, to: usize, found: &Struct, id: Id, skipped: u32) -> Option<Vec<u8>> {
    let mut r = Reader::starting_at(bytes, found.content);
    r.count(1).ok()?;
    for _ in 1..found.len {
        structs::any::<false>(&mut r).ok()?;
    }
    let mut out = Vec::with_capacity(64 + to - r.position().min(to));
    if skipped == 0 {
        out.push(found.info & !structs::CONTENT_BITS | DELETED);
        out.extend_from_slice(bytes.get(at + 1..found.content)?);
    } else {
        header_after(&mut out, DELETED, found, id, skipped);
    }
    write_var_uint(&mut out, u64::from(found.len - skipped - 1));
    header_after(&mut out, ANY, found, id, found.len - 1);
    write_var_uint(&mut out, 1);
    out.extend_from_slice(bytes.get(r.position()..to)?);
    Some(out)
}

/// The header of what follows the first `skipped` clocks of the struct at `id`.
fn header_after(out: &mut Vec<u8>, kind: u8, found: &Struct, id: Id, skipped: u32) {
    out.push(kind | HAS_ORIGIN | found.info & (HAS_RIGHT_ORIGIN | HAS_KEY));
    write_var_uint(out, id.client);
    write_var_uint(out, u64::from(id.clock + skipped - 1));
    if let Some(right) = found.right_origin {
        write_var_uint(out, right.client);
        write_var_uint(out, u64::from(right.clock));
    }
}

/// U+FFFD, which stands for half of a surrogate pair.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// The byte after the first `units` UTF-16 units of `text`, and whether that is the middle of a pair:
/// then the position is after the whole character.
fn utf16_position(text: &str, units: usize) -> (usize, bool) {
    let mut left = units;
    for (at, character) in text.char_indices() {
        if left == 0 {
            return (at, false);
        }
        if left < character.len_utf16() {
            return (at + character.len_utf8(), true);
        }
        left -= character.len_utf16();
    }
    (text.len(), false)
}

/// Cuts a struct whose text is longer than `max_bytes` into several that mean the same, each with the
/// clocks it covers. `None` if it holds no text, or only a little.
pub(crate) fn chop(bytes: &[u8], at: usize, found: &Struct, id: Id, max_bytes: usize) -> Option<Vec<(u32, Vec<u8>)>> {
    if found.kind() != STRING {
        return None;
    }
    let text = Reader::starting_at(bytes, found.content).var_string().ok()?;
    let mut rest = text;
    let mut pieces = Vec::new();
    let mut clock = id.clock;
    while !rest.is_empty() {
        let mut end = max_bytes.max(4).min(rest.len());
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, after) = rest.split_at(end);
        let mut out = Vec::with_capacity(piece.len() + 32);
        if pieces.is_empty() {
            out.extend_from_slice(bytes.get(at..found.content)?);
        } else {
            header_after(&mut out, STRING, found, id, clock - id.clock);
        }
        write_var_bytes(&mut out, piece.as_bytes());
        let units = crate::protocol::lib0::utf16_len(piece.as_bytes()) as u32;
        clock += units;
        pieces.push((units, out));
        rest = after;
    }
    Some(pieces)
}
