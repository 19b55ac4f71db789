//! Nodes of the cluster in one process, on real sockets: they find each
//! other, agree, deliver, and notice who is gone. Clients are not in it;
//! `spine` has those.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jabiru::cluster::asks::AskError;
use jabiru::cluster::config::Config;
use jabiru::cluster::driver::{self, Running, StartError};
use jabiru::cluster::events::{Event, Events};
use jabiru::cluster::handle::Cluster;
use jabiru::cluster::keyring::Keyring;
use jabiru::cluster::news::Reason;
use jabiru::cluster::node::{Node, NodeId};
use jabiru::cluster::rows::{SessionRow, SoftRow};

/// Longer than anything here takes, shorter than patience.
const SOON: Duration = Duration::from_secs(20);

struct One {
    cluster: Arc<Cluster>,
    events: Events,
    running: Running,
}

fn start(name: &str, seeds: &[&One], cookie: &str) -> One {
    let config = Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        seeds: seeds.iter().map(|seed| seed.cluster.address().to_string()).collect(),
        ..Config::default()
    };
    let generation = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as u64;
    let id = NodeId::new(generation, rand::random());
    let node = Node { id, name: name.parse().expect("a name") };
    let cookie = Keyring::new(cookie).expect("long enough");
    let (cluster, events, running) = driver::start(config, &cookie, node).expect("a free port");
    One { cluster, events, running }
}

async fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < SOON, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn wait_for_count(nodes: &[&One], count: usize) {
    wait_for("all see as many nodes", || {
        nodes.iter().all(|one| one.cluster.members().count() == count)
    })
    .await;
}

const COOKIE: &str = "0123456789abcdef";

fn row(jid: &str) -> SoftRow {
    SoftRow::Session(SessionRow { jid: jid.into(), priority: Some(0), flags: 0, bound: 1 })
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_find_each_other_and_share_their_rows() {
    let a = start("a", &[], COOKIE);
    let b = start("b", &[&a], COOKIE);
    let c = start("c", &[&b], COOKIE);
    wait_for_count(&[&a, &b, &c], 3).await;
    b.cluster.put(7, row("juliet@im/balcony"));
    let knows = |one: &One| {
        let found = one.cluster.tables().sessions.find("juliet@im");
        found.first().map(|entry| (entry.owner, entry.number)) == Some((b.cluster.me().id, 7))
    };
    wait_for("all know the row", || [&a, &b, &c].into_iter().all(knows)).await;
    b.cluster.remove(7);
    wait_for("nobody knows the row", || ![&a, &b, &c].into_iter().any(knows)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delivered_arrives_in_order_and_is_acknowledged() {
    let a = start("a", &[], COOKIE);
    let mut b = start("b", &[&a], COOKIE);
    wait_for_count(&[&a, &b], 2).await;
    let count = 20_000u32;
    for number in 0..count {
        a.cluster.deliver(b.cluster.me().id, Bytes::copy_from_slice(&number.to_be_bytes()));
    }
    let mut expected = 0;
    while expected < count {
        let event = tokio::time::timeout(SOON, b.events.next()).await.expect("in time");
        if let Some(Event::Delivery { body, .. }) = event {
            assert_eq!(body, expected.to_be_bytes().as_slice());
            expected += 1;
        }
    }
    assert_eq!(a.cluster.counts().returned, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_has_an_answer_or_an_end() {
    let a = start("a", &[], COOKIE);
    let mut b = start("b", &[&a], COOKIE);
    wait_for_count(&[&a, &b], 2).await;
    let to = b.cluster.me().id;
    let answering = tokio::spawn(async move {
        while let Some(event) = b.events.next().await {
            if let Event::Question(question) = event {
                let body = [&question.body[..], b"!"].concat();
                match question.topic {
                    1 => question.answer(body.into()),
                    _ => return b,
                }
            }
        }
        b
    });
    let answer = a.cluster.ask(to, 1, Bytes::from_static(b"who"), SOON).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"who!")));
    let late = a.cluster.ask(to, 2, Bytes::new(), Duration::from_millis(50)).await;
    assert_eq!(late, Err(AskError::Late));
    let nobody = a.cluster.ask(NodeId::new(1, 1), 1, Bytes::new(), SOON).await;
    assert_eq!(nobody, Err(AskError::Unreachable));
    answering.await.expect("it answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_is_gone_and_what_it_did_not_take_comes_back() {
    let mut a = start("a", &[], COOKIE);
    let mut b = start("b", &[&a], COOKIE);
    wait_for_count(&[&a, &b], 2).await;
    let to = b.cluster.me().id;
    a.cluster.deliver(to, Bytes::from_static(b"held"));
    let held = loop {
        if let Some(Event::Delivery { receipt, .. }) = b.events.next().await {
            break receipt;
        }
    };
    b.running.leave().await;
    let gone = async {
        loop {
            if let Some(Event::Returned { body, reason, .. }) = a.events.next().await {
                return (body, reason);
            }
        }
    };
    let returned = tokio::time::timeout(SOON, gone).await.expect("it comes back");
    assert_eq!(returned, (Bytes::from_static(b"held"), Reason::InDoubt));
    assert_eq!(a.cluster.members().count(), 1);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cookie_is_another_cluster() {
    let a = start("a", &[], COOKIE);
    let stranger = start("x", &[&a], "fedcba9876543210");
    let b = start("b", &[&a], COOKIE);
    wait_for_count(&[&a, &b], 2).await;
    assert_eq!(stranger.cluster.members().count(), 1);
    assert_eq!(stranger.cluster.peers().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_start_of_a_name_makes_the_former_a_ghost() {
    let mut former = start("a", &[], COOKIE);
    let b = start("b", &[&former], COOKIE);
    wait_for_count(&[&former, &b], 2).await;
    let later = start("a", &[&b], COOKIE);
    let ghost = async {
        loop {
            if let Some(Event::Ghost { by }) = former.events.next().await {
                return by;
            }
        }
    };
    let by = tokio::time::timeout(SOON, ghost).await.expect("it is told");
    assert_eq!(by, later.cluster.me().id);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let a = start("a", &[], COOKIE);
    let config = Config { listen: a.cluster.address(), ..Config::default() };
    let node = Node { id: NodeId::new(1, 1), name: "b".parse().expect("a name") };
    let cookie = Keyring::new(COOKIE).expect("long enough");
    let error = driver::start(config, &cookie, node).expect_err("the port is taken");
    assert!(matches!(error, StartError::Bind { .. }), "{error}");
    assert!(error.to_string().contains(&a.cluster.address().to_string()), "{error}");
}
