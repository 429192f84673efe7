//! Is what is known by number also known by content?
//!
//! A struct whose clock the document has is not taken again. That is right only if it is the same struct. Two pages
//! that write under one client id (a cloned tab, a restored virtual machine, somebody who wants to harm) give the same
//! clock to different structs, and the second one must not be called saved.
//!
//! What honest clients send again may differ in its bytes: it may be cut or joined elsewhere, deleted or collected;
//! half of a cut emoji is U+FFFD; JSON of other libraries is written anew by Yjs. None of that is a conflict.
//! Nor is what Yjs makes of a letter behind half a character, when somebody writes between the two: it takes the letter for the other
//! half, and both become U+FFFD where that happens, while everybody else has the letter.

use std::str::EncodeUtf16;

use crate::protocol::{
    lib0::Reader,
    update::{
        CheckedUpdate, Id, Section,
        structs::{self, ANY, DELETED, DOC, EMBED, FORMAT, GC, JSON, SKIP, STRING, Struct},
    },
};

use super::{
    Document,
    log::{Log, Step, steps},
    same,
};

/// So many structs of a log are compared with what an update says is deleted, beside one for each of its bytes: a deleted
/// struct of a few bytes may stand for all that a client wrote.
const DELETED_LOOKS: usize = 4_096;
/// So many structs of a log are passed over before the next one that is wanted is looked for.
const PASSED_MAX: usize = 16;

/// The first struct of `update` that the document has with another content. Linear in the update.
pub(super) fn conflict(document: &Document, update: &CheckedUpdate) -> Option<Id> {
    let mut looks = DELETED_LOOKS + update.bytes().len();
    update.sections.iter().find_map(|section| {
        let known = section.end.min(document.clocks().next(section.client));
        if section.start >= known {
            return None;
        }
        let log = document.log(section.client)?;
        let clock = differs(log, update.bytes(), section, known, &mut looks)?;
        Some(Id {
            client: section.client,
            clock,
        })
    })
}

/// The first clock below `known` at which a section differs from the log. What is deleted in it is compared with as many of
/// the log's structs as there are `looks` left.
fn differs(log: &Log, bytes: &[u8], section: &Section, known: u32, looks: &mut usize) -> Option<u32> {
    let bytes = &bytes[section.from..section.to];
    let mut ours = log.steps_from(section.start);
    let mut found: Option<Side> = None;
    let mut before = Before {
        log,
        at: section.start,
        known: None,
    };
    for step in steps(bytes, section.start).take_while(|step| step.clock < known) {
        let mut theirs = Side::new(bytes, step);
        let kind = theirs.found().kind();
        if matches!(kind, GC | SKIP) {
            // It agrees with anything, and may stand for very much.
            before.known = Some(kind == GC);
            continue;
        }
        let (mut clock, end) = (theirs.step.clock, theirs.step.end().min(known));
        while clock < end {
            let mut passed = 0;
            while found.as_ref().is_none_or(|found| found.step.end() <= clock) {
                if passed == PASSED_MAX {
                    ours = log.steps_from(clock);
                }
                passed += 1;
                let (bytes, step) = ours.next()?;
                found = Some(Side::new(bytes, step));
            }
            let found = found.as_mut()?;
            let to = found.step.end().min(end);
            if !theirs.agrees(found, section.client, clock, to, &mut before) {
                return Some(clock);
            }
            clock = to;
            if kind == DELETED {
                match looks.checked_sub(1) {
                    Some(left) => *looks = left,
                    None => break,
                }
            }
        }
    }
    None
}

/// What stands before the unit that is compared next.
struct Before<'a> {
    log: &'a Log,
    /// The first clock that is compared.
    at: u32,
    /// Whether it is, or may have been, half a character, as both have it; not looked up at first, since it is hardly ever asked for.
    known: Option<bool>,
}

impl Before<'_> {
    fn is_half(&self) -> bool {
        self.known.unwrap_or_else(|| {
            let before = self.at.checked_sub(1);
            let looked_up = before.and_then(|clock| {
                let (bytes, step) = self.log.steps_from(clock).next()?;
                let mut side = Side::new(bytes, step);
                Some(match side.found().kind() {
                    STRING => side.units_at(clock)?.next()? == HALF,
                    kind => matches!(kind, GC | DELETED),
                })
            });
            looked_up == Some(true)
        })
    }
}

/// A struct, and how far its content was compared.
struct Side<'a> {
    bytes: &'a [u8],
    step: Step,
    units: Option<EncodeUtf16<'a>>,
    values: Option<Reader<'a>>,
    /// The clock whose content comes next.
    at: u32,
}

impl<'a> Side<'a> {
    fn new(bytes: &'a [u8], step: Step) -> Self {
        let at = step.clock;
        Self {
            bytes,
            step,
            units: None,
            values: None,
            at,
        }
    }

    fn found(&self) -> &Struct {
        &self.step.found
    }

    /// Whether both say the same of the clocks `from..to`, which both have.
    fn agrees(&mut self, other: &mut Self, client: u64, from: u32, to: u32, before: &mut Before<'_>) -> bool {
        let (kind, other_kind) = (self.found().kind(), other.found().kind());
        if (kind, other_kind) != (STRING, STRING) {
            // What it was is not known any more.
            before.known = Some([kind, other_kind].iter().any(|kind| matches!(*kind, GC | DELETED)));
        }
        if matches!(kind, GC | SKIP) || matches!(other_kind, GC | SKIP) {
            return true;
        }
        if !self.stands_like(other, client, from) {
            return false;
        }
        match (kind, other_kind) {
            (DELETED, _) | (_, DELETED) => true,
            // An earlier server kept old JSON as values.
            (JSON, ANY) => self.same_values_as_json(other, from, to),
            (ANY, JSON) => other.same_values_as_json(self, from, to),
            _ if kind != other_kind => false,
            (STRING, _) => self.same_text(other, from, to, before),
            (ANY | JSON, _) => self.same_values(other, kind, from, to),
            _ => same_content(kind, self.content(), other.content()),
        }
    }

    /// Whether both name the same neighbours and place at clock `from`.
    fn stands_like(&self, other: &Self, client: u64, from: u32) -> bool {
        let origin = |side: &Self| {
            if side.step.clock == from {
                side.found().origin
            } else {
                Some(Id {
                    client,
                    clock: from - 1,
                })
            }
        };
        if origin(self) != origin(other) || self.found().right_origin != other.found().right_origin {
            return false;
        }
        if origin(self).is_some() || self.found().right_origin.is_some() {
            return true;
        }
        let names = |side: &Self| {
            let named = structs::named(side.bytes, side.step.at);
            (named.root, named.key)
        };
        self.found().parent == other.found().parent && names(self) == names(other)
    }

    fn content(&self) -> &'a [u8] {
        &self.bytes[self.step.found.content..self.step.to]
    }

    fn same_text(&mut self, other: &mut Self, from: u32, to: u32, before: &mut Before<'_>) -> bool {
        let (Some(mut mine), Some(mut theirs)) = (self.units_at(from), other.units_at(from)) else {
            return false;
        };
        let same = (from..to).all(|_| match (mine.next(), theirs.next()) {
            (Some(a), Some(b)) => {
                let is_taken_for_half = (a == HALF || b == HALF) && before.is_half();
                before.known = Some(a == HALF && b == HALF);
                a == b || is_cut_half(a, b) || is_cut_half(b, a) || is_taken_for_half
            }
            _ => false,
        });
        (self.units, self.at) = (Some(mine), to);
        (other.units, other.at) = (Some(theirs), to);
        same
    }

    /// The text from clock `from` on.
    fn units_at(&mut self, from: u32) -> Option<EncodeUtf16<'a>> {
        let mut units = match self.units.take() {
            Some(units) => units,
            None => {
                let text = Reader::starting_at(self.bytes, self.step.found.content)
                    .var_string()
                    .ok()?;
                text.encode_utf16()
            }
        };
        let skip = (from - self.at) as usize;
        if skip > 0 {
            units.nth(skip - 1)?;
        }
        Some(units)
    }

    fn same_values(&mut self, other: &mut Self, kind: u8, from: u32, to: u32) -> bool {
        let (Some(mut mine), Some(mut theirs)) = (self.values_at(kind, from), other.values_at(kind, from)) else {
            return false;
        };
        let same = (from..to).all(|clock| {
            match (
                self.value(&mut mine, kind, clock),
                other.value(&mut theirs, kind, clock),
            ) {
                (Some(a), Some(b)) => {
                    a == b || (kind == ANY && same_any(a, b)) || (kind == JSON && same_json(tail(a), tail(b)))
                }
                _ => false,
            }
        });
        (self.values, self.at) = (Some(mine), to);
        (other.values, other.at) = (Some(theirs), to);
        same
    }

    /// The same of old JSON and values.
    fn same_values_as_json(&mut self, values: &mut Self, from: u32, to: u32) -> bool {
        let (Some(mut json), Some(mut any)) = (self.values_at(JSON, from), values.values_at(ANY, from)) else {
            return false;
        };
        let same =
            (from..to).all(
                |clock| match (self.value(&mut json, JSON, clock), values.value(&mut any, ANY, clock)) {
                    (Some(json), Some(any)) => is_json_of(tail(json), any),
                    _ => false,
                },
            );
        (self.values, self.at) = (Some(json), to);
        (values.values, values.at) = (Some(any), to);
        same
    }

    /// The bytes of the value at a clock, which `r` is at. The last one is what is left: it may be very long.
    fn value(&self, r: &mut Reader<'a>, kind: u8, clock: u32) -> Option<&'a [u8]> {
        if clock + 1 == self.step.end() {
            return r.take(self.step.to.checked_sub(r.position())?).ok();
        }
        value(r, kind)
    }

    fn values_at(&mut self, kind: u8, from: u32) -> Option<Reader<'a>> {
        let mut values = match self.values.take() {
            Some(values) => values,
            None => {
                let mut r = Reader::starting_at(self.bytes, self.step.found.content);
                r.count(1).ok()?;
                r
            }
        };
        for _ in self.at..from {
            value(&mut values, kind)?;
        }
        Some(values)
    }
}

/// What Yjs writes for half of a surrogate pair.
const HALF: u16 = 0xfffd;

/// Whether a unit stands for another one that was half of a pair: Yjs writes it where it cuts a pair.
fn is_cut_half(written: u16, unit: u16) -> bool {
    written == HALF && (0xd800..0xe000).contains(&unit)
}

/// The bytes of the next value.
fn value<'a>(r: &mut Reader<'a>, kind: u8) -> Option<&'a [u8]> {
    let mut after = r.clone();
    if kind == ANY {
        structs::any::<false>(&mut after).ok()?;
    } else {
        after.var_bytes().ok()?;
    }
    r.take(after.position() - r.position()).ok()
}

/// What follows the length of a string or buffer.
fn tail(bytes: &[u8]) -> &[u8] {
    Reader::new(bytes).var_bytes().unwrap_or_default()
}

fn same_content(kind: u8, a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    let (mut a, mut b) = (Reader::new(a), Reader::new(b));
    let mut next = || Some((a.var_bytes().ok()?, b.var_bytes().ok()?));
    match kind {
        EMBED => next().is_some_and(|(a, b)| same_json(a, b)),
        FORMAT => next().is_some_and(|(a, b)| a == b) && next().is_some_and(|(a, b)| same_json(a, b)),
        // The options of a sub-document may change; its name is what it is.
        DOC => next().is_some_and(|(a, b)| a == b),
        _ => false,
    }
}

/// A value of so many bytes may be written in any way.
const SHORT_BYTES: usize = 1_024;
/// What may be the same differs in length by this factor at most.
const SAME_FACTOR: usize = 64;
/// What is taken is so many times as long as a client writes it again at most: what this is measured by may be shorter than
/// what a client writes, by less than half.
const WASTE_FACTOR: usize = SAME_FACTOR / 2;

/// Whether both may be the same value, written otherwise: a number may have 300 digits or 5. What is much longer is not
/// read, or a few bytes would cost what somebody's longest value costs; [`is_wasteful`] keeps out what would be the same.
fn may_be_same(a: &[u8], b: &[u8]) -> bool {
    let (short, long) = (a.len().min(b.len()), a.len().max(b.len()));
    long <= SHORT_BYTES + SAME_FACTOR * short
}

/// Whether a struct holds a value that is much longer than what a client writes that has read it (spaces, digits without
/// a meaning, keys that come twice): whoever sends it on would be taken for a page that writes something else. Linear.
#[inline]
pub(super) fn is_wasteful(kind: u8, content: &[u8]) -> bool {
    content.len() > SHORT_BYTES && holds_waste(kind, content).unwrap_or(false)
}

fn holds_waste(kind: u8, content: &[u8]) -> Option<bool> {
    let mut r = Reader::new(content);
    let is_waste = |long: usize, short: usize| long > SHORT_BYTES + WASTE_FACTOR * short;
    let is_waste_as_json =
        |json: &[u8]| Some(json.len() > SHORT_BYTES && is_waste(json.len(), same::kept_json_bytes(json)?));
    match kind {
        EMBED => is_waste_as_json(r.var_bytes().ok()?),
        FORMAT => {
            r.var_bytes().ok()?;
            is_waste_as_json(r.var_bytes().ok()?)
        }
        ANY | JSON => {
            for _ in 0..r.count(1).ok()? {
                let one = value(&mut r, kind)?;
                let is_waste = match kind {
                    _ if one.len() <= SHORT_BYTES => false,
                    ANY => is_waste(one.len(), kept_bytes(&mut Reader::new(one))?),
                    _ => tail(one) != b"undefined" && is_waste_as_json(tail(one))?,
                };
                if is_waste {
                    return Some(true);
                }
            }
            Some(false)
        }
        _ => None,
    }
}

/// How long an `Any` is at least when a client writes it that has read it: without what a later entry of the same key replaces, and
/// with its numbers as short as they can be. It nests at most `ANY_DEPTH_MAX` deep.
fn kept_bytes(r: &mut Reader) -> Option<usize> {
    let from = r.position();
    let tag = r.clone().byte().ok()?;
    if !matches!(tag, 117 | 118) {
        structs::any::<false>(r).ok()?;
        let bytes = r.position() - from;
        return Some(if matches!(tag, 123..=125) { bytes.min(2) } else { bytes });
    }
    r.byte().ok()?;
    let count = r.count(1).ok()?;
    let own = r.position() - from;
    if tag == 117 {
        return (0..count).try_fold(own, |sum, _| Some(sum + kept_bytes(r)?));
    }
    // Where each key begins and ends, and what its entry takes: a value may have millions.
    let mut entries: Vec<[u32; 3]> = Vec::with_capacity(count);
    let all = r.clone();
    for _ in 0..count {
        let from = r.position();
        r.var_bytes().ok()?;
        let key_to = r.position();
        let bytes = key_to - from + kept_bytes(r)?;
        entries.push([from, key_to, bytes].map(|number| u32::try_from(number).unwrap_or(u32::MAX)));
    }
    let key = |entry: &[u32; 3]| {
        let [from, to] = [entry[0], entry[1]].map(|at| at as usize);
        all.back_to(from).take(to - from).unwrap_or_default()
    };
    entries.sort_unstable_by(|one, other| key(one).cmp(key(other)).then(one[0].cmp(&other[0])));
    // The last one of a key holds.
    let is_last = |index: usize| {
        entries
            .get(index + 1)
            .is_none_or(|next| key(next) != key(&entries[index]))
    };
    let kept = (0..entries.len()).filter(|index| is_last(*index));
    Some(own + kept.map(|index| entries[index][2] as usize).sum::<usize>())
}

/// Whether both are the same JSON, written otherwise.
fn same_json(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    // The shorter one is the one of which an index is made.
    let [a, b] = if a.len() <= b.len() { [a, b] } else { [b, a] };
    may_be_same(a, b) && same::is_same_json(a, b)
}

/// Whether a value is what is left of JSON after yrs has read it.
fn is_json_of(json: &[u8], any: &[u8]) -> bool {
    if json == b"undefined" || any == [UNDEFINED] {
        return json == b"undefined" && any == [UNDEFINED];
    }
    may_be_same(json, any) && same::is_json_of(json, any)
}

const UNDEFINED: u8 = 127;

fn same_any(a: &[u8], b: &[u8]) -> bool {
    if !may_be_same(a, b) {
        return false;
    }
    let whole = if a.len() <= b.len() { [a, b] } else { [b, a] };
    let mut compared = Compared {
        whole,
        ends: [None, None],
    };
    compared.are_same() == Some(true)
}

/// Two values, which the gate has checked: they are gone through together. What is held for that, where the keys of an object are
/// in another order, is an index of it in the shorter one, and where lists and objects end.
struct Compared<'a> {
    /// The shorter one and the longer one.
    whole: [&'a [u8]; 2],
    ends: [Option<Vec<[u32; 2]>>; 2],
}

const SHORT: usize = 0;
const LONG: usize = 1;

/// A list or object that was not gone through to its end.
enum Open<'a> {
    /// So many values come.
    List(usize),
    /// So many of so many entries come, in one order in both as far as that was seen; it begins there.
    Object {
        left: usize,
        count: usize,
        from: [Reader<'a>; 2],
    },
    /// These begin the values that have to be the same, and what follows is there.
    Pairs {
        pairs: Vec<[u32; 2]>,
        then: [Reader<'a>; 2],
    },
}

/// An entry of an object.
#[derive(Clone, Copy)]
struct Entry {
    /// Where its key begins and ends, with its length.
    key: [u32; 2],
    /// Which of the entries it is.
    nth: u32,
    /// Where its value begins.
    value: u32,
}

impl<'a> Compared<'a> {
    /// Whether both are the same, whatever they are written as. `None` when one of them is no value.
    fn are_same(&mut self) -> Option<bool> {
        let [mut short, mut long] = self.whole.map(Reader::new);
        let mut open: Vec<Open> = Vec::new();
        loop {
            let tags = (short.byte().ok()?, long.byte().ok()?);
            let is_same = match tags {
                (123..=125, 123..=125) => {
                    let (a, b) = (number(tags.0, &mut short)?, number(tags.1, &mut long)?);
                    a == b || (a.is_nan() && b.is_nan())
                }
                (a, b) if a != b => false,
                (120 | 121 | 126 | 127, _) => true,
                (122, _) => short.take(8).ok()? == long.take(8).ok()?,
                (116 | 119, _) => short.var_bytes().ok()? == long.var_bytes().ok()?,
                (117, _) => {
                    let (count, other) = (short.count(1).ok()?, long.count(1).ok()?);
                    open.push(Open::List(count));
                    count == other
                }
                (118, _) => {
                    let (count, other) = (short.count(2).ok()?, long.count(2).ok()?);
                    if count == other {
                        let from = [short.clone(), long.clone()];
                        let left = count;
                        open.push(Open::Object { left, count, from });
                        true
                    } else {
                        // Keys may come twice.
                        let pairs = self.pairs([&mut short, &mut long], [count, other], 0)?;
                        let then = [short.clone(), long.clone()];
                        let is_same = pairs.is_some();
                        let pairs = pairs.unwrap_or_default();
                        open.push(Open::Pairs { pairs, then });
                        is_same
                    }
                }
                _ => return None,
            };
            if !is_same {
                return Some(false);
            }
            loop {
                match open.last_mut() {
                    None => return Some(true),
                    Some(Open::List(0) | Open::Object { left: 0, .. }) => {
                        open.pop();
                    }
                    Some(Open::List(left)) => {
                        *left -= 1;
                        break;
                    }
                    Some(Open::Object { left, count, from }) => {
                        if short.var_bytes().ok()? == long.var_bytes().ok()? {
                            *left -= 1;
                            break;
                        }
                        let (count, same) = (*count, *count - *left);
                        [short, long] = from.clone();
                        open.pop();
                        let Some(pairs) = self.pairs([&mut short, &mut long], [count, count], same)? else {
                            return Some(false);
                        };
                        let then = [short.clone(), long.clone()];
                        open.push(Open::Pairs { pairs, then });
                    }
                    Some(Open::Pairs { pairs, then }) => {
                        if let Some([a, b]) = pairs.pop() {
                            (short, long) = (short.back_to(a as usize), long.back_to(b as usize));
                            break;
                        }
                        [short, long] = then.clone();
                        open.pop();
                    }
                }
            }
        }
    }

    /// The values that have to be the same of two objects with so many entries, of which the first `same` have the same keys and
    /// values. The last one of a key holds. `None` when their keys differ.
    #[expect(clippy::option_option, reason = "the outer one is of what is no value")]
    fn pairs(
        &mut self,
        [short, long]: [&mut Reader<'a>; 2],
        [count, long_count]: [usize; 2],
        same: usize,
    ) -> Option<Option<Vec<[u32; 2]>>> {
        let mut index: Vec<Entry> = Vec::with_capacity(count);
        for nth in 0..count {
            index.push(self.entry(SHORT, short, nth)?);
        }
        let bytes = self.whole[SHORT];
        let key = |entry: &Entry| &bytes[entry.key[0] as usize..entry.key[1] as usize];
        index.sort_unstable_by(|a, b| key(a).cmp(key(b)).then(b.nth.cmp(&a.nth)));
        index.dedup_by(|next, kept| key(next) == key(kept));
        let mut found: Vec<Option<[u32; 2]>> = vec![None; index.len()];
        for nth in 0..long_count {
            let entry = self.entry(LONG, long, nth)?;
            let wanted = &self.whole[LONG][entry.key[0] as usize..entry.key[1] as usize];
            let Ok(at) = index.binary_search_by(|known| key(known).cmp(wanted)) else {
                return Some(None);
            };
            found[at] = Some([entry.nth, entry.value]);
        }
        let mut pairs = Vec::new();
        for (entry, found) in index.iter().zip(found) {
            let Some([nth, value]) = found else {
                return Some(None);
            };
            if entry.nth != nth || entry.nth as usize >= same {
                pairs.push([entry.value, value]);
            }
        }
        Some(Some(pairs))
    }

    /// The entry that `r` is at.
    fn entry(&mut self, side: usize, r: &mut Reader<'a>, nth: usize) -> Option<Entry> {
        let from = r.position();
        r.var_bytes().ok()?;
        let value = r.position();
        let [from, value, nth] = [from, value, nth].map(u32::try_from);
        let (from, value, nth) = (from.ok()?, value.ok()?, nth.ok()?);
        if matches!(r.clone().byte().ok()?, 117 | 118) {
            if self.ends[side].is_none() {
                self.ends[side] = ends(self.whole[side]);
            }
            let ends = self.ends[side].as_ref()?;
            let at = ends.binary_search_by_key(&value, |[from, _]| *from).ok()?;
            *r = r.back_to(ends[at][1] as usize);
        } else {
            structs::any::<false>(r).ok()?;
        }
        Some(Entry {
            key: [from, value],
            nth,
            value,
        })
    }
}

/// Where each list and object of an `Any` begins and ends, in their order: what is nested is not gone through once for each level.
fn ends(bytes: &[u8]) -> Option<Vec<[u32; 2]>> {
    let (mut r, mut ends) = (Reader::new(bytes), Vec::new());
    // Which it is, values that it still has, and whether they have keys.
    let mut open: Vec<(usize, usize, bool)> = Vec::new();
    loop {
        let tag = r.clone().byte().ok()?;
        if matches!(tag, 117 | 118) {
            let from = u32::try_from(r.position()).ok()?;
            r.byte().ok()?;
            open.push((ends.len(), r.count(1).ok()?, tag == 118));
            ends.push([from, 0]);
        } else {
            structs::any::<false>(&mut r).ok()?;
        }
        loop {
            match open.last_mut() {
                None => return Some(ends),
                Some((which, 0, _)) => {
                    ends[*which][1] = u32::try_from(r.position()).ok()?;
                    open.pop();
                }
                Some((_, left, has_keys)) => {
                    *left -= 1;
                    if *has_keys {
                        r.var_bytes().ok()?;
                    }
                    break;
                }
            }
        }
    }
}

/// The number that follows its tag.
fn number(tag: u8, r: &mut Reader) -> Option<f64> {
    Some(match tag {
        125 => r.var_int().ok()? as f64,
        124 => f64::from(f32::from_be_bytes(r.take(4).ok()?.try_into().ok()?)),
        _ => f64::from_be_bytes(r.take(8).ok()?.try_into().ok()?),
    })
}
