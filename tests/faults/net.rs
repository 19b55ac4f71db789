//! The stage: a network namespace for each node, all on one bridge, and what
//! cuts them off from each other. Clients come from the host, by the bridge's
//! own address: a fault between nodes never touches them.
//!
//! What is dropped is dropped where it arrives: a rule where it leaves would
//! be an error for who sends, not a loss.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::support::Place;

/// All that a stage makes begins with this and the number of its process, so
/// that what a killed run has left is found and removed.
const PREFIX: &str = "jf";

/// The chain of rules that a fault adds to, and that its end empties.
const CHAIN: &str = "INPUT";

/// Namespaces, as many as nodes; they go when this is dropped.
pub struct Stage {
    name: String,
    subnet: [u8; 3],
    count: usize,
}

/// Whether this machine lets us make namespaces. Where it does not, that is a
/// failure, unless whoever runs the tests has said that it shall be none.
pub fn is_allowed() -> bool {
    let probe = format!("{PREFIX}{}-probe", std::process::id());
    let made = try_run("ip", &["netns", "add", &probe]);
    if made {
        run("ip", &["netns", "del", &probe]);
        return true;
    }
    let is_excused = std::env::var_os("JABIRU_WITHOUT_NAMESPACES").is_some();
    assert!(
        is_excused && std::env::var_os("CI").is_none(),
        "this machine forbids network namespaces, so no fault was tested; be root and have \
         iproute2 and iptables (scripts/test installs them), or set \
         JABIRU_WITHOUT_NAMESPACES=1 to go on without these tests"
    );
    eprintln!("no fault was tested: this machine forbids network namespaces");
    false
}

impl Stage {
    /// A namespace for each of so many nodes.
    pub fn build(count: usize) -> Stage {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        remove_leftovers();
        let (process, stage) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let number = process.wrapping_mul(7).wrapping_add(stage).to_le_bytes();
        let subnet = [10, 64 + number[1] % 64, number[0]];
        let stage = Stage { name: format!("{PREFIX}{process}-{stage}"), subnet, count };
        let bridge = stage.name.as_str();
        run("ip", &["link", "add", bridge, "type", "bridge"]);
        run("ip", &["addr", "add", &format!("{}/24", stage.address(254)), "dev", bridge]);
        run("ip", &["link", "set", bridge, "up"]);
        for at in 0..count {
            let space = stage.space(at);
            let cable = format!("{bridge}.{at}");
            run("ip", &["netns", "add", &space]);
            let peer = ["peer", "name", "eth0", "netns", &space];
            run("ip", &[&["link", "add", &cable, "type", "veth"], &peer[..]].concat());
            run("ip", &["link", "set", &cable, "master", bridge, "up"]);
            let address = format!("{}/24", stage.host(at));
            run("ip", &["-n", &space, "addr", "add", &address, "dev", "eth0"]);
            run("ip", &["-n", &space, "link", "set", "lo", "up"]);
            run("ip", &["-n", &space, "link", "set", "eth0", "up"]);
        }
        stage
    }

    /// Where each node runs.
    pub fn places(&self) -> Vec<Place> {
        let place = |at| {
            let wrap = ["ip", "netns", "exec", &self.space(at)].map(str::to_owned).to_vec();
            Place { host: self.host(at).into(), wrap, ..Place::default() }
        };
        (0..self.count).map(place).collect()
    }

    /// The namespace of a node.
    pub fn space(&self, at: usize) -> String {
        format!("{}-{at}", self.name)
    }

    /// The address of a node.
    pub fn host(&self, at: usize) -> Ipv4Addr {
        self.address(u8::try_from(at + 1).expect("few nodes"))
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, last)
    }

    /// Another address of a node, which stays when that of its host changes.
    pub fn side_door(&self, at: usize) -> Ipv4Addr {
        let address = self.address(u8::try_from(at + 151).expect("few nodes"));
        let words = ["addr", "add", &format!("{address}/32"), "dev", "lo"];
        run("ip", &[&["-n", &self.space(at)], &words[..]].concat());
        address
    }

    /// The host of a node has another address from now on, and no more the one
    /// that it had.
    pub fn move_host(&self, at: usize) -> Ipv4Addr {
        let (before, now) = (self.host(at), self.address(u8::try_from(at + 101).expect("few")));
        let space = self.space(at);
        let change = |word, address: Ipv4Addr| {
            run("ip", &["-n", &space, "addr", word, &format!("{address}/24"), "dev", "eth0"]);
        };
        change("del", before);
        change("add", now);
        now
    }

    /// Nothing of `from` reaches `to` any more.
    pub fn cut(&self, from: usize, to: usize) {
        self.rule(to, &["-s", &self.host(from).to_string(), "-j", "DROP"]);
    }

    /// Of what `from` says to `to` so much is lost, by chance.
    pub fn lose(&self, from: usize, to: usize, share: f32) {
        let share = share.to_string();
        let by_chance = ["-m", "statistic", "--mode", "random", "--probability", &share];
        let from = self.host(from).to_string();
        self.rule(to, &[&["-s", &from], &by_chance[..], &["-j", "DROP"]].concat());
    }

    /// What `from` says to `to` waits in this queue of the kernel.
    pub fn queue(&self, from: usize, to: usize, queue: u16) {
        let from = self.host(from).to_string();
        self.rule(to, &["-s", &from, "-j", "NFQUEUE", "--queue-num", &queue.to_string()]);
    }

    /// All that reaches `to` from other nodes passes again.
    pub fn mend(&self, to: usize) {
        self.in_space(to, &["-F", CHAIN]);
    }

    fn rule(&self, to: usize, words: &[&str]) {
        self.in_space(to, &[&["-A", CHAIN], words].concat());
    }

    fn in_space(&self, at: usize, words: &[&str]) {
        let space = self.space(at);
        run("ip", &[&["netns", "exec", &space, "iptables", "-w"], words].concat());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for at in 0..self.count {
            // its cable goes with it
            try_run("ip", &["netns", "del", &self.space(at)]);
        }
        try_run("ip", &["link", "del", &self.name]);
    }
}

/// Removes what runs that were killed have left.
fn remove_leftovers() {
    let words = |command: &[&str]| {
        let said = Command::new("ip").args(command).output().expect("iproute2 is there");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let ours = said.split([' ', ':', '@', '\n']).filter(|word| is_leftover(word));
        ours.map(str::to_owned).collect::<Vec<String>>()
    };
    for space in words(&["netns", "list"]) {
        try_run("ip", &["netns", "del", &space]);
    }
    for bridge in words(&["-o", "link", "show", "type", "bridge"]) {
        try_run("ip", &["link", "del", &bridge]);
    }
}

/// Whether a process made this that has ended.
fn is_leftover(name: &str) -> bool {
    let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
    let process = process.and_then(|number| number.parse::<u32>().ok());
    process.is_some_and(|number| !Path::new(&format!("/proc/{number}")).exists())
}

fn try_run(command: &str, words: &[&str]) -> bool {
    let mut command = Command::new(command);
    let command = command.args(words).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[track_caller]
pub fn run(command: &str, words: &[&str]) {
    let output = Command::new(command).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command} {words:?}: {said}");
}

#[test]
fn what_a_living_process_has_made_is_no_leftover() {
    assert!(is_leftover("jf4294967295-0"));
    assert!(!is_leftover(&format!("jf{}-0-1", std::process::id())));
    assert!(!is_leftover("jf"));
    assert!(!is_leftover("eth0"));
}
