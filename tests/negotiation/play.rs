//! One stream that is played: a client's words go through the real framer into
//! the negotiation, and what the server says comes back as words.
//!
//! Sockets, TLS and the store are not here: the play answers for them as the
//! door does.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use jabiru::stream::negotiation::registration::Registration;
use jabiru::stream::negotiation::{
    Account, Channel, Established, Input, Negotiation, Output, Settings,
};
use jabiru::stream::sasl::credentials::{Credentials, Iterations};
use jabiru::stream::sasl::scram::Bindings;
use jabiru::xml::element::Element;
use jabiru::xml::framer::{Frame, Framer};
use jabiru::xml::head::Raw;
use jabiru::xml::limits::Limits;
use jabiru::xmpp::error::{StanzaCondition, StanzaError, StreamCondition};
use jabiru::xmpp::jid::{BareJid, Domain, FullJid};
use jabiru::xmpp::namespaces::CLIENT;
use rand::SeedableRng;
use rand::rngs::StdRng;

pub(crate) const HEADER: &str = "<stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='example.org' version='1.0'>";

pub(crate) const START_TLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// The resource that somebody else has.
pub(crate) const TAKEN: &str = "taken";

pub(crate) struct Play {
    machine: Negotiation,
    framer: Framer,
    buffer: BytesMut,
    random: StdRng,
    bindings: Bindings,
    made: u32,
    /// Reads what the server says, as a client does.
    ear: Ear,
    /// Which accounts were asked for.
    pub(crate) asked: Vec<String>,
    /// Which accounts were made.
    pub(crate) registered: Vec<String>,
    pub(crate) established: Option<Established>,
    pub(crate) is_over: bool,
}

/// The server's words.
#[derive(Default)]
struct Ear {
    framer: Option<Framer>,
    buffer: BytesMut,
    heard: Vec<Heard>,
}

enum Heard {
    Header(String),
    Element(Raw),
    End,
}

pub(crate) fn settings() -> Settings {
    let domain = |text| Domain::parse(text).expect("a domain");
    let domains = vec![domain("example.org"), domain("example.net")];
    Settings { iterations: few(), ..Settings::new(domains, [7; 32]) }
}

/// As TLS 1.3 with a certificate gives them.
pub(crate) fn bindings() -> Bindings {
    Bindings { exporter: Some(vec![1; 32]), end_point: Some(vec![2; 32]) }
}

fn few() -> Iterations {
    Iterations::try_from(4096).expect("allowed")
}

/// All the accounts there are. Mercutio's cannot be read.
fn look_up(account: &BareJid) -> Account {
    let known = |password, is_disabled| {
        let credentials = Credentials::from_password(password, [9; 16], few());
        let mut credentials = credentials.expect("a password");
        credentials.is_disabled = is_disabled;
        Account::Known(credentials)
    };
    match account.as_str() {
        "romeo@example.org" => known("pencil", false),
        "juliet@example.org" => known("balcony", false),
        "tybalt@example.org" => known("rapier", true),
        "mercutio@example.org" => Account::Unavailable,
        _ => Account::Unknown,
    }
}

impl Play {
    /// A connection of which nothing was read.
    pub(crate) fn new(settings: Settings, channel: Channel, bindings: Bindings) -> Self {
        Self {
            machine: Negotiation::new(Arc::new(settings), channel),
            framer: Framer::new(Limits::unauthenticated()),
            buffer: BytesMut::new(),
            random: StdRng::seed_from_u64(1),
            bindings,
            made: 0,
            ear: Ear::default(),
            asked: Vec::new(),
            registered: Vec::new(),
            established: None,
            is_over: false,
        }
    }

    /// A connection to a server with the usual settings.
    pub(crate) fn fresh() -> Self {
        Self::new(settings(), Channel::Plain, bindings())
    }

    /// A stream under TLS, before authentication.
    pub(crate) fn secured() -> Self {
        Self::secured_with(settings(), bindings())
    }

    /// The same, where TLS is from the first byte.
    pub(crate) fn secured_with(settings: Settings, bindings: Bindings) -> Self {
        let mut play = Self::new(settings, Channel::Tls(bindings.clone()), bindings);
        play.say(HEADER);
        play
    }

    /// Says something and hears the answers. After its end a stream is deaf.
    pub(crate) fn say(&mut self, text: impl AsRef<[u8]>) -> String {
        self.ear.heard.clear();
        self.buffer.extend_from_slice(text.as_ref());
        while !self.is_over && self.established.is_none() {
            match self.framer.next(&mut self.buffer) {
                Ok(None) => break,
                Ok(Some(Frame::Close)) => self.is_over = true,
                Ok(Some(Frame::Open(header))) => self.take(Input::Opened(*header)),
                Ok(Some(Frame::Element(raw))) => self.take(Input::Element(&raw)),
                Err(_) => {
                    let error = StreamCondition::NotWellFormed.into();
                    let words = self.machine.fail(error, &mut self.random);
                    self.ear.hear(&words);
                    self.is_over = true;
                }
            }
        }
        self.ear.words()
    }

    /// The text of the last element that the server said, decoded: its part of
    /// a SASL exchange.
    pub(crate) fn message(&self) -> String {
        let Some(Heard::Element(raw)) = self.ear.heard.last() else { return String::new() };
        let text = String::from_utf8(raw.content().to_vec()).expect("UTF-8");
        match jabiru::stream::sasl::decode(&text) {
            Ok(message) => String::from_utf8(message.unwrap_or_default()).unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// The elements of the last answer, as they were written.
    pub(crate) fn text(&self) -> String {
        let texts = self.ear.heard.iter().map(|heard| match heard {
            Heard::Header(id) => format!("id {id}"),
            Heard::Element(raw) => String::from_utf8_lossy(&raw.bytes).into_owned(),
            Heard::End => String::new(),
        });
        texts.collect()
    }

    /// The id of the stream that the last answer opened.
    pub(crate) fn id(&self) -> Option<&str> {
        self.ear.heard.iter().find_map(|heard| match heard {
            Heard::Header(id) => Some(id.as_str()),
            _ => None,
        })
    }

    fn take(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.machine.handle(input, &mut self.random, &mut out);
        let mut wishes = VecDeque::from(out);
        while let Some(wish) = wishes.pop_front() {
            let answer = match wish {
                Output::Send(bytes) => {
                    self.ear.hear(&bytes);
                    continue;
                }
                Output::Close(words, _) => {
                    self.ear.hear(&words);
                    self.is_over = true;
                    return;
                }
                Output::Failed => continue,
                Output::Restart => {
                    self.framer.restart();
                    self.framer.set_limits(Limits::client());
                    self.ear.restart();
                    continue;
                }
                Output::Established(established) => {
                    self.established = Some(established);
                    return;
                }
                Output::Secure(_) => {
                    self.buffer.clear();
                    self.framer.restart();
                    self.ear.restart();
                    Input::Secured(self.bindings.clone())
                }
                Output::LookUp(account) => {
                    self.asked.push(account.as_str().to_owned());
                    Input::Account(look_up(&account))
                }
                Output::Verify(check) => Input::Verified(check.run()),
                Output::Register(registration) => Input::Registered(self.register(&registration)),
                Output::Bind(account, wanted) => Input::Bound(self.bind(&account, wanted)),
            };
            let mut more = Vec::new();
            self.machine.handle(answer, &mut self.random, &mut more);
            wishes.extend(more);
        }
    }

    /// Makes an account, unless somebody has it.
    fn register(&mut self, registration: &Registration) -> Result<(), StanzaError> {
        let account = registration.account.as_str();
        if self.registered.iter().any(|known| known == account)
            || !matches!(look_up(&registration.account), Account::Unknown)
        {
            return Err(StanzaCondition::Conflict.into());
        }
        self.registered.push(account.to_owned());
        Ok(())
    }

    fn bind(&mut self, account: &BareJid, wanted: Option<String>) -> Result<FullJid, StanzaError> {
        if wanted.as_deref() == Some(TAKEN) {
            return Err(StanzaCondition::Conflict.into());
        }
        self.made += 1;
        let resource = wanted.unwrap_or_else(|| format!("made-{}", self.made));
        account.with_resource(&resource).map_err(|_| StanzaCondition::BadRequest.into())
    }
}

impl Ear {
    /// What the server says must be a stream itself.
    fn hear(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        let framer = self.framer.get_or_insert_with(|| Framer::new(Limits::client()));
        while let Some(frame) = framer.next(&mut self.buffer).expect("the server speaks XML") {
            self.heard.push(match frame {
                Frame::Close => Heard::End,
                Frame::Element(raw) => Heard::Element(raw),
                Frame::Open(_) => Heard::Header(attribute(bytes, "id")),
            });
        }
        assert!(self.buffer.is_empty(), "the server says whole things");
    }

    fn restart(&mut self) {
        self.framer = None;
    }

    fn words(&self) -> String {
        let words = self.heard.iter().map(|heard| match heard {
            Heard::Header(_) => "header".to_owned(),
            Heard::End => "end".to_owned(),
            Heard::Element(raw) => element(raw),
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// The name, and what it is about: the type and condition of a stanza, else
/// the first child.
fn element(raw: &Raw) -> String {
    let mut words = vec![raw.name().to_owned()];
    words.extend(raw.attribute("type").map(|word| word.into_owned()));
    let child = raw.child(CLIENT).map(|(name, _)| name.to_owned());
    if child.as_deref() == Some("error") {
        let read = Element::parse_all(&raw.content(), CLIENT).expect("XML");
        let condition = read.iter().flat_map(Element::elements).next();
        words.extend(condition.map(|condition| condition.name.clone()));
    } else {
        words.extend(child);
    }
    words.join(" ")
}

fn attribute(bytes: &[u8], name: &str) -> String {
    let text = String::from_utf8_lossy(bytes);
    let value = text.split_once(&format!(" {name}='")).map(|(_, rest)| rest);
    value.and_then(|rest| rest.split('\'').next()).unwrap_or_default().to_owned()
}
