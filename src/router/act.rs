//! Carrying out what was decided: own sessions get the stanza in their
//! outbox, another node's get one parcel for all of them, nobody's stanza
//! goes home, and what fails is planned again.

use std::sync::Arc;

use bytes::Bytes;
use tracing::{debug, trace, warn};

use crate::cluster::node::NodeId;
use crate::net::outbox::Item;
use crate::router::Router;
use crate::router::parcel::{Label, Seats, Target};
use crate::session_manager::given::Mark;
use crate::session_manager::session::{Held, Seat, Token, Unwritten};
use crate::xmpp::kind::Kind;
use crate::xmpp::stanza::Stanza;

/// How often a stanza may go from node to node: to where its session was, and
/// once more to where the session, or the home, is now.
pub(super) const HOPS_MAX: u8 = 2;

/// What did not take a stanza.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failed {
    /// This seat was empty.
    Seat(Seat),
    /// All seats of this node: it did not take what was sent to it. It may be
    /// seen again by now, and so may its seats.
    Node(NodeId),
}

impl Failed {
    fn is(self, seat: Seat) -> bool {
        match self {
            Self::Seat(failed) => seat == failed,
            Self::Node(failed) => seat.owner == failed,
        }
    }
}

/// What a stanza has behind it.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// Steps from node to node so far.
    pub hops: u8,
    /// Who answers for it until it is written.
    pub held: Held,
    /// Seats it was meant for before, in vain.
    pub tried: Seats,
    /// It has just come in: nothing of it was planned before.
    pub is_first: bool,
    /// It came back from a node that may have acted upon it before it went.
    pub is_repeated: bool,
    /// Its name, if it is a message that another node has had.
    pub mark: Mark,
    /// When it was first sent home; 0: not yet.
    pub time: u64,
    /// Its sender has just changed its account: it follows that change.
    pub is_behind_change: bool,
    /// It has waited for an instance of a component already.
    pub has_waited: bool,
}

impl Router {
    /// Gives one stanza to all of `seats`, written once.
    pub(super) fn deliver(&self, stanza: &Stanza, seats: Seats, way: &Way) {
        let me = self.me();
        if way.hops >= HOPS_MAX && seats.iter().any(|seat| seat.owner != me) {
            return self.at_home(stanza.clone(), way.clone());
        }
        let bytes = stanza.write();
        let owners = owners(&seats);
        // one session that fails must not make the others hear it twice
        let mark = match seats.len() > 1 || owners.iter().any(|owner| *owner != me) {
            true => mark(stanza, way),
            false => way.mark,
        };
        // our own sessions have no label that says it
        let is_named = mark != 0 && way.held.is_none() && owners.contains(&me);
        let named = || is_named.then(|| Arc::new(Token::Named(mark)));
        let marked = (mark != way.mark || is_named).then(|| Way {
            mark,
            held: way.held.clone().or_else(named),
            ..way.clone()
        });
        let way = marked.as_ref().unwrap_or(way);
        for owner in owners {
            if owner == me {
                self.write(&seats, &bytes, way);
            } else {
                let target = Target::Seats(seats.clone());
                let label = Label { target, hops: way.hops + 1, mark };
                self.rooms.cluster.deliver(owner, label.pack(&bytes));
            }
        }
    }

    /// Writes to our own among `seats`.
    pub(super) fn write(&self, seats: &Seats, bytes: &Bytes, way: &Way) {
        let me = self.me();
        let is_presence = bytes.starts_with(b"<presence");
        for seat in seats.iter().filter(|seat| seat.owner == me) {
            if is_presence {
                self.note_heard(*seat, bytes);
            } else if self.is_refused(*seat, bytes) {
                continue;
            }
            if !self.is_new(*seat, way.mark) {
                continue;
            }
            match self.rooms.sessions.write(seat.number, bytes.clone(), way.held.clone()) {
                Ok(()) => {}
                Err(Unwritten::Gone(item)) => self.missed(Failed::Seat(*seat), seats, item, way),
                Err(Unwritten::Overflow(items)) => {
                    debug!(session = seat.number, "a client does not read: its session is closed");
                    self.unwritten(items);
                }
            }
        }
    }

    /// Whether a session of ours was not given this message before. One that
    /// is gone was not.
    fn is_new(&self, seat: Seat, mark: Mark) -> bool {
        if mark == 0 {
            return true;
        }
        let session = self.rooms.sessions.local(seat.number);
        let is_new = session.is_none_or(|session| session.given().note(mark));
        if !is_new {
            debug!(session = seat.number, "a message came a second time: it is not given again");
        }
        is_new
    }

    /// Plans again what a closed connection did not write. The session must
    /// be out of the table by then. Presence ends here: all others who hear it
    /// were told by themselves, and would hear it once more for each of twenty
    /// sessions that close together, and again for each of those.
    pub fn unwritten(&self, items: Vec<Item<Held>>) {
        let mut items = self.keep_stored(items);
        items.retain(|item| !item.bytes.starts_with(b"<presence"));
        for item in items {
            let mark = item.token.as_deref().map_or(0, Token::mark);
            self.instead(item.bytes, Way { held: item.token, mark, ..Way::default() });
        }
    }

    /// As [`Self::again`], but what an account tells one of its own sessions is
    /// for no other: each has had its own copy (XEP-0280).
    fn instead(&self, bytes: Bytes, way: Way) {
        match Stanza::parse_bytes(bytes) {
            Ok(stanza) if is_own_copy(&stanza) => trace!("a copy for a session that is gone"),
            Ok(stanza) => self.carry(stanza, way),
            Err(error) => warn!(%error, "a stanza of ours cannot be read back"),
        }
    }

    /// Plans a written stanza once more.
    pub(super) fn again(&self, bytes: Bytes, way: Way) {
        match Stanza::parse_bytes(bytes) {
            Ok(stanza) => self.carry(stanza, way),
            Err(error) => warn!(%error, "a stanza of ours cannot be read back"),
        }
    }

    /// Seats have failed. Whichever of a stanza's seats fails last plans it
    /// again: so it is neither lost nor planned twice.
    pub(super) fn missed(&self, failed: Failed, seats: &Seats, item: Item<Held>, way: &Way) {
        let mut others = seats.iter().filter(|seat| !failed.is(**seat));
        if others.any(|other| self.sits(*other, &item.bytes)) {
            return;
        }
        let mut tried = way.tried.clone();
        tried.extend(seats.iter().copied());
        let (hops, mark, is_repeated) = (way.hops, way.mark, way.is_repeated);
        let way = Way { hops, held: item.token, tried, mark, is_repeated, ..Way::default() };
        self.instead(item.bytes, way);
    }

    /// Asks the home of the addressee to store it or to answer for it.
    pub(super) fn send_home(&self, stanza: Stanza, mut way: Way) {
        let Some(to) = &stanza.to else { return };
        let home = self.rooms.cluster.members().home(to.bare().as_str().as_bytes());
        if way.time == 0 {
            way.time = self.rooms.offline.next_time();
        }
        way.mark = mark(&stanza, &way);
        if home == self.me() || way.hops >= HOPS_MAX {
            return self.at_home(stanza, way);
        }
        let target = Target::Home { time: way.time, is_repeated: way.is_repeated };
        let label = Label { target, hops: way.hops + 1, mark: way.mark };
        self.rooms.cluster.deliver(home, label.pack(&stanza.write()));
    }

    /// Whether the addressee still has this seat, as far as we know.
    fn sits(&self, seat: Seat, stanza: &Bytes) -> bool {
        let Ok(stanza) = Stanza::parse_bytes(stanza.clone()) else { return false };
        let Some(to) = stanza.to else { return false };
        let entries = self.rooms.sessions.of(to.bare_str());
        entries.iter().any(|entry| entry.owner == seat.owner && entry.number == seat.number)
    }
}

/// The name that a message has, or gets now.
fn mark(stanza: &Stanza, way: &Way) -> Mark {
    match stanza.kind {
        Kind::Message(_) if way.mark == 0 => rand::random(),
        _ => way.mark,
    }
}

/// A message from an account itself: a client's come from its full JID.
fn is_own_copy(stanza: &Stanza) -> bool {
    let (Some(from), Some(to)) = (&stanza.from, &stanza.to) else { return false };
    let is_to_session = to.resource().is_some() && from.resource().is_none();
    matches!(stanza.kind, Kind::Message(_)) && is_to_session && from.bare_str() == to.bare_str()
}

/// Each owner once.
fn owners(seats: &Seats) -> Vec<NodeId> {
    let mut owners: Vec<NodeId> = seats.iter().map(|seat| seat.owner).collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_fails_with_all_its_seats_and_no_other() {
        let seat = |node, number| Seat { owner: NodeId::new(node, 0), number };
        let failed = Failed::Node(NodeId::new(1, 0));
        assert!(failed.is(seat(1, 7)) && failed.is(seat(1, 8)) && !failed.is(seat(2, 7)));
        let failed = Failed::Seat(seat(1, 7));
        assert!(failed.is(seat(1, 7)) && !failed.is(seat(1, 8)) && !failed.is(seat(2, 7)));
    }
}
