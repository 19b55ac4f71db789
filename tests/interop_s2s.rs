//! Federation with servers that nobody here wrote: Prosody and ejabberd as
//! Debian has them, each on a host of its own (a network namespace), with a
//! name server and an authority that all of them ask and trust.
//!
//! Needs root, iproute2, dnsmasq, prosody and ejabberd; `scripts/test`
//! installs what is missing.

#![allow(dead_code, unreachable_pub)]

mod support;

#[path = "interop_s2s/authority.rs"]
mod authority;
#[path = "faults/net.rs"]
mod net;
#[path = "interop_s2s/peer.rs"]
mod peer;
#[path = "interop_s2s/person.rs"]
mod person;
#[path = "interop_s2s/world.rs"]
mod world;

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use authority::Age;
use peer::{Kind, Peer, Proof};
use person::Person;
use world::World;

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
    let vouch = |name| world.authority.vouch(name, Age::Valid);
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
    let root = world.authority.root();
    let mut anna = Person::online(&root, peers[0].door(), "anna", "prosody.test").await;
    let mut ben = Person::online(&root, peers[1].door(), "ben", "ejabberd.test").await;
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
