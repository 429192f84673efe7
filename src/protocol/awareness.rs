//! Awareness: who is here, and where their cursors are (y-protocols/awareness).
//!
//! The payload is `varUint n`, then n times `varUint client`, `varUint clock`, `varString JSON`, where the
//! text `null` says that the client is gone. What one client sends, all others `JSON.parse`: a text that is
//! not JSON would be an uncaught exception in each of them, so it is refused here. A state that is too large, or a clock
//! that is too high, is left out: presence is no reason to end a session that has edits to bring.

use crate::limits::{AWARENESS_CLOCK_MAX, AWARENESS_DEPTH_MAX, AWARENESS_ENTRIES_MAX, AWARENESS_STATE_BYTES_MAX};
use crate::protocol::json;
use crate::protocol::lib0::{Malformed, Reader, write_var_bytes, write_var_uint};
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::LazyLock;

/// What an entry has beside its state at most, in bytes.
const ENTRY_BYTES: usize = 24;
/// The length of [`nothing`].
pub const NOTHING_BYTES: usize = 8 * 1_024;

/// What one client says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The client's id in the document.
    pub client: u64,
    /// Grows with every statement; the highest one holds.
    pub clock: u32,
    /// JSON text; `None` (`null` on the wire) when the client is gone.
    pub state: Option<Bytes>,
}

/// Reads a payload; the states share its bytes. Fails on what no honest provider sends: the caller closes
/// the session. Entries keep their order; a client may appear more than once.
pub fn decode(payload: &Bytes) -> Result<SmallVec<[Entry; 1]>, Malformed> {
    let mut r = Reader::new(payload);
    // Client, clock, and a text that is at least its length.
    let count = r.count(3)?;
    if count > AWARENESS_ENTRIES_MAX {
        return Err(r.malformed("too many awareness states"));
    }
    let mut entries = SmallVec::with_capacity(count);
    for _ in 0..count {
        let client = r.var_uint()?;
        let clock = r.var_uint()?;
        let text = r.var_string()?;
        let Some(clock) = u32::try_from(clock).ok().filter(|clock| *clock <= AWARENESS_CLOCK_MAX) else {
            continue;
        };
        if text.len() > AWARENESS_STATE_BYTES_MAX {
            continue;
        }
        match json::check(text, AWARENESS_DEPTH_MAX) {
            Ok(_) => {}
            Err(json::TOO_DEEP) => continue,
            Err(what) => return Err(r.malformed(what)),
        }
        let is_gone = text.trim_matches([' ', '\t', '\n', '\r']) == "null";
        let state = (!is_gone).then(|| payload.slice_ref(text.as_bytes()));
        entries.push(Entry { client, clock, state });
    }
    r.finish()?;
    Ok(entries)
}

/// A payload of [`NOTHING_BYTES`] that changes nothing: a client that nobody has is gone, as it was before.
#[must_use]
pub fn nothing() -> &'static [u8] {
    static NOTHING: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut nothing = vec![1, 0, 0];
        let mut text = b"null".to_vec();
        // What is between may compress it, but not to nothing.
        let mut random = 0x2545_F491_u32;
        text.resize_with(NOTHING_BYTES - nothing.len() - 2, || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b" \t\n\r"[random as usize >> 30]
        });
        write_var_bytes(&mut nothing, &text);
        nothing
    });
    &NOTHING
}

/// Writes payloads of about `bytes_max` at most: one that has more entries than one has more.
#[must_use]
pub fn encode_apart(entries: &[&Entry], bytes_max: usize) -> SmallVec<[Bytes; 1]> {
    let mut payloads = SmallVec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fit = rest.iter().take_while(|entry| {
            bytes += ENTRY_BYTES + entry.state.as_ref().map_or(0, Bytes::len);
            bytes <= bytes_max
        });
        let (some, others) = rest.split_at(fit.count().max(1));
        payloads.push(encode(some.iter().copied()).into());
        rest = others;
    }
    payloads
}

/// Writes a payload.
pub fn encode<'a>(entries: impl ExactSizeIterator<Item = &'a Entry>) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + entries.len() * 64);
    write_var_uint(&mut out, entries.len() as u64);
    for entry in entries {
        write_var_uint(&mut out, entry.client);
        write_var_uint(&mut out, u64::from(entry.clock));
        write_var_bytes(&mut out, entry.state.as_deref().unwrap_or(b"null"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(entries: &[(u64, u64, &str)]) -> Bytes {
        let mut out = Vec::new();
        write_var_uint(&mut out, entries.len() as u64);
        for (client, clock, json) in entries {
            write_var_uint(&mut out, *client);
            write_var_uint(&mut out, *clock);
            write_var_bytes(&mut out, json.as_bytes());
        }
        out.into()
    }

    #[test]
    fn g30_states_come_back_as_they_were_sent() {
        let sent = payload(&[
            (1, 0, "{}"),
            (u64::from(u32::MAX), 7, "null"),
            (5, u64::from(AWARENESS_CLOCK_MAX), r#"{"user":"\ud83d"}"#),
        ]);

        let entries = decode(&sent).unwrap();

        let state = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let expected = [
            Entry {
                client: 1,
                clock: 0,
                state: state("{}"),
            },
            Entry {
                client: u64::from(u32::MAX),
                clock: 7,
                state: None,
            },
            Entry {
                client: 5,
                clock: AWARENESS_CLOCK_MAX,
                state: state(r#"{"user":"\ud83d"}"#),
            },
        ];
        assert_eq!(entries.as_slice(), expected);
        assert_eq!(encode(entries.iter()), sent);
        assert!(decode(&Bytes::from_static(&[0])).unwrap().is_empty());
    }

    #[test]
    fn f12_many_states_are_written_apart() {
        let entry = |client: u64, bytes: usize| Entry {
            client,
            clock: 7,
            state: Some(format!("\"{}\"", "x".repeat(bytes)).into()),
        };
        let mut entries: Vec<Entry> = (1..=400).map(|client| entry(client, 250)).collect();
        entries.insert(200, entry(1_000, 60_000));
        entries.push(Entry {
            client: 2_000,
            clock: 9,
            state: None,
        });
        let all: Vec<&Entry> = entries.iter().collect();

        let payloads = encode_apart(&all, 49_152);

        assert!((4..=6).contains(&payloads.len()), "{}", payloads.len());
        let large = payloads.iter().filter(|payload| payload.len() > 49_152 + 16).count();
        assert_eq!(large, 1, "the one that has so much itself");
        let read: Vec<Entry> = payloads.iter().flat_map(|payload| decode(payload).unwrap()).collect();
        assert_eq!(read, entries);
        assert!(encode_apart(&[], 49_152).is_empty());
        assert_eq!(
            encode_apart(&all[..3], 49_152).to_vec(),
            [encode(all[..3].iter().copied())]
        );
    }

    #[test]
    fn f14_what_says_nothing_is_valid_and_changes_nothing() {
        let nothing = Bytes::from_static(nothing());
        assert_eq!(nothing.len(), NOTHING_BYTES);
        let gone = Entry {
            client: 0,
            clock: 0,
            state: None,
        };
        assert_eq!(decode(&nothing).unwrap().as_slice(), [gone]);
    }

    #[test]
    fn g31_what_would_throw_in_every_other_client_is_refused() {
        for json in ["", "{", "undefined", "{\"a\":1}x", "'a'"] {
            assert!(decode(&payload(&[(1, 1, json)])).is_err(), "{json}");
        }
        assert!(decode(&payload(&[(1 << 53, 1, "{}")])).is_err());
    }

    #[test]
    fn g31_who_is_gone_is_gone_however_it_is_written() {
        let entries = decode(&payload(&[(1, 1, " null"), (2, 1, "\n\tnull\r "), (3, 1, "[null]")])).unwrap();

        let gone: Vec<bool> = entries.iter().map(|entry| entry.state.is_none()).collect();
        assert_eq!(gone, [true, true, false]);
    }

    #[test]
    fn p22_a_state_that_nests_too_deeply_is_left_out() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));

        let entries = decode(&payload(&[
            (1, 1, &nested(AWARENESS_DEPTH_MAX)),
            (2, 1, &nested(AWARENESS_DEPTH_MAX + 1)),
            (3, 1, "{}"),
        ]));

        let clients: Vec<u64> = entries.unwrap().iter().map(|entry| entry.client).collect();
        assert_eq!(clients, [1, 3]);
    }

    #[test]
    fn g31_a_lying_count_is_refused() {
        for bytes in [
            &[0xff, 0xff, 0xff, 0x7a][..],
            &[1],
            &[1, 1, 1],
            &[1, 1, 1, 9, b'1'],
            &[0, 0],
            &[],
        ] {
            assert!(decode(&Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn g32_p22_states_are_accepted_up_to_the_bounds_and_left_out_beyond() {
        let text = |len: usize| format!("\"{}\"", "a".repeat(len - 2));
        let taken = |clock, text: &str| decode(&payload(&[(1, clock, text), (2, 1, "{}")])).unwrap().len() == 2;
        assert!(taken(1, &text(AWARENESS_STATE_BYTES_MAX)));
        assert!(!taken(1, &text(AWARENESS_STATE_BYTES_MAX + 1)));
        assert!(taken(u64::from(AWARENESS_CLOCK_MAX), "{}"));
        for clock in [
            u64::from(AWARENESS_CLOCK_MAX) + 1,
            u64::from(u32::MAX),
            1 << 32,
            (1 << 53) - 1,
        ] {
            assert!(!taken(clock, "{}"), "{clock}");
        }

        let many = |n: usize| payload(&[(1, 1, "1")].repeat(n));
        assert!(decode(&many(AWARENESS_ENTRIES_MAX)).is_ok());
        assert!(decode(&many(AWARENESS_ENTRIES_MAX + 1)).is_err());
    }
}
