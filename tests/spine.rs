//! The main job with real processes and real clients: log in on different
//! nodes, chat, lose a node. What happens inside is tested elsewhere.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::client::{Door, One, address};
use support::raw::Raw;
use support::{DOMAIN, Nodes, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_on_two_nodes_chat() {
    let nodes = Nodes::start(3);
    nodes.account("romeo", "r0m30");
    nodes.account("juliet", "jul13t");
    let mut romeo = One::online(&nodes.list[0], Door::StartTls, "romeo", "garden", "r0m30").await;
    let mut juliet = One::online(&nodes.list[1], Door::Direct, "juliet", "balcony", "jul13t").await;
    romeo.say(&juliet.jid, "Wherefore?").await;
    let (from, text) = juliet.hear().await;
    assert_eq!((from, text.as_str()), (romeo.jid.clone(), "Wherefore?"));
    juliet.say(&romeo.jid.to_bare().into(), "Here!").await;
    let (from, text) = romeo.hear().await;
    assert_eq!((from, text.as_str()), (juliet.jid.clone(), "Here!"));
    let mut seen = nodes.list[2].sessions();
    seen.sort();
    assert_eq!(seen, [juliet.jid.to_string(), romeo.jid.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_can_bind_its_proof_to_the_channel() {
    for mechanism in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"] {
        let nodes = Nodes::start_with(1, &format!("mechanisms = [\"{mechanism}\"]"));
        nodes.account("romeo", "r0m30");
        for door in [Door::StartTls, Door::Direct] {
            One::online(&nodes.list[0], door, "romeo", "garden", "r0m30").await;
        }
    }
}

/// Sessions on the node that is killed, and messages to them.
const COUNT: usize = 200;

/// Sessions of one account: what the default configuration allows.
const PER_USER: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_loses_no_message_and_comes_back() {
    let mut nodes = Nodes::start(3);
    nodes.account("romeo", "r0m30");
    for user in 0..COUNT / PER_USER {
        nodes.account(&format!("u{user}"), "secret");
    }
    let mut romeo = Raw::direct(&nodes.list[0]);
    romeo.bind("romeo", "r0m30", "garden");

    // two hundred sessions on the node that will die, each noting what comes
    // out of its socket: tokio-xmpp was seen to throw away what it had read
    // when its connection broke, and to stop reading while it was sending
    let heard = Arc::new(std::sync::Mutex::new(BTreeMap::<String, usize>::new()));
    let mut receivers = Vec::new();
    for number in 0..COUNT {
        let (user, resource) =
            (format!("u{}", number / PER_USER), format!("r{}", number % PER_USER));
        let mut raw = Raw::direct(&nodes.list[1]);
        raw.bind(&user, "secret", &resource);
        raw.wait_for_ever();
        let heard = Arc::clone(&heard);
        let listening = std::thread::spawn(move || {
            let words = raw.rest();
            let texts = words.split("<body>").skip(1).filter_map(|rest| rest.split('<').next());
            for text in texts {
                *heard.lock().expect("no panic").entry(text.to_owned()).or_default() += 1;
            }
        });
        receivers.push((address(&user, &resource), listening));
    }
    wait_for("all sessions are seen", || nodes.list[0].sessions().len() == COUNT + 1);

    // the node dies when a third of the messages are on their way
    let mut killed = None;
    for (number, (jid, _)) in receivers.iter().enumerate() {
        let message = format!(
            "<message to='{jid}' type='chat' id='m{number}'><body>m{number}</body></message>"
        );
        romeo.say(message.as_bytes());
        if number == COUNT / 3 {
            nodes.list[1].kill();
            killed = Some(Instant::now());
        }
    }
    let killed = killed.expect("it was killed");
    wait_for("the killed node is forgotten", || {
        let status = nodes.list[0].status().expect("it answers");
        status["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2)
    });
    let took = killed.elapsed();
    assert!(took < Duration::from_millis(500), "it took {took:?}");

    // all sockets of the dead node are closed: what was heard was heard
    for (_, listening) in receivers {
        listening.join().expect("no panic");
    }

    // every message was heard, or is kept for whoever logs in next
    let heard = heard.lock().expect("no panic").clone();
    let mut later: Vec<(Raw, String)> = (0..COUNT / PER_USER)
        .map(|user| {
            let mut raw = Raw::direct(&nodes.list[2 * (user % 2)]);
            raw.bind(&format!("u{user}"), "secret", "later");
            raw.say(b"<presence/>");
            (raw, String::new())
        })
        .collect();
    let mut kept = BTreeMap::<String, usize>::new();
    wait_for("every message was heard, or kept", || {
        later.iter_mut().for_each(|(raw, words)| *words += &raw.gather());
        kept.clear();
        let messages = later.iter().flat_map(|(_, words)| words.split("<message ").skip(1));
        for message in messages.filter(|one| one.contains("</message>")) {
            let id = message.split("id='").nth(1).and_then(|rest| rest.split('\'').next());
            *kept.entry(id.expect("all have ids").to_owned()).or_default() += 1;
        }
        (0..COUNT)
            .map(|number| format!("m{number}"))
            .all(|text| heard.contains_key(&text) || kept.contains_key(&text))
    });
    drop(later);
    let back = romeo.gather();
    assert!(!back.contains("type='error'"), "nothing came back: {back}");
    assert!(heard.values().chain(kept.values()).all(|count| *count == 1), "twice");
    let both: Vec<_> = heard.keys().filter(|text| kept.contains_key(*text)).collect();
    // what a client had and its node could not acknowledge any more: never
    // what was sent after the node had died
    let sent_before = |text: &&&String| {
        text.trim_start_matches('m').parse::<usize>().is_ok_and(|number| number <= COUNT / 3)
    };
    assert_eq!(both.iter().filter(sent_before).count(), both.len(), "{both:?}");
    println!("{} heard, {} kept, {} both", heard.len(), kept.len(), both.len());

    // its users are gone, everywhere, and its name may come back
    wait_for("only romeo is there", || {
        nodes.list[2].sessions() == [format!("romeo@{DOMAIN}/garden")]
    });
    nodes.list[1].start();
    nodes.wait_until_all_agree();
    let mut again = One::online(&nodes.list[1], Door::StartTls, "u0", "again", "secret").await;
    let mut juliet = One::online(&nodes.list[0], Door::Direct, "u1", "new", "secret").await;
    juliet.say(&again.jid, "Still there?").await;
    assert_eq!(again.hear().await.1, "Still there?");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_may_start_in_any_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut nodes = Nodes::prepare(3, "");
        for at in order {
            nodes.list[at].start();
        }
        nodes.wait_until_all_agree();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_survive_all_nodes_and_reach_those_that_were_away() {
    let mut nodes = Nodes::start(3);
    nodes.account("early", "one");
    nodes.list[2].stop();
    nodes.account("late", "two");
    nodes.list[0].jabiru(&["user", "remove", &format!("early@{DOMAIN}")], "");
    nodes.list[2].start();
    nodes.wait_until_all_agree();
    let list = |at: usize| nodes.list[at].jabiru(&["user", "list"], "");
    assert_eq!(list(2), format!("late@{DOMAIN}\n"));
    for node in &mut nodes.list {
        node.kill();
    }
    nodes.list[2].start();
    assert_eq!(nodes.list[2].jabiru(&["user", "list"], ""), format!("late@{DOMAIN}\n"));
    One::online(&nodes.list[2], Door::StartTls, "late", "x", "two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stands_still_is_put_out_and_comes_back_with_its_sessions() {
    let nodes = Nodes::start(3);
    nodes.account("romeo", "r0m30");
    nodes.account("juliet", "jul13t");
    let mut romeo = One::online(&nodes.list[0], Door::StartTls, "romeo", "garden", "r0m30").await;
    let mut juliet = One::online(&nodes.list[1], Door::Direct, "juliet", "balcony", "jul13t").await;
    let signal = |name: &str| {
        let pid = nodes.list[1].id().to_string();
        let sent = std::process::Command::new("kill").args([name, &pid]).status();
        assert!(sent.expect("it runs").success());
    };
    let seen = |count: usize| {
        let verdict = format!("{count} nodes, all agree");
        [0, 2].iter().all(|at| nodes.list[*at].verdict().as_deref() == Some(&*verdict))
    };
    signal("-STOP");
    wait_for("the others go on without it", || seen(2));
    romeo.say(&juliet.jid, "Do you hear me?").await;
    signal("-CONT");
    wait_for("it is back", || seen(3));
    // it was kept, and is fetched without anybody's help
    assert_eq!(juliet.hear().await.1, "Do you hear me?");
    romeo.say(&juliet.jid, "And now?").await;
    assert_eq!(juliet.hear().await.1, "And now?");
}
