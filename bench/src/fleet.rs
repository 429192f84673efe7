//! Thousands of editors in one thread: connections, and the loop that reads them.
//!
//! The generator must cost far less for a delivery than the server does, or it measures itself. So:
//! one `epoll`, one large buffer that all connections are read through, frames looked at where they
//! lie. Only a frame that has not arrived whole is copied.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use crate::{
    clock::{self, Micros},
    wire,
};

/// How the server at the other end speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// y-websocket, and y-sweet, which extends it.
    YWebsocket,
    /// Every message begins with the document's name, and one authenticates first.
    Hocuspocus,
    /// No protocol: what one sends, the others get.
    Bare,
}

/// Where one editor connects.
#[derive(Debug, Clone)]
pub struct Seat {
    pub address: SocketAddr,
    /// Path and query of the WebSocket.
    pub path: String,
    /// The document's name.
    pub document: String,
    pub dialect: Dialect,
    /// The place in the list of who is connected together whose socket is used, if this one has none of its own.
    pub rides_on: Option<usize>,
    /// The address that the connection says it comes from, with the PROXY protocol, if the server wants to hear one.
    pub from: Option<Ipv4Addr>,
    /// What Hocuspocus' providers show; on other wires it is in the path.
    pub token: Option<String>,
}

/// What a server says.
#[derive(Debug)]
pub enum Message<'a> {
    /// The answer to what we asked when we connected, or to a later SyncStep1.
    Synced(&'a [u8]),
    Update(&'a [u8]),
    Awareness(&'a [u8]),
    /// Message 102, as it was asked.
    Saved(&'a [u8]),
    /// Hocuspocus' SyncStatus: the oldest update that this was not said of is durable.
    Taken,
    /// The connection has ended, and why.
    Ended(&'a str),
}

pub trait Listener {
    /// `at` is when the bytes were read.
    fn heard(&mut self, connection: usize, message: Message<'_>, at: Micros);
}

/// Ignores everything.
impl Listener for () {
    fn heard(&mut self, _: usize, _: Message<'_>, _: Micros) {}
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Upgrading,
    Open,
    Synced,
    Ended,
}

/// One editor.
#[derive(Debug)]
struct Connection {
    /// None where it has ended, or rides on another's.
    stream: Option<TcpStream>,
    /// Whose socket it is on; its own, as a rule.
    carrier: usize,
    /// By what their messages begin with, those who ride on this one's socket, and itself. Empty where it is alone.
    riders: HashMap<Vec<u8>, usize>,
    stage: Stage,
    dialect: Dialect,
    /// What every message begins with.
    prefix: Vec<u8>,
    /// What it shows on Hocuspocus' wire.
    token: Option<String>,
    /// The head of a frame whose end has not come.
    inbound: Vec<u8>,
    /// What the socket did not take.
    outbound: Vec<u8>,
    /// Whether it answers the server's SyncStep1 and asks for the document.
    asks: bool,
    /// Such answers that the server has not acknowledged: on Hocuspocus' wire it counts them like updates.
    answers: usize,
}

/// Connections looked at before what is due is looked at again.
const BATCH: usize = 64;
const BUFFER_BYTES: usize = 1 << 20;

pub struct Fleet {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    events: Vec<epoll::Event>,
    scratch: Vec<u8>,
    pub synced: usize,
    pub open: usize,
    pub ended: usize,
    /// Bytes read, of all connections.
    pub read_bytes: u64,
}

impl Fleet {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            events: Vec::with_capacity(BATCH),
            scratch: Vec::new(),
            synced: 0,
            open: 0,
            ended: 0,
            read_bytes: 0,
        })
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Starts to connect; names the connection. `asks`: say SyncStep1 as soon as it is open.
    pub fn connect(&mut self, seat: &Seat, asks: bool) -> io::Result<usize> {
        let stream = TcpStream::connect(seat.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let name = self.connections.len();
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(name as u64), flags)?;
        let mut prefix = Vec::new();
        if seat.dialect == Dialect::Hocuspocus {
            wire::var_bytes(&mut prefix, seat.document.as_bytes());
        }
        self.connections.push(Connection {
            stream: Some(stream),
            carrier: name,
            riders: HashMap::new(),
            stage: Stage::Upgrading,
            dialect: seat.dialect,
            prefix,
            token: seat.token.clone(),
            inbound: Vec::new(),
            outbound: Vec::new(),
            asks,
            answers: 0,
        });
        let mut request = seat.from.map_or_else(Vec::new, wire::proxied);
        request.extend_from_slice(wire::upgrade(&seat.path, seat.address).as_bytes());
        self.write(name, &request);
        Ok(name)
    }

    /// Opens one more document on the socket of `carrier`; names the editor.
    fn ride(&mut self, seat: &Seat, carrier: usize) -> usize {
        let name = self.connections.len();
        let mut prefix = Vec::new();
        wire::var_bytes(&mut prefix, seat.document.as_bytes());
        let of = &mut self.connections[carrier];
        let own = of.prefix.clone();
        of.riders.entry(own).or_insert(carrier);
        of.riders.insert(prefix.clone(), name);
        let is_open = of.stage != Stage::Upgrading;
        self.connections.push(Connection {
            stream: None,
            carrier,
            riders: HashMap::new(),
            stage: Stage::Upgrading,
            dialect: seat.dialect,
            prefix,
            token: seat.token.clone(),
            inbound: Vec::new(),
            outbound: Vec::new(),
            asks: true,
            answers: 0,
        });
        if is_open {
            self.opened(name);
        }
        name
    }

    /// Connects to all of `seats`, not more than `at_once` at a time, until all have the document.
    pub fn connect_all(
        &mut self,
        seats: &[Seat],
        at_once: usize,
        patience: Duration,
        listener: &mut impl Listener,
    ) -> Result<(), String> {
        let until = Instant::now() + patience;
        let (start, before) = (self.len(), self.synced);
        while self.synced < before + seats.len() {
            let pending = (self.len() - start) - (self.synced - before);
            if self.len() - start < seats.len() && pending < at_once {
                let seat = &seats[self.len() - start];
                if let Some(carrier) = seat.rides_on {
                    self.ride(seat, start + carrier);
                } else {
                    self.connect(seat, true)
                        .map_err(|error| format!("cannot connect to {}: {error}", seat.address))?;
                }
                self.turn(Some(clock::now()), listener);
                continue;
            }
            self.turn(Some(clock::now() + 50_000), listener);
            if self.ended > 0 {
                return Err(format!(
                    "{} connections ended while {} were connecting",
                    self.ended,
                    seats.len()
                ));
            }
            if Instant::now() > until {
                return Err(format!(
                    "only {} of {} connections have the document",
                    self.synced - before,
                    seats.len()
                ));
            }
        }
        Ok(())
    }

    /// Sends a message.
    pub fn send(&mut self, name: usize, payload: &[u8]) {
        let mut frame = std::mem::take(&mut self.scratch);
        frame.clear();
        wire::client_frame(&mut frame, 2, &self.connections[name].prefix, payload);
        self.write(name, &frame);
        self.scratch = frame;
    }

    /// Whether it has to ask whether its edits are saved. On Hocuspocus' wire each is acknowledged without a question.
    pub fn asks_saved(&self, name: usize) -> bool {
        self.connections[name].dialect == Dialect::YWebsocket
    }

    /// Asks that, if it has to.
    pub fn ask_saved(&mut self, name: usize, number: u32) {
        if self.asks_saved(name) {
            let mut query = Vec::new();
            wire::saved_query(&mut query, number);
            self.send(name, &query);
        }
    }

    /// Sends several messages with one write.
    pub fn send_all(&mut self, name: usize, payloads: &[&[u8]]) {
        let mut frames = Vec::new();
        for payload in payloads {
            wire::client_frame(&mut frames, 2, &self.connections[name].prefix, payload);
        }
        self.write(name, &frames);
    }

    /// Bytes that the socket has not taken.
    pub fn unsent_bytes(&self, name: usize) -> usize {
        self.connections[self.connections[name].carrier].outbound.len()
    }

    /// Ends a connection without a word, as a closed laptop does (the system says FIN).
    pub fn drop_connection(&mut self, name: usize) {
        let connection = &mut self.connections[name];
        if connection.stage != Stage::Ended {
            connection.stage = Stage::Ended;
            connection.stream = None;
            connection.inbound = Vec::new();
            connection.outbound = Vec::new();
        }
    }

    /// Reads what has come, or waits for something to come until the time `until`.
    pub fn turn(&mut self, until: Option<Micros>, listener: &mut impl Listener) {
        let timeout = until.map(|until| {
            let wait = until.saturating_sub(clock::now());
            Timespec {
                tv_sec: (wait / 1_000_000) as i64,
                tv_nsec: (wait % 1_000_000 * 1_000) as i64,
            }
        });
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        // A signal ends the wait early, which does no harm.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref());
        for event in &events {
            let (name, flags) = (event.data.u64() as usize, event.flags);
            if flags.contains(epoll::EventFlags::OUT) {
                self.write(name, &[]);
            }
            if flags.intersects(
                epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR | epoll::EventFlags::RDHUP,
            ) {
                self.read(name, listener);
            }
        }
        self.events = events;
    }

    fn read(&mut self, name: usize, listener: &mut impl Listener) {
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let connection = &mut self.connections[name];
            let Some(stream) = &mut connection.stream else { break };
            let kept = connection.inbound.len();
            if buffer.len() < kept + BUFFER_BYTES / 2 {
                buffer.resize(2 * kept + BUFFER_BYTES, 0);
            }
            buffer[..kept].copy_from_slice(&connection.inbound);
            let count = match stream.read(&mut buffer[kept..]) {
                Ok(0) => {
                    self.end(name, "end of stream", listener);
                    break;
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.end(name, &error.to_string(), listener);
                    break;
                }
            };
            self.read_bytes += count as u64;
            connection.inbound.clear();
            let filled = kept + count == buffer.len();
            let taken = self.parse(name, &buffer[..kept + count], listener);
            let connection = &mut self.connections[name];
            if taken < kept + count {
                connection.inbound.extend_from_slice(&buffer[taken..kept + count]);
            } else if connection.inbound.capacity() > 64 * 1024 {
                connection.inbound = Vec::new();
            }
            if !filled {
                break;
            }
        }
        self.buffer = buffer;
    }

    /// Takes whole frames off the head of `bytes`; returns how many bytes that were.
    fn parse(&mut self, name: usize, bytes: &[u8], listener: &mut impl Listener) -> usize {
        let mut at = 0;
        if self.connections[name].stage == Stage::Upgrading {
            let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
                return 0;
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                let line = String::from_utf8_lossy(&bytes[..end.min(60)]).into_owned();
                self.end(name, &line, listener);
                return bytes.len();
            }
            at = end + 4;
            self.opened(name);
            let riders: Vec<usize> = self.connections[name].riders.values().copied().collect();
            riders
                .into_iter()
                .filter(|rider| *rider != name)
                .for_each(|rider| self.opened(rider));
        }
        let now = clock::now();
        while let Some(frame) = wire::frame(&bytes[at..]) {
            let payload = &bytes[at + frame.from..at + frame.to];
            at += frame.to;
            match frame.opcode {
                2 if frame.is_final => self.message(name, payload, now, listener),
                9 => {
                    let mut pong = Vec::new();
                    wire::client_frame(&mut pong, 10, &[], payload);
                    self.write(name, &pong);
                }
                10 => {}
                8 => {
                    let reason = format!(
                        "close frame {:?}",
                        String::from_utf8_lossy(payload.get(2..).unwrap_or_default())
                    );
                    self.end(name, &reason, listener);
                    return bytes.len();
                }
                other => {
                    self.end(
                        name,
                        &format!("a frame with opcode {other} that no server here sends"),
                        listener,
                    );
                    return bytes.len();
                }
            }
        }
        at
    }

    fn opened(&mut self, name: usize) {
        self.open += 1;
        self.connections[name].stage = Stage::Open;
        let Connection {
            dialect, asks, token, ..
        } = &self.connections[name];
        let (dialect, asks) = (*dialect, *asks);
        let token = token.clone().unwrap_or_else(|| "token".to_owned());
        let mut first = Vec::new();
        wire::sync(&mut first, 0, &[0]);
        match dialect {
            Dialect::Bare => self.has_document(name),
            Dialect::YWebsocket if asks => self.send(name, &first),
            Dialect::Hocuspocus if asks => {
                let mut auth = vec![2, 0];
                wire::var_bytes(&mut auth, token.as_bytes());
                wire::var_bytes(&mut auth, b"4.7.0");
                self.send_all(name, &[&auth, &first]);
            }
            Dialect::YWebsocket | Dialect::Hocuspocus => {}
        }
    }

    fn has_document(&mut self, name: usize) {
        if self.connections[name].stage == Stage::Open {
            self.connections[name].stage = Stage::Synced;
            self.synced += 1;
        }
    }

    #[inline]
    fn message(&mut self, carrier: usize, payload: &[u8], at: Micros, listener: &mut impl Listener) {
        let name = self.addressed(carrier, payload);
        let skip = self.connections[name].prefix.len();
        let Some(mut body) = payload.get(skip..) else { return };
        let Some((kind, rest)) = body.split_first() else { return };
        body = rest;
        match kind {
            0 => {
                let Some((sub, rest)) = body.split_first() else { return };
                body = rest;
                let Some(bytes) = wire::read_var_bytes(&mut body) else {
                    return;
                };
                match sub {
                    0 if self.connections[name].asks => {
                        let mut nothing = Vec::new();
                        wire::sync(&mut nothing, 1, &[0, 0]);
                        self.send(name, &nothing);
                        self.connections[name].answers += 1;
                    }
                    0 => {}
                    1 => {
                        self.has_document(name);
                        listener.heard(name, Message::Synced(bytes), at);
                    }
                    _ => listener.heard(name, Message::Update(bytes), at),
                }
            }
            1 => {
                if let Some(bytes) = wire::read_var_bytes(&mut body) {
                    listener.heard(name, Message::Awareness(bytes), at);
                }
            }
            8 if body == [1] => {
                let answers = &mut self.connections[name].answers;
                match answers.checked_sub(1) {
                    Some(fewer) => *answers = fewer,
                    None => listener.heard(name, Message::Taken, at),
                }
            }
            102 => {
                if let Some(bytes) = wire::read_var_bytes(&mut body) {
                    listener.heard(name, Message::Saved(bytes), at);
                }
            }
            _ => {}
        }
    }

    /// Whose the message is that came on the socket of `carrier`.
    #[inline]
    fn addressed(&self, carrier: usize, payload: &[u8]) -> usize {
        let riders = &self.connections[carrier].riders;
        if riders.is_empty() {
            return carrier;
        }
        let mut rest = payload;
        let begins = wire::read_var_bytes(&mut rest).map(|_| &payload[..payload.len() - rest.len()]);
        begins.and_then(|begins| riders.get(begins)).copied().unwrap_or(carrier)
    }

    fn end(&mut self, name: usize, reason: &str, listener: &mut impl Listener) {
        if self.connections[name].stage != Stage::Ended {
            self.ended += 1;
            self.drop_connection(name);
            listener.heard(name, Message::Ended(reason), clock::now());
        }
    }

    /// Writes what waits and then `bytes`; what the socket does not take waits.
    fn write(&mut self, name: usize, bytes: &[u8]) {
        let name = self.connections[name].carrier;
        let connection = &mut self.connections[name];
        let Some(stream) = &mut connection.stream else { return };
        let waited = !connection.outbound.is_empty();
        if waited {
            connection.outbound.extend_from_slice(bytes);
            if let Ok(count) = stream.write(&connection.outbound) {
                connection.outbound.drain(..count);
            }
        } else {
            let written = stream.write(bytes).unwrap_or(0);
            connection.outbound.extend_from_slice(&bytes[written..]);
        }
        let waits = !connection.outbound.is_empty();
        if waits != waited {
            let mut flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
            if waits {
                flags |= epoll::EventFlags::OUT;
            }
            let _ = epoll::modify(&self.epoll, &*stream, epoll::EventData::new_u64(name as u64), flags);
        }
    }
}
