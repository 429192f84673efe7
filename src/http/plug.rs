//! `POST /demo/pull-the-plug`: the demo's page has the process killed with which it is connected. Only a server that
//! `cowrite demo` has started can do that.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    web::Data,
};
use serde_json::json;

use crate::access::OriginPolicy;

use super::{Shared, admission::Refusal, help};

/// What no page of another origin can send without asking first.
const ASKED: HeaderName = HeaderName::from_static("x-cowrite-demo");
const PULL: &str = "pull-the-plug";

/// Has the process killed. Whoever asks may hear no answer.
///
/// # Errors
/// The request is not what it says.
pub async fn pull(request: HttpRequest, shared: Data<Shared>) -> actix_web::Result<HttpResponse> {
    let Some(plug) = &shared.plug else {
        let reason = "this server has no plug to pull: `cowrite demo` starts one that has";
        return help::nothing(&request, &shared, reason).await;
    };
    if *request.method() != Method::POST {
        let mut refused = Refusal::response(StatusCode::METHOD_NOT_ALLOWED, "this address only takes POST");
        let headers = refused.headers_mut();
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        return Ok(refused);
    }
    if let Err(reason) = is_own_page(&request) {
        return Ok(Refusal::response(StatusCode::FORBIDDEN, &reason));
    }
    if plug.pull().is_err() {
        let reason = "the supervisor is gone, and this server is about to stop";
        return Ok(Refusal::response(StatusCode::SERVICE_UNAVAILABLE, reason));
    }
    Ok(HttpResponse::Accepted().json(json!({ "process": std::process::id() })))
}

/// Whether a page asks that this server has served to this machine.
fn is_own_page(request: &HttpRequest) -> Result<(), String> {
    let text = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if text(ASKED) != Some(PULL) {
        return Err(format!(
            "only the demo's page may pull the plug: it sends `{ASKED}: {PULL}`"
        ));
    }
    let (origin, host) = (text(header::ORIGIN), text(header::HOST));
    if origin.is_none() {
        return Err("only the demo's page may pull the plug: a browser says its Origin".to_owned());
    }
    let own = OriginPolicy::same_origin();
    let judged = own.check(origin, host);
    judged
        .and_then(|()| own.on_loopback_only().check_host(host))
        .map_err(|_| "only the demo's page may pull the plug: its Origin is this server's, on this machine".to_owned())
}
