//! What an operator may do while the server runs: revoke tokens, see who is here, look into documents ([`super::inspect`]). Whoever shows the admin token may.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::{StatusCode, header},
    web::{self, Data, Query, ServiceConfig},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    access::{Access, Identity, Revocation, Revocations, Revoked},
    actor::{
        clock,
        document::{Revoke, Who},
        registry::Registry,
    },
    id::DocumentId,
    limits::LINK_S_MAX,
    nodes::Said,
    protocol::close::CloseReason,
    store::{
        StoreError,
        orders::{OrderNumber, Orders},
    },
};

use super::{Shared, admission::Refusal, inspect, together, tunnel, y_sweet::body};

/// Where revocations are kept in the data folder.
const FILE: &str = "revocations.json";
/// How long a revocation is remembered if nobody says so, in seconds: no token should live longer.
const REMEMBERED_S: u64 = LINK_S_MAX;
/// Most sessions in one answer.
const SESSIONS_MAX: usize = 10_000;

/// The operator's paths.
pub fn routes(config: &mut ServiceConfig) {
    config.route("/admin/revoke", web::post().to(revoke)).configure(tells);
}

/// Those that tell of sessions and documents.
pub fn tells(config: &mut ServiceConfig) {
    config
        .route("/admin/sessions", web::get().to(sessions))
        .route("/admin/documents", web::get().to(inspect::documents))
        .route("/admin/document", web::get().to(inspect::for_operator))
        .route("/admin/update", web::get().to(inspect::update));
}

/// How often a server asks what the others were told: they are to have heard of it within a second.
const FOLLOW: Duration = Duration::from_millis(400);

/// The revocations that hold, in memory and where they are kept.
pub struct Kept {
    all: RwLock<Revocations>,
    place: Place,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

/// Where they are kept. Nobody who is let in waits for it.
enum Place {
    /// One writes at a time.
    File(Mutex<PathBuf>),
    /// With the number of the last one that was heard of.
    Orders(Arc<dyn Orders>, Mutex<OrderNumber>),
}

/// Why it is not known what was revoked.
#[derive(Debug, thiserror::Error)]
pub enum Unkept {
    /// The file.
    #[error(
        "revocations.json in the data folder cannot be read: {0}; restore it, or delete it to let everybody in again"
    )]
    File(#[from] io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What all servers on a store are told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Revoke(Revocation),
}

impl Kept {
    /// Reads those of a data folder and, where several servers may share the store, those that all of these were told.
    ///
    /// # Errors
    /// [`Unkept`]: somebody whose token was revoked would be let in.
    pub fn open(folder: &Path, orders: Option<Arc<dyn Orders>>) -> Result<Self, Unkept> {
        let all = match fs::read(folder.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Revocations::default(),
            Err(error) => return Err(error.into()),
        };
        let kept = Self {
            all: RwLock::new(all),
            place: match orders {
                Some(orders) => Place::Orders(orders, Mutex::default()),
                None => Place::File(Mutex::new(folder.join(FILE))),
            },
        };
        kept.news()?;
        Ok(kept)
    }

    /// What was revoked on other servers since this was asked; it holds here from now on.
    ///
    /// # Errors
    /// The store does not answer: ask again.
    fn news(&self) -> Result<Vec<Revocation>, StoreError> {
        let Place::Orders(orders, last) = &self.place else {
            return Ok(Vec::new());
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        // Who was cut off hears all once more: the store may have come back with less, and have given numbers again.
        let after = std::mem::take(&mut *last);
        let behind = orders.behind(after)?;
        *last = behind.last().map_or(after, |(number, _)| *number);
        let read = behind
            .into_iter()
            .filter_map(|(number, what)| match serde_json::from_str(&what) {
                Ok(Order::Revoke(revocation)) => Some(revocation),
                Err(error) => {
                    log::warn!("order {number} is of a newer server, and is not obeyed here: {error}");
                    None
                }
            });
        Ok(self.add(read))
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

    /// Remembers some more from now on, until the process ends; returns those that are news.
    fn add(&self, revocations: impl IntoIterator<Item = Revocation>) -> Vec<Revocation> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.add(revocations, clock::wall_ms())
    }

    /// Keeps one that was added, for servers that start later and for all on the store.
    fn keep(&self, revocation: Revocation) -> io::Result<()> {
        match &self.place {
            Place::File(file) => self.write(&file.lock().unwrap_or_else(PoisonError::into_inner)),
            Place::Orders(orders, _) => {
                let until_ms = revocation.until_ms;
                let order = serde_json::to_string(&Order::Revoke(revocation))?;
                orders.give(&order, until_ms).map_err(io::Error::other)
            }
        }
    }

    /// Writes down all that were added.
    fn write(&self, file: &Path) -> io::Result<()> {
        let bytes = {
            let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
            serde_json::to_vec(&*all)?
        };
        let part = file.with_extension("part");
        let mut written = File::create(&part)?;
        written.write_all(&bytes)?;
        written.sync_all()?;
        fs::rename(part, file)?;
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
    let body = match body(&request, payload, WANTED_BYTES_MAX, &shared).await {
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
    shared.revocations.add([revocation.clone()]);
    let (keeps, kept) = (shared.clone(), revocation.clone());
    let kept = web::block(move || keeps.revocations.keep(kept));
    // Whoever is here hears of it at once: the disk may take long, or fail, and so may a document that is busy.
    let concerned = tell(&shared.registry, &revocation).await;
    let what = if leaves.is_some() { "lowered" } else { "ended" };
    log::info!("revoked {:?}: {concerned} sessions were {what}", revocation.revoked);
    let error = match kept.await {
        Ok(Ok(())) => return HttpResponse::Ok().json(json!({ what: concerned })),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    log::error!("a revocation could not be written down: {error}");
    let others = match shared.revocations.place {
        Place::File(_) => "",
        Place::Orders(..) => ", and other servers may not have heard of it",
    };
    let reason = format!(
        "{concerned} sessions were {what}, and such tokens are refused until the server ends. The revocation could not be \
         written down ({error}), and is not remembered after that{others}: send it again"
    );
    Refusal::response(StatusCode::SERVICE_UNAVAILABLE, &reason)
}

/// Tells the documents that are open here; returns how many sessions were concerned.
async fn tell(registry: &Registry, revocation: &Revocation) -> usize {
    let documents = registry.all();
    let told = documents
        .iter()
        .map(|document| document.send(Revoke(revocation.clone())));
    let told = futures_util::future::join_all(told).await;
    told.into_iter().filter_map(Result::ok).sum()
}

/// Obeys what is revoked on other servers, for as long as it is polled.
pub async fn follow(shared: Data<Shared>) {
    if let Place::File(_) = shared.revocations.place {
        return;
    }
    loop {
        actix_web::rt::time::sleep(FOLLOW).await;
        let asks = shared.clone();
        match web::block(move || asks.revocations.news()).await {
            Ok(Ok(news)) => {
                for revocation in news {
                    // A document that is busy holds up no other revocation.
                    actix_web::rt::spawn(obey(shared.registry.clone(), revocation));
                }
            }
            Ok(Err(error)) => log::debug!("what was revoked on other servers is not known: {error}"),
            Err(_) => return,
        }
    }
}

async fn obey(registry: Arc<Registry>, revocation: Revocation) {
    let concerned = tell(&registry, &revocation).await;
    let what = if revocation.leaves.is_some() {
        "lowered"
    } else {
        "ended"
    };
    log::info!(
        "revoked on another server {:?}: {concerned} sessions were {what} here",
        revocation.revoked
    );
}

/// Which sessions are asked for.
#[derive(Debug, Deserialize)]
struct Asked {
    document: Option<String>,
    user: Option<String>,
}

/// `GET /admin/sessions`: those of all nodes.
async fn sessions(request: HttpRequest, asked: Query<Asked>, shared: Data<Shared>) -> HttpResponse {
    if let Some(refused) = refusal(&request, &shared) {
        return refused;
    }
    let (own, heard) = futures_util::join!(own_sessions(&asked, &shared), together::ask(&request, &shared));
    let answer = match (heard, &shared.nodes) {
        (Some(heard), Some(nodes)) => {
            let mut all = heard.lists("sessions", own, nodes);
            all.truncate(SESSIONS_MAX);
            json!({ "sessions": all, "unanswered": heard.unanswered() })
        }
        _ => json!({ "sessions": own }),
    };
    HttpResponse::Ok().json(answer)
}

async fn own_sessions(asked: &Asked, shared: &Shared) -> Vec<Value> {
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
    sessions
}

/// The answer to somebody who is not the operator.
pub(super) fn refusal(request: &HttpRequest, shared: &Shared) -> Option<HttpResponse> {
    match tunnel::said(request) {
        Some(Said::Node) => return None,
        // What a client asks for, whatever it shows: this door is for nodes.
        Some(_) => return Some(Refusal::response(StatusCode::FORBIDDEN, "this is for nodes")),
        None => {}
    }
    let Some(token) = &shared.admin_token else {
        let reason = "this server has no admin token: start it with COWRITE_ADMIN_TOKEN";
        return Some(Refusal::response(StatusCode::NOT_FOUND, reason));
    };
    let shown = request.headers().get(header::AUTHORIZATION);
    let shown = shown.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let reason = "the admin token is needed: Authorization: Bearer TOKEN";
    (!shown.is_some_and(|shown| token.is(shown))).then(|| Refusal::response(StatusCode::UNAUTHORIZED, reason))
}

#[cfg(all(test, feature = "postgres"))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::store::postgres::tests::open;

    fn identity(issued_at_ms: u64) -> Identity {
        Identity {
            subject: Some("ada".into()),
            issued_at_ms: Some(issued_at_ms),
            ..Identity::anonymous()
        }
    }

    #[test]
    #[ignore = "needs a database"]
    fn n31_what_is_revoked_on_one_server_holds_on_all_and_on_those_that_start_later() {
        let (folder, unused) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let server = || Kept::open(unused.path(), Some(Arc::new(open(folder.path())))).unwrap();
        let [one, two] = [server(), server()];
        let may = |kept: &Kept| kept.apply(identity(1_000), &DocumentId::parse("d").unwrap()).is_ok();
        let revocation = Revocation {
            revoked: Revoked::User("ada".into()),
            at_ms: 2_000,
            until_ms: clock::wall_ms() + 3_600_000,
            leaves: None,
        };
        assert!(may(&one) && may(&two));

        assert_eq!(one.add([revocation.clone()]), std::slice::from_ref(&revocation));
        one.keep(revocation.clone()).unwrap();

        assert!(!may(&one) && may(&two));
        assert_eq!(two.news().unwrap(), [revocation]);
        assert_eq!(two.news().unwrap(), []);
        assert_eq!(one.news().unwrap(), [], "its own is no news");
        assert!(!may(&two) && !may(&server()));
        assert!(
            fs::read_dir(unused.path()).unwrap().next().is_none(),
            "no folder has to outlive a restart"
        );
    }
}
