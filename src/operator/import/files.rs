//! Plain Yjs updates: a file is a document, its path below the folder is the name.

use std::{fs, path::Path};

use super::{Draft, Failure, Found, Visit, bounded, failed};

/// Endings that are no part of a name.
const ENDINGS: [&str; 3] = [".bin", ".yjs", ".update"];

/// Deepest folder that is looked into: names are not longer.
const DEPTH_MAX: usize = 256;

/// Each file at or below `from`.
pub(super) fn read(from: &Path, limit: usize, visit: &mut Visit) -> Result<(), Failure> {
    if from.is_dir() {
        return folder(from, "", limit, visit, 0);
    }
    let name = from.file_name().unwrap_or_default().to_string_lossy();
    // The one that is named may be a link.
    let path = from.canonicalize().map_err(|error| failed("read", from, error))?;
    file(&path, &name, limit, visit)
}

fn folder(path: &Path, above: &str, limit: usize, visit: &mut Visit, depth: usize) -> Result<(), Failure> {
    let mut entries = fs::read_dir(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed("read", path, error))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(|error| failed("read", &path, error))?;
        let file_name = entry.file_name();
        let Some(own) = file_name.to_str() else {
            visit(unread(&path, "its name is not UTF-8"))?;
            continue;
        };
        let name = format!("{above}{own}");
        if !kind.is_dir() {
            file(&path, &name, limit, visit)?;
        } else if depth < DEPTH_MAX {
            folder(&path, &(name + "/"), limit, visit, depth + 1)?;
        } else {
            visit(unread(&path, "it is too deep"))?;
        }
    }
    Ok(())
}

fn file(path: &Path, name: &str, limit: usize, visit: &mut Visit) -> Result<(), Failure> {
    let name = ENDINGS
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name);
    visit(Found::Document {
        name: name.to_owned(),
        draft: bounded(path, limit).and_then(|bytes| Draft::of(bytes, limit)),
    })
}

fn unread(path: &Path, why: &str) -> Found {
    Found::Unread {
        what: path.display().to_string(),
        why: why.to_owned(),
    }
}
