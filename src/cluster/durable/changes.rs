//! How often rows of each table were written: for those who remember what they
//! have read.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cluster::durable::Table;
use crate::storage::Write;

/// More than the tables have prefixes.
const PREFIXES: usize = 16;

/// The counts since the start, by the tables' prefixes.
#[derive(Debug, Default)]
pub(super) struct Changes([AtomicU64; PREFIXES]);

impl Changes {
    /// How often rows of this table were written.
    pub(super) fn of(&self, table: Table) -> u64 {
        let count = self.0.get(usize::from(table.prefix()));
        count.map_or(0, |count| count.load(Ordering::Acquire))
    }

    /// This has been written.
    pub(super) fn count(&self, writes: &[Write]) {
        for write in writes {
            let (Write::Put(key, _) | Write::Delete(key)) = write;
            let prefix = key.first().map(|prefix| usize::from(*prefix));
            if let Some(count) = prefix.and_then(|prefix| self.0.get(prefix)) {
                count.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Nobody knows what was written.
    pub(super) fn count_all(&self) {
        for count in &self.0 {
            count.fetch_add(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::durable::layout::row_key;

    #[test]
    fn each_table_has_a_count_of_its_own() {
        let changes = Changes::default();
        for table in Table::ALL {
            let before = changes.of(*table);
            changes.count(&[Write::Put(row_key(*table, b"a@b"), Vec::new())]);
            changes.count(&[Write::Delete(row_key(*table, b"a@b"))]);
            assert_eq!(changes.of(*table), before + 2, "{table:?}");
        }
        assert_eq!(changes.of(Table::Accounts), 2, "the others are not counted with it");
        changes.count_all();
        assert_eq!(changes.of(Table::Accounts), 3);
    }
}
