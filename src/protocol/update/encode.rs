//! Putting updates together from parts of others: nothing is parsed again, structs are copied as bytes.

use super::structs::GC;
use super::{CheckedUpdate, Deletion, Section};
use crate::protocol::lib0::{var_uint_len, write_var_uint};
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
    pub fn bytes_len(&self) -> usize {
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
