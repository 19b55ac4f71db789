//! A peer in trouble, and ours: what was said is delivered or bounced.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Two;
use super::peer::{Kind, Proof};
use super::person::Person;
use super::support::SOON;
use super::support::wire::attribute;

/// Queues that do not test anybody's patience.
const IMPATIENT: &str = "queue_time_max = \"4s\"\nconnect_timeout = \"3s\"";

/// Messages under way when a node is killed.
const MANY: usize = 1_000;

/// It is killed and started: both find each other again.
pub async fn it_starts_again(kind: Kind) {
    let mut two = Two::start(kind, Proof::External, 1, IMPATIENT);
    let mut romeo = two.here("romeo", 0).await;
    let mut anna = two.there("anna").await;
    romeo.write(&anna.jid.clone(), "before").await;
    anna.read("before").await;
    anna.write(&romeo.jid.clone(), "before").await;
    romeo.read("before").await;
    two.peer.kill();
    two.peer.start_again(&two.world);
    let mut anna = two.there("anna").await;
    until_it_arrives(&mut romeo, &mut anna).await;
    until_it_arrives(&mut anna, &mut romeo).await;
}

/// It is stopped for so long that what waits for it is given up, and goes on.
pub async fn it_stands_still(kind: Kind) {
    let two = Two::start(kind, Proof::External, 1, IMPATIENT);
    let mut romeo = two.here("romeo", 0).await;
    let mut anna = two.there("anna").await;
    let (here, there) = (romeo.jid.clone(), anna.jid.clone());
    romeo.write(&there, "before").await;
    anna.read("before").await;
    two.peer.signal("-STOP");
    for number in 0..10 {
        romeo.write(&there, &format!("still{number}")).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    two.peer.signal("-CONT");
    for number in 0..10 {
        anna.read(&format!("still{number}")).await;
    }
    anna.write(&here, "after").await;
    romeo.read("after").await;
}

/// No packet comes from it any more: its people cannot be reached, and who
/// writes to them hears so. Then it is there again.
pub async fn it_vanishes(kind: Kind) {
    let two = Two::start(kind, Proof::External, 1, IMPATIENT);
    let mut romeo = two.here("romeo", 0).await;
    let mut anna = two.there("anna").await;
    let there = anna.jid.clone();
    let begin = Instant::now();
    two.world.stage.cut(1, 0);
    two.world.stage.cut(0, 1);
    romeo.write(&there, "nowhere").await;
    let answer = romeo.read("nowhere").await;
    assert!(answer.contains("remote-server-timeout"), "{answer}");
    assert!(begin.elapsed() < SOON / 2, "it took {:?}", begin.elapsed());
    two.world.stage.mend(0);
    two.world.stage.mend(1);
    until_it_arrives(&mut romeo, &mut anna).await;
}

/// Writes until something arrives: a link that has failed is not tried at
/// once.
async fn until_it_arrives(from: &mut Person, to: &mut Person) {
    let jid = to.jid.clone();
    let begin = Instant::now();
    for number in 0.. {
        let text = format!("again{number}");
        from.write(&jid, &text).await;
        if to.comes(&text, Duration::from_secs(1)).await {
            return;
        }
        assert!(begin.elapsed() < 2 * SOON, "nothing arrives at {jid} any more");
    }
}

/// The node that holds the link is killed with messages under way, written by
/// a client of another node: each arrives or is bounced.
pub async fn the_linked_node_is_killed(kind: Kind) {
    let mut two = Two::start(kind, Proof::External, 3, IMPATIENT);
    let mut anna = two.there("anna").await;
    let there = anna.jid.clone();
    // whoever writes first opens the link
    let mut juliet = two.here("juliet", 1).await;
    juliet.write(&there, "opened").await;
    anna.read("opened").await;
    let mut romeo = two.here("romeo", 0).await;
    romeo.write(&there, "through").await;
    anna.read("through").await;
    for number in 0..MANY {
        romeo.write(&there, &format!("many{number}")).await;
        if number == MANY / 2 {
            two.ours.nodes.list[1].kill();
        }
    }
    let mut arrived: BTreeMap<String, usize> = BTreeMap::new();
    let mut bounced: BTreeMap<String, usize> = BTreeMap::new();
    let begin = Instant::now();
    while arrived.keys().chain(bounced.keys()).collect::<std::collections::BTreeSet<_>>().len()
        < MANY
    {
        for (person, account) in [(&mut anna, &mut arrived), (&mut romeo, &mut bounced)] {
            for stanza in person.gather(Duration::from_millis(100)).await {
                let id = attribute(&stanza, "id").unwrap_or_default();
                if id.starts_with("many") {
                    *account.entry(id.to_owned()).or_default() += 1;
                }
            }
        }
        let known = arrived.len() + bounced.len();
        assert!(
            begin.elapsed() < 2 * SOON,
            "{} of {MANY} have vanished",
            MANY.saturating_sub(known)
        );
    }
    let is_twice = |id: &str| arrived.get(id).is_some_and(|count| *count > 1);
    let (twice, once): (Vec<&String>, Vec<&String>) =
        arrived.keys().partition(|id| is_twice(id) || bounced.contains_key(*id));
    eprintln!("    {} arrived once, {} again, {} bounced", once.len(), twice.len(), bounced.len());
    // what the peer had and had not acknowledged yet (XEP-0198): nothing that
    // was said when the node was dead
    let number = |id: &str| id.trim_start_matches("many").parse::<usize>().expect("a number");
    let late: Vec<&&String> = twice.iter().filter(|id| number(id) > MANY / 2).collect();
    assert!(late.is_empty(), "{late:?} came again, and no dead node had them");
}
