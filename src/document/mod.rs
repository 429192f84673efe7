//! A document as the structs that its authors wrote, byte for byte. It is not integrated.
//!
//! Clients integrate: they put each struct into its list, beside its neighbours. A server has to give everybody the
//! same structs and deletions, and that needs no list. So an edit costs what its bytes cost, whatever the document
//! holds, and nothing that is written or sent is what a library made of it.
//!
//! | file | what it knows |
//! |---|---|
//! | `log`, `chunk` | one client's structs in blocks: appending, joining, cutting, dropping what is deleted |
//! | `ranges` | which clocks of a client are deleted |
//! | `place` | in which shared type, and under which key, structs stand |
//! | `judge` | what of an update can be taken |
//! | `agree`, `same` | whether what is known by number is known by content; whether two values are one, however they are written |
//! | `read` | what the document holds: integrated, within a limit of steps, when somebody wants to see it |
//! | `state` | encoding: full states, differences, pieces; from a copy that shares the blocks |
//!
//! What must stay true: `clocks` has each client's `next`; an update is taken whole, in the order in which it was
//! judged, or not at all.

mod agree;
mod chunk;
mod judge;
mod log;
mod place;
mod ranges;
pub mod read;
mod same;
mod state;
#[cfg(test)]
mod tests;

pub use judge::{News, Verdict};
pub use state::{DeleteSet, State};

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    limits::DELETED_HERE_MAX,
    protocol::{
        lib0::Reader,
        update::{
            CheckedUpdate, Clocks, Deletion, Id, Section,
            piece::Whole,
            structs::{self, DELETED, GC},
        },
    },
};

use log::{Log, Size};
use place::{Place, Places};
use ranges::{Gaps, Ranges};

/// What happens to the content of what is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deleted {
    /// It goes, as in Yjs with `gc: true`.
    #[default]
    Dropped,
    /// It stays, for documents that Yjs opens with `gc: false`: their versions can be restored.
    Kept,
}

/// One document in memory.
#[derive(Debug, Default)]
pub struct Document {
    clocks: Clocks,
    /// The index of each client's log.
    index: BTreeMap<u64, u32>,
    logs: Vec<Log>,
    places: Places,
    deleted: Deleted,
    /// What all logs hold.
    size: Size,
    deletions: Deletions,
    /// How many updates were taken.
    taken: u64,
}

/// What is deleted, counted.
#[derive(Debug, Clone, Copy, Default)]
struct Deletions {
    clocks: u64,
    ranges: usize,
}

impl Deletions {
    /// Adds `start..end` to what is deleted of a client; returns what of it is new.
    fn insert(&mut self, deleted: &mut Option<Arc<Ranges>>, start: u32, end: u32) -> Gaps {
        let deleted = Arc::make_mut(deleted.get_or_insert_default());
        let before = deleted.len();
        let gaps = deleted.insert(start, end);
        self.clocks += gaps.iter().map(|(from, to)| u64::from(to - from)).sum::<u64>();
        self.ranges = self.ranges + deleted.len() - before;
        gaps
    }
}

/// What a document holds, in numbers that are kept as it changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// About the size of its full state, in bytes.
    pub bytes: usize,
    /// About what it takes in memory, in bytes.
    pub memory_bytes: usize,
    /// Client ids that wrote something.
    pub clients: usize,
    /// Structs, as they are kept.
    pub structs: usize,
    /// Clocks that are deleted.
    pub deleted: u64,
    /// Ranges of such clocks.
    pub deleted_ranges: usize,
}

/// Stored bytes that are no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the document could not be loaded: record {record}: {reason}")]
pub struct Damaged {
    /// The position of the record.
    pub record: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl Document {
    /// An empty document.
    #[must_use]
    pub fn new(deleted: Deleted) -> Self {
        Self {
            deleted,
            ..Self::default()
        }
    }

    /// Puts together what is stored: a snapshot and the updates after it, each a Yjs v1 update with its position.
    ///
    /// # Errors
    /// [`Damaged`] when a record is no update, or refers to what no earlier one brought.
    pub fn open<'a>(records: impl IntoIterator<Item = (u64, &'a Bytes)>, deleted: Deleted) -> Result<Self, Damaged> {
        let mut document = Self::new(deleted);
        for (record, bytes) in records {
            document.read(bytes).map_err(|reason| Damaged { record, reason })?;
        }
        document.shrink();
        Ok(document)
    }

    fn read(&mut self, bytes: &Bytes) -> Result<(), String> {
        let update = CheckedUpdate::check_stored(bytes.clone()).map_err(|malformed| malformed.to_string())?;
        match self.judge_stored(update) {
            Verdict::News(news) if !news.is_partial() => {
                self.take(news);
                Ok(())
            }
            Verdict::Known => Ok(()),
            Verdict::News(_) | Verdict::Nothing => Err("it refers to what no earlier record brought".to_owned()),
            Verdict::Refused(why) => Err(why.to_owned()),
            Verdict::Conflict(id) => Err(format!(
                "it has clock {} of client {} with another content",
                id.clock, id.client
            )),
        }
    }

    fn shrink(&mut self) {
        for log in &mut self.logs {
            let before = log.size();
            log.shrink();
            self.size.change(before, log.size());
        }
        self.logs.shrink_to_fit();
        self.places.shrink();
    }

    /// How far each client's history goes: the state vector.
    #[must_use]
    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// About the size of its full state, in bytes.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.size.bytes + self.deletions.ranges * RANGE_BYTES
    }

    /// What it holds, in numbers. Nothing is walked for them.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            bytes: self.weight_bytes(),
            memory_bytes: self.memory_bytes(),
            clients: self.logs.len(),
            structs: self.size.structs,
            deleted: self.deletions.clocks,
            deleted_ranges: self.deletions.ranges,
        }
    }

    /// Whether putting it together anew would collect something (K2).
    #[must_use]
    pub fn has_garbage(&self) -> bool {
        self.places.has_dead()
    }

    /// About how many bytes of memory it takes. Nothing is walked for them.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let logs = self.logs.capacity() * size_of::<Log>() + self.logs.len() * 2 * CLIENT_BYTES;
        logs + self.size.held + self.places.held_bytes()
    }

    fn log(&self, client: u64) -> Option<&Log> {
        Some(&self.logs[*self.index.get(&client)? as usize])
    }

    fn log_index(&mut self, client: u64) -> usize {
        let logs = &mut self.logs;
        let index = self.index.entry(client).or_insert_with(|| {
            logs.push(Log::of(client));
            logs.len() as u32 - 1
        });
        *index as usize
    }

    /// Takes what [`Document::judge`] found to be new in an update, before anything else changed the document.
    pub fn take(&mut self, news: News) {
        debug_assert_eq!(news.taken, self.taken, "judged against an earlier document");
        self.taken += 1;
        let mut referred = SmallVec::new();
        self.make_room(news.lanes.len());
        for (section, lane) in judge::lanes(&news) {
            self.append(news.update().bytes(), section, &lane.places, &mut referred);
            self.clocks.advance(section.client, section.end);
        }
        let (update, places) = news.into_parts();
        for (client, clock, index) in places.settle(&mut self.places) {
            let log = self.log_index(client);
            let log = &mut self.logs[log];
            let before = log.size();
            log.holds_type(clock, index);
            self.size.change(before, log.size());
        }
        self.cut(referred);
        self.delete(update.deletions());
    }

    /// Room for logs, some of which may be there. By itself a vector makes room for twice as many as there are.
    fn make_room(&mut self, count: usize) {
        if self.logs.capacity() - self.logs.len() < count {
            self.logs.reserve_exact(count.max(self.logs.len() / LOGS_SPARE));
        }
    }

    fn append(&mut self, bytes: &[u8], section: &Section, places: &[(u32, Place)], referred: &mut Referred) {
        let index = self.log_index(section.client);
        let mut places = places.iter().copied().peekable();
        let mut place = Place::GONE;
        let mut r = Reader::starting_at(bytes, section.from);
        let before = self.logs[index].size();
        while r.position() < section.to {
            let at = r.position();
            let Ok(found) = structs::read::<false>(&mut r) else {
                break;
            };
            let log = &mut self.logs[index];
            let clock = log.next;
            while let Some((_, next)) = places.next_if(|(start, _)| *start <= clock) {
                place = next;
                log.stands(clock, place);
            }
            let whole = Whole {
                bytes,
                at,
                to: r.position(),
                found: &found,
                id: Id {
                    client: section.client,
                    clock,
                },
            };
            let joined = log.append(&whole, place.is_keyed());
            if matches!(found.kind(), GC | DELETED) {
                self.deletions.insert(&mut log.deleted, clock, clock + found.len);
            }
            if !joined && found.kind() != GC {
                let origin = found.origin.filter(|_| !whole.continues_before());
                let after = origin.map(|origin| (origin.client, origin.clock + 1));
                let before = found.right_origin.map(|right| (right.client, right.clock));
                for (client, clock) in after.into_iter().chain(before) {
                    if let Some(log) = self.index.get(&client) {
                        referred.push((*log, clock));
                    }
                }
            }
        }
        self.size.change(before, self.logs[index].size());
    }

    /// Whether updates delete so many clocks which are not deleted yet that taking them takes long, however short they are.
    #[must_use]
    pub fn deletes_much<'a>(&self, updates: impl Iterator<Item = &'a CheckedUpdate> + Clone) -> bool {
        let clocks = |deletion: &Deletion| u64::from(deletion.end - deletion.start);
        let all = updates.flat_map(CheckedUpdate::deletions);
        // Hardly any delete so many at all.
        if all.clone().map(clocks).sum::<u64>() <= DELETED_HERE_MAX {
            return false;
        }
        let there = all.map(|deletion| Deletion {
            end: deletion.end.min(self.clocks.next(deletion.client)).max(deletion.start),
            ..*deletion
        });
        let is_new = |deletion: &Deletion| {
            let deleted = self.log(deletion.client).and_then(|log| log.deleted.as_deref());
            !deleted.is_some_and(|deleted| deleted.has(deletion.start, deletion.end))
        };
        let new = there.filter(is_new);
        new.map(|deletion| clocks(&deletion)).sum::<u64>() > DELETED_HERE_MAX
    }

    /// Structs begin where others refer to.
    fn cut(&mut self, mut referred: Referred) {
        referred.sort_unstable();
        referred.dedup();
        for of_log in referred.chunk_by(|a, b| a.0 == b.0) {
            let clocks: SmallVec<[u32; 2]> = of_log.iter().map(|(_, clock)| *clock).collect();
            let log = &mut self.logs[of_log[0].0 as usize];
            let before = log.size();
            log.cut(&clocks);
            self.size.change(before, log.size());
        }
    }

    fn delete(&mut self, deletions: &[Deletion]) {
        for of_client in deletions.chunk_by(|a, b| a.client == b.client) {
            let index = self.log_index(of_client[0].client);
            let log = &mut self.logs[index];
            let before = log.size();
            let gaps: Gaps = of_client
                .iter()
                .flat_map(|deletion| self.deletions.insert(&mut log.deleted, deletion.start, deletion.end))
                .collect();
            let died = if self.deleted == Deleted::Kept {
                SmallVec::new()
            } else {
                log.erase(&gaps)
            };
            self.size.change(before, log.size());
            for clock in died {
                if let Some(index) = log.type_at(clock) {
                    self.places.bury(index);
                }
            }
        }
    }

    /// What a peer lacks who has `had`, as a Yjs v1 update: all structs from there on, and all deletions.
    ///
    /// Costs the bytes that it gives, and a look at each client.
    #[must_use]
    pub fn since(&self, had: &Clocks) -> Bytes {
        self.since_telling(had, None)
    }

    /// The same, with all deletions or only these.
    #[must_use]
    pub fn since_telling(&self, had: &Clocks, only: Option<&DeleteSet>) -> Bytes {
        state::encode(self.sources(), had, only).into()
    }

    /// About as many bytes as [`Document::since_telling`] gives. Costs a look at each client.
    #[must_use]
    pub fn lacking_bytes(&self, had: &Clocks, only: Option<&DeleteSet>) -> usize {
        state::encoded_bytes(self.sources(), had, only)
    }

    /// The same as [`Document::since`], to be made elsewhere while the document goes on.
    #[must_use]
    pub fn state(&self) -> State {
        State::of(self.sources())
    }

    /// The logs, by client in descending order.
    fn sources(&self) -> impl Iterator<Item = &Log> + Clone {
        self.index.values().rev().map(|index| &self.logs[*index as usize])
    }
}

/// Clocks that structs begin at because somebody refers to them: index of a log, clock.
type Referred = SmallVec<[(u32, u32); 4]>;

/// What a client takes in memory as a key of a tree, in bytes, about: nodes are filled to a half as a rule.
const CLIENT_BYTES: usize = 28;

/// One part in so many of the logs is spared for those to come.
const LOGS_SPARE: usize = 8;

/// What a deleted range takes in an encoded delete set, in bytes, roughly.
const RANGE_BYTES: usize = 4;
