//! Answers that are read from the store and need nothing else.

use bytes::Bytes;

use crate::cluster::durable::intent::Cursor;
use crate::cluster::durable::layout::{bucket_prefix, row_of_index};
use crate::cluster::durable::row::Row;
use crate::cluster::durable::words::{RowsAnswer, RowsAsk, read, topic, written};
use crate::storage::{Reads, Rows, StoreError};

/// The bytes of rows in one answer, about: a question's answer has room for
/// one row more.
const PART_BYTES: usize = 256 << 10;

/// Rows of the index read at a time.
const READ_ROWS: usize = 64;

/// Whether a question is one of these.
pub fn is_read(topic: u8) -> bool {
    matches!(topic, topic::ROWS | topic::LOST)
}

/// The answer; `None`: the question makes no sense.
///
/// # Errors
/// [`StoreError`].
pub fn answer(reads: &dyn Reads, topic: u8, body: &[u8]) -> Result<Option<Bytes>, StoreError> {
    match topic {
        topic::ROWS => {
            let Some(ask) = read::<RowsAsk>(body) else { return Ok(None) };
            Ok(Some(written(&rows(reads, &ask)?)))
        }
        topic::LOST => {
            let whole = reads.get(body)?.filter(|stored| Row::read(stored).is_some());
            let rows: Rows = whole.map(|stored| (body.to_vec(), stored)).into_iter().collect();
            Ok(Some(written(&rows)))
        }
        _ => Ok(None),
    }
}

/// Rows of some buckets from a place on. Only these buckets are read.
fn rows(reads: &dyn Reads, ask: &RowsAsk) -> Result<RowsAnswer, StoreError> {
    let mut rows = Rows::new();
    let mut bytes = 0;
    for bucket in ask.buckets.iter().copied().filter(|bucket| *bucket >= ask.from.0) {
        let prefix = bucket_prefix(bucket);
        let mut from = match bucket == ask.from.0 {
            true => [&prefix[..], &ask.from.1].concat(),
            false => Vec::new(),
        };
        loop {
            let index = reads.scan(&prefix, &from, READ_ROWS)?;
            for (place, _) in &index {
                let Some(key) = row_of_index(place) else { continue };
                if bytes >= PART_BYTES {
                    let next: Cursor = (bucket, key.to_vec());
                    return Ok(RowsAnswer { rows, next: Some(next) });
                }
                // a damaged row is nothing to give away
                let stored = reads.get(key)?.filter(|stored| Row::read(stored).is_some());
                if let Some(stored) = stored {
                    bytes += key.len() + stored.len();
                    rows.push((key.to_vec(), stored));
                }
            }
            match index.last() {
                Some((last, _)) if index.len() == READ_ROWS => from = [last, &[0][..]].concat(),
                _ => break,
            }
        }
    }
    Ok(RowsAnswer { rows, next: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::durable::Table;
    use crate::cluster::durable::layout::{bucket_of, index_key, row_key};
    use crate::cluster::durable::row::{Stamp, time_of};
    use crate::cluster::node::NodeId;
    use crate::storage::memory::Memory;
    use crate::storage::{Store, Write};

    #[test]
    fn buckets_are_given_in_parts_and_whole() {
        let store = Memory::default();
        let stamp = Stamp::after(None, time_of(1), NodeId::new(1, 1));
        let mut buckets: Vec<u16> = Vec::new();
        for user in 0..20 {
            let key = row_key(Table::Vcard, format!("u{user}@im").as_bytes());
            let row = Row { stamp, by: 1, value: Some(vec![7; 40_000].into()) };
            let puts =
                [Write::Put(index_key(&key), vec![]), Write::Put(key.clone(), row.written())];
            store.write(&puts).expect("written");
            buckets.push(bucket_of(&key));
        }
        buckets.sort_unstable();
        buckets.dedup();
        buckets.pop();
        let wanted = buckets.len();
        let mut ask = RowsAsk { buckets, from: (0, Vec::new()) };
        let (mut parts, mut found) = (0, Vec::new());
        loop {
            let part = rows(&store, &ask).expect("readable");
            parts += 1;
            found.extend(part.rows.into_iter().map(|(key, _)| key));
            match part.next {
                Some(next) => ask.from = next,
                None => break,
            }
        }
        assert!(parts >= 2);
        found.sort();
        found.dedup();
        assert_eq!(found.len(), wanted);
    }
}
