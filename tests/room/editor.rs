//! A front end as the stock provider makes it: a yrs document that speaks y-websocket.

use bytes::Bytes;
use cowrite::{
    protocol::{
        awareness::{self, Entry},
        lib0::{Reader, write_var_bytes, write_var_uint},
    },
    room::stream::Probe,
};
use yrs::{
    Any, ClientID, Doc, GetString, IdSet, Map, OffsetKind, Options, ReadTxn, StateVector, Text, Transact,
    TransactionMut, Update, WriteTxn, types::ToJson, updates::decoder::Decode, updates::encoder::Encode,
};

/// One message of the server, taken out of its WebSocket frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Step1(Vec<u8>),
    Step2(Vec<u8>),
    Update(Vec<u8>),
    Awareness(Vec<Entry>),
    Saved(Vec<u8>),
    Denied(String),
    Ping,
    /// A ping with a payload.
    Probe(Option<Probe>),
    Pong,
    Close(u16, String),
}

/// All messages in what one `poll_take` gave: some frames leave together.
pub fn heard(mut frames: &[u8]) -> Vec<Heard> {
    let mut all = Vec::new();
    while !frames.is_empty() {
        let (opcode, short) = (frames[0], usize::from(frames[1]));
        let (head, length) = match short {
            126 => (4, usize::from(u16::from_be_bytes([frames[2], frames[3]]))),
            127 => (10, u64::from_be_bytes(frames[2..10].try_into().unwrap()) as usize),
            _ => (2, short),
        };
        let payload = &frames[head..head + length];
        all.push(match opcode {
            0x82 => message(payload),
            0x88 => Heard::Close(
                u16::from_be_bytes([payload[0], payload[1]]),
                String::from_utf8(payload[2..].to_vec()).unwrap(),
            ),
            0x89 if payload.is_empty() => Heard::Ping,
            0x89 => Heard::Probe(Probe::of(payload)),
            0x8A => Heard::Pong,
            other => panic!("a frame with opcode {other:x}"),
        });
        frames = &frames[head + length..];
    }
    all
}

fn message(payload: &[u8]) -> Heard {
    let mut r = Reader::new(payload);
    let heard = match r.var_uint().unwrap() {
        0 => match r.var_uint().unwrap() {
            0 => Heard::Step1(r.var_bytes().unwrap().to_vec()),
            1 => Heard::Step2(r.var_bytes().unwrap().to_vec()),
            2 => Heard::Update(r.var_bytes().unwrap().to_vec()),
            other => panic!("sync message {other}"),
        },
        1 => {
            let payload = r.var_bytes().unwrap();
            let entries = awareness::decode(&Bytes::copy_from_slice(payload)).unwrap();
            let says_nothing = payload == awareness::nothing();
            Heard::Awareness(if says_nothing { Vec::new() } else { entries.to_vec() })
        }
        2 => {
            assert_eq!(r.var_uint().unwrap(), 0);
            Heard::Denied(r.var_string().unwrap().to_owned())
        }
        102 => Heard::Saved(r.var_bytes().unwrap().to_vec()),
        other => panic!("message {other}"),
    };
    r.finish().unwrap();
    heard
}

fn speak(head: &[u64], payload: &[u8]) -> Bytes {
    let mut out = Vec::new();
    head.iter().for_each(|number| write_var_uint(&mut out, *number));
    write_var_bytes(&mut out, payload);
    out.into()
}

pub fn step1(state_vector: &[u8]) -> Bytes {
    speak(&[0, 0], state_vector)
}

pub fn step2(update: &[u8]) -> Bytes {
    speak(&[0, 1], update)
}

pub fn update(update: &[u8]) -> Bytes {
    speak(&[0, 2], update)
}

pub fn states(entries: &[(u64, u32, &str)]) -> Bytes {
    let entries: Vec<Entry> = entries
        .iter()
        .map(|(client, clock, json)| entry(*client, *clock, json))
        .collect();
    speak(&[1], &awareness::encode(entries.iter()))
}

pub fn entry(client: u64, clock: u32, json: &str) -> Entry {
    let state = (json != "null").then(|| Bytes::copy_from_slice(json.as_bytes()));
    Entry { client, clock, state }
}

pub fn saved_question(payload: &[u8]) -> Bytes {
    speak(&[102], payload)
}

pub const AWARENESS_QUESTION: Bytes = Bytes::from_static(&[3]);

/// A document in a browser.
pub struct Editor {
    pub doc: Doc,
    pub client: u64,
}

/// What two documents have in common when nothing is missing in either.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    pub text: String,
    pub map: Any,
    pub clocks: StateVector,
    pub deleted: IdSet,
}

impl Editor {
    pub fn new(client: u64) -> Self {
        let mut options = Options::with_guid_and_client_id("editor".into(), ClientID::new(client));
        options.offset_kind = OffsetKind::Utf16;
        let doc = Doc::with_options(options);
        doc.get_or_insert_text("text");
        doc.get_or_insert_map("map");
        Self { doc, client }
    }

    /// Does something in one transaction; its update.
    pub fn edit(&self, work: impl FnOnce(&mut TransactionMut)) -> Vec<u8> {
        let mut txn = self.doc.transact_mut();
        work(&mut txn);
        txn.commit();
        txn.encode_update_v1()
    }

    /// Appends to the text.
    pub fn types(&self, text: &str) -> Vec<u8> {
        self.edit(|txn| {
            let root = txn.get_or_insert_text("text");
            let end = root.len(txn);
            root.insert(txn, end, text);
        })
    }

    /// Deletes from the text's beginning.
    pub fn deletes(&self, length: u32) -> Vec<u8> {
        self.edit(|txn| {
            let root = txn.get_or_insert_text("text");
            root.remove_range(txn, 0, length);
        })
    }

    pub fn text(&self) -> String {
        let txn = self.doc.transact();
        txn.get_text("text").unwrap().get_string(&txn)
    }

    pub fn state_vector(&self) -> Vec<u8> {
        self.doc.transact().state_vector().encode_v1()
    }

    /// What a peer lacks who has `had`.
    pub fn answer(&self, had: &[u8]) -> Vec<u8> {
        self.doc
            .transact()
            .encode_state_as_update_v1(&StateVector::decode_v1(had).unwrap())
    }

    pub fn state(&self) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v1(&StateVector::default())
    }

    pub fn applies(&self, update: &[u8]) {
        self.doc
            .transact_mut()
            .apply_update(Update::decode_v1(update).unwrap())
            .unwrap();
    }

    /// Whether something arrived whose foundation is missing.
    pub fn misses_something(&self) -> bool {
        self.doc.transact().has_missing_updates()
    }

    pub fn content(&self) -> Content {
        let txn = self.doc.transact();
        let snapshot = txn.snapshot();
        let text = txn.get_text("text").unwrap().get_string(&txn);
        let map = txn.get_map("map").unwrap().to_json(&txn);
        Content {
            text,
            map,
            clocks: snapshot.state_map,
            deleted: snapshot.delete_set,
        }
    }

    /// What the store would give to somebody who opens it.
    pub fn of(state: &[u8]) -> Self {
        let editor = Self::new(u64::from(u32::MAX));
        editor.applies(state);
        editor
    }
}

/// Random, reproducible edits.
pub fn scribble(editor: &Editor, random: &mut Random) -> (Vec<u8>, IdSet) {
    let mut txn = editor.doc.transact_mut();
    let text = txn.get_or_insert_text("text");
    let map = txn.get_or_insert_map("map");
    let length = text.len(&txn);
    match random.below(10) {
        0..=4 => {
            let many = if random.one_in(30) { 300 } else { 1 + random.below(6) };
            let words: String = (0..many).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
            let at = random.below(u64::from(length) + 1) as u32;
            text.insert(&mut txn, at, &words);
        }
        5..=6 if length > 0 => {
            let at = random.below(u64::from(length)) as u32;
            let many = (1 + random.below(8) as u32).min(length - at);
            text.remove_range(&mut txn, at, many);
        }
        9 => {
            map.remove(&mut txn, &format!("k{}", random.below(5)));
        }
        _ => {
            map.insert(&mut txn, format!("k{}", random.below(5)), random.below(1_000) as i64);
        }
    }
    txn.commit();
    (txn.encode_update_v1(), txn.delete_set().clone())
}

/// SplitMix64: small, good enough, the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}
