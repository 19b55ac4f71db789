//! A cluster of real processes on loopback, for tests that look from outside.

#![allow(dead_code, unreachable_pub)]

pub mod client;
pub mod disk;
pub mod raw;
pub mod slix;
pub mod wire;

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longer than anything here takes, on a machine that is busy as well.
pub const SOON: Duration = Duration::from_secs(20);

/// What all test clusters serve.
pub const DOMAIN: &str = "localhost";

pub const JABIRU: &str = env!("CARGO_BIN_EXE_jabiru");

/// Some nodes that share a cookie.
pub struct Nodes {
    pub list: Vec<Node>,
    pub folder: TempDir,
    extra: String,
}

/// One node, running or not.
pub struct Node {
    pub name: String,
    pub folder: PathBuf,
    pub ports: Ports,
    pub place: Place,
    child: Option<Child>,
}

/// Where and how a node runs.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address that it listens on.
    pub host: IpAddr,
    /// The program: this build, or another.
    pub program: String,
    /// The words before its command: into a namespace, under a limit.
    pub wrap: Vec<String>,
    /// What its environment has besides ours.
    pub environment: Vec<(String, String)>,
}

impl Default for Place {
    /// This build on loopback.
    fn default() -> Self {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let program = JABIRU.to_owned();
        Self { host, program, wrap: Vec::new(), environment: Vec::new() }
    }
}

/// Where it listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub mesh: u16,
    pub plain: u16,
    pub direct: u16,
    pub http: u16,
    pub component: u16,
}

/// The folder with the authority that clients in tests trust.
pub fn tls() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tests");
    let folder = root.join("tls");
    if !folder.join("ca.pem").exists() {
        fs::create_dir_all(&root).expect("writable");
        let made = tempfile::tempdir_in(&root).expect("writable").keep();
        let made = made.join("tls");
        let out = made.to_str().expect("a text");
        succeed(&["cert", "--domain", DOMAIN, "--domain", "other.localhost", "--out", out], "");
        // whoever is first wins; the others use what is there
        let _ = fs::rename(&made, &folder);
    }
    folder
}

/// A port that is free now, and stays so while a node is down: below those
/// that the kernel gives to clients, and apart from those of other processes.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next =
            std::process::id().wrapping_mul(41).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + (next % 22_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Ports that are free now.
pub fn ports() -> Ports {
    Ports {
        mesh: free_port(),
        plain: free_port(),
        direct: free_port(),
        http: free_port(),
        component: free_port(),
    }
}

/// Runs a command of ours.
pub fn run(args: &[&str], input: &str) -> Output {
    run_by(JABIRU, args, input)
}

/// Runs a command of whatever build.
pub fn run_by(program: &str, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    // a command that reads nothing may have ended
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// Runs a command that must succeed, and gives back what it printed.
#[track_caller]
pub fn succeed(args: &[&str], input: &str) -> String {
    printed(args, &run(args, input))
}

#[track_caller]
fn printed(args: &[&str], output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Waits for a state.
#[track_caller]
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < SOON, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Nodes {
    /// So many nodes, started one after the other, that all agree.
    pub fn start(count: usize) -> Nodes {
        Nodes::start_with(count, "")
    }

    /// As above; `extra` is added to each configuration, whose last section is
    /// `[sasl]`.
    pub fn start_with(count: usize, extra: &str) -> Nodes {
        let mut nodes = Nodes::prepare(count, extra);
        for node in &mut nodes.list {
            node.start();
        }
        nodes.wait_until_all_agree();
        nodes
    }

    /// Nodes that have not been started.
    pub fn prepare(count: usize, extra: &str) -> Nodes {
        Nodes::prepare_at(vec![Place::default(); count], extra)
    }

    /// As above, one node at each of these places.
    pub fn prepare_at(places: Vec<Place>, extra: &str) -> Nodes {
        let folder = tempfile::tempdir().expect("a folder");
        let cookie = folder.path().join("cookie");
        succeed(&["cookie", "--write", cookie.to_str().expect("text")], "");
        let mut nodes = Nodes { folder, list: Vec::new(), extra: extra.to_owned() };
        let ports: Vec<Ports> = places.iter().map(|_| ports()).collect();
        let seeds: Vec<String> = places
            .iter()
            .zip(&ports)
            .map(|(place, ports)| format!("\"{}:{}\"", place.host, ports.mesh))
            .collect();
        for (at, (place, port)) in places.into_iter().zip(ports).enumerate() {
            let name = format!("n{at}");
            let folder = nodes.folder.path().join(&name);
            fs::create_dir_all(&folder).expect("writable");
            fs::write(folder.join("jabiru.toml"), nodes.config(&name, place.host, port, &seeds))
                .expect("writable");
            nodes.list.push(Node { name, folder, ports: port, place, child: None });
        }
        nodes
    }

    fn config(&self, name: &str, host: IpAddr, ports: Ports, seeds: &[String]) -> String {
        let tls = tls();
        format!(
            "[server]\ndomains = [\"{DOMAIN}\", \"other.localhost\"]\n\
             [[tls]]\ncertificate = {:?}\nkey = {:?}\n\
             [c2s]\nlisten = [\"{host}:{}\"]\ndirect_tls_listen = [\"{host}:{}\"]\n\
             [s2s]\nlisten = []\ndirect_tls_listen = []\n\
             [s2s_manager]\nenabled = false\n\
             [cluster]\nname = \"{name}\"\nlisten = \"{host}:{}\"\nseeds = [{}]\n\
             cookie_file = \"../cookie\"\n\
             [component]\nlisten = [\"{host}:{}\"]\n\
             [admin]\nsocket = \"control.sock\"\nhttp_listen = [\"{host}:{}\"]\n\
             [sasl]\niterations = 4096\n{}\n",
            tls.join("cert.pem"),
            tls.join("key.pem"),
            ports.plain,
            ports.direct,
            ports.mesh,
            seeds.join(", "),
            ports.component,
            ports.http,
            self.extra,
        )
    }

    /// Makes an account; all nodes have it then.
    pub fn account(&self, user: &str, password: &str) {
        let node = self.list.iter().find(|node| node.runs()).expect("a node runs");
        let jid = format!("{user}@{DOMAIN}");
        node.jabiru(&["user", "add", &jid], password);
    }

    /// All nodes that run say that they agree, and that all serve.
    #[track_caller]
    pub fn wait_until_all_agree(&self) {
        let running: Vec<usize> = (0..self.list.len()).filter(|at| self.list[*at].runs()).collect();
        self.wait_until_those_agree(&running);
    }

    /// These say that they agree, whoever else runs, and that all serve.
    #[track_caller]
    pub fn wait_until_those_agree(&self, those: &[usize]) {
        let wanted = match those.len() {
            1 => "1 node, alone".to_owned(),
            count => format!("{count} nodes, all agree"),
        };
        for node in those.iter().map(|at| &self.list[*at]) {
            wait_for(&format!("{} says: {wanted}", node.name), || {
                let Some(status) = node.status() else { return false };
                let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
                let is_serving = |node: &serde_json::Value| node["state"] == "serving";
                status["verdict"] == *wanted && nodes.iter().all(is_serving)
            });
        }
    }
}

impl Node {
    /// Starts it and waits until it serves.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_until_it_serves();
    }

    /// Waits until it serves; it has been spawned.
    pub fn wait_until_it_serves(&mut self) {
        let name = self.name.clone();
        wait_for(&format!("{name} serves"), || {
            let ended = self
                .child
                .as_mut()
                .is_some_and(|child| child.try_wait().is_ok_and(|end| end.is_some()));
            assert!(!ended, "{name} has ended:\n{}", self.log());
            self.status().is_some()
        });
    }

    /// Starts it, whatever becomes of it.
    pub fn spawn(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .expect("writable");
        let program = self.place.program.as_str();
        let mut words = self.place.wrap.iter().map(String::as_str).chain([program]);
        let child = Command::new(words.next().expect("a command"))
            .args(words)
            .args(["serve", "-c"])
            .arg(self.folder.join("jabiru.toml"))
            .envs(self.place.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        self.child = Some(child);
    }

    /// Changes its configuration before it starts.
    pub fn configure(&self, from: &str, to: &str) {
        let path = self.folder.join("jabiru.toml");
        let text = fs::read_to_string(&path).expect("a config");
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(&path, text.replace(from, to)).expect("writable");
    }

    /// Whether its configuration has these words.
    pub fn says(&self, words: &str) -> bool {
        let path = self.folder.join("jabiru.toml");
        fs::read_to_string(path).expect("a config").contains(words)
    }

    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// As a crash would.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it is ours");
        child.wait().expect("it has ended");
    }

    /// Takes it out of our hands, for whoever kills it while others use it.
    pub fn doom(&mut self) -> Doomed {
        Doomed(self.child.take().expect("it runs"))
    }

    /// In good order.
    pub fn stop(&mut self) {
        self.jabiru(&["stop"], "");
        let mut child = self.child.take().expect("it runs");
        assert!(child.wait().expect("it ends").success(), "{}", self.log());
    }

    /// Waits until it has ended by itself, and gives back its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.take().expect("it runs").wait().expect("it ends").code()
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub fn socket(&self) -> String {
        self.folder.join("control.sock").display().to_string()
    }

    /// Runs a command that this node carries out.
    #[track_caller]
    pub fn jabiru(&self, args: &[&str], input: &str) -> String {
        printed(args, &self.run(args, input))
    }

    /// Has a command that it may refuse carried out, by the program that it is.
    fn run(&self, args: &[&str], input: &str) -> Output {
        run_by(&self.place.program, &self.with_socket(args), input)
    }

    fn with_socket<'a>(&self, args: &[&'a str]) -> Vec<&'a str> {
        let socket: &'static str =
            Box::leak(format!("--socket={}", self.socket()).into_boxed_str());
        let (command, rest) = args.split_first().expect("a command");
        [&[*command, socket], rest].concat()
    }

    /// What `jabiru status --json` says.
    pub fn status(&self) -> Option<serde_json::Value> {
        let output = self.run(&["status", "--json"], "");
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Who sees whom, and who has asked whom, as the node knows it of one
    /// contact of an account; nothing: it does not answer.
    pub fn standing(&self, account: &str, contact: &str) -> Option<(String, String)> {
        use std::io::{BufRead, BufReader, Write};
        let socket = self.folder.join("control.sock");
        let mut socket = std::os::unix::net::UnixStream::connect(socket).ok()?;
        let ask = serde_json::json!({ "do": "roster", "account": account });
        writeln!(socket, "{ask}").ok()?;
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).ok()?;
        let answer: serde_json::Value = serde_json::from_str(&line).ok()?;
        let contacts = answer["contacts"].as_array()?;
        let found = contacts.iter().find(|one| one["jid"] == contact);
        let word = |name: &str| Some(found?[name].as_str()?.to_owned());
        Some((word("subscription").unwrap_or("none".into()), word("pending").unwrap_or_default()))
    }

    pub fn verdict(&self) -> Option<String> {
        Some(self.status()?.get("verdict")?.as_str()?.to_owned())
    }

    /// What it answers by HTTP.
    pub fn http(&self, path: &str) -> String {
        let mut tcp = TcpStream::connect((self.place.host, self.ports.http)).expect("it listens");
        write!(tcp, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// Its accounts.
    pub fn accounts(&self) -> Vec<String> {
        self.jabiru(&["user", "list"], "").lines().map(str::to_owned).collect()
    }

    /// How many sessions it sees, on all nodes.
    pub fn sessions(&self) -> Vec<String> {
        let output = self.run(&["sessions", "--json", "--limit", "100000"], "");
        let lines: Vec<serde_json::Value> =
            serde_json::from_slice(&output.stdout).unwrap_or_default();
        let jid = |line: &serde_json::Value| Some(line.get("jid")?.as_str()?.to_owned());
        lines.iter().filter_map(jid).collect()
    }
}

/// A node that will be killed; if nobody has by then, when this is dropped.
pub struct Doomed(Child);

impl Doomed {
    /// As a crash would.
    pub fn kill(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it has ended");
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        // it may have ended already
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.name, self.log());
        }
    }
}
