//! What was measured, as a table, as JSON, as a chart, and in the documentation.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    cores,
    server::Kind,
    workload::{Outcome, durability, list},
};

#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    pub quick: bool,
    pub outcomes: Vec<Outcome>,
}

/// Where it was measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Machine {
    pub date: String,
    pub processor: String,
    pub cores: usize,
    pub memory_gb: f64,
    pub kernel: String,
    /// Other programs' load when the run began: how much to trust the latencies.
    pub load_average: String,
    pub disk_sync_p50_us: f64,
    pub disk_sync_p99_us: f64,
    pub node: String,
    pub cowrite: String,
}

const FROM: &str = "<!-- results: written by `make bench` -->";
const TO: &str = "<!-- /results -->";

impl Report {
    pub fn begin(quick: bool) -> Result<Self, String> {
        let (disk_sync_p50_us, disk_sync_p99_us) = durability::disk_sync_us().map_err(|error| error.to_string())?;
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map_or("", |(_, value)| value.trim()).to_owned()
        };
        let memory_kb = field(&read("/proc/meminfo"), "MemTotal")
            .split(' ')
            .next()
            .and_then(|kb| kb.parse::<f64>().ok());
        let load = read("/proc/loadavg");
        let machine = Machine {
            date: said_by("date", &["-u", "+%Y-%m-%d"]),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: cores::all().len(),
            memory_gb: memory_kb.unwrap_or(0.0) / 1e6,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: load.split(' ').take(2).collect::<Vec<_>>().join(" "),
            disk_sync_p50_us,
            disk_sync_p99_us,
            node: said_by("node", &["--version"]),
            cowrite: said_by(
                "git",
                &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"],
            ),
        };
        Ok(Self {
            machine,
            quick,
            outcomes: Vec::new(),
        })
    }

    pub fn load(path: &Path) -> Result<Self, String> {
        let json = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&json).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// What several runs measured, as one run on the last one's machine.
    pub fn merged(paths: &[PathBuf]) -> Result<Self, String> {
        let mut reports = paths.iter().map(|path| Self::load(path));
        let mut all = reports.next().ok_or("no results are named")??;
        for report in reports {
            let Self {
                machine,
                quick,
                outcomes,
            } = report?;
            let again = |old: &Outcome| outcomes.iter().any(|new| new.workload == old.workload);
            all.outcomes.retain(|old| !again(old));
            all.outcomes.extend(outcomes);
            (all.machine, all.quick) = (machine, all.quick || quick);
        }
        Ok(all)
    }

    pub fn save(&self, path: &Path) -> Result<(), String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        fs::write(path, json + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
        eprintln!("results: {}", path.display());
        Ok(())
    }

    fn outcome(&self, workload: &str, kind: Kind) -> Option<&Outcome> {
        self.outcomes
            .iter()
            .find(|outcome| outcome.workload == workload && outcome.server == kind)
    }

    /// One table of all servers, one of what only we are measured by.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let machine = &self.machine;
        let _ = writeln!(
            out,
            "Measured {} on {} ({} cores, {:.0} GB, Linux {}, load average {} at the start), Node {}, Cowrite {}; \
             a 4 kB `fdatasync` of its disk takes {:.2} ms (99th percentile {:.2} ms).{}\n",
            machine.date,
            machine.processor,
            machine.cores,
            machine.memory_gb,
            machine.kernel,
            machine.load_average,
            machine.node,
            machine.cowrite,
            machine.disk_sync_p50_us / 1e3,
            machine.disk_sync_p99_us / 1e3,
            if self.quick {
                " **A quick run: not for comparing.**"
            } else {
                ""
            },
        );
        let kinds: Vec<Kind> = Kind::ALL
            .into_iter()
            .filter(|kind| self.outcomes.iter().any(|outcome| outcome.server == *kind))
            .collect();
        let shared: Vec<_> = list::ALL.iter().filter(|workload| workload.servers.len() > 1).collect();
        let measured =
            |workload: &list::Workload| self.outcomes.iter().any(|outcome| outcome.workload == workload.name);
        if shared.iter().any(|workload| measured(workload)) {
            let titles = kinds.iter().map(|kind| kind.title()).collect::<Vec<_>>().join(" | ");
            let _ = writeln!(out, "| workload | {titles} |\n|---|{}", "---|".repeat(kinds.len()));
            for workload in shared.into_iter().filter(|workload| measured(workload)) {
                let cell = |kind: &Kind| {
                    self.outcome(workload.name, *kind)
                        .map_or("–", |outcome| outcome.cell.as_str())
                };
                let cells = kinds.iter().map(cell).collect::<Vec<_>>().join(" | ");
                let _ = writeln!(out, "| **{}**: {} | {cells} |", workload.title, workload.counts);
            }
            out.push('\n');
        }
        let ours: Vec<_> = list::ALL
            .iter()
            .filter(|workload| workload.servers.len() == 1 && measured(workload))
            .collect();
        if !ours.is_empty() {
            out.push_str("| Cowrite alone | |\n|---|---|\n");
            for workload in ours {
                let cell = self
                    .outcome(workload.name, Kind::Cowrite)
                    .map_or("–", |outcome| outcome.cell.as_str());
                let _ = writeln!(out, "| **{}**: {} | {cell} |", workload.title, workload.counts);
            }
        }
        out
    }

    /// Puts the table and the chart into `docs/`.
    pub fn write_docs(&self) -> Result<(), String> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the workspace's folder")
            .join("docs");
        let path = docs.join("performance.md");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let (before, rest) = text
            .split_once(FROM)
            .ok_or_else(|| format!("{} lacks {FROM}", path.display()))?;
        let (_, after) = rest
            .split_once(TO)
            .ok_or_else(|| format!("{} lacks {TO}", path.display()))?;
        let text = format!("{before}{FROM}\n\n{}\n{TO}{after}", self.table());
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        let path = docs.join("performance.svg");
        fs::write(&path, self.chart()).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Bars, one panel for each of the lines that people ask about.
    fn chart(&self) -> String {
        const PANELS: [(&str, &str, &str, &str, f64); 8] = [
            (
                "edit-300",
                "cpu_us_per_delivery",
                "300 editors of one document: CPU per delivery",
                "µs",
                1.0,
            ),
            (
                "edit-300",
                "p99_us",
                "the same: 99 of 100 edits are there within",
                "ms",
                1e-3,
            ),
            (
                "edit-1000",
                "p99_us",
                "1,000 editors of one document: 99 of 100 edits within",
                "ms",
                1e-3,
            ),
            (
                "cursors-500",
                "p99_us",
                "500 moving cursors: 99 of 100 moves within",
                "ms",
                1e-3,
            ),
            (
                "edit-600x3",
                "cpu_us_per_edit",
                "600 documents with 3 editors: CPU per edit",
                "µs",
                1.0,
            ),
            (
                "keystrokes-36981",
                "cpu_us_per_update",
                "36,981 keystrokes at full speed: CPU per keystroke",
                "µs",
                1.0,
            ),
            (
                "join-300",
                "cpu_us_per_join",
                "300 people open a 245 kB document: CPU for each",
                "ms",
                1e-3,
            ),
            (
                "sockets",
                "opened_per_second",
                "connections opened per second (more is better)",
                "/s",
                1.0,
            ),
        ];
        let mut body = String::new();
        let mut y = 20.0;
        for (workload, figure, title, unit, factor) in PANELS {
            let bars: Vec<(Kind, f64, bool)> = Kind::ALL
                .into_iter()
                .filter_map(|kind| {
                    let outcome = self.outcome(workload, kind)?;
                    let whole = outcome
                        .figure("delivered_percent")
                        .or(outcome.figure("complete").map(|one| 100.0 * one));
                    Some((
                        kind,
                        outcome.figure(figure)? * factor,
                        whole.is_none_or(|percent| percent >= 100.0),
                    ))
                })
                .collect();
            let Some(most) = bars.iter().map(|(_, value, _)| *value).reduce(f64::max) else {
                continue;
            };
            let _ = writeln!(body, r#"<text class="t" x="20" y="{y}">{title}</text>"#);
            y += 10.0;
            for (kind, value, whole) in bars {
                let class = match kind {
                    Kind::Cowrite => "c",
                    Kind::Relay | Kind::RelayTick => "r",
                    _ => "p",
                };
                let width = (value / most * 400.0).max(1.0);
                let shown = if value < 10.0 {
                    format!("{value:.2}")
                } else {
                    format!("{value:.0}")
                };
                let note = if whole { "" } else { ", not all arrived" };
                let _ = writeln!(
                    body,
                    r#"<text x="20" y="{:.1}">{}</text><rect class="{class}" x="180" y="{y:.1}" width="{width:.1}" height="12"/><text x="{:.1}" y="{:.1}">{shown} {unit}{note}</text>"#,
                    y + 10.0,
                    kind.title(),
                    186.0 + width,
                    y + 10.0
                );
                y += 16.0;
            }
            y += 24.0;
        }
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {y:.0}" width="760" height="{y:.0}" role="img" aria-label="Cowrite beside other servers">
<style>text{{font:12px system-ui,sans-serif;fill:#222}}.t{{font-weight:600}}.c{{fill:#0a7}}.p{{fill:#89a}}.r{{fill:#ccd}}@media(prefers-color-scheme:dark){{text{{fill:#ddd}}.r{{fill:#556}}}}</style>
{body}</svg>
"#
        )
    }
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}
