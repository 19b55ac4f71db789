//! How many accounts an address has made: more are refused for a while.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are remembered; while so many are, nobody new may make an
/// account. A guess: 10 MB.
const ADDRESSES_MAX: usize = 100_000;

/// Names that may be tried in vain for each account that may be made: whoever
/// tries more looks for the names of others. A guess.
const VAIN_PER_ACCOUNT: u32 = 10;

/// What all addresses have made.
#[derive(Debug)]
pub struct Registrations {
    most: u32,
    interval: Duration,
    windows: Mutex<HashMap<IpAddr, Window>>,
}

#[derive(Debug)]
struct Window {
    begun: Instant,
    made: u32,
    vain: u32,
}

/// This address must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Registrations {
    /// So many an interval for each address.
    pub fn new(most: u32, interval: Duration) -> Self {
        Self { most, interval, windows: Mutex::default() }
    }

    /// An address makes an account: it counts until it is [given
    /// back](Self::in_vain).
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), TooMany> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |window: &Window| now.duration_since(window.begun) >= self.interval;
        let network = network(address);
        if windows.len() >= ADDRESSES_MAX && !windows.contains_key(&network) {
            windows.retain(|_, window| !is_over(window));
            if windows.len() >= ADDRESSES_MAX {
                return Err(TooMany);
            }
        }
        let fresh = || Window { begun: now, made: 0, vain: 0 };
        let window = windows.entry(network).or_insert_with(fresh);
        if is_over(window) {
            *window = fresh();
        }
        let vain_max = self.most.saturating_mul(VAIN_PER_ACCOUNT);
        if window.made >= self.most || window.vain >= vain_max {
            return Err(TooMany);
        }
        window.made += 1;
        Ok(())
    }

    /// The account that was counted was not made.
    pub fn in_vain(&self, address: IpAddr) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = windows.get_mut(&network(address)) {
            window.made = window.made.saturating_sub(1);
            window.vain = window.vain.saturating_add(1);
        }
    }
}

/// Whoever has one address of an IPv6 network has 2^64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(bits).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_makes_so_many_an_interval_and_others_are_not_touched() {
        let registrations = Registrations::new(2, HOUR);
        let begin = Instant::now();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(registrations.take(one, begin), Ok(()));
        assert_eq!(registrations.take(one, begin), Ok(()));
        assert_eq!(registrations.take(one, begin), Err(TooMany));
        assert_eq!(registrations.take(address("::ffff:192.0.2.1"), begin), Err(TooMany));
        assert_eq!(registrations.take(other, begin), Ok(()));
        assert_eq!(registrations.take(one, begin + HOUR), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let registrations = Registrations::new(1, HOUR);
        let now = Instant::now();
        assert_eq!(registrations.take(address("2001:db8::1"), now), Ok(()));
        assert_eq!(registrations.take(address("2001:db8::ffff:1"), now), Err(TooMany));
        assert_eq!(registrations.take(address("2001:db8:0:1::1"), now), Ok(()));
    }

    #[test]
    fn what_came_to_nothing_counts_less_but_does_count() {
        let registrations = Registrations::new(1, HOUR);
        let (one, now) = (address("192.0.2.1"), Instant::now());
        for _ in 0..VAIN_PER_ACCOUNT {
            assert_eq!(registrations.take(one, now), Ok(()));
            registrations.in_vain(one);
        }
        assert_eq!(registrations.take(one, now), Err(TooMany));
    }

    #[test]
    fn memory_has_an_end() {
        let registrations = Registrations::new(1, HOUR);
        let now = Instant::now();
        for number in 0..ADDRESSES_MAX {
            let bits = u32::try_from(number).expect("small");
            let address = IpAddr::from(std::net::Ipv4Addr::from(bits));
            assert_eq!(registrations.take(address, now), Ok(()));
        }
        assert_eq!(registrations.take(address("203.0.113.1"), now), Err(TooMany));
        assert_eq!(registrations.take(address("203.0.113.1"), now + HOUR), Ok(()));
    }
}
