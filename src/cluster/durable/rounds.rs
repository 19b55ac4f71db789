//! Whom the durable tables are compared with, and when: whoever is seen, at
//! once; everybody, every minute; whoever is about to leave, when it asks.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::durable::clock::At;
use crate::cluster::durable::compare::{Compare, tell_kept};
use crate::cluster::durable::news::Output;
use crate::cluster::members::Members;
use crate::cluster::node::NodeId;

/// After a comparison that was broken off, in milliseconds. A guess.
pub(super) const PAUSE: u64 = 1_000;

/// After a comparison in which rows from the future were refused, in
/// milliseconds. A guess.
pub(super) const REFUSED_PAUSE: u64 = 10_000;

/// Whom we compare with, and when.
#[derive(Debug, Default)]
pub(super) struct Compares {
    /// When each other node's turn is, by the steady clock.
    pub(super) due: BTreeMap<NodeId, u64>,
    pub(super) running: Option<Compare>,
    /// Whom the running one is with has news since it began: once more, then.
    pub(super) again: bool,
    pub(super) serial: u64,
    /// Nodes that we had the same as, since we were alone.
    pub(super) met: BTreeSet<NodeId>,
    /// How many parts of rows of each we have fetched, since we see it.
    pub(super) parts: BTreeMap<NodeId, u64>,
    /// Rows from the future were refused: what the future is may change.
    pub(super) has_refused: bool,
    /// Whether we ever had the same as the others, in this life.
    pub(super) has_agreed: bool,
}

impl Compares {
    /// Something was missed.
    pub(super) fn soon(&mut self, at: At) {
        self.due.values_mut().for_each(|due| *due = (*due).min(at.steady + PAUSE));
    }

    /// This node has something that we may not have.
    pub(super) fn hear_of_news(&mut self, node: NodeId, at: At) {
        self.due.insert(node, at.steady);
        self.again |= self.running.as_ref().is_some_and(|compare| compare.node == node);
    }

    /// This node is compared with next, whatever we had of it before.
    pub(super) fn meet(&mut self, node: NodeId, at: At, out: &mut Vec<Output>) {
        self.met.remove(&node);
        self.due.insert(node, at.steady);
        self.break_off(|compare| compare.node == node, out);
    }

    /// The running comparison, if it is this one: an answer to one that was
    /// broken off ends no other.
    pub(super) fn take(&mut self, serial: u64) -> Option<Compare> {
        self.running.take_if(|compare| compare.serial == serial)
    }

    fn break_off(&mut self, is_meant: impl Fn(&Compare) -> bool, out: &mut Vec<Output>) {
        if let Some(mut ended) = self.running.take_if(|compare| is_meant(compare)) {
            tell_kept(&mut ended, out);
        }
    }

    /// Other nodes are visible now.
    pub(super) fn members(&mut self, members: &Members, at: At, out: &mut Vec<Output>) {
        self.due.retain(|node, _| members.contains(*node));
        self.met.retain(|node| members.contains(*node));
        self.parts.retain(|node, _| members.contains(*node));
        for member in members.others() {
            self.due.entry(member.node.id).or_insert(at.steady);
        }
        if std::mem::take(&mut self.has_refused) {
            // the clocks of others say another time now
            self.due.values_mut().for_each(|due| *due = at.steady);
        }
        self.break_off(|compare| !members.contains(compare.node), out);
    }
}
