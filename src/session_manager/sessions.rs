//! The sessions of this node, bound and released, and the merged table of
//! everybody's.
//!
//! Who gets a message is decided in `delivery`; which of two sessions with
//! one address stays, in `conflict`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dashmap::DashMap;
use rand::Rng;
use smallvec::SmallVec;
use tracing::{debug, info};

use crate::cluster::handle::Cluster;
use crate::cluster::node::NodeId;
use crate::cluster::rows::{RowChange, SessionRow, SoftRow};
use crate::cluster::table::Entry;
use crate::net::outbox::{Item, Outbox};
use crate::session_manager::config::{Config, Conflict};
use crate::session_manager::conflict;
use crate::session_manager::session::{Held, Session, SessionNumber, Unwritten};
use crate::xmpp::error::{StanzaCondition, StanzaError, StreamError};
use crate::xmpp::jid::{BareJid, FullJid};

/// Bits of a resource that we make: none is ever made twice.
const RESOURCE_BITS: u32 = 96;

/// Bits of a bind stamp below the milliseconds: it counts binds within one.
const STAMP_COUNTER_BITS: u32 = 16;

/// Rows of one account.
pub type Entries = SmallVec<[Entry<SessionRow>; 2]>;

/// This node's sessions, beside the table of all.
#[derive(Debug)]
pub struct Sessions {
    cluster: Arc<Cluster>,
    local: DashMap<SessionNumber, Arc<Session>>,
    next: AtomicU64,
    config: Config,
}

impl Sessions {
    /// No session yet.
    pub fn new(cluster: Arc<Cluster>, config: Config) -> Self {
        Self { cluster, local: DashMap::new(), next: AtomicU64::new(1), config }
    }

    /// Binds a resource (RFC 6120 §7): the session is in the table, and others
    /// with its address are told to go, when this returns.
    ///
    /// # Errors
    /// `bad-request` for a resource that is none, `conflict` where the policy
    /// refuses it.
    pub fn bind(
        &self,
        account: &BareJid,
        wanted: Option<&str>,
        address: SocketAddr,
        outbox: Arc<Outbox<Held>>,
    ) -> Result<Arc<Session>, StanzaError> {
        let jid = self.choose(account, wanted)?;
        let bound = self.stamp(account);
        let row = SessionRow { jid: jid.as_str().into(), priority: None, flags: 0, bound };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session::new(number, jid, address, outbox, row.clone()));
        self.local.insert(number, Arc::clone(&session));
        self.cluster.put(number, SoftRow::Session(row));
        self.settle(account);
        info!(jid = %session.jid, session = number, %address, "session bound");
        Ok(session)
    }

    /// Takes the session out of the table. Its unwritten stanzas are whoever
    /// closes its outbox's to plan again.
    pub fn release(&self, session: &Session) {
        if self.local.remove(&session.number).is_some() {
            self.cluster.remove(session.number);
            info!(jid = %session.jid, session = session.number, "session released");
        }
    }

    /// Available with a priority, or not available (`None`).
    pub fn set_priority(&self, session: &Session, priority: Option<i8>) {
        let row = session.change(|row| row.priority = priority);
        if self.local.contains_key(&session.number) {
            self.cluster.put(session.number, SoftRow::Session(row));
        }
    }

    /// A flag of the session's row is set, or not.
    pub fn set_flag(&self, session: &Session, flag: u8, is_on: bool) {
        let before = session.row().flags;
        let row = session.change(|row| match is_on {
            true => row.flags |= flag,
            false => row.flags &= !flag,
        });
        if row.flags != before && self.local.contains_key(&session.number) {
            self.cluster.put(session.number, SoftRow::Session(row));
        }
    }

    /// The sessions of an account on this node.
    pub fn here(&self, account: &BareJid) -> Vec<Arc<Session>> {
        let entries = self.cluster.tables().sessions.find(account.as_str());
        let own = entries.iter().filter(|entry| entry.owner == self.me());
        own.filter_map(|entry| self.local(entry.number)).collect()
    }

    /// All sessions of this node.
    pub fn all_here(&self) -> Vec<Arc<Session>> {
        self.local.iter().map(|entry| Arc::clone(entry.value())).collect()
    }

    /// The sessions of an account on all nodes, the latest first, each
    /// address once: one that lost its address gets nothing more.
    pub fn of(&self, account: &str) -> Entries {
        let mut entries = self.cluster.tables().sessions.find(account);
        if entries.len() < 2 {
            return entries;
        }
        conflict::sort(&mut entries);
        let mut seen: SmallVec<[Box<str>; 2]> = SmallVec::new();
        entries.retain(|entry| {
            let is_first = !seen.contains(&entry.row.jid);
            seen.push(entry.row.jid.clone());
            is_first
        });
        entries
    }

    /// Gives a stanza to a session of this node.
    ///
    /// # Errors
    /// [`Unwritten`], with everything that must be planned again.
    pub fn write(&self, number: SessionNumber, bytes: Bytes, held: Held) -> Result<(), Unwritten> {
        let Some(session) = self.local(number) else {
            return Err(Unwritten::Gone(Item { bytes, token: held }));
        };
        let written = session.write(bytes, held);
        if matches!(written, Err(Unwritten::Overflow(_))) {
            self.release(&session);
        }
        written
    }

    /// Ends the sessions of this node that have this address, and says how
    /// many.
    pub fn end(&self, account: &BareJid, resource: Option<&str>, error: &StreamError) -> usize {
        let is_meant =
            |session: &Session| resource.is_none_or(|resource| session.jid.resource() == resource);
        let mut sessions = self.here(account);
        sessions.retain(|session| is_meant(session));
        sessions.iter().for_each(|session| self.dismiss(session, error));
        sessions.len()
    }

    /// Ends all sessions of this node.
    pub fn end_all(&self, error: &StreamError) {
        self.all_here().iter().for_each(|session| self.dismiss(session, error));
    }

    /// Some sessions of this node.
    pub fn some_here(&self, most: usize) -> Vec<Arc<Session>> {
        self.local.iter().take(most).map(|entry| Arc::clone(entry.value())).collect()
    }

    /// Asks the client of a session to connect elsewhere: what waits for it is
    /// still written, and what it has said is still taken.
    pub fn move_away(&self, session: &Session, error: &StreamError) {
        self.release(session);
        session.ask_to_move(error);
    }

    /// Sessions on this node.
    pub fn count(&self) -> usize {
        self.local.len()
    }

    /// Looks at changes of the merged table: a session of ours may have lost
    /// its address to a later one, here or on another node.
    pub fn note(&self, changes: &[RowChange]) {
        for change in changes {
            if let Some(SoftRow::Session(row)) = &change.new
                && change.owner != self.me()
                && let Ok(jid) = FullJid::parse(&row.jid)
            {
                self.settle(&jid.bare());
            }
        }
    }

    /// Looks at all sessions of this node: nodes that were hidden may have
    /// come back with sessions of the same addresses.
    pub fn settle_all(&self) {
        let accounts: Vec<_> = self.local.iter().map(|entry| entry.jid.bare()).collect();
        accounts.iter().for_each(|account| self.settle(account));
    }

    /// Ends those of our sessions that the rules give up.
    fn settle(&self, account: &BareJid) {
        let mut entries = self.cluster.tables().sessions.find(account.as_str());
        conflict::sort(&mut entries);
        for loser in conflict::losers(&entries, self.config.sessions_per_user_max) {
            if loser.entry.owner != self.me() {
                continue;
            }
            if let Some(session) = self.local(loser.entry.number) {
                debug!(jid = %session.jid, session = session.number, "session lost its place");
                self.dismiss(&session, &loser.reason.stream_error());
            }
        }
    }

    /// Nothing reaches the session from here on; what waits is still written.
    fn dismiss(&self, session: &Session, error: &StreamError) {
        self.release(session);
        session.end(error);
    }

    /// A session of this node.
    pub fn local(&self, number: SessionNumber) -> Option<Arc<Session>> {
        self.local.get(&number).map(|session| Arc::clone(&session))
    }

    fn me(&self) -> NodeId {
        self.cluster.me().id
    }

    /// The wished resource, or one of ours.
    fn choose(&self, account: &BareJid, wanted: Option<&str>) -> Result<FullJid, StanzaError> {
        let Some(wanted) = wanted else { return Ok(made_up(account)) };
        let jid = account.with_resource(wanted).map_err(|_| StanzaCondition::BadRequest)?;
        let is_taken =
            || self.of(account.as_str()).iter().any(|entry| *entry.row.jid == *jid.as_str());
        match self.config.conflict {
            Conflict::Replace => Ok(jid),
            Conflict::Refuse if is_taken() => Err(StanzaCondition::Conflict.into()),
            Conflict::Rename if is_taken() => Ok(made_up(account)),
            Conflict::Refuse | Conflict::Rename => Ok(jid),
        }
    }

    /// Later than every bind of this account that we know of, whatever the
    /// clocks of other nodes say (a hybrid logical clock of one account).
    fn stamp(&self, account: &BareJid) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now =
            u64::try_from(now).unwrap_or(u64::MAX >> STAMP_COUNTER_BITS) << STAMP_COUNTER_BITS;
        let known = self.cluster.tables().sessions.find(account.as_str());
        let latest = known.iter().map(|entry| entry.row.bound).max().unwrap_or(0);
        now.max(latest.saturating_add(1))
    }
}

fn made_up(account: &BareJid) -> FullJid {
    let random = rand::rng().random::<u128>() >> (u128::BITS - RESOURCE_BITS);
    account.with_resource(&format!("{random:024x}")).expect("24 hexadecimal digits are a resource")
}
