//! All links of this node, and those that have failed: what is given to one
//! waits there until it stands, and comes back if it does not.
//!
//! Which node carries a stanza is decided in `choice`, by the router.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng;
use smallvec::SmallVec;
use tokio::sync::{Semaphore, mpsc};
use tracing::debug;

use crate::cluster::handle::Cluster;
use crate::cluster::rows::{LinkRow, LinkState, RowChange, SoftRow};
use crate::cluster::table::Entry;
use crate::net::outbox::{Item, Refused};
use crate::s2s_manager::choice;
use crate::s2s_manager::fault::{Kind, LinkError, rest};
use crate::s2s_manager::flows::Flows;
use crate::s2s_manager::heard;
use crate::s2s_manager::leaving::{Deferred, Leaving};
use crate::s2s_manager::link::{Carrier, Link, Resume};
use crate::s2s_manager::own::Own;
use crate::s2s_manager::rates::Rates;
use crate::s2s_manager::resolve::Resolve;
use crate::s2s_manager::trust::Trust;
use crate::stream::server::{Pair, Policy};

/// The numbers of our rows lie above those of sessions.
pub(super) const NUMBERS: u64 = 1 << 63;

/// Links that are opened at a time; more wait, within the time that their
/// stanzas may wait. A guess: each asks DNS and does a TLS handshake.
const OPENING_MAX: usize = 256;

/// Questions about keys at a time; more wait, within the time that one may
/// take. A guess, as above.
const ASKING_MAX: usize = 64;

/// Failed pairs that are remembered. Full: the next failure is not, and its
/// pair is tried again at once. A guess: 1 MB.
const FAILED_MAX: usize = 10_000;

/// Bytes that may wait for all links together when one more is opened: so many
/// full queues. A guess.
const FULL_QUEUES_MAX: usize = 256;

/// A stanza that no link takes.
#[derive(Debug)]
pub struct Unsent<T> {
    /// It.
    pub item: Item<T>,
    /// Why.
    pub why: Kind,
}

/// Room 4: the links of this node.
#[derive(Debug)]
pub struct Links<T> {
    pub(super) trust: Arc<Trust>,
    pub(super) resolve: Arc<Resolve>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) opening: Semaphore,
    pub(super) asking: Semaphore,
    table: Mutex<Table<T>>,
    /// Pairs with something to be planned again: see `leaving`.
    pub(super) up: mpsc::Sender<Pair>,
    /// What servers have sent to this node, where they may not send more.
    pub incoming: Rates,
    /// What they were sent.
    pub outgoing: Rates,
    /// Where what is said has gone.
    pub(super) flows: Mutex<Flows>,
    /// What is said on links of ours.
    pub(super) heard: heard::Up,
    pub(super) next: AtomicU64,
    /// Links that have not ended yet.
    pub(super) active: AtomicUsize,
}

#[derive(Debug)]
pub(super) struct Table<T> {
    pub(super) links: Own<T>,
    pub(super) failed: HashMap<Pair, Failed>,
    pub(super) leaving: HashMap<Pair, Leaving<T>>,
    pub(super) is_stopping: bool,
}

/// A pair whose link has failed.
#[derive(Debug, Clone)]
pub struct Failed {
    /// How often, without success between.
    pub times: u32,
    /// When it is tried again.
    pub until: Instant,
    /// Why it has failed the last time.
    pub error: LinkError,
    /// The row by which others know.
    number: u64,
}

impl<T: Default + Unpin + Send + Sync + 'static> Links<T> {
    /// No links yet. What they cannot carry goes to `up`, what they hear to
    /// `heard`.
    pub fn new(
        trust: Arc<Trust>,
        resolve: Arc<Resolve>,
        cluster: Arc<Cluster>,
        up: mpsc::Sender<Pair>,
        heard: heard::Up,
    ) -> Arc<Self> {
        let (links, failed, leaving) = (Own::default(), HashMap::new(), HashMap::new());
        let table = Table { links, failed, leaving, is_stopping: false };
        Arc::new(Self {
            trust,
            resolve,
            cluster,
            opening: Semaphore::new(OPENING_MAX),
            asking: Semaphore::new(ASKING_MAX),
            table: Mutex::new(table),
            up,
            incoming: Rates::default(),
            outgoing: Rates::default(),
            flows: Mutex::default(),
            heard,
            next: AtomicU64::new(0),
            active: AtomicUsize::new(0),
        })
    }

    /// What is believed of servers.
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// The links of a pair anywhere in the cluster.
    pub fn rows(&self, pair: &Pair) -> SmallVec<[Entry<LinkRow>; 2]> {
        let mut rows = self.cluster.tables().links.find(pair.theirs.as_str());
        rows.retain(|entry| *entry.row.ours == *pair.ours.as_str());
        rows
    }

    /// Gives a stanza to the link of this node, which is opened if there is
    /// none.
    ///
    /// # Errors
    /// [`Unsent`], with the stanza in it.
    pub fn push(self: &Arc<Self>, pair: &Pair, bytes: Bytes, token: T) -> Result<(), Unsent<T>> {
        let mut item = Item { bytes, token };
        loop {
            let link = match self.link(pair) {
                Ok(Some(link)) => link,
                Ok(None) => match self.defer(pair, item.bytes, item.token) {
                    Deferred::Waits => return Ok(()),
                    Deferred::Full(item) => {
                        return Err(Unsent { item, why: Kind::Full });
                    }
                    Deferred::Free(back) => {
                        item = back;
                        continue;
                    }
                },
                Err(why) => return Err(Unsent { item, why }),
            };
            match link.outbox.push(item.bytes, item.token) {
                Ok(()) => {
                    link.note_stanza();
                    return Ok(());
                }
                Err(Refused::Full(item)) => {
                    return Err(Unsent { item, why: Kind::Full });
                }
                // it has just ended, and is out of the table
                Err(Refused::Closed(back)) => item = back,
            }
        }
    }

    /// The link of a pair, perhaps a new one; nothing: another still writes.
    fn link(self: &Arc<Self>, pair: &Pair) -> Result<Option<Arc<Link<T>>>, Kind> {
        let mut table = self.lock();
        if let Some(link) = table.links.get(pair) {
            return Ok(Some(Arc::clone(link)));
        }
        if table.leaving.get(pair).is_some_and(Leaving::is_writing) {
            return Ok(None);
        }
        if let Some(failed) = table.failed.get(pair).filter(|one| one.until > Instant::now()) {
            return Err(failed.error.kind());
        }
        let config = &self.trust.config;
        if !config.enabled {
            return Err(Kind::NotFound);
        }
        let policy = config.policy(&pair.theirs).ok_or(Kind::Forbidden)?;
        let waiting: usize = table.links.iter().map(|link| link.outbox.len()).sum();
        let queue = config.queue_bytes_max.bytes();
        if table.links.len() >= config.links_per_node_max
            || waiting >= queue.saturating_mul(FULL_QUEUES_MAX)
            || table.is_stopping
        {
            return Err(Kind::Full);
        }
        Ok(Some(self.begin(&mut table, pair, policy, Vec::new(), None)))
    }

    /// A new link, with what waits for it already.
    pub(super) fn begin(
        self: &Arc<Self>,
        table: &mut Table<T>,
        pair: &Pair,
        policy: Policy,
        waiting: Vec<Item<T>>,
        resume: Option<Resume>,
    ) -> Arc<Link<T>> {
        let link = Arc::new(self.new_link(pair, waiting, Carrier::Opened, resume));
        table.links.insert(Arc::clone(&link));
        self.tell(&link, LinkState::Opening);
        tokio::spawn(Arc::clone(self).keep(Arc::clone(&link), policy));
        link
    }

    /// All nodes hear how far a link is.
    pub(super) fn tell(&self, link: &Link<T>, state: LinkState) {
        let (ours, theirs) = (link.pair.ours.as_str().into(), link.pair.theirs.as_str().into());
        self.cluster.put(link.number, SoftRow::Link(LinkRow { ours, theirs, state }));
    }

    /// A link did not come about, or not for long; it is tried again after a
    /// while, which is what is given back.
    pub(super) fn note_failure(&self, link: &Link<T>, error: LinkError) -> Duration {
        let Link { pair, number, .. } = link;
        let config = &self.trust.config;
        let (least, most) = (config.retry_after_min.get(), config.retry_after_max.get());
        let mut table = self.lock();
        let now = Instant::now();
        if table.failed.len() >= FAILED_MAX {
            table.failed.retain(|_, failed| failed.until > now);
        }
        let times = table.failed.get(pair).map_or(0, |failed| failed.times) + 1;
        let longest = rest(times, least, most);
        // by chance, so that not all come at the same moment (RFC 6120 §3.3)
        let wait = longest.mul_f64(rand::rng().random_range(0.5..=1.0));
        if table.failed.len() < FAILED_MAX {
            table
                .failed
                .insert(pair.clone(), Failed { times, until: now + wait, error, number: *number });
        }
        wait
    }

    /// A link stands: what was before is forgotten.
    pub(super) fn note_success(&self, pair: &Pair) {
        self.lock().failed.remove(pair);
    }

    /// Rows have changed: a link of ours that another node has as well may
    /// have to go.
    pub fn note_rows(self: &Arc<Self>, changes: &[RowChange]) {
        let me = self.cluster.me().id;
        let rows = changes.iter().filter(|change| change.owner != me);
        let open = rows.filter_map(|change| match &change.new {
            // one that is only being opened may fail yet
            Some(SoftRow::Link(row)) if row.state == LinkState::Open => Some(row),
            _ => None,
        });
        let both: Vec<_> = {
            let table = self.lock();
            open.filter_map(|row| table.links.find(&row.ours, &row.theirs)).cloned().collect()
        };
        both.iter().for_each(|link| self.yield_to_others(link));
    }

    /// Ends a link if others stay by the rule of all nodes.
    pub(super) fn yield_to_others(&self, link: &Arc<Link<T>>) {
        if !choice::stays(&self.rows(&link.pair), self.side(&self.going())) {
            debug!(theirs = %link.pair.theirs, "others have links: ours ends");
            self.end(link);
        }
    }

    /// Whether this node has a link of the pair to which more may be given.
    pub fn has(&self, pair: &Pair) -> bool {
        self.lock().links.get(pair).is_some()
    }

    /// All links, for whoever looks.
    pub fn all(&self) -> Vec<Arc<Link<T>>> {
        self.lock().links.iter().cloned().collect()
    }

    /// All pairs whose link has failed.
    pub fn failed(&self) -> Vec<(Pair, Failed)> {
        let table = self.lock();
        table.failed.iter().map(|(pair, failed)| (pair.clone(), failed.clone())).collect()
    }

    /// Ends the links to a domain that we have opened, after what waits for
    /// them, and forgets that others have failed; says how many there were.
    pub fn close(&self, theirs: &str) -> usize {
        self.lock().failed.retain(|pair, failed| {
            let is_meant = pair.theirs.as_str() == theirs;
            if is_meant {
                self.cluster.remove(failed.number);
            }
            !is_meant
        });
        let meant = |link: &Arc<Link<T>>| {
            link.carrier == Carrier::Opened && link.pair.theirs.as_str() == theirs
        };
        let meant: Vec<_> = self.all().into_iter().filter(meant).collect();
        meant.iter().for_each(|link| self.end(link));
        meant.len()
    }

    fn end(&self, link: &Arc<Link<T>>) {
        self.leave(link);
        link.end.notify_one();
    }

    /// This node stops: links end after what waits for them. Says how many
    /// there were that we had opened.
    pub fn stop(&self) -> usize {
        self.lock().is_stopping = true;
        let all = self.all();
        all.iter().for_each(|link| self.end(link));
        all.iter().filter(|link| link.carrier == Carrier::Opened).count()
    }

    /// Whether it has.
    pub fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    /// Links for which something waits.
    pub fn busy(&self) -> usize {
        let table = self.lock();
        let links = table.links.iter().filter(|link| !link.outbox.is_empty()).count();
        links + table.leaving.len()
    }

    /// Links that have not ended yet, though perhaps nothing is given to them
    /// any more.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Table<T>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
