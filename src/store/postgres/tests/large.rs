//! What is large: one statement does not hold it, or its time is short.

use super::*;
use crate::store::Body;
use crate::store::postgres::plan::{PART_BYTES, groups, parts};

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|index| (index / 1_000) as u8 ^ seed).collect()
}

#[test]
fn r27_the_time_limit_grows_with_the_bytes() {
    let url = DatabaseUrl::parse("postgres://nobody@localhost/nothing").unwrap();
    let links = links(&url);

    assert_eq!(links.limit_for(0), LIMIT);
    assert_eq!(links.limit_for(30_000_000), LIMIT + Duration::from_secs(30));
}

#[test]
#[ignore = "needs a database"]
fn r27_a_document_that_takes_longer_than_the_limit_for_nothing_is_written_and_read() {
    let (_folder, wire, store) = behind_a_wire(Duration::from_secs(1));
    let holder = holder();
    store.take(&id("a"), holder).unwrap();
    let body = bytes(6_000_000, 7);
    wire.fault(Fault::Thin, true);

    // Two seconds for its bytes alone.
    until_taken(&store, &[of(holder, snapshot("a", 1, body.clone()))]);
    until_taken(&store, &[of(holder, update("a", 2, body.clone()))]);

    let expected = StoredDocument {
        snapshot: Some((1, body.clone().into())),
        updates: vec![(2, body.into())],
    };
    let end = Instant::now() + Duration::from_secs(60);
    for read in [
        |store: &PostgresStore| store.load(&id("a")),
        |store: &PostgresStore| store.take(&id("a"), self::holder()),
    ] {
        let found = loop {
            match read(&store) {
                Ok(found) => break found,
                Err(error) => assert!(Instant::now() < end, "it is never read: {error}"),
            }
        };
        assert!(found == expected);
    }
}

#[test]
fn r27_of_each_document_a_part_goes_at_a_time() {
    let half = vec![0; PART_BYTES / 2];
    let large = vec![0; PART_BYTES + 1];
    let records = [
        update("a", 1, half.clone()),
        update("b", 1, "one"),
        update("a", 2, half.clone()),
        update("a", 3, "three"),
        update("a", 4, large.clone()),
        update("a", 5, ""),
        snapshot("b", 9, large),
    ];

    let parts = parts(groups(&records));

    let seqs: Vec<Vec<(&str, Vec<u64>)>> = parts
        .iter()
        .map(|part| {
            let seqs = |group: &plan::Group| group.records.iter().map(|record| record.seq).collect();
            part.iter()
                .map(|group| (group.document.as_str(), seqs(group)))
                .collect()
        })
        .collect();
    assert_eq!(
        seqs,
        [
            vec![("a", vec![1, 2]), ("b", vec![1])],
            vec![("a", vec![3]), ("b", vec![9])],
            vec![("a", vec![4])],
            vec![("a", vec![5])],
        ]
    );
}

/// By hand, for more than a gigabyte: `LARGE=30 scripts/with-postgres cargo test ... r27_what_is_larger`.
#[test]
#[ignore = "needs a database"]
fn r27_what_is_larger_than_a_statement_goes_in_parts() {
    let (folder, times) = (tempfile::tempdir().unwrap(), std::env::var("LARGE"));
    let times = times.map_or(1, |times| times.parse::<usize>().unwrap());
    let (store, url) = (open(folder.path()), made(folder.path()));
    let holder = holder();
    store.take(&id("a"), holder).unwrap();
    let large = bytes(PART_BYTES * times + PART_BYTES / 4, 1);
    let update = |seq: u64| update("a", seq, bytes(PART_BYTES / 3 * 2, seq as u8));
    let batch = [
        of(holder, update(1)),
        of(holder, snapshot("a", 1, large.clone())),
        of(holder, update(2)),
        of(holder, update(3)),
    ];

    store.commit_all(&batch).unwrap();
    // As after an answer that was lost.
    store.commit_all(&batch).unwrap();

    let bodies = |record: Record| match record.body {
        Body::Update(body) => (record.seq, body),
        _ => unreachable!(),
    };
    let expected = StoredDocument {
        snapshot: Some((1, large.clone().into())),
        updates: [2, 3].map(|seq| bodies(update(seq))).to_vec(),
    };
    assert!(store.load(&id("a")).unwrap() == expected);
    // A gap behind what is large, and another holder's, hold up nothing, and nothing follows on them.
    let refusals = store.commit(&[of(holder, update(5)), of(holder, update(6))]).unwrap();
    assert_eq!(refusals.iter().count(), 1);
    let late = of(self::holder(), snapshot("a", 3, large));
    assert_eq!(store.commit(&[late]).unwrap().iter().count(), 1);
    assert!(store.load(&id("a")).unwrap() == expected);
    assert_eq!(number(&url, "select last_seq from cowrite_document"), 3);
    // It can be superseded, and its pieces go.
    store.commit_all(&[of(holder, snapshot("a", 3, "small"))]).unwrap();
    assert_eq!(store.load(&id("a")).unwrap(), stored(Some((3, "small")), &[]));
}
