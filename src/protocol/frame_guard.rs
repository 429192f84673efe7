//! Looks at the headers of incoming WebSocket frames as their bytes arrive.
//!
//! actix-ws compares a frame's length with its limit only after the whole frame was buffered, and a
//! flood of empty fragments never becomes a message; so what a peer *declares* is judged here,
//! before anything is buffered. Payloads are skipped, unmasking and parsing are left to actix.

use super::close::CloseReason;

/// Most fragments of one message: more are a flood, no client of ours sends any.
const FRAGMENTS_MAX: usize = 1_024;

/// The judge of one connection's incoming bytes.
#[derive(Debug)]
pub struct FrameGuard {
    message_bytes_max: u64,
    /// The header that is being collected: up to 14 bytes.
    header: [u8; 14],
    header_length: usize,
    payload_left: u64,
    /// Declared bytes and fragments of the message that has begun.
    message_bytes: u64,
    fragments: usize,
}

impl FrameGuard {
    /// A guard for messages of up to `message_bytes_max` bytes.
    #[must_use]
    pub fn new(message_bytes_max: usize) -> Self {
        let message_bytes_max = message_bytes_max as u64;
        Self {
            message_bytes_max,
            header: [0; 14],
            header_length: 0,
            payload_left: 0,
            message_bytes: 0,
            fragments: 0,
        }
    }

    /// Takes the next bytes of the connection.
    ///
    /// # Errors
    /// The reason to close with, as soon as a header declares too much.
    pub fn inspect(&mut self, mut bytes: &[u8]) -> Result<(), CloseReason> {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let skipped = self.payload_left.min(bytes.len() as u64);
                self.payload_left -= skipped;
                bytes = &bytes[skipped as usize..];
                continue;
            }
            self.header[self.header_length] = bytes[0];
            self.header_length += 1;
            bytes = &bytes[1..];
            if let Some(length) = self.declared() {
                self.begin(length)?;
            }
        }
        Ok(())
    }

    /// The payload length, once the header is complete.
    fn declared(&self) -> Option<u64> {
        let header = &self.header[..self.header_length];
        let [_, second, ..] = *header else { return None };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (extended, short) = match second & 0x7F {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, u64::from(short)),
        };
        if header.len() < 2 + extended + mask {
            return None;
        }
        Some(
            header[2..2 + extended]
                .iter()
                .fold(short, |length, byte| (length << 8) | u64::from(*byte)),
        )
    }

    fn begin(&mut self, length: u64) -> Result<(), CloseReason> {
        let (fin, opcode) = (self.header[0] & 0x80 != 0, self.header[0] & 0x0F);
        self.header_length = 0;
        self.payload_left = length;
        if opcode >= 0x8 {
            if length > 125 {
                return Err(CloseReason::Protocol(
                    "a control frame longer than 125 bytes".to_owned(),
                ));
            }
            return Ok(());
        }
        self.fragments += 1;
        self.message_bytes = self.message_bytes.saturating_add(length);
        if self.message_bytes > self.message_bytes_max {
            let (declared, limit) = (self.message_bytes, self.message_bytes_max);
            let text = format!("a message of {declared} bytes or more, the limit is {limit}");
            return Err(CloseReason::MessageTooBig(text));
        }
        if self.fragments > FRAGMENTS_MAX {
            return Err(CloseReason::Protocol(format!(
                "a message in more than {FRAGMENTS_MAX} fragments"
            )));
        }
        if fin {
            (self.message_bytes, self.fragments) = (0, 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, length: u64) -> Vec<u8> {
        let mut bytes = vec![first, 0x80 | 127];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn h1_a_declared_length_is_judged_before_its_bytes_arrive() {
        let limit = 1_000;
        let judge = |length| FrameGuard::new(limit).inspect(&frame(0x82, length));

        assert_eq!(judge(1_000), Ok(()));
        assert!(matches!(judge(1_001), Err(CloseReason::MessageTooBig(_))));
        assert!(matches!(judge(8 << 30), Err(CloseReason::MessageTooBig(_))));
        assert!(matches!(judge(u64::MAX), Err(CloseReason::MessageTooBig(_))));
    }

    #[test]
    fn h1_fragments_count_together() {
        let mut guard = FrameGuard::new(1_000);

        for opcode in [0x02, 0x00] {
            assert_eq!(guard.inspect(&[opcode, 0x80 | 126, 1, 0xF4, 0, 0, 0, 0]), Ok(()));
            assert_eq!(guard.inspect(&[0; 500]), Ok(()));
        }

        assert!(matches!(
            guard.inspect(&[0x80, 0x81, 0, 0, 0, 0]),
            Err(CloseReason::MessageTooBig(_))
        ));
    }

    #[test]
    fn h1_a_flood_of_empty_fragments_ends() {
        let mut guard = FrameGuard::new(1_000);
        let mut taken = 0;

        while guard.inspect(&[0x00, 0x80, 0, 0, 0, 0]).is_ok() {
            taken += 1;
            assert!(taken <= FRAGMENTS_MAX);
        }

        assert_eq!(taken, FRAGMENTS_MAX);
    }

    #[test]
    fn h1_bytes_may_be_cut_anywhere() {
        let mut session = Vec::new();
        for payload in [0_usize, 5, 125, 126, 70_000] {
            session.push(0x82);
            match payload {
                0..=125 => session.push(0x80 | payload as u8),
                126..=65_535 => session.extend([0x80 | 126, (payload >> 8) as u8, payload as u8]),
                _ => {
                    session.push(0x80 | 127);
                    session.extend((payload as u64).to_be_bytes());
                }
            }
            session.extend([9; 4]);
            session.extend(vec![1; payload]);
        }
        for step in [1, 2, 3, 7, 1_000, session.len()] {
            let mut guard = FrameGuard::new(70_000);
            for piece in session.chunks(step) {
                assert_eq!(guard.inspect(piece), Ok(()), "cut every {step}");
            }
            assert_eq!((guard.payload_left, guard.header_length), (0, 0), "cut every {step}");
        }
    }
}
