//! What the core makes of a frame of another node. A frame that makes no
//! sense ends its link; a parcel that comes too late changes nothing.

use std::time::Duration;

use super::core::{Core, tell_rows};
use super::frame::{Frame, Heartbeat, Parcel};
use super::link::Stage;
use super::moment::Moment;
use super::news::Output;
use super::node::{LinkId, NodeId};
use super::peer::{Cause, Path};

/// A parcel as it came in.
struct Arrival {
    from: NodeId,
    /// Whether its writer had heard of us just before it wrote.
    fresh: bool,
    parcel: Parcel,
}

impl Core {
    pub(super) fn heard(&mut self, now: Moment, link: LinkId) {
        if let Some(link) = self.membership.links.get_mut(link) {
            link.heard = now;
        }
    }

    pub(super) fn frame(&mut self, now: Moment, id: LinkId, frame: Frame, out: &mut Vec<Output>) {
        self.heard(now, id);
        let Some(link) = self.membership.links.get(id) else { return };
        let (peer, is_open) = (link.peer, matches!(link.stage, Stage::Open { .. }));
        match frame {
            Frame::Hello(hello) => {
                self.membership.greeted(now, id, &hello, out);
                self.judge(now, out);
            }
            _ if !is_open => self.nonsense(now, id, out),
            Frame::Heartbeat(beat) => self.heartbeat(now, id, peer, &beat, out),
            Frame::Links(reports) => {
                if let Some(peer) = self.membership.peers.get_mut(&peer) {
                    peer.reports = reports.into_iter().collect();
                }
                self.judge(now, out);
            }
            Frame::Goodbye => {
                if let Some(peer) = self.membership.peers.get_mut(&peer) {
                    peer.left = Some(Cause::Stopped);
                }
                self.judge(now, out);
            }
            Frame::Direct { echo, parcel } => {
                let fresh = self.membership.taking.takes(now, echo, 1);
                self.parcel(now, Arrival { from: peer, fresh, parcel }, out);
            }
            Frame::Relay { echo, from, to, parcel } if to == self.me => {
                let fresh = self.membership.taking.takes(now, echo, 2);
                self.parcel(now, Arrival { from, fresh, parcel }, out);
            }
            Frame::Relay { echo, from, to, parcel } => {
                // we pass on what is fresh, and by our own link only
                if from == peer && self.membership.taking.takes(now, echo, 2) {
                    self.pass_on(from, to, parcel, out);
                }
            }
        }
    }

    fn nonsense(&mut self, now: Moment, id: LinkId, out: &mut Vec<Output>) {
        self.counts.nonsense += 1;
        self.membership.end(now, id, out);
        self.judge(now, out);
    }

    fn heartbeat(
        &mut self,
        now: Moment,
        id: LinkId,
        from: NodeId,
        beat: &Heartbeat,
        out: &mut Vec<Output>,
    ) {
        if let Some(link) = self.membership.links.get_mut(id) {
            link.stamp = beat.stamp;
            if beat.echo > 0 {
                let age = now.millis().saturating_sub(beat.echo);
                link.trip.note(now, Duration::from_millis(age));
            }
        }
        let Some(peer) = self.membership.peers.get_mut(&from) else { return };
        let changed = peer.state != beat.state;
        peer.state = beat.state;
        peer.told = Some(beat.version);
        peer.promised.note(now, beat.takes, &self.settings);
        if changed {
            self.judge(now, out);
            self.tell_members(out);
        }
        let pull = self.replicator.on_version(now, from, beat.version);
        self.pull(pull.map(|pull| (from, pull)), out);
    }

    fn pass_on(&mut self, from: NodeId, to: NodeId, parcel: Parcel, out: &mut Vec<Output>) {
        let Path::Direct(link) = self.membership.path(to) else { return };
        let echo = self.membership.links.get(link).map_or(0, |link| link.stamp);
        self.counts.relayed += 1;
        out.push(Output::Send { link, frame: Frame::Relay { echo, from, to, parcel } });
    }

    fn parcel(&mut self, now: Moment, arrival: Arrival, out: &mut Vec<Output>) {
        let Arrival { from, fresh, parcel } = arrival;
        let mut rows = Vec::new();
        match parcel {
            Parcel::Letter(letter) => {
                let number = letter.number;
                match self.custody.letter(from, letter, fresh) {
                    Some(body) => {
                        self.counts.delivered += 1;
                        out.push(Output::Delivery { from, number, body });
                    }
                    None => self.counts.refused += 1,
                }
            }
            Parcel::Receipt(receipt) => {
                let again = self.custody.receipt(now, from, &receipt);
                self.letters(from, again, out);
                let due = self.custody.due(now, from);
                self.letters(from, due, out);
            }
            Parcel::Word { channel, body } => out.push(Output::Word { from, channel, body }),
            Parcel::Delta { after, changes } => {
                let pull = self.replicator.on_delta(now, from, after, &changes, &mut rows);
                self.pull(pull.map(|pull| (from, pull)), out);
            }
            Parcel::Digest { clock, sum } => {
                let counts = &mut self.counts;
                let pulls = self.replicator.on_digest(now, from, &clock, sum, counts);
                self.pull(pulls, out);
            }
            Parcel::Pull(pull) => {
                // the answer must not run ahead of what was told to all
                self.flush(now, out);
                for parcel in self.replicator.own.answer(&pull) {
                    let _ = self.send(from, parcel, out);
                }
            }
            Parcel::Part(part) => {
                let counts = &mut self.counts;
                let pull = self.replicator.on_part(now, from, part, &mut rows, counts);
                self.pull(pull.map(|pull| (from, pull)), out);
            }
        }
        tell_rows(rows, out);
    }
}
