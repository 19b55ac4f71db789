//! A stream that another server has opened to us: from its header to its
//! stanzas, whose `from` is proved.

use bytes::Bytes;

use crate::stream::server::open::Open;
use crate::stream::server::words::{self, Version};
use crate::stream::server::{Channel, Pair, Proof, Verdict, World, check};
use crate::xml::head::{Header, Raw};
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::Domain;
use crate::xmpp::stanza::Stanza;

/// What happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// The peer opened a stream.
    Opened(&'a Header),
    /// The peer sent a first-level element.
    Element(&'a Raw),
    /// TLS stands, as [`Output::Secure`] asked.
    Secured,
    /// The answer to [`Output::Verify`].
    Verified(Pair, Verdict),
    /// The answer to [`Output::Resume`]: its id, and how many stanzas the stream
    /// before has taken; nothing: it is not known.
    Resumed(String, Option<u32>),
}

/// What shall happen outside, in this order.
#[derive(Debug)]
pub enum Output {
    /// Write this.
    Send(Bytes),
    /// Throw away what was read, change to TLS, then say [`Input::Secured`].
    Secure(Domain),
    /// Expect a stream header next.
    Restart,
    /// Ask the server of `theirs` about a key, then say [`Input::Verified`].
    Verify(Question),
    /// From now on stanzas of this domain are taken.
    Proved(Domain, Proof),
    /// A stanza whose `from` is proved, for a domain of ours.
    Stanza(Stanza),
    /// An answer to a stanza that was none.
    Answer(Stanza),
    /// Stanzas of the pair may be written to this stream (XEP-0288).
    BothWays(Pair),
    /// From here on the peer counts what we write (XEP-0198); by the id the
    /// stream may go on.
    Counted(Option<String>),
    /// The stream of this pair with this id shall go on, and the peer has so
    /// many of ours: find it, then say [`Input::Resumed`].
    Resume(Pair, String, u32),
    /// The peer has taken so many stanzas of ours.
    Handled(u32),
    /// A proof was in vain.
    Failed,
    /// Write this, then close the stream.
    Close(Bytes, StreamError),
}

/// A dialback key that somebody has shown to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// For whom, and by whom.
    pub pair: Pair,
    /// Of our stream.
    pub id: String,
    /// The key.
    pub key: String,
}

/// One stream that has come.
#[derive(Debug)]
pub struct Incoming {
    state: State,
}

#[derive(Debug)]
pub(super) enum State {
    ExpectHeader(ExpectHeader),
    Securing(Domain, Option<Domain>),
    Open(Open),
    Over,
}

/// Before a header, and what earlier ones on the connection have settled.
#[derive(Debug)]
pub(super) struct ExpectHeader {
    pub(super) channel: Channel,
    pub(super) ours: Option<Domain>,
    pub(super) theirs: Option<Domain>,
    pub(super) certified: Option<Domain>,
    pub(super) is_both_ways: bool,
}

/// The end of a stream by our will.
#[derive(Debug)]
pub(super) struct End {
    /// What is written before the error.
    before: Bytes,
    error: StreamError,
}

pub(super) type Step<T> = Result<T, End>;

impl From<StreamError> for End {
    fn from(error: StreamError) -> Self {
        Self { before: Bytes::new(), error }
    }
}

impl From<StreamCondition> for End {
    fn from(condition: StreamCondition) -> Self {
        StreamError::from(condition).into()
    }
}

impl Incoming {
    /// A stream of which nothing was read.
    pub fn new(channel: Channel) -> Self {
        Self { state: State::ExpectHeader(ExpectHeader::new(channel, None, None)) }
    }

    /// Takes one step. All of `out` is carried out before the next.
    pub fn handle(&mut self, input: Input<'_>, world: &dyn World, out: &mut Vec<Output>) {
        let state = std::mem::replace(&mut self.state, State::Over);
        let next = match (state, input) {
            (State::ExpectHeader(state), Input::Opened(header)) => state.opened(header, world, out),
            (State::Securing(ours, theirs), Input::Secured) => {
                Ok(State::ExpectHeader(ExpectHeader::new(Channel::Tls, Some(ours), theirs)))
            }
            (State::Open(state), Input::Element(raw)) => state.element(raw, world, out),
            (State::Open(state), Input::Verified(pair, verdict)) => {
                state.verified(&pair, verdict, out)
            }
            (State::Open(state), Input::Resumed(id, handled)) => {
                Ok(State::Open(state.resumed(&id, handled, out)))
            }
            // the answer to a question of a stream that was begun anew
            (state @ State::ExpectHeader(_), Input::Verified(..)) => Ok(state),
            (State::Over, _) => Ok(State::Over),
            (State::ExpectHeader(_) | State::Securing(..), _) => {
                Err(StreamCondition::BadFormat.into())
            }
            (State::Open(_), _) => Err(StreamCondition::BadFormat.into()),
        };
        self.state = next.unwrap_or_else(|end| {
            let words = [&end.before[..], &end.error.last_words()].concat();
            out.push(Output::Close(words.into(), end.error));
            State::Over
        });
    }

    /// What to write when the stream must end now, for a reason from outside.
    /// A header goes first if none was sent (RFC 6120 §4.9.1.2).
    pub fn fail(&self, error: &StreamError, speaker: &str, world: &dyn World) -> Bytes {
        let before = match self.state {
            State::Open(_) | State::Over => Bytes::new(),
            State::ExpectHeader(_) | State::Securing(..) => {
                words::header(speaker, None, Some(&world.id()), Version::One)
            }
        };
        [&before[..], &error.last_words()].concat().into()
    }

    /// Whether stanzas of anybody are taken.
    pub fn is_proved(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.is_proved())
    }

    /// The pair of which the peer has proved its part by certificate.
    pub fn certified(&self) -> Option<Pair> {
        let State::Open(open) = &self.state else {
            return None;
        };
        Some(Pair { ours: open.ours.clone(), theirs: open.certified.clone()? })
    }

    /// Stanzas of the peer that were taken, if it counts them.
    pub fn handled(&self) -> Option<u32> {
        match &self.state {
            State::Open(open) => open.handled,
            _ => None,
        }
    }
}

impl ExpectHeader {
    fn new(channel: Channel, ours: Option<Domain>, theirs: Option<Domain>) -> Self {
        Self { channel, ours, theirs, certified: None, is_both_ways: false }
    }

    fn opened(self, header: &Header, world: &dyn World, out: &mut Vec<Output>) -> Step<State> {
        let id = world.id();
        let ours = header.to.as_deref().and_then(|to| Domain::parse(to).ok());
        let speaker = ours.as_ref().filter(|ours| world.serves(ours.as_str()));
        let refuse = |error: StreamError| {
            let from = speaker.map_or("", Domain::as_str);
            let before = words::header(from, header.from.as_deref(), Some(&id), Version::One);
            End { before, error }
        };
        let is_versioned = check(header).map_err(refuse)?;
        if header.to.is_none() {
            return Err(refuse(StreamCondition::ImproperAddressing.into()));
        }
        let Some(ours) = speaker.cloned() else {
            return Err(refuse(StreamCondition::HostUnknown.into()));
        };
        if self.ours.is_some_and(|before| before != ours) {
            return Err(refuse(StreamCondition::HostUnknown.into()));
        }
        let theirs = header.from.as_deref().map(Domain::parse).transpose();
        let Ok(theirs) = theirs else { return Err(refuse(StreamCondition::InvalidFrom.into())) };
        // nobody outside speaks for us
        if theirs.as_ref().is_some_and(|theirs| world.serves(theirs.as_str())) {
            return Err(refuse(StreamCondition::InvalidFrom.into()));
        }
        let known = self.certified.as_ref().or(self.theirs.as_ref());
        if theirs.is_some() && known.is_some_and(|known| Some(known) != theirs.as_ref()) {
            return Err(refuse(StreamCondition::InvalidFrom.into()));
        }
        let theirs = theirs.or_else(|| known.cloned());
        let policy = theirs.as_ref().map(|theirs| world.policy(theirs));
        if policy == Some(None) {
            let blocked = "this server does not speak with yours";
            return Err(refuse(StreamError::new(StreamCondition::PolicyViolation, blocked)));
        }
        let version = if is_versioned { Version::One } else { Version::None };
        let to = header.from.as_deref();
        out.push(Output::Send(words::header(ours.as_str(), to, Some(&id), version)));
        let mut open = Open {
            channel: self.channel,
            id,
            ours,
            theirs,
            certified: self.certified,
            pairs: Vec::new(),
            failures: 0,
            is_challenged: false,
            is_both_ways: self.is_both_ways,
            handled: None,
        };
        if is_versioned {
            out.push(Output::Send(open.features(policy.flatten(), world).write()));
        }
        // behind our features, which the peer waits for
        if let Some(theirs) = open.certified.clone() {
            open.open_back(Pair { ours: open.ours.clone(), theirs }, out);
        }
        Ok(State::Open(open))
    }
}
