//! Service discovery (XEP-0030): what the host can do, and what it has.

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::extension::{About, Answer, Cx, Extension, Place};
use crate::xml::element::Element;
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::{CLIENT, DISCO_INFO, DISCO_ITEMS};
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Disco;

#[async_trait]
impl Extension for Disco {
    fn about(&self) -> About {
        About {
            specification: "XEP-0030: Service Discovery",
            host_features: &[DISCO_INFO, DISCO_ITEMS],
            account_features: &[DISCO_INFO, DISCO_ITEMS],
            requests: &[DISCO_INFO, DISCO_ITEMS],
            ..About::default()
        }
    }

    async fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Answer {
        let is_query = request.kind == Kind::Iq(IqType::Get) && &*child.name == "query";
        let query = Element::parse(&request.payload, CLIENT).ok().filter(|_| is_query);
        let query = query.ok_or(StanzaCondition::BadRequest)?;
        if let Some(node) = query.attribute("node").filter(|node| !node.is_empty()) {
            let extensions = cx.extensions.iter();
            let mut told =
                extensions.filter_map(|extension| extension.node(cx, request, &child.ns, node));
            return told.next().unwrap_or(Err(StanzaCondition::ItemNotFound.into()));
        }
        // An account tells itself to its own clients only.
        if cx.place == Place::Account && !cx.is_own(request) {
            return Err(StanzaCondition::ServiceUnavailable.into());
        }
        let answer = match &*child.ns {
            DISCO_INFO => info(cx),
            _ => Element::new("query", DISCO_ITEMS),
        };
        Ok(answer.to_bytes(CLIENT).into())
    }
}

fn info(cx: &Cx<'_>) -> Element {
    let (category, kind) = match cx.place {
        Place::Host => ("server", "im"),
        Place::Account => ("account", "registered"),
    };
    let identity = Element::new("identity", DISCO_INFO)
        .attr("category", category)
        .attr("type", kind)
        .attr("name", "Jabiru");
    let about = cx.extensions.iter().map(|extension| extension.about());
    let features: BTreeSet<&str> = about
        .flat_map(|about| match cx.place {
            Place::Host => about.host_features,
            Place::Account => about.account_features,
        })
        .copied()
        .collect();
    features
        .into_iter()
        .fold(Element::new("query", DISCO_INFO).child(identity), |query, feature| {
            query.child(Element::new("feature", DISCO_INFO).attr("var", feature))
        })
}
