//! What it costs that "saved" means saved.

use std::{fs::File, io::Write};

use crate::{
    clock,
    server::{Kind, Options, Server, disk_folder},
};

use super::{Outcome, Place, editing::Editing, histogram, ms};

/// The same edits three times: nobody asks whether they are saved and the journal is in memory, where a
/// sync costs nothing; the journal is on the disk; everybody asks after each edit.
pub fn run(name: &str, editing: &Editing, place: &Place<'_>) -> Result<Outcome, String> {
    let kind = Kind::Cowrite;
    let (sync_p50, sync_p99) = disk_sync_us().map_err(|error| error.to_string())?;
    let mut costs = Vec::new();
    let mut saved = (0.0, 0.0);
    for (in_memory, asks_saved) in [(true, false), (false, false), (false, true)] {
        let server = Server::start(
            kind,
            place.at,
            &Options {
                in_memory,
                ..Options::default()
            },
        )?;
        let editing = Editing {
            asks_saved,
            ..editing.clone()
        };
        let measured = editing.measure(&server, place, None)?;
        if measured.delivered < measured.expected || measured.doubled > 0 {
            return Err(format!("{} of {} deliveries", measured.delivered, measured.expected));
        }
        if asks_saved {
            saved = (
                measured.saved.value_at_quantile(0.5) as f64,
                measured.saved.value_at_quantile(0.99) as f64,
            );
        }
        costs.push(measured.cpu_us / measured.metered_edits.max(1) as f64);
    }
    let more = 100.0 * (costs[1] / costs[0] - 1.0);
    let cell = format!(
        "{:.1} µs/edit in memory, {:.1} on disk ({more:+.0} %), {:.1} with acknowledgements; saved p50 {}, p99 {} = {:.1} fsyncs",
        costs[0],
        costs[1],
        costs[2],
        ms(saved.0),
        ms(saved.1),
        saved.1 / sync_p50,
    );
    let figures = [
        ("cpu_us_per_edit_in_memory", costs[0]),
        ("cpu_us_per_edit_on_disk", costs[1]),
        ("cpu_us_per_edit_acknowledged", costs[2]),
        ("more_percent", more),
        ("saved_p50_us", saved.0),
        ("saved_p99_us", saved.1),
        ("disk_sync_p50_us", sync_p50),
        ("disk_sync_p99_us", sync_p99),
    ];
    Ok(Outcome::new(name, kind, cell, &figures))
}

/// What this disk takes to append 4 kB durably, in µs: median and 99th percentile.
pub fn disk_sync_us() -> std::io::Result<(f64, f64)> {
    let folder = tempfile::tempdir_in(disk_folder())?;
    let mut file = File::create(folder.path().join("sync"))?;
    let mut times = histogram();
    for _ in 0..300 {
        let start = clock::now();
        file.write_all(&[7; 4_096])?;
        file.sync_data()?;
        times.saturating_record(clock::now() - start);
    }
    Ok((
        times.value_at_quantile(0.5) as f64,
        times.value_at_quantile(0.99) as f64,
    ))
}
