//! Somebody with a client: asks, answers what it must, and goes to another
//! node when its own is gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use jabiru::xml::element::Element;
use jabiru::xml::framer::{Frame, Framer};
use jabiru::xml::limits::Limits;

use crate::support::raw::Raw;
use crate::support::{Node, SOON};

const CLIENT: &str = "jabber:client";
const ROSTER: &str = "jabber:iq:roster";

/// The connection is gone.
#[derive(Debug)]
pub struct Broken;

/// A contact as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    pub name: String,
    pub groups: BTreeSet<String>,
    pub subscription: String,
    pub is_asked: bool,
    pub is_approved: bool,
}

pub type Roster = BTreeMap<String, Shown>;

pub struct Person {
    pub jid: String,
    user: String,
    raw: Raw,
    framer: Framer,
    buffer: BytesMut,
    answers: VecDeque<Element>,
    asked: u64,
}

impl Person {
    pub fn come(node: &Node, user: &str) -> Person {
        let (raw, framer) = connect(node, user);
        let jid = format!("{user}@localhost");
        let (buffer, answers) = (BytesMut::new(), VecDeque::new());
        Person { jid, user: user.into(), raw, framer, buffer, answers, asked: 0 }
    }

    /// Logs in again, at this node.
    pub fn come_again(&mut self, node: &Node) {
        (self.raw, self.framer) = connect(node, &self.user);
        self.buffer.clear();
        self.answers.clear();
    }

    pub fn say(&mut self, words: &str) {
        self.raw.say(words.as_bytes());
    }

    /// Asks its own account, and gives back the answer.
    pub fn ask(&mut self, kind: &str, payload: &str) -> Result<Element, Broken> {
        self.asked += 1;
        let id = format!("ask{}", self.asked);
        self.say(&format!("<iq type='{kind}' id='{id}'>{payload}</iq>"));
        let begin = Instant::now();
        loop {
            while let Some(answer) = self.answers.pop_front() {
                if answer.attribute("id") == Some(&id) {
                    return Ok(answer);
                }
            }
            assert!(begin.elapsed() < SOON, "{}: no answer to {payload}", self.jid);
            self.read()?;
        }
    }

    pub fn roster(&mut self) -> Result<Roster, Broken> {
        let answer = self.ask("get", &format!("<query xmlns='{ROSTER}'/>"))?;
        let query = answer.find("query", ROSTER).expect("a roster");
        Ok(query.elements().map(shown).collect())
    }

    fn read(&mut self) -> Result<(), Broken> {
        let Raw::Tls(tls) = &mut self.raw else { panic!("it is TLS") };
        tls.get_ref().set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let mut some = [0; 16_384];
        match tls.read(&mut some) {
            Ok(0) => return Err(Broken),
            Ok(count) => self.buffer.extend_from_slice(&some[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return Err(Broken),
        }
        while let Some(frame) = self.framer.next(&mut self.buffer).expect("XML") {
            let Frame::Element(raw) = frame else { return Err(Broken) };
            let stanza = Element::parse(&raw.bytes, CLIENT).expect("an element");
            let kind = stanza.attribute("type").unwrap_or_default();
            match (stanza.name.as_str(), kind) {
                ("iq", "result" | "error") => self.answers.push_back(stanza),
                ("iq", _) => {
                    let id = stanza.attribute("id").unwrap_or_default().to_owned();
                    self.say(&format!("<iq type='result' id='{id}'/>"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn connect(node: &Node, user: &str) -> (Raw, Framer) {
    let mut raw = Raw::direct(node);
    raw.bind(user, "secret", "model");
    raw.say(b"<presence/>");
    (raw, Framer::inside(Limits::client()))
}

fn shown(item: &Element) -> (String, Shown) {
    let attribute = |name| item.attribute(name).unwrap_or_default().to_owned();
    let shown = Shown {
        name: attribute("name"),
        groups: item.elements().map(Element::own_text).collect(),
        subscription: attribute("subscription"),
        is_asked: attribute("ask") == "subscribe",
        is_approved: attribute("approved") == "true",
    };
    (attribute("jid"), shown)
}
