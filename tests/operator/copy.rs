//! B23 and B24 between folders; between a folder and a database they are in `database`.

use crate::support::{Folder, append, apply, arg, done, journal, new_doc, record, refused};
use bytes::Bytes;
use cowrite::store::{Body, Store};

#[test]
fn b24_a_document_that_went_on_in_both_is_left_as_it_is() {
    let folder = Folder::new();
    let (from, to) = (folder.path("from"), folder.path("to"));
    let write = |data, seq, update: &[u8]| {
        let journal = journal(data);
        let body = Body::Update(Bytes::copy_from_slice(update));
        journal.commit_all(&[record("plan", seq, 1_000, body)]).unwrap();
        journal.close().unwrap();
    };
    let copy = ["copy", "--from", arg(&from), "--to", arg(&to)];
    let (ada, bob) = (new_doc(), new_doc());
    let first = append(&ada, "together ", 0);
    apply(&bob, &first);
    write(&from, 1, &first);
    done(&copy);

    // Bob goes on where it was copied to and Ada where it came from, and then Ada hears of Bob.
    let (hers, his) = (append(&ada, "hers ", 0), append(&bob, "his ", 0));
    write(&to, 2, &his);
    write(&from, 2, &hers);
    write(&from, 3, &his);
    let before = done(&["doc", "export", "plan", "--data", arg(&to), "--as", "text"]);
    let told = refused(1, &copy);

    assert!(
        told.contains("plan: the source has edits that the target lacks"),
        "{told}"
    );
    assert_eq!(
        done(&["doc", "export", "plan", "--data", arg(&to), "--as", "text"]),
        before
    );
    done(&["verify", "--data", arg(&to)]);
}
