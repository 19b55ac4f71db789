//! Which node carries a stanza to another server: the rule of `choice` over the
//! rows of this moment, and what `flows` remembers of before.

use std::sync::PoisonError;
use std::time::Instant;

use smallvec::SmallVec;

use crate::cluster::node::{NodeId, NodeState};
use crate::cluster::rows::LinkRow;
use crate::cluster::table::Entry;
use crate::s2s_manager::choice::{self, Choice, Flow, Side};
use crate::s2s_manager::flows::Standing;
use crate::s2s_manager::links::Links;
use crate::stream::server::Pair;

impl<T: Default + Unpin + Send + Sync + 'static> Links<T> {
    /// Where a stanza of this pair goes.
    pub fn carrier(&self, pair: &Pair, flow: Flow) -> Choice {
        let rows = self.rows(pair);
        let (me, members) = (self.cluster.me().id, self.cluster.members());
        let standing = |node: NodeId| {
            if node == me {
                // what it had is planned again before anything else is
                return if self.has(pair) { Standing::Links } else { Standing::Lost };
            }
            if !members.contains(node) {
                return Standing::Lost;
            }
            let mut own = rows.iter().filter(|row| row.owner == node);
            let is_failed = |row: &Entry<LinkRow>| choice::kind(row).is_some();
            match own.clone().next() {
                None => Standing::Ended,
                Some(_) if own.all(is_failed) => Standing::Lost,
                Some(_) => Standing::Links,
            }
        };
        let kept = {
            let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
            flows.must_go(flow, Instant::now(), standing)
        };
        match kept {
            Some(node) if node == me => Choice::Here,
            Some(node) => Choice::Node(node),
            None => self.choose(pair, &rows, flow),
        }
    }

    fn choose(&self, pair: &Pair, rows: &[Entry<LinkRow>], flow: Flow) -> Choice {
        let going = self.going();
        let side = self.side(&going);
        match choice::choose(rows, side, flow) {
            // it ends soon, and what waits for it goes before what comes now
            Choice::Node(_) if self.has(pair) && !choice::stays(rows, side) => Choice::Here,
            choice => choice,
        }
    }

    /// A stanza of the flow was given to this node.
    pub fn note_carrier(&self, flow: Flow, by: NodeId) {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        flows.note(flow, by, Instant::now());
    }

    /// Whether another node has a link of the pair, open or opened.
    pub fn is_carried_elsewhere(&self, pair: &Pair) -> bool {
        let (me, rows) = (self.cluster.me().id, self.rows(pair));
        rows.iter().any(|row| row.owner != me && choice::kind(row).is_none())
    }

    /// The node that takes what this one, which stops, has no link for any
    /// more; nothing: there is none that stays.
    pub fn heir(&self) -> Option<NodeId> {
        let (going, members) = (self.going(), self.cluster.members());
        members.others().map(|member| member.node.id).find(|node| !going.contains(node))
    }

    pub(super) fn side<'a>(&self, going: &'a [NodeId]) -> Side<'a> {
        let links_max = self.trust.config.links_per_pair_max;
        Side { me: self.cluster.me().id, links_max, going }
    }

    /// Nodes that will be gone soon.
    pub(super) fn going(&self) -> SmallVec<[NodeId; 2]> {
        let members = self.cluster.members();
        let leaving = members.iter().filter(|member| member.state == NodeState::Leaving);
        let mut going: SmallVec<[NodeId; 2]> = leaving.map(|member| member.node.id).collect();
        let me = self.cluster.me().id;
        if self.is_stopping() && !going.contains(&me) {
            going.push(me);
        }
        going
    }
}
