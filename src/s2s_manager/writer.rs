//! What is written to an open link: what waits for it, and with it what is not
//! acknowledged yet, if its peer acknowledges stanzas (XEP-0198). What the peer
//! may not have is given back when the link ends.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::net::connection::{Connection, Turn};
use crate::net::outbox::{Item, Outbox, Work};
use crate::s2s_manager::link::Link;
use crate::s2s_manager::outgoing::Established;
use crate::s2s_manager::pace::Pace;
use crate::s2s_manager::trust::View;
use crate::stream::ack::{self, Window};
use crate::stream::server::outgoing::{Acks, Fault, Input, Outgoing, Output};
use crate::xml::framer::{Frame, Framer};
use crate::xmpp::error::{StreamCondition, StreamError};

/// What lies between the queue of a link and its socket. A guess: what one
/// write takes of large stanzas.
const WIRE_BYTES_MAX: usize = 64 << 10;

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
    link: &'a Link<T>,
    connection: Connection<T>,
    framer: Framer,
    machine: Outgoing,
    view: View,
    /// What the connection takes next.
    wire: Outbox<T>,
    /// What the peer may not have, if it says what it has.
    window: Option<Window<Item<T>>>,
    /// Since when an answer is awaited.
    asked: Option<Instant>,
    patience: Patience,
    pace: Pace<'a>,
}

impl<'a, T: Default + Unpin> Writer<'a, T> {
    pub(super) fn new(
        link: &'a Link<T>,
        established: Established<T>,
        acks: Acks,
        patience: Patience,
        pace: Pace<'a>,
    ) -> Self {
        let Established { connection, framer, machine, view, .. } = established;
        let wire = Outbox::new(usize::MAX);
        let window = match acks {
            Acks::Offered => {
                wire.put_back(vec![Item { bytes: ack::enable(), token: T::default() }]);
                Some(Window::default())
            }
            Acks::None => None,
        };
        Self { link, connection, framer, machine, view, wire, window, asked: None, patience, pace }
    }

    /// Writes until the link ends.
    pub(super) async fn run(&mut self) -> End {
        loop {
            if let Err(end) = self.hear() {
                return end;
            }
            let held = self.pace.held_until(self.link);
            let rest = match held {
                // what waits is not idle
                Some(held) => held.saturating_duration_since(Instant::now()),
                None => self.patience.idle.saturating_sub(self.link.silent()),
            };
            let rest = match self.asked {
                Some(asked) => rest.min(self.patience.answer.saturating_sub(asked.elapsed())),
                None => rest,
            };
            let until =
                self.patience.until.map(|until| until.saturating_duration_since(Instant::now()));
            let rest = rest.min(until.unwrap_or(Duration::MAX));
            let mut taken = VecDeque::new();
            let has_room = self.has_room() && held.is_none();
            let pieces_max = self.pace.pieces_max();
            tokio::select! {
                turn = self.connection.turn(&self.wire) => match turn {
                    Ok(Turn::Read) => {}
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
                    if self.asked.is_some_and(|asked| asked.elapsed() >= self.patience.answer) {
                        debug!("a server does not say what it has");
                        return End::Lost;
                    }
                    let is_over = self.patience.until.is_some_and(|until| until <= Instant::now());
                    let is_idle = held.is_none() && self.link.silent() >= self.patience.idle;
                    if is_over || is_idle {
                        return End::Wanted;
                    }
                }
            }
            self.pace.count(&taken);
            self.put(taken);
        }
    }

    fn has_room(&self) -> bool {
        let unacknowledged = self.window.as_ref().map_or(0, Window::bytes);
        self.wire.len() < WIRE_BYTES_MAX && unacknowledged < self.link.outbox.bytes_max()
    }

    /// These go out, and are asked for.
    fn put(&mut self, taken: impl IntoIterator<Item = Item<T>>) {
        for item in taken {
            let Some(window) = &mut self.window else {
                self.say(item.bytes, item.token);
                continue;
            };
            let bytes = item.bytes.clone();
            window.push(item, bytes.len());
            self.say(bytes, T::default());
        }
        let is_open = self.window.as_ref().is_some_and(|window| !window.is_empty());
        if is_open && self.asked.is_none() {
            self.asked = Some(Instant::now());
            self.say(ack::request(), T::default());
        }
    }

    /// The wire has no bound of its own: `has_room` is.
    fn say(&self, bytes: Bytes, token: T) {
        let _ = self.wire.push(bytes, token);
    }

    /// Everything that the peer has said.
    fn hear(&mut self) -> Result<(), End> {
        loop {
            let mut out = Vec::new();
            match self.framer.next(&mut self.connection.buffer) {
                Ok(None) => return Ok(()),
                Ok(Some(Frame::Close)) => return Err(End::Closed),
                Ok(Some(Frame::Element(raw))) => {
                    self.machine.handle(Input::Element(&raw), &self.view, &mut out);
                }
                Ok(Some(Frame::Open(_))) | Err(_) => {
                    let error = StreamError::from(StreamCondition::BadFormat);
                    return Err(End::Wrong(error.last_words(), Fault::Spoke(error)));
                }
            }
            for wish in out {
                self.act(wish)?;
            }
        }
    }

    fn act(&mut self, wish: Output) -> Result<(), End> {
        match wish {
            Output::Close(words, fault) => return Err(End::Wrong(words, fault)),
            Output::Send(bytes) => self.say(bytes, T::default()),
            Output::Handled(h) => {
                let Some(window) = &mut self.window else { return Ok(()) };
                if window.acknowledge(h).is_err() {
                    let error = StreamError::from(StreamCondition::UndefinedCondition);
                    return Err(End::Wrong(error.last_words(), Fault::Spoke(error)));
                }
                self.asked = None;
                // what was sent behind the question
                self.put([]);
            }
            Output::Uncounted => {
                self.window = None;
                self.asked = None;
            }
            Output::Established(..) | Output::Answered(_) | Output::Restart | Output::Secure => {}
        }
        Ok(())
    }

    /// Ends the stream as `end` wants it; gives back, in order, what the peer
    /// may not have.
    pub(super) async fn finish(mut self, end: &End) -> Vec<Item<T>> {
        let mut unwritten = Vec::new();
        match end {
            End::Wanted => {
                // what waits is still written, and what can be is acknowledged
                let _ = timeout(FAREWELL_TIME_MAX, self.settle()).await;
                self.wire.finish(LAST_WORDS);
            }
            // it does not read any more
            End::Closed => unwritten = self.wire.abort(LAST_WORDS),
            End::Wrong(words, _) => unwritten = self.wire.abort(words.clone()),
            End::Lost => {}
        }
        let Self { mut connection, wire, window, .. } = self;
        let mut left = match end {
            End::Lost => connection.abandon(),
            _ => {
                // a server that does not read misses them
                let _ = timeout(FAREWELL_TIME_MAX, connection.write_out(&wire)).await;
                connection.shutdown().await
            }
        };
        if let Some(mut window) = window {
            return window.take();
        }
        left.extend(unwritten);
        left.extend(wire.close());
        left.retain(|item| is_stanza(&item.bytes));
        left
    }

    /// Until the peer has all that was given to the link, as far as it says so.
    async fn settle(&mut self) {
        let taken = self.link.outbox.close();
        self.put(taken);
        while self.window.as_ref().is_some_and(|window| !window.is_empty()) {
            match self.connection.turn(&self.wire).await {
                Ok(Turn::Read) => {}
                Ok(Turn::Ended | Turn::Finished) | Err(_) => return,
            }
            if self.hear().is_err() {
                return;
            }
        }
    }
}

/// What is said between stanzas is not said again by another link.
fn is_stanza(bytes: &Bytes) -> bool {
    [&b"<message"[..], b"<presence", b"<iq"].iter().any(|name| bytes.starts_with(name))
}
