//! Full states and differences: encoded for readers and for snapshots, here or elsewhere.
//!
//! What is small is encoded where it is asked for. What is large goes elsewhere as a [`Job`], which holds a copy that
//! shares the document's blocks: meanwhile the document goes on, and nothing waits.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    document::{Cut, Damaged, Deleted, Document, State},
    protocol::{dialect::Dialect, update::Clocks},
    store::Seq,
};

use super::{ENCODE_HERE_BYTES_MAX, Effect, Micros, Room};

/// What is being encoded elsewhere.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    Nothing,
    Answer,
    Snapshot,
}

/// An encoding that has not run yet. It may run on any thread.
#[derive(Debug)]
pub struct Job {
    state: State,
    version: u64,
    /// What the document knew.
    clocks: Clocks,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    /// What a peer lacks who has this.
    Answer(Arc<Clocks>),
    /// A snapshot that covers everything up to a position.
    Snapshot(Seq, Deleted),
}

/// What a [`Job`] made.
#[derive(Debug)]
pub enum Encoded {
    /// For readers.
    Answer(Lacking),
    /// For the store.
    Snapshot(Result<Compacted, Damaged>),
}

/// What a peer lacks.
#[derive(Debug, Clone)]
pub struct Lacking {
    /// What the peer has.
    pub had: Arc<Clocks>,
    /// The room's version that this brings it to.
    pub version: u64,
    /// What the document knew then.
    pub reached: Arc<Clocks>,
    /// A Yjs v1 update.
    pub update: Bytes,
    /// The same in pieces, when it was encoded elsewhere: the document may have gone on meanwhile.
    pub cut: Option<Cut>,
}

/// A document that was put together anew: what is in deleted types is collected, and what can be joined is joined.
#[derive(Debug)]
pub struct Compacted {
    seq: Seq,
    version: u64,
    document: Document,
    state: Bytes,
}

impl Job {
    /// Encodes.
    #[must_use]
    pub fn run(self) -> Encoded {
        match self.purpose {
            Purpose::Answer(had) => {
                let update = self.state.since(&had);
                Encoded::Answer(Lacking {
                    had,
                    version: self.version,
                    reached: Arc::new(self.clocks),
                    cut: Some(Cut::of(&update)),
                    update,
                })
            }
            Purpose::Snapshot(seq, deleted) => {
                let whole = self.state.since(&Clocks::default());
                drop(self.state);
                let compacted = Document::open([(seq, &whole)], deleted).and_then(|document| {
                    // A snapshot supersedes the log, so it must be readable and complete.
                    if *document.clocks() != self.clocks {
                        let reason = "it is not complete".to_owned();
                        return Err(Damaged { record: seq, reason });
                    }
                    let state = document.since(&Clocks::default());
                    Ok(Compacted {
                        seq,
                        version: self.version,
                        document,
                        state,
                    })
                });
                Encoded::Snapshot(compacted)
            }
        }
    }
}

impl Room {
    /// An [`Effect::Encode`] was carried out.
    pub fn encoded(&mut self, encoded: Encoded, now: Micros, effects: &mut Vec<Effect>) {
        self.encoding = Encoding::Nothing;
        match encoded {
            Encoded::Answer(lacking) => self.cache.keep(&lacking, Dialect::YWebsocket),
            Encoded::Snapshot(compacted) => self.snapshot(compacted, effects),
        }
        self.catch_up(now, effects);
    }

    /// Encodes what a peer lacks who has `had`; `None` while that happens elsewhere.
    pub(super) fn encode(&mut self, had: Arc<Clocks>, effects: &mut Vec<Effect>) -> Option<Lacking> {
        if self.encoding != Encoding::Nothing {
            return None;
        }
        let large = self.document.lacking_bytes(&had) > ENCODE_HERE_BYTES_MAX;
        if large {
            self.encode_elsewhere(Purpose::Answer(had), effects);
            return None;
        }
        Some(Lacking {
            version: self.version,
            reached: Arc::default(),
            update: self.document.since(&had),
            cut: None,
            had,
        })
    }

    pub(super) fn encode_snapshot(&mut self, effects: &mut Vec<Effect>) {
        if self.encoding != Encoding::Nothing || self.journal.snapshotting {
            return;
        }
        let purpose = Purpose::Snapshot(self.journal.snapshot_begins(), self.policy.deleted);
        if self.is_large() {
            return self.encode_elsewhere(purpose, effects);
        }
        if let Encoded::Snapshot(compacted) = self.job(purpose).run() {
            self.snapshot(compacted, effects);
        }
    }

    fn encode_elsewhere(&mut self, purpose: Purpose, effects: &mut Vec<Effect>) {
        self.encoding = match purpose {
            Purpose::Answer(_) => Encoding::Answer,
            Purpose::Snapshot(..) => Encoding::Snapshot,
        };
        effects.push(Effect::Encode(self.job(purpose)));
    }

    fn job(&self, purpose: Purpose) -> Job {
        Job {
            state: self.document.state(),
            version: self.version,
            clocks: self.document.clocks().clone(),
            purpose,
        }
    }

    fn snapshot(&mut self, compacted: Result<Compacted, Damaged>, effects: &mut Vec<Effect>) {
        let Compacted {
            seq,
            version,
            document,
            state,
        } = match compacted {
            Ok(compacted) => compacted,
            Err(damaged) => {
                log::error!(
                    "the full state of document {} does not read back, its log is kept instead: {damaged}",
                    self.name
                );
                return self.journal.snapshot_refused();
            }
        };
        self.journal.snapshot_taken(state.len());
        self.compacted_bytes = state.len();
        if version == self.version && self.batch.updates.is_empty() {
            self.too_large = state.len() > self.policy.document_bytes_max;
            self.document = document;
        }
        effects.push(Effect::Snapshot { seq, state });
    }
}
