//! Where everything stands in the store. Rows stand under their table and key,
//! so those of one owner are next to each other; beside them stand
//!
//! - an index by bucket, so that what differs is found without reading the rest,
//! - an index of the tombstones by their time, so that the old ones are found,
//! - the sums of the buckets, each group as of some commit, and a journal of
//!   what each commit has changed of them since,
//! - what this node remembers of itself.

use crate::cluster::durable::Table;
use crate::cluster::hash::stable;

/// Buckets of all rows: at a million rows 15 are in each.
pub const BUCKETS: usize = 1 << 16;

/// Groups of buckets, whose sums are compared first.
pub const GROUPS: usize = 256;

/// Buckets of a group.
pub const GROUP_BUCKETS: usize = BUCKETS / GROUPS;

const INDEX: u8 = 0xf0;
const TOMBSTONES: u8 = 0xf1;
const SUMS: u8 = 0xf2;
const JOURNAL: u8 = 0xf3;
const MARK: u8 = 0xf4;

/// The first byte of all journal keys.
pub const JOURNAL_PREFIX: &[u8] = &[JOURNAL];

/// The first byte of all keys of tombstones.
pub const TOMBSTONES_PREFIX: &[u8] = &[TOMBSTONES];

/// The version of this layout stands here.
pub const FORMAT_KEY: &[u8] = &[MARK, b'f'];

/// What the node remembers of itself stands here.
pub const MARKS_KEY: &[u8] = &[MARK, b'm'];

/// How many rows there were, and as of which commit.
pub const COUNT_KEY: &[u8] = &[MARK, b'c'];

/// Written and removed again, to see whether a store works.
pub const PROBE_KEY: &[u8] = &[MARK, b'p'];

/// The layout described here.
pub const FORMAT: u8 = 2;

/// The layouts that can be read: in the first, the sums of all groups are as of
/// the beginning of the journal.
pub const READABLE: std::ops::RangeInclusive<u8> = 1..=FORMAT;

/// A row's key in the store.
pub fn row_key(table: Table, key: &[u8]) -> Vec<u8> {
    [&[table.prefix()], key].concat()
}

/// Whether this is the key of a row of a table that we know.
pub fn is_row(stored_key: &[u8]) -> bool {
    stored_key.first().is_some_and(|prefix| Table::of_prefix(*prefix).is_some())
}

/// The bucket of a row, by its key in the store.
pub fn bucket_of(stored_key: &[u8]) -> u16 {
    // the highest bits: a remainder by 65,536 would be as good
    (stable(stored_key) >> 48) as u16
}

/// The group of a bucket.
pub fn group_of(bucket: u16) -> u8 {
    (bucket >> 8) as u8
}

/// All rows of a bucket stand in the index under this prefix, in their order.
pub fn bucket_prefix(bucket: u16) -> Vec<u8> {
    [&[INDEX][..], &bucket.to_be_bytes()].concat()
}

/// A row in the index.
pub fn index_key(stored_key: &[u8]) -> Vec<u8> {
    [&bucket_prefix(bucket_of(stored_key))[..], stored_key].concat()
}

/// The row's key in the store, of its key in the index.
pub fn row_of_index(index_key: &[u8]) -> Option<&[u8]> {
    index_key.get(3..)
}

/// A tombstone in the index of tombstones.
pub fn tombstone_key(time: u64, stored_key: &[u8]) -> Vec<u8> {
    [&[TOMBSTONES][..], &time.to_be_bytes(), stored_key].concat()
}

/// The time of a tombstone and its key in the store.
pub fn tombstone_of(key: &[u8]) -> Option<(u64, &[u8])> {
    let (time, stored_key) = key.get(1..)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*time), stored_key))
}

/// The sums of a group's buckets.
pub fn sums_key(group: u8) -> Vec<u8> {
    vec![SUMS, group]
}

/// What one commit has changed of the sums.
pub fn journal_key(number: u64) -> Vec<u8> {
    [JOURNAL_PREFIX, &number.to_be_bytes()].concat()
}

/// The number of a commit in the journal.
pub fn number_of_journal(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_key_comes_out_of_it() {
        let key = row_key(Table::Roster, b"romeo@im\0juliet@im");
        assert!(is_row(&key));
        assert_eq!(row_of_index(&index_key(&key)), Some(&key[..]));
        assert_eq!(tombstone_of(&tombstone_key(7, &key)), Some((7, &key[..])));
        assert_eq!(number_of_journal(&journal_key(9)), Some(9));
        for other in [index_key(&key), tombstone_key(7, &key), sums_key(1), journal_key(1)] {
            assert!(!is_row(&other));
        }
        assert_eq!(usize::from(group_of(u16::MAX)), GROUPS - 1);
    }
}
