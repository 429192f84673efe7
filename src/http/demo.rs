//! The built web demo, embedded in the binary.
//!
//! `/`, `/inspect` and `/d/{document}` get a page, which reads the document's name from the address, and where the server is from the
//! address of its own script. The pages differ in what a browser is told to load at once. Nothing is loaded from anywhere else, and the policy in the headers makes sure of it.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header},
    web::Data,
};
use rust_embed::Embed;
use serde_json::json;

use super::{
    Shared,
    address::BasePath,
    admission::{self, Refusal},
    help, precompressed, share,
};

#[derive(Embed)]
#[folder = "web-demo/dist"]
#[allow_missing = true]
struct Files;

const PAGE: &str = "index.html";
const NOTHING: &str = "nothing is at this address";
const NOT_BUILT: &str =
    "this server was built without the web demo: run `make run`, or connect a provider to /ws/{document}";

/// Images in a document come from nowhere else either: they would tell their hosts who reads it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Where others' carets are coloured by attributes: CodeMirror's binding has no other way.
const POLICY_OF_CODE: &str = "; style-src-attr 'unsafe-inline'";

/// What the addresses of documents begin with, and the page of each kind.
const KINDS: [(&str, &str); 4] = [
    ("d/", "document.html"),
    ("code/", "code.html"),
    ("board/", "board.html"),
    ("room/", "room.html"),
];

/// What the address of a document ends with that is looked into, by [`PAGE`].
const INSIDE: &str = "/inspect";

/// The other addresses of [`PAGE`]: the start page, and what looks into all documents.
const PAGES: [&str; 3] = ["", PAGE, "inspect"];

/// What the pages say about this server: `{"access": "open" | "tokens", "share": true, "version": "0.1.0", "plug": null}`. Under
/// `cowrite demo`, `plug` is `{"process": 4711}`: the number of the process that can be killed.
pub async fn about(shared: Data<Shared>) -> HttpResponse {
    let access = if shared.keys.is_some() { "tokens" } else { "open" };
    let plug = shared.plug.as_ref().map(|_| json!({ "process": std::process::id() }));
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(
            json!({ "access": access, "share": share::is_on(&shared), "version": env!("CARGO_PKG_VERSION"), "plug": plug }),
        )
}

/// Serves a file of the demo, or its page.
///
/// # Errors
/// The request is not what it says.
pub async fn serve(request: HttpRequest, shared: Data<Shared>) -> actix_web::Result<HttpResponse> {
    let path = super::path(&request, &shared).trim_start_matches('/');
    answer(&request, &shared, path, &shared.base_path).await
}

/// Serves the page that looks into all documents, and what it consists of, where nothing is but what operators ask for.
///
/// # Errors
/// The request is not what it says.
pub async fn serve_operator(request: HttpRequest, shared: Data<Shared>) -> actix_web::Result<HttpResponse> {
    let path = request.uri().path().trim_start_matches('/');
    answer(&request, &shared, path, &BasePath::default()).await
}

async fn answer(
    request: &HttpRequest,
    shared: &Shared,
    path: &str,
    base_path: &BasePath,
) -> actix_web::Result<HttpResponse> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = Refusal::response(StatusCode::METHOD_NOT_ALLOWED, "this address only takes GET and HEAD");
        refused
            .headers_mut()
            .insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return Ok(refused);
    }
    if admission::is_upgrade(request) {
        return help::nothing(request, shared, NOTHING).await;
    }
    let Some(name) = page_at(path).or_else(|| Some(path).filter(|path| !path.ends_with(".html"))) else {
        return help::nothing(request, shared, NOTHING).await;
    };
    let is_page = page_at(path).is_some();
    let Some((file, coding)) = precompressed::best(name, request, Files::get) else {
        let reason = if is_page { NOT_BUILT } else { NOTHING };
        return help::nothing(request, shared, reason).await;
    };
    let version = if is_page { base_path.as_str() } else { "" };
    let tag = format!("\"{}{version}\"", hex(&file.metadata.sha256_hash()[..16]));
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
        .insert_header((header::VARY, "accept-encoding"))
        .insert_header((header::CONTENT_SECURITY_POLICY, policy(path)));
    if let Some(coding) = coding {
        response.insert_header((header::CONTENT_ENCODING, coding));
    }
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
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    let bytes = if is_page {
        page(&file.data, base_path)
    } else {
        file.data.into_owned()
    };
    let kind = mime_guess::from_path(name).first_or_octet_stream().to_string();
    Ok(response.content_type(kind).body(bytes))
}

/// The page at an address, if that has one.
fn page_at(path: &str) -> Option<&'static str> {
    if PAGES.contains(&path) {
        return Some(PAGE);
    }
    let (_, page) = KINDS.into_iter().find(|(kind, _)| path.starts_with(kind))?;
    let looks_inside = path.starts_with("d/") && path.ends_with(INSIDE);
    Some(if looks_inside { PAGE } else { page })
}

fn policy(path: &str) -> String {
    let more = if path.starts_with("code/") { POLICY_OF_CODE } else { "" };
    format!("{POLICY}{more}")
}

/// Whether this binary has the demo.
#[must_use]
pub fn is_built() -> bool {
    Files::get(PAGE).is_some()
}

/// The page, which is built with relative addresses and is served at addresses of any depth.
fn page(built: &[u8], base_path: &BasePath) -> Vec<u8> {
    let built = String::from_utf8_lossy(built);
    built
        .replace("=\"./", &format!("=\"{}/", base_path.as_str()))
        .into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
