//! Last activity (XEP-0012), of the host: since when this node serves.

use crate::extension::{About, Answer, Cx, Extension, Place};
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::LAST;
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Last;

impl Extension for Last {
    fn about(&self) -> About {
        About {
            specification: "XEP-0012: Last Activity",
            host_features: &[LAST],
            account_features: &[],
        }
    }

    fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Option<Answer> {
        if &*child.ns != LAST || cx.place != Place::Host {
            return None;
        }
        Some(match request.kind {
            Kind::Iq(IqType::Get) if &*child.name == "query" => {
                let seconds = cx.uptime.as_secs();
                Ok(format!("<query xmlns='{LAST}' seconds='{seconds}'/>").into())
            }
            _ => Err(StanzaCondition::BadRequest.into()),
        })
    }
}
