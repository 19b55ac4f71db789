//! Making an account before there is one (XEP-0077 §3.1): what is asked, and
//! by which rules it is judged. Making it is somebody else's business.

use std::fmt;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::stream::negotiation::Output;
use crate::stream::negotiation::authentication::ExpectAuth;
use crate::stream::negotiation::states::{Cx, State, Step, end};
use crate::stream::sasl::credentials::PASSWORD_BYTES_MAX;
use crate::xml::element::Element;
use crate::xml::head::Raw;
use crate::xmpp::error::{ErrorType, StanzaCondition, StanzaError, StreamCondition, StreamError};
use crate::xmpp::jid::{BareJid, Domain};
use crate::xmpp::kind::{IqType, Kind};
use crate::xmpp::namespaces::{CLIENT, REGISTER};
use crate::xmpp::stanza::Stanza;

/// Accounts that one stream may try to make; one more ends it. A guess: names
/// that somebody tries until one is free.
const REGISTRATIONS_MAX: u32 = 10;

/// What an account's name and password must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Names that nobody may have, in their normal form.
    pub reserved: Vec<String>,
    /// Characters of a password.
    pub password_characters_min: usize,
}

/// What somebody asks for.
#[derive(PartialEq, Eq)]
pub enum Wish {
    /// What must be said?
    Fields,
    /// The account shall go.
    Remove,
    /// An account with this password.
    Set {
        /// As it was written.
        username: String,
        /// The password.
        password: Zeroizing<String>,
    },
}

/// An account that shall be made.
pub struct Registration {
    /// Its address.
    pub account: BareJid,
    /// Its password; it obeys the rules, and may still be none.
    pub password: Zeroizing<String>,
}

impl Wish {
    /// Reads a request of this namespace.
    ///
    /// # Errors
    /// What its sender is told.
    pub fn read(request: &Stanza) -> Result<Self, StanzaError> {
        let query = Element::parse(&request.payload, CLIENT).ok();
        let query = query.filter(|query| query.is("query", REGISTER));
        let query = query.ok_or(StanzaCondition::BadRequest)?;
        if request.kind == Kind::Iq(IqType::Get) {
            return Ok(Self::Fields);
        }
        if query.find("remove", REGISTER).is_some() {
            // it must be alone (§3.2)
            return match query.elements().count() {
                1 => Ok(Self::Remove),
                _ => Err(StanzaCondition::BadRequest.into()),
            };
        }
        let field = |name| query.find(name, REGISTER).map(Element::own_text);
        match (field("username"), field("password").map(Zeroizing::new)) {
            (Some(username), Some(password)) => Ok(Self::Set { username, password }),
            _ => Err(StanzaError::from(StanzaCondition::NotAcceptable)
                .with_text("a username and a password are wanted")),
        }
    }
}

impl Rules {
    /// The account that is to have this name.
    ///
    /// # Errors
    /// `not-acceptable` for what is no name, or is reserved.
    pub fn account(&self, username: &str, domain: &Domain) -> Result<BareJid, StanzaError> {
        let account = BareJid::of_account(username, domain).map_err(|_| {
            StanzaError::from(StanzaCondition::NotAcceptable).with_text("this cannot be a username")
        })?;
        let name = account.local().unwrap_or_default();
        if self.reserved.iter().any(|reserved| reserved.as_str() == name) {
            return Err(StanzaError::from(StanzaCondition::NotAcceptable)
                .with_text("this username is reserved"));
        }
        Ok(account)
    }

    /// Whether somebody may have this password.
    ///
    /// # Errors
    /// `not-acceptable`.
    pub fn password(&self, account: &BareJid, password: &str) -> Result<(), StanzaError> {
        let refuse = |text| Err(StanzaError::from(StanzaCondition::NotAcceptable).with_text(text));
        if password.len() > PASSWORD_BYTES_MAX {
            return refuse("the password is too long");
        }
        // an empty one is too short whatever the rule says
        if password.chars().count() < self.password_characters_min.max(1) {
            return refuse("the password is too short");
        }
        if account.local().is_some_and(|name| name == password.to_lowercase()) {
            return refuse("the password is the username");
        }
        Ok(())
    }
}

/// The result that says what is wanted; `username`: that somebody has an
/// account already (§3.1.1).
pub fn fields(username: Option<&str>) -> Bytes {
    let field = |name| Element::new(name, REGISTER);
    let query = Element::new("query", REGISTER);
    match username {
        None => query
            .child(field("instructions").text("Choose a username and a password."))
            .child(field("username"))
            .child(field("password")),
        Some(name) => query
            .child(field("registered"))
            .child(field("username").text(name))
            .child(field("password")),
    }
    .to_bytes(CLIENT)
}

impl ExpectAuth {
    /// A request before authentication.
    pub(super) fn request(mut self, raw: &Raw, rules: &Rules, cx: &mut Cx<'_>) -> Step {
        let asked = Stanza::read(raw, CLIENT).ok();
        let is_ours = |asked: &Stanza| {
            let is_register = asked.child.as_ref().is_some_and(|child| &*child.ns == REGISTER);
            let is_for_us = asked.to.as_ref().is_none_or(|to| to.as_str() == self.domain.as_str());
            asked.kind.is_request() && is_register && is_for_us
        };
        let Some(asked) = asked.filter(is_ours) else {
            return Err(end(StreamCondition::NotAuthorized));
        };
        // nobody has proved to be anybody
        let asked = Stanza { from: None, ..asked };
        let judged = Wish::read(&asked).and_then(|wish| match wish {
            Wish::Fields => Ok(None),
            // who is not there cannot go (§3.2)
            Wish::Remove => Err(StanzaCondition::UnexpectedRequest.into()),
            Wish::Set { username, password } => {
                let account = rules.account(&username, &self.domain)?;
                rules.password(&account, &password)?;
                Ok(Some(Registration { account, password }))
            }
        });
        match judged {
            Ok(None) => {
                cx.out.extend(asked.result(fields(None)).map(|said| Output::Send(said.write())));
                Ok(State::ExpectAuth(self))
            }
            Ok(Some(registration)) => {
                self.registrations += 1;
                if self.registrations > REGISTRATIONS_MAX {
                    return Err(end(StreamError::new(
                        StreamCondition::PolicyViolation,
                        "too many accounts were asked for",
                    )));
                }
                cx.out.push(Output::Register(registration));
                Ok(State::Registering(self, asked))
            }
            Err(error) => Ok(self.refused(&asked, error, cx)),
        }
    }

    /// What became of the account that was asked for.
    pub(super) fn registered(
        self,
        asked: &Stanza,
        made: Result<(), StanzaError>,
        cx: &mut Cx<'_>,
    ) -> State {
        match made {
            Ok(()) => {
                cx.out.extend(asked.result(Bytes::new()).map(|said| Output::Send(said.write())));
                State::ExpectAuth(self)
            }
            Err(error) => self.refused(asked, error, cx),
        }
    }

    fn refused(self, asked: &Stanza, error: StanzaError, cx: &mut Cx<'_>) -> State {
        cx.out.extend(asked.error(error).map(|said| Output::Send(said.write())));
        State::ExpectAuth(self)
    }
}

/// An account was refused because too many came from its address.
pub fn too_many() -> StanzaError {
    StanzaError::from(StanzaCondition::ResourceConstraint)
        .with_type(ErrorType::Wait)
        .with_text("too many accounts were made from your address: try later")
}

impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fields => "Fields",
            Self::Remove => "Remove",
            Self::Set { .. } => "Set",
        })
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("account", &self.account).finish_non_exhaustive()
    }
}
