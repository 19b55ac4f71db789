//! What an extension of the protocol may see and do.
//!
//! Each is one file in `xep` or `im` and one line in a list. It decides and
//! answers; what must happen, the router does. Only `answer` may wait.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::cluster::durable::Durable;
use crate::cluster::durable::change::ChangeError;
use crate::cluster::handle::Cluster;
use crate::session_manager::accounts::Accounts;
use crate::session_manager::contacts::Contacts;
use crate::session_manager::last::LastSeen;
use crate::session_manager::offline::Offline;
use crate::session_manager::session::Seat;
use crate::session_manager::sessions::Sessions;
use crate::storage::StoreError;
use crate::xml::element::Element;
use crate::xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use crate::xmpp::jid::{BareJid, Jid};
use crate::xmpp::stanza::{ChildName, Stanza};

/// What service discovery and the README say of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct About {
    /// The number and name of its specification.
    pub specification: &'static str,
    /// What disco#info lists for the host.
    pub host_features: &'static [&'static str],
    /// What disco#info lists for an account.
    pub account_features: &'static [&'static str],
    /// What the stream's features say of it after authentication, as XML.
    pub stream_feature: &'static str,
    /// The namespaces of the requests that it answers.
    pub requests: &'static [&'static str],
    /// Those of them that change, asked of the host, the account of whoever
    /// asks: they are answered at its home, in its turn.
    pub of_sender: &'static [&'static str],
}

/// For whom a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One of our domains itself.
    Host,
    /// An account of ours, whom the server answers for.
    Account,
}

/// The rooms below, for whoever answers.
#[derive(Debug)]
pub struct Rooms {
    /// The domains that are served.
    pub domains: BTreeSet<Box<str>>,
    /// The other nodes.
    pub cluster: Arc<Cluster>,
    /// The durable tables.
    pub durable: Arc<Durable>,
    /// Who may log in.
    pub accounts: Arc<Accounts>,
    /// Who is connected.
    pub sessions: Arc<Sessions>,
    /// Whom they know.
    pub contacts: Arc<Contacts>,
    /// What waits for them.
    pub offline: Arc<Offline>,
    /// When they were last here.
    pub last: Arc<LastSeen>,
}

/// What an extension may know of the world at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Cx<'a> {
    /// For whom the request is.
    pub place: Place,
    /// The time of day.
    pub now: SystemTime,
    /// Since this node serves.
    pub uptime: Duration,
    /// The rooms below.
    pub rooms: &'a Rooms,
    /// Everything that this server can do.
    pub extensions: &'a [Box<dyn Extension>],
}

/// What shall happen besides the answer, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// This stanza goes the way of every stanza.
    Route(Stanza),
    /// These sessions get this stanza, as it is.
    Write(Vec<Seat>, Stanza),
    /// `viewer` shall hear the presence of all sessions of the account.
    Show {
        /// Whose presence.
        account: BareJid,
        /// Who sees it.
        viewer: Jid,
    },
    /// All sessions of an account end.
    End(BareJid),
    /// An account that is marked as leaving goes, with all that belongs to
    /// it.
    Remove(BareJid),
}

/// The payload of a result, and what else shall happen: `first` before the
/// result is sent, `then` after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// What lies in the result.
    pub payload: Bytes,
    /// What happens before the requester has it.
    pub first: Vec<Effect>,
    /// What happens afterwards.
    pub then: Vec<Effect>,
}

/// What is said to a request.
pub type Answer = Result<Reply, StanzaError>;

/// What becomes of a stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// Its sender is told.
    Reject(StanzaError),
    /// It ends here, as its specification wants it.
    Ignore,
}

/// On which side of a message copies are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side<'a> {
    /// An account of ours has sent it.
    Sent,
    /// An account of ours gets it, by these sessions.
    Received(&'a [Seat]),
}

/// What a session shows by a request: the other nodes shall know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The flag of its row.
    pub flag: u8,
    /// Whether it has it from now on.
    pub is_on: bool,
}

impl Rooms {
    /// Whether a domain is ours.
    pub fn serves(&self, domain: &str) -> bool {
        self.domains.contains(domain)
    }

    /// Whether somebody may see the presence of an account.
    pub fn may_see(&self, account: &BareJid, viewer: &Jid) -> bool {
        let viewer = viewer.bare();
        *account == viewer
            || self.contacts.one(account, &viewer).is_ok_and(|contact| contact.sees_us())
    }
}

/// One extension.
#[async_trait]
pub trait Extension: fmt::Debug + Send + Sync {
    /// What it is.
    fn about(&self) -> About;

    /// What disco#info of the host has besides, as a data form (XEP-0128).
    fn form(&self) -> Option<Element> {
        None
    }

    /// Answers a request to the host or to an account, in one of the
    /// namespaces of [`About::requests`]. Requests of one account are answered
    /// one after the other; those that change an account, at its home.
    async fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Answer {
        let _ = (cx, request, child);
        Err(StanzaCondition::ServiceUnavailable.into())
    }

    /// What service discovery says of a node of this extension, to a request
    /// in the namespace `ns`; `None`: it is not one of its.
    fn node(&self, cx: &Cx<'_>, request: &Stanza, ns: &str, node: &str) -> Option<Answer> {
        let _ = (cx, request, ns, node);
        None
    }

    /// Looks at a request of a session to its own account, before it is
    /// answered.
    fn asked(&self, request: &Stanza, child: &ChildName) -> Option<Asked> {
        let _ = (request, child);
        None
    }

    /// Itself, if it looks at every stanza that passes.
    fn watch(&self) -> Option<&dyn Watch> {
        None
    }
}

/// An extension that every stanza of an account of ours passes. There are few:
/// each costs every stanza something.
pub trait Watch {
    /// Looks at what an account of ours sends.
    fn sent(&self, rooms: &Rooms, stanza: &Stanza) -> Verdict {
        let _ = (rooms, stanza);
        Verdict::Pass
    }

    /// Looks at what arrives for an account of ours.
    fn arriving(&self, rooms: &Rooms, stanza: &Stanza) -> Verdict {
        let _ = (rooms, stanza);
        Verdict::Pass
    }

    /// Takes from a message what the sessions of an account of ours are not to
    /// get.
    fn delivered(&self, message: &mut Stanza) {
        let _ = message;
    }

    /// Who else shall see a message that goes its way now.
    fn copies(&self, rooms: &Rooms, message: &Stanza, side: Side<'_>) -> Vec<Effect> {
        let _ = (rooms, message, side);
        Vec::new()
    }
}

impl From<Bytes> for Reply {
    fn from(payload: Bytes) -> Self {
        Self { payload, ..Self::default() }
    }
}

impl From<String> for Reply {
    fn from(payload: String) -> Self {
        Bytes::from(payload).into()
    }
}

impl Cx<'_> {
    /// Whether the account itself asks.
    pub fn is_own(&self, request: &Stanza) -> bool {
        self.place == Place::Account
            && request.from.as_ref().map(Jid::bare) == request.to.as_ref().map(Jid::bare)
    }

    /// The account that itself asks.
    ///
    /// # Errors
    /// `forbidden` where somebody else does, `service-unavailable` where the
    /// host is asked.
    pub fn own_account(&self, request: &Stanza) -> Result<BareJid, StanzaError> {
        match (&request.to, self.place) {
            (Some(to), Place::Account) if self.is_own(request) => Ok(to.bare()),
            (_, Place::Account) => Err(StanzaCondition::Forbidden.into()),
            _ => Err(StanzaCondition::ServiceUnavailable.into()),
        }
    }
}

/// The store failed: the sender may try again.
impl From<StoreError> for StanzaError {
    fn from(_: StoreError) -> Self {
        Self::from(StanzaCondition::InternalServerError).with_type(ErrorType::Wait)
    }
}

/// As for [`StoreError`].
impl From<ChangeError> for StanzaError {
    fn from(_: ChangeError) -> Self {
        Self::from(StanzaCondition::InternalServerError).with_type(ErrorType::Wait)
    }
}
