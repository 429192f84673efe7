//! What three honest editors write, who are not always connected: what yrs makes of what an input chooses.
//!
//! Everything that they send is taken whole, and everybody ends with the same.

use bytes::Bytes;
use cowrite::{
    document::{Deleted, Document},
    protocol::update::CheckedUpdate,
};
use yrs::{
    Any, Array, ArrayPrelim, ArrayRef, Doc, GetString, Map, MapRef, OffsetKind, Options, Out, ReadTxn, StateVector,
    Text, TextPrelim, TextRef, Transact, TransactionMut, Update,
    types::Attrs,
    updates::{decoder::Decode, encoder::Encode},
};

use super::{
    document::{Outcome, assert_shows, content, state, submit, verify},
    forge::{Choices, Dice},
};

const EDITORS: u64 = 3;
const DEEDS_MAX: usize = 150;

/// A history of honest editors that the input's bytes choose.
pub fn honest(input: &[u8]) {
    let mut choices = Choices(input);
    let deleted = choices.of(&[Deleted::Dropped, Deleted::Kept]);
    let collects = choices.byte();
    let editors: Vec<Doc> = (0..EDITORS)
        .map(|index| editor(index, collects >> index & 1 == 0))
        .collect();
    let mut document = Document::new(deleted);
    let mut news = Vec::new();
    for _ in 0..DEEDS_MAX {
        if choices.is_empty() {
            break;
        }
        let editor = &editors[choices.below(EDITORS) as usize];
        match choices.below(4) {
            0 => sends(editor, &mut document, &mut news),
            1 => hears(editor, &document),
            _ => edits(editor, &mut choices),
        }
    }
    for editor in editors.iter().chain(&editors) {
        sends(editor, &mut document, &mut news);
        hears(editor, &document);
    }
    let shown = content(&state(&document));
    for editor in &editors[..2] {
        hears(editor, &document);
        let theirs = editor.transact().encode_state_as_update_v1(&StateVector::default());
        assert_eq!(content(&theirs.into()), shown, "an editor and the document");
    }
    let nothing = Bytes::from_static(&[0, 0]);
    verify(&document, &nothing, &news, true);
    for deleted in [Deleted::Dropped, Deleted::Kept] {
        let reopened = Document::open(news.iter().map(|update| (1, update.bytes())), deleted);
        assert_shows(&reopened.expect("a log opens"), shown.as_ref(), "a log");
    }
}

fn editor(index: u64, collects: bool) -> Doc {
    Doc::with_options(Options {
        offset_kind: OffsetKind::Utf16,
        skip_gc: !collects,
        ..Options::with_guid_and_client_id("fuzzed".into(), yrs::ClientID::new(index + 1))
    })
}

/// What the document lacks is taken whole.
fn sends(editor: &Doc, document: &mut Document, news: &mut Vec<CheckedUpdate>) {
    let had = StateVector::decode_v1(&document.clocks().encode_state_vector()).expect("a state vector");
    let update = Bytes::from(editor.transact().encode_state_as_update_v1(&had));
    let checked = CheckedUpdate::check(update).expect("what an honest editor sends passes the check");
    match submit(document, &checked) {
        Outcome::Known => {}
        Outcome::Taken { update, partial: false } => news.push(update),
        other => panic!("what an honest editor sends is taken whole: {other:?}"),
    }
}

fn hears(editor: &Doc, document: &Document) {
    let had = editor.transact().state_vector().encode_v1();
    let had = cowrite::protocol::update::Clocks::decode(&had).expect("a state vector");
    let update = Update::decode_v1(&document.since(&had)).expect("what a peer lacks is read by yrs");
    editor
        .transact_mut()
        .apply_update(update)
        .expect("what a peer lacks is taken by yrs");
}

fn edits(editor: &Doc, choices: &mut Choices) {
    let (text, array, map) = (
        editor.get_or_insert_text("text"),
        editor.get_or_insert_array("array"),
        editor.get_or_insert_map("map"),
    );
    let mut txn = editor.transact_mut();
    for _ in 0..=choices.below(3) {
        match choices.below(8) {
            0..3 => edits_text(&text, &mut txn, choices),
            3..5 => edits_array(&array, &mut txn, choices),
            5..7 => edits_map(&map, &mut txn, choices),
            _ => match map.get(&txn, choices.of(&KEYS)) {
                Some(Out::YArray(nested)) => edits_array(&nested, &mut txn, choices),
                Some(Out::YText(nested)) => edits_text(&nested, &mut txn, choices),
                _ => {}
            },
        }
    }
}

const KEYS: [&str; 3] = ["k", "title", ""];

fn edits_text(text: &TextRef, txn: &mut TransactionMut, choices: &mut Choices) {
    let length = text.get_string(txn).encode_utf16().count() as u64;
    // Embeds count, too; what is shown of a text is at most its length.
    let length = length.min(u64::from(text.len(txn)));
    let at = choices.below(length + 1) as u32;
    let some = choices.below(length - u64::from(at) + 1) as u32;
    let bold = choices.of(&[Any::Null, Any::Bool(true), Any::from("red")]);
    let marks = Attrs::from([(choices.of(&["bold", "color"]).into(), bold)]);
    match choices.below(6) {
        0 => text.remove_range(txn, at, some),
        1 if some > 0 => text.format(txn, at, some, marks),
        2 => text.insert_with_attributes(txn, at, choices.of(&["x", "äö"]), marks),
        _ => text.insert(txn, at, choices.of(&["a", "bc", "ä€", "hello"])),
    }
}

fn edits_array(array: &ArrayRef, txn: &mut TransactionMut, choices: &mut Choices) {
    let length = u64::from(array.len(txn));
    let at = choices.below(length + 1) as u32;
    let some = choices.below(length - u64::from(at) + 1) as u32;
    match choices.below(6) {
        0 | 1 => array.remove_range(txn, at, some),
        2 => drop(array.insert(txn, at, ArrayPrelim::from([1, 2, 3]))),
        3 => drop(array.insert(txn, at, TextPrelim::new("in"))),
        _ => array.insert_range(txn, at, [Any::Null, Any::Bool(true), Any::from("s")]),
    }
}

fn edits_map(map: &MapRef, txn: &mut TransactionMut, choices: &mut Choices) {
    let key = choices.of(&KEYS);
    match choices.below(5) {
        0 => drop(map.remove(txn, key)),
        1 => drop(map.insert(txn, key, ArrayPrelim::from([1, 2, 3]))),
        2 => drop(map.insert(txn, key, TextPrelim::new("in"))),
        _ => drop(map.insert(txn, key, choices.of(&[Any::Null, Any::from("s"), Any::from(0.5)]))),
    }
}
