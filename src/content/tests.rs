//! What is shown, what yrs is asked, and what it is not. Its opinions on real documents: `tests/gate/reading.rs`.

use super::*;
use crate::{
    document::read::tests::{At, any, item, state, string, text},
    protocol::lib0::write_var_uint,
};

fn not_by_yrs(state: &CheckedUpdate) -> String {
    match second_opinion(state.bytes()) {
        Err(NotShown::NotByYrs(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// The structs that yrs gets instead of those of `state`.
fn structs_for_yrs(state: &CheckedUpdate) -> u64 {
    let entered = door::enter(&read(state, 1_000_000).unwrap()).unwrap();
    CheckedUpdate::check(entered.bytes).unwrap().struct_count()
}

fn letters(count: u64) -> Vec<Vec<u8>> {
    let next = (1..count).map(|clock| text(At::After((1, clock - 1)), "x"));
    [text(At::Root, "x")].into_iter().chain(next).collect()
}

#[test]
fn v5_neighbours_are_joined_for_yrs_and_nothing_else_is() {
    let between = [(2, &[text(At::Between((1, 4), (1, 5)), "y")][..]), (1, &letters(10))];
    // Another right origin; a deletion; a value between two texts; values of a key.
    let beside = [
        (10, &[text(At::Root, "a"), text(At::Between((10, 0), (5, 0)), "b")][..]),
        (5, &[text(At::After((10, 0)), "c")]),
    ];
    let one: &[u8] = &[125, 1];
    let values = [
        any(At::Key("k"), &[one]),
        any(At::After((1, 0)), &[one]),
        any(At::After((1, 1)), &[one]),
    ];
    let mixed = [
        text(At::Root, "a"),
        any(At::After((1, 0)), &[one]),
        text(At::After((1, 1)), "b"),
    ];

    assert_eq!(structs_for_yrs(&state(&[(1, &letters(1_000))], &[])), 1);
    assert_eq!(structs_for_yrs(&state(&between, &[])), 3);
    assert_eq!(structs_for_yrs(&state(&beside, &[])), 3);
    assert_eq!(structs_for_yrs(&state(&[(1, &letters(10))], &[(1, 4, 2)])), 3);
    assert_eq!(structs_for_yrs(&state(&[(1, &values)], &[])), 3);
    assert_eq!(structs_for_yrs(&state(&[(1, &values)], &[(1, 0, 2)])), 2);
    assert_eq!(structs_for_yrs(&state(&[(1, &mixed)], &[])), 3);
}

#[test]
fn v5_a_right_origin_before_the_origin_leaves_structs_as_they_were_cut() {
    let w = [text(At::After((10, 0)), "w")];
    let x = || text(At::Between((10, 2), (10, 1)), "X");
    let apart = [
        text(At::Root, "a"),
        text(At::After((10, 0)), "b"),
        text(At::After((10, 1)), "c"),
        x(),
    ];
    let joined = [text(At::Root, "abc"), x()];

    for (structs, count, shown) in [(&apart[..], 4, "awbcX\n"), (&joined[..], 3, "awXbc\n")] {
        let state = state(&[(10, structs), (5, &w)], &[]);
        let again = door::enter(&read(&state, 1_000_000).unwrap()).unwrap();

        assert!(again.is_crossed);
        assert_eq!(structs_for_yrs(&state), count);
        assert_eq!(show(state.bytes(), Form::Text).unwrap(), shown);
        assert_eq!(show(&again.bytes, Form::Text).unwrap(), shown);
    }
}

#[test]
fn v5_thirty_thousand_neighbouring_values_cost_yrs_nothing() {
    let one: &[u8] = &[125, 1];
    let next = (1..30_000).map(|clock| any(At::After((1, clock - 1)), &[one]));
    let structs: Vec<Vec<u8>> = [any(At::Root, &[one])].into_iter().chain(next).collect();
    let state = state(&[(1, &structs)], &[]);

    // Handed to yrs as they are: 10 s and 10 GB.
    assert_eq!(structs_for_yrs(&state), 1);
    assert_eq!(second_opinion(state.bytes()), Ok(Opinion::Same));
}

#[test]
fn v5_what_yrs_would_have_to_cut_too_often_is_not_for_it() {
    // Thousands of items that were written inside of one long text and came to stand behind it.
    let items = |count: u64| {
        let long = [text(At::Root, &"x".repeat(40_000))];
        let clients: Vec<_> = (1..=count)
            .rev()
            .map(|client| (client, vec![text(At::Between((9_000, client), (9_000, 39_999)), "y")]))
            .collect();
        let all: Vec<(u64, &[Vec<u8>])> = [(9_000, &long[..])]
            .into_iter()
            .chain(clients.iter().map(|(client, structs)| (*client, &structs[..])))
            .collect();
        state(&all, &[])
    };

    assert_eq!(second_opinion(items(20).bytes()), Ok(Opinion::Same));
    assert_eq!(not_by_yrs(&items(4_000)), "it would take yrs too much memory");
}

#[test]
fn v5_what_only_javascript_reads_is_rewritten_for_yrs_and_shown_as_it_is() {
    let json = |texts: &[&str]| {
        let mut content = Vec::new();
        write_var_uint(&mut content, texts.len() as u64);
        texts.iter().for_each(|text| content.extend(string(text)));
        item(At::Root, 2, &content)
    };
    let old = [json(&["1", "undefined", r#"{"a":[null,1e19]}"#])];
    let embed = [item(
        At::Root,
        5,
        &string(r#"{"half":"\ud83d","wide":10000000000000000000,"no":-0}"#),
    )];

    for structs in [&old, &embed] {
        assert_eq!(second_opinion(state(&[(1, structs)], &[]).bytes()), Ok(Opinion::Same));
    }
    assert_eq!(
        show(state(&[(1, &old)], &[]).bytes(), Form::Json).unwrap(),
        concat!(
            r#"{"r":{"list":[{"value":1},{"value":{"$undefined":true}},"#,
            r#"{"value":{"a":[null,10000000000000000000]}}]}}"#,
            "\n"
        )
    );
}

#[test]
fn v5_what_yrs_is_not_safe_with_is_shown_all_the_same() {
    let element = item(At::Root, 7, &[&[3][..], &string("p")].concat());
    let fourteen = state(&[(1, &[element, text(At::In((1, 0)), "text")])], &[]);
    let mixed = state(
        &[(1, &[text(At::Root, "a😀"), any(At::After((1, 2)), &[&[125, 1]])])],
        &[],
    );

    assert_eq!(not_by_yrs(&fourteen), "yrs is not safe with text where no text can be");
    assert_eq!(not_by_yrs(&mixed), "yrs does not show values that stand in a text");
    assert_eq!(
        show(fourteen.bytes(), Form::Json).unwrap(),
        concat!(
            r#"{"r":{"list":[{"type":"element","name":"p","list":[{"text":"text"}]}]}}"#,
            "\n"
        )
    );
    assert_eq!(show(fourteen.bytes(), Form::Text).unwrap(), "text\n");
}

#[test]
fn v5_the_deepest_document_does_not_overflow_the_stack_of_yrs() {
    let nested = |depth: u64| {
        let next = (1..depth).map(|clock| item(At::In((1, clock - 1)), 7, &[0]));
        let structs: Vec<Vec<u8>> = [item(At::Root, 7, &[0])].into_iter().chain(next).collect();
        state(&[(1, &structs)], &[])
    };

    assert_eq!(second_opinion(nested(1_024).bytes()), Ok(Opinion::Same));
    assert_eq!(
        not_by_yrs(&nested(1_026)),
        "yrs is not safe with shared types nested too deeply"
    );
}

#[test]
fn v6_format_marks_that_yrs_does_not_show_are_no_difference() {
    let bold = |at| item(at, 6, &[string("bold"), string("true")].concat());
    let document = |at| item(at, 9, &[&string("guid")[..], &[118, 0]].concat());
    let list = |at| item(at, 7, &[0]);
    let sub_document = [bold(At::Root), document(At::After((1, 0)))];
    let beside_values = [
        bold(At::Root),
        list(At::After((1, 0))),
        item(At::After((1, 1)), 6, &[string("bold"), string("null")].concat()),
        any(At::After((1, 2)), &[&[125, 1]]),
    ];

    assert_eq!(
        not_by_yrs(&state(&[(1, &sub_document)], &[])),
        "yrs does not show format marks on sub-documents"
    );
    assert_eq!(
        not_by_yrs(&state(&[(1, &beside_values)], &[])),
        "yrs does not show format marks on what stands among values"
    );
}

#[test]
fn v6_a_difference_is_told_with_its_place() {
    let said = difference(
        r#"{"r":{"list":[{"text":"one"}]}}"#,
        r#"{"r":{"list":[{"text":"öne"}]}}"#,
    );

    let said = said
        .strip_prefix("its content is not what yrs finds in it: at byte 23 of the JSON, ")
        .unwrap();
    assert!(said.contains("one") && said.contains("öne"), "{said}");
}

#[test]
fn v4_what_is_no_whole_state_has_no_content() {
    let gap = state(&[(1, &[text(At::After((2, 0)), "a")])], &[]);

    let said = show(gap.bytes(), Form::Json).unwrap_err().to_string();
    assert_eq!(said, "its content cannot be shown: clock 0 of client 2 is missing");
    assert!(strict::judge(&gap).is_err());
}
