//! A whole cluster in one thread, from one seed: two to nine nodes, or many, whose
//! network loses, delays, cuts and resets, who are killed, frozen, restarted
//! and told goodbye, while they change rows and send letters. `durable` has
//! stories of its own, with disks. Sockets and stanzas are not in it; `spine`
//! has those.
//!
//! After each story the faults end, and the invariants are checked that
//! `checks` lists. A story that fails prints its seed; `JABIRU_SEED=n cargo
//! test --test simulation` plays it again, and `JABIRU_SEEDS=n` plays n of
//! them. `scripts/mutants` plants bugs and sees each invariant fail.

#![allow(unreachable_pub)]

mod checks;
mod durable;
mod events;
mod gossip;
mod network;
mod story;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use story::Story;

/// How many seeds, unless the environment says otherwise.
const SEEDS: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays many stories, on all cores, and names the first that fails.
fn play(kind: &str, seeds: u64, story: impl Fn(u64) + Sync) {
    play_some(kind, number("JABIRU_SEEDS").unwrap_or(seeds), story);
}

fn play_some(kind: &str, seeds: u64, story: impl Fn(u64) + Sync) {
    if let Some(seed) = number("JABIRU_SEED") {
        return story(seed);
    }
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get() as u64);
    let first_failed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|worker| {
                let story = &story;
                scope.spawn(move || {
                    (worker..seeds)
                        .step_by(workers as usize)
                        .find(|seed| catch_unwind(AssertUnwindSafe(|| story(*seed))).is_err())
                })
            })
            .collect();
        let failed = workers.into_iter().filter_map(|worker| worker.join().expect("a worker"));
        failed.min()
    });
    assert_eq!(first_failed, None, "{kind}: this seed fails; JABIRU_SEED plays it again");
}

#[test]
fn whatever_happens_nothing_is_lost_and_all_agree_in_the_end() {
    play("any faults", SEEDS, |seed| Story::of_any_faults(seed).play());
}

#[test]
fn a_lost_link_or_a_short_stall_evicts_nobody() {
    play("false alarms", SEEDS / 4, |seed| Story::of_false_alarms(seed).play());
}

#[test]
fn a_killed_process_is_gone_at_once() {
    play("kills", SEEDS / 4, |seed| Story::of_one_kill(seed).play());
}

#[test]
fn whoever_says_goodbye_is_gone_at_once_and_loses_nothing() {
    play("goodbyes", SEEDS / 4, |seed| Story::of_one_goodbye(seed).play());
}

#[test]
fn letters_pass_where_ways_are_slow() {
    play("slow ways", SEEDS / 4, |seed| Story::of_slow_ways(seed).play());
}

#[test]
fn whatever_happens_on_slow_ways_nothing_is_lost_or_given_twice() {
    play("faults on slow ways", SEEDS / 2, |seed| Story::of_faults_on_slow_ways(seed).play());
}

#[test]
fn whoever_stood_still_for_a_minute_is_one_of_all_again() {
    play("long freezes", SEEDS / 10, |seed| Story::of_a_long_freeze(seed).play());
}

/// How many nodes are many, unless the environment says otherwise; a story
/// takes four times as long for twice as many.
const NODES: u64 = 25;

#[test]
fn many_nodes_are_as_sure_as_a_few() {
    let nodes = number("JABIRU_NODES").unwrap_or(NODES).max(5) as usize;
    let stories = number("JABIRU_SEEDS").unwrap_or(SEEDS).div_ceil(SEEDS / 2);
    play_some("many nodes", stories, |seed| Story::of_many(seed, nodes).play());
}

#[test]
fn durable_rows_stay_and_end_equal() {
    play("durable rows", SEEDS, |seed| durable::Story::new(seed).play());
}

#[test]
fn one_seed_is_one_story() {
    let (once, again) = (Story::of_any_faults(7).told(), Story::of_any_faults(7).told());
    assert_eq!(once, again);
    let (once, again) = (durable::Story::new(7).told(), durable::Story::new(7).told());
    assert_eq!(once, again);
}
