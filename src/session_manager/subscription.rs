//! The nine states of a subscription and what each of the four requests does
//! to them (RFC 6121 appendix A). Pure.
//!
//! Where states are kept and who is told is not here: the answers say what
//! must be done, and the caller does it.

use serde::{Deserialize, Serialize};

/// How an account stands to one contact (RFC 6121 §A.1). `PendingOut`: we
/// asked. `PendingIn`: they asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum State {
    /// Strangers.
    #[default]
    None,
    /// We asked to see them.
    NonePendingOut,
    /// They asked to see us.
    NonePendingIn,
    /// Both asked, nobody answered.
    NonePendingOutIn,
    /// We see them.
    To,
    /// We see them, and they asked to see us.
    ToPendingIn,
    /// They see us.
    From,
    /// They see us, and we asked to see them.
    FromPendingOut,
    /// Both see each other.
    Both,
}

/// The four requests (RFC 6121 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// May I see you?
    Subscribe,
    /// I no longer want to see you.
    Unsubscribe,
    /// You may see me.
    Subscribed,
    /// You may not, or no longer, see me.
    Unsubscribed,
}

/// What becomes of a request that the account itself sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The state afterwards.
    pub state: State,
    /// Whether the request goes on to the contact.
    pub is_routed: bool,
}

/// What becomes of a request that the contact sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The state afterwards.
    pub state: State,
    /// Whether the account's clients see the request.
    pub is_delivered: bool,
    /// What the server answers in the account's name.
    pub reply: Option<Request>,
}

impl State {
    /// The account sends `request` (RFC 6121 §A.2).
    pub fn send(self, request: Request) -> Sent {
        use State as S;
        let (state, is_routed) = match request {
            Request::Subscribe => match self {
                S::None => (S::NonePendingOut, true),
                S::NonePendingIn => (S::NonePendingOutIn, true),
                S::From => (S::FromPendingOut, true),
                same => (same, true),
            },
            Request::Unsubscribe => (self.without_to(), true),
            Request::Subscribed => match self.granted() {
                Some(state) => (state, true),
                None => (self, false),
            },
            Request::Unsubscribed => match self.without_from() {
                state if state == self => (self, false),
                state => (state, true),
            },
        };
        Sent { state, is_routed }
    }

    /// The contact sends `request` (RFC 6121 §A.3).
    pub fn receive(self, request: Request) -> Received {
        match request {
            Request::Subscribe => self.receive_subscribe(),
            Request::Unsubscribe => {
                let state = self.without_from();
                let reply = self.shows_us().then_some(Request::Unsubscribed);
                Received { state, is_delivered: state != self, reply }
            }
            Request::Subscribed => match self.answered() {
                Some(state) => Received { state, is_delivered: true, reply: None },
                None => self.ignored(),
            },
            Request::Unsubscribed => {
                let state = self.without_to();
                Received { state, is_delivered: state != self, reply: None }
            }
        }
    }

    /// Whether the contact sees the account's presence.
    pub fn shows_us(self) -> bool {
        matches!(self, Self::From | Self::FromPendingOut | Self::Both)
    }

    /// Whether the account sees the contact's presence.
    pub fn shows_them(self) -> bool {
        matches!(self, Self::To | Self::ToPendingIn | Self::Both)
    }

    /// Whether the account has asked and was not answered: `ask='subscribe'`.
    pub fn is_pending_out(self) -> bool {
        matches!(self, Self::NonePendingOut | Self::NonePendingOutIn | Self::FromPendingOut)
    }

    /// Whether the contact has asked and was not answered.
    pub fn is_pending_in(self) -> bool {
        matches!(self, Self::NonePendingIn | Self::NonePendingOutIn | Self::ToPendingIn)
    }

    /// The `subscription` attribute of a roster item (RFC 6121 §2.1.2.5).
    pub fn word(self) -> &'static str {
        match (self.shows_them(), self.shows_us()) {
            (false, false) => "none",
            (true, false) => "to",
            (false, true) => "from",
            (true, true) => "both",
        }
    }

    fn receive_subscribe(self) -> Received {
        let asked = match self {
            Self::None => Self::NonePendingIn,
            Self::NonePendingOut => Self::NonePendingOutIn,
            Self::To => Self::ToPendingIn,
            Self::From | Self::FromPendingOut | Self::Both => {
                let reply = Some(Request::Subscribed);
                return Received { state: self, is_delivered: false, reply };
            }
            Self::NonePendingIn | Self::NonePendingOutIn | Self::ToPendingIn => {
                return self.ignored();
            }
        };
        Received { state: asked, is_delivered: true, reply: None }
    }

    fn ignored(self) -> Received {
        Received { state: self, is_delivered: false, reply: None }
    }

    /// Their request granted by us.
    fn granted(self) -> Option<Self> {
        match self {
            Self::NonePendingIn => Some(Self::From),
            Self::NonePendingOutIn => Some(Self::FromPendingOut),
            Self::ToPendingIn => Some(Self::Both),
            _ => None,
        }
    }

    /// Our request granted by them.
    fn answered(self) -> Option<Self> {
        match self {
            Self::NonePendingOut => Some(Self::To),
            Self::NonePendingOutIn => Some(Self::ToPendingIn),
            Self::FromPendingOut => Some(Self::Both),
            _ => None,
        }
    }

    /// We neither see them nor ask to.
    fn without_to(self) -> Self {
        match self {
            Self::NonePendingOut | Self::To => Self::None,
            Self::NonePendingOutIn | Self::ToPendingIn => Self::NonePendingIn,
            Self::FromPendingOut | Self::Both => Self::From,
            Self::None | Self::NonePendingIn | Self::From => self,
        }
    }

    /// They neither see us nor ask to.
    fn without_from(self) -> Self {
        match self {
            Self::NonePendingIn | Self::From => Self::None,
            Self::NonePendingOutIn | Self::FromPendingOut => Self::NonePendingOut,
            Self::ToPendingIn | Self::Both => Self::To,
            Self::None | Self::NonePendingOut | Self::To => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [(&str, State); 9] = [
        ("none", State::None),
        ("none+out", State::NonePendingOut),
        ("none+in", State::NonePendingIn),
        ("none+out+in", State::NonePendingOutIn),
        ("to", State::To),
        ("to+in", State::ToPendingIn),
        ("from", State::From),
        ("from+out", State::FromPendingOut),
        ("both", State::Both),
    ];

    fn state(word: &str) -> State {
        let found = WORDS.iter().find(|(known, _)| *known == word);
        found.unwrap_or_else(|| panic!("no state is called {word}")).1
    }

    fn word(state: State) -> &'static str {
        WORDS.iter().find(|(_, known)| *known == state).expect("all states have a word").0
    }

    /// Each row: state, state afterwards, and `routed` or `-`.
    #[track_caller]
    fn check_sent(request: Request, rows: [(&str, &str, &str); 9]) {
        for (before, after, fate) in rows {
            let sent = state(before).send(request);
            let said = (word(sent.state), if sent.is_routed { "routed" } else { "-" });
            assert_eq!(said, (after, fate), "{request:?} sent in state {before}");
        }
    }

    /// Each row: state, state afterwards, and `delivered`, `-` or the reply.
    #[track_caller]
    fn check_received(request: Request, rows: [(&str, &str, &str); 9]) {
        for (before, after, fate) in rows {
            let received = state(before).receive(request);
            let said = match (received.is_delivered, received.reply) {
                (true, None) => "delivered",
                (true, Some(Request::Unsubscribed)) => "delivered, unsubscribed",
                (false, Some(Request::Subscribed)) => "subscribed",
                (false, None) => "-",
                other => panic!("no row of the appendix says {other:?}"),
            };
            assert_eq!((word(received.state), said), (after, fate), "{request:?} in {before}");
        }
    }

    #[test]
    fn subscribe_is_always_routed() {
        check_sent(
            Request::Subscribe,
            [
                ("none", "none+out", "routed"),
                ("none+out", "none+out", "routed"),
                ("none+in", "none+out+in", "routed"),
                ("none+out+in", "none+out+in", "routed"),
                ("to", "to", "routed"),
                ("to+in", "to+in", "routed"),
                ("from", "from+out", "routed"),
                ("from+out", "from+out", "routed"),
                ("both", "both", "routed"),
            ],
        );
    }

    #[test]
    fn unsubscribe_is_always_routed() {
        check_sent(
            Request::Unsubscribe,
            [
                ("none", "none", "routed"),
                ("none+out", "none", "routed"),
                ("none+in", "none+in", "routed"),
                ("none+out+in", "none+in", "routed"),
                ("to", "none", "routed"),
                ("to+in", "none+in", "routed"),
                ("from", "from", "routed"),
                ("from+out", "from", "routed"),
                ("both", "from", "routed"),
            ],
        );
    }

    #[test]
    fn subscribed_answers_only_who_asked() {
        check_sent(
            Request::Subscribed,
            [
                ("none", "none", "-"),
                ("none+out", "none+out", "-"),
                ("none+in", "from", "routed"),
                ("none+out+in", "from+out", "routed"),
                ("to", "to", "-"),
                ("to+in", "both", "routed"),
                ("from", "from", "-"),
                ("from+out", "from+out", "-"),
                ("both", "both", "-"),
            ],
        );
    }

    #[test]
    fn unsubscribed_refuses_and_cancels() {
        check_sent(
            Request::Unsubscribed,
            [
                ("none", "none", "-"),
                ("none+out", "none+out", "-"),
                ("none+in", "none", "routed"),
                ("none+out+in", "none+out", "routed"),
                ("to", "to", "-"),
                ("to+in", "to", "routed"),
                ("from", "none", "routed"),
                ("from+out", "none+out", "routed"),
                ("both", "to", "routed"),
            ],
        );
    }

    #[test]
    fn a_request_is_shown_once_and_a_granted_one_is_answered() {
        check_received(
            Request::Subscribe,
            [
                ("none", "none+in", "delivered"),
                ("none+out", "none+out+in", "delivered"),
                ("none+in", "none+in", "-"),
                ("none+out+in", "none+out+in", "-"),
                ("to", "to+in", "delivered"),
                ("to+in", "to+in", "-"),
                ("from", "from", "subscribed"),
                ("from+out", "from+out", "subscribed"),
                ("both", "both", "subscribed"),
            ],
        );
    }

    #[test]
    fn a_contact_that_leaves_is_confirmed() {
        check_received(
            Request::Unsubscribe,
            [
                ("none", "none", "-"),
                ("none+out", "none+out", "-"),
                ("none+in", "none", "delivered"),
                ("none+out+in", "none+out", "delivered"),
                ("to", "to", "-"),
                ("to+in", "to", "delivered"),
                ("from", "none", "delivered, unsubscribed"),
                ("from+out", "none+out", "delivered, unsubscribed"),
                ("both", "to", "delivered, unsubscribed"),
            ],
        );
    }

    #[test]
    fn a_grant_counts_only_where_we_asked() {
        check_received(
            Request::Subscribed,
            [
                ("none", "none", "-"),
                ("none+out", "to", "delivered"),
                ("none+in", "none+in", "-"),
                ("none+out+in", "to+in", "delivered"),
                ("to", "to", "-"),
                ("to+in", "to+in", "-"),
                ("from", "from", "-"),
                ("from+out", "both", "delivered"),
                ("both", "both", "-"),
            ],
        );
    }

    #[test]
    fn a_refusal_ends_what_we_asked_or_had() {
        check_received(
            Request::Unsubscribed,
            [
                ("none", "none", "-"),
                ("none+out", "none", "delivered"),
                ("none+in", "none+in", "-"),
                ("none+out+in", "none+in", "delivered"),
                ("to", "none", "delivered"),
                ("to+in", "none+in", "delivered"),
                ("from", "from", "-"),
                ("from+out", "from", "delivered"),
                ("both", "from", "delivered"),
            ],
        );
    }
}
