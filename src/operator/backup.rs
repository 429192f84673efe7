//! `cowrite backup`: a run of the journal into a pool, beside a server that writes (rules B1 to B7).
//!
//! What must stay true:
//!
//! * The data folder is only read.
//! * Bytes that the pool has of a segment are taken from there: a segment is only ever appended to, so they
//!   are its beginning, and they were checked when they were copied.
//! * A segment that is listed without being read again was checked by an earlier run. Everything else is
//!   scanned as it lies in the pool, before the run is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    time::Duration,
};

use super::{
    Failure, Progress, count, failed,
    image::Image,
    journal_in,
    pool::{Listed, Pool, Run, VERSION, part_of, write_whole},
    say, size,
    verify::{MOST_TOLD, told},
};
use crate::{
    actor::clock::wall_ms,
    store::journal::{
        disk::Disk,
        index::Need,
        recovery,
        segment::{self, HEADER_BYTES, Header, Lost},
    },
};

const COPY_BYTES: usize = 1024 * 1024;

/// Adds a run of the journal in `data` to the backup in `to`.
pub(super) fn backup(data: &Path, to: &Path, keep: Option<Duration>, out: &mut dyn Write) -> Result<(), Failure> {
    let began_ms = wall_ms();
    let journal = journal_in(data)?;
    apart(data, to)?;
    let mut pool = Pool::open_or_make(to)?;
    let image = Image::of_journal(&journal)?;
    let source = fs::canonicalize(data).map_err(|error| failed("look at", data, error))?;
    let source = source.to_string_lossy().into_owned();

    let mut copy = Copy {
        image: &image,
        journal: &journal,
        pool: &pool,
        progress: Progress::new(),
        bytes_all: image.segments().map(|(_, bytes)| bytes).sum(),
        bytes_done: 0,
        copied: 0,
        copied_bytes: 0,
        kept: 0,
    };
    let headed = copy.headed()?;
    one_store(&pool, &source, &headed)?;
    let listed = copy.all(&headed)?;
    let (copied, copied_bytes, kept) = (copy.copied, copy.copied_bytes, copy.kept);

    let mut run = Run {
        version: VERSION,
        number: pool.next_number(),
        source,
        began_ms,
        documents: 0,
        segments: listed,
    };
    let damaged = examine(&pool, &mut run)?;
    let (title, documents) = (run.title(), run.documents);
    pool.add(run)?;
    let gone = match keep {
        Some(keep) => pool.drop_before(began_ms.saturating_sub(keep.as_millis() as u64))?,
        None => 0,
    };

    let mut text = format!(
        "{title}: {}; {} copied ({}), {kept} kept",
        count(documents, "document"),
        count(copied, "file"),
        size(copied_bytes)
    );
    if gone > 0 {
        text.push_str(&format!("; {} removed", count(gone, "older run")));
    }
    say(out, text)?;
    if damaged.is_empty() {
        return Ok(());
    }
    eprint!("{}", told(damaged.iter().cloned(), MOST_TOLD));
    Err(Failure(format!(
        "the run is complete, and something in it is damaged as it is in {}: run `cowrite verify`",
        data.display()
    )))
}

/// Refuses a backup that would lie in what it is a backup of.
fn apart(data: &Path, to: &Path) -> Result<(), Failure> {
    let data = fs::canonicalize(data).map_err(|error| failed("look at", data, error))?;
    // What is not there yet lies where its nearest folder does.
    let nearest = to.ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        fs::canonicalize(folder).ok()
    });
    if nearest.is_some_and(|nearest| nearest.starts_with(&data)) {
        return Err(Failure(format!(
            "{} lies in the data folder and would be lost with it: name a folder elsewhere",
            to.display()
        )));
    }
    Ok(())
}

/// Refuses a pool that holds the runs of another store.
fn one_store(pool: &Pool, source: &str, headed: &[(u32, u32)]) -> Result<(), Failure> {
    let Some(newest) = pool.runs.last() else {
        return Ok(());
    };
    let shared = newest
        .segments
        .iter()
        .any(|listed| headed.contains(&(listed.number, listed.salt)));
    if shared || newest.source == source || newest.segments.is_empty() {
        return Ok(());
    }
    Err(Failure(format!(
        "{} holds backups of {}, not of {source}: use one folder for each",
        pool.folder.display(),
        newest.source
    )))
}

/// Reads what no earlier run has checked, counts the documents, and says what is damaged.
fn examine(pool: &Pool, run: &mut Run) -> Result<Vec<String>, Failure> {
    let (image, missing) = pool.image(run);
    if let Some(missing) = missing.into_iter().next() {
        return Err(Failure(format!("the copy was changed meanwhile: {missing}")));
    }
    let folder = pool.folder.join("segments");
    let mut index = recovery::recover(&image, &folder, 0)?.index;
    let documents = index.documents.iter();
    run.documents = documents.clone().filter(|(_, known)| known.exists()).count() as u64;
    let mut lines: Vec<String> = documents
        .filter_map(|(name, known)| Some(format!("{name} is damaged: {}", known.damage.as_ref()?.reason)))
        .collect();

    let checked: BTreeMap<(u32, u32), u64> = pool
        .runs
        .iter()
        .flat_map(|earlier| &earlier.segments)
        .filter(|listed| !listed.damaged)
        .map(|listed| ((listed.number, listed.salt), listed.bytes))
        .collect();
    let unchecked: BTreeSet<u32> = run
        .segments
        .iter()
        .filter(|listed| {
            let before = checked.get(&(listed.number, listed.salt));
            before.is_none_or(|bytes| *bytes < listed.bytes)
        })
        .map(|listed| listed.number)
        .collect();
    let mut damaged = BTreeSet::new();
    let headerless = recovery::survey(
        &image,
        &folder,
        |number| unchecked.contains(&number),
        |number, _, _, scan| {
            for damage in scan.damage {
                damaged.insert(number);
                let place = format!("{} at byte {}:", segment::file_name(number), damage.offset);
                if lines.iter().any(|line| line.contains(&place)) {
                    continue;
                }
                lines.push(match damage.lost {
                    Lost::Known(entry) if index.need(number, &entry) == Need::Current => {
                        format!("{} is damaged: {place} {}", entry.document, damage.reason)
                    }
                    _ => format!("{place} {} (no document needs it at present)", damage.reason),
                });
            }
        },
    )?;
    for number in headerless {
        damaged.insert(number);
        lines.push(format!(
            "{}: no header of it passes its check",
            segment::file_name(number)
        ));
    }
    for listed in &mut run.segments {
        listed.damaged = damaged.contains(&listed.number);
    }
    Ok(lines)
}

struct Copy<'a> {
    image: &'a Image,
    journal: &'a Path,
    pool: &'a Pool,
    progress: Progress,
    bytes_all: u64,
    bytes_done: u64,
    copied: u64,
    copied_bytes: u64,
    kept: u64,
}

impl Copy<'_> {
    /// The segments that were born, with their salts.
    fn headed(&self) -> Result<Vec<(u32, u32)>, Failure> {
        let mut headed = Vec::new();
        for (number, bytes) in self.image.segments() {
            let path = self.journal.join(segment::file_name(number));
            let header = self.image.open(&path).and_then(|file| Header::read(&*file, number));
            let header = header.map_err(|error| failed("read", &path, error))?;
            let salt = header.map(|header| header.salt);
            let salt = salt.or_else(|| Some(self.image.hint(number)?.0.salt));
            if salt.is_some() || bytes > HEADER_BYTES {
                headed.push((number, salt.unwrap_or_default()));
            }
        }
        Ok(headed)
    }

    fn all(&mut self, headed: &[(u32, u32)]) -> Result<Vec<Listed>, Failure> {
        let last = headed.iter().rev().find(|(_, salt)| *salt != 0).copied();
        let lengths: BTreeMap<u32, u64> = self.image.segments().collect();
        let mut listed = Vec::with_capacity(headed.len());
        for &(number, salt) in headed {
            let mut bytes = lengths.get(&number).copied().unwrap_or_default();
            if Some((number, salt)) == last {
                bytes = self.whole_bytes(number, salt, bytes)?;
            }
            bytes = self.segment(number, salt, bytes)?;
            self.hint(number, salt)?;
            listed.push(Listed {
                number,
                salt,
                bytes,
                damaged: false,
            });
        }
        Ok(listed)
    }

    /// Up to where the last segment holds whole records: behind it a write may be under way. Not so when it
    /// has a hint: then it is no longer written to, and what is broken in it is damage.
    fn whole_bytes(&self, number: u32, salt: u32, bytes: u64) -> Result<u64, Failure> {
        if self.image.hint(number).is_some_and(|(hint, _)| hint.salt == salt) {
            return Ok(bytes);
        }
        let path = self.journal.join(segment::file_name(number));
        let scan = self
            .image
            .open(&path)
            .and_then(|file| segment::scan(&*file, salt, bytes, None));
        Ok(scan.map_err(|error| failed("read", &path, error))?.end.min(bytes))
    }

    /// Brings the pool's file of a segment to at least `bytes` bytes; returns how many of them belong to the
    /// run.
    fn segment(&mut self, number: u32, salt: u32, bytes: u64) -> Result<u64, Failure> {
        let to = self.pool.segment(number, salt);
        let had = fs::metadata(&to).map_or(0, |about| about.len());
        if had >= bytes && had > 0 {
            self.kept += 1;
            self.bytes_done += bytes;
            return Ok(bytes);
        }
        let part = part_of(&to);
        let mut file = File::create(&part).map_err(|error| failed("create", &part, error))?;
        if had > 0 {
            let old = File::open(&to).map_err(|error| failed("open", &to, error))?;
            let copied = io::copy(&mut old.take(had), &mut file);
            copied.map_err(|error| failed("write", &part, error))?;
        }
        let path = self.journal.join(segment::file_name(number));
        let from = self.image.open(&path).map_err(|error| failed("open", &path, error))?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = had;
        while at < bytes {
            let most = usize::try_from(bytes - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let read = from
                .read_at(&mut buffer[..most], at)
                .map_err(|error| failed("read", &path, error))?;
            if read == 0 {
                // The server has just cut off what is void.
                break;
            }
            file.write_all_at(&buffer[..read], at)
                .map_err(|error| failed("write", &part, error))?;
            at += read as u64;
            let done = self.bytes_done + at;
            let all = self.bytes_all;
            self.progress
                .tell(|| format!("backup: {} of {}", size(done), size(all)));
        }
        file.sync_data().map_err(|error| failed("sync", &part, error))?;
        fs::rename(&part, &to).map_err(|error| failed("rename", &part, error))?;
        self.copied += 1;
        self.copied_bytes += at - had;
        self.bytes_done += at;
        Ok(at)
    }

    fn hint(&self, number: u32, salt: u32) -> Result<(), Failure> {
        let to = self.pool.hint(number, salt);
        match self.image.hint(number) {
            Some((hint, bytes)) if hint.salt == salt && !to.exists() => write_whole(&to, &bytes),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::SeqCst},
        },
    };

    use bytes::Bytes;
    use yrs::{Doc, Text, Transact};

    use super::*;
    use crate::{
        id::DocumentId,
        operator::{What, restore::restore, verify},
        store::{
            Body, Record, Store, StoredDocument,
            journal::{
                Journal, JournalOptions,
                disk::{DiskFile, DiskLock, FileDisk},
            },
        },
    };

    /// The machine's disk, of which the next sync can be made to fail.
    #[derive(Clone, Default)]
    struct Failing(Arc<AtomicBool>);

    struct FailingFile(Arc<dyn DiskFile>, Failing);

    impl Failing {
        fn wrap(&self, file: io::Result<Arc<dyn DiskFile>>) -> io::Result<Arc<dyn DiskFile>> {
            Ok(Arc::new(FailingFile(file?, self.clone())))
        }
    }

    impl Disk for Failing {
        fn create_folder(&self, path: &Path) -> io::Result<()> {
            FileDisk.create_folder(path)
        }

        fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
            self.wrap(FileDisk.create(path))
        }

        fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
            self.wrap(FileDisk.open(path))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            FileDisk.rename(from, to)
        }

        fn unlink(&self, path: &Path) -> io::Result<()> {
            FileDisk.unlink(path)
        }

        fn list(&self, folder: &Path) -> io::Result<Vec<(String, u64)>> {
            FileDisk.list(folder)
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            FileDisk.sync_folder(folder)
        }

        fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
            FileDisk.lock(path)
        }
    }

    impl DiskFile for FailingFile {
        fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
            self.0.write_all_at(bytes, at)
        }

        fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
            self.0.read_at(buffer, at)
        }

        fn sync_data(&self) -> io::Result<()> {
            if (self.1).0.swap(false, SeqCst) {
                return Err(io::Error::other("the disk fails"));
            }
            self.0.sync_data()
        }

        fn truncate(&self, bytes: u64) -> io::Result<()> {
            self.0.truncate(bytes)
        }

        fn bytes(&self) -> io::Result<u64> {
            self.0.bytes()
        }
    }

    fn edit(doc: &Doc, seq: u64) -> Record {
        let text = doc.get_or_insert_text("t");
        let mut txn = doc.transact_mut();
        text.push(&mut txn, &format!("{seq},"));
        Record {
            document: name(),
            seq,
            at_ms: seq,
            authors: Arc::new([]),
            body: Body::Update(Bytes::from(txn.encode_update_v1())),
        }
    }

    fn name() -> DocumentId {
        DocumentId::parse("plan").unwrap()
    }

    fn stored(data: &Path) -> StoredDocument {
        let journal = data.join("journal");
        let image = Image::of_journal(&journal).unwrap();
        Journal::view(Arc::new(image), &journal).unwrap().load(&name()).unwrap()
    }

    #[test]
    fn b1_void_bytes_of_a_segment_that_was_given_up_stay_void_before_and_after_they_are_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let (data, to) = (folder.path().join("data"), folder.path().join("backup"));
        let disk = Failing::default();
        let options = JournalOptions::default();
        let journal = Journal::open(Arc::new(disk.clone()), &data.join("journal"), options).unwrap();
        let (doc, other) = (Doc::with_client_id(1), Doc::with_client_id(2));
        let run = || backup(&data, &to, None, &mut Vec::new()).unwrap();

        journal.commit(&[edit(&doc, 1)]).unwrap();
        run();
        // Its bytes lie in the segment, and it is another edit that gets its position.
        disk.0.store(true, SeqCst);
        journal.commit(&[edit(&other, 2)]).unwrap_err();
        run();
        journal.commit(&[edit(&doc, 2), edit(&doc, 3)]).unwrap();
        run();
        while journal.maintain(9).unwrap() {}
        run();
        let live = journal.load(&name()).unwrap();
        journal.close().unwrap();
        drop(journal);
        run();

        verify::backup(&to, true, &mut Vec::new()).unwrap();
        let restored = |number: u64| -> StoredDocument {
            let target: PathBuf = folder.path().join(number.to_string());
            restore(&to, &target, What::Run(number), false, &mut Vec::new()).unwrap();
            stored(&target)
        };
        assert_eq!(live.last_seq(), 3);
        assert_eq!(restored(1).updates, live.updates[..1]);
        assert_eq!(restored(2).updates[..1], live.updates[..1]);
        for number in 3..=5 {
            assert_eq!(restored(number), live, "run {number}");
        }
        let at = folder.path().join("at");
        restore(&to, &at, What::At(2), false, &mut Vec::new()).unwrap();
        assert!(stored(&at).last_seq() <= 2);
    }
}
