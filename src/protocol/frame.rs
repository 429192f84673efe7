//! WebSocket framing of what the server sends (RFC 6455, section 5).
//!
//! A frame from the server is not masked, so its bytes are the same for every receiver: they are
//! laid out once, here, and shared by reference by all outboxes. This file never reads frames; what
//! comes in is read by `frame_reader`.

use bytes::{BufMut, Bytes, BytesMut};

use super::close::CloseReason;

const FIN: u8 = 0x80;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// Longest reason in a close frame, in bytes: control frames hold 125, two are the code.
pub const CLOSE_TEXT_BYTES_MAX: usize = 123;

/// Longest payload of a ping or pong, in bytes.
const CONTROL_BYTES_MAX: usize = 125;

/// A frame in one or two parts, each of which others may share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// What is written first; may be empty.
    pub head: Bytes,
    /// The rest.
    pub body: Bytes,
}

impl Frame {
    /// Its bytes on the wire.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Frame {
    fn from(body: Bytes) -> Self {
        Self {
            head: Bytes::new(),
            body,
        }
    }
}

/// What precedes `payload_bytes` of a binary message that begins with `start`.
#[must_use]
pub fn binary_head(start: &[u8], payload_bytes: usize) -> Bytes {
    let mut head = BytesMut::with_capacity(10 + start.len());
    put_header(&mut head, BINARY, start.len() + payload_bytes);
    head.put_slice(start);
    head.freeze()
}

/// A binary message: header and `parts`, one after the other.
#[must_use]
pub fn binary(parts: &[&[u8]]) -> Bytes {
    let mut frame = BytesMut::new();
    put_binary(&mut frame, parts);
    frame.freeze()
}

/// Appends a binary message to `frame`, so that several leave in one write.
pub fn put_binary(frame: &mut BytesMut, parts: &[&[u8]]) {
    let length = parts.iter().map(|part| part.len()).sum();
    frame.reserve(length + 10);
    put_header(frame, BINARY, length);
    for part in parts {
        frame.put_slice(part);
    }
}

/// An empty ping; browsers and `ws` answer it by themselves.
#[must_use]
pub fn ping() -> Bytes {
    Bytes::from_static(&[FIN | PING, 0])
}

/// A ping with a payload, which its answer carries too.
#[must_use]
pub fn ping_with(payload: &[u8]) -> Bytes {
    control(PING, payload)
}

/// The answer to a ping that carried `payload`.
#[must_use]
pub fn pong(payload: &[u8]) -> Bytes {
    control(PONG, payload)
}

fn control(opcode: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    put_header(&mut frame, opcode, payload.len());
    frame.put_slice(payload);
    frame.freeze()
}

/// The last frame of a connection.
#[must_use]
pub fn close(reason: &CloseReason) -> Bytes {
    close_with(reason.code(), reason.text())
}

/// The last frame of a connection, with this code. A text that is too long ends with `…`, so that nobody takes what is left for
/// all of it.
#[must_use]
pub fn close_with(code: u16, text: &str) -> Bytes {
    const CUT: &str = "…";
    let is_cut = text.len() > CLOSE_TEXT_BYTES_MAX;
    let mut end = text.len().min(CLOSE_TEXT_BYTES_MAX);
    if is_cut {
        end -= CUT.len();
    }
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let end_mark = if is_cut { CUT } else { "" };
    let mut frame = BytesMut::new();
    put_header(&mut frame, CLOSE, 2 + end + end_mark.len());
    frame.put_u16(code);
    frame.put_slice(&text.as_bytes()[..end]);
    frame.put_slice(end_mark.as_bytes());
    frame.freeze()
}

/// The code of a close frame that has one; `None` of another frame.
#[must_use]
pub fn close_code(frame: &[u8]) -> Option<u16> {
    match frame {
        [head, _, high, low, ..] if *head == FIN | CLOSE => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

/// The answer to a peer's close frame: its code, no text.
#[must_use]
pub fn echo_close(code: Option<u16>) -> Bytes {
    let mut frame = BytesMut::new();
    put_header(&mut frame, CLOSE, code.map_or(0, |_| 2));
    code.into_iter().for_each(|code| frame.put_u16(code));
    frame.freeze()
}

fn put_header(frame: &mut BytesMut, opcode: u8, length: usize) {
    frame.put_u8(FIN | opcode);
    match length {
        0..=125 => frame.put_u8(length as u8),
        126..=0xFFFF => {
            frame.put_u8(126);
            frame.put_u16(length as u16);
        }
        _ => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_takes_one_three_or_nine_bytes() {
        let header = |length: usize| binary(&[&vec![7; length]])[..10.min(length + 2)].to_vec();

        assert_eq!(header(1), [0x82, 1, 7]);
        assert_eq!(header(125)[..2], [0x82, 125]);
        assert_eq!(header(126)[..4], [0x82, 126, 0, 126]);
        assert_eq!(header(65_535)[..4], [0x82, 126, 255, 255]);
        assert_eq!(header(65_536)[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        let frame = close(&CloseReason::Refused("ä".repeat(100)));

        assert_eq!(frame[..4], [0x88, 125, 0x11, 0x30]);
        assert!(std::str::from_utf8(&frame[4..]).is_ok_and(|text| text.ends_with("ä…")));
        let whole = close(&CloseReason::Refused("x".repeat(CLOSE_TEXT_BYTES_MAX)));
        assert!(whole.len() == 127 && whole.ends_with(b"x"));
        assert_eq!(
            (close_code(&whole), close_code(&ping()), close_code(&echo_close(None))),
            (Some(4400), None, None)
        );
    }
}
