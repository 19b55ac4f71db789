//! The invariants of durable rows, and the record that they are checked
//! against.
//!
//! 11. **What was acknowledged stays**: as long as one disk that had it was
//!     neither replaced nor away for longer than tombstones are kept, all have
//!     it in the end, or something later.
//! 12. **All are equal**: after calm all nodes have the same rows, and their
//!     sums and indexes are those of their rows.
//! 13. **Nothing deleted comes back**: after a removal was acknowledged, no
//!     row that is older is seen again.
//! 14. **Nothing old wins**: of two acknowledged changes, the second begun after
//!     the first had ended, the first does not stay; if clocks are wrong, only
//!     where the second can have known of the first.
//! 15. **No change stands in its own way**: a second try of a change does not
//!     find the first.

use std::collections::{BTreeMap, BTreeSet};

use jabiru::cluster::durable::Table;
use jabiru::cluster::durable::change::{Change, ChangeError, Made};
use jabiru::cluster::durable::layout::bucket_of;
use jabiru::cluster::durable::layout::{TOMBSTONES_PREFIX, is_row, row_key, tombstone_of};
use jabiru::cluster::durable::row::{Row, Stamp, millis_of};
use jabiru::cluster::durable::sums::{Delta, Sums, weight};
use jabiru::storage::Write;

use super::disk::Disk;
use super::world::{Seat, Time, World};

type Key = Vec<u8>;

#[derive(Debug)]
struct Wanted {
    begun: Time,
    /// Key, the row's number of its change, and whether it is a removal.
    rows: Vec<(Key, u64, bool)>,
    done: Option<Acknowledged>,
}

#[derive(Debug)]
struct Acknowledged {
    at: Time,
    made: Made,
    /// Of each row: its stamp, and whose disks had it.
    rows: Vec<(Stamp, BTreeSet<Seat>)>,
}

#[derive(Debug, Default)]
pub struct Record {
    changes: BTreeMap<u64, Wanted>,
    /// All rows that ever were on a disk: whether they were removals.
    written: BTreeMap<Key, BTreeMap<Stamp, bool>>,
    /// Which change a row's number is of.
    numbers: BTreeMap<u64, u64>,
    pub clocks_are_right: bool,
    acknowledged: u64,
    pub told: Vec<String>,
}

impl Record {
    pub fn tell(&mut self, now: Time, what: String) {
        self.told.push(format!("{now} {what}"));
    }

    pub fn next_change(&mut self) -> u64 {
        self.changes.len() as u64 + 1
    }

    pub fn begun(&mut self, now: Time, number: u64, by: u64, seat: Seat, changes: &[Change]) {
        self.tell(now, format!("change {number} at n{seat}: {changes:?}"));
        let rows = changes.iter().zip(0..).map(|(change, at)| {
            let (table, key, is_removal) = change.told();
            assert_eq!(table, Table::Roster);
            (row_key(table, key), by.wrapping_add(at), is_removal)
        });
        let wanted = Wanted { begun: now, rows: rows.collect(), done: None };
        self.numbers.extend(wanted.rows.iter().map(|(_, by, _)| (*by, number)));
        self.changes.insert(number, wanted);
    }

    pub fn done(
        &mut self,
        now: Time,
        number: u64,
        answer: &Result<Made, ChangeError>,
        disks: &[&Disk],
    ) {
        self.tell(now, format!("change {number} ends: {answer:?}"));
        let wanted = self.changes.get_mut(&number).expect("it was wanted");
        match answer {
            Ok(made) => {
                self.acknowledged += 1;
                let rows = wanted.rows.iter().map(|(key, by, _)| {
                    let on = |disk: &Disk| disk.rows.get(key).and_then(|row| Row::read(row));
                    let ours = disks.iter().filter_map(|disk| on(disk)).filter(|row| row.by == *by);
                    let stamp = ours.map(|row| row.stamp).max();
                    // it may have been overwritten everywhere; then it is no matter
                    let stamp = stamp.unwrap_or(Stamp { time: 0, node: Default::default() });
                    let has = |disk: &&Disk| on(disk).is_some_and(|row| row.stamp >= stamp);
                    let seats = disks.iter().enumerate().filter(|(_, disk)| has(disk));
                    (stamp, seats.map(|(seat, _)| seat).collect())
                });
                let rows = rows.collect();
                wanted.done = Some(Acknowledged { at: now, made: *made, rows });
            }
            Err(error @ (ChangeError::Exists | ChangeError::Missing)) => {
                // a row that is in the way, or one that is not there, on any disk
                let is_reason = |row: Option<&Row>| match error {
                    ChangeError::Exists => row.is_some_and(|row| row.value.is_some()),
                    _ => row.is_none_or(|row| row.value.is_none()),
                };
                let (mut is_made, mut has_reason) = (false, false);
                for (key, by, _) in &wanted.rows {
                    for disk in disks {
                        let row = disk.rows.get(key).and_then(|row| Row::read(row));
                        let is_own = row.as_ref().is_some_and(|row| row.by == *by);
                        is_made |= is_own;
                        has_reason |= !is_own && is_reason(row.as_ref());
                    }
                }
                let found_itself = is_made && !has_reason;
                assert!(!found_itself, "{now}: change {number} found itself: {error} (15)");
            }
            Err(ChangeError::Store(_)) => {}
        }
    }

    /// Something is on a disk now.
    /// `old`: a time of day; rows from before it may be given up.
    pub fn committed(&mut self, now: Time, old: Time, seat: Seat, disk: &Disk, writes: &[Write]) {
        for write in writes {
            match write {
                Write::Put(key, stored) if is_row(key) => {
                    let row = Row::read(stored).expect("only whole rows are written");
                    let text = row.value.as_ref().map(|value| String::from_utf8_lossy(value));
                    self.told.push(format!(
                        "{now} n{seat} has {} = {text:?} of {:?}",
                        String::from_utf8_lossy(key),
                        row.stamp
                    ));
                    self.check_again(now, key, &row);
                    let is_removal = row.value.is_none();
                    self.written.entry(key.clone()).or_default().insert(row.stamp, is_removal);
                }
                Write::Delete(key) if is_row(key) => {
                    let row = disk.rows.get(key).and_then(|row| Row::read(row));
                    let Some(row) = row else { continue };
                    self.told.push(format!(
                        "{now} n{seat} gives up {} of {:?}, {}",
                        String::from_utf8_lossy(key),
                        row.stamp,
                        if row.value.is_some() { "a value" } else { "a tombstone" }
                    ));
                    // it was away for too long; what is young it must keep
                    if row.value.is_some() && millis_of(row.stamp.time) <= old {
                        self.forget(seat, |of, stamp| of == key && stamp <= row.stamp);
                    }
                }
                _ => {}
            }
        }
    }

    /// Nobody makes a change once more that was acknowledged and overwritten.
    fn check_again(&self, now: Time, key: &Key, row: &Row) {
        let Some(number) = self.numbers.get(&row.by).filter(|_| self.clocks_are_right) else {
            return;
        };
        let wanted = &self.changes[number];
        let (Some(done), Some(at)) =
            (&wanted.done, wanted.rows.iter().position(|(other, ..)| other == key))
        else {
            return;
        };
        let Some((stamp, _)) = done.rows.get(at) else { return };
        let mut later = self.later_than(done.at, key).map(|(_, (later, _))| *later);
        assert!(
            row.stamp <= *stamp || !later.any(|later| *stamp < later && later < row.stamp),
            "{now}: change {number} was acknowledged as {stamp:?}, overwritten, and made again (14)"
        );
    }

    /// A disk has been replaced by an older copy of it.
    pub fn restored(&mut self, seat: Seat, when: Time) {
        for wanted in self.changes.values_mut() {
            if let Some(done) = wanted.done.as_mut().filter(|done| done.at >= when) {
                done.rows.iter_mut().for_each(|(_, seats)| seats.retain(|other| *other != seat));
            }
        }
    }

    /// A node was away for too long: what it had from before is nothing to
    /// count on.
    pub fn gave_up(&mut self, seat: Seat, horizon: Time) {
        for wanted in self.changes.values_mut() {
            if let Some(done) = wanted.done.as_mut().filter(|done| done.at <= horizon) {
                done.rows.iter_mut().for_each(|(_, seats)| seats.retain(|other| *other != seat));
            }
        }
    }

    fn forget(&mut self, seat: Seat, is_gone: impl Fn(&Key, Stamp) -> bool) {
        for wanted in self.changes.values_mut() {
            let Some(done) = &mut wanted.done else { continue };
            for ((key, ..), (stamp, seats)) in wanted.rows.iter().zip(&mut done.rows) {
                if is_gone(key, *stamp) {
                    seats.remove(&seat);
                }
            }
        }
    }

    fn check_acknowledged(&self, last: &BTreeMap<Key, Row>) {
        for (number, key, stamp, _) in self.acknowledged_rows().filter(|row| row.3) {
            let row = last.get(key);
            let is_back = row.is_some_and(|row| row.value.is_some() && row.stamp < stamp);
            let text = String::from_utf8_lossy(key);
            assert!(
                !is_back,
                "change {number} removed {text} at {stamp:?}, and it came back: {row:?} (13)"
            );
        }
        for (number, key, stamp, _) in self.acknowledged_rows().filter(|row| !row.3) {
            // a later removal may be forgotten by now
            let mut later = self.written.get(key).into_iter().flatten();
            let was_removed = later.any(|(later, is_removal)| *later > stamp && *is_removal);
            let row = last.get(key);
            let stays = row.map_or(was_removed, |row| row.stamp >= stamp);
            let text = String::from_utf8_lossy(key);
            assert!(stays, "change {number} of {text}, {stamp:?}, is lost: {row:?} (11)");
        }
    }

    /// What was acknowledged, and is on some disk that counts: the change, its
    /// key, its stamp, and whether it is a removal.
    fn acknowledged_rows(&self) -> impl Iterator<Item = (u64, &Key, Stamp, bool)> {
        self.changes.iter().flat_map(|(number, wanted)| {
            let done = wanted.done.iter().flat_map(|done| &done.rows);
            let rows = wanted.rows.iter().zip(done).filter(|(_, (_, seats))| !seats.is_empty());
            rows.map(|((key, _, is_removal), (stamp, _))| (*number, key, *stamp, *is_removal))
        })
    }

    /// Whoever was first does not stay, if the second can have known of it.
    fn check_order(&self, last: &BTreeMap<Key, Row>, seats: usize) {
        let is_full = |done: &Acknowledged| done.made == Made { nodes: seats as u32, late: 0 };
        for (number, wanted) in &self.changes {
            let Some(done) = &wanted.done else { continue };
            for ((key, by, _), (stamp, _)) in wanted.rows.iter().zip(&done.rows) {
                let Some(row) = last.get(key).filter(|row| row.by == *by) else { continue };
                for (later, (second, held)) in self.later_than(done.at, key) {
                    // made again, when it had been acknowledged and overwritten
                    let is_again = row.stamp > *stamp && second > stamp;
                    // all acknowledged the second, whoever had the first among them
                    let is_seen = is_full(later);
                    assert!(
                        held.is_empty() || !(is_again || is_seen || self.clocks_are_right),
                        "change {number} of {}, acknowledged as {stamp:?}, stays as {:?}, and one as {second:?} came after it (14)",
                        String::from_utf8_lossy(key),
                        row.stamp,
                    );
                }
            }
        }
    }

    /// What was acknowledged of this key, and begun after that time.
    fn later_than(
        &self,
        time: Time,
        key: &Key,
    ) -> impl Iterator<Item = (&Acknowledged, &(Stamp, BTreeSet<Seat>))> {
        let later = self.changes.values().filter(move |later| later.begun > time);
        later.filter_map(move |later| {
            let done = later.done.as_ref()?;
            let at = later.rows.iter().position(|(other, ..)| other == key)?;
            Some((done, done.rows.get(at)?))
        })
    }
}

fn rows_of(disk: &Disk) -> BTreeMap<Key, Row> {
    let rows = disk.rows.iter().filter(|(key, _)| is_row(key));
    rows.map(|(key, row)| (key.clone(), Row::read(row).expect("whole"))).collect()
}

/// The sums and indexes of a disk are those of its rows.
fn check_disk(seat: Seat, disk: &Disk, sums: &Sums) {
    let mut delta = Delta::default();
    for (key, stored) in disk.rows.iter().filter(|(key, _)| is_row(key)) {
        delta.replace(bucket_of(key), None, Some(weight(key, stored)));
    }
    let mut real = Sums::default();
    real.add(&delta);
    let (read, _) = Sums::read(disk).expect("readable");
    for (what, sums) in [("own", sums), ("written", &read)] {
        let same = (sums.digest(), sums.rows()) == (real.digest(), real.rows());
        assert!(same, "n{seat}: the {what} sums are not those of its rows (12)");
    }
    let dead = |(key, row): (Key, Row)| row.value.is_none().then_some((row.stamp.time, key));
    let dead: BTreeSet<(u64, Key)> = rows_of(disk).into_iter().filter_map(dead).collect();
    let index = disk.rows.keys().filter(|key| key.starts_with(TOMBSTONES_PREFIX));
    let index = index.filter_map(|key| tombstone_of(key));
    let index: BTreeSet<(u64, Key)> = index.map(|(time, key)| (time, key.to_vec())).collect();
    assert_eq!(index, dead, "n{seat}: its index of tombstones is wrong (12)");
}

/// What must hold after calm.
pub fn after_calm(world: &mut World) {
    let first = rows_of(&world.seats[0].disk);
    for (seat, place) in world.seats.iter().enumerate() {
        let life = place.life.as_ref().expect("all were started");
        check_disk(seat, &place.disk, &life.sums);
        assert_eq!(rows_of(&place.disk), first, "n{seat} has other rows than n0 (12)");
    }
    world.record.check_acknowledged(&first);
    world.record.check_order(&first, world.seats.len());
    assert!(world.record.acknowledged > 0, "nothing was ever acknowledged (11)");
}

/// A story that fails prints what happened, if it is asked for.
impl Drop for Record {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("JABIRU_SEED").is_some() {
            for line in &self.told {
                eprintln!("{line}");
            }
        }
    }
}
