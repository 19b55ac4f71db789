//! How soon a node that has gone is forgotten, seen from outside and beside
//! ejabberd in the same run: somebody asks a client of that node, every few
//! milliseconds, until the answer is that nobody is there. What is asked
//! meanwhile and never answered has vanished; it is counted.
//!
//! `cargo bench --bench gone` runs all of it; `-- killed` or `-- cut` one
//! part. Needs root, iproute2, iptables and Debian's ejabberd.

#![allow(dead_code, unreachable_pub)]

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "peers/ejabberd.rs"]
mod ejabberd;
#[path = "../tests/faults/net.rs"]
mod net;
#[path = "peers/ours.rs"]
mod ours;
#[path = "peers/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ejabberd::Ejabberd;
use net::Stage;
use ours::Ours;
use server::Service;
use support::DOMAIN;
use support::wire::{Wire, attribute, trust};
use tokio::time::{interval, timeout};

/// How often somebody asks.
const PACE: Duration = Duration::from_millis(5);

/// Longer than any cluster needs; ejabberd waits for Erlang's `net_ticktime`,
/// 45 to 75 seconds.
const GONE_TIME_MAX: Duration = Duration::from_secs(120);

/// How long an answer may still take when the node is known to be gone.
const LATE: Duration = Duration::from_secs(3);

/// Nodes of each cluster; the last is lost.
const NODES: usize = 3;

/// How often each fault is done to each cluster, in turn.
const KILLS: usize = 10;
const CUTS: usize = 3;

/// What happens to the last node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Killed,
    CutOff,
}

/// What somebody saw.
struct Seen {
    /// From the fault until it was known.
    gone: Duration,
    asked: usize,
    vanished: usize,
}

/// A cluster to lose a node of.
struct Cluster {
    service: Box<dyn Service>,
    stage: Stage,
}

const PEOPLE: [&str; 2] = ["asks", "answers"];

fn ours() -> Cluster {
    let stage = Stage::build(NODES);
    let ours = Ours::start(stage.places());
    PEOPLE.iter().for_each(|name| ours.nodes.account(name, name));
    Cluster { service: Box::new(ours), stage }
}

fn theirs(folder: &Path) -> Cluster {
    let stage = Stage::build(NODES);
    let papers = folder.join("papers.pem");
    let file = |name| fs::read_to_string(support::tls().join(name)).expect("readable");
    fs::write(&papers, file("key.pem") + &file("cert.pem")).expect("writable");
    let theirs = Ejabberd::start(stage.places(), folder, &papers);
    theirs.people(&PEOPLE);
    Cluster { service: Box::new(theirs), stage }
}

async fn see(cluster: &mut Cluster, fault: Fault) -> Seen {
    let doors = cluster.service.doors(true);
    let [near, far] = [doors[0], doors[NODES - 1]];
    let mut asks = Wire::open(&trust(), near, PEOPLE[0], "r").await.expect("a login");
    let mut answers = Wire::open(&trust(), far, PEOPLE[1], "r").await.expect("a login");
    let [from, to] = PEOPLE.map(|name| format!("{name}@{DOMAIN}/r"));
    // who does not show itself to somebody is not asked by them
    answers.say(&format!("<presence/><presence to='{from}'/>")).await.expect("it is served");
    let ask = |number: usize| {
        format!("<iq type='get' id='{number}' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>")
    };
    // until the way there is known
    let mut number = 0;
    loop {
        number += 1;
        assert!(number < 100, "{}: the way is never known", cluster.service.name());
        asks.say(&ask(number)).await.expect("it is served");
        let come = async {
            while !answers
                .next()
                .await
                .is_ok_and(|one| one.is_some_and(|one| one.starts_with("<iq")))
            {}
        };
        if timeout(Duration::from_millis(500), come).await.is_ok() {
            break;
        }
    }
    match fault {
        Fault::Killed => cluster.service.kill_last(),
        Fault::CutOff => {
            for other in 0..NODES - 1 {
                cluster.stage.cut(other, NODES - 1);
                cluster.stage.cut(NODES - 1, other);
            }
        }
    }
    let begin = Instant::now();
    let first = number + 1;
    let mut open: BTreeMap<usize, Instant> = BTreeMap::new();
    let mut pace = interval(PACE);
    let mut gone = None;
    loop {
        tokio::select! {
            _ = pace.tick(), if gone.is_none() => {
                number += 1;
                open.insert(number, Instant::now());
                asks.say(&ask(number)).await.expect("it is served");
            }
            heard = asks.next() => {
                let heard = heard.expect("it is served").expect("it is served");
                let Some(id) = attribute(&heard, "id").and_then(|id| id.parse().ok()) else { continue };
                open.remove(&id);
                if id >= first && attribute(&heard, "type") == Some("error") && gone.is_none() {
                    gone = Some(begin.elapsed());
                }
            }
            () = tokio::time::sleep(LATE), if gone.is_some() => break,
        }
        assert!(begin.elapsed() < GONE_TIME_MAX, "{}: never known", cluster.service.name());
        if gone.is_some() && open.is_empty() {
            break;
        }
    }
    (0..NODES).for_each(|at| cluster.stage.mend(at));
    Seen { gone: gone.unwrap_or_default(), asked: number - first + 1, vanished: open.len() }
}

fn tell(name: &str, fault: Fault, seen: &[Seen]) {
    let mut times: Vec<Duration> = seen.iter().map(|one| one.gone).collect();
    times.sort_unstable();
    let (asked, vanished) =
        seen.iter().fold((0, 0), |(a, v), one| (a + one.asked, v + one.vanished));
    println!(
        "{name}, {fault:?}: {} times, gone after {:.3?} ({:.3?} to {:.3?}); {asked} asked, {vanished} vanished",
        times.len(),
        times[times.len() / 2],
        times[0],
        times[times.len() - 1],
    );
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|one| one == name);
    if !(wanted("killed") || wanted("cut")) || !net::is_allowed() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let mut clusters = [ours(), theirs(folder.path())];
    let faults = [(Fault::Killed, KILLS, "killed"), (Fault::CutOff, CUTS, "cut")];
    for (fault, times, name) in faults.into_iter().filter(|(.., name)| wanted(name)) {
        let mut seen: [Vec<Seen>; 2] = Default::default();
        for round in 0..times {
            for (cluster, seen) in clusters.iter_mut().zip(&mut seen) {
                if !cluster.service.heal() {
                    println!("{}: its nodes do not come together again", cluster.service.name());
                    continue;
                }
                let one = runtime.block_on(see(cluster, fault));
                eprintln!(
                    "{} {name} {round}: {:.3?}, {} vanished",
                    cluster.service.name(),
                    one.gone,
                    one.vanished
                );
                seen.push(one);
            }
        }
        let told = clusters.iter().zip(&seen).filter(|(_, seen)| !seen.is_empty());
        for (cluster, seen) in told {
            tell(cluster.service.name(), fault, seen);
        }
    }
}
