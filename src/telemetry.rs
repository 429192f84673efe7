//! What an operator can see: the metrics behind `/metrics`, in Prometheus' text format.
//!
//! Names say what is counted and in which unit; `docs/operating.md` explains each.

use std::{sync::Arc, time::Duration};

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    core::Collector,
};

use crate::{
    http::Held,
    room::{Counts, Micros},
    store::StoreStatus,
};

/// Seconds: from half a millisecond to half a minute.
const LATENCY_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
];

/// All counters and gauges of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// WebSocket connections that are open.
    pub connections: IntGauge,
    /// WebSocket connections ever accepted.
    pub connections_accepted: IntCounter,
    /// Documents in memory.
    pub documents_open: IntGauge,
    /// Documents that could not be loaded.
    pub loads_failed: IntCounter,
    /// Documents thrown away and loaded anew because merging panicked.
    pub poisoned: IntCounter,
    /// Documents whose records the store refused.
    pub documents_refused: IntCounter,
    /// Documents that had something to give back to the store then.
    pub given_back: IntCounter,
    /// Connections that are carried to other nodes.
    pub carried: IntGauge,
    /// Other nodes that live.
    pub nodes: IntGauge,
    /// Bytes received in messages.
    pub received_bytes: IntCounter,
    /// Bytes handed to sockets.
    pub sent_bytes: IntCounter,
    updates: Updates,
    update_bytes: IntCounter,
    frames: IntCounter,
    awareness_refused: IntCounter,
    resyncs: IntCounter,
    closed: IntCounterVec,
    to_broadcast: Histogram,
    to_durable: Histogram,
    commits: Histogram,
    commit_records: IntCounter,
    commits_failed: IntCounter,
    waiting_bytes: IntGauge,
    memory_bytes: IntGauge,
    documents_bytes: IntGauge,
    outboxes_bytes: IntGauge,
    answers_bytes: IntGauge,
    backups: Backups,
    unfinished_bytes: IntGauge,
    store: StoreGauges,
}

#[derive(Debug)]
struct Backups {
    succeeded: IntGauge,
    took: Gauge,
    runs: IntCounter,
    bytes: IntCounter,
    failed: IntCounter,
}

impl Backups {
    fn new(registry: &Registry) -> Self {
        let took = Gauge::new("cowrite_backup_last_duration_seconds", "Time that the last run took")
            .expect("a valid metric name");
        register(registry, took.clone());
        Self {
            succeeded: gauge(
                registry,
                "cowrite_backup_last_success_timestamp_seconds",
                "When the last run that succeeded was begun, since the Unix epoch; 0 before the first",
            ),
            took,
            runs: counter(
                registry,
                "cowrite_backup_runs_total",
                "Runs of --backup-to that succeeded",
            ),
            bytes: counter(registry, "cowrite_backup_bytes_total", "Bytes that they copied"),
            failed: counter(
                registry,
                "cowrite_backup_failures_total",
                "Runs of --backup-to that failed",
            ),
        }
    }
}

#[derive(Debug)]
struct StoreGauges {
    documents: IntGauge,
    damaged: IntGauge,
    live_bytes: IntGauge,
    disk_bytes: IntGauge,
    segments: IntGauge,
    rebuilding: IntGauge,
    writable: IntGauge,
}

/// Counted for every message: looked up once.
#[derive(Debug)]
struct Updates {
    applied: IntCounter,
    known: IntCounter,
    gap: IntCounter,
    gap_kept_open: IntCounter,
    conflict: IntCounter,
    of_another: IntCounter,
    reader: IntCounter,
}

impl Updates {
    fn new(registry: &Registry) -> Self {
        let all = counters(
            registry,
            "cowrite_updates_total",
            "Updates received, by what became of them",
            "result",
        );
        let of = |result| all.with_label_values(&[result]);
        Self {
            applied: of("applied"),
            known: of("known"),
            gap: of("gap"),
            gap_kept_open: of("gap_kept_open"),
            conflict: of("conflict"),
            of_another: of("of_another"),
            reader: of("reader"),
        }
    }
}

impl Metrics {
    /// Metrics of a process that has done nothing yet.
    ///
    /// # Panics
    /// Never: the names below are valid and distinct, which a test shows.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Self {
            connections: gauge(r, "cowrite_connections", "WebSocket connections that are open"),
            connections_accepted: counter(
                r,
                "cowrite_connections_accepted_total",
                "WebSocket connections accepted",
            ),
            documents_open: gauge(r, "cowrite_documents_open", "Documents in memory"),
            loads_failed: counter(r, "cowrite_loads_failed_total", "Documents that could not be loaded"),
            poisoned: counter(
                r,
                "cowrite_documents_poisoned_total",
                "Documents loaded anew after merging panicked",
            ),
            documents_refused: counter(
                r,
                "cowrite_documents_refused_total",
                "Documents loaded anew after the store refused their records",
            ),
            carried: gauge(
                r,
                "cowrite_connections_carried",
                "Connections that are carried to the node of their document",
            ),
            nodes: gauge(r, "cowrite_other_nodes", "Other nodes that live"),
            given_back: counter(
                r,
                "cowrite_documents_given_back_total",
                "Documents of which edits were given back to the store after that",
            ),
            received_bytes: counter(
                r,
                "cowrite_received_bytes_total",
                "Bytes received in WebSocket messages",
            ),
            sent_bytes: counter(
                r,
                "cowrite_sent_bytes_total",
                "Bytes of WebSocket frames handed to sockets",
            ),
            updates: Updates::new(r),
            update_bytes: counter(
                r,
                "cowrite_update_bytes_total",
                "Bytes of updates that changed a document",
            ),
            frames: counter(
                r,
                "cowrite_frames_queued_total",
                "Frames queued, once for each receiver",
            ),
            awareness_refused: counter(
                r,
                "cowrite_awareness_refused_total",
                "Awareness entries for others' clients",
            ),
            resyncs: counter(
                r,
                "cowrite_resyncs_total",
                "Slow readers whose queue was replaced by a difference",
            ),
            closed: counters(
                r,
                "cowrite_sessions_closed_total",
                "Sessions refused or closed, by reason",
                "reason",
            ),
            to_broadcast: latency(
                r,
                "cowrite_update_to_broadcast_seconds",
                "From an update to its broadcast",
            ),
            to_durable: latency(
                r,
                "cowrite_update_to_durable_seconds",
                "From an update to its being durable",
            ),
            commits: latency(
                r,
                "cowrite_journal_commit_seconds",
                "Time of one journal commit with its fdatasync",
            ),
            commit_records: counter(r, "cowrite_journal_records_total", "Records committed to the journal"),
            commits_failed: counter(
                r,
                "cowrite_journal_commits_failed_total",
                "Journal commits that the disk refused",
            ),
            waiting_bytes: gauge(r, "cowrite_unsaved_bytes", "Bytes of updates that are not durable yet"),
            memory_bytes: gauge(
                r,
                "cowrite_memory_bytes",
                "Bytes that the process holds, compared with its limit",
            ),
            documents_bytes: gauge(
                r,
                "cowrite_documents_bytes",
                "Bytes of the documents in memory, as they would be stored",
            ),
            outboxes_bytes: gauge(r, "cowrite_outboxes_bytes", "Bytes that wait to be read by connections"),
            answers_bytes: gauge(
                r,
                "cowrite_answers_bytes",
                "Bytes of large answers on their way to readers",
            ),
            unfinished_bytes: gauge(r, "cowrite_unfinished_bytes", "Bytes of messages that are not complete"),
            backups: Backups::new(r),
            store: StoreGauges {
                documents: gauge(r, "cowrite_store_documents", "Documents in the store"),
                damaged: gauge(
                    r,
                    "cowrite_store_documents_damaged",
                    "Documents in the store that cannot be read",
                ),
                live_bytes: gauge(
                    r,
                    "cowrite_store_live_bytes",
                    "Bytes in the store that are not superseded",
                ),
                disk_bytes: gauge(r, "cowrite_store_disk_bytes", "Bytes of all files of the store"),
                segments: gauge(r, "cowrite_store_segments", "Journal segments"),
                rebuilding: gauge(
                    r,
                    "cowrite_store_rebuilding",
                    "1 while the read side is rebuilt from the journal",
                ),
                writable: gauge(r, "cowrite_store_writable", "1 while the store takes writes"),
            },
            registry,
        };
        #[cfg(target_os = "linux")]
        register(
            &metrics.registry,
            prometheus::process_collector::ProcessCollector::for_self(),
        );
        Arc::new(metrics)
    }

    /// Adds what a room counted.
    pub fn room(&self, counts: Counts) {
        self.updates.applied.inc_by(counts.updates);
        self.updates.known.inc_by(counts.updates_known);
        self.updates.gap.inc_by(counts.updates_with_gaps);
        self.updates.gap_kept_open.inc_by(counts.gaps_kept_open);
        self.updates.conflict.inc_by(counts.conflicts);
        self.updates.of_another.inc_by(counts.updates_of_others);
        self.updates.reader.inc_by(counts.updates_of_readers);
        self.update_bytes.inc_by(counts.update_bytes);
        self.frames.inc_by(counts.frames);
        self.awareness_refused.inc_by(counts.awareness_refused);
        self.resyncs.inc_by(counts.resyncs);
        counts
            .to_broadcast
            .iter()
            .for_each(|micros| self.to_broadcast.observe(seconds(*micros)));
    }

    /// An edit was durable so long after it came in.
    pub fn durable(&self, after: Micros) {
        self.to_durable.observe(seconds(after));
    }

    /// A session was refused or closed for this reason.
    pub fn ended(&self, reason: &str) {
        self.closed.with_label_values(&[reason]).inc();
    }

    /// A journal commit of so many records took so long.
    pub fn commit(&self, records: usize, took: Micros) {
        self.commits.observe(seconds(took));
        self.commit_records.inc_by(records as u64);
    }

    /// The disk refused a commit.
    pub fn commit_failed(&self) {
        self.commits_failed.inc();
    }

    /// A run of the backup that was begun then took so long, and copied so many bytes.
    pub fn backup(&self, began_ms: u64, took: Duration, bytes: u64) {
        self.backups.succeeded.set((began_ms / 1_000) as i64);
        self.backups.took.set(took.as_secs_f64());
        self.backups.runs.inc();
        self.backups.bytes.inc_by(bytes);
    }

    /// A run of the backup failed.
    pub fn backup_failed(&self) {
        self.backups.failed.inc();
    }

    /// What is held in memory, `used` by the whole process.
    pub fn memory(&self, used: usize, held: Held) {
        let set = |gauge: &IntGauge, bytes: usize| gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        set(&self.memory_bytes, used);
        set(&self.documents_bytes, held.documents);
        set(&self.outboxes_bytes, held.outboxes);
        set(&self.answers_bytes, held.answers);
        set(&self.unfinished_bytes, held.unfinished);
        set(&self.waiting_bytes, held.unsaved);
    }

    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn text(&self, store: &StoreStatus, writable: bool) -> String {
        self.store.documents.set(store.documents as i64);
        self.store.damaged.set(store.damaged as i64);
        self.store.live_bytes.set(store.live_bytes as i64);
        self.store.disk_bytes.set(store.disk_bytes as i64);
        self.store.segments.set(store.segments as i64);
        self.store.rebuilding.set(i64::from(store.rebuilding.is_some()));
        self.store.writable.set(i64::from(writable));
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            log::error!("metrics cannot be written: {error}");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn seconds(micros: Micros) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

fn register(registry: &Registry, collector: impl Collector + 'static) {
    registry
        .register(Box::new(collector))
        .expect("metric names are distinct");
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::new(name, help).expect("a valid metric name");
    register(registry, gauge.clone());
    gauge
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    let counter = IntCounter::new(name, help).expect("a valid metric name");
    register(registry, counter.clone());
    counter
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> IntCounterVec {
    let counters = IntCounterVec::new(Opts::new(name, help), &[label]).expect("a valid metric name");
    register(registry, counters.clone());
    counters
}

fn latency(registry: &Registry, name: &str, help: &str) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(LATENCY_SECONDS.to_vec());
    let histogram = Histogram::with_opts(options).expect("a valid metric name");
    register(registry, histogram.clone());
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_name_their_units() {
        let metrics = Metrics::new();
        metrics.room(Counts {
            updates: 2,
            ..Counts::default()
        });
        metrics.durable(1_500);

        let held = Held {
            documents: 1,
            outboxes: 2,
            answers: 3,
            unfinished: 4,
            unsaved: 7,
        };
        metrics.memory(9, held);
        let text = metrics.text(&StoreStatus::default(), true);

        assert!(text.contains("cowrite_updates_total{result=\"applied\"} 2"), "{text}");
        assert!(text.contains("cowrite_update_to_durable_seconds_sum 0.0015"), "{text}");
        for line in [
            "cowrite_memory_bytes 9",
            "cowrite_documents_bytes 1",
            "cowrite_outboxes_bytes 2",
            "cowrite_answers_bytes 3",
            "cowrite_unfinished_bytes 4",
            "cowrite_unsaved_bytes 7",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }
}
