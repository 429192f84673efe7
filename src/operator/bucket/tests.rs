use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use yrs::{Doc, Text, Transact};

use super::*;
use crate::{
    id::DocumentId,
    operator::{
        Target, What,
        backup::{Kept, add},
        pool::encode,
        restore::restore,
        verify,
    },
    store::{
        Body, Record, Store,
        journal::{Journal, JournalOptions, disk::FileDisk},
    },
};

/// A data folder, and a bucket that is a folder.
struct Case {
    folder: tempfile::TempDir,
    /// Open, as that of a server is: its last segment grows.
    journal: Journal,
    doc: Doc,
    seq: u64,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("data/journal");
        Self {
            journal: Journal::open(Arc::new(FileDisk), &journal, JournalOptions::default()).unwrap(),
            folder,
            doc: Doc::with_client_id(1),
            seq: 0,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn target(&self) -> Target {
        format!("file://{}/bucket", self.folder.path().display())
            .parse()
            .unwrap()
    }

    fn bucket(&self) -> Bucket {
        match self.target() {
            Target::Bucket(url) => Bucket::open_or_make(&url).unwrap(),
            Target::Folder(_) => unreachable!(),
        }
    }

    fn write(&mut self, bytes: usize) {
        self.seq += 1;
        let text = self.doc.get_or_insert_text("t");
        let mut txn = self.doc.transact_mut();
        text.push(&mut txn, &"x".repeat(bytes));
        let record = Record {
            document: DocumentId::parse("plan").unwrap(),
            seq: self.seq,
            at_ms: self.seq,
            authors: Arc::new([]),
            body: Body::Update(Bytes::from(txn.encode_update_v1())),
            holder: None,
        };
        self.journal.commit_all(&[record]).unwrap();
    }

    fn run(&self, keep: Option<Duration>) -> u64 {
        let mut bucket = self.bucket();
        bucket.add(&self.data(), keep, None).unwrap();
        bucket.runs.len() as u64
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let folder = self.folder.path().join("bucket").join(folder);
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    fn verify(&self) -> Result<(), Failure> {
        verify::backup(&self.target(), true, &mut Vec::new())
    }

    fn restore(&self, to: &str, partial: bool) -> Result<(), Failure> {
        let to = self.folder.path().join(to);
        restore(&self.target(), &to, What::Newest, partial, &mut Vec::new())
    }
}

fn older(path: &Path, by: Duration) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

const TWO_DAYS: Duration = Duration::from_secs(2 * 24 * 60 * 60);

#[test]
fn b28_runs_that_follow_each_other_closely_leave_few_pieces_and_write_no_more_than_is_new() {
    let mut case = Case::new();
    for _ in 0..40 {
        case.write(1_000);
        case.run(None);
    }
    let bucket = Bucket::open(match &case.target() {
        Target::Bucket(url) => url,
        Target::Folder(_) => unreachable!(),
    })
    .unwrap();

    let newest = bucket.runs.values().next_back().unwrap();
    let most = newest.made.iter().map(|made| made.pieces.len()).max().unwrap();
    assert!(most <= 8, "{most} pieces");
    assert_eq!(bucket.runs.len(), 40);
    let before = case.files("segments");
    case.run(None);
    assert_eq!(case.files("segments"), before, "nothing is new");
    case.verify().unwrap();
}

#[test]
fn b28_what_rots_in_the_data_folder_after_it_was_copied_stays_as_it_was_copied() {
    let mut case = Case::new();
    case.write(1_000);
    case.run(None);
    let first = Bucket::runs(&case);
    // More than there was: the first piece would be written anew with it.
    case.write(20_000);
    let segment = case.data().join("journal/0000000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(4).position(|four| four == b"xxxx").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();

    let damaged = case.bucket().add(&case.data(), None, None).unwrap().damaged;

    let second = Bucket::runs(&case);
    assert_eq!(second.made[0].pieces[0], first.made[0].pieces[0]);
    assert!(second.made[0].pieces.len() > 1);
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    case.verify().unwrap();
}

#[test]
fn b29_what_no_run_needs_stays_for_a_day_and_a_dropped_run_with_it() {
    let mut case = Case::new();
    case.write(1_000);
    case.run(None);
    // More than there was: one piece takes the place of the first.
    case.write(20_000);
    assert_eq!(case.run(Some(Duration::ZERO)), 1);
    let (segments, dropped) = (case.files("segments"), case.files("dropped"));
    assert_eq!((case.files("runs").len(), dropped.len()), (1, 1));
    // Old by its own time: it was needed until now.
    segments.iter().for_each(|path| older(path, TWO_DAYS));

    case.run(Some(Duration::from_secs(3_600)));
    assert_eq!(
        case.files("segments"),
        segments,
        "a backup may rely on it that is at work"
    );

    dropped.iter().for_each(|path| older(path, TWO_DAYS));
    case.run(Some(Duration::from_secs(3_600)));
    let left = case.files("segments");
    assert!(left.len() < segments.len(), "{left:?}");
    assert_eq!(case.files("dropped"), Vec::<PathBuf>::new());
    case.verify().unwrap();
}

#[test]
fn b29_what_may_be_removed_at_any_time_is_not_relied_on() {
    let mut case = Case::new();
    case.write(1_000);
    case.run(None);
    let piece = case.files("segments").remove(0);
    fs::remove_file(case.files("runs").remove(0)).unwrap();

    // Left over from a run that was cut off just now: it is used.
    case.run(None);
    assert_eq!(case.files("segments")[0], piece);
    fs::remove_file(case.files("runs").remove(0)).unwrap();
    older(&piece, TWO_DAYS);
    case.run(None);
    let made = Bucket::runs(&case);
    assert_ne!(made.made[0].pieces[0].mark.again, 0);
    fs::remove_file(piece).unwrap();
    case.verify().unwrap();
}

#[test]
fn b27_a_run_is_never_written_in_place_of_another() {
    let mut case = Case::new();
    case.write(1_000);
    let mut slow = case.bucket();
    slow.refresh().unwrap();
    let link = &slow.link;
    let (ours, theirs) = (Bytes::from_static(b"ours"), Bytes::from_static(b"theirs"));

    assert_eq!(link.create("runs/x", &ours), Ok(true));
    assert_eq!(
        link.create("runs/x", &ours),
        Ok(true),
        "its own, of which the answer was lost"
    );
    assert_eq!(link.create("runs/x", &theirs), Ok(false));
    assert_eq!(link.get("runs/x"), Ok(Some(ours)));
}

#[test]
fn b41_two_stores_that_begin_at_once_do_not_share_a_bucket() {
    let (mut one, mut other) = (Case::new(), Case::new());
    one.write(1_000);
    other.write(1_000);
    let run = |of: &Case| {
        of.run(None);
        Bucket::runs(of)
    };
    let (mut theirs, mut slow) = (run(&one), one.bucket());
    fs::remove_file(one.files("runs").remove(0)).unwrap();
    slow.refresh().unwrap();
    // Of another store, while the slow one was at work.
    let mut elsewhere = run(&other);
    elsewhere.run.number = 0;
    one.bucket().publish(&mut elsewhere).unwrap();

    let said = slow.publish(&mut theirs).unwrap_err().0;

    assert!(said.contains("holds backups of another store"), "{said}");
    assert_eq!(one.files("runs").len(), 1);
}

#[test]
fn b42_a_clock_that_was_wrong_drops_no_run() {
    let mut case = Case::new();
    let week = Some(Duration::from_secs(7 * 24 * 60 * 60));
    for behind_days in [0, 100, 0] {
        case.write(1_000);
        case.run(week);
        // As if the server's clock had been wrong, and the store's had not.
        let mut bucket = case.bucket();
        bucket.refresh().unwrap();
        let (number, mut manifest) = bucket.runs.pop_last().unwrap();
        manifest.run.began_ms -= behind_days * 24 * 60 * 60 * 1_000;
        let name = format!("runs/{}", run_name(number));
        bucket.link.put(&name, encode(&manifest).unwrap().into()).unwrap();
    }
    assert_eq!(case.files("runs").len(), 3);

    older(&case.files("runs")[0], 5 * TWO_DAYS);
    assert_eq!(case.run(week), 3);
}

#[test]
fn b45_as_long_as_something_is_damaged_no_run_is_dropped() {
    let mut case = Case::new();
    case.write(1_000);
    let folder = Target::Folder(case.folder.path().join("copy"));
    let run = |case: &Case| {
        [case.target(), folder.clone()].map(|target| {
            let mut kept = Kept::open(&target).unwrap();
            let done = add(&case.data(), &mut kept, Some(Duration::ZERO), None).unwrap();
            (done.damaged.len(), done.gone)
        })
    };
    run(&case);
    case.write(1_000);
    assert_eq!(run(&case), [(0, 1); 2]);

    // Behind what was copied, and before the end, which may be torn.
    case.write(20_000);
    case.write(1_000);
    let segment = case.data().join("journal/0000000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[20_000] ^= 1;
    fs::write(&segment, bytes).unwrap();
    for _ in 0..2 {
        assert_eq!(run(&case), [(1, 0); 2]);
    }
}

#[test]
fn b43_objects_that_are_no_runs_of_ours_are_left_alone() {
    let mut case = Case::new();
    case.write(1_000);
    case.run(None);
    for name in ["18446744073709551615.run", "+2.run", "7.run", "x.run"] {
        fs::write(case.folder.path().join("bucket/runs").join(name), "not ours").unwrap();
    }

    case.run(None);

    assert_eq!(Bucket::runs(&case).run.number, 2);
    case.verify().unwrap();
}

#[test]
fn b32_a_piece_that_is_missing_or_damaged_is_named_and_its_run_is_restored_on_request_only() {
    let mut case = Case::new();
    for bytes in [50_000, 1_000] {
        case.write(bytes);
        case.run(None);
    }
    let pieces = case.files("segments");
    let pieces: Vec<&PathBuf> = pieces
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "segment"))
        .collect();
    let whole = fs::read(pieces[0]).unwrap();

    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(pieces[0], bytes).unwrap();
    assert!(case.verify().is_err());
    let said = case.restore("r", false).unwrap_err().0;
    assert!(said.contains("is incomplete and nothing was restored"), "{said}");

    fs::remove_file(pieces[0]).unwrap();
    let said = case.verify().unwrap_err().0;
    assert!(said.contains("1 file missing or cut short"), "{said}");
    case.restore("r", true).unwrap_err();
    assert!(case.folder.path().join("r/journal").is_dir());

    // The next run has it again.
    case.run(None);
    case.restore("again", false).unwrap();
    verify::backup(&case.target(), false, &mut Vec::new()).unwrap();
}

impl Bucket {
    /// The newest run.
    fn runs(case: &Case) -> Manifest {
        let mut bucket = case.bucket();
        bucket.refresh().unwrap();
        bucket.runs.into_values().next_back().unwrap()
    }
}
