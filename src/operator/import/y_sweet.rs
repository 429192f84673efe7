//! y-sweet with its file system store: `FOLDER/<document>/data.ysweet`.
//!
//! Such a file is bincode 1.3 of a map from bytes to bytes (y-sweet-core `sync_kv.rs`): a count, then keys and values, each
//! with its length before it, all numbers `u64` in little endian. The keys are those of yrs-kvstore: `00 00 name 00` gives
//! the number of a document (`doc` is the only one), `00 01 number 00` is its state, `00 01 number 01` the state vector of
//! that, `00 01 number 02 clock 00` an update after it; numbers are `u32` in big endian. There are no checksums.

use std::{collections::BTreeMap, fs, io, path::Path};

use super::{Draft, Failure, Found, Visit, bounded, failed};
use crate::protocol::update::Clocks;

const FILE: &str = "data.ysweet";

/// The key of the number of the document in a file.
const NUMBER: &[u8] = b"\0\0doc\0";
const STATE: u8 = 0;
const STATE_VECTOR: u8 = 1;
const UPDATE: u8 = 2;

const DAMAGED: &str = "it is damaged, or not written by y-sweet 0.9 or earlier";

/// Whether a folder has documents of y-sweet.
pub(super) fn is_folder(from: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(from)? {
        if entry?.path().join(FILE).is_file() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Each document of the folder.
pub(super) fn read(from: &Path, limit: usize, visit: &mut Visit) -> Result<(), Failure> {
    let mut entries = fs::read_dir(from)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed("read", from, error))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path().join(FILE);
        let found = match entry.file_name().into_string() {
            Ok(name) => Found::Document {
                name,
                draft: document(&path, limit),
            },
            Err(_) => Found::Unread {
                what: path.display().to_string(),
                why: "its name is not UTF-8".to_owned(),
            },
        };
        visit(found)?;
    }
    Ok(())
}

fn document(path: &Path, limit: usize) -> Result<Draft, String> {
    // Beside the state the file has a state vector, which is smaller, and keys.
    let bytes = bounded(path, limit.saturating_mul(2))?;
    let entries = entries(&bytes).ok_or(DAMAGED)?;
    let mut draft = Draft::new(limit);
    if entries.is_empty() {
        // One into which nobody has written.
        return Ok(draft);
    }
    let number = entries.get(NUMBER).ok_or(DAMAGED)?;
    let key = |kind: u8| [&[0, 1], *number, &[kind]].concat();
    let state = entries.get(&key(STATE)[..]);
    let updates = key(UPDATE);
    let updates = entries
        .range(&updates[..]..)
        .take_while(|(key, _)| key.starts_with(&updates));
    let updates: Vec<&[u8]> = updates.map(|(_, value)| *value).collect();
    if state.is_none() && updates.is_empty() {
        return Err(DAMAGED.to_owned());
    }
    for bytes in state.into_iter().chain(&updates) {
        draft.add(bytes.to_vec())?;
    }
    let vector = entries.get(&key(STATE_VECTOR)[..]).ok_or(DAMAGED)?;
    let vector = Clocks::decode(vector).map_err(|_| DAMAGED)?;
    if updates.is_empty() && !draft.has(&vector) {
        return Err("it is damaged: it has less than its state vector says".to_owned());
    }
    Ok(draft)
}

/// Keys and values, or none when the file is not whole.
fn entries(bytes: &[u8]) -> Option<BTreeMap<&[u8], &[u8]>> {
    let mut rest = bytes;
    let mut entries = BTreeMap::new();
    for _ in 0..number(&mut rest)? {
        let key = part(&mut rest)?;
        entries.insert(key, part(&mut rest)?);
    }
    rest.is_empty().then_some(entries)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (number, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u64::from_le_bytes(*number))
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(number(rest)?).ok()?;
    let (part, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(part)
}
