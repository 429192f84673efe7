//! The real server as the system sees it: connections that end in another way than by the book (rule L26), which threads
//! go first (rule L28), what memory it gives back (rule L68), and what waits for tokens (rule L81).

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
        let mut stream = self.upgrade(&format!("/ws/{document}"));
        // SyncStep1, so that nothing is unread when this end closes: the system would reset the connection.
        let mut head = [0; 2];
        stream.read_exact(&mut head).expect("a frame");
        stream
            .read_exact(&mut vec![0; usize::from(head[1])])
            .expect("a whole frame");
        (head[0] == 0x82).then_some(stream)
    }

    /// A connection that was upgraded, and has read no more than that.
    fn upgrade(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a time to wait");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
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
        stream
    }

    /// Memory of its own that the server holds, in bytes.
    #[cfg(target_os = "linux")]
    fn held_bytes(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .expect("a line");
        let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes * 1024
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
    let server = Server::start_with(&["--memory-max=96MiB", "--message-bytes-max=80MiB"], &[keeps]);
    let mut peer = server.connect("a");
    // Most of a message: so much that not even a small document is opened (L83).
    let mut head = vec![0x82, 0xff];
    head.extend((79 * MIB as u64).to_be_bytes());
    head.extend([0; 4]);
    peer.write_all(&head).expect("sent");
    peer.write_all(&vec![0; 76 * MIB]).expect("sent");
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

/// A frame of a client, whose mask changes nothing.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match u16::try_from(payload.len()).expect("short") {
        length @ 0..126 => out.push(0x80 | length as u8),
        length => {
            out.push(0x80 | 126);
            out.extend(length.to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(payload);
    out
}

/// Something of Hocuspocus' wire for a document whose token has not come: presence of so many bytes, which nobody reads.
fn said_early(bytes: usize) -> Vec<u8> {
    frame(2, &[&[1, b'd', 1][..], &vec![b'x'; bytes]].concat())
}

#[test]
fn l81_what_waits_for_tokens_is_bounded_for_all_connections_together() {
    let server = Server::start_with(&["--unfinished-bytes-max=1MiB", "--message-bytes-max=1MiB"], &[]);
    let says = |bytes: usize| {
        let mut peer = server.upgrade("/hocuspocus");
        for _ in 0..bytes / 10_000 {
            peer.write_all(&said_early(10_000)).expect("sent");
        }
        peer
    };
    // Twice as much as there is room for.
    let mut peers: Vec<TcpStream> = (0..20).map(|_| says(100_000)).collect();
    let mut little: Vec<TcpStream> = (0..5).map(|_| says(60_000)).collect();

    let is_closed = |peer: &mut TcpStream, patience: u64| {
        peer.set_read_timeout(Some(Duration::from_millis(patience)))
            .expect("a time to wait");
        let mut head = [0; 4];
        peer.read_exact(&mut head)
            .is_ok_and(|()| head[0] == 0x88 && head[2..] == 1013_u16.to_be_bytes())
    };
    let patience = Instant::now() + Duration::from_secs(30);
    let mut closed = 0;
    while closed < 8 {
        assert!(Instant::now() < patience, "{closed} were closed");
        let before = peers.len();
        peers.retain_mut(|peer| !is_closed(peer, 10));
        closed += before - peers.len();
    }
    assert!(peers.len() >= 5, "those that there is room for stay");
    assert!(
        !little.iter_mut().any(|peer| is_closed(peer, 10)),
        "a little is always taken"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn l81_what_waits_for_a_token_keeps_nothing_of_what_came_with_it() {
    let as_fast_as_it_goes = [
        "--messages-per-second=1000000",
        "--received-bytes-per-second=1GiB",
        "--cpu-percent=100",
        "--auth-timeout=10m",
    ];
    let server = Server::start_with(&as_fast_as_it_goes, &[]);
    let pongs = frame(10, &[0; 125]).repeat(240);
    // Sends that, and reads an answer to what came behind it.
    let says = |peer: &mut TcpStream, bytes: &[u8]| {
        peer.write_all(&[bytes, &frame(9, b"?")].concat()).expect("sent");
        let mut pong = [0; 3];
        peer.read_exact(&mut pong).expect("a pong");
        assert_eq!(pong, [0x8a, 1, b'?']);
    };
    says(&mut server.upgrade("/hocuspocus"), &pongs.repeat(900));
    let mut peer = server.upgrade("/hocuspocus");
    let before = server.held_bytes();
    says(&mut peer, &[said_early(10), pongs].concat().repeat(900));

    let more = server.held_bytes().saturating_sub(before);
    assert!(more < 4 << 20, "{} kB for 9 kB", more >> 10);
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
                let behind = if name.starts_with("helper-") { 10 } else { 0 };
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
