//! What was missed is mended: nodes compare sums over 1,024 buckets, and
//! fetch the buckets that differ. At every link-up, and every minute.

use std::collections::BTreeSet;
use std::hash::Hasher;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::cluster::asks::Question;
use crate::cluster::durable::{Durable, topic};
use crate::cluster::hash::{Sip, stable};
use crate::cluster::node::NodeId;
use crate::storage::{Rows, Store, StoreError};

/// Buckets of all rows: at a million rows a thousand are in each.
const BUCKETS: usize = 1_024;

/// Between two comparisons with each other node.
const INTERVAL: Duration = Duration::from_secs(60);

/// How long another node may take for one answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// The bytes of rows in one answer, about.
const PART_BYTES: usize = 256 << 10;

/// Rows read from the store at a time.
const READ_ROWS: usize = 1_024;

/// How the rows of each bucket sum up, whatever their order.
#[derive(Debug)]
pub struct Sums {
    sums: Vec<u64>,
    count: u64,
}

#[derive(Serialize, Deserialize)]
struct Ask {
    buckets: Vec<u16>,
    /// From this key on.
    from: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Part {
    rows: Rows,
    /// Where to go on.
    next: Option<Vec<u8>>,
}

impl Sums {
    /// The sums of all that is in a store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let mut sums = Self { sums: vec![0; BUCKETS], count: 0 };
        let mut from = Vec::new();
        loop {
            let rows = store.scan(b"", &from, READ_ROWS)?;
            for (key, stored) in &rows {
                sums.replace(key, None, stored);
            }
            match rows.last() {
                Some((last, _)) if rows.len() == READ_ROWS => from = [last, &[0][..]].concat(),
                _ => return Ok(sums),
            }
        }
    }

    /// A row has another value now.
    pub fn replace(&mut self, key: &[u8], old: Option<&[u8]>, new: &[u8]) {
        let Some(sum) = self.sums.get_mut(bucket_of(key)) else { return };
        if let Some(old) = old {
            *sum = sum.wrapping_sub(hash(key, old));
        } else {
            self.count += 1;
        }
        *sum = sum.wrapping_add(hash(key, new));
    }

    /// How many rows.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// One number for all of them.
    pub fn digest(&self) -> u64 {
        let mut sip = Sip::default();
        self.sums.iter().for_each(|sum| sip.write(&sum.to_le_bytes()));
        sip.finish()
    }
}

fn bucket_of(key: &[u8]) -> usize {
    (stable(key) % BUCKETS as u64) as usize
}

fn hash(key: &[u8], stored: &[u8]) -> u64 {
    let mut sip = Sip::default();
    sip.write(&(key.len() as u64).to_le_bytes());
    sip.write(key);
    sip.write(stored);
    sip.finish()
}

impl Durable {
    /// Compares with whoever joins, and with everybody every minute, for ever.
    pub async fn keep_equal(self: Arc<Self>) {
        let mut members = self.cluster.watch_members();
        let mut met: BTreeSet<NodeId> = BTreeSet::new();
        loop {
            let others: BTreeSet<NodeId> = {
                let members = members.borrow_and_update();
                members.others().map(|member| member.node.id).collect()
            };
            let fresh: Vec<NodeId> = others.difference(&met).copied().collect();
            for node in &fresh {
                self.compare(*node).await;
            }
            let is_new = !fresh.is_empty();
            met = others;
            if is_new {
                continue;
            }
            match timeout(INTERVAL, members.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => met.clear(),
            }
        }
    }

    /// Takes what another node has and we have not, and has it take ours.
    async fn compare(self: &Arc<Self>, node: NodeId) {
        if self.take_from(node).await == 0 {
            return;
        }
        // it may not know that it missed something: a node that stood still
        // has seen nobody go
        let told = self.cluster.ask(node, topic::COMPARE, Bytes::new(), ANSWER_TIME_MAX).await;
        if told.is_err() {
            debug!(%node, "a node was not told to compare");
        }
    }

    /// Takes what another node has and we have not; says how many buckets
    /// differed.
    pub(super) async fn take_from(self: &Arc<Self>, node: NodeId) -> usize {
        let asked = self.cluster.ask(node, topic::SUMS, Bytes::new(), ANSWER_TIME_MAX).await;
        let theirs = asked.ok().and_then(|sums| postcard::from_bytes::<Vec<u64>>(&sums).ok());
        let Some(theirs) = theirs else {
            debug!(%node, "a node did not say how its rows sum up");
            return 0;
        };
        let different: Vec<u16> = {
            let ours = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
            let pairs = (0u16..).zip(ours.sums.iter().zip(&theirs));
            pairs.filter(|(_, (ours, theirs))| ours != theirs).map(|(bucket, _)| bucket).collect()
        };
        let count = different.len();
        if count == 0 {
            return 0;
        }
        match self.fetch(node, different).await {
            Some(0) => {}
            Some(rows) => info!(%node, rows, "rows that were missed have been fetched"),
            None => debug!(%node, "a node stopped while its rows were fetched"),
        }
        count
    }

    /// All rows of some buckets that are later than ours.
    async fn fetch(&self, node: NodeId, buckets: Vec<u16>) -> Option<usize> {
        let mut from = Vec::new();
        let mut taken = 0;
        loop {
            let ask = postcard::to_stdvec(&Ask { buckets: buckets.clone(), from }).ok()?.into();
            let part = self.cluster.ask(node, topic::BUCKET, ask, ANSWER_TIME_MAX).await.ok()?;
            let part: Part = postcard::from_bytes(&part).ok()?;
            match self.merge(part.rows).await {
                Ok(count) => taken += count,
                Err(error) => {
                    warn!(%error, "fetched rows cannot be kept");
                    return None;
                }
            }
            match part.next {
                Some(next) => from = next,
                None => return Some(taken),
            }
        }
    }

    pub(super) fn sums_written(&self) -> Bytes {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        postcard::to_stdvec(&sums.sums).expect("numbers can be written").into()
    }

    pub(super) fn on_bucket(self: &Arc<Self>, question: Question) {
        let durable = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let Ok(Ask { buckets, from }) = postcard::from_bytes(&question.body) else { return };
            match durable.part(&buckets, from) {
                Ok(part) => {
                    let part = postcard::to_stdvec(&part).expect("rows can be written");
                    question.answer(part.into());
                }
                Err(error) => warn!(%error, "rows cannot be read for another node"),
            }
        });
    }

    /// Rows of some buckets from a key on. All rows are read for it, once:
    /// buckets are asked for only when something was missed.
    fn part(&self, buckets: &[u16], mut from: Vec<u8>) -> Result<Part, StoreError> {
        let mut wanted = vec![false; BUCKETS];
        for bucket in buckets {
            if let Some(wanted) = wanted.get_mut(usize::from(*bucket)) {
                *wanted = true;
            }
        }
        let mut rows = Rows::new();
        let mut bytes = 0;
        loop {
            let read = self.store.scan(b"", &from, READ_ROWS)?;
            let is_last = read.len() < READ_ROWS;
            for (key, stored) in read {
                from = [&key, &[0][..]].concat();
                if wanted.get(bucket_of(&key)) == Some(&true) {
                    bytes += key.len() + stored.len();
                    rows.push((key, stored));
                }
                if bytes >= PART_BYTES {
                    return Ok(Part { rows, next: Some(from) });
                }
            }
            if is_last {
                return Ok(Part { rows, next: None });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Write;
    use crate::storage::memory::Memory;

    #[test]
    fn the_sums_of_a_store_are_those_of_its_changes() {
        let store = Memory::default();
        let mut sums = Sums::read(&store).expect("read");
        let empty = sums.digest();
        for (key, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
            let old = store.get(key.as_bytes()).expect("read");
            sums.replace(key.as_bytes(), old.as_deref(), value.as_bytes());
            store.write(&[Write::Put(key.into(), value.into())]).expect("written");
        }
        let read = Sums::read(&store).expect("read");
        assert_eq!((read.digest(), read.count()), (sums.digest(), 2));
        assert_ne!(read.digest(), empty);
    }
}
