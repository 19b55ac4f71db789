//! What comes back on a stream that carries our stanzas: what the peer has of
//! them, and stanzas of its own where both directions use the stream
//! (XEP-0288).

use bytes::Bytes;

use crate::stream::ack::{self, Acks, Previous};
use crate::stream::server::outgoing::{Fault, Output, unexpected};
use crate::stream::server::said::{self, Said};
use crate::stream::server::{Pair, World};
use crate::xml::head::Raw;
use crate::xmpp::error::StreamCondition;
use crate::xmpp::jid::{Domain, Jid};
use crate::xmpp::namespaces::{SERVER, STREAM_MANAGEMENT};

/// Bytes of an id by which a stream may go on; under a longer one it does not.
/// XEP-0198 §3 allows 4,000.
const ID_BYTES_MAX: usize = 4_000;

/// The way back on a stream that we have opened.
#[derive(Debug, Default)]
pub(super) struct Back {
    /// We have said that the peer may use it.
    pub(super) is_open: bool,
    /// Stanzas that were taken, since the peer counts (XEP-0198).
    pub(super) handled: Option<u32>,
    /// The stream that shall go on here.
    pub(super) previous: Option<Previous>,
}

impl Back {
    /// What is said for the stream before to go on.
    pub(super) fn resume(&self) -> Option<Bytes> {
        self.previous.as_ref().map(|previous| ack::resume(&previous.id, previous.handled))
    }

    /// Whether it does.
    pub(super) fn resumed(&mut self, raw: &Raw) -> Result<Acks, Fault> {
        let number = raw.attribute("h").and_then(|h| h.parse().ok());
        match (raw.name(), &*raw.ns(SERVER), self.previous.take()) {
            ("resumed", STREAM_MANAGEMENT, Some(previous)) => {
                self.handled = Some(previous.handled);
                Ok(Acks::Resumed(number.ok_or_else(unexpected)?))
            }
            ("failed", STREAM_MANAGEMENT, _) => Ok(Acks::Offered),
            _ => Err(unexpected()),
        }
    }

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
            ("enabled", STREAM_MANAGEMENT) => {
                self.handled = Some(0);
                let is_kept = matches!(raw.attribute("resume").as_deref(), Some("true" | "1"));
                let id = raw.attribute("id").filter(|id| is_kept && id.len() <= ID_BYTES_MAX);
                out.extend(id.map(|id| Output::Kept(id.into_owned())));
            }
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
