//! Encoded answers to "what do I lack?", shared by all who ask the same.
//!
//! Three hundred people who open a document at once, or come back after a deploy with the same state
//! vector, cost one encoding. The full state is kept with the updates that followed it (its tail),
//! so that edits do not make it worthless. An answer in pieces stays good without a tail: who has received it is sent
//! the difference from there; but one that brought only deletions brings nobody further later. Other answers hold for one version only.
//!
//! What must stay true: an answer, together with its tail, brings a peer who had `had` to its version.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    limits::SYNC_FRAME_BYTES_MAX,
    protocol::{
        lib0::{Reader, write_var_bytes},
        update::{CheckedUpdate, Clocks},
    },
};

use super::{
    had::Had,
    states::{Lacking, Update},
};

/// Answers other than the full state that are kept; more state vectors than this are rare.
const PARTIAL_MAX: usize = 8;

/// Answers in pieces that are kept: each may be as large as the document.
const LARGE_MAX: usize = 2;

/// A tail that outweighs this share of the full state, or a frame, makes a fresh encoding worth it; a small state
/// is encoded anew sooner.
const TAIL_SHARE: usize = 2;

/// State vectors of more bytes than this are kept.
const VECTOR_KEPT_MIN: usize = 4 * 1024;

#[derive(Debug, Default)]
pub(super) struct SyncCache {
    full: Option<Full>,
    partial: Vec<(Had, Answer)>,
    /// Answers in pieces, the newest last.
    large: Vec<(Had, Answer)>,
    /// The state vector of a version, with so many doubts, if it is long.
    vector: Option<((u64, usize), Bytes)>,
}

/// A full state in one piece.
#[derive(Debug)]
struct Full {
    answer: Answer,
    tail: Vec<u8>,
    tail_bytes_max: usize,
}

/// Updates that bring a peer up to date.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub update: Update,
    /// Whether it is a SyncStep2. A provider takes that for the end of its first sync, so it must not come before
    /// everything that the document held.
    pub closed: bool,
    /// The version that they bring a peer to.
    pub version: u64,
    /// What a peer has after them, if they are several.
    pub reached: Option<Arc<Clocks>>,
}

/// The updates that followed on an answer. They are copied: each may lie in a larger piece of what was received.
#[derive(Debug, Clone)]
pub(super) struct Tail(Arc<[u8]>);

impl Tail {
    /// In their order.
    pub fn updates(&self) -> impl Iterator<Item = &[u8]> {
        let mut reader = Reader::new(&self.0);
        std::iter::from_fn(move || reader.var_bytes().ok())
    }
}

impl From<&Lacking> for Answer {
    fn from(lacking: &Lacking) -> Self {
        let reached = match &lacking.update {
            Update::Small(_) => None,
            Update::Large(_) => Some(lacking.reached.clone()),
        };
        Self {
            update: lacking.update.clone(),
            closed: reached.is_none(),
            version: lacking.version,
            reached,
        }
    }
}

impl SyncCache {
    /// What a document at `version` has for a peer who has `had`, if that is known, and the tail that follows on it.
    pub fn find(&self, had: &Had, version: u64) -> Option<(Answer, Option<Tail>)> {
        if had.clocks.is_empty()
            && let Some(full) = &self.full
        {
            let tail = (!full.tail.is_empty()).then(|| Tail(full.tail.as_slice().into()));
            return Some((full.answer.clone(), tail));
        }
        // Who is sent the difference from where it was would be sent the same for ever.
        let leads_on = |answer: &Answer| {
            let is_news = had.deletions.is_none_or(|deletions| deletions < answer.version);
            answer.version == version || is_news || answer.reached.as_ref() != Some(&had.clocks)
        };
        let mut others = self.partial.iter().chain(self.large.iter().rev());
        let (_, answer) = others.find(|(known, answer)| known == had && leads_on(answer))?;
        Some((answer.clone(), None))
    }

    /// Gives back the large answers that nobody else holds: others wait for their part.
    pub fn tidy(&mut self) {
        self.large.retain(|(_, answer)| match &answer.update {
            Update::Large(cut) => !cut.is_counted() || Arc::strong_count(cut) > 1,
            Update::Small(_) => true,
        });
    }

    /// Keeps what was encoded.
    pub fn keep(&mut self, lacking: &Lacking) {
        let answer = Answer::from(lacking);
        let Update::Small(update) = &answer.update else {
            if self.large.len() >= LARGE_MAX {
                self.large.remove(0);
            }
            self.large.push((lacking.had.clone(), answer));
            return;
        };
        if lacking.had.clocks.is_empty() {
            self.full = Some(Full {
                tail_bytes_max: (update.len() / TAIL_SHARE).min(SYNC_FRAME_BYTES_MAX),
                answer,
                tail: Vec::new(),
            });
        } else {
            if self.partial.len() >= PARTIAL_MAX {
                self.partial.remove(0);
            }
            self.partial.push((lacking.had.clone(), answer));
        }
    }

    /// The document moved to `version` by these updates.
    pub fn advance(&mut self, version: u64, updates: &[CheckedUpdate]) {
        self.partial.clear();
        let Some(full) = &mut self.full else { return };
        let bytes: usize = updates.iter().map(|update| update.bytes().len()).sum();
        if full.answer.version + 1 != version || full.tail.len() + bytes > full.tail_bytes_max {
            self.full = None;
            return;
        }
        full.answer.closed = false;
        full.answer.version = version;
        for update in updates {
            write_var_bytes(&mut full.tail, update.bytes());
        }
    }

    /// The state vector that a newcomer is asked with: very many clients take milliseconds, each time that somebody comes. It may
    /// lack what was taken since `version`, which a newcomer who has it sends for nothing. `doubts` are clocks that it says no
    /// more than (D22); they only become more.
    pub fn vector(&mut self, version: u64, clocks: &Clocks, doubts: &BTreeMap<u64, u32>) -> Bytes {
        let of = (version, doubts.len());
        if let Some((known, vector)) = &self.vector
            && *known == of
        {
            return vector.clone();
        }
        let said = if doubts.is_empty() {
            Cow::Borrowed(clocks)
        } else {
            Cow::Owned(clocks.cut_to(doubts))
        };
        let vector = Bytes::from(said.encode_state_vector());
        self.vector = (vector.len() > VECTOR_KEPT_MIN).then(|| (of, vector.clone()));
        vector
    }

    /// Gives the memory back.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l79_newcomers_share_a_long_state_vector_until_something_changes() {
        let (mut cache, mut clocks) = (SyncCache::default(), Clocks::default());
        let mut doubts = BTreeMap::new();
        (0..2_000).for_each(|client| clocks.advance(client, 2));
        let first = cache.vector(1, &clocks, &doubts);
        assert_eq!(first, clocks.encode_state_vector());
        assert_eq!(cache.vector(1, &clocks, &doubts).as_ptr(), first.as_ptr());

        clocks.advance(7, 3);

        assert_eq!(cache.vector(2, &clocks, &doubts), clocks.encode_state_vector());
        doubts.extend([(9, 1), (10_000, 1)]);
        let doubtful = cache.vector(2, &clocks, &doubts);
        assert_eq!(doubtful, clocks.cut_to(&doubts).encode_state_vector());
        assert_eq!(cache.vector(2, &clocks, &doubts).as_ptr(), doubtful.as_ptr());
        cache.clear();
        assert!(cache.vector.is_none());
        let mut short = Clocks::default();
        short.advance(1, 1);
        cache.vector(3, &short, &doubts);
        assert!(cache.vector.is_none(), "a short one is written anew");
    }
}
