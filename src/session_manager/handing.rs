//! Stored messages on their way to a session.
//!
//! The account's home hands them out, to one session at a time; the session's
//! node says when they are written, by dropping [`Handed`]. Whatever breaks in
//! between leaves the row where it is, so that it is handed out once more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::cluster::asks::Question;
use crate::cluster::durable::{Table, key_of, owner_of};
use crate::cluster::node::NodeId;
use crate::session_manager::given::Mark;
use crate::session_manager::meeting::Unmet;
use crate::session_manager::offline::{Offline, REMOVED_TOGETHER_MAX, mark_of};
use crate::session_manager::session::Seat;
use crate::storage::StoreError;
use crate::xmpp::jid::BareJid;

/// The topics of our questions to other nodes.
pub mod topic {
    /// What have you stored for this session?
    pub const HAND_OUT: u8 = 10;
    /// These are written: forget them.
    pub const TAKEN: u8 = 11;
}

/// Bytes of messages that are handed out at once, about; an answer may have
/// 1 MiB.
const PAGE_BYTES: usize = 256 << 10;

/// Rows that are read at a time when messages are handed out.
pub(super) const READ_ROWS: usize = 32;

/// How long the home may take for its answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// A stored message in the hands of a session's node. Dropped: it has been
/// written to the client, and the row goes.
#[derive(Debug)]
pub struct Handed {
    offline: Arc<Offline>,
    key: Vec<u8>,
    is_kept: AtomicBool,
    /// Who waits until all of a page are written sees this go.
    _page: mpsc::Sender<()>,
}

/// Some messages, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Page {
    /// Each with its key.
    pub messages: Vec<(Vec<u8>, Bytes)>,
    /// There are more, behind the last of these.
    pub has_more: bool,
}

#[derive(Serialize, Deserialize)]
struct Ask {
    account: Box<str>,
    seat: Seat,
    after: Vec<u8>,
}

/// The question for what is stored.
pub(super) fn asked(account: &BareJid, seat: Seat, after: Vec<u8>) -> Vec<u8> {
    let ask = Ask { account: account.as_str().into(), seat, after };
    postcard::to_stdvec(&ask).expect("it has only fields that postcard knows")
}

impl Drop for Handed {
    fn drop(&mut self) {
        if self.is_kept.load(Ordering::Relaxed) {
            self.offline.taking.remove(&self.key);
        } else {
            // when nobody listens the process ends, and the row stays
            let _ = self.offline.written.send(std::mem::take(&mut self.key));
        }
    }
}

impl Handed {
    /// It was not written: the row stays.
    pub fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// The message's name.
    pub fn mark(&self) -> Mark {
        mark_of(&self.key)
    }

    /// Whose message it is.
    pub fn account(&self) -> Option<BareJid> {
        BareJid::parse(std::str::from_utf8(owner_of(&self.key)).ok()?).ok()
    }
}

impl Offline {
    /// Asks for messages behind the key `after`, for one session: `home`, or
    /// the home that we see. `None`: it does not answer.
    pub async fn ask(
        &self,
        account: &BareJid,
        home: Option<NodeId>,
        seat: Seat,
        after: Vec<u8>,
    ) -> Option<Page> {
        let seen = || self.cluster.members().home(account.as_str().as_bytes());
        let home = home.unwrap_or_else(seen);
        let ask = asked(account, seat, after);
        let asked = self.cluster.ask(home, topic::HAND_OUT, ask.into(), ANSWER_TIME_MAX).await;
        postcard::from_bytes(&asked.ok()?).ok()
    }

    /// Takes a message in our hands; `None`: it is in them already. `page` is
    /// dropped with it.
    pub fn take(&self, key: &[u8], page: mpsc::Sender<()>) -> Option<Handed> {
        let offline = self.me.upgrade()?;
        self.taking.insert(key.to_vec()).then(|| Handed {
            offline,
            key: key.to_vec(),
            is_kept: AtomicBool::new(false),
            _page: page,
        })
    }

    /// Whose stored messages a question is about; it is answered in this
    /// account's turn, behind what is being stored.
    pub fn asked_of(question: &Question) -> Option<BareJid> {
        let is_ours = question.topic == topic::HAND_OUT;
        let ask = is_ours.then(|| postcard::from_bytes::<Ask>(&question.body).ok())?;
        BareJid::parse(&ask?.account).ok()
    }

    /// Answers another node's question, if it is about us. `sits` says whether
    /// a session is still there.
    pub fn answer(
        self: &Arc<Self>,
        question: Question,
        sits: impl Fn(&str, Seat) -> bool + Send + 'static,
    ) -> Option<Question> {
        match question.topic {
            topic::HAND_OUT => {
                let Ok(ask) = postcard::from_bytes::<Ask>(&question.body) else { return None };
                let offline = Arc::clone(self);
                tokio::spawn(async move {
                    offline.meet_all().await;
                    let hand_out = move || match offline.hand_out(&ask, sits) {
                        Ok(page) => {
                            let page = postcard::to_stdvec(&page).expect("messages can be written");
                            question.answer(page.into());
                        }
                        Err(error) => warn!(%error, "stored messages cannot be read"),
                    };
                    // an error says that the process ends
                    let _ = tokio::task::spawn_blocking(hand_out).await;
                });
            }
            topic::TAKEN => {
                let offline = Arc::clone(self);
                tokio::spawn(async move {
                    let Ok(keys) = postcard::from_bytes::<Vec<Vec<u8>>>(&question.body) else {
                        return;
                    };
                    match offline.remove(&keys).await {
                        Ok(()) => question.answer(Bytes::new()),
                        Err(error) => warn!(%error, "messages that were read stay stored"),
                    }
                });
            }
            _ => return Some(question),
        }
        None
    }

    /// Waits until we have all rows of all whom we see, for a while.
    async fn meet_all(&self) {
        let unmet = || -> Unmet {
            if self.durable.failing().is_some() {
                // nothing that comes can be kept
                return Unmet::new();
            }
            let members = self.cluster.members();
            let others = members.others().map(|member| member.node.id);
            let unmet = others.filter(|node| !self.durable.has_met(*node));
            unmet.map(|node| (node, self.durable.fetched_of(node))).collect()
        };
        self.meeting.meet(unmet).await;
    }

    fn hand_out(&self, ask: &Ask, sits: impl Fn(&str, Seat) -> bool) -> Result<Page, StoreError> {
        let mut handed = self.handed.entry(ask.account.clone()).or_default();
        let mut page = Page::default();
        let mut bytes = 0;
        let mut from = ask.after.clone();
        from.push(0);
        'all: loop {
            let first = key_of(&ask.account, b"");
            let (rows, next) = self.durable.scan(Table::Offline, &from.max(first), READ_ROWS)?;
            for (key, message) in rows {
                if owner_of(&key) != ask.account.as_bytes() {
                    break 'all;
                }
                let is_taken = handed
                    .get(&key)
                    .is_some_and(|seat| *seat != ask.seat && sits(&ask.account, *seat));
                if is_taken {
                    continue;
                }
                if bytes > 0 && bytes + message.len() > PAGE_BYTES {
                    page.has_more = true;
                    break 'all;
                }
                bytes += message.len();
                handed.insert(key.clone(), ask.seat);
                page.messages.push((key, message));
            }
            match next {
                Some(next) if owner_of(&next) == ask.account.as_bytes() => from = next,
                _ => break,
            }
        }
        let is_empty = handed.is_empty();
        drop(handed);
        if is_empty {
            self.handed.remove_if(&ask.account, |_, handed| handed.is_empty());
        }
        Ok(page)
    }

    /// Says to the home that messages of one account are written.
    async fn written(&self, keys: Vec<Vec<u8>>) {
        let Some(owner) = keys.first().map(|key| owner_of(key).to_vec()) else { return };
        let home = self.cluster.members().home(&owner);
        let body = postcard::to_stdvec(&keys).expect("keys can be written");
        let told = self.cluster.ask(home, topic::TAKEN, body.into(), ANSWER_TIME_MAX).await;
        if told.is_err() {
            debug!(node = %home, "a home did not answer: messages are removed from here");
            if let Err(error) = self.remove(&keys).await {
                warn!(%error, "messages that were read stay stored");
            }
        }
        for key in keys {
            self.taking.remove(&key);
        }
    }
}

/// Removes what was written, messages of one account together.
pub(super) async fn forget_written(
    offline: Weak<Offline>,
    mut waiting: mpsc::UnboundedReceiver<Vec<u8>>,
) {
    let mut some = Vec::new();
    while waiting.recv_many(&mut some, REMOVED_TOGETHER_MAX).await > 0 {
        let Some(offline) = offline.upgrade() else { return };
        let mut by_owner: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
        for key in some.drain(..) {
            by_owner.entry(owner_of(&key).to_vec()).or_default().push(key);
        }
        let told = by_owner.into_values().map(|keys| {
            let offline = Arc::clone(&offline);
            tokio::spawn(async move { offline.written(keys).await })
        });
        for told in told.collect::<Vec<_>>() {
            // one that panicked has been said in the log
            let _ = told.await;
        }
    }
}
