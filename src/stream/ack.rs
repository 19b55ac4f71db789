//! What was sent and is not acknowledged yet (XEP-0198 §4): a count and the
//! pieces behind it. Between servers now; nothing here knows of servers.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::xmpp::namespaces::STREAM_MANAGEMENT;

/// Pieces that the peer may not have.
#[derive(Debug)]
pub struct Window<I> {
    pieces: VecDeque<(I, usize)>,
    bytes: usize,
    /// Acknowledged in all, as the peer counts: it starts anew after 2^32.
    acknowledged: u32,
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

/// Count from now on, please.
pub fn enable() -> Bytes {
    format!("<enable xmlns='{STREAM_MANAGEMENT}'/>").into()
}

/// We count.
pub fn enabled() -> Bytes {
    format!("<enabled xmlns='{STREAM_MANAGEMENT}'/>").into()
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
    fn the_count_starts_anew_after_its_end() {
        let mut window = Window { acknowledged: u32::MAX, ..Window::default() };
        window.push("a", 1);
        window.push("b", 1);
        assert_eq!(window.acknowledge(0), Ok(vec!["a"]));
        assert_eq!(window.acknowledge(1), Ok(vec!["b"]));
    }
}
