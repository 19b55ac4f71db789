//! Who may log in: the durable table `accounts`, and nothing of a password
//! but its salted keys.
//!
//! What changes a row that is there reads it first: it is called at the
//! account's home, in its turn (`orders`).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::TryRngCore;
use serde::{Deserialize, Serialize};

use crate::cluster::durable::change::{Change, ChangeError, Expect, Made};
use crate::cluster::durable::{Durable, Table};
use crate::storage::StoreError;
use crate::stream::sasl::credentials::{Credentials, Iterations, NoPassword, SALT_BYTES};
use crate::xmpp::jid::BareJid;

/// Accounts read at a time by [`Accounts::list`].
const LIST_ROWS: usize = 1_000;

/// The accounts of all our domains.
#[derive(Debug)]
pub struct Accounts {
    durable: Arc<Durable>,
    iterations: Iterations,
}

/// Why and since when an account may not be used. Fields are only ever added
/// at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// What the operator has said; may be empty.
    pub reason: String,
    /// Seconds since 1970.
    since: u64,
}

/// A stored account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    credentials: Credentials,
    more: More,
}

/// What stands behind the credentials, and did not in the first version.
/// Fields are only ever added at the end.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct More {
    ban: Option<Ban>,
    /// It is being removed: nobody has this account any more, but what
    /// belonged to it may still be there.
    is_leaving: bool,
}

/// Some accounts, in their order, and where to go on.
pub type Page<T> = (Vec<T>, Option<String>);

/// Why a password is not taken.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The password cannot be one.
    #[error(transparent)]
    Password(#[from] NoPassword),
    /// The kernel gives no random bytes.
    #[error("no random bytes for a salt")]
    Random,
}

impl Ban {
    /// From now on.
    pub fn now(reason: String) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { reason, since: now.as_secs() }
    }

    /// Since when.
    pub fn since(&self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.since)).unwrap_or(UNIX_EPOCH)
    }
}

impl Row {
    pub(super) fn read(stored: &[u8]) -> Option<Self> {
        let (credentials, rest) = postcard::take_from_bytes(stored).ok()?;
        let more = match rest {
            [] => More::default(),
            rest => postcard::take_from_bytes(rest).ok()?.0,
        };
        Some(Self { credentials, more })
    }

    pub(super) fn written(mut self) -> Vec<u8> {
        // so that nodes that do not know of bans keep them
        self.credentials.is_disabled = self.more.ban.is_some();
        postcard::to_stdvec(&(self.credentials, self.more))
            .expect("an account has only fields that postcard knows")
    }
}

impl Accounts {
    /// The accounts in these tables; new passwords are hashed so often.
    pub fn new(durable: Arc<Durable>, iterations: Iterations) -> Self {
        Self { durable, iterations }
    }

    /// Whether there is such an account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn exists(&self, account: &BareJid) -> Result<bool, StoreError> {
        let Some(stored) = self.durable.get(Table::Accounts, key(account))? else {
            return Ok(false);
        };
        // one that cannot be read is there
        Ok(Row::read(&stored).is_none_or(|row| !row.more.is_leaving))
    }

    /// Whether an account is being removed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_leaving(&self, account: &BareJid) -> Result<bool, StoreError> {
        Ok(self.row(account)?.is_some_and(|row| row.more.is_leaving))
    }

    /// What is needed to check a password.
    ///
    /// # Errors
    /// [`StoreError`]: it is not known whether there is such an account.
    pub fn credentials(&self, account: &BareJid) -> Result<Option<Credentials>, StoreError> {
        let row = self.row(account)?.filter(|row| !row.more.is_leaving);
        Ok(row.map(|row| row.credentials))
    }

    /// Why an account may not be used, if so.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ban(&self, account: &BareJid) -> Result<Option<Ban>, StoreError> {
        Ok(self.row(account)?.and_then(|row| row.more.ban))
    }

    /// Whether somebody may have a session of an account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn may_be_used(&self, account: &BareJid) -> Result<bool, StoreError> {
        let credentials = self.credentials(account)?;
        Ok(credentials.is_some_and(|credentials| !credentials.is_disabled))
    }

    /// The keys of a new password. Slow on purpose, so not done among those
    /// who must not wait.
    ///
    /// # Errors
    /// [`HashError`].
    pub async fn hash(&self, password: &str) -> Result<Credentials, HashError> {
        let mut salt = [0; SALT_BYTES];
        rand::rngs::OsRng.try_fill_bytes(&mut salt).map_err(|_| HashError::Random)?;
        let password = zeroize::Zeroizing::new(password.to_owned());
        let iterations = self.iterations;
        let hashed = tokio::task::spawn_blocking(move || {
            Credentials::from_password(&password, salt, iterations)
        });
        Ok(hashed.await.map_err(|_| HashError::Random)??)
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`ChangeError`]; `Exists` as well where it is being removed.
    pub async fn add(
        &self,
        account: &BareJid,
        credentials: Credentials,
    ) -> Result<Made, ChangeError> {
        let row = Row { credentials, more: More::default() };
        self.put(account, row, Expect::Absent).await
    }

    /// Gives an account another password.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn set_credentials(
        &self,
        account: &BareJid,
        credentials: Credentials,
    ) -> Result<Made, ChangeError> {
        let row = self.present(account)?;
        self.put(account, Row { credentials, ..row }, Expect::Present).await
    }

    /// An account may not be used any more, or may again.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn set_ban(&self, account: &BareJid, ban: Option<Ban>) -> Result<Made, ChangeError> {
        let row = self.present(account)?;
        let more = More { ban, ..row.more };
        self.put(account, Row { more, ..row }, Expect::Present).await
    }

    /// Nobody has this account from now on; what belonged to it may be
    /// removed. Once more changes nothing.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn leave(&self, account: &BareJid) -> Result<Made, ChangeError> {
        let row = self.row(account)?.ok_or(ChangeError::Missing)?;
        let more = More { is_leaving: true, ..row.more };
        self.put(account, Row { more, ..row }, Expect::Present).await
    }

    /// Nothing is left of an account that has gone.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn forget(&self, account: &BareJid) -> Result<Made, ChangeError> {
        let change = Change::remove(Table::Accounts, key(account)).expect(Expect::Present);
        self.durable.change([change]).await
    }

    /// All accounts from `from` on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, from: &str) -> Result<Page<String>, StoreError> {
        let name = |name, row: Option<Row>| {
            let is_there = row.is_none_or(|row| !row.more.is_leaving);
            is_there.then_some(name)
        };
        self.scan(from, name)
    }

    /// As [`Self::list`], those that may not be used.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn banned(&self, from: &str) -> Result<Page<(String, Ban)>, StoreError> {
        self.scan(from, |name, row| Some((name, row?.more.ban?)))
    }

    /// As [`Self::list`], those that are being removed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leaving(&self, from: &str) -> Result<Page<String>, StoreError> {
        self.scan(from, |name, row| row?.more.is_leaving.then_some(name))
    }

    fn scan<T>(
        &self,
        from: &str,
        pick: impl Fn(String, Option<Row>) -> Option<T>,
    ) -> Result<Page<T>, StoreError> {
        let (rows, next) = self.durable.scan(Table::Accounts, from.as_bytes(), LIST_ROWS)?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
        let picked = rows.into_iter().filter_map(|(key, row)| pick(text(key)?, Row::read(&row)));
        Ok((picked.collect(), next.and_then(text)))
    }

    fn row(&self, account: &BareJid) -> Result<Option<Row>, StoreError> {
        let Some(stored) = self.durable.get(Table::Accounts, key(account))? else {
            return Ok(None);
        };
        let unreadable = || StoreError {
            place: "accounts".into(),
            reason: format!("the account {account} cannot be read").into(),
        };
        Row::read(&stored).ok_or_else(unreadable).map(Some)
    }

    fn present(&self, account: &BareJid) -> Result<Row, ChangeError> {
        let row = self.row(account)?.filter(|row| !row.more.is_leaving);
        row.ok_or(ChangeError::Missing)
    }

    async fn put(&self, account: &BareJid, row: Row, expect: Expect) -> Result<Made, ChangeError> {
        let change = Change::put(Table::Accounts, key(account), row.written()).expect(expect);
        self.durable.change([change]).await
    }
}

fn key(account: &BareJid) -> &[u8] {
    account.as_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Row {
        /// One of each kind, for what must not drift.
        pub(crate) fn samples(keys: impl Fn() -> Credentials) -> Vec<(&'static str, Self)> {
            let row = |ban: Option<Ban>, is_leaving| {
                let mut credentials = keys();
                credentials.is_disabled = ban.is_some();
                Self { credentials, more: More { ban, is_leaving } }
            };
            let ban = Ban { reason: "spam".into(), since: 1_790_000_000 };
            vec![
                ("accounts: one", row(None, false)),
                ("accounts: one that is banned", row(Some(ban), false)),
                ("accounts: one that leaves", row(None, true)),
            ]
        }
    }

    fn credentials() -> Credentials {
        let few = Iterations::try_from(4096).expect("allowed");
        Credentials::from_password("x", [7; SALT_BYTES], few).expect("a password")
    }

    #[test]
    fn an_account_of_the_first_version_is_read() {
        #[derive(Serialize, Deserialize)]
        struct First {
            credentials: Credentials,
        }
        let stored = postcard::to_stdvec(&First { credentials: credentials() }).expect("written");
        let row = Row { credentials: credentials(), more: More::default() };
        assert_eq!(Row::read(&stored), Some(row));
        assert_eq!(Row::read(&stored[..stored.len() - 1]), None, "half of it is none");
        // and the first version reads what we write, and keeps a ban
        let more = More { ban: Some(Ban::now("spam".into())), is_leaving: false };
        let written = Row { credentials: credentials(), more }.written();
        let first: First = postcard::from_bytes(&written).expect("it has all that it knows");
        assert!(first.credentials.is_disabled);
    }

    #[test]
    fn what_is_written_is_read() {
        let ban = Some(Ban::now("spam".into()));
        for (ban, is_leaving) in [(None, false), (None, true), (ban.clone(), false), (ban, true)] {
            let is_disabled = ban.is_some();
            let row = Row { credentials: credentials(), more: More { ban, is_leaving } };
            let read = Row::read(&row.written()).expect("readable");
            assert_eq!((read.more.is_leaving, read.more.ban.is_some()), (is_leaving, is_disabled));
            assert_eq!(read.credentials.is_disabled, is_disabled);
        }
    }
}
