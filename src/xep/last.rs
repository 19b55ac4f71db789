//! Last activity (XEP-0012), of the host: since when this node serves.

use async_trait::async_trait;

use crate::extension::{About, Answer, Cx, Extension, Place};
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::LAST;
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Last;

#[async_trait]
impl Extension for Last {
    fn about(&self) -> About {
        About {
            specification: "XEP-0012: Last Activity",
            host_features: &[LAST],
            requests: &[LAST],
            ..About::default()
        }
    }

    async fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Answer {
        if cx.place != Place::Host {
            return Err(StanzaCondition::ServiceUnavailable.into());
        }
        match request.kind {
            Kind::Iq(IqType::Get) if &*child.name == "query" => {
                let seconds = cx.uptime.as_secs();
                Ok(format!("<query xmlns='{LAST}' seconds='{seconds}'/>").into())
            }
            _ => Err(StanzaCondition::BadRequest.into()),
        }
    }
}
