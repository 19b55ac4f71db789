//! Who has told an instance of a component that it is there: if its node is
//! lost, the instance hears that it has gone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::xmpp::jid::{FullJid, Jid};
use crate::xmpp::kind::{Kind, PresenceType};
use crate::xmpp::stanza::Stanza;

/// Addresses that are remembered of one instance; one more is not, and stays
/// in its room when its node is lost. A guess: a large conference service.
const TOLD_MAX: usize = 100_000;

/// Whom of the instance's addresses each session has told.
#[derive(Debug, Default)]
pub(super) struct Told {
    by: BTreeMap<FullJid, BTreeSet<Jid>>,
    count: usize,
}

impl Told {
    /// The instance is given a stanza.
    pub(super) fn note(&mut self, stanza: &Bytes) {
        if !stanza.starts_with(b"<presence") {
            return;
        }
        let Ok(stanza) = Stanza::parse_bytes(stanza.clone()) else { return };
        let Some(from) = stanza.from.as_ref().and_then(Jid::to_full) else { return };
        let Some(to) = stanza.to else { return };
        match stanza.kind {
            Kind::Presence(PresenceType::Available) if self.count < TOLD_MAX => {
                self.count += usize::from(self.by.entry(from).or_default().insert(to));
            }
            Kind::Presence(PresenceType::Unavailable) => {
                let Some(all) = self.by.get_mut(&from) else { return };
                self.count -= usize::from(all.remove(&to));
                if all.is_empty() {
                    self.by.remove(&from);
                }
            }
            _ => {}
        }
    }

    /// Whom a session has told, that is lost.
    pub(super) fn take(&mut self, session: &FullJid) -> BTreeSet<Jid> {
        let told = self.by.remove(session).unwrap_or_default();
        self.count -= told.len();
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_gone_is_known() {
        let mut told = Told::default();
        let mut note = |kind: &str, to: &str| {
            told.note(&format!("<presence from='a@im/r' to='{to}'{kind}/>").into());
        };
        note("", "one@gw/a");
        note("", "one@gw/a");
        note("", "two@gw/a");
        note(" type='unavailable'", "one@gw/a");
        note(" type='unavailable'", "three@gw/a");
        note(" type='subscribe'", "four@gw");
        told.note(&Bytes::from_static(b"<message from='a@im/r' to='five@gw'/>"));
        let session = FullJid::parse("a@im/r").expect("an address");
        let left: Vec<String> = told.take(&session).iter().map(ToString::to_string).collect();
        assert_eq!(left, ["two@gw/a"]);
        assert!(told.take(&session).is_empty());
        assert_eq!((told.count, told.by.len()), (0, 0));
    }
}
