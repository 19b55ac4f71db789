//! Random changes of rosters and subscriptions by six people on three nodes,
//! against a model of what RFC 6121 wants, while nodes are killed. Whoever's
//! node lives gets what it asked for. Whose node died with its request in its
//! hands may have got it, or not, or find it on the disk of that node when it is
//! back: such two forget each other then, and begin anew.
//!
//! `JABIRU_CHANGES=n` plays about n changes, `JABIRU_KILLS=n` kills a node in n
//! rounds of ten, `JABIRU_SEED=n` makes the same choices again.

#![allow(unreachable_pub)]

#[path = "model/person.rs"]
mod person;
mod support;
#[path = "model/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
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
    /// A node died with a request of theirs in its hands.
    is_in_doubt: bool,
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

    /// How one of them stands to the other, requests that wait for it as well.
    fn state(&self, at: usize) -> (String, String) {
        let (account, contact) = (&self.people[at].jid, &self.people[1 - at].jid);
        let standing = |node: &Node| node.standing(account, contact);
        self.nodes.iter().find_map(standing).expect("two nodes live")
    }

    /// What each has caused at the other is done: both ask their homes for
    /// something answered in its turn, and once more for what came of that.
    fn settle(&mut self) {
        let nobody = "<query xmlns='jabber:iq:roster'>\
                      <item jid='nobody@localhost' subscription='remove'/></query>";
        for at in [0, 1, 0, 1] {
            if self.people[at].ask("set", nobody).is_err() {
                self.come_again(at);
            }
        }
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
            self.is_in_doubt = true;
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
                            self.is_in_doubt = true;
                        }
                        self.come_again(at);
                        self.people[at].roster().expect("its new node lives")
                    }
                };
            }
            let jids = [&*self.people[0].jid, &*self.people[1].jid];
            let states = [self.state(0), self.state(1)];
            let found = candidates.iter().find(|pair| {
                pair.is_shown(jids, &rosters) && pair.is_there([&states[0], &states[1]])
            });
            if let Some(now) = found {
                self.pair = now.clone();
                return self.settle();
            }
            if self.is_in_doubt {
                // half of it was done
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

/// Two people forget each other, whatever is between them.
fn part(two: &mut [Person; 2]) {
    let jids = [two[0].jid.clone(), two[1].jid.clone()];
    // what the first says may still reach the second after it has forgotten
    for _ in 0..2 {
        for at in 0..2 {
            for deed in [Deed::Set(String::new(), BTreeSet::new()), Deed::Remove] {
                let (kind, words) = deed.words(&jids[1 - at]);
                two[at].ask(kind, &words).expect("its node lives");
            }
        }
        wait_for("they have forgotten each other", || {
            (0..2).all(|at| {
                let roster = two[at].roster().expect("its node lives");
                !roster.contains_key(&jids[1 - at])
            })
        });
    }
}

#[test]
fn random_changes_end_as_the_rfc_wants_on_all_nodes() {
    let changes = number("JABIRU_CHANGES", 1_000);
    let kills = number("JABIRU_KILLS", 0).min(10) as f64 / 10.0;
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
        // a node in some rounds of ten, in the midst of it
        let victim = random.random_bool(kills).then(|| random.random_range(0..3));
        let later = random.random_range(0..PER_ROUND * PEOPLE / 2);
        let mut order: Vec<usize> = (0..PEOPLE).collect();
        order.shuffle(&mut random);
        let dead = AtomicUsize::new(usize::MAX);
        let asked = AtomicUsize::new(0);
        let (mut doomed, list) = match victim {
            Some(at) => (Some(nodes.list[at].doom()), &nodes.list),
            None => (None, &nodes.list),
        };
        let mut in_doubt = Vec::new();
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
                        is_in_doubt: false,
                    };
                    let playing = scope.spawn(move || {
                        for _ in 0..PER_ROUND {
                            if !play.is_in_doubt {
                                play.change();
                            }
                        }
                        (play.people, play.pair, play.is_in_doubt)
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
                let ([one, other], pair, is_in_doubt) = playing.join().expect("as the model says");
                (people[at[0]], people[at[1]]) = (Some(one), Some(other));
                if is_in_doubt {
                    in_doubt.push(at);
                } else {
                    pairs.insert(at, pair);
                }
            }
        });
        if let Some(victim) = victim {
            nodes.list[victim].start();
            nodes.wait_until_all_agree();
            for at in in_doubt {
                let mut two = world::two(&mut people, at);
                for (person, node) in two.iter_mut().zip(&nodes.list) {
                    person.come_again(node);
                }
                part(&mut two);
                [people[at[0]], people[at[1]]] = two.map(Some);
            }
            println!("round {round}: n{victim} was killed after {later} changes");
        }
    }
    nodes.wait_until_all_agree();
}
