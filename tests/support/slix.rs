//! Clients and components by slixmpp, from PyPI. `scripts/test` makes the
//! Python environment that they need.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::{Node, SOON};

/// Python with some clients.
pub struct Slix {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    pub heard: Vec<String>,
}

impl Slix {
    pub fn start() -> Slix {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(".venv/bin/python");
        assert!(python.exists(), "no Python environment: `scripts/test --setup` makes it");
        let mut child = Command::new(python)
            .arg(root.join("tests/interop/slix.py"))
            .arg(super::tls().join("ca.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Slix { child, input, lines, heard: Vec::new() }
    }

    pub fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it reads");
    }

    pub fn connect(
        &mut self,
        name: &str,
        node: &Node,
        door: &str,
        jid: &str,
        password: &str,
        mechanism: &str,
    ) {
        let port = if door == "direct" { node.ports.direct } else { node.ports.plain };
        self.tell(&format!("connect {name} {jid} {password} {port} {door} {mechanism}"));
    }

    /// A component, by its port on this node.
    pub fn component(&mut self, name: &str, node: &Node, to: &str, secret: &str) {
        self.tell(&format!("component {name} {to} {secret} {}", node.ports.component));
    }

    /// Takes what has been said so far.
    pub fn gather(&mut self) {
        self.heard.extend(self.lines.try_iter());
    }

    /// Waits for a line that begins so.
    #[track_caller]
    pub fn wait_for(&mut self, begin: &str) -> String {
        loop {
            if let Some(at) = self.heard.iter().position(|line| line.starts_with(begin)) {
                return self.heard.remove(at);
            }
            match self.lines.recv_timeout(SOON) {
                Ok(line) => self.heard.push(line),
                Err(_) => panic!("waited in vain for {begin:?}; heard {:?}", self.heard),
            }
        }
    }
}

impl Drop for Slix {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
