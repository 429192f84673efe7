//! B8 to B10.

use std::fs;

use bytes::Bytes;
use cowrite::{
    actor::clock::wall_ms,
    operator::time_text,
    store::{Body, Store},
};
use yrs::{ReadTxn, StateVector, Transact};

use crate::support::{
    Editor, Folder, SMALL, Server, append, arg, done, edit, fill, flip, journal, names, new_doc, record, refused,
    served, wait_until, with_ending,
};

#[test]
fn b8_a_restore_never_overwrites() {
    let folder = Folder::new();
    let (data, backup, full) = (folder.path("data"), folder.path("backup"), folder.path("full"));
    fill(&data, 2, 2, 10);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    fs::create_dir(&full).unwrap();
    fs::write(full.join("letter"), "dear").unwrap();

    for target in [&full, &data] {
        let sentence = refused(1, &["restore", arg(&backup), "--data", arg(target)]);
        assert!(
            sentence.contains("is not empty, and a restore never overwrites"),
            "{sentence}"
        );
    }
    let sentence = refused(1, &["restore", arg(&full), "--data", arg(&folder.path("new"))]);
    assert!(sentence.contains("is no backup of cowrite"), "{sentence}");
    assert_eq!(fs::read_to_string(full.join("letter")).unwrap(), "dear");
    assert!(!folder.path("new").exists());
}

#[test]
fn b8_a_restore_that_was_killed_is_begun_anew() {
    let folder = Folder::new();
    let (data, backup, target) = (folder.path("data"), folder.path("backup"), folder.path("target"));
    fill(&data, 2, 2, 10);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    fs::create_dir_all(target.join("journal.restoring")).unwrap();
    fs::write(target.join("journal.restoring/0000000001.segment"), "half").unwrap();

    done(&["restore", arg(&backup), "--data", arg(&target)]);

    assert!(!target.join("journal.restoring").exists());
    assert!(served(&target) == served(&data));
}

#[test]
fn b8_a_backup_with_a_file_missing_is_not_restored_unless_told_so() {
    let folder = Folder::new();
    let (data, backup, target) = (folder.path("data"), folder.path("backup"), folder.path("target"));
    fill(&data, 6, 3, 20_000);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    let segments = with_ending(&backup.join("segments"), ".segment");
    fs::remove_file(&segments[1]).unwrap();

    let said = refused(1, &["restore", arg(&backup), "--data", arg(&target)]);
    assert!(said.contains("are needed") && said.contains("--partial"), "{said}");
    let at = ["--at", "1970-01-01T00:00:02Z", "--partial"];
    let said = refused(
        1,
        &[&["restore", arg(&backup), "--data", arg(&target)][..], &at].concat(),
    );
    assert!(said.contains("cannot be known from it"), "{said}");
    assert!(!target.exists());

    let said = refused(1, &["restore", arg(&backup), "--data", arg(&target), "--partial"]);
    assert!(said.contains("error: "), "{said}");
    assert!(names(&target).contains(&"d5".to_owned()));
    assert!(refused(1, &["verify", arg(&backup)]).contains("1 file missing or cut short"));
}

#[test]
fn b8_an_earlier_run_is_restored_as_it_was() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    fill(&data, 2, 2, 10);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    let before = served(&data);
    done(&["doc", "delete", "d0", "--yes", "--data", arg(&data)]);
    done(&["backup", arg(&backup), "--data", arg(&data)]);

    for (run, expected) in [("1", &before), ("2", &served(&data))] {
        let target = folder.path(run);
        done(&["restore", arg(&backup), "--data", arg(&target), "--run", run]);
        assert!(served(&target) == *expected, "run {run}");
    }
    let sentence = refused(
        1,
        &["restore", arg(&backup), "--data", arg(&folder.path("x")), "--run", "7"],
    );
    assert!(sentence.contains("holds no run 7"), "{sentence}");
}

#[test]
fn b9_a_time_between_two_commits_gives_exactly_what_was_there() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    fill(&data, 2, 3, 100);
    {
        let journal = journal(&data);
        let doc = new_doc();
        journal.commit_all(&[edit(&doc, "late", 1, 2_500, "late,", 0)]).unwrap();
        journal.commit_all(&[record("d1", 3, 3_500, Body::Deleted)]).unwrap();
        journal.close().unwrap();
    }
    done(&["backup", arg(&backup), "--data", arg(&data)]);

    for (at, expected) in [
        ("1970-01-01T00:00:00.999Z", &[][..]),
        ("1970-01-01T00:00:01Z", &[("d0", "d0.1,"), ("d1", "d1.1,")]),
        (
            "1970-01-01T01:00:02.499+01:00",
            &[("d0", "d0.1,d0.2,"), ("d1", "d1.1,d1.2,")],
        ),
        (
            "1970-01-01T00:00:03.499Z",
            &[("d0", "d0.1,d0.2,d0.3,"), ("d1", "d1.1,d1.2,d1.3,"), ("late", "late,")],
        ),
        (
            "1970-01-01T00:00:03.5Z",
            &[("d0", "d0.1,d0.2,d0.3,"), ("late", "late,")],
        ),
    ] {
        let target = folder.path(at);
        done(&["restore", arg(&backup), "--data", arg(&target), "--at", at]);

        let expected = expected
            .iter()
            .map(|(name, content)| ((*name).to_owned(), (*content).to_owned()));
        assert_eq!(served(&target), expected.collect(), "{at}");
    }
}

#[test]
fn b10_with_history_kept_any_time_can_be_reached_though_snapshots_were_taken_meanwhile() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    let server = Server::start(&data, &[&SMALL[..], &["--keep-history=1h"]].concat());
    let mut editor = Editor::open(&server.address, "plan");
    let mut moments = Vec::new();
    for number in 1..=90 {
        editor.write(&format!("{number},"), 2_000);
        if number % 30 == 20 {
            let now_ms = wall_ms();
            moments.push((now_ms, editor.content()));
            wait_until("the clock has moved on", || (wall_ms() > now_ms).then_some(()));
        }
    }
    wait_until("the clock has moved on", || (wall_ms() > moments[2].0).then_some(()));
    done(&["backup", arg(&backup), "--data", arg(&data)]);

    for (number, (at_ms, content)) in moments.into_iter().enumerate() {
        let target = folder.path(&number.to_string());
        let at = time_text(at_ms);
        done(&["restore", arg(&backup), "--data", arg(&target), "--at", &at]);
        assert_eq!(served(&target), [("plan".to_owned(), content)].into(), "{at}");
    }
}

#[test]
fn b10_without_history_a_time_before_a_snapshot_is_refused_and_the_run_before_it_is_named() {
    let folder = Folder::new();
    let (data, backup, target) = (folder.path("data"), folder.path("backup"), folder.path("target"));
    let server = Server::start(&data, &SMALL);
    let mut editor = Editor::open(&server.address, "plan");
    editor.write("1,", 2_000);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    editor.write("2,", 2_000);
    let at_ms = wall_ms();
    wait_until("the clock has moved on", || (wall_ms() > at_ms).then_some(()));
    wait_until("compaction has removed the first segment", || {
        editor.write("more,", 2_000);
        (!data.join("journal/0000000001.segment").exists()).then_some(())
    });
    done(&["backup", arg(&backup), "--data", arg(&data)]);

    let said = refused(
        1,
        &[
            "restore",
            arg(&backup),
            "--data",
            arg(&target),
            "--at",
            &time_text(at_ms),
        ],
    );

    assert!(said.starts_with("plan cannot be known at that time"), "{said}");
    assert!(said.contains("the run before that time is --run 1 ("), "{said}");
    assert!(!target.exists());
    done(&["restore", arg(&backup), "--data", arg(&target), "--run", "1"]);
    assert_eq!(served(&target), [("plan".to_owned(), "1,".to_owned())].into());
}

#[test]
fn b9_a_time_after_the_newest_run_is_refused() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    fill(&data, 1, 1, 10);
    done(&["backup", arg(&backup), "--data", arg(&data)]);

    let sentence = refused(
        1,
        &[
            "restore",
            arg(&backup),
            "--data",
            arg(&folder.path("x")),
            "--at",
            "2999-01-01T00:00:00Z",
        ],
    );

    assert!(sentence.contains("the newest run was begun at"), "{sentence}");
    assert!(!folder.path("x").exists());
}

#[test]
fn b10_a_document_of_which_updates_are_gone_is_named_and_never_restored_wrong() {
    let folder = Folder::new();
    let (data, backup, target) = (folder.path("data"), folder.path("backup"), folder.path("target"));
    fill(&data, 1, 3, 10);
    {
        let journal = journal(&data);
        let doc = new_doc();
        edit(&doc, "gone", 1, 0, "gone,", 0);
        let state = doc.transact().encode_state_as_update_v1(&StateVector::default());
        journal
            .commit_all(&[record("gone", 7, 2_000, Body::Snapshot(Bytes::from(state)))])
            .unwrap();
        journal.close().unwrap();
    }
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    let arguments = [
        "restore",
        arg(&backup),
        "--data",
        arg(&target),
        "--at",
        "1970-01-01T00:00:01.5Z",
    ];

    let said = refused(1, &arguments);
    assert!(said.starts_with("gone cannot be known at that time"), "{said}");
    assert!(said.contains("can be restored is 1970-01-01T00:00:02.000Z\n"), "{said}");
    assert!(said.contains("nothing was restored"), "{said}");
    assert!(!target.exists());

    let said = refused(1, &[&arguments[..], &["--partial"]].concat());
    assert!(said.ends_with("error: 1 document left out\n"), "{said}");
    assert_eq!(served(&target), [("d0".to_owned(), "d0.1,".to_owned())].into());
}

#[test]
fn b10_a_damaged_document_is_never_restored_as_of_a_time() {
    let folder = Folder::new();
    let (data, backup, target) = (folder.path("data"), folder.path("backup"), folder.path("target"));
    fill(&data, 2, 3, 10);
    flip(&data.join("journal"), "d1.3,");
    refused(1, &["backup", arg(&backup), "--data", arg(&data)]);
    let arguments = [
        "restore",
        arg(&backup),
        "--data",
        arg(&target),
        "--at",
        "1970-01-01T00:00:09Z",
    ];

    assert!(refused(1, &arguments).starts_with("d1 is damaged"));
    assert!(!target.exists());
    refused(1, &[&arguments[..], &["--partial"]].concat());
    assert_eq!(names(&target), ["d0"]);
}

#[test]
fn b8_one_restore_at_a_time_is_at_work_in_a_folder() {
    let folder = Folder::new();
    let (data, backup, target) = (folder.path("data"), folder.path("backup"), folder.path("target"));
    fill(&data, 2, 2, 10);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    let half = target.join("journal.restoring/0000000001.segment");
    fs::create_dir_all(half.parent().unwrap()).unwrap();
    fs::write(&half, "half").unwrap();
    let other = fs::File::open(&target).unwrap();
    other.try_lock().unwrap();

    for at in [&[][..], &["--at", "1970-01-01T00:00:02Z"]] {
        let said = refused(
            1,
            &[&["restore", arg(&backup), "--data", arg(&target)][..], at].concat(),
        );
        assert!(said.contains("another restore is at work in"), "{said}");
    }
    assert_eq!(fs::read_to_string(&half).unwrap(), "half");
}

#[test]
fn b8_a_folder_with_half_a_restore_is_never_served() {
    let folder = Folder::new();
    let (target, file) = (folder.path("target"), folder.path("update"));
    fs::create_dir_all(target.join("journal.restoring")).unwrap();
    fs::write(&file, append(&new_doc(), "new", 0)).unwrap();

    for arguments in [
        &["serve", "--listen=127.0.0.1:0"][..],
        &["doc", "import", "d0", arg(&file)],
        &["doc", "delete", "d0", "--yes"],
    ] {
        let said = refused(1, &[arguments, &["--data", arg(&target)]].concat());
        assert!(said.contains("run `cowrite restore` again, or remove "), "{said}");
    }
    assert!(!target.join("journal").exists());
}

#[test]
fn b10_damage_of_which_nobody_can_say_whose_it_is_is_told() {
    let folder = Folder::new();
    let (data, backup, target) = (folder.path("data"), folder.path("backup"), folder.path("target"));
    fill(&data, 9, 1, 20_000);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    // Without headers and hint the first segment is no segment.
    let mut bytes = fs::read(&with_ending(&backup.join("segments"), ".segment")[0]).unwrap();
    bytes[..8_192].fill(0);
    fs::write(&with_ending(&backup.join("segments"), ".segment")[0], bytes).unwrap();
    fs::remove_file(&with_ending(&backup.join("segments"), ".hint")[0]).unwrap();

    let at = ["--at", "1970-01-01T00:00:02Z", "--partial"];
    let said = refused(
        1,
        &[&["restore", arg(&backup), "--data", arg(&target)][..], &at].concat(),
    );

    assert!(said.contains("nobody can say of which document"), "{said}");
    assert!(names(&target).contains(&"d8".to_owned()));
}
