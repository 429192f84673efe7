//! The physical limit: a server without documents. What one connection sends, all others of its path
//! get; immediately, or gathered and with one write per receiver and tick. It checks nothing and
//! keeps nothing, in one thread.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use crate::{
    clock::{self, Micros},
    wire,
};

const LISTENER: u64 = u64::MAX;
/// More than this waits for no receiver: it is gone.
const OUTBOUND_MAX: usize = 256 << 20;

struct Peer {
    stream: Option<TcpStream>,
    room: Option<usize>,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
    waits: bool,
}

#[derive(Default)]
struct Room {
    members: Vec<usize>,
    /// What was gathered since the last tick: author and frame.
    gathered: Vec<(usize, Vec<u8>)>,
}

struct Relay {
    epoll: OwnedFd,
    peers: Vec<Peer>,
    rooms: Vec<Room>,
    names: HashMap<String, usize>,
    tick: Micros,
    busy: Vec<usize>,
}

/// Relays for ever.
pub fn run(port: u16, tick_ms: u64) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    // The standard library's backlog is 128; everybody comes at once here.
    rustix::net::listen(&listener, 4_096)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &listener,
        epoll::EventData::new_u64(LISTENER),
        epoll::EventFlags::IN,
    )?;
    let mut relay = Relay {
        epoll,
        peers: Vec::new(),
        rooms: Vec::new(),
        names: HashMap::new(),
        tick: tick_ms * 1_000,
        busy: Vec::new(),
    };
    let mut buffer = vec![0; 256 * 1024];
    let mut events: Vec<epoll::Event> = Vec::with_capacity(256);
    let mut due = None;
    loop {
        let timeout = due.map(|due: Micros| {
            let wait = due.saturating_sub(clock::now());
            Timespec {
                tv_sec: (wait / 1_000_000) as i64,
                tv_nsec: (wait % 1_000_000 * 1_000) as i64,
            }
        });
        events.clear();
        let _ = epoll::wait(&relay.epoll, spare_capacity(&mut events), timeout.as_ref());
        for event in &events {
            let (name, flags) = (event.data.u64(), event.flags);
            if name == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    relay.welcome(stream)?;
                }
                continue;
            }
            if flags.contains(epoll::EventFlags::OUT) {
                relay.write(name as usize, &[]);
            }
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                relay.read(name as usize, &mut buffer);
            }
        }
        if due.is_none() && !relay.busy.is_empty() {
            due = Some(clock::now() + relay.tick);
        }
        if due.is_some_and(|due| due <= clock::now()) {
            relay.send_gathered();
            due = None;
        }
    }
}

impl Relay {
    fn welcome(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let name = epoll::EventData::new_u64(self.peers.len() as u64);
        epoll::add(&self.epoll, &stream, name, epoll::EventFlags::IN)?;
        let (inbound, outbound) = (Vec::new(), Vec::new());
        self.peers.push(Peer {
            stream: Some(stream),
            room: None,
            inbound,
            outbound,
            waits: false,
        });
        Ok(())
    }

    fn read(&mut self, name: usize, buffer: &mut [u8]) {
        let peer = &mut self.peers[name];
        let Some(stream) = &mut peer.stream else { return };
        match stream.read(buffer) {
            Ok(count) if count > 0 => peer.inbound.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            _ => return self.leave(name),
        }
        let bytes = std::mem::take(&mut self.peers[name].inbound);
        let mut at = 0;
        if self.peers[name].room.is_none() {
            let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") else {
                self.peers[name].inbound = bytes;
                return;
            };
            let path =
                String::from_utf8_lossy(bytes.split(|byte| *byte == b' ').nth(1).unwrap_or_default()).into_owned();
            let rooms = &mut self.rooms;
            let room = *self.names.entry(path).or_insert_with(|| {
                rooms.push(Room::default());
                rooms.len() - 1
            });
            self.rooms[room].members.push(name);
            self.peers[name].room = Some(room);
            // Our clients do not look at the accept key.
            self.write(
                name,
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            );
            at = end + 4;
        }
        let room = self.peers[name].room.expect("set above");
        while let Some(frame) = wire::frame(&bytes[at..]) {
            let payload = &bytes[at + frame.from..at + frame.to];
            let mut out = Vec::with_capacity(payload.len() + 10);
            wire::frame_head(&mut out, frame.opcode, 0, payload.len());
            let mask = frame.mask.unwrap_or_default();
            out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
            at += frame.to;
            if frame.opcode != 2 {
                continue;
            }
            if self.tick > 0 {
                if self.rooms[room].gathered.is_empty() {
                    self.busy.push(room);
                }
                self.rooms[room].gathered.push((name, out));
                continue;
            }
            let members = std::mem::take(&mut self.rooms[room].members);
            members
                .iter()
                .filter(|member| **member != name)
                .for_each(|member| self.write(*member, &out));
            self.rooms[room].members = members;
        }
        if at < bytes.len() {
            self.peers[name].inbound = bytes[at..].to_vec();
        }
    }

    fn send_gathered(&mut self) {
        for room in std::mem::take(&mut self.busy) {
            let gathered = std::mem::take(&mut self.rooms[room].gathered);
            let all: Vec<u8> = gathered.iter().flat_map(|(_, frame)| frame).copied().collect();
            let members = std::mem::take(&mut self.rooms[room].members);
            // Its own edits come back to an author: leaving them out would take one buffer for each.
            members.iter().for_each(|member| self.write(*member, &all));
            self.rooms[room].members = members;
        }
    }

    fn write(&mut self, name: usize, bytes: &[u8]) {
        let peer = &mut self.peers[name];
        let Some(stream) = &mut peer.stream else { return };
        if peer.outbound.is_empty() {
            let written = stream.write(bytes).unwrap_or(0);
            peer.outbound.extend_from_slice(&bytes[written..]);
        } else {
            peer.outbound.extend_from_slice(bytes);
            let written = stream.write(&peer.outbound).unwrap_or(0);
            peer.outbound.drain(..written);
        }
        if peer.outbound.len() > OUTBOUND_MAX {
            return self.leave(name);
        }
        let waits = !peer.outbound.is_empty();
        if waits != peer.waits {
            peer.waits = waits;
            let flags = if waits {
                epoll::EventFlags::IN | epoll::EventFlags::OUT
            } else {
                epoll::EventFlags::IN
            };
            let _ = epoll::modify(&self.epoll, &*stream, epoll::EventData::new_u64(name as u64), flags);
        }
    }

    fn leave(&mut self, name: usize) {
        let peer = &mut self.peers[name];
        peer.stream = None;
        peer.inbound = Vec::new();
        peer.outbound = Vec::new();
        if let Some(room) = peer.room {
            self.rooms[room].members.retain(|member| *member != name);
        }
    }
}
