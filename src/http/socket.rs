//! `/ws/{document}`: a socket with one session.
//!
//! A task parses messages and hands them to the document's actor. A peer cannot run ahead of its document: large
//! batches go one at a time, small ones as long as the mailbox has room.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{Addr, prelude::SendError};
use actix_web::{
    HttpRequest, HttpResponse,
    body::BoxBody,
    rt::time::timeout,
    web::{Data, Payload},
};

use crate::{
    access::Credentials,
    actor::{
        clock,
        document::{DocumentActor, Hear, Join, Leave},
    },
    id::DocumentId,
    protocol::{
        close::CloseReason,
        dialect::{Dialect, Inbound, Outbound},
        frame, y_websocket,
    },
    room::{
        outbox::{Kind, Line, Outbox},
        session::{Joining, SessionId},
    },
};

use super::{
    Shared,
    admission::{self, Admitted, Refusal},
    line::{self, Event, Open, OutboxBody, Reader},
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
                Refusal::Close(reason) => {
                    let denied = Dialect::YWebsocket
                        .frame(Outbound::Denied(reason.text()))
                        .unwrap_or_default();
                    line::refuse(&request, &credentials, &denied, &reason).await
                }
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
    let response = line::handshake(request, credentials).await?;
    let id = SessionId(shared.next_session.fetch_add(1, Ordering::Relaxed));
    let outbox = Arc::new(Outbox::new(Line::new(2 * shared.outbox_bytes_max)));
    let expires = identity.expires_at_ms.map(clock::at_wall_ms);
    let joining = Joining {
        id,
        identity,
        expires,
        dialect: Dialect::YWebsocket,
        outbox: outbox.clone(),
    };
    let body = OutboxBody::new(outbox.clone(), Open::count(shared));
    let connection = Connection {
        id,
        outbox,
        shared: shared.clone(),
    };
    let reader = Reader::new(payload, shared.message_bytes_max);
    actix_web::rt::spawn(connection.live(joining, document, reader));
    Ok(response.map_body(|_, _| BoxBody::new(body)))
}

/// The reading side.
struct Connection {
    id: SessionId,
    outbox: Arc<Outbox>,
    shared: Data<Shared>,
}

impl Connection {
    async fn live(self, joining: Joining, document: DocumentId, reader: Reader) {
        match self.join(joining, &document).await {
            Ok(actor) => {
                let reason = self.read(&actor, reader).await;
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

    async fn join(&self, joining: Joining, document: &DocumentId) -> Result<Addr<DocumentActor>, CloseReason> {
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
    async fn read(&self, actor: &Addr<DocumentActor>, mut reader: Reader) -> Option<CloseReason> {
        loop {
            let mut batch = Batch::default();
            let mut next = Some(reader.next().await);
            // The writing side may have thrown away some of what came: a message would have holes.
            if self.outbox.is_closing() {
                return None;
            }
            let mut end = None;
            while let Some(event) = next.take() {
                match self.take(event, &mut batch) {
                    Ok(Taken::More) if batch.is_full() => {}
                    Ok(Taken::More) => next = reader.next_now(),
                    Ok(Taken::End) => end = Some(None),
                    Err(reason) => end = Some(Some(reason)),
                }
            }
            self.outbox.line().heard(clock::now() / 1_000);
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

    fn take(&self, event: Event, batch: &mut Batch) -> Result<Taken, CloseReason> {
        match event {
            Event::Message(bytes) => {
                batch.bytes += bytes.len();
                batch.messages.push(y_websocket::parse(bytes)?);
            }
            Event::Ping(payload) => self.outbox.push(frame::pong(&payload), Kind::Other),
            Event::Pong => {}
            Event::Closes(code) => {
                self.outbox.echo_close(code);
                return Ok(Taken::End);
            }
            Event::Errs(reason) => return Err(reason),
            Event::Gone => return Ok(Taken::End),
        }
        Ok(Taken::More)
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
