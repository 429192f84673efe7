//! P: who is here.

use std::sync::Arc;

use bytes::Bytes;
use cowrite::{
    budgets::Network,
    limits::{AWARENESS_CLIENTS_PER_SESSION_MAX, AWARENESS_STATE_BYTES_MAX},
    protocol::awareness::Entry,
};

use crate::{
    editor::{AWARENESS_QUESTION, Editor, Heard, entry, states, step2, update},
    table::{MS, SECOND, Table, holder, named, reader, writer},
};

/// All entries that a session was sent, in order of client.
fn told(table: &mut Table, id: u64) -> Vec<Entry> {
    let heard = table.takes(id).into_iter();
    let mut entries: Vec<Entry> = heard
        .filter_map(|heard| {
            if let Heard::Awareness(entries) = heard {
                Some(entries)
            } else {
                None
            }
        })
        .flatten()
        .collect();
    entries.sort_by_key(|entry| (entry.client, entry.clock));
    entries
}

fn seated(sessions: u64) -> Table {
    let mut table = Table::new();
    (1..=sessions).for_each(|n| table.seats(n));
    table
}

/// Sessions 1 and 2 of two people.
fn of(first: &str, second: &str) -> Table {
    let mut table = Table::new();
    for (id, name) in [(1, first), (2, second)] {
        table.joins(id, named(name), None);
        table.says(id, &step2(&[0, 0]));
        table.takes(id);
    }
    table
}

#[test]
fn p10_a_state_reaches_everybody_and_newcomers() {
    let mut table = seated(2);

    table.says(1, &states(&[(7, 1, "{}")]));
    table.joins(3, reader(), None);
    table.says(3, &step2(&[0, 0]));

    assert_eq!(told(&mut table, 1), [entry(7, 1, "{}")]);
    assert_eq!(told(&mut table, 2), [entry(7, 1, "{}")]);
    assert_eq!(told(&mut table, 3), [entry(7, 1, "{}")]);
}

#[test]
fn p11_the_latest_state_wins_and_what_is_not_newer_is_dropped() {
    let mut table = seated(2);

    table.says(1, &states(&[(7, 5, "5"), (7, 4, "4"), (7, 5, "55"), (7, 6, "6")]));
    assert_eq!(told(&mut table, 2), [entry(7, 6, "6")]);
    table.says(1, &states(&[(7, 6, "66")]));
    table.passes(SECOND);

    assert_eq!(told(&mut table, 2), []);
}

#[test]
fn p12_nobody_speaks_for_a_client_of_another() {
    let mut table = of("ada", "bob");
    table.says(1, &states(&[(7, 1, "\"mine\"")]));
    table.passes(SECOND);
    told(&mut table, 2);

    table.says(
        2,
        &states(&[(7, 2, "\"forged\""), (7, 2, "null"), (7, 1, "null"), (7, 1, "\"mine\"")]),
    );
    table.passes(SECOND);

    assert_eq!(
        (told(&mut table, 1), told(&mut table, 2)),
        (vec![entry(7, 1, "\"mine\"")], vec![])
    );
    assert_eq!(table.room.take_counts().awareness_refused, 2);
}

#[test]
fn p12_the_newest_clock_speaks_from_whichever_session_of_a_person() {
    let mut table = of("ada", "ada");
    table.joins(3, named("bob"), None);
    table.says(3, &step2(&[0, 0]));
    table.says(1, &states(&[(7, 5, "\"first\"")]));
    table.passes(SECOND);
    (1..=3).for_each(|id| drop(table.takes(id)));

    table.says(2, &states(&[(7, 6, "\"second\"")]));
    table.passes(SECOND);
    assert_eq!(told(&mut table, 3), [entry(7, 6, "\"second\"")]);
    assert_eq!(told(&mut table, 1), [], "it said something else of itself");
    table.says(1, &states(&[(7, 6, "null"), (7, 9, "null")]));
    table.leaves(1);
    table.passes(SECOND);
    assert_eq!(told(&mut table, 3), [], "removing is the owner's");
    table.leaves(2);
    table.passes(SECOND);

    assert_eq!(told(&mut table, 3), [entry(7, 6, "null")]);
}

#[test]
fn p12_without_names_a_line_that_is_silent_since_the_other_came_is_followed() {
    let mut table = seated(2);
    table.says(1, &states(&[(7, 5, "{}")]));
    table.passes(SECOND);
    table.seats(3);
    table.takes(2);

    table.says(3, &states(&[(7, 6, "\"moved\"")]));
    table.passes(SECOND);
    assert_eq!(told(&mut table, 2), [entry(7, 6, "\"moved\"")]);
    table.pongs(3);
    table.says(2, &states(&[(7, 7, "\"forged\"")]));
    table.passes(SECOND);

    assert_eq!(told(&mut table, 2), [], "that one lives");
}

#[test]
fn t20_who_holds_a_link_does_not_speak_for_others_who_hold_it() {
    let mut table = Table::new();
    for id in [1, 2] {
        table.joins(id, holder("one"), None);
        table.says(id, &step2(&[0, 0]));
    }
    let user = |at: &str| format!(r#"{{"user":{{"name":"N"}},"at":{at}}}"#);
    table.says(1, &states(&[(7, 5, &user("1"))]));
    table.passes(SECOND);
    table.takes(2);

    table.pongs(1);
    table.says(2, &states(&[(7, 6, &user("2"))]));
    table.says(2, &states(&[(8, 1, &user("3"))]));
    table.passes(SECOND);

    assert_eq!(table.room.take_counts().awareness_refused, 1);
    let ids = told(&mut table, 1).into_iter().map(|entry| {
        let state: serde_json::Value = serde_json::from_slice(&entry.state.unwrap()).unwrap();
        (entry.client, state["user"]["id"].as_str().unwrap().to_owned())
    });
    let expected = [(7, "link:one/7".to_owned()), (8, "link:one/8".to_owned())];
    assert_eq!(ids.collect::<Vec<_>>(), expected, "and is told apart from them");
}

#[test]
fn p15_a_page_that_comes_back_is_seen_at_once() {
    let mut table = seated(2);
    table.says(1, &states(&[(7, 5, "{}")]));
    table.leaves(1);
    table.passes(SECOND);
    assert_eq!(told(&mut table, 2), [entry(7, 5, "{}"), entry(7, 5, "null")]);

    table.joins(3, writer(), None);
    table.takes(3);
    table.says(3, &states(&[(7, 5, "{}")]));
    assert_eq!(told(&mut table, 3), [entry(7, 5, "null")], "it is told to go on");
    table.says(3, &states(&[(7, 6, "{}")]));
    table.passes(SECOND);

    assert_eq!(told(&mut table, 2), [entry(7, 6, "{}")]);
}

#[test]
fn p12_a_line_that_died_takes_nothing_with_it_when_its_page_is_back() {
    let mut table = of("ada", "bob");
    table.says(1, &states(&[(7, 5, "{}")]));
    table.passes(SECOND);
    table.joins(3, named("ada"), None);
    table.says(3, &states(&[(7, 5, "{}")]));
    table.passes(SECOND);
    (1..=3).for_each(|id| drop(table.takes(id)));

    table.leaves(1);
    table.passes(SECOND);

    assert_eq!(told(&mut table, 2), []);
}

#[test]
fn p15_a_client_id_keeps_its_person_for_a_minute() {
    let mut table = of("ada", "mallory");
    table.says(1, &states(&[(7, 5, "{}")]));
    table.leaves(1);
    table.passes(SECOND);

    table.says(2, &states(&[(7, 1 << 30, "\"forged\"")]));
    assert_eq!(table.room.take_counts().awareness_refused, 1);
    table.joins(3, named("ada"), None);
    table.says(3, &states(&[(7, 6, "{}")]));
    table.passes(SECOND);

    assert_eq!(told(&mut table, 3), [entry(7, 6, "{}")]);
}

/// Ada was here as client 7 and has been away for longer than a client id keeps its person; somebody is here.
fn ada_is_away() -> Table {
    let mut table = Table::new();
    table.joins(1, named("ada"), None);
    table.says(1, &states(&[(7, 5, "{}")]));
    table.joins(2, named("bob"), None);
    table.says(2, &step2(&[0, 0]));
    table.leaves(1);
    for _ in 0..9 {
        table.passes(10 * SECOND);
        table.pongs(2);
    }
    table.takes(2);
    table
}

#[test]
fn p30_whose_a_client_id_was_first_has_it_again_whatever_somebody_said_of_it_meanwhile() {
    for clock in [6, 1 << 24, (1 << 30) - 1, 1 << 30] {
        let mut table = ada_is_away();
        table.joins(3, named("mallory"), None);
        table.says(3, &states(&[(7, clock, "\"forged\"")]));
        table.says(3, &step2(&[0, 0]));
        table.passes(SECOND);
        assert_eq!(
            told(&mut table, 2),
            [entry(7, clock, "\"forged\"")],
            "a page may go on under another name"
        );
        table.takes(3);

        table.joins(4, named("ada"), None);
        table.takes(4);
        table.says(4, &states(&[(7, 6, "{}")]));
        table.passes(SECOND);
        let heard = told(&mut table, 4);
        let shown = if clock == 6 {
            6
        } else {
            assert!(
                heard.contains(&entry(7, clock, "null")),
                "it is told to go on: {heard:?}"
            );
            table.says(4, &states(&[(7, clock + 1, "{}")]));
            clock + 1
        };
        table.says(3, &states(&[(7, shown + 1, "\"again\""), (7, shown + 1, "null")]));
        table.leaves(3);
        table.says(4, &states(&[(7, shown + 2, "\"here\"")]));
        table.passes(SECOND);

        assert_eq!(
            told(&mut table, 2).pop(),
            Some(entry(7, shown + 2, "\"here\"")),
            "{clock}"
        );
    }
}

#[test]
fn p31_a_clock_gets_no_further_than_a_page_could_have_counted() {
    let mut table = seated(2);
    let said = |table: &mut Table, entries: &[(u64, u32, &str)]| {
        table.says(1, &states(entries));
        table.passes(SECOND);
        told(table, 2)
    };
    assert_eq!(said(&mut table, &[(7, (1 << 30) + 1, "{}"), (8, 1 << 31, "{}")]), []);
    assert_eq!(said(&mut table, &[(7, 1 << 30, "{}")]), [entry(7, 1 << 30, "{}")]);

    // A million at once, a thousand a second, and whatever it is not more by being said often.
    for step in [2_000_000, 1 << 30] {
        assert_eq!(said(&mut table, &[(7, (1 << 30) + step, "{}")]), []);
    }
    let far = (1 << 30) + 1_000_000;
    assert_eq!(said(&mut table, &[(7, far, "{}")]), [entry(7, far, "{}")]);
    assert_eq!(said(&mut table, &[(7, far + 100_000, "{}")]), []);
    // Nor by leaving at another clock.
    let left = said(&mut table, &[(7, 1 << 31, "null")]);
    assert_eq!(left, [entry(7, far, "null")]);
    for _ in 0..12 {
        table.passes(10 * SECOND);
        [1, 2].iter().for_each(|id| table.pongs(*id));
    }
    told(&mut table, 2);

    // Its page is away for two minutes and is told how far the others heard of it.
    table.joins(3, writer(), None);
    table.takes(3);
    table.says(3, &states(&[(7, 9, "{}")]));
    assert_eq!(told(&mut table, 3), [entry(7, far, "null")]);
    table.says(3, &states(&[(7, far + 1, "{}")]));
    table.passes(SECOND);
    assert_eq!(told(&mut table, 2), [entry(7, far + 1, "{}")]);
}

#[test]
fn p23_who_has_a_token_is_shown_as_who_it_says() {
    let mut table = of("ada", "bob");

    table.says(1, &states(&[(7, 1, r#"{"user":{"name":"Bob","id":"bob"},"at":3}"#)]));
    table.passes(SECOND);

    let shown = told(&mut table, 2).pop().and_then(|entry| entry.state).unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    let expected = serde_json::json!({ "user": { "name": "Bob", "id": "ada", "verified": ["id"] }, "at": 3 });
    assert_eq!(shown, expected);
}

#[test]
fn p21_nobody_is_told_a_state_of_its_own_client_id_that_it_did_not_write() {
    let mut table = of("mallory", "bob");
    table.says(1, &states(&[(7, 1 << 30, "\"forged\""), (8, 1, "{}")]));
    table.passes(SECOND);
    table.takes(2);

    table.joins(3, named("ada"), None);
    table.says(3, &states(&[(7, 6, "{}")]));
    table.says(1, &states(&[(7, (1 << 30) + 1, "\"again\""), (8, 2, "{}")]));
    table.passes(SECOND);

    let told = told(&mut table, 3);
    assert!(told.iter().all(|entry| entry.client == 8), "{told:?}");
    assert_eq!(told.last(), Some(&entry(8, 2, "{}")));

    // Where nothing else changes there is nothing to be told.
    table.says(1, &states(&[(7, (1 << 30) + 2, "\"again\"")]));
    table.passes(SECOND);
    assert_eq!(table.takes(3), []);
}

#[test]
fn p13_states_go_at_once_with_their_connection() {
    let mut table = seated(2);
    table.says(1, &states(&[(7, 3, "{}"), (8, 1, "{}")]));
    table.passes(SECOND);
    told(&mut table, 2);

    table.leaves(1);
    table.passes(5 * MS);

    assert_eq!(told(&mut table, 2), [entry(7, 3, "null"), entry(8, 1, "null")]);
    table.joins(3, writer(), None);
    table.says(3, &step2(&[0, 0]));
    assert_eq!(told(&mut table, 3), []);
}

#[test]
fn p14_a_state_that_is_not_renewed_for_thirty_seconds_goes() {
    let mut table = seated(2);
    table.says(1, &states(&[(7, 1, "{}"), (8, 1, "{}")]));
    table.passes(20 * SECOND);
    table.says(1, &states(&[(8, 2, "{}")]));
    table.passes(9 * SECOND);
    told(&mut table, 2);

    table.passes(6 * SECOND);

    assert_eq!(told(&mut table, 2), [entry(7, 1, "null")]);
}

#[test]
fn p15_a_client_that_left_comes_back_with_a_higher_clock_only() {
    let mut table = seated(2);
    table.says(1, &states(&[(7, 5, "{}")]));
    table.says(1, &states(&[(7, 5, "null")]));
    table.passes(SECOND);
    assert_eq!(told(&mut table, 2).last(), Some(&entry(7, 5, "null")));

    table.says(1, &states(&[(7, 5, "{}")]));
    table.passes(SECOND);
    assert_eq!(told(&mut table, 2), []);
    table.says(2, &states(&[(7, 6, "{}")]));
    table.passes(SECOND);

    assert_eq!(told(&mut table, 1).last(), Some(&entry(7, 6, "{}")));
}

#[test]
fn p16_a_session_speaks_for_so_many_clients_and_no_more() {
    let mut table = seated(2);
    let many: Vec<(u64, u32, &str)> = (0..=AWARENESS_CLIENTS_PER_SESSION_MAX as u64)
        .map(|n| (n, 1, "{}"))
        .collect();

    table.says(1, &states(&many));
    table.passes(SECOND);

    assert_eq!(told(&mut table, 2).len(), AWARENESS_CLIENTS_PER_SESSION_MAX);
    assert_eq!(table.room.take_counts().awareness_refused, 1);
}

#[test]
fn p16_clients_that_come_and_go_count_until_they_are_forgotten() {
    let mut table = seated(2);
    for n in 0..2 * AWARENESS_CLIENTS_PER_SESSION_MAX as u64 {
        table.says(1, &states(&[(n, 1, "{}"), (n, 1, "null")]));
    }
    table.passes(SECOND);
    assert_eq!(told(&mut table, 2).len(), AWARENESS_CLIENTS_PER_SESSION_MAX);
    for _ in 0..8 {
        table.passes(10 * SECOND);
        table.pongs(1);
        table.pongs(2);
    }
    told(&mut table, 2);

    table.says(1, &states(&[(9_000, 1, "{}")]));
    table.passes(SECOND);

    assert_eq!(told(&mut table, 2), [entry(9_000, 1, "{}")]);
}

#[test]
fn p17_states_leave_together_the_first_at_once() {
    let mut table = seated(2);
    let frames = |table: &mut Table| {
        table
            .takes(2)
            .into_iter()
            .filter(|heard| matches!(heard, Heard::Awareness(_)))
            .count()
    };
    table.passes(SECOND);
    frames(&mut table);

    table.says(1, &states(&[(7, 1, "1")]));
    assert_eq!(frames(&mut table), 1);
    for clock in 2..10 {
        table.says(1, &states(&[(7, clock, "2")]));
    }
    assert_eq!(frames(&mut table), 0);
    table.passes(5 * MS - 1);
    assert_eq!(frames(&mut table), 0);
    table.passes(1);

    assert_eq!(told(&mut table, 2), [entry(7, 9, "2")]);
}

#[test]
fn p18_a_question_is_answered_with_everybody_and_a_flood_of_them_once() {
    let mut table = seated(2);
    table.says(1, &states(&[(7, 1, "{}")]));
    table.passes(SECOND);
    told(&mut table, 2);

    table.says_all(2, &vec![AWARENESS_QUESTION; 100]);
    table.passes(100 * MS);

    assert_eq!(told(&mut table, 2), [entry(7, 1, "{}")]);
}

#[test]
fn p19_a_slow_reader_hears_later_who_came_and_who_left() {
    let mut table = Table::new();
    table.seats(1);
    table.seats(2);
    table.says(1, &states(&[(7, 1, "{}")]));
    table.passes(SECOND);
    told(&mut table, 2);
    fill(&mut table, 2);

    table.says(1, &states(&[(7, 1, "null"), (8, 1, "{}")]));
    table.passes(SECOND);
    let late = told(&mut table, 2);
    assert!(!late.iter().any(|entry| entry.client == 8), "it had room");
    table.passes(SECOND);

    assert_eq!(told(&mut table, 2), [entry(7, 1, "null"), entry(8, 1, "{}")]);
}

/// Leaves no room for anything in a session's outbox.
fn fill(table: &mut Table, id: u64) {
    let most = crate::table::POLICY.outbox_bytes_max;
    let left = most - table.outbox(id).line().waiting_bytes();
    let mut frame = bytes::BytesMut::new();
    cowrite::protocol::frame::put_binary(&mut frame, &[&pad(left)]);
    table
        .outbox(id)
        .push(frame.freeze(), cowrite::room::outbox::Kind::Other);
}

fn pad(bytes: usize) -> Vec<u8> {
    let mut message = vec![102];
    cowrite::protocol::lib0::write_var_bytes(&mut message, &vec![0; bytes]);
    message
}

#[test]
fn p20_what_all_say_together_is_bounded_so_that_newcomers_can_be_told() {
    let mut table = Table::new();
    let long = format!("\"{}\"", "x".repeat(AWARENESS_STATE_BYTES_MAX - 2));
    for session in 1..=20 {
        table.seats(session);
        for n in 0..AWARENESS_CLIENTS_PER_SESSION_MAX as u64 {
            table.says(session, &states(&[(session * 1_000 + n, 1, &long)]));
        }
        (1..=session).for_each(|n| drop(table.takes(n)));
    }

    table.joins(99, writer(), None);
    table.says(99, &step2(&[0, 0]));

    let heard = table.takes(99);
    assert!(
        !heard.iter().any(|heard| matches!(heard, Heard::Close(..))),
        "the newcomer was sent away"
    );
    assert!(table.room.take_counts().awareness_refused > 0);
}

#[test]
fn p32_who_says_more_than_a_page_does_gives_way_to_who_says_less() {
    let mut table = Table::new();
    let long = format!("\"{}\"", "x".repeat(AWARENESS_STATE_BYTES_MAX - 2));
    // A page with a large picture, and a reader that leaves no room for anybody.
    table.seats(1);
    table.says(1, &states(&[(1, 1, &long)]));
    table.joins(2, reader(), None);
    let mut client = 1_000;
    for length in [AWARENESS_STATE_BYTES_MAX, 8_192, 1_024, 128, 8, 2] {
        let state = format!("\"{}\"", "x".repeat(length - 2));
        for _ in 0..40 {
            client += 1;
            table.says(2, &states(&[(client, 1, &state)]));
            (1..=2).for_each(|n| drop(table.takes(n)));
        }
    }
    assert!(table.room.take_counts().awareness_refused > 0);

    for id in 3..40 {
        table.seats(id);
        table.says(id, &states(&[(id, 1, "{}")]));
        table.passes(100 * MS);
        (1..=id).for_each(|n| table.pongs(n));
    }
    table.says(3, &states(&[(3, 2, &long)]));
    table.passes(SECOND);

    table.joins(99, writer(), None);
    table.says(99, &step2(&[0, 0]));
    let here = told(&mut table, 99);
    assert!(
        (1..40)
            .filter(|id| *id != 2)
            .all(|id| here.iter().any(|entry| entry.client == id))
    );
    assert!(
        here.iter().filter(|entry| entry.client >= 1_000).count() > 20,
        "it keeps what has room"
    );
    assert!(here.contains(&entry(3, 2, &long)));
    // Its client id is protected, too.
    let eve = Editor::new(3);
    table.seats(98);
    table.says(98, &update(&eve.types("x")));
    assert_eq!(table.room.clocks().next(3), 0);
}

#[test]
fn p33_who_comes_and_goes_with_new_client_ids_has_no_more_than_so_many_remembered() {
    let mut table = Table::new();
    table.seats(1);
    let asked = Arc::default();
    let comes = |table: &mut Table, id: u64, address: &str| {
        table.joins(id, writer(), None);
        let network = Network::of(address.parse().unwrap());
        let asked = if address == "192.0.2.1" {
            Arc::clone(&asked)
        } else {
            Arc::default()
        };
        table.outbox(id).line().comes_from(network, asked);
        let ids: Vec<(u64, u32, &str)> = (0..512).map(|n| (id * 1_000 + n, 1, "{}")).collect();
        table.says(id, &states(&ids));
        table.passes(SECOND / 1_000);
        let heard = table.takes(1).into_iter().flat_map(|heard| match heard {
            Heard::Awareness(entries) => entries,
            _ => Vec::new(),
        });
        let seen = heard.filter(|entry| entry.state.is_some()).count();
        table.leaves(id);
        table.passes(SECOND / 100);
        table.takes(1);
        seen
    };

    let seen: Vec<usize> = (0..300).map(|n| comes(&mut table, 100 + n, "192.0.2.1")).collect();

    // Three seconds have passed, and each has said its own.
    let all: usize = seen.iter().sum();
    assert!((30_000..60_000).contains(&all), "{all}");
    assert_eq!((seen[0], seen[299]), (512, seen[299].min(100)), "{seen:?}");
    assert!(seen.iter().all(|seen| *seen > 0), "its own is seen");
    assert_eq!(comes(&mut table, 900, "198.51.100.1"), 512, "from elsewhere");
    table.passes(10 * SECOND);
    assert_eq!(comes(&mut table, 901, "192.0.2.1"), 512, "later");
}

#[test]
fn p33_of_very_many_who_left_the_last_are_remembered_and_all_of_them_count() {
    let mut table = Table::new();
    table.seats(1);
    let before = table.room.memory_bytes();
    let mut most = 0;
    for id in 100..400 {
        table.joins(id, writer(), None);
        let ids: Vec<(u64, u32, &str)> = (0..512).map(|n| (id * 1_000 + n, 5, "{}")).collect();
        table.says(id, &states(&ids));
        table.leaves(id);
        table.passes(SECOND / 1_000);
        table.takes(1);
        most = most.max(table.room.memory_bytes() - before);
    }

    assert!((10 << 20..50 << 20).contains(&most), "{most}");
    // A late copy of one that left last does not bring it back; of one that left first nothing is known.
    table.joins(2, writer(), None);
    table.says(2, &states(&[(2, 1, "{}")]));
    table.takes(2);
    for (client, is_back) in [(399 * 1_000 + 7, false), (100 * 1_000 + 7, true)] {
        table.says(1, &states(&[(client, 5, "{}")]));
        table.passes(SECOND);
        let is_there = |entry: &Entry| entry.client == client && entry.state.is_some();
        assert_eq!(told(&mut table, 2).iter().any(is_there), is_back, "{client}");
    }
    table.passes(120 * SECOND);
    assert!(table.room.memory_bytes() - before < 4 << 20);
}

#[test]
fn p34_those_who_come_together_are_told_what_was_encoded_once() {
    let mut table = Table::new();
    for n in 1..40 {
        table.joins(n, writer(), None);
        let state = format!(r#"{{"picture":"{}"}}"#, "x".repeat(1_000));
        table.says(n, &states(&[(n, 1, &state)]));
    }
    table.passes(SECOND);
    let mut comes = |n: u64| {
        table.joins(n, writer(), None);
        table.says(n, &states(&[(n, 1, "{}")]));
        let everybody = |frame: &Bytes| frame.len() > 39_000;
        std::iter::from_fn(|| table.outbox(n).take_frame())
            .find(everybody)
            .expect("who is here")
    };
    // What the first one says is told at once, what the next ones say after a pause.
    comes(99);
    let (first, second) = (comes(100), comes(101));

    assert!(first.as_ptr() == second.as_ptr());
    drop((first, second));

    // What was told since is in it, and who came meanwhile.
    table.says(5, &states(&[(5, 2, r#"{"name":"another"}"#)]));
    table.passes(SECOND);
    table.joins(102, writer(), None);
    table.says(102, &states(&[(102, 1, "{}")]));
    let told = told(&mut table, 102);
    assert!(told.contains(&entry(5, 2, r#"{"name":"another"}"#)), "{told:?}");
    assert!(told.contains(&entry(101, 1, "{}")));
}

#[test]
fn p34_who_says_a_client_id_anew_is_not_told_what_it_was_before() {
    let mut table = Table::new();
    for n in 1..4 {
        table.joins(n, named("ada"), None);
        table.says(n, &states(&[(n, 1, r#"{"line":1}"#)]));
    }
    table.passes(SECOND);
    table.joins(4, writer(), None);
    table.says(4, &states(&[(4, 1, "{}")]));
    // The page of 1 comes on another line.
    table.joins(5, named("ada"), None);
    table.says(5, &states(&[(1, 2, r#"{"line":2}"#)]));

    let told = told(&mut table, 5);

    assert!(!told.is_empty());
    assert!(told.iter().all(|entry| entry.client != 1), "{told:?}");
}
