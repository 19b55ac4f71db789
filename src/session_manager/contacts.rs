//! Whom an account knows: its roster, and who sees whom, as rows of two
//! durable tables. What a request does to them is in `subscription`.
//!
//! Two tables, so that two sides of a split who change a name here and a
//! subscription there lose neither.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cluster::durable::change::{Change, ChangeError, Made};
use crate::cluster::durable::{Durable, Table, key_of};
use crate::session_manager::subscription::State;
use crate::storage::StoreError;
use crate::xmpp::jid::BareJid;

/// The rosters and subscriptions of all accounts.
#[derive(Debug)]
pub struct Contacts {
    durable: Arc<Durable>,
}

/// What an account calls a contact (RFC 6121 §2.1.2). Fields are only ever
/// added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Item {
    /// Its name; empty where there is none.
    pub name: String,
    /// Its groups.
    pub groups: BTreeSet<String>,
}

/// How an account stands to a contact. Fields are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Who sees whom, and who has asked.
    pub state: State,
    /// The contact may see us as soon as it asks (RFC 6121 §3.4).
    pub is_approved: bool,
    /// The contact's request as it came, until it is answered.
    pub request: Option<Bytes>,
}

/// One contact of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Whom.
    pub jid: BareJid,
    /// What it is called; `None`: it is not in the roster.
    pub item: Option<Item>,
    /// How we stand to it.
    pub standing: Standing,
}

impl Contact {
    /// Somebody whom nothing is known of.
    pub fn stranger(jid: BareJid) -> Self {
        Self { jid, item: None, standing: Standing::default() }
    }

    /// Whether it sees our presence.
    pub fn sees_us(&self) -> bool {
        self.standing.state.shows_us()
    }

    /// Whether we see its presence.
    pub fn is_seen(&self) -> bool {
        self.standing.state.shows_them()
    }
}

impl Contacts {
    /// The contacts in these tables.
    pub fn new(durable: Arc<Durable>) -> Self {
        Self { durable }
    }

    /// All contacts of an account, in the order of their addresses.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn all(&self, account: &BareJid) -> Result<Vec<Contact>, StoreError> {
        let mut all = BTreeMap::new();
        let named = self.durable.all_of(Table::Roster, account.as_str())?;
        let standing = self.durable.all_of(Table::Subscriptions, account.as_str())?;
        for (key, value) in named {
            if let Some(contact) = entry(&mut all, key) {
                contact.item = Some(read(&value)?);
            }
        }
        for (key, value) in standing {
            if let Some(contact) = entry(&mut all, key) {
                contact.standing = read(&value)?;
            }
        }
        Ok(all.into_values().collect())
    }

    /// One contact of an account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn one(&self, account: &BareJid, contact: &BareJid) -> Result<Contact, StoreError> {
        let key = key(account, contact);
        let item = self.durable.get(Table::Roster, &key)?;
        let standing = self.durable.get(Table::Subscriptions, &key)?;
        Ok(Contact {
            jid: contact.clone(),
            item: item.as_deref().map(read).transpose()?,
            standing: standing.as_deref().map(read).transpose()?.unwrap_or_default(),
        })
    }

    /// Makes a contact what `after` says. To be called at the account's home,
    /// in its turn.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn save(
        &self,
        account: &BareJid,
        before: &Contact,
        after: &Contact,
    ) -> Result<Made, ChangeError> {
        let key = key(account, &after.jid);
        let mut changes = Vec::new();
        if before.item != after.item {
            changes.push(match &after.item {
                Some(item) => Change::put(Table::Roster, key.clone(), written(item)),
                None => Change::remove(Table::Roster, key.clone()),
            });
        }
        if before.standing != after.standing {
            changes.push(match after.standing == Standing::default() {
                false => Change::put(Table::Subscriptions, key, written(&after.standing)),
                true => Change::remove(Table::Subscriptions, key),
            });
        }
        self.durable.change(changes).await
    }
}

fn entry(all: &mut BTreeMap<Vec<u8>, Contact>, key: Vec<u8>) -> Option<&mut Contact> {
    let jid = std::str::from_utf8(&key).ok().and_then(|text| BareJid::parse(text).ok())?;
    Some(all.entry(key).or_insert_with(|| Contact::stranger(jid)))
}

fn key(account: &BareJid, contact: &BareJid) -> Vec<u8> {
    key_of(account.as_str(), contact.as_str().as_bytes())
}

fn written(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("it has only fields that postcard knows")
}

fn read<'a, T: Deserialize<'a>>(value: &'a (impl AsRef<[u8]> + ?Sized)) -> Result<T, StoreError> {
    postcard::from_bytes(value.as_ref()).map_err(|_| StoreError {
        place: "contacts".into(),
        reason: "a contact cannot be read".into(),
    })
}
