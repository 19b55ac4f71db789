//! A real node, and beside it one that the test plays itself: it joins, and
//! then says and hears only what a story wants. So what is rare between real
//! nodes happens each time.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jabiru::cluster::config::Config;
use jabiru::cluster::driver::{self, Running};
use jabiru::cluster::events::{Event, Events};
use jabiru::cluster::handle::Cluster;
use jabiru::cluster::keyring::Keyring;
use jabiru::cluster::node::{Node, NodeId};
use jabiru::cluster::rows::{SessionRow, SoftRow};
use jabiru::router::parcel::{Label, Target};
use jabiru::xmpp::jid::Jid;
use support::raw::Raw;
use support::{DOMAIN, Nodes, SOON, wait_for};

/// A node without doors and without a store: questions have no answer, so
/// nobody ever has the rows that it may have.
struct StandIn {
    cluster: Arc<Cluster>,
    events: Events,
    _running: Running,
}

impl StandIn {
    /// One that is seen by this node, and sees it.
    fn beside(nodes: &Nodes) -> Self {
        let real = &nodes.list[0];
        let config = Config {
            listen: "127.0.0.1:0".parse().expect("an address"),
            seeds: vec![format!("{}:{}", real.place.host, real.ports.mesh)],
            ..Config::default()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let id = NodeId::new(now.as_millis() as u64, rand::random());
        let me = Node { id, name: "stand-in".parse().expect("a name") };
        let ring = Keyring::read(&nodes.folder.path().join("cookie")).expect("a cookie");
        let (cluster, events, running) = driver::start(config, &ring, me).expect("a free port");
        wait_for("the stand-in sees a node", || cluster.members().count() == 2);
        wait_for("the stand-in is seen", || {
            let status = real.status().expect("it answers");
            status["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2)
        });
        Self { cluster, events, _running: running }
    }

    /// Whether it is told to give a presence of `from` to its sessions of
    /// `account`, until patience ends.
    async fn is_told(&mut self, from: &str, account: &str) -> bool {
        let account = Jid::parse(account).expect("an address");
        let told = async {
            while let Some(event) = self.events.next().await {
                let Event::Delivery { body, .. } = event else { continue };
                let (label, stanza) = Label::unpack(&body).expect("a parcel");
                let stanza = String::from_utf8_lossy(&stanza).into_owned();
                if let Target::Accounts(accounts) = label.target
                    && accounts.contains(&account)
                    && stanza.contains(&format!("from='{from}'"))
                {
                    return true;
                }
            }
            false
        };
        tokio::time::timeout(SOON, told).await.unwrap_or(false)
    }
}

fn log_in(nodes: &Nodes, user: &str, resource: &str) -> Raw {
    let mut raw = Raw::direct(&nodes.list[0]);
    raw.bind(user, "secret", resource);
    raw
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_before_the_row_of_one_that_is_there_is_seen_by_it() {
    let nodes = Nodes::start(1);
    nodes.account("juliet", "secret");
    let mut stand_in = StandIn::beside(&nodes);
    let mut phone = log_in(&nodes, "juliet", "phone");
    phone.say(b"<presence/>");
    // all who are known have been told when it hears of itself
    phone.hear("<presence");
    // one that has been there for long, and neither asks nor looks any more
    let jid = format!("juliet@{DOMAIN}/balcony").into_boxed_str();
    let row = SessionRow { jid, priority: Some(0), flags: 0, bound: 1 };
    stand_in.cluster.put(1, SoftRow::Session(row));
    let (from, account) = (format!("juliet@{DOMAIN}/phone"), format!("juliet@{DOMAIN}"));
    assert!(stand_in.is_told(&from, &account).await, "nobody told it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_rows_never_come_delays_one_login_and_no_more() {
    let nodes = Nodes::start(1);
    let users = ["romeo", "juliet", "nurse"];
    users.iter().for_each(|user| nodes.account(user, "secret"));
    let mut romeo = log_in(&nodes, "romeo", "garden");
    for user in ["juliet", "nurse"] {
        let to = format!("{user}@{DOMAIN}");
        romeo.say(format!("<message to='{to}' id='1'><body>here!</body></message>").as_bytes());
    }
    romeo.say(b"</stream:stream>");
    romeo.rest();
    let _stand_in = StandIn::beside(&nodes);
    let fetch = |user| {
        let mut raw = log_in(&nodes, user, "r");
        let begin = Instant::now();
        raw.say(b"<presence/>");
        raw.hear("here!");
        begin.elapsed()
    };
    fetch("juliet");
    let took = fetch("nurse");
    assert!(took < Duration::from_millis(1_500), "it waited for {took:?}");
}
