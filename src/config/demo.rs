//! `cowrite demo`: the settings of `serve`, for a server that its own page may kill.

use std::{ffi::OsString, net::SocketAddr};

use clap::Args;

use super::{
    Admission, Command, ServeConfig,
    serve::{ServeArgs, listen_address},
    values::{LISTEN, is_loopback, listen},
};

/// Why it refuses what `serve` takes.
const WHY: &str = "`cowrite demo` lets whoever opens its page kill the server";
const INSTEAD: &str = "`cowrite serve` runs it for others";

/// A server that a supervisor starts.
#[derive(Debug)]
pub struct Demo {
    /// Its settings.
    pub config: ServeConfig,
    /// The same, as arguments.
    pub settings: Vec<OsString>,
}

#[derive(Args)]
pub(super) struct DemoArgs {
    /// Where the server listens that a supervisor at stdin has started
    #[arg(long, hide = true, value_name = "ADDR:PORT", value_parser = listen)]
    supervised: Option<SocketAddr>,

    #[command(flatten)]
    serve: ServeArgs,
}

impl DemoArgs {
    /// The supervisor, or the server that it has started. `settings` is what follows `demo`.
    pub(super) fn command(self, settings: &[OsString]) -> Result<Command, String> {
        let listen = listen_address(self.serve.listen, self.serve.port)?;
        if self.serve.allow_anonymous || !is_loopback(listen) {
            return Err(format!(
                "{WHY}, so it listens on this machine alone: leave --allow-anonymous out and let --listen be a loopback \
                 address like {LISTEN}; {INSTEAD}"
            ));
        }
        let config = ServeConfig::try_from(self.serve)?;
        if let Admission::Tokens(_) = config.admission {
            return Err(format!(
                "{WHY}, so it takes no JWT key and no server token: leave them out; {INSTEAD}"
            ));
        }
        Ok(match self.supervised {
            Some(listen) => Command::Serve(Box::new(ServeConfig {
                listen,
                is_supervised: true,
                ..config
            })),
            None => Command::Demo(Box::new(Demo {
                config,
                settings: settings.to_vec(),
            })),
        })
    }
}
