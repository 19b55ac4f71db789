//! Our stanzas on their way through one stream: between the queue of a link and
//! the socket, and with them what is not acknowledged yet, if the peer counts
//! stanzas (XEP-0198). What the peer may not have is given back at the end.

use std::time::Instant;

use bytes::Bytes;

use crate::net::outbox::{Item, Outbox};
use crate::stream::ack::{self, TooHigh, Window};

/// What lies between the queue of a link and its socket. A guess: what one
/// write takes of large stanzas.
const WIRE_BYTES_MAX: usize = 64 << 10;

/// What is written to one stream.
#[derive(Debug)]
pub struct Sending<T> {
    /// What the connection takes next.
    wire: Outbox<T>,
    /// What the peer may not have, if it says what it has.
    window: Option<Window<Item<T>>>,
    /// Since when an answer is awaited.
    asked: Option<Instant>,
    /// What may lie on the wire when one more word of the stream itself comes.
    words_bytes_max: usize,
}

/// The peer lets us say so much without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not read what it asks for")]
pub struct Unread;

impl<T: Default> Sending<T> {
    /// Nothing was written. Words of the stream itself find room while no more
    /// than `words_bytes_max` waits.
    pub fn new(words_bytes_max: usize) -> Self {
        // its bounds are `has_room` and `say`
        Self { wire: Outbox::new(usize::MAX), window: None, asked: None, words_bytes_max }
    }

    /// What the connection takes next.
    pub fn wire(&self) -> &Outbox<T> {
        &self.wire
    }

    /// Stanzas are on their way as well, up to `queue_bytes_max` of them at a
    /// time: they do not count against words.
    pub fn carry(&mut self, queue_bytes_max: usize) {
        // one queue, and what a queue was given over its limit by the link before
        let stanzas = WIRE_BYTES_MAX.saturating_add(queue_bytes_max.saturating_mul(4));
        self.words_bytes_max = self.words_bytes_max.saturating_add(stanzas);
    }

    /// From now on the peer counts.
    pub fn count(&mut self) {
        self.window = Some(Window::default());
    }

    /// The stream before goes on here: the peer has so many of what it had not
    /// acknowledged, and gets the rest again.
    ///
    /// # Errors
    /// [`TooHigh`].
    pub fn go_on(&mut self, mut window: Window<Item<T>>, h: u32) -> Result<(), TooHigh> {
        let known = window.acknowledge(h);
        for item in window.pieces() {
            self.write(item.bytes.clone(), T::default());
        }
        self.window = Some(window);
        self.put([]);
        known.map(drop)
    }

    /// What the peer may not have, for a stream that goes on elsewhere.
    pub fn take_window(&mut self) -> Option<Window<Item<T>>> {
        self.asked = None;
        self.window.take()
    }

    /// Stanzas that the peer has acknowledged, if it counts.
    pub fn acknowledged(&self) -> Option<u32> {
        self.window.as_ref().map(Window::acknowledged)
    }

    /// It does not after all.
    pub fn uncount(&mut self) {
        (self.window, self.asked) = (None, None);
    }

    /// Whether the peer counts.
    pub fn is_counted(&self) -> bool {
        self.window.is_some()
    }

    /// Whether more may be taken from a queue of so many bytes.
    pub fn has_room(&self, queue_bytes_max: usize) -> bool {
        let unacknowledged = self.window.as_ref().map_or(0, Window::bytes);
        self.wire.len() < WIRE_BYTES_MAX && unacknowledged < queue_bytes_max
    }

    /// These go out, and are asked for.
    pub fn put(&mut self, taken: impl IntoIterator<Item = Item<T>>) {
        for item in taken {
            let Some(window) = &mut self.window else {
                self.write(item.bytes, item.token);
                continue;
            };
            let bytes = item.bytes.clone();
            window.push(item, bytes.len());
            self.write(bytes, T::default());
        }
        let is_open = self.window.as_ref().is_some_and(|window| !window.is_empty());
        if is_open && self.asked.is_none() {
            self.asked = Some(Instant::now());
            self.write(ack::request(), T::default());
        }
    }

    /// A word of the stream itself.
    ///
    /// # Errors
    /// [`Unread`].
    pub fn say(&self, bytes: Bytes) -> Result<(), Unread> {
        if self.wire.len() > self.words_bytes_max {
            return Err(Unread);
        }
        self.write(bytes, T::default());
        Ok(())
    }

    /// Behind the last words nothing is written any more; it is in the window,
    /// or waits with the link.
    fn write(&self, bytes: Bytes, token: T) {
        let _ = self.wire.push(bytes, token);
    }

    /// The peer has taken so many in all.
    ///
    /// # Errors
    /// [`TooHigh`].
    pub fn acknowledge(&mut self, h: u32) -> Result<(), TooHigh> {
        let Some(window) = &mut self.window else { return Ok(()) };
        window.acknowledge(h)?;
        self.asked = None;
        // what was sent behind the question
        self.put([]);
        Ok(())
    }

    /// Since when an answer is awaited.
    pub fn asked(&self) -> Option<Instant> {
        self.asked
    }

    /// Whether the peer has all, as far as it says so.
    pub fn is_acknowledged(&self) -> bool {
        self.window.as_ref().is_none_or(Window::is_empty)
    }

    /// The stream has ended: all that the peer may not have, in order.
    /// `unwritten` was taken from the wire and not written.
    pub fn left(&mut self, mut unwritten: Vec<Item<T>>) -> Vec<Item<T>> {
        let waits = self.wire.close();
        if let Some(mut window) = self.window.take() {
            return window.take();
        }
        unwritten.extend(waits);
        unwritten.retain(|item| is_stanza(&item.bytes));
        unwritten
    }
}

/// What is said between stanzas is not said again by another link.
fn is_stanza(bytes: &Bytes) -> bool {
    [&b"<message"[..], b"<presence", b"<iq"].iter().any(|name| bytes.starts_with(name))
}
