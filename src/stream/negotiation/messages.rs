//! What the server says during the negotiation, as bytes.

use bytes::Bytes;
use rand::RngCore;

use crate::stream::negotiation::{Channel, Settings};
use crate::stream::sasl::failure::Failure;
use crate::stream::sasl::mechanism::Mechanism;
use crate::stream::sasl::{self};
use crate::xml::escape::escape_attribute;
use crate::xmpp::jid::FullJid;
use crate::xmpp::namespaces::{
    BIND, CLIENT, REGISTER_FEATURE, SASL, SASL_CHANNEL_BINDING, SESSION, STREAM, TLS,
};

/// Our header. The stream id is 128 random bits, new for every header and
/// never the same twice in a cluster (RFC 6120 §4.7.3).
pub fn header(from: &str, to: Option<&str>, random: &mut dyn RngCore) -> Bytes {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"<?xml version='1.0'?><stream:stream xmlns='");
    out.extend_from_slice(CLIENT.as_bytes());
    out.extend_from_slice(b"' xmlns:stream='");
    out.extend_from_slice(STREAM.as_bytes());
    out.extend_from_slice(format!("' id='{}' from='", token(random)).as_bytes());
    escape_attribute(from, &mut out);
    if let Some(to) = to {
        out.extend_from_slice(b"' to='");
        escape_attribute(to, &mut out);
    }
    out.extend_from_slice(b"' version='1.0' xml:lang='en'>");
    out.into()
}

/// 128 random bits as text: for stream ids and nonces.
pub fn token(random: &mut dyn RngCore) -> String {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

/// What can be done before authentication.
pub fn first_features(channel: &Channel, settings: &Settings) -> Bytes {
    let content = match channel {
        Channel::Plain if settings.require_tls => {
            format!("<starttls xmlns='{TLS}'><required/></starttls>")
        }
        Channel::Plain => format!(
            "<starttls xmlns='{TLS}'/>{}{}",
            mechanisms(channel, settings),
            registration(settings)
        ),
        Channel::Tls(_) => format!("{}{}", mechanisms(channel, settings), registration(settings)),
    };
    features(&content)
}

/// What can be done after it.
pub fn second_features(others: &str) -> Bytes {
    features(&format!(
        "<bind xmlns='{BIND}'><required/></bind>\
         <session xmlns='{SESSION}'><optional/></session>{others}"
    ))
}

/// Whether accounts can be made here (XEP-0077 §8).
fn registration(settings: &Settings) -> String {
    match settings.registration {
        Some(_) => format!("<register xmlns='{REGISTER_FEATURE}'/>"),
        None => String::new(),
    }
}

fn features(content: &str) -> Bytes {
    format!("<stream:features>{content}</stream:features>").into()
}

fn mechanisms(channel: &Channel, settings: &Settings) -> String {
    let offered: Vec<Mechanism> = settings.offered(channel).collect();
    let names = offered.iter().map(|one| format!("<mechanism>{}</mechanism>", one.name()));
    let mechanisms =
        format!("<mechanisms xmlns='{SASL}'>{}</mechanisms>", names.collect::<String>());
    let Channel::Tls(bindings) = channel else { return mechanisms };
    // XEP-0440 is for whoever may use them
    if !offered.iter().any(|one| one.is_bound()) {
        return mechanisms;
    }
    let types = bindings.names().map(|name| format!("<channel-binding type='{name}'/>"));
    let types: String = types.collect();
    format!(
        "{mechanisms}<sasl-channel-binding xmlns='{SASL_CHANNEL_BINDING}'>{types}</sasl-channel-binding>"
    )
}

/// TLS may begin (RFC 6120 §5.4.2.3).
pub fn proceed() -> Bytes {
    format!("<proceed xmlns='{TLS}'/>").into()
}

/// TLS may not begin; the stream ends (RFC 6120 §5.4.2.2).
pub fn tls_failure() -> Bytes {
    format!("<failure xmlns='{TLS}'/></stream:stream>").into()
}

/// A SASL challenge.
pub fn challenge(message: &[u8]) -> Bytes {
    let text = if message.is_empty() { String::new() } else { sasl::encode(message) };
    format!("<challenge xmlns='{SASL}'>{text}</challenge>").into()
}

/// SASL has succeeded; `message` is its last word, if it has one.
pub fn success(message: Option<&str>) -> Bytes {
    match message {
        None => format!("<success xmlns='{SASL}'/>").into(),
        Some(message) => {
            format!("<success xmlns='{SASL}'>{}</success>", sasl::encode(message.as_bytes())).into()
        }
    }
}

/// SASL has failed.
pub fn failure(failure: Failure) -> Bytes {
    failure.to_xml().into()
}

/// The content of the answer to a bind request.
pub fn bound(jid: &FullJid) -> Bytes {
    let mut out = format!("<bind xmlns='{BIND}'><jid>").into_bytes();
    crate::xml::escape::escape_text(jid.as_str(), &mut out);
    out.extend_from_slice(b"</jid></bind>");
    out.into()
}
