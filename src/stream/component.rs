//! A component's way from the first byte to its stream (XEP-0114 §3): a
//! header, and the proof of a secret.
//!
//! Which instance of a domain it is, it may say in the header's `to`, behind a
//! slash: `to='gateway.example.org/paris'`. Else it is named by whoever lets
//! it in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rand::RngCore;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::stream::negotiation::messages::token;
use crate::xml::escape::escape_attribute;
use crate::xml::head::{Header, Raw};
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::Domain;
use crate::xmpp::namespaces::{COMPONENT, STREAM, STREAM_LIMITS};

/// The longest name of an instance, in bytes: a DNS label.
pub const NAME_BYTES_MAX: usize = 63;

/// What one component must know.
pub struct Secret(Zeroizing<String>);

/// What the operator decides.
#[derive(Debug)]
pub struct Settings {
    /// The domains that this server serves itself; the first speaks where none
    /// was asked for.
    pub ours: Vec<Domain>,
    /// The secrets of each domain that has a component: any of them is good.
    pub secrets: BTreeMap<Domain, Vec<Secret>>,
    /// The most bytes of one stanza, told to whoever asks (XEP-0478).
    pub stanza_bytes_max: usize,
}

/// What happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// The peer opened a stream.
    Opened(Header),
    /// The peer sent a first-level element.
    Element(&'a Raw),
}

/// What shall happen outside, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Write this.
    Send(Bytes),
    /// A proof was wrong.
    Failed,
    /// Write this, then close the stream.
    Close(Bytes, StreamError),
    /// The secret was proved; all that comes is stanzas. It waits for
    /// [`WELCOME`].
    Established(Established),
}

/// A stream whose component has proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// The domain it has asked for.
    pub domain: Domain,
    /// How it calls itself among the instances of that domain.
    pub name: Option<Box<str>>,
}

/// What a component hears when it may begin (XEP-0114 §3).
pub const WELCOME: &str = "<handshake/>";

/// One stream being negotiated.
#[derive(Debug)]
pub struct Negotiation {
    settings: Arc<Settings>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// A header must come.
    ExpectHeader,
    /// The proof must come, over this id.
    ExpectProof(Established, String),
    /// Nothing more is read here.
    Over,
}

type Step = Result<State, StreamError>;

impl Secret {
    /// A secret as it is shared.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Whether `proof` proves it over this stream id: lower-case hexadecimal
    /// digits of SHA-1 (XEP-0114 §3). Takes the same time for all of the same
    /// length.
    fn is_proved(&self, id: &str, proof: &[u8]) -> bool {
        let digest = Sha1::new().chain_update(id).chain_update(self.0.as_bytes()).finalize();
        let expected: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        expected.as_bytes().ct_eq(proof).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Settings {
    fn speaker(&self) -> &str {
        self.ours.first().map_or("", Domain::as_str)
    }
}

impl Negotiation {
    /// A stream of which nothing was read.
    pub fn new(settings: Arc<Settings>) -> Self {
        Self { settings, state: State::ExpectHeader }
    }

    /// Takes one step. `random` makes stream ids and must be unpredictable.
    /// All of `out` is carried out before the next step.
    pub fn handle(&mut self, input: Input<'_>, random: &mut dyn RngCore, out: &mut Vec<Output>) {
        let state = std::mem::replace(&mut self.state, State::Over);
        let has_header = !matches!(state, State::ExpectHeader);
        let done = match (state, input) {
            (State::ExpectHeader, Input::Opened(header)) => self.opened(&header, random, out),
            (State::ExpectProof(wanted, id), Input::Element(raw)) => {
                self.proof(wanted, &id, raw, out)
            }
            _ => Err(StreamCondition::BadFormat.into()),
        };
        match done {
            Ok(state) => self.state = state,
            Err(error) => {
                let words = self.words(has_header, &error, random);
                out.push(Output::Close(words, error));
            }
        }
    }

    /// What to write when the stream must end now, for a reason from outside.
    pub fn fail(&mut self, error: &StreamError, random: &mut dyn RngCore) -> Bytes {
        let state = std::mem::replace(&mut self.state, State::Over);
        self.words(!matches!(state, State::ExpectHeader), error, random)
    }

    /// A header goes before the first words (RFC 6120 §4.9.1.2).
    fn words(&self, has_header: bool, error: &StreamError, random: &mut dyn RngCore) -> Bytes {
        let mut words = Vec::new();
        if !has_header {
            words.extend_from_slice(&header(self.settings.speaker(), &token(random), false));
        }
        words.extend_from_slice(&error.last_words());
        words.into()
    }

    fn opened(&self, head: &Header, random: &mut dyn RngCore, out: &mut Vec<Output>) -> Step {
        if head.name != "stream" {
            return Err(StreamCondition::InvalidXml.into());
        }
        if head.ns != STREAM || head.default_ns != COMPONENT {
            return Err(StreamCondition::InvalidNamespace.into());
        }
        let to = head.to.as_deref().ok_or(StreamCondition::ImproperAddressing)?;
        let (domain, name) = match to.split_once('/') {
            Some((domain, name)) => (domain, Some(name)),
            None => (to, None),
        };
        if name.is_some_and(|name| !is_name(name)) {
            let words = "an instance has a name of at most 63 letters, digits, '.', '_' and '-'";
            return Err(StreamError::new(StreamCondition::ImproperAddressing, words));
        }
        let domain = Domain::parse(domain).map_err(|_| StreamCondition::HostUnknown)?;
        if self.settings.ours.contains(&domain) {
            let words = "a domain of this server itself";
            return Err(StreamError::new(StreamCondition::Conflict, words));
        }
        if !self.settings.secrets.contains_key(&domain) {
            return Err(StreamCondition::HostUnknown.into());
        }
        let id = token(random);
        let asks_limits = head.version.is_some();
        out.push(Output::Send(header(domain.as_str(), &id, asks_limits)));
        if asks_limits {
            let bytes = self.settings.stanza_bytes_max;
            let limits =
                format!("<limits xmlns='{STREAM_LIMITS}'><max-bytes>{bytes}</max-bytes></limits>");
            let features = format!("<stream:features>{limits}</stream:features>");
            out.push(Output::Send(features.into()));
        }
        Ok(State::ExpectProof(Established { domain, name: name.map(Into::into) }, id))
    }

    fn proof(&self, wanted: Established, id: &str, raw: &Raw, out: &mut Vec<Output>) -> Step {
        if !raw.is("handshake", COMPONENT, COMPONENT) {
            return Err(StreamCondition::NotAuthorized.into());
        }
        let proof = raw.content().trim_ascii().to_ascii_lowercase();
        let secrets = self.settings.secrets.get(&wanted.domain);
        // all of them are tried, so that time does not say which was near
        let proved = secrets.into_iter().flatten().map(|secret| secret.is_proved(id, &proof));
        if !proved.fold(false, |is_one, is_this| is_one | is_this) {
            out.push(Output::Failed);
            return Err(StreamCondition::NotAuthorized.into());
        }
        out.push(Output::Established(wanted));
        Ok(State::Over)
    }
}

/// Whether an instance may have this name.
pub fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}

fn header(from: &str, id: &str, has_features: bool) -> Bytes {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(
        format!("<?xml version='1.0'?><stream:stream xmlns='{COMPONENT}' xmlns:stream='{STREAM}' id='{id}' from='")
            .as_bytes(),
    );
    escape_attribute(from, &mut out);
    out.extend_from_slice(if has_features { b"' version='1.0'>" } else { b"'>" });
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::framer::{Frame, Framer};
    use crate::xml::limits::Limits;
    use bytes::BytesMut;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn settings() -> Arc<Settings> {
        let domain = |text| Domain::parse(text).expect("a domain");
        let secrets = vec![Secret::new("old".into()), Secret::new("s3cret".into())];
        Arc::new(Settings {
            ours: vec![domain("im"), domain("other.im")],
            secrets: BTreeMap::from([(domain("gw.im"), secrets)]),
            stanza_bytes_max: 10_000,
        })
    }

    /// What is said to `words`, with `{proof}` in them for the proof of
    /// `secret`.
    fn play(words: &str, secret: &str) -> (String, Option<Established>) {
        let mut machine = Negotiation::new(settings());
        let mut framer = Framer::new(Limits::unauthenticated());
        let mut random = StdRng::seed_from_u64(1);
        let (mut said, mut established) = (String::new(), None);
        let (first, second) = match words.split_once("{proof}") {
            Some((first, second)) => (first, Some(second)),
            None => (words, None),
        };
        let mut buffer = BytesMut::from(first.as_bytes());
        let mut rest = second;
        loop {
            let frame = framer.next(&mut buffer).expect("well-formed");
            let mut out = Vec::new();
            match frame {
                Some(Frame::Open(header)) => {
                    machine.handle(Input::Opened(*header), &mut random, &mut out);
                }
                Some(Frame::Element(raw)) => {
                    machine.handle(Input::Element(&raw), &mut random, &mut out);
                }
                Some(Frame::Close) => break,
                None => match rest.take() {
                    None => break,
                    Some(rest) => {
                        let id = said.split("id='").nth(1).and_then(|rest| rest.split('\'').next());
                        let id = id.unwrap_or_default().to_owned();
                        let proof = Sha1::new().chain_update(id).chain_update(secret).finalize();
                        let proof: String =
                            proof.iter().map(|byte| format!("{byte:02x}")).collect();
                        buffer.extend_from_slice(proof.as_bytes());
                        buffer.extend_from_slice(rest.as_bytes());
                    }
                },
            }
            for wish in out {
                match wish {
                    Output::Send(bytes) | Output::Close(bytes, _) => {
                        said.push_str(&String::from_utf8_lossy(&bytes));
                    }
                    Output::Failed => said.push_str("[failed]"),
                    Output::Established(stream) => established = Some(stream),
                }
            }
        }
        (said, established)
    }

    fn open(to: &str) -> String {
        format!("<stream:stream xmlns='{COMPONENT}' xmlns:stream='{STREAM}'{to}>")
    }

    #[track_caller]
    fn refused(words: &str, condition: &str) {
        let (said, established) = play(words, "s3cret");
        assert!(said.contains(&format!("<{condition} ")), "{words}: {said}");
        assert!(said.starts_with("<?xml version='1.0'?><stream:stream "), "{said}");
        assert!(said.ends_with("</stream:stream>"), "{said}");
        assert_eq!(established, None);
    }

    #[test]
    fn whoever_knows_a_secret_has_its_domain() {
        for secret in ["s3cret", "old"] {
            for (to, name) in [("GW.im", None), ("gw.im/paris-1", Some("paris-1".into()))] {
                let words =
                    format!("{}<handshake>{{proof}}</handshake>", open(&format!(" to='{to}'")));
                let (said, established) = play(&words, secret);
                let domain = Domain::parse("gw.im").expect("a domain");
                assert_eq!(established, Some(Established { domain, name }), "{said}");
                assert!(said.contains(" from='gw.im'>"), "{said}");
            }
        }
    }

    #[test]
    fn a_wrong_secret_is_said_to_be_wrong() {
        let words = format!("{}<handshake>{{proof}}</handshake>", open(" to='gw.im'"));
        let (said, established) = play(&words, "S3cret");
        assert!(said.contains("[failed]<stream:error><not-authorized "), "{said}");
        assert_eq!(established, None);
        for proof in ["", "x", "0000000000000000000000000000000000000000"] {
            refused(
                &format!("{}<handshake>{proof}</handshake>", open(" to='gw.im'")),
                "not-authorized",
            );
        }
        refused(&format!("{}<message/>", open(" to='gw.im'")), "not-authorized");
        refused(&format!("{}<handshake xmlns='x'/>", open(" to='gw.im'")), "not-authorized");
    }

    #[test]
    fn a_header_that_is_none_of_ours_is_refused() {
        refused(&open(" to='im'"), "conflict");
        refused(&open(" to='other.im/x'"), "conflict");
        refused(&open(" to='elsewhere'"), "host-unknown");
        refused(&open(" to='a@b@c'"), "host-unknown");
        refused(&open(""), "improper-addressing");
        refused(&open(" to='gw.im/'"), "improper-addressing");
        refused(&open(" to='gw.im/a b'"), "improper-addressing");
        refused(&open(&format!(" to='gw.im/{}'", "a".repeat(64))), "improper-addressing");
        let client = open(" to='gw.im'").replace(COMPONENT, "jabber:client");
        refused(&client, "invalid-namespace");
        refused(&open(" to='gw.im'").replace(STREAM, "x"), "invalid-namespace");
        refused(
            "<stream xmlns='http://etherx.jabber.org/streams' to='gw.im'>",
            "invalid-namespace",
        );
        refused(&format!("<x xmlns='{COMPONENT}' to='gw.im'>"), "invalid-xml");
    }

    #[test]
    fn whoever_asks_hears_the_limits() {
        let (said, _) = play(&open(" to='gw.im' version='1.0'"), "");
        let limits = "<stream:features><limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes></limits></stream:features>";
        assert!(said.contains(limits), "{said}");
        let (said, _) = play(&open(" to='gw.im'"), "");
        assert!(!said.contains("features") && !said.contains(" version='1.0'>"), "{said}");
    }
}
