//! Federation with servers that nobody here wrote: Prosody and ejabberd as
//! Debian has them, each on a host of its own (a network namespace), with a
//! name server and an authority that all of them ask and trust.
//!
//! Needs root, iproute2, dnsmasq, prosody and ejabberd; `scripts/test`
//! installs what is missing.

#![allow(unreachable_pub)]

mod support;

#[allow(dead_code)]
#[path = "servers/authority.rs"]
mod authority;
#[allow(dead_code)]
#[path = "faults/net.rs"]
mod net;
#[path = "interop_s2s/ours.rs"]
mod ours;
#[path = "interop_s2s/peer.rs"]
mod peer;
#[path = "interop_s2s/person.rs"]
mod person;
#[path = "interop_s2s/refused.rs"]
mod refused;
#[path = "interop_s2s/together.rs"]
mod together;
#[path = "interop_s2s/troubles.rs"]
mod troubles;
#[path = "interop_s2s/world.rs"]
mod world;

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use authority::Shown;
use ours::{OURS, Ours};
use peer::{Kind, Peer, Proof};
use person::Person;
use refused::{they_are_refused, we_are_refused};
use support::wire::careless;
use together::{they_live_together, they_share_one_stream};
use world::{Papers, World};

/// One world at a time: each takes much of a small machine.
static ALONE: Mutex<()> = Mutex::new(());

fn tell(story: impl Future<Output = ()>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !net::is_allowed() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(story);
}

/// The two peers in one world.
fn peers(world: &World, proof: Proof) -> [Peer; 2] {
    let vouch = |name| world.papers(name, &Shown::Valid);
    [
        Peer::start(world, 0, Kind::Prosody, &vouch("prosody.test"), proof),
        Peer::start(world, 1, Kind::Ejabberd, &vouch("ejabberd.test"), proof),
    ]
}

/// The stage itself: if the peers did not understand each other, nothing that
/// they say of us would count.
async fn they_understand_each_other(proof: Proof) {
    let mut world = World::build(2);
    world.name(&[("prosody.test", &[0]), ("ejabberd.test", &[1])]);
    let peers = peers(&world, proof);
    let mut anna = Person::online(&careless(), peers[0].door(), "anna", "prosody.test").await;
    let mut ben = Person::online(&careless(), peers[1].door(), "ben", "ejabberd.test").await;
    anna.write(&ben.jid, "there").await;
    ben.read("there").await;
    ben.write(&anna.jid, "back").await;
    anna.read("back").await;
}

#[test]
fn the_peers_understand_each_other_by_certificates() {
    tell(they_understand_each_other(Proof::External));
}

#[test]
fn the_peers_understand_each_other_by_dialback() {
    tell(they_understand_each_other(Proof::Dialback));
}

/// A cluster of ours and one peer, who trust the same authority.
struct Two {
    ours: Ours,
    peer: Peer,
    world: World,
}

impl Two {
    fn start(kind: Kind, proof: Proof, count: usize, more: &str) -> Two {
        Two::with_papers(kind, proof, count, more, |world, name| match proof {
            Proof::External | Proof::BothWays => None,
            // else they would be believed by their certificates
            Proof::Dialback => Some(world.strange_papers(name)),
        })
    }

    /// As above, but whoever `other` knows other papers for shows those.
    fn with_papers(
        kind: Kind,
        proof: Proof,
        count: usize,
        more: &str,
        other: impl Fn(&World, &str) -> Option<Papers>,
    ) -> Two {
        let mut world = World::build(count + 1);
        let all: Vec<usize> = (0..count).collect();
        let domain = kind.domain();
        world.name(&[(OURS, &all), (domain, &[count])]);
        let vouch =
            |name: &str| other(&world, name).unwrap_or_else(|| world.papers(name, &Shown::Valid));
        let peer = Peer::start(&world, count, kind, &vouch(domain), proof);
        let ours = Ours::start(&world, count, &vouch(OURS), proof, more);
        Two { ours, peer, world }
    }

    /// Somebody of ours, on a node. Clients look at no certificate: servers do.
    async fn here(&self, user: &str, node: usize) -> Person {
        Person::online(&careless(), self.ours.door(node), user, OURS).await
    }

    /// Somebody of theirs.
    async fn there(&self, user: &str) -> Person {
        Person::online(&careless(), self.peer.door(), user, self.peer.domain).await
    }
}

#[test]
fn one_node_and_prosody_by_certificates() {
    tell(they_live_together(Kind::Prosody, Proof::External, 1));
}

#[test]
fn one_node_and_prosody_by_dialback() {
    tell(they_live_together(Kind::Prosody, Proof::Dialback, 1));
}

#[test]
fn one_node_and_ejabberd_by_certificates() {
    tell(they_live_together(Kind::Ejabberd, Proof::External, 1));
}

#[test]
fn one_node_and_ejabberd_by_dialback() {
    tell(they_live_together(Kind::Ejabberd, Proof::Dialback, 1));
}

#[test]
fn three_nodes_and_prosody_by_certificates() {
    tell(they_live_together(Kind::Prosody, Proof::External, 3));
}

#[test]
fn three_nodes_and_prosody_by_dialback() {
    tell(they_live_together(Kind::Prosody, Proof::Dialback, 3));
}

#[test]
fn three_nodes_and_ejabberd_by_certificates() {
    tell(they_live_together(Kind::Ejabberd, Proof::External, 3));
}

#[test]
fn three_nodes_and_ejabberd_by_dialback() {
    tell(they_live_together(Kind::Ejabberd, Proof::Dialback, 3));
}

#[test]
fn one_node_and_prosody_by_streams_that_carry_both_ways() {
    tell(they_live_together(Kind::Prosody, Proof::BothWays, 1));
    tell(they_share_one_stream(1));
}

#[test]
fn three_nodes_and_prosody_by_streams_that_carry_both_ways() {
    tell(they_live_together(Kind::Prosody, Proof::BothWays, 3));
    tell(they_share_one_stream(3));
}

#[test]
fn prosody_with_a_bad_certificate_is_refused() {
    tell(they_are_refused(Kind::Prosody));
}

#[test]
fn ejabberd_with_a_bad_certificate_is_refused() {
    tell(they_are_refused(Kind::Ejabberd));
}

#[test]
fn we_are_refused_by_prosody_with_a_bad_certificate() {
    tell(we_are_refused(Kind::Prosody));
}

#[test]
fn we_are_refused_by_ejabberd_with_a_bad_certificate() {
    tell(we_are_refused(Kind::Ejabberd));
}

#[test]
fn prosody_starts_again() {
    tell(troubles::it_starts_again(Kind::Prosody));
}

#[test]
fn ejabberd_starts_again() {
    tell(troubles::it_starts_again(Kind::Ejabberd));
}

#[test]
fn prosody_stands_still() {
    tell(troubles::it_stands_still(Kind::Prosody));
}

#[test]
fn ejabberd_vanishes() {
    tell(troubles::it_vanishes(Kind::Ejabberd));
}

#[test]
fn the_node_with_the_link_is_killed() {
    tell(troubles::the_linked_node_is_killed(Kind::Prosody));
}
