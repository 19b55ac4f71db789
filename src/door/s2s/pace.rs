//! How fast a stream of another server is read: one that is over the rate of its
//! domain is not read, until it is not over it any more.

use tokio::time::Instant;

use crate::door::s2s::peer::Peer;
use crate::xmpp::stanza::Stanza;

impl Peer<'_> {
    /// Until when nothing is read; nothing: it is.
    pub(super) fn held(&self) -> Option<Instant> {
        let held = self.brake.held_until();
        if let Some(arrived) = &self.arrived {
            arrived.arrival.note_held(held.is_some());
        }
        self.reverse.note_unread(held.is_some());
        held.map(Instant::from_std)
    }

    /// A stanza has come; what was said before it, between stanzas, counts with
    /// it.
    pub(super) fn count(&mut self, stanza: &Stanza) {
        let bytes = std::mem::take(&mut self.read);
        let servers = &self.door.rooms.servers;
        let theirs = stanza.from.as_ref().map_or("", |from| from.domain());
        let rate = servers.trust().config.incoming_rate(theirs);
        if !rate.is_unlimited() {
            self.brake.count(&servers.incoming, (theirs, rate), (bytes, 1));
        }
    }
}
