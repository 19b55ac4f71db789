//! Private XML storage (XEP-0049): what clients keep here for themselves, as it
//! came; bookmarks of old clients among it.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;

use crate::cluster::durable::change::Change;
use crate::cluster::durable::{Table, key_of};
use crate::extension::{About, Answer, Cx, Extension, Reply};
use crate::xml::element::Element;
use crate::xml::head::{Ns, Raw};
use crate::xml::pieces::pieces;
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::jid::BareJid;
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::{CLIENT, PRIVATE};
use crate::xmpp::stanza::{ChildName, Stanza};

/// Bytes of a name with its namespace. A guess, above what clients use, and
/// far below what a key of the store may have.
const NAME_BYTES_MAX: usize = 1_023;

/// The extension.
#[derive(Debug)]
pub struct Private {
    /// Bytes of all elements of one account.
    pub bytes_max: usize,
    /// Elements of one account.
    pub elements_max: usize,
}

#[async_trait]
impl Extension for Private {
    fn about(&self) -> About {
        About {
            specification: "XEP-0049: Private XML Storage",
            host_features: &[PRIVATE],
            account_features: &[PRIVATE],
            requests: &[PRIVATE],
            ..About::default()
        }
    }

    async fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Answer {
        let account = cx.own_account(request)?;
        if &*child.name != "query" {
            return Err(StanzaCondition::BadRequest.into());
        }
        let query = super::child_of(request)?;
        let elements = pieces(&query.content()).map_err(|_| StanzaCondition::BadRequest)?;
        match request.kind {
            Kind::Iq(IqType::Set) => self.set(cx, &account, &elements).await,
            _ => get(cx, &account, &elements),
        }
    }
}

impl Private {
    /// All of the elements, or none.
    async fn set(&self, cx: &Cx<'_>, account: &BareJid, elements: &[Raw]) -> Answer {
        if elements.is_empty() {
            return Err(StanzaCondition::NotAcceptable.into());
        }
        let mut kept: BTreeMap<Vec<u8>, usize> = cx
            .rooms
            .durable
            .all_of(Table::Private, account.as_str())?
            .into_iter()
            .map(|(name, element)| (name, element.len()))
            .collect();
        let mut changes = Vec::new();
        let mut names = BTreeSet::new();
        for element in elements {
            let name = name(element)?;
            if !names.insert(name.clone()) {
                // which of the two should be kept?
                return Err(StanzaCondition::BadRequest.into());
            }
            let key = key_of(account.as_str(), &name);
            if says_nothing(element) {
                kept.remove(&name);
                changes.push(Change::remove(Table::Private, key));
            } else {
                kept.insert(name, element.bytes.len());
                changes.push(Change::put(Table::Private, key, element.bytes.clone()));
            }
        }
        if kept.len() > self.elements_max || kept.values().sum::<usize>() > self.bytes_max {
            return Err(StanzaError::from(StanzaCondition::ResourceConstraint)
                .with_text("more than this server keeps for an account"));
        }
        cx.rooms.durable.change(changes).await?;
        Ok(Reply::default())
    }
}

/// What is kept under the name of the one element; where there is nothing, the
/// element comes back empty.
fn get(cx: &Cx<'_>, account: &BareJid, elements: &[Raw]) -> Answer {
    let [element] = elements else { return Err(StanzaCondition::BadRequest.into()) };
    let key = key_of(account.as_str(), &name(element)?);
    let kept = cx.rooms.durable.get(Table::Private, &key)?;
    let kept =
        kept.unwrap_or_else(|| Element::new(element.name(), &element.ns(CLIENT)).to_bytes(PRIVATE));
    let open = format!("<query xmlns='{PRIVATE}'>");
    Ok(Bytes::from([open.as_bytes(), &kept, b"</query>"].concat()).into())
}

/// The name under which an element is kept: its namespace and its own. It must
/// have a namespace of its own.
fn name(element: &Raw) -> Result<Vec<u8>, StanzaError> {
    let ns = element.ns(CLIENT);
    let is_own = matches!(element.head.ns, Ns::Declared(_)) && ns != PRIVATE;
    let name = [ns.as_bytes(), &[0], element.name().as_bytes()].concat();
    match is_own && name.len() <= NAME_BYTES_MAX {
        true => Ok(name),
        false => Err(StanzaCondition::NotAcceptable.into()),
    }
}

/// Whether it is as empty as what comes back where nothing is kept.
fn says_nothing(element: &Raw) -> bool {
    element.content().is_empty() && element.attributes().all(|(name, _)| name.starts_with("xmlns"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(element: &'static str, expected: Option<&str>) {
        let pieces = pieces(&Bytes::from_static(element.as_bytes())).expect("an element");
        let name = name(&pieces[0]).ok();
        let name = name.map(|name| String::from_utf8(name).expect("text").replace('\0', " "));
        assert_eq!(name.as_deref(), expected, "{element}");
    }

    #[test]
    fn an_element_is_kept_under_its_own_namespace() {
        check("<storage xmlns='storage:bookmarks'/>", Some("storage:bookmarks storage"));
        check("<s:storage xmlns:s='storage:bookmarks'/>", Some("storage:bookmarks storage"));
        check("<storage/>", None);
        check("<storage xmlns='jabber:iq:private'/>", None);
        check("<xml:storage/>", None);
    }

    #[test]
    fn only_what_says_nothing_is_not_kept() {
        let says = |text: &'static str| {
            let pieces = pieces(&Bytes::from_static(text.as_bytes())).expect("an element");
            !says_nothing(&pieces[0])
        };
        assert!(!says("<a xmlns='u'/>") && !says("<p:a xmlns:p='u'></p:a>"));
        assert!(says("<a xmlns='u' b='1'/>") && says("<a xmlns='u'> </a>"));
        assert!(says("<a xmlns='u'><b/></a>"));
    }
}
