//! B11.

use std::fs;

use cowrite::store::{Body, Store};

use crate::support::{
    Folder, Server, arg, command, done, files, fill, flip, journal, record, refused, run, start, text, wait_until,
};

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
        journal.commit_all(&[record("d1", 2, 5_000, Body::Deleted)]).unwrap();
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
        journal.commit_all(&[record("bad", 1, 1_000, garbage)]).unwrap();
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

#[test]
fn b11_a_segment_that_was_cut_short_is_damage() {
    for (cut, hinted) in [(0, true), (0, false), (8_192, true), (8_192, false)] {
        let context = format!("cut at {cut}, hinted {hinted}");
        let folder = Folder::new();
        let data = folder.path("data");
        fill(&data, 4, 3, 20_000);
        let segment = data.join("journal/0000000002.segment");
        let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
        file.set_len(cut).unwrap();
        if !hinted {
            fs::remove_file(segment.with_extension("hint")).unwrap();
        }

        // A server that was started on it knows it as well, and leaves what tells it.
        for _ in 0..2 {
            let said = refused(1, &["verify", "--data", arg(&data)]);
            assert!(said.contains("0000000002.segment"), "{context}: {said}");
            assert!(!hinted || said.contains("d1 is damaged: "), "{context}: {said}");
            let server = Server::start(&data, &[]);
            assert_eq!(server.content("d2"), "d2.1,d2.2,d2.3,", "{context}");
        }
    }
}

#[test]
fn b11_a_backup_without_a_run_is_no_good_backup() {
    let folder = Folder::new();
    let backup = folder.path("backup");
    fs::create_dir_all(backup.join("runs")).unwrap();
    fs::create_dir(backup.join("segments")).unwrap();

    for arguments in [&["verify", arg(&backup)][..], &["verify", arg(&backup), "--all"]] {
        let said = refused(1, arguments);
        assert!(said.contains("holds no run"), "{said}");
    }
}

#[test]
fn b11_that_nobody_reads_what_is_said_changes_nothing() {
    let folder = Folder::new();
    let data = folder.path("data");
    fill(&data, 2, 2, 10);

    for expected in [0, 1] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = start(
            command(&["verify", "--data", arg(&data)])
                .stdout(writer.try_clone().unwrap())
                .stderr(writer),
        );
        let status = wait_until("the command ends", || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(expected));
        flip(&data.join("journal"), if expected == 0 { "d1.2," } else { "d0.2," });
    }
}

#[test]
fn b11_that_there_is_no_second_opinion_is_told_and_is_no_damage() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    fill(&data, 1, 1, 10);
    {
        let journal = journal(&data);
        // A text and a number in one root.
        let mixed = bytes::Bytes::from_static(&[1, 2, 1, 0, 4, 1, 1, b'r', 1, b'x', 0x88, 1, 0, 1, 125, 7, 0]);
        journal
            .commit_all(&[record("mixed", 1, 1_000, Body::Update(mixed))])
            .unwrap();
        journal.close().unwrap();
    }
    done(&["backup", arg(&backup), "--data", arg(&data)]);

    for arguments in [&["verify", "--data", arg(&data)][..], &["verify", arg(&backup)]] {
        let output = run(&mut command(arguments));

        assert_eq!(output.status.code(), Some(0));
        let (said, why) = (text(&output.stdout), text(&output.stderr));
        assert!(
            said.ends_with(": nothing is damaged; the content of 1 document cannot be compared\n"),
            "{said}"
        );
        assert_eq!(
            why,
            "mixed: there is no second opinion on its content: yrs does not show values that stand in a text\n"
        );
    }
    flip(&data.join("journal"), "d0.1,");
    let said = refused(1, &["verify", "--data", arg(&data)]);
    assert!(
        said.ends_with("data: 1 document damaged, 1 document whose content cannot be compared\n"),
        "{said}"
    );
}
