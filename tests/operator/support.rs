//! The binary, a server, an editor, and stores that are made without a server.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cowrite::{
    id::DocumentId,
    protocol::lib0::{Reader, write_var_bytes, write_var_uint},
    store::{
        Body, Record, Store,
        journal::{Journal, JournalOptions, disk::FileDisk},
    },
};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};
use yrs::{
    ClientID, Doc, GetString, OffsetKind, Options, ReadTxn, StateVector, Text, Transact, Update,
    updates::{decoder::Decode, encoder::Encode},
};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// So small that some seconds of writing make the store snapshot, roll over, compact and delete.
pub const SMALL: [&str; 2] = ["--segment-bytes=64KiB", "--snapshot-bytes=4KiB"];

/// A folder that is removed at the end.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The binary with these arguments and no variables of cowrite's.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowrite"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COWRITE_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn run(command: &mut Command) -> Output {
    let mut child = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let stdout = drain(child.stdout.take().unwrap());
    let stderr = drain(child.stderr.take().unwrap());
    let status = wait_until("the command ends", || child.try_wait().unwrap());
    Output {
        status,
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

/// Runs the binary, which must succeed; returns its stdout.
pub fn done(arguments: &[&str]) -> String {
    let output = run(&mut command(arguments));
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs the binary, which must fail with this code; returns its stderr.
pub fn refused(code: i32, arguments: &[&str]) -> String {
    let output = run(&mut command(arguments));
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stderr)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn drain(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Asks until there is an answer.
pub fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited too long until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A path as an argument.
pub fn arg(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A real server; killed at the end.
pub struct Server {
    child: Child,
    pub address: String,
}

impl Server {
    pub fn start(data: &Path, flags: &[&str]) -> Self {
        let mut child = start(
            command(&["serve", "--listen=127.0.0.1:0", "--data", arg(data)])
                .args(flags)
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let (told, line) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| told.send(line))
        });
        let line = line.recv_timeout(PATIENCE);
        let address = line
            .ok()
            .and_then(|line| Some(line.split_once("http://")?.1.to_owned()));
        let Some(address) = address else {
            let _ = child.kill();
            panic!("the server does not listen: {:?}", child.wait());
        };
        Self { child, address }
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it serves as `name`.
    pub fn content(&self, name: &str) -> String {
        Editor::open(&self.address, name).content()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Somebody who edits a document over y-websocket. Its text is the root `t`; `p` is there to be overwritten.
pub struct Editor {
    socket: WebSocket<TcpStream>,
    doc: Doc,
    serial: u64,
}

impl Editor {
    /// Connects and syncs.
    pub fn open(address: &str, name: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://{address}/ws/{name}"), stream).unwrap();
        let mut editor = Self {
            socket,
            doc: new_doc(),
            serial: 0,
        };
        editor.send(&[0, 0], &StateVector::default().encode_v1());
        while !editor.hear().0 {}
        editor
    }

    /// Appends to the text, overwrites the padding, and returns when it is saved.
    pub fn write(&mut self, text: &str, padding_bytes: usize) {
        let update = append(&self.doc, text, padding_bytes);
        self.send(&[0, 2], &update);
        self.serial += 1;
        let mut serial = Vec::new();
        write_var_uint(&mut serial, self.serial);
        self.send(&[102], &serial);
        while self.hear().1 != Some(self.serial) {}
    }

    pub fn content(&self) -> String {
        content(&self.doc)
    }

    /// Takes one message; says whether it was the answer to our first question, or which serial is saved.
    fn hear(&mut self) -> (bool, Option<u64>) {
        let message = match self.socket.read().expect("the server answers in time") {
            Message::Binary(bytes) => bytes,
            Message::Close(why) => panic!("closed: {why:?}"),
            _ => return (false, None),
        };
        let mut reader = Reader::new(&message);
        match reader.var_uint().unwrap() {
            0 => {
                let step = reader.var_uint().unwrap();
                let payload = reader.var_bytes().unwrap().to_vec();
                if step == 0 {
                    let had = StateVector::decode_v1(&payload).unwrap();
                    let missing = self.doc.transact().encode_state_as_update_v1(&had);
                    self.send(&[0, 1], &missing);
                    return (false, None);
                }
                apply(&self.doc, &payload);
                (step == 1, None)
            }
            102 => (false, Reader::new(reader.var_bytes().unwrap()).var_uint().ok()),
            _ => (false, None),
        }
    }

    fn send(&mut self, head: &[u64], payload: &[u8]) {
        let mut bytes = Vec::new();
        head.iter().for_each(|number| write_var_uint(&mut bytes, *number));
        write_var_bytes(&mut bytes, payload);
        self.socket.send(Message::Binary(bytes.into())).unwrap();
    }
}

/// A document of a client of its own. Client ids are written in as many bytes as they need, so those that yrs draws at
/// random would change the sizes that tests name; these all have eight.
pub fn new_doc() -> Doc {
    static CLIENT: AtomicU64 = AtomicU64::new(1 << 52);
    Doc::with_options(Options {
        offset_kind: OffsetKind::Utf16,
        ..Options::with_guid_and_client_id("document".into(), ClientID::new(CLIENT.fetch_add(1, Ordering::Relaxed)))
    })
}

pub fn apply(doc: &Doc, update: &[u8]) {
    doc.transact_mut()
        .apply_update(Update::decode_v1(update).unwrap())
        .unwrap();
}

pub fn content(doc: &Doc) -> String {
    let text = doc.get_or_insert_text("t");
    text.get_string(&doc.transact())
}

/// Appends to the text and overwrites the padding; returns the update.
pub fn append(doc: &Doc, text: &str, padding_bytes: usize) -> Vec<u8> {
    let (shown, padding) = (doc.get_or_insert_text("t"), doc.get_or_insert_text("p"));
    let mut txn = doc.transact_mut();
    shown.push(&mut txn, text);
    let long = padding.len(&txn);
    padding.remove_range(&mut txn, 0, long);
    padding.push(&mut txn, &"p".repeat(padding_bytes));
    txn.encode_update_v1()
}

pub fn id(name: &str) -> DocumentId {
    DocumentId::parse(name).unwrap()
}

pub fn record(name: &str, seq: u64, at_ms: u64, body: Body) -> Record {
    Record {
        document: id(name),
        seq,
        at_ms,
        authors: Arc::new([]),
        body,
        holder: None,
    }
}

/// An update that appends `text`, as a record.
pub fn edit(doc: &Doc, name: &str, seq: u64, at_ms: u64, text: &str, padding_bytes: usize) -> Record {
    record(
        name,
        seq,
        at_ms,
        Body::Update(Bytes::from(append(doc, text, padding_bytes))),
    )
}

/// A child has the locks of this process until it runs its own program: nothing may be started while a
/// journal is open here.
static STARTING: RwLock<()> = RwLock::new(());

/// Starts a program.
pub fn start(command: &mut Command) -> Child {
    let _starting = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn().expect("the binary runs")
}

/// A journal in this process.
pub struct Opened {
    journal: Journal,
    _starting: RwLockWriteGuard<'static, ()>,
}

impl Deref for Opened {
    type Target = Journal;

    fn deref(&self) -> &Journal {
        &self.journal
    }
}

/// A journal without a server; start nothing before it is dropped.
pub fn journal(data: &Path) -> Opened {
    let starting = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    let options = JournalOptions {
        segment_bytes: 64 * 1024,
        segment_bytes_min: 64 * 1024,
        ..JournalOptions::default()
    };
    Opened {
        journal: Journal::open(Arc::new(FileDisk), &data.join("journal"), options).unwrap(),
        _starting: starting,
    }
}

/// `documents` documents of `edits` edits each, at times from 1,000 ms on, a second apart: `d0`, `d1`, …
pub fn fill(data: &Path, documents: usize, edits: u64, padding_bytes: usize) {
    let journal = journal(data);
    for number in 0..documents {
        let doc = new_doc();
        let name = format!("d{number}");
        for seq in 1..=edits {
            let edit = edit(&doc, &name, seq, seq * 1_000, &format!("{name}.{seq},"), padding_bytes);
            journal.commit_all(&[edit]).unwrap();
        }
    }
    journal.close().unwrap();
}

/// Every document of a folder, as a server on it serves it.
pub fn served(data: &Path) -> BTreeMap<String, String> {
    let server = Server::start(data, &[]);
    let served = names(data).into_iter().map(|name| {
        let content = server.content(&name);
        (name, content)
    });
    served.collect()
}

/// The documents of a folder.
pub fn names(data: &Path) -> Vec<String> {
    let list = done(&["doc", "list", "--data", arg(data)]);
    list.lines()
        .map(|line| line.split_whitespace().last().unwrap().to_owned())
        .collect()
}

/// All files below a folder with their bytes, its locks left out.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.file_name().unwrap() != "lock" {
            let bytes = std::fs::read(&path).unwrap();
            files.insert(path, bytes);
        }
    }
    files
}

/// The files of a journal that end with `ending`, in order.
pub fn with_ending(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    paths.sort();
    paths
}

/// Flips a bit of the first place in `folder`'s segments where `needle` is.
pub fn flip(folder: &Path, needle: &str) {
    for path in with_ending(folder, ".segment") {
        let mut bytes = std::fs::read(&path).unwrap();
        let found = bytes
            .windows(needle.len())
            .position(|window| window == needle.as_bytes());
        if let Some(at) = found {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("{needle} is nowhere in {}", folder.display());
}
