//! The load: clients that write to each other all the time and note all that
//! they say and hear. A client whose stream breaks comes back by another node,
//! as behind a load balancer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsConnector;

use super::history::{End, Heard, History, MessageId, Seen, SessionId, Time};
use super::support::DOMAIN;
use super::support::wire::{self, Wire, attribute, trust};

/// The one resource of each account.
pub const RESOURCE: &str = "r";

/// How often each client says something.
const PACE: Duration = Duration::from_millis(100);

/// How long a client waits before it tries to come back, as clients do.
const RETURN_PAUSE: Duration = Duration::from_millis(150);

/// What all clients are up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Talking,
    /// They listen, and come back if they are lost.
    Listening,
    Over,
}

/// A way in.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    pub address: SocketAddr,
    pub is_open: bool,
}

/// What the clients of one story share.
pub struct Load {
    history: Arc<Mutex<History>>,
    begin: Instant,
    users: usize,
    doors: watch::Sender<Vec<Door>>,
    phase: watch::Sender<Phase>,
    trust: TlsConnector,
    clients: JoinSet<()>,
}

/// One person.
struct Client {
    user: usize,
    users: usize,
    history: Arc<Mutex<History>>,
    begin: Instant,
    doors: watch::Receiver<Vec<Door>>,
    phase: watch::Receiver<Phase>,
    trust: TlsConnector,
    /// Counts what it has said, in all its sessions.
    said: usize,
}

impl Load {
    /// A load by so many users, none of whom is there yet.
    pub fn new(users: usize, doors: Vec<Door>) -> Load {
        Load {
            history: Arc::default(),
            begin: Instant::now(),
            users,
            doors: watch::Sender::new(doors),
            phase: watch::Sender::new(Phase::Listening),
            trust: trust(),
            clients: JoinSet::new(),
        }
    }

    /// Has a user come, and stay.
    pub fn enter(&mut self, user: usize) {
        let client = Client {
            user,
            users: self.users,
            history: Arc::clone(&self.history),
            begin: self.begin,
            doors: self.doors.subscribe(),
            phase: self.phase.subscribe(),
            trust: self.trust.clone(),
            said: user,
        };
        self.clients.spawn(client.live());
    }

    pub fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    pub fn now(&self) -> Time {
        self.begin.elapsed()
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub fn set_door(&self, node: usize, is_open: bool) {
        self.doors.send_modify(|doors| doors[node].is_open = is_open);
    }

    /// How many users have a session.
    pub fn present(&self) -> usize {
        let history = self.history();
        let there = |user: &usize| history.sessions_of(*user).any(|one| one.ended.is_none());
        (0..self.users).filter(there).count()
    }

    /// All clients close their streams. Panics with any that panicked.
    pub async fn end(&mut self) {
        self.set_phase(Phase::Over);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
    }
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    async fn live(mut self) {
        let name = format!("u{}", self.user);
        // some come back elsewhere at once, some only when their node does
        let waits = self.user % 4 == 3;
        while *self.phase.borrow() != Phase::Over {
            let door = self.door(waits);
            let Some((node, door)) = door else {
                let changed = async {
                    tokio::select! {
                        changed = self.doors.changed() => changed.is_ok(),
                        changed = self.phase.changed() => changed.is_ok(),
                    }
                };
                if !changed.await {
                    return;
                }
                continue;
            };
            match Wire::open(&self.trust, door.address, &name, RESOURCE).await {
                Ok(wire) => self.session(wire, node).await,
                Err(_) => tokio::time::sleep(RETURN_PAUSE).await,
            }
        }
    }

    /// Its own node, or if that is closed, the next that is open.
    fn door(&mut self, waits: bool) -> Option<(usize, Door)> {
        let phase = *self.phase.borrow_and_update();
        let doors = self.doors.borrow_and_update();
        let own = self.user % doors.len();
        let others = if waits && phase == Phase::Talking { 1 } else { doors.len() };
        let mut places = (own..own + others).map(|at| at % doors.len());
        places.find(|at| doors[*at].is_open).map(|at| (at, doors[at]))
    }

    async fn session(&mut self, mut wire: Wire, node: usize) {
        let session = lock(&self.history).begin(self.user, node, self.begin.elapsed());
        let end = match self.talk(&mut wire, session).await {
            Ok(end) => end,
            Err(_) => End::Broken,
        };
        lock(&self.history).end(session, self.begin.elapsed(), end.clone());
        // whoever was told to go does not fight about its address
        if matches!(&end, End::Told(why) if why.contains("conflict")) {
            let over = self.phase.wait_for(|phase| *phase == Phase::Over).await;
            let _ = over.map(|phase| *phase);
        } else if end != End::Closed {
            tokio::time::sleep(RETURN_PAUSE).await;
        }
    }

    async fn talk(&mut self, wire: &mut Wire, session: SessionId) -> std::io::Result<End> {
        wire.say("<presence/>").await?;
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        loop {
            tokio::select! {
                element = wire.next() => {
                    let Some(element) = element? else { return Ok(End::Broken) };
                    if let Some(end) = self.hear(session, &element) {
                        return Ok(end);
                    }
                }
                _ = pace.tick() => {
                    let phase = *self.phase.borrow();
                    match phase {
                        Phase::Talking => {
                            self.say(wire, session, number).await?;
                            number += 1;
                        }
                        Phase::Listening => {}
                        Phase::Over => {
                            wire.say("</stream:stream>").await?;
                            return Ok(End::Closed);
                        }
                    }
                    wire.say(&ping(number)).await?;
                }
            }
        }
    }

    async fn say(
        &mut self,
        wire: &mut Wire,
        session: SessionId,
        number: u32,
    ) -> std::io::Result<()> {
        let id = MessageId { session, number };
        let to = self.said % self.users;
        self.said += 1;
        // whom the number does not reach often: every fourth word is to the
        // account, the others to its resource
        let resource =
            if self.said.is_multiple_of(4) { String::new() } else { format!("/{RESOURCE}") };
        lock(&self.history).say(id, to, self.begin.elapsed());
        let to = format!("u{to}@{DOMAIN}{resource}");
        wire.say(&format!("<message type='chat' to='{to}' id='{id}'><body>{id}</body></message>"))
            .await
    }

    /// Notes an element; `Some`: the server ends the stream.
    fn hear(&self, session: SessionId, element: &str) -> Option<End> {
        let at = self.begin.elapsed();
        let mut history = lock(&self.history);
        let id = attribute(element, "id");
        let kind = attribute(element, "type");
        if element.starts_with("<message") {
            let id = id.and_then(MessageId::parse).expect("a message of ours");
            match kind {
                Some("error") => history.bounced.push((id, at)),
                _ => {
                    let was_stored = element.contains("urn:xmpp:delay");
                    history.heard.push(Heard { id, session, was_stored, at });
                }
            }
        } else if element.starts_with("<presence") {
            let from = attribute(element, "from").unwrap_or_default();
            let contact =
                from.split('@').next().and_then(|name| name.strip_prefix('u')?.parse().ok());
            let is_available = match kind {
                None => Some(true),
                Some("unavailable") => Some(false),
                _ => None,
            };
            if let (Some(contact), Some(is_available)) = (contact, is_available)
                && contact != self.user
            {
                history.seen.push(Seen { session, contact, is_available, at });
            }
        } else if element.starts_with("<iq") {
            let below = id.and_then(|id| id.strip_prefix('p')?.parse().ok());
            if let (Some("result"), Some(below)) = (kind, below) {
                history.acknowledge(session, below, at);
            }
        } else if element.starts_with("<stream:error") {
            return Some(End::Told(element.to_owned()));
        } else if element.starts_with("</stream") {
            return Some(End::Broken);
        }
        None
    }
}

/// Its answer says that all before it was acted upon.
fn ping(number: u32) -> String {
    format!("<iq type='get' to='{DOMAIN}' id='p{number}'><ping xmlns='urn:xmpp:ping'/></iq>")
}

#[test]
fn elements_are_cut_where_they_end() {
    let check = |text: &str, first: Option<&str>| {
        assert_eq!(wire::whole(text.as_bytes()).map(|end| &text[..end]), first, "{text}");
    };
    check("<a/><b/>", Some("<a/>"));
    check("<a><b/>x</a><c>", Some("<a><b/>x</a>"));
    check("<a t='/>'><b></b></a>", Some("<a t='/>'><b></b></a>"));
    check("<a><b></b></a", None);
    check("<stream:stream to='x'><a/>", Some("<stream:stream to='x'>"));
    check("</stream:stream>", Some("</stream:stream>"));
    check("", None);
    assert_eq!(attribute("<a id='1' type=\"t\"><b to='x'/></a>", "type"), Some("t"));
    assert_eq!(attribute("<a id='1'><b to='x'/></a>", "to"), None);
}
