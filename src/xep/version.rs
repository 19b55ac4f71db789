//! Software version (XEP-0092). The operating system is nobody's business.

use xmpp_parsers::version::VersionResult;

use async_trait::async_trait;

use crate::extension::{About, Answer, Cx, Extension, Place};
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::VERSION;
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Version;

#[async_trait]
impl Extension for Version {
    fn about(&self) -> About {
        About {
            specification: "XEP-0092: Software Version",
            host_features: &[VERSION],
            requests: &[VERSION],
            ..About::default()
        }
    }

    async fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Answer {
        if cx.place != Place::Host {
            return Err(StanzaCondition::ServiceUnavailable.into());
        }
        match request.kind {
            Kind::Iq(IqType::Get) if &*child.name == "query" => Ok(super::payload(VersionResult {
                name: "Jabiru".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                os: None,
            })
            .into()),
            _ => Err(StanzaCondition::BadRequest.into()),
        }
    }
}
