//! Who hears of whose presence (RFC 6121 §4), of contacts as they are. Pure:
//! who is where, and how it reaches them, is the router's business.

use bytes::Bytes;

use crate::session_manager::contacts::Contact;
use crate::xml::element::Element;
use crate::xmpp::jid::{BareJid, Jid};
use crate::xmpp::kind::{Kind, PresenceType};
use crate::xmpp::namespaces::CLIENT;
use crate::xmpp::stanza::Stanza;

/// What `<show/>` may say (RFC 6121 §4.7.2.1).
const SHOWS: [&str; 4] = ["away", "chat", "dnd", "xa"];

/// Everybody who hears of an account's presence: who is subscribed, and the
/// account itself.
pub fn watchers(account: &BareJid, contacts: &[Contact]) -> Vec<BareJid> {
    with_self(account, contacts, Contact::sees_us)
}

/// Everybody whose presence an account hears of, itself included.
pub fn watched(account: &BareJid, contacts: &[Contact]) -> Vec<BareJid> {
    with_self(account, contacts, Contact::is_seen)
}

fn with_self(
    account: &BareJid,
    contacts: &[Contact],
    is_meant: impl Fn(&Contact) -> bool,
) -> Vec<BareJid> {
    let others = contacts.iter().filter(|contact| contact.jid != *account && is_meant(contact));
    std::iter::once(account.clone()).chain(others.map(|contact| contact.jid.clone())).collect()
}

/// A presence of this type that says nothing else.
pub fn bare(kind: PresenceType, from: Jid, to: Option<Jid>) -> Stanza {
    Stanza::new(Kind::Presence(kind), Some(from), to, Bytes::new())
}

/// The priority in a presence; 0 where it names none (RFC 6121 §4.7.2.3).
/// `None`: it is not as the RFC wants it: two priorities, one that is no
/// number from -128 to 127, two shows or an unknown one.
pub fn priority(stanza: &Stanza) -> Option<i8> {
    let children = Element::parse_all(&stanza.payload, CLIENT).ok()?;
    let mut shows = children.iter().filter(|child| child.is("show", CLIENT));
    let show = shows.next().map(|show| show.own_text());
    if shows.next().is_some() || show.is_some_and(|show| !SHOWS.contains(&show.as_str())) {
        return None;
    }
    let mut priorities = children.iter().filter(|child| child.is("priority", CLIENT));
    match (priorities.next(), priorities.next()) {
        (None, _) => Some(0),
        (Some(priority), None) => priority.own_text().trim().parse().ok(),
        (Some(_), Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(payload: &'static str, expected: Option<i8>) {
        let from = Jid::parse("a@b/c").expect("an address");
        let mut stanza = bare(PresenceType::Available, from, None);
        stanza.payload = Bytes::from_static(payload.as_bytes());
        assert_eq!(priority(&stanza), expected, "{payload}");
    }

    #[test]
    fn a_presence_has_one_priority_and_one_known_show() {
        check("", Some(0));
        check("<priority>-128</priority>", Some(-128));
        check("<priority> 127 </priority><show>xa</show>", Some(127));
        check("<priority>128</priority>", None);
        check("<priority/>", None);
        check("<priority>1</priority><priority>1</priority>", None);
        check("<show>asleep</show>", None);
        check("<show/>", None);
        check("<show>away</show><show>away</show>", None);
        check("<x xmlns='u'><show>asleep</show></x>", Some(0));
    }
}
