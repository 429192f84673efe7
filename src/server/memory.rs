//! How much memory the process may take, how much it takes, and what is done when that is much.

use std::{fs, mem, path::Path, time::Duration};

use actix_web::web::Data;

use crate::{
    actor::clock,
    http::{Shared, lines::Lines},
    protocol::close::{CloseReason, Exceeded},
    room::Micros,
};

use super::pages::Pages;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// From this share of the bound on, in percent, the allocator keeps no pages that are free; below the other one it does again.
const SHORT: usize = 70;
const PLENTY: usize = 50;
/// How long it takes until what was given back is seen: each connection lets go of it in its turn.
const SETTLES: Duration = Duration::from_secs(2);
/// Of what there is, in percent: the rest is for the system's buffers, and for what is measured too late.
const OF_ALL: usize = 80;
/// Connections that hold less are not worth closing, in bytes.
const GREEDY_MIN: usize = 256 * 1024;

/// What the process may take: what its control group, or the machine, has, less a part.
#[must_use]
pub fn of_system() -> usize {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kilobytes(&text, "MemTotal:"));
    let group = fs::read_to_string("/proc/self/cgroup").ok();
    let group = group.and_then(|group| of_group(&group, |path| fs::read_to_string(path).ok()));
    let all = machine.into_iter().chain(group).min();
    all.map_or(usize::MAX, |all| all / 100 * OF_ALL)
}

/// The least that a control group or one above it allows, where `read` gives the content of files.
fn of_group(group: &str, read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let limit = |path: &Path| read(path)?.trim().parse().ok();
    let of_version_2 = group.lines().find_map(|line| line.strip_prefix("0::/")).map(|path| {
        let root = Path::new("/sys/fs/cgroup");
        let groups = Path::new(path)
            .ancestors()
            .map(|path| root.join(path).join("memory.max"));
        groups.filter_map(|path| limit(&path)).min()
    });
    // In a container of version 1 the group is mounted as the root.
    of_version_2
        .flatten()
        .or_else(|| limit(Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes")))
}

/// What the process holds that is its own, in bytes: not the pages of its binary. `None` where the system does not say.
fn held() -> Option<usize> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "RssAnon:")
}

/// The value of a line like `MemTotal:  24105 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<usize> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: usize = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Looks at it for as long as the server runs.
pub async fn watch(shared: Data<Shared>) {
    let (memory, lines) = (shared.memory.clone(), shared.lines.clone());
    let mut pages = Pages::default();
    let mut was_full = false;
    let mut closes_again = 0;
    loop {
        let Some(bytes) = in_use(&mut pages, memory.max()).await else {
            log::warn!("the system does not say how much memory this process takes: --memory-max has no effect");
            return;
        };
        memory.uses(bytes);
        let is_full = memory.is_short();
        if is_full && !was_full {
            log::warn!(
                "{} MiB of memory are used, of {} MiB ({}): no more documents are opened that are not small",
                bytes >> 20,
                memory.max() >> 20,
                shared.held()
            );
        }
        was_full = is_full;
        let excess = memory.excess();
        if excess > 0 && clock::now() >= closes_again && close_greediest(&shared, &lines, excess) > 0 {
            closes_again = clock::now() + SETTLES.as_micros() as Micros;
        }
        actix_web::rt::time::sleep(LOOK).await;
    }
}

/// What the process holds when it has given back what it does not need, if it holds much.
async fn in_use(pages: &mut Pages, max: usize) -> Option<usize> {
    let bytes = held()?;
    if let Some(at_once) = gives_back(bytes, max) {
        let mut taken = mem::take(pages);
        // Hundreds of megabytes take a while.
        *pages = actix_web::web::block(move || {
            taken.give_back(at_once);
            taken
        })
        .await
        .unwrap_or_default();
    }
    held()
}

/// Whether pages that are free are to be given back at once; `None` where it stays as it is.
fn gives_back(bytes: usize, max: usize) -> Option<bool> {
    let is_above = |percent| bytes > max / 100 * percent;
    match (is_above(SHORT), is_above(PLENTY)) {
        (true, _) => Some(true),
        (_, false) => Some(false),
        _ => None,
    }
}

/// Closes connections for which most waits, until they give so much back.
fn close_greediest(shared: &Shared, lines: &Lines, excess: usize) -> usize {
    let what = "too much waits to be read by this connection, and the server's memory is used up";
    let reason = CloseReason::Exceeded(Exceeded::new("memory_of_connection", what, 5_000_000));
    let mut given_back = 0;
    let greedy = lines.by_waiting(GREEDY_MIN);
    let closed = greedy.into_iter().take_while(|(waiting, _)| {
        let goes = given_back < excess;
        given_back += waiting;
        goes
    });
    let held = shared.held();
    let closed = closed.map(|(_, one)| one.give_up(&reason)).count();
    if closed > 0 {
        log::warn!("memory is used up ({held}): {closed} connections that did not read were closed");
    }
    closed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l54_the_least_that_a_group_above_allows_counts() {
        let read = |path: &Path| {
            let text = match path.to_str()? {
                "/sys/fs/cgroup/a/b/memory.max" => "max\n",
                "/sys/fs/cgroup/a/memory.max" => "1048576\n",
                "/sys/fs/cgroup/memory.max" => "2097152\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        assert_eq!(of_group("0::/a/b\n", read), Some(1 << 20));
        assert_eq!(of_group("0::/\n", read), Some(2 << 20));
        assert_eq!(of_group("0::/c\n", |_| None), None);
        let old = |path: &Path| {
            path.ends_with("memory/memory.limit_in_bytes")
                .then(|| "4096".to_owned())
        };
        assert_eq!(of_group("4:memory:/docker/1\n", old), Some(4_096));
    }

    #[test]
    fn l68_pages_are_given_back_from_one_share_on_and_kept_again_below_another() {
        let states = [0, 50, 51, 70, 71, 100].map(|bytes| gives_back(bytes, 100));
        assert_eq!(states, [Some(false), Some(false), None, None, Some(true), Some(true)]);
        assert_eq!(gives_back(usize::MAX / 4, usize::MAX), Some(false));
    }

    #[test]
    fn l54_the_process_knows_what_it_holds() {
        let before = held().expect("Linux says it");
        let more = vec![1_u8; 64 << 20];
        assert!(held().expect("Linux says it") > before + (60 << 20));
        drop(more);
        assert!(of_system() > 1 << 20);
        assert_eq!(
            kilobytes("A: 1 kB\nMemTotal:       24105 kB\n", "MemTotal:"),
            Some(24_105 << 10)
        );
    }
}
