//! `cowrite restore`: a data folder from a backup, as it was in a run or at a time (rules B8 to B10).
//!
//! The newest run is copied file by file: history, damaged documents and all. For a time each document is
//! put together from its records, and what it then was is written through the journal like any commit.
//!
//! What must stay true:
//!
//! * The journal of the data folder gets its name when all of it is whole and synced.
//! * Whatever is written or removed in the data folder, this process has the folder's lock from before that
//!   until the journal has its name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

#[cfg(feature = "object-store")]
use super::bucket::Bucket;
use super::{
    Failure, Progress, Target, What, count, failed,
    history::{self, Past, Placed},
    image::Image,
    pool::{Pool, Run},
    say, size, time_text,
    verify::{MOST_TOLD, Report, check, told},
    warn,
};
use crate::{
    id::DocumentId,
    store::{
        Record, Store,
        journal::{
            Journal, JournalOptions, UNFINISHED,
            disk::{Disk, FileDisk},
            hint, segment,
        },
    },
};

/// Records are committed in batches of about so many bytes.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// Fills the data folder `data` from the backup in `from`.
pub(super) fn restore(
    from: &Target,
    data: &Path,
    what: What,
    partial: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    vacant(data)?;
    match from {
        Target::Folder(folder) => restore_from(&Pool::open(folder)?, data, what, partial, out),
        #[cfg(feature = "object-store")]
        Target::Bucket(url) => {
            let chosen = |pool: &Pool| Ok(vec![chosen(pool, what)?.number]);
            Bucket::open(url)?.fetched(chosen, |pool| restore_from(pool, data, what, partial, out))
        }
    }
}

/// The run that is read for it.
fn chosen(pool: &Pool, what: What) -> Result<&Run, Failure> {
    match what {
        What::Newest => pool.newest(),
        What::Run(number) => pool.run(number),
        What::At(at_ms) => run_for(pool, at_ms),
    }
}

fn restore_from(pool: &Pool, data: &Path, what: What, partial: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let run = chosen(pool, what)?;
    let (image, missing) = pool.image(run);
    let is_whole = missing.is_empty();
    if !is_whole {
        warn(told(missing.into_iter(), MOST_TOLD));
        incomplete(run, what, partial)?;
    }

    let unfinished = data.join(UNFINISHED);
    let (report, left_out, _lock) = match what {
        What::Newest | What::Run(_) => {
            let lock = claim(data)?;
            (copied(&image, &unfinished)?, LeftOut::default(), lock)
        }
        What::At(at_ms) => {
            let (records, left_out) = as_of(pool, run, &image, at_ms, partial)?;
            let lock = claim(data)?;
            (written(&image, records, &unfinished)?, left_out, lock)
        }
    };
    let journal = data.join("journal");
    fs::rename(&unfinished, &journal).map_err(|error| failed("rename", &unfinished, error))?;
    FileDisk
        .sync_folder(data)
        .map_err(|error| failed("sync", data, error))?;

    let at = match what {
        What::At(at_ms) => format!(" as of {}", time_text(at_ms)),
        What::Newest | What::Run(_) => String::new(),
    };
    say(
        out,
        format!(
            "{}{at}: {} restored to {}, {} read back and checked",
            run.title(),
            count(report.documents, "document"),
            data.display(),
            size(report.bytes)
        ),
    )?;
    if !report.is_clean() {
        warn(told(report.lines(), MOST_TOLD));
        return Err(Failure(format!(
            "{} is restored as the backup has it, and something in it is damaged: run `cowrite verify`",
            data.display()
        )));
    }
    if !is_whole {
        return Err(Failure(format!(
            "{} lacks the files named above: documents in it may be older than in the run",
            data.display()
        )));
    }
    if left_out.documents > 0 {
        return Err(Failure(format!("{} left out", count(left_out.documents, "document"))));
    }
    if left_out.unnamed > 0 {
        return Err(Failure(format!(
            "{} in the backup damaged, and nobody can say of which document: one may be missing or older than it was",
            if left_out.unnamed == 1 {
                "1 place is".to_owned()
            } else {
                format!("{} are", count(left_out.unnamed, "place"))
            }
        )));
    }
    Ok(())
}

/// Decides about a run of which files are missing: the documents whose newest edits lay in them would be older
/// than they were, and nobody can say which those are.
fn incomplete(run: &Run, what: What, partial: bool) -> Result<(), Failure> {
    let title = run.title();
    match what {
        What::At(_) => Err(Failure(format!(
            "{title} is incomplete and nothing was restored: what a document was at a time cannot be known from it, \
             --run {} --partial restores what is there",
            run.number
        ))),
        What::Newest | What::Run(_) if !partial => Err(Failure(format!(
            "{title} is incomplete and nothing was restored: --partial restores what is there, some documents may \
             then be older than in the run"
        ))),
        What::Newest | What::Run(_) => Ok(()),
    }
}

/// Refuses a folder in which something is that is not left over from a restore.
fn vacant(data: &Path) -> Result<(), Failure> {
    let entries = match fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("list", data, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| failed("list", data, error))?;
        if entry.file_name() != UNFINISHED {
            return Err(Failure(format!(
                "{} is not empty, and a restore never overwrites: name another folder, or move this one away",
                data.display()
            )));
        }
    }
    Ok(())
}

/// Takes the lock of a vacant folder, which is made when it is not there, and removes what a restore that was
/// killed left in it. The lock is the folder's own: it holds whatever gets another name in there.
fn claim(data: &Path) -> Result<File, Failure> {
    FileDisk
        .create_folder(data)
        .map_err(|error| failed("create", data, error))?;
    let folder = File::open(data).map_err(|error| failed("open", data, error))?;
    match folder.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Failure(format!(
                "another restore is at work in {}: wait for it, or name another folder",
                data.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", data, error)),
    }
    // Another restore may have come to its end since the first look.
    vacant(data)?;
    let unfinished = data.join(UNFINISHED);
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &unfinished, error)),
        _ => Ok(folder),
    }
}

/// The first run that has all that was written up to a time.
fn run_for(pool: &Pool, at_ms: u64) -> Result<&Run, Failure> {
    first_after(&pool.runs, at_ms).ok_or_else(|| {
        Failure(match pool.runs.last() {
            Some(newest) => format!(
                "the newest run was begun at {}, what was written from then on may not be in it: use --at {} or leave \
                 --at out",
                time_text(newest.began_ms),
                time_text(newest.began_ms.saturating_sub(1))
            ),
            None => format!("{} holds no run that can be read", pool.label),
        })
    })
}

/// The first of these, oldest first, that was begun after a time. One that seems to have been begun after a later
/// one was begun by a clock that was set back since, and lacks what was written until that time came again.
fn first_after(runs: &[Run], at_ms: u64) -> Option<&Run> {
    let mut first = None;
    let mut least_ms = u64::MAX;
    for run in runs.iter().rev() {
        least_ms = least_ms.min(run.began_ms);
        if run.began_ms == least_ms && run.began_ms > at_ms {
            first = Some(run);
        }
    }
    first
}

/// Copies the files of a run, and checks the copy.
fn copied(image: &Image, unfinished: &Path) -> Result<Report, Failure> {
    FileDisk
        .create_folder(unfinished)
        .map_err(|error| failed("create", unfinished, error))?;
    let mut progress = Progress::new();
    let all: u64 = image.segments().map(|(_, bytes)| bytes).sum();
    let mut done = 0;
    for (number, bytes) in image.segments() {
        let path = unfinished.join(segment::file_name(number));
        let mut file = File::create_new(&path).map_err(|error| failed("create", &path, error))?;
        let copied = image
            .reader(number)
            .and_then(|from| io::copy(&mut from.take(bytes), &mut file))
            .and_then(|_| file.sync_data());
        copied.map_err(|error| failed("write", &path, error))?;
        if let Some((_, bytes)) = image.hint(number) {
            let path = unfinished.join(hint::file_name(number));
            let written = File::create_new(&path).and_then(|mut file| {
                file.write_all(&bytes)?;
                file.sync_data()
            });
            written.map_err(|error| failed("write", &path, error))?;
        }
        done += bytes;
        progress.tell(|| format!("restore: {} of {}", size(done), size(all)));
    }
    FileDisk
        .sync_folder(unfinished)
        .map_err(|error| failed("sync", unfinished, error))?;
    check(&Image::of_journal(unfinished)?, unfinished, |_, _| ())
}

/// A record and the salt of the segment that it lies in.
type Salted = (u32, Placed);

/// What a restore as of a time does without.
#[derive(Default)]
struct LeftOut {
    /// Documents that cannot be known.
    documents: u64,
    /// Damaged places of which nobody can say whose they were.
    unnamed: u64,
}

/// What each document was at a time, and what cannot be known.
fn as_of(pool: &Pool, run: &Run, image: &Image, at_ms: u64, partial: bool) -> Result<(Vec<Salted>, LeftOut), Failure> {
    let mut documents: BTreeMap<DocumentId, Vec<Placed>> = BTreeMap::new();
    let mut salts: BTreeMap<u32, u32> = BTreeMap::new();
    let folder = Path::new(&pool.label).join("segments");
    let report = check(image, &folder, |(number, salt), entry| {
        salts.insert(number, salt);
        documents
            .entry(entry.document.clone())
            .or_default()
            .push((number, entry));
    })?;

    // Of a document that lost a record nobody knows whether it was one that matters at this time.
    let rotten = report.rotten.iter().filter_map(|(name, _)| name.clone());
    let doubtful: BTreeSet<DocumentId> = report.damaged.keys().cloned().chain(rotten).collect();
    let mut problems: Vec<String> = report.lines().collect();
    let mut left_out = LeftOut {
        documents: doubtful.len() as u64,
        unnamed: report.rotten.iter().filter(|(name, _)| name.is_none()).count() as u64,
    };
    let mut records = Vec::new();
    for (name, entries) in documents {
        if doubtful.contains(&name) {
            continue;
        }
        match history::at(entries, at_ms) {
            Past::Unborn => {}
            Past::Known(known) => records.extend(known.into_iter().map(|placed| (salts[&placed.0], placed))),
            Past::Gone { next_ms } => {
                left_out.documents += 1;
                problems.push(format!(
                    "{name} cannot be known at that time: updates that a later snapshot holds are gone; the next time \
                     at which it can be restored is {}",
                    time_text(next_ms)
                ));
            }
        }
    }
    let is_whole = problems.is_empty();
    warn(told(problems.into_iter(), MOST_TOLD));
    if is_whole || partial {
        return Ok((records, left_out));
    }
    let earlier = pool.runs.iter().rev().find(|earlier| earlier.number < run.number);
    let earlier = earlier.map_or_else(String::new, |earlier| {
        format!(
            "; the run before that time is --run {} ({})",
            earlier.number,
            time_text(earlier.began_ms)
        )
    });
    Err(Failure(format!(
        "not everything can be what it was at {}, and nothing was restored: --partial leaves out the documents \
         named above{earlier}",
        time_text(at_ms)
    )))
}

/// Writes records into a new journal, and checks it.
fn written(image: &Image, records: Vec<Salted>, unfinished: &Path) -> Result<Report, Failure> {
    let journal = Journal::open(Arc::new(FileDisk), unfinished, JournalOptions::default())?;
    let mut progress = Progress::new();
    let (all, mut done) = (records.len(), 0);
    let (mut batch, mut bytes): (Vec<Record>, u64) = (Vec::new(), 0);
    for (salt, (number, entry)) in records {
        let path = PathBuf::from(segment::file_name(number));
        let file = image.open(&path).map_err(|error| failed("open", &path, error))?;
        let read = segment::read_record(&*file, salt, entry.offset, entry.bytes)
            .map_err(|error| failed("read", &path, error))?;
        let (record, _) = read.map_err(|fault| {
            Failure(format!(
                "{} changed while it was read, at byte {}: {fault}",
                path.display(),
                entry.offset
            ))
        })?;
        batch.push(record);
        bytes += entry.bytes;
        done += 1;
        if bytes >= BATCH_BYTES {
            journal.commit_all(&batch)?;
            batch.clear();
            bytes = 0;
        }
        progress.tell(|| format!("restore: {done} of {all} records"));
    }
    if !batch.is_empty() {
        journal.commit_all(&batch)?;
    }
    journal.close()?;
    drop(journal);
    check(&Image::of_journal(unfinished)?, unfinished, |_, _| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::pool::VERSION;

    fn runs(began_ms: &[u64]) -> Vec<Run> {
        let run = |(number, began_ms): (u64, &u64)| Run {
            version: VERSION,
            number,
            source: "/data".to_owned(),
            began_ms: *began_ms,
            documents: 0,
            segments: Vec::new(),
        };
        (1..).zip(began_ms).map(run).collect()
    }

    #[test]
    fn b9_the_run_that_is_read_was_begun_after_the_time_by_every_clock() {
        for (began_ms, at_ms, expected) in [
            (&[10, 20, 30][..], 9, Some(1)),
            (&[10, 20, 30], 10, Some(2)),
            (&[10, 20, 30], 29, Some(3)),
            (&[10, 20, 30], 30, None),
            // The clock was set back after the second.
            (&[10, 50, 20, 60], 15, Some(3)),
            (&[10, 50, 20, 60], 30, Some(4)),
            (&[10, 50, 20], 30, None),
            (&[], 0, None),
        ] {
            let runs = runs(began_ms);

            let found = first_after(&runs, at_ms).map(|run| run.number);

            assert_eq!(found, expected, "{at_ms} in {began_ms:?}");
        }
    }
}
