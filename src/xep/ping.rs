//! Ping (XEP-0199): is anybody there?

use bytes::Bytes;

use crate::extension::{About, Answer, Cx, Extension};
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::PING;
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Ping;

impl Extension for Ping {
    fn about(&self) -> About {
        About { specification: "XEP-0199: Ping", host_features: &[PING], account_features: &[PING] }
    }

    fn answer(&self, _: &Cx<'_>, request: &Stanza, child: &ChildName) -> Option<Answer> {
        if &*child.ns != PING {
            return None;
        }
        Some(match request.kind {
            Kind::Iq(IqType::Get) if &*child.name == "ping" => Ok(Bytes::new()),
            _ => Err(StanzaCondition::BadRequest.into()),
        })
    }
}
