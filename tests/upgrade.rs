//! Nodes of an older build are replaced by this one while people chat, one by
//! one, and one goes back: nothing is lost, and all tables are equal.
//!
//! `JABIRU_BEFORE` is the path of the older program (`scripts/before` builds the
//! one that `upgrade/before` names). Without it this build stands in for it,
//! and speaks the oldest protocol.

#![allow(dead_code, unreachable_pub)]

mod support;

#[path = "faults/history.rs"]
mod history;
#[path = "faults/invariants.rs"]
mod invariants;
#[path = "faults/load.rs"]
mod load;

#[path = "upgrade/belongings.rs"]
mod belongings;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use belongings::Belongings;
use jabiru::cluster::protocol::Protocol;
use load::{Door, Load, Phase};
use support::wire::{Wire, trust};
use support::{DOMAIN, Node, Nodes, SOON};

/// Users that chat; each is a contact of one neighbour.
const USERS: usize = 12;

/// Users that come at the end only, to fetch what was stored for them.
const SLEEPERS: usize = 3;

/// How long all chat between two replacements.
const CHAT: Duration = Duration::from_millis(1_500);

const COOKIE: &str = "cookie_file = \"../cookie\"";
const OLDEST: &str = "cookie_file = \"../cookie\"\nprotocol_max = 1";

/// Makes a node that is down one of the older build.
fn set_back(node: &mut Node) {
    match std::env::var("JABIRU_BEFORE") {
        Ok(program) => node.place.program = program,
        Err(_) => node.configure(COOKIE, OLDEST),
    }
}

/// Makes an older node that is down one of this build.
fn bring_forward(node: &mut Node) {
    match std::env::var("JABIRU_BEFORE") {
        Ok(_) => support::JABIRU.clone_into(&mut node.place.program),
        Err(_) => node.configure(OLDEST, COOKIE),
    }
}

/// A node in good order becomes another; its clients go elsewhere meanwhile.
async fn replace(nodes: &mut Nodes, load: &Load, at: usize, how: fn(&mut Node)) {
    load.set_door(at, false);
    let node = &mut nodes.list[at];
    node.stop();
    how(node);
    node.start();
    nodes.wait_until_all_agree();
    load.set_door(at, true);
    tokio::time::sleep(CHAT).await;
}

async fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < SOON, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The addresses of all sessions, as each node has them.
fn all_agree_on_sessions(nodes: &Nodes, count: usize) -> bool {
    let sessions = |node: &Node| {
        let mut sessions = node.sessions();
        sessions.sort();
        sessions
    };
    let all: Vec<_> = nodes.list.iter().map(sessions).collect();
    all.iter().all(|one| one.len() == count && *one == all[0])
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_an_older_build_are_replaced_one_by_one_while_people_chat() {
    let mut nodes = Nodes::prepare(3, "");
    nodes.list.iter_mut().for_each(set_back);
    nodes.list.iter_mut().for_each(Node::start);
    nodes.wait_until_all_agree();
    let users = USERS + SLEEPERS;
    let names: Vec<String> = (0..users).map(|user| format!("u{user}")).collect();
    for (at, name) in names.iter().enumerate() {
        nodes.list[at % 3].jabiru(&["user", "add", &format!("{name}@{DOMAIN}")], name);
    }
    for pair in (0..USERS).step_by(2) {
        let [one, other] = [pair, pair + 1].map(|user| format!("u{user}@{DOMAIN}"));
        nodes.list[0].jabiru(&["roster", &one, "add", &other, "--subscription", "both"], "");
    }
    let belongings = Belongings::leave(&nodes.list[0], &names[0]);
    let door = |node: &Node| {
        let address = SocketAddr::new(node.place.host, node.ports.direct);
        Door { address, is_open: true }
    };
    let mut load = Load::new(users, nodes.list.iter().map(door).collect());
    (0..USERS).for_each(|user| load.enter(user));
    wait("all users are there", || load.present() == USERS).await;
    load.set_phase(Phase::Talking);
    tokio::time::sleep(CHAT).await;

    for at in [1, 0, 2] {
        replace(&mut nodes, &load, at, bring_forward).await;
    }
    all_speak(&nodes, Protocol::NEWEST);
    replace(&mut nodes, &load, 1, set_back).await;
    replace(&mut nodes, &load, 1, bring_forward).await;

    load.set_phase(Phase::Listening);
    wait("all users are there again", || load.present() == USERS).await;
    nodes.wait_until_all_agree();
    (USERS..users).for_each(|user| load.enter(user));
    wait("all are there", || load.present() == users).await;
    wait("tables are equal", || all_agree_on_sessions(&nodes, users)).await;
    let contacts: Vec<(usize, usize)> = (0..USERS).map(|user| (user, user ^ 1)).collect();
    let is_whole = || {
        let history = load.history();
        let lost = invariants::vanished(&history);
        lost.is_empty() && invariants::wrongly_seen(&history, &contacts).is_empty()
    };
    let begin = Instant::now();
    while !is_whole() && begin.elapsed() < SOON {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let wrong = {
        let history = load.history();
        let (sent, heard) = (history.sent.len(), history.heard.len());
        let stored = history.heard.iter().filter(|heard| heard.was_stored).count();
        eprintln!("    {sent} messages, {heard} heard, {stored} of them stored in between");
        assert!(stored > 0, "nothing was stored for those who came late");
        [
            invariants::vanished(&history),
            invariants::repeated(&history),
            invariants::wrongly_seen(&history, &contacts),
            invariants::disordered(&history),
            invariants::gone_twice(&history),
        ]
        .concat()
    };
    assert!(wrong.is_empty(), "{} wrongs:\n{}", wrong.len(), wrong.join("\n"));
    load.end().await;

    nodes.wait_until_all_agree();
    let trust = trust();
    for node in &nodes.list {
        let mut accounts = names.iter().map(|name| format!("{name}@{DOMAIN}")).collect::<Vec<_>>();
        accounts.sort();
        assert_eq!(node.accounts(), accounts, "{}", node.name);
        belongings.are_at(node);
        let address = SocketAddr::new(node.place.host, node.ports.direct);
        for name in &names {
            let login = Wire::open(&trust, address, name, "again").await;
            assert!(login.is_ok(), "{name} at {}: {:?}", node.name, login.err());
        }
    }
}

/// Each node speaks this with each other.
#[track_caller]
fn all_speak(nodes: &Nodes, protocol: Protocol) {
    for node in &nodes.list {
        let status = node.status().expect("it runs");
        for other in status["nodes"].as_array().expect("nodes") {
            let own = other["node"] == *node.name;
            let wanted = (!own).then_some(u64::from(protocol.number()));
            assert_eq!(other["protocol"].as_u64(), wanted, "{}: {other}", node.name);
        }
    }
}
