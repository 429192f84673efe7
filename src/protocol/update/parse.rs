//! Step 1 of the gate: the structure of an update, from its bytes alone.
//!
//! Everything that the later steps rely on without looking again is established here. The bytes are
//! kept as they came if nothing in them needs repair, which is nearly always.

use super::rewrite::{Refused, rewrite};
use super::structs::{self, CLOCK_MAX, SKIP};
use super::{CheckedUpdate, Deletion, Section};
use crate::protocol::lib0::{Malformed, Reader};
use bytes::Bytes;
use smallvec::SmallVec;

/// What one pass over the bytes found.
pub(super) struct Parsed {
    pub sections: SmallVec<[Section; 1]>,
    pub deletions: SmallVec<[Deletion; 2]>,
    pub needs_repair: bool,
}

impl CheckedUpdate {
    /// Checks the structure of `bytes`, an update in Yjs encoding v1. Fails on what no honest client sends:
    /// the caller closes the session. Disorder that honest clients send comes back put in order.
    pub fn check(bytes: Bytes) -> Result<Self, Malformed> {
        let mut parsed = parse(&bytes)?;
        let mut bytes = bytes;
        if parsed.needs_repair {
            bytes = rewrite(&bytes, Refused::Error)?.into();
            parsed = parse(&bytes)?;
            if parsed.needs_repair {
                return Err(Malformed::new(0, "an update beyond repair"));
            }
        }
        let Parsed {
            sections, deletions, ..
        } = parsed;
        Ok(Self {
            bytes,
            sections,
            deletions,
        })
    }
}

impl CheckedUpdate {
    /// As [`CheckedUpdate::check`], for bytes that an earlier server took and stored: content that is refused today,
    /// since no Yjs can write it again, comes back as deleted, and the document it is in opens.
    pub fn check_stored(bytes: Bytes) -> Result<Self, Malformed> {
        match Self::check(bytes.clone()) {
            Err(malformed) if malformed.refused => {
                log::warn!(
                    "stored content that no client can write again is left out: {}",
                    malformed.what
                );
                Self::check(rewrite(&bytes, Refused::Dropped)?.into())
            }
            checked => checked,
        }
    }
}

/// Reads all of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let mut r = Reader::new(bytes);
    let (sections, mut needs_repair) = sections(&mut r)?;
    let deletions = deletions(&mut r, &mut needs_repair)?;
    r.finish()?;
    Ok(Parsed {
        sections,
        deletions,
        needs_repair,
    })
}

fn sections(r: &mut Reader) -> Result<(SmallVec<[Section; 1]>, bool), Malformed> {
    let mut sections: SmallVec<[Section; 1]> = SmallVec::new();
    let mut needs_repair = false;
    let mut sorted = true;
    // A section is at least its own count, its client and its clock.
    for _ in 0..r.count(3)? {
        // A struct is at least a kind and a length.
        let header = r.var_uint()?;
        let client = r.var_uint()?;
        let start = r.var_uint()?;
        if header > (r.remaining() / 2) as u64 {
            return Err(r.malformed("a count beyond the end"));
        }
        if start > CLOCK_MAX {
            return Err(r.malformed("a clock beyond 2^31 - 1"));
        }
        let mut section = Section {
            client,
            start: start as u32,
            end: start as u32,
            count: header as u32,
            from: r.position(),
            to: r.position(),
            gaps: false,
        };
        for _ in 0..section.count {
            needs_repair |= next_struct(r, &mut section)?;
        }
        section.to = r.position();
        needs_repair |= section.count == 0;
        sorted &= sections.last().is_none_or(|last| last.client > client);
        sections.push(section);
    }
    if !sorted {
        let mut clients: Vec<u64> = sections.iter().map(|s| s.client).collect();
        clients.sort_unstable();
        if clients.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(r.malformed("a client with two sections"));
        }
    }
    Ok((sections, needs_repair || !sorted))
}

#[inline]
fn next_struct(r: &mut Reader, section: &mut Section) -> Result<bool, Malformed> {
    let found = structs::read::<true>(r)?;
    let end = u64::from(section.end) + u64::from(found.len);
    if end > CLOCK_MAX {
        return Err(r.malformed("a clock beyond 2^31 - 1"));
    }
    if found
        .references()
        .any(|id| id.client == section.client && id.clock >= section.end)
    {
        return Err(r.malformed("a reference to itself or to what comes later"));
    }
    section.gaps |= found.kind() == SKIP;
    section.end = end as u32;
    Ok(found.needs_repair)
}

fn deletions(r: &mut Reader, needs_repair: &mut bool) -> Result<SmallVec<[Deletion; 2]>, Malformed> {
    let mut deletions: SmallVec<[Deletion; 2]> = SmallVec::new();
    let mut clients: SmallVec<[u64; 4]> = SmallVec::new();
    for _ in 0..r.count(2)? {
        let client = r.var_uint()?;
        clients.push(client);
        let ranges = r.count(2)?;
        *needs_repair |= ranges == 0;
        let mut last_end = None;
        for _ in 0..ranges {
            let start = r.var_uint()?;
            let len = r.var_uint()?;
            if start > CLOCK_MAX || len > CLOCK_MAX || start + len > CLOCK_MAX {
                return Err(r.malformed("a deletion beyond 2^31 - 1"));
            }
            let (start, end) = (start as u32, (start + len) as u32);
            // Yjs sorts and joins the ranges; what wrote them otherwise is put in order.
            *needs_repair |= len == 0 || last_end.is_some_and(|last| start <= last);
            last_end = Some(end);
            deletions.push(Deletion { client, start, end });
        }
    }
    let descending = clients.windows(2).all(|pair| pair[0] > pair[1]);
    if !descending && !clients.windows(2).all(|pair| pair[0] < pair[1]) {
        clients.sort_unstable();
        if clients.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(r.malformed("a client with two delete sets"));
        }
    }
    Ok(deletions)
}
