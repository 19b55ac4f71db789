//! The address of a host changes while its node runs: the node is where its
//! host is, nobody has to restart it, and whoever reaches it by another way
//! notices nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::net::Stage;
use super::support::wire::{Wire, trust};
use super::support::{DOMAIN, Node, Nodes, wait_for};

/// How soon a node that has moved is a full member again.
const BACK_MAX: Duration = Duration::from_secs(5);

/// Nodes that listen on all addresses of their hosts, and two people: one on
/// the first node, one on the second, by a way that stays.
struct Moving {
    nodes: Nodes,
    stage: Stage,
    romeo: Wire,
    juliet: Wire,
}

impl Moving {
    async fn begin() -> Moving {
        let stage = Stage::build(3);
        let mut nodes = Nodes::prepare_at(stage.places(), "");
        let doors = [0, 1].map(|at| stage.side_door(at));
        for node in &nodes.list {
            for port in [node.ports.mesh, node.ports.direct] {
                let listens = format!("\"{}:{port}\"", node.place.host);
                let everywhere = format!("\"0.0.0.0:{port}\"");
                // the seeds stay as they are
                for key in [" = ", " = ["] {
                    let (before, after) =
                        (format!("listen{key}{listens}"), format!("listen{key}{everywhere}"));
                    if node.says(&before) {
                        node.configure(&before, &after);
                    }
                }
            }
        }
        nodes.list.iter_mut().for_each(Node::spawn);
        nodes.list.iter_mut().for_each(Node::wait_until_it_serves);
        nodes.wait_until_all_agree();
        for user in ["romeo", "juliet"] {
            nodes.account(user, user);
        }
        let door = |at: usize| SocketAddr::new(IpAddr::V4(doors[at]), nodes.list[at].ports.direct);
        let mut romeo = Wire::open(&trust(), door(0), "romeo", "r").await.expect("a login");
        let mut juliet = Wire::open(&trust(), door(1), "juliet", "r").await.expect("a login");
        for wire in [&mut romeo, &mut juliet] {
            wire.say("<presence/>").await.expect("it listens");
        }
        wait_for("all see both", || nodes.list.iter().all(|node| node.sessions().len() == 2));
        let mut moving = Moving { nodes, stage, romeo, juliet };
        moving.speak("before").await;
        moving
    }

    /// What one says, the other hears, both ways, on the streams of before.
    async fn speak(&mut self, id: &str) {
        let pairs = [
            (&mut self.romeo, "juliet", id.to_owned() + "1"),
            (&mut self.juliet, "romeo", id.to_owned() + "2"),
        ];
        for (wire, to, id) in pairs {
            let body =
                format!("<message type='chat' to='{to}@{DOMAIN}/r' id='{id}'><body/></message>");
            wire.say(&body).await.expect("it listens");
        }
        for (wire, id) in
            [(&mut self.juliet, id.to_owned() + "1"), (&mut self.romeo, id.to_owned() + "2")]
        {
            let hear = async {
                while let Some(element) = wire.next().await.expect("it is open") {
                    if element.contains(&format!("id='{id}'")) {
                        return assert!(!element.contains("type='error'"), "{element}");
                    }
                }
                panic!("the stream is over");
            };
            tokio::time::timeout(super::support::SOON, hear).await.expect("it comes");
        }
    }

    /// The hosts of these move, and soon all is as it was.
    async fn relocate(mut self, which: &[usize]) {
        let ids: Vec<u32> = self.nodes.list.iter().map(Node::id).collect();
        let begin = Instant::now();
        let now: Vec<_> = which.iter().map(|at| (*at, self.stage.move_host(*at))).collect();
        // links that are lost are not missed at once: agreement must be with
        // the new addresses
        for (at, address) in &now {
            let place = format!("{address}:{}", self.nodes.list[*at].ports.mesh);
            for node in &self.nodes.list {
                let what = format!("{} finds n{at} at {place}", node.name);
                wait_for(&what, || has_direct_link(node, &format!("n{at}"), &place));
            }
        }
        self.nodes.wait_until_all_agree();
        let took = begin.elapsed();
        eprintln!("    members again after {took:?}");
        assert!(took < BACK_MAX, "they were members again only after {took:?}");
        self.speak("after").await;
        for (node, id) in self.nodes.list.iter().zip(ids) {
            assert_eq!(node.sessions().len(), 2, "{}", node.name);
            assert_eq!(node.id(), id);
            let gone = node.log().lines().filter(|line| line.contains("node gone")).count();
            assert_eq!(gone, 0, "{} lost sight of somebody: {}", node.name, node.log());
        }
    }
}

/// Whether a node has this one at this address, by a link of its own.
fn has_direct_link(node: &Node, other: &str, place: &str) -> bool {
    let Some(status) = node.status() else { return false };
    let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
    nodes.iter().any(|one| {
        let is_own = node.name == other;
        one["node"] == other && one["address"] == place && (is_own || !one["protocol"].is_null())
    })
}

/// One of three moves.
pub async fn one() {
    Moving::begin().await.relocate(&[1]).await;
}

/// Two of three move, and only the third tells them where they are.
pub async fn two() {
    Moving::begin().await.relocate(&[0, 1]).await;
}
