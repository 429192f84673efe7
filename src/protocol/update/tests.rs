//! Each rule of the gate on its own, on updates written by hand.

use super::structs::CLOCK_MAX;
use super::*;
use crate::document::{Deleted, Document, Verdict};
use crate::limits::{ANY_DEPTH_MAX, TYPE_DEPTH_MAX};
use crate::protocol::lib0::{write_var_bytes, write_var_uint};

type Written<'a> = (u64, u64, &'a [Vec<u8>]);

/// An update of sections (client, first clock, structs) and deletions (client, ranges of start and length).
fn update(sections: &[Written], deletions: &[(u64, &[(u64, u64)])]) -> Vec<u8> {
    let mut out = Vec::new();
    write_var_uint(&mut out, sections.len() as u64);
    for (client, clock, structs) in sections {
        write_var_uint(&mut out, structs.len() as u64);
        write_var_uint(&mut out, *client);
        write_var_uint(&mut out, *clock);
        out.extend(structs.iter().flatten());
    }
    write_var_uint(&mut out, deletions.len() as u64);
    for (client, ranges) in deletions {
        write_var_uint(&mut out, *client);
        write_var_uint(&mut out, ranges.len() as u64);
        for (start, len) in *ranges {
            write_var_uint(&mut out, *start);
            write_var_uint(&mut out, *len);
        }
    }
    out
}

#[derive(Clone, Copy)]
enum At<'a> {
    Root(&'a str),
    RootKey(&'a str, &'a str),
    In(u64, u64),
    Key(u64, u64, &'a str),
    After(u64, u64),
    Before(u64, u64),
    Between((u64, u64), (u64, u64)),
}

fn item(at: At, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let id = |out: &mut Vec<u8>, client: u64, clock: u64| {
        write_var_uint(out, client);
        write_var_uint(out, clock);
    };
    match at {
        At::Root(name) => {
            out.extend([kind, 1]);
            write_var_bytes(&mut out, name.as_bytes());
        }
        At::RootKey(name, key) => {
            out.extend([kind | 0x20, 1]);
            write_var_bytes(&mut out, name.as_bytes());
            write_var_bytes(&mut out, key.as_bytes());
        }
        At::In(client, clock) => {
            out.extend([kind, 0]);
            id(&mut out, client, clock);
        }
        At::Key(client, clock, key) => {
            out.extend([kind | 0x20, 0]);
            id(&mut out, client, clock);
            write_var_bytes(&mut out, key.as_bytes());
        }
        At::After(client, clock) => {
            out.push(kind | 0x80);
            id(&mut out, client, clock);
        }
        At::Before(client, clock) => {
            out.push(kind | 0x40);
            id(&mut out, client, clock);
        }
        At::Between(left, right) => {
            out.push(kind | 0xc0);
            id(&mut out, left.0, left.1);
            id(&mut out, right.0, right.1);
        }
    }
    out.extend_from_slice(content);
    out
}

fn bytes(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_var_bytes(&mut out, content);
    out
}

fn text(at: At, content: &str) -> Vec<u8> {
    item(at, 4, &bytes(content.as_bytes()))
}

fn any(at: At, values: &[&[u8]]) -> Vec<u8> {
    let mut content = Vec::new();
    write_var_uint(&mut content, values.len() as u64);
    content.extend(values.iter().copied().flatten());
    item(at, 8, &content)
}

fn length(kind: u8, len: u64) -> Vec<u8> {
    let mut out = vec![kind];
    write_var_uint(&mut out, len);
    out
}

const MAP: &[u8] = &[1];
const TEXT: &[u8] = &[2];
const ONE: &[u8] = &[125, 1];

fn check(bytes: &[u8]) -> Result<CheckedUpdate, &'static str> {
    CheckedUpdate::check(Bytes::copy_from_slice(bytes)).map_err(|e| e.what)
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Whole(Vec<u8>),
    Part(Vec<u8>),
    Nothing,
    Refused(&'static str),
}

fn admit(known: &mut Document, bytes: &[u8]) -> Outcome {
    match known.judge(check(bytes).unwrap()) {
        Verdict::News(news) => {
            let (update, is_partial) = (news.update().bytes().to_vec(), news.is_partial());
            known.take(news);
            if is_partial {
                Outcome::Part(update)
            } else {
                Outcome::Whole(update)
            }
        }
        Verdict::Known => Outcome::Whole(EMPTY_UPDATE.to_vec()),
        Verdict::Nothing => Outcome::Nothing,
        Verdict::Refused(why) => Outcome::Refused(why),
        Verdict::Conflict(id) => panic!("{id:?}"),
    }
}

/// A document that has taken these updates.
fn known(updates: &[Vec<u8>]) -> Document {
    let mut known = Document::new(Deleted::Kept);
    for update in updates {
        assert_eq!(admit(&mut known, update), Outcome::Whole(update.clone()));
    }
    known
}

/// "hello" by client 1 in a root text.
fn hello() -> Vec<u8> {
    update(&[(1, 0, &[text(At::Root("t"), "hello")])], &[])
}

#[test]
fn g1_the_empty_update_says_nothing() {
    let empty = check(EMPTY_UPDATE).unwrap();

    assert!(empty.is_empty());
    assert!(empty.has_known_structs(&Clocks::default()));
}

#[test]
fn g1_bytes_after_the_end_and_bytes_cut_off_are_refused() {
    let whole = update(&[(1, 0, &[text(At::Root("t"), "hello")])], &[(1, &[(0, 2)])]);
    assert!(check(&whole).is_ok());

    for end in 0..whole.len() {
        assert!(check(&whole[..end]).is_err(), "{end}");
    }
    let mut longer = whole;
    longer.push(0);
    assert_eq!(check(&longer).map(|_| ()), Err("bytes after the end"));
}

#[test]
fn g2_a_lying_count_is_refused() {
    let huge = [0xff, 0xff, 0xff, 0x7a];
    let with = |before: &[u8], after: &[u8]| [before, &huge, after].concat();
    for lying in [
        with(&[], &[0]),
        with(&[1], &[1, 0, 0, 1, 0]),
        with(&[0], &[0]),
        with(&[0, 1, 1], &[0, 1]),
        update(&[(1, 0, &[item(At::Root("t"), 8, &huge)])], &[]),
        update(&[(1, 0, &[item(At::Root("t"), 4, &huge)])], &[]),
        update(&[(1, 0, &[any(At::Root("t"), &[&with(&[117], &[])])])], &[]),
        update(&[(1, 0, &[any(At::Root("t"), &[&with(&[118], &[])])])], &[]),
    ] {
        assert!(check(&lying).is_err(), "{lying:?}");
    }
}

#[test]
fn g3_a_client_has_one_section_and_one_delete_set() {
    let one = [text(At::Root("t"), "a")];
    assert!(check(&update(&[(2, 0, &one), (1, 0, &one)], &[])).is_ok());
    assert!(check(&update(&[(1, 0, &one), (1, 1, &one)], &[])).is_err());
    assert!(check(&update(&[(1, 0, &one), (2, 0, &one), (1, 1, &one)], &[])).is_err());

    let range: &[(u64, u64)] = &[(0, 1)];
    assert!(check(&update(&[], &[(1, range), (2, range)])).is_ok());
    assert!(check(&update(&[], &[(1, range), (1, range)])).is_err());
    assert!(check(&update(&[], &[(1, range), (2, range), (1, range)])).is_err());
}

#[test]
fn g4_clocks_end_where_signed_32_bit_arithmetic_ends() {
    let gc = |clock: u64, len: u64| update(&[(1, clock, &[length(0, len)])], &[]);
    assert!(check(&gc(0, CLOCK_MAX)).is_ok());
    assert!(check(&gc(1, CLOCK_MAX)).is_err());
    assert!(check(&gc(CLOCK_MAX, 1)).is_err());
    assert!(check(&gc(0, CLOCK_MAX + 1)).is_err());
    assert!(
        check(&update(
            &[(1, 0, &[length(0, CLOCK_MAX - 1), length(1 | 0x80, 0)])],
            &[]
        ))
        .is_err()
    );

    assert!(check(&update(&[], &[(1, &[(1, CLOCK_MAX - 1)])])).is_ok());
    assert!(check(&update(&[], &[(1, &[(1, CLOCK_MAX)])])).is_err());
    assert!(check(&update(&[], &[(1, &[(CLOCK_MAX + 1, 1)])])).is_err());
}

#[test]
fn g5_only_what_yjs_writes_is_content() {
    let of_kind = |kind: u8, content: &[u8]| check(&update(&[(1, 0, &[item(At::Root("t"), kind, content)])], &[]));
    for kind in [11, 12, 15, 16, 20, 31] {
        assert!(of_kind(kind, &[1, 1]).is_err(), "{kind}");
    }
    for shared in [0, 1, 2, 4, 6] {
        assert!(of_kind(7, &[shared]).is_ok(), "{shared}");
    }
    for named in [3, 5] {
        assert!(of_kind(7, &[named, 1, b'p']).is_ok(), "{named}");
        assert!(of_kind(7, &[named, 1]).is_err(), "{named}");
    }
    for shared in [7, 8, 9, 15, 255] {
        assert!(of_kind(7, &[shared, 1, b'p']).is_err(), "{shared}");
    }
    // Sub-document options.
    assert!(of_kind(9, &[1, b'g', 118, 0]).is_ok());
    assert!(of_kind(9, &[1, b'g', 126]).is_err());
    let option = |key: &str| [&[1, b'g', 118, 1][..], &bytes(key.as_bytes()), &[120]].concat();
    assert!(of_kind(9, &option("autoLoad")).is_ok());
    for replaced in ["guid", "gcFilter"] {
        assert!(of_kind(9, &option(replaced)).is_err(), "{replaced}");
    }
    // A gap has no neighbours.
    assert!(check(&update(&[(1, 0, &[vec![0x80, 1, 1, 1]])], &[])).is_err());
    assert!(check(&update(&[(1, 0, &[vec![0x8a, 1, 1, 1]])], &[])).is_err());
    // A parent is a root or an item.
    assert!(check(&update(&[(1, 0, &[vec![4, 2, 1, 1, 1, b'a']])], &[])).is_err());
}

#[test]
fn g6_text_is_utf8_and_counts_in_utf16() {
    assert!(check(&update(&[(1, 0, &[item(At::Root("t"), 4, &[1, 0xff])])], &[])).is_err());
    assert!(
        check(&update(
            &[(1, 0, &[item(At::RootKey("t", "k"), 8, &[1, 119, 1, 0xff])])],
            &[]
        ))
        .is_err()
    );

    let emoji = check(&update(&[(1, 0, &[text(At::Root("t"), "a😀")])], &[])).unwrap();
    assert_eq!(emoji.spans().collect::<Vec<_>>(), [(1, 0..3)]);
}

#[test]
fn g7_values_nest_up_to_the_bound() {
    let nested = |depth: usize| {
        let mut value = [117, 1].repeat(depth);
        value.push(126);
        check(&update(&[(1, 0, &[any(At::Root("t"), &[&value])])], &[]))
    };
    assert!(nested(ANY_DEPTH_MAX).is_ok());
    assert!(nested(ANY_DEPTH_MAX + 1).is_err());
    assert!(nested(1_000_000).is_err());
}

#[test]
fn g8_what_its_author_wrote_is_kept_to_the_byte() {
    let json = |texts: &[&str]| {
        let mut content = Vec::new();
        write_var_uint(&mut content, texts.len() as u64);
        texts
            .iter()
            .for_each(|text| write_var_bytes(&mut content, text.as_bytes()));
        item(At::Root("t"), 2, &content)
    };
    let format = |json: &str| item(At::Root("t"), 6, &[bytes(b"name"), bytes(json.as_bytes())].concat());
    let any = |value: &[u8]| any(At::Root("t"), &[value]);
    for one in [
        json(&["1", "undefined", "\"x\"", "[null,{\"a\":true}]"]),
        format(r#""\ud83d""#),
        format("18446744073709551615"),
        // BigInts: 5n, 2^62.
        any(&[122, 0, 0, 0, 0, 0, 0, 0, 5]),
        any(&[122, 0x40, 0, 0, 0, 0, 0, 0, 0]),
        // -0, NaN, undefined, bytes.
        any(&[123, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        any(&[123, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
        any(&[127]),
        any(&[116, 2, 0, 255]),
    ] {
        let update = update(&[(1, 0, &[one])], &[]);

        assert_eq!(check(&update).unwrap().bytes(), &update);
    }
    assert!(check(&update(&[(1, 0, &[json(&["1", "{"])])], &[])).is_err());
}

#[test]
fn g29_an_object_with_a_key_that_replaces_its_prototype_is_refused_wherever_it_is() {
    let object = |key: &str| [&[118, 1][..], &bytes(key.as_bytes()), &[116, 1, 0]].concat();
    for (key, passes) in [
        ("__proto__", false),
        ("__proto", true),
        ("constructor", true),
        ("", true),
    ] {
        let inner = object(key);
        let nested = [&[117, 1, 118, 1, 1, b'a'][..], &inner].concat();
        let option = [&[1, b'g', 118, 1, 4][..], b"meta", &inner].concat();
        for content in [
            any(At::Root("t"), &[&inner]),
            any(At::RootKey("t", "k"), &[&inner]),
            any(At::Root("t"), &[ONE, &nested]),
            item(At::Root("t"), 9, &option),
        ] {
            assert_eq!(check(&update(&[(1, 0, &[content])], &[])).is_ok(), passes, "{key}");
        }
    }
    let json = bytes(br#"{"__proto__":{}}"#);
    let format = [bytes(b"bold"), json.clone()].concat();
    for content in [item(At::Root("t"), 5, &json), item(At::Root("t"), 6, &format)] {
        assert!(check(&update(&[(1, 0, &[content])], &[])).is_err());
    }
    // Old JSON is text wherever Yjs keeps it.
    let old = [&[1][..], &json].concat();
    assert!(check(&update(&[(1, 0, &[item(At::Root("t"), 2, &old)])], &[])).is_ok());
}

#[test]
fn g9_what_says_nothing_is_dropped_and_disorder_is_put_in_order() {
    let empty = [
        text(At::Root("t"), ""),
        text(At::Root("t"), "a"),
        any(At::After(1, 0), &[]),
    ];
    let one = [text(At::Root("t"), "a")];
    let messy = update(
        &[(1, 0, &empty), (3, 0, &[]), (2, 0, &one)],
        &[(1, &[(5, 1), (0, 2), (2, 0), (1, 3)]), (7, &[])],
    );

    let tidy = update(&[(2, 0, &one), (1, 0, &one)], &[(1, &[(0, 4), (5, 1)])]);
    assert_eq!(check(&messy).unwrap().bytes(), &tidy);
}

#[test]
fn g10_a_struct_refers_back_never_to_itself_or_on() {
    let after = |clock| {
        check(&update(
            &[(1, 0, &[text(At::Root("t"), "ab"), text(At::After(1, clock), "c")])],
            &[],
        ))
    };
    assert!(after(0).is_ok());
    assert!(after(1).is_ok());
    assert!(after(2).is_err());
    assert!(after(3).is_err());
}

#[test]
fn g11_a_section_starts_where_the_document_ends() {
    let more = |clock, at: u64, content| update(&[(1, clock, &[text(At::After(1, at), content)])], &[]);

    assert_eq!(
        admit(&mut known(&[hello()]), &more(5, 1, "xyz")),
        Outcome::Whole(more(5, 1, "xyz"))
    );
    assert_eq!(admit(&mut known(&[hello()]), &more(6, 1, "xyz")), Outcome::Nothing);
    assert_eq!(
        admit(&mut known(&[hello()]), &more(2, 1, "llo")),
        Outcome::Whole(EMPTY_UPDATE.to_vec())
    );
    // What is known of a struct is cut off.
    assert_eq!(
        admit(&mut known(&[hello()]), &more(4, 3, "oyz")),
        Outcome::Whole(more(5, 4, "yz"))
    );
}

#[test]
fn g11_a_struct_is_cut_as_yjs_cuts_it() {
    let other = update(&[(3, 0, &[text(At::Root("t"), "other")])], &[]);
    let cut = |first: Vec<u8>, clocks: u64, whole: Vec<u8>, rest: Vec<u8>| {
        let mut known = known(&[other.clone(), update(&[(1, 0, &[first])], &[])]);
        assert_eq!(
            admit(&mut known, &update(&[(1, 0, &[whole])], &[])),
            Outcome::Whole(update(&[(1, clocks, &[rest])], &[]))
        );
    };
    cut(
        text(At::Before(3, 1), "a\u{fffd}"),
        2,
        text(At::Before(3, 1), "a😀b"),
        text(At::Between((1, 1), (3, 1)), "\u{fffd}b"),
    );
    cut(
        any(At::Root("t"), &[ONE]),
        1,
        any(At::Root("t"), &[ONE, &[126], &[127]]),
        any(At::After(1, 0), &[&[126], &[127]]),
    );
    cut(
        item(At::Before(3, 0), 1, &[1]),
        1,
        item(At::Before(3, 0), 1, &[3]),
        item(At::Between((1, 0), (3, 0)), 1, &[2]),
    );
    cut(length(0, 1), 1, length(0, 3), length(0, 2));
}

#[test]
fn g12_what_lacks_something_is_cut_at_the_first_gap() {
    let a = [
        text(At::After(1, 4), "a"),
        text(At::After(9, 3), "b"),
        text(At::After(2, 0), "c"),
    ];
    let sent = update(&[(2, 0, &a)], &[(2, &[(0, 2)]), (1, &[(3, 4)])]);

    let part = update(&[(2, 0, &a[..1])], &[(2, &[(0, 1)]), (1, &[(3, 2)])]);
    assert_eq!(admit(&mut known(&[hello()]), &sent), Outcome::Part(part));
    assert_eq!(admit(&mut known(&[]), &sent), Outcome::Nothing);

    let gap = [text(At::After(1, 4), "a"), length(10, 5), text(At::After(1, 0), "b")];
    let before_it = update(&[(2, 0, &gap[..1])], &[]);
    assert_eq!(
        admit(&mut known(&[hello()]), &update(&[(2, 0, &gap)], &[])),
        Outcome::Part(before_it)
    );
}

#[test]
fn g12_clients_may_wait_for_each_other_but_not_in_a_circle() {
    let a = [
        text(At::Root("t"), "a"),
        text(At::After(2, 0), "b"),
        text(At::After(2, 1), "c"),
    ];
    let b = [text(At::After(1, 0), "x"), text(At::After(1, 1), "y")];
    let both = update(&[(2, 0, &b), (1, 0, &a)], &[]);
    assert_eq!(admit(&mut known(&[]), &both), Outcome::Whole(both.clone()));

    let circle = update(
        &[
            (2, 0, &[text(At::After(1, 0), "x")]),
            (1, 0, &[text(At::After(2, 0), "a")]),
        ],
        &[],
    );
    assert_eq!(admit(&mut known(&[]), &circle), Outcome::Nothing);
}

#[test]
fn g12_many_clients_that_wait_for_each_other_cost_linear_time() {
    // Each client's struct waits for the next client's, so that every one waits before any goes on.
    let clients = 50_000;
    let mut sections: Vec<(u64, Vec<Vec<u8>>)> = Vec::new();
    for client in (1..=clients).rev() {
        let at = if client == 1 {
            At::Root("t")
        } else {
            At::After(client - 1, 0)
        };
        sections.push((client, vec![text(at, "a"), text(At::After(client, 0), "b")]));
    }
    let sections: Vec<Written> = sections
        .iter()
        .map(|(client, structs)| (*client, 0, structs.as_slice()))
        .collect();
    let sent = update(&sections, &[]);

    assert_eq!(admit(&mut known(&[]), &sent), Outcome::Whole(sent.clone()));
    let pieces = split(&check(&sent).unwrap(), 1_000);
    assert!(pieces.len() > 500);
}

#[test]
fn g14_neighbours_are_in_one_place() {
    let list_and_map = update(
        &[(
            1,
            0,
            &[
                item(At::Root("r"), 7, MAP),
                any(At::In(1, 0), &[ONE]),
                any(At::Key(1, 0, "k"), &[ONE]),
            ],
        )],
        &[],
    );
    let between = update(&[(2, 0, &[any(At::Between((1, 1), (1, 2)), &[ONE])])], &[]);

    let why = "neighbours that are not in one place";
    assert_eq!(admit(&mut known(&[list_and_map]), &between), Outcome::Refused(why));
}

#[test]
fn g15_a_parent_that_is_no_type_makes_a_collected_range_as_in_yjs() {
    let sent = update(&[(2, 0, &[text(At::In(1, 2), "abc"), text(At::After(2, 1), "d")])], &[]);

    let collected = update(&[(2, 0, &[length(0, 3), length(0, 1)])], &[]);
    assert_eq!(admit(&mut known(&[hello()]), &sent), Outcome::Whole(collected));
}

#[test]
fn g15_neighbours_that_are_gone_make_a_collected_range_as_in_yjs() {
    let gone = update(&[(1, 0, &[length(0, 3), text(At::Root("t"), "a")])], &[]);
    let sent = update(&[(2, 0, &[text(At::Between((1, 1), (1, 3)), "abc")])], &[]);

    let collected = update(&[(2, 0, &[length(0, 3)])], &[]);
    assert_eq!(admit(&mut known(&[gone]), &sent), Outcome::Whole(collected));
}

#[test]
fn g16_types_nest_up_to_the_bound() {
    let mut structs = vec![item(At::Root("r"), 7, MAP)];
    for depth in 1..u64::from(TYPE_DEPTH_MAX) {
        structs.push(item(At::Key(1, depth - 1, "n"), 7, MAP));
    }
    let deep = update(&[(1, 0, &structs)], &[]);
    let last = u64::from(TYPE_DEPTH_MAX) - 1;
    let value = update(&[(2, 0, &[any(At::Key(1, last, "v"), &[ONE])])], &[]);
    let deeper = update(&[(2, 0, &[item(At::Key(1, last, "n"), 7, MAP)])], &[]);
    // Not by the key alone: also after something that is there.
    let beside = update(
        &[(
            2,
            0,
            &[any(At::Key(1, last, "v"), &[ONE]), item(At::After(2, 0), 7, MAP)],
        )],
        &[],
    );

    let why = "shared types nested too deeply";
    assert_eq!(
        admit(&mut known(std::slice::from_ref(&deep)), &value),
        Outcome::Whole(value)
    );
    assert_eq!(
        admit(&mut known(std::slice::from_ref(&deep)), &deeper),
        Outcome::Refused(why)
    );
    assert_eq!(admit(&mut known(&[deep]), &beside), Outcome::Refused(why));
}

#[test]
fn g17_text_is_in_any_type_and_never_an_entry_of_a_map() {
    let types = update(
        &[(1, 0, &[item(At::Root("r"), 7, MAP), item(At::After(1, 0), 7, TEXT)])],
        &[],
    );
    let sent = |at| update(&[(2, 0, &[text(at, "a😀")])], &[]);

    let why = "text as an entry of a map";
    let outcome = |at| admit(&mut known(std::slice::from_ref(&types)), &sent(at));
    assert_eq!(outcome(At::In(1, 1)), Outcome::Whole(sent(At::In(1, 1))));
    assert_eq!(
        outcome(At::In(1, 0)),
        Outcome::Whole(sent(At::In(1, 0))),
        "as Yjs 14 does"
    );
    assert_eq!(outcome(At::Key(1, 0, "k")), Outcome::Refused(why));
    assert_eq!(outcome(At::Key(1, 1, "k")), Outcome::Refused(why));
    assert_eq!(outcome(At::RootKey("r", "k")), Outcome::Refused(why));
}

#[test]
fn g18_an_entry_of_a_map_covers_one_clock() {
    let sent = update(&[(1, 0, &[any(At::RootKey("m", "k"), &[ONE, &[126], &[120]])])], &[]);
    let mut last = any(At::After(1, 1), &[&[120]]);
    last[0] |= 0x20;
    let cut = update(&[(1, 0, &[item(At::RootKey("m", "k"), 1, &[2]), last])], &[]);

    assert_eq!(admit(&mut known(&[]), &sent), Outcome::Whole(cut));
}

#[test]
fn g22_updates_that_do_not_follow_each_other_are_not_merged() {
    let first = check(&hello()).unwrap();
    let third = check(&update(&[(1, 7, &[text(At::After(1, 4), "a")])], &[(1, &[(0, 1)])])).unwrap();
    let second = check(&update(&[(1, 5, &[text(At::After(1, 4), "ab")])], &[])).unwrap();

    let merged = |updates: &[CheckedUpdate]| merge(updates).iter().map(|m| m.bytes().to_vec()).collect::<Vec<_>>();
    assert_eq!(
        merged(&[first.clone(), third.clone()]),
        [first.bytes().to_vec(), third.bytes().to_vec()]
    );
    let structs = [
        text(At::Root("t"), "hello"),
        text(At::After(1, 4), "ab"),
        text(At::After(1, 4), "a"),
    ];
    assert_eq!(
        merged(&[first, second, third]),
        [update(&[(1, 0, &structs)], &[(1, &[(0, 1)])])]
    );
}

#[test]
fn g25_a_state_vector_is_read_strictly() {
    let known = known(&[hello()]);
    let vector = known.clocks().encode_state_vector();
    assert_eq!(vector, [1, 1, 5]);
    assert_eq!(Clocks::decode(&vector).as_ref(), Ok(known.clocks()));

    assert!(Clocks::decode(&[0]).unwrap().is_empty());
    for bad in [
        &[][..],
        &[1],
        &[1, 1],
        &[2, 1, 5],
        &[2, 1, 5, 1, 6],
        &[1, 1, 5, 0],
        &[0xff, 0xff, 0xff, 0x7a],
        &[1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ] {
        assert!(Clocks::decode(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn g27_what_several_deleted_together_is_known_to_be_deleted() {
    let deletes = |ranges: &[(u64, &[(u64, u64)])]| update(&[], ranges);
    let typed = |client: u64| update(&[(client, 0, &[text(At::Root("t"), "0123456789")])], &[]);
    let mut known = known(&[
        typed(9),
        typed(5),
        typed(3),
        deletes(&[(9, &[(0, 2), (5, 1)]), (3, &[(7, 3)])]),
        deletes(&[(9, &[(2, 3)]), (5, &[(1, 1)])]),
    ]);

    for old in [&[(9, &[(0, 6)][..]), (3, &[(8, 2)])][..], &[(5, &[(1, 1)])]] {
        assert_eq!(admit(&mut known, &deletes(old)), Outcome::Whole(EMPTY_UPDATE.to_vec()));
    }
    // Only what is new of a deletion is news.
    for (sent, new) in [
        (deletes(&[(9, &[(0, 7)])]), deletes(&[(9, &[(6, 1)])])),
        (deletes(&[(3, &[(6, 2)])]), deletes(&[(3, &[(6, 1)])])),
        (deletes(&[(5, &[(0, 3)])]), deletes(&[(5, &[(0, 1), (2, 1)])])),
    ] {
        assert_eq!(admit(&mut known, &sent), Outcome::Whole(new));
    }
}

#[test]
fn g26_what_a_peer_lacks_begins_in_the_middle_of_a_struct() {
    let behind = item(At::After(9, 3), 3, &bytes(b"!"));
    // The struct, its first clocks, and what remains of it, which follows them.
    let cases = [
        (text(At::Root("t"), "abcd"), 1, text(At::After(9, 0), "bcd")),
        // Half of a pair is no character.
        (text(At::Root("t"), "a😀d"), 2, text(At::After(9, 1), "\u{fffd}d")),
        (
            text(At::Before(3, 0), "abcd"),
            3,
            text(At::Between((9, 2), (3, 0)), "d"),
        ),
        (
            any(At::Root("t"), &[ONE, ONE, &[126], ONE]),
            2,
            any(At::After(9, 1), &[&[126], ONE]),
        ),
        (item(At::Root("t"), 1, &[4]), 3, item(At::After(9, 2), 1, &[1])),
    ];
    for (found, clock, rest) in cases {
        let other = text(At::Root("t"), "other");
        let stored = update(
            &[(9, 0, &[found, behind.clone()]), (3, 0, std::slice::from_ref(&other))],
            &[],
        );
        let known = known(&[stored]);
        let mut had = Clocks::default();
        had.advance(9, clock);
        had.advance(7, 7);

        let sections: [Written; 2] = [(9, u64::from(clock), &[rest, behind.clone()]), (3, 0, &[other])];
        let structs_of = |update: &[u8]| check(update).unwrap().struct_count();
        let lacks = known.since(&had);
        let expected = update(&sections, &[]);
        assert!(lacks.starts_with(&expected[..expected.len() - 1]), "{lacks:?}");
        assert_eq!(structs_of(&lacks), 3);
        // Somebody who has all of it.
        had.advance(9, 5);
        had.advance(3, 5);
        assert_eq!(structs_of(&known.since(&had)), 0);
    }
}
