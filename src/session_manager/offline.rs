//! Messages that nobody was there for (XEP-0160): rows of a durable table,
//! kept until the node of a session has written them to its client.
//!
//! How they come to a session is in `handing`; to which, and when, is the
//! router's business.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dashmap::{DashMap, DashSet};
use tokio::sync::mpsc;
use tracing::debug;

use crate::cluster::durable::change::{Change, ChangeError};
use crate::cluster::durable::{Durable, Table, key_of, owner_of};
use crate::cluster::handle::Cluster;
use crate::session_manager::config::Config;
use crate::session_manager::given::Mark;
use crate::session_manager::handing::{READ_ROWS, forget_written};
use crate::session_manager::meeting::Meeting;
use crate::session_manager::session::Seat;
use crate::session_manager::shelf::{Shelf, Shelves};
use crate::storage::StoreError;
use crate::xmpp::jid::BareJid;

/// Messages that are removed together.
pub(super) const REMOVED_TOGETHER_MAX: usize = 256;

/// The bytes of messages that are stored together, about.
const TOGETHER_BYTES_MAX: usize = 256 << 10;

/// Clocks of two nodes that differ by less put messages in the wrong order
/// only if their sender has changed its node in so short a time. A guess, in
/// microseconds.
const CLOCKS_DIFFER: u64 = 100_000;

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
    /// At the home: whom it waits for before.
    pub(super) meeting: Meeting,
    /// At a session's node: messages on their way to its clients.
    pub(super) taking: DashSet<Vec<u8>>,
    pub(super) written: mpsc::UnboundedSender<Vec<u8>>,
    /// The time of the last message that was sent home from here.
    sent_home: AtomicU64,
}

/// A message that shall be stored.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The stanza.
    pub message: Bytes,
    /// Its name; 0: it gets one.
    pub mark: Mark,
    /// When it was first sent home, in microseconds since 1970; 0: now.
    pub time: u64,
    /// Another home may have stored it before.
    pub is_repeated: bool,
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
            meeting: Meeting::default(),
            taking: DashSet::new(),
            written,
            sent_home: AtomicU64::new(0),
        });
        tokio::spawn(forget_written(Arc::downgrade(&offline), waiting));
        offline
    }

    /// Stores messages for an account, in this order, as far as there is room.
    /// One that is there already, or was and has been read, is not stored
    /// again.
    pub async fn store(&self, account: &BareJid, messages: &[Letter]) -> Stored {
        let more = messages.iter().map(|letter| letter.message.len()).sum();
        let count = || self.count(account);
        let mut shelf = match self.shelves.of(account, messages.len(), more, count) {
            Ok(shelf) => shelf,
            Err(error) => return Stored { count: 0, failed: Some(error.into()) },
        };
        let mut stored = Stored::default();
        let mut rest = messages;
        while !rest.is_empty() {
            let (changes, count, after) = self.batch(account, rest, shelf);
            if count == 0 {
                break;
            }
            if !changes.is_empty()
                && let Err(error) = self.durable.change(changes).await
            {
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

    /// The first of the messages as one change, how many they are, and what is
    /// stored then.
    fn batch(
        &self,
        account: &BareJid,
        letters: &[Letter],
        mut shelf: Shelf,
    ) -> (Vec<Change>, usize, Shelf) {
        let (mut changes, mut count, mut bytes) = (Vec::new(), 0, 0);
        for letter in letters.iter().take(REMOVED_TOGETHER_MAX) {
            let size = letter.message.len();
            if letter.is_repeated && self.has_had(account, letter) {
                debug!(%account, "a message was stored before its home was lost");
                count += 1;
                continue;
            }
            let is_much = bytes > 0 && bytes + size > TOGETHER_BYTES_MAX;
            if is_much || !self.shelves.fits(&shelf, 1, size) {
                break;
            }
            bytes += size;
            count += 1;
            let time = time_for(letter.time, now(), &shelf);
            if time != letter.time {
                shelf.floor = time;
            }
            shelf.put(size, time);
            let mark = if letter.mark == 0 { rand::random() } else { letter.mark };
            let key = stored_key(account, time, mark);
            changes.push(Change::put(Table::Offline, key, letter.message.clone()));
        }
        (changes, count, shelf)
    }

    /// Whether a message is stored, or was. One that cannot be looked up is
    /// stored once more: rather twice than never.
    fn has_had(&self, account: &BareJid, letter: &Letter) -> bool {
        let key = stored_key(account, letter.time, letter.mark);
        letter.time != 0 && self.durable.has_had(Table::Offline, &key).unwrap_or(false)
    }

    /// A time for a message that is sent home: later than that of each before.
    pub fn next_time(&self) -> u64 {
        let now = now();
        let later = |last: u64| Some(now.max(last.saturating_add(1)));
        let last = self.sent_home.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        now.max(last.unwrap_or_default().saturating_add(1))
    }

    fn count(&self, account: &BareJid) -> Result<Shelf, StoreError> {
        let mut shelf = Shelf::default();
        for (rest, message) in self.all(account)? {
            shelf.put(message.len(), time_of(&rest).unwrap_or(0));
        }
        // nobody knows which of these times were given
        shelf.floor = shelf.latest;
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

/// The time in a message's key: that of who sent it home, so that it is the
/// same at whichever home it is stored; but not before what is there already,
/// or after now, by more than clocks may differ.
fn time_for(sent: u64, now: u64, shelf: &Shelf) -> u64 {
    let is_sound = sent != 0 && sent <= now.saturating_add(CLOCKS_DIFFER);
    match is_sound && sent > shelf.floor && sent.saturating_add(CLOCKS_DIFFER) > shelf.latest {
        true => sent,
        false => now.max(shelf.latest.saturating_add(1)),
    }
}

pub(super) fn stored_key(account: &BareJid, time: u64, mark: Mark) -> Vec<u8> {
    key_of(account.as_str(), &[time.to_be_bytes(), mark.to_be_bytes()].concat())
}

/// The name of a stored message, by its key.
pub(super) fn mark_of(key: &[u8]) -> Mark {
    key.last_chunk().map_or(0, |mark| u64::from_be_bytes(*mark))
}

fn time_of(rest: &[u8]) -> Option<u64> {
    rest.first_chunk().map(|time| u64::from_be_bytes(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_its_time_at_whichever_home_it_is_stored() {
        let (now, soon) = (10_000_000, CLOCKS_DIFFER / 2);
        let shelf = |latest, floor| {
            let mut shelf = Shelf::default();
            (shelf.latest, shelf.floor) = (latest, floor);
            shelf
        };
        assert_eq!(time_for(now - 5, now, &shelf(0, 0)), now - 5);
        assert_eq!(time_for(now - soon, now, &shelf(now, 0)), now - soon, "others came before");
        assert_eq!(time_for(now + soon, now, &shelf(now, 0)), now + soon);
        // a clock that is wrong does not put it out of order
        assert_eq!(time_for(now - 2 * CLOCKS_DIFFER, now, &shelf(now, 0)), now + 1);
        assert_eq!(time_for(now + 2 * CLOCKS_DIFFER, now, &shelf(now + 7, 0)), now + 8);
        assert_eq!(time_for(0, now, &shelf(7, 0)), now);
        // the one before it came late and got another time
        assert_eq!(time_for(now - soon, now, &shelf(now - 1, now - 1)), now);
    }

    #[test]
    fn a_stored_message_is_named_in_its_key() {
        let account = BareJid::parse("romeo@localhost").expect("an address");
        assert_eq!(mark_of(&stored_key(&account, 5, 77)), 77);
    }
}
