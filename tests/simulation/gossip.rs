//! Gossip as the core sees it: heartbeats that spread by chance from node to
//! node, and whoever is not heard of for a while is believed dead.

use std::collections::BTreeMap;

use jabiru::cluster::node::NodeId;

use crate::events::{MILLISECOND, Seat, Time};

/// Between two rounds.
pub const INTERVAL: Time = 100 * MILLISECOND;

/// Unheard of for so long is dead: what phi 8 was measured to take.
const PATIENCE: Time = 700 * MILLISECOND;

/// What one life's gossip knows.
#[derive(Debug, Default, Clone)]
pub struct Gossip {
    heard: BTreeMap<NodeId, Heard>,
}

#[derive(Debug, Clone, Copy)]
pub struct Heard {
    pub seat: Seat,
    pub count: u64,
    moved: Time,
}

impl Gossip {
    /// Its own heart beats.
    pub fn beat(&mut self, me: NodeId, seat: Seat, now: Time) {
        let heard = self.heard.entry(me).or_insert(Heard { seat, count: 0, moved: now });
        heard.count += 1;
        heard.moved = now;
    }

    /// Another's table has come in.
    pub fn merge(&mut self, other: &Gossip, now: Time) {
        for (id, theirs) in &other.heard {
            let ours = self.heard.entry(*id).or_insert(Heard { moved: now, ..*theirs });
            if theirs.count > ours.count {
                ours.count = theirs.count;
                ours.moved = now;
            }
        }
    }

    /// Whoever is believed alive.
    pub fn live(&self, now: Time) -> impl Iterator<Item = (NodeId, Heard)> {
        let live = move |heard: &Heard| now.saturating_sub(heard.moved) < PATIENCE;
        self.heard.iter().filter(move |(_, heard)| live(heard)).map(|(id, heard)| (*id, *heard))
    }
}
