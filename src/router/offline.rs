//! Messages that nobody is there for: kept at the account's home, and fetched
//! by the node of whichever session comes. What is kept where is the business
//! of `session_manager/offline`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::cluster::asks::Question;
use crate::cluster::node::NodeId;
use crate::cluster::rows::{RowChange, SessionRow, SoftRow};
use crate::net::outbox::Item;
use crate::router::parcel::{Label, Target};
use crate::router::{Router, seat};
use crate::session_manager::handing::Page;
use crate::session_manager::offline::Offline;
use crate::session_manager::session::{
    Held, Holding, Seat, Session, SessionNumber, Token, Unwritten,
};
use crate::xmpp::jid::{BareJid, Jid};

/// How often a home that does not answer is asked again, and after which
/// pause: together longer than a lost node takes to be noticed.
const TRIES_MAX: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// Stored messages may fill a fourth of an outbox; the rest is for what comes
/// meanwhile. A guess.
const OUTBOX_SHARE: usize = 4;

impl Router {
    /// Rows of sessions have come: what is stored here, at home, and nobody
    /// fetched when they came, is fetched now. So do the sides of a split
    /// when they meet.
    pub fn note_rows(&self, changes: &[RowChange]) {
        self.servers.note_rows(changes);
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
        if let Ok(account) = Jid::parse(&row.jid).map(|jid| jid.bare())
            && self.is_home(&account)
        {
            self.call(&account);
        }
    }

    /// Other nodes had stored messages for these accounts, and now we have
    /// them: a node that was alone, or the other side of a split, did not see
    /// the session that waits for them here.
    pub fn note_stored(&self, accounts: &[Box<str>]) {
        let accounts = accounts.iter().filter_map(|account| BareJid::parse(account).ok());
        for account in accounts.filter(|account| self.is_home(account)) {
            self.call(&account);
        }
    }

    fn is_home(&self, account: &BareJid) -> bool {
        let home = self.rooms.cluster.members().home(account.as_str().as_bytes());
        home == self.me()
    }

    /// Has a session that wants messages, if there is one, fetch what is
    /// stored, if there is anything.
    pub(super) fn call(&self, account: &BareJid) {
        let entries = self.rooms.sessions.of(account.as_str());
        let willing = entries.iter().find(|entry| entry.row.priority.is_some_and(|p| p >= 0));
        let Some(seat) = willing.map(seat) else { return };
        if !self.rooms.offline.has(account).unwrap_or(true) {
            return;
        }
        if seat.owner == self.me() {
            return self.fetch_for(seat, self.me());
        }
        let label = Label::new(Target::Fetch(seat), 1);
        self.rooms.cluster.deliver(seat.owner, label.pack(&Bytes::new()));
    }

    /// A session of this node shall fetch what `home` has stored, which may be
    /// visible to us only in a moment.
    pub(super) fn fetch_for(&self, seat: Seat, home: NodeId) {
        if let Some(session) = self.rooms.sessions.local(seat.number) {
            self.fetch(&session, Some(home));
        }
    }

    /// Fetches what is stored for a session of this node, one fetch after the
    /// other: at the account's home, unless another node has called.
    pub(super) fn fetch(&self, session: &Session, home: Option<NodeId>) {
        let Some(router) = self.this.upgrade() else { return };
        let (account, number) = (session.jid.bare(), session.number);
        let turn = format!("fetch {}", session.jid);
        let holding = session.hold_messages();
        let job = async move { router.fetch_all((&account, number), home, holding).await };
        let taken = self.turns.take(&turn, job);
        if taken.is_err() {
            debug!(jid = %session.jid, "enough fetches wait: they find what this one would");
        }
    }

    async fn fetch_all(
        &self,
        (account, number): (&BareJid, SessionNumber),
        home: Option<NodeId>,
        holding: Holding,
    ) {
        let seat = Seat { owner: self.me(), number };
        let mut after = Vec::new();
        let mut tries = 0;
        let mut holding = Some(holding);
        while self.wants_messages(number) {
            let Some(page) = self.rooms.offline.ask(account, home, seat, after.clone()).await
            else {
                // who is there now must not wait for a home that is lost
                holding = None;
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
                break;
            }
        }
        drop(holding);
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
                if !session.given().note(handed.mark()) {
                    continue;
                }
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
            let entries = sessions.of(account);
            entries.iter().any(|one| one.owner == seat.owner && one.number == seat.number)
        };
        let offline = Arc::clone(&self.rooms.offline);
        let Some(account) = Offline::asked_of(&question) else {
            return offline.answer(question, sits);
        };
        let answer = async move { drop(offline.answer(question, sits)) };
        if self.turns.take(account.as_str(), answer).is_err() {
            debug!(%account, "too much waits for an account: it is asked again");
        }
        None
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
