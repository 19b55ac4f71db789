//! How old a letter may be when it is taken, where the network is slow: what a
//! receiver promises to whoever may take letters back. Rule 3 of `custody`
//! needs that no letter is taken after it came back; a bound that is fixed
//! would refuse all letters where the way takes longer.

use std::time::Duration;

use super::moment::Moment;
use super::settings::Settings;

/// The age of an answer contains the time until the other's next heartbeat.
/// One that is not older than this says nothing of a slow way.
const QUICK: Duration = Duration::from_millis(150);

/// A letter may be so many times older than the quickest answer: over two
/// steps each has half of it, and packets are lost.
const TIMES: u32 = 4;

/// The quickest answer within so long counts. A guess.
const WINDOW: Duration = Duration::from_secs(1);

/// How long the way to a neighbour and back takes, by the quickest of its
/// latest answers.
#[derive(Clone, Debug, Default)]
pub(super) struct RoundTrip {
    begun: Option<Moment>,
    quickest: Option<Duration>,
    before: Option<Duration>,
}

impl RoundTrip {
    /// An answer came; our question was so old by then.
    pub(super) fn note(&mut self, now: Moment, age: Duration) {
        if self.begun.is_none_or(|begun| now.since(begun) >= WINDOW) {
            self.begun = Some(now);
            self.before = self.quickest.take();
        }
        self.quickest = Some(self.quickest.map_or(age, |quickest| quickest.min(age)));
    }

    /// How long a link may be silent: where the way is slow, so long as what
    /// was lost there takes to be sent again, and that twice; before the first
    /// answer, as long as any way may take, for whoever was dialed hears nothing
    /// more until its own greeting has arrived.
    pub(super) fn silence(&self, settings: &Settings) -> Duration {
        if self.begun.is_none() {
            return settings.silence_max.max(settings.taken_max);
        }
        let slow = self.time().saturating_sub(QUICK) * TIMES;
        settings.silence_max.max(slow.min(settings.taken_max))
    }

    fn time(&self) -> Duration {
        let both = self.quickest.into_iter().chain(self.before);
        both.min().unwrap_or_default()
    }
}

/// What we take: letters whose writer heard a heartbeat of ours not longer ago
/// than that heartbeat promised.
#[derive(Debug)]
pub(super) struct Taking {
    /// Promised since `since`, in milliseconds.
    promised: u64,
    /// Promised before.
    former: u64,
    /// The stamp of the first heartbeat with the promise of now.
    since: u64,
}

impl Taking {
    pub(super) fn new(settings: &Settings) -> Taking {
        let least = millis(settings.fresh_max);
        Taking { promised: least, former: least, since: 0 }
    }

    /// What the heartbeat with this stamp promises. It changes only when no
    /// letter can come any more that goes by the promise before the last.
    pub(super) fn promise<'a>(
        &mut self,
        stamp: u64,
        trips: impl Iterator<Item = &'a RoundTrip>,
        settings: &Settings,
    ) -> u64 {
        let slowest = trips.map(RoundTrip::time).filter(|time| *time > QUICK).max();
        let wanted = settings.fresh_max + slowest.unwrap_or_default() * TIMES;
        let wanted = millis(wanted.min(settings.taken_max));
        let is_settled = stamp.saturating_sub(self.since) > self.former.max(self.promised);
        if wanted != self.promised && (is_settled || self.since == 0) {
            self.former = std::mem::replace(&mut self.promised, wanted);
            self.since = stamp;
        }
        self.promised
    }

    /// What is promised now.
    pub(super) fn promised(&self) -> u64 {
        self.promised
    }

    /// Whether a letter is taken that echoes this stamp, so many steps away.
    pub(super) fn takes(&self, now: Moment, echo: u64, steps: u32) -> bool {
        let promised = if echo >= self.since { self.promised } else { self.former };
        now.millis().saturating_sub(echo) <= promised / u64::from(steps.max(1))
    }
}

/// What another node has promised: the most of all that may still count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Promised {
    most: u64,
    until: Option<Moment>,
}

impl Promised {
    /// A heartbeat of it came.
    pub(super) fn note(&mut self, now: Moment, promise: u64, settings: &Settings) {
        // what goes by an older promise than this is too old by any
        let is_over = self.until.is_none_or(|until| now > until);
        if promise >= self.most || is_over {
            self.most = promise.min(millis(settings.taken_max));
            self.until = Some(now.after(settings.taken_max));
        }
    }

    pub(super) fn most(self) -> Duration {
        Duration::from_millis(self.most)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1_000)
    }

    fn trip(millis: u64) -> RoundTrip {
        let mut trip = RoundTrip::default();
        trip.note(at(0), Duration::from_millis(millis));
        trip
    }

    #[test]
    fn the_quickest_answer_of_late_counts() {
        let mut trip = RoundTrip::default();
        for (now, age, time) in [(0, 90, 90), (10, 20, 20), (900, 70, 20), (1_100, 80, 20)] {
            trip.note(at(now), Duration::from_millis(age));
            assert_eq!(trip.time(), Duration::from_millis(time), "{now}");
        }
        trip.note(at(2_200), Duration::from_millis(85));
        assert_eq!(trip.time(), Duration::from_millis(80));
    }

    #[test]
    fn a_link_may_be_silent_as_long_as_its_way_may_take() {
        let settings = Settings::default();
        let check = |trip: RoundTrip, millis| {
            assert_eq!(trip.silence(&settings), Duration::from_millis(millis));
        };
        // a way of two thirds of a second is longer than 600 ms
        check(RoundTrip::default(), 3_000);
        check(trip(100), 600);
        check(trip(650), 2_000);
        check(trip(2_000), 3_000);
    }

    #[test]
    fn a_slow_way_is_promised_before_it_counts() {
        let settings = Settings::default();
        let mut taking = Taking::new(&settings);
        assert_eq!(taking.promise(1_000, [trip(100)].iter(), &settings), 300, "a quick way");
        assert!(taking.takes(at(1_300), 1_000, 1) && !taking.takes(at(1_301), 1_000, 1));
        assert!(taking.takes(at(1_150), 1_000, 2) && !taking.takes(at(1_151), 1_000, 2));
        assert_eq!(taking.promise(2_000, [trip(10), trip(600)].iter(), &settings), 2_700);
        // who heard it before goes by what was promised before
        assert!(!taking.takes(at(2_301), 1_999, 1) && taking.takes(at(4_700), 2_000, 1));
        // and it stays until nothing can come that was promised otherwise
        assert_eq!(taking.promise(4_000, [trip(10)].iter(), &settings), 2_700);
        assert_eq!(taking.promise(4_701, [trip(10)].iter(), &settings), 300);
        assert!(taking.takes(at(7_000), 4_700, 1) && !taking.takes(at(5_002), 4_701, 1));
    }

    #[test]
    fn the_most_that_was_promised_counts_until_it_is_past() {
        let settings = Settings::default();
        let mut promised = Promised::default();
        promised.note(at(0), 2_700, &settings);
        promised.note(at(100), 300, &settings);
        assert_eq!(promised.most(), Duration::from_millis(2_700));
        promised.note(at(3_100), 300, &settings);
        assert_eq!(promised.most(), Duration::from_millis(300));
    }
}
