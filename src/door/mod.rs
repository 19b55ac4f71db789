//! Where bytes become stanzas: clients, components, other servers, other nodes.

pub mod addresses;
pub mod allowance;
pub mod c2s;
pub mod client;
pub mod component;
pub mod config;
pub mod entry;
pub mod front;
pub mod mesh;
mod recent;
mod registering;
pub mod s2s;
mod strangers;

use crate::xml::error::XmlError;
use crate::xmpp::error::{StreamCondition, StreamError};

/// What a peer is told about XML that did not pass the gate.
pub fn broken(error: XmlError) -> StreamError {
    let limit = |text| StreamError::new(StreamCondition::PolicyViolation, text);
    match error {
        XmlError::NotWellFormed => StreamCondition::NotWellFormed.into(),
        XmlError::Restricted => StreamCondition::RestrictedXml.into(),
        XmlError::UnsupportedEncoding => StreamCondition::UnsupportedEncoding.into(),
        XmlError::UnsupportedVersion => StreamCondition::RestrictedXml.into(),
        XmlError::TextBetweenStanzas => StreamCondition::BadFormat.into(),
        XmlError::TooLarge => limit("too many bytes in one element"),
        XmlError::TooDeep => limit("too many elements within one another"),
        XmlError::TooManyAttributes => limit("too many attributes in one tag"),
        XmlError::TooManyNamespaces => limit("too many namespace declarations in one tag"),
        XmlError::TooManyElements => limit("too many elements in one stanza"),
    }
}
