//! y-sweet with its file system store: `FOLDER/<document>/data.ysweet`.
//!
//! Such a file is bincode 1.3 of a map from bytes to bytes (y-sweet-core `sync_kv.rs`): a count, then keys and values, each
//! with its length before it, all numbers `u64` in little endian. The keys are those of yrs-kvstore: `00 00 name 00` gives
//! the number of a document (`doc` is the only one), `00 01 number 00` is its state, `00 01 number 02 clock 00` an update
//! after that; numbers are `u32` in big endian.

use std::{collections::BTreeMap, fs, io, path::Path};

use super::{Draft, Failure, Found, Visit, bounded, failed};

const FILE: &str = "data.ysweet";

/// The key of the number of the document in a file.
const NUMBER: &[u8] = b"\0\0doc\0";
const STATE: u8 = 0;
const UPDATE: u8 = 2;

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
    let entries = entries(&bytes).ok_or("it is damaged, or not written by y-sweet 0.9 or earlier")?;
    let mut draft = Draft::new(limit);
    let Some(number) = entries.get(NUMBER) else {
        // One into which nobody has written.
        return if entries.is_empty() {
            Ok(draft)
        } else {
            Err("it does not say which of its parts are the document".to_owned())
        };
    };
    let state = [&[0, 1], *number, &[STATE]].concat();
    let updates = [&[0, 1], *number, &[UPDATE]].concat();
    let (state, updates) = (
        entries.get(&state[..]),
        entries
            .range(&updates[..]..)
            .take_while(|(key, _)| key.starts_with(&updates)),
    );
    for bytes in state.into_iter().chain(updates.map(|(_, value)| value)) {
        draft.add(bytes.to_vec())?;
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
