//! I: what a room says of itself.

use std::sync::Arc;

use cowrite::{
    budgets::Network,
    room::{
        Policy,
        inside::{Inside, Onlooker, Seen},
    },
    store::StoredDocument,
};

use crate::{
    editor::{Editor, states, step2, update},
    table::{POLICY, SECOND, Table, named, reader, writer},
};

fn inside(table: &Table) -> Inside {
    table.room.inside(Onlooker::Reader, 100, table.now)
}

fn sessions(inside: &Inside) -> Vec<u64> {
    inside.shown.iter().map(|seen| seen.present.session.0).collect()
}

fn seen(table: &Table, id: u64) -> Seen {
    let all = inside(table).shown.into_iter();
    all.into_iter()
        .find(|seen| seen.present.session.0 == id)
        .expect("it is here")
}

#[test]
fn i3_positions_and_what_is_unsaved_are_counted_from_the_edit_to_the_disk() {
    let mut table = Table::new();
    table.seats(1);
    let ada = Editor::new(7);
    let edit = ada.types("hello");

    table.says(1, &update(&edit));

    let told = inside(&table);
    assert_eq!((told.appended, told.durable, told.updates), (1, 0, 1));
    assert_eq!(told.unsaved_bytes, edit.len());
    assert_eq!(told.since_snapshot, (edit.len(), 1));
    assert_eq!(
        (told.totals.clients, told.totals.structs, told.totals.deleted),
        (1, 1, 0)
    );
    table.stores(1);
    let told = inside(&table);
    assert_eq!((told.durable, told.unsaved_bytes, told.updates_per_second), (1, 0, 0.1));

    let gone = ada.deletes(2);
    table.says(1, &update(&gone));
    let told = inside(&table);
    assert_eq!(
        (told.totals.deleted, told.totals.deleted_ranges, told.updates),
        (2, 1, 2)
    );
}

#[test]
fn i4_who_does_not_read_is_so_many_versions_behind_and_who_writes_is_not() {
    let mut table = Table::new();
    (1..=2).for_each(|id| table.seats(id));
    let ada = Editor::new(7);

    for word in ["one ", "two ", "three "] {
        table.says(1, &update(&ada.types(word)));
        table.passes(SECOND);
    }

    assert_eq!((seen(&table, 1).reading, seen(&table, 1).behind), ("live", 0));
    let slow = seen(&table, 2);
    assert_eq!((slow.reading, slow.behind), ("live", 3));
    assert!(slow.waiting_bytes > 3 * 128, "{slow:?}");
    assert_eq!(slow.silent_seconds, 3);
    table.takes(2);
    let slow = seen(&table, 2);
    assert_eq!((slow.behind, slow.waiting_bytes), (0, 0));
}

#[test]
fn i4_those_for_whom_most_waits_are_shown_and_all_are_counted() {
    let mut table = Table::new();
    (1..=20).for_each(|id| table.seats(id));
    (1..=20).for_each(|id| _ = table.takes(id));
    table.says(1, &update(&Editor::new(7).types("for all but its author")));
    for id in (1..=20).filter(|id| ![11, 13].contains(id)) {
        table.takes(id);
    }

    let told = table.room.inside(Onlooker::Reader, 3, table.now);

    assert_eq!((told.sessions, told.shown.len()), (20, 3));
    let mut first = sessions(&told)[..2].to_vec();
    first.sort_unstable();
    assert_eq!(first, [11, 13]);
    assert_eq!(table.room.inside(Onlooker::Reader, 0, table.now).shown.len(), 0);
}

#[test]
fn i4_a_session_is_shown_with_the_client_ids_that_it_speaks_for() {
    let mut table = Table::new();
    table.joins(1, named("ada"), None);
    table.says(1, &step2(&[0, 0]));

    table.says(1, &states(&[(7, 1, "{}"), (8, 1, "{}")]));

    let ada = seen(&table, 1);
    assert_eq!(ada.clients.as_slice(), [7, 8]);
    assert_eq!(
        (ada.present.user.as_deref(), ada.present.wire),
        (Some("ada"), "y-websocket")
    );
    table.says(1, &states(&[(8, 2, "null")]));
    assert_eq!(seen(&table, 1).clients.as_slice(), [7]);
}

#[test]
fn i5_addresses_are_for_the_operator() {
    let mut table = Table::new();
    table.seats(1);
    let network = Network::of([203, 0, 113, 7].into());
    table.outbox(1).line().comes_from(network, Arc::default());

    let asked = |onlooker| table.room.inside(onlooker, 1, table.now).shown[0].network;
    assert_eq!(asked(Onlooker::Reader), None);
    assert_eq!(asked(Onlooker::Operator), Some(network));
}

#[test]
fn i5_readers_that_are_not_shown_in_presence_are_not_shown_here_nor_counted() {
    for shows_readers in [true, false] {
        let mut table = Table::with(
            Policy {
                shows_readers,
                ..POLICY
            },
            &StoredDocument::default(),
        );
        table.joins(1, writer(), None);
        table.joins(2, reader(), None);

        let told = inside(&table);
        let operator = table.room.inside(Onlooker::Operator, 100, table.now);

        assert_eq!(
            (sessions(&told).contains(&2), told.sessions),
            (shows_readers, 1 + usize::from(shows_readers))
        );
        assert_eq!((operator.sessions, operator.shown.len()), (2, 2));
    }
}

#[test]
fn i5_users_are_named_where_presence_names_them() {
    for stamps_presence in [true, false] {
        let mut table = Table::with(
            Policy {
                stamps_presence,
                ..POLICY
            },
            &StoredDocument::default(),
        );
        table.joins(1, named("ada"), None);

        let user = |onlooker| table.room.inside(onlooker, 1, table.now).shown[0].present.user.clone();
        assert_eq!(user(Onlooker::Reader).is_some(), stamps_presence);
        assert_eq!(user(Onlooker::Operator).as_deref(), Some("ada"));
    }
}
