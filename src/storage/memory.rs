//! A store that forgets when the process ends: for tests and simulations.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use crate::storage::{Reads, Rows, Store, StoreError, Write};

/// Rows in memory. A snapshot is a copy of all of them.
#[derive(Debug, Default)]
pub struct Memory {
    rows: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Reads for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Rows, StoreError> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let first = from.max(prefix).to_vec();
        let found = rows.range(first..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl Store for Memory {
    fn snapshot(&self) -> Result<Box<dyn Reads + Send>, StoreError> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Box::new(Self { rows: RwLock::new(rows) }))
    }

    fn write(&self, batch: &[Write]) -> Result<(), StoreError> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for write in batch {
            match write {
                Write::Put(key, value) => rows.insert(key.clone(), value.clone()),
                Write::Delete(key) => rows.remove(key),
            };
        }
        Ok(())
    }

    fn reopen(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn close(&self) {}
}
