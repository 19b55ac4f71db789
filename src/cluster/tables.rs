//! The soft tables of one node, shared by all who read them. Only the core
//! writes, through `replicator`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::frame::Sum;
use super::hash::stable;
use super::node::NodeId;
use super::owners::{Owners, Slot};
use super::rows::{Kind, LinkRow, Packed, RouteRow, SessionRow, SoftRow};
use super::table::{Gone, Table};

/// The soft tables. Everybody may read, only the core writes.
pub struct Tables {
    /// Who is connected, by bare JID.
    pub sessions: Table<SessionRow>,
    /// Which components are connected, by domain.
    pub routes: Table<RouteRow>,
    /// Which servers are connected, by their domain.
    pub links: Table<LinkRow>,
    pub(super) owners: Arc<Owners>,
}

/// Where a row is to be looked for: its table, and the stable hash of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) hash: u64,
}

impl Place {
    pub(super) fn of(kind: Kind, packed: &Packed) -> Place {
        Place { kind, hash: stable(packed.key().as_bytes()) }
    }
}

/// A place in the order of all tables. The upper two bits are the table, the
/// others the upper bits of the spot: what a snapshot's parts begin with.
type Cursor = u64;

const KINDS: [Kind; 3] = [Kind::Session, Kind::Route, Kind::Link];

impl Tables {
    /// Empty tables. `secret` is drawn by chance: it keeps strangers from
    /// choosing names that fall into one bucket.
    pub fn new(secret: u64) -> Tables {
        let owners = Arc::new(Owners::default());
        Tables {
            sessions: Table::new(owners.clone(), secret),
            routes: Table::new(owners.clone(), secret),
            links: Table::new(owners.clone(), secret),
            owners,
        }
    }

    /// Puts a row, keeps `sum` right, and gives back the row it replaced.
    pub(super) fn put(
        &self,
        slot: Slot,
        number: u64,
        mark: u8,
        row: &SoftRow,
        sum: &mut Sum,
    ) -> Option<SoftRow> {
        let (kind, packed) = row.pack();
        let hash = packed.hash(kind, number);
        let old = match kind {
            Kind::Session => self.sessions.put(slot, number, mark, packed),
            Kind::Route => self.routes.put(slot, number, mark, packed),
            Kind::Link => self.links.put(slot, number, mark, packed),
        };
        sum.hash = sum.hash.wrapping_add(hash);
        sum.count = sum.count.wrapping_add(1);
        old.map(|old| self.taken_out(slot, kind, old, sum).1)
    }

    /// Removes a row, keeps `sum` right, and gives the row back.
    pub(super) fn remove(
        &self,
        slot: Slot,
        number: u64,
        place: Place,
        sum: &mut Sum,
    ) -> Option<SoftRow> {
        let Place { kind, hash } = place;
        let old = match kind {
            Kind::Session => self.sessions.remove(slot, number, hash),
            Kind::Route => self.routes.remove(slot, number, hash),
            Kind::Link => self.links.remove(slot, number, hash),
        };
        old.map(|old| self.taken_out(slot, kind, old, sum).1)
    }

    /// Removes all rows of `slot` that `goes` says of their mark, from some of
    /// the shards.
    pub(super) fn sweep(
        &self,
        shards: Range<usize>,
        slot: Slot,
        goes: impl Fn(u8) -> bool,
        sum: &mut Sum,
        mut out: impl FnMut(u64, SoftRow),
    ) {
        let mut gone = |kind, row| {
            let (number, row) = self.taken_out(slot, kind, row, sum);
            out(number, row);
        };
        self.sessions.sweep(shards.clone(), slot, &goes, |row| gone(Kind::Session, row));
        self.routes.sweep(shards.clone(), slot, &goes, |row| gone(Kind::Route, row));
        self.links.sweep(shards, slot, &goes, |row| gone(Kind::Link, row));
    }

    /// Rows of `slot` from `cursor` on, some `room` bytes of them, and where
    /// the next part begins; `None`: there are no more.
    pub(super) fn part(
        &self,
        slot: Slot,
        cursor: Cursor,
        mut room: usize,
    ) -> (Vec<(u64, SoftRow)>, Option<Cursor>) {
        let mut rows = Vec::new();
        let mut some = Vec::new();
        let owner = self.owners.id(slot);
        let first = cursor >> 62;
        for (at, kind) in (0u64..).zip(KINDS).filter(|(at, _)| *at >= first) {
            let from = if at == first { cursor << 2 } else { 0 };
            let next = match kind {
                Kind::Session => self.sessions.part(slot, from, &mut room, &mut some),
                Kind::Route => self.routes.part(slot, from, &mut room, &mut some),
                Kind::Link => self.links.part(slot, from, &mut room, &mut some),
            };
            let unpack = |(number, packed)| (number, SoftRow::unpack(kind, &packed, owner));
            rows.extend(some.drain(..).map(unpack));
            if let Some(next) = next {
                return (rows, Some((at << 62) | (next >> 2)));
            }
        }
        (rows, None)
    }

    /// How many rows `owner` has, of all kinds, visible or not.
    pub fn count_of(&self, owner: NodeId) -> usize {
        let mut count = 0;
        self.sessions.for_each_of(owner, |_| count += 1);
        self.routes.for_each_of(owner, |_| count += 1);
        self.links.for_each_of(owner, |_| count += 1);
        count
    }

    fn taken_out(&self, slot: Slot, kind: Kind, gone: Gone, sum: &mut Sum) -> (u64, SoftRow) {
        sum.hash = sum.hash.wrapping_sub(gone.hash);
        sum.count = sum.count.wrapping_sub(1);
        (gone.number, SoftRow::unpack(kind, &gone.packed, self.owners.id(slot)))
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}
