//! Before a home hands out stored messages it has the rows of all whom it
//! sees: the sides of a split have stored by themselves, and of one sender's
//! messages the latest may be here before the first. It waits no longer than
//! an asker does, and never twice for one that nothing comes of: a node whose
//! disk cannot be read is met by nobody as long as it is there.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cluster::node::NodeId;

/// How long a home waits for the rows of nodes that it has not met, and how
/// often it looks. Mostly it takes a tenth of a second; with both cores busy 400
/// rows were measured to take 1.2 s. Less than the asker's patience.
const TIME_MAX: Duration = Duration::from_millis(2_500);
const PAUSE: Duration = Duration::from_millis(20);

/// Visible nodes that were not met yet, and how much has come of each.
pub(super) type Unmet = BTreeMap<NodeId, u64>;

/// Whom a home need not wait for.
#[derive(Debug, Default)]
pub(super) struct Meeting {
    /// Who was waited for in vain, and how much had come of it by then.
    vain: Mutex<Unmet>,
}

impl Meeting {
    /// Waits until nobody is unmet of whom something may come, or for
    /// [`TIME_MAX`].
    pub(super) async fn meet(&self, unmet: impl Fn() -> Unmet) {
        let until = Instant::now() + TIME_MAX;
        loop {
            let awaited = self.awaited(unmet());
            if awaited.is_empty() {
                return;
            }
            if Instant::now() >= until {
                return self.vain.lock().unwrap_or_else(PoisonError::into_inner).extend(awaited);
            }
            sleep(PAUSE).await;
        }
    }

    /// Those of them that are worth a wait. Whoever is met, or gone, is waited
    /// for again when it is not.
    fn awaited(&self, mut unmet: Unmet) -> Unmet {
        let mut vain = self.vain.lock().unwrap_or_else(PoisonError::into_inner);
        vain.retain(|node, _| unmet.contains_key(node));
        unmet.retain(|node, came| vain.get(node) != Some(came));
        unmet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId { generation: 1, random: 1 };
    const B: NodeId = NodeId { generation: 2, random: 2 };

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_twice_of_whom_nothing_comes() {
        let meeting = Meeting::default();
        let check = async |unmet: &[(NodeId, u64)], expected: Duration, why: &str| {
            let begin = Instant::now();
            meeting.meet(|| unmet.iter().copied().collect()).await;
            let took = begin.elapsed();
            assert!(took >= expected && took <= expected + 2 * PAUSE, "{took:?}: {why}");
        };
        let (none, all) = (Duration::ZERO, TIME_MAX);
        check(&[], none, "all are met").await;
        check(&[(A, 0)], all, "the first time").await;
        check(&[(A, 0)], none, "nothing has come of it").await;
        check(&[(A, 0), (B, 0)], all, "another one").await;
        check(&[(A, 0), (B, 0)], none, "nothing has come of both").await;
        check(&[(A, 0), (B, 7)], all, "rows come").await;
        check(&[(B, 7)], none, "and then no more").await;
        check(&[(A, 0), (B, 7)], all, "it was met, or gone, meanwhile").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_all_are_met() {
        let meeting = Meeting::default();
        let begin = Instant::now();
        let is_met = || begin.elapsed() >= 5 * PAUSE;
        meeting.meet(|| if is_met() { Unmet::new() } else { [(A, 0)].into() }).await;
        assert!(begin.elapsed() <= 6 * PAUSE);
        meeting.meet(Unmet::new).await;
        assert!(meeting.vain.lock().expect("no panic").is_empty());
    }
}
