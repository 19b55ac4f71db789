//! A stanza for one of our own domains: who answers for the host itself, and
//! for an account.
//!
//! It answers what shall be said and says nothing itself; the router does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::extension::{Answer, Asked, Cx, Effect, Extension, Place, Rooms, Side, Verdict};
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::stanza::Stanza;

/// Room 2: our domains, and what the server itself can do.
#[derive(Debug)]
pub struct LocalRouter {
    extensions: Vec<Box<dyn Extension>>,
    /// Which extension answers requests of a namespace.
    requests: HashMap<&'static str, usize>,
    rooms: Arc<Rooms>,
    started: Instant,
}

impl LocalRouter {
    /// Serves our domains with `extensions`.
    pub fn new(extensions: Vec<Box<dyn Extension>>, rooms: Arc<Rooms>) -> Self {
        let mut requests = HashMap::new();
        for (place, extension) in extensions.iter().enumerate() {
            requests.extend(extension.about().requests.iter().map(|ns| (*ns, place)));
        }
        Self { extensions, requests, rooms, started: Instant::now() }
    }

    /// What is said to a request for the host itself, or in an account's name.
    pub async fn answer(&self, request: &Stanza, place: Place) -> Answer {
        let unavailable = StanzaCondition::ServiceUnavailable;
        let child = request.child.as_ref().ok_or(unavailable)?;
        let extension = self.requests.get(&*child.ns).and_then(|at| self.extensions.get(*at));
        let extension = extension.ok_or(unavailable)?;
        let cx = Cx {
            place,
            now: SystemTime::now(),
            uptime: self.started.elapsed(),
            rooms: &self.rooms,
            extensions: &self.extensions,
        };
        extension.answer(&cx, request, child).await
    }

    /// Whether a request to the host changes the account of whoever asks.
    pub fn is_of_sender(&self, request: &Stanza) -> bool {
        let Some(child) = &request.child else { return false };
        let extension = self.requests.get(&*child.ns).and_then(|at| self.extensions.get(*at));
        extension.is_some_and(|extension| extension.about().of_sender.contains(&&*child.ns))
    }

    /// What a session shows by a request to its own account.
    pub fn asked(&self, request: &Stanza) -> Option<Asked> {
        let child = request.child.as_ref()?;
        let extension = self.requests.get(&*child.ns).and_then(|at| self.extensions.get(*at))?;
        extension.asked(request, child)
    }

    /// What the extensions say of what an account of ours sends.
    pub fn sent(&self, stanza: &Stanza) -> Verdict {
        self.judge(|extension| extension.sent(&self.rooms, stanza))
    }

    /// What the extensions say of what arrives for an account of ours.
    pub fn arriving(&self, stanza: &Stanza) -> Verdict {
        self.judge(|extension| extension.arriving(&self.rooms, stanza))
    }

    /// A message as the sessions of an account of ours get it.
    pub fn delivered(&self, message: Stanza) -> Stanza {
        self.extensions
            .iter()
            .fold(message, |message, extension| extension.delivered(&message).unwrap_or(message))
    }

    /// Who else shall see a message.
    pub fn copies(&self, message: &Stanza, side: Side<'_>) -> Vec<Effect> {
        let extensions = self.extensions.iter();
        extensions.flat_map(|extension| extension.copies(&self.rooms, message, side)).collect()
    }

    /// The first verdict that is none to pass.
    fn judge(&self, judge: impl Fn(&dyn Extension) -> Verdict) -> Verdict {
        let verdicts = self.extensions.iter().map(|extension| judge(&**extension));
        verdicts.into_iter().find(|verdict| *verdict != Verdict::Pass).unwrap_or(Verdict::Pass)
    }
}
