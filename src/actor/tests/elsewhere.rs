//! What is said to a document and takes long, while the helpers that hear it are busy.

use std::{future::Future, task::Context};

use super::*;
use crate::{
    access::Person,
    actor::document::{IsAsked, Write},
    protocol::{
        dialect::Inbound,
        hocuspocus::address_of,
        update::{CheckedUpdate, Clocks},
    },
    room::WrittenBy,
};

/// A state vector of so many clients.
fn vector(clients: usize) -> Vec<u8> {
    let mut known = Clocks::default();
    (0..clients as u64).for_each(|client| known.advance(client, 1));
    known.encode_state_vector()
}

/// Presence of one client that takes so many bytes.
fn presence(bytes: usize) -> Vec<u8> {
    let mut entry = vec![1, 7, 1];
    write_var_bytes(&mut entry, format!("\"{}\"", "a".repeat(bytes)).as_bytes());
    entry
}

#[actix_rt::test]
async fn l32_a_large_message_of_any_kind_is_heard_where_it_delays_no_other_document() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_secs(30));
    let (slow, quick) = (registry.open(&named("a")).unwrap(), registry.open(&named("b")).unwrap());
    slow.send(joining(1).0).await.unwrap().unwrap();
    let text = Hear {
        session: SessionId(1),
        messages: vec![Inbound::Stateless(vec![b'a'; 50_000].into())],
        held: None,
    };

    for (what, said) in [
        ("a question", hear(1, &[0, 0], &vector(20_000))),
        ("presence", hear(1, &[1], &presence(50_000))),
        ("a text", text),
    ] {
        let free = registry.takers.occupied();
        slow.send(said).await.unwrap();
        let mut next = pin!(slow.send(Where));
        for _ in 0..100 {
            quick.send(Where).await.unwrap();
            assert!(next.as_mut().now_or_never().is_none(), "{what}");
        }
        drop(free);
        next.await.unwrap();
    }
}

#[actix_rt::test]
async fn l82_who_speaks_is_heard_between_two_looks_at_a_crowd_however_long_these_take() {
    const EACH: usize = 1_000;
    let mut state = Vec::new();
    write_var_uint(&mut state, CROWD_MIN as u64);
    for client in (1..=CROWD_MIN as u64).rev() {
        state.push(1);
        write_var_uint(&mut state, client);
        state.extend_from_slice(&[0, 4, 1, 1, b't']);
        write_var_bytes(&mut state, &[b'x'; EACH]);
    }
    state.push(0);
    let stored = StoredDocument {
        snapshot: Some((1, state.into())),
        updates: Vec::new(),
    };
    let store = Arc::new(HeldStore::default());
    store.documents.lock().unwrap().insert(named("a"), stored);
    let registry = registry(&store, Duration::from_secs(30));
    let actor = registry.open(&named("a")).unwrap();
    let (join, outbox) = joining(1);
    actor.send(join).await.unwrap().unwrap();
    actor.send(hear(1, &[0, 0], &[0])).await.unwrap();
    let mut read = 0;
    until("it is sent", || {
        read += taken(&outbox);
        read > EACH
    })
    .await;

    // A thread that is busy for longer than a look at those who are behind waits for the next one: that is due when it hears that
    // the last one was done.
    let pause = async || {
        std::thread::sleep(Duration::from_millis(15));
        // Few: a look must not be done within them.
        for _ in 0..2 {
            actix_rt::task::yield_now().await;
        }
    };
    let (mut next, mut unheard, mut longest) = (Box::pin(actor.send(Where)), 0, 0);
    while read < CROWD_MIN * EACH {
        let sent = taken(&outbox);
        (read, unheard) = (read + sent, unheard + sent);
        longest = longest.max(unheard);
        pause().await;
        if next.as_mut().now_or_never().is_some() {
            (next, unheard) = (Box::pin(actor.send(Where)), 0);
        }
    }
    assert!(
        longest < 7 << 19,
        "{longest} bytes were sent, a megabyte in each look, and nobody was heard"
    );
}

#[actix_rt::test]
async fn h4_what_is_said_counts_until_the_document_has_heard_it() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_secs(30));
    let actor = registry.open(&named("a")).unwrap();
    actor.send(joining(1).0).await.unwrap().unwrap();
    let free = registry.takers.occupied();
    let part = Arc::new(());

    let mut said = paste(1, 2, &"x".repeat(100_000));
    said.held = Some(part.clone());
    actor.send(said).await.unwrap();
    actor.do_send(Leave(SessionId(1)));
    assert_eq!(Arc::strong_count(&part), 2, "it waits for a helper");
    drop(free);
    actor.send(Where).await.unwrap();

    assert_eq!(Arc::strong_count(&part), 1);
}

#[actix_rt::test]
async fn h4_what_is_written_without_a_session_counts_until_the_document_has_it_whoever_still_waits() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_secs(30));
    let actor = registry.open(&named("a")).unwrap();
    actor.send(joining(1).0).await.unwrap().unwrap();
    let free = registry.takers.occupied();
    until("the helper is busy", || registry.takers.waiting() == 0).await;
    let part = Arc::new(());
    let mut update = vec![1, 1, 2, 0, 4, 1, 1, b't'];
    write_var_bytes(&mut update, &[b'x'; 100_000]);
    update.push(0);
    let write = Write {
        id: SessionId(2),
        by: WrittenBy::Person(Person::Nobody),
        update: CheckedUpdate::check(update.into()).unwrap(),
        begins: Begins::always(),
        held: Some(part.clone()),
    };

    let document = named("a");
    let mut written = Box::pin(registry.write(&document, write));
    assert!(
        written
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    until("it waits for a helper", || registry.takers.waiting() == 1).await;
    drop(written);
    assert_eq!(Arc::strong_count(&part), 2);
    drop(free);
    actor.send(Where).await.unwrap();

    assert_eq!(Arc::strong_count(&part), 1);
}

#[actix_rt::test]
async fn l35_the_writer_is_told_whether_somebody_has_asked() {
    let store = Arc::new(HeldStore::default());
    let registry = registry(&store, Duration::from_secs(30));
    let actor = registry.open(&named("a")).unwrap();
    // Who is told of each update without asking: each edit of its waits to be told of.
    let (mut told, _) = joining(1);
    told.joining.dialect = Dialect::Hocuspocus {
        address: address_of("a"),
        has_version: true,
    };
    actor.send(told).await.unwrap().unwrap();
    actor.send(joining(2).0).await.unwrap().unwrap();
    actor.send(hear(2, &[0, 1], &[0, 0])).await.unwrap();
    store.holds(true);
    let asked = || async { actor.send(IsAsked).await.unwrap() };

    actor.send(letter(1, 0)).await.unwrap();
    until("it waits", || registry.writer.waiting_bytes() > 0).await;
    assert_eq!(asked().await, (true, false));

    actor.send(letter(2, 0)).await.unwrap();
    assert_eq!(asked().await, (true, false));
    actor.send(hear(2, &[102], &[1])).await.unwrap();
    assert_eq!(asked().await, (true, true));
    store.holds(false);
}
