//! From the start of a node to the moment when it may be home: until it has
//! the rows of those that are there already, it would answer for accounts
//! that it does not know, and store messages for sessions that it does not
//! see. So its doors for clients open then as well.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::cluster::durable::Durable;
use crate::cluster::handle::Cluster;
use crate::cluster::members::Members;
use crate::cluster::node::NodeState;

/// How long a node with seeds looks for the others until it believes that it
/// is the first. Gossip was measured to find them in 0.3 to 0.5 s.
const ALONE_AFTER: Duration = Duration::from_secs(2);

/// How long it waits for the rows of all whom it sees. A guess: a million
/// rows take some seconds. Then it serves as it is.
const ROWS_TIME_MAX: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Says that this node serves, as soon as it knows what the others know.
/// `has_seeds`: there may be others.
pub async fn serve_when_ready(cluster: Arc<Cluster>, durable: Arc<Durable>, has_seeds: bool) {
    let begin = Instant::now();
    loop {
        let others: Vec<_> = cluster.peers().into_iter().filter(|peer| peer.is_visible).collect();
        let is_alone = others.is_empty();
        let has_rows = others.iter().all(|peer| {
            let soft = peer.told.is_some_and(|told| peer.version >= told);
            soft && durable.has_met(peer.node.id)
        });
        let is_patient = begin.elapsed() < if is_alone { ALONE_AFTER } else { ROWS_TIME_MAX };
        if (has_rows && !is_alone) || !(is_patient && (has_seeds || !is_alone)) {
            if !has_rows {
                warn!("this node serves without the rows of all others: they did not come");
            }
            break;
        }
        sleep(PAUSE).await;
    }
    cluster.set_state(NodeState::Serving);
    info!(milliseconds = begin.elapsed().as_millis(), "at home");
}

/// Waits until this node does not join any more.
pub async fn joined(cluster: &Cluster) {
    let me = cluster.me().id;
    let is_in =
        |members: &Arc<Members>| members.get(me).is_some_and(|me| me.state != NodeState::Joining);
    // an error says that the cluster has ended, and so does this process
    let _ = cluster.watch_members().wait_for(is_in).await;
}
