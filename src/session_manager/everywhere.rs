//! What is asked of all nodes at once: to end sessions, to tell something to
//! everybody, to say where clients connect from.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tracing::warn;

use crate::cluster::handle::Cluster;
use crate::cluster::node::NodeId;
use crate::session_manager::session::{Seat, SessionNumber};
use crate::xmpp::jid::Jid;

/// The topics of our questions.
pub mod topic {
    /// End the sessions of this address.
    pub const KICK: u8 = 13;
    /// Tell your sessions something.
    pub const ANNOUNCE: u8 = 14;
    /// Where do the clients of these sessions connect from?
    pub const ADDRESSES: u8 = 16;
}

/// How long a node may take for its answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Sessions in one question: of each, the answer takes at most 40 bytes.
const ASKED_TOGETHER: usize = 10_000;

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

/// Where the clients of sessions connect from, as far as their nodes say so in
/// time.
pub async fn addresses(
    cluster: &Arc<Cluster>,
    seats: impl IntoIterator<Item = Seat>,
) -> HashMap<Seat, SocketAddr> {
    let mut wanted: BTreeMap<NodeId, Vec<SessionNumber>> = BTreeMap::new();
    for Seat { owner, number } in seats {
        wanted.entry(owner).or_default().push(number);
    }
    let mut asks = JoinSet::new();
    for (owner, numbers) in wanted {
        for some in numbers.chunks(ASKED_TOGETHER) {
            let cluster = Arc::clone(cluster);
            let body = postcard::to_stdvec(some).expect("numbers can be written");
            asks.spawn(async move {
                let topic = topic::ADDRESSES;
                let said = cluster.ask(owner, topic, body.into(), ANSWER_TIME_MAX).await.ok()?;
                let said: Vec<(SessionNumber, SocketAddr)> = postcard::from_bytes(&said).ok()?;
                Some((owner, said))
            });
        }
    }
    let mut addresses = HashMap::new();
    while let Some(said) = asks.join_next().await {
        let Some((owner, said)) = said.ok().flatten() else { continue };
        addresses.extend(said.into_iter().map(|(number, at)| (Seat { owner, number }, at)));
    }
    addresses
}

/// The answer to such a question; `address` knows our own sessions.
pub fn own_addresses(
    question: &[u8],
    address: impl Fn(SessionNumber) -> Option<SocketAddr>,
) -> Bytes {
    let numbers: Vec<SessionNumber> = postcard::from_bytes(question).unwrap_or_default();
    let numbers = numbers.into_iter().take(ASKED_TOGETHER);
    let known: Vec<(SessionNumber, SocketAddr)> =
        numbers.filter_map(|number| Some((number, address(number)?))).collect();
    postcard::to_stdvec(&known).expect("addresses can be written").into()
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
