//! Whose rows this node has had, since it sees them: what whoever must know
//! all of an account's rows waits for.

use std::sync::PoisonError;

use crate::cluster::durable::Durable;
use crate::cluster::durable::core::Core;
use crate::cluster::durable::news::Input;
use crate::cluster::node::NodeId;

impl Core {
    /// Whether we have had all that another node had, since it is visible.
    pub fn has_met(&self, node: NodeId) -> bool {
        self.compares.met.contains(&node)
    }
}

impl Durable {
    /// Whether we have had all rows that another node had, since it is visible.
    pub fn has_met(&self, node: NodeId) -> bool {
        self.core.lock().unwrap_or_else(PoisonError::into_inner).has_met(node)
    }

    /// How many parts of rows we have fetched from another node, since it is
    /// visible: while the number grows, it is being met.
    pub fn fetched_of(&self, node: NodeId) -> u64 {
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.compares.parts.get(&node).copied().unwrap_or_default()
    }

    /// Begins to have all rows that another node has now; [`Self::has_met`]
    /// says when it is so.
    pub fn meet(&self, node: NodeId) {
        self.input(Input::Meet { node });
    }
}
