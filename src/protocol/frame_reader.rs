//! WebSocket framing of what the server receives (RFC 6455, section 5).
//!
//! A reader is fed the bytes of one connection as they arrive, cut anywhere. What a header declares is judged before
//! any of its payload is kept. A message that arrives in one piece is unmasked where it lies and not copied.

use bytes::{Buf, Bytes, BytesMut};

use super::close::CloseReason;

/// Most fragments of one message: more are a flood, no client of ours sends any.
const FRAGMENTS_MAX: usize = 1_024;
/// Longest payload of a control frame, in bytes.
const CONTROL_BYTES_MAX: u64 = 125;
/// From so many bytes on there is room for all of a frame: what grows by doubling is copied again and again. Before that
/// nothing is taken on a header's word.
const WHOLE_FROM: usize = 256 * 1024;
/// Longest header: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// What a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A binary message.
    Binary(Bytes),
    /// A text message, which is UTF-8.
    Text(Bytes),
    /// A ping with its payload.
    Ping(Bytes),
    /// A pong with its payload.
    Pong(Bytes),
    /// The peer closes, with this code.
    Close(Option<u16>),
}

/// Reads the frames of one connection.
#[derive(Debug)]
pub struct FrameReader {
    message_bytes_max: u64,
    header: [u8; HEADER_BYTES_MAX],
    header_length: usize,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// What of that payload has arrived, unmasked, if it is a control frame.
    control: BytesMut,
    /// What of the message has arrived, unmasked.
    message: BytesMut,
    /// Text or binary, while a message is incomplete.
    kind: Option<u8>,
    fragments: usize,
    /// Declared bytes of the message.
    message_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    fin: bool,
    opcode: u8,
    /// Turned so that its first byte belongs to the next one that arrives.
    mask: [u8; 4],
    left: u64,
}

impl Frame {
    fn is_control(&self) -> bool {
        self.opcode >= CLOSE
    }

    /// Unmasks the next bytes of the payload.
    fn unmask(&mut self, bytes: &mut [u8]) {
        let mask = u64::from_ne_bytes([self.mask, self.mask].concat().try_into().unwrap_or_default());
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ mask).to_ne_bytes();
        }
        rest.iter_mut()
            .zip(self.mask.iter().cycle())
            .for_each(|(byte, mask)| *byte ^= mask);
        let turn = bytes.len() % 4;
        self.mask.rotate_left(turn);
        self.left -= bytes.len() as u64;
    }
}

impl FrameReader {
    /// A reader of messages of up to `message_bytes_max` bytes.
    #[must_use]
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max: message_bytes_max as u64,
            header: [0; HEADER_BYTES_MAX],
            header_length: 0,
            frame: None,
            control: BytesMut::new(),
            message: BytesMut::new(),
            kind: None,
            fragments: 0,
            message_bytes: 0,
        }
    }

    /// Bytes of a message, or of a control frame, that is not complete.
    #[must_use]
    pub fn unfinished_bytes(&self) -> usize {
        self.message.len() + self.control.len()
    }

    /// Takes bytes off the front of `arrived` until something is complete; `None` when they are used up before.
    ///
    /// # Errors
    /// The reason to close with, as soon as a header declares what is not allowed. Nothing may be read after that.
    pub fn next(&mut self, arrived: &mut BytesMut) -> Result<Option<Received>, CloseReason> {
        loop {
            let Some(mut frame) = self.frame.take() else {
                if !self.read_header(arrived)? {
                    return Ok(None);
                }
                continue;
            };
            let mut payload = take(arrived, frame.left);
            frame.unmask(&mut payload);
            let is_complete = frame.left == 0;
            if frame.is_control() {
                self.control.unsplit(payload);
                if is_complete {
                    let payload = self.control.split().freeze();
                    return self.control_frame(frame.opcode, payload).map(Some);
                }
            } else {
                if self.message.len() >= WHOLE_FROM {
                    self.message.reserve(payload.len() + frame.left as usize);
                }
                // The first piece is taken as it lies; only what is in several pieces is copied together.
                self.message.unsplit(payload);
                if is_complete && frame.fin {
                    return self.message().map(Some);
                }
            }
            if !is_complete {
                self.frame = Some(frame);
                return Ok(None);
            }
        }
    }

    /// Collects a header; true when it is complete, and `self.frame` is what it declares.
    fn read_header(&mut self, arrived: &mut BytesMut) -> Result<bool, CloseReason> {
        loop {
            if let Some((length, mask)) = self.declared() {
                self.begin(length, mask)?;
                return Ok(true);
            }
            let Some(byte) = arrived.first() else { return Ok(false) };
            self.header[self.header_length] = *byte;
            self.header_length += 1;
            arrived.advance(1);
        }
    }

    /// The payload's length and the mask, once the header is complete.
    fn declared(&self) -> Option<(u64, Option<[u8; 4]>)> {
        let header = &self.header[..self.header_length];
        let [_, second, rest @ ..] = header else { return None };
        let (extended, short) = match second & !MASKED {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, u64::from(short)),
        };
        let (extended, mask) = rest.split_at_checked(extended)?;
        let length = extended
            .iter()
            .fold(short, |length, byte| (length << 8) | u64::from(*byte));
        if second & MASKED == 0 {
            return Some((length, None));
        }
        Some((length, Some(mask.try_into().ok()?)))
    }

    fn begin(&mut self, length: u64, mask: Option<[u8; 4]>) -> Result<(), CloseReason> {
        let (first, fin) = (self.header[0], self.header[0] & FIN != 0);
        let opcode = first & 0x0F;
        self.header_length = 0;
        if first & RESERVED != 0 {
            return Err(protocol("a frame with a reserved bit: no extension was agreed on"));
        }
        let Some(mask) = mask else {
            return Err(protocol("a frame that is not masked"));
        };
        match opcode {
            CLOSE | PING | PONG if !fin => return Err(protocol("a control frame in fragments")),
            CLOSE | PING | PONG if length > CONTROL_BYTES_MAX => {
                return Err(protocol("a control frame longer than 125 bytes"));
            }
            CLOSE | PING | PONG => {}
            TEXT | BINARY if self.kind.is_some() => {
                return Err(protocol("a message begins before the one before has ended"));
            }
            CONTINUATION if self.kind.is_none() => return Err(protocol("a continuation of nothing")),
            CONTINUATION | TEXT | BINARY => self.begin_fragment(opcode, length)?,
            _ => return Err(protocol("a frame of a reserved kind")),
        }
        self.frame = Some(Frame {
            fin,
            opcode,
            mask,
            left: length,
        });
        Ok(())
    }

    fn begin_fragment(&mut self, opcode: u8, length: u64) -> Result<(), CloseReason> {
        self.kind.get_or_insert(opcode);
        self.fragments += 1;
        self.message_bytes = self.message_bytes.saturating_add(length);
        if self.message_bytes > self.message_bytes_max {
            let (declared, limit) = (self.message_bytes, self.message_bytes_max);
            let text = format!("a message of {declared} bytes or more, the limit is {limit}");
            return Err(CloseReason::MessageTooBig(text));
        }
        if self.fragments > FRAGMENTS_MAX {
            let text = format!("a message in more than {FRAGMENTS_MAX} fragments");
            return Err(CloseReason::Protocol(text));
        }
        Ok(())
    }

    fn message(&mut self) -> Result<Received, CloseReason> {
        let bytes = self.message.split().freeze();
        (self.fragments, self.message_bytes) = (0, 0);
        // What is kept for the next message is nothing.
        self.message = BytesMut::new();
        if self.kind.take() == Some(TEXT) {
            return match simdutf8::basic::from_utf8(&bytes) {
                Ok(_) => Ok(Received::Text(bytes)),
                Err(_) => Err(CloseReason::NotUtf8),
            };
        }
        Ok(Received::Binary(bytes))
    }

    fn control_frame(&mut self, opcode: u8, payload: Bytes) -> Result<Received, CloseReason> {
        self.control = BytesMut::new();
        Ok(match opcode {
            PING => Received::Ping(payload),
            PONG => Received::Pong(payload),
            _ => Received::Close(close_code(&payload)?),
        })
    }
}

/// The first `most` bytes, or all that there are.
fn take(arrived: &mut BytesMut, most: u64) -> BytesMut {
    if arrived.len() as u64 <= most {
        return std::mem::take(arrived);
    }
    arrived.split_to(most as usize)
}

/// The code of a close frame.
fn close_code(payload: &[u8]) -> Result<Option<u16>, CloseReason> {
    let (code, text) = match payload {
        [] => return Ok(None),
        [high, low, text @ ..] => (u16::from_be_bytes([*high, *low]), text),
        _ => return Err(protocol("a close frame with half a code")),
    };
    if simdutf8::basic::from_utf8(text).is_err() {
        return Err(CloseReason::NotUtf8);
    }
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Some(code)),
        _ => Err(protocol("a close frame with a code that is not to be sent")),
    }
}

fn protocol(what: &str) -> CloseReason {
    CloseReason::Protocol(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h4_a_long_message_finds_room_for_all_of_it_when_some_has_come() {
        let declared = 8 << 20;
        let mut reader = FrameReader::new(declared);
        let mut arrived = BytesMut::from(&header(FIN | BINARY, declared as u64, [0; 4])[..]);
        let mut places = Vec::new();
        while places.len() < 128 {
            arrived.extend_from_slice(&[7; 64 * 1024]);
            let received = reader.next(&mut arrived).expect("it is sound");
            assert_eq!(received.is_some(), places.len() == 127);
            places.push((reader.message.as_ptr(), reader.message.capacity()));
        }
        assert!(places[2].1 < 1 << 20, "little has come");
        let (_, room) = places[8];
        assert!(room >= declared && places[8..127].iter().all(|place| *place == places[8]));
    }

    const LIMIT: usize = 70_000;

    /// A frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut bytes = header(first, payload.len() as u64, mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    fn header(first: u8, length: u64, mask: [u8; 4]) -> Vec<u8> {
        let mut bytes = vec![first];
        match length {
            0..=125 => bytes.push(MASKED | length as u8),
            126..=65_535 => {
                bytes.push(MASKED | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(MASKED | 127);
                bytes.extend(length.to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes
    }

    /// All that a reader makes of bytes that arrive in pieces of `step`.
    fn read_in(bytes: &[u8], step: usize) -> Result<Vec<Received>, CloseReason> {
        let mut reader = FrameReader::new(LIMIT);
        let mut all = Vec::new();
        for piece in bytes.chunks(step) {
            let mut piece = BytesMut::from(piece);
            while let Some(received) = reader.next(&mut piece)? {
                all.push(received);
            }
            assert!(piece.is_empty());
        }
        Ok(all)
    }

    fn read(bytes: &[u8]) -> Result<Vec<Received>, CloseReason> {
        let whole = read_in(bytes, bytes.len().max(1));
        for step in [1, 2, 3, 7, 1_000] {
            assert_eq!(read_in(bytes, step), whole, "cut every {step}");
        }
        whole
    }

    fn code_of(bytes: &[u8]) -> u16 {
        read(bytes).expect_err("it is refused").code()
    }

    #[test]
    fn h1_a_declared_length_is_judged_before_its_bytes_arrive() {
        let judge = |length| read(&header(FIN | BINARY, length, [0; 4]));

        assert_eq!(judge(LIMIT as u64), Ok(vec![]));
        for length in [LIMIT as u64 + 1, 8 << 30, u64::MAX] {
            assert!(matches!(judge(length), Err(CloseReason::MessageTooBig(_))), "{length}");
        }
    }

    #[test]
    fn h1_fragments_count_together() {
        let half = [7; LIMIT / 2];
        let mut bytes = frame(BINARY, &half);
        bytes.extend(frame(CONTINUATION, &half));

        assert_eq!(read(&bytes), Ok(vec![]));
        bytes.extend(frame(FIN | CONTINUATION, &[1]));
        assert_eq!(code_of(&bytes), 1009);
    }

    #[test]
    fn h1_a_flood_of_empty_fragments_ends() {
        let flood = |fragments: usize| {
            let mut bytes = frame(BINARY, &[]);
            (1..fragments).for_each(|_| bytes.extend(frame(CONTINUATION, &[])));
            bytes
        };

        assert_eq!(read(&flood(FRAGMENTS_MAX)), Ok(vec![]));
        assert_eq!(code_of(&flood(FRAGMENTS_MAX + 1)), 1002);
    }

    #[test]
    fn h2_messages_of_any_length_arrive_however_they_are_cut() {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for length in [0_usize, 1, 5, 8, 9, 125, 126, 127, 65_535, 65_536, LIMIT] {
            let payload: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            bytes.extend(frame(FIN | BINARY, &payload));
            expected.push(Received::Binary(payload.into()));
        }

        assert_eq!(read(&bytes), Ok(expected));
    }

    #[test]
    fn h2_control_frames_come_between_fragments() {
        let mut bytes = frame(TEXT, "grü".as_bytes());
        bytes.extend(frame(FIN | PING, b"there?"));
        bytes.extend(frame(CONTINUATION, &[]));
        bytes.extend(frame(FIN | PONG, b"yes"));
        bytes.extend(frame(FIN | CONTINUATION, "ße".as_bytes()));
        bytes.extend(frame(FIN | CLOSE, &[0x0F, 0xA0, b'b', b'y', b'e']));

        let expected = vec![
            Received::Ping(Bytes::from_static(b"there?")),
            Received::Pong(Bytes::from_static(b"yes")),
            Received::Text(Bytes::from_static("grüße".as_bytes())),
            Received::Close(Some(4_000)),
        ];
        assert_eq!(read(&bytes), Ok(expected));
    }

    #[test]
    fn h3_what_rfc_6455_does_not_allow_is_a_protocol_error() {
        let unmasked = [FIN | BINARY, 1, 7];
        let fragmented_ping = frame(PING, &[]);
        let long_ping = frame(FIN | PING, &[0; 126]);
        let nothing_continued = frame(FIN | CONTINUATION, &[]);
        let twice_begun = [frame(BINARY, &[1]), frame(FIN | BINARY, &[2])].concat();
        for bytes in [
            &unmasked[..],
            &fragmented_ping,
            &long_ping,
            &nothing_continued,
            &twice_begun,
        ] {
            assert_eq!(code_of(bytes), 1002, "{bytes:?}");
        }
        for reserved in [0x10, 0x20, 0x40] {
            assert_eq!(code_of(&frame(FIN | reserved | BINARY, &[1])), 1002);
            assert_eq!(code_of(&frame(FIN | reserved | PING, &[1])), 1002);
        }
        for opcode in [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF] {
            assert_eq!(code_of(&frame(FIN | opcode, &[1])), 1002, "{opcode}");
        }
    }

    #[test]
    fn h3_a_close_frame_has_a_code_that_may_be_sent_and_a_text_that_is_one() {
        let close = |payload: &[u8]| read(&frame(FIN | CLOSE, payload));

        assert_eq!(close(&[]), Ok(vec![Received::Close(None)]));
        for code in [1000_u16, 1001, 1003, 1007, 1011, 1014, 3000, 4999] {
            assert_eq!(close(&code.to_be_bytes()), Ok(vec![Received::Close(Some(code))]));
        }
        for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000, u16::MAX] {
            assert_eq!(code_of(&frame(FIN | CLOSE, &code.to_be_bytes())), 1002, "{code}");
        }
        assert_eq!(code_of(&frame(FIN | CLOSE, &[3])), 1002);
        assert_eq!(code_of(&frame(FIN | CLOSE, &[0x03, 0xE8, 0xFF])), 1007);
        assert_eq!(code_of(&frame(FIN | TEXT, &[0xFF])), 1007);
    }
}
