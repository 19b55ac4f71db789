//! One change of a durable row: made at the key's home, told to all.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::cluster::asks::{AskError, Question};
use crate::cluster::durable::row::Row;
use crate::cluster::durable::{Durable, Table, stored_key, topic};
use crate::cluster::node::NodeId;
use crate::storage::{Rows, StoreError};

/// How long a change waits for the other nodes' acknowledgements. A node that
/// is late delays nobody for longer; it is counted, and caught up later.
const ACKNOWLEDGE_TIME_MAX: Duration = Duration::from_secs(1);

/// How long a change waits for its home, until it is made where it was asked
/// for: more than the home itself may wait.
const HOME_TIME_MAX: Duration = Duration::from_secs(3);

/// What must be so, or the change is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// Nothing.
    Any,
    /// There is no such row.
    Absent,
    /// There is one.
    Present,
}

/// A change that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// How many nodes have it on their disks, its home among them.
    pub nodes: u32,
    /// How many did not acknowledge in time; they get it later.
    pub late: u32,
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ChangeError {
    /// There is such a row already.
    #[error("there is one already")]
    Exists,
    /// There is none.
    #[error("there is none")]
    Missing,
    /// The store failed.
    #[error("{0}")]
    Store(String),
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Change {
    table: Table,
    key: Vec<u8>,
    value: Option<Bytes>,
    expect: Expect,
}

type Answer = Result<Made, ChangeError>;

impl Durable {
    /// Makes a change, wherever its home is: when this returns, all nodes
    /// that can be reached have it on their disks. `None` removes the row.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn change(
        self: &Arc<Self>,
        table: Table,
        key: &[u8],
        value: Option<Bytes>,
        expect: Expect,
    ) -> Answer {
        let change = Change { table, key: key.to_vec(), value, expect };
        let home = self.cluster.members().home(key);
        if home == self.cluster.me().id {
            return self.make(change).await;
        }
        let body = written(&change);
        match self.cluster.ask(home, topic::CHANGE, body, HOME_TIME_MAX).await {
            Ok(answer) => read(&answer),
            // nobody knows whether it was made: once more, here, as it makes
            // the same row; but what must be absent may be there by now
            Err(AskError::Late | AskError::Unreachable | AskError::TooLong) => {
                debug!(%home, "a home does not answer: the change is made here");
                self.make(change).await
            }
        }
    }

    pub(super) async fn on_change(self: Arc<Self>, question: Question) {
        let change = postcard::from_bytes(&question.body);
        let answer = match change {
            Ok(change) => self.make(change).await,
            Err(_) => Err(ChangeError::Store("the change cannot be read".into())),
        };
        question.answer(written(&answer));
    }

    pub(super) async fn on_merge(self: Arc<Self>, question: Question) {
        let Ok(rows) = postcard::from_bytes::<Rows>(&question.body) else { return };
        match self.merge(rows).await {
            Ok(_) => question.answer(Bytes::new()),
            // whoever asked counts us as late, and we are caught up later
            Err(error) => warn!(%error, "rows of another node cannot be kept"),
        }
    }

    /// Makes a change here, whoever is its home.
    async fn make(self: &Arc<Self>, change: Change) -> Answer {
        let key = stored_key(change.table, &change.key);
        let stored = {
            let _turn = self.turns_of(std::iter::once(key.as_slice())).await;
            let old = self.row(change.table, &change.key)?;
            let is_there = old.as_ref().is_some_and(|row| row.value.is_some());
            match change.expect {
                Expect::Absent if is_there => return Err(ChangeError::Exists),
                Expect::Present if !is_there => return Err(ChangeError::Missing),
                _ => {}
            }
            let stamp = self.stamp(old.map(|row| row.stamp));
            let stored = Row { stamp, value: change.value }.written();
            self.merge_in_turn(vec![(key.clone(), stored.clone())]).await?;
            stored
        };
        Ok(self.tell(vec![(key, stored)]).await)
    }

    /// Tells all other nodes, and waits a moment for them.
    async fn tell(self: &Arc<Self>, rows: Rows) -> Made {
        let body = written(&rows);
        let others: Vec<NodeId> =
            self.cluster.members().others().map(|member| member.node.id).collect();
        let mut answers = JoinSet::new();
        for other in others {
            let (cluster, body) = (Arc::clone(&self.cluster), body.clone());
            let ask =
                async move { cluster.ask(other, topic::MERGE, body, ACKNOWLEDGE_TIME_MAX).await };
            answers.spawn(ask);
        }
        let mut made = Made { nodes: 1, late: 0 };
        while let Some(answer) = answers.join_next().await {
            match answer {
                Ok(Ok(_)) => made.nodes += 1,
                Ok(Err(_)) | Err(_) => made.late += 1,
            }
        }
        self.late.fetch_add(u64::from(made.late), Ordering::Relaxed);
        made
    }
}

fn written(value: &impl Serialize) -> Bytes {
    postcard::to_stdvec(value).expect("it has only fields that postcard knows").into()
}

fn read(answer: &[u8]) -> Answer {
    let unreadable = |_| ChangeError::Store("the home's answer cannot be read".into());
    postcard::from_bytes(answer).map_err(unreadable)?
}
