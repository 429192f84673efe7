//! The bytes of a connection, with or without TLS, and how they cross threads.
//!
//! A TCP stream is registered with the thread that polls it, so it is taken off one and put on another. A TLS session is plain
//! data around it and goes along.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    net::Shutdown,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix_web::rt::net::TcpStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
};
use tokio_rustls::server::TlsStream;

use crate::nodes::Greeted;

type Session = TlsStream<Carrier>;

/// A connection on this thread.
#[derive(Debug)]
pub enum Socket {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS, whose handshake is done.
    Tls(Box<Session>),
    /// Another node's, which has said on whose behalf it connects.
    Tunnel(TcpStream, Greeted),
}

/// A connection between two threads.
#[derive(Debug)]
pub enum Packed {
    /// Without TLS.
    Plain(std::net::TcpStream),
    /// With TLS.
    Tls(Box<Session>),
    /// Another node's.
    Tunnel(std::net::TcpStream, Greeted),
}

/// What a TLS session sends and receives through.
#[derive(Debug)]
pub enum Carrier {
    /// On this thread; shared with whoever looks past the session.
    Here(Arc<TcpStream>),
    /// Between two threads.
    Moving(std::net::TcpStream),
    /// Lost on the way.
    Gone,
}

impl Socket {
    /// Which other node has connected, and on whose behalf, if one has.
    #[must_use]
    pub fn greeted(&self) -> Option<Greeted> {
        match self {
            Self::Tunnel(_, greeted) => Some(*greeted),
            Self::Plain(_) | Self::Tls(_) => None,
        }
    }

    /// Takes it off this thread.
    ///
    /// # Errors
    /// The system's.
    pub fn pack(self) -> io::Result<Packed> {
        Ok(match self {
            Self::Plain(tcp) => Packed::Plain(tcp.into_std()?),
            Self::Tunnel(tcp, greeted) => Packed::Tunnel(tcp.into_std()?, greeted),
            Self::Tls(mut session) => {
                let carrier = std::mem::replace(session.get_mut().0, Carrier::Gone);
                let Carrier::Here(tcp) = carrier else {
                    return Err(gone());
                };
                let tcp = Arc::into_inner(tcp).ok_or_else(gone)?;
                *session.get_mut().0 = Carrier::Moving(tcp.into_std()?);
                Packed::Tls(session)
            }
        })
    }

    /// Its two directions, which two tasks of this thread have.
    ///
    /// # Errors
    /// It was lost.
    pub fn split(self) -> io::Result<(ReadHalf, WriteHalf)> {
        match self {
            Self::Plain(tcp) | Self::Tunnel(tcp, _) => {
                let (read, write) = tcp.into_split();
                Ok((ReadHalf::Plain(read), WriteHalf::Plain(write)))
            }
            Self::Tls(session) => {
                let Carrier::Here(tcp) = session.get_ref().0 else {
                    return Err(gone());
                };
                let tcp = tcp.clone();
                let session = Rc::new(RefCell::new(session));
                Ok((ReadHalf::Tls(session.clone()), WriteHalf::Tls(session, tcp)))
            }
        }
    }
}

impl Packed {
    /// Puts it on this thread.
    ///
    /// # Errors
    /// The system's.
    pub fn unpack(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Plain(tcp) => Socket::Plain(TcpStream::from_std(tcp)?),
            Self::Tunnel(tcp, greeted) => Socket::Tunnel(TcpStream::from_std(tcp)?, greeted),
            Self::Tls(mut session) => {
                let carrier = std::mem::replace(session.get_mut().0, Carrier::Gone);
                let Carrier::Moving(tcp) = carrier else {
                    return Err(gone());
                };
                *session.get_mut().0 = Carrier::Here(Arc::new(TcpStream::from_std(tcp)?));
                Socket::Tls(session)
            }
        })
    }
}

impl Carrier {
    /// Carries a session over `tcp`.
    #[must_use]
    pub fn new(tcp: TcpStream) -> Self {
        Self::Here(Arc::new(tcp))
    }

    fn tcp(&self) -> io::Result<&TcpStream> {
        match self {
            Self::Here(tcp) => Ok(tcp),
            Self::Moving(_) | Self::Gone => Err(gone()),
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the connection was lost between two threads")
}

/// What the peer sends.
#[derive(Debug)]
pub enum ReadHalf {
    /// Without TLS.
    Plain(OwnedReadHalf),
    /// With TLS.
    Tls(Rc<RefCell<Box<Session>>>),
}

/// What the peer is sent.
#[derive(Debug)]
pub enum WriteHalf {
    /// Without TLS.
    Plain(OwnedWriteHalf),
    /// With TLS.
    Tls(Rc<RefCell<Box<Session>>>, Arc<TcpStream>),
}

impl WriteHalf {
    /// The connection below TLS.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(half) => half.as_ref(),
            Self::Tls(_, tcp) => tcp,
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_read(cx, into),
            Self::Tls(session) => Pin::new(&mut **session.borrow_mut()).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_write(cx, bytes),
            Self::Tls(session, _) => Pin::new(&mut **session.borrow_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_write_vectored(cx, slices),
            Self::Tls(session, _) => Pin::new(&mut **session.borrow_mut()).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_flush(cx),
            Self::Tls(session, _) => Pin::new(&mut **session.borrow_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_shutdown(cx),
            Self::Tls(session, _) => Pin::new(&mut **session.borrow_mut()).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) | Self::Tunnel(tcp, _) => Pin::new(tcp).poll_read(cx, into),
            Self::Tls(session) => Pin::new(&mut **session).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) | Self::Tunnel(tcp, _) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(session) => Pin::new(&mut **session).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) | Self::Tunnel(tcp, _) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(session) => Pin::new(&mut **session).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) | Self::Tunnel(tcp, _) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(session) => Pin::new(&mut **session).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Carrier {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tcp = self.tcp()?;
        loop {
            ready!(tcp.poll_read_ready(cx))?;
            match tcp.try_read(into.initialize_unfilled()) {
                Ok(read) => {
                    into.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Carrier {
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        mut send: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let tcp = self.tcp()?;
        loop {
            ready!(tcp.poll_write_ready(cx))?;
            match send(tcp) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |tcp| tcp.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |tcp| tcp.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(self.tcp()?).shutdown(Shutdown::Write))
    }
}
