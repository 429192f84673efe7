//! The process: settings in, exit code out.
//!
//! 0 is success, 1 a failure while running, 2 wrong settings (`docs/operating.md`).

use std::{
    io::{self, Write},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use cowrite::{
    config::{Command, Demo, ServeConfig, Stop, TokenRequest},
    logging::{self, LogFormat},
    operator, supervisor,
};

/// glibc keeps what connections and documents gave back: after 2,000 connections 44 MB of 80 were free, in pieces
/// between a few that were not. jemalloc sorts by size, and threads of its own give pages back that were not
/// used for ten seconds. (mimalloc 3 does as well, but begins with 45 MB more.)
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // What a command writes (documents, backups, keys of a lock) is its owner's alone.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let command = Command::parse(std::env::args_os());
    let chosen = std::env::var("RUST_LOG").ok().filter(|chosen| !chosen.is_empty());
    match &command {
        Ok(Command::Serve(config)) => logging::start(config.log_format, chosen.as_deref()),
        Ok(Command::Demo(demo)) => logging::start(demo.config.log_format, chosen.as_deref()),
        _ => logging::start_quiet(chosen.as_deref()),
    }
    match command {
        Ok(Command::Serve(config)) => serve(*config),
        Ok(Command::Demo(demo)) => supervise(&demo),
        Ok(Command::Token(request)) => token(&request),
        Ok(Command::Operate(request)) => match operator::run(request, &mut io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => fail(&failure.to_string(), LogFormat::Text, FAILED),
        },
        Err(Stop::Told(text)) => {
            // Here and below: that nobody reads it is no failure.
            let _ = write!(io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(Stop::NoCommand(help)) => {
            let _ = write!(io::stderr(), "{help}");
            ExitCode::from(USAGE)
        }
        Err(Stop::Usage(sentence)) => fail(&sentence, LogFormat::Text, USAGE),
    }
}

fn serve(config: ServeConfig) -> ExitCode {
    let format = config.log_format;
    if let Some(warning) = config.warning() {
        log::warn!("{warning}");
    }
    match cowrite::server::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), format, FAILED),
    }
}

fn supervise(demo: &Demo) -> ExitCode {
    match supervisor::run(demo) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let sentence = format!("the server cannot be supervised: {error}");
            fail(&sentence, demo.config.log_format, FAILED)
        }
    }
}

fn token(request: &TokenRequest) -> ExitCode {
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    match request.mint(now_s) {
        Ok(token) => {
            let _ = writeln!(io::stdout(), "{token}");
            ExitCode::SUCCESS
        }
        Err(sentence) => fail(&sentence, LogFormat::Text, USAGE),
    }
}

fn fail(sentence: &str, format: LogFormat, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "{}", format.line(log::Level::Error, sentence));
    ExitCode::from(code)
}
