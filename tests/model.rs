//! Random changes of rosters and subscriptions by six people on three nodes,
//! against a model of what RFC 6121 wants, while nodes are killed. Whoever's
//! node lives gets what it asked for; whoever's node dies, all of it or nothing.
//!
//! `JABIRU_CHANGES=n` plays about n changes, `JABIRU_SEED=n` the same ones again.

#![allow(unreachable_pub)]

#[path = "model/person.rs"]
mod person;
mod support;
#[path = "model/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use person::{Broken, Person};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use support::{Node, Nodes, SOON, wait_for};
use world::{Deed, Pair};

const PEOPLE: usize = 6;

/// Changes that one pair makes in one round.
const PER_ROUND: usize = 20;

fn number(name: &str, or: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
}

/// Two people, and what must be between them.
struct Play<'a> {
    nodes: &'a [Node],
    dead: &'a AtomicUsize,
    /// Changes of this round that were asked for.
    asked: &'a AtomicUsize,
    people: [Person; 2],
    pair: Pair,
    random: StdRng,
}

impl Play<'_> {
    /// Logs one of them in again, where a node lives.
    fn come_again(&mut self, at: usize) {
        let dead = self.dead.load(Ordering::SeqCst);
        let alive: Vec<&Node> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(n, _)| *n != dead)
            .map(|(_, node)| node)
            .collect();
        let node = alive[self.random.random_range(0..alive.len())];
        self.people[at].come_again(node);
    }

    fn change(&mut self) {
        let actor = self.random.random_range(0..2);
        let deed = Deed::any(&mut self.random);
        let after = self.pair.after(actor, &deed);
        let (kind, words) = deed.words(&self.people[1 - actor].jid);
        let said = match kind {
            "presence" => {
                self.people[actor].say(&words);
                Ok(())
            }
            kind => self.people[actor].ask(kind, &words).map(drop),
        };
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut candidates = vec![after];
        if said.is_err() {
            // nobody knows whether its node had it
            candidates.push(self.pair.clone());
            self.come_again(actor);
        }
        let begin = Instant::now();
        loop {
            let mut rosters = [BTreeMap::new(), BTreeMap::new()];
            for (at, shown) in rosters.iter_mut().enumerate() {
                *shown = match self.people[at].roster() {
                    Ok(roster) => roster,
                    Err(Broken) => {
                        if at == actor && candidates.len() == 1 {
                            candidates.push(self.pair.clone());
                        }
                        self.come_again(at);
                        self.people[at].roster().expect("its new node lives")
                    }
                };
            }
            let jids = [&*self.people[0].jid, &*self.people[1].jid];
            if let Some(now) = candidates.iter().find(|pair| pair.is_shown(jids, &rosters)) {
                self.pair = now.clone();
                return;
            }
            assert!(
                begin.elapsed() < SOON,
                "{} did {deed:?}; expected one of {candidates:#?}\nfound {rosters:#?}",
                self.people[actor].jid
            );
        }
    }
}

#[test]
fn random_changes_with_kills_end_as_the_rfc_wants_on_all_nodes() {
    let changes = number("JABIRU_CHANGES", 1_500);
    let seed = number("JABIRU_SEED", rand::random::<u32>() as usize);
    println!("JABIRU_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed as u64);
    let mut nodes = Nodes::start(3);
    let users: Vec<String> = (0..PEOPLE).map(|at| format!("p{at}")).collect();
    users.iter().for_each(|user| nodes.account(user, "secret"));
    let mut people: Vec<Option<Person>> = users
        .iter()
        .enumerate()
        .map(|(at, user)| Some(Person::come(&nodes.list[at % 3], user)))
        .collect();
    let mut pairs = BTreeMap::<[usize; 2], Pair>::new();
    let rounds = changes.div_ceil(PER_ROUND * PEOPLE / 2);
    for round in 0..rounds {
        // a node in four rounds of ten, in the midst of it
        let victim = random.random_bool(0.4).then(|| random.random_range(0..3));
        let later = random.random_range(0..PER_ROUND * PEOPLE / 2);
        let mut order: Vec<usize> = (0..PEOPLE).collect();
        order.shuffle(&mut random);
        let dead = AtomicUsize::new(usize::MAX);
        let asked = AtomicUsize::new(0);
        let (mut doomed, list) = match victim {
            Some(at) => (Some(nodes.list[at].doom()), &nodes.list),
            None => (None, &nodes.list),
        };
        std::thread::scope(|scope| {
            let plays: Vec<_> = order
                .chunks(2)
                .map(|two| {
                    let at = [two[0].min(two[1]), two[0].max(two[1])];
                    let mut play = Play {
                        nodes: list,
                        dead: &dead,
                        asked: &asked,
                        people: world::two(&mut people, at),
                        pair: pairs.remove(&at).unwrap_or_default(),
                        random: StdRng::seed_from_u64(random.random()),
                    };
                    let playing = scope.spawn(move || {
                        for _ in 0..PER_ROUND {
                            play.change();
                        }
                        (play.people, play.pair)
                    });
                    (at, playing)
                })
                .collect();
            if let (Some(doomed), Some(victim)) = (&mut doomed, victim) {
                wait_for("its moment has come", || asked.load(Ordering::SeqCst) >= later);
                dead.store(victim, Ordering::SeqCst);
                doomed.kill();
            }
            for (at, playing) in plays {
                let ([one, other], pair) = playing.join().expect("as the model says");
                (people[at[0]], people[at[1]]) = (Some(one), Some(other));
                pairs.insert(at, pair);
            }
        });
        if let Some(victim) = victim {
            nodes.list[victim].start();
            nodes.wait_until_all_agree();
            println!("round {round}: n{victim} was killed after {later} changes");
        }
    }
    nodes.wait_until_all_agree();
}
