//! What makes a server one of several on a database.

use std::net::{IpAddr, SocketAddr};

use clap::{Args, builder::BoolishValueParser};

use super::Cluster;
use crate::nodes::ClusterSecret;

#[derive(Args)]
#[command(next_help_heading = "Network and storage")]
pub(super) struct ClusterArgs {
    /// Makes this server one of several on the database: where the others reach it, and where it listens for them alone. HOST is
    /// an address or name of this machine in a network that only the nodes are in [default at fly.io, with --cluster-secret: its
    /// private address and port 7070]
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

/// Where nodes listen for each other at fly.io, unless it is said.
const PORT_AT_FLY: u16 = 7070;

/// What fly.io tells a machine of itself.
#[derive(Debug, Default)]
pub(super) struct AtFly {
    /// Its name, by which the proxy finds it.
    machine: Option<String>,
    /// Its address in the network of the app's organization.
    private_ip: Option<IpAddr>,
}

impl AtFly {
    /// What the process's environment says; nothing elsewhere.
    pub(super) fn of_environment() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    pub(super) fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let Some(machine) = variable("FLY_MACHINE_ID").filter(|machine| !machine.is_empty()) else {
            return Self::default();
        };
        let private_ip = variable("FLY_PRIVATE_IP").and_then(|address| address.parse().ok());
        Self {
            machine: Some(machine),
            private_ip,
        }
    }

    fn address(&self) -> Option<String> {
        Some(SocketAddr::new(self.private_ip?, PORT_AT_FLY).to_string())
    }
}

impl ClusterArgs {
    /// Parsed here, since what clap says of a value shows it.
    pub(super) fn cluster(self, has_database: bool, at_fly: AtFly) -> Result<Option<Cluster>, String> {
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        let secret = given(self.cluster_secret);
        let own = || at_fly.address().filter(|_| secret.is_some());
        match (given(self.cluster_address).or_else(own), secret) {
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
                machine: at_fly.machine.filter(|_| self.fly_replay),
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
    let is_any = |ip: IpAddr| ip.is_unspecified();
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(ip) if is_any(ip) => wrong("no other machine can connect to that"),
        Ok(IpAddr::V6(_)) if !host.starts_with('[') => wrong("IPv6 stands in brackets"),
        Err(_) if host.is_empty() || host.contains([':', '/', ' ']) => wrong("its host is none"),
        _ => Ok(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn cluster(
        address: Option<&str>,
        secret: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<Option<Cluster>, String> {
        let args = ClusterArgs {
            cluster_address: address.map(str::to_owned),
            cluster_secret: secret.map(str::to_owned),
            fly_replay: true,
        };
        let of = |name: &str| {
            variables
                .iter()
                .find(|(is, _)| *is == name)
                .map(|(_, value)| (*value).to_owned())
        };
        args.cluster(true, AtFly::of(of))
    }

    #[test]
    fn n40_at_fly_a_node_knows_its_own_address() {
        let at_fly = [("FLY_MACHINE_ID", "e2865"), ("FLY_PRIVATE_IP", "fdaa:0:22b7:a7b::3")];
        let address =
            |address, secret, variables: &[_]| cluster(address, secret, variables).map(|it| it.map(|it| it.address));

        let found = cluster(None, Some(SECRET), &at_fly)
            .expect("good")
            .expect("one of several");
        assert_eq!(found.address, "[fdaa:0:22b7:a7b::3]:7070");
        assert_eq!(found.machine.as_deref(), Some("e2865"));
        let said = address(Some("10.0.0.5:1"), Some(SECRET), &at_fly);
        assert_eq!(said, Ok(Some("10.0.0.5:1".to_owned())));
        assert_eq!(address(None, None, &at_fly), Ok(None), "one machine is no node");
        for elsewhere in [&at_fly[1..], &at_fly[..1], &[]] {
            let refused = address(None, Some(SECRET), elsewhere).expect_err("no address");
            assert!(refused.contains("--cluster-address"), "{refused}");
        }
    }
}
