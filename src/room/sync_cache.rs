//! Encoded answers to "what do I lack?", shared by all who ask the same.
//!
//! Three hundred people who open a document at once, or come back after a deploy with the same state
//! vector, cost one encoding. The full state is kept with the updates that followed it (its tail),
//! so that edits do not make it worthless; other answers hold for one version only.
//!
//! What must stay true: an answer, together with its tail, brings a peer who had `had` to `version`; several frames
//! without the tail bring it to what they say that they reach.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::{
    limits::SYNC_FRAME_BYTES_MAX,
    protocol::{dialect::Dialect, update::Clocks},
};

use super::replica::Encoded;

/// Answers other than the full state that are kept; more state vectors than this are rare.
const PARTIAL_MAX: usize = 8;

/// A tail that outweighs this share of the full state, or a frame, makes a fresh encoding worth it; a small state
/// is encoded anew sooner.
const TAIL_SHARE: usize = 2;

#[derive(Debug, Default)]
pub(super) struct SyncCache {
    full: Option<Full>,
    partial: Vec<(Arc<Clocks>, u64, Answer)>,
}

#[derive(Debug)]
struct Full {
    /// What the only frame says.
    update: Bytes,
    answer: Answer,
    version: u64,
    tail: BytesMut,
    tail_bytes_max: usize,
}

/// Frames that bring a peer up to date.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// Complete frames, each a valid update, in causal order.
    pub frames: Arc<[Bytes]>,
    /// Whether the last frame is a SyncStep2. A provider takes that for the end of its first sync, so
    /// it must not come before everything that the document held.
    pub closed: bool,
    /// What a peer has after them, if they are more than one.
    pub reached: Option<Arc<Clocks>>,
}

impl Answer {
    /// Lays out what was encoded as frames of `dialect`, several when it was cut.
    fn new(encoded: &Encoded, clocks: &Clocks, dialect: Dialect) -> Self {
        match &encoded.cut {
            None => Self {
                frames: [dialect.sync_step2(&encoded.update)].into(),
                closed: true,
                reached: None,
            },
            Some(cut) => Self {
                frames: cut.pieces.iter().map(|piece| dialect.update(piece)).collect(),
                closed: false,
                reached: Some(Arc::new(clocks.clone())),
            },
        }
    }
}

impl SyncCache {
    /// The frames for a peer who has `had`, if they are known, and the tail that follows them.
    pub fn find(&self, had: &Clocks, version: u64) -> Option<(Answer, Option<Bytes>)> {
        if had.is_empty() {
            let full = self.full.as_ref().filter(|full| full.version == version)?;
            let tail = (!full.tail.is_empty()).then(|| Bytes::copy_from_slice(&full.tail));
            return Some((full.answer.clone(), tail));
        }
        let (_, _, answer) = self
            .partial
            .iter()
            .find(|(known, at, _)| *at == version && **known == *had)?;
        Some((answer.clone(), None))
    }

    /// Keeps what was encoded when the document knew `clocks`.
    pub fn keep(&mut self, encoded: &Encoded, clocks: &Clocks, dialect: Dialect) {
        let answer = Answer::new(encoded, clocks, dialect);
        if encoded.had.is_empty() {
            let tail_bytes_max = (encoded.update.len() / TAIL_SHARE).min(SYNC_FRAME_BYTES_MAX);
            let version = encoded.version;
            // Of what was cut the pieces are enough.
            let update = if answer.closed {
                encoded.update.clone()
            } else {
                Bytes::new()
            };
            let tail = BytesMut::new();
            self.full = Some(Full {
                update,
                answer,
                version,
                tail,
                tail_bytes_max,
            });
            return;
        }
        self.partial.retain(|(_, version, _)| *version == encoded.version);
        if self.partial.len() >= PARTIAL_MAX {
            self.partial.remove(0);
        }
        self.partial.push((encoded.had.clone(), encoded.version, answer));
    }

    /// The document moved to `version` by `frame`.
    pub fn advance(&mut self, version: u64, frame: &[u8], dialect: Dialect) {
        self.partial.clear();
        let Some(full) = &mut self.full else { return };
        if full.version + 1 != version || full.tail.len() + frame.len() > full.tail_bytes_max {
            self.full = None;
            return;
        }
        if full.answer.closed {
            full.answer.frames = [dialect.update(&full.update)].into();
            full.answer.closed = false;
        }
        full.version = version;
        full.tail.extend_from_slice(frame);
    }

    /// Gives the memory back.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
