//! sled rots, fails and vanishes; the store goes on.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::*;
use crate::store::{
    Store,
    contract::{deleted, id, snapshot, stored, update},
    durable::{DurableStore, Options},
    journal::{JournalOptions, disk::FileDisk},
};

fn open(folder: &Path) -> DurableStore {
    let sled = SledOptions {
        again_ms: 0,
        rest_ms: 0,
        wait_ms: 10_000,
        read_ms: 10_000,
        ..SledOptions::default()
    };
    DurableStore::open(
        folder,
        Options {
            sled,
            ..Options::default()
        },
    )
    .unwrap()
}

/// Waits until sled has everything, doing upkeep as the server does.
fn caught_up(store: &DurableStore) {
    for _ in 0..20_000 {
        store.maintain(1).unwrap();
        if store.read_side().caught_up() && store.read_side().rebuilding().is_none() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("sled never catches up: {:?}", store.status());
}

/// Waits for what another thread does.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(60), "still waiting until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn try_of(store: &DurableStore) -> Arc<Try> {
    store.read_side().current().unwrap()
}

fn find(store: &DurableStore, name: &str) -> Option<Bytes> {
    let base = store.journal().base(&id(name))?;
    match store.read_side().find(&id(name), &base) {
        Shelved::Found(body) => Some(body),
        Shelved::Not | Shelved::Late => None,
    }
}

fn asides_in(folder: &Path) -> usize {
    asides(folder).len()
}

#[test]
fn r4_sled_has_the_newest_snapshot_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let body = |byte: u8, length: usize| Bytes::from(vec![byte; length]);
    store
        .commit_all(&[
            snapshot("a", 1, body(1, 3 * PIECE)),
            snapshot("b", 1, body(2, 0)),
            update("c", 1, "x"),
        ])
        .unwrap();
    store
        .commit_all(&[
            snapshot("a", 2, body(3, 2 * PIECE + 1)),
            snapshot("gone", 1, body(4, 10)),
        ])
        .unwrap();
    caught_up(&store);
    store.commit_all(&[deleted("gone", 1)]).unwrap();

    caught_up(&store);

    assert_eq!(find(&store, "a"), Some(body(3, 2 * PIECE + 1)));
    assert_eq!(find(&store, "b"), Some(body(2, 0)));
    let current = try_of(&store);
    let shelf = current.shelf.get().unwrap();
    assert_eq!(shelf.names(None, 10).unwrap(), [id("a"), id("b")]);
    assert_eq!(shelf.pieces(), 3);
}

const PIECE: usize = shelf::PIECE_BYTES;

#[test]
fn r4_a_value_that_rots_is_never_returned_and_sled_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store
        .commit_all(&[
            snapshot("a", 1, "good"),
            update("a", 2, "more"),
            snapshot("b", 7, "too"),
        ])
        .unwrap();
    caught_up(&store);
    try_of(&store).shelf.get().unwrap().spoil(&id("a"));

    let loaded = store.load(&id("a")).unwrap();

    assert_eq!(loaded, stored(Some((1, "good")), &[(2, "more")]));
    store.maintain(1).unwrap();
    assert!(
        store
            .status()
            .rebuilding
            .is_some_and(|reason| reason.contains("fails its check"))
    );
    caught_up(&store);
    assert_eq!(find(&store, "a"), Some("good".into()));
    assert_eq!(find(&store, "b"), Some("too".into()));
    assert_eq!(asides_in(folder.path()), 1);
}

#[test]
fn r4_sled_holds_half_of_what_is_live_and_the_journal_answers_for_the_rest() {
    const EACH: usize = 600_000;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let body = |number: u64, round: u64| Bytes::from(vec![(number + 40 * round) as u8; EACH]);
    for round in 1..=3 {
        for number in 0..40 {
            store
                .commit_all(&[snapshot(&number.to_string(), round, body(number, round))])
                .unwrap();
        }
        caught_up(&store);

        let live = store.status().live_bytes;
        let held = try_of(&store).shelf.get().unwrap().held_bytes();
        let found = (0..40).filter(|number| find(&store, &number.to_string()) == Some(body(*number, round)));
        let expected: u64 = found
            .map(|number| shelf::taken_bytes(&id(&number.to_string()), EACH as u64))
            .sum();
        assert_eq!(held, expected, "round {round}");
        assert!(
            (live * 2 / 5..=live / 2).contains(&held),
            "{held} of {live} in round {round}"
        );
        for number in 0..40 {
            let snapshot = store.load(&id(&number.to_string())).unwrap().snapshot;
            assert!(
                snapshot == Some((round, body(number, round))),
                "{number} in round {round}"
            );
        }
    }
    let held = try_of(&store).shelf.get().unwrap().held_bytes();
    store.close().unwrap();
    drop(store);
    let store = open(folder.path());
    caught_up(&store);
    assert_eq!(
        try_of(&store).shelf.get().unwrap().held_bytes(),
        held,
        "counted at the start"
    );
}

#[test]
fn r5_a_sled_that_does_not_open_is_set_aside_and_rebuilt_while_the_journal_answers() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit_all(&[snapshot("a", 1, "good")]).unwrap();
    caught_up(&store);
    store.close().unwrap();
    drop(store);
    for round in 1..=3 {
        let current = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let current = current
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("sled-"))
            .max();
        let database = current.unwrap().join("db");
        fs::remove_file(&database).unwrap();
        fs::create_dir(&database).unwrap();

        let store = open(folder.path());

        assert_eq!(
            store.load(&id("a")).unwrap(),
            stored(Some((1, "good")), &[]),
            "round {round}"
        );
        caught_up(&store);
        assert_eq!(find(&store, "a"), Some("good".into()));
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(asides_in(folder.path()), 1, "only the newest is kept: {names:?}");
        drop(store);
    }
}

#[test]
fn r5_a_sled_that_vanished_or_is_behind_catches_up_without_being_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store
        .commit_all(&[snapshot("a", 1, "old"), snapshot("b", 1, "gone later")])
        .unwrap();
    caught_up(&store);
    store.close().unwrap();
    drop(store);
    let old = copy.path().join("old");
    copy_folder(&folder.path().join("sled-000001"), &old);
    let store = open(folder.path());
    store
        .commit_all(&[update("a", 2, "x"), snapshot("a", 2, "new"), deleted("b", 1)])
        .unwrap();
    caught_up(&store);
    store.close().unwrap();
    drop(store);

    fs::remove_dir_all(folder.path().join("sled-000001")).unwrap();
    copy_folder(&old, &folder.path().join("sled-000001"));
    let store = open(folder.path());

    assert_eq!(store.load(&id("a")).unwrap(), stored(Some((2, "new")), &[]));
    caught_up(&store);
    assert_eq!(find(&store, "a"), Some("new".into()));
    assert_eq!(try_of(&store).shelf.get().unwrap().names(None, 9).unwrap(), [id("a")]);
    assert_eq!(asides_in(folder.path()), 0);
}

#[test]
fn r5_a_panic_or_a_hang_in_sled_costs_a_thread_and_not_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let sled = SledOptions {
        again_ms: 0,
        wait_ms: 10_000,
        read_ms: 50,
        // Long enough that a busy machine is not taken for a hang.
        hang_ms: 2_000,
        ..SledOptions::default()
    };
    let store = DurableStore::open(
        folder.path(),
        Options {
            sled,
            ..Options::default()
        },
    )
    .unwrap();
    store.commit_all(&[snapshot("a", 1, "good")]).unwrap();
    caught_up(&store);

    try_of(&store).spawn("panics", |_| panic!("a test's panic"));
    until("the panic is seen", || try_of(&store).failure.get().is_some());
    assert_eq!(store.load(&id("a")).unwrap(), stored(Some((1, "good")), &[]));
    caught_up(&store);
    assert_eq!(try_of(&store).number, 2);

    let (go_on, wait) = mpsc::channel::<()>();
    try_of(&store).spawn("hangs", move |this| {
        this.reader.call(|| wait.recv()).ok();
        Ok(())
    });
    until("it hangs", || try_of(&store).reader.busy.load(SeqCst));
    until("the hang is seen", || {
        store.maintain(1).unwrap();
        try_of_number(&store) != Some(2)
    });
    assert_eq!(store.load(&id("a")).unwrap(), stored(Some((1, "good")), &[]));
    caught_up(&store);
    assert_eq!(try_of_number(&store), Some(3));
    drop(go_on);
}

fn try_of_number(store: &DurableStore) -> Option<u32> {
    store.read_side().current().map(|current| current.number)
}

/// A store whose snapshot of `a` is in sled and fails its check in the journal, where compaction will come to it.
fn with_a_spoiled_snapshot(folder: &Path, read_ms: u64, retain_ms: u64) -> DurableStore {
    with_a_spoiled_snapshot_and(folder, read_ms, retain_ms, |_| {})
}

/// The same, after something else has happened to the folder.
fn with_a_spoiled_snapshot_and(
    folder: &Path,
    read_ms: u64,
    retain_ms: u64,
    happens: impl FnOnce(&Path),
) -> DurableStore {
    let options = || Options {
        journal: JournalOptions {
            segment_bytes_min: 16_384,
            retain_ms,
            ..JournalOptions::default()
        },
        sled: SledOptions {
            again_ms: 0,
            rest_ms: 0,
            wait_ms: 10_000,
            read_ms,
            ..SledOptions::default()
        },
    };
    let store = DurableStore::open(folder, options()).unwrap();
    let mut first = snapshot("a", 1, "only here");
    first.at_ms = 1_000_000;
    first.authors = ["ada".into()].into();
    store.commit_all(&[first]).unwrap();
    for round in 1..=12 {
        store.commit_all(&[snapshot("b", round, vec![7; 1_000])]).unwrap();
    }
    store.commit_all(&[update("a", 2, "more")]).unwrap();
    until("sled has everything", || store.read_side().caught_up());
    store.close().unwrap();
    drop(store);
    let spoils = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let place = bytes.windows(9).position(|nine| nine == b"only here");
        if let Some(at) = place {
            bytes[at] ^= 1;
            fs::write(path, bytes).unwrap();
        }
        place.is_some()
    };
    let journal = fs::read_dir(folder.join("journal")).unwrap();
    let spoilt = journal.filter(|entry| spoils(&entry.as_ref().unwrap().path()));
    assert_eq!(spoilt.count(), 1);
    happens(folder);
    DurableStore::open(folder, options()).unwrap()
}

#[test]
fn r32_a_snapshot_that_rots_in_the_journal_is_written_anew_from_sled() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_a_spoiled_snapshot(folder.path(), 10_000, 0);
    let whole = stored(Some((1, "only here")), &[(2, "more")]);

    while store.maintain(1).unwrap() {}

    assert_eq!(store.status().damaged, 0);
    assert_eq!(store.load(&id("a")).unwrap(), whole);
    assert_eq!(store.journal().load(&id("a")).unwrap(), whole, "without sled");
    store.close().unwrap();
    drop(store);
    fs::remove_dir_all(folder.path().join("sled-000001")).unwrap();
    assert_eq!(open(folder.path()).load(&id("a")).unwrap(), whole, "after a start");
}

/// As a kill leaves the segment that is written to: nothing says what lies in it.
fn without_hints(folder: &Path) {
    let journal = fs::read_dir(folder.join("journal")).unwrap();
    let hints = journal.map(|entry| entry.unwrap().path());
    let hints: Vec<_> = hints
        .filter(|path| path.extension().is_some_and(|end| end == "hint"))
        .collect();
    assert!(!hints.is_empty());
    hints.iter().for_each(|hint| fs::remove_file(hint).unwrap());
}

#[test]
fn r33_a_snapshot_that_a_start_finds_rotten_is_written_anew_from_sled() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_a_spoiled_snapshot_and(folder.path(), 10_000, 0, without_hints);
    let whole = stored(Some((1, "only here")), &[(2, "more")]);
    assert_eq!(store.load(&id("a")).unwrap(), whole, "before upkeep");
    until("sled has compared everything", || store.read_side().caught_up());

    while store.maintain(1).unwrap() {}

    assert_eq!(store.status().damaged, 0);
    assert_eq!(store.journal().load(&id("a")).unwrap(), whole, "without sled");
    store.close().unwrap();
    drop(store);
    without_hints(folder.path());
    fs::remove_dir_all(folder.path().join("sled-000001")).unwrap();
    assert_eq!(open(folder.path()).load(&id("a")).unwrap(), whole, "after a start");
}

#[test]
fn r33_a_snapshot_that_a_start_finds_rotten_is_damage_where_nobody_has_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_a_spoiled_snapshot_and(folder.path(), 10_000, 0, |folder| {
        without_hints(folder);
        fs::remove_dir_all(folder.join("sled-000001")).unwrap();
    });

    while store.maintain(1).unwrap() {}

    assert_eq!(store.status().damaged, 1);
    assert!(matches!(store.load(&id("a")), Err(StoreError::Damaged { .. })));
    store.close().unwrap();
    drop(store);
    let journal = Journal::open(
        Arc::new(FileDisk),
        &folder.path().join("journal"),
        JournalOptions::default(),
    )
    .unwrap();
    assert_eq!(journal.status().damaged, 1, "a journal alone has no copies");
}

#[test]
fn r32_what_is_written_anew_is_what_it_was_with_its_authors_and_its_place_in_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_a_spoiled_snapshot(folder.path(), 10_000, 0);
    let before = store.journal().base(&id("a")).unwrap();

    while store.maintain(1).unwrap() {}

    let base = store.journal().base(&id("a")).unwrap();
    assert_ne!(base.position, before.position);
    assert_eq!(
        (base.seq, base.lsn),
        (before.seq, before.lsn),
        "sled has it, and a restore for a time finds it"
    );
    let history = store.history(&id("a")).unwrap();
    assert_eq!(history[0].authors[..], ["ada".into()]);
    assert_eq!(history[0].at_ms, 1_000_000);
}

#[test]
fn r32_what_was_written_anew_is_whole_though_history_keeps_what_rotted() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_a_spoiled_snapshot(folder.path(), 10_000, 500_000);

    // Of its segment the rest is dead, and it is history itself until 1,500,000.
    for now in [1_400_000, 1_450_000, 2_000_000] {
        while store.maintain(now).unwrap() {}
        assert_eq!(store.status().damaged, 0, "at {now}");
    }

    assert_eq!(
        store.journal().load(&id("a")).unwrap(),
        stored(Some((1, "only here")), &[(2, "more")])
    );
}

#[test]
fn r32_nothing_is_called_damaged_while_sled_is_late() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_a_spoiled_snapshot(folder.path(), 20, 0);
    let current = try_of(&store);
    let (nobody, _unread) = mpsc::channel();
    let answers = lock(&current.reads).replace(nobody);

    for _ in 0..3 {
        while store.maintain(1).unwrap() {}
        assert!(matches!(store.load(&id("a")), Err(StoreError::Io { .. })));
    }
    assert_eq!(store.status().damaged, 0);

    *lock(&current.reads) = answers;
    until("sled has answered", || store.load(&id("a")).is_ok());
    until("it is written anew", || {
        while store.maintain(1).unwrap() {}
        store
            .journal()
            .read_base(&id("a"), &store.journal().base(&id("a")).unwrap())
            .is_ok()
    });
}

#[test]
fn r32_without_a_copy_the_document_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_a_spoiled_snapshot(folder.path(), 10_000, 0);
    try_of(&store).shelf.get().unwrap().remove(&id("a")).unwrap();

    while store.maintain(1).unwrap() {}

    assert_eq!(store.status().damaged, 1);
    assert!(matches!(store.load(&id("a")), Err(StoreError::Damaged { .. })));
}

#[test]
fn r5_the_name_of_what_was_set_aside_has_its_date() {
    assert_eq!(date(0), "19700101T000000Z");
    assert_eq!(date(951_782_399), "20000228T235959Z");
    assert_eq!(date(951_782_400), "20000229T000000Z");
    assert_eq!(date(1_795_204_200), "20261120T195000Z");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every file below a folder, by its path in it.
fn files_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                files.insert(path.strip_prefix(folder).unwrap().to_path_buf(), bytes);
            }
        }
    }
    files
}

#[test]
fn r5_a_byte_flipped_or_a_file_cut_anywhere_in_sled_costs_nothing() {
    // `EVERY_BYTE=1` leaves no byte and no offset out.
    let every = if std::env::var("EVERY_BYTE").is_ok_and(|value| value == "1") {
        1
    } else {
        13
    };
    let names = ["a", "b", "c"];
    let body = |name: &str, round: usize| format!("{name}{round}").repeat(150 * round);
    let folder = tempfile::tempdir().unwrap();
    let pristine = folder.path().join("pristine");
    let store = open(&pristine);
    for round in 1..=2 {
        store
            .commit_all(&names.map(|name| snapshot(name, round as u64, body(name, round))))
            .unwrap();
        caught_up(&store);
    }
    store.commit_all(&[update("a", 3, "more")]).unwrap();
    store.close().unwrap();
    drop(store);
    let files = files_below(&pristine);
    let sled_files = files.iter().filter(|(path, _)| path.starts_with("sled-000001"));
    let (mut tried, mut set_aside) = (0, 0);

    for (path, bytes) in sled_files {
        for at in (0..bytes.len()).filter(|at| at % every == 0) {
            for cut in [false, true] {
                let damaged = folder.path().join("damaged");
                copy_folder(&pristine, &damaged);
                let mut bytes = bytes.clone();
                if cut {
                    bytes.truncate(at);
                } else {
                    bytes[at] ^= 1 << (at % 8);
                }
                fs::write(damaged.join(path), bytes).unwrap();
                let what = format!("{} {} at {at}", path.display(), if cut { "cut" } else { "flipped" });

                let store = open(&damaged);

                for when in ["at once", "caught up"] {
                    for name in names {
                        let updates: &[_] = if name == "a" { &[(3, "more")] } else { &[] };
                        let expected = stored(Some((2, &body(name, 2))), updates);
                        assert_eq!(store.load(&id(name)).unwrap(), expected, "{what}: {name} {when}");
                    }
                    if when == "at once" {
                        caught_up(&store);
                    }
                }
                tried += 1;
                set_aside += asides_in(&damaged);
                store.close().unwrap();
                drop(store);
                fs::remove_dir_all(&damaged).unwrap();
            }
        }
    }
    println!("{tried} damages, {set_aside} times sled was set aside");
    assert!(set_aside > 0 && set_aside < tried);
}
