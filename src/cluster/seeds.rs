//! Where other nodes may be: the seeds are looked up and greeted again and
//! again, and an operator is told why none of them answers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{error, warn};

use crate::cluster::driver::Driver;
use crate::cluster::gossip::Gossip;
use crate::cluster::handshake::Stranger;
use crate::cluster::mesh;
use crate::cluster::news::Dialed;
use crate::cluster::notice::Notice;
use crate::cluster::proof::Wish;

/// Between two rounds while we are alone, and in company. Guesses.
const ALONE_PAUSE: Duration = Duration::from_millis(300);
const COMPANY_PAUSE: Duration = Duration::from_secs(5);

/// Alone for so many rounds, it is time to find out why.
const PATIENCE_ROUNDS: u32 = 10;

/// How long a lookup or a connection to a seed may take.
const TRY_TIME_MAX: Duration = Duration::from_secs(2);

/// Where to look: what the configuration and an operator have said.
#[derive(Debug, Default)]
pub struct Seeds {
    list: Mutex<Vec<String>>,
    more: Notify,
}

impl Seeds {
    /// These.
    pub(super) fn new(list: Vec<String>) -> Self {
        Self { list: Mutex::new(list), more: Notify::new() }
    }

    /// They are looked at now.
    pub(super) fn look_again(&self) {
        self.more.notify_one();
    }

    /// One more; it is looked at now.
    pub(super) fn add(&self, seed: &str) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if !list.iter().any(|one| one == seed) {
            list.push(seed.to_owned());
        }
        self.more.notify_one();
    }

    pub(super) fn list(&self) -> Vec<String> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Greets all seeds for ever.
pub(super) async fn look(driver: &Arc<Driver>, gossip: &Gossip) {
    let cluster = &driver.cluster;
    let mut rounds_alone = 0u32;
    let mut notice = Notice::default();
    loop {
        let seeds = cluster.seeds.list();
        let addresses = look_up(&seeds).await;
        let ours = cluster.address();
        let is_own_only = !addresses.is_empty() && addresses.iter().all(|one| *one == ours);
        let others: Vec<_> = addresses.into_iter().filter(|one| *one != ours).collect();
        for address in &others {
            gossip.greet(*address);
        }
        let is_alone = cluster.members().count() == 1;
        rounds_alone = if is_alone { rounds_alone.saturating_add(1) } else { 0 };
        if rounds_alone >= PATIENCE_ROUNDS && !seeds.is_empty() && !is_own_only {
            rounds_alone = 0;
            if let Some(reasons) = find_out(driver, &seeds, &others).await
                && notice.say().is_some()
            {
                warn!(?reasons, "no seed answers: this node serves alone and keeps trying");
            }
        }
        let pause = if is_alone { ALONE_PAUSE } else { COMPANY_PAUSE };
        // over means: look again
        let _ = timeout(pause, cluster.seeds.more.notified()).await;
    }
}

/// All addresses of all seeds, as they are now.
pub(super) async fn look_up(seeds: &[String]) -> BTreeSet<SocketAddr> {
    let mut addresses = BTreeSet::new();
    for seed in seeds {
        if let Ok(Ok(found)) = timeout(TRY_TIME_MAX, lookup_host(seed.as_str())).await {
            addresses.extend(found);
        }
    }
    addresses
}

/// Why no seed answers in gossip; `None` if one can be reached by the mesh.
async fn find_out(
    driver: &Arc<Driver>,
    seeds: &[String],
    addresses: &[SocketAddr],
) -> Option<Vec<String>> {
    if addresses.is_empty() {
        return Some(vec![format!("{}: no address", seeds.join(", "))]);
    }
    let mut reasons = Vec::new();
    for address in addresses {
        let tcp = match timeout(TRY_TIME_MAX, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(error)) => {
                reasons.push(format!("{address}: {error}"));
                continue;
            }
            Err(_) => {
                reasons.push(format!("{address}: no answer"));
                continue;
            }
        };
        match driver.greeter.dial(tcp, Wish::Link).await {
            Ok(greeted) => {
                mesh::run(driver, greeted, Dialed::Ours, Some(*address)).await;
                return None;
            }
            Err(stranger @ (Stranger::Refused | Stranger::Cookie)) => {
                error!(%address, "a seed does not have our cookie: all nodes need the same");
                reasons.push(format!("{address}: {stranger}"));
            }
            Err(Stranger::Turned(verdict)) => {
                driver.turned(verdict);
                reasons.push(format!("{address}: {verdict}"));
            }
            Err(stranger) => reasons.push(format!("{address}: {stranger}")),
        }
    }
    Some(reasons)
}
