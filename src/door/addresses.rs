//! What one client address may do at the door: so many connections at a time,
//! so many attempts a second, so many new accounts. An address is one of IPv4
//! or a network of 64 bits of IPv6; each node counts for itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::door::allowance::{Allowance, Spend};
use crate::door::config::PerAddress;
use crate::net::network::{self, Network};

/// Attempts may be saved up for so long: a whole office may come back at once
/// when its node has gone. A guess.
const SAVED_SECONDS: u32 = 10;

/// A wrong password counts as so many attempts. A guess: with the default,
/// five a second may be tried.
const WRONG_PASSWORD_ATTEMPTS: u32 = 10;

/// Names that may be tried in vain for each account that may be made: whoever
/// tries more looks for the names of others. A guess.
const VAIN_PER_ACCOUNT: u32 = 10;

/// Limits, and what counts against them.
#[derive(Debug)]
pub struct Addresses {
    connections_max: u32,
    exempt: Vec<Network>,
    connections: Mutex<HashMap<IpAddr, u32>>,
    attempts: Allowance,
    registrations: Allowance,
}

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its address has as many as it may have.
    #[error("too many connections from one address")]
    Connections,
    /// Its address comes too often.
    #[error("too many attempts from one address")]
    Attempts,
}

/// A connection that counts, as long as this lives.
#[derive(Debug)]
pub struct Guest(Option<(Arc<Addresses>, IpAddr)>);

impl Addresses {
    /// Nobody is here. `registrations` is what an address may make of accounts
    /// an interval.
    pub fn new(limits: &PerAddress, registrations: (u32, Duration)) -> Self {
        let saved = limits.attempts_max.saturating_mul(SAVED_SECONDS);
        let (accounts_max, interval) = registrations;
        Self {
            connections_max: limits.connections_max,
            exempt: limits.exempt.clone(),
            connections: Mutex::default(),
            attempts: Allowance::new(saved, Duration::from_secs(u64::from(SAVED_SECONDS))),
            registrations: Allowance::new(accounts_max, interval),
        }
    }

    /// One more connection of an address.
    ///
    /// # Errors
    /// [`Refused`]; the attempt counts all the same.
    pub fn enter(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Guest, Refused> {
        if self.is_exempt(address) {
            return Ok(Guest(None));
        }
        match self.attempts.take(address, now) {
            // so many addresses at a time are no business of one of them
            Ok(()) | Err(Spend::Crowded) => {}
            Err(Spend::Over) => return Err(Refused::Attempts),
        }
        let client = network::client(address);
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connections.entry(client).or_default();
        if *count >= self.connections_max {
            return Err(Refused::Connections);
        }
        *count += 1;
        Ok(Guest(Some((Arc::clone(self), client))))
    }

    /// Somebody at this address did not prove who he is.
    pub fn was_wrong(&self, address: IpAddr, now: Instant) {
        if !self.is_exempt(address) {
            self.attempts.charge(address, WRONG_PASSWORD_ATTEMPTS, now);
        }
    }

    /// Somebody at this address makes an account. No address is exempt: what
    /// hides many clients hides the spammers among them.
    ///
    /// # Errors
    /// [`Spend`]: it must wait.
    pub fn register(&self, address: IpAddr, now: Instant) -> Result<(), Spend> {
        self.registrations.take(address, now)
    }

    /// The account was not made.
    pub fn register_in_vain(&self, address: IpAddr) {
        self.registrations.in_vain(address, VAIN_PER_ACCOUNT);
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        self.exempt.iter().any(|network| network.has(address))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let Some((addresses, client)) = self.0.take() else { return };
        let mut connections = addresses.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                connections.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(connections_max: u32, attempts_max: u32) -> Arc<Addresses> {
        let exempt = vec!["10.0.0.0/8".parse().expect("a network")];
        let limits = PerAddress { connections_max, attempts_max, exempt };
        Arc::new(Addresses::new(&limits, (1, Duration::from_secs(3_600))))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_so_many_connections_at_a_time() {
        let (addresses, now) = (addresses(2, 1_000), Instant::now());
        let enter = |text| addresses.enter(address(text), now);
        let first = enter("2001:db8::1").expect("room");
        let _second = enter("2001:db8::2").expect("room");
        assert_eq!(enter("2001:db8::3").err(), Some(Refused::Connections));
        let _other = enter("2001:db8:0:1::1").expect("another network");
        drop(first);
        let _third = enter("2001:db8::3").expect("room again");
        assert_eq!(addresses.connections.lock().expect("no panic").len(), 2);
    }

    #[test]
    fn whoever_is_gone_is_forgotten() {
        let addresses = addresses(2, 1_000);
        drop(addresses.enter(address("192.0.2.1"), Instant::now()).expect("room"));
        assert!(addresses.connections.lock().expect("no panic").is_empty());
    }

    #[test]
    fn an_address_comes_so_often_and_wrong_passwords_count_more() {
        let (addresses, now) = (addresses(1_000, 2), Instant::now());
        let enter = |now| addresses.enter(address("192.0.2.1"), now).err();
        for _ in 0..10 {
            assert_eq!(enter(now), None);
        }
        addresses.was_wrong(address("192.0.2.1"), now);
        assert_eq!(enter(now), Some(Refused::Attempts));
        assert_eq!(enter(now + Duration::from_secs(1)), None);
        assert_eq!(addresses.enter(address("192.0.2.2"), now).err(), None);
    }

    #[test]
    fn the_exempt_have_no_limit_but_that_of_new_accounts() {
        let (addresses, now) = (addresses(1, 1), Instant::now());
        let balancer = address("10.0.0.1");
        let guests: Vec<Guest> =
            (0..100).filter_map(|_| addresses.enter(balancer, now).ok()).collect();
        assert_eq!(guests.len(), 100);
        assert_eq!(addresses.register(balancer, now), Ok(()));
        assert_eq!(addresses.register(balancer, now), Err(Spend::Over));
    }
}
