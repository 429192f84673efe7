//! D21 to D23: who writes under which client id, and what is never called saved.

use crate::{
    editor::{Editor, Heard, saved_question, states, step2, update},
    table::{Deed, SECOND, Table, holder, named, writer},
};
use cowrite::protocol::close::CloseReason;

fn asked(heard: &[Heard]) -> usize {
    heard.iter().filter(|heard| matches!(heard, Heard::Step1(_))).count()
}

/// Ada wrote a line, left, and writes a paragraph offline.
fn ada_leaves(table: &mut Table) -> Editor {
    let ada = Editor::new(5);
    table.seats(1);
    table.says(1, &states(&[(5, 1, "{}")]));
    table.says(1, &update(&ada.types("a line, ")));
    table.stores(1);
    table.leaves(1);
    ada
}

#[test]
fn d22_who_comes_back_is_asked_from_where_somebody_else_wrote_on() {
    let mut table = Table::new();
    let ada = ada_leaves(&mut table);
    let eve = Editor::new(5);
    eve.applies(&ada.state());
    ada.types("and a paragraph");
    table.seats(2);
    table.says(2, &update(&eve.types("EEE")));
    table.did();

    table.joins(3, writer(), None);
    table.says(3, &states(&[(5, 1, "{}")]));
    let [Heard::Step1(had), ..] = &table.takes(3)[..] else {
        panic!()
    };
    table.says_all(3, &[step2(&ada.answer(had)), saved_question(&[1])]);
    table.stores(2);

    let [Deed::Ended(3, CloseReason::Conflict(reason))] = &table.did()[..] else {
        panic!()
    };
    assert!(reason.ends_with("client 5 from clock 8"), "{reason}");
    assert_eq!(table.room.take_counts().conflicts, 1);
    assert!(!table.takes(3).contains(&Heard::Saved(vec![1])));
}

#[test]
fn t20_who_holds_a_link_writes_under_nobodys_client_id_who_is_here_with_the_same_one() {
    for (other, is_followed) in [
        (holder("one"), true),
        (holder("two"), false),
        (named("link:one"), false),
    ] {
        let mut table = Table::new();
        let (ada, eve) = (Editor::new(5), Editor::new(5));
        table.joins(1, holder("one"), None);
        table.says(1, &states(&[(5, 1, "{}")]));
        table.says(1, &update(&ada.types("a")));
        eve.applies(&ada.state());
        table.joins(2, other.clone(), None);

        table.says(2, &update(&eve.types("E")));
        table.pongs(1);
        table.says(2, &update(&eve.types("EE")));
        assert_eq!(table.room.take_counts().updates, 1, "{other:?}: that one is here");
        table.leaves(1);
        table.joins(3, other.clone(), None);
        table.says(3, &update(&eve.state()));

        let updates = table.room.take_counts().updates;
        assert_eq!(
            updates == 1,
            is_followed,
            "{other:?}: that one left, and may be the same"
        );
    }
}

#[test]
fn d21_who_comes_back_with_an_old_presence_has_its_client_id_at_once() {
    let mut table = Table::new();
    let ada = ada_leaves(&mut table);
    let eve = Editor::new(5);
    eve.applies(&ada.state());
    let forged = eve.types("EEE");
    table.joins(2, writer(), None);
    table.seats(3);

    // Its provider says what it said last: presence takes nothing of it.
    table.says(3, &states(&[(5, 1, "{}")]));
    table.says(2, &update(&forged));
    table.says_all(3, &[update(&ada.types("and a paragraph")), saved_question(&[1])]);
    table.stores(2);

    assert!(table.takes(3).contains(&Heard::Saved(vec![1])));
    let counts = table.room.take_counts();
    assert_eq!((counts.updates, counts.updates_of_others), (2, 1));
}

#[test]
fn d21_who_comes_back_on_another_line_is_saved_seconds_after_the_dead_one_does_not_answer() {
    for alive in [false, true] {
        let mut table = Table::new();
        let ada = Editor::new(5);
        table.seats(1);
        table.says(1, &states(&[(5, 1, "{}")]));
        table.says(1, &update(&ada.types("a line, ")));
        table.stores(1);
        table.passes(SECOND);
        table.seats(2);

        table.says_all(2, &[update(&ada.types("and another")), saved_question(&[1])]);
        let mut saved_after = None;
        for second in 1..=20 {
            if alive {
                table.pongs(1);
            }
            for heard in table.takes(2) {
                match heard {
                    Heard::Step1(had) => table.says(2, &step2(&ada.answer(&had))),
                    Heard::Saved(_) => saved_after = saved_after.or(Some(second)),
                    _ => {}
                }
            }
            table.stores(2);
            table.passes(SECOND);
        }

        assert_eq!(saved_after.is_none(), alive);
        assert!(saved_after.is_none_or(|after| after <= 6), "{saved_after:?}");
    }
}

#[test]
fn d21_who_comes_back_on_another_line_is_saved_when_the_first_one_ends_late() {
    for (announces, has_another_id) in [(true, false), (false, false), (false, true)] {
        let mut table = Table::new();
        let ada = Editor::new(5);
        table.seats(1);
        table.says(1, &states(&[(5, 1, "{}")]));
        table.says(1, &update(&ada.types("a line, ")));
        table.stores(1);
        table.passes(SECOND);
        table.seats(2);
        if announces {
            table.says(2, &states(&[(5, 2, "{}")]));
        }
        if has_another_id {
            table.says(2, &states(&[(6, 1, "{}")]));
        }
        table.says_all(2, &[update(&ada.types("and another")), saved_question(&[1])]);
        table.pongs(1);
        table.passes(SECOND);
        table.takes(2);

        table.leaves(1);

        let asked = table.takes(2);
        let Some(Heard::Step1(had)) = asked.iter().find(|heard| matches!(heard, Heard::Step1(_))) else {
            panic!("{asked:?}")
        };
        table.says(2, &step2(&ada.answer(had)));
        table.passes(SECOND);
        table.stores(2);
        let is_saved = table.takes(2).contains(&Heard::Saved(vec![1]));
        assert_eq!(is_saved, announces, "it says that it has another id: {has_another_id}");
    }
}

#[test]
fn d23_a_gap_that_stays_is_asked_about_counted_once_and_ends_when_what_is_missing_comes() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    author.types("lost ");
    table.says_all(1, &[update(&author.types("late")), saved_question(&[1])]);
    let mut heard = table.takes(1);

    for second in 1..=60 {
        table.passes(SECOND);
        table.pongs(1);
        heard.extend(table.takes(1));
        if second == 29 {
            assert_eq!(table.room.take_counts().gaps_kept_open, 0);
        }
    }
    assert_eq!(table.room.take_counts().gaps_kept_open, 1);
    assert!((4..=7).contains(&asked(&heard)), "{}", asked(&heard));
    assert!(!heard.contains(&Heard::Saved(vec![1])));

    table.says(1, &step2(&author.state()));
    table.stores(1);

    assert_eq!(table.takes(1), [Heard::Saved(vec![1])]);
    table.passes(40 * SECOND);
    assert_eq!(table.room.take_counts().gaps_kept_open, 0);
}

#[test]
fn d21_whose_presence_another_tab_passed_on_first_writes_under_its_client_id() {
    let mut table = Table::new();
    table.seats(1);
    table.says(1, &states(&[(5, 1, "{}")]));
    // The other tab's presence comes through the browser, before its own connection is there.
    table.says(1, &states(&[(6, 1, "{}")]));
    let second = Editor::new(6);
    table.seats(2);
    table.says(2, &states(&[(6, 1, "{}")]));

    table.says_all(2, &[update(&second.types("hello")), saved_question(&[1])]);
    table.pongs(1);
    let mut heard = table.takes(2);
    for _ in 0..20 {
        table.passes(SECOND);
        table.pongs(1);
        table.pongs(2);
        for one in table.takes(2) {
            if let Heard::Step1(had) = &one {
                table.says(2, &step2(&second.answer(had)));
            }
            heard.push(one);
        }
        table.stores(9);
    }

    assert!(heard.contains(&Heard::Saved(vec![1])), "{heard:?}");
}

#[test]
fn d22_who_announces_a_client_id_that_is_taken_is_not_asked_without_end() {
    let mut table = Table::new();
    let ada = Editor::new(5);
    table.seats(1);
    table.says(1, &states(&[(5, 1, "{}")]));
    table.says(1, &update(&ada.types("a line")));
    table.seats(2);
    table.takes(2);

    for clock in 0..1_000 {
        table.says(2, &states(&[(5, clock, "{}")]));
    }

    let heard = table.takes(2);
    assert!(asked(&heard) <= 2, "{}", asked(&heard));
}

#[test]
fn d22_what_was_withheld_is_not_called_saved_when_its_owner_has_written_beyond_it() {
    let mut table = Table::new();
    table.seats(1);
    table.says(1, &states(&[(5, 1, "{}")]));
    let (ada, clone) = (Editor::new(5), Editor::new(5));
    table.seats(2);
    table.says_all(2, &[update(&clone.types("BBB")), saved_question(&[1])]);
    table.pongs(1);

    let mut heard = Vec::new();
    for second in 0..30 {
        if second == 1 {
            table.says(1, &update(&ada.types("AAAAA")));
        }
        for one in table.takes(2) {
            if let Heard::Step1(had) = &one {
                table.says(2, &step2(&clone.answer(had)));
            }
            heard.push(one);
        }
        table.passes(SECOND);
        table.pongs(1);
        table.pongs(2);
        table.stores(9);
    }

    assert!(!heard.contains(&Heard::Saved(vec![1])), "{heard:?}");
    assert_eq!(table.room.take_counts().conflicts, 1);
}

#[test]
fn d22_what_was_withheld_is_not_called_saved_on_another_line_either() {
    let mut table = Table::new();
    table.seats(1);
    table.says(1, &states(&[(5, 1, "{}")]));
    let (ada, clone) = (Editor::new(5), Editor::new(5));
    table.seats(2);
    table.says(2, &update(&clone.types("BBB")));
    table.says(1, &update(&ada.types("AAAAA")));
    table.stores(9);
    table.joins(3, writer(), None);
    for one in table.takes(3) {
        if let Heard::Step1(had) = &one {
            table.says(3, &step2(&clone.answer(had)));
        }
    }
    table.says(3, &saved_question(&[1]));
    table.stores(9);
    let heard = table.takes(3);
    assert!(!heard.contains(&Heard::Saved(vec![1])), "{heard:?}");
}

#[test]
fn d22_a_twin_of_a_page_that_is_here_is_told_so_and_a_page_that_passes_on_is_not() {
    let mut table = Table::new();
    let ada = Editor::new(5);
    table.seats(1);
    table.says(1, &states(&[(5, 1, "{}")]));
    table.says(1, &update(&ada.types("a line, ")));
    table.stores(1);
    let grace = Editor::new(5);
    grace.applies(&ada.state());
    let typed = grace.types("and another");
    table.seats(2);
    table.says(2, &states(&[(5, 1, "{}")]));
    table.seats(3);
    table.says(3, &states(&[(9, 1, "{}")]));
    table.did();

    for id in [2, 3] {
        table.says(id, &update(&typed));
    }
    for _ in 0..20 {
        table.passes(SECOND);
        [1, 2, 3].iter().for_each(|id| table.pongs(*id));
    }

    let [Deed::Ended(2, CloseReason::Conflict(reason))] = &table.did()[..] else {
        panic!()
    };
    assert!(reason.ends_with("client 5 from clock 8"), "{reason}");
}

#[test]
fn d22_what_is_known_of_a_withheld_update_is_compared() {
    let mut table = Table::new();
    let (ada, grace) = (Editor::new(5), Editor::new(5));
    table.seats(1);
    table.says(1, &states(&[(5, 1, "{}")]));
    table.says(1, &update(&ada.types("Ada was here")));
    table.seats(2);
    table.says(2, &states(&[(5, 1, "{}")]));
    table.did();

    table.says(2, &update(&grace.types("Grace was here, and wrote more")));
    for _ in 0..20 {
        table.passes(SECOND);
        [1, 2].iter().for_each(|id| table.pongs(*id));
    }

    let [Deed::Ended(2, CloseReason::Conflict(reason))] = &table.did()[..] else {
        panic!()
    };
    assert!(reason.ends_with("client 5 from clock 0"), "{reason}");
}
