//! Changing one's password and cancelling one's account (XEP-0077 §3.2, §3.3).
//! Making an account comes before all else, in `stream/negotiation`.

pub mod config;

use async_trait::async_trait;
use tracing::info;

use crate::extension::{About, Answer, Cx, Effect, Extension, Place, Reply};
use crate::session_manager::accounts::HashError;
use crate::stream::negotiation::registration::{Rules, Wish, fields};
use crate::xep::register::config::Config;
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::jid::{BareJid, Domain, Jid};
use crate::xmpp::namespaces::REGISTER;
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Register {
    config: Config,
    rules: Rules,
}

impl Register {
    /// With these permissions.
    pub fn new(config: Config) -> Self {
        Self { rules: config.rules(), config }
    }
}

#[async_trait]
impl Extension for Register {
    fn about(&self) -> About {
        About {
            specification: "XEP-0077: In-Band Registration",
            host_features: &[REGISTER],
            requests: &[REGISTER],
            of_sender: &[REGISTER],
            ..About::default()
        }
    }

    async fn answer(&self, cx: &Cx<'_>, request: &Stanza, _: &ChildName) -> Answer {
        let account = match cx.place {
            Place::Account => cx.own_account(request)?,
            Place::Host => of_this_host(request).ok_or(StanzaCondition::NotAllowed)?,
        };
        if !cx.rooms.accounts.exists(&account)? {
            return Err(StanzaCondition::RegistrationRequired.into());
        }
        match Wish::read(request)? {
            Wish::Fields => Ok(fields(account.local()).into()),
            Wish::Remove if !self.config.removal => Err(StanzaCondition::NotAllowed.into()),
            Wish::Remove => {
                cx.rooms.accounts.leave(&account).await?;
                info!(%account, "an account cancels itself");
                Ok(Reply { then: vec![Effect::Remove(account)], ..Reply::default() })
            }
            Wish::Set { .. } if !self.config.password_change => {
                Err(StanzaCondition::NotAllowed.into())
            }
            Wish::Set { username, password } => {
                // somebody else's password is not his to change
                if !is_named(&account, &username) {
                    return Err(StanzaCondition::Forbidden.into());
                }
                self.rules.password(&account, &password)?;
                let hashed = cx.rooms.accounts.hash(&password).await;
                let credentials = hashed.map_err(refusal)?;
                cx.rooms.accounts.set_credentials(&account, credentials).await?;
                info!(%account, "an account has changed its password");
                Ok(Reply::default())
            }
        }
    }
}

/// The account that asks its own server.
fn of_this_host(request: &Stanza) -> Option<BareJid> {
    let (from, to) = (request.from.as_ref()?, request.to.as_ref()?);
    (from.local().is_some() && from.domain() == to.domain()).then(|| Jid::bare(from))
}

fn is_named(account: &BareJid, username: &str) -> bool {
    let domain = Domain::parse(account.domain()).ok();
    let named = domain.and_then(|domain| BareJid::of_account(username, &domain).ok());
    named.as_ref() == Some(account)
}

/// What is said where a password cannot be hashed.
fn refusal(error: HashError) -> StanzaError {
    match error {
        HashError::Password(_) => {
            StanzaError::from(StanzaCondition::NotAcceptable).with_text("this cannot be a password")
        }
        HashError::Random => StanzaCondition::InternalServerError.into(),
    }
}
