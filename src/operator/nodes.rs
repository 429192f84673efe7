//! `cowrite nodes`: who serves a database (rule N33).

use std::io::Write;

use serde_json::json;

use super::{Failure, say, time_text};
use crate::store::postgres::{
    census::{self, Known, State},
    link::DatabaseUrl,
};

/// A line for each node, or one array of JSON.
pub(super) fn list(url: &DatabaseUrl, as_json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let nodes = census::nodes(url)?;
    if as_json {
        let nodes: Vec<_> = nodes.iter().map(object).collect();
        return say(out, json!(nodes));
    }
    if nodes.is_empty() {
        return say(out, format!("no server is on {}", url.label()));
    }
    let head = [
        "NODE",
        "STATE",
        "DOCUMENTS",
        "ADDRESS",
        "VERSION",
        "SINCE",
        "LAST SEEN",
        "MACHINE",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(nodes.iter().map(line));
    say(out, table(&lines))
}

fn state(node: &Known) -> &'static str {
    match node.state {
        State::Living => "living",
        State::Draining => "draining",
        State::Dead => "dead",
    }
}

fn object(node: &Known) -> serde_json::Value {
    json!({
        "node": node.id.to_string(), "state": state(node), "documents": node.documents, "address": node.address,
        "version": node.version, "since": time_text(node.since_ms), "seen": time_text(node.seen_ms),
        "machine": node.machine,
    })
}

fn line(node: &Known) -> [String; 8] {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        node.id.to_string(),
        state(node).to_owned(),
        node.documents.to_string(),
        or_none(&node.address),
        node.version.clone(),
        time_text(node.since_ms),
        time_text(node.seen_ms),
        or_none(&node.machine),
    ]
}

/// Columns as wide as what is in them.
fn table(lines: &[[String; 8]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let row = |line: &[String; 8]| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(row).collect::<Vec<_>>().join("\n")
}
