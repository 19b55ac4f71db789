//! The roster (RFC 6121 §2): get, set, remove, and the pushes that tell all
//! sessions that want to know.

use std::collections::BTreeSet;
use std::hash::Hasher;

use async_trait::async_trait;
use bytes::Bytes;

use crate::cluster::hash::Sip;
use crate::extension::{About, Answer, Asked, Cx, Effect, Extension, Reply, Rooms};
use crate::im::config::Config;
use crate::im::subscribing;
use crate::session_manager::contacts::{Contact, Item, Standing};
use crate::session_manager::session::INTERESTED;
use crate::storage::StoreError;
use crate::xml::element::Element;
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::jid::{BareJid, FullJid, Jid};
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::{CLIENT, ROSTER};
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Roster {
    /// Its limits.
    pub config: Config,
}

#[async_trait]
impl Extension for Roster {
    fn about(&self) -> About {
        About {
            specification: "RFC 6121: rosters, subscriptions, presence",
            stream_feature: "<ver xmlns='urn:xmpp:features:rosterver'/>\
                             <sub xmlns='urn:xmpp:features:pre-approval'/>",
            requests: &[ROSTER],
            ..About::default()
        }
    }

    fn asked(&self, request: &Stanza, child: &ChildName) -> Option<Asked> {
        let is_get = request.kind == Kind::Iq(IqType::Get) && &*child.ns == ROSTER;
        is_get.then_some(Asked { flag: INTERESTED, is_on: true })
    }

    async fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Answer {
        let account = cx.own_account(request)?;
        let query = Element::parse(&request.payload, CLIENT).ok();
        let query = query.filter(|_| &*child.name == "query").ok_or(StanzaCondition::BadRequest)?;
        match request.kind {
            Kind::Iq(IqType::Set) => self.set(cx.rooms, &account, &query).await,
            _ => get(cx.rooms, &account, query.attribute("ver")),
        }
    }
}

/// The whole roster; nothing, where the client has it already (§2.6).
fn get(rooms: &Rooms, account: &BareJid, known: Option<&str>) -> Answer {
    let contacts = rooms.contacts.all(account)?;
    let items = contacts.iter().filter_map(item);
    let query = items.fold(Element::new("query", ROSTER), Element::child);
    let version = version(&contacts);
    if known == Some(&version) {
        return Ok(Reply::default());
    }
    Ok(match known {
        Some(_) => query.attr("ver", version),
        None => query,
    }
    .to_bytes(CLIENT)
    .into())
}

impl Roster {
    async fn set(&self, rooms: &Rooms, account: &BareJid, query: &Element) -> Answer {
        let mut items = query.elements();
        let (Some(item), None) = (items.next(), items.next()) else {
            return Err(StanzaCondition::BadRequest.into());
        };
        let jid = item.attribute("jid").filter(|_| item.is("item", ROSTER));
        let jid = Jid::parse(jid.ok_or(StanzaCondition::BadRequest)?)
            .map_err(|_| StanzaCondition::JidMalformed)?
            .bare();
        if item.attribute("subscription") == Some("remove") {
            return remove(rooms, account, &jid).await;
        }
        let wanted = self.read(item)?;
        let before = rooms.contacts.one(account, &jid)?;
        if before.item.is_none() && self.is_full(rooms, account)? {
            return Err(StanzaError::from(StanzaCondition::ResourceConstraint)
                .with_text("the roster is full"));
        }
        let after = Contact { item: Some(wanted), ..before.clone() };
        rooms.contacts.save(account, &before, &after).await?;
        // a set that changes nothing is pushed as well (§2.3.2)
        let first = push(rooms, account, &after)?;
        Ok(Reply { first, ..Reply::default() })
    }

    fn is_full(&self, rooms: &Rooms, account: &BareJid) -> Result<bool, StoreError> {
        let contacts = rooms.contacts.all(account)?;
        let items = contacts.iter().filter(|contact| contact.item.is_some());
        Ok(items.count() >= self.config.roster_items_max)
    }

    /// What a client says of an item (§2.1.2, §2.3.3).
    fn read(&self, item: &Element) -> Result<Item, StanzaError> {
        let name = item.attribute("name").unwrap_or_default().to_owned();
        let too_long = |text: &str| text.len() > self.config.roster_name_bytes_max;
        if too_long(&name) {
            return Err(StanzaCondition::NotAcceptable.into());
        }
        let mut groups = BTreeSet::new();
        for group in item.elements().filter(|child| child.is("group", ROSTER)) {
            let group = group.own_text();
            if group.is_empty() || too_long(&group) {
                return Err(StanzaCondition::NotAcceptable.into());
            }
            if !groups.insert(group) {
                return Err(StanzaCondition::BadRequest.into());
            }
        }
        match groups.len() > self.config.roster_groups_max {
            true => Err(StanzaCondition::NotAcceptable.into()),
            false => Ok(Item { name, groups }),
        }
    }
}

/// A contact goes, and all that was between it and the account (§2.5).
async fn remove(rooms: &Rooms, account: &BareJid, jid: &BareJid) -> Answer {
    let before = rooms.contacts.one(account, jid)?;
    if before.item.is_none() {
        return Err(StanzaCondition::ItemNotFound.into());
    }
    let after = Contact { item: None, standing: Standing::default(), ..before.clone() };
    rooms.contacts.save(account, &before, &after).await?;
    let first = push(rooms, account, &after)?;
    let then = subscribing::farewell(rooms, account, &before);
    Ok(Reply { first, then, ..Reply::default() })
}

/// Tells every session of the account that has asked for the roster, on all
/// nodes, what has become of one contact.
///
/// # Errors
/// [`StoreError`].
pub fn push(
    rooms: &Rooms,
    account: &BareJid,
    contact: &Contact,
) -> Result<Vec<Effect>, StoreError> {
    let interested = interested(rooms, account);
    if interested.is_empty() {
        return Ok(Vec::new());
    }
    let removed = || {
        Element::new("item", ROSTER)
            .attr("jid", contact.jid.as_str())
            .attr("subscription", "remove")
    };
    let query = Element::new("query", ROSTER)
        .attr("ver", version(&rooms.contacts.all(account)?))
        .child(item(contact).unwrap_or_else(removed))
        .to_bytes(CLIENT);
    let push = |session: FullJid| {
        let from = Some(account.clone().into());
        let to = Some(session.as_jid().clone());
        let id = format!("push-{:016x}", rand::random::<u64>());
        let push = Stanza::new(Kind::Iq(IqType::Set), from, to, query.clone());
        Effect::Route(Stanza { id: Some(id.into()), ..push })
    };
    Ok(interested.into_iter().map(push).collect())
}

/// The sessions of an account that have asked for the roster.
pub fn interested(rooms: &Rooms, account: &BareJid) -> Vec<FullJid> {
    let entries = rooms.sessions.of(account.as_str());
    let interested = entries.iter().filter(|entry| entry.row.flags & INTERESTED != 0);
    interested.filter_map(|entry| FullJid::parse(&entry.row.jid).ok()).collect()
}

/// A contact as clients see it, if it is in the roster (§2.1.2).
fn item(contact: &Contact) -> Option<Element> {
    let Item { name, groups } = contact.item.as_ref()?;
    let standing = &contact.standing;
    let mut item = Element::new("item", ROSTER)
        .attr("jid", contact.jid.as_str())
        .attr("subscription", standing.state.word());
    if !name.is_empty() {
        item = item.attr("name", name);
    }
    if standing.state.is_pending_out() {
        item = item.attr("ask", "subscribe");
    }
    if standing.is_approved {
        item = item.attr("approved", "true");
    }
    let group = |name: &String| Element::new("group", ROSTER).text(name);
    Some(groups.iter().map(group).fold(item, Element::child))
}

/// Whether clients see a difference.
pub fn looks_different(before: &Contact, after: &Contact) -> bool {
    item(before) != item(after)
}

/// The roster's version: the same on all nodes for the same roster, another
/// for every other (§2.6; clients compare it for equality only).
fn version(contacts: &[Contact]) -> String {
    let mut sip = Sip::default();
    for item in contacts.iter().filter_map(item) {
        let written: Bytes = item.to_bytes(ROSTER);
        sip.write(&(written.len() as u64).to_le_bytes());
        sip.write(&written);
    }
    format!("{:016x}", sip.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session_manager::subscription::State;

    fn contact(name: &str, groups: &[&str], state: State) -> Contact {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let item = Some(Item { name: name.into(), groups });
        let standing = Standing { state, ..Standing::default() };
        Contact { jid: BareJid::parse("a@b").expect("an address"), item, standing }
    }

    #[test]
    fn an_item_says_what_clients_must_know() {
        let text = |contact: &Contact| {
            let item = item(contact).expect("in the roster");
            String::from_utf8(item.to_bytes(ROSTER).to_vec()).expect("text")
        };
        let both = contact("A <b>", &["x", "y"], State::Both);
        assert_eq!(
            text(&both),
            "<item jid='a@b' subscription='both' name='A &lt;b&gt;'>\
             <group>x</group><group>y</group></item>"
        );
        let mut asked = contact("", &[], State::NonePendingOutIn);
        asked.standing.is_approved = true;
        assert_eq!(
            text(&asked),
            "<item jid='a@b' subscription='none' ask='subscribe' approved='true'/>"
        );
        let pending_in = Contact { item: None, ..contact("", &[], State::NonePendingIn) };
        assert_eq!(item(&pending_in), None, "a mere request is no item");
    }

    #[test]
    fn every_difference_makes_another_version() {
        let rosters = [
            vec![],
            vec![contact("", &[], State::None)],
            vec![contact("a", &[], State::None)],
            vec![contact("", &["a"], State::None)],
            vec![contact("", &[], State::To)],
            vec![contact("", &[], State::NonePendingOut)],
        ];
        let mut versions: Vec<String> = rosters.iter().map(|roster| version(roster)).collect();
        versions.sort();
        versions.dedup();
        assert_eq!(versions.len(), rosters.len());
    }

    #[test]
    fn items_are_judged_as_the_rfc_wants() {
        let roster = Roster { config: Config::default() };
        let read = |text: &str| {
            let item = Element::parse(text.as_bytes(), ROSTER).expect("one element");
            roster.read(&item).map_err(|error| error.condition.word())
        };
        assert!(read("<item jid='a@b' subscription='both' ask='x'/>").is_ok());
        assert_eq!(read("<item><group/></item>"), Err("not-acceptable"));
        assert_eq!(read("<item><group>a</group><group>a</group></item>"), Err("bad-request"));
        let long = "x".repeat(1_024);
        assert_eq!(read(&format!("<item name='{long}'/>")), Err("not-acceptable"));
        assert_eq!(read(&format!("<item><group>{long}</group></item>")), Err("not-acceptable"));
    }
}
