//! How fast a link is written to, and read where it carries both ways: what is
//! over the rate of its server waits in the link's queue, under the limit and
//! the policy of that, or in the kernel.

use std::collections::VecDeque;
use std::time::Instant;

use crate::net::outbox::Item;
use crate::s2s_manager::link::Link;
use crate::s2s_manager::rate::Rate;
use crate::s2s_manager::rates::{Brake, Rates};

/// The pace of one direction of a link.
#[derive(Debug, Default)]
pub struct Pace {
    rate: Rate,
    brake: Brake,
}

impl Pace {
    /// At most this rate.
    pub fn new(rate: Rate) -> Self {
        Self { rate, brake: Brake::default() }
    }

    /// Until when nothing more is taken from the queue; nothing: it may be.
    pub fn held_until<T>(&self, link: &Link<T>) -> Option<Instant> {
        let held = self.unread_until();
        if !self.rate.is_unlimited() {
            link.note_held(held.is_some() && !link.outbox.is_empty());
        }
        held
    }

    /// Until when nothing more is read; nothing: it may be.
    pub fn unread_until(&self) -> Option<Instant> {
        if self.rate.is_unlimited() { None } else { self.brake.held_until() }
    }

    /// How many stanzas are taken at once: one by one where they are counted.
    pub fn pieces_max(&self) -> usize {
        if self.rate.is_unlimited() { usize::MAX } else { 1 }
    }

    /// These go now.
    pub fn count<T>(&mut self, rates: &Rates, theirs: &str, taken: &VecDeque<Item<T>>) {
        if taken.is_empty() {
            return;
        }
        let bytes = taken.iter().map(|item| item.bytes.len()).sum();
        self.pass(rates, theirs, bytes, u32::try_from(taken.len()).unwrap_or(u32::MAX));
    }

    /// So many have passed.
    pub fn pass(&mut self, rates: &Rates, theirs: &str, bytes: usize, stanzas: u32) {
        if !self.rate.is_unlimited() {
            self.brake.count(rates, (theirs, self.rate), (bytes, stanzas));
        }
    }
}
