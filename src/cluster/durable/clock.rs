//! The time of day that the nodes agree on: a node whose clock is wrong goes
//! by the clocks of the others.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::durable::row::time_of;
use crate::cluster::node::NodeId;

/// How far a row's stamp may lie ahead of the time that the nodes agree on;
/// one further ahead is refused, for it would win against everybody else.
pub const AHEAD_MAX: Duration = Duration::from_secs(5 * 60);

/// A stamp that is further ahead than this is not waited for: whoever has the
/// row stamps it anew. A guess; clocks that are wrong by less are in time soon.
pub const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

/// An own clock that leaps by more has been set.
const LEAP_MIN: i64 = 1_000;

/// One moment, by two clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct At {
    /// Milliseconds since some start; never goes back.
    pub steady: u64,
    /// Milliseconds since 1970, by a clock that may be wrong and be set.
    pub wall: u64,
}

/// What is known of the others' clocks.
#[derive(Debug, Default)]
pub struct Clock {
    /// So many milliseconds each is ahead of ours.
    ahead: BTreeMap<NodeId, i64>,
    last: Option<At>,
}

impl Clock {
    /// Time has passed. If our own clock was set, the others seem to have
    /// moved.
    pub fn pass(&mut self, at: At) {
        if let Some(last) = self.last {
            let leap = difference(at.wall, last.wall) - difference(at.steady, last.steady);
            if leap.abs() > LEAP_MIN {
                self.ahead.values_mut().for_each(|ahead| *ahead = ahead.saturating_sub(leap));
            }
        }
        self.last = Some(at);
    }

    /// Another node has told its time.
    pub fn heard(&mut self, at: At, node: NodeId, wall: u64) {
        self.ahead.insert(node, difference(wall, at.wall));
    }

    /// Only these are still there.
    pub fn keep(&mut self, is_there: impl Fn(NodeId) -> bool) {
        self.ahead.retain(|node, _| is_there(*node));
    }

    /// The middle of all clocks, in milliseconds since 1970; of two, the one
    /// that is behind: its stamps harm nobody.
    pub fn now(&self, at: At) -> u64 {
        let mut ahead: Vec<i64> = self.ahead.values().copied().chain([0]).collect();
        ahead.sort_unstable();
        let middle = ahead.get((ahead.len() - 1) / 2).copied().unwrap_or(0);
        at.wall.saturating_add_signed(middle)
    }

    /// The latest stamp that is taken.
    pub fn limit(&self, at: At) -> u64 {
        later(self.now(at), AHEAD_MAX)
    }
}

/// The time of a stamp that is so much later.
pub fn later(millis: u64, span: Duration) -> u64 {
    time_of(millis.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}

fn difference(one: u64, other: u64) -> i64 {
    i64::try_from(i128::from(one) - i128::from(other)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(steady: u64, wall: u64) -> At {
        At { steady, wall }
    }

    #[test]
    fn the_middle_of_all_clocks_counts() {
        let (now, mut clock) = (at(0, 1_000_000), Clock::default());
        let check = |clock: &Clock, expected| assert_eq!(clock.now(now), expected);
        check(&clock, 1_000_000);
        clock.heard(now, NodeId::new(1, 0), 2_000_000);
        check(&clock, 1_000_000);
        clock.heard(now, NodeId::new(2, 0), 2_000_001);
        check(&clock, 2_000_000);
        clock.heard(now, NodeId::new(2, 0), 5);
        check(&clock, 1_000_000);
        clock.keep(|node| node == NodeId::new(2, 0));
        check(&clock, 5);
    }

    #[test]
    fn an_own_clock_that_is_set_is_no_change_of_the_others() {
        let mut clock = Clock::default();
        clock.pass(at(0, 1_000_000));
        clock.heard(at(0, 1_000_000), NodeId::new(1, 0), 1_000_100);
        clock.pass(at(10, 400_010));
        clock.heard(at(10, 400_010), NodeId::new(2, 0), 1_000_105);
        assert_eq!(clock.now(at(10, 400_010)), 1_000_105, "both are far ahead now");
    }
}
