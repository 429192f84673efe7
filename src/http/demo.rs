//! The built web demo, embedded in the binary.
//!
//! Every path that is not a file of it gets the page, which reads the document's name from the
//! address. Nothing is loaded from anywhere else, and the policy in the headers makes sure of it.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
    web::Data,
};
use rust_embed::Embed;
use serde_json::json;

use super::Shared;

#[derive(Embed)]
#[folder = "web-demo/dist"]
#[allow_missing = true]
struct Files;

const PAGE: &str = "index.html";

/// Images in a document come from nowhere else either: they would tell their hosts who reads it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the addresses of documents begin with: one for each kind of page.
const KINDS: [&str; 4] = ["d/", "code/", "board/", "room/"];

/// What the start page says about this server: `{"access": "open" | "tokens", "version": "0.1.0"}`.
pub async fn about(shared: Data<Shared>) -> HttpResponse {
    let access = if shared.keys.is_some() { "tokens" } else { "open" };
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .json(json!({ "access": access, "version": env!("CARGO_PKG_VERSION") }))
}

/// Serves a file of the demo, or its page.
pub async fn serve(request: HttpRequest) -> HttpResponse {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return HttpResponse::MethodNotAllowed()
            .insert_header((header::ALLOW, "GET, HEAD"))
            .finish();
    }
    let path = request.path().trim_start_matches('/');
    let (name, file) = match Files::get(path).filter(|_| path != PAGE) {
        Some(file) => (path, file),
        None if path.is_empty() || path == PAGE || KINDS.iter().any(|kind| path.starts_with(kind)) => {
            match Files::get(PAGE) {
                Some(page) => (PAGE, page),
                None => return not_built(),
            }
        }
        None => {
            return HttpResponse::NotFound()
                .content_type("text/plain; charset=utf-8")
                .body("nothing is here\n");
        }
    };
    let tag = format!("\"{}\"", hex(&file.metadata.sha256_hash()[..16]));
    // The names of assets carry a hash of what is in them.
    let cache = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CACHE_CONTROL, cache))
        .insert_header((header::ETAG, tag.as_str()))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY));
    if name == "track-saved.js" {
        response
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
            .insert_header((header::CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"));
    }
    let known = request
        .headers()
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    if known {
        return response.status(actix_web::http::StatusCode::NOT_MODIFIED).finish();
    }
    response
        .content_type(mime_guess::from_path(name).first_or_octet_stream().to_string())
        .body(file.data.into_owned())
}

fn not_built() -> HttpResponse {
    HttpResponse::NotFound()
        .content_type("text/plain; charset=utf-8")
        .body("this server was built without the web demo: run `make run`, or connect a provider to /ws/{document}\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
