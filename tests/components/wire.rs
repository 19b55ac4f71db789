//! A component that says what it likes.

#![allow(dead_code, unreachable_pub)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use sha1::{Digest, Sha1};

use super::support::Node;

/// How long nothing may come before nothing more is expected.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Wire {
    tcp: TcpStream,
    heard: String,
}

impl Wire {
    /// Connects, and says nothing.
    pub fn connect(node: &Node) -> Wire {
        Wire::at(&node.place.host.to_string(), node.ports.component)
    }

    /// As [`Wire::connect`], by another door.
    pub fn at(host: &str, port: u16) -> Wire {
        let tcp = TcpStream::connect((host, port)).expect("it listens");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Wire { tcp, heard: String::new() }
    }

    /// Opens a stream, and waits for the answer to the header.
    pub fn open(node: &Node, to: &str) -> Wire {
        let mut wire = Wire::connect(node);
        wire.say(&header(to));
        wire
    }

    /// A stream that stands.
    #[track_caller]
    pub fn online(node: &Node, to: &str, secret: &str) -> Wire {
        let mut wire = Wire::open(node, to);
        wire.prove(secret);
        wire.hear("<handshake/>");
        wire
    }

    pub fn prove(&mut self, secret: &str) {
        let heard = self.hear("'>");
        self.say(&format!("<handshake>{}</handshake>", proof(&heard, secret)));
    }

    pub fn say(&mut self, words: &str) {
        // the server may have closed while we still speak
        let _ = self.tcp.write_all(words.as_bytes());
    }

    /// Everything up to `end`, or until the stream is closed.
    #[track_caller]
    pub fn hear(&mut self, end: &str) -> String {
        let mut buffer = [0; 65_536];
        loop {
            if !end.is_empty()
                && let Some(at) = self.heard.find(end)
            {
                let rest = self.heard.split_off(at + end.len());
                return std::mem::replace(&mut self.heard, rest);
            }
            match self.tcp.read(&mut buffer) {
                Ok(0) => return std::mem::take(&mut self.heard),
                Ok(count) => self.heard.push_str(&String::from_utf8_lossy(&buffer[..count])),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return std::mem::take(&mut self.heard);
                }
                Err(error) => panic!("{error}; heard {:?}, waited for {end:?}", self.heard),
            }
        }
    }

    /// Whether this has come already.
    pub fn has(&mut self, words: &str) -> bool {
        let mut buffer = [0; 65_536];
        self.tcp.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
        if let Ok(count) = self.tcp.read(&mut buffer) {
            self.heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        self.tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        self.heard.contains(words)
    }

    /// Everything until the server closes.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        self.hear("")
    }
}

/// The proof of a secret, for a server that has said this.
pub fn proof(heard: &str, secret: &str) -> String {
    let id = heard.split(" id='").nth(1).and_then(|rest| rest.split('\'').next());
    let digest = Sha1::new().chain_update(id.expect("an id")).chain_update(secret).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn header(to: &str) -> String {
    let stream = "http://etherx.jabber.org/streams";
    format!("<stream:stream xmlns='jabber:component:accept' xmlns:stream='{stream}' to='{to}'>")
}
