//! How fast a link is written to: what is over the rate of its server waits in
//! the link's queue, under the limit and the policy of that.

use std::collections::VecDeque;
use std::time::Instant;

use crate::net::outbox::Item;
use crate::s2s_manager::link::Link;
use crate::s2s_manager::rate::Rate;
use crate::s2s_manager::rates::{Brake, Rates};

/// The pace of one link.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    rates: &'a Rates,
    theirs: &'a str,
    rate: Rate,
    brake: Brake,
}

impl<'a> Pace<'a> {
    pub(super) fn new(rates: &'a Rates, theirs: &'a str, rate: Rate) -> Self {
        Self { rates, theirs, rate, brake: Brake::default() }
    }

    /// Until when nothing more is taken from the queue; nothing: it may be.
    pub(super) fn held_until<T>(&self, link: &Link<T>) -> Option<Instant> {
        if self.rate.is_unlimited() {
            return None;
        }
        let held = self.brake.held_until();
        link.note_held(held.is_some() && !link.outbox.is_empty());
        held
    }

    /// How many stanzas are taken at once: one by one where they are counted.
    pub(super) fn pieces_max(&self) -> usize {
        if self.rate.is_unlimited() { usize::MAX } else { 1 }
    }

    /// These go now.
    pub(super) fn count<T>(&mut self, taken: &VecDeque<Item<T>>) {
        if taken.is_empty() || self.rate.is_unlimited() {
            return;
        }
        let bytes = taken.iter().map(|item| item.bytes.len()).sum();
        let stanzas = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        self.brake.count(self.rates, (self.theirs, self.rate), (bytes, stanzas));
    }
}
