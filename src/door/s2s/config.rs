//! `[s2s]`: where other servers come in, and what they may do there.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::door::config::{PerAddress, ProxyProtocol};
use crate::units::{Size, Span};
use crate::xml::limits::Limits;

/// The section `[s2s]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses for streams that start plain and change to TLS (STARTTLS).
    pub listen: Vec<SocketAddr>,
    /// Addresses for streams inside TLS from the first byte (XEP-0368).
    pub direct_tls_listen: Vec<SocketAddr>,
    /// From the accepted connection to a proof of who it is.
    pub negotiation_timeout: Span,
    /// Connections of this node; more wait in the kernel.
    pub connections_max: usize,
    /// One stanza of a server that has proved who it is.
    pub stanza_bytes_max: Size,
    /// One element before that.
    pub unauthenticated_bytes_max: Size,
    /// Elements within one another.
    pub depth_max: u16,
    /// Attributes of one tag.
    pub attributes_max: u16,
    /// Where load balancers come in that say whose connection it is.
    pub proxy_protocol: ProxyProtocol,
    /// What one address may do.
    pub per_address: PerAddress,
}

impl Config {
    /// What one stanza of a server may be that has proved who it is.
    pub fn limits(&self) -> Limits {
        Limits {
            stanza_bytes_max: self.stanza_bytes_max.bytes(),
            depth_max: self.depth_max,
            attributes_max: self.attributes_max,
            ..Limits::client()
        }
    }

    /// Keys with their values, and between which these may lie.
    pub fn bounds(&self) -> Vec<(&'static str, u64, RangeInclusive<u64>)> {
        let millis = u64::try_from(self.negotiation_timeout.get().as_millis()).unwrap_or(u64::MAX);
        let bytes = |size: Size| size.bytes() as u64;
        let per_address = &self.per_address;
        vec![
            ("s2s.negotiation_timeout", millis, 100..=600_000),
            ("s2s.connections_max", self.connections_max as u64, 1..=10_000_000),
            // RFC 6120 §13.12 wants 10,000 bytes at least
            ("s2s.stanza_bytes_max", bytes(self.stanza_bytes_max), 10_000..=64 << 20),
            (
                "s2s.unauthenticated_bytes_max",
                bytes(self.unauthenticated_bytes_max),
                4_096..=1 << 20,
            ),
            ("s2s.depth_max", u64::from(self.depth_max), 8..=1_000),
            ("s2s.attributes_max", u64::from(self.attributes_max), 8..=1_000),
            (
                "s2s.per_address.connections_max",
                u64::from(per_address.connections_max),
                1..=10_000_000,
            ),
            ("s2s.per_address.attempts_max", u64::from(per_address.attempts_max), 1..=1_000_000),
        ]
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0; 8], 5269))],
            direct_tls_listen: vec![SocketAddr::from(([0; 8], 5270))],
            negotiation_timeout: Span::seconds(30),
            connections_max: 20_000,
            // as Prosody's and ejabberd's
            stanza_bytes_max: Size::kibibytes(512),
            unauthenticated_bytes_max: Size::kibibytes(16),
            depth_max: 64,
            attributes_max: 64,
            proxy_protocol: ProxyProtocol::default(),
            per_address: PerAddress::default(),
        }
    }
}
