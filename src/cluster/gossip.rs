//! Gossip: which nodes are believed alive, by chitchat over our sealed
//! transport. What is made of it is `membership`'s; the tables do not live in
//! it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, NodeState as Keys,
    ProtocolVersion, spawn_chitchat,
};

use crate::cluster::config::Config;
use crate::cluster::keyring::Keyring;
use crate::cluster::node::{Node, NodeId, NodeState, Peer};
use crate::cluster::transport::{Moved, Sealed};
use crate::xmpp::jid::NORMALISER;

/// Clusters that do not mix even under one cookie.
const CLUSTER: &str = "jabiru";

/// A dead node's keys are kept so long, for whoever comes back.
const DEAD_GRACE: Duration = Duration::from_secs(15 * 60);

/// The longest value that a key of ours may have. One above 65 kB would stop
/// this node's gossip for good.
const VALUE_BYTES_MAX: usize = 1024;

mod key {
    pub(super) const MESH: &str = "mesh";
    pub(super) const STATE: &str = "state";
    pub(super) const SOFTWARE: &str = "software";
    pub(super) const NORMALISER: &str = "normaliser";
}

/// Our voice in gossip. It falls silent when this is dropped.
pub(super) struct Gossip {
    chitchat: ChitchatHandle,
    me: NodeId,
    moved: Arc<Moved>,
}

impl Gossip {
    /// Speaks on `socket` as `me`, who is to be found at `address`.
    ///
    /// # Errors
    /// When the codec's sockets on loopback cannot be made.
    pub(super) async fn start(
        config: &Config,
        ring: &Arc<Keyring>,
        me: &Node,
        socket: UdpSocket,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let interval = config.gossip_interval.get();
        let chitchat_config = ChitchatConfig {
            chitchat_id: ChitchatId::new(write_id(me), me.id.generation, address),
            cluster_id: CLUSTER.into(),
            gossip_interval: interval,
            listen_addr: address,
            // a lookup of ours is repeated at every try; chitchat's is not
            seed_nodes: Vec::new(),
            failure_detector_config: FailureDetectorConfig {
                phi_threshold: f64::from(config.phi),
                initial_interval: interval,
                dead_node_grace_period: DEAD_GRACE,
                ..FailureDetectorConfig::default()
            },
            marked_for_deletion_grace_period: DEAD_GRACE,
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V1,
        };
        let keys = [
            (key::MESH, address.to_string()),
            (key::STATE, NodeState::Joining.to_string()),
            (key::SOFTWARE, env!("CARGO_PKG_VERSION").into()),
            (key::NORMALISER, NORMALISER.to_string()),
        ];
        let keys = keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let moved = Arc::<Moved>::default();
        let transport = Sealed::new(socket, ring, me.id, Arc::clone(&moved));
        let chitchat = spawn_chitchat(chitchat_config, keys, &*transport).await?;
        Ok(Self { chitchat, me: me.id, moved })
    }

    /// All nodes that are believed alive, without us.
    pub(super) async fn peers(&self) -> Vec<Peer> {
        let chitchat = self.chitchat.chitchat();
        let chitchat = chitchat.lock().await;
        let live = chitchat.live_nodes().filter_map(|id| Some((id, chitchat.node_state(id)?)));
        let peers = live.filter_map(|(id, keys)| Some((id, read_peer(id, keys)?)));
        let peers: Vec<_> = peers.filter(|(_, peer)| peer.node.id != self.me).collect();
        self.moved.set(peers.iter().map(|(id, peer)| (id.gossip_advertise_addr, peer.address)));
        peers.into_iter().map(|(_, peer)| peer).collect()
    }

    /// Says hello to whoever may be at `address`.
    pub(super) fn greet(&self, address: SocketAddr) {
        // an error says that gossip has ended, which `ended` tells
        let _ = self.chitchat.gossip(address);
    }

    /// Says what we are up to.
    pub(super) async fn publish(&self, state: NodeState) {
        let chitchat = self.chitchat.chitchat();
        let mut chitchat = chitchat.lock().await;
        chitchat.self_node_state().set(key::STATE, state.to_string());
    }

    /// Says that we are to be found elsewhere. Our id in gossip stays as it is,
    /// the former address in it: others send to the one that is published.
    pub(super) async fn publish_address(&self, address: SocketAddr) {
        let chitchat = self.chitchat.chitchat();
        let mut chitchat = chitchat.lock().await;
        chitchat.self_node_state().set(key::MESH, address.to_string());
    }

    /// Waits until gossip has ended: then our view of the others is frozen,
    /// and the process must end.
    pub(super) async fn ended(&self) -> String {
        match self.chitchat.termination_watcher().await {
            Ok(()) => "it was told to".into(),
            Err(error) => error.to_string(),
        }
    }
}

/// A node's id in gossip: its random bits and its name; the generation has a
/// place of its own.
pub(super) fn write_id(node: &Node) -> String {
    format!("{:016x}.{}", node.id.random, node.name)
}

fn read_peer(id: &ChitchatId, keys: &Keys) -> Option<Peer> {
    let (random, name) = id.node_id.split_once('.')?;
    let random = u64::from_str_radix(random, 16).ok()?;
    let address = keys.get(key::MESH).filter(|value| value.len() <= VALUE_BYTES_MAX)?;
    Some(Peer {
        node: Node { id: NodeId::new(id.generation_id, random), name: name.parse().ok()? },
        address: address.parse().ok()?,
        state: keys.get(key::STATE).map(read_state).unwrap_or_default(),
        heartbeat: u64::from(keys.heartbeat()),
    })
}

fn read_state(text: &str) -> NodeState {
    match text {
        "serving" => NodeState::Serving,
        "draining" => NodeState::Draining,
        "leaving" => NodeState::Leaving,
        _ => NodeState::Joining,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        for state in
            [NodeState::Joining, NodeState::Serving, NodeState::Draining, NodeState::Leaving]
        {
            assert_eq!(read_state(&state.to_string()), state);
        }
    }
}
