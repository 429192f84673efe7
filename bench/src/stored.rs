//! Many stored documents: what a folder with all of them costs at rest, at the start, and when one is opened.
//!
//! The folder is filled and overwritten through the store's own API, with upkeep as the server's writer does
//! it, because sockets would take hours. What starts, is killed, is asked and is weighed is the real server.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use cowrite::{
    id::DocumentId,
    store::{
        Body, Record, Store,
        durable::{DurableStore, Options as StoreOptions},
    },
};

use crate::{
    clock::{self, Micros},
    fleet::{Fleet, Listener, Message},
    server::{Kind, Options, Places, Server, disk_folder},
    wire,
};

/// How much, and what must hold.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many documents.
    pub documents: u64,
    /// How often each is overwritten, at random.
    pub overwrites: u64,
    /// How many are opened over the wire.
    pub opened: usize,
    /// Where; removed afterwards if it is ours.
    pub folder: Option<PathBuf>,
    /// Fails when a bound that is no time is broken.
    pub checks: bool,
}

/// Mean length of a document's snapshot, in bytes.
const BYTES: u64 = 20_000;

/// Records in one commit while the folder is filled.
const GROUP: u64 = 20;

/// Updates behind each document's snapshot, each from another time.
const UPDATES: u64 = 2;

/// Disk in use, in percent of what is live: R9.
const DISK_PERCENT_MAX: u64 = 300;

/// What a store takes that holds nothing: files made in advance, and the least that is worth tidying.
const DISK_FLOOR: u64 = 32 * 1024 * 1024;

/// Memory of an idle server's own for each stored document, in bytes, and without any.
const MEMORY_EACH_MAX: u64 = 1_100;
const MEMORY_FLOOR: u64 = 32 * 1024 * 1024;

/// Reads for opening one document: its snapshot, and the updates behind it.
const READS_MAX: f64 = 12.0;

pub fn run(plan: &Plan) -> Result<(), String> {
    let own = match &plan.folder {
        Some(_) => None,
        None => Some(tempfile::tempdir_in(disk_folder()).map_err(|error| error.to_string())?),
    };
    let data = plan
        .folder
        .clone()
        .unwrap_or_else(|| own.as_ref().expect("made above").path().to_owned());
    let folder = data.join("cowrite");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let library = Library::new(plan.documents);
    println!(
        "{} documents of {} bytes in the mean, {} in all",
        plan.documents,
        library.live_bytes() / plan.documents,
        mib(library.live_bytes())
    );
    library.fill(&folder, plan)?;
    serve(&data, plan)?;
    drop(own);
    Ok(())
}

/// Which version of which document is the newest.
struct Library {
    versions: Vec<u64>,
}

impl Library {
    fn new(documents: u64) -> Self {
        Self {
            versions: vec![1; documents as usize],
        }
    }

    fn name(document: u64) -> String {
        format!("team-{}/documents/{document:07}", document % 100)
    }

    fn id(document: u64) -> DocumentId {
        DocumentId::parse(&Self::name(document)).expect("a name without control characters")
    }

    /// Characters of a document: nine of ten are small, the tenth is ten times as long.
    fn units(document: u64) -> u64 {
        let times = if document.is_multiple_of(10) { 10 } else { 1 };
        let small = 10 * BYTES / 19;
        times * (small / 5 + mixed(document) % (small * 8 / 5))
    }

    fn live_bytes(&self) -> u64 {
        (0..self.versions.len() as u64).map(Self::units).sum()
    }

    /// The whole document: one string of words, different in each version.
    fn state(document: u64, version: u64) -> Vec<u8> {
        let units = Self::units(document);
        let mut text = Vec::with_capacity(units as usize + 16);
        let mut state = mixed(document ^ version << 40) | 1;
        while (text.len() as u64) < units {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Eleven random letters and a space, so that nothing gains by chance from what compresses.
            text.extend((0..11).map(|place| b'a' + (state >> (5 * place) & 15) as u8));
            text.push(b' ');
        }
        text.truncate(units as usize);
        let mut out = Vec::with_capacity(text.len() + 32);
        wire::append(&mut out, 1_000 + document, 0, &text, units);
        out
    }

    /// What follows the snapshot: one character at its end for each.
    fn update(document: u64, number: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        let clock = Self::units(document) + number;
        wire::insert(&mut out, 1_000 + document, clock, Some(clock - 1), None, b"!");
        out
    }

    fn snapshot_of(document: u64, version: u64) -> Record {
        let body = Body::Snapshot(Self::state(document, version).into());
        record(document, version, body)
    }

    fn fill(mut self, folder: &Path, plan: &Plan) -> Result<(), String> {
        let store = DurableStore::open(folder, StoreOptions::default()).map_err(|error| error.to_string())?;
        let mut upkeep = Upkeep::new();
        let (mut most, mut printed) = (0, 0);
        let started = Instant::now();
        let mut written = 0;
        for first in (0..plan.documents).step_by(GROUP as usize) {
            let group = first..(first + GROUP).min(plan.documents);
            let batch: Vec<Record> = group.map(|document| Self::snapshot_of(document, 1)).collect();
            commit(&store, &batch, &mut upkeep)?;
        }
        settle(&store, &mut upkeep)?;
        let live = self.live_bytes();
        println!(
            "filled in {:.0} s; disk {}, {}",
            started.elapsed().as_secs_f64(),
            times(disk_bytes(folder), live),
            parts(folder, live)
        );
        let mut random = 88_172_645_463_325_252_u64;
        let mut next_look = live / 50;
        while written < live * plan.overwrites {
            let mut batch = Vec::new();
            for _ in 0..GROUP {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let document = random % plan.documents;
                self.versions[document as usize] += 1;
                let version = self.versions[document as usize];
                written += Self::units(document);
                batch.push(Self::snapshot_of(document, version));
            }
            commit(&store, &batch, &mut upkeep)?;
            if written > next_look {
                next_look = written + live / 50;
                let disk = disk_bytes(folder);
                most = most.max(disk);
                if disk > printed + live / 4 {
                    printed = disk;
                    println!(
                        "  after {:.1} times: {}, {}",
                        written as f64 / live as f64,
                        times(disk, live),
                        parts(folder, live)
                    );
                }
            }
        }
        println!(
            "overwritten {} times in {:.0} s; disk at most {}, then {}, {}",
            plan.overwrites,
            started.elapsed().as_secs_f64(),
            times(most, live),
            times(disk_bytes(folder), live),
            parts(folder, live)
        );
        for number in 0..UPDATES {
            for first in (0..plan.documents).step_by(50 * GROUP as usize) {
                let group = first..(first + 50 * GROUP).min(plan.documents);
                let batch: Vec<Record> = group
                    .map(|document| {
                        let seq = self.versions[document as usize] + 1 + number;
                        record(document, seq, Body::Update(Self::update(document, number).into()))
                    })
                    .collect();
                commit(&store, &batch, &mut upkeep)?;
            }
        }
        settle(&store, &mut upkeep)?;
        let disk = disk_bytes(folder);
        println!("at rest: disk {}, {}", times(disk, live), parts(folder, live));
        for document in 0..plan.documents {
            let version = self.versions[document as usize];
            let stored = store.load(&Self::id(document)).map_err(|error| error.to_string())?;
            let right = stored.snapshot == Some((version, Self::state(document, version).into()))
                && stored.updates.len() as u64 == UPDATES
                && stored.last_seq() == version + UPDATES;
            if !right {
                return Err(format!("{} does not hold what was written", Self::name(document)));
            }
        }
        println!("all {} documents load", plan.documents);
        store.close().map_err(|error| error.to_string())?;
        for (disk, when) in [(disk, "at rest"), (most, "at most")] {
            if plan.checks && disk > live * DISK_PERCENT_MAX / 100 + DISK_FLOOR {
                return Err(format!("disk {when} is {}", times(disk, live)));
            }
        }
        Ok(())
    }
}

/// Starts the server on the folder in each way that a start can have, and opens documents.
fn serve(data: &Path, plan: &Plan) -> Result<(), String> {
    let at = Places::find();
    let options = Options {
        data: Some(data.to_owned()),
        all_cores: true,
        ..Options::default()
    };
    let begin = |how: &str| -> Result<Server, String> {
        let started = Instant::now();
        let server = Server::start(Kind::Cowrite, &at, &options)?;
        while !is_ready(&server) {
            thread::sleep(Duration::from_millis(1));
        }
        let ready = started.elapsed();
        thread::sleep(Duration::from_secs(2));
        println!(
            "start {how}: ready in {:.2} s, {} resident, {} of its own, {:.2} s CPU",
            ready.as_secs_f64(),
            mib(server.rss_kb() * 1024),
            mib(server.anonymous_kb() * 1024),
            server.cpu().as_secs_f64()
        );
        Ok(server)
    };
    let server = begin("after a clean stop")?;
    let memory = server.anonymous_kb() * 1024;
    let allowed = MEMORY_FLOOR + plan.documents * MEMORY_EACH_MAX;
    if plan.checks && memory > allowed {
        return Err(format!(
            "{} of memory with {} documents stored",
            mib(memory),
            plan.documents
        ));
    }
    drop(server);
    // With edits on the way when it is killed, so that the last file has no hint and a torn end.
    let server = begin("after SIGKILL while idle")?;
    edit(&server, plan.documents)?;
    drop(server);
    let server = begin("after SIGKILL under load")?;
    let (before, chars_before) = server.reads();
    let mut times = Vec::new();
    for number in 0..plan.opened as u64 {
        let document = mixed(number) % plan.documents;
        times.push(open(&server, document, Library::units(document))?);
    }
    let (after, chars_after) = server.reads();
    times.sort_unstable();
    let reads = (after - before) as f64 / plan.opened as f64;
    println!(
        "opened {}: {reads:.1} reads and {:.1} kB each, median {:.2} ms, 99th percentile {:.2} ms; {} resident",
        plan.opened,
        (chars_after - chars_before) as f64 / plan.opened as f64 / 1e3,
        times[times.len() / 2] as f64 / 1e3,
        times[times.len() * 99 / 100] as f64 / 1e3,
        mib(server.rss_kb() * 1024)
    );
    if plan.checks && reads > READS_MAX {
        return Err(format!("opening a document takes {reads:.1} reads"));
    }
    server.stop(Duration::from_secs(30));
    drop(begin("after a clean stop, again")?);
    Ok(())
}

#[derive(Default)]
struct Ears {
    bytes: usize,
    synced: bool,
    ended: Option<String>,
}

impl Listener for Ears {
    fn heard(&mut self, _: usize, message: Message<'_>, _: Micros) {
        match message {
            Message::Synced(bytes) => {
                self.bytes += bytes.len();
                self.synced = true;
            }
            Message::Update(bytes) => self.bytes += bytes.len(),
            Message::Ended(reason) => self.ended = Some(reason.to_owned()),
            Message::Saved(_) | Message::Taken | Message::Awareness(_) => {}
        }
    }
}

/// Opens one document and says how long that took, in µs.
fn open(server: &Server, document: u64, bytes: u64) -> Result<Micros, String> {
    let name = Library::name(document);
    let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
    let mut ears = Ears::default();
    let start = clock::now();
    fleet.connect_all(&[server.seat(&name)?], 1, Duration::from_secs(20), &mut ears)?;
    let took = clock::now() - start;
    match ears.ended {
        None if ears.bytes as u64 >= bytes => Ok(took),
        ended => Err(format!("{name}: {} of {bytes} bytes came; {ended:?}", ears.bytes)),
    }
}

/// Some clients write, and nobody waits until it is saved.
fn edit(server: &Server, documents: u64) -> Result<(), String> {
    let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
    let seats: Vec<_> = (0..20)
        .map(|number| server.seat(&Library::name(mixed(number + 1_000) % documents)))
        .collect::<Result<_, _>>()?;
    fleet.connect_all(&seats, 20, Duration::from_secs(20), &mut ())?;
    for number in 0..50 {
        for writer in 0..fleet.len() {
            let (mut update, mut message) = (Vec::new(), Vec::new());
            wire::append(&mut update, 7 + writer as u64, number, b"killed  ", 8);
            wire::sync(&mut message, 2, &update);
            fleet.send(writer, &message);
        }
        fleet.turn(Some(clock::now() + 5_000), &mut ());
    }
    Ok(())
}

fn is_ready(server: &Server) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(server.address)?;
        write!(
            stream,
            "GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            server.address
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Does upkeep as the server's writer does: a step after as long as the last one took.
struct Upkeep {
    due: Instant,
}

impl Upkeep {
    fn new() -> Self {
        Self { due: Instant::now() }
    }

    fn turn(&mut self, store: &DurableStore) -> Result<bool, String> {
        let started = Instant::now();
        if started < self.due {
            return Ok(true);
        }
        let more = store.maintain(1).map_err(|error| error.to_string())?;
        let ended = Instant::now();
        self.due = ended
            + if more {
                ended - started
            } else {
                Duration::from_millis(100)
            };
        Ok(more)
    }
}

fn commit(store: &DurableStore, batch: &[Record], upkeep: &mut Upkeep) -> Result<(), String> {
    store.commit_all(batch).map_err(|error| error.to_string())?;
    upkeep.turn(store).map(drop)
}

/// Waits until nothing is left to tidy, and sled has everything and stays.
fn settle(store: &DurableStore, upkeep: &mut Upkeep) -> Result<(), String> {
    let mut quiet = 0;
    let patience = Instant::now() + Duration::from_secs(600);
    while quiet < 50 {
        let more = upkeep.turn(store)?;
        let done = !more && store.read_side().caught_up();
        quiet = if done { quiet + 1 } else { quiet * usize::from(more) };
        if Instant::now() > patience {
            return Err("the store never comes to rest".to_owned());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn record(document: u64, seq: u64, body: Body) -> Record {
    Record {
        document: Library::id(document),
        seq,
        at_ms: 1,
        authors: Default::default(),
        body,
        holder: None,
    }
}

fn mixed(number: u64) -> u64 {
    let mut state = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

/// Bytes that the files take on the disk, whatever the store says about itself.
fn disk_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => disk_bytes(&entry.path()),
            Ok(about) => about.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

fn parts(folder: &Path, live: u64) -> String {
    let journal = disk_bytes(&folder.join("journal"));
    let rest = disk_bytes(folder).saturating_sub(journal);
    format!("journal {}, sled {}", times(journal, live), times(rest, live))
}

fn times(bytes: u64, live: u64) -> String {
    format!("{:.2}", bytes as f64 / live as f64)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}
