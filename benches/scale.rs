//! What grows with a cluster: a snapshot for a joiner, the rows of a dead node,
//! and what nodes say to each other, idle and while people log in. It prints a
//! table for `benches/README.md`.
//!
//! `cargo bench --bench scale` runs all of it; `-- snapshot`, `-- dead` or
//! `-- traffic` one part. Nodes are the cluster's own, on real sockets, without
//! doors; the one that is watched is in this process.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jabiru::admin::http;
use jabiru::cluster::config::Config;
use jabiru::cluster::cookie::Cookie;
use jabiru::cluster::driver::{self, Running};
use jabiru::cluster::events::Events;
use jabiru::cluster::handle::Cluster;
use jabiru::cluster::keyring::Keyring;
use jabiru::cluster::node::{Node, NodeId};
use jabiru::cluster::rows::{SessionRow, SoftRow};
use jabiru::cluster::table::Table;
use jabiru::metrics;
use jabiru::units::Span;

/// Sessions of the snapshot, and of the node that dies.
const SNAPSHOT: u64 = 1_000_000;
const DEAD: u64 = 100_000;

/// Accounts that are looked up, and those of them that are again and again.
const LOOK_UPS: u64 = 1_000_000;
const BUSY: usize = 1_000;

/// How often a node dies.
const DEATHS: usize = 5;

/// Clusters whose traffic is measured, and for how long.
const CLUSTERS: [usize; 3] = [3, 10, 50];
const MEASURED: Duration = Duration::from_secs(10);
const SETTLED: Duration = Duration::from_secs(10);

/// Logins a second, in the whole cluster. Each binds, then becomes available.
const LOGINS: u64 = 1_000;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    if let [role, rows, seed, cookie] = &asked[..]
        && role == "owner"
    {
        return own(rows.parse().expect("a number"), seed, cookie);
    }
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|one| one == name);
    if wanted("snapshot") {
        snapshot();
    }
    if wanted("dead") {
        dead();
    }
    if wanted("traffic") {
        traffic();
    }
}

struct Member {
    cluster: Arc<Cluster>,
    _running: Running,
}

fn member(name: &str, seeds: Vec<String>, cookie: &Arc<Keyring>, interval: Span) -> Member {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let config = Config { listen, seeds, gossip_interval: interval, ..Config::default() };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let generation = now.expect("after 1970").as_millis() as u64;
    let id = NodeId::new(generation, rand::random());
    let node = Node { id, name: name.parse().expect("a name") };
    let (cluster, events, running) = driver::start(config, cookie, node).expect("it starts");
    std::thread::spawn(move || fetch(events));
    Member { cluster, _running: running }
}

fn fetch(mut events: Events) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async move { while events.next().await.is_some() {} });
}

fn account(owner: u64, number: u64) -> String {
    format!("user{owner}-{number}@example.org")
}

fn row(owner: u64, number: u64, priority: Option<i8>) -> SoftRow {
    let jid = format!("{}/phone", account(owner, number)).into();
    SoftRow::Session(SessionRow { jid, priority, flags: 0, bound: number })
}

/// In a process of its own: a node with so many sessions, until it is killed.
fn own(rows: u64, seed: &str, cookie: &str) {
    let ring = Keyring::new(cookie).expect("a cookie");
    let member = member("owner", vec![seed.to_owned()], &ring, Span::millis(100));
    for number in 1..=rows {
        member.cluster.put(number, row(0, number, Some(0)));
    }
    println!("{}", member.cluster.address());
    // until whoever started us goes
    let _ = std::io::stdin().read(&mut [0]);
}

/// Starts such a process, and waits until it has its rows.
fn owner(rows: u64, seed: &str, cookie: &Cookie) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().expect("ourselves"))
        .args(["owner", &rows.to_string(), seed, cookie.text()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let out = child.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("a line");
    (child, line.trim().to_owned())
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("we live");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a size");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") * 1024
}

/// From the start of a node until it has the million sessions of another.
fn snapshot() {
    let cookie = Cookie::generate().expect("random bytes");
    let ring = Keyring::of(&cookie);
    let (mut child, seed) = owner(SNAPSHOT, "192.0.2.1:9", &cookie);
    let before = resident();
    let begin = Instant::now();
    let joiner = member("joiner", vec![seed], &ring, Span::millis(100));
    let sessions = &joiner.cluster.tables().sessions;
    while (sessions.len() as u64) < SNAPSHOT {
        assert!(begin.elapsed() < Duration::from_secs(120), "it takes too long");
        std::thread::sleep(Duration::from_millis(2));
    }
    let took = begin.elapsed();
    let bytes = (resident() - before) / SNAPSHOT;
    println!("a joiner has {SNAPSHOT} sessions: after {took:.2?}, {bytes} bytes a row in memory");
    look_up(sessions);
    child.kill().expect("it is ours");
    child.wait().expect("it has ended");
}

/// Accounts of the million, looked up far from one another.
fn look_up(sessions: &Table<SessionRow>) {
    let keys: Vec<String> = (0..LOOK_UPS)
        .map(|number| account(0, number.wrapping_mul(0x9e37_79b9) % SNAPSHOT + 1))
        .collect();
    support::wait_for("its rows are seen", || !sessions.find(&keys[0]).is_empty());
    let time = |keys: &mut dyn Iterator<Item = &String>| {
        let begin = Instant::now();
        let found: usize = keys.map(|key| sessions.find(key).len()).sum();
        assert!(found as u64 >= LOOK_UPS, "all are there");
        begin.elapsed() / u32::try_from(LOOK_UPS).expect("few")
    };
    let far = time(&mut keys.iter());
    let near = time(&mut keys.iter().take(BUSY).cycle().take(keys.len()));
    println!("one of them is looked up in {far:.0?}, one of {BUSY} that are busy in {near:.0?}");
}

/// From the death of a node with many sessions until none of them is found.
fn dead() {
    let cookie = Cookie::generate().expect("random bytes");
    let ring = Keyring::of(&cookie);
    let watcher = member("watcher", Vec::new(), &ring, Span::millis(100));
    let third =
        member("third", vec![watcher.cluster.address().to_string()], &ring, Span::millis(100));
    let seed = watcher.cluster.address().to_string();
    let tables = watcher.cluster.tables();
    let (mut whole, mut drop) = (Vec::new(), Vec::new());
    for _ in 0..DEATHS {
        let (mut child, _) = owner(DEAD, &seed, &cookie);
        support::wait_for("all rows and links", || {
            // the rows of its former lives are hidden, and still there
            let name = "owner".parse().expect("a name");
            let owner = watcher.cluster.members().named(&name).map(|member| member.node.id);
            let has_rows = |id| tables.count_of(id) as u64 == DEAD;
            third.cluster.members().count() == 3 && owner.is_some_and(has_rows)
        });
        let begin = Instant::now();
        child.kill().expect("it is ours");
        while watcher.cluster.members().count() == 3 {
            std::thread::yield_now();
        }
        let gone = Instant::now();
        let mut left = 0;
        tables.sessions.for_each(|_| left += 1);
        assert_eq!(left, 0, "none is found");
        whole.push(begin.elapsed());
        drop.push(gone.elapsed());
        child.wait().expect("it has ended");
    }
    whole.sort_unstable();
    drop.sort_unstable();
    println!(
        "{DEAD} sessions of a killed node: none is found after {whole:.2?}; of that, looking for all of them {drop:.2?}"
    );
}

/// What all nodes of a cluster say to each other.
fn traffic() {
    let handle = http::collect().expect("nobody collects");
    for count in CLUSTERS {
        let ring = Keyring::of(&Cookie::generate().expect("random bytes"));
        let interval = if count <= 20 { Span::millis(100) } else { Span::millis(200) };
        let first = member("n0", Vec::new(), &ring, interval);
        let seeds = vec![first.cluster.address().to_string()];
        let others = (1..count).map(|at| member(&format!("n{at}"), seeds.clone(), &ring, interval));
        let members: Vec<Member> =
            std::iter::once(first).chain(others.collect::<Vec<_>>()).collect();
        let begin = Instant::now();
        while members.iter().any(|member| member.cluster.members().count() != count) {
            assert!(begin.elapsed() < Duration::from_secs(120), "they do not find each other");
            std::thread::sleep(Duration::from_millis(20));
        }
        println!("{count} nodes see each other after {:.2?}", begin.elapsed());
        // until all have told all whom they can reach
        std::thread::sleep(SETTLED);
        let said = || {
            let text = handle.render();
            let of = |name: &str| -> f64 {
                let lines = text.lines().filter(|line| line.starts_with(name));
                lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
            };
            (of(metrics::GOSSIP_BYTES), of(metrics::MESH_BYTES))
        };
        let tell = |what: &str, before: (f64, f64), time: Duration| {
            let (gossip, mesh) = said();
            let each = |bytes: f64| bytes / time.as_secs_f64() / count as f64;
            let (gossip, mesh) = (each(gossip - before.0), each(mesh - before.1));
            println!(
                "{count} nodes, {what}: each says {gossip:.0} bytes a second by gossip, {mesh:.0} by mesh"
            );
        };
        let (before, begin) = (said(), Instant::now());
        std::thread::sleep(MEASURED);
        tell("idle", before, begin.elapsed());
        let (before, begin) = (said(), Instant::now());
        let mut number = 0;
        while begin.elapsed() < MEASURED {
            let due = (begin.elapsed().as_secs_f64() * LOGINS as f64) as u64;
            while number < due {
                number += 1;
                let owner = number % count as u64;
                let cluster = &members[owner as usize].cluster;
                cluster.put(number, row(owner, number, None));
                cluster.put(number, row(owner, number, Some(0)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        tell(&format!("{LOGINS} logins a second"), before, begin.elapsed());
    }
}
