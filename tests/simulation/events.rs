//! What will happen, in the order of time. What it does is in `world`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jabiru::cluster::news::Input;
use jabiru::cluster::node::{LinkId, NodeId};

/// The place of a node among all names.
pub type Seat = usize;

/// Microseconds since the beginning of the story.
pub type Time = u64;

pub const MILLISECOND: Time = 1_000;
pub const SECOND: Time = 1_000_000;

#[derive(Debug, Clone)]
pub enum Event {
    /// News for one life of a node.
    News(NodeId, Seat, Input),
    /// Its driver has nothing more at hand.
    Flush(NodeId, Seat),
    /// Its timer.
    Tick(NodeId, Seat),
    /// Its gossip speaks to others, and tells it who lives.
    Gossip(NodeId, Seat),
    /// A connection's bytes arrive.
    Arrive(u64, usize),
    /// A try to connect comes to its end.
    Connected { from: (NodeId, Seat), to: (NodeId, Seat) },
    /// The room above has written a letter out.
    Written { at: (NodeId, Seat), from: NodeId, number: u64, letter: u64 },
    /// Somebody changes a row or sends a letter.
    Work(NodeId, Seat),
    /// A cut direction heals.
    Heal { from: Seat, to: Seat, gossip: bool, links: bool },
    /// A killed node comes back.
    Start(Seat),
}

/// Events by time, and by the order in which they were put.
#[derive(Default)]
pub struct Events {
    heap: BinaryHeap<Reverse<(Time, u64)>>,
    events: std::collections::HashMap<u64, Event>,
    next: u64,
}

impl Events {
    pub fn put(&mut self, at: Time, event: Event) {
        self.next += 1;
        self.events.insert(self.next, event);
        self.heap.push(Reverse((at, self.next)));
    }

    /// The next event, if there is one before `end`.
    pub fn take(&mut self, end: Time) -> Option<(Time, Event)> {
        let Reverse((at, _)) = *self.heap.peek()?;
        if at > end {
            return None;
        }
        let Reverse((at, number)) = self.heap.pop()?;
        self.events.remove(&number).map(|event| (at, event))
    }
}

/// A link's number at one end.
pub fn link_of(connection: u64, end: usize) -> LinkId {
    LinkId(connection * 2 + end as u64)
}
