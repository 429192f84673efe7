//! Losing power at any moment, and again, loses nothing that was acknowledged.
//!
//! A life of a store is recorded (`recorder`): commits, upkeep, disks that refuse, kills and restarts. At a
//! random point the power goes; what the disk may look like then (`crash`) is laid out in a folder, opened with
//! the real recovery and compared with what was acknowledged, or shown to somebody after a start (`model`). The store lives on from there, and the
//! power goes again, three times in a row.
//!
//! `POWER_LOSSES=1000 cargo test --test powerloss` tries a thousand states; without it 120. `SEED` repeats a run.

#![expect(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod crash;
mod dice;
mod model;
mod recorder;

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use cowrite::store::{
    Record, Store,
    durable::{DurableStore, Options},
    journal::{Journal, JournalOptions, disk::Disk, segment::HEADER_BYTES},
};

use crash::{Files, power_loss};
use dice::Dice;
use model::Model;
use recorder::{Event, Recorder, journal};

/// Losses of power in a row.
const LIVES: usize = 3;

#[test]
fn losing_power_loses_nothing_that_was_acknowledged() {
    let states: usize = std::env::var("POWER_LOSSES").map_or(120, |text| text.parse().unwrap());
    let seed: u64 = std::env::var("SEED").map_or_else(
        |_| std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64 % 1_000_000_000,
        |text| text.parse().unwrap(),
    );
    println!("SEED={seed}, {states} states");
    let mut totals = Totals::default();
    let mut chain = 0;
    while totals.states < states {
        try_chain(seed + chain, &mut totals);
        chain += 1;
    }
    println!("{totals:?}");
    assert!(
        totals.acknowledged > states && totals.unsure_found > 0 && totals.unsure_lost > 0,
        "nothing happened"
    );
    assert!(
        totals.segments_deleted > 0 && totals.failures > 0 && totals.into_zeros > states,
        "too little happened"
    );
}

#[test]
fn a_disk_that_neither_writes_nor_removes_for_long_is_used_again_when_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(1);
    let recorder = Recorder::new([], dice.split());
    let mut model = Model::default();
    lay_out(&Files::new(), folder.path());
    let store = open(folder.path(), Arc::new(recorder.clone()), &mut dice);
    let records = model.batch(&mut dice, 1);
    model.hand(records.clone());

    recorder.stick(true);
    for _ in 0..400 {
        assert!(store.commit_all(&records).is_err());
    }
    recorder.stick(false);

    store.commit_all(&records).unwrap();
    model.acknowledge();
    model.check(&*store).unwrap();
    drop(store);
    let store = open(folder.path(), Arc::new(recorder), &mut dice);
    model.check(&*store).unwrap();
}

#[derive(Debug, Default)]
struct Totals {
    states: usize,
    acknowledged: usize,
    failures: usize,
    starts: usize,
    segments_deleted: usize,
    into_zeros: usize,
    unsure_found: usize,
    unsure_lost: usize,
}

/// One store, which loses power again and again.
fn try_chain(seed: u64, totals: &mut Totals) {
    let mut dice = Dice::new(seed);
    let mut files = Files::new();
    let mut model = Model::default();
    for life in 0..LIVES {
        let folder = tempfile::tempdir().unwrap();
        lay_out(&files, folder.path());
        let recorder = Recorder::new(files.keys().cloned(), dice.split());
        let events = live(folder.path(), &recorder, model.clone(), &mut dice, totals)
            .unwrap_or_else(|error| panic!("SEED={seed}, life {life}: {error}"));
        totals.segments_deleted += events
            .iter()
            .filter(|event| matches!(event, Event::Unlinked { name } if name.ends_with(".segment")))
            .count();

        totals.into_zeros += writes_into_zeros(&events);

        // Several ends of the same life, of which the last one is lived on from.
        for end in 0..4 {
            let until = if dice.roll(8) == 0 {
                events.len()
            } else {
                dice.below(events.len() + 1)
            };
            let survived = power_loss(&files, &events[..until], &mut dice);
            let mut known = model.clone().after(&events[..until]);
            let handed = known.unsure().len();
            let after = tempfile::tempdir().unwrap();
            lay_out(&survived, after.path());
            if until == events.len() {
                copy_sled(folder.path(), after.path());
            }
            let store = open(
                after.path(),
                Arc::new(Recorder::new(survived.keys().cloned(), dice.split())),
                &mut dice,
            );
            known.check(&*store).unwrap_or_else(|error| {
                let kept = after.keep();
                panic!(
                    "SEED={seed}, life {life}, end {end}, cut at {until} of {}: {error}; see {}",
                    events.len(),
                    kept.display()
                )
            });
            totals.states += 1;
            totals.unsure_found += known.unsure().len();
            totals.unsure_lost += handed - known.unsure().len();
            drop(store);
            if end == 3 {
                files = survived;
                model = known;
            }
        }
    }
}

/// Writes that made no file longer.
fn writes_into_zeros(events: &[Event]) -> usize {
    let mut lengths = BTreeMap::new();
    let mut count = 0;
    for event in events {
        match event {
            Event::Wrote { file, at, bytes } => {
                let length = lengths.entry(file).or_insert(0);
                count += usize::from(at + bytes.len() <= *length);
                *length = (at + bytes.len()).max(*length);
            }
            Event::Truncated { file, bytes } => {
                lengths.insert(file, *bytes);
            }
            _ => {}
        }
    }
    count
}

/// Writes, keeps house, fails, is killed; answers what happened.
fn live(
    folder: &Path,
    recorder: &Recorder,
    mut model: Model,
    dice: &mut Dice,
    totals: &mut Totals,
) -> Result<Vec<Event>, String> {
    let mut store = reopen(folder, recorder, &mut model, dice, totals)?;
    let brittle = dice.roll(3) == 0;
    let mut now_ms = 1_000;
    for _ in 0..10 + dice.roll(60) {
        now_ms += dice.roll(500);
        match dice.roll(10) {
            0..6 => {
                // What was handed over and found after a start is the store's; the writer hands over what is new.
                let records = model.batch(dice, now_ms);
                model.hand(records.clone());
                recorder.note(Event::Committing(model.unsure().to_vec()));
                recorder.fail(if brittle { 12 } else { 0 });
                let committed = commit(&*store, &records, dice, totals)?;
                recorder.fail(0);
                if committed {
                    recorder.note(Event::Acknowledged);
                    model.acknowledge();
                    totals.acknowledged += records.len();
                } else {
                    drop(store);
                    store = reopen(folder, recorder, &mut model, dice, totals)?;
                }
            }
            6..9 => {
                recorder.fail(if brittle { 12 } else { 0 });
                for _ in 0..dice.roll(12) {
                    // A step that fails is tried again later.
                    let _ = store.maintain(now_ms);
                }
                recorder.fail(0);
            }
            _ => {
                if dice.roll(3) == 0 {
                    store.close().map_err(|error| error.to_string())?;
                }
                drop(store);
                store = reopen(folder, recorder, &mut model, dice, totals)?;
            }
        }
        model.check(&*store)?;
    }
    assert!(model.acknowledged() > 0, "nothing happened");
    Ok(recorder.take_events())
}

/// Commits as the writer does, again until it worked; false when the process was killed in between.
fn commit(store: &dyn Store, records: &[Record], dice: &mut Dice, totals: &mut Totals) -> Result<bool, String> {
    for _ in 0..1_000 {
        match store.commit_all(records) {
            Ok(()) => return Ok(true),
            Err(_) => totals.failures += 1,
        }
        if dice.roll(4) == 0 {
            return Ok(false);
        }
    }
    Err("it never recovers".to_owned())
}

fn reopen(
    folder: &Path,
    recorder: &Recorder,
    model: &mut Model,
    dice: &mut Dice,
    totals: &mut Totals,
) -> Result<Box<dyn Store>, String> {
    totals.starts += 1;
    let store = open(folder, Arc::new(recorder.clone()), dice);
    model.check(&*store)?;
    recorder.note(Event::Reopened(model.unsure().to_vec()));
    model.acknowledge();
    Ok(store)
}

fn open(folder: &Path, disk: Arc<dyn Disk>, dice: &mut Dice) -> Box<dyn Store> {
    let options = JournalOptions {
        segment_bytes: HEADER_BYTES + 12_000,
        segment_bytes_min: HEADER_BYTES + 4_000,
        step_bytes: 3_000,
        retain_ms: if dice.roll(4) == 0 { 5_000 } else { 0 },
        ..JournalOptions::default()
    };
    // Opening sled takes longer than all the rest: most do without.
    if dice.roll(8) == 0 {
        let options = Options {
            journal: options,
            ..Options::default()
        };
        Box::new(DurableStore::open_on(disk, folder, options).unwrap())
    } else {
        Box::new(Journal::open(disk, &journal(folder), options).unwrap())
    }
}

fn lay_out(files: &Files, folder: &Path) {
    fs::create_dir_all(journal(folder)).unwrap();
    for (name, bytes) in files {
        fs::write(journal(folder).join(name), bytes).unwrap();
    }
}

/// A sled as it was when the power went, as far as it is synced.
fn copy_sled(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if !name.to_str().unwrap().starts_with("sled-") {
            continue;
        }
        copy_folder(&entry.path(), &to.join(name));
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
