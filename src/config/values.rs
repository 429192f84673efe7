//! Values of settings: addresses, sizes, counts and durations, or what to write instead.

use std::{
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use bytesize::ByteSize;

/// Port and address of a server that was told nothing.
pub(super) const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub(crate) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The sizes are bounded well below what `usize` holds on any machine that runs this.
pub(super) fn as_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("write an IP address and a port, like {LISTEN} or [::]:8080"))
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "write a port from 1 to 65535, or 0 for a free one; --listen takes an address as well".to_owned())
}

pub(super) fn size<const MIN: u64, const MAX: u64>(text: &str) -> Result<u64, String> {
    let ByteSize(bytes) =
        ByteSize::from_str(text).map_err(|_| "write a size like 16MiB, or a number of bytes".to_owned())?;
    if (MIN..=MAX).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("it must be {} to {}", ByteSize(MIN), ByteSize(MAX)))
    }
}

pub(super) fn count<const MAX: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MAX).contains(&count) => Ok(count),
        _ => Err(format!("it must be a number from 1 to {MAX}")),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a duration with its unit, like 30s, 5m or 1h".to_owned())
}
