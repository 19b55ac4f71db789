//! One soft table. Readers see only rows of visible owners.

use super::node::NodeId;

/// One row as readers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<R> {
    /// Whose row.
    pub owner: NodeId,
    /// Its number at its owner.
    pub number: u64,
    /// The row.
    pub row: R,
}

/// One soft table.
#[derive(Debug)]
pub struct Table<R> {
    rows: std::marker::PhantomData<fn() -> R>,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Table {
            rows: std::marker::PhantomData,
        }
    }
}

impl<R> Table<R> {
    /// All rows of visible owners under this key (a bare JID, a domain).
    pub fn find(&self, _key: &str) -> smallvec::SmallVec<[Entry<R>; 2]> {
        smallvec::SmallVec::new()
    }
}
