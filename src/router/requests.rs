//! Requests that the server answers, and what accounts change of themselves:
//! one after the other for each account, changes at its home.

use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, warn};

use crate::extension::{Answer, Effect, Place};
use crate::im::subscribing::{self, Attempt};
use crate::router::Router;
use crate::router::act::{HOPS_MAX, Way};
use crate::router::parcel::{Label, Target};
use crate::session_manager::session::Session;
use crate::xmpp::error::{StanzaCondition, StanzaError, StreamCondition, StreamError};
use crate::xmpp::jid::{BareJid, Jid};
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::stanza::Stanza;

/// How long after a change its session's questions go the way of the change,
/// behind it: longer than a change may take. After that the local rows have
/// it.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(5);

impl Router {
    /// A request for one of our domains itself.
    pub(super) fn host(&self, stanza: Stanza) {
        if !stanza.kind.is_request() {
            return self.answered_for_us(&stanza);
        }
        let Some(stanza) = self.delegate(stanza) else { return };
        let from_ours = stanza.from.as_ref().is_some_and(|from| self.rooms.serves(from.domain()));
        let changes = stanza.kind == Kind::Iq(IqType::Set) && self.local.is_of_sender(&stanza);
        if from_ours && changes {
            return self.of_sender(stanza, Way::default());
        }
        let asker = stanza.from.as_ref().map(|from| from.as_str().to_owned());
        let key = asker.unwrap_or_default();
        self.in_turn(&key, stanza, Way::default(), |router, stanza| async move {
            let answer = router.local.answer(&stanza, Place::Host).await;
            router.say(&stanza, answer);
        });
    }

    /// What changes the account of its sender, at the home of that account.
    pub(super) fn of_sender(&self, stanza: Stanza, way: Way) {
        if stanza.kind.is_subscription() {
            return self.subscribe(stanza, way);
        }
        let Some(account) = stanza.from.as_ref().map(Jid::bare) else { return };
        let home = self.rooms.cluster.members().home(account.as_str().as_bytes());
        if home != self.me() && way.hops < HOPS_MAX {
            let label = Label::new(Target::SenderHome, way.hops + 1);
            return self.rooms.cluster.deliver(home, label.pack(&stanza.write()));
        }
        self.in_turn(account.as_str(), stanza, way, |router, stanza| async move {
            let answer = router.local.answer(&stanza, Place::Host).await;
            router.say(&stanza, answer);
        });
    }

    /// Something for an account that the server answers in its name.
    pub(super) fn for_account(&self, stanza: Stanza, to: &BareJid, way: Way) {
        let stanza = match stanza.kind.is_request() {
            true => match self.delegate(stanza) {
                Some(stanza) => stanza,
                None => return,
            },
            false => stanza,
        };
        let changes = stanza.kind == Kind::Iq(IqType::Set) || stanza.kind.is_subscription();
        if changes || way.is_behind_change {
            let home = self.rooms.cluster.members().home(to.as_str().as_bytes());
            if home != self.me() && way.hops < HOPS_MAX {
                let label = Label::new(Target::Home { time: 0, is_repeated: false }, way.hops + 1);
                return self.rooms.cluster.deliver(home, label.pack(&stanza.write()));
            }
        }
        match stanza.kind {
            Kind::Iq(_) => self.in_turn(to.as_str(), stanza, way, |router, stanza| async move {
                let answer = router.local.answer(&stanza, Place::Account).await;
                router.say(&stanza, answer);
            }),
            kind if kind.is_subscription() => {
                self.in_turn(to.as_str(), stanza, way, |router, stanza| async move {
                    let config = &router.config;
                    let received = subscribing::receive(&router.rooms, config, &stanza).await;
                    router.carry_out(&stanza, received);
                });
            }
            _ => self.probed(&stanza),
        }
    }

    /// What an account of ours says about a subscription, at the home of the
    /// account.
    pub(super) fn subscribe(&self, stanza: Stanza, way: Way) {
        let Some(account) = stanza.from.as_ref().map(Jid::bare) else { return };
        let home = self.rooms.cluster.members().home(account.as_str().as_bytes());
        if home != self.me() && way.hops < HOPS_MAX {
            let label = Label::new(Target::SenderHome, way.hops + 1);
            return self.rooms.cluster.deliver(home, label.pack(&stanza.write()));
        }
        let attempt = match way.is_repeated {
            true => Attempt::Repeated,
            false => Attempt::First,
        };
        self.in_turn(account.as_str(), stanza, way, move |router, stanza| async move {
            let sent = subscribing::send(&router.rooms, &stanza, attempt).await;
            router.carry_out(&stanza, sent);
        });
    }

    /// A request of a session to its own account: what it shows by it, all
    /// nodes know before it is answered.
    pub(super) fn ask_account(&self, session: &Session, stanza: Stanza) {
        if let Some(asked) = self.local.asked(&stanza) {
            self.rooms.sessions.set_flag(session, asked.flag, asked.is_on);
        }
        let mut way = Way::default();
        if stanza.kind == Kind::Iq(IqType::Set) {
            session.has_changed();
        } else {
            way.is_behind_change = session.changed_within(CHANGE_TIME_MAX);
        }
        self.carry(stanza, way);
    }

    /// Runs a job in the account's turn; its way is held until it has run.
    pub(super) fn in_turn<F>(
        &self,
        account: &str,
        stanza: Stanza,
        way: Way,
        job: impl FnOnce(std::sync::Arc<Self>, Stanza) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(router) = self.this.upgrade() else { return };
        let copy = stanza.clone();
        let taken = self.turns.take(account, async move {
            router.settle().await;
            job(router, stanza).await;
            drop(way);
        });
        if taken.is_err() {
            debug!(%account, "too much waits for an account");
            self.bounce(&copy, StanzaCondition::ResourceConstraint.into());
        }
    }

    fn say(&self, request: &Stanza, answer: Answer) {
        match answer {
            Ok(reply) => {
                self.effects(reply.first);
                if let Some(result) = request.result(reply.payload) {
                    self.carry(result, Way::default());
                }
                self.effects(reply.then);
            }
            Err(error) => self.bounce(request, error),
        }
    }

    fn carry_out(&self, stanza: &Stanza, done: Result<Vec<Effect>, StanzaError>) {
        match done {
            Ok(effects) => self.effects(effects),
            Err(error) => {
                warn!(condition = error.condition.word(), "a subscription was not changed");
                self.bounce(stanza, error);
            }
        }
    }

    /// Carries out what was decided, in this order.
    pub fn effects(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Route(stanza) => self.carry(stanza, Way::default()),
                Effect::Write(seats, stanza) => {
                    self.deliver(&stanza, seats.into_iter().collect(), &Way::default());
                }
                Effect::Show { account, viewer } => self.show(&account, &viewer),
                Effect::End(account) => self.end_sessions(&account),
                Effect::Remove(account) => self.remove_in_turn(account),
            }
        }
    }

    /// Ends all sessions of an account that nobody may use any more, on all
    /// nodes: one that has just been bound may not be in our table yet.
    fn end_sessions(&self, account: &BareJid) {
        self.end_here(account);
        for member in self.rooms.cluster.members().others() {
            let label = Label::new(Target::End(account.clone().into()), 1);
            self.rooms.cluster.deliver(member.node.id, label.pack(&Bytes::new()));
        }
    }

    /// Ends the sessions of an account on this node, and says why.
    pub(super) fn end_here(&self, account: &BareJid) {
        let is_banned = self.rooms.accounts.ban(account).is_ok_and(|ban| ban.is_some());
        let reason = match is_banned {
            true => "the account is disabled",
            false => "the account has gone",
        };
        let error = StreamError::new(StreamCondition::NotAuthorized, reason);
        self.rooms.sessions.end(account, None, &error);
    }
}
