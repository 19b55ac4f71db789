//! Making an account on the way in (XEP-0077), as far as its address may.

use std::time::Instant;

use tracing::info;

use crate::cluster::durable::change::ChangeError;
use crate::door::entry::Entry;
use crate::session_manager::accounts::HashError;
use crate::session_manager::orders::{self, Order, OrderError};
use crate::stream::negotiation::registration::{self, Registration};
use crate::xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use crate::xmpp::jid::BareJid;

impl Entry<'_> {
    /// Makes an account for whoever asks.
    pub(super) async fn register(&self, registration: Registration) -> Result<(), StanzaError> {
        let Registration { account, password } = registration;
        let address = self.address.ip();
        if self.door.addresses.register(address, Instant::now()).is_err() {
            info!(%address, "too many accounts were made from one address");
            return Err(registration::too_many());
        }
        let made = self.make(&account, &password).await;
        match &made {
            Ok(()) => info!(%account, %address, "somebody has made an account"),
            Err(_) => self.door.addresses.register_in_vain(address),
        }
        made
    }

    async fn make(&self, account: &BareJid, password: &str) -> Result<(), StanzaError> {
        let credentials = match self.door.accounts.hash(password).await {
            Ok(credentials) => credentials,
            Err(HashError::Password(_)) => return Err(StanzaCondition::NotAcceptable.into()),
            Err(HashError::Random) => return Err(StanzaCondition::InternalServerError.into()),
        };
        match orders::give(&self.door.cluster, account, &Order::Add(credentials)).await {
            Ok(_) => Ok(()),
            Err(OrderError::Change(ChangeError::Exists)) => Err(StanzaCondition::Conflict.into()),
            Err(error) => {
                info!(%account, %error, "an account cannot be made");
                let error = StanzaError::from(StanzaCondition::InternalServerError);
                Err(error.with_type(ErrorType::Wait))
            }
        }
    }
}
