//! One link of this node: what waits for it, and what can be seen of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::metrics;
use crate::net::outbox::{Item, Outbox, Work};
use crate::stream::ack::Previous;
use crate::stream::server::{Pair, Proof};

/// A link that is open, or being opened.
#[derive(Debug)]
pub struct Link<T> {
    /// Of which domains.
    pub pair: Pair,
    /// The number of its row.
    pub number: u64,
    /// What waits for it.
    pub outbox: Outbox<T>,
    /// What carries it.
    pub carrier: Carrier,
    /// The stream that it goes on with, if the peer still knows it.
    pub(super) resume: Option<Resume>,
    /// Somebody wants it to end.
    pub end: Notify,
    born: Instant,
    /// Stanzas that were taken.
    stanzas: AtomicU64,
    /// When the last one was, in milliseconds since `born`.
    last: AtomicU64,
    stands: Mutex<Option<Stands>>,
    held: AtomicBool,
    unread: AtomicBool,
}

/// What carries a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A stream that we open.
    Opened,
    /// One that the other server has opened (XEP-0288).
    Come,
}

/// A stream of ours whose connection was lost.
#[derive(Debug, Clone)]
pub(super) struct Resume {
    /// It.
    pub(super) previous: Previous,
    /// Stanzas, the first that wait, that its peer may have.
    pub(super) unacknowledged: usize,
}

/// What is known of a link that is open.
#[derive(Debug, Clone)]
pub struct Stands {
    /// Since when.
    pub since: Instant,
    /// Where it goes.
    pub address: SocketAddr,
    /// How we have proved who we are.
    pub proof: Proof,
    /// Whether their certificate speaks for their domain.
    pub is_certain: bool,
    /// TLS version and cipher suite.
    pub tls: Option<(&'static str, &'static str)>,
    /// Whether its stream carries the stanzas of both.
    pub is_both_ways: bool,
}

impl<T> Link<T> {
    pub(super) fn new(
        pair: Pair,
        number: u64,
        bytes_max: usize,
        waiting: Vec<Item<T>>,
        carrier: Carrier,
        resume: Option<Resume>,
    ) -> Self {
        let outbox = Outbox::new(bytes_max);
        let stanzas = waiting.len() as u64;
        outbox.put_back(waiting);
        Self {
            pair,
            number,
            outbox,
            carrier,
            resume,
            end: Notify::new(),
            born: Instant::now(),
            stanzas: AtomicU64::new(stanzas),
            last: AtomicU64::new(0),
            stands: Mutex::default(),
            held: AtomicBool::new(false),
            unread: AtomicBool::new(false),
        }
    }

    /// One more was taken, from either side.
    pub fn note_stanza(&self) {
        self.stanzas.fetch_add(1, Ordering::Relaxed);
        let millis = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    pub(super) fn note_open(&self, stands: Stands) {
        *self.stands.lock().unwrap_or_else(PoisonError::into_inner) = Some(stands);
    }

    /// Whether it is held to its rate now.
    pub fn note_held(&self, is_held: bool) {
        if self.held.swap(is_held, Ordering::Relaxed) != is_held && is_held {
            metrics::count(metrics::S2S_HELD, "outgoing");
        }
    }

    /// Whether what comes the other way on its stream is not read now, for it is
    /// over its rate. (A stream that has come counts itself.)
    pub fn note_unread(&self, is_unread: bool) {
        let has_begun = self.unread.swap(is_unread, Ordering::Relaxed) != is_unread && is_unread;
        if has_begun && self.carrier == Carrier::Opened {
            metrics::count(metrics::S2S_HELD, "incoming");
        }
    }

    /// Whether one of its directions is held to its rate.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed) || self.unread.load(Ordering::Relaxed)
    }

    /// The first of what waits. Only whoever writes to the link may ask.
    pub(super) fn take_first(&self, count: usize) -> Vec<Item<T>> {
        let mut first = VecDeque::new();
        let mut cx = Context::from_waker(Waker::noop());
        while first.len() < count {
            match self.outbox.poll_take(&mut cx, &mut first) {
                Poll::Ready(Work::Write) => {}
                Poll::Ready(Work::Finish(_)) | Poll::Pending => break,
            }
        }
        let rest = first.split_off(count.min(first.len()));
        self.outbox.put_back(rest.into());
        first.into()
    }

    /// Stanzas that were taken.
    pub fn stanzas(&self) -> u64 {
        self.stanzas.load(Ordering::Relaxed)
    }

    /// For how long nothing was taken.
    pub fn silent(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(last)
    }

    /// Since when it is there, open or not.
    pub fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// What is known of it, if it is open.
    pub fn stands(&self) -> Option<Stands> {
        self.stands.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is the same.
    pub(super) fn is(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, other)
    }
}
