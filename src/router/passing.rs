//! A stanza on its way to a component: chosen an instance for, written to it
//! or sent to its node, and chosen another for when that one has gone.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use dashmap::mapref::entry::Entry;
use tracing::{debug, warn};

use crate::cluster::rows::{RowChange, SoftRow};
use crate::net::outbox::Item;
use crate::router::Router;
use crate::router::act::Way;
use crate::router::affinity;
use crate::router::foreign::Order;
use crate::router::instance::{Instance, Left, Passed, Untaken};
use crate::router::parcel::{Label, Target};
use crate::session_manager::session::Seat;
use crate::xmpp::error::StanzaCondition;
use crate::xmpp::jid::Jid;
use crate::xmpp::stanza::Stanza;

/// How often a stanza may go from node to node: each time the instance had
/// gone that it was sent to. A guess; then it comes back to its sender.
const HOPS_MAX: u8 = 8;

/// Stanzas that may wait for an instance of one domain; one more comes back
/// with `resource-constraint`. A guess.
const WAITING_MAX: usize = 10_000;

/// Stanzas that wait for an instance, and until when.
pub(super) type Waiting = VecDeque<(Instant, Stanza, Way)>;

impl Router {
    /// Carries a stanza to a component, and gives it back if none is for its
    /// domain.
    pub(super) fn to_component(&self, mut stanza: Stanza, way: Way) -> Option<(Stanza, Way)> {
        let Some(to) = stanza.to.clone() else { return Some((stanza, way)) };
        let Some(balance) = self.components.balance(to.domain()) else {
            if !self.components.knows(to.domain()) {
                return Some((stanza, way));
            }
            self.nobody_serves(stanza, &to, way);
            return None;
        };
        if !self.may_reach(&stanza, &to) {
            self.bounce(&stanza, StanzaCondition::NotAllowed.into());
            return None;
        }
        let me = self.me();
        let ends = (stanza.from.as_ref(), Some(&to));
        let asked = affinity::asked(&stanza);
        let asker = asked.as_ref().and_then(|(_, asker)| asker.among(balance.candidates()));
        let chosen = asker.or_else(|| balance.choose(ends, &way.tried, me, rand::random()));
        let Some(seat) = chosen.map(|chosen| chosen.seat) else {
            self.nobody_serves(stanza, &to, way);
            return None;
        };
        if let Some((id, _)) = asked {
            stanza.id = Some(id);
        }
        if seat.owner == me {
            self.give(seat, stanza.write(), way);
        } else if way.hops >= HOPS_MAX {
            debug!(%to, "a stanza found no instance that stayed");
            self.bounce(&stanza, StanzaCondition::ServiceUnavailable.into());
        } else {
            // by its mark an instance knows what it has been given already
            let mark = if way.mark == 0 { rand::random() } else { way.mark };
            let label = Label { target: Target::Component(seat.number), hops: way.hops + 1, mark };
            self.rooms.cluster.deliver(seat.owner, label.pack(&stanza.write()));
        }
        None
    }

    fn may_reach(&self, stanza: &Stanza, to: &Jid) -> bool {
        let Some(rules) = self.components.rules(to.domain()) else { return true };
        let from = stanza.from.as_ref().map(Jid::domain).unwrap_or_default();
        rules.reachable_from.is_empty()
            || rules.reachable_from.iter().any(|domain| domain.as_str() == from)
    }

    /// Writes to an instance of this node.
    pub(super) fn give(&self, seat: Seat, stanza: Bytes, mut way: Way) {
        let held = way.held.take();
        let gone = match self.components.local(seat.number) {
            None => Some(Left { bytes: stanza, held }),
            Some(instance) => match instance.give(stanza, held, way.mark) {
                Ok(()) => None,
                Err(Untaken::Gone(left)) => Some(left),
                Err(Untaken::Overflow(left)) => {
                    self.cut_off(&instance, left);
                    None
                }
            },
        };
        if let Some(Left { bytes, held }) = gone {
            way.tried.push(seat);
            self.again(bytes, Way { held, ..way });
        }
    }

    /// Writes to this instance and no other: what it alone must hear.
    pub(super) fn give_to(&self, instance: &Instance, stanza: Bytes) {
        match instance.give(stanza, None, 0) {
            // one that is gone need not hear it
            Ok(()) | Err(Untaken::Gone(_)) => {}
            Err(Untaken::Overflow(left)) => self.cut_off(instance, left),
        }
    }

    fn cut_off(&self, instance: &Instance, left: Vec<Left>) {
        debug!(instance = %instance.name, "a component does not read: it is closed");
        self.components.release(instance);
        self.left_behind(left);
    }

    /// Plans again what an instance has not dealt with. It must be out of the
    /// table by then.
    pub fn left_behind(&self, left: Vec<Left>) {
        for Left { bytes, held } in left {
            if !bytes.is_empty() {
                self.again(bytes, Way { held, ..Way::default() });
            }
        }
    }

    /// Takes a stanza of an instance of this node, whose `from` may be its.
    pub fn take_of_component(&self, instance: &Instance, mut stanza: Stanza, order: Order) {
        if stanza.kind.is_answer() {
            instance.answered(&stanza);
        }
        if stanza.kind.is_request() {
            let from = stanza.from.as_ref().map(Jid::domain).unwrap_or_default();
            let balance = self.components.balance(from);
            // one that is alone gets every answer
            if balance.is_some_and(|balance| balance.candidates().len() > 1) {
                stanza.id = stanza.id.map(|id| affinity::marked(&id, &instance.name));
            }
        }
        self.route_foreign(stanza, order);
    }

    /// An instance has ended, out of the table already, and this was not
    /// written to it.
    pub fn component_ended(&self, instance: &Instance, unwritten: Vec<Item<Passed>>) {
        self.left_behind(instance.left_behind(unwritten));
    }

    /// Rows of components have changed: instances may have lost their names,
    /// and what waits for an instance may go.
    pub fn note_routes(&self, changes: &[RowChange]) {
        self.left_behind(self.components.note(changes));
        self.show_instances(changes);
        for change in changes {
            if let Some(SoftRow::Route(row)) = &change.new {
                self.let_go(&row.domain);
            }
        }
    }

    /// The set of visible nodes has changed.
    pub fn note_routes_of_members(&self) {
        self.left_behind(self.components.settle_all());
        let waiting: Vec<Box<str>> = self.waiting.iter().map(|entry| entry.key().clone()).collect();
        for domain in &waiting {
            if self.components.balance(domain).is_some() {
                self.let_go(domain);
            }
        }
    }

    /// This node stops: what waits for an instance waits no longer.
    pub fn stop_waiting(&self) {
        let waiting: Vec<Box<str>> = self.waiting.iter().map(|entry| entry.key().clone()).collect();
        waiting.iter().for_each(|domain| self.let_go(domain));
    }

    /// No instance takes it: it may wait for one, else it comes back.
    fn nobody_serves(&self, stanza: Stanza, to: &Jid, way: Way) {
        let hold = self.components.policy(to.domain()).hold.get();
        if hold.is_zero() || way.has_waited || stanza.kind.is_answer() {
            return self.bounce(&stanza, StanzaCondition::ServiceUnavailable.into());
        }
        let until = Instant::now() + hold;
        // none of those that were tried is there any more, or it is new again
        let way = Way { tried: Default::default(), has_waited: true, ..way };
        match self.waiting.entry(to.domain().into()) {
            Entry::Occupied(waiting) if waiting.get().len() >= WAITING_MAX => {
                drop(waiting);
                self.bounce(&stanza, StanzaCondition::ResourceConstraint.into());
            }
            Entry::Occupied(mut waiting) => waiting.get_mut().push_back((until, stanza, way)),
            Entry::Vacant(free) => {
                free.insert(VecDeque::from([(until, stanza, way)]));
                self.give_up_later(to.domain());
            }
        }
        // it may have come just before
        if self.components.balance(to.domain()).is_some() {
            self.let_go(to.domain());
        }
    }

    /// Those that have waited long enough come back to their senders.
    fn give_up_later(&self, domain: &str) {
        let (Some(router), domain) = (self.this.upgrade(), Box::<str>::from(domain)) else {
            return warn!("the router ends");
        };
        tokio::spawn(async move {
            loop {
                let first =
                    router.waiting.get(&domain).and_then(|all| all.front().map(|one| one.0));
                let Some(first) = first else { break };
                tokio::time::sleep_until(first.into()).await;
                let late = router.late(&domain);
                late.into_iter().for_each(|(_, stanza, way)| router.carry(stanza, way));
                if router.waiting.remove_if(&domain, |_, all| all.is_empty()).is_some() {
                    break;
                }
            }
        });
    }

    fn late(&self, domain: &str) -> Vec<(Instant, Stanza, Way)> {
        let Some(mut waiting) = self.waiting.get_mut(domain) else { return Vec::new() };
        let now = Instant::now();
        let count = waiting.iter().take_while(|(until, _, _)| *until <= now).count();
        waiting.drain(..count).collect()
    }

    /// All that waits for a domain goes on its way.
    fn let_go(&self, domain: &str) {
        let Some((_, waiting)) = self.waiting.remove(domain) else { return };
        for (_, stanza, way) in waiting {
            self.carry(stanza, way);
        }
    }
}
