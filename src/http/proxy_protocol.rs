//! The PROXY protocol, version 1 (a line of text) and 2: whom a proxy speaks for, said before the first byte of a connection.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>, sections 2.1 and 2.2.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How a line of version 1 begins. It has 107 bytes at most with its end, and no fewer than 15.
const TEXT: &[u8] = b"PROXY ";
const TEXT_BYTES_MAX: usize = 107;

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
    // As much as both versions have.
    let mut first = [0; SIGNATURE.len()];
    stream.read_exact(&mut first).await?;
    if first.starts_with(TEXT) {
        return read_text(first.to_vec(), stream).await;
    }
    if first != *SIGNATURE {
        return Err(none());
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [command, family, high, low] = &head;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > REST_BYTES_MAX {
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

/// Reads the rest of a line that begins with `line`.
async fn read_text(mut line: Vec<u8>, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    while !line.ends_with(b"\n") {
        if line.len() == TEXT_BYTES_MAX {
            return Err(none());
        }
        // What follows is not ours.
        line.push(stream.read_u8().await?);
    }
    let text = line.strip_prefix(TEXT).and_then(|line| line.strip_suffix(b"\r\n"));
    let text = text.and_then(|text| std::str::from_utf8(text).ok()).ok_or_else(none)?;
    let mut words = text.split(' ');
    let family = words.next();
    // Whatever follows it.
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let words: Vec<_> = words.collect();
    let [source, target, source_port, target_port] = words[..] else {
        return Err(none());
    };
    let address = |text: &str| match family {
        Some("TCP4") => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        Some("TCP6") => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        _ => None,
    };
    let read = (address(source), port(source_port), address(target), port(target_port));
    let (Some(address), Some(port), Some(_), Some(_)) = read else {
        return Err(none());
    };
    Ok(Some(SocketAddr::new(address, port)))
}

fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_number)
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
        "a connection did not begin with the PROXY protocol, version 1 or 2",
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
    fn l51_a_line_of_text_says_it_too() {
        let longest = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
        assert!(longest.len() < TEXT_BYTES_MAX);
        let unknown = format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
        assert_eq!(unknown.len(), TEXT_BYTES_MAX);
        for (line, expected) in [
            (
                "PROXY TCP4 203.0.113.7 10.0.0.1 4711 8080\r\n",
                Some("203.0.113.7:4711"),
            ),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n",
                Some("255.255.255.255:65535"),
            ),
            ("PROXY TCP6 2001:db8::7 ::1 80 443\r\n", Some("[2001:db8::7]:80")),
            (&longest, Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN what ever 1\r\n", None),
            (&unknown, None),
        ] {
            let (read, left) = read_all(format!("{line}GET /").as_bytes());
            let expected = expected.map(|address| address.parse().expect("an address"));
            assert_eq!(read.expect(line), expected, "{line}");
            assert_eq!(left, 5, "what follows is not touched");
        }
        for line in [
            "PROXY \r\nGET / HTTP/1.1\r\n",
            "PROXY TCP4\r\n   ",
            "PROXY TCP4 203.0.113.7 10.0.0.1 1 2\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 1 2\r",
            "PROXY TCP4 203.0.113.7 10.0.0.1 1 2 \r\n",
            "PROXY TCP4  203.0.113.7 10.0.0.1 1 2\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 1\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 1 65536\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 +1 2\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 01 2\r\n",
            "PROXY TCP4 203.0.113.07 10.0.0.1 1 2\r\n",
            "PROXY TCP4 2001:db8::7 ::1 1 2\r\n",
            "PROXY TCP6 203.0.113.7 10.0.0.1 1 2\r\n",
            "PROXY UDP4 203.0.113.7 10.0.0.1 1 2\r\n",
            "PROXY tcp4 203.0.113.7 10.0.0.1 1 2\r\n",
            "proxy TCP4 203.0.113.7 10.0.0.1 1 2\r\n",
            "PROXY TCP4 \u{661} 10.0.0.1 1 2\r\n",
            &format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)),
            &format!("PROXY UNKNOWN {}", "x".repeat(1_000)),
        ] {
            let (read, left) = read_all(line.as_bytes());
            assert!(read.is_err(), "{line:?}");
            assert!(line.len() - left <= TEXT_BYTES_MAX, "{line:?}");
        }
    }

    #[test]
    fn l51_what_does_not_begin_so_is_no_connection() {
        let too_long = [SIGNATURE, &[PROXY, TCP_V4, 0xFF, 0xFF][..]].concat();
        for bytes in [
            b"GET /ws/a HTTP/1.1\r\n".to_vec(),
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
