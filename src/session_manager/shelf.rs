//! How much is stored for an account, as it was counted a moment ago, and
//! whether more fits. What is stored is in `offline`.

use std::time::{Duration, Instant};

use dashmap::DashMap;

use crate::session_manager::config::Config;
use crate::storage::StoreError;
use crate::xmpp::jid::BareJid;

/// How long a count is believed. A guess: a burst of messages.
const COUNT_TIME_MAX: Duration = Duration::from_secs(10);

/// What is stored for one account.
#[derive(Debug, Clone, Copy)]
pub struct Shelf {
    messages: usize,
    bytes: usize,
    /// The time in the latest key.
    pub latest: u64,
    /// The latest time that was given to a message in place of its own: what
    /// its sender has sent since is later.
    pub floor: u64,
    counted: Instant,
}

impl Default for Shelf {
    fn default() -> Self {
        Self { messages: 0, bytes: 0, latest: 0, floor: 0, counted: Instant::now() }
    }
}

impl Shelf {
    /// A message more, with the time in its key.
    pub fn put(&mut self, bytes: usize, time: u64) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.latest = self.latest.max(time);
    }
}

/// The counts of all accounts that are at home here, and the limits.
#[derive(Debug)]
pub struct Shelves {
    messages_max: usize,
    bytes_max: usize,
    known: DashMap<Box<str>, Shelf>,
}

impl Shelves {
    /// Nothing counted yet.
    pub fn new(config: &Config) -> Self {
        let bytes_max = config.offline_bytes_max.bytes();
        Self { messages_max: config.offline_messages_max, bytes_max, known: DashMap::new() }
    }

    /// How much is stored: counted a moment ago, if so much more fits, else
    /// counted now. Meanwhile messages may have gone, and none has come: only
    /// the home stores, one call after the other.
    ///
    /// # Errors
    /// Of `count`.
    pub fn of(
        &self,
        account: &BareJid,
        messages: usize,
        bytes: usize,
        count: impl FnOnce() -> Result<Shelf, StoreError>,
    ) -> Result<Shelf, StoreError> {
        let is_fresh = |shelf: &Shelf| shelf.counted.elapsed() < COUNT_TIME_MAX;
        let known = self.known.get(account.as_str()).map(|shelf| *shelf);
        let known = known.filter(|shelf| is_fresh(shelf) && self.fits(shelf, messages, bytes));
        if let Some(shelf) = known {
            return Ok(shelf);
        }
        self.known.retain(|_, shelf| is_fresh(shelf));
        count()
    }

    /// Remembers a count.
    pub fn keep(&self, account: &BareJid, shelf: Shelf) {
        self.known.insert(account.as_str().into(), shelf);
    }

    /// Whether so much more may be stored.
    pub fn fits(&self, shelf: &Shelf, messages: usize, bytes: usize) -> bool {
        shelf.messages.saturating_add(messages) <= self.messages_max
            && shelf.bytes.saturating_add(bytes) <= self.bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_shelf_is_counted_again() {
        let config = Config { offline_messages_max: 2, ..Config::default() };
        let shelves = Shelves::new(&config);
        let account = BareJid::parse("a@b").expect("an address");
        let never = || -> Result<Shelf, StoreError> { panic!("it is known") };
        let mut shelf = shelves.of(&account, 1, 5, || Ok(Shelf::default())).expect("counted");
        shelf.put(5, 7);
        shelves.keep(&account, shelf);
        shelf = shelves.of(&account, 1, 5, never).expect("known");
        assert_eq!(shelf.latest, 7);
        shelf.put(5, 8);
        assert!(!shelves.fits(&shelf, 1, 1), "it is full");
        shelves.keep(&account, shelf);
        let again = shelves.of(&account, 1, 5, || Ok(Shelf::default())).expect("counted");
        assert!(shelves.fits(&again, 1, 5), "somebody has read meanwhile");
    }
}
