//! What a client that nobody looks at need not be woken for (XEP-0352): the
//! latest presence of each sender waits until something worth it comes.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::xmpp::kind::{Kind, PresenceType};
use crate::xmpp::stanza::Stanza;

/// Presences that may wait; one more, and all are written. A guess: a large
/// roster.
const KEPT_MAX: usize = 500;

/// What waits for an inactive client.
#[derive(Debug, Default)]
pub struct Inactive {
    /// Whether its client has said that nobody looks.
    pub is_inactive: bool,
    /// By sender, with the order in which they came.
    kept: BTreeMap<Box<str>, (u64, Bytes)>,
    count: u64,
}

impl Inactive {
    /// Keeps a stanza that can wait; gives back one that cannot.
    pub fn keep(&mut self, bytes: Bytes) -> Option<Bytes> {
        if !self.is_inactive || !bytes.starts_with(b"<presence") || self.kept.len() >= KEPT_MAX {
            return Some(bytes);
        }
        let Ok(stanza) = Stanza::parse_bytes(bytes.clone()) else { return Some(bytes) };
        let can_wait = matches!(
            stanza.kind,
            Kind::Presence(PresenceType::Available | PresenceType::Unavailable)
        );
        let Some(from) = stanza.from.filter(|_| can_wait) else { return Some(bytes) };
        self.count += 1;
        self.kept.insert(from.as_str().into(), (self.count, bytes));
        None
    }

    /// All that waits, in its order.
    pub fn release(&mut self) -> Vec<Bytes> {
        let mut kept: Vec<_> = std::mem::take(&mut self.kept).into_values().collect();
        kept.sort_unstable_by_key(|(order, _)| *order);
        kept.into_iter().map(|(_, bytes)| bytes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(inactive: &mut Inactive, text: &'static str) -> bool {
        inactive.keep(Bytes::from_static(text.as_bytes())).is_none()
    }

    #[test]
    fn only_presence_waits_and_only_the_latest_of_each_sender() {
        let mut inactive = Inactive::default();
        assert!(!keep(&mut inactive, "<presence from='a@b/c'/>"));
        inactive.is_inactive = true;
        assert!(keep(&mut inactive, "<presence from='a@b/c'/>"));
        assert!(keep(&mut inactive, "<presence from='d@b/c'/>"));
        assert!(keep(&mut inactive, "<presence from='a@b/c' type='unavailable'/>"));
        assert!(!keep(&mut inactive, "<presence from='a@b' type='subscribe'/>"));
        assert!(!keep(&mut inactive, "<message from='a@b/c'><body/></message>"));
        assert_eq!(
            inactive.release(),
            ["<presence from='d@b/c'/>", "<presence from='a@b/c' type='unavailable'/>"]
        );
        assert!(inactive.release().is_empty());
    }
}
