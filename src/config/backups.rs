//! When and where a server backs its data folder up.

use std::time::Duration;

use clap::Args;

use super::values::duration;
use crate::operator::schedule::{EVERY_MIN, Plan};

#[derive(Args)]
pub(super) struct BackupsArgs {
    /// Back the data folder up to there, beside serving: a folder, s3://BUCKET/PREFIX, gs://… or az://…, as
    /// `cowrite backup` does
    #[arg(long, env = "COWRITE_BACKUP_TO", hide_env_values = true, value_name = "TARGET")]
    backup_to: Option<String>,

    /// From the beginning of one run to that of the next, 5s at least
    #[arg(long, env = "COWRITE_BACKUP_EVERY", hide_env_values = true, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    backup_every: Duration,

    /// Remove runs that were begun longer ago, and what only they need [default: keep all]
    #[arg(long, env = "COWRITE_BACKUP_KEEP", hide_env_values = true, value_name = "DURATION", value_parser = duration)]
    backup_keep: Option<Duration>,
}

impl BackupsArgs {
    pub(super) fn plan(self, is_in_database: bool) -> Result<Option<Plan>, String> {
        let Some(to) = self.backup_to.filter(|to| !to.is_empty()) else {
            return Ok(None);
        };
        let to = to.parse().map_err(|why| format!("--backup-to: {why}"))?;
        if is_in_database {
            return Err(
                "--backup-to copies a data folder, and with --database-url the documents are in the database: back that up"
                    .to_owned(),
            );
        }
        if self.backup_every < EVERY_MIN {
            return Err("--backup-every must be at least 5s".to_owned());
        }
        Ok(Some(Plan {
            to,
            every: self.backup_every,
            keep: self.backup_keep,
        }))
    }
}
