//! The log: lines on stderr, as text for people or as JSON for collectors. `RUST_LOG` chooses what is in it.

use std::{fmt::Display, io::Write, panic, str::FromStr};

use env_logger::{Builder, Logger};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::json;

/// What is logged unless `RUST_LOG` says something else.
const DEFAULT: &str = "info";
/// What these libraries say at their lower levels is about themselves, or about a stranger's broken request. Whoever asks
/// for `debug` means this server.
const LIBRARIES: &str = "actix_server=warn,actix_web=warn,sled=warn,mio=warn,polling=warn";

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Time, level, place and message, with spaces between.
    #[default]
    Text,
    /// An object with `time` (RFC 3339, UTC), `level`, `target` and `message`.
    Json,
}

impl LogFormat {
    /// Reads `text` or `json`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("write text or json".to_owned()),
        }
    }

    /// What the server says outside of its log: a line that a collector reads like the others.
    #[must_use]
    pub fn line(self, level: Level, sentence: &str) -> String {
        match (self, level) {
            (Self::Text, Level::Error) => format!("error: {sentence}"),
            (Self::Text, _) => sentence.to_owned(),
            (Self::Json, _) => object(jiff::Timestamp::now(), level, "cowrite", &sentence),
        }
    }
}

/// Starts the log of a server. `chosen` is `RUST_LOG`.
pub fn start(format: LogFormat, chosen: Option<&str>) {
    let mut builder = Builder::new();
    builder.parse_filters(&filters(chosen.unwrap_or(DEFAULT)));
    if format == LogFormat::Json {
        builder.format(|out, record| {
            let time = jiff::Timestamp::now();
            writeln!(out, "{}", object(time, record.level(), record.target(), record.args()))
        });
        // It is several lines of text otherwise.
        panic::set_hook(Box::new(|panicked| log::error!(target: "panic", "{panicked}")));
    }
    Discreet(builder.build()).init();
}

/// Starts the log of a command that says itself, in the end, what it finds wrong.
pub fn start_quiet(chosen: Option<&str>) {
    let mut builder = Builder::new();
    builder.parse_filters(chosen.unwrap_or("off"));
    Discreet(builder.build()).init();
}

/// A log that leaves out, whatever `RUST_LOG` asks for, lines in which libraries may say what is nobody's business.
struct Discreet(Logger);

impl Discreet {
    fn init(self) {
        log::set_max_level(self.0.filter());
        // There is one already when something else in the process logs; that one goes on.
        let _ = log::set_boxed_logger(Box::new(self));
    }
}

impl Log for Discreet {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= most_of(metadata.target()) && self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() <= most_of(record.target()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// The lowest level at which lines of a place are let through. At their lower levels libraries say what goes through them:
/// requests as they came, addresses with their queries, batches with what people wrote. So this names who may speak there,
/// and a library that is new may not.
fn most_of(target: &str) -> LevelFilter {
    match target.split("::").next().unwrap_or_default() {
        "cowrite" => LevelFilter::Trace,
        // Its `trace` has the values that are written.
        "sled" => LevelFilter::Debug,
        // These say such things at their higher levels, too.
        "actix_http" | "object_store" | "ureq" | "ureq_proto" | "tokio_postgres" | "deadpool_postgres" => {
            LevelFilter::Off
        }
        _ => LevelFilter::Info,
    }
}

/// `chosen`, and the libraries where it does not name them.
fn filters(chosen: &str) -> String {
    let levels = chosen.split('/').next().unwrap_or_default().split(',');
    let general = levels
        .filter_map(|one| LevelFilter::from_str(one.trim()).ok())
        .next_back();
    if general.is_some_and(|general| general < LevelFilter::Warn) {
        return chosen.to_owned();
    }
    format!("{LIBRARIES},{chosen}")
}

fn object(time: jiff::Timestamp, level: Level, target: &str, message: &impl Display) -> String {
    let level = level.as_str().to_lowercase();
    json!({ "time": format!("{time:.6}"), "level": level, "target": target, "message": message.to_string() })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c11_libraries_are_quiet_unless_they_are_named() {
        for (chosen, expected) in [
            ("debug", format!("{LIBRARIES},debug")),
            ("info,sled=debug", format!("{LIBRARIES},info,sled=debug")),
            ("cowrite=trace", format!("{LIBRARIES},cowrite=trace")),
            ("error", "error".to_owned()),
            ("off", "off".to_owned()),
        ] {
            assert_eq!(filters(chosen), expected);
        }
    }

    #[test]
    fn a17_no_filter_makes_a_library_say_what_goes_through_it() {
        let asked =
            "trace,actix_http=trace,actix_http::h1=trace,sled::tree=trace,rustls::conn=trace,unknown::deep=trace";
        let log = Discreet(Builder::new().parse_filters(&filters(asked)).build());
        let is_heard = |target: &str, level| log.enabled(&Metadata::builder().target(target).level(level).build());
        for (target, least) in [
            ("cowrite", Some(Level::Trace)),
            ("cowrite::http::line", Some(Level::Trace)),
            ("cowrites::http", Some(Level::Info)),
            ("actix_http", None),
            ("actix_http::h1::dispatcher", None),
            ("tokio_postgres::connection", None),
            ("ureq_proto::util", None),
            ("sled::tree", Some(Level::Debug)),
            ("rustls::conn", Some(Level::Info)),
            ("unknown::deep", Some(Level::Info)),
            ("panic", Some(Level::Info)),
        ] {
            let heard = Level::iter().filter(|level| is_heard(target, *level)).last();
            assert_eq!(heard, least, "{target}");
        }
    }

    #[test]
    fn c10_a_line_of_json_is_one_object_whatever_the_message_is() {
        let time = jiff::Timestamp::UNIX_EPOCH;

        let line = object(time, Level::Warn, "cowrite::http", &"two\nlines \"quoted\" \u{7}");

        assert!(!line.contains('\n'));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&line).expect("an object"),
            json!({
                "time": "1970-01-01T00:00:00.000000Z", "level": "warn", "target": "cowrite::http",
                "message": "two\nlines \"quoted\" \u{7}",
            })
        );
    }
}
