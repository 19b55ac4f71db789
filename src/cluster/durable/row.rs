//! One durable row: a register that the last writer wins, and its stamp.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cluster::hash::stable;
use crate::cluster::node::NodeId;

/// The version of the format, first byte of a stored row.
const VERSION: u8 = 2;

/// Bits of a stamp below the milliseconds: they count changes within one.
const COUNTER_BITS: u32 = 16;

/// A hybrid logical clock's reading (Kulkarni and others, 2014): the time of
/// day, but always later than what it follows. Of two equal ones the node
/// decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Milliseconds since 1970 and a counter.
    pub time: u64,
    /// Who wrote.
    pub node: NodeId,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// When it was written.
    pub stamp: Stamp,
    /// A random number of the change that wrote it: a second try of one change
    /// knows its first by it.
    pub by: u64,
    /// What is in it; nothing: it was removed.
    pub value: Option<Bytes>,
}

impl Stamp {
    /// Later than `last`, and not before `clock`.
    pub fn after(last: Option<Stamp>, clock: u64, node: NodeId) -> Self {
        let next = last.map_or(0, |last| last.time.saturating_add(1));
        Self { time: clock.max(next), node }
    }
}

/// What a stamp made at this time of day has, in milliseconds since 1970.
pub fn time_of(millis: u64) -> u64 {
    millis.saturating_mul(1 << COUNTER_BITS)
}

/// The time of day of a stamp, in milliseconds since 1970.
pub fn millis_of(time: u64) -> u64 {
    time >> COUNTER_BITS
}

impl Row {
    /// As it is kept and sent: version, checksum, content.
    pub fn written(&self) -> Vec<u8> {
        let content = postcard::to_stdvec(self).expect("a row has only fields that postcard knows");
        [&[VERSION][..], &stable(&content).to_le_bytes(), &content].concat()
    }

    /// As it was kept or sent; `None`: not a row, one of another version, or
    /// one that a disk has changed.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (sum, content) = rest.split_first_chunk::<8>()?;
        let is_whole = *version == VERSION && u64::from_le_bytes(*sum) == stable(content);
        is_whole.then(|| postcard::from_bytes(content).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_always_later_than_what_it_follows() {
        let node = NodeId::new(1, 1);
        let first = Stamp::after(None, time_of(1_000), node);
        let same_moment = Stamp::after(Some(first), time_of(1_000), node);
        let clock_went_back = Stamp::after(Some(same_moment), time_of(10), node);
        assert!(first < same_moment && same_moment < clock_went_back);
        let later = Stamp::after(Some(clock_went_back), time_of(2_000), node);
        assert_eq!(millis_of(later.time), 2_000);
        assert_eq!(time_of(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let stamp = Stamp::after(None, 7, NodeId::new(1, 2));
        for value in [None, Some(Bytes::from_static(b"x"))] {
            let row = Row { stamp, by: 5, value };
            let written = row.written();
            assert_eq!(Row::read(&written), Some(row));
            for at in 0..written.len() {
                let mut changed = written.clone();
                changed[at] ^= 4;
                assert_eq!(Row::read(&changed), None, "byte {at}");
            }
        }
        for nothing in [&b""[..], b"\x02abc", b"\x01", &[0xFF; 40]] {
            assert_eq!(Row::read(nothing), None);
        }
    }
}
