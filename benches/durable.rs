//! What durable rows cost: how many changes three nodes acknowledge in a
//! second, how long one takes, what the disk's own sync takes beside it, and
//! how a node with a million accounts starts. It prints lines for
//! `benches/README.md`.
//!
//! `cargo bench --bench durable` runs all of it; `-- changes`, `-- paced` or
//! `-- open` one part. The last writes half a GB.

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use jabiru::cluster::config::Config;
use jabiru::cluster::cookie::Cookie;
use jabiru::cluster::driver::{self, Running};
use jabiru::cluster::durable::change::{Change, Made};
use jabiru::cluster::durable::intent::Intent;
use jabiru::cluster::durable::ledger::Ledger;
use jabiru::cluster::durable::news::Settings;
use jabiru::cluster::durable::row::time_of;
use jabiru::cluster::durable::{Durable, Table, key_of};
use jabiru::cluster::events::Event;
use jabiru::cluster::keyring::Keyring;
use jabiru::cluster::node::{Node, NodeId};
use jabiru::storage::Store as _;
use jabiru::storage::embedded::Embedded;
use support::Nodes;

/// Accounts of the large store.
const ACCOUNTS: u64 = 1_000_000;

/// The file in which pages are written without all else: a store of some
/// thousand changes.
const FILE_BYTES: u64 = 16 << 20;

/// A page of the store.
const PAGE_BYTES: u64 = 4_096;

/// What an account's row holds: SCRAM keys of two kinds.
const ACCOUNT_BYTES: usize = 150;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|one| one == name);
    if wanted("changes") {
        bare();
        tokio::runtime::Runtime::new().expect("a runtime").block_on(changes());
        bare();
    }
    if wanted("paced") {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        for _ in 0..3 {
            alone(500);
            runtime.block_on(only_paced());
        }
    }
    if wanted("open") {
        open();
    }
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let (count, p50, p99, worst) = (times.len(), at(0.5), at(0.99), at(1.0));
    println!("{what}: {count} times, p50 {p50:.2?}, p99 {p99:.2?}, worst {worst:.2?}");
}

/// The disk alone.
fn bare() {
    let mut file = tempfile::tempfile().expect("a file");
    let write = |_| {
        let begin = Instant::now();
        file.write_all(&[7; 4_096]).expect("written");
        file.sync_data().expect("synced");
        begin.elapsed()
    };
    tell("a bare write of 4 KiB and its sync", (0..1_000).map(write).collect());
}

/// Pages that a commit of one change writes, about: leaf, branches and the
/// tables of the store, counted in a trace of its writes.
const COMMIT_PAGES: usize = 6;

/// A change that waits for the disk alone, and who hears that it is synced.
type Alone = mpsc::Sender<()>;

/// The syncs of so many changes a second without all else: a file for each of
/// three nodes, written by a thread that takes whatever waits into one sync;
/// a change is synced by all of them at once. What a change can take at best on
/// this disk.
fn alone(rate: u32) {
    let folder = tempfile::tempdir().expect("a folder");
    let writers: Vec<mpsc::Sender<Alone>> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            let file = fs::File::create(folder.path().join(name)).expect("a file");
            file.write_all_at(&vec![7; FILE_BYTES as usize], 0).expect("written");
            file.sync_all().expect("synced");
            let (sender, waiting) = mpsc::channel::<Alone>();
            thread::spawn(move || {
                while let Ok(first) = waiting.recv() {
                    let mut all = vec![first];
                    all.extend(waiting.try_iter());
                    for _ in 0..COMMIT_PAGES {
                        let page = rand::random_range(0..FILE_BYTES / PAGE_BYTES);
                        let page = file.write_all_at(&[8; PAGE_BYTES as usize], page * PAGE_BYTES);
                        page.expect("written");
                    }
                    file.sync_data().expect("synced");
                    // whoever measures may have ended
                    for one in all {
                        let _ = one.send(());
                    }
                }
            });
            sender
        })
        .collect();
    let begin = Instant::now();
    let changes: Vec<_> = (0..rate * 10)
        .map(|number: u32| {
            let due = begin + Duration::from_secs(1) * number / rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let writers = writers.clone();
            thread::spawn(move || {
                let begin = Instant::now();
                let (told, hears) = mpsc::channel();
                writers.iter().for_each(|one| one.send(told.clone()).expect("it lives"));
                hears.iter().take(writers.len()).for_each(drop);
                begin.elapsed()
            })
        })
        .collect();
    let times = changes.into_iter().map(|change| change.join().expect("it ran")).collect();
    tell(&format!("the syncs alone of {rate} changes a second"), times);
}

struct Member {
    durable: Arc<Durable>,
    running: Running,
}

/// A node with a store of its own in this process.
fn member(name: &str, seeds: Vec<String>, cookie: &Arc<Keyring>, folder: &Path) -> Member {
    let config =
        Config { listen: "127.0.0.1:0".parse().expect("an address"), seeds, ..Config::default() };
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let generation = since.expect("after 1970").as_millis() as u64;
    let id = NodeId::new(generation, rand::random());
    let node = Node { id, name: name.parse().expect("a name") };
    let store = Embedded::open(&folder.join(name)).expect("a store");
    let (cluster, mut events, running) = driver::start(config, cookie, node).expect("it starts");
    let durable = Durable::new(cluster, Arc::new(store), Settings::default()).expect("tables");
    let asked = Arc::clone(&durable);
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Event::Question(question) = event {
                asked.answer(question);
            }
        }
    });
    tokio::spawn(Arc::clone(&durable).keep_equal());
    Member { durable, running }
}

async fn changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let nodes = three(folder.path()).await;
    for callers in [1, 64, 1_024] {
        many(&nodes, callers).await;
    }
    for rate in [100, 500, 1_000] {
        paced(&nodes, rate).await;
    }
    for node in nodes {
        node.running.leave().await;
    }
}

/// 500 changes a second, on stores that hold nothing else.
async fn only_paced() {
    let folder = tempfile::tempdir().expect("a folder");
    let nodes = three(folder.path()).await;
    paced(&nodes, 500).await;
    for node in nodes {
        node.running.leave().await;
    }
}

async fn three(folder: &Path) -> Vec<Member> {
    let cookie = Keyring::of(&Cookie::generate().expect("random bytes"));
    let first = member("a", Vec::new(), &cookie, folder);
    let seeds = vec![first.durable.cluster().address().to_string()];
    let mut nodes = vec![first];
    nodes.push(member("b", seeds.clone(), &cookie, folder));
    nodes.push(member("c", seeds, &cookie, folder));
    for node in &nodes {
        while node.durable.cluster().members().count() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    nodes
}

static NEXT: AtomicU64 = AtomicU64::new(0);

/// One offline message for one of many users, on one of the nodes.
async fn one(nodes: &[Arc<Durable>]) -> (Duration, Made) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let owner = format!("user{}@example.org", number % 10_000);
    let key = key_of(&owner, format!("{number:016}").as_bytes());
    let durable = &nodes[(number % nodes.len() as u64) as usize];
    let begin = Instant::now();
    let made = durable.change([Change::put(Table::Offline, key, vec![b'x'; 200])]).await;
    (begin.elapsed(), made.expect("made"))
}

fn tables(nodes: &[Member]) -> Arc<[Arc<Durable>]> {
    nodes.iter().map(|node| Arc::clone(&node.durable)).collect()
}

/// So many callers, each of whom waits for its change.
async fn many(nodes: &[Member], callers: usize) {
    let begin = Instant::now();
    let end = begin + Duration::from_secs(10);
    let calls: Vec<_> = (0..callers)
        .map(|_| {
            let nodes = tables(nodes);
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut late = 0;
                while Instant::now() < end {
                    let (time, made) = one(&nodes).await;
                    times.push(time);
                    late += u32::from(made != Made { nodes: 3, late: 0 });
                }
                (times, late)
            })
        })
        .collect();
    let (mut times, mut late) = (Vec::new(), 0);
    for call in calls {
        let (some, few) = call.await.expect("it ran");
        times.extend(some);
        late += few;
    }
    let rate = times.len() as f64 / begin.elapsed().as_secs_f64();
    println!("{callers} callers: {rate:.0} changes a second on 3 nodes, {late} late");
    tell("  each", times);
}

/// So many changes a second, whoever waits.
async fn paced(nodes: &[Member], rate: u32) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut calls = Vec::new();
    for _ in 0..rate * 10 {
        ticks.tick().await;
        let nodes = tables(nodes);
        calls.push(tokio::spawn(async move { one(&nodes).await.0 }));
    }
    let mut times = Vec::new();
    for call in calls {
        times.push(call.await.expect("it ran"));
    }
    tell(&format!("{rate} changes a second, each on 3 nodes"), times);
}

/// A node with a million accounts.
fn open() {
    let mut nodes = Nodes::prepare(1, "");
    let node = &mut nodes.list[0];
    let path = node.folder.join("data/store.redb");
    fill(&path);
    let size = fs::metadata(&path).expect("a file").len() >> 20;
    println!("{ACCOUNTS} accounts are {size} MiB on disk");
    for how in ["after a clean close", "after a clean stop", "after a kill"] {
        // what the system has in memory is not what a fresh machine has
        let _ = fs::write("/proc/sys/vm/drop_caches", "1");
        let begin = Instant::now();
        node.start();
        println!("{how}: started in {:.2?}, {} MiB resident", begin.elapsed(), resident(node.id()));
        let status = node.status().expect("it answers");
        assert!(status["nodes"][0]["durable_rows"].as_u64() >= Some(ACCOUNTS));
        let begin = Instant::now();
        assert_eq!(node.accounts().len() as u64, ACCOUNTS);
        println!("  all listed in {:.2?}, {} MiB resident", begin.elapsed(), resident(node.id()));
        let backup = node.folder.join("backup");
        let begin = Instant::now();
        node.jabiru(&["backup", backup.to_str().expect("text")], "");
        println!("  backed up in {:.2?}, {} MiB resident", begin.elapsed(), resident(node.id()));
        node.jabiru(&["user", "add", &format!("{}@localhost", how.replace(' ', "-"))], "secret");
        node.jabiru(&["user", "remove", &format!("{}@localhost", how.replace(' ', "-"))], "");
        match how {
            "after a clean close" => node.stop(),
            _ => node.kill(),
        }
    }
}

fn fill(path: &Path) {
    let store = Embedded::open(path).expect("a store");
    let me = NodeId::new(1, 1);
    let (mut ledger, mut sums) = Ledger::read(me, &store).expect("empty");
    for batch in 0..ACCOUNTS / 10_000 {
        let intents = (0..10_000).map(|at| {
            let number = batch * 10_000 + at;
            // spread, as people's names are
            let name = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let key = format!("user{name:020}@localhost");
            let changes = vec![Change::put(Table::Accounts, key, vec![7; ACCOUNT_BYTES])];
            Intent::Make { by: number, clock: time_of(1_700_000_000_000), changes }
        });
        let snapshot = store.snapshot().expect("readable");
        let plan = ledger.plan(&*snapshot, &sums, intents.collect()).expect("planned");
        drop(snapshot);
        store.write(&plan.writes).expect("written");
        ledger.done(&plan, &mut sums);
    }
}

/// Mebibytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    let size: Option<u64> = line.split_whitespace().nth(1).and_then(|size| size.parse().ok());
    size.expect("a number") >> 10
}
