//! Numbers for the notes of a change: `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --lib measure -- --ignored
//! --nocapture`. Nothing is asserted about time.

use std::{
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Record, Store,
    contract::{id, snapshot, update},
    durable::{DurableStore, Options},
    journal::Shelved,
};

fn random(bytes: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn caught_up(store: &DurableStore) {
    while !store.read_side().caught_up() {
        store.maintain(1).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "measures and prints"]
fn measure_commits() {
    let folder = tempfile::tempdir_in(std::env::var("COWRITE_MEASURE").unwrap_or("/tmp".into())).unwrap();
    let store = DurableStore::open(folder.path(), Options::default()).unwrap();
    for (size, group) in [(100, 1), (100, 100), (30_000, 1), (30_000, 20)] {
        let rounds = 2_000 / group.min(20) + 100;
        let body = random(size, 5);
        let name = |number: usize| format!("d{size}-{group}-{number}");
        let started = Instant::now();
        for round in 1..=rounds {
            let batch: Vec<Record> = (0..group)
                .map(|number| update(&name(number), round as u64, body.clone()))
                .collect();
            store.commit_all(&batch).unwrap();
        }
        let took = started.elapsed();
        println!(
            "{size} bytes, {group} at once: {:.0} records/s, {:.0} µs per commit",
            (rounds * group) as f64 / took.as_secs_f64(),
            took.as_micros() as f64 / rounds as f64
        );
    }
}

#[test]
#[ignore = "measures and prints"]
fn measure_many_documents() {
    let folder = tempfile::tempdir_in(std::env::var("COWRITE_MEASURE").unwrap_or("/tmp".into())).unwrap();
    let store = DurableStore::open(folder.path(), Options::default()).unwrap();
    for chunk in 0..100_u64 {
        let batch: Vec<Record> = (0..1_000)
            .flat_map(|number| {
                let name = format!("team/documents/{:06}", chunk * 1_000 + number);
                [
                    update(&name, 1, random(60, number)),
                    snapshot(&name, 1, random(400, number)),
                    update(&name, 2, random(60, chunk)),
                ]
            })
            .collect();
        store.commit_all(&batch).unwrap();
        store.maintain(chunk).unwrap();
    }
    caught_up(&store);
    store.close().unwrap();
    drop(store);
    let before = rss_kib();
    let started = Instant::now();
    let journal = super::journal::Journal::open(
        std::sync::Arc::new(super::journal::disk::FileDisk),
        &folder.path().join("journal"),
        super::journal::JournalOptions::default(),
    )
    .unwrap();
    println!(
        "100,000 documents: journal opens in {:?}, {} KiB more",
        started.elapsed(),
        rss_kib() - before
    );
    drop(journal);
    let started = Instant::now();
    let store = DurableStore::open(folder.path(), Options::default()).unwrap();
    println!("journal and sled open in {:?}", started.elapsed());
    caught_up(&store);
    println!("sled is compared in {:?}", started.elapsed());
    let started = Instant::now();
    for number in 0..10_000 {
        assert_eq!(
            store
                .load(&id(&format!("team/documents/{:06}", number * 7)))
                .unwrap()
                .last_seq(),
            2
        );
    }
    println!("10,000 loads through sled in {:?}", started.elapsed());
    let started = Instant::now();
    for number in 0..10_000 {
        store
            .journal()
            .load(&id(&format!("team/documents/{:06}", number * 7)))
            .unwrap();
    }
    println!("10,000 loads from the journal alone in {:?}", started.elapsed());
    println!("{:?}", store.status());
}

#[test]
#[ignore = "measures and prints"]
fn measure_overwrites_and_a_large_snapshot() {
    let folder = tempfile::tempdir_in(std::env::var("COWRITE_MEASURE").unwrap_or("/tmp".into())).unwrap();
    let store = DurableStore::open(folder.path(), Options::default()).unwrap();
    let mut most = 0;
    for round in 1..=4_000_u64 {
        let name = format!("d{}", (round * 7_919) % 400);
        store
            .commit_all(&[snapshot(
                &name,
                round,
                random(200_000 + (round as usize * 37) % 100_000, round),
            )])
            .unwrap();
        while store.maintain(round).unwrap() {}
        if round > 800 && round % 20 == 0 {
            let status = store.status();
            most = most.max(status.disk_bytes * 100 / status.live_bytes);
        }
    }
    println!("most disk in use: {most} % of the live bytes");
    caught_up(&store);
    println!("{:?}, sled {}", store.status(), store.read_side().disk_bytes());
    let large = random(200 * 1024 * 1024, 1);
    let started = Instant::now();
    store.commit_all(&[snapshot("large", 1, large.clone())]).unwrap();
    println!("a snapshot of 200 MiB is durable in {:?}", started.elapsed());
    let started = Instant::now();
    caught_up(&store);
    println!("and in sled in {:?}", started.elapsed());
    let base = store.journal().base(&id("large")).unwrap();
    let started = Instant::now();
    println!(
        "sled has it: {} in {:?}",
        matches!(store.read_side().find(&id("large"), &base), Shelved::Found(_)),
        started.elapsed()
    );
    let started = Instant::now();
    assert!(store.load(&id("large")).unwrap().snapshot.unwrap().1 == large);
    println!("a load in {:?}", started.elapsed());
}

/// Alone in its process, or the memory that another test gave back hides it.
#[test]
#[ignore = "measures and prints"]
fn measure_memory_of_the_index() {
    use super::{
        journal::{index::Index, segment::Entry},
        record::Kind,
    };
    let before = rss_kib();
    let mut index = Index::default();
    index.segments.insert(1, Default::default());
    for number in 0..100_000 {
        let document = id(&format!("team/documents/{number:06}"));
        for (kind, seq) in [
            (Kind::Update, 1),
            (Kind::Snapshot, 1),
            (Kind::Update, 2),
            (Kind::Update, 3),
        ] {
            let lsn = number * 4 + seq;
            let entry = Entry {
                document: document.clone(),
                kind,
                seq,
                at_ms: 1,
                lsn,
                offset: lsn * 100,
                bytes: 100,
            };
            index.apply(1, &entry);
        }
    }
    println!(
        "{} documents in the index: {} KiB",
        index.documents.len(),
        rss_kib() - before
    );
}
