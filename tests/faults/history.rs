//! What clients have said and heard, and when: all that `invariants` judges
//! by. Nothing in it comes from a server's log.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// Since the story began.
pub type Time = Duration;

/// A session by its place in the history.
pub type SessionId = usize;

/// Names a message for ever: the sender's session, and a number that counts
/// up there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    pub session: SessionId,
    pub number: u32,
}

/// From a bound stream to its end.
#[derive(Clone, Debug)]
pub struct Session {
    pub user: usize,
    pub node: usize,
    pub begun: Time,
    pub ended: Option<(Time, End)>,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closed it.
    Closed,
    /// The server said why.
    Told(String),
    /// It just broke.
    Broken,
}

/// A message that was said.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub id: MessageId,
    pub to: usize,
    pub at: Time,
    /// A later request of the same stream was answered then: the server has
    /// acted upon the message.
    pub acknowledged: Option<Time>,
}

/// A message that was heard.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    pub id: MessageId,
    pub session: SessionId,
    /// It says that it was stored in between.
    pub was_stored: bool,
    pub at: Time,
}

/// Presence of a contact's only resource.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub session: SessionId,
    pub contact: usize,
    pub is_available: bool,
    pub at: Time,
}

/// All of it; each list in the order of time.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub sessions: Vec<Session>,
    pub sent: Vec<Sent>,
    pub heard: Vec<Heard>,
    pub bounced: Vec<(MessageId, Time)>,
    pub seen: Vec<Seen>,
    places: HashMap<MessageId, usize>,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.session, self.number)
    }
}

impl MessageId {
    pub fn parse(text: &str) -> Option<MessageId> {
        let (session, number) = text.split_once('-')?;
        Some(MessageId { session: session.parse().ok()?, number: number.parse().ok()? })
    }
}

impl History {
    pub fn begin(&mut self, user: usize, node: usize, at: Time) -> SessionId {
        self.sessions.push(Session { user, node, begun: at, ended: None });
        self.sessions.len() - 1
    }

    pub fn end(&mut self, session: SessionId, at: Time, end: End) {
        self.sessions[session].ended.get_or_insert((at, end));
    }

    pub fn say(&mut self, id: MessageId, to: usize, at: Time) {
        self.places.insert(id, self.sent.len());
        self.sent.push(Sent { id, to, at, acknowledged: None });
    }

    /// All messages of a session below this number have been acted upon.
    pub fn acknowledge(&mut self, session: SessionId, below: u32, at: Time) {
        for number in (0..below).rev() {
            let Some(place) = self.places.get(&MessageId { session, number }) else { return };
            let acknowledged = &mut self.sent[*place].acknowledged;
            if acknowledged.is_some() {
                return;
            }
            *acknowledged = Some(at);
        }
    }

    /// The message with this name.
    pub fn message(&self, id: MessageId) -> Option<&Sent> {
        self.places.get(&id).map(|place| &self.sent[*place])
    }

    /// A user's sessions, in the order of time.
    pub fn sessions_of(&self, user: usize) -> impl Iterator<Item = &Session> {
        self.sessions.iter().filter(move |session| session.user == user)
    }
}
