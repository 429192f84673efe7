//! L: sessions and documents come and go.

use cowrite::{
    budgets::Memory,
    protocol::{close::CloseReason, update::CheckedUpdate},
    room::Policy,
};
use yrs::{Map, MapPrelim, WriteTxn};

use crate::{
    editor::{Editor, Heard, saved_question, step1, update},
    table::{Deed, MS, POLICY, SECOND, Table, writer},
};

#[test]
fn l1_a_session_ends_in_the_moment_in_which_its_token_does() {
    let mut table = Table::new();
    let expires = table.now + 7_300 * MS;
    table.joins(1, writer(), Some(expires));
    table.joins(2, writer(), Some(expires + 1));
    table.joins(3, writer(), None);

    table.passes(7_300 * MS - 1);
    assert_eq!(table.did(), []);
    table.passes(1);

    let text = "the token has expired, get a new one".to_owned();
    assert_eq!(
        table.did(),
        [Deed::Ended(1, CloseReason::Unauthenticated(text.clone()))]
    );
    let heard = table.takes(1);
    assert_eq!(
        heard[heard.len() - 2..],
        [Heard::Denied(text.clone()), Heard::Close(4401, text)]
    );
    table.passes(1);
    assert_eq!(table.did().len(), 1);
    assert_eq!(table.room.sessions(), 1);
}

#[test]
fn l2_who_hears_nothing_for_long_is_sent_something() {
    let mut table = Table::new();
    table.seats(1);
    let mut silence = 0;
    for second in 0..70 {
        table.passes(SECOND);
        table.pongs(1);
        let heard = table.takes(1);
        if heard.is_empty() {
            silence += 1;
            assert!(silence <= 20, "silent for {silence} s at {second} s");
        } else {
            assert_eq!(heard, [Heard::Ping, Heard::Awareness(vec![])]);
            silence = 0;
        }
    }
}

#[test]
fn l3_who_waits_for_saved_hears_something_within_three_seconds() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.says_all(1, &[update(&author.types("a")), saved_question(&[1])]);

    for _ in 0..5 {
        table.passes(3 * SECOND);
        assert!(table.takes(1).contains(&Heard::Awareness(vec![])));
    }
}

#[test]
fn l4_a_peer_of_which_nothing_is_heard_is_sent_away_after_75_s() {
    let mut table = Table::new();
    table.seats(1);
    table.seats(2);
    for _ in 0..14 {
        table.passes(5 * SECOND);
        table.pongs(2);
    }
    assert_eq!(table.did(), []);

    table.passes(10 * SECOND);

    let reason = CloseReason::Overloaded("nothing was heard for 75 s".to_owned());
    assert_eq!(table.did(), [Deed::Ended(1, reason)]);
}

#[test]
fn l5_a_document_leaves_memory_when_nobody_uses_it_and_all_is_durable() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.says(1, &update(&author.types("a")));
    table.leaves(1);
    table.did();

    table.passes(65 * SECOND);
    assert_eq!(table.did(), [], "its edit is not durable");
    table.stores(1);
    table.passes(30 * SECOND);

    assert_eq!(table.did(), [Deed::Unload]);
}

#[test]
fn l5_it_stays_for_the_idle_time_and_while_somebody_is_here() {
    let mut table = Table::new();
    table.passes(30 * SECOND - 1);
    assert_eq!(table.did(), []);
    table.seats(1);
    table.says(1, &update(&Editor::new(5).types("a")));
    table.stores(1);
    table.did();
    for _ in 0..20 {
        table.passes(5 * SECOND);
        table.pongs(1);
    }
    table.leaves(1);
    table.passes(30 * SECOND - 1);
    assert_eq!(table.did(), []);
    table.passes(1);

    assert_eq!(table.did(), [Deed::Unload]);
}

#[test]
fn l5_a_document_that_nobody_wrote_to_leaves_with_its_last_session() {
    let mut table = Table::new();
    table.seats(1);
    table.seats(2);
    table.leaves(1);
    table.passes(SECOND);
    assert_eq!(table.did(), []);

    table.leaves(2);

    assert_eq!(table.did(), [Deed::Unload]);
}

#[test]
fn l6_a_document_of_many_records_leaves_a_snapshot_first() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    for _ in 0..16 {
        table.says(1, &update(&author.types("a")));
    }
    table.stores(16);
    table.leaves(1);
    table.did();

    table.passes(30 * SECOND);
    let did = table.did();
    let [Deed::Snapshot(16, state)] = &did[..] else {
        panic!("{did:?}")
    };
    assert_eq!(Editor::of(state).content(), author.content());
    table.passes(60 * SECOND);
    assert_eq!(table.did(), [], "the snapshot is not durable");
    table.room.snapshot_stored();
    table.passes(30 * SECOND);

    assert_eq!(table.did(), [Deed::Unload]);
}

#[test]
fn l78_while_memory_is_short_what_nobody_uses_goes_within_five_seconds() {
    let mut table = Table::new();
    let memory = Memory::new(10 << 20, 1 << 20);
    table.room.shares(memory.clone());
    table.seats(1);
    table.says(1, &update(&Editor::new(5).types("a")));
    table.stores(1);
    memory.uses(9 << 20);
    table.passes(60 * SECOND);
    assert!(!table.did().contains(&Deed::Unload), "somebody uses it");

    memory.uses(0);
    table.leaves(1);
    table.passes(10 * SECOND);
    assert_eq!(table.did(), []);
    memory.uses(9 << 20);
    table.passes(5 * SECOND);

    assert_eq!(table.did(), [Deed::Unload]);
}

#[test]
fn l78_a_parting_snapshot_that_has_no_room_is_tried_again_after_a_second() {
    let mut table = Table::new();
    let memory = Memory::new(16 << 20, 1 << 20);
    table.room.shares(memory.clone());
    table.seats(1);
    let author = Editor::new(6);
    for n in 1..=120 {
        table.says(1, &update(&author.types(&"x".repeat(10 << 10))));
        table.stores(n);
    }
    table.passes(SECOND);
    table.room.snapshot_stored();
    for n in 121..=170 {
        table.says(1, &update(&author.types("y")));
        table.stores(n);
    }
    table.room.snapshot_stored();
    let other = memory.makes(1);
    table.leaves(1);
    table.did();
    table.passes(35 * SECOND);
    assert_eq!(table.did(), []);

    drop(other);
    table.passes(SECOND);

    let did = table.did();
    assert!(matches!(did[..], [Deed::Snapshot(..)]), "{} {:.80?}", did.len(), did);
    table.room.snapshot_stored();
    memory.uses(15 << 20);
    table.passes(5 * SECOND);
    assert_eq!(table.did(), [Deed::Unload], "it does not wait to be idle once more");
}

#[test]
fn k2_a_snapshot_of_a_document_from_which_a_type_was_deleted_collects_what_was_in_it() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    let entries: Vec<(String, i64)> = (0..50).map(|n| (format!("k{n}"), n)).collect();
    let written = author.edit(|txn| {
        let map = txn.get_or_insert_map("map");
        map.insert(txn, "table", MapPrelim::from_iter(entries.clone()));
    });
    table.says(1, &update(&written));
    for n in 0..16 {
        let cleared = author.edit(|txn| {
            let map = txn.get_or_insert_map("map");
            map.insert(txn, "table", n);
        });
        table.says(1, &update(&cleared));
    }
    table.stores(17);
    table.leaves(1);
    table.did();

    table.passes(30 * SECOND);

    let [Deed::Snapshot(17, state)] = &table.did()[..] else {
        panic!()
    };
    assert_eq!(Editor::of(state).content(), author.content());
    let structs = CheckedUpdate::check(state.clone()).unwrap().struct_count();
    assert!(structs < 10, "{structs}");
    // The room goes on with it.
    table.room.snapshot_stored();
    table.joins(2, writer(), None);
    table.takes(2);
    table.says(2, &step1(&[0]));
    assert_eq!(table.takes(2), [Heard::Step2(state.to_vec())]);
}

#[test]
fn l7_a_snapshot_is_taken_when_as_much_as_it_was_appended() {
    let policy = Policy {
        snapshot_bytes: 10_000,
        ..POLICY
    };
    let mut table = Table::with(policy, &Default::default());
    let author = Editor::new(5);
    table.seats(1);
    let mut at = Vec::new();
    for n in 1..=100 {
        table.says(1, &update(&author.types(&"x".repeat(1_000))));
        if let Some(Deed::Snapshot(seq, state)) = table.did().pop() {
            assert_eq!((seq, Editor::of(&state).content()), (n, author.content()));
            at.push(n);
            table.room.snapshot_stored();
        }
    }

    assert_eq!(at, [10, 20, 40, 80]);
}

#[test]
fn l7_one_snapshot_at_a_time() {
    let policy = Policy {
        snapshot_bytes: 1_000,
        ..POLICY
    };
    let mut table = Table::with(policy, &Default::default());
    let author = Editor::new(5);
    table.seats(1);
    for _ in 0..20 {
        table.says(1, &update(&author.types(&"x".repeat(1_000))));
    }

    assert_eq!(
        table
            .did()
            .iter()
            .filter(|deed| matches!(deed, Deed::Snapshot(..)))
            .count(),
        1
    );
}

#[test]
fn l8_ending_all_tells_everybody_and_what_was_gathered_is_appended_first() {
    let mut table = Table::new();
    let author = Editor::new(5);
    (1..=17).for_each(|n| table.seats(n));
    table.says(1, &update(&author.types("a")));
    table.says(1, &update(&author.types("b")));
    table.did();
    assert!(!table.room.all_saved());

    let mut effects = Vec::new();
    table.room.flush(table.now, &mut effects);
    table.room.end_all(&CloseReason::Restarting, table.now, &mut effects);
    table.carry_out(effects);

    let did = table.did();
    assert!(matches!(did[0], Deed::Append(2, ..)));
    assert_eq!(
        did.iter()
            .filter(|deed| matches!(deed, Deed::Ended(_, CloseReason::Restarting)))
            .count(),
        17
    );
    assert_eq!(
        table.takes(2).last(),
        Some(&Heard::Close(1012, "the server restarts".to_owned()))
    );
    assert!(!table.room.all_saved());
    table.stores(2);
    assert!(table.room.all_saved());
}

#[test]
fn l9_what_a_session_says_after_its_end_is_not_heard() {
    let mut table = Table::new();
    let author = Editor::new(5);
    let expires = table.now + SECOND;
    table.joins(1, writer(), Some(expires));
    table.passes(SECOND);
    table.did();

    table.says(1, &update(&author.types("late")));
    table.leaves(1);
    table.leaves(1);

    assert_eq!(table.did(), []);
    assert_eq!(table.room.clocks().len(), 0);
}
