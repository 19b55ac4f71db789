//! A second look at who is there (RFC 6121 §4.2.2, §4.3): two sessions that
//! come at the same moment on two nodes miss each other, for neither node
//! knows the other's row yet when it tells and asks. So whoever comes looks
//! again, asks those that it was not told of, and tells those that it did not
//! tell: one that has been there for long looks no more, and on a node that
//! has just started its row may be known only after somebody has come. Whoever
//! becomes a contact in the meantime is shown when that happens, behind the
//! news of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::node::NodeId;
use crate::extension::Verdict;
use crate::im::presence::{watched, watchers};
use crate::router::Router;
use crate::session_manager::session::{Session, SessionNumber};
use crate::xmpp::jid::{BareJid, FullJid, Jid};
use crate::xmpp::stanza::Stanza;

/// How long after a session has come it looks again. Guesses: rows take some
/// milliseconds to all nodes, and the time of a lost frame or two where the
/// network is bad.
const LOOKS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Whom a session that has come just now has met.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    /// Whose presence it was told.
    heard: BTreeSet<FullJid>,
    /// Who was told its own, on other nodes.
    told: BTreeSet<FullJid>,
}

/// Whom the presence of a session concerns.
struct Circle {
    watched: Vec<BareJid>,
    watchers: Vec<BareJid>,
}

impl Router {
    /// A session has become available: from now on it is remembered whose
    /// presence it is told, and who is told its own; and it looks again.
    pub(super) fn look_again(&self, session: &Session) {
        let Some(router) = self.this.upgrade() else { return };
        let (number, account) = (session.number, session.jid.bare());
        self.fresh.insert(number, Fresh::default());
        tokio::spawn(async move {
            // rosters are on a disk
            let reader = router.clone();
            let read = move || {
                let contacts = reader.contacts(&account);
                let (watched, watchers) =
                    (watched(&account, &contacts), watchers(&account, &contacts));
                Arc::new(Circle { watched, watchers })
            };
            // an error says that the process ends
            let Ok(circle) = tokio::task::spawn_blocking(read).await else { return };
            let mut waited = Duration::ZERO;
            for look in LOOKS {
                tokio::time::sleep(look - waited).await;
                waited = look;
                if !router.look(number, &circle) {
                    break;
                }
            }
            router.fresh.remove(&number);
        });
    }

    /// A session that has come just now is told of somebody's presence.
    pub(super) fn note_told(&self, number: SessionNumber, from: &FullJid) {
        if let Some(mut fresh) = self.fresh.get_mut(&number) {
            fresh.heard.insert(from.clone());
        }
    }

    /// A session tells these accounts of itself: whoever of them is known to
    /// be there now will hear it. To be called before they are told.
    pub(super) fn note_tells(&self, number: SessionNumber, accounts: &[BareJid]) {
        if let Some(mut fresh) = self.fresh.get_mut(&number) {
            let there = accounts.iter().flat_map(|account| self.elsewhere_of(account));
            fresh.told.extend(there.map(|(_, jid)| jid));
        }
    }

    /// A session tells this one of itself.
    pub(super) fn note_tells_one(&self, number: SessionNumber, viewer: &Jid) {
        if let Some(mut fresh) = self.fresh.get_mut(&number) {
            fresh.told.extend(viewer.to_full());
        }
    }

    /// Asks whoever is there and was not heard of, and tells whoever has not
    /// been told; `false`: it has gone.
    fn look(&self, number: SessionNumber, circle: &Circle) -> bool {
        let Some(session) = self.rooms.sessions.local(number) else { return false };
        if session.row().priority.is_none() {
            return false;
        }
        let mut missed: BTreeMap<NodeId, Vec<Jid>> = BTreeMap::new();
        for (owner, jid) in circle.watched.iter().flat_map(|one| self.elsewhere_of(one)) {
            if !self.fresh.get(&number).is_some_and(|fresh| fresh.heard.contains(&jid)) {
                missed.entry(owner).or_default().push(jid.into());
            }
        }
        self.probe(session.jid.as_jid(), missed);
        self.tell_missed(&session, &circle.watchers);
        true
    }

    fn tell_missed(&self, session: &Session, watchers: &[BareJid]) {
        // held: what the session says next comes behind this
        let said = session.said();
        let Some(last) = &said.last else { return };
        let own = session.jid.bare();
        let mut missed: BTreeMap<NodeId, Vec<Jid>> = BTreeMap::new();
        for account in watchers {
            let mut there = self.elsewhere_of(account);
            there.retain(|(_, jid)| !self.has_told(session.number, jid));
            let to = Jid::from(account.clone());
            let copy = || Stanza { to: Some(to.clone()), ..last.clone() };
            // it may have been a contact only when the session came
            let may_hear = |viewer| {
                self.rooms.may_see(&own, viewer) && self.local.sent(&copy()) == Verdict::Pass
            };
            if there.is_empty() || !may_hear(&to) {
                continue;
            }
            for (owner, jid) in there {
                self.note_tells_one(session.number, jid.as_jid());
                missed.entry(owner).or_default().push(to.clone());
            }
        }
        for (owner, mut accounts) in missed {
            accounts.dedup();
            self.tell_node(owner, last, &accounts);
        }
    }

    /// Available sessions of an account on other nodes.
    fn elsewhere_of(&self, account: &BareJid) -> Vec<(NodeId, FullJid)> {
        let entries = self.rooms.sessions.of(account.as_str());
        let there =
            entries.iter().filter(|entry| entry.row.priority.is_some() && entry.owner != self.me());
        there
            .filter_map(|entry| Some((entry.owner, FullJid::parse(&entry.row.jid).ok()?)))
            .collect()
    }

    fn has_told(&self, number: SessionNumber, viewer: &FullJid) -> bool {
        self.fresh.get(&number).is_some_and(|fresh| fresh.told.contains(viewer))
    }
}
