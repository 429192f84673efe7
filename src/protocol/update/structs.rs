//! One struct on the wire: an item, a garbage-collected range or a gap.
//!
//! The same reader serves twice. `CHECK = true` is the proof: every byte is looked at. `CHECK = false`
//! walks over bytes that were proven before and skips the costly parts (UTF-8, JSON); it still cannot
//! panic, it only may not notice.

use super::Id;
use crate::limits::ANY_DEPTH_MAX;
use crate::protocol::json;
use crate::protocol::lib0::{Malformed, Reader, utf8, utf16_len};
use smallvec::SmallVec;

pub(crate) const GC: u8 = 0;
pub(crate) const DELETED: u8 = 1;
pub(crate) const JSON: u8 = 2;
pub(crate) const BINARY: u8 = 3;
pub(crate) const STRING: u8 = 4;
pub(crate) const EMBED: u8 = 5;
pub(crate) const FORMAT: u8 = 6;
pub(crate) const TYPE: u8 = 7;
pub(crate) const ANY: u8 = 8;
pub(crate) const DOC: u8 = 9;
pub(crate) const SKIP: u8 = 10;

pub(crate) const HAS_ORIGIN: u8 = 0x80;
pub(crate) const HAS_RIGHT_ORIGIN: u8 = 0x40;
pub(crate) const HAS_KEY: u8 = 0x20;
pub(crate) const CONTENT_BITS: u8 = 0x1f;

/// The clock after the last one of a client: Yjs and yrs both do signed 32-bit arithmetic with it.
pub(crate) const CLOCK_MAX: u64 = i32::MAX as u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    /// The neighbours' parent: the item has an origin or a right origin.
    Neighbours,
    /// A root type, by name.
    Root,
    /// A nested type, by the item that holds it.
    Item(Id),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Struct {
    /// The first byte: flags and content kind.
    pub info: u8,
    /// How many clocks it covers; 0 only before repair.
    pub len: u32,
    pub origin: Option<Id>,
    pub right_origin: Option<Id>,
    pub parent: Parent,
    /// Whether it is an entry of a map: it names a key itself. (One with neighbours has theirs.)
    pub keyed: bool,
    /// It is a shared type: a text, or one in XML.
    pub holds_text: bool,
    /// Offset of the content, after the header.
    pub content: usize,
    /// It is empty: honest clients write that, and it says nothing.
    pub needs_repair: bool,
}

impl Struct {
    pub fn kind(&self) -> u8 {
        self.info & CONTENT_BITS
    }

    /// Everything that must exist before it: origin, right origin, parent.
    pub fn references(&self) -> impl Iterator<Item = Id> {
        let parent = match self.parent {
            Parent::Item(id) => Some(id),
            Parent::Neighbours | Parent::Root => None,
        };
        [self.origin, self.right_origin, parent].into_iter().flatten()
    }
}

/// Reads the struct that starts here.
#[inline]
pub(crate) fn read<const CHECK: bool>(r: &mut Reader) -> Result<Struct, Malformed> {
    let mut found = header::<CHECK>(r)?;
    if matches!(found.kind(), GC | SKIP) {
        found.len = len(r)?;
        found.needs_repair = found.len == 0;
    } else {
        content::<CHECK>(r, &mut found)?;
    }
    Ok(found)
}

/// The struct that starts here, was checked, and ends where the bytes do. Of its content no more is read than how many clocks
/// it has; the reader stays there.
pub(crate) fn read_last(r: &mut Reader) -> Result<Struct, Malformed> {
    let whole = r.clone();
    let mut found = header::<false>(r)?;
    match found.kind() {
        ANY | JSON => {
            let count = r.count(1)?;
            found.len = length(r, count)?;
        }
        BINARY | EMBED | FORMAT | DOC => found.len = 1,
        _ => {
            *r = whole;
            return read::<false>(r);
        }
    }
    Ok(found)
}

/// Reads what comes before the content of the struct that starts here; its length is not known.
#[inline]
pub(crate) fn header<const CHECK: bool>(r: &mut Reader) -> Result<Struct, Malformed> {
    let info = r.byte()?;
    let kind = info & CONTENT_BITS;
    let mut found = Struct {
        info,
        len: 0,
        origin: None,
        right_origin: None,
        parent: Parent::Neighbours,
        keyed: false,
        holds_text: false,
        content: r.position(),
        needs_repair: false,
    };
    if kind == GC || kind == SKIP {
        if info != kind {
            return Err(r.malformed("a gap with neighbours"));
        }
        return Ok(found);
    }
    if info & HAS_ORIGIN != 0 {
        found.origin = Some(id(r)?);
    }
    if info & HAS_RIGHT_ORIGIN != 0 {
        found.right_origin = Some(id(r)?);
    }
    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 {
        found.parent = match r.byte()? {
            0 => Parent::Item(id(r)?),
            1 => {
                string::<CHECK>(r)?;
                Parent::Root
            }
            _ => return Err(r.malformed("an unknown kind of parent")),
        };
        if info & HAS_KEY != 0 {
            string::<CHECK>(r)?;
            found.keyed = true;
        }
    }
    found.content = r.position();
    Ok(found)
}

#[inline]
fn content<const CHECK: bool>(r: &mut Reader, found: &mut Struct) -> Result<(), Malformed> {
    found.len = 1;
    match found.kind() {
        STRING => {
            let bytes = string::<CHECK>(r)?;
            found.len = length(r, utf16_len(bytes))?;
            found.needs_repair = found.len == 0;
        }
        DELETED => {
            found.len = len(r)?;
            found.needs_repair = found.len == 0;
        }
        ANY => {
            let count = r.count(1)?;
            for _ in 0..count {
                any::<CHECK>(r)?;
            }
            found.len = length(r, count)?;
            found.needs_repair = found.len == 0;
        }
        JSON => {
            let count = r.count(1)?;
            for _ in 0..count {
                let text = r.var_string()?;
                if CHECK && text != "undefined" {
                    json::check(text, ANY_DEPTH_MAX).map_err(|what| r.malformed(what))?;
                }
            }
            found.len = length(r, count)?;
            found.needs_repair = found.len == 0;
        }
        BINARY => {
            r.var_bytes()?;
        }
        EMBED => json_text::<CHECK>(r)?,
        FORMAT => {
            string::<CHECK>(r)?;
            json_text::<CHECK>(r)?;
        }
        TYPE => match r.byte()? {
            // Array, map, XML fragment; text, XML text.
            0 | 1 | 4 => {}
            2 | 6 => found.holds_text = true,
            // XML element and XML hook, with their names.
            3 | 5 => {
                string::<CHECK>(r)?;
            }
            _ => return Err(r.malformed("an unknown shared type")),
        },
        DOC => {
            string::<CHECK>(r)?;
            options::<CHECK>(r)?;
        }
        _ => return Err(r.malformed("an unknown kind of content")),
    }
    Ok(())
}

#[inline]
pub(crate) fn id(r: &mut Reader) -> Result<Id, Malformed> {
    let client = r.var_uint()?;
    let clock = r.var_uint()?;
    if clock >= CLOCK_MAX {
        return Err(r.malformed("a clock beyond 2^31 - 1"));
    }
    Ok(Id {
        client,
        clock: clock as u32,
    })
}

fn len(r: &mut Reader) -> Result<u32, Malformed> {
    let len = r.var_uint()?;
    if len > CLOCK_MAX {
        return Err(r.malformed("a length beyond 2^31 - 1"));
    }
    Ok(len as u32)
}

fn length(r: &Reader, len: usize) -> Result<u32, Malformed> {
    if len as u64 > CLOCK_MAX {
        Err(r.malformed("a length beyond 2^31 - 1"))
    } else {
        Ok(len as u32)
    }
}

#[inline]
fn string<'a, const CHECK: bool>(r: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let bytes = r.var_bytes()?;
    if CHECK && utf8(bytes).is_none() {
        return Err(r.malformed("a string that is not UTF-8"));
    }
    Ok(bytes)
}

fn json_text<const CHECK: bool>(r: &mut Reader) -> Result<(), Malformed> {
    let text = r.var_bytes()?;
    if CHECK {
        let text = utf8(text).ok_or_else(|| r.malformed("a string that is not UTF-8"))?;
        let quirks = json::check(text, ANY_DEPTH_MAX).map_err(|what| r.malformed(what))?;
        if quirks.prototype {
            return Err(r.refused("a key `__proto__`, which no client can keep aside"));
        }
    }
    Ok(())
}

/// The options of a sub-document. Yjs makes a document with them as they are: it throws where they are no object, and
/// later, in every client, where they replace what it relies on.
fn options<const CHECK: bool>(r: &mut Reader) -> Result<(), Malformed> {
    let from = r.position();
    if r.byte()? != ANY_MAP {
        return Err(r.malformed("sub-document options that are not an object"));
    }
    if CHECK {
        let mut entries = r.clone();
        for _ in 0..entries.count(2)? {
            if matches!(entries.var_bytes()?, b"guid" | b"gcFilter") {
                return Err(entries.refused("a sub-document option that no client writes"));
            }
            any::<false>(&mut entries)?;
        }
    }
    *r = r.back_to(from);
    any::<CHECK>(r)
}

const ANY_MAP: u8 = 118;

/// lib0 assigns each key of an object as it reads it. This one replaces the object's prototype instead, and Yjs
/// throws when it writes the object again, in every client that has it.
const PROTOTYPE: &[u8] = b"__proto__";

/// Reads over one `Any` value, however it is nested.
pub(crate) fn any<const CHECK: bool>(r: &mut Reader) -> Result<(), Malformed> {
    // The open containers: values still to come, and whether each has a key.
    let mut open: SmallVec<[(usize, bool); 8]> = SmallVec::new();
    loop {
        match r.byte()? {
            // undefined, null, true, false
            127 | 126 | 121 | 120 => {}
            125 => {
                r.var_int()?;
            }
            124 => {
                r.take(4)?;
            }
            123 | 122 => {
                r.take(8)?;
            }
            119 => {
                string::<CHECK>(r)?;
            }
            116 => {
                r.var_bytes()?;
            }
            tag @ (117 | ANY_MAP) => {
                let keyed = tag == ANY_MAP;
                let count = r.count(if keyed { 2 } else { 1 })?;
                if open.len() == ANY_DEPTH_MAX {
                    return Err(r.refused("a value nested too deeply"));
                }
                open.push((count, keyed));
            }
            _ => return Err(r.malformed("an unknown kind of value")),
        }
        loop {
            match open.last_mut() {
                None => return Ok(()),
                Some((0, _)) => {
                    open.pop();
                }
                Some((left, keyed)) => {
                    *left -= 1;
                    if *keyed && string::<CHECK>(r)? == PROTOTYPE && CHECK {
                        return Err(r.refused("a key `__proto__`, which no client can write again"));
                    }
                    break;
                }
            }
        }
    }
}

/// What a struct without neighbours names.
#[derive(Debug, Default)]
pub(crate) struct Named<'a> {
    /// The root type that it is in.
    pub root: Option<&'a str>,
    /// The key under which it stands.
    pub key: Option<&'a str>,
}

/// The names in the header of the struct at offset `at`, which was checked.
pub(crate) fn named(bytes: &[u8], at: usize) -> Named<'_> {
    let read = || -> Result<Named<'_>, Malformed> {
        let mut r = Reader::starting_at(bytes, at);
        let info = r.byte()?;
        if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) != 0 {
            return Ok(Named::default());
        }
        let root = match r.byte()? {
            0 => {
                id(&mut r)?;
                None
            }
            _ => Some(r.var_string()?),
        };
        let key = if info & HAS_KEY == 0 {
            None
        } else {
            Some(r.var_string()?)
        };
        Ok(Named { root, key })
    };
    read().unwrap_or_default()
}
