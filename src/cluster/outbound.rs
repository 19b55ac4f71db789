//! Letters on their way to one peer: each is kept until the peer has taken it
//! over, or the peer is gone and it comes back. `custody` has the rules; the
//! other end is `inbound`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::frame::{Letter, Receipt};
use super::moment::Moment;

/// Letters on their way at a time; the others wait for a receipt. A guess:
/// with receipts every 25 ms it lets 300,000 letters pass in a second.
const WINDOW: u64 = 8_192;

/// Letters to one life of one peer.
#[derive(Debug)]
pub(super) struct Outbound {
    /// The number of the next letter.
    next: u64,
    /// Every letter that the peer has not taken over, by number.
    letters: BTreeMap<u64, Bytes>,
    /// The bytes of all of them.
    bytes: usize,
    /// The peer has received all up to this one, as far as we know.
    received: u64,
    /// All up to this one were written on the path of now; at least `received`.
    written: u64,
    /// All up to this one were written on some path, once.
    ever_written: u64,
    /// While it is not known what arrived, only the first letter that was not
    /// received is written: when it was last.
    probing: Option<Moment>,
    /// When something was last written or heard.
    moved: Moment,
}

/// How much may wait for one peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) bytes_max: usize,
    pub(super) count_max: usize,
}

impl Outbound {
    pub(super) fn new(now: Moment) -> Outbound {
        let last = now.micros();
        Outbound {
            next: last.saturating_add(1),
            letters: BTreeMap::new(),
            bytes: 0,
            received: last,
            written: last,
            ever_written: last,
            probing: None,
            moved: now,
        }
    }

    /// Takes a letter into custody; gives it back if there is no room.
    pub(super) fn push(&mut self, body: Bytes, room: Room) -> Result<(), Bytes> {
        let full = self.bytes.saturating_add(body.len()) > room.bytes_max
            || self.letters.len() >= room.count_max;
        if full {
            return Err(body);
        }
        self.bytes += body.len();
        self.letters.insert(self.next, body);
        self.next = self.next.saturating_add(1);
        Ok(())
    }

    /// How many the peer has not taken over.
    pub(super) fn count(&self) -> usize {
        self.letters.len()
    }

    /// The letters to write now, on the path of now.
    pub(super) fn due(&mut self, now: Moment) -> Vec<Letter> {
        let window = self.received.saturating_add(WINDOW);
        let last = self.next.saturating_sub(1).min(window);
        if self.probing.is_some() || self.written >= last {
            return Vec::new();
        }
        let base = self.base();
        let unwritten = self.letters.range(self.written.saturating_add(1)..=last);
        let letter =
            |(number, body): (&u64, &Bytes)| Letter { number: *number, base, body: body.clone() };
        let letters = unwritten.map(letter).collect();
        self.written = last;
        self.ever_written = self.ever_written.max(last);
        self.moved = now;
        letters
    }

    /// There is a path again, or another one: what was written on the old one
    /// may be lost, so the first unreceived letter goes ahead of all others.
    pub(super) fn path_changed(&mut self, now: Moment) -> Option<Letter> {
        self.written = self.received;
        self.probing = None;
        self.probe(now)
    }

    /// Writes the first unreceived letter once more, if it is time: while
    /// probing, or if the path may lose letters and nothing is heard of them.
    pub(super) fn tick(
        &mut self,
        now: Moment,
        probe_after: Duration,
        lossy: bool,
    ) -> Option<Letter> {
        let unsure = lossy && self.received < self.written;
        let waits = self.probing.is_some() || unsure;
        let due = waits && now.since(self.moved) >= probe_after;
        if due { self.probe(now) } else { None }
    }

    /// The peer says how far it is. Whatever is written next is the caller's
    /// to ask for.
    pub(super) fn receipt(&mut self, now: Moment, receipt: &Receipt) -> Option<Letter> {
        if receipt.received >= self.next || receipt.known > receipt.received {
            return None;
        }
        self.forget_taken(receipt);
        let progress = receipt.received > self.received;
        if progress {
            self.received = receipt.received;
            self.written = self.written.max(self.received);
            self.moved = now;
        }
        if progress && self.probing.take().is_some() {
            self.written = self.received;
        }
        let again = receipt.missed && self.probing.is_none() && self.received < self.written;
        if again { self.probe(now) } else { None }
    }

    /// Takes all letters back, in order. True with those that may have been
    /// taken by the peer. Nothing below the next number is answered for now.
    pub(super) fn take_back(&mut self) -> Vec<(Bytes, bool)> {
        let (last, sent) = (self.next.saturating_sub(1), self.ever_written);
        self.received = last;
        self.written = last;
        self.probing = None;
        self.bytes = 0;
        let letters = std::mem::take(&mut self.letters);
        letters.into_iter().map(|(number, body)| (body, number <= sent)).collect()
    }

    fn probe(&mut self, now: Moment) -> Option<Letter> {
        let base = self.base();
        let unreceived = self.letters.range(self.received.saturating_add(1)..);
        let Some((number, body)) = unreceived.into_iter().next() else {
            self.probing = None;
            return None;
        };
        self.probing = Some(now);
        self.moved = now;
        self.ever_written = self.ever_written.max(*number);
        Some(Letter { number: *number, base, body: body.clone() })
    }

    fn forget_taken(&mut self, receipt: &Receipt) {
        let covered = self.letters.range(..=receipt.known).map(|(number, _)| *number);
        let taken = covered.filter(|number| receipt.held.binary_search(number).is_err());
        let taken: Vec<u64> = taken.collect();
        for number in taken {
            let body = self.letters.remove(&number);
            self.bytes -= body.map_or(0, |body| body.len());
        }
    }

    /// The lowest number that we still answer for.
    fn base(&self) -> u64 {
        self.letters.first_key_value().map_or(self.next, |(number, _)| *number)
    }
}
