//! A cluster of ours in the world: one domain, by any number of hosts.

use std::net::SocketAddr;

use super::peer::Proof;
use super::support::{self, Nodes};
use super::world::{Papers, World};

/// What it serves.
pub const OURS: &str = "jabiru.test";

/// The people on it; the password of everybody is their name.
pub const PEOPLE: [&str; 2] = ["romeo", "juliet"];

/// The cluster.
pub struct Ours {
    pub nodes: Nodes,
}

impl Ours {
    /// On the first hosts of the world.
    pub fn start(world: &World, count: usize, papers: &Papers, proof: Proof, more: &str) -> Ours {
        let places = (0..count).map(|at| world.place(at)).collect();
        let manager = format!(
            "[s2s_manager]\nprivate_addresses = true\ndialback = {}\nroots = {:?}\n{more}\n",
            proof == Proof::Dialback,
            world.root()
        );
        let mut nodes = Nodes::prepare_at(places, "");
        let tls = support::tls();
        for node in &mut nodes.list {
            node.configure(
                "domains = [\"localhost\", \"other.localhost\"]",
                &format!("domains = [\"{OURS}\"]"),
            );
            node.configure("[s2s]\nlisten = []\ndirect_tls_listen = []\n", "");
            node.configure("[s2s_manager]\nenabled = false\n", &manager);
            let path = |name: &str| format!("{:?}", tls.join(name));
            node.configure(&path("cert.pem"), &format!("{:?}", papers.chain));
            node.configure(&path("key.pem"), &format!("{:?}", papers.key));
            node.start();
        }
        nodes.wait_until_all_agree();
        for name in PEOPLE {
            nodes.list[0].jabiru(&["user", "add", &format!("{name}@{OURS}")], name);
        }
        Ours { nodes }
    }

    /// Where clients of a node come in, by TLS.
    pub fn door(&self, at: usize) -> SocketAddr {
        let node = &self.nodes.list[at];
        (node.place.host, node.ports.direct).into()
    }
}
