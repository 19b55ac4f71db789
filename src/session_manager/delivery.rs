//! Who gets a stanza that is addressed to an account: the whole table of RFC
//! 6121 §8.5 as one pure function.
//!
//! It knows neither nodes nor sockets; who stores what nobody takes is the
//! home's business.

use smallvec::{SmallVec, smallvec};

use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::kind::{IqType, Kind, MessageType, PresenceType};

/// A session as far as delivery cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its resource.
    pub resource: &'a str,
    /// Its priority; `None` until it is available.
    pub priority: Option<i8>,
}

/// What shall happen to a stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// These of the candidates get it, by their places in the list.
    To(SmallVec<[usize; 2]>),
    /// Nobody takes it now: the account's home keeps it or answers for it.
    Home,
    /// The server answers in the account's name.
    Account,
    /// The sender is told.
    Bounce(StanzaError),
    /// Nothing happens, as the RFC wants it here.
    Ignore,
}

/// Plans a stanza for an account that exists. `resource` is the addressee's;
/// `candidates` are all of the account's sessions, the latest first.
///
/// A chat message to the bare address goes to every session that wants
/// messages, as people with several devices expect; a normal one to the most
/// available, and of equals to the latest (RFC 6121 §8.5.2.1.1 lets the
/// server choose).
pub fn plan(kind: Kind, resource: Option<&str>, candidates: &[Candidate<'_>]) -> Plan {
    let Some(resource) = resource else {
        return to_bare(kind, candidates);
    };
    if is_for_account(kind) && candidates.iter().any(|candidate| candidate.resource == resource) {
        return Plan::Account;
    }
    match candidates.iter().position(|candidate| candidate.resource == resource) {
        Some(place) => Plan::To(smallvec![place]),
        None => to_nobody(kind, candidates),
    }
}

/// Probes and requests of subscriptions are the server's to answer, also where
/// they name a session: it would tell a stranger that it is there (RFC 6121
/// §8.5.3.1).
fn is_for_account(kind: Kind) -> bool {
    kind == Kind::Presence(PresenceType::Probe) || kind.is_subscription()
}

/// RFC 6121 §8.5.2.
fn to_bare(kind: Kind, candidates: &[Candidate<'_>]) -> Plan {
    match kind {
        Kind::Message(MessageType::Chat) => all_willing(candidates).unwrap_or(Plan::Home),
        Kind::Message(MessageType::Normal) => most_available(candidates).unwrap_or(Plan::Home),
        Kind::Message(MessageType::Headline) => all_willing(candidates).unwrap_or(Plan::Ignore),
        Kind::Message(MessageType::Groupchat) => unavailable(),
        Kind::Message(MessageType::Error) => Plan::Ignore,
        Kind::Presence(PresenceType::Available | PresenceType::Unavailable) => {
            all_available(candidates)
        }
        Kind::Presence(PresenceType::Error) => Plan::Ignore,
        Kind::Presence(_) => Plan::Account,
        Kind::Iq(IqType::Get | IqType::Set) => Plan::Account,
        Kind::Iq(IqType::Result | IqType::Error) => Plan::Ignore,
    }
}

/// RFC 6121 §8.5.3.2: the resource is not, or no longer, there.
fn to_nobody(kind: Kind, candidates: &[Candidate<'_>]) -> Plan {
    match kind {
        Kind::Message(MessageType::Chat) => to_bare(kind, candidates),
        Kind::Message(MessageType::Normal | MessageType::Groupchat) => unavailable(),
        Kind::Message(MessageType::Headline | MessageType::Error) => Plan::Ignore,
        Kind::Presence(PresenceType::Subscribe) => Plan::Account,
        Kind::Presence(_) => Plan::Ignore,
        Kind::Iq(IqType::Get | IqType::Set) => unavailable(),
        Kind::Iq(IqType::Result | IqType::Error) => Plan::Ignore,
    }
}

fn unavailable() -> Plan {
    Plan::Bounce(StanzaCondition::ServiceUnavailable.into())
}

/// Everybody who did not ask to be left alone with a negative priority.
fn all_willing(candidates: &[Candidate<'_>]) -> Option<Plan> {
    chosen(candidates, |candidate| candidate.priority.is_some_and(|priority| priority >= 0))
}

fn all_available(candidates: &[Candidate<'_>]) -> Plan {
    chosen(candidates, |candidate| candidate.priority.is_some()).unwrap_or(Plan::Ignore)
}

/// The highest priority that is not negative; of equals the first, which is
/// the latest.
fn most_available(candidates: &[Candidate<'_>]) -> Option<Plan> {
    let highest = candidates.iter().filter_map(|one| one.priority).max().filter(|p| *p >= 0)?;
    let place = candidates.iter().position(|one| one.priority == Some(highest))?;
    Some(Plan::To(smallvec![place]))
}

fn chosen(candidates: &[Candidate<'_>], wants: impl Fn(&Candidate<'_>) -> bool) -> Option<Plan> {
    let places: SmallVec<[usize; 2]> =
        (0..candidates.len()).filter(|place| candidates.get(*place).is_some_and(&wants)).collect();
    if places.is_empty() { None } else { Some(Plan::To(places)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MessageType::{Chat, Groupchat, Headline, Normal};

    /// `sessions`: `name:priority`, where `?` is not available yet; the latest
    /// first. `fate`: names, or what else happens.
    #[track_caller]
    fn check(kind: Kind, to: &str, sessions: &str, fate: &str) {
        let resource = to.split_once('/').map(|(_, resource)| resource);
        let candidates: Vec<_> = sessions
            .split_whitespace()
            .map(|word| {
                let (resource, priority) = word.split_once(':').expect("name:priority");
                Candidate { resource, priority: priority.parse().ok() }
            })
            .collect();
        let said = match plan(kind, resource, &candidates) {
            Plan::To(places) => {
                let names: Vec<_> =
                    places.iter().map(|place| candidates[*place].resource).collect();
                names.join(" ")
            }
            Plan::Home => "home".into(),
            Plan::Account => "account".into(),
            Plan::Ignore => "-".into(),
            Plan::Bounce(error) => error.condition.word().into(),
        };
        assert_eq!(said, fate, "{kind:?} to {to} with {sessions:?}");
    }

    /// One row of RFC 6121's table 1: normal, chat, groupchat, headline.
    #[track_caller]
    fn row(to: &str, sessions: &str, fates: [&str; 4]) {
        for (kind, fate) in [Normal, Chat, Groupchat, Headline].into_iter().zip(fates) {
            check(Kind::Message(kind), to, sessions, fate);
        }
    }

    const NO: &str = "service-unavailable";

    #[test]
    fn messages_go_where_table_1_says() {
        row("j@im", "", ["home", "home", NO, "-"]);
        row("j@im/gone", "", [NO, "home", NO, "-"]);
        row("j@im", "mute:-1", ["home", "home", NO, "-"]);
        row("j@im/mute", "mute:-1", ["mute"; 4]);
        row("j@im/gone", "mute:-1", [NO, "home", NO, "-"]);
        row("j@im", "phone:0", ["phone", "phone", NO, "phone"]);
        row("j@im/phone", "phone:0", ["phone"; 4]);
        row("j@im/gone", "phone:0", [NO, "phone", NO, "-"]);
        row("j@im", "desk:1 phone:5", ["phone", "desk phone", NO, "desk phone"]);
        row("j@im/desk", "desk:1 phone:5", ["desk"; 4]);
        row("j@im/gone", "desk:1 phone:5", [NO, "desk phone", NO, "-"]);
        row("j@im", "desk:5 mute:-1 phone:5", ["desk", "desk phone", NO, "desk phone"]);
        row("j@im", "new:?", ["home", "home", NO, "-"]);
        row("j@im/new", "new:?", ["new"; 4]);
        row("j@im", "new:? phone:0", ["phone", "phone", NO, "phone"]);
    }

    #[test]
    fn error_messages_reach_only_whom_they_name() {
        let error = Kind::Message(MessageType::Error);
        check(error, "j@im", "phone:0", "-");
        check(error, "j@im/phone", "phone:0", "phone");
        check(error, "j@im/gone", "phone:0", "-");
    }

    #[test]
    fn requests_to_the_account_are_the_servers_and_others_are_delivered() {
        for kind in [IqType::Get, IqType::Set] {
            check(Kind::Iq(kind), "j@im", "phone:0", "account");
            check(Kind::Iq(kind), "j@im", "", "account");
            check(Kind::Iq(kind), "j@im/phone", "phone:-5", "phone");
            check(Kind::Iq(kind), "j@im/gone", "phone:0", NO);
        }
        for kind in [IqType::Result, IqType::Error] {
            check(Kind::Iq(kind), "j@im", "phone:0", "-");
            check(Kind::Iq(kind), "j@im/phone", "phone:0", "phone");
            check(Kind::Iq(kind), "j@im/gone", "phone:0", "-");
        }
    }

    #[test]
    fn presence_reaches_the_available_and_requests_the_account() {
        let presence = |kind| Kind::Presence(kind);
        check(presence(PresenceType::Available), "j@im", "a:0 b:-1 c:?", "a b");
        check(presence(PresenceType::Unavailable), "j@im", "", "-");
        check(presence(PresenceType::Available), "j@im/b", "a:0 b:-1", "b");
        check(presence(PresenceType::Available), "j@im/x", "a:0", "-");
        check(presence(PresenceType::Subscribe), "j@im", "a:0", "account");
        check(presence(PresenceType::Subscribe), "j@im/x", "a:0", "account");
        check(presence(PresenceType::Unsubscribed), "j@im/x", "a:0", "-");
        check(presence(PresenceType::Probe), "j@im", "a:0", "account");
        check(presence(PresenceType::Probe), "j@im/a", "a:0", "account");
        check(presence(PresenceType::Probe), "j@im/x", "a:0", "-");
        check(presence(PresenceType::Subscribe), "j@im/a", "a:0", "account");
        check(presence(PresenceType::Subscribed), "j@im/a", "a:0", "account");
    }
}
