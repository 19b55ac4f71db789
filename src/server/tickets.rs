//! The nodes tell each other the keys of their TLS tickets, so that whoever was
//! at one comes back at any. Keys go over the mesh, whose streams have secrets
//! of their own, and are written nowhere.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

use crate::cluster::asks::Question;
use crate::cluster::handle::Cluster;
use crate::cluster::node::NodeId;
use crate::net::tls::Certificates;

/// The topic of our question to another node: which keys seal your tickets?
const TOPIC: u8 = 30;

/// Between two questions to a node that stays. A guess: a key is told for hours
/// before it seals.
const ASK_INTERVAL: Duration = Duration::from_secs(600);

/// Between two questions to a node that did not answer: its tickets lead to whole
/// handshakes for so long. A guess.
const TRY_INTERVAL: Duration = Duration::from_secs(5);

/// How long a node may take to say so. A guess.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// Answers another node's question, if it is about our tickets.
pub(super) fn answer(certificates: &Certificates, question: Question) -> Option<Question> {
    if question.topic != TOPIC {
        return Some(question);
    }
    question.answer(certificates.tickets().told(Instant::now()).into());
    None
}

/// Learns the keys of whoever comes, and of all from time to time, for ever.
pub(super) async fn share(certificates: Arc<Certificates>, cluster: Arc<Cluster>) {
    let mut members = cluster.watch_members();
    let mut known: HashSet<NodeId> = HashSet::new();
    let mut ticks = interval(TRY_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked = Instant::now();
    loop {
        tokio::select! {
            changed = members.changed() => if changed.is_err() {
                return;
            },
            _ = ticks.tick() => {}
        }
        certificates.tickets().pass(Instant::now());
        if asked.elapsed() >= ASK_INTERVAL {
            known.clear();
            asked = Instant::now();
        }
        let seen = Arc::clone(&members.borrow_and_update());
        known.retain(|node| seen.contains(*node));
        let others = seen.others().map(|member| member.node.id);
        let asks = others.filter(|node| !known.contains(node)).map(|node| {
            let (certificates, cluster) = (Arc::clone(&certificates), Arc::clone(&cluster));
            async move { learn(&certificates, &cluster, node).await.then_some(node) }
        });
        known.extend(asks.collect::<JoinSet<_>>().join_all().await.into_iter().flatten());
    }
}

async fn learn(certificates: &Certificates, cluster: &Arc<Cluster>, node: NodeId) -> bool {
    match cluster.ask(node, TOPIC, Bytes::new(), ANSWER_TIME_MAX).await {
        Ok(told) if certificates.tickets().learn(&told, Instant::now()) => true,
        // it will make no more sense the next time
        Ok(_) => {
            warn!(%node, "the keys of a node's TLS tickets make no sense");
            true
        }
        Err(error) => {
            debug!(%node, %error, "a node does not tell the keys of its TLS tickets");
            false
        }
    }
}
