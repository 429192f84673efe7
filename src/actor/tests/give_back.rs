//! Documents that somebody else takes meanwhile.

use super::*;
use crate::store::{
    journal::{Journal, JournalOptions, disk::FileDisk},
    memory::MemoryStore,
};

/// One letter of client 9.
const OTHERS: &[u8] = &[1, 1, 9, 0, 4, 1, 1, b't', 1, b'o', 0];

fn of_another(holder: Holder, seq: u64, body: Body) -> Record {
    Record {
        document: named("a"),
        seq,
        at_ms: 0,
        authors: Arc::default(),
        body,
        holder: Some(holder),
    }
}

fn stored(store: &dyn Store) -> Document {
    let stored = store.load(&named("a")).unwrap();
    Document::open(stored.records(), Deleted::Dropped).unwrap()
}

/// Somebody has written a letter that is stored and one that is not, and left, when another holder, whom it returns,
/// takes the document.
async fn taken_from(store: &MemoryStore, registry: &Arc<Registry>) -> Holder {
    let actor = registry.open(&named("a")).unwrap();
    actor.send(joining(1).0).await.unwrap().unwrap();
    actor.send(letter(1, 0)).await.unwrap();
    until("the first letter is stored", || {
        store.load(&named("a")).unwrap().last_seq() == 1
    })
    .await;
    store.refuse_commits(true);
    actor.send(letter(1, 1)).await.unwrap();
    actor.send(Leave(SessionId(1))).await.unwrap();
    until("the second letter was tried", || {
        registry.writer.health().trouble().is_some()
    })
    .await;
    let holder = Holder::drawn(64);
    store.take(&named("a"), holder).unwrap();
    holder
}

#[actix_rt::test]
async fn r17_what_somebody_wrote_who_has_left_is_given_back_to_a_document_that_was_taken() {
    let store = MemoryStore::new();
    let registry = registry_over(Arc::new(store.clone()), Duration::from_secs(30), Homes::new(1));
    let (stays, outbox) = joining(2);
    registry.open(&named("a")).unwrap().send(stays).await.unwrap().unwrap();

    let holder = taken_from(&store, &registry).await;
    store.refuse_commits(false);
    let edit = Body::Update(Bytes::from_static(OTHERS));
    store.commit_all(&[of_another(holder, 2, edit)]).unwrap();

    until("both are stored", || {
        let document = stored(&store);
        (document.clocks().next(1), document.clocks().next(9)) == (2, 1)
    })
    .await;
    assert!(outbox.is_closing(), "who stayed is told to come back");
    assert_eq!(registry.metrics.documents_refused.get(), 1);
    until("it says so", || registry.metrics.given_back.get() == 1).await;
    assert_eq!(store.load(&named("a")).unwrap().last_seq(), 3, "once");
}

#[actix_rt::test]
async fn r17_a_server_that_stops_gives_back_before() {
    let store = MemoryStore::new();
    let registry = registry_over(Arc::new(store.clone()), Duration::from_secs(30), Homes::new(1));
    let holder = taken_from(&store, &registry).await;
    let edit = Body::Update(Bytes::from_static(OTHERS));

    let open = registry.close();
    store.refuse_commits(false);
    store.commit_all(&[of_another(holder, 2, edit)]).unwrap();
    store.release(&named("a"), holder, None).unwrap();
    for actor in open {
        let _ = actor.send(ShutDown).await;
    }

    until("nothing is left to do", || {
        registry.is_empty() && registry.giving_back() == 0
    })
    .await;
    let document = stored(&store);
    assert_eq!((document.clocks().next(1), document.clocks().next(9)), (2, 1));
    assert_eq!(registry.metrics.given_back.get(), 1);
}

#[actix_rt::test]
async fn r17_what_was_deleted_meanwhile_is_not_brought_back() {
    let store = MemoryStore::new();
    let registry = registry_over(Arc::new(store.clone()), Duration::from_secs(30), Homes::new(1));

    let holder = taken_from(&store, &registry).await;
    store.refuse_commits(false);
    store.commit_all(&[of_another(holder, 2, Body::Deleted)]).unwrap();

    until("it was refused, and compared", || {
        registry.metrics.documents_refused.get() == 1 && registry.is_empty() && registry.giving_back() == 0
    })
    .await;
    assert!(stored(&store).clocks().is_empty());
}

/// A document that was deleted long ago, to which somebody writes a letter that is stored, and one that is refused.
async fn begins_anew_behind_a_deletion(store: Arc<dyn Store>) {
    let before = Holder::drawn(32);
    store.take(&named("a"), before).unwrap();
    let edit = Body::Update(Bytes::from_static(OTHERS));
    let records = [of_another(before, 1, edit), of_another(before, 2, Body::Deleted)];
    store.commit_all(&records).unwrap();
    store.release(&named("a"), before, None).unwrap();
    let registry = registry_over(store.clone(), Duration::from_secs(30), Homes::new(1));
    let actor = registry.open(&named("a")).unwrap();
    actor.send(joining(1).0).await.unwrap().unwrap();
    actor.send(letter(1, 0)).await.unwrap();
    until("the first letter is stored", || {
        store.load(&named("a")).unwrap().last_seq() == 3
    })
    .await;
    store.take(&named("a"), Holder::drawn(64)).unwrap();

    actor.send(letter(1, 1)).await.unwrap();
    // The document may have heard by now that the store refused the letter, and have ended by itself.
    let _ = actor.send(Leave(SessionId(1))).await;

    until("it was given back", || registry.metrics.given_back.get() == 1).await;
    let document = stored(&*store);
    assert_eq!((document.clocks().next(1), document.clocks().next(9)), (2, 0));
}

#[actix_rt::test]
async fn r17_a_deletion_of_before_it_was_opened_drops_nothing_in_memory() {
    begins_anew_behind_a_deletion(Arc::new(MemoryStore::new())).await;
}

#[actix_rt::test]
async fn r17_a_deletion_of_before_it_was_opened_drops_nothing_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(Arc::new(FileDisk), folder.path(), JournalOptions::default()).unwrap();
    begins_anew_behind_a_deletion(Arc::new(journal)).await;
}

#[actix_rt::test]
async fn r16_a_document_that_leaves_memory_is_free_for_other_nodes_and_one_that_is_open_is_not() {
    let (store, document) = (MemoryStore::new(), named("a"));
    let other = store.reopen();
    let [here, there] = [&store, &other].map(|store| {
        let store: Arc<dyn Store> = Arc::new(store.clone());
        registry_over(store, Duration::from_millis(20), Homes::new(1))
    });
    let actor = here.open(&document).unwrap();
    actor.send(joining(1).0).await.unwrap().unwrap();

    let refused = there.open(&document).unwrap().send(joining(2).0).await.unwrap();

    assert_eq!(refused, Err(CloseReason::Restarting));
    actor.send(letter(1, 0)).await.unwrap();
    actor.send(Leave(SessionId(1))).await.unwrap();
    until("it has left, and the other has tried", || {
        here.is_empty() && there.is_empty()
    })
    .await;
    let next = || async {
        let answer = there.open(&document).unwrap().send(joining(3).0).await;
        matches!(answer, Ok(Ok(())))
    };
    let started = Instant::now();
    while !next().await {
        assert!(started.elapsed() < Duration::from_secs(60), "it is never free");
        actix_rt::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(stored(&other).clocks().next(1), 1);
}
