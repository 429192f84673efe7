//! A large update cut into several that can be applied one after the other.

use super::encode::{Out, assemble};
use super::piece::Whole;
use super::walk::{Lane, Walk};
use super::{CheckedUpdate, Deletion, Id};
use bytes::Bytes;
use smallvec::SmallVec;
use std::borrow::Cow;

/// A section's header: count, client and clock at their longest.
const HEADER_BYTES_MAX: usize = 5 + 8 + 5;
/// A deleted range, or a client's header in a delete set, at its longest.
pub(super) const DELETION_BYTES_MAX: usize = 8 + 5 + 5 + 5;

/// Cuts `update` into updates of at most about `max_bytes`, in an order in which each refers only to itself,
/// to those before it, and to what `update` itself relied on. Deletions come last. Long texts are cut, too;
/// one other struct larger than `max_bytes` makes one larger update.
///
/// Linear in the size of the update.
pub fn split(update: &CheckedUpdate, max_bytes: usize) -> Vec<Bytes> {
    if update.bytes.len() <= max_bytes || update.sections.iter().any(|section| section.gaps) {
        return vec![update.bytes.clone()];
    }
    let lanes: SmallVec<[Lane; 1]> = update
        .sections
        .iter()
        .map(|s| Lane {
            at: s.from,
            clock: s.start,
            left: s.count,
            trim: 0,
        })
        .collect();
    let mut walk = Walk::new(update, lanes);
    let before = |id: Id| {
        update
            .section_of(id.client)
            .is_none_or(|index| id.clock < update.sections[index].start)
    };

    let mut cutter = Cutter::new(update, max_bytes);
    let mut steps = 0;
    while let Some(step) = walk.next(before) {
        steps += 1;
        let client = update.sections[step.lane].client;
        let whole = Whole {
            bytes: &update.bytes,
            at: step.at,
            to: step.to,
            found: &step.found,
            id: Id {
                client,
                clock: step.clock,
            },
        };
        let mut clock = step.clock;
        let chopped = whole.chop(max_bytes, |len, piece| {
            cutter.add(step.lane, clock, len, Cow::Owned(piece.to_vec()));
            clock += len;
        });
        if !chopped {
            let bytes = Cow::Borrowed(&update.bytes[step.at..step.to]);
            cutter.add(step.lane, step.clock, step.found.len, bytes);
        }
    }
    if steps != update.struct_count() {
        // Its structs wait for each other: only an update that no document admits does that.
        return vec![update.bytes.clone()];
    }
    cutter.flush();
    for deletions in update.deletions.chunks((max_bytes / DELETION_BYTES_MAX).max(1)) {
        cutter.add_deletions(deletions);
    }
    cutter.pieces
}

pub(super) struct Cutter<'a> {
    update: &'a CheckedUpdate,
    bytes_max: usize,
    pub pieces: Vec<Bytes>,
    /// The piece that is being filled: its sections, and how many bytes they take.
    open: Vec<(usize, Out<'a>)>,
    open_bytes: usize,
    /// For each lane, where in `open` it is, if the piece number beside is the one being filled.
    slots: Vec<(usize, usize)>,
}

impl<'a> Cutter<'a> {
    pub fn new(update: &'a CheckedUpdate, bytes_max: usize) -> Self {
        let slots = vec![(usize::MAX, 0); update.sections.len()];
        Self {
            update,
            bytes_max,
            pieces: Vec::new(),
            open: Vec::new(),
            open_bytes: 0,
            slots,
        }
    }

    pub fn add(&mut self, lane: usize, clock: u32, len: u32, bytes: Cow<'a, [u8]>) {
        if self.open_bytes + bytes.len() + HEADER_BYTES_MAX > self.bytes_max {
            self.flush();
        }
        let (piece, slot) = self.slots[lane];
        let slot = if piece == self.pieces.len() {
            slot
        } else {
            let client = self.update.sections[lane].client;
            self.open.push((
                lane,
                Out {
                    client,
                    start: clock,
                    end: clock,
                    count: 0,
                    parts: SmallVec::new(),
                },
            ));
            self.open_bytes += HEADER_BYTES_MAX;
            self.slots[lane] = (self.pieces.len(), self.open.len() - 1);
            self.open.len() - 1
        };
        self.open_bytes += bytes.len();
        let out = &mut self.open[slot].1;
        out.end = clock + len;
        out.count += 1;
        // Bytes that follow each other in the source stay one part.
        if let (Some(Cow::Borrowed(last)), Cow::Borrowed(next)) = (out.parts.last_mut(), &bytes)
            && let Some(joined) = self.update.joined(last, next)
        {
            *last = joined;
            return;
        }
        out.parts.push(bytes);
    }

    pub fn add_deletions(&mut self, deletions: &[Deletion]) {
        let bytes = assemble(&[], deletions.into()).bytes;
        self.pieces.push(bytes);
    }

    pub fn flush(&mut self) {
        if self.open.is_empty() {
            return;
        }
        // Lanes are in descending order of client.
        self.open.sort_unstable_by_key(|(lane, _)| *lane);
        let sections: Vec<Out> = self.open.drain(..).map(|(_, out)| out).collect();
        self.pieces.push(assemble(&sections, SmallVec::new()).bytes);
        self.open_bytes = 0;
    }
}

impl CheckedUpdate {
    /// `first` and `next` as one slice, if they are neighbours in this update.
    fn joined<'a>(&'a self, first: &'a [u8], next: &'a [u8]) -> Option<&'a [u8]> {
        let offset = |slice: &[u8]| (slice.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize);
        let (first_at, next_at) = (offset(first)?, offset(next)?);
        if first_at + first.len() != next_at {
            return None;
        }
        self.bytes.get(first_at..next_at + next.len())
    }
}
