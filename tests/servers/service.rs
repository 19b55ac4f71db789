//! A service of ours: some nodes with a domain, and where others find it.

use crate::servers::authority::{Authority, Shown};
use crate::servers::dns::Dns;
use crate::support::{Nodes, free_port, wait_for};

/// What all people of the tests know.
pub const PASSWORD: &str = "secret";

/// A service that shall be.
pub struct Plan {
    domain: &'static str,
    nodes: usize,
    shown: Shown,
    rules: String,
    more: String,
    peers: String,
    is_in_dns: bool,
    ports: Vec<Port>,
}

/// Where a node listens for other servers.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    pub starttls: u16,
    pub direct: u16,
}

/// A service that is.
pub struct Service {
    pub domain: &'static str,
    pub nodes: Nodes,
    pub ports: Vec<Port>,
}

impl Plan {
    pub fn new(domain: &'static str) -> Plan {
        let plan = Plan {
            domain,
            nodes: 1,
            shown: Shown::Valid,
            rules: String::new(),
            more: String::new(),
            peers: String::new(),
            is_in_dns: false,
            ports: Vec::new(),
        };
        plan.nodes(1)
    }

    pub fn nodes(self, nodes: usize) -> Plan {
        let port = |_| Port { starttls: free_port(), direct: free_port() };
        Plan { nodes, ports: (0..nodes).map(port).collect(), ..self }
    }

    pub fn shows(self, shown: Shown) -> Plan {
        Plan { shown, ..self }
    }

    /// Lines of `[s2s_manager]`.
    pub fn rules(self, rules: &str) -> Plan {
        Plan { rules: format!("{}{rules}\n", self.rules), ..self }
    }

    /// Others find it by DNS alone.
    pub fn in_dns(self) -> Plan {
        Plan { is_in_dns: true, ..self }
    }

    /// Asks this name server.
    pub fn asks(self, dns: &Dns) -> Plan {
        self.rules(&format!("resolvers = ['127.0.0.1:{}']", dns.port))
    }

    /// Where it looks for somebody who is no service of ours.
    pub fn peer(self, domain: &str, port: u16) -> Plan {
        Plan { peers: format!("{}{domain:?} = ['127.0.0.1:{port}']\n", self.peers), ..self }
    }

    /// Whole sections.
    pub fn more(self, more: &str) -> Plan {
        Plan { more: format!("{}{more}\n", self.more), ..self }
    }

    pub fn ports(&self) -> Vec<Port> {
        self.ports.clone()
    }
}

/// Starts them all; each knows where the others are.
pub fn start(plans: Vec<Plan>) -> Vec<Service> {
    let services = prepare(plans);
    services.into_iter().map(Service::started).collect()
}

/// As above, not started.
pub fn prepare(plans: Vec<Plan>) -> Vec<Service> {
    let authority = Authority::new();
    let hosts: Vec<String> = plans
        .iter()
        .filter(|plan| !plan.is_in_dns)
        .map(|plan| {
            let at = plan.ports.iter().map(|port| format!("\"127.0.0.1:{}\"", port.starttls));
            let at = at.collect::<Vec<_>>().join(", ");
            let names = plan.names();
            let lines = names.iter().map(|name| format!("{name:?} = [{at}]\n"));
            lines.collect::<String>()
        })
        .collect();
    let hosts = hosts.concat();
    plans.into_iter().map(|plan| plan.prepare(&authority, &hosts)).collect()
}

impl Plan {
    /// All domains that it serves.
    fn names(&self) -> Vec<String> {
        let others = match &self.shown {
            Shown::Names(names) => names.clone(),
            _ => Vec::new(),
        };
        std::iter::once(self.domain.to_owned()).chain(others).collect()
    }

    fn prepare(self, authority: &Authority, hosts: &str) -> Service {
        let names = self.names();
        let Plan { domain, nodes, shown, rules, more, peers, ports, is_in_dns: _ } = self;
        let nodes = Nodes::prepare(nodes, &more);
        let tls = authority.write(nodes.folder.path(), domain, &shown);
        for (node, port) in nodes.list.iter().zip(&ports) {
            let ours = |file: &str| format!("{:?}", tls.join(file));
            let theirs = |file: &str| format!("{:?}", crate::support::tls().join(file));
            node.configure("[\"localhost\", \"other.localhost\"]", &format!("{names:?}"));
            for file in ["cert.pem", "key.pem"] {
                node.configure(&theirs(file), &ours(file));
            }
            node.configure("[c2s]", "[c2s]\nrequire_tls = false");
            let Port { starttls, direct } = port;
            let listen = format!(
                "listen = [\"127.0.0.1:{starttls}\"]\ndirect_tls_listen = [\"127.0.0.1:{direct}\"]"
            );
            node.configure("listen = []\ndirect_tls_listen = []", &listen);
            let roots = ours("ca.pem");
            // whom nobody asks: no test depends on the world outside
            let rules = match rules.contains("resolvers") {
                true => rules.clone(),
                false => format!("resolvers = ['127.0.0.1:{}']\n{rules}", free_port()),
            };
            let table = format!("{rules}roots = {roots}\n[s2s_manager.hosts]\n{hosts}{peers}");
            node.configure("enabled = false\n", &table);
        }
        Service { domain, nodes, ports }
    }
}

impl Service {
    pub fn started(mut self) -> Service {
        for node in &mut self.nodes.list {
            node.start();
        }
        self.nodes.wait_until_all_agree();
        self
    }

    /// Makes an account.
    pub fn account(&self, user: &str) -> String {
        let jid = format!("{user}@{}", self.domain);
        let node = self.nodes.list.iter().find(|node| node.runs()).expect("a node runs");
        node.jabiru(&["user", "add", &jid], PASSWORD);
        jid
    }

    /// Some node says so, soon.
    #[track_caller]
    pub fn logged(&self, words: &str) {
        wait_for(words, || self.has_logged(words));
    }

    pub fn has_logged(&self, words: &str) -> bool {
        let plain = |text: String| {
            text.replace("\u{1b}[3m", "").replace("\u{1b}[0m", "").replace("\u{1b}[2m", "")
        };
        self.nodes.list.iter().any(|node| plain(node.log()).contains(words))
    }
}
