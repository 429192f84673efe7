//! A part of a struct, as Yjs writes it when it splits one.

use super::Id;
use super::structs::{self, ANY, DELETED, GC, HAS_KEY, HAS_ORIGIN, HAS_RIGHT_ORIGIN, JSON, SKIP, STRING, Struct};
use crate::protocol::lib0::{Reader, write_var_bytes, write_var_uint};

/// U+FFFD, which stands for half of a surrogate pair.
const REPLACEMENT: &str = "\u{fffd}";

/// One struct among the bytes that hold it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole<'a> {
    /// The buffer that `at`, `to` and the offsets of `found` count in.
    pub bytes: &'a [u8],
    /// Its first byte.
    pub at: usize,
    /// The byte after its last.
    pub to: usize,
    pub found: &'a Struct,
    pub id: Id,
}

impl<'a> Whole<'a> {
    /// Its bytes.
    pub fn bytes(&self) -> &'a [u8] {
        &self.bytes[self.at..self.to]
    }

    /// Whether its origin is the clock before it: what its author wrote next.
    pub fn continues_before(&self) -> bool {
        let Id { client, clock } = self.id;
        self.found
            .origin
            .is_some_and(|origin| origin.client == client && origin.clock + 1 == clock)
    }

    /// Appends `keep` of its clocks, after the first `skip`, to `out`; both together are at most its length.
    /// Half of a surrogate pair becomes U+FFFD. `None` when it covers one clock and so cannot be cut.
    pub fn piece(&self, skip: u32, keep: u32, out: &mut Vec<u8>) -> Option<()> {
        let found = self.found;
        if skip == 0 && keep == found.len {
            out.extend_from_slice(self.bytes());
            return Some(());
        }
        self.header(found.kind(), skip, out);
        let mut r = Reader::starting_at(self.bytes, found.content);
        match found.kind() {
            GC | SKIP | DELETED => write_var_uint(out, u64::from(keep)),
            STRING => {
                let text = r.var_string().ok()?;
                let (from, halved) = utf16_position(text, skip);
                let begins = if halved { REPLACEMENT } else { "" };
                let rest = &text[from..];
                let units = keep - u32::from(halved);
                let (to, halves) = utf16_position(rest, units);
                // Of a character that is cut the first half is here.
                let last = || rest[..to].char_indices().next_back().map_or(0, |(at, _)| at);
                let to = if halves { last() } else { to };
                let ends = if halves { REPLACEMENT } else { "" };
                write_var_uint(out, (begins.len() + to + ends.len()) as u64);
                out.extend_from_slice(begins.as_bytes());
                out.extend_from_slice(&rest.as_bytes()[..to]);
                out.extend_from_slice(ends.as_bytes());
            }
            ANY | JSON => {
                r.count(1).ok()?;
                let value = |r: &mut Reader| {
                    if found.kind() == ANY {
                        structs::any::<false>(r).ok()
                    } else {
                        r.var_bytes().ok().map(drop)
                    }
                };
                for _ in 0..skip {
                    value(&mut r)?;
                }
                let from = r.position();
                for _ in 0..keep {
                    value(&mut r)?;
                }
                write_var_uint(out, u64::from(keep));
                out.extend_from_slice(self.bytes.get(from..r.position())?);
            }
            _ => return None,
        }
        Some(())
    }

    /// Appends `keep` of its clocks, after the first `skip`, as deleted.
    pub fn deleted(&self, skip: u32, keep: u32, out: &mut Vec<u8>) {
        self.header(DELETED, skip, out);
        write_var_uint(out, u64::from(keep));
    }

    /// The header of what follows the first `skip` clocks, with `kind` for its content.
    pub fn header(&self, kind: u8, skip: u32, out: &mut Vec<u8>) {
        if matches!(self.found.kind(), GC | SKIP) {
            out.push(self.found.kind());
        } else if skip == 0 {
            out.push(self.found.info & !structs::CONTENT_BITS | kind);
            out.extend_from_slice(&self.bytes[self.at + 1..self.found.content]);
        } else {
            out.push(kind | HAS_ORIGIN | self.found.info & (HAS_RIGHT_ORIGIN | HAS_KEY));
            write_var_uint(out, self.id.client);
            write_var_uint(out, u64::from(self.id.clock + skip - 1));
            if let Some(right) = self.found.right_origin {
                write_var_uint(out, right.client);
                write_var_uint(out, u64::from(right.clock));
            }
        }
    }

    /// Cuts it into pieces of at most about `bytes_max` that mean the same, each with the clocks it covers, and
    /// hands them to `take`. Text is cut between characters. Says whether it did: one that is not longer, or cannot
    /// be cut, is left to the caller.
    ///
    /// Linear in its bytes.
    pub fn chop(&self, bytes_max: usize, mut take: impl FnMut(u32, &[u8])) -> bool {
        let found = self.found;
        if self.to - self.at <= bytes_max || found.len == 1 {
            return false;
        }
        let mut r = Reader::starting_at(self.bytes, found.content);
        let mut skip = 0;
        let mut out = Vec::new();
        match found.kind() {
            STRING => {
                let Ok(mut rest) = r.var_string() else { return false };
                while !rest.is_empty() {
                    let end = floor(rest, bytes_max.max(4).min(rest.len()));
                    let (piece, after) = rest.split_at(end);
                    out.clear();
                    self.header(STRING, skip, &mut out);
                    write_var_bytes(&mut out, piece.as_bytes());
                    let units = crate::protocol::lib0::utf16_len(piece.as_bytes()) as u32;
                    take(units, &out);
                    skip += units;
                    rest = after;
                }
            }
            kind @ (ANY | JSON) => {
                if r.count(1).is_err() {
                    return false;
                }
                while skip < found.len {
                    let (from, mut keep) = (r.position(), 0);
                    while skip + keep < found.len {
                        let before = r.position();
                        let read = if kind == ANY {
                            structs::any::<false>(&mut r).is_ok()
                        } else {
                            r.var_bytes().is_ok()
                        };
                        if !read {
                            return false;
                        }
                        if keep > 0 && r.position() - from > bytes_max {
                            r = r.back_to(before);
                            break;
                        }
                        keep += 1;
                    }
                    out.clear();
                    self.header(kind, skip, &mut out);
                    write_var_uint(&mut out, u64::from(keep));
                    out.extend_from_slice(&self.bytes[from..r.position()]);
                    take(keep, &out);
                    skip += keep;
                }
            }
            _ => return false,
        }
        true
    }
}

/// The last position up to `at` that is between characters.
fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The byte after the first `units` UTF-16 units of `text`, and whether that is the middle of a pair: then the
/// position is after the whole character.
fn utf16_position(text: &str, units: u32) -> (usize, bool) {
    let units = units as usize;
    if text.as_bytes().get(..units).is_some_and(<[u8]>::is_ascii) {
        return (units, false);
    }
    let mut left = units;
    for (at, character) in text.char_indices() {
        if left == 0 {
            return (at, false);
        }
        if left < character.len_utf16() {
            return (at + character.len_utf8(), true);
        }
        left -= character.len_utf16();
    }
    (text.len(), false)
}
