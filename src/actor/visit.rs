//! Whoever reads or writes a document without a session: the document is opened for it, and stays open as long as for
//! anybody else.

use std::{sync::Arc, time::Duration};

use actix::{Addr, Handler, Message, dev::ToEnvelope};
use bytes::Bytes;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use crate::{
    budgets::Network,
    id::DocumentId,
    protocol::{close::CloseReason, update::Clocks},
};

use super::{
    document::{DocumentActor, Insight, Inspect, Read, Write},
    registry::Registry,
};

/// How long a visitor waits for a document, and for its disk.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long somebody waits who only looks inside.
const LOOK: Duration = Duration::from_secs(5);
/// How often an actor that is just going away is asked for its successor.
pub(super) const OPEN_TRIES: usize = 8;

/// How many kilobytes of whole documents may be in memory to be read by visitors, and which part of all memory at most; more
/// of them wait. (Sessions share what is encoded for them.)
const COPIES_KB_MAX: usize = 256 * 1024;
const COPIES_SHARE: usize = 8;

/// How many kilobytes they may be of a process that may hold so many bytes.
pub(super) fn copies_kb_max(memory_max: usize) -> usize {
    (memory_max / COPIES_SHARE / 1024).clamp(1, COPIES_KB_MAX)
}

/// A whole document, for as long as it is needed.
#[derive(Debug)]
pub struct Copy {
    update: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Copy {
    /// The next bytes of it, at most so many; `None` when it was read to its end.
    pub fn next(&mut self, bytes_max: usize) -> Option<Bytes> {
        let bytes = self.update.split_to(bytes_max.min(self.update.len()));
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Bytes that were not read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.update.len()
    }

    /// Whether it was read to its end.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.update.is_empty()
    }
}

impl Registry {
    /// Writes an update; done when it is durable.
    ///
    /// # Errors
    /// The reason why it is not taken, or not known to be durable in time. Writing it again does no harm.
    pub async fn write(self: &Arc<Self>, document: &DocumentId, write: Write) -> Result<(), CloseReason> {
        self.ask(document, || write.clone()).await
    }

    /// Does what takes long where it delays no document and no connection, in the turn of those who come from `network`.
    ///
    /// # Errors
    /// [`CloseReason::Restarting`] when it panicked.
    pub async fn aside<T: Send + 'static>(
        &self,
        network: Option<Network>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CloseReason> {
        let done = self.takers.run_for(network.into(), work);
        done.await.map_err(|_| CloseReason::Restarting)
    }

    /// The whole document, as a Yjs v1 update.
    ///
    /// # Errors
    /// The reason why it cannot be read.
    pub async fn read(self: &Arc<Self>, document: &DocumentId) -> Result<Copy, CloseReason> {
        let (state, bytes) = self.ask(document, || Read).await?;
        let weight = bytes.div_ceil(1024).clamp(1, self.copies_kb_max);
        let room = self.copies.clone().acquire_many_owned(weight as u32);
        let room = timeout(PATIENCE, room).await.ok().and_then(Result::ok);
        let room = room.ok_or_else(|| CloseReason::Overloaded("too much is being read, try again".to_owned()))?;
        let encoded = self.helpers.run(move || state.since(&Clocks::default()));
        let update = encoded.await.map_err(|_| {
            log::error!("encoding document {document} panicked");
            CloseReason::Unavailable("the document cannot be encoded".to_owned())
        })?;
        Ok(Copy { update, _room: room })
    }

    /// What is inside a document; `None` when nobody has it open, or it is not served now. It is not opened for that.
    ///
    /// # Errors
    /// It is too busy to say.
    pub async fn inspect(&self, document: &DocumentId, inspect: Inspect) -> Result<Option<Insight>, CloseReason> {
        let Some(actor) = self.find(document) else {
            return Ok(None);
        };
        let insight = timeout(LOOK, actor.send(inspect)).await;
        // One that ends meanwhile is not open.
        let insight = insight.map(|answer| answer.ok().flatten());
        insight.map_err(|_| CloseReason::Overloaded("the document is busy, try again".to_owned()))
    }

    async fn ask<M, T>(self: &Arc<Self>, document: &DocumentId, message: impl Fn() -> M) -> Result<T, CloseReason>
    where
        M: Message<Result = Result<T, CloseReason>> + Send + 'static,
        T: Send + 'static,
        DocumentActor: Handler<M, Context: ToEnvelope<DocumentActor, M>>,
    {
        for _ in 0..OPEN_TRIES {
            let actor: Addr<DocumentActor> = self.open(document)?;
            match timeout(PATIENCE, actor.send(message())).await {
                Ok(Ok(answer)) => return answer,
                // It left memory between the two lines; the next one loads anew.
                Ok(Err(_)) => {}
                Err(_) => {
                    let reason = "the document or its disk is busy, try again";
                    return Err(CloseReason::Overloaded(reason.to_owned()));
                }
            }
        }
        Err(CloseReason::Restarting)
    }
}
