//! The secret that makes up what accounts that do not exist seem to have: so
//! that nobody learns by a login who has an account, it must be the same on all
//! nodes and for ever.
//!
//! The first node of a cluster that serves writes it into the durable table
//! `settings`, made of the cookie of that moment; it stays when the cookie
//! changes. Where two were written, by nodes that did not see each other, the
//! one that was written first is the secret of all, as soon as they meet.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tracing::{debug, warn};
use zeroize::Zeroizing;

use crate::cluster::durable::change::{Change, ChangeError};
use crate::cluster::durable::{Durable, Table, key_of};
use crate::cluster::joining::joined;
use crate::cluster::keyring::Keyring;
use crate::cluster::members::Member;

/// The name of the setting; behind it in the key are the time of writing and a
/// random number.
const NAME: &str = "made-up accounts";

/// Bytes of the secret.
pub const SECRET_BYTES: usize = 32;

/// Between two tries to write it.
const TRY_INTERVAL: Duration = Duration::from_secs(1);

/// The secret.
pub type Secret = Zeroizing<[u8; SECRET_BYTES]>;

/// What this node knows of it.
#[derive(Debug)]
pub struct MadeUp {
    durable: Arc<Durable>,
    ring: Arc<Keyring>,
    /// What was read, at how many changes of the table.
    read: Mutex<Option<(u64, Option<Secret>)>>,
}

impl MadeUp {
    /// The secret in these tables; while there is none, that of the cookie in
    /// use.
    pub fn new(durable: Arc<Durable>, ring: Arc<Keyring>) -> Self {
        Self { durable, ring, read: Mutex::default() }
    }

    /// The secret of this moment. What cannot be read now is as it was last.
    pub fn secret(&self) -> Secret {
        self.written().unwrap_or_else(|| self.ring.made_up())
    }

    fn written(&self) -> Option<Secret> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        // before the rows are read: what changes meanwhile is read again
        let changes = self.durable.changes(Table::Settings);
        if read.as_ref().is_none_or(|(at, _)| *at != changes) {
            match self.durable.all_of(Table::Settings, NAME) {
                Ok(rows) => *read = Some((changes, first(&rows))),
                Err(error) => warn!(%error, "the secret of made-up accounts cannot be read"),
            }
        }
        read.as_ref().and_then(|(_, secret)| secret.clone())
    }

    /// Writes it, if nobody has, as soon as this node knows what the others
    /// know. Of several nodes the one with the first name does, whatever state the
    /// others are in: all may have begun at once.
    pub async fn keep(self: Arc<Self>) {
        joined(self.durable.cluster()).await;
        loop {
            match self.durable.all_of(Table::Settings, NAME) {
                Ok(rows) if first(&rows).is_some() => return,
                Ok(_) if !self.is_ours() => {}
                Ok(_) => {
                    if let Err(error) = self.write().await {
                        warn!(%error, "the secret of made-up accounts cannot be written");
                    }
                }
                // the store has said so itself
                Err(error) => debug!(%error, "the secret of made-up accounts cannot be read"),
            }
            tokio::time::sleep(TRY_INTERVAL).await;
        }
    }

    /// Whether it is ours to write, and nobody has written what we do not know.
    fn is_ours(&self) -> bool {
        let cluster = self.durable.cluster();
        let (members, me) = (cluster.members(), &cluster.me().name);
        let is_behind =
            |other: &Member| *me < other.node.name && self.durable.has_met(other.node.id);
        members.others().all(is_behind)
    }

    async fn write(&self) -> Result<(), ChangeError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let value = Bytes::copy_from_slice(&*self.ring.made_up());
        let change = Change::put(Table::Settings, key(now, rand::random()), value);
        self.durable.change([change]).await.map(drop)
    }
}

/// The first that was written, whatever the order of their rows' arrival.
fn first(rows: &[(Vec<u8>, Bytes)]) -> Option<Secret> {
    let secret =
        |value: &Bytes| -> Option<Secret> { Some(Zeroizing::new(value.as_ref().try_into().ok()?)) };
    rows.iter().find_map(|(_, value)| secret(value))
}

pub(super) fn key(time: u64, random: u64) -> Vec<u8> {
    key_of(NAME, &[time.to_be_bytes(), random.to_be_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_was_written_is_the_secret() {
        let row = |byte, length| (Vec::new(), Bytes::from(vec![byte; length]));
        assert!(first(&[]).is_none());
        assert_eq!(first(&[row(1, 32), row(2, 32)]).as_deref(), Some(&[1; 32]));
        // what is none is passed over
        assert_eq!(first(&[row(1, 31), row(2, 32)]).as_deref(), Some(&[2; 32]));
        // rows are read in the order of their keys
        assert!(key(1, u64::MAX) < key(2, 0) && key(255, 0) < key(256, 0));
    }
}
