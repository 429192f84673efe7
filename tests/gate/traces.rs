//! The editing traces of `tests/data`, and everything in the fixtures, with real Yjs as the judge. Node runs it: once
//! `npm ci --prefix tests/fixtures/yjs`, then `cargo test --no-default-features --test gate yjs -- --ignored`.

use crate::fixtures::{Case, cases, directory, read};
use crate::room::Room;
use bytes::Bytes;
use cowrite::document::Deleted;
use cowrite::protocol::lib0::{write_var_bytes, write_var_uint};
use cowrite::protocol::update::{CheckedUpdate, merge, split};
use std::path::PathBuf;
use std::process::Command;

pub fn node(script: &str, file: &PathBuf) {
    let status = Command::new("node")
        .arg(directory().join(script))
        .arg(file)
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
}

/// The traces, and how they are called.
pub fn written() -> Vec<(String, Case)> {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("traces.bin");
    if !file.exists() {
        node("traces.js", &file);
    }
    read(&std::fs::read(file).unwrap())
        .into_iter()
        .map(|case| (case.name.clone(), case))
        .collect()
}

/// Documents for `check.js`: a name, updates, and what they hold.
pub type Documents = Vec<(String, Vec<Bytes>, String)>;

pub fn write(documents: &Documents, file: &str) -> PathBuf {
    let mut out = Vec::new();
    write_var_bytes(&mut out, b"cowrite fixture 1");
    write_var_uint(&mut out, documents.len() as u64);
    for (name, updates, content) in documents {
        write_var_bytes(&mut out, name.as_bytes());
        write_var_uint(&mut out, updates.len() as u64);
        updates.iter().for_each(|update| write_var_bytes(&mut out, update));
        write_var_bytes(&mut out, content.as_bytes());
    }
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(file);
    std::fs::write(&file, out).unwrap();
    file
}

fn bytes(updates: &[CheckedUpdate]) -> Vec<Bytes> {
    updates.iter().map(|update| update.bytes().clone()).collect()
}

#[test]
#[ignore = "needs node: scripts/test providers"]
fn g20_yjs_traces_are_taken_whole() {
    let mut documents = Documents::new();
    for (name, case) in written() {
        let mut room = Room::new();
        let news = room.receive_all(&case.updates);
        assert!(news.len() > 20_000);

        let merged = merge(&news);
        assert_eq!(merged.len(), 1);
        let mut again = Room::new();
        again.receive_all(&split(&merged[0], 10_000));

        let content = case.content.to_string();
        for (how, room) in [("taken", room), ("in pieces", again)] {
            let opened = Room::open(&room.state(), Deleted::Dropped);
            documents.push((format!("{name} {how}"), vec![room.state()], content.clone()));
            documents.push((format!("{name} {how}, opened"), vec![opened.state()], content.clone()));
        }
    }
    node("check.js", &write(&documents, "traces-taken.bin"));
}

#[test]
#[ignore = "needs node: scripts/test providers"]
fn g24_yjs_reads_what_is_taken_merged_split_lacking_and_opened() {
    let mut documents = Documents::new();
    for case in cases() {
        let content = case.content.to_string();
        let mut add = |how: String, updates: Vec<Bytes>| {
            documents.push((format!("{} {how}", case.name), updates, content.clone()));
        };
        for deleted in [Deleted::Dropped, Deleted::Kept] {
            let mut room = Room::with(deleted);
            let news = room.receive_all(&case.updates);
            let how = format!("{deleted:?}");
            add(format!("{how} taken"), bytes(&news));
            add(format!("{how} as a state"), vec![room.state()]);
            let opened = Room::open(&room.state(), deleted);
            add(format!("{how} opened"), vec![opened.state()]);
            for size in [2, 5, news.len()] {
                let merged: Vec<CheckedUpdate> = news.chunks(size).flat_map(merge).collect();
                add(format!("{how} merged by {size}"), bytes(&merged));
            }
            for early in [news.len() / 3, news.len() / 2] {
                let mut peer = Room::with(deleted);
                let mut updates = bytes(&news[..early]);
                peer.receive_all(&updates);
                updates.push(room.document.since(peer.clocks()));
                add(format!("{how} after {early}"), updates);
            }
            let merged = merge(&news).pop().unwrap();
            for max_bytes in [100, 3_000] {
                add(format!("{how} split by {max_bytes}"), split(&merged, max_bytes));
            }
        }
    }
    node("check.js", &write(&documents, "merged-and-split.bin"));
}
