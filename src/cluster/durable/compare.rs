//! What was missed is mended: nodes compare sums, first of groups of buckets,
//! then of the buckets that differ, and fetch the rows of those. One other node
//! at a time: at once when it is seen, and every minute.

use bytes::Bytes;

use crate::cluster::durable::clock::At;
use crate::cluster::durable::core::{Core, PAGE_TIME_MAX, QUICK_ANSWER_TIME_MAX};
use crate::cluster::durable::intent::{Cursor, GiveUp, Intent, Outcome, Take};
use crate::cluster::durable::marks::{Rank, Relation, Standing};
use crate::cluster::durable::news::{Output, Say};
use crate::cluster::durable::pending::{Ask, Job};
use crate::cluster::durable::rounds::{PAUSE, REFUSED_PAUSE};
use crate::cluster::durable::sums::Sums;
use crate::cluster::durable::words::{
    BucketsAnswer, BucketsAsk, RowsAnswer, RowsAsk, SumsAnswer, SumsAsk, read, topic, written,
};
use crate::cluster::node::NodeId;
use crate::storage::StoreError;

/// Buckets asked for in one question: some kilobytes.
const ASKED_BUCKETS: usize = 1_024;

/// One comparison.
#[derive(Debug)]
pub(super) struct Compare {
    pub(super) node: NodeId,
    pub(super) serial: u64,
    step: Step,
    theirs: Option<Standing>,
    relation: Relation,
    horizon: u64,
    buckets: Vec<u16>,
    /// How many of them are done.
    asked: usize,
    fetched: usize,
    /// Those that have a value, by their keys.
    kept: Vec<Vec<u8>>,
    given_up: usize,
}

#[derive(Debug)]
enum Step {
    Sums,
    Buckets,
    Rows(Cursor),
    Taking(Option<Cursor>),
}

/// Whom else it may concern: what a comparison has fetched.
pub(super) fn tell_kept(compare: &mut Compare, out: &mut Vec<Output>) {
    let kept = std::mem::take(&mut compare.kept);
    if !kept.is_empty() {
        out.push(Output::Kept(kept));
    }
}

impl Core {
    /// Begins the next comparison, if it is time and none is running.
    pub(super) fn compare_next(&mut self, at: At, out: &mut Vec<Output>) {
        if self.compares.running.is_some() {
            return;
        }
        let due = self.compares.due.iter().min_by_key(|(_, due)| **due);
        let Some(node) = due.filter(|(_, due)| **due <= at.steady).map(|(node, _)| *node) else {
            return;
        };
        self.compares.serial += 1;
        self.compares.again = false;
        let serial = self.compares.serial;
        self.compares.running = Some(Compare {
            node,
            serial,
            step: Step::Sums,
            theirs: None,
            relation: Relation::Equal,
            horizon: 0,
            buckets: Vec::new(),
            asked: 0,
            fetched: 0,
            kept: Vec::new(),
            given_up: 0,
        });
        let body = written(&SumsAsk { wall: at.wall });
        self.ask(Ask::Compare(serial), node, topic::SUMS, body, QUICK_ANSWER_TIME_MAX, out);
    }

    /// Another node compares.
    pub(super) fn compare_question(
        &mut self,
        at: At,
        sums: &Sums,
        from: NodeId,
        topic: u8,
        body: &[u8],
    ) -> Option<Bytes> {
        match topic {
            topic::SUMS => {
                let SumsAsk { wall } = read(body)?;
                self.clock.heard(at, from, wall);
                let life = self.settings.tombstones_kept;
                Some(written(&SumsAnswer {
                    wall: at.wall,
                    standing: self.marks.standing(&self.name, at.wall, life),
                    horizon: self.horizon(at),
                    groups: sums.groups().to_vec(),
                }))
            }
            topic::BUCKETS => {
                let BucketsAsk { groups } = read(body)?;
                let sums = |group: u8| (group, sums.group(group).to_vec());
                Some(written(&BucketsAnswer { groups: groups.into_iter().map(sums).collect() }))
            }
            _ => None,
        }
    }

    /// The other node has answered, or not.
    pub(super) fn compare_answered(
        &mut self,
        at: At,
        sums: &Sums,
        serial: u64,
        answer: Option<Bytes>,
        out: &mut Vec<Output>,
    ) {
        let Some(mut compare) = self.compares.take(serial) else { return };
        let next = match (std::mem::replace(&mut compare.step, Step::Sums), answer) {
            (Step::Sums, Some(answer)) => {
                read(&answer).and_then(|answer| self.sums_heard(at, sums, &mut compare, answer))
            }
            (Step::Buckets, Some(answer)) => buckets_heard(sums, &mut compare, &answer),
            (Step::Rows(from), Some(answer)) => read(&answer).map(|RowsAnswer { rows, next }| {
                let take = self.take_of(at, &compare, from, next.clone(), rows);
                compare.step = Step::Taking(next);
                Next::Write(take)
            }),
            (_, None) | (Step::Taking(_), _) => None,
        };
        self.compare_goes_on(at, compare, next, out);
    }

    /// Rows of the other node are on the disk, or not.
    pub(super) fn compare_written(
        &mut self,
        at: At,
        serial: u64,
        result: Result<Outcome, StoreError>,
        out: &mut Vec<Output>,
    ) {
        let Some(mut compare) = self.compares.take(serial) else { return };
        let next = match result {
            Ok(Outcome::Taken(taken)) => {
                *self.compares.parts.entry(compare.node).or_default() += 1;
                compare.fetched += taken.count;
                compare.kept.extend(taken.kept);
                compare.given_up += taken.given_up;
                self.report(at, compare.node, taken.ahead, out);
                compare.goes_on()
            }
            Ok(_) => None,
            Err(error) => {
                out.push(Output::Say(Say::NotKept(error)));
                None
            }
        };
        self.compare_goes_on(at, compare, next, out);
    }

    fn sums_heard(
        &mut self,
        at: At,
        sums: &Sums,
        compare: &mut Compare,
        answer: SumsAnswer,
    ) -> Option<Next> {
        let SumsAnswer { wall, standing, horizon, groups } = answer;
        self.clock.heard(at, compare.node, wall);
        let life = self.settings.tombstones_kept;
        let ours = self.marks.standing(&self.name, at.wall, life);
        compare.relation = ours.relation(&standing);
        compare.theirs = Some(standing);
        compare.horizon = horizon;
        compare.step = Step::Buckets;
        let groups = sums.other_groups(&groups);
        if groups.is_empty() {
            return Some(Next::Done);
        }
        Some(Next::Ask(topic::BUCKETS, written(&BucketsAsk { groups })))
    }

    fn take_of(
        &self,
        at: At,
        compare: &Compare,
        from: Cursor,
        next: Option<Cursor>,
        rows: crate::storage::Rows,
    ) -> Take {
        let give_up = (compare.relation == Relation::WeWereAway).then(|| GiveUp {
            buckets: compare.chunk().to_vec(),
            from,
            next,
            horizon: compare.horizon,
        });
        let is_away = compare.relation == Relation::TheyWereAway;
        Take { is_away, give_up, ..self.take(at, rows) }
    }

    fn compare_goes_on(
        &mut self,
        at: At,
        mut compare: Compare,
        next: Option<Next>,
        out: &mut Vec<Output>,
    ) {
        let serial = compare.serial;
        match next {
            Some(Next::Ask(topic, body)) => {
                let node = compare.node;
                self.compares.running = Some(compare);
                let is_read = topic == topic::ROWS;
                let patience = if is_read { PAGE_TIME_MAX } else { QUICK_ANSWER_TIME_MAX };
                self.ask(Ask::Compare(serial), node, topic, body, patience, out);
            }
            Some(Next::Rows(from)) => {
                let buckets = compare.chunk().to_vec();
                let body = written(&RowsAsk { buckets, from: from.clone() });
                compare.step = Step::Rows(from);
                self.compare_goes_on(at, compare, Some(Next::Ask(topic::ROWS, body)), out);
            }
            Some(Next::Write(take)) => {
                self.compares.running = Some(compare);
                self.write(Job::Compare(serial), Intent::Take(take), out);
            }
            Some(Next::Done) => {
                // not before: half of them would be read out of their order
                tell_kept(&mut compare, out);
                self.compared(at, &compare, out);
            }
            None => {
                tell_kept(&mut compare, out);
                self.compares.due.insert(compare.node, at.steady + PAUSE);
                self.compare_next(at, out);
            }
        }
    }

    /// We have all that the other node has.
    fn compared(&mut self, at: At, compare: &Compare, out: &mut Vec<Output>) {
        let interval = u64::try_from(self.settings.interval.as_millis()).unwrap_or(u64::MAX);
        let pause = match std::mem::take(&mut self.compares.again) {
            true => 0,
            false if self.compares.has_refused => interval.min(REFUSED_PAUSE),
            false => interval,
        };
        self.compares.due.insert(compare.node, at.steady.saturating_add(pause));
        let from = compare.node;
        if compare.relation == Relation::WeWereAway {
            out.push(Output::Say(Say::GaveUp { from, rows: compare.given_up }));
        }
        if compare.fetched > 0 {
            out.push(Output::Say(Say::Fetched { from, rows: compare.fetched }));
        }
        if !compare.buckets.is_empty() {
            // it has less than we have now, until it has heard this
            self.behind.insert(from, at.steady);
            self.wake_those_behind(at, out);
        }
        let life = self.settings.tombstones_kept;
        let before = self.marks.standing(&self.name, at.wall, life);
        self.agree(at, compare);
        let after = self.marks.standing(&self.name, at.wall, life);
        if after.rank == Rank::Good && !std::mem::replace(&mut self.compares.has_agreed, true) {
            out.push(Output::Say(Say::Agreed));
        }
        // whoever forgot this would not know that it was away
        let is_news = (before.rank, before.known) != (after.rank, after.known);
        self.note(at, is_news, out);
        self.compare_next(at, out);
    }

    fn agree(&mut self, at: At, compare: &Compare) {
        let Some(theirs) = &compare.theirs else { return };
        let life = self.settings.tombstones_kept;
        let ours = self.marks.standing(&self.name, at.wall, life);
        if let Some(member) = self.members.get(compare.node) {
            self.marks.met(&member.node.name);
        }
        self.compares.met.insert(compare.node);
        let has_met_all =
            self.members.others().all(|member| self.compares.met.contains(&member.node.id));
        match (compare.relation, ours.rank) {
            (Relation::WeWereAway, _) => {
                // we are as good as they are, and no better
                self.marks.down = None;
                self.marks.agreed = theirs.age.map(|age| at.wall.saturating_sub(age));
            }
            (Relation::Equal, Rank::New | Rank::Alone)
                if has_met_all || theirs.rank == Rank::Good =>
            {
                self.marks.agreed = Some(at.wall);
            }
            (_, Rank::Good) => self.marks.agreed = Some(at.wall),
            _ => {}
        }
    }
}

/// What a comparison does next.
enum Next {
    Ask(u8, Bytes),
    Rows(Cursor),
    Write(Take),
    Done,
}

impl Compare {
    /// The buckets that are asked for now.
    fn chunk(&self) -> &[u16] {
        let rest = self.buckets.get(self.asked..).unwrap_or_default();
        rest.get(..ASKED_BUCKETS).unwrap_or(rest)
    }

    fn goes_on(&mut self) -> Option<Next> {
        match std::mem::replace(&mut self.step, Step::Sums) {
            Step::Taking(Some(next)) => Some(Next::Rows(next)),
            Step::Taking(None) => {
                self.asked += self.chunk().len();
                Some(self.begin_chunk())
            }
            _ => None,
        }
    }

    fn begin_chunk(&self) -> Next {
        self.chunk().first().map_or(Next::Done, |first| Next::Rows((*first, Vec::new())))
    }
}

fn buckets_heard(sums: &Sums, compare: &mut Compare, answer: &[u8]) -> Option<Next> {
    let BucketsAnswer { groups } = read(answer)?;
    let others = groups.iter().flat_map(|(group, theirs)| sums.other_buckets(*group, theirs));
    compare.buckets = others.collect();
    Some(compare.begin_chunk())
}
