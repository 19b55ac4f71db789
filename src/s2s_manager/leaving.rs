//! Links that end while their pair goes on: what is given to the pair meanwhile
//! waits behind what the old link still writes, and behind what it could not
//! write. So the order of each sender holds over a change of links.

use std::sync::Arc;

use bytes::Bytes;
use tracing::debug;

use crate::net::outbox::Item;
use crate::s2s_manager::fault::Kind;
use crate::s2s_manager::link::{Link, Resume};
use crate::s2s_manager::links::{Links, Table};
use crate::stream::server::Pair;

/// What waits for the end of a link.
#[derive(Debug)]
pub(super) struct Leaving<T> {
    /// Links that still write.
    links: usize,
    items: Vec<Item<T>>,
    bytes: usize,
    /// So many of them, the first, have failed already.
    failed: Option<(usize, Kind)>,
    /// Rows of links that have ended. They stand until all is planned again:
    /// no other node shall open a link before what waits here has gone.
    rows: Vec<u64>,
}

/// What is to be planned again, in this order.
#[derive(Debug)]
pub struct Left<T> {
    /// These could not be sent, and why.
    pub failed: Vec<Item<T>>,
    /// Why; nothing: another link shall take them.
    pub why: Option<Kind>,
    /// These came behind them.
    pub behind: Vec<Item<T>>,
}

/// What became of a stanza.
#[derive(Debug)]
pub enum Deferred<T> {
    /// It waits.
    Waits,
    /// There is no reason to wait.
    Free(Item<T>),
    /// Too much waits.
    Full(Item<T>),
}

impl<T> Default for Leaving<T> {
    fn default() -> Self {
        Self { links: 0, items: Vec::new(), bytes: 0, failed: None, rows: Vec::new() }
    }
}

impl<T> Leaving<T> {
    /// Whether an old link has not ended yet.
    pub(super) fn is_writing(&self) -> bool {
        self.links > 0
    }
}

impl<T: Default + Unpin + Send + Sync + 'static> Links<T> {
    /// Nothing more is given to a link; it writes what it has.
    pub(super) fn leave(&self, link: &Arc<Link<T>>) {
        let mut table = self.lock();
        if table.links.has(link) {
            table.links.remove(&link.pair);
            table.leaving.entry(link.pair.clone()).or_default().links += 1;
        }
    }

    /// A link that was open has ended: what it had not written is the first
    /// that the next one carries, before all that is given to it from now on.
    /// A stream that may go on does so, even if only its peer has something.
    pub(super) fn begin_again(
        self: &Arc<Self>,
        link: &Arc<Link<T>>,
        mut unwritten: Vec<Item<T>>,
        resume: Option<Resume>,
    ) {
        let mut table = self.lock();
        let is_known = table.links.has(link);
        unwritten.extend(link.outbox.close());
        match self.trust.config.policy(&link.pair.theirs) {
            Some(policy)
                if is_known
                    && (resume.is_some() || !unwritten.is_empty())
                    && !table.is_stopping =>
            {
                self.begin(&mut table, &link.pair, policy, unwritten, resume);
                self.cluster.remove(link.number);
            }
            _ => {
                drop(table);
                self.left(link, unwritten, None);
            }
        }
    }

    /// A link has ended: what it did not write goes up, and what has waited
    /// for its end behind that.
    pub(super) fn left(&self, link: &Arc<Link<T>>, mut unwritten: Vec<Item<T>>, why: Option<Kind>) {
        let mut table = self.lock();
        unwritten.extend(link.outbox.close());
        let is_known = table.links.has(link);
        if is_known {
            table.links.remove(&link.pair);
        }
        let entry = table.leaving.entry(link.pair.clone()).or_default();
        if !is_known {
            entry.links = entry.links.saturating_sub(1);
        }
        match why {
            // its row says so for a while
            Some(why) => entry.failed = Some((unwritten.len(), why)),
            None => entry.rows.push(link.number),
        }
        unwritten.append(&mut entry.items);
        entry.items = unwritten;
        if entry.links > 0 {
            return;
        }
        if entry.items.is_empty() {
            return self.pass(&mut table, &link.pair);
        }
        let (up, pair) = (self.up.clone(), link.pair.clone());
        tokio::spawn(async move {
            if up.send(pair).await.is_err() {
                debug!("nobody is left who could be told of stanzas that were not sent");
            }
        });
    }

    /// Nothing waits any more.
    fn pass(&self, table: &mut Table<T>, pair: &Pair) {
        let rows = table.leaving.remove(pair).map(|entry| entry.rows);
        rows.unwrap_or_default().into_iter().for_each(|number| self.cluster.remove(number));
    }

    /// Lets a stanza wait, if others wait for the end of a link.
    pub fn defer(&self, pair: &Pair, bytes: Bytes, token: T) -> Deferred<T> {
        let item = Item { bytes, token };
        let bytes_max = self.trust.config.queue_bytes_max.bytes();
        let mut table = self.lock();
        let Some(entry) = table.leaving.get_mut(pair) else { return Deferred::Free(item) };
        let after = entry.bytes.saturating_add(item.bytes.len());
        if entry.bytes > 0 && after > bytes_max {
            return Deferred::Full(item);
        }
        entry.bytes = after;
        entry.items.push(item);
        Deferred::Waits
    }

    /// What shall be planned again now; nothing: from now on stanzas of the
    /// pair need not wait, or they wait for another link's end.
    pub fn take_left(&self, pair: &Pair) -> Option<Left<T>> {
        let mut table = self.lock();
        let entry = table.leaving.get_mut(pair).filter(|entry| entry.links == 0)?;
        if entry.items.is_empty() {
            self.pass(&mut table, pair);
            return None;
        }
        entry.bytes = 0;
        let mut failed = std::mem::take(&mut entry.items);
        let (count, why) = match entry.failed.take() {
            Some((count, why)) => (count, Some(why)),
            None => (0, None),
        };
        let behind = failed.split_off(count.min(failed.len()));
        Some(Left { failed, why, behind })
    }
}
