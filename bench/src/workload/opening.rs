//! Opening what is stored: by many at once, from the disk, and while others edit.

use std::{fs, sync::OnceLock, time::Duration};

use hdrhistogram::Histogram;

use crate::{
    clock::{self, Micros},
    fleet::{Fleet, Listener, Message, Seat},
    server::{Kind, Options, Server, disk_folder},
    trace, wire,
};

use super::{
    Meter, Outcome, Place,
    editing::{Doing, Editing, Intrusion},
    histogram, ms,
};

/// The stored document of these workloads: a paper with its history, 245 kB.
pub fn paper() -> &'static [u8] {
    static PAPER: OnceLock<Vec<u8>> = OnceLock::new();
    PAPER.get_or_init(|| trace::paper_of(245_000))
}

/// Counts what each receiver was sent.
#[derive(Default)]
struct Ears {
    bytes: Vec<usize>,
    synced_at: Vec<Option<Micros>>,
    saved: usize,
}

impl Listener for Ears {
    fn heard(&mut self, receiver: usize, message: Message<'_>, at: Micros) {
        if self.bytes.len() <= receiver {
            self.bytes.resize(receiver + 1, 0);
            self.synced_at.resize(receiver + 1, None);
        }
        match message {
            Message::Synced(bytes) => {
                self.bytes[receiver] += bytes.len();
                self.synced_at[receiver].get_or_insert(at);
            }
            Message::Update(bytes) => self.bytes[receiver] += bytes.len(),
            Message::Saved(_) | Message::Taken => self.saved += 1,
            Message::Ended(reason) => eprintln!("    connection {receiver} ended: {reason}"),
            Message::Awareness(_) => {}
        }
    }
}

/// Connects, writes `state`, and waits until the server says that it is saved, or three seconds where
/// it does not say.
pub fn store(fleet: &mut Fleet, server: &Server, document: &str, state: &[u8]) -> Result<usize, String> {
    store_at(fleet, server.seat(document)?, server.kind.is_ours(), state)
}

/// The same from a seat; `asks` is whether the server says when it is saved.
pub fn store_at(fleet: &mut Fleet, seat: Seat, asks: bool, state: &[u8]) -> Result<usize, String> {
    let mut ears = Ears::default();
    let writer = fleet.len();
    let document = seat.document.clone();
    fleet.connect_all(&[seat], 1, Duration::from_secs(20), &mut ears)?;
    let mut message = Vec::with_capacity(state.len() + 16);
    wire::sync(&mut message, 2, state);
    fleet.send(writer, &message);
    if asks {
        fleet.ask_saved(writer, 1);
    }
    let until = clock::now() + if asks { 30_000_000 } else { 3_000_000 };
    while clock::now() < until && !(asks && ears.saved > 0) {
        fleet.turn(Some((clock::now() + 20_000).min(until)), &mut ears);
    }
    if asks && ears.saved == 0 {
        return Err(format!("{document} was not saved within 30 s"));
    }
    Ok(writer)
}

/// 300 clients at once; the one who wrote the document stays.
pub fn at_once(name: &str, state: &[u8], clients: usize, kind: Kind, place: &Place<'_>) -> Result<Outcome, String> {
    let server = Server::start(kind, place.at, &Options::default())?;
    let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
    store(&mut fleet, &server, name, state)?;
    let seats = vec![server.seat(name)?; clients];
    // Once before the meter runs: code is compiled, the answer may be cached, as on any living server.
    let mut ears = Ears::default();
    fleet.connect_all(&seats[..1], 1, place.scale.patience, &mut ears)?;

    let mut ears = Ears::default();
    let first = fleet.len();
    let meter = Meter::start(&server);
    let start = clock::now();
    fleet.connect_all(&seats, clients, place.scale.patience * 3, &mut ears)?;
    let (cpu_us, wall_us) = meter.read();
    let whole = ears.bytes[first..]
        .iter()
        .filter(|bytes| **bytes >= state.len() * 9 / 10)
        .count();
    let mut times = histogram();
    ears.synced_at[first..]
        .iter()
        .flatten()
        .for_each(|at| times.saturating_record(at - start));
    let per_join = cpu_us / clients as f64;
    let all = if whole == clients {
        String::new()
    } else {
        format!("; only {whole} of {clients} got all of it")
    };
    let cell = format!("{} CPU/join, all in {}{all}", ms_fine(per_join), ms(wall_us));
    let figures = [
        ("cpu_us_per_join", per_join),
        ("wall_us", wall_us),
        ("p50_us", times.value_at_quantile(0.5) as f64),
        ("whole", whole as f64),
        ("document_bytes", state.len() as f64),
        ("rss_kb", server.rss_kb() as f64),
    ];
    Ok(Outcome::new(name, kind, cell, &figures))
}

fn ms_fine(us: f64) -> String {
    format!("{:.2} ms", us / 1_000.0)
}

/// Stores documents, restarts the server, and opens each once.
pub fn cold(name: &str, state: &[u8], documents: usize, kind: Kind, place: &Place<'_>) -> Result<Outcome, String> {
    let data = tempfile::tempdir_in(disk_folder()).map_err(|error| error.to_string())?;
    let options = Options {
        data: Some(data.path().to_owned()),
        ..Options::default()
    };
    {
        let server = Server::start(kind, place.at, &options)?;
        let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
        for document in 0..documents {
            store(&mut fleet, &server, &format!("{name}-{document}"), state)?;
        }
        drop(fleet);
        server.stop(Duration::from_secs(20));
    }
    let server = Server::start(kind, place.at, &options)?;
    let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
    let mut times = histogram();
    let meter = Meter::start(&server);
    for document in 0..documents {
        let mut ears = Ears::default();
        let start = clock::now();
        let receiver = fleet.len();
        fleet.connect_all(
            &[server.seat(&format!("{name}-{document}"))?],
            1,
            place.scale.patience,
            &mut ears,
        )?;
        if ears.bytes[receiver] < state.len() * 9 / 10 {
            return Err(format!(
                "only {} bytes of {} came back",
                ears.bytes[receiver],
                state.len()
            ));
        }
        times.saturating_record(clock::now() - start);
    }
    let (cpu_us, _) = meter.read();
    let (p50, max) = (times.value_at_quantile(0.5) as f64, times.max() as f64);
    let cell = format!("median {}, slowest {}", ms(p50), ms(max));
    let figures = [
        ("p50_us", p50),
        ("max_us", max),
        ("cpu_us_per_open", cpu_us / documents as f64),
    ];
    Ok(Outcome::new(name, kind, cell, &figures))
}

/// Others edit while documents of 10 MB are opened, and edited as soon as they are.
pub fn while_editing(name: &'static str, kind: Kind, place: &Place<'_>) -> Result<Outcome, String> {
    const LARGE: usize = 3;
    let state = trace::heap_of(10_000_000, 50);
    let data = tempfile::tempdir_in(disk_folder()).map_err(|error| error.to_string())?;
    let options = Options {
        data: Some(data.path().to_owned()),
        ..Options::default()
    };
    {
        let server = Server::start(kind, place.at, &options)?;
        let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
        for document in 0..LARGE {
            store(&mut fleet, &server, &format!("large-{document}"), &state)?;
        }
        drop(fleet);
        server.stop(Duration::from_secs(30));
    }
    let server = Server::start(kind, place.at, &options)?;
    let editing = Editing {
        name,
        documents: 20,
        editors: 3,
        per_second: 20.0,
        doing: Doing::Edits,
        asks_saved: false,
        documents_per_socket: 1,
        moves_cursor: false,
    };
    let quiet = editing.measure(&server, place, None)?;
    let seats = (0..LARGE)
        .map(|document| server.seat(&format!("large-{document}")))
        .collect::<Result<_, _>>()?;
    let editing = Editing {
        name: "while-opening",
        ..editing
    };
    let loud = editing.measure(&server, place, Some(Intrusion::new(seats, 9_000_000)))?;
    let opened = loud.intruders_synced;
    if opened < LARGE {
        return Err(format!("only {opened} of {LARGE} large documents were opened"));
    }
    if loud.intruder_edits_saved < LARGE {
        return Err(format!(
            "only {} of {LARGE} first edits were saved",
            loud.intruder_edits_saved
        ));
    }
    let figure = |times: &Histogram<u64>, quantile| times.value_at_quantile(quantile) as f64;
    let (before, during) = (quiet.latency.max() as f64, loud.latency.max() as f64);
    let cell = format!(
        "others: p99.9 {} (quiet {}), slowest {} (quiet {}); first edit saved in {}",
        ms(figure(&loud.latency, 0.999)),
        ms(figure(&quiet.latency, 0.999)),
        ms(during),
        ms(before),
        ms(loud.intruder_edit_slowest_us as f64),
    );
    let figures = [
        ("quiet_p99_us", figure(&quiet.latency, 0.99)),
        ("loud_p99_us", figure(&loud.latency, 0.99)),
        ("quiet_p999_us", figure(&quiet.latency, 0.999)),
        ("loud_p999_us", figure(&loud.latency, 0.999)),
        ("quiet_max_us", before),
        ("loud_max_us", during),
        ("open_us", loud.intruder_slowest_us as f64),
        ("first_edit_saved_us", loud.intruder_edit_slowest_us as f64),
        (
            "delivered_percent",
            100.0 * loud.delivered as f64 / loud.expected.max(1) as f64,
        ),
    ];
    let _ = fs::remove_dir_all(data.path());
    Ok(Outcome::new(name, kind, cell, &figures))
}
