//! Streams between servers, as states: one that has come (`incoming`), and one
//! that we have opened (`outgoing`). Pure: clocks, sockets, certificates and
//! random bits come in as arguments.

mod back;
pub mod features;
pub mod incoming;
pub mod key;
mod open;
pub mod outgoing;
mod proving;
mod said;
pub mod words;

use crate::stream::server::key::Secrets;
use crate::xml::element::Element;
use crate::xml::head::{Header, Raw};
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::Domain;
use crate::xmpp::namespaces::{SERVER, STREAM, STREAM_ERRORS};

/// A domain of ours and one of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// Ours.
    pub ours: Domain,
    /// Theirs.
    pub theirs: Domain,
}

/// What a server must do to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Nothing is said outside TLS.
    pub require_tls: bool,
    /// Its certificate must speak for its domain.
    pub require_valid_certificate: bool,
    /// The exception: inside TLS, dialback does as well.
    pub dialback: bool,
    /// One stream may carry the stanzas of both (XEP-0288).
    pub bidirectional: bool,
}

/// How somebody has proved who he is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// By a certificate (RFC 6120 §13.7).
    Certificate,
    /// By dialback (XEP-0220).
    Dialback,
}

/// What became of a dialback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The key is right.
    Valid,
    /// It is not.
    Invalid,
    /// Nobody could say.
    Unknown,
}

/// Whether the bytes under the stream can be read on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// They can; TLS may still come.
    Plain,
    /// They cannot.
    Tls,
}

/// What a step may ask about the world.
pub trait World {
    /// Whether a domain is ours.
    fn serves(&self, domain: &str) -> bool;
    /// By what rules a server is believed; `None`: it is blocked.
    fn policy(&self, theirs: &Domain) -> Option<Policy>;
    /// Whether the certificate that the peer of this connection has shown
    /// speaks for that domain now.
    fn vouches(&self, theirs: &Domain) -> bool;
    /// What our dialback keys are made of.
    fn secrets(&self) -> Secrets;
    /// An unpredictable stream id, never the same twice.
    fn id(&self) -> String;
    /// For how many seconds a stream may go on after its connection was lost;
    /// 0: it may not.
    fn kept(&self) -> u64;
}

impl Proof {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Dialback => "dialback",
        }
    }
}

impl Policy {
    /// Whether dialback alone is enough on such a channel.
    pub fn accepts_dialback(&self, channel: Channel) -> bool {
        match channel {
            Channel::Tls => self.dialback || !self.require_valid_certificate,
            Channel::Plain => !self.require_tls && !self.require_valid_certificate,
        }
    }
}

impl Verdict {
    /// The verdict in the `type` of a dialback answer.
    pub fn read(word: &str) -> Self {
        match word {
            "valid" => Self::Valid,
            "invalid" => Self::Invalid,
            _ => Self::Unknown,
        }
    }
}

/// Whether this is a stream between servers at all (RFC 6120 §4.8); says
/// whether it is of version 1.0 or later.
///
/// # Errors
/// The stream error that the peer is told.
pub fn check(header: &Header) -> Result<bool, StreamError> {
    if header.name != "stream" {
        return Err(StreamCondition::InvalidXml.into());
    }
    if header.ns != STREAM || header.default_ns != SERVER {
        return Err(StreamCondition::InvalidNamespace.into());
    }
    let major = header.version.as_deref().and_then(|version| version.split_once('.'));
    let major = major.map(|(major, _)| major.trim_start_matches('0'));
    Ok(major
        .is_some_and(|major| !major.is_empty() && major.bytes().all(|byte| byte.is_ascii_digit())))
}

/// The domain in an attribute, if it is one.
fn domain(raw: &Raw, name: &str) -> Option<Domain> {
    raw.attribute(name).and_then(|text| Domain::parse(&text).ok())
}

/// The condition of a stream error, and its text.
fn condition(raw: &Raw) -> Box<str> {
    let said = Element::parse_all(&raw.content(), SERVER).unwrap_or_default();
    let of_streams = said.iter().filter(|one| one.ns == STREAM_ERRORS);
    let condition = of_streams.clone().find(|one| one.name != "text");
    let condition = condition.map_or("undefined-condition", |one| one.name.as_str());
    // what a stranger writes goes into logs: no more than a line of it
    let text = of_streams.clone().find(|one| one.name == "text").map(Element::own_text);
    let text: String = text.unwrap_or_default().chars().take(100).collect();
    match text.is_empty() {
        true => condition.into(),
        false => format!("{condition} ({})", text.escape_debug()).into(),
    }
}

#[cfg(test)]
mod tests;
