//! Whether a message that nobody is there for is worth keeping (XEP-0160 §3,
//! XEP-0334 §4). Pure.

use crate::xml::element::Element;
use crate::xmpp::kind::{Kind, MessageType};
use crate::xmpp::namespaces::{CHAT_STATES, CLIENT, HINTS};
use crate::xmpp::stanza::Stanza;

/// What becomes of a message that nobody is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is kept.
    Store,
    /// Its sender is told that nobody is there.
    Bounce,
    /// Nobody misses it.
    Ignore,
}

/// What becomes of a message. One without words of its own is kept as well
/// (receipts, keys, invitations), unless it says only that somebody types.
pub fn fate(stanza: &Stanza) -> Fate {
    match stanza.kind {
        Kind::Message(MessageType::Chat | MessageType::Normal) => {}
        Kind::Message(MessageType::Groupchat) => return Fate::Bounce,
        _ => return Fate::Ignore,
    }
    let Ok(children) = stanza.elements() else { return Fate::Bounce };
    let hints = |name: &str| children.iter().any(|child| child.is(name, HINTS));
    let has_body = children.iter().any(|child| child.is("body", CLIENT));
    if hints("no-store") || hints("no-permanent-store") {
        return if has_body { Fate::Bounce } else { Fate::Ignore };
    }
    let means_something = |child: &Element| {
        child.ns != CHAT_STATES && child.ns != HINTS && !child.is("thread", CLIENT)
    };
    match has_body || hints("store") || children.iter().any(means_something) {
        true => Fate::Store,
        false => Fate::Ignore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[track_caller]
    fn check(kind: MessageType, payload: &'static str, expected: Fate) {
        let payload = Bytes::from_static(payload.as_bytes());
        let stanza = Stanza::new(Kind::Message(kind), None, None, payload);
        assert_eq!(fate(&stanza), expected, "{:?}", stanza.payload);
    }

    #[test]
    fn what_people_miss_is_kept() {
        use MessageType::{Chat, Error, Groupchat, Headline, Normal};
        check(Chat, "<body>hi</body>", Fate::Store);
        check(Normal, "<body>hi</body>", Fate::Store);
        check(Normal, "<x xmlns='jabber:x:conference' jid='a@b'/>", Fate::Store);
        check(Chat, "<received xmlns='urn:xmpp:receipts' id='1'/>", Fate::Store);
        check(Headline, "<body>hi</body>", Fate::Ignore);
        check(Groupchat, "<body>hi</body>", Fate::Bounce);
        check(Error, "<body>hi</body>", Fate::Ignore);
        check(Chat, "", Fate::Ignore);
        let typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/><thread>t</thread>";
        check(Chat, typing, Fate::Ignore);
    }

    #[test]
    fn a_prefix_of_the_stanzas_own_tag_is_known() {
        let payload = Bytes::from_static(b"<r:received id='1'/>");
        let stanza = Stanza::new(Kind::Message(MessageType::Chat), None, None, payload);
        let extra = Bytes::from_static(b" xmlns:r='urn:xmpp:receipts'");
        assert_eq!(fate(&Stanza { extra, ..stanza }), Fate::Store);
    }

    #[test]
    fn hints_are_heeded() {
        let chat = MessageType::Chat;
        check(chat, "<body>x</body><no-store xmlns='urn:xmpp:hints'/>", Fate::Bounce);
        check(chat, "<body>x</body><no-permanent-store xmlns='urn:xmpp:hints'/>", Fate::Bounce);
        check(chat, "<no-store xmlns='urn:xmpp:hints'/><a xmlns='u'/>", Fate::Ignore);
        check(chat, "<store xmlns='urn:xmpp:hints'/>", Fate::Store);
        check(chat, "<no-copy xmlns='urn:xmpp:hints'/>", Fate::Ignore);
    }
}
