//! The durable tables as one machine: news in, wishes out. No socket, clock,
//! task, chance or disk is in here: `driver` and the simulation drive it. What
//! a change goes through is here, what two nodes compare is in `compare`, what
//! becomes of rows on the disk in `ledger`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::cluster::durable::change::{ChangeError, Made};
use crate::cluster::durable::clock::{At, Clock};
use crate::cluster::durable::intent::{Intent, Outcome};
use crate::cluster::durable::marks::Marks;
use crate::cluster::durable::news::{Input, Output, Say, Settings};
use crate::cluster::durable::owner_of;
use crate::cluster::durable::pending::{Ask, Job, Origin, Wanted};
use crate::cluster::durable::rounds::Compares;
use crate::cluster::durable::row::time_of;
use crate::cluster::durable::sums::Sums;
use crate::cluster::durable::telling::Tell;
use crate::cluster::durable::words::{
    AheadAsk, ChangeAnswer, ChangeAsk, MergeAsk, read, topic, written,
};
use crate::cluster::members::Members;
use crate::cluster::node::{NodeId, NodeName};
use crate::storage::StoreError;

/// How long a change waits for the other nodes' acknowledgements. A node that
/// is late delays nobody for longer; it is counted, and caught up later.
pub const ACKNOWLEDGE_TIME_MAX: Duration = Duration::from_secs(1);

/// How long a change waits for its home, until it is made where it was asked
/// for: more than the home itself may wait.
const HOME_TIME_MAX: Duration = Duration::from_secs(3);

/// How long another node may take for an answer that it has in its memory.
/// One comparison runs at a time, and its question is lost with the path that
/// it took. A guess: many round trips, and a stall.
pub(super) const QUICK_ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// How long it may take for a page of rows that it reads from its disk, for a
/// comparison: as above.
pub(super) const PAGE_TIME_MAX: Duration = Duration::from_secs(3);

/// How long another node may take for any other answer.
pub(super) const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Tries of one change; each began when its home was gone or had missed
/// something.
const TRIES_MAX: u32 = 5;

/// The durable tables of one node.
#[derive(Debug)]
pub struct Core {
    pub(super) me: NodeId,
    pub(super) name: NodeName,
    pub(super) settings: Settings,
    pub(super) members: Arc<Members>,
    pub(super) clock: Clock,
    pub(super) marks: Marks,
    pub(super) compares: Compares,
    next: u64,
    pub(super) asks: BTreeMap<u64, Ask>,
    pub(super) jobs: BTreeMap<u64, Job>,
    pub(super) tells: BTreeMap<u64, Tell>,
    pub(super) lost: BTreeSet<Vec<u8>>,
    /// Nodes that may have missed what we told them, and when they are asked
    /// to compare with us, by the steady clock.
    pub(super) behind: BTreeMap<NodeId, u64>,
    pub(super) late: BTreeMap<NodeId, u64>,
    pub(super) noted: Option<u64>,
    pub(super) expired: Option<u64>,
}

impl Core {
    /// A core that sees nobody yet. `marks`: what is remembered, as it is in
    /// the store.
    pub fn new(
        name: NodeName,
        members: Arc<Members>,
        settings: Settings,
        marks: Option<&[u8]>,
        at: At,
    ) -> Self {
        Self {
            me: members.me(),
            name,
            marks: Marks::at_start(marks, at.wall, settings.tombstones_kept),
            settings,
            members,
            clock: Clock::default(),
            compares: Compares::default(),
            next: 0,
            asks: BTreeMap::new(),
            jobs: BTreeMap::new(),
            tells: BTreeMap::new(),
            lost: BTreeSet::new(),
            behind: BTreeMap::new(),
            late: BTreeMap::new(),
            noted: None,
            expired: None,
        }
    }

    /// Acknowledgements that came late or not at all, since the start, of each
    /// node.
    pub fn late(&self) -> &BTreeMap<NodeId, u64> {
        &self.late
    }

    /// Takes one piece of news, and pushes what is to be done about it.
    pub fn handle(&mut self, at: At, sums: &Sums, input: Input, out: &mut Vec<Output>) {
        self.clock.pass(at);
        match input {
            Input::Tick => self.tick(at, out),
            Input::Members(members) => {
                self.clock.keep(|node| members.contains(node));
                self.members = members;
                self.compares.members(&self.members, at, out);
                self.behind.retain(|node, _| self.members.contains(*node));
                self.compare_next(at, out);
            }
            Input::Change { number, by, changes } => {
                let (tries, silent) = (0, None);
                let clock = time_of(self.clock.now(at));
                self.begin(Wanted { number, by, changes, tries, silent, clock }, out);
            }
            Input::Meet { node } => {
                if self.members.contains(node) {
                    self.compares.meet(node, at, out);
                    self.compare_next(at, out);
                }
            }
            Input::Question { number, from, topic, body } => {
                self.question(at, sums, (number, from, topic), &body, out);
            }
            Input::Answer { ask, answer } => match self.asks.remove(&ask) {
                Some(Ask::Change { wanted, home }) => {
                    let answer = answer.ok().and_then(|answer| read(&answer));
                    self.changed(at, wanted, home, answer, out);
                }
                Some(Ask::Tell { tell, node }) => {
                    let answer = answer.ok().and_then(|answer| read(&answer));
                    self.told(at, tell, node, answer, out);
                }
                Some(Ask::Compare(serial)) => {
                    self.compare_answered(at, sums, serial, answer.ok(), out);
                }
                Some(Ask::Lost { key }) => {
                    let rows = answer.ok().and_then(|answer| read(&answer)).unwrap_or_default();
                    let take = self.take(at, rows);
                    self.write(Job::Mend { key }, Intent::Take(take), out);
                }
                Some(Ask::Notice(node)) => self.noticed(node, answer.is_ok()),
                Some(Ask::Ahead) | None => {}
            },
            Input::Planned(changes) => self.planned(at, changes, out),
            Input::Written(results) => self.written(at, results, out),
            Input::Lost { key } => self.look_for(key, out),
        }
    }

    fn question(
        &mut self,
        at: At,
        sums: &Sums,
        (number, from, topic): (u64, NodeId, u8),
        body: &[u8],
        out: &mut Vec<Output>,
    ) {
        match topic {
            topic::CHANGE => {
                let Some(ChangeAsk { by, clock, changes }) = read(body) else {
                    return out.push(Output::Drop { number });
                };
                // an asker's clock may be ahead of what others would take
                let clock = clock.min(time_of(self.clock.now(at)));
                let job = Job::Make(Origin::Question(number));
                self.write(job, Intent::Make { by, clock, changes }, out);
            }
            topic::MERGE => {
                let Some(MergeAsk { wall, rows }) = read(body) else {
                    return out.push(Output::Drop { number });
                };
                self.clock.heard(at, from, wall);
                let take = self.take(at, rows);
                self.write(Job::Merge { question: number, from }, Intent::Take(take), out);
            }
            topic::AHEAD => {
                let Some(AheadAsk { wall, rows }) = read(body) else {
                    return out.push(Output::Drop { number });
                };
                self.clock.heard(at, from, wall);
                out.push(Output::Reply { number, body: Bytes::new() });
                self.is_ahead(at, from, wall, rows, out);
            }
            topic::COMPARE => {
                out.push(Output::Reply { number, body: Bytes::new() });
                self.compares.hear_of_news(from, at);
                self.compare_next(at, out);
            }
            _ => {
                let answer = self.compare_question(at, sums, from, topic, body);
                out.push(match answer {
                    Some(body) => Output::Reply { number, body },
                    None => Output::Drop { number },
                });
            }
        }
    }

    /// Sends a change to its home, or makes it here.
    fn begin(&mut self, wanted: Wanted, out: &mut Vec<Output>) {
        let Some(first) = wanted.changes.first() else {
            let answer = Ok(Made { nodes: 1, late: 0 });
            return out.push(Output::Done { number: wanted.number, answer });
        };
        let home = self.members.home(owner_of(&first.key));
        let (by, clock) = (wanted.by, wanted.clock);
        if home == self.me || wanted.silent == Some(home) || wanted.tries >= TRIES_MAX {
            let changes = wanted.changes.clone();
            let job = Job::Make(Origin::Caller(wanted));
            return self.write(job, Intent::Make { by, clock, changes }, out);
        }
        let body = written(&ChangeAsk { by, clock, changes: wanted.changes.clone() });
        let ask = Ask::Change { wanted, home };
        self.ask(ask, home, topic::CHANGE, body, HOME_TIME_MAX, out);
    }

    /// A home has answered, or not.
    fn changed(
        &mut self,
        at: At,
        wanted: Wanted,
        home: NodeId,
        answer: Option<ChangeAnswer>,
        out: &mut Vec<Output>,
    ) {
        let number = wanted.number;
        match answer {
            Some(ChangeAnswer::Made(made)) => out.push(Output::Done { number, answer: Ok(made) }),
            Some(ChangeAnswer::Refused(error)) => {
                out.push(Output::Done { number, answer: Err(error) });
            }
            Some(ChangeAnswer::Beaten) => self.again(at, wanted, None, out),
            // nobody knows whether it was made: once more, elsewhere
            None => self.again(at, wanted, Some(home), out),
        }
    }

    pub(super) fn again(
        &mut self,
        at: At,
        wanted: Wanted,
        silent: Option<NodeId>,
        out: &mut Vec<Output>,
    ) {
        if silent.is_none() && wanted.tries >= TRIES_MAX {
            let answer = Err(unbeatable());
            return out.push(Output::Done { number: wanted.number, answer });
        }
        // later than what a home may make of the former try when it wakes up
        let clock = time_of(self.clock.now(at)).max(wanted.clock.saturating_add(1));
        self.begin(Wanted { tries: wanted.tries + 1, silent, clock, ..wanted }, out);
    }

    fn written(
        &mut self,
        at: At,
        results: Vec<(u64, Result<Outcome, StoreError>)>,
        out: &mut Vec<Output>,
    ) {
        for (job, result) in results {
            match (self.jobs.remove(&job), result) {
                (Some(Job::Told(tell)), result) => {
                    self.written_here(at, tell, result.map(drop), out);
                }
                (Some(Job::Make(origin)), result) => {
                    let error = match result {
                        Ok(Outcome::Refused(error)) => error,
                        Ok(_) => ChangeError::Store("the store did something else".into()),
                        Err(error) => error.into(),
                    };
                    self.finish(origin, Err(error), out);
                }
                (Some(Job::Merge { question, from }), Ok(Outcome::Taken(taken))) => {
                    self.merged(at, question, from, taken, out);
                }
                // whoever asked need not wait: we are late, and caught up later
                (Some(Job::Merge { question, .. }), Err(error)) => {
                    out.push(Output::Reply { number: question, body: Bytes::new() });
                    self.compares.soon(at);
                    out.push(Output::Say(Say::NotKept(error)));
                }
                (Some(Job::Learn(origins)), result) => {
                    let is_ahead =
                        matches!(result, Ok(Outcome::Taken(taken)) if !taken.ahead.is_empty());
                    for origin in origins {
                        match is_ahead {
                            true => self.finish(origin, Err(unbeatable()), out),
                            false => self.beaten(at, origin, out),
                        }
                    }
                }
                (Some(Job::Compare(serial)), result) => {
                    self.compare_written(at, serial, result, out)
                }
                (Some(Job::Mend { key }), _) => drop(self.lost.remove(&key)),
                (Some(Job::Housekeeping), Ok(Outcome::Expired(count))) if count > 0 => {
                    self.expire(at, out);
                }
                _ => {}
            }
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn write(&mut self, job: Job, intent: Intent, out: &mut Vec<Output>) {
        let number = self.number();
        self.jobs.insert(number, job);
        out.push(Output::Write { job: number, intent });
    }

    pub(super) fn ask(
        &mut self,
        ask: Ask,
        to: NodeId,
        topic: u8,
        body: Bytes,
        patience: Duration,
        out: &mut Vec<Output>,
    ) {
        let number = self.number();
        self.asks.insert(number, ask);
        out.push(Output::Ask { ask: number, to, topic, body, patience });
    }
}

/// Another node has a row with a stamp that no change can pass now.
fn unbeatable() -> ChangeError {
    ChangeError::Store("another node has a row from the future: is a clock wrong?".into())
}
