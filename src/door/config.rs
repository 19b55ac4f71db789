//! `[c2s]`: where clients come in, and what they may do there.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::units::{Size, Span};

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
            stanza_bytes_max: Size::kibibytes(256),
            unauthenticated_bytes_max: Size::kibibytes(16),
            depth_max: 64,
            attributes_max: 64,
            outbox_bytes_max: Size::kibibytes(1024),
            write_timeout: Span::seconds(60),
        }
    }
}
