//! The PROXY protocol, version 2: whom a proxy speaks for, said before the first byte of a connection.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>, section 2.2.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Addresses take 36 bytes at most; what a proxy adds to them (names, certificates) is read and not looked at.
const REST_BYTES_MAX: usize = 4 * 1024;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP_V4: u8 = 0x11;
const TCP_V6: u8 = 0x21;

/// Reads the header, and not one byte behind it. `None`: the proxy speaks for itself, or for something without an address.
///
/// # Errors
/// The connection does not begin with one, or ends within it.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 16];
    stream.read_exact(&mut head).await?;
    let (signature, [command, family, high, low]) = head.split_at(12) else {
        return Err(none());
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if signature != SIGNATURE || length > REST_BYTES_MAX {
        return Err(none());
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match (*command, *family) {
        (LOCAL, _) => Ok(None),
        (PROXY, TCP_V4) => address::<4>(&rest, |octets| Ipv4Addr::from(octets).into()),
        (PROXY, TCP_V6) => address::<16>(&rest, |octets| Ipv6Addr::from(octets).into()),
        (PROXY, _) => Ok(None),
        _ => Err(none()),
    }
}

/// The source's address and port: both addresses come first, then both ports.
fn address<const N: usize>(rest: &[u8], of: impl FnOnce([u8; N]) -> IpAddr) -> io::Result<Option<SocketAddr>> {
    let (octets, rest) = rest.split_first_chunk::<N>().ok_or_else(none)?;
    let Some([high, low, _, _]) = rest.get(N..).and_then(|ports| ports.first_chunk()) else {
        return Err(none());
    };
    let port = u16::from_be_bytes([*high, *low]);
    Ok(Some(SocketAddr::new(of(*octets), port)))
}

fn none() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a connection did not begin with the PROXY protocol, version 2",
    )
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    /// What is read of `bytes`, and what is left of them.
    fn read_all(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, usize) {
        let mut bytes = bytes;
        let read = read(&mut bytes).now_or_never().expect("nothing to wait for");
        (read, bytes.len())
    }

    #[test]
    fn l51_the_proxy_says_whom_it_speaks_for() {
        let v4 = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x67, 0x1F, 0x90];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().expect("an address").octets());
        v6[32..34].copy_from_slice(&80_u16.to_be_bytes());
        let mut with_more = v4.to_vec();
        with_more.extend([4, 0, 1, 0]);
        for (bytes, expected) in [
            (header(PROXY, TCP_V4, &v4), Some("203.0.113.7:4711")),
            (header(PROXY, TCP_V4, &with_more), Some("203.0.113.7:4711")),
            (header(PROXY, TCP_V6, &v6), Some("[2001:db8::7]:80")),
            (header(LOCAL, 0, &[]), None),
            (header(PROXY, 0x31, &[0; 216]), None),
        ] {
            let (read, left) = read_all(&[&bytes[..], b"GET /"].concat());
            let expected = expected.map(|address| address.parse().expect("an address"));
            assert_eq!(read.expect("a header"), expected);
            assert_eq!(left, 5, "what follows is not touched");
        }
    }

    #[test]
    fn l51_what_does_not_begin_so_is_no_connection() {
        let too_long = [SIGNATURE, &[PROXY, TCP_V4, 0xFF, 0xFF][..]].concat();
        for bytes in [
            b"GET /ws/a HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\r\n".to_vec(),
            header(PROXY, TCP_V4, &[1; 11]),
            header(PROXY, TCP_V6, &[1; 12]),
            header(0x11, TCP_V4, &[1; 12]),
            header(PROXY, TCP_V4, &[1; 12])[..20].to_vec(),
            too_long,
        ] {
            assert!(read_all(&bytes).0.is_err(), "{bytes:?}");
        }
    }
}
