//! Where structs stand: in which shared type, and under which key of it.
//!
//! A struct names its place only when it has no neighbours; else it stands where its neighbours stand. So a document
//! remembers the place of each struct, one word pair for a run of equal ones, to tell whether two neighbours are of one
//! list, and whether what they are in is gone.

use std::collections::BTreeMap;

/// Where a struct stands. Two places are the same if they are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the shared type among the document's.
    pub holder: u32,
    /// Index of the key among the document's names, or [`NO_KEY`].
    key: u32,
}

const NO_KEY: u32 = u32::MAX;

impl Place {
    /// Nowhere: it is collected, and so is whatever refers to it.
    pub const GONE: Self = Self {
        holder: u32::MAX,
        key: NO_KEY,
    };

    pub fn new(holder: u32, key: Option<u32>) -> Self {
        Self {
            holder,
            key: key.unwrap_or(NO_KEY),
        }
    }

    pub fn is_gone(self) -> bool {
        self == Self::GONE
    }

    /// Whether it is an entry of a map, or an attribute.
    pub fn is_keyed(self) -> bool {
        self.key != NO_KEY
    }
}

/// From `start` on, structs stand at `place`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlaceRun {
    pub start: u32,
    pub place: Place,
}

/// A shared type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Type {
    /// How many types it is in; 0 for a root.
    pub depth: u16,
    /// It was deleted, and what it held is not kept.
    pub dead: bool,
}

/// What a name takes in memory beside its bytes, and a root type, in bytes, about: nodes of a tree are filled to a half as a
/// rule.
const NAME_BYTES: usize = 60;
const ROOT_BYTES: usize = 20;

/// The shared types and the names of a document.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    types: Vec<Type>,
    names: BTreeMap<Box<str>, u32>,
    /// The root types, by the index of their name.
    roots: BTreeMap<u32, u32>,
    /// How many types are gone.
    dead: u32,
    /// Bytes of all names.
    names_bytes: usize,
}

impl Places {
    pub fn kind(&self, index: u32) -> Option<Type> {
        self.types.get(index as usize).copied()
    }

    /// A type is gone.
    pub fn bury(&mut self, index: u32) {
        if let Some(found) = self.types.get_mut(index as usize) {
            found.dead = true;
            self.dead += 1;
        }
    }

    /// Whether a type is gone, and what was in it may still be there.
    pub fn has_dead(&self) -> bool {
        self.dead > 0
    }

    /// Bytes of memory that it takes, about. Nothing is walked for them.
    pub fn held_bytes(&self) -> usize {
        let types = self.types.capacity() * size_of::<Type>();
        types + self.names_bytes + self.names.len() * NAME_BYTES + self.roots.len() * ROOT_BYTES
    }

    pub fn shrink(&mut self) {
        self.types.shrink_to_fit();
    }
}

/// What an update would add to [`Places`], until it is taken.
#[derive(Debug, Default)]
pub(super) struct NewPlaces {
    types: Vec<Type>,
    names: BTreeMap<Box<str>, u32>,
    roots: BTreeMap<u32, u32>,
    /// The nested ones among `types`, by client and clock.
    nested: BTreeMap<(u64, u32), u32>,
}

impl NewPlaces {
    /// The index of `name`.
    pub fn name(&mut self, known: &Places, name: &str) -> u32 {
        if let Some(&index) = known.names.get(name).or_else(|| self.names.get(name)) {
            return index;
        }
        let index = (known.names.len() + self.names.len()) as u32;
        self.names.insert(name.into(), index);
        index
    }

    /// The index of the root type `name`.
    pub fn root(&mut self, known: &Places, name: &str) -> u32 {
        let name = self.name(known, name);
        if let Some(&index) = known.roots.get(&name).or_else(|| self.roots.get(&name)) {
            return index;
        }
        let index = self.add(known, 0);
        self.roots.insert(name, index);
        index
    }

    /// A nested type at `depth` lives at a clock of a client.
    pub fn nested(&mut self, known: &Places, client: u64, clock: u32, depth: u16) {
        let index = self.add(known, depth);
        self.nested.insert((client, clock), index);
    }

    fn add(&mut self, known: &Places, depth: u16) -> u32 {
        let index = (known.types.len() + self.types.len()) as u32;
        self.types.push(Type { depth, dead: false });
        index
    }

    /// The index of the new nested type at a clock of a client.
    pub fn type_at(&self, client: u64, clock: u32) -> Option<u32> {
        self.nested.get(&(client, clock)).copied()
    }

    pub fn kind(&self, known: &Places, index: u32) -> Option<Type> {
        known.kind(index).or_else(|| {
            let at = (index as usize).checked_sub(known.types.len())?;
            self.types.get(at).copied()
        })
    }

    /// Adds all of it; returns the new nested types: client, clock and index, in order.
    pub fn settle(self, known: &mut Places) -> impl Iterator<Item = (u64, u32, u32)> + use<> {
        known.types.extend(self.types);
        known.names_bytes += self.names.keys().map(|name| name.len()).sum::<usize>();
        known.names.extend(self.names);
        known.roots.extend(self.roots);
        self.nested
            .into_iter()
            .map(|((client, clock), index)| (client, clock, index))
    }
}
