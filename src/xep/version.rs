//! Software version (XEP-0092). The operating system is nobody's business.

use xmpp_parsers::version::VersionResult;

use crate::extension::{About, Answer, Cx, Extension, Place};
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::VERSION;
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Version;

impl Extension for Version {
    fn about(&self) -> About {
        About {
            specification: "XEP-0092: Software Version",
            host_features: &[VERSION],
            account_features: &[],
        }
    }

    fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Option<Answer> {
        if &*child.ns != VERSION || cx.place != Place::Host {
            return None;
        }
        Some(match request.kind {
            Kind::Iq(IqType::Get) if &*child.name == "query" => Ok(super::payload(VersionResult {
                name: "Jabiru".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                os: None,
            })),
            _ => Err(StanzaCondition::BadRequest.into()),
        })
    }
}
