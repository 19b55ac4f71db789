//! What the operator makes of a roster, at the home of its account, in its
//! turn: the account's side only; of two accounts of ours each has its own.

use crate::cluster::durable::change::Made;
use crate::extension::{Effect, Rooms};
use crate::im::config::Config;
use crate::im::{roster, subscribing};
use crate::session_manager::contacts::{Contact, Item, Standing};
use crate::session_manager::orders::OrderError;
use crate::session_manager::subscription::State;
use crate::storage::StoreError;
use crate::xmpp::jid::BareJid;

/// What was done, and who must hear of it.
pub type Placed = Result<(Made, Vec<Effect>), OrderError>;

/// A contact is in the roster from now on, with this name, these groups and
/// this subscription, each as it was where nothing is said.
///
/// # Errors
/// [`OrderError`].
pub async fn place(
    rooms: &Rooms,
    config: &Config,
    account: &BareJid,
    contact: &BareJid,
    (item, state): (Option<Item>, Option<State>),
) -> Placed {
    if account == contact {
        return Err(OrderError::Oneself);
    }
    let before = rooms.contacts.one(account, contact)?;
    if before.item.is_none() && is_full(rooms, config, account)? {
        return Err(OrderError::Full);
    }
    let item = item.or_else(|| before.item.clone()).unwrap_or_default();
    let standing = match state {
        Some(state) => Standing { state, ..Standing::default() },
        None => before.standing.clone(),
    };
    let after = Contact { item: Some(item), standing, ..before.clone() };
    let made = rooms.contacts.save(account, &before, &after).await?;
    let mut effects = Vec::new();
    if roster::looks_different(&before, &after) {
        effects.extend(roster::push(rooms, account, &after)?);
    }
    if before.sees_us() && !after.sees_us() {
        effects.extend(subscribing::unavailable(rooms, account, contact));
    }
    // whoever has the second of two sides changed is shown to the other; the
    // first may not be seen yet
    let show = |account: &BareJid, viewer: &BareJid| Effect::Show {
        account: account.clone(),
        viewer: viewer.clone().into(),
    };
    if after.sees_us() {
        effects.push(show(account, contact));
    }
    if after.is_seen() && rooms.serves(contact.domain()) {
        effects.push(show(contact, account));
    }
    Ok((made, effects))
}

/// A contact leaves the roster, and hears of it as if its owner had removed
/// it.
///
/// # Errors
/// [`OrderError`].
pub async fn remove(rooms: &Rooms, account: &BareJid, contact: &BareJid) -> Placed {
    let before = rooms.contacts.one(account, contact)?;
    if before.item.is_none() {
        return Err(OrderError::NoContact);
    }
    let after = Contact::stranger(contact.clone());
    let made = rooms.contacts.save(account, &before, &after).await?;
    let mut effects = roster::push(rooms, account, &after)?;
    effects.extend(subscribing::farewell(rooms, account, &before));
    Ok((made, effects))
}

/// The same subscription, as the other side sees it.
pub fn mirrored(state: State) -> State {
    match state {
        State::To => State::From,
        State::From => State::To,
        other => other,
    }
}

fn is_full(rooms: &Rooms, config: &Config, account: &BareJid) -> Result<bool, StoreError> {
    let contacts = rooms.contacts.all(account)?;
    Ok(contacts.iter().filter(|one| one.item.is_some()).count() >= config.roster_items_max)
}
