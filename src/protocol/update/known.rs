//! What a document knows, as far as the gate needs it to judge a reference.
//!
//! Clocks alone say whether a referenced struct exists. They do not say *what* it is, and yrs believes
//! the update: a parent that is no type, a neighbour in a map where a list is expected, a chain of types
//! so deep that its deletion overflows the stack. So beside the clocks there is one word for every struct:
//! how deep it is nested, whether it is a type, an entry of a map, or gone. Equal neighbours share one
//! entry (a run): typing costs nothing, a tree of elements some 8 bytes per struct.

use super::crowd::Crowd;
use super::{CheckedUpdate, Clocks, Id, Section};
use crate::limits::CROWDED_CLIENTS_MIN;
use std::collections::BTreeMap;

/// What is known of a struct, in one word: what holds it, at which depth (0: a root type), and flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trait(u32);

/// What kind of type holds a struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// A root type: its kind is not on the wire.
    Root,
    /// A text, rich or in XML.
    Text,
    /// Anything else.
    Other,
}

impl Trait {
    const GONE_FLAG: u32 = 1 << 16;
    const KEYED: u32 = 1 << 17;
    /// Held by a text; held by another nested type.
    const IN_TEXT: u32 = 1 << 18;
    const IN_OTHER: u32 = 1 << 19;
    /// It is a type itself; and that a text.
    const TYPE: u32 = 1 << 20;
    const TEXT: u32 = 1 << 21;

    /// Collected: Yjs makes everything that refers to it collected, too.
    pub const GONE: Self = Self(Self::GONE_FLAG);

    /// In a root type.
    pub fn in_root(keyed: bool) -> Self {
        Self(if keyed { Self::KEYED } else { 0 })
    }

    /// In the type that this struct is, if it is one.
    pub fn inside(self, keyed: bool) -> Option<Self> {
        if self.0 & Self::TYPE == 0 {
            return None;
        }
        let holder = if self.0 & Self::TEXT != 0 {
            Self::IN_TEXT
        } else {
            Self::IN_OTHER
        };
        Some(Self((self.depth() + 1) | holder | if keyed { Self::KEYED } else { 0 }))
    }

    pub fn is_gone(self) -> bool {
        self == Self::GONE
    }

    pub fn is_keyed(self) -> bool {
        self.0 & Self::KEYED != 0
    }

    pub fn depth(self) -> u32 {
        self.0 & 0xffff
    }

    pub fn holder(self) -> Holder {
        match self.0 & (Self::IN_TEXT | Self::IN_OTHER) {
            0 => Holder::Root,
            Self::IN_TEXT => Holder::Text,
            _ => Holder::Other,
        }
    }

    /// Where it is, whatever it is itself.
    pub fn place(self) -> Self {
        Self(self.0 & !(Self::TYPE | Self::TEXT))
    }

    /// A type in this place.
    pub fn holding(self, text: bool) -> Self {
        Self(self.0 | Self::TYPE | if text { Self::TEXT } else { 0 })
    }
}

/// From `start` on, the structs of `client` are like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub client: u64,
    pub start: u32,
    pub is: Trait,
}

/// What a document knows: how far each client's history goes, and what kind of thing each struct is.
///
/// Built by absorbing admitted updates, from the first one on; after a restart, by admitting and absorbing
/// the stored state.
#[derive(Debug, Clone, Default)]
pub struct Known {
    clocks: Clocks,
    runs: BTreeMap<u64, Vec<(u32, Trait)>>,
    crowd: Crowd,
}

impl Known {
    /// How far each client's history is known: the document's state vector.
    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// Takes in an update that [`CheckedUpdate::admit`] let through, after the document applied it.
    /// One that was never admitted changes nothing.
    pub fn absorb(&mut self, update: &CheckedUpdate) {
        debug_assert!(update.admitted || update.sections.is_empty());
        if !update.admitted {
            return;
        }
        for section in &update.sections {
            let is_new = self.clocks.next(section.client) == 0;
            self.clocks.advance(section.client, section.end);
            if is_new {
                self.crowd.add(section.client, self.clocks.clients());
            }
        }
        for run in &update.runs {
            let runs = self.runs.entry(run.client).or_default();
            if runs.last().is_none_or(|(_, last)| *last != run.is) {
                runs.push((run.start, run.is));
            }
        }
    }

    /// Bytes of memory, roughly: for the metrics and for the room's budget.
    pub fn memory_bytes(&self) -> usize {
        self.runs
            .values()
            .map(|runs| 64 + runs.capacity() * size_of::<(u32, Trait)>())
            .sum()
    }

    /// Whether new clients in `update` have ids that were chosen to collide with others.
    pub(super) fn is_crowded_by(&self, update: &CheckedUpdate) -> bool {
        let new = |section: &&Section| self.clocks.next(section.client) == 0;
        if let [only] = update.sections.as_slice() {
            return new(&only) && self.crowd.refuses(only.client, self.clocks.len() + 1);
        }
        if self.clocks.len() + update.sections.len() < CROWDED_CLIENTS_MIN || !update.sections.iter().any(|s| new(&s)) {
            return false;
        }
        let mut crowd = self.crowd.clone();
        let mut all: Option<Vec<u64>> = None;
        let mut count = self.clocks.len();
        for section in update.sections.iter().filter(new) {
            count += 1;
            if crowd.refuses(section.client, count) {
                return true;
            }
            let all = all.get_or_insert_with(|| self.clocks.clients().collect());
            all.push(section.client);
            crowd.add(section.client, all.iter().copied());
        }
        false
    }

    pub(super) fn has(&self, id: Id) -> bool {
        id.clock < self.clocks.next(id.client)
    }

    /// What a known struct is.
    pub(super) fn look_up(&self, id: Id) -> Trait {
        self.runs
            .get(&id.client)
            .map_or(Trait::GONE, |runs| look_up(runs, id.clock))
    }
}

pub(super) fn look_up(runs: &[(u32, Trait)], clock: u32) -> Trait {
    match runs.last() {
        Some((start, is)) if *start <= clock => *is,
        _ => match runs.partition_point(|(start, _)| *start <= clock) {
            0 => Trait::GONE,
            after => runs[after - 1].1,
        },
    }
}
