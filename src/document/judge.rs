//! What of an update a document can take: decided before anything of it is taken.
//!
//! The gate has proven the structure of the update from its bytes alone. Here it is held against what the document
//! has: does everything exist that it refers to, and is it what the reference takes it for? What Yjs writes always
//! passes; what does not pass is what makes a Yjs throw, or makes two Yjs differ.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::{
    limits::TYPE_DEPTH_MAX,
    protocol::{
        lib0::Reader,
        update::{
            CheckedUpdate, Deletion, Id, Section,
            encode::{Out, assemble, gc},
            piece::Whole,
            structs::{self, ANY, EMBED, FORMAT, GC, JSON, Parent, STRING, TYPE},
            walk::{Lane, Step, Walk},
        },
    },
};

use super::{
    Deleted, Document, agree,
    place::{NewPlaces, Place},
};

/// An update refers to what so many clients are to have written and nobody has sent: those who typed when a server was lost.
pub const LACKS_MAX: usize = 16;

/// What a document makes of an update.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "news is what comes as a rule, and an allocation costs more than it does"
)]
pub enum Verdict {
    /// It says nothing that is new.
    Known,
    /// This is new, and can be taken with [`Document::take`].
    News(News),
    /// All of it lacks something that the client has to send first: ask it (SyncStep1).
    Nothing,
    /// It takes something for what it is not: no Yjs writes that.
    Refused(&'static str),
    /// A struct of it is known with another content: two pages write under one client id.
    Conflict(Id),
}

/// What is new in an update.
#[derive(Debug)]
pub struct News {
    update: CheckedUpdate,
    partial: bool,
    pub(super) lanes: SmallVec<[NewLane; 1]>,
    pub(super) places: NewPlaces,
    /// Of which document: how many updates it had taken.
    pub(super) taken: u64,
}

impl News {
    /// What is new, as an update. Its structs start, for each client, where the document ends, have no gaps, and refer
    /// only to what exists; it deletes only what is not deleted.
    #[must_use]
    pub fn update(&self) -> &CheckedUpdate {
        &self.update
    }

    /// Whether something was cut off which lacks what the client has to send first: ask it (SyncStep1).
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    pub(super) fn into_parts(self) -> (CheckedUpdate, NewPlaces) {
        (self.update, self.places)
    }
}

/// Where the new structs of a section stand.
#[derive(Debug, Default)]
pub(super) struct NewLane {
    pub places: SmallVec<[(u32, Place); 1]>,
    /// First clock that is taken.
    start: u32,
    /// Structs taken.
    count: u32,
    /// Where their bytes begin.
    from: usize,
}

/// Bytes that take the place of a struct's.
struct Replaced {
    lane: usize,
    from: usize,
    to: usize,
    by: Vec<u8>,
}

/// What is taken of an update.
struct Taken {
    /// It, when it is not the whole update as it is.
    part: Option<CheckedUpdate>,
    partial: bool,
    lanes: SmallVec<[NewLane; 1]>,
    places: NewPlaces,
}

/// Where an update comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comes {
    In,
    /// It was taken once, by a server that may have measured otherwise.
    FromStore,
}

struct Judge<'a> {
    comes: Comes,
    document: &'a Document,
    update: &'a CheckedUpdate,
    lanes: SmallVec<[NewLane; 1]>,
    places: NewPlaces,
    /// In order for each lane.
    replaced: Vec<Replaced>,
    /// What the update deletes, in order: made when it is first asked for.
    deletions: Option<Vec<Deletion>>,
}

impl Document {
    /// The first struct of an update that is known with another content (D22).
    #[must_use]
    pub fn conflict(&self, update: &CheckedUpdate) -> Option<Id> {
        agree::conflict(self, update)
    }

    /// What neither the document nor an update has, and the update refers to: the first of it for each client. `None` when
    /// that is of more than [`LACKS_MAX`] clients.
    #[must_use]
    pub fn lacks(&self, update: &CheckedUpdate) -> Option<SmallVec<[Id; 2]>> {
        let known = |id: Id| id.clock < self.clocks().next(id.client);
        let mut walk = Walk::new(update, Judge::of(self, update).starts());
        while walk.next(known).is_some() {}
        let mut lacks = walk.lacks(known);
        let next = |client: u64| Id {
            client,
            clock: self.clocks().next(client),
        };
        let after_gaps = update.sections.iter().map(|section| (section.client, section.start));
        lacks.extend(
            after_gaps
                .map(|(client, start)| (next(client), start))
                .filter_map(|(next, start)| (next.clock < start).then_some(next)),
        );
        for deletion in update.deletions() {
            let brought = update
                .section_of(deletion.client)
                .map_or(0, |index| update.sections[index].end);
            let next = next(deletion.client);
            // A client may have very many.
            if deletion.end > next.clock.max(brought) && lacks.last() != Some(&next) {
                lacks.push(next);
            }
        }
        lacks.sort_unstable();
        lacks.dedup_by_key(|id| id.client);
        lacks.shrink_to_fit();
        (lacks.len() <= LACKS_MAX).then_some(lacks)
    }

    /// Holds an update against the document, which does not change. Linear in the update.
    #[must_use]
    pub fn judge(&self, update: CheckedUpdate) -> Verdict {
        self.judge_as(update, Comes::In)
    }

    /// The same for what is stored.
    pub(super) fn judge_stored(&self, update: CheckedUpdate) -> Verdict {
        self.judge_as(update, Comes::FromStore)
    }

    fn judge_as(&self, update: CheckedUpdate, comes: Comes) -> Verdict {
        if let Some(known) = self.conflict(&update) {
            return Verdict::Conflict(known);
        }
        let mut judge = Judge::of(self, &update);
        judge.comes = comes;
        let mut walk = Walk::new(&update, judge.starts());
        while let Some(step) = walk.next(|id| id.clock < self.clocks().next(id.client)) {
            if let Err(why) = judge.take(&step) {
                return Verdict::Refused(why);
            }
        }
        let Taken {
            part,
            partial,
            lanes,
            places,
        } = judge.finish(&walk.lanes);
        let update = part.unwrap_or(update);
        match (update.is_empty(), partial) {
            (true, true) => Verdict::Nothing,
            (true, false) => Verdict::Known,
            (false, partial) => Verdict::News(News {
                update,
                partial,
                lanes,
                places,
                taken: self.taken,
            }),
        }
    }
}

impl<'a> Judge<'a> {
    fn of(document: &'a Document, update: &'a CheckedUpdate) -> Self {
        Self {
            comes: Comes::In,
            document,
            update,
            lanes: SmallVec::with_capacity(update.sections.len()),
            places: NewPlaces::default(),
            replaced: Vec::new(),
            deletions: None,
        }
    }

    /// Where the walk of each section begins: at the first struct that is new.
    fn starts(&mut self) -> SmallVec<[Lane; 1]> {
        let update = self.update;
        update
            .sections
            .iter()
            .map(|section| {
                let next = self.document.clocks().next(section.client);
                let lane = if section.start > next {
                    // A gap before it: nothing of it can be taken.
                    Lane {
                        at: section.from,
                        clock: 0,
                        left: 0,
                        trim: 0,
                    }
                } else {
                    Lane::first_after(update, section, next)
                };
                self.lanes.push(NewLane {
                    start: next,
                    from: lane.at,
                    ..NewLane::default()
                });
                lane
            })
            .collect()
    }

    /// Judges one struct, after all that it refers to.
    #[inline]
    fn take(&mut self, step: &Step) -> Result<(), &'static str> {
        let client = self.update.sections[step.lane].client;
        let start = step.clock + step.trim;
        let place = self.place(client, step)?;
        let lane = &mut self.lanes[step.lane];
        lane.count += 1;
        if lane.places.last().is_none_or(|(_, last)| *last != place) {
            lane.places.push((start, place));
        }
        let len = step.found.len - step.trim;
        let mut by = Vec::new();
        if place.is_gone() && step.found.kind() != GC {
            by = gc(len);
        } else if place.is_keyed() && matches!(step.found.kind(), ANY | JSON) && len > 1 {
            // One clock is one entry: what was overwritten is deleted.
            let is_told = self.deletes(client, start, start + len);
            let keeps = is_told && self.document.deleted == Deleted::Kept && len <= ENTRIES_MAX;
            let whole = self.whole(client, step);
            let count = entries(&whole, step.trim, is_told, keeps, &mut by).ok_or(UNCUT)?;
            self.lanes[step.lane].count += count - 1;
        } else if step.trim > 0 {
            self.whole(client, step).piece(step.trim, len, &mut by).ok_or(UNCUT)?;
        } else {
            return Ok(());
        }
        self.replaced.push(Replaced {
            lane: step.lane,
            from: step.at,
            to: step.to,
            by,
        });
        Ok(())
    }

    fn whole<'s>(&'s self, client: u64, step: &'s Step) -> Whole<'s> {
        Whole {
            bytes: self.update.bytes(),
            at: step.at,
            to: step.to,
            found: &step.found,
            id: Id {
                client,
                clock: step.clock,
            },
        }
    }

    /// Whether the update itself deletes these clocks.
    fn deletes(&mut self, client: u64, start: u32, end: u32) -> bool {
        let update = self.update;
        let deletions = self.deletions.get_or_insert_with(|| {
            let mut all = update.deletions().to_vec();
            all.sort_unstable();
            all
        });
        let after = deletions.partition_point(|deletion| (deletion.client, deletion.start) <= (client, start));
        let last = after.checked_sub(1).map(|at| deletions[at]);
        last.is_some_and(|last| last.client == client && end <= last.end)
    }

    /// Where the struct stands, by what it refers to.
    #[inline]
    fn place(&mut self, client: u64, step: &Step) -> Result<Place, &'static str> {
        let found = &step.found;
        if found.kind() == GC {
            return Ok(Place::GONE);
        }
        let origin = if step.trim > 0 {
            Some(Id {
                client,
                clock: step.clock + step.trim - 1,
            })
        } else {
            found.origin
        };
        let left = origin.map(|id| self.look_up(id));
        let right = found.right_origin.map(|id| self.look_up(id));
        let place = match (left, right) {
            (Some(left), Some(right)) if left.is_gone() || right.is_gone() => return Ok(Place::GONE),
            (Some(left), Some(right)) if left != right => return Err("neighbours that are not in one place"),
            (Some(place), _) | (None, Some(place)) => place,
            (None, None) => self.named(step),
        };
        if place.is_gone() {
            return Ok(Place::GONE);
        }
        let holder = self.places.kind(&self.document.places, place.holder);
        let Some(holder) = holder.filter(|holder| !holder.dead) else {
            return Ok(Place::GONE);
        };
        let content = &self.update.bytes()[found.content..step.to];
        match found.kind() {
            kind @ (ANY | JSON | EMBED | FORMAT) if self.comes == Comes::In && agree::is_wasteful(kind, content) => {
                Err("a value that is written far too long")
            }
            STRING | EMBED | FORMAT if place.is_keyed() => Err("text as an entry of a map"),
            TYPE if u32::from(holder.depth) >= TYPE_DEPTH_MAX => Err("shared types nested too deeply"),
            TYPE => {
                let known = &self.document.places;
                self.places.nested(known, client, step.clock, holder.depth + 1);
                Ok(place)
            }
            _ => Ok(place),
        }
    }

    /// The place that a struct without neighbours names.
    fn named(&mut self, step: &Step) -> Place {
        let known = &self.document.places;
        let named = structs::named(self.update.bytes(), step.at);
        let key = named.key.map(|key| self.places.name(known, key));
        let holder = match step.found.parent {
            Parent::Item(id) => match self.type_at(id) {
                Some(index) => index,
                // What is no type holds nothing: Yjs collects what claims to be in it.
                None => return Place::GONE,
            },
            Parent::Root | Parent::Neighbours => self.places.root(known, named.root.unwrap_or_default()),
        };
        Place::new(holder, key)
    }

    fn type_at(&self, id: Id) -> Option<u32> {
        let known = || self.document.log(id.client)?.type_at(id.clock);
        self.places.type_at(id.client, id.clock).or_else(known)
    }

    #[inline]
    fn look_up(&self, id: Id) -> Place {
        if let Some(index) = self.update.section_of(id.client) {
            let places = &self.lanes[index].places;
            if places.first().is_some_and(|(start, _)| *start <= id.clock) {
                let after = match places.last() {
                    Some((start, _)) if *start <= id.clock => places.len(),
                    _ => places.partition_point(|(start, _)| *start <= id.clock),
                };
                return places[after - 1].1;
            }
        }
        self.document
            .log(id.client)
            .map_or(Place::GONE, |log| log.place(id.clock))
    }

    fn finish(mut self, ends: &[Lane]) -> Taken {
        let document = self.document;
        let mut partial = false;
        let mut cut = !self.replaced.is_empty();
        for ((section, lane), end) in self.update.sections.iter().zip(&self.lanes).zip(ends) {
            let next = document.clocks().next(section.client);
            partial |= section.end > next.max(end.clock);
            cut |= lane.from != section.from || end.at != section.to;
        }
        let mut deletions: SmallVec<[Deletion; 2]> = SmallVec::new();
        for deletion in self.update.deletions() {
            let lane = self.update.section_of(deletion.client);
            let next = document.clocks().next(deletion.client);
            let reach = next.max(lane.map_or(0, |index| ends[index].clock));
            let end = deletion.end.min(reach);
            partial |= end < deletion.end;
            let deleted = document.log(deletion.client).and_then(|log| log.deleted.as_deref());
            let before = deletions.len();
            match deleted {
                Some(deleted) if deletion.start < end => {
                    let new = deleted.gaps(deletion.start, end).into_iter();
                    deletions.extend(new.map(|(start, end)| Deletion {
                        start,
                        end,
                        ..*deletion
                    }));
                }
                None if deletion.start < end => deletions.push(Deletion { end, ..*deletion }),
                _ => {}
            }
            cut |= deletions.get(before..) != Some(&[*deletion]);
        }
        let part = cut.then(|| self.assemble(ends, deletions));
        if cut {
            // Of sections of which nothing is taken nothing is left.
            self.lanes.retain(|lane| lane.count > 0);
        }
        Taken {
            part,
            partial,
            lanes: self.lanes,
            places: self.places,
        }
    }

    /// What is taken, as an update.
    fn assemble(&mut self, ends: &[Lane], deletions: SmallVec<[Deletion; 2]>) -> CheckedUpdate {
        let bytes = self.update.bytes();
        self.replaced.sort_by_key(|replaced| replaced.lane);
        let mut replaced = self.replaced.iter().peekable();
        let mut sections: SmallVec<[Out; 2]> = SmallVec::new();
        let lanes = self.lanes.iter().zip(ends);
        for (index, (section, (lane, end))) in self.update.sections.iter().zip(lanes).enumerate() {
            let mut parts: SmallVec<[Cow<[u8]>; 1]> = SmallVec::new();
            let mut from = lane.from;
            while let Some(next) = replaced.next_if(|next| next.lane == index) {
                if from < next.from {
                    parts.push(Cow::Borrowed(&bytes[from..next.from]));
                }
                parts.push(Cow::Borrowed(&next.by));
                from = next.to;
            }
            if lane.count == 0 {
                continue;
            }
            parts.push(Cow::Borrowed(&bytes[from..end.at]));
            sections.push(Out {
                client: section.client,
                start: lane.start,
                end: end.clock,
                count: lane.count,
                parts,
            });
        }
        assemble(&sections, deletions)
    }
}

/// Entries of a key that are kept one by one where an update tells that they were deleted.
const ENTRIES_MAX: u32 = 1_024;

/// Writes several values of one key as what they are in Yjs: entries of which each deletes the one before it. In a type that
/// is deleted Yjs looks for those alone, and throws when it finds another one half of which somebody cut off. Returns how
/// many structs they are.
fn entries(whole: &Whole, trim: u32, is_deleted: bool, keeps: bool, out: &mut Vec<u8>) -> Option<u32> {
    let len = whole.found.len - trim;
    if !keeps {
        let gone = if is_deleted { len } else { len - 1 };
        whole.deleted(trim, gone, out);
        if is_deleted {
            return Some(1);
        }
        whole.piece(whole.found.len - 1, 1, out)?;
        return Some(2);
    }
    let mut bytes = Vec::new();
    whole.piece(trim, len, &mut bytes)?;
    let mut r = Reader::new(&bytes);
    let found = structs::read::<false>(&mut r).ok()?;
    let rest = Whole {
        bytes: &bytes,
        at: 0,
        to: bytes.len(),
        found: &found,
        id: Id {
            clock: whole.id.clock + trim,
            ..whole.id
        },
    };
    rest.chop(0, |_, value| out.extend_from_slice(value)).then_some(len)
}

/// Only a struct of one clock cannot be cut, and nobody asks for less of that.
const UNCUT: &str = "a struct that cannot be cut";

/// The lane of a section of [`News::update`].
pub(super) fn lanes(news: &News) -> impl Iterator<Item = (&Section, &NewLane)> {
    news.update.sections.iter().zip(&news.lanes)
}
