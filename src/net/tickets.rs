//! TLS session tickets (RFC 5077, RFC 8446 §4.6.1): who was here comes back
//! without the certificate's costly signature, at whichever node of the cluster.
//!
//! Each node seals with a key of its own, and knows those of the others: so a
//! key has one writer, and a ticket of a node that has died is still opened. Keys
//! are drawn, replaced, and forgotten; they are on no disk and follow from no
//! other secret. How nodes tell them to each other is not in here.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How long a ticket is good. A guess: a night, in which a phone was off. Who
/// steals a node's memory may read the streams of so long ago, if they spoke
/// TLS 1.2; with 1.3 each has secrets of its own beside the ticket's.
pub const TICKET_LIFE: Duration = Duration::from_secs(12 * 3_600);

/// How long one key seals. A guess: a quarter of a day, known to the other nodes
/// for as long before.
pub const TURN: Duration = Duration::from_secs(6 * 3_600);

/// How long a key opens: it was drawn a turn before it sealed.
const KEY_LIFE: Duration = TURN.saturating_mul(2).saturating_add(TICKET_LIFE);

/// The most keys that one node tells: those of its life, and one.
const TOLD_MAX: usize = 8;

/// The most keys of others that are known: of 256 nodes, with those of their
/// former lives. One more is not learned, and its tickets lead to a whole
/// handshake.
const KNOWN_MAX: usize = 4_096;

const NAME_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;

/// A key under its name, as one node tells it to another.
#[derive(Serialize, Deserialize)]
struct Told {
    name: [u8; NAME_BYTES],
    secret: [u8; 32],
    /// How long it opens yet.
    seconds: u64,
}

struct Key {
    name: [u8; NAME_BYTES],
    secret: Zeroizing<[u8; 32]>,
    until: Instant,
}

impl Key {
    fn draw(now: Instant) -> Self {
        let secret = Zeroizing::new(rand::random());
        Self { name: rand::random(), secret, until: now + KEY_LIFE }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.secret).into())
    }
}

/// All keys that this node has.
pub struct Tickets(RwLock<Keys>);

struct Keys {
    /// Ours: the next one, the one that seals, those before.
    own: VecDeque<Key>,
    turned: Instant,
    others: Vec<Key>,
}

impl Tickets {
    /// Keys that nobody else knows yet.
    pub fn new(now: Instant) -> Self {
        let own = VecDeque::from([Key::draw(now), Key::draw(now)]);
        Self(RwLock::new(Keys { own, turned: now, others: Vec::new() }))
    }

    /// Time has passed: another key seals if it is time for it, and what has
    /// lived long enough is forgotten.
    pub fn pass(&self, now: Instant) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(keys.turned) >= TURN {
            keys.own.push_front(Key::draw(now));
            keys.turned = now;
        }
        keys.own.retain(|key| key.until > now);
        keys.own.truncate(TOLD_MAX);
        keys.others.retain(|key| key.until > now);
    }

    /// Our own keys, for another node of the cluster: secrets.
    pub fn told(&self, now: Instant) -> Vec<u8> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let told = |key: &Key| {
            let seconds = key.until.saturating_duration_since(now).as_secs();
            Told { name: key.name, secret: *key.secret, seconds }
        };
        let told: Vec<Told> = keys.own.iter().map(told).collect();
        postcard::to_stdvec(&told).unwrap_or_default()
    }

    /// Another node's keys, as it has told them. `false`: they make no sense, and
    /// nothing was learned.
    pub fn learn(&self, told: &[u8], now: Instant) -> bool {
        let Ok(told) = postcard::from_bytes::<Vec<Told>>(told) else { return false };
        if told.len() > TOLD_MAX {
            return false;
        }
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for one in told {
            let is_known = keys.others.iter().chain(&keys.own).any(|key| key.name == one.name);
            if !is_known && keys.others.len() < KNOWN_MAX {
                let until = now + Duration::from_secs(one.seconds).min(KEY_LIFE);
                let secret = Zeroizing::new(one.secret);
                keys.others.push(Key { name: one.name, secret, until });
            }
        }
        true
    }

    /// `state` for whoever brings it back; `shown` is what it is good with.
    pub(super) fn seal(&self, state: &[u8], shown: &[u8]) -> Option<Vec<u8>> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.own.get(1)?;
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let sealed =
            key.cipher().encrypt(XNonce::from_slice(&nonce), Payload { msg: state, aad: shown });
        Some([&key.name[..], &nonce, &sealed.ok()?].concat())
    }

    /// What was sealed, if it was by a node that we know.
    pub(super) fn open(&self, ticket: &[u8], shown: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES)?;
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.own.iter().chain(&keys.others).find(|key| key.name == name)?;
        let sealed = Payload { msg: sealed, aad: shown };
        key.cipher().decrypt(XNonce::from_slice(nonce), sealed).ok()
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        write!(f, "Tickets({} own, {} of others)", keys.own.len(), keys.others.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens(by: &Tickets, ticket: &[u8]) -> bool {
        by.open(ticket, b"shown").as_deref() == Some(b"state")
    }

    #[test]
    fn a_node_opens_what_another_has_sealed_once_it_was_told() {
        let now = Instant::now();
        let (one, other) = (Tickets::new(now), Tickets::new(now));
        let ticket = one.seal(b"state", b"shown").expect("sealed");
        assert!(opens(&one, &ticket) && !opens(&other, &ticket));
        assert!(other.learn(&one.told(now), now));
        assert!(opens(&other, &ticket));
        // with other certificates it is worth nothing
        assert_eq!(other.open(&ticket, b"other"), None);
        for at in 0..ticket.len() {
            let mut torn = ticket.clone();
            torn[at] ^= 1;
            assert!(!opens(&other, &torn) && !opens(&other, &ticket[..at]));
        }
    }

    #[test]
    fn the_next_key_is_known_before_it_seals() {
        let begin = Instant::now();
        let (one, other) = (Tickets::new(begin), Tickets::new(begin));
        let mut now = begin;
        let mut before = Vec::new();
        for _ in 0..9 {
            assert!(other.learn(&one.told(now), now));
            now += TURN;
            one.pass(now);
            other.pass(now);
            let ticket = one.seal(b"state", b"shown").expect("sealed");
            assert!(opens(&other, &ticket));
            before.push((now, ticket));
        }
        for (sealed, ticket) in before {
            let age = now - sealed;
            assert!(age > TICKET_LIFE || opens(&other, &ticket), "{age:?} old");
            assert!(age < KEY_LIFE || !opens(&other, &ticket) && !opens(&one, &ticket));
        }
        let keys = one.0.read().expect("whole");
        assert!(keys.own.len() <= TOLD_MAX, "{}", keys.own.len());
    }

    #[test]
    fn nonsense_teaches_nothing() {
        let now = Instant::now();
        let tickets = Tickets::new(now);
        let many: Vec<Told> = (0..=TOLD_MAX)
            .map(|at| Told { name: [at as u8; 16], secret: [0; 32], seconds: u64::MAX })
            .collect();
        let many = postcard::to_stdvec(&many).expect("written");
        for nonsense in [&b"\xff\xff\xff\xff"[..], &many] {
            assert!(!tickets.learn(nonsense, now));
        }
        for _ in 0..KNOWN_MAX {
            assert!(tickets.learn(&Tickets::new(now).told(now), now));
        }
        assert_eq!(tickets.0.read().expect("whole").others.len(), KNOWN_MAX);
    }
}
