//! What the host and its accounts can do by a component that answers in their
//! place (XEP-0355 §5): asked of it when it comes, and shown in theirs.

use crate::door::component::config::Component;
use crate::router::instance::Instance;
use crate::xml::element::Element;
use crate::xmpp::jid::{Domain, Jid};
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::{CLIENT, DISCO_INFO};
use crate::xmpp::stanza::Stanza;

/// What a component says of a namespace for the host and for accounts: the
/// beginnings of the nodes that it is asked about, and of the lines that all
/// nodes keep of its answers.
const NODES: [(&str, char); 2] =
    [("urn:xmpp:delegation:2::", 'h'), ("urn:xmpp:delegation:2:bare:", 'a')];

/// Before the node in the ids of our questions.
const ID: &str = "jabiru-nested ";

/// Lines that are kept of one answer, and bytes of one. Guesses: above what
/// services say.
const LINES_MAX: usize = 50;
const LINE_BYTES_MAX: usize = 256;

/// Asks about every namespace that it answers for.
pub(super) fn ask(instance: &Instance, component: &Component, ours: Option<&Domain>) {
    let Some((domain, _)) = instance.domains.first() else { return };
    for ns in &component.delegation {
        for (node, _) in NODES {
            let node = format!("{node}{ns}");
            let query = Element::new("query", DISCO_INFO).attr("node", node.as_str());
            let (from, to) = (ours.cloned().map(Jid::from), Some(domain.clone().into()));
            let question = Stanza::new(Kind::Iq(IqType::Get), from, to, query.to_bytes(CLIENT));
            let id = Some(format!("{ID}{node}").into());
            instance.ask(&Stanza { id, ..question });
        }
    }
}

/// As [`super::info::heard`], for these questions.
pub(super) fn heard(
    instance: &Instance,
    component: &Component,
    ours: Option<&Domain>,
    stanza: &Stanza,
) -> Option<bool> {
    let is_ours = stanza.to.as_ref()?.as_str() == ours?.as_str();
    let node = stanza.id.as_deref()?.strip_prefix(ID)?;
    if !is_ours || !stanza.kind.is_answer() {
        return None;
    }
    let asked = NODES.iter().find_map(|(start, place)| Some((*place, node.strip_prefix(start)?)));
    let Some((place, _)) = asked.filter(|(_, ns)| component.delegation.contains(*ns)) else {
        return Some(false);
    };
    let elements = stanza.elements().unwrap_or_default();
    let query = elements.iter().find(|one| one.is("query", DISCO_INFO));
    let lines = query.map(|query| lines(query, place)).unwrap_or_default();
    Some(instance.show(|shown| drop(shown.nested.insert(node.into(), lines))))
}

fn lines(query: &Element, place: char) -> Vec<String> {
    let line = |one: &Element| match one.name.as_str() {
        "feature" => Some(format!("{place}f{}", one.attribute("var")?)),
        "identity" => {
            let part = |name| one.attribute(name).unwrap_or_default();
            Some(format!("{place}i{}\t{}\t{}", part("category"), part("type"), part("name")))
        }
        _ => None,
    };
    let is_kept = |line: &String| {
        line.len() <= LINE_BYTES_MAX && !line.chars().any(|c| c.is_control() && c != '\t')
    };
    query.elements().filter_map(line).filter(is_kept).take(LINES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_and_identities_are_kept_as_lines() {
        let query = "<query xmlns='http://jabber.org/protocol/disco#info'>\
            <identity category='pubsub' type='pep' name='P'/><feature var='u:one'/>\
            <feature/><feature var='a&#10;b'/><x xmlns='jabber:x:data'/></query>";
        let query = Element::parse(query.as_bytes(), CLIENT).expect("XML");
        assert_eq!(lines(&query, 'a'), ["aipubsub\tpep\tP", "afu:one"]);
    }
}
