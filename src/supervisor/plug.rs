//! The server's end of the line to its supervisor. It is the server's stdin: no address leads to it.

use std::{
    io::{self, Write},
    net::SocketAddr,
    os::{fd::AsFd, unix::net::UnixStream},
};

use super::{LISTENING, PULL};

/// A line to the supervisor that started this server.
#[derive(Debug)]
pub struct Plug {
    line: UnixStream,
}

impl Plug {
    /// Takes the line, which is stdin.
    ///
    /// # Errors
    /// Stdin is no socket: no supervisor has started this process.
    pub fn at_stdin() -> io::Result<Self> {
        let line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        line.peer_addr()?;
        line.set_nonblocking(true)?;
        Ok(Self { line })
    }

    /// Tells the supervisor where the server listens.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub fn listening(&self, address: SocketAddr) -> io::Result<()> {
        (&self.line).write_all(format!("{LISTENING}{address}\n").as_bytes())
    }

    /// Asks the supervisor to kill this process and to start it again.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub fn pull(&self) -> io::Result<()> {
        (&self.line).write_all(format!("{PULL}\n").as_bytes())
    }

    /// Waits until the supervisor is gone.
    pub async fn gone(&self) {
        let line = self.line.try_clone().and_then(tokio::net::UnixStream::from_std);
        let Ok(line) = line.inspect_err(|error| log::error!("the supervisor cannot be watched: {error}")) else {
            return std::future::pending().await;
        };
        // It says nothing, so what can be read is its end.
        let _ = line.readable().await;
    }
}
