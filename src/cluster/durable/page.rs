//! The rows as they will be when a commit is made: what is in the store, and
//! over it what the commit has changed so far. Keeps indexes and sums in step.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::durable::layout::{
    bucket_of, bucket_prefix, index_key, row_of_index, tombstone_key,
};
use crate::cluster::durable::row::Row;
use crate::cluster::durable::sums::{Delta, Sums, weight};
use crate::storage::{Reads, StoreError, Write};

/// Rows over a store.
pub struct Page<'a> {
    reads: &'a dyn Reads,
    written: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    delta: Delta,
    /// Buckets with a row that was damaged: nobody knows what it added to the
    /// sum, so they are added up anew.
    unsure: BTreeSet<u16>,
}

impl std::fmt::Debug for Page<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("written", &self.written.len()).finish_non_exhaustive()
    }
}

/// A row that a disk has changed.
pub fn damaged() -> StoreError {
    StoreError { place: "row".into(), reason: "it is damaged".into() }
}

impl<'a> Page<'a> {
    /// Nothing is changed yet.
    pub fn new(reads: &'a dyn Reads) -> Self {
        let (written, delta) = (BTreeMap::new(), Delta::default());
        Self { reads, written, delta, unsure: BTreeSet::new() }
    }

    /// What is below.
    pub fn reads(&self) -> &'a dyn Reads {
        self.reads
    }

    /// A row by its key in the store; inside, an error: it is damaged.
    ///
    /// # Errors
    /// [`StoreError`]: the store cannot be read.
    pub fn row(&self, key: &[u8]) -> Result<Result<Option<Row>, StoreError>, StoreError> {
        let read = |stored: &Vec<u8>| Row::read(stored).ok_or_else(damaged);
        Ok(self.stored(key)?.as_ref().map(read).transpose())
    }

    /// Puts a row in place of whatever is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(&mut self, key: &[u8], row: &Row) -> Result<(), StoreError> {
        let is_new = self.take_out(key, Some(&row.written()))?;
        if is_new {
            self.written.insert(index_key(key), Some(Vec::new()));
        }
        if row.value.is_none() {
            self.written.insert(tombstone_key(row.stamp.time, key), Some(Vec::new()));
        }
        self.written.insert(key.to_vec(), Some(row.written()));
        Ok(())
    }

    /// Removes a row without a tombstone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.take_out(key, None)?;
        self.written.insert(index_key(key), None);
        self.written.insert(key.to_vec(), None);
        Ok(())
    }

    /// Removes anything else.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.written.insert(key, None);
    }

    /// All writes, and what they change of the sums.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn finish(mut self, sums: &Sums) -> Result<(Vec<Write>, Delta), StoreError> {
        for bucket in std::mem::take(&mut self.unsure) {
            let sum = self.add_up(bucket)?;
            self.delta.buckets.insert(bucket, sum.wrapping_sub(sums.bucket(bucket)));
        }
        let write = |(key, value)| match value {
            Some(value) => Write::Put(key, value),
            None => Write::Delete(key),
        };
        Ok((self.written.into_iter().map(write).collect(), self.delta))
    }

    fn stored(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.written.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.reads.get(key),
        }
    }

    /// The old row goes; whether there was none.
    fn take_out(&mut self, key: &[u8], new: Option<&[u8]>) -> Result<bool, StoreError> {
        let old = self.stored(key)?;
        let bucket = bucket_of(key);
        let row = old.as_deref().map(Row::read);
        match &row {
            Some(None) => drop(self.unsure.insert(bucket)),
            Some(Some(row)) if row.value.is_none() => {
                self.written.insert(tombstone_key(row.stamp.time, key), None);
            }
            _ => {}
        }
        let weight = |stored: &[u8]| weight(key, stored);
        self.delta.replace(bucket, old.as_deref().map(weight), new.map(weight));
        Ok(old.is_none())
    }

    /// The sum of a bucket as it will be.
    fn add_up(&self, bucket: u16) -> Result<u64, StoreError> {
        let prefix = bucket_prefix(bucket);
        let below = self.reads.scan(&prefix, b"", usize::MAX)?;
        let written = self.written.range(prefix.clone()..);
        let written = written.take_while(|(key, _)| key.starts_with(&prefix));
        let keys: BTreeSet<&[u8]> = below
            .iter()
            .map(|(key, _)| key.as_slice())
            .chain(written.map(|(key, _)| &**key))
            .collect();
        let mut sum = 0u64;
        for key in keys.into_iter().filter_map(row_of_index) {
            if let Some(stored) = self.stored(key)? {
                sum = sum.wrapping_add(weight(key, &stored));
            }
        }
        Ok(sum)
    }
}
