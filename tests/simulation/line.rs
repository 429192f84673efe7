//! One socket, and the server's end of it: what `http` does for each wire, without sockets.

use std::{sync::Arc, task::Poll, task::Waker};

use bytes::{Bytes, BytesMut};
use cowrite::{
    access::Identity,
    protocol::{
        close::CloseReason,
        dialect::{Dialect, Inbound, Outbound},
        frame_reader::{FrameReader, Received},
        hocuspocus::{self, Address, Message, Said},
        y_websocket,
    },
    room::{
        Micros,
        outbox::{self, Kind, Next, Outbox},
        session::{Joining, SessionId},
        stream::Probe,
    },
};

use super::{
    server::{DOCUMENTS_MAX, MS, SECOND, Server},
    wire::Wire,
};

/// Largest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 400_000;

/// What one message may have beside: the bound of a real line is far above that of a piece (F12).
pub const PIECE_BYTES_MAX: usize = 200_000;

/// How long a socket may be open without a session.
const AUTH_TIMEOUT: Micros = 30 * SECOND;

/// A document on the line.
struct Seat {
    document: usize,
    id: SessionId,
    address: Option<Address>,
    outbox: Arc<Outbox>,
}

pub struct Line {
    wire: Wire,
    identity: Identity,
    pub shared: Arc<outbox::Line>,
    frames: FrameReader,
    seats: Vec<Seat>,
    /// Of the socket itself, on a line of several documents.
    own: Option<Arc<Outbox>>,
    /// Since when nobody is on it.
    unknown_since: Option<Micros>,
    /// Whose turn it is to be written.
    turn: usize,
    /// Is on its way to the server.
    pub up: BytesMut,
    /// Is on its way to the client.
    pub down: BytesMut,
    /// The client has closed its end, or its machine said so.
    pub peer_left: bool,
    /// The last byte was written.
    pub ended: bool,
}

/// Who comes.
pub struct Who {
    pub wire: Wire,
    pub identity: Identity,
    pub document: usize,
    pub expires: Option<Micros>,
}

impl Line {
    /// Accepts a connection; on wires with one document it joins that.
    pub fn accepts(server: &mut Server, who: Who, next_session: &mut u64) -> Self {
        let shared = outbox::Line::new(2 * server.policy.outbox_bytes_max + PIECE_BYTES_MAX);
        shared.heard(server.now / MS);
        let mut line = Self {
            wire: who.wire,
            identity: who.identity,
            shared: shared.clone(),
            frames: FrameReader::new(MESSAGE_BYTES_MAX),
            seats: Vec::new(),
            own: None,
            unknown_since: None,
            turn: 0,
            up: BytesMut::new(),
            down: BytesMut::new(),
            peer_left: false,
            ended: false,
        };
        let dialect = match who.wire {
            Wire::YWebsocket => Dialect::YWebsocket,
            Wire::YSweet => Dialect::YSweet,
            Wire::Hocuspocus => {
                line.own = Some(Arc::new(Outbox::new(shared)));
                return line;
            }
        };
        if let Err(reason) = line.joins(server, who.document, None, dialect, who.expires, next_session) {
            let outbox = Outbox::new(line.shared.clone());
            outbox.close(&reason);
            while let Some(bytes) = outbox.take_frame() {
                line.down.extend_from_slice(&bytes);
            }
            line.ended = true;
        }
        line
    }

    fn joins(
        &mut self,
        server: &mut Server,
        document: usize,
        address: Option<Address>,
        dialect: Dialect,
        expires: Option<Micros>,
        next_session: &mut u64,
    ) -> Result<(), CloseReason> {
        let id = SessionId(*next_session);
        *next_session += 1;
        let outbox = Arc::new(Outbox::new(self.shared.clone()));
        let joining = Joining {
            id,
            identity: self.identity.clone(),
            expires,
            dialect,
            outbox: outbox.clone(),
            accounts: Default::default(),
        };
        server.joins(document, joining)?;
        self.seats.push(Seat {
            document,
            id,
            address,
            outbox,
        });
        Ok(())
    }

    /// Bytes that wait to be written, or to be understood.
    pub fn waiting_bytes(&self) -> usize {
        self.shared.waiting_bytes() + self.frames.unfinished_bytes()
    }

    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.seats.iter().map(|seat| seat.id)
    }

    /// A socket on which there is nobody is not kept.
    pub fn looks(&mut self, now: Micros) {
        let is_here = |seat: &Seat| !seat.outbox.is_closing();
        if self.own.is_none() || self.seats.iter().any(is_here) {
            self.unknown_since = None;
        } else if *self.unknown_since.get_or_insert(now) + AUTH_TIMEOUT <= now {
            self.closes(&CloseReason::Reset("no token came in time".to_owned()));
        }
    }

    /// Up to `most` bytes reach the server.
    pub fn hears(&mut self, server: &mut Server, most: usize, expires: Option<Micros>, next_session: &mut u64) {
        let most = most.min(self.up.len());
        let mut arrived = self.up.split_to(most);
        if most > 0 {
            self.shared.heard(server.now / MS);
        }
        while !self.is_closing() {
            match self.frames.next(&mut arrived) {
                Ok(Some(received)) => {
                    if let Err(reason) = self.takes(server, received, expires, next_session) {
                        self.closes(&reason);
                    }
                }
                Ok(None) => break,
                Err(reason) => self.closes(&reason),
            }
        }
        if self.is_closing() {
            self.leaves(server);
        } else if self.peer_left && self.up.is_empty() {
            self.hangs_up();
            self.leaves(server);
        }
    }

    fn takes(
        &mut self,
        server: &mut Server,
        received: Received,
        expires: Option<Micros>,
        next_session: &mut u64,
    ) -> Result<(), CloseReason> {
        match received {
            Received::Binary(message) if self.wire == Wire::Hocuspocus => {
                if let Said::To(address, message) = hocuspocus::parse(&message)? {
                    self.hears_of(server, address, message, expires, next_session)?;
                }
            }
            Received::Binary(message) => {
                let mut all = Vec::new();
                let parsed = y_websocket::parse_all(message, |inbound, _| all.push(inbound));
                all.into_iter().for_each(|inbound| self.says(server, 0, inbound));
                parsed?;
            }
            Received::Text(_) => return Err(CloseReason::NotBinary),
            Received::Ping(payload) => self.first().pong(&payload),
            Received::Pong(payload) => {
                if let Some(probe) = Probe::of(&payload)
                    && let Some(seat) = self.seats.iter().position(|seat| seat.id == probe.session)
                {
                    self.says(server, seat, Inbound::Pong(probe.number));
                }
            }
            Received::Close(code) => self.first().echo_close(code),
        }
        Ok(())
    }

    fn says(&mut self, server: &mut Server, seat: usize, inbound: Inbound) {
        if let Some(seat) = self.seats.get(seat) {
            let id = seat.id;
            server.with(seat.document, |room, now, effects| room.hear(id, inbound, now, effects));
        }
    }

    fn hears_of(
        &mut self,
        server: &mut Server,
        address: Address,
        message: Message,
        expires: Option<Micros>,
        next_session: &mut u64,
    ) -> Result<(), CloseReason> {
        let is_the_same = |seat: &Seat| seat.address.as_ref() == Some(&address);
        let is_here = |seat: &Seat| is_the_same(seat) && !seat.outbox.is_closing();
        let here = self.seats.iter().position(is_here);
        match (message, here) {
            (Message::Auth { .. }, Some(seat)) => {
                let (id, identity) = (self.seats[seat].id, self.identity.clone());
                server.with(self.seats[seat].document, |room, now, _| {
                    room.renew(id, identity, expires, now)
                });
            }
            (Message::Auth { .. }, None) if self.seats.iter().any(is_the_same) => {
                return Err(CloseReason::Reset("the token came too late".to_owned()));
            }
            (Message::Auth { has_version, .. }, None) => {
                let name = address.document().strip_prefix("doc");
                let Some(document) = name
                    .and_then(|number| number.parse().ok())
                    .filter(|document| *document < DOCUMENTS_MAX)
                else {
                    return Err(CloseReason::Refused("no such document in this world".to_owned()));
                };
                let dialect = Dialect::Hocuspocus {
                    address: address.clone(),
                    has_version,
                };
                let joined = self.joins(
                    server,
                    document,
                    Some(address.clone()),
                    dialect.clone(),
                    expires,
                    next_session,
                );
                if let Err(reason) = joined {
                    self.refuses(&address, &dialect, reason)?;
                }
            }
            (Message::Close, Some(seat)) => {
                let seat = self.seats.remove(seat);
                seat.outbox.hang_up();
                server.with(seat.document, |room, now, _| room.leave(seat.id, now));
            }
            (Message::Other(unread), Some(seat)) => match unread.read() {
                Ok(inbound) => self.says(server, seat, inbound),
                Err(reason) => {
                    let seat = self.seats.remove(seat);
                    seat.outbox.hang_up();
                    server.with(seat.document, |room, now, _| room.leave(seat.id, now));
                    let dialect = Dialect::Hocuspocus {
                        address: address.clone(),
                        has_version: true,
                    };
                    self.refuses(&address, &dialect, reason)?;
                }
            },
            (Message::Close | Message::Other(_), None) => {}
        }
        Ok(())
    }

    fn refuses(&self, address: &Address, dialect: &Dialect, reason: CloseReason) -> Result<(), CloseReason> {
        if let Some(reason) = dialect.ends(&reason).line {
            return Err(reason);
        }
        let dialect = Dialect::Hocuspocus {
            address: address.clone(),
            has_version: false,
        };
        let denied = dialect.frame(Outbound::Denied(reason.text())).expect("words");
        self.first().push(denied, Kind::Other);
        Ok(())
    }

    /// The outbox of the line itself.
    fn first(&self) -> &Outbox {
        match &self.own {
            Some(own) => own,
            None => &self.seats[0].outbox,
        }
    }

    fn is_closing(&self) -> bool {
        match &self.own {
            Some(own) => self.ended || own.is_closing(),
            None => self.ended || self.seats.first().is_none_or(|seat| seat.outbox.is_closing()),
        }
    }

    fn closes(&self, reason: &CloseReason) {
        if self.own.is_some() || !self.seats.is_empty() {
            self.first().close(reason);
        }
    }

    fn hangs_up(&self) {
        self.own.iter().for_each(|own| own.hang_up());
        self.seats.iter().for_each(|seat| seat.outbox.hang_up());
    }

    /// Nothing more is heard on it.
    fn leaves(&mut self, server: &mut Server) {
        for seat in &self.seats {
            let id = seat.id;
            server.with(seat.document, |room, now, _| room.leave(id, now));
        }
    }

    /// The socket takes up to `most` frames; says whether there may be more.
    pub fn writes(&mut self, most: usize) -> bool {
        for _ in 0..most {
            if self.ended || !self.writes_one() {
                return false;
            }
        }
        true
    }

    fn writes_one(&mut self) -> bool {
        let outboxes: Vec<Arc<Outbox>> = self
            .own
            .iter()
            .chain(self.seats.iter().map(|seat| &seat.outbox))
            .cloned()
            .collect();
        for step in 0..outboxes.len() {
            let at = (self.turn + step) % outboxes.len();
            let outbox = &outboxes[at];
            match outbox.poll_next(Waker::noop()).map(|(next, _)| next) {
                Poll::Ready(Next::Bytes(bytes)) => {
                    self.down.extend_from_slice(&bytes);
                    self.turn = at + 1;
                    return true;
                }
                Poll::Ready(Next::Head(head)) => {
                    self.down.extend_from_slice(&head);
                    match outbox.poll_next(Waker::noop()).map(|(next, _)| next) {
                        Poll::Ready(Next::Bytes(body)) => self.down.extend_from_slice(&body),
                        other => panic!("a head without its body: {other:?}"),
                    }
                    self.turn = at + 1;
                    return true;
                }
                Poll::Ready(Next::Close(close)) => {
                    self.down.extend_from_slice(&close);
                    self.ends(&outboxes);
                    return false;
                }
                Poll::Ready(Next::End) if self.own.is_none() || at == 0 => {
                    self.ends(&outboxes);
                    return false;
                }
                Poll::Ready(Next::End) | Poll::Pending => {}
            }
        }
        false
    }

    fn ends(&mut self, outboxes: &[Arc<Outbox>]) {
        self.ended = true;
        outboxes.iter().for_each(|outbox| outbox.abandon());
    }

    /// The socket is gone, for the server as well.
    pub fn breaks(&mut self, server: &mut Server) {
        self.hangs_up();
        self.leaves(server);
        let outboxes: Vec<_> = self
            .own
            .iter()
            .chain(self.seats.iter().map(|seat| &seat.outbox))
            .cloned()
            .collect();
        self.ends(&outboxes);
        assert_eq!(self.shared.waiting_bytes(), 0, "what waited for a line goes with it");
    }

    /// The server is gone.
    pub fn is_orphaned(&mut self) {
        self.ended = true;
        self.seats.clear();
        self.down = BytesMut::new();
    }

    pub fn sends(&mut self, bytes: &[u8]) {
        self.up.extend_from_slice(bytes);
    }

    /// Bytes that have arrived at the client.
    pub fn arrives(&mut self, most: usize) -> Bytes {
        self.down.split_to(most.min(self.down.len())).freeze()
    }
}
