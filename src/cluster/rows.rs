//! The rows of the soft tables: what dies with its node. Each row has one
//! writer, the node that owns it. What a row means to a stanza is decided in
//! the rooms above.

use serde::{Deserialize, Serialize};

/// Placeholder until the words of the addresses stand in `xmpp`.
pub type FullJid = Box<str>;

/// A session: somebody is connected with this full JID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Who.
    pub jid: FullJid,
    /// RFC 6121, 4.7.2.3; `None`: bound, but not yet available.
    pub priority: Option<i8>,
    /// What the session manager wants to know of it elsewhere; its bits.
    pub flags: u8,
    /// When it was bound.
    pub bound: u64,
}

/// A route: this owner has a stream to a component of that domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRow {
    /// The component's domain.
    pub domain: Box<str>,
    /// Which of several streams of that domain.
    pub instance: Box<str>,
}

/// A server link: this owner has an open stream from a domain of ours to
/// somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    /// Our domain.
    pub ours: Box<str>,
    /// Their domain.
    pub theirs: Box<str>,
}

/// Any row of the soft tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SoftRow {
    /// A row of `sessions`.
    Session(SessionRow),
    /// A row of `routes`.
    Route(RouteRow),
    /// A row of `links`.
    Link(LinkRow),
}

/// One change of the merged table, as the rooms above see it: only rows of
/// visible owners, our own among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// Whose row.
    pub owner: super::node::NodeId,
    /// The row's number at its owner.
    pub number: u64,
    /// The row before; `None`: there was none.
    pub old: Option<SoftRow>,
    /// The row now; `None`: it is gone.
    pub new: Option<SoftRow>,
}
