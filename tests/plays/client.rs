//! A client that says what it is told, and notes in order what it hears.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::support::Node;
use super::support::raw::Raw;
use super::tree::{HEADER, Item, Reader, Tree};

/// How long something may take that must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

const ROSTER: &str = "jabber:iq:roster";
const BLOCKING: &str = "urn:xmpp:blocking";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const STREAMS: &str = "http://etherx.jabber.org/streams";
const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";

/// What the harness asks for by itself has ids that begin so.
const OWN_ID: &str = "play-";

pub struct Client {
    raw: Raw,
    reader: Reader,
    /// What was heard and not expected yet.
    pub heard: VecDeque<Tree>,
    /// The last features.
    pub features: Option<Tree>,
    /// The answers to what the harness asked by itself.
    answers: VecDeque<Tree>,
    /// The server has closed its stream, or the socket.
    pub is_over: bool,
    asked: u64,
    /// It has a resource, and may ask.
    pub is_bound: bool,
    unmap: Unmap,
}

/// Turns what is heard into the words of the play.
pub type Unmap = Box<dyn Fn(&str) -> String + Send>;

/// What went wrong.
pub type Fault = String;

impl Client {
    /// A stream that has heard its features.
    pub fn open(node: &Node, unmap: Unmap) -> Result<Client, Fault> {
        let mut client = Client {
            raw: Raw::direct(node),
            reader: Reader::new(),
            heard: VecDeque::new(),
            features: None,
            answers: VecDeque::new(),
            is_over: false,
            asked: 0,
            is_bound: false,
            unmap,
        };
        client.header()?;
        Ok(client)
    }

    /// Begins a stream, also after authentication.
    fn header(&mut self) -> Result<(), Fault> {
        self.reader = Reader::new();
        self.features = None;
        self.raw.say(HEADER.as_bytes());
        self.wait("features", |client| client.features.is_some().then_some(()))
    }

    /// Proves who it is; the condition if that fails.
    pub fn authenticate(
        &mut self,
        user: &str,
        password: &str,
    ) -> Result<Result<(), String>, Fault> {
        let plain = STANDARD.encode(format!("\0{user}\0{password}"));
        self.say(&format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{plain}</auth>"));
        let outcome = self.wait("the outcome of SASL", |client| {
            let place = client.heard.iter().position(|tree| tree.name.0 == SASL)?;
            client.heard.remove(place)
        })?;
        if outcome.is("success") {
            self.header()?;
            return Ok(Ok(()));
        }
        let condition = outcome.children.first().map(|child| child.name.1.clone());
        Ok(Err(condition.unwrap_or_default()))
    }

    pub fn bind(&mut self, resource: &str) -> Result<(), Fault> {
        let bind = "urn:ietf:params:xml:ns:xmpp-bind";
        let answer = self.ask(&format!(
            "<iq type='set' id='{OWN_ID}bind'><bind xmlns='{bind}'>\
             <resource>{resource}</resource></bind></iq>"
        ))?;
        match answer.attribute("type") {
            Some("result") => {
                self.is_bound = true;
                Ok(())
            }
            _ => Err(format!("cannot bind: {answer}")),
        }
    }

    pub fn say(&mut self, words: &str) {
        self.raw.say(words.as_bytes());
    }

    /// Asks something that is no part of the play, and waits for the answer.
    pub fn ask(&mut self, words: &str) -> Result<Tree, Fault> {
        self.say(words);
        self.wait("an answer to the harness", |client| client.answers.pop_front())
    }

    /// An answer of the server: all that was sent to this client before has
    /// been heard, and all that it said has been read.
    pub fn ping(&mut self) -> Result<(), Fault> {
        self.asked += 1;
        let id = format!("{OWN_ID}{}", self.asked);
        self.ask(&format!(
            "<iq type='get' to='localhost' id='{id}'><ping xmlns='urn:xmpp:ping'/></iq>"
        ))
        .map(drop)
    }

    /// An answer of its account's home, in its turn: all that the home was told
    /// of this account before has been done. Removing what is not in the roster
    /// changes nothing.
    pub fn ask_home(&mut self) -> Result<(), Fault> {
        self.asked += 1;
        let id = format!("{OWN_ID}{}", self.asked);
        self.ask(&format!(
            "<iq type='set' id='{id}'><query xmlns='{ROSTER}'>\
             <item jid='nobody@play.invalid' subscription='remove'/></query></iq>"
        ))
        .map(drop)
    }

    /// What comes next.
    pub fn next(&mut self) -> Result<Tree, Fault> {
        self.wait("a stanza", |client| client.heard.pop_front())
    }

    /// The first that is wanted; what came before it stays.
    pub fn find(&mut self, what: &str, wanted: impl Fn(&Tree) -> bool) -> Result<Tree, Fault> {
        self.wait(what, |client| {
            let place = client.heard.iter().position(&wanted)?;
            client.heard.remove(place)
        })
    }

    /// Closes the stream and waits until the server has.
    pub fn close(&mut self) -> Result<(), Fault> {
        self.say("</stream:stream>");
        self.ends()
    }

    /// Waits until the server has closed the stream.
    pub fn ends(&mut self) -> Result<(), Fault> {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_over {
            self.read(deadline).map_err(|why| format!("waits for the end of its stream: {why}"))?;
        }
        Ok(())
    }

    fn wait<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(&mut Client) -> Option<T>,
    ) -> Result<T, Fault> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found(self) {
                return Ok(found);
            }
            if self.is_over {
                return Err(format!("waits for {what}, but its stream has ended"));
            }
            self.read(deadline).map_err(|why| format!("waits for {what}: {why}"))?;
        }
    }

    /// Reads once.
    fn read(&mut self, deadline: Instant) -> Result<(), Fault> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("nothing comes".into());
        }
        let Raw::Tls(tls) = &mut self.raw else { return Err("it is no TLS".into()) };
        tls.get_ref().set_read_timeout(Some(left)).map_err(|error| error.to_string())?;
        let mut buffer = [0; 16_384];
        match tls.read(&mut buffer) {
            Ok(0) => self.is_over = true,
            Ok(count) => return self.take(&buffer[..count]),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                _ => self.is_over = true,
            },
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        for item in self.reader.read(bytes)? {
            match item {
                Item::Open => {}
                Item::Close => self.is_over = true,
                Item::Tree(tree) => self.sort(tree),
            }
        }
        Ok(())
    }

    /// Features and answers to the harness are not part of the play; pushes
    /// are answered.
    fn sort(&mut self, tree: Tree) {
        let id = tree.attribute("id").unwrap_or_default();
        if tree.is("features") && tree.name.0 == STREAMS {
            self.features = Some(self.unmapped(tree));
        } else if tree.is("iq") && id.starts_with(OWN_ID) {
            self.answers.push_back(tree);
        } else {
            let is_push = tree.child(ROSTER).or(tree.child(BLOCKING)).is_some();
            if tree.is("iq") && tree.attribute("type") == Some("set") && is_push {
                let answer = format!("<iq type='result' id='{id}'/>");
                self.say(&answer);
            }
            let tree = self.unmapped(tree);
            self.heard.push_back(tree);
        }
    }

    fn unmapped(&self, mut tree: Tree) -> Tree {
        tree.text = (self.unmap)(&tree.text);
        for value in tree.attributes.values_mut() {
            *value = (self.unmap)(value);
        }
        tree.children = tree.children.into_iter().map(|child| self.unmapped(child)).collect();
        tree
    }
}

/// The condition of a stream error.
pub fn condition(tree: &Tree) -> Option<&str> {
    let is_error = tree.is("error") && tree.name.0 == STREAMS;
    let child =
        tree.children.iter().find(|child| child.name.0 == STREAM_ERRORS && !child.is("text"));
    child.filter(|_| is_error).map(|child| child.name.1.as_str())
}
