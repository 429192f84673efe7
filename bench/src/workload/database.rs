//! What documents in a Postgres cost, beside a folder, and what several servers on it do.

use std::process::Command;

use crate::{
    fleet::Seat,
    server::{Kind, Options, Server, cpu_of_tree, free_port},
};

use super::{Metered, Outcome, Place, Used, editing::Editing, ms};

/// A Postgres that was started for this: `scripts/with-postgres` does.
struct Postgres {
    url: String,
    /// Its first process.
    pid: u32,
}

impl Postgres {
    fn find() -> Result<Self, String> {
        let variable =
            |name: &str| std::env::var(name).map_err(|_| "there is no Postgres: run scripts/bench".to_owned());
        Ok(Self {
            url: variable("TEST_POSTGRES_DIRECT")?,
            pid: variable("TEST_POSTGRES_PID")?
                .parse()
                .map_err(|error| format!("TEST_POSTGRES_PID: {error}"))?,
        })
    }

    /// The URL of a database of its own with Cowrite's tables.
    fn database(&self, place: &Place<'_>) -> Result<String, String> {
        // The clock names it: rounds follow each other.
        let name = format!("bench_{}", crate::clock::now());
        let mut psql = Command::new("psql");
        psql.args([&self.url, "-Xqc", &format!("create database {name}")]);
        complete(&mut psql)?;
        let url = self
            .url
            .strip_suffix("/postgres")
            .map(|server| format!("{server}/{name}"))
            .ok_or_else(|| format!("{} does not end in /postgres", self.url))?;
        let mut init = Command::new(&place.at.cowrite);
        init.args(["db", "init"]).env("COWRITE_DATABASE_URL", &url);
        complete(&mut init)?;
        Ok(url)
    }
}

fn complete(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// Several nodes and the database that they share.
struct Service {
    nodes: Vec<Server>,
    database: Option<u32>,
}

impl Metered for Service {
    fn used(&self) -> Used {
        Used {
            cpu: self.nodes.iter().map(Server::cpu).sum(),
            database: self.database.map(|pid| cpu_of_tree(pid, true)).unwrap_or_default(),
            commits: self.nodes.iter().filter_map(|node| node.commits().ok()).sum(),
        }
    }

    fn rss_kb(&self) -> u64 {
        self.nodes.iter().map(Server::rss_kb).sum()
    }
}

impl Service {
    fn folder(place: &Place<'_>) -> Result<Self, String> {
        Ok(Self {
            nodes: vec![Server::start(Kind::Cowrite, place.at, &Options::default())?],
            database: None,
        })
    }

    fn on(postgres: &Postgres, nodes: usize, place: &Place<'_>) -> Result<Self, String> {
        let url = postgres.database(place)?;
        let start = |_| {
            let cluster = free_port().map_err(|error| error.to_string())?;
            let options = Options {
                database: Some(url.clone()),
                flags: vec![
                    format!("--cluster-address=127.0.0.1:{cluster}"),
                    format!("--cluster-secret={}", "5".repeat(64)),
                ],
                ..Options::default()
            };
            Server::start(Kind::Cowrite, place.at, &options)
        };
        Ok(Self {
            nodes: (0..nodes).map(start).collect::<Result<_, _>>()?,
            database: Some(postgres.pid),
        })
    }

    /// Where everybody connects, document by document: all editors of a document to one node, or each to the next.
    fn seats(&self, editing: &Editing, divided: bool) -> Result<Vec<Seat>, String> {
        let mut seats = Vec::new();
        for document in 0..editing.documents {
            for editor in 0..editing.editors {
                let node = document + if divided { editor } else { 0 };
                seats.push(self.nodes[node % self.nodes.len()].seat(&format!("{}-{document}", editing.name))?);
            }
        }
        Ok(seats)
    }
}

/// The same edits four times, each with the question whether it is saved: to one server with a folder; to one node on a
/// database; to two with as many documents each, whose connections come to the node that has the document; to two that share
/// them, whose connections come to any.
pub fn run(editing: &Editing, place: &Place<'_>) -> Result<Outcome, String> {
    let postgres = Postgres::find()?;
    let mut cells = Vec::new();
    let mut figures = Vec::new();
    let cases = [
        ("folder", 0, 1, false),
        ("node", 1, 1, false),
        ("nodes", 2, 2, false),
        ("anywhere", 2, 1, true),
    ];
    for (case, nodes, times, divided) in cases {
        let editing = Editing {
            asks_saved: true,
            documents: times * editing.documents,
            ..editing.clone()
        };
        let service = match nodes {
            0 => Service::folder(place)?,
            nodes => Service::on(&postgres, nodes, place)?,
        };
        let measured = editing.measure_at(&service.seats(&editing, divided)?, &service, place, None)?;
        if measured.delivered < measured.expected || measured.doubled > 0 || measured.ended > 0 {
            return Err(format!(
                "{case}: {} of {} deliveries, {} were sent away",
                measured.delivered, measured.expected, measured.ended
            ));
        }
        let edits = measured.metered_edits.max(1) as f64;
        let server = measured.cpu_us / edits;
        let database = measured.used.database.as_secs_f64() * 1e6 / edits;
        let per_commit = edits / measured.used.commits.max(1) as f64;
        let saved = [0.5, 0.99].map(|quantile| measured.saved.value_at_quantile(quantile) as f64);
        let title = match case {
            "folder" => "a folder",
            "node" => "one node",
            "nodes" => "two nodes with as many documents each, connections at the node that has the document",
            _ => "two nodes that share them, connections anywhere",
        };
        let database_cell = if nodes > 0 {
            format!(" and {database:.1} of the database")
        } else {
            String::new()
        };
        cells.push(format!(
            "{title}: {server:.1} µs/edit{database_cell}, saved p50 {}, p99 {}, {per_commit:.0} edits per commit",
            ms(saved[0]),
            ms(saved[1]),
        ));
        let mut figure = |name: &str, value: f64| figures.push((format!("{case}_{name}"), value));
        figure("cpu_us_per_edit", server);
        figure("database_us_per_edit", database);
        figure("edits_per_commit", per_commit);
        figure("saved_p50_us", saved[0]);
        figure("saved_p99_us", saved[1]);
        figure("rss_kb", measured.rss_kb as f64);
    }
    let figures: Vec<_> = figures.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    Ok(Outcome::new(editing.name, Kind::Cowrite, cells.join("<br>"), &figures))
}
