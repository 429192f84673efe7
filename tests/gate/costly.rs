//! Updates that cost the most for their bytes.

use bytes::Bytes;
use cowrite::protocol::lib0::{write_var_bytes, write_var_uint};

/// Updates that cost the most, each with what has to be there before: `count` structs, or ranges.
pub fn costly(count: usize) -> Vec<(&'static str, Vec<Bytes>)> {
    let n = count as u64;
    vec![
        ("neighbouring letters", vec![structs(count, letter)]),
        ("neighbouring values", vec![structs(count, value)]),
        ("values of one key", vec![structs(count, overwritten)]),
        (
            "keys",
            vec![structs(count, |i, out| {
                out.extend(b"\x28\x01\x01m");
                write_var_bytes(out, i.to_string().as_bytes());
                out.extend([1, 125, 1]);
            })],
        ),
        (
            "types in types",
            vec![structs(count, |i, out| match i {
                0 => out.extend(b"\x07\x01\x01t\x00"),
                _ => {
                    out.extend([7, 0, 2]);
                    write_var_uint(out, (i - 1) % 1_000);
                    out.push(0);
                }
            })],
        ),
        ("clients", vec![clients(count)]),
        (
            "letters that conflict",
            vec![
                text(count + 2),
                structs(count, |i, out| {
                    out.extend([0xc4, 1, 0, 1]);
                    write_var_uint(out, i + 2);
                    out.extend([1, b'y']);
                }),
            ],
        ),
        (
            "letters that cut others",
            vec![
                text(count + 2),
                structs(count, move |i, out| {
                    out.extend([0xc4, 1]);
                    write_var_uint(out, i * 7 % n);
                    out.push(1);
                    write_var_uint(out, i * 7 % n + 1);
                    out.extend([1, b'y']);
                }),
            ],
        ),
        (
            "deletions",
            vec![text(2 * count), {
                let mut out = vec![0, 1, 1];
                write_var_uint(&mut out, n);
                for i in 0..n {
                    write_var_uint(&mut out, 2 * i);
                    out.push(1);
                }
                out.into()
            }],
        ),
    ]
}

/// Of client 2, from clock 0 on.
fn structs(count: usize, each: impl Fn(u64, &mut Vec<u8>)) -> Bytes {
    let mut out = vec![1];
    write_var_uint(&mut out, count as u64);
    out.extend([2, 0]);
    (0..count as u64).for_each(|i| each(i, &mut out));
    out.push(0);
    out.into()
}

fn letter(i: u64, out: &mut Vec<u8>) {
    match i.checked_sub(1) {
        None => out.extend(b"\x04\x01\x01t\x01x"),
        Some(before) => {
            out.extend([0x84, 2]);
            write_var_uint(out, before);
            out.extend([1, b'x']);
        }
    }
}

fn value(i: u64, out: &mut Vec<u8>) {
    match i.checked_sub(1) {
        None => out.extend(b"\x08\x01\x01t"),
        Some(before) => {
            out.extend([0x88, 2]);
            write_var_uint(out, before);
        }
    }
    out.extend([1, 125, 1]);
}

fn overwritten(i: u64, out: &mut Vec<u8>) {
    match i.checked_sub(1) {
        None => out.extend(b"\x28\x01\x01m\x01k"),
        Some(before) => {
            out.extend([0xa8, 2]);
            write_var_uint(out, before);
        }
    }
    out.extend([1, 125, 1]);
}

/// A text of client 1.
fn text(len: usize) -> Bytes {
    let mut out = vec![1, 1, 1, 0, 4, 1, 1, b't'];
    write_var_bytes(&mut out, "x".repeat(len).as_bytes());
    out.push(0);
    out.into()
}

/// A letter each.
fn clients(count: usize) -> Bytes {
    let mut out = Vec::new();
    write_var_uint(&mut out, count as u64);
    for client in (0..count as u64).rev() {
        out.push(1);
        write_var_uint(&mut out, client);
        out.extend(b"\x00\x04\x01\x01t\x01x");
    }
    out.push(0);
    out.into()
}
