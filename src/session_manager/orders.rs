//! What shall become of one account: said to its home, which carries it out
//! in the account's turn and answers when all nodes that can be reached have
//! it. How it is carried out is the router's business.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cluster::asks::AskError;
use crate::cluster::durable::change::{ChangeError, Made};
use crate::cluster::handle::Cluster;
use crate::session_manager::contacts::Item;
use crate::session_manager::subscription::State;
use crate::stream::sasl::credentials::Credentials;
use crate::xmpp::jid::BareJid;

/// The topic of our questions.
pub const TOPIC: u8 = 12;

/// How long a home may take: a removal waits for every thousand rows until
/// late nodes are late. Below the patience of `jabiru`.
const ORDER_TIME_MAX: Duration = Duration::from_secs(12);

/// A home that goes is noticed within this.
const PAUSE: Duration = Duration::from_millis(500);
const TRIES_MAX: u32 = 4;

/// What shall be done. Variants are only ever added at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// There shall be such an account, with nothing in it.
    Add(Credentials),
    /// It shall have another password.
    Password(Credentials),
    /// It shall go, with all that belongs to it.
    Remove,
    /// It may not be used any more, for this reason.
    Ban(String),
    /// It may be used again.
    Unban,
    /// A contact shall be in its roster.
    Contact {
        /// Whom.
        jid: BareJid,
        /// What it is called; `None`: as it is.
        item: Option<Item>,
        /// Who sees whom; `None`: as it is.
        state: Option<State>,
    },
    /// A contact shall leave its roster.
    ContactRemove(BareJid),
    /// What waits for it shall be thrown away.
    OfflineClear,
    /// This is its vCard: the whole element. Empty: it has none.
    Vcard(Bytes),
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// On how many nodes.
    pub made: Made,
    /// How many things were changed, where somebody wants to know.
    pub count: u64,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum OrderError {
    /// There is such an account already, or there is none, or the store
    /// failed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// There is no such account.
    #[error("there is no such account")]
    NoAccount,
    /// Its domain is not ours.
    #[error("its domain is not served here")]
    Foreign,
    /// There is no such contact.
    #[error("there is no such contact")]
    NoContact,
    /// The roster is full.
    #[error("the roster is full")]
    Full,
    /// Nobody can be a contact of itself.
    #[error("nobody is a contact of itself")]
    Oneself,
    /// Its home did not answer in time.
    #[error("the node that keeps it did not answer: it may have been done; say it once more")]
    Silent,
}

impl From<crate::storage::StoreError> for OrderError {
    fn from(error: crate::storage::StoreError) -> Self {
        Self::Change(error.into())
    }
}

impl From<Made> for Carried {
    fn from(made: Made) -> Self {
        Self { made, count: 1 }
    }
}

/// What a home answers.
pub type Answer = Result<Carried, OrderError>;

/// Has the account's home carry something out.
///
/// # Errors
/// [`OrderError`]. An order whose home died meanwhile is given once more:
/// then an account that was just added is said to exist.
pub async fn give(cluster: &Arc<Cluster>, account: &BareJid, order: &Order) -> Answer {
    let body = postcard::to_stdvec(&(account, order)).expect("an order can be written");
    let body = Bytes::from(body);
    for _ in 0..TRIES_MAX {
        let home = cluster.members().home(account.as_str().as_bytes());
        match cluster.ask(home, TOPIC, body.clone(), ORDER_TIME_MAX).await {
            Ok(answer) => {
                return postcard::from_bytes(&answer).unwrap_or(Err(OrderError::Silent));
            }
            Err(AskError::Unreachable) => tokio::time::sleep(PAUSE).await,
            Err(AskError::Late | AskError::TooLong) => break,
        }
    }
    Err(OrderError::Silent)
}

/// Who is meant, and what shall be done; `None`: of a newer version.
pub fn read(body: &[u8]) -> Option<(BareJid, Order)> {
    postcard::from_bytes(body).ok()
}
