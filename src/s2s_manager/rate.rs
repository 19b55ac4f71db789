//! How much a second one server may send to this node, or be sent: a rule, and
//! the account of what has gone. Pure: time is an argument. Nothing is refused
//! here: whoever asks waits.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::units::{Size, Span};

/// So much a second, of which some may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rate {
    /// Bytes a second; `0B`: without a limit.
    pub bytes_per_second_max: Size,
    /// Stanzas a second; 0: without a limit.
    pub stanzas_per_second_max: u32,
    /// Of so long a time may all come at once, after nothing came for as long.
    pub burst: Span,
}

impl Default for Rate {
    fn default() -> Self {
        // as Prosody's `limits` has it for servers
        let burst = Span::seconds(2);
        Self { bytes_per_second_max: Size::kibibytes(0), stanzas_per_second_max: 0, burst }
    }
}

impl Rate {
    /// Whether nothing is ever held back.
    pub fn is_unlimited(&self) -> bool {
        self.bytes_per_second_max.bytes() == 0 && self.stanzas_per_second_max == 0
    }
}

/// What has gone, and until when that is paid off: the generic cell rate
/// algorithm (ITU-T I.371), once for bytes and once for stanzas.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    rate: Rate,
    /// When all bytes that have gone are paid off.
    bytes_until: Option<Instant>,
    /// As above, of stanzas.
    stanzas_until: Option<Instant>,
}

impl Meter {
    /// Nothing has gone yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, bytes_until: None, stanzas_until: None }
    }

    /// So much has gone, whether it was its time or not: one stanza goes whole.
    pub fn count(&mut self, bytes: usize, stanzas: u32, now: Instant) {
        let Rate { bytes_per_second_max: most, stanzas_per_second_max, .. } = self.rate;
        pay(&mut self.bytes_until, bytes as u64, most.bytes() as u64, now);
        let most = u64::from(stanzas_per_second_max);
        pay(&mut self.stanzas_until, u64::from(stanzas), most, now);
    }

    /// Until when the next has to wait; nothing: it may go.
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        let until = self.bytes_until.max(self.stanzas_until)?;
        // what is owed may be as much as comes at once
        until.checked_sub(self.rate.burst.get()).filter(|until| *until > now)
    }

    /// Whether all is as if nothing had ever gone.
    pub fn is_paid(&self, now: Instant) -> bool {
        self.bytes_until.max(self.stanzas_until).is_none_or(|until| until <= now)
    }
}

/// One more debt of `count`, of which `most` are paid a second.
fn pay(until: &mut Option<Instant>, count: u64, most: u64, now: Instant) {
    if most == 0 || count == 0 {
        return;
    }
    let nanos = u128::from(count) * 1_000_000_000 / u128::from(most);
    let price = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    let from = until.map_or(now, |until| until.max(now));
    *until = from.checked_add(price).or(Some(from));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(bytes: &str, stanzas: u32, burst: u64) -> Rate {
        Rate {
            bytes_per_second_max: bytes.parse().expect("a size"),
            stanzas_per_second_max: stanzas,
            burst: Span::seconds(burst),
        }
    }

    /// How many of stanzas of so many bytes go within a time, one by one.
    #[track_caller]
    fn check(rate: Rate, bytes: usize, seconds: u64, expected: u64) {
        let begin = Instant::now();
        let (mut meter, mut now, mut count) = (Meter::new(rate), begin, 0);
        loop {
            now = meter.held_until(now).unwrap_or(now);
            if now >= begin + SECOND * u32::try_from(seconds).expect("small") || count == 100_000 {
                break;
            }
            meter.count(bytes, 1, now);
            count += 1;
        }
        assert_eq!(count, expected, "{rate:?}");
    }

    #[test]
    fn so_much_goes_a_second_and_some_of_it_at_once() {
        // what may come at once, one that was let in on top, and then one by one
        check(rate("0B", 10, 2), 500, 10, 120);
        check(rate("0B", 10, 1), 500, 10, 110);
        check(rate("1000B", 0, 2), 500, 10, 24);
        // whichever is the less
        check(rate("1000B", 10, 2), 500, 10, 24);
        check(rate("1GiB", 10, 2), 500, 10, 120);
        // one that is more than may come at once goes whole, and is paid off
        check(rate("100B", 0, 2), 1_000, 10, 2);
        check(rate("0B", 0, 2), 500, 10, 100_000);
        assert!(rate("0B", 0, 2).is_unlimited() && !rate("0B", 1, 2).is_unlimited());
    }

    #[test]
    fn what_was_not_used_is_not_saved_beyond_the_burst() {
        let begin = Instant::now();
        let mut meter = Meter::new(rate("0B", 10, 1));
        let mut at_once = |now: Instant| {
            let mut count = 0;
            while meter.held_until(now).is_none() {
                meter.count(1, 1, now);
                count += 1;
            }
            count
        };
        let full = at_once(begin);
        assert_eq!(full, 11);
        assert_eq!(at_once(begin), 0);
        assert_eq!(at_once(begin + SECOND / 2), 5);
        assert_eq!(at_once(begin + SECOND * 3_600), full);
    }

    #[test]
    fn a_meter_is_paid_when_all_is_as_before() {
        let begin = Instant::now();
        let mut meter = Meter::new(rate("100B", 10, 1));
        assert!(meter.is_paid(begin));
        meter.count(200, 1, begin);
        assert!(!meter.is_paid(begin + SECOND) && meter.is_paid(begin + SECOND * 2));
        // no number is too much
        let mut meter = Meter::new(rate("1B", 1, 1));
        for _ in 0..3 {
            meter.count(usize::MAX, u32::MAX, begin);
        }
        assert!(meter.held_until(begin).is_some());
    }
}
