//! A stanza for one of our own domains: who answers for the host itself, and
//! for an account.
//!
//! It answers what shall be said and says nothing itself; the router does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::extension::{Answer, Asked, Cx, Effect, Extension, Place, Rooms, Side, Verdict, Watch};
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::stanza::Stanza;

/// Room 2: our domains, and what the server itself can do.
#[derive(Debug)]
pub struct LocalRouter {
    extensions: Vec<Box<dyn Extension>>,
    /// Which extension answers requests of a namespace.
    requests: HashMap<&'static str, usize>,
    /// The extensions that look at what passes.
    watching: Vec<usize>,
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
        let watching =
            (0..extensions.len()).filter(|place| extensions[*place].watch().is_some()).collect();
        Self { extensions, requests, watching, rooms, started: Instant::now() }
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
        judged(self.watching().map(|watching| watching.sent(&self.rooms, stanza)))
    }

    /// What the extensions say of what arrives for an account of ours.
    pub fn arriving(&self, stanza: &Stanza) -> Verdict {
        judged(self.watching().map(|watching| watching.arriving(&self.rooms, stanza)))
    }

    /// Makes a message what the sessions of an account of ours get.
    pub fn delivered(&self, message: &mut Stanza) {
        self.watching().for_each(|watching| watching.delivered(message));
    }

    /// Who else shall see a message.
    pub fn copies(&self, message: &Stanza, side: Side<'_>) -> Vec<Effect> {
        self.watching().flat_map(|watching| watching.copies(&self.rooms, message, side)).collect()
    }

    fn watching(&self) -> impl Iterator<Item = &dyn Watch> {
        self.watching.iter().filter_map(|place| self.extensions.get(*place)?.watch())
    }
}

/// The first verdict that is none to pass.
fn judged(mut verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    verdicts.find(|verdict| *verdict != Verdict::Pass).unwrap_or(Verdict::Pass)
}
