//! What makes a server one of several on a database.

use clap::{Args, builder::BoolishValueParser};

use super::Cluster;
use crate::nodes::ClusterSecret;

#[derive(Args)]
#[command(next_help_heading = "Network and storage")]
pub(super) struct ClusterArgs {
    /// Makes this server one of several on the database: where the others reach it, and where it listens for them alone. HOST is
    /// an address or name of this machine in a network that only the nodes are in
    #[arg(
        long,
        env = "COWRITE_CLUSTER_ADDRESS",
        hide_env_values = true,
        value_name = "HOST:PORT"
    )]
    cluster_address: Option<String>,

    /// Secret of 32 bytes or more that all servers on the database have; `openssl rand -hex 32` makes one. Other users of the
    /// machine see flags: prefer the variable
    #[arg(long, env = "COWRITE_CLUSTER_SECRET", hide_env_values = true, value_name = "SECRET")]
    cluster_secret: Option<String>,

    /// At fly.io: whether its proxy is asked to bring a WebSocket to the machine of its document, before this server carries
    /// it there; needs a proxy of fly.io in front of all servers
    #[arg(
        long,
        env = "COWRITE_FLY_REPLAY",
        hide_env_values = true,
        value_name = "BOOL",
        default_value = "true",
        value_parser = BoolishValueParser::new(),
        action = clap::ArgAction::Set
    )]
    fly_replay: bool,
}

/// Where fly.io says which machine this is.
const FLY_MACHINE: &str = "FLY_MACHINE_ID";

impl ClusterArgs {
    /// Parsed here, since what clap says of a value shows it.
    pub(super) fn cluster(self, has_database: bool) -> Result<Option<Cluster>, String> {
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        match (given(self.cluster_address), given(self.cluster_secret)) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(
                "--cluster-address needs a secret that all nodes have: set COWRITE_CLUSTER_SECRET, which `openssl rand -hex 32` \
                 makes"
                    .to_owned(),
            ),
            (None, Some(_)) => Err(
                "--cluster-secret is of use with --cluster-address HOST:PORT alone: say where the other nodes reach this one"
                    .to_owned(),
            ),
            (Some(_), Some(_)) if !has_database => Err(
                "--cluster-address is for several servers on one database: set COWRITE_DATABASE_URL, or leave it out".to_owned(),
            ),
            (Some(address), Some(secret)) => Ok(Some(Cluster {
                address: checked(address)?,
                secret: ClusterSecret::parse(&secret).map_err(|why| format!("--cluster-secret: {why}"))?,
                machine: std::env::var(FLY_MACHINE)
                    .ok()
                    .filter(|machine| self.fly_replay && !machine.is_empty()),
            })),
        }
    }
}

/// Others connect to it, so it is one that means the same to them.
fn checked(address: String) -> Result<String, String> {
    let wrong = |why: &str| {
        Err(format!(
            "--cluster-address {address}: {why}; write HOST:PORT as the other nodes reach this one, like 10.0.0.5:7070"
        ))
    };
    let Some((host, port)) = address.rsplit_once(':') else {
        return wrong("it has no port");
    };
    if port.parse::<u16>().is_err() {
        return wrong("its port is none");
    }
    let is_any = |ip: std::net::IpAddr| ip.is_unspecified();
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(ip) if is_any(ip) => wrong("no other machine can connect to that"),
        Ok(std::net::IpAddr::V6(_)) if !host.starts_with('[') => wrong("IPv6 stands in brackets"),
        Err(_) if host.is_empty() || host.contains([':', '/', ' ']) => wrong("its host is none"),
        _ => Ok(address),
    }
}
