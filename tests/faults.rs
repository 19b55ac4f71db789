//! Real faults on real processes: nodes in network namespaces are killed,
//! frozen, cut off and starved while clients count every message. Each test is
//! one fault; what must hold whatever happens is in `faults/invariants.rs`.
//!
//! Needs root, iproute2 and iptables; `scripts/test` installs what is missing.

#![allow(unreachable_pub)]

mod support;

#[path = "faults/history.rs"]
mod history;
#[path = "faults/invariants.rs"]
mod invariants;
#[path = "faults/load.rs"]
mod load;
#[path = "faults/net.rs"]
mod net;
#[path = "faults/story.rs"]
mod story;
#[path = "faults/wire.rs"]
mod wire;

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use story::Story;

/// One story at a time: each judges times.
static ALONE: Mutex<()> = Mutex::new(());

fn tell(story: impl Future<Output = ()>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !net::is_allowed() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(story);
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_node_is_killed_and_comes_back() {
    tell(async {
        let mut story = Story::begin(3).await;
        story.kill(1);
        story.talk(seconds(5)).await;
        story.restart(1);
        story.talk(seconds(1)).await;
        story.end().await;
    });
}
