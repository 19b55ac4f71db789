//! An account goes, with all that belonged to it. It is marked first, on all
//! nodes: from then on nobody has it, and whatever cuts the removal off, it is
//! taken up again, for the mark goes last.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::cluster::durable::change::{Change, ChangeError, Made};
use crate::cluster::durable::{Table, key_of};
use crate::extension::Effect;
use crate::im::subscribing;
use crate::router::Router;
use crate::session_manager::orders::OrderError;
use crate::storage::StoreError;
use crate::xmpp::jid::BareJid;

/// Rows that are removed together: one wait for the other nodes. Their keys
/// fit in one question many times over.
const REMOVED_TOGETHER_MAX: usize = 1_000;

/// How often sessions are looked through. A guess: soon after a split has
/// healed, and a small part of a processor.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

impl Router {
    /// Removes an account at its home, in its turn: whoever knew it is told,
    /// its sessions end, its rows go.
    pub(super) async fn remove(&self, account: &BareJid) -> Result<Made, OrderError> {
        self.rooms.accounts.leave(account).await?;
        let farewell = subscribing::farewell_to_all(&self.rooms, account)
            .map_err(|_| ChangeError::Store("the roster cannot be read".into()))?;
        self.effects(farewell);
        self.effects(vec![Effect::End(account.clone())]);
        self.erase(account).await?;
        let made = self.rooms.accounts.forget(account).await?;
        info!(%account, "account removed");
        Ok(made)
    }

    /// Removes all that belongs to an account that nobody has, but its mark.
    pub(super) async fn erase(&self, account: &BareJid) -> Result<(), OrderError> {
        if self.rooms.accounts.exists(account)? {
            return Err(ChangeError::Exists.into());
        }
        // messages are in somebody's hands besides
        self.rooms.offline.clear(account).await?;
        let mut changes = Vec::new();
        for table in Table::ALL.iter().copied().filter(|table| belongs_to_accounts(*table)) {
            let keys = self.keys(table, account)?;
            changes.extend(keys.into_iter().map(|key| Change::remove(table, key)));
        }
        for some in changes.chunks(REMOVED_TOGETHER_MAX) {
            // whoever was faster may have made it again
            if self.rooms.accounts.exists(account)? {
                return Err(ChangeError::Exists.into());
            }
            self.rooms.durable.change(some.to_vec()).await?;
        }
        Ok(())
    }

    /// The keys of all rows of an account in one table.
    fn keys(&self, table: Table, account: &BareJid) -> Result<Vec<Vec<u8>>, StoreError> {
        let owner = account.as_str();
        let mut keys = Vec::new();
        if self.rooms.durable.get(table, owner.as_bytes())?.is_some() {
            keys.push(owner.as_bytes().to_vec());
        }
        let more = self.rooms.durable.all_of(table, owner)?;
        keys.extend(more.iter().map(|(rest, _)| key_of(owner, rest)));
        Ok(keys)
    }

    /// Has an account that is marked removed in its turn.
    pub(super) fn remove_in_turn(&self, account: BareJid) {
        let Some(router) = self.this.upgrade() else { return };
        let name = account.clone();
        let taken = self.turns.take(name.as_str(), async move {
            match router.remove(&account).await {
                // somebody else was faster
                Ok(_) | Err(OrderError::Change(ChangeError::Missing)) => {}
                Err(error) => warn!(%account, %error, "an account is not removed yet"),
            }
        });
        if taken.is_err() {
            warn!(account = %name, "an account is not removed yet: too much waits for it");
        }
    }

    /// Takes up removals that were cut off, of accounts that are at home here:
    /// when this node starts, and whenever nodes come or go.
    pub fn finish_removals(&self) {
        let Some(router) = self.this.upgrade() else { return };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = router.finish_from_first() {
                warn!(%error, "accounts cannot be looked through");
            }
        });
    }

    /// Ends, for ever and ever, sessions of accounts that may not be used any
    /// more: whoever said so may not have reached this node.
    pub async fn keep_out(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let router = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || {
                let sessions = router.rooms.sessions.all_here();
                let accounts: BTreeSet<BareJid> =
                    sessions.iter().map(|session| session.jid.bare()).collect();
                for account in accounts {
                    if router.rooms.accounts.may_be_used(&account).is_ok_and(|may| !may) {
                        info!(%account, "an account may not be used any more");
                        router.end_here(&account);
                    }
                }
            });
            // one that panicked has been said in the log
            let _ = looked.await;
        }
    }

    fn finish_from_first(&self) -> Result<(), StoreError> {
        let mut from = String::new();
        loop {
            let (leaving, next) = self.rooms.accounts.leaving(&from)?;
            for account in leaving.iter().filter_map(|name| BareJid::parse(name).ok()) {
                let home = self.rooms.cluster.members().home(account.as_str().as_bytes());
                if home == self.me() {
                    self.remove_in_turn(account);
                }
            }
            match next {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }
}

/// Whether rows of a table belong to accounts, and go with them. Written so
/// that whoever adds a table must decide.
fn belongs_to_accounts(table: Table) -> bool {
    match table {
        Table::Roster
        | Table::Subscriptions
        | Table::Offline
        | Table::Private
        | Table::Vcard
        | Table::Blocked
        | Table::Last => true,
        // the mark itself
        Table::Accounts => false,
        Table::Nodes | Table::Settings => false,
    }
}
