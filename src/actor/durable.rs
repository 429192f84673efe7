//! How far a document is durable, and how it hears of it.
//!
//! A document hears of its commits only when it asks to ([`Durable::want`]): most of the time nobody
//! waits for the answer, and a message to each document for each commit costs more than the commit.
//!
//! A commit is news for hundreds of documents, and a task that is woken from another thread is served when
//! the thread has nothing else, or once in 31 turns. So the news for all documents of a thread cross to it in
//! one piece, and a task there hands them out ([`Bell`]).

use std::{
    cell::RefCell,
    sync::atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
};

use actix::{Message, Recipient};
use tokio::sync::mpsc;

use crate::{room::Micros, store::Seq};

/// The document's [`Durable`] has moved.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stored;

/// How far one document is durable; shared by its actor and the writer.
#[derive(Debug)]
pub struct Durable {
    seq: AtomicU64,
    /// Snapshots that became durable.
    snapshots: AtomicU64,
    /// How long records took from their oldest edit to being durable, in microseconds: the last one, and a mean in which
    /// the last eight count most. 0 before the first.
    took: [AtomicU64; 2],
    wanted: AtomicBool,
    /// Somebody asked for it.
    asked: AtomicBool,
    refused: AtomicBool,
    listener: Recipient<Stored>,
    bell: Bell,
}

impl Durable {
    /// Nothing is durable yet. `listener` lives on this thread and hears of it when it asks to.
    #[must_use]
    pub fn of(listener: Recipient<Stored>) -> Self {
        Self {
            seq: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            took: Default::default(),
            wanted: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            listener,
            bell: Bell::of_this_thread(),
        }
    }

    /// The last durable position, and how many snapshots became durable so far.
    #[must_use]
    pub fn reached(&self) -> (Seq, u64) {
        (self.seq.load(SeqCst), self.snapshots.load(SeqCst))
    }

    /// How long it took from an edit to its being durable: the last time, and in the mean; `None` before the first.
    #[must_use]
    pub fn took(&self) -> Option<[Micros; 2]> {
        let [last, mean] = self.took.each_ref().map(|micros| micros.load(Relaxed));
        (last > 0).then_some([last, mean])
    }

    /// It took so long this time. One thread says so.
    pub(super) fn takes(&self, micros: Micros) {
        let [last, mean] = &self.took;
        let micros = micros.max(1);
        let before = last.swap(micros, Relaxed);
        let known = mean.load(Relaxed);
        let now = if before == 0 {
            micros
        } else {
            known - known / 8 + micros / 8
        };
        mean.store(now, Relaxed);
    }

    /// Whether the store refused a record of this document: what is in memory does not follow on what is
    /// stored, and has to be loaded anew.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused.load(SeqCst)
    }

    /// Asks for a [`Stored`] at the next move. Look at [`Durable::reached`] after this, not before: a
    /// move in between is then either seen or told. `asked` is whether whoever waits for it has asked.
    pub fn want(&self, asked: bool) {
        // Before the other: who sees that sees this.
        if asked {
            self.asked.store(true, SeqCst);
        }
        self.wanted.store(true, SeqCst);
    }

    /// A record became durable; says whether somebody had asked for it.
    pub(super) fn advance(&self, seq: Seq, snapshots: u64, news: &mut News) -> bool {
        self.seq.fetch_max(seq, SeqCst);
        self.snapshots.fetch_add(snapshots, SeqCst);
        // At most one is on its way for each question.
        let wanted = self.wanted.swap(false, SeqCst);
        if wanted {
            news.add(self);
        }
        wanted && self.asked.swap(false, SeqCst)
    }

    /// Whether it is asked to tell of the next move, and whether somebody has asked for that.
    #[cfg(test)]
    pub(super) fn is_wanted(&self) -> (bool, bool) {
        (self.wanted.load(SeqCst), self.asked.load(SeqCst))
    }

    /// The store refused a record.
    pub(super) fn refuse(&self, news: &mut News) {
        self.refused.store(true, SeqCst);
        news.add(self);
    }
}

/// Who is to be told, by thread.
#[derive(Default)]
pub(super) struct News(Vec<(Bell, Vec<Recipient<Stored>>)>);

impl News {
    fn add(&mut self, durable: &Durable) {
        let listener = durable.listener.clone();
        let known = self.0.iter_mut().find(|(bell, _)| bell.0.same_channel(&durable.bell.0));
        match known {
            Some((_, listeners)) => listeners.push(listener),
            None => self.0.push((durable.bell.clone(), vec![listener])),
        }
    }

    /// Tells them.
    pub(super) fn spread(self) {
        for (bell, listeners) in self.0 {
            // A thread that has ended has no documents, and a document that is gone has nothing unsaved.
            let _ = bell.0.send(listeners);
        }
    }
}

/// The way to the task of one thread that hands news to its documents.
#[derive(Debug, Clone)]
struct Bell(mpsc::UnboundedSender<Vec<Recipient<Stored>>>);

thread_local! {
    static BELL: RefCell<Option<Bell>> = const { RefCell::new(None) };
}

impl Bell {
    /// Of the thread that runs this; its task is started when there is none.
    fn of_this_thread() -> Self {
        BELL.with_borrow_mut(|known| {
            if let Some(bell) = known.as_ref().filter(|bell| !bell.0.is_closed()) {
                return bell.clone();
            }
            let (sender, mut news) = mpsc::unbounded_channel::<Vec<Recipient<Stored>>>();
            actix_rt::spawn(async move {
                while let Some(listeners) = news.recv().await {
                    for listener in listeners {
                        listener.do_send(Stored);
                    }
                }
            });
            known.insert(Self(sender)).clone()
        })
    }
}
