//! What a client that nobody looks at need not be woken for (XEP-0352): the
//! latest presence of each sender, and whether he types, wait until something
//! worth it comes.

use std::collections::BTreeMap;

use bytes::Bytes;
use memchr::memmem;

use crate::xmpp::kind::{Kind, PresenceType};
use crate::xmpp::namespaces::{CHAT_STATES, CLIENT, HINTS};
use crate::xmpp::stanza::Stanza;

/// Stanzas that may wait; one more, and all are written. A guess: a large
/// roster.
const KEPT_MAX: usize = 500;

/// What waits for an inactive client.
#[derive(Debug, Default)]
pub struct Inactive {
    /// Whether its client has said that nobody looks.
    pub is_inactive: bool,
    /// By sender, with the order in which they came.
    kept: BTreeMap<(Box<str>, What), (u64, Bytes)>,
    count: u64,
}

/// Of what only the latest of a sender matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// Whether he is there.
    Presence,
    /// Whether he types (XEP-0085).
    ChatState,
}

impl Inactive {
    /// Keeps a stanza that can wait; gives back one that cannot.
    pub fn keep(&mut self, bytes: Bytes) -> Option<Bytes> {
        let may_wait = [&b"<presence"[..], b"<message"].iter().any(|name| bytes.starts_with(name));
        if !self.is_inactive || !may_wait || self.kept.len() >= KEPT_MAX {
            return Some(bytes);
        }
        let Ok(stanza) = Stanza::parse_bytes(bytes.clone()) else { return Some(bytes) };
        let what = match stanza.kind {
            Kind::Presence(PresenceType::Available | PresenceType::Unavailable) => What::Presence,
            Kind::Message(_) if is_chat_state(&stanza) => What::ChatState,
            _ => {
                // who has said something types no more
                if let (Kind::Message(_), Some(from)) = (stanza.kind, stanza.from) {
                    self.kept.remove(&(from.as_str().into(), What::ChatState));
                }
                return Some(bytes);
            }
        };
        let Some(from) = stanza.from else { return Some(bytes) };
        self.count += 1;
        self.kept.insert((from.as_str().into(), what), (self.count, bytes));
        None
    }

    /// All that waits, in its order.
    pub fn release(&mut self) -> Vec<Bytes> {
        let mut kept: Vec<_> = std::mem::take(&mut self.kept).into_values().collect();
        kept.sort_unstable_by_key(|(order, _)| *order);
        kept.into_iter().map(|(_, bytes)| bytes).collect()
    }
}

/// Whether a message says only that somebody types, or no more.
fn is_chat_state(message: &Stanza) -> bool {
    if memmem::find(&message.payload, CHAT_STATES.as_bytes()).is_none() {
        return false;
    }
    let Ok(elements) = message.elements() else { return false };
    elements.iter().all(|element| {
        [CHAT_STATES, HINTS].contains(&element.ns.as_str()) || element.is("thread", CLIENT)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(inactive: &mut Inactive, text: &'static str) -> bool {
        inactive.keep(Bytes::from_static(text.as_bytes())).is_none()
    }

    #[test]
    fn only_presence_waits_and_only_the_latest_of_each_sender() {
        let mut inactive = Inactive::default();
        assert!(!keep(&mut inactive, "<presence from='a@b/c'/>"));
        inactive.is_inactive = true;
        assert!(keep(&mut inactive, "<presence from='a@b/c'/>"));
        assert!(keep(&mut inactive, "<presence from='d@b/c'/>"));
        assert!(keep(&mut inactive, "<presence from='a@b/c' type='unavailable'/>"));
        assert!(!keep(&mut inactive, "<presence from='a@b' type='subscribe'/>"));
        assert!(!keep(&mut inactive, "<message from='a@b/c'><body/></message>"));
        assert_eq!(
            inactive.release(),
            ["<presence from='d@b/c'/>", "<presence from='a@b/c' type='unavailable'/>"]
        );
        assert!(inactive.release().is_empty());
    }

    #[test]
    fn whether_somebody_types_waits_until_he_says_something() {
        let mut inactive = Inactive { is_inactive: true, ..Inactive::default() };
        let state = |name: &str| {
            let ns = "http://jabber.org/protocol/chatstates";
            let text = format!("<message from='a@b/c'><{name} xmlns='{ns}'/></message>");
            &*Box::leak(text.into_boxed_str())
        };
        assert!(keep(&mut inactive, state("composing")));
        assert!(keep(&mut inactive, state("paused")));
        assert!(!keep(&mut inactive, "<message from='d@b/c'><body/></message>"));
        assert_eq!(inactive.release(), [state("paused")]);
        assert!(keep(&mut inactive, state("composing")));
        let both = state("active").replace("</message>", "<body/></message>");
        assert!(inactive.keep(both.into()).is_some(), "it says something");
        assert!(inactive.release().is_empty());
    }
}
