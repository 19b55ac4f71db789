//! What nodes ask each other about durable rows, and what they answer.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cluster::durable::change::{Change, ChangeError, Made};
use crate::cluster::durable::intent::Cursor;
use crate::cluster::durable::marks::Standing;
use crate::cluster::durable::row::Stamp;
use crate::storage::Rows;

/// The topics of our questions.
pub mod topic {
    /// Make a change: the asker believes that you are its home.
    pub const CHANGE: u8 = 1;
    /// Take these rows.
    pub const MERGE: u8 = 2;
    /// How do your groups of buckets sum up?
    pub const SUMS: u8 = 3;
    /// How do the buckets of these groups sum up?
    pub const BUCKETS: u8 = 4;
    /// Which rows are in these buckets?
    pub const ROWS: u8 = 5;
    /// These rows of yours are from the future.
    pub const AHEAD: u8 = 6;
    /// I have lost this row.
    pub const LOST: u8 = 7;
    /// You have other rows than I: compare as well. Whoever stood still has
    /// seen nobody go, and does not know that it missed something.
    pub const COMPARE: u8 = 8;
}

/// [`topic::CHANGE`].
#[derive(Debug, Serialize, Deserialize)]
pub struct ChangeAsk {
    /// The change's random number.
    pub by: u64,
    /// When it was asked for: if it is read long after, by a node that stood
    /// still, it must not win against what was made meanwhile.
    pub clock: u64,
    /// What shall be.
    pub changes: Vec<Change>,
}

/// To [`topic::CHANGE`].
#[derive(Debug, Serialize, Deserialize)]
pub enum ChangeAnswer {
    /// It was made.
    Made(Made),
    /// It was not made.
    Refused(ChangeError),
    /// It was made, but others have later rows, and so has the home now:
    /// once more.
    Beaten,
}

/// [`topic::MERGE`].
#[derive(Debug, Serialize, Deserialize)]
pub struct MergeAsk {
    /// The asker's time of day.
    pub wall: u64,
    /// The rows.
    pub rows: Rows,
}

/// To [`topic::MERGE`]: they are on the disk, or later ones are.
#[derive(Debug, Serialize, Deserialize)]
pub struct MergeAnswer {
    /// The node's time of day.
    pub wall: u64,
    /// Those that were refused.
    pub ahead: Vec<(Vec<u8>, Stamp)>,
    /// What is there, where it is later.
    pub later: Rows,
}

/// [`topic::SUMS`].
#[derive(Debug, Serialize, Deserialize)]
pub struct SumsAsk {
    /// The asker's time of day.
    pub wall: u64,
}

/// To [`topic::SUMS`].
#[derive(Debug, Serialize, Deserialize)]
pub struct SumsAnswer {
    /// The node's time of day.
    pub wall: u64,
    /// Whether it was away.
    pub standing: Standing,
    /// From before this time it has no tombstones.
    pub horizon: u64,
    /// One number for each group.
    pub groups: Vec<u64>,
}

/// [`topic::BUCKETS`].
#[derive(Debug, Serialize, Deserialize)]
pub struct BucketsAsk {
    /// Which.
    pub groups: Vec<u8>,
}

/// To [`topic::BUCKETS`].
#[derive(Debug, Serialize, Deserialize)]
pub struct BucketsAnswer {
    /// Each group, and the sums of its buckets in their order.
    pub groups: Vec<(u8, Vec<u64>)>,
}

/// [`topic::ROWS`].
#[derive(Debug, Serialize, Deserialize)]
pub struct RowsAsk {
    /// Which, in their order.
    pub buckets: Vec<u16>,
    /// From here on.
    pub from: Cursor,
}

/// To [`topic::ROWS`].
#[derive(Debug, Serialize, Deserialize)]
pub struct RowsAnswer {
    /// All rows up to `next`.
    pub rows: Rows,
    /// Where to go on.
    pub next: Option<Cursor>,
}

/// [`topic::AHEAD`].
#[derive(Debug, Serialize, Deserialize)]
pub struct AheadAsk {
    /// The asker's time of day.
    pub wall: u64,
    /// The rows, by their keys in the store.
    pub rows: Vec<(Vec<u8>, Stamp)>,
}

/// A word as it is sent.
pub fn written(word: &impl Serialize) -> Bytes {
    postcard::to_stdvec(word).expect("words have only fields that postcard knows").into()
}

/// A word as it came; `None`: it makes no sense.
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}
