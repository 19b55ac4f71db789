//! vcard-temp (XEP-0054): what a person says of itself, for everybody. It is
//! kept as it came. The hash of its photo in presence (XEP-0153) is the
//! clients' own business.

use async_trait::async_trait;

use crate::cluster::durable::Table;
use crate::cluster::durable::change::Change;
use crate::extension::{About, Answer, Cx, Extension, Place, Reply};
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::jid::BareJid;
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::VCARD;
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Vcard {
    /// Bytes of one vCard.
    pub bytes_max: usize,
}

#[async_trait]
impl Extension for Vcard {
    fn about(&self) -> About {
        About {
            specification: "XEP-0054: vcard-temp",
            host_features: &[VCARD],
            account_features: &[VCARD],
            requests: &[VCARD],
            ..About::default()
        }
    }

    async fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Answer {
        if &*child.name != "vCard" {
            return Err(StanzaCondition::BadRequest.into());
        }
        match (request.kind, cx.place) {
            (Kind::Iq(IqType::Set), _) => self.set(cx, request).await,
            (_, Place::Host) => {
                Ok(format!("<vCard xmlns='{VCARD}'><FN>Jabiru</FN></vCard>").into())
            }
            (_, Place::Account) => get(cx, request),
        }
    }
}

impl Vcard {
    async fn set(&self, cx: &Cx<'_>, request: &Stanza) -> Answer {
        let account = cx.own_account(request)?;
        let vcard = super::child_of(request)?;
        if vcard.bytes.len() > self.bytes_max {
            return Err(StanzaError::from(StanzaCondition::NotAcceptable)
                .with_text("this vCard is larger than this server keeps"));
        }
        let is_empty = vcard.head.children == 0;
        let change = match is_empty {
            true => Change::remove(Table::Vcard, key(&account)),
            false => Change::put(Table::Vcard, key(&account), vcard.bytes),
        };
        cx.rooms.durable.change([change]).await?;
        Ok(Reply::default())
    }
}

/// Where there is none it is empty (XEP-0054 §3.1); strangers do not learn by it
/// who has an account (RFC 6121 §8.5.1).
fn get(cx: &Cx<'_>, request: &Stanza) -> Answer {
    let (Some(from), Some(to)) = (&request.from, &request.to) else {
        return Err(StanzaCondition::BadRequest.into());
    };
    let account = to.bare();
    match cx.rooms.durable.get(Table::Vcard, &key(&account))? {
        Some(vcard) => Ok(vcard.into()),
        None if cx.rooms.may_see(&account, from) => Ok(format!("<vCard xmlns='{VCARD}'/>").into()),
        None => Err(StanzaCondition::ServiceUnavailable.into()),
    }
}

fn key(account: &BareJid) -> Vec<u8> {
    account.as_str().into()
}
