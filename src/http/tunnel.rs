//! How a request reaches the node that its document lives on, when it came to another one.
//!
//! The node that it came to connects to the owner's cluster address, greets it ([`crate::nodes::send`]), writes the
//! request's head again, and then carries bytes both ways without reading them. Who may do what, and how much, the owner
//! decides, as if the client had come to it.
//!
//! There is one hop: a request that came from a node and cannot be served is answered with 421, and the node that sent it
//! looks again. So two nodes that take each other for the owner send nothing round and round.

use std::{
    fmt::Write,
    io,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use actix_codec::Decoder;
use actix_http::{ResponseHead, h1::ClientCodec};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    body::{BoxBody, SizedStream},
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderName},
    },
    rt::{net::TcpStream, time::sleep},
    web::{Bytes, BytesMut, Data, Payload},
};
use futures_util::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    id::DocumentId,
    nodes::{self, Greeted, Nodes, Peer, Place, Said, Stranger},
    protocol::close::CloseReason,
    store::NodeId,
};

use super::{
    Shared,
    admission::{self, Refusal},
    carried,
    doorkeeper::Visit,
    line::Open,
    refusals,
    socket::ReadHalf,
    upgrade,
};

/// How long a connection to another node may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an owner may take to answer: it may have to load the document.
const ANSWER: Duration = Duration::from_secs(30);
/// How often the owner is looked for, and how much longer is waited before each further look: some two seconds in all.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(75);
/// No further look is begun after so long: whoever waits for an owner that is silent and lives is told to come back.
const SEARCH: Duration = Duration::from_secs(6);
/// How fly.io's proxy is asked to bring a request to another machine, and what it adds to one that it has tried to bring.
const FLY_REPLAY: &str = "fly-replay";
const FLY_TRIED: [&str; 2] = ["fly-replay-src", "fly-replay-failed"];
/// The longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// A node of which so little is heard that its machine may be gone is asked, and given up when it does not answer.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_TRIES: u32 = 3;
/// How long a node may leave what was sent to it unacknowledged.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// What concerns one connection alone, and is written anew.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::UPGRADE,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What becomes of a request.
pub enum Way {
    /// It is served here.
    Here(Payload),
    /// It was answered, by another node or since it cannot be.
    Answered(HttpResponse),
}

/// Which other node sent a request, and on whose behalf, if one did.
fn greeted(request: &HttpRequest) -> Option<Greeted> {
    let of_upgrade = request.extensions().get::<Greeted>().copied();
    of_upgrade.or_else(|| request.conn_data::<Greeted>().copied())
}

/// On whose behalf another node sent a request, if one did.
#[must_use]
pub fn said(request: &HttpRequest) -> Option<Said> {
    greeted(request).map(|greeted| greeted.said)
}

/// The node that a client is connected to; `None` where there is one server.
#[must_use]
pub fn node(request: &HttpRequest, shared: &Shared) -> Option<NodeId> {
    let own = shared.nodes.as_ref()?.own();
    Some(greeted(request).map_or(own, |greeted| greeted.by))
}

/// Sends a request for a document to the node that has it, as far as that is known before anybody is let in. Who shows no
/// token that opens the document is refused here, and costs no question to the store.
pub async fn route(request: &HttpRequest, payload: Payload, raw_name: &str, shared: &Data<Shared>) -> Way {
    let Some(nodes) = shared.nodes.as_ref() else {
        return Way::Here(payload);
    };
    let Ok(document) = DocumentId::from_url_path(raw_name) else {
        return Way::Here(payload);
    };
    // What is refused anyway is refused here: of a body, say, the owner would see nothing.
    if admission::is_upgrade(request) && admission::is_no_handshake(request).is_some() {
        return Way::Here(payload);
    }
    if shared.is_stranded() {
        // The node that sent it looks again. A client is turned away as it is admitted.
        return match said(request) {
            Some(_) => Way::Answered(not_here()),
            None => Way::Here(payload),
        };
    }
    let credentials = admission::credentials(request);
    if shared.registry.has(&document) || admission::identify(credentials.shown(), &document, shared).is_err() {
        return Way::Here(payload);
    }
    // A node that sent it has just asked.
    let place = match said(request) {
        Some(_) => nodes.ask(&document).await,
        None => nodes.place(&document).await,
    };
    match place {
        Place::Here => Way::Here(payload),
        Place::There(peer) => send(nodes, request, payload, &document, peer, shared).await,
    }
}

/// Takes a document for somebody who was let in, or sends the request to the node that has it.
pub async fn take(request: &HttpRequest, mut payload: Payload, document: &DocumentId, shared: &Data<Shared>) -> Way {
    let Some(nodes) = shared.nodes.as_ref() else {
        return Way::Here(payload);
    };
    for _ in 0..TRIES {
        match taken(nodes, document, shared).await {
            Taken::Here => return Way::Here(payload),
            Taken::There(owner) => match send(nodes, request, payload, document, owner, shared).await {
                Way::Here(unused) => payload = unused,
                answered @ Way::Answered(_) => return answered,
            },
            Taken::Nowhere => {}
        }
    }
    Way::Answered(busy(request).await)
}

/// What came of taking a document.
pub enum Taken {
    /// This node has it, or has another trouble with it than that somebody else has.
    Here,
    /// Another node has it.
    There(Peer),
    /// Another node had it a moment ago, or nobody can connect to that node.
    Nowhere,
}

/// Takes a document, or finds out who has it.
pub async fn taken(nodes: &Nodes, document: &DocumentId, shared: &Shared) -> Taken {
    if shared.registry.elsewhere(document).await.is_none() {
        return Taken::Here;
    }
    if let Place::There(peer) = nodes.ask(document).await {
        return Taken::There(peer);
    }
    sleep(PAUSE).await;
    Taken::Nowhere
}

/// What fly.io's proxy is told, if it is to bring a request to its owner itself; it says so in a request that it has brought,
/// or could not.
fn replayed_at(nodes: &Nodes, request: &HttpRequest, owner: &Peer) -> Option<String> {
    nodes.machine()?;
    let machine = owner.machine.as_ref()?;
    let was_tried = FLY_TRIED.iter().any(|name| request.headers().contains_key(*name));
    (!was_tried).then(|| format!("instance={machine};timeout=2s;fallback=force_self"))
}

/// Who has a document; takes it if nobody has.
pub async fn find(nodes: &Nodes, document: &DocumentId, shared: &Shared) -> Taken {
    if !shared.registry.has(document)
        && let Place::There(owner) = nodes.place(document).await
    {
        return Taken::There(owner);
    }
    taken(nodes, document, shared).await
}

async fn send(
    nodes: &Nodes,
    request: &HttpRequest,
    payload: Payload,
    document: &DocumentId,
    owner: Peer,
    shared: &Data<Shared>,
) -> Way {
    if said(request).is_some() {
        return Way::Answered(not_here());
    }
    let is_upgrade = admission::is_upgrade(request);
    if is_upgrade && let Some(machine) = replayed_at(nodes, request, &owner) {
        return Way::Answered(HttpResponse::NoContent().insert_header((FLY_REPLAY, machine)).finish());
    }
    if shared.connections.load(Ordering::Relaxed) >= shared.connections_max {
        let full = "too many connections, try again later";
        return Way::Answered(Refusal::response(StatusCode::SERVICE_UNAVAILABLE, full));
    }
    let asked = Asked {
        head: head(request.method(), &target(request), request.headers(), is_upgrade, None),
        body: Bytes::new(),
        said: Said::Client(request.peer_addr()),
    };
    match ask(nodes, document, owner, &asked).await {
        Ok(answer) if is_upgrade && answer.head.status == StatusCode::SWITCHING_PROTOCOLS => {
            let open = Open::count(shared, Visit::default());
            Way::Answered(answer.upgraded(payload, open, shared))
        }
        Ok(answer) => Way::Answered(answer.whole()),
        Err(Lost::Here) => Way::Here(payload),
        Err(Lost::Nowhere) => Way::Answered(busy(request).await),
    }
}

/// A request without a WebSocket, and with all of its body, for a document that another node has; `None` when it can be served
/// here.
///
/// # Errors
/// It cannot be answered now.
pub async fn request(
    request: &HttpRequest,
    body: Bytes,
    document: &DocumentId,
    shared: &Data<Shared>,
) -> Result<Option<HttpResponse>, CloseReason> {
    let Some(nodes) = shared.nodes.as_ref() else {
        return Ok(None);
    };
    for _ in 0..TRIES {
        let owner = match find(nodes, document, shared).await {
            Taken::Here => return Ok(None),
            Taken::There(owner) => owner,
            Taken::Nowhere => continue,
        };
        if said(request).is_some() {
            return Ok(Some(not_here()));
        }
        let length = Some(body.len()).filter(|_| *request.method() != Method::GET);
        let asked = Asked {
            head: head(request.method(), &target(request), request.headers(), false, length),
            body: body.clone(),
            said: Said::Client(request.peer_addr()),
        };
        match ask(nodes, document, owner, &asked).await {
            Ok(answer) => return Ok(Some(answer.whole())),
            Err(Lost::Here) => {}
            Err(Lost::Nowhere) => break,
        }
    }
    Err(moves())
}

/// A look at a document without a WebSocket, for which nobody opens it: the answer of the node that has it, to `asked`; `None`
/// when none has, or this one.
///
/// # Errors
/// The document moves, or its node does not answer.
pub async fn look(
    request: &HttpRequest,
    document: &DocumentId,
    asked: &Asked,
    shared: &Shared,
) -> Result<Option<HttpResponse>, CloseReason> {
    let Some(nodes) = shared.nodes.as_ref().filter(|_| !shared.registry.has(document)) else {
        return Ok(None);
    };
    let came_from_node = said(request).is_some();
    let place = match came_from_node {
        true => nodes.ask(document).await,
        false => nodes.place(document).await,
    };
    match place {
        Place::Here => Ok(None),
        Place::There(_) if came_from_node => Ok(Some(not_here())),
        Place::There(owner) => match ask(nodes, document, owner, asked).await {
            Ok(answer) => Ok(Some(answer.whole())),
            Err(Lost::Here) => Ok(None),
            Err(Lost::Nowhere) => Err(moves()),
        },
    }
}

/// A request without a body, as it came, for whoever is asked next.
#[must_use]
pub fn again(request: &HttpRequest) -> Asked {
    Asked {
        head: head(request.method(), &target(request), request.headers(), false, None),
        body: Bytes::new(),
        said: Said::Client(request.peer_addr()),
    }
}

/// What is sent to an owner.
pub struct Asked {
    /// Of the request.
    pub head: Bytes,
    /// Behind it.
    pub body: Bytes,
    /// For whom.
    pub said: Said,
}

/// Why no owner has answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Lost {
    /// This node can take the document.
    Here,
    /// It moves, or its owner does not answer.
    Nowhere,
}

/// Asks the owner of a document, and whoever is the owner then if it is not.
///
/// # Errors
/// [`Lost`].
pub async fn ask(nodes: &Nodes, document: &DocumentId, mut owner: Peer, asked: &Asked) -> Result<Answer, Lost> {
    let until = Instant::now() + SEARCH;
    for tried in 1..=TRIES {
        if Instant::now() > until {
            break;
        }
        match connect(nodes, &owner, asked).await {
            Ok(answer) if answer.head.status == StatusCode::MISDIRECTED_REQUEST => {}
            Ok(answer) => return Ok(answer),
            Err(Failed::Dead(why)) => {
                log::debug!("node {} at {}: {why}", owner.id, owner.address);
                nodes.is_dead(&owner).await;
            }
            Err(Failed::Now(why)) => refusals::say(format_args!(
                "node {} at {} is not reached: {why}",
                owner.id, owner.address
            )),
        }
        nodes.forget(document);
        if tried > 1 {
            sleep(PAUSE * (tried - 1)).await;
        }
        owner = match nodes.ask(document).await {
            Place::There(peer) => peer,
            Place::Here => return Err(Lost::Here),
        };
    }
    Err(Lost::Nowhere)
}

/// Asks a node, whatever it has.
///
/// # Errors
/// Why it does not answer. One that lives no more is told of to all.
pub async fn ask_peer(nodes: &Nodes, peer: &Peer, asked: &Asked) -> Result<Answer, String> {
    match connect(nodes, peer, asked).await {
        Ok(answer) => Ok(answer),
        Err(Failed::Dead(why)) => {
            nodes.is_dead(peer).await;
            Err(why)
        }
        Err(Failed::Now(why)) => Err(why),
    }
}

/// The same, and nobody is told when it lives no more: the store, which tells the others, could not be reached.
pub async fn ask_quietly(nodes: &Nodes, peer: &Peer, asked: &Asked) -> Option<Answer> {
    connect(nodes, peer, asked).await.ok()
}

/// Why an owner does not answer.
enum Failed {
    /// It lives no more.
    Dead(String),
    /// Nothing follows from it.
    Now(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Dead(error.to_string()),
            _ => Self::Now(error.to_string()),
        }
    }
}

async fn connect(nodes: &Nodes, owner: &Peer, asked: &Asked) -> Result<Answer, Failed> {
    tokio::select! {
        answer = ask_one(nodes, owner, asked) => answer,
        () = nodes.is_over_with(owner.id) => Err(Failed::Now("it is gone".to_owned())),
    }
}

async fn ask_one(nodes: &Nodes, owner: &Peer, asked: &Asked) -> Result<Answer, Failed> {
    let late = |_| Failed::Now("it does not answer".to_owned());
    let mut stream = timeout(CONNECT, TcpStream::connect(&owner.address))
        .await
        .map_err(late)??;
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(&stream);
    socket.set_tcp_user_timeout(Some(PEER_TIMEOUT))?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(KEEPALIVE_TRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    let greeted = nodes::send(&mut stream, nodes.own(), owner.id, nodes.secret(), asked.said).await;
    greeted.map_err(|stranger| match stranger {
        Stranger::Another(_) => Failed::Dead(stranger.to_string()),
        other => Failed::Now(other.to_string()),
    })?;
    stream.write_all(&asked.head).await?;
    stream.write_all(&asked.body).await?;
    let answer = timeout(ANSWER, read_head(&mut stream)).await.map_err(late)?;
    let (head, early) = answer?;
    Ok(Answer {
        owner: owner.clone(),
        stream,
        head,
        early,
    })
}

async fn read_head(stream: &mut TcpStream) -> io::Result<(ResponseHead, Bytes)> {
    let (mut codec, mut read) = (ClientCodec::default(), BytesMut::with_capacity(4 * 1024));
    loop {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        if let Some(head) = codec.decode(&mut read).map_err(|error| invalid(error.to_string()))? {
            return Ok((head, read.freeze()));
        }
        if read.len() > HEAD_BYTES_MAX {
            return Err(invalid("its answer has too long a head".to_owned()));
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// What an owner answers, and the way to it.
pub struct Answer {
    owner: Peer,
    stream: TcpStream,
    /// Of the answer.
    pub head: ResponseHead,
    /// What came right behind it.
    early: Bytes,
}

impl Answer {
    /// The connection, what came on it behind the answer, and who is at its other end.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, Bytes, Peer) {
        (self.stream, self.early, self.owner)
    }

    /// The answer to a client that is a WebSocket from here on.
    fn upgraded(self, payload: Payload, open: Open, shared: &Data<Shared>) -> HttpResponse {
        let mut response = HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS);
        response.upgrade("websocket");
        let mut response = response.finish();
        copy(&self.head.headers, response.headers_mut());
        let body = carried::begin(self.stream, self.early, self.owner, payload, open, shared);
        response.map_body(|_, _| BoxBody::new(body))
    }

    /// The answer to any other request. Nodes answer with bodies of a known length.
    fn whole(self) -> HttpResponse {
        let length = self.head.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let mut response = HttpResponse::build(self.head.status).finish();
        copy(&self.head.headers, response.headers_mut());
        let (read, write) = self.stream.into_split();
        let incoming = upgrade::incoming(ReadHalf::Plain(read), self.early);
        let holds = incoming.map(move |piece| {
            let _until_its_end = &write;
            piece
        });
        response.map_body(|_, _| BoxBody::new(SizedStream::new(length.unwrap_or(0), Box::pin(holds))))
    }

    /// Its body, or what could be read of it.
    pub async fn bytes(self, bytes_max: usize) -> Vec<u8> {
        let mut bytes = self.early.to_vec();
        let mut rest = self.stream.take(bytes_max as u64);
        // What could be read says more than an error does.
        let _ = timeout(ANSWER, rest.read_to_end(&mut bytes)).await;
        bytes
    }

    /// All of a short answer's body.
    pub async fn text(self, bytes_max: usize) -> String {
        String::from_utf8_lossy(&self.bytes(bytes_max).await).trim().to_owned()
    }
}

fn target(request: &HttpRequest) -> String {
    let target = request.uri().path_and_query();
    target.map_or("/", |target| target.as_str()).to_owned()
}

/// The head of a request, written again for the owner. `length`: of its body.
#[must_use]
pub fn head(method: &Method, target: &str, headers: &HeaderMap, upgrades: bool, length: Option<usize>) -> Bytes {
    let mut head = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers.iter().filter(|(name, _)| !HOP_BY_HOP.contains(name)) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    let mut end = String::new();
    if upgrades {
        end.push_str("connection: upgrade\r\nupgrade: websocket\r\n");
    } else {
        end.push_str("connection: close\r\n");
    }
    if let Some(length) = length {
        let _ = write!(end, "content-length: {length}\r\n");
    }
    end.push_str("\r\n");
    head.extend_from_slice(end.as_bytes());
    head.into()
}

fn copy(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from.iter().filter(|(name, _)| !HOP_BY_HOP.contains(name)) {
        to.append(name.clone(), value.clone());
    }
}

/// The answer to a node that believes that a document is here.
#[must_use]
pub fn not_here() -> HttpResponse {
    // Not a refusal: the node looks again.
    HttpResponse::build(StatusCode::MISDIRECTED_REQUEST).finish()
}

/// Why a document is not served now that has no node for a moment.
#[must_use]
pub fn moves() -> CloseReason {
    CloseReason::Overloaded("the document is moving between servers, come back".to_owned())
}

async fn busy(request: &HttpRequest) -> HttpResponse {
    let reason = moves();
    if !admission::is_upgrade(request) {
        return Refusal::response(StatusCode::SERVICE_UNAVAILABLE, reason.text());
    }
    let refused = super::line::refuse(request, &admission::credentials(request), &[], &reason).await;
    refused.unwrap_or_else(|error| error.error_response())
}
