//! Our own nodes, as the peers are: processes, from outside.

use std::net::SocketAddr;

use crate::server::Service;
use crate::support::{self, Nodes, Place};

/// Some nodes.
pub struct Ours {
    pub nodes: Nodes,
}

/// What the load needs, and no operator should have.
const OPEN: &str = "[register]\nenabled = true\n\
    per_address_max = 1000000\n[session_manager]\nsessions_per_user_max = 1000\n\
    [component.domains.\"echo.localhost\"]\nsecret = \"s3cret\"\n";

impl Ours {
    pub fn start(places: Vec<Place>) -> Ours {
        Ours::start_with(places, "")
    }

    /// With more in the configuration of each.
    pub fn start_with(places: Vec<Place>, extra: &str) -> Ours {
        let mut nodes = Nodes::prepare_at(places, &format!("{OPEN}{extra}"));
        for node in &mut nodes.list {
            // as the peers: a line for each session is not what is measured
            node.place.environment.push(("JABIRU_LOG__LEVEL".into(), "warn".into()));
            node.configure("[c2s]", "[c2s]\nrequire_tls = false");
            node.start();
        }
        nodes.wait_until_all_agree();
        Ours { nodes }
    }
}

impl Service for Ours {
    fn name(&self) -> &'static str {
        "Jabiru"
    }

    fn pids(&self) -> Vec<u32> {
        self.nodes.list.iter().filter(|node| node.runs()).map(support::Node::id).collect()
    }

    fn doors(&self, tls: bool) -> Vec<SocketAddr> {
        let port = |node: &support::Node| if tls { node.ports.direct } else { node.ports.plain };
        self.nodes.list.iter().map(|node| (node.place.host, port(node)).into()).collect()
    }

    fn component_door(&self) -> Option<SocketAddr> {
        let first = self.nodes.list.first()?;
        Some((first.place.host, first.ports.component).into())
    }

    fn heal(&mut self) -> bool {
        for node in self.nodes.list.iter_mut().filter(|node| !node.runs()) {
            node.start();
        }
        self.nodes.wait_until_all_agree();
        true
    }

    fn kill_last(&mut self) {
        self.nodes.list.last_mut().expect("a node").kill();
    }
}
