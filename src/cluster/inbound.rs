//! Letters from one peer: which are taken, and what is told to the peer about
//! it. `custody` has the rules; the other end is `outbound`.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::frame::{Letter, Receipt};

/// The most held letters in one receipt; those beyond are told later. A guess.
const HELD_MAX: usize = 64;

/// Letters from one life of one peer.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// All letters up to this one were handed up, or came back to the peer.
    received: u64,
    /// Handed up, and not yet taken over.
    held: BTreeSet<u64>,
    /// A letter was refused since the last receipt.
    missed: bool,
    /// The peer waits to hear what is new; at once, or with the next tick.
    due: bool,
    due_soon: bool,
}

impl Inbound {
    /// Letters of a peer of which all up to `received` were received before.
    pub(super) fn after(received: u64) -> Inbound {
        Inbound { received, ..Inbound::default() }
    }

    /// Up to which number all letters were received.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// A letter came in: its body, if it is to be handed up now.
    pub(super) fn letter(&mut self, letter: Letter, fresh: bool) -> Option<Bytes> {
        if fresh {
            self.received = self.received.max(letter.base.saturating_sub(1));
        }
        let next = self.received.checked_add(1)?;
        if letter.number < next {
            self.due_soon = true;
            return None;
        }
        if !fresh || letter.number > next {
            self.missed = true;
            self.due_soon = true;
            return None;
        }
        self.received = next;
        self.held.insert(next);
        self.due_soon = true;
        Some(letter.body)
    }

    /// The rooms above have taken a letter over.
    pub(super) fn taken(&mut self, number: u64) {
        self.due |= self.held.remove(&number);
    }

    /// There is a new path: the peer does not know what arrived by the old one.
    pub(super) fn path_changed(&mut self) {
        self.due = true;
    }

    /// Time has passed.
    pub(super) fn tick(&mut self) {
        self.due |= self.due_soon;
    }

    /// What the peer is to be told, if anything.
    pub(super) fn receipt(&mut self) -> Option<Receipt> {
        if !self.due {
            return None;
        }
        self.due = false;
        self.due_soon = false;
        let held: Vec<u64> = self.held.iter().take(HELD_MAX).copied().collect();
        let complete = held.len() == self.held.len();
        let known = if complete { self.received } else { held.last().copied().unwrap_or_default() };
        let missed = std::mem::take(&mut self.missed);
        Some(Receipt { received: self.received, known, held, missed })
    }
}
