//! What the core is told, and what it wishes. What it makes of the one and
//! the other is in `core`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::frame::Frame;
use super::members::Members;
use super::node::{LinkId, Node, NodeId, NodeName, NodeState, Peer};
use super::peer::Cause;
use super::rows::{RowChange, SoftRow};

/// Who began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialed {
    /// We did.
    Ours,
    /// The peer did.
    Theirs,
}

/// How a try to connect failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its host answered that nobody listens there (`ECONNREFUSED`): the
    /// process is gone.
    Refused,
    /// No answer in time, no route, or the handshake failed.
    Unreachable,
}

/// News for the core.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed; at least every [`super::settings::Settings::tick_interval`].
    Tick,
    /// The driver has no more news at hand: what was gathered goes out.
    Flush,
    /// All nodes that gossip believes alive now, without us. To be told at
    /// every gossip interval, for the heartbeats count.
    Gossip(Vec<Peer>),
    /// A connection is there, and the cookie was proved both ways.
    LinkUp {
        /// Who is at the other end.
        node: Node,
        /// The connection.
        link: LinkId,
        /// Who began it.
        dialed: Dialed,
    },
    /// A connection was closed or reset, or broke the rules of the wire.
    LinkLost {
        /// Which.
        link: LinkId,
    },
    /// Some bytes of a frame that is not yet whole came in.
    Heard {
        /// On which connection.
        link: LinkId,
    },
    /// A [`Output::Connect`] failed.
    ConnectFailed {
        /// To whom.
        peer: NodeId,
        /// How.
        how: Failure,
    },
    /// A frame came in.
    Frame {
        /// On which connection.
        link: LinkId,
        /// The frame.
        frame: Frame,
    },
    /// One of our own rows is new or changed. A number keeps its key for life.
    Put {
        /// The row's number, ours to choose.
        number: u64,
        /// The row.
        row: SoftRow,
    },
    /// One of our own rows is gone.
    Remove {
        /// The row's number.
        number: u64,
    },
    /// Deliver this, under custody.
    Deliver {
        /// To whom.
        to: NodeId,
        /// What.
        body: Bytes,
    },
    /// Send this without custody.
    Word {
        /// To whom.
        to: NodeId,
        /// Which of the rooms above it is for.
        channel: u8,
        /// What.
        body: Bytes,
    },
    /// We have taken that delivery over: acknowledge it.
    Taken {
        /// Whose.
        from: NodeId,
        /// Its number.
        number: u64,
    },
    /// We are up to something else now.
    State(NodeState),
    /// The node of this name was removed from the cluster.
    Expel {
        /// Which.
        name: NodeName,
    },
    /// We stop: say goodbye, and take nothing any more.
    Leave,
    /// The driver saw that our process stood still until now. (The core sees
    /// it as well, by a late tick.)
    Stalled,
}

/// Why a delivery came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The peer is gone; plan the delivery again. It was never sent.
    Gone,
    /// The peer is gone; plan the delivery again. It was sent, and the peer
    /// may have taken it just before it went.
    InDoubt,
    /// Too much waits for this peer already.
    Full,
}

/// A wish of the core. The driver carries out all of them, in order, before it
/// calls again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write this frame.
    Send {
        /// On this connection.
        link: LinkId,
        /// The frame.
        frame: Frame,
    },
    /// Try to connect; answer with [`Input::LinkUp`] or
    /// [`Input::ConnectFailed`].
    Connect {
        /// To whom.
        peer: NodeId,
    },
    /// Close this connection, unwritten and unread bytes and all. Nothing
    /// more is to be told of it.
    Close {
        /// Which.
        link: LinkId,
    },
    /// A delivery for the rooms above; answer with [`Input::Taken`].
    Delivery {
        /// Whose.
        from: NodeId,
        /// Its number.
        number: u64,
        /// What.
        body: Bytes,
    },
    /// A delivery could not be made.
    Returned {
        /// To whom.
        to: NodeId,
        /// What.
        body: Bytes,
        /// Why.
        reason: Reason,
    },
    /// Something without custody for the rooms above.
    Word {
        /// Whose.
        from: NodeId,
        /// For which of them.
        channel: u8,
        /// What.
        body: Bytes,
    },
    /// A word that found no path; it is lost.
    Unsaid {
        /// To whom.
        to: NodeId,
        /// Its channel.
        channel: u8,
        /// What.
        body: Bytes,
    },
    /// The set of visible nodes, or what one of them is up to, has changed.
    /// Rows of a node that is hidden or shown are not told one by one: ask
    /// [`super::tables::Tables`].
    Members(Arc<Members>),
    /// A node is a member from now on.
    Came {
        /// Which.
        node: Node,
        /// It was one before, in this life, and hidden for so long.
        away: Option<Duration>,
        /// How many there are now, with us.
        nodes: usize,
    },
    /// A node is no member any more.
    Gone {
        /// Which.
        node: Node,
        /// Why.
        cause: Cause,
        /// How many there are now, with us.
        nodes: usize,
    },
    /// The merged table has changed.
    Rows(Vec<RowChange>),
    /// A later start of our own name was seen: we are its ghost. The driver
    /// ends the process.
    Ghost {
        /// The one that is us now.
        by: NodeId,
    },
}
