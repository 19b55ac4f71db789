//! `[component]`: where components come in, which there are, and what they may
//! do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::door::component::privilege::Privileges;
use crate::door::config::{self, ProxyProtocol};
use crate::net::network::Network;
use crate::units::{Size, Span};
use crate::xmpp::jid::Domain;

/// The section `[component]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses for plain streams. Nobody listens where there is no domain.
    pub listen: Vec<SocketAddr>,
    /// Addresses for streams inside TLS from the first byte.
    pub direct_tls_listen: Vec<SocketAddr>,
    /// From the accepted connection to the proved secret.
    pub negotiation_timeout: Span,
    /// Connections of this node; more wait in the kernel.
    pub connections_max: usize,
    /// One stanza of a component.
    pub stanza_bytes_max: Size,
    /// What waits for a component that does not read. One byte more closes its
    /// stream with `resource-constraint`, and what waited goes to another
    /// instance or comes back. As much is kept of what it was asked and has
    /// not answered.
    pub outbox_bytes_max: Size,
    /// How long a component may let us wait while we write to it.
    pub write_timeout: Span,
    /// Stanzas a second that one stream may send; what comes faster is read
    /// later. 0: any number.
    pub stanzas_per_second_max: u32,
    /// Where load balancers come in that say whose connection it is.
    pub proxy_protocol: ProxyProtocol,
    /// What one address may do.
    pub per_address: PerAddress,
    /// The components, by their domain.
    pub domains: BTreeMap<Domain, Component>,
}

/// The section `[component.per_address]`: limits for each address (of IPv6 each
/// network of 64 bits), on each node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerAddress {
    /// Connections at a time.
    pub connections_max: u32,
    /// Connections a second, of which ten seconds can be saved up. A wrong
    /// secret counts as ten.
    pub attempts_max: u32,
    /// Networks without these limits. None by default: components are on this
    /// machine, or near, and whoever guesses secrets may be as near.
    pub exempt: Vec<Network>,
}

/// One of the sections `[component.domains."…"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Component {
    /// What proves that somebody is this component.
    pub secret: Option<SecretText>,
    /// A file with it; each line is one, and any of them is good.
    pub secret_file: Option<PathBuf>,
    /// A variable of the environment with it.
    pub secret_env: Option<String>,
    /// Other domains that the same stream speaks for.
    pub also: Vec<Domain>,
    /// Whether it speaks for its own domains only. Off: it may speak as
    /// anybody, accounts of ours among them.
    pub check_from: bool,
    /// Of which domains somebody must be to write to it; empty: of any.
    pub reachable_from: BTreeSet<Domain>,
    /// How much instances get beside the others, by their names, 1 to 10.
    pub weights: BTreeMap<String, u8>,
    /// Namespaces of requests, to this server and to its accounts, that it
    /// answers instead (XEP-0355).
    pub delegation: BTreeSet<String>,
    /// What it may do in the name of our accounts.
    pub privileges: Privileges,
}

/// A secret that is in no log.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("..")
    }
}

/// The most that an instance may weigh: each unit is a chance that is looked at
/// for each stanza or bucket. A guess.
pub const WEIGHT_MAX: u8 = 10;

impl Default for PerAddress {
    fn default() -> Self {
        // guesses
        Self { connections_max: 1_000, attempts_max: 50, exempt: Vec::new() }
    }
}

impl From<&PerAddress> for config::PerAddress {
    fn from(limits: &PerAddress) -> Self {
        let PerAddress { connections_max, attempts_max, exempt } = limits.clone();
        Self { connections_max, attempts_max, exempt }
    }
}

impl Default for Component {
    fn default() -> Self {
        Self {
            secret: None,
            secret_file: None,
            secret_env: None,
            also: Vec::new(),
            check_from: true,
            reachable_from: BTreeSet::new(),
            weights: BTreeMap::new(),
            delegation: BTreeSet::new(),
            privileges: Privileges::default(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 5347))],
            direct_tls_listen: Vec::new(),
            negotiation_timeout: Span::seconds(30),
            connections_max: 1_000,
            stanza_bytes_max: Size::kibibytes(512),
            outbox_bytes_max: Size::kibibytes(16 << 10),
            write_timeout: Span::seconds(60),
            stanzas_per_second_max: 0,
            proxy_protocol: ProxyProtocol::default(),
            per_address: PerAddress::default(),
            domains: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Whether anybody may come in.
    pub fn is_open(&self) -> bool {
        !self.domains.is_empty()
    }

    /// All domains, with the section that names them.
    pub fn all_domains(&self) -> impl Iterator<Item = (&Domain, &Component)> {
        self.domains.iter().flat_map(|(domain, component)| {
            std::iter::once(domain).chain(&component.also).map(move |one| (one, component))
        })
    }
}
