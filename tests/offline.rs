//! Messages for accounts that are away: kept on every node's disk, given to
//! whoever comes first, wherever that is, once.

mod support;

use std::collections::BTreeMap;

use support::raw::Raw;
use support::{Node, Nodes, wait_for};

fn log_in(node: &Node, user: &str, resource: &str) -> Raw {
    let mut raw = Raw::direct(node);
    raw.bind(user, "secret", resource);
    raw
}

fn say(raw: &mut Raw, to: &str, from: usize, until: usize) {
    for number in from..until {
        let body = format!("<body>m{number}</body>");
        raw.say(
            format!("<message to='{to}' type='chat' id='m{number}'>{body}</message>").as_bytes(),
        );
    }
}

/// How often each message was heard.
fn heard(words: &str) -> BTreeMap<usize, usize> {
    let mut heard = BTreeMap::new();
    for message in words.split("<message ").skip(1).filter(|one| one.contains("</message>")) {
        let id = message.split("id='m").nth(1).and_then(|rest| rest.split('\'').next());
        let number = id.and_then(|id| id.parse().ok()).expect("all have ids");
        *heard.entry(number).or_default() += 1;
    }
    heard
}

/// Waits until so many were heard, each once.
#[track_caller]
fn hear_all(raw: &mut Raw, count: usize) -> String {
    let mut words = String::new();
    wait_for(&format!("{count} messages are heard"), || {
        words += &raw.gather();
        heard(&words).len() == count
    });
    words += &raw.gather();
    assert!(heard(&words).values().all(|times| *times == 1), "one came twice");
    words
}

#[test]
fn whoever_was_away_hears_all_in_order_wherever_it_comes() {
    const COUNT: usize = 100;
    let nodes = Nodes::start(3);
    for user in ["romeo", "j0", "j1", "j2"] {
        nodes.account(user, "secret");
    }
    let mut romeo = log_in(&nodes.list[0], "romeo", "garden");
    for at in 0..3 {
        say(&mut romeo, &format!("j{at}@localhost"), 0, COUNT);
        let mut juliet = log_in(&nodes.list[at], &format!("j{at}"), "balcony");
        // some are stored by now, some are still on their way
        juliet.say(b"<presence/>");
        let words = hear_all(&mut juliet, COUNT);
        let order: Vec<_> = words.match_indices("<body>m").map(|(at, _)| at).collect();
        assert_eq!(order.len(), COUNT);
        juliet.say(b"<presence type='unavailable'/>");
        juliet.say(b"<presence/>");
        assert!(!juliet.gather().contains("<message"), "they are given once");
    }
}
