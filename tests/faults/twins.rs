//! What both sides of a split do without each other: the same address logs in
//! twice, and rosters change. After the split there is one of everything.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::story::{Story, operate};
use super::support::wire::{Wire, trust};
use super::support::{DOMAIN, SOON};

/// A name that no client of the load has.
pub const TWIN: &str = "twin";

/// Sessions of one full JID, on two sides.
pub struct Twins([Wire; 2]);

impl Twins {
    /// Logs in on both of these nodes.
    pub async fn log_in(story: &Story, nodes: [usize; 2]) -> Twins {
        let trust = trust();
        let mut wires = Vec::new();
        for at in nodes {
            let node = &story.nodes.list[at];
            let address = SocketAddr::new(node.place.host, node.ports.direct);
            let mut wire = Wire::open(&trust, address, TWIN, "x").await.expect("a login");
            wire.say("<presence/>").await.expect("it listens");
            wires.push(wire);
        }
        let second = wires.pop().expect("two");
        Twins([wires.pop().expect("two"), second])
    }

    /// One is told `conflict`, the other goes on; all nodes see one.
    pub async fn one_stays(self, story: &mut Story) {
        let address = format!("{TWIN}@{DOMAIN}/x");
        story
            .wait("all nodes see one twin", |story| {
                let count = |node: &super::support::Node| {
                    node.sessions().iter().filter(|jid| **jid == address).count()
                };
                story.is_whole() && story.nodes.list.iter().all(|node| count(node) == 1)
            })
            .await;
        let mut told = 0;
        for mut wire in self.0 {
            wire.say("<iq type='get' id='end'><ping xmlns='urn:xmpp:ping'/></iq>")
                .await
                .unwrap_or_default();
            let last = timeout(SOON, last(&mut wire)).await.expect("a word in time");
            match last.as_str() {
                "end" => {}
                error if error.contains("<conflict") => told += 1,
                other => panic!("a twin heard {other:?}"),
            }
            // it closes as it should, so that nobody counts it any more
            wire.say("</stream:stream>").await.unwrap_or_default();
            let closed = async { while let Ok(Some(_)) = wire.next().await {} };
            timeout(Duration::from_secs(5), closed).await.expect("it closes");
        }
        assert_eq!(told, 1, "one twin is told that it lost");
    }
}

/// The answer to the last request, or why there is none.
async fn last(wire: &mut Wire) -> String {
    loop {
        match wire.next().await {
            Ok(Some(element)) if element.contains("id='end'") => return "end".into(),
            Ok(Some(element)) if element.starts_with("<stream:error") => return element,
            Ok(Some(_)) => {}
            Ok(None) => return "the end of the stream".into(),
            Err(error) => return error.to_string(),
        }
    }
}

/// Puts a contact into the roster of the twin, on one node.
pub fn befriend(story: &Story, at: usize, contact: &str) {
    let (account, contact) = (format!("{TWIN}@{DOMAIN}"), format!("{contact}@{DOMAIN}"));
    operate(&story.nodes.list[at], &["roster", &account, "add", &contact], "");
}

/// All nodes have all these contacts in the roster of the twin.
pub async fn all_know(story: &mut Story, contacts: &[&str]) {
    let account = format!("{TWIN}@{DOMAIN}");
    story
        .wait("all nodes have the same roster", |story| {
            story.nodes.list.iter().all(|node| {
                let said = operate(node, &["roster", &account, "list"], "");
                contacts.iter().all(|contact| said.contains(&format!("{contact}@{DOMAIN}")))
            })
        })
        .await;
}
