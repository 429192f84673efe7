//! What happens to a connection once it is no longer HTTP.
//!
//! actix-web's dispatcher is made for requests and responses; a WebSocket that stays in it pays for that with
//! every frame (two tasks woken for one read, a copy of every write) and with its state for as long as it is open.
//! So an upgrade leaves it: the same application answers the request, its payload is the socket itself, and its
//! response body is written to the socket by a task that does nothing else.

use std::{
    cell::RefCell,
    convert::Infallible,
    io::{self, IoSlice},
    net::Shutdown,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_codec::{Encoder, Framed, FramedParts};
use actix_http::{
    ConnectionType, HttpMessage, Request, ServiceConfig,
    body::{BodySize, BoxBody, MessageBody},
    error::PayloadError,
    h1::{Codec, Message},
};
use actix_service::{Service, ServiceFactory, fn_factory, fn_service};
use actix_web::{
    Error,
    dev::{Payload, ServiceResponse},
    http::{Method, StatusCode, Version},
    rt::net::TcpStream,
    web::{Buf, Bytes, BytesMut},
};
use futures_util::Stream;
use smallvec::{SmallVec, smallvec};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::{
    actor::homes::{Home, Homes},
    id::DocumentId,
    room::outbox::{Outbox, Side},
};

use super::{
    address::BasePath,
    moving::{self, Move, Upgrading},
    socket::{ReadHalf, Socket, WriteHalf},
    turns, y_sweet, y_websocket,
};

/// Most bytes of one read.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Most frames of one write.
const WRITE_FRAMES_MAX: usize = 64;
/// No more frames are taken for one write once it has so many bytes: what is not taken can still be dropped.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// How long the answer to an upgrade that was none may take.
const ANSWER: Duration = Duration::from_secs(10);
const CANNOT_MOVE: &str = "a connection was lost on its way to its document's thread";
/// How long a peer may take to close after it was told to. A socket that is closed with bytes unread resets the
/// connection, and the peer may never see why.
const LINGER: Duration = Duration::from_secs(1);

thread_local! {
    /// What is read is copied out at its true length: connections that are silent have no buffer.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES_MAX].into_boxed_slice());
}

/// Answers upgrades with `application`, on sockets that have left HTTP and on the thread of their document. `is_first`:
/// connections that move to this thread are answered by this application, and not by another one that is on it.
pub fn factory<A>(
    application: A,
    homes: Arc<Homes>,
    base_path: BasePath,
    is_first: bool,
) -> impl ServiceFactory<(Request, Framed<Socket, Codec>), Config = (), Response = (), Error = Infallible, InitError = ()>
where
    A: ServiceFactory<Request, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
        + 'static,
    A::Service: 'static,
{
    let application = Rc::new(application);
    fn_factory(move || {
        let (application, homes, base_path) = (application.clone(), homes.clone(), base_path.clone());
        async move {
            let application = Rc::new(application.new_service(()).await?);
            let here = is_first.then(|| homes.settle()).flatten();
            if is_first {
                // Weak: what a thread keeps to its very end must not hold an application.
                let (answers, config) = (Rc::downgrade(&application), ServiceConfig::default());
                moving::take_in(move |moved| {
                    if let Some(application) = answers.upgrade() {
                        actix_web::rt::spawn(answer_moved(application, moved, config.clone()));
                    }
                });
            }
            Ok(fn_service(move |(request, framed)| {
                let home = home(&request, &base_path, &homes).filter(|home| Some(*home) != here);
                route(application.clone(), home, homes.clone(), request, framed)
            }))
        }
    })
}

/// The thread on which an upgrade is answered, if it is for one document.
fn home(request: &Request, base_path: &BasePath, homes: &Homes) -> Option<Home> {
    // Anything else is refused, and what its answer depends on does not move.
    let can_move = request.method() == Method::GET && request.version() == Version::HTTP_11;
    let path = base_path.strip(request.path()).filter(|_| can_move)?;
    let name = y_websocket::raw_name(path).or_else(|| y_sweet::raw_name(path))?;
    let document = DocumentId::from_url_path(name).ok()?;
    Some(homes.of(&document))
}

/// Answers here what has no home elsewhere, and has the rest answered there. Ends when it is answered, so that until
/// then it counts as one of the server's connections.
async fn route<S>(
    application: Rc<S>,
    elsewhere: Option<Home>,
    homes: Arc<Homes>,
    request: Request,
    framed: Framed<Socket, Codec>,
) -> Result<(), Infallible>
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = Error>,
{
    let FramedParts {
        io,
        codec,
        read_buf,
        write_buf: unwritten,
        ..
    } = framed.into_parts();
    let upgrading = Upgrading {
        request,
        io,
        // Copied: the buffer is larger, and this is kept for as long as the connection.
        unread: Bytes::copy_from_slice(&read_buf),
        unwritten,
    };
    match elsewhere.and_then(|home| homes.arbiter(home)) {
        Some(arbiter) => match Move::pack(upgrading) {
            Ok((moved, answered)) => {
                moved.go(&arbiter);
                drop(answered.await);
            }
            Err(error) => log::warn!("{CANNOT_MOVE}: {error}"),
        },
        None => answer(application, upgrading, codec).await,
    }
    Ok(())
}

async fn answer_moved<S>(application: Rc<S>, moved: Move, config: ServiceConfig)
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = Error>,
{
    match moved.unpack() {
        Ok((upgrading, answered)) => {
            answer(application, upgrading, Codec::new(config)).await;
            drop(answered);
        }
        Err(error) => log::warn!("{CANNOT_MOVE}: {error}"),
    }
}

async fn answer<S>(application: Rc<S>, upgrading: Upgrading, mut codec: Codec)
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = Error>,
{
    let Upgrading {
        request,
        io,
        unread,
        unwritten: mut begin,
    } = upgrading;
    if let Some(greeted) = io.greeted() {
        request.extensions_mut().insert(greeted);
    }
    let (reader, writer) = match io.split() {
        Ok(halves) => halves,
        Err(error) => return log::warn!("{CANNOT_MOVE}: {error}"),
    };
    let incoming: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(incoming(reader, unread));
    let (request, _) = request.replace_payload(Payload::Stream { payload: incoming });
    let response = match application.call(request).await {
        Ok(response) => response.into_parts().1,
        Err(error) => error.error_response(),
    };
    let (head, body) = response.into_parts();
    let outbox = head.extensions().get::<Arc<Outbox>>().cloned();
    let is_upgraded = head.status() == StatusCode::SWITCHING_PROTOCOLS;
    let mut head: actix_http::Response<()> = head.into();
    let encoded = if is_upgraded {
        let encoded = codec.encode(Message::Item((head, BodySize::Stream)), &mut begin);
        encoded.map(|()| Some(body))
    } else {
        head.head_mut().set_connection_type(ConnectionType::Close);
        encode_whole(&mut codec, head, body, &mut begin).await.map(|()| None)
    };
    if let Err(error) = &encoded {
        log::warn!("an upgrade could not be answered: {error}");
    }
    let outgoing = Outgoing {
        writer,
        unwritten: smallvec![begin.freeze()],
        outbox,
        is_held_up: false,
    };
    match encoded {
        // A task of its own: nothing of the dispatcher stays in memory.
        Ok(Some(body)) => drop(actix_web::rt::spawn(outgoing.run(Some(body)))),
        // Here it counts as one of the server's connections, and it has to end.
        Ok(None) => drop(actix_web::rt::time::timeout(ANSWER, outgoing.run(None)).await),
        Err(_) => {}
    }
}

async fn encode_whole(
    codec: &mut Codec,
    head: actix_http::Response<()>,
    body: BoxBody,
    into: &mut BytesMut,
) -> io::Result<()> {
    let bytes = actix_web::body::to_bytes(body)
        .await
        .map_err(|error| io::Error::other(error.to_string()))?;
    codec.encode(Message::Item((head, BodySize::Sized(bytes.len() as u64))), into)?;
    codec.encode(Message::Chunk(Some(bytes)), into)?;
    codec.encode(Message::Chunk(None), into)
}

/// What a peer sends, behind what had arrived `early`.
pub(super) fn incoming(reader: ReadHalf, early: Bytes) -> impl Stream<Item = Result<Bytes, PayloadError>> + Unpin {
    Incoming {
        reader,
        early,
        pauses: false,
    }
}

/// What the peer sends.
struct Incoming {
    reader: ReadHalf,
    /// What had arrived with the request.
    early: Bytes,
    /// The last read filled the buffer: the reader, which goes on while anything comes, pauses once.
    pauses: bool,
}

impl Stream for Incoming {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.early.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.early))));
        }
        if std::mem::take(&mut self.pauses) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            let read = ready!(Pin::new(&mut self.reader).poll_read(cx, &mut buffer));
            self.pauses = buffer.remaining() == 0;
            // A connection that breaks ends like one that is closed: an error would hide what came before it.
            Poll::Ready(match read {
                Ok(()) if !buffer.filled().is_empty() => Some(Ok(Bytes::copy_from_slice(buffer.filled()))),
                _ => None,
            })
        })
    }
}

/// What the peer is sent.
struct Outgoing {
    writer: WriteHalf,
    unwritten: SmallVec<[Bytes; 1]>,
    /// An outbox of the line, if it is one.
    outbox: Option<Arc<Outbox>>,
    /// Its peer does not read.
    is_held_up: bool,
}

impl Outgoing {
    /// The body is dropped last: whoever counts on it counts connections that still wait for their peer.
    async fn run(mut self, body: Option<BoxBody>) {
        let mut body = pin!(body);
        match self.write(body.as_mut()).await {
            Ok(()) => self.close().await,
            // The peer has gone. The reading side sees that too, behind all that had arrived.
            Err(_) => self.shut(),
        }
        self.goes_on();
    }

    /// Writes what waits and then `body`, to its end.
    async fn write(&mut self, mut body: Pin<&mut Option<BoxBody>>) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            loop {
                let has_ended = self.take(body.as_mut().as_pin_mut(), cx);
                if self.unwritten.is_empty() {
                    self.goes_on();
                    // TLS keeps what the socket did not take yet.
                    let flushed = Pin::new(&mut self.writer).poll_flush(cx)?;
                    return if has_ended { flushed.map(Ok) } else { Poll::Pending };
                }
                if let Poll::Ready(written) = self.poll_write(cx) {
                    written?;
                } else {
                    self.waits_for_peer(cx)?;
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// The peer does not read: says how much that makes us hold. What is left of a line that was given up is let go, unless it
    /// is little: a peer that reads a little is told why, behind it.
    fn waits_for_peer(&mut self, cx: &Context<'_>) -> io::Result<()> {
        let Some(outbox) = &self.outbox else { return Ok(()) };
        let bytes = self.unwritten.iter().map(Bytes::len).sum();
        outbox.line().holds_unwritten(bytes);
        self.is_held_up = true;
        if outbox.line().is_given_up(Side::Writes, cx.waker()) && bytes > WRITE_BYTES_MAX {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    /// What the peer was to read it has read, or never will.
    fn goes_on(&mut self) {
        if std::mem::take(&mut self.is_held_up)
            && let Some(outbox) = &self.outbox
        {
            outbox.line().holds_unwritten(0);
        }
    }

    /// Takes frames for one write; true when none follow.
    fn take(&mut self, body: Option<Pin<&mut BoxBody>>, cx: &mut Context<'_>) -> bool {
        let Some(mut body) = body else { return true };
        let mut bytes: usize = self.unwritten.iter().map(Bytes::len).sum();
        while self.unwritten.len() < WRITE_FRAMES_MAX && bytes < WRITE_BYTES_MAX {
            match body.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    bytes += frame.len();
                    self.unwritten.push(frame);
                }
                Poll::Ready(_) => return true,
                Poll::Pending => return false,
            }
        }
        false
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writer = Pin::new(&mut self.writer);
        let written = match &self.unwritten[..] {
            [frame] => writer.poll_write(cx, frame),
            frames => {
                let slices: SmallVec<[IoSlice<'_>; WRITE_FRAMES_MAX]> =
                    frames.iter().map(|frame| IoSlice::new(frame)).collect();
                writer.poll_write_vectored(cx, &slices)
            }
        };
        let mut written = ready!(written)?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let whole = self.unwritten.iter().take_while(|frame| {
            let is_whole = frame.len() <= written;
            if is_whole {
                written -= frame.len();
            }
            is_whole
        });
        let whole = whole.count();
        self.unwritten.drain(..whole);
        if let Some(first) = self.unwritten.first_mut() {
            first.advance(written);
        } else {
            self.unwritten.shrink_to_fit();
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing follows, waits a moment for the peer to say the same, and ends the reading side.
    async fn close(&mut self) {
        let _ = self.writer.shutdown().await;
        let _ = actix_web::rt::time::timeout(LINGER, discard(self.writer.tcp())).await;
        self.shut();
    }

    /// Ends the reading side as well.
    fn shut(&self) {
        let _ = socket2::SockRef::from(self.writer.tcp()).shutdown(Shutdown::Both);
    }
}

/// Reads to the end what the reading side leaves.
async fn discard(socket: &TcpStream) {
    while socket.readable().await.is_ok() {
        match READ_BUFFER.with_borrow_mut(|buffer| socket.try_read(buffer)) {
            Ok(0) => return,
            // A flood goes on when its connection was closed for it.
            Ok(_) => turns::comes().await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        io::{Read, Write},
        net::{SocketAddr, TcpListener},
    };

    use actix_http::HttpService;
    use actix_server::Server;
    use actix_service::{ServiceFactoryExt, map_config};
    use actix_web::{App, HttpRequest, HttpResponse, dev::AppConfig, web};

    use super::*;
    use crate::{
        protocol::{close::CloseReason, frame},
        room::outbox::Kind,
    };

    const THREADS: usize = 3;

    struct Written(Arc<Outbox>);

    impl MessageBody for Written {
        type Error = Infallible;

        fn size(&self) -> BodySize {
            BodySize::Stream
        }

        fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
            self.0.poll_take(cx.waker()).map(|bytes| bytes.map(Ok))
        }
    }

    /// A line on which `frames` wait for a peer that reads nothing: its outbox, its peer, and the task that writes.
    async fn held_up(
        frames: impl IntoIterator<Item = Bytes>,
    ) -> (Arc<Outbox>, std::net::TcpStream, actix_web::rt::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let peer = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (tcp, _) = listener.accept().expect("a connection");
        tcp.set_nonblocking(true).expect("not blocking");
        let (_, writer) = Socket::Plain(TcpStream::from_std(tcp).expect("a stream"))
            .split()
            .expect("halves");
        let outbox = Arc::new(Outbox::alone(1 << 30));
        frames.into_iter().for_each(|frame| outbox.push(frame, Kind::Other));
        let outgoing = Outgoing {
            writer,
            unwritten: SmallVec::new(),
            outbox: Some(outbox.clone()),
            is_held_up: false,
        };
        let body = BoxBody::new(Written(outbox.clone()));
        let runs = actix_web::rt::spawn(outgoing.run(Some(body)));
        while outbox.line().held_bytes() == outbox.line().waiting_bytes() {
            actix_web::rt::time::sleep(Duration::from_millis(1)).await;
        }
        (outbox, peer, runs)
    }

    #[actix_web::test]
    async fn l55_what_a_peer_does_not_read_is_let_go_when_its_line_is_given_up() {
        let large = Bytes::from(vec![0; 64 << 20]);
        let (outbox, _peer, runs) = held_up([large.clone(), large.clone()]).await;
        assert!(outbox.line().held_bytes() > 64 << 20);

        outbox.give_up(&CloseReason::Restarting);

        assert!(outbox.line().waiting_bytes() == 0, "at once");
        let ended = actix_web::rt::time::timeout(Duration::from_secs(20), runs).await;
        ended.expect("it ends").expect("no panic");
        assert_eq!(outbox.line().held_bytes(), 0);
        assert!(large.is_unique());
    }

    #[actix_web::test]
    async fn l55_a_peer_that_reads_a_little_is_told_why() {
        let small = || Bytes::from(vec![0; 1_000]);
        let (outbox, mut peer, runs) = held_up((0..30_000).map(|_| small())).await;

        outbox.give_up(&CloseReason::Restarting);

        assert_eq!(outbox.line().waiting_bytes(), 0, "at once");
        let reads = actix_web::web::block(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| all)
        });
        let all = reads.await.expect("no panic").expect("all that was written");
        let (frames, close) = all.split_at(all.len() / 1_000 * 1_000);
        assert!(frames.iter().all(|byte| *byte == 0));
        assert_eq!(close, frame::close(&CloseReason::Restarting));
        runs.await.expect("no panic");
    }

    /// Says on which thread an upgrade is answered, and what arrived there of it.
    async fn tell(request: HttpRequest) -> HttpResponse {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let query = request.query_string();
        let peer = request.peer_addr().map(|address| address.ip());
        let thread = std::thread::current().id();
        HttpResponse::BadRequest().body(format!("{:?} {query} {peer:?} {thread:?}", header("origin")))
    }

    fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).expect("a connection");
        let head = "Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: o";
        let request = format!("GET {path}?q HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer, and its end");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer");
        body.to_owned()
    }

    #[actix_web::test]
    async fn l34_all_connections_of_a_document_are_served_on_one_thread() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let homes = Homes::new(THREADS);
        let builder = Server::build().listen("http", listener, move || {
            let application = || map_config(App::new().default_service(web::to(tell)), |()| AppConfig::default());
            let h1 = HttpService::build()
                .upgrade(factory(application(), homes.clone(), BasePath::default(), true))
                .h1(application());
            let plain = |tcp: TcpStream| async move {
                let peer = tcp.peer_addr().ok();
                Ok((Socket::Plain(tcp), peer))
            };
            fn_service(plain).and_then(h1)
        });
        let server = builder.expect("listens").workers(THREADS).disable_signals().run();
        let handle = server.handle();
        actix_web::rt::spawn(server);

        let answers = web::block(move || {
            let paths_of = |document| {
                [
                    format!("/ws/a/{document}"),
                    format!("/d/a%2F{document}/ws/a%2F{document}"),
                    format!("/doc/ws/a%2F{document}"),
                ]
            };
            let answers_of = |document| {
                let paths = paths_of(document);
                // The system gives each connection to another thread.
                let answers = paths.iter().cycle().take(2 * THREADS).map(|path| ask(address, path));
                answers.collect::<HashSet<_>>()
            };
            (0..20).map(answers_of).collect::<Vec<_>>()
        });
        let answers = answers.await.expect("no panic");

        assert!(answers.iter().all(|of_one| of_one.len() == 1), "{answers:?}");
        let all: HashSet<_> = answers.into_iter().flatten().collect();
        assert!(all.len() > 1, "{all:?}");
        let whole = "Some(\"o\") q Some(127.0.0.1) ";
        assert!(all.iter().all(|answer| answer.starts_with(whole)), "{all:?}");
        handle.stop(false).await;
    }
}
