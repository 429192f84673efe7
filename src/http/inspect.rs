//! What is inside documents that somebody has open: `/inspect.json` for whoever may read one, `/admin/documents` and what is
//! beside it for the operator.
//!
//! Nothing is opened for it, and nothing is kept in memory for it beyond the looks of a second (`looks`). What a reader of
//! a document may not know is left out by its room.

use std::{cmp::Reverse, sync::PoisonError, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    rt::time::timeout,
    web::{Bytes, Data, Query},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    actor::{
        clock,
        document::{Insight, Inspect},
    },
    id::DocumentId,
    protocol::close::CloseReason,
    room::{
        Micros,
        inside::{Onlooker, Seen},
    },
};

use super::{
    Shared, admin,
    admission::{self, Refusal},
    together, tunnel, y_sweet,
};

/// Most sessions in one answer.
const SESSIONS_MAX: usize = 500;
/// Most documents that are asked for one answer, and that it shows.
const DOCUMENTS_ASKED_MAX: usize = 5_000;
const DOCUMENTS_MAX: usize = 500;
/// How long each of many documents may take, and all of them together.
const PATIENCE: Duration = Duration::from_millis(200);
const PATIENCE_WITH_ALL: Micros = 1_500_000;

/// Which document.
#[derive(Debug, Deserialize)]
struct Which {
    document: String,
}

/// The document that a query asks for.
fn document(request: &HttpRequest) -> Result<DocumentId, CloseReason> {
    let which = Query::<Which>::from_query(request.query_string());
    let Which { document } = which
        .map_err(|_| CloseReason::Refused("ask for ?document=NAME".to_owned()))?
        .0;
    DocumentId::parse(&document).map_err(|invalid| CloseReason::Refused(invalid.to_string()))
}

/// `GET /inspect.json?document=NAME`, for whoever may read it.
pub async fn for_readers(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Refusal> {
    admission::admit_request(&request, &shared)?;
    shared.doorkeeper.arrives(shared.doorkeeper.network(&request))?;
    let document = document(&request)?;
    let credentials = admission::credentials(&request);
    let token = credentials.shown();
    admission::prepare(token.clone().ok().flatten(), &shared).await;
    admission::identify(token, &document, &shared)?;
    let looks = || shared.looks.lock().unwrap_or_else(PoisonError::into_inner);
    // Of what nobody has open there is nothing to look at, or to remember.
    if shared.registry.find(&document).is_none() {
        if let Some(answer) = tunnel::look(&request, &document, &tunnel::again(&request), &shared).await? {
            return Ok(answer);
        }
        return Ok(private(json(&document, None, Onlooker::Reader, &shared)));
    }
    let known = looks().look(&document, clock::now());
    if let Some(answer) = known {
        return Ok(private(answer));
    }
    let answer = look(&document, Onlooker::Reader, &shared).await?;
    looks().answered(&document, &answer);
    Ok(private(answer))
}

/// `GET /admin/document?document=NAME`.
pub async fn for_operator(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Refusal> {
    if let Some(refused) = admin::refusal(&request, &shared) {
        return Ok(refused);
    }
    let document = document(&request)?;
    if let Some(answer) = together::look(&request, &document, &shared).await? {
        return Ok(answer);
    }
    Ok(private(look(&document, Onlooker::Operator, &shared).await?))
}

async fn look(document: &DocumentId, onlooker: Onlooker, shared: &Shared) -> Result<Bytes, Refusal> {
    let inspect = Inspect {
        onlooker,
        sessions_max: SESSIONS_MAX,
    };
    let insight = shared.registry.inspect(document, inspect).await?;
    Ok(json(document, insight.as_ref(), onlooker, shared))
}

fn json(document: &DocumentId, insight: Option<&Insight>, onlooker: Onlooker, shared: &Shared) -> Bytes {
    let answer = match insight {
        None => json!({ "document": document, "open": false }),
        Some(insight) => {
            let sessions: Vec<Value> = insight
                .inside
                .shown
                .iter()
                .map(|seen| session(seen, onlooker))
                .collect();
            let mut answer =
                json!({ "document": document, "open": true, "figures": figures(insight), "sessions": sessions });
            if let Some(nodes) = &shared.nodes {
                answer["node"] = json!(nodes.own().to_string());
            }
            answer
        }
    };
    answer.to_string().into()
}

/// `GET /admin/update?document=NAME`: all of a document that somebody has open, as an update.
pub async fn update(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Refusal> {
    if let Some(refused) = admin::refusal(&request, &shared) {
        return Ok(refused);
    }
    let document = document(&request)?;
    if let Some(answer) = together::look(&request, &document, &shared).await? {
        return Ok(answer);
    }
    if shared.registry.find(&document).is_none() {
        let reason = "nobody has this document open";
        return Err(Refusal::Http(StatusCode::NOT_FOUND, reason.to_owned()));
    }
    Ok(y_sweet::whole(shared.registry.read(&document).await?))
}

/// What the names of the documents hold that are asked for.
#[derive(Debug, Deserialize)]
struct Holding {
    #[serde(default)]
    holding: String,
}

/// `GET /admin/documents`: those that are open, on all nodes, the busiest first.
pub async fn documents(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Refusal> {
    if let Some(refused) = admin::refusal(&request, &shared) {
        return Ok(refused);
    }
    let asked = Query::<Holding>::from_query(request.query_string());
    let Holding { holding } = asked
        .map_err(|_| CloseReason::Refused("ask for ?holding=PART of the names".to_owned()))?
        .0;
    let ((count, own), heard) = futures_util::join!(own_documents(&holding, &shared), together::ask(&request, &shared));
    let answer = match (heard, &shared.nodes) {
        (Some(heard), Some(nodes)) => {
            let count = count as u64 + heard.sum("open");
            let all = busiest(heard.lists("documents", own, nodes));
            json!({ "open": count, "documents": all, "unanswered": heard.unanswered() })
        }
        _ => json!({ "open": count, "documents": busiest(own) }),
    };
    Ok(private(answer.to_string().into()))
}

/// How many are open here, and those that could be asked.
async fn own_documents(holding: &str, shared: &Shared) -> (usize, Vec<Value>) {
    let open = shared.registry.holding(holding);
    let count = open.len();
    let inspect = Inspect {
        onlooker: Onlooker::Operator,
        sessions_max: 0,
    };
    let mut found = Vec::new();
    let until = clock::now() + PATIENCE_WITH_ALL;
    for (document, actor) in open.into_iter().take(DOCUMENTS_ASKED_MAX) {
        if clock::now() > until {
            break;
        }
        // One that is loading, or takes a large edit, holds up no other.
        if let Ok(Ok(Some(insight))) = timeout(PATIENCE, actor.send(inspect)).await {
            found.push(json!({ "document": document, "figures": figures(&insight) }));
        }
    }
    (count, busiest(found))
}

/// Those that are shown, in their order.
fn busiest(mut documents: Vec<Value>) -> Vec<Value> {
    documents.sort_by_cached_key(|one| {
        let figures = &one["figures"];
        let per_second = figures["updates_per_second"].as_f64().unwrap_or_default();
        (
            Reverse((per_second * 10.0) as u64),
            Reverse(figures["sessions"].as_u64()),
            one["document"].as_str().unwrap_or_default().to_owned(),
        )
    });
    documents.truncate(DOCUMENTS_MAX);
    documents
}

/// An answer that nobody keeps.
fn private(answer: Bytes) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type("application/json")
        .body(answer)
}

fn figures(Insight { inside, took }: &Insight) -> Value {
    let milliseconds = |micros: u64| micros as f64 / 1_000.0;
    let totals = inside.totals;
    let (record_bytes, records) = inside.since_snapshot;
    json!({
        "bytes": totals.bytes,
        "memory_bytes": totals.memory_bytes,
        "clients": totals.clients,
        "structs": totals.structs,
        "deleted": totals.deleted,
        "deleted_ranges": totals.deleted_ranges,
        "position": inside.appended,
        "durable": inside.durable,
        "unsaved_bytes": inside.unsaved_bytes,
        "records": records,
        "record_bytes": record_bytes,
        "updates": inside.updates,
        "updates_per_second": inside.updates_per_second,
        "saved_after_ms": took.map(|[last, mean]| json!({ "last": milliseconds(last), "mean": milliseconds(mean) })),
        "sessions": inside.sessions,
    })
}

fn session(seen: &Seen, onlooker: Onlooker) -> Value {
    let present = &seen.present;
    let mut session = Map::new();
    let mut put = |name: &str, value: Value| session.insert(name.to_owned(), value);
    put("session", json!(present.session.0));
    put("user", json!(present.user));
    put("access", json!(present.access));
    put("wire", json!(present.wire));
    put("seconds", json!(present.seconds));
    put("silent_seconds", json!(seen.silent_seconds));
    put("reading", json!(seen.reading));
    put("behind", json!(seen.behind));
    put("waiting_bytes", json!(seen.waiting_bytes));
    put("clients", json!(seen.clients.as_slice()));
    if let Some(node) = seen.node {
        put("node", json!(node.to_string()));
    }
    if onlooker == Onlooker::Operator {
        put("address", json!(seen.network.map(|network| network.to_string())));
    }
    Value::Object(session)
}
