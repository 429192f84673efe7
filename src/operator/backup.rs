//! `cowrite backup`: a run of the journal into a pool, beside a server that writes (rules B1 to B7).
//!
//! What must stay true:
//!
//! * The data folder is only read.
//! * Bytes that the pool has of a segment are taken from there: a segment is only ever appended to, so they
//!   are its beginning, and they were checked when they were copied.
//! * A segment that is listed without being read again was checked by an earlier run. Everything else, and each
//!   file that this run wrote, is scanned as it lies in the pool, before the run is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display, Formatter},
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

#[cfg(feature = "object-store")]
use super::bucket::Bucket;

use super::{
    Failure, Progress, Target, count, failed,
    image::Image,
    journal_in,
    pool::{Listed, Pool, Run, VERSION, part_of, write_whole},
    say, size,
    verify::{MOST_TOLD, told},
    warn,
};
use crate::{
    actor::clock::wall_ms,
    store::journal::{
        disk::{Disk, DiskFile},
        index::Need,
        recovery,
        segment::{self, HEADER_BYTES, Header, Lost},
    },
};

const COPY_BYTES: usize = 1024 * 1024;

/// What a run did, for whoever is told.
#[derive(Debug)]
pub(super) struct Done {
    /// Which run.
    pub title: String,
    /// Documents in it.
    pub documents: u64,
    /// Files of which something was copied, and how many bytes that was.
    pub copied: u64,
    pub copied_bytes: u64,
    /// Files of which all was there.
    pub kept: u64,
    /// Older runs that were removed.
    pub gone: u64,
    /// A line for each thing that is damaged.
    pub damaged: Vec<String>,
}

impl Display for Done {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (documents, copied) = (count(self.documents, "document"), count(self.copied, "file"));
        let (bytes, kept) = (size(self.copied_bytes), self.kept);
        write!(f, "{}: {documents}; {copied} copied ({bytes}), {kept} kept", self.title)?;
        match self.gone {
            0 => Ok(()),
            gone => write!(f, "; {} removed", count(gone, "older run")),
        }
    }
}

/// Adds a run of the journal in `data` to the backup in `to`, and says so.
pub(super) fn backup(data: &Path, to: &Target, keep: Option<Duration>, out: &mut dyn Write) -> Result<(), Failure> {
    let done = add(data, &mut Kept::open(to)?, keep, None)?;
    say(out, &done)?;
    if done.damaged.is_empty() {
        return Ok(());
    }
    warn(told(done.damaged.into_iter(), MOST_TOLD));
    Err(Failure(format!(
        "the run is complete, and something in it is damaged as it is in {}: run `cowrite verify`",
        data.display()
    )))
}

/// Where runs are kept, between one run and the next.
pub(super) enum Kept {
    Folder(PathBuf),
    #[cfg(feature = "object-store")]
    Bucket(Box<Bucket>),
}

impl Kept {
    pub fn open(to: &Target) -> Result<Self, Failure> {
        match to {
            Target::Folder(folder) => Ok(Self::Folder(folder.clone())),
            #[cfg(feature = "object-store")]
            Target::Bucket(url) => Ok(Self::Bucket(Box::new(Bucket::open_or_make(url)?))),
        }
    }
}

/// Adds a run of the journal in `data`. Whoever knows how many documents there are saves reading all hints.
pub(super) fn add(data: &Path, to: &mut Kept, keep: Option<Duration>, documents: Option<u64>) -> Result<Done, Failure> {
    match to {
        Kept::Folder(folder) => add_to_folder(data, folder, keep, documents),
        #[cfg(feature = "object-store")]
        Kept::Bucket(bucket) => bucket.add(data, keep, documents),
    }
}

fn add_to_folder(data: &Path, to: &Path, keep: Option<Duration>, documents: Option<u64>) -> Result<Done, Failure> {
    let began_ms = wall_ms();
    let journal = journal_in(data)?;
    apart(data, to)?;
    let mut pool = Pool::open_or_make(to)?;
    let source = source_of(data)?;

    let mut tally = Tally::default();
    let listed = Image::read(&journal, |image| {
        let mut shelf = Folder {
            pool: &pool,
            progress: Progress::new(),
            bytes_all: image.segments().map(|(_, bytes)| bytes).sum(),
            bytes_done: 0,
        };
        let mut copy = Copy::new(image, &journal, &mut shelf, &mut tally);
        let headed = copy.headed()?;
        one_store(&pool, &source, &headed)?;
        copy.all(&headed)
    })?;
    let mut run = Run {
        version: VERSION,
        number: pool.next_number(),
        source,
        began_ms,
        documents: 0,
        segments: listed,
    };
    let (image, missing) = pool.image(&run);
    if let Some(missing) = missing.into_iter().next() {
        return Err(Failure(format!("the copy was changed meanwhile: {missing}")));
    }
    let folder = pool.folder.join("segments");
    let damaged = examine(&image, &folder, &pool.runs, &mut run, &tally, documents)?;
    let mut done = tally.done(&run, damaged);
    pool.add(run)?;
    // What is damaged now may be whole in an older run.
    if let Some(keep) = keep.filter(|_| done.damaged.is_empty()) {
        done.gone = pool.drop_before(began_ms.saturating_sub(keep.as_millis() as u64))?;
    }
    Ok(done)
}

/// The name of a data folder in a run.
pub(super) fn source_of(data: &Path) -> Result<String, Failure> {
    let source = fs::canonicalize(data).map_err(|error| failed("look at", data, error))?;
    Ok(source.to_string_lossy().into_owned())
}

/// Refuses a backup that would lie in what it is a backup of.
pub(super) fn apart(data: &Path, to: &Path) -> Result<(), Failure> {
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

/// Reads what no earlier run has checked, counts the documents, and says what is damaged. Of the image of the run, the
/// files are called as if they lay in `folder`.
pub(super) fn examine<'a>(
    image: &Image,
    folder: &Path,
    earlier: impl IntoIterator<Item = &'a Run>,
    run: &mut Run,
    tally: &Tally,
    documents: Option<u64>,
) -> Result<Vec<String>, Failure> {
    let checked: BTreeMap<(u32, u32), u64> = earlier
        .into_iter()
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
                || tally.copied.contains(&(listed.number, listed.salt))
                || tally.short.contains(&listed.number)
        })
        .map(|listed| listed.number)
        .collect();
    let mut found = Vec::new();
    let headerless = recovery::survey(
        image,
        folder,
        |number| unchecked.contains(&number),
        |number, _, _, scan| found.extend(scan.damage.into_iter().map(|damage| (number, damage))),
    )?;
    if let Some(documents) = documents.filter(|_| found.is_empty() && headerless.is_empty()) {
        run.documents = documents;
        return Ok(Vec::new());
    }
    let mut index = recovery::recover(image, folder, 0)?.alone().index;
    let documents = index.documents.iter();
    run.documents = documents.clone().filter(|(_, known)| known.exists()).count() as u64;
    let mut lines: Vec<String> = documents
        .filter_map(|(name, known)| Some(format!("{name} is damaged: {}", known.damage.as_ref()?.reason)))
        .collect();
    let mut damaged = BTreeSet::new();
    for (number, damage) in found {
        damaged.insert(number);
        let place = format!("{} at byte {}:", segment::file_name(number), damage.offset);
        if lines.iter().any(|line| line.contains(&place)) {
            continue;
        }
        lines.push(match damage.lost {
            Lost::Known(entry) if index.need(number, &entry) == Need::Current => {
                format!("{} is damaged: {place} {}", entry.document, damage.reason)
            }
            Lost::Known(_) => format!("{place} {} (no document needs it at present)", damage.reason),
            Lost::Traced(_) | Lost::Unknown => {
                format!("{place} {} (nobody can say of which document)", damage.reason)
            }
        });
    }
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

/// What a run did, over all images that it took.
#[derive(Default)]
pub(super) struct Tally {
    /// Numbers and salts of the files that were written.
    pub copied: BTreeSet<(u32, u32)>,
    pub copied_bytes: u64,
    /// Segments of which not all is there that a hint or a header says was durable.
    pub short: BTreeSet<u32>,
}

impl Tally {
    pub fn done(&self, run: &Run, damaged: Vec<String>) -> Done {
        let of_run = run.segments.iter().map(|listed| (listed.number, listed.salt));
        let copied = of_run.filter(|file| self.copied.contains(file)).count() as u64;
        Done {
            title: run.title(),
            documents: run.documents,
            copied,
            copied_bytes: self.copied_bytes,
            kept: run.segments.len() as u64 - copied,
            gone: 0,
            damaged,
        }
    }
}

/// Where a run's segments go.
pub(super) trait Shelf {
    /// So many bytes of a segment are there that an earlier run took for whole records.
    fn held(&self, number: u32, salt: u32) -> u64;

    /// Brings what is there of a segment to at least `bytes` bytes; returns how many of them belong to the run.
    fn segment(&mut self, from: &Segment<'_>, bytes: u64, tally: &mut Tally) -> Result<u64, Failure>;

    /// Brings the hint of a segment, which says that it ends at `end`.
    fn hint(&mut self, from: &Segment<'_>, end: u64, hint: &[u8]) -> Result<(), Failure>;
}

/// A segment of an image.
pub(super) struct Segment<'a> {
    image: &'a Image,
    pub path: PathBuf,
    pub number: u32,
    pub salt: u32,
}

impl Segment<'_> {
    pub fn open(&self) -> Result<Arc<dyn DiskFile>, Failure> {
        let opened = self.image.open(&self.path);
        opened.map_err(|error| failed("open", &self.path, error))
    }
}

pub(super) struct Copy<'a> {
    image: &'a Image,
    journal: &'a Path,
    shelf: &'a mut dyn Shelf,
    /// Up to where earlier segments were durable, as the headers of later ones say.
    said: BTreeMap<u32, u64>,
    tally: &'a mut Tally,
}

impl<'a> Copy<'a> {
    pub fn new(image: &'a Image, journal: &'a Path, shelf: &'a mut dyn Shelf, tally: &'a mut Tally) -> Self {
        Self {
            image,
            journal,
            shelf,
            said: BTreeMap::new(),
            tally,
        }
    }

    /// The segments that were born, with their salts.
    pub fn headed(&mut self) -> Result<Vec<(u32, u32)>, Failure> {
        let mut found = Vec::new();
        for (number, bytes) in self.image.segments() {
            let path = self.journal.join(segment::file_name(number));
            let header = self.image.open(&path).and_then(|file| Header::read(&*file, number));
            let header = header.map_err(|error| failed("read", &path, error))?;
            for end in header.iter().flat_map(|header| &header.ends) {
                self.said.entry(end.segment).or_insert(end.durable);
            }
            let salt = header.map(|header| header.salt);
            let salt = salt.or_else(|| Some(self.image.hint(number)?.0.salt));
            found.push((number, salt, bytes));
        }
        let held = |number: &u32| self.said.get(number).is_some_and(|durable| *durable > HEADER_BYTES);
        let born = found
            .into_iter()
            .filter(|(number, salt, bytes)| salt.is_some() || *bytes > HEADER_BYTES || held(number));
        Ok(born
            .map(|(number, salt, _)| (number, salt.unwrap_or_default()))
            .collect())
    }

    pub fn all(&mut self, headed: &[(u32, u32)]) -> Result<Vec<Listed>, Failure> {
        let last = headed.iter().rev().find(|(_, salt)| *salt != 0).copied();
        let lengths: BTreeMap<u32, u64> = self.image.segments().collect();
        let mut listed = Vec::with_capacity(headed.len());
        for &(number, salt) in headed {
            let mut bytes = lengths.get(&number).copied().unwrap_or_default();
            if Some((number, salt)) == last {
                bytes = self.whole_bytes(number, salt, bytes)?;
            }
            let hint_end = self.hint(number, salt)?;
            let durable = hint_end.or_else(|| self.said.get(&number).copied()).unwrap_or_default();
            // The file was cut short in the data folder after it was copied.
            if self.shelf.held(number, salt) >= durable {
                bytes = bytes.max(durable);
            }
            let from = self.from(number, salt);
            bytes = self.shelf.segment(&from, bytes, self.tally)?;
            if bytes < durable {
                self.tally.short.insert(number);
            }
            listed.push(Listed {
                number,
                salt,
                bytes,
                hint_end,
                damaged: false,
            });
        }
        Ok(listed)
    }

    /// Up to where the last segment holds whole records: behind it a write may be under way. Not so when it
    /// has a hint: then it is no longer written to, and what is broken in it is damage. And what an earlier run took
    /// for whole records was no write under way.
    fn whole_bytes(&self, number: u32, salt: u32, bytes: u64) -> Result<u64, Failure> {
        if self.image.hint(number).is_some_and(|(hint, _)| hint.salt == salt) {
            return Ok(bytes);
        }
        let path = self.journal.join(segment::file_name(number));
        let scan = self
            .image
            .open(&path)
            .and_then(|file| segment::scan(&*file, salt, bytes, None));
        let end = scan.map_err(|error| failed("read", &path, error))?.end;
        Ok(end.min(bytes).max(self.shelf.held(number, salt)))
    }

    fn from(&self, number: u32, salt: u32) -> Segment<'a> {
        Segment {
            image: self.image,
            path: self.journal.join(segment::file_name(number)),
            number,
            salt,
        }
    }

    /// Brings the hint of a segment; returns where it says that the segment ends.
    fn hint(&mut self, number: u32, salt: u32) -> Result<Option<u64>, Failure> {
        let Some((hint, bytes)) = self.image.hint(number).filter(|(hint, _)| hint.salt == salt) else {
            return Ok(None);
        };
        let from = self.from(number, salt);
        self.shelf.hint(&from, hint.end, &bytes)?;
        Ok(Some(hint.end))
    }
}

/// The folder of a backup.
struct Folder<'a> {
    pool: &'a Pool,
    progress: Progress,
    bytes_all: u64,
    bytes_done: u64,
}

impl Shelf for Folder<'_> {
    fn held(&self, number: u32, salt: u32) -> u64 {
        self.pool.held(number, salt)
    }

    fn segment(&mut self, from: &Segment<'_>, bytes: u64, tally: &mut Tally) -> Result<u64, Failure> {
        let (to, path) = (self.pool.segment(from.number, from.salt), &from.path);
        let there = fs::metadata(&to).ok().map(|about| about.len());
        let had = there.unwrap_or_default();
        if there.is_some() && had >= bytes {
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
        let opened = from.open()?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = had;
        while at < bytes {
            let most = usize::try_from(bytes - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let read = opened
                .read_at(&mut buffer[..most], at)
                .map_err(|error| failed("read", path, error))?;
            if read == 0 {
                // Cut off meanwhile: another image is taken.
                break;
            }
            FileExt::write_all_at(&file, &buffer[..read], at).map_err(|error| failed("write", &part, error))?;
            at += read as u64;
            let done = self.bytes_done + at;
            let all = self.bytes_all;
            self.progress
                .tell(|| format!("backup: {} of {}", size(done), size(all)));
        }
        file.sync_data().map_err(|error| failed("sync", &part, error))?;
        fs::rename(&part, &to).map_err(|error| failed("rename", &part, error))?;
        tally.copied.insert((from.number, from.salt));
        tally.copied_bytes += at - had;
        self.bytes_done += at;
        Ok(at)
    }

    fn hint(&mut self, from: &Segment<'_>, end: u64, hint: &[u8]) -> Result<(), Failure> {
        let to = self.pool.hint(from.number, from.salt, end);
        if fs::read(&to).is_ok_and(|there| there == hint) {
            return Ok(());
        }
        write_whole(&to, hint)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

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
            holder: None,
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
        let target = Target::Folder(to.clone());
        let disk = Failing::default();
        let options = JournalOptions::default();
        let journal = Journal::open(Arc::new(disk.clone()), &data.join("journal"), options).unwrap();
        let (doc, other) = (Doc::with_client_id(1), Doc::with_client_id(2));
        let run = || backup(&data, &target, None, &mut Vec::new()).unwrap();

        journal.commit_all(&[edit(&doc, 1)]).unwrap();
        run();
        // Its bytes lie in the segment, and it is another edit that gets its position.
        disk.0.store(true, SeqCst);
        journal.commit_all(&[edit(&other, 2)]).unwrap_err();
        run();
        journal.commit_all(&[edit(&doc, 2), edit(&doc, 3)]).unwrap();
        run();
        while journal.maintain(9).unwrap() {}
        run();
        let live = journal.load(&name()).unwrap();
        journal.close().unwrap();
        drop(journal);
        run();

        verify::backup(&target, true, &mut Vec::new()).unwrap();
        let restored = |number: u64| -> StoredDocument {
            let restored: PathBuf = folder.path().join(number.to_string());
            restore(&target, &restored, What::Run(number), false, &mut Vec::new()).unwrap();
            stored(&restored)
        };
        assert_eq!(live.last_seq(), 3);
        assert_eq!(restored(1).updates, live.updates[..1]);
        assert_eq!(restored(2).updates[..1], live.updates[..1]);
        for number in 3..=5 {
            assert_eq!(restored(number), live, "run {number}");
        }
        let at = folder.path().join("at");
        restore(&target, &at, What::At(2), false, &mut Vec::new()).unwrap();
        assert!(stored(&at).last_seq() <= 2);
    }
}
