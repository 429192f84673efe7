//! The least a server does with an update: check, judge, take.

use bytes::Bytes;
use cowrite::document::{Deleted, Document, Verdict, read::read};
use cowrite::protocol::update::{CheckedUpdate, Clocks, EMPTY_UPDATE};

/// More than any honest document takes.
const STEPS_MAX: u64 = 100_000_000;

/// A document as a server holds it.
pub struct Room {
    pub document: Document,
}

impl Room {
    pub fn new() -> Self {
        Self::with(Deleted::Dropped)
    }

    pub fn with(deleted: Deleted) -> Self {
        Self {
            document: Document::new(deleted),
        }
    }

    /// What a store holds.
    pub fn open(state: &Bytes, deleted: Deleted) -> Self {
        let document = Document::open([(1, state)], deleted).expect("a stored state");
        Self { document }
    }

    /// Takes `bytes`, whole, and returns what was new.
    pub fn receive(&mut self, bytes: &Bytes) -> CheckedUpdate {
        let checked = CheckedUpdate::check(bytes.clone()).expect("an honest update");
        match self.document.judge(checked) {
            Verdict::News(news) if !news.is_partial() => {
                let update = news.update().clone();
                self.document.take(news);
                update
            }
            Verdict::Known => CheckedUpdate::check(Bytes::from_static(EMPTY_UPDATE)).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// All that a case says.
    pub fn receive_all<'a>(&mut self, updates: impl IntoIterator<Item = &'a Bytes>) -> Vec<CheckedUpdate> {
        updates.into_iter().map(|update| self.receive(update)).collect()
    }

    pub fn clocks(&self) -> &Clocks {
        self.document.clocks()
    }

    pub fn state(&self) -> Bytes {
        self.document.since(&Clocks::default())
    }

    /// Everything that it holds, exactly; comparable whatever the order in which it came.
    pub fn content(&self) -> String {
        content(&self.state())
    }
}

/// Everything that a state holds, exactly.
pub fn content(state: &Bytes) -> String {
    let state = CheckedUpdate::check(state.clone()).unwrap();
    let reading = read(&state, STEPS_MAX).expect("an honest state");
    reading.json(STEPS_MAX).expect("an honest state")
}

/// Like `assert_eq`, for texts that are too long to print.
#[track_caller]
pub fn assert_same(left: &str, right: &str, what: &str) {
    if left != right {
        let at = left.bytes().zip(right.bytes()).take_while(|(a, b)| a == b).count();
        let around = |text: &str| {
            let bytes = &text.as_bytes()[at.saturating_sub(60)..(at + 60).min(text.len())];
            String::from_utf8_lossy(bytes).into_owned()
        };
        panic!("{what}: at byte {at}\n  {}\n  {}", around(left), around(right));
    }
}
