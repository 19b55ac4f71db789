//! The nodes of this cluster, by name, whether they run or not: the durable
//! table `nodes`. A node writes itself in when it serves; whoever was removed
//! stays in it, so that it is turned away until it is asked to return.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::cluster::durable::change::{Change, ChangeError, Made};
use crate::cluster::durable::{Durable, Table};
use crate::cluster::events::Event;
use crate::cluster::handle::Cluster;
use crate::cluster::news::Input;
use crate::cluster::node::{NodeName, NodeState};
use crate::storage::{Store, StoreError};

/// Between two looks whether the table has changed.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Between two tries to write ourselves in.
const TRY_INTERVAL: Duration = Duration::from_secs(1);

/// Rows read at a time.
const PAGE_ROWS: usize = 1_024;

/// A node as the table has it. Fields are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// Where others found it last.
    pub address: String,
    /// Its software.
    pub version: String,
    /// It was removed.
    pub removed: Option<Removal>,
}

/// How a node was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// On which node that was said.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// The table, and what was last read of it.
#[derive(Debug)]
pub struct Registry {
    durable: Arc<Durable>,
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    /// At how many changes of the table; none: never.
    changes: Option<u64>,
    rows: BTreeMap<String, NodeRow>,
}

impl NodeRow {
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        postcard::from_bytes(value).ok()
    }

    pub(super) fn written(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a row has only fields that postcard knows")
    }
}

impl Registry {
    /// The registry in these tables; from now on the cluster asks it.
    pub fn new(durable: Arc<Durable>) -> Arc<Self> {
        let registry = Arc::new(Self { durable, read: Mutex::default() });
        // a second one of the same cluster is asked by nobody
        let _ = registry.cluster().registry.set(Arc::downgrade(&registry));
        registry
    }

    /// How this node was removed, as far as its own store knows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn removal_in(store: &dyn Store, name: &NodeName) -> Result<Option<Removal>, StoreError> {
        let row = Durable::peek(store, Table::Nodes, name.as_str().as_bytes())?;
        Ok(row.and_then(|row| NodeRow::read(&row)).and_then(|row| row.removed))
    }

    /// All nodes, by name. What cannot be read now is as it was last.
    pub fn rows(&self) -> BTreeMap<String, NodeRow> {
        self.with(BTreeMap::clone)
    }

    /// Whether the node of this name was removed.
    pub fn is_removed(&self, name: &NodeName) -> bool {
        self.with(|rows| rows.get(name.as_str()).is_some_and(|row| row.removed.is_some()))
    }

    /// Looks at the rows, which are read again when they have changed.
    fn with<T>(&self, look: impl FnOnce(&BTreeMap<String, NodeRow>) -> T) -> T {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.durable.changes(Table::Nodes);
        if read.changes != Some(changes)
            && let Ok(rows) = self.read_all()
        {
            *read = Read { changes: Some(changes), rows };
        }
        look(&read.rows)
    }

    fn read_all(&self) -> Result<BTreeMap<String, NodeRow>, StoreError> {
        let mut all = BTreeMap::new();
        let mut from = Some(Vec::new());
        while let Some(key) = from {
            let (rows, next) = self.durable.scan(Table::Nodes, &key, PAGE_ROWS)?;
            all.extend(rows.into_iter().filter_map(|(key, value)| {
                Some((String::from_utf8(key).ok()?, NodeRow::read(&value)?))
            }));
            from = next;
        }
        Ok(all)
    }

    /// Removes a node for good. All nodes that can be reached know it then.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn remove(&self, name: &NodeName) -> Result<Made, ChangeError> {
        let by = self.cluster().me().name.to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let known = self.rows().remove(name.as_str());
        let known = known.unwrap_or(NodeRow {
            address: String::new(),
            version: String::new(),
            removed: None,
        });
        self.write(name, &NodeRow { removed: Some(Removal { by, at }), ..known }).await
    }

    /// A node that was removed may come again.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub(super) async fn take_back(&self, name: &NodeName) -> Result<(), ChangeError> {
        let Some(row) = self.rows().remove(name.as_str()) else { return Ok(()) };
        self.write(name, &NodeRow { removed: None, ..row }).await.map(drop)
    }

    /// Writes this node in, and acts on what others write, for ever.
    pub async fn keep(self: Arc<Self>) {
        let mut members = self.cluster().watch_members();
        let serves = |cluster: &Arc<Cluster>| {
            let members = cluster.members();
            members.get(members.me()).is_some_and(|me| me.state == NodeState::Serving)
        };
        while !serves(self.cluster()) {
            if members.changed().await.is_err() {
                return;
            }
        }
        while let Err(error) = self.enroll().await {
            warn!(%error, "this node cannot be written into the table of nodes");
            tokio::time::sleep(TRY_INTERVAL).await;
        }
        let mut address = self.cluster().address();
        let mut seen = None;
        loop {
            let now = self.cluster().address();
            if now != address && self.enroll().await.is_ok() {
                address = now;
            }
            let changes = self.durable.changes(Table::Nodes);
            if seen.replace(changes) != Some(changes) {
                self.put_out();
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn enroll(&self) -> Result<(), ChangeError> {
        let cluster = self.cluster();
        let name = &cluster.me().name;
        let row = NodeRow {
            address: cluster.address().to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            removed: None,
        };
        match self.rows().get(name.as_str()) {
            Some(known) if known.removed.is_some() || *known == row => Ok(()),
            _ => self.write(name, &row).await.map(drop),
        }
    }

    /// Whoever was removed and is still seen goes. One that leaves by itself
    /// says goodbye when it is ready.
    fn put_out(&self) {
        let cluster = self.cluster();
        let members = cluster.members();
        for member in members.iter() {
            if member.state == NodeState::Leaving || !self.is_removed(&member.node.name) {
                continue;
            }
            if member.node.id == members.me() {
                cluster.tell(Event::Removed);
            } else {
                info!(node = %member.node.name, "a node that was removed is put out");
                cluster.input(Input::Expel { name: member.node.name.clone() });
            }
        }
    }

    async fn write(&self, name: &NodeName, row: &NodeRow) -> Result<Made, ChangeError> {
        self.durable.change([Change::put(Table::Nodes, name.as_str(), row.written())]).await
    }

    fn cluster(&self) -> &Arc<Cluster> {
        self.durable.cluster()
    }
}
