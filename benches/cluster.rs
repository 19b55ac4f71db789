//! What a cluster of real processes costs and how fast it notices: memory of
//! idle sessions, how soon a session is routable on the other nodes, how soon
//! a killed node is gone. It prints a table for `benches/README.md`.
//!
//! `cargo bench --bench cluster` runs all of it; `-- memory`, `-- routable` or
//! `-- kill` one part. It wants 30,000 open files (`ulimit -n`).

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jabiru::cluster::config::Config;
use jabiru::cluster::cookie::Cookie;
use jabiru::cluster::driver::{self, Running};
use jabiru::cluster::events::Events;
use jabiru::cluster::handle::Cluster;
use jabiru::cluster::keyring::Keyring;
use jabiru::cluster::node::{Node, NodeId};
use jabiru::cluster::rows::{SessionRow, SoftRow};
use jabiru::cluster::view::{PeerView, Way};
use support::Nodes;
use support::raw::Raw;

/// Idle sessions of the memory's measurement.
const SESSIONS: usize = 10_000;

/// Sessions of one account there.
const PER_USER: usize = 1_000;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|one| one == name);
    rlimit::increase_nofile_limit(65_536).expect("open files");
    if wanted("routable") {
        routable();
    }
    if wanted("kill") {
        kill(3);
        kill(2);
    }
    if wanted("memory") {
        memory("TLS", true);
        memory("plain", false);
    }
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{what}: {} times, p50 {:.2?}, p99 {:.2?}, worst {:.2?}",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

struct Member {
    cluster: Arc<Cluster>,
    running: Running,
    events: std::thread::JoinHandle<()>,
}

/// A node of the cluster in this process.
fn member(name: &str, seeds: Vec<String>, cookie: &Arc<Keyring>) -> Member {
    let config =
        Config { listen: "127.0.0.1:0".parse().expect("an address"), seeds, ..Config::default() };
    let generation =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let id = NodeId::new(generation.as_millis() as u64, rand::random());
    let node = Node { id, name: name.parse().expect("a name") };
    let (cluster, events, running) = driver::start(config, cookie, node).expect("it starts");
    let events = std::thread::spawn(move || fetch(events));
    Member { cluster, running, events }
}

fn fetch(mut events: Events) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async move { while events.next().await.is_some() {} });
}

fn wait_for_count(cluster: &Cluster, count: usize) {
    support::wait_for("all nodes", || cluster.members().count() == count);
}

/// From the bind on one node until another finds the row.
fn routable() {
    let cookie = Keyring::of(&Cookie::generate().expect("random bytes"));
    let first = member("a", Vec::new(), &cookie);
    let seeds = vec![first.cluster.address().to_string()];
    let others = [member("b", seeds.clone(), &cookie), member("c", seeds, &cookie)];
    wait_for_count(&first.cluster, 3);
    others.iter().for_each(|other| wait_for_count(&other.cluster, 3));
    let mut times = Vec::new();
    for number in 1..=5_000u64 {
        let user = format!("user{number}@example.org");
        let jid = format!("{user}/r").into();
        let row = SoftRow::Session(SessionRow { jid, priority: None, flags: 0, bound: number });
        let begin = Instant::now();
        first.cluster.put(number, row);
        for other in &others {
            while other.cluster.tables().sessions.find(&user).is_empty() {
                std::thread::yield_now();
            }
        }
        times.push(begin.elapsed());
    }
    tell("a session is routable on both other nodes", times);
    drop((first.running, first.events));
}

/// From `kill -9` until another of so many nodes has forgotten the node.
fn kill(count: usize) {
    let mut nodes = Nodes::prepare(count - 1, "");
    let cookie = fs::read_to_string(nodes.folder.path().join("cookie")).expect("a cookie");
    let cookie = Keyring::new(&cookie).expect("a cookie");
    let seeds = nodes.list.iter().map(|node| format!("127.0.0.1:{}", node.ports.mesh)).collect();
    let watcher = member("watcher", seeds, &cookie);
    let (victim, others) = nodes.list.split_last_mut().expect("one at least");
    others.iter_mut().for_each(support::Node::start);
    let mut times = Vec::new();
    for _ in 0..100 {
        victim.start();
        wait_for_count(&watcher.cluster, count);
        support::wait_for("the mesh is whole", || {
            let whole = |peer: &&PeerView| peer.in_gossip && peer.way == Way::Direct;
            watcher.cluster.peers().iter().filter(whole).count() == count - 1
        });
        let begin = Instant::now();
        victim.kill();
        while watcher.cluster.members().count() != count - 1 {
            std::thread::yield_now();
        }
        times.push(begin.elapsed());
    }
    tell(&format!("a killed node of {count} is gone"), times);
    drop((watcher.running, watcher.events));
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).expect("a number")
}

/// Kibibytes of one idle, available session.
fn memory(name: &str, tls: bool) {
    let mut nodes = Nodes::prepare(1, "[session_manager]\nsessions_per_user_max = 1000");
    let node = &mut nodes.list[0];
    let path = node.folder.join("jabiru.toml");
    let config = fs::read_to_string(&path).expect("a config");
    fs::write(&path, config.replace("[c2s]", "[c2s]\nrequire_tls = false")).expect("writable");
    node.start();
    for user in 0..=SESSIONS / PER_USER {
        nodes.account(&format!("u{user}"), "secret");
    }
    let node = &nodes.list[0];
    let connect = |number: usize| {
        let mut raw = if tls { Raw::direct(node) } else { Raw::plain(node) };
        raw.scram(&format!("u{}", number / PER_USER), "secret", &format!("r{number}"));
        raw.say(b"<presence/>");
        raw
    };
    // the first thousand fill what all share
    let _first: Vec<Raw> = (0..PER_USER).map(connect).collect();
    support::wait_for("the first are there", || node.sessions().len() == PER_USER);
    let before = settled(node.id());
    let _others: Vec<Raw> = (PER_USER..PER_USER + SESSIONS).map(connect).collect();
    support::wait_for("all are available", || node.sessions().len() == SESSIONS + PER_USER);
    let after = settled(node.id());
    let each = (after - before) as f64 / SESSIONS as f64;
    println!("memory of an idle session, {name}: {each:.2} KiB ({SESSIONS} sessions)");
}

/// The size once it has not changed for a while.
fn settled(pid: u32) -> u64 {
    let mut last = resident(pid);
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = resident(pid);
        if now == last {
            return now;
        }
        last = now;
    }
}
