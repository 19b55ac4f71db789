//! What an operator may want to know of another node. It is read, and never
//! decided on.

use std::net::SocketAddr;
use std::time::Duration;

use crate::cluster::core::Core;
use crate::cluster::moment::Moment;
use crate::cluster::node::{LinkId, Node, NodeId, NodeState};
use crate::cluster::peer::{Path, Standing};
use crate::cluster::protocol::Protocol;

/// How another node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By our own connection.
    Direct,
    /// By a neighbour.
    Relay(NodeId),
    /// Not at all.
    None,
}

/// What we know of another node.
#[derive(Debug, Clone)]
pub struct PeerView {
    /// Who.
    pub node: Node,
    /// What it says it is up to.
    pub state: NodeState,
    /// Whether its rows are seen.
    pub is_visible: bool,
    /// Whether gossip believes it alive.
    pub in_gossip: bool,
    /// Since when its rows are hidden; `None`: they are not, or never were
    /// seen.
    pub hidden: Option<Duration>,
    /// Where its mesh listens, if gossip has said so.
    pub address: Option<SocketAddr>,
    /// How we reach it.
    pub way: Way,
    /// What our own connection with it speaks.
    pub protocol: Option<Protocol>,
    /// When we heard anything on our own connection with it.
    pub heard: Option<Duration>,
    /// How many changes of its rows we have.
    pub version: u64,
    /// How many there were when it last said so.
    pub told: Option<u64>,
}

impl PeerView {
    pub(super) fn all(
        core: &Core,
        now: Moment,
        address: impl Fn(NodeId) -> Option<SocketAddr>,
        protocol: impl Fn(LinkId) -> Option<Protocol>,
    ) -> Vec<PeerView> {
        let peers = core.membership.peers.iter().filter(|(_, peer)| peer.left.is_none());
        let known =
            peers.filter(|(_, peer)| peer.gossip.is_some() || peer.standing != Standing::New);
        let view = |(id, peer): (&NodeId, &crate::cluster::peer::Peer)| {
            let link = peer.link.and_then(|link| core.membership.links.get(link));
            PeerView {
                node: peer.node.clone(),
                state: peer.state,
                is_visible: peer.is_visible(),
                in_gossip: peer.gossip.is_some(),
                hidden: match peer.standing {
                    Standing::Hidden { since } => Some(now.since(since)),
                    Standing::New | Standing::Visible | Standing::Forgotten => None,
                },
                address: address(*id),
                way: match peer.path {
                    Path::None => Way::None,
                    Path::Direct(_) => Way::Direct,
                    Path::Relay { by, .. } => Way::Relay(by),
                },
                protocol: peer.link.and_then(&protocol),
                heard: link.map(|link| now.since(link.heard)),
                version: core.replicator.version_of(*id),
                told: peer.told,
            }
        };
        known.map(view).collect()
    }
}
