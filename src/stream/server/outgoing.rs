//! A stream that we open to another server: to carry our stanzas there, or to
//! ask it about one key.

use bytes::Bytes;

use crate::stream::ack::{Acks, Previous};
use crate::stream::server::back::Back;
use crate::stream::server::features::Features;
use crate::stream::server::incoming::Question;
use crate::stream::server::words::{self, Version};
use crate::stream::server::{Channel, Pair, Policy, Proof, Verdict, World, check, condition};
use crate::xml::head::{Header, Raw};
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::namespaces::{SASL, SERVER, STREAM, TLS};
use crate::xmpp::stanza::Stanza;

/// What the stream is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Our stanzas.
    Stanzas,
    /// One question about a key.
    Ask(Question),
}

/// What happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// The connection stands.
    Connected,
    /// The peer opened its side of the stream.
    Opened(&'a Header),
    /// The peer sent a first-level element.
    Element(&'a Raw),
    /// TLS stands, as [`Output::Secure`] asked.
    Secured,
}

/// What shall happen outside, in this order.
#[derive(Debug)]
pub enum Output {
    /// Write this.
    Send(Bytes),
    /// Throw away what was read, change to TLS, then say [`Input::Secured`].
    Secure,
    /// Expect a stream header next.
    Restart,
    /// Stanzas may be written; the second: the peer can acknowledge them.
    Established(Proof, Acks),
    /// The peer has taken so many stanzas.
    Handled(u32),
    /// It does not acknowledge them after all.
    Uncounted,
    /// The stream may go on by another connection, under this id.
    Kept(String),
    /// A stanza of the peer for us (XEP-0288).
    Stanza(Stanza),
    /// An answer to a stanza of the peer that was none.
    Answer(Stanza),
    /// The answer to the question.
    Answered(Verdict),
    /// The stream is of no use: write this, then close.
    Close(Bytes, Fault),
}

/// Why a stream to another server is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It has ended the stream.
    #[error("it closed the stream: {0}")]
    Said(Box<str>),
    /// It speaks otherwise than the RFC wants.
    #[error("it does not speak XMPP as servers do: {0}")]
    Spoke(StreamError),
    /// It has no TLS, and we want it.
    #[error("it offers no TLS")]
    NoTls,
    /// Its certificate does not speak for its domain.
    #[error("its certificate is not valid for its domain")]
    Certificate,
    /// It does not believe that we are who we are.
    #[error("it does not believe who we are: {0}")]
    Refused(&'static str),
}

/// One stream that we have opened.
#[derive(Debug)]
pub struct Outgoing {
    pair: Pair,
    policy: Policy,
    purpose: Purpose,
    channel: Channel,
    /// The id that the peer gave to the stream.
    id: String,
    has_tried_external: bool,
    back: Back,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was said yet.
    Start,
    ExpectHeader,
    ExpectFeatures,
    ExpectProceed,
    Securing,
    ExpectSuccess,
    /// After SASL, as the two above.
    ExpectLastHeader,
    ExpectLastFeatures,
    ExpectResumed,
    ExpectResult,
    ExpectVerdict,
    Established,
    Over,
}

impl Outgoing {
    /// A stream of which nothing was said yet.
    pub fn new(pair: Pair, policy: Policy, purpose: Purpose, channel: Channel) -> Self {
        let (id, has_tried_external, back) = (String::new(), false, Back::default());
        Self { pair, policy, purpose, channel, id, has_tried_external, back, state: State::Start }
    }

    /// As above; the stream before shall go on if the peer still knows it.
    pub fn resuming(mut self, previous: Option<Previous>) -> Self {
        self.back.previous = previous;
        self
    }

    /// Whether the peer may send its stanzas on this stream.
    pub fn is_both_ways(&self) -> bool {
        self.back.is_open
    }

    /// Stanzas of the peer that were taken, if it counts them.
    pub fn handled(&self) -> Option<u32> {
        self.back.handled
    }

    /// Takes one step. All of `out` is carried out before the next.
    pub fn handle(&mut self, input: Input<'_>, world: &dyn World, out: &mut Vec<Output>) {
        if let Err(fault) = self.step(input, world, out) {
            self.state = State::Over;
            let words = match &fault {
                Fault::Spoke(error) => error.last_words(),
                _ => Bytes::from_static(b"</stream:stream>"),
            };
            out.push(Output::Close(words, fault));
        }
    }

    fn step(
        &mut self,
        input: Input<'_>,
        world: &dyn World,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        match (self.state, input) {
            (State::Over, _) => Ok(()),
            (State::Start, Input::Connected) => {
                self.open(out);
                Ok(())
            }
            (State::ExpectHeader | State::ExpectLastHeader, Input::Opened(header)) => {
                self.opened(header, world, out)
            }
            (State::Securing, Input::Secured) => {
                self.channel = Channel::Tls;
                self.open(out);
                Ok(())
            }
            (_, Input::Element(raw)) if raw.is("error", STREAM, SERVER) => {
                Err(Fault::Said(condition(raw)))
            }
            (State::ExpectFeatures, Input::Element(raw)) => {
                let features = Features::read(raw).ok_or_else(unexpected)?;
                self.offered(features, world, out)
            }
            (State::ExpectProceed, Input::Element(raw)) => {
                if raw.is("proceed", TLS, SERVER) {
                    self.state = State::Securing;
                    out.push(Output::Secure);
                    return Ok(());
                }
                Err(Fault::NoTls)
            }
            (State::ExpectSuccess, Input::Element(raw)) => self.judged(raw, world, out),
            (State::ExpectLastFeatures, Input::Element(raw)) => {
                let features = Features::read(raw).ok_or_else(unexpected)?;
                if let Some(words) = self.back.resume().filter(|_| features.acks) {
                    self.state = State::ExpectResumed;
                    out.push(Output::Send(words));
                    return Ok(());
                }
                let acks = if features.acks { Acks::Offered } else { Acks::None };
                self.establish(Proof::Certificate, acks, out);
                Ok(())
            }
            (State::ExpectResumed, Input::Element(raw)) => {
                let acks = self.back.resumed(raw)?;
                self.establish(Proof::Certificate, acks, out);
                Ok(())
            }
            (State::ExpectResult, Input::Element(raw)) => self.result(raw, out),
            (State::ExpectVerdict, Input::Element(raw)) => self.verdict(raw, out),
            (State::Established, Input::Element(raw)) => {
                self.back.hear(raw, &self.pair, world, out)
            }
            _ => Err(unexpected()),
        }
    }

    fn open(&mut self, out: &mut Vec<Output>) {
        let Pair { ours, theirs } = &self.pair;
        let header = words::header(ours.as_str(), Some(theirs.as_str()), None, Version::One);
        out.push(Output::Send(header));
        self.state = State::ExpectHeader;
    }

    fn opened(
        &mut self,
        header: &Header,
        world: &dyn World,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let is_versioned = check(header).map_err(Fault::Spoke)?;
        self.id = header.id.clone().unwrap_or_default();
        if self.state == State::ExpectLastHeader {
            self.state = State::ExpectLastFeatures;
        } else if is_versioned {
            self.state = State::ExpectFeatures;
        } else if self.channel == Channel::Plain && self.policy.require_tls {
            return Err(Fault::NoTls);
        } else {
            // of the time before features: only dialback is left
            return self.dial_back(world, out);
        }
        Ok(())
    }

    fn offered(
        &mut self,
        features: Features,
        world: &dyn World,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        if self.channel == Channel::Plain {
            // RFC 7590 §3.1: it is asked for even where it is not offered
            if features.tls || self.policy.require_tls {
                self.state = State::ExpectProceed;
                out.push(Output::Send(words::starttls()));
                return Ok(());
            }
            return self.dial_back(world, out);
        }
        if let Purpose::Ask(_) = self.purpose {
            return self.dial_back(world, out);
        }
        if !self.believes(world) {
            return Err(Fault::Certificate);
        }
        if features.bidi && self.policy.bidirectional {
            // before any proof (XEP-0288 §2.2)
            self.back.is_open = true;
            out.push(Output::Send(words::bidi()));
        }
        if features.external && !self.has_tried_external {
            self.has_tried_external = true;
            self.state = State::ExpectSuccess;
            out.push(Output::Send(words::external(self.pair.ours.as_str())));
            return Ok(());
        }
        self.dial_back(world, out)
    }

    /// Whether it is proved who the peer is, as far as we want it: that we
    /// found it by DNS is all that dialback tells of it.
    fn believes(&self, world: &dyn World) -> bool {
        let is_certain = self.channel == Channel::Tls && world.vouches(&self.pair.theirs);
        is_certain || self.policy.accepts_dialback(self.channel)
    }

    fn dial_back(&mut self, world: &dyn World, out: &mut Vec<Output>) -> Result<(), Fault> {
        if let Purpose::Ask(Question { pair, id, key }) = &self.purpose {
            out.push(Output::Send(words::verify(pair, id, key)));
            self.state = State::ExpectVerdict;
            return Ok(());
        }
        if !self.believes(world) {
            return Err(match self.channel {
                Channel::Tls => Fault::Certificate,
                Channel::Plain => Fault::NoTls,
            });
        }
        let Pair { ours, theirs } = &self.pair;
        let key = world.secrets().key(theirs, ours, &self.id);
        out.push(Output::Send(words::result(&self.pair, &key)));
        self.state = State::ExpectResult;
        Ok(())
    }

    fn judged(&mut self, raw: &Raw, world: &dyn World, out: &mut Vec<Output>) -> Result<(), Fault> {
        match raw.name() {
            "success" if raw.ns(SERVER) == SASL => {
                out.push(Output::Restart);
                self.open(out);
                self.state = State::ExpectLastHeader;
                Ok(())
            }
            // whoever does not like our certificate may ask our server
            "failure" if raw.ns(SERVER) == SASL => self.dial_back(world, out),
            _ => Err(unexpected()),
        }
    }

    fn result(&mut self, raw: &Raw, out: &mut Vec<Output>) -> Result<(), Fault> {
        match words::answered(raw, "result", &self.pair).ok_or_else(unexpected)? {
            None => Ok(()),
            Some(Verdict::Valid) => {
                self.establish(Proof::Dialback, Acks::None, out);
                Ok(())
            }
            Some(Verdict::Invalid) => Err(Fault::Refused("our dialback key is wrong")),
            Some(Verdict::Unknown) => Err(Fault::Refused("dialback has failed")),
        }
    }

    fn verdict(&mut self, raw: &Raw, out: &mut Vec<Output>) -> Result<(), Fault> {
        let Purpose::Ask(question) = &self.purpose else { return Err(unexpected()) };
        if raw.attribute("id").is_none_or(|id| id != question.id) {
            return Err(unexpected());
        }
        if let Some(verdict) = words::answered(raw, "verify", &self.pair).ok_or_else(unexpected)? {
            self.state = State::Over;
            out.push(Output::Answered(verdict));
        }
        Ok(())
    }

    fn establish(&mut self, proof: Proof, acks: Acks, out: &mut Vec<Output>) {
        self.state = State::Established;
        out.push(Output::Established(proof, acks));
    }
}

pub(super) fn unexpected() -> Fault {
    Fault::Spoke(StreamCondition::UnsupportedStanzaType.into())
}
