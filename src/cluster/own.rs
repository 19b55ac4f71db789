//! Our own rows: only we change them, so a count of the changes says all about
//! who knows more. Who is to be told is `core`'s business.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::frame::{Change, Parcel, Part, Pull, Sum, Want};
use super::node::NodeId;
use super::owners::Slot;
use super::rows::{RowChange, SoftRow, WEIGHT};
use super::tables::{Place, Tables};

/// Our own rows, and the latest changes of them.
#[derive(Debug)]
pub(super) struct Own {
    me: NodeId,
    tables: Arc<Tables>,
    slot: Slot,
    /// Counts every change, from the first.
    version: u64,
    sum: Sum,
    /// Where each of our numbers is.
    places: HashMap<u64, Place>,
    /// The latest changes; the last one made `version`.
    ring: VecDeque<Change>,
    ring_max: usize,
    /// How many of them nobody was told yet.
    untold: usize,
    part_bytes: usize,
}

impl Own {
    /// Takes a slot of the tables. They must have one free.
    pub(super) fn new(me: NodeId, tables: Arc<Tables>, ring_max: usize, part_bytes: usize) -> Own {
        let slot = tables.owners.claim(me).expect("new tables have no owners");
        tables.owners.set_visible(slot, true);
        Own {
            me,
            tables,
            slot,
            version: 0,
            sum: Sum::default(),
            places: HashMap::new(),
            ring: VecDeque::new(),
            ring_max,
            untold: 0,
            part_bytes,
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The version that everybody was told, or should have been.
    pub(super) fn told(&self) -> u64 {
        self.version.saturating_sub(self.untold as u64)
    }

    pub(super) fn sum(&self) -> Sum {
        self.sum
    }

    /// Makes or changes a row; `None`: it is as it was.
    pub(super) fn put(&mut self, number: u64, row: SoftRow) -> Option<RowChange> {
        let (kind, packed) = row.pack();
        let place = Place::of(kind, &packed);
        let moved = self.places.get(&number).is_some_and(|before| *before != place);
        let left = if moved { self.remove(number) } else { None };
        self.places.insert(number, place);
        let replaced = self.tables.put(self.slot, number, 0, &row, &mut self.sum);
        let old = replaced.or(left.and_then(|change| change.old));
        if old.as_ref() == Some(&row) {
            return None;
        }
        self.record(Change::Put { number, row: row.clone() });
        Some(RowChange { owner: self.me, number, old, new: Some(row) })
    }

    /// Removes a row; `None`: there was none.
    pub(super) fn remove(&mut self, number: u64) -> Option<RowChange> {
        let place = self.places.remove(&number)?;
        let old = self.tables.remove(self.slot, number, place, &mut self.sum)?;
        self.record(Change::Remove { number, kind: place.kind, place: place.hash });
        Some(RowChange { owner: self.me, number, old: Some(old), new: None })
    }

    /// The changes that nobody was told yet, in pieces of bearable size.
    pub(super) fn news(&mut self) -> Vec<Parcel> {
        let untold = std::mem::take(&mut self.untold);
        if untold == 0 {
            return Vec::new();
        }
        // what left the ring before it was told is mended by a snapshot
        self.since(self.version.saturating_sub(untold as u64)).unwrap_or_default()
    }

    /// What answers a pull.
    pub(super) fn answer(&self, pull: &Pull) -> Vec<Parcel> {
        let cursor = match pull.want {
            Want::Since(have) => match self.worth_telling(have).then(|| self.since(have)).flatten()
            {
                Some(changes) => return changes,
                None => 0,
            },
            Want::From(cursor) => cursor,
        };
        let (rows, next) = self.tables.part(self.slot, cursor, self.part_bytes);
        let Own { version, sum, .. } = *self;
        vec![Parcel::Part(Part { epoch: pull.epoch, cursor, next, version, sum, rows })]
    }

    /// Whether the changes since `have` are fewer than the rows themselves.
    fn worth_telling(&self, have: u64) -> bool {
        let behind = self.version.saturating_sub(have);
        behind <= self.sum.count.saturating_mul(2).max(1_024)
    }

    /// The changes since `have`; `None`: they are not all in the ring.
    fn since(&self, have: u64) -> Option<Vec<Parcel>> {
        let behind = usize::try_from(self.version.checked_sub(have)?).ok()?;
        let first = self.ring.len().checked_sub(behind)?;
        let (mut parcels, mut after) = (Vec::new(), have);
        let mut some = Vec::new();
        let mut weight = 0;
        for change in self.ring.range(first..) {
            weight += weight_of(change);
            some.push(change.clone());
            if weight >= self.part_bytes {
                parcels.push(delta(&mut after, &mut some));
                weight = 0;
            }
        }
        if !some.is_empty() {
            parcels.push(delta(&mut after, &mut some));
        }
        Some(parcels)
    }

    fn record(&mut self, change: Change) {
        self.version += 1;
        self.untold += 1;
        self.ring.push_back(change);
        if self.ring.len() > self.ring_max {
            self.ring.pop_front();
        }
    }
}

fn delta(after: &mut u64, some: &mut Vec<Change>) -> Parcel {
    let changes: Arc<[Change]> = std::mem::take(some).into();
    let parcel = Parcel::Delta { after: *after, changes: changes.clone() };
    *after += changes.len() as u64;
    parcel
}

fn weight_of(change: &Change) -> usize {
    match change {
        Change::Put { row, .. } => row.weight(),
        Change::Remove { .. } => WEIGHT,
    }
}
