//! Streams that other servers have opened to this node, for whoever looks at
//! them or wants one to end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::metrics;
use crate::stream::server::Proof;
use crate::xmpp::jid::Domain;

/// All streams of this node that have come and have proved something.
#[derive(Debug, Default)]
pub struct Arrivals {
    streams: Mutex<BTreeMap<u64, Arc<Arrival>>>,
    next: AtomicU64,
}

/// One stream that has come.
#[derive(Debug)]
pub struct Arrival {
    /// Where from.
    pub address: SocketAddr,
    /// Since when.
    pub since: Instant,
    /// TLS version and cipher suite.
    pub tls: Option<(&'static str, &'static str)>,
    /// Somebody wants it to end.
    pub end: Notify,
    stanzas: AtomicU64,
    is_both_ways: AtomicBool,
    proved: Mutex<Vec<(Domain, Proof)>>,
    held: AtomicBool,
}

/// A stream is in the list as long as this lives.
#[derive(Debug)]
pub struct Arrived {
    arrivals: Arc<Arrivals>,
    number: u64,
    /// It.
    pub arrival: Arc<Arrival>,
}

impl Arrivals {
    /// A stream has proved something for the first time.
    pub fn enter(
        self: &Arc<Self>,
        address: SocketAddr,
        tls: Option<(&'static str, &'static str)>,
    ) -> Arrived {
        let arrival = Arc::new(Arrival {
            address,
            since: Instant::now(),
            tls,
            end: Notify::new(),
            stanzas: AtomicU64::new(0),
            is_both_ways: AtomicBool::new(false),
            proved: Mutex::default(),
            held: AtomicBool::new(false),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, Arc::clone(&arrival));
        Arrived { arrivals: Arc::clone(self), number, arrival }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Arrival>> {
        self.lock().values().cloned().collect()
    }

    /// Ends those of a domain; says how many there were.
    pub fn close(&self, theirs: &str) -> usize {
        let all = self.all();
        let meant = all
            .iter()
            .filter(|one| one.proved().iter().any(|(domain, _)| domain.as_str() == theirs));
        meant.map(|one| one.end.notify_one()).count()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Arrival>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrival {
    /// It has proved to be this domain.
    pub fn note_proof(&self, domain: Domain, proof: Proof) {
        let mut proved = self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        if !proved.iter().any(|(known, _)| *known == domain) {
            proved.push((domain, proof));
        }
    }

    /// Whether it is held to its rate now.
    pub fn note_held(&self, is_held: bool) {
        if self.held.swap(is_held, Ordering::Relaxed) != is_held && is_held {
            metrics::count(metrics::S2S_HELD, "incoming");
        }
    }

    /// Whether nothing is read from it, for it is over its rate.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// How it has proved to be this domain, if it has.
    pub fn proof(&self, domain: &Domain) -> Option<Proof> {
        self.proved().into_iter().find(|(known, _)| known == domain).map(|(_, proof)| proof)
    }

    /// It carries a link of ours as well, or does not any more.
    pub fn note_both_ways(&self, is_used: bool) {
        self.is_both_ways.store(is_used, Ordering::Relaxed);
    }

    /// Whether it carries a link of ours as well.
    pub fn is_both_ways(&self) -> bool {
        self.is_both_ways.load(Ordering::Relaxed)
    }

    /// One more stanza was taken from it.
    pub fn note_stanza(&self) {
        self.stanzas.fetch_add(1, Ordering::Relaxed);
    }

    /// Stanzas that were taken from it.
    pub fn stanzas(&self) -> u64 {
        self.stanzas.load(Ordering::Relaxed)
    }

    /// Whom it speaks for.
    pub fn proved(&self) -> Vec<(Domain, Proof)> {
        self.proved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        self.arrivals.lock().remove(&self.number);
    }
}
