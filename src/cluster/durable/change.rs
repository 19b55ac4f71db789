//! One change of a durable row: what can be wanted, and how it ends. What it
//! goes through is in `core`.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::cluster::durable::news::Input;
use crate::cluster::durable::{Durable, Table};
use crate::storage::{KEY_BYTES_MAX, StoreError};

/// The bytes of all rows of one change: they travel in one question, beside
/// others, and a question's answer has room for one row of this size.
pub const CHANGE_BYTES_MAX: usize = 512 << 10;

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
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Bytes>,
    pub(super) expect: Expect,
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

    /// Its table, its key, and whether it removes.
    pub fn told(&self) -> (Table, &[u8], bool) {
        (self.table, &self.key, self.value.is_none())
    }

    /// Its size, about.
    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }

    /// The same change, made only if that is so.
    #[must_use]
    pub fn expect(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }
}

impl Durable {
    /// Makes changes of rows of one owner, all or none, wherever its home is:
    /// when this returns, all nodes that can be reached have them on their
    /// disks.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn change(
        self: &Arc<Self>,
        changes: impl Into<Vec<Change>>,
    ) -> Result<Made, ChangeError> {
        let changes = changes.into();
        let is_key_long = changes.iter().any(|change| change.key.len() >= KEY_BYTES_MAX);
        let bytes: usize = changes.iter().map(Change::bytes).sum();
        if is_key_long || bytes > CHANGE_BYTES_MAX {
            return Err(ChangeError::Store("the rows are too large to be stored".into()));
        }
        let ended = || ChangeError::Store("this node stops".into());
        // whoever comes when too many wait, waits here
        let _room = self.room.acquire().await.map_err(|_| ended())?;
        let (answer, answered) = oneshot::channel();
        let number = self.wait_for(answer);
        self.input(Input::Change { number, by: rand::random(), changes });
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}
