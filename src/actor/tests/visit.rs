//! Whoever reads and writes without a session, over a store that the test holds back.

use std::{future::Future, task::Context};

use super::*;
use crate::{
    access::Person, actor::document::Write, budgets::Memory, protocol::update::CheckedUpdate, room::WrittenBy,
};

const LETTER: &[u8] = &[1, 1, 1, 0, 4, 1, 1, b't', 1, b'x', 0];

fn write(id: u64) -> Write {
    Write {
        id: SessionId(id),
        by: WrittenBy::Person(Person::Nobody),
        update: CheckedUpdate::check(Bytes::from_static(LETTER)).unwrap(),
        begins: Begins::always(),
        held: None,
    }
}

#[actix_rt::test]
async fn x27_a_write_is_answered_when_it_is_durable_also_of_a_document_that_nobody_has_open() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_secs(30));
    store.holds(true);
    let document = named("a");
    let mut written = pin!(registry.write(&document, write(1)));

    // It is in the document, and others are served: it waits for the disk alone.
    let mut context = Context::from_waker(Waker::noop());
    while registry.read(&document).await.unwrap().len() < LETTER.len() {
        assert!(written.as_mut().poll(&mut context).is_pending());
    }
    assert!(written.as_mut().poll(&mut context).is_pending());
    store.holds(false);

    assert_eq!(written.await, Ok(()));
    assert_eq!(store.documents.lock().unwrap()[&document].last_seq(), 1);
}

#[actix_rt::test]
async fn x27_who_comes_while_a_document_leaves_memory_is_served_all_the_same() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_millis(1));
    let document = named("a");

    for id in 0..200 {
        assert_eq!(registry.write(&document, write(id)).await, Ok(()));
        let mut copy = registry.read(&document).await.unwrap();
        assert_eq!(copy.next(LETTER.len()).as_deref(), Some(LETTER));
        actix_rt::time::sleep(Duration::from_micros(id * 20)).await;
    }
    assert!(store.loads.load(Ordering::Relaxed) > 1, "it never left");
}

#[actix_rt::test]
async fn x32_there_is_room_for_so_many_bytes_of_whole_documents() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_secs(30));
    store.documents.lock().unwrap().insert(named("a"), large_document());
    let free = || registry.copies.available_permits();

    let mut copy = registry.read(&named("a")).await.unwrap();
    assert!(
        (LARGE..LARGE + LARGE / 64).contains(&((registry.copies_kb_max - free()) * 1_024)),
        "{}",
        free()
    );
    let others = registry.copies.clone().acquire_many_owned(free() as u32).await.unwrap();
    let document = named("a");
    let mut next = pin!(registry.read(&document));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..20 {
        assert!(next.as_mut().poll(&mut context).is_pending());
        actix_rt::time::sleep(Duration::from_millis(1)).await;
    }
    while copy.next(1 << 20).is_some() {}
    drop(copy);

    assert!(next.await.unwrap().len() > LARGE);
    drop(others);
    assert_eq!(free(), registry.copies_kb_max);
}

#[actix_rt::test]
async fn x32_of_little_memory_whole_documents_take_an_eighth_and_any_has_room_alone() {
    let store = Arc::new(HeldStore::default());
    store.documents.lock().unwrap().insert(named("a"), large_document());
    let policies = Policies {
        memory: Memory::new(LARGE * 8, usize::MAX),
        ..policy(Duration::from_secs(30)).into()
    };
    let registry = registry_of(store, policies, Homes::new(1));
    assert_eq!(registry.copies.available_permits() * 1_024, LARGE);

    let copy = registry.read(&named("a")).await.unwrap();
    assert!(copy.len() > LARGE, "larger than there is room for");
    assert_eq!(registry.copies.available_permits(), 0);
}

#[actix_rt::test]
async fn x27_a_write_is_answered_also_when_it_is_durable_before_anybody_asks() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_secs(30));

    for number in 0..500 {
        let document = named(&number.to_string());
        let written = actix_rt::time::timeout(Duration::from_secs(10), registry.write(&document, write(number)));
        assert_eq!(written.await, Ok(Ok(())), "{number}");
    }
}
