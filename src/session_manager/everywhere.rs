//! What is asked of all nodes at once: to end sessions, to tell something to
//! everybody.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tracing::warn;

use crate::cluster::handle::Cluster;
use crate::cluster::node::NodeId;
use crate::xmpp::jid::Jid;

/// The topics of our questions.
pub mod topic {
    /// End the sessions of this address.
    pub const KICK: u8 = 13;
    /// Tell your sessions something.
    pub const ANNOUNCE: u8 = 14;
}

/// How long a node may take for its answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// What everybody shall hear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The domain that says it, and whose sessions hear it.
    pub domain: String,
    /// Its subject; may be empty.
    pub subject: String,
    /// Its text.
    pub text: String,
}

/// What the nodes answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Told {
    /// Sessions that were meant, on all nodes that answered.
    pub sessions: u64,
    /// Nodes that did not answer in time.
    pub silent: usize,
}

/// Ends the sessions of an address, wherever they are.
pub async fn kick(cluster: &Arc<Cluster>, address: &Jid) -> Told {
    let entries = cluster.tables().sessions.find(address.bare().as_str());
    let mut owners: Vec<_> = entries.iter().map(|entry| entry.owner).collect();
    owners.sort_unstable();
    owners.dedup();
    let body = Bytes::copy_from_slice(address.as_str().as_bytes());
    ask(cluster, owners, topic::KICK, body).await
}

/// Tells something to all available sessions of a domain.
pub async fn announce(cluster: &Arc<Cluster>, announcement: &Announcement) -> Told {
    let nodes = cluster.members().iter().map(|member| member.node.id).collect();
    let body = postcard::to_stdvec(announcement).expect("texts can be written");
    ask(cluster, nodes, topic::ANNOUNCE, body.into()).await
}

async fn ask(cluster: &Arc<Cluster>, nodes: Vec<NodeId>, topic: u8, body: Bytes) -> Told {
    let mut asks = JoinSet::new();
    for node in nodes {
        let (cluster, body) = (Arc::clone(cluster), body.clone());
        asks.spawn(
            async move { (node, cluster.ask(node, topic, body, ANSWER_TIME_MAX).await.ok()) },
        );
    }
    let mut told = Told::default();
    while let Some(Ok((node, answer))) = asks.join_next().await {
        match answer.as_deref().map(TryInto::try_into) {
            Some(Ok(bytes)) => told.sessions += u64::from_be_bytes(bytes),
            _ => {
                warn!(%node, topic, "a node did not answer");
                told.silent += 1;
            }
        }
    }
    told
}

/// The answer to such a question.
pub fn count(sessions: usize) -> Bytes {
    Bytes::copy_from_slice(&(sessions as u64).to_be_bytes())
}
