//! Requests that a privileged component makes in the name of an account
//! (XEP-0356 §4.1, §4.4): answered as if the account itself had asked.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::warn;

use crate::cluster::asks::Question;
use crate::extension::Place;
use crate::router::Router;
use crate::router::act::Way;
use crate::xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::stanza::Stanza;

/// The topic of our question to the account's home.
pub(super) const TOPIC: u8 = 18;

/// How long the home of an account may take. A guess: longer than a change
/// waits for other nodes.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

impl Router {
    /// The answer to a request whose sender and addressee are one account of
    /// ours. Changes are made at its home.
    pub async fn in_name(&self, request: Stanza) -> Option<Stanza> {
        let account = request.to.as_ref().map(|to| to.bare())?;
        if !self.rooms.serves(account.domain()) || !self.exists(&account.clone().into()) {
            return request.error(StanzaCondition::ServiceUnavailable.into());
        }
        let home = self.rooms.cluster.members().home(account.as_str().as_bytes());
        let changes = request.kind == Kind::Iq(IqType::Set);
        if !changes || home == self.me() {
            return self.answer_in_name(request).await;
        }
        let asked = self.rooms.cluster.ask(home, TOPIC, request.write(), ANSWER_TIME_MAX).await;
        match asked.map(Stanza::parse_bytes) {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(_)) | Err(_) => request.error(later()),
        }
    }

    /// Another node asks us, the home.
    pub(super) fn asked_in_name(&self, question: Question) {
        let Ok(request) = Stanza::parse_bytes(question.body.clone()) else {
            return warn!("a request of another node cannot be read");
        };
        let Some(router) = self.this.upgrade() else { return };
        tokio::spawn(async move {
            let answer = router.answer_in_name(request).await;
            question.answer(answer.map_or(Bytes::new(), |answer| answer.write()));
        });
    }

    /// In the turn of the account.
    async fn answer_in_name(&self, request: Stanza) -> Option<Stanza> {
        let account = request.to.as_ref().map(|to| to.bare())?;
        let (done, waiting) = oneshot::channel();
        let copy = request.clone();
        self.in_turn(account.as_str(), request, Way::default(), |router, request| async move {
            let answer = match router.local.answer(&request, Place::Account).await {
                Ok(reply) => {
                    router.effects(reply.first);
                    let result = request.result(reply.payload);
                    router.effects(reply.then);
                    result
                }
                Err(error) => request.error(error),
            };
            // whoever asked may have gone
            let _ = done.send(answer);
        });
        // dropped unsaid: too much waits for the account
        waiting.await.unwrap_or_else(|_| copy.error(later()))
    }
}

fn later() -> StanzaError {
    StanzaError::from(StanzaCondition::InternalServerError).with_type(ErrorType::Wait)
}
