//! Ours beside Debian's ejabberd and Prosody: the same load, in turn, in one
//! run, the server on one core and the load on the other. Absolute figures
//! drift with the machine; ratios hold.
//!
//! `scripts/bench peers` builds what is needed and runs all of it; names of
//! parts as arguments run only these: `chat`, `chat-tls`, `latency`, `login`,
//! `component`, `memory`, `memory-tls`, `across`, `presence`, `storm`,
//! `both-cores`, `growth`. What was measured is also written to `target/bench-peers.json`.

#![allow(dead_code, unreachable_pub)]

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "peers/ejabberd.rs"]
mod ejabberd;
#[path = "peers/growth.rs"]
mod growth;
#[path = "peers/ours.rs"]
mod ours;
#[path = "peers/prosody.rs"]
mod prosody;
#[path = "peers/server.rs"]
mod server;
#[path = "peers/table.rs"]
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ejabberd::Ejabberd;
use ours::Ours;
use prosody::Prosody;
use serde_json::Value;
use server::{CORES, DOMAIN, Service, bound};
use support::Place;
use table::Table;
use tempfile::TempDir;

/// Runs of each measurement that drifts, and of the long ones.
const RUNS: usize = 5;
const LONG_RUNS: usize = 3;

/// People who chat.
const CHATTING: usize = 200;

/// Where the bare relay listens.
const RELAY: &str = "127.0.0.1:5999";

/// Idle sessions, and those who come back; fewer where a process may not have as
/// many open files.
const MANY: usize = 20_000;

/// Files that a process needs besides.
const OTHER_FILES: usize = 1_000;

/// Sessions of one account among the many.
const RESOURCES: usize = 20;

/// Loopback addresses that the many come from.
const SOURCES: &str = "4";

/// What the peers are made of.
struct Stage {
    folder: TempDir,
    load: PathBuf,
    /// Servers and load go where they like, not each to its core.
    is_free: bool,
}

impl Stage {
    fn new() -> Stage {
        let here = std::env::current_exe().expect("ourselves");
        let load = here.ancestors().nth(2).expect("a target").join("examples/jabiru-load");
        assert!(load.exists(), "build it first: cargo build --release --example jabiru-load");
        Stage { folder: tempfile::tempdir().expect("a folder"), load, is_free: false }
    }

    fn papers(&self) -> PathBuf {
        let papers = self.folder.path().join("papers.pem");
        let file = |name| fs::read_to_string(support::tls().join(name)).expect("readable");
        fs::write(&papers, file("key.pem") + &file("cert.pem")).expect("writable");
        papers
    }

    fn places(&self, count: usize) -> Vec<Place> {
        vec![Place { wrap: self.wrap(), ..Place::default() }; count]
    }

    /// The words before a server.
    fn wrap(&self) -> Vec<String> {
        if self.is_free { Vec::new() } else { bound(CORES[0]) }
    }

    /// One node of each, all at once: an idle one takes nothing.
    fn single(&self) -> Vec<Box<dyn Service>> {
        let tls = support::tls();
        let (chain, key) = (tls.join("cert.pem"), tls.join("key.pem"));
        let folder = self.folder.path();
        vec![
            Box::new(Ours::start(self.places(1))),
            Box::new(Ejabberd::start(self.places(1), folder, &self.papers())),
            Box::new(Prosody::start(self.wrap(), folder, &chain, &key)),
        ]
    }

    /// A cluster of each that has clusters.
    fn clusters(&self, count: usize) -> Vec<Box<dyn Service>> {
        let folder = self.folder.path().join(format!("cluster{count}"));
        vec![
            Box::new(Ours::start(self.places(count))),
            Box::new(Ejabberd::start(self.places(count), &folder, &self.papers())),
        ]
    }

    /// Runs the load once; what it says.
    fn load(&self, what: &str, service: &dyn Service, tls: bool, words: &[&str]) -> Value {
        let mut load = self.command();
        load.arg(what).args(["--json", "--domain", DOMAIN]);
        for door in service.doors(tls) {
            load.args(["--server", &door.to_string()]);
        }
        if tls {
            load.args(["--tls", "direct"]);
        }
        for pid in service.pids() {
            load.args(["--pid", &pid.to_string()]);
        }
        run(load.args(words), service.name())
    }

    fn command(&self) -> Command {
        if self.is_free {
            return Command::new(&self.load);
        }
        let mut load = Command::new("taskset");
        load.args(["-c", CORES[1]]).arg(&self.load);
        load
    }

    /// The same load over a relay that only copies bytes.
    fn bare(&self, what: &str, words: &[&str]) -> Value {
        let mut relay = Command::new("taskset");
        relay.args(["-c", CORES[0]]).arg(&self.load).args(["relay", "--listen", RELAY]);
        let mut relay = Killed(relay.spawn().expect("it starts"));
        server::wait_for_door(RELAY.parse().expect("an address"), "the relay");
        let pid = relay.0.id().to_string();
        let mut load = self.command();
        load.args([what, "--json", "--bare", "--server", RELAY, "--pid", &pid]);
        let said = run(load.args(words), "relay");
        relay.end();
        said
    }
}

/// So many sessions, or as many as one process may have.
fn at_most(sessions: usize) -> usize {
    let (_, files) = rlimit::getrlimit(rlimit::Resource::NOFILE).expect("a limit");
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    sessions.min(files.saturating_sub(OTHER_FILES) / RESOURCES * RESOURCES)
}

/// A process that ends with this.
struct Killed(Child);

impl Killed {
    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(load: &mut Command, name: &str) -> Value {
    let said = load.stderr(Stdio::inherit()).output().expect("it starts");
    assert!(said.status.success(), "the load on {name} has failed: {load:?}");
    let said: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    eprintln!("  {name}: {said}");
    said
}

fn people(stage: &Stage, services: &[Box<dyn Service>], count: usize, resources: usize) {
    for service in services {
        let (count, resources) = (count.to_string(), resources.to_string());
        let words = ["--users", &count, "--resources", &resources];
        stage.load("register", service.as_ref(), false, &words);
    }
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|one| one == name);
    let stage = Stage::new();
    let mut table = Table::default();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-peers.json");
    let single: [Part; 5] = [
        ("chat", |stage, services, table| chat(stage, services, false, table)),
        ("chat-tls", |stage, services, table| chat(stage, services, true, table)),
        ("latency", latency),
        ("login", login),
        ("component", component),
    ];
    if single.iter().any(|(name, _)| wanted(name)) {
        let services = stage.single();
        people(&stage, &services, CHATTING, 1);
        for (_, part) in single.iter().filter(|(name, _)| wanted(name)) {
            part(&stage, &services, &mut table);
            table.keep(&kept);
        }
    }
    let others: [OwnPart; 7] = [
        ("memory", |stage, table| memory(stage, false, table)),
        ("memory-tls", |stage, table| memory(stage, true, table)),
        ("across", across),
        ("presence", presence),
        ("storm", storm),
        ("both-cores", growth::both_cores),
        ("growth", growth::growth),
    ];
    for (_, part) in others.iter().filter(|(name, _)| wanted(name)) {
        part(&stage, &mut table);
        table.keep(&kept);
    }
    println!("{table}");
}

/// A part that uses one node of each.
type Part = (&'static str, fn(&Stage, &[Box<dyn Service>], &mut Table));

/// A part that starts its own.
type OwnPart = (&'static str, fn(&Stage, &mut Table));

/// Closed loop, one message under way of each two.
fn chat(stage: &Stage, services: &[Box<dyn Service>], tls: bool, table: &mut Table) {
    let count = CHATTING.to_string();
    let words = ["--users", &count, "--seconds", "8"];
    let row =
        if tls { "chat with TLS, messages a CPU second" } else { "chat, messages a CPU second" };
    for _ in 0..RUNS {
        for service in services {
            let said = stage.load("chat", service.as_ref(), tls, &words);
            table.add(row, service.name(), &said["messages_a_cpu_second"]);
            table.must_be_none(service.name(), &said);
        }
        if !tls {
            let said = stage.bare("chat", &words);
            table.add(row, "bare relay", &said["messages_a_cpu_second"]);
        }
    }
}

/// At half of what one core can do, as the chat has shown.
fn latency(stage: &Stage, services: &[Box<dyn Service>], table: &mut Table) {
    let count = CHATTING.to_string();
    let rates: Vec<(String, String)> = services
        .iter()
        .map(|service| {
            let words = ["--users", &count, "--seconds", "5"];
            let said = stage.load("chat", service.as_ref(), false, &words);
            let rate = said["messages_a_cpu_second"].as_f64().expect("a figure") / 2.0;
            (service.name().to_owned(), format!("{rate:.0}"))
        })
        .collect();
    // ours also at the rate of each peer
    let ours = services.first().expect("ours");
    for _ in 0..RUNS {
        for (service, (_, rate)) in services.iter().zip(&rates) {
            let words = ["--users", &count, "--seconds", "8", "--rate", rate];
            let said = stage.load("rate", service.as_ref(), false, &words);
            let own = |what: &str| format!("latency at half load, {what}");
            table.add(&own("messages a second"), service.name(), &said["messages_a_second"]);
            table.add(&own("p99 ms"), service.name(), &said["p99_milliseconds"]);
            table.add(&own("p99.9 ms"), service.name(), &said["p99_9_milliseconds"]);
            table.must_be_none(service.name(), &said);
            if service.name() != ours.name() {
                let said = stage.load("rate", ours.as_ref(), false, &words);
                let row = format!("p99 ms at the rate of {}", service.name());
                table.add(&row, ours.name(), &said["p99_milliseconds"]);
            }
        }
        let words = ["--users", &count, "--seconds", "8", "--rate", &rates[0].1];
        let said = stage.bare("rate", &words);
        table.add("latency at half load, p99 ms", "bare relay", &said["p99_milliseconds"]);
        table.add("latency at half load, p99.9 ms", "bare relay", &said["p99_9_milliseconds"]);
    }
}

/// SCRAM-SHA-1 over TLS, a new TLS session each time.
fn login(stage: &Stage, services: &[Box<dyn Service>], table: &mut Table) {
    let count = CHATTING.to_string();
    let words = ["--users", &count, "--at-once", "16", "--rounds", "3"];
    for _ in 0..RUNS {
        for service in services {
            let said = stage.load("login", service.as_ref(), true, &words);
            let row = "logins a CPU second, SCRAM-SHA-1 over TLS";
            table.add(row, service.name(), &said["logins_a_cpu_second"]);
        }
    }
}

/// Users and a component that sends every message back: beside the `chat` of the
/// same run, it tells what a component costs.
fn component(stage: &Stage, services: &[Box<dyn Service>], table: &mut Table) {
    let count = CHATTING.to_string();
    for _ in 0..RUNS {
        for service in services {
            let Some(door) = service.component_door() else { continue };
            let door = door.to_string();
            let words = ["--users", &count, "--seconds", "8", "--component-server", &door];
            let more = ["--component-domain", "echo.localhost", "--component-secret", "s3cret"];
            let words: Vec<&str> = words.into_iter().chain(more).collect();
            let said = stage.load("component", service.as_ref(), false, &words);
            // there and back
            let both = said["messages_a_cpu_second"].as_f64().expect("a figure") * 2.0;
            table.add("component stanzas a CPU second", service.name(), &both.into());
            table.must_be_none(service.name(), &said);
        }
    }
}

/// Idle sessions: fresh processes each time.
fn memory(stage: &Stage, tls: bool, table: &mut Table) {
    let many = at_most(MANY);
    let row = format!("bytes of one of {many} idle sessions{}", if tls { ", TLS" } else { "" });
    let (count, resources) = (many.to_string(), RESOURCES.to_string());
    let words =
        ["--users", &count, "--resources", &resources, "--sources", SOURCES, "--at-once", "32"];
    for _ in 0..LONG_RUNS {
        let services = stage.single();
        people(stage, &services, many, RESOURCES);
        for service in &services {
            let said = stage.load("idle", service.as_ref(), tls, &words);
            table.add(&row, service.name(), &said["bytes_each"]);
        }
    }
}

/// Two and two, on two nodes; the processor time of both counts.
fn across(stage: &Stage, table: &mut Table) {
    let services = stage.clusters(2);
    people(stage, &services, CHATTING, 1);
    let count = CHATTING.to_string();
    for _ in 0..RUNS {
        for service in &services {
            let words = ["--users", &count, "--seconds", "8"];
            let said = stage.load("chat", service.as_ref(), false, &words);
            let row = "chat across two nodes, messages a CPU second";
            table.add(row, service.name(), &said["messages_a_cpu_second"]);
            table.must_be_none(service.name(), &said);
        }
    }
}

/// A thousand contacts on three nodes.
fn presence(stage: &Stage, table: &mut Table) {
    let services = stage.clusters(3);
    people(stage, &services, 1_001, 1);
    for _ in 0..RUNS {
        for service in &services {
            let said = stage.load("presence", service.as_ref(), false, &["--users", "1001"]);
            let row = "presence to 1,000 contacts on three nodes, seen a CPU second";
            table.add(row, service.name(), &said["seen_a_cpu_second"]);
        }
    }
}

/// A node of three is killed, with a third of the many on it; those come back.
fn storm(stage: &Stage, table: &mut Table) {
    let all = at_most(3 * MANY);
    let row = format!("a third of {all} come back, seconds");
    let (count, resources) = (all.to_string(), RESOURCES.to_string());
    let mut services = stage.clusters(3);
    people(stage, &services, all, RESOURCES);
    for _ in 0..LONG_RUNS {
        for service in &mut services {
            assert!(service.heal(), "{}: its nodes do not agree", service.name());
            let last = service.pids().last().expect("a process").to_string();
            let words = [
                "--users",
                &count,
                "--resources",
                &resources,
                "--sources",
                SOURCES,
                "--kill",
                &last,
            ];
            let said = stage.load("storm", service.as_ref(), false, &words);
            table.add(&row, service.name(), &said["seconds"]);
            service.kill_last();
        }
    }
}
