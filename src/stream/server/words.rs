//! What servers say to each other during the negotiation, as bytes.

use bytes::Bytes;

use crate::stream::sasl;
use crate::stream::server::{Pair, Verdict, domain};
use crate::xml::escape::{escape_attribute, escape_text};
use crate::xml::head::Raw;
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::jid::Domain;
use crate::xmpp::namespaces::{BIDI, DIALBACK, SASL, SERVER, STREAM, TLS};

/// Whether our header says the version (RFC 6120 §4.7.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 1.0.
    One,
    /// The peer knows of none.
    None,
}

/// Our header: `id` for a stream that has come. One that we open names no
/// language: its stanzas have many, and mostly name none.
pub fn header(from: &str, to: Option<&str>, id: Option<&str>, version: Version) -> Bytes {
    let mut out = format!(
        "<?xml version='1.0'?><stream:stream xmlns='{SERVER}' xmlns:stream='{STREAM}' \
         xmlns:db='{DIALBACK}'"
    )
    .into_bytes();
    attribute("id", id, &mut out);
    attribute("from", Some(from), &mut out);
    attribute("to", to, &mut out);
    if version == Version::One {
        out.extend_from_slice(b" version='1.0'");
    }
    if id.is_some() {
        out.extend_from_slice(b" xml:lang='en'");
    }
    out.push(b'>');
    out.into()
}

/// We ask for TLS (RFC 6120 §5.4.2.1).
pub fn starttls() -> Bytes {
    format!("<starttls xmlns='{TLS}'/>").into()
}

/// TLS may begin.
pub fn proceed() -> Bytes {
    format!("<proceed xmlns='{TLS}'/>").into()
}

/// TLS may not begin; the stream ends.
pub fn tls_failure() -> Bytes {
    format!("<failure xmlns='{TLS}'/></stream:stream>").into()
}

/// We prove ourselves by our certificate (XEP-0178 §3).
pub fn external(ours: &str) -> Bytes {
    let name = sasl::encode(ours.as_bytes());
    format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'>{name}</auth>").into()
}

/// Who are you?
pub fn challenge() -> Bytes {
    format!("<challenge xmlns='{SASL}'/>").into()
}

/// The certificate is believed.
pub fn success() -> Bytes {
    format!("<success xmlns='{SASL}'/>").into()
}

/// It is not; `condition` of RFC 6120 §6.5.
pub fn sasl_failure(condition: &str) -> Bytes {
    format!("<failure xmlns='{SASL}'><{condition}/></failure>").into()
}

/// Both directions may use this stream (XEP-0288 §2.2).
pub fn bidi() -> Bytes {
    format!("<bidi xmlns='{BIDI}'/>").into()
}

/// We prove ourselves by a key (XEP-0220 §2.1.1).
pub fn result(pair: &Pair, key: &str) -> Bytes {
    dialback("result", pair, None, None, |out| escape_text(key, out))
}

/// Has somebody of yours made this key (XEP-0220 §2.2.1)?
pub fn verify(pair: &Pair, id: &str, key: &str) -> Bytes {
    dialback("verify", pair, Some(id), None, |out| escape_text(key, out))
}

/// What we say to `theirs` about the key that it has shown.
pub fn result_answer(pair: &Pair, verdict: Result<Verdict, StanzaCondition>) -> Bytes {
    answer("result", pair, None, verdict)
}

/// What we say to `theirs` about a key that we may have made.
pub fn verify_answer(pair: &Pair, id: &str, verdict: Result<Verdict, StanzaCondition>) -> Bytes {
    answer("verify", pair, Some(id), verdict)
}

/// What an answer of `theirs` says of a key; nothing within: it is about others.
/// Nothing at all: it is none.
pub fn answered(raw: &Raw, name: &str, pair: &Pair) -> Option<Option<Verdict>> {
    let word = raw.attribute("type").filter(|_| raw.is(name, DIALBACK, SERVER))?;
    let is = |name: &str, expected: &Domain| domain(raw, name).as_ref() == Some(expected);
    let is_ours = is("from", &pair.theirs) && is("to", &pair.ours);
    Some(is_ours.then(|| Verdict::read(&word)))
}

fn answer(
    name: &str,
    pair: &Pair,
    id: Option<&str>,
    verdict: Result<Verdict, StanzaCondition>,
) -> Bytes {
    let condition = match verdict {
        Ok(Verdict::Valid) => return dialback(name, pair, id, Some("valid"), |_| {}),
        Ok(Verdict::Invalid) => return dialback(name, pair, id, Some("invalid"), |_| {}),
        Ok(Verdict::Unknown) => StanzaCondition::RemoteServerTimeout,
        Err(condition) => condition,
    };
    let error = StanzaError::from(condition);
    dialback(name, pair, id, Some("error"), |out| error.write(out))
}

fn dialback(
    name: &str,
    pair: &Pair,
    id: Option<&str>,
    word: Option<&str>,
    content: impl FnOnce(&mut Vec<u8>),
) -> Bytes {
    let mut out = format!("<db:{name}").into_bytes();
    attribute("from", Some(pair.ours.as_str()), &mut out);
    attribute("to", Some(pair.theirs.as_str()), &mut out);
    attribute("id", id, &mut out);
    attribute("type", word, &mut out);
    out.push(b'>');
    content(&mut out);
    out.extend_from_slice(format!("</db:{name}>").as_bytes());
    out.into()
}

fn attribute(name: &str, value: Option<&str>, out: &mut Vec<u8>) {
    let Some(value) = value else { return };
    out.extend_from_slice(format!(" {name}='").as_bytes());
    escape_attribute(value, out);
    out.push(b'\'');
}
