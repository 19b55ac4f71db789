//! When an account was last there, and what it said when it went (XEP-0012):
//! the durable table `last`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::cluster::durable::change::{Change, ChangeError, Made};
use crate::cluster::durable::{Durable, Table};
use crate::storage::StoreError;
use crate::xmpp::jid::BareJid;

/// Bytes of the words that are kept. A guess: longer than people write there.
const STATUS_BYTES_MAX: usize = 1_023;

/// The last activities of all accounts.
#[derive(Debug)]
pub struct LastSeen {
    durable: Arc<Durable>,
}

/// When somebody went. Fields are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Went {
    /// Seconds since 1970.
    seconds: u64,
    /// The words of its last unavailable presence; empty where it said none.
    pub status: String,
}

impl Went {
    /// Now, with these words. Too many words are none.
    pub fn now(status: Option<String>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let status = status.filter(|status| status.len() <= STATUS_BYTES_MAX).unwrap_or_default();
        Self { seconds: now.as_secs(), status }
    }

    /// At this second.
    #[cfg(test)]
    pub(super) fn at(seconds: u64, status: &str) -> Self {
        Self { seconds, status: status.into() }
    }

    /// The time of day.
    pub fn when(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.seconds)).unwrap_or(UNIX_EPOCH)
    }
}

impl LastSeen {
    /// The activities in these tables.
    pub fn new(durable: Arc<Durable>) -> Self {
        Self { durable }
    }

    /// When the account went last; nothing where it was never here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, account: &BareJid) -> Result<Option<Went>, StoreError> {
        let stored = self.durable.get(Table::Last, account.as_str().as_bytes())?;
        // one that cannot be read is one that nobody knows
        Ok(stored.and_then(|stored| postcard::from_bytes(&stored).ok()))
    }

    /// The account has gone.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn note(&self, account: &BareJid, went: &Went) -> Result<Made, ChangeError> {
        let value = postcard::to_stdvec(went).expect("it has only fields that postcard knows");
        self.durable.change([Change::put(Table::Last, account.as_str(), value)]).await
    }
}
