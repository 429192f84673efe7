//! Updates that can be decoded and that nobody honest writes: whatever chooses, at random or byte by byte, chooses one.
//!
//! Their references mostly exist, so that most of them get through the gate, and mostly make no sense.

use cowrite::protocol::lib0::{write_var_bytes, write_var_int, write_var_uint};
use cowrite::protocol::update::{Clocks, Id};

/// What chooses.
pub trait Dice {
    /// Any number.
    fn next(&mut self) -> u64;

    /// A number below `n`; 0 when `n` is.
    fn below(&mut self, n: u64) -> u64;

    /// One in `n`.
    fn chance(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `all`, which are not none.
    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }
}

/// The bytes of an input choose. When they are used up, it is always the first.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    /// Whether they are used up.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next one.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }
}

impl Dice for Choices<'_> {
    fn next(&mut self) -> u64 {
        (0..8).fold(0, |value, _| value << 8 | u64::from(self.byte()))
    }

    fn below(&mut self, n: u64) -> u64 {
        match n {
            0 | 1 => 0,
            2..=256 => u64::from(self.byte()) % n,
            _ => self.next() % n,
        }
    }
}

/// Where counting may go wrong.
pub const HUGE: [u64; 8] = [
    1 << 7,
    1 << 28,
    (1 << 31) - 2,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    (1 << 53) - 1,
    1 << 53,
];

/// A decodable update whose references mostly exist and mostly make no sense. `rights` is whether structs have right
/// origins.
pub fn forged(dice: &mut impl Dice, known: &Clocks, rights: bool) -> Vec<u8> {
    let mut clients: Vec<u64> = known.iter().map(|(client, _)| client).collect();
    clients.extend([1, 2, 3]);
    let huge = dice.chance(30);
    let mut sections: Vec<(u64, u64)> = Vec::new();
    for _ in 0..1 + dice.below(3) {
        let client = dice.of(&clients);
        if sections.iter().all(|(other, _)| *other != client) {
            let next = u64::from(known.next(client));
            let start = match dice.below(12) {
                0 => next.saturating_sub(dice.below(6)),
                1 => next + dice.below(3),
                2 if huge => dice.of(&HUGE),
                _ => next,
            };
            sections.push((client, start));
        }
    }
    sections.sort_unstable_by_key(|(client, _)| std::cmp::Reverse(*client));
    let mut world = World {
        known,
        rights,
        clients,
        written: sections.clone(),
    };

    let mut out = Vec::new();
    write_var_uint(&mut out, sections.len() as u64);
    for (index, (client, start)) in sections.iter().enumerate() {
        let count = 1 + dice.below(5);
        write_var_uint(&mut out, count);
        write_var_uint(&mut out, *client);
        write_var_uint(&mut out, *start);
        for _ in 0..count {
            let len = forged_struct(dice, &world, huge, &mut out);
            world.written[index].1 += len;
        }
    }
    let deleting = if dice.chance(3) { 1 + dice.below(3) } else { 0 };
    let mut deleted: Vec<u64> = (0..deleting).map(|_| dice.of(&world.clients)).collect();
    deleted.sort_unstable();
    deleted.dedup();
    write_var_uint(&mut out, deleted.len() as u64);
    for client in deleted {
        write_var_uint(&mut out, client);
        let ranges = 1 + dice.below(3);
        write_var_uint(&mut out, ranges);
        let mut at = 0;
        for _ in 0..ranges {
            let end = world.end(client).max(1);
            at = if dice.chance(3) {
                dice.below(end)
            } else {
                (at + dice.below(end / 2 + 1)).min(end)
            };
            let len = if dice.chance(4) { end } else { 1 + dice.below(4) };
            write_var_uint(&mut out, at);
            write_var_uint(&mut out, len);
            at += len + 1;
        }
    }
    out
}

struct World<'a> {
    known: &'a Clocks,
    rights: bool,
    clients: Vec<u64>,
    /// How far the sections go so far.
    written: Vec<(u64, u64)>,
}

impl World<'_> {
    fn end(&self, client: u64) -> u64 {
        let known = u64::from(self.known.next(client));
        self.written
            .iter()
            .find(|(other, _)| *other == client)
            .map_or(known, |(_, end)| *end)
    }

    fn id(&self, dice: &mut impl Dice) -> Id {
        let client = dice.of(&self.clients);
        let end = self.end(client);
        // The end of what is there, where types and fresh text are, more often than the rest.
        let clock = match dice.below(8) {
            0..4 => end.saturating_sub(1 + dice.below(6)),
            4 if dice.chance(8) => end + dice.below(2),
            _ => dice.below(end),
        };
        Id {
            client,
            clock: clock.min(u64::from(u32::MAX)) as u32,
        }
    }
}

fn write_id(out: &mut Vec<u8>, id: Id) {
    write_var_uint(out, id.client);
    write_var_uint(out, u64::from(id.clock));
}

/// Appends one struct and returns how many clocks it covers.
fn forged_struct(dice: &mut impl Dice, world: &World, huge: bool, out: &mut Vec<u8>) -> u64 {
    match dice.below(40) {
        0 => {
            out.push(0);
            let len = length(dice, huge);
            write_var_uint(out, len);
            return len;
        }
        1 => {
            out.push(10);
            let len = length(dice, huge);
            write_var_uint(out, len);
            return len;
        }
        _ => {}
    }
    let kind = dice.of(&[1, 3, 4, 4, 4, 5, 6, 6, 7, 7, 7, 7, 8, 8, 9, 2]);
    let mut flags = dice.of(&[0u8, 0, 0, 0x80, 0x80, 0x40, 0xc0, 0xc0]) | dice.of(&[0, 0x20]);
    if !world.rights {
        flags &= !0x40;
    }
    out.push(kind | flags);
    if flags & 0x80 != 0 {
        write_id(out, world.id(dice));
    }
    if flags & 0x40 != 0 {
        write_id(out, world.id(dice));
    }
    if flags & 0xc0 == 0 {
        if dice.chance(3) {
            out.push(1);
            write_var_bytes(out, dice.of(&["text", "array", "map", "xml", "other"]).as_bytes());
        } else {
            out.push(0);
            write_id(out, world.id(dice));
        }
        if flags & 0x20 != 0 {
            write_var_bytes(out, dice.of(&["k", "title", "nested", ""]).as_bytes());
        }
    }
    match kind {
        1 => {
            let len = length(dice, huge);
            write_var_uint(out, len);
            len
        }
        2 => {
            let count = dice.below(3);
            write_var_uint(out, count);
            for _ in 0..count {
                write_var_bytes(out, dice.of(&["1", "undefined", "{\"a\":[null]}", "\"x\""]).as_bytes());
            }
            count
        }
        3 => {
            write_var_bytes(out, &[1, 2, 3]);
            1
        }
        4 => {
            let text = dice.of(&["a", "bc", "😀", "😀😀x", "ä€", "", "hello world"]);
            write_var_bytes(out, text.as_bytes());
            text.encode_utf16().count() as u64
        }
        5 => {
            write_var_bytes(out, dice.of(&["{\"i\":1}", "null", "1e5", "[\"\\ud83d\"]"]).as_bytes());
            1
        }
        6 => {
            write_var_bytes(out, dice.of(&["bold", "color", ""]).as_bytes());
            write_var_bytes(out, dice.of(&["true", "null", "\"red\""]).as_bytes());
            1
        }
        7 => {
            let kind = dice.of(&[0u8, 1, 2, 3, 4, 6, 0, 1, 2, 3, 4, 6, 5, 7, 9]);
            out.push(kind);
            if kind == 3 || kind == 5 {
                write_var_bytes(out, b"div");
            }
            1
        }
        8 => {
            let count = 1 + dice.below(3);
            write_var_uint(out, count);
            for _ in 0..count {
                match dice.below(4) {
                    0 => out.push(127),
                    1 => {
                        out.push(125);
                        write_var_int(out, dice.next() as i64 >> dice.below(64).max(11));
                    }
                    2 => {
                        out.push(119);
                        write_var_bytes(out, b"any");
                    }
                    _ => {
                        out.extend_from_slice(&[118, 1, 1, b'k', 117, 2, 126, 120]);
                    }
                }
            }
            count
        }
        _ => {
            write_var_bytes(out, dice.of(&["guid-a", "guid-b", "root", ""]).as_bytes());
            match dice.below(3) {
                0 => out.extend_from_slice(&[118, 0]),
                1 => out.extend_from_slice(&[118, 1, 8, b'a', b'u', b't', b'o', b'L', b'o', b'a', b'd', 120]),
                _ => out.extend_from_slice(&[118, 1, 2, b'g', b'c', 121]),
            }
            1
        }
    }
}

fn length(dice: &mut impl Dice, huge: bool) -> u64 {
    if huge && dice.chance(3) {
        dice.of(&HUGE)
    } else {
        1 + dice.below(4)
    }
}
