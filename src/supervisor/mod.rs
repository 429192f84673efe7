//! `cowrite demo`: starts a server, kills it with SIGKILL when the demo's page asks for that, and starts it again.
//!
//! The server is a process of its own that runs the same binary. Between both is a pair of sockets, of which one is the
//! server's stdin ([`Plug`]): the server says where it listens and asks to be killed, and it stops when the supervisor is
//! gone, however that ended.

mod plug;

use std::{
    ffi::OsString,
    io,
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, Command},
    signal::unix::{self, SignalKind, signal},
};

use crate::config::Demo;

pub use plug::Plug;

/// What the server says before the address that it listens on.
const LISTENING: &str = "listening ";
/// What it says to be killed.
const PULL: &str = "pull";

/// The exit code of a server that was killed by somebody else.
const FAILED: u8 = 1;

/// How much longer than it may a stopping server is waited for.
const LATE: Duration = Duration::from_secs(5);

/// How long after it is to stop a server is killed, which has `shutdown_timeout` for that.
#[must_use]
pub fn patience(shutdown_timeout: Duration) -> Duration {
    shutdown_timeout.saturating_add(LATE)
}

/// Runs the server until it ends by itself or is told to stop, and gives its exit code.
///
/// # Errors
/// The system does not let a process be started, watched or killed.
pub fn run(demo: &Demo) -> io::Result<u8> {
    actix_web::rt::System::new().block_on(supervise(demo))
}

async fn supervise(demo: &Demo) -> io::Result<u8> {
    let mut stops = Stops::new()?;
    let mut address = demo.config.listen;
    loop {
        let mut server = Supervised::start(address, &demo.settings)?;
        match server.end(&mut stops, patience(demo.config.shutdown_timeout)).await? {
            End::Pulled => {
                log::warn!(
                    "the plug was pulled: killed process {} with SIGKILL, starting the server again",
                    server.process
                );
                // The system may have chosen the port.
                address = server.address;
            }
            End::Over(code) => return Ok(code),
        }
    }
}

/// The signals that stop the server; each is passed on.
struct Stops {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Stops {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
        }
    }
}

enum End {
    /// It was killed because it asked for that.
    Pulled,
    /// It ended otherwise, with this code.
    Over(u8),
}

/// A server that runs.
struct Supervised {
    child: Child,
    process: Pid,
    address: SocketAddr,
    says: Lines<BufReader<tokio::net::UnixStream>>,
}

impl Supervised {
    fn start(address: SocketAddr, settings: &[OsString]) -> io::Result<Self> {
        let (ours, its) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(std::env::current_exe()?)
            .args(["demo", "--supervised"])
            .arg(address.to_string())
            .args(settings)
            .stdin(Stdio::from(OwnedFd::from(its)))
            .kill_on_drop(true)
            .spawn()?;
        let process = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self {
            child,
            process: process.ok_or_else(|| io::Error::other("the server's process has no number"))?,
            address,
            says: BufReader::new(tokio::net::UnixStream::from_std(ours)?).lines(),
        })
    }

    /// Waits for its end. One that was told to stop has `patience`, and is then killed.
    async fn end(&mut self, stops: &mut Stops, patience: Duration) -> io::Result<End> {
        let mut late = pin!(tokio::time::sleep(Duration::MAX));
        let mut is_told_to_stop = false;
        let mut speaks = true;
        loop {
            tokio::select! {
                said = self.says.next_line(), if speaks => match said?.as_deref() {
                    Some(PULL) => {
                        self.child.kill().await?;
                        return Ok(End::Pulled);
                    }
                    Some(said) => self.hear(said),
                    None => speaks = false,
                },
                stop = stops.next() => {
                    if !is_told_to_stop {
                        late.set(tokio::time::sleep(patience));
                    }
                    is_told_to_stop = true;
                    // One that has ended at this moment needs none.
                    let _ = kill_process(self.process, stop);
                }
                () = &mut late, if is_told_to_stop => {
                    log::error!("process {} does not stop: killed it with SIGKILL", self.process);
                    self.child.kill().await?;
                    return Ok(End::Over(FAILED));
                }
                status = self.child.wait() => return Ok(End::Over(code(status?, is_told_to_stop))),
            }
        }
    }

    fn hear(&mut self, said: &str) {
        let address = said.strip_prefix(LISTENING).and_then(|address| address.parse().ok());
        if let Some(address) = address {
            self.address = address;
            log::info!("process {} listens on {address}", self.process);
        }
    }
}

fn code(status: ExitStatus, is_told_to_stop: bool) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(FAILED),
        // It had not come so far that a signal would have stopped it in order.
        (None, Some(_)) if is_told_to_stop => 0,
        (None, signal) => {
            log::error!("the server was killed by signal {}", signal.unwrap_or_default());
            FAILED
        }
    }
}
