//! What is written to a stream that another server has opened: our words, and
//! where both directions use it (XEP-0288) our stanzas for a link.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{sleep, sleep_until};
use tracing::debug;

use crate::net::connection::Connection;
use crate::net::outbox::{Item, Outbox, Work};
use crate::s2s_manager::link::{Link, Stands};
use crate::s2s_manager::links::Links;
use crate::s2s_manager::pace::Pace;
use crate::s2s_manager::sending::{Sending, Unread};
use crate::session_manager::session::Held;
use crate::stream::ack::TooHigh;
use crate::stream::server::Pair;

/// What may wait for a server that comes: answers to its proofs. One byte more
/// closes it. A guess.
const WORDS_BYTES_MAX: usize = 64 << 10;

/// Our direction.
pub(super) struct Reverse {
    links: Arc<Links<Held>>,
    sending: Sending<Held>,
    link: Option<Arc<Link<Held>>>,
    /// The pair has a link already.
    refused: Option<Pair>,
    /// Nothing more is taken from the link: it ends when the peer has all.
    is_retired: bool,
    /// How fast the link is written to.
    pace: Pace,
}

/// What happened to our direction.
pub(super) enum Event {
    /// These are to be written.
    Taken(VecDeque<Item<Held>>),
    /// Somebody wants the link to end; the stream stays.
    Retire,
    /// The peer does not say what it has.
    Silent,
}

impl Reverse {
    pub(super) fn new(links: &Arc<Links<Held>>) -> Self {
        let sending = Sending::new(WORDS_BYTES_MAX);
        let (links, pace) = (Arc::clone(links), Pace::default());
        Self { links, sending, link: None, refused: None, is_retired: false, pace }
    }

    /// What the connection takes next.
    pub(super) fn wire(&self) -> &Outbox<Held> {
        self.sending.wire()
    }

    /// A word of the stream itself.
    ///
    /// # Errors
    /// [`Unread`].
    pub(super) fn say(&self, bytes: Bytes) -> Result<(), Unread> {
        self.sending.say(bytes)
    }

    /// The pair was proved, and the peer takes our stanzas here. Says whether
    /// any will come this way: not where the pair has a link already.
    pub(super) fn begin(&mut self, pair: &Pair, stands: Stands) -> bool {
        self.link = self.links.adopt(pair, stands);
        match &self.link {
            Some(link) => {
                self.sending.carry(link.outbox.bytes_max());
                let config = &self.links.trust().config;
                self.pace = Pace::new(config.outgoing_rate(pair.theirs.as_str()));
            }
            None => self.refused = Some(pair.clone()),
        }
        self.link.is_some()
    }

    /// The pair for which no link was to be had; only once.
    pub(super) fn take_refused(&mut self) -> Option<Pair> {
        self.refused.take()
    }

    /// The stream before goes on here: its link, and what the peer may not have
    /// of it.
    ///
    /// # Errors
    /// [`TooHigh`].
    pub(super) fn go_on(&mut self, mut before: Reverse, h: u32) -> Result<(), TooHigh> {
        if let Some(link) = before.link.take() {
            self.sending.carry(link.outbox.bytes_max());
            (self.link, self.is_retired) = (Some(link), before.is_retired);
            self.pace = std::mem::take(&mut before.pace);
        }
        let window = before.sending.take_window().unwrap_or_default();
        self.sending.go_on(window, h)?;
        self.end_if_done();
        Ok(())
    }

    /// The link, if there is one.
    pub(super) fn link(&self) -> Option<Arc<Link<Held>>> {
        self.link.clone()
    }

    /// A stanza of the peer was taken.
    pub(super) fn note_stanza(&self) {
        if let Some(link) = &self.link {
            link.note_stanza();
        }
    }

    /// Whether what comes on this stream is not read now.
    pub(super) fn note_unread(&self, is_unread: bool) {
        if let Some(link) = &self.link {
            link.note_unread(is_unread);
        }
    }

    /// From here on the peer counts.
    pub(super) fn count(&mut self) {
        self.sending.count();
    }

    /// The peer has so many. Says whether the link has ended by that.
    ///
    /// # Errors
    /// [`TooHigh`].
    pub(super) fn acknowledge(&mut self, h: u32) -> Result<bool, TooHigh> {
        self.sending.acknowledge(h)?;
        Ok(self.end_if_done())
    }

    /// The next event; without a link there is none. A peer that is not read
    /// now answers nothing. Safe to cancel.
    pub(super) async fn next(&self, is_unread: bool) -> Event {
        let Some(link) = self.link.as_ref() else { return pending().await };
        let answer = self.links.trust().config.write_timeout.get();
        let late = async {
            match self.sending.asked().filter(|_| !is_unread) {
                Some(asked) => sleep(answer.saturating_sub(asked.elapsed())).await,
                None => pending().await,
            }
        };
        let held = self.pace.held_until(link).filter(|_| !self.is_retired);
        let slower = async {
            match held {
                Some(until) => sleep_until(until.into()).await,
                None => pending().await,
            }
        };
        let has_room =
            !self.is_retired && held.is_none() && self.sending.has_room(link.outbox.bytes_max());
        let (mut taken, pieces_max) = (VecDeque::new(), self.pace.pieces_max());
        let take = poll_fn(|cx| link.outbox.poll_take_some(cx, &mut taken, pieces_max));
        tokio::select! {
            work = take, if has_room => match work {
                Work::Write => Event::Taken(taken),
                Work::Finish(_) => Event::Retire,
            },
            () = slower => Event::Taken(VecDeque::new()),
            () = link.end.notified(), if !self.is_retired => Event::Retire,
            () = late => Event::Silent,
        }
    }

    /// These go out.
    pub(super) fn put(&mut self, taken: VecDeque<Item<Held>>) {
        if let Some(link) = &self.link {
            self.pace.count(&self.links.outgoing, link.pair.theirs.as_str(), &taken);
        }
        self.sending.put(taken);
    }

    /// Takes what still waits for the link, and nothing behind it.
    pub(super) fn take_last(&mut self) {
        let Some(link) = self.link.as_ref().filter(|_| !self.is_retired) else { return };
        self.is_retired = true;
        self.links.retire(link);
        let last = link.outbox.close();
        self.sending.put(last);
    }

    /// As [`Self::take_last`], and the link ends as soon as the peer has all of
    /// it. Says whether it has.
    ///
    /// # Errors
    /// What the socket says; the connection is then of no more use.
    pub(super) async fn retire(&mut self, connection: &mut Connection<Held>) -> io::Result<bool> {
        self.take_last();
        if !self.sending.is_counted() {
            // nobody says what it has: what was written counts
            connection.flush(self.sending.wire()).await?;
        }
        Ok(self.end_if_done())
    }

    fn end_if_done(&mut self) -> bool {
        if !self.is_retired || !self.sending.is_acknowledged() {
            return false;
        }
        let Some(link) = self.link.take() else { return false };
        debug!(theirs = %link.pair.theirs, "a link by a stream that has come has ended");
        self.links.give_up(&link, Vec::new());
        true
    }

    /// The last words, behind what was given to us.
    pub(super) fn finish(&self, words: Bytes) {
        self.sending.wire().finish(words);
    }

    /// The last words to a peer that reads no stanzas any more. Gives back what
    /// is not written for that.
    pub(super) fn abort(&self, words: Bytes) -> Vec<Item<Held>> {
        match &self.link {
            Some(_) => self.sending.wire().abort(words),
            None => {
                self.finish(words);
                Vec::new()
            }
        }
    }

    /// What comes for the link waits for the end of the stream.
    pub(super) fn stop(&mut self) {
        if let Some(link) = self.link.as_ref().filter(|_| !self.is_retired) {
            self.is_retired = true;
            self.links.retire(link);
        }
    }

    /// The stream has ended; `unwritten` was taken from the wire in vain. What
    /// the peer may not have is planned again.
    pub(super) fn end(&mut self, unwritten: Vec<Item<Held>>) {
        let left = self.sending.left(unwritten);
        if let Some(link) = self.link.take() {
            self.links.give_up(&link, left);
        }
    }
}

impl Drop for Reverse {
    /// Whoever drops the stream loses nothing.
    fn drop(&mut self) {
        self.end(Vec::new());
    }
}
