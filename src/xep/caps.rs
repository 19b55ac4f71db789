//! Entity capabilities (XEP-0115): one short text for all that the host says of
//! itself, so that nobody asks twice.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::extension::{About, Answer, Cx, Extension, Place};
use crate::xep::disco;
use crate::xml::element::Element;
use crate::xmpp::namespaces::{CAPS, CLIENT, DATA, DISCO_INFO};
use crate::xmpp::stanza::Stanza;

/// Which software this is, to whoever compares (§4: a URI that its makers
/// choose).
const NODE: &str = "urn:jabiru:server";

/// The extension. What it says needs all others: [`feature`].
#[derive(Debug)]
pub struct Caps;

#[async_trait]
impl Extension for Caps {
    fn about(&self) -> About {
        About {
            specification: "XEP-0115: Entity Capabilities",
            host_features: &[CAPS],
            ..About::default()
        }
    }

    /// Under the name that the features tell, the host answers as without one
    /// (§6.2).
    fn node(&self, cx: &Cx<'_>, _: &Stanza, ns: &str, node: &str) -> Option<Answer> {
        if ns != DISCO_INFO || cx.place != Place::Host || !node.starts_with(NODE) {
            return None;
        }
        let host = disco::host(cx.extensions);
        let is_ours = node == format!("{NODE}#{}", version(&host));
        is_ours.then(|| Ok(host.attr("node", node).to_bytes(CLIENT).into()))
    }
}

/// What the stream's features say of the host (§6.3), as XML.
pub fn feature(extensions: &[Box<dyn Extension>]) -> String {
    let caps = Element::new("c", CAPS)
        .attr("hash", "sha-1")
        .attr("node", NODE)
        .attr("ver", version(&disco::host(extensions)));
    String::from_utf8_lossy(&caps.to_bytes(CLIENT)).into_owned()
}

/// The verification text of an answer to disco#info (§5.1).
fn version(info: &Element) -> String {
    let identities = sorted(info, "identity", DISCO_INFO, |identity| {
        let part = |name| identity.attribute(name).unwrap_or_default();
        let names = ["category", "type", "xml:lang", "name"].map(part);
        format!("{}<", names.join("/"))
    });
    let features = sorted(info, "feature", DISCO_INFO, |feature| {
        format!("{}<", feature.attribute("var").unwrap_or_default())
    });
    let forms = sorted(info, "x", DATA, form);
    let whole = [identities, features, forms].concat().concat();
    STANDARD.encode(Sha1::digest(whole))
}

/// A form: its type, then each field with its values.
fn form(form: &Element) -> String {
    let is_type = |field: &Element| field.attribute("var") == Some("FORM_TYPE");
    let values = |field: &Element| {
        sorted(field, "value", DATA, |value| format!("{}<", value.own_text())).concat()
    };
    let kind = form.elements().find(|field| is_type(field)).map(values).unwrap_or_default();
    let mut fields: Vec<String> = form
        .elements()
        .filter(|field| field.is("field", DATA) && !is_type(field))
        .map(|field| format!("{}<{}", field.attribute("var").unwrap_or_default(), values(field)))
        .collect();
    fields.sort_unstable();
    kind + &fields.concat()
}

/// The texts of the children of this name, in their order as bytes.
fn sorted(
    parent: &Element,
    name: &str,
    ns: &str,
    text: impl Fn(&Element) -> String,
) -> Vec<String> {
    let mut texts: Vec<String> =
        parent.elements().filter(|child| child.is(name, ns)).map(text).collect();
    texts.sort_unstable();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(inside: &str, expected: &str) {
        let info = format!("<query xmlns='{DISCO_INFO}'>{inside}</query>");
        let info = Element::parse(info.as_bytes(), CLIENT).expect("an element");
        assert_eq!(version(&info), expected);
    }

    /// The features of both examples in XEP-0115 §5.
    const FEATURES: &str = "<feature var='http://jabber.org/protocol/disco#info'/>\
        <feature var='http://jabber.org/protocol/muc'/>\
        <feature var='http://jabber.org/protocol/caps'/>\
        <feature var='http://jabber.org/protocol/disco#items'/>";

    #[test]
    fn the_simple_example_of_the_specification_holds() {
        let identity = "<identity category='client' type='pc' name='Exodus 0.9.1'/>";
        check(&format!("{FEATURES}{identity}"), "QgayPKawpkPSDYmwT/WM94uAlu0=");
    }

    #[test]
    fn the_complex_example_of_the_specification_holds() {
        let identities = "<identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
            <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>";
        let form = "<x xmlns='jabber:x:data' type='result'>\
            <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>\
            <field var='ip_version'><value>ipv4</value><value>ipv6</value></field>\
            <field var='os'><value>Mac</value></field>\
            <field var='os_version'><value>10.5.1</value></field>\
            <field var='software'><value>Psi</value></field>\
            <field var='software_version'><value>0.11</value></field></x>";
        check(&format!("{identities}{FEATURES}{form}"), "q07IKJEyjvHSyhy//CH0CxmKi8w=");
    }
}
