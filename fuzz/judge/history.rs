//! Updates that refer to each other: some lack something, come late, twice, or after a restart.

use bytes::Bytes;
use cowrite::{
    document::{Deleted, Document, Verdict},
    protocol::{
        lib0::write_var_uint,
        update::{CheckedUpdate, Clocks},
    },
};

use super::{
    document::{Outcome, assert_shows, content, receive, state, submit, verify},
    forge::{Choices, Dice, forged},
};

/// Updates of one history: more makes it slow, and finds nothing that fewer do not.
const UPDATES_MAX: usize = 40;

/// A history that the input's bytes choose.
pub fn history(input: &[u8]) {
    let mut choices = Choices(input);
    let deleted = choices.of(&[Deleted::Dropped, Deleted::Kept]);
    let rights = choices.chance(3);
    let mut told = History::new(deleted, rights);
    while !choices.is_empty() && told.said.len() < UPDATES_MAX {
        told.goes_on(&mut choices);
    }
    while let Some(late) = told.held.pop() {
        told.submit(&late);
    }
    told.ends(&mut choices);
}

struct History {
    document: Document,
    deleted: Deleted,
    /// Whether structs have right origins.
    rights: bool,
    /// What its clients know, which the document need not have yet.
    written: Clocks,
    said: Vec<Bytes>,
    held: Vec<Bytes>,
    news: Vec<CheckedUpdate>,
}

impl History {
    fn new(deleted: Deleted, rights: bool) -> Self {
        Self {
            document: Document::new(deleted),
            deleted,
            rights,
            written: Clocks::default(),
            said: Vec::new(),
            held: Vec::new(),
            news: Vec::new(),
        }
    }

    fn goes_on(&mut self, choices: &mut Choices) {
        match choices.below(16) {
            // Said again.
            12 if !self.said.is_empty() => {
                let again = choices.of(&self.said);
                self.submit(&again);
            }
            // Late: others refer to it meanwhile.
            11 => {
                if let Some(update) = self.writes(choices) {
                    self.held.push(update);
                }
            }
            13 if !self.held.is_empty() => {
                let at = choices.below(self.held.len() as u64) as usize;
                let late = self.held.remove(at);
                self.submit(&late);
            }
            14 => self.restarts(),
            15 => {
                let all = deletes_all(&self.document, choices);
                self.submit(&all);
            }
            _ => {
                if let Some(update) = self.writes(choices) {
                    self.submit(&update);
                }
            }
        }
    }

    /// Somebody writes something that passes the check.
    fn writes(&mut self, choices: &mut Choices) -> Option<Bytes> {
        let bytes = Bytes::from(forged(choices, &self.written, self.rights));
        let checked = CheckedUpdate::check(bytes.clone()).ok()?;
        for (client, clocks) in checked.spans() {
            if clocks.start <= self.written.next(client) {
                self.written.advance(client, clocks.end);
            }
        }
        self.said.push(bytes.clone());
        Some(bytes)
    }

    fn submit(&mut self, bytes: &Bytes) {
        let Ok(checked) = CheckedUpdate::check(bytes.clone()) else {
            return;
        };
        if let Outcome::Taken { update, .. } = submit(&mut self.document, &checked) {
            self.news.push(update);
        }
        if self.held.is_empty() {
            self.written = self.document.clocks().clone();
        }
    }

    fn restarts(&mut self) {
        let stored = state(&self.document);
        self.document = Document::open([(1, &stored)], self.deleted).expect("the document's own state opens");
    }

    fn ends(&self, choices: &mut Choices) {
        let nothing = Bytes::from_static(&[0, 0]);
        verify(&self.document, &nothing, &self.news, !self.rights);
        let shown = content(&state(&self.document)).filter(|_| !self.rights);
        // One after the other, without restarts, whether or not what is deleted is kept.
        for deleted in [Deleted::Dropped, Deleted::Kept] {
            let mut live = Document::new(deleted);
            for update in &self.news {
                receive(&mut live, update.bytes(), "what was news is news to who had the same");
            }
            assert_eq!(live.clocks(), self.document.clocks());
            assert_shows(&live, shown.as_ref(), "one after the other");
        }
        // What is cut by any state vector is known, and all that follows it makes it whole.
        for half in [false, true] {
            let mut vector = vec![];
            let clocks = self.document.clocks();
            write_var_uint(&mut vector, clocks.len() as u64);
            for (client, next) in clocks.iter() {
                let clock = if half {
                    next / 2
                } else {
                    choices.below(u64::from(next) + 1) as u32
                };
                write_var_uint(&mut vector, client);
                write_var_uint(&mut vector, u64::from(clock));
            }
            let had = Clocks::decode(&vector).expect("a state vector");
            let lacking = CheckedUpdate::check(self.document.since(&had)).expect("what a peer lacks passes the check");
            assert!(
                matches!(self.document.judge(lacking), Verdict::Known),
                "what is told is known to who tells it"
            );
        }
    }
}

/// An update that deletes all that one client, or everybody, wrote.
fn deletes_all(document: &Document, choices: &mut Choices) -> Bytes {
    let mut clocks: Vec<(u64, u32)> = document.clocks().iter().collect();
    if clocks.len() > 1 && !choices.chance(4) {
        clocks = vec![choices.of(&clocks)];
    }
    let mut out = vec![0];
    write_var_uint(&mut out, clocks.len() as u64);
    for (client, next) in clocks {
        write_var_uint(&mut out, client);
        out.extend([1, 0]);
        write_var_uint(&mut out, u64::from(next));
    }
    out.into()
}
