//! What all nodes say together: an operator asks one of them, and that one asks the others.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
    web::Bytes,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    id::DocumentId,
    nodes::{Nodes, Peer, Said},
    protocol::close::CloseReason,
};

use super::{
    Shared,
    tunnel::{self, Asked},
};

/// How long a node may take for its whole answer. One that is frozen holds up nobody longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest answer of a node, in bytes: as many sessions as it tells of, with the longest names.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Where nodes answer each other.
const PREFIX: &str = "/cluster";

/// What the other nodes said.
#[derive(Debug, Default)]
pub struct Heard {
    answers: Vec<(Peer, Value)>,
    unanswered: Vec<Value>,
}

/// Asks all other nodes that live what `request` asks of this one; `None` when there are none to ask, or when a node asks.
pub async fn ask(request: &HttpRequest, shared: &Shared) -> Option<Heard> {
    let nodes = shared.nodes.as_ref()?;
    if tunnel::said(request).is_some() {
        return None;
    }
    let target = target(request);
    let all = nodes.living().into_iter().map(|peer| ask_one(nodes, peer, &target));
    let mut heard = Heard::default();
    for (peer, answer) in futures_util::future::join_all(all).await {
        match answer {
            Ok(answer) => heard.answers.push((peer, answer)),
            Err(reason) => heard.unanswered.push(json!({
                "node": peer.id.to_string(), "address": peer.address, "reason": reason,
            })),
        }
    }
    Some(heard)
}

async fn ask_one(nodes: &Nodes, peer: Peer, target: &str) -> (Peer, Result<Value, String>) {
    let asks = async {
        let answer = tunnel::ask_peer(nodes, &peer, &asked(target)).await?;
        let status = answer.head.status;
        let bytes = answer.bytes(ANSWER_BYTES_MAX).await;
        if status != StatusCode::OK {
            return Err(format!("it answers {status}"));
        }
        serde_json::from_slice(&bytes).map_err(|_| "its answer is not whole".to_owned())
    };
    let answer = timeout(PATIENCE, asks).await;
    (
        peer,
        answer.unwrap_or_else(|_| Err("it did not answer in time".to_owned())),
    )
}

/// The question of an operator about one document, answered by the node that has it; `None` when it is to be answered here.
///
/// # Errors
/// The document moves, or its node does not answer.
pub async fn look(
    request: &HttpRequest,
    document: &DocumentId,
    shared: &Shared,
) -> Result<Option<HttpResponse>, CloseReason> {
    tunnel::look(request, document, &asked(&target(request)), shared).await
}

fn target(request: &HttpRequest) -> String {
    let (path, query) = (request.uri().path(), request.query_string());
    format!("{PREFIX}{path}?{query}")
}

/// A question on this node's own behalf: the operator's token stays here.
pub(super) fn asked(target: &str) -> Asked {
    let mut headers = HeaderMap::new();
    // HTTP asks for one.
    headers.insert(header::HOST, HeaderValue::from_static("node"));
    Asked {
        head: tunnel::head(&Method::GET, target, &headers, false, None),
        body: Bytes::new(),
        said: Said::Node,
    }
}

impl Heard {
    /// The lists of this name in all answers, each entry with its node, behind those of this node (`own`).
    #[must_use]
    pub fn lists(&self, name: &str, own: Vec<Value>, nodes: &Nodes) -> Vec<Value> {
        let own = own.into_iter().map(|entry| with_node(entry, &nodes.own().to_string()));
        let others = self.answers.iter().flat_map(|(peer, answer)| {
            let node = peer.id.to_string();
            let entries = answer[name].as_array().cloned().unwrap_or_default();
            entries.into_iter().map(move |entry| with_node(entry, &node))
        });
        own.chain(others).collect()
    }

    /// The sum of the numbers of this name.
    #[must_use]
    pub fn sum(&self, name: &str) -> u64 {
        self.answers
            .iter()
            .filter_map(|(_, answer)| answer[name].as_u64())
            .sum()
    }

    /// Who did not answer, and why.
    #[must_use]
    pub fn unanswered(&self) -> &[Value] {
        &self.unanswered
    }
}

fn with_node(mut entry: Value, node: &str) -> Value {
    if let Value::Object(entry) = &mut entry {
        entry.insert("node".to_owned(), node.into());
    }
    entry
}
