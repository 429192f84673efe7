//! X: what a room does for sessions on Hocuspocus' wire.

use cowrite::{
    protocol::lib0::Reader,
    room::{outbox::Line, session::SessionId},
};

use crate::{
    editor::{Editor, Heard, saved_question, states, step1, step2, update},
    table::{POLICY, SECOND, Table, reader, writer},
};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Step1(Vec<u8>),
    Step2,
    Update,
    Status(u64),
    Other(u64),
}

/// What a Hocuspocus session was sent.
fn hears(table: &Table, id: u64) -> Vec<Said> {
    let mut all = Vec::new();
    while let Some(frames) = table.outbox(id).take_frame() {
        all.extend(said(&frames));
    }
    all
}

/// The messages in these frames.
fn said(mut frames: &[u8]) -> Vec<Said> {
    let mut all = Vec::new();
    while !frames.is_empty() {
        let (head, length) = match usize::from(frames[1]) {
            126 => (4, usize::from(u16::from_be_bytes([frames[2], frames[3]]))),
            127 => (10, u64::from_be_bytes(frames[2..10].try_into().unwrap()) as usize),
            short => (2, short),
        };
        if frames[0] == 0x82 {
            let mut r = Reader::new(&frames[head..head + length]);
            assert_eq!(r.var_string().unwrap(), "d");
            all.push(match r.var_uint().unwrap() {
                0 => match r.var_uint().unwrap() {
                    0 => Said::Step1(r.var_bytes().unwrap().to_vec()),
                    1 => Said::Step2,
                    _ => Said::Update,
                },
                8 => Said::Status(r.var_uint().unwrap()),
                other => Said::Other(other),
            });
        } else {
            all.push(Said::Other(1_000 + u64::from(frames[0])));
        }
        frames = &frames[head + length..];
    }
    all
}

/// The state vectors that it was asked with.
pub fn questions(table: &Table, id: u64) -> Vec<Vec<u8>> {
    let vector = |said| match said {
        Said::Step1(vector) => Some(vector),
        _ => None,
    };
    hears(table, id).into_iter().filter_map(vector).collect()
}

fn statuses(said: &[Said]) -> Vec<u64> {
    said.iter()
        .filter_map(|said| match said {
            Said::Status(status) => Some(*status),
            _ => None,
        })
        .collect()
}

fn attach(table: &mut Table, id: u64, identity: cowrite::access::Identity) {
    table.joins_on_hocuspocus(id, identity, Line::new(2 * POLICY.outbox_bytes_max));
    table.says(id, &step1(&[0]));
    table.says(id, &step2(&[0, 0]));
    hears(table, id);
}

/// Answers what a session is asked with what `editor` has, as a provider does; all that it was sent.
fn answers(table: &mut Table, id: u64, editor: &Editor) -> Vec<Said> {
    let mut heard = Vec::new();
    for _ in 0..3 {
        for one in hears(table, id) {
            if let Said::Step1(had) = &one {
                table.says(id, &step2(&editor.answer(had)));
            }
            heard.push(one);
        }
    }
    heard
}

#[test]
fn x6_what_waited_for_a_gap_is_acknowledged_when_what_closed_it_is_durable_and_not_before() {
    let mut table = Table::new();
    let ada = Editor::new(5);
    attach(&mut table, 1, writer());
    ada.types("lost");
    table.says(1, &update(&ada.types("late")));
    assert_eq!(statuses(&hears(&table, 1)), [0_u64; 0]);

    // forceSync: the provider's counter is 1 from here on.
    table.says(1, &step1(&ada.state_vector()));
    // The first answer is to the question of the gap, the second to that of forceSync.
    table.says(1, &step2(&ada.state()));
    table.says(1, &step2(&ada.state()));
    assert_eq!(table.did().len(), 1, "it is appended once");
    assert_eq!(statuses(&hears(&table, 1)), [0_u64; 0], "nothing is durable yet");
    table.stores(1);
    table.passes(SECOND);
    assert_eq!(statuses(&hears(&table, 1)), [1], "what forceSync waits for");
}

#[test]
fn l65_acknowledgements_that_are_due_together_leave_together() {
    let mut table = Table::new();
    let ada = Editor::new(5);
    attach(&mut table, 1, writer());
    // Some in one batch, and batches of their own: several records, one commit.
    for _ in 0..3 {
        let some: Vec<_> = (0..40).map(|_| update(&ada.types("x"))).collect();
        table.says_all(1, &some);
    }
    assert_eq!(table.did().len(), 3, "three records");
    assert_eq!(statuses(&hears(&table, 1)), [0_u64; 0], "nothing is durable yet");

    table.stores(2);
    let frames = table.outbox(1).take_frame().expect("an acknowledgement");
    assert_eq!(
        statuses(&said(&frames)),
        [1; 80],
        "exactly once for each that is durable"
    );
    assert_eq!(table.outbox(1).take_frame(), None, "with one entry of the outbox");
    table.stores(3);
    assert_eq!(statuses(&hears(&table, 1)), [1; 40]);
}

#[test]
fn l35_who_is_told_of_each_update_has_not_asked() {
    let mut table = Table::new();
    let (ada, bob) = (Editor::new(5), Editor::new(6));
    attach(&mut table, 1, writer());
    table.seats(2);
    assert!(!table.room.wants_stored());

    table.says(1, &update(&ada.types("a")));
    assert!(table.room.wants_stored(), "it is told");
    assert!(!table.room.is_asked());

    table.says_all(2, &[update(&bob.types("b")), saved_question(&[1])]);
    assert!(table.room.is_asked());

    table.stores(1);
    assert!(table.room.is_asked(), "not of what was asked for");
    table.stores(2);
    assert!(!table.room.wants_stored() && !table.room.is_asked());

    table.says_all(2, &[update(&bob.types("c")), saved_question(&[2])]);
    table.leaves(2);
    assert!(!table.room.wants_stored() && !table.room.is_asked(), "it has left");
    table.writes(3, None, &Editor::new(7).types("d"));
    assert!(table.room.is_asked(), "a write without a session waits for its answer");
}

#[test]
fn l65_as_many_as_a_socket_takes_at_once() {
    let mut table = Table::new();
    let ada = Editor::new(5);
    attach(&mut table, 1, writer());
    let many: Vec<_> = (0..10_000).map(|_| update(&ada.types("x"))).collect();
    table.says_all(1, &many);
    table.stores(1);

    let mut told = 0;
    while let Some(frames) = table.outbox(1).take_frame() {
        assert!(frames.len() <= 16 * 1024);
        told += statuses(&said(&frames)).len();
    }
    assert_eq!(told, 10_000);
}

#[test]
fn x6_the_same_when_the_client_goes_on_writing() {
    let mut table = Table::new();
    let ada = Editor::new(5);
    attach(&mut table, 1, writer());
    ada.types("lost");
    table.says(1, &update(&ada.types("late")));
    // The answer to the question of the gap is not counted.
    table.says(1, &step2(&ada.state()));
    table.says(1, &update(&ada.types("more")));
    assert_eq!(statuses(&hears(&table, 1)), [0_u64; 0], "nothing is durable yet");
}

#[test]
fn s5_a_question_asked_in_a_gap_is_answered_when_what_closed_it_is_durable() {
    let mut table = Table::new();
    let (ada, eve) = (Editor::new(5), Editor::new(6));
    table.seats(1);
    table.seats(2);
    table.says(2, &update(&eve.types("x")));
    ada.types("lost");
    table.says_all(1, &[update(&ada.types("late")), saved_question(&[1])]);
    table.says(1, &step2(&ada.state()));
    // What was appended before what closed the gap becomes durable.
    table.stores(1);
    assert!(
        !table.takes(1).contains(&Heard::Saved(vec![1])),
        "record 2 is not durable"
    );
}

#[test]
fn s9_a_reader_that_repeats_what_is_not_durable_is_not_told_that_it_is() {
    let mut table = Table::new();
    let ada = Editor::new(5);
    attach(&mut table, 1, writer());
    table.says(1, &update(&ada.types("abc")));
    // The line breaks; the page comes back with a token to read.
    table.leaves(1);
    table.joins_on_hocuspocus(2, reader(), Line::new(2 * POLICY.outbox_bytes_max));
    table.says(2, &step1(&ada.state_vector()));
    table.says(2, &step2(&ada.answer(&ada.state_vector())));
    assert_eq!(statuses(&hears(&table, 2)), [0_u64; 0], "record 1 is not durable");
}

#[test]
fn x6_acknowledgements_of_a_session_that_may_read_from_now_on_stay_in_their_order() {
    let mut table = Table::new();
    let ada = Editor::new(5);
    attach(&mut table, 1, writer());
    table.says(1, &update(&ada.types("abc")));
    table.room.renew(SessionId(1), reader(), None, table.now);
    // forceSync: the counter is 1.
    table.says(1, &step1(&ada.state_vector()));
    table.says(1, &step2(&ada.answer(&ada.state_vector())));
    assert_eq!(statuses(&hears(&table, 1)), [0_u64; 0], "record 1 is not durable");
}

#[test]
fn d22_what_differs_is_not_called_saved_on_hocuspocus_wire_either() {
    let mut table = Table::new();
    let ada = Editor::new(5);
    table.seats(1);
    table.says(1, &states(&[(5, 1, "{}")]));
    table.says(1, &update(&ada.types("a line, ")));
    table.stores(1);
    table.leaves(1);
    let eve = Editor::new(5);
    eve.applies(&ada.state());
    ada.types("and a paragraph");
    table.seats(2);
    table.says(2, &update(&eve.types("EEE")));
    table.stores(9);
    table.did();

    // What a provider says at once.
    table.joins_on_hocuspocus(3, writer(), Line::new(2 * POLICY.outbox_bytes_max));
    table.says(3, &step1(&ada.state_vector()));
    table.says(3, &states(&[(5, 2, "{}")]));
    let heard = answers(&mut table, 3, &ada);
    assert_eq!(statuses(&heard), [0_u64; 0]);
}

#[test]
fn x6_an_acknowledgement_from_before_force_sync_is_none_of_what_comes_after() {
    // Providers set their counter to 1 as they ask; whatever is acknowledged after that counts for the answer.
    let mut table = Table::new();
    let ada = Editor::new(5);
    attach(&mut table, 1, writer());
    for letter in ["a", "b", "c"] {
        table.says(1, &update(&ada.types(letter)));
    }
    table.passes(SECOND);
    table.says(1, &step1(&ada.state_vector()));
    table.says(1, &step2(&ada.answer(&ada.state_vector())));
    hears(&table, 1);
    table.stores(1);
    assert_eq!(
        statuses(&hears(&table, 1)),
        [0_u64; 0],
        "the provider would be synced, and records 2 and 3 are not durable"
    );
}

#[test]
fn d22_what_differs_is_not_called_saved_before_the_second_question_is_answered() {
    let mut table = Table::new();
    let ada = Editor::new(5);
    table.seats(1);
    table.says(1, &states(&[(5, 1, "{}")]));
    table.says(1, &update(&ada.types("a line, ")));
    table.stores(1);
    table.leaves(1);
    let eve = Editor::new(5);
    eve.applies(&ada.state());
    ada.types("DDD");
    table.seats(2);
    table.says(2, &states(&[(5, 2, "{}")]));
    table.says(2, &update(&eve.types("EEE")));
    table.stores(9);
    table.leaves(2);
    table.did();

    // What a provider says at once: it is the page that wrote DDD.
    table.joins_on_hocuspocus(3, writer(), Line::new(2 * POLICY.outbox_bytes_max));
    table.says(3, &step1(&ada.state_vector()));
    table.says(3, &states(&[(5, 3, "{}")]));
    let heard = answers(&mut table, 3, &ada);
    assert_eq!(statuses(&heard), [0_u64; 0], "DDD is nowhere but in this page");
}

#[test]
fn l52_all_documents_of_a_connection_are_answered_once_a_second_what_is_encoded_for_it_alone() {
    let line = Line::new(2 * POLICY.outbox_bytes_max);
    let mut tables: Vec<_> = (0..5).map(|_| Table::new()).collect();
    for table in &mut tables {
        table.seats(1);
        table.says(1, &update(&Editor::new(5).types(&"x".repeat(2_000))));
        table.joins_on_hocuspocus(2, reader(), line.clone());
        table.says(2, &step1(&[0]));
        hears(table, 2);
    }
    let mut answered = 0;
    for clock in 128..1_128_u32 {
        for table in &mut tables {
            table.says(2, &step1(&[1, 5, clock as u8 | 128, (clock >> 7) as u8]));
            table.passes(SECOND / 100);
            let said = hears(table, 2);
            answered += said.iter().filter(|said| matches!(said, Said::Step2)).count();
        }
    }
    assert!((5..=16).contains(&answered), "{answered}");
}

#[test]
fn l52_who_leaves_and_comes_back_on_a_connection_is_answered_a_thousand_times_and_five_times_a_second() {
    let line = Line::new(2 * POLICY.outbox_bytes_max);
    let mut table = Table::new();
    table.seats(1);
    table.says(1, &update(&Editor::new(5).types(&"x".repeat(2_000))));
    let mut answered = 0;
    for number in 0..2_000_u32 {
        let (id, clock) = (u64::from(number) + 2, number % 1_800 + 128);
        table.joins_on_hocuspocus(id, reader(), line.clone());
        table.says(id, &step1(&[1, 5, clock as u8 | 128, (clock >> 7) as u8]));
        let said = hears(&table, id);
        answered += said.iter().filter(|said| matches!(said, Said::Step2)).count();
        table.passes(SECOND / 100);
        table.leaves(id);
    }
    assert!((1_000..=1_150).contains(&answered), "{answered}");
}
