//! Commands that say something: as anybody, or to everybody.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::admin::Admin;
use crate::admin::answers::{address, done, failed};
use crate::admin::requests::Response;
use crate::session_manager::everywhere::{self, Announcement};
use crate::xml::element::Element;
use crate::xmpp::jid::{Domain, Jid};
use crate::xmpp::kind::{Kind, MessageType};
use crate::xmpp::namespaces::CLIENT;
use crate::xmpp::stanza::Stanza;

/// Bytes of a text. A guess: longer than anybody reads.
const TEXT_BYTES_MAX: usize = 32 << 10;

/// What a message is sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TextKind {
    /// As a line of a conversation.
    Chat,
    /// As a message of its own.
    Normal,
    /// As news: it is not kept for those who are away.
    Headline,
}

/// A message goes the way of every message. Its sender hears of errors.
pub fn send(admin: &Admin, from: &str, to: &str, kind: TextKind, text: &str) -> Response {
    let (from, to) = match (address(from), address(to)) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(failed), _) | (_, Err(failed)) => return failed,
    };
    if let Err(failed) = readable(text) {
        return failed;
    }
    let kind = match kind {
        TextKind::Chat => MessageType::Chat,
        TextKind::Normal => MessageType::Normal,
        TextKind::Headline => MessageType::Headline,
    };
    let body = Element::new("body", CLIENT).text(text).to_bytes(CLIENT);
    let message = Stanza::new(Kind::Message(kind), Some(from), Some(to), body);
    let id = format!("sent-{:016x}", rand::random::<u64>());
    inject(admin, Stanza { id: Some(id.into()), ..message })
}

/// A whole stanza goes its way.
pub fn stanza(admin: &Admin, text: String) -> Response {
    match Stanza::parse_bytes(Bytes::from(text.trim().to_owned())) {
        Ok(stanza) => inject(admin, stanza),
        Err(_) => failed("not one stanza: expected a <message/>, <presence/> or <iq/>"),
    }
}

fn inject(admin: &Admin, stanza: Stanza) -> Response {
    let (Some(from), Some(to)) = (stanza.from.clone(), stanza.to.clone()) else {
        return failed("a stanza must say `from` whom and `to` whom it is");
    };
    // somebody else's server says itself who is there
    let is_ours = admin.rooms.serves(to.domain());
    let reaches = || if is_ours { known(admin, &to) } else { abroad(admin, &to) };
    if let Err(failed) = known(admin, &from).and_then(|()| reaches()) {
        return failed;
    }
    let name = stanza.kind.name();
    admin.router.inject(stanza);
    done(format!("{name} from {from} to {to} sent"))
}

/// A domain that we speak with.
fn abroad(admin: &Admin, jid: &Jid) -> Result<(), Response> {
    let domain = Domain::parse(jid.domain()).ok();
    let policy = domain.and_then(|domain| admin.servers.trust().config.policy(&domain));
    match policy {
        Some(_) => Ok(()),
        None => Err(failed(format!("{jid}: its domain is not served here, nor spoken with"))),
    }
}

/// One of our domains, or an account of ours.
fn known(admin: &Admin, jid: &Jid) -> Result<(), Response> {
    if !admin.rooms.serves(jid.domain()) {
        return Err(failed(format!("{jid}: its domain is not served here")));
    }
    if jid.local().is_none() {
        return Ok(());
    }
    match admin.rooms.accounts.exists(&jid.bare()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(failed(format!("{}: there is no such account", jid.bare()))),
        Err(error) => Err(failed(error)),
    }
}

/// All available sessions hear something, of one of our domains or of all.
pub async fn announce(
    admin: &Admin,
    domain: Option<String>,
    subject: Option<String>,
    text: String,
) -> Response {
    if let Err(failed) = readable(&text).and_then(|()| readable(subject.as_deref().unwrap_or("-")))
    {
        return failed;
    }
    let ours = || admin.rooms.domains.iter().map(|domain| domain.to_string()).collect();
    let domains: Vec<String> = match domain {
        None => ours(),
        Some(domain) => match Domain::parse(&domain) {
            Ok(parsed) if admin.rooms.serves(parsed.as_str()) => vec![parsed.as_str().to_owned()],
            _ => return failed(format!("{domain:?} is not served here")),
        },
    };
    let (mut sessions, mut silent) = (0, 0);
    for domain in domains {
        let subject = subject.clone().unwrap_or_default();
        let announcement = Announcement { domain, subject, text: text.clone() };
        let told = everywhere::announce(&admin.cluster, &announcement).await;
        sessions += told.sessions;
        silent = silent.max(told.silent);
    }
    let said = match sessions {
        1 => "said to 1 session".to_owned(),
        count => format!("said to {count} sessions"),
    };
    match silent {
        0 => done(said),
        1 => failed(format!("{said}, but 1 node did not answer")),
        silent => failed(format!("{said}, but {silent} nodes did not answer")),
    }
}

/// Whether a text may stand in XML, and is one.
fn readable(text: &str) -> Result<(), Response> {
    let is_allowed = |c: char| {
        c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}') || matches!(c, '\n' | '\t' | '\r')
    };
    match text {
        "" => Err(failed("there is no text")),
        text if text.len() > TEXT_BYTES_MAX => {
            Err(failed(format!("a text has at most {TEXT_BYTES_MAX} bytes")))
        }
        text if !text.chars().all(is_allowed) => Err(failed("the text has control characters")),
        _ => Ok(()),
    }
}
