//! Durable tables: every row on every node's disk. A change is made at its
//! key's home, synced, and told to all nodes before its caller hears of it;
//! what was missed is mended by comparing sums of buckets (`sync`).
//!
//! Rows are last-writer-wins registers, stamped by a hybrid logical clock
//! (`row`); a removed row stays as a tombstone. What is in a value is the
//! business of the rooms above.

pub mod change;
pub mod row;
pub mod sync;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tracing::{info, warn};

use crate::cluster::asks::Question;
use crate::cluster::durable::row::{Row, Stamp};
use crate::cluster::durable::sync::Sums;
use crate::cluster::handle::Cluster;
use crate::cluster::hash::stable;
use crate::storage::committer::Committer;
use crate::storage::{Rows, Store, StoreError, Write};

/// The topics of our questions.
pub mod topic {
    /// Make a change: the asker believes that you are its home.
    pub const CHANGE: u8 = 1;
    /// Merge these rows.
    pub const MERGE: u8 = 2;
    /// How do your buckets sum up?
    pub const SUMS: u8 = 3;
    /// What is in this bucket?
    pub const BUCKET: u8 = 4;
    /// You have other rows than I: take mine.
    pub const COMPARE: u8 = 5;
}

/// Declares the tables with the first byte of their keys in the store: on
/// disks and wires for ever.
macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal,)*) => {
        /// A durable table. Keys begin with the bare JID of the account that
        /// the row belongs to; what follows stands after a NUL.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum Table { $($(#[$doc])* $name,)* }

        impl Table {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The first byte of its keys in the store.
            fn prefix(self) -> u8 {
                match self { $(Self::$name => $prefix,)* }
            }
        }
    };
}

tables! {
    /// Who may log in.
    Accounts = 1,
    /// What an account calls its contacts; then the contact's bare JID.
    Roster = 2,
    /// Who sees whom; then the contact's bare JID.
    Subscriptions = 3,
    /// Messages that nobody was there for; then their time and chance.
    Offline = 4,
    /// Private XML; then its namespace and name.
    Private = 5,
    /// What a person says of itself.
    Vcard = 6,
    /// Whom an account does not want to hear of; then the address.
    Blocked = 7,
    /// When an account was last there.
    Last = 8,
    /// Nodes that have left for good, by name.
    Departed = 9,
    /// What the operator has said for all nodes, by its name.
    Settings = 10,
}

impl Table {
    fn of_prefix(prefix: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|table| table.prefix() == prefix)
    }
}

/// Whose row it is: the part of its key that its home is found by.
pub fn owner_of(key: &[u8]) -> &[u8] {
    key.split(|byte| *byte == 0).next().unwrap_or(key)
}

/// The key of something that belongs to `owner`.
pub fn key_of(owner: &str, rest: &[u8]) -> Vec<u8> {
    [owner.as_bytes(), &[0], rest].concat()
}

/// How far a row's stamp may lie ahead of our clock; one further ahead is
/// refused, for it would win against everybody for ever.
const AHEAD_MAX: Duration = Duration::from_secs(5 * 60);

/// Rows read from the store at a time.
const PAGE_ROWS: usize = 256;

/// Keys and values, and the key to go on from.
pub type Page = (Vec<(Vec<u8>, Bytes)>, Option<Vec<u8>>);

/// The durable tables of this node.
pub struct Durable {
    cluster: Arc<Cluster>,
    store: Arc<dyn Store>,
    committer: Committer,
    sums: Mutex<Sums>,
    /// Of each group of keys, one change at a time.
    turns: Vec<tokio::sync::Mutex<()>>,
    /// Nodes that were late with an acknowledgement, since the start.
    late: std::sync::atomic::AtomicU64,
}

/// Why the tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no thread for its commits.
    #[error("no thread for commits: {0}")]
    Thread(#[from] std::io::Error),
}

impl std::fmt::Debug for Durable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Durable").finish_non_exhaustive()
    }
}

impl Durable {
    /// The tables in this store. Reads all of it once.
    ///
    /// # Errors
    /// [`DurableError`].
    pub fn new(cluster: Arc<Cluster>, store: Arc<dyn Store>) -> Result<Arc<Self>, DurableError> {
        let sums = Sums::read(&*store)?;
        info!(rows = sums.count(), "durable tables read");
        let committer = Committer::new(Arc::clone(&store))?;
        let turns = (0..256).map(|_| tokio::sync::Mutex::new(())).collect();
        let late = std::sync::atomic::AtomicU64::new(0);
        Ok(Arc::new(Self { cluster, store, committer, sums: Mutex::new(sums), turns, late }))
    }

    /// The value of a key, as this node has it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.row(table, key)?.and_then(|row| row.value))
    }

    /// Some `limit` rows from the key `from` on, as this node has them; and
    /// where to go on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Page, StoreError> {
        self.page(table, b"", from, limit)
    }

    /// All rows of `owner`, by what stands after it in their keys.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn all_of(&self, table: Table, owner: &str) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let prefix = key_of(owner, b"");
        let mut all = Vec::new();
        let mut from = Vec::new();
        loop {
            let (rows, next) = self.page(table, &prefix, &from, PAGE_ROWS)?;
            let rest = |(key, value): (Vec<u8>, Bytes)| {
                (key.get(prefix.len()..).unwrap_or_default().to_vec(), value)
            };
            all.extend(rows.into_iter().map(rest));
            match next {
                Some(next) => from = next,
                None => return Ok(all),
            }
        }
    }

    fn page(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Page, StoreError> {
        let rows = self.store.scan(&stored_key(table, prefix), &stored_key(table, from), limit)?;
        let next = rows.last().filter(|_| rows.len() == limit);
        let next = next.map(|(key, _)| [key.get(1..).unwrap_or_default(), &[0]].concat());
        let value = |(key, stored): (Vec<u8>, Vec<u8>)| {
            let value = Row::read(&stored)?.value?;
            Some((key.get(1..)?.to_vec(), value))
        };
        Ok((rows.into_iter().filter_map(value).collect(), next))
    }

    /// How many rows there are, tombstones among them.
    pub fn count(&self) -> u64 {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner).count()
    }

    /// One number for all rows: equal on two nodes that have the same.
    pub fn digest(&self) -> u64 {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner).digest()
    }

    /// Acknowledgements that came late or not at all, since the start.
    pub fn late(&self) -> u64 {
        self.late.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Answers another node's question, if it is about us.
    pub fn answer(self: &Arc<Self>, question: Question) -> Option<Question> {
        let durable = Arc::clone(self);
        match question.topic {
            topic::CHANGE => drop(tokio::spawn(async move { durable.on_change(question).await })),
            topic::MERGE => drop(tokio::spawn(async move { durable.on_merge(question).await })),
            topic::SUMS => question.answer(self.sums_written()),
            topic::BUCKET => self.on_bucket(question),
            topic::COMPARE => {
                let node = question.from;
                question.answer(Bytes::new());
                tokio::spawn(async move { durable.take_from(node).await });
            }
            _ => return Some(question),
        }
        None
    }

    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Row>, StoreError> {
        let stored = self.store.get(&stored_key(table, key))?;
        let Some(stored) = stored else { return Ok(None) };
        let unreadable = || StoreError {
            place: "row".into(),
            reason: format!("a row of {table:?} is damaged").into(),
        };
        Row::read(&stored).ok_or_else(unreadable).map(Some)
    }

    /// Keeps those of the rows that are later than ours, on the disk.
    async fn merge(&self, rows: Rows) -> Result<usize, StoreError> {
        let _turns = self.turns_of(rows.iter().map(|(key, _)| key.as_slice())).await;
        self.merge_in_turn(rows).await
    }

    /// Waits until nobody else changes any of these keys. Always in the same
    /// order, so that two who wait never wait for each other.
    async fn turns_of<'a>(
        &self,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Vec<tokio::sync::MutexGuard<'_, ()>> {
        let turns: BTreeSet<usize> =
            keys.map(|key| (stable(key) % self.turns.len() as u64) as usize).collect();
        let mut guards = Vec::with_capacity(turns.len());
        for turn in turns {
            if let Some(turn) = self.turns.get(turn) {
                guards.push(turn.lock().await);
            }
        }
        guards
    }

    /// As [`Self::merge`], for who has the turns of all these keys.
    async fn merge_in_turn(&self, rows: Rows) -> Result<usize, StoreError> {
        let mut batch = Vec::new();
        let mut taken = Vec::new();
        for (key, stored) in rows {
            let Some(row) = Row::read(&stored) else { continue };
            let known = key.first().is_some_and(|prefix| Table::of_prefix(*prefix).is_some());
            if !known {
                // of a version of ours that has more tables
                continue;
            }
            if row.stamp.is_ahead(wall(), AHEAD_MAX) {
                warn!(node = %row.stamp.node, "a row from the future was refused; is a clock wrong?");
                continue;
            }
            let old = self.store.get(&key)?;
            if old.as_deref().and_then(Row::read).is_some_and(|old| old.stamp >= row.stamp) {
                continue;
            }
            batch.push(Write::Put(key.clone(), stored.clone()));
            taken.push((key, old, stored));
        }
        let count = batch.len();
        if count > 0 {
            self.committer.commit(batch).await?;
            let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, old, new) in taken {
                sums.replace(&key, old.as_deref(), &new);
            }
        }
        Ok(count)
    }

    /// The next stamp for a row that has `last` now.
    fn stamp(&self, last: Option<Stamp>) -> Stamp {
        Stamp::after(last, wall(), self.cluster.me().id)
    }
}

/// A row's key in the store.
fn stored_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + key.len());
    stored.push(table.prefix());
    stored.extend_from_slice(key);
    stored
}

/// Milliseconds since 1970.
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
