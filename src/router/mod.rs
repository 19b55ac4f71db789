//! Whose domain is it: the first decision about every stanza.
//!
//! A stanza is decided on where it enters, once; other nodes get a finished
//! delivery, or the one request to its addressee's home.

pub mod act;
mod affinity;
mod asked;
pub mod asking;
pub mod balance;
pub mod components;
mod delegating;
pub mod elsewhere;
pub mod foreign;
mod in_name;
pub mod incoming;
pub mod instance;
pub mod last;
pub mod looking;
pub mod lost;
pub mod offline;
pub mod orders;
pub mod parcel;
mod passing;
pub mod presence;
pub mod probes;
pub mod removal;
pub mod requests;
pub mod sent;
pub mod storing;
mod told;
pub mod turns;
mod watching;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use bytes::Bytes;
use dashmap::DashMap;
use smallvec::SmallVec;
use tracing::{trace, warn};

use crate::cluster::node::NodeId;
use crate::cluster::rows::SessionRow;
use crate::cluster::table::Entry;
use crate::extension::{Rooms, Side, Verdict};
use crate::im;
use crate::local_router::LocalRouter;
use crate::router::act::Way;
use crate::router::components::Components;
use crate::router::looking::Fresh;
use crate::router::parcel::Seats;
use crate::router::passing::Waiting;
use crate::router::storing::Mail;
use crate::router::turns::Turns;
use crate::s2s_manager::links::Links;
use crate::session_manager::delivery::{self, Candidate, Plan};
use crate::session_manager::session::{Held, Seat, SessionNumber};
use crate::session_manager::sessions::Entries;
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::jid::Jid;
use crate::xmpp::kind::Kind;
use crate::xmpp::stanza::Stanza;

/// Room 1: knows all rooms below, and carries out what they answer.
#[derive(Debug)]
pub struct Router {
    this: Weak<Self>,
    rooms: Arc<Rooms>,
    local: LocalRouter,
    servers: Arc<Links<Held>>,
    config: im::config::Config,
    turns: Arc<Turns>,
    /// The nodes whose sessions ours have heard of.
    known: Mutex<BTreeSet<NodeId>>,
    /// Nodes that want to hear of our sessions, and that we do not see yet.
    unannounced: Mutex<BTreeSet<NodeId>>,
    /// When a node was last lost.
    lost: Mutex<Option<Instant>>,
    /// Messages that wait to be stored, by account.
    mail: DashMap<Box<str>, Mail>,
    /// Sessions that have come just now, and whom they have met.
    fresh: DashMap<SessionNumber, Fresh>,
    /// Who is behind which domain that is not ours.
    components: Arc<Components>,
    /// Stanzas that wait for an instance of a component, by domain.
    waiting: DashMap<Box<str>, Waiting>,
}

/// What a node does for others; all 0: it may go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Accounts for which something waits for its turn, or for a disk.
    pub accounts: usize,
    /// Stored messages that are written to a session or will be, and are not
    /// removed yet.
    pub handed_out: usize,
    /// Deliveries that no other node has taken yet.
    pub letters: usize,
    /// Links to other servers for which something waits.
    pub links: usize,
}

impl Router {
    /// A router over the rooms below.
    pub fn new(
        rooms: Arc<Rooms>,
        local: LocalRouter,
        servers: Arc<Links<Held>>,
        config: im::config::Config,
        components: Arc<Components>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            rooms,
            local,
            servers,
            config,
            turns: Arc::default(),
            known: Mutex::default(),
            unannounced: Mutex::default(),
            lost: Mutex::default(),
            mail: DashMap::new(),
            fresh: DashMap::new(),
            components,
            waiting: DashMap::new(),
        })
    }

    /// Routes a stanza whose `from` is proved.
    pub fn route(&self, stanza: Stanza) {
        self.carry(stanza, Way { is_first: true, ..Way::default() });
    }

    /// What is under way, for which this node alone answers.
    pub fn work(&self) -> Work {
        Work {
            accounts: self.turns.count(),
            handed_out: self.rooms.offline.handed_out(),
            letters: self.rooms.cluster.undelivered(),
            links: self.servers.busy(),
        }
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
        if !self.rooms.serves(to.domain()) {
            if let Some((stanza, way)) = self.to_component(stanza, way) {
                self.elsewhere(stanza, way);
            }
            return;
        }
        match to.local() {
            None => self.host(stanza),
            Some(_) => self.account(stanza, &to, way),
        }
    }

    /// For an account, or one of its sessions.
    fn account(&self, mut stanza: Stanza, to: &Jid, way: Way) {
        match self.local.arriving(&stanza) {
            Verdict::Pass => {}
            Verdict::Reject(error) => return self.bounce(&stanza, error),
            Verdict::Ignore => return,
        }
        if way.tried.is_empty() && matches!(stanza.kind, Kind::Presence(_)) {
            self.show_contact(to, &stanza);
        }
        let entries = self.rooms.sessions.of(to.bare_str());
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
                let mut copies = Vec::new();
                if way.is_first && matches!(stanza.kind, Kind::Message(_)) {
                    copies = self.local.copies(&stanza, Side::Received(&seats));
                    self.local.delivered(&mut stanza);
                }
                self.deliver(&stanza, seats, &way);
                self.effects(copies);
            }
            Plan::Home => self.send_home(stanza, way),
            Plan::Account => self.for_account(stanza, &to.bare(), way),
            Plan::Bounce(error) => self.bounce(&stanza, error),
            Plan::Ignore => trace!(%to, "stanza ends here, as RFC 6121 wants it"),
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

    pub(super) fn bounce(&self, stanza: &Stanza, error: StanzaError) {
        if let Some(answer) = stanza.error(error) {
            self.carry(answer, Way::default());
        }
    }

    /// An account that cannot be looked up may exist.
    pub(super) fn exists(&self, jid: &Jid) -> bool {
        self.rooms.accounts.exists(&jid.bare()).unwrap_or(true)
    }

    pub(super) fn me(&self) -> NodeId {
        self.rooms.cluster.me().id
    }
}

pub(super) fn seat(entry: &Entry<SessionRow>) -> Seat {
    Seat { owner: entry.owner, number: entry.number }
}
