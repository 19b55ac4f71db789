//! One stanza: its head read once, its payload never.
//!
//! What lies between its tags travels as the bytes that came. They mean the
//! same on every stream: prefixes that the stanza's own tag declares travel
//! with them in `extra`, and the gate lets no other prefix in.

use bytes::{Bytes, BytesMut};

use crate::xml::element::{Element, NotAnElement};
use crate::xml::error::XmlError;
use crate::xml::escape::escape_attribute;
use crate::xml::framer::{Frame, Framer};
use crate::xml::head::Raw;
use crate::xml::limits::Limits;
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::jid::Jid;
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces;

/// The name of an element and its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChildName {
    /// The local name.
    pub name: Box<str>,
    /// The namespace.
    pub ns: Box<str>,
}

/// A stanza with addresses that are normal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stanza {
    /// What it is.
    pub kind: Kind,
    /// Whom it is for.
    pub to: Option<Jid>,
    /// Who sends it.
    pub from: Option<Jid>,
    /// By which its answer is known.
    pub id: Option<Box<str>>,
    /// The language of its texts.
    pub lang: Option<Box<str>>,
    /// All other attributes and declarations, each with a space before it, as
    /// they were written.
    pub extra: Bytes,
    /// What lies between the tags, as it was written.
    pub payload: Bytes,
    /// The first child, for an IQ: what it asks.
    pub child: Option<ChildName>,
}

/// Why an element of a stream is not taken as a stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// It is none.
    NotAStanza,
    /// It has a stanza's name in another namespace.
    WrongNamespace,
    /// It is one, and wrong.
    Bad(Fault),
}

/// A stanza that is wrong, and what is told to its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    name: &'static str,
    id: Option<Box<str>>,
    /// What is wrong.
    pub error: StanzaError,
    is_answer: bool,
}

impl Stanza {
    /// A stanza of ours, without an id.
    pub fn new(kind: Kind, from: Option<Jid>, to: Option<Jid>, payload: Bytes) -> Self {
        Self { kind, to, from, id: None, lang: None, extra: Bytes::new(), payload, child: None }
    }

    /// Reads the head of an element that came in a stream whose default
    /// namespace is `default_ns`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(raw: &Raw, default_ns: &str) -> Result<Self, ReadError> {
        let word = raw.attribute("type");
        let Some(kind) = Kind::read(raw.name(), word.as_deref()) else {
            return Err(ReadError::NotAStanza);
        };
        if raw.ns(default_ns) != default_ns || raw.head.is_prefixed {
            return Err(ReadError::WrongNamespace);
        }
        let id = raw.attribute("id").map(|id| id.into_owned().into_boxed_str());
        let fault = |condition: StanzaCondition| {
            let name = match raw.name() {
                "message" => "message",
                "presence" => "presence",
                _ => "iq",
            };
            let is_answer = matches!(word.as_deref(), Some("error" | "result"));
            ReadError::Bad(Fault { name, id: id.clone(), error: condition.into(), is_answer })
        };
        let kind = kind.ok_or_else(|| fault(StanzaCondition::BadRequest))?;
        if kind.is_request() && (raw.head.children != 1 || id.is_none()) {
            return Err(fault(StanzaCondition::BadRequest));
        }
        let address = |name: &str| match raw.attribute(name) {
            None => Ok(None),
            Some(text) => {
                Jid::parse(&text).map(Some).map_err(|_| fault(StanzaCondition::JidMalformed))
            }
        };
        let child = match kind {
            Kind::Iq(_) => raw.child(default_ns),
            _ => None,
        };
        Ok(Self {
            kind,
            to: address("to")?,
            from: address("from")?,
            lang: raw.attribute("xml:lang").map(|lang| lang.into_owned().into_boxed_str()),
            extra: extra(raw),
            payload: raw.content(),
            child: child.map(|(name, ns)| ChildName { name: name.into(), ns: ns.as_ref().into() }),
            id,
        })
    }

    /// Reads what [`Stanza::write`] wrote, here or on another node.
    ///
    /// # Errors
    /// [`XmlError::NotWellFormed`] for anything else.
    pub fn parse_bytes(bytes: Bytes) -> Result<Self, XmlError> {
        let mut framer = Framer::inside(Limits::passed());
        let mut buffer = BytesMut::from(bytes);
        match framer.next(&mut buffer)? {
            Some(Frame::Element(raw)) if buffer.is_empty() => {
                Self::read(&raw, namespaces::CLIENT).map_err(|_| XmlError::NotWellFormed)
            }
            _ => Err(XmlError::NotWellFormed),
        }
    }

    /// The elements right under it.
    ///
    /// # Errors
    /// [`NotAnElement`]: nothing that the gate has let through.
    pub fn elements(&self) -> Result<Vec<Element>, NotAnElement> {
        if self.extra.is_empty() {
            return Element::parse_all(&self.payload, namespaces::CLIENT);
        }
        // a prefix may be declared in the stanza's own tag
        let whole = [b"<x", &self.extra[..], b">", &self.payload, b"</x>"].concat();
        Ok(Element::parse(&whole, namespaces::CLIENT)?.into_elements().collect())
    }

    /// The stanza as it is sent, in the default namespace of any stream.
    pub fn write(&self) -> Bytes {
        let name = self.kind.name();
        let length = |part: Option<&str>| part.map_or(0, |part| part.len() + 12);
        let addresses =
            length(self.to.as_ref().map(Jid::as_str)) + length(self.from.as_ref().map(Jid::as_str));
        let others = length(self.id.as_deref()) + length(self.lang.as_deref());
        let mut out = Vec::with_capacity(
            2 * name.len() + 24 + addresses + others + self.extra.len() + self.payload.len(),
        );
        out.push(b'<');
        out.extend_from_slice(name.as_bytes());
        attribute("from", self.from.as_ref().map(Jid::as_str), &mut out);
        attribute("to", self.to.as_ref().map(Jid::as_str), &mut out);
        attribute("id", self.id.as_deref(), &mut out);
        attribute("type", self.kind.word(), &mut out);
        attribute("xml:lang", self.lang.as_deref(), &mut out);
        out.extend_from_slice(&self.extra);
        if self.payload.is_empty() {
            out.extend_from_slice(b"/>");
        } else {
            out.push(b'>');
            out.extend_from_slice(&self.payload);
            out.extend_from_slice(b"</");
            out.extend_from_slice(name.as_bytes());
            out.push(b'>');
        }
        Bytes::from(out)
    }

    /// The answer that something went wrong, unless this is an answer itself
    /// (RFC 6120 §8.3.1).
    pub fn error(&self, error: StanzaError) -> Option<Self> {
        if self.kind.is_answer() {
            return None;
        }
        let mut payload = Vec::new();
        error.write(&mut payload);
        Some(self.answer(self.kind.to_error(), payload.into()))
    }

    /// The result of a request; `None` for what asks nothing.
    pub fn result(&self, payload: Bytes) -> Option<Self> {
        self.kind.is_request().then(|| self.answer(Kind::Iq(IqType::Result), payload))
    }

    fn answer(&self, kind: Kind, payload: Bytes) -> Self {
        Self {
            kind,
            to: self.from.clone(),
            from: self.to.clone(),
            id: self.id.clone(),
            lang: None,
            extra: Bytes::new(),
            payload,
            child: None,
        }
    }
}

impl Fault {
    /// What the sender, `to`, is told, unless it sent an answer.
    pub fn answer(&self, to: &Jid) -> Option<Bytes> {
        if self.is_answer {
            return None;
        }
        let mut out = vec![b'<'];
        out.extend_from_slice(self.name.as_bytes());
        attribute("to", Some(to.as_str()), &mut out);
        attribute("id", self.id.as_deref(), &mut out);
        out.extend_from_slice(b" type='error'>");
        self.error.write(&mut out);
        out.extend_from_slice(b"</");
        out.extend_from_slice(self.name.as_bytes());
        out.push(b'>');
        Some(out.into())
    }
}

fn attribute(name: &str, value: Option<&str>, out: &mut Vec<u8>) {
    let Some(value) = value else { return };
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    escape_attribute(value, out);
    out.push(b'\'');
}

/// What the head does not name, as it was written.
fn extra(raw: &Raw) -> Bytes {
    let known: [&[u8]; 6] = [b"to", b"from", b"id", b"type", b"xml:lang", b"xmlns"];
    let mut out = Vec::new();
    for (name, value) in raw.attributes_but(|name| known.contains(&name)) {
        let quote = if value.contains('\'') { b'"' } else { b'\'' };
        out.push(b' ');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&[b'=', quote]);
        out.extend_from_slice(value.as_bytes());
        out.push(quote);
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::error::ErrorType;

    fn read(text: &str) -> Result<Stanza, ReadError> {
        let mut framer = Framer::inside(Limits::client());
        let mut buffer = BytesMut::from(text.as_bytes());
        match framer.next(&mut buffer) {
            Ok(Some(Frame::Element(raw))) => Stanza::read(&raw, namespaces::CLIENT),
            other => panic!("{text}: {other:?}"),
        }
    }

    /// What is read is written so.
    #[track_caller]
    fn check(text: &str, written: &str) {
        let stanza = read(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let bytes = stanza.write();
        assert_eq!(String::from_utf8_lossy(&bytes), written);
        assert_eq!(Stanza::parse_bytes(bytes), Ok(stanza), "it reads back");
    }

    /// The condition that the sender of `text` is told.
    #[track_caller]
    fn fault(text: &str, word: &str) {
        match read(text) {
            Err(ReadError::Bad(fault)) => assert_eq!(fault.error.condition.word(), word, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_stanza_is_written_once_in_one_form() {
        check("<message to='A@b'/>", "<message to='a@b'/>");
        check(
            "<message xmlns='jabber:client' type=\"chat\" id='1' to='a@b/C'><body> hi </body></message>",
            "<message to='a@b/C' id='1' type='chat'><body> hi </body></message>",
        );
        check("<message type='wild'/>", "<message/>");
        check(
            "<presence xml:lang='de'><show>away</show></presence>",
            "<presence xml:lang='de'><show>away</show></presence>",
        );
        check(
            "<iq type='get' id='a&apos;&lt;' xmlns:q='u' q:x=\"it's\"><q:y/></iq>",
            "<iq id='a&apos;&lt;' type='get' xmlns:q='u' q:x=\"it's\"><q:y/></iq>",
        );
    }

    #[test]
    fn elements_know_the_prefixes_of_the_stanzas_own_tag() {
        let stanza = read("<message xmlns:q='u' q:x='1'><body/>t<q:y/></message>");
        let elements = stanza.expect("a message").elements().expect("elements");
        let names: Vec<_> = elements.iter().map(|one| (&*one.name, &*one.ns)).collect();
        assert_eq!(names, [("body", namespaces::CLIENT), ("y", "u")]);
    }

    #[test]
    fn what_a_wide_gate_let_in_reads_back() {
        let deep = format!("<message>{}{}</message>", "<a>".repeat(500), "</a>".repeat(500));
        let attributes: String = (0..500).map(|number| format!(" a{number}='1'")).collect();
        for text in [deep, format!("<message><a{attributes}/></message>")] {
            let bytes = Bytes::from(text);
            let stanza = Stanza::parse_bytes(bytes.clone()).expect("it is one");
            assert_eq!(stanza.write(), bytes);
        }
    }

    #[test]
    fn wrong_stanzas_name_their_fault() {
        fault("<iq type='get' id='1'/>", "bad-request");
        fault("<iq type='get' id='1'><a/><b/></iq>", "bad-request");
        fault("<iq type='get'><a/></iq>", "bad-request");
        fault("<iq type='wrong' id='1'><a/></iq>", "bad-request");
        fault("<iq id='1'><a/></iq>", "bad-request");
        fault("<presence type='wrong'/>", "bad-request");
        fault("<message to='a@b@c'/>", "jid-malformed");
        fault("<message to=''/>", "jid-malformed");
        fault("<iq type='result' id='1' to='@'/>", "jid-malformed");
    }

    #[test]
    fn what_is_no_stanza_is_said_to_be_none() {
        assert_eq!(read("<foo/>"), Err(ReadError::NotAStanza));
        assert_eq!(read("<message xmlns='jabber:server'/>"), Err(ReadError::WrongNamespace));
        assert_eq!(read("<c:message xmlns:c='jabber:client'/>"), Err(ReadError::WrongNamespace));
        assert_eq!(
            read("<message xmlns='jabber:client&#x20;iq'/>"),
            Err(ReadError::WrongNamespace)
        );
    }

    #[test]
    fn an_answer_turns_the_addresses_round_and_is_never_answered() {
        let ask = "<iq from='a@b/c' to='b' id='7' type='get'><q xmlns='u'/></iq>";
        let asked = read(ask).expect("a request");
        assert_eq!(asked.child, Some(ChildName { name: "q".into(), ns: "u".into() }));
        let result = asked.result(Bytes::new()).expect("a request has a result");
        assert_eq!(result.write(), "<iq from='b' to='a@b/c' id='7' type='result'/>");
        let error = StanzaError::from(StanzaCondition::Conflict).with_type(ErrorType::Wait);
        let error = asked.error(error).expect("a request can fail");
        assert!(error.write().starts_with(
            b"<iq from='b' to='a@b/c' id='7' type='error'><error type='wait'><conflict "
        ));
        assert_eq!(error.error(StanzaCondition::BadRequest.into()), None);
        assert_eq!(result.error(StanzaCondition::BadRequest.into()), None);
        assert_eq!(result.result(Bytes::new()), None);
    }

    #[test]
    fn a_fault_is_answered_under_its_id_unless_it_was_an_answer() {
        let to = Jid::parse("a@b/c").expect("an address");
        let Err(ReadError::Bad(fault)) = read("<iq type='get' id='&lt;1'/>") else { panic!() };
        let said = fault.answer(&to).expect("a request is answered");
        assert!(said.starts_with(b"<iq to='a@b/c' id='&lt;1' type='error'><error type='modify'>"));
        let Err(ReadError::Bad(fault)) = read("<iq type='error' to='@'/>") else { panic!() };
        assert_eq!(fault.answer(&to), None);
    }
}
