//! A stream that has come and has a header: its elements, and its stanzas.

use bytes::Bytes;

use crate::stream::ack;
use crate::stream::server::features::Features;
use crate::stream::server::incoming::{Output, State, Step};
use crate::stream::server::{Channel, Pair, Policy, World, words};
use crate::xml::head::Raw;
use crate::xmpp::content::{Depth, taken};
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::{Domain, Jid};
use crate::xmpp::namespaces::{DIALBACK, SASL, SERVER, STREAM_MANAGEMENT, TLS};
use crate::xmpp::stanza::{ReadError, Stanza};

/// After a header: whoever speaks may prove himself, and others, at any time.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) channel: Channel,
    pub(super) id: String,
    pub(super) ours: Domain,
    /// Who the header says that it comes from.
    pub(super) theirs: Option<Domain>,
    /// Whose certificate was believed.
    pub(super) certified: Option<Domain>,
    pub(super) pairs: Vec<(Pair, Standing)>,
    pub(super) failures: u32,
    pub(super) is_challenged: bool,
    /// Stanzas that were taken, if the peer wants to know (XEP-0198).
    pub(super) handled: Option<u32>,
}

/// How far a pair of domains is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Asked,
    Proved,
}

impl Open {
    pub(super) fn features(&self, policy: Option<Policy>, world: &dyn World) -> Features {
        let is_plain = self.channel == Channel::Plain;
        let is_certain = self.theirs.as_ref().is_some_and(|theirs| world.vouches(theirs));
        Features {
            tls: is_plain,
            is_tls_required: is_plain && policy.is_none_or(|policy| policy.require_tls),
            external: !is_plain && self.certified.is_none() && is_certain,
            dialback: policy.is_some_and(|policy| policy.accepts_dialback(self.channel))
                || !is_plain && is_certain,
            bidi: false,
            acks: self.certified.is_some(),
        }
    }

    pub(super) fn element(
        mut self,
        raw: &Raw,
        world: &dyn World,
        out: &mut Vec<Output>,
    ) -> Step<State> {
        let ns = raw.ns(SERVER).into_owned();
        match (raw.name(), ns.as_str()) {
            (_, SERVER) => {
                self.stanza(raw, world, out)?;
                self.handled = self.handled.map(|handled| handled.wrapping_add(1));
            }
            ("starttls", TLS) if self.channel == Channel::Plain => {
                out.push(Output::Send(words::proceed()));
                out.push(Output::Secure(self.ours.clone()));
                return Ok(State::Securing(self.ours, self.theirs));
            }
            (name, STREAM_MANAGEMENT) => {
                let words = self.counted(name);
                out.extend(words.map(Output::Send));
            }
            ("auth" | "response" | "abort", SASL) => return self.sasl(raw, world, out),
            ("result", DIALBACK) if raw.attribute("type").is_none() => {
                self.asked(raw, world, out)?;
            }
            ("verify", DIALBACK) if raw.attribute("type").is_none() => {
                Self::answer(raw, world, out)?;
            }
            ("result" | "verify", DIALBACK) => {
                // an answer that nobody has asked for (CVE-2012-3525)
                let unasked = "an answer to no question";
                return Err(StreamError::new(StreamCondition::PolicyViolation, unasked).into());
            }
            ("message" | "presence" | "iq", _) => {
                return Err(StreamCondition::InvalidNamespace.into());
            }
            _ => return Err(StreamCondition::UnsupportedStanzaType.into()),
        }
        Ok(State::Open(self))
    }

    /// What the peer wants to know of its stanzas. They are not remembered
    /// when the stream has ended: it sends again what it does not know of.
    fn counted(&mut self, name: &str) -> Option<Bytes> {
        match (name, self.handled) {
            ("enable", None) if self.is_proved() => {
                self.handled = Some(0);
                Some(ack::enabled())
            }
            ("enable", _) => Some(ack::failed("unexpected-request")),
            ("resume", _) => Some(ack::failed("item-not-found")),
            ("r", Some(handled)) => Some(ack::answer(handled)),
            _ => None,
        }
    }

    pub(super) fn is_proved(&self) -> bool {
        let proved = |(_, standing): &(Pair, Standing)| *standing == Standing::Proved;
        self.certified.is_some() || self.pairs.iter().any(proved)
    }

    /// RFC 6120 §8.1.1.2, §8.1.2.2.
    fn stanza(&self, raw: &Raw, world: &dyn World, out: &mut Vec<Output>) -> Step<()> {
        if !self.is_proved() {
            return Err(StreamCondition::NotAuthorized.into());
        }
        let stanza = match Stanza::read(raw, SERVER) {
            Ok(stanza) => stanza,
            Err(ReadError::Bad(fault)) => {
                let from = raw.attribute("from").and_then(|from| Jid::parse(&from).ok());
                let Some(from) = from.filter(|from| self.speaks(from, &self.ours)) else {
                    return Err(StreamCondition::InvalidFrom.into());
                };
                let answer =
                    fault.answer(&from).and_then(|answer| Stanza::parse_bytes(answer).ok());
                let to = raw.attribute("to").and_then(|to| Jid::parse(&to).ok());
                let ours = to.unwrap_or_else(|| self.ours.clone().into());
                out.extend(
                    answer.map(|answer| Output::Answer(Stanza { from: Some(ours), ..answer })),
                );
                return Ok(());
            }
            Err(ReadError::WrongNamespace) if raw.head.is_prefixed => {
                return Err(StreamCondition::BadNamespacePrefix.into());
            }
            Err(ReadError::NotAStanza | ReadError::WrongNamespace) => {
                return Err(StreamCondition::UnsupportedStanzaType.into());
            }
        };
        let (Some(from), Some(to)) = (&stanza.from, &stanza.to) else {
            return Err(StreamCondition::ImproperAddressing.into());
        };
        let Ok(ours) = Domain::parse(to.domain()) else {
            return Err(StreamCondition::ImproperAddressing.into());
        };
        if !self.speaks(from, &ours) {
            return Err(StreamCondition::InvalidFrom.into());
        }
        if !world.serves(ours.as_str()) {
            return Err(StreamCondition::HostUnknown.into());
        }
        out.push(Output::Stanza(taken(stanza, SERVER, Depth::Content)));
        Ok(())
    }

    /// Whether this stream may speak for somebody to a domain of ours.
    fn speaks(&self, from: &Jid, ours: &Domain) -> bool {
        let domain = from.domain();
        if self.certified.as_ref().is_some_and(|theirs| theirs.as_str() == domain) {
            return true;
        }
        self.pairs.iter().any(|(pair, standing)| {
            *standing == Standing::Proved && pair.theirs.as_str() == domain && pair.ours == *ours
        })
    }
}
