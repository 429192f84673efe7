//! From structs to lists: YATA, as Yjs's `Item.integrate` does it, and what deletes what.
//!
//! Structs are integrated in the order of Yjs's `integrateStructs`: the highest client first, and whenever something is
//! missing, the next struct of the client that is to have it. The order shows only where Yjs itself does not agree with
//! itself: an item whose right origin comes before its origin. Yjs finds the left neighbour, then cuts it at the right
//! one, and goes on with the first half. Whether they were one struct depends on what was cut before.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{Kind, List, NONE, Parent, Piece, Place, ReadError, Reading, Steps, Struct, Type};
use crate::protocol::{
    lib0::{Malformed, Reader},
    update::{
        CheckedUpdate, Deletion, Id, Section,
        structs::{self, ANY, DELETED, GC, HAS_KEY, JSON, SKIP, STRING, TYPE},
    },
};

pub(super) struct Integration {
    reading: Reading,
    steps: Steps,
    lanes: Vec<Lane>,
    /// Number of the last search for a place among conflicting items, and of the last group of such items.
    search: u32,
    group: u32,
    /// Types whose content is still to be deleted.
    doomed: Vec<u32>,
}

/// The structs of a section: which is next, and where they end.
#[derive(Debug, Clone, Copy)]
struct Lane {
    at: u32,
    to: u32,
    /// The clock after the last.
    end: u32,
    /// It waits for another one.
    waits: bool,
}

impl Integration {
    /// Reads all structs and cuts them.
    pub fn new(state: &CheckedUpdate, mut steps: Steps) -> Result<Self, ReadError> {
        // Offsets and indexes fit in 32 bits.
        if u32::try_from(state.bytes().len()).is_err() {
            return Err(ReadError::TooMuch);
        }
        let mut table = Table::new(state);
        for (section, of) in (0..).zip(&state.sections) {
            steps.spend(of.count as usize)?;
            table.section(section, of)?;
        }
        for deletion in state.deletions() {
            let last = Id {
                client: deletion.client,
                clock: deletion.end - 1,
            };
            let Place { section, .. } = table.place(last)?;
            table.cut(section, deletion.start);
            table.cut(section, deletion.end);
        }
        steps.spend(table.cuts.len())?;
        let lanes = table.lanes();
        Ok(Self {
            reading: table.cut_up()?,
            steps,
            lanes,
            search: 0,
            group: 0,
            doomed: Vec::new(),
        })
    }

    /// Integrates all structs, then all deletions.
    pub fn run(mut self, state: &CheckedUpdate) -> Result<Reading, ReadError> {
        let mut waiting: Vec<usize> = Vec::new();
        for first in 0..self.lanes.len() {
            while self.lanes[first].at < self.lanes[first].to {
                waiting.push(first);
                while let Some(&lane) = waiting.last() {
                    self.steps.spend(1)?;
                    let next = self.lanes[lane].at;
                    match self.missing(next) {
                        None => {
                            self.integrate(next)?;
                            self.lanes[lane].at += 1;
                            self.lanes[lane].waits = false;
                            waiting.pop();
                        }
                        Some(place) => {
                            self.lanes[lane].waits = true;
                            let other = &self.lanes[place.section as usize];
                            if other.waits || other.at == other.to {
                                let found = &self.reading.structs[next as usize];
                                return Err(ReadError::Circular {
                                    client: self.reading.clients[found.section as usize],
                                    clock: found.clock,
                                });
                            }
                            waiting.push(place.section as usize);
                        }
                    }
                }
            }
        }
        for deletion in state.deletions() {
            self.delete_range(state, deletion)?;
        }
        self.reading.untold = self.untold()?;
        Ok(self.reading)
    }

    /// What of another client has to come before this struct.
    fn missing(&self, index: u32) -> Option<Place> {
        let found = &self.reading.structs[index as usize];
        let parent = match found.parent {
            Parent::Item(place) => Some(place),
            Parent::Neighbours | Parent::Root(_) => None,
        };
        let is_missing = |place: &Place| place.section != found.section && place.clock >= self.reached(place.section);
        [found.origin, found.right_origin, parent]
            .into_iter()
            .flatten()
            .find(is_missing)
    }

    /// How far a section is integrated.
    fn reached(&self, section: u32) -> u32 {
        let lane = &self.lanes[section as usize];
        if lane.at == lane.to {
            lane.end
        } else {
            self.reading.structs[lane.at as usize].clock
        }
    }

    fn integrate(&mut self, index: u32) -> Result<(), ReadError> {
        let found = self.reading.structs[index as usize];
        let (first, last) = (found.piece, self.reading.last_piece(index));
        self.steps.spend((last - first) as usize)?;
        let (left, right) = self.neighbours(&found)?;
        let Some(list) = self.list(&found, left, right) else {
            // The struct is collected: it is in no list.
            (first..=last).for_each(|piece| self.reading.pieces[piece as usize].deleted = true);
            return Ok(());
        };
        let left = self.settle(&found, list, left, right)?;

        let pieces = &mut self.reading.pieces;
        let next = match left {
            NONE => std::mem::replace(&mut self.reading.lists[list as usize].first, first),
            left => std::mem::replace(&mut pieces[left as usize].right, first),
        };
        pieces[first as usize].left = left;
        for piece in first..last {
            pieces[piece as usize].right = piece + 1;
            pieces[piece as usize + 1].left = piece;
        }
        pieces[last as usize].right = next;
        self.reading.structs[index as usize].list = list;
        let List { of, keyed, .. } = self.reading.lists[list as usize];
        if next != NONE {
            self.reading.pieces[next as usize].left = last;
        } else if keyed {
            self.reading.lists[list as usize].last = last;
            if left != NONE {
                self.delete_joined(left)?;
            }
        }
        let holder = self.reading.types[of as usize].piece;
        let is_dead = holder != NONE && self.reading.pieces[holder as usize].deleted;
        if found.kind == DELETED || is_dead || keyed && next != NONE {
            (first..=last).for_each(|piece| self.delete(piece));
            self.delete_doomed()?;
        }
        Ok(())
    }

    /// The pieces left and right of where its author put a struct, cut off from what is beyond.
    fn neighbours(&mut self, found: &Struct) -> Result<(u32, u32), ReadError> {
        let reading = &mut self.reading;
        let mut left = NONE;
        if let Some(origin) = found.origin {
            left = reading.piece_at(origin);
            let of = reading.pieces[left as usize].of;
            if let Some(after) = reading.pieces.get_mut(left as usize + 1).filter(|piece| piece.of == of) {
                after.joined = false;
            }
        }
        let Some(origin) = found.right_origin else {
            return Ok((left, NONE));
        };
        let right = reading.piece_at(origin);
        if reading.pieces[right as usize].joined {
            if left != NONE && right <= left {
                let between = &reading.pieces[right as usize + 1..=left as usize];
                self.steps.spend(between.len())?;
                let of = reading.pieces[right as usize].of;
                if between.iter().all(|piece| piece.of == of && piece.joined) {
                    left = right - 1;
                }
            }
            reading.pieces[right as usize].joined = false;
        }
        Ok((left, right))
    }

    /// The list that a struct belongs to; none if it is collected.
    fn list(&mut self, found: &Struct, left: u32, right: u32) -> Option<u32> {
        if found.kind == GC {
            return None;
        }
        let list_of = |piece: u32| match piece {
            NONE => None,
            piece => Some(self.reading.structs[self.reading.pieces[piece as usize].of as usize].list),
        };
        let (left, right) = (list_of(left), list_of(right));
        if left == Some(NONE) || right == Some(NONE) {
            return None;
        }
        let holder = match found.parent {
            Parent::Neighbours => return left.or(right),
            Parent::Root(root) => root,
            Parent::Item(place) => {
                let piece = self.reading.piece_at(place);
                let parent = &self.reading.structs[self.reading.pieces[piece as usize].of as usize];
                if parent.list == NONE || parent.holds == NONE {
                    return None;
                }
                parent.holds
            }
        };
        let lists = &mut self.reading.lists;
        let new = lists.len() as u32;
        let list = if found.key == NONE {
            let list = &mut self.reading.types[holder as usize].list;
            if *list == NONE {
                *list = new;
            }
            *list
        } else {
            *self.reading.entries.entry((holder, found.key)).or_insert(new)
        };
        if list == new {
            lists.push(List {
                of: holder,
                keyed: found.key != NONE,
                first: NONE,
                last: NONE,
            });
        }
        Some(list)
    }

    /// The piece after which a struct goes: its left neighbour, or one of those that others put there as well.
    fn settle(&mut self, found: &Struct, list: u32, mut left: u32, right: u32) -> Result<u32, ReadError> {
        let reading = &mut self.reading;
        let (is_settled, mut other) = if left == NONE {
            let at_start = right != NONE && reading.pieces[right as usize].left == NONE;
            (at_start, reading.lists[list as usize].first)
        } else {
            let next = reading.pieces[left as usize].right;
            (next == right, next)
        };
        if is_settled {
            return Ok(left);
        }
        let client = reading.clients[found.section as usize];
        self.search = self.search.checked_add(1).ok_or(ReadError::TooMuch)?;
        self.group = self.group.checked_add(1).ok_or(ReadError::TooMuch)?;
        while other != NONE && other != right {
            self.steps.spend(1)?;
            let piece = &mut reading.pieces[other as usize];
            (piece.seen, piece.conflicts) = (self.search, self.group);
            let piece = *piece;
            let of = &reading.structs[piece.of as usize];
            let origin = if piece.clock == of.clock {
                of.origin
            } else {
                let clock = piece.clock - 1;
                Some(Place {
                    section: of.section,
                    clock,
                })
            };
            if origin == found.origin {
                if reading.clients[of.section as usize] < client {
                    left = other;
                    self.group = self.group.checked_add(1).ok_or(ReadError::TooMuch)?;
                } else if of.right_origin == found.right_origin {
                    break;
                }
            } else {
                let Some(origin) = origin else { break };
                let before = &reading.pieces[reading.piece_at(origin) as usize];
                if before.seen != self.search {
                    break;
                }
                if before.conflicts != self.group {
                    left = other;
                    self.group = self.group.checked_add(1).ok_or(ReadError::TooMuch)?;
                }
            }
            other = piece.right;
        }
        Ok(left)
    }

    /// Deletes a piece and those before it that Yjs has as one item with it.
    fn delete_joined(&mut self, mut piece: u32) -> Result<(), ReadError> {
        loop {
            self.steps.spend(1)?;
            self.delete(piece);
            if !self.reading.pieces[piece as usize].joined {
                return self.delete_doomed();
            }
            piece -= 1;
        }
    }

    /// Deletes a piece; what is in it waits for [`Self::delete_doomed`].
    fn delete(&mut self, piece: u32) {
        let piece = &mut self.reading.pieces[piece as usize];
        let holds = self.reading.structs[piece.of as usize].holds;
        if !piece.deleted && holds != NONE {
            self.doomed.push(holds);
        }
        piece.deleted = true;
    }

    /// Deletes what is in deleted types, however deep.
    fn delete_doomed(&mut self) -> Result<(), ReadError> {
        while let Some(of) = self.doomed.pop() {
            let list = self.reading.types[of as usize].list;
            if list != NONE {
                let mut piece = self.reading.lists[list as usize].first;
                while piece != NONE {
                    self.steps.spend(1)?;
                    self.delete(piece);
                    piece = self.reading.pieces[piece as usize].right;
                }
            }
            let values: Vec<u32> = self
                .reading
                .entries
                .range((of, 0)..=(of, NONE))
                .map(|(_, list)| *list)
                .collect();
            for list in values {
                let mut piece = self.reading.lists[list as usize].last;
                while piece != NONE {
                    self.steps.spend(1)?;
                    self.delete(piece);
                    let joined = self.reading.pieces[piece as usize].joined;
                    piece = if joined { piece - 1 } else { NONE };
                }
            }
        }
        Ok(())
    }

    fn delete_range(&mut self, state: &CheckedUpdate, deletion: &Deletion) -> Result<(), ReadError> {
        let Some(section) = state.section_of(deletion.client) else {
            return Ok(());
        };
        let (section, clock) = (section as u32, deletion.start);
        let mut piece = self.reading.piece_at(Place { section, clock });
        let end = self.reading.starts[section as usize + 1];
        // Yjs cuts at both ends of a range, unless what is there is deleted already.
        let first = &mut self.reading.pieces[piece as usize];
        first.joined &= first.deleted;
        while piece < end && self.reading.pieces[piece as usize].clock < deletion.end {
            self.steps.spend(1)?;
            let was_deleted = self.reading.pieces[piece as usize].deleted;
            self.delete(piece);
            self.reading.pieces[piece as usize].told = true;
            piece += 1;
            let next = self.reading.pieces.get_mut(piece as usize);
            if let Some(next) = next.filter(|next| next.clock >= deletion.end) {
                next.joined &= was_deleted;
            }
        }
        self.delete_doomed()
    }

    /// What is deleted, and not by the state's delete set.
    fn untold(&mut self) -> Result<Vec<Deletion>, ReadError> {
        self.steps.spend(self.reading.pieces.len())?;
        let mut untold: Vec<Deletion> = Vec::new();
        for piece in self.reading.pieces.iter().filter(|piece| piece.deleted && !piece.told) {
            let section = self.reading.structs[piece.of as usize].section;
            let client = self.reading.clients[section as usize];
            let (start, end) = (piece.clock, piece.clock + piece.len);
            match untold.last_mut() {
                Some(last) if last.client == client && last.end == start => last.end = end,
                _ => untold.push(Deletion { client, start, end }),
            }
        }
        Ok(untold)
    }
}

impl Reading {
    /// The piece that a clock is in. The clock exists.
    pub(super) fn piece_at(&self, place: Place) -> u32 {
        let section = place.section as usize;
        let (from, to) = (self.starts[section], self.starts[section + 1]);
        let pieces = &self.pieces[from as usize..to as usize];
        from + (pieces.partition_point(|piece| piece.clock <= place.clock) as u32).saturating_sub(1)
    }

    fn last_piece(&self, index: u32) -> u32 {
        let next = self.structs.get(index as usize + 1);
        next.map_or(self.pieces.len() as u32, |next| next.piece) - 1
    }
}

/// The structs while they are read.
struct Table<'a> {
    state: &'a CheckedUpdate,
    structs: Vec<Struct>,
    /// The first struct of each section.
    firsts: Vec<u32>,
    /// Where each struct's content begins and ends, and how many clocks it covers.
    contents: Vec<(u32, u32, u32)>,
    types: Vec<Type>,
    roots: BTreeMap<&'a [u8], u32>,
    keys: BTreeMap<&'a [u8], u32>,
    key_ranges: Vec<(u32, u32)>,
    cuts: Vec<Place>,
}

impl<'a> Table<'a> {
    fn new(state: &'a CheckedUpdate) -> Self {
        Self {
            state,
            structs: Vec::with_capacity(state.struct_count() as usize),
            firsts: Vec::with_capacity(state.sections.len()),
            contents: Vec::new(),
            types: Vec::new(),
            roots: BTreeMap::new(),
            keys: BTreeMap::new(),
            key_ranges: Vec::new(),
            cuts: Vec::new(),
        }
    }

    fn section(&mut self, section: u32, of: &Section) -> Result<(), ReadError> {
        let (client, mut clock) = (of.client, of.start);
        if clock != 0 {
            return Err(ReadError::Missing { client, clock: 0 });
        }
        self.firsts.push(self.structs.len() as u32);
        let mut r = Reader::starting_at(self.state.bytes(), of.from);
        for _ in 0..of.count {
            let from = r.position();
            let found = structs::read::<false>(&mut r)?;
            if found.kind() == SKIP {
                return Err(ReadError::Missing { client, clock });
            }
            let origin = found.origin.map(|id| self.place(id)).transpose()?;
            let right_origin = found.right_origin.map(|id| self.place(id)).transpose()?;
            if let Some(place) = origin {
                self.cut(place.section, place.clock + 1);
            }
            if let Some(place) = right_origin {
                self.cut(place.section, place.clock);
            }
            let (parent, key) = match found.parent {
                structs::Parent::Neighbours => (Parent::Neighbours, NONE),
                structs::Parent::Root | structs::Parent::Item(_) => self.parent(from, found.info)?,
            };
            let holds = if found.kind() == TYPE {
                self.holds(found.content)?
            } else {
                NONE
            };
            self.structs.push(Struct {
                section,
                clock,
                piece: NONE,
                origin,
                right_origin,
                parent,
                key,
                list: NONE,
                holds,
                kind: found.kind(),
            });
            self.contents
                .push((found.content as u32, r.position() as u32, found.len));
            clock += found.len;
        }
        Ok(())
    }

    fn place(&self, id: Id) -> Result<Place, ReadError> {
        let Id { client, clock } = id;
        match self.state.section_of(client) {
            Some(index) if clock < self.state.sections[index].end => Ok(Place {
                section: index as u32,
                clock,
            }),
            _ => Err(ReadError::Missing { client, clock }),
        }
    }

    fn cut(&mut self, section: u32, clock: u32) {
        self.cuts.push(Place { section, clock });
    }

    /// The parent and the key that the struct at `from` names.
    fn parent(&mut self, from: usize, info: u8) -> Result<(Parent, u32), ReadError> {
        let bytes: &'a [u8] = self.state.bytes();
        let mut r = Reader::starting_at(bytes, from + 1);
        let parent = if r.byte()? == 0 {
            Parent::Item(self.place(structs::id(&mut r)?)?)
        } else {
            let name = r.var_bytes()?;
            Parent::Root(match self.roots.entry(name) {
                Entry::Occupied(root) => *root.get(),
                Entry::Vacant(root) => {
                    let index = self.types.len() as u32;
                    self.types.push(Type {
                        piece: NONE,
                        kind: Kind::Root,
                        name: range_before(&r, name),
                        list: NONE,
                    });
                    *root.insert(index)
                }
            })
        };
        if info & HAS_KEY == 0 {
            return Ok((parent, NONE));
        }
        let key = r.var_bytes()?;
        let index = self.keys.len() as u32;
        let index = *self.keys.entry(key).or_insert(index);
        if index as usize == self.key_ranges.len() {
            self.key_ranges.push(range_before(&r, key));
        }
        Ok((parent, index))
    }

    /// The type that content at `from` is.
    fn holds(&mut self, from: usize) -> Result<u32, ReadError> {
        let mut r = Reader::starting_at(self.state.bytes(), from);
        let (kind, is_named) = Kind::of(r.byte()?);
        let name = if is_named { r.var_bytes()? } else { &[] };
        let name = range_before(&r, name);
        let index = self.types.len() as u32;
        self.types.push(Type {
            piece: NONE,
            kind,
            name,
            list: NONE,
        });
        Ok(index)
    }

    fn lanes(&self) -> Vec<Lane> {
        let next = self.firsts.iter().skip(1).copied();
        let ends = next.chain([self.structs.len() as u32]);
        let lanes = self.firsts.iter().zip(ends).zip(&self.state.sections);
        lanes
            .map(|((at, to), section)| Lane {
                at: *at,
                to,
                end: section.end,
                waits: false,
            })
            .collect()
    }

    /// Cuts each struct wherever something refers into it.
    fn cut_up(mut self) -> Result<Reading, ReadError> {
        self.cuts.sort_unstable();
        self.cuts.dedup();
        let mut cuts = self.cuts.iter().copied().peekable();
        let mut pieces: Vec<Piece> = Vec::with_capacity(self.structs.len());
        let mut starts = Vec::with_capacity(self.firsts.len() + 1);
        for (index, found) in (0..).zip(&mut self.structs) {
            while starts.len() <= found.section as usize {
                starts.push(pieces.len() as u32);
            }
            found.piece = pieces.len() as u32;
            let (from, to, len) = self.contents[index as usize];
            let mut cutter = Cutter::new(self.state.bytes(), found.kind, from as usize, to as usize)?;
            let (mut clock, end) = (found.clock, found.clock + len);
            while clock < end {
                let section = found.section;
                while cuts.next_if(|cut| *cut <= Place { section, clock }).is_some() {}
                let cut = cuts.peek().filter(|cut| cut.section == section && cut.clock < end);
                let next = cut.map_or(end, |cut| cut.clock);
                let mut piece = cutter.take(next - clock, next == end)?;
                piece.of = index;
                piece.clock = clock;
                piece.joined = clock > found.clock;
                pieces.push(piece);
                clock = next;
            }
            if found.holds != NONE {
                self.types[found.holds as usize].piece = found.piece;
            }
        }
        starts.resize(self.firsts.len() + 1, pieces.len() as u32);
        // Indexes fit in 32 bits, and so do twice as many: a cut makes one piece more.
        if pieces.len() >= NONE as usize {
            return Err(ReadError::TooMuch);
        }
        Ok(Reading {
            bytes: self.state.bytes().clone(),
            clients: self.state.sections.iter().map(|section| section.client).collect(),
            starts,
            structs: self.structs,
            pieces,
            lists: Vec::new(),
            types: self.types,
            keys: self.key_ranges,
            entries: BTreeMap::new(),
            roots: self.roots.into_values().collect(),
            untold: Vec::new(),
        })
    }
}

/// The byte range of `text`, which was read last.
fn range_before(r: &Reader, text: &[u8]) -> (u32, u32) {
    let to = r.position();
    ((to - text.len()) as u32, to as u32)
}

/// Takes a struct's content apart, from its first clock to its last.
struct Cutter<'a> {
    bytes: &'a [u8],
    kind: u8,
    at: usize,
    to: usize,
    /// The next unit is the second half of the character before `at`.
    halved: bool,
}

impl<'a> Cutter<'a> {
    fn new(bytes: &'a [u8], kind: u8, from: usize, to: usize) -> Result<Self, Malformed> {
        let mut r = Reader::starting_at(bytes, from);
        // The length of a text, the number of values.
        if matches!(kind, STRING | ANY | JSON) {
            r.var_uint()?;
        }
        Ok(Self {
            bytes,
            kind,
            at: r.position(),
            to,
            halved: false,
        })
    }

    /// The next `len` clocks, which may be all that are left.
    fn take(&mut self, len: u32, all: bool) -> Result<Piece, Malformed> {
        let mut piece = Piece {
            of: NONE,
            clock: 0,
            len,
            left: NONE,
            right: NONE,
            from: self.at as u32,
            to: self.to as u32,
            seen: 0,
            conflicts: 0,
            deleted: false,
            told: false,
            joined: false,
            half_before: self.halved,
            half_after: false,
        };
        if all {
            return Ok(piece);
        }
        match self.kind {
            STRING => {
                let mut left = len - u32::from(std::mem::take(&mut self.halved));
                while left > 0 {
                    let first = self.bytes.get(self.at).copied().unwrap_or_default();
                    let (bytes, units) = match first {
                        0..0x80 => (1, 1),
                        0x80..0xe0 => (2, 1),
                        0xe0..0xf0 => (3, 1),
                        0xf0.. => (4, 2),
                    };
                    if units > left {
                        self.halved = true;
                        piece.half_after = true;
                        piece.to = self.at as u32;
                        self.at += bytes;
                        return Ok(piece);
                    }
                    self.at += bytes;
                    left -= units;
                }
            }
            ANY | JSON => {
                let mut r = Reader::starting_at(self.bytes, self.at);
                for _ in 0..len {
                    if self.kind == ANY {
                        structs::any::<false>(&mut r)?;
                    } else {
                        r.var_bytes()?;
                    }
                }
                self.at = r.position();
            }
            // What is collected or deleted has nothing to take, all others cover one clock.
            _ => {}
        }
        piece.to = self.at as u32;
        Ok(piece)
    }
}
