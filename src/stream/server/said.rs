//! A stanza of another server as it came: whom it may come from, and whom it
//! may be for.

use crate::stream::server::World;
use crate::xml::head::Raw;
use crate::xmpp::content::{Depth, taken};
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::{Domain, Jid};
use crate::xmpp::namespaces::SERVER;
use crate::xmpp::stanza::{ReadError, Stanza};

/// What a stanza has come to.
#[derive(Debug)]
pub(super) enum Said {
    /// Its `from` is proved, and it is for a domain of ours.
    Stanza(Stanza),
    /// It is none: an answer to whoever sent it, if he can be told.
    Wrong(Option<Stanza>),
}

/// Reads a stanza (RFC 6120 §8.1.1.2, §8.1.2.2). `speaks` knows whether the
/// stream may speak for somebody to a domain of ours; `ours` is that of the
/// stream.
///
/// # Errors
/// The stream error that the peer is told.
pub(super) fn read(
    raw: &Raw,
    ours: &Domain,
    speaks: impl Fn(&Jid, &Domain) -> bool,
    world: &dyn World,
) -> Result<Said, StreamError> {
    let stanza = match Stanza::read(raw, SERVER) {
        Ok(stanza) => stanza,
        Err(ReadError::Bad(fault)) => {
            let from = raw.attribute("from").and_then(|from| Jid::parse(&from).ok());
            let Some(from) = from.filter(|from| speaks(from, ours)) else {
                return Err(StreamCondition::InvalidFrom.into());
            };
            let answer = fault.answer(&from).and_then(|answer| Stanza::parse_bytes(answer).ok());
            let to = raw.attribute("to").and_then(|to| Jid::parse(&to).ok());
            let us = to.unwrap_or_else(|| ours.clone().into());
            return Ok(Said::Wrong(answer.map(|answer| Stanza { from: Some(us), ..answer })));
        }
        Err(ReadError::WrongNamespace) if raw.head.is_prefixed => {
            return Err(StreamCondition::BadNamespacePrefix.into());
        }
        Err(ReadError::NotAStanza | ReadError::WrongNamespace) => {
            return Err(StreamCondition::UnsupportedStanzaType.into());
        }
    };
    let (Some(from), Some(to)) = (&stanza.from, &stanza.to) else {
        return Err(StreamCondition::ImproperAddressing.into());
    };
    let Ok(ours) = Domain::parse(to.domain()) else {
        return Err(StreamCondition::ImproperAddressing.into());
    };
    if !speaks(from, &ours) {
        return Err(StreamCondition::InvalidFrom.into());
    }
    if !world.serves(ours.as_str()) {
        return Err(StreamCondition::HostUnknown.into());
    }
    Ok(Said::Stanza(taken(stanza, SERVER, Depth::Content)))
}
