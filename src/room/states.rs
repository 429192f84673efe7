//! Full states: encoded for readers and for snapshots, here or elsewhere.

use std::sync::Arc;

use crate::protocol::{dialect::Dialect, update::Clocks};

use super::{
    Effect, Micros, Room,
    replica::{Encoded, Poisoned},
};

/// What a full state is being encoded for, elsewhere.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    Nothing,
    ForReaders,
    ForSnapshot,
}

impl Room {
    /// An [`Effect::Encode`] was carried out.
    pub fn encoded(&mut self, result: Result<Encoded, Poisoned>, now: Micros, effects: &mut Vec<Effect>) {
        let purpose = std::mem::take(&mut self.encoding);
        match result {
            Err(poisoned) => {
                self.replica.poison();
                effects.push(Effect::Poisoned(poisoned));
            }
            Ok(mut encoded) => {
                // The job ran after everything that was broadcast until now had been applied.
                encoded.version = self.version;
                self.keep_encoded(&encoded);
                if purpose == Encoding::ForSnapshot {
                    self.snapshot(&encoded, effects);
                }
                self.catch_up(now, effects);
            }
        }
    }

    /// Encodes what a peer lacks who has `had`; `None` when that happens elsewhere, or failed.
    pub(super) fn encode(&mut self, had: Arc<Clocks>, purpose: Encoding, effects: &mut Vec<Effect>) -> Option<Encoded> {
        let job = self.replica.encode_job(had, self.version);
        if self.is_large() {
            self.encoding = purpose;
            effects.push(Effect::Encode(job));
            return None;
        }
        match job.run() {
            Err(poisoned) => {
                self.replica.poison();
                effects.push(Effect::Poisoned(poisoned));
                None
            }
            Ok(encoded) => {
                self.keep_encoded(&encoded);
                Some(encoded)
            }
        }
    }

    pub(super) fn encode_snapshot(&mut self, effects: &mut Vec<Effect>) {
        if self.encoding != Encoding::Nothing || self.journal.snapshotting {
            return;
        }
        if let Some(encoded) = self.encode(Arc::default(), Encoding::ForSnapshot, effects) {
            self.snapshot(&encoded, effects);
        }
    }

    fn snapshot(&mut self, encoded: &Encoded, effects: &mut Vec<Effect>) {
        // A snapshot supersedes the log, so it must be at least readable and complete.
        let complete = encoded.clocks().is_some_and(|clocks| clocks == *self.replica.clocks());
        let state = &encoded.update;
        if !complete {
            log::error!(
                "the full state of document {} does not read back: its log is kept instead",
                self.document
            );
            return self.journal.snapshot_refused();
        }
        self.journal.snapshot_taken(state.len());
        effects.push(Effect::Snapshot {
            seq: self.journal.appended,
            state: state.clone(),
        });
    }

    fn keep_encoded(&mut self, encoded: &Encoded) {
        // What is stored may be more than what it makes when it is merged.
        if encoded.had.is_empty() && self.is_merged() {
            self.replica.weighs(encoded.update.len());
            self.too_large = encoded.update.len() > self.policy.document_bytes_max;
        }
        self.cache.keep(encoded, self.replica.clocks(), Dialect::YWebsocket);
    }
}
