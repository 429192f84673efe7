//! S: who hears "saved", and when.

use crate::{
    editor::{Editor, Heard, saved_question, step1, step2, update},
    table::{Deed, MS, POLICY, SECOND, Table, reader, writer},
};
use cowrite::{
    protocol::close::CloseReason,
    room::{Free, Policy},
};

fn saved(n: u8) -> Heard {
    Heard::Saved(vec![n])
}

#[test]
fn s1_an_author_hears_saved_only_when_its_edit_is_durable() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);

    table.says_all(1, &[update(&author.types("a")), saved_question(&[1])]);
    assert_eq!(table.takes(1), []);
    table.says_all(1, &[update(&author.types("b")), saved_question(&[2])]);
    table.stores(1);
    assert_eq!(table.takes(1), [saved(1)]);
    table.stores(2);

    assert_eq!(table.takes(1), [saved(2)]);
}

#[test]
fn s2_who_sent_nothing_new_hears_saved_at_once() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.seats(2);
    table.says(1, &update(&author.types("a")));
    table.takes(2);

    table.says(2, &saved_question(&[9]));

    assert_eq!(table.takes(2), [saved(9)]);
}

#[test]
fn s3_what_is_known_but_not_durable_is_not_called_saved() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.seats(2);
    let edit = author.types("a");
    table.says(1, &update(&edit));
    table.takes(2);

    table.says_all(2, &[update(&edit), saved_question(&[1])]);
    assert_eq!(table.takes(2), []);
    table.stores(1);

    assert_eq!(table.takes(2), [saved(1)]);
}

#[test]
fn s3_what_is_known_but_has_not_left_yet_is_not_called_saved() {
    let mut table = Table::new();
    let author = Editor::new(5);
    (1..=20).for_each(|n| table.seats(n));
    table.says(1, &update(&author.types("a")));
    table.stores(1);
    let waits = author.types("b");
    table.says(1, &update(&waits));
    table.did();
    (1..=20).for_each(|n| drop(table.takes(n)));

    table.says_all(2, &[update(&waits), saved_question(&[1])]);
    assert_eq!(table.takes(2), []);
    table.passes(50 * MS);
    assert_eq!(table.did().len(), 1);
    assert!(!table.takes(2).contains(&saved(1)));
    table.stores(2);

    assert_eq!(table.takes(2), [saved(1)]);
}

#[test]
fn s4_a_new_connection_is_answered_after_its_step2() {
    let mut table = Table::new();
    let author = Editor::new(5);
    let offline = author.types("written offline");
    table.joins(1, writer(), None);
    table.takes(1);

    table.says_all(1, &[step1(&author.state_vector()), saved_question(&[1])]);
    table.stores(0);
    assert_eq!(table.takes(1), [Heard::Step2(vec![0, 0])]);
    table.says(1, &step2(&offline));
    assert_eq!(table.takes(1), []);
    table.stores(1);

    assert_eq!(table.takes(1), [saved(1)]);
}

#[test]
fn s4_what_was_asked_before_the_step2_is_answered_when_that_is_durable() {
    let mut table = Table::new();
    let (author, other) = (Editor::new(5), Editor::new(6));
    table.seats(2);
    table.says(2, &update(&other.types("first")));
    let offline = author.types("written offline");
    table.joins(1, writer(), None);
    table.says_all(1, &[saved_question(&[1]), step2(&offline)]);

    table.stores(1);
    assert!(!table.takes(1).contains(&saved(1)));
    table.stores(2);

    assert_eq!(table.takes(1), [saved(1)]);
}

#[test]
fn s4_a_client_that_never_answers_is_answered_after_two_seconds() {
    let mut table = Table::new();
    table.joins(1, writer(), None);
    table.takes(1);
    table.says(1, &saved_question(&[1]));

    table.passes(2 * SECOND - 1);
    assert!(!table.takes(1).contains(&saved(1)));
    table.passes(SECOND);

    assert!(table.takes(1).contains(&saved(1)));
}

#[test]
fn s5_who_has_a_gap_is_not_told_saved_before_it_is_closed() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    author.types("lost");

    table.says_all(1, &[update(&author.types("late")), saved_question(&[1])]);
    table.passes(9 * SECOND);
    assert!(!table.takes(1).contains(&saved(1)));
    table.says(1, &step2(&author.state()));
    assert_eq!(table.takes(1), []);
    table.stores(1);

    assert_eq!(table.takes(1), [saved(1)]);
}

/// What session 1 hears; it answers what it is asked as `page` does, and says how often that was.
fn answers(table: &mut Table, page: &Editor) -> (Vec<Heard>, usize) {
    let heard = table.takes(1);
    let mut asked = 0;
    for heard in &heard {
        if let Heard::Step1(had) = heard {
            table.says(1, &step2(&page.answer(had)));
            asked += 1;
        }
    }
    (heard, asked)
}

#[test]
fn s5_who_has_what_nobody_can_complete_is_told_saved_until_it_can_be_shown() {
    let mut table = Table::new();
    let (author, page) = (Editor::new(5), Editor::new(6));
    let lost = author.types("lost");
    page.applies(&author.types("late"));
    assert!(page.misses_something());
    table.joins(1, writer(), None);
    table.says(1, &step1(&[0]));

    // Its Yjs keeps what it cannot show, and sends it on.
    assert_eq!(answers(&mut table, &page).1, 1);
    table.says_all(1, &[update(&page.types("mine")), saved_question(&[1])]);
    assert!(!answers(&mut table, &page).0.contains(&saved(1)), "it is not durable");
    table.stores(1);
    assert!(table.takes(1).contains(&saved(1)));
    let mut asked = 0;
    for _ in 0..40 {
        table.passes(SECOND);
        table.pongs(1);
        asked += answers(&mut table, &page).1;
    }
    assert_eq!(table.room.take_counts().gaps_kept_open, 1);
    assert!((3..=5).contains(&asked), "{asked}");

    // Somebody has it all the same: the page shows it then, and is asked for it at once.
    table.seats(2);
    table.says(2, &step2(&lost));
    page.applies(&lost);
    table.says(1, &saved_question(&[2]));
    table.stores(2);
    let (heard, asked) = answers(&mut table, &page);
    assert_eq!((heard.contains(&saved(2)), asked), (false, 1));
    assert!(!table.takes(1).contains(&saved(2)));
    table.stores(3);
    assert!(table.takes(1).contains(&saved(2)));
    table.passes(40 * SECOND);
    assert_eq!(table.room.take_counts().gaps_kept_open, 0);
}

#[test]
fn s7_a_reader_is_told_saved_unless_it_shows_what_the_server_lacks() {
    for is_shown in [false, true] {
        let mut table = Table::new();
        let (author, page) = (Editor::new(5), Editor::new(6));
        let first = author.types("first");
        if is_shown {
            page.applies(&first);
        }
        page.applies(&author.types("late"));
        table.joins(1, reader(), None);
        table.says(1, &step1(&[0]));

        assert_eq!(answers(&mut table, &page).1, 1);
        table.says(1, &saved_question(&[1]));

        assert_eq!(answers(&mut table, &page).0.contains(&saved(1)), !is_shown);
    }
}

#[test]
fn s5_who_sends_less_than_all_that_it_has_is_not_told_saved() {
    // Nobody asked for this answer, and this is no answer.
    for message in [step2, update] {
        let mut table = Table::new();
        let author = Editor::new(5);
        table.seats(1);
        author.types("lost");
        table.says_all(1, &[message(&author.types("late")), saved_question(&[1])]);
        table.passes(9 * SECOND);
        assert!(!table.takes(1).contains(&saved(1)));
    }
}

#[test]
fn s12_who_lacks_what_more_than_a_few_were_to_write_is_not_told_saved() {
    for (clients, is_saved) in [(16, true), (17, false)] {
        let mut table = Table::new();
        table.joins(1, writer(), None);
        table.says(1, &step1(&[0]));
        let deleted = (1..=clients).flat_map(|client| [client, 1, 0, 1]);
        let deleted: Vec<u8> = [0, clients].into_iter().chain(deleted).collect();

        table.says_all(1, &[step2(&deleted), saved_question(&[1])]);
        // It is asked again, as it has a gap.
        table.says(1, &step2(&deleted));

        assert_eq!(table.takes(1).contains(&saved(1)), is_saved, "{clients}");
    }
}

#[test]
fn s6_answers_come_in_the_order_of_their_questions() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    for n in 1..=3 {
        table.says_all(1, &[update(&author.types("a")), saved_question(&[n])]);
    }

    table.stores(3);

    assert_eq!(table.takes(1), [saved(1), saved(2), saved(3)]);
}

#[test]
fn s6_of_more_than_sixty_four_questions_the_newest_are_kept() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.says(1, &update(&author.types("a")));
    let questions: Vec<_> = (0..65).map(|n| saved_question(&[n])).collect();
    table.says_all(1, &questions);

    table.stores(1);

    assert_eq!(table.takes(1), (1..65).map(saved).collect::<Vec<_>>());
}

#[test]
fn s7_a_reader_whose_edits_are_not_taken_is_not_told_that_they_are_saved() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.joins(1, reader(), None);
    table.says(1, &step2(&[0, 0]));
    table.takes(1);
    table.says(1, &saved_question(&[1]));
    assert_eq!(table.takes(1), [saved(1)]);

    table.says_all(1, &[update(&author.types("a")), saved_question(&[2])]);
    table.passes(5 * SECOND);

    assert!(!table.takes(1).contains(&saved(2)));
}

#[test]
fn s7_a_reader_that_repeats_known_deletions_has_edited_nothing() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.says_all(1, &[update(&author.types("hello")), update(&author.deletes(2))]);
    let seq = last_append(&mut table);
    table.stores(seq);
    table.joins(2, reader(), None);
    table.takes(2);

    // A provider answers SyncStep1 with all deletions that it knows, whatever it is asked for.
    let answer = author.answer(&author.state_vector());
    assert_ne!(answer, [0, 0]);
    table.says_all(2, &[step2(&answer), saved_question(&[1])]);

    assert_eq!(table.takes(2), [saved(1)]);
    assert_eq!(table.room.take_counts().updates_of_readers, 0);
}

#[test]
fn s8_edits_are_taken_until_too_much_waits_for_the_disk_and_again_when_it_is_durable() {
    let policy = Policy {
        unsaved_bytes_max: 1_000,
        ..POLICY
    };
    let mut table = Table::with(policy, &Default::default());
    let author = Editor::new(5);
    table.seats(1);
    table.seats(2);
    table.says(1, &update(&author.types(&"x".repeat(900))));
    table.did();

    table.says(1, &update(&author.types(&"y".repeat(100))));
    let reason = CloseReason::Overloaded("too much waits to be saved, keep the edits and try again".to_owned());
    assert_eq!(table.did(), [Deed::Ended(1, reason)]);
    assert!(matches!(table.takes(1).last(), Some(Heard::Close(1013, _))));
    table.stores(1);
    table.says(2, &step2(&author.state()));

    assert!(matches!(table.did()[..], [Deed::Append(2, ..)]));
}

fn free(edits: usize) -> Free {
    Free {
        edits,
        ..Free::default()
    }
}

#[test]
fn s8_a_snapshot_begins_when_it_finds_room_to_wait_for_the_disk() {
    let policy = Policy {
        snapshot_bytes: 1_000,
        ..POLICY
    };
    let mut table = Table::with(policy, &Default::default());
    let author = Editor::new(5);
    table.seats(1);
    for (snapshots, begins) in [(1_500, false), (6_000, true)] {
        table.room.store_free(Free {
            snapshots,
            ..Free::default()
        });
        table.says(1, &update(&author.types(&"x".repeat(1_000))));
        let deeds = table.did();
        let has_begun = deeds.iter().any(|deed| matches!(deed, Deed::Snapshot(..)));
        assert_eq!(has_begun, begins, "{snapshots}: {deeds:?}");
    }
}

#[test]
fn s8_a_disk_that_large_edits_keep_busy_has_room_for_who_types() {
    // Documents that write as much as they may, to a disk that takes nothing.
    let (mut waiting, most) = (0, 100_000);
    for _ in 0..50 {
        let mut table = Table::new();
        let author = Editor::new(5);
        table.seats(1);
        loop {
            table.room.store_free(free(most - waiting));
            table.says(1, &update(&author.types(&"x".repeat(1_000))));
            match &table.did()[..] {
                [Deed::Append(..)] => waiting += 1_000,
                [Deed::Ended(1, CloseReason::Overloaded(_)), ..] => break,
                other => panic!("{other:?}"),
            }
            assert!(waiting < most, "there is always something left");
        }
    }
    assert!(waiting > most * 9 / 10, "{waiting}");
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    for _ in 0..10 {
        table.room.store_free(free(most - waiting));
        table.says(1, &update(&author.types("a")));
        assert!(matches!(table.did()[..], [Deed::Append(..)]), "somebody types");
    }
}

#[test]
fn s8_many_documents_that_leave_each_other_half_leave_room_for_who_types() {
    // Each writes the largest edits that are taken, down to a letter.
    let (mut waiting, most) = (0, 200_000);
    for _ in 0..40 {
        let (mut table, mut size, mut id) = (Table::new(), most / 2, 0);
        while size > 0 {
            id += 1;
            table.seats(id);
            table.room.store_free(free(most - waiting));
            let edit = Editor::new(id).types(&"x".repeat(size));
            table.says(id, &update(&edit));
            if table.did().iter().any(|deed| matches!(deed, Deed::Append(..))) {
                waiting += edit.len();
            } else {
                size /= 4;
            }
        }
    }
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);

    for _ in 0..20 {
        table.room.store_free(Free {
            each: 1_000,
            ..free(most - waiting)
        });
        table.says(1, &update(&author.types("a")));
        assert!(
            matches!(table.did()[..], [Deed::Append(..)]),
            "of {most} {waiting} wait"
        );
    }
    table.says(1, &update(&author.types(&"a".repeat(1_000))));
    assert!(matches!(table.did()[..], [Deed::Ended(..)]), "who does more is refused");
}

#[test]
fn s8_one_edit_is_taken_however_large_it_is_where_nothing_waits_for_the_disk() {
    let policy = Policy {
        unsaved_bytes_max: 1_000,
        ..POLICY
    };
    let mut table = Table::with(policy, &Default::default());
    let author = Editor::new(5);
    table.seats(1);
    table.says(1, &update(&author.types(&"x".repeat(5_000))));
    assert!(matches!(table.did()[..], [Deed::Append(1, ..)]));
    table.stores(1);

    table.says(1, &update(&author.types(&"y".repeat(5_000))));

    assert!(matches!(table.did()[..], [Deed::Append(2, ..)]));
}

#[test]
fn s7_a_reader_that_knows_what_a_crash_lost_waits_until_its_author_sent_it_again() {
    let mut table = Table::new();
    let author = Editor::new(5);
    let lost = author.types("lost");
    table.joins(1, reader(), None);
    table.takes(1);
    table.says_all(1, &[step2(&lost), saved_question(&[1])]);
    assert!(!table.takes(1).contains(&saved(1)));

    table.seats(2);
    table.says(2, &step2(&lost));
    table.stores(1);
    let mut asked = false;
    for _ in 0..20 {
        table.passes(SECOND);
        if table.takes(1).contains(&Heard::Step1(author.state_vector())) {
            asked = true;
            table.says(1, &step2(&author.answer(&author.state_vector())));
            assert!(table.takes(1).contains(&saved(1)) || table.outbox(1).line().waiting_bytes() == 0);
            table.stores(1);
            break;
        }
    }

    assert!(asked);
    assert_eq!(table.room.take_counts().updates_of_readers, 1);
}

#[test]
fn s9_an_author_that_reconnects_hears_saved_only_when_what_it_brought_before_is_durable() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.says(1, &update(&author.types("hello")));
    let seq = last_append(&mut table);
    table.leaves(1);

    // Our SyncStep1 says that we have it, so its answer is empty.
    table.joins(2, writer(), None);
    table.takes(2);
    table.says_all(2, &[step2(&[0, 0]), saved_question(&[1])]);
    assert_eq!(table.takes(2), []);

    table.stores(seq);
    assert_eq!(table.takes(2), [saved(1)]);
}

fn last_append(table: &mut Table) -> u64 {
    let deeds = table.did();
    let seqs = deeds.iter().filter_map(|deed| match deed {
        Deed::Append(seq, ..) => Some(*seq),
        _ => None,
    });
    seqs.max().expect("something was appended")
}
