//! What a component may do in the name of our accounts (XEP-0356): messages,
//! rosters, and requests of some namespaces, as far as the operator has granted
//! it. Whose presence it hears is the business of `router/watching`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::door::component::Door;
use crate::router::components::Watches;
use crate::router::instance::Instance;
use crate::xml::element::Element;
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::forwarded::{forwarded, inside};
use crate::xmpp::jid::{Domain, Jid};
use crate::xmpp::kind::{IqType, Kind, MessageType};
use crate::xmpp::namespaces::{CLIENT, PRIVILEGE, ROSTER};
use crate::xmpp::stanza::Stanza;

/// The section `[component.domains."…".privileges]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privileges {
    /// Whether it may send messages in the name of our accounts.
    pub message: bool,
    /// What it may do with their rosters.
    pub roster: Access,
    /// Whose presence it hears.
    pub presence: Watches,
    /// What it may ask in their names, by the namespace of the request.
    pub iq: BTreeMap<String, Access>,
}

/// What may be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Nothing.
    #[default]
    None,
    /// To look.
    Get,
    /// To change.
    Set,
    /// Either.
    Both,
}

impl Access {
    fn allows(self, kind: Kind) -> bool {
        match kind {
            Kind::Iq(IqType::Get) => matches!(self, Self::Get | Self::Both),
            Kind::Iq(IqType::Set) => matches!(self, Self::Set | Self::Both),
            _ => false,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Get => "get",
            Self::Set => "set",
            Self::Both => "both",
        }
    }
}

impl Privileges {
    /// What the component is told of them when it has come (§3.2); `None`: it
    /// has none.
    pub(super) fn told(&self, ours: Option<&Domain>, to: &Domain) -> Option<Stanza> {
        if *self == Self::default() {
            return None;
        }
        let perm = |access: &str, kind: &str| {
            Element::new("perm", PRIVILEGE).attr("access", access).attr("type", kind)
        };
        let mut told = Element::new("privilege", PRIVILEGE);
        if self.roster != Access::None {
            told = told.child(perm("roster", self.roster.word()));
        }
        if self.message {
            told = told.child(perm("message", "outgoing"));
        }
        match self.presence {
            Watches::None => {}
            Watches::ManagedEntity => told = told.child(perm("presence", "managed_entity")),
            Watches::Roster => told = told.child(perm("presence", "roster")),
        }
        if !self.iq.is_empty() {
            let namespaces = self.iq.iter().map(|(ns, access)| {
                let one = Element::new("namespace", PRIVILEGE).attr("ns", ns.as_str());
                one.attr("type", access.word())
            });
            let iq = Element::new("perm", PRIVILEGE).attr("access", "iq");
            told = told.child(namespaces.fold(iq, Element::child));
        }
        let (from, to) = (ours.cloned().map(Jid::from), Some(to.clone().into()));
        let kind = Kind::Message(MessageType::Normal);
        Some(Stanza::new(kind, from, to, told.to_bytes(CLIENT)))
    }
}

/// What a stanza of a component asks for beyond its own name.
enum Wish {
    /// Somebody of ours says this.
    Say(Stanza),
    /// Somebody of ours asks this; `true`: the answer is wrapped.
    Ask(Stanza, bool),
    /// It may not, or what it asks is no stanza.
    Refused(StanzaCondition),
}

/// Carries out what a component does in somebody's name; gives back what it
/// does in its own.
pub(super) fn take(door: &Arc<Door>, instance: &Arc<Instance>, stanza: Stanza) -> Option<Stanza> {
    let privileges = &door.config.domains.get(instance.domains.first().map(|(one, _)| one)?);
    let Some(privileges) = privileges.map(|component| &component.privileges) else {
        return Some(stanza);
    };
    let Some(wish) = wish(privileges, &stanza, |domain| door.is_ours(domain)) else {
        return Some(stanza);
    };
    match wish {
        Wish::Say(message) => door.router.inject(message),
        Wish::Refused(condition) => {
            if let Some(error) = stanza.error(condition.into()) {
                instance.ask(&error);
            }
        }
        Wish::Ask(request, is_wrapped) => {
            let (door, instance) = (Arc::clone(door), Arc::clone(instance));
            tokio::spawn(async move {
                let Some(answer) = door.router.in_name(request).await else { return };
                instance.ask(&told_back(&stanza, answer, is_wrapped));
            });
        }
    }
    None
}

/// What is asked for; `None`: nothing but what anybody may.
fn wish(privileges: &Privileges, stanza: &Stanza, is_ours: impl Fn(&str) -> bool) -> Option<Wish> {
    let to = stanza.to.as_ref().filter(|to| is_ours(to.domain()))?;
    match stanza.kind {
        Kind::Message(kind) if kind != MessageType::Error && to.local().is_none() => {
            let inside = inside(stanza, "privilege", PRIVILEGE)?;
            Some(match inside {
                _ if !privileges.message => Wish::Refused(StanzaCondition::Forbidden),
                Some(message) => spoken(message, is_ours),
                None => Wish::Refused(StanzaCondition::BadRequest),
            })
        }
        kind if kind.is_request() && to.local().is_some() => {
            let child = stanza.child.as_ref()?;
            let account = Jid::from(to.bare());
            let own = |request: Stanza| Stanza {
                from: Some(account.clone()),
                to: Some(account.clone()),
                ..request
            };
            match &*child.ns {
                ROSTER if privileges.roster.allows(kind) => {
                    Some(Wish::Ask(own(stanza.clone()), false))
                }
                // as from anybody else, it is refused where it arrives
                ROSTER => None,
                PRIVILEGE => Some(match inside(stanza, "privileged_iq", PRIVILEGE)? {
                    Some(request) if request.kind == kind => {
                        let ns = request.child.as_ref().map_or("", |child| &*child.ns);
                        let access = privileges.iq.get(ns).copied().unwrap_or_default();
                        match access.allows(kind) {
                            true => Wish::Ask(own(request), true),
                            false => Wish::Refused(StanzaCondition::Forbidden),
                        }
                    }
                    _ => Wish::Refused(StanzaCondition::BadRequest),
                }),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A message in somebody's name: an account of ours (§4.2).
fn spoken(message: Stanza, is_ours: impl Fn(&str) -> bool) -> Wish {
    let is_own = |from: &Jid| from.local().is_some() && is_ours(from.domain());
    match (&message.from, message.kind) {
        (Some(from), Kind::Message(_)) if message.to.is_some() && is_own(from) => {
            Wish::Say(message)
        }
        (_, Kind::Message(_)) => Wish::Refused(StanzaCondition::Forbidden),
        _ => Wish::Refused(StanzaCondition::BadRequest),
    }
}

/// An answer to an account, for the component that has asked in its name.
fn told_back(request: &Stanza, answer: Stanza, is_wrapped: bool) -> Stanza {
    let (from, to, id) = (request.to.clone(), request.from.clone(), request.id.clone());
    if !is_wrapped {
        return Stanza { from, to, id, ..answer };
    }
    let payload = forwarded(&answer, "privilege", PRIVILEGE);
    Stanza { id, ..Stanza::new(Kind::Iq(IqType::Result), from, to, payload) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmpp::namespaces::FORWARD;

    const ALL: &str = "message = true\nroster = 'get'\niq = { 'u:a' = 'both', 'u:b' = 'get' }";

    /// What is made of a stanza of the component `gw`.
    #[track_caller]
    fn check(granted: &str, text: &str, expected: &str) {
        let privileges: Privileges = toml::from_str(granted).expect("TOML");
        let stanza = Stanza::parse_bytes(text.to_owned().into()).expect("a stanza");
        let told = match wish(&privileges, &stanza, |domain| domain == "im") {
            None => "its own".to_owned(),
            Some(Wish::Refused(condition)) => condition.word().to_owned(),
            Some(Wish::Say(said) | Wish::Ask(said, _)) => {
                String::from_utf8_lossy(&said.write()).into_owned()
            }
        };
        assert_eq!(told, expected, "{text}");
    }

    fn wrapped(message: &str) -> String {
        format!(
            "<message from='gw' to='im'><privilege xmlns='{PRIVILEGE}'><forwarded xmlns='{FORWARD}'>{message}</forwarded></privilege></message>"
        )
    }

    #[test]
    fn messages_are_said_in_the_name_of_our_accounts_only() {
        let said = "<message from='juliet@im' to='x@y' id='1'><body>hi</body></message>";
        let inner = said.replace("<message ", "<message xmlns='jabber:client' ");
        check(ALL, &wrapped(&inner), said);
        check("", &wrapped(&inner), "forbidden");
        for from in ["juliet@elsewhere", "im", "gw"] {
            let other = inner.replace("juliet@im", from);
            check(ALL, &wrapped(&other), "forbidden");
        }
        check(ALL, &wrapped(&inner.replace(" to='x@y'", "")), "forbidden");
        check(ALL, &wrapped(&inner.replace("message", "presence")), "bad-request");
        check(ALL, &wrapped(""), "bad-request");
        check(ALL, "<message from='gw' to='im'><body>hi</body></message>", "its own");
        let elsewhere = wrapped(&inner).replace("to='im'", "to='other'");
        check(ALL, &elsewhere, "its own");
    }

    #[test]
    fn requests_are_made_as_far_as_they_are_granted() {
        let roster = |kind: &str| {
            format!(
                "<iq from='gw' to='juliet@im' id='1' type='{kind}'><query xmlns='{ROSTER}'/></iq>"
            )
        };
        let own = roster("get").replace("from='gw'", "from='juliet@im'");
        check(ALL, &roster("get"), &own);
        check(ALL, &roster("set"), "its own");
        check("", &roster("get"), "its own");
        let iq = |kind: &str, ns: &str, inner: &str| {
            format!(
                "<iq from='gw' to='juliet@im' id='2' type='{kind}'><privileged_iq xmlns='{PRIVILEGE}'><iq xmlns='jabber:client' from='x@y' id='3' type='{inner}'><q xmlns='{ns}'/></iq></privileged_iq></iq>"
            )
        };
        let own = "<iq from='juliet@im' to='juliet@im' id='3' type='set'><q xmlns='u:a'/></iq>";
        check(ALL, &iq("set", "u:a", "set"), own);
        check(ALL, &iq("set", "u:b", "set"), "forbidden");
        check(ALL, &iq("get", "u:c", "get"), "forbidden");
        check(ALL, &iq("get", "u:a", "set"), "bad-request");
        check("", &iq("get", "u:a", "get"), "forbidden");
    }

    #[test]
    fn a_component_is_told_what_it_may() {
        let privileges: Privileges = toml::from_str(ALL).expect("TOML");
        let domain = |text| Domain::parse(text).expect("a domain");
        let told = privileges.told(Some(&domain("im")), &domain("gw")).expect("something");
        let expected = "<message from='im' to='gw'><privilege xmlns='urn:xmpp:privilege:2'>\
            <perm access='roster' type='get'/><perm access='message' type='outgoing'/>\
            <perm access='iq'><namespace ns='u:a' type='both'/><namespace ns='u:b' type='get'/></perm>\
            </privilege></message>";
        assert_eq!(String::from_utf8_lossy(&told.write()), expected);
        assert_eq!(Privileges::default().told(None, &domain("gw")), None);
    }

    #[test]
    fn a_wrapped_answer_says_its_namespace() {
        let request = "<iq from='gw' to='juliet@im' id='2' type='get'><p xmlns='u'/></iq>";
        let answer = "<iq from='juliet@im' to='juliet@im' id='3' type='result'/>";
        let read = |text: &str| Stanza::parse_bytes(text.to_owned().into()).expect("a stanza");
        let told = told_back(&read(request), read(answer), true);
        let text = String::from_utf8_lossy(&told.write()).into_owned();
        assert!(text.starts_with("<iq from='juliet@im' to='gw' id='2' type='result'><privilege "));
        assert!(text.contains("<iq xmlns='jabber:client' from='juliet@im' "), "{text}");
    }
}
