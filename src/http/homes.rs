//! Every document has a home: the thread that serves all its connections.
//!
//! The system gives a new connection to any thread. From there to its document and back each message would cross
//! threads, and to wake another thread costs more than an edit does. So a connection that is to become a
//! WebSocket moves to the thread that follows from its document's name, and is answered there. The document's
//! actor starts on the thread of the first connection, so it is at home too.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix_http::{Request, header::HeaderMap};
use actix_web::{
    http::{Method, Uri, Version},
    rt::net::TcpStream,
    web::{Bytes, BytesMut},
};
use tokio::sync::{mpsc, oneshot};

use crate::id::DocumentId;

/// The threads that serve connections.
#[derive(Debug)]
pub struct Homes {
    /// Drawn at the start: who chooses names cannot choose a thread for them.
    key: RandomState,
    threads: Mutex<Vec<Thread>>,
}

#[derive(Debug)]
struct Thread {
    way: mpsc::UnboundedSender<Move>,
    /// Until the thread has started.
    arrivals: Option<Arrivals>,
}

/// One of the threads, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home(usize);

/// What moves to a thread.
pub type Arrivals = mpsc::UnboundedReceiver<Move>;

impl Homes {
    /// For so many threads, which may start later than the first connection comes.
    #[must_use]
    pub fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self {
            key: RandomState::new(),
            threads: Mutex::new((0..threads.max(1)).map(|_| Thread::default()).collect()),
        })
    }

    /// The calling thread is one of them from now on. The place of one that has ended is given away again.
    #[must_use]
    pub fn settle(&self) -> Option<(Home, Arrivals)> {
        let mut threads = self.lock();
        let free = threads
            .iter()
            .position(|thread| thread.arrivals.is_some() || thread.way.is_closed())?;
        if threads[free].arrivals.is_none() {
            threads[free] = Thread::default();
        }
        let arrivals = threads[free].arrivals.take()?;
        Some((Home(free), arrivals))
    }

    /// The home of a document: the same for as long as the process lives.
    #[must_use]
    pub fn of(&self, document: &DocumentId) -> Home {
        let hash = self.key.hash_one(document.as_str());
        Home((hash % self.lock().len() as u64) as usize)
    }

    /// Moves a connection there.
    ///
    /// # Errors
    /// The thread has ended: here it is again.
    pub fn send(&self, home: Home, moving: Move) -> Result<(), Box<Move>> {
        match self.lock().get(home.0) {
            Some(thread) => thread.way.send(moving).map_err(|unsent| Box::new(unsent.0)),
            None => Err(Box::new(moving)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Thread>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Thread {
    fn default() -> Self {
        let (way, arrivals) = mpsc::unbounded_channel();
        Self {
            way,
            arrivals: Some(arrivals),
        }
    }
}

/// What of a connection can cross threads.
#[derive(Debug)]
pub struct Move {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    peer: Option<SocketAddr>,
    io: std::net::TcpStream,
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
    pub io: TcpStream,
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
            io: io.into_std()?,
            unread,
            unwritten,
            answered,
        };
        Ok((packed, answer))
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
            io: TcpStream::from_std(self.io)?,
            unread: self.unread,
            unwritten: self.unwritten,
        };
        Ok((upgrading, self.answered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_thread_that_ended_is_given_to_the_next() {
        let homes = Homes::new(2);
        let (first, arrivals) = homes.settle().expect("a place");
        let (second, _kept) = homes.settle().expect("a place");
        assert_ne!(first, second);
        assert!(homes.settle().is_none());

        drop(arrivals);

        assert_eq!(homes.settle().map(|(home, _)| home), Some(first));
    }
}
