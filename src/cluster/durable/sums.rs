//! How the rows of each bucket sum up, whatever their order: equal on two
//! nodes that have the same rows. Kept with the rows, so that no row is read
//! when a node starts: the sums of each group as of some commit, and a journal
//! of the commits since. When which is written is the business of `ledger`.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::ops::Range;

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

/// How far what a store keeps of its sums goes.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The journal's first and next number.
    pub journal: Range<u64>,
    /// For each group: the first commit that is not in its sums.
    groups: Vec<u64>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { journal: 0..0, groups: vec![0; GROUPS] }
    }
}

impl Kept {
    fn of(&self, group: u8) -> u64 {
        self.groups.get(usize::from(group)).copied().unwrap_or(0)
    }

    /// The group that was not written for the longest time.
    pub fn oldest(&self) -> u8 {
        (0..=u8::MAX).min_by_key(|group| self.of(*group)).unwrap_or(0)
    }

    /// A group is written as it is before the commit `as_of`. What the journal
    /// need not have any more.
    pub fn write(&mut self, group: u8, as_of: u64) -> Range<u64> {
        if let Some(of) = self.groups.get_mut(usize::from(group)) {
            *of = as_of;
        }
        let begin = self.journal.start;
        self.journal.start = self.of(self.oldest()).clamp(begin, self.journal.end);
        begin..self.journal.start
    }
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
    /// The sums in a store, and how far they and its journal go.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(reads: &dyn Reads) -> Result<(Self, Kept), StoreError> {
        let (mut sums, mut kept) = (Self::default(), Kept::default());
        for (group, as_of) in (0..=u8::MAX).zip(&mut kept.groups) {
            let Some(stored) = reads.get(&sums_key(group))? else { continue };
            let words = words(&stored);
            *as_of = words.get(GROUP_BUCKETS).copied().unwrap_or(0);
            let buckets = (0..).map(|at: u16| (u16::from(group) << 8) + at).zip(words);
            sums.add(&Delta { buckets: buckets.take(GROUP_BUCKETS).collect(), rows: 0 });
        }
        let count = words(&reads.get(COUNT_KEY)?.unwrap_or_default());
        sums.rows = count.first().copied().unwrap_or(0);
        let counted = count.get(1).copied().unwrap_or(0);
        let mut from = Vec::new();
        loop {
            let entries = reads.scan(JOURNAL_PREFIX, &from, READ_ENTRIES)?;
            for (key, entry) in &entries {
                let number = number_of_journal(key).unwrap_or(0);
                if kept.journal.is_empty() {
                    kept.journal.start = number;
                }
                kept.journal.end = number + 1;
                let damaged = |_| StoreError {
                    place: "journal".into(),
                    reason: "an entry of it cannot be read".into(),
                };
                let mut delta: Delta = postcard::from_bytes(entry).map_err(damaged)?;
                delta.buckets.retain(|bucket, _| number >= kept.of(group_of(*bucket)));
                if number < counted {
                    delta.rows = 0;
                }
                sums.add(&delta);
            }
            match entries.last() {
                Some((last, _)) if entries.len() == READ_ENTRIES => {
                    from = [last, &[0][..]].concat();
                }
                _ => break,
            }
        }
        // a number that is in the sums of a group is not given again
        let next = kept.groups.iter().copied().max().unwrap_or(0);
        if kept.journal.is_empty() {
            kept.journal = next..next;
        }
        Ok((sums, kept))
    }

    /// The sums of a group and the count of rows, to be written, as they are
    /// after all commits below `as_of` and this one.
    pub fn written(&self, group: u8, last: &Delta, as_of: u64) -> [Write; 2] {
        let added = |bucket| last.buckets.get(&bucket).copied().unwrap_or(0);
        let buckets = (u16::from(group) << 8..=u16::MAX).zip(self.group(group));
        let sums = buckets.map(|(bucket, sum)| sum.wrapping_add(added(bucket)));
        let rows = self.rows.saturating_add_signed(last.rows);
        let bytes =
            |words: &mut dyn Iterator<Item = u64>| words.flat_map(u64::to_le_bytes).collect();
        [
            Write::Put(sums_key(group), bytes(&mut sums.chain([as_of]))),
            Write::Put(COUNT_KEY.to_vec(), bytes(&mut [rows, as_of].into_iter())),
        ]
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

fn words(stored: &[u8]) -> Vec<u64> {
    stored.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
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
        for group in 0..=u8::MAX {
            store.write(&sums.written(group, &Delta::default(), 7)).expect("written");
        }
        let (read, kept) = Sums::read(&store).expect("readable");
        assert_eq!((read.digest(), read.rows()), (sums.digest(), 2));
        assert!(kept.journal.is_empty() && kept.groups.iter().all(|as_of| *as_of == 7));
    }
}
