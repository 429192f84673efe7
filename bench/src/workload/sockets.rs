//! Connections and documents that are there and do nothing: what they weigh, how fast they come, and
//! what is left when they are gone.

use std::{thread, time::Duration};

use crate::{
    clock::{self, Micros},
    fleet::Fleet,
    server::{Kind, Options, Server},
    wire::{self, MARKER_UNITS},
};

use super::{Meter, Outcome, Place};

/// Documents that the connections are spread over.
const DOCUMENTS: usize = 100;

/// A document that nobody uses leaves Cowrite's memory after this, here; the default is longer.
const IDLE: &str = "2s";

/// Memory is looked at so long after everybody left: the document leaves, and allocators give back what was not
/// used for some seconds.
const AFTER: Duration = Duration::from_secs(15);

fn quickly_idle() -> Options {
    Options {
        flags: ["--idle-timeout", IDLE].map(str::to_owned).into(),
        ..Options::default()
    }
}

/// Opens `count` connections (or as many as come in a minute), holds them, closes them.
pub fn hold(name: &str, count: usize, kind: Kind, place: &Place<'_>) -> Result<Outcome, String> {
    let server = Server::start(kind, place.at, &quickly_idle())?;
    let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
    let seats: Vec<_> = (0..DOCUMENTS)
        .map(|document| server.seat(&format!("{name}-{document}")))
        .collect::<Result<_, _>>()?;
    // One for each document first, so that what remains is connections.
    fleet.connect_all(&seats, 16, place.scale.patience, &mut ())?;
    thread::sleep(Duration::from_millis(500));
    let before_kb = server.rss_kb();
    let before = fleet.synced;
    let meter = Meter::start(&server);
    let start = clock::now();
    let until = start + 60_000_000;
    let mut opened = before;
    while fleet.synced - before < count && clock::now() < until && fleet.ended == 0 {
        let pending = opened - fleet.synced;
        if opened - before < count && pending < 128 {
            fleet
                .connect(&seats[opened % DOCUMENTS], true)
                .map_err(|error| error.to_string())?;
            opened += 1;
            fleet.turn(Some(clock::now()), &mut ());
        } else {
            fleet.turn(Some((clock::now() + 20_000).min(until)), &mut ());
        }
    }
    let seconds = (clock::now() - start) as f64 / 1e6;
    let (cpu_us, _) = meter.read();
    let held = fleet.synced - before;
    // Held means: still there after a while, and still served.
    let until = clock::now() + 3_000_000;
    while clock::now() < until {
        fleet.turn(Some(until), &mut ());
    }
    let held_kb = server.rss_kb();
    let mut heard = Heard(0);
    let mut update = Vec::new();
    wire::append(&mut update, 77, 0, &wire::marker(0, 0), MARKER_UNITS);
    let mut message = Vec::new();
    wire::sync(&mut message, 2, &update);
    let expected = (before..fleet.len())
        .filter(|connection| connection % DOCUMENTS == 0)
        .count();
    fleet.send(0, &message);
    let until = clock::now() + 5_000_000;
    while heard.0 < expected && clock::now() < until {
        fleet.turn(Some((clock::now() + 20_000).min(until)), &mut heard);
    }
    let (served, ended) = (heard.0, fleet.ended);
    drop(fleet);
    thread::sleep(AFTER);
    let after_kb = server.rss_kb();
    let each = (held_kb.saturating_sub(before_kb)) as f64 / held.max(1) as f64;
    let rate = held as f64 / seconds;
    let trouble = if ended > 0 || served < expected {
        format!("; {ended} ended, {served} of {expected} heard")
    } else {
        String::new()
    };
    let cell = format!(
        "{each:.1} kB each, {rate:.0} opened/s, {held} held; {:.0} → {:.0} → {:.0} MB{trouble}",
        before_kb as f64 / 1e3,
        held_kb as f64 / 1e3,
        after_kb as f64 / 1e3
    );
    let figures = [
        ("kb_each", each),
        ("opened_per_second", rate),
        ("held", held as f64),
        ("ended", ended as f64),
        ("cpu_us_per_open", cpu_us / held.max(1) as f64),
        ("rss_before_kb", before_kb as f64),
        ("rss_held_kb", held_kb as f64),
        ("rss_after_kb", after_kb as f64),
    ];
    Ok(Outcome::new(name, kind, cell, &figures))
}

struct Heard(usize);

impl crate::fleet::Listener for Heard {
    fn heard(&mut self, receiver: usize, message: crate::fleet::Message<'_>, _: Micros) {
        if matches!(message, crate::fleet::Message::Update(_)) && receiver >= DOCUMENTS {
            self.0 += 1;
        }
    }
}

/// Opens `count` documents one after the other, writes a line into each, and leaves.
pub fn pass_through(name: &str, count: usize, kind: Kind, place: &Place<'_>) -> Result<Outcome, String> {
    let server = Server::start(kind, place.at, &quickly_idle())?;
    // Some have been here before: threads, buffers and tables that stay are not the documents'.
    let mut highest = 0;
    visit(&server, "before", 200, &mut highest, place)?;
    thread::sleep(AFTER);
    let before_kb = server.rss_kb();
    let start = clock::now();
    visit(&server, name, count, &mut highest, place)?;
    let seconds = (clock::now() - start) as f64 / 1e6;
    thread::sleep(AFTER);
    let after_kb = server.rss_kb();
    let cell = format!(
        "{:.1} MB before, {:.1} MB at most, {:.1} MB after ({:.0} documents/s)",
        before_kb as f64 / 1e3,
        highest as f64 / 1e3,
        after_kb as f64 / 1e3,
        count as f64 / seconds
    );
    let figures = [
        ("rss_before_kb", before_kb as f64),
        ("rss_most_kb", highest as f64),
        ("rss_after_kb", after_kb as f64),
        ("documents_per_second", count as f64 / seconds),
    ];
    Ok(Outcome::new(name, kind, cell, &figures))
}

fn visit(server: &Server, name: &str, count: usize, highest: &mut u64, place: &Place<'_>) -> Result<(), String> {
    let line = vec![b'l'; 200];
    for group in 0..count.div_ceil(100) {
        let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
        let seats: Vec<_> = (group * 100..count.min(group * 100 + 100))
            .map(|document| server.seat(&format!("{name}-{document}")))
            .collect::<Result<_, _>>()?;
        fleet.connect_all(&seats, 64, place.scale.patience, &mut ())?;
        for visitor in 0..fleet.len() {
            let (mut update, mut message) = (Vec::new(), Vec::new());
            wire::append(&mut update, 55, 0, &line, line.len() as u64);
            wire::sync(&mut message, 2, &update);
            fleet.send(visitor, &message);
        }
        fleet.turn(Some(clock::now() + 5_000), &mut ());
        *highest = (*highest).max(server.rss_kb());
    }
    Ok(())
}
