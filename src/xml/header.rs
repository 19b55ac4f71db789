//! The beginning of a stream: XML declaration and root tag.

use crate::xml::characters::is_space;
use crate::xml::error::XmlError;
use crate::xml::escape::attribute_value;
use crate::xml::head::{Header, Ns};
use crate::xml::limits::Limits;
use crate::xml::namespaces::Scope;
use crate::xml::tag::{Kind, Next, Reader};

const STREAM_URI: &str = "http://etherx.jabber.org/streams";
const DIALBACK_URI: &str = "jabber:server:dialback";

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The longest XML declaration that makes sense. A guess.
const DECLARATION_BYTES_MAX: usize = 256;

/// What the root tag leaves behind for the stanzas.
#[derive(Debug, Default)]
pub struct Root {
    name: Box<str>,
    stream_prefix: Option<Box<str>>,
    dialback_prefix: Option<Box<str>>,
}

/// What stands before the root.
#[derive(Debug, PartialEq, Eq)]
pub enum Prolog {
    /// More bytes are needed to say.
    Cut,
    /// The prolog has so many bytes.
    Ends(usize),
}

impl Root {
    /// The root's name as it was written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a first-level element's prefix means by the header alone. Other
    /// prefixes than these two mean nothing (RFC 6120 §4.8.5).
    pub fn meaning(&self, prefix: &str) -> Option<Ns> {
        if self.stream_prefix.as_deref() == Some(prefix) {
            Some(Ns::Stream)
        } else if self.dialback_prefix.as_deref() == Some(prefix) {
            Some(Ns::Dialback)
        } else {
            None
        }
    }
}

/// Byte order mark and XML declaration, if they are there.
///
/// # Errors
/// [`XmlError`] for another encoding or version.
pub fn declaration(bytes: &[u8]) -> Result<Prolog, XmlError> {
    if bytes.starts_with(b"\xFE\xFF") || bytes.starts_with(b"\xFF\xFE") {
        return Err(XmlError::UnsupportedEncoding);
    }
    let mark = common(bytes, BYTE_ORDER_MARK);
    if mark == bytes.len() && mark < BYTE_ORDER_MARK.len() {
        return Ok(Prolog::Cut);
    }
    let mark = if mark == BYTE_ORDER_MARK.len() { mark } else { 0 };
    let rest = bytes.get(mark..).unwrap_or_default();
    const OPENING: &[u8] = b"<?xml";
    let seen = common(rest, OPENING);
    if seen < OPENING.len() {
        return Ok(if seen == rest.len() { Prolog::Cut } else { Prolog::Ends(mark) });
    }
    let Some(end) = memchr::memmem::find(rest, b"?>") else {
        let too_long = rest.len() > DECLARATION_BYTES_MAX;
        return if too_long { Err(XmlError::NotWellFormed) } else { Ok(Prolog::Cut) };
    };
    let inside = rest.get(OPENING.len()..end).unwrap_or_default();
    check(std::str::from_utf8(inside).map_err(|_| XmlError::NotWellFormed)?)?;
    Ok(Prolog::Ends(mark + end + 2))
}

/// ` version='1.0' encoding='UTF-8' standalone='yes'`, in this order.
fn check(inside: &str) -> Result<(), XmlError> {
    let mut expected = ["version", "encoding", "standalone"].into_iter();
    let mut rest = inside;
    let mut has_version = false;
    while !rest.trim_start().is_empty() {
        let trimmed = rest.trim_start_matches(|c: char| c.is_ascii() && is_space(c as u8));
        if trimmed.len() == rest.len() {
            return Err(XmlError::NotWellFormed);
        }
        let (name, after) = trimmed.split_once('=').ok_or(XmlError::NotWellFormed)?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let quote = quote.ok_or(XmlError::NotWellFormed)?;
        let (value, after) =
            after.get(1..).and_then(|v| v.split_once(quote)).ok_or(XmlError::NotWellFormed)?;
        let name = name.trim_end();
        if !expected.any(|known| known == name) {
            return Err(XmlError::NotWellFormed);
        }
        match (name, value) {
            ("version", "1.0") => has_version = true,
            ("version", _) => return Err(XmlError::UnsupportedVersion),
            ("encoding", _) if !value.eq_ignore_ascii_case("utf-8") => {
                return Err(XmlError::UnsupportedEncoding);
            }
            ("standalone", "yes" | "no") | ("encoding", _) => {}
            _ => return Err(XmlError::NotWellFormed),
        }
        rest = after;
    }
    if has_version { Ok(()) } else { Err(XmlError::NotWellFormed) }
}

/// The root tag, which is all of `tag`.
///
/// # Errors
/// [`XmlError`].
pub fn read(tag: &[u8], limits: &Limits) -> Result<(Header, Root, Kind), XmlError> {
    let mut reader = Reader::new(tag, 0);
    let (kind, name) = reader.open()?;
    if kind == Kind::End {
        return Err(XmlError::NotWellFormed);
    }
    let mut scope = Scope::default();
    let mut seen: Vec<&str> = Vec::new();
    let mut root = Root { name: name.whole.of(tag).into(), ..Root::default() };
    let mut header = Header { name: name.local.of(tag).to_owned(), ..Header::default() };
    let kind = loop {
        let (attribute, value) = match reader.attribute()? {
            Next::End(kind) => break kind,
            Next::Attribute(attribute, value) => (attribute, value),
        };
        let whole = attribute.whole.of(tag);
        if seen.contains(&whole) {
            return Err(XmlError::NotWellFormed);
        }
        if seen.len() >= usize::from(limits.attributes_max) {
            return Err(XmlError::TooManyAttributes);
        }
        seen.push(whole);
        let text = attribute_value(value.of(tag)).into_owned();
        if scope.declare(attribute, value, tag)? {
            match (attribute.prefix.of(tag), text.as_str()) {
                ("", _) => header.default_ns = text,
                (_, STREAM_URI) => root.stream_prefix = Some(attribute.local.of(tag).into()),
                (_, DIALBACK_URI) => root.dialback_prefix = Some(attribute.local.of(tag).into()),
                _ => {}
            }
            continue;
        }
        match whole {
            "to" => header.to = Some(text),
            "from" => header.from = Some(text),
            "id" => header.id = Some(text),
            "version" => header.version = Some(text),
            "xml:lang" => header.lang = Some(text),
            _ => {}
        }
    };
    header.ns = match scope.of_element(name, tag).ok_or(XmlError::NotWellFormed)? {
        Ns::Declared(uri) => attribute_value(uri.of(tag)).into_owned(),
        _ => String::new(),
    };
    Ok((header, root, kind))
}

/// How many bytes the two begin with alike.
fn common(bytes: &[u8], other: &[u8]) -> usize {
    bytes.iter().zip(other).take_while(|(a, b)| a == b).count()
}
