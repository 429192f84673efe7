//! The reader beside real Yjs 13 and 14, which need node: once `npm ci --prefix tests/fixtures/yjs`, then
//! `cargo test --no-default-features --test gate yjs -- --ignored`. `COWRITE_HISTORIES=2000` reads more random ones,
//! `COWRITE_SEED=31` begins elsewhere.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use bytes::Bytes;
use cowrite::{
    content::{Opinion, second_opinion},
    document::read::{ReadError, Reading, read},
    protocol::{
        lib0::{Reader, write_var_bytes, write_var_uint},
        update::{CheckedUpdate, Deletion},
    },
};

use crate::{
    fixtures::{cases, directory},
    room::Room,
};

const STEPS: u64 = 10_000_000;

/// A state that real Yjs wrote, and what it shows of it.
struct State {
    name: String,
    bytes: Bytes,
    shown: String,
}

fn node(script: &str, arguments: &[&str]) {
    let status = Command::new("node")
        .arg(directory().join(script))
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn variable(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

fn states() -> Vec<State> {
    let (histories, seed) = (variable("COWRITE_HISTORIES", "100"), variable("COWRITE_SEED", "1"));
    let file = file(&format!("states-{seed}.bin"));
    node("histories.js", &[file.to_str().unwrap(), &histories, &seed]);
    let bytes = std::fs::read(file).unwrap();
    let mut r = Reader::new(&bytes);
    assert_eq!(r.var_string().unwrap(), "cowrite states 1");
    let states = (0..r.var_uint().unwrap())
        .map(|_| State {
            name: r.var_string().unwrap().to_owned(),
            bytes: Bytes::copy_from_slice(r.var_bytes().unwrap()),
            shown: r.var_string().unwrap().to_owned(),
        })
        .collect();
    r.finish().unwrap();
    states
}

fn read_state(state: &State) -> (CheckedUpdate, Reading) {
    let checked = CheckedUpdate::check(state.bytes.clone()).unwrap_or_else(|error| panic!("{}: {error}", state.name));
    let reading = read(&checked, STEPS).unwrap_or_else(|error| panic!("{}: {error}", state.name));
    (checked, reading)
}

/// What the check repairs (half surrogate pairs in embeds and formats) as it repairs it.
fn repaired(json: &str) -> String {
    let mut parts = json.split("\\ud");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.as_bytes() {
            [b'8'..=b'9' | b'a'..=b'f', ..] if !out.ends_with('\\') => {
                out.push('\u{fffd}');
                out.push_str(&part[3..]);
            }
            _ => {
                out.push_str("\\ud");
                out.push_str(part);
            }
        }
    }
    out
}

/// Where two texts differ first, with what is around.
fn difference(ours: &str, theirs: &str) -> String {
    let at = ours.bytes().zip(theirs.bytes()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| {
        String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(80)..(at + 80).min(text.len())]).into_owned()
    };
    format!("at byte {at}\n  ours   {}\n  theirs {}", around(ours), around(theirs))
}

#[test]
#[ignore = "needs node: scripts/test providers"]
fn v1_v2_v3_yjs_and_the_reader_show_the_same_and_delete_the_same() {
    let states = states();
    assert!(states.len() > 500);
    let mut out = Vec::new();
    write_var_bytes(&mut out, b"cowrite deletions 1");
    write_var_uint(&mut out, states.len() as u64);
    let (mut wrong, mut untold) = (0, 0);
    for state in &states {
        let (checked, reading) = read_state(state);
        let ours = reading.json(STEPS).unwrap();
        let theirs = if checked.bytes() == &state.bytes {
            state.shown.clone()
        } else {
            repaired(&state.shown)
        };
        if ours != theirs {
            eprintln!("{}: {}", state.name, difference(&ours, &theirs));
            wrong += 1;
        }
        untold += reading.untold.len();
        let mut deletions: Vec<Deletion> = checked.deletions().to_vec();
        deletions.extend_from_slice(&reading.untold);
        write_var_bytes(&mut out, state.name.as_bytes());
        write_var_bytes(&mut out, &state.bytes);
        write_var_uint(&mut out, deletions.len() as u64);
        for deletion in deletions {
            write_var_uint(&mut out, deletion.client);
            write_var_uint(&mut out, u64::from(deletion.start));
            write_var_uint(&mut out, u64::from(deletion.end));
        }
    }
    assert_eq!(wrong, 0, "of {}", states.len());
    assert!(untold > 100, "{untold}");
    let file = file(&format!("deletions-{}.bin", variable("COWRITE_SEED", "1")));
    std::fs::write(&file, out).unwrap();
    node("untold.js", &[file.to_str().unwrap()]);
}

#[test]
#[ignore = "needs node: scripts/test providers"]
fn v6_yrs_finds_what_the_reader_finds_in_what_yjs_wrote() {
    let states = states();
    let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
    let mut different = 0;
    for state in &states {
        let reason = match second_opinion(&state.bytes) {
            Ok(Opinion::Same) => "same".to_owned(),
            Ok(Opinion::Different(how)) => {
                eprintln!("{}: {how}", state.name);
                different += 1;
                continue;
            }
            Err(not_shown) => not_shown.to_string(),
        };
        *reasons.entry(format!("{} {reason}", &state.name[..2])).or_default() += 1;
    }

    eprintln!("{reasons:#?}");
    assert_eq!(different, 0, "of {}", states.len());
    assert!(reasons["13 same"] > 500);
}

/// Bytes of `state` changed at random; `random` is the state of a generator.
fn changed(state: &[u8], random: &mut u64) -> Bytes {
    let mut next = |below: usize| {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        (*random % below as u64) as usize
    };
    let mut bytes = state.to_vec();
    for _ in 0..=next(3) {
        let at = next(bytes.len());
        match next(4) {
            0 => bytes[at] = next(256) as u8,
            1 => bytes[at] = bytes[at].wrapping_add(1),
            2 => bytes[at] = bytes[next(bytes.len())],
            _ => bytes[at] ^= 1 << next(8),
        }
    }
    bytes.into()
}

#[test]
fn v4_v5_whatever_passes_the_check_is_read_or_refused_and_shown_to_yrs_or_not() {
    let mut random = 0x9e37_79b9_7f4a_7c15;
    let (mut read_through, mut refused, mut compared, mut not_shown) = (0, 0, 0, 0);
    for case in cases()
        .iter()
        .filter(|case| case.updates.len() == 1 || case.name.starts_with("session"))
    {
        let mut room = Room::new();
        case.updates.iter().for_each(|update| drop(room.receive(update)));
        let state = room.state();
        for _ in 0..100 {
            let bytes = changed(&state, &mut random);
            let Ok(checked) = CheckedUpdate::check(bytes.clone()) else {
                continue;
            };
            let Ok(reading) = read(&checked, STEPS) else {
                refused += 1;
                continue;
            };
            read_through += 1;
            assert!(reading.json(STEPS).is_ok());
            assert!(reading.text(STEPS).is_ok());
            assert_eq!(read(&checked, 10).err(), Some(ReadError::TooMuch));
            match second_opinion(&bytes) {
                Ok(_) => compared += 1,
                Err(_) => not_shown += 1,
            }
        }
    }
    assert!(
        read_through > 700 && refused > 150 && compared > 350 && not_shown > 7,
        "{read_through} read, {refused} refused, {compared} compared, {not_shown} not shown"
    );
}

#[test]
fn v6_yrs_finds_what_the_reader_finds() {
    for case in cases() {
        let mut room = Room::new();
        case.updates.iter().for_each(|update| drop(room.receive(update)));

        assert_eq!(second_opinion(&room.state()), Ok(Opinion::Same), "{}", case.name);
    }
}
