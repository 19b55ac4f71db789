//! One soft table: many readers at any time, one writer, and readers see only
//! rows of visible owners. What a change means to versions and peers is in
//! `replicator`.
//!
//! Measured against dashmap with the same rows: half of the memory, and the
//! writer waits for no more than one reader of one of 512 shards
//! (`benches/README.md`).

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use smallvec::SmallVec;

use super::hash::stable;
use super::node::NodeId;
use super::owners::{Owners, Slot};
use super::rows::{Packed, Row};
use super::shard::{self, Seen, Shard};

/// Shards of a table, a power of two. Measured: fewer let spinning readers
/// hold a writer back for milliseconds.
pub(super) const SHARDS: usize = 512;
const SHARD_BITS: u32 = SHARDS.trailing_zeros();

/// One row as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<R> {
    /// Whose row.
    pub owner: NodeId,
    /// Its number at its owner.
    pub number: u64,
    /// The row.
    pub row: R,
}

/// Where a row lies in the order of its table: by the hash of its key. Only
/// this process knows the order.
pub(super) type Spot = u64;

/// A row that was taken out or replaced, and its share in the owner's sum.
pub(super) struct Gone {
    pub(super) number: u64,
    pub(super) packed: Packed,
    pub(super) hash: u64,
}

/// One soft table.
#[derive(Debug)]
pub struct Table<R> {
    shards: Box<[RwLock<Shard>]>,
    owners: Arc<Owners>,
    secret: u64,
    /// How often a row was put or taken out.
    changes: AtomicU64,
    rows: PhantomData<fn() -> R>,
}

/// A state of a table: what was read under one is so as long as
/// [`Table::stamp`] gives the same.
pub type Stamp = (u64, u64);

impl<R: Row> Table<R> {
    pub(super) fn new(owners: Arc<Owners>, secret: u64) -> Table<R> {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Table { shards, owners, secret, changes: AtomicU64::new(0), rows: PhantomData }
    }

    /// All rows of visible owners under this key (a bare JID, a domain), in no
    /// order. Waits for a writer of the same shard, never longer than for a
    /// few microseconds.
    pub fn find(&self, key: &str) -> SmallVec<[Entry<R>; 2]> {
        let spot = self.spot(stable(key.as_bytes()));
        let shard = self.read(spot);
        let found = shard.at(inner(spot)).filter(|row| row.has_key(key));
        found.filter_map(|row| self.entry(row)).collect()
    }

    /// Calls `f` with every row of `owner`, visible or not, shard by shard;
    /// each shard is free again before `f` is called with its rows. Rows that
    /// come and go meanwhile may be missed.
    pub fn for_each_of(&self, owner: NodeId, mut f: impl FnMut(Entry<R>)) {
        let mut some = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let own = shard.iter().filter(|row| self.owners.id(row.slot) == owner);
            some.extend(own.map(|row| self.unpacked(row, owner)));
            drop(shard);
            some.drain(..).for_each(&mut f);
        }
    }

    /// Calls `f` with every row of every visible owner; as [`Self::for_each_of`].
    pub fn for_each(&self, mut f: impl FnMut(Entry<R>)) {
        let mut some = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            some.extend(shard.iter().filter_map(|row| self.entry(row)));
            drop(shard);
            some.drain(..).for_each(&mut f);
        }
    }

    /// The state of now. To be taken before the rows are read: a row that
    /// changes meanwhile makes another one.
    pub fn stamp(&self) -> Stamp {
        (self.changes.load(Ordering::Acquire), self.owners.turns())
    }

    /// How many rows there are, of visible and hidden owners.
    pub fn len(&self) -> usize {
        let count =
            |shard: &RwLock<Shard>| shard.read().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(count).sum()
    }

    /// Whether there is no row at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn put(&self, slot: Slot, number: u64, mark: u8, packed: Packed) -> Option<Gone> {
        let spot = self.spot(stable(packed.key().as_bytes()));
        let rehash = |row: Seen<'_>| inner(self.rehash(row));
        let old = self.write(spot).put(inner(spot), (slot, number, mark), packed, rehash);
        self.has_changed();
        old.map(gone::<R>)
    }

    pub(super) fn remove(&self, slot: Slot, number: u64, place: u64) -> Option<Gone> {
        let spot = self.spot(place);
        let rehash = |row: Seen<'_>| inner(self.rehash(row));
        let old = self.write(spot).remove(inner(spot), slot, number, rehash);
        self.has_changed();
        old.map(gone::<R>)
    }

    /// Takes out the rows of `slot` that `goes` says of their mark, from some
    /// of the shards.
    pub(super) fn sweep(
        &self,
        shards: Range<usize>,
        slot: Slot,
        goes: impl Fn(u8) -> bool,
        mut out: impl FnMut(Gone),
    ) {
        for shard in self.shards.iter().take(shards.end).skip(shards.start) {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            let rehash = |row: Seen<'_>| inner(self.rehash(row));
            shard.sweep(slot, &goes, rehash, |row| out(gone::<R>(row)));
        }
        self.has_changed();
    }

    /// The rows of `slot` from `from` on, until they weigh `room` bytes, and
    /// where to go on; `None`: that was all. At least one row, and rows with
    /// one spot are never parted.
    pub(super) fn part(
        &self,
        slot: Slot,
        from: Spot,
        room: &mut usize,
        out: &mut Vec<(u64, Packed)>,
    ) -> Option<Spot> {
        let mut last = None;
        for shard in self.shards.iter().skip(shard_of(from)) {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let own = shard.iter().filter(|row| row.slot == slot);
            let own = own.map(|row| (self.rehash(row), row)).filter(|(spot, _)| *spot >= from);
            let mut own: Vec<(Spot, Seen<'_>)> = own.collect();
            own.sort_unstable_by_key(|(spot, row)| (*spot, row.number));
            for (spot, row) in own {
                if *room == 0 && last != Some(spot) {
                    return Some(spot);
                }
                last = Some(spot);
                *room = room.saturating_sub(row.weight());
                out.push((row.number, row.packed()));
            }
        }
        None
    }

    /// After the change can be seen.
    fn has_changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn entry(&self, row: Seen<'_>) -> Option<Entry<R>> {
        self.owners.visible(row.slot).map(|owner| self.unpacked(row, owner))
    }

    fn unpacked(&self, row: Seen<'_>, owner: NodeId) -> Entry<R> {
        Entry { owner, number: row.number, row: R::unpack(&row.packed(), owner) }
    }

    /// Our own order of the stable hashes: a stranger who chooses names does
    /// not know which of them meet. The golden ratio spreads what the secret
    /// has shifted.
    fn spot(&self, place: u64) -> Spot {
        let wide = u128::from(place ^ self.secret) * 0x9e37_79b9_7f4a_7c15;
        (wide >> 64) as u64 ^ wide as u64
    }

    fn rehash(&self, row: Seen<'_>) -> Spot {
        self.spot(stable(row.key().as_bytes()))
    }

    fn read(&self, spot: Spot) -> RwLockReadGuard<'_, Shard> {
        self.shards[shard_of(spot)].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, spot: Spot) -> RwLockWriteGuard<'_, Shard> {
        self.shards[shard_of(spot)].write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The shard of a spot: its upper bits, so that shards follow each other in
/// the order of spots.
fn shard_of(spot: Spot) -> usize {
    (spot >> (64 - SHARD_BITS)) as usize
}

/// The hash inside the shard: its index looks at the lowest and the highest
/// bits, and the highest are the same for the whole shard.
fn inner(spot: Spot) -> u64 {
    spot.rotate_left(32)
}

fn gone<R: Row>(row: shard::Gone) -> Gone {
    let hash = row.hash(R::KIND);
    Gone { number: row.number, packed: row.packed, hash }
}
