//! A document that is put together from what a source stored of it.

use bytes::Bytes;

use super::too_large;
use crate::{
    document::{Deleted, Document, Verdict},
    protocol::{
        lib0::{Malformed, Reader},
        update::{CheckedUpdate, Clocks},
    },
};

/// A document in the making. Its updates pass the same gate as what clients send.
pub(super) struct Draft {
    document: Box<Document>,
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
            document: Box::new(Document::new(Deleted::Kept)),
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

    /// Whether it has all that a state vector tells of.
    pub fn has(&self, clocks: &Clocks) -> bool {
        self.document.clocks().contains(clocks)
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
        Ok((*self.document, !self.waiting.is_empty()))
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

#[cfg(test)]
mod tests {
    use yrs::{Doc, Text, Transact};

    use super::*;
    use crate::content::{Form, show};

    const LIMIT: usize = 1 << 20;

    /// The updates of somebody who writes a word at a time.
    fn words(client: u64, number: usize) -> Vec<Vec<u8>> {
        let doc = Doc::with_client_id(client);
        let text = doc.get_or_insert_text("t");
        let word = |number: usize| {
            let mut txn = doc.transact_mut();
            text.push(&mut txn, &format!("{number} "));
            txn.encode_update_v1()
        };
        (0..number).map(word).collect()
    }

    fn drafted(updates: impl IntoIterator<Item = Vec<u8>>) -> (String, bool) {
        let mut draft = Draft::new(LIMIT);
        for update in updates {
            draft.add(update).expect("it is taken");
        }
        let (document, lacks) = draft.finish().expect("it is whole");
        (
            show(&document.since(&Default::default()), Form::Text).expect("text"),
            lacks,
        )
    }

    #[test]
    fn b16_updates_may_be_stored_in_any_order_and_twice() {
        let updates = words(1, 40);
        let in_order = drafted(updates.clone());

        let backwards = drafted(updates.iter().rev().cloned());
        let mixed = drafted((0..80).map(|step| updates[step * 7 % 40].clone()));

        assert!(
            in_order.0.starts_with("0 1 2 ") && in_order.0.ends_with(" 39 \n"),
            "{in_order:?}"
        );
        assert!(!in_order.1);
        assert_eq!(backwards, in_order);
        assert_eq!(mixed, in_order);
    }

    #[test]
    fn b17_what_never_came_is_noticed() {
        let mut updates = words(1, 5);
        updates.remove(2);
        assert_eq!(drafted(updates), ("0 1 \n".to_owned(), true));
    }

    #[test]
    fn b17_contradicting_updates_are_refused() {
        let (one, other) = (words(1, 1).remove(0), words(2, 1).remove(0));
        // The same client id and clock, with another content.
        let forged = one
            .iter()
            .map(|byte| if *byte == b'0' { b'7' } else { *byte })
            .collect();
        let mut draft = Draft::of(one, LIMIT).expect("an update");
        assert!(draft.add(other).is_ok());
        assert!(
            draft
                .add(forged)
                .is_err_and(|why| why.starts_with("its updates contradict each other at clock 0"))
        );
    }

    #[test]
    fn b17_a_draft_is_bounded_also_while_it_waits() {
        let updates = words(1, 300);
        let mut draft = Draft::new(1_000);
        let refused = updates.into_iter().skip(1).find_map(|update| draft.add(update).err());
        assert!(refused.is_some_and(|why| why.starts_with("it is larger than 1000 B")));
    }
}
