//! What other servers send to us: their order holds, also where the one stanza
//! changes an account and the next does not.

use crate::router::Router;
use crate::router::act::{HOPS_MAX, Way};
use crate::router::parcel::{Label, Target};
use crate::xmpp::kind::Kind;
use crate::xmpp::stanza::Stanza;

/// Whether a stanza follows another one that waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It follows nothing.
    Free,
    /// Its sender has just asked the same account for a subscription, or has
    /// answered: whoever may see whom is decided first.
    Behind,
}

impl Router {
    /// Routes a stanza of another server whose `from` is proved.
    pub fn route_foreign(&self, stanza: Stanza, order: Order) {
        let is_presence = matches!(stanza.kind, Kind::Presence(_));
        match order {
            Order::Behind if is_presence && !stanza.kind.is_subscription() => {
                self.behind(stanza, Way { is_first: true, ..Way::default() });
            }
            Order::Free | Order::Behind => self.route(stanza),
        }
    }

    /// At the home of the addressee, in the turn of its account.
    pub(super) fn behind(&self, stanza: Stanza, way: Way) {
        let Some(account) = stanza.to.as_ref().map(|to| to.bare()) else { return };
        let home = self.rooms.cluster.members().home(account.as_str().as_bytes());
        if home != self.me() && way.hops < HOPS_MAX {
            let label = Label::new(Target::InTurn, way.hops + 1);
            return self.rooms.cluster.deliver(home, label.pack(&stanza.write()));
        }
        let after = Way { hops: way.hops, ..Way::default() };
        self.in_turn(account.as_str(), stanza, way, |router, stanza| async move {
            router.carry(stanza, after);
        });
    }
}
