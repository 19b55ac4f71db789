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

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ejabberd::Ejabberd;
use net::Stage;
use support::wire::{Wire, attribute, trust};
use support::{DOMAIN, Nodes};
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
trait Cluster {
    fn name(&self) -> &'static str;
    /// All nodes are there, and know each other.
    fn heal(&mut self);
    fn doors(&self) -> [SocketAddr; 2];
    fn kill(&mut self);
    fn stage(&self) -> &Stage;
}

struct Ours {
    nodes: Nodes,
    stage: Stage,
}

struct Theirs {
    ejabberd: Ejabberd,
    stage: Stage,
}

const PEOPLE: [&str; 2] = ["asks", "answers"];

fn ours() -> Ours {
    let stage = Stage::build(NODES);
    let mut nodes = Nodes::prepare_at(stage.places(), "");
    nodes.list.iter_mut().for_each(support::Node::start);
    nodes.wait_until_all_agree();
    PEOPLE.iter().for_each(|name| nodes.account(name, name));
    Ours { nodes, stage }
}

fn theirs(folder: &std::path::Path) -> Theirs {
    let stage = Stage::build(NODES);
    let papers = folder.join("papers.pem");
    let file = |name| fs::read_to_string(support::tls().join(name)).expect("readable");
    fs::write(&papers, file("key.pem") + &file("cert.pem")).expect("writable");
    Theirs { ejabberd: Ejabberd::start(stage.places(), folder, &papers, &PEOPLE), stage }
}

impl Cluster for Ours {
    fn name(&self) -> &'static str {
        "Jabiru"
    }

    fn heal(&mut self) {
        let last = &mut self.nodes.list[NODES - 1];
        if !last.runs() {
            last.start();
        }
        self.nodes.wait_until_all_agree();
    }

    fn doors(&self) -> [SocketAddr; 2] {
        [0, NODES - 1].map(|at| {
            let node = &self.nodes.list[at];
            (node.place.host, node.ports.direct).into()
        })
    }

    fn kill(&mut self) {
        self.nodes.list[NODES - 1].kill();
    }

    fn stage(&self) -> &Stage {
        &self.stage
    }
}

impl Cluster for Theirs {
    fn name(&self) -> &'static str {
        "ejabberd"
    }

    fn heal(&mut self) {
        // what was cut off does not heal by itself there: it starts anew
        let last = &mut self.ejabberd.nodes[NODES - 1];
        last.kill();
        last.start();
        self.ejabberd.wait_for_all();
    }

    fn doors(&self) -> [SocketAddr; 2] {
        [0, NODES - 1].map(|at| self.ejabberd.nodes[at].door())
    }

    fn kill(&mut self) {
        self.ejabberd.nodes[NODES - 1].kill();
    }

    fn stage(&self) -> &Stage {
        &self.stage
    }
}

async fn see(cluster: &mut dyn Cluster, fault: Fault) -> Seen {
    let [near, far] = cluster.doors();
    let mut asks = Wire::open(&trust(), near, PEOPLE[0], "r").await.expect("a login");
    let mut answers = Wire::open(&trust(), far, PEOPLE[1], "r").await.expect("a login");
    let to = format!("{}@{DOMAIN}/r", PEOPLE[1]);
    let ask = |number: usize| {
        format!("<iq type='get' id='{number}' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>")
    };
    // until the way there is known
    let mut number = 0;
    loop {
        number += 1;
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
        Fault::Killed => cluster.kill(),
        Fault::CutOff => {
            for other in 0..NODES - 1 {
                cluster.stage().cut(other, NODES - 1);
                cluster.stage().cut(NODES - 1, other);
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
        assert!(begin.elapsed() < GONE_TIME_MAX, "{}: never known", cluster.name());
        if gone.is_some() && open.is_empty() {
            break;
        }
    }
    (0..NODES).for_each(|at| cluster.stage().mend(at));
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
    let mut clusters: [Box<dyn Cluster>; 2] = [Box::new(ours()), Box::new(theirs(folder.path()))];
    let faults = [(Fault::Killed, KILLS, "killed"), (Fault::CutOff, CUTS, "cut")];
    for (fault, times, name) in faults.into_iter().filter(|(.., name)| wanted(name)) {
        let mut seen: [Vec<Seen>; 2] = Default::default();
        for round in 0..times {
            for (cluster, seen) in clusters.iter_mut().zip(&mut seen) {
                cluster.heal();
                let one = runtime.block_on(see(cluster.as_mut(), fault));
                eprintln!(
                    "{} {name} {round}: {:.3?}, {} vanished",
                    cluster.name(),
                    one.gone,
                    one.vanished
                );
                seen.push(one);
            }
        }
        for (cluster, seen) in clusters.iter().zip(&seen) {
            tell(cluster.name(), fault, seen);
        }
    }
}
