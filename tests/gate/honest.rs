//! What Yjs sends goes through, whole, and loses nothing.

use crate::fixtures::{Case, cases};
use crate::room::{Room, apply, assert_same, clocks_of, content, doc, text};
use bytes::Bytes;
use cowrite::protocol::update::{
    Admission, CheckedUpdate, Clocks, Deleted, EMPTY_UPDATE, Known, lacking, merge, split,
};

fn for_each_case(mut test: impl FnMut(&Case)) {
    let cases = cases();
    assert!(cases.len() > 100);
    for case in &cases {
        test(case);
    }
}

#[test]
fn g20_updates_of_real_clients_are_admitted_whole() {
    let mut updates = 0;
    for_each_case(|case| {
        let mut room = Room::new();
        for update in &case.updates {
            room.receive(update);
            updates += 1;
        }

        assert_eq!(clocks_of(&room.doc), *room.known.clocks(), "{}", case.name);
        assert_eq!(
            text(&room.doc),
            case.content["text"].as_str().unwrap_or_default(),
            "{}",
            case.name
        );
    });
    assert!(updates > 3_000);
}

#[test]
fn g20_what_is_admitted_again_is_empty() {
    for_each_case(|case| {
        let mut room = Room::new();
        for update in &case.updates {
            room.receive(update);
        }

        for update in &case.updates {
            let checked = CheckedUpdate::check(update.clone()).unwrap();
            let has_deletions = !checked.deletions().is_empty();
            assert!(checked.has_known_structs(room.known.clocks()));
            let Admission::Whole(again) = checked.admit(&room.known) else {
                panic!("{}", case.name)
            };
            assert_eq!(again.spans().count(), 0);
            assert_eq!(again.is_empty(), !has_deletions);
        }
    });
}

#[test]
fn g21_a_stored_state_passes_the_gate_and_teaches_it_the_same() {
    for_each_case(|case| {
        let mut room = Room::new();
        for update in &case.updates {
            room.receive(update);
        }

        let mut loaded = Room::new();
        loaded.receive(&room.state());

        assert_eq!(loaded.known.clocks(), room.known.clocks());
        assert_same(&content(&loaded.doc), &content(&room.doc), &case.name);
        let vector = Clocks::decode(&room.known.clocks().encode_state_vector()).unwrap();
        assert_eq!(vector, *room.known.clocks());
    });
}

#[test]
fn g22_merged_updates_say_what_the_updates_said() {
    for_each_case(|case| {
        let mut room = Room::new();
        let admitted: Vec<CheckedUpdate> = case.updates.iter().map(|update| room.receive(update)).collect();
        let before = content(&room.doc);

        for size in [2, 3, 17, admitted.len()] {
            let merged_doc = doc();
            let mut known = Known::default();
            for chunk in admitted.chunks(size) {
                let merged = merge(chunk);
                assert!(merged.len() <= 1, "admitted updates are contiguous: {}", case.name);
                for update in merged {
                    let checked = CheckedUpdate::check(update.bytes().clone()).unwrap();
                    let Admission::Whole(whole) = checked.admit(&known) else {
                        panic!("{}", case.name)
                    };
                    assert_eq!(whole.bytes(), update.bytes());
                    known.absorb(&whole);
                    apply(&merged_doc, update.bytes());
                }
            }

            assert_eq!(known.clocks(), room.known.clocks());
            assert_same(&content(&merged_doc), &before, &format!("{} by {size}", case.name));
        }
    });
}

#[test]
fn g22_one_update_is_merged_as_it_is() {
    let case = &cases()[0];
    let mut room = Room::new();
    let update = room.receive(&case.updates[0]);

    let merged = merge(std::slice::from_ref(&update));

    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].bytes().as_ptr(), update.bytes().as_ptr());
    assert!(merge(&[]).is_empty());
    let empty = CheckedUpdate::check(Bytes::from_static(EMPTY_UPDATE)).unwrap();
    assert!(empty.is_empty());
}

#[test]
fn g23_the_pieces_of_a_split_update_fit_one_after_the_other() {
    let mut most = 0;
    for_each_case(|case| {
        let mut room = Room::new();
        for update in &case.updates {
            room.receive(update);
        }
        let state = room.state();
        let checked = CheckedUpdate::check(state.clone()).unwrap();

        for max_bytes in [50, 300, 5_000, usize::MAX] {
            let pieces = split(&checked, max_bytes);
            let mut part = Room::new();
            for piece in &pieces {
                part.receive(piece);
            }

            most = most.max(pieces.len());
            assert_eq!(part.known.clocks(), room.known.clocks());
            assert_same(
                &content(&part.doc),
                &content(&room.doc),
                &format!("{} by {max_bytes}", case.name),
            );
            if max_bytes == 5_000 {
                let larger = pieces.iter().filter(|piece| piece.len() > max_bytes + 100).count();
                assert!(
                    larger <= 3,
                    "{larger} of {} pieces are too large: {}",
                    pieces.len(),
                    case.name
                );
            }
            if max_bytes == usize::MAX {
                assert_eq!(pieces.as_slice(), std::slice::from_ref(&state));
            }
        }
    });
    assert!(most > 100);
}

#[test]
fn g26_what_a_peer_lacks_of_stored_updates_brings_it_up_to_date() {
    for_each_case(|case| {
        let mut room = Room::new();
        let admitted: Vec<CheckedUpdate> = case.updates.iter().map(|update| room.receive(update)).collect();
        let count = admitted.len();
        let state_after = |updates: &[CheckedUpdate]| {
            let mut part = Room::new();
            updates.iter().for_each(|update| drop(part.receive(update.bytes())));
            Room::new().receive(&part.state())
        };
        // As single records, as one state, and as a state and what followed it.
        let half = count / 2;
        let followed = [&[state_after(&admitted[..half])], &admitted[half..]].concat();
        let stores = [admitted.clone(), vec![state_after(&admitted)], followed];

        for early in [0, 1, count / 3, half, count - 1, count] {
            for (stored, how) in stores.iter().zip(["records", "a state", "a state and records"]) {
                let name = format!("{} after {early} of {count} of {how}", case.name);
                let (mut peer, plain) = (Room::new(), doc());
                for update in &admitted[..early] {
                    peer.receive(update.bytes());
                    apply(&plain, update.bytes());
                }

                let lacks = lacking(stored, peer.known.clocks());

                assert!(lacks.len() <= 1, "{name}");
                for lacks in &lacks {
                    for (client, span) in lacks.spans() {
                        assert_eq!(span.start, peer.known.clocks().next(client), "{name}");
                    }
                    peer.receive(lacks.bytes());
                    apply(&plain, lacks.bytes());
                }
                assert_same(&content(&peer.doc), &content(&room.doc), &name);
                assert_same(&content(&plain), &content(&room.doc), &name);
                assert_eq!(peer.known.clocks(), room.known.clocks(), "{name}");
            }
        }
    });
}

#[test]
fn g27_what_a_stored_state_deletes_is_what_its_history_deleted() {
    let mut deletions = 0;
    for_each_case(|case| {
        let mut room = Room::new();
        let admitted: Vec<CheckedUpdate> = case.updates.iter().map(|update| room.receive(update)).collect();
        let state = Room::new().receive(&room.state());

        // A state also deletes what others overwrote at the same time.
        assert!(
            Deleted::by(std::slice::from_ref(&state)).covers(&state),
            "{}",
            case.name
        );
        for stored in [&admitted[..], std::slice::from_ref(&state)] {
            let deleted = Deleted::by(stored);
            for update in &admitted {
                deletions += update.deletions().len();
                assert!(deleted.covers(update), "{}", case.name);
            }
        }
    });
    assert!(deletions > 1_000, "{deletions}");
}

#[test]
fn g12_updates_in_any_order_end_in_the_same_document() {
    // What does not fit is asked for again, as a session does.
    for_each_case(|case| {
        let mut room = Room::new();
        for update in &case.updates {
            room.receive(update);
        }

        let mut other = Room::new();
        let mut waiting: Vec<&Bytes> = case.updates.iter().rev().collect();
        let mut parts = 0;
        while !waiting.is_empty() {
            let before = waiting.len();
            waiting.retain(|update| {
                let checked = CheckedUpdate::check((*update).clone()).unwrap();
                match checked.admit(&other.known) {
                    Admission::Whole(update) => {
                        apply(&other.doc, update.bytes());
                        other.known.absorb(&update);
                        false
                    }
                    Admission::Part(update) => {
                        parts += 1;
                        apply(&other.doc, update.bytes());
                        other.known.absorb(&update);
                        true
                    }
                    Admission::Nothing => true,
                    Admission::Refused(why) => panic!("{}: {why}", case.name),
                }
            });
            assert!(
                waiting.len() < before,
                "{} does not get on: {}",
                case.name,
                waiting.len()
            );
        }

        assert_eq!(other.known.clocks(), room.known.clocks());
        assert_same(
            &content(&other.doc),
            &content(&room.doc),
            &format!("{} with {parts} parts", case.name),
        );
    });
}
