//! The services that plays are played on: real nodes, one or three.
//!
//! Here is also how a play knows that all has been said: see [`Rounds`].

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Client, Fault, PATIENCE, Unmap};
use super::support::{Nodes, run};

/// How long a command may take: changes wait for nodes that have just met.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(30);

/// The password of everybody.
pub const PASSWORD: &str = "secret";

/// A service whose nodes all run, but those that a play has killed.
pub struct Service {
    nodes: RwLock<Nodes>,
}

impl Service {
    pub fn start(count: usize, config: &[(String, String)]) -> Service {
        let mut nodes = Nodes::prepare(count, "");
        for node in &mut nodes.list {
            for (section, line) in config {
                let section = format!("[{section}]\n");
                let text = std::fs::read_to_string(node.folder.join("jabiru.toml"));
                match text.expect("a configuration").contains(&section) {
                    true => node.configure(&section, &format!("{section}{line}\n")),
                    false => node.configure("[server]\n", &format!("{section}{line}\n[server]\n")),
                }
            }
            node.start();
        }
        nodes.wait_until_all_agree();
        Service { nodes: RwLock::new(nodes) }
    }

    fn nodes(&self) -> RwLockReadGuard<'_, Nodes> {
        self.nodes.read().expect("no panic")
    }

    /// How many nodes there were at first.
    pub fn count(&self) -> usize {
        self.nodes().list.len()
    }

    /// The nodes that run.
    fn alive(&self) -> Vec<usize> {
        let nodes = self.nodes();
        (0..nodes.list.len()).filter(|at| nodes.list[*at].runs()).collect()
    }

    /// A stream to one of the nodes.
    pub fn open(&self, node: usize, unmap: Unmap) -> Result<Client, Fault> {
        Client::open(&self.nodes().list[node], unmap)
    }

    /// Kills a node.
    pub fn kill(&self, node: usize) {
        self.nodes.write().expect("no panic").list[node].kill();
    }

    /// Asks one node what an operator would.
    fn control(&self, node: usize, request: &Value) -> Result<Value, Fault> {
        let socket = self.nodes().list[node].socket();
        let ask = || -> std::io::Result<Value> {
            let mut stream = UnixStream::connect(&socket)?;
            stream.set_read_timeout(Some(OPERATOR_PATIENCE))?;
            stream.write_all(format!("{request}\n").as_bytes())?;
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer)?;
            Ok(serde_json::from_str(&answer)?)
        };
        ask().map_err(|error| format!("the control socket of n{node}: {error}"))
    }

    /// Makes an account.
    pub fn account(&self, jid: &str) -> Result<(), Fault> {
        let node = *self.alive().first().ok_or("no node runs")?;
        let request = json!({ "do": "user-add", "account": jid, "password": PASSWORD });
        let answer = self.control(node, &request)?;
        match answer["is"].as_str() {
            Some("done") => Ok(()),
            _ => Err(format!("no account {jid}: {answer}")),
        }
    }

    /// Runs a command on the first node that runs.
    pub fn operate(&self, words: &[String]) -> Result<std::process::Output, Fault> {
        let node = *self.alive().first().ok_or("no node runs")?;
        let socket = format!("--socket={}", self.nodes().list[node].socket());
        let (command, rest) = words.split_first().ok_or("no command")?;
        let args: Vec<&str> =
            [command, &socket].into_iter().chain(rest).map(String::as_str).collect();
        Ok(run(&args, &format!("{PASSWORD}\n")))
    }

    /// Waits until every node sees a session, or none does.
    pub fn wait_for_session(&self, jid: &str, is_there: bool) -> Result<(), Fault> {
        let account = jid.split('/').next();
        let request = json!({ "do": "sessions", "account": account, "limit": 1000 });
        let begin = Instant::now();
        for node in self.alive() {
            loop {
                let answer = self.control(node, &request)?;
                let list = answer["sessions"].as_array().ok_or(format!("no sessions: {answer}"))?;
                if list.iter().any(|session| session["jid"] == jid) == is_there {
                    break;
                }
                if begin.elapsed() > PATIENCE {
                    let sees = if is_there { "does not see" } else { "still sees" };
                    return Err(format!("n{node} {sees} {jid}"));
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        Ok(())
    }
}

/// How a play knows that what was said has had its effect, without a clock.
///
/// In each round a session on every node sends a message to the like session
/// on every node, and waits for all of theirs. Between two nodes order is kept
/// (RFC 6120 §10.1 wants it, and the mesh has one ordered line for the rows and
/// stanzas of a pair of nodes), and a node acts on what comes in the order in
/// which it comes. So after a round everything that was on its way between two
/// nodes has arrived and been acted upon, and what that caused has after the
/// next.
///
/// But a home does not do everything at once: it waits for disks. So every
/// session that is there also asks for something that its account's home
/// answers in the account's turn. A subscription goes from the home of who asks
/// to the home of who is asked, and an answer back; so before silence is
/// believed the homes are asked three times, with two rounds after each.
///
/// An account without a session cannot be asked. If something of it comes too
/// late for all of these, it is heard where nobody expects it, at the next
/// direction or at the end of the play, where nothing may be left. A play
/// passes wrongly only if the server says too much, and later than that.
pub struct Rounds {
    lines: Vec<(usize, Client)>,
    names: Vec<String>,
    count: u64,
}

impl Rounds {
    /// Sessions of `user` on every node that runs.
    pub fn start(service: &Service, user: &str) -> Result<Rounds, Fault> {
        let account = format!("{user}@localhost");
        service.account(&account)?;
        let mut rounds = Rounds { lines: Vec::new(), names: Vec::new(), count: 0 };
        for at in service.alive() {
            let mut client = service.open(at, Box::new(str::to_owned))?;
            client.authenticate(user, PASSWORD)?.map_err(|why| format!("{user}: {why}"))?;
            client.bind(&format!("n{at}"))?;
            rounds.lines.push((at, client));
            rounds.names.push(format!("{account}/n{at}"));
        }
        for name in &rounds.names {
            service.wait_for_session(name, true)?;
        }
        Ok(rounds)
    }

    /// One round.
    pub fn go(&mut self) -> Result<(), Fault> {
        self.count += 1;
        let body = format!("<body>{}</body>", self.count);
        for (_, client) in &mut self.lines {
            for name in &self.names {
                client.say(&format!("<message type='headline' to='{name}'>{body}</message>"));
            }
        }
        let count = self.count.to_string();
        for (_, client) in &mut self.lines {
            for _ in 0..self.names.len() {
                let message = client.next()?;
                let said = message.children.first().map(|body| body.text.as_str());
                if said != Some(count.as_str()) {
                    return Err(format!("round {count} heard {message}"));
                }
            }
        }
        Ok(())
    }

    /// One of its nodes was killed.
    pub fn forget(&mut self, node: usize) {
        self.lines.retain(|(at, _)| *at != node);
        self.names.retain(|name| !name.ends_with(&format!("/n{node}")));
    }
}
