//! Which versions of the mesh's protocol this software speaks: its own, and
//! the one before, so that nodes can be replaced one by one.
//!
//! Two nodes agree on the newest that both speak, by ALPN (RFC 7301) in the
//! TLS handshake; protocol 1 had no ALPN yet. What changed:
//!
//! - 1: the first.
//! - 2: who is greeted hears why he is not let in; a node asks before it
//!   comes; frames name the protocol they are written in.

use std::fmt;

/// One version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(u8);

impl Protocol {
    /// The oldest that we speak.
    pub const OLDEST: Self = Self(1);
    /// The newest that we speak.
    pub const NEWEST: Self = Self(2);

    /// The one with this number, if we speak it.
    pub fn new(number: u8) -> Option<Self> {
        (Self::OLDEST.0..=Self::NEWEST.0).contains(&number).then_some(Self(number))
    }

    /// Its number, as it is written.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its name in ALPN; protocol 1 has none.
    pub(super) fn alpn(self) -> Option<Vec<u8>> {
        (self.0 > 1).then(|| format!("jabiru/{}", self.0).into_bytes())
    }

    /// Those that we offer, the best first.
    pub(super) fn offered(newest: Self) -> Vec<Vec<u8>> {
        (Self::OLDEST.0..=newest.0).rev().filter_map(|number| Self(number).alpn()).collect()
    }

    /// What two nodes have agreed on.
    pub(super) fn agreed(alpn: Option<&[u8]>, newest: Self) -> Option<Self> {
        let Some(alpn) = alpn else { return Self::new(1) };
        let ours = (Self::OLDEST.0..=newest.0).map(Self);
        ours.rev().find(|protocol| protocol.alpn().as_deref() == Some(alpn))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_understood() {
        assert_eq!(Protocol::offered(Protocol::NEWEST), [b"jabiru/2"]);
        assert_eq!(Protocol::offered(Protocol::OLDEST), Vec::<Vec<u8>>::new());
        let agreed = |alpn| Protocol::agreed(alpn, Protocol::NEWEST).map(Protocol::number);
        assert_eq!(agreed(Some(&b"jabiru/2"[..])), Some(2));
        assert_eq!(agreed(None), Some(1));
        assert_eq!(agreed(Some(&b"jabiru/9"[..])), None);
        assert_eq!(Protocol::agreed(Some(b"jabiru/2"), Protocol::OLDEST), None);
    }
}
