//! Full states and differences: encoded for readers and for snapshots, here or elsewhere.
//!
//! What is small is encoded where it is asked for. What is large goes elsewhere as a [`Job`], which holds a copy that
//! shares the document's blocks: meanwhile the document goes on, and nothing waits.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    budgets::{Asker, Share},
    document::{Damaged, DeleteSet, Deleted, Document, State},
    limits::SYNC_FRAME_BYTES_MAX,
    protocol::update::{CheckedUpdate, Clocks},
    store::Seq,
};

use super::{ENCODE_HERE_BYTES_MAX, Effect, Micros, Room, cut::Cut, had::Had, session::SessionId};

/// What a client takes while a document is encoded elsewhere, in bytes, about: in the copy, in a state vector, and in what is
/// cut.
const MAKING_CLIENT_BYTES: usize = 64 + 28 + 72;

/// What is being encoded elsewhere.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    #[default]
    Nothing,
    /// An answer. This session asked first, and is the first who gets it.
    Answer(SessionId),
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
    /// What is held while it runs, if that is much.
    room: Option<Share>,
}

#[derive(Debug)]
enum Purpose {
    /// What a peer lacks who has this, with all deletions or only these, and its part of what all answers may take.
    Answer(Had, Option<DeleteSet>, Share),
    /// The pieces of an answer.
    Pieces(Arc<Cut>),
    /// A snapshot that covers everything up to a position; of a document with garbage it is put together anew.
    Snapshot(Seq, Option<Deleted>),
}

/// What a [`Job`] made.
#[derive(Debug)]
pub enum Encoded {
    /// For readers.
    Answer(Lacking),
    /// An answer has its pieces.
    Pieces,
    /// For the store.
    Snapshot(Box<Result<Compacted, Damaged>>),
}

/// What a peer lacks.
#[derive(Debug, Clone)]
pub struct Lacking {
    /// What the peer has.
    pub(super) had: Had,
    /// The room's version that this brings it to.
    pub version: u64,
    /// What the document knew then.
    pub reached: Arc<Clocks>,
    pub(super) update: Update,
}

/// A Yjs v1 update, as it is sent.
#[derive(Debug, Clone)]
pub(super) enum Update {
    /// In one message.
    Small(Bytes),
    /// As its line carries it: the document may go on before all of it is sent.
    Large(Arc<Cut>),
}

/// A full state that reads back.
#[derive(Debug)]
pub struct Compacted {
    seq: Seq,
    version: u64,
    /// The document that was put together anew: what is in deleted types is collected, and what can be joined is joined.
    document: Option<Document>,
    state: Bytes,
}

impl Job {
    /// Encodes.
    #[must_use]
    pub fn run(self) -> Encoded {
        let _until_it_is_made = self.room;
        match self.purpose {
            Purpose::Answer(had, only, share) => {
                let update = self.state.since_telling(&had.clocks, only.as_ref());
                drop(self.state);
                Encoded::Answer(Lacking {
                    had,
                    version: self.version,
                    reached: Arc::new(self.clocks),
                    update: Update::Large(Cut::of(update, Some(share))),
                })
            }
            Purpose::Pieces(cut) => {
                let _ = cut.pieces();
                Encoded::Pieces
            }
            Purpose::Snapshot(seq, deleted) => {
                let state = self.state.since(&Clocks::default());
                drop(self.state);
                let made = put_together(seq, state, deleted, &self.clocks).map(|(document, state)| Compacted {
                    seq,
                    version: self.version,
                    document,
                    state,
                });
                Encoded::Snapshot(Box::new(made))
            }
        }
    }
}

/// Reads a full state back, which a snapshot must be before it supersedes the log, and with `anew` makes it anew.
fn put_together(
    seq: Seq,
    state: Bytes,
    anew: Option<Deleted>,
    clocks: &Clocks,
) -> Result<(Option<Document>, Bytes), Damaged> {
    let damaged = |reason: String| Damaged { record: seq, reason };
    let incomplete = || damaged("it is not complete".to_owned());
    if let Some(deleted) = anew {
        let document = Document::open([(seq, &state)], deleted)?;
        if document.clocks() != clocks {
            return Err(incomplete());
        }
        let state = document.since(&Clocks::default());
        return Ok((Some(document), state));
    }
    let checked = CheckedUpdate::check(state.clone()).map_err(|malformed| damaged(malformed.to_string()))?;
    let mut expected = clocks.iter().collect::<Vec<_>>().into_iter().rev();
    let as_expected =
        |(client, span): (u64, std::ops::Range<u32>)| span.start == 0 && expected.next() == Some((client, span.end));
    if checked.spans().all(as_expected) && expected.next().is_none() {
        Ok((None, state))
    } else {
        Err(incomplete())
    }
}

/// What an answer takes.
enum Takes {
    /// It is encoded here, and has a part in what all may take if it is large.
    Here(Option<Share>),
    /// It is encoded elsewhere. The second part is what is held meanwhile.
    Elsewhere(Share, Share),
}

impl Room {
    /// An [`Effect::Encode`] was carried out.
    pub fn encoded(&mut self, encoded: Encoded, now: Micros, effects: &mut Vec<Effect>) {
        let encoding = std::mem::take(&mut self.encoding);
        match encoded {
            Encoded::Answer(lacking) => self.cache.keep(&lacking),
            Encoded::Pieces => {}
            Encoded::Snapshot(compacted) => self.snapshot(*compacted, effects),
        }
        if let Encoding::Answer(session) = encoding {
            // Another one whose answer has no room would give back what nobody holds yet, and this would be encoded for ever.
            self.serve(session, now, effects);
        }
        self.catch_up(now, effects);
    }

    /// Encodes what a peer lacks who has `had`; `None` while that happens elsewhere, or waits for memory.
    pub(super) fn encode(&mut self, asker: SessionId, had: Had, effects: &mut Vec<Effect>) -> Option<Lacking> {
        if self.encoding != Encoding::Nothing {
            return None;
        }
        let is_odd = !had.clocks.is_empty();
        if let Some(lacks) = self.sessions.get(&asker).and_then(|session| session.reading.lacks()) {
            // Finding out how much it is goes through the document, and who waits looks often.
            let _ = self.room_for(asker, lacks, is_odd)?;
        }
        let only = self.recent.since(&had);
        let bytes = self.document.lacking_bytes(&had.clocks, only.as_ref());
        let Some(share) = self.room_for(asker, bytes, is_odd) else {
            if let Some(session) = self.sessions.get_mut(&asker) {
                session.reading.has_no_room(bytes);
            }
            return None;
        };
        let share = match share {
            Takes::Elsewhere(share, making) => {
                self.encode_elsewhere(
                    Encoding::Answer(asker),
                    Purpose::Answer(had, only, share),
                    making,
                    effects,
                );
                return None;
            }
            Takes::Here(share) => share,
        };
        let update = self.document.since_telling(&had.clocks, only.as_ref());
        let is_cut = update.len() > SYNC_FRAME_BYTES_MAX;
        Some(Lacking {
            version: self.version,
            reached: if is_cut {
                Arc::new(self.document.clocks().clone())
            } else {
                Arc::default()
            },
            update: if is_cut {
                Update::Large(Cut::of(update, share))
            } else {
                Update::Small(update)
            },
            had,
        })
    }

    /// What an answer of so many bytes takes, if there is room for it.
    fn room_for(&mut self, asker: SessionId, bytes: usize, is_odd: bool) -> Option<Takes> {
        if bytes > ENCODE_HERE_BYTES_MAX {
            let share = self.answer_has_room(asker, bytes, is_odd)?;
            let making = self.memory.makes(self.making_bytes(bytes))?;
            return Some(Takes::Elsewhere(share, making));
        }
        // What is for nobody else may be much together.
        Some(Takes::Here(if bytes > SYNC_FRAME_BYTES_MAX && is_odd {
            Some(self.answer_has_room(asker, bytes, true)?)
        } else {
            None
        }))
    }

    /// The part of an answer of so many bytes in what all may take, if there is room for it.
    fn answer_has_room(&mut self, asker: SessionId, bytes: usize, is_odd: bool) -> Option<Share> {
        let network = self.sessions.get(&asker)?.outbox.line().network();
        let take = |room: &Self| {
            let asker = Asker {
                network,
                document: &room.answers,
            };
            room.memory.answer(bytes, is_odd, &asker)
        };
        take(self).or_else(|| {
            // What is kept for others who may ask the same makes room for who asks.
            self.cache.tidy();
            take(self)
        })
    }

    /// Whether an answer has its pieces; if not, they are made, elsewhere when that takes long and as soon as there is room for them.
    pub(super) fn has_pieces(&mut self, asker: SessionId, cut: &Arc<Cut>, effects: &mut Vec<Effect>) -> bool {
        if cut.has_pieces() || cut.bytes() <= ENCODE_HERE_BYTES_MAX {
            return true;
        }
        if self.encoding == Encoding::Nothing
            && let Some(room) = self.memory.makes(cut.bytes())
        {
            self.encode_elsewhere(Encoding::Answer(asker), Purpose::Pieces(cut.clone()), room, effects);
        }
        false
    }

    /// About how many bytes are held while so many are encoded elsewhere: they themselves, what is made of them, and a copy of what
    /// is known of each client.
    fn making_bytes(&self, bytes: usize) -> usize {
        2 * bytes + self.document.clocks().len() * MAKING_CLIENT_BYTES
    }

    /// A snapshot is encoded, if there is room for what that takes, and to wait for the disk: whether it has begun.
    pub(super) fn encode_snapshot(&mut self, effects: &mut Vec<Effect>) -> bool {
        let has_room = self.document.weight_bytes() <= self.store_free.snapshots / 2;
        if self.encoding != Encoding::Nothing || self.journal.snapshotting || !has_room {
            return false;
        }
        let anew = self.document.has_garbage().then_some(self.policy.deleted);
        if self.is_large() {
            let again = anew.map_or(0, |_| self.document.memory_bytes());
            // Where others are being made, this one is when it is wanted again.
            let bytes = self.making_bytes(self.document.weight_bytes()) + again;
            let Some(room) = self.memory.makes(bytes) else {
                return false;
            };
            let purpose = Purpose::Snapshot(self.journal.snapshot_begins(), anew);
            self.encode_elsewhere(Encoding::Snapshot, purpose, room, effects);
            return true;
        }
        let purpose = Purpose::Snapshot(self.journal.snapshot_begins(), anew);
        if let Encoded::Snapshot(compacted) = self.job(purpose, None).run() {
            self.snapshot(*compacted, effects);
        }
        true
    }

    fn encode_elsewhere(&mut self, encoding: Encoding, purpose: Purpose, room: Share, effects: &mut Vec<Effect>) {
        self.encoding = encoding;
        effects.push(Effect::Encode(self.job(purpose, Some(room))));
    }

    fn job(&self, purpose: Purpose, room: Option<Share>) -> Job {
        Job {
            state: self.document.state(),
            version: self.version,
            clocks: self.document.clocks().clone(),
            purpose,
            room,
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
        self.too_large = state.len() > self.policy.document_bytes_max;
        if let Some(document) = document.filter(|_| version == self.version && self.batch.updates.is_empty()) {
            self.document = document;
        }
        effects.push(Effect::Snapshot { seq, state });
    }
}
