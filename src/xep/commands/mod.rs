//! Ad-hoc commands (XEP-0050) at the host, for administrators.

pub mod administration;
pub mod deeds;
pub mod dialogues;
pub mod form;

use std::collections::BTreeSet;
use std::time::Instant;

use async_trait::async_trait;
use tracing::info;

use crate::extension::{About, Answer, Cx, Extension, Place};
use crate::xep::commands::administration::{ALL, Command};
use crate::xep::commands::deeds::{Outcome, bad_payload};
use crate::xep::commands::dialogues::{Dialogues, Gone};
use crate::xep::commands::form::Values;
use crate::xml::element::Element;
use crate::xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use crate::xmpp::jid::{BareJid, Jid};
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::{CLIENT, COMMANDS, DATA, DISCO_INFO, DISCO_ITEMS};
use crate::xmpp::stanza::{ChildName, Stanza};

/// The extension.
#[derive(Debug)]
pub struct Commands {
    admins: BTreeSet<BareJid>,
    dialogues: Dialogues,
}

/// What shall be done with a command (XEP-0050 §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Execute,
    Complete,
    Cancel,
    /// Next and previous: no command has more than one form.
    Move,
}

impl Commands {
    /// Commands for these administrators.
    pub fn new(admins: impl IntoIterator<Item = BareJid>) -> Self {
        Self { admins: admins.into_iter().collect(), dialogues: Dialogues::default() }
    }

    fn is_admin(&self, request: &Stanza) -> bool {
        request.from.as_ref().is_some_and(|from| self.admins.contains(&from.bare()))
    }

    async fn carry_out(
        &self,
        cx: &Cx<'_>,
        request: &Stanza,
        (command, id): (&Command, String),
        values: Values,
    ) -> Answer {
        let domain = request.to.as_ref().map_or("", Jid::domain);
        let from = request.from.as_ref().map_or("", Jid::as_str);
        info!(jid = %from, command = command.node, "an administrator gives a command");
        let outcome = command.run(cx.rooms, domain, &values).await;
        // a form may be filled in better
        if outcome.is_ok() || command.form.is_none() {
            self.dialogues.end(&id);
        }
        let outcome = outcome?;
        Ok(completed(command.node, &id, outcome).to_bytes(CLIENT).into())
    }

    fn begin(&self, request: &Stanza, command: &Command) -> Result<String, StanzaError> {
        let from = request.from.as_ref().ok_or(StanzaCondition::Forbidden)?;
        let begun = self.dialogues.begin(from, command.node, Instant::now());
        begun.map_err(|_| StanzaCondition::ResourceConstraint.into())
    }
}

#[async_trait]
impl Extension for Commands {
    fn about(&self) -> About {
        About {
            specification: "XEP-0050: Ad-Hoc Commands",
            host_features: &[COMMANDS],
            requests: &[COMMANDS],
            ..About::default()
        }
    }

    async fn answer(&self, cx: &Cx<'_>, request: &Stanza, child: &ChildName) -> Answer {
        if cx.place != Place::Host {
            return Err(StanzaCondition::ServiceUnavailable.into());
        }
        if request.kind != Kind::Iq(IqType::Set) || &*child.name != "command" {
            return Err(StanzaCondition::BadRequest.into());
        }
        if !self.is_admin(request) {
            return Err(StanzaCondition::Forbidden.into());
        }
        let asked = Element::parse(&request.payload, CLIENT).ok();
        let asked = asked.ok_or(StanzaCondition::BadRequest)?;
        let node = asked.attribute("node").unwrap_or_default();
        let command = ALL.iter().find(|command| command.node == node);
        let command = command.ok_or(StanzaCondition::ItemNotFound)?;
        let action = action(asked.attribute("action"))?;
        let Some(id) = asked.attribute("sessionid") else {
            if action != Action::Execute {
                return Err(named("bad-action"));
            }
            let id = self.begin(request, command)?;
            return match command.form {
                None => self.carry_out(cx, request, (command, id), Values::new()).await,
                Some(form) => Ok(executing(command.node, &id, form.to_element()).into()),
            };
        };
        let from = request.from.as_ref().ok_or(StanzaCondition::Forbidden)?;
        self.dialogues.find(id, from, command.node, Instant::now()).map_err(gone)?;
        match (action, command.form) {
            (Action::Cancel, _) => {
                self.dialogues.end(id);
                Ok(answer(command.node, id, "canceled").to_bytes(CLIENT).into())
            }
            (Action::Execute | Action::Complete, Some(form)) => {
                let filled = asked.find("x", DATA).ok_or_else(bad_payload)?;
                let values = form.read(filled).map_err(|_| bad_payload())?;
                self.carry_out(cx, request, (command, id.to_owned()), values).await
            }
            (Action::Move, _) | (_, None) => Err(named("bad-action")),
        }
    }

    fn node(&self, cx: &Cx<'_>, request: &Stanza, ns: &str, node: &str) -> Option<Answer> {
        let command = ALL.iter().find(|command| command.node == node);
        if cx.place != Place::Host || (node != COMMANDS && command.is_none()) {
            return None;
        }
        if !self.is_admin(request) {
            return Some(Err(StanzaCondition::Forbidden.into()));
        }
        let query = Element::new("query", ns).attr("node", node);
        let told = match (ns, command) {
            (DISCO_ITEMS, None) => {
                let domain = request.to.as_ref().map_or("", Jid::domain);
                let item = |command: &Command| {
                    Element::new("item", DISCO_ITEMS)
                        .attr("jid", domain)
                        .attr("node", command.node)
                        .attr("name", command.name)
                };
                ALL.iter().map(item).fold(query, Element::child)
            }
            (DISCO_ITEMS, Some(_)) => query,
            (_, command) => info_of(query, command),
        };
        Some(Ok(told.to_bytes(CLIENT).into()))
    }
}

/// What a command, or their list, says of itself (XEP-0050 §2.2, §2.3).
fn info_of(query: Element, command: Option<&Command>) -> Element {
    let kind = if command.is_some() { "command-node" } else { "command-list" };
    let identity = Element::new("identity", DISCO_INFO)
        .attr("category", "automation")
        .attr("type", kind)
        .attr("name", command.map_or("Administration", |command| command.name));
    let features = [COMMANDS, DATA];
    let feature = |feature: &str| Element::new("feature", DISCO_INFO).attr("var", feature);
    features.into_iter().map(feature).fold(query.child(identity), Element::child)
}

fn action(word: Option<&str>) -> Result<Action, StanzaError> {
    match word {
        None | Some("execute") => Ok(Action::Execute),
        Some("complete") => Ok(Action::Complete),
        Some("cancel") => Ok(Action::Cancel),
        Some("next" | "prev") => Ok(Action::Move),
        Some(_) => Err(named("malformed-action")),
    }
}

/// An error of XEP-0050 §4.4.
fn named(name: &'static str) -> StanzaError {
    StanzaError::from(StanzaCondition::BadRequest).with_application(name, COMMANDS)
}

fn gone(gone: Gone) -> StanzaError {
    match gone {
        Gone::Unknown => named("bad-sessionid"),
        Gone::Late => StanzaError::from(StanzaCondition::NotAllowed)
            .with_type(ErrorType::Cancel)
            .with_application("session-expired", COMMANDS),
    }
}

fn answer(node: &str, id: &str, status: &str) -> Element {
    Element::new("command", COMMANDS)
        .attr("node", node)
        .attr("sessionid", id)
        .attr("status", status)
}

fn executing(node: &str, id: &str, form: Element) -> bytes::Bytes {
    let actions = Element::new("actions", COMMANDS)
        .attr("execute", "complete")
        .child(Element::new("complete", COMMANDS));
    answer(node, id, "executing").child(actions).child(form).to_bytes(CLIENT)
}

fn completed(node: &str, id: &str, outcome: Outcome) -> Element {
    let mut done = answer(node, id, "completed");
    if !outcome.note.is_empty() {
        let note = Element::new("note", COMMANDS).attr("type", outcome.fate.word());
        done = done.child(note.text(outcome.note));
    }
    match outcome.form {
        Some(form) => done.child(form),
        None => done,
    }
}
