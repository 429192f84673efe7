//! Which cores are whose: the server has the first that this process may use, the load the second.

use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

static ALL: OnceLock<Vec<usize>> = OnceLock::new();

/// The cores that this process could use when it started.
pub fn all() -> &'static [usize] {
    ALL.get_or_init(|| {
        let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        let found: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect();
        if found.is_empty() { vec![0] } else { found }
    })
}

pub fn of_server() -> usize {
    all()[0]
}

pub fn of_load() -> usize {
    all()[1 % all().len()]
}

/// Keeps this process on these cores.
pub fn stay_on(cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    if let Err(error) = sched_setaffinity(None, &set) {
        eprintln!("cannot stay on cores {cores:?}: {error}");
    }
}
