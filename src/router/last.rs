//! When an account went, for whoever asks later (XEP-0012, RFC 6121 §4.3.2).

use tracing::debug;

use crate::im::presence;
use crate::router::Router;
use crate::router::act::Way;
use crate::session_manager::last::Went;
use crate::xep::time::utc;
use crate::xml::element::Element;
use crate::xmpp::jid::{BareJid, Jid};
use crate::xmpp::kind::PresenceType;
use crate::xmpp::namespaces::{CLIENT, DELAY};
use crate::xmpp::stanza::Stanza;

impl Router {
    /// A session has become unavailable, by this presence; if it was its
    /// account's last one, that is noted.
    pub(super) fn note_last(&self, account: &BareJid, stanza: Option<&Stanza>) {
        if !self.available_at(account).is_empty() {
            return;
        }
        let Some(router) = self.this.upgrade() else { return };
        let (went, account) = (Went::now(stanza.and_then(status)), account.clone());
        tokio::spawn(async move {
            if !router.exists(&account.clone().into()) {
                return;
            }
            if let Err(error) = router.rooms.last.note(&account, &went).await {
                debug!(%error, "when somebody went was not noted");
            }
        });
    }

    /// Tells somebody that an account is not there, and since when.
    pub(super) fn tell_last(&self, account: &BareJid, viewer: &Jid) {
        let from = Jid::from(account.clone());
        let mut told = presence::bare(PresenceType::Unavailable, from, Some(viewer.clone()));
        if let Ok(Some(went)) = self.rooms.last.get(account) {
            let delay = Element::new("delay", DELAY)
                .attr("from", account.as_str())
                .attr("stamp", utc(went.when()));
            let mut payload = Vec::new();
            if !went.status.is_empty() {
                Element::new("status", CLIENT).text(&went.status).write(CLIENT, &mut payload);
            }
            delay.write(CLIENT, &mut payload);
            told.payload = payload.into();
        }
        self.carry(told, Way::default());
    }
}

/// The words in a presence.
fn status(stanza: &Stanza) -> Option<String> {
    let children = Element::parse_all(&stanza.payload, CLIENT).ok()?;
    let status = children.iter().find(|child| child.is("status", CLIENT));
    status.map(Element::own_text)
}
