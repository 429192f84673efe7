//! The merged document: a yrs `Doc` behind the gate.
//!
//! Nothing reaches yrs here that is not a [`CheckedUpdate`] admitted against `known`. All the same
//! every call into it runs under `catch_unwind`: yrs holds raw pointers and panics on states that
//! it believes impossible. After a panic the replica is poisoned and must be thrown away; what the
//! store holds is untouched, since an update is stored only after it was applied.
//!
//! What is stored passes the gate when the document is opened, and is merged when somebody edits it: merging takes
//! three times as long as the gate, and what a peer lacks can be cut from the stored bytes.
//!
//! What must stay true: `known` describes the document after each successful call, together with what is
//! `unmerged`; its clocks are the document's state vector.

use std::{
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use yrs::{
    ClientID, Doc, OffsetKind, Options, ReadTxn, StateVector, Transact, Update, WriteTxn, updates::decoder::Decode,
};

use crate::{
    limits::SYNC_FRAME_BYTES_MAX,
    protocol::update::{Admission, CheckedUpdate, Clocks, Deleted, EMPTY_UPDATE, Known, lacking, merge, split},
    store::StoredDocument,
};

/// One document in memory.
#[derive(Debug)]
pub struct Replica {
    /// `None` once it is poisoned: a broken yrs document must not even be dropped.
    doc: Option<Doc>,
    /// What was read from the store and is not in `doc` yet, in order.
    unmerged: Arc<Vec<CheckedUpdate>>,
    /// What of it is deleted.
    deleted: Deleted,
    known: Known,
    /// Bytes of all updates applied since it was made: an estimate of what an encode costs.
    weight_bytes: usize,
}

/// yrs panicked or refused what the gate had let in; this replica must not be used again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the document could not be {doing}: {reason}")]
pub struct Poisoned {
    doing: &'static str,
    reason: String,
}

/// What is done to stored records.
const LOADED: &str = "loaded";

impl Poisoned {
    fn already(doing: &'static str) -> Self {
        Self {
            doing,
            reason: "it is poisoned".to_owned(),
        }
    }
}

impl Default for Replica {
    fn default() -> Self {
        let mut options = Options::with_guid_and_client_id("cowrite".into(), ClientID::new(1));
        // A server that authors clean-ups makes documents differ from what Yjs has.
        options.cleanup_formatting = false;
        options.offset_kind = OffsetKind::Utf16;
        Self {
            doc: Some(Doc::with_options(options)),
            unmerged: Arc::default(),
            deleted: Deleted::default(),
            known: Known::default(),
            weight_bytes: 0,
        }
    }
}

impl Replica {
    /// Builds a document from what the store holds.
    ///
    /// # Errors
    /// [`Poisoned`] when stored bytes pass their checksum and are still not a document: the caller
    /// reports the document as damaged and serves nothing of it.
    pub fn load(stored: &StoredDocument) -> Result<Self, Poisoned> {
        let mut replica = Self::read(stored)?;
        replica.merge()?;
        Ok(replica)
    }

    /// Takes what the store holds through the gate, and leaves merging it to [`Replica::merge`].
    ///
    /// # Errors
    /// [`Poisoned`] when a record does not pass.
    pub fn read(stored: &StoredDocument) -> Result<Self, Poisoned> {
        let mut replica = Self::default();
        let mut records = Vec::with_capacity(1 + stored.updates.len());
        let snapshot = stored.snapshot.iter().map(|(seq, bytes)| (seq, bytes));
        for (seq, bytes) in snapshot.chain(stored.updates.iter().map(|(seq, bytes)| (seq, bytes))) {
            let unreadable = |reason: String| Poisoned {
                doing: LOADED,
                reason: format!("record {seq}: {reason}"),
            };
            let update = CheckedUpdate::check(bytes.clone()).map_err(|malformed| unreadable(malformed.to_string()))?;
            match replica.admit(update) {
                Admission::Whole(update) => {
                    replica.take_in(&update);
                    records.push(update);
                }
                Admission::Part(_) | Admission::Nothing => {
                    return Err(unreadable("it refers to what no earlier record brought".to_owned()));
                }
                Admission::Refused(why) => return Err(unreadable(why.to_owned())),
            }
        }
        // One update, whose bytes are its own: what was read lies between what was read with it.
        let unmerged = match &records[..] {
            [one] => vec![one.detached()],
            all => merge(all),
        };
        replica.deleted = Deleted::by(&unmerged);
        replica.unmerged = Arc::new(unmerged);
        Ok(replica)
    }

    /// Whether all of it is merged.
    #[must_use]
    pub fn is_merged(&self) -> bool {
        self.unmerged.is_empty()
    }

    /// Merges what was read and is not merged yet. [`Replica::apply`] does the same.
    ///
    /// # Errors
    /// See [`Replica::load`].
    pub fn merge(&mut self) -> Result<(), Poisoned> {
        self.deleted = Deleted::default();
        std::mem::take(&mut self.unmerged)
            .iter()
            .try_for_each(|update| self.merge_one(update, LOADED).map(drop))
    }

    /// What the document knows.
    #[must_use]
    pub fn clocks(&self) -> &Clocks {
        self.known.clocks()
    }

    /// Whether `update` says nothing that is new. (Once it is merged only applying it shows whether deletions are.)
    #[must_use]
    pub fn knows(&self, update: &CheckedUpdate) -> bool {
        update.has_known_structs(self.clocks()) && self.deleted.covers(update)
    }

    /// What of `update` may go into this document.
    #[must_use]
    pub fn admit(&self, update: CheckedUpdate) -> Admission {
        update.admit(&self.known)
    }

    /// An estimate of the size of its full state, in bytes.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Merges an admitted update; says whether it brought anything new.
    ///
    /// # Errors
    /// [`Poisoned`]: see there.
    pub fn apply(&mut self, update: &CheckedUpdate) -> Result<bool, Poisoned> {
        self.merge()?;
        let changed = self.merge_one(update, "changed")?;
        self.take_in(update);
        Ok(changed)
    }

    /// What is known grows by an admitted update.
    fn take_in(&mut self, update: &CheckedUpdate) {
        self.known.absorb(update);
        self.weight_bytes += update.bytes().len();
    }

    fn merge_one(&mut self, update: &CheckedUpdate, doing: &'static str) -> Result<bool, Poisoned> {
        let Some(doc) = &self.doc else {
            return Err(Poisoned::already(doing));
        };
        let changed = guarded(doing, || {
            let decoded = Update::decode_v1(update.bytes()).map_err(|error| error.to_string())?;
            // Waiting has a price even when there is nothing to wait for.
            let free = doc.try_transact_mut();
            // A transaction that is dropped while unwinding commits, panics again and aborts.
            let mut txn = ManuallyDrop::new(free.unwrap_or_else(|_| doc.transact_mut()));
            let applied = txn.apply_update(decoded).map_err(|error| error.to_string());
            let changed = txn.has_changes();
            // yrs destroys sub-documents that were removed after it has freed what held them, and reads
            // the freed memory. A server has no use for the list.
            drop(std::mem::take(txn.subdocs_mut()));
            ManuallyDrop::into_inner(txn).commit();
            applied.map(|()| changed)
        });
        if changed.is_err() {
            self.poison();
        }
        changed
    }

    /// Its full state was encoded to so many bytes.
    pub fn weighs(&mut self, bytes: usize) {
        self.weight_bytes = bytes;
    }

    /// An encoding of it panicked: it must not be used again, not even dropped.
    pub fn poison(&mut self) {
        std::mem::forget(self.doc.take());
    }

    /// A job that encodes what a peer lacks who has `had`. It may run on any thread; until it has
    /// finished, calls that change the replica wait for it.
    #[must_use]
    pub fn encode_job(&self, had: Arc<Clocks>, version: u64) -> EncodeJob {
        let source = if self.is_merged() {
            self.doc.clone().map(Source::Merged)
        } else {
            Some(Source::Stored(self.unmerged.clone()))
        };
        EncodeJob {
            source,
            // yrs hashes client ids by identity; a peer's own could be chosen to collide.
            known: had.restricted_to(self.known.clocks()),
            had,
            version,
        }
    }
}

/// An encoding that has not run yet.
#[derive(Debug)]
pub struct EncodeJob {
    source: Option<Source>,
    had: Arc<Clocks>,
    known: Clocks,
    version: u64,
}

#[derive(Debug)]
enum Source {
    Merged(Doc),
    Stored(Arc<Vec<CheckedUpdate>>),
}

/// What an [`EncodeJob`] made.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// What the peer had.
    pub had: Arc<Clocks>,
    /// The room's version that the encoding reaches at least.
    pub version: u64,
    /// A Yjs v1 update.
    pub update: Bytes,
    /// What was made of a large one, so that who receives this need not go through it again.
    pub cut: Option<Cut>,
}

/// A large full state, read back and cut into what is sent.
#[derive(Debug, Clone)]
pub struct Cut {
    /// In causal order, each a valid update of about [`SYNC_FRAME_BYTES_MAX`].
    pub pieces: Vec<Bytes>,
    /// What the state knows; empty when it does not pass the gate.
    pub clocks: Clocks,
}

impl Encoded {
    /// Takes what was encoded; cuts it when it is large, which takes as long as encoding it did.
    #[must_use]
    pub fn new(had: Arc<Clocks>, version: u64, update: Bytes) -> Self {
        let cut = Cut::is_due(&update).then(|| match CheckedUpdate::check(update.clone()) {
            Ok(checked) => Cut::of(&checked),
            // What yrs encodes and the gate does not know still has to reach the peer.
            Err(_) => Cut {
                pieces: vec![update.clone()],
                clocks: Clocks::default(),
            },
        });
        Self {
            had,
            version,
            update,
            cut,
        }
    }

    /// What the state knows, read back from its bytes; `None` when they do not pass the gate.
    #[must_use]
    pub fn clocks(&self) -> Option<Clocks> {
        match &self.cut {
            Some(cut) => Some(cut.clocks.clone()),
            None => CheckedUpdate::check(self.update.clone()).ok().as_ref().map(clocks_of),
        }
    }
}

impl Cut {
    fn is_due(update: &Bytes) -> bool {
        update.len() > 2 * SYNC_FRAME_BYTES_MAX
    }

    fn of(checked: &CheckedUpdate) -> Self {
        Self {
            pieces: split(checked, SYNC_FRAME_BYTES_MAX),
            clocks: clocks_of(checked),
        }
    }
}

fn clocks_of(checked: &CheckedUpdate) -> Clocks {
    let mut clocks = Clocks::default();
    checked
        .spans()
        .for_each(|(client, span)| clocks.advance(client, span.end));
    clocks
}

impl EncodeJob {
    /// Encodes.
    ///
    /// # Errors
    /// [`Poisoned`]: see there.
    pub fn run(self) -> Result<Encoded, Poisoned> {
        match self.source.ok_or_else(|| Poisoned::already("encoded"))? {
            Source::Merged(doc) => {
                let update = guarded("encoded", || {
                    let had =
                        StateVector::decode_v1(&self.known.encode_state_vector()).map_err(|error| error.to_string())?;
                    Ok(doc.transact().encode_state_as_update_v1(&had))
                })?;
                Ok(Encoded::new(self.had, self.version, update.into()))
            }
            Source::Stored(records) => {
                let lacking = lacking(&records, &self.known);
                let (update, cut) = match &lacking[..] {
                    [] => (Bytes::from_static(EMPTY_UPDATE), None),
                    [one] => (one.bytes().clone(), Cut::is_due(one.bytes()).then(|| Cut::of(one))),
                    _ => {
                        let reason = "its records do not follow each other".to_owned();
                        return Err(Poisoned {
                            doing: "encoded",
                            reason,
                        });
                    }
                };
                Ok(Encoded {
                    had: self.had,
                    version: self.version,
                    update,
                    cut,
                })
            }
        }
    }
}

fn guarded<T>(doing: &'static str, work: impl FnOnce() -> Result<T, String>) -> Result<T, Poisoned> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(reason)) => Err(Poisoned { doing, reason }),
        Err(panic) => {
            let reason = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a panic without a message".to_owned());
            Err(Poisoned { doing, reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d18_what_is_kept_of_a_document_that_was_read_holds_no_buffer_of_the_store() {
        let letter: &[u8] = &[1, 1, 1, 0, 4, 1, 1, b't', 1, b'x', 0];
        let next: &[u8] = &[1, 1, 1, 1, 0x84, 1, 0, 1, b'x', 0];
        let buffer = Bytes::from([letter, next].concat());
        let (letter, next) = (buffer.slice(..letter.len()), buffer.slice(letter.len()..));

        let one = StoredDocument {
            snapshot: Some((1, letter.clone())),
            updates: Vec::new(),
        };
        let two = StoredDocument {
            snapshot: None,
            updates: vec![(1, letter.clone()), (2, next.clone())],
        };
        let read = [one, two].map(|stored| Replica::read(&stored).expect("a document"));
        drop((letter, next));

        assert!(buffer.is_unique());
        assert_eq!(read.map(|replica| replica.clocks().next(1)), [1, 2]);
    }
}
