//! Carrying out what was decided: own sessions get the stanza in their
//! outbox, another node's get one parcel for all of them, nobody's stanza
//! goes home, and what fails is planned again.

use bytes::Bytes;
use tracing::{debug, warn};

use crate::cluster::node::NodeId;
use crate::net::outbox::Item;
use crate::router::Router;
use crate::router::parcel::{Label, Seats, Target};
use crate::session_manager::session::{Held, Seat, Unwritten};
use crate::xmpp::stanza::Stanza;

/// How often a stanza may go from node to node: to where its session was, and
/// once more to where the session, or the home, is now.
pub(super) const HOPS_MAX: u8 = 2;

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
    /// Its sender has just changed its account: it follows that change.
    pub is_behind_change: bool,
}

impl Router {
    /// Gives one stanza to all of `seats`, written once.
    pub(super) fn deliver(&self, stanza: &Stanza, seats: Seats, way: &Way) {
        let me = self.me();
        if way.hops >= HOPS_MAX && seats.iter().any(|seat| seat.owner != me) {
            return self.at_home(stanza.clone(), way.clone());
        }
        let bytes = stanza.write();
        for owner in owners(&seats) {
            if owner == me {
                self.write(&seats, &bytes, way);
            } else {
                let label = Label { target: Target::Seats(seats.clone()), hops: way.hops + 1 };
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
            match self.rooms.sessions.write(seat.number, bytes.clone(), way.held.clone()) {
                Ok(()) => {}
                Err(Unwritten::Gone(item)) => self.missed(Some(*seat), seats, item, way),
                Err(Unwritten::Overflow(items)) => {
                    debug!(session = seat.number, "a client does not read: its session is closed");
                    self.unwritten(items);
                }
            }
        }
    }

    /// Plans again what a closed connection did not write. The session must
    /// be out of the table by then.
    pub fn unwritten(&self, items: Vec<Item<Held>>) {
        for item in self.keep_stored(items) {
            self.again(item.bytes, Way { held: item.token, ..Way::default() });
        }
    }

    /// Plans a written stanza once more.
    pub(super) fn again(&self, bytes: Bytes, way: Way) {
        match Stanza::parse_bytes(bytes) {
            Ok(stanza) => self.carry(stanza, way),
            Err(error) => warn!(%error, "a stanza of ours cannot be read back"),
        }
    }

    /// A seat was empty: `failed`, or all of a node that has gone. Whichever
    /// of a stanza's seats fails last plans it again: so it is neither lost
    /// nor planned twice.
    pub(super) fn missed(&self, failed: Option<Seat>, seats: &Seats, item: Item<Held>, way: &Way) {
        let is_other = |other: &&Seat| Some(**other) != failed;
        if seats.iter().filter(is_other).any(|other| self.sits(*other, &item.bytes)) {
            return;
        }
        let mut tried = way.tried.clone();
        tried.extend(seats.iter().copied());
        let way = Way { hops: way.hops, held: item.token, tried, ..Way::default() };
        self.again(item.bytes, way);
    }

    /// Asks the home of the addressee to store it or to answer for it.
    pub(super) fn send_home(&self, stanza: Stanza, way: Way) {
        let Some(to) = &stanza.to else { return };
        let home = self.rooms.cluster.members().home(to.bare().as_str().as_bytes());
        if home == self.me() || way.hops >= HOPS_MAX {
            return self.at_home(stanza, way);
        }
        let label = Label { target: Target::Home, hops: way.hops + 1 };
        self.rooms.cluster.deliver(home, label.pack(&stanza.write()));
    }

    /// Whether the addressee still has this seat, as far as we know.
    fn sits(&self, seat: Seat, stanza: &Bytes) -> bool {
        let Ok(stanza) = Stanza::parse_bytes(stanza.clone()) else { return false };
        let Some(to) = stanza.to else { return false };
        let entries = self.rooms.sessions.of(&to.bare());
        entries.iter().any(|entry| entry.owner == seat.owner && entry.number == seat.number)
    }
}

/// Each owner once.
fn owners(seats: &Seats) -> Vec<NodeId> {
    let mut owners: Vec<NodeId> = seats.iter().map(|seat| seat.owner).collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}
