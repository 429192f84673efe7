//! `POST /share`: whoever may share a document gets the token of a link to it, which is narrower than their own.

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web::{self, Data, Payload, ServiceConfig},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use uuid::Uuid;

use crate::{
    access::{Asked, Credentials, Identity, LinkClaims, ShareError},
    actor::clock,
    id::DocumentId,
    protocol::close::CloseReason,
    token::{Believed, Keys, LinkKeys},
};

use super::{
    Shared,
    admission::{self, Refusal},
    doorkeeper,
    y_sweet::body,
};

/// Longest question, in bytes: a name of 512 bytes that is escaped, and a few words.
const ASKED_BYTES_MAX: usize = 16 * 1024;
/// How long a browser need not ask again whether a page may ask, in seconds.
const PREFLIGHT_S: u32 = 600;

const OPEN: &str = "this server is open: the address of a document is all that anybody needs";
const NO_KEY: &str = "this server makes no links: start it with COWRITE_SHARE_SECRET=$(openssl rand -hex 32)";
const USAGE: &str =
    "send {\"document\": NAME}, with \"access\": \"read\" or \"write\", \"seconds\" and \"share\" if you like";
const NO_TOKEN: &str = "a token that may share is needed: Authorization: Bearer TOKEN";
const MAY_NOT: &str = "the token may not share: whoever made it can allow that with a `share` claim";

/// Its path.
pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/share", web::post().to(share))
        .route("/share", web::method(actix_web::http::Method::OPTIONS).to(preflight));
}

/// Whether links can be made at all.
pub fn is_on(shared: &Shared) -> bool {
    shared.keys.as_ref().is_some_and(|keys| keys.links.is_some())
}

async fn share(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> HttpResponse {
    let answer = match make(&request, payload, &shared).await {
        Ok(answer) => answer,
        Err(refusal) => refusal.error_response(),
    };
    for_pages(answer, &request, &shared)
}

/// A page of another origin asks whether it may ask.
async fn preflight(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    let mut answer = match admit(&request, &shared) {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(refusal) => refusal.error_response(),
    };
    if answer.status() == StatusCode::NO_CONTENT {
        let headers = answer.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        let allowed = HeaderValue::from_static("authorization, content-type");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_S.into());
    }
    for_pages(answer, &request, &shared)
}

/// Lets a page read the answer if its origin may connect.
fn for_pages(mut answer: HttpResponse, request: &HttpRequest, shared: &Shared) -> HttpResponse {
    let headers = answer.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    let origin = request.headers().get(header::ORIGIN);
    if let (Some(origin), true) = (origin, admission::is_of_allowed_page(request, shared)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    answer
}

fn admit(request: &HttpRequest, shared: &Shared) -> Result<(), Refusal> {
    shared.doorkeeper.arrives(shared.doorkeeper.network(request))?;
    admission::admit_request(request, shared)
}

async fn make(request: &HttpRequest, payload: Payload, shared: &Shared) -> Result<HttpResponse, Refusal> {
    admit(request, shared)?;
    let (keys, links) = keys(shared)?;
    let token = token(request)?;
    keys.prepare(&token).await;
    // Nobody's body is waited for who may share nothing.
    if !believe(&token, shared)?.may_share() {
        return Err(CloseReason::Forbidden(MAY_NOT.to_owned()).into());
    }
    let body = body(request, payload, ASKED_BYTES_MAX, shared).await?;
    let asked: Asked = serde_json::from_slice(&body)
        .map_err(|error| CloseReason::Refused(format!("the body is not understood: {error}; {USAGE}")))?;
    // It may have taken long, and the token may have ended meanwhile.
    let (claims, sharer) = link(&believe(&token, shared)?, asked, shared)?;
    let network = shared.doorkeeper.network(request);
    let user = doorkeeper::user(&sharer, network);
    shared.doorkeeper.shares(network, user.as_ref())?;
    log::info!(
        "{} shared {} for {} s: link:{}",
        claims.by.last().map_or("", |sharer| &*sharer.sub),
        claims.document,
        claims.exp.saturating_sub(claims.iat),
        claims.jti
    );
    Ok(HttpResponse::Ok().json(json!({
        "token": links.mint(&claims),
        "id": claims.jti,
        "document": claims.document,
        "access": claims.access,
        "expires": claims.exp,
    })))
}

fn keys(shared: &Shared) -> Result<(&Keys, &LinkKeys), Refusal> {
    let off = |reason: &str| Refusal::Http(StatusCode::NOT_FOUND, reason.to_owned());
    let keys = shared.keys.as_ref().ok_or_else(|| off(OPEN))?;
    Ok((keys, keys.links.as_ref().ok_or_else(|| off(NO_KEY))?))
}

/// The token of the header: whatever is in an address may be kept by proxies and in histories.
fn token(request: &HttpRequest) -> Result<String, CloseReason> {
    let all = request.headers().get_all(header::AUTHORIZATION);
    let credentials = Credentials::read("", all.filter_map(|value| value.to_str().ok()), []);
    let shown = credentials.shown().map_err(CloseReason::Unauthenticated)?;
    let shown = shown.ok_or_else(|| CloseReason::Unauthenticated(NO_TOKEN.to_owned()))?;
    Ok(shown.to_owned())
}

fn believe(token: &str, shared: &Shared) -> Result<Believed, CloseReason> {
    let keys = shared.keys.as_ref();
    let keys = keys.ok_or_else(|| CloseReason::Unauthenticated(OPEN.to_owned()))?;
    admission::believe(token, keys)
}

/// The link that somebody asks for, as far as their token and the revocations allow it, and who that is.
fn link(believed: &Believed, asked: Asked, shared: &Shared) -> Result<(LinkClaims, Identity), CloseReason> {
    let now_ms = clock::wall_ms();
    let forbidden = |error: ShareError| CloseReason::Forbidden(error.to_string());
    let document: &DocumentId = &asked.document;
    let identity = admission::identify_believed(believed, document, shared)?;
    let sharing = believed.sharing(document, now_ms).ok_or(ShareError::NotAllowed);
    let mut sharing = sharing.map_err(forbidden)?;
    sharing.access = sharing.access.min(identity.access);
    let jti = URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes());
    let claims = sharing.link(asked, jti.into(), now_ms).map_err(forbidden)?;
    Ok((claims, identity))
}
