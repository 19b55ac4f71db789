//! Who is there, asked and told (RFC 6121 §4.3): what a session that comes
//! sees of the others, and what the others see again after nodes have met.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::cluster::node::NodeId;
use crate::extension::Verdict;
use crate::im::presence::{self, watched, watchers};
use crate::router::Router;
use crate::router::act::Way;
use crate::router::parcel::{Label, Target};
use crate::router::presence::ADDRESSES_MAX;
use crate::session_manager::contacts::Contact;
use crate::session_manager::session::{DIRECTED_MAX, Seat, Session};
use crate::xmpp::jid::{BareJid, FullJid, Jid};
use crate::xmpp::kind::{Kind, PresenceType};
use crate::xmpp::stanza::Stanza;

impl Router {
    /// What a session that has just come must see: the presence of all it may
    /// see, and who waits for its answer.
    pub(super) fn introduce(&self, session: &Session, account: &BareJid, contacts: &[Contact]) {
        let viewer = session.jid.as_jid();
        let mut probed: BTreeMap<NodeId, Vec<Jid>> = BTreeMap::new();
        for contact in watched(account, contacts) {
            if !self.rooms.serves(contact.domain()) {
                let from = Jid::from(account.clone());
                let probe = presence::bare(PresenceType::Probe, from, Some(contact.into()));
                self.carry(probe, Way::default());
                continue;
            }
            for owner in self.available_at(&contact) {
                probed.entry(owner).or_default().push(contact.clone().into());
            }
        }
        self.probe(viewer, probed);
        for request in contacts.iter().filter_map(|contact| contact.standing.request.clone()) {
            let asks = Stanza::parse_bytes(request.clone());
            if !asks.is_ok_and(|asks| self.local.arriving(&asks) == Verdict::Pass) {
                continue;
            }
            // one that goes now hears it when it is back
            let _ = self.rooms.sessions.write(session.number, request, None);
        }
    }

    /// A probe from outside, or of a client (§4.3.2).
    pub(super) fn probed(&self, stanza: &Stanza) {
        let (Some(viewer), Some(to)) = (&stanza.from, &stanza.to) else { return };
        let account = to.bare();
        if !self.rooms.may_see(&account, viewer) {
            let (from, to) = (account.into(), viewer.bare().into());
            let refusal = presence::bare(PresenceType::Unsubscribed, from, Some(to));
            return self.carry(refusal, Way::default());
        }
        let owners = self.available_at(&account);
        if owners.is_empty() {
            return self.tell_last(&account, viewer);
        }
        let probed = owners.into_iter().map(|owner| (owner, vec![to.clone()]));
        self.probe(viewer, probed.collect());
    }

    /// Somebody shall hear the presence of an account's sessions. The nodes of
    /// an account of ours ask for it themselves: so it cannot overtake what we
    /// have just sent them.
    pub(super) fn show(&self, account: &BareJid, viewer: &Jid) {
        if viewer.resource().is_some() || !self.rooms.serves(viewer.domain()) {
            return self.show_to(account, viewer);
        }
        let probe = presence::bare(PresenceType::Probe, viewer.clone(), None).write();
        for owner in self.available_at(&viewer.bare()) {
            if owner == self.me() {
                self.show_here(account, &viewer.bare());
                continue;
            }
            let label = Label::new(Target::Shown(account.clone().into()), 1);
            self.rooms.cluster.deliver(owner, label.pack(&probe));
        }
    }

    /// Our own sessions of `viewer` shall hear the presence of an account's.
    pub(super) fn show_here(&self, account: &BareJid, viewer: &BareJid) {
        for session in self.rooms.sessions.here(viewer) {
            if session.row().priority.is_some() {
                self.show_to(account, session.jid.as_jid());
            }
        }
    }

    fn show_to(&self, account: &BareJid, viewer: &Jid) {
        let owners = self.available_at(account).into_iter();
        let probed = owners.map(|owner| (owner, vec![account.clone().into()]));
        self.probe(viewer, probed.collect());
    }

    pub(super) fn probe(&self, viewer: &Jid, probed: BTreeMap<NodeId, Vec<Jid>>) {
        let probe = presence::bare(PresenceType::Probe, viewer.clone(), None);
        for (owner, addresses) in probed {
            if owner == self.me() {
                self.tell_own(viewer, &addresses);
                continue;
            }
            for some in addresses.chunks(ADDRESSES_MAX) {
                let label = Label::new(Target::Probed(some.to_vec()), 1);
                self.rooms.cluster.deliver(owner, label.pack(&probe.write()));
            }
        }
    }

    /// Tells somebody the presence of our own sessions of these addresses, as
    /// far as it may see them.
    pub(super) fn tell_own(&self, viewer: &Jid, addresses: &[Jid]) {
        for address in addresses {
            let account = address.bare();
            if !self.rooms.may_see(&account, viewer) {
                continue;
            }
            for session in self.rooms.sessions.here(&account) {
                let is_meant = address.resource().is_none_or(|one| one == session.jid.resource());
                if !is_meant || session.jid.as_jid() == viewer {
                    continue;
                }
                // held while it is sent: what the session says next comes later
                let said = session.said();
                if let Some(last) = &said.last {
                    let copy = Stanza { to: Some(viewer.clone()), ..last.clone() };
                    if self.local.sent(&copy) == Verdict::Pass {
                        self.note_tells_one(session.number, viewer);
                        self.carry(copy, Way::default());
                    }
                }
            }
        }
    }

    /// Tells a node that had lost us of all our sessions again.
    pub(super) fn announce(&self, to: NodeId) {
        let Some(router) = self.this.upgrade() else { return };
        tokio::task::spawn_blocking(move || {
            for session in router.rooms.sessions.all_here() {
                let account = session.jid.bare();
                let contacts = router.contacts(&account);
                let accounts: Vec<Jid> =
                    watchers(&account, &contacts).into_iter().map(Jid::from).collect();
                let said = session.said();
                if let Some(last) = &said.last {
                    router.tell_node(to, last, &accounts);
                }
            }
        });
    }

    /// A presence goes to a session of ours, and not as one of a contact's to
    /// all: it is remembered who sent it, so that the session can be told when
    /// its node is lost.
    pub(super) fn note_heard(&self, seat: Seat, bytes: &Bytes) {
        let Some(session) = self.rooms.sessions.local(seat.number) else { return };
        let Ok(stanza) = Stanza::parse_bytes(bytes.clone()) else { return };
        let Some(from) = stanza.from.as_ref().and_then(Jid::to_full) else { return };
        match stanza.kind {
            Kind::Presence(PresenceType::Unavailable) => {
                session.heard().remove(&from);
            }
            Kind::Presence(PresenceType::Available) if self.rooms.serves(from.domain()) => {
                session.missing().remove(&from);
                self.note_told(seat.number, &from);
                let (account, sender) = (session.jid.bare(), from.bare());
                let contact = self.rooms.contacts.one(&account, &sender);
                let is_watched = sender == account || contact.is_ok_and(|one| one.is_seen());
                let mut heard = session.heard();
                // of one more it is not told
                if !is_watched && heard.len() < DIRECTED_MAX {
                    heard.insert(from);
                }
            }
            _ => {}
        }
    }

    /// The nodes where an account has available sessions.
    pub(super) fn available_at(&self, account: &BareJid) -> BTreeSet<NodeId> {
        let entries = self.rooms.sessions.of(account.as_str());
        let available = entries.iter().filter(|entry| entry.row.priority.is_some());
        available.map(|entry| entry.owner).collect()
    }

    /// Whether another session has this address and is available.
    pub(super) fn is_taken(&self, jid: &FullJid, but: u64) -> bool {
        let entries = self.rooms.sessions.of(jid.as_jid().bare_str());
        entries.iter().any(|entry| {
            *entry.row.jid == *jid.as_str()
                && entry.row.priority.is_some()
                && (entry.owner != self.me() || entry.number != but)
        })
    }
}
