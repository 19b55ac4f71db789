//! A link that we have opened, to its end: what waits for it is written, what
//! its peer says is heard. What the peer may not have is given back.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::net::connection::{Connection, Turn};
use crate::net::outbox::{Item, Work};
use crate::s2s_manager::heard::Heard;
use crate::s2s_manager::link::{Link, Resume};
use crate::s2s_manager::links::Links;
use crate::s2s_manager::outgoing::Established;
use crate::s2s_manager::pace::Pace;
use crate::s2s_manager::sending::{Sending, Unread};
use crate::s2s_manager::trust::View;
use crate::stream::ack::{self, Acks, Previous, TooHigh, Window};
use crate::stream::server::outgoing::{Fault, Input, Outgoing, Output};
use crate::xml::framer::{Frame, Framer};
use crate::xmpp::error::{StreamCondition, StreamError};

/// Words of the stream itself that may wait. A guess, as for one that has come.
const WORDS_BYTES_MAX: usize = 64 << 10;

/// How long a server may take for our last words, and to say what it has. A
/// guess.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(5);

/// The end of a stream on which all is well.
pub(super) const LAST_WORDS: Bytes = Bytes::from_static(b"</stream:stream>");

/// Why a link that was open ends.
#[derive(Debug)]
pub(super) enum End {
    /// We want it to: it was silent, or another node has one.
    Wanted,
    /// The peer wants it to.
    Closed,
    /// The peer says what it may not say: these are our last words.
    Wrong(Bytes, Fault),
    /// The connection broke, or nobody answers.
    Lost,
}

/// How long a link waits for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For something to send.
    pub(super) idle: Duration,
    /// For an answer to what was sent.
    pub(super) answer: Duration,
    /// Until their certificate is not valid any more, where that is their
    /// proof.
    pub(super) until: Option<Instant>,
}

/// A link that is being written to.
pub(super) struct Writer<'a, T> {
    links: &'a Links<T>,
    link: &'a Link<T>,
    connection: Connection<T>,
    framer: Framer,
    machine: Outgoing,
    view: View,
    sending: Sending<T>,
    /// Where its own stanzas go, if it may send any; nothing: they are not
    /// taken any more.
    heard: Option<mpsc::Sender<Box<Heard>>>,
    /// By which id the stream may go on, if its connection is lost.
    kept: Option<String>,
    patience: Patience,
    /// How fast it is written to, and what comes the other way is read.
    writes: Pace,
    reads: Pace,
}

impl From<Unread> for End {
    fn from(_: Unread) -> Self {
        Self::Lost
    }
}

impl From<TooHigh> for End {
    fn from(_: TooHigh) -> Self {
        let error = StreamError::from(StreamCondition::UndefinedCondition);
        Self::Wrong(error.last_words(), Fault::Spoke(error))
    }
}

impl<'a, T: Default + Unpin> Writer<'a, T> {
    pub(super) fn new(
        links: &'a Links<T>,
        link: &'a Link<T>,
        established: Box<Established<T>>,
        heard: Option<mpsc::Sender<Box<Heard>>>,
        patience: Patience,
    ) -> Self {
        let Established { connection, framer, machine, view, .. } = *established;
        let mut sending = Sending::new(WORDS_BYTES_MAX);
        sending.carry(link.outbox.bytes_max());
        let (config, theirs) = (&links.trust.config, link.pair.theirs.as_str());
        Self {
            links,
            link,
            connection,
            framer,
            machine,
            view,
            sending,
            heard,
            kept: None,
            patience,
            writes: Pace::new(config.outgoing_rate(theirs)),
            reads: Pace::new(config.incoming_rate(theirs)),
        }
    }

    /// Begins to count, if the peer does, or goes on with it.
    fn begin(&mut self, acks: Acks) -> Result<(), End> {
        match (acks, &self.link.resume) {
            (Acks::None, _) | (Acks::Resumed(_), None) => {}
            (Acks::Offered, _) => {
                self.sending.say(ack::enable())?;
                self.sending.count();
            }
            (Acks::Resumed(h), Some(Resume { previous, unacknowledged })) => {
                self.kept = Some(previous.id.clone());
                let mut window = Window::going_on(previous.acknowledged);
                for item in self.link.take_first(*unacknowledged) {
                    let bytes = item.bytes.len();
                    window.push(item, bytes);
                }
                self.sending.go_on(window, h)?;
            }
        }
        Ok(())
    }

    /// Writes until the link ends.
    pub(super) async fn run(&mut self, acks: Acks) -> End {
        if let Err(end) = self.begin(acks) {
            return end;
        }
        loop {
            if let Err(end) = self.hear().await {
                return end;
            }
            let theirs = self.link.pair.theirs.as_str();
            let held = self.writes.held_until(self.link);
            let unread = self.reads.unread_until();
            self.link.note_unread(unread.is_some());
            let rest = match held.into_iter().chain(unread).min() {
                // what waits is not idle
                Some(held) => held.saturating_duration_since(Instant::now()),
                None => self.patience.idle.saturating_sub(self.link.silent()),
            };
            // what is not read does not answer
            let asked = self.sending.asked().filter(|_| unread.is_none());
            let rest = match asked {
                Some(asked) => rest.min(self.patience.answer.saturating_sub(asked.elapsed())),
                None => rest,
            };
            let until =
                self.patience.until.map(|until| until.saturating_duration_since(Instant::now()));
            let rest = rest.min(until.unwrap_or(Duration::MAX));
            let mut taken = VecDeque::new();
            let has_room = self.sending.has_room(self.link.outbox.bytes_max()) && held.is_none();
            let pieces_max = self.writes.pieces_max();
            tokio::select! {
                turn = self.connection.turn_held(self.sending.wire(), unread.is_some()) => match turn {
                    Ok(Turn::Read) => {}
                    // a stream that was not closed goes on
                    Ok(Turn::Ended) if self.kept.is_some() => return End::Lost,
                    Ok(Turn::Ended) => return End::Closed,
                    Ok(Turn::Finished) => return End::Wanted,
                    Err(error) => {
                        debug!(%error, "a connection to a server has ended");
                        return End::Lost;
                    }
                },
                work = poll_fn(|cx| self.link.outbox.poll_take_some(cx, &mut taken, pieces_max)),
                    if has_room =>
                {
                    if let Work::Finish(_) = work {
                        return End::Wanted;
                    }
                }
                () = self.link.end.notified() => return End::Wanted,
                () = sleep(rest) => {
                    if asked.is_some_and(|asked| asked.elapsed() >= self.patience.answer) {
                        debug!("a server does not say what it has");
                        return End::Lost;
                    }
                    let is_over = self.patience.until.is_some_and(|until| until <= Instant::now());
                    let is_idle = held.or(unread).is_none() && self.link.silent() >= self.patience.idle;
                    if is_over || is_idle {
                        return End::Wanted;
                    }
                }
            }
            self.writes.count(&self.links.outgoing, theirs, &taken);
            self.sending.put(taken);
        }
    }

    /// Everything that the peer has said; of what is over its rate nothing more.
    async fn hear(&mut self) -> Result<(), End> {
        while self.reads.unread_until().is_none() {
            let mut out = Vec::new();
            match self.framer.next(&mut self.connection.buffer) {
                Ok(None) => return Ok(()),
                Ok(Some(Frame::Close)) => return Err(End::Closed),
                Ok(Some(Frame::Element(raw))) => {
                    self.machine.handle(Input::Element(&raw), &self.view, &mut out);
                    if matches!(out.first(), Some(Output::Stanza(_))) {
                        let theirs = self.link.pair.theirs.as_str();
                        self.reads.pass(&self.links.incoming, theirs, raw.bytes.len(), 1);
                    }
                }
                Ok(Some(Frame::Open(_))) | Err(_) => {
                    let error = StreamError::from(StreamCondition::BadFormat);
                    return Err(End::Wrong(error.last_words(), Fault::Spoke(error)));
                }
            }
            for wish in out {
                self.act(wish).await?;
            }
        }
        Ok(())
    }

    async fn act(&mut self, wish: Output) -> Result<(), End> {
        match wish {
            Output::Close(words, fault) => return Err(End::Wrong(words, fault)),
            Output::Send(bytes) => self.sending.say(bytes)?,
            Output::Handled(h) => self.sending.acknowledge(h)?,
            Output::Uncounted => self.sending.uncount(),
            Output::Kept(id) => self.kept = Some(id),
            Output::Stanza(stanza) => self.give(Heard::Stanza(stanza)).await,
            Output::Answer(stanza) => self.give(Heard::Answer(stanza)).await,
            Output::Established(..) | Output::Answered(_) | Output::Restart | Output::Secure => {}
        }
        Ok(())
    }

    /// Waits while too much of it waits above.
    async fn give(&self, heard: Heard) {
        let Some(up) = &self.heard else { return };
        self.link.note_stanza();
        if up.send(Box::new(heard)).await.is_err() {
            debug!("nobody is left who could take what a server says");
        }
    }

    /// Ends the stream as `end` wants it; gives back, in order, what the peer
    /// may not have, and how the stream may go on.
    pub(super) async fn finish(mut self: Box<Self>, end: &End) -> (Vec<Item<T>>, Option<Resume>) {
        let previous = match end {
            End::Lost => self.previous(),
            _ => None,
        };
        // nothing is held back at the end
        (self.reads, self.writes) = (Pace::default(), Pace::default());
        let mut unwritten = Vec::new();
        match end {
            End::Wanted => {
                // what waits is still written, and what can be is acknowledged
                let _ = timeout(FAREWELL_TIME_MAX, self.settle()).await;
                self.sending.wire().finish(self.last_words(LAST_WORDS));
                if self.machine.handled().is_some() {
                    // what comes behind that the peer sends again
                    self.heard = None;
                }
            }
            // it does not read any more
            End::Closed => unwritten = self.sending.wire().abort(self.last_words(LAST_WORDS)),
            End::Wrong(words, _) => {
                unwritten = self.sending.wire().abort(self.last_words(words.clone()));
            }
            End::Lost => {}
        }
        if !matches!(end, End::Lost) {
            // a server that does not read misses them
            let written = self.connection.write_out(self.sending.wire());
            let _ = timeout(FAREWELL_TIME_MAX, written).await;
        }
        if matches!(end, End::Wanted) && self.heard.is_some() {
            // what it has said without knowing is not lost (RFC 6120 §4.4)
            let _ = timeout(FAREWELL_TIME_MAX, self.hear_out()).await;
        }
        let Self { connection, mut sending, .. } = *self;
        let mut left = match end {
            End::Lost => connection.abandon(),
            _ => connection.shutdown().await,
        };
        left.extend(unwritten);
        let left = sending.left(left);
        let resume = previous.map(|previous| Resume { previous, unacknowledged: left.len() });
        (left, resume)
    }

    /// What is remembered of a stream that may go on.
    fn previous(&self) -> Option<Previous> {
        let (id, handled) = (self.kept.clone()?, self.machine.handled()?);
        Some(Previous { id, handled, acknowledged: self.sending.acknowledged()? })
    }

    /// Before the end, a peer that counts hears what we have of its stanzas.
    fn last_words(&self, words: Bytes) -> Bytes {
        match self.machine.handled() {
            Some(handled) => [&ack::answer(handled)[..], &words].concat().into(),
            None => words,
        }
    }

    /// Until the peer has all that was given to the link, as far as it says so.
    async fn settle(&mut self) {
        let taken = self.link.outbox.close();
        self.sending.put(taken);
        while !self.sending.is_acknowledged() {
            match self.connection.turn(self.sending.wire()).await {
                Ok(Turn::Read) => {}
                Ok(Turn::Ended | Turn::Finished) | Err(_) => return,
            }
            if self.hear().await.is_err() {
                return;
            }
        }
    }

    /// Takes what still comes, until the peer closes its stream.
    async fn hear_out(&mut self) {
        while self.hear().await.is_ok() {
            match self.connection.read().await {
                Ok(Turn::Read) => {}
                Ok(Turn::Ended | Turn::Finished) | Err(_) => return,
            }
        }
    }
}
