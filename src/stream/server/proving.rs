//! How a server that has come proves who it is: by its certificate, or by a
//! key that its own server is asked about; and what we say of our own keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::stream::server::incoming::{ExpectHeader, Output, Question, State, Step};
use crate::stream::server::open::{Open, Standing};
use crate::stream::server::{Channel, Pair, Proof, Verdict, World, domain, words};
use crate::xml::head::Raw;
use crate::xmpp::error::{StanzaCondition, StreamCondition, StreamError};
use crate::xmpp::jid::Domain;

/// Pairs of domains on one stream; one more is refused with
/// `resource-constraint`. A guess.
const PAIRS_MAX: usize = 50;

/// Proofs in vain on one stream; one more closes it (RFC 6120 §6.4.5 for
/// SASL).
const FAILURES_MAX: u32 = 5;

/// Characters of a dialback key, or of a stream id in a question. Ours have
/// 64 and 32; XEP-0220 has no limit. A guess.
const KEY_MAX: usize = 1024;

impl Open {
    /// Proof by certificate (RFC 6120 §6, XEP-0178 §3).
    pub(super) fn sasl(
        mut self,
        raw: &Raw,
        world: &dyn World,
        out: &mut Vec<Output>,
    ) -> Step<State> {
        let is_first = raw.name() == "auth";
        let mechanism = raw.attribute("mechanism").unwrap_or_default();
        let mut fail = |mut this: Self, condition: &str| {
            out.push(Output::Send(words::sasl_failure(condition)));
            out.push(Output::Failed);
            this.is_challenged = false;
            this.failures += 1;
            match this.failures > FAILURES_MAX {
                true => Err(StreamCondition::PolicyViolation.into()),
                false => Ok(State::Open(this)),
            }
        };
        if raw.name() == "abort" {
            return fail(self, "aborted");
        }
        if self.certified.is_some() || !is_first && !self.is_challenged {
            return fail(self, "malformed-request");
        }
        if self.channel == Channel::Plain {
            return fail(self, "encryption-required");
        }
        if is_first && mechanism != "EXTERNAL" {
            return fail(self, "invalid-mechanism");
        }
        let content = raw.content();
        let text = std::str::from_utf8(&content).unwrap_or_default().trim();
        if text.is_empty() && is_first {
            out.push(Output::Send(words::challenge()));
            self.is_challenged = true;
            return Ok(State::Open(self));
        }
        let decoded = if matches!(text, "" | "=") { Ok(Vec::new()) } else { STANDARD.decode(text) };
        let Ok(name) = decoded else { return fail(self, "incorrect-encoding") };
        let named = std::str::from_utf8(&name).ok().filter(|name| !name.is_empty());
        let named = named.map(Domain::parse).transpose();
        let Ok(named) = named else { return fail(self, "invalid-authzid") };
        let theirs = match (named, &self.theirs) {
            (Some(named), Some(theirs)) if named != *theirs => {
                return fail(self, "invalid-authzid");
            }
            (Some(theirs), _) => theirs,
            (None, Some(theirs)) => theirs.clone(),
            (None, None) => return fail(self, "invalid-authzid"),
        };
        if world.serves(theirs.as_str())
            || world.policy(&theirs).is_none()
            || !world.vouches(&theirs)
        {
            return fail(self, "not-authorized");
        }
        out.push(Output::Send(words::success()));
        out.push(Output::Restart);
        out.push(Output::Proved(theirs.clone(), Proof::Certificate));
        Ok(State::ExpectHeader(ExpectHeader {
            channel: self.channel,
            ours: Some(self.ours),
            theirs: Some(theirs.clone()),
            certified: Some(theirs),
            is_both_ways: self.is_both_ways,
        }))
    }

    /// A key is shown to us (XEP-0220 §2.1.1).
    pub(super) fn asked(
        &mut self,
        raw: &Raw,
        world: &dyn World,
        out: &mut Vec<Output>,
    ) -> Step<()> {
        let (Some(theirs), Some(ours)) = (domain(raw, "from"), domain(raw, "to")) else {
            return Err(StreamCondition::ImproperAddressing.into());
        };
        if world.serves(theirs.as_str()) {
            return Err(StreamCondition::InvalidFrom.into());
        }
        let pair = Pair { ours, theirs };
        let mut say = |verdict| out.push(Output::Send(words::result_answer(&pair, verdict)));
        if !world.serves(pair.ours.as_str()) {
            say(Err(StanzaCondition::ItemNotFound));
            return Ok(());
        }
        let is_certain = self.channel == Channel::Tls && world.vouches(&pair.theirs);
        let policy = world.policy(&pair.theirs);
        if !policy.is_some_and(|policy| is_certain || policy.accepts_dialback(self.channel)) {
            out.push(Output::Failed);
            let secured = "your certificate does not speak for your domain";
            let plain = "TLS comes first";
            let text = if self.channel == Channel::Tls { secured } else { plain };
            return Err(StreamError::new(StreamCondition::PolicyViolation, text).into());
        }
        let key = String::from_utf8_lossy(&raw.content()).trim().to_owned();
        if key.is_empty() || key.len() > KEY_MAX || raw.head.children > 0 {
            say(Err(StanzaCondition::BadRequest));
            return Ok(());
        }
        match self.pairs.iter().find(|(known, _)| *known == pair) {
            Some((_, Standing::Proved)) => say(Ok(Verdict::Valid)),
            // the answer is on its way
            Some((_, Standing::Asked)) => {}
            None if self.pairs.len() >= PAIRS_MAX => say(Err(StanzaCondition::ResourceConstraint)),
            None if is_certain => {
                say(Ok(Verdict::Valid));
                out.push(Output::Proved(pair.theirs.clone(), Proof::Certificate));
                self.pairs.push((pair.clone(), Standing::Proved));
                self.open_back(pair, out);
            }
            None => {
                self.pairs.push((pair.clone(), Standing::Asked));
                out.push(Output::Verify(Question { pair, id: self.id.clone(), key }));
            }
        }
        Ok(())
    }

    /// The server of a domain has said whether a key is its own.
    pub(super) fn verified(
        mut self,
        pair: &Pair,
        verdict: Verdict,
        out: &mut Vec<Output>,
    ) -> Step<State> {
        let known = self.pairs.iter_mut().find(|(known, _)| known == pair);
        let Some((_, standing)) = known.filter(|(_, standing)| *standing == Standing::Asked) else {
            return Ok(State::Open(self));
        };
        out.push(Output::Send(words::result_answer(pair, Ok(verdict))));
        if verdict == Verdict::Valid {
            *standing = Standing::Proved;
            out.push(Output::Proved(pair.theirs.clone(), Proof::Dialback));
            self.open_back(pair.clone(), out);
            return Ok(State::Open(self));
        }
        self.pairs.retain(|(known, _)| known != pair);
        self.failures += 1;
        out.push(Output::Failed);
        let is_over = verdict == Verdict::Invalid && !self.is_proved();
        match is_over || self.failures > FAILURES_MAX {
            true => Err(StreamCondition::NotAuthorized.into()),
            false => Ok(State::Open(self)),
        }
    }

    /// Whether we have made a key is asked (XEP-0220 §2.2.1): of whoever has
    /// the same secret, so by nobody in particular.
    pub(super) fn answer(raw: &Raw, world: &dyn World, out: &mut Vec<Output>) -> Step<()> {
        let (Some(theirs), Some(ours)) = (domain(raw, "from"), domain(raw, "to")) else {
            return Err(StreamCondition::ImproperAddressing.into());
        };
        let Some(id) = raw.attribute("id").filter(|id| id.len() <= KEY_MAX) else {
            return Err(StreamCondition::ImproperAddressing.into());
        };
        let pair = Pair { ours, theirs };
        let content = raw.content();
        let key = std::str::from_utf8(&content).unwrap_or_default().trim();
        let verdict = match world.serves(pair.ours.as_str()) {
            false => Err(StanzaCondition::ItemNotFound),
            true => match world.secrets().made(key, &pair.theirs, &pair.ours, &id) {
                true => Ok(Verdict::Valid),
                false => Ok(Verdict::Invalid),
            },
        };
        out.push(Output::Send(words::verify_answer(&pair, &id, verdict)));
        Ok(())
    }
}
