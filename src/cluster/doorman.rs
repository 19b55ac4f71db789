//! Who is let in: a node that has the cookie, whose name nobody else has, and
//! that was not removed.

use std::sync::{Arc, Weak};

use tracing::{info, warn};

use crate::cluster::handle::Cluster;
use crate::cluster::node::Node;
use crate::cluster::proof::{Verdict, Wish};

/// What `node` hears, which has the cookie. Two nodes with one name that met
/// without asking first are told apart by the core: the later start stays.
pub(super) async fn judge(cluster: &Arc<Cluster>, node: &Node, wish: Wish) -> Verdict {
    let me = cluster.me();
    if node.id == me.id {
        return Verdict::Yourself;
    }
    if wish != Wish::Link && (node.name == me.name || cluster.hears(&node.name, node.id)) {
        warn!(node = %node.name, id = %node.id, "a second node with the name of another is refused");
        return Verdict::NameTaken;
    }
    if !cluster.is_removed(&node.name) {
        return Verdict::Welcome;
    }
    if wish != Wish::Return {
        return Verdict::Removed;
    }
    let Some(registry) = cluster.registry.get().and_then(Weak::upgrade) else {
        return Verdict::Failed;
    };
    match registry.take_back(&node.name).await {
        Ok(()) => {
            info!(node = %node.name, "a node that was removed returns");
            Verdict::Welcome
        }
        Err(error) => {
            warn!(node = %node.name, %error, "the return of a node cannot be stored");
            Verdict::Failed
        }
    }
}
