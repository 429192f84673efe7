//! One WebSocket, from its upgrade to its end.
//!
//! Reading is a task that parses messages and hands them to the document's actor. A peer cannot run
//! ahead of its document: large batches go one at a time, small ones as long as the mailbox has room. Writing
//! is the response body, which takes frames from the session's outbox as the connection accepts them. The two
//! share nothing else. [`super::upgrade`] moves the bytes.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use actix::{Addr, prelude::SendError};
use actix_http::ws::ProtocolError;
use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev,
    error::PayloadError,
    http::header::{self, HeaderValue},
    rt::time::timeout,
    web::{Bytes, Data, Payload},
};
use actix_ws::{AggregatedMessage, AggregatedMessageStream};
use futures_util::{FutureExt, Stream, StreamExt};

use crate::{
    access::Credentials,
    actor::{
        clock,
        document::{DocumentActor, Hear, Join, Leave},
    },
    protocol::{
        close::CloseReason,
        dialect::{Dialect, Inbound},
        frame,
        frame_guard::FrameGuard,
    },
    room::{
        outbox::{Kind, Outbox},
        session::{Joining, SessionId},
    },
};

use super::{
    Shared,
    admission::{self, Admitted, Refusal},
};

/// Most messages handed to a document at once.
const BATCH_MESSAGES_MAX: usize = 256;
/// Most bytes handed to a document at once.
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Batches up to this size are handed over without waiting for the document to take them, as long as its
/// mailbox has room: waiting costs as much as merging them.
const UNWAITED_BYTES_MAX: usize = 8 * 1024;
/// How long a connection waits for its document: as long as providers wait for a message.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);
/// How often an actor that is just going away is asked for its successor.
const OPEN_TRIES: usize = 8;

type Verdict = Rc<RefCell<Option<CloseReason>>>;

/// The document's name in a path, not decoded.
pub fn raw_name(path: &str) -> Option<&str> {
    path.strip_prefix("/ws/")
}

/// `GET /ws/{document}`.
pub async fn connect(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> actix_web::Result<HttpResponse> {
    let raw_name = raw_name(request.uri().path()).unwrap_or_default().to_owned();
    let credentials = admission::credentials(&request);
    let token = match &credentials.token {
        Ok(token) => Ok(token.as_deref()),
        Err(error) => Err(error.to_string()),
    };
    match admission::admit(&request, token, &raw_name, &shared) {
        Ok(admitted) => upgrade(&request, payload, &credentials, &shared, admitted).await,
        Err(refusal) => {
            shared.metrics.ended(refusal.label());
            match refusal {
                Refusal::Http(status, text) => Ok(Refusal::response(status, &text)),
                Refusal::Close(reason) => refuse(&request, payload, &credentials, &reason),
            }
        }
    }
}

async fn upgrade(
    request: &HttpRequest,
    payload: Payload,
    credentials: &Credentials<'_>,
    shared: &Data<Shared>,
    Admitted { document, identity }: Admitted,
) -> actix_web::Result<HttpResponse> {
    let verdict = Verdict::default();
    let payload = guarded(request, payload, shared.message_bytes_max, verdict.clone()).await?;
    let (mut response, _, messages) = actix_ws::handle(request, payload)?;
    answer_subprotocol(request, &mut response, credentials);
    let messages = messages
        .max_frame_size(shared.message_bytes_max)
        .aggregate_continuations()
        .max_continuation_size(shared.message_bytes_max);

    let id = SessionId(shared.next_session.fetch_add(1, Ordering::Relaxed));
    let outbox = Arc::new(Outbox::new(2 * shared.outbox_bytes_max));
    let expires = identity.expires_at_ms.map(clock::at_wall_ms);
    let joining = Joining {
        id,
        identity,
        expires,
        dialect: Dialect::YWebsocket,
        outbox: outbox.clone(),
    };
    shared.connections.fetch_add(1, Ordering::Relaxed);
    shared.metrics.connections.inc();
    shared.metrics.connections_accepted.inc();
    let open = Open(shared.clone());
    let mut body_of_actix = None;
    let response = response.map_body(|_, body| {
        body_of_actix = Some(body);
        BoxBody::new(OutboxBody {
            outbox: outbox.clone(),
            open,
        })
    });
    let connection = Connection {
        id,
        outbox,
        shared: shared.clone(),
        verdict,
        _body: body_of_actix,
    };
    actix_web::rt::spawn(connection.live(joining, document, messages));
    Ok(response)
}

/// Upgrades only to close: the code is the one thing that a browser shows to a page.
fn refuse(
    request: &HttpRequest,
    payload: Payload,
    credentials: &Credentials<'_>,
    reason: &CloseReason,
) -> actix_web::Result<HttpResponse> {
    log::info!("a connection was refused: {reason}");
    let (mut response, _, _) = actix_ws::handle(request, payload)?;
    answer_subprotocol(request, &mut response, credentials);
    let mut last = Dialect::YWebsocket.denied(reason.text()).to_vec();
    last.extend_from_slice(&frame::close(reason));
    Ok(response.map_body(|_, _| {
        let once = futures_util::stream::once(async move { Ok::<_, actix_web::Error>(Bytes::from(last)) });
        BoxBody::new(actix_web::body::BodyStream::new(Box::pin(once)))
    }))
}

/// A client that offers subprotocols fails unless it is answered with one of them; a token is none.
fn answer_subprotocol(request: &HttpRequest, response: &mut HttpResponse, credentials: &Credentials<'_>) {
    let offered = request
        .headers()
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(',').map(str::trim))
        .find(|name| !name.is_empty() && !name.starts_with("bearer."));
    if let Some(answer) = credentials.subprotocol.or(offered)
        && let Ok(value) = HeaderValue::from_str(answer)
    {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
}

/// The same payload, seen by a [`FrameGuard`] first; what it objects to ends the stream.
async fn guarded(
    request: &HttpRequest,
    payload: Payload,
    message_bytes_max: usize,
    verdict: Verdict,
) -> actix_web::Result<Payload> {
    let mut guard = FrameGuard::new(message_bytes_max);
    let mut inner = payload.into_inner();
    let stream = futures_util::stream::poll_fn(move |cx| {
        if verdict.borrow().is_some() {
            return Poll::Ready(None);
        }
        let next = std::task::ready!(Pin::new(&mut inner).poll_next(cx));
        if let Some(Ok(bytes)) = &next
            && let Err(reason) = guard.inspect(bytes)
        {
            *verdict.borrow_mut() = Some(reason);
            return Poll::Ready(None);
        }
        Poll::Ready(next)
    });
    let stream: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(stream);
    Payload::from_request(request, &mut dev::Payload::Stream { payload: stream }).await
}

/// Counts a connection until all that was for it is written.
struct Open(Data<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.connections.dec();
    }
}

/// The reading side.
struct Connection {
    id: SessionId,
    outbox: Arc<Outbox>,
    shared: Data<Shared>,
    verdict: Verdict,
    /// actix-ws ends the messages when its own body goes, also those that have arrived.
    _body: Option<BoxBody>,
}

impl Connection {
    async fn live(self, joining: Joining, document: crate::id::DocumentId, messages: AggregatedMessageStream) {
        match self.join(joining, &document).await {
            Ok(actor) => {
                let reason = self.read(&actor, messages).await;
                if let Some(reason) = reason {
                    self.shared.metrics.ended(reason.label());
                    log::info!("session {} of document {document} was closed: {reason}", self.id.0);
                    self.outbox.close(&reason);
                }
                self.outbox.hang_up();
                let _ = actor.send(Leave(self.id)).await;
            }
            Err(reason) => {
                self.shared.metrics.ended(reason.label());
                self.outbox.close(&reason);
            }
        }
    }

    async fn join(
        &self,
        joining: Joining,
        document: &crate::id::DocumentId,
    ) -> Result<Addr<DocumentActor>, CloseReason> {
        for _ in 0..OPEN_TRIES {
            let Some(actor) = self.shared.registry.open(document) else {
                break;
            };
            match timeout(JOIN_PATIENCE, actor.send(Join(joining.clone()))).await {
                Ok(Ok(Ok(()))) => return Ok(actor),
                Ok(Ok(Err(reason))) => return Err(reason),
                // It left memory between the two lines; the next one loads anew.
                Ok(Err(_)) => {}
                Err(_) => {
                    // Whether it joins all the same or has done so: it leaves behind that.
                    let leave = actor.send(Leave(self.id));
                    actix_web::rt::spawn(async move {
                        let _ = leave.await;
                    });
                    let reason = "the document is busy, try again".to_owned();
                    return Err(CloseReason::Overloaded(reason));
                }
            }
        }
        Err(CloseReason::Restarting)
    }

    /// Reads until the connection ends; the reason when it was this side that found one.
    async fn read(&self, actor: &Addr<DocumentActor>, mut stream: AggregatedMessageStream) -> Option<CloseReason> {
        loop {
            let mut batch = Batch::default();
            let mut next = Some(stream.next().await);
            // The writing side may have thrown away some of what came: a message would have holes.
            if self.outbox.is_closing() {
                return None;
            }
            let mut end = None;
            while let Some(message) = next.take() {
                match self.take(message, &mut batch) {
                    Ok(Taken::More) if batch.is_full() => {}
                    Ok(Taken::More) => next = stream.next().now_or_never(),
                    Ok(Taken::End) => end = Some(None),
                    Err(reason) => end = Some(Some(reason)),
                }
            }
            self.outbox.heard(clock::now() / 1_000);
            self.shared.metrics.received_bytes.inc_by(batch.bytes as u64);
            if !batch.messages.is_empty() {
                let hear = Hear {
                    session: self.id,
                    messages: batch.messages,
                };
                if hand_over(actor, hear, batch.bytes).await.is_err() {
                    return Some(CloseReason::Restarting);
                }
            }
            if let Some(end) = end {
                return end;
            }
            if self.outbox.is_closing() {
                return None;
            }
        }
    }

    fn take(
        &self,
        message: Option<Result<AggregatedMessage, ProtocolError>>,
        batch: &mut Batch,
    ) -> Result<Taken, CloseReason> {
        match message {
            Some(Ok(AggregatedMessage::Binary(bytes))) => {
                batch.bytes += bytes.len();
                batch.messages.push(Dialect::YWebsocket.parse(bytes)?);
                Ok(Taken::More)
            }
            Some(Ok(AggregatedMessage::Ping(payload))) => {
                self.outbox.push(frame::pong(&payload), Kind::Other);
                Ok(Taken::More)
            }
            Some(Ok(AggregatedMessage::Pong(_))) => Ok(Taken::More),
            Some(Ok(AggregatedMessage::Text(_))) => Err(CloseReason::NotBinary),
            Some(Ok(AggregatedMessage::Close(reason))) => {
                self.outbox.echo_close(reason.map(|reason| reason.code.into()));
                Ok(Taken::End)
            }
            Some(Err(error)) => match (self.verdict.take(), error) {
                (Some(reason), _) => Err(reason),
                (None, ProtocolError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                    Err(CloseReason::NotUtf8)
                }
                // The connection broke.
                (None, ProtocolError::Io(_)) => Ok(Taken::End),
                (None, ProtocolError::Overflow) => Err(CloseReason::MessageTooBig("the message is too big".to_owned())),
                (None, error) => Err(CloseReason::Protocol(error.to_string())),
            },
            None => self.verdict.take().map_or(Ok(Taken::End), Err),
        }
    }
}

/// Fails when the document has gone.
async fn hand_over(actor: &Addr<DocumentActor>, hear: Hear, bytes: usize) -> Result<(), ()> {
    let hear = if bytes <= UNWAITED_BYTES_MAX {
        match actor.try_send(hear) {
            Ok(()) => return Ok(()),
            Err(SendError::Full(hear)) => hear,
            Err(SendError::Closed(_)) => return Err(()),
        }
    } else {
        hear
    };
    actor.send(hear).await.map_err(drop)
}

enum Taken {
    More,
    End,
}

#[derive(Default)]
struct Batch {
    messages: Vec<Inbound>,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.messages.len() >= BATCH_MESSAGES_MAX || self.bytes >= BATCH_BYTES_MAX
    }
}

/// The writing side: the response body is the session's outbox.
struct OutboxBody {
    outbox: Arc<Outbox>,
    open: Open,
}

impl MessageBody for OutboxBody {
    type Error = actix_web::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.outbox.poll_take(cx.waker()).map(|frame| {
            frame.map(|frame| {
                self.open.0.metrics.sent_bytes.inc_by(frame.len() as u64);
                Ok(frame)
            })
        })
    }
}

impl Drop for OutboxBody {
    fn drop(&mut self) {
        self.outbox.abandon();
    }
}
