//! Errors of stanzas and of streams, and how they are said on the wire.
//!
//! A stanza error ends one exchange, a stream error one stream. Errors of the
//! process are not here: nothing a peer sends ends the process.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::xml::escape::escape_text;
use crate::xmpp::namespaces::{STANZA_ERRORS, STREAM_ERRORS};

/// Declares an enum of conditions with their words on the wire.
macro_rules! conditions {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every condition there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The element's name on the wire.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

conditions! {
    /// What is wrong with a stanza (RFC 6120 §8.3.3).
    StanzaCondition {
        /// The stanza cannot be understood.
        BadRequest = "bad-request",
        /// Something of that name is there already.
        Conflict = "conflict",
        /// The feature is known but not offered.
        FeatureNotImplemented = "feature-not-implemented",
        /// The sender may not do this.
        Forbidden = "forbidden",
        /// The addressee is reached elsewhere for good.
        Gone = "gone",
        /// A fault of ours.
        InternalServerError = "internal-server-error",
        /// No such item or address.
        ItemNotFound = "item-not-found",
        /// An address that is none.
        JidMalformed = "jid-malformed",
        /// Understood, but against a rule of the addressee.
        NotAcceptable = "not-acceptable",
        /// Nobody may do this.
        NotAllowed = "not-allowed",
        /// The sender must prove who it is first.
        NotAuthorized = "not-authorized",
        /// Against a rule of this service.
        PolicyViolation = "policy-violation",
        /// The addressee is away for now.
        RecipientUnavailable = "recipient-unavailable",
        /// The addressee is reached elsewhere for now.
        Redirect = "redirect",
        /// The sender must register first.
        RegistrationRequired = "registration-required",
        /// No such server.
        RemoteServerNotFound = "remote-server-not-found",
        /// The server does not answer.
        RemoteServerTimeout = "remote-server-timeout",
        /// Too busy, or over a limit.
        ResourceConstraint = "resource-constraint",
        /// Nobody there who does this.
        ServiceUnavailable = "service-unavailable",
        /// The sender must subscribe first.
        SubscriptionRequired = "subscription-required",
        /// None of the others.
        UndefinedCondition = "undefined-condition",
        /// Out of order.
        UnexpectedRequest = "unexpected-request",
    }
}

conditions! {
    /// What is wrong with a stream (RFC 6120 §4.9.3).
    StreamCondition {
        /// XML that means nothing here.
        BadFormat = "bad-format",
        /// A prefix where none may be.
        BadNamespacePrefix = "bad-namespace-prefix",
        /// Another stream took its place.
        Conflict = "conflict",
        /// The peer does not answer.
        ConnectionTimeout = "connection-timeout",
        /// The domain is no longer served here.
        HostGone = "host-gone",
        /// The domain is not served here.
        HostUnknown = "host-unknown",
        /// A stanza between servers lacks `to` or `from`.
        ImproperAddressing = "improper-addressing",
        /// A fault of ours.
        InternalServerError = "internal-server-error",
        /// A `from` that was not proved.
        InvalidFrom = "invalid-from",
        /// A namespace that is not the one it must be.
        InvalidNamespace = "invalid-namespace",
        /// XML that is valid nowhere.
        InvalidXml = "invalid-xml",
        /// Something was sent before the proof of who sends it.
        NotAuthorized = "not-authorized",
        /// Not XML.
        NotWellFormed = "not-well-formed",
        /// Against a rule of this service.
        PolicyViolation = "policy-violation",
        /// A server that we need cannot be reached.
        RemoteConnectionFailed = "remote-connection-failed",
        /// Something was renewed: connect again.
        Reset = "reset",
        /// Too busy, or over a limit.
        ResourceConstraint = "resource-constraint",
        /// XML that RFC 6120 §11.1 forbids.
        RestrictedXml = "restricted-xml",
        /// Connect to another host.
        SeeOtherHost = "see-other-host",
        /// This node stops.
        SystemShutdown = "system-shutdown",
        /// None of the others.
        UndefinedCondition = "undefined-condition",
        /// Not UTF-8.
        UnsupportedEncoding = "unsupported-encoding",
        /// A mandatory feature is not known to the peer.
        UnsupportedFeature = "unsupported-feature",
        /// A first-level element that is no stanza.
        UnsupportedStanzaType = "unsupported-stanza-type",
        /// A version of XMPP that we do not speak.
        UnsupportedVersion = "unsupported-version",
    }
}

/// What the sender may do about an error (RFC 6120 §8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// Prove who you are, then try again.
    Auth,
    /// Do not try again.
    Cancel,
    /// Only a warning.
    Continue,
    /// Change what you sent, then try again.
    Modify,
    /// Try again later.
    Wait,
}

/// An answer that something went wrong with one stanza.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StanzaError {
    /// What.
    pub condition: StanzaCondition,
    /// What the sender may do.
    pub kind: ErrorType,
    /// In words, for whoever reads the protocol.
    pub text: Option<&'static str>,
    /// What an extension calls it: an element's name and its namespace (RFC
    /// 6120 §8.3.4).
    pub application: Option<(&'static str, &'static str)>,
}

/// The last thing said on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    /// What.
    pub condition: StreamCondition,
    /// In words.
    pub text: Option<Cow<'static, str>>,
    /// The content of the condition: the address of `see-other-host`.
    pub content: Option<Box<str>>,
}

impl StanzaCondition {
    /// The type that RFC 6120 §8.3.3 names for it; the first of several.
    pub fn usual_type(self) -> ErrorType {
        match self {
            Self::BadRequest | Self::JidMalformed | Self::NotAcceptable | Self::Redirect => {
                ErrorType::Modify
            }
            Self::PolicyViolation => ErrorType::Modify,
            Self::Forbidden
            | Self::NotAuthorized
            | Self::RegistrationRequired
            | Self::SubscriptionRequired => ErrorType::Auth,
            Self::RecipientUnavailable
            | Self::RemoteServerTimeout
            | Self::ResourceConstraint
            | Self::UnexpectedRequest => ErrorType::Wait,
            Self::Conflict
            | Self::FeatureNotImplemented
            | Self::Gone
            | Self::InternalServerError
            | Self::ItemNotFound
            | Self::NotAllowed
            | Self::RemoteServerNotFound
            | Self::ServiceUnavailable
            | Self::UndefinedCondition => ErrorType::Cancel,
        }
    }
}

impl ErrorType {
    /// The value of the attribute.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cancel => "cancel",
            Self::Continue => "continue",
            Self::Modify => "modify",
            Self::Wait => "wait",
        }
    }
}

impl From<StanzaCondition> for StanzaError {
    fn from(condition: StanzaCondition) -> Self {
        Self { condition, kind: condition.usual_type(), text: None, application: None }
    }
}

impl StanzaError {
    /// The same error, said in words as well.
    pub fn with_text(self, text: &'static str) -> Self {
        Self { text: Some(text), ..self }
    }

    /// The same error, of another type.
    pub fn with_type(self, kind: ErrorType) -> Self {
        Self { kind, ..self }
    }

    /// The same error, with what an extension calls it.
    pub fn with_application(self, name: &'static str, ns: &'static str) -> Self {
        Self { application: Some((name, ns)), ..self }
    }

    /// The `<error/>` element, as it stands in a stanza.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<error type='");
        out.extend_from_slice(self.kind.word().as_bytes());
        out.extend_from_slice(b"'><");
        out.extend_from_slice(self.condition.word().as_bytes());
        out.extend_from_slice(b" xmlns='");
        out.extend_from_slice(STANZA_ERRORS.as_bytes());
        out.extend_from_slice(b"'/>");
        if let Some(text) = self.text {
            write_text(text, STANZA_ERRORS, out);
        }
        if let Some((name, ns)) = self.application {
            out.extend_from_slice(format!("<{name} xmlns='{ns}'/>").as_bytes());
        }
        out.extend_from_slice(b"</error>");
    }
}

impl From<StreamCondition> for StreamError {
    fn from(condition: StreamCondition) -> Self {
        Self { condition, text: None, content: None }
    }
}

impl StreamError {
    /// An error that is also said in words.
    pub fn new(condition: StreamCondition, text: impl Into<Cow<'static, str>>) -> Self {
        Self { condition, text: Some(text.into()), content: None }
    }

    /// Whoever reads this shall connect to `host[:port]` (RFC 6120 §4.9.3.19).
    pub fn see_other_host(host: &str) -> Self {
        let content = Some(Box::from(host));
        Self { condition: StreamCondition::SeeOtherHost, text: None, content }
    }

    /// The error and the end of the stream, as they are written.
    pub fn last_words(&self) -> Bytes {
        let mut out = Vec::with_capacity(160);
        let word = self.condition.word().as_bytes();
        out.extend_from_slice(b"<stream:error><");
        out.extend_from_slice(word);
        out.extend_from_slice(b" xmlns='");
        out.extend_from_slice(STREAM_ERRORS.as_bytes());
        match &self.content {
            None => out.extend_from_slice(b"'/>"),
            Some(content) => {
                out.extend_from_slice(b"'>");
                escape_text(content, &mut out);
                out.extend_from_slice(b"</");
                out.extend_from_slice(word);
                out.extend_from_slice(b">");
            }
        }
        if let Some(text) = &self.text {
            write_text(text, STREAM_ERRORS, &mut out);
        }
        out.extend_from_slice(b"</stream:error></stream:stream>");
        Bytes::from(out)
    }
}

fn write_text(text: &str, namespace: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<text xmlns='");
    out.extend_from_slice(namespace.as_bytes());
    out.extend_from_slice(b"' xml:lang='en'>");
    escape_text(text, out);
    out.extend_from_slice(b"</text>");
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            None => f.write_str(self.condition.word()),
            Some(text) => write!(f, "{}: {text}", self.condition.word()),
        }
    }
}

impl std::error::Error for StreamError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_error_names_type_condition_and_text() {
        let mut out = Vec::new();
        let error = StanzaError::from(StanzaCondition::Conflict).with_text("a < b");
        error.write(&mut out);
        assert_eq!(
            String::from_utf8(out).expect("it is UTF-8"),
            "<error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>a &lt; b</text></error>"
        );
    }

    #[test]
    fn an_extension_names_its_own_condition_last() {
        let mut out = Vec::new();
        let error = StanzaError::from(StanzaCondition::BadRequest).with_application("x", "urn:x");
        error.write(&mut out);
        assert!(out.ends_with(b"xmpp-stanzas'/><x xmlns='urn:x'/></error>"));
    }

    #[test]
    fn a_stream_error_ends_the_stream() {
        let said = StreamError::see_other_host("[2001:db8::1]:5222").last_words();
        assert_eq!(
            &said[..],
            b"<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>\
              [2001:db8::1]:5222</see-other-host></stream:error></stream:stream>"
        );
    }

    #[test]
    fn every_condition_has_its_own_word() {
        let mut words: Vec<_> = StreamCondition::ALL.iter().map(|known| known.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 25, "RFC 6120 §4.9.3 defines 25");
        let mut words: Vec<_> = StanzaCondition::ALL.iter().map(|known| known.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 22, "RFC 6120 §8.3.3 defines 22");
    }
}
