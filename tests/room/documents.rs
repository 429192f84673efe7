//! D: what is sent of the document, and what becomes of what is received.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cowrite::{
    budgets::{Account, Accounts, Bucket, Charge, Memory, Network, Whose},
    document::{Deleted, Document},
    protocol::{
        close::CloseReason,
        lib0::write_var_uint,
        update::{CheckedUpdate, Clocks},
    },
    room::Policy,
    store::StoredDocument,
};

use yrs::{Map, WriteTxn};

use crate::{
    editor::{Editor, Heard, saved_question, states, step1, step2, update},
    table::{Deed, MS, POLICY, SECOND, Table, named, reader, writer},
};

#[test]
fn d1_a_newcomer_is_asked_for_what_it_has_and_answered_what_it_lacks() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    let edit = author.types("hello");
    table.says(1, &update(&edit));

    table.joins(2, writer(), None);
    let first = table.takes(2);
    table.says(2, &step1(&[0]));
    let second = table.takes(2);

    assert_eq!(first, [Heard::Step1(author.state_vector())]);
    let [Heard::Step2(state)] = second.as_slice() else {
        panic!("{second:?}")
    };
    assert_eq!(Editor::of(state).content(), author.content());
}

#[test]
fn d1_a_step1_is_answered_even_when_nothing_is_missing() {
    let mut table = Table::new();
    table.joins(1, writer(), None);
    table.takes(1);

    table.says(1, &step1(&[0]));

    assert_eq!(table.takes(1), [Heard::Step2(vec![0, 0])]);
}

#[test]
fn d2_who_asked_for_nothing_is_sent_nothing_of_the_document() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.joins(2, writer(), None);
    table.takes(2);

    table.says(1, &update(&author.types("hello")));

    assert_eq!(table.takes(2), []);
}

#[test]
fn d3_an_edit_reaches_the_others_as_it_was_sent_and_is_appended() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.joins(1, named("ada"), None);
    table.says(1, &step2(&[0, 0]));
    table.seats(2);
    table.did();
    let edit = author.types("hello");

    table.says(1, &update(&edit));

    assert_eq!(table.takes(2), [Heard::Update(edit.clone())]);
    assert_eq!(table.did(), [Deed::Append(1, edit.into(), vec!["ada".to_owned()])]);
}

#[test]
fn d4_what_is_known_is_neither_appended_nor_sent() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.seats(2);
    let (first, second) = (author.types("hello"), author.deletes(1));
    table.says_all(1, &[update(&first), update(&second)]);
    table.takes(2);
    table.did();
    table.room.take_counts();

    table.says_all(2, &[update(&first), update(&second), step2(&author.state())]);

    assert_eq!((table.takes(1), table.takes(2), table.did()), (vec![], vec![], vec![]));
    assert_eq!(table.room.take_counts().updates_known, 3);
}

#[test]
fn d5_an_update_with_a_gap_is_not_applied_and_its_sender_is_asked() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.seats(2);
    author.types("lost");
    let late = author.types("late");

    table.says(1, &update(&late));

    assert_eq!(
        (table.takes(1), table.takes(2), table.did()),
        (vec![Heard::Step1(vec![0])], vec![], vec![])
    );

    table.says(1, &step2(&author.state()));

    let [Heard::Update(healed)] = &table.takes(2)[..] else {
        panic!()
    };
    assert_eq!(Editor::of(healed).text(), "lostlate");
}

#[test]
fn d6_who_has_a_gap_is_asked_every_ten_seconds_and_not_more_often() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    author.types("lost");
    let asked = |table: &mut Table| {
        table
            .takes(1)
            .iter()
            .filter(|heard| matches!(heard, Heard::Step1(_)))
            .count()
    };

    table.says(1, &update(&author.types("a")));
    assert_eq!(asked(&mut table), 1);
    table.passes(9 * SECOND);
    table.says(1, &update(&author.types("b")));
    assert_eq!(asked(&mut table), 0);
    table.passes(7 * SECOND);
    assert_eq!(asked(&mut table), 1);
}

#[test]
fn d7_what_a_reader_sends_changes_nothing_and_it_is_told_once() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.joins(1, reader(), None);
    table.seats(2);
    let denied = Heard::Denied("read-only: your edits are not taken".to_owned());
    assert_eq!(table.takes(1), [denied.clone(), Heard::Step1(vec![0])]);

    table.says_all(1, &[update(&author.types("a")), update(&author.types("b"))]);

    assert_eq!(
        (table.takes(1), table.takes(2), table.did()),
        (vec![denied], vec![], vec![])
    );
    assert_eq!(table.room.take_counts().updates_of_readers, 2);
}

#[test]
fn d8_a_document_takes_edits_up_to_its_limit_and_none_after_it() {
    let policy = Policy {
        document_bytes_max: 2_000,
        ..POLICY
    };
    let mut table = Table::with(policy, &Default::default());
    let author = Editor::new(5);
    table.seats(1);
    table.seats(2);

    table.says(1, &update(&author.types(&"x".repeat(1_900))));
    table.says(1, &update(&author.types("y")));
    assert!(!table.did().iter().any(|deed| matches!(deed, Deed::Ended(..))));
    table.says(1, &update(&author.types(&"z".repeat(200))));
    table.did();
    table.says(1, &update(&author.types("!")));

    let text = "the document has reached the server's limit of 2000 bytes and takes no more edits".to_owned();
    assert_eq!(
        table.did(),
        [Deed::Ended(1, CloseReason::DocumentTooLarge(text.clone()))]
    );
    assert_eq!(table.takes(1).last(), Some(&Heard::Close(4413, text)));
    table.passes(SECOND);
    table.says(2, &step1(&[0]));
    let [.., Heard::Step2(state)] = &table.takes(2)[..] else {
        panic!()
    };
    assert_eq!(Editor::of(state).text().len(), 2_101);
}

#[test]
fn d8_a_document_that_is_full_is_full_when_it_is_opened_again() {
    let policy = Policy {
        document_bytes_max: 2_000,
        ..POLICY
    };
    let author = Editor::new(5);
    author.types(&"x".repeat(2_001));
    let ended = |policy: Policy, author: &Editor| {
        let stored = StoredDocument {
            snapshot: Some((1, author.state().into())),
            updates: Vec::new(),
        };
        let mut table = Table::with(policy, &stored);
        table.seats(1);
        table.says(1, &update(&author.types("y")));
        let is_full = |deed: &Deed| matches!(deed, Deed::Ended(1, CloseReason::DocumentTooLarge(_)));
        table.did().iter().any(is_full)
    };

    assert!(ended(policy, &author));
    assert!(!ended(POLICY, &author), "the limit was raised");
    assert!(!ended(policy, &Editor::of(&Editor::new(6).types("small"))));
}

#[test]
fn d9_what_is_not_yjs_ends_its_session_and_nobody_else_notices() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.seats(2);
    table.says(1, &update(&author.types("a")));
    table.takes(2);
    table.did();
    table.says(
        1,
        &update(&author.edit(|txn| {
            txn.get_or_insert_map("map").insert(txn, "key", 1);
        })),
    );
    table.takes(2);
    table.did();
    // A letter between a letter and the entry of a map.
    let forged = [1, 1, 9, 0, 0xC4, 5, 0, 5, 1, 1, b'x', 0];

    table.says(1, &update(&forged));

    let did = table.did();
    assert!(matches!(did[..], [Deed::Ended(1, CloseReason::Refused(_))]), "{did:?}");
    assert_eq!(table.takes(2), []);
    table.passes(SECOND);
    table.says(2, &step1(&[0]));
    assert!(matches!(table.takes(2)[..], [Heard::Step2(_), ..]));
}

#[test]
fn d10_a_large_first_sync_is_several_updates_and_edits_meanwhile_are_not_lost() {
    let mut table = Table::new();
    let (author, other, newcomer) = (Editor::new(5), Editor::new(6), Editor::new(7));
    table.seats(1);
    for _ in 0..50 {
        let edit = author.types(&"0123456789".repeat(4_000));
        table.says(1, &update(&edit));
        other.applies(&edit);
        let edit = other.types("|");
        table.says(1, &update(&edit));
        author.applies(&edit);
    }

    table.joins(2, writer(), None);
    table.takes(2);
    table.says(2, &step1(&newcomer.state_vector()));
    let mut frames = 0;
    let mut edits = 0;
    while let Some(messages) = table.takes_one(2).or_else(|| {
        table.passes(SECOND);
        table.takes_one(2)
    }) {
        for message in messages {
            let (Heard::Update(piece) | Heard::Step2(piece)) = message else {
                continue;
            };
            newcomer.applies(&piece);
            assert!(piece.len() < 1024 * 1024, "{} bytes", piece.len());
        }
        frames += 1;
        if edits < 5 {
            edits += 1;
            table.says(1, &update(&author.types("meanwhile")));
        }
    }
    table.passes(SECOND);

    assert!(frames > 3, "{frames}");
    assert!(!newcomer.misses_something());
    assert_eq!(newcomer.content(), author.content());
}

#[test]
fn d10_a_large_first_sync_ends_also_when_nothing_else_happens() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    for _ in 0..30 {
        table.says(1, &update(&author.types(&"x".repeat(100_000))));
    }
    table.passes(SECOND);

    for n in 2..5 {
        table.joins(n, writer(), None);
        table.says(n, &step1(&[0]));
        let mut heard = Vec::new();
        for _ in 0..100 {
            heard.extend(table.takes(n));
            table.passes(10 * MS);
        }
        let ends = heard.iter().filter(|message| matches!(message, Heard::Step2(_)));
        assert_eq!(ends.count(), 1, "newcomer {n}");
    }
}

#[test]
fn d11_the_answer_that_is_kept_for_newcomers_and_what_followed_it_is_right() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.says(1, &update(&author.types(&"x".repeat(40_000))));

    for n in 2..6 {
        table.joins(n, writer(), None);
        table.takes(n);
        table.says(n, &step1(&[0]));
        let newcomer = Editor::new(100 + n);
        let heard = table.takes(n);
        // Alone the state is the SyncStep2; with edits behind it an empty one ends the sync.
        assert_eq!(
            heard.len(),
            if n == 2 { 1 } else { n as usize },
            "one state and {} edits",
            n - 2
        );
        assert!(matches!(heard.last(), Some(Heard::Step2(_))), "{heard:?}");
        for message in heard {
            let (Heard::Update(piece) | Heard::Step2(piece)) = message else {
                panic!("{message:?}")
            };
            newcomer.applies(&piece);
        }
        assert_eq!(newcomer.content(), author.content());
        let edit = if n == 4 {
            author.deletes(10)
        } else {
            author.types("tail")
        };
        table.says(1, &update(&edit));
    }
}

#[test]
fn d12_the_answer_to_the_same_state_vector_holds_for_one_version_only() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.says(1, &update(&author.types("old")));
    let had = author.state_vector();
    let old = author.state();
    table.says(1, &update(&author.types("new")));

    for n in 2..6 {
        table.joins(n, writer(), None);
        table.takes(n);
        table.says(n, &step1(&had));
        let returning = Editor::new(100 + n);
        returning.applies(&old);
        let heard = table.takes(n);
        let [Heard::Step2(diff)] = heard.as_slice() else {
            panic!("{heard:?}")
        };
        returning.applies(diff);
        assert_eq!(returning.content(), author.content());
        if n % 2 == 1 {
            table.says(1, &update(&author.types("newer")));
        }
    }
}

#[test]
fn d13_a_large_state_is_encoded_elsewhere_once_for_all_who_ask() {
    let mut table = Table::with(
        Policy {
            snapshot_bytes: 1 << 30,
            ..POLICY
        },
        &Default::default(),
    );
    let author = Editor::new(5);
    table.seats(1);
    table.says(1, &update(&author.types(&"x".repeat(1_200_000))));
    let before = table.encodes;

    table.hold_encodes = true;
    for n in 2..6 {
        table.joins(n, writer(), None);
        table.takes(n);
        table.says(n, &step1(&[0]));
        assert_eq!(table.takes(n), []);
    }
    assert_eq!(table.held.len(), 1);
    table.hold_encodes = false;
    let held = std::mem::take(&mut table.held);
    table.carry_out(held);

    assert_eq!(table.encodes, before + 1);
    for n in 2..6 {
        let newcomer = Editor::new(100 + n);
        for _ in 0..20 {
            for message in table.takes(n) {
                let (Heard::Update(piece) | Heard::Step2(piece)) = message else {
                    continue;
                };
                newcomer.applies(&piece);
            }
            table.passes(20 * MS);
        }
        assert_eq!(newcomer.content(), author.content());
    }
}

/// A text whose state is encoded elsewhere and fits into one message all the same, by its author.
fn just_large(author: &Editor) -> Vec<u8> {
    let elsewhere = |length: usize| {
        let state = Bytes::from(Editor::new(5).types(&"x".repeat(length)));
        let document = Document::open([(1, &state)], Deleted::Dropped).unwrap();
        let had = Clocks::default();
        (document.lacking_bytes(&had, None) > 1 << 20).then(|| document.since(&had).len())
    };
    let (mut below, mut above) = (900_000, 1_100_000);
    while above - below > 1 {
        let middle = (below + above) / 2;
        match elsewhere(middle) {
            Some(_) => above = middle,
            None => below = middle,
        }
    }
    assert!(elsewhere(above).unwrap() <= 1 << 20);
    author.types(&"x".repeat(above))
}

#[test]
fn d13_what_is_edited_while_an_answer_is_encoded_elsewhere_follows_it() {
    let (small, large) = (Editor::new(5), Editor::new(5));
    let texts = [just_large(&small), large.types(&"x".repeat(1_200_000))];
    for (author, typed) in [small, large].iter().zip(texts) {
        let stored = StoredDocument {
            snapshot: Some((1, typed.into())),
            updates: Vec::new(),
        };
        let mut table = Table::with(POLICY, &stored);
        table.joins(1, writer(), None);
        table.says(1, &step1(&author.state_vector()));
        table.hold_encodes = true;
        table.joins(2, writer(), None);
        table.takes(2);
        table.says(2, &step1(&[0]));
        table.says(1, &update(&author.types("!")));
        table.joins(3, writer(), None);
        table.takes(3);
        table.says(3, &step1(&[0]));

        let held = std::mem::take(&mut table.held);
        assert_eq!(held.len(), 1);
        table.hold_encodes = false;
        table.carry_out(held);

        for n in [2, 3] {
            let newcomer = Editor::new(100 + n);
            for _ in 0..30 {
                for message in table.takes(n) {
                    let (Heard::Update(piece) | Heard::Step2(piece)) = message else {
                        continue;
                    };
                    newcomer.applies(&piece);
                }
                table.passes(20 * MS);
            }
            assert_eq!(newcomer.content(), author.content(), "{n}");
        }
    }
}

#[test]
fn d14_a_state_vector_is_kept_only_as_far_as_it_concerns_the_document() {
    // Clients that nobody knows cost the sender a few bytes each, and the server more.
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.says(1, &update(&author.types("hello")));
    let mut vector = Clocks::default();
    (1_000..60_000_u64).for_each(|client| vector.advance(client, 9));
    table.joins(2, reader(), None);
    table.takes(2);

    table.says(2, &step1(&vector.encode_state_vector()));

    let newcomer = Editor::new(6);
    for message in table.takes(2) {
        let (Heard::Step2(piece) | Heard::Update(piece)) = message else {
            panic!("{message:?}")
        };
        newcomer.applies(&piece);
    }
    assert_eq!(newcomer.content(), author.content());
    assert!(!format!("{:?}", table.room).contains("59999"));
}

#[test]
fn d15_questions_for_the_state_are_answered_at_most_every_hundred_milliseconds() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.says(1, &update(&author.types("hello")));
    table.joins(2, reader(), None);
    table.takes(2);
    let answers = |table: &mut Table| {
        table
            .takes(2)
            .iter()
            .filter(|heard| matches!(heard, Heard::Step2(_)))
            .count()
    };

    let mut answered = 0;
    for n in 0..100_u8 {
        // Never the same state vector, so that nothing is answered from memory.
        table.says(2, &step1(&[1, 5, n % 5]));
        answered += answers(&mut table);
    }
    assert_eq!(answered, 1);
    table.passes(SECOND);

    assert_eq!(answers(&mut table), 1);
    table.says(2, &step1(&[0]));
    assert_eq!(answers(&mut table), 1);
}

#[test]
fn d16_a_stored_document_opens_with_what_it_held_and_positions_go_on() {
    let author = Editor::new(5);
    let (first, second) = (author.types("hello"), author.types(" world"));
    let stored = StoredDocument {
        snapshot: Some((7, Bytes::from(first))),
        updates: vec![(8, Bytes::from(second))],
    };
    let mut table = Table::with(POLICY, &stored);
    table.joins(1, writer(), None);
    table.takes(1);

    table.says(1, &step1(&[0]));
    let [Heard::Step2(state)] = &table.takes(1)[..] else {
        panic!()
    };
    assert_eq!(Editor::of(state).content(), author.content());
    let edit = author.types("!");
    table.says(1, &update(&edit));

    assert_eq!(table.did(), [Deed::Append(9, edit.into(), vec![])]);
}

#[test]
fn d17_stored_bytes_that_are_no_document_are_an_error_and_never_an_empty_document() {
    let author = Editor::new(5);
    author.types("lost");
    let late = Bytes::from(author.types("late"));
    for bad in [Bytes::from_static(&[1, 2, 3]), late] {
        let stored = StoredDocument {
            snapshot: None,
            updates: vec![(1, bad)],
        };

        assert!(cowrite::room::Room::open(crate::table::document(), &stored, POLICY, 0).is_err());
    }
}

#[test]
fn d16_a_newcomer_to_a_document_that_opens_is_sent_what_is_stored() {
    let author = Editor::new(5);
    let (first, second) = (author.types(&"hello".repeat(20)), author.types(" world"));
    let stored = StoredDocument {
        snapshot: Some((7, Bytes::from(first.clone()))),
        updates: vec![(8, Bytes::from(second.clone()))],
    };
    let mut table = Table::with(POLICY, &stored);
    table.joins(1, writer(), None);
    table.takes(1);

    table.says(1, &step1(&[0]));

    let [Heard::Step2(answer)] = &table.takes(1)[..] else {
        panic!()
    };
    assert_eq!(Editor::of(answer).content(), author.content());
}

/// A room with little room in its outboxes over 3 MB and two records that followed, and their author.
fn large() -> (Table, Editor) {
    let author = Editor::new(5);
    let state = author.types(&"0123456789abcdef".repeat(200_000));
    let records = [(8, author.types("eight").into()), (9, author.types("nine").into())];
    let stored = StoredDocument {
        snapshot: Some((7, state.into())),
        updates: records.into(),
    };
    let policy = Policy {
        outbox_bytes_max: 1024 * 1024,
        ..POLICY
    };
    let mut table = Table::with(policy, &stored);
    table.joins(1, writer(), None);
    table.takes(1);
    (table, author)
}

/// A session takes what comes, one frame in 10 ms, until nothing does for a while.
fn reads_slowly(table: &mut Table, id: u64) -> (Editor, Vec<Heard>) {
    let (editor, mut all, mut idle) = (Editor::new(6), Vec::new(), 0);
    while idle < 100 {
        let heard = table.takes_one(id);
        idle = if heard.is_some() { 0 } else { idle + 1 };
        for message in heard.into_iter().flatten() {
            if let Heard::Update(piece) | Heard::Step2(piece) = &message {
                editor.applies(piece);
                all.push(message);
            }
        }
        table.passes(10 * MS);
        table.pongs(id);
    }
    (editor, all)
}

fn is_synced_at_the_end(answer: &[Heard]) -> bool {
    matches!(answer, [before @ .., Heard::Step2(_)] if before.iter().all(|one| matches!(one, Heard::Update(_))))
}

#[test]
fn d10_a_large_stored_document_is_sent_in_pieces_that_are_enough() {
    let (mut table, author) = large();

    table.says(1, &step1(&[0]));
    let (newcomer, answer) = reads_slowly(&mut table, 1);

    assert_eq!(newcomer.content(), author.content());
    assert!(is_synced_at_the_end(&answer), "{}", answer.len());
    assert!(answer.len() > 4, "pieces");
    assert_eq!(table.encodes, 1);
    // It is live, and what follows reaches it.
    table.says(1, &step2(&[0, 0]));
    table.seats(2);
    let edit = author.types("!");
    table.says(2, &update(&edit));
    assert_eq!(table.takes(1), [Heard::Update(edit)]);
}

#[test]
fn d10_who_is_sent_pieces_while_others_edit_gets_that_too() {
    let (mut table, author) = large();
    table.joins(2, writer(), None);

    table.says(1, &step1(&[0]));
    table.says(2, &update(&author.types("!")));
    let (newcomer, answer) = reads_slowly(&mut table, 1);

    assert_eq!(newcomer.content(), author.content());
    assert!(is_synced_at_the_end(&answer), "{}", answer.len());
    let edit = author.types("?");
    table.says(2, &update(&edit));
    assert_eq!(table.takes(1), [Heard::Update(edit)]);
}

/// What a session is asked beyond.
fn had_of(heard: &Heard) -> Option<Vec<u8>> {
    match heard {
        Heard::Step1(had) => Some(had.clone()),
        _ => None,
    }
}

#[test]
fn d4_who_comes_back_to_a_stored_document_lacks_what_it_lacks_and_says_nothing_new() {
    let author = Editor::new(5);
    let (typed, deleted) = (author.types("hello"), author.deletes(2));
    let stored = StoredDocument {
        snapshot: Some((1, typed.clone().into())),
        updates: vec![(2, deleted.into())],
    };
    let mut table = Table::with(POLICY, &stored);
    // One comes back with what is stored, one with some of it, one with nothing.
    for (id, vector) in [(1, author.state_vector()), (2, vec![1, 5, 3]), (3, vec![0])] {
        table.joins(id, writer(), None);
        table.takes(id);
        table.says(id, &step1(&vector));
        let [Heard::Step2(lacks)] = &table.takes(id)[..] else {
            panic!()
        };
        let peer = Editor::new(100 + id);
        if id < 3 {
            peer.applies(&typed);
        }
        peer.applies(lacks);
        assert_eq!(peer.content(), author.content());
        let structs = CheckedUpdate::check(lacks.clone().into()).unwrap().struct_count();
        assert_eq!(structs, id - 1, "{id}");
        table.says(id, &step2(&peer.answer(&author.state_vector())));
        table.says(id, &states(&[(5, 1, "{}")]));
        table.says(id, &saved_question(b"?"));
        // Nobody knows which page wrote under its client id before the document was opened.
        let heard = table.takes(id);
        let [had] = &heard.iter().filter_map(had_of).collect::<Vec<_>>()[..] else {
            panic!("{heard:?}")
        };
        table.says(id, &step2(&peer.answer(had)));
        assert!(table.takes(id).iter().any(|heard| matches!(heard, Heard::Saved(_))));
    }
    table.passes(5 * SECOND);
    assert_eq!(table.did(), []);

    let edit = author.types("!");
    table.says(1, &update(&edit));

    assert_eq!(table.did(), [Deed::Append(3, edit.clone().into(), vec![])]);
    assert_eq!(table.takes(3).last(), Some(&Heard::Update(edit)));
}

#[test]
fn d3_a_new_deletion_is_an_edit_and_that_of_a_reader_is_not() {
    let author = Editor::new(5);
    let stored = StoredDocument {
        snapshot: Some((1, author.types("hello").into())),
        updates: Vec::new(),
    };
    let mut table = Table::with(POLICY, &stored);
    table.joins(1, reader(), None);
    table.seats(2);
    let deletion = author.deletes(2);

    table.says(1, &update(&deletion));
    assert_eq!(table.did(), []);
    table.says(2, &update(&deletion));
    table.says(2, &saved_question(b"?"));

    assert_eq!(table.did(), [Deed::Append(2, deletion.into(), vec![])]);
    assert_eq!(table.takes(2), []);
    table.stores(2);
    assert_eq!(table.takes(2), [Heard::Saved(b"?".to_vec())]);
}

#[test]
fn l7_the_first_edit_of_a_document_with_a_long_log_is_followed_by_a_snapshot() {
    let author = Editor::new(5);
    let records = (1..100)
        .map(|seq| (seq, author.types(&"x".repeat(10_000)).into()))
        .collect();
    let stored = StoredDocument {
        snapshot: None,
        updates: records,
    };
    let mut table = Table::with(POLICY, &stored);
    table.seats(1);

    table.says(1, &update(&author.types("!")));

    let [Deed::Append(100, ..), Deed::Snapshot(100, state)] = &table.did()[..] else {
        panic!()
    };
    assert_eq!(Editor::of(state).content(), author.content());
}

#[test]
fn d13_who_lacks_only_deletions_becomes_live_while_others_delete() {
    let mut table = Table::new();
    // Every second letter of a text is deleted: the delete set alone is large.
    let author = Editor::new(5);
    table.seats(1);
    let letters = 600_000;
    table.says(1, &update(&author.types(&"ab".repeat(letters / 2))));
    let deletes = |ranges: &[(u64, u64)]| {
        let mut out = vec![0, 1, 5];
        cowrite::protocol::lib0::write_var_uint(&mut out, ranges.len() as u64);
        for (start, len) in ranges {
            cowrite::protocol::lib0::write_var_uint(&mut out, *start);
            cowrite::protocol::lib0::write_var_uint(&mut out, *len);
        }
        out
    };
    let ranges: Vec<(u64, u64)> = (0..280_000).map(|n| (2 * n, 1)).collect();
    table.says(1, &update(&deletes(&ranges)));
    table.passes(SECOND);
    table.takes(1);

    table.hold_encodes = true;
    table.joins(2, writer(), None);
    let mut knows = vec![1, 5];
    cowrite::protocol::lib0::write_var_uint(&mut knows, letters as u64);
    table.says(2, &step1(&knows));
    assert_eq!(table.held.len(), 1);
    // Meanwhile somebody deletes.
    table.says(1, &update(&deletes(&[(letters as u64 - 1, 1)])));
    table.passes(SECOND);
    table.hold_encodes = false;
    let held = std::mem::take(&mut table.held);
    table.carry_out(held);

    let mut synced = 0;
    for _ in 0..20 {
        let heard = table.takes(2);
        synced += heard.iter().filter(|heard| matches!(heard, Heard::Step2(_))).count();
        table.passes(200 * MS);
    }
    assert_eq!(synced, 1);
}

#[test]
fn d8_a_document_is_measured_while_others_edit() {
    let policy = Policy {
        document_bytes_max: 2 * 1024 * 1024,
        ..POLICY
    };
    let mut table = Table::with(policy, &StoredDocument::default());
    let author = Editor::new(5);
    table.seats(1);
    for _ in 0..4 {
        table.hold_encodes = true;
        table.says(1, &update(&author.types(&"x".repeat(1024 * 1024))));
        table.passes(SECOND);
        // Somebody writes while the snapshot is made.
        table.says(1, &update(&author.types("y")));
        table.passes(SECOND);
        table.hold_encodes = false;
        let held = std::mem::take(&mut table.held);
        table.carry_out(held);
        table.room.snapshot_stored();
        table.stores(100);
    }
    assert!(table.did().iter().any(|deed| matches!(deed, Deed::Ended(..))));
}

#[test]
fn l52_who_asks_again_for_what_is_encoded_for_it_alone_is_answered_once_a_second() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    table.says(1, &update(&author.types(&"x".repeat(2_000))));
    table.joins(2, reader(), None);
    table.takes(2);
    let step2s = |table: &mut Table| {
        let heard = table.takes(2);
        heard.iter().filter(|heard| matches!(heard, Heard::Step2(_))).count()
    };

    // Ten seconds of odd questions, a hundred a second.
    let mut answered = 0;
    for clock in 128..1_128_u32 {
        // Never the same state vector, so that nothing is answered from memory.
        table.says(2, &step1(&[1, 5, clock as u8 | 128, (clock >> 7) as u8]));
        table.passes(SECOND / 100);
        answered += step2s(&mut table);
    }
    assert!((5..=16).contains(&answered), "{answered}");

    // What many ask is answered from memory, and sooner.
    table.passes(2 * SECOND);
    step2s(&mut table);
    table.joins(3, reader(), None);
    table.says(3, &step1(&[0]));
    let mut answered = 0;
    for _ in 0..100 {
        table.says(2, &step1(&[0]));
        table.passes(SECOND / 100);
        answered += step2s(&mut table);
    }
    assert!((9..=11).contains(&answered), "{answered}");
}

#[test]
fn l80_all_lines_of_an_address_share_what_is_looked_through_for_them() {
    let mut table = Table::new();
    let author = Editor::new(5);
    table.seats(1);
    // 4 MiB, so that a first round takes all that there is at once.
    for _ in 0..4 {
        table.says(1, &update(&author.types(&"x".repeat(1024 * 1024))));
        table.stores(100);
        table.takes(1);
    }
    let asked = Arc::new(Mutex::new(Bucket::default()));
    let [here, elsewhere] = ["192.0.2.1", "192.0.2.2"].map(|address| Network::of(address.parse().unwrap()));
    let many = 2..=1_002;
    for id in many.clone() {
        table.joins(id, reader(), None);
        table.outbox(id).line().comes_from(here, asked.clone());
        table.takes(id);
        // Each has something else, close to the end: the answer is small.
        table.says(id, &step1(&vector(5, 4 * 1024 * 1024 - id)));
    }
    let answered = |table: &mut Table, ids: std::ops::RangeInclusive<u64>| {
        let is_answered = |id: &u64| table.takes(*id).iter().any(|heard| matches!(heard, Heard::Step2(_)));
        ids.filter(is_answered).count()
    };

    table.passes(SECOND / 10);
    let at_once = answered(&mut table, many.clone());
    assert!((600..=640).contains(&at_once), "{at_once}");
    table.joins(2_000, reader(), None);
    table.outbox(2_000).line().comes_from(elsewhere, Arc::default());
    table.says(2_000, &step1(&vector(5, 4 * 1024 * 1024 - 2_000)));
    table.passes(SECOND / 10);
    assert_eq!(
        answered(&mut table, 2_000..=2_000),
        1,
        "another address waits for nobody"
    );
    table.passes(SECOND);
    let later = answered(&mut table, many.clone());
    assert!((50..=90).contains(&later), "{later}");
    // All are answered in the end.
    table.passes(10 * SECOND);
    assert_eq!(at_once + later + answered(&mut table, many), 1_001);
}

/// A state vector of one client.
fn vector(client: u64, clock: u64) -> Vec<u8> {
    let mut out = vec![1];
    write_var_uint(&mut out, client);
    write_var_uint(&mut out, clock);
    out
}

#[test]
fn l67_as_memory_fills_a_large_document_takes_no_more_edits_before_a_small_one() {
    let memory = Memory::new(1 << 20, 0);
    let mut tables = [Table::new(), Table::new()];
    let ada = Editor::new(5);
    for (table, letters) in tables.iter_mut().zip([100, 50_000]) {
        table.room.shares(memory.clone());
        table.joins(1, writer(), None);
        table.says(1, &update(&Editor::new(6).types(&"x".repeat(letters))));
        table.takes(1);
    }
    let takes = |tables: &mut [Table; 2]| {
        let edit = update(&ada.types("y"));
        tables.each_mut().map(|table| {
            table.says(1, &edit);
            !table
                .takes(1)
                .iter()
                .any(|heard| matches!(heard, Heard::Close(1_013, _)))
        })
    };
    assert_eq!(takes(&mut tables), [true, true]);
    memory.uses((1 << 20) / 100 * 90);
    assert_eq!(takes(&mut tables), [true, false]);
    memory.uses((1 << 20) / 100 * 127);
    assert_eq!(takes(&mut tables), [false, true], "the large one has closed before");
}

#[test]
fn l67_large_is_what_a_document_takes_and_not_what_it_weighs() {
    let memory = Memory::new(1 << 20, 0);
    let mut table = Table::new();
    table.room.shares(memory.clone());
    table.joins(1, writer(), None);
    // A letter each: 8 kB on the wire.
    for client in 100..900 {
        table.says(1, &update(&Editor::new(client).types("x")));
    }
    table.takes(1);
    memory.uses((1 << 20) / 100 * 86);
    assert!(table.room.weight_bytes() < (1 << 20) / 100 * 14 / 8, "it weighs little");

    table.says(1, &update(&Editor::new(5).types("y")));

    assert!(
        table
            .takes(1)
            .iter()
            .any(|heard| matches!(heard, Heard::Close(1_013, _)))
    );
}

#[test]
fn l84_who_has_too_much_open_goes_when_memory_is_short_until_it_has_its_part() {
    let memory = Memory::new(1 << 20, 0);
    let user = || Account::of(Whose::User, 12);
    let (greedy, modest) = (user(), user());
    let mut tables = [100_000, 80_000].map(|letters| {
        let mut table = Table::new();
        table.room.shares(memory.clone());
        table.accounts = Accounts::of([greedy.clone()]);
        table.joins(1, writer(), None);
        table.says(1, &update(&Editor::new(5).types(&"x".repeat(letters))));
        table
    });
    tables[0].accounts = Accounts::of([modest.clone()]);
    tables[0].joins(2, writer(), None);
    let passes = |tables: &mut [Table; 2]| {
        tables.each_mut().map(|table| {
            table.passes(6 * SECOND);
            let ended = |deed| match deed {
                Deed::Ended(id, CloseReason::Exceeded(exceeded)) => Some((id, exceeded.label())),
                _ => None,
            };
            table.did().into_iter().filter_map(ended).collect::<Vec<_>>()
        })
    };
    memory.uses((1 << 20) / 100 * 80);
    assert_eq!(passes(&mut tables), [vec![], vec![]]);
    let (both, one) = (greedy.bytes(), modest.bytes());
    assert!(
        (50_000..60_000).contains(&one) && (140_000..150_000).contains(&both),
        "{one} {both}"
    );

    memory.uses((1 << 20) / 100 * 86);

    assert_eq!(passes(&mut tables), [vec![(1, "memory_of_user")], vec![]]);
    assert_eq!(passes(&mut tables), [vec![], vec![]], "it has its part");
    assert_eq!(modest.bytes(), tables[0].room.memory_bytes(), "it is alone there");
    let comes_back = |account: &Arc<Account>, tables: &[Table; 2]| {
        let accounts = Accounts::of([account.clone()]);
        tables[0].room.may_join(10, &accounts).is_ok()
    };
    assert!(
        comes_back(&modest, &tables) && comes_back(&greedy, &tables),
        "it has its part"
    );
    let mut more = Charge::of(Accounts::of([greedy.clone()]));
    more.is(60_000);
    assert!(!comes_back(&greedy, &tables));
    memory.uses((1 << 20) / 100 * 80);
    assert!(comes_back(&greedy, &tables));
}

#[test]
fn l84_who_has_one_document_open_stays_however_large_it_is() {
    let memory = Memory::new(1 << 20, 0);
    let user = Account::of(Whose::User, 12);
    let mut table = Table::new();
    table.room.shares(memory.clone());
    table.accounts = Accounts::of([user.clone()]);
    (1..=3).for_each(|id| table.joins(id, writer(), None));
    table.says(1, &update(&Editor::new(5).types(&"x".repeat(300_000))));

    memory.uses((1 << 20) / 100 * 90);
    table.passes(6 * SECOND);

    assert!(user.bytes() > 290_000 && table.did().iter().all(|deed| !matches!(deed, Deed::Ended(..))));
    assert!(table.room.may_join(10, &table.accounts).is_ok());
}

#[test]
fn l53_large_answers_that_nobody_reads_are_bounded_together() {
    let policy = Policy {
        outbox_bytes_max: 1 << 20,
        ..POLICY
    };
    let mut table = Table::with(policy, &StoredDocument::default());
    let memory = Memory::new(usize::MAX, 80 << 20);
    table.room.shares(memory.clone());
    table.joins(1, writer(), None);
    let (small, large) = (Editor::new(5), Editor::new(6));
    table.says(1, &update(&small.types("hello")));
    for _ in 0..300 {
        table.says(1, &update(&large.types(&"x".repeat(10 << 10))));
    }
    large.applies(&small.state());

    // Each has another part of what the first author wrote, and reads nothing.
    for (id, clock) in (2..=5).zip(1..) {
        table.joins_with(id, reader(), None, 2 * policy.outbox_bytes_max);
        table.says(id, &step1(&[1, 5, clock]));
        table.passes(SECOND);
    }
    // Half of it is for odd questions, and a quarter of that for one document.
    assert_eq!(memory.answers() / (300 * (10 << 10)), 3);
    assert_eq!(table.encodes, 3, "nothing is encoded that has to wait");

    // Who has nothing yet is served beside them.
    table.joins(6, reader(), None);
    table.says(6, &step1(&[0]));
    let newcomer = Editor::new(7);
    for _ in 0..200 {
        table.passes(SECOND / 20);
        for heard in table.takes(6) {
            if let Heard::Update(piece) | Heard::Step2(piece) = heard {
                newcomer.applies(&piece);
            }
        }
    }
    assert_eq!(newcomer.content(), large.content());

    // When one goes, the next is served.
    table.leaves(2);
    table.passes(2 * SECOND);
    assert_eq!(table.encodes, 5);
    for id in 3..=5 {
        table.leaves(id);
    }
    table.passes(2 * SECOND);
    assert_eq!(memory.answers(), 0);
}

/// A letter each of so many clients, in one update.
fn crowd(count: u64) -> Bytes {
    let mut out = number(count);
    for client in (1_000..1_000 + count).rev() {
        out.push(1);
        out.extend(number(client));
        out.extend(b"\x00\x04\x01\x01t\x01x");
    }
    out.push(0);
    out.into()
}

fn number(value: u64) -> Vec<u8> {
    let mut clocks = Clocks::default();
    clocks.advance(value, 1);
    let vector = clocks.encode_state_vector();
    vector[1..vector.len() - 1].to_vec()
}

/// The state vector of the first clients of a crowd.
fn had(clients: u64) -> Bytes {
    let mut clocks = Clocks::default();
    (1_000..1_000 + clients).for_each(|client| clocks.advance(client, 1));
    step1(&clocks.encode_state_vector())
}

/// How many bytes of the document a session was sent.
fn sent(table: &mut Table, id: u64) -> usize {
    table.passes(SECOND);
    let bytes = |heard: &Heard| match heard {
        Heard::Update(update) | Heard::Step2(update) => update.len(),
        _ => 0,
    };
    table.takes(id).iter().map(bytes).sum()
}

#[test]
fn l75_what_sessions_say_that_they_have_is_bounded_together() {
    let mut table = Table::new();
    table.joins(1, writer(), None);
    let crowd = crowd(20_000);
    table.says(1, &update(&crowd));
    table.takes(1);
    // Four times what the document has.
    for id in 2..=5 {
        table.joins(id, reader(), None);
        table.says(id, &had(20_000 - id));
        let bytes = sent(&mut table, id);
        assert!(bytes > 0 && bytes < 200, "it is sent what it lacks: {bytes}");
    }
    table.joins(6, reader(), None);
    table.says(6, &had(19_000));
    assert!(sent(&mut table, 6) >= crowd.len(), "it is sent all");

    table.joins(7, reader(), None);
    table.says(7, &had(20_000 - 5));
    assert!(sent(&mut table, 7) < 200, "what another one said is there");
    table.joins(8, reader(), None);
    table.says(8, &had(200));
    assert!(sent(&mut table, 8) < crowd.len(), "what is small has room");
    table.leaves(2);
    table.joins(9, reader(), None);
    table.says(9, &had(19_500));
    let bytes = sent(&mut table, 9);
    assert!(bytes > 0 && bytes < 10_000, "when one goes there is room: {bytes}");
}

#[test]
fn l73_encodings_wait_for_each_other_where_memory_is_small() {
    let mut table = Table::new();
    let memory = Memory::new(16 << 20, 16 << 20);
    table.room.shares(memory.clone());
    table.joins(1, writer(), None);
    let author = Editor::new(6);
    for _ in 0..120 {
        table.says(1, &update(&author.types(&"x".repeat(10 << 10))));
    }
    table.passes(SECOND);
    table.room.snapshot_stored();
    let before = table.encodes;
    let other = memory.makes(1);
    table.joins(2, reader(), None);
    table.says(2, &step1(&[0]));
    for _ in 0..120 {
        table.says(1, &update(&author.types(&"y".repeat(10 << 10))));
    }
    table.passes(SECOND);
    assert_eq!(table.encodes, before);

    drop(other);
    table.passes(SECOND);
    table.says(1, &update(&author.types("z")));
    table.passes(SECOND);

    assert!(table.encodes > before + 1, "for the reader, and a snapshot");
}

#[test]
fn l76_while_memory_is_short_answers_are_not_kept_and_presence_is_small() {
    let mut table = Table::new();
    let memory = Memory::new(64 << 20, 8 << 20);
    table.room.shares(memory.clone());
    table.joins(1, writer(), None);
    table.says(1, &update(&Editor::new(6).types("hello")));
    table.joins(2, reader(), None);
    let picture = |bytes: usize| format!(r#"{{"picture":"{}"}}"#, "p".repeat(bytes));
    let is_seen = |table: &mut Table, client: u64, bytes: usize| {
        table.says(1, &states(&[(client, 1, &picture(bytes))]));
        table.passes(SECOND);
        let heard = table.takes(2);
        heard.iter().any(
            |heard| matches!(heard, Heard::Awareness(entries) if entries.iter().any(|entry| entry.client == client)),
        )
    };
    table.says(2, &step1(&[0]));
    table.says(2, &step2(&[0, 0]));
    assert!(is_seen(&mut table, 10, 50_000));
    assert!(is_seen(&mut table, 11, 50_000));

    memory.uses((64 << 20) / 100 * 90);

    assert!(!is_seen(&mut table, 12, 1_000), "there is too much already");
    table.says(1, &states(&[(10, 2, "null"), (11, 2, "null")]));
    assert!(is_seen(&mut table, 13, 1_000), "somebody's name and cursor");
    table.joins(3, reader(), None);
    table.says(3, &step1(&[0]));
    assert!(sent(&mut table, 3) > 0, "it is answered all the same");

    memory.uses(0);
    assert!(
        is_seen(&mut table, 14, 50_000) && is_seen(&mut table, 15, 50_000),
        "it comes back"
    );
}

#[test]
fn l77_a_large_answer_that_nobody_reads_any_more_is_given_back() {
    let mut table = Table::new();
    let memory = Memory::new(usize::MAX, 20 << 20);
    table.room.shares(memory.clone());
    table.joins(1, writer(), None);
    let author = Editor::new(6);
    for _ in 0..120 {
        table.says(1, &update(&author.types(&"x".repeat(10 << 10))));
    }
    for id in [2, 3] {
        table.joins(id, reader(), None);
        table.says(id, &step1(&[0]));
        table.passes(SECOND / 5);
    }
    let (encodes, answers) = (table.encodes, memory.answers());
    assert!(answers > 1 << 20);
    for _ in 0..100 {
        table.takes(2);
        table.takes(3);
        table.passes(SECOND / 50);
    }
    assert_eq!(
        (table.encodes, memory.answers()),
        (encodes, answers),
        "one for both, kept for who comes next"
    );

    table.leaves(3);

    assert_eq!(memory.answers(), 0);
}
