//! What is told at a wrong address: what is wrong with it, and where things are. A browser is shown a page.

use actix_web::{
    HttpRequest, HttpResponse,
    body::BoxBody,
    dev::ServiceResponse,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
    web::Data,
};
use serde_json::json;

use crate::protocol::close::CloseReason;

use super::{
    Shared,
    address::BasePath,
    admission::{self, Refusal},
    demo,
};

/// How whoever asks would like to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A page for a browser.
    Page,
    /// An object for a program that asks for one.
    Json,
    /// A line for everybody else.
    Text,
}

impl Form {
    /// What the `Accept` of a request says.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let accepts: Vec<u8> = headers
            .get_all(header::ACCEPT)
            .flat_map(HeaderValue::as_bytes)
            .copied()
            .collect();
        let has = |kind: &[u8]| accepts.windows(kind.len()).any(|at| at.eq_ignore_ascii_case(kind));
        if has(b"text/html") {
            Self::Page
        } else if has(b"application/json") {
            Self::Json
        } else {
            Self::Text
        }
    }
}

/// `GET /collab`, without the slash.
pub async fn slash(shared: Data<Shared>) -> HttpResponse {
    HttpResponse::PermanentRedirect()
        .insert_header((header::LOCATION, format!("{}/", shared.base_path)))
        .finish()
}

/// Any address outside of the base path.
pub async fn elsewhere(request: HttpRequest, shared: Data<Shared>) -> actix_web::Result<HttpResponse> {
    let reason = format!("nothing is here: this server is below {}/", shared.base_path);
    nothing(&request, &shared, &reason).await
}

/// The answer where nothing is. A provider would try again for ever and its page would never see why, so a WebSocket is
/// closed with a final code.
///
/// # Errors
/// The request is not what it says.
pub async fn nothing(request: &HttpRequest, shared: &Shared, reason: &str) -> actix_web::Result<HttpResponse> {
    if !admission::is_upgrade(request) {
        return Ok(Refusal::response(StatusCode::NOT_FOUND, reason));
    }
    let base = shared.base_path.as_str();
    let refusal = match admission::admit_line(request, shared).await {
        Ok(_) => Refusal::Close(CloseReason::Refused(format!(
            "no WebSocket is here: y-websocket's providers connect to {base}/ws, Hocuspocus' to {base}/hocuspocus"
        ))),
        Err(refusal) => refusal,
    };
    admission::refuse(request, &admission::credentials(request), &[], refusal, shared).await
}

/// Whether an answer with this status goes to somebody who looks for the right address.
#[must_use]
pub fn is_for(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::UPGRADE_REQUIRED
    )
}

/// Puts help in place of a line of text.
#[must_use]
pub fn put(
    answer: ServiceResponse<BoxBody>,
    form: Form,
    reason: &str,
    base_path: &BasePath,
) -> ServiceResponse<BoxBody> {
    let (kind, text) = match form {
        Form::Page => ("text/html; charset=utf-8", page(reason, base_path)),
        Form::Json => ("application/json", object(reason, base_path)),
        Form::Text => return by_form(answer),
    };
    let mut answer = by_form(answer.map_body(|_, _| BoxBody::new(text)));
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Says that the answer follows from what was asked for, beside what else it follows from.
fn by_form(mut answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let headers = answer.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("accept"));
    answer
}

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// What a browser can do with an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It can be opened as it stands.
    Page,
    /// The same, if this binary has the demo.
    Demo,
    /// It is for programs, or begins so.
    Program,
}

/// What is where below the base path.
const PEOPLES: [(&str, Use, &str); 6] = [
    (
        "/ws",
        Use::Program,
        "for y-websocket's providers: new WebsocketProvider('ws://HOST/ws', 'NAME', doc)",
    ),
    (
        "/hocuspocus",
        Use::Program,
        "for Hocuspocus' providers: url: 'ws://HOST/hocuspocus'",
    ),
    (
        "/doc/NAME/auth",
        Use::Program,
        "for y-sweet's SDK, whose connection string is ys://HOST or ys://TOKEN@HOST",
    ),
    (
        "/d/NAME",
        Use::Program,
        "a document in the demo; it has a token as #token=TOKEN",
    ),
    (
        "/share",
        Use::Program,
        "for whoever may share (POST): a token for a link, narrower than one's own",
    ),
    (
        "/track-saved.js",
        Use::Demo,
        "the module that tells a page what is saved",
    ),
];
/// What is where at the root, whatever the base path is.
const OPERATORS: [(&str, Use, &str); 2] = [
    ("/readyz", Use::Page, "whether connections and writes are taken"),
    ("/version", Use::Page, "what runs here"),
];

/// Addresses, whether each can be opened, and what is there.
fn addresses(base_path: &BasePath) -> Vec<(String, bool, String)> {
    let base = base_path.as_str();
    let has_demo = demo::is_built();
    let start = if has_demo {
        "the demo: write a document in the browser"
    } else {
        "nothing: this server was built without the web demo"
    };
    let start = (format!("{base}/"), Use::Demo, start.to_owned());
    // In what a program is given, the path belongs behind the host.
    let peoples = PEOPLES.map(|(path, used, what)| {
        (
            format!("{base}{path}"),
            used,
            what.replace("HOST", &format!("HOST{base}")),
        )
    });
    let operators = OPERATORS.map(|(path, used, what)| (path.to_owned(), used, what.to_owned()));
    [start]
        .into_iter()
        .chain(peoples)
        .chain(operators)
        .map(|(path, used, what)| (path, used == Use::Page || (used == Use::Demo && has_demo), what))
        .collect()
}

fn object(reason: &str, base_path: &BasePath) -> String {
    let addresses: serde_json::Map<_, _> = addresses(base_path)
        .into_iter()
        .map(|(path, _, what)| (path, what.into()))
        .collect();
    format!("{}\n", json!({ "error": reason, "addresses": addresses }))
}

fn page(reason: &str, base_path: &BasePath) -> String {
    let rows: String = addresses(base_path)
        .iter()
        .map(|(path, opens, what)| {
            let (path, what) = (escape(path), escape(what));
            let path = if *opens {
                format!("<a href=\"{path}\">{path}</a>")
            } else {
                path
            };
            format!("<dt>{path}</dt><dd>{what}</dd>\n")
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Nothing is here: Cowrite</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Nothing is here</h1>\n<p>Cowrite runs, and its answer to \
         this address is: {}.</p>\n<h2>What is where</h2>\n<dl>\n{rows}</dl>\n</main>\n</body>\n</html>\n",
        escape(reason)
    )
}

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:2rem 1rem}\
     main{max-width:44rem;margin:0 auto}dt{font-family:ui-monospace,monospace;font-weight:600;overflow-wrap:anywhere}\
     dd{margin:0 0 .75rem;overflow-wrap:anywhere}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &'static str) -> Form {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        Form::of(&headers)
    }

    #[test]
    fn e31_a_browser_is_shown_a_page_and_a_program_is_given_what_it_asks_for() {
        assert_eq!(form("text/html,application/xhtml+xml,*/*;q=0.8"), Form::Page);
        assert_eq!(form("application/json, text/plain, */*"), Form::Json);
        assert_eq!(form("*/*"), Form::Text);
        assert_eq!(Form::of(&HeaderMap::new()), Form::Text);
    }

    #[test]
    fn e31_what_a_page_says_is_text() {
        let page = page("<script>&\"", &BasePath::parse("/collab").expect("a path"));

        assert!(page.contains("&lt;script&gt;&amp;&quot;"), "{page}");
        assert_eq!(page.contains("<a href=\"/collab/\">"), demo::is_built(), "{page}");
        assert!(page.contains("ws://HOST/collab/ws"), "{page}");
        assert!(!page.contains("<a href=\"/collab/share\">"), "{page}");
        assert!(page.contains("<a href=\"/readyz\">"), "{page}");
    }
}
