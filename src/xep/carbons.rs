//! Message carbons (XEP-0280): all devices of an account see both sides of its
//! conversations.
//!
//! A copy is written to its session and to nobody else: one whose session has
//! gone ends there, for its original has its own way.

use std::sync::LazyLock;

use async_trait::async_trait;
use bytes::Bytes;
use memchr::memmem::Finder;

use crate::cluster::rows::SessionRow;
use crate::cluster::table::Entry;
use crate::extension::{
    About, Answer, Asked, Cx, Effect, Extension, Reply, Rooms, Side, Verdict, Watch,
};
use crate::session_manager::session::{self, Seat};
use crate::xml::element::Element;
use crate::xml::head::Raw;
use crate::xml::pieces::pieces;
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::jid::{BareJid, Jid};
use crate::xmpp::kind::{IqType, Kind, MessageType};
use crate::xmpp::namespaces::{
    CARBONS, CARBONS_RULES, CHAT_MARKERS, CHAT_STATES, CLIENT, CONFERENCE, FORWARD, HINTS,
    MUC_USER, RECEIPTS,
};
use crate::xmpp::stanza::{ChildName, Stanza};

/// Finds the namespace, in every message several times: made once.
static NAMESPACE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(CARBONS));

/// The extension.
#[derive(Debug)]
pub struct Carbons;

#[async_trait]
impl Extension for Carbons {
    fn about(&self) -> About {
        About {
            specification: "XEP-0280: Message Carbons",
            host_features: &[CARBONS, CARBONS_RULES],
            account_features: &[CARBONS, CARBONS_RULES],
            requests: &[CARBONS],
            ..About::default()
        }
    }

    fn asked(&self, request: &Stanza, child: &ChildName) -> Option<Asked> {
        let is_on = wish(request, child)?;
        Some(Asked { flag: session::CARBONS, is_on })
    }

    async fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Answer {
        cx.own_account(request)?;
        wish(request, child).ok_or(StanzaCondition::BadRequest)?;
        Ok(Reply::default())
    }

    fn watch(&self) -> Option<&dyn Watch> {
        Some(self)
    }
}

impl Watch for Carbons {
    /// Nobody sends copies but the server.
    fn sent(&self, _: &Rooms, stanza: &Stanza) -> Verdict {
        match is_copy(stanza) {
            true => Verdict::Reject(StanzaCondition::NotAcceptable.into()),
            false => Verdict::Pass,
        }
    }

    fn arriving(&self, _: &Rooms, stanza: &Stanza) -> Verdict {
        if !is_copy(stanza) {
            return Verdict::Pass;
        }
        let ours = stanza.to.as_ref().map(|to| Jid::from(to.bare()));
        match ours == stanza.from {
            // the session that it was written for has gone
            true => Verdict::Ignore,
            false => Verdict::Reject(StanzaCondition::NotAcceptable.into()),
        }
    }

    /// That a message is private is nobody's business but the servers' (§9).
    fn delivered(&self, message: &mut Stanza) {
        if let Some(payload) = without_private(&message.payload) {
            message.payload = payload;
        }
    }

    fn copies(&self, rooms: &Rooms, message: &Stanza, side: Side<'_>) -> Vec<Effect> {
        let (Some(from), Some(to)) = (&message.from, &message.to) else { return Vec::new() };
        let (account, name) = match side {
            // to oneself: whoever does not receive it gets a copy of that
            Side::Sent if from.bare_str() == to.bare_str() => return Vec::new(),
            Side::Sent => (from, "sent"),
            Side::Received(_) => (to, "received"),
        };
        let entries = rooms.sessions.of(account.bare_str());
        let wants = |entry: &&Entry<SessionRow>| {
            let has_it = match side {
                Side::Sent => false,
                Side::Received(seats) => seats.contains(&seat(entry)),
            };
            entry.row.flags & session::CARBONS != 0 && !has_it && *entry.row.jid != *from.as_str()
        };
        let readers: Vec<&Entry<SessionRow>> = entries.iter().filter(wants).collect();
        if readers.is_empty() || !is_eligible(message, side) {
            return Vec::new();
        }
        let payload = wrapped(message, name);
        let copy = |entry: &&Entry<SessionRow>| {
            let to = Jid::parse(&entry.row.jid).ok()?;
            let copy = copy(message, account.bare(), to, payload.clone());
            Some(Effect::Write(vec![seat(entry)], copy))
        };
        readers.iter().filter_map(copy).collect()
    }
}

fn seat(entry: &Entry<SessionRow>) -> Seat {
    Seat { owner: entry.owner, number: entry.number }
}

/// The payload without the element that forbids copies; `None`: it has none.
fn without_private(payload: &Bytes) -> Option<Bytes> {
    NAMESPACE.find(payload)?;
    let pieces = pieces(payload).ok()?;
    let is_private = |piece: &Raw| piece.is("private", CARBONS, CLIENT);
    let others = pieces.iter().filter(|piece| !is_private(piece));
    let others: Vec<&[u8]> = others.map(|piece| &piece.bytes[..]).collect();
    (others.len() < pieces.len()).then(|| others.concat().into())
}

/// Whether a session wants copies, if it says so.
fn wish(request: &Stanza, child: &ChildName) -> Option<bool> {
    match (request.kind, &*child.name) {
        (Kind::Iq(IqType::Set), "enable") => Some(true),
        (Kind::Iq(IqType::Set), "disable") => Some(false),
        _ => None,
    }
}

/// Whether a message says that it holds a copy.
fn is_copy(stanza: &Stanza) -> bool {
    if !matches!(stanza.kind, Kind::Message(_)) {
        return false;
    }
    [&stanza.payload, &stanza.extra].into_iter().any(|bytes| may_name(bytes))
        && stanza.elements().is_ok_and(|elements| elements.iter().any(says_copy))
}

/// Whether the namespace may be in there: it can be written with character
/// references as well.
fn may_name(bytes: &[u8]) -> bool {
    let mut references = memchr::memchr_iter(b'&', bytes);
    NAMESPACE.find(bytes).is_some() || references.any(|at| bytes.get(at + 1) == Some(&b'#'))
}

fn says_copy(element: &Element) -> bool {
    element.is("sent", CARBONS) || element.is("received", CARBONS)
}

/// Which messages are copied (XEP-0280 §6.1, §8, §9).
fn is_eligible(message: &Stanza, side: Side<'_>) -> bool {
    let Ok(elements) = message.elements() else { return false };
    let has = |name: &str, ns: &str| elements.iter().any(|element| element.is(name, ns));
    if has("private", CARBONS) || has("no-copy", HINTS) || elements.iter().any(says_copy) {
        return false;
    }
    match message.kind {
        Kind::Message(MessageType::Chat) => {
            // a room gives its private messages to each session that is in it
            let is_from_room = |one: &Element| one.is("x", MUC_USER) && !is_invitation(one);
            side == Side::Sent || !elements.iter().any(is_from_room)
        }
        // an error that gives back what was said belongs to what was said
        Kind::Message(MessageType::Normal | MessageType::Error) => {
            elements.iter().any(is_conversation)
        }
        _ => false,
    }
}

/// Whether people talk with each other by it.
fn is_conversation(element: &Element) -> bool {
    element.is("body", CLIENT)
        || [RECEIPTS, CHAT_MARKERS, CHAT_STATES, CONFERENCE].contains(&element.ns.as_str())
        || is_invitation(element)
}

fn is_invitation(element: &Element) -> bool {
    element.is("x", MUC_USER)
        && ["invite", "decline"].iter().any(|name| element.find(name, MUC_USER).is_some())
}

fn wrapped(message: &Stanza, name: &str) -> Bytes {
    let original = message.write();
    let rest = original.strip_prefix(b"<message").unwrap_or(&original);
    let open =
        format!("<{name} xmlns='{CARBONS}'><forwarded xmlns='{FORWARD}'><message xmlns='{CLIENT}'");
    [open.as_bytes(), rest, b"</forwarded></", name.as_bytes(), b">"].concat().into()
}

fn copy(message: &Stanza, account: BareJid, to: Jid, payload: Bytes) -> Stanza {
    Stanza::new(message.kind, Some(account.into()), Some(to), payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use MessageType::{Chat, Error, Groupchat, Headline, Normal};

    fn message(kind: MessageType, payload: &str) -> Stanza {
        let jid = |text| Some(Jid::parse(text).expect("an address"));
        let payload = Bytes::from(payload.to_owned());
        Stanza::new(Kind::Message(kind), jid("a@b/c"), jid("d@e"), payload)
    }

    /// Copied where it is sent, and where it is received.
    #[track_caller]
    fn check(kind: MessageType, payload: &str, sent: bool, received: bool) {
        let message = message(kind, payload);
        assert_eq!(is_eligible(&message, Side::Sent), sent, "sent {payload}");
        assert_eq!(is_eligible(&message, Side::Received(&[])), received, "received {payload}");
    }

    #[test]
    fn what_people_say_to_each_other_is_copied() {
        let body = "<body>hi</body>";
        check(Chat, body, true, true);
        check(Normal, body, true, true);
        check(Groupchat, body, false, false);
        check(Headline, body, false, false);
        check(Chat, "<composing xmlns='http://jabber.org/protocol/chatstates'/>", true, true);
        check(Normal, "<received xmlns='urn:xmpp:receipts' id='1'/>", true, true);
        check(Normal, "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", true, true);
        check(Normal, "<x xmlns='jabber:x:conference' jid='a@b'/>", true, true);
        check(Normal, "<subject>hi</subject>", false, false);
        check(Normal, "<event xmlns='http://jabber.org/protocol/pubsub#event'/>", false, false);
        check(Error, "<error type='cancel'/>", false, false);
        check(Error, "<body>hi</body><error type='cancel'/>", true, true);
    }

    #[test]
    fn rooms_give_to_each_session_themselves() {
        let muc = |inside: &str| format!("<x xmlns='{MUC_USER}'>{inside}</x>");
        check(Chat, &format!("<body>x</body>{}", muc("")), true, false);
        check(Normal, &muc("<invite from='a@b'/>"), true, true);
        check(Chat, &muc("<decline from='a@b'/>"), true, true);
        check(Normal, &muc(""), false, false);
    }

    #[test]
    fn who_wants_no_copy_gets_none() {
        for element in [
            "<private xmlns='urn:xmpp:carbons:2'/>",
            "<no-copy xmlns='urn:xmpp:hints'/>",
            "<sent xmlns='urn:xmpp:carbons:2'/>",
            "<received xmlns='urn:xmpp:carbons:2'/>",
        ] {
            check(Chat, &format!("<body>x</body>{element}"), false, false);
        }
    }

    #[test]
    fn a_copy_is_known_however_it_is_written() {
        let is = |payload: &str| is_copy(&message(Chat, payload));
        assert!(is("<received xmlns='urn:xmpp:carbons:2'/>"));
        assert!(is("<body/><c:sent xmlns:c='urn:xmpp:carbons:2'/>"));
        assert!(is("<sent xmlns='urn:xmpp:carbons&#58;2'/>"));
        assert!(is("<sent xmlns='urn:xmpp:carbons&#x3a;2'/>"));
        assert!(!is("<body>urn:xmpp:carbons:2 &#60;</body>"));
        assert!(!is("<private xmlns='urn:xmpp:carbons:2'/>"));
        let extra = Bytes::from_static(b" xmlns:c='urn:xmpp:carbons:2'");
        assert!(is_copy(&Stanza { extra, ..message(Chat, "<c:sent/>") }));
    }

    #[test]
    fn what_is_private_is_delivered_without_saying_so() {
        let private = "<body>x</body> <private xmlns='urn:xmpp:carbons:2'/><a xmlns='u'>y</a>";
        for (said, got) in [
            (private, "<body>x</body><a xmlns='u'>y</a>"),
            ("<body>urn:xmpp:carbons:2</body>", "<body>urn:xmpp:carbons:2</body>"),
        ] {
            let mut message = message(Chat, said);
            Carbons.delivered(&mut message);
            assert_eq!(message.payload, got);
        }
    }

    #[test]
    fn a_copy_holds_its_original() {
        let message = message(Chat, "<body>x</body>");
        let account = BareJid::parse("a@b").expect("an address");
        let to = Jid::parse("a@b/d").expect("an address");
        let copy = copy(&message, account, to, wrapped(&message, "sent"));
        assert_eq!(
            String::from_utf8_lossy(&copy.write()),
            "<message from='a@b' to='a@b/d' type='chat'><sent xmlns='urn:xmpp:carbons:2'>\
             <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='a@b/c' \
             to='d@e' type='chat'><body>x</body></message></forwarded></sent></message>"
        );
    }
}
