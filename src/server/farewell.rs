//! Telling sessions to come back, a few at a time: each of them does so at once.

use std::time::{Duration, Instant};

use actix::{Addr, Handler, Message, dev::ToEnvelope};
use actix_web::rt::time::{sleep, timeout};

use crate::actor::document::DocumentActor;

/// How long one document's answer is waited for before the next is told.
const ANSWER: Duration = Duration::from_millis(100);
/// Sessions told to come back before the next ones wait a moment.
const BATCH: usize = 500;
const PAUSE: Duration = Duration::from_millis(50);

/// What is said to one document after the other.
pub struct Farewell {
    until: Instant,
    /// Sessions that were told since the last pause.
    told: usize,
}

impl Farewell {
    /// After `until` no answer is waited for.
    pub fn until(until: Instant) -> Self {
        Self { until, told: 0 }
    }

    /// Says it to a document, which answers with the number of its sessions that were told.
    pub async fn say<M>(&mut self, document: &Addr<DocumentActor>, message: M)
    where
        M: Message<Result = usize> + Send + 'static,
        DocumentActor: Handler<M, Context: ToEnvelope<DocumentActor, M>>,
    {
        // One that is being loaded, encoded or merged hears of it when that is done, and holds up no other.
        let answer = actix_web::rt::spawn(document.send(message));
        let left = self.until.saturating_duration_since(Instant::now());
        let answer = timeout(ANSWER.min(left), answer).await;
        let told = answer.ok().and_then(Result::ok).and_then(Result::ok);
        self.told += told.unwrap_or_default();
        if self.told >= BATCH {
            self.told = 0;
            sleep(PAUSE).await;
        }
    }
}
