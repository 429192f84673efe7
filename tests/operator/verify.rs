//! B11.

use cowrite::store::{Body, Store};

use crate::support::{Folder, Server, arg, done, files, fill, flip, journal, record, refused};

#[test]
fn b11_a_flipped_byte_is_found_the_document_named_and_nothing_changed() {
    let folder = Folder::new();
    let data = folder.path("data");
    fill(&data, 5, 3, 30_000);
    assert!(done(&["verify", "--data", arg(&data)]).contains("5 documents, 15 records"));
    flip(&data.join("journal"), "d3.2,");
    let before = files(&data);

    let said = refused(1, &["verify", "--data", arg(&data)]);

    assert!(said.starts_with("d3 is damaged: "), "{said}");
    assert!(said.contains("the record's body fails its check"), "{said}");
    assert!(said.contains("data: 1 document damaged\n"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(files(&data) == before);
}

#[test]
fn b11_rotten_bytes_that_no_document_needs_are_told_apart() {
    let folder = Folder::new();
    let data = folder.path("data");
    fill(&data, 2, 2, 10);
    {
        let journal = journal(&data);
        journal.commit(&[record("d1", 2, 5_000, Body::Deleted)]).unwrap();
        journal.close().unwrap();
    }
    flip(&data.join("journal"), "d1.2,");

    let said = refused(1, &["verify", "--data", arg(&data)]);

    assert!(
        said.contains("(something of d1 that nobody needs at present)"),
        "{said}"
    );
    assert!(said.contains("data: 1 place damaged that no document needs"), "{said}");
}

#[test]
fn b11_bytes_that_pass_their_sums_and_are_no_document_are_damage() {
    let folder = Folder::new();
    let data = folder.path("data");
    fill(&data, 1, 1, 10);
    {
        let journal = journal(&data);
        let garbage = Body::Update(bytes::Bytes::from_static(b"no update"));
        journal.commit(&[record("bad", 1, 1_000, garbage)]).unwrap();
        journal.close().unwrap();
    }

    let said = refused(1, &["verify", "--data", arg(&data)]);

    assert!(
        said.starts_with("bad is damaged: the document could not be loaded"),
        "{said}"
    );
}

#[test]
fn b11_a_folder_in_use_and_a_backup_can_be_checked() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    fill(&data, 3, 2, 10);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    let _server = Server::start(&data, &[]);

    assert!(done(&["verify", "--data", arg(&data)]).contains("nothing is damaged"));
    assert!(done(&["verify", arg(&backup)]).contains("nothing is damaged"));
    flip(&backup.join("segments"), "d2.1,");
    assert!(refused(1, &["verify", arg(&backup)]).starts_with("d2 is damaged"));
}
