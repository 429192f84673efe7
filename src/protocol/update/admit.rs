//! Step 2 of the gate: an update against what the document knows.

use super::encode::{self, Out, assemble, deletions_in_order};
use super::known::{self, Holder, Known, Run, Trait};
use super::structs::{ANY, EMBED, FORMAT, GC, Parent, STRING, TYPE};
use super::walk::{Lane, Step, Walk};
use super::{CheckedUpdate, Deletion, Id, Section};
use crate::limits::TYPE_DEPTH_MAX;
use smallvec::SmallVec;
use std::borrow::Cow;

/// What of an update may go into the document.
#[derive(Debug, Clone)]
pub enum Admission {
    /// All that the document does not know yet (perhaps nothing: see [`CheckedUpdate::is_empty`]).
    Whole(CheckedUpdate),
    /// The longest part that needs nothing else; what is cut off lacks something that the client has to
    /// send first. Ask it (SyncStep1).
    Part(CheckedUpdate),
    /// All of it lacks something. Ask the client (SyncStep1).
    Nothing,
    /// It takes something for what it is not: no Yjs writes that. Close the session.
    Refused(&'static str),
}

impl CheckedUpdate {
    /// Holds the update against a document. What is admitted starts, for each client, where the document
    /// ends; has no gaps; and refers only to what exists. Structs whose parent or neighbours are gone are
    /// admitted as collected ranges, which is what Yjs makes of them.
    pub fn admit(mut self, known: &Known) -> Admission {
        if known.is_crowded_by(&self) {
            return Admission::Refused("client ids that were chosen to collide");
        }
        let mut judge = Judge::new(&self, known);
        let mut walk = Walk::new(&self, judge.lanes(&self));
        while let Some(step) = walk.next(|id| known.has(id)) {
            if let Err(why) = judge.take(&self, &step) {
                return Admission::Refused(why);
            }
        }
        let lanes = walk.lanes;

        let mut partial = false;
        for (section, lane) in self.sections.iter().zip(&lanes) {
            partial |= section.end > known.clocks().next(section.client).max(lane.clock);
        }
        let reach = |client: u64| {
            let lane = self.section_of(client).map_or(0, |index| lanes[index].clock);
            lane.max(known.clocks().next(client))
        };
        let mut cut_deletions = false;
        let deletions: SmallVec<[Deletion; 2]> = self
            .deletions
            .iter()
            .filter_map(|deletion| {
                let end = deletion.end.min(reach(deletion.client));
                cut_deletions |= end < deletion.end;
                (deletion.start < end).then_some(Deletion { end, ..*deletion })
            })
            .collect();
        partial |= cut_deletions;

        let runs = judge.runs(&self);
        if !partial && !judge.changed {
            self.runs = runs;
            self.admitted = true;
            return Admission::Whole(self);
        }
        let mut admitted = judge.assemble(&self, &lanes, deletions);
        admitted.runs = runs;
        admitted.admitted = true;
        if !partial {
            Admission::Whole(admitted)
        } else if admitted.is_empty() {
            Admission::Nothing
        } else {
            Admission::Part(admitted)
        }
    }
}

/// What becomes of one section.
#[derive(Default)]
struct Verdict {
    /// First clock that is taken.
    start: u32,
    /// Structs taken.
    count: u32,
    /// Where the bytes begin that are taken as they are and not yet among the parts.
    from: usize,
    parts: SmallVec<[Vec<u8>; 0]>,
    /// Bytes before each part that are taken as they are.
    copies: SmallVec<[(usize, usize); 0]>,
    runs: SmallVec<[(u32, Trait); 2]>,
}

struct Judge<'a> {
    known: &'a Known,
    verdicts: SmallVec<[Verdict; 1]>,
    /// Whether what is taken differs from the bytes that came.
    changed: bool,
}

impl<'a> Judge<'a> {
    fn new(update: &CheckedUpdate, known: &'a Known) -> Self {
        Self {
            known,
            verdicts: update.sections.iter().map(|_| Verdict::default()).collect(),
            changed: false,
        }
    }

    /// Where each section's walk begins: at the first struct that is not known.
    fn lanes(&mut self, update: &CheckedUpdate) -> SmallVec<[Lane; 1]> {
        let mut lanes = SmallVec::with_capacity(update.sections.len());
        for (section, verdict) in update.sections.iter().zip(&mut self.verdicts) {
            let next = self.known.clocks().next(section.client);
            let lane = if section.start > next {
                Lane {
                    at: section.from,
                    clock: 0,
                    left: 0,
                    trim: 0,
                }
            } else if section.start == next {
                Lane {
                    at: section.from,
                    clock: next,
                    left: section.count,
                    trim: 0,
                }
            } else {
                self.changed = true;
                Lane::first_after(update, section, next)
            };
            verdict.start = next;
            verdict.from = lane.at;
            lanes.push(lane);
        }
        lanes
    }

    /// Judges one struct, after all that it refers to.
    #[inline]
    fn take(&mut self, update: &CheckedUpdate, step: &Step) -> Result<(), &'static str> {
        let section = &update.sections[step.lane];
        let start = step.clock + step.trim;
        let is = self.judge(update, section, step)?;
        let verdict = &mut self.verdicts[step.lane];
        verdict.count += 1;
        if verdict.runs.last().is_none_or(|(_, last)| *last != is) {
            verdict.runs.push((start, is));
        }
        let id = Id {
            client: section.client,
            clock: step.clock,
        };
        let replacement = if is.is_gone() && step.found.kind() != GC {
            Some(encode::gc(step.found.len - step.trim))
        } else if is.is_keyed() && step.found.kind() == ANY && step.found.len - step.trim > 1 {
            verdict.count += 1;
            encode::last_entry(&update.bytes, step.at, step.to, &step.found, id, step.trim)
        } else if step.trim > 0 {
            encode::tail(&update.bytes, step.to, &step.found, id, step.trim)
        } else {
            return Ok(());
        };
        self.changed = true;
        verdict.copies.push((verdict.from, step.at));
        verdict.parts.push(replacement.ok_or("a struct that cannot be cut")?);
        verdict.from = step.to;
        Ok(())
    }

    /// What the struct is, by what it refers to.
    #[inline]
    fn judge(&self, update: &CheckedUpdate, section: &Section, step: &Step) -> Result<Trait, &'static str> {
        let found = &step.found;
        if found.kind() == GC {
            return Ok(Trait::GONE);
        }
        let origin = if step.trim > 0 {
            Some(Id {
                client: section.client,
                clock: step.clock + step.trim - 1,
            })
        } else {
            found.origin
        };
        let left = origin.map(|id| self.look_up(update, id));
        let right = found.right_origin.map(|id| self.look_up(update, id));
        let place = match (left, right) {
            (Some(left), Some(right)) if left.is_gone() || right.is_gone() => return Ok(Trait::GONE),
            (Some(left), Some(right)) if left.place() != right.place() => {
                return Err("neighbours that are not in one place");
            }
            (Some(neighbour), _) | (None, Some(neighbour)) => neighbour.place(),
            (None, None) => match found.parent {
                Parent::Root | Parent::Neighbours => Trait::in_root(found.keyed),
                Parent::Item(id) => match self.look_up(update, id).inside(found.keyed) {
                    Some(place) => place,
                    None => return Ok(Trait::GONE),
                },
            },
        };
        if place.is_gone() {
            return Ok(Trait::GONE);
        }
        match found.kind() {
            STRING | EMBED | FORMAT if place.is_keyed() || place.holder() == Holder::Other => {
                Err("text where no text can be")
            }
            TYPE if place.depth() >= TYPE_DEPTH_MAX => Err("shared types nested too deeply"),
            TYPE => Ok(place.holding(found.holds_text)),
            _ => Ok(place),
        }
    }

    #[inline]
    fn look_up(&self, update: &CheckedUpdate, id: Id) -> Trait {
        if let Some(index) = update.section_of(id.client) {
            let runs = &self.verdicts[index].runs;
            if runs.first().is_some_and(|(start, _)| *start <= id.clock) {
                return known::look_up(runs, id.clock);
            }
        }
        self.known.look_up(id)
    }

    /// Every section's runs, for [`Known::absorb`].
    fn runs(&self, update: &CheckedUpdate) -> SmallVec<[Run; 2]> {
        let of = |(section, verdict): (&Section, &'_ Verdict)| -> SmallVec<[Run; 2]> {
            verdict
                .runs
                .iter()
                .map(|(start, is)| Run {
                    client: section.client,
                    start: *start,
                    is: *is,
                })
                .collect()
        };
        let mut all = SmallVec::new();
        for pair in update.sections.iter().zip(&self.verdicts) {
            all.extend(of(pair));
        }
        all
    }

    fn assemble(
        &self,
        update: &CheckedUpdate,
        lanes: &[Lane],
        mut deletions: SmallVec<[Deletion; 2]>,
    ) -> CheckedUpdate {
        let mut sections: SmallVec<[Out; 2]> = SmallVec::new();
        for ((section, verdict), lane) in update.sections.iter().zip(&self.verdicts).zip(lanes) {
            if verdict.count == 0 {
                continue;
            }
            let mut parts: SmallVec<[Cow<[u8]>; 1]> = SmallVec::new();
            for ((from, to), part) in verdict.copies.iter().zip(&verdict.parts) {
                parts.push(Cow::Borrowed(&update.bytes[*from..*to]));
                parts.push(Cow::Borrowed(part));
            }
            parts.push(Cow::Borrowed(&update.bytes[verdict.from..lane.at]));
            let count = verdict.count;
            sections.push(Out {
                client: section.client,
                start: verdict.start,
                end: lane.clock,
                count,
                parts,
            });
        }
        deletions_in_order(&mut deletions);
        assemble(&sections, deletions)
    }
}
