//! A disk: what was synced stays, whatever happens to its node.

use std::collections::BTreeMap;

use jabiru::storage::{Reads, Rows, StoreError, Write};

#[derive(Debug, Default, Clone)]
pub struct Disk {
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Disk {
    pub fn write(&mut self, batch: &[Write]) {
        for write in batch {
            match write {
                Write::Put(key, value) => self.rows.insert(key.clone(), value.clone()),
                Write::Delete(key) => self.rows.remove(key),
            };
        }
    }
}

impl Reads for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], from: &[u8], limit: usize) -> Result<Rows, StoreError> {
        let first = from.max(prefix).to_vec();
        let found = self.rows.range(first..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}
