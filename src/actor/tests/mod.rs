//! Documents on their threads, over a store that the test holds back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashMap,
    io,
    pin::pin,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use actix::Addr;
use actix_rt::Arbiter;
use bytes::Bytes;
use futures_util::{FutureExt, future::LocalBoxFuture};

use crate::{
    access::Identity,
    document::{Deleted, Document},
    id::DocumentId,
    limits::CROWD_MIN,
    protocol::{
        close::CloseReason,
        dialect::Dialect,
        lib0::{write_var_bytes, write_var_uint},
        update::Clocks,
        y_websocket,
    },
    room::{
        Policy,
        outbox::Outbox,
        session::{Joining, SessionId},
    },
    store::{Body, DocumentEntry, Holder, NodeId, Record, Refusals, Store, StoreError, StoreStatus, StoredDocument},
    telemetry::Metrics,
};

use super::{
    document::{Begins, Break, DocumentActor, Hear, Join, Leave, Read, SendAway, ShutDown, Where},
    helpers::Helpers,
    homes::Homes,
    registry::{Policies, Registry},
    writer::Writer,
};

mod elsewhere;
mod give_back;
mod loading;
mod races;
mod visit;

#[derive(Debug, Default)]
struct HeldStore {
    documents: Mutex<HashMap<DocumentId, StoredDocument>>,
    held: Mutex<bool>,
    released: Condvar,
    loads: AtomicUsize,
    unreadable: Option<DocumentId>,
    panics: bool,
}

impl HeldStore {
    fn holds(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.released.notify_all();
    }
}

impl Store for HeldStore {
    fn take(&self, document: &DocumentId, _: Holder) -> Result<StoredDocument, StoreError> {
        self.load(document)
    }

    fn release(&self, _: &DocumentId, _: Holder, _: Option<NodeId>) -> Result<(), StoreError> {
        Ok(())
    }

    fn commit(&self, records: &[Record]) -> Result<Refusals, StoreError> {
        assert!(!self.panics, "a mistake in the store");
        drop(
            self.released
                .wait_while(self.held.lock().unwrap(), |held| *held)
                .unwrap(),
        );
        let mut documents = self.documents.lock().unwrap();
        for record in records {
            let document = documents.entry(record.document.clone()).or_default();
            match &record.body {
                Body::Update(update) => {
                    assert_eq!(
                        record.seq,
                        document.last_seq() + 1,
                        "positions have no gaps and no repeats"
                    );
                    document.updates.push((record.seq, update.clone()));
                }
                Body::Snapshot(state) => {
                    document.updates.retain(|(seq, _)| *seq > record.seq);
                    document.snapshot = Some((record.seq, state.clone()));
                }
                Body::Deleted => *document = StoredDocument::default(),
            }
        }
        Ok(Refusals::default())
    }

    fn load(&self, document: &DocumentId) -> Result<StoredDocument, StoreError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        if self.unreadable.as_ref() == Some(document) {
            let source = io::Error::other("nothing answers");
            return Err(StoreError::Io {
                doing: "read",
                path: "journal".to_owned(),
                source,
            });
        }
        Ok(self
            .documents
            .lock()
            .unwrap()
            .get(document)
            .cloned()
            .unwrap_or_default())
    }

    fn list(&self, _: Option<&DocumentId>, _: usize) -> Result<Vec<DocumentEntry>, StoreError> {
        Ok(Vec::new())
    }

    fn maintain(&self, _: u64) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn status(&self) -> StoreStatus {
        StoreStatus::default()
    }

    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn policy(idle: Duration) -> Policy {
    Policy {
        document_bytes_max: 8 << 20,
        outbox_bytes_max: 1 << 20,
        unsaved_bytes_max: 1 << 20,
        snapshot_bytes: 1 << 20,
        idle_timeout: idle.as_micros() as u64,
        deleted: Deleted::Dropped,
        stamps_presence: true,
        shows_readers: true,
    }
}

fn registry(store: &Arc<HeldStore>, idle: Duration) -> Arc<Registry> {
    registry_at(store, idle, Homes::new(1))
}

fn registry_at(store: &Arc<HeldStore>, idle: Duration, homes: Arc<Homes>) -> Arc<Registry> {
    registry_over(store.clone(), idle, homes)
}

fn registry_over(store: Arc<dyn Store>, idle: Duration, homes: Arc<Homes>) -> Arc<Registry> {
    registry_of(store, policy(idle), homes)
}

fn registry_of(store: Arc<dyn Store>, policies: impl Into<Policies>, homes: Arc<Homes>) -> Arc<Registry> {
    let metrics = Metrics::new();
    let writer = Writer::start(store.clone(), metrics.clone(), 1 << 20).unwrap();
    Registry::new(
        store,
        writer,
        [1, 1].map(|count| Helpers::start(count).unwrap()),
        policies,
        metrics,
        homes,
    )
}

fn named(name: &str) -> DocumentId {
    DocumentId::parse(name).unwrap()
}

fn joining(id: u64) -> (Join, Arc<Outbox>) {
    let outbox = Arc::new(Outbox::alone(1 << 21));
    let (id, identity, dialect) = (SessionId(id), Identity::anonymous(), Dialect::YWebsocket);
    (
        Join {
            joining: Joining {
                id,
                identity,
                expires: None,
                dialect,
                outbox: outbox.clone(),
                accounts: Default::default(),
            },
            begins: Begins::always(),
        },
        outbox,
    )
}

/// One letter of client 1, at `clock`.
fn letter(id: u64, clock: u8) -> Hear {
    let update: &[u8] = match clock {
        0 => &[1, 1, 1, 0, 4, 1, 1, b't', 1, b'x', 0],
        _ => &[1, 1, 1, clock, 0x84, 1, clock - 1, 1, b'x', 0],
    };
    let mut message = vec![0, 2, update.len() as u8];
    message.extend_from_slice(update);
    let message = y_websocket::parse(Bytes::from(message)).unwrap();
    Hear {
        session: SessionId(id),
        messages: vec![message],
        held: None,
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "still waiting until {what}"
        );
        actix_rt::time::sleep(Duration::from_millis(2)).await;
    }
}

#[actix_rt::test]
async fn l20_who_opens_a_document_together_meets_in_one() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_secs(30));

    let first = registry.open(&named("a")).unwrap();
    let second = registry.open(&named("a")).unwrap();
    let (one, two) = (joining(1).0, joining(2).0);
    let answers = (first.send(one), second.send(two));
    assert_eq!((answers.0.await.unwrap(), answers.1.await.unwrap()), (Ok(()), Ok(())));

    assert_eq!(first, second);
    assert_eq!((registry.len(), store.loads.load(Ordering::Relaxed)), (1, 1));
}

#[actix_rt::test]
async fn l37_a_document_lives_on_its_home_whoever_asks_for_it() {
    let store = Arc::new(HeldStore::default());
    let homes = Homes::new(2);
    let registry = registry_at(&store, Duration::from_secs(30), homes.clone());
    let threads = [Arbiter::new(), Arbiter::new()];
    let settle = |thread: &Arbiter| {
        let (sender, settled) = mpsc::channel();
        let homes = homes.clone();
        thread.spawn_fn(move || {
            sender
                .send((homes.settle().unwrap(), std::thread::current().id()))
                .unwrap()
        });
        settled.recv().unwrap()
    };
    let settled = threads.each_ref().map(settle);

    let mut seen = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"].map(named) {
        let home = homes.of(&name);
        let (_, expected) = settled.iter().find(|(place, _)| *place == home).unwrap();
        let actor = registry.open(&name).unwrap();
        assert_eq!(actor.send(Where).await.unwrap(), *expected);
        seen.push(home);
    }

    assert!(
        seen.iter().any(|home| *home != seen[0]),
        "one name in 128 tries would have them all at one place"
    );
    for thread in threads {
        thread.stop();
    }
}

#[actix_rt::test]
async fn l21_an_idle_document_leaves_memory_and_opens_with_what_it_held() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_millis(5));
    for clock in 0..20 {
        // An actor that is just leaving does not answer; the next one does.
        let actor = loop {
            let actor = registry.open(&named("a")).unwrap();
            if matches!(actor.send(joining(1).0).await, Ok(Ok(()))) {
                break actor;
            }
        };
        actor.send(letter(1, clock)).await.unwrap();
        actor.send(Leave(SessionId(1))).await.unwrap();
        until("it has left", || registry.is_empty()).await;
    }

    assert_eq!(store.documents.lock().unwrap()[&named("a")].last_seq(), 20);
}

#[actix_rt::test]
async fn n69_whoever_is_sent_away_leaves_a_document_that_stays_until_all_of_it_is_saved() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_millis(200));
    let actor = registry.open(&named("a")).unwrap();
    let (join, outbox) = joining(1);
    actor.send(join).await.unwrap().unwrap();
    store.holds(true);
    actor.send(letter(1, 0)).await.unwrap();

    assert_eq!(actor.send(SendAway).await, Ok(1));

    let frames = std::iter::from_fn(|| outbox.take_frame());
    assert_eq!(
        frames.last(),
        Some(crate::protocol::frame::close(&CloseReason::Restarting))
    );
    assert_eq!(actor.send(SendAway).await, Ok(0), "once");
    // Longer than it takes to leave, and who comes finds what is not saved.
    actix_rt::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(registry.open(&named("a")).unwrap(), actor);
    let (state, _) = actor.send(Read).await.unwrap().unwrap();
    let first_letter: &[u8] = &[1, 1, 1, 0, 4, 1, 1, b't', 1, b'x', 0];
    assert_eq!(state.since(&Clocks::default()), first_letter);
    store.holds(false);
    until("it has left", || registry.is_empty()).await;
    assert_eq!(store.documents.lock().unwrap()[&named("a")].last_seq(), 1);
}

#[actix_rt::test]
async fn l5_opening_is_no_idleness_however_long_it_takes() {
    let store = Arc::new(HeldStore::default());
    // Letters after each other, some 100 ms to read.
    let mut letters = vec![1, 0xc0, 0x9a, 0x0c, 1, 0, 4, 1, 1, b't', 1, b'x'];
    for clock in 1..200_000_u64 {
        letters.extend([0x84, 1]);
        crate::protocol::lib0::write_var_uint(&mut letters, clock - 1);
        letters.extend([1, b'x']);
    }
    letters.push(0);
    let stored = StoredDocument {
        snapshot: Some((1, letters.into())),
        ..StoredDocument::default()
    };
    store.documents.lock().unwrap().insert(named("a"), stored);
    let registry = registry(&store, Duration::from_millis(10));

    let answer = registry.open(&named("a")).unwrap().send(joining(1).0).await;

    assert_eq!(answer.unwrap(), Ok(()));
}

/// A message with an update of client `client`, which types `text` into a new document.
fn paste(id: u64, client: u8, text: &str) -> Hear {
    let mut update = vec![1, 1, client, 0, 4, 1, 1, b't'];
    write_var_bytes(&mut update, text.as_bytes());
    update.push(0);
    hear(id, &[0, 2], &update)
}

fn hear(id: u64, head: &[u8], payload: &[u8]) -> Hear {
    let mut message = head.to_vec();
    write_var_bytes(&mut message, payload);
    Hear {
        session: SessionId(id),
        messages: vec![y_websocket::parse(message.into()).unwrap()],
        held: None,
    }
}

#[actix_rt::test]
async fn l32_a_large_update_is_taken_where_it_delays_no_other_document() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_secs(30));
    let (slow, quick) = (registry.open(&named("a")).unwrap(), registry.open(&named("b")).unwrap());
    slow.send(joining(1).0).await.unwrap().unwrap();
    quick.send(joining(2).0).await.unwrap().unwrap();
    let free = registry.takers.occupied();

    slow.send(paste(1, 2, &"x".repeat(100_000))).await.unwrap();
    let mut next = pin!(slow.send(joining(3).0));
    for clock in 0..100 {
        quick.send(letter(2, clock)).await.unwrap();
        assert!(next.as_mut().now_or_never().is_none());
    }
    drop(free);

    assert_eq!(next.await.unwrap(), Ok(()));
    for actor in [slow, quick] {
        actor.send(ShutDown).await.unwrap();
    }
    until("they have left", || registry.is_empty()).await;
    let documents = store.documents.lock().unwrap();
    let stored = |name| Document::open(documents[&named(name)].records(), Deleted::Dropped).unwrap();
    assert_eq!(stored("a").clocks().next(2), 100_000);
    assert_eq!(stored("b").clocks().next(1), 100);
}

/// A document to which so many client ids wrote a letter each.
fn crowded_document(clients: usize) -> StoredDocument {
    let mut state = Vec::new();
    write_var_uint(&mut state, clients as u64);
    for client in (1..=clients as u64).rev() {
        state.push(1);
        write_var_uint(&mut state, client);
        state.extend_from_slice(&[0, 4, 1, 1, b't', 1, b'x']);
    }
    state.push(0);
    StoredDocument {
        snapshot: Some((1, state.into())),
        updates: Vec::new(),
    }
}

/// What waits for a session.
fn taken(outbox: &Outbox) -> usize {
    let frames = std::iter::from_fn(|| match outbox.poll_take(Waker::noop()) {
        Poll::Ready(frame) => frame,
        Poll::Pending => None,
    });
    frames.map(|frame| frame.len()).sum()
}

#[actix_rt::test]
async fn l82_what_looks_at_very_many_client_ids_is_done_where_it_delays_no_other_document() {
    let store = Arc::new(HeldStore::default());
    for (name, clients) in [("a", CROWD_MIN), ("b", CROWD_MIN - 10)] {
        store
            .documents
            .lock()
            .unwrap()
            .insert(named(name), crowded_document(clients));
    }
    let registry = registry(&store, Duration::from_secs(30));
    let (crowded, other) = (registry.open(&named("a")).unwrap(), registry.open(&named("b")).unwrap());
    let (joins, outbox) = joining(1);
    crowded.send(joins).await.unwrap().unwrap();
    crowded.send(joining(2).0).await.unwrap().unwrap();
    crowded.send(hear(1, &[0, 0], &[0])).await.unwrap();
    until("it is sent", || taken(&outbox) > CROWD_MIN).await;

    type Ask = fn(&Addr<DocumentActor>) -> LocalBoxFuture<'static, ()>;
    // How often it is looked, a millisecond apart: what is broadcast leaves a moment later.
    let asked: [(&str, usize, Ask); 6] = [
        ("somebody comes", 1, |actor| {
            actor
                .send(joining(3).0)
                .map(|joined| joined.unwrap().unwrap())
                .boxed_local()
        }),
        ("somebody asks", 1, |actor| {
            actor
                .send(hear(2, &[0, 0], &[0]))
                .map(|heard| heard.unwrap())
                .boxed_local()
        }),
        ("somebody has said what it has", 1, |actor| {
            actor
                .send(hear(2, &[0, 1], &[0, 0]))
                .map(|heard| heard.unwrap())
                .boxed_local()
        }),
        ("somebody says which client id is its own", 1, |actor| {
            actor
                .send(hear(2, &[1], &[1, 7, 1, 2, b'{', b'}']))
                .map(|heard| heard.unwrap())
                .boxed_local()
        }),
        ("somebody without a session reads", 1, |actor| {
            actor.send(Read).map(|read| drop(read.unwrap().unwrap())).boxed_local()
        }),
        ("a letter is broadcast", 2_000, |actor| {
            actor.send(letter(2, 1)).map(|heard| heard.unwrap()).boxed_local()
        }),
    ];
    for (id, (what, looks, ask)) in (10..).zip(asked) {
        let free = registry.takers.occupied();
        let mut asked = ask(&crowded);
        let _ = asked.as_mut().now_or_never();
        let mut is_here = true;
        for _ in 0..looks {
            let mut next = Box::pin(crowded.send(Where));
            for _ in 0..3 {
                other.send(Where).await.unwrap();
            }
            is_here = next.as_mut().now_or_never().is_some();
            if !is_here {
                break;
            }
            actix_rt::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!is_here, "{what}");
        other.send(joining(id).0).await.unwrap().unwrap();
        other.send(hear(id, &[0, 0], &[0])).await.unwrap();
        drop(free);
        crowded.send(Where).await.unwrap();
    }
    until("the letter is there", || taken(&outbox) > 0).await;
}

#[actix_rt::test]
async fn l32_a_room_that_panics_elsewhere_is_given_up_like_any() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_secs(30));
    let actor = registry.open(&named("a")).unwrap();
    let (join, outbox) = joining(1);
    actor.send(join).await.unwrap().unwrap();
    actor.send(letter(1, 0)).await.unwrap();

    actor.send(Break::Elsewhere).await.unwrap();

    until("it has left", || registry.is_empty()).await;
    assert!(outbox.is_closing(), "its sessions are told");
    assert_eq!(store.documents.lock().unwrap()[&named("a")].last_seq(), 1);
}

#[actix_rt::test]
async fn l22_a_room_that_panics_is_loaded_anew_when_all_it_had_taken_is_durable() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_secs(30));
    let (actor, other) = (registry.open(&named("a")).unwrap(), registry.open(&named("b")).unwrap());
    let (join, outbox) = joining(1);
    actor.send(join).await.unwrap().unwrap();
    other.send(joining(2).0).await.unwrap().unwrap();
    store.holds(true);
    actor.send(letter(1, 0)).await.unwrap();

    actor.send(Break::Here).await.unwrap();

    assert!(outbox.is_closing(), "its sessions are told");
    let same = registry.open(&named("a")).unwrap();
    assert_eq!(same.send(joining(3).0).await.unwrap(), Err(CloseReason::Restarting));
    assert_eq!(
        other.send(letter(2, 0)).await,
        Ok(()),
        "the thread's other documents live"
    );
    store.holds(false);
    until("it has left", || registry.len() == 1).await;
    let next = registry.open(&named("a")).unwrap();
    next.send(joining(4).0).await.unwrap().unwrap();
    next.send(letter(4, 1)).await.unwrap();
    next.send(ShutDown).await.unwrap();
    until("it has left", || registry.len() == 1).await;
    assert_eq!(store.documents.lock().unwrap()[&named("a")].last_seq(), 2);
}

#[actix_rt::test]
async fn l23_a_document_that_cannot_be_read_is_not_read_again_for_everybody_who_asks() {
    let store = Arc::new(HeldStore {
        unreadable: Some(named("a")),
        ..HeldStore::default()
    });
    let registry = registry(&store, Duration::from_secs(30));

    for id in 0..20 {
        let actor = registry.open(&named("a")).unwrap();
        let refused = actor.send(joining(id).0).await.unwrap();
        assert_eq!(
            refused,
            Err(CloseReason::Overloaded("the document cannot be read now".to_owned()))
        );
    }

    assert_eq!(store.loads.load(Ordering::Relaxed), 1);
    until("it may be tried again", || registry.is_empty()).await;
}

/// Characters of [`large_document`].
const LARGE: usize = 3 << 20;

/// A document that is encoded elsewhere.
fn large_document() -> StoredDocument {
    let mut state = vec![1, 1, 2, 0, 4, 1, 1, b't'];
    write_var_bytes(&mut state, &vec![b'x'; LARGE]);
    state.push(0);
    StoredDocument {
        snapshot: Some((1, state.into())),
        updates: Vec::new(),
    }
}

#[actix_rt::test]
async fn d13_a_state_that_is_encoded_while_the_room_is_elsewhere_itself_arrives() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_secs(30));
    store.documents.lock().unwrap().insert(named("a"), large_document());
    let actor = registry.open(&named("a")).unwrap();
    let (asks, asking) = joining(1);
    let (edits, _) = joining(2);
    actor.send(asks).await.unwrap().unwrap();
    actor.send(edits).await.unwrap().unwrap();
    let free = registry.takers.occupied();

    actor.send(hear(1, &[0, 0], &[0])).await.unwrap();
    // There is one helper: when this is done, so is what was encoded. Nothing has told the actor yet.
    let mut encoded = registry.helpers.run(|| ());
    while encoded.try_recv().is_err() {
        std::thread::yield_now();
    }
    actor.do_send(paste(2, 3, &"y".repeat(100_000)));
    actix_rt::time::sleep(Duration::from_millis(1)).await;
    drop(free);

    let mut heard = 0;
    until("it is there", || {
        while let Poll::Ready(Some(frame)) = asking.poll_take(Waker::noop()) {
            heard += frame.len();
        }
        heard > LARGE + 100_000
    })
    .await;
}

#[actix_rt::test]
async fn d13_nothing_waits_while_a_large_state_is_encoded() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_secs(30));
    store.documents.lock().unwrap().insert(named("a"), large_document());
    let actor = registry.open(&named("a")).unwrap();
    let (asks, asking) = joining(1);
    let (edits, _) = joining(2);
    actor.send(asks).await.unwrap().unwrap();
    actor.send(edits).await.unwrap().unwrap();
    let free = registry.helpers.occupied();

    actor.send(hear(1, &[0, 0], &[0])).await.unwrap();
    actor.send(letter(2, 0)).await.unwrap();
    actor.send(Leave(SessionId(2))).await.unwrap();
    until("it is durable", || {
        store.documents.lock().unwrap()[&named("a")].last_seq() == 2
    })
    .await;
    drop(free);

    let mut heard = Vec::new();
    until("both are there", || {
        while let Poll::Ready(Some(frame)) = asking.poll_take(Waker::noop()) {
            heard.extend_from_slice(&frame);
        }
        let has = |what: &[u8]| heard.windows(what.len()).any(|part| part == what);
        heard.len() > LARGE && has(&[1, 1, 1, 0, 4, 1, 1, b't', 1, b'x', 0])
    })
    .await;
}

#[actix_rt::test]
async fn l24_a_writer_that_has_ended_is_said_to_take_no_writes() {
    let store = Arc::new(HeldStore {
        panics: true,
        ..HeldStore::default()
    });
    let registry = registry(&store, Duration::from_secs(30));
    let actor = registry.open(&named("a")).unwrap();
    actor.send(joining(1).0).await.unwrap().unwrap();

    actor.send(letter(1, 0)).await.unwrap();

    until("it is said", || registry.writer.health().trouble().is_some()).await;
}
