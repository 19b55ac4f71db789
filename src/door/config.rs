//! `[c2s]`: where clients come in, and what they may do there.

use std::net::{Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::net::network::Network;
use crate::units::{Size, Span};
use crate::xmpp::jid::Domain;

/// The section `[c2s]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses for streams that start plain and change to TLS (STARTTLS).
    pub listen: Vec<SocketAddr>,
    /// Addresses for streams inside TLS from the first byte (XEP-0368).
    pub direct_tls_listen: Vec<SocketAddr>,
    /// Whether a client must use TLS. Off: for a closed network only; then
    /// passwords are still never taken as plain text outside TLS.
    pub require_tls: bool,
    /// From the accepted connection to the bound session.
    pub negotiation_timeout: Span,
    /// Wrong passwords on one stream; the next closes it (RFC 6120 §6.4.5
    /// wants 2 to 5).
    pub authentication_attempts_max: u32,
    /// Connections of this node; more wait in the kernel.
    pub connections_max: usize,
    /// Where clients can reach this very node, past all balancers: told to
    /// those that another node wants to leave (RFC 6120 §4.9.3.19). Without
    /// it, nobody is sent here by name.
    pub public_address: Option<PublicAddress>,
    /// One stanza of a client that has authenticated (RFC 6120 §13.12: at
    /// least 10,000 bytes).
    pub stanza_bytes_max: Size,
    /// One element before that.
    pub unauthenticated_bytes_max: Size,
    /// Elements within one another.
    pub depth_max: u16,
    /// Attributes of one tag.
    pub attributes_max: u16,
    /// What waits for a client that does not read. One byte more closes its
    /// stream with `resource-constraint`, and what waited is delivered
    /// elsewhere or bounced.
    pub outbox_bytes_max: Size,
    /// How long a client may let us wait while we write to it.
    pub write_timeout: Span,
    /// Where load balancers come in that say whose connection it is.
    pub proxy_protocol: ProxyProtocol,
    /// What one client address may do.
    pub per_address: PerAddress,
}

/// The section `[c2s.proxy_protocol]`: listeners of their own, for balancers
/// alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyProtocol {
    /// As `listen` of `[c2s]`.
    pub listen: Vec<SocketAddr>,
    /// As `direct_tls_listen` of `[c2s]`.
    pub direct_tls_listen: Vec<SocketAddr>,
    /// Where the balancers are. Whoever comes from elsewhere is not served.
    pub trusted: Vec<Network>,
}

/// The section `[c2s.per_address]`: limits for each client address (of IPv6
/// each network of 64 bits), on each node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerAddress {
    /// Connections at a time.
    pub connections_max: u32,
    /// Connections a second, of which ten seconds can be saved up. A wrong
    /// password counts as ten.
    pub attempts_max: u32,
    /// Networks without these limits.
    pub exempt: Vec<Network>,
}

/// A host with or without a port, as a stream error names it: an IPv6 address
/// stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicAddress(String);

/// A text that names no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a host or an address, with or without a port: \"node1.example.org:5222\"")]
pub struct NoPlace;

impl PublicAddress {
    /// As it is said on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PublicAddress {
    type Error = NoPlace;

    fn try_from(text: String) -> Result<Self, NoPlace> {
        let host = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                port.parse::<u16>().ok().filter(|port| *port > 0).ok_or(NoPlace)?;
                host
            }
            _ => &text,
        };
        let is_place = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
            None => Domain::parse(host).is_ok() && !host.contains(':'),
        };
        if is_place { Ok(Self(text)) } else { Err(NoPlace) }
    }
}

impl From<PublicAddress> for String {
    fn from(address: PublicAddress) -> Self {
        address.0
    }
}

/// Networks that are not of the internet (RFC 1918, RFC 4193, and a machine
/// itself): there a balancer stands that hides its clients, or a network that
/// looks after itself.
const PRIVATE: [&str; 6] =
    ["127.0.0.0/8", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

impl Default for PerAddress {
    fn default() -> Self {
        // guesses: above what a large office or a carrier's gateway has
        Self {
            connections_max: 1_000,
            attempts_max: 50,
            exempt: PRIVATE.iter().filter_map(|network| network.parse().ok()).collect(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0; 8], 5222))],
            direct_tls_listen: vec![SocketAddr::from(([0; 8], 5223))],
            require_tls: true,
            negotiation_timeout: Span::seconds(30),
            authentication_attempts_max: 5,
            connections_max: 100_000,
            public_address: None,
            stanza_bytes_max: Size::kibibytes(256),
            unauthenticated_bytes_max: Size::kibibytes(16),
            depth_max: 64,
            attributes_max: 64,
            outbox_bytes_max: Size::kibibytes(1024),
            write_timeout: Span::seconds(60),
            proxy_protocol: ProxyProtocol::default(),
            per_address: PerAddress::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_is_a_place_that_clients_can_be_sent_to() {
        let read = |text: &str| PublicAddress::try_from(text.to_owned()).is_ok();
        for text in [
            "node1.example.org",
            "node1.example.org:5222",
            "192.0.2.1:5222",
            "[2001:db8::1]:5222",
            "[2001:db8::1]",
        ] {
            assert!(read(text), "{text}");
        }
        for text in
            ["", ":5222", "host:", "host:0", "host:65536", "2001:db8::1", "[host]:1", "a b", "a/b"]
        {
            assert!(!read(text), "{text}");
        }
    }

    #[test]
    fn all_private_networks_are_networks() {
        assert_eq!(PerAddress::default().exempt.len(), PRIVATE.len());
    }
}
