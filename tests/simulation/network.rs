//! The network: connections that carry frames in order or not at all, and
//! whatever cuts them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jabiru::cluster::frame::Frame;
use jabiru::cluster::node::NodeId;
use jabiru::cluster::protocol::Protocol;

use crate::events::{Seat, Time};

/// What goes through a connection in one direction.
#[derive(Debug, Default)]
pub struct Pipe {
    pub frames: VecDeque<(Time, Vec<u8>)>,
    /// After the last frame: the connection is closed.
    pub closed: bool,
}

/// A connection. End 0 dialed.
#[derive(Debug)]
pub struct Connection {
    pub ends: [(NodeId, Seat); 2],
    /// `pipes[0]` is read by end 0.
    pub pipes: [Pipe; 2],
    /// Which end still knows of it.
    pub open: [bool; 2],
    /// When each end has it from the handshake.
    pub up: [Time; 2],
}

#[derive(Debug, Default)]
pub struct Network {
    pub connections: BTreeMap<u64, Connection>,
    next: u64,
    /// Directions in which connections carry nothing now.
    pub cut_links: BTreeSet<(Seat, Seat)>,
    /// Directions in which datagrams are lost now.
    pub cut_gossip: BTreeSet<(Seat, Seat)>,
    /// Directions in which a firewall refuses new connections now, in the
    /// name of the other host.
    pub rejects: BTreeSet<(Seat, Seat)>,
}

impl Network {
    pub fn connect(&mut self, from: (NodeId, Seat), to: (NodeId, Seat)) -> u64 {
        self.next += 1;
        let pipes = [Pipe::default(), Pipe::default()];
        let connection = Connection { ends: [from, to], pipes, open: [true, true], up: [0, 0] };
        self.connections.insert(self.next, connection);
        self.next
    }

    /// Whether anything passes from one seat to another.
    pub fn passes(&self, from: Seat, to: Seat) -> bool {
        !self.cut_links.contains(&(from, to))
    }

    /// All connections that this life still knows of, with its end.
    pub fn of(&self, life: NodeId) -> Vec<(u64, usize)> {
        let ends = |(id, connection): (&u64, &Connection)| {
            let end = connection.ends.iter().position(|(other, _)| *other == life)?;
            connection.open[end].then_some((*id, end))
        };
        self.connections.iter().filter_map(ends).collect()
    }

    /// A frame as bytes: what is sent is read as the wire has it.
    pub fn bytes(frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame.encode(Protocol::NEWEST, &mut bytes).expect("our own frames fit");
        bytes
    }
}
