//! What a peer lacks of stored updates, by copying bytes.

use super::encode::{self, Out, assemble};
use super::walk::Lane;
use super::{CheckedUpdate, Clocks, Id, Section, merge, structs};
use crate::protocol::lib0::Reader;
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;

/// What a peer lacks who has `had`, of a document that consists of `updates`, admitted in this order: the structs from
/// there on, and all deletions, as Yjs's `diffUpdate` writes it. One update, unless [`merge`] would make several.
///
/// Linear in the size of the updates. One update for a peer who has nothing comes back with its bytes shared.
pub fn lacking(updates: &[CheckedUpdate], had: &Clocks) -> Vec<CheckedUpdate> {
    if had.is_empty() {
        return merge(updates);
    }
    let lacking: Vec<CheckedUpdate> = updates.iter().map(|update| lacking_of(update, had)).collect();
    merge(&lacking)
}

fn lacking_of(update: &CheckedUpdate, had: &Clocks) -> CheckedUpdate {
    let sections: SmallVec<[Out; 2]> = update
        .sections
        .iter()
        .filter(|section| section.end > had.next(section.client))
        .map(|section| from(update, section, had.next(section.client)))
        .collect();
    assemble(&sections, update.deletions.clone())
}

/// `section` from clock `next` on, which is before its end.
fn from<'a>(update: &'a CheckedUpdate, section: &Section, next: u32) -> Out<'a> {
    let lane = Lane::first_after(update, section, next);
    let whole = Out {
        client: section.client,
        start: lane.clock,
        end: section.end,
        count: lane.left,
        parts: smallvec![Cow::Borrowed(&update.bytes[lane.at..section.to])],
    };
    if lane.trim == 0 {
        return whole;
    }
    let mut r = Reader::starting_at(&update.bytes, lane.at);
    let id = Id {
        client: section.client,
        clock: lane.clock,
    };
    let rest = structs::read::<false>(&mut r)
        .ok()
        .and_then(|found| encode::tail(&update.bytes, r.position(), &found, id, lane.trim));
    match rest {
        Some(rest) => Out {
            start: next,
            parts: smallvec![Cow::Owned(rest), Cow::Borrowed(&update.bytes[r.position()..section.to])],
            ..whole
        },
        // What cannot be cut is sent whole: the peer leaves out what it has.
        None => whole,
    }
}
