//! One thing after the other for each account, and accounts beside each other:
//! what waits for a disk or another node delays only its own account.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// Jobs of one account that may wait. One more is refused, and its sender is
/// told to try again. A guess: more than one client has under way.
const WAITING_MAX: usize = 1_000;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Behind a lock only because a future cannot be shared; the map hands it out
/// alone.
type Waiting = Mutex<VecDeque<Job>>;

/// Jobs, by account.
#[derive(Default)]
pub struct Turns {
    /// An account that is in here has a task that works for it.
    waiting: DashMap<Box<str>, Waiting>,
}

/// Too much waits for this account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").field("accounts", &self.waiting.len()).finish()
    }
}

impl Turns {
    /// Runs a job when all former ones of this account have ended.
    ///
    /// # Errors
    /// [`Full`]; then it never runs.
    pub fn take(
        self: &Arc<Self>,
        account: &str,
        job: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Full> {
        match self.waiting.entry(account.into()) {
            Entry::Occupied(mut waiting) => {
                let waiting = alone(waiting.get_mut());
                if waiting.len() >= WAITING_MAX {
                    return Err(Full);
                }
                waiting.push_back(Box::pin(job));
            }
            Entry::Vacant(free) => {
                free.insert(Mutex::new(VecDeque::from([Box::pin(job) as Job])));
                tokio::spawn(Arc::clone(self).work(account.into()));
            }
        }
        Ok(())
    }

    /// How many accounts have something under way.
    pub fn count(&self) -> usize {
        self.waiting.len()
    }

    async fn work(self: Arc<Self>, account: Box<str>) {
        while let Some(job) = self.next(&account) {
            // in a task of its own: a job that panics must not stop the others
            let _ = tokio::spawn(job).await;
        }
    }

    fn next(&self, account: &str) -> Option<Job> {
        let mut job = None;
        self.waiting.remove_if_mut(account, |_, waiting| {
            job = alone(waiting).pop_front();
            job.is_none()
        });
        job
    }
}

fn alone(waiting: &mut Waiting) -> &mut VecDeque<Job> {
    waiting.get_mut().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn jobs_of_one_account_follow_each_other_and_others_overtake_them() {
        let turns = Arc::<Turns>::default();
        let said = Arc::<Mutex<Vec<u32>>>::default();
        let (go, gone) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<()>();
        let say = |number| {
            let said = Arc::clone(&said);
            async move { said.lock().expect("no panic").push(number) }
        };
        let first = say(1);
        turns
            .take("a", async move {
                gone.await.expect("told");
                first.await
            })
            .expect("room");
        turns.take("a", async { panic!("on purpose") }).expect("room");
        turns.take("a", say(2)).expect("room");
        turns.take("a", async move { end.send(()).expect("heard") }).expect("room");
        let other = say(0);
        turns
            .take("b", async move {
                other.await;
                go.send(()).expect("heard")
            })
            .expect("room");
        ended.await.expect("all have run");
        assert_eq!(*said.lock().expect("no panic"), [0, 1, 2]);
        while !turns.waiting.is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_more_than_may_wait_is_refused() {
        let turns = Arc::<Turns>::default();
        turns.take("a", std::future::pending()).expect("room");
        tokio::task::yield_now().await;
        for _ in 0..WAITING_MAX {
            turns.take("a", async {}).expect("room");
        }
        assert_eq!(turns.take("a", async {}), Err(Full));
        assert_eq!(turns.take("b", async {}), Ok(()));
    }
}
