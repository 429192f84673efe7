//! `cowrite verify`: reads and checks everything (rule B11), and what a backup and a restore check with.
//!
//! Two looks at one image. The first opens it as a start would, hints included, and puts each
//! document together: that says which documents are damaged. The second scans each segment,
//! whatever hints say: that finds rotten bytes that no document needs any more.
//!
//! `verify` also asks whether two readers find the same content in each document (rules V1, V6). That one of them cannot
//! tell is said and is no damage: an editor does not notice. That they find different things is a fault of one of them,
//! or of what was stored, and somebody should know: exit code 1.

use std::{
    collections::BTreeMap,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

#[cfg(feature = "object-store")]
use super::bucket::Bucket;
#[cfg(feature = "postgres")]
use super::doc::viewed;
use super::{
    Failure, Place, Progress, Target, count,
    image::Image,
    journal_in,
    pool::{Pool, Run},
    say, size, warn,
};
use crate::{
    content::{self, Opinion},
    document::{Deleted, Document},
    id::DocumentId,
    protocol::update::Clocks,
    store::{
        Store, StoreError, StoredDocument,
        journal::{
            Journal, recovery,
            segment::{self, Entry, Lost},
        },
        record,
    },
};

/// So many damaged things are told one by one; a restore names fewer than `verify`.
pub(super) const MOST_TOLD: usize = 20;

/// Documents that are listed at once.
const PAGE: usize = 1_000;

/// What a check found.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub documents: u64,
    pub records: u64,
    pub bytes: u64,
    /// Documents that cannot be read, and why.
    pub damaged: BTreeMap<DocumentId, String>,
    /// What else fails its check, with the document that it was of, if that can be known.
    pub rotten: Vec<(Option<DocumentId>, String)>,
    /// Documents in which two readers find different things, and where.
    pub disputed: BTreeMap<DocumentId, String>,
    /// Documents of which there is no second opinion, and why.
    pub unshown: BTreeMap<DocumentId, String>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty() && self.rotten.is_empty() && self.disputed.is_empty()
    }

    /// A line for each thing that is wrong.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        let damaged = self
            .damaged
            .iter()
            .map(|(name, reason)| format!("{name} is damaged: {reason}"));
        let rotten = self.rotten.iter().map(|(name, reason)| match name {
            Some(name) => format!("{reason} (something of {name} that nobody needs at present)"),
            None => format!("{reason} (nobody can say of which document)"),
        });
        let doubts = self.disputed.iter().chain(&self.unshown);
        damaged
            .chain(rotten)
            .chain(doubts.map(|(name, why)| format!("{name}: {why}")))
    }
}

/// Checks a data folder or a database, beside servers or without any.
pub(super) fn place(place: &Place, out: &mut dyn Write) -> Result<(), Failure> {
    let report = match place {
        Place::Folder(data) => {
            let journal = journal_in(data)?;
            Image::read(&journal, |image| check_with_content(image, &journal))?
        }
        #[cfg(feature = "postgres")]
        Place::Database(_) => viewed(place, check_store)?,
    };
    verdict(&place.to_string(), &report, &[], out)
}

/// Reads every document of a store, and asks for a second opinion on each.
#[cfg(feature = "postgres")]
fn check_store(store: &dyn Store) -> Result<Report, Failure> {
    let mut report = Report::default();
    let mut progress = Progress::new();
    let mut after: Option<DocumentId> = None;
    loop {
        let page = store.list(after.as_ref(), PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.document.clone());
        for entry in page {
            report.documents += 1;
            if let Err(reason) = read(store, &entry.document)? {
                report.damaged.insert(entry.document, reason);
                continue;
            }
            let stored = store.load(&entry.document)?;
            report.records += stored.records().count() as u64;
            report.bytes += stored.records().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
            compare(&mut report, entry.document, &stored);
            let done = report.documents;
            progress.tell(|| format!("verify: {done} documents"));
        }
    }
    Ok(report)
}

/// Asks for a second opinion on a document.
fn compare(report: &mut Report, name: DocumentId, stored: &StoredDocument) {
    let opened = Document::open(stored.records(), Deleted::Kept);
    let opinion = opened.map(|document| content::second_opinion(&document.since(&Clocks::default())));
    match opinion {
        Ok(Ok(Opinion::Same)) => {}
        Ok(Ok(Opinion::Different(how))) => drop(report.disputed.insert(name, how)),
        Ok(Err(why)) => drop(report.unshown.insert(name, why.to_string())),
        Err(damaged) => drop(report.damaged.insert(name, damaged.to_string())),
    }
}

/// Checks the newest run of a backup, or all.
pub(super) fn backup(from: &Target, all: bool, out: &mut dyn Write) -> Result<(), Failure> {
    match from {
        Target::Folder(folder) => check_runs(&Pool::open(folder)?, all, out),
        #[cfg(feature = "object-store")]
        Target::Bucket(url) => {
            let chosen = |pool: &Pool| Ok(chosen(pool, all)?.iter().map(|run| run.number).collect());
            Bucket::open(url)?.fetched(chosen, |pool| check_runs(pool, all, out))
        }
    }
}

fn chosen(pool: &Pool, all: bool) -> Result<&[Run], Failure> {
    let newest = pool.newest();
    Ok(if all && !pool.runs.is_empty() {
        pool.runs.as_slice()
    } else {
        std::slice::from_ref(newest?)
    })
}

fn check_runs(pool: &Pool, all: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let mut worst = Ok(());
    for (_, path) in pool.unreadable.iter().filter(|_| all) {
        worst = Err(Failure(format!("{path} fails its check")));
    }
    for run in chosen(pool, all)? {
        let (image, missing) = pool.image(run);
        let report = check_with_content(&image, &Path::new(&pool.label).join("segments"))?;
        let verdict = verdict(&run.title(), &report, &missing, out);
        worst = worst.and(verdict);
    }
    worst
}

fn verdict(what: &str, report: &Report, missing: &[String], out: &mut dyn Write) -> Result<(), Failure> {
    let text = format!(
        "{what}: {}, {}, {} read",
        count(report.documents, "document"),
        count(report.records, "record"),
        size(report.bytes)
    );
    if report.is_clean() && missing.is_empty() {
        let unshown = report.unshown.len() as u64;
        if unshown == 0 {
            return say(out, format!("{text}: nothing is damaged"));
        }
        let whose = count(unshown, "document");
        say(
            out,
            format!("{text}: nothing is damaged; the content of {whose} cannot be compared"),
        )?;
        warn(told(report.lines(), usize::MAX));
        return Ok(());
    }
    say(out, text)?;
    warn(told(missing.iter().cloned().chain(report.lines()), usize::MAX));
    let counts = [
        (report.damaged.len(), "document", " damaged"),
        (missing.len(), "file", " missing or cut short"),
        (
            report.rotten.len(),
            "place",
            " damaged that no document needs at present",
        ),
        (report.disputed.len(), "document", " of disputed content"),
        (report.unshown.len(), "document", " whose content cannot be compared"),
    ];
    let counts = counts.iter().filter(|(number, ..)| *number > 0);
    let counts: Vec<String> = counts
        .map(|(number, noun, what)| format!("{}{what}", count(*number as u64, noun)))
        .collect();
    Err(Failure(format!("{what}: {}", counts.join(", "))))
}

/// The first `most` lines, and how many more there are.
pub(super) fn told(lines: impl Iterator<Item = String>, most: usize) -> String {
    let (mut text, mut more) = (String::new(), 0);
    for (index, line) in lines.enumerate() {
        if index < most {
            text.push_str(&line);
            text.push('\n');
        } else {
            more += 1;
        }
    }
    if more > 0 {
        text.push_str(&format!("and {more} more\n"));
    }
    text
}

/// Reads everything in `image`, whose files are called as if they lay in `folder`. Each record that is
/// whole is told to `each`, with its segment and the segment's salt.
pub(super) fn check(image: &Image, folder: &Path, mut each: impl FnMut((u32, u32), Entry)) -> Result<Report, Failure> {
    let mut report = Report::default();
    let mut progress = Progress::new();
    let all: u64 = image.segments().map(|(_, bytes)| bytes).sum();

    let journal = Journal::view(Arc::new(image.clone()), folder)?;
    let documents = journal.status().documents;
    let mut after: Option<DocumentId> = None;
    loop {
        let page = journal.list(after.as_ref(), PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.document.clone());
        for entry in page {
            report.documents += 1;
            if let Err(reason) = read(&journal, &entry.document)? {
                report.damaged.insert(entry.document, reason);
            }
            let done = report.documents;
            progress.tell(|| format!("verify: {done} of {documents} documents"));
        }
    }

    let mut found = Vec::new();
    let headerless = recovery::survey(
        image,
        folder,
        |_| true,
        |number, salt, bytes, scan| {
            report.records += scan.entries.len() as u64;
            report.bytes += bytes;
            found.extend(scan.damage.into_iter().map(|damage| (number, damage)));
            scan.entries.into_iter().for_each(|entry| each((number, salt), entry));
            let done = report.bytes;
            progress.tell(|| format!("verify: {} of {} of segments", size(done), size(all)));
        },
    )?;
    for number in headerless {
        let reason = format!("{}: no header of it passes its check", segment::file_name(number));
        report.rotten.push((None, reason));
    }
    for (number, damage) in found {
        let place = format!("{} at byte {}:", segment::file_name(number), damage.offset);
        // A damaged document has said so already.
        if report.damaged.values().any(|reason| reason.contains(&place)) {
            continue;
        }
        let name = match damage.lost {
            Lost::Known(entry) => Some(entry.document),
            Lost::Traced(trace) => journal
                .bases(None, usize::MAX)
                .into_iter()
                .map(|(name, _)| name)
                .find(|name| record::name_sum(name) == trace.name_sum),
            Lost::Unknown => None,
        };
        report.rotten.push((name, format!("{place} {}", damage.reason)));
    }
    Ok(report)
}

/// As [`check`], and asks for a second opinion on each document that can be read.
fn check_with_content(image: &Image, folder: &Path) -> Result<Report, Failure> {
    let mut report = check(image, folder, |_, _| ())?;
    let journal = Journal::view(Arc::new(image.clone()), folder)?;
    let mut progress = Progress::new();
    let (mut done, all) = (0, report.documents);
    let mut after: Option<DocumentId> = None;
    loop {
        let page = journal.list(after.as_ref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(report) };
        after = Some(last.document.clone());
        for name in page.into_iter().map(|entry| entry.document) {
            done += 1;
            progress.tell(|| format!("verify: the content of {done} of {all} documents"));
            if report.damaged.contains_key(&name) {
                continue;
            }
            let stored = journal.load(&name)?;
            compare(&mut report, name, &stored);
        }
    }
}

/// Puts a document together; the inner error says why it cannot be read.
fn read(store: &dyn Store, name: &DocumentId) -> Result<Result<(), String>, Failure> {
    let stored = match store.load(name) {
        Ok(stored) => stored,
        Err(StoreError::Damaged { reason, .. }) => return Ok(Err(reason)),
        Err(error) => return Err(error.into()),
    };
    let opened = || Document::open(stored.records(), Deleted::Kept);
    Ok(match catch_unwind(AssertUnwindSafe(opened)) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(damaged)) => Err(damaged.to_string()),
        Err(_) => Err("reading it panicked".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b11_disputed_content_is_told_and_a_failure_and_content_without_a_second_opinion_is_none() {
        let one = |why: &str| BTreeMap::from([(DocumentId::parse("plan").unwrap(), why.to_owned())]);
        let disputed = Report {
            disputed: one("its content is not what yrs finds in it"),
            ..Report::default()
        };
        let unshown = Report {
            unshown: one("its content cannot be shown"),
            ..Report::default()
        };

        let failure = verdict("data", &disputed, &[], &mut Vec::new());

        assert_eq!(failure, Err(Failure("data: 1 document of disputed content".to_owned())));
        assert_eq!(
            disputed.lines().collect::<Vec<_>>(),
            ["plan: its content is not what yrs finds in it"]
        );
        assert_eq!(verdict("data", &unshown, &[], &mut Vec::new()), Ok(()));
    }
}
