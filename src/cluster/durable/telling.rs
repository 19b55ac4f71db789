//! What a change made here goes through until its caller has an answer: all
//! other nodes are told, and waited for.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::cluster::durable::change::{ChangeError, Made};
use crate::cluster::durable::clock::At;
use crate::cluster::durable::core::{ACKNOWLEDGE_TIME_MAX, Core};
use crate::cluster::durable::intent::{Intent, Taken};
use crate::cluster::durable::news::{Output, Say};
use crate::cluster::durable::pending::{Ask, Job, Origin};
use crate::cluster::durable::row::Row;
use crate::cluster::durable::words::{ChangeAnswer, MergeAnswer, MergeAsk, topic, written};
use crate::cluster::node::NodeId;
use crate::storage::Rows;

/// The bytes of rows told in one question, about.
const TOLD_BYTES: usize = 256 << 10;

/// How often a node that does not answer is asked to compare with us, in
/// milliseconds. A guess.
const WAKE_INTERVAL: u64 = 1_000;

/// Rows on their way to the others.
#[derive(Debug)]
pub(super) struct Tell {
    origins: Vec<(Origin, Rows)>,
    waiting: usize,
    made: Made,
    later: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Core {
    /// Tells all others what was made, many changes at a time.
    pub(super) fn tell_all(&mut self, at: At, made: Vec<(Origin, Rows)>, out: &mut Vec<Output>) {
        let (mut origins, mut all, mut bytes) = (Vec::new(), Rows::new(), 0);
        for (origin, rows) in made {
            bytes += rows.iter().map(|(key, row)| key.len() + row.len()).sum::<usize>();
            all.extend(rows.iter().cloned());
            origins.push((origin, rows));
            if bytes >= TOLD_BYTES {
                bytes = 0;
                self.tell(at, std::mem::take(&mut origins), std::mem::take(&mut all), out);
            }
        }
        if !origins.is_empty() {
            self.tell(at, origins, all, out);
        }
    }

    pub(super) fn tell(
        &mut self,
        at: At,
        origins: Vec<(Origin, Rows)>,
        rows: Rows,
        out: &mut Vec<Output>,
    ) {
        let body = written(&MergeAsk { wall: at.wall, rows });
        let others: Vec<NodeId> = self.members.others().map(|member| member.node.id).collect();
        let tell = self.number();
        let made = Made { nodes: 1, late: 0 };
        let waiting = others.len();
        self.tells.insert(tell, Tell { origins, waiting, made, later: BTreeMap::new() });
        for node in others {
            let ask = Ask::Tell { tell, node };
            self.ask(ask, node, topic::MERGE, body.clone(), ACKNOWLEDGE_TIME_MAX, out);
        }
        self.end_tell(at, tell, out);
    }

    /// Another node has taken what we told, or not.
    pub(super) fn told(
        &mut self,
        at: At,
        number: u64,
        node: NodeId,
        answer: Option<MergeAnswer>,
        out: &mut Vec<Output>,
    ) {
        let Some(tell) = self.tells.get_mut(&number) else { return };
        tell.waiting -= 1;
        match answer {
            Some(MergeAnswer { wall, ahead, later }) => {
                self.clock.heard(at, node, wall);
                match ahead.is_empty() {
                    true => tell.made.nodes += 1,
                    false => tell.made.late += 1,
                }
                for (key, stored) in later {
                    let stamp = |stored: &[u8]| Row::read(stored).map(|row| row.stamp);
                    let known = tell.later.get(&key).map(|known| stamp(known));
                    if known.is_none_or(|known| known < stamp(&stored)) {
                        tell.later.insert(key, stored);
                    }
                }
                if !ahead.is_empty() {
                    *self.late.entry(node).or_default() += 1;
                    self.is_ahead(at, node, wall, ahead, out);
                }
            }
            None => {
                let changes = tell.origins.len() as u64;
                tell.made.late += 1;
                *self.late.entry(node).or_default() += changes;
                if self.members.contains(node) {
                    self.behind.entry(node).or_insert(at.steady);
                }
            }
        }
        self.end_tell(at, number, out);
    }

    /// Whoever did not answer what it was told shall compare with us, as soon
    /// as it can be reached: it is still visible, so nothing else makes it.
    pub(super) fn wake_those_behind(&mut self, at: At, out: &mut Vec<Output>) {
        let due = self.behind.iter_mut().filter(|(_, due)| **due <= at.steady);
        let due: Vec<NodeId> = due
            .map(|(node, due)| {
                *due = at.steady.saturating_add(WAKE_INTERVAL);
                *node
            })
            .collect();
        for node in due {
            let ask = Ask::Notice(node);
            self.ask(ask, node, topic::COMPARE, Bytes::new(), ACKNOWLEDGE_TIME_MAX, out);
        }
    }

    /// A node has heard that it shall compare with us, or not.
    pub(super) fn noticed(&mut self, node: NodeId, has_heard: bool) {
        if has_heard {
            self.behind.remove(&node);
        }
    }

    fn end_tell(&mut self, at: At, number: u64, out: &mut Vec<Output>) {
        if self.tells.get(&number).is_none_or(|tell| tell.waiting > 0) {
            return;
        }
        let Some(Tell { origins, made, later, .. }) = self.tells.remove(&number) else { return };
        let mut beaten = Vec::new();
        for (origin, rows) in origins {
            match rows.iter().any(|(key, _)| later.contains_key(key)) {
                true => beaten.push(origin),
                false => self.finish(origin, Ok(made), out),
            }
        }
        if !later.is_empty() {
            let take = self.take(at, later.into_iter().collect());
            self.write(Job::Learn(beaten), Intent::Take(take), out);
        }
    }

    /// Somebody had a later row, which we have now as well.
    pub(super) fn beaten(&mut self, at: At, origin: Origin, out: &mut Vec<Output>) {
        match origin {
            Origin::Caller(wanted) => self.again(at, wanted, None, out),
            Origin::Question(number) => {
                out.push(Output::Reply { number, body: written(&ChangeAnswer::Beaten) });
            }
        }
    }

    pub(super) fn finish(
        &self,
        origin: Origin,
        answer: Result<Made, ChangeError>,
        out: &mut Vec<Output>,
    ) {
        match origin {
            Origin::Caller(wanted) => out.push(Output::Done { number: wanted.number, answer }),
            Origin::Question(number) => {
                let answer = answer.map_or_else(ChangeAnswer::Refused, ChangeAnswer::Made);
                out.push(Output::Reply { number, body: written(&answer) });
            }
        }
    }

    /// Rows that another node told us are on the disk.
    pub(super) fn merged(
        &mut self,
        at: At,
        number: u64,
        from: NodeId,
        taken: Taken,
        out: &mut Vec<Output>,
    ) {
        let Taken { ahead, later, kept, .. } = taken;
        if !kept.is_empty() {
            out.push(Output::Kept(kept));
        }
        if !ahead.is_empty() {
            out.push(Output::Say(Say::Ahead { from, rows: ahead.len() }));
        }
        let body = written(&MergeAnswer { wall: at.wall, ahead, later });
        out.push(Output::Reply { number, body });
    }
}
