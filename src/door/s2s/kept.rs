//! Streams of other servers whose connection was lost, and that may go on by
//! another one (XEP-0198 §5): on this node, for a while. Their peers have not
//! closed them; what we have for them waits as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::door::s2s::reverse::Reverse;
use crate::stream::server::Pair;

/// Streams that may go on, of this node. Full: the next may not, and its peer
/// sends again what it does not know of. A guess: each may hold two queues.
const STREAMS_MAX: usize = 256;

/// How long a connection that is not known to be lost may take to end when its
/// stream goes on by another. A guess.
const TAKE_OVER_TIME_MAX: Duration = Duration::from_secs(5);

/// All streams of this node that may go on, by their ids.
#[derive(Default)]
pub(super) struct Kept {
    slots: Mutex<HashMap<String, Slot>>,
    changed: Notify,
}

struct Slot {
    pair: Pair,
    state: State,
}

enum State {
    /// It has a connection, which ends when it is told.
    Connected(Arc<Notify>),
    /// Whoever waits for its end hears by the other that it goes on.
    Lost(Box<Rest>, oneshot::Sender<()>),
}

/// What is left of a stream without its connection.
pub(super) struct Rest {
    /// Stanzas of the peer that were taken.
    pub(super) handled: u32,
    /// Our direction.
    pub(super) reverse: Reverse,
}

/// A stream that may go on, while it has a connection.
pub(super) struct Entry {
    kept: Arc<Kept>,
    id: String,
    /// Its connection is to end: the stream goes on by another.
    pub(super) is_wanted: Arc<Notify>,
}

impl Kept {
    /// A stream that may go on from now on, if there is room for it.
    pub(super) fn enter(self: &Arc<Self>, id: String, pair: Pair) -> Option<Entry> {
        let mut slots = self.lock();
        if slots.len() >= STREAMS_MAX {
            return None;
        }
        let is_wanted = Arc::new(Notify::new());
        let state = State::Connected(Arc::clone(&is_wanted));
        slots.insert(id.clone(), Slot { pair, state });
        Some(Entry { kept: Arc::clone(self), id, is_wanted })
    }

    /// The stream of this id and pair, which is to go on now.
    pub(super) async fn take(&self, id: &str, pair: &Pair) -> Option<Rest> {
        let found = timeout(TAKE_OVER_TIME_MAX, async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                match self.take_now(id, pair) {
                    Ok(rest) => return rest,
                    Err(connected) => connected.notify_one(),
                }
                changed.await;
            }
        });
        found.await.ok().flatten()
    }

    /// The same, or whom to tell that it is wanted.
    fn take_now(&self, id: &str, pair: &Pair) -> Result<Option<Rest>, Arc<Notify>> {
        let mut slots = self.lock();
        let Some(slot) = slots.remove(id) else {
            return Ok(None);
        };
        match slot.state {
            State::Lost(rest, alive) if slot.pair == *pair => {
                drop(alive);
                Ok(Some(*rest))
            }
            State::Connected(is_wanted) if slot.pair == *pair => {
                let state = State::Connected(Arc::clone(&is_wanted));
                slots.insert(id.to_owned(), Slot { state, ..slot });
                Err(is_wanted)
            }
            // of somebody else, who alone may have it
            state => {
                slots.insert(id.to_owned(), Slot { state, ..slot });
                Ok(None)
            }
        }
    }

    /// A pair has begun anew: what is left of its streams is given up.
    pub(super) fn forget(&self, pair: &Pair) {
        let mut slots = self.lock();
        let is_left = |slot: &Slot| slot.pair == *pair && matches!(slot.state, State::Lost(..));
        let ids = slots.iter().filter(|(_, slot)| is_left(slot)).map(|(id, _)| id.clone());
        let ids: Vec<String> = ids.collect();
        let left: Vec<Slot> = ids.iter().filter_map(|id| slots.remove(id)).collect();
        drop(slots);
        // which ends their links
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Its connection is lost: the rest is kept for so long.
    pub(super) fn keep(self, rest: Rest, time: Duration) {
        let (kept, id, link) = (Arc::clone(&self.kept), self.id.clone(), rest.reverse.link());
        let (alive, mut has_gone) = oneshot::channel();
        if let Some(slot) = kept.lock().get_mut(&id) {
            slot.state = State::Lost(Box::new(rest), alive);
        }
        kept.changed.notify_waiters();
        debug!("a stream of a server may go on");
        tokio::spawn(async move {
            let is_unwanted = async {
                match &link {
                    Some(link) => link.end.notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = &mut has_gone => return,
                () = sleep(time) => {}
                () = is_unwanted => {}
            }
            let mut slots = kept.lock();
            let is_it = has_gone.try_recv() == Err(oneshot::error::TryRecvError::Empty);
            let rest = is_it.then(|| slots.remove(&id));
            drop(slots);
            // which ends its link
            drop(rest);
        });
    }
}

impl Drop for Entry {
    /// A stream that has ended otherwise is not known any more.
    fn drop(&mut self) {
        let mut slots = self.kept.lock();
        let is_connected = |slot: &Slot| matches!(slot.state, State::Connected(_));
        let ended = slots.get(&self.id).is_some_and(is_connected);
        let slot = ended.then(|| slots.remove(&self.id));
        drop(slots);
        drop(slot);
        self.kept.changed.notify_waiters();
    }
}
