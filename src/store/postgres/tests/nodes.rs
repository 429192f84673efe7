//! Two nodes on one real database.

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{
    super::{Options, Store, StoreError},
    *,
};
use crate::store::{
    contract::{holder, id},
    directory::{Directory, News, Peer, Place, Standing},
};

fn stands(store: &PostgresStore, address: &str, draining: bool) -> UnboundedReceiver<News> {
    let (news, heard) = unbounded_channel();
    let standing = Standing {
        address: address.to_owned(),
        machine: None,
        draining,
    };
    let tells = move |told| {
        // A test may have heard enough.
        let _ = news.send(told);
    };
    store.stands(standing, std::sync::Arc::new(tells)).unwrap();
    heard
}

fn peer(store: &PostgresStore, address: &str, draining: bool) -> Peer {
    Peer {
        id: Directory::node(store),
        address: address.to_owned(),
        machine: None,
        draining,
    }
}

/// What is heard until `wanted` finds something in it.
fn heard<T>(news: &mut UnboundedReceiver<News>, wanted: impl Fn(News) -> Option<T>) -> T {
    heard_within(news, usize::MAX, wanted).expect("it is heard")
}

/// The same, as long as there are no more than so many pieces of news; none when they end or come no more.
fn heard_within<T>(news: &mut UnboundedReceiver<News>, most: usize, wanted: impl Fn(News) -> Option<T>) -> Option<T> {
    let end = Instant::now() + Duration::from_secs(20);
    let mut count = 0;
    while count < most && Instant::now() < end {
        match news.try_recv() {
            Ok(news) => {
                count += 1;
                if let Some(found) = wanted(news) {
                    return Some(found);
                }
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
    None
}

#[test]
#[ignore = "needs a database"]
fn n6_nodes_find_each_other_and_their_documents() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two, alone] = [(); 3].map(|()| open(folder.path()));
    let _heard = stands(&one, "one:1", false);
    let mut news = stands(&two, "two:2", false);
    let living = heard(&mut news, |news| match news {
        News::Living(living) => Some(living),
        News::Lost(..) => None,
    });
    assert_eq!(
        living,
        [peer(&one, "one:1", false)],
        "a node without an address is none of them"
    );
    for (store, name) in [(&one, "a"), (&alone, "b")] {
        store.take(&id(name), holder()).unwrap();
    }

    assert_eq!(two.place(&id("a")).unwrap(), Place::There(peer(&one, "one:1", false)));
    assert_eq!(one.place(&id("a")).unwrap(), Place::Here);
    assert_eq!(two.place(&id("none")).unwrap(), Place::Here);
    assert_eq!(two.place(&id("b")).unwrap(), Place::Here, "nobody can be sent there");

    let _heard = stands(&one, "one:1", true);
    assert_eq!(two.place(&id("a")).unwrap(), Place::There(peer(&one, "one:1", true)));
    one.close().unwrap();
    assert_eq!(two.place(&id("a")).unwrap(), Place::Here);
}

#[test]
#[ignore = "needs a database"]
fn n11_a_node_that_was_taken_for_dead_hears_what_it_has_lost() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = [(); 2].map(|()| open(folder.path()));
    let mut news = stands(&one, "one:1", false);
    let [lost, kept] = [holder(), holder()];
    one.take(&id("lost"), lost).unwrap();
    one.take(&id("kept"), kept).unwrap();

    // It lives, and says so again at any moment.
    while two.take(&id("lost"), holder()).is_err() {
        two.is_dead(Directory::node(&one)).unwrap();
    }

    let told = heard(&mut news, |news| match news {
        News::Lost(document, holder) => Some((document, holder)),
        News::Living(_) => None,
    });
    assert_eq!(told, (id("lost"), lost));
    assert!(
        two.take(&id("kept"), holder()).is_err(),
        "a node that lives keeps the others"
    );
}

#[test]
#[ignore = "needs a database"]
fn r30_a_database_that_came_back_with_less_is_noticed_though_nobody_writes() {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path());
    let wire = Wire::to(&server());
    let url = url_of(&server(), folder.path());
    let one = PostgresStore::open(&wire.url(folder.path()), options()).unwrap();
    let mut news = stands(&one, "one:1", false);
    let [behind, whole] = [holder(), holder()];
    for (name, holder) in [("behind", behind), ("whole", whole)] {
        one.take(&id(name), holder).unwrap();
        let records = [update(name, 1, "a"), update(name, 2, "b")].map(|record| of(holder, record));
        one.commit_all(&records).unwrap();
    }

    // As a standby that has not heard of the last commit.
    sql(&url, "update cowrite_document set last_seq = 1 where name = 'behind'").unwrap();
    wire.fault(Fault::Cut, true);
    while wire.control.happened.load(Ordering::SeqCst) == 0 {
        thread::sleep(Duration::from_millis(10));
    }
    wire.fault(Fault::None, false);

    let told = heard_within(&mut news, 8, |news| match news {
        News::Lost(document, holder) => Some((document, holder)),
        News::Living(_) => None,
    });
    assert_eq!(told, Some((id("behind"), behind)));
    let more = heard_within(&mut news, 2, |news| match news {
        News::Lost(document, _) if document == id("whole") => Some(document),
        _ => None,
    });
    assert_eq!(more, None);
}

/// One more node, which opens a document and crashes.
fn crashes(folder: &std::path::Path, name: &str) -> Result<(), StoreError> {
    let options = Options {
        rest_after: 3,
        ..options()
    };
    let url = url_of(&server(), folder);
    let store = PostgresStore::open(&url, options).unwrap();
    let taken = store.take(&id(name), holder()).map(drop);
    // It beats no more.
    store.node.closed.store(true, std::sync::atomic::Ordering::SeqCst);
    sql(&url, "update cowrite_node set seen = seen - interval '1 hour'").unwrap();
    // Its row stays, as after a SIGKILL.
    std::mem::forget(store);
    taken
}

fn rests(taken: Result<impl Sized, StoreError>) -> bool {
    matches!(taken, Err(StoreError::Resting { seconds: 1.., .. }))
}

#[test]
#[ignore = "needs a database"]
fn n64_a_document_that_was_open_in_three_nodes_that_crashed_rests_and_no_other_does() {
    let folder = tempfile::tempdir().unwrap();
    let looks = open(folder.path());
    for _ in 0..3 {
        crashes(folder.path(), "poison").unwrap();
    }
    crashes(folder.path(), "other").unwrap();

    assert!(rests(crashes(folder.path(), "poison")), "the fourth does not get it");
    assert!(rests(crashes(folder.path(), "poison")));
    crashes(folder.path(), "other").unwrap();
    assert_eq!(looks.place(&id("poison")).unwrap(), Place::Here, "it is nobody's");
    looks.load(&id("poison")).unwrap();
    looks.take(&id("poison"), holder()).unwrap();
}

#[test]
#[ignore = "needs a database"]
fn n64_a_document_that_has_rested_is_opened_once_more_and_rests_longer_if_that_crashes_too() {
    let folder = tempfile::tempdir().unwrap();
    let _looks = open(folder.path());
    let url = url_of(&server(), folder.path());
    let rest = || {
        number(
            &url,
            "select extract(epoch from rests_until - now())::bigint from cowrite_document",
        )
    };
    for _ in 0..3 {
        crashes(folder.path(), "poison").unwrap();
    }
    assert!(rests(crashes(folder.path(), "poison")));
    let first = rest();
    assert!((25..=60).contains(&first), "{first}");
    sql(&url, "update cowrite_document set rests_until = now() - interval '1 s'").unwrap();

    crashes(folder.path(), "poison").unwrap();
    assert!(rests(crashes(folder.path(), "poison")));
    let second = rest();
    assert!((55..=120).contains(&second), "{second}");
}

#[test]
#[ignore = "needs a database"]
fn n64_a_document_that_was_let_go_of_or_was_open_for_long_is_no_cause() {
    let folder = tempfile::tempdir().unwrap();
    let good = open(folder.path());
    for name in ["released", "long"] {
        crashes(folder.path(), name).unwrap();
        crashes(folder.path(), name).unwrap();
    }
    let own = holder();
    good.take(&id("released"), own).unwrap();
    good.release(&id("released"), own, None).unwrap();
    for _ in 0..3 {
        crashes(folder.path(), "long").unwrap();
        let ages = "update cowrite_document set taken = taken - interval '3 min' where name = 'long'";
        sql(&url_of(&server(), folder.path()), ages).unwrap();
    }
    for _ in 0..3 {
        crashes(folder.path(), "released").unwrap();
    }
}
