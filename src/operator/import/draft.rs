//! A document that is put together from what a source stored of it.

use bytes::Bytes;

use super::too_large;
use crate::{
    document::{Deleted, Document, Verdict},
    protocol::{
        lib0::{Malformed, Reader},
        update::CheckedUpdate,
    },
};

/// A document in the making. Its updates pass the same gate as what clients send.
pub(super) struct Draft {
    document: Document,
    /// Updates of which something refers to what did not come yet.
    waiting: Vec<CheckedUpdate>,
    waiting_bytes: usize,
    limit: usize,
}

impl Draft {
    /// An empty one, which is refused when it has more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            // Whether the target drops what is deleted is for the target to say.
            document: Document::new(Deleted::Kept),
            waiting: Vec::new(),
            waiting_bytes: 0,
            limit,
        }
    }

    /// One of a single update.
    pub fn of(update: Vec<u8>, limit: usize) -> Result<Self, String> {
        let mut draft = Self::new(limit);
        draft.add(update)?;
        Ok(draft)
    }

    /// Adds an update of version 1.
    pub fn add(&mut self, update: Vec<u8>) -> Result<(), String> {
        if update.len() > self.limit {
            return Err(too_large(self.limit));
        }
        let update = Bytes::from(update);
        let update = CheckedUpdate::check(update.clone()).map_err(|malformed| no_update(&update, &malformed))?;
        if self.take(&update)? != Taken::Whole {
            self.waiting_bytes += update.bytes().len();
            self.waiting.push(update);
        }
        if self.document.weight_bytes() + self.waiting_bytes > self.limit {
            return Err(too_large(self.limit));
        }
        Ok(())
    }

    /// The document, and whether something is left that refers to what never came.
    pub fn finish(mut self) -> Result<(Document, bool), String> {
        let mut goes_on = true;
        while goes_on && !self.waiting.is_empty() {
            goes_on = false;
            // Once from each end: what was stored backwards would take as many rounds as there are updates.
            for update in std::mem::take(&mut self.waiting).into_iter().rev() {
                let taken = self.take(&update)?;
                goes_on |= taken != Taken::Nothing;
                if taken != Taken::Whole {
                    self.waiting.push(update);
                }
            }
        }
        Ok((self.document, !self.waiting.is_empty()))
    }

    fn take(&mut self, update: &CheckedUpdate) -> Result<Taken, String> {
        match self.document.judge(update.clone()) {
            Verdict::Known => Ok(Taken::Whole),
            Verdict::Nothing => Ok(Taken::Nothing),
            Verdict::News(news) => {
                let taken = if news.is_partial() { Taken::Part } else { Taken::Whole };
                self.document.take(news);
                Ok(taken)
            }
            Verdict::Refused(why) => Err(format!("it is refused: {why}")),
            Verdict::Conflict(id) => Err(format!(
                "its updates contradict each other at clock {} of client {}",
                id.clock, id.client
            )),
        }
    }
}

/// How much of an update a document could take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Nothing,
    Part,
    Whole,
}

fn no_update(bytes: &[u8], malformed: &Malformed) -> String {
    if bytes.is_empty() {
        return "it has no bytes: a Yjs update has two at least".to_owned();
    }
    if is_version_2(bytes) {
        return "it is a Yjs update of version 2: write it anew with Y.convertUpdateFormatV2ToV1".to_owned();
    }
    if malformed.refused {
        return format!("it is refused: {}", malformed.what);
    }
    format!("it is no Yjs update of version 1: {malformed}")
}

/// Whether this is laid out as Yjs's second encoding: a zero, nine arrays, and the rest.
fn is_version_2(bytes: &[u8]) -> bool {
    let mut r = Reader::new(bytes);
    let arrays = |r: &mut Reader| (0..9).all(|_| r.var_bytes().is_ok());
    r.byte() == Ok(0) && arrays(&mut r) && r.remaining() > 0
}
