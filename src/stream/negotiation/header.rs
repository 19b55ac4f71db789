//! The header that opens a stream: is it one of ours (RFC 6120 §4.7)?

use crate::stream::negotiation::Settings;
use crate::xml::head::Header;
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::{BareJid, Domain};
use crate::xmpp::namespaces;

/// Characters of a language tag. BCP 47 has none longer in use.
const LANG_MAX: usize = 35;

/// A header that was found in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Which of our domains it is for.
    pub domain: Domain,
    /// Who says it comes.
    pub from: Option<BareJid>,
    /// The language that the client speaks.
    pub lang: Option<String>,
}

/// Checks the header in the order in which its faults are told.
///
/// # Errors
/// The stream error that the peer is told.
pub fn check(header: &Header, settings: &Settings) -> Result<Opening, StreamError> {
    if header.name != "stream" {
        return Err(StreamCondition::InvalidXml.into());
    }
    match header.default_ns.as_str() {
        _ if header.ns != namespaces::STREAM => {
            return Err(StreamCondition::InvalidNamespace.into());
        }
        namespaces::CLIENT => {}
        namespaces::SERVER | namespaces::COMPONENT | "" => {
            return Err(StreamCondition::InvalidNamespace.into());
        }
        _ => return Err(StreamCondition::InvalidXml.into()),
    }
    if !header.version.as_deref().is_some_and(is_version_1) {
        return Err(StreamCondition::UnsupportedVersion.into());
    }
    if header.lang.as_ref().is_some_and(|lang| lang.len() > LANG_MAX) {
        return Err(StreamCondition::InvalidXml.into());
    }
    let to = header.to.as_deref().ok_or(StreamCondition::ImproperAddressing)?;
    let domain = settings.find(to).ok_or(StreamCondition::HostUnknown)?;
    let from = match &header.from {
        None => None,
        Some(from) => Some(BareJid::parse(from).map_err(|_| StreamCondition::InvalidFrom)?),
    };
    let lang = header.lang.clone().filter(|lang| !lang.is_empty());
    Ok(Opening { domain: domain.clone(), from, lang })
}

/// `1.0` and above; numbers are compared as numbers (RFC 6120 §4.7.5).
fn is_version_1(text: &str) -> bool {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.trim_start_matches('0').to_owned())
    };
    match text.split_once('.') {
        Some((major, minor)) => {
            number(major).is_some_and(|major| !major.is_empty()) && number(minor).is_some()
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for good in ["1.0", "1.10", "01.0", "99.0", "99999999999999999999.0"] {
            assert!(is_version_1(good), "{good}");
        }
        for bad in ["", "1", "0.9", "00.9", "1.", ".0", "1.0.0", "-1.0", "one.0", "1.x"] {
            assert!(!is_version_1(bad), "{bad}");
        }
    }
}
