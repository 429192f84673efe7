//! What each client may take: settings of [`crate::budgets`].

use std::time::Duration;

use clap::Args;

use super::values::{count, duration, size};
use crate::{
    budgets::{Limits, Rate, Whose, pace},
    http::{doorkeeper::Allowed, peer::TrustProxy},
    limits,
};

/// What each client may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// Who says where clients are.
    pub trust_proxy: Option<TrustProxy>,
    /// Connections of one address.
    pub connections_per_address: usize,
    /// Connections of one user.
    pub connections_per_user: usize,
    /// Sessions of one document.
    pub sessions_per_document: usize,
    /// Connections of one address that are not WebSockets.
    pub requests_per_address: usize,
    /// How long a connection may take to ask for something.
    pub request_timeout: Duration,
    /// Handshakes of one address in a second.
    pub handshakes_per_second: usize,
    /// Refusals of one address in a minute that are told in full.
    pub refusals_per_minute: usize,
    /// New documents of one address, and of one user, in a minute.
    pub new_documents_per_minute: usize,
    /// What documents may take that are open for one address, in percent of all memory.
    pub memory_percent_per_address: usize,
    /// The same for one user.
    pub memory_percent_per_user: usize,
    /// Messages of one connection in a second.
    pub messages_per_second: usize,
    /// Messages of one connection in a second that are presence.
    pub presence_per_second: usize,
    /// Bytes of one connection in a second.
    pub received_bytes_per_second: u64,
    /// How much of one thread's time a connection may take, in percent.
    pub cpu_percent: usize,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            trust_proxy: None,
            connections_per_address: limits::CONNECTIONS_PER_ADDRESS,
            connections_per_user: limits::CONNECTIONS_PER_USER,
            sessions_per_document: limits::SESSIONS_PER_DOCUMENT,
            requests_per_address: limits::REQUESTS_PER_ADDRESS,
            request_timeout: Duration::from_millis(limits::REQUEST_TIMEOUT_MS),
            handshakes_per_second: limits::HANDSHAKES_PER_SECOND,
            refusals_per_minute: limits::REFUSALS_PER_MINUTE,
            new_documents_per_minute: limits::NEW_DOCUMENTS_PER_MINUTE,
            memory_percent_per_address: limits::MEMORY_PERCENT_PER_ADDRESS,
            memory_percent_per_user: limits::MEMORY_PERCENT_PER_USER,
            messages_per_second: limits::MESSAGES_PER_SECOND,
            presence_per_second: limits::PRESENCE_PER_SECOND,
            received_bytes_per_second: limits::RECEIVED_BYTES_PER_SECOND,
            cpu_percent: limits::CPU_PERCENT,
        }
    }
}

impl Budgets {
    /// The limits that these numbers mean; `message_bytes_max` is the largest message.
    #[must_use]
    pub fn allowed(&self, message_bytes_max: usize) -> Allowed {
        let address = Limits {
            whose: Whose::Address,
            connections: self.connections_per_address,
            silent: self.requests_per_address,
            // After a restart everybody comes back at once.
            handshakes: Rate::per_second(
                self.handshakes_per_second as u64,
                (2 * self.connections_per_address).max(self.handshakes_per_second) as u64,
            ),
            refusals: Rate::per_minute(self.refusals_per_minute as u64, self.refusals_per_minute as u64),
            documents: Rate::per_minute(
                self.new_documents_per_minute as u64,
                self.new_documents_per_minute as u64,
            ),
            links: Rate::per_minute(limits::LINKS_PER_MINUTE, limits::LINKS_PER_MINUTE),
            memory_percent: self.memory_percent_per_address,
        };
        let user = Limits {
            whose: Whose::User,
            connections: self.connections_per_user,
            memory_percent: self.memory_percent_per_user,
            ..address
        };
        let bytes = self.received_bytes_per_second;
        let of_cpu = self.cpu_percent as u64 * 10_000;
        Allowed {
            proxy: self.trust_proxy.clone(),
            address,
            user,
            pace: pace::Limits {
                messages: per_second(self.messages_per_second),
                presence: per_second(self.presence_per_second),
                bytes: Rate::per_second(
                    bytes,
                    bytes
                        .saturating_mul(limits::PACE_BURST_S)
                        .max(4 * message_bytes_max as u64),
                ),
                cpu: Rate::per_second(of_cpu, of_cpu * limits::PACE_BURST_S),
            },
        }
    }
}

fn per_second(count: usize) -> Rate {
    Rate::per_second(count as u64, count as u64 * limits::PACE_BURST_S)
}

#[derive(Args)]
#[command(next_help_heading = "Limits of each client")]
pub(super) struct BudgetArgs {
    /// Where the proxy in front says whom it speaks for: a header with one address, like fly-client-ip or x-real-ip;
    /// x-forwarded-for=N, the N-th address from the right; or proxy-protocol (version 1 or 2) [default: nobody is believed]
    #[arg(long, env = "COWRITE_TRUST_PROXY", hide_env_values = true, value_name = "HEADER")]
    trust_proxy: Option<TrustProxy>,

    /// Most connections of one address (of IPv6: of 64 bits of it) at one time; more are refused with 429
    #[arg(long, env = "COWRITE_CONNECTIONS_PER_ADDRESS", hide_env_values = true, value_name = "COUNT", default_value = "2000", value_parser = count::<10_000_000>)]
    connections_per_address: usize,

    /// Most connections at one time with tokens of one user; more are closed with 1013
    #[arg(long, env = "COWRITE_CONNECTIONS_PER_USER", hide_env_values = true, value_name = "COUNT", default_value = "500", value_parser = count::<10_000_000>)]
    connections_per_user: usize,

    /// Most sessions of one document at one time; more are closed with 1013
    #[arg(long, env = "COWRITE_SESSIONS_PER_DOCUMENT", hide_env_values = true, value_name = "COUNT", default_value = "5000", value_parser = count::<10_000_000>)]
    sessions_per_document: usize,

    /// Most connections of one address at one time that are not WebSockets; more are closed
    #[arg(long, env = "COWRITE_REQUESTS_PER_ADDRESS", hide_env_values = true, value_name = "COUNT", default_value = "250", value_parser = count::<10_000_000>)]
    requests_per_address: usize,

    /// A connection that has not asked for anything by then is closed
    #[arg(long, env = "COWRITE_REQUEST_TIMEOUT", hide_env_values = true, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    request_timeout: Duration,

    /// Handshakes and requests of one address in a second; twice --connections-per-address of them may come at once, more are
    /// refused with 429
    #[arg(long, env = "COWRITE_HANDSHAKES_PER_SECOND", hide_env_values = true, value_name = "COUNT", default_value = "100", value_parser = count::<10_000_000>)]
    handshakes_per_second: usize,

    /// Connections of one address in a minute that are told why they are refused; more are refused with 429
    #[arg(long, env = "COWRITE_REFUSALS_PER_MINUTE", hide_env_values = true, value_name = "COUNT", default_value = "120", value_parser = count::<10_000_000>)]
    refusals_per_minute: usize,

    /// New documents of one address, and of one user, in a minute; more are closed with 1013
    #[arg(long, env = "COWRITE_NEW_DOCUMENTS_PER_MINUTE", hide_env_values = true, value_name = "COUNT", default_value = "600", value_parser = count::<10_000_000>)]
    new_documents_per_minute: usize,

    /// Percent of --memory-max that the documents may take which are open for one address, each divided among its sessions; from
    /// 70 % of all on, one with more opens no further ones, and from 85 % on its connections are closed with 1013
    #[arg(long, env = "COWRITE_MEMORY_PERCENT_PER_ADDRESS", hide_env_values = true, value_name = "COUNT", default_value = "50", value_parser = count::<100>)]
    memory_percent_per_address: usize,

    /// The same for one user
    #[arg(long, env = "COWRITE_MEMORY_PERCENT_PER_USER", hide_env_values = true, value_name = "COUNT", default_value = "12", value_parser = count::<100>)]
    memory_percent_per_user: usize,

    /// Messages of one connection in a second, and ten times as many at once; what is more is read later
    #[arg(long, env = "COWRITE_MESSAGES_PER_SECOND", hide_env_values = true, value_name = "COUNT", default_value = "2000", value_parser = count::<10_000_000>)]
    messages_per_second: usize,

    /// The same for messages that are presence
    #[arg(long, env = "COWRITE_PRESENCE_PER_SECOND", hide_env_values = true, value_name = "COUNT", default_value = "1000", value_parser = count::<10_000_000>)]
    presence_per_second: usize,

    /// Bytes of one connection in a second, and ten times as many at once; what is more is read later
    #[arg(long, env = "COWRITE_RECEIVED_BYTES_PER_SECOND", hide_env_values = true, value_name = "SIZE", default_value = "8MiB", value_parser = size::<1_024, { 16 << 30 }>)]
    received_bytes_per_second: u64,

    /// Percent of one thread's time that messages of one connection may take; what is more is read later
    #[arg(long, env = "COWRITE_CPU_PERCENT", hide_env_values = true, value_name = "COUNT", default_value = "25", value_parser = count::<100>)]
    cpu_percent: usize,
}

impl From<BudgetArgs> for Budgets {
    fn from(args: BudgetArgs) -> Self {
        Self {
            trust_proxy: args.trust_proxy,
            connections_per_address: args.connections_per_address,
            connections_per_user: args.connections_per_user,
            sessions_per_document: args.sessions_per_document,
            requests_per_address: args.requests_per_address,
            request_timeout: args.request_timeout,
            handshakes_per_second: args.handshakes_per_second,
            refusals_per_minute: args.refusals_per_minute,
            new_documents_per_minute: args.new_documents_per_minute,
            memory_percent_per_address: args.memory_percent_per_address,
            memory_percent_per_user: args.memory_percent_per_user,
            messages_per_second: args.messages_per_second,
            presence_per_second: args.presence_per_second,
            received_bytes_per_second: args.received_bytes_per_second,
            cpu_percent: args.cpu_percent,
        }
    }
}
