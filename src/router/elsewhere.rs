//! A stanza for somebody else's domain: by the link that the cluster has to
//! that server, on whichever node it is, or by one that is opened here.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::{trace, warn};

use crate::cluster::node::NodeId;
use crate::metrics;
use crate::net::outbox::Item;
use crate::router::Router;
use crate::router::act::{HOPS_MAX, Way};
use crate::router::parcel::{Label, Target};
use crate::s2s_manager::choice::{self, Choice, Flow};
use crate::s2s_manager::fault::Kind;
use crate::s2s_manager::leaving::{Deferred, Left};
use crate::s2s_manager::links::Unsent;
use crate::session_manager::session::{Held, Token};
use crate::stream::server::Pair;
use crate::xmpp::content::{Depth, translated};
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::jid::{Domain, Jid};
use crate::xmpp::namespaces::{CLIENT, SERVER};
use crate::xmpp::stanza::Stanza;

/// Pairs with stanzas that links could not send and that were not fetched yet.
/// Full: they wait with their pair. A guess; each is fetched at once.
pub const RETURNED_MAX: usize = 64;

impl Router {
    /// For a domain that is not ours.
    pub(super) fn elsewhere(&self, mut stanza: Stanza, mut way: Way) {
        let Some(pair) = pair(&stanza) else {
            return self.bounce(&stanza, StanzaCondition::JidMalformed.into());
        };
        stanza.payload = translated(&stanza.payload, CLIENT, SERVER, Depth::Content);
        match self.servers.defer(&pair, stanza.write(), way.held.take()) {
            Deferred::Waits => {}
            Deferred::Full(_) => self.back_to_sender(&stanza, Kind::Full),
            Deferred::Free(item) => self.beyond(&stanza, &pair, item, &way),
        }
    }

    /// As above; nothing of the pair waits before it here.
    fn beyond(&self, stanza: &Stanza, pair: &Pair, item: Item<Held>, way: &Way) {
        let flow = flow(stanza);
        match self.servers.carrier(pair, flow) {
            Choice::Failed(kind) => self.back_to_sender(stanza, kind),
            Choice::Node(node) if way.hops < HOPS_MAX => self.hand_on(flow, node, &item, way),
            Choice::Here | Choice::Node(_) => {
                // a node that stops opens no link
                let heir = match self.servers.is_stopping() && !self.servers.has(pair) {
                    true => self.servers.heir().filter(|_| way.hops < HOPS_MAX),
                    false => None,
                };
                if let Some(node) = heir {
                    return self.hand_on(flow, node, &item, way);
                }
                trace!(theirs = %pair.theirs, "stanza given to a link");
                self.servers.note_carrier(flow, self.me());
                if let Err(Unsent { why, .. }) = self.servers.push(pair, item.bytes, item.token) {
                    self.back_to_sender(stanza, why);
                }
            }
        }
    }

    fn hand_on(&self, flow: Flow, node: NodeId, item: &Item<Held>, way: &Way) {
        self.servers.note_carrier(flow, node);
        let label = Label { target: Target::Server, hops: way.hops + 1, mark: way.mark };
        self.rooms.cluster.deliver(node, label.pack(&item.bytes));
    }

    /// Fetches what links could not send, for ever.
    pub async fn fetch_returned(self: Arc<Self>, mut returned: mpsc::Receiver<Pair>) {
        while let Some(pair) = returned.recv().await {
            while let Some(left) = self.servers.take_left(&pair) {
                self.unsent(&pair, left);
            }
        }
    }

    fn unsent(&self, pair: &Pair, left: Left<Held>) {
        let Left { failed, why, behind } = left;
        // what another link carries now did not fail
        let why = why.filter(|_| !self.servers.is_carried_elsewhere(pair));
        let other = match why {
            Some(Kind::Unreachable) => self.other_node(pair),
            _ => None,
        };
        for item in failed {
            match (why, other) {
                (Some(_), Some(node)) => {
                    // it is not sent on from there
                    let mark = item.token.as_deref().map_or(0, Token::mark);
                    let label = Label { target: Target::Server, hops: HOPS_MAX, mark };
                    self.rooms.cluster.deliver(node, label.pack(&item.bytes));
                }
                (Some(kind), None) => self.tell_unsent(item.bytes, kind),
                (None, _) => self.once_more(pair, item),
            }
        }
        for item in behind {
            self.once_more(pair, item);
        }
    }

    fn once_more(&self, pair: &Pair, item: Item<Held>) {
        let mark = item.token.as_deref().map_or(0, Token::mark);
        match Stanza::parse_bytes(item.bytes.clone()) {
            Ok(stanza) => self.beyond(&stanza, pair, item, &Way { mark, ..Way::default() }),
            Err(error) => warn!(%error, "a stanza of ours cannot be read back"),
        }
    }

    /// A node that may reach what we cannot.
    fn other_node(&self, pair: &Pair) -> Option<NodeId> {
        let members = self.rooms.cluster.members();
        let others: Vec<_> = members.others().map(|member| member.node.id).collect();
        choice::second_opinion(&self.servers.rows(pair), self.me(), &others)
    }

    /// No link carries it: its sender hears why.
    fn back_to_sender(&self, stanza: &Stanza, kind: Kind) {
        metrics::count(metrics::S2S_RETURNED, kind.word());
        self.bounce(stanza, kind.error());
    }

    fn tell_unsent(&self, bytes: Bytes, kind: Kind) {
        match Stanza::parse_bytes(bytes) {
            Ok(stanza) => self.back_to_sender(&stanza, kind),
            Err(error) => warn!(%error, "a stanza of ours cannot be read back"),
        }
    }
}

/// From whom to whom it goes.
fn flow(stanza: &Stanza) -> Flow {
    let from = stanza.from.as_ref().map_or("", Jid::bare_str);
    let to = stanza.to.as_ref().map_or("", Jid::bare_str);
    Flow::new(from, to)
}

/// Between which domains a stanza goes.
fn pair(stanza: &Stanza) -> Option<Pair> {
    let (from, to) = (stanza.from.as_ref()?, stanza.to.as_ref()?);
    let (ours, theirs) = (Domain::parse(from.domain()), Domain::parse(to.domain()));
    Some(Pair { ours: ours.ok()?, theirs: theirs.ok()? })
}
