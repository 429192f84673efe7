//! What must be found after a crash, and what may be.

use std::collections::BTreeMap;

use bytes::Bytes;
use cowrite::{
    id::DocumentId,
    store::{Body, EMPTY_UPDATE, Record, Seq, Store, StoredDocument},
};

use crate::{dice::Dice, recorder::Event};

const DOCUMENTS: u64 = 6;

#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Acknowledged.
    documents: BTreeMap<DocumentId, StoredDocument>,
    /// Handed over and not acknowledged, in this order.
    unsure: Vec<Record>,
}

impl Model {
    /// What is known after these events.
    pub fn after(mut self, events: &[Event]) -> Self {
        for event in events {
            match event {
                Event::Committing(records) => self.unsure.clone_from(records),
                Event::Reopened(records) => {
                    // Somebody was shown it.
                    self.unsure.clone_from(records);
                    self.acknowledge();
                }
                Event::Acknowledged => self.acknowledge(),
                _ => {}
            }
        }
        self
    }

    pub fn acknowledge(&mut self) {
        for record in std::mem::take(&mut self.unsure) {
            apply(self.documents.entry(record.document.clone()).or_default(), &record);
        }
    }

    /// Hands over more.
    pub fn hand(&mut self, records: Vec<Record>) {
        self.unsure.extend(records);
    }

    pub fn unsure(&self) -> &[Record] {
        &self.unsure
    }

    /// Acknowledged documents that have something.
    pub fn acknowledged(&self) -> usize {
        self.documents.len()
    }

    /// A few records that follow on everything handed over.
    pub fn batch(&self, dice: &mut Dice, now_ms: u64) -> Vec<Record> {
        let mut ahead = self.clone();
        ahead.acknowledge();
        let mut records = Vec::new();
        // Small ones go into the zeros that others brought.
        let (most, longest) = if dice.roll(2) == 0 { (2, 60) } else { (6, 1_500) };
        for _ in 0..=dice.roll(most - 1) {
            let document = document(dice.roll(DOCUMENTS));
            let last = ahead.documents.get(&document).map_or(0, StoredDocument::last_seq);
            let bytes = if dice.roll(60) == 0 {
                300_000
            } else {
                dice.below(longest)
            };
            let body: Bytes = vec![dice.roll(256) as u8; bytes].into();
            let (seq, body) = match dice.roll(12) {
                0 | 1 if last > 0 => (last, Body::Snapshot(body)),
                2 if last > 0 => (last, Body::Deleted),
                _ => (last + 1, Body::Update(body)),
            };
            let record = Record {
                document,
                seq,
                at_ms: now_ms,
                authors: ["ann".into()].into(),
                body,
                holder: None,
            };
            ahead.hand(vec![record.clone()]);
            ahead.acknowledge();
            records.push(record);
        }
        records
    }

    /// Each document is as acknowledged, followed by the first few of what was handed over for it, each whole.
    /// Takes over what was found of those.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&mut self, store: &dyn Store) -> Result<(), String> {
        let mut kept = Vec::new();
        for number in 0..DOCUMENTS {
            let document = document(number);
            let found = store.load(&document).map_err(|error| error.to_string())?;
            let acknowledged = self.documents.get(&document).cloned().unwrap_or_default();
            let mut allowed = acknowledged.clone();
            let mut matched = (found == allowed).then_some(0);
            let unsure: Vec<&Record> = self
                .unsure
                .iter()
                .filter(|record| record.document == document)
                .collect();
            for (index, record) in unsure.iter().enumerate() {
                apply(&mut allowed, record);
                if found == allowed {
                    matched = Some(index + 1);
                }
            }
            let Some(matched) = matched else {
                return Err(format!(
                    "{document}: acknowledged {}; then handed over {}; found {}",
                    brief(&acknowledged),
                    unsure.len(),
                    brief(&found)
                ));
            };
            kept.extend(unsure.into_iter().take(matched).cloned());
        }
        let mut rest = std::mem::take(&mut self.unsure);
        rest.retain(|record| kept.contains(record));
        self.unsure = rest;
        Ok(())
    }
}

fn document(number: u64) -> DocumentId {
    DocumentId::parse(&format!("d{number}")).unwrap()
}

fn apply(stored: &mut StoredDocument, record: &Record) {
    let mut rebase = |body: Bytes| {
        if stored.snapshot.as_ref().is_none_or(|(seq, _)| *seq <= record.seq) {
            stored.snapshot = Some((record.seq, body));
            stored.updates.retain(|(seq, _)| *seq > record.seq);
        }
    };
    match &record.body {
        Body::Update(body) => stored.updates.push((record.seq, body.clone())),
        Body::Snapshot(body) => rebase(body.clone()),
        Body::Deleted => rebase(EMPTY_UPDATE),
    }
}

fn brief(stored: &StoredDocument) -> String {
    let part = |(seq, body): &(Seq, Bytes)| format!("{seq}:{:?}x{}", body.first(), body.len());
    let updates: Vec<String> = stored.updates.iter().map(part).collect();
    format!("{:?} {}", stored.snapshot.as_ref().map(part), updates.join(" "))
}
