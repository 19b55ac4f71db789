//! Another node's rows as far as we know them: applies changes in their order,
//! and snapshots part by part. From whom frames are accepted is decided in
//! `core`: rows come from their owner only.
//!
//! A snapshot never half-replaces. Its rows are put as they come, each marked;
//! what it did not confirm goes only after its last part; and until then the
//! version does not move, so an interrupted one is simply asked for again.

use std::sync::Arc;

use super::frame::{Change, Part, Sum, Want};
use super::moment::Moment;
use super::node::NodeId;
use super::owners::Slot;
use super::rows::{RowChange, SoftRow};
use super::table::SHARDS;
use super::tables::{Place, Tables};

/// What is to be done after a parcel was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Rest,
    /// The owner is to be asked.
    Ask,
    /// The snapshot goes on.
    AskFor {
        /// Its epoch.
        epoch: u64,
        /// The next part.
        cursor: u64,
    },
}

#[derive(Debug)]
pub(super) struct Replica {
    owner: NodeId,
    pub(super) slot: Slot,
    tables: Arc<Tables>,
    /// All changes up to this one have been applied.
    pub(super) version: u64,
    pub(super) sum: Sum,
    /// The mark of the snapshot that was applied last, or is being applied.
    mark: u8,
    /// Our rows differ from the owner's although the versions agree, or parts
    /// of a snapshot went wrong: changes will not do.
    pub(super) suspect: bool,
    pull: Option<Pulling>,
}

/// A question to the owner that has no answer yet.
#[derive(Debug)]
struct Pulling {
    epoch: u64,
    asked: Moment,
    /// Where the next part must begin.
    cursor: u64,
    /// The owner's version that the rows put so far stand for; `None` before
    /// the first part.
    at: Option<u64>,
}

impl Replica {
    pub(super) fn new(owner: NodeId, slot: Slot, tables: Arc<Tables>) -> Replica {
        Replica {
            owner,
            slot,
            tables,
            version: 0,
            sum: Sum::default(),
            mark: 0,
            suspect: false,
            pull: None,
        }
    }

    /// Begins a new pull and says what to ask for.
    pub(super) fn ask(&mut self, now: Moment, epoch: u64) -> Want {
        self.pull = Some(Pulling { epoch, asked: now, cursor: 0, at: None });
        if self.suspect { Want::From(0) } else { Want::Since(self.version) }
    }

    /// Since when we have been waiting for an answer.
    pub(super) fn asked(&self) -> Option<Moment> {
        self.pull.as_ref().map(|pull| pull.asked)
    }

    /// Applies changes that begin after `after`, as far as they are new.
    pub(super) fn delta(
        &mut self,
        after: u64,
        changes: &[Change],
        rows: &mut Vec<RowChange>,
    ) -> Next {
        let parts_at = self.pull.as_ref().and_then(|pull| pull.at);
        let at = parts_at.unwrap_or(self.version);
        let Some(end) = after.checked_add(changes.len() as u64) else { return Next::Rest };
        if end <= at {
            return Next::Rest;
        }
        let Some(known) = at.checked_sub(after) else {
            // something between is missing; once is enough to ask
            let waiting = self.pull.is_some() && parts_at.is_none();
            return if waiting { Next::Rest } else { Next::Ask };
        };
        for change in changes.iter().skip(known as usize) {
            self.apply(change, rows);
        }
        match &mut self.pull {
            Some(pull) if pull.at.is_some() => pull.at = Some(end),
            _ => {
                self.version = end;
                if !self.suspect {
                    self.pull = None;
                }
            }
        }
        Next::Rest
    }

    /// Puts one part of a snapshot; whether it was the last, and the sums
    /// agree, shows in `version` and `suspect`.
    pub(super) fn part(&mut self, now: Moment, part: Part, rows: &mut Vec<RowChange>) -> Next {
        let Some(pull) = &mut self.pull else { return Next::Rest };
        if pull.epoch != part.epoch || pull.cursor != part.cursor {
            return Next::Rest;
        }
        let fits = match pull.at {
            Some(at) => part.version == at,
            None => part.version >= self.version,
        };
        if !fits {
            return Next::Ask;
        }
        if pull.at.is_none() {
            self.mark = self.mark % u8::MAX + 1;
            pull.at = Some(part.version);
        }
        pull.asked = now;
        for (number, row) in &part.rows {
            self.put(*number, row, rows);
        }
        match (part.next, &mut self.pull) {
            (Some(next), Some(pull)) => {
                pull.cursor = next;
                Next::AskFor { epoch: part.epoch, cursor: next }
            }
            _ => {
                self.finish(&part, rows);
                Next::Rest
            }
        }
    }

    fn finish(&mut self, part: &Part, rows: &mut Vec<RowChange>) {
        let (mark, owner) = (self.mark, self.owner);
        let visible = self.is_visible();
        self.tables.sweep(
            0..SHARDS,
            self.slot,
            |other| other != mark,
            &mut self.sum,
            |number, old| {
                if visible {
                    rows.push(RowChange { owner, number, old: Some(old), new: None });
                }
            },
        );
        self.pull = None;
        self.version = part.version;
        self.suspect = self.sum != part.sum;
    }

    fn apply(&mut self, change: &Change, rows: &mut Vec<RowChange>) {
        match change {
            Change::Put { number, row } => self.put(*number, row, rows),
            Change::Remove { number, kind, place } => {
                let place = Place { kind: *kind, hash: *place };
                let old = self.tables.remove(self.slot, *number, place, &mut self.sum);
                if old.is_some() && self.is_visible() {
                    rows.push(RowChange { owner: self.owner, number: *number, old, new: None });
                }
            }
        }
    }

    fn put(&mut self, number: u64, row: &SoftRow, rows: &mut Vec<RowChange>) {
        let old = self.tables.put(self.slot, number, self.mark, row, &mut self.sum);
        if old.as_ref() != Some(row) && self.is_visible() {
            rows.push(RowChange { owner: self.owner, number, old, new: Some(row.clone()) });
        }
    }

    fn is_visible(&self) -> bool {
        self.tables.owners.visible(self.slot).is_some()
    }
}
