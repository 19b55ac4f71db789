//! How the rows of each bucket sum up, whatever their order: equal on two
//! nodes that have the same rows. Kept with the rows, so that no row is read
//! when a node starts.

use std::collections::BTreeMap;
use std::hash::Hasher;

use serde::{Deserialize, Serialize};

use crate::cluster::durable::layout::{
    BUCKETS, COUNT_KEY, GROUP_BUCKETS, GROUPS, JOURNAL_PREFIX, group_of, number_of_journal,
    sums_key,
};
use crate::cluster::hash::Sip;
use crate::storage::{Reads, StoreError, Write};

/// Journal entries read at a time.
const READ_ENTRIES: usize = 256;

/// The sums of all buckets.
#[derive(Debug, Clone)]
pub struct Sums {
    buckets: Vec<u64>,
    /// Of each group: the sum of its buckets.
    groups: Vec<u64>,
    rows: u64,
}

/// What one commit changes.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Delta {
    /// To be added, wrapping.
    pub buckets: BTreeMap<u16, u64>,
    /// How many more rows there are.
    pub rows: i64,
}

impl Default for Sums {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], groups: vec![0; GROUPS], rows: 0 }
    }
}

impl Delta {
    /// A row has another value now; `None`: it was not there, or is no more.
    pub fn replace(&mut self, bucket: u16, old: Option<u64>, new: Option<u64>) {
        let sum = self.buckets.entry(bucket).or_default();
        *sum = sum.wrapping_sub(old.unwrap_or(0)).wrapping_add(new.unwrap_or(0));
        self.rows += i64::from(new.is_some()) - i64::from(old.is_some());
    }
}

impl Sums {
    /// The sums in a store, and the journal's first and next number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(reads: &dyn Reads) -> Result<(Self, std::ops::Range<u64>), StoreError> {
        let mut sums = Self::default();
        for group in 0..=u8::MAX {
            let Some(stored) = reads.get(&sums_key(group))? else { continue };
            let (words, _) = stored.as_chunks::<8>();
            let words = words.iter().map(|word| u64::from_le_bytes(*word));
            let buckets = (0..).map(|at: u16| (u16::from(group) << 8) + at).zip(words);
            sums.add(&Delta { buckets: buckets.take(GROUP_BUCKETS).collect(), rows: 0 });
        }
        let count = reads.get(COUNT_KEY)?.and_then(|count| count.try_into().ok());
        sums.rows = count.map_or(0, u64::from_le_bytes);
        let mut journal = 0..0;
        let mut from = Vec::new();
        loop {
            let entries = reads.scan(JOURNAL_PREFIX, &from, READ_ENTRIES)?;
            for (key, entry) in &entries {
                let number = number_of_journal(key).unwrap_or(0);
                if journal.is_empty() {
                    journal.start = number;
                }
                journal.end = number + 1;
                let damaged = |_| StoreError {
                    place: "journal".into(),
                    reason: "an entry of it cannot be read".into(),
                };
                sums.add(&postcard::from_bytes(entry).map_err(damaged)?);
            }
            match entries.last() {
                Some((last, _)) if entries.len() == READ_ENTRIES => {
                    from = [last, &[0][..]].concat();
                }
                _ => return Ok((sums, journal)),
            }
        }
    }

    /// All of it, to be written.
    pub fn written(&self) -> Vec<Write> {
        let mut writes: Vec<Write> = (0..=u8::MAX)
            .map(|group| {
                let sums = self.group(group).iter().flat_map(|sum| sum.to_le_bytes());
                Write::Put(sums_key(group), sums.collect())
            })
            .collect();
        writes.push(Write::Put(COUNT_KEY.to_vec(), self.rows.to_le_bytes().to_vec()));
        writes
    }

    /// A commit has been made.
    pub fn add(&mut self, delta: &Delta) {
        for (bucket, change) in &delta.buckets {
            let group = self.groups.get_mut(usize::from(group_of(*bucket)));
            for sum in group.into_iter().chain(self.buckets.get_mut(usize::from(*bucket))) {
                *sum = sum.wrapping_add(*change);
            }
        }
        self.rows = self.rows.saturating_add_signed(delta.rows);
    }

    /// How many rows, tombstones among them.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The sum of one bucket.
    pub fn bucket(&self, bucket: u16) -> u64 {
        self.buckets.get(usize::from(bucket)).copied().unwrap_or(0)
    }

    /// One number for all of them.
    pub fn digest(&self) -> u64 {
        let mut sip = Sip::default();
        self.groups.iter().for_each(|sum| sip.write(&sum.to_le_bytes()));
        sip.finish()
    }

    /// The sum of each group.
    pub fn groups(&self) -> &[u64] {
        &self.groups
    }

    /// The sums of a group's buckets.
    pub fn group(&self, group: u8) -> &[u64] {
        let begin = usize::from(group) * GROUP_BUCKETS;
        self.buckets.get(begin..begin + GROUP_BUCKETS).unwrap_or_default()
    }

    /// The groups that another node has other rows of.
    pub fn other_groups(&self, theirs: &[u64]) -> Vec<u8> {
        let pairs = (0..=u8::MAX).zip(self.groups.iter().zip(theirs));
        pairs.filter(|(_, (ours, theirs))| ours != theirs).map(|(group, _)| group).collect()
    }

    /// The buckets of a group that another node has other rows of.
    pub fn other_buckets(&self, group: u8, theirs: &[u64]) -> Vec<u16> {
        let first = u16::from(group) << 8;
        let pairs = (0..GROUP_BUCKETS as u16).zip(self.group(group).iter().zip(theirs));
        let others = pairs.filter(|(_, (ours, theirs))| ours != theirs);
        others.map(|(at, _)| first + at).filter(|bucket| group_of(*bucket) == group).collect()
    }
}

/// What a row adds to the sum of its bucket.
pub fn weight(stored_key: &[u8], stored: &[u8]) -> u64 {
    let mut sip = Sip::default();
    sip.write(&(stored_key.len() as u64).to_le_bytes());
    sip.write(stored_key);
    sip.write(stored);
    sip.finish()
}

const _: () = assert!(GROUPS == 1 + u8::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Store;
    use crate::storage::memory::Memory;

    #[test]
    fn what_differs_is_found_and_nothing_else() {
        let (mut ours, mut theirs) = (Sums::default(), Sums::default());
        let mut delta = Delta::default();
        delta.replace(0x0102, None, Some(7));
        ours.add(&delta);
        theirs.add(&delta);
        assert_eq!(ours.digest(), theirs.digest());
        let mut delta = Delta::default();
        delta.replace(0xff01, None, Some(9));
        delta.replace(0x0102, Some(7), Some(8));
        theirs.add(&delta);
        assert_eq!(ours.other_groups(theirs.groups()), [0x01, 0xff]);
        assert_eq!(ours.other_buckets(0xff, theirs.group(0xff)), [0xff01]);
        assert_eq!((ours.rows(), theirs.rows()), (1, 2));
    }

    #[test]
    fn sums_are_read_as_they_were_written() {
        let store = Memory::default();
        let mut sums = Sums::default();
        let mut delta = Delta::default();
        delta.replace(3, None, Some(1));
        delta.replace(u16::MAX, None, Some(u64::MAX));
        sums.add(&delta);
        store.write(&sums.written()).expect("written");
        let (read, journal) = Sums::read(&store).expect("readable");
        assert_eq!((read.digest(), read.rows()), (sums.digest(), 2));
        assert!(journal.is_empty());
    }
}
