//! What other servers stored, and what may be there instead. The first byte says whose it is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cowrite::operator::{
    Place, Request,
    import::{Import, To},
    run,
};

/// Largest document that is taken, in bytes.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// Whatever is there, the import ends, what it wrote is sound, and the source stays as it is.
pub fn sources(input: &[u8]) {
    let Some((&what, rest)) = input.split_first() else {
        return;
    };
    let folder = tempfile::tempdir_in(memory()).expect("a folder");
    let from = folder.path().join("source");
    match what % 4 {
        0 => fs::write(&from, rest).expect("written"),
        1 => {
            // Two documents, of which one is whole when the other is not.
            let (one, other) = rest.split_at(rest.len() / 2 * usize::from(what >> 7));
            for (name, bytes) in [("one", one), ("other", other)] {
                fs::create_dir_all(from.join(name)).expect("a folder");
                fs::write(from.join(name).join("data.ysweet"), bytes).expect("written");
            }
        }
        2 => fs::write(&from, [b"SQLite format 3\0", rest].concat()).expect("written"),
        _ => leveldb(&from, rest),
    }
    let before = read(&from);
    let data = folder.path().join("data");
    let import = Import {
        from: from.clone(),
        to: To::Data(data.clone()),
        prefix: "p/".to_owned(),
        document_bytes_max: DOCUMENT_BYTES_MAX,
    };
    let _ = run(Request::MoveIn(import), &mut Vec::new());
    assert!(read(&from) == before, "the source is another one");
    let mut told = Vec::new();
    if data.exists() && run(Request::Verify(Place::Folder(data)), &mut told).is_err() {
        panic!("{}", String::from_utf8_lossy(&told));
    }
}

/// A folder of LevelDB: its parts are as long as two bytes say, or what is left.
fn leveldb(from: &Path, mut rest: &[u8]) {
    fs::create_dir_all(from).expect("a folder");
    for name in ["MANIFEST-000002", "000003.log", "000004.ldb"] {
        let (length, behind) = rest.split_at(rest.len().min(2));
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let (part, behind) = behind.split_at(behind.len().min(length));
        rest = behind;
        fs::write(from.join(name), part).expect("written");
    }
    fs::write(from.join("CURRENT"), "MANIFEST-000002\n").expect("written");
}

/// Everything in it.
fn read(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    if path.is_file() {
        return vec![(path.to_owned(), fs::read(path).expect("read"))];
    }
    let entries = fs::read_dir(path).expect("a folder");
    let mut all: Vec<_> = entries
        .flat_map(|entry| read(&entry.expect("an entry").path()))
        .collect();
    all.sort();
    all
}

/// A folder that no disk is behind, where there is one.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}
