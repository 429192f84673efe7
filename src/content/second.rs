//! What yrs finds in a state, told in the same events as by our reader, so that both can be compared as text.
//!
//! yrs shows a list either as text (which leaves values out) or as an array (which never ends when it meets an emoji in a
//! text). Which one is safe and whole follows from lengths; a list that holds both is not shown.

use std::{
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use yrs::{
    Any, Array, ArrayRef, ClientID, Doc, Map, MapRef, OffsetKind, Options, Out, ReadTxn, Text, TextRef, Transact,
    Update, WriteTxn,
    any::Number,
    branch::BranchPtr,
    types::{TypeRef, text::YChange},
    updates::decoder::Decode,
};

use super::NotShown;
use crate::{
    document::read::{
        Event, Kind, ReadError, Reading, Steps,
        show::JsonWriter,
        values::{Canon, Precision, UNDEFINED, by_units, escape},
    },
    limits::{CONTENT_STACK_BYTES, CONTENT_STEPS_MAX},
};

/// What our reader finds, with values as yrs can hold them.
pub(super) fn ours(reading: &Reading) -> Result<String, NotShown> {
    let mut writer = JsonWriter::default();
    let mut unlike = None;
    reading.tell_as(Precision::Yrs, CONTENT_STEPS_MAX, &mut |event| {
        match event {
            Event::Value { format, .. } if !format.is_empty() => unlike = Some("format marks on values"),
            Event::Document { format, .. } if !format.is_empty() => unlike = Some("format marks on sub-documents"),
            Event::Embed { json, .. } if json.starts_with('"') => unlike = Some("strings as embeds"),
            _ => {}
        }
        writer.take(event);
    })?;
    match unlike {
        Some(what) => Err(NotShown::NotByYrs(format!("yrs does not show {what}"))),
        None => Ok(writer.finish()),
    }
}

/// Has yrs load a state that came through the door, and tell what it holds.
pub(super) fn of_yrs(state: &Bytes) -> Result<String, NotShown> {
    let work = || catch_unwind(AssertUnwindSafe(|| load_and_tell(state)));
    let done = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(CONTENT_STACK_BYTES);
        let thread = thread.name("content".to_owned());
        thread.spawn_scoped(scope, work).map(|running| running.join())
    });
    match done {
        Ok(Ok(Ok(told))) => told,
        Ok(_) => Err(NotShown::NotByYrs("yrs panicked".to_owned())),
        Err(error) => Err(NotShown::NotByYrs(format!("no thread for yrs: {error}"))),
    }
}

fn load_and_tell(state: &Bytes) -> Result<String, NotShown> {
    let options = Options {
        offset_kind: OffsetKind::Utf16,
        // Nothing is written here, and what is not collected need not be freed in the middle.
        skip_gc: true,
        cleanup_formatting: false,
        ..Options::with_guid_and_client_id("cowrite".into(), ClientID::new(1))
    };
    // A document that panics must not be dropped; one that does not is, at the end.
    let doc = ManuallyDrop::new(Doc::with_options(options));
    let update = Update::decode_v1(state).map_err(|error| NotShown::NotByYrs(format!("yrs: {error}")))?;
    {
        // A transaction that is dropped while unwinding commits, panics again and aborts.
        let mut txn = ManuallyDrop::new(doc.transact_mut());
        let applied = txn.apply_update(update);
        // yrs destroys sub-documents that were removed after it has freed what held them.
        drop(std::mem::take(txn.subdocs_mut()));
        ManuallyDrop::into_inner(txn).commit();
        applied.map_err(|error| NotShown::NotByYrs(format!("yrs: {error}")))?;
    }
    let told = {
        let txn = doc.transact();
        if txn.has_missing_updates() {
            return Err(NotShown::NotByYrs("yrs holds a part of it back".to_owned()));
        }
        let mut teller = Teller {
            txn: &txn,
            writer: JsonWriter::default(),
            steps: Steps::new(CONTENT_STEPS_MAX),
        };
        teller.roots()?;
        teller.writer.finish()
    };
    drop(ManuallyDrop::into_inner(doc));
    Ok(told)
}

struct Teller<'a, T> {
    txn: &'a T,
    writer: JsonWriter,
    steps: Steps,
}

/// What stands in a list of yrs.
struct Listed {
    out: Out,
    /// Canonical JSON, or empty.
    format: String,
    is_text: bool,
}

impl<T: ReadTxn> Teller<'_, T> {
    fn roots(&mut self) -> Result<(), NotShown> {
        let mut roots: Vec<(String, BranchPtr)> = Vec::new();
        for (name, out) in self.txn.root_refs() {
            if let Some(branch) = out.try_branch() {
                roots.push((name.to_owned(), BranchPtr::from(branch)));
            }
        }
        roots.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
        for (name, branch) in roots {
            let (map, list) = (self.map(branch), self.list(branch)?);
            if map.is_empty() && list.is_empty() {
                continue;
            }
            let kind = Kind::Root;
            self.writer.take(Event::Open { kind, name: &name });
            self.parts(map, list)?;
            self.writer.take(Event::Close { format: "" });
        }
        Ok(())
    }

    /// Recursion as deep as types are nested, which the door bounds.
    fn parts(&mut self, map: Vec<(String, Out)>, list: Vec<Listed>) -> Result<(), NotShown> {
        if !map.is_empty() {
            self.writer.take(Event::Map);
            for (key, out) in map {
                self.writer.take(Event::Key(&key));
                self.item(&out, "", false)?;
            }
            self.writer.take(Event::MapEnd);
        }
        if !list.is_empty() {
            self.writer.take(Event::List);
            for Listed { out, format, is_text } in list {
                match &out {
                    Out::Any(Any::String(text)) if is_text => {
                        let format = &format;
                        self.writer.take(Event::Text { text, format });
                    }
                    Out::Any(any) if is_text => {
                        let json = &self.json(any, true)?;
                        let format = &format;
                        self.writer.take(Event::Embed { json, format });
                    }
                    out => self.item(out, &format, false)?,
                }
            }
            self.writer.take(Event::ListEnd);
        }
        Ok(())
    }

    fn item(&mut self, out: &Out, format: &str, is_json: bool) -> Result<(), NotShown> {
        match out {
            Out::Any(any) => {
                let json = &self.json(any, is_json)?;
                let text = None;
                self.writer.take(Event::Value { json, text, format });
            }
            Out::YDoc(doc) => {
                let (guid, options) = (&doc.guid().to_string(), "null");
                self.writer.take(Event::Document { guid, options, format });
            }
            typed => {
                let branch = typed.try_branch().map(BranchPtr::from);
                let branch = branch.ok_or_else(|| NotShown::NotByYrs("yrs shows no type where one is".to_owned()))?;
                let (kind, name) = match branch.type_ref() {
                    TypeRef::Array => (Kind::Array, String::new()),
                    TypeRef::Map => (Kind::Map, String::new()),
                    TypeRef::Text => (Kind::Text, String::new()),
                    TypeRef::XmlElement(name) => (Kind::Element, name.to_string()),
                    TypeRef::XmlFragment => (Kind::Fragment, String::new()),
                    TypeRef::XmlText => (Kind::XmlText, String::new()),
                    _ => (Kind::Unknown, String::new()),
                };
                self.writer.take(Event::Open { kind, name: &name });
                let (map, list) = (self.map(branch), self.list(branch)?);
                self.parts(map, list)?;
                self.writer.take(Event::Close { format });
            }
        }
        Ok(())
    }

    fn map(&self, branch: BranchPtr) -> Vec<(String, Out)> {
        let map = MapRef::from(branch);
        let mut entries: Vec<(String, Out)> = map.iter(self.txn).map(|(key, out)| (key.to_owned(), out)).collect();
        entries.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
        entries
    }

    fn list(&mut self, branch: BranchPtr) -> Result<Vec<Listed>, NotShown> {
        let length = branch.content_len();
        let (mut listed, mut shown, mut has_text): (Vec<Listed>, u64, bool) = (Vec::new(), 0, false);
        for chunk in TextRef::from(branch).diff(self.txn, YChange::identity) {
            let format = match chunk.attributes.as_deref() {
                Some(marks) => self.format(marks.iter().map(|(key, value)| (&**key, value)))?,
                None => String::new(),
            };
            let is_text = matches!(&chunk.insert, Out::Any(_));
            has_text |= is_text;
            let units = match &chunk.insert {
                Out::Any(Any::String(text)) => text.encode_utf16().count(),
                _ => 1,
            };
            shown += units as u64;
            // How text is cut into items is no content.
            if let (Out::Any(Any::String(next)), Some(Listed { out, format: last, .. })) =
                (&chunk.insert, listed.last_mut())
                && let Out::Any(Any::String(text)) = out
                && *last == format
            {
                self.steps.spend_bytes(text.len() + next.len())?;
                *text = format!("{text}{next}").into();
                continue;
            }
            listed.push(Listed {
                out: chunk.insert,
                format,
                is_text,
            });
        }
        if shown == u64::from(length) {
            return Ok(listed);
        }
        if has_text {
            return Err(NotShown::NotByYrs(
                "yrs does not show values that stand in a text".to_owned(),
            ));
        }
        if listed.iter().any(|one| !one.format.is_empty()) {
            return Err(NotShown::NotByYrs(
                "yrs does not show format marks on what stands among values".to_owned(),
            ));
        }
        let values = ArrayRef::from(branch);
        let values = values.iter(self.txn).map(|out| Listed {
            out,
            format: String::new(),
            is_text: false,
        });
        Ok(values.collect())
    }

    fn format<'m>(&mut self, marks: impl Iterator<Item = (&'m str, &'m Any)>) -> Result<String, NotShown> {
        let mut entries: Vec<(String, String)> = Vec::new();
        for (key, value) in marks {
            let mut escaped = String::new();
            escape(&mut escaped, key);
            entries.push((escaped, self.json(value, true)?));
        }
        entries.sort_by(|(a, _), (b, _)| by_units(a, b));
        if entries.is_empty() {
            return Ok(String::new());
        }
        let entries: Vec<String> = entries
            .iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        Ok(format!("{{{}}}", entries.join(",")))
    }

    fn json(&mut self, any: &Any, is_json: bool) -> Result<String, NotShown> {
        let mut out = String::new();
        let mut canon = Canon::new(&mut out, &mut self.steps, Precision::Yrs);
        value(&mut canon, any, is_json)?;
        Ok(out)
    }
}

/// Writes a value; in JSON, each number is a double. Recursion as deep as the value, which the gate bounds.
fn value(canon: &mut Canon, any: &Any, is_json: bool) -> Result<(), ReadError> {
    match any {
        Any::Null => canon.scalar("null"),
        Any::Undefined => canon.scalar(UNDEFINED),
        Any::Bool(yes) => canon.scalar(if *yes { "true" } else { "false" }),
        Any::Number(Number::Int(whole)) if !is_json => canon.big_int(*whole),
        Any::Number(number) => canon.number(number.as_f64().unwrap_or_default()),
        Any::String(text) => canon.string(text)?,
        Any::Buffer(bytes) => canon.binary(bytes)?,
        Any::Array(values) => {
            canon.begin(false);
            for one in values.iter() {
                value(canon, one, is_json)?;
            }
            canon.end()?;
        }
        Any::Map(entries) => {
            canon.begin(true);
            for (key, one) in entries.iter() {
                canon.key(key)?;
                value(canon, one, is_json)?;
            }
            canon.end()?;
        }
    }
    Ok(())
}
