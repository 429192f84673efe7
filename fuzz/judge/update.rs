//! Any bytes, as one update into a small document.

use bytes::Bytes;
use cowrite::{
    document::{Deleted, Document},
    protocol::update::CheckedUpdate,
};

use super::{
    document::{self, Outcome, assert_shows, content, submit, verify},
    rights::has_right_origins,
};

/// A document with a bit of everything, written by the clients 1, 2 and 3, so that references find something.
#[rustfmt::skip]
const BASE: &[u8] = &[
    3,
    // Client 3: two clocks that were collected.
    1, 3, 0,
        0, 2,
    // Client 2: text behind the first one's; a value that was overwritten; an embed; a sub-document; a list.
    7, 2, 0,
        0x84, 1, 13, 2, b'!', b'?',
        0x28, 1, 3, b'm', b'a', b'p', 1, b'k', 1, 125, 5,
        0xa8, 2, 2, 1, 125, 6,
        0x85, 2, 1, 7, b'{', b'"', b'i', b'"', b':', b'1', b'}',
        0x09, 1, 5, b'a', b'r', b'r', b'a', b'y', 1, b'g', 118, 0,
        0x87, 2, 5, 0,
        0x08, 0, 2, 6, 2, 125, 7, 120,
    // Client 1: text; a list in a map, with values; a format; an XML element with text.
    7, 1, 0,
        0x04, 1, 4, b't', b'e', b'x', b't', 16,
            b'h', b'e', b'l', b'l', b'o', b' ', 0xf0, 0x9f, 0x98, 0x80, b' ', b'w', b'o', b'r', b'l', b'd',
        0x27, 1, 3, b'm', b'a', b'p', 6, b'n', b'e', b's', b't', b'e', b'd', 0,
        0x08, 0, 1, 14, 3, 125, 1, 126, 119, 1, b'x',
        0xc6, 1, 4, 1, 5, 4, b'b', b'o', b'l', b'd', 4, b't', b'r', b'u', b'e',
        0x07, 1, 3, b'x', b'm', b'l', 3, 3, b'd', b'i', b'v',
        0x07, 0, 1, 19, 6,
        0x04, 0, 1, 20, 2, b'i', b'n',
    0,
];

/// Text, the overwritten value and the list are deleted.
const BASE_DELETED: &[u8] = &[0, 2, 2, 2, 2, 1, 6, 1, 1, 1, 1, 2];

/// The records of the small document.
pub fn base() -> [(u64, Bytes); 2] {
    [(1, Bytes::from_static(BASE)), (2, Bytes::from_static(BASE_DELETED))]
}

/// Any bytes, as one update: it is refused, or taken and does no harm.
pub fn update(input: &[u8]) {
    let Ok(checked) = CheckedUpdate::check(Bytes::copy_from_slice(input)) else {
        return;
    };
    let again = CheckedUpdate::check(checked.bytes().clone()).expect("what was checked passes the check");
    assert_eq!(again.bytes(), checked.bytes(), "what was repaired needs no repair");
    let same = !has_right_origins(&checked);
    let both = [Deleted::Dropped, Deleted::Kept].map(|deleted| {
        let records = base();
        let records = records.iter().map(|(seq, bytes)| (*seq, bytes));
        let mut document = Document::open(records, deleted).expect("the small document opens");
        let beginning = document::state(&document);
        let news = match submit(&mut document, &checked) {
            Outcome::Taken { update, .. } => vec![update],
            _ => Vec::new(),
        };
        verify(&document, &beginning, &news, same);
        (document, news)
    });
    let [(dropped, news), (kept, other_news)] = both;
    // What only one of them refused or cut off makes them differ.
    if same && dropped.clocks() == kept.clocks() && news.is_empty() == other_news.is_empty() {
        assert_shows(
            &kept,
            content(&document::state(&dropped)).as_ref(),
            "with what is deleted kept",
        );
    }
}
