//! Honest people at work, alone and then among hostile clients: `docs/security.md` has what came of it.
//!
//! Honest people are on all three wires, several of them in each document. Each edit of theirs has to reach the others and to
//! be acknowledged; none of them may be closed or refused; what was acknowledged has to be there after a kill; the server
//! has to keep within its memory. How long anything takes is printed and not judged: the machine may be busy.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cowrite::access::Claims;
use serde_json::json;

use crate::{
    fleet::{Dialect, Fleet, Listener, Message, Seat},
    server::{Kind, Options, Places, Server, disk_folder},
    trace,
    wire::Scanner,
    workload::{
        Place, Scale,
        editing::{Doing, Editing, Measured},
        ms, opening,
    },
};

mod attacks;
mod line;
mod poison;

use attacks::{Attack, BUSY, LARGE, Life, Mallory};

/// What is played.
#[derive(Debug, Clone)]
pub struct Plan {
    /// People, four in each document.
    pub honest: usize,
    /// Clients that mean no good.
    pub hostile: usize,
    /// How long people are among them.
    pub seconds: u64,
    /// The large document, in bytes.
    pub large_bytes: usize,
    /// What the server may hold, in MiB.
    pub memory_mib: u64,
    /// Say what became of each kind of hostile client.
    pub prints_lives: bool,
    /// Attacks with this in their name; all, if it is empty.
    pub only: String,
}

const EDITORS: usize = 4;
/// Keystrokes of each person.
const PER_SECOND: f64 = 4.0;
/// Every so manieth document of honest people may be written to by hostile clients.
const ATTACKED: usize = 5;
const SECRET: &str = "a secret of the benchmark, for nobody to guess";
const CALM: &str = "calm";

/// Plays it.
///
/// # Errors
/// Somebody honest was sent away, an edit was lost or not acknowledged, or the server held more than it may.
pub fn run(plan: &Plan) -> Result<(), String> {
    let at = Places::find();
    if let Some(why) = Kind::Cowrite.missing(&at) {
        return Err(format!("{why}; set SERVER_BINARY or run cargo build --release"));
    }
    crate::raise_open_files();
    let folder = tempfile::tempdir_in(disk_folder()).map_err(|error| error.to_string())?;
    let options = Options {
        flags: vec![
            format!("--jwt-secret={SECRET}"),
            "--trust-proxy=proxy-protocol".to_owned(),
            format!("--memory-max={}MiB", plan.memory_mib),
        ],
        data: Some(folder.path().to_owned()),
        own_limits: true,
        ..Options::default()
    };
    let server = Server::start(Kind::Cowrite, &at, &options)?;
    prepare(plan, &server)?;
    let second = Duration::from_secs(1);
    let place = |seconds| Place {
        at: &at,
        scale: Scale {
            measured: second * seconds,
            warm_up: second,
            patience: second * 60,
            quick: true,
        },
    };
    let editing = Editing {
        name: "abuse",
        documents: plan.honest / EDITORS,
        editors: EDITORS,
        per_second: PER_SECOND,
        doing: Doing::Edits,
        asks_saved: true,
        documents_per_socket: 1,
        moves_cursor: true,
    };
    let calm_seconds = (plan.seconds / 4).clamp(2, 15) as u32;
    let calm = editing.measure_at(&seats(plan, &server, CALM), &server, &place(calm_seconds), None)?;
    println!("{:3} s calm:  {}", calm_seconds, told(&calm));
    judge(&calm, "calm")?;

    let attacks: Vec<&Attack> = attacks::ALL
        .iter()
        .filter(|attack| attack.name.contains(&plan.only))
        .collect();
    if attacks.is_empty() {
        return Err(format!("no attack has {:?} in its name", plan.only));
    }
    let (over, memory_kb) = (Arc::new(AtomicBool::new(false)), AtomicU64::new(0));
    let mallories = mallories(plan, &server, &over)?;
    let busy = thread::scope(|scope| {
        for (n, mallory) in mallories.iter().enumerate() {
            let attack = attacks[n % attacks.len()];
            scope.spawn(move || {
                steps_back();
                mallory.lives(attack);
            });
        }
        scope.spawn(|| {
            while !over.load(Relaxed) {
                memory_kb.fetch_max(server.anonymous_kb(), Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });
        let seats = seats(plan, &server, BUSY);
        let busy = editing.measure_at(&seats, &server, &place(plan.seconds as u32), None);
        over.store(true, Relaxed);
        busy
    })?;
    println!("{:3} s abuse: {}", plan.seconds, told(&busy));
    let ratio = busy.latency.value_at_quantile(0.99) as f64 / calm.latency.value_at_quantile(0.99).max(1) as f64;
    let memory_mib = memory_kb.into_inner() / 1_024;
    println!(
        "p99 under abuse: {ratio:.2} times the calm one; memory at most {memory_mib} MiB of {} MiB",
        plan.memory_mib
    );
    if plan.prints_lives {
        print_lives(&attacks, &mallories);
    }

    judge(&busy, "under abuse")?;
    if memory_mib > plan.memory_mib {
        return Err(format!(
            "the server held {memory_mib} MiB, and may hold {}",
            plan.memory_mib
        ));
    }
    // Without a word: what was acknowledged is there all the same.
    drop(server);
    let server = Server::start(Kind::Cowrite, &at, &options)?;
    let found = find_edits(plan, &server, &busy)?;
    println!("after a kill: all {found} edits are there");
    Ok(())
}

/// This thread gets what its core has left: honest people are measured on the same one.
fn steps_back() {
    let _ = rustix::process::setpriority_process(None, 19);
    let thread = rustix::thread::gettid().to_string();
    // Without util-linux it goes on with the lowest priority.
    let _ = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
}

/// The large document, stored.
fn prepare(plan: &Plan, server: &Server) -> Result<(), String> {
    let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
    let seat = Seat {
        path: format!("/ws/{LARGE}?token={}", token("operator", &[(LARGE, "write")])?),
        from: Some(Ipv4Addr::new(203, 0, 113, 1)),
        ..server.seat(LARGE)?
    };
    opening::store_at(&mut fleet, seat, true, &trace::heap_of(plan.large_bytes, 100)).map(drop)
}

fn token(sub: &str, documents: &[(&str, &str)]) -> Result<String, String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let documents: serde_json::Map<_, _> = documents
        .iter()
        .map(|(pattern, access)| ((*pattern).to_owned(), json!(access)))
        .collect();
    let claims = json!({"sub": sub, "exp": now + 3_600, "name": sub, "documents": documents});
    let claims: Claims = serde_json::from_value(claims).map_err(|error| error.to_string())?;
    cowrite::token::mint(SECRET.as_bytes(), &claims).map_err(|error| error.to_string())
}

/// Where honest people are: in each document on all wires, each at an address of their own.
fn seats(plan: &Plan, server: &Server, phase: &str) -> Vec<Seat> {
    let person = |author: usize| {
        let document = format!("{phase}-{}", author / EDITORS);
        let token = token(&format!("h{author}"), &[(&document, "write")]).unwrap_or_default();
        let (path, dialect) = match author % 3 {
            0 => (format!("/ws/{document}?token={token}"), Dialect::YWebsocket),
            1 => ("/hocuspocus".to_owned(), Dialect::Hocuspocus),
            _ => (
                format!("/d/{document}/ws/{document}?token={token}"),
                Dialect::YWebsocket,
            ),
        };
        Seat {
            address: server.address,
            path,
            document,
            dialect,
            rides_on: None,
            from: Some(Ipv4Addr::new(
                192,
                0,
                2 + (author / 250) as u8,
                1 + (author % 250) as u8,
            )),
            token: Some(token),
        }
    };
    (0..plan.honest / EDITORS * EDITORS).map(person).collect()
}

fn mallories(plan: &Plan, server: &Server, over: &Arc<AtomicBool>) -> Result<Vec<Mallory>, String> {
    let honest = plan.honest / EDITORS;
    let attacked = honest.div_ceil(ATTACKED);
    let mallory = |number: usize| {
        let own = format!("m{number}-*");
        let names: Vec<String> = (0..attacked).map(|document| format!("{BUSY}-{document}")).collect();
        let among = names.iter().map(|name| (name.as_str(), "write"));
        let among: Vec<_> = among.chain([(own.as_str(), "write")]).collect();
        let all = format!("{BUSY}-*");
        Ok(Mallory {
            number,
            server: server.address,
            writer: token(&format!("m{number}"), &among)?,
            reader: token(&format!("m{number}"), &[(&all, "read"), (LARGE, "read")])?,
            attacked,
            honest,
            over: over.clone(),
            dice: AtomicU64::new(number as u64 * 0x9e37_79b9),
            life: Life::default(),
        })
    };
    (0..plan.hostile).map(mallory).collect()
}

fn told(measured: &Measured) -> String {
    let of = |quantile| ms(measured.latency.value_at_quantile(quantile) as f64);
    let saved = |quantile| ms(measured.saved.value_at_quantile(quantile) as f64);
    format!(
        "to the others p50 {}, p99 {}, at most {}; saved p50 {}, p99 {}; {} of {} deliveries, {} edits acknowledged, {} people \
         sent away; {:.0} % of a core",
        of(0.5),
        of(0.99),
        ms(measured.latency.max() as f64),
        saved(0.5),
        saved(0.99),
        measured.delivered,
        measured.expected,
        measured.saved.len(),
        measured.ended,
        100.0 * measured.cpu_us / measured.wall_us,
    )
}

fn judge(measured: &Measured, when: &str) -> Result<(), String> {
    let sent = measured.expected / (EDITORS as u64 - 1);
    if measured.ended > 0 {
        return Err(format!("{when}: {} honest people were sent away", measured.ended));
    }
    if measured.delivered != measured.expected || measured.skipped > 0 {
        return Err(format!(
            "{when}: {} of {} deliveries, {} skipped",
            measured.delivered, measured.expected, measured.skipped
        ));
    }
    if measured.saved.len() != sent {
        return Err(format!(
            "{when}: {} of {sent} edits were acknowledged",
            measured.saved.len()
        ));
    }
    Ok(())
}

fn print_lives(attacks: &[&Attack], mallories: &[Mallory]) {
    for (n, Attack { name, .. }) in attacks.iter().enumerate() {
        let of_this = mallories.iter().skip(n).step_by(attacks.len());
        let (mut lives, mut messages, mut ends) = (0, 0, BTreeMap::new());
        for Mallory { life, .. } in of_this {
            lives += life.lives.load(Relaxed);
            messages += life.messages.load(Relaxed);
            let told = life.ends.lock().map(|told| told.clone()).unwrap_or_default();
            told.into_iter()
                .for_each(|(end, count)| *ends.entry(end).or_insert(0) += count);
        }
        let ends = ends.iter().map(|(end, count)| format!("{count} {end}"));
        println!(
            "  {name:38} {lives:7} lives {messages:9} messages  {}",
            ends.collect::<Vec<_>>().join(", ")
        );
    }
}

/// What a newcomer is sent.
#[derive(Default)]
struct Newcomer {
    heard: Vec<Vec<u8>>,
}

impl Listener for Newcomer {
    fn heard(&mut self, _: usize, message: Message<'_>, _: crate::clock::Micros) {
        if let Message::Synced(bytes) | Message::Update(bytes) = message {
            self.heard.push(bytes.to_vec());
        }
    }
}

/// Looks for everything that honest people wrote among hostile clients.
fn find_edits(plan: &Plan, server: &Server, busy: &Measured) -> Result<u64, String> {
    let mut found = 0;
    let token = token("judge", &[(&format!("{BUSY}-*"), "read")])?;
    for document in 0..plan.honest / EDITORS {
        let name = format!("{BUSY}-{document}");
        let seat = Seat {
            path: format!("/ws/{name}?token={token}"),
            from: Some(Ipv4Addr::new(203, 0, 113, 2)),
            ..server.seat(&name)?
        };
        let mut newcomer = Newcomer::default();
        let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
        fleet.connect_all(&[seat], 1, Duration::from_secs(60), &mut newcomer)?;
        let text = trace::text_of(newcomer.heard.iter().map(Vec::as_slice))?;
        let mut next: HashMap<usize, u32> = HashMap::new();
        Scanner::new().scan(text.as_bytes(), |author, number| {
            let next = next.entry(author).or_default();
            *next += u32::from(*next == number);
        });
        for author in document * EDITORS..(document + 1) * EDITORS {
            let (said, there) = (busy.said[author], next.get(&author).copied().unwrap_or(0));
            if there != said {
                return Err(format!(
                    "{name}: {there} of {said} edits of person {author} are there after a kill"
                ));
            }
            found += u64::from(said);
        }
    }
    Ok(found)
}

impl std::fmt::Display for line::End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(status) => write!(f, "× HTTP {status}"),
            Self::Closed(code) => write!(f, "× {code}"),
            Self::Cut => f.write_str("× cut"),
            Self::Stuck => f.write_str("× not read for 5 s"),
            Self::Over => f.write_str("× over"),
        }
    }
}
