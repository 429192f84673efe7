//! How a socket gets to another thread.
//!
//! The system gives a new connection to any thread. One that carries a single document moves to that document's home
//! ([`crate::actor::homes`]) and is answered there: from socket to room and back nothing crosses a thread.

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc};

use actix_http::{Request, header::HeaderMap};
use actix_rt::ArbiterHandle;
use actix_web::{
    http::{Method, Uri, Version},
    web::{Bytes, BytesMut},
};
use tokio::sync::oneshot;

use super::socket::{Packed, Socket};

type Answers = Rc<dyn Fn(Move)>;

thread_local! {
    /// What this thread does with a connection that moves to it.
    static TAKES_IN: RefCell<Option<Answers>> = const { RefCell::new(None) };
}

/// From now on connections that move to this thread are answered by `answers`.
pub fn take_in(answers: impl Fn(Move) + 'static) {
    TAKES_IN.set(Some(Rc::new(answers)));
}

/// What of a connection can cross threads.
#[derive(Debug)]
pub struct Move {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    peer: Option<SocketAddr>,
    io: Packed,
    unread: Bytes,
    unwritten: BytesMut,
    answered: oneshot::Sender<()>,
}

/// A request to upgrade, and the connection that it came on.
#[derive(Debug)]
pub struct Upgrading {
    /// The request, without its payload.
    pub request: Request,
    /// The connection.
    pub io: Socket,
    /// What had arrived behind the request.
    pub unread: Bytes,
    /// What of earlier answers is still to be written.
    pub unwritten: BytesMut,
}

impl Move {
    /// Takes a connection off this thread. The receiver is ready when it has been answered, or is gone.
    ///
    /// # Errors
    /// The system's.
    pub fn pack(upgrading: Upgrading) -> io::Result<(Self, oneshot::Receiver<()>)> {
        let (answered, answer) = oneshot::channel();
        let Upgrading {
            mut request,
            io,
            unread,
            unwritten,
        } = upgrading;
        let head = request.head_mut();
        let packed = Self {
            method: std::mem::take(&mut head.method),
            uri: std::mem::take(&mut head.uri),
            version: head.version,
            headers: std::mem::take(&mut head.headers),
            peer: head.peer_addr,
            io: io.pack()?,
            unread,
            unwritten,
            answered,
        };
        Ok((packed, answer))
    }

    /// Sends it to the thread of `arbiter`. It is lost when that thread ends just now, and then its peer connects again.
    pub fn go(self, arbiter: &ArbiterHandle) {
        arbiter.spawn_fn(move || {
            if let Some(answers) = TAKES_IN.with_borrow(Clone::clone) {
                answers(self);
            }
        });
    }

    /// Puts it on this thread. The sender is to be dropped when the request has been answered.
    ///
    /// # Errors
    /// The system's.
    pub fn unpack(self) -> io::Result<(Upgrading, oneshot::Sender<()>)> {
        let mut request = Request::new();
        let head = request.head_mut();
        head.method = self.method;
        head.uri = self.uri;
        head.version = self.version;
        head.headers = self.headers;
        head.peer_addr = self.peer;
        let upgrading = Upgrading {
            request,
            io: self.io.unpack()?,
            unread: self.unread,
            unwritten: self.unwritten,
        };
        Ok((upgrading, self.answered))
    }
}
