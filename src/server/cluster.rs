//! This server as one of several: its address for the others, and how it comes and goes.

use std::{
    io,
    net::{TcpListener, ToSocketAddrs},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Farewell, ServeError, Served};
use crate::{
    actor::document::{DocumentActor, SendAway, Sessions},
    config,
    http::{self, Shared, Shows},
    nodes::{News, Nodes, Standing, Stranding},
    store::directory::Hears,
};
use actix::Addr;
use actix_http::error::DispatchError;
use actix_server::ServerBuilder;
use actix_service::{ServiceFactoryExt, fn_service};
use actix_web::{rt::net::TcpStream, web::Data};

/// How long a stop waits to hear how busy documents are.
const BUSY: Duration = Duration::from_millis(200);
/// How long this node still sends on who comes, after its last document has gone: a balancer looks every few seconds, and
/// the others hear within one.
const LINGER: Duration = Duration::from_millis(500);
/// How often a node that could not say that it is there says so again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is looked whether the database answers this node.
const LOOK: Duration = Duration::from_secs(1);
/// How long documents are waited for when their sessions are sent away: some are being loaded, which the database holds up.
const SENT_AWAY_IN: Duration = Duration::from_secs(10);

/// Listens for other nodes; returns the address that they are told.
///
/// # Errors
/// [`ServeError::Cluster`].
pub fn bind(cluster: &config::Cluster) -> Result<(TcpListener, String), ServeError> {
    let failed = |source| ServeError::Cluster {
        address: cluster.address.clone(),
        source,
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in cluster.address.to_socket_addrs().map_err(failed)? {
        match super::listen(address) {
            Ok((listener, bound)) => {
                let host = cluster.address.rsplit_once(':').map_or("", |(host, _)| host);
                return Ok((listener, format!("{host}:{}", bound.port())));
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// Serves other nodes: what clients ask for, which they send on, and what they ask for themselves.
///
/// # Errors
/// The system's.
pub fn serve<S, F>(
    builder: ServerBuilder,
    listener: TcpListener,
    nodes: &Arc<Nodes>,
    served: Served,
    stop: S,
) -> io::Result<ServerBuilder>
where
    S: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let nodes = nodes.clone();
    let served = Served {
        address: listener.local_addr()?,
        // An operator comes to the other addresses.
        shows: Shows {
            admin: false,
            metrics: false,
        },
        is_for_nodes: true,
        ..served
    };
    builder.listen("nodes", listener, move || {
        let nodes = nodes.clone();
        let greet = fn_service(move |tcp: TcpStream| {
            let nodes = nodes.clone();
            async move {
                let _ = tcp.set_nodelay(true);
                let _ = socket2::SockRef::from(&tcp).set_tcp_user_timeout(Some(super::PEER_TIMEOUT));
                let greeted = http::cluster::greet(tcp, &nodes).await;
                greeted.map_err(|_| DispatchError::DisconnectTimeout)
            }
        });
        greet.and_then(served.service(stop.clone()))
    })
}

/// This node among the others, from its start to its end.
pub struct Member {
    nodes: Arc<Nodes>,
    address: String,
    hears: Hears,
}

impl Member {
    /// Hears what the store tells of others from now on.
    #[must_use]
    pub fn new(nodes: &Arc<Nodes>, address: String, shared: &Data<Shared>) -> Self {
        shared.registry.is_one_of(Arc::new(nodes.clone()));
        let (registry, known, metrics) = (shared.registry.clone(), nodes.clone(), shared.metrics.clone());
        let hears = move |news| match news {
            News::Living(living) => {
                metrics.nodes.set(living.len() as i64);
                known.hears_who_lives(living);
            }
            News::Lost(document, holder) => registry.lost(&document, holder),
        };
        Self {
            nodes: nodes.clone(),
            address,
            hears: Arc::new(hears),
        }
    }

    /// Where others reach it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The others are told where this node is.
    pub async fn join(&self) {
        self.stands(false).await;
    }

    /// The others are told that it goes, and it takes nothing more.
    pub async fn drain(&self) {
        self.nodes.drain();
        self.stands(true).await;
    }

    async fn stands(&self, draining: bool) {
        let standing = Standing {
            address: self.address.clone(),
            machine: self.nodes.machine().map(str::to_owned),
            draining,
        };
        let (directory, hears) = (self.nodes.directory().clone(), self.hears.clone());
        let tells = actix_web::web::block(move || directory.stands(standing, hears));
        match actix_web::rt::time::timeout(AGAIN, tells).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => log::warn!("the other nodes do not know of this one yet: {error}"),
            Ok(Err(_)) | Err(_) => log::warn!("the other nodes do not know of this one yet"),
        }
    }

    /// All documents have gone: a moment later what this node carries for others goes, too.
    pub async fn end(&self, deadline: Instant) {
        let rest = deadline.saturating_duration_since(Instant::now());
        actix_web::rt::time::sleep(LINGER.min(rest)).await;
        self.nodes.end();
    }
}

/// Sends clients to other nodes while the database answers these, and not this one. Never done.
pub async fn watch(shared: Data<Shared>) {
    let Some(nodes) = &shared.nodes else { return };
    let mut stranding = Stranding::default();
    loop {
        actix_web::rt::time::sleep(LOOK).await;
        let is_cut_off = nodes.cut_off().is_some();
        let another_is_answered = is_cut_off && http::cluster::another_is_answered(nodes).await;
        let is_stranded = stranding.look(is_cut_off, another_is_answered);
        if nodes.strands(is_stranded) {
            shared.stopping.notify_waiters();
        }
        if nodes.is_stranded() {
            send_away(nodes, &shared).await;
        }
    }
}

/// Ends the sessions of all documents, unless the database is back meanwhile. Said again with each look: somebody may have been let in
/// just before.
async fn send_away(nodes: &Nodes, shared: &Shared) {
    if shared.connections.load(Ordering::Relaxed) == 0 {
        return;
    }
    let mut farewell = Farewell::until(Instant::now() + SENT_AWAY_IN);
    for document in busiest_first(shared.registry.all()).await {
        if !nodes.is_stranded() {
            return;
        }
        farewell.say(&document, SendAway).await;
    }
}

/// Documents with most sessions first: they wait shortest for their next node.
pub async fn busiest_first(documents: Vec<Addr<DocumentActor>>) -> Vec<Addr<DocumentActor>> {
    let asked = documents.into_iter().map(|document| async {
        let sessions = actix_web::rt::time::timeout(BUSY, document.send(Sessions)).await;
        (sessions.ok().and_then(Result::ok).unwrap_or_default(), document)
    });
    let mut known = futures_util::future::join_all(asked).await;
    known.sort_by_key(|(sessions, _)| std::cmp::Reverse(*sessions));
    known.into_iter().map(|(_, document)| document).collect()
}
