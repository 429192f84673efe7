//! `cowrite copy`: all documents from one store to another, records and all (rules B23 and B24).
//!
//! What must stay true: a document in the target is only ever continued by a source that holds all that it holds.

use std::{fs, io::Write};

use super::{
    Failure, Place, Progress, count,
    doc::{locked, viewed},
    failed, say, warn,
};
#[cfg(feature = "postgres")]
use crate::store::postgres::{Options, PostgresStore};
use crate::{
    document::{Deleted, Document, Verdict},
    id::DocumentId,
    protocol::update::{CheckedUpdate, Clocks},
    store::{Body, Holder, Record, Seq, Store},
};

/// Documents that are listed at once.
const PAGE: usize = 1_000;

/// What became of a document.
enum Outcome {
    Copied,
    Completed,
    AlreadyThere,
}

/// Copies, and says what was copied and what was not.
pub(super) fn copy(from: &Place, to: &Place, out: &mut dyn Write) -> Result<(), Failure> {
    if from == to {
        return Err(Failure(format!("{from} is both the source and the target")));
    }
    // An image that lost its files is read anew: what was copied by then is there already.
    let target = open(to)?;
    let counts = viewed(from, |source| copy_all(source, &*target))?;
    target.close()?;
    let [copied, completed, there, left] = counts;
    say(
        out,
        format!(
            "{to}: {} copied, {completed} completed, {there} there already, all read back and compared",
            count(copied, "document")
        ),
    )?;
    match left {
        0 => Ok(()),
        left => Err(Failure(format!("{} not copied", count(left, "document")))),
    }
}

fn open(to: &Place) -> Result<Box<dyn Store>, Failure> {
    match to {
        Place::Folder(data) => {
            fs::create_dir_all(data).map_err(|error| failed("create", data, error))?;
            Ok(Box::new(locked(data)?))
        }
        #[cfg(feature = "postgres")]
        Place::Database(url) => Ok(Box::new(PostgresStore::open(url, Options::default())?)),
    }
}

/// How many were copied, completed, there already, and left out, which are told.
fn copy_all(source: &dyn Store, target: &dyn Store) -> Result<[u64; 4], Failure> {
    let mut counts = [0; 4];
    let mut progress = Progress::new();
    let mut after: Option<DocumentId> = None;
    loop {
        let page = source.list(after.as_ref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(counts) };
        after = Some(last.document.clone());
        for name in page.into_iter().map(|entry| entry.document) {
            let outcome = copy_one(source, target, &name);
            counts[match outcome {
                Ok(Outcome::Copied) => 0,
                Ok(Outcome::Completed) => 1,
                Ok(Outcome::AlreadyThere) => 2,
                Err(Failure(why)) => {
                    warn(format!("{name}: {why}\n"));
                    3
                }
            }] += 1;
            let done: u64 = counts.iter().sum();
            progress.tell(|| format!("copy: {}", count(done, "document")));
        }
    }
}

fn copy_one(source: &dyn Store, target: &dyn Store, name: &DocumentId) -> Result<Outcome, Failure> {
    let all = source.history(name)?;
    let whole = put_together(&all)?;
    let there = target.history(name)?;
    if there == all {
        return Ok(Outcome::AlreadyThere);
    }
    let last = there.last().map_or(0, |record| record.seq);
    if last > 0 && !holds(&whole, &put_together(&there)?)? {
        return Err(Failure(
            "the target has a document of this name with something of its own, and it was left as it is".to_owned(),
        ));
    }
    let rest = behind(all, last);
    // Both may have gone on since the last copy: positions alone do not tell.
    let would_be: Vec<Record> = there.iter().chain(&rest).cloned().collect();
    if !holds(&put_together(&would_be)?, &whole)? {
        return Err(Failure(
            "the source has edits that the target lacks at positions that it has given to others, and it was left as it is"
                .to_owned(),
        ));
    }
    if rest.is_empty() {
        // The same edits, in another snapshot.
        return Ok(Outcome::AlreadyThere);
    }
    write(target, name, &rest, last)?;
    let found = target.history(name)?;
    let copied = found.ends_with(&rest);
    let same = put_together(&found)?.since(&Clocks::default()) == whole.since(&Clocks::default());
    match (copied && same, last) {
        (true, 0) => Ok(Outcome::Copied),
        (true, _) => Ok(Outcome::Completed),
        (false, _) => Err(Failure("what was written is not what is read back".to_owned())),
    }
}

/// What of these records a target lacks that has all up to a position.
fn behind(all: Vec<Record>, last: Seq) -> Vec<Record> {
    all.into_iter().filter(|record| record.seq > last).collect()
}

/// As the only one that has the document, behind position `last`.
fn write(target: &dyn Store, name: &DocumentId, records: &[Record], last: Seq) -> Result<(), Failure> {
    if target.node() == crate::store::NodeId::ALONE {
        return Ok(target.commit_all(records)?);
    }
    let holder = Holder::drawn(uuid::Uuid::new_v4().as_u64_pair().1);
    if target.take(name, holder)?.last_seq() != last {
        target.release(name, holder, None)?;
        return Err(Failure(
            "the target was written to meanwhile, and it was left as it is: repeat the command".to_owned(),
        ));
    }
    let records: Vec<Record> = records.iter().map(|record| held(record, holder)).collect();
    target.commit_all(&records)?;
    Ok(target.release(name, holder, None)?)
}

fn held(record: &Record, holder: Holder) -> Record {
    Record {
        holder: Some(holder),
        ..record.clone()
    }
}

fn put_together(records: &[Record]) -> Result<Document, Failure> {
    let bodies = records.iter().filter_map(|record| match &record.body {
        Body::Update(body) | Body::Snapshot(body) => Some((record.seq, body)),
        Body::Deleted => None,
    });
    Document::open(bodies, Deleted::Kept).map_err(|damaged| Failure(format!("it is damaged: {damaged}")))
}

/// Whether `whole` holds all that `part` does.
fn holds(whole: &Document, part: &Document) -> Result<bool, Failure> {
    let state = CheckedUpdate::check(part.since(&Clocks::default()));
    let state = state.map_err(|malformed| Failure(format!("it does not pass the gate: {malformed}")))?;
    Ok(matches!(whole.judge(state), Verdict::Known))
}
