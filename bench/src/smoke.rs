//! A little of everything: finds out whether the generator and the server still understand each
//! other, and whether every edit arrives. It runs among the tests, so it looks at no clock.

use std::time::{Duration, Instant};

use crate::{
    abuse,
    server::{Kind, Options, Places},
    stored, trace,
    workload::{
        Outcome, Place, Scale,
        editing::{Doing, Editing},
        growth::{self, Past},
        keystrokes, opening, sockets,
    },
};

pub fn run() -> Result<(), String> {
    let at = Places::find();
    if let Some(why) = Kind::Cowrite.missing(&at) {
        return Err(format!("{why}; set SERVER_BINARY or run cargo build --release"));
    }
    crate::raise_open_files();
    let second = Duration::from_secs(1);
    let scale = Scale {
        measured: second,
        warm_up: second / 4,
        patience: second * 20,
        quick: true,
    };
    let place = Place { at: &at, scale };
    let edits = |name, documents, editors| Editing {
        name,
        documents,
        editors,
        per_second: 10.0,
        doing: Doing::Edits,
        asks_saved: false,
        documents_per_socket: 1,
        moves_cursor: false,
    };
    let both = [Kind::Cowrite, Kind::RelayTick];
    for kind in both {
        every_edit_arrives(&edits("ten", 1, 10), kind, &place)?;
        every_edit_arrives(&edits("sixty", 1, 60), kind, &place)?;
        every_edit_arrives(&edits("many", 20, 3), kind, &place)?;
        every_edit_arrives(
            &Editing {
                doing: Doing::Cursors,
                ..edits("cursors", 1, 20)
            },
            kind,
            &place,
        )?;
    }
    every_edit_arrives(&edits("at-once", 5, 3), Kind::Relay, &place)?;
    every_edit_arrives(
        &Editing {
            documents_per_socket: 10,
            ..edits("shared", 20, 3)
        },
        Kind::CowriteHocuspocus,
        &place,
    )?;
    for kind in [Kind::Cowrite, Kind::CowriteHocuspocus] {
        let saved = every_edit_arrives(
            &Editing {
                asks_saved: true,
                ..edits("saved", 5, 3)
            },
            kind,
            &place,
        )?;
        demand(&saved, "saved_count", 150.0)?;
        let typed = said(keystrokes::run("keystrokes", 3_000, kind, &place))?;
        demand(&typed, "complete", 1.0)?;
        demand(&typed, "saved", 1.0)?;
    }
    let state = trace::heap_of(245_000, 10);
    demand(
        &said(opening::at_once("joining", &state, 20, Kind::Cowrite, &place))?,
        "whole",
        20.0,
    )?;
    said(opening::cold("cold", &state, 2, Kind::Cowrite, &place))?;
    said(growth::run(
        "clients",
        &[Past::Clients(1_000), Past::Pieces(100_000)],
        Kind::Cowrite,
        &place,
    ))?;
    stored::run(&stored::Plan {
        documents: 2_000,
        overwrites: 5,
        opened: 100,
        folder: None,
        checks: true,
    })?;
    abuse::run(&abuse::Plan {
        honest: 24,
        hostile: 24,
        seconds: 3,
        large_bytes: 1_000_000,
        memory_mib: 1_024,
        prints_lives: false,
        only: String::new(),
    })?;
    let held = said(sockets::hold("sockets", 2_000, Kind::Cowrite, &place))?;
    demand(&held, "held", 2_000.0)?;
    demand(&held, "ended", 0.0)?;
    memory_returns(&held)
}

/// L27: when all have gone, the server takes at most a fifth more than before they came.
fn memory_returns(held: &Outcome) -> Result<(), String> {
    let figure = |name| held.figure(name).unwrap_or(f64::NAN);
    let (before, most, after) = (figure("rss_before_kb"), figure("rss_held_kb"), figure("rss_after_kb"));
    if most > before * 1.2 && after <= before * 1.2 {
        Ok(())
    } else {
        Err(format!(
            "L27: memory goes from {before} kB to {most} kB and back to {after} kB"
        ))
    }
}

fn every_edit_arrives(editing: &Editing, kind: Kind, place: &Place<'_>) -> Result<Outcome, String> {
    let outcome = said(editing.run(kind, place, &Options::default()))?;
    demand(&outcome, "delivered_percent", 100.0)?;
    demand(&outcome, "ended", 0.0)?;
    if editing.doing == Doing::Edits {
        demand(&outcome, "skipped", 0.0)?;
    }
    Ok(outcome)
}

fn said(outcome: Result<Outcome, String>) -> Result<Outcome, String> {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed().as_secs_f64();
    if let Ok(outcome) = &outcome {
        println!(
            "{elapsed:5.1} s {:12} {:24} {}",
            outcome.workload,
            outcome.server.title(),
            outcome.cell
        );
    }
    outcome
}

fn demand(outcome: &Outcome, name: &str, expected: f64) -> Result<(), String> {
    let found = outcome.figure(name).unwrap_or(f64::NAN);
    let (workload, server) = (&outcome.workload, outcome.server.title());
    if found == expected {
        Ok(())
    } else {
        Err(format!("{workload}, {server}: {name} is {found}, not {expected}"))
    }
}
