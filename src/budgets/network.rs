//! Which addresses are one client.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Whoever has one address of it can have them all: one IPv4 address, 64 bits of an IPv6 address. Where an IPv6 address only
/// wraps an IPv4 one, that counts: all who come through a translator would be one client, and who has a 6to4 network would be
/// 65,536.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The one that an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V6(address) => match wrapped(address) {
                Some(v4) => v4.into(),
                None => {
                    let [a, b, c, d, ..] = address.segments();
                    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
                }
            },
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// The IPv4 address of whoever an IPv6 address is made for: mapped (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo
/// (RFC 4380, which inverts it).
fn wrapped(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xFFFF, high, low] | [0x64, 0xFF9B, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(v4(high, low))
        }
        [0x2001, 0, _, _, _, _, high, low] => Some(v4(!high, !low)),
        _ => None,
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> String {
        Network::of(address.parse().expect("an address")).to_string()
    }

    #[test]
    fn l59_an_ipv4_address_that_is_wrapped_in_ipv6_counts_as_itself() {
        for address in [
            "::ffff:203.0.113.7",
            "64:ff9b::203.0.113.7",
            "64:ff9b::cb00:7107",
            "2002:cb00:7107::1",
            "2002:cb00:7107:ffff:1:2:3:4",
            "2001:0:4136:e378:8000:63bf:34ff:8ef8",
        ] {
            assert_eq!(of(address), "203.0.113.7", "{address}");
        }
        assert_ne!(of("64:ff9b::203.0.113.8"), of("64:ff9b::203.0.113.7"));
        // What only looks like it.
        assert_eq!(of("64:ff9b:1::203.0.113.7"), "64:ff9b:1::/64");
        assert_eq!(of("2001:1::1"), "2001:1::/64");
        assert_eq!(of("::cb00:7107"), "::/64");
    }

    #[test]
    fn l41_an_ipv4_address_and_64_bits_of_ipv6_are_one_client() {
        assert_eq!(of("203.0.113.7"), "203.0.113.7");
        assert_eq!(of("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(of("2001:db8:1:2:ffff::1"), of("2001:db8:1:2::2"));
        assert_ne!(of("2001:db8:1:3::1"), of("2001:db8:1:2::1"));
    }
}
