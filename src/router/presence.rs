//! Presence on its way (RFC 6121 §4): one frame for each node that has
//! somebody to tell. Who is to be told is decided in `im/presence`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tracing::warn;

use crate::cluster::node::NodeId;
use crate::extension::Verdict;
use crate::im::presence::{self, watchers};
use crate::router::Router;
use crate::router::act::Way;
use crate::router::parcel::{Label, Target};
use crate::session_manager::contacts::Contact;
use crate::session_manager::session::{DIRECTED_MAX, Session, Unwritten};
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::jid::{BareJid, Jid};
use crate::xmpp::kind::{Kind, PresenceType};
use crate::xmpp::stanza::Stanza;

/// Addresses in one frame: some 50 bytes each.
pub(super) const ADDRESSES_MAX: usize = 1_000;

impl Router {
    /// A session says for everybody that it is there, or not (§4.2, §4.4,
    /// §4.5).
    pub(super) fn present(&self, session: &Session, stanza: &Stanza) {
        if stanza.kind == Kind::Presence(PresenceType::Unavailable) {
            self.rooms.sessions.set_priority(session, None);
            return self.leave(session, stanza);
        }
        let Some(priority) = presence::priority(stanza) else {
            return self.bounce(stanza, StanzaCondition::BadRequest.into());
        };
        let account = session.jid.bare();
        let contacts = self.contacts(&account);
        let before = session.row().priority;
        let comes = priority >= 0 && before.is_none_or(|before| before < 0);
        // until what is stored is fetched, and before anybody can speak to it
        let holding = comes.then(|| session.hold_messages());
        let is_first = {
            let mut said = session.said();
            let is_first = said.last.is_none();
            said.last = Some(stanza.clone());
            if is_first {
                self.look_again(session);
            }
            self.rooms.sessions.set_priority(session, Some(priority));
            let watchers = watchers(&account, &contacts);
            self.note_tells(session.number, &watchers);
            self.broadcast(stanza, watchers);
            self.show_watchers(stanza);
            is_first
        };
        if is_first {
            self.introduce(session, &account, &contacts);
        }
        if comes {
            self.fetch(session, None);
        }
        drop(holding);
    }

    /// A session tells one somebody of itself (§4.6).
    pub(super) fn directed(&self, session: &Session, stanza: Stanza) {
        let Some(to) = stanza.to.clone() else { return };
        {
            let mut said = session.said();
            if stanza.kind == Kind::Presence(PresenceType::Unavailable) {
                said.directed.remove(&to);
            } else if said.directed.len() >= DIRECTED_MAX && !said.directed.contains(&to) {
                drop(said);
                return self.bounce(&stanza, StanzaCondition::ResourceConstraint.into());
            } else {
                said.directed.insert(to);
            }
        }
        self.carry(stanza, Way::default());
    }

    /// A session of this node is out of the table. Everybody who knew of it
    /// is told, once, unless its address has another session by now.
    pub fn gone(&self, session: &Session) {
        let from = session.jid.as_jid().clone();
        self.leave(session, &presence::bare(PresenceType::Unavailable, from, None));
    }

    fn leave(&self, session: &Session, stanza: &Stanza) {
        let account = session.jid.bare();
        let (was_there, directed) = {
            let mut said = session.said();
            let directed = std::mem::take(&mut said.directed);
            let was_there = said.last.take().is_some();
            if was_there && !self.is_taken(&session.jid, session.number) {
                self.broadcast(stanza, self.told_of_end(&account));
                self.show_watchers(stanza);
                self.note_last(&account, Some(stanza));
            }
            (was_there, directed)
        };
        let told: BTreeSet<BareJid> = match was_there && !directed.is_empty() {
            true => watchers(&account, &self.contacts(&account)).into_iter().collect(),
            false => BTreeSet::new(),
        };
        for to in directed {
            if !(told.contains(&to.bare()) && self.heard_broadcast(&to)) {
                self.carry(Stanza { to: Some(to), ..stanza.clone() }, Way::default());
            }
        }
    }

    /// Who hears that a session has ended. The contacts of an account that has
    /// gone heard it when the account went: see `removal`.
    fn told_of_end(&self, account: &BareJid) -> Vec<BareJid> {
        match self.exists(&account.clone().into()) {
            true => watchers(account, &self.contacts(account)),
            false => vec![account.clone()],
        }
    }

    /// Whether a presence to the account of `to` has reached it as well:
    /// everybody hears an end once. Another server tells all its own.
    fn heard_broadcast(&self, to: &Jid) -> bool {
        let is_available = || to.to_full().is_some_and(|full| self.is_taken(&full, 0));
        to.resource().is_none() || !self.rooms.serves(to.domain()) || is_available()
    }

    /// Sends one presence to the sessions of many accounts, and to other
    /// servers.
    fn broadcast(&self, stanza: &Stanza, accounts: Vec<BareJid>) {
        let mut nodes: BTreeMap<NodeId, Vec<Jid>> = BTreeMap::new();
        for account in accounts {
            let to = Jid::from(account.clone());
            let copy = Stanza { to: Some(to.clone()), ..stanza.clone() };
            if self.local.sent(&copy) != Verdict::Pass {
                continue;
            }
            if !self.rooms.serves(account.domain()) {
                self.carry(copy, Way::default());
                continue;
            }
            for owner in self.available_at(&account) {
                nodes.entry(owner).or_default().push(to.clone());
            }
        }
        for (owner, accounts) in nodes {
            self.tell_node(owner, stanza, &accounts);
        }
    }

    pub(super) fn tell_node(&self, owner: NodeId, stanza: &Stanza, accounts: &[Jid]) {
        if owner == self.me() {
            return self.tell_accounts(stanza, accounts);
        }
        let bytes = Stanza { to: None, ..stanza.clone() }.write();
        for some in accounts.chunks(ADDRESSES_MAX) {
            let label = Label::new(Target::Accounts(some.to_vec()), 1);
            self.rooms.cluster.deliver(owner, label.pack(&bytes));
        }
    }

    /// Writes a presence to our own available sessions of these accounts.
    pub(super) fn tell_accounts(&self, stanza: &Stanza, accounts: &[Jid]) {
        for account in accounts {
            let copy = Stanza { to: Some(account.clone()), ..stanza.clone() };
            if self.local.arriving(&copy) != Verdict::Pass {
                continue;
            }
            let bytes = copy.write();
            for session in self.rooms.sessions.here(&account.bare()) {
                if session.row().priority.is_none() {
                    continue;
                }
                let mut heard = session.heard();
                if let Some(from) = stanza.from.as_ref().and_then(Jid::to_full) {
                    let is_end = stanza.kind == Kind::Presence(PresenceType::Unavailable);
                    let was_missing = match is_end {
                        true => session.missing().contains(&from),
                        false => session.missing().remove(&from),
                    };
                    if is_end && was_missing {
                        continue;
                    }
                    match is_end {
                        true => drop(heard.remove(&from)),
                        false => self.note_told(session.number, &from),
                    }
                }
                self.write_presence(&session, bytes.clone());
            }
        }
    }

    /// Writes a presence to a session of ours. What a closed one did not hear
    /// of others it asks again.
    pub(super) fn write_presence(&self, session: &Session, bytes: Bytes) {
        let written = self.rooms.sessions.write(session.number, bytes, None);
        if let Err(Unwritten::Overflow(items)) = written
            && let Some(router) = self.this.upgrade()
        {
            // not here, where something may be locked
            tokio::spawn(async move { router.unwritten(items) });
        }
    }

    pub(super) fn contacts(&self, account: &BareJid) -> Vec<Contact> {
        self.rooms.contacts.all(account).unwrap_or_else(|error| {
            warn!(%error, "contacts cannot be read: nobody is told");
            Vec::new()
        })
    }
}
