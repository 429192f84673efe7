//! Is what is known by number also known by content?
//!
//! A struct whose clock the document has is not taken again. That is right only if it is the same struct. Two pages
//! that write under one client id (a cloned tab, a restored virtual machine, somebody who wants to harm) give the same
//! clock to different structs, and the second one must not be called saved.
//!
//! What honest clients send again may differ in its bytes: it may be cut or joined elsewhere, deleted or collected;
//! half of a cut emoji is U+FFFD; JSON of other libraries is written anew by Yjs. None of that is a conflict.

use std::collections::BTreeMap;
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
    read::{
        Steps,
        values::{Canon, Precision},
    },
};

/// The first struct of `update` that the document has with another content. Linear in what both have of each other.
pub(super) fn conflict(document: &Document, update: &CheckedUpdate) -> Option<Id> {
    update.sections.iter().find_map(|section| {
        let known = section.end.min(document.clocks().next(section.client));
        if section.start >= known {
            return None;
        }
        let log = document.log(section.client)?;
        let clock = differs(log, update.bytes(), section, known)?;
        Some(Id {
            client: section.client,
            clock,
        })
    })
}

/// The first clock below `known` at which a section differs from the log.
fn differs(log: &Log, bytes: &[u8], section: &Section, known: u32) -> Option<u32> {
    let theirs = steps(&bytes[section.from..section.to], section.start);
    let mut theirs = theirs.map(|step| Side::new(&bytes[section.from..section.to], step));
    let mut ours = log
        .steps_from(section.start)
        .map(|(bytes, step)| Side::new(bytes, step));
    let (mut a, mut b) = (theirs.next()?, ours.next()?);
    let mut clock = section.start;
    while clock < known {
        let end = a.step.end().min(b.step.end());
        if !a.agrees(&mut b, section.client, clock, end) {
            return Some(clock);
        }
        clock = end;
        if a.step.end() == end {
            match theirs.next() {
                Some(next) => a = next,
                None => return None,
            }
        }
        if b.step.end() == end {
            match ours.next() {
                Some(next) => b = next,
                None => return None,
            }
        }
    }
    None
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
    fn agrees(&mut self, other: &mut Self, client: u64, from: u32, to: u32) -> bool {
        let (kind, other_kind) = (self.found().kind(), other.found().kind());
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
            (STRING, _) => self.same_text(other, from, to),
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

    fn same_text(&mut self, other: &mut Self, from: u32, to: u32) -> bool {
        let (Some(mut mine), Some(mut theirs)) = (self.units_at(from), other.units_at(from)) else {
            return false;
        };
        let same = (from..to).all(|_| match (mine.next(), theirs.next()) {
            (Some(a), Some(b)) => a == b || is_cut_half(a, b) || is_cut_half(b, a),
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
        let same = (from..to).all(|_| match (value(&mut mine, kind), value(&mut theirs, kind)) {
            (Some(a), Some(b)) => {
                a == b || (kind == ANY && same_any(a, b)) || (kind == JSON && same_json(tail(a), tail(b)))
            }
            _ => false,
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
        let same = (from..to).all(|_| match (value(&mut json, JSON), value(&mut any, ANY)) {
            (Some(json), Some(any)) => is_json_of(tail(json), any),
            _ => false,
        });
        (self.values, self.at) = (Some(json), to);
        (values.values, values.at) = (Some(any), to);
        same
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

/// Whether a unit stands for another one that was half of a pair: Yjs writes it where it cuts a pair.
fn is_cut_half(written: u16, unit: u16) -> bool {
    written == 0xfffd && (0xd800..0xe000).contains(&unit)
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
/// What is taken is so many times as long as a client writes it again at most: the canonical form that this is measured by
/// may be shorter than what a client writes, by less than half.
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
    let is_waste_as_json = |json: &[u8]| Some(json.len() > SHORT_BYTES && is_waste(json.len(), canonical(json)?.len()));
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

/// How long an `Any` is without what a later entry of the same key replaces. It nests at most `ANY_DEPTH_MAX` deep.
fn kept_bytes(r: &mut Reader) -> Option<usize> {
    let from = r.position();
    let tag = r.clone().byte().ok()?;
    if !matches!(tag, 117 | 118) {
        structs::any::<false>(r).ok()?;
        return Some(r.position() - from);
    }
    r.byte().ok()?;
    let count = r.count(1).ok()?;
    let own = r.position() - from;
    if tag == 117 {
        return (0..count).try_fold(own, |sum, _| Some(sum + kept_bytes(r)?));
    }
    let mut entry = |_| {
        let from = r.position();
        let key = r.var_bytes().ok()?;
        let key_bytes = r.position() - from;
        Some((key, key_bytes + kept_bytes(r)?))
    };
    let mut entries = (0..count).map(&mut entry).collect::<Option<Vec<_>>>()?;
    // The sort keeps the order of those that are equal: the last one holds.
    entries.sort_by_key(|(key, _)| *key);
    let is_last = |index: usize| entries.get(index + 1).is_none_or(|next| next.0 != entries[index].0);
    let kept = (0..entries.len()).filter(|index| is_last(*index));
    Some(own + kept.map(|index| entries[index].1).sum::<usize>())
}

/// JSON in the one form in which it can be compared.
fn canonical(json: &[u8]) -> Option<String> {
    let mut out = String::new();
    let mut steps = Steps::new(u64::MAX);
    let text = std::str::from_utf8(json).ok()?;
    Canon::new(&mut out, &mut steps, Precision::Yrs).json(text).ok()?;
    Some(out)
}

/// As `JSON.parse` reads them and `JSON.stringify` writes them again: -0 is 0, and half a pair is written in several ways.
fn same_json(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    if !may_be_same(a, b) {
        return false;
    }
    matches!((canonical(a), canonical(b)), (Some(a), Some(b)) if a == b)
}

/// Whether a value is what is left of JSON after yrs has read it.
fn is_json_of(json: &[u8], any: &[u8]) -> bool {
    if json == b"undefined" || any == [UNDEFINED] {
        return json == b"undefined" && any == [UNDEFINED];
    }
    if !may_be_same(json, any) {
        return false;
    }
    let as_json = || {
        let mut out = String::new();
        let mut steps = Steps::new(u64::MAX);
        let mut canon = Canon::new(&mut out, &mut steps, Precision::Yrs);
        canon.any(&mut Reader::new(any)).ok()?;
        // Once more, as the other side: a BigInt is written with all its digits.
        canonical(out.as_bytes())
    };
    let twice = || canonical(canonical(json)?.as_bytes());
    matches!((as_json(), twice()), (Some(a), Some(b)) if a == b)
}

const UNDEFINED: u8 = 127;

fn same_any(a: &[u8], b: &[u8]) -> bool {
    if !may_be_same(a, b) {
        return false;
    }
    let read = |bytes| Value::read(&mut Reader::new(bytes));
    matches!((read(a), read(b)), (Some(a), Some(b)) if a == b)
}

/// A value, whatever it is written as.
#[derive(Debug, PartialEq)]
enum Value {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    NotANumber,
    BigInt(Vec<u8>),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

impl Value {
    fn number(value: f64) -> Self {
        if value.is_nan() {
            Self::NotANumber
        } else {
            Self::Number(value)
        }
    }

    /// Reads an `Any`, which the gate has checked: it nests at most `ANY_DEPTH_MAX` deep.
    fn read(r: &mut Reader) -> Option<Self> {
        Some(match r.byte().ok()? {
            127 => Self::Undefined,
            126 => Self::Null,
            121 => Self::Bool(false),
            120 => Self::Bool(true),
            125 => Self::number(r.var_int().ok()? as f64),
            124 => Self::number(f64::from(f32::from_be_bytes(r.take(4).ok()?.try_into().ok()?))),
            123 => Self::number(f64::from_be_bytes(r.take(8).ok()?.try_into().ok()?)),
            122 => Self::BigInt(r.take(8).ok()?.to_vec()),
            119 => Self::Text(r.var_string().ok()?.to_owned()),
            116 => Self::Bytes(r.var_bytes().ok()?.to_vec()),
            117 => {
                let count = r.count(1).ok()?;
                Self::Array((0..count).map(|_| Self::read(r)).collect::<Option<_>>()?)
            }
            118 => {
                let count = r.count(2).ok()?;
                let entry = |r: &mut Reader| Some((r.var_string().ok()?.to_owned(), Self::read(r)?));
                Self::Object((0..count).map(|_| entry(r)).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}
