//! `[cluster]`: who we are, where others find us, and where we look for them.
//! The paces of the core are `settings`'.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cluster::durable::news;
use crate::cluster::node::NodeName;
use crate::cluster::protocol::Protocol;
use crate::cluster::settings::Settings;
use crate::units::Span;

/// The section `[cluster]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The name of this node: it stays over restarts, and no other node of
    /// the cluster has it. Without one: the name of the host.
    pub name: Option<NodeName>,
    /// Where gossip (UDP) and mesh (TCP) listen.
    pub listen: SocketAddr,
    /// The address that others shall use; the node stays there. Without one:
    /// that of `listen`, or where that is all addresses, the one that this host
    /// uses towards the seeds, and the one in its place when it changes.
    pub advertise: Option<SocketAddr>,
    /// Addresses or names with a port where other nodes may be. A name is
    /// looked up again at every try, and each of its addresses is tried.
    pub seeds: Vec<String>,
    /// The file with the cookie, readable by its owner alone. With two lines
    /// the first is used and both are accepted; a changed file is read again
    /// within seconds. The variable `JABIRU_COOKIE` goes before it.
    pub cookie_file: PathBuf,
    /// The newest protocol that this node speaks with others, 1 or 2. To be
    /// lowered only while nodes of an older version that misbehave are
    /// replaced: each pair of nodes finds the newest that both speak by itself.
    pub protocol_max: u8,
    /// Between two rounds of gossip. 100 ms are good for 20 nodes, 200 ms for
    /// 100, 500 ms for more.
    pub gossip_interval: Span,
    /// When gossip believes a silent node dead: the phi of its failure
    /// detector. 8 was measured to take 0.4 to 0.75 s; 5 gave false alarms.
    pub phi: u8,
    /// The most nodes; further ones are refused.
    pub nodes_max: usize,
    /// A node that cannot be reached is forgotten after so long.
    pub purge_after: Span,
    /// How long it is kept in mind that a durable row was removed. A node that
    /// was away for longer gives up what it has and others have no more.
    pub tombstones_kept: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: None,
            listen: SocketAddr::from(([0, 0, 0, 0], 4369)),
            advertise: None,
            seeds: Vec::new(),
            cookie_file: "cookie".into(),
            protocol_max: Protocol::NEWEST.number(),
            gossip_interval: Span::millis(100),
            phi: 8,
            nodes_max: 256,
            purge_after: Span::seconds(60),
            tombstones_kept: Span::seconds(7 * 86_400),
        }
    }
}

impl Config {
    /// What the durable tables need of this config.
    pub fn durable(&self) -> news::Settings {
        let usual = news::Settings::default();
        let tombstones_kept = self.tombstones_kept.get();
        // who is together must know it long before it counts as away
        let interval = usual.interval.min(tombstones_kept / 8);
        news::Settings { tombstones_kept, interval }
    }

    /// The core's paces for this config.
    pub fn settings(&self) -> Settings {
        Settings {
            confirmation: self.gossip_interval.get() * 3 / 2,
            nodes_max: self.nodes_max,
            purge_after: self.purge_after.get(),
            ..Settings::default()
        }
    }
}
