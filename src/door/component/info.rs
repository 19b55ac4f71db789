//! What a component says of itself (XEP-0030): asked when it comes, and from
//! time to time. It is shown to whoever looks at what the host has. And what it
//! is told.

use std::time::Duration;

use crate::door::component::config::Component;
use crate::router::instance::Instance;
use crate::xml::element::Element;
use crate::xmpp::jid::{Domain, Jid};
use crate::xmpp::kind::{IqType, Kind, MessageType};
use crate::xmpp::namespaces::{CLIENT, DELEGATION, DISCO_INFO};
use crate::xmpp::stanza::Stanza;

/// How often it is asked again. A guess: what a component can do changes with
/// its software.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(3_600);

/// By which its answer is known.
const ID: &str = "jabiru-about";

/// Characters of a name that are kept, and features, and bytes of one. Guesses:
/// above what services say.
const TITLE_MAX: usize = 100;
const FEATURES_MAX: usize = 100;
const FEATURE_BYTES_MAX: usize = 256;

/// Asks in the name of one of our domains.
pub(super) fn ask(instance: &Instance, ours: Option<&Domain>) {
    let Some((domain, _)) = instance.domains.first() else { return };
    let payload = Element::new("query", DISCO_INFO).to_bytes(CLIENT);
    let from = ours.cloned().map(Jid::from);
    let to = Some(domain.clone().into());
    let question = Stanza::new(Kind::Iq(IqType::Get), from, to, payload);
    instance.ask(&Stanza { id: Some(ID.into()), ..question });
}

/// What a component is told of the requests that it answers in our place
/// (XEP-0355 §4.2); `None`: there are none.
pub(super) fn delegated(
    component: &Component,
    ours: Option<&Domain>,
    to: &Domain,
) -> Option<Stanza> {
    if component.delegation.is_empty() {
        return None;
    }
    let one = |ns: &String| Element::new("delegated", DELEGATION).attr("namespace", ns.as_str());
    let all = component.delegation.iter().map(one);
    let told = all.fold(Element::new("delegation", DELEGATION), Element::child);
    let (from, to) = (ours.cloned().map(Jid::from), Some(to.clone().into()));
    Some(Stanza::new(Kind::Message(MessageType::Normal), from, to, told.to_bytes(CLIENT)))
}

/// Looks whether a stanza of an instance is the answer; says whether it was,
/// and anything is other than it was.
pub(super) fn heard(instance: &Instance, ours: Option<&Domain>, stanza: &Stanza) -> Option<bool> {
    let to = stanza.to.as_ref()?;
    let is_ours = ours.is_some_and(|ours| ours.as_str() == to.as_str());
    if !is_ours || !stanza.kind.is_answer() || stanza.id.as_deref() != Some(ID) {
        return None;
    }
    let elements = stanza.elements().unwrap_or_default();
    let Some(query) = elements.iter().find(|one| one.is("query", DISCO_INFO)) else {
        return Some(false);
    };
    let mut names = query.elements().filter(|one| one.name == "identity");
    let title = names.find_map(|one| one.attribute("name")).unwrap_or_default();
    let title: String = title.chars().filter(|c| !c.is_control()).take(TITLE_MAX).collect();
    let features = query.elements().filter(|one| one.name == "feature");
    let features = features.filter_map(|one| one.attribute("var"));
    let features = features.filter(|one| one.len() <= FEATURE_BYTES_MAX).take(FEATURES_MAX);
    let features: Vec<Box<str>> = features.map(Into::into).collect();
    Some(instance.show(|shown| {
        shown.title = title.into();
        shown.features = features;
    }))
}
