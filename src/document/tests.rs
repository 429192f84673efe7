#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::{judge::LACKS_MAX, log::read::bytes_in, *};
use crate::protocol::lib0::{write_var_bytes, write_var_int};

type At = Option<(u64, u32)>;

/// A struct to be written.
struct Wrote {
    origin: At,
    right: At,
    /// Root `t`, a nested type, or what a neighbour says.
    inside: Option<(u64, u32)>,
    key: Option<&'static str>,
    kind: u8,
    content: Vec<u8>,
}

fn bytes_of(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_var_bytes(&mut out, text.as_bytes());
    out
}

fn number(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    write_var_uint(&mut out, value);
    out
}

use crate::protocol::lib0::write_var_uint;

fn wrote(origin: At, right: At, kind: u8, content: Vec<u8>) -> Wrote {
    Wrote {
        origin,
        right,
        inside: None,
        key: None,
        kind,
        content,
    }
}

fn text(origin: At, right: At, text: &str) -> Wrote {
    wrote(origin, right, structs::STRING, bytes_of(text))
}

fn values(origin: At, right: At, values: &[i64]) -> Wrote {
    let mut content = number(values.len() as u64);
    for value in values {
        content.push(125);
        write_var_int(&mut content, *value);
    }
    wrote(origin, right, structs::ANY, content)
}

impl Wrote {
    fn under(self, key: &'static str) -> Self {
        Self { key: Some(key), ..self }
    }

    fn inside(self, client: u64, clock: u32) -> Self {
        Self {
            inside: Some((client, clock)),
            ..self
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(
            self.kind
                | bit(self.origin.is_some(), structs::HAS_ORIGIN)
                | bit(self.right.is_some(), HAS_RIGHT)
                | bit(self.key.is_some(), structs::HAS_KEY),
        );
        for (client, clock) in self.origin.into_iter().chain(self.right) {
            write_var_uint(out, client);
            write_var_uint(out, u64::from(clock));
        }
        if self.origin.is_none() && self.right.is_none() && self.kind != GC {
            match self.inside {
                Some((client, clock)) => {
                    out.push(0);
                    write_var_uint(out, client);
                    write_var_uint(out, u64::from(clock));
                }
                None => out.extend(b"\x01\x01t"),
            }
            if let Some(key) = self.key {
                write_var_bytes(out, key.as_bytes());
            }
        }
        out.extend_from_slice(&self.content);
    }
}

const HAS_RIGHT: u8 = structs::HAS_RIGHT_ORIGIN;

/// An update: what each client wrote from a clock on, and what is deleted.
fn update(sections: &[(u64, u32, &[Wrote])], deleted: &[(u64, u32, u32)]) -> CheckedUpdate {
    let mut out = number(sections.len() as u64);
    for (client, clock, structs) in sections {
        for value in [structs.len() as u64, *client, u64::from(*clock)] {
            write_var_uint(&mut out, value);
        }
        structs.iter().for_each(|one| one.write(&mut out));
    }
    write_var_uint(&mut out, deleted.len() as u64);
    for (client, from, to) in deleted {
        for value in [*client, 1, u64::from(*from), u64::from(*to - *from)] {
            write_var_uint(&mut out, value);
        }
    }
    CheckedUpdate::check(out.into()).unwrap()
}

fn take(document: &mut Document, update: &CheckedUpdate) {
    match document.judge(update.clone()) {
        Verdict::News(news) => document.take(news),
        other => panic!("{other:?}"),
    }
}

fn wrote_by(document: &mut Document, client: u64, structs: &[Wrote]) {
    let clock = document.clocks().next(client);
    take(document, &update(&[(client, clock, structs)], &[]));
}

fn deletes(document: &mut Document, client: u64, from: u32, to: u32) {
    take(document, &update(&[], &[(client, from, to)]));
}

/// The first clocks and the kinds of a client's structs.
fn shape(document: &Document, client: u64) -> Vec<(u32, u8)> {
    let steps = document.log(client).unwrap().steps_from(0);
    steps.map(|(_, step)| (step.clock, step.found.kind())).collect()
}

fn starts(document: &Document, client: u64) -> Vec<u32> {
    shape(document, client).into_iter().map(|(clock, _)| clock).collect()
}

/// The same after a restart, which also is what a snapshot holds.
fn reopened(document: &Document) -> Document {
    let state = document.since(&Clocks::default());
    let again = Document::open([(1, &state)], document.deleted).unwrap();
    assert_eq!(again.clocks(), document.clocks());
    again
}

#[test]
fn j1_what_an_author_writes_next_is_joined_whoever_writes_between() {
    let mut document = Document::default();
    wrote_by(&mut document, 10, &[text(None, None, "a")]);
    wrote_by(
        &mut document,
        10,
        &[text(Some((10, 0)), None, "b"), text(Some((10, 1)), None, "c")],
    );
    wrote_by(
        &mut document,
        20,
        &[values(None, None, &[1]), values(Some((20, 0)), None, &[2])],
    );

    assert_eq!(starts(&document, 10), [0]);
    assert_eq!(starts(&document, 20), [0]);
}

#[test]
fn j2_structs_with_different_right_origins_are_not_joined() {
    let mut document = Document::default();
    wrote_by(&mut document, 10, &[text(None, None, "a")]);
    wrote_by(&mut document, 5, &[text(Some((10, 0)), None, "c")]);
    wrote_by(&mut document, 10, &[text(Some((10, 0)), Some((5, 0)), "b")]);

    assert_eq!(starts(&document, 10), [0, 1]);
    assert_eq!(starts(&reopened(&document), 10), [0, 1]);
}

#[test]
fn j3_values_under_a_key_are_not_joined_and_deleted_ones_are() {
    let mut document = Document::default();
    wrote_by(&mut document, 10, &[values(None, None, &[1]).under("k")]);
    wrote_by(&mut document, 10, &[values(Some((10, 0)), None, &[2]).under("k")]);
    wrote_by(&mut document, 10, &[values(Some((10, 1)), None, &[3]).under("k")]);
    assert_eq!(starts(&document, 10), [0, 1, 2]);

    deletes(&mut document, 10, 0, 2);

    assert_eq!(shape(&document, 10), [(0, DELETED), (2, structs::ANY)]);
}

#[test]
fn j4_where_somebody_refers_to_a_boundary_it_stays() {
    // The right origin of the last one is not behind its origin: `awbcX`, and `awXbc` if `a` and `bc` were joined.
    let sections: [(u64, &[Wrote]); 4] = [
        (10, &[text(None, None, "a")]),
        (5, &[text(Some((10, 0)), None, "w")]),
        (10, &[text(Some((10, 0)), None, "bc")]),
        (10, &[text(Some((10, 2)), Some((10, 1)), "X")]),
    ];
    let mut document = Document::default();
    for (client, structs) in sections {
        wrote_by(&mut document, client, structs);
    }
    assert_eq!(starts(&document, 10), [0, 1, 3]);
    assert_eq!(starts(&reopened(&document), 10), [0, 1, 3]);

    // Joined already, it is cut; and what is deleted on both sides of it is not joined again.
    let mut document = Document::default();
    wrote_by(&mut document, 10, &[text(None, None, "abcd")]);
    wrote_by(&mut document, 5, &[text(Some((10, 2)), Some((10, 1)), "x")]);
    assert_eq!(starts(&document, 10), [0, 1, 3]);
    deletes(&mut document, 10, 0, 4);
    assert_eq!(starts(&document, 10), [0, 1, 3]);
    assert_eq!(starts(&reopened(&document), 10), [0, 1, 3]);
}

#[test]
fn j5_what_is_touched_is_small() {
    let mut document = Document::default();
    wrote_by(&mut document, 10, &[text(None, None, &"äbc😀".repeat(5_000))]);
    let whole = document.weight_bytes();
    assert!(whole > 40_000);
    let (log, mut last) = (document.log(10).unwrap(), 0);
    for (bytes, step) in log.steps_from(0) {
        assert!(step.to - step.at <= 1_100, "{}", step.to - step.at);
        assert!(bytes.len() <= 2_048);
        last = step.end();
    }
    assert_eq!(last, 25_000);

    deletes(&mut document, 10, 12_001, 12_002);

    assert_eq!(document.clocks().next(10), 25_000);
    let same = |clock: u32| document.log(10).unwrap().steps_from(clock).next().unwrap().1.clock;
    assert_eq!(same(12_001), 12_001);
}

#[test]
fn k1_deleted_content_goes_and_its_place_stays() {
    let mut document = Document::default();
    wrote_by(&mut document, 10, &[text(None, None, "abc")]);
    deletes(&mut document, 10, 1, 2);
    assert_eq!(
        shape(&document, 10),
        [(0, structs::STRING), (1, DELETED), (2, structs::STRING)]
    );

    // What others put beside it finds its place.
    wrote_by(&mut document, 5, &[text(Some((10, 1)), Some((10, 2)), "X")]);

    assert_eq!(shape(&document, 5), [(0, structs::STRING)]);
    assert!(!document.since(&Clocks::default()).windows(1).any(|byte| byte == b"b"));
}

#[test]
fn k5_deleted_content_is_kept_where_the_document_says_so() {
    let mut document = Document::new(Deleted::Kept);
    wrote_by(&mut document, 10, &[text(None, None, "abc")]);
    deletes(&mut document, 10, 0, 3);

    let state = document.since(&Clocks::default());

    assert!(state.windows(3).any(|bytes| bytes == b"abc"));
    assert_eq!(reopened(&document).since(&Clocks::default()), state);
    let update = CheckedUpdate::check(state).unwrap();
    assert_eq!(update.deletions().len(), 1);
}

#[test]
fn k1_half_of_a_pair_that_is_cut_becomes_the_replacement_character() {
    let mut document = Document::default();
    wrote_by(&mut document, 10, &[text(None, None, "a😀b")]);
    deletes(&mut document, 10, 2, 3);

    let state = document.since(&Clocks::default());

    let half = "a\u{fffd}".as_bytes();
    assert!(state.windows(half.len()).any(|bytes| bytes == half));
    assert_eq!(starts(&document, 10), [0, 2, 3]);
}

#[test]
fn k2_what_is_in_a_deleted_type_is_collected() {
    let list = || wrote(None, None, structs::TYPE, vec![0]);
    let mut document = Document::default();
    wrote_by(&mut document, 10, &[list(), text(None, None, "in").inside(10, 0)]);
    deletes(&mut document, 10, 0, 1);
    assert_eq!(shape(&document, 10), [(0, DELETED), (1, structs::STRING)]);

    // What arrives for it now, at once; what was there, when it is put together anew.
    wrote_by(&mut document, 5, &[text(None, None, "late").inside(10, 0)]);

    assert_eq!(shape(&document, 5), [(0, GC)]);
    assert_eq!(shape(&reopened(&document), 10), [(0, DELETED), (1, GC)]);
}

#[test]
fn k3_what_refers_to_the_collected_is_collected() {
    let mut document = Document::default();
    wrote_by(
        &mut document,
        10,
        &[wrote(None, None, GC, number(3)), text(None, None, "x")],
    );
    wrote_by(&mut document, 5, &[text(Some((10, 2)), None, "a")]);
    wrote_by(&mut document, 6, &[text(Some((10, 3)), Some((10, 1)), "b")]);
    wrote_by(&mut document, 7, &[text(None, None, "in no type").inside(10, 3)]);

    for client in [5, 6, 7] {
        assert_eq!(shape(&document, client), [(0, GC)], "{client}");
    }
}

#[test]
fn k4_what_is_collected_or_deleted_counts_as_deleted() {
    let mut document = Document::default();
    let structs = [wrote(None, None, GC, number(3)), wrote(None, None, DELETED, number(2))];
    wrote_by(&mut document, 10, &structs);

    assert!(matches!(document.judge(update(&[], &[(10, 0, 5)])), Verdict::Known));
    let state = CheckedUpdate::check(document.since(&Clocks::default())).unwrap();
    let deleted = state.deletions().iter().map(|one| (one.start, one.end));
    assert_eq!(deleted.collect::<Vec<_>>(), [(0, 5)]);
}

#[test]
fn d4_only_what_is_new_of_an_update_is_news() {
    let mut document = Document::default();
    wrote_by(&mut document, 10, &[text(None, None, "abc")]);
    deletes(&mut document, 10, 0, 1);

    let more = update(&[(10, 0, &[text(None, None, "abcdef")])], &[(10, 0, 2)]);
    let Verdict::News(news) = document.judge(more) else {
        panic!()
    };

    assert_eq!(
        news.update().bytes(),
        update(&[(10, 3, &[text(Some((10, 2)), None, "def")])], &[(10, 1, 2)]).bytes()
    );
    assert!(!news.is_partial());
}

#[test]
fn s12_what_an_update_lacks_is_told_by_client_and_of_few_clients() {
    let mut document = Document::default();
    wrote_by(&mut document, 10, &[text(None, None, "abc")]);
    let id = |client, clock| Id { client, clock };
    let lacks = |update: &CheckedUpdate| document.lacks(update).map(|lacks| lacks.to_vec());

    let ranges: Vec<(u32, u32)> = (2..1_000).map(|at| (3 * at, 3 * at + 1)).collect();
    let mut bytes = number(0);
    for value in [1, 10, ranges.len() as u64] {
        write_var_uint(&mut bytes, value);
    }
    for (from, to) in &ranges {
        write_var_uint(&mut bytes, u64::from(*from));
        write_var_uint(&mut bytes, u64::from(to - from));
    }
    let many = CheckedUpdate::check(bytes.into()).unwrap();
    assert_eq!(lacks(&many), Some(vec![id(10, 3)]), "of one client one thing");

    let of = |clients: u64| {
        let deleted: Vec<(u64, u32, u32)> = (100..100 + clients).map(|client| (client, 0, 1)).collect();
        update(&[], &deleted)
    };
    let few = LACKS_MAX as u64;
    assert_eq!(
        lacks(&of(few)),
        Some((100..100 + few).map(|client| id(client, 0)).collect())
    );
    assert_eq!(lacks(&of(few + 1)), None);
}

#[test]
fn d22_what_is_known_by_number_and_differs_is_a_conflict() {
    let mut document = Document::default();
    wrote_by(
        &mut document,
        10,
        &[text(None, None, "hello"), values(Some((10, 4)), None, &[1, 2])],
    );
    wrote_by(&mut document, 20, &[text(Some((10, 1)), None, "x")]);
    let conflict = |structs: &[Wrote]| match document.judge(update(&[(10, 0, structs)], &[])) {
        Verdict::Conflict(id) => Some(id.clock),
        _ => None,
    };

    assert_eq!(conflict(&[text(None, None, "hello")]), None);
    assert_eq!(
        conflict(&[text(None, None, "hell"), text(Some((10, 3)), None, "o")]),
        None
    );
    assert_eq!(
        conflict(&[text(None, None, "hello"), values(Some((10, 4)), None, &[1, 2, 3])]),
        None
    );
    assert_eq!(conflict(&[wrote(None, None, DELETED, number(5))]), None);
    assert_eq!(conflict(&[wrote(None, None, GC, number(9))]), None);
    assert_eq!(
        conflict(&[text(None, None, "\u{fffd}".repeat(5).as_str())]),
        Some(0),
        "a letter is no half of a pair"
    );
    assert_eq!(conflict(&[text(None, None, "world")]), Some(0));
    assert_eq!(
        conflict(&[text(None, None, "hellO")]),
        Some(2),
        "the piece that differs"
    );
    assert_eq!(conflict(&[text(Some((20, 0)), None, "hello")]), Some(0));
    assert_eq!(conflict(&[text(None, Some((20, 0)), "hello")]), Some(0));
    assert_eq!(conflict(&[text(None, None, "hello").under("k")]), Some(0));
    assert_eq!(conflict(&[values(None, None, &[1, 2, 3, 4, 5])]), Some(0));
    assert_eq!(
        conflict(&[text(None, None, "hello"), values(Some((10, 4)), None, &[1, 3])]),
        Some(5)
    );
}

#[test]
fn d22_half_a_pair_is_what_yjs_writes_where_it_cuts_one() {
    let whole = "a\u{1f600}b";
    let cut = ["a\u{fffd}", "\u{fffd}b"];
    let pieces = || [text(None, None, cut[0]), text(Some((10, 1)), None, cut[1])];
    for is_cut in [false, true] {
        let mut document = Document::default();
        let (known, again) = if is_cut {
            (Vec::from(pieces()), vec![text(None, None, whole)])
        } else {
            (vec![text(None, None, whole)], Vec::from(pieces()))
        };
        wrote_by(&mut document, 10, &known);
        assert!(matches!(
            document.judge(update(&[(10, 0, &again)], &[])),
            Verdict::Known
        ));
    }
}

#[test]
fn d22_a_letter_behind_half_a_character_is_what_yjs_takes_for_the_other_half() {
    let half = "\u{fffd}";
    let known = [
        vec![text(None, None, half), text(Some((10, 0)), None, "xyz")],
        vec![text(None, None, "\u{fffd}xyz")],
    ];
    let again = |second: &str| [text(None, None, half), text(Some((10, 0)), None, second)];
    for known in known {
        let mut document = Document::default();
        wrote_by(&mut document, 10, &known);
        let conflict = |from: u32, structs: &[Wrote]| match document.judge(update(&[(10, from, structs)], &[])) {
            Verdict::Conflict(id) => Some(id.clock),
            _ => None,
        };
        assert_eq!(conflict(0, &again("\u{fffd}yz")), None);
        assert_eq!(
            conflict(1, &again("\u{fffd}yz")[1..]),
            None,
            "what is before it is not sent again"
        );
        assert_eq!(
            conflict(0, &again("\u{fffd}\u{fffd}z")),
            Some(1),
            "the second letter is none"
        );
        assert_eq!(conflict(2, &[text(Some((10, 1)), None, "\u{fffd}z")]), Some(2));
        assert_eq!(conflict(0, &again("wyz")), Some(1));
    }
    // The half may be deleted meanwhile, or collected.
    for kind in [DELETED, GC] {
        for known_as in [
            vec![text(None, None, "\u{fffd}xyz")],
            vec![wrote(None, None, kind, number(1)), text(Some((10, 0)), None, "xyz")],
        ] {
            let mut document = Document::default();
            wrote_by(&mut document, 10, &known_as);
            let again = [
                wrote(None, None, kind, number(1)),
                text(Some((10, 0)), None, "\u{fffd}yz"),
            ];
            assert!(matches!(
                document.judge(update(&[(10, 0, &again)], &[])),
                Verdict::Known
            ));
            assert!(matches!(
                document.judge(update(&[(10, 1, &again[1..])], &[])),
                Verdict::Known
            ));
        }
    }
    // A page that kept the letter passes it on to a server that has what its author made of it.
    let mut document = Document::default();
    wrote_by(&mut document, 10, &again("\u{fffd}yz"));
    assert!(matches!(
        document.judge(update(&[(10, 0, &[text(None, None, "\u{fffd}xyz")])], &[])),
        Verdict::Known
    ));
}

#[test]
fn d22_old_json_that_was_kept_as_values_is_the_same_and_other_values_are_not() {
    let json = |texts: &[&str]| {
        let texts: Vec<u8> = texts.iter().flat_map(|text| bytes_of(text)).collect();
        wrote(None, None, structs::JSON, texts)
    };
    let counted = |count: u64, mut wrote: Wrote| {
        wrote.content.splice(0..0, number(count));
        wrote
    };
    let any = |count: u64, bytes: &[u8]| wrote(None, None, structs::ANY, [&number(count)[..], bytes].concat());
    let big = [&[122][..], &(1_i64 << 60).to_be_bytes()].concat();
    let agrees = |known: &Wrote, again: &Wrote| {
        let mut document = Document::default();
        wrote_by(&mut document, 10, std::slice::from_ref(known));
        let again = update(&[(10, 0, std::slice::from_ref(again))], &[]);
        matches!(document.judge(again), Verdict::Known)
    };
    let cases = [
        (counted(1, json(&["5"])), any(1, &[125, 5]), true),
        (counted(1, json(&["5"])), any(1, &[125, 6]), false),
        (counted(1, json(&["undefined"])), any(1, &[127]), true),
        (counted(1, json(&["null"])), any(1, &[127]), false),
        (
            counted(1, json(&["{\"$a\":[1, -0]}"])),
            any(1, &[118, 1, 2, b'$', b'a', 117, 2, 125, 1, 125, 0]),
            true,
        ),
        (counted(1, json(&["\"x\""])), any(1, &[119, 1, b'y']), false),
        (counted(2, json(&["1", "[]"])), any(2, &[125, 1, 117, 0]), true),
        (counted(2, json(&["1", "[]"])), any(2, &[125, 1, 118, 0]), false),
        (counted(1, json(&["1152921504606846976"])), any(1, &big), true),
    ];
    for (index, (json, any, same)) in cases.iter().enumerate() {
        assert_eq!(agrees(json, any), *same, "case {index}");
        assert_eq!(agrees(any, json), *same, "case {index}, the other way round");
    }
}

#[test]
fn d22_values_that_are_written_otherwise_are_the_same() {
    let any = |bytes: &[u8]| wrote(None, None, structs::ANY, [&[1][..], bytes].concat());
    let embed = |json: &str| wrote(None, None, structs::EMBED, bytes_of(json));
    // 5 as an integer, a float and a double; an object in another order; JSON with other spaces.
    let same = [
        [any(&[125, 5]), any(&[124, 0x40, 0xa0, 0, 0])],
        [any(&[125, 5]), any(&[123, 0x40, 0x14, 0, 0, 0, 0, 0, 0])],
        [
            any(&[118, 2, 1, b'a', 126, 1, b'b', 120]),
            any(&[118, 2, 1, b'b', 120, 1, b'a', 126]),
        ],
        [embed("{\"a\": 1.0, \"b\": []}"), embed("{\"b\":[],\"a\":1}")],
        [embed(r#"["\uD83D x",-0,"\/"]"#), embed(r#"["\ud83d x",0,"/"]"#)],
        [
            embed(&format!("{}{}", "[".repeat(1_000), "]".repeat(1_000))),
            embed(&format!("{}{}", "[".repeat(1_000), " ]".repeat(1_000))),
        ],
    ];
    for [one, other] in same {
        let mut document = Document::default();
        wrote_by(&mut document, 10, &[one]);
        let again = update(&[(10, 0, &[other])], &[]);
        assert!(matches!(document.judge(again), Verdict::Known));
    }
    let mut document = Document::default();
    wrote_by(&mut document, 10, &[embed("{\"a\":1}")]);
    let other = update(&[(10, 0, &[embed("{\"a\":2}")])], &[]);
    assert!(matches!(document.judge(other), Verdict::Conflict(_)));
}

#[test]
fn d22_values_are_the_same_whatever_the_order_of_keys_and_however_deep() {
    let is_same = |one: &[u8], other: &[u8]| {
        let any = |bytes: &[u8]| wrote(None, None, structs::ANY, [&[2][..], bytes, &[125, 7]].concat());
        let judged = [(one, other), (other, one)].map(|(known, again)| {
            let mut document = Document::default();
            wrote_by(&mut document, 10, &[any(known)]);
            matches!(document.judge(update(&[(10, 0, &[any(again)])], &[])), Verdict::Known)
        });
        assert_eq!(judged[0], judged[1], "{one:?} {other:?}");
        judged[0]
    };
    let object = |entries: &[(&str, &[u8])]| {
        let mut out = vec![118];
        write_var_uint(&mut out, entries.len() as u64);
        for (key, value) in entries {
            out.extend(bytes_of(key));
            out.extend(*value);
        }
        out
    };
    let list = |values: &[&[u8]]| [&[117, values.len() as u8][..], &values.concat()].concat();
    let (one, two): (&[u8], &[u8]) = (&[125, 1], &[125, 2]);
    let not_a_number: &[u8] = &[123, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0];

    assert!(is_same(
        &object(&[("a", one), ("b", two)]),
        &object(&[("b", two), ("a", one)])
    ));
    assert!(!is_same(
        &object(&[("a", one), ("b", two)]),
        &object(&[("b", one), ("a", two)])
    ));
    assert!(!is_same(
        &object(&[("a", one), ("b", two)]),
        &object(&[("a", one), ("c", two)])
    ));
    assert!(!is_same(&object(&[("a", one)]), &object(&[("a", one), ("b", two)])));
    assert!(
        is_same(
            &object(&[("a", two), ("b", one), ("a", one)]),
            &object(&[("a", one), ("b", one)])
        ),
        "the last holds"
    );
    assert!(!is_same(
        &object(&[("a", one), ("b", one), ("a", two)]),
        &object(&[("a", one), ("b", one)])
    ));
    assert!(is_same(
        &list(&[not_a_number, one]),
        &list(&[&[124, 0x7f, 0xc0, 0, 0], one])
    ));
    assert!(!is_same(&list(&[one]), &list(&[one, one])));
    assert!(!is_same(&list(&[one]), &object(&[("a", one)])));
    assert!(!is_same(&[119, 1, b'a'], &[116, 1, b'a']));
    assert!(!is_same(&[122, 0, 0, 0, 0, 0, 0, 0, 1], one), "a BigInt is no number");

    // In each of many the keys are in another order, and what differs is at the bottom.
    let nested = |depth: usize, is_turned: bool, bottom: &[u8]| {
        let mut value = bottom.to_vec();
        for _ in 0..depth {
            let entries: [(&str, &[u8]); 3] = [("a", &value), ("b", one), ("c", two)];
            let turned = [entries[0], entries[2], entries[1]];
            value = object(if is_turned { &turned } else { &entries });
        }
        value
    };
    for depth in [1, 10, 100, 1_000] {
        assert!(is_same(&nested(depth, false, one), &nested(depth, true, one)));
        assert!(!is_same(&nested(depth, false, one), &nested(depth, true, two)));
        assert!(!is_same(&nested(depth, false, one), &nested(depth, false, two)));
    }
}

#[test]
fn d22_what_was_withheld_may_be_of_very_many_clients() {
    let letter = |n: u64| [&[1][..], &number(n), &[0, 4, 1, 1, b't', 1, b'x']].concat();
    let letters: Vec<Vec<u8>> = (1..=40_000).rev().map(letter).collect();
    let update = CheckedUpdate::check([number(40_000), letters.concat(), number(0)].concat().into()).unwrap();

    let without = update.without(&(1..40_000).collect::<Vec<_>>());

    assert_eq!(without.spans().collect::<Vec<_>>(), [(40_000, 0..1)]);
}

#[test]
fn d13_a_state_that_is_encoded_elsewhere_is_of_its_moment() {
    let mut document = Document::default();
    wrote_by(&mut document, 10, &[text(None, None, "abc")]);
    let before = document.since(&Clocks::default());
    let state = document.state();

    wrote_by(&mut document, 10, &[text(Some((10, 2)), None, "def")]);
    deletes(&mut document, 10, 0, 2);

    assert_eq!(state.since(&Clocks::default()), before);
}

#[test]
fn g14_neighbours_are_in_one_list() {
    let mut document = Document::default();
    let list = || wrote(None, None, structs::TYPE, vec![0]);
    wrote_by(
        &mut document,
        10,
        &[
            text(None, None, "root"),
            list(),
            values(None, None, &[1]).inside(10, 4),
            values(None, None, &[2]).inside(10, 4).under("k"),
            values(None, None, &[3]).inside(10, 4).under("l"),
        ],
    );
    let refused = |left: u32, right: u32| {
        let update = update(&[(5, 0, &[values(Some((10, left)), Some((10, right)), &[0])])], &[]);
        matches!(document.judge(update), Verdict::Refused(_))
    };

    assert!(!refused(0, 3));
    assert!(!refused(3, 4), "both in the root");
    assert!(refused(0, 5), "another type");
    assert!(refused(5, 6), "a list and an entry");
    assert!(refused(6, 7), "two keys");
    let text_under_a_key = update(&[(5, 0, &[text(Some((10, 6)), None, "x")])], &[]);
    assert!(matches!(document.judge(text_under_a_key), Verdict::Refused(_)));
}

#[test]
fn g18_an_entry_covers_one_clock_also_where_it_is_deleted_with_the_update() {
    let three = || values(None, None, &[1, 2, 3]).under("k");
    let mut document = Document::default();
    wrote_by(&mut document, 10, &[three()]);
    assert_eq!(shape(&document, 10), [(0, DELETED), (2, structs::ANY)]);

    for (deleted, expected) in [
        (
            Deleted::Kept,
            &[(0, structs::ANY), (1, structs::ANY), (2, structs::ANY)][..],
        ),
        (Deleted::Dropped, &[(0, DELETED)]),
    ] {
        let mut document = Document::new(deleted);
        take(&mut document, &update(&[(10, 0, &[three()])], &[(10, 0, 3)]));
        assert_eq!(shape(&document, 10), expected);
        // A page that has it as it was sends it again, and more of it.
        let four = values(None, None, &[1, 2, 3, 4]).under("k");
        take(&mut document, &update(&[(10, 0, &[four])], &[(10, 0, 4)]));
        assert_eq!(document.clocks().next(10), 4);
    }
}

#[test]
fn c1_what_is_deleted_goes_also_behind_a_block_that_deletions_made_several() {
    let mut document = Document::default();
    for _ in 0..6 {
        let next = document.clocks().next(10);
        let origin = next.checked_sub(1).map(|clock| (10, clock));
        wrote_by(&mut document, 10, &[text(origin, None, &"a".repeat(1_000))]);
    }
    let end = document.clocks().next(10);
    let mut deletions: Vec<(u32, u32)> = (0..500).map(|n| (2 * n, 1)).collect();
    deletions.push((end - 10, 10));
    let mut out = number(0);
    for value in [1, 10, deletions.len() as u64] {
        write_var_uint(&mut out, value);
    }
    for (start, len) in deletions {
        write_var_uint(&mut out, u64::from(start));
        write_var_uint(&mut out, u64::from(len));
    }

    take(&mut document, &CheckedUpdate::check(out.into()).unwrap());

    let last = document.log(10).unwrap().steps_from(end - 1).next().unwrap().1;
    assert_eq!((last.clock, last.found.kind()), (end - 10, DELETED));
    let deleted = shape(&document, 10).iter().filter(|(_, kind)| *kind == DELETED).count();
    assert_eq!(deleted, 501);
}

#[test]
fn d22_a_small_value_is_not_compared_with_a_large_one_by_reading_that() {
    let mut document = Document::default();
    // 128 kB as Yjs writes it, and what would be the same if it were read.
    let zeros = |zero: &str, count: usize| format!("[{}0]", format!("{zero},").repeat(count));
    let embed = |text: &str| wrote(None, None, structs::EMBED, bytes_of(text));
    wrote_by(&mut document, 10, &[embed(&zeros("0.000", 20_000))]);
    let judged = |text: &str| document.judge(update(&[(10, 0, &[embed(text)])], &[]));

    assert!(matches!(judged(&zeros("0.0", 20_000)), Verdict::Known));
    assert!(matches!(judged("0"), Verdict::Conflict(_)));
}

/// Does something with little and with sixteen times as much, and says how many times as long that takes, at best.
fn times_as_long<T>(mut does: impl FnMut(usize) -> T) -> f64 {
    let mut fastest = |size: usize| {
        let times = (0..5).map(|_| {
            let begun = std::time::Instant::now();
            let done = does(size);
            let took = begun.elapsed();
            drop(done);
            took
        });
        times.min().unwrap().as_secs_f64()
    };
    let little = fastest(1);
    fastest(16) / little
}

#[test]
fn d22_json_is_compared_up_to_where_it_differs_and_nothing_is_made_of_it() {
    let numbers = |count: usize| format!("[{}0]", "1,".repeat(count));
    let embed = |text: &str| wrote(None, None, structs::EMBED, bytes_of(text));
    let values = |count: usize| {
        let mut content = vec![1, 117];
        write_var_uint(&mut content, count as u64);
        content.extend([125, 1].repeat(count));
        wrote(None, None, structs::ANY, content)
    };
    let listed = |text: &str| wrote(None, None, structs::JSON, [&[1][..], &bytes_of(text)].concat());
    // What is known is two to thirty-two times as long as what comes.
    for is_json in [true, false] {
        let documents = [1, 16].map(|size| {
            let (mut document, count) = (Document::default(), size * 40_000);
            let stored = if is_json { embed(&numbers(count)) } else { values(count) };
            wrote_by(&mut document, 10, &[stored]);
            document
        });
        let short = numbers(20_000);
        let again = if is_json { embed(&short) } else { listed(&short) };
        let again = update(&[(10, 0, &[again])], &[]);

        let times = times_as_long(|size| {
            let judged = documents[usize::from(size > 1)].judge(again.clone());
            assert!(matches!(judged, Verdict::Conflict(_)));
        });

        assert!(times < 6.0, "{times}");
    }
}

#[test]
fn d22_what_stands_for_much_is_compared_without_reading_all_of_it() {
    let before = |clock: u32| clock.checked_sub(1).map(|clock| (10, clock));
    // A list that nobody can cut, sixteen times.
    let mut large = vec![1, 117];
    write_var_uint(&mut large, 100_000);
    large.extend([126].repeat(100_000));
    let mut document = Document::default();
    for clock in 0..16 {
        wrote_by(
            &mut document,
            10,
            &[wrote(before(clock), None, structs::ANY, large.clone())],
        );
    }
    for kind in [GC, DELETED] {
        let again = update(&[(10, 0, &[wrote(None, None, kind, number(16))])], &[]);
        let read = bytes_in(|| assert!(matches!(document.judge(again), Verdict::Known)));
        assert!(read < 1_000, "{kind}: {read}");
    }
    let last = update(
        &[(
            10,
            0,
            &[
                wrote(None, None, GC, number(15)),
                wrote(before(15), None, structs::ANY, vec![1, 125, 1]),
            ],
        )],
        &[],
    );
    assert!(matches!(document.judge(last), Verdict::Conflict(id) if id.clock == 15));
    // Whoever refers to them, and asks for what comes behind them, has none of them read either.
    let refers: Vec<Wrote> = (0..15)
        .map(|clock| text(Some((10, clock)), Some((10, clock + 1)), "x"))
        .collect();
    let refers = update(&[(11, 0, &refers)], &[]);
    let read = bytes_in(|| take(&mut document, &refers));
    assert!(read < 1_000, "{read}");

    // Very many that cannot be joined.
    let many = |count: u32| {
        let mut document = Document::default();
        let structs: Vec<Wrote> = (0..count)
            .map(|clock| wrote(before(clock), None, structs::EMBED, bytes_of("1")))
            .collect();
        wrote_by(&mut document, 10, &structs);
        document
    };
    let read_of = |count: u32| {
        let document = many(count);
        let again =
            [GC, DELETED].map(|kind| update(&[(10, 0, &[wrote(None, None, kind, number(u64::from(count)))])], &[]));
        again.map(|again| bytes_in(|| assert!(matches!(document.judge(again), Verdict::Known))))
    };
    let (some, more) = (read_of(10_000), read_of(160_000));
    assert_eq!((some[0], more[0]), (0, 0));
    assert!(some[1] > 0 && more[1] <= some[1] * 2, "{some:?} {more:?}");
    // What is said of the rest is compared.
    let document = many(50_000);
    let twin = [
        wrote(None, None, DELETED, number(40_000)),
        wrote(before(40_000), None, structs::EMBED, bytes_of("2")),
    ];
    assert!(matches!(document.judge(update(&[(10, 0, &twin)], &[])), Verdict::Conflict(id) if id.clock == 40_000));
}

#[test]
fn j5_blocks_are_moved_once_however_many_of_them_a_message_cuts() {
    let blocks_moved = |cut: u32| {
        let mut document = Document::default();
        for _ in 0..10 {
            let next = document.clocks().next(10);
            let origin = next.checked_sub(1).map(|clock| (10, clock));
            wrote_by(&mut document, 10, &[text(origin, None, &"a".repeat(100_000))]);
        }
        // Between all letters of so many blocks.
        let refers: Vec<Wrote> = (0..cut * 1_000)
            .map(|clock| text(Some((10, clock)), None, "x"))
            .collect();
        let refers = update(&[(11, 0, &refers)], &[]);
        let before = document.log(10).unwrap().blocks.len();
        log::read::MOVED.set(0);
        take(&mut document, &refers);
        let log = document.log(10).unwrap();
        assert!(log.blocks.len() >= before + cut as usize * 4);
        assert_eq!(
            log.steps_from(0).map(|(_, step)| step.found.len).sum::<u32>(),
            1_000_000
        );
        log::read::MOVED.get()
    };

    let (some, more) = (blocks_moved(2), blocks_moved(32));

    assert!(some > 0 && more <= 2 * some, "{some} {more}");
}

#[test]
fn g40_a_value_that_is_written_far_too_long_is_refused_and_any_other_is_the_same_as_a_client_writes_it() {
    let json = |kind: u8| {
        move |text: &str| {
            wrote(
                None,
                None,
                kind,
                [
                    if kind == structs::FORMAT { &b"\x01k"[..] } else { &[] },
                    &bytes_of(text),
                ]
                .concat(),
            )
        }
    };
    let listed = |text: &str| wrote(None, None, structs::JSON, [&[1][..], &bytes_of(text)].concat());
    let any = |value: &[u8]| wrote(None, None, structs::ANY, [&[1][..], value].concat());
    let twice = |bytes: usize| {
        [
            &[118, 2, 1, b'a', 119][..],
            &bytes_of(&"x".repeat(bytes)),
            &[1, b'a', 125, 1],
        ]
        .concat()
    };
    let nested = |bytes: usize| [&[117, 1][..], &twice(bytes)].concat();
    let dots = |bytes: usize| format!("1.{}", "0".repeat(bytes));
    let spaces = |bytes: usize| format!("{}1", " ".repeat(bytes));
    let keys = |bytes: usize| format!(r#"{{"a":"{}","\u0061":1}}"#, "x".repeat(bytes));
    let judged = |long: &Wrote, short: &Wrote| {
        let mut document = Document::default();
        match document.judge(update(&[(10, 0, std::slice::from_ref(long))], &[])) {
            Verdict::News(news) => document.take(news),
            Verdict::Refused(_) => return false,
            other => panic!("{other:?}"),
        };
        let again = document.judge(update(&[(10, 0, std::slice::from_ref(short))], &[]));
        assert!(
            matches!(again, Verdict::Known),
            "what is taken may be sent on: {again:?}"
        );
        true
    };

    for bytes in [10, 900, 1_000, 1_060, 1_100, 1_300, 4_000, 100_000] {
        let mut taken = Vec::new();
        for kind in [structs::EMBED, structs::FORMAT] {
            for long in [dots(bytes), spaces(bytes)] {
                taken.push(judged(&json(kind)(&long), &json(kind)("1")));
            }
            taken.push(judged(&json(kind)(&keys(bytes)), &json(kind)(r#"{"a":1}"#)));
        }
        taken.push(judged(&listed(&spaces(bytes)), &listed("1")));
        taken.push(judged(&any(&twice(bytes)), &any(&[118, 1, 1, b'a', 125, 1])));
        taken.push(judged(&any(&nested(bytes)), &any(&[117, 1, 118, 1, 1, b'a', 125, 1])));
        if bytes <= 1_000 {
            assert!(taken.iter().all(|taken| *taken), "{bytes}: {taken:?}");
        } else if bytes > 1_300 {
            assert!(!taken.iter().any(|taken| *taken), "{bytes}: {taken:?}");
        }
    }
    // A list of numbers is written shorter by Yjs.
    let long = |times: usize| {
        let entry = [&[1, b'a', 117, 100][..], &[123, 0, 0, 0, 0, 0, 0, 0, 0].repeat(100)].concat();
        any(&[&[118, times as u8][..], &entry.repeat(times)].concat())
    };
    let zeros = any(&[&[118, 1, 1, b'a', 117, 100][..], &[125, 0].repeat(100)].concat());
    assert!(judged(&long(8), &zeros) && !judged(&long(40), &zeros));
    assert!(judged(
        &any(&[&[117, 100][..], &[123, 0, 0, 0, 0, 0, 0, 0, 0].repeat(100)].concat()),
        &any(&[&[117, 100][..], &[125, 0].repeat(100)].concat())
    ));
    // What an earlier server took stays.
    let taken = update(&[(10, 0, &[json(structs::EMBED)(&spaces(100_000))])], &[]);
    assert!(Document::open([(1, taken.bytes())], Deleted::Kept).is_ok());

    let picture = format!(r#"{{"src":"data:image/png;base64,{}"}}"#, "QUJD".repeat(100_000));
    assert!(judged(&json(structs::EMBED)(&picture), &json(structs::EMBED)(&picture)));
}

#[test]
fn g29_a_document_that_an_earlier_server_let_be_poisoned_opens_without_the_poison() {
    // The value of a key of the root `m`, then a text that follows nothing of it.
    let poison: &[u8] = b"\x28\x01\x01m\x01k\x01\x76\x01\x09__proto__\x74\x02\x01\x02";
    let stored = Bytes::from([&[1, 2, 1, 0], poison, b"\x04\x01\x01t\x02ok\x00"].concat());
    assert!(CheckedUpdate::check(stored.clone()).is_err());

    let document = Document::open([(1, &stored)], Deleted::Kept).unwrap();

    assert_eq!(shape(&document, 1), [(0, DELETED), (1, structs::STRING)]);
    let state = document.since(&Clocks::default());
    assert!(CheckedUpdate::check(state.clone()).is_ok());
    assert_eq!(
        Document::open([(1, &state)], Deleted::Kept).unwrap().clocks().next(1),
        3
    );
}

/// What a walk through all of it finds.
fn walked(document: &Document) -> Totals {
    let mut found = Totals {
        clients: document.logs.len(),
        ..Totals::default()
    };
    for log in &document.logs {
        let deleted = log.deleted.as_deref().into_iter().flat_map(Ranges::iter);
        for (from, to) in deleted {
            found.deleted += u64::from(to - from);
            found.deleted_ranges += 1;
        }
        if log.next > 0 {
            found.structs += log.steps_from(0).count();
            found.bytes += log.blocks.iter().map(|block| block.bytes.len()).sum::<usize>();
        }
    }
    found.bytes += found.deleted_ranges * RANGE_BYTES;
    found
}

fn counts_what_is_there(document: &Document) {
    let counted = document.totals();
    let walked = Totals {
        memory_bytes: counted.memory_bytes,
        ..walked(document)
    };
    assert_eq!(counted, walked);
    counts_what_it_takes(document);
}

/// As it was added up with each edit, and as a look at each block finds it.
fn counts_what_it_takes(document: &Document) {
    let held: usize = document.logs.iter().map(Log::walked_bytes).sum();
    assert_eq!(document.size.held, held);
}

mod counting {
    use proptest::prelude::*;

    use super::*;

    /// What people do, one after the other: types at the end, in the middle, a value of a key, deletes.
    fn play(all: &[(u8, u64, u32, u32)], kept: bool, each: fn(&Document)) -> Document {
        let mut document = Document::new(if kept { Deleted::Kept } else { Deleted::Dropped });
        for &(what, client, at, len) in all {
            let (client, other) = (10 + client, 10 + u64::from(at) % 3);
            let [end, others] = [client, other].map(|client| document.clocks().next(client));
            let from = |end: u32| at / 3 % end.max(1);
            match what {
                0 => wrote_by(
                    &mut document,
                    client,
                    &[text(
                        end.checked_sub(1).map(|last| (client, last)),
                        None,
                        &"a".repeat(len as usize),
                    )],
                ),
                1 if others > 0 => wrote_by(
                    &mut document,
                    client,
                    &[text(Some((other, from(others))), None, "between")],
                ),
                2 => wrote_by(&mut document, 20, &[values(None, None, &[1, 2, 3]).under("key")]),
                _ if others > 0 => {
                    let start = from(others);
                    let range = update(&[], &[(other, start, (start + len).min(others))]);
                    if let Verdict::News(news) = document.judge(range) {
                        document.take(news);
                    }
                }
                _ => {}
            }
            each(&document);
        }
        document
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn i3_what_is_counted_is_what_a_walk_finds(
            all in prop::collection::vec((0u8..5, 0u64..3, any::<u32>(), 1u32..900), 1..80),
            kept in any::<bool>(),
        ) {
            let document = play(&all, kept, counts_what_is_there);
            counts_what_is_there(&reopened(&document));
        }

        #[test]
        fn l70_what_was_added_up_is_what_a_walk_finds(
            all in prop::collection::vec((0u8..5, 0u64..3, any::<u32>(), 1u32..900), 1..80),
            kept in any::<bool>(),
        ) {
            let document = play(&all, kept, counts_what_it_takes);
            counts_what_it_takes(&reopened(&document));
        }
    }
}
