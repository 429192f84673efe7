//! `/ws/{document}`: a socket with one session.
//!
//! A task parses messages and hands them to the document's actor. A peer cannot run ahead of its document: large
//! batches go one at a time, small ones as long as the mailbox has room.

use std::sync::{Arc, atomic::Ordering};

use actix::Addr;
use actix_web::{
    HttpRequest, HttpResponse,
    web::{Bytes, Data, Payload},
};

use crate::{
    access::Credentials,
    actor::{
        clock,
        document::{DocumentActor, Join, Leave},
    },
    id::DocumentId,
    limits::UPDATE_HERE_BYTES_MAX,
    protocol::{
        close::CloseReason,
        dialect::{Dialect, Inbound, Outbound},
        hocuspocus, y_websocket,
    },
    room::{
        outbox::Outbox,
        session::{Joining, SessionId},
        stream::Probe,
    },
};

use super::{
    Shared,
    admission::{self, Admitted, Refusal},
    line::{self, Event, Open, OutboxBody, Reader},
    refusals,
    session::{self, Batch},
    tunnel::{self, Way},
};

/// The document's name in a path below the base path, not decoded.
pub fn raw_name(path: &str) -> Option<&str> {
    path.strip_prefix("/ws/")
}

/// `GET /ws/{document}`.
pub async fn connect(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> actix_web::Result<HttpResponse> {
    let raw_name = raw_name(super::path(&request, &shared)).unwrap_or_default().to_owned();
    let credentials = admission::credentials(&request);
    let payload = match tunnel::route(&request, payload, &raw_name, &shared).await {
        Way::Here(payload) => payload,
        Way::Answered(response) => return Ok(response),
    };
    let admitted = admission::admit_session(&request, credentials.shown(), &raw_name, &shared).await;
    answer(&request, payload, &credentials, &shared, Dialect::YWebsocket, admitted).await
}

/// Begins a session, or says why not.
pub async fn answer(
    request: &HttpRequest,
    payload: Payload,
    credentials: &Credentials<'_>,
    shared: &Data<Shared>,
    dialect: Dialect,
    admitted: Result<Admitted, Refusal>,
) -> actix_web::Result<HttpResponse> {
    match admitted {
        Ok(admitted) => match tunnel::take(request, payload, &admitted.document, shared).await {
            Way::Here(payload) => upgrade(request, payload, credentials, shared, dialect, admitted).await,
            Way::Answered(response) => Ok(response),
        },
        Err(refusal) => {
            let denied = match &refusal {
                // A page that has to come back later is not denied.
                Refusal::Close(CloseReason::Exceeded(_) | CloseReason::Overloaded(_)) => None,
                Refusal::Close(reason) => dialect.frame(Outbound::Denied(&dialect.denial(reason))),
                _ => None,
            };
            admission::refuse(request, credentials, &denied.unwrap_or_default(), refusal, shared).await
        }
    }
}

async fn upgrade(
    request: &HttpRequest,
    payload: Payload,
    credentials: &Credentials<'_>,
    shared: &Data<Shared>,
    dialect: Dialect,
    admitted: Admitted,
) -> actix_web::Result<HttpResponse> {
    let response = line::handshake(request, credentials).await?;
    let Admitted {
        document,
        identity,
        visit,
    } = admitted;
    let begins = session::begins(shared, visit.network, &identity);
    let id = SessionId(shared.next_session.fetch_add(1, Ordering::Relaxed));
    let outbox = Arc::new(Outbox::alone_counted(
        2 * shared.outbox_bytes_max,
        shared.memory.outboxes().clone(),
    ));
    shared.lines.add(&outbox);
    shared.doorkeeper.is_line(visit.network, outbox.line());
    line::says_who(request, outbox.line());
    tunnel::node(request, shared)
        .iter()
        .for_each(|node| outbox.line().comes_through(*node));
    let expires = identity.expires_at_ms.map(clock::at_wall_ms);
    let accounts = shared.doorkeeper.accounts(visit.network, &identity);
    let joining = Joining {
        id,
        identity,
        expires,
        dialect,
        outbox: outbox.clone(),
        accounts,
    };
    let body = OutboxBody::new(outbox.clone(), Open::count(shared, visit));
    let connection = Connection {
        id,
        outbox: outbox.clone(),
        shared: shared.clone(),
        is_new: true,
    };
    let reader = Reader::new(payload, outbox.clone(), shared);
    log::debug!(
        "session {} of document {document} begins, from {}",
        id.0,
        line::peer(request)
    );
    actix_web::rt::spawn(connection.live(Join { joining, begins }, document, reader));
    Ok(line::begins(response, body, outbox))
}

/// The reading side.
struct Connection {
    id: SessionId,
    outbox: Arc<Outbox>,
    shared: Data<Shared>,
    /// Nothing was heard on it.
    is_new: bool,
}

impl Connection {
    async fn live(mut self, join: Join, document: DocumentId, reader: Reader) {
        match session::join(&self.shared, join, &document).await {
            Ok(actor) => {
                log::debug!("session {} of document {document} has joined", self.id.0);
                let reason = self.read(&actor, reader).await;
                if let Some(reason) = reason {
                    self.shared.metrics.ended(reason.label());
                    refusals::say(format_args!(
                        "session {} of document {document} was closed: {reason}",
                        self.id.0
                    ));
                    self.outbox.close(&reason);
                }
                self.outbox.hang_up();
                let _ = actor.send(Leave(self.id)).await;
                log::debug!("session {} of document {document} has ended", self.id.0);
            }
            Err(reason) => {
                self.shared.metrics.ended(reason.label());
                refusals::say(format_args!(
                    "session {} could not join document {document}: {reason}",
                    self.id.0
                ));
                self.outbox.close(&reason);
            }
        }
    }

    /// Reads until the connection ends; the reason when it was this side that found one.
    async fn read(&mut self, actor: &Addr<DocumentActor>, mut reader: Reader) -> Option<CloseReason> {
        loop {
            let mut batch = Batch::default();
            let mut next = Some(reader.next().await);
            // The writing side may have thrown away some of what came: a message would have holes.
            if self.outbox.is_closing() {
                return None;
            }
            let mut end = None;
            while let Some(event) = next.take() {
                let taken = match event {
                    Event::Message(bytes) if bytes.len() > UPDATE_HERE_BYTES_MAX => {
                        self.take_long(bytes, &mut batch).await
                    }
                    event => self.take(event, &mut batch),
                };
                match taken {
                    Ok(Taken::More) if batch.is_full() => {}
                    Ok(Taken::More) => next = reader.next_now(),
                    Ok(Taken::End) => end = Some(None),
                    Err(reason) => end = Some(Some(reason)),
                }
            }
            self.shared.metrics.received_bytes.inc_by(batch.bytes() as u64);
            reader.heard_presence(batch.presence());
            if !batch.is_empty() && batch.hand_over(actor, self.id).await.is_err() {
                return Some(CloseReason::Restarting);
            }
            if let Some(end) = end {
                return end;
            }
            if self.outbox.is_closing() {
                return None;
            }
        }
    }

    /// A message that takes long to read is read where it delays nobody.
    async fn take_long(&mut self, bytes: Bytes, batch: &mut Batch) -> Result<Taken, CloseReason> {
        self.is_of_this_wire(&bytes)?;
        let length = bytes.len();
        let read = move || {
            let mut heard = Vec::new();
            y_websocket::parse_all(bytes, |inbound, bytes| heard.push((bytes, inbound))).map(|()| heard)
        };
        let (heard, waiting) = session::aside(&self.shared, self.outbox.line(), length, read).await?;
        for (bytes, inbound) in heard? {
            batch.add(bytes, inbound);
        }
        batch.holds(waiting);
        Ok(Taken::More)
    }

    fn is_of_this_wire(&mut self, first: &Bytes) -> Result<(), CloseReason> {
        if std::mem::take(&mut self.is_new) && hocuspocus::begins(first) {
            let reason = format!(
                "this address speaks y-websocket: Hocuspocus' providers connect to {}/hocuspocus",
                self.shared.base_path.as_str()
            );
            return Err(CloseReason::Refused(reason));
        }
        Ok(())
    }

    fn take(&mut self, event: Event, batch: &mut Batch) -> Result<Taken, CloseReason> {
        match event {
            Event::Message(bytes) => {
                self.is_of_this_wire(&bytes)?;
                y_websocket::parse_all(bytes, |inbound, bytes| batch.add(bytes, inbound))?;
            }
            Event::Ping(payload) => self.outbox.pong(&payload),
            Event::Pong(payload) => {
                if let Some(probe) = Probe::of(&payload).filter(|probe| probe.session == self.id) {
                    batch.add(payload.len(), Inbound::Pong(probe.number));
                }
            }
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

enum Taken {
    More,
    End,
}
