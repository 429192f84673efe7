//! One document of a Hocuspocus socket that lives on another node: a WebSocket of its own to there.
//!
//! The socket stays where it is. What its client says about the document goes there message by message, the token first,
//! and what comes from there is written to the socket as if a session here had said it. Each direction waits for the one
//! that it goes to, so neither can fill memory here.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use actix_codec::{Decoder, Encoder};
use actix_http::ws;
use actix_web::{
    HttpRequest,
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    rt::time::sleep,
    web::{Bytes, BytesMut, Data},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use uuid::Uuid;

use crate::{
    actor::clock,
    id::DocumentId,
    nodes::{Nodes, Place, Said},
    protocol::{
        close::CloseReason,
        frame,
        hocuspocus::{self, Address},
    },
    room::{
        outbox::{Kind, Outbox},
        stream::Probe,
    },
};

use super::{
    Shared,
    doorkeeper::Visit,
    hocuspocus::Here,
    line::Open,
    tunnel::{self, Answer, Asked, Lost, Taken},
};

/// Names the document that such a WebSocket is for.
const DOCUMENT: HeaderName = HeaderName::from_static("cowrite-document");
/// Messages that may wait for the other node before the socket is not read.
const WAITING: usize = 2;
/// How often it is looked whether the client has read enough to be sent more.
const LOOK: Duration = Duration::from_millis(10);
/// How often the document's node is looked for.
const TRIES: usize = 4;
/// Pings of another node that are waited for, and pongs that wait to be said to it.
const PONGS: usize = 4;
/// How often it is looked whether a client has said something since the other node asked whether it lives.
const LISTEN: Duration = Duration::from_millis(100);
/// How long the other node may take to see that a client has left a document.
const FAREWELL: Duration = Duration::from_secs(5);
/// What a frame of the other node has beside a document, in bytes.
const FRAME_COST: usize = 64 * 1024;

/// How a socket's client came, for those of its documents that live elsewhere.
#[derive(Debug)]
pub struct Came {
    target: String,
    headers: HeaderMap,
    from: Option<std::net::SocketAddr>,
}

impl Came {
    /// As this request did.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Self {
        let mut headers = request.headers().clone();
        for name in [
            DOCUMENT,
            header::SEC_WEBSOCKET_EXTENSIONS,
            header::SEC_WEBSOCKET_KEY,
            header::SEC_WEBSOCKET_PROTOCOL,
        ] {
            headers.remove(name);
        }
        Self {
            target: request
                .uri()
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .to_owned(),
            headers,
            from: request.peer_addr(),
        }
    }

    fn asks(&self, document: &DocumentId) -> Asked {
        let mut headers = self.headers.clone();
        let name = utf8_percent_encode(document.as_str(), NON_ALPHANUMERIC).to_string();
        let key = STANDARD.encode(Uuid::new_v4().as_bytes());
        for (header, value) in [(DOCUMENT, name), (header::SEC_WEBSOCKET_KEY, key)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(header, value);
            }
        }
        Asked {
            head: tunnel::head(&Method::GET, &self.target, &headers, true, None),
            body: Bytes::new(),
            said: Said::Document(self.from),
        }
    }

    /// A WebSocket to where a document lives; none when that is here.
    ///
    /// # Errors
    /// Why there is none now.
    pub async fn find(
        &self,
        nodes: &Nodes,
        document: &DocumentId,
        shared: &Shared,
    ) -> Result<Option<Answer>, CloseReason> {
        if nodes.is_stranded() {
            return Err(CloseReason::Restarting);
        }
        // Each of them is a connection, and one socket may have many.
        if shared.connections.load(Ordering::Relaxed) >= shared.connections_max {
            return Err(CloseReason::Overloaded(
                "too many connections, try again later".to_owned(),
            ));
        }
        for _ in 0..TRIES {
            let owner = match tunnel::find(nodes, document, shared).await {
                Taken::Here => return Ok(None),
                Taken::There(owner) => owner,
                Taken::Nowhere => continue,
            };
            match tunnel::ask(nodes, document, owner, &self.asks(document)).await {
                Ok(answer) if answer.head.status == StatusCode::SWITCHING_PROTOCOLS => return Ok(Some(answer)),
                Ok(_) => {
                    let reason = "the server of the document takes no more connections, come back";
                    return Err(CloseReason::Overloaded(reason.to_owned()));
                }
                Err(Lost::Here) => {}
                Err(Lost::Nowhere) => break,
            }
        }
        Err(tunnel::moves())
    }
}

/// Whether this node can serve the document that another node's WebSocket is for.
pub async fn is_here(request: &HttpRequest, shared: &Shared) -> bool {
    let name = request.headers().get(DOCUMENT).and_then(|name| name.to_str().ok());
    let (Some(nodes), Some(Ok(document))) = (&shared.nodes, name.map(DocumentId::from_url_path)) else {
        return false;
    };
    if nodes.is_stranded() {
        return false;
    }
    if shared.registry.has(&document) {
        return shared.registry.elsewhere(&document).await.is_none();
    }
    nodes.ask(&document).await == Place::Here && shared.registry.elsewhere(&document).await.is_none()
}

/// What of a socket's messages may wait for other nodes, whatever of its documents they are for, in KiB; one that is larger waits
/// alone.
const ROOM_KIB: u32 = 1024;

/// Room for such messages.
#[derive(Clone)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB as usize)))
    }
}

/// What a way to another node has of its socket.
#[derive(Clone)]
pub struct Ties {
    /// Who is told.
    pub news: mpsc::UnboundedSender<News>,
    /// For what is said.
    pub room: Room,
}

/// A message, with the room that it takes until it is written.
type Saying = (Bytes, Option<OwnedSemaphorePermit>);

/// The way to a document on another node. Its client has left the document when this is dropped.
pub struct Away {
    says: mpsc::Sender<Saying>,
    room: Room,
    /// What comes from there.
    pub outbox: Arc<Outbox>,
    pongs: mpsc::Sender<Bytes>,
    probed: Probed,
    /// The client was let in there.
    pub is_admitted: bool,
}

/// What a socket hears of one of its documents that live elsewhere.
pub struct News {
    /// Which.
    pub address: Address,
    /// Of which of its sessions: the one with this outbox.
    pub outbox: Arc<Outbox>,
    /// Its client was let in, or (an error) there is no room for it for now.
    pub what: Result<(), CloseReason>,
}

/// The other node's last pings that pongs of the client have to answer, in their order.
type Probed = Arc<Mutex<VecDeque<Bytes>>>;

impl Away {
    /// Begins to carry. `own` is the socket's own outbox, and `here` is dropped when the other node has heard that the client
    /// has left.
    #[must_use]
    pub fn begin(
        answer: Answer,
        address: Address,
        outbox: Arc<Outbox>,
        own: Arc<Outbox>,
        here: Here,
        Ties { news, room }: Ties,
        shared: &Data<Shared>,
    ) -> Self {
        let (says, said) = mpsc::channel(WAITING);
        let (pongs, pinged) = mpsc::channel(PONGS);
        let probed = Arc::default();
        let (stream, early, owner) = answer.into_parts();
        let (read, write) = stream.into_split();
        let says_all = actix_web::rt::spawn(say(write, said, pinged, address.clone()));
        let hears = Ear {
            read,
            arrived: early.into(),
            outbox: outbox.clone(),
            own,
            pongs: pongs.clone(),
            probed: Arc::clone(&probed),
            asked: None,
            address,
            news: Some(news),
            shared: shared.clone(),
        };
        let shared = shared.clone();
        let open = Open::count(&shared, Visit::default());
        actix_web::rt::spawn(async move {
            let (mut hears, _open) = (hears, open);
            let Some(nodes) = &shared.nodes else { return };
            let left = async {
                let _ = says_all.await;
                sleep(FAREWELL).await;
            };
            tokio::select! {
                () = hears.all() => {}
                () = nodes.ends_with(owner.id) => hears.outbox.end(Some(frame::close(&CloseReason::Restarting))),
                () = left => {}
            }
            drop(here);
        });
        Self {
            says,
            room,
            outbox,
            pongs,
            probed,
            is_admitted: false,
        }
    }

    /// Its client answered a ping, perhaps that node's.
    pub fn hear_pong(&self, payload: &Bytes) {
        let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = probed.iter().position(|known| known == payload) {
            // Who answers the last ping alone has had those before it.
            probed.drain(..=at);
            let _ = self.pongs.try_send(payload.clone());
        }
    }

    /// Says a message there; waits when it has no room.
    pub async fn say(&self, message: Bytes) {
        let kib = u32::try_from(message.len().div_ceil(1024)).unwrap_or(u32::MAX);
        // If nobody is there any more, the socket is told by what comes from there.
        let room = self.room.0.clone().acquire_many_owned(kib.clamp(1, ROOM_KIB));
        let room = tokio::select! {
            room = room => room.ok(),
            () = self.says.closed() => return,
        };
        let _ = self.says.send((message, room)).await;
    }
}

/// Says what the client does, until it has left the document.
async fn say(
    mut write: OwnedWriteHalf,
    mut said: mpsc::Receiver<Saying>,
    mut pinged: mpsc::Receiver<Bytes>,
    address: Address,
) {
    let (mut codec, mut bytes) = (ws::Codec::new().client_mode(), BytesMut::new());
    loop {
        let (message, _until_it_is_written) = tokio::select! {
            message = said.recv() => match message {
                Some((message, room)) => (ws::Message::Binary(message), room),
                None => break,
            },
            Some(payload) = pinged.recv() => (ws::Message::Pong(payload), None),
        };
        if codec.encode(message, &mut bytes).is_err() || write.write_all(&bytes).await.is_err() {
            return;
        }
        // A large message leaves no large buffer.
        bytes = BytesMut::new();
    }
    let last = [
        ws::Message::Binary(hocuspocus::close(&address)),
        ws::Message::Close(Some(ws::CloseCode::Normal.into())),
    ];
    for message in last {
        let _ = codec.encode(message, &mut bytes);
    }
    let _ = write.write_all(&bytes).await;
}

/// Hears what the document's node says.
struct Ear {
    read: OwnedReadHalf,
    arrived: BytesMut,
    outbox: Arc<Outbox>,
    own: Arc<Outbox>,
    pongs: mpsc::Sender<Bytes>,
    probed: Probed,
    /// The other node's last ping, and when it came in milliseconds, until the client has said something since.
    asked: Option<(Bytes, u64)>,
    address: Address,
    /// Until something was heard.
    news: Option<mpsc::UnboundedSender<News>>,
    shared: Data<Shared>,
}

impl Ear {
    /// Until it is silent. Then the session has ended, or the whole socket ends as the one to the node did.
    async fn all(&mut self) {
        let end = self.until_end().await;
        self.outbox.end(end);
    }

    async fn until_end(&mut self) -> Option<Bytes> {
        let bytes_max = self.shared.registry.document_bytes_max() + self.shared.message_bytes_max + FRAME_COST;
        let mut codec = ws::Codec::new().client_mode().max_size(bytes_max);
        let restarts = || Some(frame::close(&CloseReason::Restarting));
        loop {
            match codec.decode(&mut self.arrived) {
                Ok(Some(ws::Frame::Binary(message))) => {
                    self.is_first(|| Ok(()));
                    self.put(frame::binary(&[&message])).await;
                }
                // What it is about has to have arrived at the client (F14).
                Ok(Some(ws::Frame::Ping(payload))) if !payload.is_empty() => self.probe(payload).await,
                Ok(Some(ws::Frame::Ping(payload))) => {
                    self.outbox.push(frame::ping(), Kind::Other);
                    self.asked = Some((payload, clock::now() / 1_000));
                }
                Ok(Some(ws::Frame::Close(Some(reason)))) if reason.code == ws::CloseCode::Normal => return None,
                Ok(Some(ws::Frame::Close(Some(reason)))) => {
                    let text = reason.description.unwrap_or_default();
                    // The others of its socket go on, as they do when this document lives beside them.
                    let is_later = reason.code == ws::CloseCode::Again;
                    if is_later && self.is_first(|| Err(CloseReason::Overloaded(text.clone()))) {
                        return None;
                    }
                    return Some(frame::close_with(reason.code.into(), &text));
                }
                Ok(Some(ws::Frame::Pong(_))) => {}
                Ok(Some(_)) | Err(_) => return restarts(),
                Ok(None) => match self.read_more().await {
                    Ok(read) if read > 0 => {}
                    _ => return restarts(),
                },
            }
        }
    }

    /// Reads on. A client lives for the other node when it has said something since it was asked: its line may be dead here.
    async fn read_more(&mut self) -> io::Result<usize> {
        loop {
            let heard = self.own.line().heard_ms();
            if let Some((payload, _)) = self.asked.take_if(|(_, since)| *since <= heard) {
                let _ = self.pongs.try_send(payload);
            }
            let is_asked = self.asked.is_some();
            tokio::select! {
                read = self.read.read_buf(&mut self.arrived) => return read,
                () = sleep(LISTEN), if is_asked => {}
            }
        }
    }

    async fn probe(&self, payload: Bytes) {
        let ping = frame::ping_with(&payload);
        if Probe::of(&payload).is_some() {
            let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
            if probed.len() >= PONGS {
                probed.pop_front();
            }
            probed.push_back(payload);
        }
        self.put(ping).await;
    }

    /// Tells the socket, if nothing was heard before; whether that is so.
    fn is_first(&mut self, what: impl FnOnce() -> Result<(), CloseReason>) -> bool {
        let Some(news) = self.news.take() else { return false };
        // A socket that has ended wants to know nothing.
        let _ = news.send(News {
            address: self.address.clone(),
            outbox: self.outbox.clone(),
            what: what(),
        });
        true
    }

    /// Waits as long as the client does not read what waits for it.
    async fn put(&self, message: Bytes) {
        let bytes_max = self.shared.outbox_bytes_max;
        while !self.outbox.push_within(message.clone().into(), Kind::Other, bytes_max) {
            if self.outbox.is_closing() {
                return;
            }
            sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[actix_web::test]
    async fn n14_what_waits_for_other_nodes_is_bounded_for_all_documents_of_a_socket_together() {
        let room = Room::default();
        let way = || {
            let (says, said) = mpsc::channel(WAITING);
            let away = Away {
                says,
                room: room.clone(),
                outbox: Arc::new(Outbox::alone(1024)),
                pongs: mpsc::channel(1).0,
                probed: Probed::default(),
                is_admitted: true,
            };
            (away, said)
        };
        let [(first, mut read), (second, _unread)] = [way(), way()];
        let large = Bytes::from(vec![0; 600 * 1024]);
        let waits = Duration::from_millis(20);
        first.say(large.clone()).await;

        assert!(timeout(waits, second.say(large.clone())).await.is_err());
        second.say(Bytes::from_static(b"small")).await;
        drop(read.recv().await);
        second.say(large.clone()).await;
        assert!(timeout(waits, first.say(large.clone())).await.is_err());

        // Nobody is there any more: nothing is waited for.
        drop(read);
        first.say(large).await;
    }
}
