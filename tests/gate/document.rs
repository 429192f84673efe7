//! The struct store against real histories: what it gives is what was put in.

use bytes::Bytes;
use cowrite::document::{Deleted, Document, Verdict};
use cowrite::protocol::update::{CheckedUpdate, Clocks};

use crate::fixtures::{Case, cases};
use crate::room::{apply, assert_same, content, doc};

/// Takes an update whole; what was new in it.
pub fn receive(document: &mut Document, bytes: &Bytes) -> Option<CheckedUpdate> {
    let checked = CheckedUpdate::check(bytes.clone()).expect("an honest update");
    match document.judge(&checked) {
        Verdict::News(news) if !news.is_partial() => {
            let update = news.update().clone();
            document.take(news);
            Some(update)
        }
        Verdict::Known => None,
        other => panic!("{other:?}"),
    }
}

fn document_of(case: &Case, deleted: Deleted) -> Document {
    let mut document = Document::new(deleted);
    for update in &case.updates {
        receive(&mut document, update);
    }
    document
}

/// Not all that Yjs writes is for yrs.
fn yrs_reads(updates: &[Bytes]) -> bool {
    std::panic::catch_unwind(|| {
        let doc = doc();
        updates.iter().for_each(|update| apply(&doc, update));
        content(&doc)
    })
    .is_ok()
}

#[test]
fn g20_what_yjs_writes_is_taken_whole_and_given_back() {
    let mut read = 0;
    let cases = cases();
    for case in &cases {
        for deleted in [Deleted::Dropped, Deleted::Kept] {
            let document = document_of(case, deleted);
            let state = document.since(&Clocks::default());
            let again = Document::open([(1, &state)], deleted).expect(&case.name);
            assert_eq!(again.clocks(), document.clocks(), "{}", case.name);
            let compacted = again.since(&Clocks::default());
            let last = Document::open([(1, &compacted)], deleted).expect(&case.name);
            assert_eq!(last.since(&Clocks::default()), compacted, "{}", case.name);
            if !yrs_reads(&case.updates) {
                continue;
            }
            read += 1;
            let expected = doc();
            case.updates.iter().for_each(|update| apply(&expected, update));
            let expected = content(&expected);
            for state in [&state, &compacted] {
                let fresh = doc();
                apply(&fresh, state);
                assert_same(&content(&fresh), &expected, &case.name);
            }
            // A peer who left in the middle.
            let half = case.updates.len() / 2;
            let mut then = Document::new(deleted);
            let peer = doc();
            for update in &case.updates[..half] {
                receive(&mut then, update);
                apply(&peer, update);
            }
            apply(&peer, &document.since(then.clocks()));
            assert_same(&content(&peer), &expected, &case.name);
        }
    }
    assert!(read > cases.len(), "{read} of {}", 2 * cases.len());
}

#[test]
fn d4_what_was_taken_is_known() {
    for case in &cases() {
        for deleted in [Deleted::Dropped, Deleted::Kept] {
            let mut document = document_of(case, deleted);
            let before = document.since(&Clocks::default());
            for update in &case.updates {
                assert!(receive(&mut document, update).is_none(), "{}", case.name);
            }
            assert_eq!(document.since(&Clocks::default()), before);
            assert!(receive(&mut document, &before).is_none(), "{}", case.name);
        }
    }
}
