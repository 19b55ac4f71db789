//! Where other nodes find this one. Where that is configured it stays; else it
//! is an address that this host has, and when the host has it no more, the one
//! that took its place: the node stays who it is, and says where it is now.
//!
//! A node that listens on one address only, or whose `advertise` is given, does
//! not follow. When all nodes move at once they find each other by seeds that
//! are names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

use crate::cluster::config::Config;
use crate::cluster::gossip::Gossip;
use crate::cluster::handle::Cluster;
use crate::cluster::history::What;
use crate::cluster::seeds;

/// Between two looks whether the host still has the address. A guess: about as
/// long as others take to miss a link.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Where there is nobody to go towards: what documentation is written with
/// (RFC 5737), so that the kernel chooses the way out.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// The address that others shall use, where none is configured: that of the
/// socket, or the one that this host uses towards a seed.
pub(super) fn at_start(bound: SocketAddr, seeds: &[String]) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let targets = seeds.iter().filter_map(|seed| seed.to_socket_addrs().ok()).flatten();
    let ip = towards(bound.ip(), targets.chain([ANYWHERE]));
    SocketAddr::new(ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), bound.port())
}

/// Follows the addresses of the host for ever, where others are told one of
/// them.
pub(super) async fn follow(cluster: &Arc<Cluster>, gossip: &Gossip, config: &Config) {
    if config.advertise.is_some() || !config.listen.ip().is_unspecified() {
        return std::future::pending().await;
    }
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let before = cluster.address();
        if is_of_this_host(before.ip()) {
            continue;
        }
        let seeds = seeds::look_up(&cluster.seeds.list()).await;
        let peers = cluster.peers().into_iter().filter_map(|peer| peer.address);
        let targets = seeds.into_iter().chain(peers).chain([ANYWHERE]);
        let Some(ip) = towards(config.listen.ip(), targets) else { continue };
        if ip == before.ip() {
            continue;
        }
        let now = SocketAddr::new(ip, before.port());
        info!(%before, %now, "this host has another address");
        cluster.set_address(now);
        gossip.publish_address(now).await;
        cluster.seeds.look_again();
        let words = format!("its address is {now} now, and was {before}");
        cluster.history.note(What::Said { words });
    }
}

/// Whether others may find this host there. One that only this host itself
/// finds will not do, if there is a better one.
fn is_of_this_host(ip: IpAddr) -> bool {
    !ip.is_loopback() && UdpSocket::bind((ip, 0)).is_ok()
}

/// The address that this host uses towards one of these; rather none that only
/// itself finds. `listens`: on which addresses it listens.
fn towards(listens: IpAddr, targets: impl Iterator<Item = SocketAddr>) -> Option<IpAddr> {
    let mut own = None;
    for target in targets.filter(|target| target.is_ipv4() || listens.is_ipv6()) {
        let any = if target.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let way = || {
            let probe = UdpSocket::bind((any, 0)).ok()?;
            // no packet is sent: the kernel only chooses the way
            probe.connect(target).ok()?;
            Some(probe.local_addr().ok()?.ip())
        };
        match way() {
            Some(ip) if !ip.is_loopback() => return Some(ip),
            ip => own = own.or(ip),
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_this_host_finds_is_chosen_last() {
        let bound = SocketAddr::from(([0; 4], 4369));
        let local = ["127.0.0.1:9".to_owned()];
        // whether there is any other way is the machine's business
        let anywhere = towards(bound.ip(), [ANYWHERE].into_iter());
        let found = at_start(bound, &local);
        assert_eq!(found.ip(), anywhere.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(found.port(), 4369);
        let one = SocketAddr::from(([127, 0, 0, 7], 4369));
        assert_eq!(at_start(one, &[]), one);
        let v6 = SocketAddr::from(([0u16, 0, 0, 0, 0, 0, 0, 1], 9));
        assert_eq!(towards(bound.ip(), [v6].into_iter()), None, "we do not listen there");
    }

    #[test]
    fn an_address_that_the_host_does_not_have_is_not_of_it() {
        assert!(!is_of_this_host(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
        assert!(!is_of_this_host(IpAddr::V4(Ipv4Addr::LOCALHOST)), "there may be a better one");
    }
}
