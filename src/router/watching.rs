//! Components that see who is there, where the operator has granted it
//! (XEP-0356 §5): what a session says for everybody they hear as well, and an
//! instance that comes hears of those who are there already.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::rows::{RouteRow, RowChange, SoftRow};
use crate::router::Router;
use crate::router::act::Way;
use crate::router::balance::{Balance, Candidate};
use crate::router::components::Watches;
use crate::session_manager::session::{Seat, Session};
use crate::xmpp::jid::{Domain, Jid};
use crate::xmpp::kind::{Kind, PresenceType};
use crate::xmpp::stanza::Stanza;

/// Sessions that are shown to an instance at a time, and how long it then has to
/// read of them. Guesses: 5,000 a second of each node, far from what fills an
/// outbox.
const SHOWN_TOGETHER: usize = 500;
const SHOWN_EVERY: Duration = Duration::from_millis(100);

/// Which sessions an instance is to be shown.
type IsMeant = Box<dyn Fn(&Jid) -> bool + Send>;

impl Router {
    /// A session of this node says this for everybody.
    pub(super) fn show_watchers(&self, presence: &Stanza) {
        for (domain, _) in self.components.watchers() {
            self.show_to_component(domain, presence);
        }
    }

    /// An account of ours hears this of somebody elsewhere; accounts of ours
    /// are shown where they are.
    pub(super) fn show_contact(&self, account: &Jid, presence: &Stanza) {
        let Some(from) = presence.from.as_ref().filter(|from| !self.rooms.serves(from.domain()))
        else {
            return;
        };
        let watchers = self.components.watchers().iter();
        let mut watchers = watchers.filter(|(_, watches)| *watches == Watches::Roster).peekable();
        let is_broadcast = matches!(
            presence.kind,
            Kind::Presence(PresenceType::Available | PresenceType::Unavailable)
        );
        if !is_broadcast || watchers.peek().is_none() {
            return;
        }
        let contact = self.rooms.contacts.one(&account.bare(), &from.bare());
        if contact.is_ok_and(|contact| contact.is_seen()) {
            watchers.for_each(|(domain, _)| self.show_to_component(domain, presence));
        }
    }

    /// To one that is not there it is not said, and nobody is told so.
    fn show_to_component(&self, domain: &Domain, presence: &Stanza) {
        if self.components.balance(domain.as_str()).is_some() {
            let to = Some(domain.clone().into());
            self.carry(Stanza { to, ..presence.clone() }, Way::default());
        }
    }

    /// Instances have come or gone: whoever has sessions of ours now, that he
    /// did not have before, is shown them.
    pub(super) fn show_instances(&self, changes: &[RowChange]) {
        for (domain, _) in self.components.watchers() {
            for change in changes {
                match (route(&change.old, domain), route(&change.new, domain)) {
                    (None, Some(_)) => {
                        let seat = Seat { owner: change.owner, number: change.number };
                        let Some(now) = self.components.balance(domain.as_str()) else { continue };
                        self.show_all(domain, self.chosen(now, domain, seat));
                    }
                    (Some(gone), None) => {
                        let seat = Seat { owner: change.owner, number: change.number };
                        let now = self.components.balance(domain.as_str());
                        let Some(now) = now else { continue };
                        let gone = Candidate {
                            seat,
                            name: gone.instance.clone(),
                            weight: gone.weight,
                            is_draining: gone.is_draining,
                        };
                        let all = now.candidates().iter().cloned().chain([gone]).collect();
                        let before = Balance::new(self.components.policy(domain.as_str()), all);
                        self.show_all(domain, self.chosen(Arc::new(before), domain, seat));
                    }
                    _ => {}
                }
            }
        }
    }

    /// A node is lost, and instances may have gone with it: which sessions they
    /// had, nobody knows any more.
    pub(super) fn show_everybody(&self) {
        for (domain, _) in self.components.watchers() {
            self.show_all(domain, Box::new(|_| true));
        }
    }

    /// Those whose presence goes to this seat.
    fn chosen(&self, balance: Arc<Balance>, domain: &Domain, seat: Seat) -> IsMeant {
        let (to, me) = (Jid::from(domain.clone()), self.me());
        Box::new(move |from| {
            let chosen = balance.choose((Some(from), Some(&to)), &[], me, rand::random());
            chosen.is_some_and(|chosen| chosen.seat == seat)
        })
    }

    fn show_all(&self, domain: &Domain, is_meant: IsMeant) {
        let (Some(router), domain) = (self.this.upgrade(), domain.clone()) else { return };
        tokio::spawn(async move {
            let sessions = router.rooms.sessions.all_here();
            let meant = sessions.iter().filter(|session| is_meant(session.jid.as_jid()));
            let meant: Vec<&Arc<Session>> = meant.collect();
            for some in meant.chunks(SHOWN_TOGETHER) {
                for session in some {
                    // held: what it says next comes behind this
                    let said = session.said();
                    if let Some(last) = &said.last {
                        router.show_to_component(&domain, last);
                    }
                }
                tokio::time::sleep(SHOWN_EVERY).await;
            }
        });
    }
}

fn route<'a>(row: &'a Option<SoftRow>, domain: &Domain) -> Option<&'a RouteRow> {
    match row {
        Some(SoftRow::Route(row)) if *row.domain == *domain.as_str() => Some(row),
        _ => None,
    }
}
