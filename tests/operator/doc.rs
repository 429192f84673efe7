//! B12 to B15, and what all commands have in common.

use std::fs;

use crate::support::{
    Editor, Folder, Server, append, apply, arg, command, content, done, fill, id, journal, names, new_doc, record,
    refused, run, text,
};
use bytes::Bytes;
use cowrite::{
    document::Deleted,
    store::{Body, Store},
};

#[path = "../gate/fixtures.rs"]
#[allow(dead_code, reason = "shared with the tests of the gate")]
mod fixtures;
#[path = "../gate/room.rs"]
#[allow(dead_code, reason = "shared with the tests of the gate")]
mod gate;

#[test]
fn b12_documents_are_listed_beside_a_server_and_by_prefix() {
    let folder = Folder::new();
    let data = folder.path("data");
    fill(&data, 3, 1, 10);
    let server = Server::start(&data, &[]);
    Editor::open(&server.address, "notes/today").write("x", 0);

    let all = names(&data);
    let some = done(&["doc", "list", "notes/", "--data", arg(&data)]);

    assert_eq!(all, ["d0", "d1", "d2", "notes/today"]);
    assert_eq!(some.lines().count(), 1);
    assert!(some.trim_end().ends_with("  ok       notes/today"), "{some}");
}

#[test]
fn b13_b14_what_is_exported_is_imported_elsewhere_with_the_same_content() {
    let folder = Folder::new();
    let (data, other) = (folder.path("data"), folder.path("other"));
    let cases: Vec<_> = fixtures::cases().into_iter().take(12).collect();
    {
        let journal = journal(&data);
        for case in &cases {
            for (seq, update) in (1..).zip(&case.updates) {
                let body = Body::Update(Bytes::clone(update));
                journal.commit_all(&[record(&case.name, seq, 1_000, body)]).unwrap();
            }
        }
        journal.close().unwrap();
    }
    fs::create_dir(&other).unwrap();

    for (number, case) in cases.iter().enumerate() {
        let (file, again) = (
            folder.path(&format!("{number}.bin")),
            folder.path(&format!("{number}.again")),
        );
        done(&["doc", "export", &case.name, arg(&file), "--data", arg(&data)]);
        done(&["doc", "import", &case.name, arg(&file), "--data", arg(&other)]);
        done(&["doc", "export", &case.name, arg(&again), "--data", arg(&other)]);

        let mut written = gate::Room::new();
        written.receive_all(&case.updates);
        for file in [file, again] {
            let state = Bytes::from(fs::read(file).unwrap());
            assert_eq!(gate::Room::open(&state, Deleted::Kept).clocks(), written.clocks());
            assert!(gate::content(&state) == written.content(), "{}", case.name);
        }
    }
    done(&["verify", "--data", arg(&other)]);
}

/// A root `r` with a BigInt, which yrs cannot tell from a number, and control characters.
const EXACT: &[u8] = &[
    1, 2, 1, 0, 8, 1, 1, b'r', 1, 122, 0, 0, 0, 0, 0, 0, 0, 5, 0x88, 1, 0, 1, 119, 6, b'a', 0x1b, b'[', 0xc2, 0x9b,
    b'b', 0,
];

#[test]
fn b13_content_is_exported_as_json_and_as_text() {
    let folder = Folder::new();
    let (data, file) = (folder.path("data"), folder.path("content"));
    fill(&data, 1, 2, 10);
    {
        let journal = journal(&data);
        let body = Body::Update(Bytes::from_static(EXACT));
        journal.commit_all(&[record("exact", 1, 1_000, body)]).unwrap();
        journal.close().unwrap();
    }
    let export = |name: &str, form: &str| done(&["doc", "export", name, "--as", form, "--data", arg(&data)]);

    assert_eq!(
        export("d0", "json"),
        concat!(
            r#"{"p":{"list":[{"text":"pppppppppp"}]},"t":{"list":[{"text":"d0.1,d0.2,"}]}}"#,
            "\n"
        )
    );
    assert_eq!(export("d0", "text"), "pppppppppp\nd0.1,d0.2,\n");
    assert_eq!(
        export("exact", "json"),
        "{\"r\":{\"list\":[{\"value\":{\"$bigint\":\"5\"}},{\"value\":\"a\\u001b[\u{9b}b\"}]}}\n"
    );
    assert_eq!(export("exact", "text"), "a\u{1b}[\u{9b}b\n");

    let to_file = ["doc", "export", "d0", arg(&file), "--as=text", "--data", arg(&data)];
    assert!(done(&to_file).starts_with("d0: 22 B written to "));
    assert_eq!(fs::read_to_string(&file).unwrap(), "pppppppppp\nd0.1,d0.2,\n");
    assert!(refused(1, &to_file).contains("File exists"));
    let sentence = refused(2, &["doc", "export", "d0", "--as=xml"]);
    assert!(sentence.contains("xml"), "{sentence}");
}

#[test]
fn b13_an_export_never_overwrites() {
    let folder = Folder::new();
    let (data, file) = (folder.path("data"), folder.path("letter"));
    fill(&data, 1, 1, 10);
    fs::write(&file, "dear").unwrap();

    let sentence = refused(1, &["doc", "export", "d0", arg(&file), "--data", arg(&data)]);

    assert!(sentence.contains("File exists"), "{sentence}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "dear");
    let sentence = refused(1, &["doc", "export", "d7", "--data", arg(&data)]);
    assert!(sentence.starts_with("error: there is no document d7 in "), "{sentence}");
}

#[test]
fn b14_an_import_merges_and_the_server_serves_it() {
    let folder = Folder::new();
    let (data, file) = (folder.path("data"), folder.path("update"));
    fill(&data, 1, 1, 10);
    let doc = new_doc();
    let output = run(&mut command(&["doc", "export", "d0", "--data", arg(&data)]));
    apply(&doc, &output.stdout);
    fs::write(&file, append(&doc, "more", 0)).unwrap();
    let import = ["doc", "import", "d0", arg(&file), "--data", arg(&data)];

    let said = done(&import);
    let again = done(&import);

    assert!(said.contains("merged from"), "{said}");
    assert!(again.contains("was there already"), "{again}");
    let server = Server::start(&data, &[]);
    assert_eq!(server.content("d0"), "d0.1,more");
    let sentence = refused(1, &import);
    assert!(sentence.starts_with("error: a server is running on "), "{sentence}");
    let sentence = refused(1, &["doc", "delete", "d0", "--yes", "--data", arg(&data)]);
    assert!(sentence.starts_with("error: a server is running on "), "{sentence}");
}

#[test]
fn b14_what_is_no_update_or_lacks_something_is_refused_whole() {
    let folder = Folder::new();
    let (data, garbage, gap) = (folder.path("data"), folder.path("garbage"), folder.path("gap"));
    fill(&data, 1, 1, 10);
    fs::write(&garbage, "no update").unwrap();
    let doc = new_doc();
    append(&doc, "first", 0);
    fs::write(&gap, append(&doc, "second", 0)).unwrap();

    for (file, said) in [
        (&garbage, "is no Yjs update of version 1: malformed at byte"),
        (&gap, "goes on from edits that neither it nor d0 has"),
        (&folder.path("nowhere"), "No such file"),
    ] {
        let sentence = refused(1, &["doc", "import", "d0", arg(file), "--data", arg(&data)]);
        assert!(sentence.contains(said), "{sentence}");
    }
    let output = run(&mut command(&["doc", "export", "d0", "--data", arg(&data)]));
    let doc = new_doc();
    apply(&doc, &output.stdout);
    assert_eq!(content(&doc), "d0.1,");
}

#[test]
fn b15_a_deleted_document_is_gone_and_may_begin_anew() {
    let folder = Folder::new();
    let data = folder.path("data");
    fill(&data, 3, 2, 10);

    let sentence = refused(2, &["doc", "delete", "d1", "--data", arg(&data)]);
    assert!(sentence.contains("add --yes"), "{sentence}");
    done(&["doc", "delete", "d1", "--yes", "--data", arg(&data)]);

    assert_eq!(names(&data), ["d0", "d2"]);
    let server = Server::start(&data, &[]);
    let mut editor = Editor::open(&server.address, "d1");
    assert_eq!(editor.content(), "");
    editor.write("anew", 0);
    assert_eq!(server.content("d1"), "anew");
}

#[test]
fn c3_wrong_arguments_are_one_sentence_and_exit_code_2() {
    for (arguments, said) in [
        (&["backup"][..], "required arguments were not provided: <TARGET>"),
        (&["restore"], "required arguments were not provided: <TARGET>"),
        (
            &["restore", "b", "--at", "yesterday"],
            "write a time like 2026-11-21T08:00:00Z",
        ),
        (&["restore", "b", "--at", "1969-01-01T00:00:00Z"], "before 1970"),
        (&["backup", "b", "--keep", "3"], "write a duration with its unit"),
        (&["verify", "--all"], "required arguments were not provided: <TARGET>"),
        (&["doc", "export"], "required arguments were not provided: <NAME>"),
        (&["doc", "export", ""], "at least one character"),
        (&["doc", "import", "d0"], "required arguments were not provided: <FILE>"),
    ] {
        let sentence = refused(2, arguments);
        assert!(sentence.contains(said), "{sentence}");
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
    }
    assert!(refused(2, &["doc"]).contains("Usage: cowrite doc <COMMAND>"));
}

#[test]
fn c2_the_folder_comes_from_the_variable_and_other_variables_do_not_matter() {
    let folder = Folder::new();
    let data = folder.path("data");
    fill(&data, 1, 1, 10);

    let output = run(command(&["doc", "list"])
        .env("COWRITE_DATA", &data)
        .env("COWRITE_IDLE_TIMEOUT", "soon"));

    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).trim_end().ends_with("d0"));
}

#[test]
fn b15_a_deletion_has_a_position_of_its_own() {
    let folder = Folder::new();
    let data = folder.path("data");
    fill(&data, 1, 2, 10);

    done(&["doc", "delete", "d0", "--yes", "--data", arg(&data)]);

    let stored = journal(&data).load(&id("d0")).unwrap();
    assert_eq!((stored.last_seq(), stored.updates.len()), (3, 0));
}
