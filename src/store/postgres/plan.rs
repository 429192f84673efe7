//! What a batch does to each document: decided here, with what this node knows; the database takes it only if it holds.

use std::collections::BTreeMap;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::{
    id::DocumentId,
    store::{Body, Holder, Record, Refusals, Seq, holder::NOT_THE_HOLDERS, record},
};

/// Bytes of bodies that go together, unless one record has more: Postgres takes a gigabyte at once.
pub const PART_BYTES: usize = 32 * 1024 * 1024;
/// Largest update, in bytes: a row is sent whole. A snapshot goes in pieces.
const UPDATE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What this node knows of a document that it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// The document's row.
    pub id: i64,
    /// Whose it is.
    pub holder: Holder,
    /// The last position.
    pub last_seq: Seq,
    /// The position of the newest snapshot or deletion.
    pub base_seq: Seq,
    /// Whether it was found damaged.
    pub damaged: bool,
}

/// What was read of a document after the database did not take a share of it.
#[derive(Debug, Default)]
pub struct Looked {
    /// Updates that are stored, by position.
    pub stored: BTreeMap<Seq, Bytes>,
}

/// The records of one document and holder in a batch.
#[derive(Debug)]
pub struct Group<'a> {
    /// Which document.
    pub document: &'a DocumentId,
    /// In the order of the batch.
    pub records: Vec<&'a Record>,
}

/// What a batch writes of one document, whose row must be as `open` says.
#[derive(Debug)]
pub struct Share<'a> {
    /// Which group this is.
    pub group: usize,
    /// What is known of the document.
    pub open: Open,
    /// The last position afterwards.
    pub upto: Seq,
    /// The newest snapshot or deletion.
    pub base: Option<&'a Record>,
    /// Updates, ascending.
    pub updates: Vec<&'a Record>,
}

impl Share<'_> {
    /// Bytes of its bodies.
    pub fn bytes(&self) -> usize {
        let all = self.updates.iter().chain(&self.base);
        all.map(|record| record::body_of(record).len()).sum()
    }

    /// Whether it takes more than one statement.
    pub fn is_alone(&self) -> bool {
        let heals = self.open.damaged && self.base_seq() == Some(self.upto);
        heals || self.base.is_some() && self.bytes() > PART_BYTES
    }

    /// The position of its base, or none.
    pub fn base_seq(&self) -> Option<Seq> {
        self.base.map(|base| base.seq)
    }

    /// Bytes that are live afterwards, when it has a base: about, for what lies behind a snapshot that comes late is not
    /// counted.
    pub fn live_bytes(&self) -> usize {
        let base = self.base_seq().unwrap_or_default();
        let live = self.updates.iter().filter(|update| update.seq > base).chain(&self.base);
        live.map(|record| record::body_of(record).len() + record::FIXED_BYTES)
            .sum()
    }
}

/// Puts together what belongs to one document and holder.
pub fn groups(records: &[Record]) -> Vec<Group<'_>> {
    let mut known: FxHashMap<(&DocumentId, Option<Holder>), usize> = FxHashMap::default();
    let mut groups: Vec<Group> = Vec::new();
    for record in records {
        let index = *known.entry((&record.document, record.holder)).or_insert_with(|| {
            groups.push(Group {
                document: &record.document,
                records: Vec::new(),
            });
            groups.len() - 1
        });
        groups[index].records.push(record);
    }
    groups
}

/// What goes together, one after the other: of each group a part at a time.
pub fn parts(groups: Vec<Group<'_>>) -> Vec<Vec<Group<'_>>> {
    let mut all: Vec<Vec<Group>> = Vec::new();
    for Group { document, records } in groups {
        for (number, records) in cut(records).into_iter().enumerate() {
            if all.len() <= number {
                all.push(Vec::new());
            }
            all[number].push(Group { document, records });
        }
    }
    all
}

fn cut(records: Vec<&Record>) -> Vec<Vec<&Record>> {
    let mut parts: Vec<Vec<&Record>> = Vec::new();
    let mut bytes = 0;
    for record in records {
        let size = record::body_of(record).len();
        bytes += size;
        match parts.last_mut() {
            Some(part) if bytes <= PART_BYTES => part.push(record),
            _ => {
                bytes = size;
                parts.push(vec![record]);
            }
        }
    }
    parts
}

/// What is to be done with a group.
#[derive(Debug)]
pub enum Planned<'a> {
    /// Write this.
    Share(Share<'a>),
    /// All of it is stored already, or refused.
    Nothing,
    /// Look what is stored: some of it may be.
    Look,
}

/// Decides; what does not follow is refused with all behind it.
pub fn plan<'a>(
    number: usize,
    group: &Group<'a>,
    open: Option<&Open>,
    looked: Option<&Looked>,
    refused: &mut Refusals,
) -> Planned<'a> {
    let Some(first) = group.records.first().copied() else {
        return Planned::Nothing;
    };
    let Some(open) = open.filter(|open| Some(open.holder) == first.holder) else {
        refused.refuse(first, NOT_THE_HOLDERS);
        return Planned::Nothing;
    };
    let mut share = Share {
        group: number,
        open: *open,
        upto: open.last_seq,
        base: None,
        updates: Vec::new(),
    };
    for record in &group.records {
        let bytes = record::body_of(record).len();
        if bytes > UPDATE_BYTES_MAX && matches!(record.body, Body::Update(_)) {
            refused.refuse(
                record,
                format!("{bytes} bytes are more than an update may have ({UPDATE_BYTES_MAX})"),
            );
            break;
        }
        match &record.body {
            Body::Update(_) if record.seq == share.upto + 1 => {
                share.upto = record.seq;
                share.updates.push(record);
            }
            Body::Update(_) if record.seq <= open.last_seq && looked.is_none() => return Planned::Look,
            Body::Update(body) if looked.is_some_and(|looked| looked.stored.get(&record.seq) == Some(body)) => {}
            Body::Update(_) => {
                let last = share.upto;
                refused.refuse(
                    record,
                    format!("an update with position {} cannot follow {last}", record.seq),
                );
                break;
            }
            Body::Snapshot(_) | Body::Deleted => {
                let newest = share.base_seq().unwrap_or_default().max(open.base_seq);
                if record.seq >= newest {
                    share.base = Some(record);
                }
                share.upto = share.upto.max(record.seq);
            }
        }
    }
    // What was found counts when something is committed behind it: a standby may not have it yet.
    if share.updates.is_empty() && share.base.is_none() && looked.is_none() {
        Planned::Nothing
    } else {
        Planned::Share(share)
    }
}
