//! What one client wrote: its structs, byte for byte, in blocks of about a kilobyte.
//!
//! A log grows at its end. Elsewhere it changes in two ways, and both touch the one block where they happen: a struct is
//! *cut* where somebody else's struct refers into the middle of it, and content that is deleted is dropped. A block is
//! shared with whoever encodes it elsewhere, and copied when it changes meanwhile.
//!
//! A struct that continues the one before it is *joined* to it (rules J1 to J5 in `docs/SPEC.md`), as Yjs joins
//! neighbours, except that a log does not know whether they are neighbours in their list. It needs not: a reader cuts
//! again where somebody else's struct goes. Only where a struct refers to a boundary inside what could be joined, that
//! boundary is *pinned* and stays: Yjs finds the left neighbour first and cuts at the right one afterwards, so a struct
//! whose right origin is not behind its origin would find the wrong half of what was joined.
//!
//! What must stay true: the structs of the blocks follow each other without a gap from clock 0 to `next`; `last` is
//! the offset of the last struct in the last block; every pinned clock below `next` is the first of a struct; blocks before
//! the last one have nothing to spare, so what a log takes in memory is known without looking at them.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use smallvec::SmallVec;

use crate::protocol::{
    lib0::{Reader, var_uint_len, write_var_uint},
    update::{
        Id,
        piece::Whole,
        structs::{self, ANY, CONTENT_BITS, DELETED, GC, HAS_KEY, HAS_RIGHT_ORIGIN, JSON, STRING, Struct, TYPE},
    },
};

use super::{
    chunk::Chunk,
    place::{Place, PlaceRun},
    ranges::Ranges,
};

/// A block takes no further struct when it would exceed this, in bytes: what an edit touches is small, and a block's own
/// cost is a tenth of it.
const BLOCK_BYTES: usize = 1_024;
/// A block that cuts made larger than this, in bytes, becomes two.
const BLOCK_BYTES_MAX: usize = 2 * BLOCK_BYTES;
/// Bytes that a block keeps for what may come, where it changes.
const SPARE_BYTES_MAX: usize = 256;
/// A struct is joined or cut to at most this, in bytes.
const PIECE_BYTES_MAX: usize = 1_024;

/// So many blocks that become several are put in their places one by one: that takes no memory.
const FEW_SPLITS: usize = 2;

/// What a pinned clock takes in memory, in bytes, about.
const PIN_BYTES: usize = 12;

/// Consecutive structs of a client.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The first clock.
    pub start: u32,
    /// Number of structs.
    pub count: u32,
    pub bytes: Chunk,
}

impl Block {
    /// Its structs. The last one ends where the block does, so of its content no more is read than how many clocks it has:
    /// a value that nobody can cut may be as long as a message, and has a block of its own.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        let mut r = Reader::new(&self.bytes);
        let (mut clock, mut left) = (self.start, self.count);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let at = r.position();
            let found = match left {
                0 => structs::read_last(&mut r),
                _ => structs::read::<false>(&mut r),
            };
            let found = found.ok()?;
            #[cfg(test)]
            read::count(r.position() - at);
            let to = if left == 0 { self.bytes.len() } else { r.position() };
            let step = Step { clock, at, to, found };
            clock += step.found.len;
            Some(step)
        })
    }
}

/// How many bytes of blocks were read, and how many blocks were moved: what something costs, for tests.
#[cfg(test)]
pub(super) mod read {
    use std::cell::Cell;

    thread_local! {
        static BYTES: Cell<usize> = const { Cell::new(0) };
        /// How many blocks were moved since it was set.
        pub static MOVED: Cell<usize> = const { Cell::new(0) };
    }

    pub fn count(bytes: usize) {
        BYTES.set(BYTES.get() + bytes);
    }

    /// How many this thread reads while it does something.
    pub fn bytes_in(does: impl FnOnce()) -> usize {
        let before = BYTES.get();
        does();
        BYTES.get() - before
    }
}

pub(super) type Blocks = SmallVec<[Block; 1]>;

/// The blocks that take the place of one that grew too large.
struct Split {
    index: usize,
    blocks: Vec<Block>,
}

/// What most logs do not have.
#[derive(Debug, Clone, Default)]
struct Rare {
    /// First clocks of structs that must not be joined to the struct before.
    pins: BTreeSet<u32>,
    /// The shared types that live here: clock, and index among the document's types. In order.
    types: Vec<(u32, u32)>,
}

/// What one client wrote.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    pub client: u64,
    /// Bytes of all structs.
    pub bytes: u32,
    /// How many structs there are.
    structs: u32,
    /// The clock after the last.
    pub next: u32,
    /// Offset of the last struct in the last block.
    last: u32,
    pub blocks: Blocks,
    /// Where the structs stand: from this clock on, there. In order, neighbours differ.
    places: SmallVec<[PlaceRun; 1]>,
    /// What is deleted, collected structs included.
    pub deleted: Option<Arc<Ranges>>,
    rare: Option<Box<Rare>>,
}

/// What a log holds, or all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub bytes: usize,
    pub structs: usize,
    /// Bytes of memory that they take beside what each log takes.
    pub held: usize,
}

impl Size {
    /// A part of it was `before` and is `after`.
    #[inline]
    pub fn change(&mut self, before: Self, after: Self) {
        self.bytes = self.bytes + after.bytes - before.bytes;
        self.structs = self.structs + after.structs - before.structs;
        self.held = self.held + after.held - before.held;
    }
}

/// A struct of a block.
pub(super) struct Step {
    pub clock: u32,
    pub at: usize,
    pub to: usize,
    pub found: Struct,
}

impl Step {
    pub fn end(&self) -> u32 {
        self.clock + self.found.len
    }

    pub fn whole<'a>(&'a self, bytes: &'a [u8], client: u64) -> Whole<'a> {
        Whole {
            bytes,
            at: self.at,
            to: self.to,
            found: &self.found,
            id: Id {
                client,
                clock: self.clock,
            },
        }
    }
}

/// The structs in `bytes`, the first of which has clock `start`.
pub(super) fn steps(bytes: &[u8], start: u32) -> impl Iterator<Item = Step> + '_ {
    let mut r = Reader::new(bytes);
    let mut clock = start;
    std::iter::from_fn(move || {
        if r.remaining() == 0 {
            return None;
        }
        let at = r.position();
        let found = structs::read::<false>(&mut r).ok()?;
        let step = Step {
            clock,
            at,
            to: r.position(),
            found,
        };
        clock += step.found.len;
        Some(step)
    })
}

impl Log {
    pub fn of(client: u64) -> Self {
        Self {
            client,
            ..Self::default()
        }
    }

    /// Where the struct at `clock` stands, which is below `next`.
    #[inline]
    pub fn place(&self, clock: u32) -> Place {
        match self.places.last() {
            Some(run) if run.start <= clock => run.place,
            _ => match self.places.partition_point(|run| run.start <= clock) {
                0 => Place::GONE,
                after => self.places[after - 1].place,
            },
        }
    }

    /// From clock `start` on, which is not before the end, structs stand at `place`.
    #[inline]
    pub fn stands(&mut self, start: u32, place: Place) {
        if self.places.last().is_none_or(|last| last.place != place) {
            self.places.push(PlaceRun { start, place });
        }
    }

    /// The index of the shared type that lives at `clock`.
    pub fn type_at(&self, clock: u32) -> Option<u32> {
        let types = &self.rare.as_ref()?.types;
        let at = types.binary_search_by_key(&clock, |(clock, _)| *clock).ok()?;
        Some(types[at].1)
    }

    /// A shared type, which has `index` among the document's types, was appended at `clock`.
    pub fn holds_type(&mut self, clock: u32, index: u32) {
        self.rare.get_or_insert_default().types.push((clock, index));
    }

    /// Appends a struct whose clock is `next`; says whether it was joined to the one before. `keyed` is whether it
    /// stands under a key.
    #[inline]
    pub fn append(&mut self, whole: &Whole, keyed: bool) -> bool {
        let chopped = !keyed
            && whole.chop(PIECE_BYTES_MAX, |len, bytes| {
                self.open_block(bytes.len());
                self.push(len, bytes);
            });
        if chopped {
            return false;
        }
        if self.join(whole, keyed) {
            return true;
        }
        let bytes = whole.bytes();
        self.open_block(bytes.len());
        self.push(whole.found.len, bytes);
        false
    }

    fn push(&mut self, len: u32, bytes: &[u8]) {
        if let Some(block) = self.blocks.last_mut() {
            self.last = block.bytes.len() as u32;
            block.count += 1;
            block.bytes.extend(bytes);
            self.bytes += bytes.len() as u32;
            self.structs += 1;
        }
        self.next += len;
    }

    /// Makes sure that there is a last block with room for a struct of `len` bytes.
    fn open_block(&mut self, len: usize) {
        if let Some(block) = self.blocks.last_mut() {
            if block.bytes.len() + len <= BLOCK_BYTES {
                return;
            }
            block.bytes.settle();
        }
        let alone = self.blocks.is_empty();
        self.blocks.push(Block {
            start: self.next,
            count: 0,
            bytes: Chunk::with_room(len, alone),
        });
    }

    /// Joins a struct to the last one, if it continues that.
    #[inline]
    fn join(&mut self, whole: &Whole, keyed: bool) -> bool {
        let Some(block) = self.blocks.last_mut() else {
            return false;
        };
        let last = self.last as usize;
        let kind = whole.found.kind();
        if !matches!(kind, GC | DELETED | STRING | ANY | JSON) || block.bytes[last] & CONTENT_BITS != kind {
            return false;
        }
        if kind != GC {
            let pins = self.rare.as_ref().map(|rare| &rare.pins);
            let continues = whole.continues_before() && (kind == DELETED || !keyed);
            if !continues || pins.is_some_and(|pins| !pins.is_empty() && pins.contains(&self.next)) {
                return false;
            }
        }
        let before = block.bytes.len();
        let joined = join_to(&mut block.bytes, last, whole);
        if joined {
            self.next += whole.found.len;
            self.bytes += (block.bytes.len() - before) as u32;
        }
        joined
    }

    /// Makes sure that structs begin at `clocks`, which are in order, differ, and are at most `next`: somebody refers to
    /// what begins or ends there. Nothing is joined there from then on.
    ///
    /// One pass over each block concerned.
    pub fn cut(&mut self, clocks: &[u32]) {
        let mut left = clocks;
        let mut splits = Vec::new();
        while let Some(&first) = left.first() {
            if first >= self.next {
                // What is to come may continue what is here.
                self.rare.get_or_insert_default().pins.insert(first);
                break;
            }
            let index = self.block_of(first);
            let here = left.partition_point(|clock| *clock < self.end_of(index));
            splits.extend(self.cut_block(index, &left[..here]));
            left = &left[here..];
        }
        self.put(splits);
    }

    fn cut_block(&mut self, index: usize, clocks: &[u32]) -> Option<Split> {
        let block = &self.blocks[index];
        let mut left = clocks.iter().copied().peekable();
        let mut pins: SmallVec<[u32; 2]> = SmallVec::new();
        let mut cuts = false;
        for step in block.steps() {
            while let Some(clock) = left.next_if(|clock| *clock < step.end()) {
                let inside = clock > step.clock;
                if step.found.kind() != GC && (inside || step.whole(&block.bytes, self.client).continues_before()) {
                    cuts |= inside;
                    pins.push(clock);
                }
            }
            if left.peek().is_none() {
                break;
            }
        }
        let (first, last) = (*pins.first()?, *pins.last()?);
        self.rare.get_or_insert_default().pins.extend(pins.iter().copied());
        if !cuts {
            return None;
        }
        self.weave(index, first..last, |weave, whole| {
            let mut from = whole.id.clock;
            let end = from + whole.found.len;
            for &clock in &pins[pins.partition_point(|clock| *clock <= from)..] {
                if clock >= end {
                    break;
                }
                weave.add(whole, from, clock, false);
                from = clock;
            }
            weave.add(whole, from, end, false);
        })
    }

    /// Drops what is deleted: the content of `gaps`, which are in order and hold nothing that is deleted already. The
    /// structs stay, so that what others put beside them finds its place. Returns the clocks of shared types that went.
    ///
    /// One pass over each block concerned.
    pub fn erase(&mut self, gaps: &[(u32, u32)]) -> SmallVec<[u32; 2]> {
        let mut died = SmallVec::new();
        let (Some(first), Some(last)) = (gaps.first(), gaps.last()) else {
            return died;
        };
        let (mut left, mut end) = (gaps, last.1);
        let (first, last) = (self.block_of(first.0), self.block_of(last.1 - 1));
        let count = self.blocks.len();
        let mut splits = Vec::new();
        while let Some(&(_, to)) = left.last() {
            let index = self.block_of(to.min(end) - 1);
            let start = self.blocks[index].start;
            let here = left.partition_point(|(_, to)| *to <= start);
            splits.extend(self.erase_in_block(index, &left[here..], &mut died));
            left = &left[..left.partition_point(|(from, _)| *from < start)];
            end = start;
        }
        splits.reverse();
        self.put(splits);
        self.merge_small_blocks(first, last + self.blocks.len() - count);
        died
    }

    fn erase_in_block(&mut self, index: usize, gaps: &[(u32, u32)], died: &mut SmallVec<[u32; 2]>) -> Option<Split> {
        let (first, last) = (gaps.first()?, gaps.last()?);
        let mut left = gaps;
        self.weave(index, first.0..last.1, |weave, whole| {
            let mut from = whole.id.clock;
            let end = from + whole.found.len;
            while let Some(&(start, to)) = left.first() {
                if start >= end {
                    break;
                }
                let (start, stop) = (start.max(from), to.min(end));
                if start < stop {
                    weave.add(whole, from, start, false);
                    weave.add(whole, start, stop, true);
                    from = stop;
                    if whole.found.kind() == TYPE {
                        died.push(start);
                    }
                }
                if to > end {
                    break;
                }
                left = &left[1..];
            }
            weave.add(whole, from, end, false);
        })
    }

    /// Writes the structs of a block anew that have clocks of `changes`, or are beside them: `each` adds what becomes of
    /// one. Returns the blocks that are to take its place, if it grew too large.
    fn weave(&mut self, index: usize, changes: Range<u32>, mut each: impl FnMut(&mut Weave, &Whole)) -> Option<Split> {
        let block = &self.blocks[index];
        let mut weave = Weave {
            out: Vec::with_capacity(64),
            count: 0,
            last: 0,
            deleted: None,
            pins: self.rare.as_ref().map(|rare| &rare.pins),
        };
        let (mut replaced, mut count) = (None, 0);
        for step in block.steps().skip_while(|step| step.end() < changes.start) {
            let (from, _) = replaced.unwrap_or((step.at, step.to));
            replaced = Some((from, step.to));
            count += 1;
            each(&mut weave, &step.whole(&block.bytes, self.client));
            if step.clock >= changes.end {
                break;
            }
        }
        let (from, to) = replaced?;
        let Weave {
            out,
            count: woven,
            last,
            ..
        } = weave;
        let is_last = index + 1 == self.blocks.len();
        let block = &mut self.blocks[index];
        block.count = block.count - count + woven;
        self.structs = self.structs - count + woven;
        self.bytes = self.bytes + out.len() as u32 - (to - from) as u32;
        if is_last {
            self.last = if to == block.bytes.len() {
                (from + last) as u32
            } else {
                self.last + out.len() as u32 - (to - from) as u32
            };
        }
        let bytes = block.bytes.edit();
        // Twice as much would be asked for otherwise.
        bytes.reserve_exact((out.len() + from).saturating_sub(to));
        bytes.splice(from..to, out);
        if !is_last || bytes.capacity() > bytes.len() + SPARE_BYTES_MAX {
            bytes.shrink_to_fit();
        }
        if bytes.len() <= BLOCK_BYTES_MAX || block.count == 1 {
            return None;
        }
        let bytes = std::mem::take(bytes);
        Some(self.split_block(index, &bytes))
    }

    /// Several blocks with these `bytes`, which take the place of one.
    fn split_block(&mut self, index: usize, bytes: &[u8]) -> Split {
        let mut blocks: Vec<Block> = Vec::with_capacity(1 + bytes.len() / BLOCK_BYTES);
        let mut open = Vec::new();
        let (mut start, mut count) = (self.blocks[index].start, 0);
        let mut close = |open: &mut Vec<u8>, start: u32, count: u32| {
            blocks.push(Block {
                start,
                count,
                bytes: Chunk::of(std::mem::take(open)),
            });
        };
        let mut last = 0;
        for step in steps(bytes, start) {
            if !open.is_empty() && open.len() + (step.to - step.at) > BLOCK_BYTES {
                close(&mut open, start, count);
                (start, count) = (step.clock, 0);
            }
            last = open.len();
            open.extend_from_slice(&bytes[step.at..step.to]);
            count += 1;
        }
        close(&mut open, start, count);
        if index + 1 == self.blocks.len() {
            self.last = last as u32;
        }
        Split { index, blocks }
    }

    /// Puts blocks in the place of others, which are in order. Of many, those behind are moved once, and not for each of them.
    fn put(&mut self, splits: Vec<Split>) {
        let Some(first) = splits.first() else { return };
        if splits.len() <= FEW_SPLITS {
            for Split { index, blocks } in splits.into_iter().rev() {
                #[cfg(test)]
                read::MOVED.set(read::MOVED.get() + self.blocks.len() - index);
                self.blocks.remove(index);
                self.blocks.insert_many(index, blocks);
            }
            return;
        }
        let (from, end) = (first.index, self.blocks.len());
        #[cfg(test)]
        read::MOVED.set(read::MOVED.get() + end - from);
        let more: usize = splits.iter().map(|split| split.blocks.len() - 1).sum();
        let behind: Vec<Block> = self.blocks.drain(from..).collect();
        self.blocks.reserve(end - from + more);
        let mut splits = splits.into_iter().peekable();
        for (index, block) in (from..).zip(behind) {
            match splits.next_if(|split| split.index == index) {
                Some(split) => self.blocks.extend(split.blocks),
                None => self.blocks.push(block),
            }
        }
    }

    /// Puts neighbouring blocks together of which little is left, from `first` to `last` and around them.
    fn merge_small_blocks(&mut self, first: usize, last: usize) {
        let (from, to) = (first.saturating_sub(1), (last + 1).min(self.blocks.len() - 1));
        let small = |pair: &[Block]| pair[0].bytes.len() + pair[1].bytes.len() <= BLOCK_BYTES / 2;
        if !self.blocks[from..=to].windows(2).any(small) {
            return;
        }
        let count = self.blocks.len();
        let mut merged: Vec<Block> = Vec::new();
        for block in self.blocks.drain(from..=to) {
            match merged.last_mut() {
                Some(before) if before.bytes.len() + block.bytes.len() <= BLOCK_BYTES / 2 => {
                    before.count += block.count;
                    before.bytes.extend(&block.bytes);
                }
                _ => merged.push(block),
            }
        }
        merged.iter_mut().for_each(|block| block.bytes.settle());
        self.blocks.insert_many(from, merged);
        if to + 1 == count {
            self.find_last();
        }
    }

    fn find_last(&mut self) {
        if let Some(block) = self.blocks.last() {
            self.last = block.steps().last().map_or(0, |step| step.at) as u32;
        }
    }

    /// The block that has `clock`, which is below `next`.
    fn block_of(&self, clock: u32) -> usize {
        match self.blocks.last() {
            Some(block) if block.start <= clock => self.blocks.len() - 1,
            _ => self.blocks.partition_point(|block| block.start <= clock) - 1,
        }
    }

    /// The clock after the last of a block.
    fn end_of(&self, index: usize) -> u32 {
        self.blocks.get(index + 1).map_or(self.next, |block| block.start)
    }

    /// The structs from the one that has `clock`, which is below `next`, with the bytes that their offsets count in.
    pub fn steps_from(&self, clock: u32) -> impl Iterator<Item = (&[u8], Step)> + '_ {
        self.blocks[self.block_of(clock)..]
            .iter()
            .flat_map(|block| block.steps().map(|step| (&block.bytes[..], step)))
            .skip_while(move |(_, step)| step.end() <= clock)
    }

    /// What of it is counted.
    #[inline]
    pub fn size(&self) -> Size {
        Size {
            bytes: self.bytes as usize,
            structs: self.structs as usize,
            held: self.held_bytes(),
        }
    }

    /// Bytes of memory that it takes elsewhere, about. Nothing is walked for them.
    #[inline]
    fn held_bytes(&self) -> usize {
        let bytes = match &self.blocks[..] {
            [] => 0,
            [only] => only.bytes.held_bytes(),
            [settled @ .., last] => {
                Chunk::settled_bytes(settled.len(), self.bytes as usize - last.bytes.len()) + last.bytes.held_bytes()
            }
        };
        let mut held = bytes;
        if self.blocks.spilled() {
            held += self.blocks.capacity() * size_of::<Block>();
        }
        if self.places.spilled() {
            held += self.places.capacity() * size_of::<PlaceRun>();
        }
        if let Some(rare) = &self.rare {
            held += size_of::<Rare>() + rare.pins.len() * PIN_BYTES + rare.types.capacity() * size_of::<(u32, u32)>();
        }
        if let Some(deleted) = &self.deleted {
            held += deleted.held_bytes();
        }
        held
    }

    /// The same, by a look at each block.
    #[cfg(test)]
    pub fn walked_bytes(&self) -> usize {
        let counted = match &self.blocks[..] {
            [] | [_] => 0,
            [settled @ .., last] => Chunk::settled_bytes(settled.len(), self.bytes as usize - last.bytes.len()),
        };
        let settled = self.blocks.len().saturating_sub(1);
        let found: usize = self.blocks[..settled]
            .iter()
            .map(|block| block.bytes.held_bytes())
            .sum();
        self.held_bytes() + found - counted
    }

    /// Gives back what grew too large while it was filled.
    pub fn shrink(&mut self) {
        self.blocks.shrink_to_fit();
        self.places.shrink_to_fit();
        let alone = self.blocks.len() == 1;
        if let Some(last) = self.blocks.last_mut() {
            last.bytes.shrink(alone);
        }
        if let Some(rare) = &mut self.rare {
            rare.types.shrink_to_fit();
        }
    }
}

/// Joins a struct to the one at offset `last`, which is of the same kind and ends right before it, if the rest of both
/// headers agrees and both together are small.
fn join_to(bytes: &mut Chunk, last: usize, whole: &Whole) -> bool {
    let found = whole.found;
    let mut r = Reader::starting_at(bytes, last);
    let Ok(tail) = structs::header::<false>(&mut r) else {
        return false;
    };
    let flags = HAS_RIGHT_ORIGIN | HAS_KEY;
    if tail.info & flags != found.info & flags || tail.right_origin != found.right_origin {
        return false;
    }
    let Ok(len) = r.var_uint() else { return false };
    let (content, after) = (tail.content, r.position());
    if matches!(found.kind(), GC | DELETED) {
        let bytes = bytes.edit();
        bytes.truncate(content);
        write_var_uint(bytes, len + u64::from(found.len));
        return true;
    }
    let mut more = Reader::starting_at(whole.bytes, found.content);
    let Ok(more_len) = more.var_uint() else { return false };
    let more = &whole.bytes[more.position()..whole.to];
    if bytes.len() - last + more.len() > PIECE_BYTES_MAX {
        return false;
    }
    // The length stands before the content, and may need another byte.
    let bytes = bytes.edit();
    let len = len + more_len;
    let grows = var_uint_len(len) - (after - content);
    bytes.extend_from_slice(more);
    if grows > 0 {
        bytes.splice(after..after, std::iter::repeat_n(0, grows));
    }
    put_var_uint(&mut bytes[content..], len);
    true
}

/// Writes `value` over the first bytes.
fn put_var_uint(bytes: &mut [u8], mut value: u64) {
    for byte in bytes {
        *byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return;
        }
        *byte |= 0x80;
    }
}

/// A block that is being written anew.
struct Weave<'a> {
    out: Vec<u8>,
    count: u32,
    /// Offset of the last struct.
    last: usize,
    /// The last struct, if it is deleted.
    deleted: Option<Deleted>,
    pins: Option<&'a BTreeSet<u32>>,
}

/// A deleted struct, to which the next may be joined.
struct Deleted {
    len: u32,
    /// Offset of its length, which is its end.
    len_at: usize,
    flags: u8,
    right_origin: Option<Id>,
}

impl Weave<'_> {
    /// Adds the clocks `from..to` of a struct, as deleted or as they are. Deleted neighbours are joined.
    fn add(&mut self, whole: &Whole, from: u32, to: u32, delete: bool) {
        if from == to {
            return;
        }
        let (skip, keep) = (from - whole.id.clock, to - from);
        let found = whole.found;
        if !delete && found.kind() != DELETED {
            self.deleted = None;
            self.last = self.out.len();
            self.count += 1;
            // A struct of one clock is never asked for less.
            let cut = whole.piece(skip, keep, &mut self.out);
            debug_assert!(cut.is_some());
            return;
        }
        let flags = found.info & (HAS_RIGHT_ORIGIN | HAS_KEY);
        let continues = skip > 0 || whole.continues_before();
        if let Some(last) = &mut self.deleted
            && continues
            && (last.flags, last.right_origin) == (flags, found.right_origin)
            && !self.pins.is_some_and(|pins| pins.contains(&from))
        {
            last.len += keep;
            self.out.truncate(last.len_at);
            write_var_uint(&mut self.out, u64::from(last.len));
            return;
        }
        self.last = self.out.len();
        self.count += 1;
        whole.deleted(skip, keep, &mut self.out);
        self.deleted = Some(Deleted {
            len: keep,
            len_at: self.out.len() - var_uint_len(u64::from(keep)),
            flags,
            right_origin: found.right_origin,
        });
    }
}
