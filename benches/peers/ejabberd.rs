//! A cluster of Debian's ejabberd, each node in a network namespace.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{DOMAIN, Place};

/// The word that its nodes know each other by.
const COOKIE: &str = "secret";

/// Longer than it takes to start.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// One node.
pub struct Node {
    place: Place,
    folder: PathBuf,
    child: Option<Child>,
}

/// Nodes that know each other.
pub struct Ejabberd {
    pub nodes: Vec<Node>,
}

impl Ejabberd {
    /// A node at each place, all joined to the first, with these people, whose
    /// passwords are their names.
    pub fn start(places: Vec<Place>, folder: &Path, papers: &Path, people: &[&str]) -> Ejabberd {
        let mut nodes = Vec::new();
        for (at, place) in places.into_iter().enumerate() {
            let folder = folder.join(format!("ejabberd{at}"));
            fs::create_dir_all(folder.join("data")).expect("writable");
            let config = format!(
                "hosts:\n  - {DOMAIN}\nloglevel: warning\ncertfiles:\n  - {papers:?}\n\
                 listen:\n\
                 \x20 - {{ port: 5223, module: ejabberd_c2s, tls: true, shaper: none }}\n\
                 auth_method: internal\nmodules:\n  mod_roster: {{}}\n  mod_offline: {{}}\n\
                 \x20 mod_ping: {{}}\n"
            );
            fs::write(folder.join("ejabberd.yml"), config).expect("writable");
            let mut node = Node { place, folder, child: None };
            node.start();
            nodes.push(node);
        }
        let ejabberd = Ejabberd { nodes };
        let first = ejabberd.nodes[0].name();
        for node in &ejabberd.nodes[1..] {
            let join = format!("rpc:call('{}',ejabberd_cluster,join,['{first}'])", node.name());
            assert_eq!(ejabberd.nodes[0].eval(&join), "ok", "{} does not join", node.name());
        }
        for name in people {
            let words = format!("<<\"{name}\">>,<<\"{DOMAIN}\">>,<<\"{name}\">>");
            ejabberd.nodes[0]
                .eval(&format!("rpc:call('{first}',ejabberd_auth,try_register,[{words}])"));
        }
        ejabberd
    }

    /// Waits until the first node sees so many, itself among them.
    pub fn wait_for_all(&self) {
        let count = self.nodes.len();
        let words = format!(
            "length(rpc:call('{}',mnesia,system_info,[running_db_nodes]))",
            self.nodes[0].name()
        );
        let begin = Instant::now();
        while self.nodes[0].eval(&words) != count.to_string() {
            assert!(begin.elapsed() < START_TIME_MAX, "its nodes do not find each other");
        }
    }
}

impl Node {
    pub fn start(&mut self) {
        let mut command = self.command("erl");
        command
            .args(["-noinput", "-name", &self.name(), "-setcookie", COOKIE, "-mnesia", "dir"])
            .arg(format!("\"{}\"", self.folder.join("data").display()))
            .args(["-s", "ejabberd"])
            .env("EJABBERD_CONFIG_PATH", self.folder.join("ejabberd.yml"))
            .env("EJABBERD_LOG_PATH", self.folder.join("log"))
            .env("ERL_CRASH_DUMP", self.folder.join("dump"))
            .env("ERL_LIBS", "/usr/lib/x86_64-linux-gnu")
            .env("HOME", &self.folder)
            .current_dir(&self.folder);
        self.child = Some(command.spawn().expect("erlang is there"));
        let begin = Instant::now();
        while TcpStream::connect(self.door()).is_err() {
            assert!(begin.elapsed() < START_TIME_MAX, "{} does not start", self.name());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Where its clients come in, by TLS.
    pub fn door(&self) -> SocketAddr {
        (self.place.host, 5223).into()
    }

    fn name(&self) -> String {
        format!("ejabberd@{}", self.place.host)
    }

    /// What an expression comes to, beside the nodes.
    fn eval(&self, words: &str) -> String {
        let whole = format!("io:format(\"~w\",[{words}]),halt().");
        let name = format!("ctl{}@{}", rand::random::<u32>(), self.place.host);
        let mut command = self.command("erl");
        command.args([
            "-noinput",
            "-hidden",
            "-name",
            &name,
            "-setcookie",
            COOKIE,
            "-eval",
            &whole,
        ]);
        let said = command.env("HOME", &self.folder).stdout(Stdio::piped()).output();
        String::from_utf8_lossy(&said.expect("erlang is there").stdout).into_owned()
    }

    fn command(&self, command: &str) -> Command {
        let (first, rest) = self.place.wrap.split_first().expect("a namespace");
        let mut whole = Command::new(first);
        whole.args(rest).arg(command);
        whole.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        whole
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        // Erlang's port mapper stays behind in the namespace
        let IpAddr::V4(_) = self.place.host else { return };
        let space = self.place.wrap.last().expect("a namespace");
        let pids = Command::new("ip").args(["netns", "pids", space]).output().expect("iproute2");
        for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
            let _ = Command::new("kill").args(["-9", pid]).status();
        }
    }
}
