//! A second look at who is there (RFC 6121 §4.2.2, §4.3): two sessions that
//! come at the same moment on two nodes miss each other, for neither node
//! knows the other's row yet when it tells and asks. So whoever comes looks
//! again, and asks those that it was not told of. Whoever becomes a contact in
//! the meantime is shown when that happens, behind the news of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::node::NodeId;
use crate::im::presence::watched;
use crate::router::Router;
use crate::session_manager::session::{Session, SessionNumber};
use crate::xmpp::jid::{BareJid, FullJid, Jid};

/// How long after a session has come it looks again. Guesses: rows take some
/// milliseconds to all nodes, and the time of a lost frame or two where the
/// network is bad.
const LOOKS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

impl Router {
    /// A session has become available: from now on it is remembered whose
    /// presence it is told, and it looks again.
    pub(super) fn look_again(&self, session: &Session) {
        let Some(router) = self.this.upgrade() else { return };
        let (number, account) = (session.number, session.jid.bare());
        self.fresh.insert(number, BTreeSet::new());
        tokio::spawn(async move {
            // rosters are on a disk
            let reader = router.clone();
            let read = move || watched(&account, &reader.contacts(&account));
            let contacts = tokio::task::spawn_blocking(read).await.unwrap_or_default();
            let contacts: Arc<[BareJid]> = contacts.into_iter().collect();
            let mut waited = Duration::ZERO;
            for look in LOOKS {
                tokio::time::sleep(look - waited).await;
                waited = look;
                if !router.look(number, &contacts) {
                    break;
                }
            }
            router.fresh.remove(&number);
        });
    }

    /// A session that has come just now is told of somebody's presence.
    pub(super) fn note_told(&self, number: SessionNumber, from: &FullJid) {
        if let Some(mut told) = self.fresh.get_mut(&number) {
            told.insert(from.clone());
        }
    }

    /// Asks whoever is there and was not heard of; `false`: it has gone.
    fn look(&self, number: SessionNumber, contacts: &[BareJid]) -> bool {
        let Some(session) = self.rooms.sessions.local(number) else { return false };
        if session.row().priority.is_none() {
            return false;
        }
        let mut missed: BTreeMap<NodeId, Vec<Jid>> = BTreeMap::new();
        for contact in contacts {
            for entry in self.rooms.sessions.of(contact.as_str()) {
                let is_there = entry.row.priority.is_some() && entry.owner != self.me();
                let Ok(jid) = FullJid::parse(&entry.row.jid) else { continue };
                if is_there && !self.was_told(number, &jid) {
                    missed.entry(entry.owner).or_default().push(jid.into());
                }
            }
        }
        self.probe(session.jid.as_jid(), missed);
        true
    }

    fn was_told(&self, number: SessionNumber, of: &FullJid) -> bool {
        self.fresh.get(&number).is_some_and(|told| told.contains(of))
    }
}
