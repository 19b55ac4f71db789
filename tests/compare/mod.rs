//! Two parsers that were written apart read the same bytes: our gate and rxml.
//! Used by `gate_and_rxml` and by the fuzz target.

#![allow(dead_code, unreachable_pub)]

use bytes::BytesMut;
use jabiru::xml::error::XmlError;
use jabiru::xml::framer::{Frame, Framer};
use jabiru::xml::limits::Limits;
use rxml::{Event, Options, Parse, Parser, WithOptions};

pub const HEADER: &str = "<stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='example.org' version='1.0'>";

/// A whole first-level element, as far as both have it: namespace, local name,
/// attributes in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub ns: String,
    pub name: String,
    pub attributes: Vec<(String, String)>,
}

/// What our gate lets through, and why it stopped. `cuts` says in which pieces
/// the bytes come.
pub fn ours(bytes: &[u8], cuts: &[usize]) -> (Vec<Seen>, Option<XmlError>) {
    let mut framer = Framer::new(Limits::client());
    let mut buffer = BytesMut::new();
    let mut seen = Vec::new();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    for pair in cuts.windows(2) {
        buffer.extend_from_slice(&bytes[pair[0]..pair[1]]);
        loop {
            match framer.next(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Frame::Open(_))) => {}
                Ok(Some(Frame::Close)) => return (seen, None),
                Ok(Some(Frame::Element(raw))) => {
                    // only names without a prefix can be compared: rxml has
                    // resolved the others
                    let plain = raw
                        .attributes()
                        .filter(|(name, _)| !name.contains(':') && *name != "xmlns");
                    let names: Vec<String> = plain.map(|(name, _)| name.to_owned()).collect();
                    let value = |name: String| {
                        let value = raw.attribute(&name).expect("it was listed").into_owned();
                        (name, value)
                    };
                    let mut attributes: Vec<_> = names.into_iter().map(value).collect();
                    attributes.sort();
                    let ns = raw.ns("jabber:client").into_owned();
                    seen.push(Seen { ns, name: raw.name().to_owned(), attributes });
                }
                Err(error) => return (seen, Some(error)),
            }
        }
    }
    (seen, None)
}

/// What rxml reads whole.
pub fn theirs(bytes: &[u8]) -> Vec<Seen> {
    let options = Options { max_token_length: 1 << 20, ..Options::default() };
    let mut parser = Parser::with_options(options);
    let mut rest = bytes;
    let mut seen = Vec::new();
    let mut open = 0;
    let mut first = None;
    while let Ok(Some(event)) = parser.parse(&mut rest, false) {
        match event {
            Event::StartElement(_, (ns, name), attributes) => {
                open += 1;
                if open == 2 {
                    let plain = attributes.iter().filter(|((ns, _), _)| ns.as_str().is_empty());
                    let plain = plain.map(|((_, name), value)| (name.to_string(), value.clone()));
                    let mut attributes: Vec<_> = plain.collect();
                    attributes.sort();
                    let (ns, name) = (ns.as_str().to_owned(), name.to_string());
                    first = Some(Seen { ns, name, attributes });
                }
            }
            Event::EndElement(_) => {
                open -= 1;
                if open == 1 {
                    seen.extend(first.take());
                }
            }
            _ => {}
        }
    }
    seen
}

/// Why we may stop where rxml goes on: bounds, and what XMPP forbids.
fn may_stop(error: XmlError) -> bool {
    match error {
        XmlError::TextBetweenStanzas
        | XmlError::TooLarge
        | XmlError::TooDeep
        | XmlError::TooManyAttributes
        | XmlError::TooManyNamespaces
        | XmlError::TooManyElements
        | XmlError::UnsupportedEncoding
        | XmlError::UnsupportedVersion => true,
        XmlError::NotWellFormed | XmlError::Restricted => false,
    }
}

/// Nothing passes our gate that rxml does not read, and nothing else is held
/// back.
///
/// # Panics
/// When they differ.
pub fn compare(bytes: &[u8], cuts: &[usize]) {
    if bytes.windows(2).any(|two| two[0] == b'\r' && two[1] != b'\n') {
        // rxml 0.14 refuses a bare carriage return before other text of an
        // attribute, which is a space there (XML 1.0 §2.11 and §3.3.3)
        return;
    }
    let (ours, error) = ours(bytes, cuts);
    let theirs = theirs(bytes);
    let common = ours.len().min(theirs.len());
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(ours[..common], theirs[..common], "read differently: {text}");
    assert!(ours.len() <= theirs.len(), "passed, but rxml refuses: {:?} of {text}", ours.last());
    let held_back = ours.len() < theirs.len() && !error.is_some_and(may_stop);
    assert!(!held_back, "{error:?}, but rxml reads {:?} of {text}", theirs.last());
}
