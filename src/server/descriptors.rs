//! How many files the system lets the process open, and for what: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the store, its threads, and the process itself.
const STORE: usize = 128;
/// Most connections that are not (yet) WebSockets.
const REQUESTS_MAX: usize = 1_000;

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// WebSockets.
    pub connections_max: usize,
    /// Connections that are not (yet) WebSockets.
    pub requests_max: usize,
}

impl Descriptors {
    /// Raises the process's soft limit to its hard limit and shares it out; says so when it is not enough for
    /// `connections_max`. `files_each`: how many files a connection may be; one that is carried to another node is two.
    #[must_use]
    pub fn take(connections_max: usize, files_each: usize) -> Self {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        let current = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => raised.current,
            Err(error) => {
                log::warn!("the limit of open files could not be raised: {error}");
                limit.current
            }
        };
        let files = current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        let shared = Self::of(files, connections_max, files_each);
        if shared.connections_max < connections_max {
            log::warn!(
                "the system lets this process open {files} files: {} connections at most, not {connections_max}; \
                 raise it with `ulimit -n` or LimitNOFILE",
                shared.connections_max
            );
        }
        shared
    }

    fn of(files: usize, connections_max: usize, files_each: usize) -> Self {
        let for_connections = files.saturating_sub(STORE);
        let requests_max = REQUESTS_MAX.min(for_connections / 8).max(1);
        Self {
            connections_max: connections_max.min((for_connections - requests_max.min(for_connections)) / files_each),
            requests_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l38_descriptors_are_kept_for_the_store_and_for_requests() {
        for files in [129, 256, 1_024, 4_096, 65_536, 1 << 20, usize::MAX] {
            let shared = Descriptors::of(files, 20_000, 1);
            assert!(shared.requests_max >= 1);
            assert!(shared.connections_max <= 20_000);
            assert!(
                shared.connections_max + shared.requests_max <= files - STORE,
                "{files}: {shared:?}"
            );
        }
        assert_eq!(Descriptors::of(1_024, 20_000, 1).connections_max, 784);
        assert_eq!(Descriptors::of(65_536, 20_000, 1).connections_max, 20_000);
        assert_eq!(
            Descriptors::of(1_024, 20_000, 2).connections_max,
            392,
            "those of a node may be carried"
        );
        assert_eq!(Descriptors::of(64, 20_000, 1).connections_max, 0);
    }
}
