//! Documents to open and keystrokes to send, as Yjs updates.

use std::io::Read;

use flate2::read::GzDecoder;
use serde::Deserialize;
use yrs::{Doc, GetString, Options, ReadTxn, StateVector, Transact, Update, updates::decoder::Decode};

use crate::wire::{self, MARKER_BYTES, MARKER_UNITS};

const PAPER: &[u8] = include_bytes!("../../tests/data/automerge-paper.json.gz");

/// The author of all that is here.
pub const AUTHOR: u64 = 1_234_567_890;

#[derive(Deserialize)]
struct History {
    txns: Vec<Transaction>,
}

#[derive(Deserialize)]
struct Transaction {
    patches: Vec<(usize, usize, String)>,
}

/// Keystrokes of one author, and what they make.
pub struct Keystrokes {
    /// One update for each.
    pub updates: Vec<Vec<u8>>,
    /// The text after them.
    pub text: String,
    /// The next clock of the author.
    pub clock: u64,
    /// The first character of the text, deleted ones included.
    first: Option<u64>,
}

impl Keystrokes {
    /// The first `most` keystrokes of a real paper.
    pub fn of_a_paper(most: usize) -> Self {
        let mut json = String::new();
        GzDecoder::new(PAPER)
            .read_to_string(&mut json)
            .expect("the trace is whole");
        let history: History = serde_json::from_str(&json).expect("the trace is JSON");
        // `next[0]` is what follows the beginning, `next[n + 1]` what follows the character with clock n.
        let mut next: Vec<Option<u64>> = vec![None];
        let mut seen: Vec<(u64, char)> = Vec::new();
        let mut updates = Vec::with_capacity(most.min(300_000));
        for (at, deleted, typed) in history.txns.into_iter().flat_map(|txn| txn.patches) {
            for _ in 0..deleted {
                let (clock, _) = seen.remove(at);
                let mut update = Vec::with_capacity(16);
                wire::delete(&mut update, AUTHOR, clock);
                updates.push(update);
            }
            for (offset, character) in typed.chars().enumerate() {
                let clock = next.len() as u64 - 1;
                let left = (at + offset).checked_sub(1).map(|index| seen[index].0);
                let behind = left.map_or(0, |left| left as usize + 1);
                let right = next[behind].replace(clock);
                next.push(right);
                seen.insert(at + offset, (clock, character));
                let mut update = Vec::with_capacity(32);
                let mut buffer = [0; 4];
                wire::insert(
                    &mut update,
                    AUTHOR,
                    clock,
                    left,
                    right,
                    character.encode_utf8(&mut buffer).as_bytes(),
                );
                updates.push(update);
            }
            if updates.len() >= most {
                break;
            }
        }
        let text = seen.iter().map(|(_, character)| *character).collect();
        Self {
            updates,
            text,
            clock: next.len() as u64 - 1,
            first: next[0],
        }
    }

    /// One more edit, at the very beginning: who has it has all.
    pub fn last_of_all(&self) -> (Vec<u8>, [u8; MARKER_BYTES]) {
        let marker = wire::marker(0, 0xff_fffe);
        let mut update = Vec::new();
        wire::insert(&mut update, AUTHOR, self.clock, None, self.first, &marker);
        (update, marker)
    }
}

/// A full state of about `bytes`: a paper with its history, and plain text behind it.
pub fn paper_of(bytes: usize) -> Vec<u8> {
    let keystrokes = Keystrokes::of_a_paper(usize::MAX);
    let doc = server_like();
    {
        let mut txn = doc.transact_mut();
        for update in &keystrokes.updates {
            txn.apply_update(Update::decode_v1(update).expect("written here"))
                .expect("in order");
        }
        let missing = bytes.saturating_sub(txn.encode_state_as_update_v1(&StateVector::default()).len());
        let mut update = Vec::new();
        let (client, number) = (AUTHOR + 1, 0);
        wire::append(&mut update, client, number, &vec![b'x'; missing], MARKER_UNITS);
        txn.apply_update(Update::decode_v1(&update).expect("written here"))
            .expect("in order");
    }
    doc.transact().encode_state_as_update_v1(&StateVector::default())
}

/// One update of about `bytes`, in pieces of `piece` characters that cannot be joined: each was
/// written before the one that was written before it.
pub fn heap_of(bytes: usize, piece: usize) -> Vec<u8> {
    let pieces = (bytes / (piece + 12)).max(1);
    let mut out = vec![1];
    wire::var_uint(&mut out, pieces as u64);
    wire::var_uint(&mut out, AUTHOR);
    wire::var_uint(&mut out, 0);
    let text = vec![b'y'; piece];
    for n in 0..pieces as u64 {
        let right = n.checked_sub(1).map(|before| before * piece as u64);
        wire::item(&mut out, AUTHOR, None, right, &text);
    }
    out.push(0);
    out
}

/// One update in which `clients` clients each wrote one character.
pub fn crowd_of(clients: usize) -> Vec<u8> {
    let mut out = Vec::new();
    wire::var_uint(&mut out, clients as u64);
    for n in (0..clients as u64).rev() {
        wire::var_uint(&mut out, 1);
        wire::var_uint(&mut out, 10_000 + n * 40_009);
        out.push(0);
        wire::item(&mut out, 0, None, None, b"z");
    }
    out.push(0);
    out
}

/// The text that updates make, applied in their order.
pub fn text_of<'a>(updates: impl Iterator<Item = &'a [u8]>) -> Result<String, String> {
    let doc = server_like();
    let text = doc.get_or_insert_text("t");
    let mut txn = doc.transact_mut();
    for update in updates {
        let update = Update::decode_v1(update).map_err(|error| error.to_string())?;
        txn.apply_update(update).map_err(|error| error.to_string())?;
    }
    Ok(text.get_string(&txn))
}

fn server_like() -> Doc {
    Doc::with_options(Options {
        offset_kind: yrs::OffsetKind::Utf16,
        ..Options::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keystrokes_make_the_text_that_was_typed() {
        let keystrokes = Keystrokes::of_a_paper(3_000);
        let (last, marker) = keystrokes.last_of_all();
        let updates = keystrokes.updates.iter().map(Vec::as_slice).chain([last.as_slice()]);
        let expected = format!("{}{}", std::str::from_utf8(&marker).unwrap(), keystrokes.text);
        assert_eq!(text_of(updates).unwrap(), expected);
    }

    #[test]
    fn documents_are_as_large_as_asked_and_readable() {
        let heap = heap_of(100_000, 50);
        assert!((90_000..110_000).contains(&heap.len()), "{}", heap.len());
        assert_eq!(text_of([heap.as_slice()].into_iter()).unwrap().len(), 100_000 / 62 * 50);
        assert_eq!(
            text_of([crowd_of(100).as_slice()].into_iter()).unwrap(),
            "z".repeat(100)
        );
    }
}
