//! A stream that has come and has a header: its elements, and its stanzas.

use crate::stream::ack;
use crate::stream::server::features::Features;
use crate::stream::server::incoming::{Output, State, Step};
use crate::stream::server::said::{self, Said};
use crate::stream::server::{Channel, Pair, Policy, World, words};
use crate::xml::head::Raw;
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::{Domain, Jid};
use crate::xmpp::namespaces::{BIDI, DIALBACK, SASL, SERVER, STREAM_MANAGEMENT, TLS};

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
    /// The peer takes our stanzas on this stream as soon as it has proved who
    /// it is (XEP-0288).
    pub(super) is_both_ways: bool,
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
            bidi: !is_plain
                && !self.is_proved()
                && policy.is_some_and(|policy| policy.bidirectional),
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
                self.counted(name, raw, world, out)?;
            }
            ("bidi", BIDI) if self.offers_bidi(world) => self.is_both_ways = true,
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

    /// What the peer wants to know of its stanzas, and says of ours.
    fn counted(
        &mut self,
        name: &str,
        raw: &Raw,
        world: &dyn World,
        out: &mut Vec<Output>,
    ) -> Step<()> {
        let mut say = |words| out.push(Output::Send(words));
        match (name, self.handled) {
            ("enable", None) if self.is_proved() => {
                self.handled = Some(0);
                let is_wanted = matches!(raw.attribute("resume").as_deref(), Some("true" | "1"));
                let is_kept = is_wanted && self.certified.is_some() && world.kept() > 0;
                let id = is_kept.then(|| world.id());
                say(ack::enabled(id.as_deref().map(|id| (id, world.kept()))));
                out.push(Output::Counted(id));
            }
            ("enable", _) => say(ack::failed("unexpected-request")),
            ("resume", counted) => {
                let h = raw.attribute("h").and_then(|h| h.parse().ok());
                let id = raw.attribute("previd").filter(|_| counted.is_none());
                match (id, h, self.certified.clone()) {
                    (Some(id), Some(h), Some(theirs)) => {
                        let pair = Pair { ours: self.ours.clone(), theirs };
                        out.push(Output::Resume(pair, id.into_owned(), h));
                    }
                    _ => say(ack::failed("item-not-found")),
                }
            }
            ("r", Some(handled)) => say(ack::answer(handled)),
            ("a", Some(_)) => {
                let h = raw.attribute("h").and_then(|h| h.parse().ok());
                out.push(Output::Handled(h.ok_or(StreamCondition::BadFormat)?));
            }
            _ => {}
        }
        Ok(())
    }

    /// The stream before goes on here, or is not known.
    pub(super) fn resumed(mut self, id: &str, handled: Option<u32>, out: &mut Vec<Output>) -> Self {
        self.handled = handled;
        out.push(Output::Send(match handled {
            Some(handled) => ack::resumed(id, handled),
            None => ack::failed("item-not-found"),
        }));
        self
    }

    /// Whether both directions may use this stream, if the peer wants it now.
    fn offers_bidi(&self, world: &dyn World) -> bool {
        let policy = self.theirs.as_ref().and_then(|theirs| world.policy(theirs));
        self.features(policy, world).bidi
    }

    pub(super) fn is_proved(&self) -> bool {
        let proved = |(_, standing): &(Pair, Standing)| *standing == Standing::Proved;
        self.certified.is_some() || self.pairs.iter().any(proved)
    }

    fn stanza(&self, raw: &Raw, world: &dyn World, out: &mut Vec<Output>) -> Step<()> {
        if !self.is_proved() {
            return Err(StreamCondition::NotAuthorized.into());
        }
        match said::read(raw, &self.ours, |from, ours| self.speaks(from, ours), world)? {
            Said::Stanza(stanza) => out.push(Output::Stanza(stanza)),
            Said::Wrong(answer) => out.extend(answer.map(Output::Answer)),
        }
        Ok(())
    }

    /// Our stanzas may use this stream for a pair that was proved: for the
    /// first, for one queue of ours has one stream.
    pub(super) fn open_back(&mut self, pair: Pair, out: &mut Vec<Output>) {
        if std::mem::take(&mut self.is_both_ways) {
            out.push(Output::BothWays(pair));
        }
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
