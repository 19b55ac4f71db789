//! The content namespace of a stanza (RFC 6120 §4.8.3): clients, servers and
//! components each have their own for what has no other, and a stanza that
//! goes from the one to the other means the same in each.
//!
//! What declares no namespace takes that of its stream by itself. Here is what
//! declares it: seldom, and so nothing is copied until it is found.

use bytes::Bytes;

use crate::xml::escape::attribute_value;
use crate::xml::tag::{EndOfTag, Kind, Next, Reader};

/// Where a declaration is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Everywhere: for a namespace that nobody else shall see.
    All,
    /// At so many elements within one another: a stanza within a stanza keeps
    /// its own (XEP-0297 §3).
    Only(usize),
}

/// The same bytes, where declarations of the namespace `from` declare `to`.
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

/// Writes all up to the last change, and says how far that was.
fn rewrite(bytes: &[u8], from: &str, to: &str, depth: Depth, out: &mut Vec<u8>) -> Option<usize> {
    const DATA: &[u8] = b"<![CDATA[";
    let (mut at, mut copied, mut open) = (0, 0, 0usize);
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
        if reader.open().ok()?.0 == Kind::End {
            open = open.saturating_sub(1);
            continue;
        }
        let is_meant = depth == Depth::All || depth == Depth::Only(open);
        loop {
            match reader.attribute().ok()? {
                Next::End(Kind::Empty) => break,
                Next::End(_) => {
                    open += 1;
                    break;
                }
                Next::Attribute(name, value) => {
                    let whole = name.whole.of(bytes);
                    let is_declaration = whole == "xmlns" || whole.starts_with("xmlns:");
                    if is_meant && is_declaration && attribute_value(value.of(bytes)) == from {
                        out.extend_from_slice(bytes.get(copied..value.range().start)?);
                        out.extend_from_slice(to.as_bytes());
                        copied = value.range().end;
                    }
                }
            }
        }
    }
    Some(copied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::namespaces::{CLIENT, COMPONENT};

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
            "<body xmlns=\"jabber:component:accept\">x</body><y xmlns='jabber:component:accept'/>",
        );
        check(
            Depth::All,
            "<c:a xmlns:c='jabber:client'/>",
            "<c:a xmlns:c='jabber:component:accept'/>",
        );
        let inside = "<f xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'/></f>";
        check(Depth::Only(0), inside, inside);
        check(
            Depth::Only(1),
            "<iq><a xmlns='jabber:client'><b xmlns='jabber:client'/></a><c xmlns='jabber:client'/></iq>",
            "<iq><a xmlns='jabber:component:accept'><b xmlns='jabber:client'/></a><c xmlns='jabber:component:accept'/></iq>",
        );
    }

    #[test]
    fn what_is_not_whole_stays() {
        for half in ["<a xmlns='jabber:client'", "<a xmlns=jabber:client>", "jabber:client<"] {
            check(Depth::All, half, half);
        }
    }
}
