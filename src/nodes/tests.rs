//! What a node believes of the others, over a directory that the test writes.

use std::pin::Pin;

use super::*;
use crate::store::{StoreError, directory::Hears};

#[derive(Default)]
struct Written {
    place: Mutex<Option<Peer>>,
    asked: AtomicUsize,
    dead: Mutex<Vec<NodeId>>,
}

impl Directory for Written {
    fn node(&self) -> NodeId {
        NodeId(1)
    }

    fn stands(&self, _: Standing, _: Hears) -> Result<(), StoreError> {
        Ok(())
    }

    fn place(&self, _: &DocumentId) -> Result<Place, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(lock(&self.place).clone().map_or(Place::Here, Place::There))
    }

    fn is_dead(&self, node: NodeId) -> Result<(), StoreError> {
        lock(&self.dead).push(node);
        Ok(())
    }
}

fn peer(id: u128) -> Peer {
    Peer {
        id: NodeId(id),
        address: format!("10.0.0.{id}:7070"),
        machine: None,
        draining: false,
    }
}

fn nodes() -> (Arc<Nodes>, Arc<Written>, DocumentId) {
    let written = Arc::new(Written::default());
    let secret = ClusterSecret::parse(&"s".repeat(32)).expect("32 bytes");
    let document = DocumentId::parse("plan").expect("a name");
    (Nodes::new(written.clone(), secret, None), written, document)
}

#[actix_web::test]
async fn n6_that_a_document_lives_elsewhere_is_asked_once_and_forgotten_when_it_was_wrong() {
    let (nodes, written, document) = nodes();
    assert_eq!(nodes.place(&document).await, Place::Here);
    *lock(&written.place) = Some(peer(2));
    for _ in 0..10 {
        assert_eq!(nodes.place(&document).await, Place::There(peer(2)));
    }
    assert_eq!(
        written.asked.load(Ordering::SeqCst),
        2,
        "that nobody has it is not believed"
    );

    *lock(&written.place) = Some(peer(3));
    nodes.forget(&document);

    assert_eq!(nodes.place(&document).await, Place::There(peer(3)));
}

#[actix_web::test]
async fn n8_who_is_found_dead_is_told_of_and_nothing_goes_there() {
    let (nodes, written, document) = nodes();
    *lock(&written.place) = Some(peer(2));
    assert_eq!(nodes.place(&document).await, Place::There(peer(2)));
    *lock(&written.place) = None;

    nodes.is_dead(&peer(2)).await;

    nodes.ends_with(NodeId(2)).await;
    assert_eq!(nodes.place(&document).await, Place::Here);
    assert_eq!(*lock(&written.dead), [NodeId(2)]);
}

#[actix_web::test]
async fn n8_what_goes_to_a_node_ends_when_it_is_not_seen_any_more() {
    let (nodes, _, _) = nodes();
    let ended = actix_web::rt::spawn({
        let nodes = nodes.clone();
        async move { nodes.ends_with(NodeId(2)).await }
    });
    nodes.hears_who_lives(vec![peer(3)]);
    nodes.hears_who_lives(vec![peer(2), peer(3)]);
    actix_web::rt::task::yield_now().await;
    assert!(!ended.is_finished(), "a node that is not known yet is not gone");

    nodes.hears_who_lives(vec![peer(3)]);

    ended.await.expect("it ends");
}

#[actix_web::test]
async fn n9_a_node_that_stops_takes_nothing_and_names_who_does() {
    let (nodes, _, document) = nodes();
    let leaves = Peer {
        draining: true,
        ..peer(4)
    };
    nodes.hears_who_lives(vec![peer(2), leaves, peer(3)]);
    assert_eq!(nodes.place(&document).await, Place::Here);

    nodes.drain();

    let heirs: FxHashSet<NodeId> = (0..4).filter_map(|_| nodes.heir()).collect();
    assert_eq!(heirs, FxHashSet::from_iter([NodeId(2), NodeId(3)]));
    assert!(matches!(nodes.place(&document).await, Place::There(_)));
    nodes.hears_who_lives(Vec::new());
    nodes.forget(&document);
    assert_eq!(nodes.place(&document).await, Place::Here, "nobody else is there");
}

/// As if the store had told of the others so long ago.
fn heard(nodes: &Nodes, ago: Duration) {
    *lock(&nodes.heard) = Instant::now().checked_sub(ago);
}

const LONG_AGO: Duration = Duration::from_secs(6);

#[actix_web::test]
async fn n69_what_a_node_carries_ends_when_it_is_stranded_and_what_it_asks_others_does_not() {
    let (nodes, _, _) = nodes();
    nodes.hears_who_lives(vec![peer(2)]);
    heard(&nodes, LONG_AGO);
    let spawned = |ends: Pin<Box<dyn Future<Output = ()>>>| actix_web::rt::spawn(ends);
    let [carried, asked] = [nodes.clone(), nodes.clone()];
    let carried = spawned(Box::pin(async move { carried.ends_with(NodeId(2)).await }));
    let asked = spawned(Box::pin(async move { asked.is_over_with(NodeId(2)).await }));
    actix_web::rt::task::yield_now().await;
    assert!(!carried.is_finished());

    assert!(nodes.strands(true) && !nodes.strands(true), "it is news once");

    carried.await.expect("it ends");
    assert!(!asked.is_finished());
    nodes.end();
    asked.await.expect("it ends");
}

#[actix_web::test]
async fn n69_a_node_that_the_store_answers_or_that_stops_is_not_stranded() {
    let (nodes, _, _) = nodes();
    assert!(!nodes.strands(true), "it has not heard anything yet");
    nodes.hears_who_lives(vec![peer(2)]);
    assert!(nodes.is_answered() && !nodes.strands(true));

    heard(&nodes, LONG_AGO);
    assert!(nodes.strands(true) && nodes.is_stranded() && !nodes.is_answered());
    nodes.hears_who_lives(vec![peer(2)]);
    assert!(!nodes.is_stranded(), "the store is back");

    heard(&nodes, LONG_AGO);
    assert!(nodes.strands(true));
    nodes.drain();
    assert!(!nodes.is_stranded() && !nodes.strands(true));
}
