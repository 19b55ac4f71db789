//! The content namespace of a stanza (RFC 6120 §4.8.3): clients, servers and
//! components each have their own for what has no other, and a stanza that
//! goes from the one to the other means the same in each.
//!
//! What declares no namespace takes that of its stream by itself. Here is what
//! declares it: seldom, and so nothing is copied until it is found.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::xml::escape::attribute_value;
use crate::xml::tag::{EndOfTag, Kind, Next, Reader};
use crate::xmpp::namespaces::CLIENT;
use crate::xmpp::stanza::Stanza;

/// Where a declaration is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Everywhere: for a namespace that nobody else shall see.
    All,
    /// Where all around it is of the stream's own namespace: a stanza within
    /// an element of another keeps its own (XEP-0297 §3).
    Content,
}

/// A stanza of a stream whose content namespace is `from`, as we know stanzas:
/// that of clients.
pub fn taken(mut stanza: Stanza, from: &str, depth: Depth) -> Stanza {
    stanza.payload = translated(&stanza.payload, from, CLIENT, depth);
    if !stanza.extra.is_empty() {
        // the declarations in its own tag
        let tag = [b"<x", &stanza.extra[..], b"/>"].concat().into();
        let tag = translated(&tag, from, CLIENT, depth);
        stanza.extra = tag.slice(2..tag.len().saturating_sub(2).max(2));
    }
    if let Some(child) = stanza.child.as_mut().filter(|child| &*child.ns == from) {
        child.ns = CLIENT.into();
    }
    stanza
}

/// The same bytes, where declarations of the namespace `from` declare `to`, or
/// are gone where they only said what is so without them.
/// What is not whole, which no gate lets in, stays as it is.
pub fn translated(bytes: &Bytes, from: &str, to: &str, depth: Depth) -> Bytes {
    if memchr::memmem::find(bytes, from.as_bytes()).is_none() {
        return bytes.clone();
    }
    let mut out = Vec::with_capacity(bytes.len());
    match rewrite(bytes, from, to, depth, &mut out) {
        Some(copied) if copied > 0 => {
            out.extend_from_slice(bytes.get(copied..).unwrap_or_default());
            out.into()
        }
        _ => bytes.clone(),
    }
}

/// A declaration of the namespace that is looked for.
struct Declaration {
    is_default: bool,
    /// Where what stands before it ends.
    before: usize,
    value: Range<usize>,
}

/// Writes all up to the last change, and says how far that was.
fn rewrite(bytes: &[u8], from: &str, to: &str, depth: Depth, out: &mut Vec<u8>) -> Option<usize> {
    const DATA: &[u8] = b"<![CDATA[";
    let (mut at, mut copied) = (0, 0);
    // of each open element: whether it, and all around it, is of `from`
    let mut open: Vec<bool> = Vec::new();
    while let Some(found) = memchr::memchr(b'<', bytes.get(at..)?) {
        at += found;
        let rest = bytes.get(at..)?;
        if rest.starts_with(DATA) {
            at += EndOfTag::default().find_data_end(rest, DATA.len())?;
            continue;
        }
        let length = EndOfTag::default().find(rest)?;
        let mut reader = Reader::new(bytes, at);
        at += length;
        let (kind, name) = reader.open().ok()?;
        if kind == Kind::End {
            open.pop();
            continue;
        }
        let is_inside = open.last().copied().unwrap_or(true);
        let is_prefixed = !name.prefix.range().is_empty();
        // of the namespace `from`, unless a declaration says otherwise
        let mut is_own = !is_prefixed;
        let mut found: SmallVec<[Declaration; 2]> = SmallVec::new();
        let mut end = name.whole.range().end;
        let kind = loop {
            match reader.attribute().ok()? {
                Next::End(kind) => break kind,
                Next::Attribute(attribute, value) => {
                    let whole = attribute.whole.of(bytes);
                    let is_default = whole == "xmlns";
                    if is_default || whole.starts_with("xmlns:") {
                        let is_from = attribute_value(value.of(bytes)) == from;
                        let is_of_name = match is_prefixed {
                            true => whole.strip_prefix("xmlns:") == Some(name.prefix.of(bytes)),
                            false => is_default,
                        };
                        if is_of_name {
                            is_own = is_from;
                        }
                        if is_from {
                            found.push(Declaration {
                                is_default,
                                before: end,
                                value: value.range(),
                            });
                        }
                    }
                    end = value.range().end + 1;
                }
            }
        };
        let is_content = is_inside && is_own;
        if kind == Kind::Start {
            open.push(is_content);
        }
        for one in found.iter().filter(|_| depth == Depth::All || is_content) {
            if is_content && one.is_default {
                // it only says what is so anyway
                out.extend_from_slice(bytes.get(copied..one.before)?);
                copied = one.value.end + 1;
            } else {
                out.extend_from_slice(bytes.get(copied..one.value.start)?);
                out.extend_from_slice(to.as_bytes());
                copied = one.value.end;
            }
        }
    }
    Some(copied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::namespaces::COMPONENT;

    #[track_caller]
    fn check(depth: Depth, before: &'static str, after: &str) {
        let bytes = Bytes::from_static(before.as_bytes());
        let there = translated(&bytes, CLIENT, COMPONENT, depth);
        assert_eq!(String::from_utf8_lossy(&there), after);
        let is_same = there.as_ptr() == bytes.as_ptr();
        assert_eq!(is_same, before == after, "it is copied only where something changes");
    }

    #[test]
    fn what_declares_nothing_is_not_touched() {
        check(Depth::All, "", "");
        check(Depth::All, "<body>jabber:client</body>", "<body>jabber:client</body>");
        check(Depth::All, "<a b='jabber:client'/>", "<a b='jabber:client'/>");
        check(Depth::All, "<a xmlns='jabber:client:x'/>", "<a xmlns='jabber:client:x'/>");
        let data = "<a><![CDATA[<b xmlns='jabber:client'/>]]></a>";
        check(Depth::All, data, data);
    }

    #[test]
    fn declarations_are_found_wherever_they_are_meant() {
        check(
            Depth::All,
            "<body xmlns=\"jabber:client\">x</body><y xmlns='jabber:client'/>",
            "<body>x</body><y/>",
        );
        check(
            Depth::All,
            "<c:a xmlns:c='jabber:client'/>",
            "<c:a xmlns:c='jabber:component:accept'/>",
        );
        check(
            Depth::All,
            "<a xmlns='u'><b xmlns='jabber:client'/></a>",
            "<a xmlns='u'><b xmlns='jabber:component:accept'/></a>",
        );
        let inside = "<f xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'/></f>";
        check(Depth::Content, inside, inside);
        check(
            Depth::Content,
            "<iq><a xmlns='jabber:client'><b xmlns='jabber:client'/></a><c xmlns='u'><d xmlns='jabber:client'/></c></iq>",
            "<iq><a><b/></a><c xmlns='u'><d xmlns='jabber:client'/></c></iq>",
        );
        check(
            Depth::Content,
            "<a xmlns='u'/><c xmlns = \"jabber:client\" x='2'/>",
            "<a xmlns='u'/><c x='2'/>",
        );
        check(
            Depth::Content,
            "<c:a xmlns:c='jabber:client'><b xmlns='jabber:client'/></c:a>",
            "<c:a xmlns:c='jabber:component:accept'><b/></c:a>",
        );
    }

    #[test]
    fn what_is_inside_other_namespaces_stays_as_it_is() {
        for payload in [
            "<p:a xmlns:p='u'><b xmlns='jabber:client'/></p:a>",
            "<p:f xmlns:p='u' xmlns='jabber:client'><message/></p:f>",
            "<f xmlns:c='jabber:client' xmlns='u'><c:message/></f>",
            "<a xmlns='jabber:server'><b xmlns='jabber:client'/></a>",
            "<a><b xmlns='u'/></a>",
            "<body>jabber:client &lt;a xmlns='jabber:client'&gt;</body>",
        ] {
            check(Depth::Content, payload, payload);
        }
    }

    #[test]
    fn a_stanza_of_another_stream_is_taken_whole() {
        let bytes = Bytes::from_static(
            b"<iq id='1' type='get' xmlns:s='jabber:server'><q xmlns='jabber:server'/></iq>",
        );
        let stanza = Stanza::parse_bytes(bytes).expect("a stanza");
        let taken = taken(stanza, "jabber:server", Depth::Content);
        assert_eq!(taken.payload, "<q/>");
        assert!(!taken.extra.windows(13).any(|part| part == b"jabber:server"));
        assert_eq!(taken.child.map(|child| child.ns), Some(CLIENT.into()));
    }

    #[test]
    fn what_is_not_whole_stays() {
        for half in ["<a xmlns='jabber:client'", "<a xmlns=jabber:client>", "jabber:client<"] {
            check(Depth::All, half, half);
        }
    }
}
