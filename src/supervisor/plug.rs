//! The server's end of the line to its supervisor. It is the server's stdin: no address leads to it.

use std::{
    io::{self, Write},
    net::SocketAddr,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Signal, getpid, kill_process},
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

    /// Has this process killed when the supervisor has been gone for `patience`, in which a server that works has stopped by
    /// itself. The thread that sees to it waits for nothing else of this process.
    ///
    /// # Errors
    /// The system gives no descriptor or no thread.
    pub fn watch(&self, patience: Duration) -> io::Result<()> {
        let line = self.line.try_clone()?;
        let watches = move || {
            // A process that was stopped (SIGSTOP) sees nothing: the system has it go on when the supervisor ends.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
            // It says nothing, so what can be read is its end.
            let end = loop {
                match poll(&mut [PollFd::new(&line, PollFlags::IN)], None) {
                    Err(Errno::INTR) => {}
                    end => break end,
                }
            };
            if end.is_ok() {
                thread::sleep(patience);
                let _ = kill_process(getpid(), Signal::KILL);
            }
        };
        thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(watches)
            .map(drop)
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

#[cfg(test)]
mod tests {
    use std::{
        os::{fd::OwnedFd, unix::process::ExitStatusExt},
        process::{Command, Stdio},
    };

    use super::*;

    /// What the test below runs as another process: a server that hangs.
    #[test]
    #[ignore = "it hangs"]
    fn hangs() {
        let plug = Plug::at_stdin().expect("a line");
        plug.watch(Duration::from_millis(10)).expect("a thread");
        plug.pull().expect("a supervisor");
        thread::sleep(Duration::from_secs(60));
    }

    #[test]
    fn c20_a_server_that_hangs_does_not_outlive_its_supervisor() {
        let (mut ours, its) = UnixStream::pair().expect("a pair of sockets");
        let mut server = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "supervisor::plug::tests::hangs"])
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::null())
            .spawn()
            .expect("a process");
        io::Read::read_exact(&mut ours, &mut [0; 4]).expect("it hangs now");
        assert!(server.try_wait().expect("a process").is_none());

        drop(ours);

        assert_eq!(server.wait().expect("an end").signal(), Some(Signal::KILL.as_raw()));
    }
}
