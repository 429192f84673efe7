//! The binary as a person meets it: what it prints where, its exit codes, and the process that `cowrite demo` keeps alive
//! (rules C1 to C6, C13 to C15, W80).

#![cfg(feature = "server")]

use std::{
    fs::Permissions,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowrite"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COWRITE_")) {
        command.env_remove(name);
    }
    command
}

fn cowrite(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command()
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

/// A server that runs, as a process.
struct Running {
    process: Child,
    /// `127.0.0.1:PORT`
    address: String,
    _folder: TempDir,
}

impl Running {
    fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    fn start_with(name: &str, arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut process = command()
            .args([name, "--port=0", "--data"])
            .arg(folder.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut line = String::new();
        let stdout = process.stdout.as_mut().expect("stdout");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim_end().strip_prefix("listening on http://");
        Self {
            address: address.expect("an address").to_owned(),
            process,
            _folder: folder,
        }
    }

    /// What the server answers, head and all; empty if it is not there or is gone before it has answered.
    fn ask(&self, request: &str, headers: &[(&str, &str)]) -> String {
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let host = if headers.contains("Host: ") {
            ""
        } else {
            &format!("Host: {}\r\n", self.address)
        };
        let request = format!("{request} HTTP/1.1\r\n{host}{headers}Content-Length: 0\r\nConnection: close\r\n\r\n");
        let answer = TcpStream::connect(&self.address).and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        answer.unwrap_or_default()
    }

    /// The process that can be killed, if the server is there and says one.
    fn can_kill(&self) -> Option<i32> {
        let about = self.ask("GET /about.json", &[]);
        let number = about.split_once("\"process\":")?.1;
        number.split_once('}')?.0.parse().ok()
    }

    fn pull(&self) {
        let origin = format!("http://{}", self.address);
        self.ask(PULL, &[("Origin", &origin), ("X-Cowrite-Demo", "pull-the-plug")]);
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.process.id().cast_signed()).expect("a number");
        kill_process(process, signal).expect("a signal");
    }

    fn ends(&mut self) -> ExitStatus {
        until("the process ends", || self.process.try_wait().expect("a child"))
    }

    /// What it logged, when it has ended.
    fn log(&mut self) -> String {
        let mut log = String::new();
        let stderr = self.process.stderr.as_mut().expect("stderr");
        stderr.read_to_string(&mut log).expect("UTF-8");
        log
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const PULL: &str = "POST /demo/pull-the-plug";

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn c13_a_server_that_was_killed_on_request_is_back_at_its_address() {
    let mut demo = Running::start("demo");
    let first = demo.can_kill().expect("a process");

    demo.pull();
    let second = until("another process", || demo.can_kill().filter(|next| *next != first));
    demo.pull();
    until("a third process", || {
        demo.can_kill().filter(|next| ![first, second].contains(next))
    });
    demo.signal(Signal::TERM);

    assert_eq!(demo.ends().code(), Some(0));
    let log = demo.log();
    for killed in [first, second] {
        let said = format!("the plug was pulled: killed process {killed} with SIGKILL");
        assert!(log.contains(&said), "{log}");
    }
    assert!(log.contains("SIGTERM: stopping"), "{log}");
}

#[test]
fn c13_a_server_that_ends_by_itself_ends_its_supervisor() {
    let other = Running::start("serve");
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().to_str().expect("UTF-8");

    let taken = cowrite(&["demo", "--listen", &other.address, "--data", data], &[]);
    let mut demo = Running::start("demo");
    let server = Pid::from_raw(demo.can_kill().expect("a process")).expect("a number");
    kill_process(server, Signal::KILL).expect("a signal");

    assert_eq!(taken.status.code(), Some(1), "{taken:?}");
    assert!(text(&taken.stderr).contains("error: cannot listen on"), "{taken:?}");
    assert_eq!(demo.ends().code(), Some(1));
    let log = demo.log();
    assert!(log.contains("the server was killed by signal 9"), "{log}");
}

#[test]
fn c14_a_demo_that_others_reach_or_that_asks_for_tokens_is_refused() {
    const WHY: &str = "error: `cowrite demo` lets whoever opens its page kill the server, so it";
    for (arguments, environment) in [
        (&["demo", "--listen=0.0.0.0:0"][..], None),
        (&["demo", "--listen=0.0.0.0:0", "--allow-anonymous"], None),
        (&["demo", "--allow-anonymous"], None),
        (&["demo"], Some(("COWRITE_JWT_SECRET", SECRET))),
        (&["demo", "--server-token", SECRET], None),
    ] {
        let said = usage_error(arguments, environment.as_slice());
        assert!(said.starts_with(WHY), "{arguments:?}: {said}");
    }
}

#[test]
fn c15_supervisor_and_server_end_together() {
    for signal in [Signal::TERM, Signal::INT, Signal::KILL] {
        let mut demo = Running::start("demo");
        demo.can_kill().expect("a process");

        demo.signal(signal);
        let status = demo.ends();

        until("the server is gone", || {
            TcpStream::connect(&demo.address).is_err().then_some(())
        });
        let expected = (signal != Signal::KILL).then_some(0);
        assert_eq!(status.code(), expected, "{signal:?}");
        // The server has the other end of it, and closes it last.
        let log = demo.log();
        assert!(log.contains("stopped, everything is saved"), "{signal:?}: {log}");
    }
}

#[test]
fn c21_a_server_that_does_not_stop_is_killed_with_its_supervisor() {
    let mut demo = Running::start_with("demo", &["--shutdown-timeout=1s"]);
    let server = Pid::from_raw(demo.can_kill().expect("a process")).expect("a number");
    kill_process(server, Signal::STOP).expect("a signal");

    demo.signal(Signal::TERM);

    assert_eq!(demo.ends().code(), Some(1));
    let log = demo.log();
    assert!(log.contains("does not stop: killed it with SIGKILL"), "{log}");
    assert!(kill_process(server, Signal::CONT).is_err(), "it is gone");
}

#[cfg(target_os = "linux")]
#[test]
fn c22_a_server_that_was_stopped_does_not_outlive_its_supervisor() {
    let mut demo = Running::start("demo");
    let server = Pid::from_raw(demo.can_kill().expect("a process")).expect("a number");
    kill_process(server, Signal::STOP).expect("a signal");

    demo.signal(Signal::KILL);
    demo.ends();

    until("the server is gone", || {
        TcpStream::connect(&demo.address).is_err().then_some(())
    });
    let log = demo.log();
    assert!(log.contains("stopped, everything is saved"), "{log}");
}

#[test]
fn w80_only_a_page_of_this_server_on_this_machine_pulls_the_plug() {
    let (demo, server) = (Running::start("demo"), Running::start("serve"));
    let process = demo.can_kill().expect("a process");
    let (origin, asks) = (format!("http://{}", demo.address), ("X-Cowrite-Demo", "pull-the-plug"));

    for headers in [
        &[][..],
        &[asks],
        &[("Origin", origin.as_str())],
        &[("Origin", &origin), ("X-Cowrite-Demo", "yes")],
        &[("Origin", "http://127.0.0.1:1"), asks],
        &[("Origin", "null"), asks],
        // A name that was rebound to this machine.
        &[("Origin", "http://rebound.example"), ("Host", "rebound.example"), asks],
    ] {
        let answer = demo.ask(PULL, headers);
        assert!(answer.starts_with("HTTP/1.1 403"), "{headers:?}: {answer}");
    }
    let read = demo.ask("GET /demo/pull-the-plug", &[("Origin", &origin), asks]);
    let elsewhere = server.ask(PULL, &[("Origin", &format!("http://{}", server.address)), asks]);

    assert!(read.starts_with("HTTP/1.1 405"), "{read}");
    assert_eq!(demo.can_kill(), Some(process));
    assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");
    assert!(
        elsewhere.contains("this server has no plug to pull: `cowrite demo` starts one"),
        "{elsewhere}"
    );
    assert_eq!(server.can_kill(), None);
}

/// The binary run by somebody who may see nothing of ours.
fn by_somebody_else(folder: &Path, arguments: &[&str]) -> Output {
    let binary = folder.join("cowrite");
    std::fs::copy(env!("CARGO_BIN_EXE_cowrite"), &binary).expect("a copy that others may run");
    std::fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("a folder that others may see");
    let mut command = Command::new(binary);
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    command.args(arguments).env_clear().output().expect("the binary runs")
}

#[test]
fn c23_what_a_user_may_not_see_is_not_called_missing() {
    let folder = TempDir::new().expect("a folder");
    let hidden = folder.path().join("hidden");
    for inside in ["journal", "runs"] {
        std::fs::create_dir_all(hidden.join(inside)).expect("a folder");
    }
    std::fs::set_permissions(&hidden, Permissions::from_mode(0o000)).expect("a folder that nobody else may see");
    let path = hidden.to_str().expect("UTF-8");
    let target = folder.path().join("never-made");
    let target = target.to_str().expect("UTF-8");

    for arguments in [
        &["doc", "list", "--data", path][..],
        &["verify", "--data", path],
        &["verify", path],
        &["backup", "--data", path, target],
    ] {
        let output = by_somebody_else(folder.path(), arguments);
        let said = text(&output.stderr);
        assert!(
            !output.status.success() && said.contains("Permission denied") && !said.contains("there is no"),
            "{arguments:?}: {said}"
        );
    }
    let output = by_somebody_else(folder.path(), &["serve", "--data", path, "--listen=127.0.0.1:0"]);
    let said = text(&output.stderr);
    assert!(
        said.contains("give the data folder (--data) to the user that runs this"),
        "{said}"
    );

    // Or it could not be removed.
    std::fs::set_permissions(&hidden, Permissions::from_mode(0o700)).expect("a folder of ours again");

    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").expect("a file");
    let output = cowrite(
        &["serve", "--listen=127.0.0.1:0", "--data", file.to_str().expect("UTF-8")],
        &[],
    );
    let said = text(&output.stderr);
    assert!(said.contains("the data folder (--data) has to be a folder"), "{said}");
}
