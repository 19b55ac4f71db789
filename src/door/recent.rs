//! Who has just asked whom for a subscription on one stream: what he says next
//! of his presence comes behind that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::router::foreign::Order;
use crate::xmpp::jid::BareJid;
use crate::xmpp::kind::Kind;
use crate::xmpp::stanza::Stanza;

/// How long a subscription may take until the nodes know of it: as long as a
/// change may (`router/requests`).
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// Subscriptions that are remembered. Full: the first is forgotten, and what
/// follows it may overtake it. A guess.
const SUBSCRIPTIONS_MAX: usize = 256;

/// The latest subscriptions of one stream.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<(Instant, BareJid, BareJid)>);

impl Recent {
    /// Remembers a subscription; says of all else whether it follows one.
    pub(super) fn order(&mut self, stanza: &Stanza, now: Instant) -> Order {
        if self.0.is_empty() && !stanza.kind.is_subscription()
            || !matches!(stanza.kind, Kind::Presence(_))
        {
            return Order::Free;
        }
        let (Some(from), Some(to)) = (&stanza.from, &stanza.to) else { return Order::Free };
        let (from, to) = (from.bare(), to.bare());
        while self.0.front().is_some_and(|(when, ..)| now.duration_since(*when) >= SETTLE_TIME) {
            self.0.pop_front();
        }
        if stanza.kind.is_subscription() {
            if self.0.len() >= SUBSCRIPTIONS_MAX {
                self.0.pop_front();
            }
            self.0.push_back((now, from, to));
            return Order::Free;
        }
        match self.0.iter().any(|(_, one, other)| *one == from && *other == to) {
            true => Order::Behind,
            false => Order::Free,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn presence_follows_the_subscription_of_the_same_two() {
        let mut recent = Recent::default();
        let now = Instant::now();
        let mut order = |text: &'static str, now| {
            let stanza = Stanza::parse_bytes(Bytes::from_static(text.as_bytes()));
            recent.order(&stanza.expect("a stanza"), now)
        };
        let presence = "<presence from='a@b/c' to='d@e'/>";
        assert_eq!(order(presence, now), Order::Free);
        assert_eq!(order("<presence from='a@b' to='d@e' type='subscribed'/>", now), Order::Free);
        assert_eq!(order(presence, now), Order::Behind);
        assert_eq!(order("<presence from='x@b/c' to='d@e'/>", now), Order::Free);
        assert_eq!(order("<message from='a@b/c' to='d@e'/>", now), Order::Free);
        assert_eq!(order(presence, now + SETTLE_TIME), Order::Free);
    }
}
