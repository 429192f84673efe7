//! D21 to D23: who writes under which client id, and what is never called saved.

use crate::{
    editor::{Editor, Heard, saved_question, states, step2, update},
    table::{Deed, POLICY, SECOND, Table, holder, named, writer},
};
use cowrite::{
    access::Identity,
    protocol::{close::CloseReason, update::Clocks},
    store::StoredDocument,
};

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

/// What a page with client id 5 hears that comes back and answers what it is asked; whether it says its client id.
fn comes_back(table: &mut Table, id: u64, page: &Editor, identity: Identity, announces: bool) -> Vec<Heard> {
    table.joins(id, identity, None);
    if announces {
        table.says(id, &states(&[(5, 100, "{}")]));
    }
    let mut all = Vec::new();
    let mut asks = true;
    for _ in 0..4 {
        let heard = table.takes(id);
        for one in &heard {
            if let Heard::Step1(had) = one {
                table.says(id, &step2(&page.answer(had)));
            }
        }
        all.extend(heard);
        if std::mem::take(&mut asks) {
            table.says(id, &saved_question(&[1]));
        }
        table.stores(99);
    }
    table.passes(3 * SECOND);
    all.extend(table.takes(id));
    all
}

/// It was told that another page writes under its client id, and never that all is saved.
fn is_in_conflict(table: &mut Table, id: u64, heard: &[Heard]) -> bool {
    let ended = |deed: &Deed| matches!(deed, Deed::Ended(ended, CloseReason::Conflict(_)) if *ended == id);
    table.did().iter().any(ended) && !heard.contains(&Heard::Saved(vec![1]))
}

/// What is stored of a table, to open it again.
fn stored(table: &Table) -> StoredDocument {
    StoredDocument {
        snapshot: Some((1, table.room.read().since(&Clocks::default()))),
        updates: Vec::new(),
    }
}

#[test]
fn d22_what_somebody_wrote_before_the_document_was_opened_again_is_not_called_saved() {
    for (identity, other) in [(writer(), writer()), (named("ada"), named("eve"))] {
        for (announces, reopens, forged) in [
            (false, true, "EEE"),
            (true, false, "EEE"),
            (true, true, "EEE"),
            (true, true, "\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            let (ada, eve) = (Editor::new(5), Editor::new(5));
            let mut table = Table::new();
            table.joins(1, identity.clone(), None);
            table.says(1, &states(&[(5, 1, "{}")]));
            table.says(1, &update(&ada.types("a line, ")));
            eve.applies(&ada.state());
            ada.types("and a paragraph");

            let mut table = Table::with(POLICY, &stored(&table));
            table.joins(2, other.clone(), None);
            if announces {
                table.says(2, &states(&[(5, 50, "{}")]));
            }
            table.says(2, &update(&eve.types(forged)));
            table.leaves(2);
            assert_eq!(table.room.clocks().next(5), 11);
            if reopens {
                table = Table::with(POLICY, &stored(&table));
            } else {
                table.seats(9);
                for _ in 0..7 {
                    table.passes(10 * SECOND);
                    table.pongs(9);
                }
            }
            table.did();

            let heard = comes_back(&mut table, 3, &ada, identity.clone(), true);

            assert!(
                is_in_conflict(&mut table, 3, &heard),
                "{other:?} {announces} {reopens} {forged}: {heard:?}"
            );
        }
    }
}

#[test]
fn d22_who_has_two_sessions_makes_nobody_forget_where_another_page_left() {
    let mut table = Table::new();
    let (ada, eve) = (Editor::new(5), Editor::new(5));
    table.seats(9);
    table.joins(1, named("ada"), None);
    table.says(1, &states(&[(5, 1, "{}")]));
    table.says(1, &update(&ada.types("a line, ")));
    table.leaves(1);
    eve.applies(&ada.state());
    ada.types("and a paragraph");
    for _ in 0..7 {
        table.passes(10 * SECOND);
        table.pongs(9);
    }
    table.joins(2, named("eve"), None);
    table.says(2, &states(&[(5, 50, "{}")]));
    table.says(2, &update(&eve.types("EEE")));
    assert_eq!(table.room.clocks().next(5), 11);
    table.joins(3, named("eve"), None);
    table.says(3, &states(&[(5, 51, "{}")]));
    table.did();

    let heard = comes_back(&mut table, 4, &ada, named("ada"), true);

    assert!(is_in_conflict(&mut table, 4, &heard), "{heard:?}");
}

#[test]
fn d22_what_was_written_without_a_session_under_a_client_id_is_not_called_saved_for_its_page() {
    let (ada, eve) = (Editor::new(5), Editor::new(5));
    let mut table = Table::new();
    table.writes(100, None, &ada.types("a line, "));
    eve.applies(&ada.state());
    ada.types("and a paragraph");
    let mut table = Table::with(POLICY, &stored(&table));
    table.writes(100, Some("eve"), &eve.types("EEE"));
    assert_eq!(table.room.clocks().next(5), 11);
    table.did();

    let heard = comes_back(&mut table, 1, &ada, writer(), false);

    assert!(is_in_conflict(&mut table, 1, &heard), "{heard:?}");
}

#[test]
fn d22_who_goes_on_without_a_session_makes_nobody_send_it_again() {
    let bot = Editor::new(5);
    let mut table = Table::new();
    table.writes(100, Some("bot"), &bot.types("a line, "));
    table.writes(101, Some("bot"), &bot.types("and another"));
    assert_eq!(table.room.clocks().next(5), 19);

    table.joins(1, writer(), None);

    let [Heard::Step1(had), ..] = &table.takes(1)[..] else {
        panic!()
    };
    assert_eq!(bot.answer(had), [0, 0]);
}

#[test]
fn d21_nobody_takes_a_client_id_that_another_session_of_its_person_passes_on() {
    for leaves in [false, true] {
        let mut table = Table::new();
        let (ada, eve) = (Editor::new(5), Editor::new(5));
        table.joins(1, named("ada"), None);
        table.says(1, &states(&[(5, 1, "{}")]));
        table.says(1, &update(&ada.types("a")));
        eve.applies(&ada.state());
        table.joins(2, named("ada"), None);
        table.says(2, &states(&[(6, 1, "{}")]));
        // A provider sends on each state that it hears.
        table.says(2, &states(&[(5, 1, "{}")]));
        if leaves {
            table.leaves(1);
            table.says(2, &states(&[(5, 2, "{}")]));
        }

        table.joins(3, named("eve"), None);
        table.says(3, &states(&[(5, 9, "{}")]));
        table.says(3, &update(&eve.types("E")));

        assert_eq!(table.room.clocks().next(5), 1, "{leaves}");
        table.says(if leaves { 2 } else { 1 }, &update(&ada.types("b")));
        assert_eq!(table.room.clocks().next(5), 2, "{leaves}");
    }
}

#[test]
fn d21_nobody_else_takes_the_client_id_of_a_person_whose_line_is_silent_for_a_moment() {
    let mut table = Table::new();
    let (ada, eve) = (Editor::new(5), Editor::new(5));
    table.joins(1, named("ada"), None);
    table.says(1, &states(&[(5, 1, "{}")]));
    table.says(1, &update(&ada.types("a")));
    eve.applies(&ada.state());
    table.joins(2, named("eve"), None);
    let forged = eve.types("E");
    for _ in 0..10 {
        table.passes(5 * SECOND);
        table.pongs(2);
        table.says(2, &update(&forged));
        assert_eq!(table.room.clocks().next(5), 1);
    }

    // On another line its own page need not wait.
    table.joins(3, named("ada"), None);
    table.says(3, &update(&ada.types("b")));

    assert_eq!(table.room.clocks().next(5), 2);
    assert_eq!(Editor::of(&table.room.read().since(&Clocks::default())).text(), "ab");
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
fn d22_a_page_is_no_twin_of_itself_on_a_line_that_says_a_last_word_and_dies() {
    let mut table = Table::new();
    let ada = Editor::new(5);
    table.seats(1);
    table.says(1, &states(&[(5, 1, "{}")]));
    table.says(1, &update(&ada.types("a line, ")));
    table.stores(1);
    table.passes(SECOND);
    table.seats(2);
    table.says(2, &states(&[(5, 2, "{}")]));
    table.did();

    table.says_all(2, &[update(&ada.types("and another")), saved_question(&[1])]);
    let mut is_saved = false;
    for second in 0..30 {
        if second == 1 {
            table.pongs(1);
        }
        table.pongs(2);
        for heard in table.takes(2) {
            match heard {
                Heard::Step1(had) => table.says(2, &step2(&ada.answer(&had))),
                Heard::Saved(_) => is_saved = true,
                _ => {}
            }
        }
        table.stores(9);
        table.passes(SECOND);
    }

    assert!(is_saved);
    let is_end = |deed: &Deed| matches!(deed, Deed::Ended(2, _));
    assert!(!table.did().iter().any(is_end));
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
