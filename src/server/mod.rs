//! Building, starting and stopping the server.
//!
//! Stopping: not ready and no new connections, every document flushes and tells its sessions to come
//! back (1012), paced; then everything is committed and the store is closed.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix_http::{HttpService, error::DispatchError};
use actix_server::{Server, ServerHandle};
use actix_service::{ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::{
    App,
    dev::AppConfig,
    middleware::from_fn,
    rt::net::TcpStream,
    web::{Data, ServiceConfig},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

#[cfg(feature = "postgres")]
use crate::store::postgres::{self, PostgresStore};
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
    config::{Admission, ServeConfig, is_loopback},
    document::Deleted,
    http::{
        self, Shared, Shows,
        address::PublicUrl,
        admin::{self, Kept},
        doorkeeper::Doorkeeper,
        socket::Socket,
        unfinished::Unfinished,
    },
    logging::LogFormat,
    nodes::Nodes,
    operator::schedule::Schedule,
    room::{Micros, Policy},
    store::{
        Store, StoreError,
        durable::{DurableStore, Options},
        orders::Orders,
    },
    supervisor::{self, Plug},
    telemetry::Metrics,
    tls::Tls,
    token::Issuer,
};

mod arrivals;
mod cluster;
mod descriptors;
mod farewell;
mod memory;
mod pages;

use descriptors::Descriptors;
use farewell::Farewell;

/// Bytes of one document that may wait for the disk before its edits are refused.
const UNSAVED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bounds of what all documents share are this part of all memory at most.
const PART: usize = 8;

/// Threads for loads and large encodes, and as many for updates that may take long to merge.
pub(crate) const HELPERS: usize = 2;
/// Connections that the system may queue before they are accepted: a deploy brings everybody back at once.
const BACKLOG: i32 = 4_096;

/// How long a peer may leave what was sent to it unacknowledged before its connection is given up.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the files of a certificate are looked at.
const RELOAD: Duration = Duration::from_secs(5);

/// Runs the server until it is told to stop.
///
/// # Errors
/// [`ServeError`] when it cannot start, or could not save everything before it stopped.
pub fn run(config: ServeConfig) -> Result<(), ServeError> {
    let (shutdown_timeout, log_format) = (config.shutdown_timeout, config.log_format);
    let runner = actix_web::rt::System::new();
    runner.block_on(async move {
        let application = Application::build(config)?;
        log::info!("{}", where_to_go(application.address(), &application.shared));
        // That nobody reads it is no failure.
        let _ = application.say_where(&mut io::stdout(), log_format);
        let shared = application.shared.clone();
        let stop = async {
            tokio::select! {
                reason = stop_signal() => reason,
                () = without_supervisor(shared.plug.as_ref()) => "the supervisor is gone",
            }
        };
        application.run_until(stop, shutdown_timeout).await
    })
}

/// What somebody who has just started a server wants to know.
fn where_to_go(address: SocketAddr, shared: &Shared) -> String {
    // Whoever stands before this machine; others know its name.
    let here = match address.ip() {
        ip if ip.is_unspecified() => format!("localhost:{}", address.port()),
        _ => address.to_string(),
    };
    let here = PublicUrl::of_host(&here, shared.is_secure).map(|here| here.below(&shared.base_path));
    let Some(root) = shared.public_url.clone().or(here) else {
        return "it has no address that clients could connect to".to_owned();
    };
    let demo = if http::has_demo() {
        format!("open {} in a browser", root.http("/"))
    } else {
        "this binary was built without the web demo".to_owned()
    };
    format!(
        "{demo}; providers connect to {} (y-websocket) and {} (Hocuspocus)",
        root.socket("/ws"),
        root.socket("/hocuspocus")
    )
}

/// A server that listens and has not been started.
pub struct Application {
    address: SocketAddr,
    admin: Option<(SocketAddr, bool)>,
    tls: Option<Arc<Tls>>,
    server: Server,
    shared: Data<Shared>,
    backups: Option<Schedule>,
    cluster: Option<cluster::Member>,
}

impl Application {
    /// Opens the store, starts the threads, binds the address.
    ///
    /// # Errors
    /// [`ServeError`] says which of these failed, and why.
    pub fn build(config: ServeConfig) -> Result<Self, ServeError> {
        let (listener, address) = bind(config.listen, "--listen")?;
        let admin = config
            .admin_listen
            .map(|address| bind(address, "--admin-listen"))
            .transpose()?;
        if let Admission::Tokens(keys) = &config.admission
            && let Some(set) = keys.issuer.as_ref().and_then(Issuer::set)
        {
            set.start().map_err(ServeError::System)?;
        }
        let files_each = if config.cluster.is_some() { 2 } else { 1 };
        let descriptors = Descriptors::take(config.connections_max, files_each);
        let mut budgets = config.budgets.clone();
        // However few there are, nobody takes all of them.
        let requests_max = (descriptors.requests_max / 4).max(1);
        budgets.requests_per_address = budgets.requests_per_address.min(requests_max);
        let cluster_door = config.cluster.as_ref().map(cluster::bind).transpose()?;
        let Opened { store, nodes, orders } = open_store(&config)?;
        let plug = plug(&config, address)?;
        let metrics = Metrics::new();
        let memory_max = config.memory_max.unwrap_or_else(memory::of_system);
        // Each of these may be used up at the same time, and documents have to have room beside them.
        let part = |bytes_max: usize| bytes_max.min(memory_max / PART);
        let memory = Memory::of_process(memory_max, part(config.answers_bytes_max));
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
            revocations: Kept::open(&config.data, orders)?,
            origins: config.origins,
            public_url: config.public_url,
            is_secure: config.tls.is_some(),
            base_path: config.base_path,
            message_bytes_max: config.message_bytes_max,
            unfinished: Unfinished::new(config.unfinished_bytes_max.min(unfinished_max)),
            outbox_bytes_max: config.outbox_bytes_max,
            auth_timeout: config.auth_timeout,
            lines: Arc::default(),
            memory,
            doorkeeper: Doorkeeper::new(budgets.allowed(config.message_bytes_max)),
            connections_max: descriptors.connections_max,
            connections: AtomicUsize::new(0),
            next_session: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            stopping: Notify::new(),
            looks: Mutex::default(),
            nodes: nodes.clone(),
            plug,
        });
        let cluster = match (&nodes, &cluster_door) {
            (Some(nodes), Some((_, address))) => Some(cluster::Member::new(nodes, address.clone(), &shared)),
            _ => None,
        };
        let open = Door {
            listener,
            tls: config.tls.clone(),
            shows: Shows {
                admin: admin.is_none(),
                metrics: config.public_metrics,
            },
        };
        let admin = admin.map(|(listener, address)| {
            let tls = config.tls.clone().filter(|_| !is_loopback(address));
            let shows = Shows {
                admin: true,
                metrics: true,
            };
            (address, Door { listener, tls, shows })
        });
        let told = admin.as_ref().map(|(address, door)| (*address, door.tls.is_some()));
        let doors = Doors {
            open,
            admin: admin.map(|(_, door)| door),
            cluster: cluster_door.map(|(listener, _)| listener),
        };
        let server = serve(
            doors,
            &shared,
            homes,
            config.threads,
            descriptors,
            budgets.request_timeout,
        )
        .map_err(ServeError::System)?;
        let backups = config.backup.map(|plan| {
            let (store, metrics) = (shared.store.clone(), shared.metrics.clone());
            Schedule::start(plan, config.data, store, metrics).map_err(ServeError::System)
        });
        Ok(Self {
            backups: backups.transpose()?,
            address,
            admin: told,
            tls: config.tls,
            server,
            shared,
            cluster,
        })
    }

    /// Says where it listens.
    ///
    /// # Errors
    /// Nobody listens to that.
    pub fn say_where(&self, out: &mut impl Write, format: LogFormat) -> io::Result<()> {
        let mut say = |what: &str, address: SocketAddr, is_secure: bool| {
            let scheme = if is_secure { "https" } else { "http" };
            let sentence = format!("{what} on {scheme}://{address}");
            writeln!(out, "{}", format.line(log::Level::Info, &sentence))
        };
        say("listening", self.address, self.tls.is_some())?;
        if let Some((address, is_secure)) = self.admin {
            say("admin", address, is_secure)?;
        }
        self.cluster.as_ref().map_or(Ok(()), |member| {
            let sentence = format!("nodes on {}", member.address());
            writeln!(out, "{}", format.line(log::Level::Info, &sentence))
        })
    }

    /// What its threads share.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Data<Shared> {
        &self.shared
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
        let reloads = self.tls.map(|tls| actix_web::rt::spawn(keep_fresh(tls)));
        let watch = memory::watch(self.shared.clone());
        let watch = actix_web::rt::spawn(watch);
        let member = self.cluster;
        if let Some(member) = &member {
            member.join().await;
        }
        let follows = actix_web::rt::spawn(admin::follow(self.shared.clone()));
        let strands = actix_web::rt::spawn(cluster::watch(self.shared.clone()));
        let reason = stop.await;
        let deadline = Instant::now() + patience;
        log::info!("{reason}: stopping");
        watch.abort();
        follows.abort();
        strands.abort();
        if let Some(reloads) = reloads {
            reloads.abort();
        }
        let stopped = shut_down(&self.shared, member.as_ref(), &handle, patience).await;
        if let Ok(Err(error)) = server.await {
            log::error!("the HTTP server ended badly: {error}");
        }
        if let Some(backups) = self.backups {
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = actix_web::web::block(move || backups.stop(left)).await;
        }
        stopped
    }
}

/// An address that is listened on, and what is there.
struct Door {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    shows: Shows,
}

impl Door {
    /// Makes a new connection ready, which comes from `peer`.
    async fn open(
        tcp: TcpStream,
        peer: Option<SocketAddr>,
        tls: Option<Arc<Tls>>,
    ) -> Result<(Socket, Option<SocketAddr>), DispatchError> {
        // The builder's own setting does not reach an `h1` service. With Nagle's algorithm a small frame
        // waits 40 ms for the acknowledgement of the one before.
        let _ = tcp.set_nodelay(true);
        // Covers peers that vanish and peers that stop reading, which no close frame reaches.
        let _ = socket2::SockRef::from(&tcp).set_tcp_user_timeout(Some(PEER_TIMEOUT));
        let socket = match tls {
            Some(tls) => tls.accept(tcp).await.map_err(DispatchError::Io)?,
            None => Socket::Plain(tcp),
        };
        Ok((socket, peer))
    }
}

/// All addresses that are listened on.
struct Doors {
    open: Door,
    admin: Option<Door>,
    /// For other nodes.
    cluster: Option<TcpListener>,
}

/// What people ask for, at one address; other nodes ask for the same on their behalf, and for some more.
#[derive(Clone)]
struct Served {
    shared: Data<Shared>,
    address: SocketAddr,
    homes: Arc<Homes>,
    shows: Shows,
    request_timeout: Duration,
    is_for_nodes: bool,
}

impl Served {
    /// HTTP by actix-web; upgrades leave it ([`http::upgrade`]), which `HttpServer` has no setting for.
    fn service<S, F>(
        &self,
        stop: S,
    ) -> impl ServiceFactory<
        (Socket, Option<SocketAddr>),
        Config = (),
        Response = (),
        Error = DispatchError,
        InitError = (),
    > + use<S, F>
    where
        S: Fn() -> F + 'static,
        F: Future<Output = ()> + 'static,
    {
        let application = || {
            let routes = |config: &mut ServiceConfig| {
                if self.is_for_nodes {
                    http::cluster::routes(config);
                }
                http::routes(config, &self.shared.base_path, self.shows);
            };
            let application = App::new()
                .app_data(self.shared.clone())
                .wrap(from_fn(http::refusals::told))
                .wrap(from_fn(http::headers::add))
                .configure(routes);
            map_config(application, |()| AppConfig::default())
        };
        HttpService::build()
            .client_request_timeout(self.request_timeout)
            .graceful_shutdown_signal(stop)
            .client_disconnect_timeout(Duration::from_secs(1))
            .on_connect_ext(|socket: &Socket, extensions| {
                if let Some(greeted) = socket.greeted() {
                    extensions.insert(greeted);
                }
            })
            .local_addr(self.address)
            .upgrade(http::upgrade::factory(
                application(),
                self.homes.clone(),
                self.shared.base_path.clone(),
                !self.is_for_nodes,
            ))
            .h1(application())
    }
}

/// Serves at all addresses.
fn serve(
    Doors { open, admin, cluster }: Doors,
    shared: &Data<Shared>,
    homes: Arc<Homes>,
    threads: usize,
    descriptors: Descriptors,
    request_timeout: Duration,
) -> io::Result<Server> {
    let builder = Server::build();
    let stopping = builder.graceful_shutdown_signal();
    let stops = move || {
        let stopping = stopping.clone();
        async move { stopping.notified().await }
    };
    let Door { listener, tls, shows } = open;
    let served = Served {
        shared: shared.clone(),
        address: listener.local_addr()?,
        homes,
        shows,
        request_timeout,
        is_for_nodes: false,
    };
    let for_nodes = served.clone();
    let (keeper, stop) = (shared.doorkeeper.clone(), stops.clone());
    let mut builder = builder.listen("http", listener, move || {
        // Called once on each thread.
        actix_web::rt::spawn(pace::keep());
        let tls = tls.clone();
        let open = fn_service(move |(tcp, peer)| Door::open(tcp, peer, tls.clone()));
        let http = served.service(stop.clone());
        arrivals::service(open.and_then(http), keeper.clone(), request_timeout)
    })?;
    if let Some(Door { listener, tls, shows }) = admin {
        let (all, address) = (shared.clone(), listener.local_addr()?);
        let stop = stops.clone();
        builder = builder.listen("admin", listener, move || {
            let application = App::new().app_data(all.clone()).wrap(from_fn(http::headers::add));
            let application = application
                .configure(|config| http::operator_routes(config, shows))
                .configure(http::operator_page);
            let tls = tls.clone();
            let http = HttpService::build()
                .graceful_shutdown_signal(stop.clone())
                .local_addr(address)
                .h1(map_config(application, |()| AppConfig::default()));
            let open = move |tcp: TcpStream| {
                let peer = tcp.peer_addr().ok();
                Door::open(tcp, peer, tls.clone())
            };
            fn_service(open).and_then(http)
        })?;
    }
    if let (Some(listener), Some(nodes)) = (cluster, &shared.nodes) {
        builder = cluster::serve(builder, listener, nodes, for_nodes, stops)?;
    }
    Ok(builder
        .workers(threads)
        // Of each thread; what has become a WebSocket does not count.
        .max_concurrent_connections(descriptors.requests_max.div_ceil(threads))
        .disable_signals()
        .shutdown_timeout(1)
        .run())
}

/// Reads the certificate again, every few seconds and at SIGHUP.
async fn keep_fresh(tls: Arc<Tls>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return log::error!("SIGHUP cannot be received");
    };
    loop {
        let _ = actix_web::rt::time::timeout(RELOAD, hangup.recv()).await;
        let tls = tls.clone();
        let _ = actix_web::web::block(move || tls.reload()).await;
    }
}

async fn shut_down(
    shared: &Shared,
    member: Option<&cluster::Member>,
    handle: &ServerHandle,
    patience: Duration,
) -> Result<(), ServeError> {
    let deadline = Instant::now() + patience;
    if let Some(member) = member {
        // Those who come are sent on, until all documents have another node; first it is known which there are.
        member.drain().await;
    }
    shared.draining.store(true, Ordering::Relaxed);
    if member.is_none() {
        handle.pause().await;
    }
    shared.stopping.notify_waiters();
    let documents = match member {
        Some(_) => cluster::busiest_first(shared.registry.close()).await,
        None => shared.registry.close(),
    };
    let mut farewell = Farewell::until(deadline);
    for document in documents {
        farewell.say(&document, ShutDown).await;
    }
    let is_busy = || !shared.registry.is_empty() || shared.registry.giving_back() > 0;
    while is_busy() && Instant::now() < deadline {
        actix_web::rt::time::sleep(Duration::from_millis(5)).await;
    }
    if let Some(member) = member {
        member.end(deadline).await;
        handle.pause().await;
    }
    let not_given_back = shared.registry.giving_back();
    let unsaved_documents = shared.registry.len() + not_given_back;
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
            None if not_given_back > 0 => "the store lost edits, and has not taken them back".to_owned(),
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

/// The line to the supervisor, if one has started this server, which hears where it listens.
fn plug(config: &ServeConfig, address: SocketAddr) -> Result<Option<Plug>, ServeError> {
    let taken = config
        .is_supervised
        .then(|| Plug::at_stdin().map_err(ServeError::Supervisor));
    let plug = taken.transpose()?;
    if let Some(plug) = &plug {
        let watched = plug.watch(supervisor::patience(config.shutdown_timeout));
        watched
            .and_then(|()| plug.listening(address))
            .map_err(ServeError::Supervisor)?;
    }
    Ok(plug)
}

async fn without_supervisor(plug: Option<&Plug>) {
    match plug {
        Some(plug) => plug.gone().await,
        None => std::future::pending().await,
    }
}

fn bind(address: SocketAddr, setting: &'static str) -> Result<(TcpListener, SocketAddr), ServeError> {
    listen(address).map_err(|source| ServeError::Listen {
        address,
        setting,
        source,
    })
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// A store, and what is there only for servers that may share it.
struct Opened {
    store: Arc<dyn Store>,
    /// Those who share it.
    nodes: Option<Arc<Nodes>>,
    /// What all of these are told.
    orders: Option<Arc<dyn Orders>>,
}

/// The database, if there is one, or the folder.
fn open_store(config: &ServeConfig) -> Result<Opened, ServeError> {
    #[cfg(feature = "postgres")]
    if let Some(url) = &config.database {
        let options = postgres::Options {
            keep_history: config.keep_history,
            rest_after: config.rest_after_crashes,
            ..postgres::Options::default()
        };
        let store = Arc::new(PostgresStore::open(url, options)?);
        let nodes = config.cluster.as_ref();
        let nodes = nodes.map(|cluster| Nodes::new(store.clone(), cluster.secret.clone(), cluster.machine.clone()));
        return Ok(Opened {
            store: store.clone(),
            nodes,
            orders: Some(store),
        });
    }
    Ok(Opened {
        store: Arc::new(DurableStore::open(&config.data, store_options(config))?),
        nodes: None,
        orders: None,
    })
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
        shows_readers: config.reader_presence,
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
    #[error("cannot listen on {address}: {source}; choose another with {setting} (port 0 takes a free one)")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Where it was set.
        setting: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The address for other nodes cannot be listened on.
    #[error("cannot listen on --cluster-address {address}: {source}; it is an address or a name of this machine")]
    Cluster {
        /// Which.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not known what was revoked.
    #[error(transparent)]
    Revocations(#[from] admin::Unkept),
    /// No supervisor has started this process.
    #[error("`--supervised` is for `cowrite demo` itself, leave it out: stdin does not lead to a supervisor: {0}")]
    Supervisor(io::Error),
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
