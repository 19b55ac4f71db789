//! Messages that nobody was there for (XEP-0160): rows of a durable table,
//! kept until the node of a session has written them to its client.
//!
//! How they come to a session is in `handing`; to which, and when, is the
//! router's business.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dashmap::{DashMap, DashSet};
use tokio::sync::mpsc;

use crate::cluster::durable::change::{Change, ChangeError};
use crate::cluster::durable::{Durable, Table, key_of, owner_of};
use crate::cluster::handle::Cluster;
use crate::session_manager::config::Config;
use crate::session_manager::handing::{READ_ROWS, forget_written};
use crate::session_manager::session::Seat;
use crate::session_manager::shelf::{Shelf, Shelves};
use crate::storage::StoreError;
use crate::xmpp::jid::BareJid;

/// Messages that are removed together.
pub(super) const REMOVED_TOGETHER_MAX: usize = 256;

/// The bytes of messages that are stored together, about.
const TOGETHER_BYTES_MAX: usize = 256 << 10;

/// The offline store of this node.
#[derive(Debug)]
pub struct Offline {
    pub(super) me: Weak<Self>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) durable: Arc<Durable>,
    /// At the home: how much more may be stored.
    shelves: Shelves,
    /// At the home: which session has which messages in its hands.
    pub(super) handed: DashMap<Box<str>, HashMap<Vec<u8>, Seat>>,
    /// At a session's node: messages on their way to its clients.
    pub(super) taking: DashSet<Vec<u8>>,
    pub(super) written: mpsc::UnboundedSender<Vec<u8>>,
}

/// What became of messages that shall be stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// So many of them, from the first, are on the disks.
    pub count: usize,
    /// Why the others are not; nothing: there was no room for the next one.
    pub failed: Option<ChangeError>,
}

impl Offline {
    /// The store in these tables. Removes what was written from now on.
    pub fn new(cluster: Arc<Cluster>, durable: Arc<Durable>, config: &Config) -> Arc<Self> {
        // bounded by what is handed out
        let (written, waiting) = mpsc::unbounded_channel();
        let offline = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            cluster,
            durable,
            shelves: Shelves::new(config),
            handed: DashMap::new(),
            taking: DashSet::new(),
            written,
        });
        tokio::spawn(forget_written(Arc::downgrade(&offline), waiting));
        offline
    }

    /// Stores messages for an account, in this order, as far as there is room.
    pub async fn store(&self, account: &BareJid, messages: &[Bytes]) -> Stored {
        let more = messages.iter().map(Bytes::len).sum();
        let count = || self.count(account);
        let mut shelf = match self.shelves.of(account, messages.len(), more, count) {
            Ok(shelf) => shelf,
            Err(error) => return Stored { count: 0, failed: Some(error.into()) },
        };
        let mut stored = Stored::default();
        let mut rest = messages;
        while !rest.is_empty() {
            let (changes, after) = self.batch(account, rest, shelf);
            let count = changes.len();
            if count == 0 {
                break;
            }
            if let Err(error) = self.durable.change(changes).await {
                stored.failed = Some(error);
                break;
            }
            shelf = after;
            stored.count += count;
            rest = rest.get(count..).unwrap_or_default();
        }
        self.shelves.keep(account, shelf);
        stored
    }

    /// The first of the messages as one change, and what is stored then.
    fn batch(
        &self,
        account: &BareJid,
        messages: &[Bytes],
        mut shelf: Shelf,
    ) -> (Vec<Change>, Shelf) {
        let mut changes = Vec::new();
        let mut bytes = 0;
        for message in messages.iter().take(REMOVED_TOGETHER_MAX) {
            let is_much = bytes > 0 && bytes + message.len() > TOGETHER_BYTES_MAX;
            if is_much || !self.shelves.fits(&shelf, 1, message.len()) {
                break;
            }
            bytes += message.len();
            // behind all that is there, whatever the clock says
            let time = now().max(shelf.latest.saturating_add(1));
            shelf.put(message.len(), time);
            let chance: u64 = rand::random();
            let rest = [time.to_be_bytes(), chance.to_be_bytes()].concat();
            let key = key_of(account.as_str(), &rest);
            changes.push(Change::put(Table::Offline, key, message.clone()));
        }
        (changes, shelf)
    }

    fn count(&self, account: &BareJid) -> Result<Shelf, StoreError> {
        let mut shelf = Shelf::default();
        for (rest, message) in self.all(account)? {
            shelf.put(message.len(), time_of(&rest).unwrap_or(0));
        }
        Ok(shelf)
    }

    /// How many messages are on their way to sessions of this node, or written
    /// there and not yet removed.
    pub fn handed_out(&self) -> usize {
        self.taking.len()
    }

    /// Whether anything is stored for an account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has(&self, account: &BareJid) -> Result<bool, StoreError> {
        let mut from = key_of(account.as_str(), b"");
        loop {
            // a page may be empty, for what was removed stays a while
            let (rows, next) = self.durable.scan(Table::Offline, &from, READ_ROWS)?;
            if let Some((key, _)) = rows.first() {
                return Ok(owner_of(key) == account.as_str().as_bytes());
            }
            match next {
                Some(next) if owner_of(&next) == account.as_str().as_bytes() => from = next,
                _ => return Ok(false),
            }
        }
    }

    /// All messages of an account, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn all(&self, account: &BareJid) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        self.durable.all_of(Table::Offline, account.as_str())
    }

    /// Throws all messages of an account away, and says how many.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn clear(&self, account: &BareJid) -> Result<usize, ChangeError> {
        let all = self.all(account)?;
        let keys: Vec<_> = all.iter().map(|(rest, _)| key_of(account.as_str(), rest)).collect();
        self.remove(&keys).await?;
        Ok(keys.len())
    }

    /// Removes messages that were written.
    pub(super) async fn remove(&self, keys: &[Vec<u8>]) -> Result<(), ChangeError> {
        for some in keys.chunks(REMOVED_TOGETHER_MAX) {
            let removals: Vec<Change> =
                some.iter().map(|key| Change::remove(Table::Offline, key.clone())).collect();
            self.durable.change(removals).await?;
        }
        for key in keys {
            let owner = String::from_utf8_lossy(owner_of(key)).into_owned();
            if let Some(mut handed) = self.handed.get_mut(owner.as_str()) {
                handed.remove(key);
            }
            self.handed.remove_if(owner.as_str(), |_, handed| handed.is_empty());
        }
        Ok(())
    }
}

/// Microseconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

fn time_of(rest: &[u8]) -> Option<u64> {
    rest.first_chunk().map(|time| u64::from_be_bytes(*time))
}
