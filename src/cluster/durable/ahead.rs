//! Rows with stamps from the future: whoever refuses them says so, and whoever
//! has them does something about it.

use crate::cluster::durable::clock::{AHEAD_MAX, At, WAIT_MAX, later};
use crate::cluster::durable::core::{ANSWER_TIME_MAX, Core};
use crate::cluster::durable::intent::Intent;
use crate::cluster::durable::news::{Output, Say};
use crate::cluster::durable::pending::{Ask, Job};
use crate::cluster::durable::row::{Stamp, time_of};
use crate::cluster::durable::words::{AheadAsk, topic, written};
use crate::cluster::node::NodeId;

/// Rows from the future that are reported in one question.
const AHEAD_ROWS: usize = 4_096;

impl Core {
    /// Tells another node which of its rows we have refused.
    pub(super) fn report(
        &mut self,
        at: At,
        node: NodeId,
        mut rows: Vec<(Vec<u8>, Stamp)>,
        out: &mut Vec<Output>,
    ) {
        if rows.is_empty() {
            return;
        }
        self.compares.has_refused = true;
        out.push(Output::Say(Say::Ahead { from: node, rows: rows.len() }));
        rows.truncate(AHEAD_ROWS);
        let body = written(&AheadAsk { wall: at.wall, rows });
        self.ask(Ask::Ahead, node, topic::AHEAD, body, ANSWER_TIME_MAX, out);
    }

    /// Another node has refused rows of ours. Most are taken when time has
    /// come so far; those that would have to wait for long get other stamps.
    pub(super) fn is_ahead(
        &mut self,
        at: At,
        by: NodeId,
        wall: u64,
        mut rows: Vec<(Vec<u8>, Stamp)>,
        out: &mut Vec<Output>,
    ) {
        let now = self.clock.now(at);
        let limit = later(wall, WAIT_MAX).max(later(now, AHEAD_MAX));
        rows.retain(|(_, stamp)| stamp.time > limit);
        if !rows.is_empty() {
            out.push(Output::Say(Say::Restamped { by, rows: rows.len() }));
            let clock = time_of(now.min(wall));
            self.write(Job::Restamp, Intent::Restamp { rows, clock }, out);
        }
    }
}
