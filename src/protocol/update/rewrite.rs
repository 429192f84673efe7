//! Repair of disorder that honest clients write. Rare, so it may be slow; it never changes what an author wrote.
//!
//! What an earlier server stored and the gate refuses today is healed: see [`Refused::Dropped`].
//!
//! Structs of length 0, sections and delete sets with nothing in them, deletions out of order or overlapping (older yrs
//! wrote those) are dropped or put in order. So are sections out of order.

use super::encode::{Out, deletions_in_order};
use super::piece::Whole;
use super::structs;
use super::{Deletion, Id, SmallVec};
use crate::protocol::lib0::{Malformed, Reader, write_var_uint};

/// What becomes of content that is whole and refused, such as an object with the key `__proto__`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is an error.
    Error,
    /// It counts as deleted: the struct stays, so that what others put beside it finds its place.
    Dropped,
}

/// Rewrites an update.
pub(super) fn rewrite(bytes: &[u8], refused: Refused) -> Result<Vec<u8>, Malformed> {
    let mut r = Reader::new(bytes);
    let mut sections: Vec<(u64, u64, u64, Vec<u8>)> = Vec::new();
    for _ in 0..r.count(3)? {
        let count = r.var_uint()?;
        let client = r.var_uint()?;
        let clock = r.var_uint()?;
        let mut kept = 0;
        let mut out = Vec::new();
        for _ in 0..count {
            let from = r.position();
            let found = match structs::read::<true>(&mut r) {
                Err(malformed) if malformed.refused && refused == Refused::Dropped => {
                    r = r.back_to(from);
                    let found = structs::read::<false>(&mut r)?;
                    let id = Id { client, clock: 0 };
                    let whole = Whole {
                        bytes,
                        at: from,
                        to: r.position(),
                        found: &found,
                        id,
                    };
                    whole.deleted(0, found.len, &mut out);
                    kept += 1;
                    continue;
                }
                read => read?,
            };
            if found.len > 0 {
                kept += 1;
                out.extend_from_slice(&bytes[from..r.position()]);
            }
        }
        if kept > 0 {
            sections.push((client, kept, clock, out));
        }
    }
    sections.sort_unstable_by_key(|(client, ..)| std::cmp::Reverse(*client));

    let mut deletions: SmallVec<[Deletion; 2]> = SmallVec::new();
    for _ in 0..r.count(2)? {
        let client = r.var_uint()?;
        for _ in 0..r.count(2)? {
            let start = r.var_u32()?;
            let end = start.saturating_add(r.var_u32()?);
            if start < end {
                deletions.push(Deletion { client, start, end });
            }
        }
    }
    deletions_in_order(&mut deletions);

    let mut out = Vec::with_capacity(bytes.len() + 16);
    write_var_uint(&mut out, sections.len() as u64);
    for (client, count, clock, structs) in sections {
        write_var_uint(&mut out, count);
        write_var_uint(&mut out, client);
        write_var_uint(&mut out, clock);
        out.extend_from_slice(&structs);
    }
    Out::deletions(&mut out, &deletions);
    Ok(out)
}
