//! Whom an account does not want to hear of (XEP-0191): rows of a durable
//! table, and the lists that were read from it a moment ago.
//!
//! Every stanza asks for two lists, so one that has not changed is not read
//! again. What becomes of a stanza is decided in `xep/blocking`.

use std::collections::HashSet;
use std::sync::Arc;

use dashmap::DashMap;
use tracing::warn;

use crate::cluster::durable::change::{Change, ChangeError};
use crate::cluster::durable::{Durable, Table, key_of};
use crate::storage::StoreError;
use crate::xmpp::jid::{BareJid, Jid};

/// Lists that are remembered, empty ones among them; one more, and all are
/// read again. A guess: some 10 MB.
const KNOWN_MAX: usize = 100_000;

/// Rows that are changed together.
const TOGETHER_MAX: usize = 256;

/// The addresses that one account has blocked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct List(HashSet<Box<str>>);

/// The lists of all accounts.
#[derive(Debug, Default)]
pub struct Blocked {
    /// Each with the count of the table's changes when it was read.
    known: DashMap<Box<str>, (u64, Arc<List>)>,
}

/// What becomes of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// They are blocked from now on.
    Block,
    /// They are not.
    Unblock,
}

impl List {
    /// Whether somebody is blocked: his address, its account, or its domain
    /// (XEP-0191 §3). An account cannot block itself or its own server.
    pub fn covers(&self, account: &str, other: &Jid) -> bool {
        if self.0.is_empty() || is_own(account, other) {
            return false;
        }
        [other.as_str(), other.bare_str(), other.domain()].iter().any(|form| self.0.contains(*form))
    }

    /// Whether this very address is in it.
    pub fn has(&self, address: &Jid) -> bool {
        self.0.contains(address.as_str())
    }

    /// All addresses in it, in their order.
    pub fn addresses(&self) -> Vec<&str> {
        let mut addresses: Vec<&str> = self.0.iter().map(|address| &**address).collect();
        addresses.sort_unstable();
        addresses
    }
}

/// Whether an address is the account itself, or its server.
pub fn is_own(account: &str, other: &Jid) -> bool {
    let domain = account.split_once('@').map_or(account, |(_, domain)| domain);
    other.bare_str() == account || other.as_str() == domain
}

impl Blocked {
    /// The list of an account, as this node has it.
    pub fn of(&self, durable: &Durable, account: &str) -> Arc<List> {
        // before the rows are read: what changes meanwhile is read again
        let changes = durable.changes(Table::Blocked);
        let known = self.known.get(account).map(|known| (known.0, Arc::clone(&known.1)));
        match known {
            Some((read, list)) if read == changes => list,
            known => match read(durable, account) {
                Ok(list) => {
                    let list = Arc::new(list);
                    if self.known.len() >= KNOWN_MAX {
                        self.known.clear();
                    }
                    self.known.insert(account.into(), (changes, Arc::clone(&list)));
                    list
                }
                Err(error) => {
                    warn!(%error, "a block list cannot be read: what was known of it stays");
                    known.map(|(_, list)| list).unwrap_or_default()
                }
            },
        }
    }

    /// Blocks addresses, or no more. To be called at the account's home, in
    /// its turn.
    ///
    /// # Errors
    /// [`ChangeError`]; then some may be changed, and others not.
    pub async fn change(
        &self,
        durable: &Arc<Durable>,
        account: &BareJid,
        addresses: &[Jid],
        wish: Wish,
    ) -> Result<(), ChangeError> {
        let change = |address: &Jid| {
            let key = key_of(account.as_str(), address.as_str().as_bytes());
            match wish {
                Wish::Block => Change::put(Table::Blocked, key, ""),
                Wish::Unblock => Change::remove(Table::Blocked, key),
            }
        };
        for some in addresses.chunks(TOGETHER_MAX) {
            durable.change(some.iter().map(change).collect::<Vec<_>>()).await?;
        }
        Ok(())
    }
}

fn read(durable: &Durable, account: &str) -> Result<List, StoreError> {
    let rows = durable.all_of(Table::Blocked, account)?.into_iter();
    let address = |(key, _)| String::from_utf8(key).ok().map(String::into_boxed_str);
    Ok(List(rows.filter_map(address).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who of these is blocked by `a@b`, whose list this is.
    #[track_caller]
    fn check(list: &str, others: &str, blocked: &str) {
        let list = List(list.split_whitespace().map(Into::into).collect());
        let covered = others
            .split_whitespace()
            .filter(|other| list.covers("a@b", &Jid::parse(other).expect("an address")));
        assert_eq!(covered.collect::<Vec<_>>().join(" "), blocked, "{list:?}");
    }

    #[test]
    fn an_address_blocks_what_is_under_it() {
        let others = "c@d c@d/e c@d/f g@d d d/e h@i a@b a@b/x b";
        check("", others, "");
        check("c@d/e", others, "c@d/e");
        check("c@d", others, "c@d c@d/e c@d/f");
        check("d", others, "c@d c@d/e c@d/f g@d d d/e");
        check("d/e", others, "d/e");
        check("c@d/e h@i", others, "c@d/e h@i");
    }

    #[test]
    fn nobody_blocks_himself_or_his_server() {
        check("b", "a@b a@b/c b c@b c@b/d", "c@b c@b/d");
        check("a@b a@b/c", "a@b a@b/c", "");
    }
}
