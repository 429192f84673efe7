//! The servers that are measured: starting, watching, stopping.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{
    cores,
    fleet::{Dialect, Seat},
};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Cowrite,
    /// The same server, spoken to as Hocuspocus' providers speak.
    CowriteHocuspocus,
    Hocuspocus,
    YWebsocket,
    YSweet,
    /// No document, no checks: every frame goes to everybody else at once.
    Relay,
    /// The same, with one write per receiver every 10 ms.
    RelayTick,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Cowrite,
        Self::CowriteHocuspocus,
        Self::Hocuspocus,
        Self::YWebsocket,
        Self::YSweet,
        Self::Relay,
        Self::RelayTick,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::Cowrite => "Cowrite",
            Self::CowriteHocuspocus => "Cowrite, Hocuspocus' wire",
            Self::Hocuspocus => "Hocuspocus 4.7",
            Self::YWebsocket => "y-websocket 2.1",
            Self::YSweet => "y-sweet 0.9.1",
            Self::Relay => "bare relay",
            Self::RelayTick => "bare relay, 10 ms tick",
        }
    }

    fn dialect(self) -> Dialect {
        match self {
            Self::Cowrite | Self::YWebsocket | Self::YSweet => Dialect::YWebsocket,
            Self::CowriteHocuspocus | Self::Hocuspocus => Dialect::Hocuspocus,
            Self::Relay | Self::RelayTick => Dialect::Bare,
        }
    }

    /// Whether it is Cowrite, on whatever wire.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Cowrite | Self::CowriteHocuspocus)
    }

    /// Why this server cannot be started here, if it cannot.
    pub fn missing(self, at: &Places) -> Option<String> {
        let needed = match self {
            Self::Cowrite | Self::CowriteHocuspocus => at.cowrite.clone(),
            Self::Hocuspocus => at.peers.join("node_modules/@hocuspocus/server/package.json"),
            Self::YWebsocket => at.peers.join("node_modules/y-websocket/bin/server.cjs"),
            Self::YSweet => at.y_sweet.clone(),
            Self::Relay | Self::RelayTick => return None,
        };
        (!needed.exists()).then(|| format!("{} is not there", needed.display()))
    }
}

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The server's binary.
    pub cowrite: PathBuf,
    /// The folder with the peers' npm packages.
    pub peers: PathBuf,
    pub y_sweet: PathBuf,
}

impl Places {
    /// `SERVER_BINARY`, or what `cargo build --release` made.
    pub fn find() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the workspace's folder")
            .to_owned();
        let cowrite = std::env::var_os("SERVER_BINARY");
        Self {
            cowrite: cowrite.map_or_else(|| root.join("target/release/cowrite"), PathBuf::from),
            peers: root.join("bench/peers"),
            y_sweet: root.join("target/peers/bin/y-sweet"),
        }
    }
}

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Further flags, of Cowrite only.
    pub flags: Vec<String>,
    /// The data folder is in memory: what durability costs is the difference.
    pub in_memory: bool,
    /// May use all cores.
    pub all_cores: bool,
    /// The data folder of an earlier run.
    pub data: Option<PathBuf>,
    /// Cowrite keeps the limits that it has by itself: nobody is to take more than a person does.
    pub own_limits: bool,
    /// The URL of a database that has its tables, in place of the data folder; Cowrite only.
    pub database: Option<String>,
}

/// One connection does here what a thousand people do elsewhere: it is not to wait for its turn.
const AS_FAST_AS_IT_GOES: [&str; 4] = [
    "--messages-per-second=1000000",
    "--presence-per-second=1000000",
    "--received-bytes-per-second=1GiB",
    "--cpu-percent=100",
];

/// A running server. It is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    pub kind: Kind,
    pub address: SocketAddr,
    child: Child,
    data: PathBuf,
    _own_data: Option<TempDir>,
}

impl Server {
    /// Starts it and waits until it takes connections.
    pub fn start(kind: Kind, at: &Places, options: &Options) -> Result<Self, String> {
        let describe = |error: io::Error| format!("{} does not start: {error}", kind.title());
        let own_data = match (&options.data, options.in_memory) {
            (Some(_), _) => None,
            (None, true) => Some(tempfile::tempdir_in("/dev/shm").map_err(describe)?),
            (None, false) => Some(tempfile::tempdir_in(disk_folder()).map_err(describe)?),
        };
        let data = options
            .data
            .clone()
            .unwrap_or_else(|| own_data.as_ref().expect("made above").path().to_owned());
        let port = free_port().map_err(describe)?;
        let mut address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = bounded_command(options.all_cores);
        match kind {
            Kind::Cowrite | Kind::CowriteHocuspocus => {
                command.arg(&at.cowrite).args(["serve", "--listen", "127.0.0.1:0"]);
                match &options.database {
                    Some(url) => command.env("COWRITE_DATABASE_URL", url),
                    None => command.arg("--data").arg(data.join("cowrite")),
                };
                command.args(&options.flags);
                if !options.own_limits {
                    command.args(AS_FAST_AS_IT_GOES);
                }
                command.env("RUST_LOG", "warn");
            }
            Kind::Hocuspocus => {
                command
                    .arg("node")
                    .arg(at.peers.join("hocuspocus.mjs"))
                    .arg(port.to_string())
                    .arg(data.join("db.sqlite"));
            }
            Kind::YWebsocket => {
                command
                    .arg("node")
                    .arg(at.peers.join("node_modules/y-websocket/bin/server.cjs"));
                command.env("HOST", "127.0.0.1").env("PORT", port.to_string());
            }
            Kind::YSweet => {
                command
                    .arg(&at.y_sweet)
                    .args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()]);
                command.arg(data.join("y-sweet"));
                command.env("RUST_LOG", "error");
            }
            Kind::Relay | Kind::RelayTick => {
                let me = std::env::current_exe().map_err(describe)?;
                let tick = if kind == Kind::Relay { "0" } else { "10" };
                command
                    .arg(me)
                    .args(["relay", "--port", &port.to_string(), "--tick-ms", tick]);
            }
        }
        let log = File::create(data.join("server.log")).map_err(describe)?;
        command.stderr(log.try_clone().map_err(describe)?).stdin(Stdio::null());
        command.stdout(if kind.is_ours() {
            Stdio::piped()
        } else {
            Stdio::from(log)
        });
        let mut child = command.spawn().map_err(describe)?;
        if kind.is_ours() {
            let mut line = String::new();
            BufReader::new(child.stdout.take().expect("piped"))
                .read_line(&mut line)
                .map_err(describe)?;
            let said = line
                .trim()
                .strip_prefix("listening on http://")
                .and_then(|address| address.parse().ok());
            let Some(said) = said else {
                let _ = child.kill();
                let _ = child.wait();
                let log = fs::read_to_string(data.join("server.log")).unwrap_or_default();
                return Err(format!("Cowrite did not say where it listens: {line:?} {log}"));
            };
            address = said;
        }
        let mut server = Self {
            kind,
            address,
            child,
            data,
            _own_data: own_data,
        };
        server.wait_until_open()?;
        Ok(server)
    }

    fn wait_until_open(&mut self) -> Result<(), String> {
        for _ in 0..1_500 {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended with {status}: {}", self.kind.title(), self.log()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{} takes no connections: {}", self.kind.title(), self.log()))
    }

    /// What it wrote to stderr.
    pub fn log(&self) -> String {
        fs::read_to_string(self.data.join("server.log")).unwrap_or_default()
    }

    /// Where an editor of `document` connects.
    pub fn seat(&self, document: &str) -> Result<Seat, String> {
        let path = match self.kind {
            Kind::Cowrite => format!("/ws/{document}"),
            Kind::YSweet => self
                .y_sweet_path(document)
                .map_err(|error| format!("y-sweet gives no token: {error}"))?,
            Kind::CowriteHocuspocus => "/hocuspocus".to_owned(),
            Kind::Hocuspocus => "/".to_owned(),
            Kind::YWebsocket | Kind::Relay | Kind::RelayTick => format!("/{document}"),
        };
        Ok(Seat {
            address: self.address,
            path,
            document: document.to_owned(),
            dialect: self.kind.dialect(),
            rides_on: None,
            from: None,
            token: None,
        })
    }

    /// The way of y-sweet's SDK: make the document, get a token for it, connect with that.
    fn y_sweet_path(&self, document: &str) -> io::Result<String> {
        self.post("/doc/new", &format!(r#"{{"docId":"{document}"}}"#))?;
        let answer = self.post(&format!("/doc/{document}/auth"), "{}")?;
        let token: serde_json::Value = serde_json::from_str(&answer).map_err(io::Error::other)?;
        let token = token
            .get("token")
            .and_then(|token| token.as_str())
            .map(|token| format!("?token={token}"));
        Ok(format!("/d/{document}/ws/{document}{}", token.unwrap_or_default()))
    }

    fn post(&self, path: &str, body: &str) -> io::Result<String> {
        let body = self.ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.address,
            body.len()
        ))?;
        let (from, to) = (
            body.find('{').unwrap_or(0),
            body.rfind('}').map_or(body.len(), |at| at + 1),
        );
        Ok(body[from..to].to_owned())
    }

    /// The body of its answer to a request.
    fn ask(&self, request: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if !head.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(format!(
                "{}: {head}",
                request.lines().next().unwrap_or_default()
            )));
        }
        Ok(body.to_owned())
    }

    /// How many commits Cowrite has made so far.
    pub fn commits(&self) -> io::Result<u64> {
        let metrics = self.ask(&format!(
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        ))?;
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix("cowrite_journal_commit_seconds_count "));
        count
            .and_then(|count| count.trim().parse().ok())
            .ok_or_else(|| io::Error::other("/metrics does not count commits"))
    }

    /// CPU time so far, of the whole process tree.
    pub fn cpu(&self) -> Duration {
        cpu_of_tree(self.child.id(), false)
    }

    /// Resident memory, of the whole process tree, in kB.
    pub fn rss_kb(&self) -> u64 {
        self.status_kb("VmRSS:")
    }

    /// Memory of its own so far in kB: resident memory without the pages of the binary, of which the kernel
    /// maps as many as it likes.
    pub fn anonymous_kb(&self) -> u64 {
        self.status_kb("RssAnon:")
    }

    /// The sum of one field of `/proc/PID/status` over the server's processes, in kB.
    fn status_kb(&self, field: &str) -> u64 {
        tree(self.child.id())
            .into_iter()
            .map(|pid| status_kb_of(pid, field))
            .sum()
    }

    /// Calls to `read` and `pread` so far and the bytes that they brought, files only: sockets are read with
    /// other calls.
    pub fn reads(&self) -> (u64, u64) {
        let mut sums = (0, 0);
        for pid in tree(self.child.id()) {
            let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
            let field = |name: &str| {
                let line = io.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
            };
            sums = (sums.0 + field("syscr:"), sums.1 + field("rchar:"));
        }
        sums
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to stop (so that it saves), and waits for that.
    pub fn stop(mut self, patience: Duration) {
        self.signal(Signal::TERM);
        let until = Instant::now() + patience;
        while Instant::now() < until && self.is_alive() {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder on the disk, not in memory as `/tmp` may be: durability is measured here.
pub fn disk_folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace's folder")
        .join("target/bench");
    let _ = fs::create_dir_all(&folder);
    folder
}

/// A command that dies with us, on the server's core.
fn bounded_command(all_cores: bool) -> Command {
    let mut command = Command::new("setpriv");
    let cores = if all_cores {
        cores::all().to_vec()
    } else {
        vec![cores::of_server()]
    };
    let cores = cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", &cores]);
    command
}

/// A port that is free at the moment.
pub fn free_port() -> io::Result<u16> {
    TcpListener::bind("127.0.0.1:0")?
        .local_addr()
        .map(|address| address.port())
}

/// CPU time so far of a process and all its descendants; `reaped` counts those that have ended as well.
pub fn cpu_of_tree(root: u32, reaped: bool) -> Duration {
    let living: Duration = tree(root).into_iter().map(cpu_of).sum();
    let ended = if reaped { ticks_of(root, 13) } else { Duration::ZERO };
    living + ended
}

/// A process and all its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let tasks = fs::read_dir(format!("/proc/{}/task", found[next]));
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        next += 1;
    }
    found
}

/// The scheduler counts living threads to the nanosecond, the kernel's clock ticks also count those
/// that are gone: the larger of the two is nearer to the truth.
fn cpu_of(pid: u32) -> Duration {
    let mut exact = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        exact += stat
            .split_whitespace()
            .next()
            .and_then(|ns| ns.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Duration::from_nanos(exact).max(ticks_of(pid, 11))
}

/// User and system time, which are the fields `first` and the next after the program's name in
/// `/proc/PID/stat`.
fn ticks_of(pid: u32, first: usize) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields
        .skip(first)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(10 * ticks)
}

fn status_kb_of(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.trim().split(' ').next()?.parse().ok())
        .unwrap_or(0)
}
