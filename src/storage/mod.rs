//! Where rows are kept: ordered keys, all-or-none writes, synced when they
//! return. What the rows mean is the business of the rooms above.

pub mod embedded;
pub mod memory;

use std::sync::Arc;

/// The longest key and value, in bytes. Larger ones are a fault of ours.
pub const KEY_BYTES_MAX: usize = 8 << 10;

/// One change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// The key has this value from now.
    Put(Vec<u8>, Vec<u8>),
    /// The key has no value from now.
    Delete(Vec<u8>),
}

/// The store failed; what it was asked for may or may not be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store {place} failed: {reason}")]
pub struct StoreError {
    /// The file, or what else it is.
    pub place: Arc<str>,
    /// What its engine says.
    pub reason: Arc<str>,
}

/// Keys and values.
pub type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// What can be read. All answers of one snapshot are of one moment; a store's
/// own are each of their moment.
pub trait Reads {
    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The first `limit` rows from `from` on whose keys begin with `prefix`,
    /// in the order of their keys.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(&self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Rows, StoreError>;
}

/// A store.
pub trait Store: Reads + Send + Sync + 'static {
    /// All of it as it is now, whatever is written later.
    ///
    /// # Errors
    /// [`StoreError`].
    fn snapshot(&self) -> Result<Box<dyn Reads + Send>, StoreError>;

    /// Makes all changes or none. When it returns, they are on the disk.
    ///
    /// # Errors
    /// [`StoreError`]; then it is not known which of the two, and the store
    /// may want to be opened again.
    fn write(&self, batch: &[Write]) -> Result<(), StoreError>;

    /// Begins anew after an error, as if the process had been started again.
    ///
    /// # Errors
    /// [`StoreError`]: it still fails.
    fn reopen(&self) -> Result<(), StoreError>;

    /// Ends it in good order, for good: a store that was not closed is checked
    /// when it is opened next, which takes longer.
    fn close(&self);
}
