//! What we know of one other node, and what we conclude from it alone. Who
//! else can reach it is asked in `membership`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::node::{LinkId, Node, NodeId, NodeState};
use super::patience::Promised;
use super::settings::Settings;

/// One other node.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: Node,
    pub(super) state: NodeState,
    /// The version of its rows that it last told.
    pub(super) told: Option<u64>,
    /// How old a letter may be that it takes.
    pub(super) promised: Promised,
    pub(super) standing: Standing,
    /// Gossip believes it alive, and how its heartbeat does.
    pub(super) gossip: Option<Heart>,
    /// Our link with it, if one is in use.
    pub(super) link: Option<LinkId>,
    /// The greatest order of any link with it that we have seen.
    pub(super) order: u64,
    /// How the last link ended, until there is one again.
    pub(super) reset: Option<Reset>,
    pub(super) dial: Dial,
    /// The nodes it says it has links with; empty if we have none with it.
    pub(super) reports: BTreeSet<NodeId>,
    /// How we reach it.
    pub(super) path: Path,
    /// Since when nothing fresh was heard of it, neither from itself nor from
    /// a neighbour.
    pub(super) apart: Option<Moment>,
    /// This life of it is over, whatever is heard of it, and why.
    pub(super) left: Option<Cause>,
}

/// Whether its rows are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Never reached yet.
    New,
    /// A member.
    Visible,
    /// No member any more.
    Hidden {
        /// Since when.
        since: Moment,
    },
    /// Hidden for so long that its rows have been forgotten.
    Forgotten,
}

/// A heartbeat in gossip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heart {
    pub(super) count: u64,
    /// When the count last grew.
    pub(super) moved: Moment,
}

/// A link was closed or reset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reset {
    pub(super) at: Moment,
    /// And its host has since said that nobody listens.
    pub(super) refused: bool,
}

/// Our tries to connect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial {
    /// One is under way since.
    pub(super) since: Option<Moment>,
    /// The next one is not before.
    pub(super) next: Moment,
    /// The pause after the last failure.
    pub(super) pause: Duration,
}

/// How we reach a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// Not at all: what is for it waits.
    None,
    /// By our own link.
    Direct(LinkId),
    /// By a neighbour that has links with both of us.
    Relay {
        /// The neighbour.
        by: NodeId,
        /// Our link with the neighbour.
        link: LinkId,
    },
}

/// Why a node is no member any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It said goodbye.
    Stopped,
    /// Its process has ended: its host refuses connections.
    Killed,
    /// Nothing was heard of it on any way: its host or its network is gone.
    Silent,
    /// Gossip hears of it, and nobody reaches it.
    Unreachable,
    /// A later start of its name was seen.
    Replaced,
    /// It was removed from the cluster.
    Removed,
}

/// What is to become of its standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Stay,
    /// It is to be seen.
    Show,
    /// It is not to be seen.
    Hide(Cause),
}

/// What others know of a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Others {
    /// A neighbour says now that it has a link with it.
    pub(super) witnessed: bool,
    /// There is a neighbour that could have one.
    pub(super) any: bool,
}

impl Peer {
    pub(super) fn new(node: Node, state: NodeState, now: Moment, first_dial: Moment) -> Peer {
        Peer {
            node,
            state,
            told: None,
            promised: Promised::default(),
            standing: Standing::New,
            gossip: None,
            link: None,
            order: 0,
            reset: None,
            dial: Dial { since: None, next: first_dial, pause: Duration::ZERO },
            reports: BTreeSet::new(),
            path: Path::None,
            apart: Some(now),
            left: None,
        }
    }

    pub(super) fn is_visible(&self) -> bool {
        self.standing == Standing::Visible
    }

    /// What follows from all evidence. `direct`: our own link with it is
    /// fresh. `accuse`: we did not stand still just now. `patience`: what any
    /// node takes letters for.
    ///
    /// - Whom we or a neighbour hear is alive; gossip alone shows nobody.
    /// - Killed: its link was reset, its host refuses a new one, and no
    ///   neighbour has a link. Without any neighbour, gossip must have been
    ///   quiet about it for a moment as well.
    /// - Silent: gossip believes it dead, and nothing fresh was heard of it on
    ///   any path for `patience` on top (rule 3 of `custody` needs that).
    /// - Out of reach: gossip believes it alive and nobody reaches it, for
    ///   `unreachable_max`.
    pub(super) fn verdict(
        &self,
        now: Moment,
        direct: bool,
        others: Others,
        (accuse, patience): (bool, Duration),
        settings: &Settings,
    ) -> Verdict {
        if !self.is_visible() {
            let reached = direct || (others.witnessed && self.gossip.is_some());
            return if reached && self.left.is_none() { Verdict::Show } else { Verdict::Stay };
        }
        if let Some(cause) = self.left {
            return Verdict::Hide(cause);
        }
        if direct || others.witnessed || !accuse {
            return Verdict::Stay;
        }
        let apart = self.apart.map_or(Duration::ZERO, |since| now.since(since));
        let silent = self.gossip.is_none() && apart >= patience;
        let unreachable = apart >= settings.unreachable_max;
        match () {
            () if self.is_killed(now, others, settings) => Verdict::Hide(Cause::Killed),
            () if silent => Verdict::Hide(Cause::Silent),
            () if unreachable => Verdict::Hide(Cause::Unreachable),
            () => Verdict::Stay,
        }
    }

    fn is_killed(&self, now: Moment, others: Others, settings: &Settings) -> bool {
        let Some(Reset { at, refused: true }) = self.reset else { return false };
        let quiet_since = self.gossip.map_or(at, |heart| heart.moved.max(at));
        others.any || now.since(quiet_since) >= settings.confirmation
    }

    /// Our link with it has ended.
    pub(super) fn lost(&mut self, now: Moment) {
        self.link = None;
        self.reports.clear();
        self.reset = Some(Reset { at: now, refused: false });
        self.dial.next = now.after(self.dial.pause);
    }

    /// A try to connect has failed.
    pub(super) fn dial_failed(&mut self, now: Moment, settings: &Settings) {
        let pause = (self.dial.pause * 2).clamp(settings.redial_min, settings.redial_max);
        self.dial = Dial { since: None, next: now.after(pause), pause };
    }
}
