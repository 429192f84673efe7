//! Values as canonical JSON: equal text means equal value, bit for bit.
//!
//! * Numbers are written as JavaScript writes them, and `-0` as `-0`; how they are encoded is no part of a value.
//! * Keys are in the order of their UTF-16 units, the last of equal ones counts. Strings are escaped as `JSON.stringify`
//!   does; half a surrogate pair stays an escape.
//! * What JSON has no form for is an object with one key that begins with `$`: `{"$undefined":true}`,
//!   `{"$number":"NaN"}`, `{"$bigint":"5"}`, `{"$binary":"<base64>"}`. A key of a value that begins with `$` gets
//!   another one.

use std::{cmp::Ordering, fmt::Write};

use super::{ReadError, Steps};
use crate::protocol::lib0::{Malformed, Reader};

pub(crate) const UNDEFINED: &str = r#"{"$undefined":true}"#;

/// Writes values to the end of `out`.
pub(crate) struct Canon<'a> {
    out: &'a mut String,
    steps: &'a mut Steps,
    precision: Precision,
    open: Vec<Open>,
}

/// How exactly values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    /// Bit for bit.
    Exact,
    /// As yrs can hold them: `-0` is 0, a BigInt is a whole number, half a surrogate pair in JSON is U+FFFD, and of a
    /// sub-document there is the guid.
    Yrs,
}

/// A container that is not closed yet.
struct Open {
    is_object: bool,
    /// Where its content begins in what was written.
    from: usize,
    is_empty: bool,
    /// Where the keys begin and end, without their quotes.
    keys: Vec<(usize, usize)>,
}

impl<'a> Canon<'a> {
    pub fn new(out: &'a mut String, steps: &'a mut Steps, precision: Precision) -> Self {
        Self {
            out,
            steps,
            precision,
            open: Vec::new(),
        }
    }

    /// Writes the lib0 `Any` that `r` is at.
    pub fn any(&mut self, r: &mut Reader) -> Result<(), ReadError> {
        // Values that each open container still has.
        let mut left: Vec<usize> = Vec::new();
        loop {
            self.steps.spend(1)?;
            match r.byte()? {
                127 => self.scalar(UNDEFINED),
                126 => self.scalar("null"),
                125 => {
                    let is_negative = r.clone().byte()? & 0x40 != 0;
                    let whole = r.var_int()?;
                    self.number(if whole == 0 && is_negative { -0.0 } else { whole as f64 });
                }
                124 => self.number(f64::from(f32::from_be_bytes(take(r)?))),
                123 => self.number(f64::from_be_bytes(take(r)?)),
                122 => self.big_int(i64::from_be_bytes(take(r)?)),
                121 => self.scalar("false"),
                120 => self.scalar("true"),
                119 => self.string(r.var_string()?)?,
                116 => self.binary(r.var_bytes()?)?,
                tag @ (117 | 118) => {
                    left.push(r.count(1)?);
                    self.begin(tag == 118);
                }
                _ => return Err(r.malformed("an unknown kind of value").into()),
            }
            loop {
                match left.last_mut() {
                    None => return Ok(()),
                    Some(0) => {
                        left.pop();
                        self.end()?;
                    }
                    Some(more) => {
                        *more -= 1;
                        if self.open.last().is_some_and(|open| open.is_object) {
                            self.key(r.var_string()?)?;
                        }
                        break;
                    }
                }
            }
        }
    }

    /// Writes the value that `text` is the JSON of.
    pub fn json(&mut self, text: &str) -> Result<(), ReadError> {
        self.steps.spend_bytes(text.len())?;
        let mut scan = Scan {
            bytes: text.as_bytes(),
            at: 0,
        };
        let base = self.open.len();
        loop {
            self.steps.spend(1)?;
            match scan.next()? {
                open @ (b'[' | b'{') => {
                    self.begin(open == b'{');
                    let close = if open == b'{' { b'}' } else { b']' };
                    if scan.skip(close) {
                        self.end()?;
                    } else {
                        if open == b'{' {
                            self.json_key(&mut scan)?;
                        }
                        continue;
                    }
                }
                b'"' => {
                    self.separate();
                    self.json_string(&mut scan, false)?;
                }
                b'-' | b'0'..=b'9' => self.number(scan.number()?),
                b't' => self.scalar(scan.word("true")?),
                b'f' => self.scalar(scan.word("false")?),
                b'n' => self.scalar(scan.word("null")?),
                _ => return Err(scan.malformed().into()),
            }
            loop {
                if self.open.len() == base {
                    return Ok(());
                }
                let is_object = self.open.last().is_some_and(|open| open.is_object);
                match scan.next()? {
                    b',' => {
                        if is_object {
                            self.json_key(&mut scan)?;
                        }
                        break;
                    }
                    b'}' | b']' => self.end()?,
                    _ => return Err(scan.malformed().into()),
                }
            }
        }
    }

    pub fn scalar(&mut self, text: &str) {
        self.separate();
        self.out.push_str(text);
    }

    pub fn string(&mut self, text: &str) -> Result<(), ReadError> {
        self.steps.spend_bytes(text.len())?;
        self.separate();
        quote(self.out, text);
        Ok(())
    }

    pub fn number(&mut self, number: f64) {
        self.separate();
        let is_exact = self.precision == Precision::Exact;
        write_number(self.out, if number == 0.0 && !is_exact { 0.0 } else { number });
    }

    pub fn big_int(&mut self, whole: i64) {
        self.separate();
        // Writing to a string does not fail.
        let _ = match self.precision {
            Precision::Exact => write!(self.out, r#"{{"$bigint":"{whole}"}}"#),
            Precision::Yrs => write!(self.out, "{whole}"),
        };
    }

    pub fn binary(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        self.steps.spend_bytes(bytes.len())?;
        self.separate();
        self.out.push_str(r#"{"$binary":""#);
        base64(self.out, bytes);
        self.out.push_str(r#""}"#);
        Ok(())
    }

    pub fn begin(&mut self, is_object: bool) {
        self.separate();
        self.out.push(if is_object { '{' } else { '[' });
        self.open.push(Open {
            is_object,
            from: self.out.len(),
            is_empty: true,
            keys: Vec::new(),
        });
    }

    /// The key of the next value of an object.
    pub fn key(&mut self, key: &str) -> Result<(), ReadError> {
        self.steps.spend_bytes(key.len())?;
        self.begin_key();
        let from = self.out.len();
        quote(self.out, key);
        if key.starts_with('$') {
            self.out.insert(from + 1, '$');
        }
        self.end_key(from);
        Ok(())
    }

    /// A key that is JSON already, without its quotes.
    pub fn raw_key(&mut self, key: &str) -> Result<(), ReadError> {
        self.steps.spend_bytes(key.len())?;
        self.begin_key();
        let from = self.out.len();
        self.out.push('"');
        self.out.push_str(key);
        self.out.push('"');
        self.end_key(from);
        Ok(())
    }

    fn begin_key(&mut self) {
        if let Some(open) = self.open.last_mut()
            && !std::mem::replace(&mut open.is_empty, false)
        {
            self.out.push(',');
        }
    }

    /// `from` is where the key's first quote is.
    fn end_key(&mut self, from: usize) {
        if let Some(open) = self.open.last_mut() {
            open.keys.push((from + 1, self.out.len() - 1));
        }
        self.out.push(':');
    }

    fn json_key(&mut self, scan: &mut Scan) -> Result<(), ReadError> {
        if scan.next()? != b'"' {
            return Err(scan.malformed().into());
        }
        self.begin_key();
        let from = self.out.len();
        self.json_string(scan, true)?;
        self.end_key(from);
        if scan.next()? != b':' {
            return Err(scan.malformed().into());
        }
        Ok(())
    }

    /// Copies a JSON string, whose first quote was read, in its canonical form.
    fn json_string(&mut self, scan: &mut Scan, is_key: bool) -> Result<(), ReadError> {
        self.out.push('"');
        let from = self.out.len();
        loop {
            let chunk = scan.plain()?;
            escape(self.out, chunk);
            match scan.string_end()? {
                StringPart::End => break,
                StringPart::Unit(unit) => match char::from_u32(u32::from(unit)) {
                    Some(character) => escape(self.out, character.encode_utf8(&mut [0; 4])),
                    None => match scan.low_half(unit) {
                        Some(character) => self.out.push(character),
                        None if self.precision == Precision::Yrs => self.out.push(char::REPLACEMENT_CHARACTER),
                        None => {
                            let _ = write!(self.out, "\\u{unit:04x}");
                        }
                    },
                },
            }
        }
        if is_key && self.out[from..].starts_with('$') {
            self.out.insert(from, '$');
        }
        self.out.push('"');
        Ok(())
    }

    /// Closes a container; an object's keys are put in order.
    pub fn end(&mut self) -> Result<(), ReadError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        if !open.is_object {
            self.out.push(']');
            return Ok(());
        }
        let order = |out: &str, a: &(usize, usize), b: &(usize, usize)| by_units(&out[a.0..a.1], &out[b.0..b.1]);
        let ascending = |pair: &[(usize, usize)]| order(self.out, &pair[0], &pair[1]) == Ordering::Less;
        if !open.keys.windows(2).all(ascending) {
            self.steps.spend_bytes(self.out.len() - open.from)?;
            self.steps.spend(open.keys.len())?;
            // Where each entry begins and ends, with its key.
            let ends = open.keys.iter().skip(1).map(|(next, _)| next - 2);
            let ends = ends.chain([self.out.len()]);
            let mut entries: Vec<((usize, usize), usize)> = open.keys.iter().copied().zip(ends).collect();
            entries.sort_by(|(a, _), (b, _)| order(self.out, a, b));
            let written = self.out.split_off(open.from);
            for (index, (key, end)) in entries.iter().enumerate() {
                let text = |key: &(usize, usize)| &written[key.0 - open.from..key.1 - open.from];
                if entries.get(index + 1).is_some_and(|(next, _)| text(next) == text(key)) {
                    continue;
                }
                if self.out.len() > open.from {
                    self.out.push(',');
                }
                self.out.push_str(&written[key.0 - 1 - open.from..end - open.from]);
            }
        }
        self.out.push('}');
        Ok(())
    }

    /// A comma between the values of an array.
    fn separate(&mut self) {
        if let Some(open) = self.open.last_mut()
            && !open.is_object
            && !std::mem::replace(&mut open.is_empty, false)
        {
            self.out.push(',');
        }
    }
}

fn take<const N: usize>(r: &mut Reader) -> Result<[u8; N], Malformed> {
    let mut bytes = [0; N];
    bytes.copy_from_slice(r.take(N)?);
    Ok(bytes)
}

/// A number as JavaScript's `String` writes it.
pub(crate) fn write_number(out: &mut String, number: f64) {
    // Writing to a string does not fail.
    if number.is_nan() {
        out.push_str(r#"{"$number":"NaN"}"#);
    } else if number.is_infinite() {
        let sign = if number < 0.0 { "-" } else { "" };
        let _ = write!(out, r#"{{"$number":"{sign}Infinity"}}"#);
    } else if number == 0.0 {
        out.push_str(if number.is_sign_negative() { "-0" } else { "0" });
    } else {
        // The shortest digits that are this number, of several the nearest, as in JavaScript. (`{:e}` takes another of
        // two that are as near.)
        let shortest = serde_json::to_string(&number.abs()).unwrap_or_default();
        let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{part}");
        let digits = all.trim_start_matches('0');
        let leading = (all.len() - digits.len()) as i32;
        let digits = digits.trim_end_matches('0');
        let count = digits.len() as i32;
        // How many digits are before the point.
        let point = whole.len() as i32 - leading + exponent.parse::<i32>().unwrap_or_default();
        if number < 0.0 {
            out.push('-');
        }
        let zeros = |count: i32| "0".repeat(count.unsigned_abs() as usize);
        let _ = match point {
            22.. | ..=-6 => {
                let (first, rest) = digits.split_at(1);
                let dot = if rest.is_empty() { "" } else { "." };
                write!(out, "{first}{dot}{rest}e{:+}", point - 1)
            }
            ..=0 => write!(out, "0.{}{digits}", zeros(point)),
            _ if point >= count => write!(out, "{digits}{}", zeros(point - count)),
            _ => {
                let (whole, part) = digits.split_at(point as usize);
                write!(out, "{whole}.{part}")
            }
        };
    }
}

/// Writes a JSON string.
pub(crate) fn quote(out: &mut String, text: &str) {
    out.push('"');
    escape(out, text);
    out.push('"');
}

/// Writes the inside of a JSON string.
pub(crate) fn escape(out: &mut String, text: &str) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escaped = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            8 => "\\b",
            9 => "\\t",
            10 => "\\n",
            12 => "\\f",
            13 => "\\r",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[from..at]);
        out.push_str(escaped);
        if escaped.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        }
        from = at + 1;
    }
    out.push_str(&text[from..]);
}

fn base64(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { digit as char } else { '=' });
        }
    }
}

/// The order of two strings, given as the insides of JSON strings.
pub(crate) fn by_units(a: &str, b: &str) -> Ordering {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii() && byte != b'\\');
    if is_plain(a) && is_plain(b) {
        return a.cmp(b);
    }
    units(a).cmp(units(b))
}

/// The UTF-16 units of the inside of a canonical JSON string.
fn units(text: &str) -> impl Iterator<Item = u16> + '_ {
    let mut chars = text.chars();
    let mut second = None;
    std::iter::from_fn(move || {
        if let Some(unit) = second.take() {
            return Some(unit);
        }
        let character = match chars.next()? {
            '\\' => match chars.next()? {
                'b' => '\u{8}',
                't' => '\t',
                'n' => '\n',
                'f' => '\u{c}',
                'r' => '\r',
                'u' => {
                    let digits = (0..4).map_while(|_| chars.next()?.to_digit(16));
                    return Some(digits.fold(0, |unit, digit| unit << 4 | digit as u16));
                }
                other => other,
            },
            plain => plain,
        };
        let mut pair = [0; 2];
        if let [first, low] = character.encode_utf16(&mut pair) {
            second = Some(*low);
            return Some(*first);
        }
        Some(pair[0])
    })
}

/// A cursor over JSON that the gate has checked: what is wrong in it all the same is malformed.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

enum StringPart {
    End,
    /// An escaped UTF-16 unit.
    Unit(u16),
}

impl<'a> Scan<'a> {
    fn malformed(&self) -> Malformed {
        Malformed::new(self.at, "not JSON")
    }

    /// The next byte that is no white space.
    fn next(&mut self) -> Result<u8, Malformed> {
        while let Some(byte) = self.bytes.get(self.at) {
            self.at += 1;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Ok(*byte);
            }
        }
        Err(self.malformed())
    }

    /// Goes on after `byte` if that is next.
    fn skip(&mut self, byte: u8) -> bool {
        let before = self.at;
        let found = self.next() == Ok(byte);
        if !found {
            self.at = before;
        }
        found
    }

    /// A word whose first letter was read.
    fn word(&mut self, word: &'static str) -> Result<&'static str, Malformed> {
        let from = self.at - 1;
        if !self.bytes[from..].starts_with(word.as_bytes()) {
            return Err(self.malformed());
        }
        self.at = from + word.len();
        Ok(word)
    }

    /// A number whose first character was read.
    fn number(&mut self) -> Result<f64, Malformed> {
        let from = self.at - 1;
        let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
        self.at += self.bytes[self.at..].iter().take_while(is_part).count();
        let text = std::str::from_utf8(&self.bytes[from..self.at]).ok();
        text.and_then(|text| text.parse().ok()).ok_or_else(|| self.malformed())
    }

    /// What of a string comes before its end or its next escape.
    fn plain(&mut self) -> Result<&'a str, Malformed> {
        let from = self.at;
        let rest = &self.bytes[from..];
        let len = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
        self.at += len.unwrap_or(rest.len());
        std::str::from_utf8(&self.bytes[from..self.at]).map_err(|_| self.malformed())
    }

    fn string_end(&mut self) -> Result<StringPart, Malformed> {
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or_default();
        let (first, escaped) = (byte(self.at), byte(self.at + 1));
        if first == b'"' {
            self.at += 1;
            return Ok(StringPart::End);
        }
        let unit = match escaped {
            b'b' => 8,
            b't' => 9,
            b'n' => 10,
            b'f' => 12,
            b'r' => 13,
            b'"' | b'\\' | b'/' => u16::from(escaped),
            b'u' => {
                let unit = self.unit().ok_or_else(|| self.malformed())?;
                self.at += 6;
                return Ok(StringPart::Unit(unit));
            }
            _ => return Err(self.malformed()),
        };
        self.at += 2;
        Ok(StringPart::Unit(unit))
    }

    /// The unit of the escape `\uXXXX` that is next.
    fn unit(&self) -> Option<u16> {
        let escape = self.bytes.get(self.at..self.at + 6)?;
        if !escape.starts_with(b"\\u") {
            return None;
        }
        escape[2..].iter().try_fold(0u16, |unit, digit| {
            Some(unit << 4 | (*digit as char).to_digit(16)? as u16)
        })
    }

    /// The character whose first half is `high`, if its second half is next.
    fn low_half(&mut self, high: u16) -> Option<char> {
        let character = char::decode_utf16([high, self.unit()?]).next()?.ok()?;
        self.at += 6;
        Some(character)
    }
}
