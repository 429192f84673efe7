//! One author's keystrokes, each an update and a write of its own, as fast as the connection takes
//! them, to a second client. At the end the second client's document must be the author's.

use memchr::memmem;

use crate::{
    clock::{self, Micros},
    fleet::{Fleet, Listener, Message},
    server::{Kind, Options, Server},
    trace::{self, Keystrokes},
    wire,
};

use super::{Meter, Outcome, Place};

/// More than this waits at the author only while the connection takes nothing.
const UNSENT_MAX: usize = 64 * 1024;

pub fn run(name: &str, most: usize, kind: Kind, place: &Place<'_>) -> Result<Outcome, String> {
    let keystrokes = Keystrokes::of_a_paper(most);
    let (last, marker) = keystrokes.last_of_all();
    let server = Server::start(kind, place.at, &Options::default())?;
    let seat = server.seat(name)?;
    let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
    let mut ears = Ears {
        marker,
        heard: Vec::new(),
        done: None,
        saved: false,
        untold: keystrokes.updates.len() + 1,
    };
    fleet.connect_all(&[seat.clone(), seat], 2, place.scale.patience, &mut ears)?;

    let meter = Meter::start(&server);
    let start = clock::now();
    let until = start + place.scale.patience.as_micros() as Micros * 6;
    let mut message = Vec::new();
    for (n, update) in keystrokes.updates.iter().chain([&last]).enumerate() {
        message.clear();
        wire::sync(&mut message, 2, update);
        fleet.send(0, &message);
        while fleet.unsent_bytes(0) > UNSENT_MAX && clock::now() < until {
            fleet.turn(Some(until), &mut ears);
        }
        if n % 64 == 0 {
            fleet.turn(Some(clock::now()), &mut ears);
        }
    }
    // Only who saves what it says it saved is waited for.
    let asks = kind.is_ours();
    if asks {
        fleet.ask_saved(0, 1);
    }
    while (ears.done.is_none() || (asks && !ears.saved)) && clock::now() < until && fleet.ended == 0 {
        fleet.turn(Some((clock::now() + 50_000).min(until)), &mut ears);
    }
    let (cpu_us, wall_us) = meter.read();
    let count = keystrokes.updates.len() as f64;
    let per_update = cpu_us / count;
    let seconds = ears.done.map_or(wall_us, |at| (at - start) as f64) / 1e6;
    let received = trace::text_of(ears.heard.iter().map(Vec::as_slice))?;
    let expected = format!(
        "{}{}",
        std::str::from_utf8(&marker).expect("ASCII and a sign"),
        keystrokes.text
    );
    let right = received == expected;
    let cell = match (ears.done, right) {
        (Some(_), true) => format!("{per_update:.1} µs/update, {seconds:.2} s"),
        (Some(_), false) => "arrived changed".to_owned(),
        (None, _) => format!("did not arrive within {:.0} s", wall_us / 1e6),
    };
    Ok(Outcome::new(
        name,
        kind,
        cell,
        &[
            ("cpu_us_per_update", per_update),
            ("seconds", seconds),
            ("updates", count),
            ("messages_received", ears.heard.len() as f64),
            ("complete", f64::from(u8::from(right))),
            ("saved", f64::from(u8::from(ears.saved))),
            ("rss_kb", server.rss_kb() as f64),
        ],
    ))
}

struct Ears {
    marker: [u8; wire::MARKER_BYTES],
    heard: Vec<Vec<u8>>,
    done: Option<Micros>,
    saved: bool,
    /// Updates of which the author was not told that they are durable, where each is acknowledged.
    untold: usize,
}

impl Listener for Ears {
    fn heard(&mut self, receiver: usize, message: Message<'_>, at: Micros) {
        match message {
            Message::Synced(bytes) | Message::Update(bytes) if receiver == 1 => {
                self.heard.push(bytes.to_vec());
                if memmem::find(bytes, &self.marker).is_some() {
                    self.done = Some(at);
                }
            }
            Message::Saved(_) => self.saved = true,
            Message::Taken if receiver == 0 => {
                self.untold = self.untold.saturating_sub(1);
                self.saved = self.untold == 0;
            }
            Message::Ended(reason) => eprintln!("    connection {receiver} ended: {reason}"),
            _ => {}
        }
    }
}
