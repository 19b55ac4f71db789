//! Service discovery (XEP-0030): what the host can do, and what it has; and
//! accounts, for whoever may see their presence.

use std::collections::{BTreeMap, BTreeSet};

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
        // An account tells itself to those only who know it (§8).
        if cx.place == Place::Account && !is_friend(cx, request) {
            return Err(StanzaCondition::ServiceUnavailable.into());
        }
        let answer = match (&*child.ns, cx.place) {
            (DISCO_INFO, Place::Host) => nested(cx, host(cx.extensions), 'h'),
            (DISCO_INFO, Place::Account) => nested(cx, account(cx.extensions), 'a'),
            (_, Place::Host) => items(cx),
            _ => Element::new("query", DISCO_ITEMS),
        };
        Ok(answer.to_bytes(CLIENT).into())
    }
}

fn is_friend(cx: &Cx<'_>, request: &Stanza) -> bool {
    let (Some(from), Some(to)) = (&request.from, &request.to) else { return false };
    cx.rooms.may_see(&to.bare(), from)
}

/// What the host says of itself.
pub fn host(extensions: &[Box<dyn Extension>]) -> Element {
    let info = info("server", "im", extensions, |about| about.host_features);
    extensions.iter().filter_map(|extension| extension.form()).fold(info, Element::child)
}

/// With what components do in our place (XEP-0355 §5). It is not in the text of
/// XEP-0115, which says what the host can do whoever is connected.
fn nested(cx: &Cx<'_>, info: Element, place: char) -> Element {
    let mut lines: BTreeSet<String> = BTreeSet::new();
    cx.rooms.cluster.tables().routes.for_each(|entry| {
        let own = entry.row.nested.lines().filter_map(|line| line.strip_prefix(place));
        lines.extend(own.map(str::to_owned));
    });
    lines.iter().fold(info, |info, line| {
        let one = match line.split_at_checked(1) {
            Some(("f", feature)) => Element::new("feature", DISCO_INFO).attr("var", feature),
            Some(("i", identity)) => {
                let parts = identity.split('\t').zip(["category", "type", "name"]);
                let parts = parts.filter(|(part, _)| !part.is_empty());
                parts.fold(Element::new("identity", DISCO_INFO), |one, (part, name)| {
                    one.attr(name, part)
                })
            }
            _ => return info,
        };
        let is_there = info.elements().any(|other| *other == one);
        if is_there { info } else { info.child(one) }
    })
}

/// What the host has: the components of all nodes, by their names.
fn items(cx: &Cx<'_>) -> Element {
    let mut names: BTreeMap<Box<str>, Box<str>> = BTreeMap::new();
    cx.rooms.cluster.tables().routes.for_each(|entry| {
        let name = names.entry(entry.row.domain).or_default();
        if name.is_empty() {
            *name = entry.row.title;
        }
    });
    names.into_iter().fold(Element::new("query", DISCO_ITEMS), |query, (domain, name)| {
        let item = Element::new("item", DISCO_ITEMS).attr("jid", domain);
        query.child(if name.is_empty() { item } else { item.attr("name", name) })
    })
}

/// What is said of an account.
fn account(extensions: &[Box<dyn Extension>]) -> Element {
    info("account", "registered", extensions, |about| about.account_features)
}

fn info(
    category: &str,
    kind: &str,
    extensions: &[Box<dyn Extension>],
    features: impl Fn(&About) -> &'static [&'static str],
) -> Element {
    let identity = Element::new("identity", DISCO_INFO)
        .attr("category", category)
        .attr("type", kind)
        .attr("name", "Jabiru");
    let features: BTreeSet<&str> =
        extensions.iter().flat_map(|extension| features(&extension.about())).copied().collect();
    features
        .into_iter()
        .fold(Element::new("query", DISCO_INFO).child(identity), |query, feature| {
            query.child(Element::new("feature", DISCO_INFO).attr("var", feature))
        })
}
