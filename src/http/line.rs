//! One WebSocket, whatever is spoken on it: the handshake, what the peer sends, and how it ends.
//!
//! Reading is a stream of [`Event`]s. Writing is the response body, which takes frames from an outbox as the connection
//! accepts them. The two share nothing else. [`super::upgrade`] moves the bytes.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev,
    error::PayloadError,
    http::header::{self, HeaderValue},
    web::{Bytes, BytesMut, Data, Payload},
};
use futures_util::{FutureExt, StreamExt};

use crate::{
    access::Credentials,
    protocol::{
        close::CloseReason,
        frame,
        frame_reader::{FrameReader, Received},
    },
    room::outbox::Outbox,
};

use super::Shared;

/// The answer to a request to become a WebSocket.
///
/// # Errors
/// The request is none.
pub async fn handshake(request: &HttpRequest, credentials: &Credentials<'_>) -> actix_web::Result<HttpResponse> {
    // actix-ws would read and write as well; both are done here, so its halves get nothing.
    let nothing = Payload::from_request(request, &mut dev::Payload::None).await?;
    let (mut response, _, _) = actix_ws::handle(request, nothing)?;
    answer_subprotocol(request, &mut response, credentials);
    Ok(response)
}

/// Upgrades only to say something and close: the code is the one thing that a browser shows to a page.
///
/// # Errors
/// The request is no upgrade.
pub async fn refuse(
    request: &HttpRequest,
    credentials: &Credentials<'_>,
    first: &[u8],
    reason: &CloseReason,
) -> actix_web::Result<HttpResponse> {
    log::info!("a connection was refused: {reason}");
    let response = handshake(request, credentials).await?;
    let last = Bytes::from([first, &frame::close(reason)].concat());
    Ok(response.map_body(|_, _| {
        let once = futures_util::stream::once(async move { Ok::<_, actix_web::Error>(last) });
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

/// What a peer does.
#[derive(Debug)]
pub enum Event {
    /// It sent a binary message.
    Message(Bytes),
    /// It sent a ping with this payload.
    Ping(Bytes),
    /// It sent a pong.
    Pong,
    /// It closes, with this code.
    Closes(Option<u16>),
    /// It broke the rules, and is to be told so.
    Errs(CloseReason),
    /// It is gone.
    Gone,
}

/// The reading side.
pub struct Reader {
    payload: dev::Payload,
    arrived: BytesMut,
    frames: FrameReader,
}

impl Reader {
    /// Reads messages of up to `message_bytes_max` bytes.
    #[must_use]
    pub fn new(payload: Payload, message_bytes_max: usize) -> Self {
        Self {
            payload: payload.into_inner(),
            arrived: BytesMut::new(),
            frames: FrameReader::new(message_bytes_max),
        }
    }

    /// The next event. Nothing follows [`Event::Closes`], [`Event::Errs`] and [`Event::Gone`].
    pub async fn next(&mut self) -> Event {
        loop {
            match self.frames.next(&mut self.arrived) {
                Ok(Some(received)) => return event(received),
                Ok(None) => {}
                Err(reason) => return Event::Errs(reason),
            }
            match self.payload.next().await {
                Some(Ok(bytes)) => {
                    self.arrived = bytes
                        .try_into_mut()
                        .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                }
                Some(Err(PayloadError::Overflow)) => {
                    return Event::Errs(CloseReason::MessageTooBig("the message is too big".to_owned()));
                }
                Some(Err(_)) | None => return Event::Gone,
            }
        }
    }

    /// The next event, if it has arrived.
    pub fn next_now(&mut self) -> Option<Event> {
        self.next().now_or_never()
    }
}

fn event(received: Received) -> Event {
    match received {
        Received::Binary(message) => Event::Message(message),
        Received::Text(_) => Event::Errs(CloseReason::NotBinary),
        Received::Ping(payload) => Event::Ping(payload),
        Received::Pong => Event::Pong,
        Received::Close(code) => Event::Closes(code),
    }
}

/// Counts a connection until all that was for it is written.
pub struct Open(Data<Shared>);

impl Open {
    /// Counts one more.
    #[must_use]
    pub fn count(shared: &Data<Shared>) -> Self {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        shared.metrics.connections.inc();
        shared.metrics.connections_accepted.inc();
        Self(shared.clone())
    }

    /// These bytes are written; counts them.
    pub fn sent(&self, bytes: Bytes) -> Bytes {
        self.0.metrics.sent_bytes.inc_by(bytes.len() as u64);
        bytes
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.connections.dec();
    }
}

/// The writing side of a socket with one session: the response body is the session's outbox.
pub struct OutboxBody {
    outbox: Arc<Outbox>,
    open: Open,
}

impl OutboxBody {
    /// Writes what is put into `outbox`.
    #[must_use]
    pub fn new(outbox: Arc<Outbox>, open: Open) -> Self {
        Self { outbox, open }
    }
}

impl MessageBody for OutboxBody {
    type Error = actix_web::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let next = self.outbox.poll_take(cx.waker());
        next.map(|bytes| bytes.map(|bytes| Ok(self.open.sent(bytes))))
    }
}

impl Drop for OutboxBody {
    fn drop(&mut self) {
        self.outbox.abandon();
    }
}
