//! Streams between servers without a server: what the other side says goes
//! through the real framer into a machine, and what the machine wants comes
//! back as words.

mod both_ways;
mod incoming;
mod outgoing;
mod proving;
mod resuming;

use bytes::BytesMut;
use zeroize::Zeroizing;

use crate::stream::server::features::Features;
use crate::stream::server::key::Secrets;
use crate::stream::server::{Policy, World, condition};
use crate::xml::element::Element;
use crate::xml::framer::{Frame, Framer};
use crate::xml::head::Raw;
use crate::xml::limits::Limits;
use crate::xmpp::jid::Domain;
use crate::xmpp::namespaces::{DIALBACK, SASL, SERVER, STREAM};

/// What the machines may ask: `a.example` and `c.a.example` are ours, nobody
/// speaks with `bad.example`, and the certificate speaks for `vouched`.
struct Stage {
    policy: Policy,
    vouched: Vec<&'static str>,
}

/// Certificates are wanted, and nothing else does.
const STRICT: Policy = Policy {
    require_tls: true,
    require_valid_certificate: true,
    dialback: false,
    bidirectional: false,
};

/// Dialback does as well, inside TLS.
const LENIENT: Policy = Policy { dialback: true, ..STRICT };

/// Nothing is wanted.
const CARELESS: Policy = Policy { require_tls: false, require_valid_certificate: false, ..LENIENT };

impl Stage {
    fn new(policy: Policy, vouched: &[&'static str]) -> Stage {
        Stage { policy, vouched: vouched.to_vec() }
    }
}

impl World for Stage {
    fn serves(&self, domain: &str) -> bool {
        matches!(domain, "a.example" | "c.a.example")
    }

    fn policy(&self, theirs: &Domain) -> Option<Policy> {
        (theirs.as_str() != "bad.example").then_some(self.policy)
    }

    fn vouches(&self, theirs: &Domain) -> bool {
        self.vouched.contains(&theirs.as_str())
    }

    fn secrets(&self) -> Secrets {
        Secrets::new(vec![Zeroizing::new([1; 32])])
    }

    fn id(&self) -> String {
        "one".to_owned()
    }

    fn kept(&self) -> u64 {
        10
    }
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).expect("a domain")
}

/// A header with these attributes.
fn header(attributes: &str) -> String {
    format!(
        "<stream:stream xmlns='{SERVER}' xmlns:stream='{STREAM}' xmlns:db='{DIALBACK}' {attributes}>"
    )
}

/// Cuts what one side says.
struct Ear {
    framer: Framer,
    buffer: BytesMut,
}

impl Ear {
    fn new() -> Ear {
        Ear { framer: Framer::new(Limits::client()), buffer: BytesMut::new() }
    }

    /// After TLS, or SASL.
    fn restart(&mut self) {
        *self = Ear::new();
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<Frame> {
        self.framer.next(&mut self.buffer).expect("XML")
    }

    /// All that our side has said, in words.
    fn words(&mut self, bytes: &[u8]) -> Vec<String> {
        self.hear(bytes);
        let mut words = Vec::new();
        while let Some(frame) = self.next() {
            words.push(match frame {
                Frame::Open(header) => match header.version {
                    Some(_) => "header".to_owned(),
                    None => "header without version".to_owned(),
                },
                Frame::Close => "end".to_owned(),
                Frame::Element(raw) => element(&raw),
            });
        }
        assert!(self.buffer.is_empty(), "whole things are said");
        words
    }
}

/// An element of ours in words: what it is, and what matters of it.
fn element(raw: &Raw) -> String {
    if let Some(features) = Features::read(raw) {
        return offered(features);
    }
    let ns = raw.ns(SERVER).into_owned();
    let attribute = |name: &str| raw.attribute(name).unwrap_or_default().into_owned();
    let children = || Element::parse_all(&raw.content(), SERVER).unwrap_or_default();
    let mut words = match (raw.name(), ns.as_str()) {
        ("error", STREAM) => return format!("error {}", condition(raw)),
        (name, DIALBACK) => {
            let key = String::from_utf8_lossy(&raw.content()).into_owned();
            let said = match attribute("type").as_str() {
                "" => key,
                "error" => children()
                    .iter()
                    .flat_map(Element::elements)
                    .map(|condition| condition.name.clone())
                    .collect(),
                word => word.to_owned(),
            };
            return format!("{name} {} {} {said}", attribute("from"), attribute("to"));
        }
        ("auth", SASL) => vec!["auth".to_owned(), attribute("mechanism")],
        (name, _) => vec![name.to_owned()],
    };
    words.extend(children().first().map(|child| child.name.clone()));
    for name in ["h", "previd", "resume"] {
        words.extend(raw.attribute(name).map(|value| format!("{name}={value}")));
    }
    words.join(" ")
}

/// `!`: it is required.
fn offered(features: Features) -> String {
    let Features { tls, is_tls_required, external, dialback, bidi, acks } = features;
    let all = [
        (tls && !is_tls_required, " tls"),
        (tls && is_tls_required, " tls!"),
        (external, " external"),
        (dialback, " dialback"),
        (bidi, " bidi"),
        (acks, " sm"),
    ];
    let words = all.into_iter().filter_map(|(is_offered, word)| is_offered.then_some(word));
    "features".to_owned() + &words.collect::<String>()
}
