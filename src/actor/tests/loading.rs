//! What loading a document counts for in memory.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::{
    budgets::{LOADING_COST, Memory},
    room::Room,
};

/// Letters of [`letters`]: some 20 ms to read.
const LETTERS: u64 = 50_000;

/// Letters after each other.
fn letters() -> StoredDocument {
    let mut letters = vec![1];
    write_var_uint(&mut letters, LETTERS);
    letters.extend([1, 0, 4, 1, 1, b't', 1, b'x']);
    for clock in 1..LETTERS {
        letters.extend([0x84, 1]);
        write_var_uint(&mut letters, clock - 1);
        letters.extend([1, b'x']);
    }
    letters.push(0);
    StoredDocument {
        snapshot: Some((1, letters.into())),
        ..StoredDocument::default()
    }
}

#[actix_rt::test]
async fn l74_what_is_read_counts_while_a_document_is_opened_and_what_it_takes_until_that_is_measured() {
    const MAX: usize = 1 << 30;
    const OPENING: usize = MAX / 100 * 85;
    let store = Arc::new(HeldStore::default());
    let stored = letters();
    let reads = LOADING_COST * stored.snapshot.as_ref().unwrap().1.len();
    let takes = Room::open(named("a"), &stored, policy(Duration::ZERO), 0)
        .unwrap()
        .memory_bytes();
    assert!(
        takes < reads,
        "{takes} bytes, of which {reads} are counted while they are read"
    );
    for name in ["a", "b", "c"] {
        store.documents.lock().unwrap().insert(named(name), stored.clone());
    }
    let memory = Memory::new(MAX, usize::MAX);
    let policies = Policies {
        memory: memory.clone(),
        ..policy(Duration::from_secs(30)).into()
    };
    let registry = registry_of(store, policies, Homes::new(1));
    // So much is used, and a document is opened: whether memory was short meanwhile, and whether it is afterwards.
    let opens = async |name, used| {
        memory.uses(used);
        let (looks, is_open) = (memory.clone(), Arc::new(AtomicBool::new(false)));
        let opens = is_open.clone();
        let looks = std::thread::spawn(move || {
            let mut was_short = false;
            while !opens.load(Ordering::Relaxed) {
                was_short |= looks.is_short();
            }
            was_short
        });
        let actor = registry.open(&named(name)).unwrap();
        actor.send(Where).await.unwrap();
        is_open.store(true, Ordering::Relaxed);
        (looks.join().unwrap(), memory.is_short())
    };

    // When it was read both count for a moment.
    assert_eq!(opens("a", OPENING - reads - takes).await, (false, false));
    assert_eq!(opens("b", OPENING - reads + 1).await, (true, false));
    assert_eq!(opens("c", OPENING - takes + 1).await, (true, true));
    memory.uses(OPENING);
    assert!(!memory.is_short(), "it was measured");
}

#[actix_rt::test]
async fn l54_of_documents_that_are_opened_together_no_more_are_loaded_than_there_is_memory_for() {
    let store = Arc::new(HeldStore::default());
    let stored = letters();
    let takes = Room::open(named("a"), &stored, policy(Duration::ZERO), 0)
        .unwrap()
        .memory_bytes();
    let names: Vec<_> = (0..12).map(|number| named(&number.to_string())).collect();
    for name in &names {
        store.documents.lock().unwrap().insert(name.clone(), stored.clone());
    }
    let memory = Memory::new(20 * takes, usize::MAX);
    let policies = Policies {
        memory: memory.clone(),
        ..policy(Duration::from_secs(30)).into()
    };
    let registry = registry_of(store, policies, Homes::new(1));
    memory.uses(20 * takes / 100 * 61);

    // There is room when they are opened: a twentieth of it for each, up to 85 %.
    let opened: Vec<_> = names.iter().map(|name| registry.open(name).unwrap()).collect();
    let (mut loaded, mut refused) = (0, 0);
    for (id, actor) in (1..).zip(opened) {
        match actor.send(joining(id).0).await.unwrap() {
            Ok(()) => loaded += 1,
            Err(CloseReason::Exceeded(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }

    assert_eq!((loaded, refused), (5, 7));
}
