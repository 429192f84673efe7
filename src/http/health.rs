//! `/livez`, `/healthz`, `/readyz`, `/version` and `/metrics`.

use std::sync::atomic::Ordering;

use actix_web::{HttpResponse, http::header, web::Data};
use serde_json::json;

use super::Shared;
use crate::token::Keys;

/// The process answers.
pub async fn livez() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body("alive\n")
}

/// What runs here, and as which node, if it is one of several.
pub async fn version(shared: Data<Shared>) -> HttpResponse {
    let mut about = json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") });
    if let Some(nodes) = &shared.nodes {
        about["node"] = json!(nodes.own().to_string());
    }
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(about)
}

/// New connections are welcome: the store takes writes and the server is not stopping.
pub async fn readyz(shared: Data<Shared>) -> HttpResponse {
    match trouble(&shared) {
        None => HttpResponse::Ok().json(json!({ "ready": true })),
        Some(reason) => HttpResponse::ServiceUnavailable().json(json!({ "ready": false, "reason": reason })),
    }
}

/// Why new connections are not welcome.
pub fn trouble(shared: &Shared) -> Option<String> {
    if shared.draining.load(Ordering::Relaxed) {
        Some("the server is stopping".to_owned())
    } else if shared.is_stranded() {
        Some("the database answers other nodes, and not this one: clients are sent to these".to_owned())
    } else {
        let of_keys = || shared.keys.as_ref().and_then(Keys::trouble);
        let of_nodes = || {
            let seconds = shared.nodes.as_ref()?.cut_off()?.as_secs();
            Some(format!("the database has not answered this node for {seconds} s"))
        };
        shared.writer.health().trouble().or_else(of_nodes).or_else(of_keys)
    }
}

/// Everything that is counted, in Prometheus' text format.
pub async fn metrics(shared: Data<Shared>) -> HttpResponse {
    let writable = shared.writer.health().trouble().is_none();
    shared.metrics.memory(shared.memory.used(), shared.held());
    let text = shared.metrics.text(&shared.store.status(), writable);
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(text)
}
