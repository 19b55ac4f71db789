//! A client's way from the first byte to a bound session, as states (RFC 6120
//! §4.3). What it needs from outside it asks for and waits.

pub mod authentication;
pub mod header;
pub mod messages;
pub mod registration;
pub mod states;

use std::fmt;

use bytes::Bytes;
use rand::RngCore;

use crate::stream::negotiation::registration::{Registration, Rules};
use crate::stream::sasl::credentials::{Credentials, Iterations};
use crate::stream::sasl::mechanism::{self, Mechanism};
use crate::stream::sasl::plain::PlainCheck;
use crate::stream::sasl::scram::Bindings;
use crate::xml::head::{Header, Raw};
use crate::xmpp::error::{StanzaError, StreamError};
use crate::xmpp::jid::{BareJid, Domain, FullJid};

/// What the operator decides.
#[derive(Clone)]
pub struct Settings {
    /// The domains served here; the first speaks where none was asked for.
    pub domains: Vec<Domain>,
    /// Whether TLS must come before everything else.
    pub require_tls: bool,
    /// Which mechanisms may be offered, in our order whatever theirs is.
    pub mechanisms: Vec<Mechanism>,
    /// Exchanges of SASL that a stream may begin in vain; the last of them
    /// ends it. RFC 6120 §6.4.5 wants 2 to 5 retries.
    pub attempts_max: u32,
    /// What accounts that do not exist seem to have: that of new passwords.
    pub iterations: Iterations,
    /// Makes up what accounts that do not exist seem to have; the same on all
    /// nodes.
    pub secret: [u8; 32],
    /// By which rules anybody may make an account; nobody may without.
    pub registration: Option<Rules>,
    /// Stream features after authentication beside binding, as XML.
    pub features: Bytes,
}

/// What happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// The peer opened a stream.
    Opened(Header),
    /// The peer sent a first-level element.
    Element(&'a Raw),
    /// TLS stands, as [`Output::Secure`] asked.
    Secured(Bindings),
    /// The answer to [`Output::LookUp`].
    Account(Account),
    /// The answer to [`Output::Verify`].
    Verified(bool),
    /// The answer to [`Output::Register`].
    Registered(Result<(), StanzaError>),
    /// The answer to [`Output::Bind`].
    Bound(Result<FullJid, StanzaError>),
}

/// What is known of an account.
#[derive(Debug)]
pub enum Account {
    /// It exists.
    Known(Credentials),
    /// It does not.
    Unknown,
    /// The accounts cannot be read now.
    Unavailable,
}

/// What shall happen outside, in this order.
#[derive(Debug)]
pub enum Output {
    /// Write this.
    Send(Bytes),
    /// Throw away what was read, change to TLS, then say [`Input::Secured`].
    Secure(Domain),
    /// Expect a stream header next; the limits for clients that have
    /// authenticated hold from here.
    Restart,
    /// Find this account, then say [`Input::Account`].
    LookUp(BareJid),
    /// Run this where it holds nobody up, then say [`Input::Verified`].
    Verify(PlainCheck),
    /// Make this account, then say [`Input::Registered`].
    Register(Registration),
    /// Bind a resource of this account, then say [`Input::Bound`].
    Bind(BareJid, Option<String>),
    /// The session stands; all that comes is its stanzas.
    Established(Established),
    /// An attempt to authenticate was in vain.
    Failed,
    /// Write this, then close the stream.
    Close(Bytes, StreamError),
}

/// A stream that has become a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// The session's address.
    pub jid: FullJid,
    /// The language of stanzas that name none.
    pub lang: Option<String>,
}

/// Whether the bytes under the stream can be read on their way.
#[derive(Debug, Clone)]
pub enum Channel {
    /// They can; TLS may still come.
    Plain,
    /// They cannot.
    Tls(Bindings),
}

/// One stream being negotiated.
#[derive(Debug)]
pub struct Negotiation {
    settings: std::sync::Arc<Settings>,
    state: states::State,
}

impl Channel {
    fn kind(&self) -> mechanism::Channel {
        match self {
            Self::Plain => mechanism::Channel::Plain,
            Self::Tls(bindings) if bindings.names().next().is_none() => mechanism::Channel::Tls,
            Self::Tls(_) => mechanism::Channel::Bindable,
        }
    }
}

impl Settings {
    /// The defaults: TLS first, all mechanisms, five attempts.
    pub fn new(domains: Vec<Domain>, secret: [u8; 32]) -> Self {
        Self {
            domains,
            require_tls: true,
            mechanisms: Mechanism::ALL.to_vec(),
            attempts_max: 5,
            iterations: Iterations::default(),
            secret,
            registration: None,
            features: Bytes::new(),
        }
    }

    /// The domain of ours that `text` names.
    pub fn find(&self, text: &str) -> Option<&Domain> {
        let asked = Domain::parse(text).ok()?;
        self.domains.iter().find(|domain| **domain == asked)
    }

    /// The domain that speaks where none was asked for.
    pub fn speaker(&self) -> &str {
        self.domains.first().map_or("", Domain::as_str)
    }

    /// What is offered on such a channel, the best first.
    pub(super) fn offered(&self, channel: &Channel) -> impl Iterator<Item = Mechanism> {
        let channel = channel.kind();
        let all = Mechanism::ALL.into_iter();
        all.filter(move |one| self.mechanisms.contains(one) && one.fits(channel))
    }
}

impl Negotiation {
    /// A stream of which nothing was read.
    pub fn new(settings: std::sync::Arc<Settings>, channel: Channel) -> Self {
        let state = states::State::ExpectHeader(states::ExpectHeader::first(channel));
        Self { settings, state }
    }

    /// Takes one step. `random` makes stream ids and nonces and must be
    /// unpredictable. All of `out` is carried out before the next step.
    pub fn handle(&mut self, input: Input<'_>, random: &mut dyn RngCore, out: &mut Vec<Output>) {
        let state = std::mem::replace(&mut self.state, states::State::Over);
        let mut cx = states::Cx { settings: &self.settings, random, out };
        self.state = match state.handle(input, &mut cx) {
            Ok(next) => next,
            Err(end) => {
                let (words, error) = end.into_words(&mut cx);
                cx.out.push(Output::Close(words, error));
                states::State::Over
            }
        };
    }

    /// What to write when the stream must end now, for a reason from outside:
    /// broken XML, time. A header goes first if none was sent (RFC 6120
    /// §4.9.1.2).
    pub fn fail(&mut self, error: StreamError, random: &mut dyn RngCore) -> Bytes {
        let state = std::mem::replace(&mut self.state, states::State::Over);
        let mut out = Vec::new();
        let mut cx = states::Cx { settings: &self.settings, random, out: &mut out };
        states::End { has_header: state.has_header(), error }.into_words(&mut cx).0
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("domains", &self.domains).finish_non_exhaustive()
    }
}
