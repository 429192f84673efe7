//! The door in front of yrs: what a state must be on top of what the document's gate asks.
//!
//! yrs follows raw pointers wherever an update leads it, joins neighbours with live copies, reads some of what Yjs writes
//! wrongly, and hashes client ids by themselves. So what enters is joined, rewritten where it means the same, and judged
//! by the strict gate as one update against an empty document (rules G14 to G19).
//!
//! What is rewritten (G8): content of the old kind JSON, of which yrs reads one string too many, becomes values; half a
//! surrogate pair in JSON becomes U+FFFD, and a whole number from 2^63 to 2^64 gets an exponent. What cannot be rewritten
//! is refused: XML hooks, whose name yrs does not read, and JSON that is nested more than 64 deep.

use bytes::Bytes;

use super::{NotShown, strict};
use crate::{
    document::read::Reading,
    limits::{CONTENT_CUTTING_BYTES_MAX, CONTENT_STEPS_MAX},
    protocol::{
        json,
        lib0::{Malformed, Reader, write_var_bytes, write_var_int, write_var_uint},
        update::{
            CheckedUpdate,
            structs::{self, ANY, CONTENT_BITS, EMBED, FORMAT, JSON, TYPE},
        },
    },
};

/// A state that yrs may load.
#[derive(Debug)]
pub(super) struct Entered {
    pub bytes: Bytes,
    /// See [`crate::document::read`]: clients of Yjs do not agree on such a document.
    pub is_crossed: bool,
}

/// Takes what our reader read through the door.
pub(super) fn enter(reading: &Reading) -> Result<Entered, NotShown> {
    let joined = reading.joined(CONTENT_STEPS_MAX)?;
    if joined.cutting_bytes > CONTENT_CUTTING_BYTES_MAX {
        return Err(NotShown::NotByYrs("it would take yrs too much memory".to_owned()));
    }
    let malformed = |error: Malformed| NotShown::NotByYrs(error.to_string());
    let rewritten = rewrite(&joined.bytes)?;
    let state = CheckedUpdate::check(rewritten.into()).map_err(malformed)?;
    Ok(Entered {
        bytes: strict::judge(&state)?.bytes().clone(),
        is_crossed: joined.is_crossed,
    })
}

/// Rewrites a state whose delete set is empty.
fn rewrite(state: &[u8]) -> Result<Vec<u8>, NotShown> {
    let mut r = Reader::new(state);
    let mut out = Vec::with_capacity(state.len());
    let malformed = |error: Malformed| NotShown::NotByYrs(error.to_string());
    let sections = r.count(3).map_err(malformed)?;
    write_var_uint(&mut out, sections as u64);
    for _ in 0..sections {
        let count = r.var_uint().map_err(malformed)?;
        write_var_uint(&mut out, count);
        // The client and the first clock.
        for _ in 0..2 {
            write_var_uint(&mut out, r.var_uint().map_err(malformed)?);
        }
        for _ in 0..count {
            let from = r.position();
            let found = structs::read::<false>(&mut r).map_err(malformed)?;
            let content = Reader::starting_at(&state[..r.position()], found.content);
            out.push(found.info);
            let kind_at = out.len() - 1;
            out.extend_from_slice(&state[from + 1..found.content]);
            if !rewrite_content(found.kind(), content.clone(), &mut out)? {
                out.extend_from_slice(&state[found.content..r.position()]);
            } else if found.kind() == JSON {
                out[kind_at] = found.info & !CONTENT_BITS | ANY;
            }
        }
    }
    out.push(0);
    Ok(out)
}

/// Writes content that yrs cannot read as it is; otherwise writes nothing and says so.
fn rewrite_content(kind: u8, mut r: Reader, out: &mut Vec<u8>) -> Result<bool, NotShown> {
    let malformed = |error: Malformed| NotShown::NotByYrs(error.to_string());
    let not_json = |why: &'static str| NotShown::NotByYrs(format!("yrs cannot read {why}"));
    match kind {
        TYPE if r.byte().map_err(malformed)? == HOOK => Err(not_json("XML hooks")),
        JSON => {
            let count = r.count(1).map_err(malformed)?;
            write_var_uint(out, count as u64);
            for _ in 0..count {
                let text = r.var_string().map_err(malformed)?;
                if text == "undefined" {
                    out.push(127);
                    continue;
                }
                json::check(text, JSON_DEPTH_MAX).map_err(not_json)?;
                let value = serde_json::from_str(&json::repair(text)).map_err(|_| not_json("this JSON"))?;
                write_any(&value, out);
            }
            Ok(true)
        }
        EMBED | FORMAT => {
            let key = if kind == FORMAT {
                Some(r.var_bytes().map_err(malformed)?)
            } else {
                None
            };
            let text = r.var_string().map_err(malformed)?;
            let quirks = json::check(text, JSON_DEPTH_MAX).map_err(not_json)?;
            if quirks.is_none() {
                return Ok(false);
            }
            key.into_iter().for_each(|key| write_var_bytes(out, key));
            write_var_bytes(out, json::repair(text).as_bytes());
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Deepest nesting of JSON that yrs reads.
const JSON_DEPTH_MAX: usize = 64;

/// The number of an XML hook among shared types.
const HOOK: u8 = 5;

/// Recursion as deep as the value, which is at most [`JSON_DEPTH_MAX`].
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
            values.iter().for_each(|value| write_any(value, out));
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
