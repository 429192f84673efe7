//! What was read, in order: as events, as canonical JSON, as text.
//!
//! A root's kind is not on the wire, and Yjs 14 puts everything into any type. So each type is shown in one neutral form,
//! with what it has of both: its *list* (text runs, values, embeds, types, sub-documents) and its *map* (the value of
//! each key that has one). Roots in which nothing is to be seen are left out.

use std::{collections::BTreeMap, vec};

use super::{
    NONE, Piece, ReadError, Reading, Steps,
    values::{self, Canon, Precision, quote},
};
use crate::protocol::{
    lib0::{Malformed, Reader, utf8},
    update::structs::{ANY, BINARY, DOC, EMBED, FORMAT, JSON, STRING, TYPE, any},
};

/// What kind of type it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A root: only its name is on the wire.
    Root,
    /// `Y.Array`
    Array,
    /// `Y.Map`
    Map,
    /// `Y.Text`
    Text,
    /// `Y.XmlElement`, and a named type of Yjs 14.
    Element,
    /// `Y.XmlFragment`, and a type of Yjs 14 without a name.
    Fragment,
    /// `Y.XmlHook`
    Hook,
    /// `Y.XmlText`
    XmlText,
    /// One that no Yjs writes, and the gate refuses.
    Unknown,
}

impl Kind {
    /// The kind of a number on the wire, and whether a name follows it.
    pub(super) fn of(number: u8) -> (Self, bool) {
        match number {
            0 => (Self::Array, false),
            1 => (Self::Map, false),
            2 => (Self::Text, false),
            3 => (Self::Element, true),
            4 => (Self::Fragment, false),
            5 => (Self::Hook, true),
            6 => (Self::XmlText, false),
            _ => (Self::Unknown, false),
        }
    }

    /// What it is called in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Array => "array",
            Self::Map => "map",
            Self::Text => "text",
            Self::Element => "element",
            Self::Fragment => "fragment",
            Self::Hook => "hook",
            Self::XmlText => "xmltext",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that a document holds. `format` is a canonical JSON object of the format marks that are on it, or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A type begins; a root's name is its name.
    Open {
        /// What it is.
        kind: Kind,
        /// Its name, or empty.
        name: &'a str,
    },
    /// The values of keys follow, which are in the order of their UTF-16 units.
    Map,
    /// The key of the next value.
    Key(&'a str),
    /// They are through.
    MapEnd,
    /// The list follows.
    List,
    /// It is through.
    ListEnd,
    /// Text with the same format marks.
    Text {
        /// The text.
        text: &'a str,
        /// See [`Event`].
        format: &'a str,
    },
    /// A value.
    Value {
        /// Canonical JSON.
        json: &'a str,
        /// The value itself, if it is a string.
        text: Option<&'a str>,
        /// See [`Event`].
        format: &'a str,
    },
    /// An embed.
    Embed {
        /// Canonical JSON.
        json: &'a str,
        /// See [`Event`].
        format: &'a str,
    },
    /// A sub-document.
    Document {
        /// Its guid.
        guid: &'a str,
        /// Its options, canonical JSON.
        options: &'a str,
        /// See [`Event`].
        format: &'a str,
    },
    /// The type that was begun last ends.
    Close {
        /// See [`Event`].
        format: &'a str,
    },
}

/// What is still to be told.
enum Frame<'a> {
    Map(vec::IntoIter<(&'a str, u32)>),
    List(ListFrame),
    Close(String),
}

#[derive(Default)]
struct ListFrame {
    next: u32,
    has_begun: bool,
    /// The format marks that are on: keys as the insides of JSON strings, values as canonical JSON.
    marks: BTreeMap<String, String>,
    /// The same as one JSON object, or empty; the text that was gathered under it.
    format: String,
    has_changed: bool,
    text: String,
}

impl Reading {
    /// Tells everything that the document holds, in at most `steps_max` steps.
    ///
    /// # Errors
    /// [`ReadError::TooMuch`]
    pub fn tell(&self, steps_max: u64, tell: &mut dyn FnMut(Event)) -> Result<(), ReadError> {
        self.tell_as(Precision::Exact, steps_max, tell)
    }

    /// As [`Reading::tell`], with values of this precision.
    pub(crate) fn tell_as(
        &self,
        precision: Precision,
        steps_max: u64,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), ReadError> {
        let mut teller = Teller {
            reading: self,
            precision,
            steps: Steps::new(steps_max),
            tell,
            json: String::new(),
        };
        let mut roots = Vec::with_capacity(self.roots.len());
        for root in &self.roots {
            roots.push((self.str(self.types[*root as usize].name)?, *root));
        }
        teller.sort(&mut roots)?;
        for (_, root) in roots {
            teller.root(root)?;
        }
        Ok(())
    }

    /// Everything as one line of canonical JSON, in at most `steps_max` steps: `{"<root>":{"map":{…},"list":[…]},…}`.
    ///
    /// # Errors
    /// [`ReadError::TooMuch`]
    pub fn json(&self, steps_max: u64) -> Result<String, ReadError> {
        let mut writer = JsonWriter::default();
        self.tell(steps_max, &mut |event| writer.take(event))?;
        Ok(writer.finish())
    }

    /// The text of the document, in at most `steps_max` steps: text runs and values that are strings. Each type and
    /// each value begins a line.
    ///
    /// # Errors
    /// [`ReadError::TooMuch`]
    pub fn text(&self, steps_max: u64) -> Result<String, ReadError> {
        let mut out = String::new();
        let end_line = |out: &mut String| {
            if !out.is_empty() && !out.ends_with('\n') {
                out.push('\n');
            }
        };
        self.tell(steps_max, &mut |event| match event {
            Event::Text { text, .. } => out.push_str(text),
            Event::Value { text: Some(text), .. } => {
                end_line(&mut out);
                out.push_str(text);
                out.push('\n');
            }
            Event::Open { .. } | Event::Close { .. } => end_line(&mut out),
            _ => {}
        })?;
        end_line(&mut out);
        Ok(out)
    }

    /// The text of a byte range that was checked.
    fn str(&self, (from, to): (u32, u32)) -> Result<&str, Malformed> {
        utf8(&self.bytes[from as usize..to as usize]).ok_or(Malformed::new(from as usize, "a string that is not UTF-8"))
    }

    fn kind_of(&self, piece: &Piece) -> u8 {
        self.structs[piece.of as usize].kind
    }

    fn reader(&self, piece: &Piece) -> Reader<'_> {
        Reader::starting_at(&self.bytes, piece.from as usize)
    }
}

struct Teller<'a, 't> {
    reading: &'a Reading,
    precision: Precision,
    steps: Steps,
    tell: &'t mut dyn FnMut(Event),
    /// A value that is being told.
    json: String,
}

impl<'a> Teller<'a, '_> {
    fn root(&mut self, root: u32) -> Result<(), ReadError> {
        let mut frames: Vec<Frame> = Vec::new();
        self.begin(root, "", &mut frames)?;
        while let Some(frame) = frames.last_mut() {
            match frame {
                Frame::Map(values) => match values.next() {
                    Some((key, piece)) => {
                        (self.tell)(Event::Key(key));
                        if let Some(of) = self.value(piece, true, "")? {
                            self.begin(of, "", &mut frames)?;
                        }
                    }
                    None => {
                        (self.tell)(Event::MapEnd);
                        frames.pop();
                    }
                },
                Frame::List(list) => {
                    if !std::mem::replace(&mut list.has_begun, true) {
                        (self.tell)(Event::List);
                    }
                    match self.list(list)? {
                        Some((of, format)) => self.begin(of, &format, &mut frames)?,
                        None => {
                            (self.tell)(Event::ListEnd);
                            frames.pop();
                        }
                    }
                }
                Frame::Close(format) => {
                    (self.tell)(Event::Close { format });
                    frames.pop();
                }
            }
        }
        Ok(())
    }

    /// Begins a type, unless it is a root in which nothing is to be seen.
    fn begin(&mut self, of: u32, format: &str, frames: &mut Vec<Frame<'a>>) -> Result<(), ReadError> {
        let held = &self.reading.types[of as usize];
        let (kind, name) = (held.kind, self.reading.str(held.name)?);
        self.open(of, format, frames)?;
        if kind == Kind::Root && frames.len() == 1 {
            frames.clear();
            return Ok(());
        }
        (self.tell)(Event::Open { kind, name });
        if matches!(frames.last(), Some(Frame::Map(_))) {
            (self.tell)(Event::Map);
        }
        Ok(())
    }

    /// Puts on `frames` what a type holds: its end, its list and its map, the last one first.
    fn open(&mut self, of: u32, format: &str, frames: &mut Vec<Frame<'a>>) -> Result<(), ReadError> {
        self.steps.spend_bytes(format.len())?;
        frames.push(Frame::Close(format.to_owned()));
        let reading = self.reading;
        let list = reading.types[of as usize].list;
        if list != NONE {
            let first = reading.lists[list as usize].first;
            let mut next = first;
            while next != NONE && !self.is_seen(next) {
                self.steps.spend(1)?;
                next = reading.pieces[next as usize].right;
            }
            if next != NONE {
                frames.push(Frame::List(ListFrame {
                    next: first,
                    ..ListFrame::default()
                }));
            }
        }
        let mut values = Vec::new();
        for ((_, key), list) in reading.entries.range((of, 0)..=(of, NONE)) {
            self.steps.spend(1)?;
            let piece = reading.lists[*list as usize].last;
            if piece != NONE && self.is_seen(piece) {
                values.push((reading.str(reading.keys[*key as usize])?, piece));
            }
        }
        if !values.is_empty() {
            self.sort(&mut values)?;
            frames.push(Frame::Map(values.into_iter()));
        }
        Ok(())
    }

    /// Whether there is something to be seen of a piece.
    fn is_seen(&self, piece: u32) -> bool {
        let piece = &self.reading.pieces[piece as usize];
        !piece.deleted && self.reading.kind_of(piece) != FORMAT
    }

    /// Tells a list up to its next type, which is returned with its format, or to its end.
    fn list(&mut self, list: &mut ListFrame) -> Result<Option<(u32, String)>, ReadError> {
        while list.next != NONE {
            self.steps.spend(1)?;
            let (index, piece) = (list.next, &self.reading.pieces[list.next as usize]);
            list.next = piece.right;
            if piece.deleted {
                continue;
            }
            if self.reading.kind_of(piece) == FORMAT {
                self.mark(piece, list)?;
                continue;
            }
            if std::mem::take(&mut list.has_changed) {
                let format = self.format(&list.marks)?;
                if format != list.format {
                    self.run(list);
                    list.format = format;
                }
            }
            if self.reading.kind_of(piece) == STRING {
                self.text(piece, &mut list.text)?;
                continue;
            }
            self.run(list);
            if let Some(of) = self.value(index, false, &list.format)? {
                return Ok(Some((of, list.format.clone())));
            }
        }
        self.run(list);
        Ok(None)
    }

    /// Tells the text that was gathered.
    fn run(&mut self, list: &mut ListFrame) {
        if !list.text.is_empty() {
            let (text, format) = (&list.text, &list.format);
            (self.tell)(Event::Text { text, format });
            list.text.clear();
        }
    }

    fn text(&mut self, piece: &Piece, out: &mut String) -> Result<(), ReadError> {
        self.steps.spend_bytes((piece.to - piece.from) as usize)?;
        if piece.half_before {
            out.push('\u{fffd}');
        }
        out.push_str(self.reading.str((piece.from, piece.to))?);
        if piece.half_after {
            out.push('\u{fffd}');
        }
        Ok(())
    }

    /// Takes a format mark.
    fn mark(&mut self, piece: &Piece, list: &mut ListFrame) -> Result<(), ReadError> {
        let mut r = self.reading.reader(piece);
        let mut key = String::new();
        values::escape(&mut key, r.var_string()?);
        let mut value = String::new();
        Canon::new(&mut value, &mut self.steps, self.precision).json(r.var_string()?)?;
        self.steps.spend_bytes(key.len() + value.len())?;
        if value == "null" {
            list.has_changed |= list.marks.remove(&key).is_some();
        } else {
            list.marks.insert(key, value);
            list.has_changed = true;
        }
        Ok(())
    }

    /// Format marks as one JSON object; empty for none.
    fn format(&mut self, marks: &BTreeMap<String, String>) -> Result<String, ReadError> {
        let mut out = String::new();
        if marks.is_empty() {
            return Ok(out);
        }
        self.steps
            .spend(marks.values().map(|value| 1 + value.len() / 64).sum())?;
        let mut canon = Canon::new(&mut out, &mut self.steps, self.precision);
        canon.begin(true);
        for (key, value) in marks {
            canon.raw_key(key)?;
            canon.scalar(value);
        }
        canon.end()?;
        Ok(out)
    }

    /// Tells what a piece holds, of a key's values only the last; a type is returned.
    fn value(&mut self, index: u32, only_last: bool, format: &str) -> Result<Option<u32>, ReadError> {
        let reading = self.reading;
        let piece = &reading.pieces[index as usize];
        let of = &reading.structs[piece.of as usize];
        self.steps.spend_bytes(format.len())?;
        let mut r = reading.reader(piece);
        match of.kind {
            TYPE => return Ok(Some(of.holds)),
            STRING => {
                let mut text = String::new();
                self.text(piece, &mut text)?;
                (self.tell)(Event::Text { text: &text, format });
            }
            ANY | JSON => {
                for left in (0..piece.len).rev() {
                    let is_skipped = only_last && left > 0;
                    self.steps.spend(1)?;
                    self.json.clear();
                    let mut text = None;
                    if of.kind == ANY {
                        let mut value = r.clone();
                        if is_skipped {
                            any::<false>(&mut r)?;
                            continue;
                        }
                        Canon::new(&mut self.json, &mut self.steps, self.precision).any(&mut r)?;
                        if value.byte()? == STRING_TAG {
                            text = Some(value.var_string()?);
                        }
                    } else {
                        let value = r.var_string()?;
                        if is_skipped {
                            continue;
                        }
                        if value == "undefined" {
                            self.json.push_str(values::UNDEFINED);
                        } else {
                            Canon::new(&mut self.json, &mut self.steps, self.precision).json(value)?;
                        }
                    }
                    let json = &self.json;
                    (self.tell)(Event::Value { json, text, format });
                }
            }
            BINARY => {
                self.json.clear();
                Canon::new(&mut self.json, &mut self.steps, self.precision).binary(r.var_bytes()?)?;
                let (json, text) = (&self.json, None);
                (self.tell)(Event::Value { json, text, format });
            }
            EMBED => {
                self.json.clear();
                Canon::new(&mut self.json, &mut self.steps, self.precision).json(r.var_string()?)?;
                let json = &self.json;
                (self.tell)(Event::Embed { json, format });
            }
            DOC => {
                let guid = r.var_string()?;
                self.json.clear();
                if self.precision == Precision::Exact {
                    Canon::new(&mut self.json, &mut self.steps, self.precision).any(&mut r)?;
                } else {
                    self.json.push_str("null");
                }
                let options = &self.json;
                (self.tell)(Event::Document { guid, options, format });
            }
            _ => {}
        }
        Ok(None)
    }

    fn sort(&mut self, named: &mut [(&str, u32)]) -> Result<(), ReadError> {
        self.steps.spend(named.len())?;
        named.sort_by(|(a, _), (b, _)| {
            if a.is_ascii() && b.is_ascii() {
                a.cmp(b)
            } else {
                a.encode_utf16().cmp(b.encode_utf16())
            }
        });
        Ok(())
    }
}

/// The tag of a string among lib0's `Any`.
const STRING_TAG: u8 = 119;

/// Events as canonical JSON.
#[derive(Debug, Default)]
pub(crate) struct JsonWriter {
    out: String,
}

impl JsonWriter {
    pub fn take(&mut self, event: Event) {
        match event {
            Event::Open { kind: Kind::Root, name } => {
                self.comma();
                quote(&mut self.out, name);
                self.out.push_str(":{");
            }
            Event::Open { kind, name } => {
                self.comma();
                self.out.push_str(r#"{"type":""#);
                self.out.push_str(kind.name());
                self.out.push('"');
                if matches!(kind, Kind::Element | Kind::Hook) {
                    self.out.push_str(r#","name":"#);
                    quote(&mut self.out, name);
                }
            }
            Event::Map => {
                self.comma();
                self.out.push_str(r#""map":{"#);
            }
            Event::Key(key) => {
                self.comma();
                quote(&mut self.out, key);
                self.out.push(':');
            }
            Event::MapEnd => self.out.push('}'),
            Event::List => {
                self.comma();
                self.out.push_str(r#""list":["#);
            }
            Event::ListEnd => self.out.push(']'),
            Event::Text { text, format } => {
                self.comma();
                self.out.push_str(r#"{"text":"#);
                quote(&mut self.out, text);
                self.close(format);
            }
            Event::Value { json, format, .. } => self.item(r#"{"value":"#, json, format),
            Event::Embed { json, format } => self.item(r#"{"embed":"#, json, format),
            Event::Document { guid, options, format } => {
                self.comma();
                self.out.push_str(r#"{"document":"#);
                quote(&mut self.out, guid);
                self.out.push_str(r#","options":"#);
                self.out.push_str(options);
                self.close(format);
            }
            Event::Close { format } => self.close(format),
        }
    }

    pub fn finish(self) -> String {
        format!("{{{}}}", self.out)
    }

    fn item(&mut self, begin: &str, json: &str, format: &str) {
        self.comma();
        self.out.push_str(begin);
        self.out.push_str(json);
        self.close(format);
    }

    fn close(&mut self, format: &str) {
        if !format.is_empty() {
            self.out.push_str(r#","format":"#);
            self.out.push_str(format);
        }
        self.out.push('}');
    }

    /// A comma, unless something begins here.
    fn comma(&mut self) {
        if !matches!(self.out.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(',');
        }
    }
}
