//! One WebSocket, whatever is spoken on it: the handshake, what the peer sends, and how it ends.
//!
//! Reading is a stream of [`Event`]s. Writing is the response body, which takes frames from an outbox as the connection
//! accepts them. The two share nothing else. [`super::upgrade`] moves the bytes.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev,
    error::PayloadError,
    http::header::{self, HeaderValue},
    rt::time::sleep,
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
};

/// What a connection may have begun and not completed, however much that is of all, in bytes.
const UNFINISHED_SPARED: usize = 64 * 1024;
/// A message that takes longer than this comes with so many bytes a second at least.
const SLOW_AFTER: Micros = 30_000_000;
const RATE_MIN: u64 = 512;
/// A connection that is not read is looked at so often.
const PAUSE_MAX: Micros = 1_000_000;
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

/// What of all connections' messages has arrived and is not complete, in bytes.
#[derive(Debug)]
pub struct Unfinished {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Unfinished {
    /// Never more than about `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            bytes_max,
        })
    }

    /// How many bytes that are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// One connection's part of [`Unfinished`].
#[derive(Debug)]
pub struct Begun {
    all: Arc<Unfinished>,
    bytes: usize,
    /// When the message began that is not complete.
    since: Option<Micros>,
}

impl Begun {
    /// Nothing of it.
    #[must_use]
    pub fn of(all: &Arc<Unfinished>) -> Self {
        Self {
            all: all.clone(),
            bytes: 0,
            since: None,
        }
    }

    /// So much waits now for what it is about, however long that takes.
    ///
    /// # Errors
    /// The reason to close with: all together is too much, and this is a large part of it.
    pub fn wait(&mut self, bytes: usize) -> Result<(), CloseReason> {
        let all = &self.all;
        let grows_by = bytes.saturating_sub(self.bytes);
        let together = all.bytes.fetch_add(grows_by, Ordering::Relaxed) + grows_by;
        all.bytes.fetch_sub(self.bytes.saturating_sub(bytes), Ordering::Relaxed);
        self.bytes = bytes;
        // One alone is never too much: whoever comes back with it would be refused for ever.
        let has_others = together > bytes;
        if grows_by > 0 && together > all.bytes_max && bytes > UNFINISHED_SPARED && has_others {
            let reason = "too many messages are on their way, come back".to_owned();
            return Err(CloseReason::Overloaded(reason));
        }
        Ok(())
    }

    /// So much is not complete now.
    ///
    /// # Errors
    /// As for [`Begun::wait`]; or it comes too slowly.
    pub fn are(&mut self, bytes: usize, now: Micros) -> Result<(), CloseReason> {
        self.wait(bytes)?;
        if bytes == 0 {
            self.since = None;
            return Ok(());
        }
        let takes = now - *self.since.get_or_insert(now);
        if takes > SLOW_AFTER && (bytes as u64) < takes / 1_000_000 * RATE_MIN {
            let reason = "a message came too slowly, come back".to_owned();
            return Err(CloseReason::Overloaded(reason));
        }
        Ok(())
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
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
            outbox,
            begun: Begun::of(&shared.unfinished),
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
            if unfinished > 0 || self.begun.bytes > 0 {
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    #[test]
    fn h4_what_is_not_complete_is_bounded_for_all_together() {
        let all = Unfinished::new(1_000_000);
        let mut many: Vec<Begun> = (0..10).map(|_| Begun::of(&all)).collect();
        assert!(many.iter_mut().all(|begun| begun.are(100_000, 0) == Ok(())));
        let (mut small, mut large) = (Begun::of(&all), Begun::of(&all));

        assert_eq!(small.are(UNFINISHED_SPARED, 0), Ok(()));
        assert!(matches!(
            large.are(UNFINISHED_SPARED + 1, 0),
            Err(CloseReason::Overloaded(_))
        ));
        drop(large);
        assert!(matches!(many[0].are(100_001, 0), Err(CloseReason::Overloaded(_))));
        assert_eq!(many[0].are(0, 0), Ok(()), "what shrinks is welcome");
        many.truncate(5);
        assert_eq!(many[1].are(500_000, 0), Ok(()));
        drop((many, small));

        assert_eq!(all.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn h4_one_message_alone_is_never_too_much() {
        let all = Unfinished::new(1_000_000);
        let mut one = Begun::of(&all);
        assert!((1..50).all(|part| one.are(part * 100_000, 0) == Ok(())));
        let mut other = Begun::of(&all);
        assert_eq!(other.are(UNFINISHED_SPARED, 0), Ok(()));
        assert!(matches!(one.are(5_000_000, 0), Err(CloseReason::Overloaded(_))));
    }

    #[test]
    fn h4_a_message_may_take_long_and_not_for_ever() {
        let all = Unfinished::new(1 << 30);
        // 2 kB/s, of a message of 10 MB.
        let mut slow = Begun::of(&all);
        assert!((1..5_000).all(|second| slow.are(2_000 * second as usize, second * SECOND) == Ok(())));
        // A byte a second.
        let mut trickle = Begun::of(&all);
        let ended = (1..100).find(|second| trickle.are(*second as usize, second * SECOND).is_err());
        assert_eq!(ended, Some(32));
        // Each message begins anew.
        let mut many = Begun::of(&all);
        for second in 1..100 {
            assert_eq!(many.are(1, second * SECOND), Ok(()));
            assert_eq!(many.are(0, second * SECOND), Ok(()));
        }
    }
}
