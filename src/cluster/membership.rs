//! Who is there: all evidence about all other nodes, and what follows from it.
//!
//! What follows from the evidence about one node is `peer`'s to say; how a
//! connection becomes a link is in `greeting`. What a node that comes or goes
//! means to rows and letters is decided in `core`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::frame::Frame;
use super::link::Links;
use super::members::{Member, Members};
use super::moment::Moment;
use super::news::{Failure, Output};
use super::node::{Node, NodeId, NodeName, NodeState, Peer as Told};
use super::patience::Taking;
use super::peer::{Cause, Heart, Others, Path, Peer, Standing, Verdict};
use super::settings::{Counts, Settings};

/// What has changed for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its rows are to be seen; it was hidden for so long, if ever.
    Show(NodeId, Option<Duration>),
    /// Its rows are not to be seen, and what waited for it comes back.
    Hide(NodeId, Cause),
    /// It was away for so long that its rows are to go.
    Forget(NodeId),
    /// It is reached by another path than before.
    Path(NodeId),
}

/// All other nodes, and our links with them.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) me: Node,
    pub(super) state: NodeState,
    pub(super) settings: Settings,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    pub(super) links: Links,
    /// How old letters may be.
    pub(super) taking: Taking,
    /// The nodes that we last said we have fresh links with.
    reported: BTreeSet<NodeId>,
    /// When we were last told anything.
    awake: Option<Moment>,
    /// Before this we accuse nobody: we stood still ourselves.
    guard: Moment,
    chance: u64,
}

impl Membership {
    pub(super) fn new(me: Node, settings: Settings, seed: u64) -> Membership {
        Membership {
            me,
            state: NodeState::Joining,
            peers: BTreeMap::new(),
            links: Links::default(),
            taking: Taking::new(&settings),
            settings,
            reported: BTreeSet::new(),
            awake: None,
            guard: Moment::START,
            chance: seed,
        }
    }

    /// What our heartbeat of now promises.
    pub(super) fn promise(&mut self, stamp: u64) -> u64 {
        let trips = self.links.open().map(|(_, link)| &link.trip);
        self.taking.promise(stamp, trips, &self.settings)
    }

    /// To be called with every piece of news, before it: did we stand still?
    pub(super) fn breathe(&mut self, now: Moment, counts: &mut Counts) {
        let gap = self.awake.map_or_else(Default::default, |awake| now.since(awake));
        self.awake = Some(now);
        if gap >= self.settings.stall_min {
            self.stalled(now, counts);
        }
    }

    /// We stood still: whatever seems silent may only be unheard.
    pub(super) fn stalled(&mut self, now: Moment, counts: &mut Counts) {
        counts.stalls += 1;
        self.guard = now.after(self.settings.stall_guard);
        self.links.forgive(now);
        for peer in self.peers.values_mut() {
            if let Some(heart) = &mut peer.gossip {
                heart.moved = now;
            }
            if peer.apart.is_some() {
                peer.apart = Some(now);
            }
        }
    }

    /// The set that gossip believes alive.
    pub(super) fn gossip(
        &mut self,
        now: Moment,
        told: &[Told],
        counts: &mut Counts,
        out: &mut Vec<Output>,
    ) {
        let live: BTreeSet<NodeId> = told.iter().map(|told| told.node.id).collect();
        for (id, peer) in &mut self.peers {
            if !live.contains(id) {
                peer.gossip = None;
            }
        }
        for one in told {
            if !self.admit(&one.node, one.state, now, counts, out) {
                continue;
            }
            let Some(peer) = self.peers.get_mut(&one.node.id) else { continue };
            let grew = peer.gossip.is_none_or(|heart| one.heartbeat > heart.count);
            if grew {
                peer.gossip = Some(Heart { count: one.heartbeat, moved: now });
            }
            // what a link says of it is fresher
            if peer.link.is_none() {
                peer.state = one.state;
            }
        }
    }

    /// Whether this is a node to deal with; makes it known if it is new. The
    /// greater id of a name makes the lesser ones past.
    pub(super) fn admit(
        &mut self,
        node: &Node,
        state: NodeState,
        now: Moment,
        counts: &mut Counts,
        out: &mut Vec<Output>,
    ) -> bool {
        if node.name == self.me.name {
            if node.id > self.me.id {
                out.push(Output::Ghost { by: node.id });
            }
            return false;
        }
        if let Some(known) = self.peers.get(&node.id) {
            return known.node.name == node.name && known.left.is_none();
        }
        let of_name = |peer: &&mut Peer| peer.node.name == node.name;
        for former in self.peers.values_mut().filter(of_name) {
            if former.node.id > node.id {
                return false;
            }
            former.left = former.left.or(Some(Cause::Replaced));
        }
        if self.peers.len() >= self.settings.nodes_max {
            counts.nodes_refused += 1;
            return false;
        }
        // the lesser id dials first, so that mostly only one of two does
        let patience = if self.me.id < node.id { 0 } else { 2 };
        let first_dial = now.after(self.settings.redial_min * patience);
        self.peers.insert(node.id, Peer::new(node.clone(), state, now, first_dial));
        true
    }

    /// A try to connect has failed.
    pub(super) fn connect_failed(&mut self, now: Moment, id: NodeId, how: Failure) {
        let spread = self.spread();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let (Some(reset), Failure::Refused) = (&mut peer.reset, how) {
            reset.refused = true;
        }
        peer.dial_failed(now, &self.settings);
        peer.dial.next = peer.dial.next.after(peer.dial.pause.mul_f32(spread));
    }

    /// Compares all evidence. Steps follow each other in the order in which
    /// they are to be taken.
    pub(super) fn judge(&mut self, now: Moment, out: &mut Vec<Output>) -> Vec<Step> {
        let fresh = self.fresh(now);
        self.report(&fresh, out);
        let accuse = now >= self.guard;
        // who passes a letter on has promised as well
        let promised = self.peers.values().map(|peer| peer.promised.most()).max();
        let patience = promised.unwrap_or_default().max(self.settings.fresh_max);
        let mut steps = Vec::new();
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            let direct = fresh.contains(&id);
            let by = fresh.iter().filter(|by| **by != id);
            let witnessed = by.clone().any(|by| self.reports(*by, id));
            let others = Others { witnessed, any: by.clone().next().is_some() };
            let path = self.choose_path(id, &fresh);
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            peer.apart = match direct || witnessed {
                true => None,
                false => peer.apart.or(Some(now)),
            };
            let verdict = peer.verdict(now, direct, others, (accuse, patience), &self.settings);
            match verdict {
                Verdict::Show => {
                    let away = match peer.standing {
                        Standing::Hidden { since } => Some(now.since(since)),
                        Standing::New | Standing::Visible | Standing::Forgotten => None,
                    };
                    peer.standing = Standing::Visible;
                    steps.push(Step::Show(id, away));
                }
                Verdict::Hide(cause) => {
                    peer.standing = Standing::Hidden { since: now };
                    steps.push(Step::Hide(id, cause));
                }
                Verdict::Stay => {}
            }
            if peer.path != path {
                peer.path = path;
                steps.push(Step::Path(id));
            }
            if let Standing::Hidden { since } = peer.standing
                && now.since(since) >= self.settings.purge_after
            {
                peer.standing = Standing::Forgotten;
                steps.push(Step::Forget(id));
            }
        }
        self.drop_strangers();
        steps
    }

    /// Whoever nobody has heard of for long is a stranger again.
    fn drop_strangers(&mut self) {
        let links = &self.links;
        self.peers.retain(|id, peer| {
            let known = !matches!(peer.standing, Standing::New | Standing::Forgotten);
            known || peer.gossip.is_some() || !links.of(*id).is_empty()
        });
    }

    /// The nodes whose link with us is in use, and was heard of just now.
    fn fresh(&self, now: Moment) -> BTreeSet<NodeId> {
        let is_fresh = |heard| now.since(heard) <= self.settings.fresh_max;
        let open = self.links.open().filter(|(id, link)| {
            let in_use = self.peers.get(&link.peer).is_some_and(|peer| peer.link == Some(*id));
            in_use && is_fresh(link.heard)
        });
        open.map(|(_, link)| link.peer).collect()
    }

    /// Whether a node of this name, and with another id, is heard of just now.
    pub(super) fn hears(&self, now: Moment, name: &NodeName, but: NodeId) -> bool {
        let fresh = self.fresh(now);
        let named = self.peers.iter().filter(|(id, peer)| peer.node.name == *name && **id != but);
        let mut visible = named.filter(|(_, peer)| peer.is_visible() && peer.left.is_none());
        visible.any(|(id, _)| {
            fresh.contains(id) || fresh.iter().any(|by| by != id && self.reports(*by, *id))
        })
    }

    /// All lives of this name are past.
    pub(super) fn expel(&mut self, name: &NodeName) {
        for peer in self.peers.values_mut().filter(|peer| peer.node.name == *name) {
            peer.left = Some(Cause::Removed);
        }
    }

    /// Whether `by` says that it has a link with `id`.
    fn reports(&self, by: NodeId, id: NodeId) -> bool {
        self.peers.get(&by).is_some_and(|by| by.reports.contains(&id))
    }

    /// Tells all neighbours whom we can reach, if that has changed.
    fn report(&mut self, fresh: &BTreeSet<NodeId>, out: &mut Vec<Output>) {
        if self.reported == *fresh {
            return;
        }
        self.reported.clone_from(fresh);
        let frame = self.links_frame();
        for (link, _) in self.links.open() {
            out.push(Output::Send { link, frame: frame.clone() });
        }
    }

    pub(super) fn links_frame(&self) -> Frame {
        Frame::Links(self.reported.iter().copied().collect())
    }

    /// Our own link, else the neighbour of now, else the first neighbour that
    /// reports it.
    fn choose_path(&self, id: NodeId, fresh: &BTreeSet<NodeId>) -> Path {
        let Some(peer) = self.peers.get(&id) else { return Path::None };
        if let Some(link) = peer.link {
            return Path::Direct(link);
        }
        let fits = |by: &NodeId| *by != id && fresh.contains(by) && self.reports(*by, id);
        let now = match peer.path {
            Path::Relay { by, .. } if fits(&by) => Some(by),
            _ => fresh.iter().copied().find(fits),
        };
        let by = now.and_then(|by| Some((by, self.peers.get(&by)?.link?)));
        by.map_or(Path::None, |(by, link)| Path::Relay { by, link })
    }

    /// Whom to try to connect to now.
    pub(super) fn dial(&mut self, now: Moment, out: &mut Vec<Output>) {
        let links = &self.links;
        for (id, peer) in &mut self.peers {
            let wanted = (peer.gossip.is_some() || peer.is_visible()) && peer.left.is_none();
            let idle = peer.link.is_none() && peer.dial.since.is_none();
            if wanted && idle && peer.dial.next <= now && links.of(*id).is_empty() {
                peer.dial.since = Some(now);
                out.push(Output::Connect { peer: *id });
            }
        }
    }

    /// The visible nodes.
    pub(super) fn members(&self) -> Members {
        let me = Member { node: self.me.clone(), state: self.state };
        let visible = self.peers.values().filter(|peer| peer.is_visible());
        let member = |peer: &Peer| Member { node: peer.node.clone(), state: peer.state };
        Members::new(me, visible.map(member))
    }

    pub(super) fn is_visible(&self, id: NodeId) -> bool {
        self.peers.get(&id).is_some_and(Peer::is_visible)
    }

    pub(super) fn path(&self, id: NodeId) -> Path {
        self.peers.get(&id).map_or(Path::None, |peer| peer.path)
    }

    /// All nodes that we can send to.
    pub(super) fn reachable(&self) -> Vec<NodeId> {
        let reached = self.peers.iter().filter(|(_, peer)| peer.path != Path::None);
        reached.map(|(id, _)| *id).collect()
    }

    /// Between 0 and 1, by chance.
    fn spread(&mut self) -> f32 {
        self.chance = super::hash::stable(&self.chance.to_le_bytes());
        (self.chance >> 40) as f32 / (1u64 << 24) as f32
    }
}
