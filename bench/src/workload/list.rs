//! All workloads, by name.

use crate::server::{Kind, Options};

use super::{
    Outcome, Place, cores, database, durability,
    editing::{Doing, Editing},
    growth::{self, Past},
    keystrokes, opening, sockets,
};

/// What can be asked for.
pub struct Workload {
    pub name: &'static str,
    /// What happens, for the table.
    pub title: &'static str,
    /// What is counted, for the table.
    pub counts: &'static str,
    /// Who is measured.
    pub servers: &'static [Kind],
    run: fn(&'static str, Kind, &Place<'_>) -> Result<Outcome, String>,
}

impl Workload {
    pub fn run(&self, kind: Kind, place: &Place<'_>) -> Result<Outcome, String> {
        (self.run)(self.name, kind, place)
    }

    pub fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|workload| workload.name == name)
    }
}

const EVERYBODY: &[Kind] = &Kind::ALL;
const STRONG: &[Kind] = &[
    Kind::Cowrite,
    Kind::CowriteHocuspocus,
    Kind::Hocuspocus,
    Kind::Relay,
    Kind::RelayTick,
];
const KEEPERS: &[Kind] = &[
    Kind::Cowrite,
    Kind::CowriteHocuspocus,
    Kind::Hocuspocus,
    Kind::YWebsocket,
    Kind::YSweet,
];
const OURS: &[Kind] = &[Kind::Cowrite];

fn edits(name: &'static str, documents: usize, editors: usize, per_second: f64) -> Editing {
    Editing {
        name,
        documents,
        editors,
        per_second,
        doing: Doing::Edits,
        asks_saved: false,
        documents_per_socket: 1,
        moves_cursor: false,
    }
}

fn default_run(editing: &Editing, kind: Kind, place: &Place<'_>) -> Result<Outcome, String> {
    editing.run(kind, place, &Options::default())
}

pub static ALL: &[Workload] = &[
    Workload {
        name: "edit-10",
        title: "1 document, 10 editors × 10 edits/s",
        counts: "CPU per delivery; time to the others; delivered",
        servers: EVERYBODY,
        run: |name, kind, place| default_run(&edits(name, 1, 10, 10.0), kind, place),
    },
    Workload {
        name: "edit-300",
        title: "1 document, 300 editors × 5 edits/s",
        counts: "CPU per delivery; time to the others; delivered",
        servers: EVERYBODY,
        run: |name, kind, place| default_run(&edits(name, 1, 300, 5.0), kind, place),
    },
    Workload {
        name: "edit-1000",
        title: "1 document, 1,000 editors × 5 edits/s",
        counts: "CPU per delivery; time to the others; delivered",
        servers: STRONG,
        run: |name, kind, place| default_run(&edits(name, 1, 1_000, 5.0), kind, &place.with_patience(3)),
    },
    Workload {
        name: "cursors-500",
        title: "1 document, 500 cursors × 10 moves/s",
        counts: "CPU per delivery; time until that or a newer position arrives; delivered",
        servers: STRONG,
        run: |name, kind, place| {
            let editing = Editing {
                doing: Doing::Cursors,
                ..edits(name, 1, 500, 10.0)
            };
            default_run(&editing, kind, &place.with_patience(2))
        },
    },
    Workload {
        name: "edit-600x3",
        title: "600 documents, 3 editors each × 10 edits/s",
        counts: "CPU per edit; time to the others; delivered",
        servers: EVERYBODY,
        run: |name, kind, place| default_run(&edits(name, 600, 3, 10.0), kind, place),
    },
    Workload {
        name: "shared-600x3",
        title: "The same, an editor's documents on one socket for each hundred",
        counts: "CPU per edit; time to the others; delivered",
        servers: &[Kind::CowriteHocuspocus, Kind::Hocuspocus],
        run: |name, kind, place| {
            let editing = Editing {
                documents_per_socket: 100,
                ..edits(name, 600, 3, 10.0)
            };
            default_run(&editing, kind, place)
        },
    },
    Workload {
        name: "saved-600x3",
        title: "The same as 600 × 3, and each edit is acknowledged",
        counts: "CPU per edit; time to the others; delivered",
        servers: &[Kind::Cowrite, Kind::CowriteHocuspocus],
        run: |name, kind, place| {
            let editing = Editing {
                asks_saved: true,
                ..edits(name, 600, 3, 10.0)
            };
            default_run(&editing, kind, place)
        },
    },
    Workload {
        name: "keystrokes-36981",
        title: "36,981 keystrokes of one author as fast as they go, to a second client",
        counts: "CPU per update; time until all of it is there",
        servers: KEEPERS,
        run: |name, kind, place| keystrokes::run(name, 36_981, kind, place),
    },
    Workload {
        name: "keystrokes-259778",
        title: "259,778 keystrokes likewise",
        counts: "CPU per update; time until all of it is there",
        servers: &[Kind::Cowrite, Kind::CowriteHocuspocus, Kind::YWebsocket],
        run: |name, kind, place| keystrokes::run(name, 259_778, kind, place),
    },
    Workload {
        name: "join-300",
        title: "300 clients open one 245 kB document at once",
        counts: "CPU per join; time until all have it",
        servers: KEEPERS,
        run: |name, kind, place| opening::at_once(name, opening::paper(), 300, kind, place),
    },
    Workload {
        name: "sockets",
        title: "10,000 connections to 100 documents",
        counts: "memory each, rate, number (as many as come in a minute); memory before, with, and after them",
        servers: &[
            Kind::Cowrite,
            Kind::Hocuspocus,
            Kind::YWebsocket,
            Kind::YSweet,
            Kind::Relay,
        ],
        run: |name, kind, place| sockets::hold(name, if place.scale.quick { 2_000 } else { 10_000 }, kind, place),
    },
    Workload {
        name: "growth-clients",
        title: "One edit, by number of client ids that ever wrote",
        counts: "CPU per edit to one receiver",
        servers: OURS,
        run: |name, kind, place| {
            let pasts = [1, 1_000, 10_000, 50_000].map(Past::Clients);
            growth::run(name, &pasts, kind, place)
        },
    },
    Workload {
        name: "growth-length",
        title: "One edit, by number of pieces of text in the document",
        counts: "CPU per edit to one receiver",
        servers: OURS,
        run: |name, kind, place| {
            let pasts = [1, 1_000, 30_000, 300_000].map(Past::Pieces);
            growth::run(name, &pasts, kind, place)
        },
    },
    Workload {
        name: "durable",
        title: "What durability costs at 600 × 3 × 10/s",
        counts: "CPU per edit with the journal in memory, on disk, and with an acknowledgement for each edit",
        servers: OURS,
        run: |name, _, place| durability::run(name, &edits(name, 600, 3, 10.0), place),
    },
    Workload {
        name: "database",
        title: "300 documents, 3 editors each × 12 edits/s, each acknowledged: a folder, one node and two on Postgres",
        counts: "CPU per edit of the servers and of the database; saved; edits per commit",
        servers: OURS,
        run: |name, _, place| database::run(&edits(name, 300, 3, 12.0), place),
    },
    Workload {
        name: "cold-open",
        title: "A stored 245 kB document is opened after a restart",
        counts: "time from connecting to having all of it",
        servers: OURS,
        run: |name, kind, place| opening::cold(name, opening::paper(), 20, kind, place),
    },
    Workload {
        name: "large-open",
        title: "Three stored 10 MB documents are opened and edited while 60 people edit 20 others",
        counts: "time to the others, meanwhile and without; time until the first edit is saved",
        servers: OURS,
        run: opening::while_editing,
    },
    Workload {
        name: "pass-through",
        title: "10,000 documents, each opened once and left",
        counts: "memory",
        servers: OURS,
        run: |name, kind, place| {
            sockets::pass_through(name, if place.scale.quick { 2_000 } else { 10_000 }, kind, place)
        },
    },
    Workload {
        name: "two-cores",
        title: "600 documents × 3 editors in a closed loop, one and two server threads",
        counts: "edits per second, and cores used by server and generator",
        servers: OURS,
        run: |name, _, place| cores::run(name, place),
    },
];
