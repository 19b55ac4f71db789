//! Who may log in: the durable table `accounts`, and nothing of a password
//! but its salted keys.

use std::sync::Arc;

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

/// A stored account. Fields are only ever added at the end.
#[derive(Serialize, Deserialize)]
struct Stored {
    credentials: Credentials,
}

/// Why an account was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The password cannot be one.
    #[error(transparent)]
    Password(#[from] NoPassword),
    /// There is such an account, or there is none, or the store failed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The kernel gives no random bytes.
    #[error("no random bytes for a salt")]
    Random,
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
        Ok(self.durable.get(Table::Accounts, key(account))?.is_some())
    }

    /// What is needed to check a password.
    ///
    /// # Errors
    /// [`StoreError`]: it is not known whether there is such an account.
    pub fn credentials(&self, account: &BareJid) -> Result<Option<Credentials>, StoreError> {
        let Some(stored) = self.durable.get(Table::Accounts, key(account))? else {
            return Ok(None);
        };
        let unreadable = |_| StoreError {
            place: "accounts".into(),
            reason: format!("the account {account} cannot be read").into(),
        };
        let stored: Stored = postcard::from_bytes(&stored).map_err(unreadable)?;
        Ok(Some(stored.credentials))
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn add(&self, account: &BareJid, password: &str) -> Result<Made, AccountError> {
        self.put(account, password, Expect::Absent).await
    }

    /// Gives an account another password.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn set_password(
        &self,
        account: &BareJid,
        password: &str,
    ) -> Result<Made, AccountError> {
        self.put(account, password, Expect::Present).await
    }

    /// Removes an account.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn remove(&self, account: &BareJid) -> Result<Made, AccountError> {
        let removed = self
            .durable
            .change([Change::remove(Table::Accounts, key(account)).expect(Expect::Present)]);
        Ok(removed.await?)
    }

    /// All accounts from `from` on, in their order; and where to go on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, from: &str) -> Result<(Vec<String>, Option<String>), StoreError> {
        let (rows, next) = self.durable.scan(Table::Accounts, from.as_bytes(), LIST_ROWS)?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
        let accounts = rows.into_iter().filter_map(|(key, _)| text(key)).collect();
        Ok((accounts, next.and_then(text)))
    }

    async fn put(
        &self,
        account: &BareJid,
        password: &str,
        expect: Expect,
    ) -> Result<Made, AccountError> {
        let mut salt = [0; SALT_BYTES];
        rand::rngs::OsRng.try_fill_bytes(&mut salt).map_err(|_| AccountError::Random)?;
        let (password, iterations) =
            (zeroize::Zeroizing::new(password.to_owned()), self.iterations);
        // slow on purpose, so not among those who must not wait
        let credentials = tokio::task::spawn_blocking(move || {
            Credentials::from_password(&password, salt, iterations)
        });
        let credentials = credentials.await.map_err(|_| AccountError::Random)??;
        let stored = postcard::to_stdvec(&Stored { credentials })
            .expect("an account has only fields that postcard knows");
        let change = Change::put(Table::Accounts, key(account), stored).expect(expect);
        Ok(self.durable.change([change]).await?)
    }
}

fn key(account: &BareJid) -> &[u8] {
    account.as_str().as_bytes()
}
