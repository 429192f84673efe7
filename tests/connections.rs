//! The real server as the system sees it: connections that end in another way than by the book (rule L26), which threads
//! go first (rule L28), and what memory it gives back (rule L68).

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A server that is killed when this is dropped.
struct Server {
    child: Child,
    address: String,
    _data: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        Self::start_with(&[], &[])
    }

    fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_cowrite"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COWRITE_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--idle-timeout", "1s", "--data"])
            .arg(data.path())
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("a line");
        let address = line
            .trim()
            .strip_prefix("listening on http://")
            .expect(&line)
            .to_owned();
        Self {
            child,
            address,
            _data: data,
        }
    }

    /// A connection that was upgraded and has read what the server says first.
    fn connect(&self, document: &str) -> TcpStream {
        self.enter(document).expect("a document that is open to us")
    }

    /// The same; `None` when the server closes it instead.
    fn enter(&self, document: &str) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a time to wait");
        write!(
            stream,
            "GET /ws/{document} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address
        )
        .expect("sent");
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 101 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        // SyncStep1, so that nothing is unread when this end closes: the system would reset the connection.
        let mut head = [0; 2];
        stream.read_exact(&mut head).expect("a frame");
        stream
            .read_exact(&mut vec![0; usize::from(head[1])])
            .expect("a whole frame");
        (head[0] == 0x82).then_some(stream)
    }

    fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .expect("a process")
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn l26_a_connection_ends_when_its_peer_does_also_without_a_close_frame() {
    const PEERS: usize = 200;
    let server = Server::start();
    let warm = server.connect("warm");
    let before = server.open_files() - 1;
    drop(warm);

    let peers: Vec<TcpStream> = (0..PEERS)
        .map(|number| server.connect(&format!("d{}", number % 10)))
        .collect();
    let held = server.open_files();
    for (number, peer) in peers.iter().enumerate() {
        // Half of them only stop to send, as a proxy does whose own peer is gone.
        let how = if number % 2 == 0 {
            Shutdown::Both
        } else {
            Shutdown::Write
        };
        peer.shutdown(how).expect("shut down");
    }

    assert!(
        held >= before + PEERS,
        "{before} files before, {held} with {PEERS} peers"
    );
    let patience = Instant::now() + Duration::from_secs(30);
    while server.open_files() > before + PEERS / 20 {
        assert!(
            Instant::now() < patience,
            "{} files are open, {before} before the peers came",
            server.open_files()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn l68_as_memory_fills_what_is_free_is_given_back_whatever_the_allocator_keeps() {
    const MIB: usize = 1 << 20;
    // This allocator keeps all that was freed, for ever.
    let keeps = ("_RJEM_MALLOC_CONF", "dirty_decay_ms:-1,muzzy_decay_ms:-1");
    let server = Server::start_with(&["--memory-max=96MiB", "--message-bytes-max=64MiB"], &[keeps]);
    let mut peer = server.connect("a");
    // Most of a message.
    let mut head = vec![0x82, 0xff];
    head.extend((63 * MIB as u64).to_be_bytes());
    head.extend([0; 4]);
    peer.write_all(&head).expect("sent");
    peer.write_all(&vec![0; 62 * MIB]).expect("sent");
    let mut names = (0..).map(|number| format!("d{number}"));
    let mut comes_to = |is_let_in: bool| {
        let patience = Instant::now() + Duration::from_secs(30);
        // Each of these was never open.
        while server.enter(&names.next().expect("no end")).is_some() != is_let_in {
            assert!(Instant::now() < patience, "{is_let_in} never came");
            thread::sleep(Duration::from_millis(50));
        }
    };
    comes_to(false);
    drop(peer);

    comes_to(true);
}

#[test]
#[cfg(target_os = "linux")]
fn l28_what_takes_long_steps_back_behind_edits() {
    let server = Server::start();
    drop(server.connect("warm"));
    // A thread has its name before it has stepped back.
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        let niceness = niceness_of(&server);
        let of_arbiters = niceness[0].1;
        let expected: Vec<(String, i32)> = niceness
            .iter()
            .map(|(name, _)| {
                let behind = if name.starts_with("helper-") { 5 } else { 0 };
                (name.clone(), (of_arbiters + behind).min(19))
            })
            .collect();
        let is_behind = niceness[0].0.starts_with("actix-rt") && niceness == expected;
        if is_behind && niceness.iter().any(|(name, _)| name.starts_with("helper-")) {
            return;
        }
        assert!(Instant::now() < patience, "{niceness:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Name and niceness of each thread of connections or of what takes long, by name.
#[cfg(target_os = "linux")]
fn niceness_of(server: &Server) -> Vec<(String, i32)> {
    let mut niceness: Vec<(String, i32)> = fs::read_dir(format!("/proc/{}/task", server.child.id()))
        .expect("a process")
        .map(|task| {
            let stat = fs::read_to_string(task.expect("a thread").path().join("stat")).expect("a line");
            let (head, rest) = stat.rsplit_once(')').expect("a name");
            let name = head.split_once('(').expect("a name").1;
            let nice = rest.split_whitespace().nth(16).expect("a field");
            (name.to_owned(), nice.parse().expect("a number"))
        })
        .filter(|(name, _)| name.starts_with("helper-") || name.starts_with("actix-rt"))
        .collect();
    niceness.sort();
    niceness
}
