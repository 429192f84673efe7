//! HTTP for object stores: the client and the TLS that the rest of the program has.
//!
//! Every object is small, so an answer is read whole before it is passed on: one that is cut off is an error of its
//! request, which is repeated, and no half of it is ever seen.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use object_store::{
    ClientConfigKey, ClientOptions, Error,
    client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService},
};
use ureq::{
    Agent,
    http::{Method, Request},
    tls::TlsConfig,
};

use crate::token::source;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a store may take to answer, unless AWS_TIMEOUT (GOOGLE_TIMEOUT, AZURE_TIMEOUT) says it.
const ANSWER: Duration = Duration::from_secs(30);
/// A body may take so many times as long.
const BODY: u32 = 4;
/// Longest answer, in bytes: a run of a very large store.
const BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Makes clients that ask through `ureq`.
#[derive(Debug)]
pub(super) struct Connector;

#[derive(Debug)]
struct Client {
    agent: Agent,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let said = |key| options.get_config_value(&key);
        let patience = |key, default| {
            said(key)
                .and_then(|text| humantime::parse_duration(&text).ok())
                .unwrap_or(default)
        };
        let answer = patience(ClientConfigKey::Timeout, ANSWER);
        let is_secure = said(ClientConfigKey::AllowHttp).as_deref() != Some("true");
        let config = Agent::config_builder()
            .timeout_connect(Some(patience(ClientConfigKey::ConnectTimeout, CONNECT)))
            .timeout_send_body(Some(answer * BODY))
            .timeout_recv_response(Some(answer))
            .timeout_recv_body(Some(answer * BODY))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .https_only(is_secure)
            .user_agent(concat!("cowrite/", env!("CARGO_PKG_VERSION")))
            .tls_config(trust(is_secure)?);
        let agent = config.build().new_agent();
        Ok(HttpClient::new(Client { agent }))
    }
}

/// A machine without root certificates can reach a store without TLS.
fn trust(is_secure: bool) -> object_store::Result<TlsConfig> {
    match source::trust() {
        Ok(trust) => Ok(trust),
        Err(_) if !is_secure => Ok(TlsConfig::default()),
        Err(error) => Err(Error::Generic {
            store: "HTTP",
            source: Box::new(error),
        }),
    }
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let agent = self.agent.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&agent, Request::from_parts(head, body)));
        asked
            .await
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?
            .map_err(failed)
    }
}

fn ask(agent: &Agent, request: Request<Bytes>) -> Result<HttpResponse, ureq::Error> {
    let (head, body) = request.into_parts();
    let takes_body = ![Method::GET, Method::HEAD, Method::DELETE].contains(&head.method);
    let mut answer = if takes_body {
        agent.run(Request::from_parts(head, &body[..]))?
    } else {
        agent.run(Request::from_parts(head, ()))?
    };
    let body = answer.body_mut().with_config().limit(BYTES_MAX).read_to_vec()?;
    let (head, _) = answer.into_parts();
    Ok(HttpResponse::from_parts(head, body.into()))
}

fn failed(error: ureq::Error) -> HttpError {
    let kind = match &error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => HttpErrorKind::Connect,
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        // Also an answer that is cut off within its head.
        ureq::Error::Io(_) | ureq::Error::Protocol(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
