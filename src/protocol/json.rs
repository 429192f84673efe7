//! Is this text JSON that everybody downstream can parse? One pass, no allocation, no recursion.
//!
//! Two readers matter: `JSON.parse` in every other client, where an error is an uncaught exception,
//! and serde_json inside yrs. They disagree on two things that honest clients write, so both are
//! reported instead of refused: half a surrogate pair (`"\ud83d"`, from a name cut inside an emoji)
//! and whole numbers between 2^63 and 2^64.

use smallvec::SmallVec;

/// Why deep JSON is refused.
pub const TOO_DEEP: &str = "JSON nested too deeply";

/// What yrs cannot read although `JSON.parse` can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks {
    /// An escape that is half of a surrogate pair.
    pub lone_surrogate: bool,
    /// A whole number that fits in 64 bits unsigned but not signed.
    pub wide_integer: bool,
    /// A key `__proto__`. yrs reads it, and so does `JSON.parse`; lib0 sets the prototype with it, where Yjs keeps aside what waits.
    pub prototype: bool,
}

impl Quirks {
    /// Whether yrs reads the text as it is.
    pub fn is_none(self) -> bool {
        !self.lone_surrogate && !self.wide_integer
    }
}

/// Checks `text` (UTF-8) as one JSON value of at most `depth_max` nested containers.
pub fn check(text: &str, depth_max: usize) -> Result<Quirks, &'static str> {
    // Nearly every formatting mark.
    if matches!(text, "true" | "null" | "false" | "{}") {
        return Ok(Quirks::default());
    }
    let mut scan = Scan {
        bytes: text.as_bytes(),
        at: 0,
        quirks: Quirks::default(),
    };
    scan.value(depth_max)?;
    Ok(scan.quirks)
}

/// Rewrites what [`check`] reported, so that yrs reads it: half a pair becomes U+FFFD, as it does in
/// any string that lib0 writes, and a wide integer gets an exponent.
pub fn repair(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len() + 8);
    let mut at = 0;
    let mut in_string = false;
    while let Some(&byte) = bytes.get(at) {
        if in_string {
            if byte == b'\\' {
                let step = match unit(bytes, at) {
                    Some(unit)
                        if is_high(unit)
                            && bytes
                                .get(at + 6..)
                                .and_then(|_| self::unit(bytes, at + 6))
                                .is_some_and(is_low) =>
                    {
                        out.extend_from_slice(&bytes[at..at + 12]);
                        12
                    }
                    Some(unit) if is_high(unit) || is_low(unit) => {
                        out.extend_from_slice(b"\\ufffd");
                        6
                    }
                    _ => {
                        out.extend_from_slice(&bytes[at..(at + 2).min(bytes.len())]);
                        2
                    }
                };
                at += step;
                continue;
            }
            in_string = byte != b'"';
        } else if byte == b'"' {
            in_string = true;
        } else if byte.is_ascii_digit() {
            let end = bytes[at..]
                .iter()
                .position(|b| !is_number_byte(*b))
                .map_or(bytes.len(), |n| at + n);
            let number = &bytes[at..end];
            out.extend_from_slice(number);
            let negative = at > 0 && bytes[at - 1] == b'-';
            if !negative && is_wide(number) {
                out.extend_from_slice(b"e0");
            }
            at = end;
            continue;
        }
        out.push(byte);
        at += 1;
    }
    // Only ASCII was replaced, by ASCII.
    String::from_utf8(out).unwrap_or_default()
}

fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')
}

fn is_wide(number: &[u8]) -> bool {
    if !(19..=20).contains(&number.len()) || !number.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let value = number
        .iter()
        .fold(0u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    value > i64::MAX as u128 && value <= u128::from(u64::MAX)
}

/// Whether this is `__proto__`, however it is escaped.
fn is_prototype(key: &[u8]) -> bool {
    const PROTOTYPE: &[u8] = b"__proto__";
    if key.len() < PROTOTYPE.len() {
        return false;
    }
    let mut at = 0;
    let is_next = |expected: &u8| {
        let (found, len) = match unit(key, at) {
            Some(unit) => (unit, 6),
            None => (key.get(at).copied().unwrap_or_default().into(), 1),
        };
        at += len;
        found == u16::from(*expected)
    };
    PROTOTYPE.iter().all(is_next) && at == key.len()
}

fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

fn is_low(unit: u16) -> bool {
    (0xdc00..0xe000).contains(&unit)
}

/// The code unit of a `\uXXXX` escape at `at`.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?;
    if escape[0] != b'\\' || escape[1] != b'u' {
        return None;
    }
    escape[2..].iter().try_fold(0u16, |unit, digit| {
        Some(unit << 4 | (*digit as char).to_digit(16)? as u16)
    })
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    quirks: Quirks,
}

impl Scan<'_> {
    fn value(&mut self, depth_max: usize) -> Result<(), &'static str> {
        // For each open container whether it is an object.
        let mut open: SmallVec<[bool; 16]> = SmallVec::new();
        loop {
            self.space();
            match self.peek() {
                Some(bracket @ (b'[' | b'{')) => {
                    self.at += 1;
                    if open.len() == depth_max {
                        return Err(TOO_DEEP);
                    }
                    let object = bracket == b'{';
                    self.space();
                    if self.peek() == Some(if object { b'}' } else { b']' }) {
                        self.at += 1;
                    } else {
                        open.push(object);
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => self.string()?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                _ => return Err("not JSON"),
            }
            // A value ended: close what ends with it, or go on to the next one.
            loop {
                self.space();
                let Some(&object) = open.last() else {
                    return if self.at == self.bytes.len() {
                        Ok(())
                    } else {
                        Err("text after the JSON value")
                    };
                };
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if object => self.at += 1,
                    Some(b']') if !object => self.at += 1,
                    _ => return Err("not JSON"),
                }
                open.pop();
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), &'static str> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err("not JSON");
        }
        self.at += word.len();
        Ok(())
    }

    fn key(&mut self) -> Result<(), &'static str> {
        self.space();
        if self.peek() != Some(b'"') {
            return Err("a JSON object without a key");
        }
        let from = self.at + 1;
        self.string()?;
        self.quirks.prototype |= is_prototype(&self.bytes[from..self.at - 1]);
        self.space();
        if self.peek() != Some(b':') {
            return Err("a JSON key without a value");
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), &'static str> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(byte) if byte >= 0x20 => self.at += 1,
                _ => return Err("a JSON string that does not end"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), &'static str> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let unit = unit(self.bytes, self.at).ok_or("a bad JSON escape")?;
                self.at += 6;
                if is_high(unit) && self::unit(self.bytes, self.at).is_some_and(is_low) {
                    self.at += 6;
                } else if is_high(unit) || is_low(unit) {
                    self.quirks.lone_surrogate = true;
                }
            }
            _ => return Err("a bad JSON escape"),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err("a bad JSON number"),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        let number = &self.bytes[start..self.at];
        if number.len() >= 19 {
            self.quirks.wide_integer |= is_wide(number);
        }
        // serde_json refuses what does not fit in a double; JSON.stringify never writes it.
        let finite = || {
            std::str::from_utf8(number)
                .ok()?
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite())
        };
        if number.len() > 4 && finite().is_none() {
            return Err("a JSON number beyond a double");
        }
        Ok(())
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        self.digits();
        if self.at == start {
            Err("a bad JSON number")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn g7_json_that_some_client_cannot_parse_is_refused() {
        for bad in [
            "",
            " ",
            "undefined",
            "nul",
            "tru",
            "NaN",
            "01",
            "1.",
            "-",
            ".5",
            "1e",
            "1e999",
            "-1e999",
            "[1,]",
            "[",
            "[1",
            "{",
            "{}}",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "\"a",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "1 2",
            "'a'",
            "[}",
            "{]",
            "\"\\",
            "\\u0041",
        ] {
            assert!(check(bad, 64).is_err(), "{bad}");
        }
    }

    #[test]
    fn g7_nesting_is_accepted_up_to_the_bound_and_refused_beyond() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));

        assert!(check(&nested(64), 64).is_ok());
        assert!(check(&nested(65), 64).is_err());
        assert!(check(&nested(3), 2).is_err());
    }

    #[test]
    fn g29_a_key_proto_is_found_however_it_is_written() {
        let found = |text: &str| check(text, 64).unwrap().prototype;
        for text in [
            r#"{"__proto__":1}"#,
            r#"[{"a":{"__proto__":[]}}]"#,
            r#"{"a":1, "\u005f_proto_\u005F":null}"#,
        ] {
            assert!(found(text), "{text}");
        }
        for text in [
            r#""__proto__""#,
            r#"{"__proto":1,"_proto__":1,"__proto___":1}"#,
            r#"{"a":"__proto__"}"#,
            r#"{"\\u005f_proto__":1}"#,
            r#"{"":{}}"#,
        ] {
            assert!(!found(text), "{text}");
        }
    }

    #[test]
    fn g7_what_only_javascript_reads_is_repaired_for_yrs() {
        for (text, repaired) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (
                r#"{"\ude00":["\ud83d\ude00","\ud83dx"]}"#,
                r#"{"\ufffd":["\ud83d\ude00","\ufffdx"]}"#,
            ),
            ("10000000000000000000", "10000000000000000000e0"),
            (
                r#"[9223372036854775807,-9999999999999999999,"10000000000000000000"]"#,
                r#"[9223372036854775807,-9999999999999999999,"10000000000000000000"]"#,
            ),
        ] {
            assert_eq!(check(text, 64).unwrap().is_none(), text == repaired, "{text}");
            assert_eq!(repair(text), repaired);
            assert!(yrs::Any::from_json(repaired).is_ok());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn g7_whatever_passes_is_read_by_yrs(tokens in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"a\"", "\"\\u00e4\"", "\"\\ud83d\"", "\"\\ud83d\\ude00\"", "1", "-0", "1.5e3", "1e308",
            "18446744073709551615", "9223372036854775808", "18446744073709551616", "true", "null", "false", " ", "\"ä😀\"",
        ]), 1..12)) {
            let text = tokens.concat();
            if let Ok(quirks) = check(&text, 64) {
                let text = if quirks.is_none() { text } else { repair(&text) };
                prop_assert!(yrs::Any::from_json(&text).is_ok(), "{}", text);
            } else {
                prop_assert!(yrs::Any::from_json(&text).is_err(), "{}", text);
            }
        }
    }
}
