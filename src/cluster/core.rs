//! The cluster as one machine: news in, wishes out. Here are only the
//! branches; each noun has a file of its own. No socket, clock, task or chance
//! is in here: `mesh` and the simulation drive it.

use std::sync::Arc;
use std::time::Duration;

use super::custody::Custody;
use super::frame::{Frame, Heartbeat, Parcel};
use super::members::Members;
use super::membership::{Membership, Step};
use super::moment::Moment;
use super::news::{Input, Output, Reason};
use super::node::{Node, NodeId, NodeName, Peer as Told};
use super::peer::{Cause, Path};
use super::replicator::Replicator;
use super::rows::RowChange;
use super::settings::{Counts, Settings};
use super::tables::Tables;

/// The cluster as one machine.
#[derive(Debug)]
pub struct Core {
    pub(super) me: NodeId,
    pub(super) settings: Settings,
    pub(super) membership: Membership,
    pub(super) replicator: Replicator,
    pub(super) custody: Custody,
    pub(super) counts: Counts,
    members: Arc<Members>,
    heartbeat_next: Moment,
    digest_next: Moment,
    /// Who was last told our digest.
    digest_turn: NodeId,
    /// We said goodbye.
    left: bool,
}

impl Core {
    /// A core that knows nobody yet. `tables` is filled by this core alone;
    /// `seed` is drawn by chance and spreads the dials in time.
    pub fn new(me: Node, settings: Settings, tables: Arc<Tables>, seed: u64) -> Core {
        let membership = Membership::new(me.clone(), settings.clone(), seed);
        Core {
            me: me.id,
            members: Arc::new(membership.members()),
            membership,
            replicator: Replicator::new(me.id, tables, &settings),
            settings,
            custody: Custody::default(),
            counts: Counts::default(),
            heartbeat_next: Moment::START,
            digest_next: Moment::START,
            digest_turn: NodeId::default(),
            left: false,
        }
    }

    /// Takes one piece of news and pushes what is to be done about it. `now`
    /// must be read for this very call: how old a frame is hangs on it.
    pub fn handle(&mut self, now: Moment, input: Input, out: &mut Vec<Output>) {
        if self.left {
            return;
        }
        self.membership.breathe(now, &mut self.counts);
        match input {
            Input::Tick => self.tick(now, out),
            Input::Flush => self.flush(now, out),
            Input::Gossip(told) => self.gossip(now, &told, out),
            Input::LinkUp { node, link, dialed } => {
                self.membership.link_up(now, &node, link, dialed, &mut self.counts, out);
                self.judge(now, out);
            }
            Input::LinkLost { link } => {
                self.membership.lost(now, link);
                self.judge(now, out);
                self.membership.dial(now, out);
            }
            Input::Heard { link } => self.heard(now, link),
            Input::ConnectFailed { peer, how } => {
                self.membership.connect_failed(now, peer, how);
                self.judge(now, out);
            }
            Input::Frame { link, frame } => self.frame(now, link, frame, out),
            Input::Put { number, row } => {
                tell_rows(self.replicator.put(number, row), out);
            }
            Input::Remove { number } => {
                tell_rows(self.replicator.own.remove(number), out);
            }
            Input::Deliver { to, body } => self.deliver(now, to, body, out),
            Input::Word { to, channel, body } => {
                // whoever hears it knows the rows that its sender knew
                self.tell_own(out);
                if let Err(Parcel::Word { channel, body }) =
                    self.send(to, Parcel::Word { channel, body }, out)
                {
                    out.push(Output::Unsaid { to, channel, body });
                }
            }
            Input::Taken { from, number } => self.custody.taken(from, number),
            Input::State(state) => {
                self.membership.state = state;
                // others know it at once
                self.heartbeat_next = now.after(self.settings.heartbeat_interval);
                self.beat(now, out);
                self.tell_members(out);
            }
            Input::Expel { name } => {
                self.membership.expel(&name);
                self.judge(now, out);
            }
            Input::Leave => self.leave(now, out),
            Input::Stalled => self.membership.stalled(now, &mut self.counts),
        }
    }

    /// Who we are.
    pub fn me(&self) -> &Node {
        &self.membership.me
    }

    /// The nodes that are visible now.
    pub fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// What was counted since the start.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Deliveries of ours that nobody has taken yet.
    pub fn undelivered(&self) -> usize {
        self.custody.undelivered()
    }

    /// How many changes our own rows have seen.
    pub fn version(&self) -> u64 {
        self.replicator.own.version()
    }

    /// Whether we know of this node.
    pub fn knows(&self, id: NodeId) -> bool {
        self.membership.peers.contains_key(&id)
    }

    /// Whether a node with this name, and another id, is heard of just now, by
    /// us or by a neighbour.
    pub fn hears(&self, now: Moment, name: &NodeName, but: NodeId) -> bool {
        self.membership.hears(now, name, but)
    }

    /// Whether there is a way to this node now.
    pub fn reaches(&self, id: NodeId) -> bool {
        !matches!(self.membership.path(id), Path::None)
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.membership.end_silent(now, out);
        self.judge(now, out);
        self.membership.dial(now, out);
        if now >= self.heartbeat_next {
            self.heartbeat_next = now.after(self.settings.heartbeat_interval);
            self.beat(now, out);
        }
        let pulls = self.replicator.tick(now);
        self.pull(pulls, out);
        for to in self.membership.reachable() {
            let lossy = matches!(self.membership.path(to), Path::Relay { .. });
            let again = self.custody.tick(now, to, lossy, &self.settings);
            self.letters(to, again, out);
        }
        self.flush(now, out);
        if now >= self.digest_next {
            self.digest_next = now.after(self.settings.digest_interval);
            self.digest(out);
        }
    }

    /// What was gathered goes out: first rows, then letters, so that whoever
    /// gets a letter knows the rows that its sender knew.
    pub(super) fn flush(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.tell_own(out);
        for to in self.membership.reachable() {
            let due = self.custody.due(now, to);
            self.letters(to, due, out);
        }
        for (to, receipt) in self.custody.receipts() {
            let _ = self.send(to, Parcel::Receipt(receipt), out);
        }
    }

    /// Our own latest rows go to everybody.
    fn tell_own(&mut self, out: &mut Vec<Output>) {
        let news = self.replicator.own.news();
        if news.is_empty() {
            return;
        }
        let reachable = self.membership.reachable();
        for parcel in news {
            for to in &reachable {
                let _ = self.send(*to, parcel.clone(), out);
            }
        }
    }

    fn gossip(&mut self, now: Moment, told: &[Told], out: &mut Vec<Output>) {
        self.membership.gossip(now, told, &mut self.counts, out);
        self.judge(now, out);
        self.membership.dial(now, out);
        // what a peer is up to may have come this way
        self.tell_members(out);
    }

    pub(super) fn judge(&mut self, now: Moment, out: &mut Vec<Output>) {
        let steps = self.membership.judge(now, out);
        if steps.is_empty() {
            return;
        }
        for step in steps {
            match step {
                Step::Show(id, away) => self.show(id, away, out),
                Step::Hide(id, cause) => self.hide(id, cause, out),
                Step::Path(id) => {
                    let letter = self.custody.path_changed(now, id);
                    self.letters(id, letter, out);
                    let digest = self.replicator.digest();
                    let _ = self.send(id, digest, out);
                }
                Step::Forget(id) => {
                    self.replicator.forget(id);
                    self.custody.forget(id);
                }
            }
        }
        self.tell_members(out);
    }

    fn show(&mut self, id: NodeId, away: Option<Duration>, out: &mut Vec<Output>) {
        if !self.replicator.admit(id) {
            self.counts.nodes_refused += 1;
        }
        self.replicator.set_visible(id, true);
        if self.replicator.version_of(id) > 0 {
            self.counts.shown_again += 1;
        }
        if let Some(peer) = self.membership.peers.get(&id) {
            let (node, nodes) = (peer.node.clone(), self.membership.members().count());
            out.push(Output::Came { node, away, nodes });
        }
        let _ = self.send(id, self.replicator.digest(), out);
    }

    fn hide(&mut self, id: NodeId, cause: Cause, out: &mut Vec<Output>) {
        self.counts.hidden += 1;
        if let Some(peer) = self.membership.peers.get(&id) {
            let (node, nodes) = (peer.node.clone(), self.membership.members().count());
            out.push(Output::Gone { node, cause, nodes });
        }
        self.replicator.set_visible(id, false);
        // whoever plans again must not find the node
        self.tell_members(out);
        for (body, reason) in self.custody.take_back(id) {
            self.counts.returned += 1;
            self.counts.returned_in_doubt += u64::from(reason == Reason::InDoubt);
            out.push(Output::Returned { to: id, body, reason });
        }
    }

    pub(super) fn tell_members(&mut self, out: &mut Vec<Output>) {
        let members = self.membership.members();
        if *self.members != members {
            self.members = Arc::new(members);
            out.push(Output::Members(self.members.clone()));
        }
    }

    fn deliver(&mut self, now: Moment, to: NodeId, body: bytes::Bytes, out: &mut Vec<Output>) {
        let refused = if self.membership.is_visible(to) {
            let pushed = self.custody.push(now, to, body, &self.settings);
            pushed.err().map(|body| (body, Reason::Full))
        } else {
            Some((body, Reason::Gone))
        };
        if let Some((body, reason)) = refused {
            self.counts.returned += 1;
            out.push(Output::Returned { to, body, reason });
        }
    }

    fn beat(&mut self, now: Moment, out: &mut Vec<Output>) {
        let (stamp, state) = (now.millis(), self.membership.state);
        let version = self.replicator.own.told();
        let takes = self.membership.promise(stamp);
        for (id, link) in self.membership.links.open() {
            let beat = Heartbeat { stamp, echo: link.stamp, takes, version, state };
            out.push(Output::Send { link: id, frame: Frame::Heartbeat(beat) });
        }
    }

    fn digest(&mut self, out: &mut Vec<Output>) {
        let reachable = self.membership.reachable();
        let after = reachable.iter().find(|id| **id > self.digest_turn);
        let Some(to) = after.or(reachable.first()).copied() else { return };
        self.digest_turn = to;
        let digest = self.replicator.digest();
        let _ = self.send(to, digest, out);
    }

    fn leave(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.flush(now, out);
        for (link, _) in self.membership.links.open() {
            out.push(Output::Send { link, frame: Frame::Goodbye });
        }
        self.left = true;
    }
}

/// The merged table has changed.
pub(super) fn tell_rows(rows: impl IntoIterator<Item = RowChange>, out: &mut Vec<Output>) {
    let rows: Vec<RowChange> = rows.into_iter().collect();
    if !rows.is_empty() {
        out.push(Output::Rows(rows));
    }
}
