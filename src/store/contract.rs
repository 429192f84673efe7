//! What every store must hold, written once: `contract!(name, open)` makes a test module in which each rule
//! is asked of the store that `open` makes.
//!
//! `open` takes a folder and returns a store on what is in there; opening the same folder again after the
//! first store was dropped is a restart.

use std::{path::Path, sync::Arc};

use bytes::Bytes;

use super::{Body, EMPTY_UPDATE, Record, Store, StoreError, StoredDocument};
use crate::id::DocumentId;

/// A document's name.
pub fn id(name: &str) -> DocumentId {
    DocumentId::parse(name).unwrap()
}

/// An update of `bytes` at position `seq`, written at `seq` milliseconds.
pub fn update(name: &str, seq: u64, bytes: impl Into<Bytes>) -> Record {
    record(name, seq, Body::Update(bytes.into()))
}

/// A snapshot that covers `seq`.
pub fn snapshot(name: &str, seq: u64, bytes: impl Into<Bytes>) -> Record {
    record(name, seq, Body::Snapshot(bytes.into()))
}

/// A deletion that covers `seq`.
pub fn deleted(name: &str, seq: u64) -> Record {
    record(name, seq, Body::Deleted)
}

fn record(name: &str, seq: u64, body: Body) -> Record {
    Record {
        document: id(name),
        seq,
        at_ms: seq,
        authors: [Arc::from("ann")].into(),
        body,
    }
}

/// What a load returns.
pub fn stored(snapshot: Option<(u64, &str)>, updates: &[(u64, &str)]) -> StoredDocument {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    StoredDocument {
        snapshot: snapshot.map(|(seq, text)| (seq, bytes(text))),
        updates: updates.iter().map(|(seq, text)| (*seq, bytes(text))).collect(),
    }
}

/// Does all upkeep that waits.
pub fn maintain_all(store: &impl Store, now_ms: u64) {
    for _ in 0..10_000 {
        if !store.maintain(now_ms).unwrap() {
            return;
        }
    }
    panic!("upkeep never ends");
}

pub fn r1_what_was_committed_is_found_after_a_restart<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store
        .commit(&[update("a", 1, "one"), update("b", 1, "uno"), update("a", 2, "two")])
        .unwrap();
    store.commit(&[update("a", 3, "three")]).unwrap();
    let before = (store.load(&id("a")).unwrap(), store.load(&id("b")).unwrap());
    drop(store);

    let store = open(folder.path());

    let after = (store.load(&id("a")).unwrap(), store.load(&id("b")).unwrap());
    assert_eq!(before, after);
    assert_eq!(after.0, stored(None, &[(1, "one"), (2, "two"), (3, "three")]));
    assert_eq!(after.1, stored(None, &[(1, "uno")]));
}

pub fn r1_a_document_that_nobody_wrote_is_empty<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();

    let store = open(folder.path());

    assert_eq!(store.load(&id("nobody")).unwrap(), StoredDocument::default());
    assert_eq!(store.list(None, 10).unwrap(), []);
    assert_eq!(store.status().documents, 0);
}

pub fn r2_a_snapshot_supersedes_what_it_covers_and_nothing_else<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let updates: Vec<Record> = (1..=4).map(|seq| update("a", seq, format!("u{seq}"))).collect();
    store.commit(&updates).unwrap();

    store.commit(&[snapshot("a", 3, "s3")]).unwrap();

    let expected = stored(Some((3, "s3")), &[(4, "u4")]);
    assert_eq!(store.load(&id("a")).unwrap(), expected);
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.load(&id("a")).unwrap(), expected);
    store.commit(&[update("a", 5, "u5"), snapshot("a", 5, "s5")]).unwrap();
    maintain_all(&store, 10);
    assert_eq!(store.load(&id("a")).unwrap(), stored(Some((5, "s5")), &[]));
}

pub fn r2_an_older_snapshot_that_comes_late_changes_nothing<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit(&[snapshot("a", 5, "s5"), update("a", 6, "u6")]).unwrap();

    store.commit(&[snapshot("a", 4, "s4")]).unwrap();

    assert_eq!(store.load(&id("a")).unwrap(), stored(Some((5, "s5")), &[(6, "u6")]));
    drop(store);
    assert_eq!(
        open(folder.path()).load(&id("a")).unwrap(),
        stored(Some((5, "s5")), &[(6, "u6")])
    );
}

pub fn r2_a_deleted_document_is_empty_and_its_positions_go_on<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store
        .commit(&[update("a", 1, "one"), snapshot("a", 1, "s1"), update("b", 1, "uno")])
        .unwrap();

    store.commit(&[deleted("a", 1)]).unwrap();

    let expected = StoredDocument {
        snapshot: Some((1, EMPTY_UPDATE)),
        updates: Vec::new(),
    };
    assert_eq!(store.load(&id("a")).unwrap(), expected);
    assert_eq!(names(&store), ["b"]);
    store.commit(&[update("a", 2, "again")]).unwrap();
    maintain_all(&store, 10);
    drop(store);
    let store = open(folder.path());
    let again = StoredDocument {
        snapshot: Some((1, EMPTY_UPDATE)),
        updates: vec![(2, "again".into())],
    };
    assert_eq!(store.load(&id("a")).unwrap(), again);
    assert_eq!(names(&store), ["a", "b"]);
}

pub fn r3_upkeep_changes_nothing_that_a_load_returns<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for round in 1..=40_u64 {
        let batch: Vec<Record> = (0..8)
            .map(|number| update(&format!("d{number}"), round, vec![round as u8; 700 + number * 40]))
            .chain((round % 7 == 0).then(|| snapshot(&format!("d{}", round % 8), round, vec![0xee; 3_000])))
            .collect();
        store.commit(&batch).unwrap();
        store.maintain(round).unwrap();
    }
    let all = |store: &S| -> Vec<StoredDocument> {
        (0..9)
            .map(|number| store.load(&id(&format!("d{number}"))).unwrap())
            .collect()
    };
    let before = all(&store);

    maintain_all(&store, 100);

    assert_eq!(all(&store), before);
    drop(store);
    let store = open(folder.path());
    assert_eq!(all(&store), before);
    maintain_all(&store, 100);
    assert_eq!(all(&store), before);
}

pub fn r4_the_catalogue_lists_documents_in_the_order_of_their_names<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store
        .commit(&[
            update("c", 1, "1"),
            update("a", 1, "1"),
            update("a", 2, "2"),
            update("b/x", 1, "1"),
        ])
        .unwrap();

    let all = store.list(None, 10).unwrap();
    let two = store.list(None, 2).unwrap();
    let rest = store.list(Some(&id("b/x")), 10).unwrap();

    assert_eq!(names(&store), ["a", "b/x", "c"]);
    assert_eq!((all[0].last_seq, all[0].changed_ms, &all[0].damaged), (2, 2, &None));
    assert!(all[0].bytes > all[1].bytes && all[1].bytes > 0);
    assert_eq!(two, all[..2]);
    assert_eq!(rest, all[2..]);
    assert_eq!((store.status().documents, store.status().damaged), (3, 0));
}

pub fn r8_a_gap_or_another_record_at_a_position_is_refused_with_the_whole_batch<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit(&[update("a", 1, "one")]).unwrap();

    for wrong in [
        update("a", 3, "gap"),
        update("a", 1, "other"),
        update("new", 2, "gap"),
        update("a", 0, "zero"),
    ] {
        let error = store.commit(&[update("b", 1, "uno"), wrong.clone()]).unwrap_err();
        assert!(
            matches!(&error, StoreError::Refused { document, .. } if *document == wrong.document),
            "{error}"
        );
    }

    assert_eq!(names(&store), ["a"]);
    assert_eq!(store.load(&id("a")).unwrap(), stored(None, &[(1, "one")]));
    store.commit(&[update("a", 2, "two"), update("a", 3, "three")]).unwrap();
    drop(store);
    assert_eq!(open(folder.path()).load(&id("a")).unwrap().last_seq(), 3);
}

pub fn r8_the_same_records_again_are_not_doubled<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let batch = [update("a", 1, "one"), update("a", 2, "two")];
    store.commit(&batch).unwrap();

    store.commit(&batch).unwrap();

    assert_eq!(store.load(&id("a")).unwrap(), stored(None, &[(1, "one"), (2, "two")]));
    drop(store);
    assert_eq!(
        open(folder.path()).load(&id("a")).unwrap(),
        stored(None, &[(1, "one"), (2, "two")])
    );
}

pub fn r2_a_snapshot_may_begin_a_document_at_any_position<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());

    store
        .commit(&[snapshot("a", 500, "imported"), update("a", 501, "next")])
        .unwrap();

    drop(store);
    let store = open(folder.path());
    assert_eq!(
        store.load(&id("a")).unwrap(),
        stored(Some((500, "imported")), &[(501, "next")])
    );
}

pub fn r1_a_large_snapshot_comes_back_as_it_was<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let large: Vec<u8> = (0..9_000_000_u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let large = Bytes::from(large);

    store
        .commit(&[
            update("b", 1, "uno"),
            snapshot("a", 9, large.clone()),
            update("b", 2, "due"),
        ])
        .unwrap();
    maintain_all(&store, 10);

    assert_eq!(store.load(&id("a")).unwrap().snapshot, Some((9, large.clone())));
    drop(store);
    let store = open(folder.path());
    maintain_all(&store, 10);
    assert_eq!(store.load(&id("a")).unwrap().snapshot, Some((9, large)));
    assert_eq!(store.load(&id("b")).unwrap(), stored(None, &[(1, "uno"), (2, "due")]));
}

pub fn r5_a_closed_store_takes_nothing_and_opens_again<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit(&[update("a", 1, "one")]).unwrap();

    store.close().unwrap();

    assert!(matches!(
        store.commit(&[update("a", 2, "two")]),
        Err(StoreError::Unusable(_))
    ));
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.load(&id("a")).unwrap(), stored(None, &[(1, "one")]));
    store.commit(&[update("a", 2, "two")]).unwrap();
    assert_eq!(store.load(&id("a")).unwrap(), stored(None, &[(1, "one"), (2, "two")]));
}

pub fn r9_overwriting_does_not_fill_the_disk<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for round in 1..=300_u64 {
        let name = format!("d{}", round % 10);
        let body: Vec<u8> = (0..20_000_u64).map(|index| (index * round) as u8).collect();
        store.commit(&[snapshot(&name, round, body)]).unwrap();
        maintain_all(&store, round);
    }

    let status = store.status();

    assert!(
        (200_000..210_000).contains(&status.live_bytes) || status.disk_bytes == 0,
        "{status:?}"
    );
    // A store on disk has a floor: one young segment, and what sled makes room for beforehand.
    assert!(
        status.disk_bytes < 3 * status.live_bytes + 8 * 1024 * 1024,
        "{status:?}"
    );
}

fn names(store: &impl Store) -> Vec<String> {
    store
        .list(None, 100)
        .unwrap()
        .into_iter()
        .map(|entry| entry.document.as_str().to_owned())
        .collect()
}

/// Makes a test of each rule for the store that `$open` makes of a folder.
macro_rules! contract {
    ($open:expr; $($rule:ident)*) => {
        $(
            #[test]
            fn $rule() {
                $crate::store::contract::$rule($open);
            }
        )*
    };
    ($open:expr) => {
        $crate::store::contract::contract! { $open;
            r1_what_was_committed_is_found_after_a_restart
            r1_a_document_that_nobody_wrote_is_empty
            r1_a_large_snapshot_comes_back_as_it_was
            r2_a_snapshot_supersedes_what_it_covers_and_nothing_else
            r2_an_older_snapshot_that_comes_late_changes_nothing
            r2_a_deleted_document_is_empty_and_its_positions_go_on
            r2_a_snapshot_may_begin_a_document_at_any_position
            r3_upkeep_changes_nothing_that_a_load_returns
            r4_the_catalogue_lists_documents_in_the_order_of_their_names
            r5_a_closed_store_takes_nothing_and_opens_again
            r8_a_gap_or_another_record_at_a_position_is_refused_with_the_whole_batch
            r8_the_same_records_again_are_not_doubled
            r9_overwriting_does_not_fill_the_disk
        }
    };
}
pub(super) use contract;

mod memory {
    use std::{collections::HashMap, path::PathBuf, sync::Mutex};

    use crate::store::memory::MemoryStore;

    thread_local! {
        /// A folder stands for a store, as it does on disk.
        static STORES: Mutex<HashMap<PathBuf, MemoryStore>> = Mutex::default();
    }

    super::contract!(|folder: &std::path::Path| STORES.with(|stores| stores
        .lock()
        .unwrap()
        .entry(folder.to_path_buf())
        .or_default()
        .reopen()));
}

mod journal {
    use crate::store::journal::{Journal, JournalOptions, disk::FileDisk};

    super::contract!(|folder: &std::path::Path| Journal::open(
        std::sync::Arc::new(FileDisk),
        folder,
        JournalOptions::default()
    )
    .unwrap());
}

mod journal_of_tiny_segments {
    use crate::store::journal::{Journal, JournalOptions, disk::FileDisk};

    super::contract!(|folder: &std::path::Path| {
        let options = JournalOptions {
            segment_bytes: 16 * 1024,
            segment_bytes_min: 12 * 1024,
            step_bytes: 4_000,
            ..JournalOptions::default()
        };
        Journal::open(std::sync::Arc::new(FileDisk), folder, options).unwrap()
    });
}

#[cfg(feature = "server")]
mod durable {
    use crate::store::durable::{DurableStore, Options};

    super::contract!(|folder: &std::path::Path| DurableStore::open(folder, Options::default()).unwrap());
}
