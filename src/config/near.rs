//! What people write who know other programs: the command or the setting that they mean here.
//!
//! clap finds what is misspelt. It does not know that `start` is `serve` here and `--host` is `--listen`.

use std::ffi::OsString;

use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::Cli;

/// Other programs' words for a command.
pub(super) const COMMANDS: [(&str, &[&str]); 8] = [
    (
        "serve",
        &[
            "start", "run", "up", "server", "launch", "listen", "dev", "daemon", "open",
        ],
    ),
    ("token", &["jwt", "sign", "auth", "mint", "tokens"]),
    ("backup", &["dump", "snapshot", "save"]),
    ("restore", &["load", "recover"]),
    ("verify", &["check", "fsck", "validate", "doctor"]),
    ("import", &["migrate", "convert"]),
    ("doc list", &["list", "ls", "docs", "documents"]),
    ("doc export", &["export", "get", "cat", "show"]),
];

/// Other programs' words for a setting of `serve`.
pub(super) const SETTINGS: [(&str, &[&str]); 9] = [
    (
        "listen",
        &["host", "bind", "address", "addr", "hostname", "interface", "ip", "http"],
    ),
    (
        "data",
        &[
            "dir",
            "directory",
            "data-dir",
            "datadir",
            "folder",
            "store",
            "storage",
            "path",
        ],
    ),
    (
        "jwt-secret",
        &["secret", "auth-secret", "key", "auth", "token-secret", "hmac-secret"],
    ),
    ("jwt-public-key", &["public-key"]),
    (
        "allow-origin",
        &["cors", "origin", "origins", "allowed-origins", "cors-origin"],
    ),
    (
        "base-path",
        &[
            "prefix",
            "root-path",
            "url-prefix",
            "path-prefix",
            "base",
            "base-url",
            "context-path",
        ],
    ),
    ("public-url", &["url", "external-url"]),
    ("log-format", &["log", "logging", "json", "log-json"]),
    ("threads", &["workers", "cpus"]),
];
/// What is chosen by another variable.
const LOG_LEVEL: [&str; 4] = ["log-level", "loglevel", "verbose", "debug"];

/// One sentence about an argument that is none, when it is known what is meant.
pub(super) fn sentence(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let said = context(error, ContextKind::InvalidSubcommand)?;
            let meant = meant(&COMMANDS, &said)?;
            Some(format!("there is no command `{said}`: did you mean `cowrite {meant}`?"))
        }
        ErrorKind::UnknownArgument => {
            let said = context(error, ContextKind::InvalidArg)?;
            let flag = said.trim_start_matches('-').split('=').next()?.to_owned();
            let command = arguments.get(1)?.to_str()?.to_owned();
            if command.starts_with('-') {
                return before_a_command(&said, &flag);
            }
            if command != "serve" {
                return None;
            }
            if LOG_LEVEL.contains(&&*flag) {
                return Some(format!(
                    "there is no setting `{said}`: RUST_LOG=debug chooses what is logged"
                ));
            }
            let meant = meant(&SETTINGS, &flag)?;
            Some(format!("there is no setting `{said}`: did you mean `--{meant}`?"))
        }
        _ => None,
    }
}

/// A setting of `serve` that stands where a command has to.
fn before_a_command(said: &str, flag: &str) -> Option<String> {
    let cli = Cli::command();
    let serve = cli.find_subcommand("serve")?;
    let is_setting = serve.get_arguments().any(|argument| argument.get_long() == Some(flag));
    let flag = if is_setting { flag } else { meant(&SETTINGS, flag)? };
    Some(format!(
        "`{said}` stands before a command: write `cowrite serve --{flag} …`"
    ))
}

/// The variable that one is most like which no setting has; `known` is not empty.
pub(super) fn variable(name: &str, known: &[&str]) -> String {
    let word = name.trim_start_matches("COWRITE_").to_lowercase().replace('_', "-");
    if LOG_LEVEL.contains(&&*word) {
        return "RUST_LOG".to_owned();
    }
    if let Some(meant) = meant(&SETTINGS, &word) {
        return format!("COWRITE_{}", meant.to_uppercase().replace('-', "_"));
    }
    let nearest = known
        .iter()
        .max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
    (*nearest.expect("serve has settings with variables")).to_owned()
}

fn meant(words: &[(&'static str, &[&str])], said: &str) -> Option<&'static str> {
    let said = said.to_lowercase();
    let found = words.iter().find(|(_, others)| others.contains(&&*said));
    found.map(|(meant, _)| *meant)
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(said) => Some(said.clone()),
        _ => None,
    }
}
