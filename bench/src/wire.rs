//! What goes over the wire: lib0 numbers, Yjs updates written by hand, markers, WebSocket frames.
//!
//! Every edit and every cursor carries a *marker*: `§`, three characters that name its author, four
//! that number it. Servers may merge updates, cut them, or wrap them; the marker is text to them and
//! arrives whole, so a receiver recognises each edit by looking for two bytes.

use std::net::{Ipv4Addr, SocketAddr};

use memchr::memmem;

/// Bytes of a marker.
pub const MARKER_BYTES: usize = 9;
/// The same in UTF-16 units, in which Yjs counts.
pub const MARKER_UNITS: u64 = 8;

const SIGN: &[u8; 2] = "§".as_bytes().first_chunk().unwrap();
const DIGITS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

/// The name of the shared text that everybody writes to.
const TEXT: &str = "t";

/// A number in lib0's variable length.
pub fn var_uint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes with their length before them.
pub fn var_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    var_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a number and moves `bytes` behind it.
pub fn read_var_uint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

/// Reads bytes with their length before them.
pub fn read_var_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(read_var_uint(bytes)?).ok()?;
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

/// The marker of edit `number` of `author`.
pub fn marker(author: usize, number: u32) -> [u8; MARKER_BYTES] {
    let digit = |value: usize, place: u32| DIGITS[value >> (6 * place) & 63];
    let number = number as usize;
    let mut out = [0; MARKER_BYTES];
    out[..2].copy_from_slice(SIGN);
    (0..3).for_each(|place| out[2 + place as usize] = digit(author, place));
    (0..4).for_each(|place| out[5 + place as usize] = digit(number, place));
    out
}

/// Finds markers.
pub struct Scanner {
    sign: memmem::Finder<'static>,
    value: [u8; 256],
}

impl Scanner {
    pub fn new() -> Self {
        let mut value = [0xff; 256];
        DIGITS
            .iter()
            .enumerate()
            .for_each(|(n, digit)| value[*digit as usize] = n as u8);
        Self {
            sign: memmem::Finder::new(SIGN),
            value,
        }
    }

    /// Calls `found(author, number)` for each marker, in their order.
    pub fn scan(&self, mut bytes: &[u8], mut found: impl FnMut(usize, u32)) {
        while let Some(at) = self.sign.find(bytes) {
            let Some(digits) = bytes[at + 2..].first_chunk::<7>() else {
                return;
            };
            let mut value = 0u64;
            let mut seen = 0;
            for (place, digit) in digits.iter().enumerate() {
                let digit = self.value[*digit as usize];
                seen |= digit;
                value |= u64::from(digit & 63) << (6 * place);
            }
            if seen < 64 {
                found((value & 0x3_ffff) as usize, (value >> 18) as u32);
                bytes = &bytes[at + MARKER_BYTES..];
            } else {
                bytes = &bytes[at + 2..];
            }
        }
    }
}

/// What `client` appends for the `number`th time at the end of what it wrote before: one string.
pub fn append(out: &mut Vec<u8>, client: u64, number: u32, text: &[u8], units: u64) {
    let clock = u64::from(number) * units;
    out.extend_from_slice(&[1, 1]);
    var_uint(out, client);
    var_uint(out, clock);
    if clock == 0 {
        out.extend_from_slice(&[0x04, 1]);
        var_bytes(out, TEXT.as_bytes());
    } else {
        out.push(0x84);
        var_uint(out, client);
        var_uint(out, clock - 1);
    }
    var_bytes(out, text);
    out.push(0);
}

/// A character typed somewhere: between the neighbours with these clocks, all of one client.
pub fn insert(out: &mut Vec<u8>, client: u64, clock: u64, left: Option<u64>, right: Option<u64>, text: &[u8]) {
    out.extend_from_slice(&[1, 1]);
    var_uint(out, client);
    var_uint(out, clock);
    item(out, client, left, right, text);
    out.push(0);
}

/// The struct alone, as [`insert`] writes it.
pub fn item(out: &mut Vec<u8>, client: u64, left: Option<u64>, right: Option<u64>, text: &[u8]) {
    out.push(0x04 | u8::from(left.is_some()) << 7 | u8::from(right.is_some()) << 6);
    for neighbour in [left, right].into_iter().flatten() {
        var_uint(out, client);
        var_uint(out, neighbour);
    }
    if left.is_none() && right.is_none() {
        out.push(1);
        var_bytes(out, TEXT.as_bytes());
    }
    var_bytes(out, text);
}

/// One character deleted.
pub fn delete(out: &mut Vec<u8>, client: u64, clock: u64) {
    out.extend_from_slice(&[0, 1]);
    var_uint(out, client);
    var_uint(out, 1);
    var_uint(out, clock);
    var_uint(out, 1);
}

/// `sub` is 0 for SyncStep1 (with a state vector), 1 for SyncStep2, 2 for an update.
pub fn sync(out: &mut Vec<u8>, sub: u8, body: &[u8]) {
    out.extend_from_slice(&[0, sub]);
    var_bytes(out, body);
}

/// An awareness message with one state.
pub fn awareness(out: &mut Vec<u8>, client: u64, clock: u32, json: &[u8]) {
    let mut payload = vec![1];
    var_uint(&mut payload, client);
    var_uint(&mut payload, u64::from(clock));
    var_bytes(&mut payload, json);
    out.push(1);
    var_bytes(out, &payload);
}

/// An awareness message: a cursor, with a marker in it.
pub fn cursor(out: &mut Vec<u8>, client: u64, clock: u32, marker: &[u8]) {
    let mut json = br##"{"user":{"name":"Ada","color":"#30bced"},"cursor":{"anchor":12,"head":"##.to_vec();
    json.push(b'"');
    json.extend_from_slice(marker);
    json.extend_from_slice(b"\"}}");
    awareness(out, client, clock, &json);
}

/// "Tell me when all that I sent is saved", as y-sweet's client says it.
pub fn saved_query(out: &mut Vec<u8>, number: u32) {
    let mut payload = Vec::with_capacity(5);
    var_uint(&mut payload, u64::from(number));
    out.push(102);
    var_bytes(out, &payload);
}

/// A binary frame from client to server. Its mask is zero, which every server has to undo all the
/// same and which costs this side nothing.
pub fn client_frame(out: &mut Vec<u8>, opcode: u8, prefix: &[u8], payload: &[u8]) {
    frame_head(out, opcode, 0x80, prefix.len() + payload.len());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(prefix);
    out.extend_from_slice(payload);
}

/// The first bytes of a frame.
pub fn frame_head(out: &mut Vec<u8>, opcode: u8, mask_bit: u8, length: usize) {
    out.push(0x80 | opcode);
    match length {
        0..126 => out.push(mask_bit | length as u8),
        126..0x1_0000 => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// The request that makes a connection a WebSocket.
pub fn upgrade(path: &str, host: SocketAddr) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: Y293cml0ZSBiZW5jaG1hcg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// What a proxy says before the first byte of a connection that it makes for `from` (PROXY protocol, version 2).
pub fn proxied(from: Ipv4Addr) -> Vec<u8> {
    let mut out = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    out.extend_from_slice(&from.octets());
    out.extend_from_slice(&[127, 0, 0, 1]);
    out.extend_from_slice(&[0x9c, 0x40, 0x1f, 0x90]);
    out
}

/// A frame at the head of `bytes`: opcode, whether it is the last of its message, where the mask key
/// is (if any), where its payload begins and where it ends; `None` until all of it is there.
pub struct Frame {
    pub opcode: u8,
    pub is_final: bool,
    pub mask: Option<[u8; 4]>,
    pub from: usize,
    pub to: usize,
}

/// Reads the frame at the head of `bytes`.
#[inline]
pub fn frame(bytes: &[u8]) -> Option<Frame> {
    let [first, second, ..] = *bytes else { return None };
    let (length, mut from) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(*bytes[2..].first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes[2..].first_chunk()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let mut mask = None;
    if second & 0x80 != 0 {
        mask = Some(*bytes.get(from..)?.first_chunk()?);
        from += 4;
    }
    let to = from + length;
    (to <= bytes.len()).then_some(Frame {
        opcode: first & 15,
        is_final: first & 0x80 != 0,
        mask,
        from,
        to,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use yrs::{Doc, GetString, ReadTxn, Transact, Update, updates::decoder::Decode};

    #[test]
    fn markers_are_found_in_order_and_nothing_else_is() {
        let mut bytes = b"\xc2\xa7!noise".to_vec();
        bytes.extend_from_slice(&marker(777, 123_456));
        bytes.extend_from_slice(&marker(0, 0));
        bytes.extend_from_slice("§cut".as_bytes());

        let mut found = Vec::new();
        Scanner::new().scan(&bytes, |author, number| found.push((author, number)));

        assert_eq!(found, [(777, 123_456), (0, 0)]);
    }

    #[test]
    fn what_two_authors_append_is_what_yrs_reads() {
        let doc = Doc::new();
        let text = doc.get_or_insert_text("t");
        for number in 0..3 {
            for author in [5usize, 9] {
                let mut update = Vec::new();
                append(
                    &mut update,
                    author as u64,
                    number,
                    &marker(author, number),
                    MARKER_UNITS,
                );
                doc.transact_mut()
                    .apply_update(Update::decode_v1(&update).unwrap())
                    .unwrap();
            }
        }

        let txn = doc.transact();
        let string = text.get_string(&txn);
        let mut found = Vec::new();
        Scanner::new().scan(string.as_bytes(), |author, number| found.push((author, number)));
        assert_eq!(found, [(5, 0), (5, 1), (5, 2), (9, 0), (9, 1), (9, 2)]);
        assert!(!txn.has_missing_updates());
    }

    #[test]
    fn frames_come_back() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let mut bytes = Vec::new();
            client_frame(&mut bytes, 2, b"p", &vec![7; length]);
            let found = frame(&bytes).unwrap();
            assert_eq!(
                (found.opcode, found.to - found.from, found.to),
                (2, length + 1, bytes.len())
            );
            assert!(frame(&bytes[..bytes.len() - 1]).is_none());
        }
    }
}
