//! Who may ask a session something (RFC 6121 §8.5.3.1): who sees its presence.
//! To anybody else an answer would tell that it is there.

use bytes::Bytes;
use tracing::{trace, warn};

use crate::router::Router;
use crate::session_manager::session::{Seat, Session};
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::jid::BareJid;
use crate::xmpp::stanza::Stanza;

impl Router {
    /// Answers a stanza for a session of ours, if it is a request of somebody
    /// who does not see it; `false`: it may be delivered.
    pub(super) fn is_refused(&self, seat: Seat, bytes: &Bytes) -> bool {
        if !bytes.starts_with(b"<iq") {
            return false;
        }
        let Some(session) = self.rooms.sessions.local(seat.number) else { return false };
        let Ok(stanza) = Stanza::parse_bytes(bytes.clone()) else { return false };
        let Some(from) = stanza.from.as_ref().map(|from| from.bare()) else { return false };
        if !stanza.kind.is_request() || self.sees(&from, &session) {
            return false;
        }
        trace!(%from, to = %session.jid, "a stranger's request is refused");
        self.bounce(&stanza, StanzaCondition::ServiceUnavailable.into());
        true
    }

    /// Whether somebody sees the presence of a session: its own account, a
    /// contact, whom it was shown to, and services, which are nobody's.
    fn sees(&self, viewer: &BareJid, session: &Session) -> bool {
        let account = session.jid.bare();
        if viewer.local().is_none() || *viewer == account {
            return true;
        }
        if session.said().directed.iter().any(|to| to.bare() == *viewer) {
            return true;
        }
        match self.rooms.contacts.one(&account, viewer) {
            Ok(contact) => contact.sees_us(),
            Err(error) => {
                warn!(%error, "a contact cannot be read: it may ask");
                true
            }
        }
    }
}
