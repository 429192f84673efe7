//! B16 to B22. The folders in `tests/fixtures/import` were written by the real servers: see the README there.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::Command,
};

use rusqlite::{Connection, params};
use rustix::fs::{FlockOperation, fcntl_lock};
use serde_json::Value;
use yrs::{ReadTxn, StateVector, Transact};

use crate::support::{Editor, Folder, Server, append, arg, command, done, files, names, new_doc, refused, run, text};

/// What the real servers stored.
const SOURCES: [&str; 5] = [
    "hocuspocus/db.sqlite",
    "y-sweet",
    "y-leveldb-0.1",
    "y-leveldb-0.2",
    "files",
];
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/import")
        .join(name)
}

/// What Yjs reads of a source: names and canonical JSON.
fn contents(source: &str) -> BTreeMap<String, String> {
    let of = source.split('/').next().unwrap();
    let bytes = fs::read(fixture(&format!("{of}.json"))).unwrap();
    let Value::Object(contents) = serde_json::from_slice(&bytes).unwrap() else {
        panic!("{source}: no object");
    };
    let each = contents
        .into_iter()
        .map(|(name, content)| (name, content.as_str().unwrap().to_owned()));
    each.collect()
}

/// Runs `cowrite import`; exit code, stdout, stderr.
fn import(source: &Path, flags: &[&str]) -> (i32, String, String) {
    let arguments = [&["import", arg(source)], flags].concat();
    let output = run(&mut command(&arguments));
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn json(data: &Path, name: &str) -> String {
    done(&["doc", "export", name, "--as=json", "--data", arg(data)])
}

/// Every document in `data` is what Yjs reads of `source`; those that nothing is in, or that have no name here, are not there.
fn holds(data: &Path, source: &str, prefix: &str) {
    let mut expected = contents(source);
    expected.retain(|name, content| content != "{}" && !name.contains('\u{7}'));
    let named: Vec<String> = expected.keys().map(|name| format!("{prefix}{name}")).collect();
    let there: Vec<String> = names(data)
        .into_iter()
        .filter(|name| name.starts_with(prefix))
        .collect();
    assert_eq!(there, named, "{source}");
    assert!(named.len() >= 5, "{source}");
    for (name, content) in expected {
        assert_eq!(
            json(data, &format!("{prefix}{name}")).trim_end(),
            content,
            "{source}: {name}"
        );
    }
}

/// A whole state with one text.
fn state(words: &str) -> Vec<u8> {
    let doc = new_doc();
    append(&doc, words, 0);
    doc.transact().encode_state_as_update_v1(&StateVector::default())
}

#[test]
fn b16_b19_folders_of_the_real_servers_are_imported_as_yjs_reads_them() {
    for source in SOURCES {
        let folder = Folder::new();
        let data = folder.path("not/there yet");

        let (_, said, _) = import(&fixture(source), &["--data", arg(&data)]);

        assert!(said.contains(": 5 imported"), "{said}");
        holds(&data, source, "");
        done(&["verify", "--data", arg(&data)]);
    }
}

#[test]
fn b16_b20_they_go_to_a_running_server_and_survive_its_kill() {
    let folder = Folder::new();
    let data = folder.path("data");
    let server = Server::start(&data, &[]);
    let to = format!("ws://{}/", server.address);

    for source in SOURCES {
        let (_, said, _) = import(&fixture(source), &["--to", &to, "--prefix", &format!("{source}/")]);
        assert!(said.contains(": 5 imported"), "{said}");
    }

    server.kill();
    for source in SOURCES {
        holds(&data, source, &format!("{source}/"));
    }
}

#[test]
fn b16_a_single_file_is_a_document() {
    let folder = Folder::new();
    let data = folder.path("data");

    let said = done(&["import", arg(&fixture("files/notes/plan.bin")), "--data", arg(&data)]);

    assert!(said.starts_with("the update "), "{said}");
    assert!(said.contains(": 1 document: 1 imported; "), "{said}");
    assert_eq!(names(&data), ["plan"]);
}

#[test]
fn b17_what_is_not_taken_is_named_and_the_others_are_imported() {
    let folder = Folder::new();
    let (data, database) = (folder.path("data"), folder.path("old.sqlite"));
    let connection = Connection::open(&database).unwrap();
    connection.execute("CREATE TABLE documents (name, data)", []).unwrap();
    let insert = "INSERT INTO documents VALUES (?, ?)";
    let rows: [(&str, Vec<u8>); 6] = [
        ("garbage", b"no update".to_vec()),
        ("zero", vec![]),
        ("second", fs::read(fixture("files/second.bin")).unwrap()),
        ("large", state(&"x".repeat(200_000))),
        (&"n".repeat(513), state("x")),
        ("good", state("fine")),
    ];
    for (name, bytes) in &rows {
        connection.execute(insert, params![name, bytes]).unwrap();
    }
    connection.execute(insert, params!["words", "no blob"]).unwrap();
    connection.execute(insert, params![7, state("x")]).unwrap();
    drop(connection);

    let (code, said, told) = import(&database, &["--data", arg(&data), "--document-bytes-max=64KiB"]);

    assert_eq!(code, 1, "{told}");
    assert!(
        said.ends_with("7 documents: 1 imported, 7 not imported; 21 B written\n"),
        "{said}"
    );
    for sentence in [
        "garbage was not imported: it is no Yjs update of version 1: malformed at byte",
        "zero was not imported: it has no bytes",
        "second was not imported: it is a Yjs update of version 2: write it anew with Y.convertUpdateFormatV2ToV1",
        "large was not imported: it is larger than 64.0 KiB: --document-bytes-max raises that",
        "was not imported: the document name is 513 bytes long",
        "words was not imported: its `data` is no blob",
        "row 8 was not imported: its name is no text",
    ] {
        assert!(told.contains(sentence), "{sentence}: {told}");
    }
    assert_eq!(names(&data), ["good"]);
}

#[test]
fn b17_what_waits_for_lost_edits_is_told_and_the_rest_is_imported() {
    let folder = Folder::new();
    let data = folder.path("data");

    let (code, said, told) = import(&fixture("files/gap.bin"), &["--data", arg(&data)]);

    assert_eq!(code, 1);
    assert!(said.contains("1 imported, 1 not whole; "), "{said}");
    assert!(
        told.starts_with("gap is imported as far as Yjs shows it: it holds edits that refer to"),
        "{told}"
    );
    assert_eq!(json(&data, "gap"), "{\"text\":{\"list\":[{\"text\":\"kept \"}]}}\n");
}

#[test]
fn b18_it_can_be_repeated_and_goes_on_when_the_source_has() {
    let folder = Folder::new();
    let (data, source) = (folder.path("data"), folder.path("source"));
    fs::create_dir(&source).unwrap();
    let doc = new_doc();
    let whole = |words| {
        append(&doc, words, 0);
        doc.transact().encode_state_as_update_v1(&StateVector::default())
    };
    fs::write(source.join("d.bin"), whole("one ")).unwrap();
    let arguments = ["import", arg(&source), "--data", arg(&data)];
    done(&arguments);
    let listed = done(&["doc", "list", "--data", arg(&data)]);

    let again = done(&arguments);
    assert!(
        again.ends_with("1 document: 0 imported, 1 already there; 0 B written\n"),
        "{again}"
    );
    assert_eq!(
        done(&["doc", "list", "--data", arg(&data)]),
        listed,
        "nothing is written"
    );

    fs::write(source.join("d.bin"), whole("two ")).unwrap();
    let server = Server::start(&data, &[]);
    let to = format!("ws://{}", server.address);
    let more = done(&["import", arg(&source), "--to", &to]);
    assert!(more.contains(", 1 completed"), "{more}");
    let again = done(&["import", arg(&source), "--to", &to]);
    assert!(again.contains(", 1 already there"), "{again}");
    assert_eq!(server.content("d"), "one two ");
}

#[test]
fn b18_a_document_with_something_of_its_own_is_left_alone() {
    let folder = Folder::new();
    let (data, source) = (folder.path("data"), folder.path("source"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("mine.bin"), state("theirs")).unwrap();
    fs::write(source.join("other.bin"), state("other")).unwrap();
    let server = Server::start(&data, &[]);
    Editor::open(&server.address, "mine").write("mine", 0);
    let left_alone = "mine was not imported: a document of this name is there, with content of its own";

    let (code, said, told) = import(&source, &["--to", &format!("ws://{}", server.address)]);
    assert_eq!(code, 1);
    assert!(said.contains("1 imported, 1 not imported; "), "{said}");
    assert!(told.contains(left_alone), "{told}");
    assert_eq!(server.content("mine"), "mine");
    server.kill();

    let (code, said, told) = import(&source, &["--data", arg(&data)]);
    assert_eq!(code, 1);
    assert!(said.contains("0 imported, 1 already there, 1 not imported"), "{said}");
    assert!(told.contains(left_alone), "{told}");
}

#[test]
fn b19_a_folder_that_a_server_has_is_refused() {
    let folder = Folder::new();
    let data = folder.path("data");
    let _server = Server::start(&data, &[]);

    let sentence = refused(1, &["import", arg(&fixture("files")), "--data", arg(&data)]);

    assert!(sentence.starts_with("error: a server is running on "), "{sentence}");
}

#[test]
fn b20_the_servers_tokens_and_limits_hold() {
    let folder = Folder::new();
    let (data, source) = (folder.path("data"), folder.path("source"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("a.bin"), state("a")).unwrap();
    fs::write(source.join("large.bin"), state(&"x".repeat(3_000_000))).unwrap();
    let server = Server::start(&data, &[&format!("--jwt-secret={SECRET}"), "--message-bytes-max=16KiB"]);
    let to = format!("ws://{}", server.address);
    let with_token = |grant: &str| {
        let mut mint = command(&["token", "--sub=mover", "--document", grant, "--expires=1h"]);
        let token = text(&run(mint.env("COWRITE_JWT_SECRET", SECRET)).stdout);
        let output = run(command(&["import", arg(&source), "--to", &to]).env("COWRITE_TOKEN", token.trim()));
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };

    let (code, _, told) = import(&source, &["--to", &to]);
    assert_eq!(code, 1);
    assert!(told.contains("it asks for a token that it takes"), "{told}");
    let (code, _, told) = with_token("*=read");
    assert_eq!(code, Some(1));
    assert!(
        told.contains("a was not imported: the token may read it, not write it"),
        "{told}"
    );
    let (_, _, told) = with_token("b*=write");
    assert!(told.contains("a was not imported: the server refuses it: "), "{told}");

    let (code, said, told) = with_token("*=write");
    assert_eq!(code, Some(1));
    assert!(
        told.contains("large was not imported: the server refuses it: "),
        "{told}"
    );
    assert!(said.contains("1 imported"), "{said}");
}

#[test]
fn b20_a_large_document_goes_in_pieces() {
    let folder = Folder::new();
    let (data, file) = (folder.path("data"), folder.path("large.bin"));
    let words = "all work and no play ".repeat(150_000);
    fs::write(&file, state(&words)).unwrap();
    // The whole of it is larger than a message may be.
    let server = Server::start(&data, &["--message-bytes-max=1MiB"]);

    let import = || done(&["import", arg(&file), "--to", &format!("ws://{}", server.address)]);
    import();

    assert!(server.content("large") == words);
    // What the server has it is told in pieces, too, which take effect together.
    assert!(import().contains("1 already there"));
}

#[test]
fn b20_a_server_that_is_not_there_is_told() {
    let sentence = refused(1, &["import", arg(&fixture("files")), "--to=ws://127.0.0.1:1"]);
    assert!(
        sentence.contains("error: the server at 127.0.0.1:1: cannot reach it"),
        "{sentence}"
    );
    for (to, said) in [
        ("wss://x", "it speaks no TLS"),
        ("x", "write an address like ws://127.0.0.1:8080"),
    ] {
        let sentence = refused(2, &["import", ".", "--to", to]);
        assert!(sentence.contains(said), "{sentence}");
    }
}

#[test]
fn b21_the_source_stays_as_it_is() {
    let (before, folder) = (files(&fixture("")), Folder::new());
    for source in SOURCES {
        import(&fixture(source), &["--data", arg(&folder.path(source))]);
    }
    let after = files(&fixture(""));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert!(before == after);
}

#[test]
fn b21_a_database_in_wal_mode_is_read_with_what_its_server_has_not_moved_yet() {
    let folder = Folder::new();
    let (data, source) = (folder.path("data"), folder.path("source"));
    fs::create_dir(&source).unwrap();
    let database = source.join("db.sqlite");
    let connection = Connection::open(&database).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.execute("CREATE TABLE documents (name, data)", []).unwrap();
    let insert = "INSERT INTO documents VALUES ('d', ?)";
    connection.execute(insert, [state("in the log")]).unwrap();

    done(&["import", arg(&database), "--data", arg(&data)]);
    assert!(json(&data, "d").contains("in the log"));

    drop(connection);
    let before = files(&source);
    assert_eq!(before.len(), 1);
    let said = done(&["import", arg(&database), "--data", arg(&data)]);
    assert!(said.contains("1 already there"), "{said}");
    assert!(files(&source) == before);
}

#[test]
fn b21_what_is_no_plain_file_is_not_opened() {
    let folder = Folder::new();
    let (data, source) = (folder.path("data"), folder.path("source"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("good"), state("fine")).unwrap();
    let _socket = UnixListener::bind(source.join("socket")).unwrap();
    std::os::unix::fs::symlink(&source, source.join("circle")).unwrap();

    let (code, said, told) = import(&source, &["--data", arg(&data)]);

    assert_eq!(code, 1);
    assert!(said.contains("1 imported"), "{said}");
    for name in ["socket", "circle"] {
        assert!(told.contains(&format!("{name} was not imported: ")), "{told}");
        assert!(told.contains(&format!("{name} is no plain file")), "{told}");
    }
}

#[test]
fn b21_a_leveldb_that_a_server_has_open_is_refused() {
    let folder = Folder::new();
    let source = copied("y-leveldb-0.2", &folder);
    let lock = fs::OpenOptions::new().write(true).open(source.join("LOCK")).unwrap();
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();

    let sentence = refused(1, &["import", arg(&source), "--data", arg(&folder.path("data"))]);

    assert!(sentence.contains("a server is running on it: stop that"), "{sentence}");
}

/// A copy of a fixture.
fn copied(name: &str, folder: &Folder) -> PathBuf {
    let to = folder.path(name);
    for (path, bytes) in files(&fixture(name)) {
        let path = to.join(path.strip_prefix(fixture(name)).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    if to.join("CURRENT").exists() {
        // `files` leaves it out.
        fs::write(to.join("LOCK"), "").unwrap();
    }
    to
}

#[test]
fn b22_damage_of_a_leveldb_is_told() {
    for (file, at, said) in [
        ("000005.ldb", 100, "it is damaged at byte 0"),
        ("000005.ldb", 5_400, "is damaged at byte 5360"),
        ("000006.log", 40_000, "it is damaged behind byte 32768"),
    ] {
        let folder = Folder::new();
        let source = copied("y-leveldb-0.2", &folder);
        let mut bytes = fs::read(source.join(file)).unwrap();
        bytes[at] ^= 1;
        fs::write(source.join(file), bytes).unwrap();

        let (code, _, told) = import(&source, &["--data", arg(&folder.path("data"))]);

        assert_eq!(code, 1, "{told}");
        assert!(
            told.contains(&format!("some of {}", source.join(file).display())),
            "{told}"
        );
        assert!(told.contains(said), "{told}");
    }
}

#[test]
fn b22_what_a_kill_cut_off_of_a_leveldb_log_is_no_damage() {
    let folder = Folder::new();
    let source = copied("y-leveldb-0.1", &folder);
    let log = source.join("000006.log");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 3]).unwrap();

    let (_, said, told) = import(&source, &["--data", arg(&folder.path("data"))]);

    assert!(said.contains("4 imported"), "{said}");
    assert!(!told.contains("damaged"), "{told}");
}

#[test]
fn b22_damage_of_y_sweet_and_of_sqlite_is_told() {
    let folder = Folder::new();
    let source = copied("y-sweet", &folder);
    let file = source.join("long/data.ysweet");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let change = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let file = source.join(name).join("data.ysweet");
        let mut bytes = fs::read(&file).unwrap();
        change(&mut bytes);
        fs::write(&file, bytes).unwrap();
    };
    // The key of the state is another one.
    change("gap", &|bytes| {
        let key = [0, 1, 0, 0, 0, 1, 0];
        let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
        bytes[at + 6] = 9;
    });
    // The state vector, which is last, ends with a clock.
    change("notes-plan", &|bytes| *bytes.last_mut().unwrap() |= 0x20);

    let (code, said, told) = import(&source, &["--data", arg(&folder.path("data"))]);
    assert_eq!(code, 1);
    assert!(said.contains("2 imported, 1 empty, 3 not imported"), "{said}");
    for name in ["long", "gap"] {
        assert!(
            told.contains(&format!("{name} was not imported: it is damaged, or not")),
            "{told}"
        );
    }
    assert!(
        told.contains("notes-plan was not imported: it is damaged: it has less than"),
        "{told}"
    );

    let database = folder.path("db.sqlite");
    let mut bytes = fs::read(fixture("hocuspocus/db.sqlite")).unwrap();
    bytes.truncate(20_000);
    fs::write(&database, bytes).unwrap();
    let (code, _, told) = import(&database, &["--data", arg(&folder.path("other"))]);
    assert_eq!(code, 1);
    assert!(told.contains("malformed") || told.contains("disk I/O"), "{told}");
}

#[test]
fn b16_rows_are_read_once_whatever_their_numbers() {
    let folder = Folder::new();
    let (data, database) = (folder.path("data"), folder.path("db.sqlite"));
    let connection = Connection::open(&database).unwrap();
    connection.execute("CREATE TABLE documents (name, data)", []).unwrap();
    for (row, name) in [(i64::MIN, "first"), (-1, "below"), (i64::MAX, "last")] {
        let insert = "INSERT INTO documents (rowid, name, data) VALUES (?, ?, ?)";
        connection.execute(insert, params![row, name, state(name)]).unwrap();
    }
    drop(connection);
    let importing = command(&["import", arg(&database), "--data", arg(&data)]);

    // One that does not end is ended.
    let mut bounded = Command::new("timeout");
    bounded
        .arg("60")
        .arg(importing.get_program())
        .args(importing.get_args());
    let output = run(&mut bounded);

    assert!(
        text(&output.stdout).contains(": 3 documents: 3 imported; "),
        "{output:?}"
    );
    assert_eq!(names(&data), ["below", "first", "last"]);
}

#[test]
fn b22_what_is_around_a_damaged_page_of_sqlite_is_imported() {
    // SQLite's own choice.
    const PAGE: usize = 4_096;
    let folder = Folder::new();
    let database = folder.path("db.sqlite");
    let connection = Connection::open(&database).unwrap();
    connection.execute("CREATE TABLE documents (name, data)", []).unwrap();
    for number in 0..100 {
        let row = params![format!("d{number:02}"), state(&"x".repeat(300))];
        connection.execute("INSERT INTO documents VALUES (?, ?)", row).unwrap();
    }
    drop(connection);
    let mut bytes = fs::read(&database).unwrap();
    // The page that row 50 is in.
    let at = bytes.windows(3).position(|window| window == b"d50").unwrap() / PAGE * PAGE;
    bytes[at..at + PAGE].fill(0xff);
    fs::write(&database, bytes).unwrap();
    let data = folder.path("data");

    let (code, _, told) = import(&database, &["--data", arg(&data)]);

    assert_eq!(code, 1);
    assert!(
        told.contains("what is in rows ") && told.contains("malformed"),
        "{told}"
    );
    let there = names(&data);
    assert!(
        there.contains(&"d00".to_owned()) && there.contains(&"d99".to_owned()),
        "{there:?}"
    );
    assert!((80..100).contains(&there.len()), "{there:?}");
}
