//! Clients that ask, and instances that answer: many of each, in threads.

#![allow(unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::support::SOON;
use super::support::raw::Raw;
use super::wire::{header, proof};

/// A request without an answer for so long is lost: longer than a node that
/// was killed is waited for.
const LOST_AFTER: Duration = Duration::from_secs(15);

/// What all clients do.
pub struct Plan {
    pub to: &'static str,
    /// Requests of each.
    pub count: usize,
    /// Requests of each that are under way.
    pub window: usize,
}

/// What the instances have seen.
#[derive(Default)]
pub struct Tally {
    connected: AtomicUsize,
    /// By instance and client, the requests in the order in which they came.
    seen: Mutex<BTreeMap<(String, String), Vec<usize>>>,
}

impl Tally {
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    pub fn begin_again(&self) {
        self.seen.lock().expect("whole").clear();
    }

    /// How many requests each instance has got.
    pub fn shares(&self) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for ((instance, _), seen) in &*self.seen.lock().expect("whole") {
            *shares.entry(instance.clone()).or_default() += seen.len();
        }
        shares
    }

    /// Whether an instance got a client's requests one after the other.
    pub fn in_order(&self, instance: &str, client: &str) -> bool {
        let seen = self.seen.lock().expect("whole");
        let seen = seen.get(&(instance.to_owned(), client.to_owned()));
        seen.is_some_and(|seen| seen.windows(2).all(|pair| pair[0] < pair[1]))
    }
}

/// One instance: whenever its stream ends, it comes back, to the next node.
pub struct Instance {
    breaks: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Instance {
    /// `to` is what it opens its stream to.
    pub fn start(
        (name, to): (&str, &str),
        ports: &[u16],
        first: usize,
        tally: &Arc<Tally>,
    ) -> Instance {
        let (breaks, ends) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (name, to) = (name.to_owned(), to.to_owned());
        let (ports, tally) = (ports.to_vec(), Arc::clone(tally));
        let (broken, ended) = (Arc::clone(&breaks), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            let mut at = first;
            while !ended.load(Ordering::Relaxed) {
                if let Some(tcp) = enter(&to, ports[at % ports.len()]) {
                    tally.connected.fetch_add(1, Ordering::Relaxed);
                    // each life is one by itself
                    answer(&format!("{name}.{at}"), tcp, &tally, &broken, &ended);
                    tally.connected.fetch_sub(1, Ordering::Relaxed);
                }
                at += 1;
            }
        });
        Instance { breaks, ends, thread: Some(thread) }
    }

    /// As a crash would: what it has not read is lost with it.
    pub fn break_off(&mut self) {
        self.breaks.store(true, Ordering::Relaxed);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn enter(to: &str, port: u16) -> Option<TcpStream> {
    let Ok(mut tcp) = TcpStream::connect(("127.0.0.1", port)) else {
        std::thread::sleep(Duration::from_millis(20));
        return None;
    };
    tcp.set_read_timeout(Some(SOON)).ok()?;
    tcp.set_nodelay(true).ok()?;
    tcp.write_all(header(to).as_bytes()).ok()?;
    let mut heard = String::new();
    hear(&mut tcp, &mut heard, "'>")?;
    tcp.write_all(format!("<handshake>{}</handshake>", proof(&heard, "s3cret")).as_bytes()).ok()?;
    heard.clear();
    hear(&mut tcp, &mut heard, "/>")?;
    if !heard.contains("<handshake") {
        return None;
    }
    tcp.set_read_timeout(Some(Duration::from_millis(20))).ok()?;
    Some(tcp)
}

fn hear(tcp: &mut TcpStream, heard: &mut String, end: &str) -> Option<()> {
    let mut byte = [0];
    while !heard.ends_with(end) {
        tcp.read_exact(&mut byte).ok()?;
        heard.push(char::from(byte[0]));
    }
    Some(())
}

/// The value of an attribute.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let begin = tag.find(&format!(" {name}='"))? + name.len() + 3;
    tag.get(begin..)?.split('\'').next()
}

fn answer(name: &str, mut tcp: TcpStream, tally: &Tally, broken: &AtomicBool, ended: &AtomicBool) {
    let mut waiting = String::new();
    let mut buffer = [0; 16_384];
    while !ended.load(Ordering::Relaxed) {
        if broken.swap(false, Ordering::Relaxed) {
            return;
        }
        match tcp.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => waiting.push_str(std::str::from_utf8(&buffer[..count]).expect("ASCII")),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        let mut answers = String::new();
        while let Some(at) = waiting.find("</iq>") {
            let rest = waiting.split_off(at + "</iq>".len());
            let request = std::mem::replace(&mut waiting, rest);
            let word = |name| attribute(&request, name).expect("it has one");
            let (from, to, id) = (word("from"), word("to"), word("id"));
            let client = from.split('@').next().expect("a name").to_owned();
            let key = (name.to_owned(), client);
            // the server asks what we are as well
            let Ok(number) = id.parse() else { continue };
            tally.seen.lock().expect("whole").entry(key).or_default().push(number);
            answers.push_str(&format!(
                "<iq type='result' from='{to}' to='{from}' id='{id}'><by xmlns='u' name='{name}'/></iq>"
            ));
        }
        if tcp.write_all(answers.as_bytes()).is_err() {
            return;
        }
    }
}

/// One client, and what became of its requests.
pub struct Person {
    pub name: String,
    raw: Raw,
    heard: String,
    sent: usize,
    answers: BTreeMap<usize, usize>,
    errors: BTreeSet<usize>,
    by: BTreeSet<String>,
    cut_off: bool,
    /// Under way, and since when.
    waiting: BTreeMap<usize, Instant>,
    /// Not waited for any more.
    lost: BTreeSet<usize>,
}

impl Person {
    pub fn online(door: SocketAddr, name: &str, password: &str) -> Person {
        let mut raw = Raw::direct_at(door);
        raw.bind(name, password, "r");
        raw.patience(Duration::from_millis(20));
        let (name, heard) = (name.to_owned(), String::new());
        let (answers, errors, by) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Person {
            name,
            raw,
            heard,
            sent: 0,
            answers,
            errors,
            by,
            cut_off: false,
            waiting: BTreeMap::new(),
            lost: BTreeSet::new(),
        }
    }

    pub fn begin_again(&mut self) {
        self.sent = 0;
        self.answers.clear();
        self.errors.clear();
        self.by.clear();
        self.waiting.clear();
        self.lost.clear();
    }

    pub fn was_cut_off(&self) -> bool {
        self.cut_off
    }

    pub fn answered(&self) -> usize {
        self.answers.len()
    }

    pub fn bounced(&self) -> usize {
        self.errors.len()
    }

    /// Requests that were answered more than once, or answered and bounced.
    pub fn twice(&self) -> usize {
        let more =
            self.answers.iter().filter(|(id, count)| **count > 1 || self.errors.contains(*id));
        more.count()
    }

    /// Requests that were neither answered nor bounced.
    pub fn missing(&self) -> usize {
        self.waiting.len() + self.lost.len()
    }

    pub fn only_instance(&self) -> Option<String> {
        let is_alone = self.by.len() == 1 && self.errors.is_empty();
        self.by.first().filter(|_| is_alone).cloned()
    }

    fn run(&mut self, plan: &Plan, done: &AtomicUsize) {
        while !self.cut_off && (self.sent < plan.count || !self.waiting.is_empty()) {
            let mut words = String::new();
            while self.sent < plan.count && self.waiting.len() < plan.window {
                let (id, to) = (self.sent, plan.to);
                words.push_str(&format!("<iq type='get' id='{id}' to='{to}'><q xmlns='u'/></iq>"));
                self.waiting.insert(id, Instant::now());
                self.sent += 1;
            }
            self.raw.say(words.as_bytes());
            self.cut_off = !self.raw.more(&mut self.heard);
            let before = self.waiting.len();
            self.take();
            self.waiting.retain(|id, since| {
                let is_young = since.elapsed() < LOST_AFTER;
                if !is_young {
                    self.lost.insert(*id);
                }
                is_young
            });
            done.fetch_add(before - self.waiting.len(), Ordering::Relaxed);
        }
    }

    fn take(&mut self) {
        while let Some(at) = self.heard.find("</iq>") {
            let rest = self.heard.split_off(at + "</iq>".len());
            let answer = std::mem::replace(&mut self.heard, rest);
            let id = attribute(&answer, "id").and_then(|id| id.parse().ok()).expect("a number");
            self.waiting.remove(&id);
            self.lost.remove(&id);
            if answer.contains("type='error'") {
                self.errors.insert(id);
                continue;
            }
            *self.answers.entry(id).or_default() += 1;
            self.by.extend(attribute(&answer, "name").map(str::to_owned));
        }
    }
}

/// Has all of them do it at the same time. `meanwhile` hears how many requests
/// were answered so far.
pub fn all(people: &mut [Person], plan: &Plan, mut meanwhile: impl FnMut(usize)) {
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            people.iter_mut().map(|person| scope.spawn(|| person.run(plan, &done))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            meanwhile(done.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(2));
        }
    });
}
