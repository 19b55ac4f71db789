//! TLS and SASL: from the first features to the proof of who is there.

use crate::stream::negotiation::messages;
use crate::stream::negotiation::states::{Cx, ExpectHeader, State, Step, end};
use crate::stream::negotiation::{Account, Channel, Output, Settings};
use crate::stream::sasl;
use crate::stream::sasl::credentials::Credentials;
use crate::stream::sasl::failure::Failure;
use crate::stream::sasl::mechanism::Mechanism;
use crate::stream::sasl::plain::Plain;
use crate::stream::sasl::scram::{Bindings, Challenged, First};
use crate::xml::head::Raw;
use crate::xmpp::error::{StreamCondition, StreamError};
use crate::xmpp::jid::{BareJid, Domain};
use crate::xmpp::namespaces::{CLIENT, COMPRESS, SASL, TLS};

/// After the first features.
#[derive(Debug)]
pub struct ExpectAuth {
    pub(super) channel: Channel,
    pub(super) domain: Domain,
    /// Whom the header said it is from; it must prove true.
    pub(super) from: Option<BareJid>,
    /// Failed so far.
    pub(super) attempts: u32,
    /// Accounts asked for so far.
    pub(super) registrations: u32,
}

/// During one attempt.
#[derive(Debug)]
pub struct Authenticating {
    stream: ExpectAuth,
    exchange: Exchange,
}

#[derive(Debug)]
enum Exchange {
    /// The mechanism is chosen; its first message must come.
    ExpectFirst(Mechanism),
    /// SCRAM waits for the account.
    FindForScram(First, Claim),
    /// SCRAM waits for the proof.
    ExpectProof(Challenged, Claim),
    /// PLAIN waits for the account.
    FindForPlain(Plain, Claim),
    /// PLAIN waits for the check.
    Verify(Claim),
}

/// Who somebody says to be, and whether that account may be used.
#[derive(Debug)]
struct Claim {
    /// `None`: the name cannot be that of an account.
    account: Option<BareJid>,
    name: String,
    is_disabled: bool,
}

impl ExpectAuth {
    pub(super) fn element(self, raw: &Raw, cx: &mut Cx<'_>) -> Step {
        let ns = raw.ns(CLIENT);
        match (raw.name(), ns.as_ref()) {
            ("starttls", TLS) => self.start_tls(cx),
            ("auth", SASL) => self.auth(raw, cx),
            ("abort", SASL) => self.failed(Failure::Aborted, cx),
            ("response", SASL) => self.failed(Failure::MalformedRequest, cx),
            ("compress", COMPRESS) => {
                cx.send(
                    format!("<failure xmlns='{COMPRESS}'><unsupported-method/></failure>").into(),
                );
                Ok(State::ExpectAuth(self))
            }
            ("iq", CLIENT) if !self.must_secure(cx) => match &cx.settings.registration {
                Some(rules) => self.request(raw, rules, cx),
                None => Err(end(StreamCondition::NotAuthorized)),
            },
            // RFC 6120 §4.3.5 for stanzas; anything else has no business here
            // either.
            _ => Err(end(StreamCondition::NotAuthorized)),
        }
    }

    fn start_tls(self, cx: &mut Cx<'_>) -> Step {
        if matches!(self.channel, Channel::Tls(_)) {
            cx.out.push(Output::Close(
                messages::tls_failure(),
                StreamError::new(StreamCondition::PolicyViolation, "TLS stands already"),
            ));
            return Ok(State::Over);
        }
        cx.send(messages::proceed());
        cx.out.push(Output::Secure(self.domain.clone()));
        Ok(State::Securing(self.domain))
    }

    fn auth(self, raw: &Raw, cx: &mut Cx<'_>) -> Step {
        let is_offered = |one| cx.settings.offered(&self.channel).any(|offered| offered == one);
        let name = raw.attribute("mechanism").unwrap_or_default();
        let mechanism = match Mechanism::find(&name) {
            None => return self.failed(Failure::InvalidMechanism, cx),
            Some(_) if self.must_secure(cx) => {
                return self.failed(Failure::EncryptionRequired, cx);
            }
            Some(mechanism) if is_offered(mechanism) => mechanism,
            Some(Mechanism::Plain) if matches!(self.channel, Channel::Plain) => {
                return self.failed(Failure::EncryptionRequired, cx);
            }
            Some(_) => return self.failed(Failure::InvalidMechanism, cx),
        };
        match message(raw) {
            Err(failure) => self.failed(failure, cx),
            Ok(Some(first)) => self.first(mechanism, first, cx),
            Ok(None) => {
                cx.send(messages::challenge(b""));
                let exchange = Exchange::ExpectFirst(mechanism);
                Ok(State::Authenticating(Authenticating { stream: self, exchange }))
            }
        }
    }

    fn first(self, mechanism: Mechanism, first: Vec<u8>, cx: &mut Cx<'_>) -> Step {
        let read = match mechanism {
            Mechanism::Plain => Plain::read(first).and_then(|plain| {
                let claim = self.claim(&plain.name, &plain.authorization)?;
                Ok((claim.account.clone(), Exchange::FindForPlain(plain, claim)))
            }),
            Mechanism::Scram { hash, is_bound } => {
                First::read(&first, hash, is_bound, &self.bindings(cx)).and_then(|scram| {
                    let claim = self.claim(&scram.name, &scram.authorization)?;
                    Ok((claim.account.clone(), Exchange::FindForScram(scram, claim)))
                })
            }
        };
        match read {
            Err(failure) => self.failed(failure, cx),
            Ok((account, exchange)) => {
                let state = Authenticating { stream: self, exchange };
                match account {
                    Some(account) => {
                        cx.out.push(Output::LookUp(account));
                        Ok(State::Authenticating(state))
                    }
                    // The same way as for a name that nobody has.
                    None => state.account(Account::Unknown, cx),
                }
            }
        }
    }

    /// A client may ask for its own address only (RFC 6120 §6.3.8).
    fn claim(&self, name: &str, authorization: &str) -> Result<Claim, Failure> {
        let account = BareJid::of_account(name, &self.domain).ok();
        if !authorization.is_empty() {
            let asked = BareJid::parse(authorization).ok();
            if asked.is_none() || asked != account {
                return Err(Failure::InvalidAuthzid);
            }
        }
        Ok(Claim { account, name: name.to_owned(), is_disabled: false })
    }

    fn must_secure(&self, cx: &Cx<'_>) -> bool {
        matches!(self.channel, Channel::Plain) && cx.settings.require_tls
    }

    /// What we offered to bind to: nothing where no mechanism on offer binds.
    /// A client that says so is right then, and was not deceived.
    fn bindings(&self, cx: &Cx<'_>) -> Bindings {
        match &self.channel {
            Channel::Tls(bindings)
                if cx.settings.offered(&self.channel).any(Mechanism::is_bound) =>
            {
                bindings.clone()
            }
            _ => Bindings::default(),
        }
    }

    /// One attempt is over; the stream may have more.
    fn failed(mut self, failure: Failure, cx: &mut Cx<'_>) -> Step {
        cx.send(messages::failure(failure));
        if failure.is_attempt() {
            self.attempts += 1;
            cx.out.push(Output::Failed);
        }
        if self.attempts >= cx.settings.attempts_max {
            return Err(end(StreamError::new(
                StreamCondition::PolicyViolation,
                "too many failed attempts to authenticate",
            )));
        }
        Ok(State::ExpectAuth(self))
    }

    /// Who is there is proved.
    fn succeeded(self, claim: Claim, message: Option<&str>, cx: &mut Cx<'_>) -> Step {
        let Some(account) = claim.account else {
            return self.failed(Failure::NotAuthorized, cx);
        };
        if claim.is_disabled {
            return self.failed(Failure::AccountDisabled, cx);
        }
        if self.from.as_ref().is_some_and(|from| *from != account) {
            return Err(end(StreamCondition::InvalidFrom));
        }
        cx.send(messages::success(message));
        cx.out.push(Output::Restart);
        Ok(State::ExpectHeader(ExpectHeader::authenticated(self.channel, account)))
    }
}

impl Authenticating {
    pub(super) fn element(self, raw: &Raw, cx: &mut Cx<'_>) -> Step {
        let ns = raw.ns(CLIENT);
        match (raw.name(), ns.as_ref()) {
            ("response", SASL) => self.response(raw, cx),
            ("abort", SASL) => self.stream.failed(Failure::Aborted, cx),
            // A new attempt takes the place of this one (RFC 6120 §6.4.2).
            ("auth", SASL) => self.stream.auth(raw, cx),
            _ => Err(end(StreamCondition::NotAuthorized)),
        }
    }

    fn response(self, raw: &Raw, cx: &mut Cx<'_>) -> Step {
        let message = match message(raw) {
            Ok(message) => message.unwrap_or_default(),
            Err(failure) => return self.stream.failed(failure, cx),
        };
        match self.exchange {
            Exchange::ExpectFirst(mechanism) => self.stream.first(mechanism, message, cx),
            Exchange::ExpectProof(challenged, claim) => match challenged.finish(&message) {
                Ok(ours) => self.stream.succeeded(claim, Some(&ours), cx),
                Err(failure) => self.stream.failed(failure, cx),
            },
            // The driver reads nothing while we wait for it.
            Exchange::FindForScram(..) | Exchange::FindForPlain(..) | Exchange::Verify(_) => {
                self.stream.failed(Failure::MalformedRequest, cx)
            }
        }
    }

    /// What is known of the account that was looked up.
    pub(super) fn account(self, account: Account, cx: &mut Cx<'_>) -> Step {
        let Self { stream, exchange } = self;
        let credentials = |claim: &Claim, cx: &Cx<'_>| match account {
            Account::Known(credentials) => Ok(credentials),
            Account::Unknown => Ok(made_up(claim, cx.settings)),
            Account::Unavailable => Err(Failure::TemporaryAuthFailure),
        };
        match exchange {
            Exchange::FindForScram(first, mut claim) => {
                let challenged = credentials(&claim, cx).and_then(|credentials| {
                    claim.is_disabled = credentials.is_disabled;
                    first.challenge(&credentials, &messages::token(cx.random))
                });
                match challenged {
                    Err(failure) => stream.failed(failure, cx),
                    Ok((challenged, challenge)) => {
                        cx.send(messages::challenge(challenge.as_bytes()));
                        let exchange = Exchange::ExpectProof(challenged, claim);
                        Ok(State::Authenticating(Self { stream, exchange }))
                    }
                }
            }
            Exchange::FindForPlain(plain, mut claim) => match credentials(&claim, cx) {
                Err(failure) => stream.failed(failure, cx),
                Ok(credentials) => {
                    claim.is_disabled = credentials.is_disabled;
                    cx.out.push(Output::Verify(plain.check(credentials)));
                    let exchange = Exchange::Verify(claim);
                    Ok(State::Authenticating(Self { stream, exchange }))
                }
            },
            _ => stream.failed(Failure::TemporaryAuthFailure, cx),
        }
    }

    /// Whether PLAIN's password was right.
    pub(super) fn verified(self, is_right: bool, cx: &mut Cx<'_>) -> Step {
        match self.exchange {
            Exchange::Verify(claim) if is_right => self.stream.succeeded(claim, None, cx),
            _ => self.stream.failed(Failure::NotAuthorized, cx),
        }
    }
}

/// What an account that does not exist seems to have; all spellings of its
/// name are one.
fn made_up(claim: &Claim, settings: &Settings) -> Credentials {
    let name = claim.account.as_ref().map_or(claim.name.as_str(), BareJid::as_str);
    Credentials::made_up(name, &settings.secret, settings.iterations)
}

/// The decoded message in `<auth/>` or `<response/>`.
fn message(raw: &Raw) -> Result<Option<Vec<u8>>, Failure> {
    if raw.head.children > 0 {
        return Err(Failure::MalformedRequest);
    }
    let content = raw.content();
    let text = std::str::from_utf8(&content).map_err(|_| Failure::IncorrectEncoding)?;
    sasl::decode(text)
}
