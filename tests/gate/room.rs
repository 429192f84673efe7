//! The least a server does with an update: check, admit, apply, absorb.

use bytes::Bytes;
use cowrite::protocol::update::{Admission, CheckedUpdate, Clocks, Known};
use yrs::types::text::YChange;
use yrs::updates::decoder::Decode;
use yrs::{
    Any, Array, Doc, GetString, Map, Out, ReadTxn, StateVector, Text, Transact, Update, WriteTxn, Xml, XmlFragment,
    XmlOut,
};

/// A document as a server holds it.
pub struct Room {
    pub doc: Doc,
    pub known: Known,
}

pub fn doc() -> Doc {
    doc_with_gc(true)
}

pub fn doc_with_gc(gc: bool) -> Doc {
    let options = yrs::Options {
        client_id: yrs::block::ClientID::new(1),
        guid: "root".into(),
        offset_kind: yrs::OffsetKind::Utf16,
        skip_gc: !gc,
        ..Default::default()
    };
    let doc = Doc::with_options(options);
    doc.get_or_insert_text("text");
    doc.get_or_insert_array("array");
    doc.get_or_insert_map("map");
    doc.get_or_insert_xml_fragment("xml");
    doc
}

impl Room {
    pub fn new() -> Self {
        Self {
            doc: doc(),
            known: Known::default(),
        }
    }

    /// Lets `bytes` in, whole, and returns what was applied.
    pub fn receive(&mut self, bytes: &Bytes) -> CheckedUpdate {
        let checked = CheckedUpdate::check(bytes.clone()).expect("an honest update");
        match checked.admit(&self.known) {
            Admission::Whole(update) => {
                apply(&self.doc, update.bytes());
                self.known.absorb(&update);
                update
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn state(&self) -> Bytes {
        self.doc
            .transact()
            .encode_state_as_update_v1(&StateVector::default())
            .into()
    }
}

pub fn apply(doc: &Doc, bytes: &[u8]) {
    let mut txn = doc.transact_mut();
    txn.apply_update(Update::decode_v1(bytes).expect("yrs decodes what the gate admits"))
        .unwrap();
    forget_subdocuments(&mut txn);
    drop(txn);
    let txn = doc.transact();
    assert!(!txn.has_missing_updates(), "yrs holds something back");
}

/// To be called before every commit: yrs destroys removed sub-documents after it has freed what held them, and
/// reads the freed memory. A server has no use for the list.
pub fn forget_subdocuments(txn: &mut yrs::TransactionMut) {
    drop(std::mem::take(txn.subdocs_mut()));
}

pub fn clocks_of(doc: &Doc) -> Clocks {
    let mut clocks = Clocks::default();
    for (client, clock) in doc.transact().state_vector().iter() {
        clocks.advance(client.get(), *clock);
    }
    clocks
}

/// Everything that a document holds, comparable whatever the order in which it was put there.
pub fn content(doc: &Doc) -> Any {
    content_of(doc, &["text", "array", "map", "xml"])
}

/// What these roots hold.
pub fn content_of(doc: &Doc, roots: &[&str]) -> Any {
    let txn = doc.transact();
    let root = |name: &str| txn.root_refs().find(|(n, _)| *n == name).map(|(_, out)| out);
    let mut all = std::collections::HashMap::new();
    for name in roots {
        if let Some(out) = root(name) {
            all.insert((*name).to_owned(), value(&out, &txn));
        }
    }
    Any::from(all)
}

fn value(out: &Out, txn: &impl ReadTxn) -> Any {
    match out {
        Out::Any(any) => comparable(any),
        Out::YText(text) => diff(text.diff(txn, YChange::identity), txn),
        Out::YArray(array) => array.iter(txn).map(|item| value(&item, txn)).collect::<Vec<_>>().into(),
        Out::YMap(map) => {
            let entries = map.iter(txn).map(|(key, item)| (key.to_owned(), value(&item, txn)));
            entries.collect::<std::collections::HashMap<_, _>>().into()
        }
        Out::YXmlElement(element) => Any::from(vec![
            Any::from(element.tag().to_string()),
            attributes(element.attributes(txn), txn),
            nodes(element.children(txn), txn),
        ]),
        Out::YXmlFragment(fragment) => nodes(fragment.children(txn), txn),
        Out::YXmlText(text) => Any::from(vec![
            attributes(text.attributes(txn), txn),
            diff(text.diff(txn, YChange::identity), txn),
        ]),
        Out::YDoc(doc) => Any::from(format!("doc {}", doc.guid())),
        Out::UndefinedRef(_) => Any::from("undefined ref"),
        #[allow(unreachable_patterns)]
        _ => Any::Undefined,
    }
}

/// The value, with a NaN that equals itself.
fn comparable(any: &Any) -> Any {
    match any {
        Any::Number(number) if number.as_f64().is_some_and(f64::is_nan) => Any::from("NaN"),
        Any::Array(items) => items.iter().map(comparable).collect::<Vec<_>>().into(),
        Any::Map(entries) => {
            let entries = entries.iter().map(|(key, item)| (key.clone(), comparable(item)));
            entries.collect::<std::collections::HashMap<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// Like `assert_eq`, for values that are too long to print.
#[track_caller]
pub fn assert_same(left: &Any, right: &Any, what: &str) {
    if left == right {
        return;
    }
    let (mut left, mut right, mut path) = (left, right, String::new());
    loop {
        let inner = match (left, right) {
            (Any::Array(a), Any::Array(b)) if a.len() == b.len() => (0..a.len())
                .find(|i| a[*i] != b[*i])
                .map(|i| (i.to_string(), &a[i], &b[i])),
            (Any::Map(a), Any::Map(b)) if a.len() == b.len() => a
                .keys()
                .find(|k| b.get(*k) != a.get(*k))
                .and_then(|k| Some((k.clone(), a.get(k)?, b.get(k)?))),
            _ => None,
        };
        let Some((step, a, b)) = inner else {
            panic!("{what}: at {path}\n  {left:?}\n  {right:?}")
        };
        path += &format!("/{step}");
        (left, right) = (a, b);
    }
}

fn attributes<'a, T: ReadTxn>(all: impl Iterator<Item = (&'a str, Out)>, txn: &T) -> Any {
    all.map(|(key, item)| (key.to_owned(), value(&item, txn)))
        .collect::<std::collections::HashMap<_, _>>()
        .into()
}

fn nodes(children: impl Iterator<Item = XmlOut>, txn: &impl ReadTxn) -> Any {
    let node = |child| match child {
        XmlOut::Element(element) => value(&Out::YXmlElement(element), txn),
        XmlOut::Fragment(fragment) => value(&Out::YXmlFragment(fragment), txn),
        XmlOut::Text(text) => value(&Out::YXmlText(text), txn),
    };
    children.map(node).collect::<Vec<_>>().into()
}

fn diff(chunks: Vec<yrs::types::text::Diff<YChange>>, txn: &impl ReadTxn) -> Any {
    // Neighbouring chunks with the same attributes are one: how text is cut into items is no content.
    let mut joined: Vec<(Any, Any)> = Vec::new();
    for chunk in chunks {
        let attributes: std::collections::HashMap<String, Any> = chunk
            .attributes
            .iter()
            .flat_map(|all| all.iter())
            .map(|(key, value)| (key.to_string(), value.clone()))
            .collect();
        let attributes = Any::from(attributes);
        let inserted = value(&chunk.insert, txn);
        match (joined.last_mut(), &inserted) {
            (Some((Any::String(last), before)), Any::String(next)) if *before == attributes => {
                *last = format!("{last}{next}").into();
            }
            _ => joined.push((inserted, attributes)),
        }
    }
    joined
        .into_iter()
        .map(|(inserted, attributes)| Any::from(vec![inserted, attributes]))
        .collect::<Vec<_>>()
        .into()
}

/// The plain text of the root `text`.
pub fn text(doc: &Doc) -> String {
    let text = doc.get_or_insert_text("text");
    text.get_string(&doc.transact())
}
