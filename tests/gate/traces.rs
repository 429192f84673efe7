//! The editing traces of `tests/data`, as Yjs writes them. Node turns them into updates first: once
//! `npm ci --prefix tests/fixtures/yjs`, then `cargo test --no-default-features --test gate yjs -- --ignored`.

use crate::fixtures::{Case, cases, directory, read};
use crate::room::{Room, clocks_of, text};
use bytes::Bytes;
use cowrite::protocol::lib0::{write_var_bytes, write_var_uint};
use cowrite::protocol::update::{CheckedUpdate, lacking, merge, split};
use std::path::PathBuf;
use std::process::Command;

fn node(script: &str, file: &PathBuf) {
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

#[test]
#[ignore = "needs node: scripts/test providers"]
fn g20_yjs_traces_are_admitted_whole() {
    for (name, case) in written() {
        let mut room = Room::new();
        let admitted: Vec<CheckedUpdate> = case.updates.iter().map(|update| room.receive(update)).collect();

        assert!(admitted.len() > 20_000);
        assert_eq!(clocks_of(&room.doc), *room.known.clocks());
        assert_eq!(text(&room.doc), case.content["text"].as_str().unwrap(), "{name}");

        let merged = merge(&admitted);
        assert_eq!(merged.len(), 1);
        let mut again = Room::new();
        for piece in split(&merged[0], 10_000) {
            again.receive(&piece);
        }
        assert_eq!(text(&again.doc), text(&room.doc), "{name}");
    }
}

#[test]
#[ignore = "needs node: scripts/test providers"]
fn g24_yjs_reads_what_is_merged_split_and_loaded() {
    let mut documents: Vec<(String, Vec<Bytes>, String)> = Vec::new();
    for case in cases() {
        let mut room = Room::new();
        let admitted: Vec<CheckedUpdate> = case.updates.iter().map(|update| room.receive(update)).collect();
        let content = case.content.to_string();
        let bytes = |updates: Vec<CheckedUpdate>| updates.iter().map(|u| u.bytes().clone()).collect::<Vec<_>>();

        documents.push((
            format!("{} admitted", case.name),
            bytes(admitted.clone()),
            content.clone(),
        ));
        for size in [2, 5, admitted.len()] {
            let merged = admitted.chunks(size).flat_map(merge).collect();
            documents.push((
                format!("{} merged by {size}", case.name),
                bytes(merged),
                content.clone(),
            ));
        }
        let merged = merge(&admitted).pop().unwrap();
        for early in [admitted.len() / 3, admitted.len() / 2] {
            let (mut peer, mut updates) = (Room::new(), bytes(admitted[..early].to_vec()));
            updates.iter().for_each(|update| drop(peer.receive(update)));
            updates.extend(bytes(lacking(std::slice::from_ref(&merged), peer.known.clocks())));
            documents.push((format!("{} after {early}", case.name), updates, content.clone()));
        }
        for max_bytes in [100, 3_000] {
            let pieces = split(&merged, max_bytes);
            documents.push((format!("{} split by {max_bytes}", case.name), pieces, content.clone()));
        }
    }

    let mut out = Vec::new();
    write_var_bytes(&mut out, b"cowrite fixture 1");
    write_var_uint(&mut out, documents.len() as u64);
    for (name, updates, content) in &documents {
        write_var_bytes(&mut out, name.as_bytes());
        write_var_uint(&mut out, updates.len() as u64);
        updates.iter().for_each(|update| write_var_bytes(&mut out, update));
        write_var_bytes(&mut out, content.as_bytes());
    }
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("merged-and-split.bin");
    std::fs::write(&file, out).unwrap();
    node("check.js", &file);
}
