//! What comes back on a stream that carries our stanzas: what the peer has of
//! them, and stanzas of its own where both directions use the stream
//! (XEP-0288).

use crate::stream::ack;
use crate::stream::server::outgoing::{Fault, Output, unexpected};
use crate::stream::server::said::{self, Said};
use crate::stream::server::{Pair, World};
use crate::xml::head::Raw;
use crate::xmpp::error::StreamCondition;
use crate::xmpp::jid::{Domain, Jid};
use crate::xmpp::namespaces::{SERVER, STREAM_MANAGEMENT};

/// The way back on a stream that we have opened.
#[derive(Debug, Default)]
pub(super) struct Back {
    /// We have said that the peer may use it.
    pub(super) is_open: bool,
    /// Stanzas that were taken, since the peer counts (XEP-0198).
    pub(super) handled: Option<u32>,
}

impl Back {
    /// Something that the peer says after the proof.
    pub(super) fn hear(
        &mut self,
        raw: &Raw,
        pair: &Pair,
        world: &dyn World,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let number = |name: &str| raw.attribute(name).and_then(|text| text.parse().ok());
        match (raw.name(), &*raw.ns(SERVER)) {
            ("a", STREAM_MANAGEMENT) => {
                out.push(Output::Handled(number("h").ok_or_else(unexpected)?));
            }
            ("r", STREAM_MANAGEMENT) => {
                out.push(Output::Send(ack::answer(self.handled.unwrap_or(0))));
            }
            ("enabled", STREAM_MANAGEMENT) => self.handled = Some(0),
            ("failed", STREAM_MANAGEMENT) => out.push(Output::Uncounted),
            (_, SERVER) if self.is_open => {
                // no more is proved than that the peer is who we looked for
                let speaks = |from: &Jid, ours: &Domain| {
                    from.domain() == pair.theirs.as_str() && *ours == pair.ours
                };
                let said = said::read(raw, &pair.ours, speaks, world).map_err(Fault::Spoke)?;
                self.handled = self.handled.map(|handled| handled.wrapping_add(1));
                match said {
                    Said::Stanza(stanza) => out.push(Output::Stanza(stanza)),
                    Said::Wrong(answer) => out.extend(answer.map(Output::Answer)),
                }
            }
            // a stanza, on a stream that carries only ours (RFC 6120 §4.5)
            (_, SERVER) => return Err(Fault::Spoke(StreamCondition::NotAuthorized.into())),
            _ => {}
        }
        Ok(())
    }
}
