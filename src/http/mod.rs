//! What the network sees.
//!
//! * `line`: one WebSocket, whatever is spoken on it; `socket`: `/ws/{document}`, a line with one session
//! * `upgrade`: what a connection is once it is no longer HTTP
//! * `moving`: how it gets to the thread of its document
//! * `admission`: who may connect at all: name, origin, token, access
//! * `health`: `/livez`, `/readyz`, `/metrics`
//! * `demo`: the built web demo and `/track-saved.js`, embedded in the binary
//!
//! Nothing here names yrs, and no status code or header is decided anywhere else.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize},
};

use actix_web::{
    middleware::Compress,
    web::{self, ServiceConfig},
};

use crate::{
    access::OriginPolicy,
    actor::{registry::Registry, writer::Writer},
    store::Store,
    telemetry::Metrics,
    token::TokenKey,
};

mod admission;
mod demo;
mod health;
mod line;
mod moving;
mod socket;
mod switchboard;
pub mod upgrade;

/// What all requests share.
#[derive(Debug)]
pub struct Shared {
    /// The open documents.
    pub registry: Arc<Registry>,
    /// Where documents are kept.
    pub store: Arc<dyn Store>,
    /// Whether it takes writes.
    pub writer: Writer,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The key that tokens are verified with; `None` lets everybody write.
    pub token_key: Option<TokenKey>,
    /// Which pages may connect.
    pub origins: OriginPolicy,
    /// Largest message, in bytes.
    pub message_bytes_max: usize,
    /// Most that waits for one connection, in bytes.
    pub outbox_bytes_max: usize,
    /// Most connections at once.
    pub connections_max: usize,
    /// Connections that are open.
    pub connections: AtomicUsize,
    /// The next session's name.
    pub next_session: AtomicU64,
    /// The server is stopping: no new connections, not ready.
    pub draining: AtomicBool,
}

/// All routes.
pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/ws/{document:.*}", web::get().to(socket::connect))
        .route("/livez", web::get().to(health::livez))
        .route("/readyz", web::get().to(health::readyz))
        .route("/metrics", web::get().to(health::metrics))
        .service(
            web::resource("/{file:.*}")
                .wrap(Compress::default())
                .route(web::route().to(demo::serve)),
        );
}
