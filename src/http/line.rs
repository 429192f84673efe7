//! One WebSocket, whatever is spoken on it: the handshake, what the peer sends, and how it ends.
//!
//! Reading is a stream of [`Event`]s. Writing is the response body, which takes frames from an outbox as the connection
//! accepts them. The two share nothing else. [`super::upgrade`] moves the bytes.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev,
    error::PayloadError,
    http::header::{self, HeaderValue},
    rt::time::{Sleep, sleep},
    web::{Bytes, BytesMut, Data, Payload},
};
use futures_util::{FutureExt, StreamExt};

use crate::{
    access::Credentials,
    actor::clock,
    budgets::{Memory, pace::Pace},
    protocol::{
        close::CloseReason,
        frame,
        frame_reader::{FrameReader, Received},
    },
    room::{
        Micros,
        outbox::{Line, Outbox, Side},
    },
};

use super::{
    Shared,
    doorkeeper::{Doorkeeper, Visit},
    refusals::Reason,
    turns,
    unfinished::Begun,
};

/// A connection that is not read is looked at so often.
const PAUSE_MAX: Micros = 1_000_000;
/// A close is told so late at most.
const HELD_BACK_MAX: Duration = Duration::from_secs(5);
/// Who sends much is read so far at a time, in bytes.
const TURN_BYTES: usize = 64 * 1024;

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

/// Who is at the other end, for the log: a proxy, if there is one.
#[must_use]
pub fn peer(request: &HttpRequest) -> String {
    request
        .peer_addr()
        .map_or_else(|| "nobody".to_owned(), |peer| peer.to_string())
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
    let mut response = handshake(request, credentials).await?;
    response.extensions_mut().insert(Reason(reason.to_string()));
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
    /// It sent a pong with this payload.
    Pong(Bytes),
    /// It closes, with this code.
    Closes(Option<u16>),
    /// It broke the rules, and is to be told so.
    Errs(CloseReason),
    /// It is gone.
    Gone,
}

/// Tells a line who its peer is, as far as that matters: a browser takes messages of any size, and other libraries have bounds.
pub fn says_who(request: &HttpRequest, line: &Line) {
    let agent = request.headers().get(header::USER_AGENT);
    if agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/")) {
        line.is_to_a_browser();
    }
}

/// The answer to a request that becomes the line of `outbox`, written from `body`. Whoever writes it hears when it is given up.
pub fn begins<B: MessageBody + 'static>(response: HttpResponse, body: B, outbox: Arc<Outbox>) -> HttpResponse {
    let mut response = response.map_body(|_, _| BoxBody::new(body));
    response.extensions_mut().insert(outbox);
    response
}

/// The reading side.
pub struct Reader {
    payload: dev::Payload,
    arrived: BytesMut,
    frames: FrameReader,
    /// An outbox of the line.
    outbox: Arc<Outbox>,
    begun: Begun,
    pace: Pace,
    /// What it may read before it is others' turn, in bytes, if it sends much.
    turn: Option<usize>,
    keeper: Arc<Doorkeeper>,
    memory: Arc<Memory>,
}

impl Reader {
    /// Reads what comes on the line of `outbox`.
    #[must_use]
    pub fn new(payload: Payload, outbox: Arc<Outbox>, shared: &Data<Shared>) -> Self {
        Self {
            payload: payload.into_inner(),
            arrived: BytesMut::new(),
            frames: FrameReader::new(shared.message_bytes_max),
            begun: Begun::on(&shared.unfinished, &outbox),
            outbox,
            pace: Pace::default(),
            turn: None,
            keeper: shared.doorkeeper.clone(),
            memory: shared.memory.clone(),
        }
    }

    /// So many of its messages were presence.
    pub fn heard_presence(&mut self, messages: u32) {
        self.pace.hears_presence(messages);
    }

    /// Waits as long as it is not to be read (H5). What is not read fills the network's buffers, and its peer waits as well.
    async fn keep_pace(&mut self) {
        while !self.outbox.is_closing()
            && let Some(wait) = self
                .pace
                .waits(self.keeper.pace(), self.outbox.line().spent(), clock::now())
        {
            // It is not the peer who is silent.
            self.outbox.line().heard(clock::now() / 1_000);
            sleep(Duration::from_micros(wait.min(PAUSE_MAX))).await;
        }
    }

    /// The next event, which begins a batch. Nothing follows [`Event::Closes`], [`Event::Errs`] and [`Event::Gone`].
    pub async fn next(&mut self) -> Event {
        self.turn = None;
        self.fetch().await
    }

    async fn fetch(&mut self) -> Event {
        match self.receive().await {
            Ok(Some(received)) => event(received),
            Ok(None) => Event::Gone,
            Err(reason) => Event::Errs(reason),
        }
    }

    /// What comes next, whatever a wire makes of it; `None` when the peer is gone.
    ///
    /// # Errors
    /// The peer broke the rules, and is to be told so.
    pub(super) async fn receive(&mut self) -> Result<Option<Received>, CloseReason> {
        loop {
            if self.pace.is_due(self.outbox.line().spent()) {
                self.keep_pace().await;
                if self.pace.is_bulk() && self.turn.is_none_or(|left| left == 0) {
                    turns::comes_within(&self.memory).await;
                    self.turn = Some(TURN_BYTES);
                }
            }
            let received = self.frames.next(&mut self.arrived)?;
            let unfinished = self.frames.unfinished_bytes();
            if unfinished > 0 || self.begun.bytes() > 0 {
                self.begun.are(unfinished, clock::now())?;
            }
            if received.is_some() {
                self.pace.hears();
                return Ok(received);
            }
            match self.arrives().await {
                Some(Ok(bytes)) => {
                    self.turn = self.turn.map(|left| left.saturating_sub(bytes.len()));
                    // Also of a message that takes longer than anybody may be silent.
                    self.outbox.line().heard(clock::now() / 1_000);
                    self.pace.hears_bytes(bytes.len());
                    self.arrived = bytes
                        .try_into_mut()
                        .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                }
                Some(Err(PayloadError::Overflow)) => {
                    return Err(CloseReason::MessageTooBig("the message is too big".to_owned()));
                }
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }

    /// What comes next; nothing does any more on a line that is given up.
    async fn arrives(&mut self) -> Option<Result<Bytes, PayloadError>> {
        let (payload, line) = (&mut self.payload, self.outbox.line());
        std::future::poll_fn(|cx| {
            if line.is_given_up(Side::Reads, cx.waker()) {
                return Poll::Ready(None);
            }
            payload.poll_next_unpin(cx)
        })
        .await
    }

    /// The next event, if it has arrived.
    pub fn next_now(&mut self) -> Option<Event> {
        self.fetch().now_or_never()
    }
}

fn event(received: Received) -> Event {
    match received {
        Received::Binary(message) => Event::Message(message),
        Received::Text(_) => Event::Errs(CloseReason::NotBinary),
        Received::Ping(payload) => Event::Ping(payload),
        Received::Pong(payload) => Event::Pong(payload),
        Received::Close(code) => Event::Closes(code),
    }
}

/// Counts a connection until all that was for it is written.
pub struct Open {
    shared: Data<Shared>,
    _visit: Visit,
}

impl Open {
    /// Counts one more.
    #[must_use]
    pub fn count(shared: &Data<Shared>, visit: Visit) -> Self {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        shared.metrics.connections.inc();
        shared.metrics.connections_accepted.inc();
        Self {
            shared: shared.clone(),
            _visit: visit,
        }
    }

    /// These bytes are written; counts them.
    pub fn sent(&self, bytes: Bytes) -> Bytes {
        self.shared.metrics.sent_bytes.inc_by(bytes.len() as u64);
        bytes
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.shared.metrics.connections.dec();
    }
}

/// The writing side of a socket with one session: the response body is the session's outbox.
pub struct OutboxBody {
    outbox: Arc<Outbox>,
    open: Open,
    /// A close frame that is told later.
    held_back: Option<(Pin<Box<Sleep>>, Bytes)>,
}

impl OutboxBody {
    /// Writes what is put into `outbox`.
    #[must_use]
    pub fn new(outbox: Arc<Outbox>, open: Open) -> Self {
        Self {
            outbox,
            open,
            held_back: None,
        }
    }

    /// How long a frame is held back: what ends a session for what it said, if that happens again and again at its address. Old
    /// providers take no code for an answer, and come back at once.
    fn holds_back(&self, frame: &Bytes) -> Option<Duration> {
        if !frame::close_code(frame).is_some_and(CloseReason::is_for_what_was_said) {
            return None;
        }
        let keeper = &self.open.shared.doorkeeper;
        let exceeded = keeper.refuses(self.outbox.line().network()).err()?;
        Some(Duration::from_secs(exceeded.retry_s()).min(HELD_BACK_MAX))
    }
}

impl MessageBody for OutboxBody {
    type Error = actix_web::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let body = &mut *self;
        if body.held_back.is_none() {
            let Some(bytes) = ready!(body.outbox.poll_take(cx.waker())) else {
                return Poll::Ready(None);
            };
            let Some(wait) = body.holds_back(&bytes) else {
                return Poll::Ready(Some(Ok(body.open.sent(bytes))));
            };
            body.held_back = Some((Box::pin(sleep(wait)), bytes));
        }
        if let Some((until, _)) = &mut body.held_back {
            ready!(until.as_mut().poll(cx));
        }
        let held_back = body.held_back.take();
        Poll::Ready(held_back.map(|(_, bytes)| Ok(body.open.sent(bytes))))
    }
}

impl Drop for OutboxBody {
    fn drop(&mut self) {
        self.outbox.abandon();
    }
}
