//! What an edit costs in a document that is long, or that many have written to.

use crate::{
    clock::{self, Micros},
    fleet::{Fleet, Listener, Message},
    server::{Kind, Options, Server},
    trace,
    wire::{self, MARKER_UNITS, Scanner},
};

use super::{Meter, Outcome, Place, opening};

/// What the document has been through.
#[derive(Debug, Clone, Copy)]
pub enum Past {
    /// So many clients wrote a character each.
    Clients(usize),
    /// It has so many pieces that cannot be joined, ten characters each.
    Pieces(usize),
}

const PER_SECOND: u64 = 1_000;

/// Ten editors edit for a while; nobody else does anything.
pub fn run(name: &str, pasts: &[Past], kind: Kind, place: &Place<'_>) -> Result<Outcome, String> {
    let mut figures = Vec::new();
    for past in pasts {
        let (label, state) = match past {
            Past::Clients(count) => (format!("{count}"), trace::crowd_of(*count)),
            Past::Pieces(count) => (format!("{count}"), trace::heap_of(count * 22, 10)),
        };
        let cost = cost(name, &state, kind, place)?;
        figures.push((label, cost));
    }
    let cell = figures
        .iter()
        .map(|(label, cost)| format!("{label}: {cost:.1} µs"))
        .collect::<Vec<_>>()
        .join(", ");
    let figures: Vec<(&str, f64)> = figures.iter().map(|(label, cost)| (label.as_str(), *cost)).collect();
    Ok(Outcome::new(name, kind, cell, &figures))
}

/// CPU of the server for an edit that goes to one other client.
fn cost(name: &str, state: &[u8], kind: Kind, place: &Place<'_>) -> Result<f64, String> {
    let server = Server::start(kind, place.at, &Options::default())?;
    let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
    opening::store(&mut fleet, &server, name, state)?;
    let seat = server.seat(name)?;
    fleet.connect_all(&[seat.clone(), seat], 1, place.scale.patience * 3, &mut ())?;
    let (author, mut ears) = (
        1,
        Ears {
            scanner: Scanner::new(),
            heard: 0,
        },
    );
    let count = PER_SECOND * place.scale.measured.as_secs() / 2;
    let warm = PER_SECOND / 2;
    let start = clock::now();
    let mut meter = None;
    let mut message = Vec::new();
    for number in 0..warm + count {
        if number == warm {
            meter = Some(Meter::start(&server));
        }
        let due = start + number * 1_000_000 / PER_SECOND;
        while clock::now() < due {
            fleet.turn(Some(due), &mut ears);
        }
        message.clear();
        let mut update = Vec::new();
        wire::append(
            &mut update,
            4_000_000_000,
            number as u32,
            &wire::marker(0, number as u32),
            MARKER_UNITS,
        );
        wire::sync(&mut message, 2, &update);
        fleet.send(author, &message);
    }
    let until = clock::now() + place.scale.patience.as_micros() as Micros;
    while ears.heard < warm + count && clock::now() < until {
        fleet.turn(Some((clock::now() + 20_000).min(until)), &mut ears);
    }
    let (cpu_us, _) = meter.ok_or("nothing was measured")?.read();
    if ears.heard < warm + count {
        return Err(format!("only {} of {} edits arrived", ears.heard, warm + count));
    }
    Ok(cpu_us / count as f64)
}

struct Ears {
    scanner: Scanner,
    heard: u64,
}

impl Listener for Ears {
    fn heard(&mut self, receiver: usize, message: Message<'_>, _: Micros) {
        if let (2, Message::Update(bytes)) = (receiver, message) {
            let heard = &mut self.heard;
            self.scanner.scan(bytes, |_, _| *heard += 1);
        }
    }
}
