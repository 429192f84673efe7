//! Measures servers of Yjs documents beside each other: `docs/performance.md` says how.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

mod abuse;
mod clock;
mod cores;
mod fleet;
mod relay;
mod report;
mod server;
mod smoke;
mod stored;
mod trace;
mod wire;
mod workload;

use server::{Kind, Options, Places};
use workload::{
    Outcome, Place, Scale,
    editing::{Doing, Editing},
    list,
};

#[derive(Debug, Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, and print a table
    Run {
        /// A few seconds each: to see whether a change helps, not to publish
        #[arg(long)]
        quick: bool,
        /// These workloads only, separated by commas
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// These servers only
        #[arg(long, value_delimiter = ',')]
        servers: Vec<Kind>,
        /// How often each is measured; the median by CPU is kept
        #[arg(long, default_value_t = 1)]
        rounds: usize,
        /// Write the results here (JSON)
        #[arg(long)]
        json: Option<PathBuf>,
        /// Write the table and the chart into docs/
        #[arg(long)]
        docs: bool,
    },
    /// Write table and chart of earlier runs into docs/; of a workload in several of them, the last counts
    Docs {
        #[arg(required = true)]
        json: Vec<PathBuf>,
    },
    /// Measure one server with edits of your choice, for comparing two builds (SERVER_BINARY)
    Try {
        #[arg(long, default_value = "cowrite")]
        server: Kind,
        #[arg(long, default_value_t = 300)]
        documents: usize,
        #[arg(long, default_value_t = 3)]
        editors: usize,
        /// Edits per second of each editor
        #[arg(long, default_value_t = 5.0)]
        per_second: f64,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Ask after each edit whether it is saved
        #[arg(long)]
        saved: bool,
        /// Documents of one editor that share a socket (Hocuspocus' wire)
        #[arg(long, default_value_t = 1)]
        shared: usize,
    },
    /// Many stored documents: disk, starts, memory, and what opening one takes
    Store {
        #[arg(long, default_value_t = 100_000)]
        documents: u64,
        /// So many times the live data is overwritten, at random
        #[arg(long, default_value_t = 10)]
        overwrites: u64,
        /// So many documents are opened over the wire
        #[arg(long, default_value_t = 1_000)]
        opened: usize,
        /// Fill this folder and keep it
        #[arg(long)]
        folder: Option<PathBuf>,
    },
    /// Honest people on three wires, alone and among hostile clients; fails if one of them is sent away, an edit is lost, or
    /// the server holds more memory than it may
    Abuse {
        #[arg(long, default_value_t = 200)]
        honest: usize,
        #[arg(long, default_value_t = 50)]
        hostile: usize,
        /// How long honest people are among hostile clients
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// The server's `--memory-max`, in MiB
        #[arg(long, default_value_t = 512)]
        memory: u64,
        /// Attacks with this in their name alone
        #[arg(long, default_value = "")]
        only: String,
    },
    /// A little of everything against Cowrite; fails if an edit is lost, looks at no clock
    Smoke,
    /// List the workloads
    List,
    /// Be the bare relay
    Relay {
        #[arg(long)]
        port: u16,
        /// Gather for so long; 0 sends at once
        #[arg(long, default_value_t = 0)]
        tick_ms: u64,
    },
}

fn main() -> ExitCode {
    clock::now();
    cores::all();
    let done = match Arguments::parse().command {
        Command::Run {
            quick,
            only,
            servers,
            rounds,
            json,
            docs,
        } => run(quick, &only, &servers, rounds).and_then(|report| {
            report.save(&json.unwrap_or_else(|| server::disk_folder().join("results.json")))?;
            if docs { report.write_docs() } else { Ok(()) }
        }),
        Command::Docs { json } => report::Report::merged(&json).and_then(|report| report.write_docs()),
        Command::Try {
            server,
            documents,
            editors,
            per_second,
            seconds,
            saved,
            shared,
        } => {
            let editing = Editing {
                name: "try",
                documents,
                editors,
                per_second,
                doing: Doing::Edits,
                asks_saved: saved,
                documents_per_socket: shared,
                moves_cursor: false,
            };
            attempt(&editing, server, Duration::from_secs(seconds))
        }
        Command::Store {
            documents,
            overwrites,
            opened,
            folder,
        } => stored::run(&stored::Plan {
            documents,
            overwrites,
            opened,
            folder,
            checks: false,
        }),
        Command::Abuse {
            honest,
            hostile,
            seconds,
            memory,
            only,
        } => {
            cores::stay_on(&[cores::of_load()]);
            abuse::run(&abuse::Plan {
                honest,
                hostile,
                seconds,
                large_bytes: 10_000_000,
                memory_mib: memory,
                prints_lives: true,
                only,
            })
        }
        Command::Smoke => smoke::run(),
        Command::List => {
            list::ALL
                .iter()
                .for_each(|workload| println!("{:18} {}", workload.name, workload.title));
            Ok(())
        }
        Command::Relay { port, tick_ms } => relay::run(port, tick_ms).map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn attempt(editing: &Editing, kind: Kind, measured: Duration) -> Result<(), String> {
    let at = Places::find();
    let second = Duration::from_secs(1);
    let scale = Scale {
        measured,
        warm_up: second * 2,
        patience: second * 20,
        quick: false,
    };
    raise_open_files();
    cores::stay_on(&[cores::of_load()]);
    let outcome = editing.run(kind, &Place { at: &at, scale }, &Options::default())?;
    println!("{}", outcome.cell);
    outcome
        .figures
        .iter()
        .for_each(|figure| println!("{:32} {:.2}", figure.name, figure.value));
    Ok(())
}

fn run(quick: bool, only: &[String], servers: &[Kind], rounds: usize) -> Result<report::Report, String> {
    if let Some(unknown) = only.iter().find(|name| list::Workload::find(name).is_none()) {
        return Err(format!(
            "there is no workload {unknown:?}; `cowrite-bench list` names them"
        ));
    }
    let at = Places::find();
    let seconds = Duration::from_secs;
    let scale = if quick {
        Scale {
            measured: seconds(4),
            warm_up: seconds(1),
            patience: seconds(10),
            quick,
        }
    } else {
        Scale {
            measured: seconds(10),
            warm_up: seconds(3),
            patience: seconds(20),
            quick,
        }
    };
    let place = Place { at: &at, scale };
    let present = |kind: Kind| match kind.missing(&at) {
        Some(why) => {
            eprintln!("{} is left out: {why}", kind.title());
            false
        }
        None => true,
    };
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| servers.is_empty() || servers.contains(kind))
        .filter(|kind| present(*kind))
        .collect();
    raise_open_files();
    let mut report = report::Report::begin(quick)?;
    cores::stay_on(&[cores::of_load()]);
    for workload in list::ALL
        .iter()
        .filter(|one| only.is_empty() || only.iter().any(|name| name == one.name))
    {
        eprintln!("{}: {}", workload.name, workload.title);
        for kind in kinds.iter().filter(|kind| workload.servers.contains(kind)) {
            let mut outcomes = Vec::new();
            for _ in 0..rounds.max(1) {
                let outcome = workload.run(*kind, &place).unwrap_or_else(|error| {
                    Outcome::new(workload.name, *kind, format!("failed: {error}"), &[("failed", 1.0)])
                });
                eprintln!("  {:24} {}", kind.title(), outcome.cell);
                outcomes.push(outcome);
            }
            // The first figure is what the workload is about.
            let key = |outcome: &Outcome| outcome.figures.first().map_or(0.0, |figure| figure.value);
            outcomes.sort_by(|a, b| key(a).total_cmp(&key(b)));
            report.outcomes.push(outcomes.swap_remove((outcomes.len() - 1) / 2));
        }
    }
    println!("{}", report.table());
    Ok(report)
}

/// Ten thousand connections are as many open files, here and in the servers, which inherit this.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: Some(40_000),
        maximum: Some(now.maximum.unwrap_or(40_000).max(40_000)),
    };
    if setrlimit(Resource::Nofile, wanted).is_err() {
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: now.maximum,
                maximum: now.maximum,
            },
        );
    }
}
