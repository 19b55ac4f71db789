//! A stanza for one of our own domains: who answers for the host itself, and
//! for an account.
//!
//! It answers what shall be said and says nothing itself; the router does.

use std::collections::BTreeSet;

use crate::extension::{Cx, Extension, Place};
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::jid::Domain;
use crate::xmpp::stanza::Stanza;

/// Room 2: our domains, and what the server itself can do.
#[derive(Debug)]
pub struct LocalRouter {
    domains: BTreeSet<Box<str>>,
    extensions: Vec<Box<dyn Extension>>,
    started: std::time::Instant,
}

impl LocalRouter {
    /// Serves `domains` with `extensions`, the first of which that knows a
    /// request answers it.
    pub fn new(domains: &[Domain], extensions: Vec<Box<dyn Extension>>) -> Self {
        let domains = domains.iter().map(|domain| domain.as_str().into()).collect();
        Self { domains, extensions, started: std::time::Instant::now() }
    }

    /// Whether a domain is ours.
    pub fn serves(&self, domain: &str) -> bool {
        self.domains.contains(domain)
    }

    /// What the host says to a stanza for itself; `sessions` is how many this
    /// node has.
    pub fn host(&self, stanza: &Stanza, sessions: usize) -> Option<Stanza> {
        self.ask(stanza, Place::Host, sessions)
    }

    /// What the server says in an account's name.
    pub fn account(&self, stanza: &Stanza) -> Option<Stanza> {
        self.ask(stanza, Place::Account, 0)
    }

    /// Every request has an answer, nothing else has one (RFC 6120 §8.4).
    fn ask(&self, stanza: &Stanza, place: Place, sessions: usize) -> Option<Stanza> {
        if !stanza.kind.is_request() {
            return None;
        }
        let cx = Cx {
            place,
            now: std::time::SystemTime::now(),
            uptime: self.started.elapsed(),
            sessions,
            extensions: &self.extensions,
        };
        let child = stanza.child.as_ref()?;
        let answers = self.extensions.iter().filter_map(|one| one.answer(&cx, stanza, child));
        match answers.into_iter().next() {
            Some(Ok(payload)) => stanza.result(payload),
            Some(Err(error)) => stanza.error(error),
            None => stanza.error(StanzaCondition::ServiceUnavailable.into()),
        }
    }
}
