//! Keeps the soft tables of all nodes equal: tells our changes, applies the
//! others', notices what was lost and asks for it. Whom we can reach, and who
//! is visible, is decided in `membership`; frames come and go through `core`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crdts::{CmRDT, Dot, VClock};

use super::frame::{Change, Parcel, Part, Pull, Sum, Want};
use super::moment::Moment;
use super::node::NodeId;
use super::own::Own;
use super::owners::Slot;
use super::replica::{Next, Replica};
use super::rows::{RowChange, SoftRow};
use super::settings::{Counts, Settings};
use super::table::SHARDS;
use super::tables::Tables;

/// A pull without an answer is repeated after so long. A guess; the answer is
/// at most one part.
const PULL_REPEAT: Duration = Duration::from_secs(1);

/// How many shards are purged per tick: of a table of a million rows some
/// 60,000 rows are looked at, in about a millisecond.
const PURGE_SHARDS: usize = SHARDS / 16;

/// The rows of all nodes, as versions.
#[derive(Debug)]
pub(super) struct Replicator {
    me: NodeId,
    tables: Arc<Tables>,
    pub(super) own: Own,
    replicas: BTreeMap<NodeId, Replica>,
    /// Slots whose rows are being removed, and how far we are.
    purges: Vec<(Slot, usize)>,
    epoch: u64,
}

impl Replicator {
    pub(super) fn new(me: NodeId, tables: Arc<Tables>, settings: &Settings) -> Replicator {
        Replicator {
            me,
            own: Own::new(me, tables.clone(), settings.ring_max, settings.part_bytes),
            tables,
            replicas: BTreeMap::new(),
            purges: Vec::new(),
            epoch: 0,
        }
    }

    /// The version of `owner`'s rows that we have.
    pub(super) fn version_of(&self, owner: NodeId) -> u64 {
        self.replicas.get(&owner).map_or(0, |replica| replica.version)
    }

    /// Makes room for the rows of `owner`, hidden; false if there is none.
    pub(super) fn admit(&mut self, owner: NodeId) -> bool {
        if self.replicas.contains_key(&owner) {
            return true;
        }
        let Some(slot) = self.tables.owners.claim(owner) else { return false };
        self.replicas.insert(owner, Replica::new(owner, slot, self.tables.clone()));
        true
    }

    /// Shows or hides all rows of `owner` at once.
    pub(super) fn set_visible(&mut self, owner: NodeId, visible: bool) {
        if let Some(replica) = self.replicas.get(&owner) {
            self.tables.owners.set_visible(replica.slot, visible);
        }
    }

    /// Forgets `owner`: its rows are hidden now and removed soon.
    pub(super) fn forget(&mut self, owner: NodeId) {
        if let Some(replica) = self.replicas.remove(&owner) {
            self.tables.owners.set_visible(replica.slot, false);
            self.purges.push((replica.slot, 0));
        }
    }

    /// The versions that we have reached.
    pub(super) fn clock(&self) -> VClock<NodeId> {
        let mut clock = VClock::new();
        clock.apply(Dot::new(self.me, self.own.version()));
        for (owner, replica) in &self.replicas {
            clock.apply(Dot::new(*owner, replica.version));
        }
        clock
    }

    /// What we have of everybody, and how our own rows sum up. Our latest
    /// changes must have been told before.
    pub(super) fn digest(&self) -> Parcel {
        Parcel::Digest { clock: self.clock(), sum: self.own.sum() }
    }

    /// `owner` says that its version is `version`: are we behind?
    pub(super) fn on_version(&mut self, now: Moment, owner: NodeId, version: u64) -> Option<Pull> {
        let replica = self.replicas.get_mut(&owner)?;
        let behind = replica.version < version && replica.asked().is_none();
        behind.then(|| ask(replica, now, &mut self.epoch))
    }

    /// `from` says what it has; whom to ask for what.
    pub(super) fn on_digest(
        &mut self,
        now: Moment,
        from: NodeId,
        clock: &VClock<NodeId>,
        sum: Sum,
        counts: &mut Counts,
    ) -> Vec<(NodeId, Pull)> {
        if let Some(replica) = self.replicas.get_mut(&from)
            && replica.version == clock.get(&from)
            && replica.sum != sum
            && replica.asked().is_none()
        {
            counts.mismatches += 1;
            replica.suspect = true;
            return vec![(from, ask(replica, now, &mut self.epoch))];
        }
        let behind = clock.clone_without(&self.clock());
        let owners = behind.iter().map(|dot| (*dot.actor, dot.counter));
        let owners: Vec<(NodeId, u64)> = owners.collect();
        let pull = |(owner, version)| Some((owner, self.on_version(now, owner, version)?));
        owners.into_iter().filter_map(pull).collect()
    }

    /// Changes of `owner`, from `owner`.
    pub(super) fn on_delta(
        &mut self,
        now: Moment,
        owner: NodeId,
        after: u64,
        changes: &[Change],
        rows: &mut Vec<RowChange>,
    ) -> Option<Pull> {
        let replica = self.replicas.get_mut(&owner)?;
        let next = replica.delta(after, changes, rows);
        follow(replica, next, now, &mut self.epoch)
    }

    /// Part of a snapshot of `owner`, from `owner`.
    pub(super) fn on_part(
        &mut self,
        now: Moment,
        owner: NodeId,
        part: Part,
        rows: &mut Vec<RowChange>,
        counts: &mut Counts,
    ) -> Option<Pull> {
        let replica = self.replicas.get_mut(&owner)?;
        counts.snapshots += u64::from(part.cursor == 0);
        let next = replica.part(now, part, rows);
        follow(replica, next, now, &mut self.epoch)
    }

    /// Puts one of our own rows.
    pub(super) fn put(&mut self, number: u64, row: SoftRow) -> Option<RowChange> {
        self.own.put(number, row)
    }

    /// Repeats what had no answer, and removes some of what is to go.
    pub(super) fn tick(&mut self, now: Moment) -> Vec<(NodeId, Pull)> {
        self.purge();
        let epoch = &mut self.epoch;
        let late =
            |replica: &Replica| replica.asked().is_some_and(|at| now.since(at) > PULL_REPEAT);
        let late = self.replicas.iter_mut().filter(|(_, replica)| late(replica));
        late.map(|(owner, replica)| (*owner, ask(replica, now, epoch))).collect()
    }

    fn purge(&mut self) {
        let Some((slot, from)) = self.purges.pop() else { return };
        let to = from + PURGE_SHARDS;
        self.tables.sweep(from..to, slot, |_| true, &mut Sum::default(), |_, _| ());
        if to < SHARDS {
            self.purges.push((slot, to));
        } else {
            self.tables.owners.release(slot);
        }
    }
}

fn ask(replica: &mut Replica, now: Moment, epoch: &mut u64) -> Pull {
    *epoch += 1;
    Pull { epoch: *epoch, want: replica.ask(now, *epoch) }
}

fn follow(replica: &mut Replica, next: Next, now: Moment, epoch: &mut u64) -> Option<Pull> {
    match next {
        Next::Rest => None,
        Next::Ask => Some(ask(replica, now, epoch)),
        Next::AskFor { epoch, cursor } => Some(Pull { epoch, want: Want::From(cursor) }),
    }
}
