//! Whose address a request comes from: the socket's peer, or who a trusted proxy says that it speaks for.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use actix_web::http::header::{HeaderMap, HeaderName};

/// Header in which each proxy adds whom it speaks for, at the end.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Headers that nobody but a proxy sends, as a rule.
const OF_PROXIES: [&str; 6] = [
    FORWARDED_FOR,
    "forwarded",
    "x-real-ip",
    "fly-client-ip",
    "cf-connecting-ip",
    "true-client-ip",
];

/// Which words about addresses are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustProxy {
    /// One address, in this header.
    Header(HeaderName),
    /// The address that stands so many places from the right in X-Forwarded-For, beginning with 1: one for each proxy.
    ForwardedFor(usize),
    /// What the PROXY protocol, version 1 or 2, says at the beginning of each connection.
    Protocol,
}

/// How a proxy is named in the settings.
impl FromStr for TrustProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        let (name, places) = text.split_once('=').unwrap_or((&text, "1"));
        match (name, places.parse()) {
            (FORWARDED_FOR, Ok(places @ 1..=16)) => Ok(Self::ForwardedFor(places)),
            ("proxy-protocol", _) if name == text => Ok(Self::Protocol),
            (name, _) if name == text && name != FORWARDED_FOR && name != "forwarded" => {
                HeaderName::from_str(name).map(Self::Header).map_err(|_| HOW.to_owned())
            }
            _ => Err(HOW.to_owned()),
        }
    }
}

const HOW: &str = "write the header in which the proxy says one address, like fly-client-ip, x-forwarded-for=N for the N-th \
                   from the right, or proxy-protocol";

impl fmt::Display for TrustProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => name.fmt(f),
            Self::ForwardedFor(places) => write!(f, "{FORWARDED_FOR}={places}"),
            Self::Protocol => f.write_str("proxy-protocol"),
        }
    }
}

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Of this address.
    Address(IpAddr),
    /// Of a process on this machine, or of a proxy in a private network that nobody said may be believed: it may speak
    /// for everybody.
    Anybody,
}

/// What is strange about where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strange {
    /// A proxy seems to stand in front, and none is trusted.
    NotTrusted,
    /// The trusted proxy did not say whom it speaks for.
    NotSaid,
}

/// Whose request it is that has these headers and came from `peer`. With a trusted proxy nobody must get past it: what it
/// would say can be said by anybody.
#[must_use]
pub fn of_request(
    trusted: Option<&TrustProxy>,
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
) -> (Peer, Option<Strange>) {
    let peer = peer.map(|peer| peer.ip().to_canonical());
    let of_peer = match peer {
        Some(address) if !address.is_loopback() => Peer::Address(address),
        _ => Peer::Anybody,
    };
    let said = match trusted {
        None if !is_forwarded(headers) => return (of_peer, None),
        None => {
            let is_near = peer.is_none_or(is_private);
            return (if is_near { Peer::Anybody } else { of_peer }, Some(Strange::NotTrusted));
        }
        Some(TrustProxy::Protocol) => return (of_peer, None),
        Some(TrustProxy::Header(name)) => texts(headers, name.as_str()).pop(),
        Some(TrustProxy::ForwardedFor(places)) => {
            let texts = texts(headers, FORWARDED_FOR);
            let mut all: Vec<&str> = texts.iter().flat_map(|text| text.split(',')).collect();
            all.reverse();
            all.get(places - 1).map(|text| (*text).to_owned())
        }
    };
    match said.as_deref().and_then(address) {
        Some(address) => (Peer::Address(address), None),
        // Who gets the proxy to say nothing is not free of limits: the proxy counts.
        None => (peer.map_or(Peer::Anybody, Peer::Address), Some(Strange::NotSaid)),
    }
}

/// Whether a proxy has added something to a request, or somebody who wants to look like one.
fn is_forwarded(headers: &HeaderMap) -> bool {
    OF_PROXIES.iter().any(|name| headers.contains_key(*name))
}

/// All values of a header. What is no text in one of them spoils nothing else of it.
fn texts(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name);
    values
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

/// An address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text
        .parse()
        .or_else(|_| text.parse().map(|with_port: SocketAddr| with_port.ip()));
    address.map(|address| address.to_canonical()).ok()
}

/// Whether an address is of a network that belongs to somebody, and not to the internet.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        // 100.64.0.0/10 is what providers share out behind their own NAT, and overlays such as Tailscale use.
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || (a == 100 && b & 0xC0 == 64)
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn trust(text: &str) -> TrustProxy {
        text.parse().expect("a proxy")
    }

    fn peer_of(trusted: Option<&str>, peer: &str, headers: &[(&str, &str)]) -> (Peer, Option<Strange>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_str(name).expect("a name");
            map.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        let peer = SocketAddr::new(peer.parse().expect("an address"), 1_234);
        of_request(trusted.map(trust).as_ref(), Some(peer), &map)
    }

    fn is(address: &str) -> Peer {
        Peer::Address(address.parse().expect("an address"))
    }

    #[test]
    fn l39_without_a_trusted_proxy_the_peer_counts_whatever_headers_say() {
        let lie = [("x-forwarded-for", "1.2.3.4"), ("fly-client-ip", "1.2.3.4")];
        assert_eq!(peer_of(None, "203.0.113.7", &[]), (is("203.0.113.7"), None));
        assert_eq!(
            peer_of(None, "203.0.113.7", &lie),
            (is("203.0.113.7"), Some(Strange::NotTrusted))
        );
        assert_eq!(
            peer_of(Some("proxy-protocol"), "203.0.113.7", &lie).0,
            is("203.0.113.7")
        );
    }

    #[test]
    fn l39_the_header_that_is_trusted_counts_and_no_other() {
        let fly = Some("Fly-Client-IP");
        let says = |headers| peer_of(fly, "172.16.0.1", headers);
        assert_eq!(says(&[("fly-client-ip", "203.0.113.7")]), (is("203.0.113.7"), None));
        assert_eq!(says(&[("fly-client-ip", "2001:db8::1")]), (is("2001:db8::1"), None));
        assert_eq!(
            says(&[("fly-client-ip", "6.6.6.6"), ("fly-client-ip", "203.0.113.7")]),
            (is("203.0.113.7"), None),
            "what a proxy adds stands behind what it was sent"
        );
        let nothing_said = (is("172.16.0.1"), Some(Strange::NotSaid));
        assert_eq!(says(&[("x-forwarded-for", "6.6.6.6")]), nothing_said);
        assert_eq!(says(&[("fly-client-ip", "unknown")]), nothing_said);
    }

    #[test]
    fn l39_forwarded_addresses_count_from_the_right() {
        let says = |places, headers| peer_of(Some(places), "10.0.0.1", headers).0;
        let forged = [("X-Forwarded-For", "6.6.6.6, 203.0.113.7")];
        assert_eq!(says("x-forwarded-for", &forged), is("203.0.113.7"));
        let two = [("X-Forwarded-For", "6.6.6.6, 203.0.113.7:4711,10.0.0.9")];
        assert_eq!(says("x-forwarded-for=2", &two), is("203.0.113.7"));
        let lines = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "[2001:db8::1]:80")];
        assert_eq!(says("x-forwarded-for=1", &lines), is("2001:db8::1"));
        assert_eq!(says("x-forwarded-for=3", &lines), is("10.0.0.1"));
    }

    #[test]
    fn l39_what_is_no_text_in_a_header_frees_nobody() {
        let mut map = HeaderMap::new();
        let value = HeaderValue::from_bytes(b"\xff, 203.0.113.7").expect("a value");
        map.append(HeaderName::from_static(FORWARDED_FOR), value);
        let proxy = SocketAddr::new("127.0.0.1".parse().expect("an address"), 1_234);
        let says = |places| of_request(Some(&trust(places)), Some(proxy), &map).0;

        assert_eq!(says("x-forwarded-for"), is("203.0.113.7"));
        assert_eq!(says("x-forwarded-for=2"), is("127.0.0.1"), "the proxy counts");
    }

    #[test]
    fn l42_who_may_speak_for_everybody_is_not_counted() {
        let forwarded = [("x-forwarded-for", "203.0.113.7")];
        assert_eq!(peer_of(None, "127.0.0.1", &[]), (Peer::Anybody, None));
        assert_eq!(peer_of(None, "::1", &[]), (Peer::Anybody, None));
        let behind = (Peer::Anybody, Some(Strange::NotTrusted));
        assert_eq!(peer_of(None, "127.0.0.1", &forwarded), behind);
        for proxy in [
            "10.1.2.3",
            "172.17.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "fdaa::1",
            "fe80::1",
        ] {
            assert_eq!(peer_of(None, proxy, &forwarded), behind, "{proxy}");
            assert_eq!(peer_of(None, proxy, &[]), (is(proxy), None), "{proxy}");
        }
        assert_ne!(peer_of(None, "100.128.0.1", &forwarded), behind);
    }

    #[test]
    fn c3_a_proxy_that_is_none_is_refused() {
        for text in [
            "",
            "x-forwarded-for=0",
            "x-forwarded-for=17",
            "x-forwarded-for=",
            "forwarded",
            "fly-client-ip=2",
            "proxy-protocol=2",
            "a header",
        ] {
            assert!(text.parse::<TrustProxy>().is_err(), "{text}");
        }
        assert_eq!(trust("X-Forwarded-For"), TrustProxy::ForwardedFor(1));
        assert_eq!(trust("proxy-protocol"), TrustProxy::Protocol);
        assert_eq!(trust("X-Real-IP").to_string(), "x-real-ip");
    }
}
