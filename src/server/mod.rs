//! Building, starting and stopping the server.
//!
//! Stopping: not ready and no new connections, every document flushes and tells its sessions to come
//! back (1012), paced; then everything is committed and the store is closed.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix_http::HttpService;
use actix_server::{Server, ServerHandle};
use actix_service::map_config;
use actix_web::{App, dev::AppConfig, rt::net::TcpStream, web::Data};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

use crate::{
    actor::{
        document::ShutDown,
        helpers::Helpers,
        homes::Homes,
        pace,
        registry::{Policies, Registry},
        writer::Writer,
    },
    budgets::Memory,
    config::{Admission, ServeConfig},
    document::Deleted,
    http::{self, Shared, admin::Kept, doorkeeper::Doorkeeper, line::Unfinished},
    room::{Micros, Policy},
    store::{
        Store, StoreError,
        durable::{DurableStore, Options},
    },
    telemetry::Metrics,
};

mod arrivals;
mod descriptors;
mod memory;

use descriptors::Descriptors;

/// Bytes of one document that may wait for the disk before its edits are refused.
const UNSAVED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bounds of what all documents share are this part of all memory at most.
const PART: usize = 8;

/// Threads for loads and large encodes, and as many for updates that may take long to merge.
const HELPERS: usize = 2;
/// How long a stop waits for one document's answer before it tells the next.
const ANSWER: Duration = Duration::from_millis(100);

/// Connections that the system may queue before they are accepted: a deploy brings everybody back at once.
const BACKLOG: i32 = 4_096;

/// How long a peer may leave what was sent to it unacknowledged before its connection is given up.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// Sessions told to come back before the next ones wait a moment.
const CLOSE_BATCH: usize = 500;

/// Runs the server until it is told to stop.
///
/// # Errors
/// [`ServeError`] when it cannot start, or could not save everything before it stopped.
pub fn run(config: ServeConfig) -> Result<(), ServeError> {
    let shutdown_timeout = config.shutdown_timeout;
    let runner = actix_web::rt::System::new();
    runner.block_on(async move {
        let application = Application::build(config)?;
        // That nobody reads it is no failure.
        let _ = writeln!(io::stdout(), "listening on http://{}", application.address());
        application.run_until(stop_signal(), shutdown_timeout).await
    })
}

/// A server that listens and has not been started.
pub struct Application {
    address: SocketAddr,
    server: Server,
    shared: Data<Shared>,
}

impl Application {
    /// Opens the store, starts the threads, binds the address.
    ///
    /// # Errors
    /// [`ServeError`] says which of these failed, and why.
    pub fn build(config: ServeConfig) -> Result<Self, ServeError> {
        let listener = bind(config.listen).map_err(|source| ServeError::Listen {
            address: config.listen,
            source,
        })?;
        let address = listener.local_addr().map_err(ServeError::System)?;
        let descriptors = Descriptors::take(config.connections_max);
        let store: Arc<dyn Store> = Arc::new(DurableStore::open(&config.data, store_options(&config))?);
        let metrics = Metrics::new();
        let memory_max = config.memory_max.unwrap_or_else(memory::of_system);
        // Each of these may be used up at the same time, and documents have to have room beside them.
        let part = |bytes_max: usize| bytes_max.min(memory_max / PART);
        let memory = Memory::new(memory_max, part(config.answers_bytes_max));
        let unfinished_max = (memory_max / PART).max(config.message_bytes_max);
        let writer = Writer::start(store.clone(), metrics.clone(), part(config.unsaved_bytes_max))
            .map_err(ServeError::System)?;
        let homes = Homes::new(config.threads);
        let helpers = [Helpers::start(HELPERS), Helpers::start(HELPERS)];
        let [helpers, takers] = helpers.map(|started| started.map_err(ServeError::System));
        let registry = Registry::new(
            store.clone(),
            writer.clone(),
            [helpers?, takers?],
            policies(&config, memory.clone()),
            metrics.clone(),
            homes.clone(),
        );
        let shared = Data::new(Shared {
            registry,
            store,
            writer,
            metrics,
            keys: match config.admission {
                Admission::Open => None,
                Admission::Tokens(keys) => Some(keys),
            },
            admin_token: config.admin_token,
            revocations: Kept::open(&config.data).map_err(ServeError::Revocations)?,
            origins: config.origins,
            public_url: config.public_url,
            message_bytes_max: config.message_bytes_max,
            unfinished: Unfinished::new(config.unfinished_bytes_max.min(unfinished_max)),
            outbox_bytes_max: config.outbox_bytes_max,
            auth_timeout: config.auth_timeout,
            lines: Arc::default(),
            memory,
            doorkeeper: Doorkeeper::new(config.budgets.allowed(config.message_bytes_max)),
            connections_max: descriptors.connections_max,
            connections: AtomicUsize::new(0),
            next_session: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            stopping: Notify::new(),
        });
        let server = serve(
            listener,
            &shared,
            homes,
            config.threads,
            descriptors,
            config.budgets.request_timeout,
        )
        .map_err(ServeError::System)?;
        Ok(Self {
            address,
            server,
            shared,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready, then stops within about `patience`.
    ///
    /// # Errors
    /// [`ServeError::Unsaved`] when edits could not be made durable in that time.
    pub async fn run_until(
        self,
        stop: impl Future<Output = &'static str>,
        patience: Duration,
    ) -> Result<(), ServeError> {
        let handle = self.server.handle();
        let server = actix_web::rt::spawn(self.server);
        let watch = memory::watch(self.shared.memory.clone(), self.shared.lines.clone());
        let watch = actix_web::rt::spawn(watch);
        let reason = stop.await;
        log::info!("{reason}: stopping");
        watch.abort();
        let stopped = shut_down(&self.shared, &handle, patience).await;
        if let Ok(Err(error)) = server.await {
            log::error!("the HTTP server ended badly: {error}");
        }
        stopped
    }
}

/// HTTP by actix-web; upgrades leave it ([`http::upgrade`]), which `HttpServer` has no setting for.
fn serve(
    listener: TcpListener,
    shared: &Data<Shared>,
    homes: Arc<Homes>,
    threads: usize,
    descriptors: Descriptors,
    request_timeout: Duration,
) -> io::Result<Server> {
    let builder = Server::build();
    let stopping = builder.graceful_shutdown_signal();
    let shared = shared.clone();
    let address = listener.local_addr()?;
    let builder = builder.listen("http", listener, move || {
        // Called once on each thread.
        actix_web::rt::spawn(pace::keep());
        let application = || {
            let application = App::new().app_data(shared.clone()).configure(http::routes);
            map_config(application, |()| AppConfig::default())
        };
        let stopping = stopping.clone();
        let http = HttpService::build()
            .client_request_timeout(request_timeout)
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .client_disconnect_timeout(Duration::from_secs(1))
            .local_addr(address)
            .on_connect_ext(|stream: &TcpStream, _| {
                // The builder's own setting does not reach an `h1` service. With Nagle's algorithm a small frame
                // waits 40 ms for the acknowledgement of the one before.
                let _ = stream.set_nodelay(true);
                // Covers peers that vanish and peers that stop reading, which no close frame reaches.
                let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(PEER_TIMEOUT));
            })
            .upgrade(http::upgrade::factory(application(), homes.clone()))
            .h1(application());
        arrivals::service(http, shared.doorkeeper.clone(), request_timeout)
    })?;
    Ok(builder
        .workers(threads)
        // Of each thread; what has become a WebSocket does not count.
        .max_concurrent_connections(descriptors.requests_max.div_ceil(threads))
        .disable_signals()
        .shutdown_timeout(1)
        .run())
}

async fn shut_down(shared: &Shared, handle: &ServerHandle, patience: Duration) -> Result<(), ServeError> {
    let deadline = Instant::now() + patience;
    shared.draining.store(true, Ordering::Relaxed);
    shared.stopping.notify_waiters();
    handle.pause().await;
    let documents = shared.registry.close();
    let mut told = 0;
    for document in documents {
        // One that is being loaded, encoded or merged hears of it when that is done, and holds up no other.
        let answer = actix_web::rt::spawn(document.send(ShutDown));
        let patience = deadline.saturating_duration_since(Instant::now());
        let answer = actix_web::rt::time::timeout(ANSWER.min(patience), answer).await;
        told += answer
            .ok()
            .and_then(Result::ok)
            .and_then(Result::ok)
            .unwrap_or_default();
        if told >= CLOSE_BATCH {
            told = 0;
            actix_web::rt::time::sleep(Duration::from_millis(50)).await;
        }
    }
    while !shared.registry.is_empty() && Instant::now() < deadline {
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
    }
    let unsaved_documents = shared.registry.len();
    let waits_for_disk = shared.writer.waiting_bytes() > 0;
    // Close frames are on their way; give the slow ones a moment.
    let closing = Instant::now() + Duration::from_secs(2);
    while shared.connections.load(Ordering::Relaxed) > 0 && Instant::now() < closing.min(deadline) {
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
    }
    handle.stop(true).await;
    let (writer, store) = (shared.writer.clone(), shared.store.clone());
    let patience = deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(500));
    let closed = actix_web::web::block(move || {
        if !writer.stop(patience) {
            log::warn!("the store did not come to an end in time, the next start recovers");
            return Ok(());
        }
        store.close()
    });
    match closed.await {
        Ok(Ok(())) if unsaved_documents == 0 => log::info!("stopped, everything is saved"),
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::warn!("the store was not closed cleanly, the next start recovers: {error}"),
        Err(error) => log::warn!("the store was not closed: {error}"),
    }
    if unsaved_documents > 0 {
        let reason = match shared.writer.health().trouble() {
            Some(trouble) => trouble,
            None if waits_for_disk => "the disk is too slow".to_owned(),
            None => "they were still being loaded or merged".to_owned(),
        };
        return Err(ServeError::Unsaved {
            documents: unsaved_documents,
            reason,
        });
    }
    Ok(())
}

async fn stop_signal() -> &'static str {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        log::error!("signals cannot be received, only SIGKILL stops this server");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn store_options(config: &ServeConfig) -> Options {
    let mut options = Options::default();
    options.journal.retain_ms = config.keep_history.as_millis() as u64;
    options.journal.segment_bytes = config.segment_bytes;
    options.journal.segment_bytes_min = options.journal.segment_bytes_min.min(config.segment_bytes);
    options
}

fn policies(config: &ServeConfig, memory: Arc<Memory>) -> Policies {
    let rooms = Policy {
        document_bytes_max: config.document_bytes_max,
        outbox_bytes_max: config.outbox_bytes_max,
        unsaved_bytes_max: UNSAVED_BYTES_MAX.min(config.unsaved_bytes_max),
        snapshot_bytes: config.snapshot_bytes as usize,
        idle_timeout: config.idle_timeout.as_micros() as Micros,
        deleted: Deleted::Dropped,
        stamps_presence: config.stamp_presence,
    };
    Policies {
        rooms,
        keep_deleted: config.keep_deleted.clone(),
        sessions_max: config.budgets.sessions_per_document,
        memory,
    }
}

/// Why the server could not start, or stopped without having been able to do its work.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another with --listen (port 0 takes a free one)")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The revocations in the data folder cannot be read: somebody whose token was revoked would be let in.
    #[error(
        "revocations.json in the data folder cannot be read: {0}; restore it, or delete it to let everybody in again"
    )]
    Revocations(io::Error),
    /// The system refused something that every server needs.
    #[error("the system refused: {0}")]
    System(io::Error),
    /// Edits were taken that could not be made durable in the time that stopping may take.
    #[error("{documents} documents could not be saved before the time to stop ran out: {reason}")]
    Unsaved {
        /// How many.
        documents: usize,
        /// The last thing the store said.
        reason: String,
    },
}
