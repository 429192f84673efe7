//! A hostile client's connection: blocking, with the freedom to say anything.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::wire;

use super::attacks::Mallory;

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The upgrade was refused with this status.
    Refused(u16),
    /// It was closed with this code.
    Closed(u16),
    /// The connection broke, or was not even made.
    Cut,
    /// Nothing could be written for a while.
    Stuck,
    /// It is all over.
    Over,
}

/// How long one look, or one try to write, takes at most.
const LOOK: Duration = Duration::from_millis(50);
/// A client that is not read for so long comes back on another connection.
const STUCK: Duration = Duration::from_secs(5);

/// A WebSocket, or what is to become one.
pub struct Line<'a> {
    mallory: &'a Mallory,
    stream: TcpStream,
    inbound: Vec<u8>,
}

impl<'a> Line<'a> {
    /// A TCP connection of its address.
    pub fn tcp(mallory: &'a Mallory) -> Result<Self, End> {
        if mallory.is_over() {
            return Err(End::Over);
        }
        let stream = TcpStream::connect(mallory.server).map_err(|_| End::Cut)?;
        let set = stream
            .set_read_timeout(Some(LOOK))
            .and_then(|()| stream.set_write_timeout(Some(LOOK)))
            .and_then(|()| stream.set_nodelay(true));
        set.map_err(|_| End::Cut)?;
        // The port is free again at once.
        let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
        let mut line = Self {
            mallory,
            stream,
            inbound: Vec::new(),
        };
        line.raw(&wire::proxied(mallory.from()))?;
        Ok(line)
    }

    /// A WebSocket at `path`.
    pub fn open(mallory: &'a Mallory, path: &str) -> Result<Self, End> {
        let mut line = Self::tcp(mallory)?;
        line.raw(wire::upgrade(path, mallory.server).as_bytes())?;
        let until = Instant::now() + STUCK;
        loop {
            if let Some(end) = memchr::memmem::find(&line.inbound, b"\r\n\r\n") {
                let status = line
                    .inbound
                    .get(9..12)
                    .and_then(|digits| std::str::from_utf8(digits).ok());
                let status = status.and_then(|digits| digits.parse().ok()).unwrap_or(0);
                line.inbound.drain(..end + 4);
                return if status == 101 {
                    Ok(line)
                } else {
                    Err(End::Refused(status))
                };
            }
            if Instant::now() > until {
                return Err(End::Stuck);
            }
            line.read()?;
        }
    }

    /// Writes bytes as they are.
    pub fn raw(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        let until = Instant::now() + STUCK;
        while !bytes.is_empty() {
            if self.mallory.is_over() {
                return Err(End::Over);
            }
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_late(&error) => {
                    if Instant::now() > until {
                        return Err(End::Stuck);
                    }
                }
                // It may have been told why.
                Err(_) => return Err(self.last_words()),
            }
        }
        Ok(())
    }

    /// Says a message.
    pub fn say(&mut self, message: &[u8]) -> Result<(), End> {
        self.say_all(&[message])
    }

    /// Says messages with one write.
    pub fn say_all(&mut self, messages: &[&[u8]]) -> Result<(), End> {
        let mut frames = Vec::new();
        for message in messages {
            wire::client_frame(&mut frames, 2, &[], message);
        }
        self.mallory.has_said(messages.len());
        self.raw(&frames)
    }

    /// What the server has to say, if it comes soon. Pings are not answered.
    pub fn hear(&mut self) -> Result<Option<Vec<u8>>, End> {
        loop {
            if let Some(frame) = wire::frame(&self.inbound) {
                let payload = self.inbound[frame.from..frame.to].to_vec();
                self.inbound.drain(..frame.to);
                match frame.opcode {
                    8 => return Err(End::Closed(code_of(&payload))),
                    2 => return Ok(Some(payload)),
                    _ => continue,
                }
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// Throws away what has come, until nothing comes or for a while.
    pub fn drain(&mut self) -> Result<(), End> {
        for _ in 0..64 {
            if self.hear()?.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads without an end, forgetting what comes: what an HTTP answer says.
    pub fn listen(&mut self) -> Result<(), End> {
        loop {
            self.inbound.clear();
            self.read()?;
        }
    }

    /// False when nothing came.
    fn read(&mut self) -> Result<bool, End> {
        if self.mallory.is_over() {
            return Err(End::Over);
        }
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(End::Cut),
            Ok(count) => {
                self.inbound.extend_from_slice(&buffer[..count]);
                Ok(true)
            }
            Err(error) if is_late(&error) => Ok(false),
            Err(_) => Err(End::Cut),
        }
    }

    fn last_words(&mut self) -> End {
        for _ in 0..1_000 {
            match self.hear() {
                Ok(Some(_)) => {}
                Ok(None) => return End::Cut,
                Err(end) => return end,
            }
        }
        End::Cut
    }
}

fn code_of(close: &[u8]) -> u16 {
    close.first_chunk().map_or(1_005, |code| u16::from_be_bytes(*code))
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
