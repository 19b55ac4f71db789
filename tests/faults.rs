//! Real faults on real processes: nodes in network namespaces are killed,
//! frozen, cut off and starved while clients count every message. Each test is
//! one fault; what must hold whatever happens is in `faults/invariants.rs`.
//!
//! Needs root, iproute2, iptables and faketime; `scripts/test` installs what is
//! missing. `JABIRU_STANDSTILL=60` freezes for a minute what is frozen for long.

#![allow(unreachable_pub)]

mod support;

#[path = "faults/delay.rs"]
mod delay;
#[path = "faults/history.rs"]
mod history;
#[path = "faults/invariants.rs"]
mod invariants;
#[path = "faults/load.rs"]
mod load;
#[path = "faults/moved.rs"]
mod moved;
#[path = "faults/net.rs"]
mod net;
#[path = "faults/odd.rs"]
mod odd;
#[path = "faults/story.rs"]
mod story;
#[path = "faults/twins.rs"]
mod twins;

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use delay::Delay;
use story::Story;
use support::Nodes;
use support::disk::SmallDisk;
use twins::{Twins, all_know, befriend};

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

/// What messages between healthy nodes may take while another is frozen.
const FAST: Duration = Duration::from_millis(50);

/// Whether a node finds this wrong.
fn says(story: &Story, at: usize, words: &str) -> bool {
    story.nodes.list[at].verdict().is_some_and(|verdict| verdict.contains(words))
}

/// What a node says of the cluster, besides its verdict.
fn notes(story: &Story, at: usize) -> Vec<String> {
    let status = story.nodes.list[at].status();
    let notes = status.map(|status| status["notes"].clone()).unwrap_or_default();
    serde_json::from_value(notes).unwrap_or_default()
}

#[test]
fn a_node_is_killed_and_comes_back() {
    tell(async {
        let mut story = Story::begin(3).await;
        story.kill(1);
        story.talk(seconds(5)).await;
        story.restart(1);
        story.end().await;
    });
}

#[test]
fn a_node_is_cut_off_and_returns() {
    tell(async {
        let mut story = Story::begin(3).await;
        story.split(&[0, 2], &[1]);
        story.talk(seconds(5)).await;
        story.heal();
        story.end().await;
    });
}

#[test]
fn both_sides_of_a_split_go_on_and_become_one() {
    tell(async {
        let mut story = Story::begin(3).await;
        story.split(&[0], &[1, 2]);
        story.wait("both sides know it", Story::is_split).await;
        let twins = Twins::log_in(&story, [0, 2]).await;
        befriend(&story, 0, "u24");
        befriend(&story, 1, "u25");
        befriend(&story, 2, "u26");
        story.talk(seconds(2)).await;
        story.heal();
        twins.one_stays(&mut story).await;
        all_know(&mut story, &["u24", "u25", "u26"]).await;
        story.end().await;
    });
}

#[test]
fn two_halves_of_four_go_on_and_become_one() {
    tell(async {
        let mut story = Story::begin(4).await;
        story.split(&[0, 1], &[2, 3]);
        story.wait("both sides know it", Story::is_split).await;
        let twins = Twins::log_in(&story, [3, 1]).await;
        befriend(&story, 0, "u24");
        befriend(&story, 3, "u26");
        story.talk(seconds(2)).await;
        story.heal();
        twins.one_stays(&mut story).await;
        all_know(&mut story, &["u24", "u26"]).await;
        story.end().await;
    });
}

#[test]
fn the_address_of_a_node_changes_while_it_runs() {
    tell(moved::one());
}

#[test]
fn the_addresses_of_two_nodes_change_at_once() {
    tell(moved::two());
}

#[test]
fn a_node_stands_still_for_a_second() {
    tell(freeze(1));
}

#[test]
fn a_node_stands_still_for_long() {
    let time = std::env::var("JABIRU_STANDSTILL").ok().and_then(|time| time.parse().ok());
    tell(freeze(time.unwrap_or(5)));
}

async fn freeze(time: u64) {
    let mut story = Story::begin(3).await;
    story.all_may_lose(1);
    let usual = story.usual().await;
    let begin = story.load.now();
    story.signal(1, "-STOP");
    story.talk(seconds(time)).await;
    let end = story.load.now();
    story.signal(1, "-CONT");
    story.must_be_fast(&[0, 2], (begin, end), Some(usual), FAST);
    story.end().await;
}

#[test]
fn two_that_do_not_reach_each_other_go_through_a_third() {
    tell(async {
        let mut story = Story::begin(3).await;
        story.cut_pair(0, 2);
        story.talk(seconds(5)).await;
        // an operator sees it from anywhere
        for (from, to) in [("n0", "n2"), ("n2", "n0")] {
            let note = format!("{from} cannot reach {to} itself: it goes through n1");
            story.wait(&note, |story| notes(story, 1).contains(&note)).await;
        }
        story.heal();
        story.wait("all is direct again", |story| notes(story, 1).is_empty()).await;
        story.end().await;
    });
}

#[test]
fn one_that_does_not_hear_another_goes_through_a_third() {
    tell(async {
        let mut story = Story::begin(3).await;
        story.stage.cut(0, 2);
        story.talk(seconds(5)).await;
        story.heal();
        story.end().await;
    });
}

#[test]
fn a_node_is_deaf() {
    tell(async {
        let mut story = Story::begin(3).await;
        // nobody can tell who of the two is at fault
        for other in [0, 2] {
            story.stage.cut(other, 1);
            story.may_lose([other], 1);
            story.may_lose([1], other);
        }
        story.talk(seconds(5)).await;
        story.heal();
        story.end().await;
    });
}

#[test]
fn a_third_of_all_packets_is_lost() {
    tell(async {
        let mut story = Story::begin(3).await;
        for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
            story.stage.lose(from, to, 0.3);
        }
        story.talk(seconds(8)).await;
        story.heal();
        story.end().await;
    });
}

#[test]
fn a_link_comes_and_goes() {
    tell(async {
        let mut story = Story::begin(3).await;
        for _ in 0..4 {
            story.cut_pair(0, 1);
            story.talk(Duration::from_millis(700)).await;
            story.heal();
            story.talk(Duration::from_millis(700)).await;
        }
        story.end().await;
    });
}

#[test]
fn a_node_comes_and_goes() {
    tell(async {
        let mut story = Story::begin(3).await;
        for _ in 0..4 {
            story.split(&[0, 2], &[1]);
            story.talk(seconds(1)).await;
            story.heal();
            story.talk(seconds(1)).await;
        }
        story.end().await;
    });
}

#[test]
fn all_links_fail_for_a_moment() {
    tell(async {
        let mut story = Story::begin(3).await;
        for span in [6, 50, 250] {
            for pair in [(0, 1), (0, 2), (1, 2)] {
                story.cut_pair(pair.0, pair.1);
            }
            story.talk(Duration::from_millis(span)).await;
            story.heal();
            story.talk(seconds(1)).await;
        }
        story.end().await;
    });
}

#[test]
fn the_power_of_all_nodes_fails() {
    tell(async {
        let mut story = Story::begin(3).await;
        (0..3).for_each(|at| story.kill(at));
        (0..3).for_each(|at| story.spawn(at));
        story.talk(seconds(3)).await;
        story.end().await;
    });
}

#[test]
fn all_packets_come_late() {
    tell(async {
        let mut story = Story::begin(3).await;
        let (delay, jitter) = (Duration::from_millis(300), Duration::from_millis(60));
        let delay = Delay::begin(&story.stage, 3, delay, jitter);
        story.talk(seconds(5)).await;
        let begin = story.load.now();
        story.talk(seconds(7)).await;
        let end = story.load.now();
        // a way, and two more for what was overtaken and counts as lost
        story.must_be_fast(&[0, 1, 2], (begin, end), None, Duration::from_millis(1_200));
        story.heal();
        delay.end();
        story.end().await;
    });
}

#[test]
fn the_clocks_of_two_nodes_are_ten_minutes_off() {
    tell(async {
        let mut story = Story::begin_with(3, |nodes| {
            nodes.list[0].place.shift_clock("+10m");
            nodes.list[2].place.shift_clock("-10m");
        })
        .await;
        story.kill(0);
        story.talk(seconds(3)).await;
        story.restart(0);
        story.end().await;
    });
}

#[test]
fn a_node_has_no_file_descriptors_left() {
    tell(async {
        let mut story = Story::begin(3).await;
        let before = story.files(1);
        story.limit_files(1, before);
        // its links are lost as well, and cannot be made again while it lasts
        story.cut_pair(0, 1);
        story.talk(seconds(2)).await;
        story.heal();
        story.talk(seconds(2)).await;
        story.limit_files(1, 20_000);
        story.end().await;
    });
}

#[test]
fn a_disk_is_slow() {
    tell(async {
        let mut slow = None;
        let prepare = |nodes: &mut Nodes| {
            slow = Some(nodes.list[1].place.slow_disk(nodes.folder.path()));
        };
        let mut story = Story::begin_with(3, prepare).await;
        let usual = story.usual().await;
        slow.expect("prepared").begin();
        let begin = story.load.now();
        story.talk(seconds(4)).await;
        let end = story.load.now();
        // what needs no disk does not wait for many syncs of one
        story.must_be_fast(&[0, 2], (begin, end), Some(usual), FAST);
        story.end().await;
    });
}

#[test]
fn a_disk_is_full() {
    tell(async {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = SmallDisk::mount(folder.path(), "8m");
        let place = format!("[server]\ndata_dir = {:?}", folder.path());
        let prepare = |nodes: &mut Nodes| nodes.list[1].configure("[server]", &place);
        let mut story = Story::begin_with(3, prepare).await;
        let usual = story.usual().await;
        disk.fill();
        let begin = story.load.now();
        story.wait("its store fails", |story| says(story, 2, "n1 cannot keep changes")).await;
        story.talk(seconds(4)).await;
        let end = story.load.now();
        // what needs no disk goes on
        story.must_be_fast(&[0, 2], (begin, end), Some(usual), FAST);
        disk.relieve();
        story.end().await;
    });
}
