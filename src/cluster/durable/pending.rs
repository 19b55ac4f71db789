//! What the core waits for, and for whom.

use crate::cluster::durable::change::Change;
use crate::cluster::node::NodeId;

/// Who wants a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Caller(Wanted),
    Question(u64),
}

/// A change that somebody here wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) number: u64,
    pub(super) by: u64,
    pub(super) changes: Vec<Change>,
    pub(super) tries: u32,
    /// A home that did not answer.
    pub(super) silent: Option<NodeId>,
    /// No stamp is before this time.
    pub(super) clock: u64,
}

/// What a question of ours is about.
#[derive(Debug)]
pub(super) enum Ask {
    Change {
        wanted: Wanted,
        home: NodeId,
    },
    Tell {
        tell: u64,
        node: NodeId,
    },
    Compare(u64),
    Lost {
        key: Vec<u8>,
    },
    Ahead,
    /// That it shall compare with us.
    Notice(NodeId),
}

/// What an intent is for.
#[derive(Debug)]
pub(super) enum Job {
    Make(Origin),
    /// Rows that the others are told while they are written here.
    Told(u64),
    /// Rows that another node told us.
    Merge {
        question: u64,
        from: NodeId,
    },
    /// Rows that beat what these wanted.
    Learn(Vec<Origin>),
    Compare(u64),
    Mend {
        key: Vec<u8>,
    },
    Restamp,
    Housekeeping,
}
