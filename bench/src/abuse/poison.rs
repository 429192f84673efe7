//! Updates and other bytes that no honest client sends.

use crate::wire::{var_bytes, var_uint};

/// `count` structs of `client`, from clock 0 on.
fn structs(client: u64, count: u64, each: impl Fn(u64, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![1];
    var_uint(&mut out, count);
    var_uint(&mut out, client);
    out.push(0);
    (0..count).for_each(|clock| each(clock, &mut out));
    out.push(0);
    out
}

/// Values beside each other: 6 bytes each, and a Yjs that joins them copies them over and over.
pub fn neighbours(client: u64, count: u64) -> Vec<u8> {
    structs(client, count, |clock, out| {
        match clock.checked_sub(1) {
            None => out.extend(b"\x08\x01\x01v"),
            Some(before) => {
                out.push(0x88);
                var_uint(out, client);
                var_uint(out, before);
            }
        }
        out.extend([1, 125, 1]);
    })
}

/// Values of one key, each of which replaces the one before.
pub fn contested(client: u64, count: u64) -> Vec<u8> {
    structs(client, count, |clock, out| {
        match clock.checked_sub(1) {
            None => out.extend(b"\x28\x01\x01m\x01k"),
            Some(before) => {
                out.push(0xa8);
                var_uint(out, client);
                var_uint(out, before);
            }
        }
        out.extend([1, 125, 1]);
    })
}

/// One letter each of so many clients.
pub fn crowd(first: u64, count: u64) -> Vec<u8> {
    let mut out = Vec::new();
    var_uint(&mut out, count);
    for client in (first..first + count).rev() {
        out.push(1);
        var_uint(&mut out, client);
        out.extend(b"\x00\x04\x01\x01c\x01x");
    }
    out.push(0);
    out
}

/// A map's value under `key` that is an object with that key again, and bytes in it: a Yjs that has taken `__proto__` can
/// never write its document again.
pub fn keyed(client: u64, key: &str) -> Vec<u8> {
    let mut out = vec![1, 1];
    var_uint(&mut out, client);
    out.extend(b"\x00\x28\x01\x01m");
    var_bytes(&mut out, key.as_bytes());
    out.extend([1, 0x76, 1]);
    var_bytes(&mut out, key.as_bytes());
    out.extend([0x74, 2, 1, 2, 0]);
    out
}

/// A letter of `client` at `clock`, behind the one before.
pub fn letter(client: u64, clock: u64) -> Vec<u8> {
    let mut out = Vec::new();
    crate::wire::insert(&mut out, client, clock, clock.checked_sub(1), None, b"!");
    out
}

/// So many deletions of single letters of `client`.
pub fn holes(client: u64, count: u64) -> Vec<u8> {
    let mut out = vec![0, 1];
    var_uint(&mut out, client);
    var_uint(&mut out, count);
    for n in 0..count {
        var_uint(&mut out, 2 * n);
        out.push(1);
    }
    out
}

/// A state vector of `count` clients, of whom nobody has heard as a rule.
pub fn odd_vector(seed: u64, count: u64) -> Vec<u8> {
    let mut out = Vec::new();
    var_uint(&mut out, count);
    for n in 0..count {
        var_uint(&mut out, seed.wrapping_add(n * 7_919) % (1 << 32));
        var_uint(&mut out, seed % 1_000 + n);
    }
    out
}

/// JSON arrays in each other.
pub fn nested(depth: usize) -> Vec<u8> {
    [vec![b'['; depth], vec![b']'; depth]].concat()
}

/// What claims more than it has.
pub fn rubbish(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let length = (seed % 300) as usize + 1;
    let mut bytes: Vec<u8> = (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            (state >> 56) as u8
        })
        .collect();
    bytes[0] = [0, 0, 1, 3, 102][(seed % 5) as usize];
    bytes
}
