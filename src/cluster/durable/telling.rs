//! What a change made here goes through until its caller has an answer: all
//! other nodes are told while our own disk writes, and all are waited for.
//!
//! Each disk may take its longest at the same moment as another, not after
//! it. A change is made when it is on one disk at least: where only ours
//! fails, the others have it, and we fetch it when ours works again.

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
use crate::storage::{Rows, StoreError};

/// The bytes of rows told in one question, about.
const TOLD_BYTES: usize = 256 << 10;

/// How often a node that does not answer is asked to compare with us, in
/// milliseconds. A guess.
const WAKE_INTERVAL: u64 = 1_000;

/// Rows on their way to the others.
#[derive(Debug)]
pub(super) struct Tell {
    origins: Vec<(Origin, Rows)>,
    /// Disks that have not answered, ours among them.
    waiting: usize,
    made: Made,
    later: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Why they are not on our disk.
    failed: Option<StoreError>,
}

/// What is told together, and how large it is.
#[derive(Debug, Default)]
struct Batch {
    origins: Vec<(Origin, Rows)>,
    rows: Rows,
    bytes: usize,
    /// One of the jobs that write it; they are of one commit.
    job: u64,
}

impl Core {
    /// Tells all others what our disk is about to write, many changes at a
    /// time.
    pub(super) fn planned(&mut self, at: At, changes: Vec<(u64, Rows)>, out: &mut Vec<Output>) {
        let mut batch = Batch::default();
        for (job, rows) in changes {
            batch.job = job;
            batch.bytes += rows.iter().map(|(key, row)| key.len() + row.len()).sum::<usize>();
            batch.rows.extend(rows.iter().cloned());
            if let Some(Job::Make(origin)) = self.jobs.remove(&job) {
                batch.origins.push((origin, rows));
            }
            if batch.bytes >= TOLD_BYTES {
                self.tell(at, std::mem::take(&mut batch), out);
            }
        }
        if !batch.rows.is_empty() {
            self.tell(at, batch, out);
        }
    }

    fn tell(&mut self, at: At, batch: Batch, out: &mut Vec<Output>) {
        let Batch { origins, rows, job, .. } = batch;
        let body = written(&MergeAsk { wall: at.wall, rows });
        let others: Vec<NodeId> = self.members.others().map(|member| member.node.id).collect();
        let tell = self.number();
        let (made, waiting) = (Made { nodes: 0, late: 0 }, others.len() + 1);
        let (later, failed) = (BTreeMap::new(), None);
        self.tells.insert(tell, Tell { origins, waiting, made, later, failed });
        self.jobs.insert(job, Job::Told(tell));
        for node in others {
            let ask = Ask::Tell { tell, node };
            self.ask(ask, node, topic::MERGE, body.clone(), ACKNOWLEDGE_TIME_MAX, out);
        }
    }

    /// What the others are told is on our disk, or not.
    pub(super) fn written_here(
        &mut self,
        at: At,
        number: u64,
        result: Result<(), StoreError>,
        out: &mut Vec<Output>,
    ) {
        let Some(tell) = self.tells.get_mut(&number) else { return };
        tell.waiting -= 1;
        match result {
            Ok(()) => tell.made.nodes += 1,
            Err(error) => {
                tell.made.late += 1;
                tell.failed = Some(error);
                self.compares.soon(at);
            }
        }
        self.end_tell(at, number, out);
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
        let Some(tell) = self.tells.remove(&number) else { return };
        let Tell { origins, made, later, failed, .. } = tell;
        let failed = failed.filter(|_| made.nodes == 0);
        let mut beaten = Vec::new();
        for (origin, rows) in origins {
            match rows.iter().any(|(key, _)| later.contains_key(key)) {
                true => beaten.push(origin),
                false => {
                    let answer = failed.clone().map_or(Ok(made), |error| Err(error.into()));
                    self.finish(origin, answer, out);
                }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::asks::AskError;
    use crate::cluster::durable::Table;
    use crate::cluster::durable::change::Change;
    use crate::cluster::durable::intent::Outcome;
    use crate::cluster::durable::news::{Input, Settings};
    use crate::cluster::durable::row::{Stamp, time_of};
    use crate::cluster::durable::sums::Sums;
    use crate::cluster::members::{Member, Members};
    use crate::cluster::node::{Node, NodeState};

    const AT: At = At { steady: 1_000, wall: 1_700_000_000_000 };

    fn member(number: u64) -> Member {
        let node = Node { id: NodeId::new(number, 0), name: format!("n{number}").parse().unwrap() };
        Member { node, state: NodeState::Serving }
    }

    /// What becomes of a change that one other node answers, or not, and that
    /// our disk takes, or not; in either order.
    fn ends(is_kept: bool, is_answered: bool, is_disk_first: bool) -> Result<Made, ChangeError> {
        let members = Arc::new(Members::new(member(1), [member(2)]));
        let name = member(1).node.name;
        let mut core = Core::new(name, members, Settings::default(), None, AT);
        let mut tell = |input| {
            let mut out = Vec::new();
            core.handle(AT, &Sums::default(), input, &mut out);
            out
        };
        let owner = (0..).map(|at| format!("u{at}@im"));
        let ours = |owner: &String| {
            Members::new(member(1), [member(2)]).home(owner.as_bytes()) == NodeId::new(1, 0)
        };
        let owner = owner.into_iter().find(ours).expect("half of them");
        let changes = vec![Change::put(Table::Vcard, owner.as_bytes(), &b"me"[..])];
        let wishes = tell(Input::Change { number: 7, by: 1, changes });
        let [Output::Write { job, .. }] = wishes[..] else { panic!("{wishes:?}") };
        let stamp = Stamp { time: time_of(AT.wall), node: NodeId::new(1, 0) };
        let row = Row { stamp, by: 1, value: Some(Bytes::from_static(b"me")) };
        let wishes = tell(Input::Planned(vec![(job, vec![(vec![1], row.written())])]));
        let [Output::Ask { ask, .. }] = wishes[..] else { panic!("{wishes:?}") };
        let full = StoreError { place: "disk".into(), reason: "full".into() };
        let kept = if is_kept { Ok(Outcome::Made(vec![])) } else { Err(full) };
        let body = written(&MergeAnswer { wall: AT.wall, ahead: vec![], later: vec![] });
        let answer = if is_answered { Ok(body) } else { Err(AskError::Late) };
        let mut news = vec![Input::Answer { ask, answer }, Input::Written(vec![(job, kept)])];
        if is_disk_first {
            news.reverse();
        }
        let wishes = tell(news.remove(0));
        let is_done = |wish: &&Output| matches!(wish, Output::Done { .. });
        assert!(!wishes.iter().any(|wish| is_done(&wish)), "it waits for both");
        let wishes = tell(news.remove(0));
        match wishes.iter().find(is_done) {
            Some(Output::Done { number: 7, answer }) => answer.clone(),
            _ => panic!("{wishes:?}"),
        }
    }

    #[test]
    fn a_change_is_made_when_one_disk_has_it() {
        for is_disk_first in [false, true] {
            let ends = |is_kept, is_answered| ends(is_kept, is_answered, is_disk_first);
            assert_eq!(ends(true, true), Ok(Made { nodes: 2, late: 0 }));
            assert_eq!(ends(true, false), Ok(Made { nodes: 1, late: 1 }));
            assert_eq!(ends(false, true), Ok(Made { nodes: 1, late: 1 }));
            assert_eq!(
                ends(false, false),
                Err(ChangeError::Store("the store disk failed: full".into()))
            );
        }
    }
}
