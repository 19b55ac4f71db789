//! What was sent and is not acknowledged yet (XEP-0198 §4): a count and the
//! pieces behind it. Between servers now; nothing here knows of servers.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::xml::escape::escape_attribute;
use crate::xmpp::namespaces::STREAM_MANAGEMENT;

/// Pieces that the peer may not have.
#[derive(Debug)]
pub struct Window<I> {
    pieces: VecDeque<(I, usize)>,
    bytes: usize,
    /// Acknowledged in all, as the peer counts: it starts anew after 2^32.
    acknowledged: u32,
}

/// Whether a peer acknowledges our stanzas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// It can, if it is asked to.
    Offered,
    /// It cannot.
    None,
    /// It does so on, where the stream before has ended: it has so many.
    Resumed(u32),
}

/// A stream whose connection was lost and that may go on by another (XEP-0198
/// §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// By which the peer knows it.
    pub id: String,
    /// Stanzas of the peer that were taken.
    pub handled: u32,
    /// Stanzas that the peer has acknowledged.
    pub acknowledged: u32,
}

/// The peer says that it has more than was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer acknowledges what was not sent")]
pub struct TooHigh;

impl<I> Default for Window<I> {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), bytes: 0, acknowledged: 0 }
    }
}

impl<I> Window<I> {
    /// Of a stream that goes on, of which so many were acknowledged.
    pub fn going_on(acknowledged: u32) -> Self {
        Self { acknowledged, ..Self::default() }
    }

    /// Acknowledged in all.
    pub fn acknowledged(&self) -> u32 {
        self.acknowledged
    }

    /// What the peer may not have, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &I> {
        self.pieces.iter().map(|(piece, _)| piece)
    }

    /// One more is sent.
    pub fn push(&mut self, piece: I, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.pieces.push_back((piece, bytes));
    }

    /// The peer has handled `h` in all; gives back those that it has now.
    ///
    /// # Errors
    /// [`TooHigh`].
    pub fn acknowledge(&mut self, h: u32) -> Result<Vec<I>, TooHigh> {
        let count = usize::try_from(h.wrapping_sub(self.acknowledged)).map_err(|_| TooHigh)?;
        if count > self.pieces.len() {
            return Err(TooHigh);
        }
        self.acknowledged = h;
        let done = self.pieces.drain(..count);
        let mut bytes = 0;
        let pieces = done.map(|(piece, length)| {
            bytes += length;
            piece
        });
        let pieces = pieces.collect();
        self.bytes = self.bytes.saturating_sub(bytes);
        Ok(pieces)
    }

    /// All that the peer may not have, in order.
    pub fn take(&mut self) -> Vec<I> {
        self.bytes = 0;
        self.pieces.drain(..).map(|(piece, _)| piece).collect()
    }

    /// Bytes of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the peer has all.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// Count from now on, please, and let the stream go on if its connection is
/// lost.
pub fn enable() -> Bytes {
    format!("<enable xmlns='{STREAM_MANAGEMENT}' resume='true'/>").into()
}

/// We count. `kept`: by which id, and for how many seconds, the stream may go on.
pub fn enabled(kept: Option<(&str, u64)>) -> Bytes {
    match kept {
        Some((id, seconds)) => format!(
            "<enabled xmlns='{STREAM_MANAGEMENT}' id='{id}' resume='true' max='{seconds}'/>"
        ),
        None => format!("<enabled xmlns='{STREAM_MANAGEMENT}'/>"),
    }
    .into()
}

/// The stream before may go on here; we have so many.
pub fn resume(id: &str, h: u32) -> Bytes {
    about("resume", id, h)
}

/// It does; we have so many.
pub fn resumed(id: &str, h: u32) -> Bytes {
    about("resumed", id, h)
}

fn about(name: &str, id: &str, h: u32) -> Bytes {
    let mut out = format!("<{name} xmlns='{STREAM_MANAGEMENT}' h='{h}' previd='").into_bytes();
    escape_attribute(id, &mut out);
    out.extend_from_slice(b"'/>");
    out.into()
}

/// We do not.
pub fn failed(condition: &str) -> Bytes {
    let errors = crate::xmpp::namespaces::STANZA_ERRORS;
    format!("<failed xmlns='{STREAM_MANAGEMENT}'><{condition} xmlns='{errors}'/></failed>").into()
}

/// How many have you?
pub fn request() -> Bytes {
    format!("<r xmlns='{STREAM_MANAGEMENT}'/>").into()
}

/// So many.
pub fn answer(h: u32) -> Bytes {
    format!("<a xmlns='{STREAM_MANAGEMENT}' h='{h}'/>").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_is_given_up_and_no_more_than_was_sent() {
        let mut window = Window::default();
        for piece in ["a", "b", "c"] {
            window.push(piece, 10);
        }
        assert_eq!(window.acknowledge(2), Ok(vec!["a", "b"]));
        assert_eq!(window.acknowledge(2), Ok(vec![]));
        assert_eq!((window.bytes(), window.is_empty()), (10, false));
        assert_eq!(window.acknowledge(4), Err(TooHigh));
        assert_eq!(window.acknowledge(1), Err(TooHigh));
        assert_eq!(window.take(), ["c"]);
        assert!(window.is_empty() && window.bytes() == 0);
    }

    #[test]
    fn a_stream_that_goes_on_counts_on() {
        let mut window = Window::going_on(5);
        for piece in ["a", "b", "c"] {
            window.push(piece, 10);
        }
        assert_eq!(window.acknowledge(7), Ok(vec!["a", "b"]));
        assert_eq!((window.acknowledged(), window.pieces().copied().collect()), (7, vec!["c"]));
        assert_eq!(window.acknowledge(4), Err(TooHigh));
    }

    #[test]
    fn the_count_starts_anew_after_its_end() {
        let mut window = Window { acknowledged: u32::MAX, ..Window::default() };
        window.push("a", 1);
        window.push("b", 1);
        assert_eq!(window.acknowledge(0), Ok(vec!["a"]));
        assert_eq!(window.acknowledge(1), Ok(vec!["b"]));
    }
}
