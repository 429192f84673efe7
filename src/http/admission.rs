//! Who may connect: from a request to a document and an identity, or to a refusal.
//!
//! What only a broken or hostile client sends is refused with an HTTP status. What a stock provider
//! would try again for ever (a browser hides the status of a refused upgrade) is accepted and closed
//! with a code that makes it stop.

use std::{fmt, sync::atomic::Ordering};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::{
        StatusCode, Version,
        header::{self, HeaderName, HeaderValue},
    },
};

use crate::{
    access::{Credentials, Identity, OriginRefused},
    actor::clock,
    id::DocumentId,
    nodes::Said,
    protocol::{
        close::{CloseReason, Exceeded},
        frame::CLOSE_TEXT_BYTES_MAX,
    },
    token::{Believed, Keys, TokenError},
};

use super::{
    Shared,
    doorkeeper::Visit,
    line,
    refusals::{self, Reason},
    tunnel, turns,
};

/// When a request that the server cannot answer now may be made again, in seconds.
const RETRY_AFTER_S: u64 = 1;

/// The request may become a session.
#[derive(Debug)]
pub struct Admitted {
    /// Which document.
    pub document: DocumentId,
    /// Who, and what they may do.
    pub identity: Identity,
    /// What they count for.
    pub visit: Visit,
}

impl Admitted {
    /// Somebody who may use a document, unless they are too many already.
    ///
    /// # Errors
    /// They are.
    pub fn new(document: DocumentId, identity: Identity, mut visit: Visit, shared: &Shared) -> Result<Self, Refusal> {
        // Others may have come while its key was looked for.
        has_room(shared)?;
        let counted = visit.is_of(&identity, &shared.doorkeeper);
        counted.map_err(CloseReason::from)?;
        Ok(Self {
            document,
            identity,
            visit,
        })
    }
}

/// The request may not.
#[derive(Debug)]
pub enum Refusal {
    /// Answer with this and upgrade nothing.
    Http(StatusCode, String),
    /// Answer that it is too much for now, and upgrade nothing.
    Later(Exceeded),
    /// Upgrade, close with this.
    Close(CloseReason),
}

impl Refusal {
    /// The name of the reason in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Http(StatusCode::SERVICE_UNAVAILABLE, _) => "full",
            Self::Http(..) => "request",
            Self::Later(exceeded) => exceeded.label(),
            Self::Close(reason) => reason.label(),
        }
    }

    /// What a person reads.
    fn text(&self) -> &str {
        match self {
            Self::Http(_, text) => text,
            Self::Later(exceeded) => exceeded.text(),
            Self::Close(reason) => reason.text(),
        }
    }

    /// An answer that upgrades nothing.
    pub fn response(status: StatusCode, text: &str) -> HttpResponse {
        Self::Http(status, text.to_owned()).error_response()
    }

    /// When to come back, in seconds, if that makes a difference.
    fn retry_s(&self) -> Option<u64> {
        match self {
            Self::Later(exceeded) | Self::Close(CloseReason::Exceeded(exceeded)) => Some(exceeded.retry_s()),
            _ if self.status_code() == StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_AFTER_S),
            _ => None,
        }
    }
}

/// The answer to a request that is not to become a WebSocket.
impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Http(status, _) => *status,
            Self::Later(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Close(reason) => status(reason),
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let mut response = HttpResponse::build(status);
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(seconds) = self.retry_s() {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        let mut response = response
            .content_type("text/plain; charset=utf-8")
            .body(format!("{}\n", self.text()));
        // What is wrong with a body quotes it, and nothing that people write is in the log.
        let said = if status == StatusCode::BAD_REQUEST {
            "the request is not understood"
        } else {
            self.text()
        };
        let reason = Reason(format!("{} {said}", status.as_u16()));
        response.extensions_mut().insert(reason);
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What a page is told whose origin finds no room in a close frame.
const LONG_ORIGIN: &str = "this page may not connect; the operator can allow it: the log has the --allow-origin for it";

impl From<OriginRefused> for Refusal {
    fn from(refused: OriginRefused) -> Self {
        refusals::of_origin(&refused);
        let mut text = refused.to_string();
        // Half a flag would be a wrong one.
        if text.len() > CLOSE_TEXT_BYTES_MAX {
            LONG_ORIGIN.clone_into(&mut text);
        }
        Self::Close(CloseReason::Forbidden(text))
    }
}

impl From<Exceeded> for Refusal {
    fn from(exceeded: Exceeded) -> Self {
        Self::Later(exceeded)
    }
}

impl From<CloseReason> for Refusal {
    fn from(reason: CloseReason) -> Self {
        Self::Close(reason)
    }
}

/// The status that says at HTTP what a close code says on a WebSocket.
fn status(reason: &CloseReason) -> StatusCode {
    match reason {
        CloseReason::Refused(_)
        | CloseReason::Malformed(_)
        | CloseReason::Protocol(_)
        | CloseReason::NotBinary
        | CloseReason::NotUtf8 => StatusCode::BAD_REQUEST,
        CloseReason::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        CloseReason::Forbidden(_) => StatusCode::FORBIDDEN,
        CloseReason::Conflict(_) => StatusCode::CONFLICT,
        CloseReason::DocumentTooLarge(_) | CloseReason::MessageTooBig(_) => StatusCode::PAYLOAD_TOO_LARGE,
        CloseReason::Unavailable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        CloseReason::Reset(_) | CloseReason::Restarting | CloseReason::Overloaded(_) => StatusCode::SERVICE_UNAVAILABLE,
        CloseReason::Exceeded(_) => StatusCode::TOO_MANY_REQUESTS,
    }
}

/// Decides about an upgrade request for the raw path `raw_name`. What costs nothing comes first: nobody has keys looked for
/// who would not be let in with them.
pub async fn admit_session(
    request: &HttpRequest,
    credentials: Result<Option<&str>, String>,
    raw_name: &str,
    shared: &Shared,
) -> Result<Admitted, Refusal> {
    let visit = admit_line(request, shared).await?;
    let document = DocumentId::from_url_path(raw_name)
        .map_err(|invalid| Refusal::Close(CloseReason::Refused(invalid.to_string())))?;
    prepare(credentials.as_ref().ok().copied().flatten(), shared).await;
    let identity = identify(credentials, &document, shared)?;
    Admitted::new(document, identity, visit, shared)
}

/// Decides about an upgrade request, whatever it is for.
pub async fn admit_line(request: &HttpRequest, shared: &Shared) -> Result<Visit, Refusal> {
    let network = shared.doorkeeper.network(request);
    // The node that sent it counts the socket that it belongs to.
    let is_counted = !matches!(tunnel::said(request), Some(Said::Document(_)));
    if is_counted {
        shared.doorkeeper.arrives(network)?;
        if shared.doorkeeper.comes_often(network) {
            turns::comes().await;
        }
    }
    // Also of a page that asks over HTTP why it gets no WebSocket.
    has_room(shared)?;
    if !is_upgrade(request) {
        let reason = "this address speaks WebSocket: connect a Yjs provider to it";
        return Err(Refusal::Http(StatusCode::UPGRADE_REQUIRED, reason.to_owned()));
    }
    if let Some(what) = is_no_handshake(request) {
        return Err(Refusal::Http(StatusCode::BAD_REQUEST, what.to_owned()));
    }
    admit(request, shared)?;
    if !is_counted {
        return Ok(Visit::uncounted(network));
    }
    Ok(shared.doorkeeper.connects(network)?)
}

fn has_room(shared: &Shared) -> Result<(), Refusal> {
    if shared.connections.load(Ordering::Relaxed) < shared.connections_max {
        return Ok(());
    }
    Err(Refusal::Http(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many connections, try again later".to_owned(),
    ))
}

/// Answers a request to become a WebSocket that is refused. What is refused again and again from one address is answered
/// without a WebSocket, so that whoever comes back at once after each of them waits longer.
pub async fn refuse(
    request: &HttpRequest,
    credentials: &Credentials<'_>,
    first: &[u8],
    refusal: Refusal,
    shared: &Shared,
) -> actix_web::Result<HttpResponse> {
    let keeper = &shared.doorkeeper;
    let refusal = match refusal {
        Refusal::Close(reason) => match keeper.refuses(keeper.network(request)) {
            Ok(()) => {
                shared.metrics.ended(reason.label());
                return line::refuse(request, credentials, first, &reason).await;
            }
            Err(exceeded) => Refusal::Later(exceeded),
        },
        other => other,
    };
    shared.metrics.ended(refusal.label());
    Ok(refusal.error_response())
}

/// Decides about a request for what is in documents, on no WebSocket.
pub fn admit_request(request: &HttpRequest, shared: &Shared) -> Result<(), Refusal> {
    shared.origins.check_host(all_of(request, header::HOST).as_deref())?;
    admit(request, shared)
}

/// Whether the page that asks, if one does, is of an origin that may connect.
pub fn is_of_allowed_page(request: &HttpRequest, shared: &Shared) -> bool {
    let all = |name| all_of(request, name);
    let (origin, host) = (all(header::ORIGIN), all(header::HOST));
    shared.origins.check(origin.as_deref(), host.as_deref()).is_ok()
}

fn admit(request: &HttpRequest, shared: &Shared) -> Result<(), Refusal> {
    let all = |name| all_of(request, name);
    shared
        .origins
        .check(all(header::ORIGIN).as_deref(), all(header::HOST).as_deref())?;
    if shared.is_stranded() {
        // With a status: whoever stands in front tries another node at once.
        return Err(Refusal::Http(
            StatusCode::SERVICE_UNAVAILABLE,
            "the database does not answer this server, and answers others: come back".to_owned(),
        ));
    }
    let others = shared.nodes.as_ref().and_then(|nodes| nodes.heir());
    if shared.draining.load(Ordering::Relaxed) && others.is_none() {
        return Err(Refusal::Http(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is stopping".to_owned(),
        ));
    }
    Ok(())
}

/// Whether a request is to become a WebSocket.
pub fn is_upgrade(request: &HttpRequest) -> bool {
    all_of(request, header::UPGRADE).is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}

/// All values of a header, as one text. What is no text, and what is there twice, is thereby no origin and no host.
pub fn all_of(request: &HttpRequest, name: HeaderName) -> Option<String> {
    let values: Vec<_> = request.headers().get_all(name).map(HeaderValue::as_bytes).collect();
    (!values.is_empty()).then(|| String::from_utf8_lossy(&values.join(&b", "[..])).into_owned())
}

/// What is wrong with a handshake (RFC 6455, 4.2.1) beside what the library finds.
pub(super) fn is_no_handshake(request: &HttpRequest) -> Option<&'static str> {
    let has_body = |length: &String| length.trim() != "0";
    let key = all_of(request, header::SEC_WEBSOCKET_KEY).unwrap_or_default();
    if request.version() != Version::HTTP_11 {
        Some("a WebSocket begins with HTTP/1.1")
    } else if all_of(request, header::CONTENT_LENGTH).is_some_and(|length| has_body(&length))
        || request.headers().contains_key(header::TRANSFER_ENCODING)
    {
        Some("a WebSocket begins with a request without a body")
    } else if key.len() != 24 || !key.ends_with("==") {
        Some("a WebSocket begins with one Sec-WebSocket-Key of 16 bytes")
    } else {
        None
    }
}

/// Waits until the key of a token is known, if it may be a new one. [`identify`] does not wait.
pub async fn prepare(token: Option<&str>, shared: &Shared) {
    if let (Some(keys), Some(token)) = (&shared.keys, token) {
        keys.prepare(token).await;
    }
}

/// Decides what the holder of a token may do with a document.
pub fn identify(
    credentials: Result<Option<&str>, String>,
    document: &DocumentId,
    shared: &Shared,
) -> Result<Identity, CloseReason> {
    let Some(keys) = &shared.keys else {
        return Ok(Identity::anonymous());
    };
    let token = credentials.map_err(CloseReason::Unauthenticated)?;
    let token = token.ok_or_else(|| {
        CloseReason::Unauthenticated("a token is needed: pass it as ?token= (provider `params`)".to_owned())
    })?;
    identify_believed(&believe(token, keys)?, document, shared)
}

/// Decides whether a token is good.
pub fn believe(token: &str, keys: &Keys) -> Result<Believed, CloseReason> {
    keys.believe(token, clock::wall_ms()).map_err(|error| match error {
        // The token may be good: whoever comes back later is let in then.
        TokenError::NoKeys => CloseReason::Overloaded(error.to_string()),
        _ => CloseReason::Unauthenticated(error.to_string()),
    })
}

/// Decides what the holder of a good token may do with a document.
pub fn identify_believed(believed: &Believed, document: &DocumentId, shared: &Shared) -> Result<Identity, CloseReason> {
    let identity = believed.identity(document);
    let identity =
        identity.ok_or_else(|| CloseReason::Forbidden("the token does not open this document".to_owned()))?;
    shared.revocations.apply(identity, document)
}

/// Where the token of a request is, if it has one.
pub fn credentials(request: &HttpRequest) -> Credentials<'_> {
    let all = |name| request.headers().get_all(name).filter_map(|value| value.to_str().ok());
    Credentials::read(
        request.query_string(),
        all(header::AUTHORIZATION),
        all(header::SEC_WEBSOCKET_PROTOCOL),
    )
}
