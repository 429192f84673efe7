//! Against a real Postgres, which `scripts/with-postgres` starts and `TEST_POSTGRES` names.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::atomic::{AtomicU64, AtomicUsize},
    thread,
};

use super::*;
use crate::store::{
    EMPTY_UPDATE, Refusal,
    contract::{holder, id, snapshot, stored, update},
    orders::Orders,
};

mod large;
mod nodes;
mod outages;

fn server() -> String {
    std::env::var("TEST_POSTGRES").expect("run by scripts/with-postgres")
}

fn schema_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap().to_string_lossy();
    name.bytes()
        .fold("t".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

/// The URL of a schema of its own for a folder, on the server or a link to it. (PgBouncer takes no `options`.)
fn url_of(server: &str, folder: &Path) -> DatabaseUrl {
    if std::env::var("TEST_POSTGRES_DATABASES").is_ok() {
        let (base, _) = server.rsplit_once('/').unwrap();
        return DatabaseUrl::parse(&format!("{base}/{}", schema_of(folder))).unwrap();
    }
    DatabaseUrl::parse(&format!("{server}?options=-csearch_path%3D{}", schema_of(folder))).unwrap()
}

fn links(url: &DatabaseUrl) -> Links {
    Links::new(url, 1, 1, LIMIT).unwrap()
}

/// Runs SQL as whoever owns the server.
fn sql(url: &DatabaseUrl, text: &str) -> Result<(), StoreError> {
    let (links, text) = (links(url), text.to_owned());
    engine().unwrap().run(async move {
        let link = links.other().await.map_err(|trouble| links.error("reach", trouble))?;
        let tried = links.limited(link.batch_execute(&text)).await;
        links
            .settle(link, tried)
            .map_err(|trouble| links.error("run SQL in", trouble))
    })
}

/// One number.
fn number(url: &DatabaseUrl, text: &str) -> i64 {
    let (links, text) = (links(url), text.to_owned());
    let found = engine().unwrap().run(async move {
        let link = links.other().await.map_err(|trouble| links.error("reach", trouble))?;
        let tried = links.limited(link.query_one(&text, &[])).await;
        links.settle(link, tried).map_err(|trouble| links.error("ask", trouble))
    });
    found.unwrap().get(0)
}

fn made(folder: &Path) -> DatabaseUrl {
    let (url, name) = (url_of(&server(), folder), schema_of(folder));
    let direct = DatabaseUrl::parse(&std::env::var("TEST_POSTGRES_DIRECT").unwrap()).unwrap();
    // It is there when the folder is opened again.
    if std::env::var("TEST_POSTGRES_DATABASES").is_ok() {
        let _ = sql(&direct, &format!("create database {name}"));
    } else {
        sql(&direct, &format!("create schema if not exists {name}")).unwrap();
    }
    match prepare(&url, Tables::Missing) {
        Ok(_) | Err(StoreError::Unusable(_)) => url,
        Err(error) => panic!("{error}"),
    }
}

fn options() -> Options {
    Options {
        status_every: Duration::ZERO,
        ..Options::default()
    }
}

pub(crate) fn open(folder: &Path) -> PostgresStore {
    PostgresStore::open(&made(folder), options()).unwrap()
}

crate::store::contract::contract!(@ [#[ignore = "needs a database"]] open);
crate::store::contract::contract_of_nodes!(@ [#[ignore = "needs a database"]] open);

/// What a link does with what passes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None = 0,
    /// What the client says is not passed on, and the connection ends.
    Cut,
    /// What the client says is passed on; the answer is not, and the connection ends.
    Swallow,
    /// What the client says is passed on later, also when the client has gone by then.
    Hold,
    /// Both sides are slow.
    Slow,
    /// Both sides carry [`THIN`] bytes in a second.
    Thin,
    /// Nothing comes any more, and nobody is told.
    Gone,
}

const HOLD: Duration = Duration::from_millis(1_500);
const SLOW: Duration = Duration::from_millis(40);
const THIN: f64 = 3_000_000.0;

fn thin(count: usize) {
    thread::sleep(Duration::from_secs_f64(count as f64 / THIN));
}

/// A TCP link to the database. A fault is of the client's next words, and of all when it stays.
struct Wire {
    port: u16,
    control: Arc<Control>,
}

#[derive(Default)]
struct Control {
    fault: AtomicU64,
    stays: AtomicBool,
    /// Faults that happened.
    happened: AtomicUsize,
}

impl Control {
    fn fault(&self) -> Fault {
        match self.fault.load(Ordering::SeqCst) {
            1 => Fault::Cut,
            2 => Fault::Swallow,
            3 => Fault::Hold,
            4 => Fault::Slow,
            5 => Fault::Thin,
            6 => Fault::Gone,
            _ => Fault::None,
        }
    }

    /// The fault of the words that come now.
    fn next(&self) -> Fault {
        let fault = self.fault();
        if fault != Fault::None {
            self.happened.fetch_add(1, Ordering::SeqCst);
            if !self.stays.load(Ordering::SeqCst) {
                self.fault.store(0, Ordering::SeqCst);
            }
        }
        fault
    }
}

impl Wire {
    fn to(server: &str) -> Self {
        let address = server.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let control = Arc::<Control>::default();
        let controls = control.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(database) = TcpStream::connect(&address) else {
                    continue;
                };
                for stream in [&client, &database] {
                    stream.set_nodelay(true).unwrap();
                }
                let loses = Arc::new(AtomicBool::new(false));
                let there = (client.try_clone().unwrap(), database.try_clone().unwrap());
                let (control, lost) = (controls.clone(), loses.clone());
                thread::spawn(move || forth(there, &control, &lost));
                let control = controls.clone();
                thread::spawn(move || back((client, database), &control, &loses));
            }
        });
        Self { port, control }
    }

    fn url(&self, folder: &Path) -> DatabaseUrl {
        url_of(&format!("postgres://cowrite@127.0.0.1:{}/postgres", self.port), folder)
    }

    fn fault(&self, fault: Fault, stays: bool) {
        self.control.stays.store(stays, Ordering::SeqCst);
        self.control.fault.store(fault as u64, Ordering::SeqCst);
    }
}

fn forth((mut client, mut database): (TcpStream, TcpStream), control: &Control, loses: &AtomicBool) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        match control.next() {
            Fault::None => {}
            Fault::Cut => break,
            Fault::Swallow => loses.store(true, Ordering::SeqCst),
            Fault::Hold => thread::sleep(HOLD),
            Fault::Slow => thread::sleep(SLOW),
            Fault::Thin => thin(count),
            Fault::Gone => loop {
                thread::park();
            },
        }
        if database.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = database.shutdown(Shutdown::Write);
}

fn back((mut client, mut database): (TcpStream, TcpStream), control: &Control, loses: &AtomicBool) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count @ 1..) = database.read(&mut buffer) {
        if loses.load(Ordering::SeqCst) {
            break;
        }
        match control.fault() {
            Fault::Slow => thread::sleep(SLOW),
            Fault::Thin => thin(count),
            _ => {}
        }
        if client.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = database.shutdown(Shutdown::Both);
}

fn of(holder: Holder, record: Record) -> Record {
    Record {
        holder: Some(holder),
        ..record
    }
}

/// A store behind a link that nothing else uses, with its folder.
fn behind_a_wire(limit: Duration) -> (tempfile::TempDir, Wire, PostgresStore) {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path());
    let wire = Wire::to(&server());
    let options = Options { limit, ..options() };
    let store = PostgresStore::open(&wire.url(folder.path()), options).unwrap();
    (folder, wire, store)
}

/// Commits until that worked, as the writer does; what was tried once is tried again with more behind it.
fn until_taken(store: &PostgresStore, records: &[Record]) -> usize {
    let end = Instant::now() + Duration::from_secs(60);
    for tries in 1.. {
        match store.commit(records) {
            Ok(refusals) => {
                assert!(refusals.is_empty(), "{refusals:?}");
                return tries;
            }
            Err(error @ StoreError::Io { .. }) => {
                assert!(Instant::now() < end, "it never works again: {error}");
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

#[test]
#[ignore = "needs a database"]
fn r14_whatever_is_lost_on_the_way_of_each_commit_nothing_is_doubled() {
    let (_folder, wire, store) = behind_a_wire(LIMIT);
    let holders = [holder(), holder()];
    let names = ["a", "b"];
    for (name, holder) in names.iter().zip(holders) {
        store.take(&id(name), holder).unwrap();
    }
    let (mut seq, mut again) = (0, 0);
    for round in 0..60_u64 {
        let mut batch = Vec::new();
        for _ in 0..=round % 3 {
            seq += 1;
            for (name, holder) in names.iter().zip(holders) {
                batch.push(of(holder, update(name, seq, format!("{name}{seq}"))));
            }
        }
        if round % 7 == 6 {
            batch.push(of(holders[0], snapshot("a", seq, format!("s{seq}"))));
        }
        let fault = [Fault::Swallow, Fault::Cut, Fault::None][round as usize % 3];
        wire.fault(fault, false);
        let first = store.commit(&batch);
        // The beat shares the link, and may have had the fault.
        if first.is_err() {
            seq += 1;
            let more = names.iter().zip(holders);
            batch.extend(more.map(|(name, holder)| of(holder, update(name, seq, format!("{name}{seq}")))));
        }
        again += usize::from(first.is_err());
        until_taken(&store, &batch);
    }
    wire.fault(Fault::None, false);

    assert!(again > 20, "only {again} commits failed");
    let b = store.load(&id("b")).unwrap();
    let expected: Vec<_> = (1..=seq).map(|seq| (seq, format!("b{seq}").into())).collect();
    assert_eq!(b.updates, expected);
    let a = store.load(&id("a")).unwrap();
    let (base, _) = a.snapshot.clone().unwrap();
    let expected: Vec<_> = (base + 1..=seq).map(|seq| (seq, format!("a{seq}").into())).collect();
    assert_eq!(a.updates, expected);
}

#[test]
#[ignore = "needs a database"]
fn r14_a_try_that_arrives_after_the_next_one_changes_nothing() {
    let (folder, wire, store) = behind_a_wire(HOLD / 3);
    let holder = holder();
    store.take(&id("a"), holder).unwrap();
    store.commit_all(&[of(holder, update("a", 1, "1"))]).unwrap();
    for seq in 2..5 {
        wire.fault(Fault::Hold, false);
        let mut batch = vec![of(holder, update("a", seq * 2 - 2, "x"))];
        let late = store.commit(&batch);
        batch.push(of(holder, update("a", seq * 2 - 1, "y")));

        until_taken(&store, &batch);

        // The beat may have been held instead.
        drop(late);
        thread::sleep(HOLD);
        let found = store.load(&id("a")).unwrap();
        assert_eq!(found.last_seq(), seq * 2 - 1);
        assert_eq!(found.updates.len() as u64, seq * 2 - 1);
    }
    assert!(wire.control.happened.load(Ordering::SeqCst) >= 3);
    // Nor is anything counted twice.
    let url = url_of(&server(), folder.path());
    let each = 1 + crate::store::record::FIXED_BYTES as i64;
    assert_eq!(number(&url, "select live_bytes from cowrite_document"), 7 * each);
}

#[test]
#[ignore = "needs a database"]
fn r18_while_the_database_is_away_nothing_is_acknowledged_and_then_it_goes_on() {
    let (_folder, wire, store) = behind_a_wire(LIMIT);
    let holder = holder();
    store.take(&id("a"), holder).unwrap();
    store.commit_all(&[of(holder, update("a", 1, "one"))]).unwrap();

    wire.fault(Fault::Cut, true);
    let batch = [of(holder, update("a", 2, "two"))];
    for _ in 0..3 {
        assert!(matches!(store.commit(&batch), Err(StoreError::Io { .. })));
        assert!(matches!(store.load(&id("a")), Err(StoreError::Io { .. })));
        assert!(matches!(store.take(&id("b"), holder), Err(StoreError::Io { .. })));
    }
    wire.fault(Fault::None, false);

    until_taken(&store, &batch);
    assert_eq!(store.load(&id("a")).unwrap(), stored(None, &[(1, "one"), (2, "two")]));
}

#[test]
#[ignore = "needs a database"]
fn r18_a_database_that_came_back_with_less_takes_nothing_that_does_not_follow() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = (open(folder.path()), made(folder.path()));
    let holder = holder();
    store.take(&id("a"), holder).unwrap();
    let records: Vec<Record> = (1..=5).map(|seq| of(holder, update("a", seq, "x"))).collect();
    store.commit_all(&records).unwrap();
    // As a standby that lagged when it took over.
    sql(
        &url,
        "delete from cowrite_record where seq > 3; update cowrite_document set last_seq = 3",
    )
    .unwrap();

    let refusals = store.commit(&[of(holder, update("a", 6, "six"))]).unwrap();

    assert_eq!(refusals.iter().count(), 1);
    assert_eq!(store.load(&id("a")).unwrap().last_seq(), 3);
    // A repetition of what was lost follows.
    store.commit_all(&records[3..]).unwrap();
    assert_eq!(store.load(&id("a")).unwrap().last_seq(), 5);
}

#[test]
#[ignore = "needs a database"]
fn r18_a_slow_database_is_waited_for() {
    let (_folder, wire, store) = behind_a_wire(LIMIT);
    let holder = holder();
    wire.fault(Fault::Slow, true);

    store.take(&id("a"), holder).unwrap();
    for seq in 1..=5 {
        store.commit_all(&[of(holder, update("a", seq, "x"))]).unwrap();
    }

    assert_eq!(store.load(&id("a")).unwrap().last_seq(), 5);
}

#[test]
#[ignore = "needs a database"]
fn r12_a_node_that_was_cut_off_is_refused_when_another_has_taken_its_documents() {
    let (folder, wire, one) = behind_a_wire(LIMIT);
    let url = url_of(&server(), folder.path());
    let two = PostgresStore::open(&url, options()).unwrap();
    let (old, new) = (holder(), holder());
    for name in ["a", "b"] {
        one.take(&id(name), old).unwrap();
        one.commit_all(&[of(old, update(name, 1, "one"))]).unwrap();
    }
    assert!(matches!(two.take(&id("a"), new), Err(StoreError::Elsewhere { node, .. }) if node == one.node()));

    wire.fault(Fault::Cut, true);
    let late = [of(old, update("a", 2, "late")), of(old, update("b", 2, "good"))];
    assert!(one.commit(&late).is_err());
    // It is dead after five seconds: sooner here.
    let dead = format!(
        "update cowrite_node set seen = seen - interval '1 min' where id = '{}'",
        one.node()
    );
    sql(&url, &dead).unwrap();
    assert_eq!(two.take(&id("a"), new).unwrap().last_seq(), 1);
    two.commit_all(&[of(new, update("a", 2, "two"))]).unwrap();
    wire.fault(Fault::None, false);

    let refusals = loop {
        if let Ok(refusals) = one.commit(&late) {
            break refusals;
        }
    };
    let refused: Vec<Refusal> = refusals.into_iter().collect();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].document.as_str(), refused[0].holder), ("a", Some(old)));
    assert_eq!(two.load(&id("a")).unwrap(), stored(None, &[(1, "one"), (2, "two")]));
    assert_eq!(two.load(&id("b")).unwrap(), stored(None, &[(1, "one"), (2, "good")]));
}

#[test]
#[ignore = "needs a database"]
fn r19_what_rots_is_never_returned_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = (open(folder.path()), made(folder.path()));
    let holder = holder();
    let names = ["flipped", "cut", "gap", "behind", "good"];
    for name in names {
        store.take(&id(name), holder).unwrap();
        let records = [
            snapshot(name, 1, vec![7; 3 << 20]),
            update(name, 2, "two"),
            update(name, 3, "three"),
        ];
        store.commit_all(&records.map(|record| of(holder, record))).unwrap();
    }
    let of_document = |name: &str| format!("document = (select id from cowrite_document where name = '{name}')");
    let rot = [
        format!(
            "update cowrite_record set body = 'twa' where seq = 2 and {}",
            of_document("flipped")
        ),
        format!(
            "delete from cowrite_snapshot where piece = 1 and {}",
            of_document("cut")
        ),
        format!("delete from cowrite_record where seq = 2 and {}", of_document("gap")),
        format!("delete from cowrite_record where seq = 3 and {}", of_document("behind")),
    ];
    sql(&url, &rot.join(";")).unwrap();

    for name in &names[..4] {
        let error = store.load(&id(name)).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{name}: {error}");
    }
    assert_eq!(store.load(&id("good")).unwrap().last_seq(), 3);
    store.maintain(0).unwrap();
    assert_eq!(store.status().damaged, 4);
    // A snapshot heals it.
    store.commit_all(&[of(holder, snapshot("gap", 3, "healed"))]).unwrap();
    assert_eq!(store.load(&id("gap")).unwrap(), stored(Some((3, "healed")), &[]));
    // One of before what is damaged does not.
    let second = format!(
        "update cowrite_record set body = 'tri' where seq = 3 and {}",
        of_document("good")
    );
    sql(&url, &second).unwrap();
    assert!(store.load(&id("good")).is_err());
    store.commit_all(&[of(holder, snapshot("good", 2, "half"))]).unwrap();
    store.maintain(0).unwrap();
    assert_eq!(store.status().damaged, 4);
}

/// A document with a snapshot and three updates behind it, in which something has rotted.
fn rotten(store: &PostgresStore, url: &DatabaseUrl, name: &str, rot: &str) {
    let holder = holder();
    store.take(&id(name), holder).unwrap();
    let records = [
        update(name, 1, "superseded"),
        snapshot(name, 1, "one"),
        update(name, 2, "two"),
        update(name, 3, "three"),
    ];
    store.commit_all(&records.map(|record| of(holder, record))).unwrap();
    store.release(&id(name), holder, None).unwrap();
    let document = format!("(select id from cowrite_document where name = '{name}')");
    sql(url, &rot.replace("THIS", &document)).unwrap();
}

/// What rots, and how a person puts it right.
const ROT: [[&str; 2]; 3] = [
    [
        "update cowrite_record set body = 'twa' where seq = 2 and document = THIS",
        "update cowrite_record set body = 'two' where seq = 2 and document = THIS",
    ],
    [
        "update cowrite_snapshot set pieces = 2 where document = THIS",
        "update cowrite_snapshot set pieces = 1 where document = THIS",
    ],
    [
        "update cowrite_document set last_seq = 1 where id = THIS",
        "update cowrite_document set last_seq = 3 where id = THIS",
    ],
];

#[test]
#[ignore = "needs a database"]
fn r19_whoever_takes_a_damaged_document_can_heal_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = (open(folder.path()), made(folder.path()));
    for (number, [rot, _]) in ROT.into_iter().enumerate() {
        for heal in ["deletion", "snapshot"] {
            let (name, holder) = (format!("{heal}{number}"), holder());
            rotten(&store, &url, &name, rot);
            let taken = store.take(&id(&name), holder);
            assert!(matches!(taken, Err(StoreError::Damaged { .. })), "{name}: {taken:?}");
            let last = store.list(None, 100).unwrap();
            let last = last.iter().find(|entry| entry.document.as_str() == name).unwrap();
            let (seq, text) = (last.last_seq + 1, heal.to_owned());
            let (heals, expected) = match heal {
                "deletion" => (crate::store::contract::deleted(&name, seq), EMPTY_UPDATE),
                _ => (snapshot(&name, seq, text.clone()), text.into()),
            };

            store.commit_all(&[of(holder, heals)]).unwrap();

            assert_eq!(
                store.load(&id(&name)).unwrap().snapshot,
                Some((seq, expected)),
                "{name}"
            );
            let next = update(&name, seq + 1, "next");
            store.commit_all(&[of(holder, next)]).unwrap();
            store.release(&id(&name), holder, None).unwrap();
            assert_eq!(
                store.take(&id(&name), self::holder()).unwrap().last_seq(),
                seq + 1,
                "{name}"
            );
        }
    }
    store.maintain(0).unwrap();
    assert_eq!(store.status().damaged, 0);
}

#[test]
#[ignore = "needs a database"]
fn r19_a_document_whose_rows_were_put_right_is_damaged_no_more_and_nothing_of_it_went_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = (open(folder.path()), made(folder.path()));
    for (index, [rot, right]) in ROT.into_iter().enumerate() {
        let name = format!("d{index}");
        rotten(&store, &url, &name, rot);
        assert!(store.load(&id(&name)).is_err());
        sql(&url, "update cowrite_trim set after = after - interval '61 s'").unwrap();
        store.maintain(0).unwrap();
        assert_eq!(store.status().damaged, 1);
        assert_eq!(number_of_records(&url, &name), 3);
        let document = format!("(select id from cowrite_document where name = '{name}')");
        sql(&url, &right.replace("THIS", &document)).unwrap();

        let found = store.load(&id(&name)).unwrap();

        assert_eq!(found, stored(Some((1, "one")), &[(2, "two"), (3, "three")]));
        store.maintain(0).unwrap();
        assert_eq!(store.status().damaged, 0);
        assert_eq!(
            number(&url, "select count(*) from cowrite_trim"),
            0,
            "what had to wait is gone"
        );
    }
}

fn number_of_records(url: &DatabaseUrl, name: &str) -> i64 {
    let records = format!(
        "select count(*) from cowrite_record r join cowrite_document d on d.id = r.document where d.name = '{name}'"
    );
    number(url, &records)
}

#[test]
#[ignore = "needs a database"]
fn r19_a_record_that_is_there_where_none_can_be_hides_none() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = (open(folder.path()), made(folder.path()));
    let holder = holder();
    store.take(&id("a"), holder).unwrap();
    store.commit_all(&[of(holder, update("a", 1, "one"))]).unwrap();
    let stray = "insert into cowrite_record select document, 2, holder, at_ms, crc, authors, body from cowrite_record";
    sql(&url, stray).unwrap();

    store.commit_all(&[of(holder, update("a", 2, "two"))]).unwrap();

    assert_eq!(store.load(&id("a")).unwrap(), stored(None, &[(1, "one"), (2, "two")]));
}

#[test]
#[ignore = "needs a database"]
fn r21_what_was_superseded_goes_also_where_nobody_can_count() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = (open(folder.path()), made(folder.path()));
    let holder = holder();
    store.take(&id("a"), holder).unwrap();
    let records = [update("a", 1, "one"), snapshot("a", 1, "one")];
    store.commit_all(&records.map(|record| of(holder, record))).unwrap();
    let late = "update cowrite_trim set after = after - interval '61 s'";
    sql(&url, late).unwrap();
    // The counts are of this column, too.
    sql(&url, "alter table cowrite_document rename live_bytes to nowhere").unwrap();

    store.maintain(0).unwrap();

    assert_eq!(number(&url, "select count(*) from cowrite_record"), 0);
}

#[test]
#[ignore = "needs a database"]
fn r28_many_documents_are_released_with_few_words() {
    let (folder, wire, store) = behind_a_wire(LIMIT);
    let url = url_of(&server(), folder.path());
    let releases: Vec<Release> = (0..300)
        .map(|number| Release {
            document: id(&format!("d{number}")),
            holder: holder(),
            next: (number % 3 == 2).then(|| store.node()),
        })
        .collect();
    for (number, Release { document, holder, .. }) in releases.iter().enumerate() {
        store.take(document, *holder).unwrap();
        if number % 3 > 0 {
            store
                .commit_all(&[of(*holder, update(document.as_str(), 1, "one"))])
                .unwrap();
        }
    }
    // One of them is somebody else's by now.
    let other = holder();
    store.take(&releases[1].document, other).unwrap();
    wire.fault(Fault::Slow, true);
    let before = wire.control.happened.load(Ordering::SeqCst);

    store.release_all(&releases).unwrap();

    // The beat speaks meanwhile, too.
    let words = wire.control.happened.load(Ordering::SeqCst) - before;
    assert!(words < 60, "{words}");
    wire.fault(Fault::None, false);
    let count = |which: &str| number(&url, &format!("select count(*) from cowrite_document where {which}"));
    assert_eq!(count("true"), 200, "to which nobody wrote is gone");
    assert_eq!(count("holder is not null"), 1);
    assert_eq!(count("holder is null and node is not null"), 100);
    store
        .commit_all(&[of(other, update(releases[1].document.as_str(), 2, "two"))])
        .unwrap();
}

#[test]
#[ignore = "needs a database"]
fn r20_tables_are_made_once_and_upgraded_and_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let url = made(folder.path());
    let unusable = |opened: Result<PostgresStore, StoreError>, word: &str| {
        let said = opened.err().unwrap().to_string();
        assert!(said.contains(word), "{said}");
    };
    assert!(
        prepare(&url, Tables::Missing)
            .unwrap_err()
            .to_string()
            .contains("db upgrade")
    );
    assert_eq!(prepare(&url, Tables::There).unwrap(), (Some(newest()), newest()));
    let store = PostgresStore::open(&url, options()).unwrap();
    let holder = holder();
    store.take(&id("a"), holder).unwrap();
    store.commit_all(&[of(holder, update("a", 1, "one"))]).unwrap();

    let upgraded = engine().unwrap().run({
        let links = links(&url);
        async move {
            let steps = [schema::STEPS, &["alter table cowrite_document add column later text"]].concat();
            let mut link = links.other().await.map_err(|trouble| links.error("reach", trouble))?;
            let done = schema::upgrade(link.client(), &steps).await;
            links
                .settle(link, Ok(done))
                .map_err(|trouble| links.error("upgrade", trouble))
        }
    });

    assert_eq!(upgraded.unwrap(), (Some(newest()), newest() + 1));
    // The node that runs meanwhile goes on; one that starts is refused.
    store.commit_all(&[of(holder, update("a", 2, "two"))]).unwrap();
    unusable(PostgresStore::open(&url, options()), "newer server");
    assert!(
        prepare(&url, Tables::There)
            .unwrap_err()
            .to_string()
            .contains("newer server")
    );
    sql(&url, "delete from cowrite_schema").unwrap();
    unusable(PostgresStore::open(&url, options()), "db upgrade");
    sql(&url, "drop table cowrite_schema").unwrap();
    unusable(PostgresStore::open(&url, options()), "db init");
}

#[test]
#[ignore = "needs a database"]
fn r21_what_was_superseded_is_deleted_later_and_an_empty_document_with_its_release() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = (open(folder.path()), made(folder.path()));
    let holder = holder();
    for name in ["a", "empty"] {
        store.take(&id(name), holder).unwrap();
    }
    let records: Vec<Record> = (1..=10).map(|seq| of(holder, update("a", seq, "x"))).collect();
    store.commit_all(&records).unwrap();
    store.commit_all(&[of(holder, snapshot("a", 5, "five"))]).unwrap();
    store.commit_all(&[of(holder, snapshot("a", 8, "eight"))]).unwrap();
    let counted = || {
        (
            number(&url, "select count(*) from cowrite_record"),
            number(&url, "select count(*) from cowrite_snapshot"),
        )
    };
    store.maintain(0).unwrap();
    assert_eq!(counted(), (10, 2), "whoever reads it now finds it");

    sql(&url, "update cowrite_trim set after = after - interval '61 s'").unwrap();
    store.maintain(0).unwrap();

    assert_eq!(counted(), (2, 1));
    assert_eq!(
        store.load(&id("a")).unwrap(),
        stored(Some((8, "eight")), &[(9, "x"), (10, "x")])
    );
    assert_eq!(number(&url, "select count(*) from cowrite_document"), 2);
    store.release(&id("empty"), holder, None).unwrap();
    assert_eq!(number(&url, "select count(*) from cowrite_document"), 1);
}

#[test]
#[ignore = "needs a database"]
fn r22_data_that_the_database_cannot_hold_is_one_documents_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (store, url) = (open(folder.path()), made(folder.path()));
    sql(
        &url,
        "alter table cowrite_record add constraint no_seven check (octet_length(body) <> 7)",
    )
    .unwrap();
    let holder = holder();
    let names: Vec<String> = (0..20).map(|number| format!("d{number}")).collect();
    for name in &names {
        store.take(&id(name), holder).unwrap();
    }
    let body = |name: &str| if name == "d13" { "7 bytes" } else { "good" };
    let batch: Vec<Record> = names
        .iter()
        .map(|name| of(holder, update(name, 1, body(name))))
        .collect();

    let refusals = store.commit(&batch).unwrap();

    let refused: Vec<&str> = refusals.iter().map(|refusal| refusal.document.as_str()).collect();
    assert_eq!(refused, ["d13"]);
    for name in names.iter().filter(|name| *name != "d13") {
        assert_eq!(store.load(&id(name)).unwrap().last_seq(), 1, "{name}");
    }
}

#[test]
#[ignore = "needs a database, and restarts it"]
fn alone_r18_a_database_that_is_killed_and_comes_back_has_all_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let holder = holder();
    store.take(&id("a"), holder).unwrap();
    let killed = thread::spawn(|| {
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(400));
            let restart = std::env::var("TEST_POSTGRES_RESTART").unwrap();
            assert!(Command::new(restart).status().unwrap().success());
        }
    });
    let (mut seq, mut failures) = (0, 0);
    while !killed.is_finished() {
        seq += 1;
        failures += until_taken(&store, &[of(holder, update("a", seq, seq.to_string()))]) - 1;
    }
    killed.join().unwrap();

    let found = store.load(&id("a")).unwrap();
    assert_eq!(
        found.updates,
        (1..=seq).map(|seq| (seq, seq.to_string().into())).collect::<Vec<_>>()
    );
    assert!(failures > 0 && seq > 10, "{failures} of {seq}");
}

#[test]
fn r23_a_url_is_read_without_its_password_in_what_is_said() {
    let parse = |text: &str| DatabaseUrl::parse(text);
    let url = parse("postgres://ann:se%20cret@db.example:6432/docs?sslmode=verify-full&sslrootcert=/ca.pem").unwrap();
    assert_eq!(url.label(), "postgres://db.example:6432/docs");
    assert!(!format!("{url:?}").contains("cret"));
    for (text, word) in [
        ("mysql://x/y", "postgres://"),
        ("postgres://h/d?sslmode=maybe", "sslmode"),
        ("postgres://h/d?nonsense=1", "nonsense"),
    ] {
        let said = parse(text).unwrap_err();
        assert!(said.contains(word), "{said}");
    }
}

#[test]
#[ignore = "needs a database"]
fn n30_an_order_reaches_every_node_also_one_that_starts_later_until_its_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = [(); 2].map(|()| open(folder.path()));
    let later = crate::actor::clock::wall_ms() + 3_600_000;
    // One follows while both give.
    let seen = thread::scope(|scope| {
        for store in [&one, &two] {
            scope.spawn(move || {
                for number in 0..40 {
                    store.give(&format!("[{number}]"), later).unwrap();
                }
            });
        }
        let (mut seen, mut last) = (0, 0);
        let end = Instant::now() + Duration::from_secs(60);
        while seen < 80 && Instant::now() < end {
            for (number, _) in two.behind(last).unwrap() {
                assert!(number > last);
                (seen, last) = (seen + 1, number);
            }
        }
        seen
    });
    assert_eq!(seen, 80, "nobody who follows misses one");
    one.give("[\"over\"]", 1).unwrap();
    drop((one, two));

    let three = open(folder.path());

    let all = three.behind(0).unwrap();
    assert_eq!(all.len(), 80);
    let last = all.last().unwrap().0;
    assert_eq!(three.behind(last).unwrap(), []);
    assert_eq!(
        three.behind(last + 1_000).unwrap().len(),
        80,
        "the store came back with less"
    );
    three.maintain(0).unwrap();
    assert_eq!(number(&made(folder.path()), "select count(*) from cowrite_order"), 80);
}
