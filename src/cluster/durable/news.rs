//! What the durable tables of a node are told, and what they want done.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cluster::asks::AskError;
use crate::cluster::durable::change::{Change, ChangeError, Made};
use crate::cluster::durable::intent::{Intent, Outcome};
use crate::cluster::members::Members;
use crate::cluster::node::NodeId;
use crate::storage::{Rows, StoreError};

/// What an operator can choose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a tombstone is kept.
    pub tombstones_kept: Duration,
    /// Between two comparisons with each other node.
    pub interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let tombstones_kept = Duration::from_secs(7 * 86_400);
        Self { tombstones_kept, interval: Duration::from_secs(60) }
    }
}

/// News.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed: at least once a second.
    Tick,
    /// These nodes are visible.
    Members(Arc<Members>),
    /// Somebody here wants a change.
    Change {
        /// To know it by.
        number: u64,
        /// Random.
        by: u64,
        /// What shall be, all of one owner.
        changes: Vec<Change>,
    },
    /// Compare with this node now, from the start.
    Meet {
        /// Which.
        node: NodeId,
    },
    /// Another node asks something that is not only read.
    Question {
        /// To know it by.
        number: u64,
        /// Who.
        from: NodeId,
        /// About what.
        topic: u8,
        /// The question.
        body: Bytes,
    },
    /// A question of ours has come to its end.
    Answer {
        /// Which.
        ask: u64,
        /// How.
        answer: Result<Bytes, AskError>,
    },
    /// These rows of changes are what is written next, by their jobs: one
    /// commit. Whether it succeeds, [`Self::Written`] says.
    Planned(Vec<(u64, Rows)>),
    /// Intents have been carried out, or not: those of one commit.
    Written(Vec<(u64, Result<Outcome, StoreError>)>),
    /// A row of ours was read, and is damaged.
    Lost {
        /// Its key in the store.
        key: Vec<u8>,
    },
}

/// Wishes.
#[derive(Debug, Clone)]
pub enum Output {
    /// Ask another node.
    Ask {
        /// To know the answer by.
        ask: u64,
        /// Whom.
        to: NodeId,
        /// About what.
        topic: u8,
        /// The question.
        body: Bytes,
        /// How long to wait.
        patience: Duration,
    },
    /// Answer a question.
    Reply {
        /// Which.
        number: u64,
        /// The answer.
        body: Bytes,
    },
    /// A question that will have no answer.
    Drop {
        /// Which.
        number: u64,
    },
    /// Carry this out.
    Write {
        /// To know its end by.
        job: u64,
        /// What.
        intent: Intent,
    },
    /// A change has come to its end.
    Done {
        /// Which.
        number: u64,
        /// How.
        answer: Result<Made, ChangeError>,
    },
    /// Rows of other nodes, all that were missed, are on our disk: their keys
    /// in the store.
    Kept(Vec<Vec<u8>>),
    /// Something for the log.
    Say(Say),
}

/// What an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Say {
    /// For the first time in this life we have what the others have.
    Agreed,
    /// Rows were fetched that had been missed.
    Fetched {
        /// From whom.
        from: NodeId,
        /// How many.
        rows: usize,
    },
    /// We were away, and gave up what others have no more.
    GaveUp {
        /// Whose rows we have now.
        from: NodeId,
        /// How many of ours are gone.
        rows: usize,
    },
    /// Rows with stamps from the future were refused.
    Ahead {
        /// Whose.
        from: NodeId,
        /// How many.
        rows: usize,
    },
    /// Rows of ours had stamps from the future and got others.
    Restamped {
        /// Who said so.
        by: NodeId,
        /// How many at most.
        rows: usize,
    },
    /// A damaged row is asked of the others.
    Lost {
        /// How many others there are.
        others: usize,
    },
    /// Rows of another node could not be kept.
    NotKept(StoreError),
}
