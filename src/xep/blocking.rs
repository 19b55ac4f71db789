//! Blocking (XEP-0191): an account neither hears nor reaches whom it has
//! blocked, on any node.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;

use crate::cluster::rows::SessionRow;
use crate::cluster::table::Entry;
use crate::extension::{About, Answer, Asked, Cx, Effect, Extension, Reply, Rooms, Verdict, Watch};
use crate::session_manager::blocked::{Blocked, List, Wish, is_own};
use crate::session_manager::contacts::Contact;
use crate::session_manager::session;
use crate::storage::StoreError;
use crate::xml::element::Element;
use crate::xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use crate::xmpp::jid::{BareJid, Jid};
use crate::xmpp::kind::{IqType, Kind, MessageType, PresenceType};
use crate::xmpp::namespaces::{BLOCKING, BLOCKING_ERRORS, CLIENT};
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Blocking {
    /// The lists.
    pub blocked: Blocked,
    /// Addresses that one account may block.
    pub blocked_max: usize,
}

#[async_trait]
impl Extension for Blocking {
    fn about(&self) -> About {
        About {
            specification: "XEP-0191: Blocking Command",
            host_features: &[BLOCKING],
            account_features: &[BLOCKING],
            requests: &[BLOCKING],
            ..About::default()
        }
    }

    /// Whoever has asked for the list hears of its changes (§3.2).
    fn asked(&self, request: &Stanza, child: &ChildName) -> Option<Asked> {
        let is_get = request.kind == Kind::Iq(IqType::Get) && &*child.name == "blocklist";
        is_get.then_some(Asked { flag: session::BLOCKING, is_on: true })
    }

    async fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Answer {
        let account = cx.own_account(request)?;
        let element = request.elements().ok().and_then(|elements| elements.into_iter().next());
        let element = element.ok_or(StanzaCondition::BadRequest)?;
        match (request.kind, &*child.name) {
            (Kind::Iq(IqType::Get), "blocklist") => {
                let list = self.blocked.of(&cx.rooms.durable, account.as_str());
                Ok(written("blocklist", list.addresses()).to_bytes(CLIENT).into())
            }
            (Kind::Iq(IqType::Set), "block") => self.block(cx.rooms, &account, &element).await,
            (Kind::Iq(IqType::Set), "unblock") => self.unblock(cx.rooms, &account, &element).await,
            _ => Err(StanzaCondition::BadRequest.into()),
        }
    }

    fn watch(&self) -> Option<&dyn Watch> {
        Some(self)
    }
}

impl Watch for Blocking {
    /// Nothing goes to whom an account has blocked (§3.4).
    fn sent(&self, rooms: &Rooms, stanza: &Stanza) -> Verdict {
        let (Some(from), Some(to)) = (&stanza.from, &stanza.to) else { return Verdict::Pass };
        let account = from.bare_str();
        if !self.blocked.of(&rooms.durable, account).covers(account, to) {
            return Verdict::Pass;
        }
        let refused = StanzaError::from(StanzaCondition::NotAcceptable);
        Verdict::Reject(
            refused.with_type(ErrorType::Cancel).with_application("blocked", BLOCKING_ERRORS),
        )
    }

    /// To whoever is blocked the account is as one that is not there (§3.3).
    fn arriving(&self, rooms: &Rooms, stanza: &Stanza) -> Verdict {
        let (Some(from), Some(to)) = (&stanza.from, &stanza.to) else { return Verdict::Pass };
        let account = to.bare_str();
        if !self.blocked.of(&rooms.durable, account).covers(account, from) {
            return Verdict::Pass;
        }
        match stanza.kind {
            // a headline for who is not there is not answered either
            Kind::Message(MessageType::Error | MessageType::Headline) => Verdict::Ignore,
            Kind::Presence(_) => Verdict::Ignore,
            Kind::Iq(IqType::Result | IqType::Error) => Verdict::Ignore,
            _ => Verdict::Reject(StanzaCondition::ServiceUnavailable.into()),
        }
    }
}

impl Blocking {
    async fn block(&self, rooms: &Rooms, account: &BareJid, element: &Element) -> Answer {
        let items = items(element)?;
        if items.is_empty() {
            return Err(StanzaCondition::BadRequest.into());
        }
        if items.iter().any(|item| is_own(account.as_str(), item) && item.local().is_some()) {
            return Err(StanzaError::from(StanzaCondition::NotAllowed)
                .with_text("nobody can block himself"));
        }
        let before = self.blocked.of(&rooms.durable, account.as_str());
        let new: Vec<Jid> = items.iter().filter(|item| !before.has(item)).cloned().collect();
        if before.addresses().len() + new.len() > self.blocked_max {
            return Err(StanzaError::from(StanzaCondition::ResourceConstraint)
                .with_text("the block list is full"));
        }
        self.blocked.change(&rooms.durable, account, &new, Wish::Block).await?;
        let after = self.blocked.of(&rooms.durable, account.as_str());
        let then = pushes(rooms, account, &written("block", items.iter().map(Jid::as_str)));
        let mut first = Vec::new();
        for (contact, whom) in reached(rooms, account, &before, &after, &new)? {
            if contact.sees_us() {
                first.extend(unavailable(rooms, account, &whom));
            }
        }
        Ok(Reply { first, then, ..Reply::default() })
    }

    async fn unblock(&self, rooms: &Rooms, account: &BareJid, element: &Element) -> Answer {
        let items = items(element)?;
        let before = self.blocked.of(&rooms.durable, account.as_str());
        let old: Vec<Jid> = match items.is_empty() {
            true => before.addresses().iter().filter_map(|one| Jid::parse(one).ok()).collect(),
            false => items.iter().filter(|item| before.has(item)).cloned().collect(),
        };
        self.blocked.change(&rooms.durable, account, &old, Wish::Unblock).await?;
        let after = self.blocked.of(&rooms.durable, account.as_str());
        let mut then = pushes(rooms, account, &written("unblock", items.iter().map(Jid::as_str)));
        for (contact, whom) in reached(rooms, account, &after, &before, &old)? {
            if contact.sees_us() {
                then.push(Effect::Show { account: account.clone(), viewer: whom });
            }
            // what it said meanwhile was not heard
            if contact.is_seen() {
                let to = contact.jid.into();
                then.push(Effect::Route(presence(PresenceType::Probe, account.clone().into(), to)));
            }
        }
        Ok(Reply { then, ..Reply::default() })
    }
}

/// The addresses in a request, each once.
fn items(element: &Element) -> Result<BTreeSet<Jid>, StanzaError> {
    let read = |item: &Element| {
        let jid = item.attribute("jid").filter(|_| item.is("item", BLOCKING));
        let jid = jid.ok_or(StanzaCondition::BadRequest)?;
        Ok(Jid::parse(jid).map_err(|_| StanzaCondition::JidMalformed)?)
    };
    element.elements().map(read).collect()
}

fn written<'a>(name: &str, addresses: impl IntoIterator<Item = &'a str>) -> Element {
    let item = |address: &str| Element::new("item", BLOCKING).attr("jid", address);
    addresses.into_iter().fold(Element::new(name, BLOCKING), |list, one| list.child(item(one)))
}

/// Tells every session that has asked for the list of a change (§3.2).
fn pushes(rooms: &Rooms, account: &BareJid, change: &Element) -> Vec<Effect> {
    let entries = rooms.sessions.of(account.as_str());
    let interested = entries.iter().filter(|entry| entry.row.flags & session::BLOCKING != 0);
    let payload = change.to_bytes(CLIENT);
    let push = |entry: &Entry<SessionRow>| {
        let from = Some(account.clone().into());
        let to = Some(Jid::parse(&entry.row.jid).ok()?);
        let id = format!("push-{:016x}", rand::random::<u64>());
        let push = Stanza::new(Kind::Iq(IqType::Set), from, to, payload.clone());
        Some(Effect::Route(Stanza { id: Some(id.into()), ..push }))
    };
    interested.filter_map(push).collect()
}

/// The contacts that `more` covers and `less` does not, each with the address
/// that this is about: its own, or one session's.
fn reached(
    rooms: &Rooms,
    account: &BareJid,
    less: &List,
    more: &List,
    changed: &[Jid],
) -> Result<Vec<(Contact, Jid)>, StoreError> {
    if changed.is_empty() {
        return Ok(Vec::new());
    }
    let is_reached =
        |jid: &Jid| more.covers(account.as_str(), jid) && !less.covers(account.as_str(), jid);
    let mut reached = Vec::new();
    for contact in rooms.contacts.all(account)? {
        let whole = Jid::from(contact.jid.clone());
        if is_reached(&whole) {
            reached.push((contact, whole));
            continue;
        }
        let sessions = changed.iter().filter(|jid| {
            jid.resource().is_some() && jid.bare_str() == contact.jid.as_str() && is_reached(jid)
        });
        reached.extend(sessions.map(|jid| (contact.clone(), jid.clone())));
    }
    Ok(reached)
}

/// Whoever is blocked, and saw the account, sees it no more (§3.3).
fn unavailable(rooms: &Rooms, account: &BareJid, whom: &Jid) -> Vec<Effect> {
    let entries = rooms.sessions.of(account.as_str());
    let available = entries.iter().filter(|entry| entry.row.priority.is_some());
    let sessions = available.filter_map(|entry| Jid::parse(&entry.row.jid).ok());
    let told = sessions.map(|from| presence(PresenceType::Unavailable, from, whom.clone()));
    told.map(Effect::Route).collect()
}

fn presence(kind: PresenceType, from: Jid, to: Jid) -> Stanza {
    Stanza::new(Kind::Presence(kind), Some(from), Some(to), Bytes::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(element: &str, expected: Result<&str, StanzaCondition>) {
        let element = Element::parse(element.as_bytes(), BLOCKING).expect("an element");
        let read = items(&element).map_err(|error| error.condition);
        let read = read.map(|items| items.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(read.map(|items| items.join(" ")), expected.map(Into::into), "{element:?}");
    }

    #[test]
    fn items_are_addresses_of_any_form_each_once() {
        check("<block/>", Ok(""));
        check("<block><item jid='C@d'/><item jid='c@D'/></block>", Ok("c@d"));
        check(
            "<block><item jid='d'/><item jid='d/e'/><item jid='c@d/e'/></block>",
            Ok("c@d/e d d/e"),
        );
        check("<block><item/></block>", Err(StanzaCondition::BadRequest));
        check("<block><thing jid='c@d'/></block>", Err(StanzaCondition::BadRequest));
        check("<block><item xmlns='u' jid='c@d'/></block>", Err(StanzaCondition::BadRequest));
        check("<block><item jid='@'/></block>", Err(StanzaCondition::JidMalformed));
    }
}
