//! Sealed datagrams: nothing that was not sealed under our cookie is parsed,
//! and nothing is answered to a stranger.
//!
//! A datagram is a header, which is authenticated, and what is sealed by
//! XChaCha20-Poly1305. The nonce is the sender's [`NodeId`] and a counter; the
//! id is new at every start, so no nonce is used twice. A recorded datagram
//! opens once per receiver and sender's life. One of a former life says only
//! what that life said: its generation is lower, and lower generations of a
//! name are hidden at sight.

use std::collections::HashMap;
use std::sync::Arc;

use chacha20poly1305::XNonce;
use chacha20poly1305::aead::{Aead, Payload};

use crate::cluster::keyring::Keyring;
use crate::cluster::node::NodeId;

/// What every datagram begins with: a name and the version of this format.
const MAGIC: [u8; 3] = [b'J', b'b', 1];

/// Magic, sender's generation and random bits, counter.
const HEADER_BYTES: usize = 3 + 24;

/// What a seal adds to a datagram.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + 16;

/// How far datagrams of one sender may overtake each other. RFC 4303 wants at
/// least 64; we have room.
const WINDOW: u64 = 1024;
const WINDOW_WORDS: usize = (WINDOW / 64) as usize;

/// Senders remembered. Only holders of the cookie get in; more than this many
/// lives at once are not a cluster. The one silent for longest goes first.
const SENDERS_MAX: usize = 4096;

/// Why a datagram is thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is none of ours, or of another version.
    Foreign,
    /// It was not sealed under our cookie, or changed on its way.
    Forged,
    /// It was seen before, or is too old to know.
    Replayed,
}

/// Seals under the cookie in use, in the name of one node.
pub struct Sealer {
    ring: Arc<Keyring>,
    me: NodeId,
    counter: u64,
}

/// Opens what others sealed under any cookie that we accept.
pub struct Opener {
    ring: Arc<Keyring>,
    senders: HashMap<NodeId, Seen>,
    /// Counts what was opened: the time of this opener.
    opened: u64,
}

/// Which counters of one sender have been seen.
struct Seen {
    highest: u64,
    window: [u64; WINDOW_WORDS],
    last: u64,
}

impl Sealer {
    /// Seals as `me`, whose id must be new with every start.
    pub fn new(ring: Arc<Keyring>, me: NodeId) -> Self {
        Self { ring, me, counter: 0 }
    }

    /// The sealed datagram.
    pub fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        self.counter = self.counter.checked_add(1).expect("no node sends 2^64 datagrams");
        let mut datagram = Vec::with_capacity(plain.len() + OVERHEAD_BYTES);
        datagram.extend_from_slice(&MAGIC);
        datagram.extend_from_slice(&nonce(self.me, self.counter));
        let payload = Payload { msg: plain, aad: &datagram };
        let keys = self.ring.keys();
        let used = keys.gossip.first().expect("a keyring has at least one cookie");
        let sealed = used
            .encrypt(&nonce(self.me, self.counter), payload)
            .expect("datagrams are far below the cipher's limit");
        datagram.extend_from_slice(&sealed);
        datagram
    }
}

impl Opener {
    /// Opens what was sealed under a cookie of `ring`.
    pub fn new(ring: Arc<Keyring>) -> Self {
        Self { ring, senders: HashMap::new(), opened: 0 }
    }

    /// The sender and what it sealed.
    ///
    /// # Errors
    /// [`Refused`]; nothing else happens to whoever sent it.
    pub fn open(&mut self, datagram: &[u8]) -> Result<(NodeId, Vec<u8>), Refused> {
        let (header, sealed) = datagram.split_at_checked(HEADER_BYTES).ok_or(Refused::Foreign)?;
        let numbers = header.strip_prefix(&MAGIC).ok_or(Refused::Foreign)?;
        let number = |at: usize| {
            let bytes = numbers.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_be_bytes).ok_or(Refused::Foreign)
        };
        let (sender, counter) = (NodeId::new(number(0)?, number(8)?), number(16)?);
        if self.senders.get(&sender).is_some_and(|seen| seen.has(counter)) {
            return Err(Refused::Replayed);
        }
        let open = |cipher: &chacha20poly1305::XChaCha20Poly1305| {
            cipher.decrypt(&nonce(sender, counter), Payload { msg: sealed, aad: header }).ok()
        };
        let plain = self.ring.keys().gossip.iter().find_map(open).ok_or(Refused::Forged)?;
        self.note(sender, counter);
        Ok((sender, plain))
    }

    fn note(&mut self, sender: NodeId, counter: u64) {
        self.opened = self.opened.saturating_add(1);
        if !self.senders.contains_key(&sender) && self.senders.len() >= SENDERS_MAX {
            let oldest = self.senders.iter().min_by_key(|(_, seen)| seen.last);
            if let Some(oldest) = oldest.map(|(sender, _)| *sender) {
                self.senders.remove(&oldest);
            }
        }
        let fresh = Seen { highest: 0, window: [0; WINDOW_WORDS], last: 0 };
        let seen = self.senders.entry(sender).or_insert(fresh);
        seen.last = self.opened;
        seen.note(counter);
    }
}

impl Seen {
    fn has(&self, counter: u64) -> bool {
        if counter > self.highest {
            return false;
        }
        self.highest - counter >= WINDOW
            || self.word(counter).is_none_or(|(word, bit)| word & bit != 0)
    }

    /// Slots between the old and the new highest become free.
    fn note(&mut self, counter: u64) {
        if counter > self.highest {
            let steps = (counter - self.highest).min(WINDOW);
            for step in 0..steps {
                self.set(counter - step, false);
            }
            self.highest = counter;
        }
        self.set(counter, true);
    }

    fn set(&mut self, counter: u64, value: bool) {
        let slot = counter % WINDOW;
        if let Some(word) = self.window.get_mut((slot / 64) as usize) {
            let bit = 1 << (slot % 64);
            *word = if value { *word | bit } else { *word & !bit };
        }
    }

    fn word(&self, counter: u64) -> Option<(u64, u64)> {
        let slot = counter % WINDOW;
        self.window.get((slot / 64) as usize).map(|word| (*word, 1 << (slot % 64)))
    }
}

fn nonce(sender: NodeId, counter: u64) -> XNonce {
    let mut nonce = XNonce::default();
    let numbers = [sender.generation, sender.random, counter];
    for (place, number) in nonce.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    fn pair() -> (Sealer, Opener) {
        let ring = Keyring::new("0123456789abcdef").expect("long enough");
        (Sealer::new(Arc::clone(&ring), NodeId::new(7, 8)), Opener::new(ring))
    }

    #[test]
    fn a_sealed_datagram_opens_once() {
        let (mut sealer, mut opener) = pair();
        let datagram = sealer.seal(b"hello");
        assert_eq!(datagram.len(), 5 + OVERHEAD_BYTES);
        assert_eq!(opener.open(&datagram), Ok((NodeId::new(7, 8), b"hello".to_vec())));
        assert_eq!(opener.open(&datagram), Err(Refused::Replayed));
    }

    #[test]
    fn another_cookie_opens_nothing() {
        let (mut sealer, _) = pair();
        let other = Keyring::new("0123456789abcdeF").expect("long enough");
        assert_eq!(Opener::new(other).open(&sealer.seal(b"hello")), Err(Refused::Forged));
    }

    #[test]
    fn while_the_cookie_changes_both_open() {
        let (mut old, _) = pair();
        let ring = Keyring::new("fedcba9876543210\n0123456789abcdef").expect("two cookies");
        let mut both = Opener::new(Arc::clone(&ring));
        assert!(both.open(&old.seal(b"old")).is_ok());
        let new = Sealer::new(ring, NodeId::new(9, 9)).seal(b"new");
        assert!(both.open(&new).is_ok());
        let only_old = Keyring::new("0123456789abcdef").expect("long enough");
        assert_eq!(Opener::new(only_old).open(&new), Err(Refused::Forged), "the first is used");
    }

    #[test]
    fn datagrams_may_overtake_each_other_within_the_window() {
        let (mut sealer, mut opener) = pair();
        let datagrams: Vec<_> = (0..=WINDOW).map(|_| sealer.seal(b"x")).collect();
        assert!(opener.open(&datagrams[WINDOW as usize]).is_ok());
        assert_eq!(opener.open(&datagrams[0]), Err(Refused::Replayed), "too old to know");
        for datagram in &datagrams[1..WINDOW as usize] {
            assert!(opener.open(datagram).is_ok());
            assert_eq!(opener.open(datagram), Err(Refused::Replayed));
        }
    }

    /// The datagrams that stop or rob bare gossip, and some that are nothing.
    #[test]
    fn what_strangers_send_does_not_open() {
        let (_, mut opener) = pair();
        let strangers: [&[u8]; 6] = [
            b"",
            b"\x53\xB0\x00\x01\x00\x00\x00",
            b"Jb\x01",
            b"Jb\x02aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            &[0; 64],
            &[0xFF; 65_507],
        ];
        for datagram in strangers {
            assert_eq!(opener.open(datagram), Err(Refused::Foreign));
        }
        let forged = [&MAGIC[..], &[0; 64]].concat();
        assert_eq!(opener.open(&forged), Err(Refused::Forged));
    }

    proptest! {
        #[test]
        fn one_changed_bit_and_it_does_not_open(
            plain in prop::collection::vec(any::<u8>(), 0..99),
            place in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let (mut sealer, mut opener) = pair();
            let mut datagram = sealer.seal(&plain);
            let place = place.index(datagram.len());
            datagram[place] ^= 1 << bit;
            assert!(opener.open(&datagram).is_err());
        }
    }
}
