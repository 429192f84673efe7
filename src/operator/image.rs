//! One moment of a journal, as a disk that can only be read.
//!
//! A running server appends to the last segment, and its upkeep removes segments after it has copied what
//! is needed of them into later ones. So an image of a live folder is made of all segments that exist at
//! one moment, each held open: what is removed afterwards can still be read, and what was removed before
//! is in one of those that are there. The last one counts up to the zeros that it ended with
//! (the server writes into them); all others are no longer written to, and were written before it. That makes an
//! image a beginning of the log.
//!
//! What must stay true: the segments of an image existed together ([`Image::of_journal`] lists them before
//! and after it opened them), and the lengths are taken after that. What was read counts only when no segment
//! was shorter at the end than in the image ([`Image::read`]): a server that starts writes the last batch before
//! a stop anew, into a segment that the image may not have, and cuts it off where it was.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use super::{Failure, failed};
use crate::store::journal::{
    disk::{Disk, DiskFile, DiskLock},
    hint, segment,
};

/// How often the folder is looked at until nothing comes or goes meanwhile.
const TRIES: usize = 1_000;

/// How often an image is taken anew because something was cut off in it.
const IMAGES: usize = 20;

/// A journal that does not change.
#[derive(Clone, Default)]
pub(super) struct Image {
    files: BTreeMap<String, Part>,
}

#[derive(Clone)]
struct Part {
    source: Source,
    bytes: u64,
}

#[derive(Clone)]
enum Source {
    Open(Arc<File>),
    At(PathBuf),
}

impl Image {
    /// The journal in `folder` as it is at this moment, whoever writes to it.
    pub fn of_journal(folder: &Path) -> Result<Self, Failure> {
        for _ in 0..TRIES {
            if let Some(image) = Self::at_once(folder)? {
                return Ok(image);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(Failure(format!(
            "the files of {} come and go faster than they can be opened: try again when less is written",
            folder.display()
        )))
    }

    /// Reads the journal in `folder` as it is at one moment; of another moment when something was cut off
    /// meanwhile.
    pub fn read<T>(folder: &Path, mut read: impl FnMut(&Self) -> Result<T, Failure>) -> Result<T, Failure> {
        for _ in 0..IMAGES {
            let image = Self::of_journal(folder)?;
            let answer = read(&image);
            if image.is_intact() {
                return answer;
            }
        }
        Err(Failure(format!(
            "the files of {} were cut {IMAGES} times while they were read: is a server started again and again?",
            folder.display()
        )))
    }

    /// Whether all that was there when it was taken can still be read.
    fn is_intact(&self) -> bool {
        self.files.values().all(|part| match &part.source {
            Source::Open(file) => file.metadata().is_ok_and(|about| about.len() >= part.bytes),
            Source::At(_) => true,
        })
    }

    fn at_once(folder: &Path) -> Result<Option<Self>, Failure> {
        let (before, _) = names(folder)?;
        let mut opened = Vec::with_capacity(before.len());
        for name in before.values() {
            let path = folder.join(name);
            match File::open(&path) {
                Ok(file) => opened.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                // EMFILE
                Err(error) if error.raw_os_error() == Some(24) => {
                    return Err(Failure(format!(
                        "the journal has {} files, more than this process may have open: raise `ulimit -n`",
                        before.len()
                    )));
                }
                Err(error) => return Err(failed("open", &path, error)),
            }
        }
        let (after, hints) = names(folder)?;
        if after != before {
            return Ok(None);
        }

        let mut image = Self::default();
        for (name, file) in before.into_values().zip(opened) {
            let about = file
                .metadata()
                .map_err(|error| failed("look at", &folder.join(&name), error))?;
            let part = Part {
                source: Source::Open(Arc::new(file)),
                bytes: about.len(),
            };
            image.files.insert(name, part);
        }
        for name in hints {
            // A hint is a copy: one that is gone or not yet whole costs a scan.
            let path = folder.join(&name);
            if let Ok(about) = fs::metadata(&path) {
                image.put(name, path, about.len());
            }
        }
        image.leave_out_zeros().map_err(|error| failed("read", folder, error))?;
        Ok(Some(image))
    }

    /// The server writes on into the zeros behind the last record of the last segment: what it writes there while this
    /// is read would be a batch behind a hole.
    fn leave_out_zeros(&mut self) -> io::Result<()> {
        let Some((number, file_bytes)) = self.segments().last() else {
            return Ok(());
        };
        let name = segment::file_name(number);
        let file = self.open(Path::new(&name))?;
        let Some(header) = segment::Header::read(&*file, number)? else {
            return Ok(());
        };
        // With a hint it has its final length, and what is broken at its end is damage.
        if self.hint(number).is_some_and(|(hint, _)| hint.salt == header.salt) {
            return Ok(());
        }
        // The last record may end with zeros of its own.
        let end = segment::scan(&*file, header.salt, file_bytes, None)?.end;
        let bytes = segment::end_without_zeros(&*file, end, file_bytes)?;
        if let Some(part) = self.files.get_mut(&name) {
            // One that was given up before its first batch may be shorter than its header.
            part.bytes = bytes.min(file_bytes);
        }
        Ok(())
    }

    /// Shows the first `bytes` bytes of the file at `path` as `name`.
    pub fn put(&mut self, name: String, path: PathBuf, bytes: u64) {
        let source = Source::At(path);
        self.files.insert(name, Part { source, bytes });
    }

    /// The first bytes of these segments, so many of each, with their hints.
    #[cfg(feature = "object-store")]
    pub fn beginning(&self, lengths: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let mut beginning = Self::default();
        for (number, bytes) in lengths {
            let (name, hint) = (segment::file_name(number), hint::file_name(number));
            if let Some(part) = self.files.get(&name) {
                let bytes = bytes.min(part.bytes);
                let source = part.source.clone();
                beginning.files.insert(name, Part { source, bytes });
            }
            if let Some(part) = self.files.get(&hint) {
                beginning.files.insert(hint, part.clone());
            }
        }
        beginning
    }

    /// Hides a file.
    pub fn hide(&mut self, name: &str) {
        self.files.remove(name);
    }

    /// The segments and their lengths in bytes, in the order of their numbers.
    pub fn segments(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let segments = self.files.iter();
        segments.filter_map(|(name, part)| Some((segment::number_of(name)?, part.bytes)))
    }

    /// Reads a segment from its beginning to the end of the file, which may be behind its end here.
    pub fn reader(&self, number: u32) -> io::Result<File> {
        match self.files.get(&segment::file_name(number)).map(|part| &part.source) {
            Some(Source::At(path)) => File::open(path),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The hint of a segment, if there is one that passes its check.
    pub fn hint(&self, number: u32) -> Option<(hint::Hint, Vec<u8>)> {
        let file = self.open(Path::new(&hint::file_name(number))).ok()?;
        let mut bytes = vec![0; usize::try_from(file.bytes().ok()?).ok()?];
        let read = file.read_at(&mut bytes, 0).ok()?;
        bytes.truncate(read);
        Some((hint::decode(&bytes, number)?, bytes))
    }
}

/// The names of a folder's segments, with their numbers, and of its hints.
fn names(folder: &Path) -> Result<(BTreeMap<u32, String>, Vec<String>), Failure> {
    let entries = fs::read_dir(folder).map_err(|error| failed("list", folder, error))?;
    let (mut segments, mut hints) = (BTreeMap::new(), Vec::new());
    for entry in entries {
        let entry = entry.map_err(|error| failed("list", folder, error))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if let Some(number) = segment::number_of(&name) {
            segments.insert(number, name);
        } else if hint::number_of(&name).is_some() {
            hints.push(name);
        }
    }
    Ok((segments, hints))
}

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for Image {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        read_only()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let part = path.file_name().and_then(|name| self.files.get(name.to_str()?));
        let part = part.ok_or(io::ErrorKind::NotFound)?;
        let file = match &part.source {
            Source::Open(file) => Arc::clone(file),
            Source::At(path) => Arc::new(File::open(path)?),
        };
        let bytes = part.bytes;
        Ok(Arc::new(Beginning { file, bytes }))
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn unlink(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn list(&self, _: &Path) -> io::Result<Vec<(String, u64)>> {
        let files = self.files.iter();
        Ok(files.map(|(name, part)| (name.clone(), part.bytes)).collect())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        read_only()
    }
}

/// The first bytes of a file.
struct Beginning {
    file: Arc<File>,
    bytes: u64,
}

impl DiskFile for Beginning {
    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        read_only()
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let left = usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        DiskFile::read_at(&*self.file, &mut buffer[..most], at)
    }

    fn sync_data(&self) -> io::Result<()> {
        read_only()
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        read_only()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        time::Instant,
    };

    use bytes::Bytes;

    use super::*;
    use crate::{
        id::DocumentId,
        store::{
            Body, Record, Store,
            journal::{Journal, JournalOptions, disk::FileDisk},
        },
    };

    /// Ends the writer also when an assertion fails.
    struct Stop<'a>(&'a AtomicBool);

    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }

    /// Commits and compacts without a pause; `committed` is the last position that is durable.
    fn write(journal: &Journal, document: &DocumentId, committed: &AtomicU64, stop: &AtomicBool) {
        let body = Bytes::from(vec![7; 500]);
        for seq in 1.. {
            if stop.load(SeqCst) {
                return;
            }
            let record = |body| Record {
                document: document.clone(),
                seq,
                at_ms: seq,
                authors: Arc::new([]),
                body,
                holder: None,
            };
            let mut records = vec![record(Body::Update(body.clone()))];
            if seq % 10 == 0 {
                records.push(record(Body::Snapshot(body.clone())));
            }
            journal.commit_all(&records).unwrap();
            committed.store(seq, SeqCst);
            while journal.maintain(seq).unwrap() {}
        }
    }

    #[test]
    fn b1_an_image_that_a_start_cuts_is_taken_anew() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Journal::open(Arc::new(FileDisk), folder.path(), JournalOptions::default()).unwrap();
        let document = DocumentId::parse("plan").unwrap();
        let journal = open();
        for seq in 1..=2 {
            let record = Record {
                document: document.clone(),
                seq,
                at_ms: seq,
                authors: Arc::new([]),
                body: Body::Update(Bytes::from_static(&[7; 500])),
                holder: None,
            };
            journal.commit_all(&[record]).unwrap();
        }
        drop(journal);

        let mut found = Vec::new();
        let read = Image::read(folder.path(), |image| {
            if found.is_empty() {
                // It takes the last batch for one in doubt.
                drop(open());
            }
            let view = Journal::view(Arc::new(image.clone()), folder.path())?;
            found.push(view.load(&document)?.last_seq());
            Ok(found.len())
        });

        assert_eq!((read, found), (Ok(2), vec![1, 2]));
    }

    #[test]
    fn b1_an_image_ends_with_the_last_record_of_its_moment_and_outlives_the_zeros_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(Arc::new(FileDisk), folder.path(), JournalOptions::default()).unwrap();
        let document = DocumentId::parse("plan").unwrap();
        let commit = |seqs: std::ops::RangeInclusive<u64>| {
            for seq in seqs {
                let record = Record {
                    document: document.clone(),
                    seq,
                    at_ms: seq,
                    authors: Arc::new([]),
                    // An update ends with zeros of its own.
                    body: Body::Update(Bytes::from_static(&[7, 0, 0])),
                    holder: None,
                };
                journal.commit_all(&[record]).unwrap();
            }
        };
        commit(1..=3);
        let length = || fs::metadata(folder.path().join(segment::file_name(1))).unwrap().len();
        let with_zeros = length();

        let mut images = 0;
        let found = Image::read(folder.path(), |image| {
            images += 1;
            commit(4..=9);
            assert_eq!(length(), with_zeros, "it writes into the zeros");
            journal.close().unwrap();
            assert!(length() < with_zeros, "it cuts them off");
            let view = Journal::view(Arc::new(image.clone()), folder.path())?;
            Ok(view.load(&document)?.last_seq())
        });

        assert_eq!((found, images), (Ok(3), 1));
    }

    #[test]
    fn b1_a_segment_that_ends_within_its_header_is_read_as_far_as_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record {
            document: DocumentId::parse("plan").unwrap(),
            seq: 1,
            at_ms: 1,
            authors: Arc::new([]),
            body: Body::Update(Bytes::from_static(&[7])),
            holder: None,
        };
        let journal = Journal::open(Arc::new(FileDisk), folder.path(), JournalOptions::default()).unwrap();
        journal.commit_all(&[record]).unwrap();
        drop(journal);
        let path = folder.path().join(segment::file_name(1));
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(5_000)
            .unwrap();

        let found = Image::read(folder.path(), |image| Ok(image.segments().collect::<Vec<_>>()));

        assert_eq!(found, Ok(vec![(1, 5_000)]));
    }

    #[test]
    fn b1_an_image_has_all_that_was_durable_and_no_gap_while_segments_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let options = JournalOptions {
            segment_bytes: 20_000,
            segment_bytes_min: 20_000,
            ..JournalOptions::default()
        };
        let journal = Journal::open(Arc::new(FileDisk), folder.path(), options).unwrap();
        let document = DocumentId::parse("plan").unwrap();
        let (committed, stop) = (AtomicU64::new(0), AtomicBool::new(false));

        thread::scope(|scope| {
            let _stop = Stop(&stop);
            scope.spawn(|| write(&journal, &document, &committed, &stop));
            let mut firsts = BTreeSet::new();
            let end = Instant::now() + Duration::from_secs(60);
            while firsts.len() <= 40 {
                assert!(Instant::now() < end, "only {} segments came and went", firsts.len());
                let least = committed.load(SeqCst);
                let image = Image::of_journal(folder.path()).unwrap();
                // What lies between the image and the look at it must not matter.
                thread::sleep(Duration::from_millis(2));
                let view = Journal::view(Arc::new(image.clone()), folder.path()).unwrap();
                let found = view.load(&document).unwrap().last_seq();
                assert!(found >= least, "{found} of {least}");
                firsts.extend(image.segments().next().map(|(number, _)| number));
            }
        });
    }
}
