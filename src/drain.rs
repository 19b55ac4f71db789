//! One signal, many watchers: the process wants to end.
//!
//! It does not end anything itself: each watcher finishes its own work and
//! then lets go of its [`Drain`], which is how the [`Trigger`] knows.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// Held by whoever may end the process.
#[derive(Debug)]
pub struct Trigger {
    signal: watch::Sender<bool>,
    /// Yields `None` when the last watcher has let go.
    gone: mpsc::Receiver<()>,
}

/// Held by everything that has to finish something first.
#[derive(Debug, Clone)]
pub struct Drain {
    signal: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

/// Whether all watchers finished in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every watcher let go.
    All,
    /// The deadline passed first.
    Late,
}

/// A fresh signal with its first watcher; clone the watcher as needed.
pub fn signal() -> (Trigger, Drain) {
    let (sender, receiver) = watch::channel(false);
    let (alive, gone) = mpsc::channel(1);
    (Trigger { signal: sender, gone }, Drain { signal: receiver, _alive: alive })
}

impl Trigger {
    /// Tells all watchers, and waits until they let go or `deadline` is over.
    pub async fn drain(mut self, deadline: Duration) -> Drained {
        self.signal.send_replace(true);
        match tokio::time::timeout(deadline, self.gone.recv()).await {
            Ok(_) => Drained::All,
            Err(_) => Drained::Late,
        }
    }
}

impl Drain {
    /// Waits for the signal. Also returns when the trigger was dropped, since
    /// then nobody is left who could give it.
    pub async fn started(&mut self) {
        // The error says that the trigger is gone, which means the same.
        let _ = self.signal.wait_for(|draining| *draining).await;
    }

    /// Whether the signal was given.
    pub fn is_draining(&self) -> bool {
        *self.signal.borrow() || self.signal.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_trigger_waits_for_the_last_watcher() {
        let (trigger, drain) = signal();
        let mut second = drain.clone();
        let watcher = tokio::spawn(async move { second.started().await });
        drop(drain);
        assert_eq!(trigger.drain(Duration::from_secs(60)).await, Drained::All);
        watcher.await.expect("the watcher ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_that_never_ends_is_late() {
        let (trigger, drain) = signal();
        assert_eq!(trigger.drain(Duration::from_secs(1)).await, Drained::Late);
        assert!(drain.is_draining());
    }
}
