//! `tests/fixtures/yjs/updates.bin`: see `generate.js` beside it for its format.

use bytes::Bytes;
use cowrite::protocol::lib0::Reader;
use std::path::PathBuf;

/// One document's history, in causal order, and what it holds in the end.
pub struct Case {
    pub name: String,
    pub updates: Vec<Bytes>,
    pub content: serde_json::Value,
}

pub fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/yjs")
}

pub fn cases() -> Vec<Case> {
    read(&std::fs::read(directory().join("updates.bin")).unwrap())
}

pub fn read(bytes: &[u8]) -> Vec<Case> {
    let mut r = Reader::new(bytes);
    assert_eq!(r.var_string().unwrap(), "cowrite fixture 1");
    let cases = (0..r.var_uint().unwrap())
        .map(|_| Case {
            name: r.var_string().unwrap().to_owned(),
            updates: (0..r.var_uint().unwrap())
                .map(|_| Bytes::copy_from_slice(r.var_bytes().unwrap()))
                .collect(),
            content: serde_json::from_str(&cowrite::protocol::json::repair(r.var_string().unwrap())).unwrap(),
        })
        .collect();
    r.finish().unwrap();
    cases
}
