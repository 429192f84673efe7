//! Looks into one document by many readers: above a rate they share an answer.
//!
//! A look costs a look at each session of the document, on its own thread. Whoever may read it may ask as often as the
//! limits of their address allow, and pages ask every second.
//!
//! What must stay true: no answer is older than a second, and every reader of a document is told the same.

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::{id::DocumentId, room::Micros};

/// Looks into one document in a second.
const PER_SECOND: u32 = 10;
/// Documents whose looks are counted: of more, some are looked into more often.
const DOCUMENTS_MAX: usize = 256;
const SECOND: Micros = 1_000_000;

/// The looks of this second.
#[derive(Debug, Default)]
pub struct Looks(FxHashMap<DocumentId, Look>);

#[derive(Debug)]
struct Look {
    since: Micros,
    count: u32,
    /// The answer that all share who come too often; none before that.
    shared: Option<Bytes>,
}

impl Looks {
    /// Somebody looks: the answer that they share, or nothing, and there is to be one.
    pub fn look(&mut self, document: &DocumentId, now: Micros) -> Option<Bytes> {
        if self.0.len() >= DOCUMENTS_MAX && !self.0.contains_key(document) {
            self.0.retain(|_, look| now < look.since + SECOND);
            if self.0.len() >= DOCUMENTS_MAX {
                return None;
            }
        }
        let look = self.0.entry(document.clone()).or_insert(Look {
            since: now,
            count: 0,
            shared: None,
        });
        if now >= look.since + SECOND {
            (look.since, look.count, look.shared) = (now, 0, None);
        }
        look.count = look.count.saturating_add(1);
        look.shared.clone()
    }

    /// There is an answer.
    pub fn answered(&mut self, document: &DocumentId, answer: &Bytes) {
        if let Some(look) = self.0.get_mut(document).filter(|look| look.count >= PER_SECOND) {
            look.shared = Some(answer.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> DocumentId {
        DocumentId::parse(name).expect("a name")
    }

    #[test]
    fn i20_above_a_rate_those_who_look_into_one_document_share_an_answer() {
        let mut looks = Looks::default();
        let mut ask = |name: &str, now| {
            let shared = looks.look(&named(name), now);
            let is_new = shared.is_none();
            looks.answered(&named(name), &shared.unwrap_or_else(|| now.to_string().into()));
            is_new
        };

        assert_eq!((0..1_000).filter(|at| ask("busy", SECOND + at)).count(), 10);
        assert!(ask("quiet", SECOND + 1_000), "another document");
        assert_eq!((0..1_000).filter(|at| ask("busy", 2 * SECOND + at)).count(), 10);
    }

    #[test]
    fn i20_those_who_come_at_once_find_no_answer_that_is_not_there() {
        let mut looks = Looks::default();
        assert!((0..100).all(|_| looks.look(&named("one"), 0).is_none()));
        looks.answered(&named("one"), &Bytes::from_static(b"told"));
        assert_eq!(looks.look(&named("one"), SECOND - 1), Some(Bytes::from_static(b"told")));
        assert_eq!(looks.look(&named("one"), SECOND), None);
    }

    #[test]
    fn i20_what_is_remembered_is_bounded() {
        let mut looks = Looks::default();
        for at in 0..10_000 {
            looks.look(&named(&at.to_string()), SECOND);
        }
        assert_eq!(looks.0.len(), DOCUMENTS_MAX);
        looks.look(&named("next"), 2 * SECOND);
        assert_eq!(looks.0.len(), 1);
    }
}
