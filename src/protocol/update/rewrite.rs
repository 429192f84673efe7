//! Repair of what honest clients write and yrs cannot read. Rare, so it may be slow; it never changes
//! what the update means to Yjs, and never its clocks.
//!
//! * Content of the kind JSON, which only Yjs before 13 wrote and every Yjs passes on, becomes `Any`:
//!   yrs reads one string too many.
//! * JSON texts that `JSON.parse` accepts and serde_json does not: see [`json::repair`].
//! * Structs of length 0, sections and delete sets with nothing in them, deletions out of order or
//!   overlapping (older yrs wrote those) are dropped or put in order. So are sections out of order.

use super::encode::{Out, deletions_in_order};
use super::structs::{self, ANY, EMBED, FORMAT, JSON, Struct};
use super::{Deletion, SmallVec};
use crate::limits::ANY_DEPTH_MAX;
use crate::protocol::json;
use crate::protocol::lib0::{Malformed, Reader, write_var_bytes, write_var_int, write_var_uint};

/// Rewrites an update that was parsed without error.
pub(super) fn rewrite(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut r = Reader::new(bytes);
    let mut sections: Vec<(u64, u64, u64, Vec<u8>)> = Vec::new();
    for _ in 0..r.count(3)? {
        let count = r.var_uint()?;
        let client = r.var_uint()?;
        let clock = r.var_uint()?;
        let mut kept = 0;
        let mut out = Vec::new();
        for _ in 0..count {
            let from = r.position();
            let found = structs::read::<true>(&mut r)?;
            if found.len == 0 {
                continue;
            }
            kept += 1;
            repaired(bytes, from, r.position(), &found, &mut out)?;
        }
        if kept > 0 {
            sections.push((client, kept, clock, out));
        }
    }
    sections.sort_unstable_by_key(|(client, ..)| std::cmp::Reverse(*client));

    let mut deletions: SmallVec<[Deletion; 2]> = SmallVec::new();
    for _ in 0..r.count(2)? {
        let client = r.var_uint()?;
        for _ in 0..r.count(2)? {
            let start = r.var_u32()?;
            let end = start.saturating_add(r.var_u32()?);
            if start < end {
                deletions.push(Deletion { client, start, end });
            }
        }
    }
    deletions_in_order(&mut deletions);

    let mut out = Vec::with_capacity(bytes.len() + 16);
    write_var_uint(&mut out, sections.len() as u64);
    for (client, count, clock, structs) in sections {
        write_var_uint(&mut out, count);
        write_var_uint(&mut out, client);
        write_var_uint(&mut out, clock);
        out.extend_from_slice(&structs);
    }
    Out::deletions(&mut out, &deletions);
    Ok(out)
}

fn repaired(bytes: &[u8], from: usize, to: usize, found: &Struct, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if !found.needs_repair {
        out.extend_from_slice(&bytes[from..to]);
        return Ok(());
    }
    let mut r = Reader::starting_at(bytes, found.content);
    let header = &bytes[from + 1..found.content];
    match found.kind() {
        JSON => {
            out.push(found.info & !structs::CONTENT_BITS | ANY);
            out.extend_from_slice(header);
            let count = r.count(1)?;
            write_var_uint(out, count as u64);
            for _ in 0..count {
                write_any_of_json(r.var_string()?, out).ok_or_else(|| r.malformed("not JSON"))?;
            }
        }
        EMBED | FORMAT => {
            out.push(found.info);
            out.extend_from_slice(header);
            if found.kind() == FORMAT {
                write_var_bytes(out, r.var_bytes()?);
            }
            write_var_bytes(out, json::repair(r.var_string()?).as_bytes());
        }
        _ => return Err(r.malformed("an update beyond repair")),
    }
    Ok(())
}

fn write_any_of_json(text: &str, out: &mut Vec<u8>) -> Option<()> {
    if text == "undefined" {
        out.push(127);
        return Some(());
    }
    json::check(text, ANY_DEPTH_MAX).ok()?;
    let value = serde_json::from_str(&json::repair(text)).ok()?;
    write_any(&value, out);
    Some(())
}

/// Recursion as deep as the value, which is at most [`ANY_DEPTH_MAX`].
fn write_any(value: &serde_json::Value, out: &mut Vec<u8>) {
    match value {
        serde_json::Value::Null => out.push(126),
        serde_json::Value::Bool(yes) => out.push(if *yes { 120 } else { 121 }),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) if whole.unsigned_abs() <= i32::MAX as u64 => {
                out.push(125);
                write_var_int(out, whole);
            }
            _ => {
                out.push(123);
                out.extend_from_slice(&number.as_f64().unwrap_or_default().to_be_bytes());
            }
        },
        serde_json::Value::String(text) => {
            out.push(119);
            write_var_bytes(out, text.as_bytes());
        }
        serde_json::Value::Array(values) => {
            out.push(117);
            write_var_uint(out, values.len() as u64);
            for value in values {
                write_any(value, out);
            }
        }
        serde_json::Value::Object(entries) => {
            out.push(118);
            write_var_uint(out, entries.len() as u64);
            for (key, value) in entries {
                write_var_bytes(out, key.as_bytes());
                write_any(value, out);
            }
        }
    }
}
