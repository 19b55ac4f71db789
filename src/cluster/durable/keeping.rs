//! What is done now and then: old tombstones go, damaged rows are replaced,
//! and that this node is alive is written down.

use bytes::Bytes;

use crate::cluster::durable::clock::At;
use crate::cluster::durable::core::{ANSWER_TIME_MAX, Core};
use crate::cluster::durable::intent::{Intent, Take};
use crate::cluster::durable::news::{Output, Say};
use crate::cluster::durable::pending::{Ask, Job};
use crate::cluster::durable::words::topic;
use crate::cluster::node::NodeId;
use crate::storage::Rows;

/// Rows of which a damaged copy is being replaced at a time.
const LOST_MAX: usize = 1_024;

impl Core {
    /// Time has passed.
    pub(super) fn tick(&mut self, at: At, out: &mut Vec<Output>) {
        self.marks.tick(at.wall, self.settings.tombstones_kept);
        self.note(at, false, out);
        self.compare_next(at, out);
        self.wake_those_behind(at, out);
        let horizon = self.horizon(at);
        if self.expired != Some(horizon) {
            self.expired = Some(horizon);
            self.expire(at, out);
        }
    }

    /// Writes down what is to be remembered: at once, or when it is time.
    pub(super) fn note(&mut self, at: At, at_once: bool, out: &mut Vec<Output>) {
        let interval = u64::try_from(self.settings.interval.as_millis()).unwrap_or(u64::MAX);
        let age = self.noted.map(|noted| at.steady.saturating_sub(noted));
        if at_once || age.is_none_or(|age| age >= interval) {
            self.noted = Some(at.steady);
            self.marks.alive = at.wall;
            self.write(Job::Housekeeping, Intent::Note(self.marks.clone()), out);
        }
    }

    /// From before this time no tombstones are kept.
    pub(super) fn horizon(&self, at: At) -> u64 {
        self.marks.horizon(self.clock.now(at), self.settings.tombstones_kept)
    }

    /// Tombstones that are too old go.
    pub(super) fn expire(&mut self, at: At, out: &mut Vec<Output>) {
        let horizon = self.horizon(at);
        self.write(Job::Housekeeping, Intent::Expire { horizon }, out);
    }

    /// The usual way to take rows of others.
    pub(super) fn take(&self, at: At, rows: Rows) -> Take {
        Take {
            rows,
            limit: self.clock.limit(at),
            horizon: self.horizon(at),
            is_away: false,
            give_up: None,
        }
    }

    /// All others are asked for a row that is damaged here.
    pub(super) fn look_for(&mut self, key: Vec<u8>, out: &mut Vec<Output>) {
        if self.lost.len() >= LOST_MAX || !self.lost.insert(key.clone()) {
            return;
        }
        let others: Vec<NodeId> = self.members.others().map(|member| member.node.id).collect();
        out.push(Output::Say(Say::Lost { others: others.len() }));
        for node in &others {
            let body = Bytes::from(key.clone());
            let ask = Ask::Lost { key: key.clone() };
            self.ask(ask, *node, topic::LOST, body, ANSWER_TIME_MAX, out);
        }
        if others.is_empty() {
            // nobody can help; whoever reads it next asks again
            self.lost.remove(&key);
        }
    }
}
