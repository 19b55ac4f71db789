//! One instance of a component, connected to this node: what waits for it,
//! what it was asked and has not answered, what it has been given.
//!
//! Which instance gets what is decided in `balance`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::cluster::rows::RouteRow;
use crate::net::outbox::{Item, Outbox, Refused};
use crate::router::asked::{self, Asked};
use crate::router::told::Told;
use crate::session_manager::given::{Given, Mark};
use crate::session_manager::session::Held;
use crate::xmpp::content::{Depth, translated};
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::{Domain, FullJid, Jid};
use crate::xmpp::namespaces::{CLIENT, COMPONENT};
use crate::xmpp::stanza::Stanza;

/// Names a stream of a component for a domain on its node; never used twice in
/// the life of a node, and never that of a session.
pub type InstanceNumber = u64;

/// What goes with a stanza until it is written.
#[derive(Debug)]
pub struct Passed {
    /// The stanza as we know it: what the component reads may have been cut,
    /// or translated.
    original: Bytes,
    held: Held,
    /// Which request it is.
    request: Option<u64>,
}

impl Passed {
    /// With what this node itself says: nobody answers for it.
    pub fn ours() -> Self {
        Self { original: Bytes::new(), held: None, request: None }
    }
}

/// A stanza that an instance did not deal with.
#[derive(Debug)]
pub struct Left {
    /// The stanza.
    pub bytes: Bytes,
    /// Who answers for it.
    pub held: Held,
}

/// Why an instance did not take a stanza.
#[derive(Debug)]
pub enum Untaken {
    /// It is gone or going; the stanza comes back.
    Gone(Left),
    /// It does not read: its stream was closed with `resource-constraint`, and
    /// all that waited comes back, the new one last.
    Overflow(Vec<Left>),
}

/// What the operator and the component itself have said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its share beside the others.
    pub weight: u8,
    /// It shall get nothing that another can take.
    pub is_draining: bool,
    /// What it calls itself; empty while that is not known.
    pub title: Box<str>,
    /// What it can do (XEP-0030).
    pub features: Vec<Box<str>>,
    /// What the host and its accounts can do by it (XEP-0355 §5): for each node
    /// that it was asked about, the lines of [`RouteRow::nested`].
    pub nested: BTreeMap<Box<str>, Vec<String>>,
}

/// One connected instance.
#[derive(Debug)]
pub struct Instance {
    /// Its name among those of its domain.
    pub name: Box<str>,
    /// The domains that it speaks for, each with the number of its row.
    pub domains: Vec<(Domain, InstanceNumber)>,
    /// Where it connects from.
    pub address: SocketAddr,
    /// When it came, in microseconds since 1970.
    pub since: u64,
    outbox: Arc<Outbox<Passed>>,
    shown: Mutex<Shown>,
    /// A leaf.
    given: Mutex<Given>,
    /// A leaf.
    asked: Mutex<Asked>,
    cut: Notify,
    /// A leaf.
    told: Mutex<Told>,
    /// Stanzas that it has sent.
    pub sent: AtomicU64,
    /// Stanzas that it was given.
    pub got: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Instance {
    /// An instance as it comes in.
    pub fn new(
        name: Box<str>,
        domains: Vec<(Domain, InstanceNumber)>,
        (address, since): (SocketAddr, u64),
        outbox: Arc<Outbox<Passed>>,
        weight: u8,
    ) -> Self {
        Self {
            name,
            domains,
            address,
            since,
            outbox,
            shown: Mutex::new(Shown { weight, ..Shown::default() }),
            given: Mutex::default(),
            asked: Mutex::default(),
            cut: Notify::new(),
            told: Mutex::default(),
            sent: AtomicU64::new(0),
            got: AtomicU64::new(0),
        }
    }

    /// Whether it speaks for a domain.
    pub fn is_for(&self, domain: &str) -> bool {
        self.domains.iter().any(|(own, _)| own.as_str() == domain)
    }

    /// Its rows as all nodes shall see them.
    pub fn rows(&self) -> impl Iterator<Item = (InstanceNumber, RouteRow)> {
        let shown = self.shown();
        let nested = shown.nested.values().flatten().cloned().collect::<Vec<_>>().join("\n");
        self.domains.iter().map(move |(domain, number)| {
            let row = RouteRow {
                domain: domain.as_str().into(),
                instance: self.name.clone(),
                weight: shown.weight,
                is_draining: shown.is_draining,
                since: self.since,
                title: shown.title.clone(),
                nested: nested.as_str().into(),
            };
            (*number, row)
        })
    }

    /// What is known of it.
    pub fn shown(&self) -> Shown {
        lock(&self.shown).clone()
    }

    /// Changes what is known of it; says whether anything is other now.
    pub fn show(&self, change: impl FnOnce(&mut Shown)) -> bool {
        let mut shown = lock(&self.shown);
        let before = shown.clone();
        change(&mut shown);
        *shown != before
    }

    /// Bytes that wait for it.
    pub fn waiting_bytes(&self) -> usize {
        self.outbox.len()
    }

    /// Gives it a stanza; one with a mark that it was given before it does not
    /// get again.
    ///
    /// # Errors
    /// [`Untaken`], with all that must be planned again.
    pub fn give(&self, original: Bytes, held: Held, mark: Mark) -> Result<(), Untaken> {
        if !lock(&self.given).note(mark) {
            return Ok(());
        }
        lock(&self.told).note(&original);
        let request = asked::request(&original);
        let held = match request {
            Some(key) => {
                let bytes_max = self.outbox.bytes_max().saturating_mul(2);
                lock(&self.asked).note(key, &original, held, bytes_max);
                None
            }
            None => held,
        };
        let written = translated(&original, CLIENT, COMPONENT, Depth::Content);
        match self.outbox.push(written, Passed { original, held, request }) {
            Ok(()) => {
                self.got.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(Refused::Closed(item)) => Err(Untaken::Gone(self.left(item.token))),
            Err(Refused::Full(item)) => {
                let words = "too much waits to be read";
                let error = StreamError::new(StreamCondition::ResourceConstraint, words);
                let mut items = self.outbox.abort(error.last_words());
                items.push(item);
                self.cut.notify_one();
                Err(Untaken::Overflow(self.left_behind(items)))
            }
        }
    }

    /// Says something to this instance alone: a question of ours.
    pub fn ask(&self, stanza: &Stanza) {
        // one that does not read hears nothing more anyway
        let _ = self.outbox.push(stanza.write(), Passed::ours());
    }

    /// Whom of its addresses a lost session has told that it is there.
    pub fn forget_told(&self, session: &FullJid) -> BTreeSet<Jid> {
        lock(&self.told).take(session)
    }

    /// It has answered a request.
    pub fn answered(&self, answer: &Stanza) {
        let (Some(to), Some(id)) = (&answer.to, &answer.id) else { return };
        lock(&self.asked).forget(asked::key(to, id));
    }

    /// Time has passed.
    pub fn tick(&self, now: Instant) {
        lock(&self.asked).tick(now);
    }

    /// It has ended, and `items` were not written: all that it has not dealt
    /// with, as far as we know, in order.
    pub fn left_behind(&self, items: Vec<Item<Passed>>) -> Vec<Left> {
        let passed = items.into_iter().map(|item| item.token);
        let unwritten: Vec<Left> = passed.map(|passed| self.left(passed)).collect();
        let mut left = lock(&self.asked).empty();
        left.extend(unwritten);
        left.retain(|left| !left.bytes.is_empty());
        left
    }

    /// Writes what waits, then the error, and closes the stream.
    pub fn end(&self, error: &StreamError) {
        self.outbox.finish(error.last_words());
    }

    /// Closes the stream, and gives back what waits.
    pub fn abort(&self, error: &StreamError) -> Vec<Left> {
        let items = self.outbox.abort(error.last_words());
        self.cut.notify_one();
        self.left_behind(items)
    }

    /// Waits until it is cut off, whatever it is just being written. Safe to
    /// cancel.
    pub async fn cut(&self) {
        self.cut.notified().await;
    }

    fn left(&self, passed: Passed) -> Left {
        let Passed { original, held, request } = passed;
        match request.map(|key| lock(&self.asked).forget(key)) {
            None => Left { bytes: original, held },
            Some(Some(held)) => Left { bytes: original, held },
            // answered, or planned again already
            Some(None) => Left { bytes: Bytes::new(), held: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(bytes_max: usize) -> Instance {
        let domain = Domain::parse("gw").expect("a domain");
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let outbox = Arc::new(Outbox::new(bytes_max));
        Instance::new("a".into(), vec![(domain, 1)], (address, 0), outbox, 1)
    }

    fn get(id: &str) -> Bytes {
        format!("<iq from='a@im/r' to='gw' id='{id}' type='get'><q xmlns='u'/></iq>").into()
    }

    fn answer(id: &str) -> Stanza {
        let text = format!("<iq from='gw' to='a@im/r' id='{id}' type='result'/>");
        Stanza::parse_bytes(text.into()).expect("a stanza")
    }

    fn texts(left: &[Left]) -> Vec<String> {
        left.iter().map(|left| String::from_utf8_lossy(&left.bytes).into_owned()).collect()
    }

    #[test]
    fn what_was_asked_and_not_answered_is_left_behind() {
        let instance = instance(10_000);
        for id in ["1", "2", "3"] {
            instance.give(get(id), None, 0).expect("room");
        }
        let message =
            Bytes::from("<message from='a@im' to='gw'><body xmlns='jabber:client'/></message>");
        instance.give(message.clone(), None, 0).expect("room");
        // the first was written and answered, the second written
        let mut items = instance.outbox.close();
        assert!(items[3].bytes.ends_with(b"<body/></message>"));
        items.drain(..2);
        instance.answered(&answer("1"));
        let left = instance.left_behind(items);
        let message = String::from_utf8_lossy(&message).into_owned();
        let expected = [get("2"), get("3")].map(|one| String::from_utf8_lossy(&one).into_owned());
        assert_eq!(texts(&left), [&expected[..], &[message]].concat());
        assert!(instance.left_behind(Vec::new()).is_empty());
    }

    #[test]
    fn a_marked_stanza_is_given_once() {
        let instance = instance(10_000);
        instance.give(get("1"), None, 7).expect("room");
        instance.give(get("1"), None, 7).expect("taken already");
        assert_eq!(instance.outbox.close().len(), 1);
    }

    #[test]
    fn one_that_does_not_read_gives_back_all() {
        let instance = instance(100);
        instance.give(get("1"), None, 0).expect("an empty outbox takes anything");
        let Err(Untaken::Overflow(left)) = instance.give(get("2"), None, 0) else { panic!() };
        assert_eq!(left.len(), 2);
        assert!(matches!(instance.give(get("3"), None, 0), Err(Untaken::Gone(_))));
        assert!(instance.left_behind(Vec::new()).is_empty());
    }
}
