//! Links to other servers: what an open one carries, how long the first word to
//! a new domain takes, and what idle ones weigh. It prints lines for
//! `benches/README.md`.
//!
//! `cargo bench --bench federation`, or `-- open`, `-- first`, `-- idle` alone.
//! Two services on loopback; between them TLS 1.3 and certificates.

#[path = "../tests/servers/mod.rs"]
mod servers;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::time::{Duration, Instant};

use servers::authority::Shown;
use servers::person::Person;
use servers::service::{Plan, Service, start};

/// Messages over one link, or within one service.
const MESSAGES: usize = 200_000;

/// Messages that are under way at a time.
const AT_A_TIME: usize = 1_000;

/// Domains that are spoken with for the first time.
const DOMAINS: usize = 1_000;

/// Links that fill what all share, before memory is weighed.
const BEFORE: usize = 200;

const A: &str = "a.example";
const B: &str = "b.example";

fn main() {
    let only: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|word| word == name);
    if is_wanted("open") {
        open();
    }
    if is_wanted("first") || is_wanted("idle") {
        first_and_idle();
    }
}

fn open() {
    let services = start(vec![Plan::new(A), Plan::new(B)]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut nurse = Person::online(&services[0], 0, "nurse");
    let mut romeo = Person::online(&services[1], 0, "romeo");
    let ids = [services[0].nodes.list[0].id(), services[1].nodes.list[0].id()];
    // both ways are warm
    pass(&mut juliet, &mut nurse, AT_A_TIME);
    pass(&mut juliet, &mut romeo, AT_A_TIME);
    let before = cpu(ids[0]);
    let local_time = pass(&mut juliet, &mut nurse, MESSAGES);
    let local = cpu(ids[0]) - before;
    let before = ids.map(cpu);
    let time = pass(&mut juliet, &mut romeo, MESSAGES);
    let [sending, receiving] = [cpu(ids[0]) - before[0], cpu(ids[1]) - before[1]];
    let rate = |spent: Duration| MESSAGES as f64 / spent.as_secs_f64();
    println!(
        "chat between two clients of one node: {:.0} a CPU-second, {:.0} a second",
        rate(local),
        rate(local_time)
    );
    println!(
        "client to link: {:.0} a CPU-second ({:.2} of that)",
        rate(sending),
        rate(sending) / rate(local)
    );
    println!(
        "link to client: {:.0} a CPU-second ({:.2} of that)",
        rate(receiving),
        rate(receiving) / rate(local)
    );
    println!("over the link: {:.0} a second", rate(time));
}

/// So many messages from one to the other.
fn pass(one: &mut Person, other: &mut Person, count: usize) -> Duration {
    let begun = Instant::now();
    let to = other.jid.clone();
    let mut batch = String::new();
    for number in 1..=count {
        batch += &format!(
            "<message to='{to}' type='chat' id='m{number}'><body>{:0>200}</body></message>",
            number
        );
        if number % AT_A_TIME == 0 {
            one.send(&batch);
            batch.clear();
            other.hears(&format!("id='m{number}'"));
        }
    }
    begun.elapsed()
}

fn first_and_idle() {
    let names: Vec<String> = (0..DOMAINS + BEFORE).map(|at| format!("d{at}.example")).collect();
    let services = start(vec![Plan::new(A), Plan::new(B).shows(Shown::Names(names.clone()))]);
    let mut juliet = Person::online(&services[0], 0, "juliet");
    let mut times = Vec::new();
    let (mut grown, mut answered) = (memory(&services), 0);
    for name in &names {
        let begun = Instant::now();
        juliet
            .send(&format!("<iq type='get' id='p' to='{name}'><ping xmlns='urn:xmpp:ping'/></iq>"));
        let heard = juliet.hears("id='p'");
        assert!(heard.contains(&format!("from='{name}'")), "{heard}");
        times.push(begun.elapsed());
        juliet.hears("/>");
        answered += 1;
        if answered == BEFORE {
            grown = memory(&services);
            times.clear();
        }
    }
    let after = memory(&services);
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!(
        "first word to a new domain and its answer, two links: p50 {:?}, p99 {:?}, worst {:?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    for (who, before, after) in [("asks", grown[0], after[0]), ("answers", grown[1], after[1])] {
        let each = (after - before) as f64 / DOMAINS as f64;
        println!("a peer of the one who {who}, a link and a stream that has come: {each:.1} KiB");
    }
}

/// KiB of both.
fn memory(services: &[Service]) -> [i64; 2] {
    let of = |service: &Service| {
        let pid = service.nodes.list[0].id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    };
    [of(&services[0]), of(&services[1])]
}

/// What a process has spent.
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let after = stat.rsplit_once(") ").expect("a name").1;
    let ticks: u64 =
        after.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().expect("ticks")).sum();
    // USER_HZ of Linux
    Duration::from_millis(ticks * 10)
}
