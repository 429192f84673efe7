//! What must be true of a document, whatever it took.
//!
//! The differential: a document can be got in many ways (live, opened anew, from differences, merged, in pieces, in
//! another order). All of them are possible, know the same, and can be read; and where authors were honest enough that
//! Yjs clients agree, they show the same by our reader, and yrs finds the same.

use bytes::Bytes;
use cowrite::{
    content::{Opinion, second_opinion},
    document::{Deleted, Document, Verdict, read::ReadError, read::Reading, read::read},
    protocol::{
        lib0::write_var_uint,
        update::{CheckedUpdate, Clocks, merge, split},
    },
};

/// What our reader may spend on a document. Inputs are small; what costs more is not shown, and that is an answer.
const STEPS_MAX: u64 = 2_000_000;

/// What became of an update.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It was known.
    Known,
    /// All of it lacks something.
    Nothing,
    /// It takes something for what it is not.
    Refused,
    /// A struct of it is known with another content.
    Conflict,
    /// This was new, and was taken.
    Taken {
        /// What was new.
        update: CheckedUpdate,
        /// Something else of it lacks something.
        partial: bool,
    },
}

/// Lets a document judge an update and take what is new.
pub fn submit(document: &mut Document, checked: &CheckedUpdate) -> Outcome {
    let news = match document.judge(checked.clone()) {
        Verdict::News(news) => news,
        Verdict::Known => return Outcome::Known,
        Verdict::Nothing => return Outcome::Nothing,
        Verdict::Refused(_) => return Outcome::Refused,
        Verdict::Conflict(_) => return Outcome::Conflict,
    };
    let (update, partial) = (news.update().clone(), news.is_partial());
    let again = CheckedUpdate::check(update.bytes().clone()).expect("what is news passes the check");
    assert_eq!(again.bytes(), update.bytes(), "what is news needs no repair");
    assert_eq!(again.struct_count(), update.struct_count());
    match document.judge(again.clone()) {
        Verdict::News(same) => assert!(!same.is_partial() && same.update().bytes() == update.bytes()),
        other => panic!("{other:?}"),
    }
    document.take(news);
    assert!(
        matches!(document.judge(again), Verdict::Known),
        "what was taken is known: {:02x?}",
        &update.bytes()[..]
    );
    Outcome::Taken { update, partial }
}

/// Takes what has to be taken whole.
pub fn receive(document: &mut Document, bytes: &Bytes, what: &str) {
    let checked = CheckedUpdate::check(bytes.clone()).unwrap_or_else(|malformed| panic!("{what}: {malformed}"));
    match submit(document, &checked) {
        Outcome::Known | Outcome::Taken { partial: false, .. } => {}
        other => panic!("{what}: {other:?}"),
    }
}

/// All of a document, as one update.
pub fn state(document: &Document) -> Bytes {
    document.since(&Clocks::default())
}

fn reading(state: &Bytes) -> Option<Reading> {
    let checked = CheckedUpdate::check(state.clone()).expect("a document's own state passes the check");
    match read(&checked, STEPS_MAX) {
        Ok(reading) => Some(reading),
        Err(ReadError::TooMuch) => None,
        Err(error) => panic!("a document's own state is not read: {error}"),
    }
}

/// What a state shows, if our reader gets through it.
pub fn content(state: &Bytes) -> Option<String> {
    reading(state)?.json(STEPS_MAX).ok()
}

/// Compares what another way gives, where our reader gets through both.
#[track_caller]
pub fn assert_shows(document: &Document, shown: Option<&String>, what: &str) {
    let other = content(&state(document));
    if let (Some(shown), Some(other)) = (shown, &other) {
        assert_eq!(shown, other, "{what}");
    }
}

/// What is true of every document. `beginning` is what it held before it took `news`, in order; `same` is whether every
/// way shows the same.
pub fn verify(document: &Document, beginning: &Bytes, news: &[CheckedUpdate], same: bool) {
    let state = state(document);
    let checked = CheckedUpdate::check(state.clone()).expect("a document's own state passes the check");
    assert_eq!(checked.bytes(), &state, "a document's own state needs no repair");
    assert!(
        matches!(document.judge(checked), Verdict::Known),
        "its own state is known"
    );
    let shown = content(&state).filter(|_| same);
    opened(document, &state, shown.as_ref());
    told(&state, shown.as_ref());
    let begun = |deleted| Document::open([(1, beginning)], deleted).expect("what it began with opens");

    // Whoever has some of it is brought up to date.
    for early in [0, news.len() / 2, news.len().saturating_sub(1)] {
        for deleted in [Deleted::Dropped, Deleted::Kept] {
            let mut peer = begun(deleted);
            for update in &news[..early] {
                receive(&mut peer, update.bytes(), "what was news to it is news to a peer");
            }
            let lacking = document.since(peer.clocks());
            receive(&mut peer, &lacking, "what a peer lacks");
            assert_eq!(peer.clocks(), document.clocks());
            assert_shows(&peer, shown.as_ref(), "a peer who had some of it");
        }
    }
    // All that came, as one, and in pieces.
    let mut merged = begun(Deleted::Dropped);
    for update in merge(news) {
        receive(&mut merged, update.bytes(), "what was merged");
        for size in [20, 100] {
            let mut pieces = begun(Deleted::Dropped);
            if merge(news).len() == 1 {
                for piece in split(&update, size) {
                    receive(&mut pieces, &piece, "a piece");
                }
                assert_eq!(pieces.clocks(), document.clocks());
                assert_shows(&pieces, shown.as_ref(), "in pieces");
            }
        }
    }
    assert_eq!(merged.clocks(), document.clocks());
    assert_shows(&merged, shown.as_ref(), "merged");
    // In another order.
    let mut other = begun(Deleted::Dropped);
    if eventually(&mut other, news.iter().rev()) {
        assert_eq!(other.clocks(), document.clocks());
        assert_shows(&other, shown.as_ref(), "in another order");
    }
    if let Ok(Opinion::Different(how)) = second_opinion(&state)
        && same
    {
        panic!("{how}, of {:02x?}", &state[..]);
    }
}

/// Opened anew, it is the same; and what is put together anew stays as it is.
fn opened(document: &Document, bytes: &Bytes, shown: Option<&String>) {
    for deleted in [Deleted::Dropped, Deleted::Kept] {
        let once = Document::open([(1, bytes)], deleted).expect("the document's own state opens");
        assert_eq!(once.clocks(), document.clocks());
        assert_shows(&once, shown, "opened");
        let again = state(&once);
        let twice = Document::open([(1, &again)], deleted).expect("what is put together anew opens");
        assert_eq!(twice.clocks(), document.clocks());
        assert_shows(&twice, shown, "opened twice");
        let thrice = Document::open([(1, &state(&twice))], deleted).expect("what is put together anew opens");
        assert_eq!(state(&thrice), state(&twice), "opening again changes nothing");
    }
}

/// What every client deletes and tells nobody changes nothing that is shown.
fn told(state: &Bytes, shown: Option<&String>) {
    let Some(reading) = reading(state) else { return };
    let mut bytes = vec![0];
    let groups: Vec<_> = reading.untold.chunk_by(|a, b| a.client == b.client).collect();
    write_var_uint(&mut bytes, groups.len() as u64);
    for group in groups {
        write_var_uint(&mut bytes, group[0].client);
        write_var_uint(&mut bytes, group.len() as u64);
        for deletion in group {
            write_var_uint(&mut bytes, u64::from(deletion.start));
            write_var_uint(&mut bytes, u64::from(deletion.end - deletion.start));
        }
    }
    let mut document = Document::open([(1, state)], Deleted::Dropped).expect("the document's own state opens");
    receive(&mut document, &bytes.into(), "what nobody told");
    assert_shows(&document, shown, "with what nobody told");
}

/// Submits updates again and again while that brings something; says whether all was taken.
pub fn eventually<'a>(document: &mut Document, updates: impl Iterator<Item = &'a CheckedUpdate>) -> bool {
    let mut left: Vec<&CheckedUpdate> = updates.collect();
    loop {
        let mut progress = false;
        let mut refused = false;
        left.retain(|update| match submit(document, update) {
            Outcome::Known => false,
            Outcome::Taken { partial, .. } => {
                progress = true;
                partial
            }
            Outcome::Nothing => true,
            Outcome::Refused | Outcome::Conflict => {
                refused = true;
                false
            }
        });
        if refused {
            return false;
        }
        if left.is_empty() || !progress {
            return left.is_empty();
        }
    }
}
