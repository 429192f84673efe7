//! What the gate costs. `cargo test --release --no-default-features --test gate speed -- --ignored --nocapture`.

use crate::fixtures::cases;
use crate::room::{Room, doc, forget_subdocuments};
use bytes::Bytes;
use cowrite::protocol::lib0::{write_var_bytes, write_var_uint};
use cowrite::protocol::update::{Admission, CheckedUpdate, Clocks, Known, merge, split};
use std::hint::black_box;
use std::time::Instant;
use yrs::updates::decoder::Decode;
use yrs::{Transact, Update};

fn admitted(update: Bytes, known: &Known) -> CheckedUpdate {
    match CheckedUpdate::check(update).unwrap().admit(known) {
        Admission::Whole(update) => update,
        other => panic!("{other:?}"),
    }
}

/// A key stroke: `client` writes one letter after its last.
fn key_stroke(client: u64, clock: u64, right: Option<(u64, u64)>) -> Bytes {
    let mut out = vec![1, 1];
    write_var_uint(&mut out, client);
    write_var_uint(&mut out, clock);
    out.push(4 | 0x80 | if right.is_some() { 0x40 } else { 0 });
    write_var_uint(&mut out, client);
    write_var_uint(&mut out, clock - 1);
    if let Some((client, clock)) = right {
        write_var_uint(&mut out, client);
        write_var_uint(&mut out, clock);
    }
    write_var_bytes(&mut out, b"x");
    out.push(0);
    out.into()
}

fn per(what: &str, count: usize, bytes: usize, run: impl FnOnce()) {
    let start = (Instant::now(), cpu_ns());
    run();
    let wall = start.0.elapsed().as_nanos() as f64;
    let ns = cpu_ns()
        .zip(start.1)
        .map_or(wall, |(end, start)| (end - start) as f64)
        .max(1.0);
    println!(
        "{what:<52} {:>9.1} ns each {:>9.1} MB/s",
        ns / count as f64,
        bytes as f64 * 1e3 / ns
    );
}

/// What this thread has had of a processor (Linux): other work on the machine then counts less.
fn cpu_ns() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

#[test]
#[ignore = "measures"]
fn speed_of_key_strokes() {
    for clients in [1u64, 10, 1_000, 50_000] {
        let mut known = Known::default();
        let ids: Vec<u64> = (1..=clients).map(|i| i * 2_654_435_761 % (1 << 32)).collect();
        for id in &ids {
            let mut first = vec![1, 1];
            write_var_uint(&mut first, *id);
            first.extend([0, 4, 1, 1, b't', 1, b'a', 0]);
            known.absorb(&admitted(first.into(), &known));
        }
        let rounds = 200_000;
        let strokes: Vec<Bytes> = (0..rounds)
            .map(|i| {
                key_stroke(
                    ids[i % ids.len()],
                    1 + (i / ids.len()) as u64,
                    Some((ids[(i * 7 + 1) % ids.len()], 0)).filter(|(right, _)| *right != ids[i % ids.len()]),
                )
            })
            .collect();
        let bytes: usize = strokes.iter().map(Bytes::len).sum();

        let mut running = known.clone();
        per(
            &format!("check, admit, absorb, {clients} clients"),
            rounds,
            bytes,
            || {
                for stroke in &strokes {
                    let Admission::Whole(update) = CheckedUpdate::check(stroke.clone()).unwrap().admit(&running) else {
                        panic!()
                    };
                    running.absorb(&update);
                }
            },
        );
        let mut checked = Vec::with_capacity(rounds);
        per(&format!("check, {clients} clients"), rounds, bytes, || {
            checked.extend(
                strokes
                    .iter()
                    .map(|stroke| CheckedUpdate::check(stroke.clone()).unwrap()),
            );
        });
        let mut all = Vec::with_capacity(rounds);
        per(&format!("admit and absorb, {clients} clients"), rounds, bytes, || {
            for update in checked {
                let Admission::Whole(update) = update.admit(&known) else {
                    panic!()
                };
                known.absorb(&update);
                all.push(update);
            }
        });
        let mut merged = Vec::new();
        per(&format!("merge by 100, {clients} clients"), rounds, bytes, || {
            merged = all.chunks(100).flat_map(merge).collect();
        });
        assert_eq!(merged.len(), rounds / 100);
        per(&format!("merge all, {clients} clients"), rounds, bytes, || {
            assert_eq!(black_box(merge(&all)).len(), 1);
        });
        println!("{} bytes of memory beside the clocks", known.memory_bytes());
    }
}

#[test]
#[ignore = "measures"]
fn speed_of_large_updates() {
    let mut states: Vec<(String, Bytes)> = Vec::new();
    for case in cases()
        .iter()
        .filter(|case| case.name == "big" || case.name == "session 1")
    {
        let mut room = Room::new();
        for update in &case.updates {
            room.receive(update);
        }
        states.push((case.name.clone(), room.state()));
    }
    let mut ascii = vec![1, 1, 1, 0, 4, 1, 1, b't'];
    write_var_bytes(&mut ascii, &b"Lorem ipsum dolor sit amet. ".repeat(1_000_000));
    ascii.push(0);
    states.push(("one text of 28 MB".into(), ascii.into()));
    for (name, case) in crate::traces::written() {
        let mut room = Room::new();
        for update in &case.updates {
            room.receive(update);
        }
        states.push((name, room.state()));
    }

    for (name, state) in &states {
        println!("{name}: {} bytes", state.len());
        let times = (20_000_000 / state.len()).max(1);
        let total = times * state.len();
        per("  check", times, total, || {
            for _ in 0..times {
                black_box(CheckedUpdate::check(state.clone()).unwrap());
            }
        });
        let checked = CheckedUpdate::check(state.clone()).unwrap();
        per("  admit and absorb", times, total, || {
            for _ in 0..times {
                let mut known = Known::default();
                let Admission::Whole(update) = checked.clone().admit(&known) else {
                    panic!()
                };
                known.absorb(&update);
                black_box(&known);
            }
        });
        per("  split by 64 KiB", times, total, || {
            for _ in 0..times {
                black_box(split(&checked, 64 * 1024));
            }
        });
        per("  yrs, decode and apply", 1, state.len(), || {
            let doc = doc();
            let mut txn = doc.transact_mut();
            txn.apply_update(Update::decode_v1(state).unwrap()).unwrap();
            forget_subdocuments(&mut txn);
        });
    }
}

/// One update with many clients whose ids were chosen to collide.
#[test]
#[ignore = "measures"]
fn speed_of_many_clients() {
    for (name, step) in [("spread", 2_654_435_761u64), ("multiples of 2^32", 1 << 32)] {
        for count in [10_000u64, 40_000] {
            let mut out = Vec::new();
            write_var_uint(&mut out, count);
            for i in (1..=count).rev() {
                out.push(1);
                write_var_uint(&mut out, i * step);
                out.extend([0, 4, 1, 1, b't', 1, b'a']);
            }
            out.push(0);
            let bytes = Bytes::from(out);
            per(&format!("gate, {count} clients, {name}"), 1, bytes.len(), || {
                let mut known = Known::default();
                match CheckedUpdate::check(bytes.clone()).unwrap().admit(&known) {
                    Admission::Whole(update) => known.absorb(&update),
                    other => println!("{other:?}"),
                }
                assert_eq!(
                    Clocks::decode(&known.clocks().encode_state_vector()).as_ref(),
                    Ok(known.clocks())
                );
            });
            per(&format!("yrs, {count} clients, {name}"), 1, bytes.len(), || {
                let doc = doc();
                let mut txn = doc.transact_mut();
                txn.apply_update(Update::decode_v1(&bytes).unwrap()).unwrap();
            });
        }
    }
}

/// One update whose items all claim the same left neighbour and each another right one: in yrs, as in Yjs,
/// each is compared with all before it and with the pieces that those cut.
#[test]
#[ignore = "measures"]
fn speed_of_conflicts() {
    for count in [2_000u64, 4_000, 8_000] {
        let mut out = vec![2];
        write_var_uint(&mut out, count);
        out.extend([2, 0]);
        for i in 0..count {
            out.extend([4 | 0xc0, 1, 0, 1]);
            write_var_uint(&mut out, i + 2);
            write_var_bytes(&mut out, b"y");
        }
        out.extend([1, 1, 0, 4, 1, 4]);
        out.extend(b"text");
        write_var_bytes(&mut out, "x".repeat(count as usize + 2).as_bytes());
        out.push(0);
        let update = admitted(out.into(), &Known::default());
        per(&format!("yrs, {count} conflicts"), 1, update.bytes().len(), || {
            let doc = doc();
            let mut txn = doc.transact_mut();
            txn.apply_update(Update::decode_v1(update.bytes()).unwrap()).unwrap();
        });
    }
}
