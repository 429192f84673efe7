//! What an operator may do while the server runs: revoke tokens, see who is here, look into documents ([`super::inspect`]). Whoever shows the admin token may.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, RwLock},
};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::{StatusCode, header},
    web::{self, Data, Query, ServiceConfig},
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    access::{Access, Identity, Revocation, Revocations, Revoked},
    actor::{
        clock,
        document::{Revoke, Who},
    },
    id::DocumentId,
    limits::LINK_S_MAX,
    protocol::close::CloseReason,
};

use super::{Shared, admission::Refusal, inspect, y_sweet::body};

/// Where revocations are kept in the data folder.
const FILE: &str = "revocations.json";
/// How long a revocation is remembered if nobody says so, in seconds: no token should live longer.
const REMEMBERED_S: u64 = LINK_S_MAX;
/// Most sessions in one answer.
const SESSIONS_MAX: usize = 10_000;

/// The operator's paths.
pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/admin/revoke", web::post().to(revoke))
        .route("/admin/sessions", web::get().to(sessions))
        .route("/admin/documents", web::get().to(inspect::documents))
        .route("/admin/document", web::get().to(inspect::for_operator))
        .route("/admin/update", web::get().to(inspect::update));
}

/// The revocations that hold, in memory and on disk.
#[derive(Debug)]
pub struct Kept {
    all: RwLock<Revocations>,
    /// One writes at a time, and nobody who is let in waits for the disk.
    file: Mutex<PathBuf>,
}

impl Kept {
    /// Reads those of a data folder.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is not what this server wrote.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let all = match fs::read(folder.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Revocations::default(),
            Err(error) => return Err(error),
        };
        Ok(Self {
            all: RwLock::new(all),
            file: Mutex::new(folder.join(FILE)),
        })
    }

    /// Somebody with what is left of their access to a document.
    ///
    /// # Errors
    /// What the session is told when nothing is.
    pub fn apply(&self, identity: Identity, document: &DocumentId) -> Result<Identity, CloseReason> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let access = all.leave(&identity, document).ok_or_else(CloseReason::revoked)?;
        Ok(Identity { access, ..identity })
    }

    /// Remembers one more from now on, until the process ends.
    fn add(&self, revocation: Revocation) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.add(revocation, clock::wall_ms());
    }

    /// Writes down all that were added.
    fn write(&self) -> io::Result<()> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = {
            let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
            serde_json::to_vec(&*all)?
        };
        let part = file.with_extension("part");
        let mut written = File::create(&part)?;
        written.write_all(&bytes)?;
        written.sync_all()?;
        fs::rename(part, &*file)?;
        file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

/// What is to be revoked, and for how long that is remembered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    user: Option<String>,
    token: Option<String>,
    document: Option<DocumentId>,
    leave: Option<Leave>,
    remember_seconds: Option<u64>,
}

/// What is not revoked.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Leave {
    Read,
}

impl Wanted {
    fn revoked(self) -> Option<Revoked> {
        match (self.user, self.token, self.document) {
            (Some(user), None, None) => Some(Revoked::User(user.into())),
            (None, Some(token), None) => Some(Revoked::Token(token.into())),
            (None, None, Some(document)) => Some(Revoked::Document(document)),
            (Some(user), None, Some(document)) => Some(Revoked::Member {
                user: user.into(),
                document,
            }),
            _ => None,
        }
    }
}

/// Longest description of what is to be revoked, in bytes.
const WANTED_BYTES_MAX: usize = 16 * 1024;

/// `POST /admin/revoke`.
async fn revoke(request: HttpRequest, payload: web::Payload, shared: Data<Shared>) -> HttpResponse {
    // Nobody else's body is waited for.
    if let Some(refused) = refusal(&request, &shared) {
        return refused;
    }
    let body = match body(payload, WANTED_BYTES_MAX, &shared).await {
        Ok(body) => body,
        Err(reason) => return ResponseError::error_response(&Refusal::Close(reason)),
    };
    const USAGE: &str = "send one of {\"user\": …}, {\"token\": …} and {\"document\": …}, or a user and a document, with \"leave\": \"read\" to \
         take only writing, and \"remember_seconds\" if you like";
    let wanted = serde_json::from_slice::<Wanted>(&body);
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return Refusal::response(StatusCode::BAD_REQUEST, &format!("{error}: {USAGE}")),
    };
    let remembered = wanted.remember_seconds.unwrap_or(REMEMBERED_S).saturating_mul(1_000);
    let leaves = wanted.leave.map(|Leave::Read| Access::Read);
    let Some(revoked) = wanted.revoked() else {
        return Refusal::response(StatusCode::BAD_REQUEST, USAGE);
    };
    let now_ms = clock::wall_ms();
    let revocation = Revocation {
        revoked,
        at_ms: now_ms,
        until_ms: now_ms.saturating_add(remembered),
        leaves,
    };
    shared.revocations.add(revocation.clone());
    let keeps = shared.clone();
    let written = web::block(move || keeps.revocations.write());
    // Whoever is here hears of it at once: the disk may take long, or fail, and so may a document that is busy.
    let documents = shared.registry.all();
    let told = documents
        .iter()
        .map(|document| document.send(Revoke(revocation.clone())));
    let told = futures_util::future::join_all(told).await;
    let concerned: usize = told.into_iter().filter_map(Result::ok).sum();
    let what = if leaves.is_some() { "lowered" } else { "ended" };
    log::info!("revoked {:?}: {concerned} sessions were {what}", revocation.revoked);
    let error = match written.await {
        Ok(Ok(())) => return HttpResponse::Ok().json(json!({ what: concerned })),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    log::error!("a revocation could not be written down: {error}");
    let reason = format!(
        "{concerned} sessions were {what}, and such tokens are refused until the server ends. The revocation could not be \
         written down ({error}), and is not remembered after that: send it again"
    );
    Refusal::response(StatusCode::SERVICE_UNAVAILABLE, &reason)
}

/// Which sessions are asked for.
#[derive(Debug, Deserialize)]
struct Asked {
    document: Option<String>,
    user: Option<String>,
}

/// `GET /admin/sessions`.
async fn sessions(request: HttpRequest, asked: Query<Asked>, shared: Data<Shared>) -> HttpResponse {
    if let Some(refused) = refusal(&request, &shared) {
        return refused;
    }
    let mut sessions = Vec::new();
    for document in shared.registry.all() {
        let Ok((name, present)) = document.send(Who).await else {
            continue;
        };
        if asked.document.as_ref().is_some_and(|asked| *asked != name.as_str()) {
            continue;
        }
        for one in present {
            let by: Option<Vec<&str>> = one
                .by
                .as_deref()
                .map(|by| by.iter().map(|sharer| &*sharer.sub).collect());
            // Whom revoking that user would end.
            let is_of =
                |user: &str| one.user.as_deref() == Some(user) || by.as_ref().is_some_and(|by| by.contains(&user));
            if sessions.len() < SESSIONS_MAX && asked.user.as_deref().is_none_or(is_of) {
                let access = one.access;
                sessions.push(json!({
                    "document": name, "session": one.session.0, "user": one.user, "shared_by": by, "access": access,
                    "wire": one.wire, "seconds": one.seconds,
                }));
            }
        }
    }
    HttpResponse::Ok().json(json!({ "sessions": sessions }))
}

/// The answer to somebody who is not the operator.
pub(super) fn refusal(request: &HttpRequest, shared: &Shared) -> Option<HttpResponse> {
    let Some(token) = &shared.admin_token else {
        let reason = "this server has no admin token: start it with COWRITE_ADMIN_TOKEN";
        return Some(Refusal::response(StatusCode::NOT_FOUND, reason));
    };
    let shown = request.headers().get(header::AUTHORIZATION);
    let shown = shown.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let reason = "the admin token is needed: Authorization: Bearer TOKEN";
    (!shown.is_some_and(|shown| token.is(shown))).then(|| Refusal::response(StatusCode::UNAUTHORIZED, reason))
}
