//! What must be: every pair of people, both sides of it, as RFC 6121 wants it.

use std::collections::BTreeSet;

use jabiru::session_manager::subscription::{Request, State};
use rand::Rng;
use rand::rngs::StdRng;

use crate::person::{Person, Roster, Shown};

/// How one stands to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    item: Option<(String, BTreeSet<String>)>,
    state: State,
    is_approved: bool,
}

/// Two people: how the first stands to the second, and the other way round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pair {
    pub sides: [Side; 2],
}

/// What somebody does about the other.
#[derive(Debug, Clone)]
pub enum Deed {
    Set(String, BTreeSet<String>),
    Remove,
    Ask(Request),
}

impl Deed {
    pub fn any(random: &mut StdRng) -> Deed {
        match random.random_range(0..10) {
            0..3 => {
                let name = format!("name {}", random.random_range(0..1_000));
                let groups = (0..random.random_range(0..3))
                    .map(|_| format!("group {}", random.random_range(0..5)))
                    .collect();
                Deed::Set(name, groups)
            }
            3 => Deed::Remove,
            4 | 5 => Deed::Ask(Request::Subscribe),
            6 | 7 => Deed::Ask(Request::Subscribed),
            8 => Deed::Ask(Request::Unsubscribe),
            _ => Deed::Ask(Request::Unsubscribed),
        }
    }

    /// What a client says for it; the kind of IQ, or a presence.
    pub fn words(&self, to: &str) -> (&'static str, String) {
        let query = |item: String| format!("<query xmlns='jabber:iq:roster'>{item}</query>");
        match self {
            Deed::Set(name, groups) => {
                let groups: String =
                    groups.iter().map(|group| format!("<group>{group}</group>")).collect();
                ("set", query(format!("<item jid='{to}' name='{name}'>{groups}</item>")))
            }
            Deed::Remove => ("set", query(format!("<item jid='{to}' subscription='remove'/>"))),
            Deed::Ask(request) => {
                let word = match request {
                    Request::Subscribe => "subscribe",
                    Request::Subscribed => "subscribed",
                    Request::Unsubscribe => "unsubscribe",
                    Request::Unsubscribed => "unsubscribed",
                };
                ("presence", format!("<presence to='{to}' type='{word}'/>"))
            }
        }
    }
}

impl Pair {
    /// The pair after `actor` has done this.
    pub fn after(&self, actor: usize, deed: &Deed) -> Pair {
        let mut pair = self.clone();
        let side = &mut pair.sides[actor];
        match deed {
            Deed::Set(name, groups) => side.item = Some((name.clone(), groups.clone())),
            Deed::Remove if side.item.is_none() => {}
            Deed::Remove => {
                let state = side.state;
                *side = Side::default();
                if state.shows_them() || state.is_pending_out() {
                    pair.arrive(1 - actor, Request::Unsubscribe);
                }
                if state.shows_us() || state.is_pending_in() {
                    pair.arrive(1 - actor, Request::Unsubscribed);
                }
            }
            Deed::Ask(request) => pair.send(actor, *request),
        }
        pair
    }

    fn send(&mut self, actor: usize, request: Request) {
        let side = &mut self.sides[actor];
        let before = side.clone();
        let sent = side.state.send(request);
        side.state = sent.state;
        match request {
            Request::Subscribed if !sent.is_routed && !before.state.shows_us() => {
                side.is_approved = true;
            }
            Request::Unsubscribed => side.is_approved = false,
            _ => {}
        }
        let is_wanted = matches!(request, Request::Subscribe | Request::Subscribed);
        if is_wanted && (side.state, side.is_approved) != (before.state, before.is_approved) {
            side.item.get_or_insert_default();
        }
        if sent.is_routed {
            self.arrive(1 - actor, request);
        }
    }

    fn arrive(&mut self, at: usize, request: Request) {
        let side = &mut self.sides[at];
        let received = side.state.receive(request);
        let is_new = received.state.is_pending_in() && !side.state.is_pending_in();
        side.state = received.state;
        if is_new && side.is_approved {
            side.state = side.state.send(Request::Subscribed).state;
            return self.arrive(1 - at, Request::Subscribed);
        }
        if let Some(reply) = received.reply {
            self.arrive(1 - at, reply);
        }
    }

    /// Whether the server knows this of both sides: who sees whom, and who has
    /// asked.
    pub fn is_there(&self, states: [&(String, String); 2]) -> bool {
        self.sides.iter().zip(states).all(|(side, (subscription, pending))| {
            let expected = match (side.state.is_pending_out(), side.state.is_pending_in()) {
                (false, false) => "",
                (true, false) => "out",
                (false, true) => "in",
                (true, true) => "both",
            };
            side.state.word() == subscription && expected == pending
        })
    }

    /// Whether both rosters show this.
    pub fn is_shown(&self, jids: [&str; 2], rosters: &[Roster; 2]) -> bool {
        (0..2).all(|at| {
            let expected = self.sides[at].item.as_ref().map(|(name, groups)| Shown {
                name: name.clone(),
                groups: groups.clone(),
                subscription: self.sides[at].state.word().into(),
                is_asked: self.sides[at].state.is_pending_out(),
                is_approved: self.sides[at].is_approved,
            });
            rosters[at].get(jids[1 - at]) == expected.as_ref()
        })
    }
}

/// Both people of a pair, for whoever plays it.
pub fn two(people: &mut [Option<Person>], at: [usize; 2]) -> [Person; 2] {
    at.map(|at| people[at].take().expect("nobody else plays it"))
}
