//! B23 to B25, and a server on a database: against a real Postgres, which `scripts/with-postgres` starts.

use cowrite::store::{Body, Store};

use crate::support::{Editor, Folder, Server, arg, done, edit, fill, journal, names, new_doc, refused, wait_until};

/// A schema of its own on the server, with tables.
fn database(name: &str) -> String {
    let server = std::env::var("TEST_POSTGRES").expect("run by scripts/with-postgres");
    sql(
        &server,
        &format!("drop schema if exists {name} cascade; create schema {name}"),
    );
    let url = format!("{server}?options=-csearch_path%3D{name}");
    let said = done(&["db", "init", "--database-url", &url]);
    assert!(said.contains("were made"), "{said}");
    url
}

/// Runs SQL; returns the first column of the last row, if there is one.
fn sql(url: &str, text: &str) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let rows = client.simple_query(text).await.unwrap();
        rows.into_iter().rev().find_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
    })
}

fn listed(url: &str) -> Vec<String> {
    let list = done(&["doc", "list", "--database-url", url]);
    list.lines()
        .map(|line| line.rsplit("  ").next().unwrap().to_owned())
        .collect()
}

#[test]
#[ignore = "needs a database"]
fn b23_b24_a_folder_goes_to_a_database_and_back_and_what_is_new_follows() {
    let folder = Folder::new();
    let (data, back) = (folder.path("data"), folder.path("back"));
    let url = database("b23");
    fill(&data, 3, 5, 10);
    let doc = new_doc();
    {
        let journal = journal(&data);
        journal.commit_all(&[edit(&doc, "plan", 1, 1_111, "one,", 0)]).unwrap();
        journal.commit_all(&[edit(&doc, "plan", 2, 2_222, "two,", 0)]).unwrap();
        journal.close().unwrap();
    }
    let copy = |from: &str, to: &str| done(&["copy", "--from", from, "--to", to]);

    let said = copy(arg(&data), &url);
    assert!(
        said.contains("4 documents copied, 0 completed, 0 there already"),
        "{said}"
    );
    assert_eq!(listed(&url), names(&data));
    let verified = done(&["verify", "--database-url", &url]);
    assert!(verified.contains("nothing is damaged"), "{verified}");
    let said = copy(&url, arg(&back));
    assert!(said.contains("4 documents copied"), "{said}");
    let [there, here] = [&back, &data].map(|data| {
        let journal = journal(data);
        let names = journal.list(None, 10).unwrap().into_iter().map(|entry| entry.document);
        names.map(|name| journal.history(&name).unwrap()).collect::<Vec<_>>()
    });
    assert_eq!((there.len(), there), (4, here));

    let said = copy(arg(&data), &url);
    assert!(
        said.contains("0 documents copied, 0 completed, 4 there already"),
        "{said}"
    );
    {
        let journal = journal(&data);
        journal
            .commit_all(&[edit(&doc, "plan", 3, 3_333, "three,", 0)])
            .unwrap();
        journal.close().unwrap();
    }
    let said = copy(arg(&data), &url);
    assert!(
        said.contains("0 documents copied, 1 completed, 3 there already"),
        "{said}"
    );

    // Another document of that name.
    let other = folder.path("other");
    std::fs::create_dir(&other).unwrap();
    {
        let journal = journal(&other);
        journal
            .commit_all(&[edit(&new_doc(), "plan", 1, 1, "mine", 0)])
            .unwrap();
        journal.close().unwrap();
    }
    let said = refused(1, &["copy", "--from", arg(&other), "--to", &url]);
    assert!(said.contains("plan: the target has a document of this name"), "{said}");
    let exported = done(&["doc", "export", "plan", "--as", "text", "--database-url", &url]);
    assert!(exported.contains("one,two,three,"), "{exported}");
    assert!(!exported.contains("mine"), "{exported}");
}

#[test]
#[ignore = "needs a database"]
fn b25_documents_in_a_database_are_imported_into_and_deleted_unless_a_server_has_them() {
    let folder = Folder::new();
    let url = database("b25");
    let file = folder.path("update");
    let doc = new_doc();
    let Body::Update(update) = edit(&doc, "plan", 1, 1, "hello", 0).body else {
        unreachable!()
    };
    std::fs::write(&file, &update).unwrap();

    done(&["doc", "import", "plan", arg(&file), "--database-url", &url]);
    let said = done(&["doc", "import", "plan", arg(&file), "--database-url", &url]);
    assert!(said.contains("was there already"), "{said}");

    let server = Server::start(&folder.path("unused"), &["--database-url", &url]);
    let editor = Editor::open(&server.address, "plan");
    assert_eq!(editor.content(), "hello");
    let said = refused(1, &["doc", "delete", "plan", "--yes", "--database-url", &url]);
    assert!(said.contains("another server has document plan"), "{said}");
    assert_eq!(listed(&url), ["plan"]);
    drop((editor, server));
    until_dead(&url);
    done(&["doc", "delete", "plan", "--yes", "--database-url", &url]);
    assert!(done(&["doc", "list", "--database-url", &url]).is_empty());
}

/// Waits until no server that was killed counts as alive.
fn until_dead(url: &str) {
    let alive = "select count(*) from cowrite_node where seen > statement_timestamp() - interval '5 s'";
    wait_until("it counts as dead", || (sql(url, alive)? == "0").then_some(()));
}

#[test]
#[ignore = "needs a database"]
fn r18_what_a_server_on_a_database_has_saved_outlives_its_kill() {
    let folder = Folder::new();
    let url = database("r18");
    let data = folder.path("unused");
    let mut expected = String::new();
    for round in 0..2 {
        let server = Server::start(&data, &["--database-url", &url, "--snapshot-bytes=4KiB"]);
        let mut editor = Editor::open(&server.address, "plan");
        assert_eq!(editor.content(), expected);
        for number in 0..20 {
            let text = format!("{round}.{number},");
            editor.write(&text, 500);
            expected += &text;
        }
        server.kill();
        until_dead(&url);
    }

    assert!(!data.exists(), "it needs no folder");
    let exported = done(&["doc", "export", "plan", "--as", "text", "--database-url", &url]);
    assert!(exported.contains(&expected), "{exported}");
    let verified = done(&["verify", "--database-url", &url]);
    assert!(
        verified.contains("1 document,") && verified.contains("nothing is damaged"),
        "{verified}"
    );
}

#[test]
fn r23_a_url_that_cannot_be_read_is_refused_without_its_password() {
    for arguments in [
        &["serve", "--database-url", "mysql://ann:secret@h/d"][..],
        &["verify", "--database-url", "postgres://ann:secret@h/d?sslmode=maybe"],
        &["copy", "--from", "postgres://ann:secret@h:port/d", "--to", "./x"],
        &["db", "init", "--database-url", "postgres://ann:secret@h/d?nonsense=1"],
    ] {
        let said = refused(2, arguments);
        assert!(!said.contains("secret"), "{said}");
    }
    let said = refused(2, &["db", "init"]);
    assert!(said.contains("COWRITE_DATABASE_URL"), "{said}");
}

#[test]
#[ignore = "needs a database"]
fn n33_the_servers_on_a_database_are_listed_with_what_they_have() {
    let folder = Folder::new();
    let url = database("b26");
    let unused = folder.path("unused");
    let nodes = || -> Vec<serde_json::Value> {
        serde_json::from_str(&done(&["nodes", "--database-url", &url, "--json"])).unwrap()
    };
    let said = done(&["nodes", "--database-url", &url]);
    assert!(said.starts_with("no server is on "), "{said}");
    assert!(nodes().is_empty());

    let secret = "--cluster-secret=a-secret-of-at-least-thirty-two-bytes";
    let one = Server::start(
        &unused,
        &["--database-url", &url, "--cluster-address=127.0.0.1:0", secret],
    );
    let two = Server::start(&unused, &["--database-url", &url]);
    let _editors = ["a", "b"].map(|name| Editor::open(&one.address, name));
    let _editor = Editor::open(&two.address, "c");
    let listed = wait_until("each says that it lives, and how it is reached", || {
        let nodes = nodes();
        (nodes.len() == 2 && nodes[0]["address"].is_string()).then_some(nodes)
    });
    let of = |key: &str| [&listed[0], &listed[1]].map(|node| node[key].clone());
    assert_eq!(of("state"), ["living", "living"]);
    assert_eq!(of("documents"), [2, 1]);
    assert_eq!(of("version"), [env!("CARGO_PKG_VERSION"); 2]);
    assert!(
        listed[0]["address"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{listed:?}"
    );
    assert!(
        listed[1]["address"].is_null() && listed[1]["machine"].is_null(),
        "{listed:?}"
    );
    let node = |index: usize| listed[index]["node"].as_str().unwrap().to_owned();
    let since = |nodes: &[serde_json::Value]| nodes[0]["since"].as_str().unwrap().to_owned();

    one.kill();
    let dead = wait_until("one is dead", || {
        let nodes = nodes();
        (nodes[0]["state"] == "dead").then_some(nodes)
    });
    assert_eq!(since(&dead), since(&listed));
    assert_eq!(
        (&dead[0]["documents"], &dead[1]["state"]),
        (&2.into(), &"living".into())
    );
    let stopping = format!(
        "update cowrite_node set draining = true, seen = clock_timestamp() where id = '{}'",
        node(0)
    );
    sql(&url, &stopping);
    let table = done(&["nodes", "--database-url", &url]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NODE ") && lines.len() == 3, "{table}");
    assert!(lines[1].starts_with(&format!("{}  draining  2 ", node(0))), "{table}");
    assert!(
        lines[2].starts_with(&format!("{}  living    1          -  ", node(1))),
        "{table}"
    );
}

#[test]
#[ignore = "needs a database"]
fn n41_one_command_makes_tables_and_brings_them_up_to_date() {
    let server = std::env::var("TEST_POSTGRES").expect("run by scripts/with-postgres");
    sql(&server, "drop schema if exists n41 cascade; create schema n41");
    let url = format!("{server}?options=-csearch_path%3Dn41");
    assert!(refused(1, &["db", "upgrade", "--database-url", &url]).contains("db init"));

    let said = done(&["db", "upgrade", "--init", "--database-url", &url]);
    assert!(said.contains("were made"), "{said}");
    let said = done(&["db", "upgrade", "--init", "--database-url", &url]);
    assert!(said.contains("already"), "{said}");
    assert!(refused(1, &["db", "init", "--database-url", &url]).contains("db upgrade"));
}
