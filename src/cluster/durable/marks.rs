//! What a node remembers of itself over its lives, and what follows: whether
//! it was away for longer than tombstones live. Then rows may have been removed
//! of which nobody can tell it any more.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::durable::row::time_of;
use crate::cluster::hash::stable;
use crate::cluster::node::NodeName;

/// Names of other nodes that are remembered. More than a cluster has.
const KNOWN_MAX: usize = 1_024;

/// Tombstones go in steps, so that nodes whose clocks differ by a little
/// remove the same: so many in a life.
const STEPS: u64 = 168;

/// Tombstones of a node that stays alone go after so many lives. A guess.
const LIVES_ALONE: u64 = 10;

/// What is remembered; in the store. Times are milliseconds since 1970, by
/// this node's own clock.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// When this node was seen running.
    pub alive: u64,
    /// When it last had the same as the others; never: it has been alone.
    pub agreed: Option<u64>,
    /// It did not run for longer than tombstones live, and has not met
    /// anybody since who did.
    pub down: Option<Down>,
    /// The hashes of the names of nodes that it had the same as.
    pub known: BTreeSet<u64>,
}

/// A node that did not run for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Down {
    /// When it was last seen running before.
    pub from: u64,
    /// When it was started again.
    pub until: u64,
}

/// How much a node's rows can be trusted, as it tells others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// How.
    pub rank: Rank,
    /// So many milliseconds ago it had the same as others.
    pub age: Option<u64>,
    /// Whom it knows, itself among them.
    pub known: Vec<u64>,
}

/// The better comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rank {
    /// It was never together with anybody: nothing of it was removed
    /// elsewhere.
    New,
    /// It had the same as others within the life of tombstones.
    Good,
    /// It ran, but alone, for longer.
    Alone,
    /// It did not run for longer.
    Down,
}

/// Who of two was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Nobody, or both: both keep what they have.
    Equal,
    /// We were: what is old here and not there was removed.
    WeWereAway,
    /// They were.
    TheyWereAway,
}

impl Marks {
    /// Those of a node that starts now.
    pub fn at_start(stored: Option<&[u8]>, now: u64, life: Duration) -> Self {
        let marks = stored.and_then(|stored| postcard::from_bytes(stored).ok());
        let mut marks: Self = marks.unwrap_or_default();
        if marks.agreed.is_some() && marks.down.is_none() && is_over(marks.alive, now, life) {
            marks.down = Some(Down { from: marks.alive, until: now });
        }
        marks.alive = now;
        marks
    }

    /// As they are kept.
    pub fn written(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("marks have only fields that postcard knows")
    }

    /// It still runs.
    pub fn tick(&mut self, now: u64, life: Duration) {
        self.alive = now;
        // whoever has served for a whole life without meeting anybody better is
        // what there is
        if self.down.is_some_and(|down| is_over(down.until, now, life)) {
            self.down = None;
        }
    }

    /// As others are told.
    pub fn standing(&self, me: &NodeName, now: u64, life: Duration) -> Standing {
        let rank = match self.agreed {
            None => Rank::New,
            Some(_) if self.down.is_some() => Rank::Down,
            Some(agreed) if is_over(agreed, now, life) => Rank::Alone,
            Some(_) => Rank::Good,
        };
        let age = self.agreed.map(|agreed| now.saturating_sub(agreed));
        let known = self.known.iter().copied().chain([stable(me.as_str().as_bytes())]).collect();
        Standing { rank, age, known }
    }

    /// The time before which tombstones are of no use; `now` is the time of
    /// day that all agree on. They stay for an eighth longer than is promised,
    /// so that clocks may differ. They do not grow old while their node does
    /// not run, or is alone: those that it meets again may not know of them.
    pub fn horizon(&self, now: u64, life: Duration) -> u64 {
        let life = millis(life);
        let (step, kept) = ((life / STEPS).max(1), life.saturating_add(life / 8));
        let together = self.agreed.map_or(now, |agreed| agreed.saturating_add(life));
        let until = self.down.map_or(together, |down| down.from.min(together));
        // but not for ever: the others may never come back
        let until = until.max(now.saturating_sub(life.saturating_mul(LIVES_ALONE))).min(now);
        time_of(until.saturating_sub(kept) / step * step)
    }

    /// We have all that another node has.
    pub fn met(&mut self, name: &NodeName) {
        if self.known.len() < KNOWN_MAX {
            self.known.insert(stable(name.as_str().as_bytes()));
        }
    }
}

impl Standing {
    /// Who of two was away.
    pub fn relation(&self, theirs: &Standing) -> Relation {
        let are_strangers = !self.known.iter().any(|known| theirs.known.contains(known));
        if are_strangers || self.rank == Rank::New || theirs.rank == Rank::New {
            return Relation::Equal;
        }
        match self.rank.cmp(&theirs.rank) {
            std::cmp::Ordering::Equal => Relation::Equal,
            std::cmp::Ordering::Greater => Relation::WeWereAway,
            std::cmp::Ordering::Less => Relation::TheyWereAway,
        }
    }
}

fn is_over(since: u64, now: u64, life: Duration) -> bool {
    now.saturating_sub(since) > millis(life)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(7 * 86_400);
    const DAY: u64 = 86_400_000;
    const HOUR: u64 = 3_600_000;

    fn name(text: &str) -> NodeName {
        text.parse().expect("a name")
    }

    /// A node of this name that knew the other, ran and agreed so many days
    /// ago, and is there on day 100.
    fn standing(me: &str, other: &str, ran: u64, agreed: Option<u64>) -> Standing {
        let mut marks = Marks { alive: (100 - ran) * DAY, ..Marks::default() };
        marks.agreed = agreed.map(|days| (100 - days) * DAY);
        marks.met(&name(other));
        let marks = Marks::at_start(Some(&marks.written()), 100 * DAY, LIFE);
        marks.standing(&name(me), 100 * DAY, LIFE)
    }

    #[test]
    fn whoever_was_away_for_longer_gives_up() {
        use Relation::{Equal, TheyWereAway, WeWereAway};
        let good = standing("a", "b", 0, Some(1));
        let new = standing("b", "a", 0, None);
        let alone = standing("b", "a", 0, Some(8));
        let down = standing("b", "a", 8, Some(8));
        let both = [(&good, &good, Equal), (&alone, &alone, Equal), (&down, &down, Equal)];
        let news = [(&new, &good, Equal), (&new, &alone, Equal), (&down, &new, Equal)];
        let away =
            [(&alone, &good, WeWereAway), (&down, &good, WeWereAway), (&down, &alone, WeWereAway)];
        for (us, them, relation) in both.into_iter().chain(news).chain(away) {
            assert_eq!(us.relation(them), relation, "{us:?} {them:?}");
            let back = if relation == WeWereAway { TheyWereAway } else { Equal };
            assert_eq!(them.relation(us), back, "{them:?} {us:?}");
        }
        let stranger = standing("x", "y", 8, Some(8));
        assert_eq!(stranger.relation(&good), Equal);
    }

    #[test]
    fn tombstones_do_not_grow_old_while_their_node_does_not_run_or_is_alone() {
        let mut marks = Marks { alive: 90 * DAY, agreed: Some(90 * DAY), ..Marks::default() };
        assert_eq!(marks.horizon(91 * DAY, LIFE), time_of(83 * DAY + 3 * HOUR));
        marks = Marks::at_start(Some(&marks.written()), 100 * DAY, LIFE);
        assert_eq!(marks.horizon(100 * DAY, LIFE), time_of(82 * DAY + 3 * HOUR));
        marks.tick(108 * DAY, LIFE);
        marks.agreed = Some(107 * DAY);
        assert_eq!(marks.horizon(108 * DAY, LIFE), time_of(100 * DAY + 3 * HOUR));
        assert_eq!(marks.horizon(118 * DAY, LIFE), time_of(106 * DAY + 3 * HOUR));
        assert_eq!(marks.horizon(200 * DAY, LIFE), time_of(122 * DAY + 3 * HOUR));
    }
}
