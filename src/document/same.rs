//! Is one value the same as another one, however both are written? JSON is compared with JSON, and with a value that was made
//! of it.
//!
//! Both are gone through together, up to where they differ, and nothing is made of them: what a client sends again may be
//! compared with something that is sixty times as long, and must not cost what it takes to write that anew. Only where there
//! are objects both are read before, for where these end and how many entries they have.

use std::cmp::Ordering;

use crate::protocol::lib0::{Reader, utf8};

use super::read::values::write_number;

/// Whether two texts, which the gate has checked, are the same JSON: as `JSON.parse` reads them and `JSON.stringify` writes them
/// again. -0 is 0, half a surrogate pair is U+FFFD, of equal keys the last one counts.
pub(super) fn is_same_json(a: &[u8], b: &[u8]) -> bool {
    are_same(Json::new(a), Json::new(b), a.len() + b.len())
}

/// Whether a value is what JSON says: a BigInt is a number there.
pub(super) fn is_json_of(json: &[u8], any: &[u8]) -> bool {
    let (is_longer, bytes) = (json.len() > any.len(), json.len() + any.len());
    let (json, any) = (Json::new(json), Any(Reader::new(any)));
    // Of the shorter one an index is made.
    if is_longer {
        are_same(any, json, bytes)
    } else {
        are_same(json, any, bytes)
    }
}

/// How long JSON is at least when a client writes it that has read it. Linear, but for sorting keys.
pub(super) fn kept_json_bytes(json: &[u8]) -> Option<usize> {
    let mut json = Json::new(json);
    let mut open: Vec<Kept> = Vec::new();
    loop {
        let from = json.at();
        let begins = |left, entries| Kept {
            left,
            bytes: 0,
            entries,
        };
        let mut ended = match json.head()? {
            Head::List(left) => {
                open.push(begins(left, None));
                None
            }
            Head::Object(left) => {
                open.push(begins(left, Some(Vec::new())));
                None
            }
            Head::Number(number) => Some(digits(&json.bytes[from..json.at], number)),
            Head::Text(text) => Some(2 + text.bytes()),
            Head::Null | Head::Bool(_) | Head::Other => Some(json.at - from),
        };
        loop {
            let Some(inside) = open.last_mut() else { return ended };
            if let Some(bytes) = ended {
                match &mut inside.entries {
                    Some(entries) => entries.last_mut()?.2 += bytes,
                    None => inside.bytes += 1 + bytes,
                }
            }
            if json.more(&mut inside.left)? {
                if let Some(entries) = &mut inside.entries {
                    let key = json.key()?;
                    entries.push((key, entries.len(), 4 + key.bytes()));
                }
                break;
            }
            ended = open.pop().map(Kept::bytes);
        }
    }
}

/// The beginning of a value.
enum Head<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(Text<'a>),
    List(Left),
    Object(Left),
    /// What JSON has no form for.
    Other,
}

/// What of a list or object comes: where the number of entries is written how many, else whether it is another one than the
/// first.
type Left = usize;

/// A way to write a value, with a place in it.
trait Written<'a>: Clone {
    /// Where the next value begins, or what comes instead of it.
    fn at(&mut self) -> usize;
    /// Goes to where a value begins.
    fn go(&mut self, at: usize);
    fn head(&mut self) -> Option<Head<'a>>;
    /// Whether another entry comes, or the end, behind which it then is.
    fn more(&mut self, left: &mut Left) -> Option<bool>;
    fn key(&mut self) -> Option<Text<'a>>;
}

/// A text as it is written, with JSON's escapes if there are some.
#[derive(Clone, Copy)]
struct Text<'a> {
    raw: &'a str,
    is_escaped: bool,
}

impl<'a> Text<'a> {
    fn chars(self) -> impl Iterator<Item = char> + 'a {
        let mut rest = self.raw;
        std::iter::from_fn(move || {
            let mut chars = rest.chars();
            let first = chars.next()?;
            rest = chars.as_str();
            if first != '\\' || !self.is_escaped {
                return Some(first);
            }
            let escaped = chars.next()?;
            rest = chars.as_str();
            Some(match escaped {
                'b' => '\u{8}',
                't' => '\t',
                'n' => '\n',
                'f' => '\u{c}',
                'r' => '\r',
                'u' => {
                    let unit = hex(rest)?;
                    rest = rest.get(4..)?;
                    char::from_u32(u32::from(unit)).unwrap_or_else(|| {
                        let low = rest.strip_prefix("\\u").and_then(hex);
                        let pair = low.and_then(|low| char::decode_utf16([unit, low]).next()?.ok());
                        if pair.is_some() {
                            rest = &rest[6..];
                        }
                        pair.unwrap_or(char::REPLACEMENT_CHARACTER)
                    })
                }
                other => other,
            })
        })
    }

    fn order(self, other: Self) -> Ordering {
        if self.is_escaped || other.is_escaped {
            self.chars().cmp(other.chars())
        } else {
            self.raw.cmp(other.raw)
        }
    }

    fn is(self, other: Self) -> bool {
        self.order(other) == Ordering::Equal
    }

    /// Its bytes as UTF-8.
    fn bytes(self) -> usize {
        if self.is_escaped {
            self.chars().map(char::len_utf8).sum()
        } else {
            self.raw.len()
        }
    }
}

fn hex(text: &str) -> Option<u16> {
    let digits = text.as_bytes().get(..4)?;
    digits
        .iter()
        .try_fold(0, |unit, digit| Some(unit << 4 | (*digit as char).to_digit(16)? as u16))
}

/// JSON that the gate has checked.
#[derive(Clone)]
struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Json<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn peek(&mut self) -> Option<u8> {
        while matches!(self.bytes.get(self.at)?, b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        Some(self.bytes[self.at])
    }

    /// The text whose first quote is next.
    fn text(&mut self) -> Option<Text<'a>> {
        let from = self.at + 1;
        let (mut to, mut is_escaped) = (from, false);
        loop {
            let rest = self.bytes.get(to..)?;
            to += rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            if self.bytes[to] == b'"' {
                break;
            }
            is_escaped = true;
            to += 2;
        }
        self.at = to + 1;
        let raw = utf8(&self.bytes[from..to])?;
        Some(Text { raw, is_escaped })
    }

    /// The number that is next, as it is written.
    fn number(&mut self) -> Option<&'a str> {
        let rest = &self.bytes[self.at..];
        let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
        let len = rest.iter().take_while(is_part).count();
        self.at += len;
        std::str::from_utf8(&rest[..len]).ok()
    }
}

impl<'a> Written<'a> for Json<'a> {
    fn at(&mut self) -> usize {
        let _ = self.peek();
        self.at
    }

    fn go(&mut self, at: usize) {
        self.at = at;
    }

    fn head(&mut self) -> Option<Head<'a>> {
        let (bytes, head) = match self.peek()? {
            b'[' => (1, Head::List(0)),
            b'{' => (1, Head::Object(0)),
            b't' => (4, Head::Bool(true)),
            b'f' => (5, Head::Bool(false)),
            b'n' => (4, Head::Null),
            b'"' => (0, Head::Text(self.text()?)),
            b'-' | b'0'..=b'9' => (0, Head::Number(self.number()?.parse().ok()?)),
            _ => return None,
        };
        self.at += bytes;
        Some(head)
    }

    fn more(&mut self, left: &mut Left) -> Option<bool> {
        match self.peek()? {
            b']' | b'}' => {
                self.at += 1;
                return Some(false);
            }
            b',' if *left > 0 => self.at += 1,
            _ if *left > 0 => return None,
            _ => {}
        }
        *left = 1;
        Some(true)
    }

    fn key(&mut self) -> Option<Text<'a>> {
        if self.peek()? != b'"' {
            return None;
        }
        let key = self.text()?;
        (self.peek()? == b':').then(|| {
            self.at += 1;
            key
        })
    }
}

/// A lib0 `Any` that the gate has checked.
#[derive(Clone)]
struct Any<'a>(Reader<'a>);

impl<'a> Written<'a> for Any<'a> {
    fn at(&mut self) -> usize {
        self.0.position()
    }

    fn go(&mut self, at: usize) {
        self.0 = self.0.back_to(at);
    }

    fn head(&mut self) -> Option<Head<'a>> {
        let r = &mut self.0;
        Some(match r.byte().ok()? {
            126 => Head::Null,
            125 => Head::Number(r.var_int().ok()? as f64),
            124 => Head::Number(f64::from(f32::from_be_bytes(r.take(4).ok()?.try_into().ok()?))),
            123 => Head::Number(f64::from_be_bytes(r.take(8).ok()?.try_into().ok()?)),
            122 => Head::Number(i64::from_be_bytes(r.take(8).ok()?.try_into().ok()?) as f64),
            121 => Head::Bool(false),
            120 => Head::Bool(true),
            119 => Head::Text(self.key()?),
            118 => Head::Object(r.count(2).ok()?),
            117 => Head::List(r.count(1).ok()?),
            116 => {
                r.var_bytes().ok()?;
                Head::Other
            }
            127 => Head::Other,
            _ => return None,
        })
    }

    fn more(&mut self, left: &mut Left) -> Option<bool> {
        let is_more = *left > 0;
        *left -= usize::from(is_more);
        Some(is_more)
    }

    fn key(&mut self) -> Option<Text<'a>> {
        let raw = self.0.var_string().ok()?;
        Some(Text { raw, is_escaped: false })
    }
}

/// Where a list or object begins, where what follows it begins, and how many entries it has.
struct Shape {
    from: u32,
    to: u32,
    count: u32,
}

/// All lists and objects of a value, in their order: what is nested is not gone through once for each level.
struct Shapes(Vec<Shape>);

impl Shapes {
    fn of<'a>(mut value: impl Written<'a>) -> Option<Self> {
        let mut shapes: Vec<Shape> = Vec::new();
        let mut open: Vec<(usize, Left, bool)> = Vec::new();
        loop {
            let from = u32::try_from(value.at()).ok()?;
            if let head @ (Head::List(left) | Head::Object(left)) = value.head()? {
                open.push((shapes.len(), left, matches!(head, Head::Object(_))));
                let (to, count) = (0, 0);
                shapes.push(Shape { from, to, count });
            }
            loop {
                let Some((which, left, has_keys)) = open.last_mut() else {
                    return Some(Self(shapes));
                };
                let shape = &mut shapes[*which];
                if value.more(left)? {
                    shape.count += 1;
                    if *has_keys {
                        value.key()?;
                    }
                    break;
                }
                shape.to = u32::try_from(value.at()).ok()?;
                open.pop();
            }
        }
    }

    /// The one that begins there.
    fn at(&self, from: usize) -> Option<&Shape> {
        let index = self.0.binary_search_by_key(&from, |shape| shape.from as usize).ok()?;
        self.0.get(index)
    }

    /// Goes behind the next value.
    fn skip<'a>(&self, value: &mut impl Written<'a>) -> Option<()> {
        let from = value.at();
        if let Head::List(_) | Head::Object(_) = value.head()? {
            value.go(self.at(from)?.to as usize);
        }
        Some(())
    }
}

/// A list or object that was not gone through to its end.
enum Open<A, B> {
    List(Left, Left),
    /// So many entries were the same, in one order; it begins there.
    Object {
        left: (Left, Left),
        begins: (A, B),
        begin_left: (Left, Left),
        same: u32,
    },
    /// These begin the values that have to be the same, and what follows is there.
    Pairs {
        pairs: Vec<(u32, u32)>,
        then: (A, B),
    },
}

/// So many values are compared for each byte.
const COMPARED_TIMES: usize = 4;

struct Compared<A, B> {
    whole: (A, B),
    /// Made when there is an object.
    shapes: Option<(Shapes, Shapes)>,
    /// So many more values are compared: where keys come twice, as no client writes them, some are compared again and again.
    left: usize,
}

/// Whether both are the same, which have so many bytes together.
fn are_same<'a, A: Written<'a>, B: Written<'a>>(a: A, b: B, bytes: usize) -> bool {
    let mut compared = Compared {
        whole: (a, b),
        shapes: None,
        left: COMPARED_TIMES * bytes,
    };
    compared.are_same() == Some(true)
}

impl<'a, A: Written<'a>, B: Written<'a>> Compared<A, B> {
    fn shapes(&mut self) -> Option<&(Shapes, Shapes)> {
        if self.shapes.is_none() {
            self.shapes = Some((Shapes::of(self.whole.0.clone())?, Shapes::of(self.whole.1.clone())?));
        }
        self.shapes.as_ref()
    }

    /// Whether both are the same. `None` when one of them is no value.
    fn are_same(&mut self) -> Option<bool> {
        let (mut a, mut b) = self.whole.clone();
        let mut open: Vec<Open<A, B>> = Vec::new();
        loop {
            self.left = self.left.checked_sub(1)?;
            let from = (a.at(), b.at());
            let is_same = match (a.head()?, b.head()?) {
                (Head::Null, Head::Null) => true,
                (Head::Bool(one), Head::Bool(other)) => one == other,
                (Head::Number(one), Head::Number(other)) => one == other,
                (Head::Text(one), Head::Text(other)) => one.is(other),
                (Head::List(one), Head::List(other)) => {
                    open.push(Open::List(one, other));
                    true
                }
                (Head::Object(one), Head::Object(other)) => {
                    let (of_a, of_b) = self.shapes()?;
                    let left = (one, other);
                    if of_a.at(from.0)?.count == of_b.at(from.1)?.count {
                        open.push(Open::Object {
                            left,
                            begins: (a.clone(), b.clone()),
                            begin_left: left,
                            same: 0,
                        });
                        true
                    } else {
                        // Keys may come twice.
                        let pairs = self.pairs(&mut a, &mut b, left, 0)?;
                        let is_same = pairs.is_some();
                        open.push(Open::Pairs {
                            pairs: pairs.unwrap_or_default(),
                            then: (a.clone(), b.clone()),
                        });
                        is_same
                    }
                }
                _ => false,
            };
            if !is_same {
                return Some(false);
            }
            loop {
                match open.last_mut() {
                    None => return Some(true),
                    Some(Open::List(one, other)) => match (a.more(one)?, b.more(other)?) {
                        (true, true) => break,
                        (false, false) => {
                            open.pop();
                        }
                        _ => return Some(false),
                    },
                    Some(Open::Object {
                        left,
                        begins,
                        begin_left,
                        same,
                    }) => {
                        // There are as many in both.
                        if !(a.more(&mut left.0)? && b.more(&mut left.1)?) {
                            b.more(&mut left.1)?;
                            open.pop();
                            continue;
                        }
                        if a.key()?.is(b.key()?) {
                            *same += 1;
                            break;
                        }
                        let (begins, left, same) = (begins.clone(), *begin_left, *same);
                        (a, b) = begins;
                        open.pop();
                        let Some(pairs) = self.pairs(&mut a, &mut b, left, same)? else {
                            return Some(false);
                        };
                        let then = (a.clone(), b.clone());
                        open.push(Open::Pairs { pairs, then });
                    }
                    Some(Open::Pairs { pairs, then }) => {
                        if let Some((one, other)) = pairs.pop() {
                            a.go(one as usize);
                            b.go(other as usize);
                            break;
                        }
                        (a, b) = then.clone();
                        open.pop();
                    }
                }
            }
        }
    }

    /// Where the values begin that have to be the same of two objects, of which the first `same` entries have the same keys and
    /// values. The last one of a key holds. Both are behind the objects then. `None` when their keys differ.
    #[expect(clippy::option_option, reason = "the outer one is of what is no value")]
    fn pairs(&mut self, a: &mut A, b: &mut B, left: (Left, Left), same: u32) -> Option<Option<Vec<(u32, u32)>>> {
        let (of_a, of_b) = self.shapes()?;
        let mut index = entries(a, left.0, of_a)?;
        index.sort_unstable_by(|one, other| one.key.order(other.key).then(other.nth.cmp(&one.nth)));
        index.dedup_by(|next, kept| next.key.is(kept.key));
        let mut found: Vec<Option<(u32, u32)>> = vec![None; index.len()];
        for entry in entries(b, left.1, of_b)? {
            let Ok(at) = index.binary_search_by(|known| known.key.order(entry.key)) else {
                return Some(None);
            };
            found[at] = Some((entry.nth, entry.value));
        }
        let mut pairs = Vec::new();
        for (entry, found) in index.iter().zip(found) {
            let Some((nth, value)) = found else {
                return Some(None);
            };
            if entry.nth != nth || nth >= same {
                pairs.push((entry.value, value));
            }
        }
        Some(Some(pairs))
    }
}

/// An entry of an object.
struct Entry<'a> {
    key: Text<'a>,
    /// Which of the entries it is.
    nth: u32,
    /// Where its value begins.
    value: u32,
}

/// The entries of an object, in which `value` is; then it is behind it.
fn entries<'a>(value: &mut impl Written<'a>, mut left: Left, shapes: &Shapes) -> Option<Vec<Entry<'a>>> {
    let mut entries = Vec::new();
    while value.more(&mut left)? {
        let (key, nth) = (value.key()?, u32::try_from(entries.len()).ok()?);
        let from = u32::try_from(value.at()).ok()?;
        entries.push(Entry { key, nth, value: from });
        shapes.skip(value)?;
    }
    Some(entries)
}

/// What of a list or object is kept.
struct Kept<'a> {
    left: Left,
    bytes: usize,
    /// Of an object: the key, which entry it is, and what that takes. The value of the last one comes next.
    entries: Option<Vec<(Text<'a>, usize, usize)>>,
}

impl Kept<'_> {
    fn bytes(self) -> usize {
        let Some(mut entries) = self.entries else {
            return (1 + self.bytes).max(2);
        };
        // The last one of a key holds.
        entries.sort_unstable_by(|one, other| one.0.order(other.0).then(other.1.cmp(&one.1)));
        entries.dedup_by(|next, kept| next.0.is(kept.0));
        (1 + entries.iter().map(|(.., bytes)| bytes).sum::<usize>()).max(2)
    }
}

/// How long a number is when JavaScript writes it, without its sign.
fn digits(written: &[u8], number: f64) -> usize {
    let digits = written.strip_prefix(b"-").unwrap_or(written);
    if digits.len() <= 15 && digits.iter().all(u8::is_ascii_digit) {
        return digits.len();
    }
    let mut out = String::new();
    write_number(&mut out, number.abs());
    out.len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::read::{
        Steps,
        values::{Canon, Precision},
    };

    /// A value in the one form that equal ones have.
    fn canonical(json: &str) -> String {
        let mut out = String::new();
        let mut steps = Steps::new(u64::MAX);
        Canon::new(&mut out, &mut steps, Precision::Yrs).json(json).unwrap();
        out
    }

    fn of_any(any: &[u8]) -> String {
        let mut out = String::new();
        let mut steps = Steps::new(u64::MAX);
        Canon::new(&mut out, &mut steps, Precision::Yrs)
            .any(&mut Reader::new(any))
            .unwrap();
        canonical(&out)
    }

    /// JSON, and the same as an `Any`; `None` where no client has made that of it.
    type Both = (String, Option<Vec<u8>>);

    fn value() -> impl Strategy<Value = Both> {
        let text = |raw: &str, said: &str| {
            (
                raw.to_owned(),
                Some([&[119, said.len() as u8][..], said.as_bytes()].concat()),
            )
        };
        let double = |raw: &str, number: f64| (raw.to_owned(), Some([&[123][..], &number.to_be_bytes()].concat()));
        let leaves = vec![
            ("null".to_owned(), Some(vec![126])),
            ("true".to_owned(), Some(vec![120])),
            ("false".to_owned(), Some(vec![121])),
            ("0".to_owned(), Some(vec![125, 0])),
            ("-0".to_owned(), Some(vec![125, 0])),
            ("1".to_owned(), Some(vec![125, 1])),
            ("5".to_owned(), Some([&[122][..], &5i64.to_be_bytes()].concat())),
            double("1.0", 1.0),
            double("10e-1", 1.0),
            double("0.1", 0.1),
            double("1e-7", 1e-7),
            double(
                "123456789012345678901234567890",
                123_456_789_012_345_678_901_234_567_890.0,
            ),
            text("\"a\"", "a"),
            text("\"\\u0061\"", "a"),
            text("\"\\ud83d\\ude00\"", "😀"),
            text("\"😀\"", "😀"),
            text("\"\\ud83d\"", "\u{fffd}"),
            text("\"\\ud83d\\ud83d\\ude00\"", "\u{fffd}😀"),
            text("\"\\n\\/\\\"\"", "\n/\""),
        ];
        let leaf = prop::sample::select(leaves);
        leaf.prop_recursive(3, 12, 3, |inner| {
            let keys = prop::sample::select(vec![
                ("\"a\"", "a"),
                ("\"\\u0061\"", "a"),
                ("\"b\"", "b"),
                (" \"$\" ", "$"),
                ("\"é\"", "é"),
            ]);
            let list = prop::collection::vec(inner.clone(), 0..4).prop_map(|all| {
                let json: Vec<String> = all.iter().map(|(json, _)| json.clone()).collect();
                let any: Option<Vec<Vec<u8>>> = all.iter().map(|(_, any)| any.clone()).collect();
                let any = any.map(|any| [&[117, all.len() as u8][..], &any.concat()].concat());
                (format!("[{}]", json.join(" ,")), any)
            });
            let object = prop::collection::vec((keys, inner), 0..4).prop_map(|all| {
                let json: Vec<String> = all
                    .iter()
                    .map(|((key, _), (json, _))| format!("{key}:{json}"))
                    .collect();
                let entry = |((_, key), (_, any)): &((&str, &str), Both)| {
                    Some([&[key.len() as u8][..], key.as_bytes(), any.as_ref()?].concat())
                };
                let any: Option<Vec<Vec<u8>>> = all.iter().map(entry).collect();
                let any = any.map(|any| [&[118, all.len() as u8][..], &any.concat()].concat());
                (format!("{{{}}}", json.join(", ")), any)
            });
            prop_oneof![list, object]
        })
    }

    /// Whether a key comes twice in an object: where both have as many entries, each of them counts.
    fn repeats_keys(json: &str) -> bool {
        canonical(json).matches(':').count() != json.matches(':').count()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn d22_json_is_the_same_when_its_canonical_form_is((a, any) in value(), (b, _) in value(), turn in proptest::bool::ANY) {
            let b = if turn { canonical(&a) } else { b };
            if !repeats_keys(&a) || !repeats_keys(&b) {
                prop_assert_eq!(is_same_json(a.as_bytes(), b.as_bytes()), canonical(&a) == canonical(&b), "{} {}", a, b);
            }
            if let Some(any) = any {
                prop_assert!(is_json_of(a.as_bytes(), &any), "{} {:?}", a, any);
                if !repeats_keys(&b) && !b.contains('$') {
                    prop_assert_eq!(is_json_of(b.as_bytes(), &any), of_any(&any) == canonical(&canonical(&b)), "{} {:?}", b, any);
                }
            }
        }

        #[test]
        fn g40_what_is_kept_of_json_is_at_most_what_a_client_writes((json, _) in value()) {
            let (kept, written) = (kept_json_bytes(json.as_bytes()).unwrap(), canonical(&json).len());
            prop_assert!(kept <= written && written <= 2 * kept + 2, "{} {} {}", json, kept, written);
        }
    }
}
