//! Deliveries between two nodes: none is lost, none is given twice, and their
//! order stays. Paths and peers are `membership`'s; here are the letters to
//! every peer (`outbound`) and from every peer (`inbound`).
//!
//! The rules, and why nothing is taken after it came back:
//!
//! 1. Numbers count up by one and are never used again in this life of ours,
//!    not even for a peer that was forgotten and met again: they begin at the
//!    clock. (A million letters a second would have to be sent to pass it.)
//! 2. A letter is taken only if its number follows the last one received. It
//!    names its `base`, the lowest number that its sender still answers for;
//!    the receiver skips to it, for what lies below was taken or has come
//!    back. So each number is passed once: taken, or skipped for ever.
//! 3. A letter is taken only while it is fresh: no more than `fresh_max`, or
//!    what the receiver has promised where ways are slow (see `patience`),
//!    after it sent the latest heartbeat that the letter's writer had heard.
//!    Letters come back only when nothing was heard of the receiver for longer
//!    than that, on any path, or its process is known to be dead or to take no
//!    more. So what has come back is not fresh, wherever it still lies: in a
//!    kernel's buffer, with a neighbour, before a process that stood still.
//!    (Clocks of two nodes are never compared, only their pace.)
//!
//! What cannot be promised: if the receiver took a letter and its receipt did
//! not arrive before it was given up, the letter comes back as well. Such a
//! return says `InDoubt`.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::frame::{Letter, Receipt};
use super::inbound::Inbound;
use super::moment::Moment;
use super::news::Reason;
use super::node::NodeId;
use super::outbound::{Outbound, Room};
use super::settings::Settings;

/// How many forgotten peers we remember the last received number of. It is a
/// second wall: rule 3 alone refuses what such a peer had sent. Full: the
/// first forgotten goes.
const FORMER_MAX: usize = 4_096;

/// All letters to and from all peers.
#[derive(Debug, Default)]
pub(super) struct Custody {
    outbound: BTreeMap<NodeId, Outbound>,
    inbound: BTreeMap<NodeId, Inbound>,
    former: VecDeque<(NodeId, u64)>,
}

impl Custody {
    /// Takes a delivery into custody; gives it back if there is no room.
    pub(super) fn push(
        &mut self,
        now: Moment,
        to: NodeId,
        body: Bytes,
        settings: &Settings,
    ) -> Result<(), Bytes> {
        let bytes_max = settings.custody_bytes_max;
        let room = Room { bytes_max, count_max: settings.custody_count_max };
        self.outbound.entry(to).or_insert_with(|| Outbound::new(now)).push(body, room)
    }

    /// What is to be written to `to` now, if there is a path.
    pub(super) fn due(&mut self, now: Moment, to: NodeId) -> Vec<Letter> {
        self.outbound.get_mut(&to).map(|outbound| outbound.due(now)).unwrap_or_default()
    }

    /// Time has passed for what is on its way to `to`; `lossy`: its path may
    /// lose letters.
    pub(super) fn tick(
        &mut self,
        now: Moment,
        to: NodeId,
        lossy: bool,
        settings: &Settings,
    ) -> Option<Letter> {
        if let Some(inbound) = self.inbound.get_mut(&to) {
            inbound.tick();
        }
        self.outbound.get_mut(&to)?.tick(now, settings.probe_after, lossy)
    }

    /// There is another path to `peer`.
    pub(super) fn path_changed(&mut self, now: Moment, peer: NodeId) -> Option<Letter> {
        if let Some(inbound) = self.inbound.get_mut(&peer) {
            inbound.path_changed();
        }
        self.outbound.get_mut(&peer)?.path_changed(now)
    }

    /// `from` says how far it is with our letters.
    pub(super) fn receipt(
        &mut self,
        now: Moment,
        from: NodeId,
        receipt: &Receipt,
    ) -> Option<Letter> {
        self.outbound.get_mut(&from)?.receipt(now, receipt)
    }

    /// A letter of `from` came in: its body, if it is to be handed up.
    pub(super) fn letter(&mut self, from: NodeId, letter: Letter, fresh: bool) -> Option<Bytes> {
        let former = &self.former;
        let known = || former.iter().rev().find(|(peer, _)| *peer == from);
        let inbound = self.inbound.entry(from);
        let inbound = inbound.or_insert_with(|| Inbound::after(known().map_or(0, |known| known.1)));
        inbound.letter(letter, fresh)
    }

    /// The rooms above have taken a letter of `from` over.
    pub(super) fn taken(&mut self, from: NodeId, number: u64) {
        if let Some(inbound) = self.inbound.get_mut(&from) {
            inbound.taken(number);
        }
    }

    /// Whom we have letters from, and what is to be told to them now.
    pub(super) fn receipts(&mut self) -> Vec<(NodeId, Receipt)> {
        let due = |(from, inbound): (&NodeId, &mut Inbound)| Some((*from, inbound.receipt()?));
        self.inbound.iter_mut().filter_map(due).collect()
    }

    /// Letters of ours that nobody has taken over yet.
    pub(super) fn undelivered(&self) -> usize {
        self.outbound.values().map(Outbound::count).sum()
    }

    /// `peer` is gone: all that it has not taken comes back, in order.
    pub(super) fn take_back(&mut self, peer: NodeId) -> Vec<(Bytes, Reason)> {
        let letters = self.outbound.get_mut(&peer).map(Outbound::take_back).unwrap_or_default();
        let reason = |sent| if sent { Reason::InDoubt } else { Reason::Gone };
        letters.into_iter().map(|(body, sent)| (body, reason(sent))).collect()
    }

    /// `peer` is forgotten; what waited for it came back before.
    pub(super) fn forget(&mut self, peer: NodeId) {
        self.outbound.remove(&peer);
        if let Some(inbound) = self.inbound.remove(&peer) {
            self.former.push_back((peer, inbound.received()));
        }
        if self.former.len() > FORMER_MAX {
            self.former.pop_front();
        }
    }
}
