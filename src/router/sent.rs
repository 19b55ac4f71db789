//! What a session of this node sends: which of the ways a stanza goes. Whose
//! domain it is for is decided in `mod`.

use crate::extension::{Effect, Side, Verdict};
use crate::router::Router;
use crate::router::act::Way;
use crate::session_manager::session::{Seat, Session};
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::jid::Jid;
use crate::xmpp::kind::{Kind, PresenceType};
use crate::xmpp::stanza::Stanza;

impl Router {
    /// Takes a stanza of a session of this node, whose `from` is proved.
    pub fn take(&self, session: &Session, stanza: Stanza) {
        let Some(to) = &stanza.to else { return self.take_unaddressed(session, stanza) };
        match self.local.sent(&stanza) {
            Verdict::Pass => {}
            Verdict::Reject(error) => return self.refuse(session, &stanza, error),
            Verdict::Ignore => return,
        }
        match stanza.kind {
            Kind::Presence(PresenceType::Available | PresenceType::Unavailable) => {
                self.directed(session, stanza);
            }
            kind if kind.is_subscription() => {
                session.has_changed();
                self.subscribe(stanza, Way::default());
            }
            kind if kind.is_request() && *to == Jid::from(session.jid.bare()) => {
                self.ask_account(session, stanza);
            }
            Kind::Message(_) => {
                self.effects(self.local.copies(&stanza, Side::Sent));
                self.route(stanza);
            }
            _ => self.route(stanza),
        }
    }

    /// Tells a session that its stanza goes nowhere. The answer is not routed:
    /// it would come from whom the account may not want to hear.
    fn refuse(&self, session: &Session, stanza: &Stanza, error: StanzaError) {
        let Some(answer) = stanza.error(error) else { return };
        let seat = Seat { owner: self.me(), number: session.number };
        self.effects(vec![Effect::Write(vec![seat], answer)]);
    }

    /// Without an address it is about the account itself (RFC 6120 §10.3).
    fn take_unaddressed(&self, session: &Session, stanza: Stanza) {
        match stanza.kind {
            Kind::Presence(PresenceType::Available | PresenceType::Unavailable) => {
                self.present(session, &stanza);
            }
            Kind::Presence(PresenceType::Error) => {}
            Kind::Presence(_) => self.bounce(&stanza, StanzaCondition::BadRequest.into()),
            kind if kind.is_request() => {
                let to = Some(session.jid.bare().into());
                self.ask_account(session, Stanza { to, ..stanza });
            }
            _ => self.route(stanza),
        }
    }
}
