//! Many clients and many instances of one component, while instances and a
//! node are killed: each request is answered once, or comes back.
//!
//! `JABIRU_STANZAS` says how many requests there are.

mod support;

#[path = "components/crowd.rs"]
mod crowd;
#[path = "components/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use crowd::{Instance, Person, Plan, Tally};
use support::Nodes;

/// Requests in all, if nothing else is said.
const STANZAS: usize = 20_000;
const CLIENTS: usize = 200;
const INSTANCES: usize = 12;

const CONFIG: &str = "[session_manager]\nsessions_per_user_max = 1000\n\
    [component.domains.\"gw.localhost\"]\nsecret = \"s3cret\"\nalso = [\"even.localhost\"]\n\
    [domain_balancing.\"gw.localhost\"]\ntype = \"bare_source\"\ncomponent_number = 1000\n\
    hold = \"5s\"\n\
    [domain_balancing.\"even.localhost\"]\nprefer_local = false\n";

fn stanzas() -> usize {
    std::env::var("JABIRU_STANZAS").ok().and_then(|text| text.parse().ok()).unwrap_or(STANZAS)
}

#[test]
fn requests_are_answered_once_whoever_is_killed() {
    let mut nodes = Nodes::start_with(3, CONFIG);
    for number in 0..CLIENTS {
        nodes.account(&format!("user{number}"), "s3cret");
    }
    let ports: Vec<u16> = nodes.list.iter().map(|node| node.ports.component).collect();
    let tally = Arc::new(Tally::default());
    let mut instances: Vec<Instance> = (0..INSTANCES)
        .map(|number| {
            let name = format!("i{number}");
            let to = format!("gw.localhost/{name}");
            Instance::start((&name, &to), &ports, number % 3, &tally)
        })
        .collect();
    support::wait_for("all instances are there", || tally.connected() == INSTANCES);

    // chance is even
    let plan = Plan { to: "even.localhost", count: stanzas() * 2 / CLIENTS, window: 50 };
    let mut people: Vec<Person> = (0..CLIENTS)
        .map(|number| {
            let node = &nodes.list[number % 3];
            let door = (node.place.host, node.ports.direct).into();
            Person::online(door, &format!("user{number}"), "s3cret")
        })
        .collect();
    crowd::all(&mut people, &plan, |_| {});
    let mean = (plan.count * CLIENTS / INSTANCES) as f64;
    let shares: BTreeMap<String, usize> = tally.shares();
    assert_eq!(shares.values().sum::<usize>(), plan.count * CLIENTS);
    for (instance, share) in &shares {
        let off = (*share as f64 - mean).abs() / mean;
        // four standard deviations more where the test is short
        let may = 0.1 + 4.0 / mean.sqrt() * f64::from(u8::from(mean < 3_000.0));
        assert!(off < may, "{instance} has {share} of {mean}: {shares:?}");
    }
    for person in &people {
        assert_eq!((person.bounced(), person.twice()), (0, 0), "{}", person.name);
    }

    // and keys stay with their instances, while some are killed
    tally.begin_again();
    people.iter_mut().for_each(Person::begin_again);
    let plan = Plan { to: "x@gw.localhost", count: stanzas() / CLIENTS, window: 10 };
    let all = plan.count * CLIENTS;
    let mut step = 0;
    crowd::all(&mut people, &plan, |done| {
        let due = [1, 2, 3, 4, 5, 6].map(|part| all * part / 9);
        if step < due.len() && done >= due[step] {
            match step {
                2 => nodes.list[2].kill(),
                5 => nodes.list[2].spawn(),
                _ => instances[step].break_off(),
            }
            step += 1;
        }
    });
    assert_eq!(step, 6, "all faults have happened");
    let (mut answered, mut bounced, mut twice, mut alone) = (0, 0, 0, 0);
    for person in people.iter().filter(|person| !person.was_cut_off()) {
        assert_eq!(person.missing(), 0, "{} waits for ever", person.name);
        answered += person.answered();
        bounced += person.bounced();
        twice += person.twice();
        if let Some(instance) = person.only_instance() {
            alone += 1;
            assert!(tally.in_order(&instance, &person.name), "{} at {instance}", person.name);
        }
    }
    println!(
        "{answered} answered, {bounced} bounced, {twice} twice; {alone} clients with one instance"
    );
    assert!(alone > CLIENTS / 4, "most instances lived");
    assert_eq!(twice, 0, "nothing is answered twice");
    assert!(bounced * 100 <= answered, "{bounced} bounced");
}
