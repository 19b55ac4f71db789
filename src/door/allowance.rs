//! So many of something an interval for each client address, and no more
//! memory than that takes: one moment for each address.
//!
//! Whoever takes one pushes the moment forward at which he has nothing spent
//! any more (the generic cell rate algorithm, ITU-T I.371): so a full
//! allowance may be taken at once, and comes back little by little.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::net::network;

/// Addresses that are remembered. A guess: 10 MB. What happens to others
/// meanwhile is their caller's to say.
const ADDRESSES_MAX: usize = 100_000;

/// How often a full memory is searched for what can be forgotten: it takes a
/// millisecond. A guess.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What all addresses have taken.
#[derive(Debug)]
pub struct Allowance {
    /// Taken back by time, for each one that was taken.
    price: Duration,
    interval: Duration,
    spent: Mutex<Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    /// Until when something of it is spent.
    until: HashMap<IpAddr, Instant>,
    swept: Option<Instant>,
}

/// Why an address gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spend {
    /// It has taken all of its own.
    Over,
    /// It is a new one, and too many others are remembered.
    Crowded,
}

impl Allowance {
    /// So many an interval for each address, of IPv6 for each network of 64
    /// bits.
    pub fn new(most: u32, interval: Duration) -> Self {
        // rounded up, so that the whole is never less than the interval
        let price = interval.as_nanos().div_ceil(u128::from(most.max(1)));
        let price = Duration::from_nanos(u64::try_from(price).unwrap_or(u64::MAX));
        Self { price, interval, spent: Mutex::default() }
    }

    /// An address takes one, if more than half of one is left: what came to
    /// nothing leaves a little less than a whole.
    ///
    /// # Errors
    /// [`Spend`]; then it has taken nothing.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), Spend> {
        let mut spent = self.lock();
        let client = network::client(address);
        if !spent.until.contains_key(&client) && !spent.has_room(now) {
            return Err(Spend::Crowded);
        }
        let until = spent.until.entry(client).or_insert(now);
        if *until + self.price / 2 >= now + self.interval {
            return Err(Spend::Over);
        }
        *until = now.max(*until) + self.price;
        Ok(())
    }

    /// An address pays so many times the price of one for something that it
    /// has done already; more than all it cannot lose.
    pub fn charge(&self, address: IpAddr, times: u32, now: Instant) {
        let mut spent = self.lock();
        let client = network::client(address);
        if spent.until.contains_key(&client) || spent.has_room(now) {
            let until = spent.until.entry(client).or_insert(now);
            *until = (now.max(*until) + self.price * times).min(now + self.interval);
        }
    }

    /// What was taken came to nothing, and most of it is given back: so many in
    /// vain, and the last one is not to be had any more.
    pub fn in_vain(&self, address: IpAddr, most: u32) {
        if let Some(until) = self.lock().until.get_mut(&network::client(address)) {
            let part = self.price / most.saturating_mul(2).max(1);
            *until = until.checked_sub(self.price - part).unwrap_or(*until);
        }
    }

    /// The lock is held for arithmetic only, which leaves no half of it.
    fn lock(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spent {
    /// Whether one more address can be remembered.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.until.len() < ADDRESSES_MAX {
            return true;
        }
        if self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP_INTERVAL) {
            self.swept = Some(now);
            self.until.retain(|_, until| *until > now);
        }
        self.until.len() < ADDRESSES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many in vain as make one.
    const VAIN: u32 = 10;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_takes_so_many_an_interval_and_others_are_not_touched() {
        let allowance = Allowance::new(2, HOUR);
        let begin = Instant::now();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(allowance.take(one, begin), Ok(()));
        assert_eq!(allowance.take(one, begin), Ok(()));
        assert_eq!(allowance.take(one, begin), Err(Spend::Over));
        assert_eq!(allowance.take(address("::ffff:192.0.2.1"), begin), Err(Spend::Over));
        assert_eq!(allowance.take(other, begin), Ok(()));
        assert_eq!(allowance.take(one, begin + HOUR), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let allowance = Allowance::new(1, HOUR);
        let now = Instant::now();
        assert_eq!(allowance.take(address("2001:db8::1"), now), Ok(()));
        assert_eq!(allowance.take(address("2001:db8::ffff:1"), now), Err(Spend::Over));
        assert_eq!(allowance.take(address("2001:db8:0:1::1"), now), Ok(()));
    }

    #[test]
    fn what_came_to_nothing_counts_less_but_does_count() {
        let allowance = Allowance::new(1, HOUR);
        let (one, now) = (address("192.0.2.1"), Instant::now());
        for _ in 0..VAIN {
            assert_eq!(allowance.take(one, now), Ok(()));
            allowance.in_vain(one, VAIN);
        }
        assert_eq!(allowance.take(one, now), Err(Spend::Over));
    }

    #[test]
    fn memory_has_an_end() {
        let allowance = Allowance::new(1, HOUR);
        let now = Instant::now();
        for number in 0..ADDRESSES_MAX {
            let bits = u32::try_from(number).expect("small");
            let address = IpAddr::from(std::net::Ipv4Addr::from(bits));
            assert_eq!(allowance.take(address, now), Ok(()));
        }
        assert_eq!(allowance.take(address("203.0.113.1"), now), Err(Spend::Crowded));
        assert_eq!(allowance.take(address("203.0.113.1"), now + HOUR), Ok(()));
    }

    #[test]
    fn it_comes_back_little_by_little() {
        let allowance = Allowance::new(3, HOUR);
        let (one, begin) = (address("192.0.2.1"), Instant::now());
        for _ in 0..3 {
            assert_eq!(allowance.take(one, begin), Ok(()));
        }
        assert_eq!(allowance.take(one, begin), Err(Spend::Over));
        assert_eq!(allowance.take(one, begin + HOUR / 7), Err(Spend::Over));
        assert_eq!(allowance.take(one, begin + HOUR / 3), Ok(()));
        assert_eq!(allowance.take(one, begin + HOUR / 3), Err(Spend::Over));
    }

    #[test]
    fn a_charge_takes_all_there_is_and_no_more() {
        let allowance = Allowance::new(10, HOUR);
        let (one, begin) = (address("192.0.2.1"), Instant::now());
        allowance.charge(one, 9, begin);
        assert_eq!(allowance.take(one, begin), Ok(()));
        assert_eq!(allowance.take(one, begin), Err(Spend::Over));
        allowance.charge(one, 1_000, begin);
        assert_eq!(allowance.take(one, begin + HOUR / 5), Ok(()));
    }
}
