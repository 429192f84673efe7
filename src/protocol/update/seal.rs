//! A large update cut into several that take effect together, with the last of them.
//!
//! A part of what others wrote is a state in which the document never was, and whoever acts on it does harm to everybody:
//! Yjs deletes format marks that are of no use for the text that has come so far, and editors delete blocks that lack what
//! they have to hold. So each message but the last has what a reader keeps aside, since of each client the first struct
//! comes last. Then all of it is integrated in one transaction.

use super::encode::{Out, assemble};
use super::piece::Whole;
use super::split::{Cutter, DELETION_BYTES_MAX, split};
use super::structs;
use super::{CheckedUpdate, Deletion, Id, Section};
use crate::protocol::lib0::{Reader, var_uint_len};
use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;

/// Most messages, about: what a reader keeps aside it puts together anew with each of them, so what is large is cut into
/// larger ones.
const PIECES_MAX: usize = 32;
/// The first of a client's structs is cut to this, in bytes, if it can be.
const FIRST_BYTES_MAX: usize = 1_024;
/// The last message may be so many times as large as another one.
const LAST_FACTOR: usize = 8;

/// How large the messages are that a large update is cut into, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Each of them, about, or a thirty-second part of all.
    pub each: usize,
    /// The last one, in which is what takes effect.
    pub last: usize,
}

impl Sizes {
    /// All of them take about `bytes`.
    #[must_use]
    pub fn of(bytes: usize) -> Self {
        Self {
            each: bytes,
            last: LAST_FACTOR * bytes,
        }
    }

    fn each_of(&self, update: &CheckedUpdate) -> usize {
        self.each.max(update.bytes.len() / PIECES_MAX)
    }
}

/// Cuts `update` into updates of these sizes. Who has what `update` relies on, and nothing of it, can integrate none of them
/// before the last, and then all. One struct that is larger makes a larger update, and so do very many clients.
///
/// Linear in the size of the update.
pub fn seal(update: &CheckedUpdate, sizes: Sizes) -> Vec<Bytes> {
    if update.bytes.len() <= sizes.each || !is_cut(update) {
        return vec![update.bytes.clone()];
    }
    let each = sizes.each_of(update);
    let mut cutter = Cutter::new(update, each);
    let mut firsts: Vec<Out> = Vec::with_capacity(update.sections.len());
    for (lane, section) in update.sections.iter().enumerate() {
        let mut first = None;
        for_each_part(update, section, FIRST_BYTES_MAX.min(each), each, |clock, len, bytes| {
            if first.is_some() {
                cutter.add(lane, clock, len, bytes);
                return;
            }
            first = Some(Out {
                client: section.client,
                start: clock,
                end: clock + len,
                count: 1,
                parts: smallvec![bytes],
            });
        });
        firsts.extend(first);
    }
    // One that cannot be cut is a message of its own length wherever it stands.
    let last_bytes: usize = firsts.iter().map(|out| out.bytes_len().min(FIRST_BYTES_MAX)).sum();
    if firsts.len() != update.sections.len() || last_bytes > sizes.last.max(LAST_FACTOR * FIRST_BYTES_MAX) {
        // Of more clients than that no line would carry the last message.
        return split(update, sizes.each.min(sizes.last / LAST_FACTOR));
    }
    cutter.flush();

    // What is not there yet is deleted when it comes.
    let waits = |deletion: &Deletion| {
        let section = update.section_of(deletion.client);
        section.is_some_and(|index| firsts[index].end <= deletion.start)
    };
    let (waiting, acting): (SmallVec<[Deletion; 2]>, SmallVec<[Deletion; 2]>) =
        update.deletions.iter().copied().partition(waits);
    let at_once = (each / DELETION_BYTES_MAX).max(1);
    for deletions in waiting.chunks(at_once) {
        cutter.add_deletions(deletions);
    }
    let (with_last, rest) = acting.split_at(fitting(&acting, sizes.last));
    cutter.pieces.push(assemble(&firsts, with_last.into()).bytes);
    for deletions in rest.chunks(at_once) {
        cutter.add_deletions(deletions);
    }
    cutter.pieces
}

/// Cuts one that its reader keeps aside, into updates of at most about `bytes_max`.
pub fn apart(update: &CheckedUpdate, bytes_max: usize) -> Vec<Bytes> {
    if update.bytes.len() <= bytes_max || !is_cut(update) {
        return vec![update.bytes.clone()];
    }
    let mut cutter = Cutter::new(update, bytes_max);
    for (lane, section) in update.sections.iter().enumerate() {
        for_each_part(update, section, bytes_max, bytes_max, |clock, len, bytes| {
            cutter.add(lane, clock, len, bytes);
        });
    }
    cutter.flush();
    for deletions in update.deletions.chunks((bytes_max / DELETION_BYTES_MAX).max(1)) {
        cutter.add_deletions(deletions);
    }
    cutter.pieces
}

fn is_cut(update: &CheckedUpdate) -> bool {
    update.sections.iter().all(|section| !section.gaps)
}

/// How many of these deletions take at most so many bytes.
fn fitting(deletions: &[Deletion], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let mut client = None;
    let fits = |deletion: &&Deletion| {
        if client.replace(deletion.client) != Some(deletion.client) {
            bytes += var_uint_len(deletion.client) + 5;
        }
        bytes += var_uint_len(deletion.start.into()) + var_uint_len((deletion.end - deletion.start).into());
        bytes <= bytes_max
    };
    deletions.iter().take_while(fits).count()
}

/// The structs of a section as they are sent: clock, length and bytes of each. Long ones are cut, and the first one to another
/// length.
fn for_each_part<'a>(
    update: &'a CheckedUpdate,
    section: &Section,
    first_bytes_max: usize,
    bytes_max: usize,
    mut take: impl FnMut(u32, u32, Cow<'a, [u8]>),
) {
    let mut r = Reader::starting_at(&update.bytes, section.from);
    let mut clock = section.start;
    for number in 0..section.count {
        let at = r.position();
        let Ok(found) = structs::read::<false>(&mut r) else {
            return;
        };
        let whole = Whole {
            bytes: &update.bytes,
            at,
            to: r.position(),
            found: &found,
            id: Id {
                client: section.client,
                clock,
            },
        };
        let longest = if number == 0 { first_bytes_max } else { bytes_max };
        let mut part = clock;
        let chopped = whole.chop(longest, |len, piece| {
            take(part, len, Cow::Owned(piece.to_vec()));
            part += len;
        });
        if !chopped {
            take(clock, found.len, Cow::Borrowed(&update.bytes[at..r.position()]));
        }
        clock += found.len;
    }
}
