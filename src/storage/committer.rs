//! Group commit: batches of the same moment share one sync.

use std::sync::Arc;
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::storage::{Store, StoreError, Write};

/// Batches that may wait for the disk; who has one more waits. A guess.
const WAITING_MAX: usize = 4_096;

/// Batches that share a sync. A guess: a sync of this many takes little
/// longer than a sync of one.
const TOGETHER_MAX: usize = 1_024;

type Job = (Vec<Write>, oneshot::Sender<Result<(), StoreError>>);

/// Writes in the order of the calls, from a thread of its own.
#[derive(Debug, Clone)]
pub struct Committer {
    jobs: mpsc::Sender<Job>,
}

impl Committer {
    /// A committer for this store. Its thread ends with the last clone.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn new(store: Arc<dyn Store>) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        thread::Builder::new().name("commit".into()).spawn(move || run(&*store, waiting))?;
        Ok(Self { jobs })
    }

    /// Writes a batch; it is on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError`]. All batches of one sync fail together.
    pub async fn commit(&self, batch: Vec<Write>) -> Result<(), StoreError> {
        let gone = || StoreError { place: "thread".into(), reason: "it has ended".into() };
        let (answer, answered) = oneshot::channel();
        self.jobs.send((batch, answer)).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn run(store: &dyn Store, mut waiting: mpsc::Receiver<Job>) {
    let mut jobs = Vec::new();
    while waiting.blocking_recv_many(&mut jobs, TOGETHER_MAX) > 0 {
        let mut all = Vec::new();
        let mut answers = Vec::with_capacity(jobs.len());
        for (batch, answer) in jobs.drain(..) {
            all.extend(batch);
            answers.push(answer);
        }
        let written = store.write(&all);
        for answer in answers {
            // who asked may be gone; the rows are written all the same
            let _ = answer.send(written.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::Memory;

    #[tokio::test]
    async fn what_is_committed_can_be_read() {
        let store = Arc::new(Memory::default());
        let committer = Committer::new(Arc::clone(&store) as Arc<dyn Store>).expect("a thread");
        let commits = (0..100u8).map(|n| {
            let committer = committer.clone();
            tokio::spawn(async move { committer.commit(vec![Write::Put(vec![n], vec![n])]).await })
        });
        for commit in commits.collect::<Vec<_>>() {
            commit.await.expect("it ran").expect("written");
        }
        assert_eq!(store.scan(b"", b"", 999).expect("read").len(), 100);
    }
}
