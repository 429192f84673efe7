//! What nodes ask each other on their own behalf, and how this one is reached by them.

use std::{pin::Pin, sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
    rt::net::TcpStream,
    web::{self, Bytes, Data, Payload, ServiceConfig},
};
use futures_util::{StreamExt, future, stream::FuturesUnordered};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;

use crate::{
    actor::{
        document::{Begins, Write},
        registry::Others,
    },
    id::DocumentId,
    nodes::{self, Nodes, Place, Said},
    protocol::close::CloseReason,
    room::{WrittenBy, session::SessionId},
    store::NodeId,
};

use super::{
    Shared, admin,
    admission::Refusal,
    health,
    socket::Socket,
    together,
    tunnel::{self, Asked, Lost},
    y_sweet::body,
};

/// Most bytes of an answer that are told.
const ANSWER_BYTES_MAX: usize = 1024;
/// Where a node is asked whether the database answers it.
const ANSWERED: &str = "/cluster/answered";
/// How long another node may take to say so. One that is frozen holds up nobody longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What only nodes may ask.
pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/cluster/write/{document:.+}", web::post().to(write))
        .route(ANSWERED, web::get().to(answered))
        // Behind these are the operator's own, whose token the node that asks has seen.
        .service(web::scope("/cluster").configure(admin::tells));
}

/// Greets a node that has connected.
///
/// # Errors
/// It is none, or has another secret.
pub async fn greet(
    mut tcp: TcpStream,
    nodes: &Nodes,
) -> Result<(Socket, Option<std::net::SocketAddr>), nodes::Stranger> {
    let peer = tcp.peer_addr();
    match nodes::receive(&mut tcp, nodes.own(), nodes.secret()).await {
        Ok(greeted) => Ok((Socket::Tunnel(tcp, greeted), greeted.said.client())),
        Err(stranger) => {
            let from = peer.map_or_else(|_| "somebody".to_owned(), |peer| peer.to_string());
            match stranger {
                nodes::Stranger::Secret => {
                    log::warn!("{from} connected to --cluster-address without this node's --cluster-secret");
                }
                _ => log::debug!("{from} connected to --cluster-address and is no node: {stranger}"),
            }
            Err(stranger)
        }
    }
}

/// `POST /cluster/write/{document}`: what a node held of a document that it has lost.
async fn write(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> Result<HttpResponse, Refusal> {
    is_node(&request)?;
    if shared.is_stranded() {
        return Ok(tunnel::not_here());
    }
    let raw_name = request.uri().path().strip_prefix("/cluster/write/").unwrap_or_default();
    let document = DocumentId::from_url_path(raw_name).map_err(|invalid| CloseReason::Refused(invalid.to_string()))?;
    let bytes = body(&request, payload, usize::MAX, &shared).await?;
    let (update, held) = super::session::checked(bytes, None, &shared).await?;
    if let Some(nodes) = &shared.nodes
        && !shared.registry.has(&document)
        && let Place::There(_) = nodes.ask(&document).await
    {
        return Ok(tunnel::not_here());
    }
    if shared.registry.elsewhere(&document).await.is_some() {
        return Ok(tunnel::not_here());
    }
    let id = SessionId(shared.next_session.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let write = Write {
        id,
        by: WrittenBy::Server,
        update,
        begins: Begins::always(),
        held,
    };
    shared.registry.write(&document, write).await?;
    Ok(HttpResponse::Ok().finish())
}

/// `GET /cluster/answered`: 200 when the database answers this node, and who comes to it is let in; otherwise 503.
async fn answered(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Refusal> {
    is_node(&request)?;
    let is_answered = shared
        .nodes
        .as_ref()
        .is_some_and(|nodes| nodes.is_answered() && !nodes.is_draining());
    let status = if is_answered && health::trouble(&shared).is_none() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    // Not a refusal: it is the answer.
    Ok(HttpResponse::build(status).finish())
}

fn is_node(request: &HttpRequest) -> Result<(), Refusal> {
    match tunnel::said(request) {
        Some(Said::Node) => Ok(()),
        _ => Err(CloseReason::Forbidden("this is for nodes".to_owned()).into()),
    }
}

/// Whether one of the nodes that this one knew last says that the database answers it. It takes as long as the first of these, or
/// two seconds when there is none.
pub async fn another_is_answered(nodes: &Nodes) -> bool {
    let asked = &together::asked(ANSWERED);
    let asks = nodes.living().into_iter().map(|peer| async move {
        let answer = timeout(PATIENCE, tunnel::ask_quietly(nodes, &peer, asked)).await;
        matches!(answer, Ok(Some(answer)) if answer.head.status == StatusCode::OK)
    });
    asks.collect::<FuturesUnordered<_>>().any(future::ready).await
}

impl Others for Arc<Nodes> {
    fn heir(&self) -> Option<NodeId> {
        Nodes::heir(self)
    }

    fn write(&self, document: DocumentId, update: Bytes) -> Pin<Box<dyn Future<Output = Result<bool, CloseReason>>>> {
        let nodes = self.clone();
        Box::pin(async move {
            let Place::There(owner) = nodes.ask(&document).await else {
                return Ok(false);
            };
            let name = utf8_percent_encode(document.as_str(), NON_ALPHANUMERIC);
            let target = format!("/cluster/write/{name}");
            let mut headers = HeaderMap::new();
            // HTTP asks for one.
            headers.insert(header::HOST, HeaderValue::from_static("node"));
            let asked = Asked {
                head: tunnel::head(&Method::POST, &target, &headers, false, Some(update.len())),
                body: update,
                said: Said::Node,
            };
            match tunnel::ask(&nodes, &document, owner, &asked).await {
                Ok(answer) if answer.head.status == StatusCode::OK => Ok(true),
                Ok(answer) => {
                    let status = answer.head.status;
                    let text = answer.text(ANSWER_BYTES_MAX).await;
                    Err(match status {
                        StatusCode::PAYLOAD_TOO_LARGE => CloseReason::DocumentTooLarge(text),
                        StatusCode::BAD_REQUEST => CloseReason::Refused(text),
                        StatusCode::INTERNAL_SERVER_ERROR => CloseReason::Unavailable(text),
                        _ => CloseReason::Overloaded(text),
                    })
                }
                Err(Lost::Here) => Ok(false),
                Err(Lost::Nowhere) => Err(CloseReason::Restarting),
            }
        })
    }
}
