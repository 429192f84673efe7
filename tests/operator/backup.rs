//! B1 to B7.

use std::{
    fs,
    io::Write,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use cowrite::store::{
    Store,
    journal::disk::{Disk, FileDisk},
};

use crate::support::{
    Editor, Folder, SMALL, Server, apply, arg, command, content, done, edit, fill, flip, journal, names, new_doc,
    refused, run, served, start, text, wait_until, with_ending,
};

/// Threads that write until this is dropped.
struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// One for each document `w0`, `w1`, …; it writes `1,2,3,` and so on, each number when the last is saved.
    fn start(address: &str, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: Vec<Arc<AtomicU64>> = (0..count).map(|_| Arc::default()).collect();
        let threads = acknowledged.iter().enumerate().map(|(number, acknowledged)| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(acknowledged));
            let (address, name) = (address.to_owned(), format!("w{number}"));
            thread::spawn(move || {
                let mut editor = Editor::open(&address, &name);
                for next in 1.. {
                    if stop.load(SeqCst) {
                        return;
                    }
                    editor.write(&format!("{next},"), 2_000);
                    acknowledged.store(next, SeqCst);
                }
            })
        });
        let threads = threads.collect();
        let writers = Self {
            stop,
            acknowledged,
            threads,
        };
        wait_until("everybody has written", || {
            let numbers = writers.numbers();
            numbers.iter().all(|number| *number > 0).then_some(())
        });
        writers
    }

    /// The last number of each that is known to be saved.
    fn numbers(&self) -> Vec<u64> {
        self.acknowledged.iter().map(|number| number.load(SeqCst)).collect()
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "a writer failed");
        }
    }
}

/// The last number in `1,2,3,`; nothing may be missing or doubled before it.
fn last_number(content: &str) -> u64 {
    let mut last = 0;
    for number in content.split_terminator(',') {
        last += 1;
        assert!(number == last.to_string(), "{number} where {last} should be");
    }
    last
}

fn exported(data: &Path, name: &str) -> String {
    let output = run(&mut command(&["doc", "export", name, "--data", arg(data)]));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let doc = new_doc();
    apply(&doc, &output.stdout);
    content(&doc)
}

#[test]
fn b1_what_was_acknowledged_before_a_backup_is_in_it_while_the_server_writes_and_compacts() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    let server = Server::start(&data, &SMALL);
    let writers = Writers::start(&server.address, 3);

    for round in 0..8 {
        if round == 2 {
            wait_until("compaction has removed the first segment", || {
                (!data.join("journal/0000000001.segment").exists()).then_some(())
            });
        }
        let before = writers.numbers();
        done(&["backup", arg(&backup), "--data", arg(&data)]);

        let restored = folder.path(&format!("restored{round}"));
        done(&["restore", arg(&backup), "--data", arg(&restored)]);
        for (number, least) in before.iter().enumerate() {
            let found = last_number(&exported(&restored, &format!("w{number}")));
            assert!(found >= *least, "round {round}, w{number}: {found} of {least}");
        }
    }
    drop(writers);

    done(&["backup", arg(&backup), "--data", arg(&data)]);
    done(&["verify", arg(&backup), "--all"]);
    let restored = folder.path("served");
    done(&["restore", arg(&backup), "--data", arg(&restored)]);
    let original: Vec<(String, String)> = ["w0", "w1", "w2"]
        .map(|name| (name.to_owned(), server.content(name)))
        .into();
    assert!(served(&restored).into_iter().collect::<Vec<_>>() == original);
}

#[test]
fn b1_a_folder_after_sigkill_is_backed_up_whole_and_a_torn_tail_is_no_damage() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    let server = Server::start(&data, &SMALL);
    let mut editor = Editor::open(&server.address, "w0");
    (1..=60).for_each(|number| editor.write(&format!("{number},"), 2_000));
    server.kill();
    // What a write that was cut short leaves.
    let last = with_ending(&data.join("journal"), ".segment").pop().unwrap();
    let torn = [&b"CWR1"[..], &[7; 300]].concat();
    fs::OpenOptions::new()
        .append(true)
        .open(&last)
        .unwrap()
        .write_all(&torn)
        .unwrap();

    done(&["verify", "--data", arg(&data)]);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    done(&["verify", arg(&backup)]);
    done(&["restore", arg(&backup), "--data", arg(&folder.path("restored"))]);

    let restored = served(&folder.path("restored"));
    assert_eq!(last_number(&restored["w0"]), 60);
    // The server goes on in the folder; what is new joins the same backup.
    let server = Server::start(&data, &SMALL);
    let mut editor = Editor::open(&server.address, "w0");
    editor.write("61,", 10);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    done(&["restore", arg(&backup), "--data", arg(&folder.path("later"))]);
    assert_eq!(last_number(&exported(&folder.path("later"), "w0")), 61);
}

#[test]
fn b2_a_backup_that_is_killed_leaves_no_half_run_and_the_next_one_goes_on() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    fill(&data, 20, 10, 40_000);
    let arguments = ["backup", arg(&backup), "--data", arg(&data)];

    for delay_ms in 0..40 {
        let mut child = start(command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()));
        thread::sleep(Duration::from_millis(delay_ms));
        let _ = child.kill();
        let status = child.wait().unwrap();
        let restored = folder.path(&format!("restored{delay_ms}"));
        if backup.join("runs/000001.run").exists() {
            done(&["restore", arg(&backup), "--data", arg(&restored)]);
            break;
        }
        assert!(!status.success());
        if backup.join("runs").exists() {
            assert!(
                refused(1, &["restore", arg(&backup), "--data", arg(&restored)]).contains("holds no run"),
                "killed after {delay_ms} ms"
            );
        }
    }
    done(&arguments);

    done(&["verify", arg(&backup), "--all"]);
    done(&["restore", arg(&backup), "--data", arg(&folder.path("restored"))]);
    assert_eq!(names(&folder.path("restored")), names(&data));
    assert!(with_ending(&backup.join("segments"), ".part").is_empty());
}

#[test]
fn b2_one_command_at_a_time_is_at_work_in_a_backup() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    fill(&data, 1, 1, 10);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    let _lock = FileDisk.lock(&backup.join("lock")).unwrap().unwrap();

    for arguments in [
        &["backup", arg(&backup), "--data", arg(&data)][..],
        &["restore", arg(&backup), "--data", arg(&folder.path("x"))],
        &["verify", arg(&backup)],
    ] {
        let sentence = refused(1, arguments);
        assert!(
            sentence.starts_with("error: another cowrite command is at work in "),
            "{sentence}"
        );
    }
}

/// `(copied, kept)` of a line like `run 1 of …: 2 documents; 3 files copied (1 KiB), 4 kept`.
fn copied_and_kept(line: &str) -> (u64, u64) {
    let number = |part: &str| part.split_whitespace().next().unwrap().parse().unwrap();
    let (_, counts) = line.split_once("; ").unwrap();
    let (copied, kept) = counts.split_once("), ").unwrap();
    (number(copied), number(kept))
}

#[test]
fn b3_a_later_run_copies_what_is_new_and_keeps_the_rest() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    let arguments = ["backup", arg(&backup), "--data", arg(&data)];
    fill(&data, 10, 4, 10_000);

    let first = copied_and_kept(&done(&arguments));
    let again = copied_and_kept(&done(&arguments));
    let file = folder.path("update");
    fs::write(&file, crate::support::append(&new_doc(), "new", 0)).unwrap();
    done(&["doc", "import", "new", arg(&file), "--data", arg(&data)]);
    let later = copied_and_kept(&done(&arguments));

    assert!(first.0 > 4 && first.1 == 0, "{first:?}");
    assert_eq!(again, (0, first.0));
    assert_eq!(later, (1, first.0));
    done(&["restore", arg(&backup), "--data", arg(&folder.path("restored"))]);
    assert_eq!(names(&folder.path("restored")), names(&data));
}

#[test]
fn b3_what_rots_in_the_data_folder_after_it_was_copied_does_not_reach_the_backup() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    fill(&data, 3, 2, 10);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    flip(&data.join("journal"), "d1.2,");

    done(&["backup", arg(&backup), "--data", arg(&data)]);

    assert!(refused(1, &["verify", "--data", arg(&data)]).contains("d1 is damaged"));
    done(&["verify", arg(&backup), "--all"]);
    done(&["restore", arg(&backup), "--data", arg(&folder.path("restored"))]);
    assert_eq!(served(&folder.path("restored"))["d1"], "d1.1,d1.2,");
}

#[test]
fn b5_a_damaged_document_is_named_and_everything_else_is_backed_up() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    fill(&data, 3, 2, 10);
    flip(&data.join("journal"), "d1.2,");

    for _ in 0..2 {
        let said = refused(1, &["backup", arg(&backup), "--data", arg(&data)]);

        assert!(said.starts_with("d1 is damaged: 0000000001.segment at byte"), "{said}");
        assert!(
            said.contains("the run is complete, and something in it is damaged"),
            "{said}"
        );
    }
    let said = refused(1, &["restore", arg(&backup), "--data", arg(&folder.path("restored"))]);
    assert!(said.contains("d1 is damaged"), "{said}");
    let server = Server::start(&folder.path("restored"), &[]);
    assert_eq!(server.content("d2"), "d2.1,d2.2,");
}

#[test]
fn b6_old_runs_go_with_what_only_they_need() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    fill(&data, 3, 2, 10);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    // Another life of the same folder: nothing of the first run is needed any more.
    fs::remove_dir_all(&data).unwrap();
    fill(&data, 1, 1, 10);
    done(&["backup", arg(&backup), "--data", arg(&data), "--keep", "1h"]);
    assert_eq!(with_ending(&backup.join("runs"), ".run").len(), 2);
    let before = with_ending(&backup.join("segments"), ".segment").len();

    let said = done(&["backup", arg(&backup), "--data", arg(&data), "--keep", "0s"]);

    assert!(said.trim_end().ends_with("; 2 older runs removed"), "{said}");
    assert!(with_ending(&backup.join("segments"), ".segment").len() < before);
    done(&["verify", arg(&backup), "--all"]);
    done(&["restore", arg(&backup), "--data", arg(&folder.path("restored"))]);
    assert_eq!(names(&folder.path("restored")), ["d0"]);
}

#[test]
fn b7_a_backup_has_a_folder_of_its_own_for_one_store() {
    let folder = Folder::new();
    let (data, other, backup) = (folder.path("data"), folder.path("other"), folder.path("backup"));
    fill(&data, 1, 1, 10);
    fill(&other, 1, 1, 10);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    fs::create_dir(folder.path("full")).unwrap();
    fs::write(folder.path("full/letter"), "dear").unwrap();

    for (to, from, said) in [
        (backup.as_path(), other.as_path(), "use one folder for each"),
        (&folder.path("full"), &data, "is not empty and no backup of cowrite"),
        (&data.join("backup"), &data, "lies in the data folder"),
        (&folder.path("x"), &folder.path("nowhere"), "there is no journal in it"),
    ] {
        let sentence = refused(1, &["backup", arg(to), "--data", arg(from)]);
        assert!(sentence.contains(said), "{sentence}");
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
    }
}

/// Two edits of `plan`, each in a batch of its own, and then what SIGKILL leaves.
fn two_edits(data: &Path) {
    let journal = journal(data);
    let doc = new_doc();
    for (seq, text) in [(1, "one,"), (2, "two,")] {
        journal.commit_all(&[edit(&doc, "plan", seq, seq, text, 0)]).unwrap();
    }
}

#[test]
fn b1_a_run_keeps_its_last_edit_when_a_later_start_has_written_it_anew_elsewhere() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    two_edits(&data);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    {
        let journal = journal(&data);
        while journal.maintain(9).unwrap() {}
    }
    assert!(data.join("journal/0000000001.hint").exists());

    done(&["backup", arg(&backup), "--data", arg(&data)]);

    done(&["verify", arg(&backup), "--all"]);
    for run in ["1", "2"] {
        let target = folder.path(run);
        done(&["restore", arg(&backup), "--data", arg(&target), "--run", run]);
        assert_eq!(exported(&target, "plan"), "one,two,", "run {run}");
    }
}

#[test]
fn b4_what_an_earlier_run_has_of_the_last_segment_is_no_torn_tail() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    two_edits(&data);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    flip(&data.join("journal"), "two,");

    done(&["backup", arg(&backup), "--data", arg(&data)]);

    done(&["restore", arg(&backup), "--data", arg(&folder.path("restored"))]);
    assert_eq!(exported(&folder.path("restored"), "plan"), "one,two,");
}

#[test]
fn b5_a_file_that_is_copied_again_is_checked_again() {
    let folder = Folder::new();
    let (data, backup) = (folder.path("data"), folder.path("backup"));
    fill(&data, 3, 2, 10);
    done(&["backup", arg(&backup), "--data", arg(&data)]);
    flip(&data.join("journal"), "d1.2,");
    fs::remove_file(&with_ending(&backup.join("segments"), ".segment")[0]).unwrap();

    let said = refused(1, &["backup", arg(&backup), "--data", arg(&data)]);

    assert!(said.starts_with("d1 is damaged: 0000000001.segment at byte"), "{said}");
}

#[test]
fn b3_b5_a_segment_that_was_cut_short_is_taken_from_an_earlier_run_or_named() {
    for (cut, hinted) in [(0, true), (0, false), (8_192, true), (8_192, false)] {
        let context = format!("cut at {cut}, hinted {hinted}");
        let folder = Folder::new();
        let (data, backup, other) = (folder.path("data"), folder.path("backup"), folder.path("other"));
        fill(&data, 4, 3, 20_000);
        let segment = data.join("journal/0000000002.segment");
        done(&["backup", arg(&backup), "--data", arg(&data)]);
        fs::OpenOptions::new()
            .write(true)
            .open(&segment)
            .unwrap()
            .set_len(cut)
            .unwrap();
        if !hinted {
            fs::remove_file(segment.with_extension("hint")).unwrap();
        }

        let said = refused(1, &["backup", arg(&other), "--data", arg(&data)]);
        assert!(
            said.contains("the run is complete, and something in it is damaged"),
            "{context}: {said}"
        );
        assert!(!hinted || said.contains("d1 is damaged"), "{context}: {said}");
        let verdict = refused(1, &["verify", arg(&other)]);
        assert!(!hinted || verdict.contains("d1 is damaged"), "{context}: {verdict}");

        // Nothing says which one it was of a segment without header and hint.
        if hinted || cut > 0 {
            done(&["backup", arg(&backup), "--data", arg(&data)]);
            done(&["verify", arg(&backup), "--all"]);
            done(&["restore", arg(&backup), "--data", arg(&folder.path("restored"))]);
            assert_eq!(names(&folder.path("restored")), ["d0", "d1", "d2", "d3"], "{context}");
        } else {
            refused(1, &["backup", arg(&backup), "--data", arg(&data)]);
        }
    }
}
