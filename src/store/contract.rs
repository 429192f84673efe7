//! What every store must hold, written once: `contract!(name, open)` makes a test module in which each rule
//! is asked of the store that `open` makes.
//!
//! `open` takes a folder and returns a store on what is in there; opening the same folder again after the
//! first store was dropped is a restart.

use std::{
    collections::{BTreeSet, hash_map::RandomState},
    hash::BuildHasher,
    path::Path,
    sync::{Arc, Barrier},
};

use bytes::Bytes;

use super::{Body, EMPTY_UPDATE, Holder, NodeId, Record, Refusal, Store, StoreError, StoredDocument};
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
        holder: None,
    }
}

/// A holder that nobody else is.
pub fn holder() -> Holder {
    Holder::drawn(RandomState::new().hash_one("a holder"))
}

/// The same record, of this holder.
fn of(holder: Holder, record: Record) -> Record {
    Record {
        holder: Some(holder),
        ..record
    }
}

/// A document's name and the holder whose records were refused.
fn refused(refusal: &Refusal) -> (&str, Option<Holder>) {
    (refusal.document.as_str(), refusal.holder)
}

trait Put: Store {
    /// Takes the documents, then commits the records as theirs.
    fn put(&self, records: &[Record]) -> Result<(), StoreError> {
        let holder = holder();
        let documents: BTreeSet<&DocumentId> = records.iter().map(|record| &record.document).collect();
        for document in documents {
            self.take(document, holder)?;
        }
        let records: Vec<Record> = records.iter().map(|record| of(holder, record.clone())).collect();
        self.commit_all(&records)
    }
}

impl<S: Store> Put for S {}

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
        .put(&[update("a", 1, "one"), update("b", 1, "uno"), update("a", 2, "two")])
        .unwrap();
    store.put(&[update("a", 3, "three")]).unwrap();
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
    store.put(&updates).unwrap();

    store.put(&[snapshot("a", 3, "s3")]).unwrap();

    let expected = stored(Some((3, "s3")), &[(4, "u4")]);
    assert_eq!(store.load(&id("a")).unwrap(), expected);
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.load(&id("a")).unwrap(), expected);
    store.put(&[update("a", 5, "u5"), snapshot("a", 5, "s5")]).unwrap();
    maintain_all(&store, 10);
    assert_eq!(store.load(&id("a")).unwrap(), stored(Some((5, "s5")), &[]));
}

pub fn r2_an_older_snapshot_that_comes_late_changes_nothing<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.put(&[snapshot("a", 5, "s5"), update("a", 6, "u6")]).unwrap();

    store.put(&[snapshot("a", 4, "s4")]).unwrap();

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
        .put(&[update("a", 1, "one"), snapshot("a", 1, "s1"), update("b", 1, "uno")])
        .unwrap();

    store.put(&[deleted("a", 1)]).unwrap();

    let expected = StoredDocument {
        snapshot: Some((1, EMPTY_UPDATE)),
        updates: Vec::new(),
    };
    assert_eq!(store.load(&id("a")).unwrap(), expected);
    assert_eq!(names(&store), ["b"]);
    store.put(&[update("a", 2, "again")]).unwrap();
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
        store.put(&batch).unwrap();
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
        .put(&[
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
    // A store may look at its sizes with its upkeep.
    store.maintain(10).unwrap();
    assert_eq!((store.status().documents, store.status().damaged), (3, 0));
}

pub fn r8_a_gap_or_another_record_at_a_position_is_refused<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.put(&[update("a", 1, "one")]).unwrap();

    for wrong in [
        update("a", 3, "gap"),
        update("a", 1, "other"),
        update("new", 2, "gap"),
        update("a", 0, "zero"),
    ] {
        let error = store.put(std::slice::from_ref(&wrong)).unwrap_err();
        assert!(
            matches!(&error, StoreError::Refused { document, .. } if *document == wrong.document),
            "{error}"
        );
    }

    assert_eq!(names(&store), ["a"]);
    assert_eq!(store.load(&id("a")).unwrap(), stored(None, &[(1, "one")]));
    store.put(&[update("a", 2, "two"), update("a", 3, "three")]).unwrap();
    drop(store);
    assert_eq!(open(folder.path()).load(&id("a")).unwrap().last_seq(), 3);
}

pub fn r8_the_same_records_again_are_not_doubled<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let batch = [update("a", 1, "one"), update("a", 2, "two")];
    store.put(&batch).unwrap();

    store.put(&batch).unwrap();

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
        .put(&[snapshot("a", 500, "imported"), update("a", 501, "next")])
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
        .put(&[
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
    store.put(&[update("a", 1, "one")]).unwrap();

    store.close().unwrap();

    assert!(matches!(
        store.put(&[update("a", 2, "two")]),
        Err(StoreError::Unusable(_))
    ));
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.load(&id("a")).unwrap(), stored(None, &[(1, "one")]));
    store.put(&[update("a", 2, "two")]).unwrap();
    assert_eq!(store.load(&id("a")).unwrap(), stored(None, &[(1, "one"), (2, "two")]));
}

pub fn r9_overwriting_does_not_fill_the_disk<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for round in 1..=300_u64 {
        let name = format!("d{}", round % 10);
        let body: Vec<u8> = (0..20_000_u64).map(|index| (index * round) as u8).collect();
        store.put(&[snapshot(&name, round, body)]).unwrap();
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

pub fn r24_what_a_load_reads_has_its_times_and_authors<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let anonymous = |record: Record| Record {
        authors: Arc::default(),
        ..record
    };
    let records = [
        snapshot("a", 3, vec![7; 3_000_000]),
        anonymous(update("a", 4, "four")),
        update("a", 5, "five"),
    ];
    store.put(&[update("a", 1, "one"), update("a", 2, "two")]).unwrap();
    store.put(&records).unwrap();
    store.put(&[update("b", 1, "uno"), deleted("b", 2)]).unwrap();
    store.put(&[update("b", 3, "tre"), update("b", 4, "quattro")]).unwrap();

    assert_eq!(store.history(&id("a")).unwrap(), records);
    let b = [deleted("b", 2), update("b", 3, "tre"), update("b", 4, "quattro")];
    assert_eq!(store.history(&id("b")).unwrap(), b);
    assert_eq!(store.history(&id("nobody")).unwrap(), []);
}

pub fn r12_after_a_take_nothing_of_an_earlier_holder_becomes_durable<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (old, new) = (holder(), holder());
    store.take(&id("a"), old).unwrap();
    store.commit_all(&[of(old, update("a", 1, "one"))]).unwrap();

    let taken = store.take(&id("a"), new).unwrap();

    assert_eq!(taken, stored(None, &[(1, "one")]));
    for late in [update("a", 2, "late"), snapshot("a", 2, "late"), deleted("a", 2)] {
        let refusals = store.commit(&[of(old, late)]).unwrap();
        assert_eq!(refusals.iter().map(refused).collect::<Vec<_>>(), [("a", Some(old))]);
    }
    assert_eq!(store.load(&id("a")).unwrap(), taken);
    // Releasing what one does not have changes nothing.
    store.release(&id("a"), old, None).unwrap();
    store.commit_all(&[of(new, update("a", 2, "two"))]).unwrap();
    // Taking it again, as after an answer that was lost, neither.
    assert_eq!(store.take(&id("a"), new).unwrap().last_seq(), 2);
    store.commit_all(&[of(new, update("a", 3, "three"))]).unwrap();
    assert_eq!(store.load(&id("a")).unwrap().last_seq(), 3);
}

pub fn r12_what_is_on_its_way_is_in_what_a_take_returns_or_refused<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    let mut old = holder();
    store.take(&id("a"), old).unwrap();
    let mut durable = 0;
    for _ in 0..30 {
        let (writes, begins) = (store.clone(), Arc::new(Barrier::new(2)));
        let writer = std::thread::spawn({
            let begins = begins.clone();
            move || {
                begins.wait();
                // As large as to take a while.
                let records = [1, 2].map(|next| of(old, update("a", durable + next, vec![7; 100_000])));
                writes.commit(&records).unwrap().is_empty()
            }
        });
        begins.wait();

        let new = holder();
        let taken = store.take(&id("a"), new).unwrap().last_seq();

        let acknowledged = writer.join().unwrap();
        assert!(!acknowledged || taken == durable + 2, "{taken} after {durable}");
        assert_eq!(
            store.load(&id("a")).unwrap().last_seq(),
            taken,
            "what came late was taken"
        );
        (durable, old) = (taken, new);
        if durable > 40 {
            store.commit_all(&[of(old, snapshot("a", durable, "s"))]).unwrap();
        }
    }
}

pub fn r12_a_document_that_was_released_takes_nothing<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let holder = holder();
    store.take(&id("a"), holder).unwrap();
    store.commit_all(&[of(holder, update("a", 1, "one"))]).unwrap();

    store.release(&id("a"), holder, None).unwrap();

    let refusals = store.commit(&[of(holder, update("a", 2, "two"))]).unwrap();
    assert_eq!(refusals.iter().map(refused).collect::<Vec<_>>(), [("a", Some(holder))]);
    let refusals = store.commit(&[of(holder, update("never taken", 1, "one"))]).unwrap();
    assert!(!refusals.is_empty());
    assert_eq!(store.load(&id("a")).unwrap(), stored(None, &[(1, "one")]));
    assert_eq!(names(&store), ["a"]);
}

pub fn r12_a_record_of_nobody_is_taken_while_nobody_has_the_document<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit_all(&[update("a", 1, "one")]).unwrap();

    let holder = holder();
    store.take(&id("a"), holder).unwrap();

    assert!(!store.commit(&[update("a", 2, "two")]).unwrap().is_empty());
    store.release(&id("a"), holder, None).unwrap();
    store.commit_all(&[update("a", 2, "two")]).unwrap();
    assert_eq!(store.load(&id("a")).unwrap().last_seq(), 2);
}

pub fn r13_what_is_refused_is_named_and_holds_up_nothing_else<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (old, new) = (holder(), holder());
    for name in ["gap", "taken", "good", "other"] {
        store.take(&id(name), old).unwrap();
    }
    store.take(&id("taken"), new).unwrap();

    let refusals = store
        .commit(&[
            of(old, update("gap", 1, "one")),
            of(old, update("taken", 1, "late")),
            of(new, update("taken", 1, "one")),
            of(old, update("good", 1, "one")),
            of(old, update("gap", 3, "three")),
            of(old, update("gap", 2, "two")),
            of(old, snapshot("gap", 9, "nine")),
            of(old, update("good", 2, "two")),
            of(old, snapshot("other", 5, "five")),
            of(old, update("other", 5, "other five")),
        ])
        .unwrap();

    let named: BTreeSet<&str> = refusals.iter().map(|refusal| refused(refusal).0).collect();
    assert_eq!(named, BTreeSet::from(["gap", "other", "taken"]), "{refusals:?}");
    assert!(refusals.iter().all(|refusal| refusal.holder == Some(old)));
    assert!(!refusals.cover(&of(new, update("taken", 1, "one"))));
    assert_eq!(store.load(&id("taken")).unwrap(), stored(None, &[(1, "one")]));
    assert_eq!(
        store.load(&id("good")).unwrap(),
        stored(None, &[(1, "one"), (2, "two")])
    );
    // What is before a refused record may be durable; it was not acknowledged either.
    let gap = store.load(&id("gap")).unwrap();
    assert!(
        [stored(None, &[]), stored(None, &[(1, "one")])].contains(&gap),
        "{gap:?}"
    );
}

pub fn r14_a_batch_can_be_committed_again_while_the_first_try_runs<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    let holder = holder();
    for name in ["a", "b"] {
        store.take(&id(name), holder).unwrap();
    }
    for round in 0..20_u64 {
        let batch: Vec<Record> = ["a", "b"]
            .iter()
            .flat_map(|name| (1..=5).map(|next| of(holder, update(name, round * 5 + next, vec![round as u8; 5_000]))))
            .collect();
        let tries = [(); 2].map(|()| {
            let (store, batch) = (store.clone(), batch.clone());
            std::thread::spawn(move || store.commit(&batch).is_ok_and(|refusals| refusals.is_empty()))
        });
        // Of two at a time one may be refused by a store that was not told that the first one's outcome is unknown.
        let taken = tries.map(|tried| tried.join().unwrap());
        assert!(taken.contains(&true), "round {round}");

        store.commit_all(&batch).unwrap();
    }

    for name in ["a", "b"] {
        let found = store.load(&id(name)).unwrap();
        let seqs: Vec<u64> = found.updates.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(seqs, (1..=100).collect::<Vec<_>>(), "{name}: nothing is doubled");
    }
}

pub fn r15_two_handles_see_each_others_commits_at_once<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = [(); 2].map(|()| open(folder.path()));
    assert_ne!(one.node(), two.node());

    for round in 1..=20 {
        let (writes, reads) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let holder = holder();
        assert_eq!(writes.take(&id("a"), holder).unwrap().last_seq(), round - 1);
        writes.commit_all(&[of(holder, update("a", round, "x"))]).unwrap();
        assert_eq!(reads.load(&id("a")).unwrap().last_seq(), round);
        assert_eq!(reads.list(None, 10).unwrap()[0].last_seq, round);
        writes.release(&id("a"), holder, None).unwrap();
    }
}

pub fn r15_a_node_that_lives_keeps_its_documents<S: Store>(open: impl Fn(&Path) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = [(); 2].map(|()| open(folder.path()));
    let (old, new) = (holder(), holder());
    one.take(&id("a"), old).unwrap();

    let error = two.take(&id("a"), new).unwrap_err();

    assert!(
        matches!(&error, StoreError::Elsewhere { node, .. } if *node == one.node()),
        "{error}"
    );
    one.commit_all(&[of(old, update("a", 1, "one"))]).unwrap();
    one.close().unwrap();
    drop(one);
    assert_eq!(two.take(&id("a"), new).unwrap().last_seq(), 1);
    two.commit_all(&[of(new, update("a", 2, "two"))]).unwrap();
}

pub fn r16_after_a_release_for_a_node_only_that_can_take_the_document_while_it_lives<S: Store>(
    open: impl Fn(&Path) -> S,
) {
    let folder = tempfile::tempdir().unwrap();
    let [from, to, other] = [(); 3].map(|()| open(folder.path()));
    let elsewhere = |taken: Result<StoredDocument, StoreError>, node: NodeId| matches!(taken, Err(StoreError::Elsewhere { node: has, .. }) if has == node);
    for name in ["a", "b"] {
        let old = holder();
        from.take(&id(name), old).unwrap();
        from.commit_all(&[of(old, update(name, 1, "one"))]).unwrap();
        from.release(&id(name), old, Some(to.node())).unwrap();
    }

    assert!(elsewhere(other.take(&id("a"), holder()), to.node()));
    assert!(elsewhere(from.take(&id("a"), holder()), to.node()));
    let new = holder();
    assert_eq!(to.take(&id("a"), new).unwrap().last_seq(), 1);
    to.commit_all(&[of(new, update("a", 2, "two"))]).unwrap();
    assert!(elsewhere(other.take(&id("b"), holder()), to.node()));
    to.close().unwrap();
    drop(to);
    assert_eq!(other.take(&id("b"), holder()).unwrap().last_seq(), 1);
}

fn names(store: &impl Store) -> Vec<String> {
    store
        .list(None, 100)
        .unwrap()
        .into_iter()
        .map(|entry| entry.document.as_str().to_owned())
        .collect()
}

/// Makes a test of each rule for the store that `$open` makes of a folder; after `@`, with these attributes.
macro_rules! contract {
    (@one [$(#[$attribute:meta])*] $open:expr; $rule:ident) => {
        #[test]
        $(#[$attribute])*
        fn $rule() {
            $crate::store::contract::$rule($open);
        }
    };
    (@ $attributes:tt $open:expr; $($rule:ident)*) => {
        $( $crate::store::contract::contract! { @one $attributes $open; $rule } )*
    };
    ($open:expr) => {
        $crate::store::contract::contract! { @ [] $open }
    };
    (@ $attributes:tt $open:expr) => {
        $crate::store::contract::contract! { @ $attributes $open;
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
            r8_a_gap_or_another_record_at_a_position_is_refused
            r8_the_same_records_again_are_not_doubled
            r9_overwriting_does_not_fill_the_disk
            r24_what_a_load_reads_has_its_times_and_authors
            r12_after_a_take_nothing_of_an_earlier_holder_becomes_durable
            r12_what_is_on_its_way_is_in_what_a_take_returns_or_refused
            r12_a_document_that_was_released_takes_nothing
            r13_what_is_refused_is_named_and_holds_up_nothing_else
            r14_a_batch_can_be_committed_again_while_the_first_try_runs
        }
    };
}
pub(super) use contract;

/// The same for stores that several nodes share: opening the same folder again makes another node.
macro_rules! contract_of_nodes {
    ($open:expr) => {
        $crate::store::contract::contract_of_nodes! { @ [] $open }
    };
    (@ $attributes:tt $open:expr) => {
        $crate::store::contract::contract! { @ $attributes $open;
            r15_two_handles_see_each_others_commits_at_once
            r15_a_node_that_lives_keeps_its_documents
            r16_after_a_release_for_a_node_only_that_can_take_the_document_while_it_lives
        }
    };
}
pub(super) use contract_of_nodes;

/// The same for stores that one server has.
macro_rules! contract_of_one {
    ($open:expr) => {
        $crate::store::contract::contract! { @ [] $open;
            r12_a_record_of_nobody_is_taken_while_nobody_has_the_document
        }
    };
}
pub(super) use contract_of_one;

mod memory {
    use std::{
        collections::HashMap,
        path::{Path, PathBuf},
        sync::Mutex,
    };

    use crate::store::memory::MemoryStore;

    thread_local! {
        /// A folder stands for a store, as it does on disk.
        static STORES: Mutex<HashMap<PathBuf, MemoryStore>> = Mutex::default();
    }

    fn open(folder: &Path) -> MemoryStore {
        STORES.with(|stores| stores.lock().unwrap().entry(folder.to_path_buf()).or_default().reopen())
    }

    super::contract!(open);
    super::contract_of_one!(open);
    super::contract_of_nodes!(open);
}

mod journal {
    use crate::store::journal::{Journal, JournalOptions, disk::FileDisk};

    super::contract!(|folder: &std::path::Path| Journal::open(
        std::sync::Arc::new(FileDisk),
        folder,
        JournalOptions::default()
    )
    .unwrap());
    super::contract_of_one!(|folder: &std::path::Path| Journal::open(
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
    super::contract_of_one!(|folder: &std::path::Path| DurableStore::open(folder, Options::default()).unwrap());
}
