//! What the fuzzer kept (`scripts/fuzz`), and every input that ever broke something, through the judge that it was kept
//! by. A failure names its file; `scripts/fuzz 0 update FILE` runs that alone.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use crate::judge;

/// Puts every file of a target's corpus through its judge.
fn all_of(target: &str, inputs_min: usize, judge: fn(&[u8])) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let entries = std::fs::read_dir(&directory).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= inputs_min, "{} inputs in {directory:?}", files.len());
    let broken = |file: &&PathBuf| {
        let input = std::fs::read(file).unwrap();
        catch_unwind(AssertUnwindSafe(|| judge(&input))).is_err()
    };
    let broken: Vec<&PathBuf> = files.iter().filter(broken).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn g13_the_corpus_of_updates_does_no_harm() {
    all_of("update", 30, judge::update);
}

#[test]
fn g13_the_corpus_of_histories_does_no_harm() {
    all_of("history", 30, judge::history);
}

#[test]
fn p5_the_corpus_of_honest_editors_ends_in_one_document() {
    all_of("honest", 30, judge::honest);
}

#[test]
fn p3_the_corpus_of_messages_does_no_harm() {
    all_of("message", 30, judge::message);
}

#[test]
fn g31_the_corpus_of_what_is_beside_updates_does_no_harm() {
    all_of("wire", 30, judge::wire);
}

#[test]
fn p1_to_p6_the_corpus_of_what_happens_to_lines_keeps_the_promises() {
    all_of("lines", 10, judge::lines);
}

#[test]
fn e15_the_corpus_of_what_clients_say_does_no_harm() {
    all_of("dialect", 20, judge::dialect);
}

#[test]
fn a1_the_corpus_of_who_may_do_what_opens_nothing() {
    all_of("access", 10, judge::access);
}

#[test]
fn r7_the_corpus_of_what_is_on_the_disk_does_no_harm() {
    all_of("stored", 6, judge::stored);
}

#[cfg(feature = "import")]
#[test]
fn t2_the_corpus_of_tokens_opens_nothing() {
    all_of("token", 5, judge::token);
}

#[cfg(feature = "import")]
#[test]
fn b21_the_corpus_of_what_other_servers_stored_does_no_harm() {
    all_of("sources", 7, judge::sources);
}
