//! What it costs as it grows: ours alone, in turn small and large; and all of
//! them with the whole machine.

use crate::ours::Ours;
use crate::server::Service;
use crate::table::Table;
use crate::{CHATTING, RESOURCES, RUNS, SOURCES, Stage, at_most, people};

/// Sessions on a node.
const SESSIONS: [usize; 2] = [500, 50_000];

/// Nodes of a cluster, and how often each is measured.
const NODES: [usize; 2] = [3, 9];

/// Servers and load share both cores.
pub fn both_cores(_: &Stage, table: &mut Table) {
    let free = Stage { is_free: true, ..Stage::new() };
    let services = free.single();
    people(&free, &services, CHATTING, 1);
    let count = CHATTING.to_string();
    for _ in 0..RUNS {
        for service in &services {
            let words = ["--users", &count, "--seconds", "8"];
            let said = free.load("chat", service.as_ref(), false, &words);
            let row = "chat, both cores for both, messages a second";
            table.add(row, service.name(), &said["messages_a_second"]);
            table.must_be_none(service.name(), &said);
        }
    }
}

/// A message among few and many sessions, and among few and many nodes.
pub fn growth(stage: &Stage, table: &mut Table) {
    sessions(stage, table);
    nodes(stage, table);
}

fn sessions(stage: &Stage, table: &mut Table) {
    let services: Vec<Box<dyn Service>> = vec![Box::new(Ours::start(stage.places(1)))];
    let ours = services[0].as_ref();
    people(stage, &services, CHATTING, 1);
    let counts = SESSIONS.map(at_most);
    let (chatting, most) = (CHATTING.to_string(), counts[1].to_string());
    let resources = RESOURCES.to_string();
    let words = ["--first", &chatting, "--users", &most, "--resources", &resources];
    stage.load("register", ours, false, &words);
    for _ in 0..RUNS {
        for count in counts {
            let idle = (count - CHATTING).to_string();
            let words =
                ["--users", &chatting, "--seconds", "8", "--idle", &idle, "--sources", SOURCES];
            let said = stage.load("chat", ours, false, &words);
            let row = format!("chat among {count} sessions, messages a CPU second");
            table.add(&row, ours.name(), &said["messages_a_cpu_second"]);
            table.must_be_none(ours.name(), &said);
        }
    }
}

fn nodes(stage: &Stage, table: &mut Table) {
    let clusters: Vec<Vec<Box<dyn Service>>> = NODES
        .iter()
        .map(|count| vec![Box::new(Ours::start(stage.places(*count))) as Box<dyn Service>])
        .collect();
    clusters.iter().for_each(|services| people(stage, services, CHATTING, 1));
    let chatting = CHATTING.to_string();
    for _ in 0..RUNS {
        for (count, services) in NODES.iter().zip(&clusters) {
            let words = ["--users", &chatting, "--seconds", "8"];
            let ours = services[0].as_ref();
            let said = stage.load("chat", ours, false, &words);
            let row = format!("chat across {count} nodes, messages a CPU second");
            table.add(&row, ours.name(), &said["messages_a_cpu_second"]);
            table.must_be_none(ours.name(), &said);
        }
    }
}
