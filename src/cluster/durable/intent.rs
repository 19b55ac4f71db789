//! What is wanted of this node's rows, and what became of it.

use crate::cluster::durable::change::{Change, ChangeError};
use crate::cluster::durable::marks::Marks;
use crate::cluster::durable::row::Stamp;
use crate::storage::Rows;

/// One thing that is wanted. All of it is done, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// A change, made here.
    Make {
        /// A random number of the change: a second try knows its first.
        by: u64,
        /// No stamp is before this time.
        clock: u64,
        /// What shall be.
        changes: Vec<Change>,
    },
    /// Rows of another node: the later ones are kept.
    Take(Take),
    /// These rows have stamps that everybody refuses: they get others, if they
    /// are still the same.
    Restamp {
        /// The rows, by their keys in the store.
        rows: Vec<(Vec<u8>, Stamp)>,
        /// The time that they get.
        clock: u64,
    },
    /// Tombstones from before this time are of no use any more.
    Expire {
        /// The time.
        horizon: u64,
    },
    /// To be remembered.
    Note(Marks),
}

/// Rows of another node, and which of them are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// The rows.
    pub rows: Rows,
    /// Stamps after this time are refused.
    pub limit: u64,
    /// Tombstones from before this time are not taken, if there is nothing
    /// here that they remove.
    pub horizon: u64,
    /// The other node was away: what it has from before the horizon, and we
    /// have not, was removed meanwhile.
    pub is_away: bool,
    /// We were away.
    pub give_up: Option<GiveUp>,
}

/// We were away for longer than tombstones live: what we have of these
/// buckets from before the horizon, and the other node has not, was removed
/// meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GiveUp {
    /// All buckets that were asked for, in their order.
    pub buckets: Vec<u16>,
    /// Where the rows begin.
    pub from: Cursor,
    /// Before which place they end; none: they are all.
    pub next: Option<Cursor>,
    /// The other node's horizon.
    pub horizon: u64,
}

/// A place in the order of buckets, and of the keys within one.
pub type Cursor = (u16, Vec<u8>);

/// What became of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A change was made, or rows were stamped anew: these are to be told.
    Made(Rows),
    /// A change was not made.
    Refused(ChangeError),
    /// Rows were taken.
    Taken(Taken),
    /// Tombstones were removed, and perhaps there are more.
    Expired(usize),
    /// It is remembered.
    Noted,
}

/// What became of another node's rows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Taken {
    /// How many were later than ours.
    pub count: usize,
    /// Those of them that have a value, by their keys in the store.
    pub kept: Vec<Vec<u8>>,
    /// Those whose stamps lie too far ahead, by their keys in the store.
    pub ahead: Vec<(Vec<u8>, Stamp)>,
    /// Of those that are older than ours: ours.
    pub later: Rows,
    /// How many of ours were given up.
    pub given_up: usize,
}
