//! A payload that crosses from one kind of stream to another: what is of the
//! stream's own namespace must inherit it, for the other stream has another
//! (RFC 6120 §4.8.3).
//!
//! What stands inside elements of other namespaces is not touched: a forwarded
//! message says of itself that it is of `jabber:client`, on any stream.

use bytes::Bytes;

use crate::xml::escape::attribute_value;
use crate::xml::tag::{Kind, Next, Reader};

/// The payload of a stanza of a stream whose default namespace is
/// `default_ns`, without declarations of it that only say what is so anyway.
pub fn inheriting(payload: &Bytes, default_ns: &str) -> Bytes {
    if memchr::memmem::find(payload, default_ns.as_bytes()).is_none() {
        return payload.clone();
    }
    // what the gate has let in can be read
    rewritten(payload, default_ns).map_or_else(|| payload.clone(), Bytes::from)
}

fn rewritten(payload: &[u8], default_ns: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(payload.len());
    // whether each open element, and all around it, inherits
    let mut open: Vec<bool> = Vec::new();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'<', payload.get(at..)?) {
        let start = at + found;
        out.extend_from_slice(payload.get(at..start)?);
        let rest = payload.get(start..)?;
        if rest.starts_with(b"<!") {
            let length = memchr::memmem::find(rest, b"]]>")? + 3;
            out.extend_from_slice(rest.get(..length)?);
            at = start + length;
            continue;
        }
        let mut reader = Reader::new(payload, start);
        let (kind, name) = reader.open().ok()?;
        if kind == Kind::End {
            reader.close().ok()?;
            open.pop()?;
            out.extend_from_slice(payload.get(start..reader.at())?);
            at = reader.at();
            continue;
        }
        let is_inside = open.last().copied().unwrap_or(true);
        let mut inherits = is_inside && name.prefix.range().is_empty();
        let mut written = name.whole.range().end;
        out.extend_from_slice(payload.get(start..written)?);
        let kind = loop {
            match reader.attribute().ok()? {
                Next::End(kind) => break kind,
                Next::Attribute(attribute, value) => {
                    let end = value.range().end + 1;
                    let is_default = attribute.whole.of(payload) == "xmlns";
                    let is_ours = is_default && attribute_value(value.of(payload)) == default_ns;
                    if !(is_ours && inherits) {
                        out.extend_from_slice(payload.get(written..end)?);
                    }
                    inherits &= !is_default || is_ours;
                    written = end;
                }
            }
        };
        out.extend_from_slice(payload.get(written..reader.at())?);
        at = reader.at();
        if kind == Kind::Start {
            open.push(inherits);
        }
    }
    out.extend_from_slice(payload.get(at..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::namespaces::{CLIENT, SERVER};

    #[track_caller]
    fn check(default_ns: &str, payload: &'static str, expected: &str) {
        let inheriting = inheriting(&Bytes::from_static(payload.as_bytes()), default_ns);
        assert_eq!(String::from_utf8_lossy(&inheriting), expected);
    }

    #[test]
    fn what_is_of_the_streams_namespace_inherits_it() {
        check(SERVER, "<body>hi</body>", "<body>hi</body>");
        check(SERVER, "<body xmlns='jabber:server'>hi</body>", "<body>hi</body>");
        check(SERVER, "a<b id=\"1\" xmlns = \"jabber:server\" x='2'/>c", "a<b id=\"1\" x='2'/>c");
        check(CLIENT, "<a xmlns='jabber:client'><b xmlns='jabber:client'/></a>", "<a><b/></a>");
        check(
            CLIENT,
            "<![CDATA[<a xmlns='jabber:client'/>]]>",
            "<![CDATA[<a xmlns='jabber:client'/>]]>",
        );
    }

    #[test]
    fn what_is_inside_other_namespaces_stays_as_it_is() {
        for payload in [
            "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'/></forwarded>",
            "<p:a xmlns:p='u'><b xmlns='jabber:client'/></p:a>",
            "<a xmlns='jabber:server'><b xmlns='jabber:client'/></a>",
            "<a><b xmlns='u'/></a><!-- jabber:client",
            "<body>jabber:client &lt;a xmlns='jabber:client'&gt;</body>",
        ] {
            check(CLIENT, payload, payload);
        }
        check(
            CLIENT,
            "<a xmlns='u'><b xmlns='jabber:client'/></a><c xmlns='jabber:client'/>",
            "<a xmlns='u'><b xmlns='jabber:client'/></a><c/>",
        );
    }
}
