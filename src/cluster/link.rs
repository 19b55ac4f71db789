//! The connections of the mesh as the core knows them: which are greeted, and
//! when each was heard last. Between one pair there may be two for a moment;
//! both ends keep the same one.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::moment::Moment;
use super::node::{LinkId, NodeId};
use super::patience::RoundTrip;
use super::settings::Settings;

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) peer: NodeId,
    /// Who began it.
    pub(super) dialer: NodeId,
    pub(super) stage: Stage,
    /// When any byte came in, or it came up.
    pub(super) heard: Moment,
    /// The peer's latest stamp: what we echo.
    pub(super) stamp: u64,
    /// How long its answers take.
    pub(super) trip: RoundTrip,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Who dialed has named an order and waits for it to come back.
    Proposed {
        /// The order.
        order: u64,
    },
    /// Who was dialed waits for the order.
    Awaited,
    /// In use.
    Open {
        /// The order.
        order: u64,
    },
}

/// Of two links between one pair the one with the greater rank stays. Both
/// ends find the same: who dials names a greater order than it has seen, and
/// of two who dial at once the lesser id wins.
pub(super) type Rank = (u64, Reverse<NodeId>);

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<LinkId, Link>,
}

impl Links {
    pub(super) fn insert(&mut self, id: LinkId, link: Link) {
        self.links.insert(id, link);
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        self.links.remove(&id)
    }

    /// All links to `peer`, greeted or not.
    pub(super) fn of(&self, peer: NodeId) -> Vec<LinkId> {
        let of_peer = self.links.iter().filter(|(_, link)| link.peer == peer);
        of_peer.map(|(id, _)| *id).collect()
    }

    /// All links in use, with their peers.
    pub(super) fn open(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        let open = |link: &Link| matches!(link.stage, Stage::Open { .. });
        self.links.iter().filter(move |(_, link)| open(link)).map(|(id, link)| (*id, link))
    }

    /// Links on which nothing was heard for too long: for as long as their way
    /// is slow; while they are greeted, for the longest that any way may take,
    /// for no heart beats meanwhile.
    pub(super) fn silent(&self, now: Moment, settings: &Settings) -> Vec<LinkId> {
        let limit = |link: &Link| match link.stage {
            Stage::Open { .. } => link.trip.silence(settings),
            Stage::Proposed { .. } | Stage::Awaited => settings.taken_max.max(settings.silence_max),
        };
        let silent = self.links.iter().filter(|(_, link)| now.since(link.heard) > limit(link));
        silent.map(|(id, _)| *id).collect()
    }

    /// We stood still: nobody else was silent.
    pub(super) fn forgive(&mut self, now: Moment) {
        for link in self.links.values_mut() {
            link.heard = now;
        }
    }
}

impl Link {
    pub(super) fn rank(&self) -> Rank {
        let order = match self.stage {
            Stage::Proposed { order } | Stage::Open { order } => order,
            Stage::Awaited => 0,
        };
        (order, Reverse(self.dialer))
    }
}
