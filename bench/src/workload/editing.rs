//! Everybody edits: documents × editors × edits per second.
//!
//! An edit is stamped with the time at which it was *due*, not sent: a generator or a server that
//! falls behind makes latencies, it does not make fewer edits. Every edit has to reach every other
//! editor of its document.

use hdrhistogram::Histogram;

use crate::{
    clock::{self, Micros},
    fleet::{Fleet, Listener, Message, Seat},
    server::{Kind, Options, Server},
    wire::{self, MARKER_UNITS, Scanner},
};

use super::{Meter, Metered, Outcome, Place, Used, histogram, ms};

/// What the editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Append a few characters to the document.
    Edits,
    /// Move a cursor: awareness, of which only the latest state counts.
    Cursors,
}

/// A workload of this kind.
#[derive(Debug, Clone)]
pub struct Editing {
    pub name: &'static str,
    pub documents: usize,
    pub editors: usize,
    /// Of each editor.
    pub per_second: f64,
    pub doing: Doing,
    /// Ask after every edit whether it is saved.
    pub asks_saved: bool,
    /// Documents of one editor that share a socket.
    pub documents_per_socket: usize,
    /// Each edit moves its author's cursor as well.
    pub moves_cursor: bool,
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    pub latency: Histogram<u64>,
    /// From an edit's due time to "saved".
    pub saved: Histogram<u64>,
    pub expected: u64,
    pub delivered: u64,
    pub skipped: u64,
    pub doubled: u64,
    pub cpu_us: f64,
    pub wall_us: f64,
    /// What the servers used in that time.
    pub used: Used,
    /// Deliveries and edits while the CPU was metered (warm-up is not among them).
    pub metered_deliveries: u64,
    pub metered_edits: u64,
    pub generator_cpu_us: f64,
    pub rss_kb: u64,
    pub ended: usize,
    /// Edits of each author.
    pub said: Vec<u32>,
    /// Of an [`Intrusion`]: how many have their document, and what the slowest took.
    pub intruders_synced: usize,
    pub intruder_slowest_us: Micros,
    /// The same of its first edit, until that is saved.
    pub intruder_edits_saved: usize,
    pub intruder_edit_slowest_us: Micros,
}

/// Others who connect while everybody edits, spread over the measured time.
#[derive(Debug)]
pub struct Intrusion {
    seats: Vec<Seat>,
    /// Bytes after which one has its document.
    whole_bytes: usize,
    /// Those who have connected.
    came: Vec<Intruder>,
}

#[derive(Debug)]
struct Intruder {
    /// When it connected.
    at: Micros,
    /// Bytes that it was sent.
    heard: usize,
    /// When it had all.
    whole: Option<Micros>,
    /// When it edited: as soon as it has all.
    edited: Option<Micros>,
    /// When that was saved.
    saved: Option<Micros>,
}

impl Intrusion {
    pub fn new(seats: Vec<Seat>, whole_bytes: usize) -> Self {
        Self {
            seats,
            whole_bytes,
            came: Vec::new(),
        }
    }

    /// Whoever has all of its document writes into it; `first` names the first of them in the fleet.
    fn edit(&mut self, fleet: &mut Fleet, first: usize) {
        for (n, one) in self.came.iter_mut().enumerate() {
            if one.whole.is_none() || one.edited.is_some() {
                continue;
            }
            let (mut update, mut message) = (Vec::new(), Vec::new());
            let author = first + n;
            wire::append(
                &mut update,
                client_of(author),
                0,
                &wire::marker(author, 0),
                MARKER_UNITS,
            );
            wire::sync(&mut message, 2, &update);
            one.edited = Some(clock::now());
            fleet.send(author, &message);
            fleet.ask_saved(author, 0);
        }
    }
}

impl Editing {
    pub fn run(&self, kind: Kind, place: &Place<'_>, options: &Options) -> Result<Outcome, String> {
        let server = Server::start(kind, place.at, options)?;
        let measured = self.measure(&server, place, None)?;
        Ok(self.outcome(kind, &measured))
    }

    fn outcome(&self, kind: Kind, measured: &Measured) -> Outcome {
        let (p50, p99) = (
            measured.latency.value_at_quantile(0.5),
            measured.latency.value_at_quantile(0.99),
        );
        let per_delivery = measured.cpu_us / measured.metered_deliveries.max(1) as f64;
        let per_edit = measured.cpu_us / measured.metered_edits.max(1) as f64;
        let share = 100.0 * measured.delivered as f64 / measured.expected.max(1) as f64;
        let all = if measured.delivered == measured.expected {
            "all".to_owned()
        } else {
            format!("{share:.1} %")
        };
        let cost = if self.documents > 1 {
            format!("{per_edit:.1} µs/edit")
        } else {
            format!("{per_delivery:.2} µs")
        };
        let cell = format!("{cost}; p50 {}, p99 {}; {all}", ms(p50 as f64), ms(p99 as f64));
        let mut figures = vec![
            ("cpu_us_per_delivery", per_delivery),
            ("cpu_us_per_edit", per_edit),
            ("cpu_share", measured.cpu_us / measured.wall_us),
            ("p50_us", p50 as f64),
            ("p99_us", p99 as f64),
            ("max_us", measured.latency.max() as f64),
            ("delivered_percent", share),
            ("doubled", measured.doubled as f64),
            ("skipped", measured.skipped as f64),
            (
                "generator_cpu_us_per_delivery",
                measured.generator_cpu_us / measured.metered_deliveries.max(1) as f64,
            ),
            ("rss_kb", measured.rss_kb as f64),
            ("ended", measured.ended as f64),
        ];
        if self.asks_saved {
            figures.push(("saved_p50_us", measured.saved.value_at_quantile(0.5) as f64));
            figures.push(("saved_p99_us", measured.saved.value_at_quantile(0.99) as f64));
            figures.push(("saved_count", measured.saved.len() as f64));
        }
        Outcome::new(self.name, kind, cell, &figures)
    }

    /// Connects everybody, edits, and waits until everything has arrived.
    pub fn measure(
        &self,
        server: &Server,
        place: &Place<'_>,
        intrusion: Option<Intrusion>,
    ) -> Result<Measured, String> {
        self.measure_at(&self.seats(server)?, server, place, intrusion)
    }

    /// The same with these seats: those of one document lie together.
    pub fn measure_at(
        &self,
        seats: &[Seat],
        server: &dyn Metered,
        place: &Place<'_>,
        intrusion: Option<Intrusion>,
    ) -> Result<Measured, String> {
        let scale = place.scale;
        let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
        let total = seats.len();
        let interval = (1e6 / self.per_second) as Micros;
        let mut ears = Ears::new(total, self.editors, interval, self.doing);
        fleet.connect_all(seats, 64, scale.patience * 3, &mut ears)?;
        let mut said = vec![0; total];

        // Everybody has a phase of their own; neighbours in time are not neighbours in a document.
        let step = interval as f64 / total as f64;
        let order = shuffled(total);
        order
            .iter()
            .enumerate()
            .for_each(|(place, author)| ears.phase[*author] = (place as f64 * step) as Micros);
        let start = clock::now() + 50_000;
        let measure_from = start + scale.warm_up.as_micros() as Micros;
        let end = measure_from + scale.measured.as_micros() as Micros;
        ears.start = start;
        ears.measure_from = measure_from;
        ears.intrusion = intrusion;
        let pause = (end - measure_from) / (ears.intrusion.as_ref().map_or(0, |all| all.seats.len()) as Micros + 1);

        let due_of = |turn: u64| start + (turn as f64 * step) as Micros;
        let mut turn: u64 = 0;
        let mut meter: Option<(Meter<'_>, u64, u64, f64)> = None;
        let mut message = Vec::new();
        while due_of(turn) < end {
            let now = clock::now();
            if meter.is_none() && now >= measure_from {
                meter = Some((Meter::start(server), ears.deliveries, turn, own_cpu_us()));
            }
            if let Some(all) = &mut ears.intrusion
                && all.came.len() < all.seats.len()
                && now >= measure_from + pause / 2 + pause * all.came.len() as Micros
            {
                let seat = all.seats[all.came.len()].clone();
                all.came.push(Intruder {
                    at: now,
                    heard: 0,
                    whole: None,
                    edited: None,
                    saved: None,
                });
                fleet.connect(&seat, true).map_err(|error| error.to_string())?;
            }
            if let Some(all) = &mut ears.intrusion {
                all.edit(&mut fleet, total);
            }
            let mut sent = 0;
            while sent < 64 && due_of(turn) <= now && due_of(turn) < end {
                let author = order[(turn % total as u64) as usize];
                let number = (turn / total as u64) as u32;
                self.say(&mut fleet, author, number, &mut message);
                said[author] = number + 1;
                ears.sent += u64::from(due_of(turn) >= measure_from);
                turn += 1;
                sent += 1;
            }
            fleet.turn(Some(due_of(turn)), &mut ears);
        }
        ears.expected = ears.sent * (self.editors as u64 - 1);
        let until = clock::now() + scale.patience.as_micros() as Micros;
        // Nothing comes any more for who was sent away.
        while (ears.delivered < ears.expected || (self.asks_saved && ears.saved.len() < ears.sent))
            && clock::now() < until
            && fleet.ended == 0
        {
            fleet.turn(Some((clock::now() + 20_000).min(until)), &mut ears);
        }
        let (meter, deliveries, turns, own_cpu) = meter.ok_or("the workload is shorter than its warm-up")?;
        let (cpu_us, wall_us) = meter.read();
        let used = meter.since();
        let came = ears.intrusion.map_or_else(Vec::new, |all| all.came);
        let took = came.iter().filter_map(|one| Some(one.whole? - one.at));
        let edits = came.iter().filter_map(|one| Some(one.saved? - one.edited?));
        Ok(Measured {
            latency: ears.latency,
            saved: ears.saved,
            expected: ears.expected,
            delivered: ears.delivered,
            skipped: ears.skipped,
            doubled: ears.doubled,
            cpu_us,
            wall_us,
            used,
            metered_deliveries: ears.deliveries - deliveries,
            metered_edits: turn - turns,
            generator_cpu_us: own_cpu_us() - own_cpu,
            rss_kb: server.rss_kb(),
            ended: fleet.ended,
            said,
            intruders_synced: took.clone().count(),
            intruder_slowest_us: took.max().unwrap_or(0),
            intruder_edits_saved: edits.clone().count(),
            intruder_edit_slowest_us: edits.max().unwrap_or(0),
        })
    }

    /// Where everybody connects, document by document.
    fn seats(&self, server: &Server) -> Result<Vec<Seat>, String> {
        let mut seats = Vec::new();
        for document in 0..self.documents {
            let seat = server.seat(&format!("{}-{document}", self.name))?;
            let first = document - document % self.documents_per_socket;
            seats.extend((0..self.editors).map(|editor| Seat {
                rides_on: (document != first).then_some(first * self.editors + editor),
                ..seat.clone()
            }));
        }
        Ok(seats)
    }

    /// As many edits as the server takes for `seconds`: every editor has `window` edits on their way, and
    /// says the next one when all others have heard the oldest. Returns edits per second and what they
    /// cost the server, in µs.
    pub fn throughput(&self, server: &Server, place: &Place<'_>, window: u32) -> Result<(f64, f64), String> {
        let seats = self.seats(server)?;
        let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
        let total = seats.len();
        let mut ears = Ears::new(total, self.editors, 0, self.doing);
        fleet.connect_all(&seats, 64, place.scale.patience * 3, &mut ears)?;
        ears.fresh = Some((0..total).collect());
        let mut said = vec![0u32; total];
        let mut message = Vec::new();
        let warm = clock::now() + place.scale.warm_up.as_micros() as Micros;
        let end = warm + place.scale.measured.as_micros() as Micros;
        let mut meter = None;
        let mut count = 0u64;
        while clock::now() < end {
            if meter.is_none() && clock::now() >= warm {
                meter = Some((Meter::start(server), count));
            }
            for author in ears.fresh.replace(Vec::new()).unwrap_or_default() {
                let first = author / self.editors * self.editors;
                let others = (first..first + self.editors).filter(|other| *other != author);
                let heard = others
                    .map(|other| ears.next[other * self.editors + author - first])
                    .min()
                    .unwrap_or(0);
                // What may be said now is one write: the generator has to cost less than the server.
                let numbers = said[author]..heard + window;
                if numbers.is_empty() {
                    continue;
                }
                let messages = numbers.clone().map(|number| {
                    self.edit(author, number, &mut message);
                    message.clone()
                });
                let messages: Vec<_> = messages.collect();
                fleet.send_all(author, &messages.iter().map(Vec::as_slice).collect::<Vec<_>>());
                said[author] = numbers.end;
                count += messages.len() as u64;
            }
            fleet.turn(Some(clock::now() + 5_000), &mut ears);
        }
        let (meter, before) = meter.ok_or("the workload is shorter than its warm-up")?;
        let (cpu_us, wall_us) = meter.read();
        if ears.skipped > 0 || fleet.ended > 0 {
            return Err(format!(
                "{} edits were lost, {} connections ended",
                ears.skipped, fleet.ended
            ));
        }
        let edits = (count - before) as f64;
        Ok((edits / wall_us * 1e6, cpu_us / edits))
    }

    fn say(&self, fleet: &mut Fleet, author: usize, number: u32, message: &mut Vec<u8>) {
        self.edit(author, number, message);
        let (mut query, mut cursor) = (Vec::new(), Vec::new());
        let mut messages: Vec<&[u8]> = vec![message];
        if self.asks_saved && fleet.asks_saved(author) {
            wire::saved_query(&mut query, number);
            messages.push(&query);
        }
        if self.moves_cursor {
            wire::cursor(
                &mut cursor,
                client_of(author),
                number + 1,
                &wire::marker(author, number),
            );
            messages.push(&cursor);
        }
        match messages[..] {
            [edit] => fleet.send(author, edit),
            _ => fleet.send_all(author, &messages),
        }
    }

    /// The message with this edit.
    fn edit(&self, author: usize, number: u32, message: &mut Vec<u8>) {
        message.clear();
        let marker = wire::marker(author, number);
        let client = client_of(author);
        match self.doing {
            Doing::Edits => {
                let mut update = Vec::with_capacity(48);
                wire::append(&mut update, client, number, &marker, MARKER_UNITS);
                wire::sync(message, 2, &update);
            }
            Doing::Cursors => wire::cursor(message, client, number + 1, &marker),
        }
    }
}

/// The Yjs client id of an editor: as long on the wire as those that Yjs draws.
pub fn client_of(author: usize) -> u64 {
    2_000_000_000 + author as u64 * 7_919
}

/// CPU time of this process so far, in µs.
pub fn own_cpu_us() -> f64 {
    let usage = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    usage
        .split_whitespace()
        .next()
        .and_then(|ns| ns.parse::<f64>().ok())
        .unwrap_or(0.0)
        / 1_000.0
}

/// 0..n in an order that looks like none, and is the same in every run.
fn shuffled(n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for last in (1..n).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, (state >> 33) as usize % (last + 1));
    }
    order
}

/// Hears for everybody, and keeps what each has heard of each.
struct Ears {
    scanner: Scanner,
    editors: usize,
    interval: Micros,
    doing: Doing,
    phase: Vec<Micros>,
    start: Micros,
    measure_from: Micros,
    /// For each receiver and each editor of its document: the next edit that it has not heard.
    next: Vec<u32>,
    latency: Histogram<u64>,
    saved: Histogram<u64>,
    /// How many edits of each were acknowledged, where each is.
    taken: Vec<u32>,
    /// Edits said in the measured time.
    sent: u64,
    expected: u64,
    /// Deliveries of those.
    delivered: u64,
    /// All deliveries.
    deliveries: u64,
    skipped: u64,
    doubled: u64,
    intrusion: Option<Intrusion>,
    /// Authors of which somebody has just heard, where that is of interest.
    fresh: Option<Vec<usize>>,
}

impl Ears {
    fn new(total: usize, editors: usize, interval: Micros, doing: Doing) -> Self {
        Self {
            scanner: Scanner::new(),
            editors,
            interval,
            doing,
            phase: vec![0; total],
            start: 0,
            measure_from: 0,
            next: vec![0; total * editors],
            latency: histogram(),
            saved: histogram(),
            taken: vec![0; total],
            sent: 0,
            expected: 0,
            delivered: 0,
            deliveries: 0,
            skipped: 0,
            doubled: 0,
            intrusion: None,
            fresh: None,
        }
    }

    /// An author is told that this edit of its is durable.
    fn is_saved(&mut self, author: usize, number: u64, at: Micros) {
        let due = self.start + self.phase[author] + number * self.interval;
        if due >= self.measure_from {
            let _ = self.saved.record(at.saturating_sub(due).max(1));
        }
    }

    fn intruder_heard(&mut self, intruder: usize, message: &Message<'_>, at: Micros) {
        let Some(all) = &mut self.intrusion else { return };
        let one = &mut all.came[intruder];
        match message {
            Message::Synced(bytes) | Message::Update(bytes) => {
                one.heard += bytes.len();
                if one.heard >= all.whole_bytes {
                    one.whole.get_or_insert(at);
                }
            }
            Message::Saved(_) | Message::Taken => {
                one.saved.get_or_insert(at);
            }
            _ => {}
        }
    }
}

impl Listener for Ears {
    fn heard(&mut self, receiver: usize, message: Message<'_>, at: Micros) {
        if let Some(intruder) = receiver.checked_sub(self.phase.len()) {
            return self.intruder_heard(intruder, &message, at);
        }
        let bytes = match message {
            Message::Synced(bytes) | Message::Update(bytes) if self.doing == Doing::Edits => bytes,
            Message::Awareness(bytes) if self.doing == Doing::Cursors => bytes,
            Message::Saved(payload) => {
                let mut payload = payload;
                if let Some(number) = wire::read_var_uint(&mut payload) {
                    self.is_saved(receiver, number, at);
                }
                return;
            }
            Message::Taken => {
                let number = self.taken[receiver];
                self.taken[receiver] += 1;
                return self.is_saved(receiver, number.into(), at);
            }
            Message::Ended(reason) => {
                eprintln!("    connection {receiver} ended: {reason}");
                return;
            }
            _ => return,
        };
        let Self {
            scanner,
            editors,
            interval,
            doing,
            phase,
            start,
            measure_from,
            next,
            latency,
            delivered,
            deliveries,
            skipped,
            doubled,
            fresh,
            ..
        } = self;
        let first = receiver / *editors * *editors;
        let next = &mut next[receiver * *editors..(receiver + 1) * *editors];
        scanner.scan(bytes, |author, number| {
            let Some(next) = author.checked_sub(first).and_then(|author| next.get_mut(author)) else {
                return;
            };
            if author == receiver {
                return;
            }
            if number < *next {
                *doubled += 1;
                return;
            }
            // A cursor's newer state stands for all before it; an edit that is left out is missing.
            let from = if *doing == Doing::Cursors { *next } else { number };
            *skipped += u64::from(number - *next);
            for number in from..=number {
                let due = *start + phase[author] + Micros::from(number) * *interval;
                *deliveries += 1;
                if due >= *measure_from {
                    *delivered += 1;
                    let _ = latency.record(at.saturating_sub(due).max(1));
                }
            }
            *next = number + 1;
            if let Some(fresh) = fresh {
                fresh.push(author);
            }
        });
    }
}
