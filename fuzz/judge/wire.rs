//! What is read beside updates: presence, state vectors, JSON, frames. The first byte says which.

use bytes::{Bytes, BytesMut};
use cowrite::protocol::{
    awareness,
    close::CloseReason,
    frame,
    frame_reader::{FrameReader, Received},
    json,
    lib0::{Reader, write_var_int, write_var_uint},
    update::Clocks,
};

/// As deep as JSON may nest in presence and content.
const DEPTH_MAX: usize = 64;

/// Any bytes, as what the first one says.
pub fn wire(input: &[u8]) {
    let Some((&what, rest)) = input.split_first() else {
        return;
    };
    match what % 5 {
        0 => presence(rest),
        1 => state_vector(rest),
        2 => text(rest),
        3 => frames(rest),
        _ => numbers(rest),
    }
}

/// What is read goes out as it was sent, but for what is left out (P22).
fn presence(input: &[u8]) {
    let payload = Bytes::copy_from_slice(input);
    let Ok(entries) = awareness::decode(&payload) else {
        return;
    };
    let written = awareness::encode(entries.iter());
    assert!(
        written == input || written.len() < input.len(),
        "something was left out"
    );
    assert_eq!(
        awareness::decode(&Bytes::from(written)).expect("what was written is read"),
        entries
    );
    for entry in &entries {
        let state = entry.state.as_deref().unwrap_or(b"null");
        text(state);
        assert!(json::check(std::str::from_utf8(state).expect("a text"), DEPTH_MAX).is_ok());
    }
}

/// What is read goes out in Yjs's order, and means the same.
fn state_vector(input: &[u8]) {
    let Ok(clocks) = Clocks::decode(input) else { return };
    let written = clocks.encode_state_vector();
    assert!(written.len() <= input.len());
    let again = Clocks::decode(&written).expect("what was written is read");
    assert_eq!(again, clocks);
    assert_eq!(again.encode_state_vector(), written);
    assert!(clocks.contains(&again) && clocks.restricted_to(&again) == clocks);
}

/// Our check and serde_json agree, but for what `JSON.parse` reads and serde_json does not; and that is repaired.
fn text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let theirs = serde_json::from_str::<serde_json::Value>(text);
    match json::check(text, DEPTH_MAX) {
        Ok(quirks) => {
            assert!(quirks.lone_surrogate || theirs.is_ok(), "{text:?}: {theirs:?}");
            let repaired = json::repair(text);
            assert_eq!(quirks.is_none(), repaired == text, "{text:?}");
            assert!(
                json::check(&repaired, DEPTH_MAX).is_ok_and(json::Quirks::is_none),
                "{text:?}"
            );
            let mended = serde_json::from_str::<serde_json::Value>(&repaired).expect("what was repaired is read");
            if let Ok(theirs) = theirs
                && !quirks.wide_integer
            {
                assert_eq!(theirs, mended, "{text:?}");
            }
        }
        // They count empty containers differently from us, not the depth of what they hold.
        Err("JSON nested too deeply") => {}
        Err(why) => assert!(theirs.is_err(), "{text:?}: {why}"),
    }
}

/// However the bytes arrive, the same is read.
fn frames(input: &[u8]) {
    let Some((&at, bytes)) = input.split_first() else {
        return;
    };
    let (first, second) = bytes.split_at(bytes.len().min(usize::from(at)));
    let whole = received([bytes]);
    assert_eq!(received([first, second]), whole);
    assert_eq!(received(bytes.chunks(1)), whole);
    assert!(frame::binary(&[first, second]).ends_with(bytes));
}

fn received<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Received>, Option<CloseReason>) {
    let mut reader = FrameReader::new(4_096);
    let mut all = Vec::new();
    for piece in pieces {
        let mut piece = BytesMut::from(piece);
        loop {
            match reader.next(&mut piece) {
                Ok(Some(received)) => all.push(received),
                Ok(None) => break,
                Err(reason) => return (all, Some(reason)),
            }
        }
    }
    (all, None)
}

/// Numbers are read only as they are written.
fn numbers(input: &[u8]) {
    let (mut signed, mut unsigned) = (Reader::new(input), Reader::new(input));
    while let Ok(number) = unsigned.var_uint() {
        let mut written = Vec::new();
        write_var_uint(&mut written, number);
        assert!(input[..unsigned.position()].ends_with(&written));
    }
    let mut from = 0;
    while let Ok(number) = signed.var_int() {
        let mut written = Vec::new();
        write_var_int(&mut written, number);
        let read = &input[from..signed.position()];
        // JavaScript has a zero with a sign.
        assert!(written == read || (number == 0 && read == [0x40]), "{read:02x?}");
        from = signed.position();
    }
}
