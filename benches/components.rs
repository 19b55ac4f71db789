//! Components of ours, and beside them those of Debian's ejabberd with the same
//! words in its configuration: how many stanzas a second of CPU time takes, how
//! soon all nodes know an instance, and what is lost when instances and nodes
//! are killed.
//!
//! `scripts/bench components` runs all of it; `stanzas`, `known` and `killed`
//! one part. `JABIRU_STANZAS` says how many requests `killed` has.

#![allow(dead_code, unreachable_pub)]

#[path = "../tests/components/crowd.rs"]
mod crowd;
#[path = "peers/ejabberd.rs"]
mod ejabberd;
#[path = "peers/ours.rs"]
mod ours;
#[path = "peers/server.rs"]
mod server;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "../tests/components/wire.rs"]
mod wire;

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crowd::{Instance, Person, Plan, Tally};
use ejabberd::Ejabberd;
use ours::Ours;
use server::Service;
use support::Place;
use support::raw::Raw;
use wire::Wire;

/// Requests while somebody is killed, if nothing else is said.
const STANZAS: usize = 100_000;
const CLIENTS: usize = 200;
const INSTANCES: usize = 12;

/// Registrations that are watched.
const REGISTRATIONS: usize = 1_000;

/// What ours know of components, in ejabberd's words.
const WORDS: &str = "[component.per_address]\nconnections_max = 100000\nattempts_max = 100000\n\
    [component.domains.\"gw.localhost\"]\nsecret = \"s3cret\"\n\
    [domain_balancing.\"gw.localhost\"]\ntype = \"bare_source\"\ncomponent_number = 12\n";

fn main() {
    let words: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    if wants("stanzas") {
        stanzas();
    }
    if wants("known") {
        known();
    }
    if wants("killed") {
        killed();
    }
}

fn names() -> Vec<String> {
    (0..CLIENTS).map(|number| format!("user{number}")).collect()
}

fn ours(count: usize) -> Ours {
    let ours = Ours::start_with(vec![Place::default(); count], WORDS);
    for name in names() {
        ours.nodes.account(&name, &name);
    }
    ours
}

fn ejabberd(count: usize, folder: &std::path::Path) -> Ejabberd {
    let papers = folder.join("papers.pem");
    let file = |name| fs::read_to_string(support::tls().join(name)).expect("readable");
    fs::write(&papers, file("key.pem") + &file("cert.pem")).expect("writable");
    let ejabberd = Ejabberd::start(vec![Place::default(); count], folder, &papers);
    let names = names();
    ejabberd.people(&names.iter().map(String::as_str).collect::<Vec<_>>());
    ejabberd
}

/// CPU time of processes, in seconds (proc(5): fields 14 and 15 of `stat`, in
/// hundredths).
fn cpu(pids: &[u32]) -> f64 {
    let one = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        let field = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
        field(11).unwrap_or(0.0) + field(12).unwrap_or(0.0)
    };
    pids.iter().map(one).sum::<f64>() / 100.0
}

/// Requests to the instances of one node and their answers.
fn stanzas() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = ours(1);
    let ejabberd = ejabberd(1, folder.path());
    let our_ports = vec![ours.nodes.list[0].ports.component];
    let services: [(&dyn Service, Vec<u16>); 2] =
        [(&ours, our_ports), (&ejabberd, ejabberd.component_ports())];
    for (service, ports) in services {
        let tally = Arc::new(Tally::default());
        // as many as ejabberd has buckets: it drops what falls into an empty one
        let instances: Vec<Instance> = (0..INSTANCES)
            .map(|number| {
                Instance::start((&format!("i{number}"), "gw.localhost"), &ports, 0, &tally)
            })
            .collect();
        support::wait_for("they are there", || tally.connected() == INSTANCES);
        let door = service.doors(true)[0];
        let mut people: Vec<Person> =
            names().iter().take(20).map(|name| Person::online(door, name, name)).collect();
        let plan = Plan { to: "x@gw.localhost", count: 10_000, window: 50 };
        let (before, begin) = (cpu(&service.pids()), Instant::now());
        crowd::all(&mut people, &plan, |_| {});
        let (spent, took) = (cpu(&service.pids()) - before, begin.elapsed());
        let stanzas = 2.0 * (plan.count * people.len()) as f64;
        println!(
            "{:10} {:9.0} component stanzas a CPU second ({:.0} a second; TLS to clients)",
            service.name(),
            stanzas / spent,
            stanzas / took.as_secs_f64()
        );
        drop(instances);
    }
}

/// From the handshake until another node sends something.
fn known() {
    let ours = ours(3);
    let node = &ours.nodes.list[1];
    let mut user = Raw::direct_at((node.place.host, node.ports.direct).into());
    user.bind("user0", "user0", "r");
    let mut took: Vec<Duration> = Vec::new();
    for number in 0..REGISTRATIONS {
        let mut wire = Wire::online(&ours.nodes.list[0], "gw.localhost", "s3cret");
        let begin = Instant::now();
        loop {
            let id = format!("k{number}");
            user.say(format!("<iq type='get' id='{id}' to='gw.localhost'><q xmlns='u'/></iq><iq type='get' id='e' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>").as_bytes());
            let heard = user.hear("id='e' type='result'/>");
            if !heard.contains("type='error'") {
                break;
            }
        }
        took.push(begin.elapsed());
        wire.hear("<q xmlns='u'/>");
        // the row goes before the next one comes
        wire.say("</stream:stream>");
        wire.rest();
        loop {
            user.say(b"<iq type='get' id='g' to='gw.localhost'><q xmlns='u'/></iq>");
            if user.hear("</iq>").contains("service-unavailable") {
                break;
            }
        }
    }
    took.sort();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    println!(
        "known to another node of three, {REGISTRATIONS} times: p50 {:?}, p99 {:?}, worst {:?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ours = ours(3);
    let ports = ours.nodes.list.iter().map(|node| node.ports.component).collect();
    story(&mut ours, ports, |number| format!("gw.localhost/i{number}"));
    drop(ours);
    let mut ejabberd = ejabberd(3, folder.path());
    let ports = ejabberd.component_ports();
    story(&mut ejabberd, ports, |_| "gw.localhost".into());
}

fn story(service: &mut dyn Service, ports: Vec<u16>, to: impl Fn(usize) -> String) {
    let stanzas = std::env::var("JABIRU_STANZAS").ok().and_then(|text| text.parse().ok());
    let tally = Arc::new(Tally::default());
    let mut instances: Vec<Instance> = (0..INSTANCES)
        .map(|number| {
            Instance::start((&format!("i{number}"), &to(number)), &ports, number % 3, &tally)
        })
        .collect();
    support::wait_for("all instances are there", || tally.connected() == INSTANCES);
    let doors: Vec<SocketAddr> = service.doors(true);
    let mut people: Vec<Person> = names()
        .iter()
        .enumerate()
        .map(|(number, name)| Person::online(doors[number % 3], name, name))
        .collect();
    let plan =
        Plan { to: "x@gw.localhost", count: stanzas.unwrap_or(STANZAS) / CLIENTS, window: 10 };
    let all = plan.count * CLIENTS;
    let (mut step, begin) = (0, Instant::now());
    crowd::all(&mut people, &plan, |done| {
        let due = [1, 2, 3, 4, 5].map(|part| all * part / 9);
        if step < due.len() && done >= due[step] {
            match step {
                2 => service.kill_last(),
                _ => instances[step].break_off(),
            }
            step += 1;
        }
    });
    let (mut answered, mut bounced, mut lost, mut twice) = (0, 0, 0, 0);
    let stayed: Vec<&Person> = people.iter().filter(|person| !person.was_cut_off()).collect();
    for person in &stayed {
        answered += person.answered();
        bounced += person.bounced();
        lost += person.missing();
        twice += person.twice();
    }
    println!(
        "{:10} {} clients stayed, {step} of 5 faults: {answered} answered, {bounced} bounced, {lost} lost, {twice} twice, in {:.0} s",
        service.name(),
        stayed.len(),
        begin.elapsed().as_secs_f64()
    );
}
