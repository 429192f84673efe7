//! The bytes of both ends of a line: WebSocket frames, and the words of each wire as its providers write and read them.

use bytes::{Buf, Bytes, BytesMut};
use cowrite::protocol::{
    awareness::{self, Entry},
    lib0::{Reader, write_var_bytes, write_var_uint},
};

/// Whose providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    YWebsocket,
    YSweet,
    Hocuspocus,
}

pub const BINARY: u8 = 0x82;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8A;

/// A frame as a client writes it.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0xA5, 0x01, 0x7E, 0xC3];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Takes a whole frame of the server off the front: its first byte, and its payload.
pub fn unframed(arrived: &mut BytesMut) -> Option<(u8, Bytes)> {
    let (head, length) = match (*arrived.get(1)?, &arrived[2..]) {
        (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        (127, rest) => (10, u64::from_be_bytes(rest.get(..8)?.try_into().ok()?) as usize),
        (126, _) => return None,
        (short, _) => (2, usize::from(short)),
    };
    if arrived.len() < head + length {
        return None;
    }
    let first = arrived[0];
    arrived.advance(head);
    Some((first, arrived.split_to(length).freeze()))
}

/// One message of the server.
#[derive(Debug)]
pub enum Heard {
    Step1(Vec<u8>),
    Step2(Vec<u8>),
    Update(Vec<u8>),
    Awareness(Vec<Entry>),
    Saved(Vec<u8>),
    Admitted { may_write: bool },
    Denied,
    TokenWanted,
    Taken(bool),
    Stateless,
}

/// Reads a message: to whom it is (on Hocuspocus' wire), and what it says.
pub fn read(wire: Wire, payload: &Bytes) -> (Option<String>, Heard) {
    const READ: &str = "what the server says is read";
    let mut r = Reader::new(payload);
    let address = (wire == Wire::Hocuspocus).then(|| r.var_string().expect(READ).to_owned());
    let is_hocuspocus = address.is_some();
    let heard = match r.var_uint().expect(READ) {
        0 => match r.var_uint().expect(READ) {
            0 => Heard::Step1(r.var_bytes().expect(READ).to_vec()),
            1 => Heard::Step2(r.var_bytes().expect(READ).to_vec()),
            2 => Heard::Update(r.var_bytes().expect(READ).to_vec()),
            other => panic!("sync message {other}"),
        },
        1 => {
            let states = Bytes::copy_from_slice(r.var_bytes().expect(READ));
            Heard::Awareness(awareness::decode(&states).expect(READ).to_vec())
        }
        2 => match r.var_uint().expect(READ) {
            0 if is_hocuspocus => Heard::TokenWanted,
            0 => match r.var_string().expect(READ).starts_with("read-only") {
                true => Heard::Admitted { may_write: false },
                false => Heard::Denied,
            },
            1 => {
                r.var_string().expect(READ);
                Heard::Denied
            }
            2 => Heard::Admitted {
                may_write: r.var_string().expect(READ) == "read-write",
            },
            other => panic!("auth message {other}"),
        },
        5 if is_hocuspocus => {
            r.var_string().expect(READ);
            Heard::Stateless
        }
        8 if is_hocuspocus => Heard::Taken(r.var_uint().expect(READ) == 1),
        102 if !is_hocuspocus => Heard::Saved(r.var_bytes().expect(READ).to_vec()),
        other => panic!("a message of kind {other} on {wire:?}"),
    };
    r.finish().expect(READ);
    (address, heard)
}

/// What a Hocuspocus provider says about one document.
pub fn to(address: &str, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_var_bytes(&mut bytes, address.as_bytes());
    bytes.extend_from_slice(message);
    bytes
}

/// A token; from version 4 on with the provider's version.
pub fn auth(has_version: bool) -> Vec<u8> {
    let mut bytes = vec![2, 0];
    write_var_bytes(&mut bytes, b"token");
    if has_version {
        write_var_bytes(&mut bytes, b"4.8.0");
    }
    bytes
}

pub const CLOSE: &[u8] = &[7];

pub fn stateless() -> Vec<u8> {
    let mut bytes = vec![5];
    write_var_bytes(&mut bytes, b"ping!");
    bytes
}

/// A number, as the payload of a question.
pub fn number(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_var_uint(&mut bytes, number);
    bytes
}
