//! To a running server, as an ordinary client of it: through its wire, its gate and its journal.
//!
//! A document counts as imported when the server has answered "saved" (message 102) to what was sent before.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    thread,
    time::Duration,
};

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tungstenite::{
    Message, WebSocket,
    client::IntoClientRequest,
    http::{HeaderValue, StatusCode, header::AUTHORIZATION},
    protocol::{CloseFrame, WebSocketConfig},
};

use super::{Draft, Failure, OF_ITS_OWN, Outcome, Target, Trouble, lacking};
use crate::{
    document::Document,
    id::DocumentId,
    limits::SYNC_FRAME_BYTES_MAX,
    protocol::{
        lib0::{Malformed, Reader, write_var_bytes, write_var_uint},
        update::{CheckedUpdate, Clocks, EMPTY_UPDATE, split},
    },
};

const SYNC: u64 = 0;
const AUTH: u64 = 2;
const SAVED: u64 = 102;

const SYNC_STEP1: u64 = 0;
const SYNC_STEP2: u64 = 1;

/// How what a session is told begins that may not write.
const READ_ONLY: &str = "read-only";

/// The one question of a connection.
const QUESTION: &[u8] = &[0];

/// A server that lives says something every 20 s.
const SILENCE_MAX: Duration = Duration::from_secs(75);
/// How often a document is tried when the server says that it should come back.
const TRIES: u32 = 5;
/// How long the first pause between tries is.
const PAUSE: Duration = Duration::from_millis(500);

/// Bytes of a message beside its update.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A running server.
pub(super) struct Server<'a> {
    address: &'a str,
    token: Option<&'a str>,
    message_bytes_max: usize,
    /// It answered at least once: one that never did is told at once.
    was_reached: bool,
}

/// Why a try did not succeed.
enum Ended {
    /// It is tried again.
    Away(String),
    Trouble(Trouble),
}

impl From<String> for Ended {
    fn from(why: String) -> Self {
        Self::Trouble(Trouble::Document(why))
    }
}

impl From<Malformed> for Ended {
    fn from(malformed: Malformed) -> Self {
        format!("the server said what no Cowrite says: {malformed}").into()
    }
}

impl<'a> Server<'a> {
    pub fn new(address: &'a str, token: Option<&'a str>, document_bytes_max: usize) -> Self {
        Self {
            address,
            token,
            message_bytes_max: document_bytes_max.saturating_add(HEAD_BYTES_MAX),
            was_reached: false,
        }
    }

    fn all(&self, why: impl std::fmt::Display) -> Ended {
        Ended::Trouble(Trouble::All(Failure(format!("the server at {}: {why}", self.address))))
    }

    fn connect(&self, name: &DocumentId) -> Result<WebSocket<TcpStream>, Ended> {
        let away = |error: io::Error| Ended::Away(format!("cannot reach it: {error}"));
        let stream = reach(self.address).map_err(away)?;
        for timed in [
            stream.set_read_timeout(Some(SILENCE_MAX)),
            stream.set_write_timeout(Some(SILENCE_MAX)),
        ] {
            timed.map_err(away)?;
        }
        let name = utf8_percent_encode(name.as_str(), NON_ALPHANUMERIC);
        let mut request = format!("ws://{}/ws/{name}", self.address)
            .into_client_request()
            .map_err(|error| self.all(error))?;
        if let Some(token) = self.token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| self.all("the token is none: it has characters that no token has"))?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(self.message_bytes_max))
            .max_frame_size(Some(self.message_bytes_max));
        match tungstenite::client::client_with_config(request, stream, Some(config)) {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer)))
                if !answer.status().is_server_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS =>
            {
                Err(self.all(format!(
                    "it answers {}: it is no Cowrite, or not at this address",
                    answer.status()
                )))
            }
            Err(error) => Err(Ended::Away(format!("it takes no connection: {error}"))),
        }
    }

    fn try_once(&mut self, name: &DocumentId, source: &Document) -> Result<Outcome, Ended> {
        let socket = self.connect(name)?;
        self.was_reached = true;
        let mut talk = Talk {
            socket,
            source,
            there: Draft::new(usize::MAX),
            decided: None,
        };
        talk.asks()?;
        loop {
            let message = match talk.socket.read() {
                Ok(Message::Binary(message)) => message,
                Ok(Message::Close(frame)) => return Err(self.closed(frame)),
                Ok(_) => continue,
                Err(error) => return Err(Ended::Away(format!("the connection broke: {error}"))),
            };
            if let Some(outcome) = talk.hear(&message)? {
                let _ = talk.socket.close(None);
                let _ = talk.socket.flush();
                return Ok(outcome);
            }
        }
    }

    /// What a close frame means for the document, for all of them, or for now.
    fn closed(&self, frame: Option<CloseFrame>) -> Ended {
        let Some(CloseFrame { code, reason }) = frame else {
            return Ended::Away("it closed the connection".to_owned());
        };
        match u16::from(code) {
            4401 => self.all(format!(
                "it asks for a token that it takes ({reason}): set COWRITE_TOKEN"
            )),
            4409 => OF_ITS_OWN.to_owned().into(),
            4400..=4499 | 1002 | 1003 | 1007 | 1009 => format!("the server refuses it: {reason}").into(),
            1011 => format!("the server cannot read what it has under this name: {reason}").into(),
            _ => Ended::Away(format!("it sends everybody away for now: {reason}")),
        }
    }
}

fn reach(address: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, SILENCE_MAX) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl Target for Server<'_> {
    fn put(&mut self, name: &DocumentId, source: &Document) -> Result<Outcome, Trouble> {
        let mut pause = PAUSE;
        for left in (0..TRIES).rev() {
            match self.try_once(name, source) {
                Ok(outcome) => return Ok(outcome),
                Err(Ended::Trouble(trouble)) => return Err(trouble),
                Err(Ended::Away(why)) if left == 0 || !self.was_reached => {
                    return Err(Trouble::All(Failure(format!("the server at {}: {why}", self.address))));
                }
                Err(Ended::Away(_)) => {
                    thread::sleep(pause);
                    pause *= 2;
                }
            }
        }
        unreachable!("the last try returns")
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}

/// One connection, for one document.
struct Talk<'a> {
    socket: WebSocket<TcpStream>,
    source: &'a Document,
    /// What the server has: its pieces take effect with the last of them (G41).
    there: Draft,
    /// What was sent, once that is decided.
    decided: Option<Decided>,
}

/// How many bytes the server lacked.
#[derive(Clone, Copy)]
struct Decided {
    lacked: Option<usize>,
    is_new: bool,
}

impl Decided {
    fn outcome(self) -> Outcome {
        match self.lacked {
            None => Outcome::AlreadyThere,
            Some(bytes) if self.is_new => Outcome::Imported(bytes),
            Some(bytes) => Outcome::Completed(bytes),
        }
    }
}

impl Talk<'_> {
    /// Answers a message; says how it ended when everything is saved.
    fn hear(&mut self, message: &[u8]) -> Result<Option<Outcome>, Ended> {
        let mut r = Reader::new(message);
        match r.var_uint()? {
            SYNC => {
                let step = r.var_uint()?;
                let payload = r.var_bytes()?;
                match (step, self.decided) {
                    (SYNC_STEP1, _) => self.asked(&Clocks::decode(payload)?)?,
                    (_, None) => {
                        self.read(payload)?;
                        if step == SYNC_STEP2 {
                            self.decide()?;
                        }
                    }
                    _ => {}
                }
                Ok(None)
            }
            SAVED if r.var_bytes()? == QUESTION => Ok(self.decided.map(Decided::outcome)),
            // Zero: it is denied. For any other reason the connection ends, with a code that says more.
            AUTH if r.var_uint()? == 0 && r.var_string()?.starts_with(READ_ONLY) => {
                Err("the token may read it, not write it".to_owned().into())
            }
            _ => Ok(None),
        }
    }

    /// The server says how far it has the document.
    fn asked(&mut self, had: &Clocks) -> Result<(), Ended> {
        if self.decided.is_some() {
            let state = self.source.since(had);
            return self.answer(&check(state)?);
        }
        // Answered when it is known what the server has: it may ask about what was named to it alone (F16), which is nothing.
        Ok(())
    }

    /// Asks for all that the server has.
    fn asks(&mut self) -> Result<(), Ended> {
        let mut everything = vec![];
        for number in [SYNC, SYNC_STEP1] {
            write_var_uint(&mut everything, number);
        }
        write_var_bytes(&mut everything, &Clocks::default().encode_state_vector());
        self.send(everything)
    }

    /// A piece of what the server has.
    fn read(&mut self, update: &[u8]) -> Result<(), Ended> {
        Ok(self.there.add(update.to_vec())?)
    }

    fn decide(&mut self) -> Result<(), Ended> {
        let (there, lacks) = std::mem::replace(&mut self.there, Draft::new(0)).finish()?;
        if lacks {
            let why = "the server sent something that refers to what it did not send";
            return Err(why.to_owned().into());
        }
        let update = lacking(self.source, &there)?;
        self.decided = Some(Decided {
            lacked: update.as_ref().map(|update| update.bytes().len()),
            is_new: there.clocks().is_empty(),
        });
        match update {
            Some(update) => self.answer(&update)?,
            None => self.answer(&check(Bytes::from_static(EMPTY_UPDATE))?)?,
        }
        let mut question = vec![];
        write_var_uint(&mut question, SAVED);
        write_var_bytes(&mut question, QUESTION);
        self.send(question)
    }

    /// Sends an update as the answer to SyncStep1, in pieces: who answers passes on what others wrote, and claims no
    /// client id (D21).
    fn answer(&mut self, update: &CheckedUpdate) -> Result<(), Ended> {
        for piece in split(update, SYNC_FRAME_BYTES_MAX) {
            let mut message = Vec::with_capacity(piece.len() + 8);
            for number in [SYNC, SYNC_STEP2] {
                write_var_uint(&mut message, number);
            }
            write_var_bytes(&mut message, &piece);
            self.send(message)?;
        }
        Ok(())
    }

    fn send(&mut self, message: Vec<u8>) -> Result<(), Ended> {
        // A server that closes while it is sent something says why: that is read next.
        match self.socket.send(Message::Binary(message.into())) {
            Ok(()) => Ok(()),
            Err(tungstenite::Error::Io(error)) if error.kind() != io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(Ended::Away(format!("the connection broke: {error}"))),
        }
    }
}

fn check(update: Bytes) -> Result<CheckedUpdate, Ended> {
    CheckedUpdate::check(update).map_err(Ended::from)
}
