//! Two cores against one, as far as a machine of few cores can say.
//!
//! The load is a closed loop: every editor has a few edits on their way and says the next one when the
//! others have heard the oldest, so the server (or the generator) is always busy. With one server
//! thread of each kind the server has one core; with two it has all, and shares them with the generator,
//! whose own need is reported beside it.

use crate::{
    cores,
    server::{Kind, Options, Server},
};

use super::{
    Outcome, Place,
    editing::{Doing, Editing, own_cpu_us},
};

pub fn run(name: &'static str, place: &Place<'_>) -> Result<Outcome, String> {
    let kind = Kind::Cowrite;
    let mut rates = Vec::new();
    for threads in [1, 2] {
        let flags = ["--threads", &threads.to_string()];
        let options = Options {
            flags: flags.map(str::to_owned).into(),
            all_cores: threads > 1,
            ..Options::default()
        };
        let server = Server::start(kind, place.at, &options)?;
        let editing = Editing {
            name,
            documents: 600,
            editors: 3,
            per_second: 1.0,
            doing: Doing::Edits,
            asks_saved: false,
            documents_per_socket: 1,
            moves_cursor: false,
        };
        if threads > 1 {
            cores::stay_on(cores::all());
        }
        let own = own_cpu_us();
        let measured = editing.throughput(&server, place, 2);
        cores::stay_on(&[cores::of_load()]);
        let (rate, cost) = measured?;
        let seconds = (place.scale.measured + place.scale.warm_up).as_secs_f64();
        rates.push((rate, cost, (own_cpu_us() - own) / seconds / 1e6));
    }
    let [(one, one_cost, one_own), (two, two_cost, two_own)] = rates[..] else {
        unreachable!("two runs")
    };
    let cell = format!(
        "{one:.0} → {two:.0} edits/s ({:.2}×) on {} cores; server {:.2} → {:.2} cores, generator {one_own:.2} → {two_own:.2}",
        two / one,
        cores::all().len(),
        one * one_cost / 1e6,
        two * two_cost / 1e6,
    );
    let figures = [
        ("edits_per_second_one", one),
        ("edits_per_second_two", two),
        ("ratio", two / one),
        ("cpu_us_per_edit_one", one_cost),
        ("cpu_us_per_edit_two", two_cost),
        ("server_cores_one", one * one_cost / 1e6),
        ("server_cores_two", two * two_cost / 1e6),
        ("generator_cores_one", one_own),
        ("generator_cores_two", two_own),
    ];
    Ok(Outcome::new(name, kind, cell, &figures))
}
