//! Messages that nobody is there for: kept at the account's home, and fetched
//! by the node of whichever session comes. What is kept where is the business
//! of `session_manager/offline`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::cluster::asks::Question;
use crate::cluster::rows::{RowChange, SessionRow, SoftRow};
use crate::metrics;
use crate::net::outbox::Item;
use crate::router::act::Way;
use crate::router::parcel::{Label, Target};
use crate::router::{Router, seat};
use crate::session_manager::handing::Page;
use crate::session_manager::hints::{Fate, fate};
use crate::session_manager::session::{Held, Seat, Session, SessionNumber, Token, Unwritten};
use crate::xep::time::utc;
use crate::xmpp::error::{StanzaCondition, StanzaError};
use crate::xmpp::jid::{BareJid, Jid};
use crate::xmpp::kind::Kind;
use crate::xmpp::namespaces::DELAY;
use crate::xmpp::stanza::Stanza;

/// How often a home that does not answer is asked again, and after which
/// pause: together longer than a lost node takes to be noticed.
const TRIES_MAX: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// Stored messages may fill a fourth of an outbox; the rest is for what comes
/// meanwhile. A guess.
const OUTBOX_SHARE: usize = 4;

impl Router {
    /// The home has looked, and nobody is there.
    pub(super) fn at_home(&self, stanza: Stanza, way: Way) {
        let Kind::Message(_) = stanza.kind else {
            return self.bounce(&stanza, StanzaCondition::ServiceUnavailable.into());
        };
        match fate(&stanza) {
            Fate::Store => {}
            Fate::Bounce => {
                return self.bounce(&stanza, StanzaCondition::ServiceUnavailable.into());
            }
            Fate::Ignore => return,
        }
        let Some(account) = stanza.to.as_ref().map(|to| to.bare()) else { return };
        let turn = account.clone();
        self.in_turn(turn.as_str(), stanza, way, |router, stanza| async move {
            router.store(&account, &stanza).await;
        });
    }

    async fn store(&self, account: &BareJid, stanza: &Stanza) {
        let refused: StanzaError = match self.rooms.accounts.exists(account) {
            // it was removed while this was on its way
            Ok(false) => StanzaCondition::ServiceUnavailable.into(),
            Err(error) => error.into(),
            Ok(true) => {
                let message = delayed(stanza, account.domain(), SystemTime::now());
                match self.rooms.offline.store(account, &[message]).await {
                    Ok(stored) if stored.count == 1 => {
                        ::metrics::counter!(metrics::OFFLINE_STORED).increment(1);
                        // somebody may have come meanwhile
                        return self.call(account);
                    }
                    Ok(_) => {
                        ::metrics::counter!(metrics::OFFLINE_REFUSED).increment(1);
                        StanzaError::from(StanzaCondition::ResourceConstraint)
                            .with_text("too many messages wait for this account")
                    }
                    Err(error) => {
                        warn!(%error, "a message could not be stored");
                        error.into()
                    }
                }
            }
        };
        self.bounce(stanza, refused);
    }

    /// Rows of sessions have come: what is stored here, at home, and nobody
    /// fetched when they came, is fetched now. So do the sides of a split
    /// when they meet.
    pub fn note_rows(&self, changes: &[RowChange]) {
        for change in changes {
            if change.owner != self.me()
                && let Some(SoftRow::Session(row)) = &change.new
            {
                self.call_if_home(row);
            }
        }
    }

    /// As [`Self::note_rows`], for a session that is seen again.
    pub(super) fn call_if_home(&self, row: &SessionRow) {
        if row.priority.is_none_or(|priority| priority < 0) {
            return;
        }
        let Ok(account) = Jid::parse(&row.jid).map(|jid| jid.bare()) else { return };
        let home = self.rooms.cluster.members().home(account.as_str().as_bytes());
        if home == self.me() {
            self.call(&account);
        }
    }

    /// Has a session that wants messages, if there is one, fetch what is
    /// stored, if there is anything.
    pub(super) fn call(&self, account: &BareJid) {
        if !self.rooms.offline.has(account).unwrap_or(true) {
            return;
        }
        let entries = self.rooms.sessions.of(account);
        let willing = entries.iter().find(|entry| entry.row.priority.is_some_and(|p| p >= 0));
        let Some(seat) = willing.map(seat) else { return };
        if seat.owner == self.me() {
            return self.fetch_for(seat);
        }
        let label = Label { target: Target::Fetch(seat), hops: 1 };
        self.rooms.cluster.deliver(seat.owner, label.pack(&Bytes::new()));
    }

    /// A session of this node shall fetch what is stored.
    pub(super) fn fetch_for(&self, seat: Seat) {
        if let Some(session) = self.rooms.sessions.local(seat.number) {
            self.fetch(&session);
        }
    }

    /// Fetches what is stored for a session of this node, one fetch after the
    /// other.
    pub(super) fn fetch(&self, session: &Session) {
        let Some(router) = self.this.upgrade() else { return };
        let (account, number) = (session.jid.bare(), session.number);
        let turn = format!("fetch {}", session.jid);
        let taken = self.turns.take(&turn, async move { router.fetch_all(&account, number).await });
        if taken.is_err() {
            debug!(jid = %session.jid, "enough fetches wait: they find what this one would");
        }
    }

    async fn fetch_all(&self, account: &BareJid, number: SessionNumber) {
        let seat = Seat { owner: self.me(), number };
        let mut after = Vec::new();
        let mut tries = 0;
        while self.wants_messages(number) {
            let Some(page) = self.rooms.offline.ask(account, seat, after.clone()).await else {
                tries += 1;
                if tries == TRIES_MAX {
                    return warn!(%account, "a home does not hand out what is stored");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let has_more = page.has_more;
            if let Some((last, _)) = page.messages.last() {
                after.clone_from(last);
            }
            if !self.write_page(number, page).await || !has_more {
                return;
            }
        }
    }

    /// Writes stored messages to a session as fast as its client reads;
    /// `false`: it is gone.
    async fn write_page(&self, number: SessionNumber, page: Page) -> bool {
        let mut messages = page.messages.into_iter().peekable();
        while messages.peek().is_some() {
            let Some(session) = self.rooms.sessions.local(number) else { return false };
            let share = session.outbox_bytes_max() / OUTBOX_SHARE;
            // whoever holds a clone has not been written yet
            let (unwritten, mut written) = mpsc::channel::<()>(1);
            let mut bytes = 0;
            while let Some((key, message)) =
                messages.next_if(|(_, next)| bytes == 0 || bytes + next.len() <= share)
            {
                let Some(handed) = self.rooms.offline.take(&key, unwritten.clone()) else {
                    continue;
                };
                bytes += message.len();
                let held = Some(Arc::new(Token::Stored(handed)));
                let back = match self.rooms.sessions.write(number, message, held) {
                    Ok(()) => continue,
                    Err(Unwritten::Gone(item)) => vec![item],
                    Err(Unwritten::Overflow(items)) => items,
                };
                self.unwritten(back);
                return false;
            }
            drop(unwritten);
            // a client that does not read is cut off in time
            let _ = written.recv().await;
        }
        true
    }

    /// Answers another node's question, if it is about stored messages.
    pub(super) fn answer_stored(&self, question: Question) -> Option<Question> {
        let sessions = Arc::clone(&self.rooms.sessions);
        let sits = move |account: &str, seat: Seat| {
            let entries = BareJid::parse(account).map(|account| sessions.of(&account));
            entries.is_ok_and(|entries| {
                entries.iter().any(|one| one.owner == seat.owner && one.number == seat.number)
            })
        };
        self.rooms.offline.answer(question, sits)
    }

    fn wants_messages(&self, number: SessionNumber) -> bool {
        let session = self.rooms.sessions.local(number);
        session.is_some_and(|session| session.row().priority.is_some_and(|p| p >= 0))
    }

    /// Leaves stored messages that were not written where they are, for the
    /// account's next session; gives back all else.
    pub(super) fn keep_stored(&self, items: Vec<Item<Held>>) -> Vec<Item<Held>> {
        let mut accounts = BTreeSet::new();
        let mut others = Vec::new();
        for item in items {
            match item.token.as_deref() {
                Some(Token::Stored(handed)) => {
                    handed.keep();
                    accounts.extend(handed.account());
                }
                _ => others.push(item),
            }
        }
        accounts.iter().for_each(|account| self.call(account));
        others
    }
}

/// The message with the time when it was stored (XEP-0203).
fn delayed(stanza: &Stanza, domain: &str, now: SystemTime) -> Bytes {
    let delay = crate::xml::element::Element::new("delay", DELAY)
        .attr("from", domain)
        .attr("stamp", utc(now))
        .text("Offline Storage")
        .to_bytes(crate::xmpp::namespaces::CLIENT);
    let mut payload = BytesMut::with_capacity(stanza.payload.len() + delay.len());
    payload.put_slice(&stanza.payload);
    payload.put_slice(&delay);
    Stanza { payload: payload.freeze(), ..stanza.clone() }.write()
}
