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
use crate::cluster::durable::{Durable, Table, owner_of, stored_key, topic};
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

/// One row that shall be another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    table: Table,
    key: Vec<u8>,
    value: Option<Bytes>,
    expect: Expect,
}

impl Change {
    /// This row shall be there.
    pub fn put(table: Table, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) -> Self {
        Self { table, key: key.into(), value: Some(value.into()), expect: Expect::Any }
    }

    /// This row shall not be there.
    pub fn remove(table: Table, key: impl Into<Vec<u8>>) -> Self {
        Self { table, key: key.into(), value: None, expect: Expect::Any }
    }

    /// The same change, made only if that is so.
    #[must_use]
    pub fn expect(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }
}

type Answer = Result<Made, ChangeError>;

impl Durable {
    /// Makes changes of rows of one owner, all or none, wherever its home is:
    /// when this returns, all nodes that can be reached have them on their
    /// disks.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn change(self: &Arc<Self>, changes: impl Into<Vec<Change>>) -> Answer {
        let changes = changes.into();
        let Some(first) = changes.first() else { return Ok(Made { nodes: 1, late: 0 }) };
        let home = self.cluster.members().home(owner_of(&first.key));
        if home == self.cluster.me().id {
            return self.make(changes).await;
        }
        let body = written(&changes);
        match self.cluster.ask(home, topic::CHANGE, body, HOME_TIME_MAX).await {
            Ok(answer) => read(&answer),
            // nobody knows whether it was made: once more, here, as it makes
            // the same rows; but what must be absent may be there by now
            Err(AskError::Late | AskError::Unreachable | AskError::TooLong) => {
                debug!(%home, "a home does not answer: the change is made here");
                self.make(changes).await
            }
        }
    }

    pub(super) async fn on_change(self: Arc<Self>, question: Question) {
        let changes = postcard::from_bytes(&question.body);
        let answer = match changes {
            Ok(changes) => self.make(changes).await,
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

    /// Makes changes here, whoever is their home.
    async fn make(self: &Arc<Self>, changes: Vec<Change>) -> Answer {
        let keys: Vec<Vec<u8>> =
            changes.iter().map(|change| stored_key(change.table, &change.key)).collect();
        let mut rows = Rows::with_capacity(changes.len());
        {
            let _turns = self.turns_of(keys.iter().map(Vec::as_slice)).await;
            for (change, key) in changes.into_iter().zip(keys) {
                let old = self.row(change.table, &change.key)?;
                let is_there = old.as_ref().is_some_and(|row| row.value.is_some());
                match change.expect {
                    Expect::Absent if is_there => return Err(ChangeError::Exists),
                    Expect::Present if !is_there => return Err(ChangeError::Missing),
                    _ => {}
                }
                let stamp = self.stamp(old.map(|row| row.stamp));
                rows.push((key, Row { stamp, value: change.value }.written()));
            }
            self.merge_in_turn(rows.clone()).await?;
        }
        Ok(self.tell(rows).await)
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
