//! F: rhythm, merged frames, slow readers.

use cowrite::{
    limits::{CROWD_MIN, DELETED_HERE_MAX, UPDATE_HERE_BYTES_MAX},
    protocol::{
        close::CloseReason,
        dialect::Inbound,
        frame,
        lib0::{write_var_bytes, write_var_uint},
        update::Clocks,
        y_websocket,
    },
    room::{
        Policy,
        outbox::{Kind, Line},
        session::SessionId,
    },
    store::StoredDocument,
};

use yrs::{Text, TransactionMut, WriteTxn};

use crate::{
    editor::{Editor, Heard, Random, saved_question, scribble, states, step1, step2, update},
    hocuspocus,
    table::{Deed, MS, POLICY, SECOND, Table, reader, writer},
};

fn updates(heard: Vec<Heard>) -> Vec<Vec<u8>> {
    let sync = |heard| match heard {
        Heard::Update(bytes) | Heard::Step2(bytes) => Some(bytes),
        _ => None,
    };
    heard.into_iter().filter_map(sync).collect()
}

#[test]
fn f1_in_a_small_group_every_edit_leaves_at_once() {
    let mut table = Table::new();
    let author = Editor::new(5);
    (1..=16).for_each(|n| table.seats(n));

    for n in 1..5 {
        let edit = author.types("a");
        table.says(1, &update(&edit));
        assert_eq!(table.takes(2), [Heard::Update(edit)], "edit {n}");
    }
}

#[test]
fn f2_in_a_large_group_the_first_leaves_at_once_and_the_next_together_after_a_pause() {
    let mut table = Table::new();
    let author = Editor::new(5);
    let reader = Editor::new(6);
    (1..=17).for_each(|n| table.seats(n));
    table.did();

    let first = author.types("a");
    table.says(1, &update(&first));
    assert_eq!(table.takes(2), [Heard::Update(first.clone())]);
    for _ in 0..5 {
        table.says(1, &update(&author.types("b")));
    }
    table.passes(2 * MS - 1);
    assert_eq!((table.takes(2), table.did().len()), (vec![], 1));
    table.passes(1);

    let merged = updates(table.takes(2));
    assert_eq!(merged.len(), 1);
    assert_eq!(table.did(), [Deed::Append(2, merged[0].clone().into(), vec![])]);
    [first, merged[0].clone()]
        .iter()
        .for_each(|update| reader.applies(update));
    assert_eq!(reader.content(), author.content());
}

#[test]
fn f3_a_lone_author_is_not_sent_its_own_edits_and_several_are_sent_everything() {
    let mut table = Table::new();
    let (one, two) = (Editor::new(5), Editor::new(6));
    (1..=17).for_each(|n| table.seats(n));

    table.says(1, &update(&one.types("a")));
    assert_eq!(table.takes(1), []);
    table.says(1, &update(&one.types("b")));
    table.says(2, &update(&two.types("c")));
    table.passes(2 * MS);

    let sent = updates(table.takes(1));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent, updates(table.takes(2))[1..]);
    one.applies(&sent[0]);
    assert!(one.text().contains('c'));
}

/// Session 2 reads nothing while session 1 writes; then it reads all, and must have missed nothing.
fn lagging(policy: Policy, edits: usize, size: usize, taken_between: usize) -> (Table, Editor, Editor) {
    let mut table = Table::with(policy, &Default::default());
    let (author, reader) = (Editor::new(5), Editor::new(6));
    table.seats(1);
    table.joins_with(2, crate::table::writer(), None, 2 * policy.outbox_bytes_max);
    table.says(2, &step1(&[0]));
    for n in 0..edits {
        table.says(1, &update(&author.types(&"x".repeat(size))));
        if n % 3 == 0 {
            table.says(1, &update(&author.deletes(1)));
        }
        for _ in 0..taken_between {
            let Some(messages) = table.takes_one(2) else { break };
            updates(messages).iter().for_each(|update| reader.applies(update));
        }
        assert!(!reader.misses_something());
        let most = policy.outbox_bytes_max + 2 * size + 1_024 * 1_024 * 3 / 2;
        assert!(table.outbox(2).line().waiting_bytes() <= most);
        table.passes(MS);
    }
    (table, author, reader)
}

fn catches_up(table: &mut Table, reader: &Editor) {
    for _ in 0..200 {
        for update in updates(table.takes(2)) {
            reader.applies(&update);
        }
        table.passes(20 * MS);
    }
    assert!(!reader.misses_something());
}

#[test]
fn f4_a_reader_that_falls_behind_loses_its_queue_and_nothing_of_the_document() {
    let policy = Policy {
        outbox_bytes_max: 20_000,
        ..POLICY
    };
    for taken_between in [0, 1] {
        let (mut table, author, reader) = lagging(policy, 200, 300, taken_between);
        assert!(taken_between == 1 || table.room.take_counts().resyncs > 0);

        catches_up(&mut table, &reader);

        assert_eq!(reader.content(), author.content());
    }
}

#[test]
fn f5_it_is_sent_what_followed_the_last_checkpoint_that_it_passed() {
    let policy = Policy {
        outbox_bytes_max: 300_000,
        ..POLICY
    };
    let mut table = Table::with(policy, &Default::default());
    let (author, reader) = (Editor::new(5), Editor::new(6));
    table.seats(1);
    table.seats(2);
    for _ in 0..60 {
        table.says(1, &update(&author.types(&"x".repeat(10_000))));
        updates(table.takes(2)).iter().for_each(|update| reader.applies(update));
    }
    for _ in 0..40 {
        table.says(1, &update(&author.types(&"y".repeat(10_000))));
    }
    assert_eq!(table.room.take_counts().resyncs, 1);

    let mut bytes = 0;
    for _ in 0..100 {
        for update in updates(table.takes(2)) {
            bytes += update.len();
            reader.applies(&update);
        }
        table.passes(20 * MS);
    }

    assert_eq!(reader.content(), author.content());
    assert!(
        (400_000..400_000 + 270_000).contains(&bytes),
        "{bytes} bytes for 400 kB"
    );
}

#[test]
fn f6_a_reader_that_falls_behind_while_its_first_sync_waits_misses_nothing_of_that() {
    // The pieces of a large sync are on their way, the session is given broadcasts behind them, and then
    // all of it is dropped.
    let mut table = Table::new();
    let (author, reader) = (Editor::new(5), Editor::new(6));
    table.seats(1);
    for _ in 0..18 {
        table.says(1, &update(&author.types(&"x".repeat(70_000))));
    }
    table.joins(2, crate::table::writer(), None);
    table.says(2, &step1(&[0]));
    table.passes(SECOND);
    table.pongs(2);
    for _ in 0..80 {
        table.says(1, &update(&author.types(&"y".repeat(50_000))));
        table.passes(20 * MS);
    }

    catches_up(&mut table, &reader);

    assert_eq!(reader.content(), author.content());
}

#[test]
fn f7_a_reader_gets_on_though_its_outbox_is_never_empty() {
    let policy = Policy {
        outbox_bytes_max: 1_000,
        ..POLICY
    };
    let mut table = Table::with(policy, &Default::default());
    let (author, reader) = (Editor::new(5), Editor::new(6));
    table.seats(1);
    table.says(1, &update(&author.types(&"x".repeat(5_000))));
    table.joins(2, crate::table::writer(), None);

    // SyncStep1 of the server waits in it.
    table.says(2, &step1(&[0]));

    updates(table.takes(2)).iter().for_each(|update| reader.applies(update));
    assert_eq!(reader.content(), author.content());
}

#[test]
fn f8_a_peer_that_asks_and_does_not_read_is_sent_away() {
    let mut table = Table::new();
    table.seats(1);
    table.joins_with(2, crate::table::writer(), None, 1_000);
    table.says(2, &crate::editor::step2(&[0, 0]));

    for n in 0..250_u8 {
        table.says(2, &crate::editor::saved_question(&[n & 0x7F]));
        assert!(table.outbox(2).line().waiting_bytes() <= 1_000);
    }

    assert!(table.outbox(2).is_closing());
    let text = "too much waits to be read by this connection".to_owned();
    assert_eq!(
        table.takes(2),
        [Heard::Close(CloseReason::Overloaded(text.clone()).code(), text)]
    );
}

#[test]
fn f13_a_piece_that_is_larger_than_all_that_may_wait_sends_nobody_away() {
    let mut table = Table::new();
    table.seats(1);
    table.joins_with(2, crate::table::writer(), None, 1_000);
    table.says(2, &step1(&[0]));
    table.says(2, &crate::editor::step2(&[0, 0]));
    table.takes(2);
    table.says(1, &update(&Editor::new(5).types(&"x".repeat(5_000))));
    assert!(table.outbox(2).line().waiting_bytes() > 5_000);

    table.says(2, &crate::editor::saved_question(&[1]));
    assert!(!table.outbox(2).is_closing());

    // What comes behind it is bounded all the same.
    for n in 0..250_u8 {
        table.says(2, &crate::editor::saved_question(&[n & 0x7F]));
        assert!(table.outbox(2).line().waiting_bytes() <= 7_000);
    }
    assert!(table.outbox(2).is_closing());
}

#[test]
fn f13_a_state_vector_that_is_larger_than_all_that_may_wait_reaches_who_joins() {
    let mut table = Table::new();
    table.seats(1);
    for client in 0..300 {
        table.says(1, &update(&Editor::new(1 << 30 | client).types("x")));
    }

    table.joins_with(2, crate::table::reader(), None, 1_000);

    assert!(!table.outbox(2).is_closing());
    let heard = table.takes(2);
    assert!(
        matches!(heard.last(), Some(Heard::Step1(vector)) if vector.len() > 1_000),
        "{heard:?}"
    );
}

#[test]
fn f9_random_editors_in_a_large_group_end_in_the_same_document() {
    let mut random = Random(9);
    let mut table = Table::new();
    let editors: Vec<Editor> = (0..20).map(|n| Editor::new(100 + n)).collect();
    (0..20).for_each(|n| table.seats(n));
    for _ in 0..600 {
        let n = random.below(20);
        let (edit, _) = scribble(&editors[n as usize], &mut random);
        table.says(n, &update(&edit));
        let m = random.below(20);
        updates(table.takes(m))
            .iter()
            .for_each(|update| editors[m as usize].applies(update));
        table.passes(random.below(MS));
    }
    table.passes(SECOND);

    for n in 0..20 {
        updates(table.takes(n))
            .iter()
            .for_each(|update| editors[n as usize].applies(update));
        assert_eq!(editors[n as usize].content(), editors[0].content());
    }
}

#[test]
fn f12_what_a_client_is_sent_comes_in_messages_that_a_slow_line_carries() {
    let mut table = Table::new();
    table.is_slow = true;
    let author = Editor::new(5);
    table.seats(1);
    table.seats(2);
    table.says(1, &update(&author.types(&"x".repeat(600_000))));
    let live = updates(table.takes(2));
    table.joins(3, writer(), None);
    table.takes(3);
    table.says(3, &step1(&[0]));
    let mut first = Vec::new();
    for _ in 0..100 {
        first.extend(updates(table.takes(3)));
        table.passes(200 * MS);
        table.pongs(3);
    }

    for messages in [live, first] {
        assert!(messages.len() > 10, "{}", messages.len());
        let reader = Editor::new(9);
        for message in messages {
            assert!(message.len() <= 49 * 1024, "{}", message.len());
            reader.applies(&message);
        }
        assert!(!reader.misses_something());
        assert_eq!(reader.content(), author.content());
    }
}

#[test]
fn f14_a_line_that_answers_at_once_is_sent_the_whole_and_what_was_edited_meanwhile() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.says(1, &update(&author.types(&"x".repeat(600_000))));
    table.joins(3, writer(), None);
    table.takes(3);
    table.is_slow = true;
    table.says(3, &step1(&[0]));
    let reader = Editor::new(9);
    table.passes(100 * MS);
    let heard = table.takes(3);
    assert_eq!(
        heard,
        [Heard::Awareness(vec![])],
        "it is not known what the line carries"
    );
    table.says(1, &update(&author.types("meanwhile")));

    let pong = |table: &mut Table, session: u64, number: u32| {
        let mut effects = Vec::new();
        let now = table.now;
        let pong = Inbound::Pong(number);
        table.room.hear(SessionId(session), pong, now, &mut effects);
        table.carry_out(effects);
    };
    pong(&mut table, 1, 1);
    pong(&mut table, 3, 0);
    pong(&mut table, 3, 2);
    assert_eq!(table.takes(3), [], "other pings were answered");
    pong(&mut table, 3, 1);
    let heard = table.takes(3);
    assert!(heard.len() > 1, "so much is not believed yet");
    assert!(
        heard.iter().all(|heard| *heard == Heard::Awareness(vec![])),
        "{heard:?}"
    );
    pong(&mut table, 3, 2);
    pong(&mut table, 3, 3);

    let whole = updates(table.takes(3));
    assert!(matches!(&whole[..], [whole] if whole.len() > 600_000));
    reader.applies(&whole[0]);
    table.passes(SECOND);
    updates(table.takes(3)).iter().for_each(|piece| reader.applies(piece));
    assert!(!reader.misses_something());
    assert_eq!(reader.content(), author.content());
    table.says(3, &step1(&[0]));
    table.passes(SECOND);
    assert!(updates(table.takes(3))[0].len() > 600_000, "what it carries is known");
}

#[test]
fn f14_a_reader_on_a_slow_line_gets_to_the_end_of_a_busy_document_with_many_deletions() {
    let mut table = Table::new();
    table.is_slow = true;
    let (author, other) = (Editor::new(5), Editor::new(6));
    table.seats(1);
    table.says(1, &update(&author.types(&"x".repeat(300_000))));
    // Every other letter is deleted.
    let mut deletions = vec![0, 1, 5];
    write_var_uint(&mut deletions, 150_000);
    for at in 0..150_000 {
        write_var_uint(&mut deletions, at * 2);
        deletions.push(1);
    }
    table.says(1, &update(&deletions));
    table.passes(SECOND);
    table.seats(2);
    table.joins(3, writer(), None);
    table.takes(3);
    table.says(3, &step1(&[0]));
    let (reader, began) = (Editor::new(9), table.now);
    let (mut is_synced, mut edited) = (false, table.now);
    while !is_synced && table.now < began + 400 * SECOND {
        // It carries 20 kB/s: pings go between the pieces.
        let (bytes, heard) = table.takes_bytes(3).unwrap_or((2_000, Vec::new()));
        table.passes(bytes as u64 * SECOND / 20_000);
        is_synced = heard.iter().any(|heard| matches!(heard, Heard::Step2(_)));
        updates(heard).iter().for_each(|piece| reader.applies(piece));
        [1, 2, 3].iter().for_each(|id| table.pongs(*id));
        table.answers_pings();
        while edited < table.now {
            table.says(2, &update(&other.types("!")));
            edited += SECOND;
        }
    }
    assert!(is_synced, "it is synced while others edit");
    assert!(table.now > began + 20 * SECOND, "the line is slow");
}

#[test]
fn f15_to_whom_an_answer_did_not_come_it_is_sent_in_smaller_messages() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.says(1, &update(&author.types(&"x".repeat(600_000))));
    // Nothing that comes behind what is large comes through.
    let largest = |table: &mut Table, session: u64, client: u64, had: &[u8]| {
        table.joins(session, writer(), None);
        table.is_slow = false;
        table.says(session, &step1(had));
        table.says(session, &states(&[(client, 1, "{}")]));
        let mut largest = 0;
        for _ in 0..100 {
            while let Some(heard) = table.takes_one(session) {
                let messages = updates(heard);
                largest = messages.iter().map(Vec::len).fold(largest, usize::max);
                table.is_slow |= largest > 100_000;
            }
            table.passes(50 * MS);
        }
        table.leaves(session);
        largest
    };

    assert!(largest(&mut table, 2, 77, &[0]) > 600_000);
    let second = largest(&mut table, 3, 77, &[0]);
    assert!((40_000..400_000).contains(&second), "the same page: {second}");
    assert!(largest(&mut table, 4, 77, &[0]) < 50_000, "again");
    assert!(largest(&mut table, 5, 78, &[0]) > 600_000, "another one");

    // It came, and so much is new.
    table.says(1, &update(&author.types(&"y".repeat(400_000))));
    let had = [&[1, 5][..], &[0xC0, 0xCF, 0x24]].concat();
    assert!(largest(&mut table, 6, 78, &had) > 400_000);
}

#[test]
fn f16_who_joins_a_document_of_very_many_is_asked_about_those_of_whom_it_has_anything() {
    let state = |clients: std::ops::Range<u64>| {
        let mut state = Vec::new();
        write_var_uint(&mut state, clients.end - clients.start);
        for client in clients.rev() {
            state.push(1);
            write_var_uint(&mut state, client);
            state.extend_from_slice(&[0, 4, 1, 4, b't', b'e', b'x', b't', 1, b'x']);
        }
        state.push(0);
        state
    };
    let stored = |count: u64| StoredDocument {
        snapshot: Some((1, state(1_000..1_000 + count).into())),
        updates: Vec::new(),
    };
    let questions = |heard: Vec<Heard>| -> Vec<Vec<u8>> {
        let vector = |heard| match heard {
            Heard::Step1(vector) => Some(vector),
            _ => None,
        };
        heard.into_iter().filter_map(vector).collect()
    };
    let mut few = Table::with(POLICY, &stored(4_096));
    few.joins(1, writer(), None);
    assert!(questions(few.takes(1))[0].len() > 10_000, "it is asked at once");

    let mut table = Table::with(POLICY, &stored(20_000));
    // Has nothing.
    table.joins(1, writer(), None);
    assert!(questions(table.takes(1)).is_empty());
    table.says(1, &step1(&[0]));
    table.passes(SECOND);
    let heard = table.takes(1);
    let (asked, answered) = (
        heard
            .iter()
            .position(|heard| matches!(heard, Heard::Step1(vector) if vector[..] == [0])),
        heard
            .iter()
            .position(|heard| matches!(heard, Heard::Update(_) | Heard::Step2(_))),
    );
    assert!(asked < answered && asked.is_some(), "before it has what we have");
    table.says(1, &step1(&[0]));
    assert!(questions(table.takes(1)).is_empty(), "once");

    // Says nothing.
    table.joins(9, writer(), None);
    table.passes(SECOND);
    assert!(questions(table.takes(9)).is_empty());
    table.passes(3 * SECOND);
    assert!(questions(table.takes(9))[0].len() > 50_000, "it is asked about all");
    table.passes(10 * SECOND);
    assert!(questions(table.takes(9)).is_empty(), "once");

    // Has some, and wrote while it was away.
    for (id, on_hocuspocus) in [(2, false), (3, true)] {
        let page = Editor::new(70 + id);
        page.applies(&state(1_000..1_010));
        page.types("written offline");
        let had = page.state_vector();
        if on_hocuspocus {
            table.joins_on_hocuspocus(id, writer(), Line::new(usize::MAX));
        } else {
            table.joins(id, writer(), None);
        }
        table.says(id, &step1(&had));
        let asked = if on_hocuspocus {
            hocuspocus::questions(&table, id)
        } else {
            questions(table.takes(id))
        };
        let [question] = &asked[..] else { panic!("{asked:?}") };
        assert!(question.len() < 100, "{}", question.len());
        let answer = page.answer(question);
        assert!(
            answer.len() < 100,
            "what was there it does not send again: {}",
            answer.len()
        );
        table.says(id, &step2(&answer));
        table.passes(SECOND);
        let appended = table
            .did()
            .into_iter()
            .any(|deed| matches!(deed, Deed::Append(_, update, _) if update[..] == answer[..]));
        assert!(appended, "all that it wrote is here");
    }
}

#[test]
fn f10_pings_that_nobody_reads_are_answered_once() {
    let mut table = {
        let mut table = Table::new();
        table.seats(1);
        table
    };
    for n in 0..100_000_u32 {
        table.outbox(1).pong(&n.to_be_bytes());
    }

    assert_eq!(table.outbox(1).line().waiting_bytes(), 0);
    assert_eq!(table.takes(1), [Heard::Pong]);
}

#[test]
fn f11_many_small_frames_count_as_what_they_cost() {
    let mut table = Table::new();
    table.joins_with(1, writer(), None, 100_000);
    table.takes(1);
    let mut waiting = 0;
    while !table.outbox(1).is_closing() {
        table.outbox(1).push(frame::ping(), Kind::Other);
        waiting += 1;
        assert!(waiting < 1_000, "{waiting} frames wait in 100,000 bytes");
    }

    assert!(matches!(table.takes(1)[..], [Heard::Close(1013, _)]));
}

#[test]
fn l82_what_looks_at_very_many_client_ids_takes_long_to_hear_and_what_people_do_does_not() {
    let crowd = |clients: usize| {
        let mut state = Vec::new();
        write_var_uint(&mut state, clients as u64);
        for client in (1..=clients as u64).rev() {
            state.push(1);
            write_var_uint(&mut state, client);
            state.extend_from_slice(&[0, 4, 1, 1, b't', 1, b'x']);
        }
        state.push(0);
        let stored = StoredDocument {
            snapshot: Some((1, state.into())),
            updates: Vec::new(),
        };
        Table::with(POLICY, &stored)
    };
    let author = Editor::new(1 << 20);
    let (own, others) = (states(&[(1 << 20, 2, "{}")]), states(&[(7, 2, "{}")]));
    let heard_long = |table: &Table, message: &bytes::Bytes| {
        let message = y_websocket::parse(message.clone()).unwrap();
        table.room.hears_long(SessionId(1), std::slice::from_ref(&message))
    };
    let (mut crowded, mut other) = (crowd(CROWD_MIN), crowd(CROWD_MIN - 1));
    for table in [&mut crowded, &mut other] {
        table.seats(1);
    }
    assert!(heard_long(&crowded, &own), "it has not said so before");
    crowded.says(1, &states(&[(1 << 20, 1, "{}")]));

    let typed = update(&author.types("x"));
    let long = [step1(&[0]), step2(&[0, 0]), others].map(|message| {
        assert!(!heard_long(&other, &message));
        heard_long(&crowded, &message)
    });
    assert_eq!(long, [true; 3]);
    for message in [typed, own, saved_question(&[1])] {
        assert!(!heard_long(&crowded, &message));
    }
}

#[test]
fn l85_a_few_bytes_that_delete_very_much_take_long_to_hear() {
    let number = |value: usize| {
        let mut out = Vec::new();
        write_var_uint(&mut out, value as u64);
        out
    };
    let letters = 2 * DELETED_HERE_MAX as usize;
    let text = [
        &[1, 1, 5, 0, 4, 1, 1, b't'][..],
        &number(letters),
        &"x".repeat(letters).into_bytes(),
        &[0],
    ]
    .concat();
    let stored = StoredDocument {
        snapshot: Some((1, text.into())),
        updates: Vec::new(),
    };
    let mut table = Table::with(POLICY, &stored);
    table.seats(1);
    let deletes = |from: usize, count: usize| {
        let ranges = [&[0, 1, 5, 1][..], &number(from), &number(count)].concat();
        update(&ranges)
    };
    let heard = |from: usize, count: usize| y_websocket::parse(deletes(from, count)).unwrap();
    let heard_long =
        |table: &Table, from: usize, count: usize| table.room.hears_long(SessionId(1), &[heard(from, count)]);
    let much = DELETED_HERE_MAX as usize + 1;
    table.joins(2, reader(), None);
    assert!(
        !table.room.hears_long(SessionId(2), &[heard(0, much)]),
        "it changes nothing"
    );
    let half = much / 2 + 1;
    assert!(
        table
            .room
            .hears_long(SessionId(1), &[heard(0, half), heard(half, half)])
    );

    assert!(heard_long(&table, 0, much));
    assert!(!heard_long(&table, 0, much - 1));
    assert!(!heard_long(&table, letters, much), "of which there is nothing");
    table.says(1, &deletes(0, much));
    assert!(
        !heard_long(&table, 0, much),
        "it is deleted already, as whoever comes back says again"
    );
    assert!(heard_long(&table, 1, much + 1));
    table.says(1, &deletes(0, letters));
    assert!(
        !heard_long(&table, 0, 1 << 30),
        "nothing of it is left, and beyond is nothing"
    );
}

#[test]
fn l82_much_to_broadcast_takes_long() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    for (letters, takes_long) in [(100, false), (UPDATE_HERE_BYTES_MAX, true), (100, false)] {
        let message = y_websocket::parse(update(&author.types(&"x".repeat(letters)))).unwrap();
        let mut effects = Vec::new();

        table.room.hear(SessionId(1), message, table.now, &mut effects);

        assert_eq!(table.room.wakes_long(), takes_long, "{letters}");
        table.passes(1_000 * MS);
        assert!(!table.room.wakes_long(), "nothing is left of {letters}");
    }
}

/// A text of which every second letter is deleted: `ranges` of them.
fn much_deleted(ranges: u32) -> StoredDocument {
    let mut state = vec![1, 1, 9, 0, 4, 1, 1, b't'];
    write_var_bytes(&mut state, "x".repeat(2 * ranges as usize).as_bytes());
    state.extend([1, 9]);
    write_var_uint(&mut state, u64::from(ranges));
    for range in 0..ranges {
        write_var_uint(&mut state, u64::from(2 * range));
        write_var_uint(&mut state, 1);
    }
    StoredDocument {
        snapshot: Some((1, state.into())),
        updates: Vec::new(),
    }
}

#[test]
fn f17_who_comes_to_a_document_of_very_many_deletions_is_up_to_date_while_somebody_writes_and_deletes() {
    let stored = much_deleted(20_000);
    // How much it gets.
    let comes = |has_all_structs: bool, somebody_writes: bool| {
        // All deletions together fill more than that.
        let policy = Policy {
            outbox_bytes_max: 32 << 10,
            ..POLICY
        };
        let newcomer = Editor::new(6);
        if has_all_structs {
            let mut structs = much_deleted(20_000).snapshot.unwrap().1.to_vec();
            structs.truncate(8 + 3 + 40_000);
            structs.push(0);
            newcomer.applies(&structs);
        }
        let mut table = Table::with(policy, &stored);
        let author = Editor::new(5);
        table.seats(1);
        table.joins(2, writer(), None);
        table.takes(2);
        table.says(2, &step1(&newcomer.state_vector()));
        let mut bytes = 0;
        for n in 0..1_000 {
            if somebody_writes {
                let edit = if n % 4 == 3 {
                    author.deletes(1)
                } else {
                    author.types("a")
                };
                table.says(1, &update(&edit));
            }
            if let Some((sent, heard)) = table.takes_bytes(2) {
                bytes += sent;
                updates(heard).iter().for_each(|update| newcomer.applies(update));
            }
            table.passes(2 * MS);
        }
        updates(table.takes(2))
            .iter()
            .for_each(|update| newcomer.applies(update));
        let all = Editor::of(&table.room.read().since(&Clocks::default()));
        assert!(!newcomer.misses_something() && newcomer.content() == all.content());
        bytes
    };
    for has_all_structs in [false, true] {
        let alone = comes(has_all_structs, false);
        let beside_a_writer = comes(has_all_structs, true);
        assert!(beside_a_writer < alone + 60_000, "{beside_a_writer}, alone {alone}");
    }
}

#[test]
fn f17_a_reader_that_fell_behind_is_told_what_was_deleted_meanwhile_and_not_what_ever_was() {
    let policy = Policy {
        outbox_bytes_max: 200_000,
        ..POLICY
    };
    // More deletions than are remembered are all told.
    for (ranges, edits, most) in [(40_000, 300, 400_000), (400, 600, usize::MAX)] {
        let mut table = Table::with(policy, &much_deleted(ranges));
        let reader = Editor::new(6);
        let author = Editor::new(5);
        table.seats(1);
        table.joins(2, writer(), None);
        table.says(2, &step1(&[0]));
        table.says(1, &update(&author.types(&"ab".repeat(1_000))));
        catches_up(&mut table, &reader);
        let before = table.room.take_counts().resyncs;
        for n in 0..edits {
            let deletes = |txn: &mut TransactionMut| txn.get_or_insert_text("text").remove_range(txn, n + 1, 1);
            table.says(1, &update(&author.edit(deletes)));
            table.says(1, &update(&author.types(&"x".repeat(1_000))));
        }
        assert!(table.room.take_counts().resyncs > before, "it falls behind");

        let mut bytes = 0;
        for _ in 0..200 {
            while let Some((sent, heard)) = table.takes_bytes(2) {
                bytes += sent;
                updates(heard).iter().for_each(|update| reader.applies(update));
            }
            table.passes(20 * MS);
        }

        let all = Editor::of(&table.room.read().since(&Clocks::default()));
        assert_eq!(reader.content(), all.content());
        assert!(bytes < most, "{bytes}");
    }
}

#[test]
fn f17_who_fell_behind_from_an_empty_document_leaves_all_deletions_to_newcomers() {
    let policy = Policy {
        outbox_bytes_max: 2_000,
        ..POLICY
    };
    let mut table = Table::with(policy, &Default::default());
    let author = Editor::new(5);
    table.seats(1);
    table.seats(2);
    table.says(1, &update(&author.types("hello")));
    table.says(1, &update(&author.deletes(2)));
    table.takes(2);
    for _ in 0..5 {
        table.says(1, &update(&author.types(&"x".repeat(1_000))));
    }
    assert!(table.room.take_counts().resyncs > 0);
    let newcomer = Editor::new(6);
    table.takes(2);
    table.passes(SECOND);
    table.takes(2);

    table.joins(3, writer(), None);
    table.says(3, &step1(&[0]));
    for _ in 0..10 {
        updates(table.takes(3))
            .iter()
            .for_each(|update| newcomer.applies(update));
        table.passes(SECOND);
    }

    assert_eq!(newcomer.content(), author.content());
}

#[test]
fn f17_who_asks_anew_and_does_not_read_has_nothing_of_what_it_was_sent_before() {
    let policy = Policy {
        outbox_bytes_max: 20_000,
        ..POLICY
    };
    let mut table = Table::with(policy, &Default::default());
    let author = Editor::new(5);
    table.seats(1);
    table.seats(2);
    table.says(1, &update(&author.types("hello")));
    table.says(1, &update(&author.deletes(2)));
    table.takes(2);

    // Its page begins with an empty document on the same line.
    table.passes(SECOND);
    table.says(2, &step1(&[0]));
    for _ in 0..30 {
        table.says(1, &update(&author.types(&"x".repeat(1_000))));
    }
    assert!(table.room.take_counts().resyncs > 0);

    let page = Editor::new(6);
    for _ in 0..100 {
        updates(table.takes(2)).iter().for_each(|update| page.applies(update));
        table.passes(100 * MS);
    }
    assert!(!page.misses_something());
    assert_eq!(page.content(), author.content());
}
