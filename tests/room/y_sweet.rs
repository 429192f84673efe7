//! X28, X29: what a room knows of y-sweet's client: it asks whether all is saved before it says what it has, and comes back
//! without a pause when it was told what there is.

use cowrite::{protocol::close::CloseReason, room::Policy};

use crate::{
    editor::{Editor, Heard, saved_question, step1, step2, update},
    table::{Deed, POLICY, SECOND, Table, reader, writer},
};

fn saved(n: u8) -> Heard {
    Heard::Saved(vec![n])
}

#[test]
fn x28_it_is_not_told_that_all_is_saved_before_it_has_said_what_it_has_however_long_that_takes() {
    let mut table = Table::new();
    let author = Editor::new(5);
    let offline = author.types("written offline");
    table.joins_from_y_sweet(1, writer());
    table.says_all(1, &[step1(&author.state_vector()), saved_question(&[1])]);

    for _ in 0..20 {
        table.passes(SECOND);
        assert!(!table.takes(1).contains(&saved(1)));
    }
    table.says(1, &step2(&offline));
    assert_eq!(table.takes(1), []);
    table.stores(1);

    assert_eq!(table.takes(1), [saved(1)]);
}

#[test]
fn x28_a_question_from_before_it_said_what_it_has_waits_until_that_is_durable() {
    let mut table = Table::new();
    let (author, other) = (Editor::new(5), Editor::new(6));
    table.seats(2);
    table.says(2, &update(&other.types("first")));
    let offline = author.types("written offline");
    table.joins_from_y_sweet(1, writer());
    table.says_all(
        1,
        &[step1(&author.state_vector()), saved_question(&[1]), step2(&offline)],
    );
    table.takes(1);

    table.stores(1);
    table.passes(9 * SECOND);
    assert!(!table.takes(1).contains(&saved(1)));
    table.stores(2);

    assert_eq!(table.takes(1), [saved(1)]);
}

#[test]
fn x28_it_is_told_at_once_when_it_has_nothing_new() {
    let mut table = Table::new();
    table.joins_from_y_sweet(1, writer());
    table.takes(1);

    table.says_all(1, &[step1(&[0]), saved_question(&[1]), step2(&[0, 0])]);

    assert_eq!(table.takes(1), [saved(1), Heard::Step2(vec![0, 0])]);
}

#[test]
fn x29_it_is_told_what_there_is_when_it_has_said_what_it_has() {
    for identity in [writer(), reader()] {
        let mut table = Table::new();
        let author = Editor::new(5);
        table.seats(1);
        table.says(1, &update(&author.types("there")));
        table.joins_from_y_sweet(2, identity);
        table.takes(2);

        table.says(2, &step1(&[0]));
        assert_eq!(table.takes(2), []);
        table.says(2, &step2(&[0, 0]));

        assert_eq!(table.takes(2), [Heard::Step2(author.state())]);
    }
}

#[test]
fn x29_it_is_told_what_there_is_after_two_seconds_if_what_it_has_is_still_on_its_way() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.says(1, &update(&author.types("there")));
    table.joins_from_y_sweet(2, writer());
    table.says(2, &step1(&[0]));

    table.passes(2 * SECOND - 1);
    let told = Heard::Step2(author.state());
    assert!(!table.takes(2).contains(&told));
    table.passes(SECOND);

    assert!(table.takes(2).contains(&told));
}

#[test]
fn x29_whose_edits_are_not_taken_has_to_go_before_it_is_told_what_there_is() {
    let policy = Policy {
        unsaved_bytes_max: 1_000,
        ..POLICY
    };
    let mut table = Table::with(policy, &Default::default());
    let author = Editor::new(5);
    // Something waits to be saved: where nothing does, any edit is taken.
    table.seats(2);
    table.says(2, &crate::editor::update(&Editor::new(6).types("a")));
    table.did();
    table.joins_from_y_sweet(1, writer());
    table.takes(1);

    table.says(1, &step1(&author.state_vector()));
    table.says(1, &step2(&author.types(&"x".repeat(2_000))));

    assert!(matches!(
        table.did()[..],
        [Deed::Ended(1, CloseReason::Overloaded(_)), ..]
    ));
    assert!(matches!(table.takes(1)[..], [Heard::Close(1013, _)]));
}
