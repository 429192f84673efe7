//! `cowrite restore`: a data folder from a backup, as it was in a run or at a time (rules B8 to B10).
//!
//! The newest run is copied file by file: history, damaged documents and all. For a time each document is
//! put together from its records, and what it then was is written through the journal like any commit.
//!
//! What must stay true: the journal of the data folder gets its name when all of it is whole and synced.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Failure, Progress, What, count, failed,
    history::{self, Past, Placed},
    image::Image,
    pool::{Pool, Run},
    say, size, time_text,
    verify::{MOST_TOLD, Report, check, told},
};
use crate::{
    id::DocumentId,
    store::{
        Record, Store,
        journal::{
            Journal, JournalOptions,
            disk::{Disk, FileDisk},
            hint, segment,
        },
    },
};

/// What the journal is called until it is whole.
const UNFINISHED: &str = "journal.restoring";

/// Records are committed in batches of about so many bytes.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// Fills the data folder `data` from the backup in `from`.
pub(super) fn restore(from: &Path, data: &Path, what: What, partial: bool, out: &mut dyn Write) -> Result<(), Failure> {
    vacant(data)?;
    let pool = Pool::open(from)?;
    let run = match what {
        What::Newest => pool.newest()?,
        What::Run(number) => pool.run(number)?,
        What::At(at_ms) => run_for(&pool, at_ms)?,
    };
    let (image, missing) = pool.image(run);
    let is_whole = missing.is_empty();
    if !is_whole {
        eprint!("{}", told(missing.into_iter(), MOST_TOLD));
        incomplete(run, what, partial)?;
    }

    let unfinished = data.join(UNFINISHED);
    let (report, left_out) = match what {
        What::Newest | What::Run(_) => (copied(&image, &unfinished)?, 0),
        What::At(at_ms) => {
            let (records, left_out) = as_of(&pool, run, &image, at_ms, partial)?;
            (written(&image, records, &unfinished)?, left_out)
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
        eprint!("{}", told(report.lines(), MOST_TOLD));
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
    if left_out > 0 {
        return Err(Failure(format!("{} left out", count(left_out, "document"))));
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
    let unfinished = data.join(UNFINISHED);
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &unfinished, error)),
        _ => Ok(()),
    }
}

/// The first run that has all that was written up to a time.
fn run_for(pool: &Pool, at_ms: u64) -> Result<&Run, Failure> {
    pool.runs.iter().find(|run| run.began_ms >= at_ms).ok_or_else(|| {
        let newest = pool.runs.iter().map(|run| run.began_ms).max();
        Failure(match newest {
            Some(newest) => format!(
                "the newest run was begun at {0}, what was written later is not in it: use --at {0} or leave --at out",
                time_text(newest)
            ),
            None => format!("{} holds no run that can be read", pool.folder.display()),
        })
    })
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

/// What each document was at a time, and how many cannot be known.
fn as_of(pool: &Pool, run: &Run, image: &Image, at_ms: u64, partial: bool) -> Result<(Vec<Salted>, u64), Failure> {
    let mut documents: BTreeMap<DocumentId, Vec<Placed>> = BTreeMap::new();
    let mut salts: BTreeMap<u32, u32> = BTreeMap::new();
    let folder = pool.folder.join("segments");
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
    let mut left_out = doubtful.len() as u64;
    let mut records = Vec::new();
    for (name, entries) in documents {
        if doubtful.contains(&name) {
            continue;
        }
        match history::at(entries, at_ms) {
            Past::Unborn => {}
            Past::Known(known) => records.extend(known.into_iter().map(|placed| (salts[&placed.0], placed))),
            Past::Gone { next_ms } => {
                left_out += 1;
                problems.push(format!(
                    "{name} cannot be known at that time: updates that a later snapshot holds are gone; the next time \
                     at which it can be restored is {}",
                    time_text(next_ms)
                ));
            }
        }
    }
    let is_whole = problems.is_empty();
    eprint!("{}", told(problems.into_iter(), MOST_TOLD));
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
            journal.commit(&batch)?;
            batch.clear();
            bytes = 0;
        }
        progress.tell(|| format!("restore: {done} of {all} records"));
    }
    if !batch.is_empty() {
        journal.commit(&batch)?;
    }
    journal.close()?;
    drop(journal);
    check(&Image::of_journal(unfinished)?, unfinished, |_, _| ())
}
