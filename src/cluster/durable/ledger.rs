//! What is written next: a pure function of what is wanted and what is there.
//! All decisions about rows are made here, one after the other, so no two
//! changes of a row ever pass each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::durable::change::{Change, ChangeError, Expect};
use crate::cluster::durable::intent::{GiveUp, Intent, Outcome, Take, Taken};
use crate::cluster::durable::layout::{
    FORMAT, FORMAT_KEY, MARKS_KEY, READABLE, TOMBSTONES_PREFIX, bucket_of, bucket_prefix, is_row,
    journal_key, row_key, row_of_index, tombstone_of,
};
use crate::cluster::durable::page::Page;
use crate::cluster::durable::row::{Row, Stamp};
use crate::cluster::durable::sums::{Delta, Kept, Sums};
use crate::cluster::node::NodeId;
use crate::storage::{Reads, Rows, StoreError, Write};

/// Commits from one group of sums that is written with them to the next: after
/// 256 times as many, all groups have been, and no more journal entries than
/// that are read when a node starts. A guess: all groups in one commit are half
/// a MiB, and other changes would wait for it.
const COMMITS_PER_GROUP: u64 = 4;

/// Tombstones removed by one intent. A guess: a commit of so many takes some
/// milliseconds.
const EXPIRE_ROWS: usize = 1_024;

/// The bytes of our later rows in one answer, about.
const LATER_BYTES: usize = 256 << 10;

/// Rows of the index read at a time.
const READ_ROWS: usize = 256;

/// The writer's memory between two commits.
#[derive(Debug)]
pub struct Ledger {
    me: NodeId,
    kept: Kept,
    /// The store says that it is of an older layout, or nothing.
    is_old: bool,
    /// The latest stamp of a plan that was told to others, and whose end is
    /// not known.
    promised: u64,
    /// No stamp of ours is before this: others may have rows of ours with
    /// those, and our disk has not.
    floor: u64,
}

/// What shall be written, and what is so when it is written.
#[derive(Debug, Default)]
pub struct Plan {
    /// To be written, all or none.
    pub writes: Vec<Write>,
    /// What became of each intent.
    pub outcomes: Vec<Outcome>,
    /// What changes of the sums.
    pub delta: Delta,
    /// What the store keeps of the sums then.
    kept: Kept,
    /// The latest stamp that a change got in it.
    latest: u64,
}

impl Plan {
    /// Takes out the rows of changes, to be told to others, by the numbers of
    /// the intents.
    pub fn take_made(&mut self, numbers: &[u64]) -> Vec<(u64, Rows)> {
        let outcomes = numbers.iter().zip(&mut self.outcomes);
        let made = outcomes.filter_map(|(number, outcome)| match outcome {
            Outcome::Made(rows) if !rows.is_empty() => Some((*number, std::mem::take(rows))),
            _ => None,
        });
        made.collect()
    }
}

impl Ledger {
    /// The ledger of a store, and the sums of its rows.
    ///
    /// # Errors
    /// [`StoreError`]; it may be of another version.
    pub fn read(me: NodeId, reads: &dyn Reads) -> Result<(Self, Sums), StoreError> {
        let format = reads.get(FORMAT_KEY)?;
        let is_empty = || Ok::<_, StoreError>(reads.scan(b"", b"", 1)?.is_empty());
        let is_new = format.is_none() && is_empty()?;
        let version = format.as_deref().and_then(|format| format.first().copied());
        if !is_new && !version.is_some_and(|version| READABLE.contains(&version)) {
            return Err(StoreError {
                place: "layout".into(),
                reason: "the store was written by another version".into(),
            });
        }
        let (sums, kept) = Sums::read(reads)?;
        let is_old = version != Some(FORMAT);
        Ok((Self { me, kept, is_old, promised: 0, floor: 0 }, sums))
    }

    /// The same after a write that failed: nobody knows what is in the store.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_again(&mut self, reads: &dyn Reads) -> Result<Sums, StoreError> {
        let (read, sums) = Self::read(self.me, reads)?;
        let floor = self.floor.max(self.promised.saturating_add(1));
        *self = Self { floor, ..read };
        Ok(sums)
    }

    /// The plan is told to others before it is written.
    pub fn promise(&mut self, plan: &Plan) {
        self.promised = self.promised.max(plan.latest);
    }

    /// What to write for these intents.
    ///
    /// # Errors
    /// [`StoreError`]: nothing can be said of any of them.
    pub fn plan(
        &self,
        reads: &dyn Reads,
        sums: &Sums,
        intents: Vec<Intent>,
    ) -> Result<Plan, StoreError> {
        let mut page = Page::new(reads);
        let mut plan = Plan { kept: self.kept.clone(), ..Plan::default() };
        let mut marks = None;
        for intent in intents {
            plan.outcomes.push(match intent {
                Intent::Make { by, clock, changes } => {
                    self.make(&mut page, by, clock, &changes, &mut plan.latest)?
                }
                Intent::Take(take) => Outcome::Taken(self.take(&mut page, take)?),
                Intent::Restamp { rows, clock } => self.restamp(&mut page, rows, clock)?,
                Intent::Expire { horizon } => expire(&mut page, horizon)?,
                Intent::Note(new) => {
                    marks = Some(new);
                    Outcome::Noted
                }
            });
        }
        (plan.writes, plan.delta) = page.finish(sums)?;
        if let Some(marks) = marks {
            plan.writes.push(Write::Put(MARKS_KEY.to_vec(), marks.written()));
        }
        if !plan.writes.is_empty() {
            self.journalize(sums, &mut plan);
        }
        Ok(plan)
    }

    /// The plan has been written.
    pub fn done(&mut self, plan: &Plan, sums: &mut Sums) {
        if !plan.writes.is_empty() {
            self.kept = plan.kept.clone();
            self.is_old = false;
            sums.add(&plan.delta);
        }
    }

    fn journalize(&self, sums: &Sums, plan: &mut Plan) {
        if self.is_old {
            plan.writes.push(Write::Put(FORMAT_KEY.to_vec(), vec![FORMAT]));
        }
        if plan.delta.buckets.is_empty() {
            return;
        }
        let number = plan.kept.journal.end;
        let entry = postcard::to_stdvec(&plan.delta).expect("numbers can be written");
        plan.writes.push(Write::Put(journal_key(number), entry));
        plan.kept.journal.end = number + 1;
        if number.is_multiple_of(COMMITS_PER_GROUP) {
            let group = plan.kept.oldest();
            plan.writes.extend(sums.written(group, &plan.delta, number + 1));
            let over = plan.kept.write(group, number + 1);
            plan.writes.extend(over.map(|at| Write::Delete(journal_key(at))));
        }
    }

    fn make(
        &self,
        page: &mut Page<'_>,
        by: u64,
        clock: u64,
        changes: &[Change],
        latest: &mut u64,
    ) -> Result<Outcome, StoreError> {
        let clock = clock.max(self.floor);
        let mut made: BTreeMap<Vec<u8>, Row> = BTreeMap::new();
        let mut ours = Rows::new();
        for (change, by) in changes.iter().zip((0..).map(|at: u64| by.wrapping_add(at))) {
            let key = row_key(change.table, &change.key);
            let old = match made.get(&key) {
                Some(row) => Some(row.clone()),
                None => match page.row(&key)? {
                    Ok(row) => row,
                    // a damaged row may be anything but what was expected
                    Err(_) if change.expect == Expect::Any => None,
                    Err(damaged) => return Ok(Outcome::Refused(damaged.into())),
                },
            };
            if let Some(old) = old.as_ref().filter(|old| old.by == by) {
                // a former try of this change has been made; all of it, then
                ours.push((key, old.written()));
                continue;
            }
            let is_there = old.as_ref().is_some_and(|row| row.value.is_some());
            let refused = match change.expect {
                Expect::Absent if is_there => Some(ChangeError::Exists),
                Expect::Present if !is_there => Some(ChangeError::Missing),
                _ => None,
            };
            if let Some(refused) = refused.filter(|_| ours.is_empty()) {
                return Ok(Outcome::Refused(refused));
            }
            let stamp = Stamp::after(old.map(|row| row.stamp), clock, self.me);
            made.insert(key, Row { stamp, by, value: change.value.clone() });
        }
        if !ours.is_empty() {
            return Ok(Outcome::Made(ours));
        }
        let mut rows = Rows::with_capacity(made.len());
        for (key, row) in made {
            *latest = row.stamp.time.max(*latest);
            page.put(&key, &row)?;
            rows.push((key, row.written()));
        }
        Ok(Outcome::Made(rows))
    }

    fn take(&self, page: &mut Page<'_>, take: Take) -> Result<Taken, StoreError> {
        let mut taken = Taken::default();
        let mut theirs = BTreeSet::new();
        let mut later_bytes = 0;
        for (key, stored) in take.rows {
            let Some(row) = Row::read(&stored).filter(|_| is_row(&key)) else {
                // damaged on its way, or of a version that has more tables
                continue;
            };
            theirs.insert((bucket_of(&key), key.clone()));
            if row.stamp.time > take.limit {
                taken.ahead.push((key, row.stamp));
                continue;
            }
            match page.row(&key)? {
                Ok(None) => {
                    let is_old = row.stamp.time < take.horizon;
                    if is_old && (row.value.is_none() || take.is_away) {
                        continue;
                    }
                }
                Ok(Some(old)) if old.stamp > row.stamp => {
                    let written = old.written();
                    later_bytes += key.len() + written.len();
                    if later_bytes <= LATER_BYTES {
                        taken.later.push((key, written));
                    }
                    continue;
                }
                Ok(Some(old)) if old.stamp == row.stamp => continue,
                Ok(Some(_)) | Err(_) => {}
            }
            page.put(&key, &row)?;
            taken.count += 1;
            if row.value.is_some() {
                taken.kept.push(key);
            }
        }
        if let Some(give_up) = take.give_up {
            taken.given_up = abandon(page, &theirs, &give_up)?;
        }
        Ok(taken)
    }

    fn restamp(
        &self,
        page: &mut Page<'_>,
        rows: Vec<(Vec<u8>, Stamp)>,
        clock: u64,
    ) -> Result<Outcome, StoreError> {
        let mut told = Rows::new();
        for (key, stamp) in rows {
            let Ok(Some(row)) = page.row(&key)? else { continue };
            if row.stamp == stamp && stamp.time > clock {
                let row = Row { stamp: Stamp { time: clock, node: self.me }, ..row };
                page.put(&key, &row)?;
                told.push((key, row.written()));
            }
        }
        Ok(Outcome::Made(told))
    }
}

/// Removes what we have in a part of the buckets from before the horizon, and
/// the other node has not.
fn abandon(
    page: &mut Page<'_>,
    theirs: &BTreeSet<(u16, Vec<u8>)>,
    give_up: &GiveUp,
) -> Result<usize, StoreError> {
    let mut count = 0;
    let end = give_up.next.as_ref();
    let begins = |bucket: u16| give_up.from.0 <= bucket && end.is_none_or(|end| bucket <= end.0);
    for bucket in give_up.buckets.iter().copied().filter(|bucket| begins(*bucket)) {
        let prefix = bucket_prefix(bucket);
        let mut from = Vec::new();
        loop {
            let index = page.reads().scan(&prefix, &from, READ_ROWS)?;
            for (index_key, _) in &index {
                let Some(key) = row_of_index(index_key) else { continue };
                let place = (bucket, key.to_vec());
                let is_outside = place < give_up.from || end.is_some_and(|end| place >= *end);
                if is_outside || theirs.contains(&place) {
                    continue;
                }
                if let Ok(Some(row)) = page.row(key)?
                    && row.stamp.time < give_up.horizon
                {
                    page.forget(key)?;
                    count += 1;
                }
            }
            match index.last() {
                Some((last, _)) if index.len() == READ_ROWS => from = [last, &[0][..]].concat(),
                _ => break,
            }
        }
    }
    Ok(count)
}

fn expire(page: &mut Page<'_>, horizon: u64) -> Result<Outcome, StoreError> {
    let mut count = 0;
    for (index_key, _) in page.reads().scan(TOMBSTONES_PREFIX, b"", EXPIRE_ROWS)? {
        let Some((time, key)) = tombstone_of(&index_key) else { continue };
        if time >= horizon {
            break;
        }
        match page.row(key)? {
            Ok(Some(row)) if row.value.is_none() && row.stamp.time == time => {
                page.forget(key)?;
                count += 1;
            }
            // what stood there was damaged, and something else is there now
            _ => page.delete(index_key),
        }
    }
    Ok(Outcome::Expired(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::durable::layout::JOURNAL_PREFIX;
    use crate::cluster::durable::row::time_of;
    use crate::cluster::durable::{Table, words};
    use crate::storage::Store;
    use crate::storage::memory::Memory;

    struct Writer {
        store: Memory,
        ledger: Ledger,
        sums: Sums,
    }

    impl Writer {
        fn new(node: u64) -> Self {
            let store = Memory::default();
            let (ledger, sums) = Ledger::read(NodeId::new(node, 0), &store).expect("empty");
            Self { store, ledger, sums }
        }

        fn write(&mut self, intent: Intent) -> Outcome {
            let plan = self.ledger.plan(&self.store, &self.sums, vec![intent]).expect("planned");
            self.store.write(&plan.writes).expect("written");
            self.ledger.done(&plan, &mut self.sums);
            plan.outcomes.into_iter().next().expect("one")
        }

        fn change(&mut self, by: u64, change: Change) -> Outcome {
            self.write(Intent::Make { by, clock: time_of(by), changes: vec![change] })
        }

        /// What a node that starts would read.
        fn check_sums(&self) {
            let (_, read) = Ledger::read(NodeId::new(9, 0), &self.store).expect("readable");
            let both = [&read, &self.sums].map(|sums| (sums.digest(), sums.rows()));
            assert_eq!(both[0], both[1]);
        }
    }

    fn put(key: &str, value: &str) -> Change {
        Change::put(Table::Vcard, key, value.to_owned().into_bytes())
    }

    #[test]
    fn a_stamp_that_others_were_told_is_given_once() {
        let mut home = Writer::new(1);
        // a row of a clock that is ahead: what follows counts on from it
        home.change(900, put("a@b", "old"));
        let stamp = |rows: &Rows| Row::read(&rows[0].1).expect("a row").stamp;
        let make = |by| Intent::Make { by, clock: time_of(1), changes: vec![put("a@b", "new")] };
        let plan = |home: &Writer, by| {
            let mut plan = home.ledger.plan(&home.store, &home.sums, vec![make(by)]).expect("one");
            let made = plan.take_made(&[by]);
            (stamp(&made[0].1), plan)
        };
        let (told, failed) = plan(&home, 2);
        home.ledger.promise(&failed);
        assert_eq!(plan(&home, 3).0, told, "or else this shows nothing");
        // the disk did not take it
        home.sums = home.ledger.read_again(&home.store).expect("readable");
        assert!(plan(&home, 3).0 > told);
        home.sums = home.ledger.read_again(&home.store).expect("readable");
        assert!(plan(&home, 3).0 > told, "and not after one more failure");
    }

    fn take(rows: Rows) -> Intent {
        let limit = time_of(1_000_000);
        Intent::Take(Take { rows, limit, horizon: 0, is_away: false, give_up: None })
    }

    #[test]
    fn sums_are_right_whichever_groups_were_written_since() {
        let all = COMMITS_PER_GROUP * 256;
        let mut writer = Writer::new(1);
        let length = |writer: &Writer| {
            writer.store.scan(JOURNAL_PREFIX, b"", 9_999).expect("readable").len()
        };
        for by in 0..2 * all + 9 {
            writer.change(by, put(&format!("u{}", by % 50), &by.to_string()));
            if by % 100 == 0 || (all..all + 9).contains(&by) {
                writer.check_sums();
            }
        }
        let length = length(&writer) as u64;
        assert!((all - 9..=all + 9).contains(&length), "{length} entries are kept");
    }

    #[test]
    fn a_store_of_the_layout_before_is_taken_over() {
        let mut writer = Writer::new(1);
        for by in 0..99 {
            writer.change(by, put(&format!("u{by}"), "old"));
        }
        // as it was: all groups at once, without saying as of when
        let mut before = Vec::new();
        for group in 0..=u8::MAX {
            for write in writer.sums.written(group, &Delta::default(), 99) {
                let Write::Put(key, mut value) = write else { panic!() };
                value.truncate(value.len() - 8);
                before.push(Write::Put(key, value));
            }
        }
        before.extend((0..99).map(|at| Write::Delete(journal_key(at))));
        before.push(Write::Put(FORMAT_KEY.to_vec(), vec![1]));
        writer.store.write(&before).expect("written");
        let (ledger, _) = Ledger::read(writer.ledger.me, &writer.store).expect("readable");
        writer.ledger = ledger;
        writer.check_sums();
        for by in 100..1_300 {
            writer.change(by, put(&format!("u{}", by % 200), "new"));
            if by % 100 == 0 {
                writer.check_sums();
            }
        }
        assert_eq!(writer.store.get(FORMAT_KEY).expect("readable"), Some(vec![FORMAT]));
    }

    #[test]
    fn a_damaged_row_is_refused_and_replaced_by_another_nodes() {
        let (mut ours, mut theirs) = (Writer::new(1), Writer::new(2));
        let Outcome::Made(rows) = theirs.change(1, put("u", "value")) else { panic!() };
        ours.write(take(rows.clone()));
        let (key, stored) = rows.first().expect("one").clone();
        let mut torn = stored.clone();
        *torn.last_mut().expect("not empty") ^= 1;
        ours.store.write(&[Write::Put(key.clone(), torn)]).expect("written");
        let refused = ours.change(2, put("u", "x").expect(Expect::Present));
        assert!(matches!(refused, Outcome::Refused(ChangeError::Store(_))), "{refused:?}");
        // nobody gives a damaged row away
        let answer =
            crate::cluster::durable::answers::answer(&ours.store, words::topic::LOST, &key);
        let given: Rows =
            words::read(&answer.expect("readable").expect("an answer")).expect("rows");
        assert_eq!(given, []);
        ours.write(take(rows));
        assert_eq!(ours.store.get(&key).expect("readable"), Some(stored));
        ours.check_sums();
        assert_eq!(ours.sums.digest(), theirs.sums.digest());
    }

    #[test]
    fn a_change_is_all_or_none_and_its_second_try_is_the_first() {
        let mut writer = Writer::new(1);
        let both = |second: Expect| vec![put("a", "1"), put("b", "1").expect(second)];
        let make = |by, changes| Intent::Make { by, clock: 0, changes };
        writer.change(1, put("b", "0"));
        let refused = writer.write(make(10, both(Expect::Absent)));
        assert_eq!(refused, Outcome::Refused(ChangeError::Exists));
        assert_eq!(writer.sums.rows(), 1);
        writer.change(2, Change::remove(Table::Vcard, "b"));
        let Outcome::Made(first) = writer.write(make(10, both(Expect::Absent))) else { panic!() };
        assert_eq!(writer.write(make(10, both(Expect::Absent))), Outcome::Made(first));
        assert_eq!(
            writer.write(make(11, both(Expect::Absent))),
            Outcome::Refused(ChangeError::Exists)
        );
    }

    #[test]
    fn a_row_from_far_in_the_future_gets_another_stamp_if_it_is_still_the_same() {
        let mut writer = Writer::new(1);
        let Outcome::Made(rows) = writer.change(9_000, put("u", "x")) else { panic!() };
        let (key, stored) = rows.first().expect("one").clone();
        let stamp = Row::read(&stored).expect("whole").stamp;
        let restamp = |stamp| Intent::Restamp { rows: vec![(key.clone(), stamp)], clock: 5 };
        let other = Stamp { time: stamp.time + 1, ..stamp };
        assert_eq!(writer.write(restamp(other)), Outcome::Made(vec![]));
        let Outcome::Made(told) = writer.write(restamp(stamp)) else { panic!() };
        assert_eq!(Row::read(&told[0].1).expect("whole").stamp.time, 5);
        writer.check_sums();
    }

    #[test]
    fn a_store_of_another_version_is_refused() {
        let store = Memory::default();
        store.write(&[Write::Put(b"x".to_vec(), b"y".to_vec())]).expect("written");
        let error = Ledger::read(NodeId::new(1, 0), &store).expect_err("another layout");
        assert!(error.to_string().contains("another version"), "{error}");
    }
}
