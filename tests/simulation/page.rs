//! A page in a browser: its documents, and what the provider of its wire makes of what it hears.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use yrs::{ClientID, ID, IdSet};

use super::{
    editor::{Editor, saved_question, states, step1, step2},
    wire::{self, Heard, Wire},
};
use cowrite::room::Micros;

/// No message of several that belong together is shorter, but those behind it.
const ALONE_BYTES_MAX: usize = 1_000;

/// What an editor did itself, up to some moment.
#[derive(Debug, Default, Clone)]
pub struct Own {
    pub clock: u32,
    pub deleted: IdSet,
}

impl Own {
    /// Whether a document has all of it.
    pub fn is_in(&self, client: u64, document: &super::editor::Content) -> bool {
        let deletions = self.deleted.iter().all(|(client, ranges)| {
            let clocks = ranges.iter().flat_map(|range| range.start..range.end);
            clocks
                .into_iter()
                .all(|clock| document.deleted.contains(&ID::new(*client, clock)))
        });
        document.clocks.get(&ClientID::new(client)) >= self.clock && deletions
    }
}

/// One document of a page.
pub struct Desk {
    pub document: usize,
    /// How it is addressed on Hocuspocus' wire: its name, and perhaps a session's.
    pub address: String,
    pub editor: Editor,
    pub own: Own,
    pub acknowledged: Own,
    pub clock: u32,
    pub announced: Micros,
    pub sees: BTreeMap<u64, (u32, Option<Bytes>)>,
    /// Updates that it has sent: the network may bring them again.
    pub sent: Vec<Bytes>,
    /// Its provider has begun on this line.
    pub is_attached: bool,
    answered: bool,
    attachments: u64,
    question: u64,
    /// What it had done by the time of each question that waits.
    pub questions: VecDeque<(u64, Own)>,
    /// Hocuspocus: `unsyncedChanges`.
    pub unsynced: u64,
}

/// Where a page is.
pub struct Page {
    pub wire: Wire,
    pub desks: Vec<Desk>,
    pub reads_only: bool,
    pub subject: Option<&'static str>,
    pub has_version: bool,
    pub line: Option<u64>,
    /// What of the line has arrived and is no whole frame yet.
    pub arrived: BytesMut,
    /// How eagerly it reads: one in so many chances.
    pub slowness: u64,
    /// What it wants to say.
    pub says: Vec<Vec<u8>>,
}

/// What a page heard, as far as the world wants to know.
#[derive(Debug, Default)]
pub struct News {
    /// Something is called saved that was not before: which desk, and what.
    pub acknowledged: Vec<usize>,
    pub was_denied: bool,
}

impl Desk {
    pub fn new(document: usize, address: String, client: u64) -> Self {
        Self {
            document,
            address,
            editor: Editor::new(client),
            own: Own::default(),
            acknowledged: Own::default(),
            clock: 0,
            announced: 0,
            sees: BTreeMap::new(),
            sent: Vec::new(),
            is_attached: false,
            answered: false,
            attachments: 0,
            question: 0,
            questions: VecDeque::new(),
            unsynced: 0,
        }
    }

    pub fn own_clock(&self) -> u32 {
        let clocks = self.editor.content().clocks;
        clocks.get(&ClientID::new(self.editor.client))
    }

    /// What others should see of it.
    pub fn state(&self) -> (u64, (u32, Option<Bytes>)) {
        (self.editor.client, (self.clock, Some(self.json().into())))
    }

    fn json(&self) -> String {
        format!("{{\"n\":{},\"at\":{}}}", self.editor.client, self.clock)
    }

    fn begins(&mut self) {
        self.is_attached = true;
        self.answered = false;
        self.questions.clear();
        self.sees.clear();
        // One change is not synced: the answer to what the server will ask.
        self.unsynced = 1;
    }
}

impl Page {
    /// Whether it waits to hear that everything is saved. A reader on Hocuspocus' wire that was told that it brought what it
    /// may not write is not told otherwise (X7).
    pub fn waits(&self) -> bool {
        let waits = |desk: &Desk| match self.wire {
            Wire::Hocuspocus => desk.unsynced > 0 && !self.reads_only,
            _ => !desk.questions.is_empty(),
        };
        self.desks.iter().any(waits)
    }

    /// The line is open: the provider begins.
    pub fn connects(&mut self, line: u64, now: Micros, asks: bool) {
        self.line = Some(line);
        self.arrived.clear();
        for n in 0..self.desks.len() {
            self.attaches(n, now);
            if self.wire == Wire::YSweet || (asks && self.wire == Wire::YWebsocket) {
                self.asks(n);
            }
        }
    }

    pub fn disconnects(&mut self) {
        self.line = None;
        self.says.clear();
        for desk in &mut self.desks {
            desk.is_attached = false;
            desk.questions.clear();
        }
    }

    /// Comes back to a document on a line that goes on. Its provider is another one: what is still under way for the one
    /// before it must not count for it, so it has an address of its own.
    pub fn comes_back(&mut self, n: usize, now: Micros) {
        let desk = &mut self.desks[n];
        desk.attachments += 1;
        desk.address = format!("doc{}\0{n}.{}", desk.document, desk.attachments);
        self.attaches(n, now);
    }

    fn attaches(&mut self, n: usize, now: Micros) {
        self.desks[n].begins();
        if self.wire == Wire::Hocuspocus {
            self.say(n, &wire::auth(self.has_version));
        }
        let hello = step1(&self.desks[n].editor.state_vector());
        self.say(n, &hello);
        self.announces(n, now);
    }

    /// Leaves one document, on a line that goes on.
    pub fn detaches(&mut self, n: usize) {
        self.say(n, wire::CLOSE);
        self.desks[n].is_attached = false;
    }

    pub fn say(&mut self, n: usize, message: &[u8]) {
        let desk = &self.desks[n];
        if !desk.is_attached || self.line.is_none() {
            return;
        }
        self.says.push(match self.wire {
            Wire::Hocuspocus => wire::to(&desk.address, message),
            _ => message.to_vec(),
        });
    }

    pub fn announces(&mut self, n: usize, now: Micros) {
        let desk = &mut self.desks[n];
        desk.clock += 1;
        desk.announced = now;
        let message = states(&[(desk.editor.client, desk.clock, &desk.json())]);
        self.say(n, &message);
    }

    /// An update of its own.
    pub fn sends(&mut self, n: usize, update: &Bytes) {
        let desk = &mut self.desks[n];
        desk.sent.push(update.clone());
        desk.unsynced += 1;
        self.say(n, update);
    }

    /// Asks whether all is saved. y-sweet's client asks before it has said what it has; `trackSaved` does not count what it
    /// is told before that.
    pub fn asks(&mut self, n: usize) {
        if self.wire == Wire::Hocuspocus || self.line.is_none() {
            return;
        }
        let counts = self.wire == Wire::YSweet || self.desks[n].answered;
        let desk = &mut self.desks[n];
        desk.question += 1;
        let about = if counts { desk.own.clone() } else { Own::default() };
        desk.questions.push_back((desk.question, about));
        let question = saved_question(&wire::number(desk.question));
        self.say(n, &question);
    }

    /// What the provider does about a message.
    pub fn hears(&mut self, payload: &Bytes, now: Micros, news: &mut News) {
        let (address, heard) = wire::read(self.wire, payload);
        let to_whom = |desk: &Desk| address.as_ref().is_none_or(|address| *address == desk.address);
        // What is for a provider that has left is for nobody.
        let Some(n) = self.desks.iter().position(to_whom) else {
            return;
        };
        if !self.desks[n].is_attached {
            return;
        }
        match heard {
            Heard::Step1(had) => {
                self.desks[n].answered = true;
                let answer = step2(&self.desks[n].editor.answer(&had));
                self.say(n, &answer);
            }
            Heard::Step2(update) => {
                let editor = &self.desks[n].editor;
                editor.applies(&update);
                assert!(!editor.misses_something(), "something arrived before what it stands on");
            }
            Heard::Update(update) => {
                let editor = &self.desks[n].editor;
                // What is large comes in several messages, which wait for the last of them.
                let may_wait = update.len() > ALONE_BYTES_MAX || editor.misses_something();
                editor.applies(&update);
                assert!(
                    may_wait || !editor.misses_something(),
                    "something arrived before what it stands on"
                );
            }
            Heard::Awareness(entries) => {
                for entry in entries {
                    self.sees(n, entry, now);
                }
            }
            Heard::Saved(payload) => {
                let desk = &mut self.desks[n];
                let (asked, own) = desk.questions.pop_front().expect("an answer to a question");
                assert_eq!(
                    payload,
                    wire::number(asked),
                    "answers come in the order of their questions"
                );
                if own.clock >= desk.acknowledged.clock {
                    desk.acknowledged = own;
                    news.acknowledged.push(n);
                }
            }
            Heard::Taken(true) => {
                let desk = &mut self.desks[n];
                assert!(desk.unsynced > 0, "nothing more was to be acknowledged");
                desk.unsynced -= 1;
                if desk.unsynced == 0 {
                    desk.acknowledged = desk.own.clone();
                    news.acknowledged.push(n);
                }
            }
            // It has what a crash of the server lost, and what its author has yet to send again.
            Heard::Taken(false) => assert!(self.reads_only, "an update of an honest page is not taken"),
            Heard::TokenWanted => {
                let token = wire::auth(self.has_version);
                self.say(n, &token);
            }
            Heard::Denied if self.wire == Wire::Hocuspocus => {
                self.desks[n].is_attached = false;
                news.was_denied = true;
            }
            Heard::Admitted { may_write } => assert_eq!(may_write, !self.reads_only),
            Heard::Denied | Heard::Stateless => {}
        }
    }

    /// y-protocols, awareness.js: `applyAwarenessUpdate`.
    fn sees(&mut self, n: usize, entry: cowrite::protocol::awareness::Entry, now: Micros) {
        let desk = &mut self.desks[n];
        if entry.client == desk.editor.client {
            if entry.state.is_none() && entry.clock >= desk.clock {
                desk.clock = entry.clock;
                self.announces(n, now);
            }
            return;
        }
        let known = desk.sees.get(&entry.client);
        let newer = known.is_none_or(|(clock, state)| {
            *clock < entry.clock || (*clock == entry.clock && entry.state.is_none() && state.is_some())
        });
        if newer {
            desk.sees.insert(entry.client, (entry.clock, entry.state));
        }
    }
}
