//! The one thread that writes: intents of the same moment share one sync. A
//! store that fails is opened again and tried every second; until it takes a
//! write, whatever is wanted is refused.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{error, info};

use crate::cluster::durable::Table;
use crate::cluster::durable::changes::Changes;
use crate::cluster::durable::intent::{Intent, Outcome};
use crate::cluster::durable::layout::PROBE_KEY;
use crate::cluster::durable::ledger::{Ledger, Plan};
use crate::cluster::durable::news::Input;
use crate::cluster::durable::sums::Sums;
use crate::storage::{Store, StoreError, Write};

/// Intents that may wait for the disk. Full: one more fails, as if the disk
/// had.
const WAITING_MAX: usize = 16_384;

/// Intents that share a sync. A guess: a sync of this many takes little longer
/// than a sync of one.
const TOGETHER_MAX: usize = 2_048;

/// The bytes of rows that share a sync, about.
const TOGETHER_BYTES: usize = 4 << 20;

/// Between two tries of a store that fails.
const RETRY: Duration = Duration::from_secs(1);

/// What must find room in a store that failed, before it is trusted.
const PROBE_BYTES: usize = 256 << 10;

/// What has become of intents, by their numbers.
type Results = Vec<(u64, Result<Outcome, StoreError>)>;

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: SyncSender<(u64, Intent)>,
    failing: Arc<Mutex<Option<StoreError>>>,
    changes: Arc<Changes>,
    /// How many intents have been wanted.
    wanted: AtomicU64,
    /// How many of them have had their turn.
    done: watch::Receiver<u64>,
}

/// The thread's things.
pub(super) struct Desk {
    pub(super) store: Arc<dyn Store>,
    pub(super) ledger: Ledger,
    pub(super) sums: Arc<RwLock<Sums>>,
    jobs: Receiver<(u64, Intent)>,
    failing: Arc<Mutex<Option<StoreError>>>,
    changes: Arc<Changes>,
    done: watch::Sender<u64>,
    tried: Instant,
}

impl Writer {
    /// A writer, and what its thread will need.
    pub(super) fn new(
        store: Arc<dyn Store>,
        ledger: Ledger,
        sums: Arc<RwLock<Sums>>,
    ) -> (Self, Desk) {
        let (sender, jobs) = sync_channel(WAITING_MAX);
        let failing = Arc::<Mutex<Option<StoreError>>>::default();
        let changes = Arc::<Changes>::default();
        let (told, tried) = (Arc::clone(&changes), Instant::now());
        let (done, seen) = watch::channel(0);
        let failed = Arc::clone(&failing);
        let wanted = AtomicU64::new(0);
        let writer = Self { jobs: sender, failing: failed, changes, wanted, done: seen };
        (writer, Desk { store, ledger, sums, jobs, failing, changes: told, done, tried })
    }

    /// Wants something.
    pub(super) fn write(&self, job: u64, intent: Intent) -> Result<(), StoreError> {
        let full =
            |_| StoreError { place: "queue".into(), reason: "too much waits to be written".into() };
        self.jobs.try_send((job, intent)).map_err(full)?;
        self.wanted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Waits until all that was wanted so far has been written, or refused.
    pub(super) async fn settle(&self) {
        let wanted = self.wanted.load(Ordering::SeqCst);
        // an error says that the thread has ended: nothing more will come
        let _ = self.done.clone().wait_for(|done| *done >= wanted).await;
    }

    /// How often rows of a table were written.
    pub(super) fn changes(&self, table: Table) -> u64 {
        self.changes.of(table)
    }

    /// Why the store fails; `None`: it works.
    pub(super) fn failing(&self) -> Option<StoreError> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Desk {
    /// Writes until nobody wants anything any more; tells what is planned
    /// before it is written, and what was. `tell` gives `false` when nobody
    /// listens.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(
        mut self,
        tell: impl Fn(Input) -> bool + Send + 'static,
    ) -> std::io::Result<()> {
        let run = move || {
            loop {
                match self.jobs.recv_timeout(RETRY) {
                    Ok(first) => {
                        let results = self.carry_out(first, &tell);
                        let count = results.len() as u64;
                        self.done.send_modify(|done| *done += count);
                        if !tell(Input::Written(results)) {
                            return;
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => self.try_again(),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        thread::Builder::new().name("commit".into()).spawn(run).map(drop)
    }

    fn carry_out(&mut self, first: (u64, Intent), tell: &dyn Fn(Input) -> bool) -> Results {
        let mut bytes = size_of(&first.1);
        let mut jobs = vec![first];
        while jobs.len() < TOGETHER_MAX && bytes < TOGETHER_BYTES {
            let Ok(job) = self.jobs.try_recv() else { break };
            bytes += size_of(&job.1);
            jobs.push(job);
        }
        self.try_again();
        let (numbers, intents): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
        if let Some(failing) = self.lock().clone() {
            return numbers.into_iter().map(|number| (number, Err(failing.clone()))).collect();
        }
        // redb checks what it reads with assertions here and there
        let committed = catch_unwind(AssertUnwindSafe(|| self.commit(&numbers, intents, tell)));
        match committed.unwrap_or_else(|_| Err(panicked())) {
            Ok(outcomes) => numbers.into_iter().zip(outcomes.into_iter().map(Ok)).collect(),
            Err(failed) => {
                self.fail(&failed);
                numbers.into_iter().map(|number| (number, Err(failed.clone()))).collect()
            }
        }
    }

    fn commit(
        &mut self,
        numbers: &[u64],
        intents: Vec<Intent>,
        tell: &dyn Fn(Input) -> bool,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut plan: Plan = {
            let sums = self.sums.read().unwrap_or_else(PoisonError::into_inner);
            let snapshot = self.store.snapshot()?;
            self.ledger.plan(&*snapshot, &sums, intents)?
        };
        let made = plan.take_made(numbers);
        if !made.is_empty() {
            self.ledger.promise(&plan);
            // that nobody listens is seen when it is written
            let _ = tell(Input::Planned(made));
        }
        if !plan.writes.is_empty() {
            self.store.write(&plan.writes)?;
            self.changes.count(&plan.writes);
        }
        let mut sums = self.sums.write().unwrap_or_else(PoisonError::into_inner);
        self.ledger.done(&plan, &mut sums);
        Ok(plan.outcomes)
    }

    fn fail(&mut self, failed: &StoreError) {
        error!(error = %failed, "the store fails: changes are refused until it works again");
        *self.lock() = Some(failed.clone());
        self.tried = Instant::now();
        // so that what is there can at least be read
        if let Err(error) = self.reopen() {
            error!(%error, "the store cannot be opened again yet");
        }
    }

    /// Whether a store that failed works again.
    fn try_again(&mut self) {
        if self.lock().is_none() || self.tried.elapsed() < RETRY {
            return;
        }
        self.tried = Instant::now();
        let works = catch_unwind(AssertUnwindSafe(|| self.probe()));
        match works.unwrap_or_else(|_| Err(panicked())) {
            Ok(()) => {
                *self.lock() = None;
                info!("the store works again");
            }
            Err(error) => {
                *self.lock() = Some(error);
                let _ = self.reopen();
            }
        }
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        self.reopen()?;
        self.store.write(&[Write::Put(PROBE_KEY.to_vec(), vec![0; PROBE_BYTES])])?;
        self.store.write(&[Write::Delete(PROBE_KEY.to_vec())])
    }

    /// Nobody knows whether the last commit was made: all is read anew.
    fn reopen(&mut self) -> Result<(), StoreError> {
        self.store.reopen()?;
        self.changes.count_all();
        let sums = self.ledger.read_again(&*self.store.snapshot()?)?;
        *self.sums.write().unwrap_or_else(PoisonError::into_inner) = sums;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<StoreError>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn panicked() -> StoreError {
    StoreError { place: "engine".into(), reason: "it found its own pages to make no sense".into() }
}

/// The bytes of what is wanted, about.
fn size_of(intent: &Intent) -> usize {
    match intent {
        Intent::Make { changes, .. } => changes.iter().map(|change| change.bytes()).sum(),
        Intent::Take(take) => take.rows.iter().map(|(key, row)| key.len() + row.len()).sum(),
        Intent::Restamp { .. } | Intent::Expire { .. } | Intent::Note(_) => 0,
    }
}
