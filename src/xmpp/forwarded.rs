//! A stanza within a stanza (XEP-0297), as components send and get them.

use bytes::Bytes;

use crate::xmpp::namespaces::{CLIENT, FORWARD};
use crate::xmpp::stanza::Stanza;

/// A stanza, forwarded within an element of this name and namespace.
pub fn forwarded(stanza: &Stanza, name: &str, ns: &str) -> Bytes {
    let written = stanza.write();
    // where it lies it must say its namespace
    let name_end = 1 + stanza.kind.name().len();
    let (begin, rest) = written.split_at(name_end.min(written.len()));
    let before = format!("<{name} xmlns='{ns}'><forwarded xmlns='{FORWARD}'>");
    let declared = format!(" xmlns='{CLIENT}'");
    let after = format!("</forwarded></{name}>");
    [before.as_bytes(), begin, declared.as_bytes(), rest, after.as_bytes()].concat().into()
}

/// The stanza that lies in an element of this name, right there or forwarded.
/// The outer `None`: there is no such element; the inner: no stanza in it.
pub fn inside(stanza: &Stanza, name: &str, ns: &str) -> Option<Option<Stanza>> {
    let elements = stanza.elements().unwrap_or_default();
    let outer = elements.iter().find(|one| one.is(name, ns))?;
    let outer = outer.find("forwarded", FORWARD).unwrap_or(outer);
    let mut inner = outer.elements().filter(|one| one.ns == CLIENT);
    Some(inner.next().and_then(|one| Stanza::parse_bytes(one.to_bytes(CLIENT)).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::kind::{Kind, MessageType};

    #[test]
    fn what_is_put_in_comes_out() {
        for text in [
            "<iq from='a@im/r' id='1' type='get'><q xmlns='u'><r>&lt;</r></q></iq>",
            "<message to='x@y'><body>hi</body></message>",
            "<presence/>",
        ] {
            let inner = Stanza::parse_bytes(Bytes::from(text)).expect("a stanza");
            let payload = forwarded(&inner, "w", "u:w");
            let outer = Stanza::new(Kind::Message(MessageType::Normal), None, None, payload);
            let read = Stanza::parse_bytes(outer.write()).expect("a stanza");
            assert_eq!(inside(&read, "w", "u:w"), Some(Some(inner)));
            assert_eq!(inside(&read, "v", "u:w"), None);
        }
        let empty = Bytes::from("<message><w xmlns='u:w'><message/></w></message>");
        let empty = Stanza::parse_bytes(empty).expect("a stanza");
        assert_eq!(inside(&empty, "w", "u:w"), Some(None));
    }
}
