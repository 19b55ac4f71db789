//! Who answers for a delivery of another node until it is taken over.

use std::sync::{Arc, PoisonError};

use crate::cluster::handle::Cluster;
use crate::cluster::node::NodeId;

/// Whoever holds this answers for a delivery from another node. When it is
/// dropped, the delivery has been taken over.
pub struct Receipt {
    cluster: Arc<Cluster>,
    from: NodeId,
    number: u64,
}

impl Receipt {
    pub(super) fn new(cluster: Arc<Cluster>, from: NodeId, number: u64) -> Self {
        Self { cluster, from, number }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let taken = self.cluster.taken.lock();
        taken.unwrap_or_else(PoisonError::into_inner).push((self.from, self.number));
        self.cluster.flush.notify_one();
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Receipt({}, {})", self.from, self.number)
    }
}
