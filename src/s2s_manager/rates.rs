//! The meters of all servers that are held to a rate on this node, and what
//! holds one stream back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use smallvec::SmallVec;

use crate::s2s_manager::rate::{Meter, Rate};

/// Meters above which those that nobody uses are looked for. There are never
/// more than this, streams, and servers that owe something, together. A guess.
const SWEPT_ABOVE: usize = 1_024;

/// One meter for each domain in one direction: all its streams share it.
#[derive(Debug, Default)]
pub struct Rates {
    meters: Mutex<HashMap<Box<str>, Arc<Shared>>>,
}

/// The meter of one domain.
#[derive(Debug)]
pub struct Shared(Mutex<Meter>);

/// What holds one stream back: the meters of all domains that it has spoken
/// for, or of the one that it goes to.
#[derive(Debug, Default)]
pub struct Brake {
    meters: SmallVec<[Known; 1]>,
}

/// A domain, and its meter if it has a limit.
type Known = (Box<str>, Option<Arc<Shared>>);

impl Rates {
    /// The meter of a domain; nothing: it has no limit.
    fn meter(&self, domain: &str, rate: Rate) -> Option<Arc<Shared>> {
        if rate.is_unlimited() {
            return None;
        }
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if meters.len() >= SWEPT_ABOVE && !meters.contains_key(domain) {
            let now = Instant::now();
            meters.retain(|_, one| Arc::strong_count(one) > 1 || !one.lock().is_paid(now));
        }
        let new = || Arc::new(Shared(Mutex::new(Meter::new(rate))));
        Some(Arc::clone(meters.entry(domain.into()).or_insert_with(new)))
    }
}

impl Shared {
    /// The lock is held for arithmetic only, which leaves no half of it.
    fn lock(&self) -> MutexGuard<'_, Meter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Brake {
    /// Something of a domain has gone, which may go at this rate; the meter is
    /// looked up once.
    pub fn count(&mut self, rates: &Rates, of: (&str, Rate), (bytes, stanzas): (usize, u32)) {
        let (domain, rate) = of;
        let known = self.meters.iter().position(|(known, _)| **known == *domain);
        let at = known.unwrap_or_else(|| {
            self.meters.push((domain.into(), rates.meter(domain, rate)));
            self.meters.len() - 1
        });
        if let Some((_, Some(meter))) = self.meters.get(at) {
            meter.lock().count(bytes, stanzas, Instant::now());
        }
    }

    /// Until when nothing may go; nothing: it may.
    pub fn held_until(&self) -> Option<Instant> {
        let meters = self.meters.iter().filter_map(|(_, meter)| meter.as_ref());
        let now = Instant::now();
        meters.filter_map(|meter| meter.lock().held_until(now)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(stanzas_per_second_max: u32) -> Rate {
        Rate { stanzas_per_second_max, ..Rate::default() }
    }

    #[test]
    fn all_streams_of_a_domain_share_its_meter_and_no_other() {
        let rates = Rates::default();
        let (mut one, mut other) = (Brake::default(), Brake::default());
        one.count(&rates, ("slow", rate(1)), (1, 1_000));
        other.count(&rates, ("free", rate(0)), (1, 1_000));
        assert!(one.held_until().is_some() && other.held_until().is_none());
        // a stream that speaks for two is held by either
        other.count(&rates, ("slow", rate(1)), (1, 1));
        assert!(other.held_until() >= one.held_until() && other.held_until().is_some());
        // a new stream is not better off, and one of another domain not worse
        drop((one, other));
        let mut again = Brake::default();
        again.count(&rates, ("slow", rate(1)), (1, 1));
        assert!(again.held_until().is_some());
        let mut third = Brake::default();
        third.count(&rates, ("third", rate(1)), (1, 1));
        assert!(third.held_until().is_none());
    }

    #[test]
    fn meters_that_owe_nothing_are_forgotten() {
        let rates = Rates::default();
        for number in 0..SWEPT_ABOVE {
            Brake::default().count(&rates, (&number.to_string(), rate(1)), (0, 0));
        }
        Brake::default().count(&rates, ("owes", rate(1)), (0, 10));
        let known = |name| rates.meters.lock().expect("whole").contains_key(name);
        assert!(known("owes") && !known("7"));
        for number in 0..SWEPT_ABOVE {
            Brake::default().count(&rates, (&number.to_string(), rate(1)), (0, 0));
        }
        assert!(known("owes"));
    }
}
