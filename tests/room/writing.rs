//! S10, S11: writing and reading without a session.

use cowrite::{
    protocol::{close::CloseReason, update::Clocks},
    room::WrittenBy,
};

use crate::{
    editor::{Editor, Heard, states, step2, update},
    table::{Deed, MS, Table, named, writer},
};

fn refusal(deeds: &[Deed]) -> u16 {
    match deeds {
        [Deed::Written(_, Err(reason))] => reason.code(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn s10_a_write_is_answered_when_it_is_durable_and_shown_to_everybody() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    let first = author.types("a");

    table.writes(100, None, &first);
    assert_eq!(table.takes(1), [Heard::Update(first.clone())]);
    table.tells_writers();
    assert!(
        matches!(table.did()[..], [Deed::Append(1, ..)]),
        "it is not durable yet"
    );
    table.writes(101, None, &first);
    assert_eq!(table.did(), [], "neither is what it repeats");
    table.stores(1);
    table.tells_writers();

    assert_eq!(table.did(), [Deed::Written(100, Ok(())), Deed::Written(101, Ok(()))]);
    table.writes(102, None, &first);
    assert_eq!(table.did(), [Deed::Written(102, Ok(()))]);
    assert_eq!(Editor::of(&table.room.read().since(&Clocks::default())).text(), "a");
}

#[test]
fn s10_a_write_that_refers_to_what_is_missing_is_refused_whole() {
    let mut table = Table::new();
    let author = Editor::new(5);
    let (first, second) = (author.types("a"), author.types("b"));

    table.writes(100, None, &second);

    assert_eq!(refusal(&table.did()), 4400);
    assert_eq!(table.room.clocks().next(5), 0);
    table.writes(101, None, &first);
    table.writes(102, None, &second);
    table.stores(2);
    table.tells_writers();
    let told = table
        .did()
        .into_iter()
        .filter(|deed| matches!(deed, Deed::Written(_, Ok(()))));
    assert_eq!(told.count(), 2);
}

#[test]
fn s10_nobody_writes_under_the_client_id_of_somebody_who_is_here() {
    let mut table = Table::new();
    let (ada, impostor) = (Editor::new(5), Editor::new(5));
    table.seats(1);
    table.says(1, &states(&[(5, 1, "{}")]));

    table.writes(100, None, &impostor.types("x"));
    assert_eq!(refusal(&table.did()), CloseReason::Conflict(String::new()).code());
    table.says(1, &update(&ada.types("a")));

    assert_eq!(Editor::of(&table.room.read().since(&Clocks::default())).text(), "a");
    table.did();
    table.writes(101, None, &impostor.state());
    assert_eq!(refusal(&table.did()), 4409, "what is known with another content");
}

#[test]
fn s10_who_is_here_and_silent_keeps_its_client_id_however_often_somebody_writes_under_it() {
    let mut table = Table::new();
    table.seats(1);
    table.says(1, &states(&[(5, 1, "{}")]));
    table.takes(1);
    let impostor = Editor::new(5).types("x");

    for write in 100..110 {
        table.writes(write, None, &impostor);
        assert_eq!(refusal(&table.did()), 4409, "write {write}");
        // The page says nothing of itself. Its browser answers.
        if table.takes(1).contains(&Heard::Ping) {
            table.pongs(1);
        }
        table.passes(3_500 * MS);
    }
}

#[test]
fn s11_who_writes_without_a_session_is_kept_as_the_author() {
    let mut table = Table::new();
    table.joins(1, named("bob"), None);
    table.says(1, &step2(&[0, 0]));

    table.writes(100, Some("ada"), &Editor::new(5).types("a"));

    assert!(matches!(&table.did()[..], [Deed::Append(1, _, authors)] if authors == &["ada"]));
}

#[test]
fn r17_what_the_server_gives_back_is_taken_whoever_is_there_under_its_client_ids() {
    for identity in [writer(), named("eve")] {
        let mut table = Table::new();
        let (ada, eve) = (Editor::new(5), Editor::new(5));
        let lost = ada.types("it was saved");
        table.joins(1, identity, None);
        table.says(1, &states(&[(5, 9, "{}")]));
        table.writes(100, None, &lost);
        assert_eq!(refusal(&table.did()), 4409, "nobody else may");

        table.writes_as(101, WrittenBy::Server, &lost);
        table.stores(1);
        table.tells_writers();

        assert!(table.did().contains(&Deed::Written(101, Ok(()))));
        table.says(1, &update(&eve.types("EEE")));
        assert!(matches!(table.did()[..], [Deed::Ended(1, CloseReason::Conflict(_))]));
    }
}
