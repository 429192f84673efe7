//! The journal on a disk that fails, tears and rots.

use std::{collections::BTreeMap, io::ErrorKind, path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    Journal, JournalOptions, Shelved,
    index::Base,
    recovery,
    segment::{self, HEADER_BYTES, Header},
    sim::{Dice, Fault, SimDisk},
};
use crate::{
    id::DocumentId,
    store::{
        Body, EMPTY_UPDATE, Record, Store, StoreError, StoredDocument,
        contract::{deleted, id, maintain_all, snapshot, stored, update},
        record,
    },
};

fn small() -> JournalOptions {
    JournalOptions {
        segment_bytes: HEADER_BYTES + 6_000,
        segment_bytes_min: HEADER_BYTES + 3_000,
        step_bytes: 2_000,
        ..JournalOptions::default()
    }
}

fn open(disk: &SimDisk) -> Journal {
    open_with(disk, 0)
}

fn open_with(disk: &SimDisk, retain_ms: u64) -> Journal {
    Journal::open(
        Arc::new(disk.clone()),
        Path::new("j"),
        JournalOptions { retain_ms, ..small() },
    )
    .unwrap()
}

/// What must be found: what was acknowledged, and what may be found: what was not.
#[derive(Debug, Clone, Default)]
struct Model {
    documents: BTreeMap<DocumentId, StoredDocument>,
    /// Records of commits that failed and were not repeated, since the last that succeeded.
    unsure: Vec<Record>,
    /// All records that were acknowledged.
    history: Vec<Record>,
}

fn apply(stored: &mut StoredDocument, record: &Record) {
    let rebase = |stored: &mut StoredDocument, body: Bytes| {
        if stored.snapshot.as_ref().is_none_or(|(seq, _)| *seq <= record.seq) {
            stored.snapshot = Some((record.seq, body));
            stored.updates.retain(|(seq, _)| *seq > record.seq);
        }
    };
    match &record.body {
        Body::Update(body) => stored.updates.push((record.seq, body.clone())),
        Body::Snapshot(body) => rebase(stored, body.clone()),
        Body::Deleted => rebase(stored, EMPTY_UPDATE),
    }
}

/// Short enough for a failure's message.
fn brief(stored: &StoredDocument) -> String {
    let part = |(seq, body): &(u64, Bytes)| format!("{seq}:{:?}x{}", body.first(), body.len());
    let updates: Vec<String> = stored.updates.iter().map(part).collect();
    format!("{:?} {}", stored.snapshot.as_ref().map(part), updates.join(" "))
}

impl Model {
    fn acknowledge(&mut self, records: &[Record]) {
        for record in records {
            apply(self.documents.entry(record.document.clone()).or_default(), record);
            self.history.push(record.clone());
        }
    }

    /// Whether `found` is made of true records, without a gap, up to the last position, and does not
    /// bring back what was deleted.
    fn is_all_of(&self, name: &DocumentId, found: &StoredDocument) -> bool {
        let was = |body: &Body, seq: u64| {
            self.history
                .iter()
                .any(|record| record.document == *name && record.seq == seq && record.body == *body)
        };
        let base = found.snapshot.as_ref();
        let base_seq = base.map_or(0, |(seq, _)| *seq);
        let deleted = self
            .history
            .iter()
            .filter(|record| record.document == *name && record.body == Body::Deleted);
        let last_deleted = deleted.map(|record| record.seq).max().unwrap_or(0);
        base.is_none_or(|(seq, body)| was(&Body::Snapshot(body.clone()), *seq) || was(&Body::Deleted, *seq))
            && found
                .updates
                .iter()
                .zip(base_seq + 1..)
                .all(|((seq, body), next)| *seq == next && was(&Body::Update(body.clone()), *seq))
            && found.last_seq() == self.last_seq(name)
            && base_seq >= last_deleted
    }

    fn last_seq(&self, name: &DocumentId) -> u64 {
        self.documents.get(name).map_or(0, StoredDocument::last_seq)
    }

    /// A batch of records that follow on what was acknowledged.
    fn batch(&self, dice: &mut Dice, now_ms: u64) -> Vec<Record> {
        let mut ahead = self.clone();
        let mut records = Vec::new();
        // Small ones go into the zeros that others brought.
        let (most, longest) = if dice.roll(2) == 0 { (2, 60) } else { (5, 900) };
        for _ in 0..=dice.roll(most - 1) {
            let name = format!("d{}", dice.roll(5));
            let last = ahead.last_seq(&id(&name));
            let bytes = vec![dice.roll(256) as u8; dice.roll(longest) as usize];
            let mut record = match dice.roll(12) {
                0 | 1 if last > 0 => snapshot(&name, last, bytes),
                2 if last > 0 => deleted(&name, last),
                _ => update(&name, last + 1, bytes),
            };
            record.at_ms = now_ms;
            ahead.acknowledge(std::slice::from_ref(&record));
            records.push(record);
        }
        records
    }

    /// Whether `found` is all that was acknowledged, and beyond that only what was tried.
    fn may_be(&self, name: &DocumentId, acknowledged: &StoredDocument, found: &StoredDocument) -> bool {
        let tried = |body: Body, seq: u64| {
            let same = |record: &Record| record.document == *name && record.seq == seq && record.body == body;
            self.unsure.iter().any(same)
        };
        let base = found.snapshot == acknowledged.snapshot
            || found.snapshot.as_ref().is_some_and(|(seq, body)| {
                tried(Body::Snapshot(body.clone()), *seq) || *body == EMPTY_UPDATE && tried(Body::Deleted, *seq)
            });
        let base_seq = found.snapshot.as_ref().map_or(0, |(seq, _)| *seq);
        let updates = found.updates.iter().zip(base_seq + 1..).all(|(update, next)| {
            let (seq, body) = update;
            let known = acknowledged.updates.contains(update);
            *seq == next && (known || *seq > acknowledged.last_seq() && tried(Body::Update(body.clone()), *seq))
        });
        base && updates && found.last_seq() >= acknowledged.last_seq()
    }

    /// Checks a store that was opened after a stop, and takes over what it found of what was unsure.
    fn check_after_stop(&mut self, journal: &Journal, context: &str) {
        for name in (0..5).map(|number| id(&format!("d{number}"))) {
            let found = journal.load(&name).unwrap_or_else(|error| panic!("{context}: {error}"));
            let acknowledged = self.documents.get(&name).cloned().unwrap_or_default();
            let (found_text, text) = (brief(&found), brief(&acknowledged));
            let matches = self.may_be(&name, &acknowledged, &found);
            assert!(matches, "{context}: {name}: found {found_text}, acknowledged {text}");
            if found != StoredDocument::default() {
                self.documents.insert(name, found);
            }
        }
        self.unsure.clear();
    }

    fn check(&self, journal: &Journal, context: &str) {
        for (name, expected) in &self.documents {
            let found = journal.load(name).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert!(
                found == *expected,
                "{context}: {name}: found {}, acknowledged {}",
                brief(&found),
                brief(expected)
            );
        }
    }
}

#[test]
fn r1_r3_whatever_happens_acknowledged_records_are_found() {
    let seeds: u64 = std::env::var("COWRITE_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(300);
    let first: u64 = std::env::var("COWRITE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let (mut stops, mut failures, mut commits, mut into_zeros, mut segments_gone) = (0, 0, 0, 0, 0);
    for seed in first..first + seeds {
        let mut dice = Dice::new(seed);
        let mut disk = SimDisk::new(seed);
        let retain_ms = [0, 0, 7_000][seed as usize % 3];
        let mut journal = open_with(&disk, retain_ms);
        let mut model = Model::default();
        for step in 0..120 {
            let context = format!("seed {seed} step {step}");
            let now_ms = step * 1_000;
            match dice.roll(20) {
                0 => disk.fail(Fault::Once(1 + dice.roll(12), ErrorKind::StorageFull)),
                1 => disk.fail(Fault::From(1 + dice.roll(12))),
                2..=5 => {
                    for _ in 0..dice.roll(12) {
                        let before = journal.status().segments;
                        let _ = journal.maintain(now_ms);
                        segments_gone += u64::from(journal.status().segments < before);
                    }
                }
                _ => {
                    let batch = model.batch(&mut dice, now_ms);
                    let before = disk.bytes();
                    let mut done = journal.commit_all(&batch).is_ok();
                    into_zeros += u64::from(done && disk.bytes() == before);
                    if !done {
                        failures += 1;
                        // Some callers keep the batch and try again, some are gone.
                        for _ in 0..dice.roll(3) {
                            done = done || journal.commit_all(&batch).is_ok();
                        }
                    }
                    if done {
                        commits += 1;
                        model.unsure.clear();
                        model.acknowledge(&batch);
                    } else {
                        model.unsure.extend(batch);
                    }
                }
            }
            let dead = disk.stopped();
            if dead || dice.roll(15) == 0 {
                stops += 1;
                let clean = !dead && dice.roll(3) == 0;
                if clean {
                    let _ = journal.close();
                }
                drop(journal);
                disk = if dice.roll(3) == 0 {
                    disk.kill()
                } else {
                    disk.power_loss(seed * 1_000 + step)
                };
                nothing_is_damaged(&disk, &context);
                journal = open_with(&disk, retain_ms);
                model.check_after_stop(&journal, &context);
            }
        }
        disk.fail(Fault::None);
        model.unsure.clear();
        model.check(&journal, &format!("seed {seed} at the end"));
        maintain_all(&journal, 1_000_000);
        model.check(&journal, &format!("seed {seed} after upkeep"));
        assert_eq!(journal.status().damaged, 0, "seed {seed}");
    }
    println!(
        "{stops} stops, {failures} failed commits, {commits} commits, {into_zeros} of them into zeros, {segments_gone} \
         deleted segments"
    );
    assert!(stops > seeds && failures > seeds / 2 && commits > 10 * seeds && segments_gone > 5 * seeds);
    assert!(into_zeros > 5 * seeds);
}

/// No segment has damage, also none that nobody can name a document for.
fn nothing_is_damaged(disk: &SimDisk, context: &str) {
    let unread = recovery::survey(
        disk,
        Path::new("j"),
        |_| true,
        |number, _, _, scan| {
            assert_eq!(scan.damage, [], "{context}: segment {number}");
        },
    );
    assert!(unread.is_ok(), "{context}: {unread:?}");
}

#[test]
fn r8_a_call_that_fails_costs_nothing_acknowledged_and_the_store_goes_on() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        for at in 1..200 {
            let disk = SimDisk::new(at);
            let journal = open(&disk);
            let mut dice = Dice::new(7);
            let mut model = Model::default();
            disk.fail(Fault::Once(at, kind));
            for step in 0..40 {
                let batch = model.batch(&mut dice, step);
                let tries = (0..3).position(|_| journal.commit_all(&batch).is_ok());
                assert!(
                    tries.is_some_and(|tries| tries <= 1),
                    "call {at} step {step}: {tries:?}"
                );
                model.acknowledge(&batch);
                let _ = journal.maintain(step);
            }
            model.check(&journal, &format!("call {at}"));
            assert!(disk.calls() > at, "no call {at}");
            drop(journal);
            let journal = open(&disk.power_loss(at));
            model.check(&journal, &format!("call {at} after power loss"));
            assert_eq!(journal.status().damaged, 0);
        }
    }
}

/// A store of several segments, with what it holds.
fn sample(close: bool) -> (BTreeMap<String, Vec<u8>>, Model) {
    let disk = SimDisk::new(3);
    let journal = open(&disk);
    let mut model = Model::default();
    let mut dice = Dice::new(11);
    for step in 0..22 {
        let batch = model.batch(&mut dice, step);
        journal.commit_all(&batch).unwrap();
        model.acknowledge(&batch);
    }
    let batch = [
        update("only", 1, "one"),
        update("d0", model.last_seq(&id("d0")) + 1, "x"),
    ];
    journal.commit_all(&batch).unwrap();
    model.acknowledge(&batch);
    let batch = [
        update("d1", model.last_seq(&id("d1")) + 1, "x"),
        update("d2", model.last_seq(&id("d2")) + 1, "x"),
    ];
    journal.commit_all(&batch).unwrap();
    model.acknowledge(&batch);
    if close {
        journal.close().unwrap();
    } else {
        journal.maintain(0).unwrap();
    }
    (disk.contents(), model)
}

/// The documents of which a record lies at a byte, and whether that is in the last batch of the last segment.
fn owner(contents: &BTreeMap<String, Vec<u8>>, name: &str, at: u64) -> Option<(DocumentId, bool)> {
    let number = segment::number_of(name)?;
    let disk = SimDisk::with(contents);
    let file = super::disk::Disk::open(&disk, Path::new(name)).unwrap();
    let header = Header::read(&*file, number).unwrap().unwrap();
    let scan = segment::scan(&*file, header.salt, contents[name].len() as u64, None).unwrap();
    let last = contents.keys().filter_map(|name| segment::number_of(name)).max() == Some(number);
    let entry = scan
        .entries
        .iter()
        .find(|entry| (entry.offset..entry.offset + entry.bytes).contains(&at))?;
    Some((entry.document.clone(), last && entry.offset >= scan.last_batch))
}

#[test]
fn r7_a_flipped_byte_concerns_one_document_at_most_and_is_never_read_as_data() {
    let leaves_none_out = std::env::var("EVERY_BYTE").is_ok_and(|value| value == "1");
    for close in [false, true] {
        let (contents, model) = sample(close);
        assert!(contents.len() > 4, "several segments");
        let (mut damaged, mut torn, mut rebuilt) = (0, 0, 0);
        let last = contents.keys().filter(|name| segment::number_of(name).is_some()).max();
        for (name, bytes) in &contents {
            for at in 0..bytes.len() {
                // Every byte of the last segment and of what is short; a sample of the rest. `EVERY_BYTE=1`
                // leaves none out.
                let is_segment = segment::number_of(name).is_some();
                let is_padding = is_segment && at > 100 && at < HEADER_BYTES as usize;
                let every = if leaves_none_out {
                    1
                } else if is_padding {
                    997
                } else if close || is_segment && Some(name) != last {
                    13
                } else {
                    1
                };
                if at % every != 0 {
                    continue;
                }
                let mut rotten = contents.clone();
                rotten.get_mut(name).unwrap()[at] ^= 0x41;
                let journal = open(&SimDisk::with(&rotten));
                let owner = owner(&contents, name, at as u64);
                for (document, expected) in &model.documents {
                    let found = journal.load(document);
                    let own = owner.as_ref().is_some_and(|(owner, _)| owner == document);
                    let may_be_torn = owner.as_ref().is_some_and(|(_, last)| *last) && !close;
                    match found {
                        Ok(found) if found == *expected => {}
                        Ok(found) if may_be_torn && found.last_seq() < expected.last_seq() => torn += 1,
                        Err(StoreError::Damaged { .. }) if own => damaged += 1,
                        // A snapshot that is gone is made good by all that it superseded.
                        Ok(found) if own && model.is_all_of(document, &found) => rebuilt += 1,
                        found => {
                            let found = found.map(|found| brief(&found));
                            panic!(
                                "{name} at {at} (closed: {close}): {document} {found:?} not {}",
                                brief(expected)
                            );
                        }
                    }
                }
            }
        }
        assert!(damaged > 200 && (torn > 50) != close, "{damaged} {torn} {rebuilt}");
    }
}

#[test]
fn r7_a_torn_tail_is_cut_at_the_last_whole_record() {
    let disk = SimDisk::new(3);
    let journal = open(&disk);
    let batches = [
        vec![update("a", 1, "one"), update("b", 1, "uno")],
        vec![update("a", 2, vec![7; 600])],
        vec![update("b", 2, "due"), snapshot("a", 2, "s2"), update("c", 1, "eins")],
    ];
    batches.iter().for_each(|batch| journal.commit_all(batch).unwrap());
    let contents = disk.contents();
    let (name, bytes) = contents
        .iter()
        .next_back()
        .map(|(name, bytes)| (name.clone(), bytes.clone()))
        .unwrap();
    let file = super::disk::Disk::open(&disk, Path::new(&name)).unwrap();
    let salt = Header::read(&*file, 1).unwrap().unwrap().salt;
    let entries = segment::scan(&*file, salt, bytes.len() as u64, None).unwrap().entries;
    let records: Vec<Record> = batches.concat();
    assert_eq!(entries.len(), records.len());

    for cut in 0..=bytes.len() {
        for filler in [0, 40] {
            let mut torn = contents.clone();
            let tail = torn.get_mut(&name).unwrap();
            tail.truncate(cut);
            tail.resize(cut + filler, 0);
            let disk = SimDisk::with(&torn);
            let journal = open(&disk);
            let mut model = Model::default();
            let whole = entries
                .iter()
                .filter(|entry| entry.offset + entry.bytes <= cut as u64)
                .count();
            model.acknowledge(&records[..whole]);

            for document in ["a", "b", "c"].map(id) {
                let expected = model.documents.get(&document).cloned().unwrap_or_default();
                assert_eq!(journal.load(&document).unwrap(), expected, "cut {cut} filler {filler}");
            }
            assert_eq!(journal.status().damaged, 0, "cut {cut}");
            let next = [update("z", 1, "next")];
            journal.commit_all(&next).unwrap();
            model.acknowledge(&next);
            maintain_all(&journal, 1);
            drop(journal);
            let journal = open(&disk.power_loss(cut as u64 + 1));
            model.check(&journal, &format!("cut {cut} filler {filler}, after a commit"));
            assert_eq!(journal.status().damaged, 0, "cut {cut}");
        }
    }
}

#[test]
fn r7_a_damaged_document_is_named_kept_and_healed_by_a_snapshot() {
    let disk = SimDisk::new(3);
    let journal = open(&disk);
    journal
        .commit_all(&[update("a", 1, "one"), update("b", 1, "uno")])
        .unwrap();
    journal.commit_all(&[update("c", 1, "eins")]).unwrap();
    drop(journal);
    let mut contents = disk.contents();
    // The head of the first record, the only one of its document: the record behind it remembers the sum of
    // the name, and nothing else does.
    contents.values_mut().next().unwrap()[HEADER_BYTES as usize + 24] ^= 1;
    let disk = SimDisk::with(&contents);

    let journal = open(&disk);

    assert!(matches!(journal.load(&id("a")), Err(StoreError::Damaged { .. })));
    assert!(matches!(
        journal.commit_all(&[update("a", 1, "new")]),
        Err(StoreError::Refused { .. })
    ));
    assert_eq!(journal.load(&id("b")).unwrap(), stored(None, &[(1, "uno")]));
    journal.commit_all(&[update("b", 2, "due")]).unwrap();
    let mut contents = disk.contents();
    drop(journal);
    let body = contents
        .values()
        .next()
        .unwrap()
        .windows(3)
        .position(|bytes| bytes == b"uno")
        .unwrap();
    contents.values_mut().next().unwrap()[body] ^= 1;
    let disk = SimDisk::with(&contents);
    let journal = open(&disk);
    assert!(matches!(journal.load(&id("b")), Err(StoreError::Damaged { .. })));
    assert_eq!(journal.load(&id("c")).unwrap(), stored(None, &[(1, "eins")]));
    assert_eq!(journal.status().damaged, 2);
    assert!(journal.list(None, 10).unwrap()[0].damaged.is_some());
    journal.commit_all(&[snapshot("b", 2, "restored")]).unwrap();
    assert_eq!(journal.load(&id("b")).unwrap(), stored(Some((2, "restored")), &[]));
    drop(journal);
    assert_eq!(open(&disk).load(&id("b")).unwrap(), stored(Some((2, "restored")), &[]));
}

/// A journal that was killed, with a snapshot that has rotted since.
fn with_a_rotten_snapshot() -> SimDisk {
    let disk = SimDisk::new(3);
    let journal = open(&disk);
    journal.commit_all(&[snapshot("a", 1, "only here")]).unwrap();
    journal.commit_all(&[update("a", 2, "more")]).unwrap();
    journal.commit_all(&[update("b", 1, "uno")]).unwrap();
    let mut contents = disk.contents();
    let segment = contents.get_mut("0000000001.segment").unwrap();
    let at = segment.windows(9).position(|bytes| bytes == b"only here").unwrap();
    segment[at] ^= 1;
    SimDisk::with(&contents)
}

fn open_beside(disk: &SimDisk) -> Result<Journal, StoreError> {
    Journal::open_beside(Arc::new(disk.clone()), Path::new("j"), small())
}

/// The copy of the snapshot that rotted, and of no other.
fn copy_of(name: &DocumentId, base: &Base) -> Shelved {
    if *name == id("a") && (base.seq, base.lsn) == (1, 1) {
        Shelved::Found("only here".into())
    } else {
        Shelved::Not
    }
}

#[test]
fn r33_what_a_start_finds_rotten_is_mended_wherever_the_machine_stops_meanwhile() {
    let whole = stored(Some((1, "only here")), &[(2, "more")]);
    let mut stops = 0;
    for at in 1..60 {
        for seed in 0..8 {
            let disk = with_a_rotten_snapshot();
            disk.fail(Fault::From(at));
            if let Ok(journal) = open_beside(&disk) {
                for _ in 0..10 {
                    let _ = journal.maintain_with(1, copy_of);
                }
            }
            stops += u64::from(disk.stopped());
            let disk = if seed == 0 { disk.kill() } else { disk.power_loss(seed) };

            let journal = open_beside(&disk).unwrap();
            let context = format!("call {at} seed {seed}");
            assert_eq!(journal.load_with(&id("a"), copy_of).unwrap(), whole, "{context}");
            while journal.maintain_with(1, copy_of).unwrap() {}
            assert_eq!(journal.load(&id("a")).unwrap(), whole, "{context}: without the copy");
            assert_eq!(journal.status().damaged, 0, "{context}");
            journal.commit_all(&[update("a", 3, "still")]).unwrap();
            drop(journal);
            let journal = open(&disk.power_loss(seed));
            let more = stored(Some((1, "only here")), &[(2, "more"), (3, "still")]);
            assert_eq!(journal.load(&id("a")).unwrap(), more, "{context}: after a start");
        }
    }
    assert!(stops > 40, "{stops}");
}

#[test]
fn r33_a_copy_makes_nothing_older_than_what_was_acknowledged() {
    for (later, is_whole) in [
        (update("a", 3, "newer"), true),
        (snapshot("a", 2, "newer"), true),
        (deleted("a", 3), true),
        (update("a", 3, "newer"), false),
    ] {
        let disk = with_a_rotten_snapshot();
        let journal = open_beside(&disk).unwrap();
        journal.commit_all(std::slice::from_ref(&later)).unwrap();
        journal.commit_all(&[update("b", 2, "due")]).unwrap();
        let expected = journal.load_with(&id("a"), copy_of).unwrap();
        drop(journal);
        let mut contents = disk.contents();
        let found = contents.values_mut().find_map(|segment| {
            let at = segment.windows(5).position(|bytes| bytes == b"newer")?;
            Some(&mut segment[at])
        });
        if let (false, Some(byte)) = (is_whole, found) {
            *byte ^= 1;
        }
        let journal = open_beside(&SimDisk::with(&contents)).unwrap();

        while journal.maintain_with(1, copy_of).unwrap() {}

        let context = format!("{:?} {is_whole}", later.body);
        match journal.load_with(&id("a"), copy_of) {
            Ok(found) => assert!(is_whole && found == expected, "{context}"),
            Err(StoreError::Damaged { .. }) => assert!(!is_whole, "{context}"),
            Err(other) => panic!("{context}: {other}"),
        }
    }
}

#[test]
fn r7_a_segment_that_vanished_is_found_by_the_gaps_it_leaves() {
    let disk = SimDisk::new(3);
    let journal = open(&disk);
    for seq in 1..=12 {
        journal
            .commit_all(&[
                update("a", seq, vec![1; 900]),
                update("b", seq, vec![2; 9]),
                snapshot("b", seq, "s"),
            ])
            .unwrap();
    }
    journal.commit_all(&[update("c", 1, "eins")]).unwrap();
    journal.close().unwrap();
    drop(journal);
    let mut contents = disk.contents();
    contents.remove(&segment::file_name(2)).unwrap();

    let journal = open(&SimDisk::with(&contents));

    let error = journal.load(&id("a")).unwrap_err().to_string();
    assert!(error.contains("are missing"), "{error}");
    assert_eq!(journal.load(&id("b")).unwrap(), stored(Some((12, "s")), &[]));
    assert_eq!(journal.load(&id("c")).unwrap(), stored(None, &[(1, "eins")]));
    assert!(matches!(
        journal.commit_all(&[update("a", 12, "again")]),
        Err(StoreError::Refused { .. })
    ));
    maintain_all(&journal, 1);
    assert!(journal.load(&id("a")).is_err());
}

#[test]
fn r7_bytes_in_a_body_that_look_like_a_record_are_not_taken_for_one() {
    let mut forged = Vec::new();
    let place = record::Place {
        lsn: 900,
        batch: 1,
        first: true,
        previous: None,
    };
    record::encode(&snapshot("victim", 9, "forged"), &place, 0, &mut forged);
    let disk = SimDisk::new(3);
    let journal = open(&disk);
    journal
        .commit_all(&[update("victim", 1, "true"), update("attacker", 1, forged)])
        .unwrap();
    journal.commit_all(&[update("attacker", 2, "x")]).unwrap();
    drop(journal);
    let mut contents = disk.contents();
    let bytes = contents.values_mut().next().unwrap();
    let name = bytes.windows(8).position(|window| window == b"attacker").unwrap();
    bytes[name] ^= 1;

    let journal = open(&SimDisk::with(&contents));

    assert_eq!(journal.load(&id("victim")).unwrap(), stored(None, &[(1, "true")]));
    assert!(journal.load(&id("attacker")).is_err());
}

#[test]
fn r8_what_a_failed_sync_left_on_the_disk_is_void() {
    let disk = SimDisk::new(3);
    let journal = open(&disk);
    journal.commit_all(&[update("a", 1, "one")]).unwrap();
    // Write, then sync: the second call fails, and the bytes are all there to be read.
    disk.fail(Fault::Once(2, ErrorKind::Other));
    assert!(
        journal
            .commit_all(&[update("a", 2, "void"), snapshot("a", 2, "void")])
            .is_err()
    );
    assert_eq!(journal.load(&id("a")).unwrap(), stored(None, &[(1, "one")]));

    journal.commit_all(&[update("a", 2, "two")]).unwrap();

    drop(journal);
    for reopen in [disk.kill(), disk.power_loss(1), disk.power_loss(2), disk.power_loss(3)] {
        let journal = open(&reopen);
        assert_eq!(journal.load(&id("a")).unwrap(), stored(None, &[(1, "one"), (2, "two")]));
        maintain_all(&journal, 1);
        assert_eq!(journal.load(&id("a")).unwrap(), stored(None, &[(1, "one"), (2, "two")]));
        assert_eq!(journal.status().damaged, 0);
    }
}

/// The length of the only segment, and where its records end.
fn length_and_end(disk: &SimDisk) -> (u64, u64) {
    let contents = disk.contents();
    let segments: Vec<_> = contents
        .iter()
        .filter(|(name, _)| segment::number_of(name).is_some())
        .collect();
    let [(_, bytes)] = segments[..] else {
        panic!("{} segments", segments.len())
    };
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (bytes.len() as u64, end as u64)
}

#[test]
fn r11_commits_go_into_zeros_that_are_there_and_a_segment_that_is_full_or_closed_ends_with_its_last_record() {
    let disk = SimDisk::new(3);
    let options = JournalOptions::default();
    let journal = Journal::open(Arc::new(disk.clone()), Path::new("j"), options.clone()).unwrap();
    let body = |seq: u64| vec![seq as u8 | 1; 100];
    let commit = |seq| journal.commit_all(&[update("a", seq, body(seq))]).unwrap();

    let mut lengths = std::collections::BTreeSet::new();
    for seq in 1..=600 {
        commit(seq);
        let (length, end) = length_and_end(&disk);
        assert!(length >= end && length - end <= 128 * 1024, "{length} {end}");
        lengths.insert(length);
    }
    assert_eq!(lengths.len(), 1, "600 commits of 100 bytes: {lengths:?}");

    for reopen in [disk.kill(), disk.power_loss(1)] {
        let journal = Journal::open(Arc::new(reopen.clone()), Path::new("j"), options.clone()).unwrap();
        assert_eq!(journal.load(&id("a")).unwrap().updates.len(), 600);
        journal.commit_all(&[update("a", 601, "more")]).unwrap();
        maintain_all(&journal, 1);
        let contents = reopen.contents();
        let (_, first) = contents
            .iter()
            .find(|(name, _)| segment::number_of(name) == Some(1))
            .expect("the first segment");
        assert_ne!(first.last(), Some(&0), "what a start leaves behind is cut");
        assert_eq!(
            (journal.status().damaged, journal.load(&id("a")).unwrap().updates.len()),
            (0, 601)
        );
    }

    journal.close().unwrap();
    let (length, end) = length_and_end(&disk);
    assert_eq!(length, end, "closed");
}

/// Of the first commit: create, header, folder, batch, zeros, sync.
const ZEROS: u64 = 5;

#[test]
fn r11_a_disk_that_has_no_room_for_zeros_has_room_for_the_batch() {
    let disk = SimDisk::new(3);
    let journal = open(&disk);
    disk.fail(Fault::Once(ZEROS, ErrorKind::StorageFull));

    journal.commit_all(&[update("a", 1, "one")]).unwrap();

    assert_eq!(disk.calls(), ZEROS + 1);
    journal.commit_all(&[update("a", 2, "two")]).unwrap();
    for reopen in [disk.kill(), disk.power_loss(1)] {
        let found = open(&reopen).load(&id("a")).unwrap();
        assert_eq!(found, stored(None, &[(1, "one"), (2, "two")]));
    }
}

#[test]
fn r11_zeros_that_fail_in_another_way_fail_the_batch_and_are_left_out_when_it_comes_again() {
    let disk = SimDisk::new(3);
    let journal = open(&disk);
    disk.fail(Fault::Once(ZEROS, ErrorKind::QuotaExceeded));
    let one = [update("a", 1, "one")];

    assert!(journal.commit_all(&one).is_err());
    journal.commit_all(&one).unwrap();

    let (length, end) = length_and_end(&disk);
    assert_eq!(length, end);
    let found = open(&disk.power_loss(1)).load(&id("a")).unwrap();
    assert_eq!(found, stored(None, &[(1, "one")]));
}

#[test]
fn r6_a_start_after_a_clean_stop_reads_hints_and_headers_only() {
    let disk = SimDisk::new(3);
    let journal = open(&disk);
    for seq in 1..=40 {
        journal.commit_all(&[update("a", seq, vec![1; 900])]).unwrap();
    }
    journal.close().unwrap();
    drop(journal);
    let segments = disk
        .contents()
        .keys()
        .filter(|name| segment::number_of(name).is_some())
        .count() as u64;
    assert!(segments > 4);

    disk.fail(Fault::None);
    let journal = open(&disk);

    // One list; per segment: open and read of the header, open and read of the hint.
    assert_eq!(disk.calls(), 1 + 4 * segments);
    assert_eq!(journal.load(&id("a")).unwrap().last_seq(), 40);
}

#[test]
fn r9_history_is_kept_as_long_as_the_options_say_and_no_longer() {
    let disk = SimDisk::new(3);
    let options = JournalOptions {
        retain_ms: 10_000,
        ..small()
    };
    let open = |disk: &SimDisk| Journal::open(Arc::new(disk.clone()), Path::new("j"), options.clone()).unwrap();
    let journal = open(&disk);
    for seq in 1..=60 {
        let mut batch = [
            update("a", seq, vec![seq as u8; 400]),
            snapshot("a", seq, vec![seq as u8; 100]),
        ];
        batch.iter_mut().for_each(|record| record.at_ms = seq * 100);
        journal.commit_all(&batch).unwrap();
    }
    let all = journal.status().disk_bytes;

    maintain_all(&journal, 9_000);
    let kept = journal.status().disk_bytes;
    drop(journal);
    let journal = open_with(&disk, 10_000);
    maintain_all(&journal, 9_000);
    let kept_after_a_start = journal.status().disk_bytes;
    maintain_all(&journal, 9_500);
    journal.commit_all(&[update("b", 1, vec![0; 5_000])]).unwrap();
    maintain_all(&journal, 30_000);
    let gone = journal.status().disk_bytes;

    assert!(kept > all * 9 / 10 - 8_000, "{kept} of {all}");
    assert!(
        kept_after_a_start > all * 9 / 10 - 8_000,
        "{kept_after_a_start} of {all}"
    );
    assert!(gone < all / 2, "{gone} of {all}");
    assert_eq!(journal.load(&id("a")).unwrap().last_seq(), 60);
}

#[test]
fn r7_a_folder_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let disk = || Arc::new(super::disk::FileDisk);
    let first = Journal::open(disk(), folder.path(), JournalOptions::default()).unwrap();

    let second = Journal::open(disk(), folder.path(), JournalOptions::default());

    let message = second.err().unwrap().to_string();
    assert!(message.contains("in use by another server"), "{message}");
    drop(first);
    assert!(Journal::open(disk(), folder.path(), JournalOptions::default()).is_ok());
}

#[test]
fn r6_ten_thousand_documents_open_and_list() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        Journal::open(
            Arc::new(super::disk::FileDisk),
            folder.path(),
            JournalOptions::default(),
        )
        .unwrap()
    };
    let journal = open();
    for chunk in 0..100 {
        let batch: Vec<Record> = (0..100)
            .map(|number| update(&format!("d{:05}", chunk * 100 + number), 1, "x"))
            .collect();
        journal.commit_all(&batch).unwrap();
    }
    journal.close().unwrap();
    drop(journal);

    let journal = open();

    assert_eq!(journal.status().documents, 10_000);
    assert_eq!(journal.list(Some(&id("d09998")), 10).unwrap().len(), 1);
    assert_eq!(journal.load(&id("d05000")).unwrap(), stored(None, &[(1, "x")]));
}

#[test]
fn r8_a_journal_takes_writes_however_often_it_was_started() {
    for (name, commits, upkeep, clean) in [
        ("killed after a commit", 1, 0, false),
        ("killed after several commits", 3, 0, false),
        ("killed after a commit and a step of upkeep", 1, 1, false),
        ("stopped after a commit", 1, 0, true),
        ("stopped after upkeep", 1, 100, true),
    ] {
        let mut disk = SimDisk::new(1);
        let mut seq = 0;
        let mut segments_max = 0;
        for start in 0..3 * segment::ENDS_MAX {
            let journal = open(&disk);
            for _ in 0..commits {
                seq += 1;
                let committed = journal.commit_all(&[update("d", seq, "x")]);
                committed.unwrap_or_else(|error| panic!("{name}, start {start}: {error}"));
            }
            for _ in 0..upkeep {
                journal.maintain(seq).unwrap();
            }
            segments_max = segments_max.max(journal.status().segments);
            if clean {
                journal.close().unwrap();
            }
            disk = disk.kill();
        }
        assert_eq!(open(&disk).load(&id("d")).unwrap().last_seq(), seq, "{name}");
    }
}

#[test]
fn r7_a_segment_that_was_cut_short_is_damage_with_and_without_its_hint() {
    let disk = SimDisk::new(3);
    let journal = open(&disk);
    let names: Vec<String> = (10..30).map(|number| format!("n{number}")).collect();
    for name in &names {
        journal.commit_all(&[update(name, 1, vec![7; 900])]).unwrap();
    }
    journal.close().unwrap();
    drop(journal);
    let contents = disk.contents();
    let (file_name, hint_name) = (segment::file_name(2), super::hint::file_name(2));
    let entries = super::hint::decode(&contents[&hint_name], 2).unwrap().entries;
    let next = super::hint::decode(&contents[&super::hint::file_name(3)], 3).unwrap();
    let next: Vec<Record> = next
        .entries
        .iter()
        .map(|entry| deleted(entry.document.as_str(), 1))
        .collect();
    assert!(entries.len() > 2 && contents.contains_key(&segment::file_name(4)));

    for (cut, whole) in [(0, 0), (HEADER_BYTES, 0), (entries[1].offset, 1)] {
        for hinted in [true, false] {
            let mut short = contents.clone();
            short.get_mut(&file_name).unwrap().truncate(cut as usize);
            if !hinted {
                short.remove(&hint_name);
            }
            let disk = SimDisk::with(&short);
            for start in 1..4 {
                let context = format!("cut at {cut}, hinted {hinted}, start {start}");
                let journal = open(&disk);
                for (place, entry) in entries.iter().enumerate() {
                    let damaged = matches!(journal.load(&entry.document), Err(StoreError::Damaged { .. }));
                    // Without a hint only the last record of a segment is remembered.
                    let known = hinted || place + 1 == entries.len();
                    assert_eq!(damaged, place >= whole && known, "{context}: {}", entry.document);
                }
                assert_eq!(journal.load(&id("n10")).unwrap().last_seq(), 1, "{context}");
                assert_eq!(journal.load(&id("n29")).unwrap().last_seq(), 1, "{context}");
                // Nothing of the next segment is needed any more but what its header says.
                journal.commit_all(&next).unwrap();
                maintain_all(&journal, start);
            }
        }
    }
}
