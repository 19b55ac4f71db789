//! The rows of the soft tables: what dies with its node. Each row has one
//! writer, the node that owns it. What a row means to a stanza is decided in
//! the rooms above.

use std::hash::Hasher;

use serde::{Deserialize, Serialize};

use super::hash::Sip;
use super::node::NodeId;

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
///
/// All but the domain is one text on the wire and in the table, so that a node
/// that knows fewer of its fields still keeps and passes on all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Pair", into = "Pair")]
pub struct RouteRow {
    /// The component's domain.
    pub domain: Box<str>,
    /// Which of several streams of that domain: its name.
    pub instance: Box<str>,
    /// How much of the traffic it shall have, beside the others; never 0.
    pub weight: u8,
    /// It shall get nothing that another instance can take.
    pub is_draining: bool,
    /// When it came, in microseconds since 1970 on its owner's clock.
    pub since: u64,
    /// What it calls itself, for people; empty while that is not known.
    pub title: Box<str>,
    /// What the host (`h`) and its accounts (`a`) can do by it (XEP-0355 §5), a
    /// line each: `hf` and a feature, `hi` and an identity's category, type and
    /// name, with tabs between.
    pub nested: Box<str>,
}

/// A domain, and whatever else there is in one text.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pair {
    domain: Box<str>,
    rest: Box<str>,
}

/// Parts the fields of a route's text. No name or title has it.
const FIELD_END: char = '\0';

/// A server link: this owner has an open stream from a domain of ours to
/// somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    /// Our domain.
    pub ours: Box<str>,
    /// Their domain.
    pub theirs: Box<str>,
    /// How far it is.
    pub state: LinkState,
}

/// How far a server link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkState {
    /// It is being opened; what is given to it waits.
    Opening,
    /// Stanzas are written to it.
    Open,
    /// It has failed, and its owner does not try again as long as this row
    /// stands. The number says why, to whoever knows servers.
    Failed(u8),
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

/// Which of the soft tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `sessions`.
    Session,
    /// `routes`.
    Route,
    /// `links`.
    Link,
}

/// One change of the merged table, as the rooms above see it: only rows of
/// visible owners, our own among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// Whose row.
    pub owner: NodeId,
    /// The row's number at its owner.
    pub number: u64,
    /// The row before; `None`: there was none.
    pub old: Option<SoftRow>,
    /// The row now; `None`: it is gone.
    pub new: Option<SoftRow>,
}

/// A row as a table keeps it: small, and the same shape for all tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Its key, and after a `/` what else there is of text. No key has a `/`.
    pub text: Box<str>,
    /// A number, if it has one.
    pub wide: u64,
    /// Small things.
    pub small: [u8; 3],
}

/// What a row weighs on the wire besides its text, at most: numbers, stamp,
/// lengths.
pub(super) const WEIGHT: usize = 32;

/// A kind of row that a table can keep.
pub trait Row: Clone + std::fmt::Debug {
    /// Which table it belongs to.
    const KIND: Kind;

    /// The row as it is kept.
    fn pack(&self) -> Packed;

    /// The row that was kept. Its owner is kept elsewhere.
    fn unpack(packed: &Packed, owner: NodeId) -> Self;
}

impl Row for SessionRow {
    const KIND: Kind = Kind::Session;

    fn pack(&self) -> Packed {
        let available = u8::from(self.priority.is_some());
        let priority = self.priority.unwrap_or_default().cast_unsigned();
        Packed {
            text: self.jid.clone(),
            wide: self.bound,
            small: [available, priority, self.flags],
        }
    }

    fn unpack(packed: &Packed, _owner: NodeId) -> SessionRow {
        let [available, priority, flags] = packed.small;
        SessionRow {
            jid: packed.text.clone(),
            priority: (available != 0).then(|| priority.cast_signed()),
            flags,
            bound: packed.wide,
        }
    }
}

impl Row for RouteRow {
    const KIND: Kind = Kind::Route;

    fn pack(&self) -> Packed {
        pack_pair(&self.domain, &self.rest())
    }

    fn unpack(packed: &Packed, _owner: NodeId) -> RouteRow {
        let (domain, rest) = packed.pair();
        RouteRow::read(domain.into(), rest)
    }
}

impl RouteRow {
    fn rest(&self) -> String {
        let Self { instance, weight, is_draining, since, title, nested, .. } = self;
        let is_draining = u8::from(*is_draining);
        format!("{instance}\0{weight}\0{is_draining}\0{since}\0{title}\0{nested}")
    }

    /// What cannot be read is as if it had not been said.
    fn read(domain: Box<str>, rest: &str) -> Self {
        let mut fields = rest.split(FIELD_END);
        let mut next = || fields.next().unwrap_or_default();
        Self {
            domain,
            instance: next().into(),
            weight: next().parse().unwrap_or(1).max(1),
            is_draining: next() == "1",
            since: next().parse().unwrap_or(0),
            title: next().into(),
            nested: next().into(),
        }
    }
}

impl From<Pair> for RouteRow {
    fn from(pair: Pair) -> Self {
        Self::read(pair.domain, &pair.rest)
    }
}

impl From<RouteRow> for Pair {
    fn from(row: RouteRow) -> Self {
        Self { rest: row.rest().into(), domain: row.domain }
    }
}

impl Row for LinkRow {
    const KIND: Kind = Kind::Link;

    fn pack(&self) -> Packed {
        let small = match self.state {
            LinkState::Opening => [0, 0, 0],
            LinkState::Open => [1, 0, 0],
            LinkState::Failed(reason) => [2, reason, 0],
        };
        Packed { small, ..pack_pair(&self.theirs, &self.ours) }
    }

    fn unpack(packed: &Packed, _owner: NodeId) -> LinkRow {
        let (theirs, ours) = packed.pair();
        let state = match packed.small {
            [0, ..] => LinkState::Opening,
            [1, ..] => LinkState::Open,
            [_, reason, _] => LinkState::Failed(reason),
        };
        LinkRow { ours: ours.into(), theirs: theirs.into(), state }
    }
}

impl Packed {
    /// What the row is found by.
    pub fn key(&self) -> &str {
        self.pair().0
    }

    /// The row's share in its owner's [`super::frame::Sum`].
    pub fn hash(&self, kind: Kind, number: u64) -> u64 {
        let mut sip = Sip::default();
        sip.write(&number.to_le_bytes());
        sip.write(&self.wide.to_le_bytes());
        let [a, b, c] = self.small;
        sip.write(&[kind as u8, a, b, c]);
        sip.write(self.text.as_bytes());
        sip.finish()
    }

    fn pair(&self) -> (&str, &str) {
        self.text.split_once('/').unwrap_or((&self.text, ""))
    }
}

impl SoftRow {
    /// Which table it belongs to, and how it is kept there.
    pub fn pack(&self) -> (Kind, Packed) {
        match self {
            SoftRow::Session(row) => (Kind::Session, row.pack()),
            SoftRow::Route(row) => (Kind::Route, row.pack()),
            SoftRow::Link(row) => (Kind::Link, row.pack()),
        }
    }

    /// The row of that table that was kept.
    pub fn unpack(kind: Kind, packed: &Packed, owner: NodeId) -> SoftRow {
        match kind {
            Kind::Session => SoftRow::Session(SessionRow::unpack(packed, owner)),
            Kind::Route => SoftRow::Route(RouteRow::unpack(packed, owner)),
            Kind::Link => SoftRow::Link(LinkRow::unpack(packed, owner)),
        }
    }

    /// Its bytes on the wire, about and rather more.
    pub fn weight(&self) -> usize {
        let text = match self {
            SoftRow::Session(row) => row.jid.len(),
            // numbers and marks take the rest
            SoftRow::Route(row) => {
                let texts = row.instance.len() + row.title.len() + row.nested.len();
                row.domain.len() + texts + 32
            }
            SoftRow::Link(row) => row.ours.len() + row.theirs.len(),
        };
        text + WEIGHT
    }
}

fn pack_pair(key: &str, rest: &str) -> Packed {
    Packed { text: format!("{key}/{rest}").into(), wide: 0, small: [0; 3] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(row: SoftRow, key: &str) {
        let (kind, packed) = row.pack();
        assert_eq!(packed.key(), key);
        assert_eq!(SoftRow::unpack(kind, &packed, NodeId::default()), row);
    }

    #[test]
    fn a_row_comes_back_as_it_was_kept() {
        for priority in [None, Some(0), Some(-128), Some(127)] {
            let jid = "juliet@example.org/balcony/left".into();
            let row = SessionRow { jid, priority, flags: 5, bound: 77 };
            check(SoftRow::Session(row), "juliet@example.org");
        }
        let route = RouteRow {
            domain: "chat.example.org".into(),
            instance: "a/b".into(),
            weight: 3,
            is_draining: true,
            since: u64::MAX,
            title: "Chat / rooms".into(),
            nested: "hfu:one\nafu:two".into(),
        };
        check(SoftRow::Route(route), "chat.example.org");
        for state in [LinkState::Opening, LinkState::Open, LinkState::Failed(7)] {
            let (ours, theirs) = ("example.org".into(), "example.net".into());
            check(SoftRow::Link(LinkRow { ours, theirs, state }), "example.net");
        }
    }

    #[test]
    fn a_route_is_on_the_wire_what_it_was_before_it_had_more_fields() {
        let old = postcard::to_stdvec(&("chat.example.org", "a/b")).unwrap();
        let read: RouteRow = postcard::from_bytes(&old).unwrap();
        assert_eq!((&*read.instance, read.weight, read.is_draining), ("a/b", 1, false));
        let now = RouteRow { title: "Chat".into(), ..read };
        let written = postcard::to_stdvec(&now).unwrap();
        assert_eq!(postcard::from_bytes::<RouteRow>(&written).unwrap(), now);
        let pair: (String, String) = postcard::from_bytes(&written).unwrap();
        assert_eq!(
            pair,
            ("chat.example.org".into(), ["a/b", "1", "0", "0", "Chat", ""].join("\0"))
        );
    }

    #[test]
    fn every_difference_is_in_the_hash() {
        let row = |priority, flags, bound| {
            let jid = "juliet@example.org/balcony".into();
            SessionRow { jid, priority, flags, bound }.pack()
        };
        let rows = [row(None, 0, 0), row(Some(0), 0, 0), row(Some(0), 1, 0), row(Some(0), 0, 1)];
        let mut hashes: Vec<u64> = rows.iter().map(|row| row.hash(Kind::Session, 1)).collect();
        hashes.push(rows[0].hash(Kind::Session, 2));
        hashes.push(rows[0].hash(Kind::Route, 1));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 6);
    }
}
