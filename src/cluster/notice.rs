//! A log line that strangers can cause, at most every ten seconds.

use std::time::{Duration, Instant};

/// Often enough to be noticed, too seldom to fill a disk. A guess.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts what happens and says when it is time to tell.
#[derive(Debug, Default)]
pub struct Notice {
    count: u64,
    told: Option<Instant>,
}

impl Notice {
    /// Counts one more; the number since the last time if it shall be told
    /// now.
    pub fn say(&mut self) -> Option<u64> {
        self.count = self.count.saturating_add(1);
        let now = Instant::now();
        if self.told.is_some_and(|told| now.duration_since(told) < INTERVAL) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}
