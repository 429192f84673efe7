//! The structs of an update in an order in which they can be integrated: each after everything that it
//! refers to. Sections that wait for each other for ever are left where they are.
//!
//! A section (a *lane* here) runs until a struct refers to a clock that another lane has not reached; then
//! it waits on that lane, and is woken when that lane has passed the clock. Every struct is read once, and
//! once more for every wait: linear in the update, whatever it contains.

use super::structs::{self, SKIP, Struct};
use super::{CheckedUpdate, Id, Section};
use crate::protocol::lib0::Reader;
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Where a section's walk is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane {
    /// Offset of the next struct.
    pub at: usize,
    /// Its clock. What is before is reachable, or was known.
    pub clock: u32,
    /// Structs to come; 0 also if it cannot go on.
    pub left: u32,
    /// How many clocks of the next struct are known already.
    pub trim: u32,
}

impl Lane {
    /// The first struct of `section` that does not end before clock `next`.
    pub fn first_after(update: &CheckedUpdate, section: &Section, next: u32) -> Self {
        let mut lane = Self {
            at: section.from,
            clock: section.start,
            left: section.count,
            trim: 0,
        };
        if section.end <= next {
            return Self {
                at: section.to,
                clock: section.end,
                left: 0,
                trim: 0,
            };
        }
        let mut r = Reader::starting_at(&update.bytes, section.from);
        while lane.left > 0 {
            let Ok(found) = structs::read::<false>(&mut r) else {
                break;
            };
            if lane.clock + found.len > next {
                lane.trim = next.saturating_sub(lane.clock);
                return lane;
            }
            lane = Self {
                at: r.position(),
                clock: lane.clock + found.len,
                left: lane.left - 1,
                trim: 0,
            };
        }
        lane
    }
}

/// The next struct.
#[derive(Debug)]
pub(crate) struct Step {
    pub lane: usize,
    /// Byte range.
    pub at: usize,
    pub to: usize,
    pub clock: u32,
    pub trim: u32,
    pub found: Struct,
}

pub(crate) struct Walk<'a> {
    update: &'a CheckedUpdate,
    pub lanes: SmallVec<[Lane; 1]>,
    ready: SmallVec<[u32; 4]>,
    /// For each lane, who waits for it to pass which clock. Empty until somebody waits.
    waiting: Vec<BinaryHeap<Reverse<(u32, u32)>>>,
}

impl<'a> Walk<'a> {
    /// One lane for each section, as prepared by the caller.
    pub fn new(update: &'a CheckedUpdate, lanes: SmallVec<[Lane; 1]>) -> Self {
        let ready = (0..lanes.len() as u32).rev().collect();
        Self {
            update,
            lanes,
            ready,
            waiting: Vec::new(),
        }
    }

    /// The next struct all of whose references are `known` or were returned before.
    #[inline]
    pub fn next(&mut self, known: impl Fn(Id) -> bool) -> Option<Step> {
        loop {
            let index = *self.ready.last()? as usize;
            let lane = self.lanes[index];
            let read = if lane.left == 0 {
                None
            } else {
                let mut r = Reader::starting_at(&self.update.bytes, lane.at);
                structs::read::<false>(&mut r).ok().map(|found| (found, r.position()))
            };
            let Some((found, to)) = read.filter(|(found, _)| found.kind() != SKIP) else {
                self.lanes[index].left = 0;
                self.rest(index);
                continue;
            };
            match self.missing(index, &lane, &found, &known) {
                None => {
                    self.lanes[index] = Lane {
                        at: to,
                        clock: lane.clock + found.len,
                        left: lane.left - 1,
                        trim: 0,
                    };
                    return Some(Step {
                        lane: index,
                        at: lane.at,
                        to,
                        clock: lane.clock,
                        trim: lane.trim,
                        found,
                    });
                }
                Some(id) => {
                    match self.update.section_of(id.client) {
                        Some(other) if self.lanes[other].left > 0 && self.update.sections[other].end > id.clock => {
                            self.waiting.resize_with(self.lanes.len(), BinaryHeap::new);
                            self.waiting[other].push(Reverse((id.clock, index as u32)));
                        }
                        _ => self.lanes[index].left = 0,
                    }
                    self.rest(index);
                }
            }
        }
    }

    fn missing(&self, index: usize, lane: &Lane, found: &Struct, known: &impl Fn(Id) -> bool) -> Option<Id> {
        let client = self.update.sections[index].client;
        let reachable = |id: &Id| {
            // The check proved that references to the own client go back.
            id.client == client
                || known(*id)
                || self
                    .update
                    .section_of(id.client)
                    .is_some_and(|other| self.lanes[other].clock > id.clock)
        };
        if lane.trim > 0 {
            // What remains of it starts after its known part, and has no parent of its own.
            return found.right_origin.filter(|id| !reachable(id));
        }
        found.references().find(|id| !reachable(id))
    }

    /// When there is no next struct: what the structs wait for that are left, and that the update does not bring itself.
    pub fn lacks(&self, known: impl Fn(Id) -> bool) -> SmallVec<[Id; 2]> {
        let brings = |id: Id| {
            let section = self.update.section_of(id.client);
            section.is_some_and(|index| id.clock < self.update.sections[index].end)
        };
        let lanes = self.lanes.iter().zip(&self.update.sections).enumerate();
        let stuck = lanes.filter(|(_, (lane, section))| section.start <= lane.clock && lane.clock < section.end);
        let waits_for = stuck.filter_map(|(index, (lane, section))| {
            let mut r = Reader::starting_at(&self.update.bytes, lane.at);
            let found = structs::read::<false>(&mut r).ok()?;
            if found.kind() == SKIP {
                let client = section.client;
                let clock = lane.clock;
                return Some(Id { client, clock });
            }
            self.missing(index, lane, &found, &known).filter(|id| !brings(*id))
        });
        waits_for.collect()
    }

    /// Takes the running lane off, and wakes those that waited for what it has passed.
    fn rest(&mut self, index: usize) {
        self.ready.pop();
        let Some(waiting) = self.waiting.get_mut(index) else {
            return;
        };
        while let Some(Reverse((clock, waiter))) = waiting.peek().copied() {
            // A lane that ended wakes all: they find out that it will never pass their clock.
            if clock >= self.lanes[index].clock && self.lanes[index].left > 0 {
                break;
            }
            waiting.pop();
            self.ready.push(waiter);
        }
    }
}
