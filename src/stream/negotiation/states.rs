//! The states, each with what it knows and no more. Nobody is half logged in.

use bytes::Bytes;
use rand::RngCore;

use crate::stream::negotiation::authentication::{Authenticating, ExpectAuth};
use crate::stream::negotiation::header::{self, Opening};
use crate::stream::negotiation::messages;
use crate::stream::negotiation::{Channel, Established, Input, Output, Settings};
use crate::xml::element::Element;
use crate::xml::head::{Header, Raw};
use crate::xmpp::error::{StanzaCondition, StanzaError, StreamCondition, StreamError};
use crate::xmpp::jid::{BareJid, Domain};
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::{BIND, CLIENT, COMPRESS, SASL, TLS};
use crate::xmpp::stanza::{ReadError, Stanza};

/// Failed attempts to bind; one more ends the stream (RFC 6120 §7.7.3 wants 5
/// to 10).
const BIND_ATTEMPTS_MAX: u32 = 10;

/// What every step may use.
pub struct Cx<'a> {
    pub(super) settings: &'a Settings,
    pub(super) random: &'a mut dyn RngCore,
    pub(super) out: &'a mut Vec<Output>,
}

/// The end of a stream by our will.
#[derive(Debug)]
pub struct End {
    pub(super) has_header: bool,
    pub(super) error: StreamError,
}

/// Where a stream stands.
#[derive(Debug)]
pub enum State {
    /// A header must come.
    ExpectHeader(ExpectHeader),
    /// TLS or authentication must come.
    ExpectAuth(ExpectAuth),
    /// TLS is being made.
    Securing(Domain),
    /// An account is being made.
    Registering(ExpectAuth, Stanza),
    /// Somebody is proving who they are.
    Authenticating(Authenticating),
    /// A resource must be bound.
    ExpectBind(ExpectBind),
    /// It is being bound.
    Binding(ExpectBind, Stanza),
    /// Nothing more is read here.
    Over,
}

/// Before a header.
#[derive(Debug)]
pub struct ExpectHeader {
    channel: Channel,
    /// Who it must be for and from, after authentication or TLS.
    known: Known,
}

/// What an earlier header of the same connection has settled.
#[derive(Debug)]
enum Known {
    Nothing,
    Domain(Domain),
    Account(BareJid),
}

/// After authentication.
#[derive(Debug)]
pub struct ExpectBind {
    account: BareJid,
    lang: Option<String>,
    attempts: u32,
}

/// A step's result: the next state, or the end of the stream.
pub type Step = Result<State, End>;

impl Cx<'_> {
    pub(super) fn send(&mut self, bytes: Bytes) {
        self.out.push(Output::Send(bytes));
    }
}

/// The end of a stream whose header was sent.
pub fn end(error: impl Into<StreamError>) -> End {
    End { has_header: true, error: error.into() }
}

impl End {
    /// What is written at the end.
    pub(super) fn into_words(self, cx: &mut Cx<'_>) -> (Bytes, StreamError) {
        let mut words = Vec::new();
        if !self.has_header {
            words.extend_from_slice(&messages::header(cx.settings.speaker(), None, cx.random));
        }
        words.extend_from_slice(&self.error.last_words());
        (words.into(), self.error)
    }
}

impl State {
    /// One step.
    ///
    /// # Errors
    /// [`End`].
    pub(super) fn handle(self, input: Input<'_>, cx: &mut Cx<'_>) -> Step {
        match (self, input) {
            (Self::ExpectHeader(state), Input::Opened(header)) => state.opened(&header, cx),
            (Self::ExpectAuth(state), Input::Element(raw)) => state.element(raw, cx),
            (Self::Registering(state, asked), Input::Registered(made)) => {
                Ok(state.registered(&asked, made, cx))
            }
            (Self::Securing(domain), Input::Secured(bindings)) => {
                Ok(Self::ExpectHeader(ExpectHeader {
                    channel: Channel::Tls(bindings),
                    known: Known::Domain(domain),
                }))
            }
            (Self::Authenticating(state), Input::Element(raw)) => state.element(raw, cx),
            (Self::Authenticating(state), Input::Account(account)) => state.account(account, cx),
            (Self::Authenticating(state), Input::Verified(is_right)) => {
                state.verified(is_right, cx)
            }
            (Self::ExpectBind(state), Input::Element(raw)) => state.element(raw, cx),
            (Self::Binding(state, asked), Input::Bound(bound)) => state.bound(&asked, bound, cx),
            (Self::Over, _) => Ok(Self::Over),
            // The driver answers what it was asked and nothing else.
            (state, _) => {
                let error = StreamCondition::InternalServerError.into();
                Err(End { has_header: state.has_header(), error })
            }
        }
    }

    /// Whether our header of this stream was sent.
    pub(super) fn has_header(&self) -> bool {
        !matches!(self, Self::ExpectHeader(_) | Self::Securing(_))
    }
}

impl ExpectHeader {
    /// On a fresh connection.
    pub(super) fn first(channel: Channel) -> Self {
        Self { channel, known: Known::Nothing }
    }

    /// After authentication.
    pub(super) fn authenticated(channel: Channel, account: BareJid) -> Self {
        Self { channel, known: Known::Account(account) }
    }

    fn opened(self, header: &Header, cx: &mut Cx<'_>) -> Step {
        let opening =
            header::check(header, cx.settings).map_err(|error| End { has_header: false, error })?;
        let to = opening.from.as_ref().map(BareJid::as_str);
        let ours = messages::header(opening.domain.as_str(), to, cx.random);
        cx.send(ours);
        match self.known {
            Known::Nothing => Ok(offer(self.channel, opening, cx)),
            Known::Domain(domain) if domain == opening.domain => {
                Ok(offer(self.channel, opening, cx))
            }
            Known::Account(account) if account.domain() == opening.domain.as_str() => {
                if opening.from.is_some_and(|from| from != account) {
                    return Err(end(StreamCondition::InvalidFrom));
                }
                let others = String::from_utf8_lossy(&cx.settings.features).into_owned();
                cx.send(messages::second_features(&others));
                Ok(State::ExpectBind(ExpectBind { account, lang: opening.lang, attempts: 0 }))
            }
            // Whoever proved something to one domain has proved it to that
            // one only.
            Known::Domain(_) | Known::Account(_) => Err(end(StreamCondition::HostUnknown)),
        }
    }
}

fn offer(channel: Channel, opening: Opening, cx: &mut Cx<'_>) -> State {
    cx.send(messages::first_features(&channel, cx.settings));
    State::ExpectAuth(ExpectAuth {
        channel,
        domain: opening.domain,
        from: opening.from,
        attempts: 0,
        registrations: 0,
    })
}

impl ExpectBind {
    fn element(self, raw: &Raw, cx: &mut Cx<'_>) -> Step {
        let asked = match Stanza::read(raw, CLIENT) {
            Ok(stanza) => stanza,
            Err(ReadError::Bad(fault)) => {
                cx.out.extend(fault.answer(&self.account.clone().into()).map(Output::Send));
                return Ok(State::ExpectBind(self));
            }
            Err(_) => return Err(end(not_a_stanza(raw))),
        };
        let is_bind = asked.child.as_ref().is_some_and(|child| &*child.ns == BIND);
        match asked.kind {
            Kind::Iq(IqType::Set) if is_bind => {
                let wanted = Element::parse(&asked.payload, CLIENT).ok();
                let wanted = wanted.as_ref().and_then(|bind| bind.find("resource", BIND));
                let wanted = wanted.map(Element::own_text).filter(|text| !text.is_empty());
                cx.out.push(Output::Bind(self.account.clone(), wanted));
                Ok(State::Binding(self, asked))
            }
            Kind::Iq(IqType::Get) if is_bind => {
                self.refuse(&asked, StanzaCondition::BadRequest.into(), cx)
            }
            // RFC 6120 §4.3.5: nothing is passed on before the session stands.
            _ => Err(end(StreamCondition::NotAuthorized)),
        }
    }

    fn bound(
        self,
        asked: &Stanza,
        bound: Result<crate::xmpp::jid::FullJid, StanzaError>,
        cx: &mut Cx<'_>,
    ) -> Step {
        match bound {
            Ok(jid) => {
                cx.out.extend(
                    asked.result(messages::bound(&jid)).map(|done| Output::Send(done.write())),
                );
                cx.out.push(Output::Established(Established { jid, lang: self.lang }));
                Ok(State::Over)
            }
            Err(error) => self.refuse(asked, error, cx),
        }
    }

    fn refuse(mut self, asked: &Stanza, error: StanzaError, cx: &mut Cx<'_>) -> Step {
        self.attempts += 1;
        cx.out.extend(asked.error(error).map(|error| Output::Send(error.write())));
        if self.attempts >= BIND_ATTEMPTS_MAX {
            return Err(end(StreamCondition::PolicyViolation));
        }
        Ok(State::ExpectBind(self))
    }
}

/// The error for a first-level element that is no stanza, in any state.
pub fn not_a_stanza(raw: &Raw) -> StreamError {
    let ns = raw.ns(CLIENT);
    let is_named_so = matches!(raw.name(), "message" | "presence" | "iq");
    match ns.as_ref() {
        CLIENT if raw.head.is_prefixed => StreamCondition::BadNamespacePrefix.into(),
        CLIENT | TLS | SASL | COMPRESS => StreamCondition::UnsupportedStanzaType.into(),
        _ if is_named_so => StreamCondition::InvalidNamespace.into(),
        _ => StreamCondition::UnsupportedStanzaType.into(),
    }
}
