//! The reader on states written by hand. What real Yjs makes of real ones: `tests/gate/reading.rs`.

use super::*;
use crate::protocol::lib0::{write_var_bytes, write_var_uint};

const STEPS: u64 = 1_000_000;

/// (client, clock)
pub(crate) type Of = (u64, u64);

#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
    Root,
    Key(&'a str),
    In(Of),
    KeyIn(Of, &'a str),
    After(Of),
    Before(Of),
    Between(Of, Of),
}

pub(crate) fn item(at: At, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let id = |out: &mut Vec<u8>, of: Of| {
        write_var_uint(out, of.0);
        write_var_uint(out, of.1);
    };
    match at {
        At::Root => out.extend([kind, 1, 1, b'r']),
        At::Key(key) => {
            out.extend([kind | 0x20, 1, 1, b'r']);
            write_var_bytes(&mut out, key.as_bytes());
        }
        At::In(of) => {
            out.extend([kind, 0]);
            id(&mut out, of);
        }
        At::KeyIn(of, key) => {
            out.extend([kind | 0x20, 0]);
            id(&mut out, of);
            write_var_bytes(&mut out, key.as_bytes());
        }
        At::After(of) => {
            out.push(kind | 0x80);
            id(&mut out, of);
        }
        At::Before(of) => {
            out.push(kind | 0x40);
            id(&mut out, of);
        }
        At::Between(left, right) => {
            out.push(kind | 0xc0);
            id(&mut out, left);
            id(&mut out, right);
        }
    }
    out.extend_from_slice(content);
    out
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_var_bytes(&mut out, text.as_bytes());
    out
}

pub(crate) fn text(at: At, content: &str) -> Vec<u8> {
    item(at, 4, &string(content))
}

pub(crate) fn any(at: At, values: &[&[u8]]) -> Vec<u8> {
    let mut content = vec![values.len() as u8];
    content.extend(values.concat());
    item(at, 8, &content)
}

const MAP: &[u8] = &[1];

/// A state of sections, in descending order of their clients, and deleted ranges (client, first clock, length).
pub(crate) fn state(sections: &[(u64, &[Vec<u8>])], deletions: &[(u64, u64, u64)]) -> CheckedUpdate {
    let mut out = Vec::new();
    write_var_uint(&mut out, sections.len() as u64);
    for (client, structs) in sections {
        write_var_uint(&mut out, structs.len() as u64);
        write_var_uint(&mut out, *client);
        out.push(0);
        out.extend(structs.concat());
    }
    write_var_uint(&mut out, deletions.len() as u64);
    for (client, start, len) in deletions {
        write_var_uint(&mut out, *client);
        out.push(1);
        write_var_uint(&mut out, *start);
        write_var_uint(&mut out, *len);
    }
    CheckedUpdate::check(out.into()).unwrap()
}

fn json(state: &CheckedUpdate) -> String {
    read(state, STEPS).unwrap().json(STEPS).unwrap()
}

/// The text of the root, when it has only one run of it.
fn shown(sections: &[(u64, &[Vec<u8>])]) -> String {
    let json = json(&state(sections, &[]));
    let text = json.strip_prefix(r#"{"r":{"list":[{"text":""#);
    text.and_then(|text| text.strip_suffix(r#""}]}}"#))
        .unwrap_or(&json)
        .to_owned()
}

#[test]
fn v1_what_others_put_at_the_same_place_is_in_the_order_of_yjs() {
    let concurrent = shown(&[
        (3, &[text(At::After((1, 0)), "C")]),
        (2, &[text(At::After((1, 0)), "B")]),
        (1, &[text(At::Root, "ab")]),
    ]);
    let behind = shown(&[
        (10, &[text(At::Root, "a"), text(At::Between((10, 0), (5, 0)), "b")]),
        (5, &[text(At::After((10, 0)), "c")]),
    ]);

    // A client with a lower id comes first; what was there when it was written stays where it was.
    assert_eq!(concurrent, "abBC");
    assert_eq!(behind, "abc");
}

#[test]
fn v1_a_right_origin_before_the_origin_is_read_as_yjs_reads_it_joined_or_not() {
    let w = [text(At::After((10, 0)), "w")];
    let x = || text(At::Between((10, 2), (10, 1)), "X");
    let apart = [
        text(At::Root, "a"),
        text(At::After((10, 0)), "b"),
        text(At::After((10, 1)), "c"),
        x(),
    ];
    let joined = [text(At::Root, "abc"), x()];

    assert_eq!(shown(&[(10, &apart), (5, &w)]), "awbcX");
    assert_eq!(shown(&[(10, &joined), (5, &w)]), "awXbc");
}

#[test]
fn v1_half_of_a_character_is_what_yjs_shows() {
    let cut = state(&[(1, &[text(At::Root, "x😀y")])], &[(1, 1, 1)]);
    let between = [
        (2, &[text(At::Between((1, 1), (1, 2)), "B")][..]),
        (1, &[text(At::Root, "x😀y")]),
    ];

    assert_eq!(json(&cut), r#"{"r":{"list":[{"text":"x�y"}]}}"#);
    assert_eq!(shown(&between), "x�B�y");
}

#[test]
fn v1_what_is_next_to_something_collected_is_collected() {
    let gone = state(
        &[
            (2, &[text(At::After((1, 0)), "b"), text(At::After((2, 0)), "c")]),
            (1, &[vec![0, 1], text(At::Root, "a")]),
        ],
        &[],
    );

    assert_eq!(json(&gone), r#"{"r":{"list":[{"text":"a"}]}}"#);
    let deletion = |client, start, end| Deletion { client, start, end };
    assert_eq!(
        read(&gone, STEPS).unwrap().untold,
        [deletion(2, 0, 2), deletion(1, 0, 1)]
    );
}

#[test]
fn v3_the_values_that_lost_and_what_is_in_deleted_types_are_told() {
    let one = |at| any(at, &[&[125, 1]]);
    let conflict = state(&[(2, &[one(At::Key("k"))]), (1, &[one(At::Key("k"))])], &[]);
    let inside = [
        item(At::Key("k"), 7, MAP),
        item(At::KeyIn((1, 0), "in"), 7, MAP),
        one(At::KeyIn((1, 1), "deep")),
        one(At::In((1, 1))),
    ];
    let dead = state(&[(1, &inside)], &[(1, 0, 1)]);
    let told = state(&[(1, &inside)], &[(1, 0, 4)]);

    let deletion = |client, start, end| Deletion { client, start, end };
    assert_eq!(read(&conflict, STEPS).unwrap().untold, [deletion(1, 0, 1)]);
    assert_eq!(read(&dead, STEPS).unwrap().untold, [deletion(1, 1, 4)]);
    assert_eq!(read(&told, STEPS).unwrap().untold, []);
    assert_eq!(json(&dead), "{}");
}

#[test]
fn v3_what_is_overwritten_or_arrives_in_a_dead_type_is_told() {
    let one = |at| any(at, &[&[125, 1]]);
    let overwritten = state(&[(1, &[one(At::Key("k")), one(At::After((1, 0)))])], &[]);
    // Both have the key; the type of client 1 loses before its content comes.
    let late = [
        item(At::Key("k"), 7, MAP),
        one(At::In((1, 0))),
        one(At::KeyIn((1, 0), "in")),
    ];
    let dead = state(&[(2, &[one(At::Key("k"))]), (1, &late)], &[]);

    let deletion = |client, start, end| Deletion { client, start, end };
    assert_eq!(read(&overwritten, STEPS).unwrap().untold, [deletion(1, 0, 1)]);
    assert_eq!(read(&dead, STEPS).unwrap().untold, [deletion(1, 0, 3)]);
}

#[test]
fn v3_values_of_a_key_go_together_as_long_as_yjs_has_not_cut_them() {
    let two = |at| any(at, &[&[125, 1], &[125, 2]]);
    let one = any(At::After((2, 1)), &[&[125, 3]]);
    // Overwritten; in a deleted type; in a type that is deleted after the last value was.
    let overwritten = state(&[(2, &[two(At::Key("k"))]), (1, &[one])], &[(2, 1, 1)]);
    let inside = state(
        &[(1, &[item(At::Root, 7, MAP), two(At::KeyIn((1, 0), "k"))])],
        &[(1, 0, 1)],
    );
    let within = [(2, &[item(At::Root, 7, MAP)][..]), (1, &[two(At::KeyIn((2, 0), "k"))])];
    let before = state(&within, &[(1, 1, 1), (2, 0, 1)]);
    let after = state(&within, &[(2, 0, 1), (1, 1, 1)]);

    let deletion = |client, start, end| Deletion { client, start, end };
    assert_eq!(read(&overwritten, STEPS).unwrap().untold, [deletion(2, 0, 1)]);
    assert_eq!(read(&inside, STEPS).unwrap().untold, [deletion(1, 1, 3)]);
    assert_eq!(read(&before, STEPS).unwrap().untold, []);
    assert_eq!(read(&after, STEPS).unwrap().untold, [deletion(1, 0, 1)]);
}

#[test]
fn v4_what_is_no_whole_state_is_said() {
    let missing = |client, clock| Some(ReadError::Missing { client, clock });
    let gap = [text(At::Root, "a"), vec![10, 1], text(At::Root, "b")];
    for (state, expected) in [
        (state(&[(1, &[text(At::After((2, 4)), "a")])], &[]), missing(2, 4)),
        (state(&[(1, &[text(At::Before((2, 0)), "a")])], &[]), missing(2, 0)),
        (state(&[(1, &[text(At::In((9, 1)), "a")])], &[]), missing(9, 1)),
        (state(&[(1, &[text(At::Root, "ab")])], &[(1, 1, 2)]), missing(1, 2)),
        (state(&[(1, &gap)], &[]), missing(1, 1)),
        (
            state(
                &[
                    (2, &[text(At::After((1, 0)), "a")]),
                    (1, &[text(At::After((2, 0)), "b")]),
                ],
                &[],
            ),
            Some(ReadError::Circular { client: 1, clock: 0 }),
        ),
    ] {
        assert_eq!(read(&state, STEPS).err(), expected);
    }
}

#[test]
fn v4_the_limit_holds_where_conflicts_cost_the_square() {
    let conflicting = |count: u64| {
        let between = |client| text(At::Between((1, 0), (1, client - 1)), "x");
        let clients: Vec<_> = (2..count + 2)
            .rev()
            .map(|client| (client, vec![between(client)]))
            .collect();
        let first = (1, vec![text(At::Root, &"a".repeat(count as usize + 1))]);
        let all: Vec<(u64, &[Vec<u8>])> = clients.iter().chain([&first]).map(|(c, s)| (*c, &s[..])).collect();
        read(&state(&all, &[]), 200_000).map(|reading| reading.json(STEPS).unwrap().len())
    };

    assert!(conflicting(100).is_ok());
    assert_eq!(conflicting(2_000).err(), Some(ReadError::TooMuch));
}

#[test]
fn v4_no_depth_overflows_the_stack() {
    let depth = 100_000;
    let mut structs = vec![item(At::Root, 7, &[0])];
    structs.extend((1..depth).map(|clock| item(At::In((1, clock - 1)), 7, &[0])));
    let alive = read(&state(&[(1, &structs)], &[]), STEPS).unwrap();
    let dead = read(&state(&[(1, &structs)], &[(1, 0, 1)]), STEPS).unwrap();

    assert_eq!(alive.json(STEPS).unwrap().matches("array").count() as u64, depth);
    assert_eq!(
        dead.untold,
        [Deletion {
            client: 1,
            start: 1,
            end: 100_000
        }]
    );
}

#[test]
fn v4_many_formats_under_many_runs_are_too_much() {
    let mut structs = Vec::new();
    let mark = |at, key: &str, value: &str| item(at, 6, &[string(key), string(value)].concat());
    structs.push(mark(At::Root, "first", "1"));
    for clock in 0..1_000 {
        structs.push(mark(At::After((1, clock)), &format!("key {clock}"), "\"value\""));
    }
    for clock in (1_000..5_000).step_by(2) {
        structs.push(mark(At::After((1, clock)), "flips", &clock.to_string()));
        structs.push(text(At::After((1, clock + 1)), "x"));
    }
    let reading = read(&state(&[(1, &structs)], &[]), STEPS).unwrap();

    assert_eq!(reading.json(STEPS).err(), Some(ReadError::TooMuch));
}

#[test]
fn v2_every_value_is_shown_bit_for_bit() {
    let whole: &[&[u8]] = &[
        &[127],
        &[126],
        &[120],
        &[121],
        &[125, 0x40],
        &[125, 0x41],
        &[122, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfb],
    ];
    let double = |number: f64| [&[123][..], &number.to_be_bytes()].concat();
    let doubles = [
        0.1,
        1_541_496_485_006_064.0 + 0.25,
        1e21,
        1e-7,
        123456789012345680000.0,
        5e-324,
        0.000001,
        f64::NAN,
        f64::NEG_INFINITY,
    ]
    .map(double);
    let others: &[&[u8]] = &[
        &[124, 0x3f, 0xc0, 0, 0],
        &[116, 4, 0xff, 0, 1, 2],
        &[118, 3, 1, b'b', 126, 2, b'$', b'x', 126, 1, b'a', 117, 0],
        &[118, 2, 1, b'a', 120, 1, b'a', 121],
    ];
    let all: Vec<&[u8]> = whole
        .iter()
        .copied()
        .chain(doubles.iter().map(Vec::as_slice))
        .chain(others.iter().copied())
        .collect();
    let json = json(&state(&[(1, &[any(At::Root, &all)])], &[]));

    let values = [
        r#"{"$undefined":true}"#,
        "null",
        "true",
        "false",
        "-0",
        "-1",
        r#"{"$bigint":"-5"}"#,
        "0.1",
        "1541496485006064.2",
        "1e+21",
        "1e-7",
        "123456789012345680000",
        "5e-324",
        "0.000001",
        r#"{"$number":"NaN"}"#,
        r#"{"$number":"-Infinity"}"#,
        "1.5",
        r#"{"$binary":"/wABAg=="}"#,
        r#"{"$$x":null,"a":[],"b":null}"#,
        r#"{"a":false}"#,
    ];
    let expected: Vec<String> = values.iter().map(|value| format!(r#"{{"value":{value}}}"#)).collect();
    assert_eq!(json, format!(r#"{{"r":{{"list":[{}]}}}}"#, expected.join(",")));
}

fn canon<'a>(out: &'a mut String, steps: &'a mut Steps) -> values::Canon<'a> {
    values::Canon::new(out, steps, values::Precision::Exact)
}

#[test]
fn v2_json_comes_out_in_one_form() {
    for (text, canonical) in [
        (
            r#" { "b" : [ 1.0 , 1e2 ] , "a" : "\u0041\/\ud83d\ude00\ud83d" } "#,
            r#"{"a":"A/😀\ud83d","b":[1,100]}"#,
        ),
        (
            r#"{"\uffff":1,"😀":2,"$":3,"a":4,"a":5}"#,
            r#"{"$$":3,"a":5,"😀":2,"￿":1}"#,
        ),
        (r#""\u001f\n\u2028""#, "\"\\u001f\\n\u{2028}\""),
        ("-0.0", "-0"),
        ("[[],{},[{}]]", "[[],{},[{}]]"),
    ] {
        let mut out = String::new();
        canon(&mut out, &mut Steps::new(1_000)).json(text).unwrap();

        assert_eq!(out, canonical);
    }
    for bad in ["", "[", "{", "tru", "\"", "\"\\", "{\"a\"}", "[1", "-", "{\"a\":1"] {
        assert!(
            canon(&mut String::new(), &mut Steps::new(1_000)).json(bad).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn v2_text_with_the_same_marks_is_one_run_however_it_was_marked() {
    let mark = |at, value: &str| item(at, 6, &[string("b"), string(value)].concat());
    let structs = [
        mark(At::Root, "true"),
        text(At::After((1, 0)), "a"),
        mark(At::After((1, 1)), "true"),
        text(At::After((1, 2)), "b"),
        mark(At::After((1, 3)), "null"),
        text(At::After((1, 4)), "c"),
    ];

    assert_eq!(
        json(&state(&[(1, &structs)], &[])),
        r#"{"r":{"list":[{"text":"ab","format":{"b":true}},{"text":"c"}]}}"#
    );
}

#[test]
fn v7_text_is_what_people_wrote_with_a_line_for_each_type_and_value() {
    let element = |at, name: &str| item(at, 7, &[&[3][..], &string(name)].concat());
    let structs = [
        element(At::Root, "h1"),
        text(At::In((1, 0)), "Title"),
        element(At::After((1, 0)), "p"),
        text(At::In((1, 6)), "One "),
        item(At::After((1, 10)), 6, &[string("bold"), string("true")].concat()),
        text(At::After((1, 11)), "bold"),
        any(At::Key("k"), &[&[119, 5, b'v', b'a', b'l', b'u', b'e']]),
        any(At::Key("n"), &[&[125, 7]]),
    ];

    let reading = read(&state(&[(1, &structs)], &[]), STEPS).unwrap();

    assert_eq!(reading.text(STEPS).unwrap(), "value\nTitle\nOne bold\n");
}
