//! Who comes, writes, asks, leaves and comes back while documents are loaded, fail to load, are snapshotted
//! and leave memory: all at once, in an order that a seed draws.

use std::task::{Poll, Waker};

use yrs::{Doc, ReadTxn, Transact, Update, updates::decoder::Decode};

use super::*;

const DOCUMENTS: usize = 3;
const WRITERS: u8 = 6;
const ROUNDS: usize = 12;
/// So little that documents leave memory between two visits, and are snapshotted while they are written to.
const IDLE: Duration = Duration::from_micros(300);
const SNAPSHOT_BYTES: u64 = 40;

/// splitmix64, shared by all that happens with one seed.
struct Dice(Mutex<u64>);

impl Dice {
    fn below(&self, most: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut drawn = *state;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (drawn ^ (drawn >> 31)) % most
    }

    async fn pause(&self) {
        match self.below(8) {
            0 => actix_rt::time::sleep(Duration::from_millis(1 + self.below(2))).await,
            turns => {
                for _ in 0..turns {
                    actix_rt::task::yield_now().await;
                }
            }
        }
    }
}

/// Loads and commits take their time; one load in fifty fails.
struct Rough {
    inner: Arc<HeldStore>,
    dice: Arc<Dice>,
}

impl Rough {
    fn dawdle(&self) {
        std::thread::sleep(Duration::from_micros(self.dice.below(400)));
    }
}

impl Store for Rough {
    fn take(&self, document: &DocumentId, _: Holder) -> Result<StoredDocument, StoreError> {
        self.load(document)
    }

    fn release(&self, document: &DocumentId, holder: Holder, next: Option<NodeId>) -> Result<(), StoreError> {
        self.inner.release(document, holder, next)
    }

    fn commit(&self, records: &[Record]) -> Result<Refusals, StoreError> {
        self.dawdle();
        self.inner.commit(records)
    }

    fn load(&self, document: &DocumentId) -> Result<StoredDocument, StoreError> {
        self.dawdle();
        if self.dice.below(50) == 0 {
            return Err(StoreError::Io {
                doing: "read",
                path: "journal".to_owned(),
                source: io::Error::other("not now"),
            });
        }
        self.inner.load(document)
    }

    fn list(&self, after: Option<&DocumentId>, most: usize) -> Result<Vec<DocumentEntry>, StoreError> {
        self.inner.list(after, most)
    }

    fn maintain(&self, now_ms: u64) -> Result<bool, StoreError> {
        self.inner.maintain(now_ms)
    }

    fn status(&self) -> StoreStatus {
        self.inner.status()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }
}

/// One letter of `client`, behind its last one.
fn letter_of(client: u8, clock: u8) -> Bytes {
    let mut update = vec![1, 1, client, clock];
    match clock {
        0 => update.extend_from_slice(&[4, 1, 1, b't', 1, b'x', 0]),
        _ => update.extend_from_slice(&[0x84, client, clock - 1, 1, b'x', 0]),
    }
    let mut message = vec![0, 2, update.len() as u8];
    message.extend_from_slice(&update);
    Bytes::from(message)
}

/// "This is all I have that you lack": nothing. Without it a question is not answered at once.
fn step2() -> Bytes {
    Bytes::from_static(&[0, 1, 2, 0, 0])
}

/// "Tell me when all this is saved."
fn question() -> Bytes {
    Bytes::from_static(&[102, 1, 1])
}

fn hear(session: u64, messages: &[Bytes]) -> Hear {
    Hear {
        session: SessionId(session),
        messages: messages
            .iter()
            .map(|message| y_websocket::parse(message.clone()).unwrap())
            .collect(),
        held: None,
    }
}

/// Waits for the answer; false when the session was ended before.
async fn is_saved(outbox: &Outbox) -> bool {
    let asked = Instant::now();
    loop {
        assert!(asked.elapsed() < Duration::from_secs(60), "nobody answers");
        match outbox.poll_take(Waker::noop()) {
            Poll::Ready(Some(frame)) if frame.ends_with(&question()) => return true,
            Poll::Ready(Some(_)) => {}
            Poll::Ready(None) => return false,
            Poll::Pending => actix_rt::time::sleep(Duration::from_micros(200)).await,
        }
    }
}

/// Visits its document until all rounds are done; what was acknowledged of it, in letters.
async fn write(client: u8, registry: Arc<Registry>, dice: Arc<Dice>, sessions: Arc<AtomicUsize>) -> u8 {
    let document = named(&format!("d{}", usize::from(client) % DOCUMENTS));
    // What this writer has, and what of it was acknowledged: it brings the rest again, as an editor does.
    let (mut written, mut acknowledged) = (0, 0);
    let (mut visits, mut tries) = (0, 0);
    while visits < ROUNDS {
        tries += 1;
        assert!(tries < 2_000, "{document} takes nobody any more");
        dice.pause().await;
        let id = sessions.fetch_add(1, Ordering::Relaxed) as u64;
        let (join, outbox) = joining(id);
        let actor = registry.open(&document).unwrap();
        match actor.send(join).await {
            Ok(Ok(())) => visits += 1,
            // It could not be loaded, which it says for a second.
            Ok(Err(CloseReason::Overloaded(_))) => {
                actix_rt::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            // It is just leaving.
            _ => continue,
        }
        let _ = actor.send(hear(id, &[step2()])).await;
        for _ in 0..=dice.below(3) {
            written += 1;
            let from = acknowledged;
            let mut messages: Vec<Bytes> = (from..written).map(|clock| letter_of(client, clock)).collect();
            messages.push(question());
            if actor.send(hear(id, &messages)).await.is_err() {
                break;
            }
            match dice.below(4) {
                // Gone without waiting, while it is being saved.
                0 => break,
                1 => dice.pause().await,
                _ if is_saved(&outbox).await => acknowledged = written,
                _ => break,
            }
        }
        let _ = actor.send(Leave(SessionId(id))).await;
    }
    acknowledged
}

/// The letters that were acknowledged.
async fn race(seed: u64) -> usize {
    let dice = Arc::new(Dice(Mutex::new(seed)));
    let stored = Arc::new(HeldStore::default());
    let store: Arc<dyn Store> = Arc::new(Rough {
        inner: stored.clone(),
        dice: dice.clone(),
    });
    let metrics = Metrics::new();
    let policy = Policy {
        snapshot_bytes: SNAPSHOT_BYTES as usize,
        ..policy(IDLE)
    };
    let writer = Writer::start(store.clone(), metrics.clone(), 1 << 20).unwrap();
    let registry = Registry::new(
        store,
        writer,
        [2, 1].map(|count| Helpers::start(count).unwrap()),
        policy,
        metrics,
        Homes::new(1),
    );
    let sessions = Arc::new(AtomicUsize::new(1));

    let writers: Vec<_> = (1..=WRITERS)
        .map(|client| actix_rt::spawn(write(client, registry.clone(), dice.clone(), sessions.clone())))
        .collect();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.push(writer.await.unwrap());
    }
    for actor in registry.close() {
        let _ = actor.send(ShutDown).await;
    }
    until("all have left", || registry.is_empty()).await;

    // `HeldStore` has panicked by now if a position was given twice or left out.
    assert_eq!(registry.writer.health().trouble(), None, "seed {seed}");
    let stored = stored.documents.lock().unwrap();
    for (client, &acknowledged) in (1..=WRITERS).zip(&acknowledged) {
        let doc = Doc::new();
        let mut transaction = doc.transact_mut();
        if let Some(document) = stored.get(&named(&format!("d{}", usize::from(client) % DOCUMENTS))) {
            let snapshot = document.snapshot.iter().map(|(_, state)| state);
            for update in snapshot.chain(document.updates.iter().map(|(_, update)| update)) {
                transaction.apply_update(Update::decode_v1(update).unwrap()).unwrap();
            }
        }
        let held = transaction
            .state_vector()
            .get(&yrs::block::ClientID::new(u64::from(client)));
        assert!(
            held >= u32::from(acknowledged),
            "seed {seed}: {held} letters of {client} are stored, {acknowledged} were acknowledged"
        );
    }
    acknowledged.into_iter().map(usize::from).sum()
}

/// `SEEDS=1000 cargo test l29 -- --nocapture` tries more.
#[actix_rt::test]
async fn l29_coming_and_going_loses_nothing_whatever_the_document_is_doing() {
    let seeds = std::env::var("SEEDS").map_or(30, |seeds| seeds.parse().unwrap());
    let mut acknowledged = 0;
    // A document that failed to load stays so for a second: the seeds wait for that together.
    for first in (0..seeds).step_by(30) {
        let races: Vec<_> = (first..seeds.min(first + 30))
            .map(|seed| actix_rt::spawn(race(seed)))
            .collect();
        for race in races {
            acknowledged += race.await.unwrap();
        }
    }
    println!("{acknowledged} letters were acknowledged");
    assert!(acknowledged > seeds as usize * 10, "too few: {acknowledged}");
}

#[actix_rt::test]
async fn l30_a_hundred_who_open_a_stored_document_at_once_share_one_load() {
    let store = Arc::new(HeldStore::default());
    store.documents.lock().unwrap().insert(
        named("a"),
        StoredDocument {
            snapshot: None,
            updates: vec![(1, letter_of(1, 0).slice(3..))],
        },
    );
    let registry = registry(&store, Duration::from_secs(30));

    let visits: Vec<_> = (1..=100)
        .map(|id| {
            let registry = registry.clone();
            actix_rt::spawn(async move {
                let (join, outbox) = joining(id);
                let actor = registry.open(&named("a")).unwrap();
                actor.send(join).await.unwrap().unwrap();
                actor
                    .send(hear(id, &[Bytes::from_static(&[0, 0, 1, 0])]))
                    .await
                    .unwrap();
                outbox
            })
        })
        .collect();
    for visit in visits {
        let outbox = visit.await.unwrap();
        let mut frames = std::iter::from_fn(|| match outbox.poll_take(Waker::noop()) {
            Poll::Ready(frame) => frame,
            Poll::Pending => None,
        });
        let letter = letter_of(1, 0);
        assert!(frames.any(|frame| frame.ends_with(&letter[3..])), "it has the letter");
    }

    assert_eq!((registry.len(), store.loads.load(Ordering::Relaxed)), (1, 1));
}
