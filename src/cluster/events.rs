//! What the cluster has for the rooms above. They fetch; the sockets stop
//! reading while too much waits to be fetched.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::cluster::asks::Question;
use crate::cluster::members::Members;
use crate::cluster::news::Reason;
use crate::cluster::node::NodeId;
use crate::cluster::receipt::Receipt;
use crate::cluster::rows::RowChange;

/// Events that may wait before the mesh stops reading. What comes without
/// being read, a delivery that returned or a change of our own, is bounded by
/// custody and by whoever made it. A guess.
const WAITING_MAX: usize = 8_192;

/// Something for the rooms above.
#[derive(Debug)]
pub enum Event {
    /// A delivery from another node.
    Delivery {
        /// Whose.
        from: NodeId,
        /// What.
        body: Bytes,
        /// To be dropped when it has been taken over.
        receipt: Receipt,
    },
    /// A delivery of ours was not made: its node has gone, or too much waits
    /// for it.
    Returned {
        /// To whom.
        to: NodeId,
        /// What.
        body: Bytes,
        /// Why.
        reason: Reason,
    },
    /// The merged tables have changed.
    Rows(Vec<RowChange>),
    /// Messages are stored for these accounts that other nodes had stored.
    Stored(Vec<Box<str>>),
    /// The set of visible nodes has changed.
    Members(Arc<Members>),
    /// Another node asks.
    Question(Question),
    /// Another process has our name and started later: we must end.
    Ghost {
        /// Its id.
        by: NodeId,
    },
    /// The others have removed this node: we must end.
    Removed,
    /// Gossip has ended, and our view of the others is frozen: we must end.
    Frozen(String),
}

/// Where events go in.
pub(super) struct Gate {
    sender: mpsc::UnboundedSender<Event>,
    waiting: Arc<Waiting>,
}

/// Where events come out.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::UnboundedReceiver<Event>,
    waiting: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    count: AtomicUsize,
    fewer: Notify,
}

impl Gate {
    pub(super) fn new() -> (Self, Events) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::<Waiting>::default();
        (Self { sender, waiting: Arc::clone(&waiting) }, Events { receiver, waiting })
    }

    pub(super) fn tell(&self, event: Event) {
        self.waiting.count.fetch_add(1, Ordering::Relaxed);
        // nobody fetches any more: the process ends
        let _ = self.sender.send(event);
    }

    pub(super) async fn room(&self) {
        while self.waiting.count.load(Ordering::Relaxed) >= WAITING_MAX {
            let fewer = self.waiting.fewer.notified();
            if self.waiting.count.load(Ordering::Relaxed) >= WAITING_MAX {
                fewer.await;
            }
        }
    }
}

impl Events {
    /// The next event; `None` when the cluster has ended.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await?;
        let before = self.waiting.count.fetch_sub(1, Ordering::Relaxed);
        if before == WAITING_MAX {
            self.waiting.fewer.notify_waiters();
        }
        Some(event)
    }
}
