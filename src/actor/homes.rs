//! Every document has a home: the thread that its actor runs on.
//!
//! It follows from the document's name, so whoever asks for a document starts it on the same thread, and a socket that
//! carries one document may move there before it is answered: to wake another thread costs more than an edit does.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix_rt::{Arbiter, ArbiterHandle};

use crate::id::DocumentId;

/// The threads that documents live on.
#[derive(Debug)]
pub struct Homes {
    /// Drawn at the start: who chooses names cannot choose a thread for them.
    key: RandomState,
    /// `None` until a thread has taken the place.
    threads: Mutex<Vec<Option<ArbiterHandle>>>,
}

/// One of the threads, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home(usize);

impl Homes {
    /// For so many threads, which may start later than the first document is asked for.
    #[must_use]
    pub fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self {
            key: RandomState::new(),
            threads: Mutex::new(vec![None; threads.max(1)]),
        })
    }

    /// The calling arbiter is one of them from now on. The place of one that has ended is given away again; `None` when
    /// all places are taken.
    #[must_use]
    pub fn settle(&self) -> Option<Home> {
        let here = Arbiter::try_current()?;
        let mut threads = self.lock();
        let free = threads.iter().position(|thread| !thread.as_ref().is_some_and(lives))?;
        threads[free] = Some(here);
        Some(Home(free))
    }

    /// The home of a document: the same for as long as the process lives.
    #[must_use]
    pub fn of(&self, document: &DocumentId) -> Home {
        let hash = self.key.hash_one(document.as_str());
        Home((hash % self.lock().len() as u64) as usize)
    }

    /// The arbiter there; `None` when no thread has settled there, or it has ended.
    #[must_use]
    pub fn arbiter(&self, home: Home) -> Option<ArbiterHandle> {
        self.lock().get(home.0)?.clone().filter(lives)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<ArbiterHandle>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lives(thread: &ArbiterHandle) -> bool {
    thread.spawn_fn(|| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn the_place_of_a_thread_that_ended_is_given_to_the_next() {
        let homes = Homes::new(2);
        let ends = Arbiter::new();
        let settles = homes.clone();
        let (sender, first) = tokio::sync::oneshot::channel();
        ends.spawn_fn(move || _ = sender.send(settles.settle()));
        let first = first.await.expect("it runs").expect("a place");
        let second = homes.settle().expect("a place");
        assert_ne!(first, second);
        assert!(homes.settle().is_none());

        ends.stop();
        ends.join().expect("it ends");

        assert!(homes.arbiter(first).is_none());
        assert_eq!(homes.settle(), Some(first));
    }
}
