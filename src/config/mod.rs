//! Settings: from arguments and environment variables to typed values, or to one sentence that says
//! what is wrong with them.
//!
//! Every flag has an environment variable of the same name (`--listen`, `COWRITE_LISTEN`); the flag
//! wins. A `COWRITE_…` variable that no setting has is refused, because a misspelt limit that is
//! silently ignored is found out too late.
//!
//! [`Command::parse`] is the only entry. [`ServeConfig`] is plain data: [`ServeConfig::new`] makes
//! one without arguments, with the same defaults. `serve` and `token` are about the commands of these names, `operator`
//! about those that work on a folder; `keys`, `budgets`, `cluster` and `backups` are parts of `serve`; `near` is about
//! what people write who mean something else, `values` about what single values look like.

mod backups;
mod budgets;
#[cfg(feature = "postgres")]
mod cluster;
mod demo;
mod keys;
mod near;
mod operator;
mod serve;
mod token;
mod values;

use std::ffi::{OsStr, OsString};

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};

pub(crate) use self::values::is_loopback;
pub use self::{
    budgets::Budgets,
    demo::Demo,
    serve::{Admission, Cluster, ServeConfig},
    token::TokenRequest,
};
use crate::operator::Request;

/// What the process was asked to do.
#[derive(Debug)]
pub enum Command {
    /// Run the server.
    Serve(Box<ServeConfig>),
    /// Run the server under a supervisor that its page may have kill it.
    Demo(Box<Demo>),
    /// Print a token.
    Token(TokenRequest),
    /// Work on a data folder or a backup.
    Operate(Request),
}

/// Why there is nothing to run.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// Help or version were asked for: the text for stdout, exit code 0.
    Told(String),
    /// No subcommand was given: the help for stderr, exit code 2.
    NoCommand(String),
    /// The settings are wrong: one sentence for stderr, exit code 2.
    Usage(String),
}

impl Command {
    /// Reads arguments (the program's name first) and the environment of this process.
    ///
    /// # Errors
    /// [`Stop`], whose text is complete.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        check_environment(std::env::vars_os().map(|(name, _)| name)).map_err(Stop::Usage)?;
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let cli = Cli::try_parse_from(&arguments).map_err(|error| stop(&error, &arguments))?;
        match cli.command {
            CommandArgs::Serve(args) => (*args).try_into().map(|config| Self::Serve(Box::new(config))),
            CommandArgs::Demo(args) => args.command(arguments.get(2..).unwrap_or_default()),
            CommandArgs::Token(args) => args.try_into().map(Self::Token),
            CommandArgs::Backup(args) => args.try_into().map(Self::Operate),
            CommandArgs::Restore(args) => args.try_into().map(Self::Operate),
            CommandArgs::Verify(args) => args.try_into().map(Self::Operate),
            CommandArgs::Doc { command } => command.try_into().map(Self::Operate),
            CommandArgs::Copy(args) => args.try_into().map(Self::Operate),
            #[cfg(feature = "postgres")]
            CommandArgs::Db { command } => command.try_into().map(Self::Operate),
            #[cfg(feature = "postgres")]
            CommandArgs::Nodes(args) => args.try_into().map(Self::Operate),
            #[cfg(feature = "import")]
            CommandArgs::Import(args) => Ok(Self::Operate(args.into())),
        }
        .map_err(Stop::Usage)
    }
}

/// A server for documents that several people edit at once.
#[derive(Parser)]
#[command(
    name = "cowrite",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  cowrite serve
      open to this machine alone, on http://127.0.0.1:8080, documents in ./data
  cowrite demo
      the same with a button that kills the server: see what survives
  COWRITE_JWT_SECRET=$(openssl rand -hex 32) cowrite serve --listen 0.0.0.0:8080
      asks for tokens that are signed with the secret
  cowrite token --sub ada --document 'notes/*=write' --expires 1h
      prints such a token
  cowrite backup /mnt/backup
      copies ./data, beside a running server; only what is new, the next time

Every setting is a flag and an environment variable of the same name: --idle-timeout is
COWRITE_IDLE_TIMEOUT. The flag wins. A COWRITE_ variable that no setting has is an error.
RUST_LOG chooses what is logged to stderr (default: info).

Exit codes: 0 stopped as asked, everything saved; 1 failed, the last line on stderr says
why, or something is damaged; 2 wrong settings."
)]
struct Cli {
    #[command(subcommand)]
    command: CommandArgs,
}

#[derive(Subcommand)]
enum CommandArgs {
    /// Run the server until SIGTERM or SIGINT
    #[command(after_help = "\
Sizes are bytes, or have a unit: 512KiB, 16MiB. Durations have units: 30s, 5m, 1h 30m.
Every flag has the environment variable shown with it; COWRITE_ALLOW_ORIGIN takes several
origins separated by commas, COWRITE_JWT_SECRET one secret a line. A flag wins over its variable.")]
    Serve(Box<serve::ServeArgs>),
    /// Run an open server for this machine whose demo page has a button that kills it, and start it again
    #[command(after_help = "\
Example:
  cowrite demo --port 8080 --data /tmp/demo
      open a document, write, press \"Pull the plug\", and see what was saved

It takes the settings of `cowrite serve`, except those of a server that others can reach or that asks
for tokens. The process that serves is killed with SIGKILL and started again on the same port with the
same folder. SIGTERM and SIGINT stop both.")]
    Demo(Box<demo::DemoArgs>),
    /// Print a token for a server with --jwt-secret
    #[command(after_help = "\
Example:
  cowrite token --sub ada --name 'Ada' --color '#2266cc' \\
      --document 'notes/*=write' --document '*=read' --expires 8h

In a pattern, `*` is any run of characters, `/` included. The longest matching pattern
decides, and a document that none matches is closed to the holder of the token.")]
    Token(token::TokenArgs),
    /// Copy the data folder to a backup, beside a running server
    #[command(after_help = "\
Example, from cron:
  cowrite backup --data /var/lib/cowrite /mnt/backup/cowrite --keep 30d

Everything that was saved before the command began is in the backup. TARGET holds each file once;
a run adds what is new and a list of what belongs to it. What is copied is checked: damaged
documents are named, and the exit code is 1. A server on it may run.

In a bucket it is the same: cowrite backup --data /var/lib/cowrite s3://my-bucket/cowrite. Keys and
the endpoint come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
AWS_ENDPOINT_URL; docs/operating.md has those of Google and Azure.")]
    Backup(operator::BackupArgs),
    /// Make a data folder from a backup
    #[command(after_help = "\
Examples:
  cowrite restore /mnt/backup/cowrite --data /var/lib/cowrite-new
      what the newest run holds
  cowrite restore /mnt/backup/cowrite --data ./friday --at 2026-11-20T17:00:00Z
      each document as it was at that time

The data folder must be empty or not there. Each run can be restored (`cowrite verify TARGET --all`
lists them); a time between runs, when the server keeps its history that long (--keep-history of
`serve`). Otherwise the documents of which something may be missing are named, and nothing is
restored.")]
    Restore(operator::RestoreArgs),
    /// Read everything and say which documents are damaged
    #[command(after_help = "\
Works beside a running server, and changes nothing. Exit code 1 when something is damaged.")]
    Verify(operator::VerifyArgs),
    /// Copy all documents from a data folder or a database to another
    #[command(after_help = "\
Examples:
  cowrite copy --from /var/lib/cowrite --to postgres://cowrite@db/cowrite
      from one machine to Postgres (run `cowrite db init` there first)
  cowrite copy --from postgres://cowrite@db/cowrite --to ./data
      and back

Positions, times and authors stay. Each document is read as of one moment, also while servers run on
the source; a folder that is copied to must have none. What was copied is read back and compared.
A document that is there already gets what it lacks, if all that it holds is in the source, and is
refused and named otherwise: so the command can be repeated, and brings what is new. Exit code 1
when a document was not copied.")]
    Copy(operator::CopyArgs),
    /// Make or upgrade the tables of a database
    #[cfg(feature = "postgres")]
    #[command(arg_required_else_help = true, disable_help_subcommand = true)]
    Db {
        #[command(subcommand)]
        command: operator::DbArgs,
    },
    /// List the servers on a database: which of them live, and how many documents each has
    #[cfg(feature = "postgres")]
    #[command(after_help = "\
living: it was seen in the last five seconds. draining: it is stopping. dead: others take its
documents. A server that has stopped is not listed; one that is dead, for a day.")]
    Nodes(operator::NodesArgs),
    /// Move in from another server: Hocuspocus, y-sweet, y-websocket, or files
    #[cfg(feature = "import")]
    #[command(after_help = "\
Examples:
  cowrite import ./db.sqlite --data /var/lib/cowrite
      into a data folder on which no server runs; it is made when it is not there
  COWRITE_TOKEN=$(cowrite token ...) cowrite import ./y-sweet --to ws://127.0.0.1:8080
      to a running server, as one of its clients: done is what the server has saved

Nothing is written into SOURCE. A document that is there already is left alone, unless it is a part
of the one in SOURCE; so the command can be repeated, and brings what is new. What was not imported
is told with its reason, and the exit code is 1. docs/moving-in.md goes through it.")]
    Import(operator::ImportArgs),
    /// List, export, import or delete documents
    #[command(arg_required_else_help = true, disable_help_subcommand = true)]
    Doc {
        #[command(subcommand)]
        command: operator::DocArgs,
    },
}

/// Refuses `COWRITE_…` variables that no setting has.
fn check_environment(names: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    let cli = Cli::command();
    let arguments = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    let known: Vec<&str> = arguments
        .filter_map(clap::Arg::get_env)
        .filter_map(OsStr::to_str)
        .collect();

    for name in names {
        let name = name.to_string_lossy();
        if !name.starts_with("COWRITE_") || known.contains(&&*name) {
            continue;
        }
        let nearest = near::variable(&name, &known);
        return Err(format!(
            "the environment variable {name} is no setting of cowrite: did you mean {nearest}?"
        ));
    }
    Ok(())
}

/// Clap's several paragraphs as one sentence; help and version as they are.
fn stop(error: &clap::Error, arguments: &[OsString]) -> Stop {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return Stop::Told(text),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return Stop::NoCommand(text),
        _ => {}
    }
    if let Some(sentence) = near::sentence(error, arguments) {
        return Stop::Usage(sentence);
    }
    let said = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let said: Vec<&str> = said.map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut sentence = String::new();
    for line in said {
        let joint = if sentence.is_empty() || sentence.ends_with(':') {
            " "
        } else {
            "; "
        };
        sentence.push_str(joint);
        sentence.push_str(line.strip_prefix("error: ").unwrap_or(line));
    }
    Stop::Usage(sentence.trim_start().to_owned())
}

#[cfg(test)]
mod tests;
