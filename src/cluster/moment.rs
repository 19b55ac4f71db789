//! A point on the clock that a pure core is told. Not the time of day: it
//! counts from some start of this process, never goes back, and means nothing
//! to another node.

use std::time::Duration;

/// Microseconds since some start of this process, on a clock that never goes
/// back. The driver reads the clock, the cores only compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The start of the clock.
    pub const START: Moment = Moment(0);

    /// The moment that lies `micros` microseconds after the start.
    pub fn from_micros(micros: u64) -> Moment {
        Moment(micros)
    }

    /// Microseconds since the start.
    pub fn micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the start.
    pub fn millis(self) -> u64 {
        self.0 / 1_000
    }

    /// How long ago `earlier` was; nothing if it lies ahead.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This moment plus `span`; the end of the clock if it would pass it.
    pub fn after(self, span: Duration) -> Moment {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_ahead_is_not_long_ago() {
        let early = Moment::from_micros(5_000);
        let late = early.after(Duration::from_millis(7));
        assert_eq!(late.since(early), Duration::from_millis(7));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.millis(), 12);
        assert_eq!(late.after(Duration::MAX).micros(), u64::MAX);
    }
}
