//! Links by streams that other servers have opened (XEP-0288): whoever has the
//! stream writes to it, and all else is as with a link that we have opened.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::info;

use crate::cluster::rows::LinkState;
use crate::net::outbox::Item;
use crate::s2s_manager::leaving::Leaving;
use crate::s2s_manager::link::{Carrier, Link, Resume, Stands};
use crate::s2s_manager::links::{Links, NUMBERS};
use crate::stream::server::Pair;

impl<T: Default + Unpin + Send + Sync + 'static> Links<T> {
    /// A link that is in no table yet.
    pub(super) fn new_link(
        &self,
        pair: &Pair,
        waiting: Vec<Item<T>>,
        by: Carrier,
        resume: Option<Resume>,
    ) -> Link<T> {
        let number = NUMBERS | self.next.fetch_add(1, Ordering::Relaxed);
        let bytes_max = self.trust.config.queue_bytes_max.bytes();
        Link::new(pair.clone(), number, bytes_max, waiting, by, resume)
    }

    /// A link by a stream that has come, to be written to by the caller and
    /// ended by [`Links::give_up`]. Nothing: the pair has a link already, here
    /// or on another node, or this node stops.
    pub fn adopt(self: &Arc<Self>, pair: &Pair, stands: Stands) -> Option<Arc<Link<T>>> {
        let (me, links_max) = (self.cluster.me().id, self.trust.config.links_per_pair_max);
        let is_alive = |state: LinkState| !matches!(state, LinkState::Failed(_));
        let rows = self.rows(pair);
        let others = rows.iter().filter(|row| row.owner != me && is_alive(row.row.state));
        if others.count() >= links_max {
            return None;
        }
        let link = {
            let mut table = self.lock();
            let is_writing = table.leaving.get(pair).is_some_and(Leaving::is_writing);
            if table.links.get(pair).is_some() || is_writing || table.is_stopping {
                return None;
            }
            table.failed.remove(pair);
            let link = Arc::new(self.new_link(pair, Vec::new(), Carrier::Come, None));
            table.links.insert(Arc::clone(&link));
            link
        };
        info!(theirs = %pair.theirs, address = %stands.address, "a server's stream carries our stanzas");
        self.active.fetch_add(1, Ordering::Relaxed);
        link.note_open(stands);
        self.tell(&link, LinkState::Open);
        // another node may have been first while nobody here looked
        self.yield_to_others(&link);
        Some(link)
    }

    /// Nothing more is given to a link that was adopted; it writes what it has.
    pub fn retire(&self, link: &Arc<Link<T>>) {
        self.leave(link);
    }

    /// A link that was adopted has ended; `unwritten` is planned again.
    pub fn give_up(&self, link: &Arc<Link<T>>, unwritten: Vec<Item<T>>) {
        self.left(link, unwritten, None);
        self.active.fetch_sub(1, Ordering::Relaxed);
    }
}
