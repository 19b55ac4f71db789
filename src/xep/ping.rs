//! Ping (XEP-0199): is anybody there?

use async_trait::async_trait;

use crate::extension::{About, Answer, Cx, Extension, Reply};
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::PING;
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Ping;

#[async_trait]
impl Extension for Ping {
    fn about(&self) -> About {
        About {
            specification: "XEP-0199: Ping",
            host_features: &[PING],
            account_features: &[PING],
            requests: &[PING],
            ..About::default()
        }
    }

    async fn answer(&self, _: &Cx<'_>, request: &Stanza, child: &ChildName) -> Answer {
        match request.kind {
            Kind::Iq(IqType::Get) if &*child.name == "ping" => Ok(Reply::default()),
            _ => Err(StanzaCondition::BadRequest.into()),
        }
    }
}
