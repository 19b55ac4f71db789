//! Requests about subscriptions at the home of an account, in its turn (RFC
//! 6121 §3): what an account sends, and what arrives for it. What they do to
//! a state is the pure function of `session_manager/subscription`.

use tracing::{debug, trace};

use crate::extension::{Effect, Rooms};
use crate::im::config::Config;
use crate::im::{presence, roster};
use crate::session_manager::contacts::{Contact, Item, Standing};
use crate::session_manager::session::Seat;
use crate::session_manager::subscription::{Request, State};
use crate::xmpp::error::StanzaError;
use crate::xmpp::jid::{BareJid, Jid};
use crate::xmpp::kind::{Kind, PresenceType};
use crate::xmpp::stanza::Stanza;

/// Bytes of a request that is kept until it is answered; of a longer one only
/// who asks whom. A guess: a greeting and a few elements.
const REQUEST_BYTES_MAX: usize = 4 << 10;

/// The request in a presence, if it is one.
pub fn request(kind: Kind) -> Option<Request> {
    match kind {
        Kind::Presence(PresenceType::Subscribe) => Some(Request::Subscribe),
        Kind::Presence(PresenceType::Subscribed) => Some(Request::Subscribed),
        Kind::Presence(PresenceType::Unsubscribe) => Some(Request::Unsubscribe),
        Kind::Presence(PresenceType::Unsubscribed) => Some(Request::Unsubscribed),
        _ => None,
    }
}

fn kind(request: Request) -> PresenceType {
    match request {
        Request::Subscribe => PresenceType::Subscribe,
        Request::Subscribed => PresenceType::Subscribed,
        Request::Unsubscribe => PresenceType::Unsubscribe,
        Request::Unsubscribed => PresenceType::Unsubscribed,
    }
}

/// Whether a request may have been acted upon before, by a home that has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It comes for the first time.
    First,
    /// It may have been: whoever shall hear of it may not have.
    Repeated,
}

/// The account `from` sends a request to a contact.
///
/// # Errors
/// When the store fails; then nothing has changed.
pub async fn send(
    rooms: &Rooms,
    stanza: &Stanza,
    attempt: Attempt,
) -> Result<Vec<Effect>, StanzaError> {
    let Some((account, contact, request)) = parties(stanza) else { return Ok(Vec::new()) };
    let before = rooms.contacts.one(&account, &contact)?;
    let mut after = before.clone();
    let mut sent = before.standing.state.send(request);
    if attempt == Attempt::Repeated {
        // the home that went may have changed the state and told nobody
        sent.is_routed |= match request {
            Request::Subscribed => before.sees_us(),
            Request::Unsubscribed => !before.sees_us(),
            Request::Subscribe | Request::Unsubscribe => true,
        };
    }
    set_state(&mut after, sent.state);
    match request {
        Request::Subscribed if !sent.is_routed && !before.sees_us() => {
            after.standing.is_approved = true;
        }
        Request::Unsubscribed => after.standing.is_approved = false,
        _ => {}
    }
    let is_wanted = matches!(request, Request::Subscribe | Request::Subscribed);
    if is_wanted && after.standing != before.standing {
        after.item.get_or_insert_with(Item::default);
    }
    let (old, new) = (before.standing.state, after.standing.state);
    trace!(%account, %contact, ?request, ?attempt, ?old, ?new, "request sent");
    rooms.contacts.save(&account, &before, &after).await?;
    let mut effects = Vec::new();
    let shown_no_more = before.sees_us() && !after.sees_us();
    if shown_no_more {
        effects.extend(unavailable(rooms, &account, &contact));
    }
    if sent.is_routed {
        let to = Some(contact.clone().into());
        effects.push(Effect::Route(Stanza { to, ..stanza.clone() }));
    }
    effects.extend(push(rooms, &account, &before, &after)?);
    if !before.sees_us() && after.sees_us() && !rooms.serves(contact.domain()) {
        effects.push(Effect::Show { account, viewer: contact.into() });
    }
    Ok(effects)
}

/// A request arrives for the account `to`.
///
/// # Errors
/// When the store fails; then nothing has changed.
pub async fn receive(
    rooms: &Rooms,
    config: &Config,
    stanza: &Stanza,
) -> Result<Vec<Effect>, StanzaError> {
    let Some((contact, account, request)) = parties(stanza) else { return Ok(Vec::new()) };
    let before = rooms.contacts.one(&account, &contact)?;
    let mut after = before.clone();
    let mut received = before.standing.state.receive(request);
    let is_new = received.state.is_pending_in() && !before.standing.state.is_pending_in();
    let is_granted = is_new && before.standing.is_approved;
    if is_granted {
        received.state = received.state.send(Request::Subscribed).state;
        received.is_delivered = false;
        received.reply = Some(Request::Subscribed);
    } else if is_new && !has_room(rooms, config, &account)? {
        metrics::counter!(crate::metrics::REQUESTS_REFUSED).increment(1);
        debug!(%account, %contact, "too many requests wait: one more is ignored");
        return Ok(Vec::new());
    }
    set_state(&mut after, received.state);
    if is_new && !is_granted {
        after.standing.request = Some(kept(stanza));
    }
    let (old, new) = (before.standing.state, after.standing.state);
    trace!(%account, %contact, ?request, ?old, ?new, "request received");
    rooms.contacts.save(&account, &before, &after).await?;
    let mut effects = Vec::new();
    if received.is_delivered {
        effects.push(Effect::Write(readers(rooms, &account, request), stanza.clone()));
    }
    effects.extend(push(rooms, &account, &before, &after)?);
    if before.sees_us() && !after.sees_us() {
        effects.extend(unavailable(rooms, &account, &contact));
    }
    if let Some(reply) = received.reply {
        let (from, to) = (account.clone().into(), contact.clone().into());
        effects.push(Effect::Route(presence::bare(kind(reply), from, Some(to))));
    }
    if is_granted && !rooms.serves(contact.domain()) {
        effects.push(Effect::Show { account, viewer: contact.into() });
    } else if !before.is_seen() && after.is_seen() && rooms.serves(contact.domain()) {
        // whom it sees from now it is shown here, behind the answer: the
        // contact's own home would overtake it
        effects.push(Effect::Show { account: contact, viewer: account.into() });
    }
    Ok(effects)
}

/// What a contact hears when it is removed from the roster (§2.5.2).
pub fn farewell(rooms: &Rooms, account: &BareJid, contact: &Contact) -> Vec<Effect> {
    let state = contact.standing.state;
    let say = |request| {
        let (from, to) = (account.clone().into(), contact.jid.clone().into());
        Effect::Route(presence::bare(kind(request), from, Some(to)))
    };
    let mut effects = Vec::new();
    if state.shows_them() || state.is_pending_out() {
        effects.push(say(Request::Unsubscribe));
    }
    if state.shows_us() {
        effects.extend(unavailable(rooms, account, &contact.jid));
    }
    if state.shows_us() || state.is_pending_in() {
        effects.push(say(Request::Unsubscribed));
    }
    effects
}

/// All sessions of the account become unavailable to somebody.
pub fn unavailable(rooms: &Rooms, account: &BareJid, to: &BareJid) -> Vec<Effect> {
    let entries = rooms.sessions.of(account.as_str());
    let available = entries.iter().filter(|entry| entry.row.priority.is_some());
    let sessions = available.filter_map(|entry| Jid::parse(&entry.row.jid).ok());
    sessions
        .map(|from| presence::bare(PresenceType::Unavailable, from, Some(to.clone().into())))
        .map(Effect::Route)
        .collect()
}

/// Who sends, who receives, and what.
fn parties(stanza: &Stanza) -> Option<(BareJid, BareJid, Request)> {
    let (from, to) = (stanza.from.as_ref()?.bare(), stanza.to.as_ref()?.bare());
    // everybody sees himself
    (from != to).then_some(())?;
    Some((from, to, request(stanza.kind)?))
}

fn set_state(contact: &mut Contact, state: State) {
    contact.standing.state = state;
    if !state.is_pending_in() {
        contact.standing.request = None;
    }
}

fn has_room(rooms: &Rooms, config: &Config, account: &BareJid) -> Result<bool, StanzaError> {
    let contacts = rooms.contacts.all(account)?;
    let waiting = contacts.iter().filter(|contact| contact.standing.state.is_pending_in());
    Ok(waiting.count() < config.requests_max)
}

/// A request as it is kept.
fn kept(stanza: &Stanza) -> bytes::Bytes {
    let whole = stanza.write();
    if whole.len() <= REQUEST_BYTES_MAX {
        return whole;
    }
    let payload = bytes::Bytes::new();
    Stanza { payload, extra: bytes::Bytes::new(), ..stanza.clone() }.write()
}

/// The sessions that see a request: all available ones that somebody asks,
/// all interested ones what was answered (§3.1.3, §3.1.6).
fn readers(rooms: &Rooms, account: &BareJid, request: Request) -> Vec<Seat> {
    let entries = rooms.sessions.of(account.as_str());
    let reads = |row: &crate::cluster::rows::SessionRow| match request {
        Request::Subscribe => row.priority.is_some(),
        _ => row.flags & crate::session_manager::session::INTERESTED != 0,
    };
    let readers = entries.iter().filter(|entry| reads(&entry.row));
    readers.map(|entry| Seat { owner: entry.owner, number: entry.number }).collect()
}

fn push(
    rooms: &Rooms,
    account: &BareJid,
    before: &Contact,
    after: &Contact,
) -> Result<Vec<Effect>, StanzaError> {
    match roster::looks_different(before, after) {
        true => Ok(roster::push(rooms, account, after)?),
        false => Ok(Vec::new()),
    }
}

/// An account goes: all who knew it are told (XEP-0077 §3.2).
///
/// # Errors
/// When the store fails.
pub fn farewell_to_all(rooms: &Rooms, account: &BareJid) -> Result<Vec<Effect>, StanzaError> {
    let contacts = rooms.contacts.all(account)?;
    let known = contacts.iter().filter(|contact| contact.standing != Standing::default());
    Ok(known.flat_map(|contact| farewell(rooms, account, contact)).collect())
}
