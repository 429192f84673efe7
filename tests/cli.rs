//! The binary as a person meets it: what it prints where, and its exit codes (rules C1 to C6).

#![cfg(feature = "server")]

use std::process::{Command, Output};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn cowrite(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowrite"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COWRITE_")) {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("UTF-8")
}

fn usage_error(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = cowrite(arguments, environment);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    text(&output.stderr).to_owned()
}

#[test]
fn c1_a_variable_is_read_and_the_flag_wins() {
    let bad_timeout = usage_error(&["serve"], &[("COWRITE_IDLE_TIMEOUT", "soon")]);
    let open = usage_error(&["serve"], &[("COWRITE_LISTEN", "0.0.0.0:0")]);
    let flag = usage_error(&["serve", "--listen=10.0.0.1:0"], &[("COWRITE_LISTEN", "127.0.0.1:0")]);

    assert!(
        bad_timeout.starts_with("error: invalid value 'soon' for '--idle-timeout <DURATION>'"),
        "{bad_timeout}"
    );
    assert!(open.starts_with("error: 0.0.0.0:0 can be reached"), "{open}");
    assert!(flag.starts_with("error: 10.0.0.1:0 can be reached"), "{flag}");
}

#[test]
fn c1_origins_in_a_variable_are_separated_by_commas_and_a_switch_can_be_off() {
    let origins = usage_error(&["serve"], &[("COWRITE_ALLOW_ORIGIN", "https://a.example,b.example")]);
    let off = usage_error(
        &["serve"],
        &[("COWRITE_LISTEN", "0.0.0.0:0"), ("COWRITE_ALLOW_ANONYMOUS", "false")],
    );
    let maybe = usage_error(&["serve"], &[("COWRITE_ALLOW_ANONYMOUS", "maybe")]);

    assert!(origins.contains("`b.example` is not an origin"), "{origins}");
    assert!(off.starts_with("error: 0.0.0.0:0 can be reached"), "{off}");
    assert!(maybe.contains("'maybe'"), "{maybe}");
}

#[test]
fn c2_an_unknown_variable_stops_every_command() {
    for arguments in [&["serve"][..], &["token", "--sub=ada", "--document=*=read"]] {
        assert_eq!(
            usage_error(arguments, &[("COWRITE_JWT_SECERT", SECRET)]),
            "error: the environment variable COWRITE_JWT_SECERT is no setting of cowrite: did you mean \
             COWRITE_JWT_SECRET?\n"
        );
    }
}

#[test]
fn c3_no_command_prints_the_help() {
    let help = usage_error(&[], &[]);
    let asked = cowrite(&["--help"], &[]);

    assert!(help.starts_with("A server for documents"), "{help}");
    assert_eq!(asked.status.code(), Some(0));
    assert!(text(&asked.stdout).contains("Examples:"));
}

#[test]
fn c5_an_empty_secret_never_opens_the_server() {
    let empty = usage_error(&["serve"], &[("COWRITE_JWT_SECRET", "")]);

    assert!(
        empty.starts_with("error: --jwt-secret: the HMAC secret is 0 bytes long"),
        "{empty}"
    );
}

#[test]
fn c6_a_token_is_one_line_on_stdout() {
    let arguments = ["token", "--sub=ada", "--document=notes/*=write"];

    let output = cowrite(&arguments, &[("COWRITE_JWT_SECRET", SECRET)]);

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    let token = text(&output.stdout).strip_suffix('\n').expect("one line");
    assert_eq!(token.split('.').count(), 3);
    assert!(!token.contains(char::is_whitespace));
}
