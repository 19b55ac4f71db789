//! Whose domain is it: the first decision about every stanza.
//!
//! A stanza is decided on where it enters, once; other nodes get a finished
//! delivery, or the one request to its addressee's home.

pub mod act;
pub mod incoming;
pub mod parcel;

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use tracing::{trace, warn};

use crate::cluster::handle::Cluster;
use crate::local_router::LocalRouter;
use crate::router::act::Way;
use crate::router::parcel::{Seat, Seats};
use crate::session_manager::accounts::Accounts;
use crate::session_manager::delivery::{self, Candidate, Plan};
use crate::session_manager::sessions::{Entries, Sessions};
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::jid::Jid;
use crate::xmpp::kind::Kind;
use crate::xmpp::stanza::Stanza;

/// Room 1: knows all rooms below, and carries out what they answer.
#[derive(Debug)]
pub struct Router {
    cluster: Arc<Cluster>,
    sessions: Arc<Sessions>,
    accounts: Arc<Accounts>,
    local: LocalRouter,
}

impl Router {
    /// A router over the rooms below.
    pub fn new(
        cluster: Arc<Cluster>,
        sessions: Arc<Sessions>,
        accounts: Arc<Accounts>,
        local: LocalRouter,
    ) -> Self {
        Self { cluster, sessions, accounts, local }
    }

    /// Routes a stanza whose `from` is proved.
    pub fn route(&self, stanza: Stanza) {
        self.carry(stanza, Way::default());
    }

    /// One stanza, one step further.
    pub(super) fn carry(&self, mut stanza: Stanza, way: Way) {
        // Without an address it is for the sender's own account (RFC 6120
        // §10.3).
        if stanza.to.is_none() {
            stanza.to = stanza.from.as_ref().map(|from| from.bare().into());
        }
        let Some(to) = stanza.to.clone() else { return };
        trace!(kind = stanza.kind.name(), %to, "stanza routed");
        if !self.local.serves(to.domain()) {
            return self.bounce(&stanza, StanzaCondition::RemoteServerNotFound.into());
        }
        match to.local() {
            None => self.host(&stanza),
            Some(_) => self.account(stanza, &to, way),
        }
    }

    /// For one of our domains itself.
    fn host(&self, stanza: &Stanza) {
        if let Some(answer) = self.local.host(stanza, self.sessions.count()) {
            self.carry(answer, Way::default());
        }
    }

    /// For an account, or one of its sessions.
    fn account(&self, stanza: Stanza, to: &Jid, way: Way) {
        let entries = self.sessions.of(&to.bare());
        let free: Entries =
            entries.into_iter().filter(|entry| !way.tried.contains(&seat(entry))).collect();
        if free.is_empty() && !self.exists(to) {
            return self.nobody(&stanza);
        }
        let candidates: SmallVec<[Candidate<'_>; 4]> = free
            .iter()
            .map(|entry| Candidate {
                resource: entry.row.jid.split_once('/').map_or("", |(_, resource)| resource),
                priority: entry.row.priority,
            })
            .collect();
        match delivery::plan(stanza.kind, to.resource(), &candidates) {
            Plan::To(places) => {
                let seats: Seats =
                    places.iter().filter_map(|place| free.get(*place)).map(seat).collect();
                self.deliver(&stanza, seats, &way);
            }
            Plan::Home => self.send_home(stanza, way),
            Plan::Account => self.answer_for(&stanza),
            Plan::Bounce(error) => self.bounce(&stanza, error),
            Plan::Ignore => trace!(%to, "stanza ends here, as RFC 6121 wants it"),
        }
    }

    /// The home has looked, and nobody is there.
    pub(super) fn at_home(&self, stanza: &Stanza) {
        self.bounce(stanza, StanzaCondition::ServiceUnavailable.into());
    }

    /// The server answers in the account's name.
    fn answer_for(&self, stanza: &Stanza) {
        if let Some(answer) = self.local.account(stanza) {
            self.carry(answer, Way::default());
        }
    }

    /// No such account (RFC 6121 §8.5.1). Presence is not answered: that
    /// would tell a stranger who exists.
    fn nobody(&self, stanza: &Stanza) {
        match stanza.kind {
            Kind::Presence(_) => {}
            _ => self.bounce(stanza, StanzaCondition::ServiceUnavailable.into()),
        }
    }

    /// A node has more to do than it can: the sender may try again.
    pub(super) fn overloaded(&self, stanza: Bytes) {
        match Stanza::parse_bytes(stanza) {
            Ok(stanza) => self.bounce(&stanza, StanzaCondition::ResourceConstraint.into()),
            Err(error) => warn!(%error, "a stanza of ours cannot be read back"),
        }
    }

    fn bounce(&self, stanza: &Stanza, error: StanzaError) {
        if let Some(answer) = stanza.error(error) {
            self.carry(answer, Way::default());
        }
    }

    /// An account that cannot be looked up may exist.
    fn exists(&self, jid: &Jid) -> bool {
        self.accounts.exists(&jid.bare()).unwrap_or(true)
    }
}

fn seat(entry: &crate::cluster::table::Entry<crate::cluster::rows::SessionRow>) -> Seat {
    Seat { owner: entry.owner, number: entry.number }
}
