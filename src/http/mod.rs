//! What the network sees.
//!
//! * `line`: one WebSocket, whatever is spoken on it; `switchboard`: the writing side of one with several sessions;
//!   `session`: what every wire does for a session; `turns`: who sends much waits for others who do; `refusals`: how often a
//!   refusal is logged
//! * `lines`: all WebSockets, for whoever has to find the greediest
//! * `y_websocket`: `/ws/{document}`, a line with one session; `hocuspocus`: `/hocuspocus`, a line with several
//! * `y_sweet`: what y-sweet's clients and SDKs ask for; `address`: where the server is, as they see it
//! * `share`: `/share`, the tokens of links for whoever may share
//! * `upgrade`: what a connection is once it is no longer HTTP
//! * `moving`: how it gets to the thread of its document; `socket`: its bytes, with or without TLS
//! * `tunnel`: how a request reaches the node that has its document; `carried`: a WebSocket on that way; `inner`: the same
//!   for one document of a Hocuspocus socket; `cluster`: what nodes ask each other
//! * `together`: what all nodes say together to an operator
//! * `admission`: who may connect at all: name, origin, token, access; `doorkeeper`: how much each may take
//! * `peer`: whose address a request comes from; `proxy_protocol`: the same, said before a connection's first byte
//! * `health`: `/livez`, `/healthz`, `/readyz`, `/version`, `/metrics`
//! * `inspect`: what is inside documents, for readers and for the operator; `looks`: how often for readers
//! * `headers`: what every answer tells browsers
//! * `help`: what is told at a wrong address
//! * `plug`: killing the server of `cowrite demo`
//! * `demo`: the built web demo and `/track-saved.js`, embedded in the binary; `precompressed`: which form of a file is sent
//!
//! Nothing here names yrs, and no status code or header is decided anywhere else.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use tokio::sync::Notify;

use actix_web::{
    HttpRequest, Route, guard,
    web::{self, ServiceConfig},
};

use crate::{
    access::OriginPolicy,
    actor::{registry::Registry, writer::Writer},
    budgets::Memory,
    nodes::Nodes,
    store::Store,
    supervisor::Plug,
    telemetry::Metrics,
    token::{Keys, ServerToken},
};

use address::{BasePath, PublicUrl};
pub use demo::is_built as has_demo;

pub mod address;
pub mod admin;
mod admission;
mod carried;
pub mod cluster;
mod demo;
pub mod doorkeeper;
#[cfg(test)]
mod echo;
pub mod headers;
mod health;
mod help;
mod hocuspocus;
mod inner;
mod inspect;
pub mod line;
pub mod lines;
pub mod looks;
mod moving;
pub mod peer;
mod plug;
mod precompressed;
pub mod proxy_protocol;
pub mod refusals;
mod session;
mod share;
pub mod socket;
mod switchboard;
mod together;
pub mod tunnel;
mod turns;
pub mod unfinished;
pub mod upgrade;
#[cfg(test)]
mod waiting;
mod y_sweet;
mod y_websocket;

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
    /// What tokens are verified with; `None` lets everybody write.
    pub keys: Option<Keys>,
    /// What an operator shows; `None` opens `/admin` to nobody.
    pub admin_token: Option<ServerToken>,
    /// Tokens that are no longer good.
    pub revocations: admin::Kept,
    /// Which pages may connect.
    pub origins: OriginPolicy,
    /// How clients reach the server; `None` is how they reached it.
    pub public_url: Option<PublicUrl>,
    /// They reach it with TLS.
    pub is_secure: bool,
    /// Below which path all is that people and their pages ask for.
    pub base_path: BasePath,
    /// Largest message, in bytes.
    pub message_bytes_max: usize,
    /// What of all messages is not complete.
    pub unfinished: Arc<unfinished::Unfinished>,
    /// Most that waits for one connection, in bytes.
    pub outbox_bytes_max: usize,
    /// How long a socket may be open without a session.
    pub auth_timeout: Duration,
    /// All WebSockets.
    pub lines: Arc<lines::Lines>,
    /// What all of it holds in memory.
    pub memory: Arc<Memory>,
    /// What each client has taken.
    pub doorkeeper: Arc<doorkeeper::Doorkeeper>,
    /// Most connections at once.
    pub connections_max: usize,
    /// Connections that are open.
    pub connections: AtomicUsize,
    /// The next session's name.
    pub next_session: AtomicU64,
    /// The server is stopping: no new connections, not ready.
    pub draining: AtomicBool,
    /// Tells that, or that this node is stranded, to those who have no document that does.
    pub stopping: Notify,
    /// How often readers look into documents.
    pub looks: Mutex<looks::Looks>,
    /// The line to the supervisor that started this server; `None` has nobody to kill it.
    pub plug: Option<Plug>,
    /// The other servers on the store, if there may be some.
    pub nodes: Option<Arc<Nodes>>,
}

/// What the process holds, by kind, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Documents that are open, as they would be stored.
    pub documents: usize,
    /// What waits to be read by connections.
    pub outboxes: usize,
    /// Large answers on their way to readers.
    pub answers: usize,
    /// Messages that are not complete.
    pub unfinished: usize,
    /// Edits that are not durable.
    pub unsaved: usize,
}

impl Shared {
    /// Whether whoever comes is to go to another node, and whoever is here as well.
    #[must_use]
    pub fn is_stranded(&self) -> bool {
        self.nodes.as_ref().is_some_and(|nodes| nodes.is_stranded())
    }

    /// What is held. Nothing is looked through for it.
    #[must_use]
    pub fn held(&self) -> Held {
        Held {
            documents: self.memory.documents().sum(),
            outboxes: self.memory.outboxes().sum(),
            answers: self.memory.answers(),
            unfinished: self.unfinished.bytes(),
            unsaved: self.writer.waiting_bytes(),
        }
    }
}

/// In MiB, for a line of the log.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "documents {}, outboxes {}, answers {}, unfinished messages {}, unsaved edits {}",
            self.documents >> 20,
            self.outboxes >> 20,
            self.answers >> 20,
            self.unfinished >> 20,
            self.unsaved >> 20
        )
    }
}

/// What an address shows beside documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shows {
    /// `/admin`.
    pub admin: bool,
    /// `/metrics`.
    pub metrics: bool,
}

/// All routes, of a server that is below `base_path`.
pub fn routes(config: &mut ServiceConfig, base_path: &BasePath, shows: Shows) {
    operator_routes(config, shows);
    if base_path.as_str().is_empty() {
        config.configure(peoples);
    } else {
        let below = web::scope(base_path.as_str()).route("", web::get().to(help::slash));
        config
            .service(below.configure(peoples))
            .default_service(web::to(help::elsewhere));
    }
}

/// GET, and HEAD, which many that watch a server send.
fn shown() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// What an operator's machines ask for.
pub fn operator_routes(config: &mut ServiceConfig, shows: Shows) {
    if shows.admin {
        config.configure(admin::routes);
    }
    if shows.metrics {
        config.route("/metrics", shown().to(health::metrics));
    }
    config
        .route("/livez", shown().to(health::livez))
        .route("/healthz", shown().to(health::livez))
        .route("/readyz", shown().to(health::readyz))
        .route("/version", shown().to(health::version));
}

/// The page for operators, where nothing is but what they ask for.
pub fn operator_page(config: &mut ServiceConfig) {
    config
        .route("/inspect", web::get().to(demo::serve_operator))
        .route("/assets/{file:.*}", web::get().to(demo::serve_operator));
}

/// What people, their pages and the back ends of these ask for.
fn peoples(config: &mut ServiceConfig) {
    #[cfg(test)]
    config.route("/echo", web::get().to(echo::connect));
    config
        .route("/ws/{document:.*}", web::get().to(y_websocket::connect))
        .route("/hocuspocus", web::get().to(hocuspocus::connect))
        .route("/hocuspocus/{rest:.*}", web::get().to(hocuspocus::connect))
        .configure(y_sweet::routes)
        .configure(share::routes)
        .route("/about.json", shown().to(demo::about))
        .route("/demo/pull-the-plug", web::route().to(plug::pull))
        .route("/inspect.json", web::get().to(inspect::for_readers))
        .route("/{file:.*}", web::route().to(demo::serve));
}

/// The path of a request below the server's base path, as it came; empty if it is elsewhere.
fn path<'a>(request: &'a HttpRequest, shared: &Shared) -> &'a str {
    shared.base_path.strip(request.uri().path()).unwrap_or_default()
}
