//! Durable tables: every row on every node's disk. A change is made at its
//! key's home, and synced there and on all other nodes at once before its caller
//! hears of it; what was missed is mended by comparing sums of buckets.
//!
//! Rows are last-writer-wins registers, stamped by a hybrid logical clock
//! (`row`); a removed row stays as a tombstone for a while. What is decided is
//! decided in `core` and `ledger`, which are pure; `driver` gives them clock,
//! cluster and store. What is in a value is the business of the rooms above.

pub mod row;

pub mod layout;
pub mod sums;

pub mod change;
pub mod clock;
pub mod intent;
pub mod marks;
pub mod words;

pub mod ledger;
pub mod page;

mod ahead;
pub mod answers;
mod changes;
mod compare;
pub mod core;
mod keeping;
mod meeting;
pub mod news;
mod pending;
mod rounds;
mod telling;

pub mod backup;
mod driver;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tracing::info;

use crate::cluster::asks::Question;
use crate::cluster::durable::change::{ChangeError, Made};
use crate::cluster::durable::clock::At;
use crate::cluster::durable::core::Core;
use crate::cluster::durable::layout::{MARKS_KEY, row_key};
use crate::cluster::durable::ledger::Ledger;
use crate::cluster::durable::news::{Input, Settings};
use crate::cluster::durable::page::damaged;
use crate::cluster::durable::row::Row;
use crate::cluster::durable::sums::Sums;
use crate::cluster::durable::writer::Writer;
use crate::cluster::handle::Cluster;
use crate::cluster::node::NodeId;
use crate::storage::{Store, StoreError};

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
    /// The nodes of this cluster, by name: members, and who was removed.
    Nodes = 9,
    /// What holds for all nodes, by its name.
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

/// Rows read from the store at a time.
const PAGE_ROWS: usize = 256;

/// Changes of callers here that are under way; one more waits.
const CHANGES_MAX: usize = 4_096;

/// Keys and values, and the key to go on from.
pub type Page = (Vec<(Vec<u8>, Bytes)>, Option<Vec<u8>>);

type Waiting = HashMap<u64, oneshot::Sender<Result<Made, ChangeError>>>;

/// The durable tables of this node.
pub struct Durable {
    own: Weak<Self>,
    cluster: Arc<Cluster>,
    store: Arc<dyn Store>,
    core: Mutex<Core>,
    sums: Arc<RwLock<Sums>>,
    writer: Writer,
    runtime: Handle,
    started: Instant,
    next: AtomicU64,
    room: Semaphore,
    waiting: Mutex<Waiting>,
    questions: Mutex<HashMap<u64, Question>>,
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
    /// The tables in this store. To be called on a runtime, which will be
    /// used for what is asked of other nodes.
    ///
    /// # Errors
    /// [`DurableError`].
    pub fn new(
        cluster: Arc<Cluster>,
        store: Arc<dyn Store>,
        settings: Settings,
    ) -> Result<Arc<Self>, DurableError> {
        let me = cluster.me().clone();
        let (ledger, sums) = Ledger::read(me.id, &*store.snapshot()?)?;
        info!(rows = sums.rows(), "durable tables are open");
        let marks = store.get(MARKS_KEY)?;
        let at = At { steady: 0, wall: driver::wall() };
        let core = Core::new(me.name, cluster.members(), settings, marks.as_deref(), at);
        let sums = Arc::new(RwLock::new(sums));
        let (writer, desk) = Writer::new(Arc::clone(&store), ledger, Arc::clone(&sums));
        let durable = Arc::new_cyclic(|own| Self {
            own: Weak::clone(own),
            cluster,
            store,
            core: Mutex::new(core),
            sums,
            writer,
            runtime: Handle::current(),
            started: Instant::now(),
            next: AtomicU64::new(1),
            room: Semaphore::new(CHANGES_MAX),
            waiting: Mutex::default(),
            questions: Mutex::default(),
        });
        let told = Arc::downgrade(&durable);
        desk.start(move |news| told.upgrade().inspect(|durable| durable.input(news)).is_some())?;
        Ok(durable)
    }

    /// The value of a key, as this node has it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.row(table, key)?.and_then(|row| row.value))
    }

    /// Whether there is a value for a key, or was one that has been removed
    /// not too long ago, as this node knows it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_had(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.row(table, key)?.is_some())
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
        let rows = self.store.scan(&row_key(table, prefix), &row_key(table, from), limit)?;
        let next = rows.last().filter(|_| rows.len() == limit);
        let next = next.map(|(key, _)| [key.get(1..).unwrap_or_default(), &[0]].concat());
        let mut values = Vec::with_capacity(rows.len());
        for (key, stored) in rows {
            match Row::read(&stored) {
                Some(row) => values.extend(row.value.map(|value| {
                    let key = key.get(1..).unwrap_or_default().to_vec();
                    (key, value)
                })),
                // another node has it; nobody else: what is left must do
                None => {
                    self.input(Input::Lost { key });
                    if self.cluster.members().count() > 1 {
                        return Err(damaged());
                    }
                }
            }
        }
        Ok((values, next))
    }

    /// The value of a key in a store whose tables are not open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn peek(store: &dyn Store, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let stored = store.get(&row_key(table, key))?;
        Ok(stored.and_then(|stored| Row::read(&stored)).and_then(|row| row.value))
    }

    /// The cluster that it is of.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// How many rows there are, tombstones among them.
    pub fn count(&self) -> u64 {
        self.sums.read().unwrap_or_else(PoisonError::into_inner).rows()
    }

    /// One number for all rows: equal on two nodes that have the same.
    pub fn digest(&self) -> u64 {
        self.sums.read().unwrap_or_else(PoisonError::into_inner).digest()
    }

    /// How often rows of a table were written since the start: what was read
    /// from it is still so while this is the same.
    pub fn changes(&self, table: Table) -> u64 {
        self.writer.changes(table)
    }

    /// Acknowledgements that came late or not at all, since the start.
    pub fn late(&self) -> u64 {
        self.late_nodes().values().sum()
    }

    /// The same, of each node that was late.
    pub fn late_nodes(&self) -> BTreeMap<NodeId, u64> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner).late().clone()
    }

    /// Waits until all rows that other nodes have told us so far are on our
    /// disk, or were refused.
    pub async fn settle(&self) {
        self.writer.settle().await;
    }

    /// Ends the store in good order. Nothing is read or changed after it.
    pub fn close(&self) {
        self.store.close();
    }

    /// Why the store fails; `None`: it works.
    pub fn failing(&self) -> Option<StoreError> {
        self.writer.failing()
    }

    fn row(&self, table: Table, key: &[u8]) -> Result<Option<Row>, StoreError> {
        let key = row_key(table, key);
        let Some(stored) = self.store.get(&key)? else { return Ok(None) };
        Row::read(&stored).map(Some).ok_or_else(|| {
            // another node has it
            self.input(Input::Lost { key });
            damaged()
        })
    }
}
