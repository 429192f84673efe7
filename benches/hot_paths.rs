//! What the server does for every edit, measured without sockets and threads.
//!
//! `cargo bench --bench hot_paths`; with a name behind `--` only that. The whole server beside others
//! is measured by `make bench`.
//!
//! | group | what |
//! |---|---|
//! | `gate` | a message is parsed, checked, and held against the document |
//! | `document` | an update is taken into the document; a hundred updates become one |
//! | `fan_out` | an edit of one session goes to the outboxes of all others, which are emptied |
//! | `journal` | records of as many documents are committed with one `fdatasync` |
//! | `state` | a full state is encoded, opened, answered from |

use std::{cell::Cell, hint::black_box, sync::Arc, task::Waker};

use bytes::Bytes;
use cowrite::{
    access::Identity,
    document::{Deleted, Document, News, Verdict},
    id::DocumentId,
    protocol::{
        dialect::Dialect,
        lib0::{write_var_bytes, write_var_uint},
        update::{CheckedUpdate, Clocks, merge},
        y_websocket,
    },
    room::{
        Policy, Room,
        outbox::Outbox,
        session::{Joining, SessionId},
    },
    store::{
        Body, Record, Store, StoredDocument,
        durable::{DurableStore, Options},
    },
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const AUTHOR: u64 = 2_000_000_000;
const TEXT: &[u8] = b"edit";

/// An update in which `client` appends a few characters to what it wrote before.
fn append(client: u64, number: u32) -> Vec<u8> {
    let clock = u64::from(number) * TEXT.len() as u64;
    let mut out = vec![1, 1];
    write_var_uint(&mut out, client);
    write_var_uint(&mut out, clock);
    if clock == 0 {
        out.extend_from_slice(&[0x04, 1, 1, b't']);
    } else {
        out.push(0x84);
        write_var_uint(&mut out, client);
        write_var_uint(&mut out, clock - 1);
    }
    write_var_bytes(&mut out, TEXT);
    out.push(0);
    out
}

fn checked(update: Vec<u8>) -> CheckedUpdate {
    CheckedUpdate::check(update.into()).expect("an update as Yjs writes it")
}

fn news(document: &Document, update: &CheckedUpdate) -> News {
    match document.judge(update.clone()) {
        Verdict::News(news) => news,
        other => panic!("not taken: {other:?}"),
    }
}

fn take(document: &mut Document, update: Vec<u8>) -> CheckedUpdate {
    let update = checked(update);
    let news = news(document, &update);
    document.take(news);
    update
}

fn open(stored: &StoredDocument) -> Document {
    Document::open(stored.records(), Deleted::Dropped).expect("a document")
}

/// A document of `pieces` pieces that cannot be joined: each was written before the one before it.
fn heap(pieces: u64) -> StoredDocument {
    let mut out = vec![1];
    write_var_uint(&mut out, pieces);
    write_var_uint(&mut out, 77);
    out.push(0);
    for n in 0..pieces {
        if n == 0 {
            out.extend_from_slice(&[0x04, 1, 1, b't']);
        } else {
            out.push(0x44);
            write_var_uint(&mut out, 77);
            write_var_uint(&mut out, (n - 1) * 10);
        }
        write_var_bytes(&mut out, b"0123456789");
    }
    out.push(0);
    StoredDocument {
        snapshot: Some((1, out.into())),
        updates: Vec::new(),
    }
}

fn message(update: &[u8]) -> Bytes {
    let mut out = vec![0, 2];
    write_var_bytes(&mut out, update);
    out.into()
}

fn gate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gate");
    let typed = message(&append(AUTHOR, 7));
    group.bench_function("parse and check a keystroke", |bencher| {
        bencher.iter(|| y_websocket::parse(black_box(typed.clone())).is_ok());
    });
    let mut document = Document::default();
    take(&mut document, append(AUTHOR, 0));
    let next = checked(append(AUTHOR, 1));
    group.bench_function("judge a keystroke", |bencher| {
        bencher.iter(|| news(&document, black_box(&next)));
    });
    let Some((_, state)) = heap(20_000).snapshot else {
        unreachable!("made so")
    };
    group.throughput(Throughput::Bytes(state.len() as u64));
    group.bench_function("check and judge a first sync of 20,000 pieces", |bencher| {
        let empty = Document::default();
        bencher.iter(|| {
            news(
                &empty,
                &CheckedUpdate::check(state.clone()).expect("an update as Yjs writes it"),
            )
        });
    });
    group.finish();
}

fn taking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("document");
    for pieces in [1, 1_000, 100_000] {
        group.bench_function(
            BenchmarkId::new("a keystroke into a document of pieces", pieces),
            |bencher| {
                let mut document = open(&heap(pieces));
                let mut number = 0;
                bencher.iter(|| {
                    number += 1;
                    take(&mut document, append(AUTHOR, number - 1))
                });
            },
        );
    }
    group.bench_function("a hundred keystrokes of ten editors become one update", |bencher| {
        let mut document = Document::default();
        let mut all = Vec::new();
        for number in 0..=10 {
            for client in 0..10 {
                all.push(take(&mut document, append(AUTHOR + client, number)));
            }
        }
        bencher.iter(|| merge(black_box(&all[10..])));
    });
    group.finish();
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out");
    let policy = Policy {
        document_bytes_max: 1 << 40,
        outbox_bytes_max: 4 << 20,
        unsaved_bytes_max: 1 << 40,
        snapshot_bytes: 1 << 40,
        idle_timeout: 30_000_000,
        deleted: Deleted::Dropped,
        stamps_presence: true,
        shows_readers: true,
    };
    for sessions in [3u64, 300, 1_000] {
        group.throughput(Throughput::Elements(sessions));
        group.bench_function(BenchmarkId::new("one edit to sessions", sessions), |bencher| {
            let document = DocumentId::parse("bench").expect("a name");
            let mut room = Room::open(document, &StoredDocument::default(), policy, 0).expect("a document");
            let mut effects = Vec::new();
            let outboxes: Vec<Arc<Outbox>> = (0..sessions).map(|_| Arc::new(Outbox::alone(8 << 20))).collect();
            for (id, outbox) in outboxes.iter().enumerate() {
                let id = SessionId(id as u64);
                let (identity, outbox) = (Identity::anonymous(), outbox.clone());
                room.join(
                    Joining {
                        id,
                        identity,
                        expires: None,
                        dialect: Dialect::YWebsocket,
                        outbox,
                        accounts: Default::default(),
                    },
                    0,
                );
                let ask = y_websocket::parse(Bytes::from_static(&[0, 0, 1, 0])).expect("SyncStep1");
                room.hear(id, ask, 0, &mut effects);
            }
            let number = Cell::new(0);
            // A second for each edit: none of them waits for the next.
            bencher.iter(|| {
                let edit = y_websocket::parse(message(&append(AUTHOR, number.get()))).expect("an update");
                number.set(number.get() + 1);
                let now = u64::from(number.get()) * 1_000;
                for outbox in &outboxes {
                    outbox.line().heard(now / 1_000);
                }
                room.hear(SessionId(0), edit, now, &mut effects);
                room.flush(now, &mut effects);
                effects.clear();
                room.stored(u64::MAX, now);
                let waker = Waker::noop();
                outboxes
                    .iter()
                    .filter(|outbox| outbox.poll_take(waker).is_ready())
                    .count()
            });
        });
    }
    group.finish();
}

fn journal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal");
    group.sample_size(20);
    for documents in [1u64, 64, 600] {
        group.throughput(Throughput::Elements(documents));
        group.bench_function(
            BenchmarkId::new("commit a record for documents", documents),
            |bencher| {
                let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
                let store = DurableStore::open(folder.path(), Options::default()).expect("a store");
                let names: Vec<DocumentId> = (0..documents)
                    .map(|n| DocumentId::parse(&format!("document-{n}")).expect("a name"))
                    .collect();
                let update = Bytes::from(append(AUTHOR, 7));
                let mut seq = 0;
                bencher.iter(|| {
                    seq += 1;
                    let record = |document: &DocumentId| Record {
                        document: document.clone(),
                        seq,
                        at_ms: 1_700_000_000_000 + seq,
                        authors: Arc::default(),
                        body: Body::Update(update.clone()),
                        holder: None,
                    };
                    let records: Vec<Record> = names.iter().map(record).collect();
                    store.commit_all(&records).expect("a disk that works");
                });
                store.close().expect("a disk that works");
            },
        );
    }
    group.finish();
}

fn state(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("state");
    group.sample_size(20);
    let stored = heap(10_000);
    let document = open(&stored);
    group.bench_function("encode 10,000 pieces", |bencher| {
        bencher.iter(|| document.since(&Clocks::default()));
    });
    group.bench_function("encode half of 10,000 pieces", |bencher| {
        let mut half = Clocks::default();
        half.advance(77, 50_000);
        bencher.iter(|| document.since(&half));
    });
    group.bench_function("open 10,000 pieces", |bencher| {
        bencher.iter(|| open(&stored));
    });
    group.finish();
}

criterion_group!(benches, gate, taking, fan_out, journal, state);
criterion_main!(benches);
