//! Commands about what belongs to an account: its roster, what waits for it,
//! what it says of itself. What people write to each other is shown to
//! nobody.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::admin::Admin;
use crate::admin::accounts::give;
use crate::admin::answers::{bare, carried, done, failed, on};
use crate::admin::requests::{ContactLine, Response};
use crate::cluster::durable::Table;
use crate::im::provisioning::mirrored;
use crate::session_manager::contacts::{Contact, Item};
use crate::session_manager::orders::{Order, OrderError};
use crate::session_manager::subscription::State;
use crate::xep::time::utc;
use crate::xml::element::Element;
use crate::xmpp::jid::BareJid;
use crate::xmpp::stanza::Stanza;

/// Where vCards live (XEP-0054).
const VCARD: &str = "vcard-temp";

/// Bytes of a vCard; a photograph is in it. It must fit in a question to
/// another node.
const VCARD_BYTES_MAX: usize = 256 << 10;

/// The head of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfflineLine {
    /// Who wrote it.
    pub from: String,
    /// When it was stored, as XEP-0082 writes it.
    pub when: String,
    /// Its bytes, as they will be written.
    pub bytes: usize,
}

/// The account, if there is one.
fn account(admin: &Admin, text: &str) -> Result<BareJid, Response> {
    let jid = bare(text)?;
    match admin.rooms.accounts.exists(&jid) {
        Ok(true) => Ok(jid),
        Ok(false) => Err(failed(format!("{jid}: {}", OrderError::NoAccount))),
        Err(error) => Err(failed(format!("{jid}: {error}"))),
    }
}

/// How a contact is in a roster; what is not said stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its name.
    pub name: Option<String>,
    /// Its groups.
    pub groups: Vec<String>,
    /// `none`, `to`, `from` or `both`.
    pub subscription: Option<String>,
}

/// Who is in a roster, and who has asked.
pub fn roster(admin: &Admin, text: &str) -> Response {
    let contacts = account(admin, text).map(|jid| admin.rooms.contacts.all(&jid));
    match contacts {
        Ok(Ok(contacts)) => {
            Response::Roster { contacts: contacts.into_iter().map(contact_line).collect() }
        }
        Ok(Err(error)) => failed(error),
        Err(failed) => failed,
    }
}

fn contact_line(contact: Contact) -> ContactLine {
    let state = contact.standing.state;
    let pending = match (state.is_pending_out(), state.is_pending_in()) {
        (false, false) => "",
        (true, false) => "out",
        (false, true) => "in",
        (true, true) => "both",
    };
    let is_in_roster = contact.item.is_some();
    let Item { name, groups } = contact.item.unwrap_or_default();
    ContactLine {
        jid: contact.jid.as_str().to_owned(),
        name,
        groups,
        subscription: state.word().to_owned(),
        pending: pending.to_owned(),
        is_in_roster,
    }
}

/// A contact is in a roster from now on. Where a subscription is named and
/// the contact is ours, the other side gets it as well.
pub async fn add(admin: &Admin, text: &str, contact: &str, place: Place) -> Response {
    match try_add(admin, text, contact, place).await {
        Ok(response) | Err(response) => response,
    }
}

async fn try_add(
    admin: &Admin,
    text: &str,
    contact: &str,
    place: Place,
) -> Result<Response, Response> {
    let jid = account(admin, text)?;
    let contact = bare(contact)?;
    let limits = &admin.limits;
    let too_long = |text: &str| text.len() > limits.roster_name_bytes_max;
    let name_is_long = place.name.as_deref().is_some_and(too_long);
    if name_is_long || place.groups.iter().any(|group| group.is_empty() || too_long(group)) {
        let most = limits.roster_name_bytes_max;
        return Err(failed(format!("a name or a group is empty or has more than {most} bytes")));
    }
    if place.groups.len() > limits.roster_groups_max {
        return Err(failed(format!("more than {} groups", limits.roster_groups_max)));
    }
    let state = place.subscription.as_deref().map(state).transpose()?;
    let ours = admin.rooms.serves(contact.domain());
    if ours {
        account(admin, contact.as_str())?;
    }
    let is_silent = place.name.is_none() && place.groups.is_empty();
    let item = (!is_silent).then(|| Item {
        name: place.name.unwrap_or_default(),
        groups: place.groups.into_iter().collect::<BTreeSet<_>>(),
    });
    let order = Order::Contact { jid: contact.clone(), item, state };
    let placed = give(admin, &jid, order).await;
    let said = carried(placed.clone(), &jid, &format!("has {contact} in its roster"));
    if let (Ok(_), Some(state), true) = (placed, state, ours) {
        let other = Order::Contact { jid: jid.clone(), item: None, state: Some(mirrored(state)) };
        if let Err(error) = give(admin, &contact, other).await {
            return Err(failed(format!("{jid} was changed, but not {contact}: {error}")));
        }
    }
    Ok(said)
}

fn state(word: &str) -> Result<State, Response> {
    match word {
        "none" => Ok(State::None),
        "to" => Ok(State::To),
        "from" => Ok(State::From),
        "both" => Ok(State::Both),
        _ => Err(failed(format!("{word:?} is no subscription: none, to, from or both"))),
    }
}

/// A contact leaves a roster.
pub async fn remove(admin: &Admin, text: &str, contact: &str) -> Response {
    match (account(admin, text), bare(contact)) {
        (Ok(jid), Ok(contact)) => {
            let order = Order::ContactRemove(contact.clone());
            let what = format!("has {contact} no longer in its roster");
            carried(give(admin, &jid, order).await, &jid, &what)
        }
        (Err(failed), _) | (_, Err(failed)) => failed,
    }
}

/// The heads of what waits for an account.
pub fn offline(admin: &Admin, text: &str) -> Response {
    let messages = account(admin, text).map(|jid| admin.rooms.offline.all(&jid));
    match messages {
        Ok(Ok(messages)) => {
            Response::Offline { messages: messages.into_iter().map(head).collect() }
        }
        Ok(Err(error)) => failed(error),
        Err(failed) => failed,
    }
}

/// Who wrote, when, and how much; not what.
fn head((rest, message): (Vec<u8>, Bytes)) -> OfflineLine {
    let micros = rest.first_chunk().map_or(0, |time| u64::from_be_bytes(*time));
    let when = UNIX_EPOCH.checked_add(Duration::from_micros(micros)).unwrap_or(UNIX_EPOCH);
    let bytes = message.len();
    let from = Stanza::parse_bytes(message).ok().and_then(|stanza| stanza.from);
    let from = from.map(|from| from.as_str().to_owned()).unwrap_or_default();
    OfflineLine { from, when: utc(when), bytes }
}

/// Throws away what waits for an account.
pub async fn clear(admin: &Admin, text: &str) -> Response {
    let jid = match bare(text) {
        Ok(jid) => jid,
        Err(failed) => return failed,
    };
    match give(admin, &jid, Order::OfflineClear).await {
        Ok(carried) if carried.count == 1 => done(format!("1 message to {jid} thrown away")),
        Ok(carried) => done(format!("{} messages to {jid} thrown away", carried.count)),
        Err(error) => failed(format!("{jid}: {error}")),
    }
}

/// What an account says of itself.
pub fn vcard(admin: &Admin, text: &str) -> Response {
    let jid = match account(admin, text) {
        Ok(jid) => jid,
        Err(failed) => return failed,
    };
    match admin.rooms.durable.get(Table::Vcard, jid.as_str().as_bytes()) {
        Ok(Some(vcard)) => Response::Vcard { vcard: String::from_utf8_lossy(&vcard).into_owned() },
        Ok(None) => failed(format!("{jid} has no vCard")),
        Err(error) => failed(error),
    }
}

/// Sets what an account says of itself.
pub async fn set_vcard(admin: &Admin, text: &str, vcard: &str) -> Response {
    let jid = match bare(text) {
        Ok(jid) => jid,
        Err(failed) => return failed,
    };
    let read = Element::parse(vcard.trim().as_bytes(), "").ok();
    let Some(element) = read.filter(|element| element.is("vCard", VCARD)) else {
        return failed(format!("not a vCard: expected <vCard xmlns='{VCARD}'>"));
    };
    // written by us: one element that needs nothing from outside; with nothing
    // in it, it is as good as none
    let written = match element.elements().next() {
        Some(_) => element.to_bytes(""),
        None => Bytes::new(),
    };
    if written.len() > VCARD_BYTES_MAX {
        return failed(format!("a vCard has at most {VCARD_BYTES_MAX} bytes"));
    }
    match give(admin, &jid, Order::Vcard(written)).await {
        Ok(carried) => done(format!("{jid} has a new vCard ({})", on(carried.made))),
        Err(error) => failed(format!("{jid}: {error}")),
    }
}
