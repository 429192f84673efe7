//! What y-sweet's clients and SDKs ask for.
//!
//! An application's back end shows the server token, and is given client tokens for its pages (`/doc/…/auth`). Whoever
//! has one reads and writes that document, on a WebSocket or without one. The paths of older versions answer as well.
//!
//! A document of Cowrite exists as soon as somebody names it, and is kept as soon as somebody writes. So `/doc/new` makes
//! nothing, and a client token can be had for any name: an application that creates a document in one place and opens it
//! in another needs no order between the two.

use std::{convert::Infallible, sync::atomic::Ordering, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    body::SizedStream,
    guard::GuardContext,
    http::header,
    rt::time::timeout,
    web::{self, Bytes, BytesMut, Data, Payload, ServiceConfig},
};
use futures_util::{StreamExt, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use uuid::Uuid;

use crate::{
    access::{Access, ClientClaims, Credentials, Identity},
    actor::{
        clock,
        document::{Begins, Write},
        visit::Copy,
    },
    id::DocumentId,
    protocol::{close::CloseReason, dialect::Dialect},
    room::{WrittenBy, session::SessionId},
};

use super::{
    Shared,
    address::PublicUrl,
    admission::{self, Admitted, Refusal},
    health, session,
    tunnel::{self, Way},
    unfinished::{self, Begun},
    y_websocket,
};

/// Largest question of an SDK, in bytes: a name and a few words.
const QUESTION_BYTES_MAX: usize = 16 * 1024;
/// How long nothing may come of a body that is not complete.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// A document is written to its reader in pieces of so many bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// How long a client token is valid when its back end does not say.
const VALID_S: f64 = 3_600.0;
/// What JavaScript's `encodeURIComponent` leaves as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// y-sweet's paths. What a browser asks for below `/d/` to show it as a page is left to the demo.
pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/ready", super::shown().to(ready))
        .route("/check_store", web::get().to(check_store))
        .route("/check_store", web::post().to(check_store))
        .route("/doc/new", web::post().to(new))
        .route("/doc/{document:.+}/auth", web::post().to(auth))
        .route("/d/{document}/as-update", web::get().guard(is_no_page).to(as_update))
        .route("/doc/{document:.+}/as-update", web::get().to(as_update))
        .route("/d/{document}/update", web::post().to(update))
        .route("/doc/{document:.+}/update", web::post().to(update))
        .route("/d/{document}/ws/{again:.+}", web::get().guard(upgrades).to(connect))
        .route("/doc/ws/{document:.+}", web::get().guard(upgrades).to(connect));
}

fn is_no_page(context: &GuardContext<'_>) -> bool {
    let accepts = context.head().headers.get(header::ACCEPT);
    !accepts.is_some_and(|accepts| accepts.as_bytes().windows(9).any(|kind| kind == b"text/html"))
}

fn upgrades(context: &GuardContext<'_>) -> bool {
    context.head().headers.contains_key(header::UPGRADE)
}

/// The document's name in the path of a WebSocket below the base path, not decoded.
pub fn raw_name(path: &str) -> Option<&str> {
    path.strip_prefix("/doc/ws/").or_else(|| Some(names(path)?.0))
}

/// Both names in the path of a WebSocket.
fn names(path: &str) -> Option<(&str, &str)> {
    let (name, rest) = path.strip_prefix("/d/")?.split_once('/')?;
    Some((name, rest.strip_prefix("ws/")?))
}

/// `GET /ready`: new connections are welcome. Anybody may ask.
async fn ready(shared: Data<Shared>) -> HttpResponse {
    match health::trouble(&shared) {
        None => HttpResponse::Ok().json(json!({ "ok": true })),
        Some(error) => HttpResponse::ServiceUnavailable().json(json!({ "ok": false, "error": error })),
    }
}

/// `POST /check_store`, and `GET` of older SDKs: whether writes are taken.
async fn check_store(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Refusal> {
    admit_back_end(&request, &shared)?;
    Ok(match health::trouble(&shared) {
        None => HttpResponse::Ok().json(json!({ "ok": true })),
        Some(error) => HttpResponse::Ok().json(json!({ "ok": false, "error": error })),
    })
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewQuestion {
    doc_id: Option<String>,
}

/// `POST /doc/new`: a name, the one that was asked for or a new one.
async fn new(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> Result<HttpResponse, Refusal> {
    admit_back_end(&request, &shared)?;
    let question: NewQuestion = question(&request, payload, &shared).await?;
    let name = question.doc_id.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if !is_name(&name) {
        let reason = "a new document's name has letters, digits, `-` and `_` only";
        return Err(CloseReason::Refused(reason.to_owned()).into());
    }
    let document = DocumentId::parse(&name).map_err(|invalid| CloseReason::Refused(invalid.to_string()))?;
    Ok(HttpResponse::Ok().json(json!({ "docId": document })))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthQuestion {
    authorization: Option<Authorization>,
    user_id: Option<String>,
    valid_for_seconds: Option<f64>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Authorization {
    #[default]
    Full,
    ReadOnly,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientToken<'a> {
    url: String,
    base_url: String,
    doc_id: &'a DocumentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    authorization: Authorization,
}

/// `POST /doc/{document}/auth`: what a page needs to connect.
async fn auth(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> Result<HttpResponse, Refusal> {
    admit_back_end(&request, &shared)?;
    let document = document(&request, "/auth", &shared)?;
    let asked: AuthQuestion = question(&request, payload, &shared).await?;
    let authorization = asked.authorization.unwrap_or_default();
    let server = shared.keys.as_ref().and_then(|keys| keys.server.as_ref());
    let claims = claims(&document, &asked)?;
    let token = server.map(|server| server.mint(&claims));
    let root = root(&request, &shared)?;
    let name = utf8_percent_encode(document.as_str(), SEGMENT);
    let client_token = ClientToken {
        url: root.socket(&format!("/d/{name}/ws")),
        base_url: root.http(&format!("/d/{name}")),
        doc_id: &document,
        token,
        authorization,
    };
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CACHE_CONTROL, "no-store"));
    Ok(answer.json(client_token))
}

fn claims(document: &DocumentId, asked: &AuthQuestion) -> Result<ClientClaims, CloseReason> {
    let valid_s = asked.valid_for_seconds.unwrap_or(VALID_S);
    if valid_s < 0.0 {
        let reason = "validForSeconds is negative";
        return Err(CloseReason::Refused(reason.to_owned()));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and it is not negative"
    )]
    let valid_ms = (valid_s * 1_000.0) as u64;
    let access = match asked.authorization.unwrap_or_default() {
        Authorization::Full => Access::Write,
        Authorization::ReadOnly => Access::Read,
    };
    let user = asked.user_id.as_deref().filter(|user| !user.is_empty());
    let ends_ms = clock::wall_ms().saturating_add(valid_ms);
    ClientClaims::new(user, document.clone(), access, clock::wall_ms(), ends_ms).map_err(|_| {
        let reason = "userId is longer than 256 bytes, or has control characters";
        CloseReason::Refused(reason.to_owned())
    })
}

/// `GET /d/{document}/as-update`: all of it, as an update.
async fn as_update(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Refusal> {
    let (document, _) = admit(&request, "/as-update", &shared).await?;
    if let Some(answer) = tunnel::request(&request, Bytes::new(), &document, &shared).await? {
        return Ok(answer);
    }
    Ok(whole(shared.registry.read(&document).await?))
}

/// A whole document, as an update.
pub(super) fn whole(copy: Copy) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CACHE_CONTROL, "no-store"));
    answer.content_type("application/octet-stream");
    // In pieces: the dispatcher copies what it is given.
    let pieces = |mut copy: Copy| async move { copy.next(PIECE_BYTES).map(|piece| (Ok::<_, Infallible>(piece), copy)) };
    let length = copy.len() as u64;
    answer.body(SizedStream::new(length, Box::pin(stream::unfold(copy, pieces))))
}

/// `POST /d/{document}/update`: answered when it is durable.
async fn update(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> Result<HttpResponse, Refusal> {
    let (document, identity) = admit(&request, "/update", &shared).await?;
    may_write(&identity)?;
    let bytes = body(&request, payload, shared.message_bytes_max, &shared).await?;
    if let Some(answer) = tunnel::request(&request, bytes.clone(), &document, &shared).await? {
        return Ok(answer);
    }
    let (update, held) = session::checked(bytes, shared.doorkeeper.network(&request), &shared).await?;
    // Both may have taken long, and the token may have ended meanwhile.
    let identity = identify(&admission::credentials(&request), &document, &shared)?;
    may_write(&identity)?;
    let write = Write {
        id: SessionId(shared.next_session.fetch_add(1, Ordering::Relaxed)),
        begins: if is_back_end(&admission::credentials(&request), &shared) {
            Begins::always()
        } else {
            let network = shared.doorkeeper.network(&request);
            session::begins(&shared, network, &identity)
        },
        by: WrittenBy::Person(identity.person().cloned()),
        update,
        held,
    };
    shared.registry.write(&document, write).await?;
    Ok(HttpResponse::Ok().finish())
}

fn may_write(identity: &Identity) -> Result<(), CloseReason> {
    match identity.access {
        Access::Write => Ok(()),
        Access::Read => Err(CloseReason::Forbidden("the token is read-only".to_owned())),
    }
}

/// `GET /d/{document}/ws/{document}`, and `/doc/ws/{document}` of older clients.
async fn connect(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> actix_web::Result<HttpResponse> {
    let credentials = admission::credentials(&request);
    let name = raw_name(super::path(&request, &shared)).unwrap_or_default();
    let payload = match tunnel::route(&request, payload, name, &shared).await {
        Way::Here(payload) => payload,
        Way::Answered(response) => return Ok(response),
    };
    let admitted = admit_session(&request, &credentials, &shared).await;
    y_websocket::answer(&request, payload, &credentials, &shared, Dialect::YSweet, admitted).await
}

async fn admit_session(
    request: &HttpRequest,
    credentials: &Credentials<'_>,
    shared: &Shared,
) -> Result<Admitted, Refusal> {
    let visit = admission::admit_line(request, shared).await?;
    let path = super::path(request, shared);
    let parse = |raw| DocumentId::from_url_path(raw).map_err(|invalid| CloseReason::Refused(invalid.to_string()));
    let document = parse(raw_name(path).unwrap_or_default())?;
    if let Some((_, again)) = names(path)
        && parse(again)? != document
    {
        let reason = "the two names in the path differ";
        return Err(CloseReason::Refused(reason.to_owned()).into());
    }
    admission::prepare(credentials.shown().ok().flatten(), shared).await;
    let identity = identify(credentials, &document, shared)?;
    Admitted::new(document, identity, visit, shared)
}

/// Decides about a request for a document whose path ends with `end`.
async fn admit(request: &HttpRequest, end: &str, shared: &Shared) -> Result<(DocumentId, Identity), Refusal> {
    admission::admit_request(request, shared)?;
    let credentials = admission::credentials(request);
    arrive(request, &credentials, shared)?;
    let document = document(request, end, shared)?;
    admission::prepare(credentials.shown().ok().flatten(), shared).await;
    let identity = identify(&credentials, &document, shared)?;
    Ok((document, identity))
}

/// The server token opens every document; whatever else is shown is a token like on any other wire.
fn identify(credentials: &Credentials<'_>, document: &DocumentId, shared: &Shared) -> Result<Identity, CloseReason> {
    if is_back_end(credentials, shared) {
        return Ok(Identity::anonymous());
    }
    admission::identify(credentials.shown(), document, shared)
}

/// Decides about a request that only a back end makes.
fn admit_back_end(request: &HttpRequest, shared: &Shared) -> Result<(), Refusal> {
    admission::admit_request(request, shared)?;
    let credentials = admission::credentials(request);
    arrive(request, &credentials, shared)?;
    let reason = match &shared.keys {
        None => return Ok(()),
        Some(_) if is_back_end(&credentials, shared) => return Ok(()),
        Some(keys) if keys.server.is_some() => "the server token is needed: write ys://TOKEN@host",
        Some(_) => "this server has no server token: start it with --server-token",
    };
    Err(CloseReason::Unauthenticated(reason.to_owned()).into())
}

/// Counts a request, unless it is one of the application's own back end.
fn arrive(request: &HttpRequest, credentials: &Credentials<'_>, shared: &Shared) -> Result<(), Refusal> {
    if is_back_end(credentials, shared) {
        return Ok(());
    }
    Ok(shared.doorkeeper.arrives(shared.doorkeeper.network(request))?)
}

fn is_back_end(credentials: &Credentials<'_>, shared: &Shared) -> bool {
    let server = shared.keys.as_ref().and_then(|keys| keys.server.as_ref());
    match (server, credentials.shown()) {
        (Some(server), Ok(Some(shown))) => server.is(shown),
        _ => false,
    }
}

/// The document of a path that ends with `end`.
fn document(request: &HttpRequest, end: &str, shared: &Shared) -> Result<DocumentId, CloseReason> {
    let path = super::path(request, shared);
    let below = path.strip_prefix("/doc/").or_else(|| path.strip_prefix("/d/"));
    let raw_name = below.and_then(|below| below.strip_suffix(end)).unwrap_or_default();
    DocumentId::from_url_path(raw_name).map_err(|invalid| CloseReason::Refused(invalid.to_string()))
}

/// Where the server is for whoever asks: as the operator says, else as it was asked for. What a proxy adds to a request
/// may be anybody's words.
fn root(request: &HttpRequest, shared: &Shared) -> Result<PublicUrl, CloseReason> {
    let asked_for = || {
        Some(PublicUrl::of_host(&admission::all_of(request, header::HOST)?, shared.is_secure)?.below(&shared.base_path))
    };
    let root = shared.public_url.clone().or_else(asked_for);
    root.ok_or_else(|| CloseReason::Refused("the request has no Host that clients could connect to".to_owned()))
}

/// What an SDK asks; nothing is the same as `{}`.
async fn question<T: Default + DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
    shared: &Shared,
) -> Result<T, CloseReason> {
    let bytes = body(request, payload, QUESTION_BYTES_MAX, shared).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| CloseReason::Refused(format!("the body is not understood: {error}")))
}

/// The body of a request, which is bounded like a message (H4).
/// A whole body that comes at a rate.
///
/// # Errors
/// It has more bytes than are taken, comes too slowly, or does not come whole.
pub(super) async fn body(
    request: &HttpRequest,
    mut payload: Payload,
    bytes_max: usize,
    shared: &Shared,
) -> Result<Bytes, CloseReason> {
    let network = shared.doorkeeper.network(request);
    let (mut begun, ends) = Begun::of_body(&shared.unfinished, network);
    let mut bytes = BytesMut::new();
    loop {
        let next = tokio::select! {
            next = timeout(BODY_PATIENCE, payload.next()) => next,
            () = ends.notified() => return Err(unfinished::too_much()),
        };
        match next.map_err(|_| CloseReason::Overloaded("the body came too slowly".to_owned()))? {
            Some(Ok(more)) if bytes.len() + more.len() <= bytes_max => bytes.extend_from_slice(&more),
            Some(Ok(_)) => {
                let reason = format!("the body has more than the {bytes_max} bytes that are taken");
                return Err(CloseReason::MessageTooBig(reason));
            }
            Some(Err(_)) => return Err(CloseReason::Protocol("the body did not come whole".to_owned())),
            None => return Ok(bytes.freeze()),
        }
        begun.are(bytes.len(), clock::now())?;
    }
}
