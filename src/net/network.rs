//! A network of addresses, as an operator names those that are trusted or
//! meant: `10.0.0.0/8`, `fd00::/8`, or one address alone.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

/// A text that is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a network like \"10.0.0.0/8\", or an address")]
pub struct NoNetwork;

impl Network {
    /// Whether it has this address. `::ffff:192.0.2.1` is `192.0.2.1`.
    pub fn has(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let one = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or_else(|_| one()).map(Self).map_err(|_| NoNetwork)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => self.0.addr().fmt(f),
            false => self.0.fmt(f),
        }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The part of an address that one client has at its disposal: of IPv6 a
/// network of 64 bits, for whoever has one address of it has 2^64.
pub fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, address: &str, expected: bool) {
        let network: Network = network.parse().expect("a network");
        assert_eq!(network.has(address.parse().expect("an address")), expected, "{network}");
    }

    #[test]
    fn an_address_is_in_its_network_however_it_is_written() {
        check("10.0.0.0/8", "10.1.2.3", true);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.0.0.0/8", "::1", false);
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("::/0", "2001:db8::1", true);
        check("0.0.0.0/0", "192.0.2.1", true);
    }

    #[test]
    fn it_is_read_as_it_is_written_and_nothing_else_is_one() {
        for text in ["10.0.0.0/8", "192.0.2.1", "fd00::/8", "::1"] {
            assert_eq!(text.parse::<Network>().map(|network| network.to_string()), Ok(text.into()));
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "example.org", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<Network>(), Err(NoNetwork), "{text}");
        }
    }

    #[test]
    fn a_client_of_ipv6_has_a_network() {
        let of = |text: &str| client(text.parse().expect("an address")).to_string();
        assert_eq!(of("2001:db8:0:1::ffff"), "2001:db8:0:1::");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
