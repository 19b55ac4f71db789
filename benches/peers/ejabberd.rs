//! Debian's ejabberd: one node, or several that know each other.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

use crate::server::{DOMAIN, START_TIME_MAX, Service, command, kill, opens, wait_for_door, write};
use crate::support::{Place, free_port};

/// The word that its nodes know each other by.
const COOKIE: &str = "secret";

/// Where Erlang's nodes find each other's ports. Not 4369: that may be taken.
const MAPPER: u16 = 14_369;

/// One node.
pub struct Node {
    place: Place,
    name: String,
    folder: PathBuf,
    plain: u16,
    direct: u16,
    component: u16,
    child: Option<Child>,
    mapper: Option<Child>,
}

/// Nodes that know each other.
pub struct Ejabberd {
    pub nodes: Vec<Node>,
}

impl Ejabberd {
    /// A node at each place, all joined to the first.
    pub fn start(places: Vec<Place>, folder: &Path, papers: &Path) -> Ejabberd {
        let mut nodes: Vec<Node> = Vec::new();
        for (at, place) in places.into_iter().enumerate() {
            let name = format!("n{at}@{}", place.host);
            let folder = folder.join(format!("ejabberd{at}"));
            fs::create_dir_all(folder.join("data")).expect("writable");
            let (plain, direct, component) = (free_port(), free_port(), free_port());
            write(&folder.join("ejabberd.yml"), &config(plain, direct, component, papers));
            let (child, mapper) = (None, None);
            let mut node = Node { place, name, folder, plain, direct, component, child, mapper };
            assert!(node.start(), "{} does not start", node.name);
            nodes.push(node);
        }
        let ejabberd = Ejabberd { nodes };
        let first = ejabberd.nodes[0].name.clone();
        for node in &ejabberd.nodes[1..] {
            let join = format!("rpc:call('{}',ejabberd_cluster,join,['{first}'])", node.name);
            assert_eq!(ejabberd.nodes[0].eval(&join), "ok", "{} does not join", node.name);
        }
        ejabberd
    }

    /// Makes accounts whose passwords are their names.
    pub fn people(&self, names: &[&str]) {
        let first = &self.nodes[0];
        for name in names {
            let words = format!("<<\"{name}\">>,<<\"{DOMAIN}\">>,<<\"{name}\">>");
            first.eval(&format!("rpc:call('{}',ejabberd_auth,try_register,[{words}])", first.name));
        }
    }

    /// Where components come in.
    pub fn component_ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.component).collect()
    }

    /// Whether the first node sees all in time.
    fn sees_all(&self) -> bool {
        let first = &self.nodes[0];
        let count = self.nodes.len().to_string();
        let words =
            format!("length(rpc:call('{}',mnesia,system_info,[running_db_nodes]))", first.name);
        let begin = Instant::now();
        while first.eval(&words) != count {
            if begin.elapsed() > START_TIME_MAX {
                return false;
            }
        }
        true
    }
}

impl Service for Ejabberd {
    fn name(&self) -> &'static str {
        "ejabberd"
    }

    fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| Some(node.child.as_ref()?.id())).collect()
    }

    fn doors(&self, tls: bool) -> Vec<SocketAddr> {
        let port = |node: &Node| if tls { node.direct } else { node.plain };
        self.nodes.iter().map(|node| (node.place.host, port(node)).into()).collect()
    }

    fn component_door(&self) -> Option<SocketAddr> {
        let first = self.nodes.first()?;
        Some((first.place.host, first.component).into())
    }

    fn heal(&mut self) -> bool {
        let [_, .., last] = &mut self.nodes[..] else { return true };
        last.kill();
        last.start() && self.sees_all()
    }

    fn kill_last(&mut self) {
        self.nodes.last_mut().expect("a node").kill();
    }
}

impl Node {
    fn start(&mut self) -> bool {
        if TcpStream::connect((self.place.host, MAPPER)).is_err() {
            let mut mapper = command(&self.place.wrap, "epmd");
            mapper.args(["-port", &MAPPER.to_string()]);
            self.mapper = Some(mapper.spawn().expect("erlang is there"));
            wait_for_door((self.place.host, MAPPER).into(), "epmd");
        }
        // one core is one scheduler: more would only wait for each other
        let is_bound = self.place.wrap.iter().any(|word| word == "taskset");
        let mut erl = command(&self.place.wrap, "erl");
        erl.args(["-noinput", "-start_epmd", "false", "-name", &self.name, "-setcookie", COOKIE])
            .args(["+K", "true", "+P", "250000", "+Q", "250000"])
            .args(if is_bound { &["+S", "1"][..] } else { &[] })
            .args(["-mnesia", "dir"])
            .arg(format!("\"{}\"", self.folder.join("data").display()))
            .args(["-s", "ejabberd"])
            .env("ERL_EPMD_PORT", MAPPER.to_string())
            .env("ERL_MAX_PORTS", "250000")
            .env("EJABBERD_CONFIG_PATH", self.folder.join("ejabberd.yml"))
            .env("EJABBERD_LOG_PATH", self.folder.join("log"))
            .env("ERL_CRASH_DUMP", self.folder.join("dump"))
            .env("ERL_LIBS", "/usr/lib/x86_64-linux-gnu")
            .env("HOME", &self.folder)
            .current_dir(&self.folder);
        self.child = Some(erl.spawn().expect("erlang is there"));
        opens((self.place.host, self.plain).into()) && self.has_started()
    }

    /// Its doors open before it is all there, and who joins others before that
    /// waits for itself for ever.
    fn has_started(&self) -> bool {
        let words = format!(
            "lists:keymember(ejabberd,1,rpc:call('{}',application,which_applications,[]))",
            self.name
        );
        let begin = Instant::now();
        while self.eval(&words) != "true" {
            if begin.elapsed() > START_TIME_MAX {
                return false;
            }
        }
        true
    }

    /// As a crash would.
    pub fn kill(&mut self) {
        kill(&mut self.child);
    }

    /// What an expression comes to, beside the nodes.
    fn eval(&self, words: &str) -> String {
        let whole = format!("io:format(\"~w\",[{words}]),halt().");
        let name = format!("ctl{}@{}", rand::random::<u32>(), self.place.host);
        let mut erl = command(&self.place.wrap, "erl");
        erl.args(["-noinput", "-hidden", "-start_epmd", "false", "-name", &name])
            .args(["-setcookie", COOKIE, "-eval", &whole])
            .env("ERL_EPMD_PORT", MAPPER.to_string())
            .env("HOME", &self.folder);
        let said = erl.stdout(Stdio::piped()).output().expect("erlang is there");
        String::from_utf8_lossy(&said.stdout).into_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        kill(&mut self.mapper);
    }
}

/// Debian's defaults, but for limits that a load would only measure: shapers,
/// sessions of a user, and a queue of 5 for new connections. Passwords are kept
/// as SCRAM keys, as ours are: without that each login costs it 10 ms. Components
/// in the words of `benches/components.rs`.
fn config(plain: u16, direct: u16, component: u16, papers: &Path) -> String {
    format!(
        "hosts:\n  - {DOMAIN}\nloglevel: error\ncertfiles:\n  - {papers:?}\nlisten:\n\
         \x20 - {{ port: {plain}, module: ejabberd_c2s, shaper: none, \
         backlog: 1024 }}\n\
         \x20 - {{ port: {direct}, module: ejabberd_c2s, tls: true, shaper: none, \
         backlog: 1024 }}\n\
         \x20 - {{ port: {component}, module: ejabberd_service, shaper: none, \
         hosts: {{ gw.localhost: {{ password: s3cret }}, \
         echo.localhost: {{ password: s3cret }} }} }}\n\
         domain_balancing:\n  gw.localhost: {{ type: bare_source, component_number: 12 }}\n\
         auth_method: internal\nauth_password_format: scram\nauth_scram_hash: sha\n\
         registration_timeout: infinity\n\
         shaper_rules:\n  max_user_sessions: infinity\n  max_user_offline_messages: 5000\n\
         modules:\n  mod_roster: {{}}\n  mod_offline: {{}}\n  mod_ping: {{}}\n\
         \x20 mod_register: {{ ip_access: all }}\n"
    )
}
