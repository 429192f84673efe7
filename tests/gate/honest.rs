//! What Yjs sends goes through, whole, and loses nothing.

use crate::fixtures::{Case, cases};
use crate::room::{Room, assert_same, content};
use bytes::Bytes;
use cowrite::document::{Deleted, Verdict};
use cowrite::protocol::update::{CheckedUpdate, Clocks, EMPTY_UPDATE, Sizes, merge, seal, split};
use yrs::{
    Doc, ReadTxn, Transact, Update,
    updates::{decoder::Decode, encoder::Encode},
};

fn for_each_case(mut test: impl FnMut(&Case)) {
    let cases = cases();
    assert!(cases.len() > 100);
    for case in &cases {
        test(case);
    }
}

fn room_of(case: &Case) -> Room {
    let mut room = Room::new();
    room.receive_all(&case.updates);
    room
}

#[test]
fn g20_updates_of_real_clients_are_taken_whole() {
    let mut updates = 0;
    for_each_case(|case| {
        for deleted in [Deleted::Dropped, Deleted::Kept] {
            let mut room = Room::with(deleted);
            updates += room.receive_all(&case.updates).len();

            // What was joined, cut and dropped on the way holds what the updates held.
            let merged = room.content();
            let mut plain = Room::with(Deleted::Kept);
            plain.receive_all(&case.updates);
            assert_same(&merged, &plain.content(), &case.name);
        }
    });
    assert!(updates > 6_000);
}

#[test]
fn d4_what_was_taken_is_known() {
    for_each_case(|case| {
        for deleted in [Deleted::Dropped, Deleted::Kept] {
            let mut room = Room::with(deleted);
            room.receive_all(&case.updates);
            let state = room.state();

            for update in case.updates.iter().chain([&state]) {
                assert!(room.receive(update).is_empty(), "{}", case.name);
            }
            assert_eq!(room.state(), state);
        }
    });
}

#[test]
fn g21_a_stored_state_opens_as_the_same_document_and_stays_as_it_is() {
    for_each_case(|case| {
        for deleted in [Deleted::Dropped, Deleted::Kept] {
            let mut room = Room::with(deleted);
            room.receive_all(&case.updates);

            let opened = Room::open(&room.state(), deleted);

            assert_eq!(opened.clocks(), room.clocks());
            assert_same(&opened.content(), &room.content(), &case.name);
            assert_eq!(Room::open(&opened.state(), deleted).state(), opened.state());
            let vector = Clocks::decode(&room.clocks().encode_state_vector()).unwrap();
            assert_eq!(vector, *room.clocks());
        }
    });
}

#[test]
fn g22_merged_updates_say_what_the_updates_said() {
    for_each_case(|case| {
        let mut room = Room::new();
        let news = room.receive_all(&case.updates);

        for size in [2, 3, 17, news.len()] {
            let mut other = Room::new();
            for chunk in news.chunks(size) {
                let merged = merge(chunk);
                assert!(merged.len() <= 1, "what was taken is contiguous: {}", case.name);
                for update in merged.iter().filter(|update| !update.is_empty()) {
                    assert_eq!(other.receive(update.bytes()).bytes(), update.bytes());
                }
            }

            assert_eq!(other.clocks(), room.clocks());
            assert_same(&other.content(), &room.content(), &format!("{} by {size}", case.name));
        }
    });
}

#[test]
fn g22_one_update_is_merged_as_it_is() {
    let update = CheckedUpdate::check(cases()[0].updates[0].clone()).unwrap();

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
        let room = room_of(case);
        let state = room.state();
        let checked = CheckedUpdate::check(state.clone()).unwrap();

        for max_bytes in [50, 300, 5_000, usize::MAX] {
            let pieces = split(&checked, max_bytes);
            let mut part = Room::new();
            part.receive_all(&pieces);

            most = most.max(pieces.len());
            assert_eq!(part.clocks(), room.clocks());
            assert_same(
                &part.content(),
                &room.content(),
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
fn g41_the_pieces_of_a_sealed_update_take_effect_with_the_last() {
    let mut most = 0;
    for_each_case(|case| {
        let room = room_of(case);
        let state = CheckedUpdate::check(room.state()).unwrap();
        if state.spans().count() > 20 {
            return;
        }
        // What yrs cannot read is for Yjs: tests/judge.
        if Update::decode_v1(state.bytes()).is_err() {
            return;
        }
        let pieces = seal(&state, Sizes::of(3_000));

        most = most.max(pieces.len());
        let reader = Doc::new();
        let apply = |piece: &Bytes| {
            let piece = CheckedUpdate::check(piece.clone()).unwrap();
            let piece = Update::decode_v1(piece.bytes()).unwrap();
            reader.transact_mut().apply_update(piece).unwrap();
        };
        let (last, before) = pieces.split_last().unwrap();
        for piece in before {
            apply(piece);
            let vector = reader.transact().state_vector();
            assert!(vector.iter().all(|(_, clock)| *clock == 0), "{}", case.name);
        }
        apply(last);
        let txn = reader.transact();
        assert!(!txn.has_missing_updates(), "{}", case.name);
        let vector = txn.state_vector().encode_v1();
        assert_eq!(Clocks::decode(&vector).unwrap(), *room.clocks(), "{}", case.name);
    });
    assert!(most > 10, "{most}");
}

#[test]
fn g26_what_a_peer_lacks_brings_it_up_to_date() {
    for_each_case(|case| {
        let room = room_of(case);
        let count = case.updates.len();
        for early in [0, 1, count / 3, count / 2, count - 1, count] {
            let name = format!("{} after {early} of {count}", case.name);
            let mut peer = Room::new();
            peer.receive_all(&case.updates[..early]);

            let lacks = room.document.since(peer.clocks());

            let checked = CheckedUpdate::check(lacks.clone()).unwrap();
            for (client, span) in checked.spans() {
                assert_eq!(span.start, peer.clocks().next(client), "{name}");
            }
            peer.receive(&lacks);
            assert_eq!(peer.clocks(), room.clocks(), "{name}");
            assert_same(&peer.content(), &room.content(), &name);
            assert!(
                room.document.lacking_bytes(peer.clocks(), None)
                    <= room.document.lacking_bytes(&Clocks::default(), None)
            );
        }
    });
}

#[test]
fn g12_updates_in_any_order_end_in_the_same_document() {
    // What does not fit is asked for again, as a session does.
    for_each_case(|case| {
        let room = room_of(case);

        let mut other = Room::new();
        let mut waiting: Vec<&Bytes> = case.updates.iter().rev().collect();
        let mut parts = 0;
        while !waiting.is_empty() {
            let before = waiting.len();
            waiting.retain(|update| {
                let checked = CheckedUpdate::check((*update).clone()).unwrap();
                match other.document.judge(checked) {
                    Verdict::Known => false,
                    Verdict::News(news) => {
                        let is_partial = news.is_partial();
                        parts += usize::from(is_partial);
                        other.document.take(news);
                        is_partial
                    }
                    Verdict::Nothing => true,
                    other => panic!("{}: {other:?}", case.name),
                }
            });
            assert!(
                waiting.len() < before,
                "{} does not get on: {}",
                case.name,
                waiting.len()
            );
        }

        assert_eq!(other.clocks(), room.clocks());
        assert_same(
            &content(&other.state()),
            &room.content(),
            &format!("{} with {parts} parts", case.name),
        );
    });
}
