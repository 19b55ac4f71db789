//! How a connection becomes the link with a node, and how it ends. Who began
//! it names an order; of two links between one pair the one with the greater
//! rank stays, at both ends (`link` has the rank).

use super::frame::{Frame, Hello};
use super::link::{Link, Stage};
use super::membership::Membership;
use super::moment::Moment;
use super::news::{Dialed, Output};
use super::node::{LinkId, Node, NodeId, NodeState};
use super::patience::RoundTrip;
use super::settings::Counts;

impl Membership {
    /// A connection on which the cookie was proved.
    pub(super) fn link_up(
        &mut self,
        now: Moment,
        node: &Node,
        link: LinkId,
        dialed: Dialed,
        counts: &mut Counts,
        out: &mut Vec<Output>,
    ) {
        let admitted = self.admit(node, NodeState::Joining, now, counts, out);
        let Some(peer) = self.peers.get_mut(&node.id).filter(|_| admitted) else {
            return out.push(Output::Close { link });
        };
        let (stage, dialer) = match dialed {
            Dialed::Theirs => (Stage::Awaited, node.id),
            Dialed::Ours => {
                peer.dial.since = None;
                if peer.link.is_some() {
                    return out.push(Output::Close { link });
                }
                peer.order += 1;
                (Stage::Proposed { order: peer.order }, self.me.id)
            }
        };
        if let Stage::Proposed { order } = stage {
            out.push(self.hello(now, link, order));
        }
        self.links.insert(
            link,
            Link { peer: node.id, dialer, stage, heard: now, stamp: 0, trip: RoundTrip::default() },
        );
    }

    /// The first frame of the other side. True: the link is in use from now.
    pub(super) fn hello(&self, now: Moment, link: LinkId, order: u64) -> Output {
        let hello =
            Hello { order, stamp: now.millis(), takes: self.taking.promised(), state: self.state };
        Output::Send { link, frame: Frame::Hello(hello) }
    }

    /// The first frame of the other side came: whose link it now is, if it is
    /// to be used.
    pub(super) fn greeted(
        &mut self,
        now: Moment,
        id: LinkId,
        hello: &Hello,
        out: &mut Vec<Output>,
    ) -> Option<NodeId> {
        let link = self.links.get_mut(id)?;
        let peer = link.peer;
        let answer = match link.stage {
            Stage::Awaited => true,
            Stage::Proposed { order } if order == hello.order => false,
            Stage::Proposed { .. } | Stage::Open { .. } => {
                self.end(now, id, out);
                return None;
            }
        };
        link.stamp = hello.stamp;
        let mut greeted = link.clone();
        greeted.stage = Stage::Open { order: hello.order };
        let others: Vec<LinkId> =
            self.links.of(peer).into_iter().filter(|other| *other != id).collect();
        let outranked = |other: &LinkId| {
            let other = self.links.get(*other);
            other
                .is_some_and(|other| other.stage != Stage::Awaited && other.rank() > greeted.rank())
        };
        if others.iter().any(outranked) {
            self.end(now, id, out);
            return None;
        }
        let lower = |other: &LinkId| {
            self.links.get(*other).is_some_and(|other| other.stage != Stage::Awaited)
        };
        for other in others.into_iter().filter(lower).collect::<Vec<_>>() {
            self.links.remove(other);
            out.push(Output::Close { link: other });
        }
        self.links.insert(id, greeted);
        if answer {
            out.push(self.hello(now, id, hello.order));
        }
        self.open(now, peer, id, hello);
        out.push(Output::Send { link: id, frame: self.links_frame() });
        Some(peer)
    }

    fn open(&mut self, now: Moment, peer: NodeId, id: LinkId, hello: &Hello) {
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        peer.link = Some(id);
        peer.order = peer.order.max(hello.order);
        peer.state = hello.state;
        peer.promised.note(now, hello.takes, &self.settings);
        peer.reset = None;
        peer.reports.clear();
        peer.dial.since = None;
        peer.dial.pause = std::time::Duration::ZERO;
        peer.dial.next = now;
    }

    /// We close a connection.
    pub(super) fn end(&mut self, now: Moment, id: LinkId, out: &mut Vec<Output>) {
        out.push(Output::Close { link: id });
        self.lost(now, id);
    }

    /// A connection has ended.
    pub(super) fn lost(&mut self, now: Moment, id: LinkId) {
        let Some(link) = self.links.remove(id) else { return };
        let Some(peer) = self.peers.get_mut(&link.peer) else { return };
        if peer.link == Some(id) {
            peer.lost(now);
        } else if link.dialer == self.me.id {
            peer.dial_failed(now, &self.settings);
        }
    }

    /// Closes what nobody was heard on for too long.
    pub(super) fn end_silent(&mut self, now: Moment, out: &mut Vec<Output>) {
        for id in self.links.silent(now, &self.settings) {
            self.end(now, id, out);
        }
    }
}
